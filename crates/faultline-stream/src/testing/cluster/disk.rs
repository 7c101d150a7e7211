//! What a process keeps: the state of its tasks with the offsets of their changelogs, and copies of global topics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};

use faultline_core::store::{Changes, MemoryStore, Store, StoreError, Visit};

use super::turns;
use crate::commit::TaskId;
use crate::error::HostError;
use crate::kafka::cluster::Kept;
use crate::log::{Page, Stored};
use crate::sync::held;

/// The disk of one instance, which outlives its processes.
#[derive(Default)]
pub(super) struct Disk {
    now: Mutex<Content>,
    /// As it was once: what a crash of the machine leaves is a prefix of what was written.
    before: Mutex<Content>,
    /// Tasks whose rows have no room, and whether what was refused stands there all the same: nobody knows that of a failed write.
    full: Mutex<BTreeMap<TaskId, bool>>,
    /// Those of them that wanted to write.
    refused: Mutex<BTreeSet<TaskId>>,
}

#[derive(Clone, Default)]
struct Content {
    states: BTreeMap<TaskId, (Arc<MemoryStore>, u64)>,
    copies: BTreeMap<&'static str, Arc<Copy>>,
}

#[derive(Clone, Default)]
struct Copy {
    records: BTreeMap<u64, Stored>,
    latest: BTreeMap<Vec<u8>, u64>,
    end: u64,
}

impl Disk {
    pub(super) fn remember(&self) {
        *held(&self.before) = held(&self.now).clone();
    }

    pub(super) fn fill(&self, task: TaskId, stands_all_the_same: bool) {
        held(&self.full).insert(task, stands_all_the_same);
    }

    pub(super) fn make_room(&self) {
        held(&self.full).clear();
        held(&self.refused).clear();
    }

    /// Whether a task wanted to write and there was no room.
    pub(super) fn has_refused(&self, task: TaskId) -> bool {
        held(&self.refused).contains(&task)
    }

    pub(super) fn fall_back(&self) {
        *held(&self.now) = held(&self.before).clone();
    }

    pub(super) fn wipe(&self) {
        (*held(&self.now), *held(&self.before)) = (Content::default(), Content::default());
    }

    /// Adds the next record of a global topic.
    pub(super) fn copy(&self, topic: &'static str, record: Stored) {
        let mut now = held(&self.now);
        let copy = Arc::make_mut(now.copies.entry(topic).or_default());
        copy.end = record.offset + 1;
        if let Some(older) = copy.latest.insert(record.key.clone(), record.offset) {
            copy.records.remove(&older);
        }
        copy.records.insert(record.offset, record);
    }

    pub(super) fn end(&self, topic: &str) -> u64 {
        held(&self.now).copies.get(topic).map_or(0, |copy| copy.end)
    }

    pub(super) fn latest(&self, topic: &str, key: &[u8]) -> Option<Stored> {
        let now = held(&self.now);
        let copy = now.copies.get(topic)?;
        copy.latest.get(key).and_then(|offset| copy.records.get(offset)).cloned()
    }

    pub(super) fn read(&self, topic: &str, from: u64, max_records: usize, max_bytes: usize) -> Vec<Stored> {
        let now = held(&self.now);
        let mut page = Page::new(max_records, max_bytes);
        for record in now.copies.get(topic).into_iter().flat_map(|copy| copy.records.range(from..)).map(|(_, record)| record) {
            if !page.takes(record.clone()) {
                break;
            }
        }
        page.into_records()
    }

    /// All rows of a task.
    pub(super) fn rows(&self, task: TaskId) -> Arc<MemoryStore> {
        held(&self.now).states.get(&task).map(|(state, _)| state.clone()).unwrap_or_default()
    }
}

impl Kept for Disk {
    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        Box::new(TaskState { disk: self, task })
    }

    fn keep(&self, task: TaskId, changes: &Changes, next: u64) -> Result<(), HostError> {
        let full = held(&self.full).get(&task).copied();
        if full.is_none_or(|stands_all_the_same| stands_all_the_same) {
            let mut now = held(&self.now);
            let (state, kept) = now.states.entry(task).or_default();
            Arc::make_mut(state).apply(changes.clone());
            *kept = next;
        }
        if full.is_none() {
            return Ok(());
        }
        held(&self.refused).insert(task);
        Err(HostError::folder(Path::new("simulated"), ErrorKind::StorageFull.into()))
    }

    fn kept(&self, task: TaskId) -> Result<Option<u64>, HostError> {
        Ok(held(&self.now).states.get(&task).map(|(_, next)| *next))
    }

    fn forget(&self, task: TaskId) -> Result<(), HostError> {
        held(&self.now).states.remove(&task);
        Ok(())
    }

    fn copied(&self, topic: &str) -> Result<u64, HostError> {
        Ok(self.end(topic))
    }

    fn await_copy(&self) {
        turns::rest();
    }
}

/// Looks at the rows as they are at each call.
struct TaskState<'d> {
    disk: &'d Disk,
    task: TaskId,
}

impl Store for TaskState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.disk.rows(self.task).get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.disk.rows(self.task).scan(prefix, from, visit)
    }
}
