//! What supervisors and Prometheus ask.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::counters::{Sample, SampleKind, text_of};
use crate::problem::Problem;
use crate::state::{Shared, blocking};

#[derive(Serialize)]
pub(super) struct Status {
    status: &'static str,
}

/// The process answers.
pub(super) async fn alive() -> Json<Status> {
    Json(Status { status: "alive" })
}

/// Requests can be served.
pub(super) async fn ready(State(app): State<Shared>) -> Result<Json<Status>, Problem> {
    if *app.stopping.borrow() {
        return Err(Problem::busy("The service is to stop."));
    }
    let pulse = app.doors.pulse.clone();
    match blocking(move || pulse.ready()).await? {
        Ok(()) => Ok(Json(Status { status: "ready" })),
        Err(reasons) => Err(Problem::busy(reasons.join(" "))),
    }
}

pub(super) async fn metrics(State(app): State<Shared>) -> Result<Response, Problem> {
    let pulse = app.doors.pulse.clone();
    let mut text = blocking(move || pulse.metrics()).await?;
    let mut samples = app.counters.samples();
    samples.push(Sample {
        name: "faultline_http_outcome_waits",
        help: "Requests that wait for an outcome now.",
        kind: SampleKind::Gauge,
        labels: Vec::new(),
        value: app.waiting() as f64,
    });
    text.push_str(&text_of(&samples));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
