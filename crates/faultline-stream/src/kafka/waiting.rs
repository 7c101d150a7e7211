//! Commits that wait for a thread, and which of them share a transaction: what takes time is its way to the brokers and back, and what they do
//! for each, however much is in it.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::land::{Job, Outcome};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::sync::held;

/// What may be in a transaction that commits share, and what may wait for one. Who has more has one alone, and waits where nobody else does.
pub(crate) const SHARED_BYTES: usize = 2 << 20;

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
    fn has_room(&self, bytes: usize, most_bytes: usize) -> bool {
        self.jobs.is_empty() || self.jobs.iter().map(|(job, _)| job.bytes).sum::<usize>() + bytes <= most_bytes
    }

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

    /// Takes note of what became of a task's transaction. One that is committed, and could not be kept here, came to something. Gives whether this is
    /// the first in a row that did not.
    pub(crate) fn ended(&mut self, task: TaskId, landed: &Outcome) -> bool {
        if matches!(landed, Err(HostError::Kafka(_))) {
            return self.alone.insert(task);
        }
        self.alone.remove(&task);
        false
    }

    /// Takes a task's commit back, if it still waits. Gives whether it did.
    pub(crate) fn withdraw(&mut self, task: TaskId) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|(job, _)| job.task != task);
        self.jobs.len() < before
    }
}

/// Those that wait, between the tasks that come and the threads that take them.
pub(crate) struct Queue<G, A> {
    /// And whether it is the end.
    inner: Mutex<(Waiting<G, A>, bool)>,
    came: Condvar,
    left: Condvar,
    /// Whose turn it is to join: so who has much waits until there is room for it, and nobody who has little gets there before it again and again.
    turn: Mutex<()>,
    most_bytes: usize,
}

impl<G, A> Queue<G, A> {
    pub(crate) fn new(most_bytes: usize) -> Self {
        let (inner, came, left, turn) = Default::default();
        Self { inner, came, left, turn, most_bytes }
    }

    /// Waits for room. Who speaks for the job is asked while no other one can join: so those that wait are in the order of the generations that
    /// they name.
    pub(crate) fn join(&self, job: Job<()>, answers: A, group: impl FnOnce() -> Result<G, HostError>) -> Result<(), HostError> {
        let _turn = held(&self.turn);
        let mut inner = held(&self.inner);
        while !inner.0.has_room(job.bytes, self.most_bytes) {
            inner = self.left.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        drop(inner);
        let job = job.of(group()?);
        held(&self.inner).0.push(job, answers);
        self.came.notify_one();
        Ok(())
    }

    /// Waits for what goes into the next transaction; nothing at the end.
    pub(crate) fn next(&self) -> Vec<(Job<G>, A)> {
        let mut inner = held(&self.inner);
        loop {
            let next = inner.0.next(self.most_bytes);
            if !next.is_empty() || inner.1 {
                // One has the turn.
                self.left.notify_one();
                return next;
            }
            inner = self.came.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn ended(&self, task: TaskId, landed: &Outcome) {
        let begins_to_fail = held(&self.inner).0.ended(task, landed);
        if begins_to_fail {
            tracing::warn!(%task, "its transaction came to nothing; it is opened again, and has one alone");
        }
    }

    /// Takes a task's commit back, if no thread has taken it. Gives whether it did.
    pub(crate) fn withdraw(&self, task: TaskId) -> bool {
        let is_back = held(&self.inner).0.withdraw(task);
        if is_back {
            self.left.notify_one();
        }
        is_back
    }

    /// What waits is still taken, then it is the end.
    pub(crate) fn close(&self) {
        held(&self.inner).1 = true;
        self.came.notify_all();
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::channel;

    use faultline_core::store::Changes;

    use super::*;
    use crate::commit::Commit;
    use crate::kafka::land::gone;
    use crate::log::{Positions, Record};

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
    fn as_much_waits_as_a_transaction_may_have_and_what_has_more_where_nobody_waits() {
        let mut waiting = Waiting::<u32, ()>::default();
        assert!(waiting.has_room(5000, 600));
        let bytes = job("one", 0, 100).bytes;
        waiting.push(job("one", 0, 100), ());
        assert!(waiting.has_room(600 - bytes, 600) && !waiting.has_room(601 - bytes, 600));
        waiting.next(600);
        assert!(waiting.has_room(5000, 600));
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
        assert!(waiting.ended(task(0), &Err(gone())) && waiting.ended(task(2), &Err(gone())));
        assert!(!waiting.ended(task(0), &Err(gone())), "it was told before");
        assert_eq!(next(&mut waiting), [vec![0], vec![1, 3], vec![2]]);
        waiting.ended(task(2), &Ok(Vec::new()));
        assert_eq!(next(&mut waiting), [vec![0], vec![1, 2, 3]]);
        waiting.ended(task(0), &Err(HostError::Stopped));
        assert_eq!(next(&mut waiting), [[0, 1, 2, 3]], "it was committed");
    }

    /// Of a partition that is also the group's generation: one row of so many bytes, an output, a position of its own.
    pub(in crate::kafka) fn job(stage: &'static str, partition: u32, bytes: usize) -> Job<u32> {
        let task = TaskId { stage, partition };
        let key = b"key".to_vec();
        let outputs = vec![Record { topic: "output", partition, key, value: None, headers: Vec::new().into(), timestamp_ms: 0 }];
        let changes = Changes::from([(vec![1], Some(vec![0; bytes]))]);
        let commit = Commit { task, positions: Positions::from([(("input", partition), 7)]), changes, outputs };
        Job::new(commit, Positions::new(), "input").of(partition)
    }

    #[test]
    fn who_has_much_waits_for_room_and_nobody_comes_before_it() {
        let queue = Queue::<u32, u32>::new(600);
        let (joined, order) = channel();
        let join = |partition, bytes| {
            let Job { task, outputs, changes, moved, all, reached, bytes, .. } = job("one", partition, bytes);
            let job = Job { task, outputs, changes, moved, all, reached, group: (), bytes };
            queue.join(job, partition, || Ok(partition)).unwrap();
            joined.send(partition).unwrap();
        };
        let next = || queue.next().into_iter().map(|(_, partition)| partition).collect::<Vec<_>>();
        join(0, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| join(1, 5000));
            // It has its turn.
            while queue.turn.try_lock().is_ok() {
                std::thread::yield_now();
            }
            scope.spawn(|| join(2, 1));
            assert_eq!(order.recv().unwrap(), 0);
            assert!(order.try_recv().is_err());
            assert_eq!(next(), [0]);
            assert_eq!(order.recv().unwrap(), 1);
            assert_eq!(next(), [1]);
            assert_eq!(order.recv().unwrap(), 2);
            assert_eq!(next(), [2]);
            queue.close();
            assert!(next().is_empty());
        });
    }

    #[test]
    fn what_no_thread_has_taken_is_given_up_and_makes_room() {
        let queue = Queue::<u32, u32>::new(600);
        let mut waiting = Waiting::<u32, u32>::default();
        waiting.push(job("one", 0, 1), 0);
        waiting.push(job("one", 1, 5000), 1);
        *held(&queue.inner) = (waiting, false);
        let task = |partition| TaskId { stage: "one", partition };
        assert!(!queue.withdraw(task(2)) && queue.withdraw(task(1)) && !queue.withdraw(task(1)));
        assert_eq!(queue.next().len(), 1);
        assert!(!queue.withdraw(task(0)), "a thread has it");
    }
}
