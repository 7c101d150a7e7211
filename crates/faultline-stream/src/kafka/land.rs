//! Commits on their way: threads that bring each through its transaction, and then into the local store, while its task works on.
//!
//! There are as many threads as workers, and some for doors. A task has one commit on its way at most; those of one stage that wait when a thread
//! is free share a transaction (`waiting.rs`). A producer serves one transaction at a time, whoever's it is: that of tasks, or a door's. There are
//! more of them than threads, so that each can rest.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use faultline_core::store::Changes;
use rdkafka::error::RDKafkaErrorCode;

use super::admin::longest_transaction;
use super::cluster::{Brokers, Kept};
use super::lanes::Fetchers;
use super::opening::encode_positions;
use super::options::{Guarantee, KafkaOptions};
use super::transact::{Reached, Sent, Transactor, row_of, sent};
use super::unfenced::{Joined, in_order};
use super::waiting::{Queue, SHARED_BYTES};
use super::{KafkaError, POSITIONS_ROW};
use crate::commit::{Commit, Ending, InFlight, TaskId};
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
/// What a record costs beside what is in it, about.
const RECORD_BYTES: usize = 50;

pub(crate) type Outcome = Result<Vec<u64>, HostError>;

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
            HostError::Kafka(KafkaError::Refused { code: RDKafkaErrorCode::InvalidTransactionTimeout, .. }) => {
                let allowed = longest_transaction(options)
                    .map_or_else(|| "less, which this user may not see".to_owned(), |longest| format!("{longest:?}"));
                let allowed = format!("{allowed} (transaction.max.timeout.ms)");
                KafkaError::TransactionTimeout { asked: options.transaction_timeout, allowed }.into()
            }
            HostError::Kafka(KafkaError::Transaction { reason } | KafkaError::Refused { reason, .. }) => {
                KafkaError::NoTransactions { reason }.into()
            }
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
    /// Of its records.
    pub(crate) bytes: usize,
}

impl Job<()> {
    /// A commit of a task that was at positions before, of a group over a topic. Who speaks for it is still to be said.
    pub(crate) fn new(commit: Commit, before: Positions, lead: &'static str) -> Self {
        let Commit { task, positions: moved, mut changes, outputs } = commit;
        let mut all = before;
        all.extend(&moved);
        let lead = (lead, task.partition);
        let mut reached = moved.clone();
        reached.insert(lead, all.get(&lead).copied().unwrap_or(0));
        changes.insert(POSITIONS_ROW.to_vec(), Some(encode_positions(&all)));
        let rows: usize = changes.iter().map(|(key, row)| RECORD_BYTES + key.len() + row.as_ref().map_or(0, Vec::len)).sum();
        let bytes = rows + outputs.iter().map(|output| RECORD_BYTES + output.bytes()).sum::<usize>();
        Self { task, outputs, changes: Arc::new(changes), moved, all, reached, group: (), bytes }
    }

    pub(crate) fn of<G>(self, group: G) -> Job<G> {
        let Self { task, outputs, changes, moved, all, reached, group: (), bytes } = self;
        Job { task, outputs, changes, moved, all, reached, group, bytes }
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
    /// Brings commits of one stage through one transaction, each of a task of its own. Who began first speaks for all: the group's generation
    /// only grows, so if his still holds it is that of the others, and if not, none of it is committed. (A client that was refused names none, and
    /// its member all the same: that is refused too.)
    pub(crate) fn land(&self, jobs: &[Job<B::Group>]) -> Vec<Outcome> {
        let Some(first) = jobs.first() else { return Vec::new() };
        let changelog = self.brokers.changelog(first.task.stage);
        let mut records: Vec<Sent<'_>> = jobs.iter().flat_map(|job| &job.outputs).map(sent).collect();
        let said = records.len();
        for job in jobs {
            records.extend(job.changes.iter().map(|row| row_of(&changelog, job.task.partition, row)));
        }
        let reached = jobs.iter().flat_map(|job| &job.reached).map(|(place, position)| (*place, *position)).collect();
        match self.brokers.commit(&records, said, &Reached { positions: &reached, group: &first.group }) {
            Ok(offsets) => {
                let (mut outputs, mut rows) = offsets.split_at(said);
                let keep = |job: &Job<B::Group>| {
                    let offsets = outputs.split_off(..job.outputs.len()).unwrap_or_default();
                    let rows = rows.split_off(..job.changes.len()).unwrap_or_default();
                    // Where one comes to nothing here, the others are committed all the same.
                    let kept = catch_unwind(AssertUnwindSafe(|| self.keep(job, offsets, rows)));
                    kept.unwrap_or_else(|panic| Err(panicked(job.task, &*panic)))
                };
                jobs.iter().map(keep).collect()
            }
            Err(error) => {
                if jobs.len() == 1 {
                    return vec![Err(error)];
                }
                // Whose fault it is nobody knows: it passes for all, and each has a transaction alone next.
                let shared = |_| Err(KafkaError::Transaction { reason: format!("{} tasks shared it: {error}", jobs.len()) }.into());
                jobs.iter().map(shared).collect()
            }
        }
    }

    /// The store sees nothing before the transaction is committed: what it writes out early could never be taken back.
    fn keep(&self, job: &Job<B::Group>, outputs: &[u64], rows: &[u64]) -> Outcome {
        self.local.keep(job.task, &job.changes, rows.last().map_or(0, |last| last + 1))?;
        for (place, position) in &job.moved {
            self.brokers.passed(*place, *position);
        }
        held(&self.positions).insert(job.task, job.all.clone());
        Ok(outputs.to_vec())
    }
}

type Commits = Queue<Joined, SyncSender<Outcome>>;

pub(crate) struct Lander {
    commits: Arc<Commits>,
    threads: Vec<JoinHandle<()>>,
}

impl Lander {
    pub(crate) fn start(landing: Landing<ToBrokers, EmbeddedLog>, writers: usize) -> Result<Self, HostError> {
        let most_bytes = match landing.brokers.transactors.options.guarantee {
            Guarantee::ExactlyOnce => SHARED_BYTES,
            // A commit is a row of writes there, one after the other.
            Guarantee::AtLeastOnce => 0,
        };
        let landing = Arc::new(landing);
        let mut lander = Self { commits: Arc::new(Commits::new(most_bytes)), threads: Vec::new() };
        for number in 0..writers {
            let (landing, commits) = (landing.clone(), lander.commits.clone());
            let thread = std::thread::Builder::new().name(format!("kafka-commit-{number}")).spawn(move || {
                loop {
                    let (jobs, answers): (Vec<Job>, Vec<_>) = commits.next().into_iter().unzip();
                    if jobs.is_empty() {
                        return;
                    }
                    let landed = catch_unwind(AssertUnwindSafe(|| landing.land(&jobs)));
                    let landed = landed.unwrap_or_else(|panic| jobs.iter().map(|job| Err(panicked(job.task, &*panic))).collect());
                    for ((job, landed), answers) in jobs.iter().zip(landed).zip(answers) {
                        commits.ended(job.task, &landed);
                        // Who asked may have gone.
                        let _ = answers.send(landed);
                    }
                    landing.local.bell().ring();
                }
            });
            lander.threads.push(thread.map_err(|source| HostError::Thread { source })?);
        }
        Ok(lander)
    }

    /// Returns when there is room for it among those that wait. It is asked who speaks for it when nobody else can come before it.
    pub(crate) fn begin(&self, job: Job<()>, group: impl FnOnce() -> Result<Joined, HostError>) -> Result<InFlight, HostError> {
        let (answers, answer) = sync_channel(1);
        let (task, changes) = (job.task, job.changes.clone());
        self.commits.join(job, answers, group)?;
        Ok(InFlight { changes, ending: Box::new(OnItsWay { task, answer, outcome: None, commits: self.commits.clone() }) })
    }
}

impl Drop for Lander {
    /// Ends what has begun.
    fn drop(&mut self) {
        self.commits.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

pub(super) fn gone() -> HostError {
    KafkaError::Transaction { reason: "the threads that commit have stopped".to_owned() }.into()
}

/// The end of a commit that waits for a thread, or has one.
struct OnItsWay {
    task: TaskId,
    answer: Receiver<Outcome>,
    outcome: Option<Outcome>,
    commits: Arc<Commits>,
}

impl Ending for OnItsWay {
    fn is_here(&mut self) -> bool {
        self.outcome = self.outcome.take().or_else(|| self.answer.try_recv().ok());
        self.outcome.is_some()
    }

    fn wait(self: Box<Self>) -> Outcome {
        self.outcome.unwrap_or_else(|| self.answer.recv().unwrap_or_else(|_| Err(gone())))
    }

    fn give_up(self: Box<Self>) -> Outcome {
        if self.commits.withdraw(self.task) { Err(KafkaError::NotOwner { task: self.task }.into()) } else { self.wait() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kafka::waiting::tests::job;

    /// Numbers records from 100 on, unless all fail, and keeps what it was asked for.
    #[derive(Default)]
    struct Asked {
        /// With what the brokers refuse and will again.
        fails: bool,
        reached: Mutex<Option<(Positions, u32)>>,
        kept: Mutex<BTreeMap<TaskId, u64>>,
    }

    impl Brokers for Arc<Asked> {
        type Group = u32;

        fn transact(&self, records: &[Sent<'_>], reached: Option<&Reached<'_, u32>>) -> Outcome {
            *held(&self.reached) = reached.map(|reached| (reached.positions.clone(), *reached.group));
            let refused = || KafkaError::Refused { code: RDKafkaErrorCode::MessageSizeTooLarge, reason: "too large".to_owned() };
            if self.fails { Err(refused().into()) } else { Ok((100..).take(records.len()).collect()) }
        }

        fn passed(&self, _: Place, _: u64) {}
    }

    impl Kept for Asked {
        fn state<'a>(&'a self, _: TaskId) -> Box<dyn faultline_core::store::Store + 'a> {
            unreachable!("a landing reads no state")
        }

        fn keep(&self, task: TaskId, _: &Changes, next: u64) -> Result<(), HostError> {
            held(&self.kept).insert(task, next);
            Ok(())
        }

        fn kept(&self, _: TaskId) -> Result<Option<u64>, HostError> {
            unreachable!("a landing restores nothing")
        }

        fn forget(&self, _: TaskId) -> Result<(), HostError> {
            unreachable!("a landing forgets nothing")
        }

        fn copied(&self, _: &str) -> Result<u64, HostError> {
            unreachable!("a landing copies nothing")
        }

        fn await_copy(&self) {}
    }

    #[test]
    fn each_commit_of_a_shared_transaction_has_its_own_offsets_and_the_first_speaks_for_all() {
        let jobs = [3, 5].map(|partition| job("one", partition, 1));
        for fails in [false, true] {
            let asked = Arc::new(Asked { fails, ..Asked::default() });
            let landing = Landing { brokers: asked.clone(), local: asked.clone(), positions: Arc::default() };
            let landed = landing.land(&jobs);
            let reached = Positions::from([(("input", 3), 7), (("input", 5), 7)]);
            assert_eq!(*held(&asked.reached), Some((reached, 3)));
            if fails {
                // One of both is at fault, and has the next one alone.
                assert!(landed.len() == 2 && landed.iter().all(|landed| landed.as_ref().is_err_and(HostError::is_passing)));
                let alone = landing.land(&jobs[..1]);
                assert!(matches!(&alone[..], [Err(HostError::Kafka(KafkaError::Refused { .. }))]));
                assert!(held(&asked.kept).is_empty() && held(&landing.positions).is_empty());
                continue;
            }
            // Both outputs, then two rows each: the change and the positions.
            assert_eq!(landed.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [[100], [101]]);
            assert_eq!(*held(&asked.kept), BTreeMap::from([(jobs[0].task, 104), (jobs[1].task, 106)]));
            assert_eq!(held(&landing.positions)[&jobs[1].task], jobs[1].all);
        }
    }

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
