//! What the risk register says of an exception.

use faultline_model::exception::{NewEnd, Stage, StepKind};
use faultline_model::fixed::roll_up;
use faultline_model::id::Id;
use faultline_model::register::{AskedEnd, RegisterEntry};
use faultline_model::time::Timestamp;

use super::covered;
use super::exception::{Limits, Renewal};
use super::rows::{Row, Sums};
use crate::stage::StageError;
use crate::store::Store;

/// The entry as it is to stand at a time.
pub fn entry(state: &dyn Store, id: Id, row: &Row, now: Timestamp, limits: &Limits) -> Result<RegisterEntry, StageError> {
    let exception = &row.exception;
    let stage = exception.stage(now, limits);
    // What it covered before says nothing of what it covers once it holds again.
    let sums = if stage.holds() { covered::sums(state, id)? } else { Sums::default() };
    let (first, highest) = match stage {
        Stage::Suspended => (row.first.clone(), 0),
        _ if stage.holds() => (covered::first(state, id, row.grant)?, covered::highest(state, id, row.grant)?),
        _ => (Vec::new(), 0),
    };
    let score = |loss: i64| i32::try_from(roll_up(u64::try_from(loss).unwrap_or_default())).unwrap_or(i32::MAX);
    let asked = |renewal: &Renewal| AskedEnd {
        end: NewEnd { review_at: renewal.review_at, ends: renewal.ends },
        asked_by: renewal.asked_by.clone(),
        reviewed_by: renewal.reviewed_by.clone(),
    };
    Ok(RegisterEntry {
        entry: id,
        stage,
        terms: exception.terms.clone(),
        version: exception.version,
        authors: exception.authors.clone(),
        requested_by: exception.requested_by.clone(),
        reviewed_by: exception.reviewed_by.clone(),
        approved_by: exception.approved_by.clone(),
        approved_at: exception.approved_at,
        renewal: exception.renewal.as_ref().map(asked),
        broken: exception.broken.clone(),
        possible: exception.possible(now, limits).into_iter().map(StepKind::name).map(str::to_owned).collect(),
        risks: sums.risks,
        services: sums.services,
        contested: sums.contested,
        residual: score(sums.loss),
        inherent: score(sums.inherent_loss),
        highest,
        first,
        history: row.history.clone(),
    })
}
