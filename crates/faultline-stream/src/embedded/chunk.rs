//! A row of the log: consecutive records of a partition, compressed as one (what Kafka calls a record batch).
//!
//! RocksDB writes what it is given twice (write-ahead log, table), then merges it again and again, compressing anew each time.
//! Records packed once are a sixth of the bytes on all of these ways.
//!
//! A chunk: the number of offsets it spans and of records it has (4 bytes each, little-endian), the length of the records (4
//! bytes), then 0 and the records as they are, or 1 and them as a Zstandard frame. A record: its offset less the chunk's (4 bytes),
//! its length (4 bytes), its row.

use std::cell::RefCell;

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::error::HostError;
use crate::layout::{self, corrupt};
use crate::log::{Record, Stored};

/// A chunk is closed when it has so much: to look one record up reads a whole one, and larger ones compress little better.
const CHUNK_BYTES: usize = 64 << 10;
/// Below, compression costs more than it saves.
const WORTH_COMPRESSING: usize = 256;
const LEVEL: i32 = 1;
const ROW: &str = "a chunk of the log";
const OTHER_LENGTH: &str = "its records are not as long as it says";
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

/// A chunk in the making.
#[derive(Default)]
pub(super) struct Packer {
    records: Vec<u8>,
    span: u32,
    count: u32,
}

impl Packer {
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= CHUNK_BYTES
    }

    pub(super) fn push(&mut self, record: &Record) {
        self.push_at(self.span, record);
    }

    /// At an offset less the chunk's, behind all that it has.
    pub(super) fn push_at(&mut self, at: u32, record: &Record) {
        self.push_row(at, |records| layout::encode(records, record));
        self.span = at + 1;
    }

    fn push_row(&mut self, at: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.records.extend(at.to_le_bytes());
        let length = self.records.len();
        self.records.extend([0; 4]);
        write(&mut self.records);
        // Bounded by the largest record, so lengths fit.
        let bytes = (self.records.len() - length - 4) as u32;
        self.records[length..length + 4].copy_from_slice(&bytes.to_le_bytes());
        self.count += 1;
    }

    /// The row.
    pub(super) fn pack(&self) -> Result<Vec<u8>, HostError> {
        let mut row = Vec::with_capacity(16 + self.records.len() / 3);
        row.extend(self.span.to_le_bytes());
        row.extend(self.count.to_le_bytes());
        row.extend((self.records.len() as u32).to_le_bytes());
        if self.records.len() < WORTH_COMPRESSING {
            row.push(PLAIN);
            row.extend(&self.records);
        } else {
            row.push(COMPRESSED);
            row.extend(compressed(&self.records)?);
        }
        Ok(row)
    }
}

/// A chunk as it stands in the log.
pub(super) struct Chunk {
    first: u64,
    span: u32,
    count: u32,
    records: Vec<u8>,
}

impl Chunk {
    pub(super) fn unpack(first: u64, row: &[u8]) -> Result<Self, HostError> {
        let (span, rest) = number(row)?;
        let (count, rest) = number(rest)?;
        let (length, rest) = number(rest)?;
        let records = match rest.split_first() {
            Some((&PLAIN, records)) if records.len() == length as usize => records.to_vec(),
            Some((&COMPRESSED, frame)) => decompressed(frame, length as usize)?,
            Some((&PLAIN, _)) => return Err(corrupt(ROW, OTHER_LENGTH)),
            _ => return Err(corrupt(ROW, "it is neither plain nor compressed")),
        };
        Ok(Self { first, span, count, records })
    }

    /// The offset behind a chunk, without unpacking it.
    pub(super) fn end_of(first: u64, row: &[u8]) -> Result<u64, HostError> {
        Ok(first + u64::from(number(row)?.0))
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.span)
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Each record's offset and row, from an offset on.
    pub(super) fn rows_from(&self, from: u64) -> impl Iterator<Item = Result<(u64, &[u8]), HostError>> {
        self.rows().skip_while(move |row| matches!(row, Ok((offset, _)) if *offset < from))
    }

    fn rows(&self) -> impl Iterator<Item = Result<(u64, &[u8]), HostError>> {
        let mut rest = &self.records[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let row = next_row(&mut rest);
            if row.is_err() {
                rest = &[];
            }
            Some(row.map(|(at, row)| (self.first + u64::from(at), row)))
        })
    }

    /// The record at an offset, if it is there.
    pub(super) fn record(&self, offset: u64) -> Result<Option<Stored>, HostError> {
        match self.rows_from(offset).next() {
            Some(row) => {
                let (at, row) = row?;
                (at == offset).then(|| layout::decode(offset, row)).transpose()
            }
            None => Ok(None),
        }
    }

    /// The same chunk without these records; nothing if none is left.
    pub(super) fn without(&self, is_gone: impl Fn(u64) -> bool) -> Result<Option<Vec<u8>>, HostError> {
        let mut left = Packer { span: self.span, ..Packer::default() };
        for row in self.rows() {
            let (offset, row) = row?;
            if !is_gone(offset) {
                left.push_row((offset - self.first) as u32, |records| records.extend(row));
            }
        }
        (left.count > 0).then(|| left.pack()).transpose()
    }
}

fn next_row<'r>(rest: &mut &'r [u8]) -> Result<(u32, &'r [u8]), HostError> {
    let (at, after) = number(rest)?;
    let (length, after) = number(after)?;
    let (row, after) = after.split_at_checked(length as usize).ok_or_else(|| corrupt(ROW, "a record in it is cut short"))?;
    *rest = after;
    Ok((at, row))
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), HostError> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt(ROW, "it is cut short"))?;
    Ok((u32::from_le_bytes(*number), rest))
}

thread_local! {
    /// Their memory is asked for once a thread.
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

fn compressed(records: &[u8]) -> Result<Vec<u8>, HostError> {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(records.len()));
    COMPRESSOR
        .with_borrow_mut(|compressor| {
            let level = compressor.set_parameter(CParameter::CompressionLevel(LEVEL));
            level.and_then(|_| compressor.compress2(&mut frame, records))
        })
        .map_err(|code| HostError::Compression { reason: zstd_safe::get_error_name(code) })?;
    Ok(frame)
}

fn decompressed(frame: &[u8], length: usize) -> Result<Vec<u8>, HostError> {
    // Asked for at once, so it is compared with what the frame says.
    if !matches!(zstd_safe::get_frame_content_size(frame), Ok(Some(told)) if told == length as u64) {
        return Err(corrupt(ROW, OTHER_LENGTH));
    }
    let mut records = Vec::with_capacity(length);
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.decompress(&mut records, frame))
        .map_err(|_| corrupt(ROW, "its records cannot be decompressed"))?;
    if records.len() == length { Ok(records) } else { Err(corrupt(ROW, OTHER_LENGTH)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(value: &[u8]) -> Record {
        Record { topic: "t", partition: 0, key: b"key".to_vec(), value: Some(value.to_vec()), headers: [].into(), timestamp_ms: 7 }
    }

    fn packed(records: &[Record]) -> Vec<u8> {
        let mut packer = Packer::default();
        for record in records {
            packer.push(record);
        }
        packer.pack().unwrap()
    }

    fn stored(chunk: &Chunk, from: u64) -> Vec<Stored> {
        chunk.rows_from(from).map(|row| row.and_then(|(offset, row)| layout::decode(offset, row)).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn records_survive_their_chunk_and_the_loss_of_others(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..9),
            gone in any::<u8>(), from in 90_u64..112, cut in any::<proptest::sample::Index>(),
        ) {
            let records: Vec<Record> = values.iter().map(|value| record(value)).collect();
            let row = packed(&records);
            let whole: Vec<Stored> = records.into_iter().zip(100..).map(|(record, offset)| record.at(offset)).collect();
            let chunk = Chunk::unpack(100, &row).unwrap();
            prop_assert_eq!((chunk.first(), chunk.end(), chunk.count()), (100, 100 + whole.len() as u64, whole.len()));
            prop_assert_eq!(Chunk::end_of(100, &row).unwrap(), chunk.end());
            prop_assert_eq!(stored(&chunk, from), whole.iter().filter(|record| record.offset >= from).cloned().collect::<Vec<_>>());
            let is_gone = |offset: u64| gone >> (offset - 100) & 1 == 1;
            let left: Vec<Stored> = whole.iter().filter(|record| !is_gone(record.offset)).cloned().collect();
            match chunk.without(is_gone).unwrap() {
                Some(row) => {
                    let chunk = Chunk::unpack(100, &row).unwrap();
                    prop_assert_eq!((chunk.end(), chunk.count()), (100 + whole.len() as u64, left.len()));
                    prop_assert_eq!(stored(&chunk, 0), left);
                    prop_assert_eq!(chunk.record(from).unwrap(), whole.into_iter().find(|record| record.offset == from && !is_gone(from)));
                }
                None => prop_assert!(left.is_empty()),
            }
            prop_assert!(Chunk::unpack(100, &row[..cut.index(row.len())]).is_err());
        }
    }

    #[test]
    fn what_is_alike_takes_little_and_a_wrong_row_is_told() {
        let row = packed(&vec![record(&[b'x'; 200]); 100]);
        assert!(row.len() < 1000, "{} bytes of 22,000", row.len());
        let reason = |row: &[u8]| match Chunk::unpack(0, row) {
            Err(HostError::Corrupt { reason, .. }) => reason,
            _ => "none",
        };
        assert_eq!(reason(&row[..row.len() - 1]), "its records cannot be decompressed");
        assert_eq!(reason(&row[..6]), "it is cut short");
        let changed = |at: usize, byte: u8| [&row[..at], &[byte], &row[at + 1..]].concat();
        assert_eq!(reason(&changed(12, 9)), "it is neither plain nor compressed");
        assert_eq!(reason(&changed(8, 0xff)), OTHER_LENGTH);
    }
}
