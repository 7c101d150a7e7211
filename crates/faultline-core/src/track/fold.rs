//! The oldest scan of a line goes into the floor: what it and those before it came to is kept, it itself is forgotten.

use faultline_model::time::Timestamp;

use super::keys::Table;
use super::line::Progress;
use super::ordinals::{BLOCK, Bits};
use super::rows::floor::{AtFloor, FloorRow};
use super::rows::job::Cause;
use super::rows::line::{Folding, LineRow, Scan};
use super::scans::{forget_said, forget_scan};
use super::stand::{self, Says, Stand, Standing};
use super::{Result, Work};

/// How many scans one that does not end may hold up on their way into the floor before it is cut off.
const HELD_UP: usize = 64;

impl Work<'_, '_> {
    /// Asks for the oldest scan of a line to be folded if there are more than are kept.
    pub(super) fn want_fold(&mut self, line: u32) -> Result<()> {
        let row = self.desk.line(&self.batch.state, line)?;
        if row.folding.is_some() || row.to_fold().is_some() {
            return self.add_job(Cause::Fold { line });
        }
        // One that is still open holds up those behind it, up to a bound.
        let mut leaving = row.scans.iter().filter(|scan| scan.counts() && scan.is_leaving);
        let oldest = leaving.next().filter(|_| leaving.count() >= HELD_UP);
        oldest.map_or(Ok(()), |scan| self.cut_off(line, scan.number))
    }

    /// Folds one block of one scan of a line; false if nothing is left to fold.
    pub(super) fn fold(&mut self, line: u32) -> Result<bool> {
        let row = self.desk.line(&self.batch.state, line)?;
        let Some(folding) = row.folding else { return self.begin_fold(line, &row) };
        let Some(scan) = row.scan(folding.scan) else { return Ok(false) };
        if u64::from(folding.next) * u64::from(BLOCK) >= u64::from(self.desk.next.ordinal) {
            self.end_fold(line, scan, folding)?;
            return Ok(true);
        }
        self.fold_block(line, scan, folding)?;
        let next = Folding { next: folding.next + 1, ..folding };
        self.desk.line_mut(&self.batch.state, line)?.folding = Some(next);
        Ok(true)
    }

    fn begin_fold(&mut self, line: u32, row: &LineRow) -> Result<bool> {
        let Some(scan) = row.to_fold() else { return Ok(false) };
        if scan.has_log {
            self.desk.fold_log(self.batch, line, scan.number)?;
        }
        let is_due = |at: &Timestamp| scan.counts() && scan.order.started > *at && row.floor_retired.is_none_or(|folded| folded < *at);
        let folding = Folding { scan: scan.number, next: 0, retired: self.desk.row.retired.filter(is_due) };
        self.desk.line_mut(&self.batch.state, line)?.folding = Some(folding);
        Ok(true)
    }

    fn fold_block(&mut self, line: u32, scan: &Scan, folding: Folding) -> Result<()> {
        let block = folding.next;
        let before = self.desk.floor(&self.batch.state, line, block)?;
        let saw = self.desk.saw(&self.batch.state, scan, block)?;
        let (mut after, mut new) = (FloorRow::default(), (*saw).clone());
        for (at, members) in &before.0 {
            new.take_away(members);
            let stand = folding.retired.map_or(Some(at.stand), |retired| stand::after(Some(at.stand), Says::Gone, retired, 0));
            let at = AtFloor { stand: stand.unwrap_or(at.stand), ..*at };
            let mut unseen = members.clone();
            unseen.take_away(&saw);
            let mut seen = members.clone();
            seen.take_away(&unseen);
            after.add(seen_again(at, scan), &seen);
            self.fold_unseen(line, scan, (at, block), &unseen, &mut after)?;
        }
        after.add(first_seen(scan), &new);
        if after != *before {
            self.desk.put_floor(self.batch, line, block, after);
        }
        if scan.marks.is_none() {
            self.batch.state.delete(self.desk.number(Table::Marks, &[scan.number, block]));
        }
        Ok(())
    }

    /// What the scan did not see: it closes what its scope holds.
    fn fold_unseen(&mut self, line: u32, scan: &Scan, (at, block): (AtFloor, u32), unseen: &Bits, after: &mut FloorRow) -> Result<()> {
        if !scan.counts() || scan.progress != Progress::Complete || !at.stand.standing.can_close() {
            after.add(at, unseen);
            return Ok(());
        }
        for place in unseen.iter() {
            let ordinal = block * BLOCK + place;
            let mut stand = Some(at.stand);
            if let Some(detail) = self.desk.detail(&self.batch.state, ordinal)? {
                let says = self.says(line, scan, false, stand, &detail)?;
                stand = stand::after(stand, says, scan.order.started, scan.number);
            }
            after.insert(AtFloor { stand: stand.unwrap_or(at.stand), ..at }, ordinal);
        }
        Ok(())
    }

    fn end_fold(&mut self, line: u32, scan: &Scan, folding: Folding) -> Result<()> {
        self.fold_routes(line, scan, folding.retired.is_some())?;
        let row = self.desk.line_mut(&self.batch.state, line)?;
        row.floor_started = row.floor.map_or(scan.order.started, |_| row.floor_started.max(scan.order.started));
        row.floor = row.floor.max(Some(scan.order));
        if scan.counts() {
            row.floor_says = Some((scan.kind, scan.is_default_branch));
        }
        row.floor_retired = row.floor_retired.max(folding.retired);
        row.folding = None;
        // What was taken back before the floor cannot come again: it would be too old.
        let is_gone = |kept: &Scan| kept.number == scan.number || (kept.progress == Progress::Retracted && Some(kept.order) < row.floor);
        let (gone, kept): (Vec<Scan>, Vec<Scan>) = std::mem::take(&mut row.scans).into_iter().partition(is_gone);
        row.scans = kept;
        for scan in gone {
            forget_scan(self, line, &scan)?;
            forget_said(self, line, scan.said)?;
        }
        self.desk.lines_dirty.insert(line);
        Ok(())
    }
}

impl LineRow {
    /// The scan that is to be folded next: one that was too old when it came, or the oldest that is leaving.
    fn to_fold(&self) -> Option<&Scan> {
        let too_old = self.scans.iter().find(|scan| scan.is_too_old && scan.has_ended);
        let oldest = self.scans.iter().find(|scan| scan.counts());
        too_old.or_else(|| oldest.filter(|scan| scan.is_leaving && scan.has_ended))
    }
}

/// How a finding stands at the floor that the scan saw again.
fn seen_again(at: AtFloor, scan: &Scan) -> AtFloor {
    let first_seen = at.first_seen.min(scan.order.started);
    if !scan.is_too_old {
        let stand = stand::after(Some(at.stand), Says::Seen, scan.order.started, scan.number);
        return AtFloor { stand: stand.unwrap_or(at.stand), first_seen };
    }
    let is_forgotten = at.stand.standing == Standing::Forgotten;
    let since = if is_forgotten { first_seen } else { at.stand.since };
    AtFloor { stand: Stand { since, ..at.stand }, first_seen }
}

/// How a finding stands at the floor that the scan was the first to see.
fn first_seen(scan: &Scan) -> AtFloor {
    let since = scan.order.started;
    let (standing, by) = if scan.is_too_old { (Standing::Forgotten, 0) } else { (Standing::Open, scan.number) };
    AtFloor { stand: Stand { standing, since, by }, first_seen: since }
}
