//! What an adapter is: how a format is recognised, and how a report becomes observations.

use std::io::{Read, Seek, SeekFrom};

use faultline_model::asset::AssetKind;
use faultline_model::observation::{Observation, ScanKind};

use crate::head::Head;
use crate::inflate::{Inflated, is_gzip};
use crate::secret::SecretKey;

/// A report format. One constant a file; all of them stand in [`crate::registry::ADAPTERS`].
pub struct Adapter {
    /// The format's name on the command line and in errors, e.g. `trivy`.
    pub name: &'static str,
    /// What kind of tool writes it; a report's own word wins where one format serves several kinds.
    pub kind: ScanKind,
    /// Weakness families that the tool actively tests for; only a dynamic scan's silence about these counts.
    pub tests_for: &'static [&'static str],
    /// Whether the beginning of a file is this format. Content only, never the file's name.
    pub recognises: fn(&Head<'_>) -> bool,
    /// Whether this may be an empty report of the tool that says nothing of the tool: taken only where somebody names it, since an
    /// empty report of the whole asset closes what is open.
    pub may_be_empty: fn(&Head<'_>) -> bool,
    /// Reads a whole report, in order, in memory that does not grow with the number of findings.
    pub read: fn(&mut Report<'_>, &mut dyn Emit) -> Result<(), ReadError>,
}

/// For formats whose empty reports are recognised as all others are.
pub(crate) const NEVER: fn(&Head<'_>) -> bool = |_| false;

/// An open report: the bytes, and what an adapter may need beside them.
pub struct Report<'a> {
    input: &'a mut dyn ReadSeek,
    /// Turns a secret into its keyed hash and preview; the only way a secret may be looked at.
    pub secrets: &'a SecretKey,
}

/// A stream that can be read twice.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl<'a> Report<'a> {
    /// A report over a stream that can be read twice (a file, or bytes in memory).
    pub fn new(input: &'a mut dyn ReadSeek, secrets: &'a SecretKey) -> Self {
        Self { input, secrets }
    }

    /// What is in the report, from its beginning; inflated where it comes compressed. An adapter may ask again for a second pass.
    pub fn rewound(&mut self) -> Result<Box<dyn Read + '_>, ReadError> {
        self.input.seek(SeekFrom::Start(0))?;
        let mut head = [0; 2];
        let is_gzip = matches!(self.input.read_exact(&mut head), Ok(()) if is_gzip(head));
        self.input.seek(SeekFrom::Start(0))?;
        let input: &mut dyn Read = self.input;
        Ok(if is_gzip { Box::new(Inflated::new(input)) } else { Box::new(input) })
    }

    /// The hash of what is in the report: the same report is the same scan, compressed or not.
    pub fn digest(&mut self) -> Result<[u8; 32], ReadError> {
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut self.rewound()?, &mut hasher)?;
        Ok(*hasher.finalize().as_bytes())
    }
}

/// What a report says of the scan as a whole. Everything is optional; the publisher's own word wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanFacts {
    /// The tool behind the format, lower case (`semgrep` in a SARIF file); the adapter's name where empty.
    pub tool: String,
    /// The tool's version as the report writes it.
    pub tool_version: String,
    /// The kind of tool where the report shows another than [`Adapter::kind`].
    pub kind: Option<ScanKind>,
    /// What was scanned, as the report names it (image reference, URL, path); raw, the publisher makes an asset of it.
    pub target: String,
    /// The kind of asset that the target is, where the report tells; else its shape decides.
    pub target_kind: Option<AssetKind>,
    /// The branch that was scanned, where the report says it.
    pub branch: String,
    /// When the scan began: RFC 3339 where the report says it so that it can be read, else empty.
    pub started: String,
    /// The revision (commit) that was scanned, where the report says it.
    pub revision: String,
}

impl ScanFacts {
    /// Takes over what a later part of the report says; what it leaves empty stays.
    pub fn add(&mut self, later: Self) {
        let Self { tool, tool_version, kind, target, target_kind, branch, started, revision } = later;
        let texts = [
            (&mut self.tool, tool),
            (&mut self.tool_version, tool_version),
            (&mut self.branch, branch),
            (&mut self.started, started),
            (&mut self.revision, revision),
        ];
        for (own, said) in texts {
            if !said.is_empty() {
                *own = said;
            }
        }
        self.kind = kind.or(self.kind);
        if !target.is_empty() {
            (self.target, self.target_kind) = (target, target_kind);
        }
        self.target_kind = target_kind.or(self.target_kind);
    }
}

/// One entry of a route map, or a place that a dynamic scan visited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSeen {
    /// Upper-case method; empty for any.
    pub method: String,
    /// Scheme, host and port of a visit; empty for a map's entry, which holds wherever the code runs.
    pub origin: String,
    /// Path template (`/users/{id}`) of a map's entry, or the path that was visited.
    pub path: String,
    /// File of the handler; empty for a visit.
    pub file: String,
    /// Class or function of the handler; empty where the map names none.
    pub symbol: String,
    /// First line of the handler; 0 where the map names none.
    pub line: i32,
    /// Names of the parameters that the route takes.
    pub parameters: Vec<String>,
    /// Whether this is a visit of a dynamic scan rather than an entry of a map.
    pub is_visit: bool,
}

/// Where an adapter puts what it reads. An element that cannot be read goes to `refused`; the rest goes on.
pub trait Emit {
    /// What the report says of the scan; may come in parts, later non-empty fields win.
    fn scan(&mut self, facts: ScanFacts);
    /// One finding.
    fn finding(&mut self, seen: Observation) -> Result<(), ReadError>;
    /// One route.
    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError>;
    /// An element that cannot become a finding: where it stands and why. The report goes on.
    fn refused(&mut self, place: String, reason: String);
}

/// Why a report cannot be read at all, or no further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{tool} report, {place}: {reason}")]
    Shape { tool: &'static str, place: String, reason: String },
    #[error("this is no {tool} report: it begins with {head:?}; name another with --tool, or see `faultline adapters list`")]
    NotRecognised { tool: &'static str, head: String },
    #[error("no adapter knows this report: it begins with {head:?}; name one with --tool, or see `faultline adapters list`")]
    Unknown { head: String },
    #[error("{first} and {second} both fit this report; say which with --tool")]
    Ambiguous { first: &'static str, second: &'static str },
    #[error("no adapter is called {name:?}; `faultline adapters list` shows them")]
    NoSuchAdapter { name: String },
    #[error("the report cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("findings cannot be taken further: {0}")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}
