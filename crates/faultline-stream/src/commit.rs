//! A task's commit: its outputs, its state and its positions, durable together or not at all.

use std::fmt;

use faultline_core::store::Changes;

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
