//! A schema registry of Confluent's API: its ids in place of our own on the values of a cluster.
//!
//! What it is: our schemas are looked up under their subjects, and registered where they are missing; a value that goes out gets the
//! registry's id, one that comes in gets ours back ([`Wire`]). A schema that is none of ours is fetched, and its record is written anew
//! as ours. What it is not: needed. Without one, values carry the ids of `schemas/ids.tsv`.
//!
//! An id never changes its schema, so that what was learnt is kept. While the registry is away only what needs an id that was never
//! seen waits. A value whose id the registry does not know is poison, as one that cannot be decoded is.
//!
//! The way through it: `client.rs` calls, `lookups.rs` remembers, this file knows our subjects, `wire.rs` is where records pass.

mod client;
mod error;
mod lookups;
mod options;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_model::avro::{AvroError, SUBJECTS, Subject, Version, WriterSchema};

use self::client::{Client, Found};
pub use self::error::RegistryError;
use self::lookups::{Answer, Lookups};
pub use self::options::{CertificateFiles, RegistryAuth, RegistryOptions};
pub(crate) use self::wire::Wire;
use crate::log::Gauge;
use crate::telemetry::Kind;

/// Every published version is read by every other (schemas/README.md).
const COMPATIBILITY: &str = "FULL_TRANSITIVE";
/// Ids are what Java calls an int, and positive.
const LARGEST_ID: u32 = i32::MAX as u32;
/// Writers' schemas that are kept: a topic has a handful.
const MOST_WRITERS: usize = 1000;
/// An id that is not known may become so, where registries copy each other.
const UNKNOWN_HOLDS: Duration = Duration::from_secs(10);

/// A registry, and what is known of it.
pub struct Registry {
    client: Client,
    /// The registry's ids of our versions, by our id.
    ours: Lookups<u32, u32>,
    /// Schemas by the registry's id.
    writers: Lookups<u32, Arc<Writer>>,
}

/// What a registry's id stands for.
enum Writer {
    /// A version of ours, by our id.
    Ours(u32),
    Other(WriterSchema),
    /// It cannot be read with, and why.
    Unusable(String),
    Unknown,
}

/// What a registry has otherwise than we would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectDifference {
    /// A version of ours is not there.
    NotRegistered { subject: &'static str, version: usize },
    /// The subject's own rule is another, or there is none.
    Compatibility { subject: &'static str, found: Option<String> },
    /// A version that is none of ours: another writer's, or a newer program's. That is allowed.
    Foreign { subject: &'static str, version: u64 },
}

impl Registry {
    /// Looks at the options; asks nothing yet.
    pub fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::new(options)?, ours: Lookups::of_at_most(usize::MAX), writers: Lookups::of_at_most(MOST_WRITERS) })
    }

    /// Registers every version of every subject that is not there yet, the oldest first, and has the registry refuse what is not
    /// compatible with all of them.
    pub fn prepare(&self) -> Result<(), RegistryError> {
        for (subject, name) in names() {
            let mut versions = numbered(subject);
            if let Some((number, version)) = versions.next() {
                self.registered_as(subject, name, number, version)?;
            }
            // Not before, as a registry may know no rule of a subject that has no version; and before the others, so that they keep it.
            self.client.set_compatibility(name, COMPATIBILITY)?;
            for (number, version) in versions {
                self.registered_as(subject, name, number, version)?;
            }
        }
        Ok(())
    }

    /// What differs from what [`prepare`](Self::prepare) would leave; changes nothing.
    pub fn verify(&self) -> Result<Vec<SubjectDifference>, RegistryError> {
        let mut differences = Vec::new();
        for (subject, name) in names() {
            let found = self.client.versions(name)?;
            for (number, version) in numbered(subject) {
                if found.is_empty() || self.client.id_of(name, version.text)?.is_none() {
                    differences.push(SubjectDifference::NotRegistered { subject: name, version: number });
                }
            }
            for version in found {
                let Found { text, .. } = self.client.version(name, version)?;
                let is_ours = text.parse().is_ok_and(|schema: WriterSchema| subject_of(subject, &schema).is_some());
                if !is_ours {
                    differences.push(SubjectDifference::Foreign { subject: name, version });
                }
            }
            let found = self.client.compatibility(name)?;
            if found.as_deref() != Some(COMPATIBILITY) {
                differences.push(SubjectDifference::Compatibility { subject: name, found });
            }
        }
        Ok(differences)
    }

    /// Why it is taken for away, if so.
    pub fn outage(&self) -> Option<RegistryError> {
        self.client.outage().map(|(error, _)| error)
    }

    pub(crate) fn gauges(&self) -> [Gauge; 2] {
        let gauge = |name, help, kind, value| Gauge { name, help, kind, label: None, value };
        [
            gauge(
                "faultline_registry_is_away",
                "Whether the schema registry did not answer as one, the last time that it was asked.",
                Kind::Gauge,
                u64::from(self.outage().is_some()),
            ),
            gauge(
                "faultline_registry_failures_total",
                "Questions that the schema registry did not answer as one.",
                Kind::Counter,
                self.client.failed(),
            ),
        ]
    }

    /// When it is asked again.
    fn again(&self) -> Option<Instant> {
        self.client.outage().map(|(_, again)| again)
    }

    /// Learns the ids of all versions of a subject.
    fn learn(&self, subject: &'static Subject) -> Result<(), RegistryError> {
        numbered(subject).try_for_each(|(number, version)| self.registered(subject, number, version).map(|_| ()))
    }

    /// The registry's id of a version of ours, by our id.
    fn id_of(&self, subject: &'static Subject, ours: u32) -> Result<u32, RegistryError> {
        if let Some(known) = self.ours.known(ours) {
            return Ok(known);
        }
        self.learn(subject)?;
        self.ours.known(ours).ok_or(RegistryError::NotOurs { topic: subject.topic(), id: ours })
    }

    fn registered(&self, subject: &'static Subject, number: usize, version: &Version) -> Result<u32, RegistryError> {
        self.ours.get(version.id, || Ok(Answer::for_ever(self.id_under(subject.name, number, version)?)))
    }

    /// Under one of the subject's names. Values have the id that the version has under the first, whichever topic they go to.
    fn registered_as(&self, subject: &'static Subject, name: &'static str, number: usize, version: &Version) -> Result<u32, RegistryError> {
        if name == subject.name { self.registered(subject, number, version) } else { self.id_under(name, number, version) }
    }

    fn id_under(&self, name: &'static str, number: usize, version: &Version) -> Result<u32, RegistryError> {
        // It is looked for first, so that a service needs no right to write where `prepare` has been.
        let id = match self.client.id_of(name, version.text)? {
            Some(id) => id,
            None => self.client.register(name, number, version.text)?,
        };
        self.writers.pin(id, Arc::new(Writer::Ours(version.id)));
        Ok(id)
    }

    fn writer(&self, id: u32) -> Result<Arc<Writer>, RegistryError> {
        self.writers.get(id, || {
            let Some(Found { text, is_strange, .. }) = self.client.schema(id)? else {
                return Ok(Answer { value: Arc::new(Writer::Unknown), holds: Some(UNKNOWN_HOLDS) });
            };
            let writer = match (is_strange, text.parse::<WriterSchema>()) {
                (Some(reason), _) => Writer::Unusable(reason),
                (None, Err(error)) => Writer::Unusable(error.to_string()),
                (None, Ok(schema)) => ours(&schema).map_or_else(|| Writer::Other(schema), Writer::Ours),
            };
            Ok(Answer::for_ever(Arc::new(writer)))
        })
    }

    /// A value of a topic with its id and body as ours, which says why it cannot be decoded where it cannot.
    fn understood(&self, subject: &'static Subject, id: u32, value: &[u8]) -> Result<Understood, RegistryError> {
        let refused = |reason: String| Understood::Anew(faultline_model::avro::refused(&reason));
        if id == 0 || id > LARGEST_ID {
            return Ok(refused(format!("the record's schema id is {id}; a registry's ids are positive and have 31 bits")));
        }
        Ok(match &*self.writer(id)? {
            Writer::Ours(ours) => Understood::Renumbered(*ours),
            Writer::Unknown => refused(format!("the schema registry does not know the record's schema id {id}")),
            Writer::Unusable(reason) => refused(format!("the schema with id {id} in the registry cannot be used: {reason}")),
            Writer::Other(schema) => subject.rewritten(value, schema).map_or_else(
                |error: AvroError| refused(format!("the record was written with the registry's schema {id}: {error}")),
                Understood::Anew,
            ),
        })
    }
}

/// How a value is to be handed on.
enum Understood {
    /// With this id before the same body.
    Renumbered(u32),
    Anew(Vec<u8>),
}

/// All subjects, once under each name.
fn names() -> impl Iterator<Item = (&'static Subject, &'static str)> {
    SUBJECTS.iter().flat_map(|subject| subject.names().map(|name| (*subject, name)))
}

/// The versions of a subject with their numbers, which begin with 1.
fn numbered(subject: &'static Subject) -> impl Iterator<Item = (usize, &'static Version)> {
    subject.versions().enumerate().map(|(at, version)| (at + 1, version))
}

/// Our id of a schema, whichever subject has it.
fn ours(schema: &WriterSchema) -> Option<u32> {
    SUBJECTS.iter().find_map(|subject| subject_of(subject, schema))
}

/// Our id of a schema among the versions of a subject.
fn subject_of(subject: &Subject, schema: &WriterSchema) -> Option<u32> {
    let fingerprint = schema.fingerprint();
    subject.versions().find(|version| version.fingerprint() == fingerprint).map(|version| version.id)
}

impl fmt::Display for SubjectDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered { subject, version } => write!(f, "{subject} version {version} is not registered"),
            Self::Compatibility { subject, found: Some(found) } => {
                write!(f, "{subject} has compatibility {found}, not {COMPATIBILITY}")
            }
            Self::Compatibility { subject, found: None } => write!(f, "{subject} has no compatibility of its own, not {COMPATIBILITY}"),
            Self::Foreign { subject, version } => write!(f, "{subject} version {version} is none of this program's"),
        }
    }
}
