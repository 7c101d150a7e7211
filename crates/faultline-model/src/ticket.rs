//! Tickets as they should be: what act says, by queue and fix, and sinks bring about.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::observation::Severity;
use crate::partition::SEPARATOR;
use crate::share::ShareRisk;
use crate::time::Timestamp;

/// A value of `tickets.desired`. A key without a value: nothing asks for a ticket of this fix any more.
// Nearly all are wanted.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketRecord {
    /// There should be one ticket, which says this.
    Wanted(WantedTicket),
    /// The ticket belongs to another queue now. The key goes within hours.
    Moved(MovedTicket),
}

/// What the ticket of a fix should say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedTicket {
    pub fix: Id,
    /// Of the ticket policy: where it goes.
    pub queue: String,
    /// Queues where it was before and may still be, sorted.
    pub moved_from: Vec<String>,
    /// Other fixes that repair risks of this one, sorted; at most [`OTHERS_NAMED`]. One that is not wanted itself went up in this one.
    pub also: Vec<Id>,
    /// `upgrade`, `base_image`, `code`, `rotate`, `configure`.
    pub kind: String,
    /// What is to be changed, for people.
    pub what: String,
    /// How, as the tools explain it.
    pub guidance: String,
    /// Versions that repair it, as the tools list them, sorted.
    pub fixed_versions: Vec<String>,
    /// The highest of its risks.
    pub score: i32,
    pub band: Severity,
    /// When the risk with that score should be repaired.
    pub due: Timestamp,
    /// How many risks it repairs that deserve a ticket.
    pub risks: i32,
    /// In how many services.
    pub services: i32,
    /// The earliest of these risks.
    pub first_seen: Timestamp,
    /// Those with the highest scores, at most [`crate::share::RISKS_NAMED`].
    pub first: Vec<ShareRisk>,
}

/// Where a ticket belongs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedTicket {
    pub fix: Id,
    pub to: String,
}

/// The most other fixes that a ticket, or a share, names.
pub const OTHERS_NAMED: usize = 16;

/// The key of a ticket: queue, separator, `fix`.
pub fn key(queue: &str, fix: Id) -> String {
    format!("{queue}{SEPARATOR}{fix}")
}

/// The queue and the fix of a key; `None` if it is none.
pub fn parse_key(key: &str) -> Option<(&str, Id)> {
    let (queue, fix) = key.split_once(SEPARATOR)?;
    Some((queue, fix.parse().ok()?))
}

/// The envelope as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TicketEnvelope {
    pub kind: String,
    pub wanted: Option<WantedTicket>,
    pub moved: Option<MovedTicket>,
}

crate::record::envelope! {
    "tickets.desired", TicketRecord, TicketEnvelope {
        "wanted" => wanted: Wanted,
        "moved" => moved: Moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_queue_and_fix() {
        let fix = Id::of("fix", &[b"1"]);
        assert_eq!(parse_key(&key("web", fix)), Some(("web", fix)));
        assert!(["", "web", "web\u{1f}", "web\u{1f}12"].into_iter().all(|wrong| parse_key(wrong).is_none()));
    }
}
