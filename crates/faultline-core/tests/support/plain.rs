//! What track is to say, computed plainly from all facts at once: lists of scans, sets of findings, no state.

use std::collections::{BTreeMap, BTreeSet};

use faultline_core::catalog::code_owners::owners_of;
use faultline_core::catalog::places::{self, place};
use faultline_core::track::line::{self, Progress, ScanOrder, Scope, Standing, Subject};
use faultline_model::catalog::{Places, UNASSIGNED};
use faultline_model::decision::Verdict;
use faultline_model::fingerprint::fingerprint;
use faultline_model::id::Id;
use faultline_model::locus::{Code, Locus};
use faultline_model::observation::Observation;
use faultline_model::time::Timestamp;
use faultline_model::tracked::{
    self, CompleteScan, FactKind, FindingState, GivenAssignment, GivenSeverity, GivenVerdict, GivenWord, HeldPlace, PLACES_KEPT,
    TrackedFinding, TrackedLine, TrackedRecord,
};

use super::{Scan, asset};

/// The facts.
#[derive(Default)]
pub struct Facts {
    /// Without those that were taken back.
    pub scans: Vec<Scan>,
    pub retired: Option<Timestamp>,
    pub places: Option<Places>,
    pub verdicts: BTreeMap<Id, GivenVerdict>,
    pub assignments: BTreeMap<Id, GivenAssignment>,
    /// By finding, the last one; none where it was taken back.
    pub severities: BTreeMap<Id, Option<GivenSeverity>>,
    /// By finding and what the link leads to.
    pub words: BTreeMap<Id, BTreeMap<Id, GivenWord>>,
    pub versions: BTreeMap<Id, i32>,
    /// How many complete scans of a line are shown.
    pub kept: usize,
}

/// A scan in its line's order; a retirement is one that saw nothing of everything.
struct Step<'f> {
    scan: Option<&'f Scan>,
    line: line::Scan,
    saw: BTreeMap<Id, &'f Observation>,
}

struct Line<'f> {
    id: Id,
    scans: Vec<&'f Scan>,
    steps: Vec<Step<'f>>,
    counts: bool,
}

pub fn is_complete(scan: &Scan) -> bool {
    scan.ends && scan.lost.is_empty()
}

pub fn order_of(scan: &Scan) -> ScanOrder {
    let started = scan.started.started;
    let revised = if scan.started.environment.is_empty() { scan.started.revision_time } else { None };
    ScanOrder { as_of: revised.unwrap_or(started), started, id: scan.id() }
}

fn code(observation: &Observation) -> &Code {
    let Locus::Code(code) = &observation.locus else { panic!("tests observe code") };
    code
}

impl Facts {
    fn lines(&self) -> Vec<Line<'_>> {
        let mut by_line: BTreeMap<Id, Vec<&Scan>> = BTreeMap::new();
        for scan in &self.scans {
            let started = &scan.started;
            let id = TrackedLine::id_of(&asset(), &started.tool, &started.branch, &started.environment);
            by_line.entry(id).or_default().push(scan);
        }
        by_line.into_iter().map(|(id, scans)| self.line(id, scans)).collect()
    }

    fn line<'f>(&self, id: Id, mut scans: Vec<&'f Scan>) -> Line<'f> {
        scans.sort_by_key(|scan| order_of(scan));
        let mut steps: Vec<Step<'f>> = scans.iter().map(|scan| step_of(scan)).collect();
        if let Some(at) = self.retired {
            let place = scans.iter().position(|scan| scan.started.started > at).unwrap_or(steps.len());
            let scope = Scope { is_full: true, ..Scope::default() };
            let order = ScanOrder { as_of: at, started: at, id: Id([0; 16]) };
            let line = line::Scan { order, revision: String::new(), scope, progress: Progress::Complete };
            steps.insert(place, Step { scan: None, line, saw: BTreeMap::new() });
        }
        let started = &scans[scans.len() - 1].started;
        let default = places::default_branch(&self.places);
        let on_default = default.map_or(started.is_default_branch, |branch| branch == started.branch);
        let counts = !started.environment.is_empty() || started.branch.is_empty() || on_default;
        Line { id, scans, steps, counts }
    }

    fn services(&self, path: &str) -> Vec<String> {
        let placement = place(&self.places, &asset(), path);
        let mut services: Vec<String> = Vec::new();
        for service in placement.services() {
            if !services.contains(&service.to_owned()) {
                services.push(service.to_owned());
            }
        }
        services
    }

    /// What `tracked` holds.
    pub fn tracked(&self) -> BTreeMap<String, TrackedRecord> {
        let lines = self.lines();
        let mut all = BTreeMap::new();
        for line in &lines {
            let record = self.tracked_line(line);
            for service in self.all_services() {
                let record = TrackedRecord::Line(TrackedLine { service: service.clone(), ..record.clone() });
                all.insert(tracked::key(&service, FactKind::Line, line.id), record);
            }
        }
        let findings: BTreeSet<Id> = lines.iter().flat_map(|line| line.steps.iter().flat_map(|step| step.saw.keys().copied())).collect();
        let own: BTreeMap<Id, Own> = findings.iter().map(|finding| (*finding, own(&lines, *finding))).collect();
        let moved: BTreeMap<Id, Id> = findings.iter().filter_map(|finding| Some((*finding, moved_from(&lines, *finding)?))).collect();
        for finding in findings {
            let record = self.tracked_finding(finding, &own, &moved);
            let path = code(&record.observation).file.clone();
            for (place, service) in self.services(&path).into_iter().enumerate() {
                let key = tracked::key(&service, FactKind::Finding, finding);
                all.insert(key, TrackedRecord::Finding(TrackedFinding { service, is_owner: place == 0, ..record.clone() }));
            }
        }
        all
    }

    fn all_services(&self) -> BTreeSet<String> {
        let rules = self.places.iter().flat_map(|places| &places.rules);
        let mut services: BTreeSet<String> =
            rules.clone().flat_map(|rule| std::iter::once(&rule.owner).chain(&rule.users)).cloned().collect();
        if !rules.clone().any(|rule| rule.prefix.is_empty()) {
            services.insert(format!("{UNASSIGNED}{}", asset()));
        }
        services
    }

    fn tracked_line(&self, line: &Line<'_>) -> TrackedLine {
        let newest = &line.scans[line.scans.len() - 1].started;
        let kept = &line.scans[line.scans.len().saturating_sub(self.kept)..];
        let complete = kept.iter().filter(|scan| is_complete(scan)).map(|scan| CompleteScan {
            scan: scan.id(),
            revision: scan.started.revision.clone(),
            as_of: order_of(scan).as_of,
            started: scan.started.started,
            is_full: scan.started.scope.is_full,
            observations: scan.seen.len() as i32,
        });
        TrackedLine {
            line: line.id,
            asset: asset(),
            service: String::new(),
            tool: newest.tool.clone(),
            kind: newest.kind,
            branch: newest.branch.clone(),
            environment: newest.environment.clone(),
            counts: line.counts,
            complete: complete.collect(),
        }
    }

    fn tracked_finding(&self, finding: Id, own: &BTreeMap<Id, Own>, moved: &BTreeMap<Id, Id>) -> TrackedFinding {
        let mut chain = vec![finding];
        while let Some(from) = moved.get(&chain[chain.len() - 1]).filter(|from| !chain.contains(from)) {
            chain.push(*from);
        }
        let me = &own[&finding];
        let verdict = chain.iter().find_map(|id| self.verdicts.get(id)).filter(|given| given.verdict != Verdict::Withdrawn);
        TrackedFinding {
            finding,
            fingerprint: fingerprint(&me.tool, &me.observation),
            asset: asset(),
            service: String::new(),
            is_owner: false,
            tool: me.tool.clone(),
            kind: faultline_model::observation::ScanKind::Sast,
            observation: me.observation.clone(),
            state: me.state,
            is_preview: me.is_preview,
            first_seen: chain.iter().map(|id| own[id].first_seen).min().unwrap(),
            state_since: me.since,
            lines: me.lines.clone(),
            places: me.places.clone(),
            moved_from: moved.get(&finding).copied(),
            verdict: verdict.cloned(),
            assignment: chain.iter().find_map(|id| self.assignments.get(id)).cloned(),
            severity: chain.iter().find_map(|id| self.severities.get(id)).cloned().flatten(),
            words: self.words.get(&finding).into_iter().flat_map(BTreeMap::values).cloned().collect(),
            version: self.versions.get(&finding).copied().unwrap_or(0),
            service_claim: me.claim.clone(),
            owners: owners_of(places::code_owners(&self.places), &code(&me.observation).file).to_vec(),
        }
    }
}

fn step_of(scan: &Scan) -> Step<'_> {
    let seen = (0..).zip(&scan.seen).filter(|(number, _)| !scan.lost.contains(number));
    let saw = seen.map(|(_, seen)| (TrackedFinding::id_of(&asset(), fingerprint(&scan.started.tool, seen)), seen)).collect();
    let progress = if is_complete(scan) { Progress::Complete } else { Progress::Unfinished };
    let line = line::Scan { order: order_of(scan), revision: String::new(), scope: scan.started.scope.clone(), progress };
    Step { scan: Some(scan), line, saw }
}

/// What a finding is by itself.
struct Own {
    tool: String,
    claim: String,
    observation: Observation,
    state: FindingState,
    is_preview: bool,
    since: Timestamp,
    first_seen: Timestamp,
    lines: Vec<Id>,
    places: Vec<HeldPlace>,
}

/// How a finding stands after the first so many steps, and the step that brought it.
fn standing_after(line: &Line<'_>, finding: Id, subject: Subject<'_>, steps: usize) -> Option<(FindingState, usize)> {
    let at = |steps: usize| {
        // A retirement has its place by rule, not by a time: the order is spelt out.
        let numbered = |(place, step): (usize, &Step<'_>)| {
            let order = ScanOrder { as_of: Timestamp::from_millis(place as i64), ..step.line.order };
            line::Scan { order, ..step.line.clone() }
        };
        let scans: Vec<line::Scan> = line.steps[..steps].iter().enumerate().map(numbered).collect();
        let saw = |id: &Id| line.steps[..steps].iter().any(|step| step.line.order.id == *id && step.saw.contains_key(&finding));
        line::standing(&scans, subject, saw)
    };
    let place = |order: ScanOrder| order.as_of.millis() as usize;
    Some(match at(steps)? {
        Standing::Closed { by } => (FindingState::Closed, place(by)),
        Standing::Unknown { since } => (FindingState::Unknown, place(since)),
        Standing::Open => {
            let last_not_open = (0..steps).rev().find(|steps| at(*steps) != Some(Standing::Open)).unwrap_or(0);
            (FindingState::Open, last_not_open)
        }
    })
}

fn own(lines: &[Line<'_>], finding: Id) -> Own {
    let known: Vec<&Line<'_>> = lines.iter().filter(|line| line.steps.iter().any(|step| step.saw.contains_key(&finding))).collect();
    let is_preview = !known.iter().any(|line| line.counts);
    let counting: Vec<&&Line<'_>> = known.iter().filter(|line| line.counts || is_preview).collect();
    // The newest change of what was observed.
    let changes = |line: &Line<'_>| {
        let mut changes: Vec<(Timestamp, Id, Observation, String)> = Vec::new();
        for step in &line.steps {
            let (Some(seen), Some(scan)) = (step.saw.get(&finding), step.scan) else { continue };
            let claim = &scan.started.service_claim;
            if changes.last().is_none_or(|(_, _, last, claimed)| last != *seen || claimed != claim) {
                changes.push((step.line.order.as_of, line.id, (*seen).clone(), claim.clone()));
            }
        }
        changes
    };
    let newest = counting.iter().filter_map(|line| changes(line).pop()).max_by_key(|(at, line, ..)| (*at, *line)).unwrap();
    let (observation, claim) = (newest.2, newest.3);
    let subject = Subject { path: &code(&observation).file, rule: &observation.rule };
    let stands: Vec<(FindingState, Timestamp)> = counting
        .iter()
        .map(|line| {
            let (state, place) = standing_after(line, finding, subject, line.steps.len()).unwrap();
            (state, line.steps[place].line.order.started)
        })
        .collect();
    let open = stands.iter().filter(|(state, _)| *state == FindingState::Open).map(|(_, since)| *since).min();
    let is_unknown = stands.iter().any(|(state, _)| *state == FindingState::Unknown);
    let latest = stands.iter().map(|(_, since)| *since).max().unwrap();
    let (state, since) = match (open, is_unknown) {
        (Some(since), _) => (FindingState::Open, since),
        (None, true) => (FindingState::Unknown, latest),
        (None, false) => (FindingState::Closed, latest),
    };
    let saw = known.iter().flat_map(|line| line.steps.iter().filter(|step| step.saw.contains_key(&finding)));
    let first_seen = saw.map(|step| step.line.order.started).min().unwrap();
    let mut places: Vec<HeldPlace> = Vec::new();
    for line in &known {
        let mut last = None;
        for (since, line_of_scans, seen, _) in changes(line) {
            let lines = (code(&seen).line, code(&seen).end_line);
            if last.replace(lines) != Some(lines) {
                places.push(HeldPlace { line_of_scans, since, line: lines.0, end_line: lines.1 });
            }
        }
    }
    places.sort_by_key(|place| (place.since, place.line_of_scans));
    places.drain(..places.len().saturating_sub(PLACES_KEPT));
    let lines = known.iter().map(|line| line.id).collect();
    Own { tool: "semgrep".into(), claim, observation, state, is_preview, since, first_seen, lines, places }
}

/// The finding that one moved from: on the first line, those that count first, that shows it.
fn moved_from(lines: &[Line<'_>], finding: Id) -> Option<Id> {
    let mut lines: Vec<&Line<'_>> = lines.iter().collect();
    lines.sort_by_key(|line| (!line.counts, line.id));
    lines.into_iter().find_map(|line| moved_on(line, finding))
}

fn moved_on(line: &Line<'_>, finding: Id) -> Option<Id> {
    let first = |finding: &Id| line.steps.iter().position(|step| step.saw.contains_key(finding));
    let place = first(&finding)?;
    let scan = &line.steps[place];
    let has_older = line.steps[..place].iter().any(|step| step.scan.is_some());
    if scan.line.progress != Progress::Complete || !has_older {
        return None;
    }
    let me = scan.saw[&finding];
    let is_alike = |seen: &Observation| {
        seen.rule == me.rule && code(seen).snippet == code(me).snippet && seen.rank == me.rank && code(seen).file != code(me).file
    };
    if code(me).snippet.is_empty() {
        return None;
    }
    let is_new = |other: &Id| *other != finding && first(other) == Some(place);
    if scan.saw.iter().any(|(other, seen)| is_new(other) && is_alike(seen)) {
        return None;
    }
    let before: BTreeMap<Id, &Observation> =
        line.steps[..place].iter().flat_map(|step| step.saw.iter().map(|(id, seen)| (*id, *seen))).collect();
    let missed = before.into_iter().filter(|(other, seen)| {
        let subject = Subject { path: &code(seen).file, rule: &seen.rule };
        let was = standing_after(line, *other, subject, place).map(|(state, _)| state);
        let is = standing_after(line, *other, subject, place + 1).map(|(state, _)| state);
        is_alike(seen) && was == Some(FindingState::Open) && is == Some(FindingState::Closed)
    });
    let missed: Vec<Id> = missed.map(|(other, _)| other).collect();
    if let [from] = missed.as_slice() { Some(*from) } else { None }
}
