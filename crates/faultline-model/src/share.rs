//! One service's part in an exception, or in the ticket of a fix: what correlate tells act.

use serde::{Deserialize, Serialize};

use crate::exception::Broken;
use crate::id::Id;
use crate::observation::Severity;
use crate::partition::SEPARATOR;
use crate::time::Timestamp;

/// The most risks that a share, and a register entry, names: those that break an assumption first, then by score.
pub const RISKS_NAMED: usize = 8;

/// A value of `shares`, by subject and service: the risks of one service that an exception covers, or the open ones that deserve the ticket of a fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The exception, or the fix.
    pub subject: Id,
    pub service: String,
    /// The grant of the exception that it was worked out with; 0 for a fix.
    pub grant: i32,
    /// How many open or accepted risks it covers; of a fix, how many open ones deserve its ticket.
    pub risks: i32,
    /// Risks that have a finding which it names, and are about more: they are open.
    pub contested: i32,
    /// Sum of 2^(score / 100) over the risks that it covers, with 20 fraction bits.
    pub loss: i64,
    /// As `loss`, of scores without compensating controls.
    pub inherent_loss: i64,
    /// The highest score of a risk that it covers; 0 if there is none.
    pub highest: i32,
    /// What its risks break of what the exception assumes, sorted.
    pub broken: Vec<Broken>,
    /// At most [`RISKS_NAMED`].
    pub first: Vec<ShareRisk>,
    /// Of the risk with the highest score that it covers; none if there is none, or as long as an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<Rating>,
    /// Of a fix: what its ticket has of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixShare>,
}

/// What the ticket of a fix has of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixShare {
    /// The queue that the ticket policy names for the service's risk that claims the ticket: one that it owns rather than uses, then the earliest.
    pub queue: String,
    /// Whether the service owns what that risk is anchored at.
    pub is_owner: bool,
    /// When that risk was first seen.
    pub first_seen: Timestamp,
    /// Of the service's risk with the highest score, as all that follows. `upgrade`, `base_image`, `code`, `rotate`, `configure`.
    pub kind: String,
    pub what: String,
    pub guidance: String,
    pub fixed_versions: Vec<String>,
    /// At most [`crate::ticket::OTHERS_NAMED`].
    pub also: Vec<Id>,
    /// When it should be repaired.
    pub due: Timestamp,
}

impl Share {
    /// The oldest version of its schema that can say it.
    pub(crate) fn version(&self) -> usize {
        match (&self.fix, &self.rating) {
            (Some(_), _) => 3,
            (None, Some(_)) => 2,
            (None, None) => 1,
        }
    }
}

/// What a risk's score is made of, in points: 100 more is twice as much. What is left of the score is age, controls and what keeps it from 0 to 1000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// How likely it is to be used: exploitation, exposure, and how sure it is that it can be.
    pub likelihood: i32,
    /// How bad that would be: technical severity, and what the service is and holds.
    pub impact: i32,
    /// By the risk policy.
    pub band: Severity,
    /// Weakness family.
    pub family: String,
}

/// A risk that an exception covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRisk {
    pub risk: Id,
    pub service: String,
    pub title: String,
    pub score: i32,
    /// What it breaks, sorted.
    pub broken: Vec<Broken>,
}

impl ShareRisk {
    /// Those that break something come first, then the highest scores, then the smallest ids.
    pub fn order(&self) -> (bool, std::cmp::Reverse<i32>, Id) {
        (self.broken.is_empty(), std::cmp::Reverse(self.score), self.risk)
    }
}

/// The key of a share: subject, separator, `service`.
pub fn key(subject: Id, service: &str) -> String {
    format!("{subject}{SEPARATOR}{service}")
}

/// The subject and the service of a key; `None` if it is none.
pub fn parse_key(key: &str) -> Option<(Id, &str)> {
    let (subject, service) = key.split_once(SEPARATOR)?;
    Some((subject.parse().ok()?, service))
}
