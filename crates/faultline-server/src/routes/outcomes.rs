//! What became of a report or a decision; on request the answer waits for it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use faultline_model::access::{Action, Caller};
use faultline_model::decision::Outcome;
use faultline_views::{ViewError, Views, Within};

use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;
use crate::who::{self, By};

pub(super) async fn show(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Outcome>, Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(Duration::ZERO);
    let sees = Sees::of(&caller);
    let known = app.outcomes(vec![id.clone()], wait, move |views, outcome| sees.shown(views, outcome)).await?.remove(&id);
    known.map(Json).ok_or_else(|| {
        let shown: String = id.chars().take(200).collect();
        Problem::not_found(
            format!("There is no outcome of {shown:?} yet."),
            "Ask again, with `wait=30s`, if the report or the decision was accepted.",
        )
    })
}

/// Whose outcomes somebody sees.
struct Sees {
    caller: Arc<Caller>,
    /// None who reads nowhere.
    within: Option<Within>,
}

impl Sees {
    fn of(caller: &Arc<Caller>) -> Self {
        Self { caller: Arc::clone(caller), within: who::within(caller, Action::Read).ok() }
    }

    /// An outcome as they may see it. Who publishes for the asset, or has all of it, sees what was counted; who sees something of it, how it ended; that of a step, who
    /// sees the exception; to others it is as if it were not there, also for as long as they wait for it.
    fn shown(&self, views: &Views, outcome: Outcome) -> Result<Option<Outcome>, ViewError> {
        if outcome.asset.as_ref().is_some_and(|asset| self.caller.may_publish(asset)) {
            return Ok(Some(outcome));
        }
        let Some(within) = &self.within else { return Ok(None) };
        views.shown_outcome(outcome, within)
    }
}
