//! The embedded host's log: topics, state and positions in one RocksDB.
//!
//! **One writer at a time.** Offsets are allocated and their batch is written under one lock, so that a batch that can be read has
//! everything before it; a reader cannot pass an offset that is still to come.
//!
//! **When there is an fsync.** Doors' appends are synced before they return, several callers with one fsync. Commits are not: they go to
//! the same WAL, and a crash of the machine loses a suffix of it. What is left is a prefix of all batches, each whole, so
//! positions, state and outputs of a task agree, and what was lost is computed again from the inputs, which come before it in
//! the WAL. An fsync of a door covers every batch before it. A crash of the process alone loses nothing.

mod chunk;
mod clean;
#[cfg(feature = "kafka")]
mod copy;
mod draft;
mod failure;
#[cfg(feature = "kafka")]
mod gather;
mod read;
mod retention;
mod state;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use faultline_core::store::Store;
use faultline_model::time::Timestamp;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, WriteBatch};

use self::clean::Wear;
use self::draft::Draft;
use self::failure::Failure;
#[cfg(feature = "kafka")]
pub(crate) use self::gather::Gathered;
use self::read::{Chunks, Superseded};
use self::state::{TaskState, rows};
use crate::commit::{Commit, TaskId};
use crate::error::HostError;
use crate::layout;
use crate::log::{Gauge, Log, Page, Place, Positions, Record, Retained, Stored};
use crate::rocks::{self, LATEST, META, Options};
use crate::sync::{Bell, GroupSync, held};
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
    failure: Failure,
    bell: Arc<Bell>,
    /// Of each place what cleaning has to do.
    wear: Mutex<BTreeMap<Place, Wear>>,
}

/// What there is of a partition: offsets from `start` to below `end`.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    start: u64,
    end: u64,
}

impl EmbeddedLog {
    /// Opens a folder, or makes it. Refuses one that is in use, of a newer format, or of another partition count.
    pub fn open(path: impl AsRef<Path>, plans: Vec<TopicPlan>, options: Options) -> Result<Self, HostError> {
        let topics = Topics::new(plans, options.partitions, options.max_record_bytes)?;
        let db = rocks::open(path.as_ref(), &options)?;
        let mut log = Self {
            db,
            topics,
            writer: Mutex::default(),
            bounds: RwLock::default(),
            written: AtomicU64::new(0),
            syncs: GroupSync::default(),
            failure: Failure::default(),
            bell: Arc::default(),
            wear: Mutex::default(),
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
        let synced = self.syncs.wait(ticket, || self.written.load(Ordering::Acquire), sync);
        synced.map_err(|error| self.accepts().err().unwrap_or(error))
    }

    /// Nobody knows what of a failed write is on disk: offsets given again could stand for something else. So it is the last.
    fn failed(&self, source: rocksdb::Error) -> HostError {
        let failed = self.failure.of(self.db.path(), source);
        // Who waits for something to come finds that nothing comes.
        self.bell.ring();
        failed
    }

    /// The one place that writes: completes and writes a batch under the commit lock. Gives offsets and the ticket to wait for.
    fn write(&self, batch: WriteBatch, draft: impl FnOnce(&mut Draft) -> Result<(), HostError>) -> Result<(Vec<u64>, u64), HostError> {
        let _writer = self.writer.lock().map_err(|_| HostError::Stopped)?;
        self.accepts()?;
        let mut drafted = Draft { batch, ..Draft::default() };
        draft(&mut drafted)?;
        let Draft { mut batch, bounds, offsets, superseded, .. } = drafted;
        let meta = rocks::family(&self.db, META);
        for ((topic, partition), now) in &bounds {
            batch.put_cf(meta, layout::end_row(topic, *partition), now.end.to_be_bytes());
            batch.put_cf(meta, layout::start_row(topic, *partition), now.start.to_be_bytes());
        }
        self.db.write(batch).map_err(|source| self.failed(source))?;
        self.bounds.write().unwrap_or_else(PoisonError::into_inner).extend(bounds);
        for (place, records) in superseded {
            held(&self.wear).entry(place).or_default().add(records);
        }
        // Counted while the lock is held, so that a ticket never stands for a batch that is still being written.
        let ticket = self.written.fetch_add(1, Ordering::AcqRel) + 1;
        if !offsets.is_empty() {
            self.bell.ring();
        }
        Ok((offsets, ticket))
    }

    fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        let bounds = self.bounds.read().unwrap_or_else(PoisonError::into_inner);
        Ok(bounds.get(&(plan.name, partition)).copied().unwrap_or_default())
    }

    fn latest_offset(&self, latest_key: &[u8]) -> Result<Option<u64>, HostError> {
        let index = rocks::family(&self.db, LATEST);
        let row = self.db.get_pinned_cf(index, latest_key).map_err(|source| HostError::Read { source })?;
        row.map(|offset| latest_in(&offset)).transpose()
    }

    fn number(&self, row: &[u8]) -> Result<Option<u64>, HostError> {
        let value = self.db.get_pinned_cf(rocks::family(&self.db, META), row).map_err(|source| HostError::Read { source })?;
        value.map(|value| layout::number(&String::from_utf8_lossy(row), &value)).transpose()
    }
}

/// The offset in a row of the index of newest records.
fn latest_in(row: &[u8]) -> Result<u64, HostError> {
    layout::number("an offset of the newest record of a key", row)
}

impl Log for EmbeddedLog {
    fn accepts(&self) -> Result<(), HostError> {
        self.failure.told(self.db.path())
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.topics.check_appended(&records)?;
        let ready = self.ready(&records)?;
        let (offsets, ticket) = self.write(WriteBatch::default(), |draft| self.draft_records(draft, ready))?;
        self.durable(ticket)?;
        Ok(offsets)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        // Beginning at the start keeps the iterator off the tombstones of what was truncated.
        let from = from.max(self.bounds(topic, partition)?.start);
        let mut page = Page::new(max_records, max_bytes);
        let is_compacted = self.topics.plan(topic, partition)?.compacted;
        // One view of both: a chunk that is cleaned meanwhile loses its records and the words that they are superseded together.
        let now = self.db.snapshot();
        let mut superseded = is_compacted.then(|| Superseded::new(&self.db, &now, topic, partition, from));
        let mut chunks = Chunks::new(&self.db, &now, topic, partition, from);
        while !page.is_full()
            && let Some(chunk) = chunks.next()?
        {
            for row in chunk.rows_from(from) {
                let (offset, row) = row?;
                if let Some(superseded) = &mut superseded
                    && superseded.has(offset)?
                {
                    continue;
                }
                if !page.takes(layout::decode(offset, row)?) {
                    return Ok(page.into_records());
                }
            }
        }
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
        // A record that is superseded and cleaned away between the two reads is gone at its old offset; the index then names a
        // newer one.
        let mut before = None;
        loop {
            let Some(offset) = self.latest_offset(&index)? else { return Ok(None) };
            let chunk = self.chunk_with(topic, partition, offset)?;
            match chunk.and_then(|chunk| chunk.record(offset).transpose()).transpose()? {
                Some(record) => return Ok(Some(record)),
                None if before == Some(offset) => return Err(layout::corrupt("the newest record of a key", "the log does not have it")),
                None => before = Some(offset),
            }
        }
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        let Commit { task, positions, changes, outputs } = commit;
        self.topics.check_outputs(&outputs)?;
        let ready = self.ready(&outputs)?;
        let own = self.own_rows(task, &positions, &changes, &ready)?;
        Ok(self.write(own, |draft| self.draft_records(draft, ready))?.0)
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
        Box::new(TaskState::new(&self.db, layout::state_key(task, &[])))
    }

    fn truncate(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<(), HostError> {
        let plan = self.topics.truncatable(topic, partition, below, least_position)?;
        self.truncate_below((plan.name, partition), below)
    }

    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError> {
        self.retain_place(place, now, least_position, max_records)
    }

    fn clean(&self, place: Place, max_records: usize) -> Result<bool, HostError> {
        self.clean_place(place, max_records)
    }

    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.topics.compacted(topic, partition)?;
        Ok(self.number(&layout::horizon_row(topic, partition))?.unwrap_or(0))
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

    fn gauges(&self) -> Vec<Gauge> {
        rocks::gauges(&self.db)
    }
}
