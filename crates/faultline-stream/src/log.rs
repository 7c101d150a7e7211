//! The log as tasks, doors and views see it, whatever host is below.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faultline_core::store::Store;
use faultline_model::avro;
use faultline_model::time::Timestamp;

use crate::commit::{Commit, InFlight, TaskId};
use crate::error::HostError;
use crate::telemetry::Kind;
use crate::topics::TopicPlan;

/// A partition of a topic.
pub type Place = (&'static str, u32);

/// The next offset to read (the last one read, plus one) of each input.
pub type Positions = BTreeMap<Place, u64>;

/// Names with values, in order. All that a batch says has the same ones, so they are shared.
pub type Headers = Arc<[(String, Vec<u8>)]>;

/// A record to be written. No value means that the key went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: &'static str,
    pub partition: u32,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
    pub timestamp_ms: i64,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub offset: u64,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
    pub timestamp_ms: i64,
}

/// A header that a log puts on a record whose value it hands on in another form than stands there: that value, or its schema's id where
/// only that differs. It is never written; who sends the record on or sets it aside puts back what stood there.
pub(crate) const AS_WRITTEN: &str = "faultline-as-written";

/// A record's value as it stands in its log. Takes the header that says so away.
pub(crate) fn as_written(headers: &mut Headers, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let Some((_, written)) = headers.iter().find(|(name, _)| name == AS_WRITTEN).cloned() else { return value };
    *headers = without(headers, AS_WRITTEN);
    match (value, <[u8; 4]>::try_from(&written[..])) {
        (Some(mut value), Ok(id)) => {
            // It has an id, or its header would be the value.
            let _ = avro::renumber(&mut value, u32::from_be_bytes(id));
            Some(value)
        }
        _ => Some(written),
    }
}

pub(crate) fn without(headers: &Headers, unwanted: &str) -> Headers {
    headers.iter().filter(|(name, _)| name != unwanted).cloned().collect()
}

impl Record {
    pub(crate) fn at(self, offset: u64) -> Stored {
        let Self { key, value, headers, timestamp_ms, .. } = self;
        Stored { offset, key, value, headers, timestamp_ms }
    }

    pub(crate) fn bytes(&self) -> usize {
        weight(&self.key, self.value.as_deref(), &self.headers)
    }
}

impl Stored {
    /// Key, value and headers; what `max_bytes` of a read counts.
    pub fn bytes(&self) -> usize {
        weight(&self.key, self.value.as_deref(), &self.headers)
    }
}

fn weight(key: &[u8], value: Option<&[u8]>, headers: &[(String, Vec<u8>)]) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    key.len() + value.map_or(0, <[u8]>::len) + headers
}

/// Collects what one read returns: at least one record if there is any, however large, so that a reader always goes on.
pub(crate) struct Page<R = Stored> {
    records: Vec<R>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl<R: Borrow<Stored>> Page<R> {
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self { records: Vec::new(), bytes: 0, max_records, max_bytes }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= self.max_records
    }

    /// False if there was no room for it.
    pub(crate) fn takes(&mut self, record: R) -> bool {
        let bytes = self.bytes.saturating_add(record.borrow().bytes());
        if self.is_full() || (!self.records.is_empty() && bytes > self.max_bytes) {
            return false;
        }
        self.bytes = bytes;
        self.records.push(record);
        true
    }

    pub(crate) fn into_records(self) -> Vec<R> {
        self.records
    }
}

pub trait Log: Send + Sync {
    /// Whether it still takes what is written: after a write that failed it takes nothing more, and says why.
    fn accepts(&self) -> Result<(), HostError> {
        Ok(())
    }

    /// Writes the records as one, durably: what was appended survives a crash once this has returned. Gives each record's offset.
    fn append(&self, records: Vec<Record>) -> Result<Vec<u64>, HostError>;

    /// Records from `from` on, in offset order. A compacted topic has the newest record of each key (a tombstone is one), so offsets
    /// may have gaps. At least one record if there is any and `max_records` is not zero.
    ///
    /// A record can be read before it is durable. That is safe inside the log, as a crash loses a suffix of it and what
    /// followed from it together. What acts outside on what it read (a sink) asks the host to sync first.
    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError>;

    /// As [`Log::read`], for a task: a log that keeps what waits at hand shares it.
    fn page(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Arc<Stored>>, HostError> {
        Ok(self.read(topic, partition, from, max_records, max_bytes)?.into_iter().map(Arc::new).collect())
    }

    /// The offset that the next record will get.
    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError>;

    /// How many offsets of a place a reader at a position has still to read, as far as is known without waiting long.
    fn left(&self, topic: &str, partition: u32, position: u64) -> Result<u64, HostError> {
        Ok(self.end_offset(topic, partition)?.saturating_sub(position))
    }

    /// The lowest offset that truncation has left.
    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError>;

    /// The newest record of a key in a compacted topic.
    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError>;

    /// Outputs, state and positions together, or none. Gives the outputs' offsets.
    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError>;

    /// Begins a commit; nothing if it has ended by then, as it has where it is fast. A task begins none while it has one in flight.
    fn begin(&self, commit: Commit) -> Result<Option<InFlight>, HostError> {
        self.commit(commit).map(|_| None)
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError>;

    /// A task's state as last committed. Only what a commit in flight changes may change below who reads it.
    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a>;

    /// Forgets the records below an offset of a topic kept by time. `least_position` is the lowest position among its readers; a
    /// truncation past it is refused.
    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError>;

    /// One bounded step of what a topic's plan says of age: of a topic kept by time, records older than its retention are truncated;
    /// of a compacted one, the word that a key went is dropped with the key. Never at or above `least_position`, and at most about
    /// `max_records` are looked at. Age is counted by record time, in offset order: a younger record keeps what is behind it.
    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError>;

    /// One bounded step of giving back the room of what is superseded, for a log that keeps it for a while. About `max_records` are
    /// looked at; tells whether more is left. What can be read is the same before and after.
    fn clean(&self, place: Place, max_records: usize) -> Result<bool, HostError> {
        let _ = (place, max_records);
        Ok(false)
    }

    /// In a compacted topic, the offset behind the last dropped word that a key went. A reader below it may hold keys that are no
    /// more: it begins again from nothing.
    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError>;

    /// Waits until something was appended after the generation `since`, or the time is over; gives the generation now.
    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64;

    /// Ends all waiting, as if something had been appended: for a stop.
    fn wake(&self);

    /// The topics that it knows.
    fn topics(&self) -> Vec<TopicPlan>;

    /// How many partitions a topic has; one if it is global.
    fn partitions(&self, topic: &str) -> Result<u32, HostError>;

    /// The largest record that a door may append.
    fn max_record_bytes(&self) -> usize;

    /// Hears why a task stopped for good: who keeps copies of what is elsewhere takes note where they cannot be read.
    fn note_failure(&self, _error: &HostError) {}

    /// What the store below says of itself, by name of metric: bytes on disk, in caches, behind in compaction.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }
}

/// What a step of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Records dropped.
    pub records: u64,
    /// Whether it stopped at its bound with more to do.
    pub has_more: bool,
}

/// A number that a store tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub label: Option<(&'static str, &'static str)>,
    pub value: u64,
}
