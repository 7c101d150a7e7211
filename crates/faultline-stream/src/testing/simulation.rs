//! The scheduler: who steps when, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faultline_core::stage::Stage;
use faultline_model::time::Timestamp;
use faultline_model::topic::Topic;

use super::{Divergence, Fault, FaultyLog, Random, Rest};
use crate::at_hand::Room;
use crate::clock::ManualClock;
use crate::error::HostError;
use crate::gate::Gate;
use crate::log::{Log, Record};
use crate::memory::MemoryLog;
use crate::options::HostOptions;
use crate::task::{Task, Work};
use crate::topics::TopicPlan;

/// More steps than any scenario of a test needs to come to rest.
pub(super) const MOST_STEPS: usize = 200_000;
const UNDISTURBED: &str = "undisturbed";
const DISTURBED: &str = "disturbed";

type Open = Box<dyn Fn(Arc<dyn Log>, u32, HostOptions, Arc<Lock>) -> Result<Box<dyn Work>, HostError> + Send + Sync>;

/// A gate for bulk that opens and shuts as the seed has it.
#[derive(Default)]
pub(super) struct Lock {
    pub(super) is_shut: AtomicBool,
}

impl Gate for Lock {
    fn is_open(&self) -> bool {
        !self.is_shut.load(Ordering::Relaxed)
    }

    fn said(&self, _: u64) {}
}

/// The stages of a scenario.
#[derive(Default)]
pub struct Topology {
    pub(super) stages: Vec<Arc<Staged>>,
}

/// A stage, and how its tasks are opened.
pub(super) struct Staged {
    pub(super) name: &'static str,
    pub(super) inputs: &'static [Topic],
    pub(super) globals: &'static [Topic],
    pub(super) open: Open,
}

impl Topology {
    /// With another stage, on all partitions.
    #[must_use]
    pub fn with<S: Stage>(mut self, stage: S) -> Self {
        let stage = Arc::new(stage);
        let open: Open = Box::new(move |log, partition, options, gate| {
            Ok(Box::new(Task::metered(log, stage.clone(), partition, options, Arc::default(), gate, Room::of(options.at_hand_bytes))?))
        });
        self.stages.push(Arc::new(Staged { name: S::NAME, inputs: S::INPUTS, globals: S::GLOBALS, open }));
        self
    }
}

/// What a door appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub topic: Topic,
    pub key: String,
    pub value: Option<Vec<u8>>,
    pub time: Timestamp,
}

/// What is run and judged.
pub struct Scenario {
    pub plans: Vec<TopicPlan>,
    pub topology: Topology,
    pub history: Vec<Said>,
    /// When all is to be at rest; no clock runs past it.
    pub end: Timestamp,
    /// How far the clock may run ahead of, or fall behind, what was appended. Zero where a stage's facts depend on when time passes.
    pub clock_drift: Duration,
}

/// Runs a scenario undisturbed, and as the seed has it, and compares what both hold at rest.
pub fn judge(scenario: &Scenario, seed: u64) -> Result<(), Divergence> {
    let expected = scenario.undisturbed()?;
    scenario.disturbed(seed)?.agrees_with(&expected)
}

impl Scenario {
    /// Some time about that of what was appended last.
    pub(super) fn about(&self, latest: Timestamp, random: &mut Random) -> Timestamp {
        let drift = i64::try_from(self.clock_drift.as_millis()).unwrap_or(i64::MAX);
        let about = latest.millis().saturating_add(random.between(-drift, drift));
        Timestamp::from_millis(about.min(self.end.millis()))
    }

    /// In order, on one partition, without a fault.
    pub fn undisturbed(&self) -> Result<Rest, Divergence> {
        let log = Arc::new(FaultyLog::new(MemoryLog::new(self.plans.clone(), 1)?));
        let mut run = Run::new(self, log, Random::new(0), UNDISTURBED)?;
        let mut tasks = run.open_all(HostOptions::default())?;
        for said in &self.history {
            run.append(said, 0)?;
        }
        run.come_to_rest(&mut tasks)?;
        Rest::of(&*run.log)
    }

    /// As the seed has it.
    pub fn disturbed(&self, seed: u64) -> Result<Rest, Divergence> {
        let mut random = Random::new(seed);
        let partitions = 1 + random.below(4) as u32;
        let log = Arc::new(FaultyLog::new(MemoryLog::new(self.plans.clone(), partitions)?));
        let mut run = Run::new(self, log, random, DISTURBED)?;
        let options = run.options();
        let mut tasks = run.open_all(options)?;
        let mut doors = Doors::new(&self.history);
        // Some faults come after the last record was appended.
        let mut after = run.random.below(20);
        while !doors.is_empty() || after > 0 {
            after -= usize::from(doors.is_empty());
            match run.random.below(10) {
                0..=2 => run.door(&mut doors)?,
                3 => run.move_clock(),
                5 if run.random.once_in(3) => run.gate.is_shut.store(run.random.once_in(2), Ordering::Relaxed),
                4 if run.random.once_in(3) => {
                    let options = run.options();
                    tasks = run.open_all(options)?;
                }
                4 => run.retain(&tasks)?,
                5 if run.random.once_in(3) => run.log.land(),
                _ => run.step(&mut tasks)?,
            }
        }
        run.log.disarm();
        // A restart with nothing more to come: what was left undone must be found in the state.
        if run.random.once_in(2) {
            tasks = run.open_all(HostOptions::default())?;
        }
        run.come_to_rest(&mut tasks)?;
        Rest::of(&*run.log)
    }
}

/// So small that each is met.
pub(super) fn small_bounds(random: &mut Random) -> HostOptions {
    HostOptions {
        batch_records: 1 + random.below(20),
        batch_bytes: [1, 300, 1 << 20][random.below(3)],
        page_records: 1 + random.below(8),
        page_bytes: [0, 100, 1 << 20][random.below(3)],
        slice_bytes: [0, 200, 1 << 20][random.below(3)],
        commit_interval: Duration::from_secs([0, 60][random.below(2)]),
        at_hand_bytes: [0, 1_000, 1 << 20][random.below(3)],
        bulk_records: 1 + random.below(8),
        bulk_interval: Duration::from_secs([0, 60][random.below(2)]),
        ..HostOptions::default()
    }
}

/// What is still to be appended: in order for each key of a topic, in any order across them.
pub(super) struct Doors<'s> {
    queues: Vec<VecDeque<&'s Said>>,
    appended: Vec<&'s Said>,
}

impl<'s> Doors<'s> {
    pub(super) fn new(history: &'s [Said]) -> Self {
        let mut queues = BTreeMap::<(&str, &str), VecDeque<&Said>>::new();
        for said in history {
            queues.entry((said.topic.name, &said.key)).or_default().push_back(said);
        }
        Self { queues: queues.into_values().collect(), appended: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// What comes next, with how many partitions beside its own each record goes; some come again where they `repeat`.
    pub(super) fn come(&mut self, random: &mut Random, repeat: bool) -> Vec<(&'s Said, u32)> {
        let mut come = Vec::new();
        for _ in 0..=random.below(4) {
            let is_again = repeat && random.once_in(5);
            let said = if is_again { self.again(random) } else { self.next(random) };
            let Some(said) = said else { continue };
            // In another partition it may be overtaken by the next of its key: only what may come at any time is misplaced.
            let shift = if is_again && !said.topic.is_compacted() { random.below(3) as u32 } else { 0 };
            come.push((said, shift));
        }
        come
    }

    fn next(&mut self, random: &mut Random) -> Option<&'s Said> {
        // Each record is as likely as any other, so that short queues last as long as long ones.
        let mut left = random.below(self.queues.iter().map(VecDeque::len).sum());
        let at = self.queues.iter().position(|queue| match left.checked_sub(queue.len()) {
            Some(less) => {
                left = less;
                false
            }
            None => true,
        })?;
        let said = self.queues[at].pop_front();
        if self.queues[at].is_empty() {
            self.queues.swap_remove(at);
        }
        self.appended.extend(said);
        said
    }

    /// Something that was appended before. In a topic that keeps the newest, only the newest may come again.
    fn again(&self, random: &mut Random) -> Option<&'s Said> {
        let said = *random.of(&self.appended)?;
        let is_newer = |newer: &&&Said| newer.topic == said.topic && newer.key == said.key;
        if said.topic.is_compacted() { self.appended.iter().rev().find(is_newer).copied() } else { Some(said) }
    }
}

struct Run<'s> {
    scenario: &'s Scenario,
    log: Arc<FaultyLog>,
    gate: Arc<Lock>,
    clock: ManualClock,
    random: Random,
    name: &'static str,
    /// The latest time of what was appended.
    latest: Timestamp,
    partitions: u32,
}

type Tasks = Vec<(usize, u32, Box<dyn Work>)>;

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario, log: Arc<FaultyLog>, random: Random, name: &'static str) -> Result<Self, Divergence> {
        let mut partitions = 1;
        for plan in log.topics() {
            partitions = log.partitions(plan.name)?.max(partitions);
        }
        Ok(Self {
            scenario,
            log,
            gate: Arc::default(),
            clock: ManualClock::default(),
            random,
            name,
            latest: Timestamp::default(),
            partitions,
        })
    }

    fn options(&mut self) -> HostOptions {
        small_bounds(&mut self.random)
    }

    fn open(&self, stage: usize, partition: u32, options: HostOptions) -> Result<Box<dyn Work>, Divergence> {
        self.log.disarm();
        Ok((self.scenario.topology.stages[stage].open)(self.log.clone(), partition, options, self.gate.clone())?)
    }

    fn open_all(&self, options: HostOptions) -> Result<Tasks, Divergence> {
        let places =
            (0..self.scenario.topology.stages.len()).flat_map(|stage| (0..self.partitions).map(move |partition| (stage, partition)));
        places.map(|(stage, partition)| Ok((stage, partition, self.open(stage, partition, options)?))).collect()
    }

    fn append(&mut self, said: &Said, shift: u32) -> Result<(), Divergence> {
        let Said { topic, key, value, time } = said.clone();
        let partitions = self.log.partitions(topic.name)?;
        let partition = (topic.partition_of(&key, partitions) + shift) % partitions;
        self.latest = self.latest.max(time);
        let (key, timestamp_ms) = (key.into_bytes(), time.millis());
        self.log.append(vec![Record { topic: topic.name, partition, key, value, headers: [].into(), timestamp_ms }])?;
        Ok(())
    }

    /// A new record or one again, now and then in a partition that is not its own.
    fn door(&mut self, doors: &mut Doors<'_>) -> Result<(), Divergence> {
        doors.come(&mut self.random, true).into_iter().try_for_each(|(said, shift)| self.append(said, shift))
    }

    fn move_clock(&mut self) {
        self.clock.set(self.scenario.about(self.latest, &mut self.random));
    }

    /// As if all records were old: only what all tasks have read may go.
    fn retain(&mut self, tasks: &Tasks) -> Result<(), Divergence> {
        let most = 1 + self.random.below(4);
        for plan in self.log.topics() {
            if plan.name == faultline_model::topic::DEAD_LETTERS.name {
                continue; // They are what is judged.
            }
            for partition in 0..self.log.partitions(plan.name)? {
                let mut least = u64::MAX;
                for (_, _, task) in tasks {
                    if task.inputs().contains(&(plan.name, partition)) {
                        let positions = self.log.positions(task.id())?;
                        least = least.min(positions.get(&(plan.name, partition)).copied().unwrap_or(0));
                    }
                }
                self.log.retain((plan.name, partition), Timestamp::from_millis(i64::MAX), least, most)?;
            }
        }
        Ok(())
    }

    /// A random task, now and then with a fault.
    fn step(&mut self, tasks: &mut Tasks) -> Result<(), Divergence> {
        let at = self.random.below(tasks.len());
        let Some((stage, partition, task)) = tasks.get_mut(at) else { return Ok(()) };
        let fault = match self.random.below(16) {
            0 => Some(Fault::CommitRefused),
            1 => Some(Fault::AnswerLost),
            2 => Some(Fault::ReadFails),
            3 => Some(Fault::StateFails(self.random.below(12) as u32)),
            _ => None,
        };
        if let Some(fault) = fault {
            self.log.arm(fault);
        }
        self.log.defer([0, 1, 2, 5][self.random.below(4)]);
        let stepped = task.step(&self.clock);
        self.log.disarm();
        match (stepped, fault) {
            (Ok(_), _) => Ok(()),
            // Nothing of the batch is committed: the same task may try again, or one that is opened anew.
            (Err(_), Some(Fault::CommitRefused | Fault::ReadFails | Fault::StateFails(_))) if self.random.once_in(2) => Ok(()),
            (Err(_), Some(_)) => {
                let (stage, partition) = (*stage, *partition);
                let options = self.options();
                tasks[at].2 = self.open(stage, partition, options)?;
                Ok(())
            }
            (Err(error), None) => Err(Divergence::Stopped { run: self.name, reason: crate::Failure::of(task.id(), &error).reason }),
        }
    }

    fn come_to_rest(&self, tasks: &mut Tasks) -> Result<(), Divergence> {
        self.clock.set(self.scenario.end);
        self.gate.is_shut.store(false, Ordering::Relaxed);
        let mut steps = 0;
        loop {
            let mut had_effect = false;
            for (_, _, task) in &mut *tasks {
                let stepped = task.step(&self.clock);
                let stopped = |error| Divergence::Stopped { run: self.name, reason: crate::Failure::of(task.id(), &error).reason };
                let step = stepped.map_err(stopped)?;
                had_effect |= step.had_effect || step.is_committing;
                steps += 1;
            }
            if !had_effect {
                return Ok(());
            }
            if steps > MOST_STEPS {
                return Err(Divergence::Restless { run: self.name, steps });
            }
        }
    }
}
