//! The program as a user runs it, without a service: what it prints, what it changes, how it exits.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples");
const ASSET: [&str; 2] = ["--asset", "repo:git.acme.example/shop"];

/// A data folder of its own.
struct Installation(tempfile::TempDir);

impl Installation {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        // An empty home: no configuration of whoever runs the test.
        Command::new(env!("CARGO_BIN_EXE_faultline"))
            .env_clear()
            .env("HOME", self.0.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.0.path())
            .arg("--data")
            .arg(self.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The JSON of a command that ends well.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn publish(&self, sample: &str, more: &[&str]) -> Value {
        let file = format!("{SAMPLES}/{sample}");
        self.json(&[&["publish", file.as_str()], &ASSET[..], more].concat())["total"].clone()
    }

    fn open_risks(&self) -> u64 {
        self.json(&["risks", "list"])["total"]["count"].as_u64().unwrap()
    }
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn every_sample_is_published_or_refused_with_a_reason() {
    let installation = Installation::new();
    let mut published = 0;
    for tool in ["anchore_grype", "checkov", "generic", "gitleaks", "sarif", "trivy", "zap"] {
        for entry in std::fs::read_dir(Path::new(SAMPLES).join(tool)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if name.ends_with(".expected.json") {
                continue;
            }
            let expected: Value =
                std::fs::read(format!("{name}.expected.json")).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default();
            let output = installation.run(&[&["publish", name.as_str()], &ASSET[..]].concat());
            match exit(&output) {
                0 => published += 1,
                3 => assert!(String::from_utf8_lossy(&output.stderr).contains("error: "), "{name}"),
                other => panic!("{name}: exit {other}: {}", String::from_utf8_lossy(&output.stderr)),
            }
            assert!(exit(&output) == 0 || expected["status"] != "valid" || expected["count"] == 0, "{name} is valid and was refused");
        }
    }
    assert!(published >= 55, "{published} samples were published");
}

#[test]
fn the_same_report_twice_changes_nothing_and_an_empty_one_closes_nothing() {
    let installation = Installation::new();
    let first = installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    assert_eq!((first["observed"].clone(), first["new"].clone()), (9.into(), 9.into()));
    let risks = installation.open_risks();
    let again = installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    assert_eq!((again["new"].clone(), again["known"].clone()), (0.into(), 9.into()));
    installation.publish("anchore_grype/no_vuln.json", &[]);
    assert_eq!(installation.open_risks(), risks, "without a stated scope nothing closes");
    let closing = installation.publish("anchore_grype/no_vuln.json", &["--full"]);
    assert_eq!(closing["closed"], 9);
    assert_eq!(installation.open_risks(), 0, "a full scan that sees nothing closes all");
}

#[test]
fn a_decision_survives_a_rescan_and_a_stale_one_is_refused() {
    let installation = Installation::new();
    installation.publish("anchore_grype/many_vulns4.json", &["--full"]);
    let risk = installation.json(&["risks", "list", "--limit", "1"])["items"][0].clone();
    let (id, finding) = (risk["risk"].as_str().unwrap(), risk["findings"][0]["finding"].as_str().unwrap());
    let listed = String::from_utf8(installation.run(&["risks", "list"]).stdout).unwrap();
    assert!(listed.contains(&id[..12]) && !listed.contains(&id[..13]), "{listed}");
    assert_eq!(exit(&installation.run(&["decide", &id[..12], "--verdict", "false-positive", "--reason", "a test fixture"])), 0);
    let refused = installation.run(&["decide", &finding[..8], "--assign", "ben", "--expected-version", "0"]);
    assert_eq!(exit(&refused), 3, "{}", String::from_utf8_lossy(&refused.stdout));
    assert_eq!(exit(&installation.run(&["decide", finding, "--assign", "ben", "--expected-version", "1"])), 0);
    installation.publish("anchore_grype/many_vulns4.json", &["--full", "--scan", "another run"]);
    let known = installation.json(&["risks", "show", &id[..8]]);
    assert_eq!((known["state"].as_str(), known["assigned_to"].as_str()), (Some("false_positive"), Some("ben")));
}

#[test]
fn a_report_is_taken_back_and_an_asset_retired() {
    let installation = Installation::new();
    let file = format!("{SAMPLES}/anchore_grype/many_vulns4.json");
    let answer = installation.json(&[&["publish", file.as_str()], &ASSET[..]].concat());
    let scan = answer["reports"][0]["scan"]["scan"].as_str().unwrap();
    assert_eq!(exit(&installation.run(&["retract", &scan[..8], "--reason", "the wrong repository"])), 0);
    assert_eq!(installation.open_risks(), 0);
    installation.publish("checkov/checkov-report-many-vuln.json", &[]);
    assert!(installation.open_risks() > 0);
    assert_eq!(exit(&installation.run(&["retire", "repo:git.acme.example/shop", "--reason", "archived"])), 0);
    assert_eq!(installation.open_risks(), 0);
}

#[test]
fn a_trace_tells_when_each_stage_wrote_it() {
    let installation = Installation::new();
    let file = format!("{SAMPLES}/anchore_grype/many_vulns4.json");
    let before = now();
    let answer = installation.json(&[&["publish", file.as_str()], &ASSET[..], &["--full"]].concat());
    let scan = answer["reports"][0]["scan"]["scan"].as_str().unwrap();
    let risk = installation.json(&["risks", "list", "--limit", "1"])["items"][0].clone();
    let (risk, finding) = (risk["risk"].as_str().unwrap(), risk["findings"][0]["finding"].as_str().unwrap());
    for (id, expected) in [
        (scan, &["came", "track", "correlate", "views"][..]),
        (finding, &["track", "correlate", "views"]),
        (risk, &["track", "correlate", "views"]),
    ] {
        let traced = installation.json(&["trace", id]);
        let times: Vec<i64> = traced["times"].as_array().unwrap().iter().map(|moment| moment["at"].as_i64().unwrap()).collect();
        let mut steps: Vec<&str> = traced["times"].as_array().unwrap().iter().map(|moment| moment["step"].as_str().unwrap()).collect();
        // The first and the last of several risks.
        steps.dedup();
        assert_eq!((traced["id"].as_str(), steps.as_slice()), (Some(id), expected));
        assert!(times.is_sorted() && times[0] >= before && times[times.len() - 1] <= now(), "{before} {times:?}");
        let told = String::from_utf8(installation.run(&["trace", &id[..10]]).stdout).unwrap();
        assert!(told.contains(&format!("when       {}", expected[0])) && told.contains(" ms") && told.contains("views"), "{told}");
    }
    installation.json(&[&["publish", file.as_str()], &ASSET[..], &["--full", "--scan", "another run"]].concat());
    let again = installation.json(&["trace", scan]);
    assert_eq!(again["times"][0]["step"], "came", "it is found behind a later scan, too");
    assert!(again["times"][0]["at"].as_i64().unwrap() >= before);
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[test]
fn wrong_use_is_told_with_what_to_do() {
    let installation = Installation::new();
    for (arguments, code, part) in [
        (&["publish", "missing.json"][..], 3, "missing.json"),
        (&["risks", "show", "nonsense"][..], 2, "32 hex digits"),
        (&["risks", "show", "00000000000000000000000000000000"][..], 1, "No risk"),
        (&["risks", "show", "00000000"][..], 1, "No risk"),
        (&["catalog", "apply", "missing.yaml"][..], 2, "missing.yaml"),
        (&["topics", "read", "telepathy"][..], 1, "there are findings"),
        (&["--server", "http://127.0.0.1:9", "risks", "list"][..], 5, "faultline up"),
        (&["risk"][..], 2, "risks"),
    ] {
        let output = installation.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(exit(&output), code, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

/// Hashes and previews only: no secret of the samples stands in a store file, a record, or a log line.
#[test]
fn no_secret_of_a_report_is_kept_or_told() {
    let installation = Installation::new();
    let samples = ["gitleaks/data_one.json", "gitleaks/issue4336.json", "sarif/gitleaks_7.5.0.sarif"];
    let mut secrets = Vec::new();
    for sample in samples {
        let text = std::fs::read_to_string(format!("{SAMPLES}/{sample}")).unwrap();
        secrets_of(&serde_json::from_str(&text).unwrap(), &mut secrets);
    }
    assert!(secrets.len() >= 3, "{} secrets to look for", secrets.len());
    let mut told = Vec::new();
    for sample in samples {
        let output = installation.run(&[&["publish", &format!("{SAMPLES}/{sample}")], &ASSET[..], &["--full"]].concat());
        told.extend([output.stdout, output.stderr]);
    }
    for topic in ["findings", "tracked", "risks", "outcomes", "dead-letters"] {
        told.push(installation.run(&["topics", "read", topic, "--limit", "100000", "--json"]).stdout);
    }
    told.push(installation.run(&["risks", "list", "--json"]).stdout);
    // So few records are not yet in compressed tables: what was written stands as it is in the write-ahead log.
    walk(&installation.path(), &mut |bytes| told.push(bytes));
    for secret in secrets {
        let found = told.iter().any(|bytes| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert!(!found, "a secret that begins with {:?} was kept or told", &secret[..4]);
    }
}

/// The members of Gitleaks' formats that hold a secret.
fn secrets_of(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| secrets_of(item, secrets)),
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if ["Secret", "offender"].contains(&name.as_str()) && text.len() >= 8 && !text.contains("REDACTED") => {
                        secrets.push(text.to_owned());
                    }
                    _ => secrets_of(member, secrets),
                }
            }
        }
        _ => {}
    }
}

fn walk(folder: &Path, see: &mut dyn FnMut(Vec<u8>)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, see);
        } else if let Ok(bytes) = std::fs::read(&path) {
            see(bytes);
        }
    }
}
