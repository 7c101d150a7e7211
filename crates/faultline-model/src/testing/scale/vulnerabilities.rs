//! The vulnerabilities of packages: common ones, ones with two ids, and ones that touch an exact number of findings.

use super::Scale;
use super::random::{draw, pick};
use super::shape;
use crate::intel::{self, Aliases, IntelRecord, KevEntry, Source};
use crate::time::Timestamp;

/// How many findings one of the marked vulnerabilities touches, each its own risk.
pub const TOUCHED: [u64; 5] = [1, 10, 100, 1_000, 10_000];

/// Greater than any count of findings and prime, so that multiplying by it permutes the findings.
const STRIDE: u64 = 998_244_353;

/// How many vulnerabilities packages have in common.
const COMMON: u64 = 5_000;

/// One that many packages have; small numbers come more often.
pub(super) fn common(number: u64) -> String {
    let below = |part: u64| part % COMMON;
    let first = below(draw(number, &[1])) * below(draw(number, &[2])) / COMMON;
    format!("CVE-2024-{}", 10_000 + first)
}

/// The two ids of the vulnerability of a block, the same in every service.
pub(super) fn aliases(block: u64) -> (String, String) {
    const LETTERS: [char; 16] = ['2', '3', '4', '5', '6', '7', '8', '9', 'c', 'f', 'g', 'h', 'j', 'm', 'p', 'q'];
    let letters = |bits: u64| -> String { (0..4).map(|at| pick(&LETTERS, bits >> (4 * at))).collect() };
    // Two groups spell the block, so that no two blocks share an id.
    let ghsa = format!("GHSA-{}-{}-{}", letters(draw(block, &[3])), letters(block >> 16), letters(block));
    (format!("CVE-2025-{}", 20_000 + block), ghsa)
}

fn marked(class: usize) -> String {
    format!("CVE-2030-{}", 10_000 + class)
}

impl Scale {
    /// How many findings before a service's are of a package that one tool reports.
    pub(super) fn lone_packages_before(&self, service: u64) -> u64 {
        let (least, with_one_more) = self.sizes();
        let larger = service.min(with_one_more);
        larger * shape::lone_packages(least + 1) + (service - larger) * shape::lone_packages(least)
    }

    /// The class of marked vulnerability (a place in [`TOUCHED`]) that fits into this organisation, with the ordinals it takes.
    fn classes(&self) -> impl Iterator<Item = (usize, std::ops::Range<u64>)> {
        let all = self.lone_packages_before(self.services);
        let mut from = 0;
        let ranges = TOUCHED.into_iter().enumerate().map(move |(class, count)| {
            let range = from..from + count;
            from += count;
            (class, range)
        });
        ranges.take_while(move |(_, range)| range.end <= all)
    }

    /// The marked vulnerability of such a package, if it has one. Spread over all services by a permutation.
    pub(super) fn touched_by(&self, ordinal: u64) -> Option<String> {
        let all = self.lone_packages_before(self.services);
        let spread = (ordinal * STRIDE + self.seed % all) % all;
        self.classes().find(|(_, range)| range.contains(&spread)).map(|(class, _)| marked(class))
    }

    /// An entry of the catalogue of known exploited vulnerabilities that touches exactly so many findings, each its own risk; with its
    /// key of `intel`. There is one for each of [`TOUCHED`] that the organisation is large enough for.
    pub fn kev(&self, findings: u64) -> Option<(String, IntelRecord)> {
        let (class, _) = self.classes().find(|(class, _)| TOUCHED[*class] == findings)?;
        let entry = KevEntry {
            name: format!("Acme kit denial of service, {findings} findings"),
            added: Timestamp::from_millis(super::BEGIN_MS),
            due: Some(Timestamp::from_millis(super::BEGIN_MS).plus_days(21)),
            ransomware: false,
        };
        Some((intel::key(&marked(class), Source::Kev), IntelRecord::Kev(entry)))
    }

    /// What makes two ids one vulnerability, in both directions, with their keys of `intel`.
    pub fn intel(&self) -> impl Iterator<Item = (String, IntelRecord)> {
        let (least, with_one_more) = self.sizes();
        let blocks = (least + u64::from(with_one_more > 0)).div_ceil(shape::BLOCK);
        (0..blocks).flat_map(|block| {
            let (cve, ghsa) = aliases(block);
            let says =
                |of: &str, other: &str| (intel::key(of, Source::Aliases), IntelRecord::Aliases(Aliases { ids: vec![other.to_owned()] }));
            [says(&cve, &ghsa), says(&ghsa, &cve)]
        })
    }
}
