//! Outcomes: the newest, up to a bound.

use faultline_model::decision::Outcome;
use rusqlite::Connection;

use super::{Fault, ViewRecord, Work, decoded};
use crate::error::ViewError;
use crate::options::Options;

impl Work<'_> {
    pub(super) fn outcome(&mut self, key: &str, record: &ViewRecord<'_>) -> Result<(), Fault> {
        let Some(value) = record.value else {
            self.connection.prepare_cached("DELETE FROM outcome WHERE id = ?")?.execute([key])?;
            return Ok(());
        };
        let _: Outcome = decoded(value)?;
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO outcome (id, part, offset, body) VALUES (?, ?, ?, ?)")?;
        statement.execute((key, record.partition, record.offset as i64, value))?;
        Ok(())
    }
}

/// Removes what is older than the newest so many.
pub(super) fn prune(connection: &Connection, options: &Options) -> Result<(), ViewError> {
    let mut statement = connection.prepare_cached("DELETE FROM outcome WHERE n <= (SELECT max(n) FROM outcome) - ?")?;
    statement.execute([options.outcomes_kept])?;
    Ok(())
}
