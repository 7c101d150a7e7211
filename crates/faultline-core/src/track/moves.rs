//! Files that moved: a complete scan misses a finding that was open and brings a new one with the same rule and snippet in
//! another file, one to one.
//!
//! A move is a fact of one scan of one line and of those before it that count, so it is worked out anew whenever one of these
//! changes. None can once the scan is on its way into the floor: from there on the move stays.

use std::collections::BTreeSet;

use faultline_model::decision::Verdict;
use faultline_model::locus::Locus;
use faultline_model::observation::Observation;
use faultline_model::time::Timestamp;
use faultline_model::tracked::{GivenAssignment, GivenVerdict, GivenWord};

use super::codec::{self, Writer};
use super::desk::numbers_under;
use super::keys::{Table, key};
use super::line::Progress;
use super::observe::hash_of;
use super::rows::asset::{Decisions, SaidSeverity};
use super::rows::detail::{Detail, Link};
use super::rows::line::{LineRow, Scan};
use super::stand::{Says, Standing};
use super::work_out::On;
use super::{Result, Work};

/// The most findings with one rule and snippet among which moves are looked for.
const ALIKE: usize = 64;
/// The most moves that are followed back.
const MOVES: usize = 32;

/// What findings of one rule, snippet and rank have in common; 0 where there is no snippet.
pub(super) fn alike(seen: &Observation) -> u64 {
    let Locus::Code(code) = &seen.locus else { return 0 };
    if code.snippet.is_empty() {
        return 0;
    }
    let mut out = Writer::default();
    out.text(&seen.rule);
    out.text(&code.snippet);
    out.int(seen.rank.into());
    hash_of(&out.0)
}

/// What a finding has by itself or from the one that it moved from.
#[derive(Default)]
pub(super) struct Inherited {
    pub first_seen: Timestamp,
    pub verdict: Option<GivenVerdict>,
    pub assignment: Option<GivenAssignment>,
    pub severity: Option<SaidSeverity>,
    /// By the finding that they lead to; its own alone, as what is at a route does not move.
    pub words: Vec<GivenWord>,
    pub version: u32,
}

impl Work<'_, '_> {
    /// The findings that one moved from, by the lines that show it: those that count first.
    ///
    /// Each line is asked, not only the first: a link whose scan was folded stays, and must be the same whenever that was.
    pub(super) fn links_of(&mut self, ordinal: u32, detail: &Detail, on: &[On]) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for on in on {
            let before = detail.links.iter().find(|link| link.line == on.number).copied();
            let link = if before.is_some_and(|link| on.line.is_settled(link.scan)) {
                before
            } else if detail.alike == 0 {
                None
            } else {
                self.link_on(ordinal, detail, on, before)?
            };
            links.extend(link.map(|link| ((!on.line.counts, on.line.id), link)));
        }
        links.sort_by_key(|(place, _)| *place);
        Ok(links.into_iter().map(|(_, link)| link).collect())
    }

    /// The finding of a line that one moved from there: missed by the complete scan that first saw this one.
    fn link_on(&mut self, ordinal: u32, detail: &Detail, on: &On, before: Option<Link>) -> Result<Option<Link>> {
        let Some(place) = on.sightings.first() else { return Ok(None) };
        if !brings_new(&on.line, place) {
            return Ok(None);
        }
        if on.line.is_settled(on.line.scans[place].number) {
            // Some blocks of it are folded and some are not: what it was worked out to be before stays.
            return Ok(before);
        }
        let prefix = alike_key(self, detail.alike);
        // One more than may be, so that too many are seen.
        let group = numbers_under(&self.batch.state, &prefix, 8, ALIKE + 1)?;
        if group.len() > ALIKE {
            return Ok(None);
        }
        let mut missed = Vec::new();
        for other in group.into_iter().filter(|other| *other != ordinal) {
            match self.fate(other, detail, on.number, &on.line, place)? {
                Fate::New => return Ok(None),
                Fate::Missed => missed.push(other),
                Fate::Neither => {}
            }
        }
        let [from] = missed.as_slice() else { return Ok(None) };
        Ok(Some(Link { from: *from, line: on.number, scan: on.line.scans[place].number }))
    }

    /// What a scan did to another finding with the same rule and snippet.
    fn fate(&mut self, other: u32, detail: &Detail, number: u32, line: &LineRow, place: usize) -> Result<Fate> {
        let Some(candidate) = self.desk.detail(&self.batch.state, other)? else { return Ok(Fate::Neither) };
        if candidate.path == detail.path {
            return Ok(Fate::Neither);
        }
        let sightings = self.sightings(number, line, other)?;
        if sightings.saw[place] {
            return Ok(if sightings.first() == Some(place) { Fate::New } else { Fate::Neither });
        }
        let before = self.stand(other, line, number, &sightings, &candidate, Some(place))?;
        if before.is_none_or(|before| before.standing != Standing::Open) {
            return Ok(Fate::Neither);
        }
        let says = self.says(number, &line.scans[place], false, before, &candidate)?;
        Ok(if says == Says::Gone { Fate::Missed } else { Fate::Neither })
    }

    /// Notes the findings with the same rule and snippet; too many of them make no move.
    pub(super) fn touch_alike(&mut self, ordinal: u32, alike: u64) -> Result<()> {
        if alike == 0 {
            return Ok(());
        }
        let group = numbers_under(&self.batch.state, &alike_key(self, alike), 8, ALIKE + 2)?;
        if group.len() > ALIKE + 1 {
            // Too many before this change and after it.
            return Ok(());
        }
        for other in group.into_iter().filter(|other| *other != ordinal) {
            self.desk.touch(other, false);
        }
        Ok(())
    }

    pub(super) fn put_alike(&mut self, ordinal: u32, before: u64, after: u64) {
        let row = |work: &Self, alike: u64| key(Table::Alike, work.desk.key, &[&alike.to_be_bytes(), &ordinal.to_be_bytes()]);
        if before != 0 {
            self.batch.state.delete(row(self, before));
        }
        if after != 0 {
            self.batch.state.put(row(self, after), []);
        }
    }

    pub(super) fn put_links(&mut self, ordinal: u32, before: &[Link], after: &[Link]) {
        for link in before {
            self.batch.state.delete(self.desk.number(Table::Moved, &[link.from, ordinal]));
        }
        self.desk.has_put_links |= !after.is_empty();
        for link in after {
            self.batch.state.put(self.desk.number(Table::Moved, &[link.from, ordinal]), []);
        }
    }

    /// What a finding has by itself, else from those that it moved from. First seen is the earliest of all.
    pub(super) fn inherited(&self, ordinal: u32, detail: &Detail) -> Result<Inherited> {
        let Decisions { version, verdict, assignment, severity, words } = self.decisions(ordinal, detail)?;
        let mut all = Inherited { first_seen: detail.first_seen, verdict, assignment, severity, words, version };
        let mut followed = BTreeSet::from([ordinal]);
        let mut link = detail.moved_from();
        while let Some(from) = link.filter(|from| followed.len() <= MOVES && followed.insert(*from)) {
            let Some(older) = self.desk.detail(&self.batch.state, from)? else { break };
            let decisions = self.decisions(from, &older)?;
            all.first_seen = all.first_seen.min(older.first_seen);
            all.verdict = all.verdict.or(decisions.verdict);
            all.assignment = all.assignment.or(decisions.assignment);
            all.severity = all.severity.or(decisions.severity);
            link = older.moved_from();
        }
        all.verdict = all.verdict.filter(|given| given.verdict != Verdict::Withdrawn);
        Ok(all)
    }

    pub(super) fn decisions(&self, ordinal: u32, detail: &Detail) -> Result<Decisions> {
        if !detail.has_decisions {
            return Ok(Decisions::default());
        }
        Ok(codec::get(&self.batch.state, &self.desk.number(Table::Decided, &[ordinal]))?.unwrap_or_default())
    }
}

enum Fate {
    /// It was open before the scan, which closed it.
    Missed,
    /// The scan was the first to see it.
    New,
    Neither,
}

/// Whether what a scan is the first to see may have moved: it is complete, and the line knows of something before it.
fn brings_new(line: &LineRow, place: usize) -> bool {
    line.scans[place].progress == Progress::Complete && (line.floor.is_some() || line.scans[..place].iter().any(Scan::counts))
}

/// Whether a complete scan may already have brought or missed a finding that is new here: then those alike, which were worked out
/// without it, are to be looked at again.
pub(super) fn may_have_moved(on: &[On]) -> bool {
    let is_complete = |scan: &Scan| scan.counts() && scan.progress == Progress::Complete;
    // One scan alone shows no move.
    let has_others = |line: &LineRow| line.floor.is_some() || line.scans.iter().filter(|scan| scan.counts()).nth(1).is_some();
    let may = |on: &On| on.sightings.first().is_some_and(|place| on.line.scans[place..].iter().any(is_complete));
    on.iter().any(|on| has_others(&on.line) && may(on))
}

fn alike_key(work: &Work<'_, '_>, alike: u64) -> Vec<u8> {
    key(Table::Alike, work.desk.key, &[&alike.to_be_bytes()])
}
