//! A host: stages over a log, run until there is nothing to do, or in the background.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use faultline_core::stage::Stage;

use crate::at_hand::Room;
use crate::clock::Clock;
use crate::courier::Courier;
use crate::error::{Failure, HostError};
use crate::gate::{Gate, Open, SameHost};
use crate::log::{Log, Place};
use crate::options::HostOptions;
use crate::pool::Pool;
use crate::retain::Readers;
use crate::running::Running;
use crate::task::{Task, Work};
use crate::telemetry::{TaskState, TaskStatus, Telemetry};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Input records worked on since the run began.
    pub consumed: u64,
    /// Input records still to be read, by all tasks; at most, as compacted topics have gaps.
    pub remaining: u64,
    /// Tasks with work left beside their inputs.
    pub pending_tasks: usize,
}

/// Stages over a log.
pub struct Host {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) options: HostOptions,
    pub(crate) pool: Pool,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) room: Arc<Room>,
}

impl Host {
    pub fn new(log: Arc<dyn Log>, options: HostOptions) -> Self {
        let telemetry = Arc::new(Telemetry::new(log.clone()));
        let room = Room::of(options.at_hand_bytes);
        Self { log, options, pool: Pool::default(), telemetry, readers: Arc::default(), room }
    }

    /// Adds a stage: a task for each partition of its inputs.
    pub fn add<S: Stage>(&mut self, stage: S) -> Result<&mut Self, HostError> {
        self.add_with(stage, None)
    }

    /// The same, with somebody who does what the state of its tasks asks for.
    pub fn add_with<S: Stage>(&mut self, stage: S, courier: Option<Arc<dyn Courier>>) -> Result<&mut Self, HostError> {
        if self.pool.has_stage(S::NAME) {
            return Err(HostError::StageTwice { stage: S::NAME });
        }
        S::FORMATS.check(stage.finalised()).map_err(|source| HostError::StageFormat { stage: S::NAME, source })?;
        let (stage, gate) = (Arc::new(stage), self.gate::<S>());
        for partition in 0..partitions_of::<S>(&*self.log)? {
            let meter = Arc::default();
            let task = Task::metered(
                self.log.clone(),
                stage.clone(),
                partition,
                self.options,
                Arc::clone(&meter),
                gate.clone(),
                self.room.clone(),
            )?;
            let task = task.with_courier(courier.clone())?;
            let id = task.id();
            self.telemetry.add(id, meter);
            self.pool.add(id, Mutex::new(Box::new(task) as Box<dyn Work>));
        }
        Ok(self)
    }

    fn gate<S: Stage>(&self) -> Arc<dyn Gate> {
        match S::BULK {
            Some(bulk) => Arc::new(SameHost { telemetry: self.telemetry.clone(), bulk, most: self.options.bulk_lag }),
            None => Arc::new(Open),
        }
    }

    /// Runs on this thread, and on others as `workers` says, until all inputs are read, nothing is pending and nothing is due.
    /// `progress` is called on this thread, after each batch that it did. What stopped is told at the end; the rest is done.
    pub fn run_until_quiet(&self, clock: &dyn Clock, progress: &mut dyn FnMut(Progress)) -> Result<(), HostError> {
        let workers = self.options.workers.max(1);
        let before = self.pool.consumed();
        std::thread::scope(|scope| {
            for worker in 1..workers {
                // A thread that the machine refuses is one worker less.
                let _ = std::thread::Builder::new()
                    .name(format!("task-{worker}"))
                    .spawn_scoped(scope, move || self.pool.until_quiet(&*self.log, clock, worker, &mut || ()));
            }
            self.pool.until_quiet(&*self.log, clock, 0, &mut || progress(self.progress(before)));
        });
        match self.failures() {
            failures if failures.is_empty() => Ok(()),
            failures => Err(HostError::TasksFailed { failures }),
        }
    }

    /// Works in the background until it is stopped.
    pub fn start(self, clock: Arc<dyn Clock>) -> Result<Running, HostError> {
        Running::start(self, clock)
    }

    /// Counters and states, also while it runs.
    pub fn telemetry(&self) -> Arc<Telemetry> {
        self.telemetry.clone()
    }

    pub fn status(&self) -> Vec<TaskStatus> {
        self.telemetry.status()
    }

    /// Where readers beside the tasks say how far they are, so that nothing they need is dropped.
    pub fn readers(&self) -> Arc<Readers> {
        self.readers.clone()
    }

    pub(crate) fn failures(&self) -> Vec<Failure> {
        failures(&self.telemetry)
    }

    fn progress(&self, before: u64) -> Progress {
        let status = self.telemetry.status();
        Progress {
            consumed: self.pool.consumed() - before,
            remaining: status.iter().map(TaskStatus::lag).sum(),
            pending_tasks: status.iter().filter(|task| task.has_pending).count(),
        }
    }
}

pub(crate) fn failures(telemetry: &Telemetry) -> Vec<Failure> {
    let failure = |status: TaskStatus| match status.state {
        TaskState::Running | TaskState::Restoring { .. } => None,
        TaskState::Failed { reason } => Some(Failure { task: status.task, reason }),
    };
    telemetry.status().into_iter().filter_map(failure).collect()
}

/// Where the slowest task of each place is.
pub(crate) fn least_positions(telemetry: &Telemetry) -> BTreeMap<Place, u64> {
    let mut least = BTreeMap::new();
    for input in telemetry.status().into_iter().flat_map(|task| task.inputs) {
        let at = least.entry((input.topic, input.partition)).or_insert(input.position);
        *at = input.position.min(*at);
    }
    least
}

/// The partitions of a stage: those of its keyed inputs, which must agree.
fn partitions_of<S: Stage>(log: &dyn Log) -> Result<u32, HostError> {
    let counts: Vec<(&'static str, u32)> =
        S::INPUTS.iter().map(|topic| Ok((topic.name, log.partitions(topic.name)?))).collect::<Result<_, HostError>>()?;
    let Some(&(_, partitions)) = counts.first() else { return Ok(1) };
    if counts.iter().all(|(_, count)| *count == partitions) {
        Ok(partitions)
    } else {
        Err(HostError::PartitionsDiffer { stage: S::NAME, counts })
    }
}
