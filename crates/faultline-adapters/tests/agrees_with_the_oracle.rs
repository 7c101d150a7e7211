//! Adapters read the samples as an independent parser does, or the difference is written down with its reason.
//!
//! Samples and readings: `tests/samples/<tool>/`. Differences: `tests/oracle_differences/<tool>.tsv`, columns tool, sample,
//! field, side (`ours-only`, `oracle-only`), value (or `*`), reason. A row that no longer explains anything fails too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use faultline_adapters::adapter::{Emit, ReadError, Report, RouteSeen, ScanFacts};
use faultline_adapters::{registry, secret::SecretKey};
use faultline_model::locus::Locus;
use faultline_model::observation::Observation;
use serde_json::Value;

type Fields = BTreeMap<&'static str, BTreeSet<String>>;

#[derive(Default)]
struct Seen(Vec<Observation>);

impl Emit for Seen {
    fn scan(&mut self, _: ScanFacts) {}
    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        self.0.push(seen);
        Ok(())
    }
    fn route(&mut self, _: RouteSeen) -> Result<(), ReadError> {
        Ok(())
    }
    fn refused(&mut self, _: String, _: String) {}
}

fn put(fields: &mut Fields, field: &'static str, value: impl ToString) {
    let value = value.to_string();
    if !value.is_empty() && value != "0" {
        fields.entry(field).or_default().insert(value);
    }
}

/// Scheme and port dropped, so that `https://h:1/p` and `h/p` compare equal; no query, no outer slashes.
fn endpoint(raw: &str) -> String {
    let raw = raw.split_once("://").map_or(raw, |(_, rest)| rest);
    let raw = raw.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = raw.split_once('/').unwrap_or((raw, ""));
    format!("{}/{}", host.split(':').next().unwrap_or_default(), path.trim_matches('/')).trim_matches('/').to_owned()
}

/// The name at the end of a package URL (`pkg:deb/debian/apt` is `apt`).
fn component(name: &str) -> String {
    name.rsplit(['/', ':']).next().unwrap_or(name).to_lowercase()
}

fn ours(seen: &[Observation]) -> Fields {
    let mut f = Fields::new();
    for one in seen {
        put(&mut f, "severity", one.severity.name());
        one.cwes.iter().for_each(|cwe| put(&mut f, "cwe", cwe));
        one.vulnerabilities.iter().for_each(|id| put(&mut f, "ids", id));
        let (file, line) = match &one.locus {
            Locus::Code(at) => (at.file.as_str(), at.line),
            Locus::Secret(at) => (at.file.as_str(), at.line),
            Locus::Resource(at) => {
                put(&mut f, "component", component(&at.address));
                (at.file.as_str(), at.line)
            }
            Locus::Package(at) => {
                put(&mut f, "component", component(&at.purl));
                put(&mut f, "version", &at.version);
                (at.manifest.as_str(), 0)
            }
            Locus::Route(at) => {
                put(&mut f, "endpoint", endpoint(&format!("{}{}", at.origin, at.path)));
                ("", 0)
            }
            Locus::Host(at) => {
                put(&mut f, "endpoint", endpoint(&at.address));
                ("", 0)
            }
        };
        put(&mut f, "file", file);
        put(&mut f, "line", line);
    }
    f
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn oracles(findings: &[Value]) -> Fields {
    let mut f = Fields::new();
    for one in findings {
        put(&mut f, "severity", text(&one["severity"]).to_lowercase());
        for (member, field) in [("cwe", "cwe"), ("ids", "ids"), ("endpoint", "endpoint")] {
            for value in one[member].as_array().into_iter().flatten() {
                put(&mut f, field, if field == "endpoint" { endpoint(&text(value)) } else { text(value) });
            }
        }
        put(&mut f, "file", faultline_model::locus::asset_path(&text(&one["file"])));
        put(&mut f, "line", text(&one["line"]));
        put(&mut f, "component", component(&text(&one["component"])));
        put(&mut f, "version", text(&one["version"]));
    }
    f
}

/// Every (field, side, value) in which adapter and oracle differ over one sample.
fn differences(sample: &Path, adapter: &[&str]) -> Vec<[String; 3]> {
    let row = |field: &str, side: &str, value: &str| [field.to_owned(), side.to_owned(), value.to_owned()];
    let oracle = std::fs::read(format!("{}.expected.json", sample.display())).expect("a sample has a reading beside it");
    let oracle: Value = serde_json::from_slice(&oracle).expect("a reading is JSON");
    let mut file = std::fs::File::open(sample).expect("a sample can be opened");
    let key = SecretKey::from_passphrase("samples");
    let mut report = Report::new(&mut file, &key);
    let valid = oracle["status"] == "valid";
    let found = match registry::detect(&mut report) {
        Ok(found) if adapter.contains(&found.name) => found,
        Ok(other) => return vec![row("detect", "ours-only", other.name)],
        Err(_) if !valid => return Vec::new(),
        Err(error) => {
            println!("{}: {error}", sample.display());
            return vec![row("detect", "oracle-only", adapter[0])];
        }
    };
    let mut seen = Seen::default();
    match (registry::read(found, &mut report, &mut seen), valid) {
        (Err(_), false) => return Vec::new(),
        (Err(_), true) => return vec![row("status", "oracle-only", "valid")],
        (Ok(()), false) => return vec![row("status", "ours-only", "valid")],
        (Ok(()), true) => {}
    }
    let mut rows = Vec::new();
    if (seen.0.len() as u64) < oracle["count"].as_u64().unwrap_or(0) {
        rows.push(row("count", "oracle-only", &text(&oracle["count"])));
    }
    let (ours, theirs) = (ours(&seen.0), oracles(oracle["findings"].as_array().map_or(&[], Vec::as_slice)));
    // The oracle lists a part only of long reports; what it leaves out is no difference.
    let is_cut = oracle.get("truncated_after").is_some_and(|cut| !cut.is_null() && cut != false);
    let none = BTreeSet::new();
    for field in ["severity", "cwe", "ids", "file", "line", "component", "version", "endpoint"] {
        let (a, b) = (ours.get(field).unwrap_or(&none), theirs.get(field).unwrap_or(&none));
        if !is_cut {
            rows.extend(a.difference(b).map(|value| row(field, "ours-only", value)));
        }
        rows.extend(b.difference(a).map(|value| row(field, "oracle-only", value)));
    }
    rows
}

/// Judges one tool's samples; `adapter` names those of our adapters that may read them.
fn judge(tool: &str, adapter: &[&str]) {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let table = std::fs::read_to_string(tests.join(format!("oracle_differences/{tool}.tsv"))).unwrap_or_default();
    let known: Vec<Vec<&str>> = table.lines().skip(1).filter(|row| !row.is_empty()).map(|row| row.split('\t').collect()).collect();
    let mut used = vec![false; known.len()];
    let mut samples: Vec<PathBuf> =
        std::fs::read_dir(tests.join("samples").join(tool)).expect("samples").map(|e| e.expect("entry").path()).collect();
    samples.retain(|path| !path.to_string_lossy().ends_with(".expected.json"));
    samples.sort();
    let (mut agreeing, mut explained, mut wrong) = (0, 0, Vec::new());
    for sample in &samples {
        let name = sample.file_name().expect("a file has a name").to_string_lossy();
        let rows = differences(sample, adapter);
        agreeing += usize::from(rows.is_empty());
        for [field, side, value] in rows {
            let key = [tool, &name, &field, &side];
            let fits = |row: &Vec<&str>| row.len() == 6 && !row[5].is_empty() && row[..4] == key && (row[4] == "*" || row[4] == value);
            match known.iter().position(fits) {
                Some(at) => (used[at], explained) = (true, explained + 1),
                None => wrong.push(format!("{tool}\t{name}\t{field}\t{side}\t{value}")),
            }
        }
    }
    println!("{tool}: {} samples, {agreeing} agreeing, {explained} differences explained, {} not", samples.len(), wrong.len());
    wrong.extend(known.iter().zip(&used).filter(|(_, used)| !**used).map(|(row, _)| format!("stale: {}", row.join("\t"))));
    assert!(wrong.is_empty(), "rows to repair, or to explain in tests/oracle_differences/{tool}.tsv:\n{}", wrong.join("\n"));
}

macro_rules! tools {
    ($($test:ident: $($adapter:literal),+;)+) => { $(#[test] fn $test() { judge(stringify!($test), &[$($adapter),+]); })+ };
}

tools! {
    anchore_grype: "grype";
    trivy: "trivy";
    sarif: "sarif";
    zap: "zap";
    checkov: "checkov";
    gitleaks: "gitleaks";
}
