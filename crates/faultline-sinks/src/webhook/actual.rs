//! What a destination answers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use faultline_stream::chain;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use url::{Host, Url};

use super::config::Endpoint;
use super::guard::is_public;
use super::message::Message;

/// The longest reason that is kept, in bytes.
const REASON_BYTES: usize = 256;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The destination has it.
    Taken,
    /// It does not, and may have it later; not before that if it says so.
    Failed { reason: String, after: Option<Duration> },
    /// It does not want it, now or ever.
    Refused { reason: String },
}

/// Why nothing can be called at all.
#[derive(Debug, thiserror::Error)]
#[error("calls cannot be set up: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// Calls destinations: without redirects and proxies, and only what is everybody's unless the destination is allowed more.
pub struct Client {
    guarded: reqwest::Client,
    open: reqwest::Client,
}

impl Client {
    /// With the longest time that a call may take.
    pub fn new(timeout: Duration) -> Result<Self, ClientError> {
        // Chosen already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = || reqwest::Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy().referer(false);
        Ok(Self { guarded: plain().dns_resolver(Guarded).https_only(true).build()?, open: plain().build()? })
    }

    /// Sends a message once.
    pub async fn send(&self, endpoint: &Endpoint, message: &Message) -> Answer {
        if !endpoint.allows_private
            && let Some(address) = literal(&endpoint.url).filter(|address| !is_public(*address))
        {
            return Answer::Failed { reason: private(&[address]), after: None };
        }
        let client = if endpoint.allows_private { &self.open } else { &self.guarded };
        let request = client
            .post(endpoint.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("faultline/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", message.timestamp)
            .header("webhook-signature", &message.signature)
            .body(message.body.clone());
        match request.send().await {
            Ok(response) => answer(&response),
            // An address may be a secret.
            Err(error) => {
                let mut reason = chain(&error.without_url());
                reason.truncate(reason.floor_char_boundary(REASON_BYTES));
                Answer::Failed { reason, after: None }
            }
        }
    }
}

/// By the specification: what is not 2xx is a failure; 410 asks to be told no more.
fn answer(response: &Response) -> Answer {
    let status = response.status();
    let reason = match status {
        status if status.is_success() => return Answer::Taken,
        StatusCode::GONE => return Answer::Refused { reason: "410 Gone: it wants to be told no more".to_owned() },
        status if status.is_redirection() => format!("{status}: redirects are not followed"),
        status => status.to_string(),
    };
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Answer::Failed { reason, after: after.and_then(|text| retry_after(text, SystemTime::now())) }
}

/// How long that asks to wait: seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(text).ok().map(|date| date.duration_since(now).unwrap_or_default()))
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn private(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(3).map(ToString::to_string).collect();
    format!("its name leads to {}, which is not everybody's: allow_private allows it", shown.join(", "))
}

/// Resolves names, and gives of their addresses those that are everybody's. What is given is what is called: nobody resolves again.
struct Guarded;

/// A name that leads to no address which may be called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Private(String);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> = all.iter().copied().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                let addresses: Vec<IpAddr> = all.iter().map(SocketAddr::ip).collect();
                return Err(Private(private(&addresses)).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked = |text: &str| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(
            (asked(" 120 "), asked("Sun, 06 Nov 1994 08:50:37 GMT"), asked("Sun, 06 Nov 1994 08:00:00 GMT")),
            (Some(120), Some(60), Some(0))
        );
        assert_eq!((asked("soon"), asked("-1")), (None, None));
    }
}
