//! Brings what is kept of a task's state up to the end of its changelog.

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;

use faultline_core::store::Changes;

use super::context::{Reader, ask};
use super::generation::Names;
use super::options::KafkaOptions;
use super::{KafkaError, is_final};
use crate::commit::TaskId;
use crate::embedded::EmbeddedLog;
use crate::error::HostError;

const POLL: Duration = Duration::from_millis(200);
const CALL: Duration = Duration::from_secs(10);
/// Nobody tells when a transaction has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How much is restored in one batch.
const BATCH_BYTES: usize = 4 << 20;

/// A consumer that restores one task after the other.
pub(crate) struct Restorer {
    consumer: Reader,
    /// Sees the end of what is written, committed or not.
    asking: Reader,
    names: Names,
}

impl Restorer {
    pub(crate) fn new(options: &KafkaOptions, group: &str) -> Result<Self, HostError> {
        let consumer = options.reader_to_end(group).create_with_context(options.context()).map_err(KafkaError::client)?;
        let mut config = options.reader_to_end(group);
        config.set("isolation.level", "read_uncommitted");
        let asking = config.create_with_context(options.context()).map_err(KafkaError::client)?;
        Ok(Self { consumer, asking, names: options.names.clone() })
    }

    /// False if it was told to stop on the way; what was restored until then is kept. `goes_on` hears how many offsets were read, of
    /// how many.
    pub(crate) fn restore(&self, local: &EmbeddedLog, task: TaskId, goes_on: &dyn Fn(u64, u64) -> bool) -> Result<bool, HostError> {
        let (topic, partition) = (self.names.changelog(task.stage), task.partition as i32);
        let (_, written) = ask(&self.asking, CALL, |asking, within| asking.fetch_watermarks(&topic, partition, within))?;
        // A transaction is committed before its mark stands in each partition: its positions can be there already, and its rows not
        // yet to be read. Beyond what is written now nothing comes, as a former owner is fenced.
        let (first, end) = loop {
            let (first, end) = ask(&self.consumer, CALL, |consumer, within| consumer.fetch_watermarks(&topic, partition, within))?;
            if end >= written {
                break (first, end);
            }
            if !goes_on(0, written.unsigned_abs()) {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        };
        let known = local.kept(task)?;
        let from = match known {
            Some(known) if (first.unsigned_abs()..=end.unsigned_abs()).contains(&known) => known,
            // Ahead of its log or behind it, it is of another one: what it says would be mixed with what the log says.
            Some(_) => {
                local.forget(task)?;
                0
            }
            None => 0,
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(from as i64)).map_err(KafkaError::client)?;
        self.consumer.assign(&list).map_err(KafkaError::client)?;
        let of = end.unsigned_abs().saturating_sub(from);
        let restored = self.read(local, task, from, &|next| goes_on(next - from, of));
        self.consumer.unassign().map_err(KafkaError::client)?;
        restored
    }

    fn read(&self, local: &EmbeddedLog, task: TaskId, from: u64, goes_on: &dyn Fn(u64) -> bool) -> Result<bool, HostError> {
        let (mut changes, mut bytes, mut next) = (Changes::new(), 0, from);
        while goes_on(next) {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let key = message.key().unwrap_or_default().to_vec();
                    let value = message.payload().map(<[u8]>::to_vec);
                    bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                    changes.insert(key, value);
                    next = message.offset().unsigned_abs() + 1;
                    if bytes >= BATCH_BYTES {
                        local.keep(task, &changes, next)?;
                        changes.clear();
                        bytes = 0;
                    }
                }
                // In a read-committed consumer this is the last stable offset.
                Some(Err(ClientError::PartitionEOF(_))) => {
                    local.keep(task, &changes, next)?;
                    return Ok(true);
                }
                Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_final) => return Err(KafkaError::client(error).into()),
                // Brokers that are away are librdkafka's to wait for.
                Some(Err(_)) | None => {}
            }
        }
        Ok(false)
    }
}
