//! What a stage is: a deterministic function of state and input, and what it works on.
//!
//! What it is: the seam between the core and a host. A host reads inputs, gives them with the time to a stage, lets it work over an
//! overlay, and makes state, outputs and positions durable together. What it is not: a runtime; nothing here waits or looks at a clock.
//!
//! The way through it: for each batch a host makes a [`Batch`] over the task's state, calls [`Stage::apply`] for each input,
//! [`Stage::end`] once, and [`Stage::slice`] while there is pending work and room for it; then it commits what the batch holds.
//! Whatever a call left undone is a row of state (`pending`), so a restart goes on where it was.

use faultline_model::avro::{self, AvroError, TopicValue};
use faultline_model::time::Timestamp;
use faultline_model::topic::Topic;

use crate::store::{Overlay, Store, StoreError};

/// One record as a stage sees it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub topic: Topic,
    pub key: &'a str,
    /// `None` if the key went.
    pub value: Option<&'a [u8]>,
    /// The record's own time, as its writer gave it.
    pub time: Timestamp,
}

impl Input<'_> {
    /// The record, if it has a value.
    pub fn record<T: TopicValue>(&self) -> Result<Option<T>, StageError> {
        self.value.map(avro::decode).transpose().map_err(StageError::poison)
    }
}

/// A record to be written; the host knows the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub topic: Topic,
    pub key: String,
    pub value: Option<Vec<u8>>,
}

/// The global topics as they are now, which may be ahead of the task's own position in them.
///
/// A stage keeps in its state the rows that its entities use, those found missing included; a change is a difference from that copy.
pub trait Globals {
    /// The newest value of a key; `None` if there is none or it went.
    fn get(&self, topic: Topic, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
}

/// What a stage works on: its state under an overlay, the global topics, the time, and what it says.
pub struct Batch<'a> {
    pub state: Overlay<'a>,
    pub globals: &'a dyn Globals,
    /// Never earlier than in any batch of this task before; kept in state by the host.
    pub now: Timestamp,
    /// The format in which rows are to be written; rows that are read may be of any older one that the stage knows.
    pub format: u16,
    outputs: Vec<Output>,
    output_bytes: usize,
}

impl<'a> Batch<'a> {
    pub fn new(state: Overlay<'a>, globals: &'a dyn Globals, now: Timestamp) -> Self {
        Self { state, globals, now, format: 1, outputs: Vec::new(), output_bytes: 0 }
    }

    /// With rows written in another format than 1.
    #[must_use]
    pub fn in_format(self, format: u16) -> Self {
        Self { format, ..self }
    }

    /// Says a record; the newest of a key wins.
    pub fn emit<T: TopicValue>(&mut self, topic: Topic, key: String, record: T) -> Result<(), StageError> {
        let value = avro::encode(record)?;
        self.push(Output { topic, key, value: Some(value) });
        Ok(())
    }

    /// Says a record that is encoded already, where a stage needed its bytes to see whether it differs from what was said.
    pub fn emit_encoded(&mut self, topic: Topic, key: String, value: Vec<u8>) {
        self.push(Output { topic, key, value: Some(value) });
    }

    /// Says that a key went.
    pub fn emit_gone(&mut self, topic: Topic, key: String) {
        self.push(Output { topic, key, value: None });
    }

    fn push(&mut self, output: Output) {
        self.output_bytes += output.key.len() + output.value.as_ref().map_or(0, Vec::len);
        self.outputs.push(output);
    }

    /// What a global topic says of a key.
    pub fn global<T: TopicValue>(&self, topic: Topic, key: &str) -> Result<Option<T>, StageError> {
        let value = self.globals.get(topic, key)?;
        value.as_deref().map(avro::decode).transpose().map_err(StageError::poison)
    }

    /// What outputs and changes weigh, about: a host commits before it grows past its bound.
    pub fn bytes(&self) -> usize {
        self.state.bytes() + self.output_bytes
    }

    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Changes of state and outputs, to be committed together.
    pub fn into_parts(self) -> (crate::store::Changes, Vec<Output>) {
        (self.state.into_changes(), self.outputs)
    }
}

/// How many bytes of a key of a stage's state say which rows are read together, by a scan of just these bytes or more.
///
/// A function of these bytes alone, so that a store may index groups, and knows without looking that there is none. `None` for rows
/// that are read one by one, or by scans of all kinds.
pub fn group_of(stage: &[u8], key: &[u8]) -> Option<usize> {
    if stage == crate::track::Track::NAME.as_bytes() {
        crate::track::group_of(key)
    } else if stage == crate::correlate::Correlate::NAME.as_bytes() {
        crate::correlate::group_of(key)
    } else {
        None
    }
}

/// Where a row of a stage's state belongs, under any partition count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// With the records of a key of the stage's inputs.
    With(String),
    /// A copy of what is kept once for all: in each partition that has one of these keys.
    WithEach(Vec<String>),
    /// Such a copy, in every partition.
    Everywhere,
    /// Work that is left: it belongs to this run of this task, and is none where a stage is at rest.
    Unfinished,
}

/// Where a row of a stage's state belongs. `state` is that of the task which has the row.
pub fn home_of(stage: &[u8], state: &dyn Store, key: &[u8]) -> Result<Home, StoreError> {
    if stage == crate::track::Track::NAME.as_bytes() {
        crate::track::home_of(state, key)
    } else if stage == crate::correlate::Correlate::NAME.as_bytes() {
        crate::correlate::home_of(state, key)
    } else if stage == crate::act::Act::NAME.as_bytes() {
        crate::act::home_of(key)
    } else if stage == crate::audit::Audit::NAME.as_bytes() {
        crate::audit::home_of(key)
    } else if stage == crate::notify::Notify::NAME.as_bytes() {
        crate::notify::home_of(state, key)
    } else {
        Err(StoreError::corrupt("unknown", key, format!("a row of stage {:?}", String::from_utf8_lossy(stage))))
    }
}

/// What tasks at rest keep of the same thing, as one row that is right for each of them. There is one copy at least.
pub fn one_copy(stage: &[u8], key: &[u8], copies: Vec<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    if stage == crate::correlate::Correlate::NAME.as_bytes() {
        return crate::correlate::one_copy(key, copies);
    }
    if stage == crate::audit::Audit::NAME.as_bytes() {
        return crate::audit::one_copy(key, copies);
    }
    if stage == crate::notify::Notify::NAME.as_bytes() {
        return crate::notify::one_copy(key, &copies);
    }
    copies.into_iter().next().ok_or_else(|| StoreError::corrupt("copies", key, "no copy"))
}

/// Whether a task has pending work left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    None,
    Some,
}

/// Why a stage could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The record's own fault: the host puts it into `dead-letters` with this reason and goes on. A stage says so before it
    /// changes anything.
    #[error("{reason}")]
    Poison { reason: String },
    /// The store's or the program's fault: the task stops, nothing of the batch is committed.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a record of our own could not be written; the task stops: {0}")]
    Write(#[from] AvroError),
}

impl StageError {
    /// A record that cannot be worked on.
    pub fn poison(reason: impl std::fmt::Display) -> Self {
        Self::Poison { reason: reason.to_string() }
    }
}

/// Formats of a stage's rows that a program reads, and writes: from the oldest to the newest.
///
/// Which one a task's rows are written in stands in its state, so that programs of two versions can share its work: a newer one writes the
/// format that is there until the operator says that there is no way back.
///
/// A row keeps its format until it is touched, so a state has rows of every format before the one that it says. To read one no more, a
/// version has to write all of them anew first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    pub oldest: u16,
    pub newest: u16,
}

/// Why a state cannot be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error(
        "its state is in format {written}, and this faultline reads {oldest} to {newest}: run the version that finalised it, or a newer one"
    )]
    TooNew { written: u16, oldest: u16, newest: u16 },
    #[error(
        "its state is in format {written}, and this faultline reads {oldest} to {newest}: first run a version that reads both, and finalise it there"
    )]
    TooOld { written: u16, oldest: u16, newest: u16 },
    #[error("format {asked} is to be final, and this faultline knows {oldest} to {newest}: upgrade it everywhere, then finalise")]
    Unknown { asked: u16, oldest: u16, newest: u16 },
}

impl Formats {
    pub const fn only(format: u16) -> Self {
        Self { oldest: format, newest: format }
    }

    /// What the operator may finalise.
    pub fn check(self, finalised: Option<u16>) -> Result<(), FormatError> {
        let Self { oldest, newest } = self;
        match finalised {
            Some(asked) if asked > newest => Err(FormatError::Unknown { asked, oldest, newest }),
            _ => Ok(()),
        }
    }

    /// In which format a task writes from now on. `written` is what its state says; one that says nothing is new, or `has_rows` from before
    /// states said it, which are of the oldest.
    pub fn to_write(self, written: Option<u16>, has_rows: bool, finalised: Option<u16>) -> Result<u16, FormatError> {
        self.check(finalised)?;
        let Self { oldest, newest } = self;
        let Some(written) = written.or(has_rows.then_some(oldest)) else {
            // What is new has no way back to keep.
            return Ok(finalised.unwrap_or(newest).max(oldest));
        };
        if written > newest {
            return Err(FormatError::TooNew { written, oldest, newest });
        }
        if written < oldest {
            return Err(FormatError::TooOld { written, oldest, newest });
        }
        Ok(finalised.unwrap_or(written).max(written))
    }
}

/// An input that may wait: what comes in bulk, beside the same topic for what is urgent.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// One of the stage's inputs.
    pub topic: Topic,
    /// What the stage says of it, and the stage that reads that: bulk is read while it has nearly caught up, so that what is urgent
    /// finds no queue there either.
    pub said: Topic,
    pub reader: &'static str,
}

/// A stage of the topology. It holds configuration only; everything that it learns is in its state.
///
/// Keys of its tables begin with a byte of 1 or above: 0 is the host's. A host refuses a commit that breaks this.
pub trait Stage: Send + Sync + 'static {
    /// Its name, as it stands in task ids, metrics and the changelog's name.
    const NAME: &'static str;
    /// Topics that it reads by key; they have the same partition count.
    const INPUTS: &'static [Topic];
    /// Global topics that it reads.
    const GLOBALS: &'static [Topic];
    /// Of the rows of its tables. A new one is written where [`Batch::format`] says so; older rows are written anew as they are touched.
    const FORMATS: Formats = Formats::only(1);
    /// The one of the inputs that is read when the others are drained, if there is one.
    const BULK: Option<Bulk> = None;
    /// What is gathered while a batch is applied, and worked off at its end; never kept from one batch to the next.
    type Gathered: Default;

    /// The format up to which the operator has finalised; `None`, and each state keeps the one that it has.
    fn finalised(&self) -> Option<u16> {
        None
    }

    /// The keys of records of one input that come next: what the stage will read of each it may look up together.
    fn ahead(&self, _batch: &Batch<'_>, _topic: Topic, _keys: &mut dyn Iterator<Item = &str>) -> Result<(), StoreError> {
        Ok(())
    }

    /// One record.
    fn apply(&self, batch: &mut Batch<'_>, gathered: &mut Self::Gathered, input: &Input<'_>) -> Result<(), StageError>;

    /// The end of a batch: works off what was gathered, or writes it to `pending` where it is too much for one commit.
    fn end(&self, batch: &mut Batch<'_>, gathered: Self::Gathered) -> Result<(), StageError>;

    /// Works on what is pending and on timers that are due by `batch.now`, until about `budget_bytes` of changes and outputs.
    /// Safe to call at any time; tells whether more is left now. A stage that leaves nothing and has no timers says neither this nor
    /// `next_due`.
    fn slice(&self, _batch: &mut Batch<'_>, _budget_bytes: usize) -> Result<Pending, StageError> {
        Ok(Pending::None)
    }

    /// When the earliest timer is due; `None` without timers.
    fn next_due(&self, _state: &dyn Store) -> Result<Option<Timestamp>, StageError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::{FormatError, Formats, group_of};
    use proptest::prelude::*;

    #[test]
    fn a_format_changes_only_when_the_operator_says_so() {
        let (old, new) = (Formats::only(1), Formats { oldest: 1, newest: 2 });
        // The newer program keeps what is there, so that the older one can take over again.
        assert_eq!(old.to_write(None, false, None), Ok(1));
        for has_rows in [true, false] {
            assert_eq!(new.to_write(Some(1), has_rows, None), Ok(1));
            assert_eq!(new.to_write(Some(1), has_rows, Some(1)), Ok(1));
            assert_eq!(new.to_write(Some(1), has_rows, Some(2)), Ok(2));
            // Once written, it stays: what the operator said before is no way back.
            assert_eq!(new.to_write(Some(2), has_rows, Some(1)), Ok(2));
            assert_eq!(old.to_write(Some(2), has_rows, None), Err(FormatError::TooNew { written: 2, oldest: 1, newest: 1 }));
            assert_eq!(Formats::only(2).to_write(Some(1), has_rows, None), Err(FormatError::TooOld { written: 1, oldest: 2, newest: 2 }));
        }
        // A state that says nothing: of before states said it, or new.
        assert_eq!(new.to_write(None, true, None), Ok(1));
        assert_eq!(new.to_write(None, false, None), Ok(2));
        assert_eq!(new.to_write(None, false, Some(1)), Ok(1));
        assert_eq!(old.to_write(Some(1), true, Some(2)), Err(FormatError::Unknown { asked: 2, oldest: 1, newest: 1 }));
    }

    proptest! {
        /// What a store relies on: all keys of a group have it, and no shorter key does.
        #[test]
        fn a_group_is_said_by_its_own_bytes(stage in prop::sample::select(vec!["track", "correlate"]), table in 1_u8..34, rest in prop::collection::vec(0_u8..4, 0..60)) {
            let key = [vec![table], rest].concat();
            match group_of(stage.as_bytes(), &key) {
                Some(group) => {
                    prop_assert!(group <= key.len());
                    for cut in 0..=key.len() {
                        prop_assert_eq!(group_of(stage.as_bytes(), &key[..cut]), (cut >= group).then_some(group));
                    }
                }
                None => prop_assert!((0..key.len()).all(|cut| group_of(stage.as_bytes(), &key[..cut]).is_none())),
            }
        }
    }
}
