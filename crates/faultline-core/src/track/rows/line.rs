//! A line of scans, the scans on it, and how far each has come.

use faultline_model::decision::ScanCounts;
use faultline_model::id::Id;
use faultline_model::observation::ScanKind;
use faultline_model::scan::Scope;
use faultline_model::time::Timestamp;

use crate::track::codec::{Reader, Row, Writer};
use crate::track::line::{Numbers, Progress, ScanOrder};

/// A scan as its line keeps it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that the row keeps")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct Scan {
    /// Small, given in the order of arrival; it means nothing outside of state.
    pub number: u32,
    pub order: ScanOrder,
    pub revision: String,
    pub progress: Progress,
    pub is_default_branch: bool,
    /// Whether its scope is the whole asset.
    pub is_full: bool,
    pub kind: ScanKind,
    /// Older than all that were kept when it came: it counts for first seen alone.
    pub is_too_old: bool,
    /// No longer among the newest that are kept: it goes into the floor as soon as it has ended.
    pub is_leaving: bool,
    /// Whether marks lie in rows by batch, rather than only in blocks.
    pub has_log: bool,
    /// Whether its end was worked off: complete and settled, or cut off by the timer.
    pub has_ended: bool,
    /// Which row says the rest.
    pub said: u64,
    /// How many observations it announced.
    pub observations: u32,
}

impl Scan {
    /// Whether it may open, close, and be published: not taken back, not too old.
    pub fn counts(&self) -> bool {
        self.progress != Progress::Retracted && !self.is_too_old
    }

    /// Whether it counts and is among the newest that are kept.
    pub fn stays(&self) -> bool {
        self.counts() && !self.is_leaving
    }
}

/// A scan on its way into the floor, block by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) struct Folding {
    pub scan: u32,
    /// The first block that is not done.
    pub next: u32,
    /// The retirement that goes into the floor before it.
    pub retired: Option<Timestamp>,
}

/// A line of scans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct LineRow {
    pub id: Id,
    pub tool: String,
    pub branch: String,
    pub environment: String,
    /// Whether findings on it make risks.
    pub counts: bool,
    /// Whether any scan of it ever reported a route.
    pub has_routes: bool,
    /// By their order, the oldest first.
    pub scans: Vec<Scan>,
    /// The newest scan that was folded into the floor; none if there is no floor.
    pub floor: Option<ScanOrder>,
    /// Of the newest folded scan that counts: its kind, and whether it was of the default branch. None if there is none.
    pub floor_says: Option<(ScanKind, bool)>,
    /// The latest start of any scan that was folded.
    pub floor_started: Timestamp,
    /// The retirement that was folded, if any: it is part of the floor.
    pub floor_retired: Option<Timestamp>,
    pub folding: Option<Folding>,
    /// Services that it is published for.
    pub services: Vec<String>,
    /// Digest of what was published; 0 for nothing.
    pub digest: u64,
}

impl LineRow {
    pub fn scan(&self, number: u32) -> Option<&Scan> {
        self.scans.iter().find(|scan| scan.number == number)
    }

    pub fn scan_mut(&mut self, number: u32) -> Option<&mut Scan> {
        self.scans.iter_mut().find(|scan| scan.number == number)
    }

    /// Whether a scan is already part of the floor in a block.
    pub fn is_folded(&self, scan: u32, block: u32) -> bool {
        self.folding.is_some_and(|folding| folding.scan == scan && block < folding.next)
    }

    /// Whether a scan is in the floor or on its way there: nothing that comes can change any more what it says.
    pub fn is_settled(&self, scan: u32) -> bool {
        self.folding.is_some_and(|folding| folding.scan == scan) || self.scan(scan).is_none()
    }

    /// Of the newest scan that counts: its kind, and whether it was of the default branch.
    pub fn newest(&self) -> Option<(ScanKind, bool)> {
        let newest = self.scans.iter().rev().find(|scan| scan.counts());
        newest.map(|scan| (scan.kind, scan.is_default_branch)).or(self.floor_says)
    }

    /// Lets the oldest go where there are more than are kept. What goes is settled here, by what came, and not by when it is folded.
    pub fn let_go(&mut self, kept: usize) {
        let staying = self.scans.iter().filter(|scan| scan.stays()).count();
        for scan in self.scans.iter_mut().filter(|scan| scan.stays()).take(staying.saturating_sub(kept)) {
            scan.is_leaving = true;
        }
    }

    /// Whether nothing that this scan newly sees of what is open here can matter but the mark itself: it is the newest in order,
    /// those that were taken back included, since what they said may still be taken for known; and none began later.
    pub fn is_plain(&self, number: u32) -> bool {
        let newest = self.scans.iter().rev().find(|scan| !scan.is_too_old);
        let Some(newest) = newest.filter(|scan| scan.number == number && scan.counts()) else { return false };
        let others = self.scans.iter().filter(|scan| scan.progress != Progress::Retracted).map(|scan| scan.order.started);
        let latest = others.max().unwrap_or(newest.order.started);
        newest.order.started >= latest && (self.floor.is_none() || newest.order.started >= self.floor_started)
    }
}

fn write_progress(out: &mut Writer, progress: Progress) {
    out.byte(match progress {
        Progress::Unfinished => 0,
        Progress::Complete => 1,
        Progress::Retracted => 2,
    });
}

fn read_progress(from: &mut Reader<'_>) -> Option<Progress> {
    match from.byte()? {
        0 => Some(Progress::Unfinished),
        1 => Some(Progress::Complete),
        2 => Some(Progress::Retracted),
        _ => None,
    }
}

const KINDS: [ScanKind; 7] =
    [ScanKind::Sast, ScanKind::Sca, ScanKind::Secret, ScanKind::Iac, ScanKind::Dast, ScanKind::Posture, ScanKind::Other];

pub(in crate::track) fn write_kind(out: &mut Writer, kind: ScanKind) {
    out.byte(KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1) as u8);
}

pub(in crate::track) fn read_kind(from: &mut Reader<'_>) -> Option<ScanKind> {
    KINDS.get(usize::from(from.byte()?)).copied()
}

fn write_order(out: &mut Writer, order: &ScanOrder) {
    out.time(order.as_of);
    out.time(order.started);
    out.id(order.id);
}

fn read_order(from: &mut Reader<'_>) -> Option<ScanOrder> {
    Some(ScanOrder { as_of: from.time()?, started: from.time()?, id: from.id()? })
}

fn write_scan(out: &mut Writer, scan: &Scan) {
    out.uint(scan.number.into());
    write_order(out, &scan.order);
    out.text(&scan.revision);
    write_progress(out, scan.progress);
    write_kind(out, scan.kind);
    for flag in [scan.is_default_branch, scan.is_full, scan.is_too_old, scan.is_leaving, scan.has_log, scan.has_ended] {
        out.flag(flag);
    }
    out.hash(scan.said);
    out.uint(scan.observations.into());
}

fn read_scan(from: &mut Reader<'_>) -> Option<Scan> {
    Some(Scan {
        number: from.small()?,
        order: read_order(from)?,
        revision: from.text()?,
        progress: read_progress(from)?,
        kind: read_kind(from)?,
        is_default_branch: from.flag()?,
        is_full: from.flag()?,
        is_too_old: from.flag()?,
        is_leaving: from.flag()?,
        has_log: from.flag()?,
        has_ended: from.flag()?,
        said: from.hash()?,
        observations: from.small()?,
    })
}

impl Row for LineRow {
    const TABLE: &'static str = "lines";

    fn write(&self, out: &mut Writer) {
        out.id(self.id);
        for text in [&self.tool, &self.branch, &self.environment] {
            out.text(text);
        }
        for flag in [self.counts, self.has_routes] {
            out.flag(flag);
        }
        out.list(&self.scans, write_scan);
        out.option(self.floor.as_ref(), write_order);
        out.option(self.floor_says.as_ref(), |out, (kind, is_default)| {
            write_kind(out, *kind);
            out.flag(*is_default);
        });
        out.time(self.floor_started);
        out.option(self.floor_retired.as_ref(), |out, at| out.time(*at));
        out.option(self.folding.as_ref(), |out, folding| {
            out.uint(folding.scan.into());
            out.uint(folding.next.into());
            out.option(folding.retired.as_ref(), |out, at| out.time(*at));
        });
        out.texts(&self.services);
        out.hash(self.digest);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            id: from.id()?,
            tool: from.text()?,
            branch: from.text()?,
            environment: from.text()?,
            counts: from.flag()?,
            has_routes: from.flag()?,
            scans: from.list(read_scan)?,
            floor: from.option(read_order)?,
            floor_says: from.option(|from| Some((read_kind(from)?, from.flag()?)))?,
            floor_started: from.time()?,
            floor_retired: from.option(Reader::time)?,
            folding: from.option(|from| Some(Folding { scan: from.small()?, next: from.small()?, retired: from.option(Reader::time)? }))?,
            services: from.texts()?,
            digest: from.hash()?,
        })
    }
}

/// Where a scan is, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) enum ScanAt {
    Kept {
        line: u32,
        scan: u32,
    },
    /// It was refused when it started: what else comes of it is passed over.
    Refused,
}

impl Row for ScanAt {
    const TABLE: &'static str = "scans";

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Refused => out.flag(false),
            Self::Kept { line, scan } => {
                out.flag(true);
                out.uint((*line).into());
                out.uint((*scan).into());
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(if from.flag()? { Self::Kept { line: from.small()?, scan: from.small()? } } else { Self::Refused })
    }
}

/// What a scan says of itself at length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct Said {
    pub scope: Scope,
    pub service_claim: String,
    /// Weakness families that its tool tests for, sorted.
    pub tests_for: Vec<String>,
}

impl Row for Said {
    const TABLE: &'static str = "said";

    fn write(&self, out: &mut Writer) {
        out.flag(self.scope.is_full);
        out.texts(&self.scope.paths);
        out.texts(&self.scope.rules);
        out.text(&self.service_claim);
        out.texts(&self.tests_for);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let scope = Scope { is_full: from.flag()?, paths: from.texts()?, rules: from.texts()? };
        Some(Self { scope, service_claim: from.text()?, tests_for: from.texts()? })
    }
}

/// How far a scan has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct ScanProgress {
    pub numbers: Numbers,
    /// How many observations its end announced.
    pub announced: Option<u32>,
    /// What became of them so far; `observed` and `known` are worked out at the end.
    pub counts: ScanCounts,
    /// Families that it reported or lists as run, sorted.
    pub families: Vec<String>,
    pub routes: u32,
    /// Routes beyond the bound, which were left out.
    pub routes_cut: u32,
}

impl Row for ScanProgress {
    const TABLE: &'static str = "progress";

    fn write(&self, out: &mut Writer) {
        out.list(self.numbers.ranges(), |out, (first, end)| {
            out.uint((*first).into());
            out.uint((end - first).into());
        });
        out.option(self.announced.as_ref(), |out, announced| out.uint((*announced).into()));
        for count in [self.counts.new, self.counts.refused, self.counts.reopened, self.counts.closed] {
            out.int(count.into());
        }
        out.texts(&self.families);
        out.uint(self.routes.into());
        out.uint(self.routes_cut.into());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let ranges = from.list(|from| {
            let first = from.small()?;
            Some((first, first.checked_add(from.small()?)?))
        })?;
        Some(Self {
            numbers: Numbers::of_ranges(ranges)?,
            announced: from.option(Reader::small)?,
            counts: ScanCounts {
                new: from.int32()?,
                refused: from.int32()?,
                reopened: from.int32()?,
                closed: from.int32()?,
                ..ScanCounts::default()
            },
            families: from.texts()?,
            routes: from.small()?,
            routes_cut: from.small()?,
        })
    }
}
