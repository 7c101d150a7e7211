//! Stages over Kafka: which tasks are this process's is the groups' to say, and changes while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use faultline_core::stage::Stage;
use faultline_model::topic::Topic;

use super::group::{Member, Owned, Rebalances};
use super::restore::Restorer;
use super::{KafkaError, KafkaLog};
use crate::clock::Clock;
use crate::commit::TaskId;
use crate::error::HostError;
use crate::host::Host;
use crate::log::{Log, Place};
use crate::options::HostOptions;
use crate::running::Running;
use crate::sync::{Stop, held};
use crate::task::{Task, Work};
use crate::telemetry::Meter;

/// How long a task that stopped at a passing fault waits before it is opened again.
const BEFORE_AGAIN: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(50);

type Open = Box<dyn Fn(u32, Arc<Mutex<Meter>>) -> Result<Box<dyn Work>, HostError> + Send + Sync>;

struct Kind {
    open: Open,
    inputs: Vec<Topic>,
    globals: Vec<Topic>,
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
        if self.kinds.contains_key(S::NAME) {
            return Err(HostError::StageTwice { stage: S::NAME });
        }
        let (stage, log, options) = (Arc::new(stage), self.log.clone(), self.options);
        let open: Open = Box::new(move |partition, meter| {
            let task = Task::metered(log.clone() as Arc<dyn Log>, stage.clone(), partition, options, meter)?;
            Ok(Box::new(task) as Box<dyn Work>)
        });
        self.kinds.insert(S::NAME, Kind { open, inputs: S::INPUTS.to_vec(), globals: S::GLOBALS.to_vec() });
        Ok(self)
    }

    /// Joins the groups and works in the background until it is stopped.
    pub fn start(self, clock: Arc<dyn Clock>) -> Result<KafkaRunning, HostError> {
        let Self { log, host, kinds, .. } = self;
        let (asked, asks) = channel();
        host.pool.tell_of_passing(Box::new({
            let asked = Mutex::new(asked.clone());
            move |task| {
                // Nobody listens any more while the host stops.
                let _ = held(&asked).send(Owned::Again(task));
            }
        }));
        let running = host.start(clock)?;
        let opener = Arc::new(Opener { log, running: running.host(), kinds, owned: Mutex::default(), stopping: Arc::default() });
        let thread = std::thread::Builder::new().name("kafka-open".to_owned()).spawn({
            let opener = opener.clone();
            move || opener.run(&asks)
        });
        let thread = thread.map_err(|source| HostError::Thread { source })?;
        let mut started = KafkaRunning { members: Vec::new(), opener, thread: Some(thread), running: Some(running) };
        started.join(&asked)?;
        Ok(started)
    }
}

/// A host on Kafka at work. Dropping it leaves the groups and stops.
pub struct KafkaRunning {
    members: Vec<Arc<Member>>,
    opener: Arc<Opener>,
    thread: Option<JoinHandle<()>>,
    running: Option<Running>,
}

impl KafkaRunning {
    fn join(&mut self, asked: &Sender<Owned>) -> Result<(), HostError> {
        let kinds: Vec<(&'static str, &'static str)> =
            self.opener.kinds.iter().filter_map(|(stage, kind)| Some((*stage, kind.inputs.first()?.name))).collect();
        for (stage, topic) in kinds {
            let (owns, loses) = (self.opener.clone(), self.opener.clone());
            let owned = move |task| {
                held(&owns.owned).insert(task);
            };
            let rebalances = Rebalances::new(stage, asked.clone(), owned, move |task| loses.lose(task));
            let member = Arc::new(Member::join(&self.opener.log.options, topic, rebalances)?);
            held(&self.opener.log.members).insert(stage, Arc::downgrade(&member));
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

    /// Ends each batch that has begun, leaves the groups, and tells what had stopped before.
    pub fn stop(mut self) -> Result<(), HostError> {
        self.leave();
        self.running.take().map_or(Ok(()), Running::stop)
    }

    fn leave(&mut self) {
        self.opener.stopping.tell();
        // Each gives its tasks up before it goes.
        self.members.clear();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for KafkaRunning {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Opens tasks that are given to this process, one after the other.
struct Opener {
    log: Arc<KafkaLog>,
    running: Arc<Host>,
    kinds: BTreeMap<&'static str, Kind>,
    owned: Mutex<BTreeSet<TaskId>>,
    stopping: Arc<Stop>,
}

impl Opener {
    fn run(&self, asks: &Receiver<Owned>) {
        while !self.stopping.is_told() {
            let task = match asks.recv_timeout(LOOK) {
                Ok(Owned::Given(task)) => task,
                Ok(Owned::Again(task)) => {
                    self.close(task);
                    if self.stopping.wait(BEFORE_AGAIN) {
                        return;
                    }
                    task
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.open_until_done(task);
        }
    }

    fn owns(&self, task: TaskId) -> bool {
        !self.stopping.is_told() && held(&self.owned).contains(&task)
    }

    fn open_until_done(&self, task: TaskId) {
        while self.owns(task) {
            match self.open(task) {
                Ok(()) => return,
                Err(HostError::Kafka(error)) if error.is_passing() => {
                    self.close(task);
                    self.stopping.wait(BEFORE_AGAIN);
                }
                Err(error) => {
                    self.close(task);
                    self.running.telemetry.failed(task, &error);
                    return;
                }
            }
        }
    }

    fn open(&self, task: TaskId) -> Result<(), HostError> {
        let Some(kind) = self.kinds.get(task.stage) else { return Ok(()) };
        let member = held(&self.log.members).get(task.stage).and_then(std::sync::Weak::upgrade);
        let Some(member) = member else { return Err(KafkaError::NotOwner { task }.into()) };
        let keyed: Vec<Place> = kind.inputs.iter().map(|topic| (topic.name, task.partition)).collect();
        let globals: Vec<Place> = kind.globals.iter().map(|topic| (topic.name, 0)).collect();
        // In this order: no transaction of a former owner can end after the first that the second has not seen.
        let committed = member.committed(&keyed)?;
        let restorer = Restorer::new(&self.log.options, &self.log.options.group("restore"))?;
        if !restorer.restore(&self.log.local, task, &|| self.owns(task))? {
            return Ok(());
        }
        let positions = self.log.positions_in_state(task)?;
        let in_state: BTreeMap<Place, u64> = keyed.iter().filter_map(|place| Some((*place, *positions.get(place)?))).collect();
        if !committed.is_empty() && committed != in_state {
            let (state, group) = (format!("{in_state:?}"), format!("{committed:?}"));
            return Err(KafkaError::PositionsDiffer { task, state, group }.into());
        }
        for (topic, partition) in globals {
            let position = positions.get(&(topic, partition)).copied().unwrap_or(0);
            while self.log.local.end_offset(topic, partition)? < position {
                if !self.owns(task) {
                    return Ok(());
                }
                let generation = self.log.local.wait_for_change(0, Duration::ZERO);
                self.log.local.wait_for_change(generation, LOOK);
            }
        }
        held(&self.log.positions).insert(task, positions.clone());
        for place in &keyed {
            self.log.fetcher.add(*place, positions.get(place).copied().unwrap_or(0))?;
        }
        let meter = Arc::default();
        let work = (kind.open)(task.partition, Arc::clone(&meter))?;
        // Under this lock, so that a task that was taken away meanwhile is not put to work.
        let owned = held(&self.owned);
        if owned.contains(&task) {
            self.running.telemetry.add(task, meter);
            self.running.pool.add(task, Mutex::new(work));
            self.log.wake();
        }
        Ok(())
    }

    /// Takes a task from the workers, once its step has ended.
    fn close(&self, task: TaskId) {
        self.running.pool.remove(task);
        self.running.telemetry.remove(task);
        if let Some(kind) = self.kinds.get(task.stage) {
            for topic in &kind.inputs {
                self.log.fetcher.remove((topic.name, task.partition));
            }
        }
        held(&self.log.positions).remove(&task);
    }

    fn lose(&self, task: TaskId) {
        held(&self.owned).remove(&task);
        self.close(task);
    }
}
