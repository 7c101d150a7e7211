//! What a host on another log keeps here: copies of its global topics, and the state of its tasks with how far it stands for their
//! changelogs. Each is one batch, so that neither is ever ahead of its own position.

use std::sync::Arc;

use faultline_core::store::Changes;
use rocksdb::WriteBatch;

use super::chunk::Packer;
use super::draft::{Draft, Indexed, bytes_of};
use super::state::rows;
use super::{Bounds, EmbeddedLog};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::layout;
use crate::log::{Place, Record, Stored};
use crate::rocks::{self, LOG, META, STATE};
use crate::sync::Bell;

impl EmbeddedLog {
    /// Adds records of a compacted topic under the offsets that they have elsewhere, which ascend. What is here already is left out.
    pub(crate) fn mirror(&self, place: Place, records: Vec<Stored>) -> Result<(), HostError> {
        self.topics.compacted(place.0, place.1)?;
        self.write(WriteBatch::default(), |draft| {
            let Bounds { start, end } = self.bounds(place.0, place.1)?;
            let mut records = records.into_iter().filter(|record| record.offset >= end).peekable();
            let mut end = end;
            while let Some(first) = records.peek().map(|record| record.offset) {
                let mut packer = Packer::default();
                while !packer.is_full()
                    // Offsets in a chunk are told apart by 4 bytes.
                    && let Some(record) = records.next_if(|record| record.offset - first < u64::from(u32::MAX))
                {
                    let Stored { offset, key, value, headers, timestamp_ms } = record;
                    let record = Record { topic: place.0, partition: place.1, key, value, headers, timestamp_ms };
                    packer.push_at((offset - first) as u32, &record);
                    self.draft_mirrored(draft, place, offset, &record)?;
                    end = offset + 1;
                }
                draft.batch.put_cf(rocks::family(&self.db, LOG), layout::log_key(place.0, place.1, first), packer.pack()?);
            }
            draft.bounds.insert(place, Bounds { start, end });
            Ok(())
        })?;
        self.bell.ring();
        Ok(())
    }

    fn draft_mirrored(&self, draft: &mut Draft, place: Place, offset: u64, record: &Record) -> Result<(), HostError> {
        if record.value.is_none() {
            let row = layout::gone_row(place.0, place.1, offset);
            draft.batch.put_cf(rocks::family(&self.db, META), row, record.timestamp_ms.to_be_bytes());
        }
        let key = layout::latest_key(place.0, place.1, &record.key);
        self.draft_newest(draft, place, offset, 0, Indexed::unasked(key))
    }

    /// Changes of a task's state, and the offset of its changelog behind them.
    pub(crate) fn keep(&self, task: TaskId, changes: &Changes, next: u64) -> Result<(), HostError> {
        self.keep_rows(task, changes, bytes_of(changes), next)
    }

    /// The same of rows that take about so many bytes.
    pub(super) fn keep_rows<'c>(
        &self,
        task: TaskId,
        rows: impl IntoIterator<Item = (&'c Vec<u8>, &'c Option<Vec<u8>>)>,
        bytes: usize,
        next: u64,
    ) -> Result<(), HostError> {
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        self.draft_changes(&mut batch, task, rows);
        batch.put_cf(rocks::family(&self.db, META), layout::changelog_row(task), next.to_be_bytes());
        self.write(batch, |_| Ok(()))?;
        Ok(())
    }

    /// The offset of a task's changelog behind what is kept of its state.
    pub(crate) fn kept(&self, task: TaskId) -> Result<Option<u64>, HostError> {
        self.number(&layout::changelog_row(task))
    }

    /// Of each task of which something is kept, its stage, its partition, and the offset of its changelog behind that.
    pub(crate) fn all_kept(&self) -> Result<Vec<(String, u32, u64)>, HostError> {
        let mut kept = Vec::new();
        let mut found = rows(&self.db, META, layout::CHANGELOG_ROWS, layout::after(layout::CHANGELOG_ROWS));
        while let Some((row, next)) = found.item() {
            let (stage, partition) = layout::place_of(row, layout::CHANGELOG_ROWS)?;
            kept.push((stage.to_owned(), partition, layout::number("the offset of a changelog", next)?));
            found.next();
        }
        found.status().map_err(|source| HostError::Read { source })?;
        Ok(kept)
    }

    /// A row of a task's state, as it is kept.
    pub(crate) fn kept_row(&self, stage: &str, partition: u32, key: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        let key = layout::row_key(stage, partition, key);
        self.db.get_cf(rocks::family(&self.db, STATE), key).map_err(|source| HostError::Read { source })
    }

    /// Forgets all of a task's state.
    pub(crate) fn forget(&self, task: TaskId) -> Result<(), HostError> {
        let from = layout::state_key(task, &[]);
        let mut batch = WriteBatch::default();
        // A task's name and number are never all 0xff, so there is a key behind them.
        let to = layout::after(&from).ok_or_else(|| layout::corrupt("a task's state", "its key has no end"))?;
        batch.delete_range_cf(rocks::family(&self.db, STATE), from, to);
        batch.delete_cf(rocks::family(&self.db, META), layout::changelog_row(task));
        self.write(batch, |_| Ok(()))?;
        Ok(())
    }

    /// Rings when anything came; who adds to what is read here rings it too.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        self.bell.clone()
    }

    /// Says to which cluster this folder belongs, or compares.
    pub(crate) fn belongs_to(&self, cluster: &str) -> Result<(), HostError> {
        let meta = rocks::family(&self.db, META);
        let known = self.db.get_cf(meta, layout::CLUSTER_ROW).map_err(|source| HostError::Read { source })?;
        match known {
            Some(known) if known == cluster.as_bytes() => Ok(()),
            Some(known) => {
                let found = String::from_utf8_lossy(&known).into_owned();
                Err(HostError::OtherCluster { path: self.db.path().to_owned(), found, asked: cluster.to_owned() })
            }
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(meta, layout::CLUSTER_ROW, cluster);
                let (_, ticket) = self.write(batch, |_| Ok(()))?;
                self.durable(ticket)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rocks::Options;

    #[test]
    fn a_folder_of_another_cluster_is_refused_and_says_which() {
        let folder = tempfile::tempdir().unwrap();
        let open = || EmbeddedLog::open(folder.path(), vec![], Options::default()).unwrap();
        let log = open();
        log.belongs_to("this-one").unwrap();
        log.close().unwrap();
        let log = open();
        log.belongs_to("this-one").unwrap();
        let refused = log.belongs_to("another").unwrap_err();
        assert!(matches!(&refused, HostError::OtherCluster { found, asked, .. } if (&**found, &**asked) == ("this-one", "another")));
        let told = refused.to_string();
        assert!(told.contains("this-one") && told.contains("another answers") && told.contains(folder.path().to_str().unwrap()), "{told}");
    }
}
