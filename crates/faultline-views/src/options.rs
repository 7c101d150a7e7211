//! How the views use memory and disk.

use std::fmt;
use std::sync::Arc;

use faultline_model::asset::AssetId;
use faultline_model::id::Id;
use faultline_model::time::Timestamp;

use crate::page::CursorKey;

/// Settings of the views' database.
#[derive(Clone)]
pub struct Options {
    /// Page cache of the writer, in bytes. Default 64 MiB; a first fill is faster with a cache that holds the indexes by id, about
    /// 60 bytes a risk or finding.
    pub writer_cache_bytes: usize,
    /// Page cache of each reader, in bytes. Default 8 MiB.
    pub reader_cache_bytes: usize,
    /// The most readers that are kept open while nobody reads. Default 4; more are opened when needed and closed after.
    pub idle_readers: usize,
    /// How many outcomes are kept, the newest. Default 100,000.
    pub outcomes_kept: u32,
    /// What a page of a list may cost.
    pub bounds: Bounds,
    /// Where bodies of risks and findings are kept.
    pub bodies: Bodies,
    /// What seals cursors. Default one of no secret, for who shows readers everything.
    pub cursors: CursorKey,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writer_cache_bytes: 64 << 20,
            reader_cache_bytes: 8 << 20,
            idle_readers: 4,
            outcomes_kept: 100_000,
            bounds: Bounds::default(),
            bodies: Bodies::Here,
            cursors: CursorKey::of(&[]),
        }
    }
}

/// How many rows a page looks at, whatever the filter; a page that stops early has a cursor that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries of the list's index that are read in its order. Default 50,000.
    pub scan_rows: u32,
    /// The same where each entry needs its row, for a text in the title. Default 5,000.
    pub text_rows: u32,
    /// Rows behind a filter's own index (an asset, a vulnerability) that are filtered and sorted. Default 5,000; more are scanned in order.
    pub driven_rows: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { scan_rows: 50_000, text_rows: 5_000, driven_rows: 5_000 }
    }
}

/// Where the bodies of risks and findings are: what is shown, beside what is filtered and sorted by.
#[derive(Clone)]
pub enum Bodies {
    /// In the views' own file.
    Here,
    /// In a log that has the newest value of each key anyway: the views' file is then about a quarter as large. A body may be newer
    /// than the row that led to it, and a key that went meanwhile is left out of a page.
    Elsewhere(Arc<dyn BodySource>),
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "Here",
            Self::Elsewhere(_) => "Elsewhere",
        })
    }
}

/// Why a log did not answer.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where a record stands in its topic, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub partition: u32,
    pub offset: u64,
    pub at: Timestamp,
}

/// A log that gives the newest value of a key; one that knows times tells when records were written.
pub trait BodySource: Send + Sync {
    /// The newest value of a key of a compacted topic; none if there is none or it went.
    fn newest(&self, topic: &'static str, key: &str) -> Result<Option<Vec<u8>>, SourceError>;

    /// Where and when that value was written.
    fn written(&self, _topic: &'static str, _key: &str) -> Result<Option<Written>, SourceError> {
        Ok(None)
    }

    /// When the record at an offset was written.
    fn written_at(&self, _topic: &'static str, _partition: u32, _offset: u64) -> Result<Option<Timestamp>, SourceError> {
        Ok(None)
    }

    /// When the records of a scan came in, which was not after `until`. Only so many are looked at.
    fn came(&self, _asset: &AssetId, _scan: Id, _until: Timestamp) -> Result<Option<Timestamp>, SourceError> {
        Ok(None)
    }
}
