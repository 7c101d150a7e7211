//! Where sinks stand.

use axum::Json;
use axum::extract::{RawQuery, State};
use faultline_views::Told;
use serde::Serialize;

use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;

#[derive(Serialize)]
pub(super) struct Answer {
    items: Vec<Standing>,
}

#[derive(Serialize)]
struct Standing {
    sink: &'static str,
    destination: String,
    /// What it is still to be told.
    waiting: u64,
    /// Since when the oldest of that waits, RFC 3339.
    oldest: Option<String>,
    delivered: u64,
    /// What is not tried again.
    given_up: u64,
    last_delivered: Option<String>,
    /// The last failure that no delivery came after.
    last_failed: Option<Failed>,
}

#[derive(Serialize)]
struct Failed {
    at: String,
    reason: String,
}

pub(super) async fn list(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Json<Answer>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let told = app.ask(faultline_views::Views::told).await?;
    let standing = |told: Told| Standing {
        sink: "webhook",
        destination: told.destination,
        waiting: told.waiting,
        oldest: told.oldest.map(|at| at.to_string()),
        delivered: told.delivered,
        given_up: told.given_up,
        last_delivered: told.last_delivered.map(|at| at.to_string()),
        last_failed: told.last_failed.map(|(at, reason)| Failed { at: at.to_string(), reason }),
    };
    Ok(Json(Answer { items: told.into_iter().map(standing).collect() }))
}
