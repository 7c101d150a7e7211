//! Every kind of request goes through Prism, which holds it and its answer against Atlassian's contract with our overlay.
#![allow(clippy::unwrap_used)]

mod http;

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use faultline_fake_jira::{FakeJira, Fault, Limit, Options, RetryAfter};
use http::{Http, fields, issue, text};
use serde_json::{Value, json};

/// Prism takes some seconds to read the contract, and more on a busy machine.
const START: std::time::Duration = std::time::Duration::from_mins(2);

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/prism"));
    command.args(arguments);
    command
}

/// Prism before a fake, gone with the test.
struct Prism {
    child: Child,
    url: String,
}

impl Prism {
    /// Nothing where Prism cannot be had, which is said, and is a failure in CI.
    fn before(fake: &FakeJira) -> Option<Self> {
        let ready = script(&["ready"]).output().unwrap();
        if !ready.status.success() {
            let reason = String::from_utf8_lossy(&ready.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "Prism is not to be had: {reason}");
            // Not by a macro, whose words a passing test keeps to itself.
            std::io::stderr().write_all(format!("SKIPPED: what needs Prism: {reason}\n").as_bytes()).unwrap();
            return None;
        }
        // Below the ports that systems give to outgoing connections.
        let first = RandomState::new().hash_one("port") % 2_000;
        let port =
            (0..2_000).map(|next| 13_000 + ((first + next) % 2_000) as u16).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let port = port.unwrap();
        let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/jira-cloud-v3.strict.json");
        let mut child = script(&["proxy", &port.to_string(), contract, fake.url()]).stdout(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "Prism ended while it started");
            assert!(Instant::now() < until, "Prism did not open its port");
            std::thread::yield_now();
        }
        Some(Self { child, url: format!("http://127.0.0.1:{port}") })
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer's content, if it is the fake's own, of this status, and breaks nothing.
fn kept(http: &Http, method: &str, path: &str, body: Option<&Value>, expected: u16) -> Value {
    let response = http.send(method, path, body).unwrap();
    let (status, violations) = (response.status().as_u16(), response.headers().get("sl-violations").cloned());
    let content = response.text().unwrap();
    assert!(violations.is_none() && !content.contains("stoplight.io/prism/errors"), "{method} {path}: {content} {violations:?}");
    assert_eq!(status, expected, "{method} {path}: {content}");
    serde_json::from_str(&content).unwrap_or_default()
}

#[test]
fn every_kind_of_request_and_answer() {
    let fake = FakeJira::start(Options::default());
    let Some(prism) = Prism::before(&fake) else { return };
    let http = Http::to(&prism.url);
    let get = |path: &str| kept(&http, "GET", path, None, 200);
    let post = |path: &str, body: Value, status| kept(&http, "POST", path, Some(&body), status);
    let put = |path: &str, body: Value, status| kept(&http, "PUT", path, Some(&body), status);

    for path in ["/myself", "/serverInfo", "/field", "/user/search?query=mia"] {
        get(path);
    }
    get("/issue/createmeta/REQ/issuetypes");
    assert!(
        get("/issue/createmeta/REQ/issuetypes/10001")["fields"]
            .as_array()
            .unwrap()
            .iter()
            .any(|field| field["fieldId"] == "customfield_10010")
    );

    let mut whole = fields("SEC", "A flaw", "mark");
    whole["description"] = text("What it is");
    whole["priority"] = json!({"name": "High"});
    whole["duedate"] = json!("2026-12-24");
    whole["assignee"] = json!({"accountId": "5b10a2844c20165700ede21g"});
    let made = post("/issue", json!({"fields": whole, "properties": [{"key": "faultline", "value": {"generation": 1}}]}), 201);
    let id = made["id"].as_str().unwrap().to_owned();
    let at = |rest: &str| format!("/issue/{id}{rest}");
    assert_eq!(id, "10001");
    // Good by the contract, and refused by the state.
    post("/issue", issue("NONE", "A flaw"), 400);
    let some = json!({"issueUpdates": [issue("SEC", "Two"), issue("NONE", "None"), issue("SEC", "Three")]});
    assert_eq!(post("/issue/bulk", some, 201)["errors"][0]["failedElementNumber"], 1);
    post("/issue/bulk", json!({"issueUpdates": [issue("NONE", "None")]}), 400);
    let fetched = post("/issue/bulkfetch", json!({"issueIdsOrKeys": [id, "SEC-99"], "fields": ["summary", "status"]}), 200);
    assert_eq!(fetched["issueErrors"][0]["id"], "SEC-99");
    get(&at(""));
    get(&at("?fields=summary&properties=faultline"));
    kept(&http, "GET", "/issue/SEC-99", None, 404);

    put(&at(""), json!({"fields": {"summary": "Another flaw"}, "update": {"labels": [{"add": "more"}, {"remove": "mark"}]}}), 204);
    put(&at(""), json!({"fields": {"assignee": {"accountId": "nobody"}}}), 400);
    post(&at("/transitions"), json!({"transition": {"id": "31"}}), 204);
    post(&at("/transitions"), json!({"transition": {"id": "99"}}), 400);
    get(&at("/transitions?expand=transitions.fields"));
    get(&at("/changelog"));
    let asked = post("/issue", issue("ASK", "Wants a resolution"), 201);
    get(&format!("/issue/{}/transitions?expand=transitions.fields", asked["key"].as_str().unwrap()));
    let close = json!({"transition": {"id": "221"}, "fields": {"resolution": {"name": "Done"}}});
    post(&format!("/issue/{}/transitions", asked["key"].as_str().unwrap()), close, 204);

    post(&at("/comment"), json!({"body": text("Seen again")}), 201);
    get(&at("/comment?orderBy=-created"));
    let link = json!({"globalId": "faultline:1", "object": {"url": "https://faultline.example/1", "title": "The risk"}});
    post(&at("/remotelink"), link.clone(), 201);
    post(&at("/remotelink"), link, 200);
    // Without a globalId it is a list, of which the contract's schema knows nothing, though its example does.
    get(&at("/remotelink?globalId=faultline:1"));
    put(&at("/properties/faultline"), json!({"generation": 2}), 200);
    // No bare string: Prism passes such a body on without its quotes.
    put(&at("/properties/other"), json!(["text"]), 201);
    get(&at("/properties"));
    get(&at("/properties/faultline"));
    kept(&http, "GET", &at("/properties/none"), None, 404);

    get("/search/jql?jql=project%20%3D%20SEC&fields=summary&maxResults=1");
    let page =
        post("/search/jql", json!({"jql": "labels = \"mark\"", "maxResults": 1, "fields": ["*all"], "reconcileIssues": [10001]}), 200);
    post("/search/jql", json!({"jql": "labels = \"mark\"", "maxResults": 1, "nextPageToken": page["nextPageToken"]}), 200);
    post("/search/jql", json!({"jql": "summary ~ x"}), 400);
    post("/search/approximate-count", json!({"jql": "project = SEC"}), 200);

    kept(&Http::with_token(&prism.url, "ended"), "GET", "/myself", None, 401);
    fake.inject(Fault::rate_limited(Limit::Burst, RetryAfter::Seconds(3)));
    post("/issue", issue("SEC", "Too many"), 429);
    assert_eq!(fake.requests().len(), 40, "Prism answered some of them itself");
}

#[test]
fn what_breaks_the_contract_does_not_pass() {
    let fake = FakeJira::start(Options::default());
    let Some(prism) = Prism::before(&fake) else { return };
    let http = Http::to(&prism.url);
    let long = "x".repeat(256);
    for (path, body) in
        [("/issue", issue("SEC", &long)), ("/issue", json!({"fields": {}})), ("/search/jql", json!({"jql": "project = SEC", "startAt": 1}))]
    {
        let (through, _) = http.post(path, &body);
        let (direct, _) = Http::to(fake.url()).post(path, &body);
        assert!(through >= 400 && direct == 400, "{path}: {through} {direct}");
    }
    assert!(fake.issues().is_empty());
}
