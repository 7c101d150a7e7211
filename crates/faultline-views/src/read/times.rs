//! When was it where? Times of records, out of the log that keeps the bodies, and of the views' own batches.
//!
//! A time is that of the newest record of its key: what was written again since shows the later time.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use faultline_model::id::Id;
use faultline_model::risk::{self, Risk};
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_model::tracked::{self, FactKind, TrackedLine};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde::Serialize;

use super::conditions::Conditions;
use super::findings::ListedFinding;
use super::trace::Said;
use super::{bodies, risks};
use crate::apply::applied_at;
use crate::error::ViewError;
use crate::options::{Bodies, BodySource, Written};
use crate::within::Within;
use crate::words::{self, Word};

/// The most findings of an asset, the newest, among which those that a report changed are looked for.
const FINDINGS_LOOKED_AT: i64 = 1000;

/// A step on the way of what is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The door took the report.
    Came,
    /// track wrote its outcome, or the finding.
    Track,
    /// correlate wrote the risk.
    Correlate,
    /// All of these records were in the views.
    Views,
}

/// When a step was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment {
    pub at: Timestamp,
    pub step: Step,
    /// What was written: the report, the finding or the risk.
    pub id: Id,
}

/// Gathers moments.
pub(super) struct Times<'a> {
    connection: &'a Connection,
    source: Option<&'a dyn BodySource>,
    /// Whose risks are among those that followed from a report.
    within: &'a Within,
    moments: Vec<Moment>,
    /// When each of the records came into the views; none if that is not known.
    applied: Vec<Option<Timestamp>>,
}

impl<'a> Times<'a> {
    pub fn new(connection: &'a Connection, bodies: &'a Bodies, within: &'a Within) -> Self {
        let source = match bodies {
            Bodies::Here => None,
            Bodies::Elsewhere(source) => Some(&**source),
        };
        Self { connection, source, within, moments: Vec::new(), applied: Vec::new() }
    }

    /// Of a report: when it came, its outcome, and the first and the last risk that followed from what it changed.
    pub fn of_report(&mut self, scan: Id, said: &Said, lines: &[TrackedLine]) -> Result<(), ViewError> {
        let Some(source) = self.source else { return Ok(()) };
        let place = (said.partition, said.offset);
        let Some(at) = source.written_at(topic::OUTCOMES.name, place.0, place.1).map_err(ViewError::Body)? else {
            return Ok(());
        };
        let Some(line) = lines.first() else {
            // A decision, a step, or a scan that is no longer kept.
            return self.add(Step::Track, scan, topic::OUTCOMES.name, Written { partition: place.0, offset: place.1, at });
        };
        let came = said.outcome.asset.as_ref().map_or(Ok(None), |asset| source.came(asset, scan, at)).map_err(ViewError::Body)?;
        self.moments.extend(came.map(|at| Moment { at, step: Step::Came, id: scan }));
        self.add(Step::Track, scan, topic::OUTCOMES.name, Written { partition: place.0, offset: place.1, at })?;
        let mut written = self.risks_after(line, came.unwrap_or(at)..=at)?;
        written.sort_unstable_by_key(|(_, written)| written.at);
        let ends = [written.first(), written.last().filter(|_| written.len() > 1)];
        for (risk, written) in ends.into_iter().flatten() {
            self.add(Step::Correlate, *risk, topic::RISKS.name, *written)?;
        }
        Ok(())
    }

    /// Of a finding: its record in each service.
    pub fn of_findings(&mut self, findings: &[ListedFinding]) -> Result<(), ViewError> {
        for ListedFinding { finding, .. } in findings {
            self.finding(&finding.service, finding.finding)?;
        }
        Ok(())
    }

    /// Of risks, and of their findings where these are not traced themselves.
    pub fn of_risks(&mut self, risks: &[Risk], with_findings: bool) -> Result<(), ViewError> {
        for risk in risks {
            for member in risk.findings.iter().filter(|_| with_findings) {
                self.finding(&risk.service, member.finding)?;
            }
            if let Some(written) = self.written(topic::RISKS.name, &risk::key(&risk.service, risk.risk))? {
                self.add(Step::Correlate, risk.risk, topic::RISKS.name, written)?;
            }
        }
        Ok(())
    }

    /// All moments, the earliest first; the last is when the views had everything, if that is known.
    pub fn ended(mut self, id: Id) -> Vec<Moment> {
        let applied: Option<Vec<Timestamp>> = self.applied.into_iter().collect();
        let at = applied.and_then(|applied| applied.into_iter().max());
        self.moments.extend(at.map(|at| Moment { at, step: Step::Views, id }));
        self.moments.sort_unstable();
        self.moments
    }

    fn finding(&mut self, service: &str, finding: Id) -> Result<(), ViewError> {
        match self.written(topic::TRACKED.name, &tracked::key(service, FactKind::Finding, finding))? {
            Some(written) => self.add(Step::Track, finding, topic::TRACKED.name, written),
            None => Ok(()),
        }
    }

    fn written(&self, topic: &'static str, key: &str) -> Result<Option<Written>, ViewError> {
        self.source.map_or(Ok(None), |source| source.written(topic, key)).map_err(ViewError::Body)
    }

    fn add(&mut self, step: Step, id: Id, topic: &'static str, written: Written) -> Result<(), ViewError> {
        self.moments.push(Moment { at: written.at, step, id });
        self.applied.push(applied_at(self.connection, topic, written.partition, written.offset)?);
        Ok(())
    }

    /// The risks of the findings of a line of scans that track wrote in a span of time and not since.
    fn risks_after(&self, line: &TrackedLine, span: RangeInclusive<Timestamp>) -> Result<Vec<(Id, Written)>, ViewError> {
        let mut numbers = BTreeSet::new();
        let mut earliest = *span.end();
        for (service, finding) in self.newest_findings(line)? {
            let written = self.written(topic::TRACKED.name, &tracked::key(&service, FactKind::Finding, finding))?;
            if let Some(written) = written.filter(|written| span.contains(&written.at)) {
                earliest = earliest.min(written.at);
                numbers.extend(risks::numbers_of_finding(self.connection, finding, self.within)?);
            }
        }
        let mut found = Vec::new();
        for number in numbers {
            let (service, risk) = bodies::identity(self.connection, "SELECT service, id FROM risk WHERE n = ?", number)?;
            let written = self.written(topic::RISKS.name, &risk::key(&service, risk))?;
            found.extend(written.filter(|written| written.at >= earliest).map(|written| (risk, written)));
        }
        Ok(found)
    }

    /// Service and id of the newest findings of a line's tool and asset, of those that may be seen.
    fn newest_findings(&self, line: &TrackedLine) -> Result<Vec<(String, Id)>, ViewError> {
        let asset = words::number_of(self.connection, Word::Asset, line.asset.as_str())?;
        let tool = words::number_of(self.connection, Word::Tool, &line.tool)?;
        let mut which = Conditions::of("tool = ?", [Value::from(tool)]);
        which.within("service", self.within);
        let sql = format!(
            "SELECT text, id FROM (SELECT id, service, tool FROM finding INDEXED BY finding_asset WHERE asset = ? ORDER BY n DESC LIMIT ?) \
             JOIN word ON word.n = service WHERE {}",
            which.sql()
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let values = [Value::from(asset), Value::from(FINDINGS_LOOKED_AT)].into_iter().chain(which.values());
        let rows = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, Id(row.get(1)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
