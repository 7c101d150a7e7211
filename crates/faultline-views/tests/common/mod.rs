//! Records as the stages would write them, small enough to read.
// Each test file uses its part; what fails here fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use faultline_model::asset::AssetId;
use faultline_model::avro::{self, TopicValue};
use faultline_model::catalog::{CatalogRecord, Node, Service, node_key, service_key};
use faultline_model::decision::{Outcome, OutcomeStatus};
use faultline_model::exception::{Assumptions, Category, Scope, Stage, Terms};
use faultline_model::id::Id;
use faultline_model::locus::{Code, Locus};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{self, EvidenceState, Fix, Member, Risk, RiskState, Score};
use faultline_model::time::Timestamp;
use faultline_model::topic::Topic;
use faultline_model::tracked::{self, CompleteScan, FactKind, FindingState, TrackedFinding, TrackedLine, TrackedRecord};
use faultline_views::{Applied, ViewRecord, Views};

/// A record that owns its bytes.
pub struct Owned {
    pub topic: &'static str,
    pub key: String,
    pub value: Option<Vec<u8>>,
}

pub fn put<T: TopicValue>(topic: Topic, key: impl Into<String>, record: T) -> Owned {
    Owned { topic: topic.name, key: key.into(), value: Some(avro::encode(record).unwrap()) }
}

pub fn gone(topic: Topic, key: impl Into<String>) -> Owned {
    Owned { topic: topic.name, key: key.into(), value: None }
}

/// Applies records at the offsets from `first` on, all in partition 0.
pub fn apply_at(views: &Views, first: u64, records: &[Owned]) -> Applied {
    let batch: Vec<ViewRecord<'_>> = records
        .iter()
        .zip(first..)
        .map(|(record, offset)| ViewRecord {
            topic: record.topic,
            partition: 0,
            offset,
            key: record.key.as_bytes(),
            value: record.value.as_deref(),
        })
        .collect();
    views.apply(&batch).unwrap()
}

/// Applies records behind what was applied before.
pub fn apply(views: &Views, records: &[Owned]) -> Applied {
    let next = views.positions().unwrap().values().copied().max().unwrap_or(0);
    let applied = apply_at(views, next, records);
    assert_eq!((applied.applied, &applied.named), (records.len() as u64, &Vec::new()));
    applied
}

pub fn asset(name: &str) -> AssetId {
    AssetId::read(name).unwrap()
}

pub fn finding_id(number: u32) -> Id {
    Id::of("test finding", &[&number.to_be_bytes()])
}

pub fn member(finding: Id, tool: &str, kind: ScanKind) -> Member {
    Member {
        finding,
        asset: asset("repo:github.com/acme/shop"),
        tool: tool.to_owned(),
        kind,
        rule: "sql-injection".into(),
        title: "SQL injection".into(),
        severity: Severity::High,
        locus: Locus::Code(Code::at("src/users.rs", 12)),
        state: FindingState::Open,
        verdict: None,
        is_home: true,
        first_seen: Timestamp::from_millis(0),
        version: 0,
        lines: Vec::new(),
    }
}

/// The risk that a finding founds in a service, open, at a score.
pub fn risk(service: &str, founder: u32, score: i32) -> Risk {
    let founder = finding_id(founder);
    Risk {
        risk: risk::id_of(service, founder),
        service: service.to_owned(),
        title: "SQL injection in users".into(),
        family: "sql-injection".into(),
        state: RiskState::Open,
        evidence: EvidenceState::Reported,
        score: Score {
            total: score,
            inherent: score,
            band: band_of(score),
            contributions: Vec::new(),
            due: Timestamp::from_millis(0),
            changes_at: None,
            policy_version: "1".into(),
        },
        confidence_ppm: 500_000,
        founder,
        also: Vec::new(),
        asset: asset("repo:github.com/acme/shop"),
        anchor: Locus::Code(Code::at("src/users.rs", 12)),
        findings: vec![member(founder, "semgrep", ScanKind::Sast)],
        findings_total: 1,
        links: Vec::new(),
        links_total: 0,
        vulnerabilities: Vec::new(),
        fix: Fix {
            fix: founder,
            also: Vec::new(),
            kind: "code".into(),
            what: String::new(),
            guidance: String::new(),
            fixed_versions: Vec::new(),
        },
        owners: Vec::new(),
        assigned_to: String::new(),
        first_seen: Timestamp::from_millis(0),
        exceptions: Vec::new(),
    }
}

pub fn band_of(score: i32) -> Severity {
    Severity::ALL[(score / 200).clamp(0, 4) as usize]
}

pub fn risk_record(risk: &Risk) -> Owned {
    put(faultline_model::topic::RISKS, risk::key(&risk.service, risk.risk), risk.clone())
}

/// An open finding of a service.
pub fn finding(service: &str, number: u32, severity: Severity) -> TrackedFinding {
    TrackedFinding {
        finding: finding_id(number),
        fingerprint: finding_id(number),
        asset: asset("repo:github.com/acme/shop"),
        service: service.to_owned(),
        is_owner: true,
        tool: "semgrep".into(),
        kind: ScanKind::Sast,
        observation: Observation::new("sql-injection", severity, Locus::Code(Code::at("src/users.rs", 12))),
        state: FindingState::Open,
        is_preview: false,
        first_seen: Timestamp::from_millis(0),
        state_since: Timestamp::from_millis(0),
        lines: Vec::new(),
        places: Vec::new(),
        moved_from: None,
        verdict: None,
        assignment: None,
        severity: None,
        words: Vec::new(),
        version: 0,
        service_claim: String::new(),
        owners: Vec::new(),
    }
}

pub fn finding_record(finding: &TrackedFinding) -> Owned {
    let key = tracked::key(&finding.service, FactKind::Finding, finding.finding);
    put(faultline_model::topic::TRACKED, key, TrackedRecord::Finding(finding.clone()))
}

/// A line of scans with one complete scan.
pub fn line(service: &str, scan: Id, started: i64) -> TrackedLine {
    let asset = asset("repo:github.com/acme/shop");
    TrackedLine {
        line: TrackedLine::id_of(&asset, "semgrep", "main", ""),
        asset,
        service: service.to_owned(),
        tool: "semgrep".into(),
        kind: ScanKind::Sast,
        branch: "main".into(),
        environment: String::new(),
        counts: true,
        complete: vec![CompleteScan {
            scan,
            revision: String::new(),
            as_of: Timestamp::from_millis(started),
            started: Timestamp::from_millis(started),
            is_full: true,
            observations: 1,
        }],
    }
}

pub fn line_record(line: &TrackedLine) -> Owned {
    let key = tracked::key(&line.service, FactKind::Line, line.line);
    put(faultline_model::topic::TRACKED, key, TrackedRecord::Line(line.clone()))
}

/// A node of the organisation; no parent for one at the top.
pub fn node(id: &str, parent: &str) -> Owned {
    let node = Node { id: id.into(), name: id.into(), kind: "team".into(), parent: parent.into(), owners: Vec::new() };
    put(faultline_model::topic::CATALOG, node_key(id), CatalogRecord::Node(node))
}

/// A service of the catalog below some nodes, the nearest first.
pub fn service(id: &str, path: &[&str]) -> Owned {
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    let (exposure, data, owners) = ("internal".into(), Vec::new(), Vec::new());
    let service = Service { id: id.into(), name: id.into(), parent: path[0].clone(), tier: 2, exposure, data, owners, path };
    put(faultline_model::topic::CATALOG, service_key(id), CatalogRecord::Service(service))
}

/// How a report or a decision of an asset ended.
pub fn outcome(id: &str, status: OutcomeStatus, asset: &AssetId) -> Owned {
    let at = Timestamp::from_millis(0);
    let outcome = Outcome { id: id.into(), status, reason: String::new(), asset: Some(asset.clone()), at, counts: None, subject: None };
    put(faultline_model::topic::OUTCOMES, id, outcome)
}

/// How a step with an exception ended.
pub fn outcome_of_step(id: &str, subject: Option<Id>) -> Owned {
    let at = Timestamp::from_millis(0);
    let status = OutcomeStatus::Done;
    put(
        faultline_model::topic::OUTCOMES,
        id,
        Outcome { id: id.into(), status, reason: String::new(), asset: None, at, counts: None, subject },
    )
}

pub fn exception_id(number: u32) -> Id {
    Id::of("test exception", &[&number.to_be_bytes()])
}

/// An active exception for a vulnerability, below some names of the organisation.
pub fn entry(number: u32, within: &[&str]) -> RegisterEntry {
    let within = within.iter().map(ToString::to_string).collect();
    RegisterEntry {
        entry: exception_id(number),
        stage: Stage::Active,
        terms: Terms {
            title: "Log4j in a batch job".into(),
            scope: Scope { vulnerability: "CVE-1".into(), within, ..Scope::default() },
            category: Category::Accept,
            reason: "It reads nothing from outside.".into(),
            controls: Vec::new(),
            assumptions: Assumptions::default(),
            evidence: Vec::new(),
            starts: None,
            review_at: Timestamp::from_millis(0),
            ends: Timestamp::from_millis(0),
            covers_at_most: 10,
        },
        version: 4,
        authors: vec!["ana".into()],
        requested_by: "ana".into(),
        reviewed_by: "ben".into(),
        approved_by: "cem".into(),
        approved_at: Some(Timestamp::from_millis(0)),
        renewal: None,
        broken: Vec::new(),
        possible: vec!["revoke".into()],
        risks: 1,
        services: 1,
        contested: 0,
        residual: 500,
        inherent: 500,
        highest: 500,
        first: Vec::new(),
        history: Vec::new(),
        assessment: None,
    }
}

pub fn entry_record(entry: &RegisterEntry) -> Owned {
    put(faultline_model::topic::RISK_REGISTRY, entry.entry.to_string(), entry.clone())
}

pub fn entry_gone(id: Id) -> Owned {
    gone(faultline_model::topic::RISK_REGISTRY, id.to_string())
}
