//! What a log holds at rest, as far as the laws speak of it.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::avro;
use faultline_model::dead_letter::DeadLetter;
use faultline_model::topic::DEAD_LETTERS;

use super::Divergence;
use crate::log::{Log, Stored};

/// Newest values of compacted topics by key, and what was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    pub topics: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    /// Key, topic, reason and value of each dead letter, once.
    pub refused: BTreeSet<String>,
}

impl Rest {
    /// All of a log.
    pub fn of(log: &dyn Log) -> Result<Self, Divergence> {
        let mut rest = Self::default();
        for plan in log.topics() {
            for partition in 0..log.partitions(plan.name)? {
                let records = log.read(plan.name, partition, 0, usize::MAX, usize::MAX)?;
                if plan.compacted {
                    rest.take_values(plan.name, records)?;
                } else if plan.name == DEAD_LETTERS.name {
                    rest.take_letters(records);
                }
            }
        }
        Ok(rest)
    }

    fn take_values(&mut self, topic: &'static str, records: Vec<Stored>) -> Result<(), Divergence> {
        let values = self.topics.entry(topic).or_default();
        // A broker compacts when it comes to it.
        let newest: BTreeMap<Vec<u8>, Stored> = records.into_iter().map(|record| (record.key.clone(), record)).collect();
        for record in newest.into_values() {
            let key = String::from_utf8_lossy(&record.key).into_owned();
            let Some(value) = record.value else { continue };
            if values.insert(key.clone(), value).is_some() {
                return Err(Divergence::TwoHomes { topic, key });
            }
        }
        Ok(())
    }

    fn take_letters(&mut self, records: Vec<Stored>) {
        for record in records {
            let letter = avro::decode::<DeadLetter>(record.value.as_deref().unwrap_or_default());
            let text = letter.map_or_else(
                |error| format!("no dead letter: {error}"),
                |letter| {
                    let value = letter.value.map(|value| String::from_utf8_lossy(&value).into_owned());
                    format!("{} of {}: {} ({value:?})", String::from_utf8_lossy(&record.key), letter.topic, letter.reason)
                },
            );
            self.refused.insert(text);
        }
    }

    /// The first difference from what was expected.
    pub fn agrees_with(&self, expected: &Self) -> Result<(), Divergence> {
        let empty = BTreeMap::new();
        for topic in expected.topics.keys().chain(self.topics.keys()) {
            let (wanted, found) = (expected.topics.get(topic).unwrap_or(&empty), self.topics.get(topic).unwrap_or(&empty));
            for key in wanted.keys().chain(found.keys()) {
                if wanted.get(key) != found.get(key) {
                    let (expected, found) = (wanted.get(key).cloned(), found.get(key).cloned());
                    return Err(Divergence::Value { topic, key: key.clone(), expected, found });
                }
            }
        }
        if self.refused != expected.refused {
            let missing = expected.refused.difference(&self.refused).cloned().collect();
            let more = self.refused.difference(&expected.refused).cloned().collect();
            return Err(Divergence::Refused { missing, more });
        }
        Ok(())
    }
}
