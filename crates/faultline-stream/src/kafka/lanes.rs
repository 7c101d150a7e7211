//! Lanes on Kafka: bulk is fetched apart from what is urgent, and read while the group that reads what follows has nearly caught up.
//!
//! That group's tasks may be in other processes, so a thread asks how far they are, now and then and only while bulk waits. Each answer is
//! what may still be said until the next one; workers only look at that. If there is no answer, or the group does not move, one helping of bulk
//! a second goes on: a question without an answer slows bulk down and never stops it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use faultline_core::stage::Bulk;
use rdkafka::consumer::Consumer;

use super::context::{Reader, watermarks};
use super::fetch::{Fetcher, Start};
use super::options::KafkaOptions;
use super::{KafkaError, KafkaLog, group};
use crate::error::HostError;
use crate::gate::Gate;
use crate::log::{Log, Place, Stored};
use crate::sync::{Bell, held};

/// How long an answer is taken for the truth before it is asked again.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// After so long an answer is none.
const HOLDS: Duration = Duration::from_secs(1);
/// Who says nothing, or does not move, for so long is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a helping goes on then.
const TRICKLE: Duration = Duration::from_secs(1);
const CALL: Duration = Duration::from_secs(5);

/// What is urgent and what is not, each with a consumer and a buffer of its own: a backlog of the one takes no room of the other.
pub(crate) struct Fetchers {
    urgent: Fetcher,
    bulk: Fetcher,
}

impl Fetchers {
    pub(crate) fn start(options: &KafkaOptions, group: &str, bell: &Arc<Bell>) -> Result<Self, HostError> {
        let small = KafkaOptions { buffer_bytes: options.buffer_bytes / 4, ..options.clone() };
        let start = |options: &KafkaOptions| Fetcher::start(options, &options.fetcher(group), bell.clone());
        Ok(Self { urgent: start(options)?, bulk: start(&small)? })
    }

    pub(crate) fn add(&self, place: Place, from: Start, is_bulk: bool) -> Result<(), HostError> {
        if is_bulk { self.bulk.add(place, from) } else { self.urgent.add(place, from) }
    }

    pub(crate) fn remove(&self, place: Place, is_bulk: bool) {
        if is_bulk { self.bulk.remove(place) } else { self.urgent.remove(place) }
    }

    /// What waits of a place, from an offset on; nothing if the place is not read here.
    pub(crate) fn read(
        &self,
        place: Place,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Option<Vec<Arc<Stored>>>, HostError> {
        let urgent = self.urgent.read(place, from, max_records, max_bytes)?;
        urgent.map_or_else(|| self.bulk.read(place, from, max_records, max_bytes), |urgent| Ok(Some(urgent)))
    }

    /// The offset behind what waits of a place.
    pub(crate) fn end(&self, place: Place) -> Result<Option<u64>, HostError> {
        self.urgent.end(place)?.map_or_else(|| self.bulk.end(place), |end| Ok(Some(end)))
    }

    /// Gives room back: a reader is at this position for good.
    pub(crate) fn committed(&self, place: Place, position: u64) {
        self.urgent.committed(place, position);
        self.bulk.committed(place, position);
    }
}

/// The gate of a stage's tasks in this process.
pub(crate) struct Allowance {
    known: Mutex<Known>,
    told: Condvar,
}

struct Known {
    /// How many records may still be said.
    left: u64,
    until: Instant,
    /// Whether a task has bulk to read.
    is_wanted: bool,
    is_stopping: bool,
}

impl Gate for Allowance {
    fn is_open(&self) -> bool {
        let mut known = held(&self.known);
        if !known.is_wanted {
            known.is_wanted = true;
            self.told.notify_one();
        }
        known.left > 0 && Instant::now() < known.until
    }

    fn said(&self, records: u64) {
        let mut known = held(&self.known);
        known.left = known.left.saturating_sub(records);
    }
}

impl Allowance {
    pub(crate) fn new() -> Self {
        let known = Known { left: 0, until: Instant::now(), is_wanted: false, is_stopping: false };
        Self { known: Mutex::new(known), told: Condvar::new() }
    }

    /// Waits until it is to be asked again; false at the end.
    fn wait(&self, since: Instant) -> bool {
        let mut known = held(&self.known);
        while !known.is_stopping {
            let rest = ASKED_EVERY.saturating_sub(since.elapsed());
            if rest.is_zero() && known.is_wanted {
                known.is_wanted = false;
                return true;
            }
            known = if rest.is_zero() {
                self.told.wait(known).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.told.wait_timeout(known, rest).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        false
    }

    fn allow(&self, left: u64) {
        let mut known = held(&self.known);
        (known.left, known.until) = (left, Instant::now() + HOLDS);
    }

    fn stop(&self) {
        held(&self.known).is_stopping = true;
        self.told.notify_all();
    }
}

/// The thread that asks.
pub(crate) struct Asker {
    allowance: Arc<Allowance>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    /// For the tasks of a stage here; `most` is how many records its reader may have still to read.
    pub(crate) fn start(
        log: Arc<KafkaLog>,
        stage: &'static str,
        bulk: Bulk,
        most: u64,
        allowance: Arc<Allowance>,
    ) -> Result<Self, HostError> {
        let thread = std::thread::Builder::new().name("kafka-lanes".to_owned()).spawn({
            let allowance = allowance.clone();
            move || {
                let (mut judge, mut asked) = (Judge::new(most, Instant::now()), Instant::now());
                let mut group = None;
                while allowance.wait(asked) {
                    asked = Instant::now();
                    let answer = still_to_read(&log, &mut group, bulk);
                    if answer.is_err() {
                        group = None;
                    }
                    let left = judge.allows(Instant::now(), answer.ok().as_deref());
                    let (own, all) = (log.tasks_of(stage), u64::from(log.partitions));
                    // Other processes have the other tasks, and the same answer.
                    allowance.allow(if left == 0 { 0 } else { (left * own / all.max(1)).max(1) });
                    if left > 0 {
                        log.wake();
                    }
                }
            }
        });
        Ok(Self { allowance, thread: Some(thread.map_err(|source| HostError::Thread { source })?) })
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.allowance.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the reader's group has still to read, by partition.
fn still_to_read(log: &KafkaLog, group: &mut Option<Reader>, bulk: Bulk) -> Result<Vec<u64>, HostError> {
    let consumer = match group {
        Some(consumer) => consumer,
        None => {
            let config = log.options.reader_to_end(&log.options.group_of(bulk.reader));
            group.insert(config.create_with_context(log.options.context()).map_err(KafkaError::client)?)
        }
    };
    let places: Vec<Place> = (0..log.partitions).map(|partition| (bulk.said.name, partition)).collect();
    consumer.context().serve_tokens(consumer);
    let committed = group::committed(consumer, &log.options.names, &places)?;
    let left = |place: &Place| {
        let (first, end) = watermarks(consumer, log.options.names.topic(place.0), place.1, CALL)?;
        let position = committed.get(place).copied().unwrap_or(0).max(first);
        Ok(end.saturating_sub(position))
    };
    places.iter().map(left).collect()
}

/// Makes an allowance of answers.
struct Judge {
    most: u64,
    /// Since when nothing was known to go on.
    since: Instant,
    trickled: Option<Instant>,
    before: Vec<u64>,
}

impl Judge {
    fn new(most: u64, now: Instant) -> Self {
        Self { most, since: now, trickled: None, before: Vec::new() }
    }

    /// How many records may be said until the next answer, by all processes together.
    fn allows(&mut self, now: Instant, still_to_read: Option<&[u64]>) -> u64 {
        if let Some(left) = still_to_read {
            let sum: u64 = left.iter().sum();
            // While nobody adds to it, what a group reads makes it less.
            let moves = self.before.is_empty() || left.iter().zip(&self.before).any(|(left, before)| left < before);
            self.before = left.to_vec();
            if moves || sum <= self.most {
                (self.since, self.trickled) = (now, None);
            }
            if sum <= self.most {
                // At the bound as well one helping does no harm.
                return (self.most - sum).max(1);
            }
        }
        let is_due = self.trickled.is_none_or(|last| now - last >= TRICKLE);
        if now - self.since < PATIENCE || !is_due {
            return 0;
        }
        self.trickled = Some(now);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_goes_on_while_its_reader_keeps_up_and_slowly_while_nobody_knows() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut judge = Judge::new(100, begin);
        assert_eq!(judge.allows(at(0), Some(&[30, 30])), 40);
        assert_eq!(judge.allows(at(1), Some(&[300, 30])), 0, "behind");
        assert_eq!(judge.allows(at(29), Some(&[299, 30])), 0, "behind, and moving");
        assert_eq!(judge.allows(at(40), Some(&[299, 30])), 0, "it stands still, not for long");
        assert_eq!(judge.allows(at(59), Some(&[299, 30])), 1, "it stands still");
        assert_eq!(judge.allows(at(59), Some(&[299, 31])), 0, "one helping a second");
        assert_eq!(judge.allows(at(60), Some(&[299, 31])), 1);
        assert_eq!(judge.allows(at(61), Some(&[298, 31])), 0, "it moves again");
        assert_eq!(judge.allows(at(62), Some(&[50, 50])), 1, "at the bound");
        assert_eq!(judge.allows(at(70), None), 0, "no answer, not for long");
        assert_eq!(judge.allows(at(92), None), 1, "no answer");
        assert_eq!(judge.allows(at(93), Some(&[0, 0])), 100);
    }

    #[test]
    fn what_was_said_is_no_longer_allowed() {
        let allowance = Allowance::new();
        assert!(!allowance.is_open(), "nothing is known");
        allowance.allow(10);
        assert!(allowance.is_open());
        allowance.said(9);
        assert!(allowance.is_open());
        allowance.said(2);
        assert!(!allowance.is_open());
    }
}
