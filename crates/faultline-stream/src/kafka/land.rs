//! Commits on their way: threads that bring each through its transaction, and then into the local store, while its task works on.
//!
//! There are as many threads as producers: as many as workers, and some for doors. A task has one commit on its way at most, so no more wait
//! than there are tasks. Those of one stage that wait when a thread is free share a transaction: what takes time is its way to the brokers and
//! back, however much is in it. A producer serves one transaction at a time, whoever's it is: that of tasks, or a door's.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use faultline_core::store::Changes;

use super::cluster::{Brokers, Kept};
use super::lanes::Fetchers;
use super::opening::encode_positions;
use super::options::{Guarantee, KafkaOptions};
use super::transact::{Reached, Sent, Transactor, row_of, sent};
use super::unfenced::{Joined, in_order};
use super::{KafkaError, POSITIONS_ROW};
use crate::commit::{Commit, Ending, InFlight, TaskId};
use crate::embedded::EmbeddedLog;
use crate::error::HostError;
use crate::log::{Gauge, Place, Positions, Record};
use crate::pool::panicked;
use crate::sync::held;
use crate::telemetry::Kind;

/// What may be in a transaction that commits share. Who has more has one alone.
const SHARED_BYTES: usize = 2 << 20;
/// What a record costs beside what is in it, about.
const RECORD_BYTES: usize = 50;

type Outcome = Result<Vec<u64>, HostError>;

/// Producers that are free, by number; one whose transaction went wrong is made anew.
pub(crate) struct Transactors {
    options: KafkaOptions,
    free: Mutex<Vec<(usize, Option<Transactor>)>>,
    given_back: Condvar,
    committed: AtomicU64,
    failed: AtomicU64,
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
        let made = |number| Ok((number, Some(Transactor::new(options, number).map_err(refused)?)));
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
            match free.pop() {
                Some((number, transactor)) => return Taken { of: self, number, transactor },
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
        held(&self.of.free).push((self.number, self.transactor.take()));
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
    bytes: usize,
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
        let rows: usize = changes.iter().map(|(key, row)| RECORD_BYTES + key.len() + row.as_ref().map_or(0, Vec::len)).sum();
        let bytes = rows + outputs.iter().map(|output| RECORD_BYTES + output.bytes()).sum::<usize>();
        Self { task, outputs, changes: Arc::new(changes), moved, all, reached, group, bytes }
    }
}

/// Commits that wait for a transaction, in the order in which they began, each with whom to answer.
pub(crate) struct Waiting<G, A> {
    jobs: Vec<(Job<G>, A)>,
    /// Tasks whose last transaction came to nothing. They have one alone until one is committed: a commit that can never be takes nobody along.
    alone: BTreeSet<TaskId>,
}

impl<G, A> Default for Waiting<G, A> {
    fn default() -> Self {
        Self { jobs: Vec::new(), alone: BTreeSet::new() }
    }
}

impl<G, A> Waiting<G, A> {
    pub(crate) fn push(&mut self, job: Job<G>, answers: A) {
        self.jobs.push((job, answers));
    }

    /// What goes into the next transaction: the first, and what is of its stage as long as it is not much.
    pub(crate) fn next(&mut self, most_bytes: usize) -> Vec<(Job<G>, A)> {
        let Some(first) = self.jobs.first().map(|(job, _)| job.task) else { return Vec::new() };
        let (alone, mut bytes) = (&self.alone, 0);
        let joins = |(job, _): &mut (Job<G>, A)| {
            let fits = job.task.stage == first.stage && bytes + job.bytes <= most_bytes;
            let joins = job.task == first || fits && !alone.contains(&job.task) && !alone.contains(&first);
            bytes += if joins { job.bytes } else { 0 };
            joins
        };
        self.jobs.extract_if(.., joins).collect()
    }

    /// Takes note of what became of tasks' transaction.
    pub(crate) fn ended(&mut self, tasks: impl Iterator<Item = TaskId>, is_committed: bool) {
        for task in tasks {
            if is_committed {
                self.alone.remove(&task);
            } else if self.alone.insert(task) {
                tracing::warn!(%task, "its transaction came to nothing; it is opened again, and has one alone");
            }
        }
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
    /// only grows, so if his still holds it is that of the others, and if not, none of it is committed.
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
                let mut keep = |job: &Job<B::Group>| {
                    let offsets = outputs.split_off(..job.outputs.len()).unwrap_or_default();
                    self.keep(job, offsets, rows.split_off(..job.changes.len()).unwrap_or_default())
                };
                jobs.iter().map(&mut keep).collect()
            }
            Err(error) => {
                let shared = |_| {
                    let reason = format!("the transaction that it shared with {} came to nothing: {error}", first.task);
                    Err(KafkaError::Transaction { reason }.into())
                };
                let others: Vec<Outcome> = jobs[1..].iter().map(shared).collect();
                std::iter::once(Err(error)).chain(others).collect()
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

/// Commits that wait, until there are no more.
#[derive(Default)]
struct Queue {
    /// And whether it is the end.
    waiting: Mutex<(Waiting<Joined, SyncSender<Outcome>>, bool)>,
    came: Condvar,
}

impl Queue {
    /// Waits for what goes into the next transaction; nothing at the end.
    fn next(&self, most_bytes: usize) -> Vec<(Job, SyncSender<Outcome>)> {
        let mut waiting = held(&self.waiting);
        loop {
            let next = waiting.0.next(most_bytes);
            if !next.is_empty() || waiting.1 {
                return next;
            }
            waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

pub(crate) struct Lander {
    queue: Arc<Queue>,
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
        let mut lander = Self { queue: Arc::default(), threads: Vec::new() };
        for number in 0..writers {
            let (landing, queue) = (landing.clone(), lander.queue.clone());
            let thread = std::thread::Builder::new().name(format!("kafka-commit-{number}")).spawn(move || {
                loop {
                    let (jobs, answers): (Vec<Job>, Vec<_>) = queue.next(most_bytes).into_iter().unzip();
                    if jobs.is_empty() {
                        return;
                    }
                    let landed = catch_unwind(AssertUnwindSafe(|| landing.land(&jobs)));
                    let landed = landed.unwrap_or_else(|panic| jobs.iter().map(|job| Err(panicked(job.task, &*panic))).collect());
                    held(&queue.waiting).0.ended(jobs.iter().map(|job| job.task), landed.iter().any(Result::is_ok));
                    for (landed, answers) in landed.into_iter().zip(answers) {
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

    /// The job says who it is to the group while no other one can begin: so those that wait are in the order of what they say.
    pub(crate) fn begin(&self, job: impl FnOnce() -> Result<Job, HostError>) -> Result<InFlight, HostError> {
        let (answers, answer) = sync_channel(1);
        let mut waiting = held(&self.queue.waiting);
        let job = job()?;
        let changes = job.changes.clone();
        waiting.0.push(job, answers);
        self.queue.came.notify_one();
        Ok(InFlight { changes, ending: Box::new(OnItsWay { answer, outcome: None }) })
    }
}

impl Drop for Lander {
    /// Ends what has begun.
    fn drop(&mut self) {
        held(&self.queue.waiting).1 = true;
        self.queue.came.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn gone() -> HostError {
    KafkaError::Transaction { reason: "the threads that commit have stopped".to_owned() }.into()
}

/// The end of a commit that waits for a thread, or has one.
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commits_of_a_stage_share_a_transaction_as_long_as_it_is_small() {
        let mut waiting = Waiting::<u32, u32>::default();
        for (number, (stage, bytes)) in (0..).zip([("one", 1), ("other", 1), ("one", 500), ("one", 1), ("one", 5000)]) {
            waiting.push(job(stage, number, bytes), number);
        }
        let mut next = || waiting.next(600).into_iter().map(|(_, number)| number).collect::<Vec<_>>();
        assert_eq!([next(), next(), next(), next(), next()], [vec![0, 3], vec![1], vec![2], vec![4], vec![]]);
    }

    #[test]
    fn who_failed_has_a_transaction_alone_until_one_is_committed() {
        let mut waiting = Waiting::<u32, u32>::default();
        let task = |partition| TaskId { stage: "one", partition };
        let next = |waiting: &mut Waiting<u32, u32>| {
            (0..4).for_each(|partition| waiting.push(job("one", partition, 1), partition));
            std::iter::repeat_with(|| waiting.next(1 << 20).into_iter().map(|(_, number)| number).collect::<Vec<_>>())
                .take_while(|taken| !taken.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(next(&mut waiting), [[0, 1, 2, 3]]);
        waiting.ended([0, 2].map(task).into_iter(), false);
        assert_eq!(next(&mut waiting), [vec![0], vec![1, 3], vec![2]]);
        waiting.ended([2].map(task).into_iter(), true);
        assert_eq!(next(&mut waiting), [vec![0], vec![1, 2, 3]]);
    }

    /// Of a partition that is also the group's generation: one row of so many bytes, an output, a position of its own.
    fn job(stage: &'static str, partition: u32, bytes: usize) -> Job<u32> {
        let task = TaskId { stage, partition };
        let key = b"key".to_vec();
        let outputs = vec![Record { topic: "output", partition, key, value: None, headers: Vec::new(), timestamp_ms: 0 }];
        let changes = Changes::from([(vec![1], Some(vec![0; bytes]))]);
        let commit = Commit { task, positions: Positions::from([(("input", partition), 7)]), changes, outputs };
        Job::new(commit, Positions::new(), "input", partition)
    }

    /// Numbers records from 100 on, unless all fail, and keeps what it was asked for.
    #[derive(Default)]
    struct Asked {
        fails: bool,
        reached: Mutex<Option<(Positions, u32)>>,
        kept: Mutex<BTreeMap<TaskId, u64>>,
    }

    impl Brokers for Arc<Asked> {
        type Group = u32;

        fn transact(&self, records: &[Sent<'_>], reached: Option<&Reached<'_, u32>>) -> Outcome {
            *held(&self.reached) = reached.map(|reached| (reached.positions.clone(), *reached.group));
            if self.fails { Err(gone()) } else { Ok((100..).take(records.len()).collect()) }
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
                assert!(landed.len() == 2 && landed.iter().all(Result::is_err));
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
            free: Mutex::new(vec![(7, None)]),
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
}
