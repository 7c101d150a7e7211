//! Deterministic simulation: stages over a log in memory, stepped in a random order under faults, judged by an undisturbed run.
//!
//! A [`Scenario`] is a topology and a history of what the doors append. [`judge`] runs it twice: once as told, on one partition; and once as a seed
//! shuffles, repeats, misplaces, crashes and delays it, on as many partitions as the seed likes. At rest both must hold the
//! same values under the same keys in all compacted topics, and have refused the same records. Everything depends on the seed
//! alone; a failure names it, and `FAULTLINE_SEED` runs it again.
//!
//! [`judge_on_cluster`] does the same over a simulated Kafka: transactions, groups, processes with disks, and the host's own code between.

#[cfg(feature = "kafka")]
mod cluster;
mod damage;
mod faulty;
mod random;
mod rest;
mod simulation;

#[cfg(feature = "kafka")]
pub use cluster::{Delivery, judge_on_cluster, judge_without_room};
pub use damage::damage;
pub use faulty::{Fault, FaultyLog};
pub use random::{Random, for_each_seed};
pub use rest::Rest;
pub use simulation::{Said, Scenario, Topology, judge};

/// Why a scenario did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum Divergence {
    #[error("{run}: a task stopped without a fault: {reason}")]
    Stopped { run: &'static str, reason: String },
    #[error("{run}: not at rest after {steps} steps")]
    Restless { run: &'static str, steps: usize },
    #[error("topic {topic}, key {key:?} is in more than one partition")]
    TwoHomes { topic: &'static str, key: String },
    #[error("topic {topic}, key {key:?}: undisturbed it is {expected:?}, disturbed {found:?}")]
    Value { topic: &'static str, key: String, expected: Option<Vec<u8>>, found: Option<Vec<u8>> },
    #[error("at rest task {task} is not as it should be: {reason}")]
    Task { task: crate::TaskId, reason: String },
    #[error("refused only undisturbed: {missing:?}; refused only disturbed: {more:?}")]
    Refused { missing: Vec<String>, more: Vec<String> },
    #[error(transparent)]
    Log(#[from] crate::HostError),
}
