//! Webhooks: what the site tells others of its own accord. At least once and in no promised order: when, how often and how is up to the test.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ring::hmac;
use serde_json::{Value, json};

use crate::issue::{Change, Comment, Issue};
use crate::world::World;

/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) enum Event {
    Created,
    Updated,
    Deleted,
    Commented(Comment),
}

impl Event {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Created => "jira:issue_created",
            Self::Updated => "jira:issue_updated",
            Self::Deleted => "jira:issue_deleted",
            Self::Commented(_) => "comment_created",
        }
    }

    pub(crate) fn message(&self, world: &World, issue: &Issue, author: &str, change: Option<&Change>) -> Value {
        let user = crate::user::user_json(&world.url, &world.users, author);
        let content = issue.json(&["*all".to_owned()], &world.url, world.project_of(issue), &world.users);
        let mut message = json!({"timestamp": world.now().as_millisecond(), "webhookEvent": self.name(), "issue": content});
        match self {
            Self::Commented(comment) => message["comment"] = comment.json(issue, &world.url, &world.users),
            _ => message["user"] = user,
        }
        if let Some(change) = change {
            let items: Vec<Value> = change.items.iter().map(crate::issue::ChangeItem::json).collect();
            message["issue_event_type_name"] = json!("issue_generic");
            message["changelog"] = json!({"id": change.id, "items": items});
        }
        message
    }
}

/// One message to the configured address.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The same each time that it is sent.
    pub identifier: String,
    /// `jira:issue_created`, `comment_created` …
    pub event: &'static str,
    pub issue: String,
    pub body: String,
    /// How often it was sent.
    pub sent: u32,
}

/// Where webhooks go, and the secret that they are signed with.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: String,
    secret: String,
}

/// What is to be sent, and what was taken.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) target: Option<Target>,
    pub(crate) pending: Vec<Webhook>,
    pub(crate) last: Option<Webhook>,
    made: u64,
}

impl Outbox {
    pub(crate) fn is_wanted(&self) -> bool {
        self.target.is_some()
    }

    pub(crate) fn aim(&mut self, url: &str, secret: &str) {
        self.target = Some(Target { url: url.to_owned(), secret: secret.to_owned() });
    }

    pub(crate) fn put(&mut self, event: &'static str, issue: &str, message: &Value) {
        self.made += 1;
        let identifier = format!("fake-webhook-{}", self.made);
        self.pending.push(Webhook { identifier, event, issue: issue.to_owned(), body: message.to_string(), sent: 0 });
    }
}

/// Why a webhook did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("no address is configured: call set_webhook first")]
    NoTarget,
    #[error("the fake has stopped")]
    Stopped,
    #[error("no webhook was delivered yet, so none can be sent again")]
    NoneYet,
    #[error("{url} is no address of the form http://host:port/path")]
    Address { url: String },
    #[error("{url} could not be reached")]
    Unreachable {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{url} did not answer in {PATIENCE:?}")]
    Silent { url: String },
    #[error("{url} answered {status}")]
    Refused { url: String, status: u16 },
}

/// The value of `X-Hub-Signature`.
pub fn signature(secret: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Sends it once; with the target's secret unless it is to be forged.
pub(crate) async fn send(target: &Target, webhook: &Webhook, forged_with: Option<&str>) -> Result<u16, DeliveryError> {
    let url = || target.url.clone();
    let signed = signature(forged_with.unwrap_or(&target.secret), &webhook.body);
    match tokio::time::timeout(PATIENCE, post(target, webhook, &signed)).await {
        Err(_) => Err(DeliveryError::Silent { url: url() }),
        Ok(Err(source)) => Err(DeliveryError::Unreachable { url: url(), source }),
        Ok(Ok(None)) => Err(DeliveryError::Address { url: url() }),
        Ok(Ok(Some(status @ 200..300))) => Ok(status),
        Ok(Ok(Some(status))) => Err(DeliveryError::Refused { url: url(), status }),
    }
}

async fn post(target: &Target, webhook: &Webhook, signed: &str) -> Result<Option<u16>, Box<dyn std::error::Error + Send + Sync>> {
    let Some((authority, _)) = target.url.strip_prefix("http://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
        return Ok(None);
    };
    let stream = tokio::net::TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request =
        hyper::Request::post(target.url.strip_prefix(&format!("http://{authority}")).filter(|path| !path.is_empty()).unwrap_or("/"))
            .header("Host", authority)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("User-Agent", "Atlassian Webhook HTTP Client")
            .header("X-Atlassian-Webhook-Identifier", &webhook.identifier)
            .header("X-Atlassian-Webhook-Flow", "Primary")
            .header("X-Hub-Signature", signed);
    if webhook.sent > 0 {
        request = request.header("X-Atlassian-Webhook-Retry", webhook.sent.to_string());
    }
    let request = request.body(Full::new(Bytes::from(webhook.body.clone())))?;
    // Who asks goes with the answer, and so ends the connection.
    let asking = async move { sender.send_request(request).await.map(|answer| answer.status().as_u16()) };
    let (answer, _) = tokio::join!(asking, connection);
    Ok(Some(answer?))
}
