//! What stands behind the routes: the doors through which reports, decisions, the catalog and intelligence come in.
//!
//! The binary gives each door over the real log; tests give doors over memory. A door's calls may block (they run on threads that
//! may), and what they return has been appended durably: a crash after the answer loses nothing.

mod letters;
mod tokens;

use std::fs::File;
use std::sync::Arc;

use faultline_model::access::Caller;
use faultline_model::asset::AssetId;
use faultline_model::audit::Act;
use faultline_model::decision::Decision;
use faultline_model::exception::StepRecord;
use faultline_model::id::Id;
use faultline_model::risk::Risk;
use faultline_model::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

pub use letters::{
    DeadLetters, Letter, LetterId, LetterIdError, LetterPage, LetterQuery, RedriveOrder, Redriven, RedrivenLetter, RefusedLetter,
    WholeLetter,
};
pub use tokens::{NewToken, TOKEN_PREFIX, TokenList, TokenOrder, Tokens};

/// What the publisher says of a report. What is `None` or empty is left to the report itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportClaim {
    pub asset: Option<AssetId>,
    /// The service that the publisher claims; the catalog wins.
    pub service: String,
    /// The adapter by name; content decides without it.
    pub tool: Option<String>,
    pub branch: String,
    /// Whether the branch is the asset's default one.
    pub is_default_branch: bool,
    pub environment: String,
    /// Folders and files that were scanned in full.
    pub paths: Vec<String>,
    /// The whole asset was scanned: what the report does not hold is gone.
    pub is_full: bool,
    pub revision: String,
    pub revision_time: Option<Timestamp>,
    pub started: Option<Timestamp>,
    /// The scan's name, where the publisher gives one: the same name is the same scan.
    pub scan: Option<String>,
    pub publisher: String,
    /// It may wait: all of it goes by the bulk lane.
    pub is_bulk: bool,
    /// The trace that the request belongs to, as W3C Trace Context writes it; goes on in the records' headers.
    pub traceparent: Option<String>,
}

/// A scan that was published, as a door answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishedScan {
    /// Its outcome stands under this id.
    pub scan: Id,
    pub asset: AssetId,
    pub tool: String,
    /// Elements of the report: sent and refused.
    pub observed: u64,
    pub refused: u64,
    pub routes: u64,
    /// The first elements that could not be read.
    pub refusals: Vec<RefusedElement>,
    /// Whether this scan was published before: then nothing changes.
    pub known: bool,
    /// The lane in which its end came.
    pub lane: Lane,
    /// Records that went by the bulk lane because their source had brought more than its quota.
    pub over_quota: u64,
}

/// How a report is read: at once, or when nothing else waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    Interactive,
    Bulk,
}

/// An element of a report that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedElement {
    /// Where in the report: `runs[0].results[17]`.
    pub place: String,
    pub reason: String,
}

/// Why a door did not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// What was sent cannot be taken, and why, with what to do; sending it again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// What was sent is not theirs to send.
    #[error("{0}")]
    NotAllowed(String),
    /// Something that was named is not there.
    #[error("{0}")]
    NotFound(String),
    /// The state is another than the asker saw.
    #[error("{0}")]
    Conflict(String),
    /// Not now: the host stops, catches up, or has no room. Try again.
    #[error("{0}")]
    Busy(String),
    /// A fault on our side. The text goes to the log only.
    #[error("a fault of the service: {0}")]
    Fault(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Takes reports.
pub trait Reports: Send + Sync + 'static {
    /// Reads a report and appends its records, if they may publish for each asset that it covers; one scan an asset. `report` stands at its beginning, holds what was
    /// sent (gzip as content encoding is undone), and goes when the call returns.
    fn publish(&self, report: File, claim: ReportClaim, by: &Caller) -> Result<Vec<PublishedScan>, DoorError>;
}

/// Takes decisions.
pub trait Decisions: Send + Sync + 'static {
    /// Appends them as one. Their outcomes come under their keys.
    fn append(&self, decisions: Vec<Decision>) -> Result<(), DoorError>;
}

/// Takes steps on exceptions.
pub trait Steps: Send + Sync + 'static {
    /// Appends one. Its outcome comes under its key.
    fn append(&self, step: StepRecord) -> Result<(), DoorError>;
}

/// Keeps account of what people did at a door that is no decision, or were refused there. Decisions are accounted for where they are judged.
pub trait Acts: Send + Sync + 'static {
    fn append(&self, act: Act) -> Result<(), DoorError>;
}

/// What an apply of the catalog did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogApplied {
    /// The version that holds now; the same as before if nothing changed.
    pub version: i64,
    /// Entities written and removed.
    pub changed: u64,
    pub removed: u64,
    /// What to look at: rules that nothing matches, services without owners.
    pub warnings: Vec<String>,
}

/// Takes and shows the catalog.
pub trait Catalog: Send + Sync + 'static {
    /// Applies a whole catalog, as one version; only plans with `dry_run`.
    fn apply(&self, yaml: &str, actor: &str, dry_run: bool) -> Result<CatalogApplied, DoorError>;

    /// The catalog that holds, as YAML that could be applied.
    fn show(&self) -> Result<String, DoorError>;

    /// Begins to work out what a ticket policy would do: this one (a description with `tickets`), or the one that holds.
    fn tickets(&self, policy: Option<&str>) -> Result<Box<dyn TicketPlan>, DoorError>;
}

/// Says which service owns what a finding is at, if any does.
pub type OwnerOf<'a> = &'a mut dyn FnMut(Id) -> Result<Option<String>, DoorError>;

/// What a ticket policy would do, as it is worked out.
pub trait TicketPlan: Send {
    /// Takes an open risk.
    fn add(&mut self, risk: Risk) -> Result<(), DoorError>;

    /// What would be done, as JSON.
    fn end(self: Box<Self>, owner: OwnerOf<'_>) -> Result<Value, DoorError>;
}

/// What a load of intelligence did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IntelLoaded {
    /// The feed that was recognised: `kev`, `epss`, `exploit`, `aliases`.
    pub source: String,
    pub read: u64,
    pub changed: u64,
    pub removed: u64,
    pub refused: u64,
}

/// Takes threat intelligence.
pub trait Intel: Send + Sync + 'static {
    /// Reads a feed's file, recognised by content, and appends what changed.
    fn load(&self, feed: File) -> Result<IntelLoaded, DoorError>;
}

/// Which records of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicQuery {
    pub topic: String,
    pub partition: u32,
    /// The first offset.
    pub from: u64,
    pub limit: usize,
    /// Only keys that begin so; empty for all.
    pub key: String,
}

/// Records of a topic, in offset order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicPage {
    pub records: Vec<TopicRecord>,
    /// The offset to go on at; none at the end. A page may be short, even empty, and still have a next one.
    pub next: Option<u64>,
}

/// A record, decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicRecord {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub time: String,
    pub key: String,
    /// Null if the key went.
    pub value: Value,
}

/// Shows the topics.
pub trait Topics: Send + Sync + 'static {
    /// How many partitions a topic has.
    fn partitions(&self, topic: &str) -> Result<u32, DoorError>;

    /// A page of a partition's records.
    fn read(&self, query: &TopicQuery) -> Result<TopicPage, DoorError>;
}

/// What still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Records that stages or views have not read; at most, as compacted topics have gaps.
    pub records: u64,
    /// Of these, what waits in the bulk lane.
    pub bulk: u64,
    /// Whether everything that came in has reached the lists.
    pub quiet: bool,
}

/// How the host is.
pub trait Pulse: Send + Sync + 'static {
    /// Whether requests can be served; the reasons why not, in words, for `/readyz`.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// What the host counts, in Prometheus' text format.
    fn metrics(&self) -> String;

    /// What still waits, once nothing does or the time is over.
    fn backlog(&self, wait: std::time::Duration) -> Result<Backlog, DoorError>;
}

/// The time; a value in tests.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// All doors together.
#[derive(Clone)]
pub struct Doors {
    pub reports: Arc<dyn Reports>,
    pub decisions: Arc<dyn Decisions>,
    pub steps: Arc<dyn Steps>,
    pub catalog: Arc<dyn Catalog>,
    pub intel: Arc<dyn Intel>,
    pub pulse: Arc<dyn Pulse>,
    pub topics: Arc<dyn Topics>,
    pub dead_letters: Arc<dyn DeadLetters>,
    pub tokens: Arc<dyn Tokens>,
    pub acts: Arc<dyn Acts>,
    pub clock: Arc<dyn Clock>,
}
