//! How far the stages and the views are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faultline_model::topic::Topic;
use faultline_stream::Log;
use faultline_views::Views;

use super::ServiceError;
use super::at_work::AtWork;

/// How long one look may wait for something to happen.
const LOOK: Duration = Duration::from_millis(50);
/// A task that has read its last input may still commit outputs: quiet is quiet in so many looks in a row, without a change.
const CALM_LOOKS: u32 = 3;
/// Views that have so little to read have caught up with what was there when they began.
const CAUGHT_UP_RECORDS: u64 = 1_000;

/// What is at work.
pub struct Watch {
    pub log: Arc<dyn Log>,
    pub views: Option<Seen>,
    pub at_work: AtWork,
}

/// The views, with the topics that they follow.
pub struct Seen {
    pub views: Arc<Views>,
    pub topics: &'static [Topic],
    /// Whether they have once caught up.
    pub have_caught_up: AtomicBool,
}

impl Watch {
    /// Records that stages or views have not read, and whether other work is pending.
    pub fn backlog(&self) -> Result<(u64, bool), ServiceError> {
        if let Some(failure) = self.at_work.failures().into_iter().next() {
            return Err(ServiceError::Stuck(format!("task {}: {}", failure.task, failure.reason)));
        }
        let (waiting, is_pending) = self.at_work.backlog()?;
        Ok((waiting + self.unseen()?, is_pending))
    }

    /// Records that wait in the bulk lane.
    pub fn bulk(&self) -> Result<u64, ServiceError> {
        Ok(self.at_work.bulk()?)
    }

    /// Records that the views have not read.
    fn unseen(&self) -> Result<u64, ServiceError> {
        let Some(Seen { views, topics, .. }) = &self.views else { return Ok(0) };
        let positions = views.positions()?;
        let mut waiting = 0;
        for topic in *topics {
            for partition in 0..self.log.partitions(topic.name)? {
                let position = positions.get(&(topic.name.to_owned(), partition)).copied().unwrap_or(0);
                waiting += self.at_work.waiting(&*self.log, topic.name, partition, position)?;
            }
        }
        Ok(waiting)
    }

    /// Why this process does not do its whole part, in words.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self.at_work.reasons();
        if let AtWork::Kafka { .. } = self.at_work
            && let Some(seen) = &self.views
            && !seen.have_caught_up.load(Ordering::Acquire)
        {
            match self.unseen() {
                Ok(waiting) if waiting <= CAUGHT_UP_RECORDS => seen.have_caught_up.store(true, Ordering::Release),
                Ok(waiting) => reasons.push(format!("The views are being filled: {waiting} records are still to be read.")),
                Err(error) => reasons.push(format!("It is not known how far the views are: {error}")),
            }
        }
        reasons
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
