//! Standbys: the state of tasks that other processes work on, kept up with their changelogs here, so that a task that comes finds its
//! state whole and reads the tail alone.
//!
//! Which of them is for a rule that all processes know: of a stage's group, but for the task's owner, those that come first in an order of
//! the task's own (rendezvous hashing over their names). Who gets a dead process's tasks is for the group to say, and it does not ask who is
//! warm: with as many standbys as there are other processes each of them is.
//!
//! A task's state has one writer. A standby is followed only while the task is in nobody's hands here, and each batch of it is kept under
//! the lock under which it is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::{Offset, TopicPartitionList};

use super::cluster::Next;
use super::context::{Context, Reader, watermarks};
use super::generation::Names;
use super::options::KafkaOptions;
use super::restore::{next_of, not_known, serve};
use super::{KafkaError, LOOK, SOON, stale};
use crate::commit::TaskId;
use crate::embedded::{EmbeddedLog, Gathered};
use crate::error::HostError;
use crate::log::{Gauge, Log};
use crate::sync::{Stop, held};
use crate::telemetry::Kind;

/// How often it is asked which tasks there are to follow, and how far their changelogs are.
const VIEW_EVERY: Duration = Duration::from_secs(2);
/// The most that is read of one task before the others have their turn.
const TURN_RECORDS: usize = 2_000;
/// What was gathered is kept after so long at the latest.
const KEEP_EVERY: Duration = Duration::from_millis(500);
/// What one task may gather at least.
const MIN_GATHERED_BYTES: usize = 64 << 10;
/// After so long what is kept of a task that is neither ours nor to be followed is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(10);
/// Of what waits in memory while tasks are restored, standbys take this part.
const SHARE: usize = 4;

/// A member of a stage's group: its name, and the tasks that are its own.
pub(crate) struct Peer {
    pub(crate) instance: String,
    pub(crate) partitions: Vec<u32>,
}

/// What is known of a stage's group; without peers where brokers do not tell them.
pub(crate) struct View {
    pub(crate) stage: &'static str,
    pub(crate) peers: Option<Vec<Peer>>,
}

/// Which tasks of a stage a process follows. Tasks that nobody has at the moment stay as they are.
fn to_follow(view: &View, partitions: u32, me: &str, copies: usize, followed: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
    let tasks = (0..partitions).map(|partition| TaskId { stage: view.stage, partition });
    let Some(peers) = &view.peers else { return tasks.collect() };
    tasks
        .filter(|task| {
            let Some(owner) = peers.iter().find(|peer| peer.partitions.contains(&task.partition)) else { return followed.contains(task) };
            let mut others: Vec<&str> =
                peers.iter().map(|peer| peer.instance.as_str()).filter(|instance| *instance != owner.instance).collect();
            others.sort_unstable_by_key(|instance| rank(*task, instance));
            others.dedup();
            others.iter().take(copies).any(|instance| *instance == me)
        })
        .collect()
}

/// Where a process stands in a task's order: the same in all of them, and in each version of the program.
fn rank(task: TaskId, instance: &str) -> (u64, &str) {
    let bytes = task.stage.bytes().chain(task.partition.to_be_bytes()).chain(instance.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The last bytes of FNV alone change little above them.
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash ^ (hash >> 31), instance)
}

/// A task that is followed, as others see it.
#[derive(Clone, Copy, Debug)]
struct Followed {
    /// Each time that it is followed it has another number.
    number: u64,
    lag: u64,
}

#[derive(Default)]
struct Following {
    tasks: BTreeMap<TaskId, Followed>,
    begun: u64,
    /// Records that were taken over, of all tasks.
    records: u64,
}

/// The standbys of a process.
pub(crate) struct Standbys {
    options: KafkaOptions,
    local: Arc<EmbeddedLog>,
    folder: PathBuf,
    horizon: Duration,
    following: Mutex<Following>,
}

impl Standbys {
    pub(crate) fn new(options: &KafkaOptions, local: Arc<EmbeddedLog>, folder: PathBuf, horizon: Duration) -> Self {
        Self { options: options.clone(), local, folder, horizon, following: Mutex::default() }
    }

    /// Gives a task up; nothing of it is written by a standby once this returns.
    pub(crate) fn leave(&self, task: TaskId) {
        held(&self.following).tasks.remove(&task);
    }

    pub(crate) fn gauges(&self) -> [Gauge; 3] {
        let following = held(&self.following);
        let gauge = |name, help, kind, value| Gauge { name, help, kind, label: None, value };
        let lag = following.tasks.values().map(|followed| followed.lag).sum();
        [
            gauge(
                "faultline_standby_tasks",
                "Tasks of other processes whose state is kept up here.",
                Kind::Gauge,
                following.tasks.len() as u64,
            ),
            gauge("faultline_standby_lag_records", "Rows of changelogs that standbys have still to read.", Kind::Gauge, lag),
            gauge("faultline_standby_records_total", "Rows of changelogs that standbys took over.", Kind::Counter, following.records),
        ]
    }

    /// Follows until it is told to stop. `views` says what the groups are like, `is_elsewhere` that a task is in nobody's hands here.
    pub(crate) fn run(&self, stopping: &Stop, views: &dyn Fn() -> Vec<View>, partitions: u32, is_elsewhere: &dyn Fn(TaskId) -> bool) {
        let mut copies = None;
        let mut looked: Option<Instant> = None;
        let mut idle = BTreeMap::new();
        // That the store takes nothing more shows at the tasks, which use the same.
        while !stopping.is_told() && self.local.accepts().is_ok() {
            if looked.is_none_or(|looked| looked.elapsed() >= VIEW_EVERY) {
                looked = Some(Instant::now());
                if let Err(error) = self.look(&mut copies, &mut idle, &views(), partitions, is_elsewhere) {
                    tracing::debug!(%error, "standbys cannot be looked after at the moment");
                    copies = None;
                }
            }
            let taken = copies.as_mut().map_or(Ok(0), |copies| self.round(copies));
            match taken {
                Ok(0) => {
                    stopping.wait(LOOK);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a standby could not go on; it is followed anew");
                    copies = None;
                    // A store that fails shows at the tasks, which use the same.
                    stopping.wait(VIEW_EVERY);
                }
            }
            if copies.is_none() {
                self.end();
            }
        }
        self.end();
    }

    /// Follows nothing any more.
    fn end(&self) {
        let mut following = held(&self.following);
        for task in std::mem::take(&mut following.tasks).into_keys() {
            self.goes(task);
        }
    }

    /// Notes under the lock that a task is followed no more: it is in nobody's hands.
    fn goes(&self, task: TaskId) {
        if stale::goes(&self.folder, task, SystemTime::now()).is_err() {
            // If that fails as well the store does, which shows wherever it is used.
            let _ = self.local.forget(task);
        }
    }

    /// Follows what is to be followed by now, and nothing else.
    fn look(
        &self,
        copies: &mut Option<Copies>,
        idle: &mut BTreeMap<TaskId, Instant>,
        views: &[View],
        partitions: u32,
        is_elsewhere: &dyn Fn(TaskId) -> bool,
    ) -> Result<(), HostError> {
        for view in views {
            let followed: BTreeSet<TaskId> = held(&self.following).tasks.keys().copied().filter(|task| task.stage == view.stage).collect();
            let wanted = to_follow(view, partitions, &self.options.instance, self.options.standbys, &followed);
            for task in followed.difference(&wanted) {
                let mut following = held(&self.following);
                if following.tasks.remove(task).is_some() {
                    self.goes(*task);
                }
            }
            for partition in 0..partitions {
                let task = TaskId { stage: view.stage, partition };
                if wanted.contains(&task) || !self.sweep(task, idle.get(&task), is_elsewhere)? {
                    idle.remove(&task);
                } else {
                    idle.entry(task).or_insert_with(Instant::now);
                }
            }
            for task in wanted.difference(&followed).copied().filter(|task| is_elsewhere(*task)) {
                if copies.as_ref().is_none_or(|copies: &Copies| copies.known.contains(&task)) {
                    // What a client still holds of a task that it had before is not told from what comes.
                    self.end();
                    *copies = Some(Copies::new(&self.options)?);
                }
                let Some(copies) = copies else { continue };
                if let Err(error) = self.follow(copies, task, is_elsewhere) {
                    if held(&self.following).tasks.remove(&task).is_some() {
                        self.goes(task);
                    }
                    return Err(error);
                }
            }
        }
        if let Some(copies) = copies {
            for (task, copy) in copies.tasks.iter_mut().filter(|(_, copy)| !copy.is_whole) {
                // Without an answer it is as far as it was.
                let Ok((_, end)) = copies.asking.end(*task) else { break };
                copy.end = end;
            }
        }
        Ok(())
    }

    /// What is kept of a task that is neither ours nor followed is not up to date any more, and goes when it is long so. Whether it is
    /// one.
    fn sweep(&self, task: TaskId, since: Option<&Instant>, is_elsewhere: &dyn Fn(TaskId) -> bool) -> Result<bool, HostError> {
        let following = held(&self.following);
        if following.tasks.contains_key(&task) || !is_elsewhere(task) || self.local.kept(task)?.is_none() {
            return Ok(false);
        }
        self.goes(task);
        if since.is_some_and(|since| since.elapsed() >= FORGET_AFTER) {
            self.local.forget(task)?;
        }
        Ok(true)
    }

    fn follow(&self, copies: &mut Copies, task: TaskId, is_elsewhere: &dyn Fn(TaskId) -> bool) -> Result<(), HostError> {
        let (first, end) = copies.asking.end(task)?;
        let mut following = held(&self.following);
        // It can have come here meanwhile; from now on who takes it waits for this lock.
        if !is_elsewhere(task) {
            return Ok(());
        }
        if stale::was_gone_long(&self.folder, task, self.horizon, SystemTime::now()) {
            self.local.forget(task)?;
        }
        let from = match self.local.kept(task)? {
            // What was committed here last may not be to be read yet. Whether it is ahead for good is for a restore to say.
            Some(known) if known > end => return Ok(()),
            Some(known) if known >= first => known,
            Some(_) => {
                self.local.forget(task)?;
                0
            }
            None => 0,
        };
        following.begun += 1;
        let number = following.begun;
        following.tasks.insert(task, Followed { number, lag: end.saturating_sub(from) });
        drop(following);
        copies.add(task, number, from, end)
    }

    /// Takes over what has come, a turn of each task; tells how much it was.
    fn round(&self, copies: &mut Copies) -> Result<usize, HostError> {
        let followed: BTreeMap<TaskId, u64> = held(&self.following).tasks.iter().map(|(task, followed)| (*task, followed.number)).collect();
        copies.retain(&followed)?;
        serve(&copies.consumer)?;
        let most = (self.options.buffer_bytes / 2 / SHARE / copies.tasks.len().max(1)).max(MIN_GATHERED_BYTES);
        let mut taken = 0;
        for (task, copy) in &mut copies.tasks {
            taken += copy.read(most)?;
            let is_due = copy.is_whole || copy.gathered.bytes() >= most || copy.kept_at.elapsed() >= KEEP_EVERY;
            if is_due {
                self.keep(*task, copy)?;
            }
        }
        Ok(taken)
    }

    fn keep(&self, task: TaskId, copy: &mut Copy) -> Result<(), HostError> {
        let mut following = held(&self.following);
        let Some(followed) = following.tasks.get_mut(&task).filter(|followed| followed.number == copy.number) else { return Ok(()) };
        followed.lag = if copy.is_whole { 0 } else { copy.end.saturating_sub(copy.next) };
        if copy.gathered.bytes() > 0 {
            self.local.keep_gathered(task, &mut copy.gathered, copy.next)?;
        }
        if copy.is_whole && !copy.is_back {
            // From here on it is followed as a task's own state is.
            stale::is_back(&self.folder, task);
            copy.is_back = true;
        }
        following.records += std::mem::take(&mut copy.records);
        copy.kept_at = Instant::now();
        Ok(())
    }
}

/// The client that reads what is followed.
struct Copies {
    consumer: Arc<Reader>,
    asking: Asking,
    tasks: BTreeMap<TaskId, Copy>,
    /// All that it ever read.
    known: BTreeSet<TaskId>,
}

/// One task's changelog.
struct Copy {
    number: u64,
    rows: PartitionQueue<Context>,
    gathered: Gathered,
    next: u64,
    /// The end of what can be read, as it was last asked.
    end: u64,
    /// Whether it was read up to the last stable offset.
    is_whole: bool,
    /// Whether it is noted that it follows.
    is_back: bool,
    records: u64,
    kept_at: Instant,
}

/// For questions; it has nothing assigned.
struct Asking(Reader, Names);

impl Asking {
    fn end(&self, task: TaskId) -> Result<(u64, u64), HostError> {
        watermarks(&self.0, &self.1.changelog(task.stage), task.partition, SOON)
    }
}

impl Copies {
    fn new(options: &KafkaOptions) -> Result<Self, HostError> {
        let group = options.group("standby");
        let consumer = options.standby(&group, SHARE).create_with_context(options.context()).map_err(KafkaError::client)?;
        let asking = options.reader_to_end(&group).create_with_context(options.context()).map_err(KafkaError::client)?;
        Ok(Self {
            consumer: Arc::new(consumer),
            asking: Asking(asking, options.names.clone()),
            tasks: BTreeMap::new(),
            known: BTreeSet::new(),
        })
    }

    fn add(&mut self, task: TaskId, number: u64, from: u64, end: u64) -> Result<(), HostError> {
        let (topic, partition) = (self.asking.1.changelog(task.stage), task.partition as i32);
        let rows = self.consumer.split_partition_queue(&topic, partition).ok_or_else(|| not_known(&topic))?;
        self.known.insert(task);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(from as i64)).map_err(KafkaError::client)?;
        self.consumer.incremental_assign(&list).map_err(KafkaError::client)?;
        let (gathered, kept_at) = (Gathered::default(), Instant::now());
        let copy = Copy { number, rows, gathered, next: from, end, is_whole: false, is_back: false, records: 0, kept_at };
        self.tasks.insert(task, copy);
        Ok(())
    }

    /// Reads no more of what is not followed any more.
    fn retain(&mut self, followed: &BTreeMap<TaskId, u64>) -> Result<(), HostError> {
        let gone: Vec<TaskId> =
            self.tasks.iter().filter(|(task, copy)| followed.get(task) != Some(&copy.number)).map(|(task, _)| *task).collect();
        for task in gone {
            self.tasks.remove(&task);
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.asking.1.changelog(task.stage), task.partition as i32);
            self.consumer.incremental_unassign(&list).map_err(KafkaError::client)?;
        }
        Ok(())
    }
}

impl Copy {
    /// Reads its turn; tells how many records it was.
    fn read(&mut self, most_bytes: usize) -> Result<usize, HostError> {
        let mut read = 0;
        while read < TURN_RECORDS && self.gathered.bytes() < most_bytes {
            let found = next_of(self.rows.poll(Duration::ZERO), &mut |offset, key, value| {
                self.gathered.say(key, value);
                self.next = offset + 1;
            })?;
            match found {
                Next::Row => {
                    self.is_whole = false;
                    read += 1;
                }
                Next::End => self.is_whole = true,
                Next::Nothing => break,
            }
        }
        self.records += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: &str = "track";

    /// Processes that share tasks in turn.
    fn view(instances: usize, partitions: u32) -> View {
        let own = |at: usize| (0..partitions).filter(|partition| *partition as usize % instances == at).collect();
        let peer = |at| Peer { instance: format!("pod-{at}"), partitions: own(at) };
        View { stage: STAGE, peers: Some((0..instances).map(peer).collect()) }
    }

    fn followers(view: &View, instances: usize, partitions: u32, copies: usize) -> BTreeMap<TaskId, Vec<usize>> {
        let mut followers = BTreeMap::<TaskId, Vec<usize>>::new();
        for at in 0..instances {
            for task in to_follow(view, partitions, &format!("pod-{at}"), copies, &BTreeSet::new()) {
                followers.entry(task).or_default().push(at);
            }
        }
        followers
    }

    #[test]
    fn each_task_has_as_many_standbys_as_are_asked_for_and_none_at_its_owner() {
        for (instances, copies) in [(1, 1), (2, 1), (3, 1), (3, 2), (5, 2), (3, 7)] {
            let followers = followers(&view(instances, 64), instances, 64, copies);
            let expected = copies.min(instances - 1);
            assert_eq!(followers.len(), if expected > 0 { 64 } else { 0 });
            for (task, at) in followers {
                assert_eq!(at.len(), expected, "{instances} processes, {copies} copies: {task}");
                assert!(!at.contains(&(task.partition as usize % instances)), "{task} is kept twice in one place");
            }
        }
    }

    #[test]
    fn standbys_are_spread_over_the_processes() {
        let mut counts = [0; 4];
        followers(&view(4, 400), 4, 400, 1).into_values().flatten().for_each(|at| counts[at] += 1);
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_task_that_nobody_has_stays_as_it_is() {
        let task = |partition| TaskId { stage: STAGE, partition };
        let mut view = view(2, 4);
        view.peers.as_mut().unwrap().retain(|peer| peer.instance == "pod-1");
        let followed = BTreeSet::from([task(0)]);
        assert_eq!(to_follow(&view, 4, "pod-1", 1, &followed), followed);
    }

    #[test]
    fn without_a_word_of_the_others_all_is_followed() {
        let view = View { stage: STAGE, peers: None };
        assert_eq!(to_follow(&view, 4, "pod-1", 1, &BTreeSet::new()).len(), 4);
    }
}
