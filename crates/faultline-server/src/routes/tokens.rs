//! Tokens: by which others come in.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use faultline_model::access::{Caller, TokenRecord, TokenScope};
use faultline_model::asset::{AssetId, AssetKind};
use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::decisions::NAME_BYTES;
use crate::doors::TokenOrder;
use crate::json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared, blocking};
use crate::who::{self, By, Told};

/// How long a token holds where nothing is asked, and at most.
const DAYS: u32 = 90;
const DAYS_MOST: u32 = 365;
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// The most nodes, or assets, of one token.
const NAMES: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    actor: String,
    purpose: String,
    scopes: Vec<TokenScope>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    assets: Vec<String>,
    days: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Created {
    /// Told now and never again.
    text: String,
    #[serde(flatten)]
    token: TokenBody,
}

/// A token as it is listed: without its hash, which helps nobody.
#[derive(Serialize)]
pub(super) struct TokenBody {
    token: Id,
    /// `active`, `ended` or `revoked`.
    state: &'static str,
    actor: String,
    purpose: String,
    scopes: Vec<TokenScope>,
    nodes: Vec<String>,
    assets: Vec<String>,
    created: Timestamp,
    created_by: String,
    ends: Timestamp,
    revoked: Option<Timestamp>,
    revoked_by: Option<String>,
}

impl TokenBody {
    fn of(record: TokenRecord, now: Timestamp) -> Self {
        let TokenRecord { token, hash: _, actor, purpose, scopes, nodes, assets, created, created_by, ends, revoked } = record;
        let state = if revoked.is_some() {
            "revoked"
        } else if ends <= now {
            "ended"
        } else {
            "active"
        };
        let (revoked, revoked_by) = revoked.map(|revoked| (revoked.at, revoked.by)).unzip();
        Self { token, state, actor, purpose, scopes, nodes, assets, created, created_by, ends, revoked, revoked_by }
    }
}

#[derive(Serialize)]
pub(super) struct Listed {
    items: Vec<TokenBody>,
    /// Tokens that a newer program wrote: nobody comes in by them here.
    unreadable: usize,
}

pub(super) async fn create(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Extension<Told>, Json<Created>), Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let order = order_of(&app, &caller, json::body(&headers, body, &app.limits).await?)?;
    let tokens = app.doors.tokens.clone();
    let made = blocking(move || tokens.create(order)).await??;
    let token = TokenBody::of(made.record, app.doors.clock.now());
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
    let told = format!("token {} of {}: {}, until {}", token.token, token.actor, scopes.join(", "), token.ends);
    Ok((StatusCode::CREATED, Extension(Told(told)), Json(Created { text: made.text, token })))
}

pub(super) async fn list(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Json<Listed>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let tokens = app.doors.tokens.clone();
    let known = blocking(move || tokens.list()).await??;
    let now = app.doors.clock.now();
    let items = known.tokens.into_iter().map(|record| TokenBody::of(record, now)).collect();
    Ok(Json(Listed { items, unreadable: known.unreadable }))
}

pub(super) async fn revoke(
    State(app): State<Shared>,
    By(caller): By,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<(Extension<Told>, Json<TokenBody>), Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let id: Id =
        id.parse().map_err(|error: faultline_model::id::IdError| Problem::bad_request(error.to_string(), "GET /v1/tokens lists all."))?;
    let (tokens, by) = (app.doors.tokens.clone(), who::actor(&caller, None)?);
    let record = blocking(move || tokens.revoke(id, &by)).await??;
    let told = format!("token {} of {}", record.token, record.actor);
    Ok((Extension(Told(told)), Json(TokenBody::of(record, app.doors.clock.now()))))
}

fn order_of(app: &App, caller: &Caller, asked: Asked) -> Result<TokenOrder, Problem> {
    let (by, now) = (who::actor(caller, None)?, app.doors.clock.now());
    let Asked { actor, purpose, mut scopes, mut nodes, mut assets, days } = asked;
    json::text("actor", &actor, NAME_BYTES, true)?;
    json::text("purpose", &purpose, NAME_BYTES, true)?;
    if actor == app.operator {
        let advice = "Give the token's actor a name of their own: what the operator does is told apart by it.";
        return Err(Problem::bad_request(format!("actor {actor:?} is what the operator is called"), advice));
    }
    if scopes.is_empty() {
        let known: Vec<&str> = TokenScope::ALL.iter().map(|scope| scope.name()).collect();
        return Err(Problem::bad_request("scopes is empty", format!("Give some of {}.", known.join(", "))));
    }
    if scopes.contains(&TokenScope::Publish) == assets.is_empty() {
        let advice = "Give both or none: scope publish, and the assets to publish for, such as `repo:github.com/acme/*`.";
        return Err(Problem::bad_request("scope publish and assets go together", advice));
    }
    if scopes.as_slice() == [TokenScope::Publish] && !nodes.is_empty() {
        return Err(Problem::bad_request(
            "nodes say nothing of publishing",
            "Name assets: what a token publishes for goes by asset alone.",
        ));
    }
    if nodes.len() > NAMES || assets.len() > NAMES {
        return Err(Problem::bad_request(format!("there are more than {NAMES} nodes or assets"), "Name what is above them."));
    }
    nodes.iter().try_for_each(|node| json::text("nodes", node, NAME_BYTES, true))?;
    assets.iter().try_for_each(|asset| pattern(asset))?;
    let days = days.unwrap_or(DAYS);
    if !(1..=DAYS_MOST).contains(&days) {
        return Err(Problem::bad_request(format!("days is {days}"), format!("Expected is a number from 1 to {DAYS_MOST}.")));
    }
    scopes.sort_unstable();
    scopes.dedup();
    for names in [&mut nodes, &mut assets] {
        names.sort_unstable();
        names.dedup();
    }
    // Who is let in until a day makes no token that lets in beyond it.
    let asked = Timestamp::from_millis(now.millis() + i64::from(days) * DAY_MILLIS);
    let ends = caller.ends().map_or(asked, |own| own.min(asked));
    Ok(TokenOrder { actor, purpose, scopes, nodes, assets, ends, by })
}

/// An asset's canonical name, or the beginning of one and `*`. What is written otherwise would match nothing.
fn pattern(text: &str) -> Result<(), Problem> {
    let wrong = |why: String| {
        let shown: String = text.chars().take(80).collect();
        let advice = "Expected is an asset like repo:github.com/acme/shop, or the beginning of one with a kind, like repo:github.com/acme/*; `*` is all.";
        Err(Problem::bad_request(format!("assets has {shown:?}: {why}"), advice))
    };
    match text.strip_suffix('*') {
        Some("") => Ok(()),
        Some(begin) if !begin.split_once(':').is_some_and(|(kind, _)| AssetKind::ALL.iter().any(|known| known.name() == kind)) => {
            wrong("it begins with no kind of asset".to_owned())
        }
        // An asset that begins so shows how its kind is written; where there is none that can be made up, it is taken as it is.
        Some(begin) => match AssetId::read(&format!("{begin}x")) {
            Ok(asset) if !asset.as_str().starts_with(begin) => wrong(format!("such names are written like {asset}")),
            _ => Ok(()),
        },
        None => match AssetId::read(text) {
            Ok(asset) if asset.as_str() == text => Ok(()),
            Ok(asset) => wrong(format!("its name is {asset}")),
            Err(error) => wrong(error.to_string()),
        },
    }
}
