//! The ordered key-value store that a stage's tables live in, and the overlay in which a batch works.
//!
//! What it is: byte keys in order, reads that may fail, writes that only an [`Overlay`] takes. What it is not: durable. A host
//! gives the store that is read through, and makes the overlay's changes durable together with outputs and positions.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::error::Error;
use std::hash::BuildHasher;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

/// What a batch changed: a value for a put, nothing for a delete.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Sees one row; `Break` ends the scan.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// A store that could not answer, or answered what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state could not be read; the task stops, nothing of this batch was committed: see the cause, then restart")]
    Read {
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("table {table}, key {key}: {reason}; set the state aside and let the task restore it")]
    Corrupt { table: &'static str, key: String, reason: String },
}

impl StoreError {
    pub fn read(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Read { source: source.into() }
    }

    pub fn corrupt(table: &'static str, key: &[u8], reason: impl Into<String>) -> Self {
        Self::Corrupt { table, key: hex(key), reason: reason.into() }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Keys in byte order.
pub trait Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the rows whose key begins with `prefix`, in key order, from the first key that is not below `from`.
    /// A `from` below the prefix means the whole prefix.
    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Several rows, in the order of their keys: a store may read them together, which costs it less.
    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Rows that will be asked for one by one: who keeps rows at hand may read them together.
    fn look_up(&self, _keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store in memory: for tests, the simulation, and small what-ifs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore(BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryStore {
    pub fn apply(&mut self, changes: Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> btree_map::Iter<'_, Vec<u8>, Vec<u8>> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a MemoryStore {
    type Item = (&'a Vec<u8>, &'a Vec<u8>);
    type IntoIter = btree_map::Iter<'a, Vec<u8>, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for (key, value) in within(&self.0, prefix, from) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The rows of a map under a prefix, from a key on.
fn within<'m, V>(rows: &'m BTreeMap<Vec<u8>, V>, prefix: &'m [u8], from: &[u8]) -> impl Iterator<Item = (&'m Vec<u8>, &'m V)> {
    let first = from.max(prefix);
    rows.range::<[u8], _>((Bound::Included(first), Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
}

/// Changes over a store, for reading: what the store will hold once they are applied, or holds by now.
pub struct Layer<'a> {
    below: &'a dyn Store,
    changes: &'a Changes,
}

impl<'a> Layer<'a> {
    pub fn new(below: &'a dyn Store, changes: &'a Changes) -> Self {
        Self { below, changes }
    }
}

/// A batch's own view: what it changed, over the store as last committed.
///
/// Dropping it undoes the batch. It is a [`Store`] itself, so a what-if is an overlay over an overlay.
pub struct Overlay<'a> {
    below: &'a dyn Store,
    changes: Changes,
    /// What most keys that are asked for are not among.
    keys: MaybeAmong,
    bytes: usize,
}

/// Tells of most keys that are not among those it was told of that they are not, sooner than a map of thousands of rows would.
#[derive(Default)]
struct MaybeAmong {
    /// Nothing before the first key.
    bits: Vec<u64>,
    hasher: foldhash::fast::FixedState,
}

impl MaybeAmong {
    /// A batch changes some ten thousand rows.
    const BITS: usize = 1 << 17;

    fn place(&self, key: &[u8]) -> (usize, u64) {
        let at = self.hasher.hash_one(key) as usize % Self::BITS;
        (at / 64, 1 << (at % 64))
    }

    fn add(&mut self, key: &[u8]) {
        if self.bits.is_empty() {
            self.bits = vec![0; Self::BITS / 64];
        }
        let (word, bit) = self.place(key);
        self.bits[word] |= bit;
    }

    fn may_have(&self, key: &[u8]) -> bool {
        let (word, bit) = self.place(key);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// What one change is taken to cost beside key and value, so that a batch of many deletes is bounded as well.
const ENTRY_BYTES: usize = 64;

impl<'a> Overlay<'a> {
    pub fn new(below: &'a dyn Store) -> Self {
        Self { below, changes: Changes::new(), keys: MaybeAmong::default(), bytes: 0 }
    }

    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.change(key.into(), Some(value.into()));
    }

    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.change(key.into(), None);
    }

    /// What the changes weigh in memory, about: a host commits before it grows past its bound.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// What this batch put and did not delete again, without what is below: for rows that are known not to stand there.
    pub fn changed(&self) -> Changed<'_> {
        Changed(&self.changes)
    }

    fn layer(&self) -> Layer<'_> {
        Layer::new(self.below, &self.changes)
    }

    fn change(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let key_len = key.len();
        self.keys.add(&key);
        self.bytes += value.as_ref().map_or(0, Vec::len);
        match self.changes.insert(key, value) {
            Some(before) => self.bytes -= before.map_or(0, |value| value.len()),
            None => self.bytes += key_len + ENTRY_BYTES,
        }
    }
}

/// Rows that a batch put.
pub struct Changed<'a>(&'a Changes);

impl Store for Changed<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned().flatten())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for (key, value) in within(self.0, prefix, from).filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Store for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.keys.may_have(key) {
            return self.below.get(key);
        }
        self.layer().get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.layer().scan(prefix, from, visit)
    }

    fn look_up(&self, mut keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        keys.retain(|key| !self.keys.may_have(key) || !self.changes.contains_key(key));
        self.below.look_up(keys)
    }
}

impl Store for Layer<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changes.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut changed = within(self.changes, prefix, from).peekable();
        let mut flow = ControlFlow::Continue(());
        self.below.scan(prefix, from, &mut |key, value| {
            flow = changed_below(&mut changed, key, visit);
            if flow.is_continue() {
                flow = match changed.next_if(|(at, _)| at.as_slice() == key) {
                    None => visit(key, value),
                    Some((_, Some(newer))) => visit(key, newer),
                    Some((_, None)) => ControlFlow::Continue(()),
                };
            }
            flow
        })?;
        if flow.is_continue() {
            for (key, value) in changed {
                if let Some(value) = value
                    && visit(key, value).is_break()
                {
                    break;
                }
            }
        }
        Ok(())
    }

    fn get_all(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let asked: Vec<Vec<u8>> = keys.iter().filter(|key| !self.changes.contains_key(*key)).cloned().collect();
        let mut found = self.below.get_all(&asked)?.into_iter();
        Ok(keys.iter().map(|key| self.changes.get(key).cloned().or_else(|| found.next()).flatten()).collect())
    }

    fn look_up(&self, mut keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        keys.retain(|key| !self.changes.contains_key(key));
        self.below.look_up(keys)
    }
}

/// Visits the changed rows that stand before `key`.
fn changed_below<'c>(
    changed: &mut Peekable<impl Iterator<Item = (&'c Vec<u8>, &'c Option<Vec<u8>>)>>,
    key: &[u8],
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    while let Some((at, value)) = changed.next_if(|(at, _)| at.as_slice() < key) {
        if let Some(value) = value {
            visit(at, value)?;
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..4)
    }

    fn rows_of(store: &dyn Store, prefix: &[u8], from: &[u8], most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        store
            .scan(prefix, from, &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                if rows.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        rows
    }

    proptest! {
        #[test]
        fn an_overlay_behaves_as_one_map(
            below in btree_map(key(), value(), 0..20),
            changes in vec((key(), proptest::option::of(value())), 0..20),
            scans in vec((key(), key(), 1_usize..6), 1..8),
        ) {
            let mut plain: Rows = below.clone();
            let mut store = MemoryStore(below);
            let mut overlay = Overlay::new(&store);
            let changed: Rows = changes.iter().cloned().collect::<Changes>().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            for (key, value) in changes {
                match value {
                    Some(value) => {
                        plain.insert(key.clone(), value.clone());
                        overlay.put(key, value);
                    }
                    None => {
                        plain.remove(&key);
                        overlay.delete(key);
                    }
                }
            }
            for (prefix, from, most) in &scans {
                let expected: Vec<_> = plain
                    .iter()
                    .filter(|(key, _)| key.starts_with(prefix) && *key >= from)
                    .take(*most)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(rows_of(&overlay, prefix, from, *most), expected);
                prop_assert_eq!(overlay.get(from).unwrap(), plain.get(from).cloned());
            }
            let keys: Vec<Vec<u8>> = scans.iter().map(|(key, ..)| key.clone()).collect();
            prop_assert_eq!(overlay.layer().get_all(&keys).unwrap(), keys.iter().map(|key| plain.get(key).cloned()).collect::<Vec<_>>());
            prop_assert_eq!(rows_of(&overlay.changed(), &[], &[], usize::MAX), changed.clone().into_iter().collect::<Vec<_>>());
            prop_assert!(scans.iter().all(|(key, ..)| overlay.changed().get(key).unwrap() == changed.get(key).cloned()));
            let weight: usize = overlay
                .changes
                .iter()
                .map(|(key, value)| key.len() + ENTRY_BYTES + value.as_ref().map_or(0, Vec::len))
                .sum();
            prop_assert_eq!(overlay.bytes(), weight);
            let changes = overlay.into_changes();
            store.apply(changes);
            prop_assert_eq!(store.0, plain);
        }
    }

    #[test]
    fn a_corrupt_row_is_named_by_table_and_key() {
        let error = StoreError::corrupt("lines", &[0, 0xAB], "a version of 9");
        assert!(error.to_string().starts_with("table lines, key 00ab: a version of 9"), "{error}");
    }
}
