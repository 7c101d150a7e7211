//! The records of the topics, and their envelope: a kind as a string and one optional body a kind, so that a new kind breaks
//! no old reader.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::observation::Observation;
use crate::scan::{ScanCompleted, ScanStarted};

/// A value of `findings`: what scans report, keyed by asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingsRecord {
    ScanStarted(ScanStarted),
    Finding(FindingObserved),
    Route(RouteObserved),
    ScanCompleted(ScanCompleted),
}

/// One finding of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingObserved {
    pub scan: Id,
    /// 0 to n−1 within the scan.
    pub number: i32,
    pub observation: Observation,
}

/// One entry of a route map, or a place that a dynamic scan visited. Routes are not numbered: they close nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteObserved {
    pub scan: Id,
    /// Upper-case method; empty for any.
    pub method: String,
    /// Path template of a map's entry (`/users/{id}`), or the path that was visited.
    pub path: String,
    /// File of the handler; empty for a visit.
    pub file: String,
    /// Class or function of the handler; empty where the map names none.
    pub symbol: String,
    /// First line of the handler, from 1; 0 where the map names none.
    pub line: i32,
    /// Names of the parameters that the route takes.
    pub parameters: Vec<String>,
    /// Whether this is a visit of a dynamic scan rather than an entry of a map.
    pub is_visit: bool,
}

/// A record of a kind that this program does not know, or whose body is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {topic} record of kind {kind:?} {what}")]
pub struct EnvelopeError {
    pub(crate) topic: &'static str,
    pub(crate) kind: String,
    pub(crate) what: &'static str,
}

impl EnvelopeError {
    pub(crate) fn unknown(topic: &'static str, kind: String) -> Self {
        Self { topic, kind, what: "is of a kind that is not known here; a newer program wrote it" }
    }

    pub(crate) fn empty(topic: &'static str, kind: String) -> Self {
        Self { topic, kind, what: "has no body of that kind" }
    }
}

/// The two directions between a record and its envelope, from one table: kind, member, variant.
macro_rules! envelope {
    ($topic:literal, $record:ident, $envelope:ident { $($kind:literal => $member:ident: $variant:ident,)+ }) => {
        // An envelope may have one kind only.
        #[allow(clippy::needless_update)]
        impl From<$record> for $envelope {
            fn from(record: $record) -> Self {
                match record {
                    $($record::$variant(body) => Self { kind: $kind.to_owned(), $member: Some(body), ..Self::default() },)+
                }
            }
        }

        impl TryFrom<$envelope> for $record {
            type Error = $crate::record::EnvelopeError;

            fn try_from(envelope: $envelope) -> Result<Self, Self::Error> {
                let $envelope { kind, $($member),+ } = envelope;
                let record = match kind.as_str() {
                    $($kind => $member.map(Self::$variant),)+
                    _ => return Err($crate::record::EnvelopeError::unknown($topic, kind)),
                };
                record.ok_or($crate::record::EnvelopeError::empty($topic, kind))
            }
        }
    };
}
pub(crate) use envelope;

/// The envelope as it stands in Avro.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingsEnvelope {
    pub kind: String,
    pub scan_started: Option<ScanStarted>,
    pub finding: Option<FindingObserved>,
    pub route: Option<RouteObserved>,
    pub scan_completed: Option<ScanCompleted>,
}

envelope! {
    "findings", FindingsRecord, FindingsEnvelope {
        "scan_started" => scan_started: ScanStarted,
        "finding" => finding: Finding,
        "route" => route: Route,
        "scan_completed" => scan_completed: ScanCompleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_gives_back_what_was_put_in_and_refuses_what_does_not_fit() {
        let end = ScanCompleted { scan: Id::of("scan", &[b"1"]), observations: 3, families: vec![], refused: 0 };
        let record = FindingsRecord::ScanCompleted(end);
        let envelope = FindingsEnvelope::from(record.clone());
        assert_eq!(FindingsRecord::try_from(envelope.clone()), Ok(record));
        let unknown = FindingsEnvelope { kind: "telepathy".into(), ..envelope.clone() };
        assert!(FindingsRecord::try_from(unknown).expect_err("unknown").to_string().contains("newer program"));
        let empty = FindingsEnvelope { scan_completed: None, ..envelope };
        assert!(FindingsRecord::try_from(empty).expect_err("empty").to_string().contains("no body"));
    }
}
