//! What is gathered while a batch reads: where it is in each input, and the records that do not go to the stage.

use std::collections::{BTreeMap, HashSet};

use faultline_core::stage::Output;
use faultline_model::avro::{self, AvroError};
use faultline_model::dead_letter::DeadLetter;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, Topic};
use foldhash::fast::RandomState;

use crate::carried::Carried;
use crate::log::{Place, Positions, Record, Stored, as_written};

/// The longest reason that a dead letter carries, in bytes.
const REASON_BYTES: usize = 2 << 10;

/// Records of this batch that were found to be poison after they had been worked on, with the reason.
pub(crate) type Refused = BTreeMap<(Place, u64), String>;

/// What reading has done so far.
#[derive(Default)]
pub(crate) struct Intake {
    pub(crate) positions: Positions,
    /// Records read, whatever became of them.
    pub(crate) consumed: usize,
    pub(crate) by_topic: BTreeMap<&'static str, u64>,
    pub(crate) misplaced: BTreeMap<&'static str, u64>,
    pub(crate) dead: BTreeMap<&'static str, u64>,
    /// Dead letters and records that are sent on to their own partition.
    pub(crate) aside: Vec<Record>,
    aside_bytes: usize,
    /// The time of the record that was read last, by place.
    pub(crate) times: BTreeMap<Place, i64>,
    /// Goes on in the headers of what the batch says.
    pub(crate) carried: Carried,
    /// The record that was read last.
    pub(crate) last: Option<(Place, u64)>,
}

impl Intake {
    /// Counts a record as read.
    pub(crate) fn read(&mut self, topic: Topic, place: Place, record: &Stored) {
        // Facts that hold for all are no finding on its way.
        if !topic.is_global {
            self.carried.read(record);
        }
        self.positions.insert(place, record.offset + 1);
        self.times.insert(place, record.timestamp_ms);
        self.consumed += 1;
        self.last = Some((place, record.offset));
        *self.by_topic.entry(place.0).or_default() += 1;
    }

    pub(crate) fn aside_bytes(&self) -> usize {
        self.aside_bytes
    }

    /// Sends a record on to the partition of its key, as it came.
    pub(crate) fn forward(&mut self, topic: Topic, partition: u32, record: Stored) {
        let Stored { key, value, headers, timestamp_ms, .. } = record;
        *self.misplaced.entry(topic.name).or_default() += 1;
        self.put_aside(Record { topic: topic.name, partition, key, value, headers, timestamp_ms });
    }

    /// Puts a record into `dead-letters`, as it stands in its log, with its headers.
    pub(crate) fn refuse(&mut self, from: Origin, record: Stored, mut reason: String, now: Timestamp) -> Result<(), AvroError> {
        let Stored { offset, key, value, mut headers, .. } = record;
        let value = as_written(&mut headers, value);
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
        let letter = DeadLetter {
            topic: from.place.0.to_owned(),
            partition: from.place.1 as i32,
            offset: offset as i64,
            reason,
            stage: from.stage.to_owned(),
            value,
        };
        *self.dead.entry(from.place.0).or_default() += 1;
        self.put_aside(Record {
            topic: DEAD_LETTERS.name,
            partition: DEAD_LETTERS.partition_of(&String::from_utf8_lossy(&key), from.letter_partitions),
            key,
            value: Some(avro::encode(letter)?),
            headers,
            timestamp_ms: now.millis(),
        });
        Ok(())
    }

    fn put_aside(&mut self, record: Record) {
        self.aside_bytes += record.bytes();
        self.aside.push(record);
    }
}

/// Where a refused record came from, and who refuses it.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) stage: &'static str,
    pub(crate) place: Place,
    pub(crate) letter_partitions: u32,
}

/// Leaves the newest of each key of compacted topics, in the order in which they were said.
pub(crate) fn newest(outputs: Vec<Output>) -> Vec<Output> {
    let mut said = HashSet::with_capacity_and_hasher(outputs.len(), RandomState::default());
    let judged: Vec<bool> =
        outputs.iter().rev().map(|output| !output.topic.is_compacted() || said.insert((output.topic.name, output.key.as_str()))).collect();
    outputs.into_iter().zip(judged.into_iter().rev()).filter_map(|(output, is_newest)| is_newest.then_some(output)).collect()
}
