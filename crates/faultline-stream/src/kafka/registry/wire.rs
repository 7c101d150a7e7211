//! Where records pass between a cluster with a registry and the tasks: ids are exchanged on the way out and on the way in.
//!
//! On the way in this is where a task reads, not where records are fetched: the thread that fetches polls for all partitions, and an id
//! that is not known yet would hold up all of them for as long as the registry takes. So one partition waits, on a worker's time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use faultline_model::avro::{self, Subject};

use super::{Registry, RegistryError, RegistryOptions, Understood};
use crate::error::HostError;
use crate::kafka::KafkaError;
use crate::log::{AS_WRITTEN, Place, Record, Stored, as_written, without};
use crate::sync::held;
use crate::topics::TopicPlan;

/// Records pass as they are where there is no registry.
pub(crate) struct Wire {
    registry: Option<Registry>,
    waiting: Mutex<BTreeMap<Place, Waiting>>,
}

/// A partition has come to a record whose schema could not be asked for.
#[derive(Clone, Copy)]
struct Waiting {
    at: u64,
    until: Instant,
}

impl Wire {
    /// Learns the ids of our schemas of these topics, so that an outage later stops none of our own records. In an outage now they are
    /// learnt when they are needed.
    pub(crate) fn open(options: Option<&RegistryOptions>, plans: &[TopicPlan]) -> Result<Self, HostError> {
        let registry = options.map(Registry::new).transpose().map_err(KafkaError::from)?;
        if let Some(registry) = &registry {
            let subjects = plans.iter().filter_map(|plan| Subject::of_topic(plan.name));
            match subjects.into_iter().try_for_each(|subject| registry.learn(subject)) {
                Err(error) if !error.is_passing() => return Err(KafkaError::from(error).into()),
                Err(_) | Ok(()) => {}
            }
        }
        Ok(Self { registry, waiting: Mutex::default() })
    }

    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    fn of(&self, topic: &str) -> Option<(&Registry, &'static Subject)> {
        self.registry.as_ref().zip(Subject::of_topic(topic))
    }

    /// Records as they are to be written.
    pub(crate) fn outgoing(&self, records: &mut [Record]) -> Result<(), HostError> {
        for record in records {
            let Some((registry, subject)) = self.of(record.topic) else { continue };
            if record.headers.iter().any(|(name, _)| name == AS_WRITTEN) {
                // It came from a log and goes back as it came.
                record.value = as_written(&mut record.headers, record.value.take());
                continue;
            }
            // What is not framed was refused by whoever read it, and is passed on as it came.
            let Some(value) = &mut record.value else { continue };
            if let Ok(ours) = avro::schema_id(value) {
                renumber(value, registry.id_of(subject, ours).map_err(KafkaError::from)?);
            }
        }
        Ok(())
    }

    /// Records of a partition as tasks know them, up to the first whose schema cannot be asked for now. If that is the first of all, it
    /// is the error: an empty page would say that nothing stands there.
    pub(crate) fn incoming(&self, place: Place, mut records: Vec<Stored>) -> Result<Vec<Stored>, HostError> {
        let Some((registry, subject)) = self.of(place.0) else { return Ok(records) };
        for at in 0..records.len() {
            let Err(error) = understand(registry, subject, &mut records[at]) else { continue };
            // Until it is asked again the partition ends here: what stands before can be worked off.
            let waiting = Waiting { at: records[at].offset, until: registry.again().unwrap_or_else(Instant::now) };
            held(&self.waiting).insert(place, waiting);
            if at == 0 {
                return Err(KafkaError::from(error).into());
            }
            records.truncate(at);
            return Ok(records);
        }
        Ok(records)
    }

    /// The newest record of a key.
    pub(crate) fn latest(&self, topic: &str, mut record: Option<Stored>) -> Result<Option<Stored>, HostError> {
        if let (Some((registry, subject)), Some(record)) = (self.of(topic), &mut record) {
            understand(registry, subject, record).map_err(KafkaError::from)?;
        }
        Ok(record)
    }

    /// The end of a partition as far as it can be read now.
    pub(crate) fn end(&self, place: Place, end: u64) -> u64 {
        if self.registry.is_none() {
            return end;
        }
        let mut waiting = held(&self.waiting);
        match waiting.get(&place).copied() {
            Some(Waiting { at, until }) if Instant::now() < until => end.min(at),
            Some(_) => {
                waiting.remove(&place);
                end
            }
            None => end,
        }
    }
}

fn understand(registry: &Registry, subject: &'static Subject, record: &mut Stored) -> Result<(), RegistryError> {
    // A writer that uses our name for a header of its own would speak for us.
    record.headers = without(&record.headers, AS_WRITTEN);
    let Some(value) = &mut record.value else { return Ok(()) };
    // What is not framed is refused by whoever decodes it.
    let Ok(id) = avro::schema_id(value) else { return Ok(()) };
    let was = match registry.understood(subject, id, value)? {
        Understood::Renumbered(ours) => {
            renumber(value, ours);
            id.to_be_bytes().to_vec()
        }
        Understood::Anew(anew) => std::mem::replace(value, anew),
    };
    record.headers = record.headers.iter().cloned().chain([(AS_WRITTEN.to_owned(), was)]).collect();
    Ok(())
}

/// Only what has an id gets another.
fn renumber(value: &mut [u8], id: u32) {
    avro::renumber(value, id).expect("its id was read");
}
