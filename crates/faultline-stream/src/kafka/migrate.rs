//! Moves what another log holds to a cluster: records, state, and where each task is.
//!
//! The other log's stages are at rest, and the cluster's topics are empty. Each key goes to its partition there, whatever the other
//! log's partition count: records are re-keyed, and each row of state belongs with a key (`stage::home_of`). Positions come last, so that
//! a cluster in which this ended half-way has none; then its topics are to be made anew.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_core::stage::{Home, Stage, home_of, one_copy};
use faultline_core::store::Store;
use faultline_model::partition::partition;
use faultline_model::topic::Topic;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as ClientError;

use super::context::Reader;
use super::opening::encode_positions;
use super::options::KafkaOptions;
use super::registry::Wire;
use super::transact::{Reached, Sent, Transactor, sent};
use super::unfenced::Joined;
use super::{CALL, Generation, KafkaError, Names, POSITIONS_ROW, checked};
use crate::at_hand::{AtHand, Room, Rows};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::log::{Log, Place, Positions, Record, Stored};
use crate::task::{FORMAT_ROW, HOST_ROWS, NOW_ROW};
use crate::topics::TopicPlan;

/// What is read, and then written in one transaction.
/// Of the rows of all tasks.
const AT_HAND_BYTES: usize = 4 << 20;
const PAGE_RECORDS: usize = 4096;
const PAGE_BYTES: usize = 4 << 20;
const LOOK: Duration = Duration::from_millis(100);

/// What of a stage is to be known to move it.
#[derive(Clone, Copy, Debug)]
pub struct MovedStage {
    pub(super) name: &'static str,
    inputs: &'static [Topic],
    globals: &'static [Topic],
}

impl MovedStage {
    pub const fn of<S: Stage>() -> Self {
        Self { name: S::NAME, inputs: S::INPUTS, globals: S::GLOBALS }
    }
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many partitions the cluster's keyed topics have.
    pub partitions: u32,
    /// Records by topic.
    pub records: BTreeMap<&'static str, u64>,
    /// Rows of state by stage; a copy that several partitions have is counted in each.
    pub rows: BTreeMap<&'static str, u64>,
}

/// Moves all that a log at rest holds into the empty topics of a cluster. `progress` hears of records and rows as they are written.
pub fn migrate(from: &dyn Log, stages: &[MovedStage], options: &KafkaOptions, progress: &mut dyn FnMut(u64)) -> Result<Moved, HostError> {
    let plans = from.topics();
    for stage in stages {
        check_rest(from, stage)?;
    }
    let generation = Generation::of_cluster(options)?;
    let options = &KafkaOptions { names: Names::of(generation.number, &plans), ..options.clone() };
    let partitions = check_cluster(&plans, stages, options, generation)?;
    let transactor = Transactor::new(options, 0)?;
    let mut moving = Moving::new(from, options, &transactor, partitions, Positions::new(), progress)?;
    for plan in plans {
        moving.records(plan)?;
    }
    for stage in stages {
        moving.rows(stage)?;
    }
    for stage in stages {
        moving.positions(stage)?;
    }
    Ok(moving.moved)
}

/// All that the stage's tasks read is worked on.
pub(super) fn check_rest(from: &dyn Log, stage: &MovedStage) -> Result<(), HostError> {
    for task in tasks(from, stage)? {
        let positions = from.positions(task)?;
        for place in places(stage, task.partition) {
            let (at, end) = (positions.get(&place).copied().unwrap_or(0), from.end_offset(place.0, place.1)?);
            if at < end && !from.read(place.0, place.1, at, 1, 1)?.is_empty() {
                return Err(KafkaError::NotAtRest { task, reason: format!("it is at {at} of {}, which ends at {end}", place.0) }.into());
            }
        }
    }
    Ok(())
}

/// The topics are there, with nothing in them, and nobody works on them. Gives the partition count.
fn check_cluster(plans: &[TopicPlan], stages: &[MovedStage], options: &KafkaOptions, generation: Generation) -> Result<u32, HostError> {
    let asking: Reader = options.reader(&options.group("reader")).create_with_context(options.context()).map_err(KafkaError::client)?;
    let names: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
    let partitions = checked(&asking, options, plans, &names, generation.partitions)?;
    let mut topics: Vec<(String, u32)> =
        plans.iter().map(|plan| (options.names.topic(plan.name).to_owned(), if plan.is_global { 1 } else { partitions })).collect();
    for stage in stages {
        topics.push((options.names.changelog(stage.name), partitions));
        let group = options.group_of(stage.name);
        if has_members(&asking, &group)? {
            return Err(KafkaError::GroupAtWork { group }.into());
        }
    }
    for (topic, partitions) in topics {
        for partition in 0..partitions {
            let (_, end) = settled(|| asking.fetch_watermarks(&topic, partition as i32, CALL))?;
            if end > 0 {
                return Err(KafkaError::NotEmpty { topic }.into());
            }
        }
    }
    Ok(partitions)
}

pub(super) fn has_members(asking: &Reader, group: &str) -> Result<bool, HostError> {
    let groups = settled(|| asking.fetch_group_list(Some(group), CALL))?;
    Ok(groups.groups().iter().any(|found| found.name() == group && !found.members().is_empty()))
}

/// Asks until there is an answer: for a moment, leaders of topics that were just made say that they are none, and coordinators of groups
/// that they are not ready.
pub(super) fn settled<T>(mut ask: impl FnMut() -> Result<T, ClientError>) -> Result<T, HostError> {
    let until = Instant::now() + CALL;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(_) if Instant::now() < until => std::thread::sleep(LOOK),
            Err(error) => return Err(KafkaError::client(error).into()),
        }
    }
}

pub(super) fn tasks(log: &dyn Log, stage: &MovedStage) -> Result<Vec<TaskId>, HostError> {
    let partitions = stage.inputs.first().map_or(Ok(1), |topic| log.partitions(topic.name))?;
    Ok((0..partitions).map(|partition| TaskId { stage: stage.name, partition }).collect())
}

/// What a task of a stage reads.
pub(super) fn places(stage: &MovedStage, partition: u32) -> impl Iterator<Item = Place> {
    let keyed = stage.inputs.iter().map(move |topic| (topic.name, partition));
    keyed.chain(stage.globals.iter().map(|topic| (topic.name, 0)))
}

pub(super) struct Moving<'m> {
    from: &'m dyn Log,
    options: &'m KafkaOptions,
    transactor: &'m Transactor,
    wire: Wire,
    partitions: u32,
    /// Behind the last record of each place in the cluster, and where the readers of those are that nothing is moved to.
    ends: Positions,
    pub(super) moved: Moved,
    progress: &'m mut dyn FnMut(u64),
}

/// A row of state, as it is written to a changelog.
struct Row {
    partition: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'m> Moving<'m> {
    pub(super) fn new(
        from: &'m dyn Log,
        options: &'m KafkaOptions,
        transactor: &'m Transactor,
        partitions: u32,
        ends: Positions,
        progress: &'m mut dyn FnMut(u64),
    ) -> Result<Self, HostError> {
        let wire = Wire::open(options.registry.as_ref(), &from.topics())?;
        let moved = Moved { partitions, ..Moved::default() };
        Ok(Self { from, options, transactor, wire, partitions, ends, moved, progress })
    }

    /// All records of a topic. What one partition has stays in its order, so each key's does.
    pub(super) fn records(&mut self, plan: TopicPlan) -> Result<(), HostError> {
        let mut count = 0;
        for partition in 0..self.from.partitions(plan.name)? {
            let mut next = self.from.start_offset(plan.name, partition)?;
            loop {
                let page = self.from.read(plan.name, partition, next, PAGE_RECORDS, PAGE_BYTES)?;
                let Some(last) = page.last() else { break };
                next = last.offset + 1;
                let mut records: Vec<Record> = page.into_iter().map(|record| self.placed(plan, record)).collect();
                self.wire.outgoing(&mut records)?;
                let offsets = self.transactor.commit(&records.iter().map(sent).collect::<Vec<_>>(), None)?;
                for (record, offset) in records.iter().zip(offsets) {
                    let end = self.ends.entry((record.topic, record.partition)).or_default();
                    *end = (offset + 1).max(*end);
                }
                count += records.len() as u64;
                (self.progress)(records.len() as u64);
            }
        }
        self.moved.records.insert(plan.name, count);
        Ok(())
    }

    fn placed(&self, plan: TopicPlan, record: Stored) -> Record {
        let Stored { key, value, headers, timestamp_ms, .. } = record;
        let place = if plan.is_global { 0 } else { partition(&String::from_utf8_lossy(&key), self.partitions) };
        Record { topic: plan.name, partition: place, key, value, headers, timestamp_ms }
    }

    /// All rows of a stage, without its tasks' own positions and times.
    pub(super) fn rows(&mut self, stage: &MovedStage) -> Result<(), HostError> {
        let tasks = tasks(self.from, stage)?;
        let states: Vec<Box<dyn Store + '_>> = tasks.iter().map(|task| self.from.state(*task)).collect();
        // An asset's rows lie together, and of each the asset's own row is asked.
        let room = Room::of(AT_HAND_BYTES);
        let rows: Vec<RefCell<Rows>> = states.iter().map(|_| RefCell::new(Rows::new(room.clone()))).collect();
        let states: Vec<AtHand<'_>> = states.iter().zip(&rows).map(|(state, rows)| AtHand::new(&**state, rows)).collect();
        let mut count = 0;
        for (task, state) in tasks.iter().zip(&states) {
            let mut next = vec![HOST_ROWS + 1];
            loop {
                let page = page(*task, state, &next)?;
                let Some((last, _)) = page.last() else { break };
                next = [last.as_slice(), &[0]].concat();
                let mut rows = Vec::new();
                for (key, value) in page {
                    self.row(*task, state, &states, key, value, &mut rows)?;
                }
                self.write(stage, &rows)?;
                count += rows.len() as u64;
            }
        }
        self.moved.rows.insert(stage.name, count);
        Ok(())
    }

    /// Where a row goes, once for each partition that has it.
    fn row(
        &self,
        task: TaskId,
        state: &dyn Store,
        states: &[AtHand<'_>],
        key: Vec<u8>,
        value: Vec<u8>,
        rows: &mut Vec<Row>,
    ) -> Result<(), HostError> {
        let fails = |source: faultline_core::store::StoreError| HostError::Stage { task, source: source.into() };
        let places: BTreeSet<u32> = match home_of(task.stage.as_bytes(), state, &key).map_err(fails)? {
            Home::Unfinished => return Err(KafkaError::NotAtRest { task, reason: "work is pending".to_owned() }.into()),
            Home::With(owner) => {
                rows.push(Row { partition: partition(&owner, self.partitions), key, value });
                return Ok(());
            }
            Home::WithEach(keys) => keys.iter().map(|key| partition(key, self.partitions)).collect(),
            Home::Everywhere => (0..self.partitions).collect(),
        };
        // Several tasks here may have a copy, and several partitions there get it: the same one, whoever wrote it last.
        let copies = states.iter().map(|state| state.get(&key)).filter_map(Result::transpose);
        let copies: Vec<Vec<u8>> = copies.collect::<Result<_, _>>().map_err(fails)?;
        let value = one_copy(task.stage.as_bytes(), &key, copies).map_err(fails)?;
        rows.extend(places.into_iter().map(|partition| Row { partition, key: key.clone(), value: value.clone() }));
        Ok(())
    }

    fn write(&mut self, stage: &MovedStage, rows: &[Row]) -> Result<(), HostError> {
        let changelog = self.options.names.changelog(stage.name);
        let records: Vec<Sent<'_>> = rows.iter().map(|row| row.sent(&changelog)).collect();
        self.transactor.commit(&records, None)?;
        (self.progress)(rows.len() as u64);
        Ok(())
    }

    /// Where each task is: behind all that was moved. Its state says so, and its group.
    pub(super) fn positions(&mut self, stage: &MovedStage) -> Result<(), HostError> {
        // The latest time, and the newest format: who reads that reads the older ones. Times are after 1970, so bytes are in their order.
        let mut newest = [(NOW_ROW, None), (FORMAT_ROW, None)];
        for task in tasks(self.from, stage)? {
            let state = self.from.state(task);
            for (row, newest) in &mut newest {
                let found = state.get(row.as_slice()).map_err(|source| HostError::Stage { task, source: source.into() })?;
                *newest = newest.take().max(found);
            }
        }
        let group = self.options.group_of(stage.name);
        let consumer: Reader = self.options.reader(&group).create_with_context(self.options.context()).map_err(KafkaError::client)?;
        let consumer = Arc::new(consumer);
        let changelog = self.options.names.changelog(stage.name);
        for partition in 0..self.partitions {
            let group = Joined::of(&consumer).ok_or(KafkaError::NotOwner { task: TaskId { stage: stage.name, partition } })?;
            let positions: Positions = places(stage, partition).map(|place| (place, self.ends.get(&place).copied().unwrap_or(0))).collect();
            let mut rows = vec![Row { partition, key: POSITIONS_ROW.to_vec(), value: encode_positions(&positions) }];
            rows.extend(newest.iter().filter_map(|(key, value)| Some(Row { partition, key: key.to_vec(), value: value.clone()? })));
            let records: Vec<Sent<'_>> = rows.iter().map(|row| row.sent(&changelog)).collect();
            // A place at its beginning need not be there yet; that the group knows nothing of it says the same.
            let begun: Positions = positions.into_iter().filter(|(_, position)| *position > 0).collect();
            let reached = Reached { positions: &begun, group: &group };
            self.transactor.commit(&records, (!begun.is_empty()).then_some(&reached))?;
        }
        Ok(())
    }
}

impl Row {
    fn sent<'r>(&'r self, changelog: &'r str) -> Sent<'r> {
        let Self { partition, key, value } = self;
        Sent { topic: changelog, partition: *partition, key, value: Some(value), headers: &[], timestamp_ms: None }
    }
}

/// A row's key and value.
type KeyValue = (Vec<u8>, Vec<u8>);

/// Rows from a key on, about as much as one transaction writes.
fn page(task: TaskId, state: &dyn Store, from: &[u8]) -> Result<Vec<KeyValue>, HostError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let scanned = state.scan(&[], from, &mut |key, value| {
        bytes += key.len() + value.len();
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() >= PAGE_RECORDS || bytes >= PAGE_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    scanned.map_err(|source| HostError::Stage { task, source: source.into() })?;
    Ok(rows)
}
