//! What a person decides of a finding or a risk. A risk is expanded here into its home findings, which is where decisions live.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use faultline_model::access::{Action, Caller};
use faultline_model::asset::AssetId;
use faultline_model::decision::{Decided, Decision, FindingAssignment, FindingVerdict, Outcome, REASON_BYTES, Verdict};
use faultline_model::id::{Id, IdPrefix};
use faultline_model::risk::Risk;
use faultline_views::Named;
use serde::{Deserialize, Serialize};

use super::whole;
use crate::json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared, blocking};
use crate::who::{self, By};

/// How long an answer waits for outcomes where nothing is asked.
const WAIT: Duration = Duration::from_secs(5);
/// The longest name of a person or team, and the longest key, in bytes.
pub(super) const NAME_BYTES: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    finding: Option<IdPrefix>,
    risk: Option<IdPrefix>,
    verdict: Option<Verdict>,
    assignment: Option<Assigned>,
    actor: Option<String>,
    #[serde(default)]
    reason: String,
    /// The same key is the same decision; made up where it is not given.
    key: Option<String>,
    /// How many decisions the asker saw on the finding.
    expected_version: Option<i32>,
    /// For a risk: the home findings that were shown, with the versions that were seen. Without it, all that it has now.
    shown: Option<BTreeMap<Id, i32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assigned {
    to: String,
}

/// What became of it.
#[derive(Serialize)]
pub(super) struct Answer {
    decisions: Vec<Answered>,
    /// Home findings of the risk that its record has no room for: they were not decided upon.
    left_out: i32,
}

#[derive(Serialize)]
struct Answered {
    finding: Id,
    /// Its outcome stands under this key.
    key: String,
    outcome: Option<Outcome>,
}

/// A finding that is decided upon.
struct Target {
    finding: Id,
    asset: AssetId,
    key: String,
    expected_version: Option<i32>,
}

pub(super) async fn decide(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(WAIT);
    let asked: Asked = json::body(&headers, body, &app.limits).await?;
    let actor = who::actor(&caller, asked.actor.as_deref())?;
    check(&asked, &actor)?;
    let (targets, left_out) = targets(&app, &caller, &asked, &actor).await?;
    let now = app.doors.clock.now();
    let decision = |target: &Target| Decision {
        key: target.key.clone(),
        asset: target.asset.clone(),
        actor: actor.clone(),
        reason: asked.reason.clone(),
        at: now,
        what: decided(&asked, target),
    };
    let records: Vec<Decision> = targets.iter().map(decision).collect();
    let door = app.doors.decisions.clone();
    blocking(move || door.append(records)).await??;
    let keys = targets.iter().map(|target| target.key.clone()).collect();
    let mut known = app.outcomes(keys, wait, |_, outcome| Ok(Some(outcome))).await?;
    let status = if known.len() == targets.len() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let decisions = targets
        .into_iter()
        .map(|target| Answered { finding: target.finding, outcome: known.remove(&target.key), key: target.key })
        .collect();
    Ok((status, Json(Answer { decisions, left_out })))
}

fn check(asked: &Asked, actor: &str) -> Result<(), Problem> {
    if asked.verdict.is_some() == asked.assignment.is_some() {
        return Err(Problem::bad_request("exactly one of verdict and assignment is to be given", "Send two decisions for both."));
    }
    json::text("actor", actor, NAME_BYTES, true)?;
    json::text("reason", &asked.reason, REASON_BYTES, asked.verdict.is_some())?;
    json::text("key", asked.key.as_deref().unwrap_or("-"), NAME_BYTES, true)?;
    json::text("assignment.to", asked.assignment.as_ref().map_or("", |assigned| &assigned.to), NAME_BYTES, false)
}

fn decided(asked: &Asked, target: &Target) -> Decided {
    let (finding, expected_version) = (target.finding, target.expected_version);
    match (&asked.assignment, asked.verdict) {
        (Some(assigned), _) => Decided::Assignment(FindingAssignment { finding, to: assigned.to.clone(), expected_version }),
        (None, verdict) => Decided::Verdict(FindingVerdict { finding, verdict: verdict.unwrap_or(Verdict::Withdrawn), expected_version }),
    }
}

/// The findings that are decided upon, and how many home findings of a risk its record has no room for.
async fn targets(app: &App, caller: &Caller, asked: &Asked, actor: &str) -> Result<(Vec<Target>, i32), Problem> {
    let within = who::within(caller, Action::Read)?;
    let seen = within.clone();
    match (asked.finding, asked.risk) {
        (Some(given), None) if asked.shown.is_none() => {
            let none = || Problem::not_found(format!("No finding has the id {given}."), "GET /v1/findings lists all.");
            let finding = whole(app, given, Named::Finding, &within).await?.ok_or_else(none)?;
            let known = app.ask(move |views| views.finding(finding, &seen)).await?.ok_or_else(none)?;
            are_theirs(app, caller, vec![finding]).await?;
            let key = key_of(app, caller, asked, actor, finding);
            Ok((vec![Target { finding, asset: known.finding.asset, key, expected_version: asked.expected_version }], 0))
        }
        (None, Some(given)) if asked.expected_version.is_none() => {
            let none = || Problem::not_found(format!("No risk has the id {given}."), "GET /v1/risks lists all.");
            let risk = whole(app, given, Named::Risk, &within).await?.ok_or_else(none)?;
            let known = app.ask(move |views| views.risk(risk, &seen)).await?.ok_or_else(none)?;
            let (targets, left_out) = of_risk(&known, asked, &key_of(app, caller, asked, actor, risk))?;
            are_theirs(app, caller, targets.iter().map(|target| target.finding).collect()).await?;
            Ok((targets, left_out))
        }
        (Some(_), None) => Err(Problem::bad_request("shown is for a risk", "Give expected_version for a finding.")),
        (None, Some(_)) => {
            Err(Problem::bad_request("expected_version is for a finding", "Give shown for a risk: each finding with its version."))
        }
        _ => Err(Problem::bad_request("exactly one of finding and risk is to be given", "Send one decision for each.")),
    }
}

/// A decision holds wherever its finding counts, so it is for who may decide where the finding belongs, not where it is only used.
async fn are_theirs(app: &App, caller: &Caller, findings: Vec<Id>) -> Result<(), Problem> {
    let within = who::within(caller, Action::Decide)?;
    if within.is_everything() {
        return Ok(());
    }
    let other = app
        .ask(move |views| {
            for finding in findings {
                if !views.finding(finding, &within)?.is_some_and(|listed| listed.finding.is_owner) {
                    return Ok(Some(finding));
                }
            }
            Ok(None)
        })
        .await?;
    match other {
        None => Ok(()),
        Some(finding) => Err(Problem::not_allowed(format!("{} may not decide where finding {finding} belongs.", caller.actor()))),
    }
}

fn of_risk(risk: &Risk, asked: &Asked, key: &str) -> Result<(Vec<Target>, i32), Problem> {
    let home = risk.findings.iter().filter(|member| member.is_home);
    let target = |member: &faultline_model::risk::Member, expected_version| Target {
        finding: member.finding,
        asset: member.asset.clone(),
        key: format!("{key}/{}", member.finding),
        expected_version,
    };
    let Some(shown) = &asked.shown else {
        let left_out = risk.findings_total - risk.findings.len() as i32;
        return Ok((home.map(|member| target(member, None)).collect(), left_out.max(0)));
    };
    let targets: Vec<Target> = home.filter_map(|member| shown.get(&member.finding).map(|version| target(member, Some(*version)))).collect();
    if targets.len() < shown.len() || shown.is_empty() {
        let detail = format!("{} of the {} findings that were shown are home findings of the risk now.", targets.len(), shown.len());
        return Err(Problem::conflict(detail, "Read the risk again, then decide anew."));
    }
    Ok((targets, 0))
}

/// The key that the asker gives, else one that nobody else has: of all that was asked, and when.
fn key_of(app: &App, caller: &Caller, asked: &Asked, actor: &str, subject: Id) -> String {
    let made_up = || {
        let verdict = asked.verdict.map_or("", Verdict::name);
        let to = asked.assignment.as_ref().map_or("", |assigned| assigned.to.as_str());
        let at = app.doors.clock.now().millis().to_be_bytes();
        let parts: [&[u8]; 6] = [&subject.0, verdict.as_bytes(), to.as_bytes(), actor.as_bytes(), asked.reason.as_bytes(), &at];
        Id::of("decision key", &parts).to_string()
    };
    asked.key.as_deref().map_or_else(made_up, |given| who::key(caller, given))
}
