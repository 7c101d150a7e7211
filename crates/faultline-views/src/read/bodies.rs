//! Bodies of rows, from wherever they are kept.

use faultline_model::avro::{self, TopicValue};
use faultline_model::id::Id;
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{self, Risk};
use faultline_model::topic;
use faultline_model::tracked::{self, FactKind, TrackedFinding, TrackedRecord};
use rusqlite::{Connection, OptionalExtension};

use crate::error::ViewError;
use crate::options::{Bodies, BodySource};
use crate::words;

/// The risk of a row; none if its body went meanwhile.
pub(super) fn risk(connection: &Connection, bodies: &Bodies, number: i64) -> Result<Option<Risk>, ViewError> {
    match bodies {
        Bodies::Here => here(connection, "risk", "SELECT body FROM risk_body WHERE n = ?", number),
        Bodies::Elsewhere(source) => {
            let (service, id) = identity(connection, "SELECT service, id FROM risk WHERE n = ?", number)?;
            elsewhere(&**source, topic::RISKS.name, &risk::key(&service, id), "risk", number)
        }
    }
}

/// The finding of a row; none if its body went meanwhile.
pub(super) fn finding(connection: &Connection, bodies: &Bodies, number: i64) -> Result<Option<TrackedFinding>, ViewError> {
    let record: Option<TrackedRecord> = match bodies {
        Bodies::Here => here(connection, "finding", "SELECT body FROM finding_body WHERE n = ?", number)?,
        Bodies::Elsewhere(source) => {
            let (service, id) = identity(connection, "SELECT service, id FROM finding WHERE n = ?", number)?;
            elsewhere(&**source, topic::TRACKED.name, &tracked::key(&service, FactKind::Finding, id), "finding", number)?
        }
    };
    Ok(record.and_then(|record| match record {
        TrackedRecord::Finding(finding) => Some(finding),
        // It went elsewhere since the row was written.
        TrackedRecord::Went(_) | TrackedRecord::Route(_) | TrackedRecord::Line(_) => None,
    }))
}

/// The register's entry of a row.
pub(super) fn entry(connection: &Connection, number: i64) -> Result<Option<RegisterEntry>, ViewError> {
    here(connection, "entry", "SELECT body FROM entry WHERE n = ?", number)
}

/// Bodies of a page's rows, and how many of them cannot be read here: one such record must not take the page from everybody.
pub(super) fn all<T>(rows: Vec<i64>, body: impl Fn(i64) -> Result<Option<T>, ViewError>) -> Result<(Vec<T>, usize), ViewError> {
    let (mut items, mut unreadable) = (Vec::with_capacity(rows.len()), 0);
    for number in rows {
        match body(number) {
            Ok(found) => items.extend(found),
            Err(ViewError::Corrupt { .. }) => unreadable += 1,
            Err(error) => return Err(error),
        }
    }
    Ok((items, unreadable))
}

fn here<T: TopicValue>(connection: &Connection, table: &'static str, sql: &str, row: i64) -> Result<Option<T>, ViewError> {
    let body: Option<Vec<u8>> = connection.prepare_cached(sql)?.query_row([row], |found| found.get(0)).optional()?;
    body.map(|body| decoded(&body, table, row)).transpose()
}

fn elsewhere<T: TopicValue>(
    source: &dyn BodySource,
    topic: &'static str,
    key: &str,
    table: &'static str,
    row: i64,
) -> Result<Option<T>, ViewError> {
    let body = source.newest(topic, key).map_err(ViewError::Body)?;
    body.map(|body| decoded(&body, table, row)).transpose()
}

pub(super) fn decoded<T: TopicValue>(body: &[u8], table: &'static str, row: i64) -> Result<T, ViewError> {
    avro::decode(body).map_err(|error| ViewError::Corrupt { table, row, what: error.to_string() })
}

/// Service and id of a row.
pub(super) fn identity(connection: &Connection, sql: &str, number: i64) -> Result<(String, Id), ViewError> {
    let (service, id): (i64, [u8; 16]) = connection.prepare_cached(sql)?.query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((words::text_of(connection, service)?, Id(id)))
}
