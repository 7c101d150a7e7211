//! Somebody beside the tasks of a stage who does in the world what their state asks for.
//!
//! What is to be done stands in rows of state, and what became of it comes back as an input of the stage. So it is asked for before anybody can do it, whatever is
//! killed at whatever moment; and it may be done twice, by who did it and was killed before they could say so.

use std::sync::atomic::{AtomicU64, Ordering};

use faultline_core::store::Store;
use faultline_model::time::Timestamp;

use crate::commit::TaskId;

/// One opening of a task. A task may be opened here again before the last one of it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    pub task: TaskId,
    /// A later opening has a higher one.
    pub number: u64,
}

impl Seat {
    pub(crate) fn next(task: TaskId) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { task, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

/// Looks at what tasks have committed, and acts on it elsewhere.
pub trait Courier: Send + Sync {
    /// A task's state as it is committed at a time: once what stood in its inputs when it was opened is worked on, and after each commit from then on. So what became
    /// of something that was done before is known. Tasks wait for it: it looks at what it needs, and does nothing else here. What it does not take up it finds
    /// again at the next look.
    fn look(&self, seat: Seat, state: &dyn Store, now: Timestamp);

    /// The task is no longer here by that opening: somebody else has it, or nobody.
    fn leave(&self, seat: Seat);
}
