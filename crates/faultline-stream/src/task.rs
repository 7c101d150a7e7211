//! A task: one partition of one stage, stepped a batch at a time.
//!
//! The way through it: [`Task::step`] looks whether there is anything to do, makes an attempt at a batch (read, apply, end, slice)
//! over an overlay, and commits it. An attempt that meets poison where nobody promised it (after a change, at the end of a
//! batch) is dropped whole and made again over fewer records, until the one record at fault is known and refused.
//!
//! **Rows of state whose key begins with 0 are the host's**; a stage's tables begin with 1 or above. Row `[0, b'n']` is the
//! latest time that the stage has seen.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use faultline_core::stage::{Output, Stage};
use faultline_core::store::Changes;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DECISIONS, Topic};

use crate::attempt::{Attempt, Done};
use crate::clock::Clock;
use crate::commit::{Commit, TaskId};
use crate::error::{Failure, HostError};
use crate::intake::{Intake, Refused, newest};
use crate::log::{Log, Place, Record};
use crate::options::HostOptions;
use crate::sync::held;
use crate::telemetry::{Meter, TaskState};

/// The first byte of the host's own rows in a task's state.
pub const HOST_ROWS: u8 = 0;
const NOW_ROW: [u8; 2] = [HOST_ROWS, b'n'];

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Input records worked on.
    pub consumed: u64,
    /// Whether anything was committed. A step without effect has nothing to do until something is appended or falls due.
    pub had_effect: bool,
}

/// A task, whatever its stage.
pub trait Work: Send {
    fn id(&self) -> TaskId;

    /// The places that it reads.
    fn inputs(&self) -> Vec<Place>;

    /// One batch and its commit. After an error nothing of the batch is committed.
    fn step(&mut self, clock: &dyn Clock) -> Result<Step, HostError>;

    /// When something falls due that no input tells.
    fn next_due(&self) -> Option<Timestamp>;

    /// Takes note that it stopped.
    fn failed(&mut self, error: &HostError);
}

/// One partition of one stage: its positions, its time, what is left to do.
pub struct Task<S: Stage> {
    pub(crate) id: TaskId,
    pub(crate) stage: Arc<S>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) options: HostOptions,
    pub(crate) inputs: Vec<Reading>,
    /// Partition counts of topics that were written to.
    partitions: Vec<(&'static str, u32)>,
    now: Timestamp,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) has_pending: bool,
    meter: Arc<Mutex<Meter>>,
}

/// An input, and the next offset to read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) topic: Topic,
    pub(crate) place: Place,
    pub(crate) partitions: u32,
    pub(crate) position: u64,
}

impl<S: Stage> Task<S> {
    /// Goes on where its last commit was.
    pub fn open(log: Arc<dyn Log>, stage: Arc<S>, partition: u32, options: HostOptions) -> Result<Self, HostError> {
        Self::metered(log, stage, partition, options, Arc::default())
    }

    pub(crate) fn metered(
        log: Arc<dyn Log>,
        stage: Arc<S>,
        partition: u32,
        options: HostOptions,
        meter: Arc<Mutex<Meter>>,
    ) -> Result<Self, HostError> {
        let id = TaskId { stage: S::NAME, partition };
        let inputs = readings::<S>(&*log, id)?;
        let (now, next_due) = {
            let state = log.state(id);
            let now = state.get(&NOW_ROW).map_err(|source| HostError::Stage { task: id, source: source.into() })?;
            let now = now.and_then(|row| Some(i64::from_be_bytes(row.try_into().ok()?))).unwrap_or_default();
            let next_due = stage.next_due(&*state).map_err(|source| HostError::Stage { task: id, source })?;
            (Timestamp::from_millis(now), next_due)
        };
        {
            let mut meter = held(&meter);
            meter.positions = inputs.iter().map(|input| (input.place, input.position)).collect();
            (meter.has_pending, meter.now) = (true, now);
        }
        // Whether something is pending only the stage knows: the first step asks.
        Ok(Self { id, stage, log, options, inputs, partitions: Vec::new(), now, next_due, has_pending: true, meter })
    }

    fn has_input(&self) -> Result<bool, HostError> {
        for input in &self.inputs {
            if self.log.end_offset(input.place.0, input.place.1)? > input.position {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Outputs carry the time when they are written, which is when the batch ends: it read records that came after it began.
    fn commit(&mut self, now: Timestamp, written: Timestamp, done: Done) -> Result<Step, HostError> {
        let Done { intake, changes, outputs, has_pending, next_due, read, apply } = done;
        let Intake { positions, consumed, by_topic, misplaced, dead, aside, .. } = intake;
        let had_effect = !positions.is_empty() || !changes.is_empty() || !outputs.is_empty();
        // Of what is due and yet without effect the stage is asked again at the next tick, not at once.
        let tick = i64::try_from(self.options.tick.as_millis()).unwrap_or(i64::MAX);
        let later = Timestamp::from_millis(now.millis().saturating_add(tick));
        let next_due = if had_effect { next_due } else { next_due.map(|due| if due <= now { later } else { due }) };
        let began = Instant::now();
        let mut produced = Vec::new();
        if had_effect {
            let changes = self.with_time(now, changes)?;
            let mut records = self.records(written, newest(outputs))?;
            produced.extend(records.iter().map(|record| record.topic));
            records.extend(aside);
            self.log.commit(Commit { task: self.id, positions: positions.clone(), changes, outputs: records })?;
            self.now = now;
        }
        for input in &mut self.inputs {
            input.position = positions.get(&input.place).copied().unwrap_or(input.position);
        }
        (self.has_pending, self.next_due) = (has_pending, next_due);
        let mut meter = held(&self.meter);
        (meter.has_pending, meter.now) = (has_pending, self.now);
        if had_effect {
            meter.commits.observe(began.elapsed());
            meter.read += read;
            meter.apply += apply;
            meter.positions.extend(positions);
            meter.count(by_topic, misplaced, dead, produced);
        }
        Ok(Step { consumed: consumed as u64, had_effect })
    }

    /// The stage's changes and the host's row, where the time moved.
    fn with_time(&self, now: Timestamp, mut changes: Changes) -> Result<Changes, HostError> {
        if let Some(key) = changes.keys().next()
            && key.first().is_none_or(|first| *first == HOST_ROWS)
        {
            return Err(HostError::ReservedRow { task: self.id, key: key.clone() });
        }
        if now != self.now {
            changes.insert(NOW_ROW.to_vec(), Some(now.millis().to_be_bytes().to_vec()));
        }
        Ok(changes)
    }

    fn records(&mut self, written: Timestamp, outputs: Vec<Output>) -> Result<Vec<Record>, HostError> {
        let mut records = Vec::with_capacity(outputs.len());
        for Output { topic, key, value } in outputs {
            let partition = topic.partition_of(&key, self.partitions_of(topic)?);
            let (key, timestamp_ms) = (key.into_bytes(), written.millis());
            records.push(Record { topic: topic.name, partition, key, value, headers: Vec::new(), timestamp_ms });
        }
        Ok(records)
    }

    fn partitions_of(&mut self, topic: Topic) -> Result<u32, HostError> {
        if let Some((_, count)) = self.partitions.iter().find(|(name, _)| *name == topic.name) {
            return Ok(*count);
        }
        let count = self.log.partitions(topic.name)?;
        self.partitions.push((topic.name, count));
        Ok(count)
    }
}

impl<S: Stage> Work for Task<S> {
    fn id(&self) -> TaskId {
        self.id
    }

    fn inputs(&self) -> Vec<Place> {
        self.inputs.iter().map(|input| input.place).collect()
    }

    fn step(&mut self, clock: &dyn Clock) -> Result<Step, HostError> {
        let now = clock.now().max(self.now);
        let is_due = self.next_due.is_some_and(|due| due <= now);
        if !self.has_pending && !is_due && !self.has_input()? {
            return Ok(Step::default());
        }
        let mut refused = Refused::new();
        let mut most = self.options.batch_records.max(1);
        loop {
            match self.attempt(clock, now, most, &refused)? {
                Attempt::Done(done) => return self.commit(now, clock.now().max(now), *done),
                Attempt::Fewer(fewer) => most = fewer,
                Attempt::Refuse(record, reason) => {
                    most = 1;
                    refused.insert(record, reason);
                }
            }
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    fn failed(&mut self, error: &HostError) {
        held(&self.meter).state = TaskState::Failed { reason: Failure::of(self.id, error).reason };
    }
}

/// A stage's inputs with the task's positions, in the order in which they are read.
fn readings<S: Stage>(log: &dyn Log, task: TaskId) -> Result<Vec<Reading>, HostError> {
    let positions = log.positions(task)?;
    let mut topics: Vec<Topic> = S::INPUTS.iter().chain(S::GLOBALS).copied().collect();
    // What people decide is read first. A stable sort leaves the rest as the stage names them.
    topics.sort_by_key(|topic| *topic != DECISIONS);
    let reading = |topic: Topic| {
        let place = (topic.name, if topic.is_global { 0 } else { task.partition });
        let partitions = log.partitions(topic.name)?;
        Ok(Reading { topic, place, partitions, position: positions.get(&place).copied().unwrap_or(0) })
    };
    topics.into_iter().map(reading).collect()
}
