//! Stages over Kafka: which tasks are this process's is the groups' to say, and changes while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use faultline_core::stage::{Bulk, Stage};
use faultline_model::topic::Topic;
use rdkafka::consumer::Consumer;

use super::fetch::Start;
use super::group::{Asks, Member, Owned, Rebalances, peers};
use super::lanes::{Allowance, Asker};
use super::opening::{Wanted, open};
use super::restore::{BrokersChangelog, Restorer};
use super::stale;
use super::standby::View;
use super::unfenced::{Mender, Mends};
use super::{Guarantee, KafkaError, KafkaLog, LOOK, Membership};
use crate::clock::Clock;
use crate::commit::TaskId;
use crate::courier::Courier;
use crate::error::HostError;
use crate::gate::{self, Gate};
use crate::host::Host;
use crate::log::{Log, Place};
use crate::options::HostOptions;
use crate::running::Running;
use crate::sync::{Stop, held};
use crate::task::{Task, Work};
use crate::telemetry::Meter;

/// How long a task that stopped at a passing fault waits before it is opened again.
const BEFORE_AGAIN: Duration = Duration::from_millis(100);
/// After so many rows it is told how far a restore is.
const TELL_EVERY: u64 = 4096;
/// How many tasks are restored at once: one for each worker, who has nothing to do until they are, but two of them at least, as one waits
/// for brokers half of its time.
const OPENERS: RangeInclusive<usize> = 2..=8;

type Open = Box<dyn Fn(u32, Arc<Mutex<Meter>>) -> Result<Box<dyn Work>, HostError> + Send + Sync>;

struct Kind {
    open: Open,
    inputs: Vec<Topic>,
    globals: Vec<Topic>,
    bulk: Option<(Bulk, Arc<Allowance>)>,
}

impl Kind {
    fn is_bulk(&self, topic: Topic) -> bool {
        self.bulk.as_ref().is_some_and(|(bulk, _)| bulk.topic == topic)
    }
}

/// Stages over a Kafka log.
pub struct KafkaHost {
    log: Arc<KafkaLog>,
    host: Host,
    options: HostOptions,
    kinds: BTreeMap<&'static str, Kind>,
}

impl KafkaHost {
    pub fn new(log: Arc<KafkaLog>, options: HostOptions) -> Self {
        let host = Host::new(log.clone(), options);
        Self { log, host, options, kinds: BTreeMap::new() }
    }

    /// Adds a stage; its group will say which of its tasks are worked on here.
    pub fn add<S: Stage>(&mut self, stage: S) -> Result<&mut Self, HostError> {
        self.add_with(stage, None)
    }

    /// The same, with somebody who does what the state of its tasks asks for.
    pub fn add_with<S: Stage>(&mut self, stage: S, courier: Option<Arc<dyn Courier>>) -> Result<&mut Self, HostError> {
        if self.kinds.contains_key(S::NAME) {
            return Err(HostError::StageTwice { stage: S::NAME });
        }
        S::FORMATS.check(stage.finalised()).map_err(|source| HostError::StageFormat { stage: S::NAME, source })?;
        self.log.check_changelog(S::NAME)?;
        let (stage, log, options, room) = (Arc::new(stage), self.log.clone(), self.options, self.host.room.clone());
        let bulk = S::BULK.map(|bulk| (bulk, Arc::new(Allowance::new())));
        let gate: Arc<dyn Gate> = match &bulk {
            Some((_, allowance)) => allowance.clone(),
            None => Arc::new(gate::Open),
        };
        let open: Open = Box::new(move |partition, meter| {
            let task = Task::metered(log.clone() as Arc<dyn Log>, stage.clone(), partition, options, meter, gate.clone(), room.clone())?;
            Ok(Box::new(task.with_courier(courier.clone())?) as Box<dyn Work>)
        });
        self.kinds.insert(S::NAME, Kind { open, inputs: S::INPUTS.to_vec(), globals: S::GLOBALS.to_vec(), bulk });
        Ok(self)
    }

    /// Joins the groups and works in the background until it is stopped.
    pub fn start(self, clock: Arc<dyn Clock>) -> Result<KafkaRunning, HostError> {
        let Self { log, host, options, kinds } = self;
        let mut askers = Vec::new();
        for (stage, kind) in &kinds {
            if let Some((bulk, allowance)) = &kind.bulk {
                askers.push(Asker::start(log.clone(), stage, *bulk, options.bulk_lag, allowance.clone())?);
            }
        }
        let (asked, asks) = Asks::new(options.workers.clamp(*OPENERS.start(), *OPENERS.end()));
        host.pool.tell_of_passing(Box::new({
            let asked = asked.clone();
            move |task| asked.ask(Owned::Again(task))
        }));
        let running = host.start(clock)?;
        let (openers, owned, again) = (asks.len(), Mutex::default(), asked.clone());
        let opener = Arc::new(Opener { log, running: running.host(), kinds, owned, again, openers, stopping: Arc::default() });
        let mut started = KafkaRunning { members: Vec::new(), opener: opener.clone(), threads: Vec::new(), running: Some(running), askers };
        for (number, asks) in asks.into_iter().enumerate() {
            let opener = opener.clone();
            let thread = std::thread::Builder::new().name(format!("kafka-open-{number}")).spawn(move || opener.run(&asks));
            started.threads.push(thread.map_err(|source| HostError::Thread { source })?);
        }
        if started.opener.log.options.standbys > 0 {
            let thread = std::thread::Builder::new().name("kafka-standby".to_owned()).spawn(move || opener.follow());
            started.threads.push(thread.map_err(|source| HostError::Thread { source })?);
        }
        started.join(&asked)?;
        Ok(started)
    }
}

/// A host on Kafka at work. Dropping it leaves the groups and stops.
pub struct KafkaRunning {
    members: Vec<Member>,
    opener: Arc<Opener>,
    threads: Vec<JoinHandle<()>>,
    running: Option<Running>,
    /// Who asks how far those are that bulk waits for.
    askers: Vec<Asker>,
}

impl KafkaRunning {
    fn join(&mut self, asked: &Asks) -> Result<(), HostError> {
        let kinds: Vec<(&'static str, &'static str)> =
            self.opener.kinds.iter().filter_map(|(stage, kind)| Some((*stage, kind.inputs.first()?.name))).collect();
        for (stage, topic) in kinds {
            let (owns, loses) = (self.opener.clone(), self.opener.clone());
            let owned = move |task| {
                held(&owns.owned).give(task);
                owns.running.telemetry.restoring(task, 0, 0);
            };
            let rebalances = Rebalances::new(stage, asked.clone(), owned, move |task| loses.lose(task));
            let member = Member::join(&self.opener.log.options, topic, rebalances)?;
            held(&self.opener.log.members).insert(stage, Membership { topic, seat: member.seat() });
            self.members.push(member);
        }
        Ok(())
    }

    /// What works: status, telemetry, failures.
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// The tasks that are open here.
    pub fn tasks(&self) -> Vec<TaskId> {
        self.opener.running.pool.tasks()
    }

    /// Why this process is no member of a group any more, if so; it works on none of that stage's tasks then.
    pub fn ends(&self) -> Vec<&str> {
        self.members.iter().filter_map(Member::end).collect()
    }

    /// Stages whose group has not yet said which tasks are this process's.
    pub fn joining(&self) -> Vec<&'static str> {
        self.members.iter().filter(|member| !member.has_joined()).map(Member::stage).collect()
    }

    /// Ends each batch that has begun, leaves the groups, and tells what had stopped before.
    pub fn stop(mut self) -> Result<(), HostError> {
        // A task that is given up takes along what is known of it.
        let failures = self.running.as_ref().map(Running::failures).unwrap_or_default();
        let ended = self.ends().first().map(|reason| KafkaError::Ended { reason: (*reason).to_owned() });
        self.leave();
        let stopped = self.running.take().map_or(Ok(()), Running::stop);
        if !failures.is_empty() {
            return Err(HostError::TasksFailed { failures });
        }
        ended.map_or(stopped, |ended| Err(ended.into()))
    }

    fn leave(&mut self) {
        self.opener.stopping.tell();
        self.askers.clear();
        // Each gives its tasks up before it goes.
        self.members.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for KafkaRunning {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The tasks that are this process's, each with a number of its own for each time that it was given.
#[derive(Default)]
struct Ownership {
    tasks: BTreeMap<TaskId, u64>,
    given: u64,
    /// Those whose state a thread brings here, or a worker writes: they stay so for a while after they were taken away.
    opening: BTreeSet<TaskId>,
    working: BTreeSet<TaskId>,
}

impl Ownership {
    fn give(&mut self, task: TaskId) {
        self.given += 1;
        self.tasks.insert(task, self.given);
    }

    /// Nobody here writes its state, or will.
    fn is_elsewhere(&self, task: TaskId) -> bool {
        !self.tasks.contains_key(&task) && !self.opening.contains(&task) && !self.working.contains(&task)
    }
}

/// Opens tasks that are given to this process: several at once, by as many threads, each task always by the same one.
struct Opener {
    log: Arc<KafkaLog>,
    running: Arc<Host>,
    kinds: BTreeMap<&'static str, Kind>,
    owned: Mutex<Ownership>,
    /// For what is to be tried once more, behind what else there is to open. It holds a task once at most for each time that it failed.
    again: Asks,
    openers: usize,
    stopping: Arc<Stop>,
}

impl Opener {
    fn run(&self, asks: &Receiver<Owned>) {
        // Kept from one task to the next: its connections take longer to make than a warm task to restore.
        let mut restorer = None;
        while !self.stopping.is_told() {
            let task = match asks.recv_timeout(LOOK) {
                Ok(Owned::Given(task)) => task,
                Ok(Owned::Again(task)) => {
                    if self.stopping.wait(BEFORE_AGAIN) {
                        return;
                    }
                    task
                }
                Err(RecvTimeoutError::Timeout) => {
                    restorer = None;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(given) = held(&self.owned).tasks.get(&task).copied() else { continue };
            held(&self.owned).opening.insert(task);
            self.log.standbys.leave(task);
            // It may be at work: what is asked for is asked for twice where a fault and a rebalance meet.
            self.close(task);
            match self.open(task, given, &mut restorer) {
                Ok(()) => {}
                Err(HostError::Kafka(error)) if error.is_passing() => {
                    tracing::warn!(%task, %error, "a task could not be opened; it is tried again");
                    self.close(task);
                    restorer = None;
                    self.again.ask(Owned::Again(task));
                }
                Err(error) => {
                    self.close(task);
                    self.log.note_failure(&error);
                    self.tell(task, given, &|| self.running.telemetry.failed(task, &error));
                }
            }
            held(&self.owned).opening.remove(&task);
        }
    }

    /// Tells of a task as long as it is this process's: under the lock, so that a word of one that was taken away does not stay.
    fn tell(&self, task: TaskId, given: u64, word: &dyn Fn()) {
        let owned = held(&self.owned);
        if owned.tasks.get(&task) == Some(&given) {
            word();
        }
    }

    fn owns(&self, task: TaskId, given: u64) -> bool {
        !self.stopping.is_told() && held(&self.owned).tasks.get(&task) == Some(&given)
    }

    fn open(&self, task: TaskId, given: u64, restorer: &mut Option<Restorer>) -> Result<(), HostError> {
        let Some(kind) = self.kinds.get(task.stage) else { return Ok(()) };
        let membership = held(&self.log.members).get(task.stage).cloned();
        let member = membership.ok_or(KafkaError::NotOwner { task })?.seat;
        let keyed: Vec<Place> = kind.inputs.iter().map(|topic| (topic.name, task.partition)).collect();
        let log = &*self.log;
        let restorer = match restorer.take() {
            Some(known) if !known.knows(task) => restorer.insert(known),
            _ => restorer.insert(Restorer::new(&log.options, self.openers, &log.restored)?),
        };
        let changelog = BrokersChangelog::new(restorer, task, member);
        let is_stale = stale::was_gone_long(&log.folder, task, log.horizon, SystemTime::now());
        let mender = Mender { log, task };
        let mends = (log.options.guarantee == Guarantee::AtLeastOnce).then_some(&mender as &dyn Mends);
        let wanted = Wanted { task, keyed: &keyed, globals: &kind.globals, topics: &log.topics, is_stale, mends };
        let (told, before) = (std::cell::Cell::new(None), std::cell::Cell::new(None));
        let goes_on = |restored, of| {
            let is_waiting = before.replace(Some(restored)) == Some(restored);
            let is_told = told.replace(Some(restored / TELL_EVERY)) == Some(restored / TELL_EVERY);
            if !is_told {
                self.tell(task, given, &|| self.running.telemetry.restoring(task, restored, of));
            }
            // Neither for each row: both take locks that others take.
            (is_told && !is_waiting) || self.owns(task, given)
        };
        let Some(opened) = open(&changelog, &*log.local, &wanted, &goes_on)? else { return Ok(()) };
        held(&self.log.positions).insert(task, opened.positions.clone());
        for (place, topic) in keyed.iter().zip(&kind.inputs) {
            let position = opened.positions.get(place).copied().unwrap_or(0);
            let first = opened.begins.get(place).copied().unwrap_or(position);
            self.log.fetcher.add(*place, Start { position, first }, kind.is_bulk(*topic))?;
        }
        let meter = Arc::default();
        let work = (kind.open)(task.partition, Arc::clone(&meter))?;
        // Under this lock, so that a task that was taken away meanwhile is not put to work.
        let mut owned = held(&self.owned);
        if owned.tasks.get(&task) == Some(&given) {
            owned.working.insert(task);
            stale::is_back(&self.log.folder, task);
            self.running.telemetry.remove(task);
            self.running.telemetry.add(task, meter);
            self.running.pool.add(task, Mutex::new(work));
            self.log.tell_of_lost(task, &opened);
            self.log.wake();
            return Ok(());
        }
        drop(owned);
        self.close(task);
        Ok(())
    }

    /// Takes a task from the workers, once its step has ended.
    fn close(&self, task: TaskId) {
        self.running.pool.remove(task);
        self.running.telemetry.remove(task);
        if let Some(kind) = self.kinds.get(task.stage) {
            for topic in &kind.inputs {
                self.log.fetcher.remove((topic.name, task.partition), kind.is_bulk(*topic));
            }
        }
        held(&self.log.positions).remove(&task);
    }

    fn lose(&self, task: TaskId) {
        held(&self.owned).tasks.remove(&task);
        self.close(task);
        if let Err(error) = stale::goes(&self.log.folder, task, SystemTime::now()) {
            tracing::warn!(%task, %error, "it could not be noted that a task went; what is kept of it is forgotten");
            // If that fails as well the store does, which shows wherever it is used.
            let _ = self.log.local.forget(task);
        }
        held(&self.owned).working.remove(&task);
    }

    /// Keeps up what others work on.
    fn follow(&self) {
        let views = || self.kinds.iter().filter_map(|(stage, kind)| self.view(stage, kind)).collect();
        let is_elsewhere = |task| held(&self.owned).is_elsewhere(task);
        self.log.standbys.run(&self.stopping, &views, self.log.partitions, &is_elsewhere);
    }

    /// A stage's group as brokers know it, once this process has its part.
    fn view(&self, stage: &'static str, kind: &Kind) -> Option<View> {
        let consumer = held(&self.log.members).get(stage)?.seat.upgrade()?.consumer();
        if !consumer.context().has_joined() {
            return None;
        }
        let peers = if self.log.options.is_classic() {
            let peers = peers(&consumer, &self.log.options.group_of(stage), self.log.options.names.topic(kind.inputs.first()?.name));
            // Who cannot be asked is asked again.
            Some(peers.ok().filter(|peers| !peers.is_empty())?)
        } else {
            None
        };
        Some(View { stage, peers })
    }
}
