//! The topics: what each is kept by, and where a key of it belongs.

use crate::partition;

/// How long a record stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The newest record of each key; a record without a value removes its key.
    ByKey,
    /// Every record, for the topic's retention.
    ByTime,
}

/// A topic of the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: &'static str,
    pub kept: Kept,
    /// Read by every task of a stage rather than by the one that owns the key: it has one partition.
    pub is_global: bool,
}

impl Topic {
    const fn keyed(name: &'static str, kept: Kept) -> Self {
        Self { name, kept, is_global: false }
    }

    const fn global(name: &'static str) -> Self {
        Self { name, kept: Kept::ByKey, is_global: true }
    }

    /// The partition of a key, of so many that keyed topics have.
    pub fn partition_of(&self, key: &str, partitions: u32) -> u32 {
        if self.is_global { 0 } else { partition::partition(key, partitions) }
    }

    /// Whether only the newest record of a key stays.
    pub const fn is_compacted(&self) -> bool {
        matches!(self.kept, Kept::ByKey)
    }

    /// The topic of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|topic| topic.name == name)
    }
}

/// What scans report, by asset.
pub const FINDINGS: Topic = Topic::keyed("findings", Kept::ByTime);
/// The same for what may wait: read behind everything else, and while what follows from it keeps up. The records of `findings`.
pub const FINDINGS_BULK: Topic = Topic::keyed("findings.bulk", Kept::ByTime);
/// The state of findings, routes and lines of scans, by service and fact.
pub const TRACKED: Topic = Topic::keyed("tracked", Kept::ByKey);
/// The organisation, place rules and the risk policy, by entity.
pub const CATALOG: Topic = Topic::global("catalog");
/// Threat intelligence, by vulnerability id and source.
pub const INTEL: Topic = Topic::global("intel");
/// Who may come in: tokens by id, with their hashes.
pub const ACCESS: Topic = Topic::global("access");
/// What people decide, by asset.
pub const DECISIONS: Topic = Topic::keyed("decisions", Kept::ByTime);
/// Scored risks, by service and risk id.
pub const RISKS: Topic = Topic::keyed("risks", Kept::ByKey);
/// What people do with exceptions, by subject.
pub const STEPS: Topic = Topic::keyed("steps", Kept::ByTime);
/// What each service has in a subject, by subject and service.
pub const SHARES: Topic = Topic::keyed("shares", Kept::ByKey);
/// Exceptions that hold, by id.
pub const EXCEPTIONS: Topic = Topic::global("exceptions");
/// The risk register, by entry.
pub const RISK_REGISTRY: Topic = Topic::keyed("risk-registry", Kept::ByKey);
/// What the ticket of each fix should look like, by queue and fix.
pub const TICKETS_DESIRED: Topic = Topic::keyed("tickets.desired", Kept::ByKey);
/// What happened that people want to be told of, by notice.
pub const NOTICES: Topic = Topic::keyed("notices", Kept::ByTime);
/// What became of telling somebody, by what the notice comes of, notice and destination.
pub const DELIVERIES: Topic = Topic::keyed("deliveries", Kept::ByTime);
/// What became of reports, decisions and steps, by the asker's id.
pub const OUTCOMES: Topic = Topic::keyed("outcomes", Kept::ByTime);
/// What people did at a door that is no decision, or were refused there, by actor.
pub const ACTS: Topic = Topic::keyed("acts", Kept::ByTime);
/// Decisions and steps with what became of them, by asset and by subject.
pub const JUDGED: Topic = Topic::keyed("judged", Kept::ByTime);
/// All that people did or were refused, in chains, by chain.
pub const AUDIT: Topic = Topic::keyed("audit", Kept::ByTime);
/// Records that could not be worked on, by their own key.
pub const DEAD_LETTERS: Topic = Topic::keyed("dead-letters", Kept::ByTime);

/// All topics.
pub const ALL: [Topic; 20] = [
    FINDINGS,
    FINDINGS_BULK,
    TRACKED,
    CATALOG,
    INTEL,
    ACCESS,
    DECISIONS,
    STEPS,
    RISKS,
    SHARES,
    EXCEPTIONS,
    RISK_REGISTRY,
    TICKETS_DESIRED,
    NOTICES,
    DELIVERIES,
    OUTCOMES,
    ACTS,
    JUDGED,
    AUDIT,
    DEAD_LETTERS,
];
