//! The log on Apache Kafka, and the host that shares its tasks with others.
//!
//! What it is: topics are Kafka's; a task's state is in a local RocksDB and in the stage's changelog; a commit is one transaction of
//! outputs, changelog and positions, and after it one batch of the local store with the changelog's offset that it stands for.
//! Global topics are copied into the local folder whole, under the offsets that they have in Kafka.
//!
//! The way through it: a member of a stage's group (`group.rs`) hears which tasks are this process's. The host (`host.rs`) has each
//! restored (`restore.rs`), its inputs fetched (`fetch.rs`), and puts it to the workers, who step it as on any log; its commits go
//! through a transactor (`transact.rs`) on a thread of their own (`land.rs`).

mod admin;
pub(crate) mod cluster;
mod context;
mod damaged;
mod error;
mod fetch;
mod follow;
mod generation;
mod globals;
mod group;
mod host;
mod identity;
pub(crate) mod land;
mod lanes;
mod migrate;
pub(crate) mod opening;
mod options;
mod registry;
mod repartition;
mod restore;
mod stale;
mod standby;
mod token;
pub(crate) mod transact;
pub(crate) mod unfenced;
pub(crate) mod waiting;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use faultline_core::store::Store;
use faultline_model::time::Timestamp;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

pub use self::admin::{Difference, PlannedTopic, apply_topics, compare_topics, degraded_topics, make_topics, planned_topics};
use self::context::{Reader, ask, watermarks};
pub use self::error::KafkaError;
use self::error::is_final;
pub use self::follow::Follower;
use self::generation::Heard;
pub use self::generation::{Generation, Names};
use self::globals::Mirror;
use self::group::Seat;
pub use self::host::{KafkaHost, KafkaRunning};
use self::land::{Job, Lander, Landing, PRODUCERS_A_WRITER, ToBrokers, Transactors};
use self::lanes::Fetchers;
pub use self::migrate::{Moved, MovedStage, migrate};
use self::opening::{Opened, positions_in_state};
pub use self::options::{Guarantee, KafkaOptions};
use self::registry::Wire;
pub use self::registry::{CertificateFiles, Registry, RegistryAuth, RegistryError, RegistryOptions, SubjectDifference};
pub use self::repartition::{Repartition, Repartitioned, Repartitioning, repartition};
use self::standby::Standbys;
use self::transact::sent;
use self::unfenced::Joined;
use crate::commit::{Commit, InFlight, TaskId};
use crate::embedded::EmbeddedLog;
use crate::error::HostError;
use crate::log::{Gauge, Log, Place, Positions, Record, Retained, Stored};
use crate::sync::held;
use crate::task::HOST_ROWS;
use crate::telemetry::Kind;
use crate::topics::{TopicPlan, Topics};

/// A task's positions, as a row of its state.
const POSITIONS_ROW: [u8; 2] = [HOST_ROWS, b'p'];
const CALL: Duration = Duration::from_secs(10);
/// How long who looks again and again waits between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// For what somebody waits for who only wants to know.
const SOON: Duration = Duration::from_secs(2);

/// What the name of a stage's changelog ends with.
const CHANGELOG: &str = ".changelog";

pub(crate) fn changelog_of(stage: &str) -> String {
    format!("{stage}{CHANGELOG}")
}

pub struct KafkaLog {
    topics: Topics,
    partitions: u32,
    options: KafkaOptions,
    /// Copies in `local` are as they stand in Kafka: their ids are exchanged when they are read, so that they outlive a change of registry.
    wire: Wire,
    heard: Arc<Heard>,
    local: Arc<EmbeddedLog>,
    /// For questions about topics, and for reading what no task of ours reads.
    asking: Mutex<Reader>,
    fetcher: Arc<Fetchers>,
    /// Keeps the copies of global topics growing.
    _mirror: Mirror,
    transactors: Arc<Transactors>,
    lander: Lander,
    members: Mutex<BTreeMap<&'static str, Membership>>,
    positions: Arc<Mutex<BTreeMap<TaskId, Positions>>>,
    /// Who asks the groups how far they are, by stage.
    groups: Mutex<BTreeMap<&'static str, Reader>>,
    standbys: Standbys,
    /// Rows of changelogs that were read before tasks could work.
    restored: Arc<AtomicU64>,
    /// Offsets of inputs that were deleted before they were read.
    lost: AtomicU64,
    folder: PathBuf,
    /// How long topics know that a key went.
    horizon: Duration,
    /// Whether what was kept here had been away for too long, and was made anew.
    is_anew: bool,
    /// Whether it could not be read, or was of other topics.
    was_set_aside: bool,
    /// Ends behind which only the marks of transactions stand, by place: from where, and to where.
    marks: Mutex<BTreeMap<Place, (u64, u64)>>,
    /// The last to go.
    _lock: File,
}

/// A stage's group as its tasks need it.
#[derive(Clone)]
struct Membership {
    /// The topic whose partitions are the tasks.
    topic: &'static str,
    /// Not the member itself: whoever drops that last waits for its thread.
    seat: Weak<Seat>,
}

impl KafkaLog {
    /// Reaches a cluster, checks its topics against the plans, and waits until the global topics are here. `writers` is how many
    /// commits of tasks may be under way at once.
    pub fn open(path: impl AsRef<Path>, plans: &[TopicPlan], options: KafkaOptions, writers: usize) -> Result<Self, HostError> {
        options.check()?;
        let folder = path.as_ref();
        let lock = damaged::lock(folder)?;
        let opened = Self::locked(lock, folder, plans, options, writers);
        if opened.as_ref().is_err_and(HostError::is_damage) {
            damaged::note(folder);
        }
        opened
    }

    fn locked(lock: File, folder: &Path, plans: &[TopicPlan], options: KafkaOptions, writers: usize) -> Result<Self, HostError> {
        let writers = writers.max(1);
        let group = options.group("reader");
        let asking: Reader = options.reader_to_end(&group).create_with_context(options.context()).map_err(KafkaError::client)?;
        let generation = Generation::that_holds(&asking)?;
        let options = KafkaOptions { names: Names::of(generation.number, plans), ..options };
        let partitions = checked(&asking, &options, plans, &[], generation.partitions)?;
        let topics = Topics::new(plans.to_vec(), partitions, options.local.max_record_bytes)?;
        let wire = Wire::open(options.registry.as_ref(), plans)?;
        let horizon = plans.iter().filter(|plan| plan.compacted).map(|plan| plan.retention).min().unwrap_or(Duration::MAX);
        stale::remove_of_other_generation(folder, generation.number)?;
        let is_anew = stale::remove(folder, horizon, SystemTime::now())?;
        let kept = crate::rocks::Options { partitions, ..options.local };
        let (mut local, mut was_set_aside) = damaged::open(folder, plans, &kept)?;
        let cluster = asking
            .client()
            .fetch_cluster_id(CALL)
            .ok_or(HostError::from(KafkaError::Client { source: rdkafka::error::KafkaError::Global(RDKafkaErrorCode::AllBrokersDown) }))?;
        local.belongs_to(&cluster)?;
        if let Some(topic) = identity::other_topic(&asking, &local, &options, plans)? {
            drop(local);
            let why = format!("topic {topic} was made anew, and it is of the one before");
            (local, was_set_aside) = (damaged::open_anew(folder, plans, &kept, &why)?, true);
            local.belongs_to(&cluster)?;
        }
        let local = Arc::new(local);
        let heard = Arc::new(Heard::new(generation.number));
        let mirror = Mirror::start(&options, &group, local.clone(), plans, folder, heard.clone())?;
        let fetcher = Arc::new(Fetchers::start(&options, &group, &local.bell())?);
        let transactors = Arc::new(Transactors::new(&options, writers * PRODUCERS_A_WRITER)?);
        let positions = Arc::default();
        let brokers = ToBrokers { transactors: transactors.clone(), fetcher: fetcher.clone() };
        let landing = Landing { brokers, local: local.clone(), positions: Arc::clone(&positions) };
        let standbys = Standbys::new(&options, local.clone(), folder.to_owned(), horizon);
        let lander = Lander::start(landing, writers)?;
        Ok(Self {
            topics,
            partitions,
            options,
            wire,
            heard,
            local,
            asking: Mutex::new(asking),
            fetcher,
            _mirror: mirror,
            transactors,
            lander,
            members: Mutex::default(),
            positions,
            groups: Mutex::default(),
            standbys,
            restored: Arc::default(),
            lost: AtomicU64::default(),
            folder: folder.to_owned(),
            horizon,
            is_anew,
            was_set_aside,
            marks: Mutex::default(),
            _lock: lock,
        })
    }

    /// The schema registry, if there is one: whether it answers.
    pub fn registry(&self) -> Option<&Registry> {
        self.wire.registry()
    }

    /// Which generation of the topics that are kept by key this log is of.
    pub fn generation(&self) -> u32 {
        self.options.names.generation()
    }

    /// Refuses to work once another generation holds.
    pub fn is_of_now(&self) -> Result<(), HostError> {
        let (ours, newest) = (self.generation(), self.heard.newest());
        if ours == newest { Ok(()) } else { Err(KafkaError::Superseded { ours, newest }.into()) }
    }

    fn named(&self, place: Place) -> (&str, u32) {
        (self.options.names.topic(place.0), place.1)
    }

    /// A reader of topics that keeps positions of its own.
    pub fn follow(self: &Arc<Self>) -> Result<Follower, HostError> {
        Follower::new(self.clone())
    }

    /// How many offsets of a place a reader at a position has still to read; none if only marks of transactions are left.
    pub fn waiting(&self, topic: &str, partition: u32, position: u64) -> Result<u64, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        if plan.is_global {
            return Ok(self.local.end_offset(topic, partition)?.saturating_sub(position));
        }
        let place = (plan.name, partition);
        let end = self.watermarks_within(topic, partition, SOON)?.1;
        if position >= end || held(&self.marks).get(&place) == Some(&(position, end)) {
            return Ok(0);
        }
        if globals::once(&held(&self.asking), self.named(place), position, 1, 1)?.is_empty() {
            held(&self.marks).insert(place, (position, end));
            return Ok(0);
        }
        Ok(end - position)
    }

    /// How far the tasks of a stage are in a topic, by partition, whichever process works on them.
    pub fn positions_of_group(&self, stage: &'static str, topic: &str) -> Result<Vec<u64>, HostError> {
        let plan = self.topics.named(topic)?;
        let places: Vec<Place> = (0..self.topics.partitions(plan)).map(|partition| (plan.name, partition)).collect();
        let mut groups = held(&self.groups);
        let consumer = match groups.entry(stage) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let config = self.options.reader(&self.options.group_of(stage));
                new.insert(config.create_with_context(self.options.context()).map_err(KafkaError::client)?)
            }
        };
        consumer.context().serve_tokens(consumer);
        let committed = group::committed(consumer, &self.options.names, &places)?;
        Ok(places.iter().map(|place| committed.get(place).copied().unwrap_or(0)).collect())
    }

    /// The modes in which a guarantee is gone.
    fn degraded(&self) -> impl Iterator<Item = Gauge> {
        let modes = [("at-least-once", self.options.guarantee == Guarantee::AtLeastOnce), ("no-compaction", !self.options.has_compaction)];
        modes.into_iter().filter(|(_, is_on)| *is_on).map(|(mode, _)| Gauge {
            name: "faultline_degraded",
            help: "A mode in which a guarantee is gone, as docs/guarantees.md says.",
            kind: Kind::Gauge,
            label: Some(("mode", mode)),
            value: 1,
        })
    }

    /// How many tasks of a stage are at work here.
    fn tasks_of(&self, stage: &str) -> u64 {
        held(&self.positions).keys().filter(|task| task.stage == stage).count() as u64
    }

    /// Says of a task's inputs what was deleted before it was read.
    fn tell_of_lost(&self, task: TaskId, Opened { positions, begins }: &Opened) {
        for (place, begin) in begins {
            let lost = begin - positions.get(place).copied().unwrap_or(0);
            self.lost.fetch_add(lost, Ordering::Relaxed);
            tracing::warn!(%task, topic = place.0, partition = place.1, lost, "records were deleted before they were read; it goes on at what is left");
        }
    }

    /// A changelog is there, with a partition for each task, and keeps the newest row of each key.
    fn check_changelog(&self, stage: &str) -> Result<(), HostError> {
        let changelog = self.options.names.changelog(stage);
        let mut needed = needed(&self.options, &self.topics.all(), &[stage], self.partitions);
        needed.retain(|topic| topic.name == changelog);
        admin::check_topics(&held(&self.asking), &self.options, &needed)
    }

    /// Who writes to a global topic finds in the copy what was written: the next difference is from that.
    fn await_copy(&self, topic: &'static str, offset: u64) -> Result<(), HostError> {
        if !self.topics.named(topic)?.is_global {
            return Ok(());
        }
        let until = std::time::Instant::now() + CALL;
        let mut generation = self.local.wait_for_change(0, Duration::ZERO);
        while self.local.end_offset(topic, 0)? <= offset {
            if std::time::Instant::now() >= until {
                let copied = self.local.end_offset(topic, 0)?;
                return Err(KafkaError::CopyIsLate { topic: topic.to_owned(), offset, copied }.into());
            }
            generation = self.local.wait_for_change(generation, CALL / 100);
        }
        Ok(())
    }

    fn watermarks(&self, topic: &str, partition: u32) -> Result<(u64, u64), HostError> {
        self.watermarks_within(topic, partition, CALL)
    }

    fn watermarks_within(&self, topic: &str, partition: u32, bound: Duration) -> Result<(u64, u64), HostError> {
        watermarks(&held(&self.asking), self.options.names.topic(topic), partition, bound)
    }
}

/// Topics as a process needs them. How often brokers keep them is not its concern.
fn needed(options: &KafkaOptions, plans: &[TopicPlan], stages: &[&str], partitions: u32) -> Vec<PlannedTopic> {
    let planned = planned_topics(&options.names, plans, stages, partitions, 1, options.local.max_record_bytes);
    degraded_topics(planned, options.guarantee, options.has_compaction)
}

/// Topics and changelogs are there as a process needs them. Gives the partition count of all but the global ones: that of their generation, where
/// it says one.
fn checked(asking: &Reader, options: &KafkaOptions, plans: &[TopicPlan], stages: &[&str], asked: Option<u32>) -> Result<u32, HostError> {
    let partitions = asked.map_or_else(|| partition_count(asking, plans, &options.names), Ok)?;
    admin::check_topics(asking, options, &needed(options, plans, stages, partitions))?;
    Ok(partitions)
}

/// The partition count of the first topic that is there and not global: what all others must have.
fn partition_count(asking: &Reader, plans: &[TopicPlan], names: &Names) -> Result<u32, HostError> {
    let metadata = ask(asking, CALL, |asking, within| asking.fetch_metadata(None, within))?;
    let count = |plan: &TopicPlan| {
        let topic = metadata.topics().iter().find(|topic| topic.name() == names.topic(plan.name));
        topic.map(|topic| topic.partitions().len() as u32).filter(|count| *count > 0)
    };
    Ok(plans.iter().filter(|plan| !plan.is_global).find_map(count).unwrap_or(1))
}

impl Log for KafkaLog {
    fn accepts(&self) -> Result<(), HostError> {
        self.local.accepts()
    }

    fn append(&self, mut records: Vec<Record>) -> Result<Vec<u64>, HostError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.is_of_now()?;
        self.wire.outgoing(&mut records)?;
        self.topics.check_appended(&records)?;
        if records.iter().any(|record| self.topics.named(record.topic).is_ok_and(|plan| plan.is_global)) {
            // Who writes there waits for the copy, which would not come.
            self.local.accepts()?;
        }
        let offsets = self.transactors.transact(&records.iter().map(sent).collect::<Vec<_>>(), None)?;
        for (record, offset) in records.iter().zip(&offsets) {
            self.await_copy(record.topic, *offset)?;
        }
        Ok(offsets)
    }

    fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        let place = (plan.name, partition);
        let page = if plan.is_global {
            self.local.read(topic, partition, from, max_records, max_bytes)?
        } else if let Some(page) = self.fetcher.read(place, from, max_records, max_bytes)? {
            page.into_iter().map(Arc::unwrap_or_clone).collect()
        } else {
            globals::once(&held(&self.asking), self.named(place), from, max_records, max_bytes)?
        };
        self.wire.incoming(place, page)
    }

    fn page(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Arc<Stored>>, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        // Where values are changed on their way in nothing can be shared.
        if self.wire.registry().is_none()
            && let Some(page) = self.fetcher.read((plan.name, partition), from, max_records, max_bytes)?
        {
            return Ok(page);
        }
        Ok(self.read(topic, partition, from, max_records, max_bytes)?.into_iter().map(Arc::new).collect())
    }

    fn end_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        let plan = self.topics.plan(topic, partition)?;
        let place = (plan.name, partition);
        let end = if plan.is_global {
            self.local.end_offset(topic, partition)?
        } else if let Some(end) = self.fetcher.end(place)? {
            end
        } else {
            self.watermarks(topic, partition)?.1
        };
        Ok(self.wire.end(place, end))
    }

    fn left(&self, topic: &str, partition: u32, position: u64) -> Result<u64, HostError> {
        self.waiting(topic, partition, position)
    }

    fn start_offset(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        self.topics.plan(topic, partition)?;
        Ok(self.watermarks(topic, partition)?.0)
    }

    fn latest(&self, topic: &str, partition: u32, key: &[u8]) -> Result<Option<Stored>, HostError> {
        if self.topics.compacted(topic, partition)?.is_global {
            return self.wire.latest(topic, self.local.latest(topic, partition, key)?);
        }
        Err(KafkaError::NotGlobal { topic: topic.to_owned() }.into())
    }

    fn commit(&self, commit: Commit) -> Result<Vec<u64>, HostError> {
        self.begin(commit)?.map_or_else(|| Ok(Vec::new()), |commit| commit.ending.wait())
    }

    fn begin(&self, mut commit: Commit) -> Result<Option<InFlight>, HostError> {
        self.is_of_now()?;
        // Before the transaction: what it commits and is not kept here has to be read again.
        self.local.accepts()?;
        self.wire.outgoing(&mut commit.outputs)?;
        self.topics.check_outputs(&commit.outputs)?;
        let task = commit.task;
        let membership = held(&self.members).get(task.stage).cloned().ok_or(KafkaError::NotOwner { task })?;
        let before = self.positions(task)?;
        if self.options.guarantee == Guarantee::AtLeastOnce {
            unfenced::keep_outputs(&mut commit, &before);
        }
        let group = || {
            let seat = membership.seat.upgrade();
            seat.and_then(|seat| Joined::of(&seat.consumer())).ok_or_else(|| KafkaError::NotOwner { task }.into())
        };
        self.lander.begin(Job::new(commit, before, membership.topic), group).map(Some)
    }

    fn positions(&self, task: TaskId) -> Result<Positions, HostError> {
        if let Some(known) = held(&self.positions).get(&task) {
            return Ok(known.clone());
        }
        positions_in_state(&*self.local, &self.topics, task)
    }

    fn state<'a>(&'a self, task: TaskId) -> Box<dyn Store + 'a> {
        self.local.state(task)
    }

    fn truncate(&self, topic: &str, _: u32, _: u64, _: u64) -> Result<(), HostError> {
        Err(KafkaError::BrokersKeep { topic: topic.to_owned() }.into())
    }

    fn retain(&self, place: Place, now: Timestamp, least_position: u64, max_records: usize) -> Result<Retained, HostError> {
        if self.topics.plan(place.0, place.1)?.is_global {
            return self.local.retain(place, now, least_position, max_records);
        }
        Ok(Retained::default())
    }

    fn clean(&self, place: Place, max_records: usize) -> Result<bool, HostError> {
        Ok(self.topics.plan(place.0, place.1)?.is_global && self.local.clean(place, max_records)?)
    }

    fn horizon(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        let plan = self.topics.compacted(topic, partition)?;
        if plan.is_global { self.local.horizon(topic, partition) } else { Ok(0) }
    }

    fn note_failure(&self, error: &HostError) {
        if error.is_damage() {
            damaged::note(&self.folder);
        }
    }

    fn wait_for_change(&self, since: u64, timeout: Duration) -> u64 {
        self.local.wait_for_change(since, timeout)
    }

    fn wake(&self) {
        self.local.wake();
    }

    fn topics(&self) -> Vec<TopicPlan> {
        self.topics.all()
    }

    fn partitions(&self, topic: &str) -> Result<u32, HostError> {
        Ok(if self.topics.named(topic)?.is_global { 1 } else { self.partitions })
    }

    fn max_record_bytes(&self) -> usize {
        self.topics.max_record_bytes()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let mut gauges = self.local.gauges();
        gauges.extend(self.transactors.gauges());
        gauges.extend(self.standbys.gauges());
        gauges.extend(self.wire.registry().into_iter().flat_map(Registry::gauges));
        gauges.push(Gauge {
            name: "faultline_restored_records_total",
            help: "Rows of changelogs that were read before tasks could work.",
            kind: Kind::Counter,
            label: None,
            value: self.restored.load(Ordering::Relaxed),
        });
        gauges.push(Gauge {
            name: "faultline_records_lost_total",
            help: "Offsets of inputs that brokers deleted before they were read here.",
            kind: Kind::Counter,
            label: None,
            value: self.lost.load(Ordering::Relaxed),
        });
        gauges.push(Gauge {
            name: "faultline_state_made_anew",
            help: "Whether what this process kept was older than the topics know of keys that went, and was made anew at its start.",
            kind: Kind::Gauge,
            label: None,
            value: u64::from(self.is_anew),
        });
        gauges.push(Gauge {
            name: "faultline_state_set_aside",
            help: "Whether what this process kept could not be read or was of other topics, and was set aside and made anew at its start.",
            kind: Kind::Gauge,
            label: None,
            value: u64::from(self.was_set_aside),
        });
        gauges.extend(self.degraded());
        for membership in held(&self.members).values() {
            let Some(seat) = membership.seat.upgrade() else { continue };
            let rebalances = seat.rebalances();
            for (label, times) in [("given", &rebalances.given_times), ("taken", &rebalances.taken_times)] {
                gauges.push(Gauge {
                    name: "faultline_rebalances_total",
                    help: "How often a group gave this process tasks, or took some away.",
                    kind: Kind::Counter,
                    label: Some(("kind", label)),
                    value: times.load(Ordering::Relaxed),
                });
            }
        }
        gauges
    }
}
