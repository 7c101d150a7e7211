//! A task's commit: its outputs, its state and its positions, durable together or not at all; and one that is under way.

use std::fmt;
use std::sync::Arc;

use faultline_core::store::Changes;

use crate::error::HostError;
use crate::log::{Positions, Record};

/// One partition of one stage. Its state and positions are its own; nobody else writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    pub stage: &'static str,
    pub partition: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.partition)
    }
}

/// What a batch of a task did.
#[derive(Clone, Debug)]
pub struct Commit {
    pub task: TaskId,
    /// The next offset to read, for each input that moved; inputs that are not named keep theirs.
    pub positions: Positions,
    /// What the overlay changed, with the keys as the task knows them; the host puts the task before each.
    pub changes: Changes,
    pub outputs: Vec<Record>,
}

/// A commit under way. What it changes is not in the task's state before it has ended, so who reads on lays it over that.
pub struct InFlight {
    pub changes: Arc<Changes>,
    pub ending: Box<dyn Ending>,
}

/// The end of a commit, to be looked for or waited for. Whoever lets go of it never learns it, and the commit may end either way.
pub trait Ending: Send {
    /// Whether it can be had without waiting. The log's bell rings when that changes.
    fn is_here(&mut self) -> bool;

    /// Waits for it. Gives the outputs' offsets.
    fn wait(self: Box<Self>) -> Result<Vec<u64>, HostError>;

    /// Takes the commit back if nothing of it has reached the brokers, and waits for it otherwise.
    fn give_up(self: Box<Self>) -> Result<Vec<u64>, HostError>;
}
