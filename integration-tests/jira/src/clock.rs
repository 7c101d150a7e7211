//! What time it is at the fake, which tests move by hand.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Where the fake has its time from. Both can be moved by [`crate::FakeJira::advance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    #[default]
    Real,
    /// It stands still at this time until it is moved.
    ByHand(SystemTime),
}

#[derive(Debug)]
pub(crate) struct Watch {
    clock: Clock,
    ahead: Duration,
}

impl Watch {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ahead: Duration::ZERO }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let base = match self.clock {
            Clock::Real => SystemTime::now(),
            Clock::ByHand(at) => at,
        };
        Timestamp::try_from(base + self.ahead).expect("the clock is within the years that can be written")
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.ahead += by;
    }
}

/// As Jira writes times: with milliseconds, and a zone without a colon.
pub(crate) fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}
