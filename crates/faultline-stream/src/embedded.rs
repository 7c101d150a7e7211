//! The embedded host's log: topics, state and positions in one RocksDB.
//!
//! **One writer at a time.** Offsets are allocated and their batch is written under one lock, so that a batch that can be read has
//! everything before it; a reader cannot pass an offset that is still to come.
//!
//! **When there is an fsync.** Doors' appends are synced before they return, several callers with one fsync. Commits are not: they go to
//! the same WAL, and a crash of the machine loses a suffix of it. What is left is a prefix of all batches, each whole, so
//! positions, state and outputs of a task agree, and what was lost is computed again from the inputs, which come before it in
//! the WAL. An fsync of a door covers every batch before it. A crash of the process alone loses nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use faultline_core::store::{Store, StoreError, Visit};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, DBRawIterator, ReadOptions, WriteBatch};

use crate::commit::{Commit, TaskId};
use crate::error::HostError;
use crate::layout;
use crate::log::{Log, Page, Place, Positions, Record, Stored};
use crate::rocks::{self, LATEST, LOG, META, Options, STATE};
use crate::sync::{Bell, GroupSync};
use crate::topics::{TopicPlan, Topics};

pub struct EmbeddedLog {
    db: DB,
    topics: Topics,
    /// The commit lock.
    writer: Mutex<()>,
    bounds: RwLock<BTreeMap<Place, Bounds>>,
    /// Batches written; each has its number as its ticket for the group's fsync.
    written: AtomicU64,
    syncs: GroupSync,
    has_failed: AtomicBool,
    bell: Bell,
}

/// What there is of a partition: offsets from `start` to below `end`.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    start: u64,
    end: u64,
}

/// A batch in the making, with what it has allocated so far.
#[derive(Default)]
struct Draft {
    batch: WriteBatch,
    bounds: BTreeMap<Place, Bounds>,
    latest: BTreeMap<Vec<u8>, u64>,
    offsets: Vec<u64>,
}

impl EmbeddedLog {
    /// Opens a folder, or makes it. Refuses one that is in use, of a newer format, or of another partition count.
    pub fn open(path: impl AsRef<Path>, plans: Vec<TopicPlan>, options: Options) -> Result<Self, HostError> {
        let topics = Topics::new(plans, options.partitions)?;
        let db = rocks::open(path.as_ref(), &options)?;
        let mut log = Self {
            db,
            topics,
            writer: Mutex::default(),
            bounds: RwLock::default(),
            written: AtomicU64::new(0),
            syncs: GroupSync::default(),
            has_failed: AtomicBool::new(false),
            bell: Bell::default(),
        };
        let bounds = log
            .topics
            .places()
            .map(|(topic, partition)| {
                let start = log.number(&layout::start_row(topic, partition))?.unwrap_or(0);
                let end = log.number(&layout::end_row(topic, partition))?.unwrap_or(0);
                Ok(((topic, partition), Bounds { start, end }))
            })
            .collect::<Result<_, HostError>>()?;
        log.bounds = RwLock::new(bounds);
        Ok(log)
    }

    /// Makes everything written so far durable. A sink calls it before it acts outside on what it read.
    pub fn sync(&self) -> Result<(), HostError> {
        self.durable(self.written.load(Ordering::Acquire))
    }

    /// A copy of the whole as of now, in a folder that does not exist yet; hard links where the disk is the same.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<(), HostError> {
        let path = path.as_ref();
        let _writer = self.writer.lock().map_err(|_| HostError::Stopped)?;
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(|source| HostError::Checkpoint { path: path.to_owned(), source })
    }

    /// Syncs what is written, waits for background work to end, and gives the folder free.
    pub fn close(self) -> Result<(), HostError> {
        self.sync()?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }

    fn durable(&self, ticket: u64) -> Result<(), HostError> {
        let sync = || self.db.flush_wal(true).map_err(|source| self.failed(source));
        self.syncs.wait(ticket, || self.written.load(Ordering::Acquire), sync)
    }

    /// Nobody knows what of a failed write is on disk: offsets given again could stand for something else. So it is the last.
    fn failed(&self, source: rocksdb::Error) -> HostError {
        self.has_failed.store(true, Ordering::Release);
        HostError::Write { source }
    }

    /// The one place that writes: drafts and writes a batch under the commit lock. Gives offsets and the ticket to wait for.
    fn write(&self, draft: impl FnOnce(&mut Draft) -> Result<(), HostError>) -> Result<(Vec<u64>, u64), HostError> {
        let _writer = self.writer.lock().map_err(|_| HostError::Stopped)?;
        if self.has_failed.load(Ordering::Acquire) {
            return Err(HostError::Stopped);
        }
        let mut drafted = Draft::default();
        draft(&mut drafted)?;
        let Draft { mut batch, bounds, offsets, .. } = drafted;
        let meta = rocks::family(&self.db, META);
        for ((topic, partition), now) in &bounds {
            batch.put_cf(meta, layout::end_row(topic, *partition), now.end.to_be_bytes());
            batch.put_cf(meta, layout::start_row(topic, *partition), now.start.to_be_bytes());
        }
        self.db.write(batch).map_err(|source| self.failed(source))?;
        self.bounds.write().unwrap_or_else(PoisonError::into_inner).extend(bounds);
        // Counted while the lock is held, so that a ticket never stands for a batch that is still being written.
        let ticket = self.written.fetch_add(1, Ordering::AcqRel) + 1;
        if !offsets.is_empty() {
            self.bell.ring();
        }
        Ok((offsets, ticket))
    }

    fn draft_records(&self, draft: &mut Draft, records: &[Record]) -> Result<(), HostError> {
        let (log, index) = (rocks::family(&self.db, LOG), rocks::family(&self.db, LATEST));
        for record in records {
            let (topic, partition) = (record.topic, record.partition);
            let plan = self.topics.plan(topic, partition)?;
            let bounds = match draft.bounds.get(&(topic, partition)) {
                Some(bounds) => *bounds,
                None => self.bounds(topic, partition)?,
            };
            let offset = bounds.end;
            draft.bounds.insert((topic, partition), Bounds { end: offset + 1, ..bounds });
            draft.offsets.push(offset);
            draft.batch.put_cf(log, layout::log_key(topic, partition, offset), layout::encode(record));
            if plan.compacted {
                let key = layout::latest_key(topic, partition, &record.key);
                let older = match draft.latest.get(&key) {
                    Some(older) => Some(*older),
                    None => self.latest_offset(&key)?,
                };
                if let Some(older) = older {
                    draft.batch.delete_cf(log, layout::log_key(topic, partition, older));
                }
                draft.batch.put_cf(index, &key, offset.to_be_bytes());
                draft.latest.insert(key, offset);
            }
        }
        Ok(())
    }

    fn draft_commit(&self, draft: &mut Draft, commit: &Commit) -> Result<(), HostError> {
        let Commit { task, positions, changes, outputs } = commit;
        let (meta, state) = (rocks::family(&self.db, META), rocks::family(&self.db, STATE));
        for ((topic, partition), position) in positions {
            let end = self.bounds(topic, *partition)?.end;
            if *position > end {
                return Err(HostError::AheadOfLog { task: *task, topic, partition: *partition, position: *position, end });
            }
            draft.batch.put_cf(meta, layout::position_row(*task, topic, *partition), position.to_be_bytes());
        }
        for (key, value) in changes {
            let key = layout::state_key(*task, key);
            match value {
                Some(value) => draft.batch.put_cf(state, key, value),
                None => draft.batch.delete_cf(state, key),
            }
        }
        self.draft_records(draft, outputs)
    }

    fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        let bounds = self.bounds.read().unwrap_or_else(PoisonError::into_inner);
        Ok(bounds.get(&(plan.name, partition)).copied().unwrap_or_default())
    }

    fn latest_offset(&self, latest_key: &[u8]) -> Result<Option<u64>, HostError> {
        let index = rocks::family(&self.db, LATEST);
        let row = self.db.get_pinned_cf(index, latest_key).map_err(|source| HostError::Read { source })?;
        row.map(|offset| layout::number("an offset of the newest record of a key", &offset)).transpose()
    }

    fn number(&self, row: &[u8]) -> Result<Option<u64>, HostError> {
        let value = self.db.get_pinned_cf(rocks::family(&self.db, META), row).map_err(|source| HostError::Read { source })?;
        value.map(|value| layout::number(&String::from_utf8_lossy(row), &value)).transpose()
    }
}

impl Log for EmbeddedLog {
    fn append(&self, records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.topics.check(&records)?;
        let (offsets, ticket) = self.write(|draft| self.draft_records(draft, &records))?;
        self.durable(ticket)?;
        Ok(offsets)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        // Beginning at the start keeps the iterator off the tombstones of what was truncated.
        let from = from.max(self.bounds(topic, partition)?.start);
        let mut page = Page::new(max_records, max_bytes);
        let mut rows = rows(&self.db, LOG, &layout::log_key(topic, partition, from), Some(layout::log_end(topic, partition)));
        while !page.is_full()
            && let Some((key, row)) = rows.item()
        {
            if !page.takes(layout::decode(layout::offset_of(key)?, row)?) {
                break;
            }
            rows.next();
        }
        rows.status().map_err(|source| HostError::Read { source })?;
        Ok(page.into_records())
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        Ok(self.bounds(topic, partition)?.end)
    }

    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        Ok(self.bounds(topic, partition)?.start)
    }

    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        self.topics.compacted(topic, partition)?;
        let index = layout::latest_key(topic, partition, key);
        // A record that is superseded between the two reads is gone at its old offset; the index then names a newer one.
        let mut before = None;
        loop {
            let Some(offset) = self.latest_offset(&index)? else { return Ok(None) };
            let at = layout::log_key(topic, partition, offset);
            let row = self.db.get_pinned_cf(rocks::family(&self.db, LOG), at).map_err(|source| HostError::Read { source })?;
            match row {
                Some(row) => return layout::decode(offset, &row).map(Some),
                None if before == Some(offset) => return Err(layout::corrupt("the newest record of a key", "the log does not have it")),
                None => before = Some(offset),
            }
        }
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        self.topics.check(&commit.outputs)?;
        Ok(self.write(|draft| self.draft_commit(draft, &commit))?.0)
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        let prefix = layout::positions_prefix(task);
        let mut positions = Positions::new();
        let mut rows = rows(&self.db, META, &prefix, layout::after(&prefix));
        while let Some((key, value)) = rows.item() {
            let (topic, partition) = layout::place_of(key, &prefix)?;
            let topic = self.topics.plan(topic, partition)?.name;
            positions.insert((topic, partition), layout::number("a position", value)?);
            rows.next();
        }
        rows.status().map_err(|source| HostError::Read { source })?;
        Ok(positions)
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        Box::new(TaskState { db: &self.db, task })
    }

    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError> {
        let plan = self.topics.truncatable(topic, partition, below, least_position)?;
        self.write(|draft| {
            let bounds = self.bounds(topic, partition)?;
            let start = below.min(bounds.end);
            if start > bounds.start {
                let first = layout::log_key(topic, partition, bounds.start);
                draft.batch.delete_range_cf(rocks::family(&self.db, LOG), first, layout::log_key(topic, partition, start));
                draft.bounds.insert((plan.name, partition), Bounds { start, ..bounds });
            }
            Ok(())
        })?;
        Ok(())
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.bell.wait(since, timeout)
    }
}

/// An iterator at its first row. Without an upper bound it would walk into its neighbour's rows, and over their tombstones.
fn rows<'d>(db: &'d DB, family: &str, from: &[u8], below: Option<Vec<u8>>) -> DBRawIterator<'d> {
    let mut bounded = ReadOptions::default();
    if let Some(below) = below {
        bounded.set_iterate_upper_bound(below);
    }
    let mut rows = db.raw_iterator_cf_opt(rocks::family(db, family), bounded);
    rows.seek(from);
    rows
}

/// One task's part of the state.
struct TaskState<'d> {
    db: &'d DB,
    task: TaskId,
}

impl Store for TaskState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(rocks::family(self.db, STATE), layout::state_key(self.task, key)).map_err(StoreError::read)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let task_bytes = layout::state_key(self.task, &[]).len();
        let first = layout::state_key(self.task, from.max(prefix));
        let mut rows = rows(self.db, STATE, &first, layout::after(&layout::state_key(self.task, prefix)));
        while let Some((key, value)) = rows.item() {
            if visit(&key[task_bytes..], value).is_break() {
                break;
            }
            rows.next();
        }
        rows.status().map_err(StoreError::read)
    }
}
