//! The tables of correlate's state: their keys, and how rows are written.
//!
//! A key is the table's byte, then the service with its length, then what the table is ordered by. A row is a version byte and postcard.
//! Six tables hold no service: copies of global rows, what they are together, and what is pending for all of them.

use std::ops::ControlFlow;

use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use faultline_model::tracked::FindingState;
use serde::de::DeserializeOwned;

use super::templates::{ANY, REST, segments};
use crate::row::StageTable;
pub use crate::row::{TIME_BYTES, is_any, keys, pairs, take_time, time_bytes};
use crate::store::{Store, StoreError};

/// The version of rows.
pub const ROW_VERSION: u8 = 2;
/// Of a finding's row with what people said beside their verdict. It is written as soon as track says so, which it does once its own format
/// is finalised, and this one with it: no older version takes over after that.
pub const SAID_VERSION: u8 = 3;
/// Of what exceptions make of rows: where a service stands, and what shares have of a risk. A row is written so once it has something of that to
/// say, and it has not before the operator finalised it.
pub const HEED_VERSION: u8 = 4;
/// Of what shares have of a risk, with what its score is made of. As for the version before.
pub const RATE_VERSION: u8 = 5;

/// Of what tickets make of rows: whose findings are, and what shares have of a fix. As for the versions before.
pub const TICKET_VERSION: u8 = 6;

/// The tables. The numbers are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// Service, unit, rank → finding.
    Findings = 1,
    /// Service, finding → unit and rank.
    Locations = 2,
    /// Service, unit → what was published of it.
    Published = 3,
    /// Due time, service, unit.
    Timers = 4,
    /// Service, file key, unit → grain, for units of code.
    Files = 5,
    /// Service, route → route.
    Routes = 6,
    /// Service, template, route → entry.
    Entries = 7,
    /// Service, file key, route → entry.
    EntryFiles = 8,
    /// Service, path, kind, id → asset: what is placed by a path.
    Paths = 9,
    /// Service, template, route → visit.
    Visits = 10,
    /// Service, line → line of scans.
    Lines = 11,
    /// Service, asset, unit: units of code with several lines of scans.
    Several = 12,
    /// Service → copy of the catalog's row.
    Services = 13,
    /// Service, asset → copy of the place rules.
    Places = 14,
    /// Key of the catalog, service, asset: who looked at it.
    Watched = 15,
    /// Vulnerability → copy of what the feeds say.
    Intel = 16,
    /// Vulnerability, service, finding: who goes by it.
    Users = 17,
    /// Service, package, vulnerability, other → how many findings name both.
    Alike = 18,
    /// Copy of the policy's text.
    Policy = 19,
    /// Cause → cursor.
    Pending = 20,
    /// Service, finding in code, runtime finding: links that people confirmed.
    Confirmed = 21,
    /// Exception → copy of what holds.
    Exceptions = 22,
    /// What the copies of exceptions are together.
    Heeded = 23,
    /// Service, exception (or fix), grant (0 of a fix) → what its risks are together.
    Shares = 24,
    /// The same, rank, risk → title.
    Shared = 25,
    /// Service, exception (or fix) → digest of the share that was said last.
    ShareSaid = 26,
    /// Copy of the ticket policy's text, where its mode is on.
    Tickets = 27,
    /// Service, fix, seniority, risk → queue: the risks that claim a fix's ticket.
    Claims = 28,
}

impl StageTable for Table {
    const VERSION: u8 = ROW_VERSION;

    fn byte(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Self::Findings => "findings",
            Self::Locations => "locations",
            Self::Published => "published",
            Self::Timers => "timers",
            Self::Files => "files",
            Self::Routes => "routes",
            Self::Entries => "entries",
            Self::EntryFiles => "entry-files",
            Self::Paths => "paths",
            Self::Visits => "visits",
            Self::Lines => "lines",
            Self::Several => "several",
            Self::Services => "services",
            Self::Places => "places",
            Self::Watched => "watched",
            Self::Intel => "intel",
            Self::Users => "users",
            Self::Alike => "alike",
            Self::Policy => "policy",
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Exceptions => "exceptions",
            Self::Heeded => "heeded",
            Self::Shares => "shares",
            Self::Shared => "shared",
            Self::ShareSaid => "share-said",
            Self::Tickets => "tickets",
            Self::Claims => "claims",
        }
    }
}

impl Table {
    /// The one with the highest number.
    pub const LAST: Self = Self::Claims;

    /// The key of a service's rows.
    pub fn of(self, service: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(96);
        key.push(self as u8);
        put_text(&mut key, service);
        key
    }

    /// The key of a service's rows below one text.
    pub fn below(self, service: &str, text: &str) -> Vec<u8> {
        let mut key = self.of(service);
        put_text(&mut key, text);
        key
    }

    /// The key of rows below a text that comes before the service.
    pub fn under(self, text: &str) -> Vec<u8> {
        self.of(text)
    }

    /// The key of a service's row of one id.
    pub fn at(self, service: &str, id: Id) -> Vec<u8> {
        with_id(self.of(service), id)
    }

    /// The rows below a key, at most so many.
    pub fn rows<T: DeserializeOwned>(self, state: &dyn Store, prefix: &[u8], most: usize) -> Result<Vec<T>, StoreError> {
        rows_by(state, prefix, most, |key, row| self.read(key, row))
    }
}

/// The rows below a key as somebody reads them, at most so many.
pub fn rows_by<T>(
    state: &dyn Store,
    prefix: &[u8],
    most: usize,
    mut read: impl FnMut(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = Vec::new();
    let mut failed = None;
    state.scan(prefix, prefix, &mut |key, row| {
        match read(key, row) {
            Ok(value) => rows.push(value),
            Err(error) => failed = Some(error),
        }
        if failed.is_some() || rows.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    failed.map_or(Ok(rows), Err)
}

/// The service whose row this is: what its partition is chosen by. `None` for copies of global rows and what is pending for them.
pub fn service_of(key: &[u8]) -> Option<&str> {
    let (table, rest) = key.split_first()?;
    let by_text = [Table::Watched as u8, Table::Users as u8];
    let without = [Table::Intel, Table::Policy, Table::Pending, Table::Exceptions, Table::Heeded, Table::Tickets].map(|table| table as u8);
    let rest = match *table {
        table if without.contains(&table) => return None,
        table if table == Table::Timers as u8 => rest.get(TIME_BYTES..)?,
        table if by_text.contains(&table) => take_text(rest)?.1,
        _ => rest,
    };
    Some(take_text(rest)?.0)
}

/// How many bytes of a key say which rows are read together; `None` where they are read one by one.
pub fn group_of(key: &[u8]) -> Option<usize> {
    let (texts, ids) = match *key.first()? {
        table if table == Table::Findings as u8 || table == Table::Several as u8 => (1, 1),
        table if [Table::Files, Table::EntryFiles, Table::Visits].iter().any(|by| *by as u8 == table) => (2, 0),
        table if table == Table::Alike as u8 => (3, 0),
        table if [Table::Users, Table::Watched, Table::Entries, Table::Paths, Table::Confirmed].iter().any(|by| *by as u8 == table) => {
            (1, 0)
        }
        _ => return None,
    };
    let mut len = 1;
    for _ in 0..texts {
        let length = key.get(len..len + 2)?;
        len += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
    len += ids * ID_BYTES;
    (key.len() >= len).then_some(len)
}

/// A text with its length before it.
pub fn put_text(key: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    key.extend((bytes.len() as u16).to_be_bytes());
    key.extend(bytes);
}

/// The text at the beginning and what follows.
pub fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_at_checked(2)?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

const ID_BYTES: usize = 16;

pub fn with_id(mut key: Vec<u8>, id: Id) -> Vec<u8> {
    key.extend(id.0);
    key
}

/// The id at a key's end.
pub fn last_id(key: &[u8]) -> Option<Id> {
    Some(Id(key.get(key.len().checked_sub(ID_BYTES)?..)?.try_into().ok()?))
}

/// Where a finding's row stands: its unit, then its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub unit: Id,
    pub state: FindingState,
    pub first_seen: Timestamp,
}

impl Location {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = with_id(Vec::with_capacity(ID_BYTES + 1 + TIME_BYTES), self.unit);
        bytes.push(state_byte(self.state));
        bytes.extend(time_bytes(self.first_seen));
        bytes
    }

    pub fn read(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let parsed = || {
            let (unit, rest) = bytes.split_at_checked(ID_BYTES)?;
            let (state, rest) = rest.split_first()?;
            let state = [FindingState::Open, FindingState::Unknown, FindingState::Closed].get(usize::from(*state))?;
            Some(Self { unit: Id(unit.try_into().ok()?), state: *state, first_seen: take_time(rest)?.0 })
        };
        parsed().ok_or_else(|| Table::Locations.corrupt(key, "no location"))
    }

    /// The key of the finding's row.
    pub fn key(self, service: &str, finding: Id) -> Vec<u8> {
        let mut key = Table::Findings.of(service);
        key.extend(self.to_bytes());
        with_id(key, finding)
    }
}

fn state_byte(state: FindingState) -> u8 {
    match state {
        FindingState::Open => 0,
        FindingState::Unknown => 1,
        FindingState::Closed => 2,
    }
}

/// Ends a segment.
const END: u8 = 0;
const ANY_SEGMENT: u8 = 1;
const REST_SEGMENTS: u8 = 2;
/// Ends a path or template, before the id.
pub const PATH_END: u8 = 3;

/// Adds a literal segment to the key of a path or template.
pub fn put_literal(key: &mut Vec<u8>, segment: &str) {
    // What marks would be read as one; no path that a server answers has them.
    key.extend(segment.bytes().map(|byte| if byte <= PATH_END { b'?' } else { byte }));
    key.push(END);
}

pub fn put_any(key: &mut Vec<u8>) {
    key.extend([ANY_SEGMENT, END]);
}

pub fn put_rest(key: &mut Vec<u8>) {
    key.extend([REST_SEGMENTS, END]);
}

/// The key of a template's entries.
pub fn template_key(service: &str, template: &str) -> Vec<u8> {
    let mut key = Table::Entries.of(service);
    for segment in segments(template) {
        match segment {
            ANY => put_any(&mut key),
            REST => put_rest(&mut key),
            literal => put_literal(&mut key, literal),
        }
    }
    key.push(PATH_END);
    key
}

/// What is placed by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    Finding = 0,
    Visit = 1,
}

/// The key of something that is placed by a path.
pub fn path_key(service: &str, path: &str, placed: Placed, id: Id) -> Vec<u8> {
    let mut key = Table::Paths.of(service);
    segments(path).for_each(|segment| put_literal(&mut key, segment));
    key.extend([PATH_END, placed as u8]);
    with_id(key, id)
}

/// The kind, the id and the path of such a key, which stands below `prefix`.
pub fn read_path_key(key: &[u8], service: &str) -> Option<(Placed, Id, String)> {
    let id = last_id(key)?;
    let rest = &key[..key.len() - ID_BYTES];
    let (placed, rest) = rest.split_last()?;
    let placed = if *placed == Placed::Finding as u8 { Placed::Finding } else { Placed::Visit };
    let path = rest.strip_suffix(&[PATH_END])?.strip_prefix(Table::Paths.of(service).as_slice())?;
    let path = path.split(|byte| *byte == END).filter(|part| !part.is_empty()).fold(String::new(), |mut path, part| {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(part));
        path
    });
    Some((placed, id, path))
}

/// The beginning of the keys of all paths that a template may match: its literal segments up to the first that is none.
pub fn paths_prefix(service: &str, template: &str) -> Vec<u8> {
    let mut key = Table::Paths.of(service);
    segments(template).take_while(|segment| !matches!(*segment, ANY | REST)).for_each(|segment| put_literal(&mut key, segment));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_whose_row_it_is() {
        let id = Id::of("x", &[b"1"]);
        let timer = [Table::Timers.all(), time_bytes(Timestamp::from_millis(-1)).to_vec(), Table::Timers.of("shop")[1..].to_vec()].concat();
        let watched = [Table::Watched.under("places/a"), Table::Watched.of("shop")[1..].to_vec()].concat();
        for key in
            [Table::Findings.at("shop", id), template_key("shop", "/a/{}"), path_key("shop", "/a", Placed::Visit, id), timer, watched]
        {
            assert_eq!(service_of(&key), Some("shop"), "{key:?}");
        }
        assert_eq!(service_of(&Table::Intel.under("CVE-1")), None);
    }

    #[test]
    fn times_are_in_order_as_bytes_and_paths_come_back() {
        let mut times = [-5_i64, 0, 7, i64::MIN, i64::MAX].map(Timestamp::from_millis);
        times.sort_unstable();
        assert!(times.map(time_bytes).is_sorted());
        assert!(times.iter().all(|time| take_time(&time_bytes(*time)) == Some((*time, &[][..]))));
        let id = Id::of("x", &[b"1"]);
        let key = path_key("shop", "/a/b", Placed::Visit, id);
        assert_eq!(read_path_key(&key, "shop"), Some((Placed::Visit, id, "/a/b".to_owned())));
        assert!(key.starts_with(&paths_prefix("shop", "/a/{}")) && !key.starts_with(&paths_prefix("shop", "/b/{}")));
    }
}
