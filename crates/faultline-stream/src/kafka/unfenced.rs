//! Without transactions: a commit as a row of writes, each of which may be the last, and what is mended when a task is opened again.
//!
//! Rows of state come first, the task's positions behind them once these are there. The first row says that a commit begins: one that
//! begins and has no positions is torn, and was none. Outputs come next; they are rows of state as well (an outbox), so that who opens the
//! task says those of the last commit again. Then the group hears the positions, and the local store gets the batch. So state and outputs
//! belong together as with transactions, and outputs come twice where a process was killed. What is missing is the fence: a process that
//! slept past its session may still write what it had begun.
//!
//! Changelogs that were written with transactions begin no commits, so all of them is whole: an installation can change to this and back.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use faultline_core::store::Changes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};

use super::cluster::{Changelog, Kept, Next};
use super::opening::encode_positions;
use super::restore::begin;
use super::transact::{Sent, row_of, sent};
use super::{KafkaLog, POSITIONS_ROW};
use crate::commit::{Commit, TaskId};
use crate::embedded::Gathered;
use crate::error::HostError;
use crate::layout;
use crate::log::{Positions, Record};
use crate::task::HOST_ROWS;

/// A commit begins: how many rows of the outbox are of it (those behind are older ones), and its positions. It is before all other rows.
const BEGINS: [u8; 2] = [HOST_ROWS, b'b'];
const OUTBOX: [u8; 2] = [HOST_ROWS, b'o'];
/// A task is opened. Nobody has the row: it is written as one that went.
const OPENED: [u8; 2] = [HOST_ROWS, b'i'];

/// Commits positions of a group without a transaction.
pub(crate) trait Commits {
    fn commit_positions(&self, list: &TopicPartitionList) -> Result<(), ClientError>;
}

impl<C: ConsumerContext> Commits for BaseConsumer<C> {
    fn commit_positions(&self, list: &TopicPartitionList) -> Result<(), ClientError> {
        Consumer::commit(self, list, CommitMode::Sync)
    }
}

/// A membership in a group, as of a moment.
pub(crate) struct Joined {
    pub(crate) metadata: ConsumerGroupMetadata,
    /// Who says positions where there are no transactions, as long as it is a member.
    pub(crate) member: Weak<dyn Commits + Send + Sync>,
}

impl Joined {
    /// Nothing if there is no group.
    pub(crate) fn of<C: ConsumerContext + 'static>(consumer: &Arc<BaseConsumer<C>>) -> Option<Self> {
        let member = Arc::downgrade(consumer);
        Some(Self { metadata: consumer.group_metadata()?, member })
    }
}

impl Commits for Joined {
    fn commit_positions(&self, list: &TopicPartitionList) -> Result<(), ClientError> {
        let gone = ClientError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId);
        self.member.upgrade().ok_or(gone)?.commit_positions(list)
    }
}

/// Puts the outputs of a commit of a task that was at positions before into its changes.
pub(crate) fn keep_outputs(commit: &mut Commit, before: &Positions) {
    let mut all = before.clone();
    all.extend(&commit.positions);
    let row = |(number, output): (u32, &Record)| {
        let mut row = (output.topic.len() as u16).to_be_bytes().to_vec();
        row.extend(output.topic.as_bytes());
        row.extend(output.partition.to_be_bytes());
        layout::encode(&mut row, output);
        (outbox_key(number), Some(row))
    };
    commit.changes.extend((0..).zip(&commit.outputs).map(row));
    let begins = [&(commit.outputs.len() as u32).to_be_bytes()[..], &encode_positions(&all)].concat();
    commit.changes.insert(BEGINS.to_vec(), Some(begins));
}

fn outbox_key(number: u32) -> Vec<u8> {
    [&OUTBOX[..], &number.to_be_bytes()].concat()
}

/// Writes a commit's rows, which are in the order of their keys, and its positions once these are there: a client whose record did not
/// come through writes those behind it nevertheless. Gives offsets, the highest last.
pub(crate) fn in_order(rows: &[Sent<'_>], write: impl Fn(&[Sent<'_>]) -> Result<Vec<u64>, HostError>) -> Result<Vec<u64>, HostError> {
    let (positions, rows): (Vec<Sent<'_>>, Vec<Sent<'_>>) = rows.iter().partition(|row| row.key == POSITIONS_ROW);
    let mut offsets = write(&rows)?;
    offsets.extend(write(&positions)?);
    Ok(offsets)
}

/// What is done to the changelog of a task that is opened.
pub(crate) trait Mends {
    /// Writes to it that the task is opened: when that is there nothing that was written before comes any more.
    fn opens(&self) -> Result<(), HostError>;

    /// Takes back what is torn, and says again what may not have been said. The state is that of the last whole commit.
    fn mend(&self, tail: Tail) -> Result<(), HostError>;
}

/// What a restore found at the end of a changelog.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Keys of rows of a commit that was torn.
    pub(crate) torn: BTreeSet<Vec<u8>>,
    /// Whether there was a commit that the local store did not know.
    pub(crate) is_news: bool,
    /// Behind all of it.
    pub(crate) next: u64,
}

/// Restores a task up to the last commit that is whole, and has the rest mended. False if it was told to stop.
pub(crate) fn restore(
    changelog: &impl Changelog,
    local: &impl Kept,
    task: TaskId,
    mends: &dyn Mends,
    goes_on: &dyn Fn(u64, u64) -> bool,
) -> Result<bool, HostError> {
    mends.opens()?;
    let Some((from, of)) = begin(changelog, local, task, goes_on)? else { return Ok(false) };
    let (mut whole, mut torn, mut next) = (Gathered::default(), Vec::<(Vec<u8>, Option<Vec<u8>>)>::new(), from);
    // Where the commit begins that has no end yet, and where the last positions are. What is kept before all is mended stands for no
    // more than these: who comes again finds the last commit to be news again.
    let (mut begun, mut ended) = (from, None);
    while goes_on(next - from, of) {
        let found = changelog.next(&mut |offset, key, value| {
            next = offset + 1;
            if key == POSITIONS_ROW {
                ended = Some(offset);
                for (key, value) in torn.drain(..) {
                    whole.say(&key, value.as_deref());
                }
                whole.say(key, value);
            } else if torn.is_empty() && key != BEGINS {
                whole.say(key, value);
            } else {
                begun = if torn.is_empty() { offset } else { begun };
                torn.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            }
        })?;
        match found {
            Next::Row if torn.is_empty() && whole.bytes() >= changelog.batch_bytes() => {
                local.keep_gathered(task, &mut whole, ended.unwrap_or(next))?;
            }
            Next::End => {
                local.keep_gathered(task, &mut whole, ended.unwrap_or(if torn.is_empty() { next } else { begun }))?;
                let torn = torn.into_iter().map(|(key, _)| key).collect();
                mends.mend(Tail { torn, is_news: ended.is_some(), next })?;
                return Ok(true);
            }
            Next::Row | Next::Nothing => {}
        }
    }
    Ok(false)
}

/// Mends the changelog of a task on brokers.
pub(crate) struct Mender<'l> {
    pub(crate) log: &'l KafkaLog,
    pub(crate) task: TaskId,
}

impl Mends for Mender<'_> {
    fn opens(&self) -> Result<(), HostError> {
        self.write(&Changes::from([(OPENED.to_vec(), None)])).map(drop)
    }

    fn mend(&self, tail: Tail) -> Result<(), HostError> {
        let (mut back, mut next) = (Changes::new(), tail.next);
        if !tail.torn.is_empty() {
            tracing::warn!(task = %self.task, rows = tail.torn.len(), "a commit was torn, and is taken back");
            back = self.as_they_were(&tail.torn)?;
            next = self.write(&back)?;
        }
        if tail.is_news {
            let outputs = self.last_said()?;
            self.log.transactors.transact(&outputs.iter().map(sent).collect::<Vec<_>>(), None)?;
        }
        self.log.local.keep(self.task, &back, next)
    }
}

impl Mender<'_> {
    /// Gives the offset behind it.
    fn write(&self, rows: &Changes) -> Result<u64, HostError> {
        let changelog = self.log.options.names.changelog(self.task.stage);
        let rows: Vec<Sent<'_>> = rows.iter().map(|row| row_of(&changelog, self.task.partition, row)).collect();
        let offsets = in_order(&rows, |rows| self.log.transactors.transact(rows, None))?;
        Ok(offsets.last().map_or(0, |last| last + 1))
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        let row = Kept::state(&*self.log.local, self.task).get(key);
        row.map_err(|source| HostError::Stage { task: self.task, source: source.into() })
    }

    /// Rows as the last whole commit left them, and the positions that they are of.
    fn as_they_were(&self, torn: &BTreeSet<Vec<u8>>) -> Result<Changes, HostError> {
        let mut rows = torn.iter().map(|key| Ok((key.clone(), self.row(key)?))).collect::<Result<Changes, HostError>>()?;
        // None yet is the same as none.
        rows.insert(POSITIONS_ROW.to_vec(), Some(self.row(&POSITIONS_ROW)?.unwrap_or_default()));
        Ok(rows)
    }

    /// What the last commit said, unless it was one with a transaction.
    fn last_said(&self) -> Result<Vec<Record>, HostError> {
        let corrupt = || layout::corrupt("an output of a task", "it is cut short");
        let (begins, positions) = (self.row(&BEGINS)?.unwrap_or_default(), self.row(&POSITIONS_ROW)?.unwrap_or_default());
        let Some((length, of)) = begins.split_first_chunk() else { return Ok(Vec::new()) };
        let length = if of == positions { u32::from_be_bytes(*length) } else { 0 };
        let mut outputs = Vec::with_capacity(length as usize);
        for number in 0..length {
            let row = self.row(&outbox_key(number))?.ok_or_else(corrupt)?;
            let (length, rest) = row.split_first_chunk().ok_or_else(corrupt)?;
            let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(corrupt)?;
            let (partition, rest) = rest.split_first_chunk().ok_or_else(corrupt)?;
            let partition = u32::from_be_bytes(*partition);
            let topic = self.log.topics.plan(&String::from_utf8_lossy(topic), partition)?.name;
            let stored = layout::decode(0, rest)?;
            let (key, value, headers, timestamp_ms) = (stored.key, stored.value, stored.headers, stored.timestamp_ms);
            outputs.push(Record { topic, partition, key, value, headers, timestamp_ms });
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::embedded::EmbeddedLog;
    use crate::kafka::cluster::Tell;
    use crate::log::{Log, Place};
    use crate::rocks::Options;

    const TASK: TaskId = TaskId { stage: "track", partition: 0 };
    const P: &[u8] = &POSITIONS_ROW;
    const B: &[u8] = &BEGINS;

    /// Rows by their offsets, each with the offset as its value.
    struct Rows<'r>(&'r [&'r [u8]], Cell<usize>);

    impl Changelog for Rows<'_> {
        fn committed(&self, _: &[Place]) -> Result<Positions, HostError> {
            Ok(Positions::new())
        }

        fn bounds(&self, _: Place) -> Result<(u64, u64), HostError> {
            Ok((0, 0))
        }

        fn written(&self) -> Result<u64, HostError> {
            Ok(self.0.len() as u64)
        }

        fn stable(&self) -> Result<(u64, u64), HostError> {
            Ok((0, self.0.len() as u64))
        }

        fn seek(&self, from: u64) -> Result<(), HostError> {
            self.1.set(from as usize);
            Ok(())
        }

        fn next(&self, tell: &mut Tell<'_>) -> Result<Next, HostError> {
            let at = self.1.replace(self.1.get() + 1);
            let Some(key) = self.0.get(at) else { return Ok(Next::End) };
            tell(at as u64, key, Some(&[at as u8]));
            Ok(Next::Row)
        }

        /// Each row is kept by itself.
        fn batch_bytes(&self) -> usize {
            1
        }

        fn pause(&self, _: u64) {}
    }

    /// Keeps what it hears.
    #[derive(Default)]
    struct Hears(RefCell<Tail>);

    impl Mends for Hears {
        fn opens(&self) -> Result<(), HostError> {
            Ok(())
        }

        fn mend(&self, tail: Tail) -> Result<(), HostError> {
            *self.0.borrow_mut() = tail;
            Ok(())
        }
    }

    /// What is found, which row of a key is restored, and for how much of the changelog the store stands.
    fn restored(folder: &std::path::Path, rows: &[&[u8]], key: &[u8]) -> (Vec<Vec<u8>>, bool, Option<u8>, u64) {
        let local = EmbeddedLog::open(folder, Vec::new(), Options { partitions: 1, ..Options::default() }).unwrap();
        let hears = Hears::default();
        assert!(restore(&Rows(rows, Cell::new(0)), &local, TASK, &hears, &|_, _| true).unwrap());
        let tail = hears.0.take();
        assert_eq!(tail.next, rows.len() as u64);
        let row = Log::state(&local, TASK).get(key).unwrap();
        (tail.torn.into_iter().collect(), tail.is_news, row.map(|row| row[0]), local.kept(TASK).unwrap().unwrap())
    }

    #[test]
    fn a_commit_is_whole_if_its_positions_are_there() {
        let anew = |rows: &[&[u8]]| restored(tempfile::tempdir().unwrap().path(), rows, b"\x01a");
        let (a, c) = (b"\x01a".as_slice(), b"\x01c".as_slice());
        // Until it is mended what is kept stands for all before the last positions.
        assert_eq!(anew(&[B, a, P, B, a, P]), (vec![], true, Some(4), 5));
        assert_eq!(anew(&[B, a, P, B, a, c]), (vec![B.to_vec(), a.to_vec(), c.to_vec()], true, Some(1), 2));
        // Nothing of the first commit is there.
        assert_eq!(anew(&[B, a]), (vec![B.to_vec(), a.to_vec()], false, None, 0));
        // Taken back, and that torn as well; then whole.
        assert_eq!(anew(&[B, a, P, B, a, c, B, a]), (vec![B.to_vec(), a.to_vec(), c.to_vec()], true, Some(1), 2));
        assert_eq!(anew(&[B, a, P, B, a, c, B, a, c, P]), (vec![], true, Some(7), 9));
        // With transactions, whose positions are no last row; and a torn commit behind these.
        assert_eq!(anew(&[P, a, c, P, a]), (vec![], true, Some(4), 3));
        assert_eq!(anew(&[P, a, B, c]), (vec![B.to_vec(), c.to_vec()], true, Some(1), 0));
        // Of a changelog that was compacted the older beginnings are gone.
        assert_eq!(anew(&[a, c, P, B, a]), (vec![B.to_vec(), a.to_vec()], true, Some(0), 2));
    }

    #[test]
    fn who_was_killed_before_it_mended_finds_the_same_again() {
        let (folder, a) = (tempfile::tempdir().unwrap(), b"\x01a".as_slice());
        let rows = [B, a, P, B, a];
        let found = restored(folder.path(), &rows, a);
        assert_eq!(found, (vec![B.to_vec(), a.to_vec()], true, Some(1), 2));
        assert_eq!(restored(folder.path(), &rows, a), found);
    }
}
