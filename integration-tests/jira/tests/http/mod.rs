//! A client for tests: asks, and gives status and content.
#![allow(clippy::unwrap_used, dead_code)]

use std::time::Duration;

use faultline_fake_jira::FakeJira;
use reqwest::Method;
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

/// How long something may take that takes no time.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Http {
    client: Client,
    base: String,
    token: String,
}

impl Http {
    pub fn to(url: &str) -> Self {
        Self::with_token(url, "fake-token")
    }

    pub fn with_token(url: &str, token: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { client, base: format!("{url}/rest/api/3"), token: token.to_owned() }
    }

    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response, reqwest::Error> {
        let request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.base));
        let request = request.basic_auth("faultline@example.com", Some(&self.token));
        body.map_or(request.try_clone().unwrap(), |body| request.json(body)).send()
    }

    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body).unwrap();
        let status = response.status().as_u16();
        let text = response.text().unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, Some(body))
    }

    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("PUT", path, Some(body))
    }

    /// The ids that search finds.
    pub fn found(&self, jql: &str) -> Vec<String> {
        let (status, page) = self.post("/search/jql", &json!({"jql": jql}));
        assert_eq!(status, 200, "{page}");
        page["issues"].as_array().unwrap().iter().map(|issue| issue["id"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn fields(project: &str, summary: &str, label: &str) -> Value {
    json!({"project": {"key": project}, "issuetype": {"name": "Task"}, "summary": summary, "labels": [label]})
}

pub fn issue(project: &str, summary: &str) -> Value {
    json!({"fields": fields(project, summary, "mark")})
}

pub fn text(text: &str) -> Value {
    json!({"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]})
}

/// Creates one, and gives its id.
pub fn create(http: &Http, project: &str) -> String {
    let (status, made) = http.post("/issue", &issue(project, "A flaw"));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

pub fn start() -> (FakeJira, Http) {
    let fake = FakeJira::start(faultline_fake_jira::Options::default());
    let http = Http::to(fake.url());
    (fake, http)
}
