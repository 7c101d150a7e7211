//! What goes to `tracked`: one record for each service that a fact concerns, and where it went where it no longer does.

use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_model::tracked::{self, CompleteScan, FactKind, FindingState, HeldPlace, PLACES_KEPT, TrackedFinding, TrackedLine};
use faultline_model::tracked::{TrackedRecord, Went};

use super::codec::{self, Writer};
use super::keys::{Table, key};
use super::line::Progress;
use super::moves::Inherited;
use super::observe::hash_of;
use super::rows::asset::SaidSeverity;
use super::rows::body::Body;
use super::rows::detail::Detail;
use super::rows::finding::{FindingRow, OnLine};
use super::rows::job::Alarm;
use super::rows::line::{LineRow, PublishedFor, Scan};
use super::stand::Standing;
use super::work_out::On;
use super::{Result, Work, later};

/// What lines of scans together say of a finding.
struct Summary {
    state: FindingState,
    is_preview: bool,
    state_since: Timestamp,
    lines: Vec<Id>,
    places: Vec<HeldPlace>,
}

impl Work<'_, '_> {
    /// Publishes a finding where the catalog says, if anything that is published of it changed; gives its new row. Its body may have been
    /// read just now.
    pub(super) fn publish_finding(
        &mut self,
        (ordinal, id): (u32, Id),
        detail: &Detail,
        body: Option<Body>,
        on: &[On],
        row: &FindingRow,
    ) -> Result<FindingRow> {
        let summary = summary(detail, on);
        let inherited = self.inherited(ordinal, detail)?;
        let moved_from = self.moved_from(detail)?;
        let owners = self.owners(&detail.path)?;
        let services = self.services(&detail.path)?;
        let digest = digest(detail.body, &summary, &inherited, moved_from, &owners);
        let set = self.set_of(&services)?;
        if digest != row.digest || set != row.services {
            let body = match body {
                Some(body) => body,
                None => self.body_row(ordinal, detail.body)?,
            };
            let body = self.with_texts(body)?;
            let finding = TrackedFinding {
                finding: id,
                fingerprint: detail.fingerprint,
                asset: self.desk.asset.clone(),
                service: String::new(),
                is_owner: false,
                tool: on.first().map(|on| on.line.tool.clone()).unwrap_or_default(),
                kind: body.kind,
                observation: body.observation,
                state: summary.state,
                is_preview: summary.is_preview,
                first_seen: inherited.first_seen,
                state_since: summary.state_since,
                lines: summary.lines,
                places: summary.places,
                moved_from,
                verdict: inherited.verdict,
                assignment: inherited.assignment,
                severity: inherited.severity.and_then(SaidSeverity::given),
                words: inherited.words,
                version: inherited.version as i32,
                service_claim: body.service_claim,
                owners,
            };
            let before = self.set(row.services)?;
            let mut finding = Some(finding);
            self.publish(FactKind::Finding, id, &before, &services, |service, place| {
                // Nearly always there is one service.
                let finding = if place + 1 == services.len() { finding.take() } else { finding.clone() };
                let finding = finding.expect("it is taken for the last service alone");
                TrackedRecord::Finding(TrackedFinding { service: service.to_owned(), is_owner: place == 0, ..finding })
            })?;
        }
        let lines = on.iter().zip(&detail.timelines).map(|(on, (_, timeline))| OnLine {
            line: on.number,
            standing: on.stand.standing,
            by: on.stand.by,
            body: timeline.newest().map_or(0, |entry| entry.body),
        });
        Ok(FindingRow { ordinal, digest, services: set, lines: lines.collect() })
    }

    /// Takes a finding back from where it was published.
    pub(super) fn withdraw_finding(&mut self, id: Id, row: &FindingRow) -> Result<()> {
        let before = self.set(row.services)?;
        self.publish(FactKind::Finding, id, &before, &[], |_, _| TrackedRecord::Went(Went { to: Vec::new() }))
    }

    fn moved_from(&self, detail: &Detail) -> Result<Option<Id>> {
        let Some(from) = detail.moved_from() else { return Ok(None) };
        let from = self.desk.detail(&self.batch.state, from)?;
        Ok(from.map(|from| TrackedFinding::id_of(&self.desk.asset, from.fingerprint)))
    }

    /// Publishes a fact for its services, by their place, the owner first, and says to those that had it before where it went.
    ///
    /// A fact that is nowhere any more goes at once; where it went elsewhere, the record that says so follows after a while.
    pub(super) fn publish(
        &mut self,
        kind: FactKind,
        id: Id,
        before: &[String],
        services: &[String],
        mut record: impl FnMut(&str, usize) -> TrackedRecord,
    ) -> Result<()> {
        for (place, service) in services.iter().enumerate() {
            let at = tracked::key(service, kind, id);
            if self.desk.row.went_until.is_some() && !before.contains(service) {
                self.batch.state.delete(self.went_key(&at));
            }
            self.batch.emit(topic::TRACKED, at, record(service, place))?;
        }
        for service in before.iter().filter(|service| !services.contains(service)) {
            let at = tracked::key(service, kind, id);
            if services.is_empty() {
                self.batch.emit_gone(topic::TRACKED, at);
                continue;
            }
            let due = later(self.batch.now, self.track.went_kept_ms);
            self.batch.state.put(self.went_key(&at), due.millis().to_be_bytes());
            self.desk.row.went_until = self.desk.row.went_until.max(Some(due));
            self.set_alarm(due, &Alarm::Tombstone { key: at.clone() });
            self.batch.emit(topic::TRACKED, at, TrackedRecord::Went(Went { to: services.to_vec() }))?;
        }
        Ok(())
    }

    pub(super) fn went_key(&self, tracked_key: &str) -> Vec<u8> {
        key(Table::Went, self.desk.key, &[&Id::of("went", &[tracked_key.as_bytes()]).0])
    }

    /// Publishes a line of scans for every service of the asset, if anything changed.
    pub(super) fn publish_line(&mut self, line: u32) -> Result<()> {
        let row = self.desk.line(&self.batch.state, line)?;
        let services = if row.is_there() { self.all_services()? } else { Vec::new() };
        let record = tracked_line(&row, self.desk.asset.clone());
        let at = self.desk.number(Table::LinePublished, &[line]);
        let before = match self.desk.published.get(&line) {
            Some(published) => *published,
            None => {
                let stored = self.desk.line_before(&self.batch.state, line)?.filter(|row| row.is_there());
                let digest = stored.map_or(0, |row| digest_of_line(&tracked_line(&row, self.desk.asset.clone())));
                let PublishedFor(services) = codec::get(&self.batch.state, &at)?.unwrap_or_default();
                (digest, services)
            }
        };
        let after = (if row.is_there() { digest_of_line(&record) } else { 0 }, self.set_of(&services)?);
        if after == before {
            return Ok(());
        }
        let services_before = self.set(before.1)?;
        self.publish(FactKind::Line, row.id, &services_before, &services, |service, _| {
            TrackedRecord::Line(TrackedLine { service: service.to_owned(), ..record.clone() })
        })?;
        self.desk.published.insert(line, after);
        if after.1 != before.1 {
            self.put(at, &PublishedFor(after.1));
        }
        Ok(())
    }

    // Sets of services.

    fn sets(&mut self) -> Result<()> {
        if self.desk.sets.is_none() {
            let at = key(Table::Services, self.desk.key, &[]);
            let mut sets: super::rows::asset::ServiceSets = codec::get(&self.batch.state, &at)?.unwrap_or_default();
            if sets.0.is_empty() {
                // The first is the empty one: a row that names it is published nowhere.
                sets.0.push(Vec::new());
            }
            let places = sets.0.iter().cloned().zip(0..).collect();
            self.desk.sets = Some((sets, places));
        }
        Ok(())
    }

    /// The number of a set of services.
    pub(super) fn set_of(&mut self, services: &[String]) -> Result<u32> {
        self.sets()?;
        let (sets, places) = self.desk.sets.as_mut().expect("they were read just now");
        if let Some(place) = places.get(services) {
            return Ok(*place);
        }
        let place = sets.0.len() as u32;
        sets.0.push(services.to_vec());
        places.insert(services.to_vec(), place);
        self.desk.sets_changed = true;
        Ok(place)
    }

    /// The set of services of a number.
    pub(super) fn set(&mut self, number: u32) -> Result<Vec<String>> {
        self.sets()?;
        let sets = self.desk.sets.as_ref().map(|(sets, _)| sets);
        Ok(sets.and_then(|sets| sets.0.get(number as usize)).cloned().unwrap_or_default())
    }
}

/// What the lines say together: those that count, or all where none does.
fn summary(detail: &Detail, on: &[On]) -> Summary {
    let is_preview = !on.iter().any(|on| on.line.counts);
    let counting = || on.iter().filter(|on| on.line.counts || is_preview);
    let since = |standing: Standing| counting().filter(move |on| on.stand.standing == standing).map(|on| on.stand.since);
    let latest = counting().map(|on| on.stand.since).max().unwrap_or_default();
    let (state, state_since) = match (since(Standing::Open).min(), since(Standing::Unknown).next()) {
        (Some(since), _) => (FindingState::Open, since),
        (None, Some(_)) => (FindingState::Unknown, latest),
        (None, None) => (FindingState::Closed, latest),
    };
    let mut lines: Vec<Id> = on.iter().map(|on| on.line.id).collect();
    lines.sort_unstable();
    let held = |(on, (_, timeline)): (&On, &(u32, super::timeline::Timeline))| {
        let line_of_scans = on.line.id;
        let place = move |entry: &super::timeline::Entry| HeldPlace {
            line_of_scans,
            since: entry.as_of,
            line: entry.lines.0,
            end_line: entry.lines.1,
        };
        timeline.places().map(place).collect::<Vec<_>>()
    };
    let mut places: Vec<HeldPlace> = on.iter().zip(&detail.timelines).flat_map(held).collect();
    // Stable: two changes of one line at one time stay in their order.
    places.sort_by_key(|place| (place.since, place.line_of_scans));
    places.drain(..places.len().saturating_sub(PLACES_KEPT));
    Summary { state, is_preview, state_since, lines, places }
}

/// A digest of exactly what is published of a finding, its services apart.
fn digest(body: u64, summary: &Summary, inherited: &Inherited, moved_from: Option<Id>, owners: &[String]) -> u64 {
    let mut out = Writer::default();
    out.hash(body);
    out.byte(summary.state as u8);
    out.flag(summary.is_preview);
    out.time(summary.state_since);
    out.list(&summary.lines, |out, line| out.id(*line));
    out.list(&summary.places, |out, place| {
        out.id(place.line_of_scans);
        out.time(place.since);
        out.int(place.line.into());
        out.int(place.end_line.into());
    });
    out.time(inherited.first_seen);
    out.option(inherited.verdict.as_ref(), |out, given| {
        out.text(given.verdict.name());
        for text in [&given.actor, &given.reason] {
            out.text(text);
        }
        out.time(given.at);
    });
    out.option(inherited.assignment.as_ref(), |out, given| {
        for text in [&given.assignment.to, &given.actor, &given.reason] {
            out.text(text);
        }
        out.time(given.at);
    });
    // Nothing where nobody said so: the digests of before stay.
    if let Some((given, severity)) = inherited.severity.as_ref().and_then(|said| Some((said, said.severity?))) {
        out.byte(1);
        out.text(severity.name());
        for text in [&given.actor, &given.reason] {
            out.text(text);
        }
        out.time(given.at);
    }
    for given in &inherited.words {
        out.byte(2);
        out.id(given.to);
        for text in [given.word.name(), &given.actor, &given.reason] {
            out.text(text);
        }
        out.time(given.at);
    }
    out.uint(inherited.version.into());
    out.option(moved_from.as_ref(), |out, id| out.id(*id));
    out.texts(owners);
    hash_of(&out.0)
}

fn tracked_line(row: &LineRow, asset: faultline_model::asset::AssetId) -> TrackedLine {
    let complete = row.scans.iter().filter(|scan| scan.stays() && scan.progress == Progress::Complete);
    TrackedLine {
        line: row.id,
        asset,
        service: String::new(),
        tool: row.tool.clone(),
        kind: row.newest().map_or(faultline_model::observation::ScanKind::Other, |(kind, _)| kind),
        branch: row.branch.clone(),
        environment: row.environment.clone(),
        counts: row.counts,
        complete: complete.map(complete_scan).collect(),
    }
}

fn complete_scan(scan: &Scan) -> CompleteScan {
    CompleteScan {
        scan: scan.order.id,
        revision: scan.revision.clone(),
        as_of: scan.order.as_of,
        started: scan.order.started,
        is_full: scan.is_full,
        observations: scan.observations as i32,
    }
}

fn digest_of_line(line: &TrackedLine) -> u64 {
    let mut out = Writer::default();
    super::rows::line::write_kind(&mut out, line.kind);
    out.flag(line.counts);
    out.list(&line.complete, |out, scan| {
        out.id(scan.scan);
        out.text(&scan.revision);
        out.time(scan.as_of);
        out.time(scan.started);
        out.flag(scan.is_full);
        out.int(scan.observations.into());
    });
    hash_of(&out.0)
}
