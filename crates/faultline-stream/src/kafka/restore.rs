//! Brings what is kept of a task's state up to the end of its changelog.

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Weak;
use std::time::Duration;

use faultline_core::store::Changes;

use super::cluster::{Changelog, Kept, Next};
use super::context::{Reader, ask};
use super::group::{Grouped, committed};
use super::options::KafkaOptions;
use super::{KafkaError, changelog_of, is_final};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::log::{Place, Positions};

const POLL: Duration = Duration::from_millis(200);
const CALL: Duration = Duration::from_secs(10);
/// Nobody tells when a transaction has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How much is restored in one batch.
const BATCH_BYTES: usize = 4 << 20;

/// A task's changelog on brokers.
pub(crate) struct BrokersChangelog {
    task: TaskId,
    topic: String,
    member: Weak<Grouped>,
    consumer: Reader,
    /// Sees the end of what is written, committed or not.
    asking: Reader,
}

impl BrokersChangelog {
    pub(crate) fn new(options: &KafkaOptions, group: &str, task: TaskId, member: Weak<Grouped>) -> Result<Self, HostError> {
        let consumer = options.reader_to_end(group).create_with_context(options.context()).map_err(KafkaError::client)?;
        let mut config = options.reader_to_end(group);
        config.set("isolation.level", "read_uncommitted");
        let asking = config.create_with_context(options.context()).map_err(KafkaError::client)?;
        Ok(Self { task, topic: changelog_of(task.stage), member, consumer, asking })
    }

    fn watermarks(&self, reader: &Reader) -> Result<(u64, u64), HostError> {
        let (topic, partition) = (&self.topic, self.task.partition as i32);
        let (first, end) = ask(reader, CALL, |reader, within| reader.fetch_watermarks(topic, partition, within))?;
        Ok((first.unsigned_abs(), end.unsigned_abs()))
    }
}

impl Changelog for BrokersChangelog {
    fn committed(&self, places: &[Place]) -> Result<Positions, HostError> {
        let consumer = self.member.upgrade().ok_or(KafkaError::NotOwner { task: self.task })?;
        committed(&consumer, places)
    }

    fn written(&self) -> Result<u64, HostError> {
        Ok(self.watermarks(&self.asking)?.1)
    }

    fn stable(&self) -> Result<(u64, u64), HostError> {
        self.watermarks(&self.consumer)
    }

    fn seek(&self, from: u64) -> Result<(), HostError> {
        let mut list = TopicPartitionList::new();
        let from = Offset::Offset(from as i64);
        list.add_partition_offset(&self.topic, self.task.partition as i32, from).map_err(KafkaError::client)?;
        Ok(self.consumer.assign(&list).map_err(KafkaError::client)?)
    }

    fn next(&self) -> Result<Next, HostError> {
        match self.consumer.poll(POLL) {
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default().to_vec();
                let value = message.payload().map(<[u8]>::to_vec);
                Ok(Next::Row { offset: message.offset().unsigned_abs(), key, value })
            }
            // In a read-committed consumer this is the last stable offset.
            Some(Err(ClientError::PartitionEOF(_))) => Ok(Next::End),
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_final) => Err(KafkaError::client(error).into()),
            // Brokers that are away are librdkafka's to wait for.
            Some(Err(_)) | None => Ok(Next::Nothing),
        }
    }

    fn pause(&self) {
        std::thread::sleep(LOOK);
    }
}

/// False if it was told to stop on the way; what was restored until then is kept. `goes_on` hears how many offsets were read, of how many.
pub(crate) fn restore(
    changelog: &impl Changelog,
    local: &impl Kept,
    task: TaskId,
    goes_on: &dyn Fn(u64, u64) -> bool,
) -> Result<bool, HostError> {
    let written = changelog.written()?;
    // A transaction is committed before its mark stands in each partition: its positions can be there already, and its rows not
    // yet to be read. Beyond what is written now nothing comes, as a former owner is fenced.
    let (first, end) = loop {
        let (first, end) = changelog.stable()?;
        if end >= written {
            break (first, end);
        }
        if !goes_on(0, written) {
            return Ok(false);
        }
        changelog.pause();
    };
    let from = match local.kept(task)? {
        Some(known) if (first..=end).contains(&known) => known,
        // Ahead of its log or behind it, it is of another one: what it says would be mixed with what the log says.
        Some(_) => {
            local.forget(task)?;
            0
        }
        None => 0,
    };
    changelog.seek(from)?;
    let of = end.saturating_sub(from);
    read(changelog, local, task, from, &|next| goes_on(next - from, of))
}

fn read(changelog: &impl Changelog, local: &impl Kept, task: TaskId, from: u64, goes_on: &dyn Fn(u64) -> bool) -> Result<bool, HostError> {
    let (mut changes, mut bytes, mut next) = (Changes::new(), 0, from);
    while goes_on(next) {
        match changelog.next()? {
            Next::Row { offset, key, value } => {
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                changes.insert(key, value);
                next = offset + 1;
                if bytes >= BATCH_BYTES {
                    local.keep(task, &changes, next)?;
                    changes.clear();
                    bytes = 0;
                }
            }
            Next::End => {
                local.keep(task, &changes, next)?;
                return Ok(true);
            }
            Next::Nothing => {}
        }
    }
    Ok(false)
}
