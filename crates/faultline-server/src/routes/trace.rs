//! Where is it?

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use faultline_model::access::Action;
use faultline_model::decision::Outcome;
use faultline_model::id::Id;
use faultline_model::risk::Risk;
use faultline_model::tracked::TrackedLine;
use faultline_views::{Moment, Named};
use serde::Serialize;

use super::findings::FindingBody;
use super::{id_of, whole};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;
use crate::who::{self, By};

#[derive(Serialize)]
pub(super) struct TraceBody {
    id: Id,
    outcome: Option<Outcome>,
    lines: Vec<TrackedLine>,
    findings: Vec<FindingBody>,
    risks: Vec<Risk>,
    /// When each stage wrote it, the earliest first.
    times: Vec<Moment>,
}

pub(super) async fn show(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<TraceBody>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let within = who::within(&caller, Action::Read)?;
    let given = id_of(&id)?;
    let advice = "It may be on its way: GET /readyz and /metrics tell how far behind the stages and the views are.";
    let none = || Problem::not_found(format!("No report, finding or risk {given} is known."), advice);
    let id = whole(&app, given, Named::Anything, &within).await?.ok_or_else(none)?;
    let trace = app.ask(move |views| views.trace(id, &within)).await?;
    if trace == faultline_views::Trace::default() {
        return Err(none());
    }
    let findings = trace.findings.into_iter().map(FindingBody::from).collect();
    Ok(Json(TraceBody { id, outcome: trace.outcome, lines: trace.lines, findings, risks: trace.risks, times: trace.times }))
}
