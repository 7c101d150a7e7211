//! Cleaning: chunks of which half or more is superseded are written anew without it, as Kafka's log cleaner does.

use rocksdb::WriteBatch;

use super::EmbeddedLog;
use super::draft::Draft;
use crate::error::HostError;
use crate::layout;
use crate::log::Place;
use crate::rocks::{self, LOG, META};
use crate::sync::held;

/// A walk through what is superseded begins when this share of what the last one left has come anew: so one that is left is met a few
/// times at most, and what waits is little.
const WALK_SHARE: u64 = 8;

/// What cleaning has to do in a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wear {
    /// Records superseded since the last walk began.
    new: u64,
    /// Those that the last walk met and left.
    left: u64,
    /// Where a walk goes on.
    walk: Option<Walk>,
    /// Whether this folder was walked since it was opened: it may have been left in the middle.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    from: u64,
    left: u64,
}

impl Wear {
    pub(super) fn add(&mut self, records: u64) {
        self.new += records;
    }

    /// The walk to go on with, if there is reason for one.
    fn walk(&mut self) -> Option<Walk> {
        let is_due = !self.is_known || (self.new > 0 && self.new >= self.left / WALK_SHARE);
        if self.walk.is_none() && is_due {
            (self.is_known, self.new) = (true, 0);
            self.walk = Some(Walk::default());
        }
        self.walk
    }

    fn walked(&mut self, walk: Walk, has_more: bool) {
        if has_more {
            self.walk = Some(walk);
        } else {
            (self.walk, self.left) = (None, walk.left);
        }
    }
}

impl EmbeddedLog {
    pub(super) fn clean_place(&self, place: Place, most: usize) -> Result<bool, HostError> {
        if !self.topics.plan(place.0, place.1)?.compacted {
            return Ok(false);
        }
        let Some(mut walk) = held(&self.wear).entry(place).or_default().walk() else { return Ok(false) };
        let mut looked = 0;
        let mut has_more = true;
        while has_more && looked < most {
            match self.superseded(place.0, place.1, walk.from, u64::MAX, 1)?.first() {
                Some(first) => {
                    let (met, left, end) = self.clean_chunk(place, *first)?;
                    looked += met;
                    walk = Walk { from: end, left: walk.left + left as u64 };
                }
                None => has_more = false,
            }
        }
        held(&self.wear).entry(place).or_default().walked(walk, has_more);
        Ok(has_more)
    }

    /// Cleans the chunk that has this superseded record, if it is worth it. Gives how many are superseded in it, how many of them
    /// are left there, and where it ends.
    fn clean_chunk(&self, place: Place, offset: u64) -> Result<(usize, usize, u64), HostError> {
        let (topic, partition) = place;
        let chunk = self.chunk_with(topic, partition, offset)?;
        let Some(chunk) = chunk else {
            // A commit that had looked its key up before the record went and was cleaned away says so once more.
            self.write(WriteBatch::default(), |draft| {
                let row = layout::superseded_row(topic, partition, offset);
                draft.batch.delete_cf(rocks::family(&self.db, META), row);
                Ok(())
            })?;
            return Ok((1, 0, offset + 1));
        };
        let met = self.superseded(topic, partition, chunk.first(), chunk.end(), usize::MAX)?.len();
        if met * 2 < chunk.count() {
            return Ok((met, met, chunk.end()));
        }
        self.write(WriteBatch::default(), |draft| self.draft_cleaned(draft, place, offset))?;
        Ok((met, 0, chunk.end()))
    }

    /// Under the commit lock, so that all is read as it is: more may be superseded than before.
    fn draft_cleaned(&self, draft: &mut Draft, place: Place, offset: u64) -> Result<(), HostError> {
        let (topic, partition) = place;
        let (log, meta) = (rocks::family(&self.db, LOG), rocks::family(&self.db, META));
        let Some(chunk) = self.chunk_with(topic, partition, offset)? else { return Ok(()) };
        let gone = self.superseded(topic, partition, chunk.first(), chunk.end(), usize::MAX)?;
        let at = layout::log_key(topic, partition, chunk.first());
        match chunk.without(|offset| gone.binary_search(&offset).is_ok())? {
            Some(row) => draft.batch.put_cf(log, at, row),
            None => draft.batch.delete_cf(log, at),
        }
        for offset in gone {
            draft.batch.delete_cf(meta, layout::superseded_row(topic, partition, offset));
        }
        Ok(())
    }
}
