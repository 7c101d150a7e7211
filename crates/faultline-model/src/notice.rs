//! Notices: something happened that people, or their programs, want to be told of. And what became of telling them.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::partition::{SEPARATOR, first_part};
use crate::time::Timestamp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A risk was proved at runtime and located in code, and is open.
    RiskVerified,
    /// An assumption of an exception broke: its risks are open again.
    ExceptionSuspended,
    /// The end of an exception is near.
    ExceptionExpiring,
    /// An exception came to its end: what is still there is open.
    ExceptionExpired,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RiskVerified, Self::ExceptionSuspended, Self::ExceptionExpiring, Self::ExceptionExpired];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::RiskVerified => "risk_verified",
            Self::ExceptionSuspended => "exception_suspended",
            Self::ExceptionExpiring => "exception_expiring",
            Self::ExceptionExpired => "exception_expired",
        }
    }

    /// The name with a dot, as Standard Webhooks recommends for the type of a message.
    pub fn dotted(self) -> String {
        self.name().replacen('_', ".", 1)
    }

    /// The kind of that name; `-` and `.` count as `_`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.replace(['-', '.'], "_");
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A value of `notices`, by id: something that happened, said once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The same notice has the same id, however often it comes to somebody.
    pub id: Id,
    pub kind: NoticeKind,
    /// When the record was written that it comes of.
    pub at: Timestamp,
    /// The key of that record: a risk with its service, or an exception.
    pub origin: String,
    /// One line for people.
    pub title: String,
    /// Why, for people.
    pub because: String,
    /// Of a risk, its score; of an exception, the highest that it covers.
    pub score: i32,
    /// Of a risk, its service as `service/<id>`; of an exception, the units that its scope names.
    pub within: Vec<String>,
    /// Destinations that are to be told, sorted.
    pub to: Vec<String>,
}

/// A value of `deliveries`, by what the notice comes of and the destination: what became of telling one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub notice: Id,
    pub destination: String,
    /// Which attempt it was, from 1.
    pub attempt: i32,
    pub status: DeliveryStatus,
    /// What the other side answered, or why there was no answer; empty where it took it.
    pub reason: String,
    pub at: Timestamp,
    /// When it is tried again; none where it is not.
    pub again_at: Option<Timestamp>,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// The destination has it.
    Delivered,
    /// It is tried again.
    Failed,
    /// It is not tried again.
    GivenUp,
}

impl DeliveryStatus {
    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

impl Notice {
    /// The key of what becomes of it at a destination: it belongs where the notice comes of.
    pub fn delivery_key(&self, destination: &str) -> String {
        format!("{}{SEPARATOR}{}/{destination}", first_part(&self.origin), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::partition;

    #[test]
    fn kinds_have_names_of_their_own() {
        for kind in NoticeKind::ALL {
            assert_eq!(NoticeKind::named(kind.name()), Some(kind));
            assert_eq!(NoticeKind::named(&kind.dotted()), Some(kind));
        }
        assert_eq!(NoticeKind::ExceptionSuspended.dotted(), "exception.suspended");
        assert_eq!(NoticeKind::named("risk"), None);
    }

    #[test]
    fn what_becomes_of_a_notice_stands_where_it_comes_of() {
        let notice = Notice {
            id: Id([7; 16]),
            kind: NoticeKind::RiskVerified,
            at: Timestamp::from_millis(0),
            origin: crate::risk::key("shop", Id([1; 16])),
            title: String::new(),
            because: String::new(),
            score: 0,
            within: Vec::new(),
            to: Vec::new(),
        };
        let key = notice.delivery_key("soc");
        assert_eq!(key, format!("shop\u{1f}{}/soc", notice.id));
        for partitions in [1, 3, 64] {
            assert_eq!(partition(&key, partitions), partition(&notice.origin, partitions));
        }
    }
}
