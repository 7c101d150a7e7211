//! Findings, lines of scans and routes into rows. A fact that went elsewhere is removed here; its new service has a record of its own.

use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::tracked::{self, FactKind, TrackedLine, TrackedRecord};
use rusqlite::OptionalExtension;

use super::slim::{Finding, Tracked};
use super::{Fault, Work, decoded};
use crate::codes;
use crate::words::Word;

/// A row of `finding`, without its number and identity.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    shelf: i64,
    state: i64,
    rank: i64,
    tool: i64,
    kind: i64,
    rule: i64,
    asset: i64,
    verdict: i64,
    assigned: i64,
    first_seen: i64,
    title: String,
}

/// Where a finding's row stands: at its owner or a user, a preview or not.
pub(crate) fn shelf(is_owner: bool, is_preview: bool) -> i64 {
    i64::from(is_preview) + if is_owner { 0 } else { 2 }
}

impl Work<'_> {
    pub(super) fn tracked(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let (service, kind, id) = tracked::parse_key(key).ok_or_else(|| Fault::record("the key is not `service`, separator, kind:id"))?;
        let record = value.map(decoded::<Tracked>).transpose()?;
        let service = self.words.number(self.connection, Word::Service, service)?;
        let (Some(record), Some(body)) = (record, value) else {
            return self.went(kind, id, service);
        };
        let Tracked { kind: found, finding, route, line } = record;
        match (kind, found.as_str(), finding, route, line) {
            (_, "went", ..) => self.went(kind, id, service),
            (FactKind::Finding, "finding", Some(finding), ..) => self.finding(id, service, &finding, body),
            (FactKind::Line, "line", .., Some(line)) => self.line(id, service, &line, body),
            (FactKind::Route, "route", _, Some(route), _) => {
                let mut statement =
                    self.connection.prepare_cached("INSERT OR REPLACE INTO route (id, service, is_visit) VALUES (?, ?, ?)")?;
                statement.execute((id.0.as_slice(), service, route.is_visit))?;
                Ok(())
            }
            _ => Err(Fault::record(format!("the record is of kind {found:?}, its key is of another"))),
        }
    }

    /// Removes a fact, which is nowhere or in another service now.
    fn went(&self, kind: FactKind, id: Id, service: i64) -> Result<(), Fault> {
        match kind {
            FactKind::Finding => self.finding_went(id, service),
            FactKind::Line => self.line_went(id, service),
            FactKind::Route => {
                self.connection.prepare_cached("DELETE FROM route WHERE id = ? AND service = ?")?.execute((id.0.as_slice(), service))?;
                Ok(())
            }
        }
    }

    fn finding(&mut self, id: Id, service: i64, finding: &Finding, body: &[u8]) -> Result<(), Fault> {
        let row = self.finding_row(finding)?;
        let number = match self.stored_finding(id, service)? {
            None => self.insert_finding(id, service, &row)?,
            Some((number, before)) => {
                if before != row {
                    self.update_finding(number, &row)?;
                }
                number
            }
        };
        if self.holds_bodies {
            let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO finding_body (n, body) VALUES (?, ?)")?;
            statement.execute((number, body))?;
        }
        Ok(())
    }

    fn finding_row(&mut self, finding: &Finding) -> Result<Row, Fault> {
        let connection = self.connection;
        let assigned = finding.assignment.as_ref().map_or("", |given| given.assignment.to.as_str());
        Ok(Row {
            shelf: shelf(finding.is_owner, finding.is_preview),
            state: codes::code(&codes::FINDING_STATES, &finding.state),
            rank: 4 - codes::severity(finding.severity()),
            tool: self.words.number(connection, Word::Tool, &finding.tool)?,
            kind: codes::kind_bit(finding.kind),
            rule: self.words.number(connection, Word::Rule, &finding.observation.rule)?,
            asset: self.words.number(connection, Word::Asset, &finding.asset)?,
            verdict: codes::verdict(finding.verdict.as_ref().map(|given| given.verdict)),
            assigned: self.words.person(connection, assigned)?,
            first_seen: finding.first_seen.millis(),
            title: finding.observation.title.clone(),
        })
    }

    fn insert_finding(&self, id: Id, service: i64, row: &Row) -> Result<i64, Fault> {
        let sql = "INSERT INTO finding (id, service, shelf, state, rank, tool, kind, rule, asset, verdict, assigned, first_seen, title) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.connection.prepare_cached(sql)?.execute(rusqlite::params![
            id.0.as_slice(),
            service,
            row.shelf,
            row.state,
            row.rank,
            row.tool,
            row.kind,
            row.rule,
            row.asset,
            row.verdict,
            row.assigned,
            row.first_seen,
            row.title,
        ])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn update_finding(&self, number: i64, row: &Row) -> Result<(), Fault> {
        let sql = "UPDATE finding SET shelf = ?, state = ?, rank = ?, tool = ?, kind = ?, rule = ?, asset = ?, verdict = ?, assigned = ?, \
                   first_seen = ?, title = ? WHERE n = ?";
        self.connection.prepare_cached(sql)?.execute(rusqlite::params![
            row.shelf,
            row.state,
            row.rank,
            row.tool,
            row.kind,
            row.rule,
            row.asset,
            row.verdict,
            row.assigned,
            row.first_seen,
            row.title,
            number,
        ])?;
        Ok(())
    }

    fn stored_finding(&self, id: Id, service: i64) -> Result<Option<(i64, Row)>, Fault> {
        let sql = "SELECT n, shelf, state, rank, tool, kind, rule, asset, verdict, assigned, first_seen, title FROM finding WHERE id = ? AND service = ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let row = statement.query_row((id.0.as_slice(), service), |row| {
            let found = Row {
                shelf: row.get(1)?,
                state: row.get(2)?,
                rank: row.get(3)?,
                tool: row.get(4)?,
                kind: row.get(5)?,
                rule: row.get(6)?,
                asset: row.get(7)?,
                verdict: row.get(8)?,
                assigned: row.get(9)?,
                first_seen: row.get(10)?,
                title: row.get(11)?,
            };
            Ok((row.get(0)?, found))
        });
        Ok(row.optional()?)
    }

    fn finding_went(&self, id: Id, service: i64) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached("DELETE FROM finding WHERE id = ? AND service = ? RETURNING n")?;
        let number: Option<i64> = statement.query_row((id.0.as_slice(), service), |row| row.get(0)).optional()?;
        if let Some(number) = number {
            self.connection.prepare_cached("DELETE FROM finding_body WHERE n = ?")?.execute([number])?;
        }
        Ok(())
    }

    fn line(&self, id: Id, service: i64, line: &TrackedLine, body: &[u8]) -> Result<(), Fault> {
        self.forget_scans(id, service)?;
        let last_seen = line.complete.iter().map(|scan| scan.started.millis()).max();
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO line (id, service, last_seen, body) VALUES (?, ?, ?, ?)")?;
        statement.execute((id.0.as_slice(), service, last_seen, body))?;
        let mut statement = self.connection.prepare_cached("INSERT OR IGNORE INTO scan (id, line, service) VALUES (?, ?, ?)")?;
        for scan in &line.complete {
            statement.execute((scan.scan.0.as_slice(), id.0.as_slice(), service))?;
        }
        Ok(())
    }

    fn line_went(&self, id: Id, service: i64) -> Result<(), Fault> {
        self.forget_scans(id, service)?;
        self.connection.prepare_cached("DELETE FROM line WHERE id = ? AND service = ?")?.execute((id.0.as_slice(), service))?;
        Ok(())
    }

    /// Removes the scans that the stored line names.
    fn forget_scans(&self, id: Id, service: i64) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached("SELECT body FROM line WHERE id = ? AND service = ?")?;
        let before: Option<Vec<u8>> = statement.query_row((id.0.as_slice(), service), |row| row.get(0)).optional()?;
        // What was stored has been read once.
        let Some(Ok(TrackedRecord::Line(before))) = before.map(|body| avro::decode(&body)) else {
            return Ok(());
        };
        let mut statement = self.connection.prepare_cached("DELETE FROM scan WHERE id = ? AND line = ? AND service = ?")?;
        for scan in before.complete {
            statement.execute((scan.scan.0.as_slice(), id.0.as_slice(), service))?;
        }
        Ok(())
    }
}
