//! The schemas as they ship, with every version that was ever published.

use std::sync::LazyLock;

use serde_avro_fast::Schema;

use super::{AvroError, WriterSchema, rewrite};
use crate::access::AccessRecord;
use crate::audit::{Act, AuditEntry};
use crate::catalog::CatalogRecord;
use crate::dead_letter::DeadLetter;
use crate::decision::{Decision, Outcome};
use crate::exception::{Held, StepRecord};
use crate::intel::IntelRecord;
use crate::notice::{Delivery, Notice};
use crate::record::FindingsRecord;
use crate::register::RegisterEntry;
use crate::risk::Risk;
use crate::share::Share;
use crate::ticket::TicketRecord;
use crate::tracked::TrackedRecord;

/// The schema of a topic's values.
pub struct Subject {
    /// By TopicNameStrategy: `findings-value`.
    pub name: &'static str,
    /// Subjects that have the same versions under the same ids: of topics with the same records.
    also: &'static [&'static str],
    /// The version that is written.
    newest: Version,
    /// Versions that may still stand in a log, the oldest first.
    older: &'static [Version],
    rewrite: fn(&[u8], &WriterSchema) -> Result<Vec<u8>, AvroError>,
}

/// A schema under its id.
pub struct Version {
    /// The id where there is no registry, as in `schemas/ids.tsv`.
    pub id: u32,
    /// The schema, as it stands in `schemas/`.
    pub text: &'static str,
    schema: LazyLock<Schema>,
}

impl Version {
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// As [`WriterSchema::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 8] {
        *self.schema.rabin_fingerprint()
    }
}

impl Subject {
    /// That of a topic's values; none if the topic is not of the contract.
    pub fn of_topic(topic: &str) -> Option<&'static Self> {
        SUBJECTS.iter().copied().find(|subject| subject.names().any(|name| topic_of(name) == topic))
    }

    /// The names that it has in a registry: one for each topic.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.also.iter().copied())
    }

    /// The topic whose values it is the schema of.
    pub fn topic(&self) -> &'static str {
        topic_of(self.name)
    }

    /// A value that was written with a schema which is given and none of ours, in the version that is written here.
    pub fn rewritten(&self, bytes: &[u8], writer: &WriterSchema) -> Result<Vec<u8>, AvroError> {
        (self.rewrite)(bytes, writer)
    }

    /// The version that is written.
    pub fn newest(&self) -> &Version {
        &self.newest
    }

    /// All versions, the oldest first.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.older.iter().chain([&self.newest])
    }

    /// A version by its number, from 1; the newest if there are not so many.
    pub(super) fn numbered(&self, number: usize) -> &Version {
        self.older.get(number - 1).unwrap_or(&self.newest)
    }

    /// The version of that id.
    pub(super) fn version(&self, id: u32) -> Option<&Version> {
        if id == self.newest.id { Some(&self.newest) } else { self.older.iter().find(|version| version.id == id) }
    }
}

fn topic_of(subject: &'static str) -> &'static str {
    subject.strip_suffix("-value").unwrap_or(subject)
}

/// A version out of its id and its file.
macro_rules! version {
    ($id:literal, $file:literal) => {
        Version {
            id: $id,
            text: include_str!(concat!("../../../../schemas/", $file)),
            schema: LazyLock::new(|| {
                include_str!(concat!("../../../../schemas/", $file)).parse().expect("the shipped schemas are read by a test")
            }),
        }
    };
}

macro_rules! subjects {
    ($($name:ident = $subject:literal $(and $also:literal)? of $record:ty, $file:literal = $id:literal, older [$($older_file:literal = $older_id:literal),*];)+) => {
        $(
            /// The schemas of this topic's values.
            pub static $name: Subject = Subject {
                name: $subject,
                also: &[$($also)?],
                newest: version!($id, $file),
                older: {
                    static OLDER: [Version; <[u32]>::len(&[$($older_id),*])] = [$(version!($older_id, $older_file)),*];
                    &OLDER
                },
                rewrite: rewrite::<$record>,
            };
        )+
        /// All schemas.
        pub static SUBJECTS: &[&Subject] = &[$(&$name),+];
    };
}

// A changed schema gets the next free id; what it was goes to `older`, oldest first: "history/findings-value/1.avsc" = 1.
subjects! {
    FINDINGS = "findings-value" and "findings.bulk-value" of FindingsRecord, "findings.avsc" = 1, older [];
    TRACKED = "tracked-value" of TrackedRecord, "tracked.avsc" = 12, older ["history/tracked-value/1.avsc" = 2];
    CATALOG = "catalog-value" of CatalogRecord, "catalog.avsc" = 3, older [];
    INTEL = "intel-value" of IntelRecord, "intel.avsc" = 4, older [];
    DECISIONS = "decisions-value" of Decision, "decisions.avsc" = 13, older ["history/decisions-value/1.avsc" = 5];
    RISKS = "risks-value" of Risk, "risks.avsc" = 14, older ["history/risks-value/1.avsc" = 6];
    OUTCOMES = "outcomes-value" of Outcome, "outcomes.avsc" = 15, older ["history/outcomes-value/1.avsc" = 7];
    DEAD_LETTERS = "dead-letters-value" of DeadLetter, "dead-letters.avsc" = 8, older [];
    ACCESS = "access-value" of AccessRecord, "access.avsc" = 9, older [];
    ACTS = "acts-value" and "judged-value" of Act, "acts.avsc" = 10, older [];
    AUDIT = "audit-value" of AuditEntry, "audit.avsc" = 11, older [];
    STEPS = "steps-value" of StepRecord, "steps.avsc" = 20, older ["history/steps-value/1.avsc" = 16];
    SHARES = "shares-value" of Share, "shares.avsc" = 25, older ["history/shares-value/1.avsc" = 17, "history/shares-value/2.avsc" = 21];
    EXCEPTIONS = "exceptions-value" of Held, "exceptions.avsc" = 18, older [];
    RISK_REGISTRY = "risk-registry-value" of RegisterEntry, "risk-registry.avsc" = 22, older ["history/risk-registry-value/1.avsc" = 19];
    TICKETS_DESIRED = "tickets.desired-value" of TicketRecord, "tickets.desired.avsc" = 26, older [];
    NOTICES = "notices-value" of Notice, "notices.avsc" = 23, older [];
    DELIVERIES = "deliveries-value" of Delivery, "deliveries.avsc" = 24, older [];
}
