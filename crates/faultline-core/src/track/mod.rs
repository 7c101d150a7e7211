//! track, by asset: what is there?
//!
//! [`line`] holds the rules of one line of scans (one tool on one asset on one branch or in one environment): their order,
//! when a scan is complete, what it covers, and what follows for a finding.

pub mod line;
