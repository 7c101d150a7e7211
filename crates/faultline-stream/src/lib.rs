//! Hosts: what makes the core's results durable, and the log that its stages read and write.
//!
//! What it is: topics of records in partitions with contiguous offsets, a state per task, and a commit that makes a task's outputs,
//! state and positions durable together ([`Log`]); and the [`Host`] that reads, lets stages work, and commits. [`EmbeddedLog`] keeps
//! all of it in one RocksDB, [`MemoryLog`] in maps, for the simulation. What it is not: the stages (they are in `faultline-core`).
//!
//! The way through it: a door [`append`]s and may say "accepted" when that returns. A worker of the host's goes round its tasks
//! (`pool.rs`) and steps each ([`Task`], `task.rs`): an attempt at a batch over an overlay (`attempt.rs`), and its commit, which may go on
//! while the next batch is attempted (ADR 10). What is poison or misplaced is set aside on the way (`intake.rs`). A keeper drops what is old (`retain.rs`), and a
//! [`Courier`] does in the world what committed state asks for. What they count is in `telemetry.rs`.
//!
//! **Rows of a task's state whose key begins with 0 are the host's; a stage's tables begin with 1 or above.**
//!
//! ```
//! use faultline_stream::{Log, MemoryLog, Record, TopicPlan};
//!
//! let log = MemoryLog::new(vec![TopicPlan::by_time("findings")], 4)?;
//! let record = Record { topic: "findings", partition: 3, key: b"shop".to_vec(), value: None, headers: [].into(), timestamp_ms: 0 };
//! assert_eq!(log.append(vec![record])?, [0]);
//! assert_eq!(log.end_offset("findings", 3)?, 1);
//! # Ok::<(), faultline_stream::HostError>(())
//! ```

mod at_hand;
mod attempt;
mod budget;
mod carried;
mod clock;
mod commit;
mod courier;
mod door;
mod embedded;
mod error;
mod gate;
mod host;
mod intake;
#[cfg(feature = "kafka")]
mod kafka;
mod layout;
mod log;
mod memory;
mod options;
mod pool;
mod retain;
mod rocks;
mod running;
mod sync;
mod task;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod topics;

pub use budget::{MemoryBudget, resident_bytes};
pub use carried::TRACEPARENT;
pub use clock::{Clock, ManualClock, SystemClock};
pub use commit::{Commit, Ending, InFlight, TaskId};
pub use courier::{Courier, Seat};
pub use door::append;
pub use embedded::EmbeddedLog;
pub use error::{Failure, HostError, chain};
pub use host::{Host, Progress};
#[cfg(feature = "kafka")]
pub use kafka::{
    CertificateFiles, Difference, Follower, Generation, Guarantee, KafkaError, KafkaHost, KafkaLog, KafkaOptions, KafkaRunning, Moved,
    MovedStage, Names, PlannedTopic, Registry, RegistryAuth, RegistryError, RegistryOptions, Repartition, Repartitioned, Repartitioning,
    SubjectDifference, apply_topics, compare_topics, degraded_topics, make_topics, migrate, planned_topics, repartition,
};
pub use log::{Gauge, Headers, Log, Place, Positions, Record, Retained, Stored};
pub use memory::MemoryLog;
pub use options::HostOptions;
pub use retain::Readers;
pub use rocks::Options;
pub use running::Running;
pub use task::{HOST_ROWS, Step, Task, Work};
pub use telemetry::{Family, InputStatus, Kind, Sample, TaskState, TaskStatus, Telemetry, gauges, text};
pub use topics::{MAX_RECORD_BYTES, TopicPlan, topic_plans};
