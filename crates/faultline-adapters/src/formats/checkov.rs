//! Checkov JSON: infrastructure as code that breaks a policy.
//!
//! Shape: one object a framework, or an array of such: `{check_type, results: {failed_checks: […]}, summary}`; an empty run is
//! `{passed, failed, …, checkov_version}`. Only failed checks are findings. Source: checkov `--output json`.

use faultline_model::locus::{Locus, Resource, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity};
use serde::Deserialize;
use serde_json::Value;

use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report, ScanFacts};
use crate::formats::json::{Json, Text};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter = Adapter { name: "checkov", kind: ScanKind::Iac, tests_for: &[], recognises, may_be_empty: NEVER, read };

#[derive(Deserialize)]
struct FailedCheck<'a> {
    check_id: String,
    check_name: Option<String>,
    resource: Option<String>,
    #[serde(default, borrow)]
    file_path: Text<'a>,
    file_line_range: Option<Vec<i32>>,
    guideline: Option<String>,
    severity: Option<Text<'a>>,
}

fn recognises(head: &Head<'_>) -> bool {
    let members = if head.is_json_array() { head.first_element_members() } else { head.top_members() };
    let has = |name| members.contains(&name);
    (has("check_type") && has("results")) || (has("checkov_version") && has("failed"))
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    Json::open(ADAPTER.name, report)?.whole(|json| match json.token()? {
        Some(b'[') => json.array(&mut |json, index| run(json, emit, &format!("run {index}, "))),
        _ => run(json, emit, ""),
    })
}

/// One framework's run.
fn run(json: &mut Json<'_>, emit: &mut dyn Emit, place: &str) -> Result<(), ReadError> {
    json.object(&mut |json, name| {
        match name {
            "results" => json.object(&mut |json, name| match name {
                "failed_checks" => json.elements(&mut |index, element| match element.read::<FailedCheck<'_>>() {
                    Ok(check) => emit.finding(observation(check)),
                    Err(reason) => {
                        emit.refused(format!("{place}failed check {index}"), reason);
                        Ok(())
                    }
                }),
                _ => json.pass(),
            })?,
            "summary" => note_version(emit, json.value::<Value>()?.get("checkov_version")),
            "checkov_version" => note_version(emit, Some(&json.value()?)),
            _ => json.pass()?,
        }
        Ok(())
    })
}

fn note_version(emit: &mut dyn Emit, version: Option<&Value>) {
    if let Some(version) = version.and_then(Value::as_str) {
        emit.scan(ScanFacts { tool_version: version.to_owned(), ..ScanFacts::default() });
    }
}

fn observation(check: FailedCheck<'_>) -> Observation {
    let lines = check.file_line_range.unwrap_or_default();
    let line = lines.first().copied().unwrap_or(0);
    let place = Resource {
        address: check.resource.unwrap_or_default(),
        file: asset_path(&check.file_path),
        line,
        end_line: lines.get(1).copied().unwrap_or(line),
    };
    let severity = check.severity.as_deref().map_or(Severity::Medium, severity_of);
    let mut seen = Observation::new(check.check_id, severity, Locus::Resource(place));
    if let Some(name) = check.check_name {
        seen.title = name;
    }
    if let Some(guideline) = check.guideline {
        seen.guidance.clone_from(&guideline);
        seen.references.push(guideline);
    }
    seen.bounded()
}

/// The platform's levels; without a platform key checkov writes none.
fn severity_of(level: &str) -> Severity {
    let level = level.to_ascii_lowercase();
    Severity::ALL.into_iter().find(|known| known.name() == level).unwrap_or(Severity::Medium)
}
