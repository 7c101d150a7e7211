//! How records and a task's rows become one batch: most of it before the commit lock is taken, the offsets under it.

use std::collections::BTreeMap;

use faultline_core::store::Changes;
use rocksdb::WriteBatch;

use super::chunk::Packer;
use super::{Bounds, EmbeddedLog, latest_in};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::layout;
use crate::log::{Place, Positions, Record};
use crate::rocks::{self, LATEST, LOG, META, STATE};

/// What a row takes in a batch beside what is counted, about: the rest of its key, lengths, and its family.
const ROW_BYTES: usize = 40;

/// A batch in the making, with what it has allocated so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) batch: WriteBatch,
    pub(super) bounds: BTreeMap<Place, Bounds>,
    pub(super) latest: BTreeMap<Vec<u8>, u64>,
    pub(super) superseded: BTreeMap<Place, u64>,
    pub(super) offsets: Vec<u64>,
}

/// Consecutive records of one partition as far as they can be made ready without the commit lock: all but their offsets.
pub(super) struct Ready {
    place: Place,
    row: Vec<u8>,
    records: Vec<ReadyRecord>,
}

pub(super) struct ReadyRecord {
    /// Which of all records that were given it is.
    number: usize,
    index: Option<Indexed>,
}

impl Ready {
    /// About what it takes in a batch.
    fn bytes(&self) -> usize {
        let indexed = self.records.iter().filter_map(|record| record.index.as_ref());
        self.row.len() + ROW_BYTES + indexed.map(|index| index.key.len() + 2 * ROW_BYTES).sum::<usize>()
    }
}

/// A chunk that is being filled.
#[derive(Default)]
struct Filling {
    packer: Packer,
    records: Vec<ReadyRecord>,
}

impl Filling {
    fn ready(self, place: Place) -> Result<Ready, HostError> {
        Ok(Ready { place, row: self.packer.pack()?, records: self.records })
    }
}

/// What the index of newest records is asked of a record in a compacted topic.
pub(super) struct Indexed {
    key: Vec<u8>,
    /// The offset that it supersedes, if nothing was appended since the partition ended at `as_of`.
    older: Option<u64>,
    as_of: u64,
    /// Its time, if it is the word that a key went.
    gone_at: Option<i64>,
}

#[cfg(feature = "kafka")]
impl Indexed {
    /// One that is asked for under the commit lock.
    pub(super) fn unasked(key: Vec<u8>) -> Self {
        Self { key, older: None, as_of: u64::MAX, gone_at: None }
    }
}

impl EmbeddedLog {
    /// Packs records and asks the index, so that little is left to do under the commit lock.
    pub(super) fn ready(&self, records: &[Record]) -> Result<Vec<Ready>, HostError> {
        let (mut ready, mut filling) = (Vec::new(), BTreeMap::<Place, Filling>::new());
        for (number, record) in records.iter().enumerate() {
            let place = (record.topic, record.partition);
            let is_compacted = self.topics.plan(place.0, place.1)?.compacted;
            let index = is_compacted.then(|| self.not_asked(record)).transpose()?;
            let chunk = filling.entry(place).or_default();
            chunk.packer.push(record);
            chunk.records.push(ReadyRecord { number, index });
            if chunk.packer.is_full() {
                ready.push(std::mem::take(chunk).ready(place)?);
            }
        }
        let begun = filling.into_iter().filter(|(_, chunk)| !chunk.records.is_empty());
        for (place, chunk) in begun {
            ready.push(chunk.ready(place)?);
        }
        // All ends were looked at before: what is appended after them makes an answer void.
        let mut indexed: Vec<&mut Indexed> =
            ready.iter_mut().flat_map(|chunk| &mut chunk.records).filter_map(|record| record.index.as_mut()).collect();
        let answers = self.db.batched_multi_get_cf(rocks::family(&self.db, LATEST), indexed.iter().map(|index| &index.key), false);
        for (index, answer) in indexed.iter_mut().zip(answers) {
            let row = answer.map_err(|source| HostError::Read { source })?;
            index.older = row.map(|offset| latest_in(&offset)).transpose()?;
        }
        Ok(ready)
    }

    fn not_asked(&self, record: &Record) -> Result<Indexed, HostError> {
        let as_of = self.bounds(record.topic, record.partition)?.end;
        let key = layout::latest_key(record.topic, record.partition, &record.key);
        Ok(Indexed { key, older: None, as_of, gone_at: record.value.is_none().then_some(record.timestamp_ms) })
    }

    pub(super) fn draft_records(&self, draft: &mut Draft, chunks: Vec<Ready>) -> Result<(), HostError> {
        let (log, meta) = (rocks::family(&self.db, LOG), rocks::family(&self.db, META));
        draft.offsets.resize(chunks.iter().map(|chunk| chunk.records.len()).sum(), 0);
        for Ready { place, row, records } in chunks {
            let (topic, partition) = place;
            let before = self.bounds(topic, partition)?;
            let bounds = draft.bounds.entry(place).or_insert(before);
            let first = bounds.end;
            bounds.end += records.len() as u64;
            draft.batch.put_cf(log, layout::log_key(topic, partition, first), row);
            for (offset, ReadyRecord { number, index }) in (first..).zip(records) {
                draft.offsets[number] = offset;
                if let Some(index) = index {
                    if let Some(time) = index.gone_at {
                        draft.batch.put_cf(meta, layout::gone_row(topic, partition, offset), time.to_be_bytes());
                    }
                    self.draft_newest(draft, place, offset, before.end, index)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a record the newest of its key, and forgets the one before. `end` is where the partition ended when the lock was taken.
    pub(super) fn draft_newest(&self, draft: &mut Draft, place: Place, offset: u64, end: u64, index: Indexed) -> Result<(), HostError> {
        let older = match draft.latest.get(&index.key) {
            Some(older) => Some(*older),
            None if index.as_of == end => index.older,
            None => self.latest_offset(&index.key)?,
        };
        if let Some(older) = older {
            self.draft_superseded(draft, place, older);
        }
        draft.batch.put_cf(rocks::family(&self.db, LATEST), &index.key, offset.to_be_bytes());
        draft.latest.insert(index.key, offset);
        Ok(())
    }

    /// A record is no more, though it stands in its chunk until that is cleaned.
    pub(super) fn draft_superseded(&self, draft: &mut Draft, place: Place, offset: u64) {
        draft.batch.put_cf(rocks::family(&self.db, META), layout::superseded_row(place.0, place.1, offset), []);
        *draft.superseded.entry(place).or_default() += 1;
    }

    /// State and positions of a commit, in a batch with room for these records. A task's rows are its own, so that nothing of it
    /// needs the commit lock.
    pub(super) fn own_rows(
        &self,
        task: TaskId,
        positions: &Positions,
        changes: &Changes,
        records: &[Ready],
    ) -> Result<WriteBatch, HostError> {
        let meta = rocks::family(&self.db, META);
        // A batch that grows is copied again and again.
        let of_records: usize = records.iter().map(Ready::bytes).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes_of(changes) + of_records);
        for ((topic, partition), position) in positions {
            let end = self.bounds(topic, *partition)?.end;
            if *position > end {
                return Err(HostError::AheadOfLog { task, topic, partition: *partition, position: *position, end });
            }
            batch.put_cf(meta, layout::position_row(task, topic, *partition), position.to_be_bytes());
        }
        self.draft_changes(&mut batch, task, changes);
        Ok(batch)
    }

    pub(super) fn draft_changes<'c>(
        &self,
        batch: &mut WriteBatch,
        task: TaskId,
        changes: impl IntoIterator<Item = (&'c Vec<u8>, &'c Option<Vec<u8>>)>,
    ) {
        let state = rocks::family(&self.db, STATE);
        let mut at = layout::state_key(task, &[]);
        let task_len = at.len();
        for (key, value) in changes {
            at.truncate(task_len);
            at.extend(key);
            match value {
                Some(value) => batch.put_cf(state, &at, value),
                None => batch.delete_cf(state, &at),
            }
        }
    }
}

/// The room that changes take in a batch, about.
pub(super) fn bytes_of(changes: &Changes) -> usize {
    changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + ROW_BYTES).sum()
}
