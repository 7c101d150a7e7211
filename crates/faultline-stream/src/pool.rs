//! The tasks of a host, and the workers' way round them.
//!
//! A worker goes round all tasks and steps each that nobody else steps at the moment; so a task has one worker at a time, and
//! one busy partition does not leave the other workers idle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use faultline_model::time::Timestamp;

use crate::clock::Clock;
use crate::commit::TaskId;
use crate::error::HostError;
use crate::log::Log;
use crate::sync::{Stop, held};
use crate::task::{Step, Work};

/// How long a worker that found nothing leaves a task to its other worker before it looks whether all is quiet.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Who opens a task again that stopped at a fault which passes.
type Passing = Box<dyn Fn(TaskId) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Pool {
    /// Tasks come and go on a host that shares them with others.
    slots: RwLock<Vec<Arc<Slot>>>,
    passing: OnceLock<Passing>,
    /// Steps that had an effect; counted before the task is given free, so that who sees it free sees its effect counted.
    effects: AtomicU64,
    consumed: AtomicU64,
}

struct Slot {
    id: TaskId,
    task: Mutex<Box<dyn Work>>,
    has_failed: AtomicBool,
}

/// What one way round found.
struct Round {
    had_effect: bool,
    /// A task was in another worker's hands.
    met_other: bool,
    /// A commit is in flight.
    is_committing: bool,
    next_due: Option<Timestamp>,
}

impl Pool {
    pub(crate) fn add(&self, id: TaskId, task: Mutex<Box<dyn Work>>) {
        let slot = Arc::new(Slot { id, task, has_failed: AtomicBool::new(false) });
        self.slots.write().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// Takes a task away, once its step has ended, and its commit if that has begun.
    #[cfg(feature = "kafka")]
    pub(crate) fn remove(&self, id: TaskId) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let at = slots.iter().position(|slot| slot.id == id);
        let slot = at.map(|at| slots.swap_remove(at));
        drop(slots);
        if let Some(slot) = slot {
            slot.has_failed.store(true, Ordering::Release);
            // A worker that has found it before looks at the flag again once it holds it.
            held(&slot.task).give_up();
        }
    }

    /// Waits for all commits in flight, when no worker is left.
    pub(crate) fn rest(&self) {
        self.slots().iter().for_each(|slot| held(&slot.task).rest());
    }

    /// Of a fault that passes, this is told in place of stopping the task for good. The task is not stepped until it is added anew.
    #[cfg(feature = "kafka")]
    pub(crate) fn tell_of_passing(&self, passing: Passing) {
        // A host is started once.
        let _ = self.passing.set(passing);
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.slots().iter().map(|slot| slot.id).collect()
    }

    pub(crate) fn has_stage(&self, stage: &str) -> bool {
        self.slots().iter().any(|slot| slot.id.stage == stage)
    }

    /// Input records worked on.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Goes round until nothing is left to do for anybody. `stepped` is called after each step that had an effect.
    pub(crate) fn until_quiet(&self, log: &dyn Log, clock: &dyn Clock, worker: usize, stepped: &mut dyn FnMut()) {
        let mut first = worker;
        loop {
            let generation = log.wait_for_change(0, Duration::ZERO);
            let effects = self.effects.load(Ordering::Acquire);
            let round = self.round(clock, first, stepped);
            first += 1;
            if round.had_effect {
                continue;
            }
            if round.met_other || round.is_committing {
                log.wait_for_change(generation, LOOK_AGAIN);
            } else if self.effects.load(Ordering::Acquire) == effects {
                return;
            }
        }
    }

    /// Goes round until it is told to stop, waiting where there is nothing to do.
    pub(crate) fn until_stopped(&self, log: &dyn Log, clock: &dyn Clock, worker: usize, tick: Duration, stopping: &Stop) {
        let mut first = worker;
        loop {
            let generation = log.wait_for_change(0, Duration::ZERO);
            if stopping.is_told() {
                return;
            }
            let round = self.round(clock, first, &mut || ());
            first += 1;
            if !round.had_effect {
                log.wait_for_change(generation, until(round.next_due, clock.now(), tick));
            }
        }
    }

    fn round(&self, clock: &dyn Clock, first: usize, stepped: &mut dyn FnMut()) -> Round {
        let mut round = Round { had_effect: false, met_other: false, is_committing: false, next_due: None };
        let slots = self.slots();
        for at in 0..slots.len() {
            let slot = &slots[(first + at) % slots.len()];
            if slot.has_failed.load(Ordering::Acquire) {
                continue;
            }
            let mut task = match slot.task.try_lock() {
                Ok(task) => task,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    round.met_other = true;
                    continue;
                }
            };
            // It can have been taken away since.
            if slot.has_failed.load(Ordering::Acquire) {
                continue;
            }
            let step = self.step(slot, &mut **task, clock);
            let due = task.next_due();
            drop(task);
            round.next_due = [round.next_due, due].into_iter().flatten().min();
            round.is_committing |= step.is_committing;
            if step.had_effect {
                round.had_effect = true;
                stepped();
            }
        }
        round
    }

    fn step(&self, slot: &Slot, task: &mut dyn Work, clock: &dyn Clock) -> Step {
        let stepped = catch_unwind(AssertUnwindSafe(|| task.step(clock)));
        let stepped = stepped.unwrap_or_else(|panic| Err(panicked(slot.id, &*panic)));
        match stepped {
            Ok(step) => {
                self.consumed.fetch_add(step.consumed, Ordering::Relaxed);
                self.effects.fetch_add(u64::from(step.had_effect), Ordering::AcqRel);
                step
            }
            Err(error) => {
                slot.has_failed.store(true, Ordering::Release);
                task.rest();
                match self.passing.get() {
                    Some(passing) if error.is_passing() => passing(slot.id),
                    _ => task.failed(&error),
                }
                Step::default()
            }
        }
    }
}

/// How long to wait for what is due next.
fn until(due: Option<Timestamp>, now: Timestamp, tick: Duration) -> Duration {
    let Some(due) = due else { return tick };
    let millis = due.millis().saturating_sub(now.millis()).max(1);
    Duration::from_millis(millis.unsigned_abs()).min(tick)
}

/// What a panic in a task's name is told as.
pub(crate) fn panicked(task: TaskId, panic: &(dyn std::any::Any + Send)) -> HostError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    HostError::Panicked { task, message: text.unwrap_or_else(|| "a panic without words".to_owned()) }
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;
    use crate::log::Place;

    /// A task whose commits are in flight until it is told to rest.
    struct Flying(Arc<Mutex<Vec<&'static str>>>);

    const TASK: TaskId = TaskId { stage: "flying", partition: 0 };

    impl Work for Flying {
        fn id(&self) -> TaskId {
            TASK
        }

        fn inputs(&self) -> Vec<Place> {
            Vec::new()
        }

        fn step(&mut self, _: &dyn Clock) -> Result<Step, HostError> {
            held(&self.0).push("begun");
            Ok(Step { had_effect: true, is_committing: true, ..Step::default() })
        }

        fn rest(&mut self) {
            held(&self.0).push("waited for");
        }

        fn give_up(&mut self) {
            held(&self.0).push("given up");
        }

        fn next_due(&self) -> Option<Timestamp> {
            None
        }

        fn failed(&mut self, _: &HostError) {}
    }

    #[test]
    fn a_task_that_is_taken_away_gives_its_commit_up_and_begins_no_more() {
        let (pool, seen) = (Pool::default(), Arc::default());
        pool.add(TASK, Mutex::new(Box::new(Flying(Arc::clone(&seen)))));
        let found = pool.slots();
        assert!(pool.round(&Timestamp::default(), 0, &mut || ()).is_committing);
        pool.remove(TASK);
        assert_eq!(*held(&seen), ["begun", "given up"]);
        // A worker that has found it before steps it no more.
        assert!(found[0].has_failed.load(Ordering::Acquire) && pool.slots().is_empty());
        pool.round(&Timestamp::default(), 0, &mut || ());
        assert_eq!(held(&seen).len(), 2);
    }
}
