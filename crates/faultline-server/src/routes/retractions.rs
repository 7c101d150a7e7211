//! Taking back: a scan that was published by mistake, or an asset that is no longer scanned.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use faultline_model::access::{Action, Caller};
use faultline_model::asset::AssetId;
use faultline_model::decision::{Decided, Decision, Outcome, REASON_BYTES, RetractScan};
use faultline_model::id::{Id, IdPrefix};
use faultline_views::Named;
use serde::{Deserialize, Serialize};

use super::decisions::NAME_BYTES;
use super::whole;
use crate::json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared, blocking};
use crate::who::{self, By};

/// How long an answer waits for the outcome where nothing is asked.
const WAIT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The scan to take back.
    scan: Option<IdPrefix>,
    /// The scan's asset, where its outcome is no longer known; or, without a scan, the asset to retire.
    asset: Option<AssetId>,
    actor: Option<String>,
    #[serde(default)]
    reason: String,
    key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Answer {
    /// The scan that was meant, with all digits.
    scan: Option<Id>,
    /// The outcome stands under this key.
    key: String,
    outcome: Option<Outcome>,
}

pub(super) async fn retract(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(WAIT);
    let asked: Asked = json::body(&headers, body, &app.limits).await?;
    let actor = who::actor(&caller, asked.actor.as_deref())?;
    json::text("actor", &actor, NAME_BYTES, true)?;
    json::text("reason", &asked.reason, REASON_BYTES, true)?;
    json::text("key", asked.key.as_deref().unwrap_or("-"), NAME_BYTES, true)?;
    let (asset, what) = target(&app, &caller, &asked).await?;
    is_theirs(&app, &caller, &asset).await?;
    let scan = if let Decided::RetractScan(RetractScan { scan }) = &what { Some(*scan) } else { None };
    let at = app.doors.clock.now();
    let made_up = || {
        let scan = scan.map_or([0; 16], |scan| scan.0);
        Id::of("retraction key", &[&scan, asset.as_str().as_bytes(), actor.as_bytes(), &at.millis().to_be_bytes()]).to_string()
    };
    let key = asked.key.as_deref().map_or_else(made_up, |given| who::key(&caller, given));
    let record = Decision { key: key.clone(), asset, actor, reason: asked.reason, at, what };
    let door = app.doors.decisions.clone();
    blocking(move || door.append(vec![record])).await??;
    let outcome = app.outcomes(vec![key.clone()], wait, |_, outcome| Ok(Some(outcome))).await?.remove(&key);
    let status = if outcome.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Answer { scan, key, outcome })))
}

/// To take back closes findings: all that the asset has must be theirs.
async fn is_theirs(app: &App, caller: &Caller, asset: &AssetId) -> Result<(), Problem> {
    let (within, asked) = (who::within(caller, Action::Retract)?, asset.clone());
    if app.ask(move |views| views.owns_asset(&asked, &within)).await? {
        return Ok(());
    }
    Err(Problem::not_allowed(format!("Not all that {asset} has belongs to services of {}.", caller.actor())))
}

async fn target(app: &App, caller: &Caller, asked: &Asked) -> Result<(AssetId, Decided), Problem> {
    let within = who::within(caller, Action::Read)?;
    match (asked.scan, &asked.asset) {
        (None, None) => Err(Problem::bad_request("neither scan nor asset is given", "Name the scan to take back, or the asset to retire.")),
        (None, Some(asset)) => Ok((asset.clone(), Decided::RetireAsset)),
        (Some(given), asset) => {
            let advice = "Give its asset as well, and all digits, if it was published long ago.";
            let none = || Problem::not_found(format!("No scan {given} is known."), advice);
            let scan = whole(app, given, Named::Scan, &within).await?.ok_or_else(none)?;
            if let Some(asset) = asset {
                return Ok((asset.clone(), Decided::RetractScan(RetractScan { scan })));
            }
            let trace = app.ask(move |views| views.trace(scan, &within)).await?;
            let of_outcome = trace.outcome.and_then(|outcome| outcome.asset);
            let asset = of_outcome.or_else(|| trace.lines.into_iter().next().map(|line| line.asset));
            Ok((asset.ok_or_else(none)?, Decided::RetractScan(RetractScan { scan })))
        }
    }
}
