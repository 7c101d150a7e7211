//! Records as bytes: Avro in the Confluent wire format.
//!
//! Byte 0, the schema's id in four bytes, big-endian, then the Avro body. The ids are those of `schemas/ids.tsv`, and the schemas ship
//! in the program, so that no registry is needed. A record of an older version is read by the schema that wrote it.

mod subjects;

use std::io::BufRead;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_avro_fast::{Schema, de, ser};

pub use subjects::{
    ACCESS, ACTS, AUDIT, CATALOG, DEAD_LETTERS, DECISIONS, DELIVERIES, EXCEPTIONS, FINDINGS, INTEL, NOTICES, OUTCOMES, RISK_REGISTRY,
    RISKS, SHARES, STEPS, SUBJECTS, Subject, TICKETS_DESIRED, TRACKED, Version,
};

use crate::access::{AccessEnvelope, AccessRecord};
use crate::audit::{Act, AuditEntry};
use crate::catalog::{CatalogEnvelope, CatalogRecord};
use crate::dead_letter::DeadLetter;
use crate::decision::{Decision, Outcome};
use crate::exception::{Held, StepRecord};
use crate::intel::{IntelEnvelope, IntelRecord};
use crate::notice::{Delivery, Notice};
use crate::record::{EnvelopeError, FindingsEnvelope, FindingsRecord};
use crate::register::RegisterEntry;
use crate::risk::Risk;
use crate::share::Share;
use crate::ticket::{TicketEnvelope, TicketRecord};
use crate::tracked::{TrackedEnvelope, TrackedRecord};

/// Length of what stands before the body.
const HEADER_BYTES: usize = 5;
/// What most records fit into without growing.
const USUAL_BYTES: usize = 1024;
/// The most entries of a list that are read: more do not fit into a record, whose limit is 1 MiB.
const LONGEST_LIST: usize = 1 << 20;

/// Stands where an id does on a value that a host could not understand; what follows is why, as text. No registry gives this id: theirs
/// are positive and have 31 bits.
const REFUSED: u32 = u32::MAX;

/// Why bytes are no record, or a record cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AvroError {
    #[error("the record has {len} bytes and begins with {first:?}; Confluent's wire format begins with 0 and has at least 5")]
    NotFramed { len: usize, first: Option<u8> },
    #[error(
        "the record's schema id is {id}, {subject} has {known}; it was written by a newer program, with a registry, or for another topic"
    )]
    UnknownSchema { id: u32, known: u32, subject: &'static str },
    /// What the host said of a value that it was to hand on.
    #[error("{reason}")]
    Refused { reason: String },
    #[error("the record's body does not fit its schema: {0}")]
    Body(#[from] de::DeError),
    #[error("the record's body is {bytes} bytes longer than its schema says")]
    Rest { bytes: usize },
    #[error("the writer's schema cannot be read: {0}")]
    Schema(#[from] serde_avro_fast::schema::SchemaError),
    #[error("the record cannot be written: {0}")]
    Write(#[from] ser::SerError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// A record of a topic: what it is in Rust, and what stands in Avro.
pub trait TopicValue: Sized + Clone {
    /// What stands in Avro: the record itself, or its envelope.
    type Body: Serialize + DeserializeOwned + From<Self>;

    /// Its schema.
    fn subject() -> &'static Subject;

    /// The oldest version of the schema that can say it, from 1: it is written with that, so that who knows no newer one reads what says nothing new.
    /// Programs of two versions share the work during an upgrade, and what only the newer one can say waits for its end.
    fn version(&self) -> usize {
        1
    }

    /// Back from what stood in Avro.
    fn from_body(body: Self::Body) -> Result<Self, EnvelopeError>;
}

macro_rules! topic_values {
    ($($record:ty => $body:ty, $subject:ident $(, version $version:expr)?;)+) => {
        $(
            impl TopicValue for $record {
                type Body = $body;

                fn subject() -> &'static Subject {
                    &$subject
                }

                $(fn version(&self) -> usize {
                    let version: fn(&$record) -> usize = $version;
                    version(self)
                })?

                fn from_body(body: $body) -> Result<Self, EnvelopeError> {
                    Self::try_from(body).map_err(Into::into)
                }
            }
        )+
    };
}

topic_values! {
    FindingsRecord => FindingsEnvelope, FINDINGS;
    TrackedRecord => TrackedEnvelope, TRACKED, version TrackedRecord::version;
    CatalogRecord => CatalogEnvelope, CATALOG;
    IntelRecord => IntelEnvelope, INTEL;
    Decision => Decision, DECISIONS, version Decision::version;
    Risk => Risk, RISKS, version Risk::version;
    Outcome => Outcome, OUTCOMES, version Outcome::version;
    DeadLetter => DeadLetter, DEAD_LETTERS;
    AccessRecord => AccessEnvelope, ACCESS;
    Act => Act, ACTS;
    AuditEntry => AuditEntry, AUDIT;
    StepRecord => StepRecord, STEPS, version StepRecord::version;
    Share => Share, SHARES, version Share::version;
    Held => Held, EXCEPTIONS;
    TicketRecord => TicketEnvelope, TICKETS_DESIRED;
    Notice => Notice, NOTICES;
    Delivery => Delivery, DELIVERIES;
    RegisterEntry => RegisterEntry, RISK_REGISTRY, version RegisterEntry::version;
}

/// So that a record that is its own body needs no other trait.
impl From<std::convert::Infallible> for EnvelopeError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// A schema that a record was written with and that is none of ours: a newer program's, as a registry gives it.
pub struct WriterSchema(Schema);

impl std::str::FromStr for WriterSchema {
    type Err = AvroError;

    fn from_str(text: &str) -> Result<Self, AvroError> {
        Ok(Self(text.parse()?))
    }
}

impl WriterSchema {
    /// Equal for schemas by which the same bytes say the same. To compare two of this program's, and no more: other libraries write the
    /// Parsing Canonical Form in other ways, and come to other numbers.
    pub fn fingerprint(&self) -> [u8; 8] {
        *self.0.rabin_fingerprint()
    }
}

/// Writes a record as a topic's value.
pub fn encode<T: TopicValue>(record: T) -> Result<Vec<u8>, AvroError> {
    let version = T::subject().numbered(record.version());
    write::<T>(&T::Body::from(record), version)
}

fn write<T: TopicValue>(body: &T::Body, version: &Version) -> Result<Vec<u8>, AvroError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(0);
    bytes.extend(version.id.to_be_bytes());
    Ok(serde_avro_fast::to_datum(body, bytes, &mut ser::SerializerConfig::new(version.schema()))?)
}

/// Reads a topic's value, whichever of our versions it was written with.
pub fn decode<T: TopicValue>(bytes: &[u8]) -> Result<T, AvroError> {
    let (id, body) = parts(bytes)?;
    if id == REFUSED {
        return Err(AvroError::Refused { reason: String::from_utf8_lossy(body).into_owned() });
    }
    let subject = T::subject();
    let unknown = || AvroError::UnknownSchema { id, known: subject.newest().id, subject: subject.name };
    let version = subject.version(id).ok_or_else(unknown)?;
    Ok(T::from_body(read_body::<T>(body, version.schema())?)?)
}

/// Reads a topic's value that was written with a schema which is given.
pub fn decode_written_with<T: TopicValue>(bytes: &[u8], writer: &WriterSchema) -> Result<T, AvroError> {
    let (_, body) = parts(bytes)?;
    Ok(T::from_body(read_body::<T>(body, &writer.0)?)?)
}

/// A value that was written with a schema which is given, as we write it. What that schema has and ours has not is left out; a kind
/// that we do not know stays one.
fn rewrite<T: TopicValue>(bytes: &[u8], writer: &WriterSchema) -> Result<Vec<u8>, AvroError> {
    let (_, body) = parts(bytes)?;
    match T::from_body(read_body::<T>(body, &writer.0)?) {
        Ok(record) => encode(record),
        // Of a kind that is not known here nobody knows which version can say it.
        Err(_) => write::<T>(&read_body::<T>(body, &writer.0)?, T::subject().newest()),
    }
}

/// A value that stands for one which cannot be understood: whoever decodes it is told why.
pub fn refused(reason: &str) -> Vec<u8> {
    [&[0], &REFUSED.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// Puts another id before the same body.
pub fn renumber(bytes: &mut [u8], id: u32) -> Result<(), AvroError> {
    parts(bytes)?;
    bytes[1..HEADER_BYTES].copy_from_slice(&id.to_be_bytes());
    Ok(())
}

/// The id of the schema that a value was written with.
pub fn schema_id(bytes: &[u8]) -> Result<u32, AvroError> {
    Ok(parts(bytes)?.0)
}

fn parts(bytes: &[u8]) -> Result<(u32, &[u8]), AvroError> {
    let (header, body) = bytes
        .split_at_checked(HEADER_BYTES)
        .filter(|(header, _)| header[0] == 0)
        .ok_or_else(|| AvroError::NotFramed { len: bytes.len(), first: bytes.first().copied() })?;
    Ok((u32::from_be_bytes([header[1], header[2], header[3], header[4]]), body))
}

/// Fields are found by name in the schema that wrote them. One that is new since is its type's default, which is what its schema
/// says as well; one that is newer than this program is passed over.
fn read_body<T: TopicValue>(body: &[u8], writer: &Schema) -> Result<T::Body, AvroError> {
    let mut config = de::DeserializerConfig::new(writer);
    config.max_seq_size = LONGEST_LIST;
    let mut state = de::DeserializerState::with_config(de::read::SliceRead::new(body), config);
    let value = T::Body::deserialize(state.deserializer())?;
    let rest = state.into_reader().fill_buf().map_or(0, <[u8]>::len);
    if rest > 0 {
        return Err(AvroError::Rest { bytes: rest });
    }
    Ok(value)
}
