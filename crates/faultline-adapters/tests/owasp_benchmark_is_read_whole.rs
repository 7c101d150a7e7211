//! The readers reproduce what is known of the OWASP Benchmark: 2,740 servlets with the truth, a SAST and a DAST report, a route map.
//!
//! Data, licence and the numbers' source: `tests/samples/owasp-benchmark/`. A finding counts for a test case if its weakness family is
//! that of the case's category, at the case's file (SAST) or route (DAST).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use faultline_adapters::adapter::Report;
use faultline_adapters::publish::{Claim, Published, records};
use faultline_adapters::{registry, secret::SecretKey};
use faultline_model::family::Family;
use faultline_model::locus::Locus;
use faultline_model::observation::Observation;
use faultline_model::record::{FindingsRecord, RouteObserved};
use faultline_model::time::Timestamp;

/// What is published of one file.
struct Read {
    adapter: &'static str,
    scan: Published,
    findings: Vec<Observation>,
    routes: Vec<RouteObserved>,
    families: Vec<String>,
}

fn read(name: &str) -> Read {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/owasp-benchmark").join(name);
    let mut file = File::open(path).expect("the data is there");
    let key = SecretKey::from_passphrase("t");
    let mut report = Report::new(&mut file, &key);
    let adapter = registry::detect(&mut report).expect("the format is known, compressed as it is");
    let asset = "repo:github.com/OWASP-Benchmark/BenchmarkJava".parse().expect("an asset");
    let claim = Claim { asset: Some(asset), now: Timestamp::from_millis(1_800_000_000_000), ..Claim::default() };
    let (mut findings, mut routes, mut families) = (Vec::new(), Vec::new(), Vec::new());
    let mut scans = records(&mut report, adapter, &claim, &mut |_, record| {
        match record {
            FindingsRecord::Finding(seen) => findings.push(seen.observation),
            FindingsRecord::Route(seen) => routes.push(seen),
            FindingsRecord::ScanCompleted(end) => families = end.families,
            FindingsRecord::ScanStarted(_) => {}
        }
        Ok::<(), std::convert::Infallible>(())
    })
    .expect("it is published");
    assert_eq!(scans.len(), 1);
    Read { adapter: adapter.name, scan: scans.remove(0), findings, routes, families }
}

/// A test case: its weakness family and whether the weakness is real.
fn truth() -> BTreeMap<String, (Family, bool)> {
    let text = include_str!("samples/owasp-benchmark/expectedresults-1.2.csv");
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(',').collect::<Vec<_>>());
    rows.map(|row| (row[0].to_owned(), (Family::of_cwe(row[3].trim().parse().expect("a CWE")), row[2] == "true"))).collect()
}

/// True and false positives among the cases that a set names.
fn counts(truth: &BTreeMap<String, (Family, bool)>, flagged: &BTreeSet<String>) -> (usize, usize) {
    let real = flagged.iter().filter(|case| truth[*case].1).count();
    (real, flagged.len() - real)
}

/// The cases whose family a finding at their place has; `case_of` says at which case a finding is.
fn flagged(truth: &BTreeMap<String, (Family, bool)>, read: &Read, case_of: impl Fn(&Locus) -> Option<String>) -> BTreeSet<String> {
    let of_case = |seen: &Observation| {
        let case = case_of(&seen.locus)?;
        let (family, _) = truth.get(&case)?;
        seen.cwes.iter().any(|cwe| Family::of_cwe(*cwe as u32) == *family).then_some(case)
    };
    read.findings.iter().filter_map(of_case).collect()
}

#[test]
fn every_result_route_and_visit_is_read_and_none_is_refused() {
    let (sast, dast, map) = (read("findsecbugs.sarif.gz"), read("zap.xml.gz"), read("routes.json.gz"));
    assert_eq!((sast.adapter, sast.scan.observations, sast.scan.refused), ("sarif", 8528, 0));
    assert_eq!(sast.scan.tool, "spotbugs");
    assert_eq!((dast.adapter, dast.scan.observations, dast.scan.refused), ("zap", 2978, 0));
    assert_eq!((map.adapter, map.scan.refused), ("routes", 0));
    assert_eq!(map.routes.iter().map(|route| &route.path).collect::<BTreeSet<_>>().len(), 2740);
    assert!(
        map.routes.iter().all(|route| !route.is_visit && route.line > 0 && route.symbol.ends_with(&route.path[route.path.len() - 18..]))
    );
    assert!(dast.routes.iter().all(|route| route.is_visit && route.path.starts_with('/')));
    assert!(sast.findings.iter().all(|seen| !seen.cwes.is_empty()), "every rule has a CWE, by relationship or by name");
    let by_name = sast.findings.iter().find(|seen| seen.rule == "XSS_REQUEST_PARAMETER_TO_SERVLET_WRITER");
    assert_eq!(by_name.map(|seen| seen.cwes.clone()), Some(vec![79]));
    assert_eq!(
        dast.families,
        ["command-injection", "cross-site-scripting", "information-exposure", "misconfiguration", "session-cookie", "sql-injection"]
    );
}

#[test]
fn sast_dast_and_both_find_what_plain_methods_are_known_to_find() {
    let (truth, sast, dast, map) = (truth(), read("findsecbugs.sarif.gz"), read("zap.xml.gz"), read("routes.json.gz"));
    let case_of_file: BTreeMap<&str, String> =
        map.routes.iter().map(|route| (route.file.as_str(), route.path.rsplit('/').next().unwrap_or_default().to_owned())).collect();
    let case_of_route: BTreeMap<&str, String> =
        map.routes.iter().map(|route| (route.path.as_str(), case_of_file[route.file.as_str()].clone())).collect();
    // Paths of the SARIF file stand on `src/main/java/`, which the run says, so that they are those of the map.
    let static_hits =
        flagged(&truth, &sast, |locus| if let Locus::Code(at) = locus { case_of_file.get(at.file.as_str()).cloned() } else { None });
    let dynamic_hits = flagged(&truth, &dast, |locus| {
        let Locus::Route(at) = locus else { return None };
        case_of_route.get(at.path.as_str()).cloned()
    });
    let both: BTreeSet<String> = static_hits.intersection(&dynamic_hits).cloned().collect();
    let either: BTreeSet<String> = static_hits.union(&dynamic_hits).cloned().collect();
    assert_eq!(counts(&truth, &static_hits), (1130, 576), "SAST alone");
    assert_eq!(counts(&truth, &dynamic_hits), (306, 3), "DAST alone");
    assert_eq!(counts(&truth, &both), (236, 3), "both");
    assert_eq!(counts(&truth, &either), (1200, 576), "either");
}
