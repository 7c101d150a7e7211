//! A log that fails when it is told to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use faultline_core::store::{Store, StoreError, Visit};
use faultline_model::time::Timestamp;

use crate::commit::{Commit, TaskId};
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
    log: MemoryLog,
    fault: Mutex<Option<Fault>>,
    /// Reads of state until one fails; 0 if none shall.
    state_reads: AtomicU32,
}

impl FaultyLog {
    pub fn new(log: MemoryLog) -> Self {
        Self { log, fault: Mutex::default(), state_reads: AtomicU32::new(0) }
    }

    /// The next of its kind fails.
    pub fn arm(&self, fault: Fault) {
        if let Fault::StateFails(reads) = fault {
            self.state_reads.store(reads.saturating_add(1), Ordering::Relaxed);
        } else {
            *held(&self.fault) = Some(fault);
        }
    }

    /// Nothing fails any more.
    pub fn disarm(&self) {
        *held(&self.fault) = None;
        self.state_reads.store(0, Ordering::Relaxed);
    }

    /// Whether this is to fail now.
    fn strikes(&self, fault: Fault) -> bool {
        let mut armed = held(&self.fault);
        let strikes = *armed == Some(fault);
        if strikes {
            *armed = None;
        }
        strikes
    }

    fn state_fails(&self) -> Result<(), StoreError> {
        // One thread steps in a simulation, so that two steps are as good as one.
        let reads = self.state_reads.load(Ordering::Relaxed);
        self.state_reads.store(reads.saturating_sub(1), Ordering::Relaxed);
        if reads == 1 { Err(StoreError::read("a fault of the simulation")) } else { Ok(()) }
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
        self.log.append(records)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        if self.strikes(Fault::ReadFails) {
            return Err(HostError::Stopped);
        }
        self.log.read(topic, partition, from, max_records, max_bytes)
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.log.end_offset(topic, partition)
    }

    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.log.start_offset(topic, partition)
    }

    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        self.log.latest(topic, partition, key)
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        if self.strikes(Fault::CommitRefused) {
            return Err(HostError::Stopped);
        }
        let offsets = self.log.commit(commit)?;
        if self.strikes(Fault::AnswerLost) { Err(HostError::Stopped) } else { Ok(offsets) }
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        self.log.positions(task)
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        Box::new(FaultyState { log: self, state: self.log.state(task) })
    }

    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError> {
        self.log.truncate(topic, partition, below, least_position)
    }

    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError> {
        self.log.retain(place, now, least_position, max_records)
    }

    fn clean(&self, place: Place, max_records: usize) -> Result<bool, HostError> {
        self.log.clean(place, max_records)
    }

    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.log.horizon(topic, partition)
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.log.wait_for_change(since, timeout)
    }

    fn wake(&self) {
        self.log.wake();
    }

    fn topics(&self) -> Vec<TopicPlan> {
        self.log.topics()
    }

    fn partitions(&self, topic: &str) -> Result<u32, HostError> {
        self.log.partitions(topic)
    }

    fn max_record_bytes(&self) -> usize {
        self.log.max_record_bytes()
    }
}
