//! How stages that keep their rows as a version byte and postcard write them, and how rows are gone through.

pub(crate) mod raw;

use std::fmt::Display;
use std::ops::ControlFlow;

use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

/// Most rows have a few hundred bytes; a `Vec` that grows from one takes eight steps to there.
const ROOM: usize = 768;

/// How long a time is in a key.
pub const TIME_BYTES: usize = 8;

/// A table of a stage whose rows are a version byte and postcard.
pub trait StageTable: Copy {
    /// Of rows, but for those that have more to say.
    const VERSION: u8;

    /// The first byte of its keys.
    fn byte(self) -> u8;

    /// What it is called where something is wrong with it.
    fn name(self) -> &'static str;

    /// The key of all rows.
    fn all(self) -> Vec<u8> {
        vec![self.byte()]
    }

    fn corrupt(self, key: &[u8], reason: impl Display) -> StoreError {
        StoreError::corrupt(self.name(), key, reason.to_string())
    }

    /// A row as it is written.
    fn row<T: Serialize>(self, key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
        write(self.name(), key, Self::VERSION, value)
    }

    /// A row as it was written.
    fn read<T: DeserializeOwned>(self, key: &[u8], row: &[u8]) -> Result<T, StoreError> {
        read(self.name(), key, Self::VERSION, row)
    }

    /// The row of a key, if there is one.
    fn get<T: DeserializeOwned>(self, state: &dyn Store, key: &[u8]) -> Result<Option<T>, StoreError> {
        state.get(key)?.map(|row| self.read(key, &row)).transpose()
    }

    /// A row with what a later version has behind it: so an older row is read as one that has nothing there.
    fn extended<T: Serialize>(self, key: &[u8], mut row: Vec<u8>, version: u8, more: &T) -> Result<Vec<u8>, StoreError> {
        row[0] = version;
        postcard::to_extend(more, row).map_err(|error| self.corrupt(key, error))
    }

    /// The first value of a body without its version, and what stands behind it.
    fn take<'r, T: Deserialize<'r>>(self, key: &[u8], body: &'r [u8]) -> Result<(T, &'r [u8]), StoreError> {
        postcard::take_from_bytes(body).map_err(|error| self.corrupt(key, error))
    }

    /// What stands behind that, to the end.
    fn rest<'r, T: Deserialize<'r>>(self, key: &[u8], body: &'r [u8]) -> Result<T, StoreError> {
        postcard::from_bytes(body).map_err(|error| self.corrupt(key, error))
    }
}

/// A row as it is written.
pub fn write<T: Serialize>(table: &'static str, key: &[u8], version: u8, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut row = Vec::with_capacity(ROOM);
    row.push(version);
    let mut row = postcard::to_extend(value, row).map_err(|error| StoreError::corrupt(table, key, error.to_string()))?;
    row.shrink_to_fit();
    Ok(row)
}

/// A row as it was written.
pub fn read<T: DeserializeOwned>(table: &'static str, key: &[u8], known: u8, row: &[u8]) -> Result<T, StoreError> {
    let corrupt = |reason: String| StoreError::corrupt(table, key, reason);
    let (version, body) = row.split_first().ok_or_else(|| corrupt("an empty row".to_owned()))?;
    if *version != known {
        return Err(corrupt(format!("a row of version {version}, this program knows {known}")));
    }
    postcard::from_bytes(body).map_err(|error| corrupt(error.to_string()))
}

/// What tells values apart.
pub fn digest(value: &[u8]) -> Id {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(value).as_bytes()[..16]);
    Id(short)
}

/// A key with its row, as they are written.
pub type Row = (Vec<u8>, Vec<u8>);

/// The keys and rows below a key as they are written, at most so many, from one on.
pub fn pairs(state: &dyn Store, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>, StoreError> {
    let mut pairs = Vec::new();
    state.scan(prefix, from, &mut |key, row| {
        pairs.push((key.to_vec(), row.to_vec()));
        if pairs.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(pairs)
}

/// The keys below a key, at most so many, from one on.
pub fn keys(state: &dyn Store, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    state.scan(prefix, from, &mut |key, _| {
        keys.push(key.to_vec());
        if keys.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(keys)
}

/// Whether there is a row below a key.
pub fn is_any(state: &dyn Store, prefix: &[u8]) -> Result<bool, StoreError> {
    let mut found = false;
    state.scan(prefix, prefix, &mut |_, _| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// A time in an order that bytes have too.
pub fn time_bytes(time: Timestamp) -> [u8; TIME_BYTES] {
    ((time.millis() as u64) ^ (1 << 63)).to_be_bytes()
}

/// The time at the beginning and what follows.
pub fn take_time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (time, rest) = bytes.split_at_checked(TIME_BYTES)?;
    let time = u64::from_be_bytes(time.try_into().ok()?) ^ (1 << 63);
    Some((Timestamp::from_millis(time as i64), rest))
}
