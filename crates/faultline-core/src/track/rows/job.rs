//! Work that is left, with how far it is.

use crate::track::codec::{Reader, Row, Writer};

/// What is to be worked out anew. All of it compares with facts as they are when it runs, so causes may merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) enum Cause {
    /// A scan ended.
    Ended { line: u32, scan: u32 },
    /// A scan was taken back.
    Retracted { line: u32, scan: u32 },
    /// Something about a line changed that may touch each of its findings.
    Line { line: u32 },
    /// The oldest scan of a line goes into the floor.
    Fold { line: u32 },
    /// Something about the asset changed that may touch each of its findings.
    Asset,
    /// The catalog's places of the asset may have changed.
    Places,
}

/// A row of `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) struct Job {
    pub cause: Cause,
    /// The first ordinal that is not done.
    pub next: u32,
}

impl Row for Job {
    const TABLE: &'static str = "pending";

    fn write(&self, out: &mut Writer) {
        let (kind, line, scan) = match self.cause {
            Cause::Ended { line, scan } => (0, line, scan),
            Cause::Retracted { line, scan } => (1, line, scan),
            Cause::Line { line } => (2, line, 0),
            Cause::Fold { line } => (3, line, 0),
            Cause::Asset => (4, 0, 0),
            Cause::Places => (5, 0, 0),
        };
        out.byte(kind);
        for number in [line, scan, self.next] {
            out.uint(number.into());
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, line, scan, next) = (from.byte()?, from.small()?, from.small()?, from.small()?);
        let cause = match kind {
            0 => Cause::Ended { line, scan },
            1 => Cause::Retracted { line, scan },
            2 => Cause::Line { line },
            3 => Cause::Fold { line },
            4 => Cause::Asset,
            5 => Cause::Places,
            _ => return None,
        };
        Some(Self { cause, next })
    }
}

/// A key of the catalog that changed: the assets that looked at it are to be told, from this one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct CatalogJob {
    pub key: String,
    /// The key of the first note that is not done; empty at the beginning.
    pub next: Vec<u8>,
}

impl Row for CatalogJob {
    const TABLE: &'static str = "pending";

    fn write(&self, out: &mut Writer) {
        out.text(&self.key);
        out.slice(&self.next);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { key: from.text()?, next: from.slice()?.to_vec() })
    }
}

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) enum Alarm {
    /// A scan whose end did not come is cut off.
    CutOff { line: u32, scan: u32 },
    /// A record that says that a fact went elsewhere goes itself.
    Tombstone { key: String },
    /// An idempotency key is forgotten.
    Forget { key: String },
    /// A refused scan is forgotten.
    ForgetScan { scan: faultline_model::id::Id },
}

impl Row for Alarm {
    const TABLE: &'static str = "timers";

    fn write(&self, out: &mut Writer) {
        match self {
            Self::CutOff { line, scan } => {
                out.byte(0);
                out.uint((*line).into());
                out.uint((*scan).into());
            }
            Self::Tombstone { key } => {
                out.byte(1);
                out.text(key);
            }
            Self::Forget { key } => {
                out.byte(2);
                out.text(key);
            }
            Self::ForgetScan { scan } => {
                out.byte(3);
                out.id(*scan);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.byte()? {
            0 => Self::CutOff { line: from.small()?, scan: from.small()? },
            1 => Self::Tombstone { key: from.text()? },
            2 => Self::Forget { key: from.text()? },
            3 => Self::ForgetScan { scan: from.id()? },
            _ => return None,
        })
    }
}
