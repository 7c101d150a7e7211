//! The organisation as YAML, in and out.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::decisions::NAME_BYTES;
use crate::doors::CatalogApplied;
use crate::json;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};
use crate::upload;
use crate::who::{self, By, Told};

pub(super) async fn apply(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["actor", "dry_run"])?;
    let (actor, dry_run) = (who::actor(&caller, parameters.one("actor")?)?, parameters.flag("dry_run")?);
    json::text("actor", &actor, NAME_BYTES, true)?;
    let bytes = upload::to_memory(&headers, body, &app.limits, app.limits.catalog_bytes).await?;
    let yaml = String::from_utf8(bytes).map_err(|error| Problem::bad_request(format!("the catalog: {error}"), "Send YAML in UTF-8."))?;
    let catalog = app.doors.catalog.clone();
    let by = actor.clone();
    let applied = blocking(move || catalog.apply(&yaml, &actor, dry_run)).await??;
    let CatalogApplied { version, changed, removed, .. } = &applied;
    // What changed nothing was not done.
    let told = (!dry_run && changed + removed > 0)
        .then(|| Told(format!("version {version} in the name of {by}: {changed} written, {removed} removed")));
    Ok((told.map(Extension), Json(applied)).into_response())
}

pub(super) async fn show(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let catalog = app.doors.catalog.clone();
    let yaml = blocking(move || catalog.show()).await??;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], yaml).into_response())
}
