//! Records of `findings`: what a scan says, one by one.

use faultline_model::fingerprint::fingerprint;
use faultline_model::id::Id;
use faultline_model::observation::Observation;
use faultline_model::record::{FindingObserved, FindingsRecord};
use faultline_model::time::Timestamp;
use faultline_model::tracked::TrackedFinding;

use super::codec::{self, Row, Writer};
use super::desk::OpenScan;
use super::keys::{Table, key};
use super::line::Progress;
use super::rows::body::{lines_of, write_body};
use super::rows::detail::Detail;
use super::rows::finding::{FindingRow, known_and_unchanged};
use super::rows::line::ScanAt;
use super::rows::route::RouteSet;
use super::rows::texts::hash_of_texts;
use super::timeline::{Entry, Reported, TOO_OLD};
use super::{Result, StageError, Work, ordinals};
use crate::store::Store;

/// The most ranges that a scan's numbers may leave while it is open: they come in order, so there is nearly always one.
const RANGES: usize = 4096;

/// With more lines than this it is not worth looking whether a tool is new.
const FEW_LINES: usize = 16;

/// An observation as rows know it.
struct Seen<'s> {
    scan: Id,
    ordinal: u32,
    /// Whether nobody ever reported it.
    is_new: bool,
    body: u64,
    /// The body's row.
    bytes: &'s [u8],
    /// Who its texts are.
    texts: u64,
    observation: &'s Observation,
}

impl Work<'_, '_> {
    /// One record of a scan.
    pub(super) fn observe(&mut self, record: FindingsRecord, time: Timestamp) -> Result<()> {
        match record {
            FindingsRecord::ScanStarted(started) => self.start(started, time),
            FindingsRecord::Finding(seen) => self.see(&seen),
            FindingsRecord::Route(route) => self.see_route(route),
            FindingsRecord::ScanCompleted(completed) => self.complete(completed),
        }
    }

    /// Makes sure that a scan is at hand for reading; false if what comes of it is passed over.
    pub(super) fn read_scan(&mut self, scan: Id) -> Result<bool> {
        if self.desk.open.contains_key(&scan) {
            return Ok(true);
        }
        let unknown = || StageError::poison(format!("scan {scan} is not known here; publish the scan's start first"));
        let ScanAt::Kept { line: number, scan: at } = self.desk.scan_at(&self.batch.state, scan)?.ok_or_else(unknown)? else {
            return Ok(false);
        };
        let line = self.desk.line(&self.batch.state, number)?;
        let Some(row) = line.scan(at).filter(|row| row.progress != Progress::Retracted) else { return Ok(false) };
        let said = self.desk.said(&self.batch.state, number, row.said)?;
        let open = OpenScan {
            line: number,
            scan: at,
            is_plain: line.is_plain(at),
            is_too_old: row.is_too_old,
            is_first: self.is_first_of_tool(number)?,
            tool: line.tool.clone(),
            kind: row.kind,
            service_claim: said.service_claim.clone(),
            as_of: row.order.as_of,
            progress: self.desk.progress(&self.batch.state, number, at)?.clone(),
            seen: Vec::new(),
            routes: None,
            routes_now: RouteSet::default(),
            is_changed: false,
        };
        self.desk.open.insert(scan, open);
        Ok(true)
    }

    /// Whether a scan is the first of its tool in the asset, and began in this batch with its line.
    fn is_first_of_tool(&mut self, line: u32) -> Result<bool> {
        let row = self.desk.line(&self.batch.state, line)?;
        // A line that was there before may have left findings for the decisions on them.
        let is_new = self.desk.line_before(&self.batch.state, line)?.is_none() && row.scans.len() == 1;
        if !is_new || self.desk.all_lines().len() > FEW_LINES {
            return Ok(false);
        }
        for other in self.desk.all_lines().filter(|other| *other != line) {
            if self.desk.line(&self.batch.state, other)?.tool == row.tool {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One observation. What is known, open and the same on the newest scan of its line costs one look-up and a mark.
    fn see(&mut self, seen: &FindingObserved) -> Result<()> {
        if !self.read_scan(seen.scan)? {
            return Ok(());
        }
        let open = self.desk.open.get_mut(&seen.scan).expect("it is at hand");
        if !number_is_new(open, seen.number)? {
            return Ok(());
        }
        let texts = hash_of_texts(&seen.observation);
        let body = {
            let mut out = Writer(Vec::with_capacity(256));
            out.byte(codec::VERSION);
            write_body(&mut out, open.kind, &open.service_claim, texts, &seen.observation);
            out.0
        };
        let hash = hash_of(&body);
        let fingerprint = fingerprint(&open.tool, &seen.observation);
        let id = TrackedFinding::id_of(&self.desk.asset, fingerprint);
        let at = key(Table::Finding, self.desk.key, &[&id.0]);
        let row = if open.is_first { self.batch.state.changed().get(&at)? } else { self.batch.state.get(&at)? };
        let (line, is_plain) = (open.line, open.is_plain);
        let known = row.as_deref().filter(|_| is_plain).and_then(|row| known_and_unchanged(row, line, hash));
        let unchanged = known.filter(|ordinal| self.desk.reported.is_empty() || !self.desk.reported.contains_key(ordinal));
        if unchanged.is_none() && row.is_none() && self.desk.next.ordinal as usize >= ordinals::MOST {
            return Err(StageError::poison(format!("{} has {} findings, the most an asset may have", self.desk.asset, ordinals::MOST)));
        }
        let open = self.desk.open.get_mut(&seen.scan).expect("it is at hand");
        open.is_changed = true;
        open.progress.numbers.insert(seen.number as u32);
        if let Some(ordinal) = unchanged {
            self.desk.mark(seen.scan, ordinal);
        } else {
            let ordinal = self.ordinal_of(seen.scan, fingerprint, at, row.as_deref())?;
            let (is_new, observation) = (row.is_none(), &seen.observation);
            self.report(&Seen { scan: seen.scan, ordinal, is_new, body: hash, bytes: &body, texts, observation })?;
        }
        self.check_complete(seen.scan)
    }

    /// The ordinal of a finding, a new one if it has none.
    fn ordinal_of(&mut self, scan: Id, fingerprint: Id, at: Vec<u8>, row: Option<&[u8]>) -> Result<u32> {
        let row = row.map(|row| FindingRow::parse(&at, row)).transpose()?;
        // Without a line it was taken back, and its row stays for the decisions on it.
        let is_new = row.as_ref().is_none_or(|row| row.lines.is_empty() && !self.desk.reported.contains_key(&row.ordinal));
        if is_new && let Some(open) = self.desk.open.get_mut(&scan) {
            open.progress.counts.new += 1;
        }
        if let Some(row) = row {
            return Ok(row.ordinal);
        }
        let ordinal = self.desk.next.ordinal;
        self.desk.next.ordinal += 1;
        self.put(at, &FindingRow { ordinal, ..FindingRow::default() });
        self.put(self.desk.number(Table::Detail, &[ordinal]), &Detail::new(fingerprint));
        Ok(ordinal)
    }

    /// Notes an observation that may change what is published.
    fn report(&mut self, seen: &Seen<'_>) -> Result<()> {
        let is_repeated = !seen.is_new && self.desk.has_seen(&self.batch.state, seen.scan, seen.ordinal)?;
        self.desk.mark(seen.scan, seen.ordinal);
        let open = &self.desk.open[&seen.scan];
        let scan = if open.is_too_old { TOO_OLD } else { open.scan };
        let entry = Entry { scan, as_of: open.as_of, body: seen.body, lines: lines_of(&seen.observation.locus) };
        let (line, is_plain) = (open.line, open.is_plain);
        self.desk.reported.entry(seen.ordinal).or_default().push(Reported { line, entry, is_repeated });
        self.desk.touch(seen.ordinal, !is_plain);
        let at = body_key(self.desk.key, seen.ordinal, seen.body);
        if seen.is_new || self.batch.state.get(&at)?.is_none() {
            self.batch.state.put(at, seen.bytes);
            self.desk.name_texts(seen.texts, seen.observation);
        }
        Ok(())
    }
}

/// Whether the number of an observation did not come before; poison if it cannot be one of its scan.
fn number_is_new(open: &OpenScan, number: i32) -> Result<bool> {
    let number =
        u32::try_from(number).map_err(|_| StageError::poison(format!("an observation has the number {number}; they begin at 0")))?;
    if let Some(announced) = open.progress.announced.filter(|announced| number >= *announced) {
        return Err(StageError::poison(format!("an observation has the number {number}, but its scan announced {announced} in all")));
    }
    if open.progress.numbers.has(number) {
        return Ok(false);
    }
    if open.progress.numbers.ranges().len() >= RANGES {
        return Err(StageError::poison(format!("the observations of a scan leave more than {RANGES} gaps; publish them in order")));
    }
    Ok(true)
}

/// The first eight bytes of a hash; never 0, which stands for nothing.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    let first = hash.as_bytes().first_chunk().map_or(1, |first| u64::from_le_bytes(*first));
    first.max(1)
}

pub(super) fn body_key(asset: Id, ordinal: u32, body: u64) -> Vec<u8> {
    key(Table::Body, asset, &[&ordinal.to_be_bytes(), &body.to_be_bytes()])
}
