//! Where is it? What the views know of an id, whatever it is the id of.

use faultline_model::decision::Outcome;
use faultline_model::id::Id;
use faultline_model::risk::Risk;
use faultline_model::tracked::{TrackedLine, TrackedRecord};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::catalog::routes;
use super::conditions::Conditions;
use super::findings::{ListedFinding, findings_of};
use super::times::{Moment, Times};
use super::{assets, bodies, register, risks};
use crate::error::ViewError;
use crate::views::Views;
use crate::within::Within;

/// What is known of an id. All empty if nothing is that the reader may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Of a report, a decision or a step: how it ended.
    pub outcome: Option<Outcome>,
    /// Of a report: the lines of scans that keep its scan, one for each service.
    pub lines: Vec<TrackedLine>,
    /// Of a finding: as it stands in each service, the owner first.
    pub findings: Vec<ListedFinding>,
    /// The risk of the id, or those that the finding is part of.
    pub risks: Vec<Risk>,
    /// When each stage wrote what is shown, the earliest first. Empty where the bodies' source knows no times.
    pub times: Vec<Moment>,
}

impl Views {
    /// How a report, a decision or a step ended, whoever asks: [`Self::shown_outcome`] tells what a reader may see of it.
    pub fn outcome(&self, id: &str) -> Result<Option<Outcome>, ViewError> {
        Ok(outcome(&*self.connections.reader()?, id)?.map(|said| said.outcome))
    }

    /// An outcome as a reader may see it, with its asset or, of a step, with the register's entry that it was about; one of neither, and
    /// one of an entry that the register does not have, only who may see everything. What was counted is of the whole asset: who does
    /// not own that is not told.
    pub fn shown_outcome(&self, outcome: Outcome, within: &Within) -> Result<Option<Outcome>, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        shown(&snapshot, outcome, within)
    }

    /// What is known of an id: of a report (its scan), a finding or a risk. Of these, what a reader may see, and its times; an outcome
    /// is shown as [`Self::shown_outcome`] says.
    pub fn trace(&self, id: Id, within: &Within) -> Result<Trace, ViewError> {
        let reader = self.reader()?;
        let snapshot = reader.unchecked_transaction()?;
        let findings = findings_of(&snapshot, &self.options.bodies, id, within)?;
        // A risk that may be seen may cite a finding of a service that may not.
        let mut risks = risks::risks_of(&snapshot, &self.options.bodies, id, within)?;
        if findings.is_empty() && risks.is_empty() {
            risks.extend(risks::by_id(&snapshot, &self.options.bodies, id, within)?);
        }
        let said = match outcome(&snapshot, &id.to_string())? {
            Some(said) => shown(&snapshot, said.outcome, within)?.map(|outcome| Said { outcome, ..said }),
            None => None,
        };
        let lines = lines_with(&snapshot, id, within)?;
        let mut times = Times::new(&snapshot, &self.options.bodies, within);
        if let Some(said) = &said {
            times.of_report(id, said, &lines)?;
        }
        times.of_findings(&findings)?;
        times.of_risks(&risks, findings.is_empty())?;
        let times = times.ended(id);
        Ok(Trace { outcome: said.map(|said| said.outcome), lines, findings, risks, times })
    }

    /// How many entries of route maps, and visits of dynamic scans, a service has.
    pub fn routes(&self, service: &str) -> Result<(u64, u64), ViewError> {
        routes(&*self.reader()?, service)
    }
}

/// An outcome, and where its record stands.
pub(super) struct Said {
    pub outcome: Outcome,
    pub partition: u32,
    pub offset: u64,
}

fn shown(connection: &Connection, outcome: Outcome, within: &Within) -> Result<Option<Outcome>, ViewError> {
    let is_whole = match (&outcome.asset, outcome.subject) {
        _ if within.is_everything() => true,
        (Some(asset), _) if assets::owns(connection, asset, within)? => true,
        (Some(asset), _) if assets::shows(connection, asset, within)? => false,
        (None, Some(subject)) if register::shows(connection, subject, within)? => true,
        _ => return Ok(None),
    };
    Ok(Some(if is_whole { outcome } else { Outcome { counts: None, ..outcome } }))
}

fn outcome(connection: &Connection, id: &str) -> Result<Option<Said>, ViewError> {
    let mut statement = connection.prepare_cached("SELECT n, part, offset, body FROM outcome WHERE id = ?")?;
    let row: Option<(i64, u32, i64, Vec<u8>)> =
        statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).optional()?;
    let said = |(number, partition, offset, body): (_, _, i64, Vec<u8>)| {
        Ok(Said { outcome: bodies::decoded(&body, "outcome", number)?, partition, offset: offset as u64 })
    };
    row.map(said).transpose()
}

fn lines_with(connection: &Connection, scan: Id, within: &Within) -> Result<Vec<TrackedLine>, ViewError> {
    let mut which = Conditions::of("scan.id = ?", [Value::from(scan.0.to_vec())]);
    which.within("scan.service", within);
    let sql = format!(
        "SELECT body FROM scan JOIN line ON line.id = scan.line AND line.service = scan.service WHERE {} ORDER BY scan.service",
        which.sql()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let bodies =
        statement.query_map(params_from_iter(which.values()), |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut lines = Vec::new();
    for body in bodies {
        if let TrackedRecord::Line(line) = bodies::decoded(&body, "line", 0)? {
            lines.push(line);
        }
    }
    Ok(lines)
}
