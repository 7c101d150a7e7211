//! JSON in: strict, so that a misspelt member is an error and not a decision that nobody made.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::settings::Limits;
use crate::upload;

/// A JSON body. Its content type must say so: a form of another site cannot.
pub(crate) async fn body<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<T, Problem> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Problem::unsupported("The body is not said to be JSON.", "Send `Content-Type: application/json`."));
    }
    let bytes = upload::to_memory(headers, body, limits, limits.json_bytes).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad_request(format!("the body: {error}"), "docs/api.md shows its shape."))
}

/// Who asks, or what for: present where it must be, and within its bound.
pub(crate) fn text(name: &str, value: &str, most: usize, is_needed: bool) -> Result<(), Problem> {
    if is_needed && value.trim().is_empty() {
        return Err(Problem::bad_request(format!("{name} is missing or empty"), format!("Say {name}; it is kept with the decision.")));
    }
    if value.len() > most {
        return Err(Problem::bad_request(format!("{name} has {} bytes, {most} are kept", value.len()), "Shorten it."));
    }
    Ok(())
}
