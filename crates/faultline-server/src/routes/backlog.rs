//! How much of what came in still waits to be worked on and to reach the lists.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};

use crate::doors::Backlog;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};

pub(super) async fn show(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Json<Backlog>, Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(Duration::ZERO);
    let pulse = app.doors.pulse.clone();
    Ok(Json(blocking(move || pulse.backlog(wait)).await??))
}
