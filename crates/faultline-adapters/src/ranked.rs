//! Ranks among findings of one report that are equal in every part of their identity.
//!
//! A report may hold ten equal findings (same rule, file, snippet) that differ in line only. Their identity is their rank by
//! (line, column), so that a reordered report changes nothing. Ranks are known only when the whole report was seen, so it is
//! read twice; the first pass keeps 16 bytes for each finding, and only of those with equals does the second need any.

use std::collections::HashMap;

use faultline_model::fingerprint::{identity_without_rank, place_in_file};
use faultline_model::observation::Observation;

use crate::adapter::{Emit, ReadError, RouteSeen, ScanFacts};

/// The first pass: where findings of equal identity stand.
pub(crate) struct Ranked {
    places: HashMap<u128, Vec<(i32, i32)>>,
}

impl Ranked {
    pub(crate) fn first_pass() -> Self {
        Self { places: HashMap::new() }
    }

    /// Ends the first pass; the second sends findings on with their ranks.
    pub(crate) fn second_pass(mut self, onward: &mut dyn Emit) -> WithRanks<'_> {
        self.places.retain(|_, places| {
            places.sort_unstable();
            places.dedup();
            places.len() > 1
        });
        WithRanks { places: self.places, onward }
    }
}

impl Emit for Ranked {
    fn scan(&mut self, _: ScanFacts) {}

    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        if let Some(place) = place_in_file(&seen.locus) {
            self.places.entry(identity_without_rank(&seen)).or_default().push(place);
        }
        Ok(())
    }

    fn route(&mut self, _: RouteSeen) -> Result<(), ReadError> {
        Ok(())
    }

    fn refused(&mut self, _: String, _: String) {}
}

/// The second pass: everything goes on, findings with equals get their rank.
pub(crate) struct WithRanks<'a> {
    places: HashMap<u128, Vec<(i32, i32)>>,
    onward: &'a mut dyn Emit,
}

impl Emit for WithRanks<'_> {
    fn scan(&mut self, facts: ScanFacts) {
        self.onward.scan(facts);
    }

    fn finding(&mut self, mut seen: Observation) -> Result<(), ReadError> {
        if let Some(place) = place_in_file(&seen.locus)
            && let Some(places) = self.places.get(&identity_without_rank(&seen))
        {
            // Every place was noted in the first pass; a report that changed in between is read as far as it fits.
            seen.rank = places.binary_search(&place).unwrap_or_else(|next| next) as i32;
        }
        self.onward.finding(seen)
    }

    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError> {
        self.onward.route(seen)
    }

    fn refused(&mut self, place: String, reason: String) {
        self.onward.refused(place, reason);
    }
}
