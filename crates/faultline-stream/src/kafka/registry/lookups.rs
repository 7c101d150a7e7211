//! Answers that are kept, and questions that are asked once however many wait for the answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sync::held;

pub(super) struct Lookups<K, V> {
    slots: Mutex<Slots<K, V>>,
    answered: Condvar,
    most: usize,
}

struct Slots<K, V> {
    by_key: HashMap<K, Slot<V>>,
    /// Counts uses, so that the one used longest ago is known.
    uses: u64,
}

enum Slot<V> {
    Asked,
    Answered { value: V, until: Option<Instant>, used: u64, is_pinned: bool },
}

/// An answer, and for how long it is one; for ever without.
pub(super) struct Answer<V> {
    pub(super) value: V,
    pub(super) holds: Option<Duration>,
}

impl<V> Answer<V> {
    pub(super) fn for_ever(value: V) -> Self {
        Self { value, holds: None }
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Lookups<K, V> {
    /// Keeps so many answers at most, those that are pinned not counted.
    pub(super) fn of_at_most(most: usize) -> Self {
        Self { slots: Mutex::new(Slots { by_key: HashMap::new(), uses: 0 }), answered: Condvar::new(), most }
    }

    /// Keeps an answer whatever else is asked.
    pub(super) fn pin(&self, key: K, value: V) {
        held(&self.slots).by_key.insert(key, Slot::Answered { value, until: None, used: 0, is_pinned: true });
    }

    pub(super) fn known(&self, key: K) -> Option<V> {
        held(&self.slots).answer(key)
    }

    /// The answer; asks if there is none and nobody else asks. An error is the asker's alone: who waited asks for himself.
    pub(super) fn get<E>(&self, key: K, ask: impl FnOnce() -> Result<Answer<V>, E>) -> Result<V, E> {
        let mut slots = held(&self.slots);
        loop {
            if let Some(value) = slots.answer(key) {
                return Ok(value);
            }
            if !matches!(slots.by_key.get(&key), Some(Slot::Asked)) {
                break;
            }
            slots = self.answered.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
        slots.by_key.insert(key, Slot::Asked);
        drop(slots);
        // Dropped on every way out, a panic's as well, or the others would wait for ever.
        let _asking = Asking { lookups: self, key };
        let answer = ask()?;
        held(&self.slots).keep(key, answer.value.clone(), answer.holds, self.most);
        Ok(answer.value)
    }
}

struct Asking<'l, K: Hash + Eq + Copy, V: Clone> {
    lookups: &'l Lookups<K, V>,
    key: K,
}

impl<K: Hash + Eq + Copy, V: Clone> Drop for Asking<'_, K, V> {
    fn drop(&mut self) {
        let mut slots = held(&self.lookups.slots);
        if matches!(slots.by_key.get(&self.key), Some(Slot::Asked)) {
            slots.by_key.remove(&self.key);
        }
        self.lookups.answered.notify_all();
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Slots<K, V> {
    fn answer(&mut self, key: K) -> Option<V> {
        self.uses += 1;
        match self.by_key.get_mut(&key)? {
            Slot::Answered { value, until, used, .. } if until.is_none_or(|until| Instant::now() < until) => {
                *used = self.uses;
                Some(value.clone())
            }
            _ => None,
        }
    }

    fn keep(&mut self, key: K, value: V, holds: Option<Duration>, most: usize) {
        // What is looked for here is rare: an id is asked for once.
        let loose = self.by_key.iter().filter_map(|(key, slot)| match slot {
            Slot::Answered { used, is_pinned: false, .. } => Some((*used, *key)),
            _ => None,
        });
        let loose: Vec<(u64, K)> = loose.collect();
        if loose.len() >= most
            && let Some((_, oldest)) = loose.into_iter().min_by_key(|(used, _)| *used)
        {
            self.by_key.remove(&oldest);
        }
        let until = holds.map(|holds| Instant::now() + holds);
        // It may have been pinned meanwhile, which holds.
        if !matches!(self.by_key.get(&key), Some(Slot::Answered { is_pinned: true, .. })) {
            self.by_key.insert(key, Slot::Answered { value, until, used: self.uses, is_pinned: false });
        }
    }
}
