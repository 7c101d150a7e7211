//! When bulk may be read: while the stage that reads what it leads to has nearly caught up.
//!
//! Lanes are for a stage's inputs alone. What it says is one ordered stream, in which what is urgent would stand behind all that bulk led to.

use std::sync::Arc;

use faultline_core::stage::Bulk;

use crate::telemetry::Telemetry;

/// Says when a task may read bulk. It is asked on a worker's way, so it answers from what it knows.
pub(crate) trait Gate: Send + Sync {
    fn is_open(&self) -> bool;

    /// Takes note that a task said so many records more to the reader who is waited for.
    fn said(&self, records: u64);
}

/// Where there is nobody to wait for.
pub(crate) struct Open;

impl Gate for Open {
    fn is_open(&self) -> bool {
        true
    }

    fn said(&self, _: u64) {}
}

/// The reader's tasks are on the same host. One that stopped is not waited for, and none are where the host has none.
pub(crate) struct SameHost {
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) bulk: Bulk,
    /// So many records may still be to be read.
    pub(crate) most: u64,
}

impl Gate for SameHost {
    fn is_open(&self) -> bool {
        self.telemetry.left_of(self.bulk.reader, self.bulk.said.name) <= self.most
    }

    /// It looks each time.
    fn said(&self, _: u64) {}
}
