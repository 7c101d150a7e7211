//! What the scans of a line observed of one finding, as changes: an entry holds from its scan on until the next one.
//!
//! The entries are a function of which scan observed what, never of arrival: a scan that comes late or goes again is fitted in by
//! spelling out what each scan observed and writing the changes anew.

use faultline_model::time::Timestamp;

/// How many entries of scans that are no longer kept stay, for the places that are shown; the oldest goes first.
const FLOOR_ENTRIES: usize = faultline_model::tracked::PLACES_KEPT;

/// In place of the number of a scan that was too old when it came.
pub(super) const TOO_OLD: u32 = 0;

/// From this scan on, this was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// [`TOO_OLD`] for what only a scan says that was too old when it came: it counts where nothing else does.
    pub scan: u32,
    /// The time that the scan counts as of.
    pub as_of: Timestamp,
    /// Hash of what was observed.
    pub body: u64,
    /// First and last line of code; zeros where there are none.
    pub lines: (i32, i32),
}

/// The entries of one line of scans, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeline(pub Vec<Entry>);

/// A scan that saw the finding, by its place in the line's order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub scan: u32,
    pub at: usize,
    pub as_of: Timestamp,
}

/// An observation that may differ from what is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported {
    pub line: u32,
    pub entry: Entry,
    /// Whether the same scan had observed the finding before, as what is known says.
    pub is_repeated: bool,
}

impl Timeline {
    /// The timeline after new reports, for the scans that are known to have seen the finding, in their order.
    ///
    /// `place_of` tells where a scan stands in the line's order; `None` for those that are not kept. A scan that observed the
    /// finding twice and differently counts with the body of the smaller hash, so that arrival does not matter.
    pub fn settled(&self, seen: &[Sighting], reported: &[Reported], place_of: impl Fn(u32) -> Option<usize>) -> Self {
        let (mut floor, mut kept) = (Vec::new(), Vec::new());
        for entry in self.proper() {
            match place_of(entry.scan) {
                None => floor.push(*entry),
                Some(at) => kept.push((at, *entry)),
            }
        }
        let oldest = floor.last().copied();
        floor.drain(..floor.len().saturating_sub(FLOOR_ENTRIES));
        let old = self.0.iter().chain(reported.iter().map(|report| &report.entry)).filter(|entry| entry.scan == TOO_OLD);
        let old = old.filter(|_| floor.is_empty()).min_by_key(|entry| (entry.body, entry.as_of)).copied();
        let mut settled = Self(old.into_iter().chain(floor).collect());
        for sighting in seen {
            let known = kept.iter().rev().find(|(at, _)| *at <= sighting.at).map(|(_, entry)| *entry).or(oldest);
            let new = reported.iter().filter(|report| report.entry.scan == sighting.scan);
            let is_repeated = new.clone().all(|report| report.is_repeated);
            let all = new.map(|report| report.entry).chain(known.filter(|_| is_repeated));
            if let Some(entry) = all.min_by_key(|entry| entry.body) {
                settled.push(Entry { scan: sighting.scan, as_of: sighting.as_of, ..entry });
            }
        }
        settled
    }

    fn push(&mut self, entry: Entry) {
        if self.proper().last().is_none_or(|last| last.body != entry.body) {
            self.0.push(entry);
        }
    }

    /// The entries without what only too old scans say.
    fn proper(&self) -> &[Entry] {
        let first = usize::from(self.0.first().is_some_and(|entry| entry.scan == TOO_OLD));
        &self.0[first..]
    }

    /// What the newest report says.
    pub fn newest(&self) -> Option<&Entry> {
        self.0.last()
    }

    /// The bodies that may be needed again: of scans that are kept, and the last one before them.
    pub fn bodies(&self, place_of: impl Fn(u32) -> Option<usize>) -> Vec<u64> {
        let old = self.0.iter().filter(|entry| entry.scan == TOO_OLD);
        let entries = self.proper();
        let first_kept = entries.iter().position(|entry| place_of(entry.scan).is_some()).unwrap_or(entries.len());
        old.chain(&entries[first_kept.saturating_sub(1)..]).map(|entry| entry.body).collect()
    }

    /// The entries at which the lines of code changed.
    pub fn places(&self) -> impl Iterator<Item = &Entry> {
        let entries = if self.proper().is_empty() { &self.0 } else { self.proper() };
        let before = std::iter::once(None).chain(entries.iter().map(Some));
        let changed = entries.iter().zip(before).filter(|(entry, before)| before.is_none_or(|before| before.lines != entry.lines));
        changed.map(|(entry, _)| entry).filter(|entry| entry.lines != (0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(scan: u32, body: u64) -> Entry {
        Entry { scan, as_of: Timestamp::from_millis(scan.into()), body, lines: (body as i32, body as i32) }
    }

    fn changes(bodies: &[(u32, u64)]) -> Timeline {
        let mut plain = Timeline::default();
        for (scan, body) in bodies {
            plain.push(entry(*scan, *body));
        }
        plain
    }

    proptest! {
        /// Scan n stands at place n. Each report comes alone and in any order; then some scans go again.
        #[test]
        fn a_timeline_is_the_changes_in_scan_order(
            reports in prop::collection::btree_map(1_u32..13, 1_u64..4, 1..12),
            order in prop::collection::vec(any::<u64>(), 13),
            gone in prop::collection::btree_set(1_u32..13, 0..6),
        ) {
            let mut arrivals: Vec<(u32, u64)> = reports.iter().map(|(scan, body)| (*scan, *body)).collect();
            arrivals.sort_by_key(|(scan, _)| order[*scan as usize]);
            let place_of = |scan: u32| Some(scan as usize);
            let sighting = |scan: &u32| Sighting { scan: *scan, at: *scan as usize, as_of: Timestamp::from_millis(i64::from(*scan)) };
            let (mut timeline, mut seen) = (Timeline::default(), std::collections::BTreeSet::new());
            for (scan, body) in arrivals {
                seen.insert(scan);
                let sightings: Vec<Sighting> = seen.iter().map(sighting).collect();
                timeline = timeline.settled(&sightings, &[Reported { line: 0, entry: entry(scan, body), is_repeated: false }], place_of);
            }
            let all: Vec<(u32, u64)> = reports.iter().map(|(scan, body)| (*scan, *body)).collect();
            prop_assert_eq!(&timeline, &changes(&all));
            let left: Vec<(u32, u64)> = all.into_iter().filter(|(scan, _)| !gone.contains(scan)).collect();
            let sightings: Vec<Sighting> = left.iter().map(|(scan, _)| sighting(scan)).collect();
            prop_assert_eq!(timeline.settled(&sightings, &[], place_of), changes(&left));
        }
    }
}
