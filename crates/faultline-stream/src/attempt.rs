//! An attempt at a batch: reads, applies, ends and slices over an overlay. It changes nothing; what came of it is committed or dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_core::stage::{Batch, Globals, Input, Output, Pending, Stage, StageError};
use faultline_core::store::{Changes, Layer, Overlay, Store, StoreError};
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, Topic};

use crate::at_hand::AtHand;
use crate::clock::Clock;
use crate::error::HostError;
use crate::intake::{Intake, Origin, Refused};
use crate::log::{Log, Place, Stored};
use crate::task::{Reading, Task};

/// What came of an attempt.
pub(crate) enum Attempt {
    Done(Box<Done>),
    /// To be made again with so many records at most.
    Fewer(usize),
    /// To be made again with one record, and this one refused for a reason.
    Refuse((Place, u64), String),
}

/// A batch to be committed.
pub(crate) struct Done {
    pub(crate) intake: Intake,
    pub(crate) changes: Changes,
    pub(crate) outputs: Vec<Output>,
    pub(crate) has_pending: bool,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) read: Duration,
    pub(crate) apply: Duration,
}

/// A batch in the making.
struct Draft<'s, S: Stage> {
    batch: Batch<'s>,
    gathered: S::Gathered,
    intake: Intake,
    read: Duration,
}

/// What a look at an input found.
enum Page {
    /// Nothing is left of it, as far as can be seen.
    End,
    More,
    /// A bound of the batch is met.
    Full,
    Again(Attempt),
}

/// The bulk that a batch has read.
#[derive(Default)]
struct Helping {
    records: usize,
    /// When it began, in milliseconds.
    since: Option<i64>,
}

/// After so many bulk records it is looked for what is urgent.
const BULK_PAGE_RECORDS: usize = 128;

/// Global topics, as their newest records say.
struct LatestOf<'l>(&'l dyn Log);

impl Globals for LatestOf<'_> {
    fn get(&self, topic: Topic, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let newest = self.0.latest(topic.name, 0, key.as_bytes()).map_err(StoreError::read)?;
        Ok(newest.and_then(|record| record.value))
    }
}

impl<S: Stage> Task<S> {
    /// A batch of at most so many records.
    pub(crate) fn attempt(&self, clock: &dyn Clock, now: Timestamp, most: usize, refused: &Refused) -> Result<Attempt, HostError> {
        let began = Instant::now();
        let (state, globals) = (self.log.state(self.id), LatestOf(&*self.log));
        let ahead = self.in_flight().map(|changes| Layer::new(&*state, changes));
        let state: &dyn Store = ahead.as_ref().map_or(&*state, |ahead| ahead);
        let state = &AtHand::new(state, &self.rows);
        let batch = Batch::new(Overlay::new(state), &globals, now).in_format(self.format);
        let mut draft = Draft::<S> { batch, gathered: S::Gathered::default(), intake: Intake::default(), read: Duration::ZERO };
        if let Some(again) = self.read(clock, most, refused, &mut draft)? {
            return Ok(again);
        }
        let Draft { mut batch, gathered, intake, read } = draft;
        match self.stage.end(&mut batch, gathered) {
            Ok(()) => {}
            Err(StageError::Poison { reason }) => return self.blame(&intake, refused, reason),
            Err(error) => return Err(self.stopped(error)),
        }
        let is_due = self.ahead().next_due.is_some_and(|due| due <= now);
        let mut has_pending = self.ahead().has_pending;
        if intake.consumed > 0 || has_pending || is_due {
            let left = self.stage.slice(&mut batch, self.options.slice_bytes).map_err(|error| self.stopped(error))?;
            has_pending = left == Pending::Some;
        }
        let next_due = self.stage.next_due(&batch.state).map_err(|error| self.stopped(error))?;
        let bound = self.log.max_record_bytes();
        if let Some(output) = batch.outputs().iter().find(|output| weight(output) > bound) {
            let reason = format!("its output for topic {} has {} bytes, more than {bound}", output.topic.name, weight(output));
            return self.blame(&intake, refused, reason);
        }
        let (changes, outputs) = batch.into_parts();
        let apply = began.elapsed().saturating_sub(read);
        Ok(Attempt::Done(Box::new(Done { intake, changes, outputs, has_pending, next_due, read, apply })))
    }

    /// Reads pages of all inputs in turn, and bulk where they are drained, until nothing is left, a bound is met, or it is time to commit.
    fn read(&self, clock: &dyn Clock, most: usize, refused: &Refused, draft: &mut Draft<'_, S>) -> Result<Option<Attempt>, HostError> {
        let began = clock.now().millis();
        let lasts = |longest: Duration, since: i64| {
            let took = clock.now().millis().saturating_sub(since).max(0);
            u128::from(took.unsigned_abs()) < longest.as_millis()
        };
        let mut helping = Helping::default();
        loop {
            let mut is_drained = true;
            for input in self.ahead().inputs.iter().filter(|input| !input.is_bulk) {
                match self.page(input, self.options.page_records.max(1), most, refused, draft)? {
                    Page::End => {}
                    Page::More => is_drained = false,
                    Page::Full => return Ok(None),
                    Page::Again(again) => return Ok(Some(again)),
                }
            }
            if is_drained {
                let is_over = helping.since.is_some_and(|since| !lasts(self.options.bulk_interval, since));
                let Some((input, room)) = self.bulk(&helping, draft)?.filter(|_| !is_over) else { return Ok(None) };
                helping.since.get_or_insert_with(|| clock.now().millis());
                let before = draft.intake.consumed;
                match self.page(input, room, most, refused, draft)? {
                    Page::End | Page::Full => return Ok(None),
                    Page::More => helping.records += draft.intake.consumed - before,
                    Page::Again(again) => return Ok(Some(again)),
                }
            }
            if !lasts(self.options.commit_interval, began) {
                return Ok(None);
            }
        }
    }

    /// Bulk that may be read now, and how many records of it. A batch with something urgent takes one page at most and has its commit, so
    /// that neither waits long for the other.
    fn bulk(&self, helping: &Helping, draft: &Draft<'_, S>) -> Result<Option<(&Reading, usize)>, HostError> {
        let Some(input) = self.ahead().inputs.iter().find(|input| input.is_bulk) else { return Ok(None) };
        let is_urgent = draft.intake.consumed > helping.records;
        let room = self.options.bulk_records.max(1).saturating_sub(helping.records).min(BULK_PAGE_RECORDS);
        let from = draft.intake.positions.get(&input.place).copied().unwrap_or(input.position);
        if (is_urgent && helping.records > 0) || room == 0 || self.log.end_offset(input.place.0, input.place.1)? <= from {
            return Ok(None);
        }
        Ok(self.gate.is_open().then_some((input, room)))
    }

    /// The next page of an input.
    fn page(&self, input: &Reading, room: usize, most: usize, refused: &Refused, draft: &mut Draft<'_, S>) -> Result<Page, HostError> {
        let place = input.place;
        let from = draft.intake.positions.get(&place).copied().unwrap_or(input.position);
        let end = self.log.end_offset(place.0, place.1)?;
        if from >= end {
            return Ok(Page::End);
        }
        let room = most.saturating_sub(draft.intake.consumed).min(room);
        if room == 0 {
            return Ok(Page::Full);
        }
        let reads = Instant::now();
        let page = self.log.page(place.0, place.1, from, room, self.options.page_bytes)?;
        draft.read += reads.elapsed();
        if page.is_empty() {
            // What stood there was superseded or dropped; a newer record of the same key comes later.
            draft.intake.positions.insert(place, end);
        }
        let mut keys = page.iter().filter_map(|record| str::from_utf8(&record.key).ok());
        self.stage.ahead(&draft.batch, input.topic, &mut keys).map_err(|error| self.stopped(error.into()))?;
        let is_end = page.iter().all(|record| record.offset + 1 >= end);
        for record in page {
            if let Some(again) = self.take(input, record, refused, draft)? {
                return Ok(Page::Again(again));
            }
            if draft.batch.bytes() + draft.intake.aside_bytes() >= self.options.batch_bytes {
                return Ok(Page::Full);
            }
        }
        Ok(if is_end { Page::End } else { Page::More })
    }

    /// One record: to the stage, to its own partition, or to `dead-letters`.
    fn take(
        &self,
        input: &Reading,
        record: Arc<Stored>,
        refused: &Refused,
        draft: &mut Draft<'_, S>,
    ) -> Result<Option<Attempt>, HostError> {
        let at = (input.place, record.offset);
        draft.intake.read(input.topic, input.place, &record);
        if let Some(reason) = refused.get(&at) {
            return self.refuse(input, record, reason.clone(), draft);
        }
        let Ok(key) = str::from_utf8(&record.key) else {
            return self.refuse(input, record, "its key is no UTF-8 text; every key of the contract is".to_owned(), draft);
        };
        let partition = input.topic.partition_of(key, input.partitions);
        if partition != input.place.1 {
            draft.intake.forward(input.topic, partition, Arc::unwrap_or_clone(record));
            return Ok(None);
        }
        let before = (draft.batch.bytes(), draft.batch.outputs().len());
        let time = Timestamp::from_millis(record.timestamp_ms);
        let applied = {
            let input = Input { topic: input.topic, key, value: record.value.as_deref(), time };
            self.stage.apply(&mut draft.batch, &mut draft.gathered, &input)
        };
        match applied {
            Ok(()) => Ok(None),
            Err(StageError::Poison { reason }) if before == (draft.batch.bytes(), draft.batch.outputs().len()) => {
                self.refuse(input, record, reason, draft)
            }
            // The stage broke its promise to refuse before it changes anything: the batch is dropped with the change.
            Err(StageError::Poison { reason }) => Ok(Some(match draft.intake.consumed - 1 {
                0 => Attempt::Refuse(at, reason),
                good => Attempt::Fewer(good),
            })),
            Err(error) => Err(self.stopped(error)),
        }
    }

    fn refuse(&self, input: &Reading, record: Arc<Stored>, reason: String, draft: &mut Draft<'_, S>) -> Result<Option<Attempt>, HostError> {
        let letter_partitions = self.log.partitions(DEAD_LETTERS.name)?;
        let from = Origin { stage: S::NAME, place: input.place, letter_partitions };
        draft.intake.refuse(from, Arc::unwrap_or_clone(record), reason, draft.batch.now).map_err(|error| self.stopped(error.into()))?;
        Ok(None)
    }

    /// Poison that no record answers for as yet: halves the batch until one does.
    fn blame(&self, intake: &Intake, refused: &Refused, reason: String) -> Result<Attempt, HostError> {
        match (intake.consumed, intake.last) {
            (1, Some(record)) if !refused.contains_key(&record) => Ok(Attempt::Refuse(record, reason)),
            (0 | 1, _) => Err(HostError::PendingPoison { task: self.id, reason }),
            (many, _) => Ok(Attempt::Fewer(many / 2)),
        }
    }

    fn stopped(&self, error: StageError) -> HostError {
        match error {
            StageError::Poison { reason } => HostError::PendingPoison { task: self.id, reason },
            source => HostError::Stage { task: self.id, source },
        }
    }
}

fn weight(output: &Output) -> usize {
    output.key.len() + output.value.as_ref().map_or(0, Vec::len)
}
