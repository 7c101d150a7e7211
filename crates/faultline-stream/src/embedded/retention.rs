//! Retention in the embedded log: old records are cut off in offset order, and whole files of them are given back to the disk at once.

use faultline_model::time::Timestamp;
use rocksdb::WriteBatch;

use super::chunk::Chunk;
use super::draft::Draft;
use super::read::Chunks;
use super::state::rows;
use super::{Bounds, EmbeddedLog};
use crate::error::HostError;
use crate::layout;
use crate::log::{Place, Retained};
use crate::rocks::{self, LATEST, LOG, META};
use crate::topics::TopicPlan;

impl EmbeddedLog {
    pub(super) fn retain_place(&self, place: Place, now: Timestamp, least: u64, most: usize) -> Result<Retained, HostError> {
        let plan = self.topics.plan(place.0, place.1)?;
        let before = plan.cutoff(now);
        if plan.compacted { self.drop_gone(plan, place.1, before, least, most) } else { self.truncate_old(place, before, least, most) }
    }

    /// Truncates what is older than `before`, up to the first record that is not.
    fn truncate_old(&self, place: Place, before: i64, least: u64, most: usize) -> Result<Retained, HostError> {
        let (topic, partition) = place;
        let bounds = self.bounds(topic, partition)?;
        let end = bounds.end.min(least);
        let (mut below, mut looked) = (bounds.start, 0);
        let now = self.db.snapshot();
        let mut chunks = Chunks::new(&self.db, &now, topic, partition, bounds.start);
        'looking: while looked < most
            && let Some(chunk) = chunks.next()?
        {
            for row in chunk.rows_from(bounds.start) {
                let (offset, row) = row?;
                if looked == most || offset >= end || layout::time_of(row)? >= before {
                    break 'looking;
                }
                below = offset + 1;
                looked += 1;
            }
        }
        drop(chunks);
        if below > bounds.start {
            self.truncate_below(place, below)?;
        }
        Ok(Retained { records: below - bounds.start, has_more: looked == most })
    }

    /// Moves the start of a partition, durably, then gives files back that hold nothing else.
    pub(super) fn truncate_below(&self, place: Place, below: u64) -> Result<(), HostError> {
        let (topic, partition) = place;
        let mut emptied = None;
        let (_, ticket) = self.write(WriteBatch::default(), |draft| {
            let bounds = self.bounds(topic, partition)?;
            let moved = below.min(bounds.end);
            if moved > bounds.start {
                // A chunk that reaches over the new start stays whole.
                let first = self.chunk_with(topic, partition, moved)?.map_or(moved, |chunk| chunk.first());
                let (from, to) = (layout::log_key(topic, partition, 0), layout::log_key(topic, partition, first));
                draft.batch.delete_range_cf(rocks::family(&self.db, LOG), from, to);
                draft.bounds.insert(place, Bounds { start: moved, ..bounds });
                emptied = first.checked_sub(1);
            }
            Ok(())
        })?;
        let Some(last) = emptied else { return Ok(()) };
        // Files go at once, and a crash does not bring them back: so positions and the new start are on disk first.
        self.durable(ticket)?;
        // Both ends count, so the last is a record that is gone.
        let (first, last) = (layout::log_key(topic, partition, 0), layout::log_key(topic, partition, last));
        self.db
            .delete_file_in_range_cf(rocks::family(&self.db, LOG), first, last)
            .map_err(|source| HostError::write(self.db.path(), source))
    }

    /// Drops words that a key went, with the key, up to the first that is younger than `before`.
    fn drop_gone(&self, plan: TopicPlan, partition: u32, before: i64, least: u64, most: usize) -> Result<Retained, HostError> {
        let (looked, has_more) = self.gone(plan, partition, before, least, most)?;
        let mut records = 0;
        if let Some(last) = looked.last().copied() {
            self.write(WriteBatch::default(), |draft| {
                // Many lie in one chunk.
                let mut chunk = None;
                for offset in looked {
                    records += u64::from(self.draft_drop(draft, (plan.name, partition), &mut chunk, offset)?);
                }
                draft.batch.put_cf(rocks::family(&self.db, META), layout::horizon_row(plan.name, partition), (last + 1).to_be_bytes());
                Ok(())
            })?;
        }
        Ok(Retained { records, has_more })
    }

    /// Offsets of the oldest words that a key went, and whether there may be more of them.
    fn gone(&self, plan: TopicPlan, partition: u32, before: i64, least: u64, most: usize) -> Result<(Vec<u64>, bool), HostError> {
        let first = layout::gone_row(plan.name, partition, 0);
        let mut rows = rows(&self.db, META, &first, Some(layout::gone_row(plan.name, partition, least)));
        let mut offsets = Vec::new();
        while offsets.len() < most
            && let Some((key, time)) = rows.item()
            && layout::time_in(time)? < before
        {
            offsets.push(layout::offset_of(key)?);
            rows.next();
        }
        rows.status().map_err(|source| HostError::Read { source })?;
        let has_more = offsets.len() == most;
        Ok((offsets, has_more))
    }

    /// Under the commit lock, so that what the log has at an offset is what the index names. False if it was superseded before.
    fn draft_drop(&self, draft: &mut Draft, place: Place, read: &mut Option<Chunk>, offset: u64) -> Result<bool, HostError> {
        let (topic, partition) = place;
        draft.batch.delete_cf(rocks::family(&self.db, META), layout::gone_row(topic, partition, offset));
        if !self.superseded(topic, partition, offset, offset + 1, 1)?.is_empty() {
            return Ok(false);
        }
        if read.as_ref().is_none_or(|chunk| !(chunk.first()..chunk.end()).contains(&offset)) {
            *read = self.chunk_with(topic, partition, offset)?;
        }
        let record = match read {
            Some(chunk) => chunk.record(offset)?,
            None => None,
        };
        let Some(record) = record else { return Ok(false) };
        draft.batch.delete_cf(rocks::family(&self.db, LATEST), layout::latest_key(topic, partition, &record.key));
        self.draft_superseded(draft, place, offset);
        Ok(true)
    }
}
