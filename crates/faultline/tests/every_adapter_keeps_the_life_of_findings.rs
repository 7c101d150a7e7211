//! What comes of a report that comes again, comes empty, comes in part or comes late, for every adapter over its own samples.
//!
//! A report goes the whole way: read by its adapter, published as records, followed by the stage track on a host in memory. What is
//! asserted is what stands in `tracked`: findings, and of route maps their entries. Visits of a dynamic scan are no part of it: they
//! are its coverage, and those of the newest scan alone hold.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;

use faultline_adapters::adapter::{Adapter, Report};
use faultline_adapters::publish::{Claim, Published, records};
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_core::track::Track;
use faultline_model::avro;
use faultline_model::locus::Locus;
use faultline_model::scan::Scope;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, FINDINGS, TRACKED};
use faultline_model::tracked::{FindingState, TrackedRecord};
use faultline_stream::{Host, HostOptions, Log, MemoryLog, append, topic_plans};
use serde_json::Value;

/// A sample with what a scan of a part of it says.
struct Case {
    adapter: &'static str,
    sample: &'static str,
    part: Part,
}

/// What a declared path can close in a sample.
enum Part {
    /// What lies under this path closes, and the rest stays.
    Of(&'static str),
    /// All of it lies under this path, for this reason: there is no rest.
    Whole(&'static str, &'static str),
    /// No path holds any of it, for this reason: only a full scan closes it.
    None(&'static str),
}
use Part::{None as NoPart, Of, Whole};

const CASES: &[Case] = &[
    case("checkov", "checkov/checkov-report-many-vuln.json", Whole("file_path", "the one sample with findings has them in one file")),
    case("generic-csv", "generic/generic_report1.csv", Of("resource1")),
    case("generic-csv", "generic/generic_report4.csv", Of("path")),
    case("generic-json", "generic/generic_report3.json", Of("src")),
    case("generic-json", "generic/generic_report_multi_cwe_fabricated.json", NoPart("its findings name no place")),
    case("gitleaks", "gitleaks/redacted_data_many.json", Of("terraform")),
    case("grype", "anchore_grype/issue_9618.json", Of("opt/kafka/plugins")),
    case("grype", "anchore_grype/many_vulns4.json", Of("components/yarn.lock")),
    case("openapi", "routes/shop.openapi.json", NoPart(MAP)),
    case("routes", "routes/shop.routes.json", NoPart(MAP)),
    case("sarif", "sarif/dockle_0_3_15.sarif", NoPart("a linter of images names no files")),
    case("sarif", "sarif/flawfinder.sarif", Of("src/common")),
    case("sarif", "sarif/gitleaks_7.5.0.sarif", Of("dojo/unittests/tools")),
    case("sarif", "sarif/issue_10191.json", Of("frontend")),
    case("sarif", "sarif/taint-python-report.sarif", Of("home/damien/dd/dojo/tools")),
    case("trivy", "trivy/all_statuses.json", NoPart("packages of an image's system stand in no manifest")),
    case("trivy", "trivy/issue_10991.json", NoPart("what runs in a cluster has an address and no file")),
    case("trivy", "trivy/kubernetes_fabricated_internal_duplicates.json", Of("Deployment/default/redis-follower")),
    case("trivy", "trivy/legacy_trivy_mix.json", Of("node-app")),
    case("trivy", "trivy/license_scheme.json", Of("etc/ssl")),
    case("zap", "zap/2_zap_sample_0_and_new_endpoint.xml", Of("dashboard")),
    case("zap", "zap/dvwa_baseline_dojo.xml", Of("vulnerabilities/sqli")),
    case("zap", "zap/zap_2.16.1_with_req_resp.xml", Of("cpapi/api/redirect")),
];
const MAP: &str = "entries of a map are not closed one by one: they are those of the newest full map and of the maps after it";

const fn case(adapter: &'static str, sample: &'static str, part: Part) -> Case {
    Case { adapter, sample, part }
}

/// Where a JSON format lists what was found; Gitleaks writes nothing but the list.
const FOUND: &[(&str, &[&str])] = &[
    ("checkov", &["failed_checks"]),
    ("generic-json", &["findings"]),
    ("grype", &["matches", "ignoredMatches"]),
    ("openapi", &["paths"]),
    ("routes", &["routes"]),
    ("sarif", &["results"]),
    ("trivy", &["Vulnerabilities", "Misconfigurations", "Secrets", "Licenses"]),
];

impl Case {
    fn adapter(&self) -> &'static Adapter {
        registry::ADAPTERS.iter().find(|adapter| adapter.name == self.adapter).unwrap()
    }

    fn report(&self) -> Vec<u8> {
        std::fs::read(format!("{}/../faultline-adapters/tests/samples/{}", env!("CARGO_MANIFEST_DIR"), self.sample)).unwrap()
    }

    /// The same report of a scan that found nothing.
    fn emptied(&self) -> Vec<u8> {
        let report = self.report();
        match self.adapter {
            "gitleaks" => b"[]".to_vec(),
            "generic-csv" => report.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec(),
            "zap" => {
                let report = String::from_utf8(report).unwrap();
                let mut parts = report.split("<alertitem>");
                let head = parts.next().unwrap();
                parts.fold(head.to_owned(), |text, part| text + part.split_once("</alertitem>").unwrap().1).into_bytes()
            }
            json => {
                let (_, lists) = FOUND.iter().find(|(adapter, _)| *adapter == json).unwrap();
                let mut report: Value = serde_json::from_slice(&report).unwrap();
                empty(&mut report, lists);
                serde_json::to_vec(&report).unwrap()
            }
        }
    }
}

fn empty(value: &mut Value, lists: &[&str]) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| match member {
            Value::Array(list) if lists.contains(&name.as_str()) => list.clear(),
            Value::Object(map) if lists.contains(&name.as_str()) => map.clear(),
            other => empty(other, lists),
        }),
        Value::Array(elements) => elements.iter_mut().for_each(|element| empty(element, lists)),
        _ => {}
    }
}

/// The two kinds of lines of scans.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Branch,
    Environment,
}

/// What the publisher says of a scan.
struct Said {
    line: Line,
    /// The day of its start, and of its revision where that is another.
    day: i64,
    revised: Option<i64>,
    name: Option<&'static str>,
    scope: Scope,
}

impl Said {
    /// A scan of which nobody said what it looked at.
    fn on(line: Line, day: i64) -> Self {
        Self { line, day, revised: None, name: None, scope: Scope::default() }
    }

    fn full(self) -> Self {
        Self { scope: Scope { is_full: true, ..Scope::default() }, ..self }
    }

    fn of_path(self, path: &str) -> Self {
        Self { scope: Scope { paths: vec![path.to_owned()], ..Scope::default() }, ..self }
    }

    fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    fn revised(self, day: i64) -> Self {
        Self { revised: Some(day), ..self }
    }

    fn claim(&self) -> Claim {
        let is_default_branch = self.line == Line::Branch;
        Claim {
            asset: Some("repo:github.com/acme/shop".parse().unwrap()),
            branch: if is_default_branch { "main".into() } else { String::new() },
            is_default_branch,
            environment: if is_default_branch { String::new() } else { "production".into() },
            revision_time: self.revised.map(day),
            started: Some(day(self.day)),
            scope: self.scope.clone(),
            scan_name: self.name.map(str::to_owned),
            now: NOW,
            ..Claim::default()
        }
    }
}

/// All is published on one day: what counts is what scans say of themselves.
const NOW: Timestamp = Timestamp::from_millis(100 * DAY_MS);
const DAY_MS: i64 = 86_400_000;

fn day(day: i64) -> Timestamp {
    Timestamp::from_millis(day * DAY_MS)
}

/// A fact as it stands in `tracked`, and where in the topic: a fact that is written again has changed, whatever it says.
#[derive(Clone, Debug, PartialEq)]
struct Fact {
    offset: u64,
    record: TrackedRecord,
}

impl Fact {
    fn is_open(&self) -> bool {
        match &self.record {
            TrackedRecord::Finding(finding) => finding.state == FindingState::Open,
            // An entry that holds no longer is gone.
            _ => true,
        }
    }

    /// The path inside the asset; empty where there is none.
    fn path(&self) -> &str {
        let TrackedRecord::Finding(finding) = &self.record else { return "" };
        match &finding.observation.locus {
            Locus::Code(at) => &at.file,
            Locus::Package(at) => &at.manifest,
            Locus::Route(at) => at.path.trim_start_matches('/'),
            Locus::Resource(at) => &at.file,
            Locus::Secret(at) => &at.file,
            Locus::Host(_) => "",
        }
    }
}

type Facts = BTreeMap<String, Fact>;

fn open(facts: &Facts) -> BTreeSet<&str> {
    facts.iter().filter(|(_, fact)| fact.is_open()).map(|(key, _)| key.as_str()).collect()
}

/// The stage track over a log in memory.
struct Installation {
    log: Arc<dyn Log>,
    host: Host,
}

impl Installation {
    fn new() -> Self {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(topic_plans(), 1).unwrap());
        let mut host = Host::new(log.clone(), HostOptions::default());
        host.add(Track::default()).unwrap();
        Self { log, host }
    }

    /// Publishes a report and waits for what comes of it.
    fn publish(&self, adapter: &Adapter, report: &[u8], said: &Said) -> Vec<Published> {
        let (mut input, key) = (Cursor::new(report), SecretKey::from_passphrase("t"));
        let mut sent = Vec::new();
        let published = records(&mut Report::new(&mut input, &key), adapter, &said.claim(), &mut |asset, record| {
            avro::encode(record).map(|value| sent.push((asset.to_string(), Some(value))))
        });
        let published = published.unwrap();
        append(&*self.log, FINDINGS, sent, NOW, &[]).unwrap();
        self.host.run_until_quiet(&NOW, &mut |_| ()).unwrap();
        assert_eq!(self.log.end_offset(DEAD_LETTERS.name, 0).unwrap(), 0, "track refused a record");
        published
    }

    /// Findings, open or not, and the entries of route maps.
    fn facts(&self) -> Facts {
        let stored = self.log.read(TRACKED.name, 0, 0, usize::MAX, usize::MAX).unwrap();
        let fact = |stored: faultline_stream::Stored| {
            let record: TrackedRecord = avro::decode(&stored.value?).unwrap();
            let counts = match &record {
                TrackedRecord::Finding(_) => true,
                TrackedRecord::Route(route) => !route.is_visit,
                _ => false,
            };
            counts.then(|| (String::from_utf8(stored.key).unwrap(), Fact { offset: stored.offset, record }))
        };
        stored.into_iter().filter_map(fact).collect()
    }

    fn written(&self) -> u64 {
        self.log.end_offset(TRACKED.name, 0).unwrap()
    }
}

/// Each case on each kind of line, with an installation that has read its report on day 10, and what came of it.
fn for_each_case(mut judge: impl FnMut(&Case, Line, &Installation, &Facts)) {
    for case in CASES {
        for line in [Line::Branch, Line::Environment] {
            let installation = Installation::new();
            installation.publish(case.adapter(), &case.report(), &Said::on(line, 10));
            let facts = installation.facts();
            assert!(facts.len() >= 3, "{}: {} facts", case.sample, facts.len());
            assert_eq!(open(&facts).len(), facts.len(), "{}", case.sample);
            judge(case, line, &installation, &facts);
        }
    }
}

/// Instead of two long maps, what differs.
fn assert_same(found: &Facts, expected: &Facts, what: &str) {
    let changed: Vec<_> = expected.iter().filter(|(key, fact)| found.get(*key) != Some(fact)).map(|(key, _)| key).collect();
    let new: Vec<_> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(changed.is_empty() && new.is_empty(), "{what}: changed {changed:?}, new {new:?}");
}

#[test]
fn every_adapter_has_a_case() {
    let ours: BTreeSet<&str> = CASES.iter().map(|case| case.adapter).collect();
    let all: BTreeSet<&str> = registry::ADAPTERS.iter().map(|adapter| adapter.name).collect();
    assert_eq!(ours, all);
    // No reason speaks for an adapter as a whole, but for those of route maps.
    let with_a_part: BTreeSet<&str> = CASES.iter().filter(|case| !matches!(case.part, NoPart(_))).map(|case| case.adapter).collect();
    assert_eq!(all.difference(&with_a_part).copied().collect::<Vec<_>>(), ["openapi", "routes"]);
}

#[test]
fn the_same_report_again_changes_nothing() {
    for_each_case(|case, line, installation, facts| {
        let (adapter, report, written) = (case.adapter(), case.report(), installation.written());
        let first = installation.publish(adapter, &report, &Said::on(line, 10));
        assert_eq!(installation.written(), written, "{}: the same scan wrote something", case.sample);
        // Found again on the day after, and as the whole of the asset.
        let second = installation.publish(adapter, &report, &Said::on(line, 11).named("the day after"));
        let third = installation.publish(adapter, &report, &Said::on(line, 12).full());
        let scans: BTreeSet<_> = [&first, &second, &third].into_iter().flatten().map(|published| published.scan).collect();
        assert_eq!(scans.len(), 3 * first.len(), "{}: three scans of each tool", case.sample);
        assert_same(&installation.facts(), facts, case.sample);
    });
}

#[test]
fn an_empty_report_closes_nothing_unless_its_scan_is_full() {
    for_each_case(|case, line, installation, facts| {
        let empty = case.emptied();
        let (mut input, key) = (Cursor::new(empty.as_slice()), SecretKey::from_passphrase("t"));
        let known = registry::detect(&mut Report::new(&mut input, &key)).map(|adapter| adapter.name);
        // Without a finding nothing tells generic JSON and Gitleaks from other tools' reports: their publisher names them.
        let says_its_tool = !["generic-json", "gitleaks"].contains(&case.adapter);
        assert_eq!(known.ok(), Some(case.adapter).filter(|_| says_its_tool), "{}", case.sample);
        let named = registry::named(&mut Report::new(&mut input, &key), case.adapter).map(|adapter| adapter.name);
        assert_eq!(named.ok(), Some(case.adapter), "{}", case.sample);

        let published = installation.publish(case.adapter(), &empty, &Said::on(line, 11));
        assert!(published.iter().all(|scan| scan.observations + scan.routes + scan.refused == 0), "{published:?}");
        assert_same(&installation.facts(), facts, case.sample);
        installation.publish(case.adapter(), &empty, &Said::on(line, 12).full());
        let after = installation.facts();
        assert!(open(&after).is_empty(), "{}: {} are open after a full scan", case.sample, open(&after).len());
        let findings = facts.values().filter(|fact| matches!(fact.record, TrackedRecord::Finding(_))).count();
        assert_eq!(after.len(), findings, "{}: a closed finding is still known", case.sample);
    });
}

#[test]
fn a_scan_of_a_part_closes_only_that_part() {
    for_each_case(|case, line, installation, facts| {
        let (part, is_some, is_all, why) = match case.part {
            Of(path) => (path, true, false, "there is more"),
            Whole(path, why) => (path, true, true, why),
            NoPart(why) => ("src", false, false, why),
        };
        let (adapter, empty) = (case.adapter(), case.emptied());
        // A longer name that begins alike is elsewhere.
        installation.publish(adapter, &empty, &Said::on(line, 11).of_path(&format!("{part}-too")));
        assert_same(&installation.facts(), facts, case.sample);
        installation.publish(adapter, &empty, &Said::on(line, 12).of_path(&format!("./{part}/")));
        let after = installation.facts();
        let is_inside = |fact: &Fact| fact.path() == part || fact.path().starts_with(&format!("{part}/"));
        let (inside, outside): (Facts, Facts) = facts.clone().into_iter().partition(|(_, fact)| is_inside(fact));
        assert_eq!((!inside.is_empty(), outside.is_empty()), (is_some, is_all), "{}: not so of {part:?}: {why}", case.sample);
        let (after_inside, after_outside): (Facts, Facts) = after.into_iter().partition(|(key, _)| inside.contains_key(key));
        assert!(open(&after_inside).is_empty(), "{}: under {part:?} are open {:?}", case.sample, open(&after_inside));
        assert_same(&after_outside, &outside, case.sample);
    });
}

#[test]
fn an_older_scan_that_comes_late_opens_nothing() {
    for_each_case(|case, line, installation, _| {
        let (adapter, report, empty) = (case.adapter(), case.report(), case.emptied());
        installation.publish(adapter, &empty, &Said::on(line, 20).full());
        let closed = installation.facts();
        assert!(open(&closed).is_empty(), "{}", case.sample);
        installation.publish(adapter, &report, &Said::on(line, 15).named("between"));
        assert_same(&installation.facts(), &closed, case.sample);
        let stay_closed = |what: &str| assert!(open(&installation.facts()).is_empty(), "{}: {what} opened something", case.sample);
        installation.publish(adapter, &report, &Said::on(line, 5).named("before").full());
        stay_closed("a scan older than all");
        if line == Line::Branch {
            installation.publish(adapter, &report, &Said::on(line, 25).revised(15).named("an old revision"));
            stay_closed("a scan of an old revision");
        }
        installation.publish(adapter, &report, &Said::on(line, 30).named("newer"));
        assert_eq!(open(&installation.facts()).len(), installation.facts().len(), "{}: a newer scan opens all again", case.sample);

        // What was never heard of before the scan that closes it.
        let installation = Installation::new();
        installation.publish(adapter, &empty, &Said::on(line, 20).full());
        installation.publish(adapter, &report, &Said::on(line, 10));
        let late = installation.facts();
        assert_eq!((open(&late).len(), late.len()), (0, closed.len()), "{}", case.sample);
    });
}
