//! A task's state in the embedded log, and bounded iterators.

use std::cell::{OnceCell, RefCell};

use faultline_core::store::{Store, StoreError, Visit};
use rocksdb::{DB, DBRawIterator, ReadOptions};

use crate::layout;
use crate::rocks::{self, STATE};

/// An iterator at its first row. Without an upper bound it would walk into its neighbour's rows, and over their tombstones.
pub(super) fn rows<'d>(db: &'d DB, family: &str, from: &[u8], below: Option<Vec<u8>>) -> DBRawIterator<'d> {
    bounded(ReadOptions::default(), db, family, from, below)
}

pub(super) fn bounded<'d>(mut bounded: ReadOptions, db: &'d DB, family: &str, from: &[u8], below: Option<Vec<u8>>) -> DBRawIterator<'d> {
    if let Some(below) = below {
        bounded.set_iterate_upper_bound(below);
    }
    let mut rows = db.raw_iterator_cf_opt(rocks::family(db, family), bounded);
    rows.seek(from);
    rows
}

/// One task's part of the state. Only the task's own commits change it, and who reads while one is in flight lays its changes over this.
pub(super) struct TaskState<'d> {
    db: &'d DB,
    /// What stands before each of its keys.
    prefix: Vec<u8>,
    /// For scans within one group: to make an iterator costs more than such a scan.
    groups: OnceCell<RefCell<DBRawIterator<'d>>>,
}

impl<'d> TaskState<'d> {
    pub(super) fn new(db: &'d DB, prefix: Vec<u8>) -> Self {
        Self { db, prefix, groups: OnceCell::new() }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    fn groups(&self) -> &RefCell<DBRawIterator<'d>> {
        self.groups.get_or_init(|| {
            let mut options = ReadOptions::default();
            // Ends with the group of the seek: in place of a bound, which would be the iterator's for good.
            options.set_prefix_same_as_start(true);
            RefCell::new(self.db.raw_iterator_cf_opt(rocks::family(self.db, STATE), options))
        })
    }

    fn visit(&self, rows: &mut DBRawIterator<'_>, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        while let Some((key, value)) = rows.item() {
            if !key.starts_with(prefix) || visit(&key[self.prefix.len()..], value).is_break() {
                break;
            }
            rows.next();
        }
        rows.status().map_err(StoreError::read)
    }
}

impl Store for TaskState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(rocks::family(self.db, STATE), self.key(key)).map_err(StoreError::read)
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| self.key(key)).collect();
        let rows = self.db.batched_multi_get_cf(rocks::family(self.db, STATE), &keys, false);
        rows.into_iter().map(|row| Ok(row.map_err(StoreError::read)?.map(|row| row.to_vec()))).collect()
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let first = self.key(from.max(prefix));
        let prefix = self.key(prefix);
        if layout::state_group(&prefix).is_none() {
            let mut options = ReadOptions::default();
            // Over several groups their filters would hide rows.
            options.set_total_order_seek(true);
            let mut rows = bounded(options, self.db, STATE, &first, layout::after(&prefix));
            return self.visit(&mut rows, &prefix, visit);
        }
        if let Ok(mut rows) = self.groups().try_borrow_mut() {
            rows.seek(&first);
            return self.visit(&mut rows, &prefix, visit);
        }
        // A scan within a scan.
        let mut rows = rows(self.db, STATE, &first, layout::after(&prefix));
        self.visit(&mut rows, &prefix, visit)
    }
}
