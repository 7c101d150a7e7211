//! All stages of the way together, over an organisation whose risks are known: the truth comes out, and no fault on the way changes it.
#![allow(clippy::unwrap_used)]

mod granted;

use std::collections::BTreeMap;
use std::sync::Arc;

use faultline_core::act::Act;
use faultline_core::correlate::Correlate;
use faultline_core::track::Track;
use faultline_model::avro::{self, TopicValue};
use faultline_model::decision::{Decided, Decision, FindingVerdict, RetractScan, Verdict};
use faultline_model::exception::{Scope, Stage};
use faultline_model::id::Id;
use faultline_model::record::FindingsRecord;
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{EvidenceState, Risk, RiskState};
use faultline_model::testing::scale::{Order, Scale, Scan};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, DECISIONS, EXCEPTIONS, FINDINGS, FINDINGS_BULK, INTEL, RISK_REGISTRY, RISKS, STEPS, Topic};
use faultline_stream::testing::{Said, Scenario, Topology, for_each_seed, judge};
use faultline_stream::{Host, HostOptions, Log, MemoryLog, append, topic_plans};
use granted::{exception, packages, steps};

/// What the doors said, in order, and where somebody looked at what had become of it before going on.
#[derive(Default)]
struct History {
    said: Vec<Said>,
    looks: Vec<usize>,
}

impl History {
    fn say<T: TopicValue>(&mut self, topic: Topic, key: String, record: T, time: Timestamp) {
        self.said.push(Said { topic, key, value: Some(avro::encode(record).unwrap()), time });
    }

    /// Whoever decides has seen what is decided upon.
    fn look(&mut self) {
        self.looks.push(self.said.len());
    }

    fn organisation(&mut self, scale: &Scale) {
        scale.catalog().for_each(|(key, record)| self.say(CATALOG, key, record, scale.end_of(0)));
        scale.intel().for_each(|(key, record)| self.say(INTEL, key, record, scale.end_of(0)));
    }

    fn scan(&mut self, scan: &Scan<'_>, order: Order, time: Timestamp) {
        let asset = scan.asset().to_string();
        scan.records(order).for_each(|record| self.say(FINDINGS, asset.clone(), record, time));
    }

    /// An exception that so many steps are taken of, in time.
    fn except(&mut self, slot: u8, scope: Scope, (at, ends): (Timestamp, Timestamp), many: usize) {
        for (key, record) in steps(slot, scope, at, ends, many) {
            self.say(STEPS, key, record, at);
        }
    }

    fn decide(&mut self, scan: &Scan<'_>, what: Decided, time: Timestamp) {
        let asset = scan.asset();
        let key = format!("{asset}/{}", self.said.len());
        let decision = Decision { key, asset: asset.clone(), actor: "ana".into(), reason: "seen".into(), at: time, what };
        self.say(DECISIONS, asset.to_string(), decision, time);
    }
}

/// Everything worked off on an undisturbed host.
fn risks(history: &History, now: Timestamp) -> BTreeMap<Id, Risk> {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(topic_plans(), 3).unwrap());
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Track::default()).unwrap().add(Correlate::new()).unwrap();
    for (at, said) in history.said.iter().enumerate() {
        if history.looks.contains(&at) {
            host.run_until_quiet(&now, &mut |_| ()).unwrap();
        }
        append(&*log, said.topic, vec![(said.key.clone(), said.value.clone())], said.time, &[]).unwrap();
    }
    host.run_until_quiet(&now, &mut |_| ()).unwrap();
    let mut risks = BTreeMap::new();
    for partition in 0..log.partitions(RISKS.name).unwrap() {
        for stored in log.read(RISKS.name, partition, 0, usize::MAX, usize::MAX).unwrap() {
            if let Some(risk) = stored.value.map(|value| avro::decode::<Risk>(&value).unwrap()) {
                risks.insert(risk.risk, risk);
            }
        }
    }
    risks
}

#[test]
fn the_known_truth_comes_out() {
    let scale = Scale::new(7, 6_000);
    let mut history = History::default();
    history.organisation(&scale);
    scale.scans().for_each(|scan| history.scan(&scan, Order::Stable, scale.end_of(0)));
    let risks = risks(&history, scale.end_of(0));
    assert_eq!(risks.len() as u64, scale.expected_risks());
    let verified = risks.values().filter(|risk| risk.evidence == EvidenceState::Verified).count();
    assert_eq!(verified as u64, scale.expected_verified());
    // Findings of one true risk are home in one risk, and no two true risks share one.
    let mut homes = BTreeMap::new();
    for risk in risks.values() {
        risk.findings.iter().filter(|member| member.is_home).for_each(|member| assert_eq!(homes.insert(member.finding, risk.risk), None));
    }
    let mut of_truth = BTreeMap::new();
    for truth in scale.truth() {
        let home = homes[&truth.finding];
        assert_eq!(*of_truth.entry((truth.service.clone(), truth.risk)).or_insert(home), home, "{truth:?}");
    }
    assert_eq!(of_truth.len(), risks.len());
}

#[test]
fn a_rescan_a_kev_entry_and_a_retraction_touch_what_they_should() {
    let scale = Scale::new(3, 2_000);
    let mut history = History::default();
    history.organisation(&scale);
    scale.scans().for_each(|scan| history.scan(&scan, Order::Stable, scale.end_of(0)));
    let before = risks(&history, scale.end_of(1));
    let rescans: Vec<Scan<'_>> = scale.rescans(1).collect();
    for scan in &rescans {
        history.scan(scan, Order::Shuffled, scale.end_of(1));
    }
    assert_eq!(risks(&history, scale.end_of(1)), before, "a rescan of what is known changes nothing");
    history.look();
    for scan in &rescans {
        history.decide(scan, Decided::RetractScan(RetractScan { scan: scan.id() }), scale.end_of(1));
    }
    assert_eq!(risks(&history, scale.end_of(1)), before, "nor does taking it back");
    let (key, record) = scale.kev(1).unwrap();
    let vulnerability = key.split('\u{1f}').next().unwrap().to_owned();
    history.say(INTEL, key, record, scale.end_of(1));
    let after = risks(&history, scale.end_of(1));
    let changed: Vec<&Risk> = after.values().filter(|risk| before[&risk.risk] != **risk).collect();
    assert!(!changed.is_empty() && changed.iter().all(|risk| risk.vulnerabilities.contains(&vulnerability)));
    assert!(changed.iter().all(|risk| risk.score.total >= before[&risk.risk].score.total), "a KEV entry never lowers a score");
}

/// Scans by both lanes: one in three by each, and one that goes on by the bulk lane in its midst, as doors have it.
fn by_lanes(said: Vec<Said>, scans: &[Id]) -> Vec<Said> {
    let mut lanes = Vec::new();
    let mut starts = BTreeMap::new();
    let mut counts = BTreeMap::<Id, usize>::new();
    for one in said {
        let record = one.value.as_deref().filter(|_| one.topic == FINDINGS).map(|value| avro::decode::<FindingsRecord>(value).unwrap());
        let Some(record) = record else {
            lanes.push(one);
            continue;
        };
        let scan = match &record {
            FindingsRecord::ScanStarted(started) => started.scan,
            FindingsRecord::Finding(seen) => seen.scan,
            FindingsRecord::Route(seen) => seen.scan,
            FindingsRecord::ScanCompleted(completed) => completed.scan,
        };
        let count = counts.entry(scan).or_default();
        *count += 1;
        let way = scans.iter().position(|known| *known == scan).unwrap() % 3;
        let start = starts.entry(scan).or_insert_with(|| one.clone()).clone();
        if way == 2 && *count == 3 {
            lanes.push(Said { topic: FINDINGS_BULK, ..start });
        }
        let is_bulk = way == 1 || (way == 2 && *count >= 3);
        lanes.push(Said { topic: if is_bulk { FINDINGS_BULK } else { FINDINGS }, ..one });
    }
    lanes
}

/// Every law that a host can break: order, repetition, restart. Decisions are taken as given, so each comes after what it is about.
#[test]
fn no_fault_on_the_way_changes_what_comes_out() {
    let scale = Scale::with_services(11, 60, 2);
    let mut history = History::default();
    history.organisation(&scale);
    scale.scans().for_each(|scan| history.scan(&scan, Order::Stable, scale.end_of(0)));
    scale.rescans(1).for_each(|scan| history.scan(&scan, Order::Shuffled, scale.end_of(1)));
    let (key, record) = scale.kev(1).unwrap();
    let vulnerability = key.split('\u{1f}').next().unwrap().to_owned();
    history.say(INTEL, key, record, scale.end_of(1));
    let day = |days: i64| scale.end_of(0).plus_days(days);
    history.except(1, Scope { vulnerability, ..Scope::default() }, (day(2), day(31)), 4);
    history.except(2, packages(), (day(2), day(20)), 4);
    history.except(3, Scope { within: vec!["service/none".into()], ..packages() }, (day(2), day(31)), 4);
    history.except(4, packages(), (day(2), day(31)), 2);
    let scans: Vec<Id> = scale.scans().chain(scale.rescans(1)).map(|scan| scan.id()).collect();
    let scenario = Scenario {
        plans: topic_plans(),
        // A word that a fact went elsewhere is gone as soon as it was read.
        topology: Topology::default().with(Track { went_kept_ms: 0, ..Track::default() }).with(Correlate::new()).with(Act::default()),
        history: by_lanes(history.said, &scans),
        end: scale.end_of(30),
        clock_drift: std::time::Duration::ZERO,
    };
    // What is to be kept whatever happens is something: one exception holds, and covers what it should.
    let accepted = scenario.undisturbed().unwrap();
    let values = |topic: Topic| accepted.topics[topic.name].values().cloned().collect::<Vec<_>>();
    assert_eq!(values(EXCEPTIONS).len(), 2);
    let entries: Vec<RegisterEntry> = values(RISK_REGISTRY).iter().map(|value| avro::decode(value).unwrap()).collect();
    let stages: Vec<Stage> = (1..=4_u8).map(|slot| entries.iter().find(|entry| entry.entry == exception(slot)).unwrap().stage).collect();
    assert_eq!(stages, [Stage::Expiring, Stage::Expired, Stage::Expiring, Stage::Requested]);
    let covered: i32 = entries.iter().filter(|entry| entry.entry == exception(1)).map(|entry| entry.risks).sum();
    let risks: Vec<Risk> = values(RISKS).iter().map(|value| avro::decode(value).unwrap()).collect();
    let are = risks.iter().filter(|risk| risk.state == RiskState::Accepted).count();
    assert!(covered > 0 && are == usize::try_from(covered).unwrap(), "{covered} {are}");
    for_each_seed(|seed| judge(&scenario, seed));
}

#[test]
fn a_false_positive_stays_one() {
    let scale = Scale::new(5, 400);
    let mut history = History::default();
    history.organisation(&scale);
    scale.scans().for_each(|scan| history.scan(&scan, Order::Stable, scale.end_of(0)));
    let before = risks(&history, scale.end_of(1));
    let chosen = before.values().find(|risk| risk.findings_total == 1).unwrap();
    let member = &chosen.findings[0];
    let scan = scale.scans().find(|scan| scan.asset() == member.asset).unwrap();
    let verdict = FindingVerdict { finding: member.finding, verdict: Verdict::FalsePositive, expected_version: Some(0) };
    history.look();
    history.decide(&scan, Decided::Verdict(verdict), scale.end_of(0));
    scale.rescans(1).for_each(|scan| history.scan(&scan, Order::Stable, scale.end_of(1)));
    let after = risks(&history, scale.end_of(1));
    assert_eq!(after[&chosen.risk].state, RiskState::FalsePositive);
    let others = |risks: &BTreeMap<Id, Risk>| risks.values().filter(|risk| risk.risk != chosen.risk).cloned().collect::<Vec<_>>();
    assert_eq!(others(&after), others(&before));
}
