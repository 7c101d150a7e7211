//! A feed of threat intelligence in.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;

use crate::doors::IntelLoaded;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};
use crate::upload;

pub(super) async fn load(
    State(app): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<IntelLoaded>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let _place = app.upload()?;
    let feed = upload::to_file(&headers, body, &app.limits, app.spool.as_deref()).await?;
    let intel = app.doors.intel.clone();
    Ok(Json(blocking(move || intel.load(feed)).await??))
}
