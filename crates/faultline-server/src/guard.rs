//! What may reach the server, and how many at a time; whose requests they are is for [`crate::who`].
//!
//! On loopback without a token, a web page that people have open must not reach us either: it could call us by a name of its own that
//! resolves to 127.0.0.1 (so `Host` must be ours), or post across sites without asking (so `Origin` must be ours, and no CORS header
//! is ever sent).

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::lent::lend;
use crate::problem::Problem;
use crate::state::{App, Shared};

/// Counts and logs each request, then lets in who may come in.
pub(crate) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (body, rest) = lend(body, waits);
    let response = served(&app, Request::from_parts(parts, body), next).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        rest.drain().await;
    }
    let (status, spent) = (response.status().as_u16(), began.elapsed());
    app.counters.request(method_name(method.as_str()), &route, status, spent);
    tracing::debug!(%method, route, status, micros = spent.as_micros() as u64, "request");
    response
}

async fn served(app: &App, request: Request, next: Next) -> Response {
    if let Err(problem) = admitted(app, &request) {
        return problem.into_response();
    }
    match app.requests.try_acquire() {
        Err(_) => Problem::busy("As many requests as may be are being served.").into_response(),
        Ok(_place) => next.run(request).await,
    }
}

/// Methods that are counted by name; a stranger cannot make rows.
fn method_name(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "HEAD"].into_iter().find(|known| *known == method).unwrap_or("other")
}

/// Whether a request was meant for us at all.
fn admitted(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if app.is_loopback && !is_loopback_name(host) {
        let shown: String = host.chars().take(80).collect();
        return Err(Problem::forbidden(
            format!("The service listens on this machine only and was called {shown:?}."),
            "Call it localhost, 127.0.0.1 or [::1]; to be reached by another name it needs TLS and a token.",
        ));
    }
    if is_from_another_site(headers, host) {
        return Err(Problem::forbidden(
            "A page of another site sent this.",
            "Pages of other sites may not speak to the service; call it directly.",
        ));
    }
    Ok(())
}

/// Whether a `Host` names this machine, with any port.
fn is_loopback_name(host: &str) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A `Host` without its port and without the brackets of an IPv6 address.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_from_another_site(headers: &HeaderMap, host: &str) -> bool {
    let is_cross = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    let is_other = headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
    });
    is_cross || is_other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for (host, is_ours) in [
            ("localhost", true),
            ("LocalHost:8686", true),
            ("127.0.0.1:1", true),
            ("127.1.2.3", true),
            ("[::1]:8686", true),
            ("::1", false),
            ("", false),
            ("evil.example:8686", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback_name(host), is_ours, "{host}");
        }
    }
}
