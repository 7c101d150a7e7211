//! What track says to correlate, keyed by service and fact: a finding as it stands now, a route, a line of scans, or that a fact
//! went elsewhere.

use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::decision::{Assignment, Verdict, Word};
use crate::id::Id;
use crate::observation::{Observation, ScanKind, Severity};
use crate::partition::SEPARATOR;
use crate::time::Timestamp;

/// The most places of a finding that are kept; the oldest goes first.
pub const PLACES_KEPT: usize = 8;

/// A value of `tracked`.
// Nearly all are findings: a box would cost an allocation a record and save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackedRecord {
    Finding(TrackedFinding),
    Route(TrackedRoute),
    Line(TrackedLine),
    Went(Went),
}

impl TrackedRecord {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        match self {
            Self::Finding(finding) if finding.severity.is_some() || !finding.words.is_empty() => 2,
            _ => 1,
        }
    }
}

/// Whether a finding is there, by the lines of scans that make risks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// On at least one line that counts the newest scan that saw it is not older than the newest complete one that covers it.
    Open,
    /// No longer run by the tool on any line that counts, and not known to be gone.
    Unknown,
    /// A complete scan that covers its place does not have it, on every line that counts.
    Closed,
}

/// A finding of one tool at one place of one asset, as it stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedFinding {
    /// Who it is everywhere: hash of asset and fingerprint.
    pub finding: Id,
    pub fingerprint: Id,
    pub asset: AssetId,
    /// The service that this record is for.
    pub service: String,
    /// Whether that service owns the place, rather than uses it.
    pub is_owner: bool,
    pub tool: String,
    pub kind: ScanKind,
    /// As the newest scan reported it.
    pub observation: Observation,
    pub state: FindingState,
    /// Only branches that make no risks have it: shown, never alerted.
    pub is_preview: bool,
    /// The earliest time that any scan saw it, or that a finding which moved to here was seen.
    pub first_seen: Timestamp,
    /// The time of the scan that brought the state.
    pub state_since: Timestamp,
    /// The lines of scans that have it, sorted.
    pub lines: Vec<Id>,
    /// Where its lines of code were, the newest place last; each holds from its scan on.
    pub places: Vec<HeldPlace>,
    /// The finding whose file was moved to here; verdicts and first seen follow.
    pub moved_from: Option<Id>,
    pub verdict: Option<GivenVerdict>,
    pub assignment: Option<GivenAssignment>,
    /// What a person says that its severity is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<GivenSeverity>,
    /// Words on its links to code, by the finding there; for what was proved at runtime.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "words")]
    pub words: Vec<GivenWord>,
    /// How many decisions on it were accepted: the expected version of the next.
    pub version: i32,
    /// The service that the publisher claims; the catalog wins.
    pub service_claim: String,
    /// The people and teams that own the place (CODEOWNERS), in their order.
    pub owners: Vec<String>,
}

impl TrackedFinding {
    /// How severe it is: what a person says, else its tool.
    pub fn severity(&self) -> Severity {
        self.severity.as_ref().map_or(self.observation.severity, |given| given.severity)
    }

    /// Who a finding is everywhere.
    pub fn id_of(asset: &AssetId, fingerprint: Id) -> Id {
        Id::of("finding", &[asset.as_str().as_bytes(), &fingerprint.0])
    }
}

/// Lines of code that a finding held from a scan on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldPlace {
    /// The line of scans that says so.
    pub line_of_scans: Id,
    /// The time that the scan counts as of: its revision's on a branch, its start in an environment.
    pub since: Timestamp,
    /// First and last line of code, from 1.
    pub line: i32,
    pub end_line: i32,
}

/// A verdict with who gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenVerdict {
    pub verdict: Verdict,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

/// An assignment with who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenAssignment {
    pub assignment: Assignment,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

/// A severity with who gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenSeverity {
    pub severity: Severity,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

/// A word on a link with who gave it; never a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenWord {
    /// The finding in code.
    pub to: Id,
    pub word: Word,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

/// A list that is null in Avro where it has nothing: so a record without words is one of the schema's version before.
mod words {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::GivenWord;

    pub fn serialize<S: Serializer>(words: &[GivenWord], serializer: S) -> Result<S::Ok, S::Error> {
        Some(words).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<GivenWord>, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}

/// An entry of a route map, or a place that a dynamic scan visited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedRoute {
    /// Hash of the asset and everything below.
    pub route: Id,
    pub asset: AssetId,
    pub service: String,
    pub tool: String,
    /// Upper-case method; empty for any.
    pub method: String,
    /// Path template of a map's entry, or the path that was visited.
    pub path: String,
    pub file: String,
    pub symbol: String,
    pub line: i32,
    pub parameters: Vec<String>,
    /// Whether this is a visit of a dynamic scan rather than an entry of a map.
    pub is_visit: bool,
    /// For a visit: the weakness families that its scan tested for and reported at least once or lists as run.
    pub families: Vec<String>,
}

/// A line of scans: one tool on one asset on one branch or in one environment, with the complete scans that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackedLine {
    /// Hash of asset, tool, branch and environment.
    pub line: Id,
    pub asset: AssetId,
    pub service: String,
    pub tool: String,
    pub kind: ScanKind,
    pub branch: String,
    pub environment: String,
    /// Whether findings on it make risks.
    pub counts: bool,
    /// Scans that are complete, the oldest first by their order on the line.
    pub complete: Vec<CompleteScan>,
}

impl TrackedLine {
    /// Which line a scan is of.
    pub fn id_of(asset: &AssetId, tool: &str, branch: &str, environment: &str) -> Id {
        Id::of("line", &[asset.as_str().as_bytes(), tool.as_bytes(), branch.as_bytes(), environment.as_bytes()])
    }
}

/// A complete scan as readers join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteScan {
    pub scan: Id,
    pub revision: String,
    /// The time that it counts as of.
    pub as_of: Timestamp,
    pub started: Timestamp,
    pub is_full: bool,
    pub observations: i32,
}

/// A fact that is now published for other services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Went {
    /// The services that have it now, the owner first; none if it is nowhere any more.
    pub to: Vec<String>,
}

/// The kind of fact that a `tracked` key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    Finding,
    Route,
    Line,
}

impl FactKind {
    const ALL: [(Self, &'static str); 3] = [(Self::Finding, "finding"), (Self::Route, "route"), (Self::Line, "line")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// The key of a fact of a service: `service`, separator, `finding:<id>`.
pub fn key(service: &str, kind: FactKind, fact: Id) -> String {
    format!("{service}{SEPARATOR}{}:{fact}", kind.name())
}

/// What a key of `tracked` says; `None` if it is none.
pub fn parse_key(key: &str) -> Option<(&str, FactKind, Id)> {
    let (service, rest) = key.split_once(SEPARATOR)?;
    let (name, id) = rest.split_once(':')?;
    let (kind, _) = FactKind::ALL.iter().find(|(_, known)| *known == name)?;
    Some((service, *kind, id.parse().ok()?))
}

/// The envelope as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrackedEnvelope {
    pub kind: String,
    pub finding: Option<TrackedFinding>,
    pub route: Option<TrackedRoute>,
    pub line: Option<TrackedLine>,
    pub went: Option<Went>,
}

crate::record::envelope! {
    "tracked", TrackedRecord, TrackedEnvelope {
        "finding" => finding: Finding,
        "route" => route: Route,
        "line" => line: Line,
        "went" => went: Went,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_service_kind_and_fact() {
        let id = Id::of("finding", &[b"1"]);
        for kind in [FactKind::Finding, FactKind::Route, FactKind::Line] {
            assert_eq!(parse_key(&key("unassigned/repo:a", kind, id)), Some(("unassigned/repo:a", kind, id)));
        }
        for wrong in ["", "shop", "shop\u{1f}finding", "shop\u{1f}finding:12", "shop\u{1f}story:00000000000000000000000000000000"] {
            assert_eq!(parse_key(wrong), None, "{wrong:?}");
        }
    }
}
