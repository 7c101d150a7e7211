//! Why a call is not done, or nobody knows whether it is.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a wait is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One kind of call: others go on.
    Endpoint,
    /// One issue: others go on.
    Issue,
    /// The whole site.
    Site,
}

/// What came of a call that was not answered with success. Reasons are one line, bounded, and have no token in them.
///
/// Whether a `POST` that creates may be sent again is said at each: only after [`Trouble::Unknown`] it may not, before it was looked for.
/// Of a call that only reads, or whose repetition changes nothing, each may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Too much was asked of it (429), or it is at work on the same issue (409), or it is away for a while and says how long (503; of calls
    /// that may be repeated only). **Surely not done: a create may be sent again, after the wait.**
    #[error("it asks to wait{}: {reason}", for_seconds(*.after))]
    Wait { after: Option<Duration>, scope: Scope, reason: String },
    /// It was understood and is not wanted: 4xx with Jira's own words. **Surely not done: a create may be sent again, but the same one is
    /// refused again.**
    #[error("it refuses with {status}: {reason}")]
    Refused { status: u16, reason: String, fields: BTreeMap<String, String> },
    /// A time-out, a connection that broke, 5xx, a success that cannot be read, a page where JSON belongs. **It may have been done: a
    /// create must not be sent again before the issue was looked for.** `after` is how long it asked to be left alone.
    #[error("nobody knows whether it was done: {reason}")]
    Unknown { reason: String, after: Option<Duration> },
    /// 404 in Jira's own words, for an issue: it was deleted, or is hidden from us. **Surely not done;** no answer to a create.
    #[error("there is no such issue, or it is hidden from us")]
    Gone,
    /// The site lets us in no more, or what answers there is not Jira: 401, a captcha, a redirect, 403 or 404 without Jira's words. **Surely
    /// not done: a create may be sent again once somebody has seen to it;** until then no call of any kind helps.
    #[error("the site does not let us in: {reason}")]
    Closed { reason: String },
    /// No connection came about, or the call itself cannot be made. **Surely not done: a create may be sent again.**
    #[error("nothing was sent: {reason}")]
    NotSent { reason: String },
}

impl Trouble {
    /// Whether nothing was done, so that a create may be sent again without looking for what it made.
    pub fn is_surely_not_done(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

fn for_seconds(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(" for {} s", after.as_secs()))
}
