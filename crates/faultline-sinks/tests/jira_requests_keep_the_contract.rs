//! Every request that is made of Jira, before a mock that refuses what Jira's published contract, or Jira in practice, does not allow.
//!
//! One is not in the contract that we have, and so not here: which permissions we have (`/mypermissions`), which only `doctor` asks.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use faultline_sinks::jira::{Client, Draft, Edit, Scope, Sites, Target, Trouble, Went};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

/// How long something may take that takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long who looks again and again waits between two looks.
const LOOK: Duration = Duration::from_millis(50);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn script() -> Command {
    Command::new(root().join("scripts/prism"))
}

/// A mock that does not outlive the test.
struct Mock {
    child: Child,
    port: u16,
}

impl Mock {
    /// Nothing where Prism cannot be had, which is said, and is a failure in CI.
    fn start() -> Option<Self> {
        let ready = script().arg("ready").output();
        let reason = match ready {
            Ok(ready) if ready.status.success() => None,
            Ok(ready) => Some(String::from_utf8_lossy(&ready.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            assert!(std::env::var_os("CI").is_none(), "Prism is not to be had: {reason}");
            // Not by a macro, whose words a passing test keeps to itself.
            std::io::stderr().write_all(format!("SKIPPED: what needs Prism: {reason}\n").as_bytes()).unwrap();
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let contract = root().join("integration-tests/jira/contract/jira-cloud-v3.strict.json");
        let child = script().arg("mock").arg(port.to_string()).arg(contract).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut mock = Self { child, port };
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(mock.child.try_wait().unwrap().is_none(), "Prism ends before it listens");
            assert!(Instant::now() < until, "Prism does not listen");
            std::thread::sleep(LOOK);
        }
        Some(mock)
    }

    fn client(&self, user: &str) -> Client {
        client(self.port, user)
    }

    /// Passes on what comes, each request on a connection of its own, with lines more in its head. Questions for transitions are answered
    /// here if there is an answer: those of the contract's example lead nowhere.
    async fn behind(&self, lines: &'static str, transitions: Option<Value>) -> Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, mock) = (listener.local_addr().unwrap().port(), self.port);
        tokio::spawn(async move {
            loop {
                let (asking, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(asking, mock, lines, transitions.clone()));
            }
        });
        client(port, ", user: bot@acme.example")
    }
}

async fn pass_on(mut asking: TcpStream, mock: u16, lines: &'static str, transitions: Option<Value>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(asking.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    if let Some(transitions) = transitions.filter(|_| first.starts_with("GET ") && first.contains("/transitions?")) {
        let body = transitions.to_string();
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json";
        asking.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        return;
    }
    let mut answering = TcpStream::connect(("127.0.0.1", mock)).await.unwrap();
    answering.write_all(format!("{first}\r\nConnection: close\r\n{lines}{rest}").as_bytes()).await.unwrap();
    let _ = copy_bidirectional(&mut asking, &mut answering).await;
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(port: u16, user: &str) -> Client {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token-of-nobodys").unwrap();
    let text = format!("sites: [{{ id: acme, api_base: 'http://127.0.0.1:{port}', token_file: '{}'{user} }}]", token.display());
    Client::new(Sites::read("jira.yaml", &text).unwrap().get("acme").unwrap(), PATIENCE).unwrap()
}

fn adf(text: &str) -> Value {
    json!({ "type": "doc", "version": 1, "content": [{ "type": "paragraph", "content": [{ "type": "text", "text": text }] }] })
}

fn draft() -> Draft {
    let fields = json!({ "priority": { "name": "High" }, "components": [{ "name": "shop" }], "duedate": "2026-12-31" });
    Draft {
        project: "PAY".into(),
        issue_type: "Task".into(),
        summary: "Injection in the shop".into(),
        description: adf("What to do."),
        labels: vec!["faultline".into(), "faultline-1f".into()],
        fields: fields.as_object().unwrap().clone(),
        property: json!({ "fix": "1f", "generation": 7 }),
    }
}

#[tokio::test]
async fn every_request_is_one_that_the_contract_knows() {
    let Some(mock) = Mock::start() else { return };
    // An account's token, and a bearer's.
    for user in [", user: bot@acme.example", ""] {
        let client = mock.client(user);
        assert_eq!(client.myself().await.unwrap().name, "Mia Krystof");
        let issue = client.create(&draft()).await.unwrap();
        assert_eq!((issue.id.as_str(), issue.key.as_str()), ("10000", "ED-24"));
        assert_eq!(client.find("faultline-\"1f\\").await.unwrap()[0].issue.key, "ED-1");
        assert_eq!(client.read(&issue.id).await.unwrap().issue.id, "10002");
        let edit = Edit {
            summary: Some("Injection".into()),
            description: Some(adf("Done?")),
            property: Some(json!({ "fix": "1f" })),
            is_quiet: true,
        };
        client.edit(&issue.id, &edit).await.unwrap();
        client.edit(&issue.id, &Edit { property: edit.property, ..Edit::default() }).await.unwrap();
        client.ensure_label(&issue.id, "faultline-1f").await.unwrap();
        client.comment(&issue.id, &adf("It was found again.")).await.unwrap();
        client.link(&issue.id, "faultline:acme:1f", "https://faultline.example/fixes/1f", "Fix 1f").await.unwrap();
        let done = json!({ "resolution": { "name": "Done" } });
        // The example's issue has no status, and its transitions lead to a category that is none of Jira's: at work.
        let went = client.go_to(&issue.id, Target::Done, done.as_object().unwrap()).await.unwrap();
        assert!(matches!(went, Went::NoWay { .. }), "{went:?}");
        assert_eq!(client.go_to(&issue.id, Target::Open, done.as_object().unwrap()).await.unwrap(), Went::Already);
        let required = client.required_fields("ED", "Bug").await.unwrap();
        assert_eq!(required[0].key, "assignee");
    }
    // Of a workflow that leads somewhere.
    let to = json!({ "statusCategory": { "key": "done" } });
    let cause = json!({ "required": true, "schema": { "type": "array" }, "allowedValues": [{ "id": "7", "value": "Code" }] });
    for fields in [json!({}), json!({ "resolution": { "required": true }, "customfield_1": cause })] {
        let told = json!({ "transitions": [{ "id": "31", "name": "Weiter", "to": to, "fields": fields }] });
        let client = mock.behind("", Some(told)).await;
        let done = json!({ "resolution": { "name": "Done" } });
        assert_eq!(client.go_to("10000", Target::Done, done.as_object().unwrap()).await.unwrap(), Went::Moved);
    }
}

#[tokio::test]
async fn a_limit_that_is_met_asks_to_wait() {
    let Some(mock) = Mock::start() else { return };
    let client = mock.behind("Prefer: code=429\r\n", None).await;
    let waits = [
        client.myself().await.unwrap_err(),
        client.create(&draft()).await.unwrap_err(),
        client.find("faultline-1f").await.unwrap_err(),
        client.read("10000").await.unwrap_err(),
        client.ensure_label("10000", "faultline-1f").await.unwrap_err(),
        client.comment("10000", &adf("Again.")).await.unwrap_err(),
        client.link("10000", "faultline:acme:1f", "https://faultline.example", "Fix").await.unwrap_err(),
        client.required_fields("ED", "Bug").await.unwrap_err(),
    ];
    for wait in waits {
        assert!(matches!(wait, Trouble::Wait { after: Some(_), scope: Scope::Endpoint, .. }), "{wait:?}");
    }
    // And one who is refused is told.
    let closed = mock.behind("Prefer: code=401\r\n", None).await.myself().await.unwrap_err();
    assert!(matches!(closed, Trouble::Closed { .. }), "{closed:?}");
}
