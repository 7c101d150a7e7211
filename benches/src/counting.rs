//! A log that counts what is written through it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use faultline_core::store::Store;
use faultline_model::time::Timestamp;
use faultline_stream::{Commit, EmbeddedLog, Gauge, HostError, Log, Place, Positions, Record, Retained, Stored, TaskId, TopicPlan};

/// Counts over an embedded log.
pub struct CountingLog {
    below: EmbeddedLog,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// By stage and table (the first byte of the key): keys and values of state that were put or deleted.
    state_bytes: BTreeMap<(&'static str, u8), u64>,
    /// By topic: records that stages wrote.
    produced: BTreeMap<&'static str, u64>,
}

impl CountingLog {
    pub fn over(below: EmbeddedLog) -> Self {
        Self { below, counts: Mutex::default() }
    }

    /// Bytes of state that a stage wrote, by table, keys included.
    pub fn state_bytes(&self, stage: &str) -> BTreeMap<u8, u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.state_bytes.iter().filter(|((of, _), _)| *of == stage).map(|((_, table), bytes)| (*table, *bytes)).collect()
    }

    /// Records that stages wrote to a topic.
    pub fn produced(&self, topic: &str) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).produced.get(topic).copied().unwrap_or(0)
    }
}

impl Log for CountingLog {
    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        {
            // Counting is not to cost what is counted.
            let mut by_table = [0; 256];
            for (key, value) in &commit.changes {
                let table = key.first().copied().unwrap_or_default();
                by_table[usize::from(table)] += (key.len() + value.as_ref().map_or(0, Vec::len)) as u64;
            }
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (table, bytes) in (0..=u8::MAX).zip(by_table).filter(|(_, bytes)| *bytes > 0) {
                *counts.state_bytes.entry((commit.task.stage, table)).or_default() += bytes;
            }
            for output in &commit.outputs {
                *counts.produced.entry(output.topic).or_default() += 1;
            }
        }
        self.below.commit(commit)
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        self.below.append(records)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        self.below.read(topic, partition, from, max_records, max_bytes)
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.below.end_offset(topic, partition)
    }

    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.below.start_offset(topic, partition)
    }

    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        self.below.latest(topic, partition, key)
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        self.below.positions(task)
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        self.below.state(task)
    }

    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError> {
        self.below.truncate(topic, partition, below, least_position)
    }

    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError> {
        self.below.retain(place, now, least_position, max_records)
    }

    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.below.horizon(topic, partition)
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.below.wait_for_change(since, timeout)
    }

    fn wake(&self) {
        self.below.wake();
    }

    fn topics(&self) -> Vec<TopicPlan> {
        self.below.topics()
    }

    fn partitions(&self, topic: &str) -> Result<u32, HostError> {
        self.below.partitions(topic)
    }

    fn max_record_bytes(&self) -> usize {
        self.below.max_record_bytes()
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.below.gauges()
    }
}
