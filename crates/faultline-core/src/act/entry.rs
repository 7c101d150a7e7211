//! What the risk register says of an exception.

use faultline_model::exception::{NewEnd, Stage, StepKind};
use faultline_model::fixed::roll_up;
use faultline_model::id::Id;
use faultline_model::register::{AskedEnd, Assessment, Completeness, RegisterEntry};
use faultline_model::share::Rating;
use faultline_model::time::Timestamp;

use super::covered;
use super::exception::{Exception, Limits, Renewal};
use super::rows::{Row, Sums};
use crate::stage::StageError;
use crate::store::Store;

/// The entry as it is to stand at a time; whether it is assessed is for the operator to finalise.
pub fn entry(
    state: &dyn Store,
    id: Id,
    row: &Row,
    now: Timestamp,
    limits: &Limits,
    is_assessed: bool,
) -> Result<RegisterEntry, StageError> {
    let exception = &row.exception;
    let stage = exception.stage(now, limits);
    // What it covered before says nothing of what it covers once it holds again.
    let sums = if stage.holds() { covered::sums(state, id)? } else { Sums::default() };
    let (first, (highest, rating)) = match stage {
        Stage::Suspended => (row.first.clone(), (0, None)),
        _ if stage.holds() => (covered::first(state, id, row.grant)?, covered::highest(state, id, row.grant)?),
        _ => (Vec::new(), (0, None)),
    };
    let completeness = match stage {
        _ if !stage.holds() => Completeness::NotCounted,
        _ if sums.risks == 0 && sums.contested == 0 => Completeness::Awaited,
        _ => Completeness::Counted,
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
        assessment: is_assessed.then(|| assessment(row, rating, completeness)),
    })
}

fn assessment(row: &Row, rating: Option<Rating>, completeness: Completeness) -> Assessment {
    let Exception { terms, requested_by, approved_by, .. } = &row.exception;
    let owner = [&row.response.owner, approved_by, requested_by].into_iter().find(|name| !name.is_empty());
    Assessment {
        priority: rating.as_ref().map(|rating| rating.band),
        likelihood: rating.as_ref().map(|rating| rating.likelihood),
        impact: rating.as_ref().map(|rating| rating.impact),
        category: rating.map(|rating| rating.family).unwrap_or_default(),
        response_type: terms.category.into(),
        response_cost: row.response.cost.clone(),
        owner: owner.cloned().unwrap_or_default(),
        is_owner_named: !row.response.owner.is_empty(),
        completeness,
    }
}
