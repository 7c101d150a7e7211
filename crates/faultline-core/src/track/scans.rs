//! The life of a scan: its start, its end, and what becomes of it.

use faultline_model::decision::{Outcome, OutcomeStatus, ScanCounts};
use faultline_model::id::Id;
use faultline_model::scan::{ScanCompleted, ScanStarted};
use faultline_model::time::Timestamp;
use faultline_model::topic;
use faultline_model::tracked::TrackedLine;

use super::codec::Row;
use super::desk::delete_all;
use super::keys::{Table, key};
use super::line::{Progress, ScanOrder};
use super::observe::hash_of;
use super::rows::asset::AssetRow;
use super::rows::job::{Alarm, Cause};
use super::rows::line::{LineRow, Said, Scan, ScanAt, ScanProgress};
use super::{Result, StageError, Work, later};
use crate::store::Store;

/// The most lines of scans that an asset may have.
const LINES: u32 = 10_000;

impl Work<'_, '_> {
    /// The start of a scan. One that is known already changes nothing.
    pub(super) fn start(&mut self, started: ScanStarted, time: Timestamp) -> Result<()> {
        if let Some(ScanAt::Kept { .. }) = self.desk.scan_at(&self.batch.state, started.scan)? {
            return Ok(());
        }
        let order = order_of(&started);
        self.know_asset()?;
        let latest = later(time, self.track.future_ms);
        let dated = order.as_of.max(order.started);
        if dated > latest {
            let reason =
                format!("it is dated {dated}, after its own record ({time}): set the clock of the machine that scans, or its --started");
            return self.refuse(&started, reason);
        }
        let Some(line) = self.line_for(&started)? else {
            return self
                .refuse(&started, format!("the asset has {LINES} lines of scans (tool, branch, environment), the most it may have"));
        };
        self.add_scan(line, order, started)
    }

    /// Makes the asset known, and notes what it looks at.
    fn know_asset(&mut self) -> Result<()> {
        if self.desk.is_known() {
            return Ok(());
        }
        self.desk.row = AssetRow { name: self.desk.asset.as_str().to_owned(), ..AssetRow::default() };
        self.look_at_places()
    }

    fn refuse(&mut self, started: &ScanStarted, reason: String) -> Result<()> {
        self.desk.put_scan_at(self.batch, started.scan, Some(ScanAt::Refused));
        let due = later(self.batch.now, self.track.asked_kept_ms);
        self.set_alarm(due, &Alarm::ForgetScan { scan: started.scan });
        self.say_of_scan(started.scan, OutcomeStatus::Refused, reason, started.started, None)
    }

    /// The number of a scan's line, a new one if it has none; `None` if the asset has too many.
    fn line_for(&mut self, started: &ScanStarted) -> Result<Option<u32>> {
        let id = TrackedLine::id_of(&self.desk.asset, &started.tool, &started.branch, &started.environment);
        let at = key(Table::LineOf, self.desk.key, &[&id.0]);
        if let Some(row) = self.batch.state.get(&at)? {
            let number = row.as_slice().try_into().map(u32::from_be_bytes);
            return number.map(Some).map_err(|_| crate::store::StoreError::corrupt("line numbers", &at, "it has not four bytes").into());
        }
        let number = self.desk.row.next_line;
        if number >= LINES {
            return Ok(None);
        }
        self.desk.row.next_line += 1;
        self.batch.state.put(at, number.to_be_bytes());
        let row = LineRow {
            id,
            tool: started.tool.clone(),
            branch: started.branch.clone(),
            environment: started.environment.clone(),
            counts: false,
            has_routes: false,
            scans: Vec::new(),
            floor: None,
            floor_says: None,
            floor_started: Timestamp::default(),
            floor_retired: None,
            folding: None,
        };
        self.desk.put_line(number, row);
        Ok(Some(number))
    }

    fn add_scan(&mut self, line: u32, order: ScanOrder, started: ScanStarted) -> Result<()> {
        let number = self.desk.next.scan;
        self.desk.next.scan += 1;
        let is_full = started.scope.is_full;
        let tests_for = sorted(started.tests_for);
        let said = self.put_said(line, &Said { scope: started.scope, service_claim: started.service_claim, tests_for })?;
        let scan = Scan {
            number,
            order,
            revision: started.revision,
            progress: Progress::Unfinished,
            is_default_branch: started.is_default_branch,
            is_full,
            kind: started.kind,
            is_too_old: false,
            is_leaving: false,
            has_log: false,
            has_ended: false,
            said,
            marks: None,
            observations: 0,
            settled: None,
        };
        let (kept, retired) = (self.track.scans_kept, self.desk.row.retired);
        let row = self.desk.line_mut(&self.batch.state, line)?;
        let is_too_old = row.is_too_old(order, kept);
        let place = row.scans.partition_point(|other| other.order < order);
        row.scans.insert(place, Scan { is_too_old, ..scan });
        row.let_go(kept);
        let has_newer = row.scans[place + 1..].iter().any(Scan::counts);
        // A retirement stands before the first scan that began after it: now this may be an earlier one.
        if has_newer && !is_too_old && retired.is_some_and(|at| order.started > at) {
            self.add_job(Cause::Line { line })?;
        }
        self.desk.put_scan_at(self.batch, started.scan, Some(ScanAt::Kept { line, scan: number }));
        self.desk.put_progress(number, ScanProgress::default());
        self.desk.began.push((line, number));
        let row = self.desk.line(&self.batch.state, line)?;
        if row.scans.len() == 1 && row.floor.is_none() {
            // The line has brought nothing yet that would be worked out anew.
            let counts = self.counts(line)?;
            self.desk.line_mut(&self.batch.state, line)?.counts = counts;
        }
        self.line_changed(line)
    }

    /// Keeps what a scan says of itself, once for all of its line that say the same.
    fn put_said(&mut self, line: u32, said: &Said) -> Result<u64> {
        let bytes = said.bytes();
        let hash = hash_of(&bytes);
        let at = self.desk.said_key(line, hash);
        if self.batch.state.get(&at)?.is_none() {
            self.batch.state.put(at, bytes);
        }
        Ok(hash)
    }

    /// After the scans of a line changed: whether it counts, and which of its scans are read as the newest.
    pub(super) fn line_changed(&mut self, line: u32) -> Result<()> {
        let counts = self.counts(line)?;
        let row = self.desk.line(&self.batch.state, line)?;
        if row.counts != counts {
            self.desk.line_mut(&self.batch.state, line)?.counts = counts;
            self.desk.routes_dirty.insert(line);
            self.add_job(Cause::Line { line })?;
        }
        for open in self.desk.open.values_mut().filter(|open| open.line == line) {
            open.is_plain = row.is_plain(open.scan);
        }
        self.desk.lines_dirty.insert(line);
        Ok(())
    }

    /// Whether findings of a line make risks: on the default branch, in an environment, or where there is neither.
    pub(super) fn counts(&mut self, line: u32) -> Result<bool> {
        let default_branch = self.default_branch()?;
        let row = self.desk.line(&self.batch.state, line)?;
        if !row.environment.is_empty() || row.branch.is_empty() {
            return Ok(true);
        }
        Ok(default_branch.map_or_else(|| row.newest().is_some_and(|(_, is_default)| is_default), |branch| branch == row.branch))
    }

    /// The end of a scan.
    pub(super) fn complete(&mut self, completed: ScanCompleted) -> Result<()> {
        let announced = u32::try_from(completed.observations)
            .map_err(|_| StageError::poison(format!("a scan announced {} observations", completed.observations)))?;
        if !self.read_scan(completed.scan)? {
            return self.say_taken_back(completed.scan);
        }
        let open = &self.desk.open[&completed.scan];
        let (line, number) = (open.line, open.scan);
        if open.progress.announced.is_some() {
            let row = self.desk.line(&self.batch.state, line)?;
            return if row.scan(number).is_some_and(|scan| scan.has_ended) { self.say_end(line, number) } else { Ok(()) };
        }
        let row = self.desk.line(&self.batch.state, line)?;
        let mut families = sorted(completed.families);
        if let Some(scan) = row.scan(number) {
            let said = self.desk.said(&self.batch.state, line, scan.said)?;
            families.retain(|family| said.tests_for.binary_search(family).is_ok());
        }
        let open = self.desk.open.get_mut(&completed.scan).expect("it is at hand");
        open.is_changed = true;
        open.progress.announced = Some(announced);
        open.progress.counts.refused = completed.refused.max(0);
        open.progress.families = families;
        self.check_complete(completed.scan)
    }

    /// Completes a scan that is being read once exactly what it announced has come.
    pub(super) fn check_complete(&mut self, scan: Id) -> Result<()> {
        let Some(open) = self.desk.open.get(&scan) else { return Ok(()) };
        let Some(announced) = open.progress.announced.filter(|announced| open.progress.numbers.are_exactly(*announced)) else {
            return Ok(());
        };
        let (line, number) = (open.line, open.scan);
        let row = self.desk.line_mut(&self.batch.state, line)?;
        let Some(scan) = row.scan_mut(number).filter(|scan| scan.progress == Progress::Unfinished) else { return Ok(()) };
        scan.progress = Progress::Complete;
        scan.observations = announced;
        // It may have been cut off before the rest came.
        scan.has_ended = false;
        self.desk.lines_dirty.insert(line);
        self.desk.completed.push((line, number));
        Ok(())
    }

    /// At the end of a batch: what its scans close, at once where it is little; timers for those that are not whole.
    pub(super) fn end_scans(&mut self) -> Result<()> {
        for (line, scan) in std::mem::take(&mut self.desk.completed) {
            if !self.end_at_once(line, scan)? {
                self.add_job(Cause::Ended { line, scan })?;
            }
        }
        for (line, scan) in std::mem::take(&mut self.desk.began) {
            let row = self.desk.line(&self.batch.state, line)?;
            if row.scan(scan).is_some_and(|scan| scan.progress == Progress::Unfinished) {
                self.set_alarm(later(self.batch.now, self.track.scan_timeout_ms), &Alarm::CutOff { line, scan });
            }
        }
        Ok(())
    }

    /// Ends a scan whose end did not come. What it saw counts; it closes nothing.
    pub(super) fn cut_off(&mut self, line: u32, scan: u32) -> Result<()> {
        let row = self.desk.line(&self.batch.state, line)?;
        if row.scan(scan).is_some_and(|scan| scan.progress == Progress::Unfinished && !scan.has_ended) {
            self.add_job(Cause::Ended { line, scan })?;
        }
        Ok(())
    }

    /// Notes that the end of a scan was worked off, whether it is complete or was cut off, and says what became of it.
    pub(super) fn end_scan(&mut self, line: u32, scan: u32) -> Result<()> {
        let row = self.desk.line(&self.batch.state, line)?;
        let Some(kept) = row.scan(scan).filter(|kept| kept.progress != Progress::Retracted && !kept.has_ended) else { return Ok(()) };
        let number = kept.number;
        self.say_end(line, scan)?;
        let progress = self.desk.progress(&self.batch.state, line, number)?;
        let is_simple = kept.progress == Progress::Complete && progress.routes == 0 && progress.families.is_empty();
        let settled = is_simple.then_some(progress.counts);
        if let Some(kept) = self.desk.line_mut(&self.batch.state, line)?.scan_mut(number) {
            (kept.has_ended, kept.settled) = (true, settled);
        }
        if settled.is_some() {
            self.desk.drop_progress(self.batch, number)?;
        }
        self.desk.lines_dirty.insert(line);
        Ok(())
    }

    /// Says what became of a scan.
    pub(super) fn say_end(&mut self, line: u32, scan: u32) -> Result<()> {
        let row = self.desk.line(&self.batch.state, line)?;
        let Some(kept) = row.scan(scan) else { return Ok(()) };
        let open = self.desk.open.get(&kept.order.id).map(|open| open.progress.clone());
        let progress = match open {
            Some(progress) => progress,
            None => self.desk.progress(&self.batch.state, line, scan)?.clone(),
        };
        let sent = i32::try_from(progress.numbers.len()).unwrap_or(i32::MAX);
        let mut counts = progress.counts;
        counts.observed = sent.saturating_add(counts.refused);
        counts.known = sent - counts.new;
        let (status, reason) = match (kept.progress, progress.announced) {
            (Progress::Complete, _) if progress.routes_cut > 0 => {
                (OutcomeStatus::Done, format!("{} routes beyond the first {} were left out", progress.routes_cut, progress.routes))
            }
            (Progress::Complete, _) => (OutcomeStatus::Done, String::new()),
            (_, None) => (OutcomeStatus::Unfinished, format!("{sent} observations came and no end: publish the report again")),
            (_, Some(all)) => (OutcomeStatus::Unfinished, format!("{sent} of {all} observations came: publish the report again")),
        };
        self.say_of_scan(kept.order.id, status, reason, kept.order.started, Some(counts))
    }

    fn say_taken_back(&mut self, scan: Id) -> Result<()> {
        let Some(ScanAt::Kept { line, scan: number }) = self.desk.scan_at(&self.batch.state, scan)? else { return Ok(()) };
        let row = self.desk.line(&self.batch.state, line)?;
        let Some(kept) = row.scan(number) else { return Ok(()) };
        let reason = "this scan was taken back by a decision; to publish the report again, name it another scan".to_owned();
        self.say_of_scan(scan, OutcomeStatus::Refused, reason, kept.order.started, None)
    }

    fn say_of_scan(&mut self, scan: Id, status: OutcomeStatus, reason: String, at: Timestamp, counts: Option<ScanCounts>) -> Result<()> {
        let asset = self.desk.asset.clone();
        let id = scan.to_string();
        self.batch.emit(topic::OUTCOMES, id.clone(), Outcome { id, status, reason, asset: Some(asset), at, counts, subject: None })
    }
}

impl LineRow {
    /// Whether a scan comes when it is older than all that are kept: then it counts for first seen alone.
    fn is_too_old(&self, order: ScanOrder, kept: usize) -> bool {
        let mut staying = self.scans.iter().filter(|scan| scan.stays());
        let oldest = staying.next().filter(|_| staying.count() + 1 >= kept).map(|scan| scan.order);
        [self.lets_go_below(), oldest].into_iter().flatten().any(|newer| order < newer)
    }
}

/// Where a scan stands: on a branch as of its revision, else its start; in an environment as of its start.
fn order_of(started: &ScanStarted) -> ScanOrder {
    let revised = started.revision_time.filter(|_| started.environment.is_empty());
    ScanOrder { as_of: revised.unwrap_or(started.started), started: started.started, id: started.scan }
}

pub(super) fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort_unstable();
    all.dedup();
    all
}

/// Removes what a scan left outside of its line's row.
pub(super) fn forget_scan(work: &mut Work<'_, '_>, line: u32, scan: &Scan) -> Result<()> {
    work.desk.put_scan_at(work.batch, scan.order.id, None);
    work.desk.drop_progress(work.batch, scan.number)?;
    forget_seen(work, line, scan.number)
}

/// Removes what a scan saw.
pub(super) fn forget_seen(work: &mut Work<'_, '_>, line: u32, scan: u32) -> Result<()> {
    work.drop_routes(line, scan)?;
    delete_all(work.batch, &work.desk.number(Table::Marks, &[scan]))?;
    let has_marks = |row: &LineRow| row.scan(scan).is_some_and(|scan| scan.marks.is_some());
    if has_marks(&*work.desk.line(&work.batch.state, line)?)
        && let Some(scan) = work.desk.line_mut(&work.batch.state, line)?.scan_mut(scan)
    {
        scan.marks = None;
    }
    delete_all(work.batch, &work.desk.number(Table::Seen, &[scan]))?;
    work.desk.forget_marks();
    Ok(())
}

/// Removes what scans of a line said of themselves once none that is kept says it.
pub(super) fn forget_said(work: &mut Work<'_, '_>, line: u32, said: u64) -> Result<()> {
    if !work.desk.line(&work.batch.state, line)?.scans.iter().any(|scan| scan.said == said) {
        work.batch.state.delete(work.desk.said_key(line, said));
    }
    Ok(())
}
