//! Gives an installation more partitions, with all that it knows: its keyed state is written into a new generation of topics.
//!
//! Nobody is at work and all inputs are read. Each task's state is restored out of its changelog; its rows, and the records of the topics
//! that are kept by key, go to where their keys belong among more partitions, under the names of the new generation. One record in topic
//! `generations` then makes that one hold. Before it the old generation is as it was, and a new attempt begins a generation of its own;
//! behind it topics that are kept by time get more partitions in place, which whoever comes again ends.

use std::path::Path;
use std::sync::Weak;
use std::time::Instant;

use rdkafka::consumer::Consumer;

use super::admin::{PlannedTopic, degraded_topics, grow, make_anew, planned_topics};
use super::context::{Reader, ask};
use super::generation::{GENERATIONS, Generation, Names, parts};
use super::migrate::{Moved, MovedStage, Moving, check_rest, has_members, places, settled, tasks};
use super::options::{Guarantee, KafkaOptions};
use super::restore::{BrokersChangelog, Restorer, restore};
use super::transact::{Sent, Transactor};
use super::{CALL, KafkaError, KafkaLog, checked};
use crate::error::HostError;
use crate::log::{Log, Positions};
use crate::topics::TopicPlan;

/// How often it is looked whether members have gone, or a topic has grown.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);
/// So long after the end of its session a member has gone for certain.
const LEAVES: std::time::Duration = std::time::Duration::from_secs(3);
/// The log that is read has the producer before it.
const PRODUCER: usize = 1;

/// What is to be done to which installation.
#[derive(Clone, Copy, Debug)]
pub struct Repartition<'r> {
    pub plans: &'r [TopicPlan],
    pub stages: &'r [MovedStage],
    pub options: &'r KafkaOptions,
    /// For the state of the tasks meanwhile; it goes at the end.
    pub folder: &'r Path,
    pub partitions: u32,
    /// Of the topics of the new generation.
    pub replicas: u32,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repartitioning {
    /// A process that has just stopped is a member of its group until its session ends.
    WaitsForMembers { group: String },
    /// Topics of the new generation are made, and are filled now.
    Made { generation: u32 },
    /// So many records and rows more are written.
    Moved(u64),
    /// The new generation holds.
    Holds { generation: u32 },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repartitioned {
    pub generation: u32,
    /// Nothing if the installation had so many partitions already.
    pub moved: Option<Moved>,
    /// Topics that got more partitions in place.
    pub grown: Vec<String>,
    /// Topics of generations that do not hold: they may be deleted once nobody reads them.
    pub left: Vec<String>,
}

/// Does it, or ends what was broken off.
pub fn repartition(asked: Repartition<'_>, progress: &mut dyn FnMut(Repartitioning)) -> Result<Repartitioned, HostError> {
    let Repartition { plans, options, folder, partitions, .. } = asked;
    if options.guarantee == Guarantee::AtLeastOnce {
        return Err(KafkaError::NeedsTransactions.into());
    }
    let config = options.reader_to_end(&options.group("reader"));
    let asking: Reader = config.create_with_context(options.context()).map_err(KafkaError::client)?;
    let mut holds = Generation::that_holds(&asking)?;
    let mut moved = None;
    if holds.partitions != Some(partitions) {
        let old = KafkaOptions { names: Names::of(holds.number, plans), ..options.clone() };
        let found = checked(&asking, &old, plans, &[], holds.partitions)?;
        if partitions < found {
            return Err(KafkaError::NotMore { found, asked: partitions }.into());
        }
        if partitions > found {
            let next = Generation { number: newest_number(&asking, asked, holds)? + 1, partitions: Some(partitions) };
            moved = Some(write(asked, &asking, &old, next, progress)?);
            progress(Repartitioning::Holds { generation: next.number });
            holds = next;
        }
    }
    let now = KafkaOptions { names: Names::of(holds.number, plans), ..options.clone() };
    let names = &now.names;
    let grown = grow_in_place(asked, &asking, names)?;
    let until = Instant::now() + CALL;
    while let Err(error) = checked(&asking, &now, plans, &[], holds.partitions) {
        // Brokers hear of it one after the other.
        if Instant::now() >= until {
            return Err(error);
        }
        std::thread::sleep(LOOK);
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|source| HostError::Folder { path: folder.to_owned(), source })?;
    }
    let left = left(&asking, asked, names)?;
    Ok(Repartitioned { generation: holds.number, moved, grown, left })
}

/// Writes the next generation, and makes it hold.
fn write(
    asked: Repartition<'_>,
    asking: &Reader,
    old: &KafkaOptions,
    next: Generation,
    progress: &mut dyn FnMut(Repartitioning),
) -> Result<Moved, HostError> {
    let Repartition { plans, stages, options, folder, partitions, .. } = asked;
    await_nobody(asking, old, stages, progress)?;
    // Whoever writes from here on is noticed before anything holds.
    let ends = written(asking, asked, &old.names)?;
    std::fs::create_dir_all(folder).map_err(|source| HostError::Folder { path: folder.to_owned(), source })?;
    let log = KafkaLog::open(folder.join("log"), plans, old.clone(), PRODUCER)?;
    let restorer = Restorer::new(old, 1, &log.restored)?;
    for stage in stages {
        for task in tasks(&log, stage)? {
            // Of no group: nobody has members.
            let changelog = BrokersChangelog::new(&restorer, task, Weak::new());
            restore(&changelog, &*log.local, task, &|_, _| true)?;
        }
        check_rest(&log, stage)?;
    }
    let new = KafkaOptions { names: Names::of(next.number, plans), ..options.clone() };
    // It fences another one that is at the same.
    let transactor = Transactor::new(&new, PRODUCER)?;
    make(asking, &keyed(asked, &new.names), &new)?;
    progress(Repartitioning::Made { generation: next.number });
    let mut tell = |some| progress(Repartitioning::Moved(some));
    let mut moving = Moving::new(&log, &new, &transactor, partitions, reached(&log, stages)?, &mut tell)?;
    for plan in plans.iter().filter(|plan| plan.has_generations()) {
        moving.records(*plan)?;
    }
    for stage in stages {
        moving.rows(stage)?;
        moving.positions(stage)?;
    }
    let moved = moving.moved;
    await_nobody(asking, old, stages, progress)?;
    for ((topic, end), (_, now)) in ends.iter().zip(written(asking, asked, &old.names)?) {
        if *end != now {
            return Err(KafkaError::Written { topic: topic.clone() }.into());
        }
    }
    let (key, value) = (next.key(), next.record());
    transactor
        .commit(&[Sent { topic: GENERATIONS, partition: 0, key: &key, value: Some(&value), headers: &[], timestamp_ms: None }], None)?;
    Ok(moved)
}

/// Waits until the groups have no members: at most for as long as one that does not answer is taken for alive.
fn await_nobody(
    asking: &Reader,
    options: &KafkaOptions,
    stages: &[MovedStage],
    progress: &mut dyn FnMut(Repartitioning),
) -> Result<(), HostError> {
    let until = Instant::now() + options.session_timeout + LEAVES;
    for stage in stages {
        let group = options.group_of(stage.name);
        let mut is_told = false;
        while has_members(asking, &group)? {
            if Instant::now() >= until {
                return Err(KafkaError::GroupAtWork { group }.into());
            }
            if !std::mem::replace(&mut is_told, true) {
                progress(Repartitioning::WaitsForMembers { group: group.clone() });
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// The topics of a generation that have its number in their names, or would have it if it were not the first.
fn keyed(asked: Repartition<'_>, names: &Names) -> Vec<PlannedTopic> {
    let is_keyed: Vec<String> = asked
        .plans
        .iter()
        .filter(|plan| plan.has_generations())
        .map(|plan| names.topic(plan.name).to_owned())
        .chain(asked.stages.iter().map(|stage| names.changelog(stage.name)))
        .collect();
    planned(asked, names).into_iter().filter(|topic| is_keyed.contains(&topic.name)).collect()
}

fn planned(asked: Repartition<'_>, names: &Names) -> Vec<PlannedTopic> {
    let stages: Vec<&str> = asked.stages.iter().map(|stage| stage.name).collect();
    let options = asked.options;
    let topics = planned_topics(names, asked.plans, &stages, asked.partitions, asked.replicas, options.local.max_record_bytes);
    degraded_topics(topics, options.guarantee, options.has_compaction)
}

fn make(asking: &Reader, topics: &[PlannedTopic], options: &KafkaOptions) -> Result<(), HostError> {
    make_anew(options, &topics.iter().collect::<Vec<_>>())?;
    for topic in topics {
        for partition in 0..topic.partitions {
            settled(|| asking.fetch_watermarks(&topic.name, partition as i32, CALL))?;
        }
    }
    Ok(())
}

/// The ends of all that tasks at work would write.
fn written(asking: &Reader, asked: Repartition<'_>, names: &Names) -> Result<Vec<(String, i64)>, HostError> {
    let mut ends = Vec::new();
    let counts = counts(asking)?;
    for topic in keyed(asked, names) {
        let count = counts.iter().find(|(name, _)| *name == topic.name).map_or(0, |(_, count)| *count);
        for partition in 0..count {
            let (_, end) = settled(|| asking.fetch_watermarks(&topic.name, partition as i32, CALL))?;
            ends.push((topic.name.clone(), end));
        }
    }
    Ok(ends)
}

/// Where the tasks are in what is not moved: of several at one place the one that is least far.
fn reached(log: &KafkaLog, stages: &[MovedStage]) -> Result<Positions, HostError> {
    let moves: Vec<&str> = log.topics().iter().filter(|plan| plan.has_generations()).map(|plan| plan.name).collect();
    let mut reached = Positions::new();
    for stage in stages {
        for task in tasks(log, stage)? {
            let positions = log.positions(task)?;
            for place in places(stage, task.partition).filter(|place| !moves.contains(&place.0)) {
                let at = positions.get(&place).copied().unwrap_or(0);
                let least = reached.entry(place).or_insert(at);
                *least = at.min(*least);
            }
        }
    }
    Ok(reached)
}

fn grow_in_place(asked: Repartition<'_>, asking: &Reader, names: &Names) -> Result<Vec<String>, HostError> {
    let counts = counts(asking)?;
    let by_time = |topic: &PlannedTopic| asked.plans.iter().any(|plan| plan.name == topic.name && !plan.compacted && !plan.is_global);
    let has_fewer = |topic: &PlannedTopic| counts.iter().any(|(name, count)| *name == topic.name && *count < topic.partitions);
    let topics: Vec<PlannedTopic> = planned(asked, names).into_iter().filter(|topic| by_time(topic) && has_fewer(topic)).collect();
    grow(asked.options, &topics.iter().collect::<Vec<_>>())?;
    Ok(topics.into_iter().map(|topic| topic.name).collect())
}

/// The highest number that a generation of this installation has or had, whether it ever held or not.
fn newest_number(asking: &Reader, asked: Repartition<'_>, holds: Generation) -> Result<u32, HostError> {
    let ours = keyed(asked, &Names::default());
    let counts = counts(asking)?;
    let parts = counts.iter().map(|(name, _)| parts(name));
    let numbers = parts.filter(|(plain, _)| ours.iter().any(|topic| topic.name == *plain)).map(|(_, number)| number);
    Ok(numbers.max().unwrap_or(0).max(holds.number))
}

/// Topics of other generations than the one that holds.
fn left(asking: &Reader, asked: Repartition<'_>, names: &Names) -> Result<Vec<String>, HostError> {
    let (ours, hold) = (keyed(asked, &Names::default()), keyed(asked, names));
    let is_left = |name: &str| ours.iter().any(|topic| topic.name == parts(name).0) && hold.iter().all(|topic| topic.name != name);
    let mut left: Vec<String> = counts(asking)?.into_iter().map(|(name, _)| name).filter(|name| is_left(name)).collect();
    left.sort();
    Ok(left)
}

/// All topics of the cluster with their partitions.
fn counts(asking: &Reader) -> Result<Vec<(String, u32)>, HostError> {
    let metadata = ask(asking, CALL, |asking, within| asking.fetch_metadata(None, within))?;
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect())
}
