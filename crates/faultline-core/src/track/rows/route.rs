//! A route by its number: what was reported, and on which lines it holds. Sets of routes.

use std::collections::BTreeSet;

use faultline_model::record::RouteObserved;

use crate::track::codec::{Reader, Row, Writer};
use crate::track::ordinals::Ordinals;

/// What a route is, without the scan that reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct RouteRow {
    pub tool: String,
    pub method: String,
    pub path: String,
    pub file: String,
    pub symbol: String,
    pub line: i32,
    pub parameters: Vec<String>,
    pub is_visit: bool,
    /// The lines of scans on which it holds, each with the families that its visit counts for.
    pub holds: Vec<(u32, Vec<String>)>,
    /// How many lines name it, in a scan that is kept or in their floor; without any it goes.
    pub named: u32,
    /// Which services it is published for.
    pub services: u32,
    /// Digest of what is published; 0 for nothing.
    pub digest: u64,
}

impl RouteRow {
    pub fn of(tool: &str, route: RouteObserved) -> Self {
        Self {
            tool: tool.to_owned(),
            method: route.method,
            path: route.path,
            file: route.file,
            symbol: route.symbol,
            line: route.line,
            parameters: route.parameters,
            is_visit: route.is_visit,
            ..Self::default()
        }
    }
}

impl Row for RouteRow {
    const TABLE: &'static str = "routes";

    fn write(&self, out: &mut Writer) {
        for text in [&self.tool, &self.method, &self.path, &self.file, &self.symbol] {
            out.text(text);
        }
        out.int(self.line.into());
        out.texts(&self.parameters);
        out.flag(self.is_visit);
        out.list(&self.holds, |out, (line, families)| {
            out.uint((*line).into());
            out.texts(families);
        });
        out.uint(self.named.into());
        out.uint(self.services.into());
        out.hash(self.digest);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            tool: from.text()?,
            method: from.text()?,
            path: from.text()?,
            file: from.text()?,
            symbol: from.text()?,
            line: from.int32()?,
            parameters: from.texts()?,
            is_visit: from.flag()?,
            holds: from.list(|from| Some((from.small()?, from.texts()?)))?,
            named: from.small()?,
            services: from.small()?,
            digest: from.hash()?,
        })
    }
}

/// The routes that a scan, a line or a floor has, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct RouteSet {
    pub entries: BTreeSet<u32>,
    pub visits: BTreeSet<u32>,
    /// Where visits hold: the families that they count for, sorted.
    pub families: Vec<String>,
}

impl RouteSet {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.visits.is_empty()
    }

    pub fn has(&self, route: u32) -> bool {
        self.entries.contains(&route) || self.visits.contains(&route)
    }

    /// Adds a route; false if it was there.
    pub fn insert(&mut self, route: u32, is_visit: bool) -> bool {
        if is_visit { self.visits.insert(route) } else { self.entries.insert(route) }
    }

    /// Adds routes, whatever they count for.
    pub fn add(&mut self, other: &Self) {
        self.entries.extend(&other.entries);
        self.visits.extend(&other.visits);
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().chain(&self.visits).copied()
    }

    /// The families that a route counts for; `None` if it is not here.
    pub fn families_of(&self, route: u32) -> Option<&[String]> {
        let of_visit = self.visits.contains(&route).then_some(self.families.as_slice());
        of_visit.or_else(|| self.entries.contains(&route).then_some(&[]))
    }
}

impl Row for RouteSet {
    const TABLE: &'static str = "sets of routes";

    fn write(&self, out: &mut Writer) {
        for set in [&self.entries, &self.visits] {
            Ordinals(set.iter().copied().collect()).write(out);
        }
        out.texts(&self.families);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut set = || Ordinals::read(from).map(|set| set.0.into_iter().collect());
        Some(Self { entries: set()?, visits: set()?, families: from.texts()? })
    }
}
