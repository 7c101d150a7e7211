//! Rows of a task's state on their way from its changelog into the store: of each key the last word, many at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rocksdb::WriteBatch;

use super::EmbeddedLog;
use crate::commit::TaskId;
use crate::error::HostError;
use crate::layout;
use crate::rocks::{self, META, STATE};

/// What a row takes in memory beside its bytes, about.
const ROW_BYTES: usize = 96;

/// What a changelog said and the store does not have yet. A row that was said again is there once.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    rows: HashMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Gathered {
    /// The next word of a changelog.
    pub(crate) fn say(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.bytes += length(&value);
        match self.rows.entry(key) {
            Entry::Occupied(mut known) => self.bytes -= length(&known.insert(value)),
            Entry::Vacant(new) => {
                self.bytes += new.key().len() + ROW_BYTES;
                new.insert(value);
            }
        }
    }

    /// All of it, in the order of its keys; nothing is left.
    pub(crate) fn take(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.bytes = 0;
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl EmbeddedLog {
    /// Puts what was gathered into a task's state, with the offset of its changelog behind it: one batch. Tables that are written aside and
    /// taken in whole were no faster here: of 724,000 rows 100,000 are left to write.
    pub(crate) fn keep_gathered(&self, task: TaskId, gathered: &mut Gathered, next: u64) -> Result<(), HostError> {
        let mut batch = WriteBatch::with_capacity_bytes(gathered.bytes());
        // In their order they go into a memtable side by side.
        let rows = gathered.take();
        let state = rocks::family(&self.db, STATE);
        for (key, value) in rows {
            let key = layout::state_key(task, &key);
            match value {
                Some(value) => batch.put_cf(state, key, value),
                None => batch.delete_cf(state, key),
            }
        }
        batch.put_cf(rocks::family(&self.db, META), layout::changelog_row(task), next.to_be_bytes());
        self.write(batch, |_| Ok(()))?;
        Ok(())
    }
}
