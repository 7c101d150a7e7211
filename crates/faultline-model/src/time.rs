//! Points in time as records carry them: milliseconds since 1970 in UTC. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time: expected RFC 3339 (2026-01-31T08:15:00Z) or a date (2026-01-31)")]
pub struct TimeError {
    text: String,
}

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// So many days later; earlier where negative. Stays at the ends of what can be counted.
    #[must_use]
    pub const fn plus_days(self, days: i64) -> Self {
        Self(self.0.saturating_add(days.saturating_mul(DAY_MS)))
    }

    /// Whole days since an earlier time; negative for a later one.
    pub const fn days_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).div_euclid(DAY_MS)
    }

    /// The day in UTC, as `2026-01-31`.
    pub fn date(self) -> String {
        self.to_string().split('T').next().unwrap_or_default().to_owned()
    }
}

/// RFC 3339; with a precision, so many digits of a second: `{:.3}`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => fmt::Display::fmt(&time, f),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        let fails = || TimeError { text: text.to_owned() };
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(time.as_millisecond()));
        }
        let date: jiff::civil::Date = text.parse().map_err(|_| fails())?;
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| fails())?;
        Ok(Self(midnight.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_clock_part() {
        for (text, shown) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T08:15:00+02:00", "2026-01-31T06:15:00Z"),
            (" 2026-01-31T08:15:00.123456Z ", "2026-01-31T08:15:00.123Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), shown);
        }
        for wrong in ["", "yesterday", "31/01/2026", "2026-13-01"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn milliseconds_stand_where_they_are_asked_for() {
        assert_eq!(format!("{:.3}", Timestamp::from_millis(1_120)), "1970-01-01T00:00:01.120Z");
    }

    #[test]
    fn days_are_counted_towards_the_past_too() {
        let day = |n| Timestamp::from_millis(n * DAY_MS);
        assert_eq!(day(3).days_since(day(1)), 2);
        assert_eq!(Timestamp::from_millis(DAY_MS - 1).days_since(day(1)), -1);
        assert_eq!(day(1).plus_days(-1).date(), "1970-01-01");
    }
}
