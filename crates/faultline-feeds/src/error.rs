//! Why a feed cannot be taken in.

use std::fmt;
use std::io;

/// What a caller's own step failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From 1.
    Line(u64),
    /// Of a JSON list or sequence, from 1.
    Element(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Element(n) => write!(f, "element {n}"),
        }
    }
}

/// Why a feed cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("{name} cannot be read: {source}")]
    Io {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{name} is no feed that is known here: it begins with {head:?}; expected {expected}")]
    NotRecognised { name: String, head: String, expected: &'static str },
    #[error("{name}, {place}: {field} is {found:?}; expected {expected}")]
    Field { name: String, place: Place, field: &'static str, found: String, expected: &'static str },
    #[error("{name}, at {place}: {source}")]
    Json {
        name: String,
        place: Place,
        #[source]
        source: serde_json::Error,
    },
    #[error("{name}: {source}")]
    Csv {
        name: String,
        #[source]
        source: csv::Error,
    },
    #[error("{name} has no {what}")]
    Missing { name: String, what: &'static str },
    #[error("{name} has more than {most} {what}")]
    TooMany { name: String, what: &'static str, most: usize },
    #[error("{name} says two things of {vulnerability}")]
    Twice { name: String, vulnerability: String },
    #[error(
        "{name} has {missing} of {known} known vulnerabilities no more; a whole feed never loses more than half, so nothing is \
         removed; if it is whole, say so"
    )]
    MostGone { name: String, missing: u64, known: u64 },
    #[error("what came out of a feed could not be taken: {0}")]
    Taken(#[source] BoxError),
}

/// The beginning of a value, as errors show it.
pub(crate) fn shown(value: &str) -> String {
    value.chars().take(80).collect()
}
