//! A scan of one tool on one asset of the organisation, as the records of `findings`.

use super::bodies::{self, Handler, Seen};
use super::random::{draw, shuffle};
use super::shape::{self, Part, TOOLS, Tool};
use super::{BEGIN_MS, Scale};
use crate::asset::AssetId;
use crate::id::Id;
use crate::record::{FindingObserved, FindingsRecord, RouteObserved};
use crate::scan::{ScanCompleted, ScanStarted, Scope};
use crate::time::Timestamp;

const MINUTE_MS: i64 = 60_000;
/// Families that the attacks of the dynamic scanner are of.
const ATTACKED: [&str; 8] = [
    "clickjacking-headers",
    "command-injection",
    "cross-site-scripting",
    "information-exposure",
    "path-traversal",
    "session-cookie",
    "sql-injection",
    "ssrf",
];

/// In which order a report lists what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same in every scan.
    Stable,
    /// Another one in every scan, still a function of seed and scan.
    Shuffled,
}

/// A scan that can be read again and again.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    scale: &'a Scale,
    service: u64,
    tool: usize,
    day: u32,
}

impl<'a> Scan<'a> {
    pub(super) fn new(scale: &'a Scale, service: u64, tool: usize, day: u32) -> Self {
        Self { scale, service, tool, day }
    }

    /// What was scanned: the key of its records.
    pub fn asset(&self) -> AssetId {
        super::asset(self.service, self.tool().part)
    }

    /// How many findings it reports.
    pub fn observations(&self) -> u64 {
        self.findings().count() as u64
    }

    /// Its start, its routes, its findings, its end.
    pub fn records(&self, order: Order) -> impl Iterator<Item = FindingsRecord> + use<'a> {
        let Self { scale, service, .. } = *self;
        let mut findings: Vec<u32> = self.findings().map(|finding| finding as u32).collect();
        if order == Order::Shuffled {
            shuffle(&mut findings, draw(scale.seed, &[service, self.tool as u64, u64::from(self.day)]));
        }
        let (start, end, id) = (self.start(), self.end(findings.len()), self.id());
        let observed = findings.into_iter().enumerate().map(move |(number, finding)| {
            let observation = Seen { scale, service, finding: u64::from(finding) }.observation();
            FindingsRecord::Finding(FindingObserved { scan: id, number: number as i32, observation })
        });
        std::iter::once(FindingsRecord::ScanStarted(start))
            .chain(self.routes().map(FindingsRecord::Route))
            .chain(observed)
            .chain(std::iter::once(FindingsRecord::ScanCompleted(end)))
    }

    fn tool(&self) -> &'static Tool {
        &TOOLS[self.tool]
    }

    /// Who it is.
    pub fn id(&self) -> Id {
        let Self { scale, service, tool, day } = self;
        Id::of("scan", &[&scale.seed.to_le_bytes(), &service.to_le_bytes(), &(*tool as u64).to_le_bytes(), &day.to_le_bytes()])
    }

    fn findings(&self) -> impl Iterator<Item = u64> + use<> {
        let tool = self.tool;
        (0..self.scale.size(self.service)).filter(move |finding| shape::tool_of(*finding) == tool)
    }

    fn start(&self) -> ScanStarted {
        let midnight = BEGIN_MS + i64::from(self.day) * 24 * 60 * MINUTE_MS;
        // Revisions are made in the first hour of a day and scanned in the eleven after it, a tool a quarter of an hour after the other.
        let revised = midnight + (self.service % 60) as i64 * MINUTE_MS;
        let started = midnight + (60 + 15 * self.tool as i64 + (self.service % 480) as i64) * MINUTE_MS;
        let tool = self.tool();
        let (branch, environment, revision) = match tool.part {
            Part::Repo => ("main", "", self.revision()),
            Part::Image => ("", "", bodies::digest(self.scale, self.service, self.day)),
            Part::Url => ("", "production", String::new()),
        };
        ScanStarted {
            scan: self.id(),
            tool: tool.name.into(),
            tool_version: tool.version.into(),
            kind: tool.kind,
            branch: branch.into(),
            is_default_branch: tool.part == Part::Repo,
            environment: environment.into(),
            revision,
            revision_time: (tool.part != Part::Url).then_some(Timestamp::from_millis(revised)),
            started: Timestamp::from_millis(started),
            scope: Scope { is_full: true, ..Scope::default() },
            service_claim: String::new(),
            tests_for: self.attacked(),
            publisher: "ci".into(),
        }
    }

    fn end(&self, observations: usize) -> ScanCompleted {
        ScanCompleted { scan: self.id(), observations: observations as i32, families: self.attacked(), refused: 0 }
    }

    /// The commit of a repository on this day, which all its tools scan.
    fn revision(&self) -> String {
        let id = Id::of("revision", &[&self.scale.seed.to_le_bytes(), &self.service.to_le_bytes(), &self.day.to_le_bytes()]);
        format!("{id}00000000")
    }

    fn attacked(&self) -> Vec<String> {
        if self.tool == shape::ZAP { ATTACKED.map(str::to_owned).to_vec() } else { Vec::new() }
    }

    /// The entries of the route map, or the places that the dynamic scanner visited; none for other tools.
    fn routes(&self) -> impl Iterator<Item = RouteObserved> + use<'a> {
        let Self { scale, service, tool, .. } = *self;
        let scan = self.id();
        let has_routes = tool == shape::OPENAPI || tool == shape::ZAP;
        let blocks = if has_routes { scale.size(service).div_ceil(shape::BLOCK) } else { 0 };
        (0..blocks).map(move |block| {
            let entry = bodies::route(scale, service, block);
            let method = entry.method.to_owned();
            if tool == shape::ZAP {
                let (file, symbol, line, parameters) = (String::new(), String::new(), 0, Vec::new());
                return RouteObserved { scan, method, path: entry.visited, file, symbol, line, parameters, is_visit: true };
            }
            let parameters = vec!["id".to_owned(), entry.parameter.to_owned()];
            let Handler { template: path, file, symbol, line, .. } = entry;
            RouteObserved { scan, method, path, file, symbol, line, parameters, is_visit: false }
        })
    }
}
