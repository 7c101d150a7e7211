//! A scored risk, as `risks` holds it and as everybody reads it.

use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::decision::Verdict;
use crate::exception::Broken;
use crate::id::Id;
use crate::locus::Locus;
use crate::observation::{ScanKind, Severity};
use crate::partition::SEPARATOR;
use crate::time::Timestamp;
use crate::tracked::FindingState;

/// The most findings that a risk shows; open ones first, then by id.
pub const FINDINGS_SHOWN: usize = 64;
/// The most links that a risk shows, the strongest first.
pub const LINKS_SHOWN: usize = 64;
/// The most exceptions that a risk shows: those that hold first, then by id.
pub const EXCEPTIONS_SHOWN: usize = 16;

/// One flaw of one service after dedupe and correlation, anchored at its root cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// Hash of the service and the founder.
    pub risk: Id,
    pub service: String,
    pub title: String,
    /// Weakness family: `sql-injection`, `vulnerable-component`, `other:707`.
    pub family: String,
    pub state: RiskState,
    pub evidence: EvidenceState,
    pub score: Score,
    /// The chance that it is real, in millionths.
    pub confidence_ppm: i32,
    /// The finding that named it: the earliest at its anchor by (first seen, id), closed ones included.
    pub founder: Id,
    /// Ids that its other members at the anchor would found alone, sorted.
    pub also: Vec<Id>,
    pub asset: AssetId,
    /// The founder's place.
    pub anchor: Locus,
    /// At most [`FINDINGS_SHOWN`].
    pub findings: Vec<Member>,
    /// How many findings it has.
    pub findings_total: i32,
    /// At most [`LINKS_SHOWN`].
    pub links: Vec<Link>,
    /// How many links it has.
    pub links_total: i32,
    /// Vulnerability ids of all findings with their aliases, sorted.
    pub vulnerabilities: Vec<String>,
    pub fix: Fix,
    /// People and teams that own the place, else the service's.
    pub owners: Vec<String>,
    /// Who it is assigned to; empty for nobody.
    pub assigned_to: String,
    /// The earliest of its findings'.
    pub first_seen: Timestamp,
    /// Exceptions that name it or one of its findings; at most [`EXCEPTIONS_SHOWN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Covering>,
}

impl Risk {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        if self.exceptions.is_empty() { 1 } else { 2 }
    }
}

/// An exception, as far as a risk goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covering {
    pub exception: Id,
    /// Whether it covers what the risk is anchored at, rather than only one of the other findings: then the risk is contested, and open.
    pub at_anchor: bool,
    /// What the risk breaks of what it assumes, sorted: then the risk is open.
    pub broken: Vec<Broken>,
}

impl Covering {
    /// Whether the risk is accepted by it.
    pub fn holds(&self) -> bool {
        self.at_anchor && self.broken.is_empty()
    }
}

/// Whether something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskState {
    Open,
    /// An exception holds for it: it is left as it is for a time.
    Accepted,
    /// None of its findings is there any more.
    Closed,
    /// People said of every finding that is its own that it is none.
    FalsePositive,
}

impl RiskState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Accepted, Self::Closed, Self::FalsePositive];
}

/// How well a risk is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceState {
    /// One kind of tool says so.
    Reported,
    /// Independent kinds of tool agree.
    Corroborated,
    /// Proved at runtime and located in code.
    Verified,
}

/// A finding of a risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub finding: Id,
    pub asset: AssetId,
    pub tool: String,
    pub kind: ScanKind,
    pub rule: String,
    pub title: String,
    pub severity: Severity,
    pub locus: Locus,
    pub state: FindingState,
    pub verdict: Option<Verdict>,
    /// Whether this risk is its home, rather than cites it.
    pub is_home: bool,
    pub first_seen: Timestamp,
    /// How many decisions on it were accepted.
    pub version: i32,
    /// The lines of scans that have it; their records in `tracked` say when it was last seen.
    pub lines: Vec<Id>,
}

/// Why two findings are one risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `same-place`, `same-package`, `route-handler`, `secret`, …; `confirmed` where a person says so
    pub rule: String,
    pub from: Id,
    pub to: Id,
    /// The chance that both describe one flaw, in millionths.
    pub weight_ppm: i32,
    /// What the rule went by: `route GET /users/{id}`, `handler src/users.rs`, `parameter id`.
    pub inputs: Vec<String>,
}

/// One change that someone can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// Hash of what is to be changed, never of the service or the members.
    pub fix: Id,
    /// For code: ids that other founders would give.
    pub also: Vec<Id>,
    /// `upgrade`, `base_image`, `code`, `rotate`, `configure`.
    pub kind: String,
    /// What is to be changed, for people: `org.apache.logging.log4j:log4j-core in pom.xml`.
    pub what: String,
    /// How, as the tools explain it.
    pub guidance: String,
    /// Versions that repair it, as the tools list them, sorted.
    pub fixed_versions: Vec<String>,
}

/// A part of a score. The names and their order are public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    Technical,
    Exploitation,
    Exposure,
    Business,
    Data,
    Evidence,
    Reachability,
    Control,
    Age,
    Cap,
}

/// One line of the explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    pub factor: Factor,
    pub points: i32,
    /// The input behind it, in words.
    pub because: String,
}

/// A score with its explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// What the risk scores now, controls included: 0 to 1000, where 100 points more is twice the expected loss.
    pub total: i32,
    /// What it would score without compensating controls.
    pub inherent: i32,
    pub band: Severity,
    /// Sums to `total` exactly; every factor stands in it, in the order of [`Factor`].
    pub contributions: Vec<Contribution>,
    /// When it should be repaired.
    pub due: Timestamp,
    /// When age will change the score next; `None` if it never will.
    pub changes_at: Option<Timestamp>,
    pub policy_version: String,
}

/// Who a risk is.
pub fn id_of(service: &str, founder: Id) -> Id {
    Id::of("risk", &[service.as_bytes(), &founder.0])
}

/// The key of a risk: `service`, separator, id.
pub fn key(service: &str, risk: Id) -> String {
    format!("{service}{SEPARATOR}{risk}")
}

/// The service and the id of a key; `None` if it is none.
pub fn parse_key(key: &str) -> Option<(&str, Id)> {
    let (service, risk) = key.split_once(SEPARATOR)?;
    Some((service, risk.parse().ok()?))
}
