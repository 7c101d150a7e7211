//! The read side: the topics as a SQL database that answers lists, filters and roll-ups.
//!
//! What it is: a projection into SQLite. It takes records with their offsets, keeps positions in the same transaction, and can be thrown
//! away at any time: the topics fill it again. What it is not: a place where anything is decided, or the only copy of anything.
//!
//! The way through it: [`Views::apply`] takes a batch of [`ViewRecord`]s from where [`Views::positions`] says; [`Views::risks`] and its
//! neighbours answer with the rows that a reader may see: those [`Within`] a part of the organisation, or all. Every list has a bounded
//! cost: it reads one covering index in the list's order from its cursor on, looks at a bounded number of rows, and fetches the bodies
//! of what it found.
//!
//! ```
//! use faultline_views::{RiskFilter, Views};
//!
//! let views = Views::in_memory()?;
//! let page = views.risks(&RiskFilter::default(), None, 50)?;
//! assert!(page.items.is_empty() && page.next.is_none());
//! # Ok::<(), faultline_views::ViewError>(())
//! ```

mod apply;
mod codes;
mod connections;
mod error;
mod filter;
mod options;
mod page;
mod read;
pub mod report;
mod schema;
mod views;
mod within;
mod words;

pub use apply::{Applied, Unreadable, ViewRecord};
pub use error::ViewError;
pub use filter::{FindingFilter, RegisterFilter, RiskFilter, TEXT_BYTES};
pub use options::{Bodies, BodySource, Bounds, Options, SourceError, Written};
pub use page::{CursorKey, PAGE_ITEMS, Page, Total};
pub use read::catalog::{NodeSummary, ServiceSummary};
pub use read::covered::Covered;
pub use read::findings::ListedFinding;
pub use read::named::Named;
pub use read::summary::Summary;
pub use read::times::{Moment, Step};
pub use read::told::Told;
pub use read::trace::Trace;
pub use views::{Positions, TOPICS, Views};
pub use within::Within;
