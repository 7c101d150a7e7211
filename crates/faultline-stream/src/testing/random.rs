//! Chance from a seed: SplitMix64, which needs no library and is the same everywhere.

use std::env;

/// How many seeds a test runs unless `FAULTLINE_SEEDS` says otherwise.
const SEEDS: u64 = 300;

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound; 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.number() % bound as u64) as usize }
    }

    /// A number of a range, both ends included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = (i128::from(high) - i128::from(low) + 1).max(1);
        (i128::from(low) + i128::from(self.number()) % width) as i64
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these; nothing of nothing.
    pub fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Runs a test for each seed: as many as `FAULTLINE_SEEDS` says, or the one of `FAULTLINE_SEED`.
///
/// # Panics
/// With the seed and what went wrong, at the first seed that fails.
pub fn for_each_seed<E: std::fmt::Display>(test: impl Fn(u64) -> Result<(), E>) {
    let given =
        |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is {text:?}, no number")));
    let seeds = match given("FAULTLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..given("FAULTLINE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(error) = test(seed) {
            panic!("seed {seed}: {error}\nFAULTLINE_SEED={seed} runs it alone");
        }
    }
}
