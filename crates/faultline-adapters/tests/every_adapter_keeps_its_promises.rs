//! What holds for every adapter over every sample: read twice it says the same, order and volatile text change nobody's identity, and
//! whatever is broken ends in an error that names a place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use faultline_adapters::adapter::{Adapter, ReadError, Report};
use faultline_adapters::publish::{Claim, PublishError, records};
use faultline_adapters::{registry, secret::SecretKey};
use faultline_model::avro;
use faultline_model::fingerprint::fingerprint;
use faultline_model::id::Id;
use faultline_model::record::FindingsRecord;
use faultline_model::time::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

/// Every sample that some adapter reads, with its adapter.
fn samples() -> Vec<(PathBuf, &'static Adapter, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let folders = std::fs::read_dir(root).expect("samples").map(|entry| entry.expect("entry").path()).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = folders
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("entry").path()).collect::<Vec<_>>())
        .collect();
    files.retain(|path| !path.to_string_lossy().ends_with(".expected.json"));
    files.sort();
    let with_adapter = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("a sample can be read");
        let adapter = adapter_of(&bytes).ok()?;
        Some((path, adapter, bytes))
    };
    let found: Vec<_> = files.into_iter().filter_map(with_adapter).collect();
    assert!(found.len() > 60, "only {} samples are known", found.len());
    found
}

fn adapter_of(bytes: &[u8]) -> Result<&'static Adapter, ReadError> {
    let (mut input, key) = (Cursor::new(bytes), SecretKey::from_passphrase("t"));
    registry::detect(&mut Report::new(&mut input, &key))
}

fn publish(adapter: &Adapter, bytes: &[u8]) -> Result<Vec<FindingsRecord>, PublishError<String>> {
    let (mut input, key) = (Cursor::new(bytes), SecretKey::from_passphrase("t"));
    let asset = "repo:github.com/acme/shop".parse().expect("an asset");
    let claim = Claim { asset: Some(asset), now: Timestamp::from_millis(1_800_000_000_000), ..Claim::default() };
    let mut sent = Vec::new();
    records(&mut Report::new(&mut input, &key), adapter, &claim, &mut |_, record| {
        sent.push(record);
        Ok(())
    })?;
    Ok(sent)
}

/// How often each fingerprint is seen.
fn identities(adapter: &Adapter, bytes: &[u8]) -> BTreeMap<Id, usize> {
    let sent = publish(adapter, bytes).expect("it is read");
    let mut tools = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for record in sent {
        match record {
            FindingsRecord::ScanStarted(start) => {
                tools.insert(start.scan, start.tool);
            }
            FindingsRecord::Finding(found) => *seen.entry(fingerprint(&tools[&found.scan], &found.observation)).or_default() += 1,
            _ => {}
        }
    }
    seen
}

#[test]
fn a_report_that_is_read_twice_becomes_the_same_bytes() {
    for (path, adapter, bytes) in samples() {
        let encoded = || -> Vec<Vec<u8>> {
            let sent = publish(adapter, &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            sent.into_iter().map(|record| avro::encode(record).expect("a record can be written")).collect()
        };
        assert_eq!(encoded(), encoded(), "{}", path.display());
    }
}

/// Members that hold elements whose order says nothing.
const LISTS: [&str; 9] =
    ["results", "matches", "Results", "Vulnerabilities", "Misconfigurations", "Licenses", "Resources", "failed_checks", "findings"];

fn reversed(value: &mut Value) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| {
            reversed(member);
            if let Some(list) = member.as_array_mut().filter(|_| LISTS.contains(&name.as_str())) {
                list.reverse();
            }
        }),
        Value::Array(elements) => elements.iter_mut().for_each(reversed),
        _ => {}
    }
}

/// A report with its elements in the opposite order; none for a format whose order says something, or that has none.
fn backwards(adapter: &Adapter, bytes: &[u8]) -> Option<Vec<u8>> {
    match adapter.name {
        "zap" => {
            let text = std::str::from_utf8(bytes).ok()?;
            let (begin, rest) = text.split_once("<alertitem>")?;
            let (items, end) = rest.rsplit_once("</alertitem>")?;
            // What stands between two items is lost: it may not be the end of a site or of a comment.
            if rest.contains("<site") || rest.contains("-->") {
                return None;
            }
            let items = items.split("<alertitem>").map(|item| item.split("</alertitem>").next().unwrap_or_default());
            let mut items: Vec<String> = items.map(|item| format!("<alertitem>{item}</alertitem>")).collect();
            items.reverse();
            Some(format!("{begin}{}{end}", items.concat()).into_bytes())
        }
        "generic-csv" => {
            let mut rows: Vec<csv::StringRecord> =
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes).records().collect::<Result<_, _>>().ok()?;
            rows[1..].reverse();
            let mut out = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                out.write_record(row).expect("a row can be written");
            }
            out.into_inner().ok()
        }
        "openapi" | "routes" => None,
        _ => {
            let mut report: Value = serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()?;
            reversed(&mut report);
            // The outermost array is that of runs, leaks or results.
            if let Some(list) = report.as_array_mut() {
                list.reverse();
            }
            serde_json::to_vec(&report).ok()
        }
    }
}

#[test]
fn the_order_of_a_report_changes_nobodys_identity() {
    let (mut tools, mut findings) = (BTreeSet::new(), 0);
    for (path, adapter, bytes) in samples() {
        let Some(other) = backwards(adapter, &bytes) else { continue };
        let before = identities(adapter, &bytes);
        if before.len() > 1 {
            tools.insert(adapter.name);
        }
        findings += before.len();
        assert_eq!(before, identities(adapter, &other), "{}", path.display());
    }
    assert_eq!(tools.len(), 8, "of {tools:?} at least one sample has several findings");
    assert!(findings > 400, "{findings} findings");
}

/// Members that say when, in which version, how bad or in which words, and numbers of lines.
const WORDS: [&str; 21] = [
    "Title",
    "Description",
    "Message",
    "Severity",
    "InstalledVersion",
    "FixedVersion",
    "CreatedAt",
    "PublishedDate",
    "Digest",
    "DiffID",
    "text",
    "startTimeUtc",
    "semanticVersion",
    "description",
    "Date",
    "check_name",
    "severity_source",
    "timestamp",
    "component_version",
    "mitigation",
    "checkov_version",
];
const LINES: [&str; 5] = ["StartLine", "EndLine", "startLine", "endLine", "lineNumber"];

fn aged(value: &mut Value, inside_snippet: bool) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member {
                    Value::String(text) if WORDS.contains(&name.as_str()) && !inside_snippet => {
                        text.push_str(" 2.3.1 build 4711 of 2026-01-02T03:04:05Z");
                    }
                    Value::Number(number) if LINES.contains(&name.as_str()) => {
                        let line = number.as_i64().unwrap_or(0);
                        if line > 0 {
                            *member = Value::from(line + 1000);
                        }
                    }
                    other => aged(other, name == "snippet"),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| aged(element, inside_snippet)),
        _ => {}
    }
}

#[test]
fn versions_dates_words_and_shifted_lines_change_nobodys_identity() {
    let mut tools = BTreeSet::new();
    for (path, adapter, bytes) in samples() {
        let other = match adapter.name {
            "zap" => {
                let Ok(text) = std::str::from_utf8(&bytes) else { continue };
                let text = text
                    .replace("<alert>", "<alert>2.3.1 build 4711 ")
                    .replace("<desc>", "<desc>2026-01-02 ")
                    .replace("<riskcode>1", "<riskcode>2");
                text.replace("<evidence>", "<evidence>4711").into_bytes()
            }
            "sarif" | "trivy" | "grype" | "gitleaks" | "checkov" | "generic-json" => {
                let Ok(mut report) = serde_json::from_slice::<Value>(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)) else {
                    continue;
                };
                aged(&mut report, false);
                serde_json::to_vec(&report).expect("JSON")
            }
            _ => continue,
        };
        let before = identities(adapter, &bytes);
        assert_eq!(before, identities(adapter, &other), "{}", path.display());
        if !before.is_empty() && other != bytes {
            tools.insert(adapter.name);
        }
    }
    assert_eq!(tools.len(), 7, "{tools:?}");
}

#[test]
fn one_package_in_two_workloads_is_two_findings_and_another_tag_is_the_same() {
    let cluster = |tag: &str| {
        let workload = |name: &str| {
            format!(
                r#"{{"Namespace": "shop", "Kind": "Deployment", "Name": "{name}", "Results": [{{"Target": "docker.io/redis:{tag} (debian 10.4)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [{{"VulnerabilityID": "CVE-1", "PkgName": "apt"}}]}}]}}"#
            )
        };
        format!(r#"{{"ClusterName": "c", "Resources": [{}, {}]}}"#, workload("web"), workload("worker"))
    };
    let (old, new) = (cluster("6.0.5"), cluster("7.2"));
    let trivy = registry::ADAPTERS.iter().find(|adapter| adapter.name == "trivy").expect("trivy");
    assert_eq!(identities(trivy, old.as_bytes()).len(), 2);
    assert_eq!(identities(trivy, old.as_bytes()), identities(trivy, new.as_bytes()));
}

#[test]
fn a_check_that_fails_at_two_places_of_one_resource_is_two_findings() {
    let check = |from: u32| {
        format!(
            r#"{{"check_id": "CKV_AWS_24", "resource": "aws_security_group.web", "file_path": "/net.tf", "file_line_range": [{from}, {}]}}"#,
            from + 3
        )
    };
    let report = format!(r#"{{"check_type": "terraform", "results": {{"failed_checks": [{}, {}, {}]}}}}"#, check(20), check(3), check(20));
    let seen = identities(registry::ADAPTERS.iter().find(|adapter| adapter.name == "checkov").expect("checkov"), report.as_bytes());
    assert_eq!(seen.values().copied().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]), "the same place twice is one finding");
}

/// Whether an error helps: it says where in the report, or how the report begins.
fn names_a_place(error: &PublishError<String>) -> bool {
    let text = error.to_string();
    match error {
        PublishError::Read(ReadError::Shape { place, reason, .. }) => !place.is_empty() && !reason.is_empty(),
        PublishError::Read(ReadError::Unknown { .. } | ReadError::NotRecognised { .. }) => text.contains("it begins with"),
        PublishError::Read(ReadError::Io(_)) => text.contains("cannot be read"),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// A report that was cut off or damaged ends in an error that names a place, or is read as far as its elements are whole.
    #[test]
    fn damaged_reports_do_no_harm(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), is_cut in any::<bool>()) {
        static SMALL: std::sync::LazyLock<Vec<(PathBuf, &'static Adapter, Vec<u8>)>> =
            std::sync::LazyLock::new(|| samples().into_iter().filter(|(_, _, bytes)| bytes.len() < 70_000).collect());
        let (path, adapter, bytes) = which.get(&SMALL);
        let mut damaged = bytes.clone();
        if damaged.is_empty() {
            return Ok(());
        }
        for (at, byte) in &flips {
            let at = at.index(damaged.len());
            damaged[at] = *byte;
        }
        if is_cut {
            damaged.truncate(cut.index(damaged.len()));
        }
        if let Err(error) = publish(adapter, &damaged) {
            prop_assert!(names_a_place(&error), "{}: {error}", path.display());
        }
        if let Err(error) = adapter_of(&damaged) {
            let is_helpful = matches!(error, ReadError::Unknown { .. } | ReadError::Ambiguous { .. } | ReadError::Io(_));
            prop_assert!(is_helpful, "{}: {error}", path.display());
        }
    }
}
