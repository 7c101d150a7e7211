//! Notices into rows: one for each destination that is to be told, with what became of it. A delivery may come before its notice, as they stand on two topics.

use faultline_model::notice::{Delivery, DeliveryStatus, Notice};
use faultline_model::time::Timestamp;
use rusqlite::Connection;

use super::{Fault, Work, decoded};
use crate::codes;
use crate::error::ViewError;
use crate::options::Options;

impl Work<'_> {
    pub(super) fn notice(&self, value: Option<&[u8]>) -> Result<(), Fault> {
        let Some(value) = value else { return Ok(()) };
        let notice: Notice = decoded(value)?;
        let sql = "INSERT INTO told (notice, destination, at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at";
        let mut statement = self.connection.prepare_cached(sql)?;
        for destination in &notice.to {
            statement.execute((notice.id.0.as_slice(), destination, notice.at.millis()))?;
        }
        Ok(())
    }

    pub(super) fn delivery(&self, value: Option<&[u8]>) -> Result<(), Fault> {
        let Some(value) = value else { return Ok(()) };
        let Delivery { notice, destination, attempt, status, reason, at, again_at } = decoded(value)?;
        // What was taken stays so, and an attempt that is told again is the same one.
        let sql = "INSERT INTO told (notice, destination, attempts, status, reason, tried, again) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                   ON CONFLICT DO UPDATE SET attempts = ?3, status = ?4, reason = ?5, tried = ?6, again = ?7 \
                   WHERE attempts < ?3 AND (status IS NULL OR status <> ?8)";
        let (status, taken) = (codes::code(&codes::DELIVERIES, &status), codes::code(&codes::DELIVERIES, &DeliveryStatus::Delivered));
        let again = again_at.map(Timestamp::millis);
        self.connection.prepare_cached(sql)?.execute((
            notice.0.as_slice(),
            destination,
            attempt,
            status,
            reason,
            at.millis(),
            again,
            taken,
        ))?;
        Ok(())
    }
}

/// Removes what is done and older than the newest so many.
pub(super) fn prune(connection: &Connection, options: &Options) -> Result<(), ViewError> {
    let mut statement = connection.prepare_cached("DELETE FROM told WHERE n <= (SELECT max(n) FROM told) - ? AND status IN (?, ?)")?;
    let done = [DeliveryStatus::Delivered, DeliveryStatus::GivenUp].map(|status| codes::code(&codes::DELIVERIES, &status));
    statement.execute((options.outcomes_kept, done[0], done[1]))?;
    Ok(())
}
