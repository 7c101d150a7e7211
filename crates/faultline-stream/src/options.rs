//! How a host works: batches, commits, workers, and how often it looks at the time.

use std::time::Duration;

/// All bounds hold for one task and one batch; memory of a host is about `workers` times `batch_bytes`, beside the log's own budget, and
/// where commits go on while tasks work as much again for each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostOptions {
    /// Threads that step tasks. Default 2.
    pub workers: usize,
    /// The most input records in one commit. Default 8192.
    pub batch_records: usize,
    /// A batch is committed when its changes, outputs and inputs set aside weigh so much. Default 4 MiB.
    pub batch_bytes: usize,
    /// The most records of one input that are read before the other inputs have their turn. Default 512.
    pub page_records: usize,
    /// The most bytes of one input in memory at once, one record excepted. Default 1 MiB.
    pub page_bytes: usize,
    /// What rows of the state that were read lately may take in memory, all tasks together. Default 16 MiB.
    pub at_hand_bytes: usize,
    /// What pending work may add to a batch; what people ask for waits at most for one such slice. Default 1 MiB.
    pub slice_bytes: usize,
    /// The longest a batch is added to before it is committed; a drained input commits at once. Default 100 ms.
    pub commit_interval: Duration,
    /// The most bulk records in one batch. Default 1024.
    pub bulk_records: usize,
    /// The longest that a batch reads bulk; what is urgent ends it sooner. Default 25 ms.
    pub bulk_interval: Duration,
    /// Bulk is read while the stage that reads what follows has at most so many records still to read. Default 4096.
    pub bulk_lag: u64,
    /// How often an idle worker looks whether a timer is due. Default 1 s.
    pub tick: Duration,
    /// How often old records are looked for. Default 1 minute.
    pub retain_interval: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            workers: 2,
            batch_records: 8192,
            batch_bytes: 4 << 20,
            page_records: 512,
            page_bytes: 1 << 20,
            at_hand_bytes: 16 << 20,
            slice_bytes: 1 << 20,
            commit_interval: Duration::from_millis(100),
            bulk_records: 1024,
            bulk_interval: Duration::from_millis(25),
            bulk_lag: 4096,
            tick: Duration::from_secs(1),
            retain_interval: Duration::from_mins(1),
        }
    }
}
