//! The words of Faultline as types: what a tool observed, where, and who it is from scan to scan.
//!
//! What it is: types that cannot be wrong once they exist, identities, weakness families, the public records and their Avro
//! form. What it is not: anything that reads a file, waits, or looks at a clock.
//!
//! The way through: an adapter makes an [`observation::Observation`] at a [`locus::Locus`];
//! [`fingerprint::fingerprint`] says who it is.

pub mod cvss;
pub mod fingerprint;
pub mod id;
pub mod locus;
pub mod observation;
pub mod partition;
pub mod purl;
pub mod record;
pub mod scan;
pub mod time;
