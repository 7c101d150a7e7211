//! A notice as Standard Webhooks has it: a body, and the headers that prove who sent it.
//!
//! Source: the specification of Standard Webhooks, 1.0.

use faultline_model::notice::Notice;
use faultline_model::partition::SEPARATOR;
use faultline_model::time::Timestamp;
use serde::Serialize;
use standardwebhooks::{Webhook, WebhookError};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: the same notice has the same one in every attempt.
    pub id: String,
    /// `webhook-timestamp`: when this attempt was made, in seconds since 1970.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// JSON.
    pub body: String,
}

/// Why a notice cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("the secret cannot sign: {0}")]
    Sign(#[from] WebhookError),
    #[error("the notice is no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Body<'n> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    data: Data<'n>,
}

#[derive(Serialize)]
struct Data<'n> {
    id: String,
    /// The risk, or the exception.
    subject: &'n str,
    title: &'n str,
    because: &'n str,
    score: i32,
    within: &'n [String],
}

/// The message of a notice, signed for an attempt at a time.
pub fn message(secret: &Webhook, notice: &Notice, at: Timestamp) -> Result<Message, MessageError> {
    let subject = notice.origin.rsplit(SEPARATOR).next().unwrap_or_default();
    let data = Data {
        id: notice.id.to_string(),
        subject,
        title: &notice.title,
        because: &notice.because,
        score: notice.score,
        within: &notice.within,
    };
    let body = serde_json::to_string(&Body { kind: notice.kind.dotted(), timestamp: notice.at.to_string(), data })?;
    let (id, timestamp) = (notice.id.to_string(), at.millis().div_euclid(1000));
    let signature = secret.sign(&id, timestamp, body.as_bytes())?;
    Ok(Message { id, timestamp, signature, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_model::id::Id;
    use faultline_model::notice::NoticeKind;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The vector that the specification's libraries are tested with.
    #[test]
    fn the_published_vector_passes() {
        let signature =
            Webhook::new(SECRET).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_notice_is_a_body_that_its_signature_is_of() {
        let notice = Notice {
            id: Id([7; 16]),
            kind: NoticeKind::RiskVerified,
            at: Timestamp::from_millis(1_760_000_200_000),
            origin: "shop\u{1f}2d20f0a17c3e4b9586d1a2b3c4d5e6f7".into(),
            title: "SQL injection in users".into(),
            because: "proved".into(),
            score: 870,
            within: vec!["service/shop".into()],
            to: vec!["soc".into()],
        };
        let secret = Webhook::new(SECRET).unwrap();
        let message = message(&secret, &notice, Timestamp::from_millis(1_760_000_201_999)).unwrap();
        assert_eq!((message.id.as_str(), message.timestamp), (&*"07".repeat(16), 1_760_000_201));
        assert_eq!(
            message.body,
            "{\"type\":\"risk.verified\",\"timestamp\":\"2025-10-09T08:56:40Z\",\"data\":{\"id\":\"07070707070707070707070707070707\",\"subject\":\
             \"2d20f0a17c3e4b9586d1a2b3c4d5e6f7\",\"title\":\"SQL injection in users\",\"because\":\"proved\",\"score\":870,\"within\":[\"service/shop\"]}}"
        );
        assert_eq!(message.signature, secret.sign(&message.id, message.timestamp, message.body.as_bytes()).unwrap());
        assert!(message.signature.starts_with("v1,"));
    }
}
