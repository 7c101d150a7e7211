//! Hosts: what makes the core's results durable, and the log that its stages read and write.
//!
//! What it is: topics of records in partitions with contiguous offsets, a state per task, and a commit that makes a task's outputs,
//! state and positions durable together. [`EmbeddedLog`] keeps all of it in one RocksDB, [`MemoryLog`] in maps, for the simulation.
//! What it is not: the stages (they are in `faultline-core`), nor what decides when a task reads, works and commits.
//!
//! The way through it: a door [`append`](Log::append)s and may say "accepted" when that returns; a task [`read`](Log::read)s its inputs
//! from its [`positions`](Log::positions), works in an overlay over its [`state`](Log::state), and [`commit`](Log::commit)s.
//!
//! ```
//! use faultline_stream::{Log, MemoryLog, Record, TopicPlan};
//!
//! let log = MemoryLog::new(vec![TopicPlan { name: "findings", compacted: false }], 4)?;
//! let record = Record { topic: "findings", partition: 3, key: b"shop".to_vec(), value: None, headers: vec![], timestamp_ms: 0 };
//! assert_eq!(log.append(vec![record])?, [0]);
//! assert_eq!(log.end_offset("findings", 3)?, 1);
//! # Ok::<(), faultline_stream::HostError>(())
//! ```

mod commit;
mod embedded;
mod error;
mod layout;
mod log;
mod memory;
mod rocks;
mod sync;
mod topics;

pub use commit::{Commit, TaskId};
pub use embedded::EmbeddedLog;
pub use error::HostError;
pub use log::{Log, Place, Positions, Record, Stored};
pub use memory::MemoryLog;
pub use rocks::Options;
pub use topics::TopicPlan;
