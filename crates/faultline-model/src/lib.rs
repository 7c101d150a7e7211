//! The words of Faultline as types: what a tool observed, where, and who it is from scan to scan.
//!
//! What it is: types that cannot be wrong once they exist, identities, weakness families, the public records and their Avro
//! form. What it is not: anything that reads a file, waits, or looks at a clock.
//!
//! The way through: an adapter makes an [`observation::Observation`] at a [`locus::Locus`];
//! [`fingerprint::fingerprint`] says who it is.

pub mod access;
pub mod asset;
pub mod audit;
pub mod avro;
pub mod catalog;
pub mod cvss;
pub mod dead_letter;
pub mod decision;
pub mod exception;
pub mod family;
pub mod fingerprint;
pub mod fixed;
pub mod id;
pub mod intel;
pub mod locus;
pub mod notice;
pub mod observation;
pub mod partition;
pub mod purl;
pub mod record;
pub mod register;
pub mod risk;
pub mod scan;
pub mod share;
#[cfg(feature = "testing")]
pub mod testing;
pub mod ticket;
pub mod time;
pub mod topic;
pub mod tracked;
