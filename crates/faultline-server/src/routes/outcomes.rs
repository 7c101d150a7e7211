//! What became of a report or a decision; on request the answer waits for it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use faultline_model::decision::Outcome;

use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;

pub(super) async fn show(State(app): State<Shared>, Path(id): Path<String>, RawQuery(query): RawQuery) -> Result<Json<Outcome>, Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(Duration::ZERO);
    let known = app.outcomes(vec![id.clone()], wait).await?.remove(&id);
    known.map(Json).ok_or_else(|| {
        let shown: String = id.chars().take(200).collect();
        Problem::not_found(
            format!("There is no outcome of {shown:?} yet."),
            "Ask again, with `wait=30s`, if the report or the decision was accepted.",
        )
    })
}
