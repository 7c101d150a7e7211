//! The organisation: which service a place belongs to, who owns it, and how a description in YAML becomes records.
//!
//! What it is: pure functions over the records of the `catalog` topic. What it is not: the one who opens files or writes
//! records, or who decides what a move means for findings (that is track's).
//!
//! The way through: [`read()`] turns the files of a description into an [`Organisation`], or tells everything that is wrong;
//! [`plan()`] says what to write so that the topic holds it; [`show()`] is the way back. [`places`] and [`code_owners`] answer
//! for one place what the records say.
//!
//! ```
//! use std::collections::BTreeMap;
//! use faultline_core::catalog::{File, plan, read, show};
//! use faultline_model::time::Timestamp;
//!
//! let yaml = "services: [{ id: shop, tier: 1, places: [{ repo: github.com/acme/shop }] }]";
//! let file = File { name: "acme.yaml".into(), text: yaml.into() };
//! let desired = read(&[file], &|name| Err(format!("there is no {name}")))?;
//! let plan = plan(&desired, &BTreeMap::new(), "ana@acme.example", Timestamp::from_millis(0));
//! assert_eq!((plan.head.version, plan.changes.len()), (1, 3));
//! assert!(show(&desired.records).contains("repo: github.com/acme/shop"));
//! # Ok::<(), faultline_core::catalog::DescriptionError>(())
//! ```

pub mod code_owners;
pub mod code_owners_file;
mod inherit;
mod owner_entries;
mod place_entries;
pub mod places;
mod plan;
mod read;
mod show;
mod units;

pub use crate::description::{DescriptionError, FAULTS_TOLD, Fault};
pub use plan::{Plan, digest, plan};
pub use read::{File, Organisation, read};
pub use show::show;
pub(crate) use units::DEPTH;
