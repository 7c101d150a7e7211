//! Findings: the list, and one as it stands now. A finding's JSON is that of its record on the topic `tracked`, with `last_seen`.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use faultline_model::access::Action;
use faultline_model::time::Timestamp;
use faultline_model::tracked::{FindingState, TrackedFinding};
use faultline_views::{FindingFilter, ListedFinding, Named, Within};
use serde::Serialize;

use super::risks::{BANDS, KINDS, asset_of};
use super::{PageBody, id_of, limit_of, node_of, whole};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;
use crate::who::{self, By};

const PARAMETERS: &[&str] = &[
    "state",
    "severity",
    "previews",
    "service",
    "node",
    "tool",
    "kind",
    "rule",
    "asset",
    "verdict",
    "assigned_to",
    "text",
    "first_seen_from",
    "first_seen_before",
    "cursor",
    "limit",
];

/// A finding as JSON.
#[derive(Serialize)]
pub(super) struct FindingBody {
    #[serde(flatten)]
    finding: TrackedFinding,
    last_seen: Option<Timestamp>,
}

impl From<ListedFinding> for FindingBody {
    fn from(listed: ListedFinding) -> Self {
        Self { finding: listed.finding, last_seen: listed.last_seen }
    }
}

pub(super) async fn list(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody<FindingBody>>, Problem> {
    let parameters = Parameters::read(query.as_deref(), PARAMETERS)?;
    let within = who::within(&caller, Action::Read)?;
    let filter = FindingFilter { node: node_of(&app, &parameters, &within).await?, within, ..filter_of(&parameters)? };
    let (cursor, limit) = (parameters.one("cursor")?.map(ToOwned::to_owned), limit_of(&parameters)?);
    let page = app.ask(move |views| views.findings(&filter, cursor.as_deref(), limit)).await?;
    Ok(Json(PageBody::of(page, FindingBody::from)))
}

pub(super) async fn show(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<FindingBody>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let within = who::within(&caller, Action::Read)?;
    let given = id_of(&id)?;
    let none = || Problem::not_found(format!("No finding has the id {given}."), "GET /v1/findings lists all.");
    let id = whole(&app, given, Named::Finding, &within).await?.ok_or_else(none)?;
    let finding = app.ask(move |views| views.finding(id, &within)).await?;
    finding.map(|listed| Json(listed.into())).ok_or_else(none)
}

fn filter_of(parameters: &Parameters) -> Result<FindingFilter, Problem> {
    let text = |name| -> Result<Option<String>, Problem> { Ok(parameters.one(name)?.map(ToOwned::to_owned)) };
    Ok(FindingFilter {
        states: match parameters.one("state") {
            Ok(None) => vec![FindingState::Open],
            Ok(Some("any")) => Vec::new(),
            _ => parameters.words("state", "open, unknown, closed or any")?,
        },
        severities: parameters.words("severity", BANDS)?,
        with_previews: parameters.flag("previews")?,
        service: text("service")?,
        node: None,
        within: Within::everything(),
        tool: text("tool")?,
        kind: parameters.word("kind", KINDS)?,
        rule: text("rule")?,
        asset: asset_of(parameters)?,
        verdict: parameters.word("verdict", "confirmed, false_positive, not_exploitable or withdrawn")?,
        assigned_to: text("assigned_to")?,
        text: text("text")?,
        first_seen_from: parameters.time("first_seen_from")?,
        first_seen_before: parameters.time("first_seen_before")?,
    })
}
