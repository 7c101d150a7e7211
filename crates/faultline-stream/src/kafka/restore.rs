//! Brings what is kept of a task's state up to the end of its changelog.

use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::cluster::{Changelog, Kept, Next, Tell};
use super::context::{Context, Reader, watermarks};
use super::generation::Names;
use super::group::{Seat, committed};
use super::options::KafkaOptions;
use super::{KafkaError, is_final};
use crate::commit::TaskId;
use crate::embedded::Gathered;
use crate::error::HostError;
use crate::log::{Place, Positions};

const POLL: Duration = Duration::from_millis(200);
const CALL: Duration = Duration::from_secs(10);
/// Nobody tells when a transaction has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Brokers look for transactions that are over their time every ten seconds, so after so many times the time-out one has no end.
const TIMES_THE_TIMEOUT: u32 = 3;
/// What one batch holds at least.
const MIN_BATCH_BYTES: usize = 1 << 20;
/// After so many rows without a rest the client's other events are served.
const SERVE_EVERY: u32 = 4096;

/// Clients that restore one task after the other.
pub(crate) struct Restorer {
    consumer: Arc<Reader>,
    /// Sees the end of what is written, committed or not.
    asking: Reader,
    names: Names,
    transaction_timeout: Duration,
    batch_bytes: usize,
    restored: RefCell<BTreeSet<TaskId>>,
    /// Rows that were read.
    rows: Arc<AtomicU64>,
}

impl Restorer {
    /// One of so many that work at once, and share what may wait in memory.
    pub(crate) fn new(options: &KafkaOptions, of: usize, rows: &Arc<AtomicU64>) -> Result<Self, HostError> {
        let group = &options.group("restore");
        let consumer = options.restorer(group, of).create_with_context(options.context()).map_err(KafkaError::client)?;
        let mut config = options.reader_to_end(group);
        config.set("isolation.level", "read_uncommitted");
        let asking = config.create_with_context(options.context()).map_err(KafkaError::client)?;
        // As much again is in the batch that is made of it.
        let batch_bytes = (options.buffer_bytes / 4 / of.max(1)).max(MIN_BATCH_BYTES);
        Ok(Self {
            consumer: Arc::new(consumer),
            asking,
            names: options.names.clone(),
            transaction_timeout: options.transaction_timeout,
            batch_bytes,
            restored: RefCell::default(),
            rows: rows.clone(),
        })
    }

    /// Whether it has had this task: what its client may still hold of it could be taken for an end.
    pub(crate) fn knows(&self, task: TaskId) -> bool {
        self.restored.borrow().contains(&task)
    }
}

/// A task's changelog on brokers.
pub(crate) struct BrokersChangelog<'r> {
    task: TaskId,
    topic: String,
    member: Weak<Seat>,
    restorer: &'r Restorer,
    /// The partition's own, so that nothing comes out of it of one that was read before.
    rows: RefCell<Option<PartitionQueue<Context>>>,
    polled: Cell<u32>,
    read: Cell<u64>,
    patience: RefCell<Patience>,
}

/// Says of a wait that goes on for too long, again and again.
struct Patience {
    bound: Duration,
    /// Since when, and when it was said last.
    waits: Option<(Instant, Instant)>,
}

impl Patience {
    /// For how long, if it is to be said now.
    fn is_over(&mut self, now: Instant) -> Option<Duration> {
        let (since, said) = self.waits.get_or_insert((now, now));
        if now - *said < self.bound {
            return None;
        }
        *said = now;
        Some(now - *since)
    }
}

impl<'r> BrokersChangelog<'r> {
    pub(crate) fn new(restorer: &'r Restorer, task: TaskId, member: Weak<Seat>) -> Self {
        Self {
            task,
            topic: restorer.names.changelog(task.stage),
            member,
            restorer,
            rows: RefCell::default(),
            polled: Cell::default(),
            read: Cell::default(),
            patience: RefCell::new(Patience { bound: restorer.transaction_timeout * TIMES_THE_TIMEOUT, waits: None }),
        }
    }

    fn watermarks(&self, reader: &Reader) -> Result<(u64, u64), HostError> {
        watermarks(reader, &self.topic, self.task.partition, CALL)
    }
}

/// What a partition of a changelog said.
pub(crate) fn next_of(polled: Option<Result<BorrowedMessage<'_>, ClientError>>, tell: &mut Tell<'_>) -> Result<Next, HostError> {
    match polled {
        Some(Ok(message)) => {
            tell(message.offset().unsigned_abs(), message.key().unwrap_or_default(), message.payload());
            Ok(Next::Row)
        }
        // In a read-committed consumer this is the last stable offset.
        Some(Err(ClientError::PartitionEOF(_))) => Ok(Next::End),
        Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_final) => Err(KafkaError::client(error).into()),
        // Brokers that are away are librdkafka's to wait for.
        Some(Err(_)) | None => Ok(Next::Nothing),
    }
}

/// Takes what does not concern one partition: tokens, and that the client is not let in.
pub(crate) fn serve(consumer: &Reader) -> Result<(), HostError> {
    match consumer.poll(Duration::ZERO) {
        Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_final) => Err(KafkaError::client(error).into()),
        _ => Ok(()),
    }
}

/// That a client has not heard of a topic passes: it was there when the log was opened, and brokers come and go.
pub(crate) fn not_known(topic: &str) -> KafkaError {
    KafkaError::Transaction { reason: format!("the client does not know topic {topic} as yet") }
}

impl Drop for BrokersChangelog<'_> {
    fn drop(&mut self) {
        self.restorer.rows.fetch_add(self.read.get(), Ordering::Relaxed);
        if self.rows.take().is_some() {
            // One that fails fails as well at the next task, which says so.
            let _ = self.restorer.consumer.unassign();
        }
    }
}

impl Changelog for BrokersChangelog<'_> {
    fn committed(&self, places: &[Place]) -> Result<Positions, HostError> {
        let consumer = self.member.upgrade().ok_or(KafkaError::NotOwner { task: self.task })?.consumer();
        committed(&consumer, &self.restorer.names, places)
    }

    fn bounds(&self, place: Place) -> Result<(u64, u64), HostError> {
        watermarks(&self.restorer.asking, self.restorer.names.topic(place.0), place.1, CALL)
    }

    fn written(&self) -> Result<u64, HostError> {
        Ok(self.watermarks(&self.restorer.asking)?.1)
    }

    fn stable(&self) -> Result<(u64, u64), HostError> {
        self.watermarks(&self.restorer.consumer)
    }

    fn seek(&self, from: u64) -> Result<(), HostError> {
        let (consumer, partition) = (&self.restorer.consumer, self.task.partition as i32);
        self.restorer.restored.borrow_mut().insert(self.task);
        let rows = consumer.split_partition_queue(&self.topic, partition);
        *self.rows.borrow_mut() = Some(rows.ok_or_else(|| not_known(&self.topic))?);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(from as i64)).map_err(KafkaError::client)?;
        Ok(consumer.assign(&list).map_err(KafkaError::client)?)
    }

    fn next(&self, tell: &mut Tell<'_>) -> Result<Next, HostError> {
        self.polled.set(self.polled.get().wrapping_add(1));
        if self.polled.get().is_multiple_of(SERVE_EVERY) {
            serve(&self.restorer.consumer)?;
        }
        let rows = self.rows.borrow();
        let next = next_of(rows.as_ref().and_then(|rows| rows.poll(POLL)), tell)?;
        match next {
            Next::Row => self.read.set(self.read.get() + 1),
            Next::End => {}
            Next::Nothing => serve(&self.restorer.consumer)?,
        }
        Ok(next)
    }

    fn batch_bytes(&self) -> usize {
        self.restorer.batch_bytes
    }

    fn pause(&self, stable: u64) {
        if let Some(waited) = self.patience.borrow_mut().is_over(Instant::now()) {
            let (task, topic, seconds) = (self.task, &self.topic, waited.as_secs());
            tracing::warn!(%task, %topic, partition = task.partition, offset = stable, seconds, "a transaction is open at this offset for longer than brokers should let it, and the task waits for its end: find it with kafka-transactions.sh find-hanging, and abort it");
        }
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
    let Some((from, of)) = begin(changelog, local, task, goes_on)? else { return Ok(false) };
    read(changelog, local, task, from, &|next| goes_on(next - from, of))
}

/// From which offset on a task needs its changelog, which stands there then, and how many there are. Nothing if it was told to stop.
pub(super) fn begin(
    changelog: &impl Changelog,
    local: &impl Kept,
    task: TaskId,
    goes_on: &dyn Fn(u64, u64) -> bool,
) -> Result<Option<(u64, u64)>, HostError> {
    let written = changelog.written()?;
    // A transaction is committed before its mark stands in each partition: its positions can be there already, and its rows not
    // yet to be read. Beyond what is written now nothing comes, as a former owner is fenced.
    let (first, end) = loop {
        let (first, end) = changelog.stable()?;
        if end >= written {
            break (first, end);
        }
        if !goes_on(0, written) {
            return Ok(None);
        }
        changelog.pause(end);
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
    Ok(Some((from, end.saturating_sub(from))))
}

fn read(changelog: &impl Changelog, local: &impl Kept, task: TaskId, from: u64, goes_on: &dyn Fn(u64) -> bool) -> Result<bool, HostError> {
    let (mut gathered, mut next) = (Gathered::default(), from);
    while goes_on(next) {
        let found = changelog.next(&mut |offset, key, value| {
            gathered.say(key, value);
            next = offset + 1;
        })?;
        match found {
            Next::Row if gathered.bytes() >= changelog.batch_bytes() => local.keep_gathered(task, &mut gathered, next)?,
            Next::End => {
                local.keep_gathered(task, &mut gathered, next)?;
                return Ok(true);
            }
            Next::Row | Next::Nothing => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_once_each_time_that_it_grows_by_its_bound() {
        let (start, mut patience) = (Instant::now(), Patience { bound: Duration::from_secs(90), waits: None });
        let said: Vec<u64> = (0..300).filter(|second| patience.is_over(start + Duration::from_secs(*second)).is_some()).collect();
        assert_eq!(said, [90, 180, 270]);
        assert_eq!(patience.is_over(start + Duration::from_mins(6)), Some(Duration::from_mins(6)));
    }
}
