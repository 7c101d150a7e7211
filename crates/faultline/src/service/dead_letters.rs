//! The door to `dead-letters`: shows what was refused, and appends it again to where it came from.
//!
//! A letter stays as it is. That a record was redriven stands in headers of the new record, which a new letter keeps if it is refused
//! again: so a letter tells how often its record had its chance, without any state beside the topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use faultline_model::avro;
use faultline_model::dead_letter::DeadLetter;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, DECISIONS, FINDINGS, FINDINGS_BULK, STEPS, Topic};
use faultline_server::doors::{
    Clock, DeadLetters, DoorError, Letter, LetterId, LetterPage, LetterQuery, RedriveOrder, Redriven, RedrivenLetter, RefusedLetter,
    SystemClock, WholeLetter,
};
use faultline_stream::{HostError, Log, Record, Stored};
use serde_json::Value;

use super::topics::{decoded, fault, shown_key};

/// How often a record was redriven; how often is enough for one that is refused each time.
const TIMES: &str = "faultline-redriven";
const ENOUGH: u32 = 3;
/// The letter that it was redriven from, and who did it.
const FROM: &str = "faultline-redriven-from";
const BY: &str = "faultline-redriven-by";

/// How many letters are read at once.
const PAGE_RECORDS: u64 = 32;
/// The most letters, and about the most bytes of them, that are looked at for one answer.
const LOOKED_AT: usize = 10_000;
const LOOKED_AT_BYTES: usize = 256 << 20;
/// About the most that is appended as one.
const APPENDED_BYTES: usize = 4 << 20;
/// How much of a value that cannot be read is shown.
const SHOWN_BYTES: usize = 512;

/// Where records go back to: what comes in from outside, by key, each in the lane it came by.
const WAYS_BACK: [Topic; 4] = [FINDINGS, FINDINGS_BULK, DECISIONS, STEPS];
/// Why there is no way back to the others, and what to do.
const NO_WAY_BACK: &[(&str, &str)] = &[
    ("tracked", "an old record could take the place of newer state; publish the scan again"),
    ("risks", "an old record could take the place of newer state; publish the scan again"),
    ("shares", "an old record could take the place of newer state; what changes next says it anew"),
    ("exceptions", "an old record could take the place of newer state; what changes next says it anew"),
    ("risk-registry", "an old record could take the place of newer state; what changes next says it anew"),
    ("tickets.desired", "an old record could take the place of newer state; what changes next says it anew"),
    ("deliveries", "what became of that attempt is known by now, or the attempt was made again"),
    ("catalog", "an old record could take the place of a newer one; apply the catalog again"),
    ("intel", "an old record could take the place of a newer one; load the feed again"),
];

pub struct LetterDoor {
    log: Arc<dyn Log>,
}

impl LetterDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }

    /// The letter's record, if it is still there.
    fn stored(&self, id: LetterId) -> Result<Option<Stored>, HostError> {
        let LetterId { partition, offset } = id;
        if partition >= self.log.partitions(DEAD_LETTERS.name)? {
            return Ok(None);
        }
        let kept = self.log.start_offset(DEAD_LETTERS.name, partition)?..self.log.end_offset(DEAD_LETTERS.name, partition)?;
        if !kept.contains(&offset) {
            return Ok(None);
        }
        let page = self.log.read(DEAD_LETTERS.name, partition, offset, 1, usize::MAX)?;
        Ok(page.into_iter().next().filter(|stored| stored.offset == offset && stored.value.is_some()))
    }

    /// Which of these letters' records were refused again after they had been redriven, and the letters of that. A record keeps its
    /// key, so that the new letter stands behind in the same partition.
    fn came_back(&self, ids: &[LetterId]) -> Result<BTreeMap<LetterId, LetterId>, HostError> {
        let mut lowest: BTreeMap<u32, u64> = BTreeMap::new();
        for id in ids {
            let offset = lowest.entry(id.partition).or_insert(id.offset);
            *offset = id.offset.min(*offset);
        }
        let partitions = self.log.partitions(DEAD_LETTERS.name)?;
        let (mut looked_at, mut bytes) = (0, 0);
        let mut back = BTreeMap::new();
        for (partition, lowest) in lowest.into_iter().filter(|(partition, _)| *partition < partitions) {
            let end = self.log.end_offset(DEAD_LETTERS.name, partition)?;
            let mut next = self.log.start_offset(DEAD_LETTERS.name, partition)?.max(lowest.saturating_add(1));
            while next < end && looked_at < LOOKED_AT && bytes < LOOKED_AT_BYTES {
                let page = self.log.read(DEAD_LETTERS.name, partition, next, PAGE_RECORDS as usize, APPENDED_BYTES)?;
                let Some(last) = page.last() else { break };
                next = last.offset + 1;
                looked_at += page.len();
                bytes += page.iter().map(Stored::bytes).sum::<usize>();
                let from = |stored: &Stored| Some((redriven_from(stored)?, LetterId { partition, offset: stored.offset }));
                back.extend(page.iter().filter_map(from));
            }
        }
        Ok(back)
    }

    /// The record as it came, with word that it was redriven; or why not.
    fn again(&self, id: LetterId, order: &RedriveOrder, back: &BTreeMap<LetterId, LetterId>) -> Result<Result<Again, String>, HostError> {
        let Some(stored) = self.stored(id)? else {
            return Ok(Err("there is no such letter, or it went with its time".to_owned()));
        };
        let letter = match letter_of(&stored) {
            Ok(letter) => letter,
            Err(reason) => return Ok(Err(reason)),
        };
        let topic = match way_back(&letter.topic) {
            Ok(topic) => topic,
            Err(reason) => return Ok(Err(reason)),
        };
        let before = redriven(&stored);
        if let Some(newer) = back.get(&id).filter(|_| !order.is_forced) {
            return Ok(Err(format!("it was redriven and refused again, as {newer}; redrive that one, or force it")));
        }
        if before >= ENOUGH && !order.is_forced {
            return Ok(Err(format!("it was redriven {before} times and refused each time; mend what its reason says, or force it")));
        }
        let partitions = self.log.partitions(topic.name)?;
        let partition = match str::from_utf8(&stored.key) {
            Ok(key) => topic.partition_of(key, partitions),
            Err(_) => letter.partition as u32,
        };
        if partition >= partitions {
            return Ok(Err(format!("{} has no partition {} any more, and its key names no other", topic.name, letter.partition)));
        }
        let times = before.saturating_add(1);
        let ours = [(TIMES, times.to_string()), (FROM, id.to_string()), (BY, order.actor.clone())];
        let ours = ours.map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let came = stored.headers.iter().filter(|(name, _)| ![TIMES, FROM, BY].contains(&name.as_str()));
        let headers = came.cloned().chain(ours).collect();
        let timestamp_ms = SystemClock.now().millis();
        let record = Record { topic: topic.name, partition, key: stored.key, value: letter.value, headers, timestamp_ms };
        let (bytes, bound) = (weight(&record), self.log.max_record_bytes());
        if bytes > bound {
            return Ok(Err(format!("with the headers that say so it has {bytes} bytes, and {bound} is the bound")));
        }
        Ok(Ok(Again { id, times, bytes, record }))
    }
}

/// A record that is to be appended again.
struct Again {
    id: LetterId,
    times: u32,
    bytes: usize,
    record: Record,
}

impl DeadLetters for LetterDoor {
    fn list(&self, query: &LetterQuery) -> Result<LetterPage, DoorError> {
        let mut tails = self.tails(query.cursor.as_deref())?;
        let (mut items, mut looked_at) = (Vec::new(), 0);
        while items.len() < query.limit && looked_at < LOOKED_AT {
            let Some(letter) = newest(&*self.log, &mut tails).map_err(fault)? else {
                return Ok(LetterPage { items, next: None });
            };
            looked_at += 1;
            let is_asked = |asked: &str, is: &str| asked.is_empty() || asked == is;
            if is_asked(&query.topic, &letter.topic) && is_asked(&query.stage, &letter.stage) {
                items.push(letter);
            }
        }
        let cursor: Vec<String> = tails.iter().map(|tail| tail.position().to_string()).collect();
        Ok(LetterPage { items, next: Some(cursor.join(".")) })
    }

    fn show(&self, id: LetterId) -> Result<WholeLetter, DoorError> {
        let stored = self.stored(id).map_err(fault)?;
        let stored = stored.ok_or_else(|| DoorError::NotFound(format!("there is no dead letter {id}, or it went with its time")))?;
        let came_back = self.came_back(&[id]).map_err(fault)?.remove(&id);
        let read = letter_of(&stored);
        let (value, unreadable) = match read.as_ref().map(|letter| (&letter.topic, letter.value.as_deref())) {
            Ok((_, None)) => (Value::Null, None),
            Ok((topic, Some(value))) => match decoded(topic, value) {
                Ok(value) => (value, None),
                Err(error) => (Value::Null, Some(error.to_string())),
            },
            Err(reason) => (Value::Null, Some(reason.clone())),
        };
        let bytes = match &read {
            Ok(letter) => letter.value.as_deref(),
            Err(_) => stored.value.as_deref(),
        };
        let bytes = bytes.unwrap_or_default();
        let shown_hex = unreadable.is_some().then(|| hex(&bytes[..bytes.len().min(SHOWN_BYTES)]));
        let is_cut = shown_hex.is_some() && bytes.len() > SHOWN_BYTES;
        let header = |(name, value): &(String, Vec<u8>)| (name.clone(), str::from_utf8(value).map_or_else(|_| hex(value), str::to_owned));
        let headers = stored.headers.iter().map(header).collect();
        Ok(WholeLetter { letter: shown(id.partition, &stored), came_back, headers, value, unreadable, hex: shown_hex, is_cut })
    }

    fn redrive(&self, order: RedriveOrder) -> Result<Redriven, DoorError> {
        let back = self.came_back(&order.ids).map_err(fault)?;
        let (mut told, mut records, mut bytes) = (Redriven::default(), Vec::new(), 0);
        let mut seen = BTreeSet::new();
        for id in order.ids.iter().copied().filter(|id| seen.insert(*id)) {
            if bytes >= APPENDED_BYTES {
                told.left.push(id);
                continue;
            }
            match self.again(id, &order, &back).map_err(fault)? {
                Err(reason) => told.refused.push(RefusedLetter { id, reason }),
                Ok(Again { id, times, bytes: more, record }) => {
                    bytes += more;
                    let (topic, partition) = (record.topic.to_owned(), record.partition);
                    told.redriven.push(RedrivenLetter { id, topic, partition, offset: None, times });
                    records.push(record);
                }
            }
        }
        if !order.is_dry_run {
            let offsets = self.log.append(records).map_err(fault)?;
            for (redriven, offset) in told.redriven.iter_mut().zip(offsets) {
                redriven.offset = Some(offset);
                tracing::info!(letter = %redriven.id, topic = redriven.topic, offset, times = redriven.times, actor = order.actor, "redriven");
            }
        }
        Ok(told)
    }
}

/// A partition of `dead-letters`, read from its end to its start.
struct Tail {
    partition: u32,
    start: u64,
    /// All from here on was read.
    below: u64,
    /// What was read and not taken yet, the newest last, with its time in milliseconds.
    page: Vec<(i64, Letter)>,
}

impl Tail {
    /// Reads on if nothing is at hand. The time of the newest, if there is any.
    fn fill(&mut self, log: &dyn Log) -> Result<Option<i64>, HostError> {
        while self.page.is_empty() && self.below > self.start {
            let (below, from) = (self.below, self.start.max(self.below.saturating_sub(PAGE_RECORDS)));
            let page = log.read(DEAD_LETTERS.name, self.partition, from, (below - from) as usize, usize::MAX)?;
            let kept = page.iter().filter(|stored| stored.offset < below && stored.value.is_some());
            self.page = kept.map(|stored| (stored.timestamp_ms, shown(self.partition, stored))).collect();
            self.below = from;
        }
        Ok(self.page.last().map(|(time, _)| *time))
    }

    /// Below which offset nothing was taken yet.
    fn position(&self) -> u64 {
        self.page.last().map_or(self.below, |(_, letter)| letter.id.offset + 1)
    }
}

impl LetterDoor {
    /// All partitions, each from its end or where the cursor says.
    fn tails(&self, cursor: Option<&str>) -> Result<Vec<Tail>, DoorError> {
        let partitions = self.log.partitions(DEAD_LETTERS.name).map_err(fault)?;
        let places = match cursor {
            None => None,
            Some(cursor) => {
                let places: Option<Vec<u64>> = cursor.split('.').map(|place| place.parse().ok()).collect();
                let of_all = places.filter(|places| places.len() == partitions as usize);
                let wrong =
                    || DoorError::Refused("the cursor is none of this list: ask for the first page, then follow each `next`".to_owned());
                Some(of_all.ok_or_else(wrong)?)
            }
        };
        let tail = |partition| {
            let start = self.log.start_offset(DEAD_LETTERS.name, partition)?;
            let end = self.log.end_offset(DEAD_LETTERS.name, partition)?;
            let place = places.as_ref().and_then(|places| places.get(partition as usize)).copied();
            Ok(Tail { partition, start, below: place.unwrap_or(end).min(end), page: Vec::new() })
        };
        (0..partitions).map(tail).collect::<Result<_, HostError>>().map_err(fault)
    }
}

/// Takes the newest letter of all partitions.
fn newest(log: &dyn Log, tails: &mut [Tail]) -> Result<Option<Letter>, HostError> {
    let mut newest = None;
    for tail in tails.iter_mut() {
        if let Some(time) = tail.fill(log)? {
            newest = newest.max(Some((time, tail.partition)));
        }
    }
    let of = |(_, partition): (i64, u32)| tails.get_mut(partition as usize)?.page.pop();
    Ok(newest.and_then(of).map(|(_, letter)| letter))
}

fn letter_of(stored: &Stored) -> Result<DeadLetter, String> {
    avro::decode(stored.value.as_deref().unwrap_or_default()).map_err(|error| format!("the letter itself cannot be read: {error}"))
}

/// In short. A letter that cannot be read says so in its reason.
fn shown(partition: u32, stored: &Stored) -> Letter {
    let unreadable =
        |reason| DeadLetter { topic: String::new(), partition: -1, offset: -1, reason, stage: String::new(), value: stored.value.clone() };
    let DeadLetter { topic, partition: from, offset, reason, stage, value } = letter_of(stored).unwrap_or_else(unreadable);
    Letter {
        id: LetterId { partition, offset: stored.offset },
        time: Timestamp::from_millis(stored.timestamp_ms).to_string(),
        stage,
        topic,
        partition: from,
        offset,
        key: shown_key(&stored.key),
        reason,
        value_bytes: value.map_or(0, |value| value.len()),
        redriven: redriven(stored),
        redriven_from: redriven_from(stored),
    }
}

fn way_back(topic: &str) -> Result<Topic, String> {
    let known = WAYS_BACK.into_iter().find(|way| way.name == topic);
    known.ok_or_else(|| {
        let why = NO_WAY_BACK.iter().find(|(name, _)| *name == topic).map_or("no stage reads it from outside", |(_, why)| why);
        format!("a record of {topic:?} is not redriven: {why}")
    })
}

fn header<T: std::str::FromStr>(stored: &Stored, name: &str) -> Option<T> {
    let (_, value) = stored.headers.iter().rev().find(|(header, _)| header == name)?;
    str::from_utf8(value).ok()?.parse().ok()
}

fn redriven(stored: &Stored) -> u32 {
    header(stored, TIMES).unwrap_or(0)
}

fn redriven_from(stored: &Stored) -> Option<LetterId> {
    header(stored, FROM)
}

fn weight(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    record.key.len() + record.value.as_ref().map_or(0, Vec::len) + headers
}

fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default());
    bytes.iter().flat_map(digits).collect()
}
