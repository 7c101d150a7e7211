//! Rows of a task's state that were read lately, kept from one batch to the next: of what is asked for again and again the store is not asked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use faultline_core::store::{Changes, Store, StoreError, Visit};
use foldhash::fast::RandomState;

/// What a row is taken to cost beside key and value.
const ENTRY_BYTES: usize = 96;

/// What a task has room for in any case, twice: what is looked up together is to be there when it is read one by one.
const LEAST_BYTES: usize = 256 << 10;

/// How much all tasks of a host may keep at hand; each has as much of it as any other.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    least_bytes: usize,
    tasks: AtomicUsize,
}

impl Room {
    /// Of one generation of a task's rows.
    fn share(&self) -> usize {
        (self.bytes / 2 / self.tasks.load(Ordering::Relaxed).max(1)).max(self.least_bytes)
    }

    pub(crate) fn of(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, least_bytes: LEAST_BYTES.min(bytes), tasks: AtomicUsize::default() })
    }
}

/// One task's rows at hand, as its state will be once all commits that it has begun have ended. Whoever reads through it tells it of each
/// commit, and has it forget all when one fails.
pub(crate) struct Rows {
    room: Arc<Room>,
    /// Those that were asked for since the others were.
    newer: Kept,
    newer_bytes: usize,
    older: Kept,
    /// What they weighed when they were the newer ones.
    older_bytes: usize,
}

/// Nothing where there is no such row.
type Kept = HashMap<Vec<u8>, Option<Vec<u8>>, RandomState>;

impl Rows {
    pub(crate) fn new(room: Arc<Room>) -> Self {
        room.tasks.fetch_add(1, Ordering::Relaxed);
        Self { room, newer: Kept::default(), newer_bytes: 0, older: Kept::default(), older_bytes: 0 }
    }

    fn has(&mut self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    fn get(&mut self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        if !self.newer.contains_key(key) {
            let (key, row) = self.older.remove_entry(key)?;
            self.keep(key, row);
        }
        self.newer.get(key)
    }

    fn keep(&mut self, key: Vec<u8>, row: Option<Vec<u8>>) {
        let bytes = weight(&key, row.as_deref());
        if self.newer_bytes + bytes > self.room.share() {
            self.turn_over();
        }
        self.newer_bytes += bytes;
        self.newer.insert(key, row);
    }

    fn turn_over(&mut self) {
        (self.older, self.older_bytes) = (std::mem::take(&mut self.newer), std::mem::take(&mut self.newer_bytes));
    }

    /// Keeps no more than there is room for: other tasks may have come to share it, and commits made rows longer.
    pub(crate) fn trim(&mut self) {
        let share = self.room.share();
        if self.newer_bytes > share {
            self.turn_over();
        }
        if self.older_bytes > share {
            (self.older, self.older_bytes) = (Kept::default(), 0);
        }
    }

    /// A commit begins. What is kept is made what it says; a row that is new is kept once somebody reads it, since most are never read again.
    pub(crate) fn apply(&mut self, changes: &Changes) {
        if self.newer.is_empty() && self.older.is_empty() {
            return;
        }
        for (key, row) in changes {
            if let Some(kept) = self.newer.get_mut(key) {
                self.newer_bytes -= weight(key, kept.as_deref());
                if let (Some(kept), Some(row)) = (&mut *kept, row) {
                    // Not into what it had room for before, which would grow by doubling.
                    *kept = row[..].to_vec();
                    self.newer_bytes += weight(key, Some(row));
                } else {
                    self.newer.remove(key);
                }
            } else if let Some(kept) = self.older.remove(key)
                && kept.is_some()
                && row.is_some()
            {
                self.keep(key.clone(), row.clone());
            }
        }
        self.trim();
    }

    /// A commit failed, and nobody knows what the state says.
    pub(crate) fn forget(&mut self) {
        (self.newer, self.newer_bytes, self.older, self.older_bytes) = (Kept::default(), 0, Kept::default(), 0);
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.room.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

fn weight(key: &[u8], row: Option<&[u8]>) -> usize {
    key.len() + row.map_or(0, <[u8]>::len) + ENTRY_BYTES
}

/// A store, and what of it is at hand.
pub(crate) struct AtHand<'a> {
    below: &'a dyn Store,
    rows: &'a RefCell<Rows>,
}

impl<'a> AtHand<'a> {
    pub(crate) fn new(below: &'a dyn Store, rows: &'a RefCell<Rows>) -> Self {
        Self { below, rows }
    }
}

impl Store for AtHand<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(row) = self.rows.borrow_mut().get(key) {
            return Ok(row.clone());
        }
        let row = self.below.get(key)?;
        if row.is_some() {
            self.rows.borrow_mut().keep(key.to_vec(), row.clone());
        }
        Ok(row)
    }

    fn look_up(&self, mut keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        let mut rows = self.rows.borrow_mut();
        keys.retain(|key| !rows.has(key));
        let found = self.below.get_all(&keys)?;
        for (key, row) in keys.into_iter().zip(found) {
            // One may have been asked for twice.
            if !rows.has(&key) {
                rows.keep(key, row);
            }
        }
        Ok(())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.below.scan(prefix, from, visit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use faultline_core::store::MemoryStore;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Does {
        Gets(u8),
        LooksUp(Vec<u8>),
        Commits(Vec<(u8, Option<Vec<u8>>)>),
        Fails,
    }

    fn does() -> impl Strategy<Value = Does> {
        let row = proptest::option::weighted(0.8, vec(any::<u8>(), 0..40));
        prop_oneof![
            4 => (0_u8..24).prop_map(Does::Gets),
            2 => vec(0_u8..24, 0..8).prop_map(Does::LooksUp),
            2 => vec((0_u8..24, row), 0..8).prop_map(Does::Commits),
            1 => Just(Does::Fails),
        ]
    }

    fn kept_bytes(rows: &Rows) -> usize {
        rows.newer.iter().map(|(key, row)| weight(key, row.as_deref())).sum()
    }

    proptest! {
        /// With room for a few rows, for all, and for none.
        #[test]
        fn what_is_at_hand_is_what_the_store_says(steps in vec(does(), 0..120), bytes in prop::sample::select(vec![0_usize, 600, 1 << 20])) {
            let mut store = MemoryStore::default();
            let room = Arc::new(Room { bytes, least_bytes: 0, tasks: AtomicUsize::default() });
            let rows = RefCell::new(Rows::new(room));
            for step in steps {
                match step {
                    Does::Gets(key) => prop_assert_eq!(AtHand::new(&store, &rows).get(&[key]).unwrap(), store.get(&[key]).unwrap()),
                    Does::LooksUp(keys) => {
                        let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| vec![key]).collect();
                        let at_hand = AtHand::new(&store, &rows);
                        at_hand.look_up(keys.clone()).unwrap();
                        prop_assert_eq!(at_hand.get_all(&keys).unwrap(), store.get_all(&keys).unwrap());
                    }
                    Does::Commits(changes) => {
                        let changes: Changes = changes.into_iter().map(|(key, row)| (vec![key], row)).collect();
                        rows.borrow_mut().apply(&changes);
                        store.apply(changes);
                    }
                    Does::Fails => rows.borrow_mut().forget(),
                }
                let rows = rows.borrow();
                prop_assert_eq!(kept_bytes(&rows), rows.newer_bytes);
                // A single row may be more than there is room for.
                prop_assert!(rows.newer.len() <= 1 || rows.newer_bytes <= bytes / 2);
                prop_assert!(rows.older.keys().all(|key| !rows.newer.contains_key(key)));
            }
        }
    }

    #[test]
    fn a_key_that_is_looked_up_twice_is_kept_once() {
        let rows = RefCell::new(Rows::new(Room::of(0)));
        AtHand::new(&MemoryStore::default(), &rows).look_up(vec![vec![1], vec![2], vec![1]]).unwrap();
        let rows = rows.borrow();
        assert!(rows.newer.contains_key(&[1][..]) && !rows.older.contains_key(&[1][..]));
    }

    #[test]
    fn the_room_is_shared_and_rows_that_are_asked_for_stay() {
        let room = Arc::new(Room { bytes: 4 * 1000, least_bytes: 0, tasks: AtomicUsize::default() });
        let (mut one, other) = (Rows::new(room.clone()), Rows::new(room.clone()));
        let row = || Some(vec![0; 1000 - ENTRY_BYTES - 1]);
        one.keep(vec![1], row());
        one.keep(vec![2], row());
        assert!(one.has(&[1]) && one.newer.contains_key(&[1][..]) && !one.newer.contains_key(&[2][..]), "asked for, it is new again");
        one.keep(vec![3], row());
        assert!(one.has(&[1]) && one.has(&[3]) && !one.has(&[2]));
        drop(other);
        one.keep(vec![4], row());
        assert_eq!(one.newer.len(), 2, "there is room for two now");
        let _others = [Rows::new(room.clone()), Rows::new(room)];
        one.trim();
        assert!(one.newer.is_empty() && one.older.is_empty(), "two are too many for a third of the room");
    }
}
