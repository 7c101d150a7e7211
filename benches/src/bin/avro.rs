//! Records as bytes and back: ours against apache-avro's own serde, on the records of the hot path.
//!
//! Ours is `faultline_model::avro`, on serde_avro_fast. apache-avro is measured as its documentation has it: `to_value` and
//! `to_avro_datum` to write, `from_avro_datum` and `from_value` to read; with `write_avro_datum_ref`, which knows the schema while
//! it serializes; and, as the best that it could do, the bytes of a value that is ready. All write the same, which is checked first.
#![allow(clippy::unwrap_used)] // a benchmark that cannot go on stops

use std::hint::black_box;

use apache_avro::types::Value;
use apache_avro::{GenericSingleObjectWriter, Schema, from_avro_datum, from_value, to_avro_datum, to_value, write_avro_datum_ref};
use faultline_benches::{Measured, measure, say};
use faultline_model::avro::{TopicValue, decode, encode};
use faultline_model::decision::Verdict;
use faultline_model::family::Family;
use faultline_model::fingerprint::fingerprint;
use faultline_model::id::Id;
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::record::FindingsRecord;
use faultline_model::risk::{Contribution, EvidenceState, Factor, Fix, Link, Member, Risk, RiskState, Score, id_of};
use faultline_model::testing::scale::{Order, Scale};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{FindingState, GivenVerdict, HeldPlace, TrackedFinding, TrackedLine, TrackedRecord};
use serde_json::json;

/// Length of the wire format's header.
const HEADER_BYTES: usize = 5;
const RECORDS: u64 = 1_000;

fn main() {
    let tracked = tracked();
    let risks: Vec<Risk> = tracked.chunks(2).map(risk).collect();
    let scale = Scale::new(1, RECORDS);
    let findings = scale.scans().flat_map(|scan| scan.records(Order::Stable));
    compare("findings", &findings.filter(|record| matches!(record, FindingsRecord::Finding(_))).collect::<Vec<_>>());
    compare("tracked", &tracked.into_iter().map(TrackedRecord::Finding).collect::<Vec<_>>());
    compare("risks", &risks);
}

fn compare<T: TopicValue>(topic: &str, records: &[T]) {
    let schema = Schema::parse_str(T::subject().newest().text).unwrap();
    let bodies: Vec<T::Body> = records.iter().cloned().map(T::Body::from).collect();
    let values: Vec<Vec<u8>> = records.iter().cloned().map(|record| encode(record).unwrap()).collect();
    for (body, bytes) in bodies.iter().zip(&values) {
        assert_eq!(written_by_value(&schema, body), bytes[HEADER_BYTES..]);
    }
    let count = records.len();

    let ours = measure(count, || records.iter().for_each(|record| drop(black_box(encode(record.clone()).unwrap()))));
    // Encoding takes its record; what a copy costs is shown so that it can be taken off.
    let copies = measure(count, || records.iter().for_each(|record| drop(black_box(record.clone()))));
    let by_value = measure(count, || bodies.iter().for_each(|body| drop(black_box(written_by_value(&schema, body)))));
    let ready: Vec<Value> = bodies.iter().map(|body| to_value(body).unwrap().resolve(&schema).unwrap()).collect();
    let mut writer = GenericSingleObjectWriter::new_with_capacity(&schema, 4096).unwrap();
    let of_value = measure(count, || {
        for value in &ready {
            let mut bytes = Vec::with_capacity(1024);
            writer.write_value_ref(value, &mut bytes).unwrap();
            black_box(bytes);
        }
    });
    let direct =
        bodies.iter().zip(&values).all(|(body, bytes)| written_directly(&schema, body).is_some_and(|own| own == bytes[HEADER_BYTES..]));
    let directly = direct.then(|| measure(count, || bodies.iter().for_each(|body| drop(black_box(written_directly(&schema, body))))));
    let bytes = values.iter().map(Vec::len).sum::<usize>() / count;
    line(
        topic,
        "encode",
        bytes,
        ours,
        &[
            ("copy", Some(copies)),
            ("apache_avro_by_value", Some(by_value)),
            ("apache_avro_of_ready_value", Some(of_value)),
            ("apache_avro_directly", directly),
        ],
    );

    let ours = measure(count, || values.iter().for_each(|bytes| drop(black_box(decode::<T>(bytes).unwrap()))));
    let by_value = measure(count, || values.iter().for_each(|bytes| drop(black_box(read_by_value::<T>(&schema, bytes)))));
    line(topic, "decode", bytes, ours, &[("apache_avro_by_value", Some(by_value))]);
}

fn written_by_value<B: serde::Serialize>(schema: &Schema, body: &B) -> Vec<u8> {
    // A record out of serde does not know which branch of a union it is; resolving says so.
    to_avro_datum(schema, to_value(body).unwrap().resolve(schema).unwrap()).unwrap()
}

/// Nothing where this version of apache-avro cannot write the record so.
fn written_directly<B: serde::Serialize>(schema: &Schema, body: &B) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    write_avro_datum_ref(schema, body, &mut bytes).ok()?;
    Some(bytes)
}

fn read_by_value<T: TopicValue>(schema: &Schema, bytes: &[u8]) -> T::Body {
    from_value(&from_avro_datum(schema, &mut &bytes[HEADER_BYTES..], None).unwrap()).unwrap()
}

fn line(topic: &str, what: &str, bytes: usize, ours: Measured, others: &[(&str, Option<Measured>)]) {
    let mut members = json!({
        "topic": topic,
        "bytes_a_record": bytes,
        "records_a_second": ours.per_second.round(),
        "worst_records_a_second": ours.worst_per_second.round(),
    });
    for (name, other) in others {
        members[*name] = match other {
            Some(other) => {
                json!({ "records_a_second": other.per_second.round(), "ratio": (ours.per_second / other.per_second * 100.0).round() / 100.0 })
            }
            None => json!("cannot write it"),
        };
    }
    say(&format!("avro_{what}"), members);
}

/// Findings as track publishes them.
fn tracked() -> Vec<TrackedFinding> {
    let scale = Scale::new(1, RECORDS);
    let mut findings = Vec::new();
    for scan in scale.scans() {
        let asset = scan.asset();
        let mut by = (String::new(), ScanKind::Other, Timestamp::default());
        for record in scan.records(Order::Stable) {
            match record {
                FindingsRecord::ScanStarted(start) => by = (start.tool, start.kind, start.started),
                FindingsRecord::Finding(finding) => {
                    let (tool, kind, at) = by.clone();
                    let print = fingerprint(&tool, &finding.observation);
                    let line = TrackedLine::id_of(&asset, &tool, "main", "");
                    findings.push(TrackedFinding {
                        finding: TrackedFinding::id_of(&asset, print),
                        fingerprint: print,
                        asset: asset.clone(),
                        service: "service-00001".into(),
                        is_owner: true,
                        tool,
                        kind,
                        observation: finding.observation,
                        state: FindingState::Open,
                        is_preview: false,
                        first_seen: at,
                        state_since: at,
                        lines: vec![line],
                        places: vec![HeldPlace { line_of_scans: line, since: at, line: 42, end_line: 43 }],
                        moved_from: None,
                        verdict: print.0[0].is_multiple_of(16).then(|| GivenVerdict {
                            verdict: Verdict::Confirmed,
                            actor: "ana@acme.example".into(),
                            reason: "Reproduced by hand.".into(),
                            at,
                        }),
                        assignment: None,
                        severity: None,
                        words: Vec::new(),
                        version: 0,
                        service_claim: String::new(),
                        owners: vec!["@acme/team-0001".into()],
                    });
                }
                _ => {}
            }
        }
    }
    findings
}

/// A risk of one or two findings, as correlate publishes it.
fn risk(findings: &[TrackedFinding]) -> Risk {
    let founder = &findings[0];
    let points = [190, 0, 100, 150, 50, 40, 0, 0, 0, 0];
    let factors = [
        (Factor::Technical, "the tool's level: medium"),
        (Factor::Exploitation, "EPSS 0.001, not in KEV"),
        (Factor::Exposure, "internet"),
        (Factor::Business, "tier 1"),
        (Factor::Data, "personal"),
        (Factor::Evidence, "confidence 0.66"),
        (Factor::Reachability, "no analysis"),
        (Factor::Control, "none"),
        (Factor::Age, "not due before 2026-01-07"),
        (Factor::Cap, "within 0 to 1000"),
    ];
    let seen: &Observation = &founder.observation;
    Risk {
        risk: id_of(&founder.service, founder.finding),
        service: founder.service.clone(),
        title: seen.title.clone(),
        family: Family::of_cwes(&seen.cwes).to_string(),
        state: RiskState::Open,
        evidence: EvidenceState::Reported,
        score: Score {
            total: points.iter().sum(),
            inherent: points.iter().sum(),
            band: Severity::Medium,
            contributions: factors
                .into_iter()
                .zip(points)
                .map(|((factor, because), points)| Contribution { factor, points, because: because.into() })
                .collect(),
            due: founder.first_seen.plus_days(90),
            changes_at: Some(founder.first_seen.plus_days(120)),
            policy_version: "balanced-1".into(),
        },
        confidence_ppm: 660_000,
        founder: founder.finding,
        also: findings[1..].iter().map(|other| other.finding).collect(),
        asset: founder.asset.clone(),
        anchor: seen.locus.clone(),
        findings: findings.iter().map(member).collect(),
        findings_total: findings.len() as i32,
        links: findings[1..].iter().map(|other| link(founder, other)).collect(),
        links_total: findings.len() as i32 - 1,
        vulnerabilities: seen.vulnerabilities.clone(),
        fix: Fix {
            fix: Id::of("fix", &[&founder.finding.0]),
            also: vec![],
            kind: "code".into(),
            what: seen.title.clone(),
            guidance: seen.guidance.clone(),
            fixed_versions: seen.fixed_versions.clone(),
        },
        owners: founder.owners.clone(),
        assigned_to: String::new(),
        first_seen: founder.first_seen,
        exceptions: vec![],
    }
}

fn member(finding: &TrackedFinding) -> Member {
    Member {
        finding: finding.finding,
        asset: finding.asset.clone(),
        tool: finding.tool.clone(),
        kind: finding.kind,
        rule: finding.observation.rule.clone(),
        title: finding.observation.title.clone(),
        severity: finding.observation.severity,
        locus: finding.observation.locus.clone(),
        state: finding.state,
        verdict: finding.verdict.as_ref().map(|given| given.verdict),
        is_home: true,
        first_seen: finding.first_seen,
        version: finding.version,
        lines: finding.lines.clone(),
    }
}

fn link(from: &TrackedFinding, to: &TrackedFinding) -> Link {
    let inputs = vec!["file src/main/java/com/acme/Order1Service.java".to_owned(), "lines 42 to 44".to_owned()];
    Link { rule: "same-place".into(), from: from.finding, to: to.finding, weight_ppm: 900_000, inputs }
}
