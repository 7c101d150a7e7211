//! A scanner's report in: to a file as it comes, then through its adapter, then durably onto the log.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;

use super::risks::asset_of;
use crate::doors::{PublishedScan, ReportClaim};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};
use crate::upload;
use crate::who::{self, By};

const PARAMETERS: &[&str] = &[
    "asset",
    "service",
    "tool",
    "branch",
    "default_branch",
    "environment",
    "path",
    "full",
    "bulk",
    "revision",
    "revision_time",
    "started",
    "scan",
    "publisher",
];

/// The longest of each parameter, in bytes.
const TEXT_BYTES: usize = 1024;

#[derive(Serialize)]
pub(super) struct Accepted {
    scans: Vec<AcceptedScan>,
}

#[derive(Serialize)]
struct AcceptedScan {
    #[serde(flatten)]
    scan: PublishedScan,
    /// Where its outcome will stand.
    outcome: String,
}

pub(super) async fn publish(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let mut claim = claim_of(&Parameters::read(query.as_deref(), PARAMETERS)?)?;
    claim.publisher = who::actor(&caller, Some(claim.publisher.as_str()).filter(|name| !name.is_empty()))?;
    claim.traceparent = traceparent_of(&headers);
    let _place = app.upload()?;
    let report = upload::to_file(&headers, body, &app.limits, app.spool.as_deref()).await?;
    let reports = app.doors.reports.clone();
    let published = blocking(move || reports.publish(report, claim, &caller)).await??;
    let scans = published.into_iter().map(|scan| AcceptedScan { outcome: format!("/v1/outcomes/{}", scan.scan), scan }).collect();
    Ok((StatusCode::ACCEPTED, Json(Accepted { scans })))
}

/// `00-<trace>-<parent>-<flags>`; what is written otherwise is left out, as its standard asks.
fn traceparent_of(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let is_hex =
        |part: &str, digits| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    let parts: Vec<&str> = text.split('-').collect();
    let is_well = matches!(parts[..], ["00", trace, parent, flags] if is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2));
    is_well.then(|| text.to_owned())
}

fn claim_of(parameters: &Parameters) -> Result<ReportClaim, Problem> {
    for name in PARAMETERS {
        if parameters.all(name).any(|value| value.len() > TEXT_BYTES) {
            return Err(Problem::bad_request(format!("{name} is longer than {TEXT_BYTES} bytes"), "Shorten it."));
        }
    }
    let (paths, is_full): (Vec<String>, bool) = (parameters.all("path").map(ToOwned::to_owned).collect(), parameters.flag("full")?);
    if is_full && !paths.is_empty() {
        let advice = "Give paths alone where the scan covered only them, full alone where it covered the whole asset.";
        return Err(Problem::bad_request("full and path contradict each other", advice));
    }
    if let Some(path) = parameters.all("path").find(|path| path.split(['/', '\\']).any(|part| part == "..")) {
        return Err(Problem::bad_request(format!("path {path:?} leaves the asset"), "Give it relative to the asset's root, without `..`."));
    }
    let optional =
        |name| -> Result<Option<String>, Problem> { Ok(parameters.one(name)?.filter(|value| !value.is_empty()).map(ToOwned::to_owned)) };
    Ok(ReportClaim {
        asset: asset_of(parameters)?,
        service: parameters.text("service")?,
        tool: optional("tool")?,
        branch: parameters.text("branch")?,
        is_default_branch: parameters.flag("default_branch")?,
        environment: parameters.text("environment")?,
        paths,
        is_full,
        revision: parameters.text("revision")?,
        revision_time: parameters.time("revision_time")?,
        started: parameters.time("started")?,
        scan: optional("scan")?,
        publisher: parameters.text("publisher")?,
        is_bulk: parameters.flag("bulk")?,
        traceparent: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_if_it_is_written_well() {
        let of = |text: &str| traceparent_of(&HeaderMap::from_iter([("traceparent".parse().unwrap(), text.parse().unwrap())]));
        let well = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(well).as_deref(), Some(well));
        for wrong in ["", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf9-00f067aa0ba902b7-01", &format!("{well}-x")] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(traceparent_of(&HeaderMap::new()), None);
    }
}
