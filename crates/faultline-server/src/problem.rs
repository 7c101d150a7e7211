//! Errors as people and programs read them: `application/problem+json` (RFC 9457), with what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use faultline_model::id::{Id, IdPrefix};
use faultline_views::ViewError;
use serde::Serialize;

use crate::doors::DoorError;

/// The most ids that a problem lists.
const IDS_LISTED: usize = 5;

/// The kind of what roles do not allow.
const NOT_ALLOWED: &str = "not-allowed";

/// A request that was not served.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The end of the `type`: stable, for programs.
    kind: &'static str,
    title: &'static str,
    /// What happened to this request.
    detail: String,
    /// What the asker can do about it.
    advice: String,
    retry_after_seconds: Option<u32>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    what_to_do: &'a str,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status, kind, title, detail: detail.into(), advice: advice.into(), retry_after_seconds: None }
    }

    pub fn bad_request(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood", detail, advice)
    }

    pub fn ambiguous(prefix: IdPrefix, ids: &[Id]) -> Self {
        let listed: Vec<String> = ids.iter().take(IDS_LISTED).map(ToString::to_string).collect();
        let more = if ids.len() > IDS_LISTED { " and others" } else { "" };
        let detail = format!("{prefix} is the beginning of {}{more}.", listed.join(", "));
        Self::new(StatusCode::BAD_REQUEST, "ambiguous", "Several ids begin so", detail, "Give more digits.")
    }

    pub fn not_found(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail, advice)
    }

    pub fn conflict(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It is not as you saw it", detail, advice)
    }

    pub fn too_large(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail, advice)
    }

    pub fn unsupported(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported", "The body is of a kind that is not taken here", detail, advice)
    }

    pub fn refused(detail: impl Into<String>) -> Self {
        let advice = "Mend what the detail says; the same request will be refused again.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "What was sent cannot be taken", detail, advice)
    }

    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "The body did not arrive in time",
            detail,
            "Send it again over a better line, or compress it.",
        )
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let advice = "Send `Authorization: Bearer` with a token of yours; who runs the service makes them with `faultline tokens create`.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail, advice)
    }

    pub fn not_allowed(detail: impl Into<String>) -> Self {
        let advice = "GET /v1/whoami tells what you may do, and docs/access.md which role allows what.";
        Self::new(StatusCode::FORBIDDEN, NOT_ALLOWED, "That is not yours to do", detail, advice)
    }

    pub fn forbidden(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This way in is closed", detail, advice)
    }

    pub fn method_not_allowed() -> Self {
        let advice = "docs/openapi.yaml lists the methods of each path.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Another method is needed",
            "The path is known, the method is not.",
            advice,
        )
    }

    pub fn busy(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not now", detail, "Try again after `Retry-After` seconds.");
        Self { retry_after_seconds: Some(1), ..problem }
    }

    /// Something was done that could not be accounted for.
    pub fn unaccounted(why: &DoorError) -> Self {
        tracing::error!(error = %why, "what somebody did is not in the audit log");
        let advice = "Tell who runs the service: its log says why. Look before you ask for it again.";
        let detail = "It was done, and could not be entered into the audit log.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unaccounted", "It is not accounted for", detail, advice)
    }

    /// Our own fault. What happened goes to the log; the asker learns that it did.
    pub fn fault(error: &dyn std::error::Error) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = %chain, "a request failed");
        let advice = "The service's log says what happened. Nothing was changed unless an outcome says so.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "The service failed", "A fault on our side.", advice)
    }
}

/// Why somebody was refused, with the response that tells it: it is accounted for.
#[derive(Clone)]
pub(crate) struct NotAllowed(pub String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:faultline:problem:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            what_to_do: &self.advice,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.kind == NOT_ALLOWED {
            response.extensions_mut().insert(NotAllowed(self.detail));
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<DoorError> for Problem {
    fn from(error: DoorError) -> Self {
        match error {
            DoorError::Refused(detail) => Self::refused(detail),
            DoorError::NotAllowed(detail) => Self::not_allowed(detail),
            DoorError::NotFound(detail) => Self::not_found(detail, "Look it up in the lists."),
            DoorError::Conflict(detail) => Self::conflict(detail, "Read it again, then decide anew."),
            DoorError::Busy(detail) => Self::busy(detail),
            DoorError::Fault(source) => Self::fault(&*source),
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Cursor { .. } => Self::bad_request(error.to_string(), "Ask for the first page, then follow each page's `next`."),
            ViewError::Filter { .. } => Self::bad_request(error.to_string(), "docs/api.md lists the filters."),
            other => Self::fault(&other),
        }
    }
}
