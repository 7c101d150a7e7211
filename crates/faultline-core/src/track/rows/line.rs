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
    /// What it saw, where that is little and of one block: the block, and the row that would stand among the marks.
    pub marks: Option<(u32, Vec<u8>)>,
    /// How many observations it announced.
    pub observations: u32,
    /// Of a complete scan that has ended and has no routes: what became of its observations. Then it has no other progress.
    pub settled: Option<ScanCounts>,
}

impl Scan {
    /// Whether it may open, close, and be published: not taken back, not too old.
    pub fn counts(&self) -> bool {
        self.progress != Progress::Retracted && !self.is_too_old
    }

    /// How far a scan has come of which only the counts are kept.
    pub fn settled_progress(&self) -> Option<ScanProgress> {
        let counts = self.settled?;
        let numbers = Numbers::of_ranges((self.observations > 0).then_some((0, self.observations)).into_iter().collect())?;
        Some(ScanProgress { numbers, announced: Some(self.observations), counts, ..ScanProgress::default() })
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

/// A line of scans. Its scans are rows of their own, so that one more writes little.
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
}

impl LineRow {
    /// Whether anything is known on it.
    pub fn is_there(&self) -> bool {
        self.floor.is_some() || self.scans.iter().any(|scan| scan.progress != Progress::Retracted)
    }

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

    /// What stands before this in order is not kept one by one for long, if it is still: it is in the floor, or will be.
    pub fn lets_go_below(&self) -> Option<ScanOrder> {
        let leaving = self.scans.iter().filter(|scan| scan.is_leaving || scan.is_too_old).map(|scan| scan.order).max();
        self.floor.max(leaving)
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

const KINDS: [ScanKind; 7] =
    [ScanKind::Sast, ScanKind::Sca, ScanKind::Secret, ScanKind::Iac, ScanKind::Dast, ScanKind::Posture, ScanKind::Other];

fn number_of(kind: ScanKind) -> u8 {
    KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1) as u8
}

pub(in crate::track) fn write_kind(out: &mut Writer, kind: ScanKind) {
    out.byte(number_of(kind));
}

pub(in crate::track) fn read_kind(from: &mut Reader<'_>) -> Option<ScanKind> {
    KINDS.get(usize::from(from.byte()?)).copied()
}

fn write_order(out: &mut Writer, order: &ScanOrder) {
    out.time(order.as_of);
    // They are seldom far apart.
    out.int(order.started.millis().wrapping_sub(order.as_of.millis()));
    out.id(order.id);
}

fn read_order(from: &mut Reader<'_>) -> Option<ScanOrder> {
    let as_of = from.time()?;
    Some(ScanOrder { as_of, started: Timestamp::from_millis(as_of.millis().wrapping_add(from.int()?)), id: from.id()? })
}

/// The one-bit facts of a scan's row, kind and progress, in as few bytes as they need: what is rare stands last.
struct ScanFlags(u32);

impl ScanFlags {
    const COMMIT: u32 = 3;
    const SETTLED: u32 = 4;
    const COUNTS: u32 = 5;
    const MARKS: u32 = 6;
    const KIND: u32 = 7;
    const PROGRESS: u32 = 10;

    fn of(scan: &Scan) -> Self {
        let has_counts = scan.settled.as_ref().is_some_and(|counts| *counts != ScanCounts::default());
        let first = [
            scan.is_default_branch,
            scan.is_full,
            scan.has_ended,
            commit_of(&scan.revision).is_some(),
            scan.settled.is_some(),
            has_counts,
            scan.marks.is_some(),
        ];
        let last = [scan.is_too_old, scan.is_leaving, scan.has_log];
        let bits = |flags: &[bool]| flags.iter().zip(0..).fold(0, |bits, (flag, at)| bits | u32::from(*flag) << at);
        let progress = match scan.progress {
            Progress::Unfinished => 0,
            Progress::Complete => 1,
            Progress::Retracted => 2,
        };
        Self(bits(&first) | u32::from(number_of(scan.kind)) << Self::KIND | progress << Self::PROGRESS | bits(&last) << 12)
    }

    fn has(&self, at: u32) -> bool {
        self.0 >> at & 1 == 1
    }

    fn kind(&self) -> Option<ScanKind> {
        KINDS.get((self.0 >> Self::KIND & 7) as usize).copied()
    }

    fn progress(&self) -> Option<Progress> {
        [Progress::Unfinished, Progress::Complete, Progress::Retracted].get((self.0 >> Self::PROGRESS & 3) as usize).copied()
    }
}

impl Row for Scan {
    const TABLE: &'static str = "scans of a line";

    fn write(&self, out: &mut Writer) {
        let flags = ScanFlags::of(self);
        out.uint(flags.0.into());
        write_order(out, &self.order);
        match commit_of(&self.revision) {
            Some(commit) => out.0.extend(commit),
            None => out.text(&self.revision),
        }
        out.hash(self.said);
        out.uint(self.observations.into());
        if let Some(counts) = self.settled.as_ref().filter(|_| flags.has(ScanFlags::COUNTS)) {
            write_counts(out, counts);
        }
        if let Some((block, marks)) = &self.marks {
            out.uint((*block).into());
            out.slice(marks);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let flags = ScanFlags(from.small()?);
        let order = read_order(from)?;
        let revision = if flags.has(ScanFlags::COMMIT) { read_commit(from)? } else { from.text()? };
        let (said, observations) = (from.hash()?, from.small()?);
        let counts = if flags.has(ScanFlags::COUNTS) { read_counts(from)? } else { ScanCounts::default() };
        let marks = if flags.has(ScanFlags::MARKS) { Some((from.small()?, from.slice()?.to_vec())) } else { None };
        Some(Self {
            number: 0,
            order,
            revision,
            progress: flags.progress()?,
            is_default_branch: flags.has(0),
            is_full: flags.has(1),
            kind: flags.kind()?,
            is_too_old: flags.has(12),
            is_leaving: flags.has(13),
            has_log: flags.has(14),
            has_ended: flags.has(2),
            said,
            marks,
            observations,
            settled: flags.has(ScanFlags::SETTLED).then_some(counts),
        })
    }
}

/// A revision that is a commit's hash, as Git writes it: half as long in bytes.
fn commit_of(revision: &str) -> Option<[u8; 20]> {
    let digits: &[u8; 40] = revision.as_bytes().try_into().ok()?;
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut commit = [0; 20];
    for (byte, pair) in commit.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(commit)
}

fn read_commit(from: &mut Reader<'_>) -> Option<String> {
    let mut revision = String::with_capacity(40);
    for _ in 0..20 {
        let byte = from.byte()?;
        revision.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    Some(revision)
}

fn write_counts(out: &mut Writer, counts: &ScanCounts) {
    for count in [counts.new, counts.refused, counts.reopened, counts.closed] {
        out.int(count.into());
    }
}

fn read_counts(from: &mut Reader<'_>) -> Option<ScanCounts> {
    Some(ScanCounts { new: from.int32()?, refused: from.int32()?, reopened: from.int32()?, closed: from.int32()?, ..ScanCounts::default() })
}

/// Which services a line is published for. What is published of it follows from its own row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct PublishedFor(pub u32);

impl Row for PublishedFor {
    const TABLE: &'static str = "published lines";

    fn write(&self, out: &mut Writer) {
        out.uint(self.0.into());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.small().map(Self)
    }
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
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            id: from.id()?,
            tool: from.text()?,
            branch: from.text()?,
            environment: from.text()?,
            counts: from.flag()?,
            has_routes: from.flag()?,
            scans: Vec::new(),
            floor: from.option(read_order)?,
            floor_says: from.option(|from| Some((read_kind(from)?, from.flag()?)))?,
            floor_started: from.time()?,
            floor_retired: from.option(Reader::time)?,
            folding: from.option(|from| Some(Folding { scan: from.small()?, next: from.small()?, retired: from.option(Reader::time)? }))?,
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
    /// Families that its tool tests for and that it reported or lists as run, sorted.
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
        write_counts(out, &self.counts);
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
            counts: read_counts(from)?,
            families: from.texts()?,
            routes: from.small()?,
            routes_cut: from.small()?,
        })
    }
}
