//! Records as far as rows need them. The rest of a body is walked over and not built, which is four times as fast.

use faultline_model::avro::{RISKS, Subject, TRACKED, TopicValue};
use faultline_model::decision::{Assignment, Verdict};
use faultline_model::id::Id;
use faultline_model::observation::{ScanKind, Severity};
use faultline_model::record::EnvelopeError;
use faultline_model::risk::{EvidenceState, RiskState};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{FindingState, TrackedLine};
use serde::{Deserialize, Serialize};

/// Of a risk.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Risk {
    pub service: String,
    pub title: String,
    pub family: String,
    pub state: RiskState,
    pub evidence: EvidenceState,
    pub score: Score,
    pub founder: Id,
    pub also: Vec<Id>,
    /// Its canonical text.
    pub asset: String,
    pub findings: Vec<Member>,
    pub vulnerabilities: Vec<String>,
    pub assigned_to: String,
    pub first_seen: Timestamp,
    #[serde(default)]
    pub exceptions: Vec<Covering>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Covering {
    pub exception: Id,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Score {
    pub total: i32,
    pub band: Severity,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub finding: Id,
    pub tool: String,
    pub kind: ScanKind,
}

/// Of a value of `tracked`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tracked {
    pub kind: String,
    pub finding: Option<Finding>,
    pub route: Option<Route>,
    pub line: Option<TrackedLine>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Finding {
    pub asset: String,
    pub is_owner: bool,
    pub tool: String,
    pub kind: ScanKind,
    pub observation: Observation,
    pub state: FindingState,
    pub is_preview: bool,
    pub first_seen: Timestamp,
    pub verdict: Option<GivenVerdict>,
    pub assignment: Option<GivenAssignment>,
    #[serde(default)]
    pub severity: Option<GivenSeverity>,
}

impl Finding {
    /// As [`faultline_model::tracked::TrackedFinding::severity`].
    pub fn severity(&self) -> Severity {
        self.severity.as_ref().map_or(self.observation.severity, |given| given.severity)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GivenSeverity {
    pub severity: Severity,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Observation {
    pub rule: String,
    pub title: String,
    pub severity: Severity,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GivenVerdict {
    pub verdict: Verdict,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GivenAssignment {
    pub assignment: Assignment,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Route {
    pub is_visit: bool,
}

macro_rules! own_bodies {
    ($($record:ty => $subject:ident,)+) => {
        $(
            impl TopicValue for $record {
                type Body = Self;

                fn subject() -> &'static Subject {
                    &$subject
                }

                fn from_body(body: Self) -> Result<Self, EnvelopeError> {
                    Ok(body)
                }
            }
        )+
    };
}

own_bodies! {
    Risk => RISKS,
    Tracked => TRACKED,
}
