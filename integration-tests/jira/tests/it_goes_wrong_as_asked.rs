//! Each kind of fault, as a client meets it.
#![allow(clippy::unwrap_used)]

mod http;

use std::error::Error;
use std::time::{Duration, SystemTime};

use faultline_fake_jira::{Answer, Fault, Limit, RetryAfter, What};
use http::{Http, PATIENCE, create, issue, start};

/// All of an error's causes.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_connection_is_closed_before_or_after_the_effect() {
    let (fake, http) = start();
    for (what, issues) in [(What::DropBefore, 0), (What::DropAfter, 1)] {
        fake.inject(Fault::new(what).on("createIssue").first(1));
        let error = http.send("POST", "/issue", Some(&issue("SEC", "A flaw"))).unwrap_err();
        assert!(chain(&error).contains("connection closed before message completed"), "{}", chain(&error));
        assert_eq!(fake.issues().len(), issues);
        fake.clear_faults();
    }
    let noted: Vec<_> = fake.requests().iter().map(|request| (request.status, request.is_done)).collect();
    assert_eq!(noted, [(None, false), (None, true)]);
}

#[test]
fn half_an_answer_comes() {
    let (fake, http) = start();
    fake.inject(Fault::new(What::CutAfter).on("createIssue"));
    let response = http.send("POST", "/issue", Some(&issue("SEC", "A flaw"))).unwrap();
    assert!(response.status() == 201 && response.text().is_err() && fake.issues().len() == 1);
}

#[test]
fn a_status_comes_before_or_after_the_effect() {
    let (fake, http) = start();
    fake.inject(Fault::new(What::StatusBefore(Answer::new(503).header("Retry-After", "5"))).on("createIssue").nth(1));
    fake.inject(Fault::new(What::StatusAfter(Answer::new(504).body("<html>"))).on("createIssue").nth(2));
    let answers = [0; 3].map(|_| http.post("/issue", &issue("SEC", "A flaw")).0);
    assert_eq!((answers, fake.issues().len()), ([503, 504, 201], 2));
}

#[test]
fn limits_say_when_to_come_again_or_do_not() {
    let (fake, http) = start();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let ways = [RetryAfter::Missing, RetryAfter::Seconds(7), RetryAfter::Date(date)];
    let id = create(&http, "SEC");
    for (after, said) in ways.into_iter().zip([None, Some("7"), Some("Sun, 06 Nov 1994 08:49:37 GMT")]) {
        fake.inject(Fault::rate_limited(Limit::PerIssueOnWrite, after).on_route("PUT", "/rest/api/3/issue/{issueIdOrKey}"));
        let edit = serde_json::json!({"fields": {"summary": "Other"}});
        let response = http.send("PUT", &format!("/issue/{id}"), Some(&edit)).unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!((response.status().as_u16(), header("retry-after").as_deref()), (429, said));
        assert_eq!(header("ratelimit-reason").as_deref(), Some("jira-per-issue-on-write"));
        fake.clear_faults();
    }
    assert_eq!(fake.issue(&id).unwrap().summary, "A flaw");
}

/// Time-out at the client, and then it happens after all.
#[test]
fn what_is_held_is_done_though_nobody_waits_any_more() {
    let (fake, http) = start();
    fake.inject(Fault::new(What::HoldBefore).on("createIssue").first(1));
    let short = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_millis(50)).build().unwrap();
    let request = short.post(format!("{}/rest/api/3/issue", fake.url())).basic_auth("faultline@example.com", Some("fake-token"));
    assert!(request.json(&issue("SEC", "A flaw")).send().is_err());
    assert!(fake.wait_until(PATIENCE, |requests| requests.len() == 1));
    assert!(fake.issues().is_empty() && http.found("labels = mark").is_empty());
    fake.release();
    assert!(fake.wait_until(PATIENCE, |requests| requests[0].status == Some(201)));
    assert_eq!((fake.issues().len(), http.found("labels = mark").len()), (1, 1));
}

#[test]
fn an_answer_is_late_and_its_effect_is_not() {
    let (fake, http) = start();
    fake.inject(Fault::new(What::Hold).on("createIssue"));
    let asking = std::thread::spawn(move || create(&http, "SEC"));
    assert!(fake.wait_until(PATIENCE, |requests| requests.iter().any(|request| request.is_done)));
    assert!(fake.issues().len() == 1 && fake.requests()[0].status.is_none() && !asking.is_finished());
    fake.release();
    assert_eq!(asking.join().unwrap(), "10001");
    fake.clear_faults();
    fake.inject(Fault::new(What::Delay(Duration::from_millis(20))));
    let begun = std::time::Instant::now();
    assert!(Http::to(fake.url()).get("/myself").0 == 200 && begun.elapsed() >= Duration::from_millis(20));
}

#[test]
fn others_answer_in_its_place() {
    let (fake, http) = start();
    let answer = |what: What| {
        fake.clear_faults();
        fake.inject(Fault::new(what));
        http.send("GET", "/myself", None).unwrap()
    };
    let page = answer(What::LoginPage);
    assert!(page.status() == 200 && page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let redirect = answer(What::Redirect("https://elsewhere.example/".to_owned()));
    assert!(redirect.status() == 302 && redirect.headers()["location"] == "https://elsewhere.example/");
    let captcha = answer(What::Captcha);
    assert!(captcha.status() == 403 && captcha.headers()["x-seraph-loginreason"] == "AUTHENTICATION_DENIED");
}

#[test]
fn one_ticket_is_poisoned_and_the_others_are_not() {
    let (fake, http) = start();
    fake.inject(Fault::new(What::StatusBefore(Answer::new(500))).on_writes().mentioning("poison"));
    assert_eq!([http.post("/issue", &issue("SEC", "poison")).0, http.post("/issue", &issue("SEC", "none")).0], [500, 201]);
}

#[test]
fn nobody_is_there_while_it_is_down() {
    let (fake, http) = start();
    fake.down(true);
    let error = http.send("GET", "/myself", None).unwrap_err();
    assert!(chain(&error).contains("connection closed before message completed") && fake.requests().is_empty());
    fake.down(false);
    assert_eq!(http.get("/myself").0, 200);
}

#[test]
fn it_is_gone_with_its_holder() {
    let (fake, http) = start();
    drop(fake);
    assert!(http.send("GET", "/myself", None).unwrap_err().is_connect());
}
