//! Reads the inputs of this process's tasks ahead of them, within a bound: one consumer that is told what to read, no group.
//!
//! What was read stays until its position is committed, so that an attempt at a batch can be made again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaError;
use super::options::KafkaOptions;
use crate::error::HostError;
use crate::log::{Page, Place, Stored};
use crate::sync::{Bell, held};

/// How long it waits for a record before it looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);
/// After so many records readers are told, though more are there.
const RING_AFTER: usize = 500;

pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    consumer: BaseConsumer,
    places: Mutex<BTreeMap<Place, Buffer>>,
    bell: Arc<Bell>,
    bound_bytes: usize,
    is_stopping: AtomicBool,
}

#[derive(Default)]
struct Buffer {
    records: VecDeque<Stored>,
    bytes: usize,
    /// The offset behind the last record that was read.
    end: u64,
    is_paused: bool,
}

impl Fetcher {
    pub(crate) fn start(options: &KafkaOptions, group: &str, bell: Arc<Bell>) -> Result<Self, HostError> {
        let consumer = options.reader(group).create().map_err(KafkaError::client)?;
        let (places, is_stopping) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { consumer, places, bell, bound_bytes: options.buffer_bytes / 2, is_stopping });
        let thread = std::thread::Builder::new().name("kafka-fetch".to_owned());
        let thread = thread.spawn({
            let shared = shared.clone();
            move || shared.run()
        });
        Ok(Self { shared, thread: Some(thread.map_err(|source| HostError::Thread { source })?) })
    }

    /// Reads a place from an offset on.
    pub(crate) fn add(&self, place: Place, from: u64) -> Result<(), HostError> {
        held(&self.shared.places).insert(place, Buffer { end: from, ..Buffer::default() });
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(place.0, place.1 as i32, Offset::Offset(from as i64)).map_err(KafkaError::client)?;
        Ok(self.shared.consumer.incremental_assign(&list).map_err(KafkaError::client)?)
    }

    pub(crate) fn remove(&self, place: Place) {
        if held(&self.shared.places).remove(&place).is_some() {
            // It was assigned, so this cannot fail; if it did, its records would be passed over.
            let _ = self.shared.consumer.incremental_unassign(&list_of(place));
        }
    }

    /// What waits of a place, from an offset on; nothing if the place is not read here.
    pub(crate) fn read(&self, place: Place, from: u64, max_records: usize, max_bytes: usize) -> Option<Vec<Stored>> {
        let places = held(&self.shared.places);
        let buffer = places.get(&place)?;
        let mut page = Page::new(max_records, max_bytes);
        let first = buffer.records.partition_point(|record| record.offset < from);
        for record in buffer.records.range(first..) {
            if page.is_full() || !page.takes(record.clone()) {
                break;
            }
        }
        Some(page.into_records())
    }

    /// The offset behind what waits of a place.
    pub(crate) fn end(&self, place: Place) -> Option<u64> {
        held(&self.shared.places).get(&place).map(|buffer| buffer.end)
    }

    /// Gives room back: a reader is at this position for good.
    pub(crate) fn committed(&self, place: Place, position: u64) {
        let mut places = held(&self.shared.places);
        let Some(buffer) = places.get_mut(&place) else { return };
        while let Some(record) = buffer.records.pop_front_if(|record| record.offset < position) {
            buffer.bytes -= record.bytes();
        }
        if buffer.is_paused && buffer.bytes < self.shared.bound_of(places.len()) / 2 {
            if let Some(buffer) = places.get_mut(&place) {
                buffer.is_paused = false;
            }
            let _ = self.shared.consumer.resume(&list_of(place));
        }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It does not panic: what it meets it passes over or keeps.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.is_stopping.load(Ordering::Acquire) {
            let (mut wait, mut taken) = (POLL, 0);
            // Errors that concern all (brokers away) are librdkafka's to retry; the end of a partition is none.
            while taken < RING_AFTER
                && let Some(polled) = self.consumer.poll(wait)
            {
                taken += usize::from(polled.is_ok_and(|message| self.take(&message)));
                wait = Duration::ZERO;
            }
            if taken > 0 {
                self.bell.ring();
            }
        }
    }

    fn bound_of(&self, places: usize) -> usize {
        self.bound_bytes / places.max(1)
    }

    fn take(&self, message: &BorrowedMessage<'_>) -> bool {
        let mut places = held(&self.places);
        let bound = self.bound_of(places.len());
        let place = places.iter_mut().find(|((topic, partition), _)| *topic == message.topic() && *partition as i32 == message.partition());
        let Some((place, buffer)) = place else { return false };
        let record = stored(message);
        if record.offset < buffer.end {
            return false;
        }
        (buffer.end, buffer.bytes) = (record.offset + 1, buffer.bytes + record.bytes());
        buffer.records.push_back(record);
        if !buffer.is_paused && buffer.bytes > bound {
            // What librdkafka has read of it already still comes; the bound of its queue is its own.
            buffer.is_paused = self.consumer.pause(&list_of(*place)).is_ok();
        }
        true
    }
}

pub(crate) fn list_of(place: Place) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(place.0, place.1 as i32);
    list
}

pub(crate) fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let headers = message.headers().map(|headers| {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| (header.key.to_owned(), header.value.unwrap_or_default().to_vec());
        headers.iter().map(header).collect()
    });
    Stored {
        // Offsets of records that were read are never negative.
        offset: message.offset().unsigned_abs(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
    }
}
