//! The rows of notify's state: their keys, and how they are written.
//!
//! A destination in a key ends with a zero byte, which no name has. A row is a version byte and postcard.

use std::ops::ControlFlow;

use faultline_model::exception::Stage as Standing;
use faultline_model::id::Id;
use faultline_model::notice::Notice;
use faultline_model::partition::first_part;
use faultline_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::row::{self, StageTable, take_time, time_bytes};
use crate::stage::Home;
use crate::store::{Store, StoreError};

/// The version of rows.
pub const ROW_VERSION: u8 = 1;

/// The tables. The numbers are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// When the task began to look.
    Begun = 1,
    /// Key of a risk that is verified → whether it was only accepted since.
    Verified = 2,
    /// Exception → where it stood.
    Entries = 3,
    /// Destination, notice → what is to be told.
    Outbox = 4,
    /// Destination, time, notice: what is due now.
    Ready = 5,
    /// Due time, destination, notice: what is due later, or forgotten.
    Timers = 6,
}

impl StageTable for Table {
    const VERSION: u8 = ROW_VERSION;

    fn byte(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Verified => "verified",
            Self::Entries => "entries",
            Self::Outbox => "outbox",
            Self::Ready => "ready",
            Self::Timers => "timers",
        }
    }
}

impl Table {
    pub fn of(self, rest: &[u8]) -> Vec<u8> {
        [&[self as u8], rest].concat()
    }

    /// Of a destination.
    pub fn to(self, destination: &str) -> Vec<u8> {
        [&[self as u8], destination.as_bytes(), &[0]].concat()
    }
}

/// Where an exception stood when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    pub stage: Standing,
    /// How many steps there were.
    pub version: i32,
}

/// A notice that a destination has not taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    pub notice: Notice,
    /// How often it was tried.
    pub attempts: i32,
    pub standing: Waits,
    /// Of the last attempt; empty before.
    pub reason: String,
}

/// What a notice waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waits {
    /// To be tried now.
    Ready,
    /// To be tried then.
    Until(Timestamp),
    /// It is not tried again, and forgotten then.
    Forgotten(Timestamp),
}

/// A notice in the outbox.
pub fn outbox(destination: &str, notice: Id) -> Vec<u8> {
    [Table::Outbox.to(destination).as_slice(), &notice.0].concat()
}

/// A notice that is due now, the oldest first.
pub fn ready(destination: &str, notice: &Notice) -> Vec<u8> {
    [Table::Ready.to(destination).as_slice(), &time_bytes(notice.at), &notice.id.0].concat()
}

pub fn timer(at: Timestamp, destination: &str, notice: Id) -> Vec<u8> {
    [Table::Timers.all().as_slice(), &time_bytes(at), destination.as_bytes(), &[0], &notice.0].concat()
}

/// A timer of its key: when, of which destination, for which notice.
pub fn read_timer(key: &[u8]) -> Result<(Timestamp, &str, Id), StoreError> {
    let parsed = || {
        let (at, rest) = take_time(key.get(1..)?)?;
        let (destination, notice) = read_named(rest)?;
        Some((at, destination, notice))
    };
    parsed().ok_or_else(|| Table::Timers.corrupt(key, "no timer"))
}

/// A destination, and the notice at the end.
fn read_named(bytes: &[u8]) -> Option<(&str, Id)> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    let (destination, notice) = bytes.split_at(at);
    Some((std::str::from_utf8(destination).ok()?, Id(*notice.last_chunk::<16>()?)))
}

/// The destination of a key of [`Table::Ready`], or of the outbox, and the notice.
pub fn read_place(key: &[u8]) -> Option<(&str, Id)> {
    read_named(key.get(1..)?)
}

/// What a destination is to be told now, the oldest first, at most so much.
pub fn due(state: &dyn Store, destination: &str, most: usize) -> Result<Vec<Due>, StoreError> {
    let prefix = Table::Ready.to(destination);
    let keys = row::keys(state, &prefix, &prefix, most)?;
    let one = |key: Vec<u8>| {
        let (_, notice) = read_place(&key).ok_or_else(|| Table::Ready.corrupt(&key, "no notice"))?;
        let due = Table::Outbox.get(state, &outbox(destination, notice))?;
        due.ok_or_else(|| Table::Ready.corrupt(&key, "ready, and not in the outbox"))
    };
    keys.into_iter().map(one).collect()
}

/// How many notices a destination is still to be told, of so many rows that are looked at, and since when the oldest of those waits.
pub fn undelivered(state: &dyn Store, destination: &str, most: usize) -> Result<(usize, Option<Timestamp>), StoreError> {
    let prefix = Table::Outbox.to(destination);
    let (mut count, mut seen, mut oldest, mut fault) = (0, 0, None, None);
    state.scan(&prefix, &prefix, &mut |key, row| {
        seen += 1;
        match Table::Outbox.read::<Due>(key, row) {
            Ok(Due { standing: Waits::Forgotten(_), .. }) => {}
            Ok(due) => {
                count += 1;
                oldest = Some(oldest.map_or(due.notice.at, |oldest: Timestamp| oldest.min(due.notice.at)));
            }
            Err(error) => fault = Some(error),
        }
        if seen >= most || fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    fault.map_or(Ok((count, oldest)), Err)
}

/// When the first of several tasks began to look.
pub fn one_copy(key: &[u8], copies: &[Vec<u8>]) -> Result<Vec<u8>, StoreError> {
    let begun = copies.iter().map(|row| Table::Begun.read::<Timestamp>(key, row)).collect::<Result<Vec<_>, _>>()?;
    let first = begun.into_iter().min().ok_or_else(|| Table::Begun.corrupt(key, "no copy"))?;
    Table::Begun.row(key, &first)
}

/// Where a row belongs: with what its notice comes of.
pub fn home_of(state: &dyn Store, key: &[u8]) -> Result<Home, StoreError> {
    let corrupt = |reason: &str| StoreError::corrupt("notify", key, reason);
    let (table, rest) = key.split_first().ok_or_else(|| corrupt("an empty key"))?;
    let text = || std::str::from_utf8(rest).map_err(|_| corrupt("no text"));
    let of_notice = |(destination, notice): (&str, Id)| {
        let due: Option<Due> = Table::Outbox.get(state, &outbox(destination, notice))?;
        let due = due.ok_or_else(|| corrupt("of no notice in the outbox"))?;
        Ok(Home::With(first_part(&due.notice.origin).to_owned()))
    };
    match *table {
        table if table == Table::Begun as u8 => Ok(Home::Everywhere),
        table if table == Table::Verified as u8 => Ok(Home::With(first_part(text()?).to_owned())),
        table if table == Table::Entries as u8 => {
            let id = rest.first_chunk::<16>().ok_or_else(|| corrupt("no exception"))?;
            Ok(Home::With(Id(*id).to_string()))
        }
        table if [Table::Outbox, Table::Ready].iter().any(|of| *of as u8 == table) => {
            of_notice(read_place(key).ok_or_else(|| corrupt("no notice"))?)
        }
        table if table == Table::Timers as u8 => {
            let (_, destination, notice) = read_timer(key)?;
            of_notice((destination, notice))
        }
        _ => Err(corrupt("no table of this program")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_they_were_written() {
        let (at, notice) = (Timestamp::from_millis(-5), Id([9; 16]));
        let key = timer(at, "soc", notice);
        assert_eq!(read_timer(&key).unwrap(), (at, "soc", notice));
        // A byte of a time or of an id may be the one that ends a name.
        assert_eq!(read_place(&outbox("soc", Id([0; 16]))), Some(("soc", Id([0; 16]))));
        assert!(read_timer(&[6, 0]).is_err());
    }
}
