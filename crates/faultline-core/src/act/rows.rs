//! The rows of act's state: their keys, and how they are written.
//!
//! A key is the table's byte, then the exception or the fix, then what the table is ordered by. A row is a version byte and postcard.

use faultline_model::decision::OutcomeStatus;
use faultline_model::exception::Response;
use faultline_model::id::Id;
use faultline_model::register::Event;
use faultline_model::share::{Share, ShareRisk};
use faultline_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::exception::{Exception, Longest};
use crate::policy::Bands;
use crate::row::{StageTable, TIME_BYTES, keys, take_time, time_bytes};
use crate::stage::Home;
use crate::store::{Store, StoreError};

/// The version of rows.
pub const ROW_VERSION: u8 = 1;
/// Of what the register has beside that. An exception has it once the operator has finalised it. A share has it as soon as correlate says so, which it
/// does once its own format is finalised, and this one with it: no older version takes over after that.
pub const ASSESSED_VERSION: u8 = 2;
/// Of the shares of fixes. As a share of the version before.
pub const TICKET_VERSION: u8 = 3;

/// The tables. The numbers are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// Exception → what it is.
    Exceptions = 1,
    /// Exception, idempotency key → what became of the step.
    Judged = 2,
    /// Exception or fix, service → its share.
    Shares = 3,
    /// Exception or fix → what its shares are together.
    Sums = 4,
    /// Exception or fix, grant (0 of a fix), whether nothing is broken, score from the highest, service.
    Ranked = 5,
    /// Due time, exception or fix, what for.
    Timers = 6,
    /// Copy of what the catalog allows.
    Rules = 7,
    /// How far entries of before were said anew.
    Said = 8,
    /// Fix → the ticket that is wanted.
    Tickets = 9,
    /// Fix, whether it is used rather than owned, first seen, service → queue: who asks for its ticket.
    Claims = 10,
    /// Fix, queue → until when it is said that the ticket was there.
    Left = 11,
}

impl StageTable for Table {
    const VERSION: u8 = ROW_VERSION;

    fn byte(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Self::Exceptions => "exceptions",
            Self::Judged => "judged",
            Self::Shares => "shares",
            Self::Sums => "sums",
            Self::Ranked => "ranked",
            Self::Timers => "timers",
            Self::Rules => "rules",
            Self::Said => "said",
            Self::Tickets => "tickets",
            Self::Claims => "claims",
            Self::Left => "left",
        }
    }
}

impl Table {
    /// The one with the highest number.
    const LAST: Self = Self::Left;

    pub fn of(self, subject: Id) -> Vec<u8> {
        let mut key = self.all();
        key.extend(subject.0);
        key
    }

    pub fn at(self, subject: Id, rest: &str) -> Vec<u8> {
        let mut key = self.of(subject);
        key.extend(rest.as_bytes());
        key
    }
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub exception: Exception,
    /// The step that granted it last; 0 before.
    pub grant: i32,
    /// As the policy had it when the exception was written or granted, so that another policy moves no timer.
    pub warning_days: i64,
    /// The grant that was said to hold; none if none is.
    pub held: Option<i32>,
    /// When it is to be looked at again.
    pub due: Option<Timestamp>,
    /// Of a suspended one: the first risks that it covered then.
    pub first: Vec<ShareRisk>,
    pub history: Vec<Event>,
    /// Of the register entry that was said last.
    #[serde(with = "crate::row::raw")]
    pub said: Id,
    /// What goes with its terms.
    #[serde(skip)]
    pub response: Response,
}

impl Row {
    pub fn get(state: &dyn Store, exception: Id) -> Result<Option<Self>, StoreError> {
        let key = Table::Exceptions.of(exception);
        state.get(&key)?.map(|row| Self::read(&key, &row)).transpose()
    }

    fn read(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let Some((&ASSESSED_VERSION, body)) = row.split_first() else { return Table::Exceptions.read(key, row) };
        let (row, rest): (Self, _) = Table::Exceptions.take(key, body)?;
        Ok(Self { response: Table::Exceptions.rest(key, rest)?, ..row })
    }

    pub fn row(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let row = Table::Exceptions.row(key, self)?;
        if self.response.is_empty() { Ok(row) } else { Table::Exceptions.extended(key, row, ASSESSED_VERSION, &self.response) }
    }
}

/// The share at a key.
pub fn share(state: &dyn Store, key: &[u8]) -> Result<Option<Share>, StoreError> {
    state.get(key)?.map(|row| read_share(key, &row)).transpose()
}

pub fn read_share(key: &[u8], row: &[u8]) -> Result<Share, StoreError> {
    match row.split_first() {
        Some((&TICKET_VERSION, body)) => Table::Shares.rest(key, body),
        // Where the fix of a share stands since, and its rating, there is a place for none.
        Some((&ASSESSED_VERSION, body)) => Table::Shares.rest(key, &[body, &[0]].concat()),
        _ => Table::Shares.read(key, &[row, &[0, 0]].concat()),
    }
}

/// A share as it is written: without a rating it is as before there was one.
pub fn share_row(key: &[u8], share: &Share) -> Result<Vec<u8>, StoreError> {
    if share.fix.is_some() {
        // What is not there stands as none, where something follows it.
        let plain = Table::Shares.row(key, &Share { rating: None, fix: None, ..share.clone() })?;
        return Table::Shares.extended(key, plain, TICKET_VERSION, &(&share.rating, &share.fix));
    }
    let mut row = Table::Shares.row(key, share)?;
    if share.rating.is_some() {
        row[0] = ASSESSED_VERSION;
    }
    Ok(row)
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub status: OutcomeStatus,
    pub reason: String,
    pub at: Timestamp,
}

/// What the shares of one grant are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub grant: i32,
    pub services: i32,
    pub risks: i32,
    pub contested: i32,
    pub loss: i64,
    pub inherent_loss: i64,
}

impl Sums {
    /// With a share more, or one less. A share of another grant says nothing.
    pub fn with(self, share: &Share, sign: i32) -> Self {
        if share.grant != self.grant {
            return self;
        }
        Self {
            grant: self.grant,
            services: self.services + sign * i32::from(share.risks > 0),
            risks: self.risks.saturating_add(sign * share.risks),
            contested: self.contested.saturating_add(sign * share.contested),
            loss: self.loss.saturating_add(i64::from(sign) * share.loss),
            inherent_loss: self.inherent_loss.saturating_add(i64::from(sign) * share.inherent_loss),
        }
    }
}

/// What the catalog allows, as it was when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    pub longest: Longest,
    pub warning_days: i64,
    pub bands: Bands,
}

/// The key of a share among those of its exception: what breaks something first, then the highest scores.
pub fn ranked(share: &Share) -> Vec<u8> {
    let mut key = ranks(share.subject, share.grant);
    key.push(u8::from(share.broken.is_empty()));
    let rank = u16::try_from(1000 - share.highest.clamp(0, 1000)).unwrap_or_default();
    key.extend(rank.to_be_bytes());
    key.extend(share.service.as_bytes());
    key
}

fn ranks(exception: Id, grant: i32) -> Vec<u8> {
    let mut key = Table::Ranked.of(exception);
    key.extend(grant.to_be_bytes());
    key
}

/// The services of an exception's shares of one grant in the order of [`ranked`], at most so many; `is_whole` leaves out those that break something.
pub fn ranking(state: &dyn Store, exception: Id, grant: i32, is_whole: bool, most: usize) -> Result<Vec<String>, StoreError> {
    let mut prefix = ranks(exception, grant);
    let head = prefix.len() + 3;
    if is_whole {
        prefix.push(1);
    }
    keys(state, &prefix, &prefix, most)?
        .into_iter()
        .map(|key| {
            let service = key.get(head..).and_then(|service| std::str::from_utf8(service).ok());
            service.map(str::to_owned).ok_or_else(|| Table::Ranked.corrupt(&key, "no service"))
        })
        .collect()
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Time changes where an exception stands.
    Due,
    /// An idempotency key is forgotten.
    Forget(String),
    /// A ticket that nobody asks for is wanted no more.
    Ticket,
    /// It is said no more that a ticket was in a queue.
    Left(String),
}

/// The key of a timer.
pub fn timer(due: Timestamp, exception: Id, alarm: &Alarm) -> Vec<u8> {
    let mut key = Table::Timers.all();
    key.extend(time_bytes(due));
    key.extend(exception.0);
    match alarm {
        Alarm::Due => key.push(0),
        Alarm::Forget(asked) => {
            key.push(1);
            key.extend(asked.as_bytes());
        }
        Alarm::Ticket => key.push(2),
        Alarm::Left(queue) => {
            key.push(3);
            key.extend(queue.as_bytes());
        }
    }
    key
}

/// A timer of its key.
pub fn read_timer(key: &[u8]) -> Result<(Timestamp, Id, Alarm), StoreError> {
    let parsed = || {
        let (due, rest) = take_time(key.get(1..)?)?;
        let (exception, rest) = rest.split_first_chunk::<16>()?;
        let alarm = match rest.split_first()? {
            (0, []) => Alarm::Due,
            (1, asked) => Alarm::Forget(std::str::from_utf8(asked).ok()?.to_owned()),
            (2, []) => Alarm::Ticket,
            (3, queue) => Alarm::Left(std::str::from_utf8(queue).ok()?.to_owned()),
            _ => return None,
        };
        Some((due, Id(*exception), alarm))
    };
    parsed().ok_or_else(|| Table::Timers.corrupt(key, "no timer"))
}

/// Where a row belongs: with its exception or fix; the copy of the catalog's everywhere.
pub fn home_of(key: &[u8]) -> Result<Home, StoreError> {
    let corrupt = |reason: &str| StoreError::corrupt("act", key, reason);
    let (table, rest) = key.split_first().ok_or_else(|| corrupt("an empty key"))?;
    let exception = match *table {
        table if table == Table::Rules as u8 => return Ok(Home::Everywhere),
        // Of other tasks it says nothing: they begin anew, which changes nothing that was done.
        table if table == Table::Said as u8 => return Ok(Home::WithEach(Vec::new())),
        table if table == Table::Timers as u8 => rest.get(TIME_BYTES..),
        table if (Table::Exceptions as u8..=Table::LAST as u8).contains(&table) => Some(rest),
        _ => return Err(corrupt("no table of this program")),
    };
    let id = exception.and_then(|bytes| bytes.first_chunk::<16>()).ok_or_else(|| corrupt("a key without its exception"))?;
    Ok(Home::With(Id(*id).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Changes, MemoryStore};

    #[test]
    fn every_table_says_where_a_row_belongs() {
        let id = Id([7; 16]);
        for table in 0..=u8::MAX {
            let mut key = vec![table];
            if table == Table::Timers as u8 {
                key.extend([0; 8]);
            }
            key.extend(id.0);
            let expected = match table {
                7 => Some(Home::Everywhere),
                8 => Some(Home::WithEach(Vec::new())),
                1..=6 | 9..=11 => Some(Home::With(id.to_string())),
                _ => None,
            };
            assert_eq!(home_of(&key).ok(), expected, "table {table}");
        }
        assert!(home_of(&[]).is_err() && home_of(&[1, 2]).is_err());
    }

    /// A share of before there were ratings is read, and written, as it was.
    #[test]
    fn a_share_keeps_its_bytes_until_it_has_more_to_say() {
        let plain = Share {
            subject: Id([1; 16]),
            service: "shop".into(),
            grant: 4,
            risks: 1,
            contested: 0,
            loss: 5,
            inherent_loss: 6,
            highest: 700,
            broken: vec![faultline_model::exception::Broken::InKev],
            first: Vec::new(),
            rating: None,
            fix: None,
        };
        let rating = faultline_model::share::Rating {
            likelihood: 300,
            impact: 400,
            band: faultline_model::observation::Severity::High,
            family: "xss".into(),
        };
        let key = Table::Shares.at(plain.subject, &plain.service);
        let fix = faultline_model::share::FixShare {
            queue: "web".into(),
            is_owner: true,
            first_seen: Timestamp::default(),
            kind: "upgrade".into(),
            what: "a in pom.xml".into(),
            guidance: String::new(),
            fixed_versions: vec!["2".into()],
            also: vec![Id([2; 16])],
            due: Timestamp::from_millis(1),
        };
        let rated = Share { rating: Some(rating), ..plain.clone() };
        for (said, version) in [
            (plain.clone(), ROW_VERSION),
            (rated.clone(), ASSESSED_VERSION),
            (Share { fix: Some(fix.clone()), ..rated }, TICKET_VERSION),
            (Share { fix: Some(fix), ..plain }, TICKET_VERSION),
        ] {
            let mut state = MemoryStore::default();
            let row = share_row(&key, &said).unwrap();
            assert_eq!(row[0], version);
            state.apply(Changes::from([(key.clone(), Some(row))]));
            assert_eq!(share(&state, &key).unwrap(), Some(said));
        }
        let mut cut = MemoryStore::default();
        cut.apply(Changes::from([(key.clone(), Some(vec![ASSESSED_VERSION]))]));
        assert!(share(&cut, &key).is_err());
    }

    #[test]
    fn a_timer_reads_as_it_was_written() {
        for alarm in [Alarm::Due, Alarm::Forget("k".into()), Alarm::Ticket, Alarm::Left("web".into())] {
            let key = timer(Timestamp::from_millis(-5), Id([1; 16]), &alarm);
            assert_eq!(read_timer(&key).unwrap(), (Timestamp::from_millis(-5), Id([1; 16]), alarm));
        }
        assert!(read_timer(&[6, 0]).is_err());
    }
}
