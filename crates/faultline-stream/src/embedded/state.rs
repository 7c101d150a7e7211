//! A task's state in the embedded log, and bounded iterators.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use faultline_core::store::{Store, StoreError, Visit};
use foldhash::fast::RandomState;
use rocksdb::{DB, DBRawIterator, ReadOptions};

use crate::layout;
use crate::rocks::{self, STATE};

/// How much of what was read is kept at hand.
const AT_HAND_BYTES: usize = 2 << 20;

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

/// One task's part of the state, as it was when it was first read. Only the task writes it, and only after it has let this go.
pub(super) struct TaskState<'d> {
    db: &'d DB,
    /// What stands before each of its keys.
    prefix: Vec<u8>,
    /// For scans within one group: to make an iterator costs more than such a scan.
    groups: OnceCell<RefCell<DBRawIterator<'d>>>,
    /// Rows that were found, some of which are asked for again and again in one batch, and all that were looked up together.
    at_hand: RefCell<AtHand>,
}

#[derive(Default)]
struct AtHand {
    /// Nothing where there is no such row.
    rows: HashMap<Vec<u8>, Option<Vec<u8>>, RandomState>,
    bytes: usize,
}

impl<'d> TaskState<'d> {
    pub(super) fn new(db: &'d DB, prefix: Vec<u8>) -> Self {
        Self { db, prefix, groups: OnceCell::new(), at_hand: RefCell::default() }
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
        if let Some(row) = self.at_hand.borrow().rows.get(key) {
            return Ok(row.clone());
        }
        let row = self.db.get_cf(rocks::family(self.db, STATE), self.key(key)).map_err(StoreError::read)?;
        if row.is_some() {
            self.at_hand.borrow_mut().keep(key.to_vec(), row.clone());
        }
        Ok(row)
    }

    fn look_up(&self, mut keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        let mut at_hand = self.at_hand.borrow_mut();
        keys.retain(|key| !at_hand.rows.contains_key(key));
        let whole: Vec<Vec<u8>> = keys.iter().map(|key| self.key(key)).collect();
        let rows = self.db.batched_multi_get_cf(rocks::family(self.db, STATE), &whole, false);
        for (key, row) in keys.into_iter().zip(rows) {
            at_hand.keep(key, row.map_err(StoreError::read)?.map(|row| row.to_vec()));
        }
        Ok(())
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

impl AtHand {
    fn keep(&mut self, key: Vec<u8>, row: Option<Vec<u8>>) {
        let bytes = key.len() + row.as_ref().map_or(0, Vec::len);
        self.bytes += bytes;
        if self.bytes > AT_HAND_BYTES {
            self.rows.clear();
            self.bytes = bytes;
        }
        self.rows.insert(key, row);
    }
}
