//! A log that fails when it is told to, and whose commits take as long as it is told.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faultline_core::store::{Store, StoreError, Visit};
use faultline_model::time::Timestamp;

use crate::commit::{Commit, Ending, InFlight, TaskId};
use crate::error::HostError;
use crate::log::{Log, Place, Positions, Record, Retained, Stored};
use crate::memory::MemoryLog;
use crate::sync::held;
use crate::topics::TopicPlan;

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next commit is refused and nothing of it is there: a crash before it.
    CommitRefused,
    /// The next commit is there, but the task never learns it: a crash after it.
    AnswerLost,
    /// The next read of records fails.
    ReadFails,
    /// State fails at one of the next reads, this many later.
    StateFails(u32),
}

/// A log in memory with faults.
pub struct FaultyLog {
    below: Arc<Below>,
    /// At which look the end of the next commits is found; 0 for commits that have ended when they have begun.
    looks: AtomicU32,
    flights: Mutex<Vec<Flight>>,
    /// Reads of state until one fails; 0 if none shall.
    state_reads: AtomicU32,
}

struct Below {
    log: MemoryLog,
    fault: Mutex<Option<Fault>>,
}

impl Below {
    /// Whether this is to fail now.
    fn strikes(&self, fault: Fault) -> bool {
        let mut armed = held(&self.fault);
        let strikes = *armed == Some(fault);
        if strikes {
            *armed = None;
        }
        strikes
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        if self.strikes(Fault::CommitRefused) {
            return Err(HostError::Stopped);
        }
        let offsets = self.log.commit(commit)?;
        if self.strikes(Fault::AnswerLost) { Err(HostError::Stopped) } else { Ok(offsets) }
    }
}

impl FaultyLog {
    pub fn new(log: MemoryLog) -> Self {
        let below = Arc::new(Below { log, fault: Mutex::default() });
        Self { below, looks: AtomicU32::new(0), flights: Mutex::default(), state_reads: AtomicU32::new(0) }
    }

    /// The next of its kind fails.
    pub fn arm(&self, fault: Fault) {
        if let Fault::StateFails(reads) = fault {
            self.state_reads.store(reads.saturating_add(1), Ordering::Relaxed);
        } else {
            *held(&self.below.fault) = Some(fault);
        }
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        *held(&self.below.fault) = None;
        self.state_reads.store(0, Ordering::Relaxed);
    }

    /// Commits that begin from now on are in flight until their end was looked for so often, or is waited for.
    pub fn defer(&self, looks: u32) {
        self.looks.store(looks, Ordering::Relaxed);
    }

    /// Ends what is in flight, though its tasks do not know as yet. What is in flight when its task is dropped ends no other way, as if
    /// the process had died.
    pub fn land(&self) {
        held(&self.flights).drain(..).for_each(|flight| flight.land(&self.below));
    }

    fn state_fails(&self) -> Result<(), StoreError> {
        // One thread steps in a simulation, so that two steps are as good as one.
        let reads = self.state_reads.load(Ordering::Relaxed);
        self.state_reads.store(reads.saturating_sub(1), Ordering::Relaxed);
        if reads == 1 { Err(StoreError::read("a fault of the simulation")) } else { Ok(()) }
    }
}

/// A commit in flight, which the log and its task both hold.
#[derive(Clone)]
struct Flight(Arc<Mutex<Progress>>);

enum Progress {
    UnderWay(Commit),
    Ended(Result<Vec<u64>, HostError>),
    /// Its task has gone, or knows.
    Over,
}

impl Flight {
    fn land(&self, below: &Below) {
        let mut progress = held(&self.0);
        *progress = match std::mem::replace(&mut *progress, Progress::Over) {
            Progress::UnderWay(commit) => Progress::Ended(below.commit(commit)),
            ended => ended,
        };
    }
}

/// The task's end of it.
struct Deferred {
    flight: Flight,
    below: Arc<Below>,
    looks: u32,
}

impl Ending for Deferred {
    fn is_here(&mut self) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.looks == 0 || matches!(*held(&self.flight.0), Progress::Ended(_))
    }

    fn wait(self: Box<Self>) -> Result<Vec<u64>, HostError> {
        self.flight.land(&self.below);
        match std::mem::replace(&mut *held(&self.flight.0), Progress::Over) {
            Progress::Ended(outcome) => outcome,
            Progress::UnderWay(_) | Progress::Over => Err(HostError::Stopped),
        }
    }

    fn give_up(self: Box<Self>) -> Result<Vec<u64>, HostError> {
        self.wait()
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        *held(&self.flight.0) = Progress::Over;
    }
}

struct FaultyState<'l> {
    log: &'l FaultyLog,
    state: Box<dyn Store + 'l>,
}

impl Store for FaultyState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.log.state_fails()?;
        self.state.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.log.state_fails()?;
        self.state.scan(prefix, from, visit)
    }
}

impl Log for FaultyLog {
    fn append(&self, records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        self.below.log.append(records)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        if self.below.strikes(Fault::ReadFails) {
            return Err(HostError::Stopped);
        }
        self.below.log.read(topic, partition, from, max_records, max_bytes)
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.below.log.end_offset(topic, partition)
    }

    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.below.log.start_offset(topic, partition)
    }

    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        self.below.log.latest(topic, partition, key)
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        self.below.commit(commit)
    }

    fn begin(&self, commit: Commit) -> Result<Option<InFlight>, HostError> {
        let looks = self.looks.load(Ordering::Relaxed);
        if looks == 0 {
            return self.commit(commit).map(|_| None);
        }
        let changes = Arc::new(commit.changes.clone());
        let flight = Flight(Arc::new(Mutex::new(Progress::UnderWay(commit))));
        let mut flights = held(&self.flights);
        flights.retain(|flight| !matches!(*held(&flight.0), Progress::Over));
        flights.push(flight.clone());
        Ok(Some(InFlight { changes, ending: Box::new(Deferred { flight, below: self.below.clone(), looks }) }))
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        self.below.log.positions(task)
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        Box::new(FaultyState { log: self, state: self.below.log.state(task) })
    }

    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError> {
        self.below.log.truncate(topic, partition, below, least_position)
    }

    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError> {
        self.below.log.retain(place, now, least_position, max_records)
    }

    fn clean(&self, place: Place, max_records: usize) -> Result<bool, HostError> {
        self.below.log.clean(place, max_records)
    }

    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.below.log.horizon(topic, partition)
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.below.log.wait_for_change(since, timeout)
    }

    fn wake(&self) {
        self.below.log.wake();
    }

    fn topics(&self) -> Vec<TopicPlan> {
        self.below.log.topics()
    }

    fn partitions(&self, topic: &str) -> Result<u32, HostError> {
        self.below.log.partitions(topic)
    }

    fn max_record_bytes(&self) -> usize {
        self.below.log.max_record_bytes()
    }
}
