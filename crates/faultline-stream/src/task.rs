//! A task: one partition of one stage, stepped a batch at a time.
//!
//! The way through it: [`Task::step`] looks whether there is anything to do, makes an attempt at a batch (read, apply, end, slice)
//! over an overlay, and begins its commit. Where that takes time, the next attempt is made over what it changes meanwhile; its own commit
//! begins when the one before has ended. An attempt that meets poison where nobody promised it (after a change, at the end of a
//! batch) is dropped whole and made again over fewer records, until the one record at fault is known and refused.
//!
//! **Rows of state whose key begins with 0 are the host's**; a stage's tables begin with 1 or above. Row `[0, b'n']` is the
//! latest time that the stage has seen, `[0, b'f']` the format in which the stage's rows are written.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faultline_core::stage::{Output, Stage};
use faultline_core::store::{Changes, StoreError};
use faultline_model::time::Timestamp;
use faultline_model::topic::{DECISIONS, SHARES, STEPS, Topic};

use crate::at_hand::{Room, Rows};
use crate::attempt::{Attempt, Done};
use crate::clock::Clock;
use crate::commit::{Commit, InFlight, TaskId};
use crate::courier::{Courier, Seat};
use crate::error::{Failure, HostError};
use crate::gate::{Gate, Open};
use crate::intake::{Intake, Refused, newest};
use crate::layout::corrupt;
use crate::log::{Headers, Log, Place, Positions, Record};
use crate::options::HostOptions;
use crate::sync::held;
use crate::telemetry::{Meter, TaskState};

/// The first byte of the host's own rows in a task's state.
pub const HOST_ROWS: u8 = 0;
pub(crate) const NOW_ROW: [u8; 2] = [HOST_ROWS, b'n'];
pub(crate) const FORMAT_ROW: [u8; 2] = [HOST_ROWS, b'f'];

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Input records whose commit has ended.
    pub consumed: u64,
    /// Whether a commit was begun or has ended. A step without effect has nothing to do until something is appended, falls due, or the
    /// commit in flight ends.
    pub had_effect: bool,
    /// Whether a commit is in flight.
    pub is_committing: bool,
}

/// A task, whatever its stage.
pub trait Work: Send {
    fn id(&self) -> TaskId;

    /// The places that it reads.
    fn inputs(&self) -> Vec<Place>;

    /// One batch and its commit, which may still be in flight afterwards. After an error nothing of the batch is committed, and the
    /// task is where its last commit was that is known to have ended well.
    fn step(&mut self, clock: &dyn Clock) -> Result<Step, HostError>;

    /// Waits for the commit in flight: afterwards nothing of the task is under way. What became of it stands in the log.
    fn rest(&mut self);

    /// The same for a task that is to go: a commit that has not come to the brokers need not, who has the task next makes it again.
    fn give_up(&mut self);

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
    /// In which the stage's rows are written.
    pub(crate) format: u16,
    /// After the last commit that has ended.
    standing: Standing,
    flight: Option<Flight>,
    /// Partition counts of topics that were written to.
    partitions: Vec<(&'static str, u32)>,
    meter: Arc<Mutex<Meter>>,
    pub(crate) rows: RefCell<Rows>,
    /// Whether bulk may be read.
    pub(crate) gate: Arc<dyn Gate>,
    bulk_waits: bool,
    shows: Option<Shows>,
}

/// Who is shown what is committed.
struct Shows {
    courier: Arc<dyn Courier>,
    seat: Seat,
    /// Places that had more to read when the task was opened, up to where.
    until: Vec<(Place, u64)>,
}

impl Drop for Shows {
    fn drop(&mut self) {
        self.courier.leave(self.seat);
    }
}

/// Where a task stands after a commit.
#[derive(Clone)]
pub(crate) struct Standing {
    pub(crate) inputs: Vec<Reading>,
    now: Timestamp,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) has_pending: bool,
    /// Whether the state says in which format it is written. It does from the first commit on, whatever that is for: a program of another
    /// version is to find it.
    says_format: bool,
}

/// The commit in flight, and what holds once it has ended.
struct Flight {
    commit: InFlight,
    batch: Begun,
}

/// A batch whose commit has begun.
struct Begun {
    at: Instant,
    /// How old its oldest record was when it was written, counted from when that came in.
    age: Option<Duration>,
    after: Standing,
    counted: Counted,
}

/// What a batch did, for the meter.
struct Counted {
    positions: Positions,
    times: BTreeMap<Place, i64>,
    consumed: u64,
    by_topic: BTreeMap<&'static str, u64>,
    misplaced: BTreeMap<&'static str, u64>,
    dead: BTreeMap<&'static str, u64>,
    produced: Vec<&'static str>,
    read: Duration,
    apply: Duration,
}

/// An input, and the next offset to read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) topic: Topic,
    pub(crate) place: Place,
    pub(crate) partitions: u32,
    pub(crate) position: u64,
    /// Read when the others are drained, and while the gate is open.
    pub(crate) is_bulk: bool,
}

impl<S: Stage> Task<S> {
    /// Goes on where its last commit was. It waits for nobody who reads what it says.
    pub fn open(log: Arc<dyn Log>, stage: Arc<S>, partition: u32, options: HostOptions) -> Result<Self, HostError> {
        let room = Room::of(options.at_hand_bytes);
        Self::metered(log, stage, partition, options, Arc::default(), Arc::new(Open), room)
    }

    pub(crate) fn metered(
        log: Arc<dyn Log>,
        stage: Arc<S>,
        partition: u32,
        options: HostOptions,
        meter: Arc<Mutex<Meter>>,
        gate: Arc<dyn Gate>,
        room: Arc<Room>,
    ) -> Result<Self, HostError> {
        let id = TaskId { stage: S::NAME, partition };
        let inputs = readings::<S>(&*log, id)?;
        let (format, says_format) = format_of::<S>(&*log, &*stage, id)?;
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
            (meter.has_pending, meter.now, meter.format) = (true, now, format);
        }
        // Whether something is pending only the stage knows: the first step asks.
        let standing = Standing { inputs, now, next_due, has_pending: true, says_format };
        let (flight, partitions, rows) = (None, Vec::new(), RefCell::new(Rows::new(room)));
        Ok(Self { id, stage, log, options, format, standing, flight, partitions, meter, rows, gate, bulk_waits: false, shows: None })
    }

    /// With somebody who does what its state asks for.
    pub fn with_courier(mut self, courier: Option<Arc<dyn Courier>>) -> Result<Self, HostError> {
        let Some(courier) = courier else { return Ok(self) };
        let mut until = Vec::new();
        for input in &self.standing.inputs {
            let end = self.log.end_offset(input.place.0, input.place.1)?;
            if end > input.position {
                until.push((input.place, end));
            }
        }
        self.shows = Some(Shows { courier, seat: Seat::next(self.id), until });
        self.shown();
        Ok(self)
    }

    /// Shows what is committed to who acts on it.
    fn shown(&mut self) {
        let Some(Shows { courier, seat, until }) = &mut self.shows else { return };
        let inputs = &self.standing.inputs;
        until.retain(|(place, end)| inputs.iter().any(|input| input.place == *place && input.position < *end));
        if until.is_empty() {
            courier.look(*seat, &*self.log.state(self.id), self.standing.now);
        }
    }

    /// Where the next batch begins: behind the one in flight.
    pub(crate) fn ahead(&self) -> &Standing {
        self.flight.as_ref().map_or(&self.standing, |flight| &flight.batch.after)
    }

    /// What the commit in flight changes.
    pub(crate) fn in_flight(&self) -> Option<&Changes> {
        self.flight.as_ref().map(|flight| &*flight.commit.changes)
    }

    /// Beside a commit in flight only for pending work and a page of input: less would be committed later than if it waited for more.
    fn has_work(&mut self, now: Timestamp) -> Result<bool, HostError> {
        let Standing { inputs, next_due, has_pending, .. } = self.ahead();
        if *has_pending || (self.flight.is_none() && next_due.is_some_and(|due| due <= now)) {
            return Ok(true);
        }
        let enough = if self.flight.is_some() { self.options.page_records.max(1) as u64 } else { 1 };
        let (mut waiting, mut bulk_waits) = (0, false);
        // Bulk comes last.
        for input in inputs {
            let left = self.log.end_offset(input.place.0, input.place.1)?.saturating_sub(input.position);
            if input.is_bulk && left > 0 && !self.gate.is_open() {
                bulk_waits = true;
                continue;
            }
            waiting += left;
            if waiting >= enough {
                break;
            }
        }
        if bulk_waits != self.bulk_waits {
            self.bulk_waits = bulk_waits;
            held(&self.meter).bulk_waits = bulk_waits;
        }
        Ok(waiting >= enough)
    }

    /// Outputs carry the time when they are written, which is when the batch ends: it read records that came after it began.
    fn commit(&mut self, now: Timestamp, written: Timestamp, done: Done) -> Result<Step, HostError> {
        let Done { intake, changes, outputs, has_pending, next_due, read, apply } = done;
        let Intake { positions, consumed, by_topic, misplaced, dead, aside, carried, times, .. } = intake;
        if positions.is_empty() && changes.is_empty() && outputs.is_empty() && self.ahead().says_format {
            self.nothing_came(now, has_pending, next_due);
            return Ok(Step::default());
        }
        let changes = self.with_own_rows(now, changes)?;
        let mut records = self.records(written, newest(outputs), &carried.headers())?;
        let produced: Vec<&'static str> = records.iter().map(|record| record.topic).collect();
        if let Some(bulk) = S::BULK {
            self.gate.said(produced.iter().filter(|topic| **topic == bulk.said.name).count() as u64);
        }
        records.extend(aside);
        let mut after = Standing { now, next_due, has_pending, says_format: true, ..self.ahead().clone() };
        for input in &mut after.inputs {
            input.position = positions.get(&input.place).copied().unwrap_or(input.position);
        }
        // One at a time: if the one before fails, nothing that was built upon it has begun.
        let settled = self.settle()?;
        let commit = Commit { task: self.id, positions: positions.clone(), changes, outputs: records };
        let counted = Counted { positions, times, consumed: consumed as u64, by_topic, misplaced, dead, produced, read, apply };
        let age = carried.since_ms.map(|since| Duration::from_millis(written.millis().saturating_sub(since).max(0).unsigned_abs()));
        let batch = Begun { at: Instant::now(), age, after, counted };
        self.rows.get_mut().apply(&commit.changes);
        match self.log.begin(commit)? {
            Some(commit) => {
                self.flight = Some(Flight { commit, batch });
                Ok(Step { consumed: settled, had_effect: true, is_committing: true })
            }
            None => Ok(Step { consumed: settled + self.ended(batch), had_effect: true, is_committing: false }),
        }
    }

    /// Of what is due and yet without effect the stage is asked again at the next tick, not at once.
    fn nothing_came(&mut self, now: Timestamp, has_pending: bool, next_due: Option<Timestamp>) {
        let tick = i64::try_from(self.options.tick.as_millis()).unwrap_or(i64::MAX);
        let later = Timestamp::from_millis(now.millis().saturating_add(tick));
        let standing = self.flight.as_mut().map_or(&mut self.standing, |flight| &mut flight.batch.after);
        (standing.has_pending, standing.next_due) = (has_pending, next_due.map(|due| if due <= now { later } else { due }));
        if self.flight.is_none() {
            held(&self.meter).has_pending = has_pending;
        }
    }

    /// Waits for the end of the commit in flight, if there is one. Gives how many records it was of.
    fn settle(&mut self) -> Result<u64, HostError> {
        let Some(Flight { commit, batch }) = self.flight.take() else { return Ok(0) };
        commit.ending.wait()?;
        Ok(self.ended(batch))
    }

    /// Takes note that a batch is committed.
    fn ended(&mut self, batch: Begun) -> u64 {
        let Begun { at, age, after, counted } = batch;
        let Counted { positions, times, consumed, by_topic, misplaced, dead, produced, read, apply } = counted;
        self.standing = after;
        self.shown();
        let mut meter = held(&self.meter);
        (meter.has_pending, meter.now) = (self.standing.has_pending, self.standing.now);
        meter.commits.observe(at.elapsed());
        if let Some(age) = age {
            meter.end_to_end.observe(age + at.elapsed());
        }
        meter.read += read;
        meter.apply += apply;
        meter.positions.extend(positions);
        meter.times.extend(times);
        meter.count(by_topic, misplaced, dead, produced);
        consumed
    }

    /// The stage's changes and the host's rows, where the time moved, or the format is to be said.
    fn with_own_rows(&self, now: Timestamp, mut changes: Changes) -> Result<Changes, HostError> {
        if let Some(key) = changes.keys().next()
            && key.first().is_none_or(|first| *first == HOST_ROWS)
        {
            return Err(HostError::ReservedRow { task: self.id, key: key.clone() });
        }
        if now != self.ahead().now {
            changes.insert(NOW_ROW.to_vec(), Some(now.millis().to_be_bytes().to_vec()));
        }
        if !self.ahead().says_format {
            changes.insert(FORMAT_ROW.to_vec(), Some(self.format.to_be_bytes().to_vec()));
        }
        Ok(changes)
    }

    fn records(&mut self, written: Timestamp, outputs: Vec<Output>, headers: &Headers) -> Result<Vec<Record>, HostError> {
        let mut records = Vec::with_capacity(outputs.len());
        for Output { topic, key, value } in outputs {
            let partition = topic.partition_of(&key, self.partitions_of(topic)?);
            let (key, timestamp_ms) = (key.into_bytes(), written.millis());
            records.push(Record { topic: topic.name, partition, key, value, headers: headers.clone(), timestamp_ms });
        }
        Ok(records)
    }

    fn one_step(&mut self, clock: &dyn Clock) -> Result<Step, HostError> {
        let mut step = Step::default();
        if self.flight.as_mut().is_some_and(|flight| flight.commit.ending.is_here()) {
            (step.consumed, step.had_effect) = (self.settle()?, true);
        }
        step.is_committing = self.flight.is_some();
        // Not only where there is something to write: so that each task shows that it has stopped.
        self.log.accepts()?;
        let now = clock.now().max(self.ahead().now);
        if !self.has_work(now)? {
            return Ok(step);
        }
        let mut refused = Refused::new();
        let mut most = self.options.batch_records.max(1);
        loop {
            match self.attempt(clock, now, most, &refused)? {
                Attempt::Done(done) => {
                    let next = self.commit(now, clock.now().max(now), *done)?;
                    return Ok(Step {
                        consumed: step.consumed + next.consumed,
                        had_effect: step.had_effect || next.had_effect,
                        is_committing: self.flight.is_some(),
                    });
                }
                Attempt::Fewer(fewer) => most = fewer,
                Attempt::Refuse(record, reason) => {
                    most = 1;
                    refused.insert(record, reason);
                }
            }
        }
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
        self.standing.inputs.iter().map(|input| input.place).collect()
    }

    fn step(&mut self, clock: &dyn Clock) -> Result<Step, HostError> {
        self.rows.get_mut().trim();
        let step = self.one_step(clock);
        if step.is_err() {
            self.rows.get_mut().forget();
        }
        step
    }

    fn rest(&mut self) {
        // Who opens the task again finds what became of it.
        if self.settle().is_err() {
            self.rows.get_mut().forget();
        }
    }

    fn give_up(&mut self) {
        // What ends now is for who has it next to act on.
        self.shows = None;
        let Some(Flight { commit, batch }) = self.flight.take() else { return };
        match commit.ending.give_up() {
            Ok(_) => drop(self.ended(batch)),
            Err(_) => self.rows.get_mut().forget(),
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        // Of a commit in flight the bell tells.
        if self.flight.is_some() { None } else { self.standing.next_due }
    }

    fn failed(&mut self, error: &HostError) {
        self.log.note_failure(error);
        held(&self.meter).state = TaskState::Failed { reason: Failure::of(self.id, error).reason };
    }
}

/// In which format the task writes, and whether its state says so already.
fn format_of<S: Stage>(log: &dyn Log, stage: &S, task: TaskId) -> Result<(u16, bool), HostError> {
    let fails = |source: StoreError| HostError::Stage { task, source: source.into() };
    let state = log.state(task);
    let written = match state.get(&FORMAT_ROW).map_err(fails)? {
        Some(row) => Some(row.try_into().map(u16::from_be_bytes).map_err(|_| corrupt("the format of a task's state", "it is no number"))?),
        None => None,
    };
    let mut has_rows = false;
    let scanned = state.scan(&[], &[], &mut |_, _| {
        has_rows = true;
        ControlFlow::Break(())
    });
    scanned.map_err(fails)?;
    let format = S::FORMATS.to_write(written, has_rows, stage.finalised()).map_err(|source| HostError::Format { task, source })?;
    Ok((format, written == Some(format)))
}

/// A stage's inputs with the task's positions, in the order in which they are read.
fn readings<S: Stage>(log: &dyn Log, task: TaskId) -> Result<Vec<Reading>, HostError> {
    let positions = log.positions(task)?;
    let mut topics: Vec<Topic> = S::INPUTS.iter().chain(S::GLOBALS).copied().collect();
    let is_bulk = |topic: &Topic| S::BULK.is_some_and(|bulk| bulk.topic == *topic);
    // What people decide is read first, but a step behind the catalog that it is judged by; bulk comes last. A stable sort leaves the rest as the
    // stage names them.
    let rank = |topic: &Topic| match *topic {
        DECISIONS => 0,
        STEPS => 2,
        SHARES => 3,
        _ => 1,
    };
    topics.sort_by_key(|topic| (is_bulk(topic), rank(topic)));
    let reading = |topic: Topic| {
        let place = (topic.name, if topic.is_global { 0 } else { task.partition });
        let partitions = log.partitions(topic.name)?;
        Ok(Reading { topic, place, partitions, position: positions.get(&place).copied().unwrap_or(0), is_bulk: is_bulk(&topic) })
    };
    topics.into_iter().map(reading).collect()
}
