//! Records of `decisions`: what people say of findings, scans and the asset. Each is accepted or refused once.

use std::collections::BTreeSet;

use faultline_model::audit::Act;
use faultline_model::decision::{
    Assignment, Decided, Decision, FindingAssignment, FindingSeverity, FindingVerdict, LinkWord, Outcome, OutcomeStatus, Word,
};
use faultline_model::id::Id;
use faultline_model::topic;
use faultline_model::tracked::{GivenAssignment, GivenVerdict, GivenWord};

use super::codec::{self, NEWEST};
use super::keys::Table;
use super::line::Progress;
use super::rows::asset::{Asked, Decisions, SaidSeverity};
use super::rows::detail::Detail;
use super::rows::finding::FindingRow;
use super::rows::job::{Alarm, Cause};
use super::rows::line::ScanAt;
use super::{Result, StageError, Work, later};

/// The most links of one finding that words are kept of.
const WORDS: usize = 64;

/// Why a decision was not accepted, in words with what to do.
type Judged = std::result::Result<(), String>;

impl Work<'_, '_> {
    /// One decision. The same key again has no second effect; its outcome is said again.
    pub(super) fn decide(&mut self, decision: Decision) -> Result<()> {
        if decision.asset != self.desk.asset {
            return Err(StageError::poison(format!("a decision on {} lies under the key {}", decision.asset, self.desk.asset)));
        }
        if !self.desk.is_known() {
            // Nothing is kept for an asset that was never scanned: whoever asks again is refused again.
            let refused = Asked { status: OutcomeStatus::Refused, reason: unknown_asset(&decision), at: decision.at };
            self.tell(&decision, &refused)?;
            return self.say(&decision.key, refused);
        }
        let at = self.asked_key(&decision.key);
        if let Some(asked) = codec::get::<Asked>(&self.batch.state, &at)? {
            return self.say(&decision.key, asked);
        }
        let judged = match &decision.what {
            Decided::Verdict(verdict) => self.judge_verdict(&decision, verdict)?,
            Decided::Assignment(assignment) => self.judge_assignment(&decision, assignment)?,
            Decided::Severity(severity) => self.judge_severity(&decision, severity)?,
            Decided::Link(word) => self.judge_word(&decision, word)?,
            Decided::RetractScan(retract) => self.retract(retract.scan)?,
            Decided::RetireAsset => self.retire(&decision)?,
        };
        let (status, reason) = judged.map_or_else(|reason| (OutcomeStatus::Refused, reason), |()| (OutcomeStatus::Done, String::new()));
        let asked = Asked { status, reason, at: decision.at };
        self.tell(&decision, &asked)?;
        self.put(at, &asked);
        self.set_alarm(later(self.batch.now, self.track.asked_kept_ms), &Alarm::Forget { key: decision.key.clone() });
        self.say(&decision.key, asked)
    }

    /// Tells what became of a decision to who keeps account of it.
    fn tell(&mut self, decision: &Decision, asked: &Asked) -> Result<()> {
        let Decision { key, asset, actor, reason, at, what } = decision.clone();
        let what = serde_json::to_string(&what).map_err(|error| StageError::poison(format!("a decision that is no JSON: {error}")))?;
        let (status, because, subject) = (asked.status, asked.reason.clone(), asset.to_string());
        self.batch.emit(topic::JUDGED, subject.clone(), Act { actor, at, subject, what, reason, key, status, because })
    }

    fn say(&mut self, key: &str, asked: Asked) -> Result<()> {
        let Asked { status, reason, at } = asked;
        let outcome = Outcome { id: key.to_owned(), status, reason, asset: Some(self.desk.asset.clone()), at, counts: None, subject: None };
        self.batch.emit(topic::OUTCOMES, key.to_owned(), outcome)
    }

    fn judge_verdict(&mut self, decision: &Decision, given: &FindingVerdict) -> Result<Judged> {
        self.judge(given.finding, given.expected_version, |decisions| {
            decisions.verdict = Some(GivenVerdict {
                verdict: given.verdict,
                actor: decision.actor.clone(),
                reason: decision.reason.clone(),
                at: decision.at,
            });
            Ok(())
        })
    }

    fn judge_assignment(&mut self, decision: &Decision, given: &FindingAssignment) -> Result<Judged> {
        self.judge(given.finding, given.expected_version, |decisions| {
            decisions.assignment = Some(GivenAssignment {
                assignment: Assignment { to: given.to.clone() },
                actor: decision.actor.clone(),
                reason: decision.reason.clone(),
                at: decision.at,
            });
            Ok(())
        })
    }

    fn judge_severity(&mut self, decision: &Decision, given: &FindingSeverity) -> Result<Judged> {
        if let Err(why) = self.can_keep() {
            return Ok(Err(why));
        }
        self.judge(given.finding, given.expected_version, |decisions| {
            let Decision { actor, reason, at, .. } = decision.clone();
            decisions.severity = Some(SaidSeverity { severity: given.severity, actor, reason, at });
            Ok(())
        })
    }

    fn judge_word(&mut self, decision: &Decision, given: &LinkWord) -> Result<Judged> {
        if let Err(why) = self.can_keep() {
            return Ok(Err(why));
        }
        if given.finding == given.to {
            return Ok(Err(format!("finding {} has no link with itself", given.to)));
        }
        self.judge(given.finding, given.expected_version, |decisions| {
            decisions.words.retain(|known| known.to != given.to);
            if given.word != Word::Withdrawn && decisions.words.len() >= WORDS {
                return Err(format!("finding {} has words on {WORDS} links, the most that are kept: take some back", given.finding));
            }
            if given.word != Word::Withdrawn {
                let Decision { actor, reason, at, .. } = decision.clone();
                decisions.words.push(GivenWord { to: given.to, word: given.word, actor, reason, at });
                decisions.words.sort_unstable_by_key(|known| known.to);
            }
            Ok(())
        })
    }

    /// Whether rows of this state may hold what an older program does not know.
    fn can_keep(&self) -> Judged {
        let needed = u16::from(NEWEST);
        if self.batch.format >= needed {
            return Ok(());
        }
        Err(format!("an older version may still take over: once all processes run this one, finalise it with state.format.track: {needed}"))
    }

    /// Accepts a decision on a finding that is known, if nobody decided in between and nothing else is against it.
    fn judge(&mut self, finding: Id, expected: Option<i32>, change: impl FnOnce(&mut Decisions) -> Judged) -> Result<Judged> {
        let row: Option<FindingRow> = codec::get(&self.batch.state, &self.finding_key(finding))?;
        let known = row.map(|row| self.known_now(row.ordinal)).transpose()?.flatten();
        let Some((ordinal, mut detail)) = known else {
            return Ok(Err(format!("finding {finding} is not known on {}", self.desk.asset)));
        };
        let mut decisions = self.decisions(ordinal, &detail)?;
        if let Some(expected) = expected.filter(|expected| i64::from(*expected) != i64::from(decisions.version)) {
            let now = decisions.version;
            return Ok(Err(format!("expected {expected} decisions on finding {finding}, there are {now}: look at it again, then decide")));
        }
        if let Err(why) = change(&mut decisions) {
            return Ok(Err(why));
        }
        decisions.version += 1;
        self.put(self.desk.number(Table::Decided, &[ordinal]), &decisions);
        if !detail.has_decisions {
            detail.has_decisions = true;
            self.put(self.desk.number(Table::Detail, &[ordinal]), &detail);
        }
        self.desk.touch(ordinal, false);
        self.touch_moved(ordinal)?;
        Ok(Ok(()))
    }

    /// A finding that some scan saw which was not taken back, by the facts as they are now: what is still to be worked out does not
    /// matter.
    fn known_now(&mut self, ordinal: u32) -> Result<Option<(u32, Detail)>> {
        let Some(detail) = self.desk.detail(&self.batch.state, ordinal)? else { return Ok(None) };
        let reported = self.desk.reported.get(&ordinal);
        let lines = detail.timelines.iter().map(|(line, _)| *line).chain(reported.into_iter().flatten().map(|report| report.line));
        for number in lines.collect::<BTreeSet<_>>() {
            let line = self.desk.line(&self.batch.state, number)?;
            if self.sightings(number, &line, ordinal)?.first_seen.is_some() {
                return Ok(Some((ordinal, detail)));
            }
        }
        Ok(None)
    }

    /// Takes a scan back, as if it had never been.
    fn retract(&mut self, scan: Id) -> Result<Judged> {
        // The same words whether it is forgotten already or about to be.
        let not_kept =
            format!("scan {scan} is not among those that {} keeps (the newest of each line): it cannot be taken back", self.desk.asset);
        let Some(ScanAt::Kept { line, scan: number }) = self.desk.scan_at(&self.batch.state, scan)? else { return Ok(Err(not_kept)) };
        let row = self.desk.line(&self.batch.state, line)?;
        let kept = row.scan(number).filter(|kept| !kept.is_too_old && !kept.is_leaving);
        match kept.map(|kept| kept.progress) {
            None => Ok(Err(not_kept)),
            // When it is forgotten is not to show, only that it will be.
            Some(Progress::Retracted) if kept.is_some_and(|kept| Some(kept.order) < row.lets_go_below()) => Ok(Err(not_kept)),
            Some(Progress::Retracted) => Ok(Ok(())),
            Some(_) => {
                self.desk.open.remove(&scan);
                if let Some(kept) = self.desk.line_mut(&self.batch.state, line)?.scan_mut(number) {
                    kept.progress = Progress::Retracted;
                }
                self.add_job(Cause::Retracted { line, scan: number })?;
                self.line_changed(line)?;
                Ok(Ok(()))
            }
        }
    }

    /// Closes what only scans saw that began before; a newer scan finds the asset again.
    ///
    /// Among scans that are no longer kept one by one it cannot be fitted in; which those are was settled when newer ones came.
    fn retire(&mut self, decision: &Decision) -> Result<Judged> {
        for line in self.desk.all_lines() {
            let row = self.desk.line(&self.batch.state, line)?;
            let leaving = row.scans.iter().filter(|scan| scan.is_leaving || scan.is_too_old).map(|scan| scan.order.started);
            let latest = leaving.chain(row.floor.map(|_| row.floor_started)).max();
            if let Some(latest) = latest.filter(|latest| *latest > decision.at) {
                return Ok(Err(format!(
                    "a scan by {} that began at {latest} is no longer kept by itself: retire {} as of then or later",
                    row.tool, self.desk.asset
                )));
            }
        }
        if self.desk.row.retired.is_none_or(|at| at < decision.at) {
            self.desk.row.retired = Some(decision.at);
            self.add_job(Cause::Asset)?;
            for line in self.desk.all_lines() {
                self.desk.routes_dirty.insert(line);
            }
        }
        Ok(Ok(()))
    }
}

fn unknown_asset(decision: &Decision) -> String {
    match decision.what {
        Decided::RetireAsset => format!("{} is not known: nothing was ever published for it", decision.asset),
        _ => format!("{} is not known: publish a report for it first", decision.asset),
    }
}
