//! One finding worked out from the facts: how it stands on each line, what is published of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use faultline_model::tracked::TrackedFinding;

use super::codec;
use super::desk::{keys_under, numbers_under};
use super::keys::{Table, key};
use super::line::Progress;
use super::observe::body_key;
use super::ordinals::block_of;
use super::rows::body::{Body, path_of};
use super::rows::detail::Detail;
use super::rows::finding::{FindingRow, OnLine};
use super::rows::floor::AtFloor;
use super::rows::line::{LineRow, Scan};
use super::stand::{self, Says, Stand, Standing};
use super::timeline::{Reported, Sighting};
use super::{Result, Work};

/// Which scans of a line saw a finding.
pub(super) struct Sightings {
    pub at_floor: Option<AtFloor>,
    /// By the place of the scan on its line; those that are folded or do not count are false.
    pub saw: Vec<bool>,
    /// The earliest start of any scan that saw it; `None` if it is not known on the line.
    pub first_seen: Option<Timestamp>,
}

impl Sightings {
    /// The place of the oldest scan that counts and saw it, if none that was folded did. A scan that was too old when it came
    /// speaks of first seen alone, folded or not.
    pub fn first(&self) -> Option<usize> {
        let is_older = self.at_floor.is_some_and(|at| at.stand.standing != Standing::Forgotten);
        self.saw.iter().position(|saw| *saw).filter(|_| !is_older)
    }
}

/// A finding on a line.
pub(super) struct On {
    pub number: u32,
    pub line: Arc<LineRow>,
    pub sightings: Sightings,
    pub stand: Stand,
    pub first_seen: Timestamp,
}

impl Work<'_, '_> {
    /// Works a finding out anew, and says what changed.
    pub(super) fn work_out(&mut self, ordinal: u32, with_those_alike: bool) -> Result<()> {
        let reported = self.desk.reported.remove(&ordinal).unwrap_or_default();
        let Some(before) = self.desk.detail(&self.batch.state, ordinal)? else { return Ok(()) };
        let id = TrackedFinding::id_of(&self.desk.asset, before.fingerprint);
        let row: FindingRow = codec::get(&self.batch.state, &self.finding_key(id))?.unwrap_or_default();
        let mut detail = before.clone();
        let known = self.settle_timelines(ordinal, &mut detail, &reported)?;
        if known.is_empty() {
            return self.vanish(ordinal, id, before, row);
        }
        let chosen = self.choose_body(ordinal, &mut detail, &known)?;
        let mut on = Vec::with_capacity(known.len());
        for (number, line, sightings) in known {
            if let Some(stand) = self.stand(ordinal, &line, number, &sightings, &detail, None)? {
                let first_seen = sightings.first_seen.unwrap_or(stand.since);
                on.push(On { number, line, sightings, stand, first_seen });
            }
        }
        detail.first_seen = on.iter().map(|on| on.first_seen).min().unwrap_or(before.first_seen);
        detail.links = self.links_of(ordinal, &detail, &on)?;
        self.count(&row, &on)?;
        let after = self.publish_finding((ordinal, id), &detail, chosen, &on, &row)?;
        let is_moved = row.lines != after.lines || before.path != detail.path || before.rule != detail.rule;
        self.put_finding(ordinal, id, (&before, &detail), (&row, after), reported.len())?;
        // A new finding of a scan that is still open changes nothing for those alike: its end asks for them.
        let is_new = row.lines.is_empty();
        if with_those_alike || (!is_new && (is_moved || before.alike != detail.alike)) || (is_new && super::moves::may_have_moved(&on)) {
            self.touch_alike(ordinal, before.alike)?;
            self.touch_alike(ordinal, detail.alike)?;
        }
        if before.first_seen != detail.first_seen || before.links != detail.links {
            self.touch_moved(ordinal)?;
        }
        Ok(())
    }

    pub(super) fn finding_key(&self, id: Id) -> Vec<u8> {
        key(Table::Finding, self.desk.key, &[&id.0])
    }

    /// Fits reports into the timelines; gives the lines on which the finding is known, by number.
    fn settle_timelines(
        &mut self,
        ordinal: u32,
        detail: &mut Detail,
        reported: &[Reported],
    ) -> Result<Vec<(u32, Arc<LineRow>, Sightings)>> {
        let block = block_of(ordinal);
        let lines: BTreeSet<u32> =
            detail.timelines.iter().map(|(line, _)| *line).chain(reported.iter().map(|report| report.line)).collect();
        let mut timelines = std::mem::take(&mut detail.timelines);
        let mut known = Vec::new();
        for number in lines {
            let line = self.desk.line(&self.batch.state, number)?;
            let sightings = self.sightings(number, &line, ordinal)?;
            if sightings.first_seen.is_none() {
                continue;
            }
            let place = timelines.iter().position(|(at, _)| *at == number);
            let timeline = place.map(|place| timelines.swap_remove(place).1).unwrap_or_default();
            let of_line: Vec<Reported> = reported.iter().filter(|report| report.line == number).copied().collect();
            let settled = timeline.settled(&sightings.in_order(&line), &of_line, |scan| line.place_of(scan, block));
            detail.timelines.push((number, settled));
            known.push((number, line, sightings));
        }
        Ok(known)
    }

    /// Which scans of a line saw a finding.
    pub(super) fn sightings(&mut self, number: u32, line: &LineRow, ordinal: u32) -> Result<Sightings> {
        let block = block_of(ordinal);
        let at_floor = if line.floor.is_some() || line.folding.is_some() {
            self.desk.floor(&self.batch.state, number, block)?.at(ordinal)
        } else {
            None
        };
        let mut first_seen = at_floor.map(|at| at.first_seen);
        let mut saw = Vec::with_capacity(line.scans.len());
        for scan in &line.scans {
            let is_there = scan.progress != Progress::Retracted && !line.is_folded(scan.number, block);
            let has = is_there && self.desk.saw(&self.batch.state, scan, block)?.has(ordinal);
            if has {
                first_seen = Some(first_seen.map_or(scan.order.started, |first| first.min(scan.order.started)));
            }
            saw.push(has && scan.counts());
        }
        Ok(Sightings { at_floor, saw, first_seen })
    }

    /// How a finding stands on a line, by all of its scans or by those before a place.
    pub(super) fn stand(
        &mut self,
        ordinal: u32,
        line: &LineRow,
        number: u32,
        sightings: &Sightings,
        detail: &Detail,
        before: Option<usize>,
    ) -> Result<Option<Stand>> {
        let block = block_of(ordinal);
        let mut stand = sightings.at_floor.map(|at| at.stand);
        let mut retired = self.desk.row.retired.filter(|at| !line.has_folded_retirement(*at, block));
        for (place, scan) in line.scans.iter().enumerate().filter(|(_, scan)| scan.counts() && !line.is_folded(scan.number, block)) {
            if let Some(at) = retired.filter(|at| scan.order.started > *at) {
                stand = stand::after(stand, Says::Gone, at, 0);
                retired = None;
            }
            if before == Some(place) {
                return Ok(stand);
            }
            let says = self.says(number, scan, sightings.saw[place], stand, detail)?;
            stand = stand::after(stand, says, scan.order.started, scan.number);
        }
        if let Some(at) = retired {
            stand = stand::after(stand, Says::Gone, at, 0);
        }
        // Seen by scans alone that were too old.
        let forgotten = sightings.first_seen.map(|since| Stand { standing: Standing::Forgotten, since, by: 0 });
        Ok(stand.filter(|stand| stand.standing != Standing::Forgotten).or(forgotten))
    }

    /// What a scan says of a finding that stands so before it.
    pub(super) fn says(&mut self, line: u32, scan: &Scan, saw: bool, before: Option<Stand>, detail: &Detail) -> Result<Says> {
        if saw {
            return Ok(Says::Seen);
        }
        if scan.progress != Progress::Complete || before.is_none_or(|before| !before.standing.can_close()) {
            return Ok(Says::Nothing);
        }
        let said = self.desk.said(&self.batch.state, line, scan.said)?;
        Ok(match (said.scope.holds_path(&detail.path), said.scope.ran(&detail.rule)) {
            (true, true) => Says::Gone,
            (true, false) => Says::NotRun,
            (false, _) => Says::Nothing,
        })
    }

    /// What is published is what the newest change says: of the lines that count, else of all. Gives it without its texts, where it is
    /// another than before.
    fn choose_body(&mut self, ordinal: u32, detail: &mut Detail, known: &[(u32, Arc<LineRow>, Sightings)]) -> Result<Option<Body>> {
        let newest = |counting: bool| {
            let lines = known.iter().zip(&detail.timelines).filter(|((_, line, _), _)| line.counts || !counting);
            let entries =
                lines.filter_map(|((_, line, _), (_, timeline))| timeline.newest().map(|entry| (entry.as_of, line.id, entry.body)));
            entries.max().map(|(.., body)| body)
        };
        let Some(hash) = newest(true).or_else(|| newest(false)).filter(|hash| *hash != detail.body) else { return Ok(None) };
        let body = self.body_row(ordinal, hash)?;
        detail.body = hash;
        path_of(&body.observation.locus).clone_into(&mut detail.path);
        detail.alike = super::moves::alike(&body.observation);
        detail.rule.clone_from(&body.observation.rule);
        Ok(Some(body))
    }

    /// What was observed, with its texts.
    pub(super) fn with_texts(&mut self, mut body: Body) -> Result<Body> {
        if let Some(texts) = self.desk.texts(&self.batch.state, body.texts)? {
            texts.fill(&mut body.observation);
        }
        Ok(body)
    }

    pub(super) fn body_row(&self, ordinal: u32, body: u64) -> Result<Body> {
        let at = body_key(self.desk.key, ordinal, body);
        let row = codec::get(&self.batch.state, &at)?;
        let gone = || crate::store::StoreError::corrupt("bodies", &at, "what was observed is not there any more");
        Ok(row.ok_or_else(gone)?)
    }

    /// Counts for its scan what it closed and brought back.
    fn count(&mut self, row: &FindingRow, on: &[On]) -> Result<()> {
        for on in on.iter().filter(|on| on.stand.by != 0) {
            let Some(place) = on.line.place_of(on.stand.by, u32::MAX) else { continue };
            let before = row.lines.iter().find(|before| before.line == on.number);
            let is_as_before = before.is_some_and(|before| before.by == on.stand.by && before.standing == on.stand.standing);
            if is_as_before || on.line.scans[place].has_ended {
                continue;
            }
            let came_back = on.stand.standing == Standing::Open && on.sightings.first() != Some(place);
            let progress = self.desk.progress_mut(&self.batch.state, on.number, on.stand.by)?;
            progress.counts.closed += i32::from(on.stand.standing == Standing::Closed);
            progress.counts.reopened += i32::from(came_back);
        }
        Ok(())
    }

    /// Writes what changed of a finding's rows.
    fn put_finding(
        &mut self,
        ordinal: u32,
        id: Id,
        (before, detail): (&Detail, &Detail),
        (row, after): (&FindingRow, FindingRow),
        reports: usize,
    ) -> Result<()> {
        if before.alike != detail.alike {
            self.put_alike(ordinal, before.alike, detail.alike);
        }
        if before.links != detail.links {
            self.put_links(ordinal, &before.links, &detail.links);
        }
        self.put_known(ordinal, row, &after.lines)?;
        if before != detail {
            self.put(self.desk.number(Table::Detail, &[ordinal]), detail);
        }
        // What was reported once and for the first time is the only body, and needed.
        let is_first = before.body == 0 && detail.timelines.len() == 1 && detail.timelines[0].1.0.len() == 1 && reports == 1;
        if !is_first && (reports > 0 || before.timelines != detail.timelines) {
            self.drop_bodies(ordinal, detail)?;
        }
        if *row != after {
            self.put(self.finding_key(id), &after);
        }
        Ok(())
    }

    fn put_known(&mut self, ordinal: u32, row: &FindingRow, lines: &[OnLine]) -> Result<()> {
        let block = block_of(ordinal);
        for gone in row.lines.iter().filter(|before| !lines.iter().any(|on| on.line == before.line)) {
            let known = self.desk.known(&self.batch.state, gone.line, block)?;
            known.known.remove(ordinal);
            known.closed.remove(ordinal);
            self.desk.known_changed(gone.line, block);
        }
        for on in lines {
            let known = self.desk.known(&self.batch.state, on.line, block)?;
            let is_closed = !on.standing.can_close();
            if !known.known.has(ordinal) || known.closed.has(ordinal) != is_closed {
                known.known.insert(ordinal);
                known.closed.set(ordinal, is_closed);
                self.desk.known_changed(on.line, block);
            }
        }
        Ok(())
    }

    /// Removes bodies that no scan which is kept, nor the last one before them, observed.
    fn drop_bodies(&mut self, ordinal: u32, detail: &Detail) -> Result<()> {
        let block = block_of(ordinal);
        let mut needed = BTreeSet::from([detail.body]);
        for (number, timeline) in &detail.timelines {
            let line = self.desk.line(&self.batch.state, *number)?;
            needed.extend(timeline.bodies(|scan| line.place_of(scan, block)));
        }
        self.delete_bodies(ordinal, &needed)
    }

    /// Removes the bodies of a finding, those that are needed apart.
    fn delete_bodies(&mut self, ordinal: u32, needed: &BTreeSet<u64>) -> Result<()> {
        let prefix = self.desk.number(Table::Body, &[ordinal]);
        for at in keys_under(&self.batch.state, &prefix, &prefix, usize::MAX)? {
            let hash = at.last_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            if hash.is_none_or(|hash| !needed.contains(&hash)) {
                if let Some(body) = codec::get::<Body>(&self.batch.state, &at)? {
                    self.desk.unname_texts(&self.batch.state, body.texts)?;
                }
                self.batch.state.delete(at);
            }
        }
        Ok(())
    }

    /// No scan that is left ever saw it: it goes, as if it had never been. Decisions on it stay.
    fn vanish(&mut self, ordinal: u32, id: Id, before: Detail, row: FindingRow) -> Result<()> {
        self.withdraw_finding(id, &row)?;
        self.put_known(ordinal, &row, &[])?;
        self.put_alike(ordinal, before.alike, 0);
        self.put_links(ordinal, &before.links, &[]);
        self.delete_bodies(ordinal, &BTreeSet::new())?;
        let detail_key = self.desk.number(Table::Detail, &[ordinal]);
        if before.has_decisions {
            let detail = Detail { has_decisions: true, ..Detail::new(before.fingerprint) };
            self.put(detail_key, &detail);
            self.put(self.finding_key(id), &FindingRow { ordinal, ..FindingRow::default() });
        } else {
            self.batch.state.delete(detail_key);
            self.batch.state.delete(self.finding_key(id));
        }
        self.touch_alike(ordinal, before.alike)?;
        self.touch_moved(ordinal)
    }

    /// Notes the findings that moved from one, near and far, since what they inherit may have changed.
    pub(super) fn touch_moved(&mut self, ordinal: u32) -> Result<()> {
        if self.desk.nothing_moved_from(ordinal) {
            return Ok(());
        }
        let (mut reached, mut left) = (BTreeSet::from([ordinal]), vec![ordinal]);
        while let Some(from) = left.pop() {
            for to in numbers_under(&self.batch.state, &self.desk.number(Table::Moved, &[from]), 4, usize::MAX)? {
                if reached.insert(to) {
                    self.desk.touch(to, false);
                    left.push(to);
                }
            }
        }
        Ok(())
    }
}

impl LineRow {
    /// The place of a scan in the line's order; `None` if it is not kept, or folded in a block.
    pub(super) fn place_of(&self, scan: u32, block: u32) -> Option<usize> {
        let place = self.scans.iter().position(|kept| kept.number == scan)?;
        (!self.scans[place].is_too_old && !self.is_folded(scan, block)).then_some(place)
    }

    /// Whether a retirement is part of the floor in a block.
    fn has_folded_retirement(&self, at: Timestamp, block: u32) -> bool {
        let folding = self.folding.filter(|folding| block < folding.next).and_then(|folding| folding.retired);
        self.floor_retired.max(folding).is_some_and(|folded| folded >= at)
    }
}

impl Sightings {
    fn in_order(&self, line: &LineRow) -> Vec<Sighting> {
        let seen = line.scans.iter().enumerate().zip(&self.saw).filter(|(_, saw)| **saw);
        seen.map(|((at, scan), _)| Sighting { scan: scan.number, at, as_of: scan.order.as_of }).collect()
    }
}
