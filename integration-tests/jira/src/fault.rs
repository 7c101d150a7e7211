//! Faults: what goes wrong on the way, and for which requests.

use std::time::{Duration, SystemTime};

/// Which requests a fault is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum On {
    #[default]
    Every,
    /// An operation by its name in Atlassian's contract: `createIssue`.
    Operation(String),
    /// A method, and a path as its template: `POST`, `/rest/api/3/issue/{issueIdOrKey}/transitions`.
    Route(String, String),
    /// All that write.
    Writes,
}

/// Which of them, counted from when the fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    #[default]
    All,
    /// Only this one; the first is 1.
    Nth(u32),
    /// So many, from the first.
    First(u32),
}

/// What is answered instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }
}

/// What goes wrong. The effect of a request that was taken in happens even if who sent it has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The connection is closed; nothing happened.
    DropBefore,
    /// It is done, and the connection closed without an answer.
    DropAfter,
    /// It is done; of the answer half comes, then the connection is closed.
    CutAfter,
    /// This is answered; nothing happened.
    StatusBefore(Answer),
    /// This is answered though it was done.
    StatusAfter(Answer),
    /// It is done, and the answer comes so much later.
    Delay(Duration),
    /// It is done so much later, whoever still waits.
    DelayBefore(Duration),
    /// It is done, and the answer comes at [`crate::FakeJira::release`].
    Hold,
    /// It is done at [`crate::FakeJira::release`], whoever still waits.
    HoldBefore,
    /// A page to log in at, in HTML with status 200.
    LoginPage,
    /// 302 to another place.
    Redirect(String),
    /// 403: too many failed log-ins, somebody must solve a captcha.
    Captcha,
}

/// What `RateLimit-Reason` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Burst,
    PerIssueOnWrite,
    TenantQuota,
    GlobalQuota,
}

/// How `Retry-After` says how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Missing,
    Seconds(u64),
    Date(SystemTime),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub on: On,
    pub which: Which,
    /// Only requests with this in their path or body: for one poisoned ticket among good ones.
    pub mentioning: Option<String>,
    pub what: What,
}

impl Fault {
    /// For every request; narrow it with the methods below.
    pub fn new(what: What) -> Self {
        Self { on: On::Every, which: Which::All, mentioning: None, what }
    }

    /// 429, as Jira says it.
    pub fn rate_limited(limit: Limit, after: RetryAfter) -> Self {
        let reason = match limit {
            Limit::Burst => "jira-burst-based",
            Limit::PerIssueOnWrite => "jira-per-issue-on-write",
            Limit::TenantQuota => "jira-quota-tenant-based",
            Limit::GlobalQuota => "jira-quota-global-based",
        };
        let mut answer = Answer::new(429).header("RateLimit-Reason", reason).body("{\"message\":\"Rate limit exceeded.\"}");
        answer = match after {
            RetryAfter::Missing => answer,
            RetryAfter::Seconds(seconds) => answer.header("Retry-After", &seconds.to_string()),
            RetryAfter::Date(at) => answer.header("Retry-After", &httpdate::fmt_http_date(at)),
        };
        Self::new(What::StatusBefore(answer))
    }

    /// For an operation by its name in Atlassian's contract.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.on = On::Operation(operation.to_owned());
        self
    }

    #[must_use]
    pub fn on_route(mut self, method: &str, template: &str) -> Self {
        self.on = On::Route(method.to_owned(), template.to_owned());
        self
    }

    #[must_use]
    pub fn on_writes(mut self) -> Self {
        self.on = On::Writes;
        self
    }

    #[must_use]
    pub fn mentioning(mut self, text: &str) -> Self {
        self.mentioning = Some(text.to_owned());
        self
    }

    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.which = Which::Nth(nth);
        self
    }

    #[must_use]
    pub fn first(mut self, many: u32) -> Self {
        self.which = Which::First(many);
        self
    }
}

impl What {
    /// What is answered at once, if nothing is to happen.
    pub(crate) fn answer_before(&self) -> Option<Answer> {
        match self {
            Self::StatusBefore(answer) => Some(answer.clone()),
            Self::LoginPage => {
                let page =
                    "<!DOCTYPE html><html><head><title>Log in with Atlassian account</title></head><body><form></form></body></html>";
                Some(Answer::new(200).header("Content-Type", "text/html;charset=UTF-8").body(page))
            }
            Self::Redirect(to) => Some(Answer::new(302).header("Location", to)),
            Self::Captcha => {
                let url = "CAPTCHA_CHALLENGE; login-url=https://example.atlassian.net/login.jsp";
                let answer = Answer::new(403).header("X-Seraph-LoginReason", "AUTHENTICATION_DENIED");
                Some(
                    answer
                        .header("X-Authentication-Denied-Reason", url)
                        .header("Content-Type", "text/html")
                        .body("<html>Forbidden (403)</html>"),
                )
            }
            _ => None,
        }
    }
}

/// A fault that was injected, and how many requests it was for so far.
#[derive(Debug)]
pub(crate) struct Armed {
    fault: Fault,
    seen: u32,
}

impl Armed {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, seen: 0 }
    }

    /// Counts a request if the fault is for such, and says what is to go wrong with this one.
    fn meet(&mut self, operation: &str, method: &str, template: &str, said: &[&str]) -> Option<What> {
        let is_on = match &self.fault.on {
            On::Every => true,
            On::Operation(name) => name == operation,
            On::Route(other, path) => other == method && path == template,
            On::Writes => crate::request::is_write(method, template),
        };
        let is_mentioned = self.fault.mentioning.as_ref().is_none_or(|text| said.iter().any(|said| said.contains(text.as_str())));
        if !is_on || !is_mentioned {
            return None;
        }
        self.seen += 1;
        let is_hit = match self.fault.which {
            Which::All => true,
            Which::Nth(nth) => self.seen == nth,
            Which::First(many) => self.seen <= many,
        };
        is_hit.then(|| self.fault.what.clone())
    }
}

/// All faults count the request; the first that it hits decides.
pub(crate) fn meet(faults: &mut [Armed], operation: &str, method: &str, template: &str, said: &[&str]) -> Option<What> {
    let mut hits = faults.iter_mut().map(|fault| fault.meet(operation, method, template, said)).collect::<Vec<_>>().into_iter();
    hits.find_map(|hit| hit)
}
