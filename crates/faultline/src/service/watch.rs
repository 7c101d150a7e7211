//! How far the stages and the views are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_stream::{EmbeddedLog, Log, Running, TaskStatus};
use faultline_views::{TOPICS, Views};

use super::ServiceError;

/// How long one look may wait for something to happen.
const LOOK: Duration = Duration::from_millis(50);
/// A task that has read its last input may still commit outputs: quiet is quiet in so many looks in a row, without a change.
const CALM_LOOKS: u32 = 3;

/// What is at work.
pub struct Watch {
    pub log: Arc<EmbeddedLog>,
    pub views: Arc<Views>,
    pub running: Running,
}

impl Watch {
    /// Records that stages or views have not read, and whether other work is pending.
    pub fn backlog(&self) -> Result<(u64, bool), ServiceError> {
        if let Some(failure) = self.running.failures().into_iter().next() {
            return Err(ServiceError::Stuck(format!("task {}: {}", failure.task, failure.reason)));
        }
        let status = self.running.status();
        let mut waiting: u64 = status.iter().map(TaskStatus::lag).sum();
        let positions = self.views.positions()?;
        for topic in TOPICS {
            for partition in 0..self.log.partitions(topic.name)? {
                let position = positions.get(&(topic.name.to_owned(), partition)).copied().unwrap_or(0);
                waiting += self.log.end_offset(topic.name, partition)?.saturating_sub(position);
            }
        }
        Ok((waiting, status.iter().any(|task| task.has_pending)))
    }

    /// Waits until nothing waits, or the time is over; whether it is quiet, and what is left. `progress` hears what is left.
    pub fn wait_until_quiet(&self, patience: Option<Duration>, progress: &mut dyn FnMut(u64)) -> Result<(bool, u64), ServiceError> {
        let begun = Instant::now();
        let (mut calm, mut generation) = (0, 0);
        loop {
            let (left, is_pending) = self.backlog()?;
            progress(left);
            calm = if left == 0 && !is_pending { calm + 1 } else { 0 };
            if calm >= CALM_LOOKS {
                return Ok((true, 0));
            }
            if patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return Ok((false, left));
            }
            let now = self.log.wait_for_change(generation, if calm > 0 { LOOK / 10 } else { LOOK });
            if now != generation {
                calm = 0;
            }
            generation = now;
        }
    }
}
