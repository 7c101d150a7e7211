//! A compacted topic as the map that it stands for.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::avro::{self, AvroError, TopicValue};
use faultline_model::topic::Topic;
use faultline_stream::{HostError, Log};

/// How much is read at once.
const PAGE_RECORDS: usize = 4096;
const PAGE_BYTES: usize = 4 << 20;

/// Why a topic cannot be read as a map.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("topic {topic}, key {key:?}: {source}")]
    Record { topic: &'static str, key: String, source: AvroError },
}

/// All records, out of all partitions.
pub fn table<T: TopicValue>(log: &dyn Log, topic: Topic) -> Result<BTreeMap<String, T>, TableError> {
    let mut table = BTreeMap::new();
    walk(log, topic, &mut |key, value| {
        match value {
            None => drop(table.remove(&key)),
            Some(value) => {
                let record = avro::decode(value).map_err(|source| TableError::Record { topic: topic.name, key: key.clone(), source })?;
                table.insert(key, record);
            }
        }
        Ok(())
    })?;
    Ok(table)
}

/// What can be read of a topic.
pub struct Readable<T> {
    pub records: BTreeMap<String, T>,
    /// Records that a newer program wrote, or that are none of ours.
    pub unreadable: usize,
}

/// All records that can be read, out of all partitions: one that cannot takes none of the others along.
pub fn readable<T: TopicValue>(log: &dyn Log, topic: Topic) -> Result<Readable<T>, TableError> {
    let mut newest = BTreeMap::new();
    walk(log, topic, &mut |key, value| {
        match value {
            None => drop(newest.remove(&key)),
            Some(value) => drop(newest.insert(key, avro::decode(value).ok())),
        }
        Ok(())
    })?;
    let all = newest.len();
    let records: BTreeMap<String, T> = newest.into_iter().filter_map(|(key, record)| Some((key, record?))).collect();
    Ok(Readable { unreadable: all - records.len(), records })
}

/// The keys that have a value and are wanted.
pub fn keys(log: &dyn Log, topic: Topic, wants: &dyn Fn(&str) -> bool) -> Result<BTreeSet<String>, TableError> {
    let mut keys = BTreeSet::new();
    walk(log, topic, &mut |key, value| {
        match value {
            None => drop(keys.remove(&key)),
            Some(_) if wants(&key) => drop(keys.insert(key)),
            Some(_) => {}
        }
        Ok(())
    })?;
    Ok(keys)
}

/// Sees each record's key and value, in the order of a partition.
type See<'s> = &'s mut dyn FnMut(String, Option<&[u8]>) -> Result<(), TableError>;

fn walk(log: &dyn Log, topic: Topic, see: See<'_>) -> Result<(), TableError> {
    for partition in 0..log.partitions(topic.name)? {
        let mut from = 0;
        loop {
            let page = log.read(topic.name, partition, from, PAGE_RECORDS, PAGE_BYTES)?;
            let Some(last) = page.last() else { break };
            from = last.offset + 1;
            for stored in &page {
                see(String::from_utf8_lossy(&stored.key).into_owned(), stored.value.as_deref())?;
            }
        }
    }
    Ok(())
}
