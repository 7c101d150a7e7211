//! A feed of threat intelligence in.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};

use crate::doors::IntelLoaded;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};
use crate::upload;
use crate::who::Told;

pub(super) async fn load(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(Extension<Told>, Json<IntelLoaded>), Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let _place = app.upload()?;
    let feed = upload::to_file(&headers, body, &app.limits, app.spool.as_deref()).await?;
    let intel = app.doors.intel.clone();
    let loaded = blocking(move || intel.load(feed)).await??;
    let IntelLoaded { source, read, changed, removed, refused } = &loaded;
    let told = format!("{source}: {read} read, {changed} changed, {removed} removed, {refused} refused");
    Ok((Extension(Told(told)), Json(loaded)))
}
