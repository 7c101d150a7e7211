//! Lists, single things, summaries, traces, and what supervisors ask.

mod common;

use std::collections::BTreeSet;

use common::{Running, answer, apply_finding, apply_finding_of, apply_outcome, apply_risk, finding_id, risk, scan_id};
use faultline_model::id::Id;
use faultline_server::Serves;
use serde_json::json;

/// A process of one side says of all routes of the other who serves them.
#[test]
fn a_process_of_one_side_says_who_serves_the_other() {
    for (takes_in, paths, role) in [
        (true, ["/v1/risks", "/v1/tickets/plan", "/v1/nodes"], "views"),
        (false, ["/v1/reports", "/v1/intel", "/v1/dead-letters/redrive"], "gateway"),
    ] {
        let server = Running::with(|settings| settings.serves = Serves { takes_in, has_lists: !takes_in }, true);
        for path in paths {
            let (status, told) = answer(server.get(path));
            assert!(status == 404 && told["what_to_do"].as_str().unwrap().contains(&format!("--role {role}")), "{path}: {told}");
        }
    }
}

/// Whoever plans takes every open risk once, over as many pages as there are, and is told who owns a place.
#[test]
fn a_plan_of_tickets_goes_over_all_open_risks() {
    let server = Running::start();
    for number in 1..=1_001 {
        apply_risk(&server.memory.views, &risk(number, number as i32 % 1_000, &[], &[]));
    }
    apply_finding(&server.memory.views, 1);
    apply_finding_of(&server.memory.views, 2, "shop", false);
    let (status, planned) = answer(server.get("/v1/tickets/plan"));
    assert_eq!((status, planned.as_object().unwrap().len(), &planned["unreadable"]), (200, 1_002, &json!(0)));
    let owner = |number| planned[risk(number, 0, &[], &[]).risk.to_string()].clone();
    assert_eq!([owner(1), owner(2), owner(3)], [json!("shop"), json!(null), json!(null)]);
    let send = |yaml: &'static str| answer(server.post("/v1/tickets/plan").body(yaml).send().unwrap());
    assert_eq!(send("tickets: {}").1, planned);
    let (status, refused) = send("nonsense");
    assert!(status == 422 && refused["detail"].as_str().unwrap().contains("expected off or watch"), "{refused}");
}

#[test]
fn risks_come_sorted_in_pages_that_follow_each_other() {
    let server = Running::start();
    for number in 0..5 {
        apply_risk(&server.memory.views, &risk(number, 100 * number as i32, &[], &[]));
    }
    let (mut scores, mut query) = (Vec::new(), "/v1/risks?limit=2".to_owned());
    loop {
        let (status, page) = answer(server.get(&query));
        assert_eq!(status, 200);
        scores.extend(page["items"].as_array().unwrap().iter().map(|item| item["score"]["total"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(cursor) => query = format!("/v1/risks?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(scores, [400, 300, 200, 100, 0]);
    let total = |query: &str| answer(server.get(query)).1["total"]["count"].clone();
    for (query, count) in [
        ("/v1/risks", 5),
        ("/v1/risks?state=closed,false-positive", 0),
        ("/v1/risks?state=any&band=high&kind=sast&text=users", 5),
        ("/v1/risks?min_score=200&service=shop", 3),
        ("/v1/risks?asset=https://github.com/acme/shop.git", 5),
        ("/v1/risks?assigned_to=ben", 0),
        ("/v1/findings?state=any", 0),
    ] {
        assert_eq!(total(query), count, "{query}");
    }
}

#[test]
fn what_is_asked_wrongly_is_answered_with_what_was_expected() {
    let server = Running::start();
    for (query, status, part) in [
        ("/v1/risks?stat=open", 400, "no parameter"),
        ("/v1/risks?state=opened", 400, "state is \"opened\""),
        ("/v1/risks?min_score=high", 400, "min_score"),
        ("/v1/risks?cursor=page2", 400, "cursor"),
        ("/v1/risks?limit=none", 400, "limit"),
        ("/v1/risks/none", 400, "32 hex digits"),
        ("/v1/findings?first_seen_from=then", 400, "first_seen_from"),
        ("/v1/outcomes/k?wait=long", 400, "wait"),
        ("/v1/services?node=a&unassigned", 400, "unassigned"),
        ("/v1/trace/00000000000000000000000000000000", 404, "is known"),
        ("/v1/risks/00000000000000000000000000000000", 404, "No risk"),
        ("/v1/findings/00000000000000000000000000000000", 404, "No finding"),
        ("/v2/risks", 404, "No route"),
        ("/v1/decisions", 405, "method"),
    ] {
        let (found, body) = answer(server.get(query));
        assert!(found == status && body["detail"].as_str().unwrap().contains(part), "{query}: {body}");
    }
}

#[test]
fn an_id_leads_to_what_it_names() {
    let server = Running::start();
    let views = &server.memory.views;
    let one = risk(1, 500, &[2], &[]);
    apply_risk(views, &one);
    apply_finding(views, 1);
    apply_outcome(views, &scan_id().to_string());
    assert_eq!(answer(server.get(&format!("/v1/risks/{}", one.risk))).1, serde_json::to_value(&one).unwrap());
    let (_, finding) = answer(server.get(&format!("/v1/findings/{}", finding_id(1))));
    assert_eq!((&finding["finding"], &finding["last_seen"]), (&json!(finding_id(1)), &serde_json::Value::Null));
    let trace = |id: &str| answer(server.get(&format!("/v1/trace/{id}"))).1;
    let of_finding = trace(&finding_id(1).to_string());
    assert_eq!((of_finding["findings"].as_array().unwrap().len(), &of_finding["risks"][0]["risk"]), (1, &json!(one.risk)));
    assert_eq!(trace(&scan_id().to_string())["outcome"]["status"], "done");
    let (_, summary) = answer(server.get("/v1/summary"));
    assert_eq!(
        (&summary["roll_up"], &summary["open_by_band"]["high"], &summary["by_state"]["false_positive"]),
        (&json!(500), &json!(1), &json!(0))
    );
    assert_eq!(answer(server.get("/v1/services")).1["items"][0]["roll_up"], 500);
    assert_eq!(answer(server.get("/v1/nodes")).1["items"], json!([]));
    assert_eq!(answer(server.get("/v1/dead-letters")).1["items"], json!([]));
}

#[test]
fn an_id_may_be_given_by_its_first_digits_where_only_one_begins_so() {
    let server = Running::start();
    let id = |last: u8| {
        let mut bytes = [0xab; 16];
        (bytes[6], bytes[15]) = (last, last);
        Id(bytes)
    };
    for last in 0..7 {
        apply_risk(&server.memory.views, &faultline_model::risk::Risk { risk: id(last), ..risk(u32::from(last), 100, &[], &[]) });
    }
    apply_finding(&server.memory.views, 9);
    apply_outcome(&server.memory.views, &scan_id().to_string());
    let start = |id: Id, digits: usize| id.to_string()[..digits].to_owned();
    let (finding, scan) = (start(finding_id(9), 8), start(scan_id(), 10));
    assert_eq!(answer(server.get(&format!("/v1/risks/{}", start(id(3), 14)))).1["risk"], json!(id(3)));
    assert_eq!(answer(server.get(&format!("/v1/findings/{finding}"))).1["finding"], json!(finding_id(9)));
    for (start, whole) in [(finding.as_str(), finding_id(9)), (&scan, scan_id()), (&start(id(6), 14).to_uppercase(), id(6))] {
        assert_eq!(answer(server.get(&format!("/v1/trace/{start}"))).1["id"], json!(whole));
    }
    for path in ["risks", "trace"] {
        let (status, body) = answer(server.get(&format!("/v1/{path}/abababab")));
        let detail = body["detail"].as_str().unwrap();
        assert_eq!((status, body["type"].as_str()), (400, Some("urn:faultline:problem:ambiguous")));
        let listed = |last| detail.contains(&id(last).to_string());
        assert!((0..5).all(listed) && !listed(5) && detail.ends_with("and others."), "{detail}");
        assert_eq!(answer(server.get(&format!("/v1/{path}/cdcdcdcd"))).0, 404, "what nothing begins with");
        assert_eq!(answer(server.get(&format!("/v1/{path}/abababa"))).0, 400, "too few digits");
    }
}

#[test]
fn supervisors_are_told_how_it_is() {
    let server = Running::start();
    assert_eq!(answer(server.get("/healthz")), (200, json!({ "status": "alive" })));
    assert_eq!(answer(server.get("/readyz")), (200, json!({ "status": "ready" })));
    for _ in 0..3 {
        server.post("/v1/reports").body("report").send().unwrap();
    }
    let (status, body) = answer(server.get("/readyz"));
    assert!(status == 503 && body["detail"].as_str().unwrap().contains("3 records behind"));
    let metrics = server.get("/metrics").text().unwrap();
    assert!(metrics.contains("faultline_up 1\n"), "{metrics}");
    assert!(metrics.contains("faultline_http_requests_total{method=\"POST\",route=\"/v1/reports\",status=\"202\"} 3\n"), "{metrics}");
}

/// `docs/openapi.yaml` is written by hand; this keeps it whole.
#[test]
fn every_route_stands_in_the_description_and_nothing_else() {
    let text = include_str!("../../../docs/openapi.yaml");
    let described: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).unwrap();
    let mut paths = BTreeSet::new();
    for (path, methods) in described["paths"].as_mapping().unwrap() {
        for (method, operation) in methods.as_mapping().unwrap() {
            assert!(operation["summary"].is_string() && operation["responses"].is_mapping(), "{path:?}");
            paths.insert((method.as_str().unwrap().to_ascii_uppercase(), path.as_str().unwrap().to_owned()));
        }
    }
    let routes: BTreeSet<_> = faultline_server::routes().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(paths, routes);
    let page = include_str!("../../../docs/api.md");
    for (method, path) in routes {
        assert!(page.contains(&format!("{method} {path}")), "docs/api.md does not tell of {method} {path}");
    }
}
