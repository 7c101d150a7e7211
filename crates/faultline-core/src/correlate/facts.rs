//! The facts of a service as correlate keeps them: what evaluation and the public record need, and no more.

use std::collections::BTreeMap;

use faultline_model::asset::AssetId;
use faultline_model::catalog::{CatalogRecord, Service};
use faultline_model::decision::{Verdict, Word};
use faultline_model::family::Family;
use faultline_model::id::Id;
use faultline_model::intel::IntelRecord;
use faultline_model::locus::{self, Locus};
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict, cut};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{FindingState, GivenSeverity, GivenWord, HeldPlace, TrackedFinding, TrackedLine, TrackedRoute};
use serde::{Deserialize, Serialize};

use super::raw;
use super::tables::{HEED_VERSION, SAID_VERSION, TICKET_VERSION, Table};
use crate::row::StageTable;
use crate::score::{Exposure, Kev};
use crate::store::StoreError;

/// The longest guidance that is kept of a finding, in bytes; the whole of it is in `tracked`.
pub const GUIDANCE_BYTES: usize = 512;
/// The most names of one vulnerability that are kept or followed.
pub const NAMES_MOST: usize = 64;
/// The tier of a service that the catalog does not know.
const UNKNOWN_TIER: u8 = 3;

/// A finding as one tool reports it, with the decisions on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    #[serde(with = "raw")]
    pub id: Id,
    #[serde(with = "raw::asset")]
    pub asset: AssetId,
    pub tool: String,
    pub kind: ScanKind,
    pub rule: String,
    pub title: String,
    pub guidance: String,
    pub severity: Severity,
    /// The CWE number that stands for its family; negative where none does.
    pub weakness: i32,
    /// Vulnerability ids that the tool names, in upper case, sorted.
    pub named: Vec<String>,
    /// The newest version of CVSS that the tool gives, with the base score in tenths.
    pub cvss: Option<(String, i32)>,
    pub place: Place,
    pub fixed_versions: Vec<String>,
    pub state: FindingState,
    pub first_seen: Timestamp,
    pub state_since: Timestamp,
    #[serde(with = "raw::list")]
    pub lines: Vec<Id>,
    pub held: Vec<Held>,
    pub verdict: Option<Judged>,
    pub is_suppressed: bool,
    pub assigned: Option<(String, Timestamp)>,
    pub version: i32,
    pub owners: Vec<String>,
    pub learned: Learned,
    /// Behind all else in its row, where there is any.
    #[serde(skip)]
    pub said: Said,
    /// Whether the service uses the place rather than owns it; not told apart as long as an older program may take over.
    #[serde(skip)]
    pub is_used: bool,
}

/// What people say of a finding beside their verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// In place of what its tool says.
    pub severity: Option<SaidSeverity>,
    /// On its links to code, by the finding there.
    pub words: Vec<SaidWord>,
}

/// A severity that a person gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidSeverity {
    pub severity: Severity,
    pub actor: String,
    pub at: Timestamp,
}

/// A word on the link to a finding in code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidWord {
    #[serde(with = "raw")]
    pub to: Id,
    /// Else it is rejected.
    pub is_confirmed: bool,
    pub actor: String,
    pub at: Timestamp,
}

impl Said {
    fn of(severity: Option<GivenSeverity>, words: Vec<GivenWord>) -> Self {
        let severity = severity.map(|given| SaidSeverity { severity: given.severity, actor: given.actor, at: given.at });
        let word =
            |given: GivenWord| SaidWord { to: given.to, is_confirmed: given.word == Word::Confirmed, actor: given.actor, at: given.at };
        Self { severity, words: words.into_iter().map(word).collect() }
    }
}

/// What a finding's unit goes by and other facts say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// Its vulnerability ids with their aliases, in upper case, sorted.
    pub vulnerabilities: Vec<String>,
    /// For a route: its path behind the gateway.
    pub path: String,
    /// For a route: the template that its path matches, else the folded path.
    pub template: String,
}

/// A verdict that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub verdict: Verdict,
    pub actor: String,
    pub at: Timestamp,
}

/// Lines of code that a finding held from a scan on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    #[serde(with = "raw")]
    pub line_of_scans: Id,
    pub since: Timestamp,
    pub line: i32,
    pub end_line: i32,
}

/// A locus in state: the same bodies, told apart by a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Code(locus::Code),
    Package(locus::Package),
    Route(locus::Route),
    Resource(locus::Resource),
    Secret(locus::Secret),
    Host(locus::Host),
}

impl From<Locus> for Place {
    fn from(locus: Locus) -> Self {
        match locus {
            Locus::Code(body) => Self::Code(body),
            Locus::Package(body) => Self::Package(body),
            Locus::Route(body) => Self::Route(body),
            Locus::Resource(body) => Self::Resource(body),
            Locus::Secret(body) => Self::Secret(body),
            Locus::Host(body) => Self::Host(body),
        }
    }
}

impl From<Place> for Locus {
    fn from(place: Place) -> Self {
        match place {
            Place::Code(body) => Self::Code(body),
            Place::Package(body) => Self::Package(body),
            Place::Route(body) => Self::Route(body),
            Place::Resource(body) => Self::Resource(body),
            Place::Secret(body) => Self::Secret(body),
            Place::Host(body) => Self::Host(body),
        }
    }
}

impl Finding {
    /// What is kept of a tracked finding; nothing is learned yet.
    pub fn of(tracked: TrackedFinding) -> Self {
        let TrackedFinding { finding, asset, tool, kind, observation, state, first_seen, state_since, verdict, assignment, .. } = tracked;
        let said = Said::of(tracked.severity, tracked.words);
        let named = named(&observation);
        let weakness = stands_for(&observation.cwes);
        let Observation { rule, title, mut guidance, severity, cvss, locus, fixed_versions, tool_verdict, .. } = observation;
        cut(&mut guidance, GUIDANCE_BYTES);
        let mut held: Vec<Held> = tracked.places.iter().map(Held::of).collect();
        held.sort_unstable();
        Self {
            id: finding,
            asset,
            tool,
            kind,
            rule,
            title,
            guidance,
            severity,
            weakness,
            named,
            cvss: cvss.into_iter().next().map(|best| (best.version, best.base_tenths)),
            place: locus.into(),
            fixed_versions,
            state,
            first_seen,
            state_since,
            lines: tracked.lines,
            held,
            verdict: verdict.filter(|given| given.verdict != Verdict::Withdrawn).map(|given| Judged {
                verdict: given.verdict,
                actor: given.actor,
                at: given.at,
            }),
            is_suppressed: tool_verdict == ToolVerdict::Suppressed,
            assigned: assignment.filter(|given| !given.assignment.to.is_empty()).map(|given| (given.assignment.to, given.at)),
            version: tracked.version,
            owners: tracked.owners,
            learned: Learned::default(),
            said,
            is_used: !tracked.is_owner,
        }
    }

    /// The row: of the version before unless there is what that has no place for.
    pub fn row(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let row = Table::Findings.row(key, self)?;
        if self.is_used {
            return Table::Findings.extended(key, row, TICKET_VERSION, &self.said);
        }
        if self.said == Said::default() { Ok(row) } else { Table::Findings.extended(key, row, SAID_VERSION, &self.said) }
    }

    /// A row as [`Finding::row`] wrote it.
    pub fn read(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let Some((&version @ (SAID_VERSION | TICKET_VERSION), body)) = row.split_first() else { return Table::Findings.read(key, row) };
        let (finding, rest): (Self, _) = Table::Findings.take(key, body)?;
        Ok(Self { said: Table::Findings.rest(key, rest)?, is_used: version == TICKET_VERSION, ..finding })
    }

    /// How severe it is: what a person says, else its tool.
    pub fn severity(&self) -> Severity {
        self.said.severity.as_ref().map_or(self.severity, |said| said.severity)
    }

    /// The findings in code that people say it is proved in.
    pub fn confirmed(&self) -> impl Iterator<Item = Id> {
        self.said.words.iter().filter(|word| word.is_confirmed).map(|word| word.to)
    }

    /// Its weakness family.
    pub fn family(&self) -> Family {
        Family::of_cwes(&[self.weakness])
    }

    /// Whether somebody said that it is none: a person, or the code or the tool's configuration where no person spoke.
    pub fn is_false(&self) -> bool {
        match &self.verdict {
            Some(judged) => judged.verdict == Verdict::FalsePositive,
            None => self.is_suppressed,
        }
    }

    /// Whether it is there as far as is known, and real as far as anybody said.
    pub fn counts(&self) -> bool {
        self.state != FindingState::Closed && !self.is_false()
    }

    /// Whether a person confirmed it.
    pub fn is_confirmed(&self) -> bool {
        self.verdict.as_ref().is_some_and(|judged| judged.verdict == Verdict::Confirmed)
    }

    /// Who founds a risk first.
    pub fn seniority(&self) -> (Timestamp, Id) {
        (self.first_seen, self.id)
    }

    /// Which findings of a unit are kept where they are too many: open ones, then by seniority.
    pub fn rank(&self) -> (FindingState, Timestamp, Id) {
        (self.state, self.first_seen, self.id)
    }
}

/// The ids that a tool names: for a package without any, its rule is one.
fn named(observation: &Observation) -> Vec<String> {
    let mut ids: Vec<String> = observation.vulnerabilities.iter().map(|id| id.to_ascii_uppercase()).collect();
    if ids.is_empty() && matches!(observation.locus, Locus::Package(_)) {
        ids.push(observation.rule.to_ascii_uppercase());
    }
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(NAMES_MOST);
    ids
}

/// The one of several CWE numbers that their family goes by.
fn stands_for(cwes: &[i32]) -> i32 {
    let family = Family::of_cwes(cwes);
    cwes.iter().copied().find(|cwe| Family::of_cwes(&[*cwe]) == family).unwrap_or(-1)
}

impl Held {
    fn of(place: &HeldPlace) -> Self {
        Self { line_of_scans: place.line_of_scans, since: place.since, line: place.line, end_line: place.end_line.max(place.line) }
    }
}

/// An entry of a route map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(with = "raw::asset")]
    pub asset: AssetId,
    pub method: String,
    /// Normalised: `/users/{}`.
    pub template: String,
    pub file: String,
    pub line: i32,
    pub parameters: Vec<String>,
}

/// A place that a dynamic scan visited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    #[serde(with = "raw::asset")]
    pub asset: AssetId,
    pub tool: String,
    pub method: String,
    /// As the tool requested it.
    pub requested: String,
    /// The families that its scan covered.
    pub families: Vec<String>,
    /// Its path behind the gateway.
    pub path: String,
    /// The template that the path matches, else the folded path.
    pub template: String,
}

/// A route of `tracked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    Entry(Entry),
    Visit(Visit),
}

impl Route {
    /// What is kept of a tracked route; nothing is learned yet.
    pub fn of(tracked: TrackedRoute) -> Self {
        let TrackedRoute { asset, tool, method, path, file, line, parameters, is_visit, families, .. } = tracked;
        if is_visit {
            return Self::Visit(Visit { asset, tool, method, requested: path, families, path: String::new(), template: String::new() });
        }
        let template = super::templates::normalised(&path);
        Self::Entry(Entry { asset, method, template, file, line, parameters })
    }
}

/// A complete scan as places are compared by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub name: String,
    pub as_of: Timestamp,
}

/// The complete scans of a line that name their revision, the newest of each revision, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Who its asset is in keys.
    #[serde(with = "raw")]
    pub asset: Id,
    pub revisions: Vec<Revision>,
}

/// Who an asset is in keys.
pub fn asset_id(asset: &AssetId) -> Id {
    Id::of("asset", &[asset.as_str().as_bytes()])
}

/// Lines of scans by id.
pub type Lines = BTreeMap<Id, Line>;

impl Line {
    pub fn of(tracked: &TrackedLine) -> Self {
        let mut revisions: Vec<Revision> = Vec::new();
        for scan in tracked.complete.iter().filter(|scan| !scan.revision.is_empty()) {
            revisions.retain(|known| known.name != scan.revision);
            revisions.push(Revision { name: scan.revision.clone(), as_of: scan.as_of });
        }
        Self { asset: asset_id(&tracked.asset), revisions }
    }
}

/// What the catalog says of a service, as the score needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFacts {
    pub tier: u8,
    pub exposure: Exposure,
    pub holds_sensitive_data: bool,
    pub owners: Vec<String>,
    /// The nodes above, the nearest first; none where that was not looked at, because no exception is heeded.
    #[serde(skip)]
    pub above: Option<Vec<String>>,
}

impl Default for ServiceFacts {
    fn default() -> Self {
        Self { tier: UNKNOWN_TIER, exposure: Exposure::Internal, holds_sensitive_data: false, owners: Vec::new(), above: Some(Vec::new()) }
    }
}

impl ServiceFacts {
    /// Of the catalog's record; a service that it does not know is of tier 3, reachable from inside, without data.
    pub fn of(record: Option<CatalogRecord>) -> Self {
        let Some(CatalogRecord::Service(Service { tier, exposure, data, owners, path, .. })) = record else { return Self::default() };
        let exposure = match exposure.as_str() {
            "internet" => Exposure::Internet,
            "partner" => Exposure::Partner,
            "not_deployed" => Exposure::NotDeployed,
            _ => Exposure::Internal,
        };
        let tier = u8::try_from(tier).unwrap_or(UNKNOWN_TIER).clamp(1, 4);
        Self { tier, exposure, holds_sensitive_data: data.iter().any(|kind| kind != "public"), owners, above: Some(path) }
    }

    /// The row, in the version that has to say what there is.
    pub fn row(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let row = Table::Services.row(key, self)?;
        let Some(above) = &self.above else { return Ok(row) };
        Table::Services.extended(key, row, HEED_VERSION, above)
    }

    /// A row as [`ServiceFacts::row`] wrote it.
    pub fn read(key: &[u8], row: &[u8]) -> Result<Self, StoreError> {
        let Some((&HEED_VERSION, body)) = row.split_first() else {
            return Ok(Self { above: None, ..Table::Services.read(key, row)? });
        };
        let (facts, rest): (Self, _) = Table::Services.take(key, body)?;
        Ok(Self { above: Some(Table::Services.rest(key, rest)?), ..facts })
    }
}

/// What all feeds say of one vulnerability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intel {
    /// Whether ransomware uses it, and when CISA wants it repaired.
    pub kev: Option<(bool, Option<Timestamp>)>,
    pub epss_ppm: Option<u32>,
    pub has_exploit: bool,
    /// Other ids, in upper case, sorted.
    pub aliases: Vec<String>,
}

/// What is known of vulnerabilities, by id in upper case.
pub type IntelById = BTreeMap<String, Intel>;

impl Intel {
    /// Takes in what one source says.
    pub fn learn(&mut self, record: IntelRecord) {
        match record {
            IntelRecord::Kev(entry) => self.kev = Some((entry.ransomware, entry.due)),
            IntelRecord::Epss(score) => self.epss_ppm = u32::try_from(score.probability_ppm).ok(),
            IntelRecord::Exploit(_) => self.has_exploit = true,
            IntelRecord::Aliases(aliases) => {
                self.aliases = aliases.ids.iter().map(|id| id.to_ascii_uppercase()).collect();
                self.aliases.sort_unstable();
                self.aliases.dedup();
            }
        }
    }

    /// The KEV entry as the score takes it.
    pub fn kev_of(&self, id: &str) -> Option<Kev> {
        self.kev.map(|(ransomware, due)| Kev { vulnerability: shown(id), ransomware, due })
    }
}

/// A vulnerability id as people write it: GitHub's are lower-case behind their prefix.
pub fn shown(id: &str) -> String {
    match id.strip_prefix("GHSA-") {
        Some(rest) => format!("GHSA-{}", rest.to_ascii_lowercase()),
        None => id.to_owned(),
    }
}
