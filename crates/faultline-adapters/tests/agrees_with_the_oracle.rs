//! Adapters read the samples as an independent parser does, or the difference is written down with its reason.
//!
//! Samples and readings: `tests/samples/<tool>/`. Differences: `tests/oracle_differences/<tool>.tsv`, columns tool, sample,
//! field, side (`ours-only`, `oracle-only`), value, reason. A row that no longer explains anything fails too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use faultline_adapters::adapter::{Emit, ReadError, Report, RouteSeen, ScanFacts};
use faultline_adapters::normalized::normalized_json;
use faultline_adapters::{registry, secret::SecretKey};
use faultline_model::observation::Observation;
use serde_json::Value;

type Fields = BTreeMap<String, BTreeSet<String>>;

#[derive(Default)]
struct Seen {
    facts: ScanFacts,
    findings: Vec<Observation>,
}

impl Emit for Seen {
    fn scan(&mut self, facts: ScanFacts) {
        self.facts.add(facts);
    }
    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        self.findings.push(seen);
        Ok(())
    }
    fn route(&mut self, _: RouteSeen) -> Result<(), ReadError> {
        Ok(())
    }
    fn refused(&mut self, _: String, _: String) {}
}

/// The fields that are compared: all that a reading has but two. Titles are each reader's own words, and `occurrences` counts what the
/// oracle merged into one finding, where we keep each. We say `active: false` of what a report calls repaired, accepted or a false
/// alarm alike, and neither `mitigated` nor `false_positive`.
const FIELDS: [&str; 17] = [
    "severity",
    "cwe",
    "ids",
    "file",
    "line",
    "component",
    "version",
    "endpoint",
    "rule",
    "kind",
    "cvssv3",
    "fix",
    "active",
    "uid",
    "cvssv4",
    "false_positive",
    "mitigated",
];

/// Those that several of the oracle's parsers never fill; where a reading has none at all, ours is no difference.
const OFTEN_UNREAD: [&str; 2] = ["rule", "fix"];

/// What one finding says under a field, in the spelling in which both sides are compared.
fn values(finding: &Value, field: &str) -> Vec<String> {
    let said = match &finding[field] {
        Value::Array(all) => all.clone(),
        Value::Null => vec![],
        one => vec![one.clone()],
    };
    let spelled = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match field {
            "file" => faultline_model::locus::asset_path(&text),
            "component" => text.to_lowercase(),
            // Ours names each fingerprint; the oracle does where there are several.
            "uid" if !text.contains(';') => text.split_once('=').map_or(text.as_str(), |(_, value)| value).to_owned(),
            "endpoint" => text.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').to_owned(),
            _ => text,
        }
    };
    said.iter().map(spelled).filter(|text| !text.is_empty() && text != "0").collect()
}

/// Every value of every field, and every pair of values of two fields of one finding, so that what belongs together stays together.
fn fields(findings: &[Value]) -> Fields {
    let mut all = Fields::new();
    for finding in findings {
        for (at, field) in FIELDS.iter().enumerate() {
            for value in values(finding, field) {
                for other in &FIELDS[at + 1..] {
                    for beside in values(finding, other) {
                        all.entry(format!("{field}+{other}")).or_default().insert(format!("{value} + {beside}"));
                    }
                }
                all.entry((*field).to_owned()).or_default().insert(value);
            }
        }
    }
    all
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
    if (seen.findings.len() as u64) < oracle["count"].as_u64().unwrap_or(0) {
        rows.push(row("count", "oracle-only", &oracle["count"].to_string()));
    }
    let kind = seen.facts.kind.unwrap_or(found.kind);
    let lines: Vec<Value> = seen.findings.iter().map(|one| normalized_json(one, kind)).collect();
    let (ours, theirs) = (fields(&lines), fields(oracle["findings"].as_array().map_or(&[], Vec::as_slice)));
    // The oracle lists a part only of long reports; what it leaves out is no difference.
    let is_cut = oracle.get("truncated_after").is_some_and(|cut| !cut.is_null() && cut != false);
    let none = BTreeSet::new();
    let of = |fields: &Fields, name: &str| fields.get(name).unwrap_or(&none).clone();
    for field in FIELDS {
        let (a, b) = (of(&ours, field), of(&theirs, field));
        let is_unread = OFTEN_UNREAD.contains(&field) && b.is_empty();
        if !is_cut && !is_unread {
            rows.extend(a.difference(&b).map(|value| row(field, "ours-only", value)));
        }
        rows.extend(b.difference(&a).map(|value| row(field, "oracle-only", value)));
    }
    // A pair differs only where both its values are known to both: everything else was said above.
    for (name, theirs_of) in theirs.iter().filter(|(name, _)| name.contains('+')) {
        let (one, other) = name.split_once('+').expect("two fields");
        let is_known = |pair: &&String| {
            let (a, b) = pair.split_once(" + ").expect("two values");
            of(&ours, one).contains(a) && of(&ours, other).contains(b)
        };
        rows.extend(theirs_of.difference(&of(&ours, name)).filter(is_known).map(|value| row(name, "oracle-only", value)));
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
            let value = value.replace(['\t', '\n'], " ");
            let fits = |row: &Vec<&str>| row.len() == 6 && !row[5].is_empty() && row[..4] == key && row[4] == value;
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
    generic: "generic-json", "generic-csv";
    gitleaks: "gitleaks";
}
