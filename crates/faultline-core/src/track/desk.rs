//! What of one asset is at hand while a batch is worked on: rows that were read, with what changed in them.
//!
//! Rows that many records touch (the asset, its lines, a scan's progress, blocks) are read once and written once a batch, by
//! [`Desk::put_away`]; rows of single findings go to the overlay at once. Nothing here outlives the batch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use faultline_model::asset::AssetId;
use faultline_model::catalog::Places;
use faultline_model::id::Id;
use faultline_model::observation::ScanKind;

use super::Result;
use super::codec::{self, Row};
use super::keys::{Table, key, number_at, numbered};
use super::line::Progress;
use super::ordinals::{Bits, Ordinals, block_of};
use super::rows::asset::{AssetRow, Counters, ServiceSets};
use super::rows::detail::Detail;
use super::rows::floor::{FloorRow, KnownRow};
use super::rows::line::{LineRow, Said, Scan, ScanAt, ScanProgress};
use super::rows::route::RouteSet;
use super::texts::AllNamed;
use super::timeline::Reported;
use crate::stage::Batch;
use crate::store::{Store, StoreError};

/// What a scan saw stands in its own row up to this length.
const FEW_MARKS_BYTES: usize = 64;
/// How many blocks of marks are kept at hand; half a kilobyte each.
const BLOCKS_AT_HAND: usize = 8192;

/// An asset's rows at hand.
pub(super) struct Desk {
    pub asset: AssetId,
    pub key: Id,
    pub row: AssetRow,
    pub next: Counters,
    /// Both as they are in state.
    stored: (AssetRow, Counters),
    /// Whether this batch said of any finding that it moved.
    pub has_put_links: bool,
    lines: BTreeMap<u32, Arc<LineRow>>,
    /// Lines that changed, as they are in state; none of those that are new.
    lines_stored: BTreeMap<u32, Option<Arc<LineRow>>>,
    scans: BTreeMap<Id, Option<ScanAt>>,
    progress: BTreeMap<u32, ScanProgress>,
    progress_changed: BTreeSet<u32>,
    said: BTreeMap<(u32, u64), Arc<Said>>,
    marks: BTreeMap<(u32, u32), Arc<Bits>>,
    /// Marks of open scans that lie in rows by batch, this batch's included.
    logs: BTreeMap<u32, BTreeMap<u32, Bits>>,
    floors: BTreeMap<(u32, u32), Arc<FloorRow>>,
    known: BTreeMap<(u32, u32), KnownRow>,
    known_changed: BTreeSet<(u32, u32)>,
    known_routes: BTreeMap<u32, BTreeSet<u32>>,
    known_routes_changed: BTreeSet<u32>,
    pub(super) texts: AllNamed,
    pub(super) places: Option<Arc<Vec<Places>>>,
    pub(super) sets: Option<(ServiceSets, BTreeMap<Vec<String>, u32>)>,
    pub(super) sets_changed: bool,
    /// The scans that this batch reads observations of.
    pub open: BTreeMap<Id, OpenScan>,
    /// What may differ from what is known, by ordinal.
    pub reported: BTreeMap<u32, Vec<Reported>>,
    /// Findings to be worked out anew; true where those alike are to be as well.
    pub dirty: BTreeMap<u32, bool>,
    pub lines_dirty: BTreeSet<u32>,
    /// What was published of lines by this batch: a digest, 0 for nothing, and for which services.
    pub published: BTreeMap<u32, (u64, u32)>,
    /// Scans that began in this batch, by line and number: what is not whole at its end gets a timer.
    pub began: Vec<(u32, u32)>,
    /// Scans that this batch completed, by line and number.
    pub completed: Vec<(u32, u32)>,
    /// Lines whose routes are to be worked out anew.
    pub routes_dirty: BTreeSet<u32>,
}

/// A scan whose observations are being read.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct OpenScan {
    pub line: u32,
    pub scan: u32,
    /// Whether seeing again what is open and the same changes nothing but the mark.
    pub is_plain: bool,
    pub is_too_old: bool,
    /// Whether all that is known of its tool in this asset came in this batch: the store needs not be asked for its findings.
    pub is_first: bool,
    pub tool: String,
    pub kind: ScanKind,
    pub service_claim: String,
    pub as_of: faultline_model::time::Timestamp,
    pub progress: ScanProgress,
    /// What this batch saw, in the order of arrival.
    pub seen: Vec<u32>,
    /// The routes that it reported; none if they were not read yet.
    pub routes: Option<RouteSet>,
    /// Those that this batch reported.
    pub routes_now: RouteSet,
    pub is_changed: bool,
}

impl Desk {
    /// The asset of a key; `None` for its row if it is not known yet.
    pub fn open(state: &dyn Store, asset: AssetId) -> Result<Self> {
        let id = Id::of("asset", &[asset.as_str().as_bytes()]);
        let row: Option<AssetRow> = codec::get(state, &key(Table::Asset, id, &[]))?;
        let next = if row.is_some() { codec::get(state, &key(Table::Counters, id, &[]))? } else { None };
        Ok(Self::with(asset, id, row.unwrap_or_default(), next.unwrap_or_default()))
    }

    /// The asset of a row's key.
    pub fn of_key(state: &dyn Store, id: Id) -> Result<Self> {
        let at = key(Table::Asset, id, &[]);
        let corrupt = |reason: &str| StoreError::corrupt(AssetRow::TABLE, &at, reason);
        let row: AssetRow = codec::get(state, &at)?.ok_or_else(|| corrupt("rows of an asset without the asset's own row"))?;
        let asset = row.name.parse().map_err(|_| corrupt("its name is no asset's"))?;
        let next = codec::get(state, &key(Table::Counters, id, &[]))?;
        Ok(Self::with(asset, id, row, next.unwrap_or_default()))
    }

    fn with(asset: AssetId, key: Id, row: AssetRow, next: Counters) -> Self {
        Self {
            asset,
            key,
            stored: (row.clone(), next.clone()),
            row,
            next,
            has_put_links: false,
            lines: BTreeMap::new(),
            lines_stored: BTreeMap::new(),
            scans: BTreeMap::new(),
            progress: BTreeMap::new(),
            progress_changed: BTreeSet::new(),
            said: BTreeMap::new(),
            marks: BTreeMap::new(),
            logs: BTreeMap::new(),
            floors: BTreeMap::new(),
            known: BTreeMap::new(),
            known_changed: BTreeSet::new(),
            known_routes: BTreeMap::new(),
            known_routes_changed: BTreeSet::new(),
            texts: AllNamed::new(),
            places: None,
            sets: None,
            sets_changed: false,
            open: BTreeMap::new(),
            reported: BTreeMap::new(),
            dirty: BTreeMap::new(),
            lines_dirty: BTreeSet::new(),
            published: BTreeMap::new(),
            began: Vec::new(),
            completed: Vec::new(),
            routes_dirty: BTreeSet::new(),
        }
    }

    /// Whether anything of the asset was ever tracked.
    pub fn is_known(&self) -> bool {
        !self.row.name.is_empty()
    }

    pub fn number(&self, table: Table, numbers: &[u32]) -> Vec<u8> {
        numbered(table, self.key, numbers)
    }

    fn missing(&self, table: &'static str, key: &[u8]) -> super::StageError {
        StoreError::corrupt(table, key, format!("a row of {} that others name is not there", self.asset)).into()
    }

    // Lines and scans.

    pub fn line(&mut self, state: &dyn Store, line: u32) -> Result<Arc<LineRow>> {
        if let Some(row) = self.lines.get(&line) {
            return Ok(Arc::clone(row));
        }
        let at = self.number(Table::Line, &[line]);
        let mut row: LineRow = codec::get(state, &at)?.ok_or_else(|| self.missing(LineRow::TABLE, &at))?;
        each(state, &self.number(Table::Scan, &[line]), |at, scan| {
            row.scans.push(Scan { number: number_at(at, 4), ..Scan::parse(at, scan)? });
            Ok(())
        })?;
        row.scans.sort_by_key(|scan| scan.order);
        let row = Arc::new(row);
        self.lines.insert(line, Arc::clone(&row));
        Ok(row)
    }

    /// The line to be changed; it is written when the desk is cleared.
    pub fn line_mut(&mut self, state: &dyn Store, line: u32) -> Result<&mut LineRow> {
        let before = self.line(state, line)?;
        self.lines_stored.entry(line).or_insert(Some(before));
        let row = self.lines.get_mut(&line).expect("it was read just now");
        Ok(Arc::make_mut(row))
    }

    pub fn put_line(&mut self, line: u32, row: LineRow) {
        self.lines.insert(line, Arc::new(row));
        self.lines_stored.insert(line, None);
    }

    /// The line as it was before this batch; `None` if it was not there.
    pub fn line_before(&mut self, state: &dyn Store, line: u32) -> Result<Option<Arc<LineRow>>> {
        match self.lines_stored.get(&line) {
            Some(stored) => Ok(stored.clone()),
            None => self.line(state, line).map(Some),
        }
    }

    /// The numbers of all lines.
    pub fn all_lines(&self) -> std::ops::Range<u32> {
        0..self.row.next_line
    }

    pub fn scan_at(&mut self, state: &dyn Store, scan: Id) -> Result<Option<ScanAt>> {
        if let Some(at) = self.scans.get(&scan) {
            return Ok(*at);
        }
        let at = codec::get(state, &key(Table::ScanOf, self.key, &[&scan.0]))?;
        self.scans.insert(scan, at);
        Ok(at)
    }

    pub fn put_scan_at(&mut self, batch: &mut Batch<'_>, scan: Id, at: Option<ScanAt>) {
        let row = key(Table::ScanOf, self.key, &[&scan.0]);
        match at {
            Some(at) => codec::put(&mut batch.state, row, &at),
            None => batch.state.delete(row),
        }
        self.scans.insert(scan, at);
    }

    pub fn said_key(&self, line: u32, said: u64) -> Vec<u8> {
        key(Table::Said, self.key, &[&line.to_be_bytes(), &said.to_be_bytes()])
    }

    /// What a scan of a line says of itself at length.
    pub fn said(&mut self, state: &dyn Store, line: u32, said: u64) -> Result<Arc<Said>> {
        if let Some(row) = self.said.get(&(line, said)) {
            return Ok(Arc::clone(row));
        }
        let at = self.said_key(line, said);
        let row: Said = codec::get(state, &at)?.ok_or_else(|| self.missing(Said::TABLE, &at))?;
        let row = Arc::new(row);
        self.said.insert((line, said), Arc::clone(&row));
        Ok(row)
    }

    /// How far a scan has come; of a scan that is being read, without what this batch read.
    pub fn progress(&mut self, state: &dyn Store, line: u32, scan: u32) -> Result<&ScanProgress> {
        if !self.progress.contains_key(&scan) {
            let mut progress = codec::get(state, &self.number(Table::Progress, &[scan]))?;
            if progress.is_none() {
                progress = self.line(state, line)?.scan(scan).and_then(Scan::settled_progress);
            }
            self.progress.insert(scan, progress.unwrap_or_default());
        }
        Ok(&self.progress[&scan])
    }

    pub fn progress_mut(&mut self, state: &dyn Store, line: u32, scan: u32) -> Result<&mut ScanProgress> {
        self.progress(state, line, scan)?;
        self.progress_changed.insert(scan);
        Ok(self.progress.get_mut(&scan).expect("it was read just now"))
    }

    pub fn put_progress(&mut self, scan: u32, progress: ScanProgress) {
        self.progress.insert(scan, progress);
        self.progress_changed.insert(scan);
    }

    pub fn drop_progress(&mut self, batch: &mut Batch<'_>, scan: u32) -> Result<()> {
        self.progress.remove(&scan);
        self.progress_changed.remove(&scan);
        let row = self.number(Table::Progress, &[scan]);
        // Where a scan came whole in one batch there never was a row.
        if batch.state.get(&row)?.is_some() {
            batch.state.delete(row);
        }
        Ok(())
    }

    // Marks.

    /// What a scan saw of a block, this batch's marks included.
    pub fn saw(&mut self, state: &dyn Store, scan: &Scan, block: u32) -> Result<Arc<Bits>> {
        let number = scan.number;
        if let Some(bits) = self.marks.get(&(number, block)) {
            return Ok(Arc::clone(bits));
        }
        let at = self.number(Table::Marks, &[number, block]);
        let mut bits: Bits = match &scan.marks {
            Some((of, row)) if *of == block => Bits::parse(&at, row)?,
            Some(_) => Bits::default(),
            None => codec::get(state, &at)?.unwrap_or_default(),
        };
        if scan.has_log || self.seen_now(number).is_some() {
            self.read_log(state, number)?;
            if let Some(log) = self.logs[&number].get(&block) {
                bits.add(log);
            }
        }
        if self.marks.len() >= BLOCKS_AT_HAND {
            self.marks.clear();
        }
        let bits = Arc::new(bits);
        self.marks.insert((number, block), Arc::clone(&bits));
        Ok(bits)
    }

    /// The marks of this batch, of a scan that is being read.
    fn seen_now(&self, scan: u32) -> Option<&[u32]> {
        self.open.values().find(|open| open.scan == scan).map(|open| open.seen.as_slice())
    }

    /// Reads the marks of an open scan out of its rows by batch; those of this batch are added as they come.
    fn read_log(&mut self, state: &dyn Store, scan: u32) -> Result<()> {
        if self.logs.contains_key(&scan) {
            return Ok(());
        }
        let prefix = self.number(Table::Seen, &[scan]);
        let mut log: BTreeMap<u32, Bits> = BTreeMap::new();
        each(state, &prefix, |at, row| {
            add_to(&mut log, &Ordinals::parse(at, row)?.0);
            Ok(())
        })?;
        add_to(&mut log, self.seen_now(scan).unwrap_or_default());
        self.logs.insert(scan, log);
        Ok(())
    }

    /// Whether a scan that is being read saw a finding before, in this batch or another.
    pub fn has_seen(&mut self, state: &dyn Store, scan: Id, ordinal: u32) -> Result<bool> {
        let Some((number, line)) = self.open.get(&scan).map(|open| (open.scan, open.line)) else { return Ok(false) };
        let row = self.line(state, line)?;
        row.scan(number).map_or(Ok(false), |scan| Ok(self.saw(state, scan, block_of(ordinal))?.has(ordinal)))
    }

    /// Marks a finding as seen by a scan that is being read.
    pub fn mark(&mut self, scan: Id, ordinal: u32) {
        let Some(open) = self.open.get_mut(&scan) else { return };
        open.seen.push(ordinal);
        if let Some(log) = self.logs.get_mut(&open.scan) {
            log.entry(block_of(ordinal)).or_default().insert(ordinal);
        }
        if !self.marks.is_empty() {
            // A decision may have asked before.
            self.marks.remove(&(open.scan, block_of(ordinal)));
        }
    }

    /// Writes what this batch saw, and how far its scans have come.
    pub fn put_away_open(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        for open in std::mem::take(&mut self.open).into_values().filter(|open| open.is_changed) {
            if !open.seen.is_empty() {
                let line = self.line(&batch.state, open.line)?;
                let is_whole = |scan: &Scan| !scan.has_log && scan.progress == Progress::Complete && !scan.has_ended;
                if line.scan(open.scan).is_some_and(is_whole) {
                    self.put_marks(batch, open.line, open.scan, &open.seen)?;
                } else {
                    self.put_seen(batch, open.line, open.scan, open.seen)?;
                }
            }
            if !open.routes_now.is_empty() {
                let row = self.number(Table::ScanRoutes, &[open.scan, self.next.seen]);
                self.next.seen += 1;
                codec::put(&mut batch.state, row, &open.routes_now);
            }
            self.put_progress(open.scan, open.progress);
        }
        // Read before the marks were written.
        self.marks.clear();
        self.logs.clear();
        Ok(())
    }

    /// Writes what this batch saw of a scan that goes on.
    fn put_seen(&mut self, batch: &mut Batch<'_>, line: u32, scan: u32, seen: Vec<u32>) -> Result<()> {
        let row = self.number(Table::Seen, &[scan, self.next.seen]);
        self.next.seen += 1;
        codec::put(&mut batch.state, row, &Ordinals::of(seen));
        let is_logged = self.line(&batch.state, line)?.scan(scan).is_some_and(|scan| scan.has_log);
        if !is_logged && let Some(scan) = self.line_mut(&batch.state, line)?.scan_mut(scan) {
            scan.has_log = true;
        }
        Ok(())
    }

    /// Writes what a scan saw into its blocks.
    fn put_marks(&mut self, batch: &mut Batch<'_>, line: u32, scan: u32, seen: &[u32]) -> Result<()> {
        let mut blocks: BTreeMap<u32, Bits> = BTreeMap::new();
        add_to(&mut blocks, seen);
        // A scan that came whole in one batch has no other marks, and most are small: theirs need no row of their own.
        let small = |(block, bits): (&u32, &Bits)| Some((*block, bits.bytes())).filter(|(_, row)| row.len() <= FEW_MARKS_BYTES);
        if let Some(marks) = blocks.first_key_value().filter(|_| blocks.len() == 1 && self.began.contains(&(line, scan))).and_then(small)
            && let Some(scan) = self.line_mut(&batch.state, line)?.scan_mut(scan)
        {
            scan.marks = Some(marks);
            return Ok(());
        }
        for (block, bits) in blocks {
            let at = self.number(Table::Marks, &[scan, block]);
            let mut all: Bits = codec::get(&batch.state, &at)?.unwrap_or_default();
            all.add(&bits);
            codec::put(&mut batch.state, at, &all);
        }
        Ok(())
    }

    /// Folds the rows by batch of a scan into its blocks.
    pub fn fold_log(&mut self, batch: &mut Batch<'_>, line: u32, scan: u32) -> Result<()> {
        self.read_log(&batch.state, scan)?;
        for (block, bits) in self.logs.remove(&scan).unwrap_or_default() {
            let at = self.number(Table::Marks, &[scan, block]);
            let mut all: Bits = codec::get(&batch.state, &at)?.unwrap_or_default();
            all.add(&bits);
            codec::put(&mut batch.state, at, &all);
        }
        delete_all(batch, &self.number(Table::Seen, &[scan]))?;
        self.forget_marks();
        if let Some(scan) = self.line_mut(&batch.state, line)?.scan_mut(scan) {
            scan.has_log = false;
        }
        Ok(())
    }

    pub fn forget_marks(&mut self) {
        self.marks.clear();
        self.logs.clear();
    }

    // Blocks.

    /// What is known of a block of a line before its oldest scan.
    pub fn floor(&mut self, state: &dyn Store, line: u32, block: u32) -> Result<Arc<FloorRow>> {
        if let Some(row) = self.floors.get(&(line, block)) {
            return Ok(Arc::clone(row));
        }
        if self.floors.len() >= BLOCKS_AT_HAND {
            self.floors.clear();
        }
        let row: Option<FloorRow> = codec::get(state, &self.number(Table::Floor, &[line, block]))?;
        let row = Arc::new(row.unwrap_or_default());
        self.floors.insert((line, block), Arc::clone(&row));
        Ok(row)
    }

    pub fn put_floor(&mut self, batch: &mut Batch<'_>, line: u32, block: u32, row: FloorRow) {
        codec::put(&mut batch.state, self.number(Table::Floor, &[line, block]), &row);
        self.floors.insert((line, block), Arc::new(row));
    }

    /// Which findings of a block are known on a line.
    pub fn known(&mut self, state: &dyn Store, line: u32, block: u32) -> Result<&mut KnownRow> {
        if !self.known.contains_key(&(line, block)) {
            let row = codec::get(state, &self.number(Table::Known, &[line, block]))?;
            self.known.insert((line, block), row.unwrap_or_default());
        }
        Ok(self.known.get_mut(&(line, block)).expect("it was read just now"))
    }

    pub fn known_changed(&mut self, line: u32, block: u32) {
        self.known_changed.insert((line, block));
    }

    /// Which routes of a line are named by a scan that is kept, or by its floor.
    pub fn known_routes(&mut self, state: &dyn Store, line: u32) -> Result<&mut BTreeSet<u32>> {
        if !self.known_routes.contains_key(&line) {
            let row: Option<Ordinals> = codec::get(state, &self.number(Table::KnownRoutes, &[line]))?;
            self.known_routes.insert(line, row.unwrap_or_default().0.into_iter().collect());
        }
        Ok(self.known_routes.get_mut(&line).expect("it was read just now"))
    }

    pub fn known_routes_changed(&mut self, line: u32) {
        self.known_routes_changed.insert(line);
    }

    // Findings.

    pub fn detail(&self, state: &dyn Store, ordinal: u32) -> Result<Option<Detail>> {
        Ok(codec::get(state, &self.number(Table::Detail, &[ordinal]))?)
    }

    /// Whether nothing can have moved from a finding: this batch brought it.
    pub fn nothing_moved_from(&self, ordinal: u32) -> bool {
        ordinal >= self.stored.1.ordinal && !self.has_put_links
    }

    /// Notes that a finding is to be worked out anew.
    pub fn touch(&mut self, ordinal: u32, with_those_alike: bool) {
        *self.dirty.entry(ordinal).or_default() |= with_those_alike;
    }

    /// Writes what changed.
    pub fn put_away(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        self.put_away_texts(batch)?;
        for (line, stored) in std::mem::take(&mut self.lines_stored) {
            self.put_away_line(batch, line, stored.as_deref());
        }
        for scan in std::mem::take(&mut self.progress_changed) {
            codec::put(&mut batch.state, numbered(Table::Progress, self.key, &[scan]), &self.progress[&scan]);
        }
        for (line, block) in std::mem::take(&mut self.known_changed) {
            codec::put(&mut batch.state, numbered(Table::Known, self.key, &[line, block]), &self.known[&(line, block)]);
        }
        for line in std::mem::take(&mut self.known_routes_changed) {
            let known = Ordinals(self.known_routes[&line].iter().copied().collect());
            codec::put(&mut batch.state, numbered(Table::KnownRoutes, self.key, &[line]), &known);
        }
        if let Some((sets, _)) = self.sets.as_ref().filter(|_| self.sets_changed) {
            codec::put(&mut batch.state, key(Table::Services, self.key, &[]), sets);
            self.sets_changed = false;
        }
        if self.row != self.stored.0 {
            codec::put(&mut batch.state, key(Table::Asset, self.key, &[]), &self.row);
            self.stored.0.clone_from(&self.row);
        }
        if self.next != self.stored.1 {
            codec::put(&mut batch.state, key(Table::Counters, self.key, &[]), &self.next);
            self.stored.1.clone_from(&self.next);
        }
        Ok(())
    }

    /// Writes what changed of a line and its scans.
    fn put_away_line(&self, batch: &mut Batch<'_>, line: u32, stored: Option<&LineRow>) {
        let row = &self.lines[&line];
        let bytes = row.bytes();
        if stored.is_none_or(|stored| stored.bytes() != bytes) {
            batch.state.put(self.number(Table::Line, &[line]), bytes);
        }
        let before = |number: u32| stored.and_then(|stored| stored.scan(number));
        for scan in row.scans.iter().filter(|scan| before(scan.number) != Some(scan)) {
            codec::put(&mut batch.state, self.number(Table::Scan, &[line, scan.number]), scan);
        }
        for gone in stored.into_iter().flat_map(|stored| &stored.scans).filter(|scan| row.scan(scan.number).is_none()) {
            batch.state.delete(self.number(Table::Scan, &[line, gone.number]));
        }
    }
}

fn add_to(log: &mut BTreeMap<u32, Bits>, ordinals: &[u32]) {
    for ordinal in ordinals {
        log.entry(block_of(*ordinal)).or_default().insert(*ordinal);
    }
}

/// Sees every row under a prefix.
pub(super) fn each(state: &dyn Store, prefix: &[u8], mut see: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>) -> Result<()> {
    let mut fault = Ok(());
    state.scan(prefix, prefix, &mut |at, row| {
        fault = see(at, row);
        if fault.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(fault?)
}

/// The keys under a prefix, at most so many.
pub(super) fn keys_under(state: &dyn Store, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    if most > 0 {
        state.scan(prefix, from, &mut |at, _| {
            keys.push(at.to_vec());
            if keys.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(keys)
}

/// Removes every row under a prefix.
pub(super) fn delete_all(batch: &mut Batch<'_>, prefix: &[u8]) -> Result<()> {
    for at in keys_under(&batch.state, prefix, prefix, usize::MAX)? {
        batch.state.delete(at);
    }
    Ok(())
}

/// The numbers that stand last in the keys under a prefix, so many bytes behind table and asset.
pub(super) fn numbers_under(state: &dyn Store, prefix: &[u8], at: usize, most: usize) -> Result<Vec<u32>> {
    Ok(keys_under(state, prefix, prefix, most)?.iter().map(|row| number_at(row, at)).collect())
}
