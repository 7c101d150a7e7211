//! A report that is published during a replay of many findings has its risks while most of the replay is still to be read.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_core::correlate::Correlate;
use faultline_core::track::Track;
use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::locus::{Code, Locus};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::record::{FindingObserved, FindingsRecord};
use faultline_model::risk::Risk;
use faultline_model::scan::{ScanCompleted, ScanStarted, Scope};
use faultline_model::testing::scale::{Order, Scale, Scan};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, FINDINGS_BULK, RISKS};
use faultline_stream::{Clock, EmbeddedLog, Host, HostOptions, Log, Options, SystemClock, append, topic_plans};

/// How many findings are replayed; 1,000,000 for the promise as it is written.
const REPLAYED: u64 = 30_000;
const PARTITIONS: u32 = 4;
/// Nothing else is of it.
const URGENT: &str = "repo:git.acme.example/urgent";
/// For each so many findings a minute, and one more.
const A_MINUTE: u64 = 50_000;

/// A whole scan that found one thing.
fn urgent(now: Timestamp) -> Vec<(String, Option<Vec<u8>>)> {
    let scan = Id::of("scan", &[b"urgent"]);
    let started = ScanStarted {
        scan,
        tool: "semgrep".into(),
        tool_version: String::new(),
        kind: ScanKind::Sast,
        branch: "main".into(),
        is_default_branch: true,
        environment: String::new(),
        revision: "r1".into(),
        revision_time: None,
        started: now,
        scope: Scope { is_full: true, ..Scope::default() },
        service_claim: String::new(),
        tests_for: Vec::new(),
        publisher: "test".into(),
    };
    let code = Code { snippet: "query(input)".into(), ..Code::at("src/users.rs", 7) };
    let observation = Observation::new("sql-injection", Severity::High, Locus::Code(code));
    let records = [
        FindingsRecord::ScanStarted(started),
        FindingsRecord::Finding(FindingObserved { scan, number: 0, observation }),
        FindingsRecord::ScanCompleted(ScanCompleted { scan, observations: 1, families: Vec::new(), refused: 0 }),
    ];
    records.map(|record| (URGENT.to_owned(), Some(avro::encode(record).unwrap()))).to_vec()
}

#[test]
fn a_report_is_scored_in_the_midst_of_a_replay() {
    let replayed = std::env::var("FAULTLINE_REPLAYED").map_or(REPLAYED, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let options = Options { partitions: PARTITIONS, ..Options::default() };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), topic_plans(), options).unwrap());
    let (scale, now) = (Scale::new(7, replayed), SystemClock.now());
    append(&*log, CATALOG, scale.catalog().map(|(key, record)| (key, Some(avro::encode(record).unwrap()))).collect(), now, &[]).unwrap();
    let records = |scan: &Scan<'_>| -> Vec<_> {
        let asset = scan.asset().to_string();
        scan.records(Order::Stable).map(|record| (asset.clone(), Some(avro::encode(record).unwrap()))).collect()
    };
    for scan in scale.scans() {
        append(&*log, FINDINGS_BULK, records(&scan), now, &[]).unwrap();
    }
    let ends = || -> u64 { (0..PARTITIONS).map(|partition| log.end_offset(FINDINGS_BULK.name, partition).unwrap()).sum() };
    let all = ends();

    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Track::default()).unwrap().add(Correlate::new()).unwrap();
    let running = host.start(Arc::new(SystemClock)).unwrap();
    let left = || -> u64 {
        let status = running.status();
        let inputs = status.iter().flat_map(|task| &task.inputs).filter(|input| input.topic == FINDINGS_BULK.name);
        inputs.map(|input| input.end - input.position).sum()
    };
    let until = Instant::now() + Duration::from_mins(1 + replayed.div_ceil(A_MINUTE));
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let mut generation = 0;
        while !is_so() {
            let is_in_time = Instant::now() < until && running.failures().is_empty();
            assert!(is_in_time, "{what}: {} of {all} are left, {:?}", left(), running.status());
            generation = log.wait_for_change(generation, Duration::from_millis(20));
        }
    };
    wait("the replay has begun", &|| left() < all - all / 20);

    let ends_of_risks: Vec<u64> = (0..PARTITIONS).map(|partition| log.end_offset(RISKS.name, partition).unwrap()).collect();
    let (before, began) = (left(), Instant::now());
    append(&*log, FINDINGS, urgent(now), now, &[]).unwrap();
    let is_scored = || {
        (0..PARTITIONS).any(|partition| {
            let page = log.read(RISKS.name, partition, ends_of_risks[partition as usize], usize::MAX, usize::MAX).unwrap();
            let risks = page.into_iter().filter_map(|record| avro::decode::<Risk>(&record.value?).ok());
            risks.flat_map(|risk| risk.findings).any(|member| member.asset.as_str() == URGENT)
        })
    };
    wait("the report is scored", &is_scored);
    let (after, took) = (left(), began.elapsed());
    println!("scored after {took:?}, in which {} of {all} bulk records were read", before.saturating_sub(after));
    assert!(after > all / 2, "{after} of {all} were left, {before} when it came");
    wait("the replay is over", &|| left() == 0);
    running.stop().unwrap();
}
