//! An entry of the risk register: an exception with all that is known of it.

use serde::{Deserialize, Serialize};

use crate::exception::{Broken, Category, NewEnd, Response, Stage, Terms};
use crate::id::Id;
use crate::observation::Severity;
use crate::share::ShareRisk;
use crate::time::Timestamp;

/// The most events that an entry tells, the newest last.
pub const HISTORY: usize = 64;

/// A value of `risk-registry`, by entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterEntry {
    /// The exception.
    pub entry: Id,
    pub stage: Stage,
    pub terms: Terms,
    /// How many steps were accepted: what a step expects.
    pub version: i32,
    /// Who wrote the terms, sorted.
    pub authors: Vec<String>,
    /// Empty before.
    pub requested_by: String,
    /// Empty before.
    pub reviewed_by: String,
    /// Empty before.
    pub approved_by: String,
    pub approved_at: Option<Timestamp>,
    /// Another end that is asked for.
    pub renewal: Option<AskedEnd>,
    /// Of a suspended one: what broke, sorted.
    pub broken: Vec<Broken>,
    /// Steps that may follow, as stage and renewal stand.
    pub possible: Vec<String>,
    /// How many open or accepted risks it covers while it holds.
    pub risks: i32,
    /// Services that these risks are of.
    pub services: i32,
    /// Risks that have a finding which it names, and are about more: they are open.
    pub contested: i32,
    /// 100 × log2 of the sum of 2^(score / 100) over what it covers, compensating controls included.
    pub residual: i32,
    /// As `residual`, without compensating controls.
    pub inherent: i32,
    /// The highest score that it covers; 0 if there is none.
    pub highest: i32,
    /// Of what it covers, at most [`crate::share::RISKS_NAMED`]; of a suspended one, as it was then.
    pub first: Vec<ShareRisk>,
    /// At most [`HISTORY`].
    pub history: Vec<Event>,
    /// None as long as an older program may take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<Assessment>,
}

impl RegisterEntry {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        if self.assessment.is_some() { 2 } else { 1 }
    }
}

/// What a register has beside that, by NIST IR 8286: the assessment is that of the highest risk that it covers, without compensating controls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The band of the highest risk that it covers; none where nothing is counted.
    pub priority: Option<Severity>,
    /// Its weakness family; empty where nothing is counted.
    pub category: String,
    /// As [`crate::share::Rating::likelihood`].
    pub likelihood: Option<i32>,
    /// As [`crate::share::Rating::impact`].
    pub impact: Option<i32>,
    pub response_type: ResponseType,
    /// What the response costs, in people's words; empty where nobody says.
    pub response_cost: String,
    /// Who answers for it: who is named, else who approved it, else who asked for it; empty before.
    pub owner: String,
    /// Whether the terms name the owner.
    pub is_owner_named: bool,
    pub completeness: Completeness,
}

/// What is done about a risk, in the words of NIST IR 8286. Avoiding one is repairing it: then it is in no register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseType {
    Accept,
    Transfer,
    Mitigate,
}

impl ResponseType {
    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Transfer => "transfer",
            Self::Mitigate => "mitigate",
        }
    }
}

impl From<Category> for ResponseType {
    fn from(category: Category) -> Self {
        match category {
            Category::Accept | Category::CannotFix | Category::FalseAlarmElsewhere => Self::Accept,
            Category::Transfer => Self::Transfer,
            Category::Mitigated => Self::Mitigate,
        }
    }
}

/// What an entry's numbers are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// All risks of which services have said that it covers them. What changes at a risk is counted one hop later.
    Counted,
    /// It holds, and no service has said yet that it covers something there: none does, or one is about to.
    Awaited,
    /// It does not hold, so nothing is counted.
    NotCounted,
}

impl Completeness {
    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Awaited => "awaited",
            Self::NotCounted => "not_counted",
        }
    }
}

/// Why somebody is to look at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// An assumption broke.
    Suspended,
    /// The day of its review has come.
    ReviewDue,
    /// Its end is near.
    Ends,
    /// It has used up nine tenths of what it may come to cover, or of the score that it may come to, or is contested.
    Drift,
    /// It holds and covers nothing.
    Orphan,
}

impl Attention {
    /// All of them, what is worse first.
    pub const ALL: [Self; 5] = [Self::Suspended, Self::ReviewDue, Self::Ends, Self::Drift, Self::Orphan];

    /// The name, as it stands in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::ReviewDue => "review_due",
            Self::Ends => "ends",
            Self::Drift => "drift",
            Self::Orphan => "orphan",
        }
    }
}

impl RegisterEntry {
    /// What went with its terms.
    pub fn response(&self) -> Response {
        let of = |assessment: &Assessment| Response {
            owner: if assessment.is_owner_named { assessment.owner.clone() } else { String::new() },
            cost: assessment.response_cost.clone(),
        };
        self.assessment.as_ref().map(of).unwrap_or_default()
    }

    /// Why somebody is to look at it at a time.
    pub fn attention(&self, now: Timestamp) -> Vec<Attention> {
        Attention::ALL.into_iter().filter(|why| self.asks_for(*why, now)).collect()
    }

    fn asks_for(&self, why: Attention, now: Timestamp) -> bool {
        match why {
            Attention::Suspended => self.stage == Stage::Suspended,
            Attention::ReviewDue => self.stage.holds() && self.terms.review_at <= now,
            Attention::Ends => self.stage == Stage::Expiring,
            Attention::Drift => self.stage.holds() && self.drifts(),
            Attention::Orphan => self.stage.holds() && self.risks == 0 && self.contested == 0,
        }
    }

    fn drifts(&self) -> bool {
        let is_near = |now: i32, most: i32| i64::from(now) * 10 >= i64::from(most) * 9;
        let terms = &self.terms;
        // One that may cover a single risk, and does, is as it was granted.
        let covers = terms.covers_at_most > 1 && is_near(self.risks, terms.covers_at_most);
        covers || self.contested > 0 || terms.assumptions.score_at_most.is_some_and(|most| self.risks > 0 && is_near(self.highest, most))
    }
}

/// Another end that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedEnd {
    pub end: NewEnd,
    pub asked_by: String,
    /// Empty before.
    pub reviewed_by: String,
}

/// Something that happened to an exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// A step's name, or `suspended`.
    pub what: String,
    /// Empty where nobody did it.
    pub actor: String,
    /// The time of the step; none for what came of the world.
    pub at: Option<Timestamp>,
    pub reason: String,
}
