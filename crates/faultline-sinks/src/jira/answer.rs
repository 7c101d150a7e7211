//! What an answer of Jira's says about the call: done, or which trouble.
//!
//! Nothing is taken for an answer of Jira's because of its status alone: logins, gateways and sites that were closed answer with 200, 403 and
//! 404, too, and an issue that seems to be gone is created again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use faultline_model::time::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::trouble::{Scope, Trouble};
use super::words::Secrets;

/// The longest wait that is believed.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// The most fields of a refusal that are kept.
const FIELDS: usize = 20;
/// Which limit was met.
const REASON: &str = "ratelimit-reason";
/// When a quota begins anew, as a time.
const RESET: &str = "x-ratelimit-reset";
/// What Jira's log-in made of who asked. With the values of a failure it goes on as if nobody had: what only some may see is not found, and
/// searches find nothing, all with the status of success or 404.
const LOGIN: &str = "x-seraph-loginreason";
const LOGIN_FAILED: [&str; 2] = ["AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED"];

/// What a call is, as far as it matters for what its answer means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    /// Whether it is about one issue, which may be gone.
    pub(super) is_of_issue: bool,
    /// Whether the same call again changes nothing more.
    pub(super) is_repeatable: bool,
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Why it could not be read to its end, if so.
    pub(super) body: Result<Vec<u8>, String>,
}

impl Answer {
    /// What it holds, if the call is done.
    pub(super) fn holds<T: DeserializeOwned>(&self, nature: Nature, secrets: &Secrets) -> Result<T, Trouble> {
        self.check(nature, secrets)?;
        let unknown = |what: &str| Trouble::Unknown { reason: secrets.told(&format!("{}, but {what}", self.status)), after: None };
        if !self.is_json() {
            return Err(unknown("what it holds is not JSON"));
        }
        let body = self.body.as_ref().map_err(|reason| unknown(reason))?;
        serde_json::from_slice(body).map_err(|error| unknown(&format!("what it holds cannot be read ({error})")))
    }

    /// Whether the call is done, of which nothing more is to be known.
    pub(super) fn is_done(&self, nature: Nature, secrets: &Secrets) -> Result<(), Trouble> {
        if self.status == StatusCode::NO_CONTENT { self.check(nature, secrets) } else { self.holds::<Value>(nature, secrets).map(drop) }
    }

    fn check(&self, nature: Nature, secrets: &Secrets) -> Result<(), Trouble> {
        let is_success = self.status.is_success();
        if let Some(login) = self.text(LOGIN).filter(|login| LOGIN_FAILED.iter().any(|failed| login.contains(failed)))
            // What is made is made, whoever made it.
            && (!is_success || nature.is_repeatable)
        {
            return Err(Trouble::Closed {
                reason: secrets.told(&format!("{}, {login}: the log-in failed, or asks for a captcha", self.status)),
            });
        }
        if is_success { Ok(()) } else { Err(self.trouble(nature, secrets)) }
    }

    fn trouble(&self, nature: Nature, secrets: &Secrets) -> Trouble {
        let (status, after) = (self.status, self.wait());
        let said = self.said(secrets);
        let reason = match &said {
            Some(said) if !said.reason.is_empty() => secrets.told(&format!("{status}: {}", said.reason)),
            _ => status.to_string(),
        };
        match status.as_u16() {
            300..=399 => Trouble::Closed { reason: format!("{status}: redirects are not followed") },
            401 => Trouble::Closed { reason },
            403 | 404 if said.is_none() => {
                Trouble::Closed { reason: format!("{status}, not in Jira's words: no Jira lets us in at this address") }
            }
            404 if nature.is_of_issue => Trouble::Gone,
            409 => Trouble::Wait { after, scope: if nature.is_of_issue { Scope::Issue } else { Scope::Endpoint }, reason },
            429 => {
                let limit = self.text(REASON).unwrap_or_default();
                let reason = if limit.is_empty() { reason } else { secrets.told(&format!("{status}, {limit}")) };
                Trouble::Wait { after, scope: scope(limit), reason }
            }
            // By whom a call with no answer in time was seen is not known.
            408 | 425 => Trouble::Unknown { reason, after },
            400..=499 => match said {
                Some(said) => Trouble::Refused { status: status.as_u16(), reason: said.reason, fields: said.fields },
                None => Trouble::Unknown { reason: format!("{status}, not in Jira's words"), after },
            },
            503 if after.is_some() && nature.is_repeatable => Trouble::Wait { after, scope: Scope::Site, reason },
            _ => Trouble::Unknown { reason, after },
        }
    }

    fn is_json(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    }

    /// What Jira says is wrong; nothing if it is not Jira who speaks.
    fn said(&self, secrets: &Secrets) -> Option<Said> {
        let body = self.body.as_ref().ok().filter(|_| self.is_json())?;
        let body: Value = serde_json::from_slice(body).ok()?;
        let (messages, errors) = (body["errorMessages"].as_array(), body["errors"].as_object());
        if messages.is_none() && errors.is_none() {
            return None;
        }
        let word = |value: &Value| secrets.told(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let fields: BTreeMap<String, String> =
            errors.into_iter().flatten().take(FIELDS).map(|(field, value)| (secrets.told(field), word(value))).collect();
        let messages = messages.into_iter().flatten().take(FIELDS).map(word);
        let all: Vec<String> = messages.chain(fields.iter().map(|(field, word)| format!("{field}: {word}"))).collect();
        Some(Said { reason: secrets.told(&all.join("; ")), fields })
    }

    fn text(&self, header: &str) -> Option<&str> {
        self.headers.get(header).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// How long it asks to be left alone. A time is one of its own clock, which it tells; else of ours.
    fn wait(&self) -> Option<Duration> {
        let now = self.text(DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
        let until = |time: SystemTime| time.duration_since(now).unwrap_or_default();
        let asked = self.text(RETRY_AFTER.as_str()).and_then(|text| {
            let seconds = text.parse().ok().map(Duration::from_secs);
            seconds.or_else(|| httpdate::parse_http_date(text).ok().map(until))
        });
        let is_quota = self.text(REASON).is_some_and(|limit| scope(limit) == Scope::Site);
        let reset = self.text(RESET).filter(|_| is_quota).and_then(|text| text.parse::<Timestamp>().ok());
        let reset = reset.map(|reset| until(UNIX_EPOCH + Duration::from_millis(reset.millis().try_into().unwrap_or_default())));
        // Of both the later: asking sooner makes the wait longer.
        asked.max(reset).map(|wait| wait.min(LONGEST_WAIT))
    }
}

/// What Jira says in an answer that is no success.
struct Said {
    reason: String,
    fields: BTreeMap<String, String>,
}

/// What a limit holds for. One that is not known stops no more than its endpoint.
fn scope(limit: &str) -> Scope {
    match limit {
        "jira-per-issue-on-write" => Scope::Issue,
        // The last is what the quota was called before there were two.
        "jira-quota-tenant-based" | "jira-quota-global-based" | "jira-cost-based" => Scope::Site,
        _ => Scope::Endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Nature = Nature { is_of_issue: true, is_repeatable: true };
    const CREATE: Nature = Nature { is_of_issue: false, is_repeatable: false };
    const JSON: (&str, &str) = ("content-type", "application/json;charset=UTF-8");
    const HTML: (&str, &str) = ("content-type", "text/html");
    /// As Jira's documentation and its sites have them.
    const NOT_FOUND: &str = r#"{"errorMessages":["Issue does not exist or you do not have permission to see it."],"errors":{}}"#;
    const REQUIRED: &str = r#"{"errorMessages":["Field 'priority' is required"],"errors":{}}"#;
    const ASSIGNEE: &str =
        r#"{"errorMessages":[],"errors":{"assignee":"User '5b10' cannot be assigned issues.","customfield_10010":"Team is required."}}"#;

    fn trouble(nature: Nature, status: u16, headers: &[(&'static str, &str)], body: &str) -> Trouble {
        let mut answer =
            Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: Ok(body.as_bytes().to_vec()) };
        for (name, value) in headers {
            answer.headers.insert(*name, value.parse().unwrap());
        }
        answer.holds::<Value>(nature, &Secrets::new(["of-mine".to_owned()])).unwrap_err()
    }

    fn kind(trouble: &Trouble) -> &'static str {
        match trouble {
            Trouble::Wait { .. } => "wait",
            Trouble::Refused { .. } => "refused",
            Trouble::Unknown { .. } => "unknown",
            Trouble::Gone => "gone",
            Trouble::Closed { .. } => "closed",
            Trouble::NotSent { .. } => "not sent",
        }
    }

    #[test]
    fn what_an_answer_means_depends_on_who_speaks_and_on_what_was_asked() {
        let gateway = r#"{"timestamp":"2026-01-31T08:15:00Z","status":404,"error":"Not Found","path":"/ex/jira/1"}"#;
        for (expected, nature, status, headers, body) in [
            ("refused", CREATE, 400, &[JSON][..], REQUIRED),
            ("refused", CREATE, 422, &[JSON], ASSIGNEE),
            ("refused", CREATE, 403, &[JSON], REQUIRED),
            ("refused", CREATE, 404, &[JSON], NOT_FOUND),
            ("refused", READ, 410, &[JSON], REQUIRED),
            ("unknown", CREATE, 400, &[HTML], "<html>"),
            ("unknown", CREATE, 400, &[JSON], "{\"errorMess"),
            ("unknown", CREATE, 400, &[], ""),
            ("unknown", CREATE, 408, &[JSON], REQUIRED),
            ("gone", READ, 404, &[JSON], NOT_FOUND),
            // A site that was closed, a cloud id that is none: no ticket is gone by them.
            ("closed", READ, 404, &[HTML], "<html>Your Atlassian Cloud site is currently unavailable.</html>"),
            ("closed", READ, 404, &[JSON], gateway),
            ("closed", READ, 404, &[], ""),
            ("closed", READ, 404, &[JSON, ("x-seraph-loginreason", "AUTHENTICATED_FAILED")], NOT_FOUND),
            ("closed", READ, 200, &[JSON, ("x-seraph-loginreason", "AUTHENTICATED_FAILED")], "{}"),
            ("closed", CREATE, 401, &[JSON], r#"{"code":401,"message":"Unauthorized; scope does not match"}"#),
            ("closed", CREATE, 403, &[HTML, ("x-seraph-loginreason", "AUTHENTICATION_DENIED")], "<html>"),
            ("closed", CREATE, 403, &[JSON, ("x-seraph-loginreason", "AUTHENTICATION_DENIED")], REQUIRED),
            ("closed", CREATE, 403, &[HTML], "<html>Your IP address is not allowed.</html>"),
            ("closed", CREATE, 302, &[("location", "https://id.example/login")], ""),
            ("wait", CREATE, 429, &[], ""),
            ("wait", READ, 409, &[], ""),
            ("wait", READ, 503, &[("retry-after", "5")], ""),
            // Nobody says that it was not made.
            ("unknown", CREATE, 503, &[("retry-after", "5")], ""),
            ("unknown", READ, 503, &[], ""),
            ("unknown", CREATE, 500, &[JSON], REQUIRED),
            ("unknown", CREATE, 502, &[HTML], "<html>"),
            ("unknown", CREATE, 504, &[], ""),
            ("unknown", CREATE, 200, &[HTML], "<html>Log in</html>"),
            ("unknown", CREATE, 201, &[JSON], "{\"id\":\"100"),
            ("unknown", CREATE, 201, &[], "{}"),
        ] {
            let trouble = trouble(nature, status, headers, body);
            assert_eq!(kind(&trouble), expected, "{status} {headers:?} {body}: {trouble}");
        }
    }

    #[test]
    fn a_refusal_tells_which_fields() {
        let Trouble::Refused { status, reason, fields } = trouble(CREATE, 400, &[JSON], ASSIGNEE) else { panic!("not refused") };
        assert_eq!((status, fields["customfield_10010"].as_str()), (400, "Team is required."));
        assert_eq!(reason, "assignee: User '5b10' cannot be assigned issues.; customfield_10010: Team is required.");
        let echoed = r#"{"errorMessages":["Basic of-mine\u001b[0m\nis wrong"],"errors":{"of-mine":{"a":"of-mine"}}}"#;
        let told = format!("{:?}", trouble(CREATE, 400, &[JSON], echoed));
        assert!(!told.contains("of-mine") && told.contains("Basic *** [0m is wrong"), "{told}");
    }

    #[test]
    fn a_limit_stops_what_it_holds_for() {
        let wait = |headers: &[(&'static str, &str)]| match trouble(CREATE, 429, headers, "") {
            Trouble::Wait { after, scope, .. } => (after.map(|after| after.as_secs()), scope),
            other => panic!("{other}"),
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (expected, headers) in [
            ((None, Scope::Endpoint), &[][..]),
            ((Some(7), Scope::Endpoint), &[("ratelimit-reason", "jira-burst-based"), ("retry-after", " 7 ")]),
            ((Some(2), Scope::Issue), &[("ratelimit-reason", "jira-per-issue-on-write"), ("retry-after", "2")]),
            ((Some(60), Scope::Endpoint), &[date, ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]),
            ((Some(0), Scope::Endpoint), &[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]),
            ((None, Scope::Endpoint), &[("retry-after", "soon"), ("x-ratelimit-reset", "2999-01-01T00:00:00Z")]),
            ((Some(86_400), Scope::Endpoint), &[("retry-after", "18446744073709551615")]),
            (
                (Some(623), Scope::Site),
                &[date, ("ratelimit-reason", "jira-quota-tenant-based"), ("retry-after", "30"), ("x-ratelimit-reset", "1994-11-06T09:00Z")],
            ),
            (
                (Some(30), Scope::Site),
                &[date, ("ratelimit-reason", "jira-quota-global-based"), ("retry-after", "30"), ("x-ratelimit-reset", "junk")],
            ),
        ] {
            assert_eq!(wait(headers), expected, "{headers:?}");
        }
    }
}
