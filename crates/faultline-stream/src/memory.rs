//! The log in maps: the embedded log's twin for the simulation. It promises the same, except to be there after the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faultline_core::store::{MemoryStore, Store, StoreError, Visit};
use faultline_model::time::Timestamp;

use crate::commit::{Commit, TaskId};
use crate::error::HostError;
use crate::log::{Log, Page, Place, Positions, Record, Retained, Stored};
use crate::sync::{Bell, held};
use crate::topics::{MAX_RECORD_BYTES, TopicPlan, Topics};

pub struct MemoryLog {
    topics: Topics,
    content: Mutex<Content>,
    bell: Bell,
}

#[derive(Default)]
struct Content {
    partitions: BTreeMap<Place, Partition>,
    positions: BTreeMap<TaskId, Positions>,
    states: BTreeMap<TaskId, Arc<MemoryStore>>,
}

#[derive(Default)]
struct Partition {
    records: BTreeMap<u64, Stored>,
    latest: BTreeMap<Vec<u8>, u64>,
    /// Record times of words that a key went, by offset.
    gone: BTreeMap<u64, i64>,
    horizon: u64,
    start: u64,
    end: u64,
}

impl Partition {
    fn truncate(&mut self, below: u64) {
        self.start = self.start.max(below.min(self.end));
        self.records = self.records.split_off(&self.start);
    }

    fn truncate_old(&mut self, before: i64, least: u64, most: usize) -> Retained {
        let old = self.records.range(..least).take(most).take_while(|(_, record)| record.timestamp_ms < before);
        let (records, last) = old.fold((0, None), |(count, _), (offset, _)| (count + 1, Some(*offset)));
        if let Some(last) = last {
            self.truncate(last + 1);
        }
        Retained { records, has_more: records == most as u64 }
    }

    fn drop_gone(&mut self, before: i64, least: u64, most: usize) -> Retained {
        let old: Vec<u64> =
            self.gone.range(..least).take(most).take_while(|(_, time)| **time < before).map(|(offset, _)| *offset).collect();
        let mut records = 0;
        for offset in &old {
            self.gone.remove(offset);
            // What was superseded is there no more.
            if let Some(record) = self.records.remove(offset) {
                self.latest.remove(&record.key);
                records += 1;
            }
        }
        self.horizon = old.last().map_or(self.horizon, |last| last + 1);
        Retained { records, has_more: old.len() == most }
    }
}

impl MemoryLog {
    pub fn new(plans: Vec<TopicPlan>, partitions: u32) -> Result<Self, HostError> {
        Self::with_bound(plans, partitions, MAX_RECORD_BYTES)
    }

    /// With another bound of a record.
    pub fn with_bound(plans: Vec<TopicPlan>, partitions: u32, max_record_bytes: usize) -> Result<Self, HostError> {
        Ok(Self { topics: Topics::new(plans, partitions, max_record_bytes)?, content: Mutex::default(), bell: Bell::default() })
    }

    /// Reads a partition; one that nothing was written to is empty.
    fn with<T>(&self, topic: &str, partition: u32, read: impl FnOnce(&Partition) -> T) -> Result<T, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        let content = held(&self.content);
        Ok(match content.partitions.get(&(plan.name, partition)) {
            Some(partition) => read(partition),
            None => read(&Partition::default()),
        })
    }

    fn write(&self, content: &mut Content, records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        let mut offsets = Vec::with_capacity(records.len());
        for record in records {
            let plan = self.topics.plan(record.topic, record.partition)?;
            let partition = content.partitions.entry((record.topic, record.partition)).or_default();
            let offset = partition.end;
            partition.end += 1;
            if plan.compacted
                && let Some(older) = partition.latest.insert(record.key.clone(), offset)
            {
                partition.records.remove(&older);
            }
            if plan.compacted && record.value.is_none() {
                partition.gone.insert(offset, record.timestamp_ms);
            }
            partition.records.insert(offset, record.at(offset));
            offsets.push(offset);
        }
        if !offsets.is_empty() {
            self.bell.ring();
        }
        Ok(offsets)
    }
}

impl Log for MemoryLog {
    fn append(&self, records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        self.topics.check_appended(&records)?;
        self.write(&mut held(&self.content), records)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        self.with(topic, partition, |partition| {
            let mut page = Page::new(max_records, max_bytes);
            for record in partition.records.range(from..).map(|(_, record)| record) {
                if !page.takes(record.clone()) {
                    break;
                }
            }
            page.into_records()
        })
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.with(topic, partition, |partition| partition.end)
    }

    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.with(topic, partition, |partition| partition.start)
    }

    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        self.topics.compacted(topic, partition)?;
        self.with(topic, partition, |partition| partition.latest.get(key).and_then(|offset| partition.records.get(offset)).cloned())
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        let Commit { task, positions, changes, outputs } = commit;
        // All that can be refused is refused before anything is changed.
        self.topics.check_outputs(&outputs)?;
        let mut content = held(&self.content);
        for (&(topic, partition), &position) in &positions {
            self.topics.plan(topic, partition)?;
            let end = content.partitions.get(&(topic, partition)).map_or(0, |partition| partition.end);
            if position > end {
                return Err(HostError::AheadOfLog { task, topic, partition, position, end });
            }
        }
        content.positions.entry(task).or_default().extend(positions);
        Arc::make_mut(content.states.entry(task).or_default()).apply(changes);
        self.write(&mut content, outputs)
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        Ok(held(&self.content).positions.get(&task).cloned().unwrap_or_default())
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        Box::new(TaskState { log: self, task })
    }

    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError> {
        let plan = self.topics.truncatable(topic, partition, below, least_position)?;
        let mut content = held(&self.content);
        content.partitions.entry((plan.name, partition)).or_default().truncate(below);
        Ok(())
    }

    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError> {
        let plan = self.topics.plan(place.0, place.1)?;
        let mut content = held(&self.content);
        let partition = content.partitions.entry(place).or_default();
        let before = plan.cutoff(now);
        Ok(if plan.compacted {
            partition.drop_gone(before, least_position, max_records)
        } else {
            partition.truncate_old(before, least_position, max_records)
        })
    }

    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.topics.compacted(topic, partition)?;
        self.with(topic, partition, |partition| partition.horizon)
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.bell.wait(since, timeout)
    }

    fn wake(&self) {
        self.bell.ring();
    }

    fn topics(&self) -> Vec<TopicPlan> {
        self.topics.all()
    }

    fn partitions(&self, topic: &str) -> Result<u32, HostError> {
        Ok(self.topics.partitions(self.topics.named(topic)?))
    }

    fn max_record_bytes(&self) -> usize {
        self.topics.max_record_bytes()
    }
}

/// Looks at the store as it is at each call, without holding the log's lock while a scan visits.
struct TaskState<'l> {
    log: &'l MemoryLog,
    task: TaskId,
}

impl TaskState<'_> {
    fn now(&self) -> Arc<MemoryStore> {
        held(&self.log.content).states.get(&self.task).cloned().unwrap_or_default()
    }
}

impl Store for TaskState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.now().get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.now().scan(prefix, from, visit)
    }
}
