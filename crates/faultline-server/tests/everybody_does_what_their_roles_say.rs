//! Every role at every kind of place, at every route: what is open, what is refused, and what is as if it were not there.

// What fails here fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{
    NOW, Running, answer, apply, apply_counted, apply_finding, apply_finding_of, apply_outcome, apply_risk, finding_id, risk, shop, token,
};
use faultline_model::access::{Granted, Role, Roles, TokenRecord, TokenScope, Where};
use faultline_model::avro;
use faultline_model::catalog::{CatalogRecord, Node, Service, node_key, service_key};
use faultline_model::decision::OutcomeStatus;
use faultline_model::exception::{AskedTerms, Scope, Stage, Step, StepKind, StepRecord};
use faultline_model::id::Id;
use faultline_model::register::RegisterEntry;
use faultline_model::risk::id_of;
use faultline_model::time::Timestamp;
use faultline_server::routes;
use serde_json::{Value, json};

/// Where a role may hold, seen from the service shop: it belongs to retail, which belongs to acme; bank is another part of acme.
const PLACES: [&str; 5] = ["*", "acme", "retail", "service/shop", "bank"];

/// What becomes of a request about shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    Open,
    Refused,
    /// As if it were not there.
    Hidden,
}

use Becomes::{Hidden, Open, Refused};

/// What each route takes, in words of its own: this table is what docs/access.md promises.
fn becomes(method: &str, path: &str, role: &str, at: &str) -> Becomes {
    let is_everywhere = at == "*";
    let has_shop = at != "bank";
    let allowed = |is: bool| if is { Open } else { Refused };
    let decides = ["triager", "owner", "admin"].contains(&role);
    match (method, path) {
        // Everybody sees lists, of what is theirs.
        (_, "/healthz" | "/readyz" | "/v1/backlog" | "/v1/whoami")
        | ("GET", "/v1/risks" | "/v1/findings" | "/v1/summary" | "/v1/services" | "/v1/nodes" | "/v1/exceptions")
        | ("POST", "/v1/exceptions/preview") => Open,
        ("GET", "/v1/exceptions/{id}" | "/v1/risks/{id}" | "/v1/findings/{id}" | "/v1/trace/{id}" | "/v1/outcomes/{id}") => {
            if has_shop {
                Open
            } else {
                Hidden
            }
        }
        ("GET", "/v1/catalog" | "/metrics" | "/v1/sinks" | "/v1/tickets/plan") | ("POST", "/v1/tickets/plan") => allowed(is_everywhere),
        ("POST", "/v1/decisions" | "/v1/exceptions") if decides && !has_shop => Hidden,
        ("POST", "/v1/exceptions/{id}/steps") if !has_shop => Hidden,
        ("POST", "/v1/decisions" | "/v1/exceptions" | "/v1/exceptions/{id}/steps") => allowed(decides),
        ("POST", "/v1/retractions") => allowed(["owner", "admin"].contains(&role) && has_shop),
        ("POST", "/v1/reports" | "/v1/intel" | "/v1/dead-letters/redrive" | "/v1/tokens" | "/v1/tokens/{id}/revoke")
        | ("PUT", "/v1/catalog")
        | ("GET", "/v1/dead-letters" | "/v1/dead-letters/{id}" | "/v1/topics/{topic}" | "/v1/topics/{topic}/{partition}" | "/v1/tokens") => {
            allowed(role == "admin" && is_everywhere)
        }
        _ => panic!("nobody decided who may {method} {path}"),
    }
}

/// A request about shop, as its owner would send it.
fn request(method: &str, path: &str) -> (String, Option<Value>) {
    let risk = id_of("shop", finding_id(1)).to_string();
    let path_of = |id: &str| path.replace("{id}", id);
    match (method, path) {
        (_, "/v1/risks/{id}") => (path_of(&risk), None),
        (_, "/v1/findings/{id}" | "/v1/trace/{id}") => (path_of(&finding_id(1).to_string()), None),
        ("POST", "/v1/exceptions/preview") => (path.into(), Some(json!({ "scope": { "vulnerability": "CVE-2020-1" } }))),
        ("POST", "/v1/exceptions") => (path.into(), Some(json!({ "terms": terms(&["service/shop"]) }))),
        ("POST", "/v1/exceptions/{id}/steps") => (path_of(&exception().to_string()), Some(json!({ "step": "request" }))),
        (_, "/v1/exceptions/{id}") => (path_of(&exception().to_string()), None),
        (_, "/v1/outcomes/{id}") => (path_of("known"), None),
        (_, "/v1/dead-letters/{id}") => (path_of("2-17"), None),
        (_, "/v1/topics/{topic}") => ("/v1/topics/risks".into(), None),
        (_, "/v1/topics/{topic}/{partition}") => ("/v1/topics/risks/0".into(), None),
        (_, "/v1/tokens/{id}/revoke") => (path_of(&finding_id(9).to_string()), None),
        ("POST", "/v1/decisions") => (path.into(), Some(json!({ "finding": finding_id(1), "verdict": "confirmed", "reason": "seen" }))),
        ("POST", "/v1/retractions") => (path.into(), Some(json!({ "asset": shop(), "reason": "archived" }))),
        ("POST", "/v1/dead-letters/redrive") => (path.into(), Some(json!({ "ids": ["0-1"] }))),
        ("POST", "/v1/tokens") => (path.into(), Some(json!({ "actor": "ci", "purpose": "a test", "scopes": ["read"] }))),
        _ => (path.into(), None),
    }
}

/// Of an exception of shop, which is in the register.
fn exception() -> Id {
    Id::of("exception", &[b"shop"])
}

fn terms(within: &[&str]) -> Value {
    let scope = json!({ "vulnerability": "CVE-2020-1", "within": within });
    let ends = Timestamp::from_millis(NOW).plus_days(20).to_string();
    json!({ "title": "t", "scope": scope, "category": "accept", "reason": "r", "ends": ends, "covers_at_most": 1 })
}

fn register(views: &faultline_views::Views, entry: Id, within: &[&str]) {
    register_terms(views, entry, serde_json::from_value(terms(within)).unwrap());
}

fn register_terms(views: &faultline_views::Views, entry: Id, asked: AskedTerms) {
    let scope = Scope { vulnerability: "CVE-2020-1".into(), within: asked.scope.within.clone(), ..Scope::default() };
    let entry = RegisterEntry {
        entry,
        stage: Stage::Requested,
        terms: asked.terms(scope),
        version: 2,
        authors: vec!["ana".into()],
        requested_by: "ana".into(),
        reviewed_by: String::new(),
        approved_by: String::new(),
        approved_at: None,
        renewal: None,
        broken: Vec::new(),
        possible: Vec::new(),
        risks: 0,
        services: 0,
        contested: 0,
        residual: 0,
        inherent: 0,
        highest: 0,
        first: Vec::new(),
        history: Vec::new(),
        assessment: None,
    };
    apply(views, "risk-registry", &entry.entry.to_string(), &avro::encode(entry).unwrap());
}

fn name(role: Role, at: &str) -> String {
    format!("{}@{at}", role.name())
}

fn place(at: &str) -> Where {
    if at == "*" { Where::Everywhere } else { Where::Below(at.to_owned()) }
}

/// A server with an organisation, a risk of shop, an actor for each role at each place, and one who reads all and decides at bank only.
fn start() -> Running {
    let every = |role: Role| PLACES.map(|at| Granted { actor: name(role, at), role, at: place(at), up_to: None });
    let both =
        [(Role::Reader, "*"), (Role::Owner, "bank")].map(|(role, at)| Granted { actor: "banker".into(), role, at: place(at), up_to: None });
    let limited = Granted { actor: "limited".into(), role: Role::Approver, at: place("retail"), up_to: Some(599) };
    let roles = Roles::new(Role::ALL.into_iter().flat_map(every).chain(both).chain([limited]));
    let server = Running::with(|settings| settings.roles = Arc::new(roles), true);
    let views = &server.memory.views;
    let put = |key: String, record: CatalogRecord| apply(views, "catalog", &key, &avro::encode(record).unwrap());
    for (id, parent) in [("acme", ""), ("retail", "acme"), ("bank", "acme")] {
        let node = Node { id: id.into(), name: id.into(), kind: "team".into(), parent: parent.into(), owners: Vec::new() };
        put(node_key(id), CatalogRecord::Node(node));
    }
    for (id, parent) in [("shop", "retail"), ("ledger", "bank")] {
        put(service_key(id), CatalogRecord::Service(service(id, parent)));
    }
    apply_finding(views, 1);
    apply_risk(views, &risk(1, 700, &[], &[]));
    apply_outcome(views, "known");
    register(views, exception(), &["service/shop"]);
    for role in Role::ALL {
        for at in PLACES {
            let actor = name(role, at);
            server.memory.hold(token(&actor, &actor, &[TokenScope::Admin]));
        }
    }
    server.memory.hold(token("banker", "banker", &[TokenScope::Admin]));
    server.memory.hold(token("limited", "limited", &[TokenScope::Admin]));
    server
}

fn service(id: &str, parent: &str) -> Service {
    Service {
        id: id.into(),
        name: id.into(),
        parent: parent.into(),
        tier: 1,
        exposure: "internal".into(),
        data: Vec::new(),
        owners: Vec::new(),
        path: vec![parent.into(), "acme".into()],
    }
}

/// Sends a request about shop in somebody's name.
fn sent(server: &Running, by: &str, method: &str, path: &str) -> (u16, String) {
    let (path, body) = request(method, path);
    let request = server.of(by, method, &path);
    let response = match body {
        Some(body) => request.json(&body),
        None => request.body("a report"),
    };
    let response = response.send().unwrap();
    (response.status().as_u16(), response.text().unwrap())
}

#[test]
fn every_role_at_every_place_is_decided_at_every_route() {
    let server = start();
    for (method, path) in routes() {
        for role in Role::ALL {
            for at in PLACES {
                let (status, text) = sent(&server, &name(role, at), method, path);
                let expected = becomes(method, path, role.name(), at);
                let is_as_expected = match expected {
                    Refused => status == 403,
                    Hidden => status == 404,
                    // A door may still have its own reason to refuse: there is no letter 2-17.
                    Open => status != 401 && status != 403 && (status < 400 || text.contains("dead letter") || text.contains("no token")),
                };
                assert!(is_as_expected, "{method} {path} by {} at {at}: {status} {text}, expected {expected:?}", role.name());
            }
        }
    }
}

#[test]
fn without_a_role_nothing_is_open_but_what_everybody_may_ask() {
    let server = start();
    server.memory.hold(token("nobody", "nobody", &TokenScope::ALL));
    for (method, path) in routes() {
        let (status, text) = sent(&server, "nobody", method, path);
        let expected = match path {
            "/healthz" | "/readyz" | "/v1/backlog" | "/v1/whoami" => 200,
            "/v1/outcomes/{id}" => 404,
            _ => 403,
        };
        assert_eq!(status, expected, "{method} {path}: {text}");
    }
}

#[test]
fn lists_counts_and_names_show_only_what_is_the_readers_own() {
    let server = start();
    let seen = |by: &str, path: &str| {
        let (status, body) = answer(server.of(by, "GET", path).send().unwrap());
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let count = |body: &Value| body["items"].as_array().unwrap().len();
    for (by, is_seen) in [("reader@*", true), ("reader@service/shop", true), ("reader@bank", false)] {
        let own = usize::from(is_seen);
        assert_eq!(count(&seen(by, "/v1/risks")), own, "{by}");
        assert_eq!(seen(by, "/v1/risks")["total"]["count"], own, "{by}");
        assert_eq!(count(&seen(by, "/v1/findings")), own, "{by}");
        assert_eq!(seen(by, "/v1/summary")["by_state"]["open"], own, "{by}");
    }
    let nodes = |by: &str| {
        let body = seen(by, "/v1/nodes");
        body["items"].as_array().unwrap().iter().map(|item| item["node"]["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(nodes("reader@retail"), ["retail"]);
    assert_eq!(nodes("reader@acme"), ["acme", "bank", "retail"]);
    let (status, body) = answer(server.of("reader@bank", "GET", "/v1/risks?node=retail").send().unwrap());
    assert!(status == 400 && !body.to_string().contains("acme"), "a name that is not theirs is unknown, and no other is told: {body}");
    let begin = &id_of("shop", finding_id(1)).to_string()[..8];
    assert_eq!(answer(server.of("reader@bank", "GET", &format!("/v1/risks/{begin}")).send().unwrap()).0, 404);
}

/// Which roles take which step; where is as for every other route.
#[test]
fn each_step_is_for_the_roles_that_it_is_for() {
    let server = start();
    for kind in StepKind::ALL {
        let mut body = json!({ "step": kind.name(), "reason": "so" });
        match kind {
            StepKind::Propose => body["terms"] = terms(&["service/shop"]),
            StepKind::Renew => body["ends"] = Timestamp::from_millis(NOW).plus_days(30).to_string().into(),
            _ => {}
        }
        for role in Role::ALL {
            let path = format!("/v1/exceptions/{}/steps", exception());
            let status = server.of(&name(role, "retail"), "POST", &path).json(&body).send().unwrap().status().as_u16();
            let asks = ["triager", "owner", "admin"].contains(&role.name());
            let (reviews, approves) = (["reviewer", "admin"].contains(&role.name()), ["approver", "admin"].contains(&role.name()));
            let may = match kind {
                StepKind::Propose | StepKind::Request | StepKind::Withdraw | StepKind::Renew => asks,
                StepKind::Review => reviews,
                StepKind::Approve => approves,
                StepKind::Reject => reviews || approves,
                StepKind::Revoke => asks || approves,
            };
            assert_eq!(status, if may { 200 } else { 403 }, "{} by {}", kind.name(), role.name());
        }
    }
    // Who approves approves what was shown.
    let steps = server.memory.steps.lock().unwrap();
    assert!(steps.iter().filter(|step| step.step.kind() == StepKind::Approve).all(|step| step.expected_version == Some(2)));
}

/// An approver with a limit grants what assumes no more than that: what assumes nothing may come to cover anything.
#[test]
fn who_may_grant_depends_on_the_score_too() {
    let server = start();
    let step = |kind: StepKind, score_at_most: Option<i32>| {
        let entry = Id::of("scored", &[&score_at_most.unwrap_or(-1).to_be_bytes()]);
        let mut asked: AskedTerms = serde_json::from_value(terms(&["service/shop"])).unwrap();
        asked.assumptions.score_at_most = score_at_most;
        register_terms(&server.memory.views, entry, asked);
        let body = json!({ "step": kind.name(), "reason": "so" });
        let response = server.of("limited", "POST", &format!("/v1/exceptions/{entry}/steps")).json(&body).send().unwrap();
        (response.status().as_u16(), response.text().unwrap())
    };
    assert_eq!(step(StepKind::Approve, Some(599)).0, 200);
    for above in [Some(600), None] {
        let (status, text) = step(StepKind::Approve, above);
        assert!(status == 403 && text.contains("may not approve what may cover scores up to"), "{text}");
        assert_eq!(step(StepKind::Reject, above).0, 200, "less is accepted by it");
    }
    // What is granted is what was looked at here: of other steps nothing is known yet.
    let entry = Id::of("scored", &[&599_i32.to_be_bytes()]);
    let body = json!({ "step": "approve", "reason": "so", "expected_version": 5 });
    let response = server.of("limited", "POST", &format!("/v1/exceptions/{entry}/steps")).json(&body).send().unwrap();
    assert_eq!(response.status(), 409);
}

/// An exception reaches as far as its scope, so who asks for it must be something in all of that.
#[test]
fn nobody_excepts_further_than_they_reach() {
    let server = start();
    let propose = |by: &str, within: &[&str], name: Option<&str>| {
        let body = json!({ "terms": terms(within), "name": name });
        server.of(by, "POST", "/v1/exceptions").json(&body).send().unwrap().status().as_u16()
    };
    assert_eq!(propose("triager@retail", &["retail"], None), 200);
    assert_eq!(propose("triager@retail", &["service/shop"], None), 200);
    assert_eq!(propose("triager@service/shop", &["retail"], None), 404, "a unit that they do not see is none");
    assert_eq!(propose("banker", &["retail"], None), 403, "nor is one that they only read");
    assert_eq!(propose("banker", &["bank", "retail"], None), 403);
    assert_eq!(propose("triager@retail", &[], None), 403);
    assert_eq!(propose("triager@*", &[], None), 200);
    assert_eq!(propose("triager@acme", &["nowhere"], None), 404);
    // One of that name which is somebody else's is not theirs to write anew.
    register(&server.memory.views, faultline_model::exception::id_of("theirs"), &["bank"]);
    assert_eq!(propose("triager@retail", &["retail"], Some("theirs")), 403);
    assert_eq!(propose("triager@bank", &["bank"], Some("theirs")), 200);
    // A risk stands for the finding that found it; who may not ask everywhere means where it is.
    let of_risk = |by: &str| {
        let mut terms = terms(&[]);
        terms["scope"] = json!({ "risks": [id_of("shop", finding_id(1))] });
        let response = server.of(by, "POST", "/v1/exceptions").json(&json!({ "terms": terms })).send().unwrap();
        (response.status().as_u16(), server.memory.steps.lock().unwrap().last().cloned())
    };
    let scope = |step: Option<StepRecord>| match step.unwrap().step {
        Step::Propose(terms) => terms.scope,
        other => panic!("{other:?}"),
    };
    let (status, step) = of_risk("triager@retail");
    assert_eq!(
        (status, scope(step)),
        (200, Scope { founders: vec![finding_id(1)], within: vec!["service/shop".into()], ..Scope::default() })
    );
    let (status, step) = of_risk("triager@*");
    assert_eq!((status, scope(step).within), (200, vec![]));
    assert_eq!(of_risk("triager@bank").0, 404);
}

#[test]
fn a_token_is_for_what_it_was_made_for_and_only_until_its_end() {
    let server = start();
    let of = |text: &str| token(text, "triager@retail", &[TokenScope::Read]);
    server.memory.hold(of("reads"));
    server.memory.hold(TokenRecord { scopes: vec![TokenScope::Admin], nodes: vec!["bank".into()], ..of("for bank") });
    server.memory.hold(TokenRecord { ends: Timestamp::from_millis(NOW), ..of("ended") });
    let publishes = TokenRecord { scopes: vec![TokenScope::Publish], assets: vec!["repo:github.com/acme/*".into()], ..of("publishes") };
    server.memory.hold(publishes);
    assert_eq!(sent(&server, "reads", "GET", "/v1/risks/{id}").0, 200);
    assert_eq!(sent(&server, "reads", "POST", "/v1/decisions").0, 403);
    assert_eq!(sent(&server, "for bank", "GET", "/v1/risks/{id}").0, 404, "what a token is for narrows what its actor may");
    let (status, text) = sent(&server, "ended", "GET", "/v1/risks");
    assert!(status == 401 && text.contains("ended on"), "{text}");
    assert_eq!(sent(&server, "never made", "GET", "/v1/risks").0, 401);

    let publish = |asset: &str| server.of("publishes", "POST", &format!("/v1/reports?asset={asset}")).body("a report").send().unwrap();
    assert_eq!(answer(publish("repo:github.com/acme/shop")).0, 202);
    let (status, body) = answer(publish("repo:github.com/other/shop"));
    assert!(status == 403 && body["detail"].as_str().unwrap().contains("repo:github.com/other/shop"), "{body}");
    assert_eq!(server.memory.reports.lock().unwrap()[0].0.publisher, "triager@retail");
    assert_eq!(sent(&server, "publishes", "GET", "/v1/outcomes/{id}").0, 200, "who publishes for an asset sees what became of it");
    assert_eq!(sent(&server, "publishes", "GET", "/v1/risks").0, 403);
}

#[test]
fn nobody_acts_in_the_name_of_another_but_the_operator() {
    let server = start();
    let decide = |by: Option<&str>, actor: Option<&str>| {
        let mut body = json!({ "finding": finding_id(1), "verdict": "confirmed", "reason": "seen" });
        body["actor"] = actor.into();
        let request = server.post("/v1/decisions").json(&body);
        let request = by.into_iter().fold(request, reqwest::blocking::RequestBuilder::bearer_auth);
        let status = request.send().unwrap().status().as_u16();
        (status, server.memory.decisions.lock().unwrap().last().map(|decision| decision.actor.clone()).unwrap_or_default())
    };
    assert_eq!(decide(Some("triager@retail"), Some("ben")).0, 403);
    assert_eq!(decide(Some("triager@retail"), Some("triager@retail")), (200, "triager@retail".into()));
    assert_eq!(decide(Some("triager@retail"), None), (200, "triager@retail".into()));
    assert_eq!(decide(None, Some("ben")), (200, "ben".into()));
    assert_eq!(decide(None, None), (200, "operator".into()));
}

#[test]
fn a_token_holds_as_soon_as_it_is_told_and_no_longer_than_it_is_wanted() {
    let server = start();
    let make = |body: Value| answer(server.of("admin@*", "POST", "/v1/tokens").json(&body).send().unwrap());
    let order = json!({ "actor": "reader@retail", "purpose": "a report", "scopes": ["read", "read"], "nodes": ["retail"], "days": 7 });
    let (status, made) = make(order.clone());
    assert_eq!((status, made["state"].as_str(), made["created_by"].as_str()), (201, Some("active"), Some("admin@*")));
    assert_eq!((made["scopes"].clone(), made.get("hash")), (json!(["read"]), None), "{made}");
    let text = made["text"].as_str().unwrap();
    assert_eq!(sent(&server, text, "GET", "/v1/risks/{id}").0, 200);
    let path = format!("/v1/tokens/{}/revoke", made["token"].as_str().unwrap());
    let (status, revoked) = answer(server.of("admin@*", "POST", &path).send().unwrap());
    assert_eq!((status, revoked["state"].as_str(), revoked["revoked_by"].as_str()), (200, Some("revoked"), Some("admin@*")));
    let (status, text) = sent(&server, text, "GET", "/v1/risks");
    assert!(status == 401 && text.contains("taken back"), "{text}");

    for (member, value, part) in [
        ("scopes", json!([]), "scopes is empty"),
        ("scopes", json!(["publish"]), "go together"),
        ("assets", json!(["repo:github.com/acme/*"]), "go together"),
        ("days", json!(366), "days is 366"),
        ("actor", json!(" "), "actor is missing"),
        ("scopes", json!(["everything"]), "unknown variant"),
    ] {
        let mut wrong = order.clone();
        wrong[member] = value;
        let (status, body) = make(wrong);
        assert!(status == 400 && body["detail"].as_str().unwrap().contains(part), "{part}: {body}");
    }
    for asset in ["github.com/acme/shop", "acme*", "repo:GitHub.com/acme/shop", "repo:GitHub.com/acme/*"] {
        let (status, body) = make(json!({ "actor": "ci", "purpose": "p", "scopes": ["publish"], "assets": [asset] }));
        assert!(status == 400 && body["detail"].as_str().unwrap().contains(asset), "{asset}: {body}");
    }
}

#[test]
fn who_sees_more_than_they_may_change_is_told_so_and_changes_nothing() {
    let server = start();
    let told = |path: &str, body: Value| answer(server.of("banker", "POST", path).json(&body).send().unwrap());
    let risk = id_of("shop", finding_id(1));
    for (path, body) in [
        ("/v1/decisions", json!({ "finding": finding_id(1), "verdict": "false_positive", "reason": "so" })),
        ("/v1/decisions", json!({ "risk": risk, "assignment": { "to": "ben" } })),
        ("/v1/decisions", json!({ "risk": risk, "shown": { finding_id(1).to_string(): 2 }, "assignment": { "to": "ben" } })),
        ("/v1/retractions", json!({ "asset": shop(), "reason": "so" })),
        ("/v1/retractions", json!({ "asset": shop(), "scan": finding_id(7), "reason": "so" })),
    ] {
        let (status, problem) = told(path, body.clone());
        assert_eq!((status, problem["type"].as_str()), (403, Some("urn:faultline:problem:not-allowed")), "{path} {body}: {problem}");
    }
    assert!(server.memory.decisions.lock().unwrap().is_empty());
}

#[test]
fn what_a_service_only_uses_is_decided_upon_where_it_belongs() {
    let server = start();
    let views = &server.memory.views;
    // A finding of ledger, which shop uses.
    for (service, is_owner) in [("ledger", true), ("shop", false)] {
        apply_finding_of(views, 2, service, is_owner);
    }
    let decide = |by: &str| {
        let body = json!({ "finding": finding_id(2), "verdict": "confirmed", "reason": "seen" });
        server.of(by, "POST", "/v1/decisions").json(&body).send().unwrap().status().as_u16()
    };
    assert_eq!(sent_for(&server, "triager@retail", &format!("/v1/findings/{}", finding_id(2))), 200, "shop shows what it uses");
    assert_eq!((decide("triager@retail"), decide("triager@bank"), decide("triager@acme")), (403, 200, 200));
}

fn sent_for(server: &Running, by: &str, path: &str) -> u16 {
    server.of(by, "GET", path).send().unwrap().status().as_u16()
}

#[test]
fn nobody_uses_another_s_key_or_learns_what_it_stands_for() {
    let server = start();
    let decide = |by: &str, key: &str| {
        let body = json!({ "finding": finding_id(1), "verdict": "confirmed", "reason": "seen", "key": key });
        answer(server.of(by, "POST", "/v1/decisions").json(&body).send().unwrap()).1
    };
    // "known" is what became of something else.
    let decided = decide("triager@retail", "known");
    assert_eq!(decided["decisions"][0]["key"], "triager@retail/known");
    assert_eq!(server.memory.decisions.lock().unwrap()[0].key, "triager@retail/known");
    let by_operator = answer(
        server
            .post("/v1/decisions")
            .json(&json!({ "finding": finding_id(1), "verdict": "confirmed", "reason": "seen", "key": "k" }))
            .send()
            .unwrap(),
    );
    assert_eq!(by_operator.1["decisions"][0]["key"], "k");
}

#[test]
fn a_hidden_outcome_is_waited_for_like_one_that_is_not_there() {
    let server = start();
    let waited = |id: &str| {
        let begun = std::time::Instant::now();
        let status = sent_for(&server, "reader@bank", &format!("/v1/outcomes/{id}?wait=300ms"));
        (status, begun.elapsed() >= std::time::Duration::from_millis(300))
    };
    assert_eq!((waited("known"), waited("never asked")), ((404, true), (404, true)));
    // Who sees something of the asset learns how it ended, not how much there was of others.
    let counts = |by: &str| answer(server.of(by, "GET", "/v1/outcomes/counted").send().unwrap()).1["counts"].clone();
    apply_counted(&server.memory.views, "counted");
    assert_eq!(counts("reader@retail")["new"], 3, "all that the asset has is theirs");
    apply_finding_of(&server.memory.views, 3, "ledger", true);
    assert_eq!(counts("reader@retail"), Value::Null);
    assert_eq!(counts("reader@acme")["new"], 3);
}

#[test]
fn units_above_a_readers_own_are_not_named() {
    let server = start();
    let items = |by: &str, path: &str| answer(server.of(by, "GET", path).send().unwrap()).1["items"].clone();
    let service = items("reader@service/shop", "/v1/services")[0]["service"].clone();
    assert_eq!((service["id"].as_str(), service["parent"].as_str(), service["path"].clone()), (Some("shop"), Some(""), json!([])));
    assert_eq!(items("reader@retail", "/v1/nodes")[0]["node"]["parent"], "");
    assert_eq!(items("reader@retail", "/v1/services")[0]["service"]["path"], json!(["retail"]));
    assert_eq!(items("reader@acme", "/v1/nodes")[2]["node"]["parent"], "acme");
}

#[test]
fn a_token_lets_nobody_in_beyond_the_end_of_who_made_it() {
    let server = start();
    let order = json!({ "actor": "ben", "purpose": "a test", "scopes": ["read"], "days": 300 });
    let made = |by: &str, order: &Value| answer(server.of(by, "POST", "/v1/tokens").json(order).send().unwrap());
    assert_eq!(made("admin@*", &order).1["ends"], NOW + 1);
    let (status, problem) = made("admin@*", &json!({ "actor": "operator", "purpose": "p", "scopes": ["read"] }));
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("what the operator is called"), "{problem}");
    let (status, problem) =
        made("admin@*", &json!({ "actor": "ci", "purpose": "p", "scopes": ["publish"], "assets": ["*"], "nodes": ["retail"] }));
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("nodes say nothing"), "{problem}");
}

#[test]
fn what_is_no_bearers_token_is_nobodys_also_where_none_is_needed() {
    let server = start();
    let with =
        |authorization: &str| server.client.get(server.url("/v1/risks")).header("authorization", authorization).send().unwrap().status();
    assert_eq!((with("Basic YW5hOmFuYQ=="), with("Bearer never-made")), (401.try_into().unwrap(), 401.try_into().unwrap()));
}

#[test]
fn what_is_done_and_what_is_refused_is_accounted_for_and_looking_is_not() {
    let server = start();
    for (by, method, path) in [
        ("admin@*", "POST", "/v1/tokens"),
        ("admin@*", "PUT", "/v1/catalog"),
        ("admin@*", "POST", "/v1/intel"),
        ("admin@*", "POST", "/v1/dead-letters/redrive"),
        ("reader@*", "POST", "/v1/decisions"),
        ("banker", "POST", "/v1/decisions"),
        ("triager@retail", "POST", "/v1/retractions"),
        // Neither of these is anything that somebody did to us.
        ("admin@*", "GET", "/v1/tokens"),
        ("reader@bank", "GET", "/v1/catalog"),
        ("triager@retail", "POST", "/v1/decisions"),
        ("never made", "POST", "/v1/tokens"),
    ] {
        sent(&server, by, method, path);
    }
    let acts = server.memory.acts.lock().unwrap();
    let told: Vec<(&str, &str, &str, &str)> =
        acts.iter().map(|act| (act.actor.as_str(), act.subject.as_str(), act.what.as_str(), act.because.as_str())).collect();
    let ends = Timestamp::from_millis(NOW + 1);
    let token = format!("token {} of ci: read, until {ends}", token("faultline_ci", "ci", &[]).token);
    let belongs = format!("banker may not decide where finding {} belongs.", finding_id(1));
    assert_eq!(
        told,
        [
            ("admin@*", "POST /v1/tokens", token.as_str(), ""),
            ("admin@*", "PUT /v1/catalog", "version 1 in the name of admin@*: 8 written, 0 removed", ""),
            ("admin@*", "POST /v1/intel", "kev: 1 read, 1 changed, 0 removed, 0 refused", ""),
            ("admin@*", "POST /v1/dead-letters/redrive", "dead-letters-0-1", ""),
            ("reader@*", "POST /v1/decisions", "", "reader@* may not decide."),
            ("banker", "POST /v1/decisions", "", belongs.as_str()),
            ("triager@retail", "POST /v1/retractions", "", "triager@retail may not retract."),
        ]
    );
    assert!(acts.iter().all(|act| (act.status == OutcomeStatus::Refused) != act.because.is_empty()));
}
