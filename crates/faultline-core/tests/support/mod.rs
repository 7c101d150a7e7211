//! Runs the stage track over a store in memory, as a host would: batches, slices, crashes, a clock that is told the time.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part, and a test may panic")]

pub mod plain;

use std::collections::BTreeMap;

use faultline_core::stage::{Batch, Globals, Input, Pending, Stage, StageError};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_core::track::Track;
use faultline_model::asset::AssetId;
use faultline_model::audit::Act;
use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, CodeOwners, PlaceRule, Places, places_key};
use faultline_model::decision::{
    Decided, Decision, FindingAssignment, FindingSeverity, FindingVerdict, LinkWord, Outcome, RetractScan, Verdict, Word,
};
use faultline_model::id::Id;
use faultline_model::locus::{Code, Locus};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::record::{FindingObserved, FindingsRecord};
use faultline_model::scan::{ScanCompleted, ScanStarted, Scope};
use faultline_model::time::Timestamp;
use faultline_model::topic::{self, Topic};
use faultline_model::tracked::{TrackedFinding, TrackedRecord};

pub const ASSET: &str = "repo:github.com/acme/shop";
pub const DAY: i64 = 86_400_000;

pub fn asset() -> AssetId {
    ASSET.parse().unwrap()
}

pub fn day(day: i64) -> Timestamp {
    Timestamp::from_millis(day * DAY)
}

/// A record as it stands in its topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: Topic,
    pub key: String,
    pub value: Option<Vec<u8>>,
}

pub fn finding_record(record: FindingsRecord) -> Record {
    Record { topic: topic::FINDINGS, key: ASSET.into(), value: Some(avro::encode(record).unwrap()) }
}

pub fn decision_record(decision: Decision) -> Record {
    Record { topic: topic::DECISIONS, key: decision.asset.as_str().into(), value: Some(avro::encode(decision).unwrap()) }
}

pub fn places_record(places: Option<&Places>, assets: &str) -> Record {
    let value = places.map(|places| avro::encode(CatalogRecord::Places(places.clone())).unwrap());
    Record { topic: topic::CATALOG, key: places_key(assets), value }
}

/// How a run is cut up.
#[derive(Clone, Debug)]
pub struct Cuts {
    /// Sizes of batches, again from the first when all are used.
    pub batches: Vec<usize>,
    pub slice_bytes: usize,
    /// How many slices run between batches.
    pub slices: usize,
    /// Every so many batches and slices are thrown away and done again; 0 for none.
    pub crash_every: usize,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { batches: vec![1000], slice_bytes: 1 << 20, slices: usize::MAX, crash_every: 0 }
    }
}

#[derive(Default)]
struct GlobalRows(BTreeMap<String, Vec<u8>>);

impl Globals for GlobalRows {
    fn get(&self, _: Topic, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }
}

/// A task in memory.
pub struct Task {
    pub track: Track,
    /// In which rows are written: the newest unless it is said.
    pub format: u16,
    pub store: MemoryStore,
    globals: GlobalRows,
    pub now: Timestamp,
    /// The newest value of each key.
    pub tracked: BTreeMap<String, Vec<u8>>,
    pub outcomes: Vec<Outcome>,
    /// What was told of decisions, in order.
    pub acts: Vec<Act>,
    /// Reasons of records that were refused as a whole.
    pub poisoned: Vec<String>,
    /// Keys and values that batches wrote to state, deletions counted by their key.
    pub state_bytes: usize,
    pub tracked_writes: usize,
    steps: usize,
}

impl Default for Task {
    fn default() -> Self {
        Self::new(Track::default())
    }
}

impl Task {
    pub fn new(track: Track) -> Self {
        Self {
            track,
            format: Track::FORMATS.newest,
            store: MemoryStore::default(),
            globals: GlobalRows::default(),
            now: day(1000),
            tracked: BTreeMap::new(),
            outcomes: Vec::new(),
            acts: Vec::new(),
            poisoned: Vec::new(),
            state_bytes: 0,
            tracked_writes: 0,
            steps: 0,
        }
    }

    /// Runs records as they come and rests.
    pub fn run(&mut self, records: &[Record], cuts: &Cuts) {
        let mut left = records;
        for size in cuts.batches.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (batch, rest) = left.split_at((*size).clamp(1, left.len()));
            self.batch(batch, cuts);
            left = rest;
            for _ in 0..cuts.slices {
                if self.slice(cuts) == Pending::None {
                    break;
                }
            }
        }
        self.rest(cuts);
    }

    /// Works until nothing is pending.
    pub fn rest(&mut self, cuts: &Cuts) {
        let mut slices = 0;
        while self.slice(cuts) == Pending::Some {
            slices += 1;
            assert!(slices < 200_000, "pending work does not end");
        }
    }

    /// Lets time pass, and does what is due.
    pub fn pass(&mut self, millis: i64) {
        self.now = Timestamp::from_millis(self.now.millis() + millis);
        self.rest(&Cuts::default());
        let due = self.track.next_due(&self.store).unwrap();
        assert!(due.is_none_or(|due| due > self.now), "a timer that is due was left");
    }

    fn crashes(&mut self, cuts: &Cuts) -> bool {
        self.steps += 1;
        cuts.crash_every > 0 && self.steps.is_multiple_of(cuts.crash_every)
    }

    /// One batch, without the work that it leaves.
    pub fn batch(&mut self, records: &[Record], cuts: &Cuts) {
        for record in records.iter().filter(|record| record.topic == topic::CATALOG) {
            match &record.value {
                Some(value) => self.globals.0.insert(record.key.clone(), value.clone()),
                None => self.globals.0.remove(&record.key),
            };
        }
        if self.crashes(cuts) {
            self.try_batch(records);
        }
        let (changes, outputs, poisoned) = self.try_batch(records);
        self.poisoned.extend(poisoned);
        self.commit(changes, outputs);
    }

    fn try_batch(&self, records: &[Record]) -> (faultline_core::store::Changes, Vec<faultline_core::stage::Output>, Vec<String>) {
        let mut batch = Batch::new(Overlay::new(&self.store), &self.globals, self.now).in_format(self.format);
        let mut gathered = <Track as Stage>::Gathered::default();
        let mut poisoned = Vec::new();
        for record in records {
            let input = Input { topic: record.topic, key: &record.key, value: record.value.as_deref(), time: self.now };
            match self.track.apply(&mut batch, &mut gathered, &input) {
                Ok(()) => {}
                Err(StageError::Poison { reason }) => poisoned.push(reason),
                Err(error) => panic!("{error}"),
            }
        }
        self.track.end(&mut batch, gathered).unwrap();
        let (changes, outputs) = batch.into_parts();
        (changes, outputs, poisoned)
    }

    pub fn slice(&mut self, cuts: &Cuts) -> Pending {
        if self.crashes(cuts) {
            let mut lost = Batch::new(Overlay::new(&self.store), &self.globals, self.now).in_format(self.format);
            self.track.slice(&mut lost, cuts.slice_bytes).unwrap();
        }
        let mut batch = Batch::new(Overlay::new(&self.store), &self.globals, self.now).in_format(self.format);
        let pending = self.track.slice(&mut batch, cuts.slice_bytes).unwrap();
        let (changes, outputs) = batch.into_parts();
        self.commit(changes, outputs);
        pending
    }

    fn commit(&mut self, changes: faultline_core::store::Changes, outputs: Vec<faultline_core::stage::Output>) {
        self.state_bytes += changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        self.store.apply(changes);
        for output in outputs {
            match output.value {
                Some(value) if output.topic == topic::TRACKED => {
                    self.tracked_writes += 1;
                    self.tracked.insert(output.key, value);
                }
                None => {
                    self.tracked.remove(&output.key);
                }
                Some(value) if output.topic == topic::JUDGED => self.acts.push(avro::decode(&value).unwrap()),
                Some(value) => self.outcomes.push(avro::decode(&value).unwrap()),
            }
        }
    }

    /// What stands in `tracked`, by key, without the notes of where a fact went.
    pub fn facts(&self) -> BTreeMap<String, TrackedRecord> {
        let all = self.tracked.iter().map(|(key, value)| (key.clone(), avro::decode::<TrackedRecord>(value).unwrap()));
        all.filter(|(_, record)| !matches!(record, TrackedRecord::Went(_))).collect()
    }

    pub fn findings(&self) -> Vec<TrackedFinding> {
        let all = self.facts().into_values();
        all.filter_map(|record| if let TrackedRecord::Finding(finding) = record { Some(finding) } else { None }).collect()
    }

    /// The one finding of a file.
    pub fn finding_in(&self, file: &str) -> TrackedFinding {
        let in_file = |finding: &TrackedFinding| matches!(&finding.observation.locus, Locus::Code(code) if code.file == file);
        let found: Vec<_> = self.findings().into_iter().filter(in_file).collect();
        assert_eq!(found.len(), 1, "findings in {file}");
        found.into_iter().next().unwrap()
    }

    pub fn outcome(&self, id: &str) -> &Outcome {
        self.outcomes.iter().rev().find(|outcome| outcome.id == id).unwrap_or_else(|| panic!("no outcome of {id}"))
    }
}

/// A scan to be published.
#[derive(Clone)]
pub struct Scan {
    pub started: ScanStarted,
    pub seen: Vec<Observation>,
    pub ends: bool,
    /// Numbers that get lost.
    pub lost: Vec<i32>,
}

/// What a failing history is read by: one line a scan.
impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ScanStarted { branch, environment, revision_time, started, scope, service_claim, .. } = &self.started;
        let days = |time: Timestamp| time.millis() / DAY;
        write!(f, "{branch}/{environment} started {} revised {:?}", days(*started), revision_time.map(days))?;
        write!(f, " full {} {:?} {:?} claim {service_claim:?}", scope.is_full, scope.paths, scope.rules)?;
        write!(f, " ends {} lost {:?} saw", self.ends, self.lost)?;
        for seen in &self.seen {
            let Locus::Code(code) = &seen.locus else { continue };
            write!(f, " [{} {}:{} {:?} {}]", seen.rule, code.file, code.line, code.snippet, seen.severity.name())?;
        }
        Ok(())
    }
}

impl Scan {
    /// A complete full scan of the default branch.
    pub fn full(name: &str, started: i64, seen: Vec<Observation>) -> Self {
        let started = ScanStarted {
            scan: Id::of("scan", &[name.as_bytes()]),
            tool: "semgrep".into(),
            tool_version: String::new(),
            kind: ScanKind::Sast,
            branch: "main".into(),
            is_default_branch: true,
            environment: String::new(),
            revision: format!("r{started}"),
            revision_time: None,
            started: day(started),
            scope: Scope { is_full: true, ..Scope::default() },
            service_claim: String::new(),
            tests_for: Vec::new(),
            publisher: "test".into(),
        };
        Self { started, seen, ends: true, lost: Vec::new() }
    }

    pub fn id(&self) -> Id {
        self.started.scan
    }

    #[must_use]
    pub fn on(mut self, branch: &str, is_default: bool) -> Self {
        (self.started.branch, self.started.is_default_branch) = (branch.into(), is_default);
        self
    }

    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.started.scope = scope;
        self
    }

    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![finding_record(FindingsRecord::ScanStarted(self.started.clone()))];
        for (number, observation) in (0..).zip(&self.seen).filter(|(number, _)| !self.lost.contains(number)) {
            let seen = FindingObserved { scan: self.id(), number, observation: observation.clone() };
            records.push(finding_record(FindingsRecord::Finding(seen)));
        }
        if self.ends {
            let end = ScanCompleted { scan: self.id(), observations: self.seen.len() as i32, families: Vec::new(), refused: 0 };
            records.push(finding_record(FindingsRecord::ScanCompleted(end)));
        }
        records
    }
}

pub fn seen(rule: &str, file: &str, line: i32, snippet: &str) -> Observation {
    Observation::new(rule, Severity::High, Locus::Code(Code { snippet: snippet.into(), ..Code::at(file, line) }))
}

/// Who an observation of the tests' tool is.
pub fn id_of(observation: &Observation) -> Id {
    TrackedFinding::id_of(&asset(), faultline_model::fingerprint::fingerprint("semgrep", observation))
}

pub fn decision(key: &str, at: i64, what: Decided) -> Decision {
    Decision { key: key.into(), asset: asset(), actor: "ana".into(), reason: "because".into(), at: day(at), what }
}

pub fn severity(key: &str, at: i64, finding: Id, severity: Option<Severity>) -> Record {
    decision_record(decision(key, at, Decided::Severity(FindingSeverity { finding, severity, expected_version: None })))
}

pub fn word(key: &str, at: i64, finding: Id, to: Id, word: Word) -> Record {
    decision_record(decision(key, at, Decided::Link(LinkWord { finding, to, word, expected_version: None })))
}

pub fn verdict(key: &str, at: i64, finding: Id, verdict: Verdict, expected_version: Option<i32>) -> Record {
    decision_record(decision(key, at, Decided::Verdict(FindingVerdict { finding, verdict, expected_version })))
}

pub fn assignment(key: &str, at: i64, finding: Id, to: &str) -> Record {
    decision_record(decision(key, at, Decided::Assignment(FindingAssignment { finding, to: to.into(), expected_version: None })))
}

pub fn retraction(key: &str, scan: Id) -> Record {
    decision_record(decision(key, 900, Decided::RetractScan(RetractScan { scan })))
}

pub fn retirement(key: &str, at: i64) -> Record {
    decision_record(decision(key, at, Decided::RetireAsset))
}

pub fn rule(prefix: &str, owner: &str, users: &[&str]) -> PlaceRule {
    PlaceRule { prefix: prefix.into(), owner: owner.into(), users: users.iter().map(|user| (*user).into()).collect(), rewrite: None }
}

pub fn places(default_branch: &str, rules: Vec<PlaceRule>) -> Places {
    let code_owners = vec![CodeOwners { pattern: "/src/".into(), owners: vec!["@acme/src".into()] }];
    Places { assets: ASSET.into(), default_branch: default_branch.into(), rules, code_owners }
}
