//! Keys and rows on disk. Numbers in keys are big-endian so that byte order is their order; names are length-prefixed, so that no
//! name is a prefix of another's keys.

use crate::commit::TaskId;
use crate::error::HostError;
use crate::log::{Record, Stored};

/// The format of the folder. A change of any key or row below raises it.
pub(crate) const FORMAT: u32 = 2;

pub(crate) const FORMAT_ROW: &[u8] = b"format";
/// The Kafka cluster whose state a folder keeps.
#[cfg(feature = "kafka")]
pub(crate) const CLUSTER_ROW: &[u8] = b"cluster";
pub(crate) const PARTITIONS_ROW: &[u8] = b"partitions";

fn named(name: &str, number: u32, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + name.len() + 4 + room);
    key.extend((name.len() as u16).to_be_bytes());
    key.extend(name.as_bytes());
    key.extend(number.to_be_bytes());
    key
}

fn followed(mut key: Vec<u8>, by: &[u8]) -> Vec<u8> {
    key.extend(by);
    key
}

/// Where a chunk of records is that begins with this offset.
pub(crate) fn log_key(topic: &str, partition: u32, offset: u64) -> Vec<u8> {
    followed(named(topic, partition, 8), &offset.to_be_bytes())
}

/// The first key behind a partition's records.
pub(crate) fn log_end(topic: &str, partition: u32) -> Vec<u8> {
    // No offset reaches u64::MAX, so that one is free as a bound.
    log_key(topic, partition, u64::MAX)
}

pub(crate) fn offset_of(log_key: &[u8]) -> Result<u64, HostError> {
    log_key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(|| corrupt("a key of the log", "it has no offset"))
}

pub(crate) fn latest_key(topic: &str, partition: u32, key: &[u8]) -> Vec<u8> {
    followed(named(topic, partition, key.len()), key)
}

pub(crate) fn state_key(task: TaskId, key: &[u8]) -> Vec<u8> {
    row_key(task.stage, task.partition, key)
}

/// The same of a task whose stage is known by name.
pub(crate) fn row_key(stage: &str, partition: u32, key: &[u8]) -> Vec<u8> {
    followed(named(stage, partition, key.len()), key)
}

/// The part of a state key by which rows are read together, if its stage says so: within one task, a group of its rows.
pub(crate) fn state_group(state_key: &[u8]) -> Option<&[u8]> {
    let (length, rest) = state_key.split_first_chunk()?;
    let (stage, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (_, key) = rest.split_at_checked(4)?;
    let group = faultline_core::stage::group_of(stage, key)?;
    state_key.get(..state_key.len() - key.len() + group)
}

pub(crate) fn end_row(topic: &str, partition: u32) -> Vec<u8> {
    followed(b"end/".to_vec(), &named(topic, partition, 0))
}

pub(crate) fn start_row(topic: &str, partition: u32) -> Vec<u8> {
    followed(b"start/".to_vec(), &named(topic, partition, 0))
}

/// The lowest offset from which on a reader of a compacted topic sees every word that a key went.
pub(crate) fn horizon_row(topic: &str, partition: u32) -> Vec<u8> {
    followed(b"horizon/".to_vec(), &named(topic, partition, 0))
}

/// Of each word that a key went its record time, in offset order, so that old ones are found without looking at all records.
/// It may outlive the record: that is seen when its time comes.
pub(crate) fn gone_row(topic: &str, partition: u32, offset: u64) -> Vec<u8> {
    followed(b"gone/".to_vec(), &log_key(topic, partition, offset))
}

/// Of a compacted topic, a record that stands in its chunk and is no more: its key has a newer one, or went.
pub(crate) fn superseded_row(topic: &str, partition: u32, offset: u64) -> Vec<u8> {
    followed(b"superseded/".to_vec(), &log_key(topic, partition, offset))
}

/// The offset of a task's changelog behind what is kept of its state.
#[cfg(feature = "kafka")]
pub(crate) fn changelog_row(task: TaskId) -> Vec<u8> {
    followed(CHANGELOG_ROWS.to_vec(), &named(task.stage, task.partition, 0))
}

/// What those of all tasks begin with; behind it is what [`place_of`] reads, with the stage for the topic.
#[cfg(feature = "kafka")]
pub(crate) const CHANGELOG_ROWS: &[u8] = b"changelog/";

pub(crate) fn positions_prefix(task: TaskId) -> Vec<u8> {
    followed(b"position/".to_vec(), &named(task.stage, task.partition, 0))
}

pub(crate) fn position_row(task: TaskId, topic: &str, partition: u32) -> Vec<u8> {
    followed(positions_prefix(task), &named(topic, partition, 0))
}

/// The topic and partition that a position row ends with.
pub(crate) fn place_of<'r>(row: &'r [u8], prefix: &[u8]) -> Result<(&'r str, u32), HostError> {
    let mut rest = Rest { bytes: row.get(prefix.len()..).unwrap_or_default(), row: "a position" };
    let length = u16::from_be_bytes(rest.array()?);
    let topic = std::str::from_utf8(rest.take(usize::from(length))?).map_err(|_| corrupt("a position", "its topic is no text"))?;
    Ok((topic, u32::from_be_bytes(rest.array()?)))
}

/// The smallest key above all keys with this prefix. A prefix of only 0xff has none; ours begin with a length or a name.
pub(crate) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bound = prefix[..=last].to_vec();
    bound[last] += 1;
    Some(bound)
}

pub(crate) fn number(row: &str, value: &[u8]) -> Result<u64, HostError> {
    Ok(u64::from_be_bytes(value.try_into().map_err(|_| corrupt(row, "it is no number of 8 bytes"))?))
}

pub(crate) fn encode(row: &mut Vec<u8>, record: &Record) {
    let text = |row: &mut Vec<u8>, bytes: &[u8]| {
        // Bounded by MAX_RECORD_BYTES, so lengths fit.
        row.extend((bytes.len() as u32).to_le_bytes());
        row.extend(bytes);
    };
    row.extend(record.timestamp_ms.to_le_bytes());
    text(row, &record.key);
    row.push(u8::from(record.value.is_some()));
    if let Some(value) = &record.value {
        text(row, value);
    }
    row.extend((record.headers.len() as u32).to_le_bytes());
    for (name, value) in &*record.headers {
        text(row, name.as_bytes());
        text(row, value);
    }
}

/// The record time of a row of the log.
pub(crate) fn time_of(row: &[u8]) -> Result<i64, HostError> {
    row.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)).ok_or_else(|| corrupt("a record of the log", "it is cut short"))
}

/// A time in a row of its own.
pub(crate) fn time_in(row: &[u8]) -> Result<i64, HostError> {
    row.try_into().map(i64::from_be_bytes).map_err(|_| corrupt("the time of a record that a key went", "it is no number of 8 bytes"))
}

pub(crate) fn decode(offset: u64, row: &[u8]) -> Result<Stored, HostError> {
    let mut rest = Rest { bytes: row, row: "a record of the log" };
    let timestamp_ms = i64::from_le_bytes(rest.array()?);
    let key = rest.text()?.to_vec();
    let value = match rest.array()? {
        [0] => None,
        [1] => Some(rest.text()?.to_vec()),
        _ => return Err(corrupt(rest.row, "it neither has a value nor has none")),
    };
    let count = u32::from_le_bytes(rest.array()?);
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = String::from_utf8(rest.text()?.to_vec()).map_err(|_| corrupt(rest.row, "a header's name is no text"))?;
        headers.push((name, rest.text()?.to_vec()));
    }
    if rest.bytes.is_empty() {
        Ok(Stored { offset, key, value, headers: headers.into(), timestamp_ms })
    } else {
        Err(corrupt(rest.row, "it is too long"))
    }
}

pub(crate) fn corrupt(row: &str, reason: &'static str) -> HostError {
    HostError::Corrupt { row: row.to_owned(), reason }
}

struct Rest<'r> {
    bytes: &'r [u8],
    row: &'static str,
}

impl<'r> Rest<'r> {
    fn take(&mut self, length: usize) -> Result<&'r [u8], HostError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| corrupt(self.row, "it is cut short"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HostError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| corrupt(self.row, "it is cut short"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<&'r [u8], HostError> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_survives_its_row(
            key in any::<Vec<u8>>(), value in any::<Option<Vec<u8>>>(), timestamp_ms in any::<i64>(),
            names in proptest::collection::vec("[a-z]{0,4}", 0..3), cut in any::<proptest::sample::Index>(),
        ) {
            let headers = names.into_iter().map(|name| (name, vec![1, 2])).collect();
            let record = Record { topic: "t", partition: 0, key, value, headers, timestamp_ms };
            let mut row = Vec::new();
            encode(&mut row, &record);
            prop_assert!(decode(7, &row[..cut.index(row.len())]).is_err());
            prop_assert_eq!(decode(7, &row).unwrap(), record.at(7));
        }

        #[test]
        fn nothing_stands_between_a_prefix_and_its_bound(prefix in any::<Vec<u8>>(), tail in any::<Vec<u8>>()) {
            if let Some(bound) = after(&prefix) {
                prop_assert!(followed(prefix.clone(), &tail) < bound);
                prop_assert!(!bound.starts_with(&prefix));
            }
        }
    }

    #[test]
    fn a_position_row_names_its_place() {
        let task = TaskId { stage: "track", partition: 3 };
        let row = position_row(task, "findings", 9);
        assert_eq!(place_of(&row, &positions_prefix(task)).unwrap(), ("findings", 9));
    }
}
