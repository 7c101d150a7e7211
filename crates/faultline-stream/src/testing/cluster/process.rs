//! A process: the log that its tasks see, its workers, and how it is given tasks and loses them. What it does to open a task and to land a
//! commit is the host's own code (`kafka/opening.rs`, `kafka/land.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use faultline_core::store::Store;
use faultline_model::time::Timestamp;

use super::asked::{Group, OfCluster, ToCluster};
use super::brokers::{Brokers, Member, at};
use super::disk::Disk;
use super::turns::{self, Turns};
use crate::clock::ManualClock;
use crate::commit::{Commit, Ending, InFlight, TaskId};
use crate::error::{Failure, HostError};
use crate::kafka::KafkaError;
use crate::kafka::cluster::Kept;
use crate::kafka::land::{Job, Landing};
use crate::kafka::opening::{Opened, Wanted, open, positions_in_state};
use crate::kafka::waiting::Waiting;
use crate::log::{Log, Page, Place, Positions, Record, Retained, Stored};
use crate::options::HostOptions;
use crate::sync::held;
use crate::task::Work;
use crate::testing::simulation::{Lock, Staged};
use crate::topics::{TopicPlan, Topics};

/// Of each process.
const PRODUCERS: usize = 2;
/// So little that some commits share a transaction, and some have too much for that.
const SHARED_BYTES: usize = 6_000;

/// What all processes share.
pub(super) struct Shared {
    pub(super) brokers: Mutex<Brokers>,
    pub(super) turns: Turns,
    pub(super) topics: Topics,
    pub(super) stages: Vec<Arc<Staged>>,
    pub(super) clock: ManualClock,
    pub(super) gate: Arc<Lock>,
    /// Why a task stopped for good.
    pub(super) stopped: Mutex<Option<String>>,
    /// How many transactions were of several tasks.
    pub(super) joint_transactions: AtomicUsize,
}

impl Shared {
    pub(super) fn once_in(&self, times: usize) -> bool {
        held(&self.brokers).random.once_in(times)
    }

    pub(super) fn fails_once_in(&self, times: usize) -> bool {
        held(&self.brokers).fails_once_in(times)
    }

    fn stop(&self, task: TaskId, error: &HostError) {
        held(&self.stopped).get_or_insert_with(|| Failure::of(task, error).reason);
    }
}

/// One life of an instance.
pub(super) struct Process {
    pub(super) instance: usize,
    pub(super) life: u64,
    pub(super) disk: Arc<Disk>,
    shared: Arc<Shared>,
    landing: Arc<Landing<ToCluster, Disk>>,
    waiting: Arc<Mutex<Commits>>,
    positions: Arc<Mutex<BTreeMap<TaskId, Positions>>>,
    options: HostOptions,
    inner: Mutex<Inner>,
    this: Weak<Self>,
}

#[derive(Default)]
struct Inner {
    is_stopped: bool,
    is_dead: bool,
    /// The generations that it knows of.
    generations: BTreeMap<&'static str, u64>,
    owned: BTreeMap<TaskId, u64>,
    given: u64,
    slots: BTreeMap<TaskId, Slot>,
    to_open: VecDeque<TaskId>,
    /// Those that stopped for want of space, and what they said.
    without_room: BTreeMap<TaskId, String>,
    is_opening: bool,
    /// Up to where inputs were read ahead.
    ends: BTreeMap<Place, u64>,
    /// Stages of which it gives up tasks, once for each time that it was told to.
    losing: Vec<&'static str>,
}

/// A task at work; it is taken out for a step.
struct Slot {
    task: Option<Box<dyn Work>>,
    has_failed: bool,
    /// Steps without effect since the last with one, or since something happened elsewhere.
    idle: usize,
}

impl Process {
    pub(super) fn start(shared: &Arc<Shared>, instance: usize, life: u64, disk: &Arc<Disk>, options: HostOptions) -> Arc<Self> {
        let positions = Arc::default();
        let free = Mutex::default();
        let brokers = ToCluster { shared: shared.clone(), instance, free };
        let landing = Arc::new(Landing { brokers, local: disk.clone(), positions: Arc::clone(&positions) });
        let process = Arc::new_cyclic(|this| Self {
            instance,
            life,
            disk: disk.clone(),
            shared: shared.clone(),
            landing,
            waiting: Arc::default(),
            positions,
            options,
            inner: Mutex::default(),
            this: this.clone(),
        });
        let works = process.clone();
        shared.turns.spawn(life, move || works.work());
        process
    }

    pub(super) fn is_running(&self) -> bool {
        let inner = held(&self.inner);
        !inner.is_stopped && !inner.is_dead
    }

    /// As by SIGSTOP and SIGCONT.
    pub(super) fn stop(&self, is_stopped: bool) {
        held(&self.inner).is_stopped = is_stopped;
    }

    pub(super) fn kill(&self) {
        held(&self.inner).is_dead = true;
        self.shared.turns.kill(self.life);
        // Its tasks hold the process.
        let slots = std::mem::take(&mut held(&self.inner).slots);
        drop(slots);
    }

    // ---- what the group says ----

    pub(super) fn hear(&self, stage: &'static str, generation: u64) {
        held(&self.inner).generations.insert(stage, generation);
    }

    pub(super) fn owned(&self, stage: &str) -> Vec<TaskId> {
        held(&self.inner).owned.keys().filter(|task| task.stage == stage).copied().collect()
    }

    pub(super) fn give(&self, task: TaskId) {
        let mut inner = held(&self.inner);
        inner.given += 1;
        let given = inner.given;
        inner.owned.insert(task, given);
        inner.without_room.remove(&task);
        drop(inner);
        self.open_soon(task);
    }

    /// Takes tasks of a stage away, in the process's own time; `has_lost` tells when they are gone.
    pub(super) fn lose(&self, stage: &'static str, tasks: Vec<TaskId>) {
        let process = self.this();
        held(&self.inner).losing.push(stage);
        self.shared.turns.spawn(self.life, move || {
            for task in tasks {
                held(&process.inner).owned.remove(&task);
                process.close(task);
                held(&process.inner).without_room.remove(&task);
            }
            let mut inner = held(&process.inner);
            if let Some(at) = inner.losing.iter().position(|losing| *losing == stage) {
                inner.losing.swap_remove(at);
            }
        });
    }

    /// Whether it has given up all that it was told to. A member of a group is given nothing before that.
    pub(super) fn has_lost(&self, stage: &str) -> bool {
        !held(&self.inner).losing.contains(&stage)
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("whoever calls holds it")
    }

    fn open_soon(&self, task: TaskId) {
        let mut inner = held(&self.inner);
        inner.to_open.push_back(task);
        if !std::mem::replace(&mut inner.is_opening, true) {
            drop(inner);
            let process = self.this();
            self.shared.turns.spawn(self.life, move || process.open_all());
        }
    }

    pub(super) fn is_opening(&self) -> bool {
        held(&self.inner).is_opening
    }

    // ---- tasks ----

    /// One after the other, as the host's opener does.
    fn open_all(&self) {
        loop {
            let mut inner = held(&self.inner);
            let Some(task) = inner.to_open.pop_front() else {
                inner.is_opening = false;
                return;
            };
            let Some(given) = inner.owned.get(&task).copied() else { continue };
            drop(inner);
            self.close(task);
            match self.open(task, given) {
                Ok(()) => {}
                Err(error) if error.is_passing() => {
                    self.close(task);
                    held(&self.inner).to_open.push_back(task);
                    turns::rest();
                }
                Err(error) => {
                    self.close(task);
                    self.stops(task, &error);
                }
            }
        }
    }

    /// A task stops for good. What has no space does so alone, until there is some and the process is started anew; all else is not to be.
    fn stops(&self, task: TaskId, error: &HostError) {
        if let HostError::NoSpace { .. } = error {
            held(&self.inner).without_room.insert(task, Failure::of(task, error).reason);
        } else {
            self.shared.stop(task, error);
        }
    }

    /// Its tasks that stopped for want of space, and what they said.
    pub(super) fn without_room(&self) -> BTreeMap<TaskId, String> {
        held(&self.inner).without_room.clone()
    }

    fn open(&self, task: TaskId, given: u64) -> Result<(), HostError> {
        let Some(stage) = self.shared.stages.iter().find(|stage| stage.name == task.stage) else { return Ok(()) };
        let keyed: Vec<Place> = stage.inputs.iter().map(|topic| (topic.name, task.partition)).collect();
        let changelog = OfCluster { shared: self.shared.clone(), task, next: Mutex::default() };
        let horizon = held(&self.shared.brokers).horizon(&changelog.at());
        let is_stale = self.disk.kept(task)?.is_some_and(|kept| kept < horizon);
        let wanted = Wanted { task, keyed: &keyed, globals: stage.globals, topics: &self.shared.topics, is_stale, mends: None };
        let owns = |_, _| held(&self.inner).owned.get(&task) == Some(&given);
        let Some(Opened { positions, .. }) = open(&changelog, &*self.disk, &wanted, &owns)? else { return Ok(()) };
        let mut inner = held(&self.inner);
        for place in &keyed {
            inner.ends.insert(*place, positions.get(place).copied().unwrap_or(0));
        }
        drop(inner);
        held(&self.positions).insert(task, positions);
        let work = (stage.open)(self.this() as Arc<dyn Log>, task.partition, self.options, self.shared.gate.clone())?;
        turns::give_way();
        let mut inner = held(&self.inner);
        if inner.owned.get(&task) == Some(&given) {
            inner.slots.insert(task, Slot { task: Some(work), has_failed: false, idle: 0 });
            return Ok(());
        }
        drop(inner);
        self.close(task);
        Ok(())
    }

    /// Takes a task from the worker, once its step has ended, and its commit if that has begun.
    fn close(&self, task: TaskId) {
        loop {
            let mut inner = held(&self.inner);
            let Some(slot) = inner.slots.get_mut(&task) else { break };
            slot.has_failed = true;
            if let Some(mut work) = slot.task.take() {
                drop(inner);
                work.give_up();
                held(&self.inner).slots.remove(&task);
                break;
            }
            drop(inner);
            turns::give_way();
        }
        let mut inner = held(&self.inner);
        inner.ends.retain(|(topic, partition), _| {
            let stage = self.shared.stages.iter().find(|stage| stage.name == task.stage);
            *partition != task.partition || stage.is_none_or(|stage| stage.inputs.iter().all(|input| input.name != *topic))
        });
        drop(inner);
        held(&self.positions).remove(&task);
    }

    fn work(&self) {
        for number in 0..PRODUCERS {
            let epoch = self.landing.brokers.init(number).ok();
            held(&self.landing.brokers.free).push((number, epoch));
        }
        let mut turn = 0;
        loop {
            turn += 1;
            if !self.step(turn) {
                turns::rest();
            } else if self.shared.once_in(2) {
                turns::give_way();
            }
        }
    }

    /// Steps a task that can be; tells whether that had an effect.
    fn step(&self, turn: usize) -> bool {
        let mut inner = held(&self.inner);
        let ready = |(task, slot): (&TaskId, &mut Slot)| if slot.has_failed { None } else { Some((*task, slot.task.take()?)) };
        let many = inner.slots.len();
        let found = inner.slots.iter_mut().cycle_from(turn, many).find_map(ready);
        let Some((id, mut task)) = found else { return false };
        drop(inner);
        let stepped = task.step(&self.shared.clock);
        let mut has_failed = false;
        let had_effect = match stepped {
            Ok(step) => step.had_effect || step.is_committing,
            Err(error) => {
                has_failed = true;
                task.rest();
                if error.is_passing() {
                    self.open_soon(id);
                } else {
                    self.stops(id, &error);
                }
                true
            }
        };
        let mut inner = held(&self.inner);
        if let Some(slot) = inner.slots.get_mut(&id) {
            slot.idle = if had_effect { 0 } else { slot.idle + 1 };
            slot.task = Some(task);
            slot.has_failed |= has_failed;
        }
        had_effect
    }

    /// Whether each of its tasks is at work and had nothing to do, twice, since something happened, or has stopped.
    pub(super) fn is_idle(&self) -> bool {
        let inner = held(&self.inner);
        let is_idle = |slot: &Slot| !slot.has_failed && slot.idle > 1;
        let is_done = |task| inner.without_room.contains_key(task) || inner.slots.get(task).is_some_and(is_idle);
        !inner.is_opening && inner.losing.is_empty() && inner.owned.keys().all(is_done)
    }

    pub(super) fn look_again(&self) {
        held(&self.inner).slots.values_mut().for_each(|slot| slot.idle = 0);
    }

    pub(super) fn committed_positions(&self, task: TaskId) -> Result<Positions, HostError> {
        positions_in_state(&*self.disk, &self.shared.topics, task)
    }
}

/// Goes round something once, from the n-th on.
trait CycleFrom: Iterator + Sized {
    fn cycle_from(self, from: usize, many: usize) -> impl Iterator<Item = Self::Item>;
}

impl<I: Iterator> CycleFrom for I {
    fn cycle_from(self, from: usize, many: usize) -> impl Iterator<Item = I::Item> {
        let mut all: Vec<I::Item> = self.collect();
        all.rotate_left(from.checked_rem(many).unwrap_or(0));
        all.into_iter()
    }
}

// ---- the log, as the process's tasks see it ----

/// What became of a commit.
type Landed = Result<Vec<u64>, HostError>;
type Commits = Waiting<Group, Arc<Mutex<Option<Landed>>>>;

/// A commit that a thread of the process lands.
struct Flying {
    task: TaskId,
    outcome: Arc<Mutex<Option<Landed>>>,
    waiting: Arc<Mutex<Commits>>,
}

impl Ending for Flying {
    fn is_here(&mut self) -> bool {
        held(&self.outcome).is_some()
    }

    fn wait(self: Box<Self>) -> Result<Vec<u64>, HostError> {
        loop {
            let outcome = held(&self.outcome).take();
            match outcome {
                Some(outcome) => return outcome,
                None => turns::give_way(),
            }
        }
    }

    fn give_up(self: Box<Self>) -> Result<Vec<u64>, HostError> {
        let is_back = held(&self.waiting).withdraw(self.task);
        if is_back { Err(KafkaError::NotOwner { task: self.task }.into()) } else { self.wait() }
    }
}

impl Log for Process {
    fn append(&self, _: Vec<Record>) -> Result<Vec<u64>, HostError> {
        Err(HostError::Stopped)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        let plan = self.shared.topics.plan(topic, partition)?;
        if self.shared.once_in(4) {
            turns::give_way();
        }
        if plan.is_global {
            return Ok(self.disk.read(topic, from, max_records, max_bytes));
        }
        let end = held(&self.inner).ends.get(&(plan.name, partition)).copied().unwrap_or(from);
        let brokers = held(&self.shared.brokers);
        let mut page = Page::new(max_records, max_bytes);
        for record in brokers.committed(&at(topic, partition), from).take_while(|record| record.offset < end) {
            if !page.takes(record.clone()) {
                break;
            }
        }
        Ok(page.into_records())
    }

    /// Behind what was read ahead, which now and then is more.
    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        let plan = self.shared.topics.plan(topic, partition)?;
        if plan.is_global {
            return Ok(self.disk.end(topic));
        }
        let mut inner = held(&self.inner);
        let mut brokers = held(&self.shared.brokers);
        let Some(end) = inner.ends.get_mut(&(plan.name, partition)) else { return Ok(brokers.stable(&at(topic, partition))) };
        if !brokers.is_faulty || brokers.random.once_in(2) {
            let many = if brokers.is_faulty { 1 + brokers.random.below(8) } else { usize::MAX };
            let last = brokers.committed(&at(topic, partition), *end).take(many).last();
            *end = last.map_or(*end, |last| last.offset + 1);
        }
        Ok(*end)
    }

    fn start_offset(&self, _: &str, _: u32) -> Result<u64, HostError> {
        Ok(0)
    }

    fn latest(&self, topic: &str, _: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        Ok(self.disk.latest(topic, key))
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        self.begin(commit)?.map_or_else(|| Ok(Vec::new()), |commit| commit.ending.wait())
    }

    fn begin(&self, commit: Commit) -> Result<Option<InFlight>, HostError> {
        self.shared.topics.check_outputs(&commit.outputs)?;
        let task = commit.task;
        let stage = self.shared.stages.iter().find(|stage| stage.name == task.stage).ok_or(KafkaError::NotOwner { task })?;
        let generation = held(&self.inner).generations.get(task.stage).copied().ok_or(KafkaError::NotOwner { task })?;
        let member = Member { instance: self.instance, life: self.life, generation };
        let job = Job::new(commit, self.positions(task)?, stage.inputs[0].name).of(Group { stage: task.stage, member });
        let (changes, outcome) = (job.changes.clone(), Arc::new(Mutex::new(None)));
        held(&self.waiting).push(job, outcome.clone());
        let (landing, waiting, shared) = (self.landing.clone(), self.waiting.clone(), self.shared.clone());
        // It may find that another one has taken its commit along.
        self.shared.turns.spawn(self.life, move || {
            let (jobs, answers): (Vec<_>, Vec<_>) = held(&waiting).next(SHARED_BYTES).into_iter().unzip();
            shared.joint_transactions.fetch_add(usize::from(jobs.len() > 1), Ordering::Relaxed);
            let landed = landing.land(&jobs);
            for ((job, landed), answer) in jobs.iter().zip(landed).zip(answers) {
                held(&waiting).ended(job.task, &landed);
                *held(&answer) = Some(landed);
            }
        });
        Ok(Some(InFlight { changes, ending: Box::new(Flying { task, outcome, waiting: self.waiting.clone() }) }))
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        let known = held(&self.positions).get(&task).cloned();
        known.map_or_else(|| self.committed_positions(task), Ok)
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        self.disk.state(task)
    }

    fn truncate(&self, topic: &str, _: u32, _: u64, _: u64) -> Result<(), HostError> {
        Err(KafkaError::BrokersKeep { topic: topic.to_owned() }.into())
    }

    fn retain(&self, _: Place, _: Timestamp, _: u64, _: usize) -> Result<Retained, HostError> {
        Ok(Retained::default())
    }

    fn horizon(&self, _: &str, _: u32) -> Result<u64, HostError> {
        Ok(0)
    }

    fn wait_for_change(&self, since: u64, _: Duration) -> u64 {
        since
    }

    fn wake(&self) {}

    fn topics(&self) -> Vec<TopicPlan> {
        self.shared.topics.all()
    }

    fn partitions(&self, topic: &str) -> Result<u32, HostError> {
        Ok(self.shared.topics.partitions(self.shared.topics.named(topic)?))
    }

    fn max_record_bytes(&self) -> usize {
        self.shared.topics.max_record_bytes()
    }
}
