//! What a person decides of a finding or a risk. A risk is expanded here into its home findings, which is where decisions live.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use faultline_model::access::{Action, Caller};
use faultline_model::asset::AssetId;
use faultline_model::decision::{
    Decided, Decision, FindingAssignment, FindingSeverity, FindingVerdict, LinkWord, Outcome, REASON_BYTES, Verdict, Word,
};
use faultline_model::id::{Id, IdPrefix};
use faultline_model::locus::Locus;
use faultline_model::observation::Severity;
use faultline_model::risk::Risk;
use faultline_model::tracked::TrackedFinding;
use faultline_views::{Named, Within};
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
    severity: Option<Level>,
    link: Option<Linked>,
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

/// How severe it is here; withdrawn is what the tool says.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Info,
    Low,
    Medium,
    High,
    Critical,
    Withdrawn,
}

/// A word on the link from what was proved at runtime to a finding in code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Linked {
    to: IdPrefix,
    word: Word,
}

/// What is to be said of each finding that is decided upon.
#[derive(Clone, Debug)]
enum What {
    Verdict(Verdict),
    Assignment(String),
    Severity(Option<Severity>),
    Link { to: Id, word: Word },
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
    let what = what(&app, &caller, &asked).await?;
    let (targets, left_out) = targets(&app, &caller, &asked, &what, &actor).await?;
    let now = app.doors.clock.now();
    let decision = |target: &Target| Decision {
        key: target.key.clone(),
        asset: target.asset.clone(),
        actor: actor.clone(),
        reason: asked.reason.clone(),
        at: now,
        what: what.of(target),
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
    let given = [asked.verdict.is_some(), asked.assignment.is_some(), asked.severity.is_some(), asked.link.is_some()];
    if given.into_iter().filter(|is_given| *is_given).count() != 1 {
        let detail = "exactly one of verdict, assignment, severity and link is to be given";
        return Err(Problem::bad_request(detail, "Send one decision for each."));
    }
    json::text("actor", actor, NAME_BYTES, true)?;
    json::text("reason", &asked.reason, REASON_BYTES, asked.assignment.is_none())?;
    json::text("key", asked.key.as_deref().unwrap_or("-"), NAME_BYTES, true)?;
    json::text("assignment.to", asked.assignment.as_ref().map_or("", |assigned| &assigned.to), NAME_BYTES, false)
}

/// What is asked for, with the whole id of what a link leads to.
async fn what(app: &App, caller: &Caller, asked: &Asked) -> Result<What, Problem> {
    Ok(match asked {
        // What it was said of may be gone, or where the asker does not see it.
        Asked { link: Some(Linked { to, word: Word::Withdrawn }), finding: Some(finding), .. } => {
            let route = listed(app, *finding, &who::within(caller, Action::Read)?).await?;
            let (lowest, highest) = to.bounds();
            let mut said = route.words.iter().map(|given| given.to).filter(|given| (lowest..=highest).contains(given));
            let (Some(to), None) = (said.next(), said.next()) else {
                let detail = format!("Finding {} has no word, or several, on a link to {to}.", route.finding);
                return Err(Problem::not_found(detail, "GET /v1/findings/{id} shows its words."));
            };
            What::Link { to, word: Word::Withdrawn }
        }
        Asked { link: Some(link), .. } => {
            let code = listed(app, link.to, &who::within(caller, Action::Read)?).await?;
            if !matches!(code.observation.locus, Locus::Code(_)) {
                let detail = format!("Finding {} is not in code.", code.finding);
                return Err(Problem::bad_request(detail, "A link leads from what was proved at runtime to a finding in code."));
            }
            What::Link { to: code.finding, word: link.word }
        }
        Asked { severity: Some(level), .. } => What::Severity(level.severity()),
        Asked { assignment: Some(assigned), .. } => What::Assignment(assigned.to.clone()),
        Asked { verdict, .. } => What::Verdict(verdict.unwrap_or(Verdict::Withdrawn)),
    })
}

/// The finding of an id, if the asker may see it.
async fn listed(app: &App, given: IdPrefix, within: &Within) -> Result<TrackedFinding, Problem> {
    let none = || Problem::not_found(format!("No finding has the id {given}."), "GET /v1/findings lists all.");
    let (finding, within) = (whole(app, given, Named::Finding, within).await?.ok_or_else(none)?, within.clone());
    let known = app.ask(move |views| views.finding(finding, &within)).await?;
    known.map(|listed| listed.finding).ok_or_else(none)
}

impl Level {
    fn severity(self) -> Option<Severity> {
        Some(match self {
            Self::Info => Severity::Info,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
            Self::Withdrawn => return None,
        })
    }
}

impl What {
    fn of(&self, target: &Target) -> Decided {
        let (finding, expected_version) = (target.finding, target.expected_version);
        match self {
            Self::Verdict(verdict) => Decided::Verdict(FindingVerdict { finding, verdict: *verdict, expected_version }),
            Self::Assignment(to) => Decided::Assignment(FindingAssignment { finding, to: to.clone(), expected_version }),
            Self::Severity(severity) => Decided::Severity(FindingSeverity { finding, severity: *severity, expected_version }),
            Self::Link { to, word } => Decided::Link(LinkWord { finding, to: *to, word: *word, expected_version }),
        }
    }
}

/// The findings that are decided upon, and how many home findings of a risk its record has no room for.
async fn targets(app: &App, caller: &Caller, asked: &Asked, what: &What, actor: &str) -> Result<(Vec<Target>, i32), Problem> {
    let within = who::within(caller, Action::Read)?;
    match (asked.finding, asked.risk) {
        (Some(given), None) if asked.shown.is_none() => {
            let TrackedFinding { finding, asset, observation, .. } = listed(app, given, &within).await?;
            if matches!(what, What::Link { .. }) && !matches!(observation.locus, Locus::Route(_)) {
                let detail = format!("Finding {finding} is not at a route.");
                return Err(Problem::bad_request(detail, "A link leads from what was proved at runtime to a finding in code."));
            }
            are_theirs(app, caller, vec![finding]).await?;
            let key = key_of(app, caller, asked, what, actor, finding);
            Ok((vec![Target { finding, asset, key, expected_version: asked.expected_version }], 0))
        }
        (None, Some(_)) if matches!(what, What::Link { .. }) => {
            Err(Problem::bad_request("a link is of a finding", "Give the finding at the route that it begins at."))
        }
        (None, Some(given)) if asked.expected_version.is_none() => {
            let none = || Problem::not_found(format!("No risk has the id {given}."), "GET /v1/risks lists all.");
            let risk = whole(app, given, Named::Risk, &within).await?.ok_or_else(none)?;
            let seen = within.clone();
            let known = app.ask(move |views| views.risk(risk, &seen)).await?.ok_or_else(none)?;
            let (targets, left_out) = of_risk(&known, asked, &key_of(app, caller, asked, what, actor, risk))?;
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
fn key_of(app: &App, caller: &Caller, asked: &Asked, what: &What, actor: &str, subject: Id) -> String {
    let made_up = || {
        let (what, at) = (format!("{what:?}"), app.doors.clock.now().millis().to_be_bytes());
        let parts: [&[u8]; 5] = [&subject.0, what.as_bytes(), actor.as_bytes(), asked.reason.as_bytes(), &at];
        Id::of("decision key", &parts).to_string()
    };
    asked.key.as_deref().map_or_else(made_up, |given| who::key(caller, given))
}
