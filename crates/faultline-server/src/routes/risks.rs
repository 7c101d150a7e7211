//! Risks: the sorted list, and one with all that explains it. A risk's JSON is that of its record on the topic `risks`.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use faultline_model::access::Action;
use faultline_model::asset::AssetId;
use faultline_model::family::Family;
use faultline_model::risk::{Risk, RiskState};
use faultline_views::{Named, RiskFilter, Within};

use super::{PageBody, id_of, limit_of, node_of, unknown, whole};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;
use crate::who::{self, By};

const PARAMETERS: &[&str] = &[
    "state",
    "band",
    "evidence",
    "family",
    "service",
    "node",
    "tool",
    "kind",
    "asset",
    "vulnerability",
    "exception",
    "assigned_to",
    "text",
    "min_score",
    "first_seen_from",
    "first_seen_before",
    "cursor",
    "limit",
];

pub(super) const BANDS: &str = "info, low, medium, high or critical";
pub(super) const KINDS: &str = "sast, sca, secret, iac, dast, posture or other";
pub(super) const ASSETS: &str = "an asset like repo:github.com/acme/shop";

pub(super) async fn list(State(app): State<Shared>, By(caller): By, RawQuery(query): RawQuery) -> Result<Json<PageBody<Risk>>, Problem> {
    let parameters = Parameters::read(query.as_deref(), PARAMETERS)?;
    let within = who::within(&caller, Action::Read)?;
    let filter = RiskFilter { node: node_of(&app, &parameters, &within).await?, within, ..filter_of(&parameters)? };
    let (cursor, limit) = (parameters.one("cursor")?.map(ToOwned::to_owned), limit_of(&parameters)?);
    let page = app.ask(move |views| views.risks(&filter, cursor.as_deref(), limit)).await?;
    Ok(Json(PageBody::of(page, |risk| risk)))
}

pub(super) async fn show(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Risk>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let within = who::within(&caller, Action::Read)?;
    let given = id_of(&id)?;
    let none = || Problem::not_found(format!("No risk has the id {given}."), "It may have been split; GET /v1/risks lists all.");
    let id = whole(&app, given, Named::Risk, &within).await?.ok_or_else(none)?;
    app.ask(move |views| views.risk(id, &within)).await?.map(Json).ok_or_else(none)
}

fn filter_of(parameters: &Parameters) -> Result<RiskFilter, Problem> {
    let text = |name| -> Result<Option<String>, Problem> { Ok(parameters.one(name)?.map(ToOwned::to_owned)) };
    Ok(RiskFilter {
        states: match parameters.one("state") {
            Ok(None) => vec![RiskState::Open],
            Ok(Some("any")) => Vec::new(),
            _ => parameters.words("state", "open, accepted, closed, false_positive or any")?,
        },
        bands: parameters.words("band", BANDS)?,
        evidence: parameters.words("evidence", "reported, corroborated or verified")?,
        family: family_of(parameters)?,
        service: text("service")?,
        node: None,
        within: Within::everything(),
        tool: text("tool")?,
        kind: parameters.word("kind", KINDS)?,
        asset: asset_of(parameters)?,
        vulnerability: text("vulnerability")?,
        exception: parameters.read_one("exception", "the id of an exception")?,
        assigned_to: text("assigned_to")?,
        text: text("text")?,
        min_score: parameters.read_one("min_score", "a number from 0 to 1000")?,
        first_seen_from: parameters.time("first_seen_from")?,
        first_seen_before: parameters.time("first_seen_before")?,
    })
}

/// A weakness family; they are a fixed table.
fn family_of(parameters: &Parameters) -> Result<Option<String>, Problem> {
    let Some(name) = parameters.one("family")? else {
        return Ok(None);
    };
    let named = Family::all().filter(|family| !family.name().starts_with("other:"));
    Family::named(name).map(|family| Some(family.to_string())).ok_or_else(|| unknown("weakness family", name, named))
}

/// An asset, in any way that its name can be written.
pub(super) fn asset_of(parameters: &Parameters) -> Result<Option<AssetId>, Problem> {
    let read = |text| AssetId::read(text).map_err(|error| Problem::bad_request(error.to_string(), format!("Expected is {ASSETS}.")));
    parameters.one("asset")?.map(read).transpose()
}
