//! One report as records of `findings`: for each scan its start, its observations by number, its routes, its end.
//!
//! A report is mostly one scan. It is several where it says so: a SARIF file with runs of several tools, a dynamic scan of several
//! sites. Each pair of tool and asset is then a scan of its own, because a line of scans is one tool on one asset. An asset that the
//! publisher claims takes the whole report: a person's word wins, and the same path on two sites of one asset is one place.
//!
//! The report is read three times: for its digest, for its ranks and what it says of itself, and to send it on. Memory does not grow
//! with it but for some 60 bytes a finding whose place decides its rank.

use std::collections::{BTreeMap, BTreeSet};

use faultline_model::asset::{AssetError, AssetId, AssetKind};
use faultline_model::family::Family;
use faultline_model::id::Id;
use faultline_model::locus::{Locus, asset_path};
use faultline_model::observation::{Observation, ScanKind};
use faultline_model::record::{FindingObserved, FindingsRecord, RouteObserved};
use faultline_model::scan::{ScanCompleted, ScanStarted, Scope};
use faultline_model::time::Timestamp;

use crate::adapter::{Adapter, Emit, ReadError, Report, RouteSeen, ScanFacts};
use crate::ranked::Ranked;

/// The largest record, in bytes; an observation beyond it is refused (promise 4).
pub const RECORD_BYTES: usize = 1024 * 1024;
/// What a record holds beside its texts: ids, numbers, lengths of at most a few hundred texts.
const RECORD_OVERHEAD_BYTES: usize = 8 * 1024;
/// The most scans of one report. More tools or sites than this in one file are to be published apart.
pub const SCANS: usize = 64;
/// How many refusals are told with place and reason; the others are counted.
pub const REFUSALS_TOLD: usize = 20;
/// The longest name of a tool, in bytes.
const TOOL_BYTES: usize = 128;
/// The longest text that a fact of a scan (version, branch, revision) may have, in bytes.
const FACT_BYTES: usize = 256;

/// What the publisher says of the scan. An empty text is no word; then the report's own word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The asset that was scanned; without it the report must name it.
    pub asset: Option<AssetId>,
    /// The service that the findings are claimed for; the catalog wins.
    pub service: String,
    pub branch: String,
    pub is_default_branch: bool,
    pub environment: String,
    /// The commit that was scanned, and when it was made.
    pub revision: String,
    pub revision_time: Option<Timestamp>,
    /// When the scan began.
    pub started: Option<Timestamp>,
    /// What was looked at. By default a part that closes nothing.
    pub scope: Scope,
    /// A name that makes this scan one, whatever the report's bytes.
    pub scan_name: Option<String>,
    /// Who publishes.
    pub publisher: String,
    /// The time of publishing: the start of a scan of which nothing else is known, and the latest that a report may say.
    pub now: Timestamp,
}

/// What became of one scan of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub scan: Id,
    pub asset: AssetId,
    pub tool: String,
    pub kind: ScanKind,
    /// Observations that were sent; they are numbered 0 to this, exclusive.
    pub observations: i32,
    /// Elements of the report that could not be read. Such an element may belong to any scan of the report, so it counts in each.
    pub refused: i32,
    /// Entries of a route map, and visits.
    pub routes: i32,
    /// The first of the refused elements.
    pub refusals: Vec<Refusal>,
}

/// An element that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub place: String,
    pub reason: String,
}

/// Why a report was not published, or no further. `E` is the sink's own error.
#[derive(Debug, thiserror::Error)]
pub enum PublishError<E> {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the {tool} report does not say which asset was scanned; name it with --asset, for example --asset repo:github.com/acme/shop")]
    NoAsset { tool: String },
    #[error("the {tool} report names no asset that is the same everywhere; name it with --asset ({why})")]
    Asset { tool: String, why: AssetError },
    #[error(
        "the report holds more than {SCANS} scans (pairs of tool and site); publish its parts apart, or put all under one asset with --asset"
    )]
    TooManyScans,
    #[error("findings cannot be taken further: {0}")]
    Sink(E),
}

/// Sends a report on as records with the asset that is their key, in the order: all starts, then observations and routes as they stand in the report, then all ends.
///
/// Observations of a scan have the numbers 0 to n−1. If an error comes, what was sent has no end, and so closes nothing.
pub fn records<E>(
    report: &mut Report<'_>,
    adapter: &Adapter,
    claim: &Claim,
    sink: &mut dyn FnMut(&AssetId, FindingsRecord) -> Result<(), E>,
) -> Result<Vec<Published>, PublishError<E>> {
    let digest = report.digest()?;
    let mut survey = Survey::new(Sorter::new(adapter, claim));
    (adapter.read)(report, &mut survey)?;
    let (ranked, tools, parts) = survey.end();
    if parts.len() > SCANS {
        return Err(PublishError::TooManyScans);
    }
    let mut scans: Vec<Scan> = Vec::with_capacity(parts.len());
    let mut places = BTreeMap::new();
    for part in parts {
        let (started, asset) = start(adapter, claim, &tools[&part.tool], &part, &digest)?;
        let scan = Scan::of(&started, asset);
        let at = scans.iter().position(|known| known.id == scan.id).unwrap_or(scans.len());
        places.insert(part, at);
        if at == scans.len() {
            sink(&scan.asset, FindingsRecord::ScanStarted(started)).map_err(PublishError::Sink)?;
            scans.push(scan);
        }
    }

    let sorter = Sorter::new(adapter, claim);
    let mut sending = Sending { sorter, places, scans, refused: 0, refusals: Vec::new(), sink, failed: None };
    let outcome = (adapter.read)(report, &mut ranked.second_pass(&mut sending));
    let Sending { scans, refused, refusals, failed, sink, .. } = sending;
    if let Some(error) = failed {
        return Err(PublishError::Sink(error));
    }
    outcome?;
    let mut published = Vec::with_capacity(scans.len());
    for scan in scans {
        let families = scan.families.iter().map(|family| family.name().to_owned()).collect();
        let end = ScanCompleted { scan: scan.id, observations: scan.observations, families, refused };
        sink(&scan.asset, FindingsRecord::ScanCompleted(end)).map_err(PublishError::Sink)?;
        published.push(scan.published(refused, &refusals));
    }
    Ok(published)
}

/// The start of one scan: what claim, report and adapter say together.
fn start<E>(
    adapter: &Adapter,
    claim: &Claim,
    facts: &ScanFacts,
    part: &Part,
    digest: &[u8; 32],
) -> Result<(ScanStarted, AssetId), PublishError<E>> {
    let tool = part.tool.clone();
    let asset = match &part.asset {
        Some(asset) => asset.clone(),
        None if facts.target.is_empty() => return Err(PublishError::NoAsset { tool }),
        None => target_asset(facts).map_err(|why| PublishError::Asset { tool: tool.clone(), why })?,
    };
    let or_report = |claimed: &str, reported: &str| bounded(if claimed.is_empty() { reported } else { claimed }, FACT_BYTES);
    let branch = or_report(&claim.branch, &facts.branch);
    // People write `./src/` or `src\api`; findings are known by folded paths.
    let scope = Scope { paths: claim.scope.paths.iter().map(|path| asset_path(path)).collect(), ..claim.scope.clone() };
    let scan = match &claim.scan_name {
        Some(name) => Id::of("named scan", &[asset.as_str().as_bytes(), tool.as_bytes(), name.as_bytes()]),
        None => ScanStarted::id_of(digest, asset.as_str(), &tool, &branch, &claim.environment, &scope),
    };
    // A report's clock may be of another zone; what it dates into the future was read now.
    let reported = facts.started.parse::<Timestamp>().ok().map(|time| time.min(claim.now));
    let started = ScanStarted {
        scan,
        tool,
        tool_version: bounded(&facts.tool_version, FACT_BYTES),
        kind: facts.kind.unwrap_or(adapter.kind),
        branch,
        is_default_branch: claim.is_default_branch,
        environment: claim.environment.clone(),
        revision: or_report(&claim.revision, &facts.revision),
        revision_time: claim.revision_time,
        started: claim.started.or(reported).unwrap_or(claim.now),
        scope,
        service_claim: claim.service.clone(),
        tests_for: adapter.tests_for.iter().map(|&family| family.to_owned()).collect(),
        publisher: claim.publisher.clone(),
    };
    Ok((started, asset))
}

fn target_asset(facts: &ScanFacts) -> Result<AssetId, AssetError> {
    facts.target_kind.map_or_else(|| AssetId::read(&facts.target), |kind| AssetId::new(kind, &facts.target))
}

fn bounded(text: &str, bytes: usize) -> String {
    let mut text = text.trim().to_owned();
    faultline_model::observation::cut(&mut text, bytes);
    text
}

/// One scan of the report: a tool and, where the report tells it, what the tool looked at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    tool: String,
    /// None where the report's one target is the asset, which may be told behind its findings.
    asset: Option<AssetId>,
}

/// Says to which scan belongs what an adapter reads.
struct Sorter {
    /// The asset that takes everything.
    claimed: Option<AssetId>,
    /// The tool whose findings come now: its own name as the report tells it, else the adapter's.
    tool: String,
    /// The last origin and its asset; neighbours are mostly of one site.
    last: (String, Option<AssetId>),
}

impl Sorter {
    fn new(adapter: &Adapter, claim: &Claim) -> Self {
        Self { claimed: claim.asset.clone(), tool: adapter.name.to_owned(), last: (String::new(), None) }
    }

    fn hear(&mut self, facts: &ScanFacts) {
        let named = bounded(&facts.tool, TOOL_BYTES).to_lowercase();
        if !named.is_empty() {
            self.tool = named;
        }
    }

    /// The scan of what stands on the site of this origin; without an origin, of the report's target.
    fn part(&mut self, origin: &str) -> Part {
        if self.claimed.is_none() && self.last.0 != origin {
            self.last = (origin.to_owned(), AssetId::new(AssetKind::Url, origin).ok());
        }
        let asset = if origin.is_empty() { None } else { self.last.1.clone() };
        Part { tool: self.tool.clone(), asset: self.claimed.clone().or(asset) }
    }
}

fn origin_of(seen: &Observation) -> &str {
    if let Locus::Route(route) = &seen.locus { &route.origin } else { "" }
}

/// The first pass: which scans the report holds, what it says of them, and the ranks of its findings.
struct Survey {
    sorter: Sorter,
    ranked: Ranked,
    /// At most one more than [`SCANS`].
    parts: BTreeSet<Part>,
    /// What the report says of each tool.
    tools: BTreeMap<String, ScanFacts>,
}

impl Survey {
    fn new(sorter: Sorter) -> Self {
        Self { sorter, ranked: Ranked::first_pass(), parts: BTreeSet::new(), tools: BTreeMap::new() }
    }

    fn note(&mut self, origin: &str) {
        let part = self.sorter.part(origin);
        if self.parts.len() <= SCANS && !self.parts.contains(&part) {
            self.parts.insert(part);
        }
    }

    /// Ranks, facts by tool, and the scans; a tool that found nothing has one too.
    fn end(mut self) -> (Ranked, BTreeMap<String, ScanFacts>, BTreeSet<Part>) {
        let asset = self.sorter.claimed.clone();
        if self.tools.is_empty() {
            self.tools.insert(self.sorter.tool.clone(), ScanFacts::default());
        }
        for part in &self.parts {
            self.tools.entry(part.tool.clone()).or_default();
        }
        for tool in self.tools.keys().take(SCANS + 1) {
            if !self.parts.iter().any(|part| part.tool == *tool) {
                self.parts.insert(Part { tool: tool.clone(), asset: asset.clone() });
            }
        }
        (self.ranked, self.tools, self.parts)
    }
}

impl Emit for Survey {
    fn scan(&mut self, facts: ScanFacts) {
        self.ranked.scan(facts.clone());
        self.sorter.hear(&facts);
        // A site without findings was scanned as well.
        if facts.target_kind == Some(AssetKind::Url) && self.sorter.part(&facts.target).asset.is_some() {
            self.note(&facts.target);
        }
        if self.tools.len() <= SCANS || self.tools.contains_key(&self.sorter.tool) {
            self.tools.entry(self.sorter.tool.clone()).or_default().add(facts);
        }
    }

    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        self.note(origin_of(&seen));
        self.ranked.finding(seen)
    }

    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError> {
        self.note(&seen.origin);
        Ok(())
    }

    fn refused(&mut self, _: String, _: String) {}
}

/// One scan while it is sent.
struct Scan {
    id: Id,
    asset: AssetId,
    tool: String,
    kind: ScanKind,
    observations: i32,
    routes: i32,
    families: BTreeSet<Family>,
}

impl Scan {
    fn of(started: &ScanStarted, asset: AssetId) -> Self {
        let (id, tool, kind) = (started.scan, started.tool.clone(), started.kind);
        Self { id, asset, tool, kind, observations: 0, routes: 0, families: BTreeSet::new() }
    }

    fn published(self, refused: i32, refusals: &[Refusal]) -> Published {
        let Self { id, asset, tool, kind, observations, routes, .. } = self;
        Published { scan: id, asset, tool, kind, observations, refused, routes, refusals: refusals.to_vec() }
    }
}

/// The second pass: everything goes to the sink, numbered.
struct Sending<'a, E> {
    sorter: Sorter,
    /// Where in `scans` each part has its scan.
    places: BTreeMap<Part, usize>,
    scans: Vec<Scan>,
    refused: i32,
    refusals: Vec<Refusal>,
    sink: &'a mut dyn FnMut(&AssetId, FindingsRecord) -> Result<(), E>,
    /// The sink's error; it ends the reading, and does not fit through a parser's own error type.
    failed: Option<E>,
}

impl<E> Sending<'_, E> {
    fn send(&mut self, asset: &AssetId, record: FindingsRecord) -> Result<(), ReadError> {
        (self.sink)(asset, record).map_err(|error| {
            self.failed = Some(error);
            ReadError::Sink("the sink refused a record".into())
        })
    }

    /// The scan of what stands there; none only if the file changed since the first pass.
    fn scan_at(&mut self, origin: &str) -> Result<&mut Scan, ReadError> {
        let at = self.places.get(&self.sorter.part(origin)).copied();
        at.and_then(|at| self.scans.get_mut(at))
            .ok_or_else(|| ReadError::Sink("the report changed while it was read; publish it again".into()))
    }
}

impl<E> Emit for Sending<'_, E> {
    fn scan(&mut self, facts: ScanFacts) {
        self.sorter.hear(&facts);
    }

    fn finding(&mut self, observation: Observation) -> Result<(), ReadError> {
        let bytes = text_bytes(&observation);
        let scan = self.scan_at(origin_of(&observation))?;
        if let Some(reason) = too_large(bytes) {
            let place = format!("behind observation {} of {}", scan.observations, scan.tool);
            self.refused(place, reason);
            return Ok(());
        }
        let (scan_id, number, asset) = (scan.id, scan.observations, scan.asset.clone());
        scan.observations += 1;
        let family = Family::of_cwes(&observation.cwes);
        if family.is_joinable() {
            scan.families.insert(family);
        }
        self.send(&asset, FindingsRecord::Finding(FindingObserved { scan: scan_id, number, observation }))
    }

    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError> {
        let scan = self.scan_at(&seen.origin)?;
        let bytes = [&seen.method, &seen.path, &seen.file, &seen.symbol].into_iter().chain(&seen.parameters).map(String::len).sum();
        if let Some(reason) = too_large(bytes) {
            let place = format!("behind route {} of {}", scan.routes, scan.tool);
            self.refused(place, reason);
            return Ok(());
        }
        scan.routes += 1;
        let asset = scan.asset.clone();
        let RouteSeen { method, path, file, symbol, line, parameters, is_visit, .. } = seen;
        let route = RouteObserved { scan: scan.id, method, path, file, symbol, line, parameters, is_visit };
        self.send(&asset, FindingsRecord::Route(route))
    }

    fn refused(&mut self, place: String, reason: String) {
        self.refused += 1;
        if self.refusals.len() < REFUSALS_TOLD {
            self.refusals.push(Refusal { place, reason });
        }
    }
}

/// Why texts of so many bytes fit no record; none if they do.
fn too_large(bytes: usize) -> Option<String> {
    (bytes > RECORD_BYTES - RECORD_OVERHEAD_BYTES).then(|| format!("its texts have {bytes} bytes, a record holds at most {RECORD_BYTES}"))
}

/// The bytes of all texts of an observation: what its record's size depends on.
fn text_bytes(seen: &Observation) -> usize {
    let lists = [&seen.vulnerabilities, &seen.fixed_versions, &seen.references];
    let listed: usize = lists.into_iter().flatten().map(String::len).sum();
    let vectors: usize = seen.cvss.iter().map(|one| one.vector.len() + one.version.len()).sum();
    let place = match &seen.locus {
        Locus::Code(at) => at.file.len() + at.symbol.len() + at.snippet.len() + at.parameter.len(),
        Locus::Package(at) => at.purl.len() + at.version.len() + at.manifest.len() + at.layer.len(),
        Locus::Route(at) => at.method.len() + at.origin.len() + at.path.len() + at.parameter.len(),
        Locus::Resource(at) => at.address.len() + at.file.len(),
        Locus::Secret(at) => at.hash.len() + at.preview.len() + at.file.len() + at.commit.len(),
        Locus::Host(at) => at.address.len() + at.protocol.len(),
    };
    let own =
        seen.rule.len() + seen.title.len() + seen.description.len() + seen.guidance.len() + seen.stable_id.as_ref().map_or(0, String::len);
    own + listed + vectors + place
}
