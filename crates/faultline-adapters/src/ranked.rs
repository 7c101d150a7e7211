//! Ranks among findings of one report that are equal in every part of their identity.
//!
//! A report may hold ten equal findings (same rule, file, snippet) that differ in line only. Their identity is their rank by
//! (line, column), so that a reordered report changes nothing. Ranks are known only when the whole report was seen, so it is
//! read twice; the first pass keeps some 60 bytes for each finding, and only of those with equals does the second need any.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use faultline_model::fingerprint::{identity_without_rank, place_in_file};
use faultline_model::id::Id;
use faultline_model::observation::Observation;

use crate::adapter::{Emit, ReadError, RouteSeen, ScanFacts};

/// The first pass: where findings of equal identity stand.
pub(crate) struct Ranked {
    places: HashMap<u128, Places>,
    tool: Tool,
}

/// Where findings of one identity stand. Nearly all have no equals, and cost no allocation of their own.
enum Places {
    One((i32, i32)),
    Several(Vec<(i32, i32)>),
}

impl Places {
    /// Adds a place that is not there yet.
    fn add(&mut self, place: (i32, i32)) {
        match self {
            Self::One(known) if *known == place => {}
            Self::One(known) => *self = Self::Several(vec![*known, place]),
            Self::Several(places) => places.push(place),
        }
    }
}

/// The tool whose findings come: those of two tools in one report are never equal, and do not count among each other's equals.
#[derive(Default)]
struct Tool(u128);

impl Tool {
    fn hear(&mut self, facts: &ScanFacts) {
        if !facts.tool.is_empty() {
            self.0 = u128::from_le_bytes(Id::of("tool", &[facts.tool.as_bytes()]).0);
        }
    }

    fn identity(&self, seen: &Observation) -> u128 {
        self.0 ^ identity_without_rank(seen)
    }
}

impl Ranked {
    pub(crate) fn first_pass() -> Self {
        Self { places: HashMap::new(), tool: Tool::default() }
    }

    /// Ends the first pass; the second sends findings on with their ranks.
    pub(crate) fn second_pass(self, onward: &mut dyn Emit) -> WithRanks<'_> {
        let several = self.places.into_iter().filter_map(|(identity, places)| match places {
            Places::One(_) => None,
            Places::Several(mut places) => {
                places.sort_unstable();
                places.dedup();
                Some((identity, places))
            }
        });
        WithRanks { places: several.collect(), tool: Tool::default(), onward }
    }
}

impl Emit for Ranked {
    fn scan(&mut self, facts: ScanFacts) {
        self.tool.hear(&facts);
    }

    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        if let Some(place) = place_in_file(&seen.locus) {
            match self.places.entry(self.tool.identity(&seen)) {
                Entry::Vacant(free) => {
                    free.insert(Places::One(place));
                }
                Entry::Occupied(mut known) => known.get_mut().add(place),
            }
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
    tool: Tool,
    onward: &'a mut dyn Emit,
}

impl Emit for WithRanks<'_> {
    fn scan(&mut self, facts: ScanFacts) {
        self.tool.hear(&facts);
        self.onward.scan(facts);
    }

    fn finding(&mut self, mut seen: Observation) -> Result<(), ReadError> {
        if let Some(place) = place_in_file(&seen.locus)
            && let Some(places) = self.places.get(&self.tool.identity(&seen))
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
