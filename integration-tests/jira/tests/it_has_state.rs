//! What is done is seen: at once by who asks for an issue, later by who searches.
#![allow(clippy::unwrap_used)]

mod http;

use std::time::{Duration, SystemTime};

use faultline_fake_jira::{Category, Clock, FakeJira, Options};
use http::{Http, create, fields, issue, start, text};
use serde_json::json;

#[test]
fn ids_count_from_10001_and_keys_from_1() {
    let (fake, http) = start();
    assert_eq!([create(&http, "SEC"), create(&http, "ASK"), create(&http, "SEC")], ["10001", "10002", "10003"]);
    assert_eq!(fake.issues().iter().map(|issue| issue.key.as_str()).collect::<Vec<_>>(), ["SEC-1", "ASK-1", "SEC-2"]);
    assert_eq!(fake.count("createIssue"), 3);
    assert!(fake.requests().iter().all(|request| request.status == Some(201) && request.is_write() && request.is_done));
}

#[test]
fn search_is_behind_and_an_issue_is_not() {
    let clock = Clock::ByHand(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let fake = FakeJira::start(Options { lag: Duration::from_mins(1), clock, ..Options::default() });
    let http = Http::to(fake.url());
    let id = create(&http, "SEC");
    let marked = "project = SEC AND labels = \"mark\"";
    assert_eq!(http.get(&format!("/issue/{id}")).0, 200);
    assert!(http.found(marked).is_empty());
    let reconciled = http.post("/search/jql", &json!({"jql": marked, "reconcileIssues": [10001]})).1;
    assert_eq!(reconciled["issues"][0]["id"], "10001");
    fake.advance(Duration::from_secs(59));
    assert!(http.found(marked).is_empty());
    fake.advance(Duration::from_secs(1));
    assert_eq!(http.found(marked), ["10001"]);
    assert_eq!(http.post("/search/approximate-count", &json!({"jql": marked})).1["count"], 1);

    // An edit, and the end of an issue, are seen as late as its beginning.
    assert_eq!(http.put(&format!("/issue/{id}"), &json!({"update": {"labels": [{"remove": "mark"}, {"add": "other"}]}})).0, 204);
    assert_eq!(fake.issue(&id).unwrap().labels, ["other"]);
    assert_eq!((http.found(marked).len(), http.found("labels in (\"other\", \"third\")").len()), (1, 0));
    assert_eq!(http.found("updated >= -1m"), ["10001"], "by what search knows, it was updated 60 s ago");
    fake.advance(Duration::from_mins(1));
    assert_eq!((http.found(marked).len(), http.found("labels in (\"other\", \"third\")").len()), (0, 1));
    fake.as_person().delete(&id).unwrap();
    assert_eq!((http.get(&format!("/issue/{id}")).0, http.found("labels = other").len()), (404, 1));
    fake.advance(Duration::from_mins(1));
    assert!(http.found("labels = other").is_empty());
}

#[test]
fn pages_follow_each_other_and_only_what_is_asked_for_is_in_them() {
    let (_fake, http) = start();
    for _ in 0..3 {
        create(&http, "SEC");
    }
    let first = http.post("/search/jql", &json!({"jql": "project = SEC", "maxResults": 2})).1;
    assert_eq!((first["issues"].clone(), first["isLast"].clone()), (json!([{"id": "10001"}, {"id": "10002"}]), json!(false)));
    let next = json!({"jql": "project = SEC", "maxResults": 2, "nextPageToken": first["nextPageToken"], "fields": ["summary"]});
    let last = http.post("/search/jql", &next).1;
    assert_eq!((last["issues"][0]["fields"].clone(), last["isLast"].clone()), (json!({"summary": "A flaw"}), json!(true)));
    let refused = [
        json!({"jql": "ORDER BY key"}),
        json!({"jql": "project = NONE"}),
        json!({"jql": "project = SEC", "startAt": 1}),
        json!({"jql": "project = SEC", "maxResults": 0}),
        json!({"jql": "project = SEC", "nextPageToken": "x"}),
    ];
    for body in refused {
        assert_eq!(http.post("/search/jql", &body).0, 400, "{body}");
    }
    assert_eq!(http.get("/search?jql=project%20=%20SEC").0, 410);
}

#[test]
fn of_a_bulk_some_may_fail() {
    let (fake, http) = start();
    let mut elements: Vec<_> = (0..50).map(|number| issue("SEC", &format!("Flaw {number}"))).collect();
    for bad in [3, 17, 49] {
        elements[bad] = issue("SEC", "");
    }
    let (status, answer) = http.post("/issue/bulk", &json!({"issueUpdates": elements}));
    let failed: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["failedElementNumber"].as_u64().unwrap()).collect();
    assert_eq!((status, answer["issues"].as_array().unwrap().len(), failed), (201, 47, vec![3, 17, 49]));
    elements.push(issue("SEC", "One too many"));
    assert_eq!((http.post("/issue/bulk", &json!({"issueUpdates": elements})).0, fake.issues().len()), (400, 47));
}

#[test]
fn what_is_wrong_is_said_of_its_field() {
    let (fake, http) = start();
    let wrong = |project: &str, field: &str, value: serde_json::Value| {
        let mut fields = fields(project, "A flaw", "mark");
        fields[field] = value;
        let (status, answer) = http.post("/issue", &json!({"fields": fields}));
        assert!(status == 400 && answer["errors"][field].is_string(), "{field}: {status} {answer}");
    };
    // Four bytes in UTF-8 are two units for Jira: 128 of them are too long.
    for summary in ["", " ", "two\nlines", &"x".repeat(256), &"\u{1f41e}".repeat(128)] {
        wrong("SEC", "summary", json!(summary));
    }
    wrong("SEC", "description", json!("a string"));
    wrong("SEC", "description", text(""));
    wrong("SEC", "description", text(&"x".repeat(32_768)));
    wrong("SEC", "labels", json!(["with blank"]));
    wrong("SEC", "assignee", json!({"accountId": "gone"}));
    wrong("SEC", "issuetype", json!({"name": "Story"}));
    wrong("SEC", "customfield_99999", json!("x"));
    wrong("NONE", "project", json!({"key": "NONE"}));
    wrong("OLD", "project", json!({"key": "OLD"}));
    wrong("BARE", "labels", json!(["mark"]));
    wrong("REQ", "customfield_10010", json!(null));
    wrong("REQ", "customfield_10010", json!({"value": "Green"}));
    fake.set_active("5b10a2844c20165700ede21g", false);
    wrong("SEC", "assignee", json!({"accountId": "5b10a2844c20165700ede21g"}));
    assert!(fake.issues().is_empty());
    let mut good = fields("REQ", &"\u{1f41e}".repeat(127), "mark");
    good["customfield_10010"] = json!({"value": "Blue"});
    good["description"] = text(&"x".repeat(32_767));
    assert_eq!(http.post("/issue", &json!({"fields": good})).0, 201);
}

#[test]
fn workflows_differ() {
    let (fake, http) = start();
    let ways = |id: &str| http.get(&format!("/issue/{id}/transitions")).1["transitions"].as_array().unwrap().clone();
    let to_done = |id: &str| ways(id).iter().find(|way| way["to"]["statusCategory"]["key"] == "done").map(|way| way["id"].clone());
    let go = |id: &str, body: serde_json::Value| http.post(&format!("/issue/{id}/transitions"), &body);

    let simple = create(&http, "SEC");
    assert_eq!(go(&simple, json!({"transition": {"id": to_done(&simple).unwrap()}})).0, 204);
    assert_eq!((fake.status_category(&simple), fake.issue(&simple).unwrap().resolution.as_deref()), (Some(Category::Done), Some("Done")));
    assert_eq!(to_done(&create(&http, "OPEN")), None);
    assert!(fake.as_person().close("OPEN-1").is_err());

    let asked = create(&http, "ASK");
    let way = to_done(&asked).unwrap();
    let (status, answer) = go(&asked, json!({"transition": {"id": way}}));
    assert_eq!((status, answer["errors"]["resolution"].as_str()), (400, Some("Resolution is required.")));
    assert_eq!(go(&asked, json!({"transition": {"id": way}, "fields": {"resolution": {"name": "Won't Do"}}})).0, 204);
    assert_eq!(fake.issue(&asked).unwrap().resolution.as_deref(), Some("Won't Do"));
    assert_eq!(go(&asked, json!({"transition": {"id": way}})).0, 400, "from where it is that way does not lead on");

    let never = create(&http, "NORES");
    let way = to_done(&never).unwrap();
    assert_eq!(go(&never, json!({"transition": {"id": way}, "fields": {"resolution": {"name": "Done"}}})).0, 400);
    assert_eq!((go(&never, json!({"transition": {"id": way}})).0, fake.issue(&never).unwrap().resolution), (204, None));
}

#[test]
fn persons_do_what_they_like() {
    let (fake, http) = start();
    let id = create(&http, "SEC");
    let person = fake.as_person();
    person.close(&id).unwrap();
    person.reopen(&id).unwrap();
    person.assign(&id, Some("5b10ac8d82e05b22cc7d4ef5")).unwrap();
    person.remove_label(&id, "mark").unwrap();
    person.edit_summary(&id, "Mine").unwrap();
    person.comment(&id, "Why?").unwrap();
    let log = http.get(&format!("/issue/{id}/changelog")).1;
    let changed: Vec<_> = log["values"].as_array().unwrap().iter().map(|change| change["items"][0]["field"].as_str().unwrap()).collect();
    assert_eq!(changed, ["status", "status", "assignee", "labels", "summary"]);
    assert_ne!(log["values"][0]["author"]["accountId"], json!(fake.account()));

    person.move_to(&id, "ASK").unwrap();
    let moved = http.get("/issue/SEC-1").1;
    assert_eq!((&moved["id"], &moved["key"], &moved["fields"]["project"]["key"]), (&json!(id), &json!("ASK-1"), &json!("ASK")));
    person.hide(&id).unwrap();
    assert_eq!((http.get("/issue/ASK-1").0, http.found("labels = mark").len()), (404, 0));
    person.unhide(&id).unwrap();
    person.forbid("ASK", "EDIT_ISSUES").unwrap();
    assert_eq!(http.put("/issue/ASK-1", &json!({"fields": {"summary": "Ours"}})).0, 403);
    let may = http.get("/mypermissions?permissions=EDIT_ISSUES,CREATE_ISSUES&projectKey=ASK").1;
    let has = |permission: &str| may["permissions"][permission]["havePermission"].clone();
    assert_eq!((has("EDIT_ISSUES"), has("CREATE_ISSUES")), (json!(false), json!(true)));
    person.archive("ASK", true).unwrap();
    assert_eq!(http.get("/project/ASK").1["archived"], true);
    fake.set_token("new");
    assert_eq!(http.get("/myself").0, 401);
}

#[test]
fn a_remote_link_is_replaced_by_its_global_id() {
    let (fake, http) = start();
    let path = format!("/issue/{}/remotelink", create(&http, "SEC"));
    let link = |title: &str| json!({"globalId": "a", "object": {"url": "https://x.example", "title": title}});
    let mut first = link("One");
    first["relationship"] = json!("caused by");
    assert_eq!([http.post(&path, &first).0, http.post(&path, &link("Two")).0], [201, 200]);
    let links = http.get(&path).1;
    assert_eq!((links.as_array().unwrap().len(), &links[0]["object"]["title"]), (1, &json!("Two")));
    assert!(links[0].get("relationship").is_none(), "what is not given any more is gone");
    assert_eq!(fake.issue("SEC-1").unwrap().remote_links.len(), 1);
}

#[test]
fn a_process_is_controlled_by_http() {
    let (fake, http) = start();
    create(&http, "SEC");
    let control = |method: &str, path: &str, body: &'static str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("{}/fake/{path}", fake.url())).body(body).send().unwrap()
    };
    assert_eq!(control("GET", "issues", "").json::<serde_json::Value>().unwrap()[0]["key"], "SEC-1");
    assert_eq!([control("POST", "issues/SEC-1/close", "").status(), control("POST", "issues/SEC-9/close", "").status()], [204, 404]);
    assert_eq!(fake.status_category("SEC-1"), Some(Category::Done));
    assert_eq!([control("POST", "lag", "1m").status(), control("POST", "lag", "soon").status()], [204, 400]);
    assert!(control("POST", "down", "").status().is_success() && http.send("GET", "/myself", None).is_err());
    assert!(control("POST", "up", "").status().is_success() && http.get("/myself").0 == 200);
}
