//! Who a request is of, whether its route is open to them, and what is accounted for of it. What they may see inside is for the route: it asks for
//! their [`within`].

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use faultline_model::access::{Action, Caller, Reach, hash_of};
use faultline_model::audit::Act;
use faultline_model::decision::OutcomeStatus;
use faultline_views::Within;

use crate::problem::{NotAllowed, Problem};
use crate::state::{App, Shared, blocking};

/// What a route takes. Every route says one, and who has not what it says is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Open to everybody: what a supervisor asks.
    Nothing,
    /// Somebody who is known.
    Anybody,
    /// May publish for some asset; the door looks at each.
    Publishing,
    /// May do this at some part of the organisation; the route shows and changes no more than that.
    Somewhere(Action),
    /// May do this in all of the organisation.
    Everywhere(Action),
}

/// Who a request is of, as its route has it.
#[derive(Clone)]
pub(crate) struct By(pub Arc<Caller>);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // A route that needs nothing has nobody.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::unauthorized("Nobody is known to ask."))
    }
}

/// What a route did for who asked, beyond showing or a decision: in words, for the audit log.
#[derive(Clone)]
pub(crate) struct Told(pub String);

/// Lets in who has what a route needs, tells it who that is, and accounts for what they did or were refused.
pub(crate) async fn admit(State((app, needs)): State<(Shared, Needs)>, mut request: Request, next: Next) -> Response {
    if needs == Needs::Nothing {
        return next.run(request).await;
    }
    let caller = match caller(&app, request.headers()).await {
        Ok(caller) => Arc::new(caller),
        Err(problem) => return problem.into_response(),
    };
    let (is_looking, subject) = (request.method().is_safe(), format!("{} {}", request.method(), request.uri().path()));
    let response = if is_open(needs, &caller) {
        request.extensions_mut().insert(By(Arc::clone(&caller)));
        next.run(request).await
    } else {
        refused(&caller, needs).into_response()
    };
    let (status, what, because) = match (response.extensions().get::<Told>(), response.extensions().get::<NotAllowed>()) {
        (Some(Told(what)), _) => (OutcomeStatus::Done, what.clone(), String::new()),
        (None, Some(NotAllowed(because))) if !is_looking => (OutcomeStatus::Refused, String::new(), because.clone()),
        _ => return response,
    };
    let (actor, at, reason, key) = (caller.actor().to_owned(), app.doors.clock.now(), String::new(), String::new());
    let (acts, act) = (app.doors.acts.clone(), Act { actor, at, subject, what, reason, key, status, because });
    match blocking(move || acts.append(act)).await {
        Ok(Ok(())) => response,
        Ok(Err(error)) => Problem::unaccounted(&error).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Who comes in, by what they show.
async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return match &app.token {
            // Only this machine reaches a server without a token: it does not start otherwise.
            None => Ok(Caller::operator(app.operator.clone())),
            Some(_) => Err(Problem::unauthorized("The token is missing.")),
        };
    };
    let sent =
        bearer(authorization.as_bytes()).ok_or_else(|| Problem::unauthorized("What is sent as `Authorization` is no bearer's token."))?;
    if app.token.as_ref().is_some_and(|token| token.is(sent)) {
        return Ok(Caller::operator(app.operator.clone()));
    }
    let (hash, id) = hash_of(sent);
    let tokens = app.doors.tokens.clone();
    let known = blocking(move || tokens.known(id)).await??;
    let token = known.filter(|token| token.hash == hash).ok_or_else(|| Problem::unauthorized("The token is wrong."))?;
    if let Some(revoked) = &token.revoked {
        return Err(Problem::unauthorized(format!("The token was taken back on {}.", revoked.at)));
    }
    if token.ends <= app.doors.clock.now() {
        return Err(Problem::unauthorized(format!("The token ended on {}.", token.ends)));
    }
    Ok(Caller::with_token(&token, &app.roles))
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

fn is_open(needs: Needs, caller: &Caller) -> bool {
    match needs {
        Needs::Nothing | Needs::Anybody => true,
        Needs::Publishing => !caller.assets().is_empty(),
        Needs::Somewhere(action) => caller.reach(action) != Reach::Nowhere,
        Needs::Everywhere(action) => caller.reach(action) == Reach::Everywhere,
    }
}

fn refused(caller: &Caller, needs: Needs) -> Problem {
    let what = match needs {
        Needs::Everywhere(action) => format!("{} in all of the organisation", action.name()),
        Needs::Somewhere(action) => action.name().to_owned(),
        _ => Action::Publish.name().to_owned(),
    };
    Problem::not_allowed(format!("{} may not {what}.", caller.actor()))
}

/// Whose rows a caller may see or change.
pub(crate) fn within(caller: &Caller, action: Action) -> Result<Within, Problem> {
    match caller.reach(action) {
        Reach::Everywhere => Ok(Within::everything()),
        Reach::Within(parts) => Ok(Within::parts(parts)),
        Reach::Nowhere => Err(refused(caller, Needs::Somewhere(action))),
    }
}

/// In whose name a caller acts: their own, or, for the operator, whom they name.
pub(crate) fn actor(caller: &Caller, named: Option<&str>) -> Result<String, Problem> {
    match named {
        None => Ok(caller.actor().to_owned()),
        Some(name) if name == caller.actor() || caller.is_operator() => Ok(name.to_owned()),
        Some(name) => {
            let shown: String = name.chars().take(80).collect();
            Err(Problem::not_allowed(format!("{} cannot act in the name of {shown:?}.", caller.actor())))
        }
    }
}

/// The key under which what a caller asked for is known. Others' keys are not theirs to use: with one they would see, or take, what became of
/// another's decision. The operator's are as they give them.
pub(crate) fn key(caller: &Caller, given: &str) -> String {
    if caller.is_operator() { given.to_owned() } else { format!("{}/{given}", caller.actor()) }
}
