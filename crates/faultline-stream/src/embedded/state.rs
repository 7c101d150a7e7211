//! A task's state in the embedded log, and bounded iterators.

use faultline_core::store::{Store, StoreError, Visit};
use rocksdb::{DB, DBRawIterator, ReadOptions};

use crate::layout;
use crate::rocks::{self, STATE};

/// An iterator at its first row. Without an upper bound it would walk into its neighbour's rows, and over their tombstones.
pub(super) fn rows<'d>(db: &'d DB, family: &str, from: &[u8], below: Option<Vec<u8>>) -> DBRawIterator<'d> {
    let mut bounded = ReadOptions::default();
    if let Some(below) = below {
        bounded.set_iterate_upper_bound(below);
    }
    let mut rows = db.raw_iterator_cf_opt(rocks::family(db, family), bounded);
    rows.seek(from);
    rows
}

/// One task's part of the state.
pub(super) struct TaskState<'d> {
    pub(super) db: &'d DB,
    /// What stands before each of its keys.
    pub(super) prefix: Vec<u8>,
}

impl TaskState<'_> {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }
}

impl Store for TaskState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(rocks::family(self.db, STATE), self.key(key)).map_err(StoreError::read)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let first = self.key(from.max(prefix));
        let mut rows = rows(self.db, STATE, &first, layout::after(&self.key(prefix)));
        while let Some((key, value)) = rows.item() {
            if visit(&key[self.prefix.len()..], value).is_break() {
                break;
            }
            rows.next();
        }
        rows.status().map_err(StoreError::read)
    }
}
