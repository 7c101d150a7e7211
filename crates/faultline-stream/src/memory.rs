//! The log in maps: the embedded log's twin for the simulation. It promises the same, except to be there after the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faultline_core::store::{MemoryStore, Store, StoreError, Visit};

use crate::commit::{Commit, TaskId};
use crate::error::HostError;
use crate::log::{Log, Page, Place, Positions, Record, Stored};
use crate::sync::{Bell, held};
use crate::topics::{TopicPlan, Topics};

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
    start: u64,
    end: u64,
}

impl MemoryLog {
    pub fn new(plans: Vec<TopicPlan>, partitions: u32) -> Result<Self, HostError> {
        Ok(Self { topics: Topics::new(plans, partitions)?, content: Mutex::default(), bell: Bell::default() })
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
        self.topics.check(&records)?;
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
        self.topics.check(&outputs)?;
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
        let partition = content.partitions.entry((plan.name, partition)).or_default();
        partition.start = partition.start.max(below.min(partition.end));
        partition.records = partition.records.split_off(&partition.start);
        Ok(())
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.bell.wait(since, timeout)
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
