//! Retention: what is older than its topic's plan goes, in bounded steps, and never before every reader has seen it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use faultline_model::time::Timestamp;

use crate::error::HostError;
use crate::log::{Log, Place};
use crate::sync::held;

/// How many records one step looks at, for one partition; the commit lock is held so long.
const STEP_RECORDS: usize = 2_000;

/// Readers beside the tasks (views, sinks), and where each is: nothing that one of them has still to read is dropped.
#[derive(Debug, Default)]
pub struct Readers(Mutex<BTreeMap<(String, Place), u64>>);

impl Readers {
    /// A reader is at this position of a place. The first word of it makes it a reader of that place.
    pub fn set(&self, reader: &str, place: Place, position: u64) {
        held(&self.0).insert((reader.to_owned(), place), position);
    }

    /// A reader reads no more.
    pub fn forget(&self, reader: &str) {
        held(&self.0).retain(|(name, _), _| name != reader);
    }

    /// The least position of a place.
    fn least(&self, place: Place) -> u64 {
        held(&self.0).iter().filter(|((_, read), _)| *read == place).map(|(_, position)| *position).min().unwrap_or(u64::MAX)
    }
}

/// One step for each partition of each topic. `least` is where its slowest task is. Tells whether more is left.
pub(crate) fn pass(log: &dyn Log, now: Timestamp, readers: &Readers, least: &dyn Fn(Place) -> u64) -> Result<bool, HostError> {
    let mut has_more = false;
    for plan in log.topics() {
        for partition in 0..log.partitions(plan.name)? {
            let place = (plan.name, partition);
            let least = least(place).min(readers.least(place));
            has_more |= log.retain(place, now, least, STEP_RECORDS)?.has_more;
            has_more |= log.clean(place, STEP_RECORDS)?;
        }
    }
    Ok(has_more)
}
