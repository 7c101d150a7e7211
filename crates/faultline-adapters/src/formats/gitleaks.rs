//! Gitleaks JSON: secrets in a repository's files and history.
//!
//! Shape: an array of leaks; `null` or `[]` when there are none. Version 8 writes `RuleID`, `Secret`, `StartLine`; version 7 and
//! older write `rule`, `offender`, `lineNumber`. Source: gitleaks report format, <https://github.com/gitleaks/gitleaks>.
//! Authors, mail addresses, commit messages and the quoted line are not read.

use faultline_model::locus::{Locus, Secret, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity};
use serde::Deserialize;
use serde_json::Value;

use crate::adapter::{Adapter, Emit, ReadError, Report};
use crate::formats::json::{Json, Text};
use crate::head::Head;
use crate::secret::{SecretKey, SecretText};

pub(crate) const ADAPTER: Adapter =
    Adapter { name: "gitleaks", kind: ScanKind::Secret, tests_for: &[], recognises, may_be_empty: |head| head.is_nothing(), read };

/// Hard-coded credentials; gitleaks names no weakness itself.
const CWE_HARD_CODED_CREDENTIALS: i32 = 798;

/// Members that only this tool's elements have together, one row a generation.
const SIGNATURES: [[&str; 2]; 2] = [["RuleID", "Secret"], ["rule", "offender"]];

/// Version 7 has the line's text under `line`, which quotes the secret and is not read.
#[derive(Deserialize)]
struct Leak<'a> {
    #[serde(rename = "RuleID", alias = "rule")]
    rule: String,
    #[serde(default, rename = "Description", alias = "description", borrow)]
    description: Text<'a>,
    #[serde(rename = "Secret", alias = "offender")]
    secret: SecretText,
    #[serde(default, rename = "File", alias = "file")]
    file: Text<'a>,
    #[serde(default, rename = "StartLine", alias = "lineNumber")]
    line: LineNumber,
    #[serde(default, rename = "Commit", alias = "commit")]
    commit: Text<'a>,
}

/// A line; 0 for what is no number.
#[derive(Default)]
struct LineNumber(i32);

impl<'de> Deserialize<'de> for LineNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(value.as_i64().and_then(|line| i32::try_from(line).ok()).unwrap_or(0)))
    }
}

fn recognises(head: &Head<'_>) -> bool {
    let members = head.first_element_members();
    SIGNATURES.iter().any(|signature| signature.iter().all(|name| members.contains(name)))
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let secrets = report.secrets;
    Json::open(ADAPTER.name, report)?.whole(|json| {
        // The parser's own reason may quote a value, and a value may be the secret: it does not leave.
        json.elements(&mut |index, element| match element.read::<Leak<'_>>() {
            Ok(leak) => emit.finding(observation(leak, secrets)),
            Err(_) => {
                emit.refused(format!("leak {index}"), "a leak needs a rule and a secret as text".to_owned());
                Ok(())
            }
        })
    })
}

fn observation(leak: Leak<'_>, key: &SecretKey) -> Observation {
    let file = asset_path(&leak.file);
    let name = if leak.description.is_empty() { &leak.rule } else { &*leak.description };
    let title = leak.secret.redact(&format!("{name} in {file}"));
    let place = Secret {
        hash: leak.secret.keyed_hash(key),
        preview: leak.secret.preview(),
        file,
        line: leak.line.0,
        commit: leak.commit.into_string(),
    };
    let mut seen = Observation::new(leak.rule, Severity::High, Locus::Secret(place));
    seen.title = title;
    seen.cwes = vec![CWE_HARD_CODED_CREDENTIALS];
    seen.bounded()
}
