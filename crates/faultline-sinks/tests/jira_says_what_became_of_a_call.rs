//! Calls of Jira over real sockets: what was done, what was surely not, and what nobody knows. Nothing tells the token.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use faultline_sinks::jira::{Category, Client, Draft, Edit, Scope, Sites, Target, Trouble, Went};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "ATATT3x-the-token-of-mine";
/// So long that nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(30);
/// So short that a test can wait for it.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: String,
    query: String,
    authorization: Option<String>,
    body: Value,
}

/// A Jira that answers what it is to, and keeps what it was asked.
#[derive(Clone, Default)]
struct Jira {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
}

impl Jira {
    /// Listens for as long as the test runs; gives where.
    async fn answering(answers: impl IntoIterator<Item = Response>) -> (Self, String) {
        let jira = Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(hear).with_state(jira.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (jira, base)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn hear(State(jira): State<Jira>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let asked = Asked { method, path: uri.path().to_owned(), query: uri.query().unwrap_or_default().to_owned(), authorization, body };
    jira.asked.lock().unwrap().push(asked);
    jira.answers.lock().unwrap().pop_front().unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response())
}

fn json(status: u16, body: Value) -> Response {
    with(status, &[("content-type", "application/json;charset=UTF-8")], body.to_string())
}

fn with(status: u16, headers: &[(&'static str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

fn client(base: &str, more: &str, timeout: Duration) -> Client {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let text = format!("sites: [{{ id: acme, api_base: '{base}', token_file: '{}'{more} }}]", token.display());
    let sites = Sites::read("jira.yaml", &text).unwrap();
    Client::new(sites.get("acme").unwrap(), timeout).unwrap()
}

/// A client of a Jira that answers so.
async fn asking(answers: impl IntoIterator<Item = Response>) -> (Jira, Client) {
    let (jira, base) = Jira::answering(answers).await;
    (jira, client(&base, ", user: bot@acme.example", PATIENCE))
}

fn draft() -> Draft {
    Draft {
        project: "PAY".into(),
        issue_type: "Task".into(),
        summary: "Injection in the shop".into(),
        description: json!({ "type": "doc", "version": 1, "content": [] }),
        labels: vec!["faultline-1f".into()],
        fields: Map::new(),
        property: json!({ "fix": "1f" }),
    }
}

fn issue(id: &str, category: &str) -> Value {
    let status = json!({ "name": "?", "statusCategory": { "key": category } });
    json!({ "id": id, "key": format!("PAY-{id}"), "fields": { "labels": ["faultline-1f"], "status": status, "project": { "key": "PAY" } } })
}

fn assert_tells_no_token(shown: &str) {
    let encoded = BASE64_STANDARD.encode(format!("bot@acme.example:{TOKEN}"));
    assert!(!shown.contains(TOKEN) && !shown.contains(&encoded), "{shown}");
}

/// Somebody who answers each connection with the same bytes, and then keeps it open or closes it.
async fn saying(bytes: &'static str, hangs: bool) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // What is asked fits into one piece, or its rest is read before the end: else the answer would be lost with the connection.
                let _ = stream.read(&mut [0; 16_384]).await;
                stream.write_all(bytes.as_bytes()).await.unwrap();
                if !hangs {
                    stream.shutdown().await.unwrap();
                }
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            });
        }
    });
    base
}

#[tokio::test]
async fn each_answer_comes_out_as_what_it_means() {
    let said = json!({ "errorMessages": ["Field 'priority' is required"], "errors": { "assignee": "cannot be assigned" } });
    let limited = [("retry-after", "3"), ("ratelimit-reason", "jira-per-issue-on-write")];
    let (_, client) = asking([
        json(201, json!({ "id": "10000", "key": "PAY-1", "self": "https://acme.example" })),
        json(400, said.clone()),
        with(429, &limited, ""),
        json(500, said.clone()),
        with(200, &[("content-type", "text/html;charset=UTF-8")], "<html>Log in</html>"),
        json(401, json!({ "code": 401, "message": "Unauthorized" })),
        json(404, json!({ "errorMessages": ["Issue does not exist"], "errors": {} })),
        with(404, &[("content-type", "text/html")], "<html>"),
    ])
    .await;
    assert_eq!(client.create(&draft()).await.unwrap().key, "PAY-1");
    match client.create(&draft()).await.unwrap_err() {
        Trouble::Refused { status: 400, fields, .. } => assert_eq!(fields["assignee"], "cannot be assigned"),
        other => panic!("{other}"),
    }
    match client.create(&draft()).await.unwrap_err() {
        Trouble::Wait { after, scope: Scope::Issue, .. } => assert_eq!(after, Some(Duration::from_secs(3))),
        other => panic!("{other}"),
    }
    for _ in 0..2 {
        let trouble = client.create(&draft()).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Unknown { .. }) && !trouble.is_surely_not_done(), "{trouble}");
    }
    let trouble = client.create(&draft()).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Closed { .. }) && trouble.is_surely_not_done(), "{trouble}");
    assert_eq!(client.read("10000").await.unwrap_err(), Trouble::Gone);
    assert!(matches!(client.read("10000").await.unwrap_err(), Trouble::Closed { .. }));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_stays() {
    let (elsewhere, other) = Jira::answering([]).await;
    for status in [301, 302, 303, 307, 308] {
        let (jira, client) = asking([with(status, &[("location", &format!("{other}/rest/api/3/issue"))], "")]).await;
        let trouble = client.create(&draft()).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Closed { .. }), "{status}: {trouble}");
        assert_eq!(jira.asked().len(), 1);
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let trouble = client(&base, "", PATIENCE).create(&draft()).await.unwrap_err();
    assert!(matches!(trouble, Trouble::NotSent { .. }) && trouble.is_surely_not_done(), "{trouble}");
    // And where somebody listens who does not speak TLS.
    let base = saying("HTTP/1.1 400 Bad Request\r\n\r\n", false).await.replace("http://", "https://");
    let trouble = client(&base, "", PATIENCE).create(&draft()).await.unwrap_err();
    assert!(matches!(trouble, Trouble::NotSent { .. }), "{trouble}");
}

#[tokio::test]
async fn what_breaks_off_after_it_was_asked_is_unknown() {
    let half = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"id\":\"10000\",";
    for (bytes, hangs) in [("", false), ("", true), (half, false), (half, true), ("HTTP/1.1 2", false), ("nonsense\r\n\r\n", false)] {
        let base = saying(bytes, hangs).await;
        let trouble = client(&base, "", if hangs { IMPATIENCE } else { PATIENCE }).create(&draft()).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Unknown { .. }), "{bytes:?}, {hangs}: {trouble}");
        assert_tells_no_token(&format!("{trouble} {trouble:?}"));
    }
    // A refusal is one by its words: of half of them it is not known whose they are.
    let half = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"errorMessages\":[";
    let trouble = client(&saying(half, false).await, "", PATIENCE).create(&draft()).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unknown { .. }), "{trouble}");
    // What is asked of who is overrun is known from the first line.
    let half = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\ncontent-length: 100\r\n\r\n{";
    let trouble = client(&saying(half, false).await, "", PATIENCE).create(&draft()).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Wait { after: Some(_), scope: Scope::Endpoint, .. }), "{trouble}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_it() {
    let long = format!("{{\"id\":\"1\",\"key\":\"A-1\",\"x\":\"{}\"}}", "x".repeat(5 << 20));
    let (_, client) = asking([with(201, &[("content-type", "application/json")], long)]).await;
    let trouble = client.create(&draft()).await.unwrap_err();
    assert!(matches!(&trouble, Trouble::Unknown { reason, .. } if reason.contains("longer than")), "{trouble}");
}

#[tokio::test]
async fn the_token_is_told_to_the_site_and_to_nobody_else() {
    let encoded = BASE64_STANDARD.encode(format!("bot@acme.example:{TOKEN}"));
    let echo = json!({ "errorMessages": [format!("Authorization: Basic {encoded}"), TOKEN], "errors": { TOKEN: TOKEN } });
    let said = [(400, "refused"), (401, "closed"), (409, "wait"), (429, "wait"), (500, "unknown")];
    let (jira, client) = asking(said.iter().map(|(status, _)| json(*status, echo.clone()))).await;
    for (status, _) in said {
        let trouble = client.create(&draft()).await.unwrap_err();
        assert_tells_no_token(&format!("{status} {trouble} {trouble:?}"));
    }
    assert_tells_no_token(&format!("{client:?}"));
    assert!(jira.asked().iter().all(|asked| asked.authorization.as_deref() == Some(&*format!("Basic {encoded}"))));

    let (jira, base) = Jira::answering([json(200, json!({ "accountId": "5b10", "displayName": "Faultline" }))]).await;
    let account = self::client(&base, "", PATIENCE).myself().await.unwrap();
    assert_eq!((account.account_id.as_str(), account.name.as_str()), ("5b10", "Faultline"));
    assert_eq!(jira.asked()[0].authorization.as_deref(), Some(&*format!("Bearer {TOKEN}")));
}

#[tokio::test]
async fn what_is_no_token_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let text = format!("sites: [{{ id: acme, api_base: 'https://acme.atlassian.net', token_file: '{}' }}]", token.display());
    let sites = Sites::read("jira.yaml", &text).unwrap();
    let error = || Client::new(sites.get("acme").unwrap(), PATIENCE).unwrap_err().to_string();
    assert!(error().starts_with("the token of acme cannot be read from"));
    for wrong in ["", "short", "two words-of-mine", "of-mine-ä-of-mine"] {
        std::fs::write(&token, wrong).unwrap();
        let told = error();
        assert!(told.contains("is no token for acme") && !told.contains("mine"), "{told}");
    }
}

#[tokio::test]
async fn a_search_reads_all_pages_and_gives_the_lowest_id_first() {
    let (jira, client) = asking([
        json(200, json!({ "issues": [issue("10010", "done"), issue("9999", "new")], "nextPageToken": "t2" })),
        json(200, json!({ "issues": [issue("9999", "new"), issue("10009", "odd")], "isLast": true, "nextPageToken": "t3" })),
    ])
    .await;
    let found = client.find("faultline-1f").await.unwrap();
    let told: Vec<_> = found.iter().map(|found| (found.issue.id.as_str(), found.category)).collect();
    assert_eq!(told, [("9999", Category::New), ("10009", Category::Indeterminate), ("10010", Category::Done)]);
    assert_eq!((found[0].labels[0].as_str(), found[0].project.as_str()), ("faultline-1f", "PAY"));
    let asked = jira.asked();
    assert_eq!(asked[0].body["jql"], r#"labels = "faultline-1f""#);
    assert_eq!((asked[0].body.get("nextPageToken"), &asked[1].body["nextPageToken"]), (None, &json!("t2")));
    // One that never ends is left.
    let page = |_| json(200, json!({ "issues": [issue("1", "new")], "nextPageToken": "again" }));
    let (jira, client) = asking((0..20).map(page)).await;
    assert_eq!((client.find("m").await.unwrap().len(), jira.asked().len()), (1, 10));
}

#[tokio::test]
async fn an_issue_goes_where_it_is_to_be_by_one_transition() {
    let ways = |category: &str, fields: Value| {
        let to = json!({ "statusCategory": { "key": category } });
        json(200, json!({ "transitions": [{ "id": "31", "name": "Weiter", "to": to, "fields": fields }] }))
    };
    let done = json!({ "resolution": { "name": "Done" } });
    let done = done.as_object().unwrap();
    let (jira, client) = asking([
        json(200, issue("1", "done")),
        json(200, issue("1", "new")),
        ways("done", json!({ "resolution": { "required": true } })),
        with(204, &[], ""),
        json(200, issue("1", "new")),
        ways("indeterminate", json!({})),
        json(200, issue("1", "done")),
        ways("new", json!({})),
        json(409, json!({ "errorMessages": ["in progress"], "errors": {} })),
    ])
    .await;
    assert_eq!(client.go_to("1", Target::Done, done).await.unwrap(), Went::Already);
    assert_eq!(client.go_to("1", Target::Done, done).await.unwrap(), Went::Moved);
    let sent = &jira.asked()[3];
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("POST", "/rest/api/3/issue/1/transitions"));
    assert_eq!(sent.body, json!({ "transition": { "id": "31" }, "fields": { "resolution": { "name": "Done" } } }));
    assert!(matches!(client.go_to("1", Target::Done, done).await.unwrap(), Went::NoWay { .. }));
    let trouble = client.go_to("1", Target::Open, done).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Wait { scope: Scope::Issue, .. }), "{trouble}");
}

#[tokio::test]
async fn an_issue_is_written_where_it_differs() {
    let (jira, client) = asking((0..4).map(|_| with(204, &[], ""))).await;
    client.edit("10000", &Edit::default()).await.unwrap();
    client.edit("10000", &Edit { summary: Some("new".into()), is_quiet: true, ..Edit::default() }).await.unwrap();
    client.edit("10000", &Edit { summary: Some("new".into()), ..Edit::default() }).await.unwrap();
    client.ensure_label("10000", "faultline-1f").await.unwrap();
    let asked = jira.asked();
    assert_eq!(asked.iter().map(|asked| asked.query.as_str()).collect::<Vec<_>>(), ["notifyUsers=false", "", ""]);
    assert_eq!(asked[2].body, json!({ "update": { "labels": [{ "add": "faultline-1f" }] } }));
    assert!(asked.iter().all(|asked| asked.path == "/rest/api/3/issue/10000"));
    for id in ["", "..", "1/../2", "1?x"] {
        assert!(matches!(client.ensure_label(id, "m").await.unwrap_err(), Trouble::NotSent { .. }), "{id}");
    }
    assert_eq!(jira.asked().len(), 3);
}

#[tokio::test]
async fn a_path_before_the_api_is_kept() {
    let (jira, base) = Jira::answering([json(200, json!({ "accountId": "5b10" }))]).await;
    client(&format!("{base}/ex/jira/11-22/"), ", browse_base: 'https://acme.atlassian.net'", PATIENCE).myself().await.unwrap();
    assert_eq!(jira.asked()[0].path, "/ex/jira/11-22/rest/api/3/myself");
}

#[tokio::test]
async fn what_a_project_asks_is_looked_up_by_the_name_of_a_type() {
    let types = || json(200, json!({ "issueTypes": [{ "id": "3", "name": "Task" }], "total": 1 }));
    let field = |id: &str| json!({ "fieldId": id, "name": id, "required": true, "hasDefaultValue": false });
    let (jira, client) = asking([
        types(),
        json(200, json!({ "fields": [field("summary")], "total": 2 })),
        json(200, json!({ "fields": [field("customfield_1")], "total": 2 })),
        types(),
        json(
            200,
            json!({ "permissions": { "EDIT_ISSUES": { "havePermission": true }, "ADMINISTER_PROJECTS": { "havePermission": true } } }),
        ),
    ])
    .await;
    let required = client.required_fields("PAY", "task").await.unwrap();
    assert_eq!(required.iter().map(|field| field.key.as_str()).collect::<Vec<_>>(), ["summary", "customfield_1"]);
    match client.required_fields("PAY", "Bug").await.unwrap_err() {
        Trouble::Refused { fields, .. } => assert!(fields["issuetype"].contains("Task")),
        other => panic!("{other}"),
    }
    let permissions = client.permissions("PAY").await.unwrap();
    assert!(
        permissions.may_be_quiet() && permissions.lacking().contains(&"CREATE_ISSUES") && !permissions.lacking().contains(&"EDIT_ISSUES")
    );
    let asked = jira.asked();
    assert_eq!(
        (asked[1].path.as_str(), asked[2].query.as_str()),
        ("/rest/api/3/issue/createmeta/PAY/issuetypes/3", "startAt=1&maxResults=50")
    );
}
