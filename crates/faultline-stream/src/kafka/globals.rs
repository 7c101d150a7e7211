//! Copies of the global topics in the local folder: all tasks of a process read them there, each at its own position.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::context::Reader;
use super::fetch::stored;
use super::generation::{GENERATIONS, Heard};
use super::options::KafkaOptions;
use super::stale;
use super::{KafkaError, is_final};
use crate::embedded::EmbeddedLog;
use crate::error::HostError;
use crate::log::{Log, Page, Stored};
use crate::topics::TopicPlan;

const POLL: Duration = Duration::from_millis(100);
/// How often it is noted that this folder follows.
const NOTE_EVERY: Duration = Duration::from_mins(1);
/// How long a read of a partition that no task reads waits for the next record or the end.
const PATIENCE: Duration = Duration::from_secs(30);
const BATCH_RECORDS: usize = 2_000;
const BATCH_BYTES: usize = 1 << 20;

pub(crate) struct Mirror {
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Copying {
    consumer: Reader,
    local: Arc<EmbeddedLog>,
    topics: Vec<&'static str>,
    heard: Arc<Heard>,
}

impl Mirror {
    /// Returns when the copies are as the topics are.
    pub(crate) fn start(
        options: &KafkaOptions,
        group: &str,
        local: Arc<EmbeddedLog>,
        plans: &[TopicPlan],
        folder: &Path,
        heard: Arc<Heard>,
    ) -> Result<Self, HostError> {
        let topics: Vec<&'static str> = plans.iter().filter(|plan| plan.is_global).map(|plan| plan.name).collect();
        let consumer: Reader = options.reader(group).create_with_context(options.context()).map_err(KafkaError::client)?;
        let copying = Copying { consumer, local, topics, heard };
        for topic in &copying.topics {
            copying.follow(&[topic])?;
            // An end is told of once all before it was given.
            while !copying.step()? {}
        }
        copying.follow(&copying.topics)?;
        // The copies are as the topics are; tasks follow their changelogs while this process lives.
        stale::note(folder, SystemTime::now()).map_err(|source| HostError::folder(folder, source))?;
        let mut noted = Instant::now();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("kafka-globals".to_owned()).spawn({
            let (is_stopping, folder) = (is_stopping.clone(), folder.to_owned());
            move || {
                // A store that fails shows at the tasks, which use the same.
                while !is_stopping.load(Ordering::Acquire) && copying.goes_on() {
                    // What can be written no more follows no more, though nothing came that would show it.
                    if noted.elapsed() >= NOTE_EVERY && copying.local.accepts().is_ok() && copying.reaches_brokers() {
                        // A note that is not written makes the next start slower.
                        let _ = stale::note(&folder, SystemTime::now());
                        noted = Instant::now();
                    }
                }
            }
        });
        Ok(Self { is_stopping, thread: Some(thread.map_err(|source| HostError::Thread { source })?) })
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Copying {
    fn follow(&self, topics: &[&'static str]) -> Result<(), HostError> {
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let from = Offset::Offset(self.local.end_offset(topic, 0)? as i64);
            list.add_partition_offset(topic, 0, from).map_err(KafkaError::client)?;
        }
        // A few records, of which nothing is kept.
        list.add_partition_offset(GENERATIONS, 0, Offset::Beginning).map_err(KafkaError::client)?;
        Ok(self.consumer.assign(&list).map_err(KafkaError::client)?)
    }

    /// What the brokers refuse is asked for again; only a store that fails is an end.
    fn goes_on(&self) -> bool {
        matches!(self.step(), Ok(_) | Err(HostError::Kafka(_)))
    }

    /// Without an answer nobody knows whether the copies follow.
    fn reaches_brokers(&self) -> bool {
        self.topics.iter().all(|topic| self.consumer.fetch_watermarks(topic, 0, POLL * 20).is_ok())
    }

    /// Copies what there is, at most a batch of it; tells whether it met the end of a topic.
    fn step(&self) -> Result<bool, HostError> {
        let mut waiting = BTreeMap::<&'static str, Vec<Stored>>::new();
        let (mut wait, mut records, mut bytes, mut met_end) = (POLL, 0, 0, false);
        while records < BATCH_RECORDS
            && bytes < BATCH_BYTES
            && let Some(polled) = self.consumer.poll(wait)
        {
            wait = Duration::ZERO;
            match polled {
                Ok(message) if message.topic() == GENERATIONS => self.heard.hear(message.payload()),
                Ok(message) => {
                    let Some(topic) = self.topics.iter().find(|topic| **topic == message.topic()) else { continue };
                    let record = stored(&message);
                    (records, bytes) = (records + 1, bytes + record.bytes());
                    waiting.entry(topic).or_default().push(record);
                }
                Err(ClientError::PartitionEOF(_)) => met_end = true,
                Err(error) if error.rdkafka_error_code().is_some_and(is_final) => return Err(KafkaError::client(error).into()),
                // Brokers that are away are librdkafka's to wait for.
                Err(_) => {}
            }
        }
        for (topic, records) in waiting {
            self.local.mirror((topic, 0), records)?;
        }
        Ok(met_end)
    }
}

/// Reads a partition that nobody fetches, from an offset to its end or to a bound.
pub(crate) fn once(
    consumer: &Reader,
    place: (&str, u32),
    from: u64,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<Stored>, HostError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(place.0, place.1 as i32, Offset::Offset(from as i64)).map_err(KafkaError::client)?;
    consumer.assign(&list).map_err(KafkaError::client)?;
    let mut page = Page::new(max_records, max_bytes);
    let mut until = Instant::now() + PATIENCE;
    let read = loop {
        if page.is_full() {
            break Ok(());
        }
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                until = Instant::now() + PATIENCE;
                if !page.takes(stored(&message)) {
                    break Ok(());
                }
            }
            Some(Err(ClientError::PartitionEOF(_))) => break Ok(()),
            Some(Err(error)) if Instant::now() >= until || error.rdkafka_error_code().is_some_and(is_final) => {
                break Err(KafkaError::client(error).into());
            }
            None if Instant::now() >= until => {
                let code = rdkafka::error::RDKafkaErrorCode::OperationTimedOut;
                break Err(KafkaError::client(ClientError::MessageConsumption(code)).into());
            }
            Some(Err(_)) | None => {}
        }
    };
    consumer.unassign().map_err(KafkaError::client)?;
    read.map(|()| page.into_records())
}
