//! The simulation of a cluster: processes share the tasks of a scenario over brokers with transactions, whoever is killed, stopped or cut
//! off on the way.
//!
//! What is simulated: the brokers (`brokers.rs`), threads (`turns.rs`), disks (`disk.rs`), and what a process hears of its groups
//! (`process.rs`). What is not: opening a task and landing its commits, which are the host's own, and the tasks. The scheduler below
//! gives each thread its turns; between any two calls of the host's code anything may happen that the seed likes.

mod asked;
mod brokers;
mod disk;
mod process;
mod turns;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use faultline_model::time::Timestamp;
use faultline_model::topic::Topic;

use self::brokers::{Brokers, at};
use self::disk::Disk;
use self::process::{Process, Shared};
use self::turns::Turns;
use super::simulation::{Doors, MOST_STEPS, small_bounds};
use super::{Divergence, Random, Rest, Said, Scenario};
use crate::clock::ManualClock;
use crate::commit::TaskId;
use crate::kafka::changelog_of;
use crate::log::{Log, Place, Record, Stored};
use crate::memory::MemoryLog;
use crate::options::HostOptions;
use crate::sync::held;
use crate::topics::{MAX_RECORD_BYTES, Topics};

const RUN: &str = "on a cluster";
const INSTANCES: usize = 3;
/// The life of what belongs to no process.
const NOBODY: u64 = 0;
/// Rounds of the scheduler until a transaction that nobody touches is aborted, at the end.
const LEFT_FOR: u64 = 300;

/// What doors deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each record once, in its key's partition: then what is done twice or not at all shows even where a stage counts.
    Once,
    /// Now and then one again, or in a partition that is not its key's.
    Again,
}

/// Runs a scenario undisturbed, and on a cluster as the seed has it, and compares what both hold at rest. There the state and the
/// positions of each task must also be what its changelog and its group say. Gives how many transactions commits of several tasks shared.
pub fn judge_on_cluster(scenario: &Scenario, delivery: Delivery, seed: u64) -> Result<usize, Divergence> {
    let expected = scenario.undisturbed()?;
    let run = Run::new(scenario, delivery, seed)?;
    let shared = run.shared.clone();
    run.disturbed()?.agrees_with(&expected)?;
    Ok(shared.joint_transactions.load(Ordering::Relaxed))
}

/// One process, and no room for one of its tasks from some moment on: that task stops and says so, the others go on and commit. Then there
/// is room, and the process is started anew, or another one has taken the task before. Tells whether it stopped behind a commit that stood on
/// the brokers and not on the disk: it may have had no more to write, and what failed may stand on the disk all the same.
pub fn judge_without_room(scenario: &Scenario, seed: u64) -> Result<bool, Divergence> {
    let expected = scenario.undisturbed()?;
    let mut run = Run::new(scenario, Delivery::Once, seed)?;
    let was_behind = run.without_room()?;
    run.come_to_rest()?.agrees_with(&expected)?;
    Ok(was_behind)
}

struct Run<'s> {
    scenario: &'s Scenario,
    delivery: Delivery,
    shared: Arc<Shared>,
    random: Random,
    disks: Vec<Arc<Disk>>,
    processes: Vec<Arc<Process>>,
    lives: u64,
    latest: Timestamp,
    partitions: u32,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.shared.turns.kill(NOBODY);
        self.processes.iter().for_each(|process| process.kill());
    }
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario, delivery: Delivery, seed: u64) -> Result<Self, Divergence> {
        let mut random = Random::new(seed);
        let partitions = 1 + random.below(3) as u32;
        let shared = Arc::new(Shared {
            brokers: Mutex::new(Brokers::new(Random::new(random.number()))),
            turns: Turns::default(),
            topics: Topics::new(scenario.plans.clone(), partitions, MAX_RECORD_BYTES)?,
            stages: scenario.topology.stages.clone(),
            clock: ManualClock::default(),
            gate: Arc::default(),
            stopped: Mutex::default(),
            joint_transactions: AtomicUsize::default(),
        });
        let disks = (0..INSTANCES).map(|_| Arc::default()).collect();
        let latest = Timestamp::default();
        Ok(Self { scenario, delivery, shared, random, disks, processes: Vec::new(), lives: NOBODY, latest, partitions })
    }

    fn disturbed(mut self) -> Result<Rest, Divergence> {
        let mut doors = Doors::new(&self.scenario.history);
        for instance in 0..=self.random.below(INSTANCES) {
            self.start(instance);
        }
        self.regroup();
        let mut after = self.random.below(600);
        while !doors.is_empty() || after > 0 {
            after -= usize::from(doors.is_empty());
            match self.random.below(60) {
                0..=2 => self.door(&mut doors)?,
                3 => self.move_clock(),
                4 => self.fault(),
                5..=16 => self.world_goes_on(),
                _ => self.turn()?,
            }
        }
        self.come_to_rest()
    }

    fn without_room(&mut self) -> Result<bool, Divergence> {
        held(&self.shared.brokers).is_faulty = false;
        self.start(0);
        self.regroup();
        let mut doors = Doors::new(&self.scenario.history);
        let stage = self.random.of(&self.shared.stages).cloned().expect("a scenario has stages");
        let task = TaskId { stage: stage.name, partition: self.random.below(self.partitions as usize) as u32 };
        let mut until_full = self.random.below(400);
        let stands_all_the_same = self.random.once_in(2);
        while !doors.is_empty() || until_full > 0 {
            if until_full == 1 {
                self.disks[0].fill(task, stands_all_the_same);
            }
            until_full = until_full.saturating_sub(1);
            match self.random.below(20) {
                0 => self.door(&mut doors)?,
                1..=4 => self.world_goes_on(),
                _ => self.turn()?,
            }
        }
        self.disks[0].fill(task, stands_all_the_same);
        self.shared.clock.set(self.scenario.end);
        self.go_on_until_idle(false)?;
        let stopped = self.processes[0].without_room();
        for stage in &self.shared.stages {
            for partition in 0..self.partitions {
                let other = TaskId { stage: stage.name, partition };
                match stopped.get(&other) {
                    None if self.disks[0].has_refused(other) => {
                        return Err(Divergence::Task { task: other, reason: "it found no room, and goes on".to_owned() });
                    }
                    None => self.check_task(other, stage.inputs)?,
                    Some(reason) if other == task && reason.contains("free space, then restart") => {}
                    Some(reason) => return Err(Divergence::Task { task: other, reason: reason.clone() }),
                }
            }
        }
        let is_kept = *self.disks[0].rows(task) == held(&self.shared.brokers).state(task);
        if self.random.once_in(2) {
            self.start(1);
            self.regroup();
            self.go_on_until_idle(false)?;
        }
        Ok(!stopped.is_empty() && !is_kept)
    }

    // ---- what happens ----

    fn start(&mut self, instance: usize) {
        let options = small_bounds(&mut self.random);
        self.start_with(instance, options);
    }

    fn start_with(&mut self, instance: usize, options: HostOptions) {
        self.lives += 1;
        self.processes.push(Process::start(&self.shared, instance, self.lives, &self.disks[instance], options));
    }

    fn fault(&mut self) {
        let alive = self.processes.len();
        let chosen = self.random.below(alive);
        match self.random.below(15) {
            0 | 1 if alive > 0 => self.kill(chosen),
            2..=4 if alive > 0 => {
                let process = &self.processes[chosen];
                process.stop(process.is_running());
            }
            5 | 6 => {
                let instance = self.random.below(INSTANCES);
                if self.processes.iter().all(|process| process.instance != instance) {
                    self.start(instance);
                    self.regroup();
                }
            }
            7 => self.compact(),
            8 => {
                held(&self.shared.brokers).time_out(0);
            }
            9 => {
                if let Some(stage) = self.random.of(&self.shared.stages) {
                    held(&self.shared.brokers).forget_positions(stage.name, stage.inputs[0].name);
                }
            }
            10 => self.shared.gate.is_shut.store(self.random.once_in(2), Ordering::Relaxed),
            11 => {
                let instance = self.random.below(INSTANCES);
                if let Some(stage) = self.random.of(&self.shared.stages).cloned() {
                    let task = TaskId { stage: stage.name, partition: self.random.below(self.partitions as usize) as u32 };
                    self.disks[instance].fill(task, self.random.once_in(2));
                }
            }
            12 => self.disks.iter().for_each(|disk| disk.make_room()),
            _ => self.regroup(),
        }
    }

    /// A process dies where it is; its disk is kept, lost, or falls back to what it was.
    fn kill(&mut self, chosen: usize) {
        let process = self.processes.swap_remove(chosen);
        process.kill();
        match self.random.below(4) {
            0 => process.disk.wipe(),
            1 => process.disk.fall_back(),
            _ => {}
        }
    }

    fn compact(&mut self) {
        let is_restoring = self.processes.iter().any(|process| process.is_opening());
        let mut brokers = held(&self.shared.brokers);
        for stage in &self.shared.stages {
            for partition in 0..self.partitions {
                // Nobody restores for as long as the brokers keep the word that a row went.
                brokers.compact(&at(&changelog_of(stage.name), partition), !is_restoring);
            }
        }
        for (topic, partition) in self.shared.topics.places() {
            if self.shared.topics.named(topic).is_ok_and(|plan| plan.compacted) {
                brokers.compact(&at(topic, partition), false);
            }
        }
    }

    /// Brokers and copies go on.
    fn world_goes_on(&mut self) {
        held(&self.shared.brokers).goes_on();
        let Some(process) = self.random.of(&self.processes).cloned() else { return };
        if process.is_running() {
            self.copy(&process);
        }
        if self.random.once_in(30) {
            process.disk.remember();
        }
    }

    /// The next record of each global topic comes to a process; tells whether there was one.
    fn copy(&self, process: &Process) -> bool {
        let brokers = held(&self.shared.brokers);
        let mut has_copied = false;
        for plan in self.shared.topics.all().into_iter().filter(|plan| plan.is_global) {
            let end = process.disk.end(plan.name);
            if let Some(record) = brokers.committed(&at(plan.name, 0), end).next() {
                process.disk.copy(plan.name, record.clone());
                has_copied = true;
            }
        }
        has_copied
    }

    fn is_running(&self, life: u64) -> bool {
        life == NOBODY || self.processes.iter().any(|process| process.life == life && process.is_running())
    }

    fn turn(&mut self) -> Result<(), Divergence> {
        let (busy, idle) = self.shared.turns.ready(|life| self.is_running(life));
        let first = if self.random.once_in(4) { &idle } else { &busy };
        let chosen = self.random.of(first).or_else(|| busy.first()).or_else(|| idle.first()).copied();
        chosen.map_or(Ok(()), |at| self.turn_of(at))
    }

    fn turn_of(&mut self, at: usize) -> Result<(), Divergence> {
        held(&self.shared.brokers).now += 1;
        let panicked = self.shared.turns.turn(at).err();
        let stopped = panicked.or_else(|| held(&self.shared.stopped).take());
        stopped.map_or(Ok(()), |reason| Err(Divergence::Stopped { run: RUN, reason }))
    }

    // ---- groups ----

    /// Each group looks at who is there, and shares its tasks out anew.
    fn regroup(&mut self) {
        if self.shared.turns.of(NOBODY) > 0 {
            return;
        }
        let there: Vec<Arc<Process>> = self.processes.iter().filter(|process| process.is_running()).cloned().collect();
        let stages: Vec<&'static str> = self.shared.stages.iter().map(|stage| stage.name).collect();
        let (shared, partitions, seed) = (self.shared.clone(), self.partitions, self.random.number());
        self.shared.turns.spawn(NOBODY, move || {
            let mut random = Random::new(seed);
            for stage in stages {
                regroup(&shared, stage, partitions, &there, &mut random);
            }
        });
    }

    // ---- doors ----

    fn append(&mut self, said: &Said, shift: u32) -> Result<(), Divergence> {
        let Said { topic, key, value, time } = said.clone();
        let partitions = self.shared.topics.partitions(self.shared.topics.named(topic.name)?);
        let partition = (topic.partition_of(&key, partitions) + shift) % partitions;
        self.latest = self.latest.max(time);
        let record = Stored { offset: 0, key: key.into_bytes(), value, headers: [].into(), timestamp_ms: time.millis() };
        held(&self.shared.brokers).append(at(topic.name, partition), record);
        Ok(())
    }

    fn door(&mut self, doors: &mut Doors<'_>) -> Result<(), Divergence> {
        let come = doors.come(&mut self.random, self.delivery == Delivery::Again);
        come.into_iter().try_for_each(|(said, shift)| self.append(said, shift))
    }

    fn move_clock(&mut self) {
        self.shared.clock.set(self.scenario.about(self.latest, &mut self.random));
    }

    // ---- rest ----

    fn come_to_rest(mut self) -> Result<Rest, Divergence> {
        self.shared.clock.set(self.scenario.end);
        self.shared.gate.is_shut.store(false, Ordering::Relaxed);
        held(&self.shared.brokers).is_faulty = false;
        self.processes.iter().for_each(|process| process.stop(false));
        if self.processes.is_empty() {
            self.start_with(0, HostOptions::default());
        }
        self.disks.iter().for_each(|disk| disk.make_room());
        self.go_on_until_idle(true)?;
        self.at_rest()
    }

    /// There is room, and who had tasks that stopped is started anew; tells whether there was one.
    fn start_stopped_anew(&mut self) -> bool {
        let (stopped, others): (Vec<_>, Vec<_>) = self.processes.drain(..).partition(|process| !process.without_room().is_empty());
        self.processes = others;
        for process in &stopped {
            process.kill();
            self.start_with(process.instance, HostOptions::default());
        }
        !stopped.is_empty()
    }

    /// Until nobody has anything to do but those that stopped for want of space, unless they are started anew.
    fn go_on_until_idle(&mut self, starts_anew: bool) -> Result<(), Divergence> {
        let mut is_grouped = false;
        for _ in 0..MOST_STEPS {
            if starts_anew && self.start_stopped_anew() {
                is_grouped = false;
            }
            let writes = held(&self.shared.brokers).writes;
            let mut happened = held(&self.shared.brokers).goes_on();
            for process in &self.processes {
                happened |= self.copy(process);
            }
            let left = held(&self.shared.brokers).time_out(LEFT_FOR * (1 + self.processes.len() as u64));
            let (busy, idle) = self.shared.turns.ready(|_| true);
            // From the last on: a thread that ends gives its number to the last.
            for at in (0..busy.len() + idle.len()).rev() {
                self.turn_of(at)?;
            }
            let is_regrouping = self.shared.turns.of(NOBODY) > 0;
            if !is_grouped && !is_regrouping {
                self.regroup();
                is_grouped = true;
                continue;
            }
            let is_quiet = held(&self.shared.brokers).is_quiet() && !is_regrouping;
            if happened || left || !is_quiet || held(&self.shared.brokers).writes != writes {
                self.processes.iter().for_each(|process| process.look_again());
            } else if self.processes.iter().all(|process| process.is_idle()) {
                return Ok(());
            }
        }
        Err(Divergence::Restless { run: RUN, steps: MOST_STEPS })
    }

    fn at_rest(&self) -> Result<Rest, Divergence> {
        for stage in &self.shared.stages {
            for partition in 0..self.partitions {
                self.check_task(TaskId { stage: stage.name, partition }, stage.inputs)?;
            }
        }
        // The judge reads a log.
        let log = MemoryLog::with_bound(self.scenario.plans.clone(), self.partitions, usize::MAX / 2)?;
        let brokers = held(&self.shared.brokers);
        for (topic, partition) in self.shared.topics.places() {
            let record = |stored: &Stored| {
                let Stored { key, value, headers, timestamp_ms, .. } = stored.clone();
                Record { topic, partition, key, value, headers, timestamp_ms }
            };
            log.append(brokers.committed(&at(topic, partition), 0).map(record).collect())?;
        }
        drop(brokers);
        Rest::of(&log)
    }

    /// One process has the task; its state is what the changelog comes to, and its positions are what its group has.
    fn check_task(&self, task: TaskId, inputs: &[Topic]) -> Result<(), Divergence> {
        let differs = |reason: String| Err(Divergence::Task { task, reason });
        let owners: Vec<&Arc<Process>> = self.processes.iter().filter(|process| process.owned(task.stage).contains(&task)).collect();
        let [owner] = owners[..] else { return differs(format!("{} processes have it", owners.len())) };
        let brokers = held(&self.shared.brokers);
        if *owner.disk.rows(task) != brokers.state(task) {
            return differs("its state is not what its changelog comes to".to_owned());
        }
        let places: Vec<Place> = inputs.iter().map(|topic| (topic.name, task.partition)).collect();
        let (committed, positions) = (brokers.positions(task.stage, &places).unwrap_or_default(), owner.committed_positions(task)?);
        for (place, position) in &committed {
            // A task that had a commit before its first record stands nowhere, and its group has it at the beginning.
            if positions.get(place).copied().unwrap_or(0) != *position {
                return differs(format!("its state is at {positions:?}, its group at {committed:?}"));
            }
        }
        for place in places {
            let position = positions.get(&place).copied().unwrap_or(0);
            if brokers.committed(&at(place.0, place.1), position).next().is_some() {
                return differs(format!("it is at {position} of {}, and there is more", place.0));
            }
        }
        Ok(())
    }
}

/// Cooperatively: who loses a task has given it up before the next generation begins. Who does not answer is a member no more, and learns
/// of it when it asks.
fn regroup(shared: &Shared, stage: &'static str, partitions: u32, there: &[Arc<Process>], random: &mut Random) {
    let answers = |process: &Arc<Process>| process.is_running();
    let members: Vec<Arc<Process>> = there.iter().filter(|process| answers(process)).cloned().collect();
    let mut wanted = BTreeMap::<TaskId, Arc<Process>>::new();
    for partition in 0..partitions {
        let task = TaskId { stage, partition };
        let owner = members.iter().find(|process| is_member(shared, stage, process) && process.owned(stage).contains(&task));
        let keeps = owner.filter(|_| random.once_in(2));
        let Some(chosen) = keeps.or_else(|| random.of(&members)) else { continue };
        wanted.insert(task, chosen.clone());
    }
    let mut gave_up = Vec::new();
    for process in &members {
        let is_new = !is_member(shared, stage, process);
        let goes = |task: &TaskId| is_new || wanted.get(task).is_none_or(|to| to.life != process.life);
        let lost: Vec<TaskId> = process.owned(stage).into_iter().filter(goes).collect();
        if !lost.is_empty() {
            process.lose(stage, lost);
        }
        while process.is_running() && !process.has_lost(stage) {
            turns::give_way();
        }
        // Who stopped on the way has had its time, and is a zombie.
        if process.has_lost(stage) {
            gave_up.push(process);
        }
    }
    turns::give_way();
    let members: BTreeMap<usize, u64> =
        gave_up.into_iter().filter(|process| answers(process)).map(|process| (process.instance, process.life)).collect();
    let generation = held(&shared.brokers).regroup(stage, members.clone());
    for process in there.iter().filter(|process| members.get(&process.instance) == Some(&process.life)) {
        turns::give_way();
        process.hear(stage, generation);
        for (task, _) in wanted.iter().filter(|(_, to)| to.life == process.life) {
            if !process.owned(stage).contains(task) {
                process.give(*task);
            }
        }
    }
}

fn is_member(shared: &Shared, stage: &'static str, process: &Process) -> bool {
    held(&shared.brokers).is_member(stage, process.instance, process.life)
}
