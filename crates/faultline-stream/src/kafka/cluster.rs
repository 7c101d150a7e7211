//! What opening a task and landing its commits ask of a cluster, and of the folder beside it. librdkafka and RocksDB answer; so does the
//! simulation (`testing/cluster`), which judges the order in which they are asked.

use faultline_core::store::{Changes, Store};

use super::changelog_of;
use super::transact::{Reached, Sent};
use crate::commit::TaskId;
use crate::embedded::{EmbeddedLog, Gathered};
use crate::error::HostError;
use crate::log::{Log, Place, Positions};

/// How much is restored in one batch, unless a changelog says otherwise.
const BATCH_BYTES: usize = 4 << 20;

/// A task's changelog, and its group's word on it.
pub(crate) trait Changelog {
    /// Positions that the group has committed, once no transaction that could change them is open.
    fn committed(&self, places: &[Place]) -> Result<Positions, HostError>;

    /// The first offset of an input that is there, and the end of what is written of it.
    fn bounds(&self, place: Place) -> Result<(u64, u64), HostError>;

    /// The end of what is written, committed or not.
    fn written(&self) -> Result<u64, HostError>;

    /// The first offset that is there, and the last stable one: the end of what can be read.
    fn stable(&self) -> Result<(u64, u64), HostError>;

    /// Rows from now on are those behind an offset.
    fn seek(&self, from: u64) -> Result<(), HostError>;

    /// Waits a while for the next row, and tells it.
    fn next(&self, tell: &mut Tell<'_>) -> Result<Next, HostError>;

    /// How much of it is gathered before it is kept.
    fn batch_bytes(&self) -> usize {
        BATCH_BYTES
    }

    /// For who looks again, as nobody tells when a transaction has ended: what is behind the first offset is of one that is open.
    fn pause(&self, stable: u64);
}

/// Hears a row of a changelog: its offset, its key and its value.
pub(crate) type Tell<'t> = dyn FnMut(u64, &[u8], Option<&[u8]>) + 't;

/// What a changelog has next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A row, which was told.
    Row,
    /// It was read up to the last stable offset.
    End,
    /// Nothing has come as yet.
    Nothing,
}

/// Where commits go.
pub(crate) trait Brokers {
    /// Membership in a group as of a moment.
    type Group;

    /// What a stage's changelog is called.
    fn changelog(&self, stage: &str) -> String {
        changelog_of(stage)
    }

    /// Writes records and positions together, or neither. Gives each record's offset. After an error nobody knows which.
    fn transact(&self, records: &[Sent<'_>], reached: Option<&Reached<'_, Self::Group>>) -> Result<Vec<u64>, HostError>;

    /// The same for a commit of a task: so many records are its outputs, the others rows of its changelog. The last offset is the highest
    /// there.
    fn commit(&self, records: &[Sent<'_>], said: usize, reached: &Reached<'_, Self::Group>) -> Result<Vec<u64>, HostError> {
        let _ = said;
        self.transact(records, Some(reached))
    }

    /// A task is at this position for good: what was read ahead below it is of no more use.
    fn passed(&self, place: Place, position: u64);
}

/// What a process keeps of its tasks, and of the global topics.
pub(crate) trait Kept {
    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a>;

    /// Takes changes of a task's state, and the offset of its changelog behind them, as one.
    fn keep(&self, task: TaskId, changes: &Changes, next: u64) -> Result<(), HostError>;

    /// Takes what was gathered of a task's changelog, and the offset behind it, as one; leaves nothing in it.
    fn keep_gathered(&self, task: TaskId, gathered: &mut Gathered, next: u64) -> Result<(), HostError> {
        self.keep(task, &gathered.take().into_iter().collect(), next)
    }

    /// The offset of a task's changelog behind what is kept of its state.
    fn kept(&self, task: TaskId) -> Result<Option<u64>, HostError>;

    fn forget(&self, task: TaskId) -> Result<(), HostError>;

    /// The end of the copy of a global topic.
    fn copied(&self, topic: &str) -> Result<u64, HostError>;

    /// Waits a while for more to be copied.
    fn await_copy(&self);
}

impl Kept for EmbeddedLog {
    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        Log::state(self, task)
    }

    fn keep(&self, task: TaskId, changes: &Changes, next: u64) -> Result<(), HostError> {
        self.keep(task, changes, next)
    }

    fn keep_gathered(&self, task: TaskId, gathered: &mut Gathered, next: u64) -> Result<(), HostError> {
        self.keep_gathered(task, gathered, next)
    }

    fn kept(&self, task: TaskId) -> Result<Option<u64>, HostError> {
        self.kept(task)
    }

    fn forget(&self, task: TaskId) -> Result<(), HostError> {
        self.forget(task)
    }

    fn copied(&self, topic: &str) -> Result<u64, HostError> {
        // Or who waits for more would wait for ever.
        self.accepts()?;
        self.end_offset(topic, 0)
    }

    fn await_copy(&self) {
        let generation = self.wait_for_change(0, std::time::Duration::ZERO);
        self.wait_for_change(generation, super::LOOK);
    }
}
