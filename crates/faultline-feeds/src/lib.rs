//! Threat intelligence in: feeds as files become records of the `intel` topic.
//!
//! What it is: readers of CISA's KEV, FIRST's EPSS, lists of public exploits and OSV's aliases, plain or gzipped, recognised by
//! content; and the difference from what is known. What it is not: a client of the network, or the one who writes records.
//!
//! The way through: [`Feed::open`] finds out what a file is; [`Feed::read`] gives its records one by one; [`Feed::changes`] gives
//! those that differ from what is known, and [`Loaded::gone`] the keys that a whole feed no longer has.
//!
//! ```
//! use faultline_feeds::Feed;
//!
//! let text = "#model_version:v2026,score_date:2026-08-16T00:00:00+0000\ncve,epss,percentile\nCVE-2021-44228,0.94358,0.99957\n";
//! let feed = Feed::of(text.as_bytes())?;
//! let loaded = feed.changes(&|_key| Ok(None), &mut |key, record| {
//!     println!("{key}: {record:?}");
//!     Ok(())
//! })?;
//! assert_eq!((loaded.new, loaded.same, loaded.summary.is_full), (1, 0, true));
//! # Ok::<(), faultline_feeds::FeedError>(())
//! ```

mod changes;
mod error;
mod feed;
mod formats;
mod input;
mod vulnerability;

pub use changes::{Loaded, Removal};
pub use error::{BoxError, FeedError, Place};
pub use feed::{Feed, Format, Summary};
pub use formats::{ALIASES_OF_ONE, IDS_OF_A_FEED};
