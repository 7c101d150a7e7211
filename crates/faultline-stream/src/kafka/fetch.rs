//! Reads the inputs of this process's tasks ahead of them, within a bound: one consumer that is told what to read, no group.
//!
//! What was read stays until its position is committed, so that an attempt at a batch can be made again. When there is enough, nothing
//! more is asked of the client: to pause a partition would throw away what it has fetched. Only a partition that nobody works on any more
//! is paused, or it would hold up the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::KafkaError;
use super::context::Reader;
use super::generation::Names;
use super::options::KafkaOptions;
use crate::error::HostError;
use crate::log::{Page, Place, Stored};
use crate::sync::{Bell, held};

/// How long it waits for a record before it looks whether it is asked for a change, or to stop.
const POLL: Duration = Duration::from_millis(20);
/// After so many records readers are told, though more are there.
const RING_AFTER: usize = 500;
/// A place with records that nobody asked for so long is taken for one that nobody works on.
const IS_LEFT: Duration = Duration::from_secs(5);

pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    changes: Mutex<SyncSender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

enum Change {
    Add(Place, Start),
    Remove(Place),
}

/// Where a place is read.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// Where its reader stands.
    pub(crate) position: u64,
    /// The first offset that is fetched: the position, or behind it what is there as yet.
    pub(crate) first: u64,
}

impl Start {
    pub(crate) fn at(position: u64) -> Self {
        Self { position, first: position }
    }
}

/// A change, and where to say what became of it.
type Asked = (Change, SyncSender<Result<(), HostError>>);

struct Shared {
    consumer: Reader,
    names: Names,
    places: Mutex<BTreeMap<Place, Buffer>>,
    /// Told when there is room again.
    room: Condvar,
    bell: Arc<Bell>,
    bound_bytes: usize,
    is_stopping: AtomicBool,
}

struct Buffer {
    records: VecDeque<Arc<Stored>>,
    bytes: usize,
    /// What is before it went, or was never fetched.
    start: u64,
    /// The offset behind the last record that was read.
    end: u64,
    asked_at: Instant,
    is_paused: bool,
    /// Where it was to be read next there is nothing, or may be nothing: which place of a client's it is, the client does not say.
    is_lost: bool,
}

impl Fetcher {
    /// By a client that is configured so.
    pub(crate) fn start(options: &KafkaOptions, config: &ClientConfig, bell: Arc<Bell>) -> Result<Self, HostError> {
        let consumer = config.create_with_context(options.context()).map_err(KafkaError::client)?;
        let (places, is_stopping, names) = (Mutex::default(), AtomicBool::new(false), options.names.clone());
        let shared =
            Arc::new(Shared { consumer, names, places, room: Condvar::new(), bell, bound_bytes: options.buffer_bytes / 2, is_stopping });
        let (changes, asked) = sync_channel(1);
        let thread = std::thread::Builder::new().name("kafka-fetch".to_owned());
        let thread = thread.spawn({
            let shared = shared.clone();
            move || shared.run(&asked)
        });
        let changes = Mutex::new(changes);
        Ok(Self { shared, changes, thread: Some(thread.map_err(|source| HostError::Thread { source })?) })
    }

    pub(crate) fn add(&self, place: Place, from: Start) -> Result<(), HostError> {
        self.ask(Change::Add(place, from))
    }

    pub(crate) fn remove(&self, place: Place) {
        // It fails where the place was never added, and when the fetcher is at its end.
        let _ = self.ask(Change::Remove(place));
    }

    /// Changes are made by the thread that fetches, between two looks: what it holds in its hands is never of another assignment.
    fn ask(&self, change: Change) -> Result<(), HostError> {
        let (answers, answer) = sync_channel(1);
        let gone = || HostError::from(KafkaError::Transaction { reason: "the fetcher has stopped".to_owned() });
        held(&self.changes).send((change, answers)).map_err(|_| gone())?;
        self.shared.room.notify_one();
        answer.recv().map_err(|_| gone())?
    }

    /// What waits of a place, from an offset on; nothing if the place is not read here, or no more from there.
    pub(crate) fn read(
        &self,
        place: Place,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Option<Vec<Arc<Stored>>>, HostError> {
        let mut places = held(&self.shared.places);
        let Some(buffer) = places.get_mut(&place).filter(|buffer| from >= buffer.start) else { return Ok(None) };
        buffer.check(place)?;
        buffer.asked_at = Instant::now();
        if buffer.is_paused {
            buffer.is_paused = self.shared.consumer.resume(&self.shared.list_of(place)).is_err();
        }
        let mut page = Page::new(max_records, max_bytes);
        let first = buffer.records.partition_point(|record| record.offset < from);
        for record in buffer.records.range(first..) {
            if page.is_full() || !page.takes(record.clone()) {
                break;
            }
        }
        Ok(Some(page.into_records()))
    }

    /// The offset behind what waits of a place.
    pub(crate) fn end(&self, place: Place) -> Result<Option<u64>, HostError> {
        let places = held(&self.shared.places);
        let Some(buffer) = places.get(&place) else { return Ok(None) };
        buffer.check(place)?;
        Ok(Some(buffer.end))
    }

    /// Gives room back: a reader is at this position for good.
    pub(crate) fn committed(&self, place: Place, position: u64) {
        let mut places = held(&self.shared.places);
        let Some(buffer) = places.get_mut(&place) else { return };
        buffer.start = buffer.start.max(position);
        while let Some(record) = buffer.records.pop_front_if(|record| record.offset < position) {
            buffer.bytes -= record.bytes();
        }
        self.shared.room.notify_one();
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

impl Buffer {
    fn new(Start { position, first }: Start) -> Self {
        let (records, asked_at) = (VecDeque::new(), Instant::now());
        Self { records, bytes: 0, start: position, end: first, asked_at, is_paused: false, is_lost: false }
    }

    fn check(&self, place: Place) -> Result<(), KafkaError> {
        if self.is_lost { Err(KafkaError::NotThere { topic: place.0, partition: place.1, offset: self.end }) } else { Ok(()) }
    }
}

impl Shared {
    fn run(&self, asked: &Receiver<Asked>) {
        while !self.is_stopping.load(Ordering::Acquire) {
            while let Ok((change, answers)) = asked.try_recv() {
                // Who asked may have gone.
                let _ = answers.send(self.change(&change));
            }
            if !self.has_room() {
                continue;
            }
            let (mut wait, mut taken, mut known, mut is_lost) = (POLL, Vec::new(), None::<&'static str>, false);
            // Errors that concern all (brokers away) are librdkafka's to retry; the end of a partition is none.
            while taken.len() < RING_AFTER
                && let Some(polled) = self.consumer.poll(wait)
            {
                match polled {
                    Ok(message) => {
                        // Most are of the same topic as the one before.
                        let name = message.topic();
                        known = known.filter(|topic| self.names.topic(topic) == name).or_else(|| self.topic(name));
                        if let Some(topic) = known {
                            taken.push(((topic, message.partition().unsigned_abs()), Arc::new(stored(&message))));
                        }
                    }
                    Err(error) => is_lost |= error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset),
                }
                wait = Duration::ZERO;
            }
            if is_lost {
                // Whoever reads looks where he stands.
                held(&self.places).values_mut().for_each(|buffer| buffer.is_lost = true);
            }
            if is_lost || !taken.is_empty() {
                self.take(taken);
                self.bell.ring();
            }
        }
    }

    fn change(&self, change: &Change) -> Result<(), HostError> {
        match *change {
            Change::Add(place, from) => {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(self.names.topic(place.0), place.1 as i32, Offset::Offset(from.first as i64))
                    .map_err(KafkaError::client)?;
                self.consumer.incremental_assign(&list).map_err(KafkaError::client)?;
                held(&self.places).insert(place, Buffer::new(from));
                Ok(())
            }
            Change::Remove(place) => {
                if held(&self.places).remove(&place).is_some() {
                    self.consumer.incremental_unassign(&self.list_of(place)).map_err(KafkaError::client)?;
                }
                Ok(())
            }
        }
    }

    /// Waits a while for room; tells whether there is any.
    fn has_room(&self) -> bool {
        let waiting =
            |places: &BTreeMap<Place, Buffer>| places.values().filter(|buffer| !buffer.is_paused).map(|buffer| buffer.bytes).sum::<usize>();
        let mut places = held(&self.places);
        if waiting(&places) > self.bound_bytes {
            places = self.room.wait_timeout(places, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        if waiting(&places) <= self.bound_bytes {
            return true;
        }
        for (place, buffer) in places.iter_mut().filter(|(_, buffer)| buffer.bytes > 0 && buffer.asked_at.elapsed() > IS_LEFT) {
            buffer.is_paused = buffer.is_paused || self.consumer.pause(&self.list_of(*place)).is_ok();
        }
        false
    }

    /// A topic that is read, as the places name it.
    fn topic(&self, name: &str) -> Option<&'static str> {
        held(&self.places).keys().map(|(topic, _)| *topic).find(|topic| self.names.topic(topic) == name)
    }

    fn list_of(&self, place: Place) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(self.names.topic(place.0), place.1 as i32);
        list
    }

    fn take(&self, records: Vec<(Place, Arc<Stored>)>) {
        let mut places = held(&self.places);
        for (place, record) in records {
            // Of a place that was taken away nothing should come; offsets ascend.
            if let Some(buffer) = places.get_mut(&place)
                && record.offset >= buffer.end
            {
                (buffer.end, buffer.bytes) = (record.offset + 1, buffer.bytes + record.bytes());
                buffer.records.push_back(record);
            }
        }
    }
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
