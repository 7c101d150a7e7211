//! Risks into rows, and the tallies that summaries are made of.

use faultline_model::fixed;
use faultline_model::id::Id;
use faultline_model::risk;
use rusqlite::{Connection, OptionalExtension};

use super::slim::Risk;
use super::{Fault, Work, decoded};
use crate::codes;
use crate::error::ViewError;
use crate::words::Word;

/// Service, state, band, evidence.
pub(super) type TallyKey = (i64, i64, i64, i64);

/// A change of a tally: risks and their loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    risks: i64,
    loss: i64,
}

/// The highest score; a rank is what is missing to it.
pub(crate) const HIGHEST: i64 = 1000;

/// A row of `risk`, without its number.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    service: i64,
    state: i64,
    rank: i64,
    band: i64,
    evidence: i64,
    family: i64,
    asset: i64,
    assigned: i64,
    kinds: i64,
    tools: i64,
    first_seen: i64,
    title: String,
    vulnerabilities: Vec<u8>,
    names: Vec<u8>,
    exceptions: Vec<u8>,
}

impl Row {
    fn tally(&self) -> (TallyKey, Tally) {
        let score = (HIGHEST - self.rank) as u16;
        ((self.service, self.state, self.band, self.evidence), Tally { risks: 1, loss: fixed::loss(score) as i64 })
    }

    /// What stands in tables beside the row.
    fn sides(&self) -> [&[u8]; 3] {
        [&self.vulnerabilities, &self.names, &self.exceptions]
    }
}

impl Work<'_> {
    pub(super) fn risk(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let (_, id) = risk::parse_key(key).ok_or_else(|| Fault::record("the key is not `service`, separator, risk id"))?;
        let Some(value) = value else {
            return self.risk_went(id);
        };
        let risk: Risk = decoded(value)?;
        let row = self.risk_row(&risk)?;
        let number = match stored(self.connection, id)? {
            None => self.insert_risk(id, &row)?,
            Some((number, before)) => {
                self.update_risk(number, &before, &row)?;
                number
            }
        };
        if self.holds_bodies {
            let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO risk_body (n, body) VALUES (?, ?)")?;
            statement.execute((number, value))?;
        }
        Ok(())
    }

    fn risk_row(&mut self, risk: &Risk) -> Result<Row, Fault> {
        let connection = self.connection;
        let mut vulnerabilities = Vec::with_capacity(risk.vulnerabilities.len());
        for name in &risk.vulnerabilities {
            vulnerabilities.push(self.words.number(connection, Word::Vulnerability, &name.to_ascii_uppercase())?);
        }
        vulnerabilities.sort_unstable();
        vulnerabilities.dedup();
        Ok(Row {
            service: self.words.number(connection, Word::Service, &risk.service)?,
            state: codes::code(&codes::RISK_STATES, &risk.state),
            rank: HIGHEST - i64::from(risk.score.total).clamp(0, HIGHEST),
            band: codes::severity(risk.score.band),
            evidence: codes::code(&codes::EVIDENCE, &risk.evidence),
            family: self.words.number(connection, Word::Family, &risk.family)?,
            asset: self.words.number(connection, Word::Asset, &risk.asset)?,
            assigned: self.words.person(connection, &risk.assigned_to)?,
            kinds: risk.findings.iter().fold(0, |kinds, member| kinds | codes::kind_bit(member.kind)),
            tools: self.tools_of(risk)?,
            first_seen: risk.first_seen.millis(),
            title: risk.title.clone(),
            vulnerabilities: vulnerabilities.iter().flat_map(|number| number.to_le_bytes()).collect(),
            names: names_of(risk),
            exceptions: ids_of(risk.exceptions.iter().map(|covering| covering.exception)),
        })
    }

    /// The number of the set of tools that its findings come from.
    fn tools_of(&mut self, risk: &Risk) -> Result<i64, Fault> {
        let mut tools: Vec<&str> = risk.findings.iter().map(|member| member.tool.as_str()).collect();
        tools.sort_unstable();
        tools.dedup();
        let mut numbers = Vec::with_capacity(tools.len());
        for tool in tools {
            numbers.push(self.words.number(self.connection, Word::Tool, tool)?);
        }
        let text = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
        Ok(self.words.number_or(self.connection, Word::ToolSet, &text, |connection, set| {
            let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO tool_of_set (tool, tools) VALUES (?, ?)")?;
            numbers.iter().try_for_each(|tool| statement.execute((tool, set)).map(drop))
        })?)
    }

    fn insert_risk(&mut self, id: Id, row: &Row) -> Result<i64, Fault> {
        let sql = "INSERT INTO risk (id, service, state, rank, band, evidence, family, asset, assigned, kinds, tools, first_seen, title, \
                   vulnerabilities, names, exceptions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.connection.prepare_cached(sql)?.execute(rusqlite::params![
            id.0.as_slice(),
            row.service,
            row.state,
            row.rank,
            row.band,
            row.evidence,
            row.family,
            row.asset,
            row.assigned,
            row.kinds,
            row.tools,
            row.first_seen,
            row.title,
            row.vulnerabilities,
            row.names,
            row.exceptions,
        ])?;
        let number = self.connection.last_insert_rowid();
        self.add_sides(number, row)?;
        self.count(row, 1);
        Ok(number)
    }

    /// Writes what changed only: most changes of a risk leave its row as it is.
    fn update_risk(&mut self, number: i64, before: &Row, row: &Row) -> Result<(), Fault> {
        if before == row {
            return Ok(());
        }
        let sql = "UPDATE risk SET service = ?, state = ?, rank = ?, band = ?, evidence = ?, family = ?, asset = ?, assigned = ?, kinds = ?, \
                   tools = ?, first_seen = ?, title = ?, vulnerabilities = ?, names = ?, exceptions = ? WHERE n = ?";
        self.connection.prepare_cached(sql)?.execute(rusqlite::params![
            row.service,
            row.state,
            row.rank,
            row.band,
            row.evidence,
            row.family,
            row.asset,
            row.assigned,
            row.kinds,
            row.tools,
            row.first_seen,
            row.title,
            row.vulnerabilities,
            row.names,
            row.exceptions,
            number,
        ])?;
        if before.sides() != row.sides() {
            self.remove_sides(number, before)?;
            self.add_sides(number, row)?;
        }
        self.count(before, -1);
        self.count(row, 1);
        Ok(())
    }

    fn risk_went(&mut self, id: Id) -> Result<(), Fault> {
        if let Some((number, before)) = stored(self.connection, id)? {
            self.remove_sides(number, &before)?;
            self.count(&before, -1);
            self.connection.prepare_cached("DELETE FROM risk WHERE n = ?")?.execute([number])?;
            self.connection.prepare_cached("DELETE FROM risk_body WHERE n = ?")?.execute([number])?;
        }
        Ok(())
    }

    fn add_sides(&self, number: i64, row: &Row) -> Result<(), Fault> {
        for vulnerability in numbers_in(&row.vulnerabilities) {
            let mut statement =
                self.connection.prepare_cached("INSERT OR IGNORE INTO risk_vulnerability (vulnerability, n) VALUES (?, ?)")?;
            statement.execute((vulnerability, number))?;
        }
        for id in row.names.chunks_exact(16) {
            self.connection.prepare_cached("INSERT OR IGNORE INTO risk_name (id, n) VALUES (?, ?)")?.execute((id, number))?;
        }
        for id in row.exceptions.chunks_exact(16) {
            self.connection.prepare_cached("INSERT OR IGNORE INTO risk_exception (exception, n) VALUES (?, ?)")?.execute((id, number))?;
        }
        Ok(())
    }

    fn remove_sides(&self, number: i64, row: &Row) -> Result<(), Fault> {
        for vulnerability in numbers_in(&row.vulnerabilities) {
            let mut statement = self.connection.prepare_cached("DELETE FROM risk_vulnerability WHERE vulnerability = ? AND n = ?")?;
            statement.execute((vulnerability, number))?;
        }
        for id in row.names.chunks_exact(16) {
            self.connection.prepare_cached("DELETE FROM risk_name WHERE id = ? AND n = ?")?.execute((id, number))?;
        }
        for id in row.exceptions.chunks_exact(16) {
            self.connection.prepare_cached("DELETE FROM risk_exception WHERE exception = ? AND n = ?")?.execute((id, number))?;
        }
        Ok(())
    }

    fn count(&mut self, row: &Row, times: i64) {
        let (key, one) = row.tally();
        let tally = self.tallies.entry(key).or_default();
        tally.risks += times * one.risks;
        tally.loss += times * one.loss;
    }

    pub(super) fn store_tallies(&mut self) -> Result<(), ViewError> {
        let sql = "INSERT INTO tally (service, state, band, evidence, risks, loss) VALUES (?, ?, ?, ?, ?, ?) \
                   ON CONFLICT DO UPDATE SET risks = risks + excluded.risks, loss = loss + excluded.loss";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut emptied = self
            .connection
            .prepare_cached("DELETE FROM tally WHERE service = ? AND state = ? AND band = ? AND evidence = ? AND risks = 0")?;
        for ((service, state, band, evidence), change) in &self.tallies {
            if *change != Tally::default() {
                statement.execute((service, state, band, evidence, change.risks, change.loss))?;
                emptied.execute((service, state, band, evidence))?;
            }
        }
        Ok(())
    }
}

/// Ids that lead to a risk beside its own and its founder's, sorted: a risk of one finding has none.
fn names_of(risk: &Risk) -> Vec<u8> {
    let members = risk.findings.iter().map(|member| member.finding).filter(|finding| *finding != risk.founder);
    ids_of(risk.also.iter().copied().chain(members))
}

/// Ids one after the other, sorted and each once.
fn ids_of(ids: impl Iterator<Item = Id>) -> Vec<u8> {
    let mut ids: Vec<Id> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().flat_map(|id| id.0).collect()
}

fn numbers_in(blob: &[u8]) -> impl Iterator<Item = i64> {
    blob.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().expect("chunks of eight")))
}

fn stored(connection: &Connection, id: Id) -> Result<Option<(i64, Row)>, Fault> {
    let sql = "SELECT n, service, state, rank, band, evidence, family, asset, assigned, kinds, tools, first_seen, title, vulnerabilities, names, \
               exceptions FROM risk WHERE id = ?";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([id.0.as_slice()], |row| {
        let found = Row {
            service: row.get(1)?,
            state: row.get(2)?,
            rank: row.get(3)?,
            band: row.get(4)?,
            evidence: row.get(5)?,
            family: row.get(6)?,
            asset: row.get(7)?,
            assigned: row.get(8)?,
            kinds: row.get(9)?,
            tools: row.get(10)?,
            first_seen: row.get(11)?,
            title: row.get(12)?,
            vulnerabilities: row.get(13)?,
            names: row.get(14)?,
            exceptions: row.get(15)?,
        };
        Ok((row.get(0)?, found))
    });
    Ok(row.optional()?)
}
