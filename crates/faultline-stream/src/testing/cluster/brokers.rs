//! The cluster: partitions with records of transactions, their marks, producers and groups. It answers as Kafka's protocol has it, and what
//! that leaves open the seed says.
//!
//! A transaction is decided at one moment; the mark that says so comes into each of its partitions, and to the positions of its group,
//! some time later and in any order. Until then what it wrote there is neither read nor passed over.

use std::collections::{BTreeMap, BTreeSet};

use faultline_core::store::{Changes, MemoryStore};

use crate::commit::TaskId;
use crate::error::HostError;
use crate::kafka::cluster::{Next, Tell};
use crate::kafka::{KafkaError, changelog_of};
use crate::log::{Place, Positions, Stored};
use crate::testing::Random;

/// A partition of any topic, changelogs included.
type At = (String, u32);

pub(super) fn at(topic: &str, partition: u32) -> At {
    (topic.to_owned(), partition)
}

/// A passing refusal.
pub(super) fn refused(reason: &str) -> HostError {
    KafkaError::Transaction { reason: reason.to_owned() }.into()
}

/// Membership in a group as of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) instance: usize,
    pub(super) life: u64,
    pub(super) generation: u64,
}

pub(super) struct Brokers {
    pub(super) random: Random,
    /// Whether answers get lost.
    pub(super) is_faulty: bool,
    pub(super) now: u64,
    /// How often something was written.
    pub(super) writes: u64,
    partitions: BTreeMap<At, Partition>,
    producers: BTreeMap<(usize, usize), Producer>,
    transactions: BTreeMap<u64, Transaction>,
    /// Also those that are over.
    aborted: BTreeSet<u64>,
    groups: BTreeMap<&'static str, Group>,
}

#[derive(Default)]
struct Partition {
    entries: BTreeMap<u64, Entry>,
    end: u64,
    /// Transactions whose mark is still to come, with their first offset here.
    open: BTreeMap<u64, u64>,
    aborted: BTreeSet<u64>,
    /// Behind the last word that a key went which was dropped.
    horizon: u64,
}

/// A record, or the mark of a transaction.
struct Entry {
    transaction: Option<u64>,
    record: Option<Stored>,
}

#[derive(Default)]
struct Producer {
    epoch: u64,
    last: Option<u64>,
}

struct Transaction {
    producer: (usize, usize),
    epoch: u64,
    outcome: Outcome,
    /// The word to commit it is on its way.
    is_asked: bool,
    /// Where its mark is to come.
    marks: Vec<Mark>,
    touched: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Committed,
    Aborted,
}

enum Mark {
    Partition(At),
    Group(&'static str),
}

#[derive(Default)]
struct Group {
    generation: u64,
    members: BTreeMap<usize, u64>,
    /// With when each was written: the word that was written last holds, in whatever order the marks come.
    committed: BTreeMap<Place, (u64, u64)>,
    pending: BTreeMap<u64, (u64, Positions)>,
}

impl Partition {
    fn stable(&self) -> u64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    fn push(&mut self, transaction: Option<u64>, record: Option<Stored>) -> u64 {
        let offset = self.end;
        self.end += 1;
        self.entries.insert(offset, Entry { transaction, record: record.map(|record| Stored { offset, ..record }) });
        offset
    }

    /// What is committed from an offset on.
    fn committed(&self, from: u64) -> impl Iterator<Item = &Stored> {
        let entries = self.entries.range(from.min(self.stable())..self.stable()).map(|(_, entry)| entry);
        let is_committed = |entry: &&Entry| entry.transaction.is_none_or(|transaction| !self.aborted.contains(&transaction));
        entries.filter(is_committed).filter_map(|entry| entry.record.as_ref())
    }

    /// Drops what is superseded below an offset, and, if so told, the words that a key went.
    fn compact(&mut self, below: u64, drops_gone: bool) {
        let below = below.min(self.stable());
        let newest: BTreeMap<Vec<u8>, (u64, bool)> = self
            .committed(0)
            .take_while(|record| record.offset < below)
            .map(|record| (record.key.clone(), (record.offset, record.value.is_none())))
            .collect();
        let gone: BTreeSet<u64> = newest.values().filter(|(_, is_gone)| *is_gone && drops_gone).map(|(offset, _)| *offset).collect();
        let kept: BTreeSet<u64> = newest.into_values().map(|(offset, _)| offset).filter(|offset| !gone.contains(offset)).collect();
        self.horizon = gone.last().map_or(self.horizon, |last| self.horizon.max(last + 1));
        self.entries.retain(|offset, _| *offset >= below || kept.contains(offset));
    }
}

impl Brokers {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            is_faulty: true,
            now: 0,
            writes: 0,
            partitions: BTreeMap::new(),
            producers: BTreeMap::new(),
            transactions: BTreeMap::new(),
            aborted: BTreeSet::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Whether something goes wrong that does so once in so many times.
    pub(super) fn fails_once_in(&mut self, times: usize) -> bool {
        self.is_faulty && self.random.once_in(times)
    }

    fn partition(&self, at: &At) -> Option<&Partition> {
        self.partitions.get(at)
    }

    // ---- what is read ----

    pub(super) fn end(&self, at: &At) -> u64 {
        self.partition(at).map_or(0, |partition| partition.end)
    }

    pub(super) fn stable(&self, at: &At) -> u64 {
        self.partition(at).map_or(0, Partition::stable)
    }

    pub(super) fn horizon(&self, at: &At) -> u64 {
        self.partition(at).map_or(0, |partition| partition.horizon)
    }

    pub(super) fn committed(&self, at: &At, from: u64) -> impl Iterator<Item = &Stored> {
        self.partition(at).into_iter().flat_map(move |partition| partition.committed(from))
    }

    pub(super) fn next(&self, at: &At, from: u64, tell: &mut Tell<'_>) -> Next {
        let Some(record) = self.committed(at, from).next() else { return Next::End };
        tell(record.offset, &record.key, record.value.as_deref());
        Next::Row
    }

    /// What a changelog comes to.
    pub(super) fn state(&self, task: TaskId) -> MemoryStore {
        let at = at(&changelog_of(task.stage), task.partition);
        let rows = self.committed(&at, 0);
        let changes: Changes = rows.map(|row| (row.key.clone(), row.value.clone())).collect();
        let mut state = MemoryStore::default();
        state.apply(changes);
        state
    }

    /// Nothing while a transaction is open that could change them.
    pub(super) fn positions(&self, stage: &'static str, places: &[Place]) -> Option<Positions> {
        let Some(group) = self.groups.get(stage) else { return Some(Positions::new()) };
        let is_unstable = group.pending.values().any(|(_, positions)| places.iter().any(|place| positions.contains_key(place)));
        let known = places.iter().filter_map(|place| Some((*place, group.committed.get(place)?.1)));
        (!is_unstable).then(|| known.collect())
    }

    // ---- what is written ----

    pub(super) fn append(&mut self, at: At, record: Stored) {
        self.writes += 1;
        self.partitions.entry(at).or_default().push(None, Some(record));
    }

    /// A new epoch for a producer, once what its forerunner left open has ended.
    pub(super) fn init(&mut self, name: (usize, usize)) -> Option<u64> {
        let last = self.producers.entry(name).or_default().last;
        if let Some(transaction) = last.and_then(|last| self.transactions.get(&last)) {
            if transaction.outcome == Outcome::Open {
                self.end_transaction(last?, Outcome::Aborted);
            }
            return None;
        }
        let producer = self.producers.entry(name).or_default();
        producer.epoch += 1;
        Some(producer.epoch)
    }

    /// Nothing while the marks of the last transaction are still to come.
    pub(super) fn begin(&mut self, name: (usize, usize), epoch: u64) -> Result<Option<u64>, HostError> {
        let producer = self.producers.entry(name).or_default();
        if producer.epoch != epoch {
            return Err(refused("the producer is fenced"));
        }
        if producer.last.is_some_and(|last| self.transactions.contains_key(&last)) {
            return Ok(None);
        }
        let number = self.writes + 1;
        self.writes = number;
        producer.last = Some(number);
        let (outcome, touched) = (Outcome::Open, self.now);
        self.transactions.insert(number, Transaction { producer: name, epoch, outcome, is_asked: false, marks: Vec::new(), touched });
        Ok(Some(number))
    }

    /// A transaction that its producer may still add to.
    fn open(&mut self, number: u64) -> Result<&mut Transaction, HostError> {
        let transaction = self.transactions.get_mut(&number).ok_or_else(|| refused("the transaction has ended"))?;
        let epoch = self.producers.get(&transaction.producer).map_or(0, |producer| producer.epoch);
        if transaction.outcome != Outcome::Open || transaction.epoch != epoch {
            return Err(refused("the producer is fenced"));
        }
        transaction.touched = self.now;
        Ok(transaction)
    }

    pub(super) fn produce(&mut self, number: u64, at: At, record: Stored) -> Result<u64, HostError> {
        let transaction = self.open(number)?;
        let is_new = !transaction.marks.iter().any(|mark| matches!(mark, Mark::Partition(marked) if *marked == at));
        if is_new {
            transaction.marks.push(Mark::Partition(at.clone()));
        }
        let partition = self.partitions.entry(at).or_default();
        let offset = partition.push(Some(number), Some(record));
        partition.open.entry(number).or_insert(offset);
        Ok(offset)
    }

    /// Positions of a group, which looks whether they come from a member of now.
    pub(super) fn reach(&mut self, number: u64, stage: &'static str, member: Member, positions: &Positions) -> Result<(), HostError> {
        self.open(number)?.marks.push(Mark::Group(stage));
        self.writes += 1;
        let group = self.groups.entry(stage).or_default();
        if group.generation != member.generation || group.members.get(&member.instance) != Some(&member.life) {
            return Err(refused("the group's generation is another"));
        }
        group.pending.insert(number, (self.writes, positions.clone()));
        Ok(())
    }

    /// Sends the word to commit off.
    pub(super) fn ask(&mut self, number: u64) -> Result<(), HostError> {
        self.open(number)?.is_asked = true;
        Ok(())
    }

    pub(super) fn abort(&mut self, number: u64) {
        if self.open(number).is_ok() {
            self.end_transaction(number, Outcome::Aborted);
        }
    }

    pub(super) fn outcome(&self, number: u64) -> Outcome {
        let over = if self.aborted.contains(&number) { Outcome::Aborted } else { Outcome::Committed };
        self.transactions.get(&number).map_or(over, |transaction| transaction.outcome)
    }

    fn end_transaction(&mut self, number: u64, outcome: Outcome) {
        let Some(transaction) = self.transactions.get_mut(&number) else { return };
        transaction.outcome = outcome;
        self.writes += 1;
        if outcome == Outcome::Aborted {
            self.aborted.insert(number);
            // Whoever aborts it for its producer fences that.
            if let Some(producer) = self.producers.get_mut(&transaction.producer) {
                producer.epoch += 1;
            }
        }
    }

    // ---- what happens in time ----

    /// Something of what is under way happens. False if nothing is.
    pub(super) fn goes_on(&mut self) -> bool {
        let of = |is: &dyn Fn(&Transaction) -> bool| -> Vec<u64> {
            self.transactions.iter().filter(|(_, transaction)| is(transaction)).map(|(number, _)| *number).collect()
        };
        let asked = of(&|transaction| transaction.outcome == Outcome::Open && transaction.is_asked);
        let decided = of(&|transaction| transaction.outcome != Outcome::Open);
        let (many, all) = (asked.len(), asked.into_iter().chain(decided).collect::<Vec<u64>>());
        let chosen = self.random.below(all.len());
        let Some(&number) = all.get(chosen) else { return false };
        if chosen < many {
            self.end_transaction(number, Outcome::Committed);
        } else {
            self.mark(number);
        }
        true
    }

    /// The mark of a decided transaction comes to one more place; behind the last one it is over.
    fn mark(&mut self, number: u64) {
        self.writes += 1;
        let Some(transaction) = self.transactions.get_mut(&number) else { return };
        if transaction.marks.is_empty() {
            self.transactions.remove(&number);
            return;
        }
        let is_committed = transaction.outcome == Outcome::Committed;
        match transaction.marks.swap_remove(self.random.below(transaction.marks.len())) {
            Mark::Partition(at) => {
                let partition = self.partitions.entry(at).or_default();
                partition.push(None, None);
                partition.open.remove(&number);
                if !is_committed {
                    partition.aborted.insert(number);
                }
            }
            Mark::Group(stage) => {
                let group = self.groups.entry(stage).or_default();
                let (written, positions) = group.pending.remove(&number).unwrap_or_default();
                for (place, position) in positions.into_iter().filter(|_| is_committed) {
                    let known = group.committed.entry(place).or_default();
                    *known = (*known).max((written, position));
                }
            }
        }
    }

    /// A transaction that was left alone for so long is aborted. False if there is none.
    pub(super) fn time_out(&mut self, left_for: u64) -> bool {
        let is_left = |transaction: &Transaction| transaction.outcome == Outcome::Open && self.now - transaction.touched >= left_for;
        let found = self.transactions.iter().find(|(_, transaction)| is_left(transaction)).map(|(number, _)| *number);
        if let Some(number) = found {
            self.end_transaction(number, Outcome::Aborted);
        }
        found.is_some()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.transactions.is_empty()
    }

    /// The cleaner goes over a partition.
    pub(super) fn compact(&mut self, at: &At, drops_gone: bool) {
        let below = self.random.below(self.end(at) as usize + 1) as u64;
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.compact(below, drops_gone);
        }
    }

    /// A group forgets positions, but for those of the topic that it is over.
    pub(super) fn forget_positions(&mut self, stage: &'static str, lead: &str) {
        if let Some(group) = self.groups.get_mut(stage) {
            group.committed.retain(|(topic, _), _| *topic == lead);
        }
    }

    // ---- groups ----

    pub(super) fn is_member(&self, stage: &'static str, instance: usize, life: u64) -> bool {
        self.groups.get(stage).is_some_and(|group| group.members.get(&instance) == Some(&life))
    }

    /// A new generation, of these members.
    pub(super) fn regroup(&mut self, stage: &'static str, members: BTreeMap<usize, u64>) -> u64 {
        self.writes += 1;
        let group = self.groups.entry(stage).or_default();
        group.generation += 1;
        group.members = members;
        group.generation
    }
}
