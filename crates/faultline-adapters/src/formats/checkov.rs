//! Checkov JSON: infrastructure as code that breaks a policy.
//!
//! Shape: one object a framework, or an array of such: `{check_type, results: {failed_checks: […]}, summary}`; an empty run is
//! `{passed, failed, …, checkov_version}`. Only failed checks are findings. Source: checkov `--output json`.

use std::fmt;

use faultline_model::locus::{Locus, Resource, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::adapter::{Adapter, Emit, ReadError, Report, ScanFacts};
use crate::formats::json::{Each, visit};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter = Adapter { name: "checkov", kind: ScanKind::Iac, tests_for: &[], recognises, read };

#[derive(Deserialize)]
struct FailedCheck {
    check_id: String,
    check_name: Option<String>,
    resource: Option<String>,
    #[serde(default)]
    file_path: String,
    file_line_range: Option<Vec<i32>>,
    guideline: Option<String>,
    severity: Option<String>,
}

fn recognises(head: &Head<'_>) -> bool {
    let members = if head.is_json_array() { head.first_element_members() } else { head.top_members() };
    let has = |name| members.contains(&name);
    (has("check_type") && has("results")) || (has("checkov_version") && has("failed"))
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    visit(ADAPTER.name, report, Runs { emit, place: String::new() })
}

/// One framework's run, or an array of them.
struct Runs<'a> {
    emit: &'a mut dyn Emit,
    place: String,
}

impl<'de> DeserializeSeed<'de> for Runs<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Runs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a checkov run or an array of runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut runs: A) -> Result<(), A::Error> {
        let mut index = 0;
        while runs.next_element_seed(Runs { emit: &mut *self.emit, place: format!("run {index}, ") })?.is_some() {
            index += 1;
        }
        Ok(())
    }

    /// The run's members, and those of `results`, which is visited by the same rules.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "results" => members.next_value_seed(Runs { emit: &mut *self.emit, place: self.place.clone() })?,
                "failed_checks" => {
                    let (emit, place) = (&mut *self.emit, &self.place);
                    members.next_value_seed(Each::new(
                        "an array of failed checks",
                        |index, element: Value| match serde_json::from_value::<FailedCheck>(element) {
                            Ok(check) => emit.finding(observation(check)),
                            Err(error) => {
                                emit.refused(format!("{place}failed check {index}"), error.to_string());
                                Ok(())
                            }
                        },
                    ))?;
                }
                "summary" => note_version(self.emit, members.next_value::<Value>()?.get("checkov_version")),
                "checkov_version" => note_version(self.emit, Some(&members.next_value()?)),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

fn note_version(emit: &mut dyn Emit, version: Option<&Value>) {
    if let Some(version) = version.and_then(Value::as_str) {
        emit.scan(ScanFacts { tool_version: version.to_owned(), ..ScanFacts::default() });
    }
}

fn observation(check: FailedCheck) -> Observation {
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
