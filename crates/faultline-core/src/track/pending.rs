//! Work that is left: what may touch many findings is one row here, worked off in slices.
//!
//! A slice compares with facts as they are when it runs, so causes may merge and a restart goes on where it was.

use std::ops::ControlFlow;

use super::codec::{self, Row};
use super::desk::{Desk, keys_under};
use super::keys::{Table, id_at, key, looked_at};
use super::line::Progress;
use super::ordinals::{BLOCK, Bits, block_of};
use super::rows::job::{CatalogJob, Cause, Job};
use super::rows::line::Scan;
use super::scans::forget_seen;
use super::{Result, Track, Work, timers};
use crate::stage::{Batch, Pending};
use crate::store::Store;

/// What looking at one finding is taken to cost beside what it writes, in bytes.
const LOOK_BYTES: usize = 128;
/// What one finding may write, about: a slice takes no more findings at a time than its budget may hold.
const FINDING_BYTES: usize = 2048;
/// How many assets are told of a change of the catalog at a time.
const ASSETS: usize = 256;
/// How many blocks an asset has at most for the end of a scan to be worked off at once.
const BLOCKS_AT_ONCE: u32 = 16;
/// The length of the key of an asset's row: table, asset and number. A row of the catalog's has no number.
const JOB_KEY: usize = 21;

/// Works on timers and rows of `pending` until about so many bytes.
pub(super) fn slice(track: &Track, batch: &mut Batch<'_>, budget: usize) -> Result<Pending> {
    let end = batch.bytes().saturating_add(budget.max(1));
    let mut looks = 0;
    while batch.bytes() + looks < end {
        if timers::fire(track, batch)? {
            continue;
        }
        let Some((at, row)) = first(&batch.state, &[Table::Pending as u8])? else { return Ok(Pending::None) };
        if at.len() == JOB_KEY {
            let left = end.saturating_sub(batch.bytes() + looks);
            looks += work_off(track, batch, &at, left)?;
        } else {
            tell(track, batch, at.clone(), CatalogJob::parse(&at, &row)?)?;
            looks += ASSETS;
        }
    }
    let is_left =
        first(&batch.state, &[Table::Pending as u8])?.is_some() || timers::next_due(&batch.state)?.is_some_and(|due| due <= batch.now);
    Ok(if is_left { Pending::Some } else { Pending::None })
}

fn first(state: &dyn Store, prefix: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut found = None;
    state.scan(prefix, prefix, &mut |at, row| {
        found = Some((at.to_vec(), row.to_vec()));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// Tells assets that a record of the catalog that they looked at changed.
fn tell(track: &Track, batch: &mut Batch<'_>, at: Vec<u8>, job: CatalogJob) -> Result<()> {
    let prefix = looked_at(&job.key, None);
    let notes = keys_under(&batch.state, &prefix, &job.next, ASSETS + 1)?;
    for note in notes.iter().take(ASSETS) {
        let mut desk = Desk::of_key(&batch.state, id_at(note, 17))?;
        let mut work = Work { track, batch, desk: &mut desk };
        if work.have_places_changed()? {
            work.add_job(Cause::Places)?;
            work.finish()?;
        }
    }
    match notes.into_iter().nth(ASSETS) {
        Some(next) => codec::put(&mut batch.state, at, &CatalogJob { next, ..job }),
        None => batch.state.delete(at),
    }
    Ok(())
}

/// Works on the rows of one asset, at most until about so many bytes; gives what looking cost beside what was written.
fn work_off(track: &Track, batch: &mut Batch<'_>, at: &[u8], budget: usize) -> Result<usize> {
    let mut desk = Desk::of_key(&batch.state, id_at(at, 1))?;
    let end = batch.bytes().saturating_add(budget);
    let mut looks = 0;
    let mut work = Work { track, batch, desk: &mut desk };
    let prefix = key(Table::Pending, work.desk.key, &[]);
    while work.batch.bytes() + looks < end {
        let Some((at, row)) = first(&work.batch.state, &prefix)?.filter(|(at, _)| at.len() == JOB_KEY) else { break };
        let mut job = Job::parse(&at, &row)?;
        let most = (end - work.batch.bytes() - looks) / FINDING_BYTES + 1;
        let (is_left, looked) = work.step(&mut job, most)?;
        looks += (looked + 1) * LOOK_BYTES;
        if is_left {
            codec::put(&mut work.batch.state, at, &job);
        } else {
            work.batch.state.delete(at);
        }
        work.settle()?;
    }
    work.finish()?;
    Ok(looks)
}

impl Work<'_, '_> {
    /// Notes work to be done in slices; the same work that has not begun is enough.
    pub(super) fn add_job(&mut self, cause: Cause) -> Result<()> {
        let prefix = key(Table::Pending, self.desk.key, &[]);
        let mut is_there = false;
        super::desk::each(&self.batch.state, &prefix, |at, row| {
            if at.len() == JOB_KEY {
                let job = Job::parse(at, row)?;
                is_there |= job.cause == cause && job.next == 0;
            }
            Ok(())
        })?;
        if !is_there {
            let at = self.desk.number(Table::Pending, &[self.desk.next.job]);
            self.desk.next.job += 1;
            codec::put(&mut self.batch.state, at, &Job { cause, next: 0 });
        }
        Ok(())
    }

    /// One step of a job: at most so many findings of one block. Tells whether more is left, and how many were looked at.
    fn step(&mut self, job: &mut Job, most: usize) -> Result<(bool, usize)> {
        match job.cause {
            Cause::Fold { line } => return Ok((self.fold(line)?, 1)),
            Cause::Places => {
                self.take_places()?;
                return Ok((false, 1));
            }
            Cause::Ended { line, scan } if !self.may_close(line, scan)? => {
                self.end_scan(line, scan)?;
                self.desk.routes_dirty.insert(line);
                return Ok((false, 1));
            }
            _ => {}
        }
        if job.next >= self.desk.next.ordinal {
            self.end_job(job.cause)?;
            return Ok((false, 1));
        }
        let block = block_of(job.next);
        let (candidates, with_those_alike) = self.candidates(job.cause, block)?;
        let mut left = candidates.iter().map(|place| block * BLOCK + place).filter(|ordinal| *ordinal >= job.next);
        let taken: Vec<u32> = left.by_ref().take(most).collect();
        job.next = left.next().unwrap_or((block + 1) * BLOCK);
        for ordinal in &taken {
            self.desk.touch(*ordinal, with_those_alike);
        }
        Ok((true, taken.len()))
    }

    /// Works off the end of a scan in the batch that brought it, if it may touch little; false if it is left for a job.
    pub(super) fn end_at_once(&mut self, line: u32, scan: u32) -> Result<bool> {
        let blocks = self.desk.next.ordinal.div_ceil(BLOCK);
        // What is queued came before.
        if blocks > BLOCKS_AT_ONCE || first(&self.batch.state, &key(Table::Pending, self.desk.key, &[]))?.is_some() {
            return Ok(false);
        }
        let cause = Cause::Ended { line, scan };
        if self.may_close(line, scan)? {
            let mut touched = Vec::new();
            for block in 0..blocks {
                let (candidates, with_those_alike) = self.candidates(cause, block)?;
                touched.extend(candidates.iter().map(|place| (block * BLOCK + place, with_those_alike)));
                if touched.len() > self.track.closed_at_once {
                    return Ok(false);
                }
            }
            for (ordinal, with_those_alike) in touched {
                self.desk.touch(ordinal, with_those_alike);
            }
            self.settle()?;
        }
        self.end_job(cause)?;
        Ok(true)
    }

    /// Makes ready for what a scan's end may close; false if it cannot close anything.
    fn may_close(&mut self, line: u32, scan: u32) -> Result<bool> {
        let row = self.desk.line(&self.batch.state, line)?;
        let Some(kept) = row.scan(scan) else { return Ok(false) };
        if kept.has_log && kept.progress != Progress::Retracted {
            self.desk.fold_log(self.batch, line, scan)?;
        }
        Ok(kept.counts() && kept.progress == Progress::Complete)
    }

    fn end_job(&mut self, cause: Cause) -> Result<()> {
        match cause {
            Cause::Ended { line, scan } => {
                self.end_scan(line, scan)?;
                self.desk.routes_dirty.insert(line);
            }
            Cause::Retracted { line, scan } => {
                forget_seen(self, line, scan)?;
                self.desk.routes_dirty.insert(line);
            }
            Cause::Line { .. } | Cause::Fold { .. } | Cause::Asset | Cause::Places => {}
        }
        Ok(())
    }

    /// The findings of a block that a cause may touch, and whether those alike are to be looked at in any case.
    fn candidates(&mut self, cause: Cause, block: u32) -> Result<(Bits, bool)> {
        let line = match cause {
            Cause::Asset | Cause::Places => {
                let mut all = Bits::default();
                (0..BLOCK).for_each(|place| all.insert(place));
                return Ok((all, true));
            }
            Cause::Ended { line, .. } | Cause::Retracted { line, .. } | Cause::Line { line } | Cause::Fold { line } => line,
        };
        let mut candidates = self.desk.known(&self.batch.state, line, block)?.known.clone();
        let Cause::Ended { scan, .. } = cause else { return Ok((candidates, true)) };
        let row = self.desk.line(&self.batch.state, line)?;
        let Some(kept) = row.scan(scan) else { return Ok((candidates, true)) };
        candidates.take_away(&*self.desk.saw(&self.batch.state, kept, block)?);
        let newer = || row.scans.iter().filter(|other| other.counts() && other.order > kept.order);
        // What is closed already was closed by an older scan, unless a newer one or a retirement may have done it.
        let is_retired = self.desk.row.retired.is_some_and(|at| at >= kept.order.started);
        if !is_retired && !newer().any(|other: &Scan| other.progress == Progress::Complete) {
            let closed = self.desk.known(&self.batch.state, line, block)?.closed.clone();
            candidates.take_away(&closed);
        }
        Ok((candidates, newer().next().is_some()))
    }
}
