//! No secret of a report leaves its adapter: not in a finding, not in a refusal, not in an error.

use std::io::Cursor;
use std::path::Path;

use faultline_adapters::adapter::{Emit, ReadError, Report, RouteSeen, ScanFacts};
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_model::observation::Observation;
use serde_json::Value;

/// Everything that leaves, as one text.
#[derive(Default)]
struct Said(String);

impl Emit for Said {
    fn scan(&mut self, facts: ScanFacts) {
        self.0 += &format!("{facts:?}\n");
    }
    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        self.0 += &format!("{seen:?}\n{}\n", serde_json::to_string(&seen).expect("an observation is data"));
        Ok(())
    }
    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError> {
        self.0 += &format!("{seen:?}\n");
        Ok(())
    }
    fn refused(&mut self, place: String, reason: String) {
        self.0 += &format!("{place}: {reason}\n");
    }
}

/// All that is said about a report, errors included.
fn said_of(report: &[u8]) -> String {
    let key = SecretKey::from_passphrase("test");
    let mut input = Cursor::new(report);
    let mut report = Report::new(&mut input, &key);
    let mut said = Said::default();
    let result = registry::detect(&mut report).and_then(|adapter| registry::read(adapter, &mut report, &mut said));
    if let Err(error) = result {
        said.0 += &format!("{error} {error:?}");
    }
    said.0
}

/// The secrets of a gitleaks report, found without the adapter. Redacted ones are none.
fn secrets_of(report: &[u8]) -> Vec<String> {
    let leaks: Value = serde_json::from_slice(report).expect("the samples are JSON");
    let members = ["Secret", "offender", "Match", "line"];
    leaks
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|leak| members.iter().filter_map(|name| leak[*name].as_str()).map(|text| text.trim().to_owned()).collect::<Vec<_>>())
        .filter(|secret| !secret.is_empty() && secret != "REDACTED")
        .collect()
}

#[test]
fn samples_of_secret_scanners_say_nothing_of_their_secrets() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/gitleaks");
    let mut secrets_seen = 0;
    for entry in std::fs::read_dir(folder).expect("the samples are there") {
        let path = entry.expect("the folder can be read").path();
        if path.to_string_lossy().ends_with(".expected.json") {
            continue;
        }
        let report = std::fs::read(&path).expect("the sample can be read");
        let said = said_of(&report);
        for secret in secrets_of(&report) {
            secrets_seen += 1;
            assert!(!said.contains(&secret), "{}: a secret stands in what left", path.display());
        }
    }
    assert!(secrets_seen >= 3, "only {secrets_seen} secrets were looked for");
}

#[test]
fn an_element_that_cannot_be_read_is_refused_without_its_secret() {
    for broken in [
        r#"[{"RuleID": 7, "Secret": "AKIAIOSFODNN7EXAMPLE"}]"#,
        r#"[{"RuleID": "aws", "Secret": "AKIAIOSFODNN7EXAMPLE", "File": 1}]"#,
        r#"[{"RuleID": "aws", "Secret": "AKIAIOSFODNN7EXAMPLE"}, "AKIAIOSFODNN7EXAMPLE""#,
    ] {
        let said = said_of(broken.as_bytes());
        assert!(!said.is_empty() && !said.contains("AKIAIOSFODNN7EXAMPLE"), "{said}");
    }
}
