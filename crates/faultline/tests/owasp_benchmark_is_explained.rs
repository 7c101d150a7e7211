//! OWASP Benchmark from reports to risks: what was proved at runtime is located in code, and the score ranks by truth.
//!
//! The truth (`expectedresults-1.2.csv`) says of each of 2,740 test cases whether its weakness is real. The numbers to beat are those of
//! plain methods over the same reports: average precision 0.674 by severity, 0.755 with dynamic hits first, 0.839 with silence too. Ours is 0.811.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::sync::Arc;

use faultline_adapters::adapter::Report;
use faultline_adapters::publish::{self, Claim};
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_core::correlate::Correlate;
use faultline_core::track::Track;
use faultline_model::asset::AssetId;
use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, PlaceRule, Places, Service, places_key, service_key};
use faultline_model::locus::Locus;
use faultline_model::risk::{EvidenceState, Risk};
use faultline_model::scan::Scope;
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, RISKS};
use faultline_stream::{Host, HostOptions, Log, MemoryLog, append, topic_plans};

const REPO: &str = "repo:github.com/owasp-benchmark/benchmarkjava";
const SITE: &str = "url:https://localhost:8443";

fn folder() -> std::path::PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples/owasp-benchmark").into()
}

fn now() -> Timestamp {
    "2026-08-02".parse().unwrap()
}

fn publish_report(log: &dyn Log, name: &str, asset: &str, environment: &str) {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    let key = SecretKey::from_passphrase("test");
    let mut input = Cursor::new(bytes);
    let mut report = Report::new(&mut input, &key);
    let adapter = registry::detect(&mut report).unwrap();
    let claim = Claim {
        asset: Some(AssetId::read(asset).unwrap()),
        environment: environment.into(),
        started: Some(now()),
        scope: Scope { is_full: true, ..Scope::default() },
        now: now(),
        ..Claim::default()
    };
    let mut records = Vec::new();
    publish::records(&mut report, adapter, &claim, &mut |asset, record| {
        records.push((asset.to_string(), Some(avro::encode(record).unwrap())));
        Ok::<(), std::convert::Infallible>(())
    })
    .unwrap();
    append(log, FINDINGS, records, now(), &[]).unwrap();
}

fn describe(log: &dyn Log) {
    let service = Service {
        id: "benchmark".into(),
        name: "Benchmark".into(),
        parent: String::new(),
        tier: 2,
        exposure: "internal".into(),
        data: Vec::new(),
        owners: Vec::new(),
        path: Vec::new(),
    };
    let places = |asset: &str| {
        let rule = PlaceRule { prefix: String::new(), owner: "benchmark".into(), users: Vec::new(), rewrite: None };
        CatalogRecord::Places(Places { assets: asset.into(), rules: vec![rule], ..Places::default() })
    };
    let records =
        [(service_key("benchmark"), CatalogRecord::Service(service)), (places_key(REPO), places(REPO)), (places_key(SITE), places(SITE))];
    let records = records.map(|(key, record)| (key, Some(avro::encode(record).unwrap()))).to_vec();
    append(log, CATALOG, records, now(), &[]).unwrap();
}

fn risks() -> Vec<Risk> {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(topic_plans(), 2).unwrap());
    describe(&*log);
    publish_report(&*log, "routes.json.gz", REPO, "");
    publish_report(&*log, "findsecbugs.sarif.gz", REPO, "");
    publish_report(&*log, "zap.xml.gz", SITE, "test");
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Track::default()).unwrap().add(Correlate::default()).unwrap();
    host.run_until_quiet(&now(), &mut |_| ()).unwrap();
    let mut risks = Vec::new();
    for partition in 0..log.partitions(RISKS.name).unwrap() {
        let records = log.read(RISKS.name, partition, 0, usize::MAX, usize::MAX).unwrap();
        risks.extend(records.iter().filter_map(|stored| avro::decode::<Risk>(stored.value.as_deref()?).ok()));
    }
    risks
}

/// Test case → (family of its category, whether it is real).
fn truth() -> BTreeMap<String, (&'static str, bool)> {
    let mut text = String::new();
    std::fs::File::open(folder().join("expectedresults-1.2.csv")).unwrap().read_to_string(&mut text).unwrap();
    let family = |category: &str| match category {
        "sqli" => "sql-injection",
        "xss" => "cross-site-scripting",
        "cmdi" => "command-injection",
        "pathtraver" => "path-traversal",
        "ldapi" => "ldap-injection",
        "xpathi" => "xpath-xml-injection",
        "crypto" => "weak-crypto",
        "hash" => "weak-hash",
        "weakrand" => "weak-random",
        "securecookie" => "session-cookie",
        "trustbound" => "trust-boundary",
        other => panic!("an unknown category {other}"),
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split(',').collect();
            (columns[0].to_owned(), (family(columns[1]), columns[2] == "true"))
        })
        .collect()
}

/// The test case that a risk lies in.
fn case_of(risk: &Risk) -> Option<String> {
    let place = match &risk.anchor {
        Locus::Code(code) => &code.file,
        Locus::Route(route) => &route.path,
        _ => return None,
    };
    let at = place.find("BenchmarkTest")?;
    Some(place[at..].chars().take("BenchmarkTest00000".len()).collect())
}

/// As scikit-learn has it: equal scores are one threshold.
fn average_precision(ranked: &BTreeMap<i32, (u32, u32)>) -> f64 {
    let real: u32 = ranked.values().map(|(real, _)| real).sum();
    let (mut seen_real, mut seen, mut sum) = (0, 0, 0.0);
    for (real_here, all_here) in ranked.values().rev() {
        seen_real += real_here;
        seen += all_here;
        sum += f64::from(*real_here) / f64::from(real) * (f64::from(seen_real) / f64::from(seen));
    }
    sum
}

#[test]
fn what_was_proved_at_runtime_is_located_in_code_and_the_score_ranks_by_truth() {
    let (risks, truth) = (risks(), truth());
    // The best score of each test case in its own category, and whether one of its risks is verified.
    let mut best: BTreeMap<&str, (i32, bool)> = BTreeMap::new();
    for risk in &risks {
        let Some(case) = case_of(risk) else { continue };
        if let Some((name, (family, _))) = truth.get_key_value(&case)
            && risk.family == *family
        {
            let at = best.entry(name).or_insert((0, false));
            at.0 = at.0.max(risk.score.total);
            at.1 |= risk.evidence == EvidenceState::Verified;
        }
    }
    let verified: BTreeSet<&str> = best.iter().filter(|(_, (_, is))| *is).map(|(case, _)| *case).collect();
    let real = verified.iter().filter(|case| truth[**case].1).count();
    let mut ranked: BTreeMap<i32, (u32, u32)> = BTreeMap::new();
    for (case, (score, _)) in &best {
        let at = ranked.entry(*score).or_default();
        at.0 += u32::from(truth[*case].1);
        at.1 += 1;
    }
    let precision = average_precision(&ranked);
    println!(
        "{} risks, {} cases flagged, {} verified of which {real} real, average precision {precision:.3}",
        risks.len(),
        best.len(),
        verified.len()
    );
    assert_eq!((verified.len(), real), (239, 236), "pairs of one family on one route, as an independent count has them");
    assert_eq!(best.len(), 1776, "cases that any tool flagged");
    assert!(precision >= 0.80, "average precision {precision:.3}");
}
