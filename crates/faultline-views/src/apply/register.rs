//! Entries of the risk register into rows, and which names of the organisation each is restricted to.

use faultline_model::id::Id;
use faultline_model::register::RegisterEntry;
use faultline_model::time::Timestamp;
use rusqlite::OptionalExtension;

use super::{Fault, Work, decoded};
use crate::codes;

impl Work<'_> {
    pub(super) fn entry(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let id: Id = key.parse().map_err(Fault::record)?;
        match value {
            Some(value) => self.put_entry(id, &decoded(value)?, value),
            None => self.entry_went(id),
        }
    }

    fn put_entry(&self, id: Id, entry: &RegisterEntry, body: &[u8]) -> Result<(), Fault> {
        let sql = "INSERT INTO entry (id, stage, rank, watch, review, body) VALUES (?, ?, ?, ?, ?, ?) \
                   ON CONFLICT DO UPDATE SET stage = excluded.stage, rank = excluded.rank, watch = excluded.watch, review = excluded.review, \
                   body = excluded.body RETURNING n";
        let (stage, ends) = (codes::code(&codes::STAGES, &entry.stage), entry.terms.ends.millis());
        // Before all time, when no review is due.
        let watch = codes::bits(&entry.attention(Timestamp::from_millis(i64::MIN)));
        let review = if entry.stage.holds() { entry.terms.review_at.millis() } else { i64::MAX };
        let mut statement = self.connection.prepare_cached(sql)?;
        let number: i64 = statement.query_row((id.0.as_slice(), stage, ends, watch, review, body), |row| row.get(0))?;
        self.forget_names(number)?;
        let mut statement = self.connection.prepare_cached("INSERT OR IGNORE INTO entry_within (entry, name) VALUES (?, ?)")?;
        for name in &entry.terms.scope.within {
            statement.execute((number, name))?;
        }
        Ok(())
    }

    fn entry_went(&self, id: Id) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached("DELETE FROM entry WHERE id = ? RETURNING n")?;
        let number: Option<i64> = statement.query_row([id.0.as_slice()], |row| row.get(0)).optional()?;
        number.map_or(Ok(()), |number| self.forget_names(number))
    }

    fn forget_names(&self, number: i64) -> Result<(), Fault> {
        self.connection.prepare_cached("DELETE FROM entry_within WHERE entry = ?")?.execute([number])?;
        Ok(())
    }
}
