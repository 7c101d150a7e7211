//! A service's facts, a stage over memory that is given them in whatever batches, and the plain function that judges it.
#![allow(dead_code)] // each test file uses its part

pub mod histories;

use std::collections::BTreeMap;

use faultline_core::correlate::reference::{self, Known};
use faultline_core::correlate::{Bounds, Correlate};
use faultline_core::stage::{Batch, Globals, Input, Pending, Stage};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_model::asset::AssetId;
use faultline_model::avro::{self, TopicValue};
use faultline_model::catalog::CatalogRecord;
use faultline_model::exception::Held;
use faultline_model::id::Id;
use faultline_model::intel::IntelRecord;
use faultline_model::locus::{Code, Locus, Package, Route};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::risk::Risk;
use faultline_model::share::Share;
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, EXCEPTIONS, INTEL, RISKS, SHARES, TRACKED, Topic};
use faultline_model::tracked::{self, FactKind, FindingState, TrackedFinding, TrackedRecord, TrackedRoute};

pub const DAY_MS: i64 = 86_400_000;

pub fn day(day: i64) -> Timestamp {
    Timestamp::from_millis(day * DAY_MS)
}

/// Something that happens to the inputs.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // a history is short
pub enum Event {
    Tracked(String, Option<TrackedRecord>),
    Catalog(String, Option<CatalogRecord>),
    Intel(String, Option<IntelRecord>),
    Exception(String, Option<Held>),
    Tick(Timestamp),
}

impl Event {
    /// What is kept in order: a key of a topic. Ticks keep theirs.
    pub fn key(&self) -> (u8, &str) {
        match self {
            Self::Tracked(key, _) => (0, key),
            Self::Catalog(key, _) => (1, key),
            Self::Intel(key, _) => (2, key),
            Self::Tick(_) => (3, ""),
            Self::Exception(key, _) => (4, key),
        }
    }
}

#[derive(Clone, Default)]
pub struct Topics {
    pub tracked: BTreeMap<String, TrackedRecord>,
    pub catalog: BTreeMap<String, CatalogRecord>,
    pub intel: BTreeMap<String, IntelRecord>,
    pub exceptions: BTreeMap<String, Held>,
}

fn keep<R: Clone>(topic: &mut BTreeMap<String, R>, key: &str, record: Option<&R>) {
    match record {
        Some(record) => topic.insert(key.to_owned(), record.clone()),
        None => topic.remove(key),
    };
}

impl Topics {
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Tracked(key, record) => keep(&mut self.tracked, key, record.as_ref()),
            Event::Catalog(key, record) => keep(&mut self.catalog, key, record.as_ref()),
            Event::Intel(key, record) => keep(&mut self.intel, key, record.as_ref()),
            Event::Exception(key, record) => keep(&mut self.exceptions, key, record.as_ref()),
            Event::Tick(_) => {}
        }
    }
}

impl Globals for Topics {
    fn get(&self, topic: Topic, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let value = match topic {
            CATALOG => self.catalog.get(key).map(|record| avro::encode(record.clone())),
            EXCEPTIONS => self.exceptions.get(key).map(|record| avro::encode(record.clone())),
            _ => self.intel.get(key).map(|record| avro::encode(record.clone())),
        };
        value.transpose().map_err(StoreError::read)
    }
}

/// How the stage is driven: each number is the size of a batch, whether its overlay is dropped once before it is committed, whether
/// pending work is sliced after it, and the bytes of a slice.
pub type Schedule = Vec<(usize, bool, bool, usize)>;

pub struct World {
    pub stage: Correlate,
    pub store: MemoryStore,
    pub topics: Topics,
    pub risks: BTreeMap<String, Vec<u8>>,
    pub shares: BTreeMap<String, Vec<u8>>,
    pub now: Timestamp,
    /// Of rows.
    pub format: u16,
    /// Records on `risks` and `shares` since the start.
    pub said: usize,
}

impl World {
    pub fn new() -> Self {
        Self {
            stage: Correlate::new(),
            store: MemoryStore::default(),
            topics: Topics::default(),
            risks: BTreeMap::new(),
            shares: BTreeMap::new(),
            now: day(20_000),
            format: Correlate::FORMATS.newest,
            said: 0,
        }
    }

    /// With so little done at once that nearly everything becomes pending.
    pub fn bounded(rows_at_end: usize, units_at_once: usize, rows_at_once: usize) -> Self {
        let stage = Correlate::with_bounds(Bounds { rows_at_end, units_at_once, rows_at_once });
        Self { stage, ..Self::new() }
    }

    fn work<T>(&mut self, is_kept: bool, work: impl FnOnce(&Correlate, &mut Batch<'_>) -> T) -> T {
        let (done, changes, outputs) = {
            let mut batch = Batch::new(Overlay::new(&self.store), &self.topics, self.now).in_format(self.format);
            let done = work(&self.stage, &mut batch);
            let (changes, outputs) = batch.into_parts();
            (done, changes, outputs)
        };
        if is_kept {
            self.store.apply(changes);
            self.said += outputs.len();
            for output in outputs {
                let topic = match output.topic {
                    RISKS => &mut self.risks,
                    SHARES => &mut self.shares,
                    other => panic!("a record on {}", other.name),
                };
                match output.value {
                    Some(value) => topic.insert(output.key, value),
                    None => topic.remove(&output.key),
                };
            }
        }
        done
    }

    /// One batch. Global topics are ahead of it: all of its records are there before the first is read.
    pub fn batch(&mut self, events: &[Event], is_kept: bool) {
        for event in events {
            self.topics.take(event);
            if let Event::Tick(now) = event {
                self.now = self.now.max(*now);
            }
        }
        let inputs: Vec<(Topic, &str, Option<Vec<u8>>)> = events.iter().filter_map(input).collect();
        self.work(is_kept, |stage, batch| {
            let mut gathered = <Correlate as Stage>::Gathered::default();
            for (topic, key, value) in &inputs {
                let input = Input { topic: *topic, key, value: value.as_deref(), time: batch.now };
                stage.apply(batch, &mut gathered, &input).expect("a record of ours applies");
            }
            stage.end(batch, gathered).expect("a batch ends");
        });
    }

    /// One slice; whether more is pending.
    pub fn slice(&mut self, bytes: usize) -> bool {
        self.work(true, |stage, batch| stage.slice(batch, bytes).expect("a slice works") == Pending::Some)
    }

    pub fn rest(&mut self) {
        while self.slice(4096) {}
    }

    pub fn run(&mut self, events: &[Event], schedule: &Schedule) {
        let mut left = events;
        for (size, is_dropped, is_sliced, bytes) in schedule.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (batch, rest) = left.split_at((*size).clamp(1, left.len()));
            if *is_dropped {
                self.batch(batch, false);
            }
            self.batch(batch, true);
            if *is_sliced {
                self.slice(*bytes);
            }
            left = rest;
        }
        self.rest();
    }

    pub fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        let events: Vec<Event> = events.into_iter().collect();
        self.batch(&events, true);
        self.rest();
    }

    fn known(&self) -> Known<'_> {
        let Topics { tracked, catalog, intel, exceptions } = &self.topics;
        Known { tracked, catalog, intel, exceptions, now: self.now }
    }

    /// What the plain function says of the same facts.
    pub fn expected(&self) -> BTreeMap<String, Risk> {
        reference::risks(&self.known())
    }

    /// What it says of shares.
    pub fn expected_shares(&self) -> BTreeMap<String, Share> {
        reference::shares(&self.known())
    }

    pub fn decoded_shares(&self) -> BTreeMap<String, Share> {
        self.shares.iter().map(|(key, value)| (key.clone(), avro::decode(value).expect("a share"))).collect()
    }

    pub fn decoded(&self) -> BTreeMap<String, Risk> {
        self.risks.iter().map(|(key, value)| (key.clone(), avro::decode(value).expect("a risk"))).collect()
    }

    /// The risks that are not closed or false, and the stage agrees with the plain function on all.
    pub fn risks(&self) -> Vec<Risk> {
        let decoded = self.decoded();
        assert_eq!(decoded, self.expected());
        decoded.into_values().collect()
    }

    pub fn only_risk(&self) -> Risk {
        let mut risks = self.risks();
        assert_eq!(risks.len(), 1, "{risks:#?}");
        risks.remove(0)
    }
}

fn encoded<T: TopicValue>(record: Option<&T>) -> Option<Vec<u8>> {
    record.cloned().map(|record| avro::encode(record).expect("a record of ours"))
}

fn input(event: &Event) -> Option<(Topic, &str, Option<Vec<u8>>)> {
    match event {
        Event::Tracked(key, record) => Some((TRACKED, key, encoded(record.as_ref()))),
        Event::Catalog(key, record) => Some((CATALOG, key, encoded(record.as_ref()))),
        Event::Intel(key, record) => Some((INTEL, key, encoded(record.as_ref()))),
        Event::Exception(key, record) => Some((EXCEPTIONS, key, encoded(record.as_ref()))),
        Event::Tick(_) => None,
    }
}

pub fn asset(text: &str) -> AssetId {
    AssetId::read(text).expect("an asset")
}

pub fn line_id(tool: &str) -> Id {
    Id::of("line", &[tool.as_bytes()])
}

/// A finding of service `shop`, open, first seen on day 20,000.
pub fn finding(name: &str, tool: &str, kind: ScanKind, asset_name: &str, observation: Observation) -> TrackedFinding {
    let fingerprint = Id::of("test", &[name.as_bytes()]);
    let asset = asset(asset_name);
    TrackedFinding {
        finding: TrackedFinding::id_of(&asset, fingerprint),
        fingerprint,
        asset,
        service: "shop".into(),
        is_owner: true,
        tool: tool.into(),
        kind,
        observation,
        state: FindingState::Open,
        is_preview: false,
        first_seen: day(20_000),
        state_since: day(20_000),
        lines: vec![line_id(tool)],
        places: vec![],
        moved_from: None,
        verdict: None,
        assignment: None,
        severity: None,
        words: vec![],
        version: 0,
        service_claim: String::new(),
        owners: vec![],
    }
}

pub const REPO: &str = "repo:github.com/acme/shop";
pub const SITE: &str = "url:https://shop.example";

pub fn in_code(name: &str, tool: &str, cwe: i32, file: &str, line: i32) -> TrackedFinding {
    let mut seen = Observation::new(format!("{tool}-{cwe}"), Severity::High, Locus::Code(Code::at(file, line)));
    seen.cwes = vec![cwe];
    finding(name, tool, ScanKind::Sast, REPO, seen)
}

pub fn at_route(name: &str, cwe: i32, method: &str, path: &str, parameter: &str) -> TrackedFinding {
    let place = Route { method: method.into(), origin: "https://shop.example".into(), path: path.into(), parameter: parameter.into() };
    let mut seen = Observation::new(format!("zap-{cwe}"), Severity::High, Locus::Route(place));
    seen.cwes = vec![cwe];
    finding(name, "zap", ScanKind::Dast, SITE, seen)
}

pub fn in_package(name: &str, tool: &str, asset: &str, purl: &str, ids: &[&str]) -> TrackedFinding {
    let place = Package { purl: purl.into(), version: "1".into(), manifest: "pom.xml".into(), layer: String::new() };
    let mut seen = Observation::new(ids[0], Severity::High, Locus::Package(place));
    seen.vulnerabilities = ids.iter().map(|id| (*id).to_owned()).collect();
    finding(name, tool, ScanKind::Sca, asset, seen)
}

pub fn entry(name: &str, method: &str, path: &str, file: &str) -> TrackedRoute {
    TrackedRoute {
        route: Id::of("route", &[name.as_bytes()]),
        asset: asset(REPO),
        service: "shop".into(),
        tool: "routes".into(),
        method: method.into(),
        path: path.into(),
        file: file.into(),
        symbol: String::new(),
        line: 1,
        parameters: vec![],
        is_visit: false,
        families: vec![],
    }
}

pub fn visit(name: &str, path: &str, families: &[&str]) -> TrackedRoute {
    TrackedRoute {
        asset: asset(SITE),
        tool: "zap".into(),
        file: String::new(),
        is_visit: true,
        families: families.iter().map(|family| (*family).to_owned()).collect(),
        ..entry(name, "GET", path, "")
    }
}

pub fn tell_finding(finding: &TrackedFinding) -> Event {
    let key = tracked::key(&finding.service, FactKind::Finding, finding.finding);
    Event::Tracked(key, Some(TrackedRecord::Finding(finding.clone())))
}

pub fn forget_finding(finding: &TrackedFinding) -> Event {
    Event::Tracked(tracked::key(&finding.service, FactKind::Finding, finding.finding), None)
}

pub fn tell_route(route: &TrackedRoute) -> Event {
    Event::Tracked(tracked::key(&route.service, FactKind::Route, route.route), Some(TrackedRecord::Route(route.clone())))
}

pub fn forget_route(route: &TrackedRoute) -> Event {
    Event::Tracked(tracked::key(&route.service, FactKind::Route, route.route), None)
}
