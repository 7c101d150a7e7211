//! Retention in the embedded log: old records are cut off in offset order, and whole files of them are given back to the disk at once.

use faultline_model::time::Timestamp;
use rocksdb::WriteBatch;

use super::draft::Draft;
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
        let first = layout::log_key(topic, partition, bounds.start);
        let end = layout::log_key(topic, partition, bounds.end.min(least).max(bounds.start));
        let mut below = bounds.start;
        let mut looked = 0;
        let mut rows = rows(&self.db, LOG, &first, Some(end));
        while looked < most
            && let Some((key, row)) = rows.item()
            && layout::time_of(row)? < before
        {
            below = layout::offset_of(key)? + 1;
            looked += 1;
            rows.next();
        }
        rows.status().map_err(|source| HostError::Read { source })?;
        drop(rows);
        if below > bounds.start {
            self.truncate_below(place, below)?;
        }
        Ok(Retained { records: below - bounds.start, has_more: looked == most })
    }

    /// Moves the start of a partition, durably, then gives files back that hold nothing else.
    pub(super) fn truncate_below(&self, place: Place, below: u64) -> Result<(), HostError> {
        let (topic, partition) = place;
        let mut start = None;
        let (_, ticket) = self.write(WriteBatch::default(), |draft| {
            let bounds = self.bounds(topic, partition)?;
            let moved = below.min(bounds.end);
            if moved > bounds.start {
                let first = layout::log_key(topic, partition, bounds.start);
                draft.batch.delete_range_cf(rocks::family(&self.db, LOG), first, layout::log_key(topic, partition, moved));
                draft.bounds.insert(place, Bounds { start: moved, ..bounds });
                start = Some(moved);
            }
            Ok(())
        })?;
        let Some(last) = start.and_then(|start| start.checked_sub(1)) else { return Ok(()) };
        // Files go at once, and a crash does not bring them back: so positions and the new start are on disk first.
        self.durable(ticket)?;
        // Both ends count, so the last is a record that is gone.
        let (first, last) = (layout::log_key(topic, partition, 0), layout::log_key(topic, partition, last));
        self.db.delete_file_in_range_cf(rocks::family(&self.db, LOG), first, last).map_err(|source| HostError::Write { source })
    }

    /// Drops words that a key went, with the key, up to the first that is younger than `before`.
    fn drop_gone(&self, plan: TopicPlan, partition: u32, before: i64, least: u64, most: usize) -> Result<Retained, HostError> {
        let (looked, has_more) = self.gone(plan, partition, before, least, most)?;
        let mut records = 0;
        if let Some(last) = looked.last().copied() {
            self.write(WriteBatch::default(), |draft| {
                for offset in looked {
                    records += u64::from(self.draft_drop(draft, plan, partition, offset)?);
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
    fn draft_drop(&self, draft: &mut Draft, plan: TopicPlan, partition: u32, offset: u64) -> Result<bool, HostError> {
        let (log, index, meta) = (rocks::family(&self.db, LOG), rocks::family(&self.db, LATEST), rocks::family(&self.db, META));
        draft.batch.delete_cf(meta, layout::gone_row(plan.name, partition, offset));
        let at = layout::log_key(plan.name, partition, offset);
        let row = self.db.get_pinned_cf(log, &at).map_err(|source| HostError::Read { source })?;
        let Some(row) = row else { return Ok(false) };
        let record = layout::decode(offset, &row)?;
        draft.batch.delete_cf(index, layout::latest_key(plan.name, partition, &record.key));
        draft.batch.delete_cf(log, at);
        Ok(true)
    }
}
