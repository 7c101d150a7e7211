//! Two small meeting points: one fsync for many callers, and a bell that rings when something was appended.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::HostError;

/// A lock whose content is whole at every step, so that a panic elsewhere does not spoil it.
pub(crate) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A word to stop, that a thread with nothing else to do can wait for.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    is_told: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    pub(crate) fn tell(&self) {
        *held(&self.is_told) = true;
        self.told.notify_all();
    }

    pub(crate) fn is_told(&self) -> bool {
        *held(&self.is_told)
    }

    /// Waits for the word at most so long; tells whether it came.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let waited = self.told.wait_timeout_while(held(&self.is_told), timeout, |is_told| !*is_told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A counter of changes that can be waited on.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    generation: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *held(&self.generation) += 1;
        self.rung.notify_all();
    }

    pub(crate) fn wait(&self, since: u64, timeout: Duration) -> u64 {
        let waited = self.rung.wait_timeout_while(held(&self.generation), timeout, |now| *now <= since);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Group commit: whoever finds nobody syncing syncs for all that was written until then; the others wait for it.
#[derive(Debug, Default)]
pub(crate) struct GroupSync {
    state: Mutex<Syncs>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Syncs {
    /// Writes up to this ticket are durable.
    synced: u64,
    is_led: bool,
    has_failed: bool,
}

impl GroupSync {
    /// Returns once the write `ticket` is durable. `written` gives the newest ticket whose write is complete, asked before `sync` begins.
    pub(crate) fn wait(&self, ticket: u64, written: impl Fn() -> u64, sync: impl Fn() -> Result<(), HostError>) -> Result<(), HostError> {
        let mut state = held(&self.state);
        loop {
            if state.synced >= ticket {
                return Ok(());
            }
            // After a failed fsync the kernel may have dropped the pages: a second one that succeeds proves nothing.
            if state.has_failed {
                return Err(HostError::Stopped);
            }
            if state.is_led {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_led = true;
            drop(state);
            let covers = written();
            let outcome = sync();
            state = held(&self.state);
            state.is_led = false;
            match &outcome {
                Ok(()) => state.synced = state.synced.max(covers),
                Err(_) => state.has_failed = true,
            }
            self.done.notify_all();
            outcome?;
        }
    }
}
