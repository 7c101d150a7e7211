//! State that an older build wrote is worked on as if this one had written it. `states/` has such states, each named by its formats.
//!
//! `FAULTLINE_WRITE_STATE=1` writes one of this build. A file that is there is never written again: it stands for what is out there. The first
//! is of before a state said its format.
#![allow(clippy::unwrap_used)]

mod granted;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use faultline_core::act::Act;
use faultline_core::correlate::Correlate;
use faultline_core::stage::Stage;
use faultline_core::store::Changes;
use faultline_core::track::Track;
use faultline_model::avro::{self, TopicValue};
use faultline_model::catalog::{CatalogRecord, PolicyText, TICKETS_KEY};
use faultline_model::decision::{Decided, Decision, FindingSeverity, FindingVerdict, LinkWord, Verdict, Word};
use faultline_model::locus::Locus;
use faultline_model::observation::Severity;
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{Risk, RiskState};
use faultline_model::share::Share;
use faultline_model::testing::scale::{Order, Scale};
use faultline_model::ticket::TicketRecord;
use faultline_model::time::Timestamp;
use faultline_model::topic::{
    CATALOG, DECISIONS, EXCEPTIONS, FINDINGS, INTEL, RISK_REGISTRY, RISKS, SHARES, STEPS, TICKETS_DESIRED, TRACKED, Topic,
};
use faultline_stream::testing::Rest;
use faultline_stream::{Commit, Host, HostOptions, Log, MemoryLog, Positions, TaskId, append, topic_plans};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// A record, and the part of the history that it is of: what the older build had worked on, or what came then.
struct Said {
    part: String,
    topic: Topic,
    key: String,
    value: Option<Vec<u8>>,
    time: Timestamp,
}

/// A history with what an older build had made of its first part.
#[derive(Default)]
struct Kept {
    said: Vec<Said>,
    rows: BTreeMap<String, Changes>,
}

const BEFORE: &str = "before";
const DECIDED: &str = "decided";
const WRITTEN: &str = "written";
const AFTER: &str = "after";
const STAGES: [(&str, &[Topic], &[Topic]); 3] = [
    (Track::NAME, Track::INPUTS, Track::GLOBALS),
    (Correlate::NAME, Correlate::INPUTS, Correlate::GLOBALS),
    (Act::NAME, Act::INPUTS, Act::GLOBALS),
];

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/states"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

impl Kept {
    fn read(text: &str) -> Self {
        let mut kept = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["row", stage, key, value] => {
                    kept.rows.entry(stage.to_owned()).or_default().insert(bytes(key), Some(bytes(value)));
                }
                [part, topic, time, key, value] => kept.said.push(Said {
                    part: part.to_owned(),
                    topic: Topic::named(topic).unwrap(),
                    time: Timestamp::from_millis(time.parse().unwrap()),
                    key: key.to_owned(),
                    value: (value != "-").then(|| bytes(value)),
                }),
                _ => panic!("{line}"),
            }
        }
        kept
    }

    fn text(&self) -> String {
        let mut text = "# part, topic, time, key, value; or row, stage, key, value\n".to_owned();
        for Said { part, topic, key, value, time } in &self.said {
            let value = value.as_deref().map_or_else(|| "-".to_owned(), hex);
            writeln!(text, "{part}\t{}\t{}\t{key}\t{value}", topic.name, time.millis()).unwrap();
        }
        for (stage, rows) in &self.rows {
            for (key, value) in rows {
                writeln!(text, "row\t{stage}\t{}\t{}", hex(key), hex(value.as_deref().unwrap())).unwrap();
            }
        }
        text
    }

    fn say<T: TopicValue>(&mut self, part: &str, topic: Topic, key: String, record: T, time: Timestamp) {
        self.said.push(Said { part: part.to_owned(), topic, key, value: Some(avro::encode(record).unwrap()), time });
    }

    fn part(&self, part: &str) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| said.part == part)
    }

    /// The last moment of a part.
    fn end_of(&self, part: &str) -> Timestamp {
        self.part(part).map(|said| said.time).max().unwrap()
    }
}

fn log() -> Arc<dyn Log> {
    Arc::new(MemoryLog::new(topic_plans(), 1).unwrap())
}

/// Appends a part, and lets the stages work it off.
fn work(log: &Arc<dyn Log>, kept: &Kept, part: &str) {
    for Said { topic, key, value, time, .. } in kept.part(part) {
        append(&**log, *topic, vec![(key.clone(), value.clone())], *time, &[]).unwrap();
    }
    settle(log, kept.end_of(part), false);
}

/// Lets the stages work off what there is, in the format that the state has, or the newest.
fn settle(log: &Arc<dyn Log>, now: Timestamp, is_finalised: bool) {
    let newest = |newest: u16| is_finalised.then_some(newest);
    let track = Track { finalised: newest(Track::FORMATS.newest), ..Track::default() };
    let correlate = Correlate::new().finalised_up_to(newest(Correlate::FORMATS.newest));
    let act = Act { finalised: newest(Act::FORMATS.newest), ..Act::default() };
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(track).unwrap().add(correlate).unwrap().add(act).unwrap();
    host.run_until_quiet(&now, &mut |_| ()).unwrap();
}

/// What is the same before an operator finalises the formats: without what only the newest has.
fn in_any_format(log: &dyn Log) -> Rest {
    fn plain<T: TopicValue>(rest: &mut Rest, topic: Topic, plain: impl Fn(T) -> T) {
        for value in rest.topics.get_mut(topic.name).into_iter().flat_map(BTreeMap::values_mut) {
            *value = avro::encode(plain(avro::decode(value).unwrap())).unwrap();
        }
    }
    let mut rest = Rest::of(log).unwrap();
    let is_of_fix = |value: &Vec<u8>| avro::decode::<Share>(value).unwrap().fix.is_some();
    rest.topics.entry(SHARES.name).or_default().retain(|_, value| !is_of_fix(value));
    rest.topics.insert(TICKETS_DESIRED.name, BTreeMap::new());
    plain(&mut rest, SHARES, |share| Share { rating: None, ..share });
    plain(&mut rest, RISK_REGISTRY, |entry| RegisterEntry { assessment: None, ..entry });
    rest
}

/// What the older build left.
fn restored(kept: &Kept) -> Arc<dyn Log> {
    let log = log();
    let globals = kept.part(BEFORE).filter(|said| said.topic.is_global);
    for Said { topic, key, value, time, .. } in globals.chain(kept.part(WRITTEN)) {
        append(&*log, *topic, vec![(key.clone(), value.clone())], *time, &[]).unwrap();
    }
    for (stage, inputs, globals) in STAGES {
        let at = |topic: &Topic| ((topic.name, 0), log.end_offset(topic.name, 0).unwrap());
        let positions: Positions = inputs.iter().chain(globals).map(at).collect();
        // There was none of a stage that is newer.
        let changes = kept.rows.get(stage).cloned().unwrap_or_default();
        log.commit(Commit { task: TaskId { stage, partition: 0 }, positions, changes, outputs: Vec::new() }).unwrap();
    }
    log
}

/// The newest of each key.
fn newest(log: &dyn Log, topic: Topic) -> BTreeMap<String, Option<Vec<u8>>> {
    let records = log.read(topic.name, 0, 0, usize::MAX, usize::MAX).unwrap();
    records.into_iter().map(|record| (String::from_utf8(record.key).unwrap(), record.value)).collect()
}

/// Every open risk deserves a ticket, in a queue by what repairs it.
const TICKETS: &str =
    "{ mode: on, queues: [{ id: web, site: acme, project: W, issue_type: Bug }, { id: ops, site: acme, project: O, issue_type: Bug }],
    rules: [{ name: code, queue: web, when: { fixes: [code] } }, { name: others, queue: ops }] }";

/// An organisation with its scans, what people said of some; then the same scans again, and a KEV entry.
fn of_this_build() -> Kept {
    let scale = Scale::with_services(11, 40, 2);
    let (begun, later) = (scale.end_of(0), scale.end_of(1));
    let mut kept = Kept::default();
    scale.catalog().for_each(|(key, record)| kept.say(BEFORE, CATALOG, key, record, begun));
    let tickets = PolicyText { name: TICKETS_KEY.to_owned(), version: "1".to_owned(), yaml: TICKETS.to_owned() };
    kept.say(BEFORE, CATALOG, TICKETS_KEY.to_owned(), CatalogRecord::Policy(tickets), begun);
    scale.intel().for_each(|(key, record)| kept.say(BEFORE, INTEL, key, record, begun));
    for scan in scale.scans() {
        scan.records(Order::Stable).for_each(|record| kept.say(BEFORE, FINDINGS, scan.asset().to_string(), record, begun));
    }
    for scan in scale.rescans(1) {
        scan.records(Order::Shuffled).for_each(|record| kept.say(AFTER, FINDINGS, scan.asset().to_string(), record, later));
    }
    let (key, record) = scale.kev(1).unwrap();
    kept.say(AFTER, INTEL, key, record, later);

    let log = log();
    work(&log, &kept, BEFORE);
    let risks = newest(&*log, RISKS).into_values().map(|value| avro::decode::<Risk>(&value.unwrap()).unwrap());
    let risks: Vec<Risk> = risks.collect();
    let members = || risks.iter().flat_map(|risk| risk.findings.iter().map(move |member| (risk, member)));
    let (proved, at_route) = members().find(|(_, member)| matches!(member.locus, Locus::Route(_))).unwrap();
    // Code that no rule leads it to.
    let is_other = |risk: &Risk| risk.service == proved.service && risk.findings.iter().all(|member| member.finding != at_route.finding);
    let (_, code) = members().find(|(risk, member)| is_other(risk) && matches!(member.locus, Locus::Code(_))).unwrap();
    let mut others = members().map(|(_, member)| member).filter(|member| ![at_route.finding, code.finding].contains(&member.finding));
    let (judged, weighed) = (others.next().unwrap(), others.next().unwrap());
    let expected_version = None;
    for (number, (member, what)) in [
        (judged, Decided::Verdict(FindingVerdict { finding: judged.finding, verdict: Verdict::FalsePositive, expected_version })),
        (weighed, Decided::Severity(FindingSeverity { finding: weighed.finding, severity: Some(Severity::Info), expected_version })),
        (at_route, Decided::Link(LinkWord { finding: at_route.finding, to: code.finding, word: Word::Confirmed, expected_version })),
    ]
    .into_iter()
    .enumerate()
    {
        let (asset, key, actor, reason) = (member.asset.clone(), number.to_string(), "ana".to_owned(), "seen".to_owned());
        kept.say(DECIDED, DECISIONS, asset.to_string(), Decision { key, asset, actor, reason, at: begun, what }, begun);
    }
    for (key, record) in granted::steps(1, granted::packages(), begun, begun.plus_days(20), 4) {
        kept.say(DECIDED, STEPS, key, record, begun);
    }
    work(&log, &kept, DECIDED);
    assert!(newest(&*log, RISKS).values().any(|value| avro::decode::<Risk>(value.as_ref().unwrap()).unwrap().state == RiskState::Accepted));
    let links = |value: &Option<Vec<u8>>| avro::decode::<Risk>(value.as_ref().unwrap()).unwrap().links;
    assert!(newest(&*log, RISKS).values().flat_map(links).any(|link| link.rule == "confirmed"));
    let wanted = newest(&*log, TICKETS_DESIRED).into_values().flatten().map(|value| avro::decode::<TicketRecord>(&value).unwrap());
    assert!(wanted.filter(|ticket| matches!(ticket, TicketRecord::Wanted(_))).count() > 10);
    for topic in [TRACKED, RISKS, SHARES, EXCEPTIONS, RISK_REGISTRY, TICKETS_DESIRED] {
        for (key, value) in newest(&*log, topic) {
            kept.said.push(Said { part: WRITTEN.to_owned(), topic, key, value, time: begun });
        }
    }
    for (stage, ..) in STAGES {
        let rows = kept.rows.entry(stage.to_owned()).or_default();
        let state = log.state(TaskId { stage, partition: 0 });
        let mut keep = |key: &[u8], value: &[u8]| {
            rows.insert(key.to_vec(), Some(value.to_vec()));
            ControlFlow::Continue(())
        };
        state.scan(&[], &[], &mut keep).unwrap();
    }
    kept
}

/// All that a log holds at rest, and what of that any format has.
fn both(log: &Arc<dyn Log>) -> (Rest, Rest) {
    (Rest::of(&**log).unwrap(), in_any_format(&**log))
}

#[test]
fn a_state_of_an_older_build_is_read() {
    if std::env::var_os("FAULTLINE_WRITE_STATE").is_some() {
        let name = format!("track-{}-correlate-{}-act-{}.tsv.gz", Track::FORMATS.newest, Correlate::FORMATS.newest, Act::FORMATS.newest);
        let mut file = GzEncoder::new(File::create_new(folder().join(name)).unwrap(), Compression::best());
        file.write_all(of_this_build().text().as_bytes()).unwrap();
        file.finish().unwrap();
    }
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let kept = Kept::read(&std::io::read_to_string(GzDecoder::new(File::open(&path).unwrap())).unwrap());
        let anew = log();
        work(&anew, &kept, BEFORE);
        work(&anew, &kept, DECIDED);
        let (before, said_before) = (both(&anew), anew.end_offset(RISKS.name, 0).unwrap());
        work(&anew, &kept, AFTER);
        let (after, said_after) = (both(&anew), anew.end_offset(RISKS.name, 0).unwrap());
        assert_ne!(after.0.topics[RISKS.name], before.0.topics[RISKS.name], "{}: nothing happened", path.display());
        for is_finalised in [false, true] {
            let restored = restored(&kept);
            let first = restored.end_offset(RISKS.name, 0).unwrap();
            let agrees = |(whole, part): &(Rest, Rest)| {
                let (now, expected) = if is_finalised { (Rest::of(&*restored).unwrap(), whole) } else { (in_any_format(&*restored), part) };
                now.agrees_with(expected).unwrap();
            };
            if is_finalised {
                settle(&restored, kept.end_of(BEFORE), true);
            }
            agrees(&before);
            work(&restored, &kept, AFTER);
            agrees(&after);
            let said = restored.end_offset(RISKS.name, 0).unwrap() - first;
            assert_eq!(said, said_after - said_before, "{}: risks that did not change are said again", path.display());
        }
        files += 1;
    }
    assert!(files > 0);
}
