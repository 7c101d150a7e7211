//! Control by HTTP, for who has the fake as a process: under `/fake`, without a log-in, also while it is down.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::door::Shared;
use crate::person::{ActError, Person};

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/fake/issues", get(issues))
        .route("/fake/issues/{key}/{act}", post(act))
        .route("/fake/down", post(|State(shared): State<Arc<Shared>>| async move { shared.gate().is_down = true }))
        .route("/fake/up", post(|State(shared): State<Arc<Shared>>| async move { shared.gate().is_down = false }))
        .route("/fake/lag", post(lag))
}

async fn issues(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let world = shared.world();
    let shown = world.issues.values().filter(|kept| !kept.issue.is_deleted).map(|kept| {
        let issue = &kept.issue;
        let mut content = issue.json(&["*all".to_owned()], &world.url, world.project_of(issue), &world.users);
        content["properties"] = json!(issue.properties);
        content["remotelinks"] = issue.remote_links.iter().map(|link| link.json(issue, &world.url)).collect();
        content
    });
    Json(shown.collect())
}

async fn act(State(shared): State<Arc<Shared>>, Path((key, act)): Path<(String, String)>) -> (StatusCode, String) {
    let account = person(&shared);
    let person = Person::new(&shared, account);
    let done = match act.as_str() {
        "close" => person.close(&key),
        "reopen" => person.reopen(&key),
        _ => return (StatusCode::NOT_FOUND, "close or reopen\n".to_owned()),
    };
    match done {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(error @ ActError::NoStatus { .. }) => (StatusCode::CONFLICT, format!("{error}\n")),
        Err(error) => (StatusCode::NOT_FOUND, format!("{error}\n")),
    }
}

/// The first who is not our own account.
pub(crate) fn person(shared: &Shared) -> String {
    let world = shared.world();
    world.users.iter().map(|user| &user.account_id).find(|account| **account != world.account).unwrap_or(&world.account).clone()
}

async fn lag(State(shared): State<Arc<Shared>>, body: String) -> (StatusCode, String) {
    match duration(body.trim()) {
        Some(lag) => {
            shared.world().lag = lag;
            (StatusCode::NO_CONTENT, String::new())
        }
        None => (StatusCode::BAD_REQUEST, "a number and a unit are wanted: 500ms, 2s, 1m\n".to_owned()),
    }
}

/// A whole number and `ms`, `s` or `m`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}
