//! Threads of which one runs at a time, until it gives way. Who goes on then is for the seed to say, so that a run is the same each time.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::sync::held;

/// What a thread that is killed unwinds with.
struct Killed;

/// What a thread says when it stops running.
enum Said {
    /// With nothing to do, or in the middle of something.
    GaveWay { is_idle: bool },
    /// With the words of a panic, if it was one.
    Ended(Option<String>),
}

/// A thread's own end of it.
struct Own {
    goes_on: Receiver<bool>,
    said: Sender<Said>,
}

thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// Lets others run, in the middle of something.
pub(super) fn give_way() {
    say(false);
}

/// Lets others run, with nothing to do before they have.
pub(super) fn rest() {
    say(true);
}

fn say(is_idle: bool) {
    if std::thread::panicking() {
        return;
    }
    let goes_on = OWN.with_borrow(|own| {
        own.as_ref().is_none_or(|own| {
            // Who hands out turns waits for this.
            let _ = own.said.send(Said::GaveWay { is_idle });
            own.goes_on.recv().unwrap_or(false)
        })
    });
    if !goes_on {
        resume_unwind(Box::new(Killed));
    }
}

struct Actor {
    /// The life of a process that it is part of.
    life: u64,
    goes_on: SyncSender<bool>,
    said: Receiver<Said>,
    thread: JoinHandle<()>,
    is_idle: bool,
}

/// Hands out turns.
#[derive(Default)]
pub(super) struct Turns {
    actors: Mutex<Vec<Actor>>,
}

impl Turns {
    /// Adds a thread; it begins at its first turn.
    pub(super) fn spawn(&self, life: u64, work: impl FnOnce() + Send + 'static) {
        let ((goes_on, go), (sends, said)) = (sync_channel(1), channel());
        let thread = std::thread::spawn(move || {
            if !go.recv().unwrap_or(false) {
                return;
            }
            OWN.set(Some(Own { goes_on: go, said: sends.clone() }));
            let ended = catch_unwind(AssertUnwindSafe(work));
            let words = ended.err().filter(|panic| !panic.is::<Killed>()).map(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
            });
            let _ = sends.send(Said::Ended(words));
        });
        held(&self.actors).push(Actor { life, goes_on, said, thread, is_idle: false });
    }

    /// Which threads may have the next turn; those with nothing to do behind the others.
    pub(super) fn ready(&self, is_running: impl Fn(u64) -> bool) -> (Vec<usize>, Vec<usize>) {
        let actors = held(&self.actors);
        (0..actors.len()).filter(|at| is_running(actors[*at].life)).partition(|at| !actors[*at].is_idle)
    }

    /// How many threads a life has.
    pub(super) fn of(&self, life: u64) -> usize {
        held(&self.actors).iter().filter(|actor| actor.life == life).count()
    }

    /// One turn. What a thread panicked with is an error.
    pub(super) fn turn(&self, at: usize) -> Result<(), String> {
        // Not under the lock: it may add threads.
        let (goes_on, said) = {
            let actors = held(&self.actors);
            let sent = actors[at].goes_on.send(true);
            (sent, at)
        };
        let ended = goes_on.is_err();
        let said = if ended { Said::Ended(None) } else { self.hear(said) };
        match said {
            Said::GaveWay { is_idle } => held(&self.actors)[at].is_idle = is_idle,
            Said::Ended(words) => {
                let actor = held(&self.actors).swap_remove(at);
                let _ = actor.thread.join();
                return words.map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    fn hear(&self, at: usize) -> Said {
        // It is taken out for the while, since the thread that runs takes the lock to add others; they come behind it.
        let (unused, nobody) = channel();
        drop(unused);
        let said = std::mem::replace(&mut held(&self.actors)[at].said, nobody);
        let heard = said.recv().unwrap_or(Said::Ended(None));
        held(&self.actors)[at].said = said;
        heard
    }

    /// Ends all threads of a life where they are.
    pub(super) fn kill(&self, life: u64) {
        let mut actors = held(&self.actors);
        let (killed, left): (Vec<Actor>, Vec<Actor>) = actors.drain(..).partition(|actor| actor.life == life);
        *actors = left;
        drop(actors);
        for actor in killed {
            let _ = actor.goes_on.send(false);
            let _ = actor.thread.join();
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        for actor in held(&self.actors).drain(..) {
            let _ = actor.goes_on.send(false);
            let _ = actor.thread.join();
        }
    }
}
