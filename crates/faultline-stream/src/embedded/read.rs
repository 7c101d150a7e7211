//! Ways through the chunks of a partition, and through the words that records in them are superseded.

use rocksdb::{DB, DBRawIterator, ReadOptions, Snapshot};

use super::EmbeddedLog;
use super::chunk::Chunk;
use super::state::{bounded, rows};
use crate::error::HostError;
use crate::layout;
use crate::rocks::{self, LOG, META};

/// The chunks of a partition, from the one with an offset on.
pub(super) struct Chunks<'d> {
    rows: DBRawIterator<'d>,
}

impl<'d> Chunks<'d> {
    pub(super) fn new(db: &'d DB, now: &Snapshot<'_>, topic: &str, partition: u32, from: u64) -> Self {
        let mut once = ReadOptions::default();
        // Read in passing, it would push out of the cache what is looked up again and again.
        once.fill_cache(false);
        once.set_snapshot(now);
        Self { rows: from_chunk_with(once, db, topic, partition, from) }
    }

    pub(super) fn next(&mut self) -> Result<Option<Chunk>, HostError> {
        let chunk = self.rows.item().map(|(key, row)| Chunk::unpack(layout::offset_of(key)?, row)).transpose()?;
        if chunk.is_some() {
            self.rows.next();
        } else {
            self.rows.status().map_err(|source| HostError::Read { source })?;
        }
        Ok(chunk)
    }
}

/// An iterator at the chunk that has this offset, or else at the one behind it.
fn from_chunk_with<'d>(mut options: ReadOptions, db: &'d DB, topic: &str, partition: u32, offset: u64) -> DBRawIterator<'d> {
    options.set_iterate_lower_bound(layout::log_key(topic, partition, 0));
    options.set_iterate_upper_bound(layout::log_end(topic, partition));
    let mut rows = db.raw_iterator_cf_opt(rocks::family(db, LOG), options);
    let at = layout::log_key(topic, partition, offset);
    rows.seek_for_prev(&at);
    let ends = |key, row| Chunk::end_of(layout::offset_of(key)?, row);
    match rows.item().map(|(key, row)| ends(key, row)) {
        Some(Ok(end)) if end <= offset => rows.next(),
        // One that cannot be read is told of by who unpacks it.
        Some(_) => {}
        None => rows.seek(&at),
    }
    rows
}

/// Which offsets are superseded, asked in ascending order.
pub(super) struct Superseded<'d> {
    rows: DBRawIterator<'d>,
}

impl<'d> Superseded<'d> {
    pub(super) fn new(db: &'d DB, now: &Snapshot<'_>, topic: &str, partition: u32, from: u64) -> Self {
        let mut options = ReadOptions::default();
        options.set_snapshot(now);
        let first = layout::superseded_row(topic, partition, from);
        Self { rows: bounded(options, db, META, &first, Some(layout::superseded_row(topic, partition, u64::MAX))) }
    }

    pub(super) fn has(&mut self, offset: u64) -> Result<bool, HostError> {
        while let Some(key) = self.rows.key() {
            let at = layout::offset_of(key)?;
            if at >= offset {
                return Ok(at == offset);
            }
            self.rows.next();
        }
        self.rows.status().map_err(|source| HostError::Read { source })?;
        Ok(false)
    }
}

impl EmbeddedLog {
    /// The chunk that has an offset. Its record may have been cleaned away.
    pub(super) fn chunk_with(&self, topic: &str, partition: u32, offset: u64) -> Result<Option<Chunk>, HostError> {
        let mut chunks = Chunks { rows: from_chunk_with(ReadOptions::default(), &self.db, topic, partition, offset) };
        let chunk = chunks.next()?;
        Ok(chunk.filter(|chunk| chunk.first() <= offset))
    }

    /// Offsets that are superseded, from one on and below another, at most so many.
    pub(super) fn superseded(&self, topic: &str, partition: u32, from: u64, below: u64, most: usize) -> Result<Vec<u64>, HostError> {
        let (first, end) = (layout::superseded_row(topic, partition, from), layout::superseded_row(topic, partition, below));
        let mut rows = rows(&self.db, META, &first, Some(end));
        let mut offsets = Vec::new();
        while offsets.len() < most
            && let Some(key) = rows.key()
        {
            offsets.push(layout::offset_of(key)?);
            rows.next();
        }
        rows.status().map_err(|source| HostError::Read { source })?;
        Ok(offsets)
    }
}
