//! When records came into the views: a row for each partition that a batch moved, up to a bound.

use std::time::{SystemTime, UNIX_EPOCH};

use faultline_model::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::views::Positions;

/// The most rows that are kept, the newest; about 80 bytes each.
const ROWS_KEPT: i64 = 100_000;

/// Notes that the records between two positions are in the views now.
pub(super) fn store(connection: &Connection, before: &Positions, after: &Positions) -> rusqlite::Result<()> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached("INSERT INTO applied (topic, part, first, next, at) VALUES (?, ?, ?, ?, ?)")?;
    for (place, next) in after {
        let first = before.get(place).copied().unwrap_or(0);
        if first != *next {
            statement.execute((&place.0, place.1, first as i64, *next as i64, now))?;
        }
    }
    Ok(())
}

/// Removes what is older than the newest so many.
pub(super) fn prune(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM applied WHERE n <= (SELECT max(n) FROM applied) - ?")?;
    statement.execute([ROWS_KEPT]).map(drop)
}

/// When a record was applied; none if it was not, or too long ago.
pub(crate) fn applied_at(connection: &Connection, topic: &str, partition: u32, offset: u64) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT first, at FROM applied WHERE topic = ? AND part = ? AND next > ? ORDER BY next LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let row: Option<(i64, i64)> =
        statement.query_row((topic, partition, offset as i64), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(row.filter(|(first, _)| *first <= offset as i64).map(|(_, at)| Timestamp::from_millis(at)))
}
