//! What people decide about findings, scans and assets, and what became of what was asked.

use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::id::Id;
use crate::observation::Severity;
use crate::time::Timestamp;

/// The longest reason that is kept, in bytes.
pub const REASON_BYTES: usize = 2 * 1024;

/// What a person says of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is real.
    Confirmed,
    /// It is not; the tool errs. Stays when a scan finds it again.
    FalsePositive,
    /// It is real and cannot be exploited here.
    NotExploitable,
    /// What was said before is taken back.
    Withdrawn,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Confirmed, Self::FalsePositive, Self::NotExploitable, Self::Withdrawn];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::FalsePositive => "false_positive",
            Self::NotExploitable => "not_exploitable",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The verdict of that name; `-` counts as `_`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace('-', "_");
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// What a person says of a link between what was proved at runtime and the code that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// They are one flaw, whatever the rules find.
    Confirmed,
    /// They are not.
    Rejected,
    /// What was said before is taken back.
    Withdrawn,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Confirmed, Self::Rejected, Self::Withdrawn];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The word of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.name() == name)
    }
}

/// Who is to deal with a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// A person or team; empty for nobody.
    pub to: String,
}

/// A value of `decisions`: one decision of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The asker's idempotency key: the same key is the same decision, and its outcome's key.
    pub key: String,
    pub asset: AssetId,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
    pub what: Decided,
}

impl Decision {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        if matches!(self.what, Decided::Severity(_) | Decided::Link(_)) { 2 } else { 1 }
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "DecidedBody", try_from = "DecidedBody")]
pub enum Decided {
    Verdict(FindingVerdict),
    Assignment(FindingAssignment),
    /// How severe a finding is here, in place of what its tool says.
    Severity(FindingSeverity),
    /// A word on a link; it stands with the link's runtime finding.
    Link(LinkWord),
    /// A scan is taken back, as if it had never been.
    RetractScan(RetractScan),
    /// The asset is no longer scanned: its findings close.
    RetireAsset,
}

/// A verdict on a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingVerdict {
    pub finding: Id,
    pub verdict: Verdict,
    /// How many decisions the asker saw on it; a stale one is refused. None where the asker does not care.
    pub expected_version: Option<i32>,
}

/// An assignment of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingAssignment {
    pub finding: Id,
    pub to: String,
    /// As for a verdict.
    pub expected_version: Option<i32>,
}

/// A severity in place of a finding's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingSeverity {
    pub finding: Id,
    /// None takes back what was said before.
    pub severity: Option<Severity>,
    /// As for a verdict.
    pub expected_version: Option<i32>,
}

/// A word on the link from a runtime finding to one in code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkWord {
    /// The runtime finding.
    pub finding: Id,
    /// The finding in code.
    pub to: Id,
    pub word: Word,
    /// How many decisions the asker saw on the runtime finding. As for a verdict.
    pub expected_version: Option<i32>,
}

/// A scan that is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetractScan {
    pub scan: Id,
}

/// What was decided, as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct DecidedBody {
    kind: String,
    verdict: Option<FindingVerdict>,
    assignment: Option<FindingAssignment>,
    retract_scan: Option<RetractScan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    severity: Option<FindingSeverity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<LinkWord>,
}

impl From<Decided> for DecidedBody {
    fn from(decided: Decided) -> Self {
        let of = |kind: &str| Self { kind: kind.to_owned(), ..Self::default() };
        match decided {
            Decided::Verdict(body) => Self { verdict: Some(body), ..of("verdict") },
            Decided::Assignment(body) => Self { assignment: Some(body), ..of("assignment") },
            Decided::Severity(body) => Self { severity: Some(body), ..of("severity") },
            Decided::Link(body) => Self { link: Some(body), ..of("link") },
            Decided::RetractScan(body) => Self { retract_scan: Some(body), ..of("retract_scan") },
            Decided::RetireAsset => of("retire_asset"),
        }
    }
}

/// A decision of a kind that this program does not know, or whose body is missing.
#[derive(Debug, thiserror::Error)]
#[error("a decision of kind {kind:?} is not known here, or has no body of that kind")]
struct DecidedError {
    kind: String,
}

impl TryFrom<DecidedBody> for Decided {
    type Error = DecidedError;

    fn try_from(body: DecidedBody) -> Result<Self, DecidedError> {
        let DecidedBody { kind, verdict, assignment, retract_scan, severity, link } = body;
        let decided = match kind.as_str() {
            "verdict" => verdict.map(Self::Verdict),
            "assignment" => assignment.map(Self::Assignment),
            "severity" => severity.map(Self::Severity),
            "link" => link.map(Self::Link),
            "retract_scan" => retract_scan.map(Self::RetractScan),
            "retire_asset" => Some(Self::RetireAsset),
            _ => None,
        };
        decided.ok_or(DecidedError { kind })
    }
}

/// How something that was asked ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    Done,
    /// Not done, and nothing was changed; the reason says why.
    Refused,
    /// A scan whose end never came: what it saw counts, it closes nothing.
    Unfinished,
}

impl OutcomeStatus {
    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A value of `outcomes`, keyed by the asker's id: a scan's id for a report, the idempotency key for a decision or a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub id: String,
    pub status: OutcomeStatus,
    /// Why it was refused or is unfinished, in words with what to do; empty for what is done.
    pub reason: String,
    /// What it was about; none for a step.
    #[serde(with = "maybe_asset")]
    pub asset: Option<AssetId>,
    /// The time of the fact that ended it: the scan's start, or the decision's own time.
    pub at: Timestamp,
    /// For a scan: what became of its observations.
    pub counts: Option<ScanCounts>,
    /// The exception that a step was about; none for what has an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Id>,
}

impl Outcome {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        if self.subject.is_some() { 2 } else { 1 }
    }
}

/// An asset or none as a text, which is empty for none.
mod maybe_asset {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::asset::AssetId;

    #[allow(clippy::ref_option)] // serde gives it so
    pub fn serialize<S: Serializer>(asset: &Option<AssetId>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(asset.as_ref().map_or("", AssetId::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AssetId>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
    }
}

/// What became of a scan's observations: `observed` = `new` + `known` + `refused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanCounts {
    /// Elements of the report: what was sent, and what could not be read.
    pub observed: i32,
    /// Findings that no scan had reported before.
    pub new: i32,
    /// Findings that were known, repeated observations of one finding included.
    pub known: i32,
    /// Elements of the report that could not be read.
    pub refused: i32,
    /// Known findings that came back.
    pub reopened: i32,
    /// Findings that this scan closed.
    pub closed: i32,
}
