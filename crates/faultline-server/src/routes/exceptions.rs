//! Exceptions: what the register says of them, what a scope would cover, and the steps that people take.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use faultline_model::access::{Action, Caller, Reach};
use faultline_model::asset::AssetId;
use faultline_model::catalog;
use faultline_model::decision::{Outcome, REASON_BYTES};
use faultline_model::exception::{
    AskedScope, AskedTerms, ENTRIES, Moment, NewEnd, Response, Scope, Stage, Step, StepKind, StepRecord, id_of as id_of_name,
};
use faultline_model::id::Id;
use faultline_model::purl;
use faultline_model::register::{Attention, RegisterEntry};
use faultline_model::risk::Risk;
use faultline_model::time::Timestamp;
use faultline_views::{Named, RegisterFilter, Within};
use serde::{Deserialize, Serialize};

use super::decisions::NAME_BYTES;
use super::{PageBody, id_of, limit_of, node_of, whole};
use crate::json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared, blocking};
use crate::who::{self, By};

/// How long an answer waits for the outcome where nothing is asked.
const WAIT: Duration = Duration::from_secs(5);
/// The highest score that there is.
const HIGHEST: i32 = 1000;
/// The most risks that a preview shows.
const PREVIEWED: usize = 20;
const STAGES: &str =
    "draft, requested, reviewed, rejected, withdrawn, approved, active, expiring, suspended, expired or revoked, several by commas, or any";
const ATTENTION: &str = "suspended, review_due, ends, drift or orphan, several by commas, or any";
/// Those that may still come to hold, or do.
const LIVE: [Stage; 7] =
    [Stage::Draft, Stage::Requested, Stage::Reviewed, Stage::Approved, Stage::Active, Stage::Expiring, Stage::Suspended];

pub(super) async fn list(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
) -> Result<Json<PageBody<EntryBody>>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["stage", "node", "attention", "cursor", "limit"])?;
    let within = who::within(&caller, Action::Read)?;
    let stages = match parameters.one("stage") {
        Ok(None) => LIVE.to_vec(),
        Ok(Some("any")) => Vec::new(),
        _ => parameters.words("stage", STAGES)?,
    };
    let attention = match parameters.one("attention") {
        Ok(Some("any")) => Attention::ALL.to_vec(),
        _ => parameters.words("attention", ATTENTION)?,
    };
    let filter = RegisterFilter { stages, node: node_of(&app, &parameters, &within).await?, attention, within };
    let (cursor, limit) = (parameters.one("cursor")?.map(ToOwned::to_owned), limit_of(&parameters)?);
    let now = app.doors.clock.now();
    let page = app.ask(move |views| views.register(&filter, now, cursor.as_deref(), limit)).await?;
    Ok(Json(PageBody::of(page, |entry| EntryBody::of(entry, now))))
}

/// An entry with why somebody is to look at it now.
#[derive(Serialize)]
pub(super) struct EntryBody {
    #[serde(flatten)]
    entry: RegisterEntry,
    attention: Vec<Attention>,
}

impl EntryBody {
    fn of(entry: RegisterEntry, now: Timestamp) -> Self {
        Self { attention: entry.attention(now), entry }
    }
}

pub(super) async fn show(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<EntryBody>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    Ok(Json(EntryBody::of(seen(&app, &caller, &id).await?, app.doors.clock.now())))
}

/// What a scope would cover.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Previewed {
    scope: AskedScope,
}

#[derive(Serialize)]
pub(super) struct Preview {
    /// As it would stand in an exception.
    scope: Scope,
    /// How many open and accepted risks it covers now, of those that the asker sees.
    risks: u64,
    /// Whether that is all of them, rather than as many as were looked at.
    is_exact: bool,
    /// The first by score.
    first: Vec<Risk>,
}

pub(super) async fn preview(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Preview>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let asked: Previewed = json::body(&headers, body, &app.limits).await?;
    let within = who::within(&caller, Action::Read)?;
    let scope = scope(&app, &caller, asked.scope).await?;
    let wanted = scope.clone();
    let covered = app.ask(move |views| views.covered(&wanted, &within, PREVIEWED)).await?;
    Ok(Json(Preview { scope, risks: covered.count, is_exact: covered.is_exact, first: covered.risks }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proposed {
    terms: AskedTerms,
    /// A name for it: the same name is the same exception. Made up where it is not given.
    name: Option<String>,
    actor: Option<String>,
    #[serde(default)]
    reason: String,
    /// The same key is the same step; made up where it is not given.
    key: Option<String>,
    expected_version: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stepped {
    step: StepKind,
    /// With propose: the terms in place of those that it has.
    terms: Option<AskedTerms>,
    /// With renew.
    ends: Option<Moment>,
    /// With renew; the end where nothing is said.
    review_at: Option<Moment>,
    actor: Option<String>,
    #[serde(default)]
    reason: String,
    key: Option<String>,
    expected_version: Option<i32>,
}

/// What became of a step.
#[derive(Serialize)]
pub(super) struct Answer {
    exception: Id,
    /// Its outcome stands under this key.
    key: String,
    outcome: Option<Outcome>,
}

pub(super) async fn propose(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(WAIT);
    let Proposed { terms, name, actor, reason, key, expected_version } = json::body(&headers, body, &app.limits).await?;
    json::text("name", name.as_deref().unwrap_or("-"), NAME_BYTES, true)?;
    let scope = scope(&app, &caller, terms.scope.clone()).await?;
    are_theirs(&app, &caller, &[Action::Except], &scope).await?;
    let response = terms.response();
    let step = Step::Propose(Box::new(terms.terms(scope)));
    let mut asked = Asked { actor, reason, key, expected_version, response };
    let key = asked.key_of(&app, &caller, &step, None)?;
    let exception = id_of_name(name.as_deref().unwrap_or(&key));
    let everything = Within::everything();
    match app.ask(move |views| views.register_entry(exception, &everything)).await? {
        // One of that name that is there already is theirs to write, or not; then they are told no more than that.
        Some(known) if are_theirs(&app, &caller, &[Action::Except], &known.terms.scope).await.is_err() => {
            return Err(Problem::not_allowed(format!("{} may not write an exception of this name.", caller.actor())));
        }
        Some(_) => {}
        // One that comes in between is another's.
        None => asked.expected_version = asked.expected_version.or(Some(0)),
    }
    take(&app, &caller, exception, step, asked, key, wait).await
}

pub(super) async fn step(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let wait = Parameters::read(query.as_deref(), &["wait"])?.wait(app.limits.wait)?.unwrap_or(WAIT);
    let Stepped { step: kind, terms, ends, review_at, actor, reason, key, expected_version } =
        json::body(&headers, body, &app.limits).await?;
    let entry = seen(&app, &caller, &id).await?;
    // Who names no highest score may come to cover anything.
    let score = if kind == StepKind::Approve { entry.terms.assumptions.score_at_most.unwrap_or(HIGHEST) } else { 0 };
    reach(&app, &caller, allowing(kind), score, &entry.terms.scope).await?;
    let end = ends.map(|ends| NewEnd { review_at: review_at.unwrap_or(ends).0, ends: ends.0 });
    let response = terms.as_ref().and_then(AskedTerms::response);
    let step = match (kind, terms, end) {
        (StepKind::Propose, Some(terms), None) => {
            let scope = scope(&app, &caller, terms.scope.clone()).await?;
            are_theirs(&app, &caller, allowing(kind), &scope).await?;
            Step::Propose(Box::new(terms.terms(scope)))
        }
        (StepKind::Renew, None, Some(end)) => Step::Renew(end),
        (StepKind::Request, None, None) => Step::Request,
        (StepKind::Review, None, None) => Step::Review,
        (StepKind::Approve, None, None) => Step::Approve,
        (StepKind::Reject, None, None) => Step::Reject,
        (StepKind::Withdraw, None, None) => Step::Withdraw,
        (StepKind::Revoke, None, None) => Step::Revoke,
        (kind, ..) => {
            let takes = "propose takes terms, renew takes ends and review_at, and no other step takes either";
            return Err(Problem::bad_request(format!("{} is given with something else", kind.name()), format!("Send what fits: {takes}.")));
        }
    };
    if matches!(kind, StepKind::Reject | StepKind::Revoke) {
        json::text("reason", &reason, REASON_BYTES, true)?;
    }
    // Nothing comes in between what is looked at here, the terms and who may grant them, and the grant.
    let expected_version = match (kind, expected_version) {
        (StepKind::Approve, Some(expected)) if expected != entry.version => {
            let detail = format!("{expected} steps are expected, and {} are known here.", entry.version);
            return Err(Problem::conflict(detail, "Look at it again, then decide."));
        }
        (StepKind::Approve, None) => Some(entry.version),
        (_, given) => given,
    };
    let asked = Asked { actor, reason, key, expected_version, response };
    let key = asked.key_of(&app, &caller, &step, Some(entry.entry))?;
    take(&app, &caller, entry.entry, step, asked, key, wait).await
}

/// The actions of which one must be allowed to who takes a step.
fn allowing(kind: StepKind) -> &'static [Action] {
    match kind {
        StepKind::Propose | StepKind::Request | StepKind::Renew | StepKind::Withdraw => &[Action::Except],
        StepKind::Review => &[Action::Review],
        StepKind::Approve => &[Action::Approve],
        StepKind::Reject => &[Action::Review, Action::Approve],
        // Less is accepted by it: who could have asked may end it too.
        StepKind::Revoke => &[Action::Approve, Action::Except],
    }
}

/// What every step is asked with.
struct Asked {
    actor: Option<String>,
    reason: String,
    key: Option<String>,
    expected_version: Option<i32>,
    response: Option<Response>,
}

impl Asked {
    /// The key that the asker gives, else one that nobody else has: of all that is asked, and when.
    fn key_of(&self, app: &App, caller: &Caller, step: &Step, exception: Option<Id>) -> Result<String, Problem> {
        json::text("key", self.key.as_deref().unwrap_or("-"), NAME_BYTES, true)?;
        json::text("reason", &self.reason, REASON_BYTES, false)?;
        let actor = who::actor(caller, self.actor.as_deref())?;
        json::text("actor", &actor, NAME_BYTES, true)?;
        let made_up = || {
            let (step, at) = (format!("{step:?}{:?}", self.response), app.doors.clock.now().millis().to_be_bytes());
            let parts: [&[u8]; 5] = [&exception.map_or([0; 16], |id| id.0), step.as_bytes(), actor.as_bytes(), self.reason.as_bytes(), &at];
            Id::of("step key", &parts).to_string()
        };
        Ok(self.key.as_deref().map_or_else(made_up, |given| who::key(caller, given)))
    }
}

/// Puts a step down, and waits for what becomes of it.
async fn take(
    app: &App,
    caller: &Caller,
    exception: Id,
    step: Step,
    asked: Asked,
    key: String,
    wait: Duration,
) -> Result<(StatusCode, Json<Answer>), Problem> {
    let Asked { actor, reason, expected_version, response, .. } = asked;
    // The same key at another exception is another step.
    let key = format!("{key}/{exception}");
    let actor = who::actor(caller, actor.as_deref())?;
    let at = app.doors.clock.now();
    let record = StepRecord { key: key.clone(), subject: exception, actor, reason, at, expected_version, step, response };
    let door = app.doors.steps.clone();
    blocking(move || door.append(record)).await??;
    let outcome = app.outcomes(vec![key.clone()], wait, |_, outcome| Ok(Some(outcome))).await?.remove(&key);
    let status = if outcome.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(Answer { exception, key, outcome })))
}

/// The entry of an id or its first digits, if the asker may see it.
async fn seen(app: &App, caller: &Caller, id: &str) -> Result<RegisterEntry, Problem> {
    let within = who::within(caller, Action::Read)?;
    let given = id_of(id)?;
    let none = || Problem::not_found(format!("No exception has the id {given}."), "GET /v1/exceptions lists all.");
    let id = whole(app, given, Named::Exception, &within).await?.ok_or_else(none)?;
    app.ask(move |views| views.register_entry(id, &within)).await?.ok_or_else(none)
}

async fn are_theirs(app: &App, caller: &Caller, actions: &[Action], scope: &Scope) -> Result<(), Problem> {
    reach(app, caller, actions, 0, scope).await
}

/// An exception holds wherever its scope reaches, so a step is for who may take it in all of that, on what scores so much.
async fn reach(app: &App, caller: &Caller, actions: &[Action], score: i32, scope: &Scope) -> Result<(), Problem> {
    let mut is_somewhere = false;
    for action in actions {
        let reach = match caller.reach_up_to(*action, score) {
            Reach::Everywhere => return Ok(()),
            Reach::Nowhere => continue,
            Reach::Within(parts) => Within::parts(parts),
        };
        is_somewhere = true;
        let names = scope.within.clone();
        if app.ask(move |views| views.reaches(&names, &reach)).await? {
            return Ok(());
        }
    }
    let what = actions.iter().map(|action| action.name()).collect::<Vec<_>>().join(" or ");
    let place = match scope.within.as_slice() {
        _ if !is_somewhere && caller.reach(actions[0]) != Reach::Nowhere => format!(" what may cover scores up to {score}"),
        _ if !is_somewhere => String::new(),
        [] => " everywhere, and the scope names no part of the organisation".to_owned(),
        names => format!(" in all of {}", names.join(", ")),
    };
    Err(Problem::not_allowed(format!("{} may not {what}{place}.", caller.actor())))
}

/// The scope that is meant: risks stand for the findings that found them, and each name has its one spelling.
async fn scope(app: &App, caller: &Caller, asked: AskedScope) -> Result<Scope, Problem> {
    let AskedScope { risks, findings, vulnerability, package, asset, family, mut within } = asked;
    if risks.len() + findings.len() > ENTRIES {
        return Err(Problem::bad_request(
            format!("the scope names more than {ENTRIES} risks and findings"),
            "Say what they have in common.",
        ));
    }
    let reads = who::within(caller, Action::Read)?;
    let mut founders = findings.clone();
    let mut services = Vec::new();
    for risk in risks {
        let seen = reads.clone();
        let known = app.ask(move |views| views.risk(risk, &seen)).await?;
        let known = known.ok_or_else(|| Problem::not_found(format!("No risk has the id {risk}."), "GET /v1/risks lists all."))?;
        founders.push(known.founder);
        services.push(known.service);
    }
    for finding in findings {
        let seen = reads.clone();
        let known = app.ask(move |views| views.finding(finding, &seen)).await?;
        let known = known.ok_or_else(|| Problem::not_found(format!("No finding has the id {finding}."), "GET /v1/findings lists all."))?;
        services.push(known.finding.service);
    }
    // Who may do this only in a part of the organisation means that part.
    if within.is_empty() && caller.reach(Action::Except) != Reach::Everywhere {
        within.extend(services.iter().map(|service| catalog::service_key(service)));
    }
    founders.sort_unstable();
    founders.dedup();
    within.sort_unstable();
    within.dedup();
    let package = match package.as_str() {
        "" => String::new(),
        text => purl::base(text)
            .map(|(purl, _)| purl)
            .ok_or_else(|| Problem::bad_request(format!("scope.package: {text:?} is no package URL"), "Write it like pkg:npm/lodash."))?,
    };
    let asset = match asset.as_str() {
        "" => String::new(),
        text => AssetId::read(text)
            .map(|asset| asset.to_string())
            .map_err(|error| Problem::bad_request(format!("scope.asset: {error}"), format!("Expected is {}.", super::risks::ASSETS)))?,
    };
    are_known(app, &within, reads).await?;
    Ok(Scope { founders, vulnerability, package, asset, family, within })
}

/// A misspelt part of the organisation would be an exception that covers nothing.
async fn are_known(app: &App, within: &[String], reads: Within) -> Result<(), Problem> {
    let names = within.to_vec();
    match app.ask(move |views| views.unknown_name(&names, &reads)).await? {
        None => Ok(()),
        Some(name) => Err(Problem::not_found(
            format!("There is no unit of the organisation, or service/ and a service, {:?}.", name.chars().take(80).collect::<String>()),
            "GET /v1/nodes and GET /v1/services list all.",
        )),
    }
}
