//! A line of scans: one tool on one asset, on one branch or in one environment.
//!
//! Everything here is a function of the set of scans that are known, never of the order in which they came. Closing needs a
//! statement: only a complete scan whose scope holds a finding can close it (promise 10).

use serde::{Deserialize, Serialize};

use faultline_model::id::Id;
pub use faultline_model::scan::Scope;
use faultline_model::time::Timestamp;

/// How many scans of a line are kept; older ones count for first seen only and cannot be taken back.
pub const SCANS_KEPT: usize = 32;

/// Where a scan stands among the scans of its line: by what it says, never by arrival.
///
/// On a branch a scan counts as of its revision's time, else of its start; in an environment as of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScanOrder {
    pub as_of: Timestamp,
    pub started: Timestamp,
    pub id: Id,
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Observations still arrive, or it was cut off by the timer: it closes nothing.
    Unfinished,
    /// As many distinct observations arrived as were announced.
    Complete,
    /// Taken back: as if it had never been, but its id and its place in the line are remembered.
    Retracted,
}

/// A scan as its line knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    pub order: ScanOrder,
    pub revision: String,
    pub scope: Scope,
    pub progress: Progress,
}

/// The standing of a finding on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The newest scan that saw it is not older than the newest complete scan whose scope holds it.
    Open,
    /// A complete scan whose scope holds it, newer than all that saw it, does not have it: the oldest such scan.
    Closed { by: ScanOrder },
    /// A newer complete scan looked at its place, but says that it no longer runs its rule.
    Unknown { since: ScanOrder },
}

/// What is asked about: a finding's place and rule, as its scope is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub path: &'a str,
    pub rule: &'a str,
}

/// The standing of a finding, given the line's scans in any order and which of them saw it.
///
/// `None` if no scan that counts saw it: then it is not on this line.
pub fn standing(scans: &[Scan], subject: Subject<'_>, saw: impl Fn(&Id) -> bool) -> Option<Standing> {
    let counting = || scans.iter().filter(|scan| scan.progress != Progress::Retracted);
    let last_seen = counting().filter(|scan| saw(&scan.order.id)).map(|scan| scan.order).max()?;
    let looked_later =
        || counting().filter(|scan| scan.progress == Progress::Complete && scan.order > last_seen && scan.scope.holds_path(subject.path));
    let closed = looked_later().filter(|scan| scan.scope.ran(subject.rule)).map(|scan| scan.order).min();
    if let Some(by) = closed {
        return Some(Standing::Closed { by });
    }
    // No later scan ran the rule, so whatever looked at the place looked without it.
    let unknown = looked_later().map(|scan| scan.order).min();
    Some(unknown.map_or(Standing::Open, |since| Standing::Unknown { since }))
}

/// The newest revision of which both lines have a complete scan, with these scans.
///
/// Revisions are compared by the later of their two orders' times, then by name, so that the answer is the same from either side.
pub fn newest_shared_revision<'a>(one: &'a [Scan], other: &'a [Scan]) -> Option<(&'a Scan, &'a Scan)> {
    let complete = |scan: &&'a Scan| scan.progress == Progress::Complete && !scan.revision.is_empty();
    let newest_of = |scans: &'a [Scan], revision: &str| {
        scans.iter().filter(complete).filter(|scan| scan.revision == revision).max_by_key(|scan| scan.order)
    };
    one.iter()
        .filter(complete)
        .filter_map(|scan| Some((newest_of(one, &scan.revision)?, newest_of(other, &scan.revision)?)))
        .max_by_key(|(a, b)| (a.order.as_of.max(b.order.as_of), a.revision.as_str()))
}

/// Distinct numbers out of 0..n, as ranges. Numbers nearly always come in order, so there is nearly always one range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Disjoint, sorted, not adjacent: first and one past the last.
    ranges: Vec<(u32, u32)>,
}

impl Numbers {
    /// Adds a number; false if it was there.
    pub fn insert(&mut self, number: u32) -> bool {
        let next = self.ranges.partition_point(|(first, _)| *first <= number);
        if next > 0 && number < self.ranges[next - 1].1 {
            return false;
        }
        let joins_before = next > 0 && self.ranges[next - 1].1 == number;
        let joins_after = next < self.ranges.len() && self.ranges[next].0 == number + 1;
        match (joins_before, joins_after) {
            (true, true) => {
                self.ranges[next - 1].1 = self.ranges[next].1;
                self.ranges.remove(next);
            }
            (true, false) => self.ranges[next - 1].1 = number + 1,
            (false, true) => self.ranges[next].0 = number,
            (false, false) => self.ranges.insert(next, (number, number + 1)),
        }
        true
    }

    /// The ranges: first and one past the last, sorted, disjoint and not adjacent.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// From ranges as [`Numbers::ranges`] gives them; `None` if they are not such.
    pub fn of_ranges(ranges: Vec<(u32, u32)>) -> Option<Self> {
        let is_sound = ranges.iter().all(|(first, end)| first < end) && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        is_sound.then_some(Self { ranges })
    }

    /// Whether a number is there.
    pub fn has(&self, number: u32) -> bool {
        let next = self.ranges.partition_point(|(first, _)| *first <= number);
        next > 0 && number < self.ranges[next - 1].1
    }

    /// How many distinct numbers are there.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, end)| u64::from(end - first)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether exactly 0 to n−1 are there: a scan that announced n is complete.
    pub fn are_exactly(&self, announced: u32) -> bool {
        match self.ranges.as_slice() {
            [] => announced == 0,
            [(0, end)] => *end == announced,
            _ => false,
        }
    }
}
