//! Exceptions: risks that are accepted for a time, on assumptions, because somebody reviewed and somebody else approved it.
//!
//! People take [`Step`]s, which stand on `steps`. Stage act judges them and says on `exceptions` what holds ([`Held`]), by which stage correlate accepts risks.

mod asked;

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::time::Timestamp;

pub use asked::{AskedAssumptions, AskedControl, AskedScope, AskedTerms, Moment};

/// The longest title, in bytes.
pub const TITLE_BYTES: usize = 256;
/// The most findings that one exception names, and the most controls, links to evidence.
pub const ENTRIES: usize = 256;

/// What is asked for: what it covers, why, on which assumptions, until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub title: String,
    pub scope: Scope,
    pub category: Category,
    pub reason: String,
    pub controls: Vec<Control>,
    pub assumptions: Assumptions,
    /// Where it can be read up: addresses of documents, tickets.
    pub evidence: Vec<String>,
    /// From when it is to hold; none: as soon as it is approved.
    pub starts: Option<Timestamp>,
    /// When somebody is to look at it again.
    pub review_at: Timestamp,
    pub ends: Timestamp,
    /// As soon as it comes to cover more risks than this it is suspended.
    pub covers_at_most: i32,
}

/// Who an exception of a name is; one whose name is an id is that.
pub fn id_of(name: &str) -> Id {
    name.parse().unwrap_or_else(|_| Id::of("exception", &[name.as_bytes()]))
}

/// Which risks: those of these findings, or those that have all that is named. Never a risk's id, which changes as risks merge.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Findings that found risks, sorted; then nothing else but `within` is named.
    pub founders: Vec<Id>,
    pub vulnerability: String,
    /// A package URL without version.
    pub package: String,
    pub asset: String,
    pub family: String,
    /// Units of the organisation, or `service/<id>`: the risk's service stands below one of them. Empty for everywhere.
    pub within: Vec<String>,
}

impl Scope {
    /// Whether it names nothing that a risk must have.
    pub fn is_everything(&self) -> bool {
        let Self { founders, vulnerability, package, asset, family, within: _ } = self;
        founders.is_empty() && [vulnerability, package, asset, family].iter().all(|text| text.is_empty())
    }
}

/// What is done about the risk instead of repairing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Accept,
    Transfer,
    CannotFix,
    /// A control makes it small.
    Mitigated,
    /// It is none here, though it is one elsewhere.
    FalseAlarmElsewhere,
}

/// Something that makes the risk smaller while it is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub name: String,
    /// When it is no longer in place; none if nobody knows of an end.
    #[serde(default)]
    pub ends: Option<Timestamp>,
}

/// What must stay so. The moment that one breaks, the exception is suspended and says which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assumptions {
    pub not_internet_facing: bool,
    pub not_in_kev: bool,
    /// No risk that it covers scores more, as far as the score without it goes.
    pub score_at_most: Option<i32>,
    /// None of its controls has ended.
    pub controls_in_place: bool,
}

/// An assumption that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// A service with a risk that it covers is reachable from the internet.
    InternetFacing,
    /// A vulnerability of a risk that it covers is known to be exploited.
    InKev,
    ScoreAbove,
    ControlEnded,
    /// It came to cover more risks than it may.
    CoversMore,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::InternetFacing, Self::InKev, Self::ScoreAbove, Self::ControlEnded, Self::CoversMore];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternetFacing => "internet_facing",
            Self::InKev => "in_kev",
            Self::ScoreAbove => "score_above",
            Self::ControlEnded => "control_ended",
            Self::CoversMore => "covers_more",
        }
    }

    /// What happened, for people.
    pub fn because(self) -> &'static str {
        match self {
            Self::InternetFacing => "a service with a risk that it covers is reachable from the internet",
            Self::InKev => "a vulnerability of a risk that it covers is known to be exploited",
            Self::ScoreAbove => "a risk that it covers scores more than it may",
            Self::ControlEnded => "a control ended",
            Self::CoversMore => "it came to cover more risks than it may",
        }
    }
}

/// Where an exception stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Draft,
    Requested,
    Reviewed,
    Rejected,
    Withdrawn,
    /// It will hold from its start on.
    Approved,
    Active,
    /// Active, and its end is near.
    Expiring,
    /// An assumption broke: it does not hold until it was reviewed and approved again.
    Suspended,
    Expired,
    Revoked,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Accept, Self::Transfer, Self::CannotFix, Self::Mitigated, Self::FalseAlarmElsewhere];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Transfer => "transfer",
            Self::CannotFix => "cannot_fix",
            Self::Mitigated => "mitigated",
            Self::FalseAlarmElsewhere => "false_alarm_elsewhere",
        }
    }

    /// The category of that name; `-` counts as `_`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace('-', "_");
        Self::ALL.into_iter().find(|category| category.name() == name)
    }
}

impl Stage {
    /// The stage of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Draft,
        Self::Requested,
        Self::Reviewed,
        Self::Rejected,
        Self::Withdrawn,
        Self::Approved,
        Self::Active,
        Self::Expiring,
        Self::Suspended,
        Self::Expired,
        Self::Revoked,
    ];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Requested => "requested",
            Self::Reviewed => "reviewed",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Approved => "approved",
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether risks are accepted by it.
    pub fn holds(self) -> bool {
        matches!(self, Self::Active | Self::Expiring)
    }
}

/// A value of `steps`: what one person does with an exception. The record's key is the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The asker's idempotency key: the same key is the same step, and its outcome's key.
    pub key: String,
    /// The exception.
    pub subject: Id,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
    /// How many accepted steps the asker saw; a stale one is refused. None where the asker does not care.
    pub expected_version: Option<i32>,
    pub step: Step,
    /// With [`Step::Propose`]: what goes with the terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
}

impl StepRecord {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        if self.response.is_some() { 2 } else { 1 }
    }
}

/// Who owns what is accepted, and what that costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Response {
    /// Who answers for the risk; empty for whoever approves it.
    pub owner: String,
    /// What it costs to answer it so, in people's words; empty where nobody says.
    pub cost: String,
}

impl Response {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.owner.is_empty() && self.cost.is_empty()
    }
}

/// A value of `exceptions`, by exception: one that holds now. Correlate accepts the risks that it covers, unless they break what it assumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub exception: Id,
    /// Which of its grants: shares of an earlier one say nothing of this one.
    pub grant: i32,
    pub scope: Scope,
    pub assumptions: Assumptions,
}

/// What somebody does with an exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StepBody", try_from = "StepBody")]
pub enum Step {
    /// Puts terms down, or others in their place.
    Propose(Box<Terms>),
    /// Asks for it to be looked over; also again once it was suspended.
    Request,
    /// Has looked it over.
    Review,
    Approve,
    Reject,
    /// Takes it back before it holds.
    Withdraw,
    /// Ends it while it holds, or is suspended.
    Revoke,
    /// Asks for another end, also of one that has ended. What holds goes on until its own end.
    Renew(NewEnd),
}

/// Another end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEnd {
    pub review_at: Timestamp,
    pub ends: Timestamp,
}

/// A step as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct StepBody {
    kind: String,
    propose: Option<Terms>,
    renew: Option<NewEnd>,
}

impl From<Step> for StepBody {
    fn from(step: Step) -> Self {
        let of = Self { kind: step.kind().name().to_owned(), ..Self::default() };
        match step {
            Step::Propose(terms) => Self { propose: Some(*terms), ..of },
            Step::Renew(end) => Self { renew: Some(end), ..of },
            _ => of,
        }
    }
}

/// A step of a kind that this program does not know, or whose body is missing.
#[derive(Debug, thiserror::Error)]
#[error("a step of kind {kind:?} is not known here, or has no body of that kind")]
struct StepError {
    kind: String,
}

impl TryFrom<StepBody> for Step {
    type Error = StepError;

    fn try_from(body: StepBody) -> Result<Self, StepError> {
        let StepBody { kind, propose, renew } = body;
        let step = match StepKind::named(&kind) {
            Some(StepKind::Propose) => propose.map(|terms| Self::Propose(Box::new(terms))),
            Some(StepKind::Renew) => renew.map(Self::Renew),
            Some(StepKind::Request) => Some(Self::Request),
            Some(StepKind::Review) => Some(Self::Review),
            Some(StepKind::Approve) => Some(Self::Approve),
            Some(StepKind::Reject) => Some(Self::Reject),
            Some(StepKind::Withdraw) => Some(Self::Withdraw),
            Some(StepKind::Revoke) => Some(Self::Revoke),
            None => None,
        };
        step.ok_or(StepError { kind })
    }
}

/// A step without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Propose,
    Request,
    Review,
    Approve,
    Reject,
    Withdraw,
    Revoke,
    Renew,
}

impl StepKind {
    /// The step of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Propose, Self::Request, Self::Review, Self::Approve, Self::Reject, Self::Withdraw, Self::Revoke, Self::Renew];

    /// The name: a verb.
    pub fn name(self) -> &'static str {
        match self {
            Self::Propose => "propose",
            Self::Request => "request",
            Self::Review => "review",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Withdraw => "withdraw",
            Self::Revoke => "revoke",
            Self::Renew => "renew",
        }
    }
}

impl Step {
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Propose(_) => StepKind::Propose,
            Self::Request => StepKind::Request,
            Self::Review => StepKind::Review,
            Self::Approve => StepKind::Approve,
            Self::Reject => StepKind::Reject,
            Self::Withdraw => StepKind::Withdraw,
            Self::Revoke => StepKind::Revoke,
            Self::Renew(_) => StepKind::Renew,
        }
    }
}
