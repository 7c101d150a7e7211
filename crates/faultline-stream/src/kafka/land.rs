//! Commits on their way: threads that bring each through its transaction, and then into the local store, while its task works on.
//!
//! There are as many threads as workers, and some for doors. Who begins a commit waits until a thread takes it, so that no more are in flight.
//! A producer serves one transaction at a time, whoever's it is: a task's, or a door's. There are more of them than threads, so that each can rest.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use faultline_core::store::Changes;

use super::cluster::{Brokers, Kept};
use super::lanes::Fetchers;
use super::opening::encode_positions;
use super::options::{Guarantee, KafkaOptions};
use super::transact::{Reached, Sent, Transactor, row_of, sent};
use super::unfenced::{Joined, in_order};
use super::{KafkaError, POSITIONS_ROW};
use crate::commit::{Commit, Ending, TaskId};
use crate::embedded::EmbeddedLog;
use crate::error::HostError;
use crate::log::{Gauge, Place, Positions, Record};
use crate::pool::panicked;
use crate::sync::held;
use crate::telemetry::Kind;

/// A producer that begins a transaction while brokers still write the marks of its last one is turned away, and librdkafka asks again after
/// 20 ms: as long as all the rest of a commit. So it rests for so long, while others serve.
const REST: Duration = Duration::from_millis(50);
/// So that there is one that has rested.
pub(crate) const PRODUCERS_A_WRITER: usize = 2;

type Outcome = Result<Vec<u64>, HostError>;

/// Producers that are free, by number; one whose transaction went wrong is made anew.
pub(crate) struct Transactors {
    options: KafkaOptions,
    /// The one that was given back last is the last.
    free: Mutex<Vec<Free>>,
    given_back: Condvar,
    committed: AtomicU64,
    failed: AtomicU64,
}

struct Free {
    number: usize,
    /// Nothing where its transaction went wrong. It is to be made anew as soon as there is need of one: that ends what is left open.
    transactor: Option<Transactor>,
    /// Since when it rests. One that never served needs no rest, nor does one that is made anew.
    rests: Option<Instant>,
}

/// The one that served last of those that have rested, whose connections are still there; where none has, the one that rests for the longest.
fn rested(free: &mut Vec<Free>, now: Instant) -> Option<Free> {
    let has_rested = |free: &Free| free.rests.is_none_or(|since| now.saturating_duration_since(since) >= REST);
    let at = free.iter().rposition(has_rested).unwrap_or(0);
    (at < free.len()).then(|| free.remove(at))
}

impl Transactors {
    pub(crate) fn gauges(&self) -> [Gauge; 2] {
        let gauge = |name, help, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            Gauge { name, help, kind: Kind::Counter, label: None, value }
        };
        [
            gauge("faultline_transactions_committed_total", "Transactions that were committed.", &self.committed),
            gauge("faultline_transactions_failed_total", "Transactions that were aborted, timed out or fenced.", &self.failed),
        ]
    }

    /// At once: each ends the transaction that its forerunner may have left open, which readers of what is committed wait for.
    pub(crate) fn new(options: &KafkaOptions, writers: usize) -> Result<Self, HostError> {
        let refused = |error| match error {
            HostError::Kafka(KafkaError::Transaction { reason }) => KafkaError::NoTransactions { reason }.into(),
            error => error,
        };
        let made = |number| Ok(Free { number, transactor: Some(Transactor::new(options, number).map_err(refused)?), rests: None });
        let free = (0..writers).map(made).collect::<Result<_, HostError>>()?;
        Ok(Self {
            options: options.clone(),
            free: Mutex::new(free),
            given_back: Condvar::new(),
            committed: AtomicU64::default(),
            failed: AtomicU64::default(),
        })
    }

    pub(crate) fn transact(&self, records: &[Sent<'_>], reached: Option<&Reached<'_>>) -> Outcome {
        let mut taken = self.take();
        let made = taken.transactor.take().map_or_else(|| Transactor::new(&self.options, taken.number), Ok);
        let written = made.and_then(|transactor| {
            let written = transactor.commit(records, reached);
            taken.transactor = written.is_ok().then_some(transactor);
            written
        });
        let count = if written.is_ok() { &self.committed } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        written
    }

    /// Waits for one that is free.
    fn take(&self) -> Taken<'_> {
        let mut free = held(&self.free);
        loop {
            match rested(&mut free, Instant::now()) {
                Some(Free { number, transactor, .. }) => return Taken { of: self, number, transactor },
                None => free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// A producer in somebody's hands. It is given back however that ends: after a panic there is none of its number, and it is made anew.
struct Taken<'t> {
    of: &'t Transactors,
    number: usize,
    transactor: Option<Transactor>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let transactor = self.transactor.take();
        let rests = transactor.is_some().then(Instant::now);
        held(&self.of.free).push(Free { number: self.number, transactor, rests });
        self.of.given_back.notify_one();
    }
}

/// A commit on its way, by a member of a group.
pub(crate) struct Job<G = Joined> {
    pub(crate) task: TaskId,
    pub(crate) outputs: Vec<Record>,
    pub(crate) changes: Arc<Changes>,
    /// Inputs that moved.
    pub(crate) moved: Positions,
    /// All of the task's, which are in `changes` as well.
    pub(crate) all: Positions,
    /// What the group is told: what moved of its own topics, and the task's first input in any case.
    pub(crate) reached: Positions,
    pub(crate) group: G,
}

impl<G> Job<G> {
    /// A commit of a task that was at positions before, of a group over a topic.
    pub(crate) fn new(commit: Commit, before: Positions, lead: &'static str, group: G) -> Self {
        let Commit { task, positions: moved, mut changes, outputs } = commit;
        let mut all = before;
        all.extend(&moved);
        let lead = (lead, task.partition);
        let mut reached = moved.clone();
        reached.insert(lead, all.get(&lead).copied().unwrap_or(0));
        changes.insert(POSITIONS_ROW.to_vec(), Some(encode_positions(&all)));
        Self { task, outputs, changes: Arc::new(changes), moved, all, reached, group }
    }
}

/// Where commits land.
pub(crate) struct Landing<B, K> {
    pub(crate) brokers: B,
    pub(crate) local: Arc<K>,
    pub(crate) positions: Arc<Mutex<BTreeMap<TaskId, Positions>>>,
}

/// The cluster, as commits go to it.
pub(crate) struct ToBrokers {
    pub(crate) transactors: Arc<Transactors>,
    pub(crate) fetcher: Arc<Fetchers>,
}

impl Brokers for ToBrokers {
    type Group = Joined;

    fn changelog(&self, stage: &str) -> String {
        self.transactors.options.names.changelog(stage)
    }

    fn transact(&self, records: &[Sent<'_>], reached: Option<&Reached<'_>>) -> Outcome {
        self.transactors.transact(records, reached)
    }

    fn commit(&self, records: &[Sent<'_>], said: usize, reached: &Reached<'_>) -> Outcome {
        match self.transactors.options.guarantee {
            Guarantee::ExactlyOnce => self.transact(records, Some(reached)),
            Guarantee::AtLeastOnce => {
                let (outputs, rows) = records.split_at(said);
                let rows = in_order(rows, |rows| self.transact(rows, None))?;
                Ok([self.transact(outputs, Some(reached))?, rows].concat())
            }
        }
    }

    fn passed(&self, place: Place, position: u64) {
        self.fetcher.committed(place, position);
    }
}

impl<B: Brokers, K: Kept> Landing<B, K> {
    pub(crate) fn land(&self, job: Job<B::Group>) -> Outcome {
        let Job { task, outputs, changes, moved, all, reached, group } = job;
        let changelog = self.brokers.changelog(task.stage);
        let mut records: Vec<Sent<'_>> = outputs.iter().map(sent).collect();
        let said = records.len();
        records.extend(changes.iter().map(|row| row_of(&changelog, task.partition, row)));
        let mut offsets = self.brokers.commit(&records, said, &Reached { positions: &reached, group: &group })?;
        drop(records);
        // The store sees nothing before the transaction is committed: what it writes out early could never be taken back.
        let next = offsets.split_off(said).last().map_or(0, |last| last + 1);
        self.local.keep(task, &changes, next)?;
        for (place, position) in moved {
            self.brokers.passed(place, position);
        }
        held(&self.positions).insert(task, all);
        Ok(offsets)
    }
}

type Asked = (Job, SyncSender<Outcome>);

pub(crate) struct Lander {
    jobs: Option<SyncSender<Asked>>,
    threads: Vec<JoinHandle<()>>,
}

impl Lander {
    pub(crate) fn start(landing: Landing<ToBrokers, EmbeddedLog>, writers: usize) -> Result<Self, HostError> {
        let (jobs, asked) = sync_channel::<Asked>(0);
        let (landing, asked) = (Arc::new(landing), Arc::new(Mutex::new(asked)));
        let mut lander = Self { jobs: Some(jobs), threads: Vec::new() };
        for number in 0..writers {
            let (landing, asked) = (landing.clone(), asked.clone());
            let thread = std::thread::Builder::new().name(format!("kafka-commit-{number}")).spawn(move || {
                loop {
                    // The lock is for whose turn it is to wait.
                    let next = held(&asked).recv();
                    let Ok((job, answers)) = next else { return };
                    let task = job.task;
                    let landed = catch_unwind(AssertUnwindSafe(|| landing.land(job)));
                    // Who asked may have gone.
                    let _ = answers.send(landed.unwrap_or_else(|panic| Err(panicked(task, &*panic))));
                    landing.local.bell().ring();
                }
            });
            lander.threads.push(thread.map_err(|source| HostError::Thread { source })?);
        }
        Ok(lander)
    }

    /// Returns when a thread has taken it.
    pub(crate) fn begin(&self, job: Job) -> Result<OnItsWay, HostError> {
        let (answers, answer) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send((job, answers)).map_err(|_| gone())?;
        Ok(OnItsWay { answer, outcome: None })
    }
}

impl Drop for Lander {
    /// Ends what has begun.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn gone() -> HostError {
    KafkaError::Transaction { reason: "the threads that commit have stopped".to_owned() }.into()
}

/// The end of a commit that a thread has taken.
pub(crate) struct OnItsWay {
    answer: Receiver<Outcome>,
    outcome: Option<Outcome>,
}

impl Ending for OnItsWay {
    fn is_here(&mut self) -> bool {
        self.outcome = self.outcome.take().or_else(|| self.answer.try_recv().ok());
        self.outcome.is_some()
    }

    fn wait(self: Box<Self>) -> Outcome {
        self.outcome.unwrap_or_else(|| self.answer.recv().unwrap_or_else(|_| Err(gone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_gives_the_producer_back_to_be_made_anew() {
        let transactors = Transactors {
            options: KafkaOptions::new("127.0.0.1:1", "test", "one"),
            free: Mutex::new(vec![Free { number: 7, transactor: None, rests: None }]),
            given_back: Condvar::new(),
            committed: AtomicU64::default(),
            failed: AtomicU64::default(),
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _taken = transactors.take();
            assert!(held(&transactors.free).is_empty());
            std::panic::resume_unwind(Box::new("at work"));
        }));
        assert!(panicked.is_err());
        let taken = transactors.take();
        assert!(taken.number == 7 && taken.transactor.is_none());
    }

    #[test]
    fn a_producer_rests_while_there_are_others_and_one_that_failed_does_not_wait() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let free = |number, rests: Option<u64>| Free { number, transactor: None, rests: rests.map(at) };
        let take = |mut all: Vec<Free>, now| rested(&mut all, at(now)).map(|free| free.number);
        let all = || vec![free(0, Some(0)), free(1, Some(30)), free(2, Some(60))];
        assert_eq!(take(all(), 100), Some(1), "the last that has rested");
        assert_eq!(take(all(), 1_000), Some(2));
        assert_eq!(take(all(), 40), Some(0), "none has: the one that rests for the longest");
        assert_eq!(take(all().into_iter().chain([free(3, None)]).collect(), 40), Some(3), "one that is made anew");
        assert_eq!(take(Vec::new(), 0), None);
    }
}
