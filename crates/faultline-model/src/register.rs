//! An entry of the risk register: an exception with all that is known of it.

use serde::{Deserialize, Serialize};

use crate::exception::{Broken, NewEnd, Stage, Terms};
use crate::id::Id;
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
