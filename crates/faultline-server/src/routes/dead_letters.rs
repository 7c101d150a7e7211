//! What was refused, and the way back.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde::Deserialize;

use super::decisions::NAME_BYTES;
use super::limit_of;
use crate::doors::{LetterId, LetterPage, LetterQuery, RedriveOrder, Redriven, WholeLetter};
use crate::json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};
use crate::who::{self, By, Told};

/// The most letters of one order.
const ORDERED: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    ids: Vec<LetterId>,
    actor: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    force: bool,
}

pub(super) async fn list(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Json<LetterPage>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["topic", "stage", "cursor", "limit"])?;
    let asked = LetterQuery {
        topic: parameters.text("topic")?,
        stage: parameters.text("stage")?,
        limit: limit_of(&parameters)?,
        cursor: parameters.one("cursor")?.map(str::to_owned),
    };
    let letters = app.doors.dead_letters.clone();
    Ok(Json(blocking(move || letters.list(&asked)).await??))
}

pub(super) async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<WholeLetter>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let id: LetterId = id
        .parse()
        .map_err(|error: crate::doors::LetterIdError| Problem::bad_request(error.to_string(), "GET /v1/dead-letters lists all."))?;
    let letters = app.doors.dead_letters.clone();
    Ok(Json(blocking(move || letters.show(id)).await??))
}

pub(super) async fn redrive(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(Option<Extension<Told>>, Json<Redriven>), Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let asked: Asked = json::body(&headers, body, &app.limits).await?;
    let actor = who::actor(&caller, asked.actor.as_deref())?;
    json::text("actor", &actor, NAME_BYTES, true)?;
    if asked.ids.is_empty() || asked.ids.len() > ORDERED {
        let detail = format!("ids has {} letters, expected are 1 to {ORDERED}", asked.ids.len());
        return Err(Problem::bad_request(detail, "GET /v1/dead-letters lists their ids."));
    }
    let order = RedriveOrder { ids: asked.ids, actor, is_dry_run: asked.dry_run, is_forced: asked.force };
    let letters = app.doors.dead_letters.clone();
    let is_dry = order.is_dry_run;
    let redriven = blocking(move || letters.redrive(order)).await??;
    let ids: Vec<String> = redriven.redriven.iter().map(|one| one.id.to_string()).collect();
    let told = (!is_dry && !ids.is_empty()).then(|| Extension(Told(ids.join(", "))));
    Ok((told, Json(redriven)))
}
