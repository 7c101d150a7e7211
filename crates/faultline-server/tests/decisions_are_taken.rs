//! Decisions on findings and risks, retractions, the catalog and feeds: what is asked reaches the door, and its outcome the asker.

mod common;

use common::{Running, answer, apply_finding, apply_finding_at_route, apply_outcome, apply_risk, finding_id, risk, scan_id, shop};
use faultline_model::decision::{Decided, FindingAssignment, FindingSeverity, FindingVerdict, LinkWord, RetractScan, Verdict, Word};
use faultline_model::observation::Severity;
use faultline_model::time::Timestamp;
use faultline_model::tracked::GivenWord;
use serde_json::json;

#[test]
fn a_verdict_on_a_finding_reaches_its_asset_and_answers_with_its_outcome() {
    let server = Running::start();
    apply_finding(&server.memory.views, 1);
    let body = json!({
        "finding": finding_id(1), "verdict": "false_positive", "actor": "ana", "reason": "a test file", "key": "k1", "expected_version": 3,
    });
    let (status, answered) = answer(server.post("/v1/decisions").json(&body).send().unwrap());
    assert_eq!(status, 200);
    assert_eq!((&answered["decisions"][0]["key"], &answered["decisions"][0]["outcome"]["status"]), (&json!("k1"), &json!("done")));
    let decisions = server.memory.decisions.lock().unwrap();
    let what = Decided::Verdict(FindingVerdict { finding: finding_id(1), verdict: Verdict::FalsePositive, expected_version: Some(3) });
    assert_eq!((decisions.len(), &decisions[0].asset, &decisions[0].what), (1, &shop(), &what));
}

#[test]
fn a_severity_and_a_word_on_a_link_reach_the_finding() {
    let server = Running::start();
    (1..3).for_each(|number| apply_finding(&server.memory.views, number));
    // A word on a link to what is not there any more is still to be taken back.
    let given = |number| GivenWord {
        to: finding_id(number),
        word: Word::Confirmed,
        actor: "ana".into(),
        reason: "seen".into(),
        at: Timestamp::default(),
    };
    apply_finding_at_route(&server.memory.views, 3, vec![given(7)]);
    let send = |body: serde_json::Value| {
        let mut whole = json!({ "actor": "ana", "reason": "read it", "expected_version": 1 });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        answer(server.post("/v1/decisions").json(&whole).send().unwrap())
    };
    assert_eq!(send(json!({ "finding": finding_id(1), "severity": "low" })).0, 200);
    assert_eq!(send(json!({ "finding": finding_id(1), "severity": "withdrawn" })).0, 200);
    assert_eq!(send(json!({ "finding": finding_id(3), "link": {"to": finding_id(1), "word": "confirmed"} })).0, 200);
    assert_eq!(send(json!({ "finding": finding_id(3), "link": {"to": finding_id(7).to_string()[..9], "word": "withdrawn"} })).0, 200);
    for (body, status, part) in [
        (json!({ "finding": finding_id(3), "link": {"to": finding_id(1), "word": "withdrawn"} }), 404, "has no word"),
        (json!({ "finding": finding_id(1), "severity": "worst" }), 400, "unknown variant"),
        (json!({ "finding": finding_id(1), "severity": "low", "reason": "" }), 400, "reason is missing"),
        (json!({ "finding": finding_id(3), "link": {"to": finding_id(1), "word": "confirmed"}, "reason": "" }), 400, "reason is missing"),
        (json!({ "finding": finding_id(3), "link": {"to": finding_id(1), "word": "maybe"} }), 400, "unknown variant"),
        (json!({ "finding": finding_id(3), "link": {"to": finding_id(9), "word": "confirmed"} }), 404, "No finding has the id"),
        (json!({ "finding": finding_id(1), "link": {"to": finding_id(2), "word": "confirmed"} }), 400, "is not at a route"),
        (json!({ "finding": finding_id(3), "link": {"to": finding_id(3), "word": "confirmed"} }), 400, "is not in code"),
        (json!({ "risk": finding_id(3), "link": {"to": finding_id(1), "word": "rejected"} }), 400, "a link is of a finding"),
    ] {
        let (found, answered) = send(body.clone());
        assert!(found == status && answered["detail"].as_str().unwrap().contains(part), "{body} {found} {answered}");
    }
    let decisions = server.memory.decisions.lock().unwrap();
    let severity = |severity| Decided::Severity(FindingSeverity { finding: finding_id(1), severity, expected_version: Some(1) });
    let word = |to, word| Decided::Link(LinkWord { finding: finding_id(3), to: finding_id(to), word, expected_version: Some(1) });
    let made: Vec<_> = decisions.iter().map(|decision| decision.what.clone()).collect();
    assert_eq!(made, [severity(Some(Severity::Low)), severity(None), word(1, Word::Confirmed), word(7, Word::Withdrawn)]);
}

#[test]
fn a_decision_on_a_risk_is_one_on_each_home_finding_that_was_shown() {
    let server = Running::start();
    let merged = risk(1, 500, &[2], &[3]);
    apply_risk(&server.memory.views, &merged);
    let send = |shown: serde_json::Value| {
        let body = json!({ "risk": merged.risk, "assignment": {"to": "ben"}, "actor": "ana", "key": "k", "shown": shown });
        answer(server.post("/v1/decisions").json(&body).send().unwrap())
    };
    let id = |number| finding_id(number).to_string();
    assert_eq!(send(json!({ id(1): 2, id(9): 0 })).0, 409, "a finding that is no longer in it");
    assert_eq!(send(json!({ id(3): 2 })).0, 409, "a finding whose home is elsewhere");
    assert_eq!(send(json!({})).0, 409);
    assert_eq!(send(json!({ id(1): 2, id(2): 7 })).0, 200);
    let assigned = |number, expected_version| {
        Decided::Assignment(FindingAssignment { finding: finding_id(number), to: "ben".into(), expected_version })
    };
    {
        let mut decisions = server.memory.decisions.lock().unwrap();
        let made: Vec<_> = decisions.drain(..).map(|decision| (decision.key, decision.what)).collect();
        assert_eq!(made, [(format!("k/{}", id(1)), assigned(1, Some(2))), (format!("k/{}", id(2)), assigned(2, Some(7)))]);
    }
    assert_eq!(send(serde_json::Value::Null).0, 200);
    let decisions = server.memory.decisions.lock().unwrap();
    assert_eq!(decisions.iter().map(|decision| decision.what.clone()).collect::<Vec<_>>(), [assigned(1, None), assigned(2, None)]);
}

#[test]
fn an_answer_does_not_wait_longer_than_is_asked() {
    let server = Running::with(|_| {}, false);
    apply_finding(&server.memory.views, 1);
    let body = json!({ "finding": finding_id(1), "verdict": "confirmed", "actor": "ana", "reason": "seen", "key": "k" });
    let (status, answered) = answer(server.post("/v1/decisions?wait=10ms").json(&body).send().unwrap());
    assert_eq!((status, &answered["decisions"][0]["outcome"]), (202, &serde_json::Value::Null));
    assert_eq!(answer(server.get("/v1/outcomes/k")).0, 404);
    apply_outcome(&server.memory.views, "k");
    assert_eq!(answer(server.get("/v1/outcomes/k")).1["status"], "done");
}

#[test]
fn a_decision_that_cannot_be_meant_is_refused_with_its_reason() {
    let server = Running::start();
    apply_finding(&server.memory.views, 1);
    let good = json!({ "finding": finding_id(1), "verdict": "confirmed", "actor": "ana", "reason": "seen" });
    let changed = |name: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, status, part) in [
        (changed("actor", json!(" ")), 400, "actor is missing"),
        (changed("reason", json!("")), 400, "reason is missing"),
        (changed("reason", json!("x".repeat(2049))), 400, "2049 bytes"),
        (changed("risk", json!(finding_id(1))), 400, "exactly one of finding and risk"),
        (changed("assignment", json!({"to": "ben"})), 400, "exactly one of verdict, assignment, severity and link"),
        (changed("verdict", json!("maybe")), 400, "unknown variant"),
        (changed("expected_verison", json!(1)), 400, "expected_verison"),
        (changed("shown", json!({})), 400, "shown is for a risk"),
        (changed("finding", json!(finding_id(2))), 404, "No finding has the id"),
        (changed("finding", json!("x")), 400, "32 hex digits"),
    ] {
        let (found, answered) = answer(server.post("/v1/decisions").json(&body).send().unwrap());
        assert!(found == status && answered["detail"].as_str().unwrap().contains(part), "{body} {found} {answered}");
    }
    let form = server.post("/v1/decisions").header("content-type", "text/plain").body(good.to_string());
    assert_eq!(answer(form.send().unwrap()).0, 415, "a form of another site cannot send JSON");
    assert!(server.memory.decisions.lock().unwrap().is_empty());
}

#[test]
fn a_scan_is_taken_back_and_an_asset_retired() {
    let server = Running::start();
    let send = |body: serde_json::Value| answer(server.post("/v1/retractions").json(&body).send().unwrap());
    let by = |mut body: serde_json::Value| {
        (body["actor"], body["reason"]) = (json!("ana"), json!("wrong asset"));
        body
    };
    assert_eq!(send(by(json!({ "scan": scan_id() }))).0, 404, "whose asset nobody knows");
    apply_outcome(&server.memory.views, &scan_id().to_string());
    assert_eq!(send(by(json!({ "scan": "00000000" }))).0, 404);
    let (status, answered) = send(by(json!({ "scan": scan_id().to_string()[..8] })));
    assert_eq!((status, &answered["scan"]), (200, &json!(scan_id())));
    assert_eq!(send(by(json!({ "asset": shop() }))).0, 200);
    assert_eq!(send(by(json!({}))).0, 400);
    let decisions = server.memory.decisions.lock().unwrap();
    let made: Vec<_> = decisions.iter().map(|decision| (decision.asset.clone(), decision.what.clone())).collect();
    assert_eq!(made, [(shop(), Decided::RetractScan(RetractScan { scan: scan_id() })), (shop(), Decided::RetireAsset)]);
    assert_ne!(decisions[0].key, decisions[1].key);
}

#[test]
fn the_catalog_and_feeds_reach_their_doors() {
    let server = Running::start();
    let put =
        |query: &str, yaml: &'static str| answer(server.client.put(server.url(&format!("/v1/catalog?{query}"))).body(yaml).send().unwrap());
    assert_eq!(put("actor=ana", "services: []").1["version"], 1);
    assert_eq!(put("dry_run", "services: []").1["version"], 0);
    assert_eq!(put("", "services: []").1["warnings"], json!(["by operator"]), "who asks applies it, if nobody else is named");
    assert_eq!(put("actor=", "services: []").0, 400, "who applies it is empty");
    let (status, body) = put("actor=ana", "services: ~");
    assert!(status == 422 && body["detail"].as_str().unwrap().contains("expected a list"));
    let shown = server.get("/v1/catalog");
    assert_eq!(
        (shown.headers()["content-type"].clone(), shown.text().unwrap()),
        ("application/yaml".parse().unwrap(), "services: []\n".into())
    );
    let (status, body) = answer(server.post("/v1/intel").body("a\nb\n").send().unwrap());
    assert_eq!((status, &body["source"], &body["read"]), (200, &json!("kev"), &json!(2)));
}

#[test]
fn an_order_to_redrive_names_letters_and_who_orders() {
    let server = Running::start();
    let order = |body: serde_json::Value| answer(server.post("/v1/dead-letters/redrive").json(&body).send().unwrap());
    let (status, told) = order(json!({ "ids": ["dead-letters-2-17", "0-3"], "actor": "ana" }));
    assert_eq!((status, &told["redriven"][0]["id"], &told["redriven"][1]["offset"]), (200, &json!("dead-letters-2-17"), &json!(7)));
    let (_, told) = order(json!({ "ids": ["0-3"], "actor": "ana", "dry_run": true, "force": true }));
    assert_eq!(told["redriven"][0]["offset"], json!(null));
    for (body, part) in [
        (json!({ "ids": ["0-3"], "actor": "" }), "actor"),
        (json!({ "ids": [], "actor": "ana" }), "1 to 500"),
        (json!({ "ids": vec!["0-3"; 501], "actor": "ana" }), "1 to 500"),
        (json!({ "ids": ["findings-0-3"], "actor": "ana" }), "reads like dead-letters-2-17"),
        (json!({ "ids": ["0-3"], "actor": "ana", "all": true }), "all"),
    ] {
        let (status, problem) = order(body.clone());
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(part), "{body}: {problem}");
    }
    for (path, status) in [("nonsense", 400), ("dead-letters-0-1", 404), ("redrive", 405)] {
        assert_eq!(answer(server.get(&format!("/v1/dead-letters/{path}"))).0, status, "{path}");
    }
}
