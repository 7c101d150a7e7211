//! No secret of a report leaves its adapter: not in a record, not in a line for people, not in a refusal, not in an error.

use std::io::Cursor;
use std::path::Path;

use faultline_adapters::adapter::{Emit, ReadError, Report, RouteSeen, ScanFacts};
use faultline_adapters::normalized::normalized_json;
use faultline_adapters::publish::{Claim, records};
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_model::avro;
use faultline_model::observation::{Observation, ScanKind};
use serde_json::Value;

/// Everything that leaves an adapter, as one text.
#[derive(Default)]
struct Said(String);

impl Emit for Said {
    fn scan(&mut self, facts: ScanFacts) {
        self.0 += &format!("{facts:?}\n");
    }
    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        self.0 += &format!("{seen:?}\n{}\n", normalized_json(&seen, ScanKind::Secret));
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

/// All that is said about a report: by its adapter, in records as they are written, in errors. Plain text, so that it can be searched.
fn said_of(bytes: &[u8]) -> String {
    let key = SecretKey::from_passphrase("test");
    let mut input = Cursor::new(bytes);
    let mut report = Report::new(&mut input, &key);
    let mut said = Said::default();
    let claim = Claim { asset: Some("repo:github.com/acme/shop".parse().expect("an asset")), ..Claim::default() };
    let result = registry::detect(&mut report).and_then(|adapter| {
        registry::read(adapter, &mut report, &mut said)?;
        Ok(adapter)
    });
    match result {
        Err(error) => said.0 += &format!("{error} {error:?}"),
        Ok(adapter) => {
            let published = records(&mut report, adapter, &claim, &mut |_, record| {
                said.0 += &String::from_utf8_lossy(&avro::encode(record)?);
                Ok::<(), avro::AvroError>(())
            });
            said.0 += &format!("{published:?}");
        }
    }
    said.0
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)).expect("the sample can be read")
}

/// The texts under these names at any depth: secrets and lines that quote them, found without the adapter.
fn quoted(value: &Value, names: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if names.contains(&name.as_str()) => found.push(text.trim().to_owned()),
                    other => quoted(other, names, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| quoted(one, names, found)),
        _ => {}
    }
}

fn assert_silent(name: &str, members: &[&str], at_least: usize) {
    let bytes = sample(name);
    let mut secrets = Vec::new();
    quoted(&serde_json::from_slice(&bytes).expect("the samples are JSON"), members, &mut secrets);
    secrets.retain(|secret| secret.len() > 3 && !secret.contains("REDACTED"));
    assert!(secrets.len() >= at_least, "{name}: only {} secrets were looked for", secrets.len());
    let said = said_of(&bytes);
    assert!(said.contains("Published") || said.contains("kind"), "{name}: nothing was said");
    for secret in secrets {
        assert!(!said.contains(&secret), "{name}: a secret stands in what left");
    }
}

#[test]
fn samples_of_secret_scanners_say_nothing_of_their_secrets() {
    let members = ["Secret", "offender", "Match", "line"];
    assert_silent("gitleaks/data_one.json", &members, 1);
    assert_silent("gitleaks/issue4336.json", &members, 2);
    assert_silent("gitleaks/redacted_data_many.json", &members, 0);
}

#[test]
fn secrets_in_sarif_stay_there() {
    let bytes = sample("sarif/gitleaks_7.5.0.sarif");
    let report: Value = serde_json::from_slice(&bytes).expect("JSON");
    let said = said_of(&bytes);
    let results = report["runs"][0]["results"].as_array().expect("results");
    let mut looked_for = 0;
    for result in results {
        let mut secrets = Vec::new();
        quoted(&result["locations"], &["text"], &mut secrets);
        quoted(&result["properties"], &["offender", "email", "commitMessage"], &mut secrets);
        looked_for += secrets.len();
        assert!(secrets.iter().all(|secret| !said.contains(secret.as_str())), "a snippet stands in what left");
    }
    assert!(said.contains("AWS Access Key secret detected"));
    assert!(looked_for >= 16, "only {looked_for} snippets were looked for");
}

#[test]
fn rules_about_hard_coded_secrets_quote_none_in_any_tool() {
    let sarif = r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "Bandit", "rules": [{"id": "B105", "properties": {"tags": ["external/cwe/cwe-259"]}}]}},
        "results": [{"ruleId": "B105", "message": {"text": "Possible hardcoded password: 'hunter2hunter2'"}, "locations": [{"physicalLocation":
            {"artifactLocation": {"uri": "a.py"}, "region": {"startLine": 3, "snippet": {"text": "password = 'hunter2hunter2'"}}}}]}]}]}"#;
    let said = said_of(sarif.as_bytes());
    let unkeyed = faultline_model::locus::snippet_hash("password = 'hunter2hunter2'");
    assert!(said.contains("B105") && !said.contains("hunter2") && !said.contains(&unkeyed), "{said}");

    let trivy = r#"{"SchemaVersion": 2, "ArtifactName": "a", "ArtifactType": "repository", "Results": [{"Target": "k.env", "Class": "secret", "Secrets": [
        {"RuleID": "aws-secret-access-key", "Category": "AWS", "Severity": "CRITICAL", "Title": "AWS Secret Access Key", "StartLine": 2, "EndLine": 2,
         "Match": "KEY=hunter2hunter2", "Code": {"Lines": [{"Number": 2, "Content": "KEY=hunter2hunter2", "Highlighted": "KEY=hunter2hunter2"}]}},
        {"RuleID": "b", "Match": "hunter2hunter2", "StartLine": "hunter2hunter2"}]}]}"#;
    let said = said_of(trivy.as_bytes());
    assert!(said.contains("aws-secret-access-key") && said.contains("Secrets 1") && !said.contains("hunter2"), "{said}");
}

#[test]
fn an_element_that_cannot_be_read_is_refused_without_its_secret() {
    for broken in [
        r#"[{"RuleID": 7, "Secret": "AKIAIOSFODNN7EXAMPLE"}]"#,
        r#"[{"RuleID": "aws", "Secret": "AKIAIOSFODNN7EXAMPLE", "File": 1}]"#,
        r#"[{"RuleID": "aws", "Secret": "AKIAIOSFODNN7EXAMPLE"}, "AKIAIOSFODNN7EXAMPLE""#,
        r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "gitleaks"}}, "results": [{"ruleId": ["AKIAIOSFODNN7EXAMPLE"]}]}]}"#,
    ] {
        let said = said_of(broken.as_bytes());
        assert!(!said.is_empty() && !said.contains("AKIAIOSFODNN7EXAMPLE"), "{said}");
    }
}
