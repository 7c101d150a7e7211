//! A report comes in with all that its publisher says of it, within bounds of size and time.

#![allow(clippy::unwrap_used)] // what fails here fails the test

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Running, answer, scan_id, shop};
use faultline_server::doors::ReportClaim;

#[test]
fn a_report_is_accepted_with_its_claim_and_says_where_its_outcome_will_stand() {
    let server = Running::start();
    let query = "asset=git@github.com:acme/shop.git&service=web&tool=sarif&branch=main&default_branch&environment=prod&path=src&path=lib%2Fa\
                 &full=false&bulk&revision=abc&revision_time=2026-01-31&started=2026-01-31T08:15:00Z&scan=nightly&publisher=ci";
    let (status, body) = answer(server.post(&format!("/v1/reports?{query}")).body("report").send().unwrap());
    assert_eq!(status, 202);
    let scan = &body["scans"][0];
    assert_eq!(scan["scan"], scan_id().to_string());
    assert_eq!(scan["outcome"], format!("/v1/outcomes/{}", scan_id()));
    assert_eq!((&scan["observed"], &scan["refused"]), (&6.into(), &1.into()));
    assert_eq!((&scan["lane"], &scan["over_quota"]), (&"bulk".into(), &0.into()));
    assert_eq!(scan["refusals"][0]["place"], "results[3]");
    let reports = server.memory.reports.lock().unwrap();
    let expected = ReportClaim {
        asset: Some(shop()),
        service: "web".into(),
        tool: Some("sarif".into()),
        branch: "main".into(),
        is_default_branch: true,
        environment: "prod".into(),
        paths: vec!["src".into(), "lib/a".into()],
        is_full: false,
        revision: "abc".into(),
        revision_time: Some("2026-01-31".parse().unwrap()),
        started: Some("2026-01-31T08:15:00Z".parse().unwrap()),
        scan: Some("nightly".into()),
        publisher: "ci".into(),
        is_bulk: true,
        traceparent: None,
    };
    assert_eq!(*reports, [(expected, b"report".to_vec())]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_compressed_report_arrives_inflated_up_to_its_bound() {
    let server = Running::with(|settings| settings.limits.inflated_bytes = 100_000, true);
    let send =
        |body: Vec<u8>, encoding: &str| answer(server.post("/v1/reports").header("content-encoding", encoding).body(body).send().unwrap());
    let large = vec![b'x'; 100_000];
    assert_eq!(send(gzip(&large), "gzip").0, 202);
    assert_eq!(server.memory.reports.lock().unwrap()[0].1, large);
    let (status, body) = send(gzip(&vec![b'x'; 100_001]), "gzip");
    assert_eq!((status, body["detail"].as_str().unwrap().contains("100000 bytes")), (413, true));
    let whole = gzip(b"a report that is cut in the middle of its compressed form");
    assert_eq!(send(whole[..whole.len() / 2].to_vec(), "gzip").0, 400);
    assert_eq!(send(b"not compressed".to_vec(), "gzip").0, 400);
    assert_eq!(send(b"x".to_vec(), "br").0, 415);
    assert_eq!(server.memory.reports.lock().unwrap().len(), 1);
}

#[test]
fn a_report_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let server = Running::with(|settings| settings.limits.upload_bytes = 1000, true);
    let (status, body) = answer(server.post("/v1/reports").body(vec![b'x'; 1001]).send().unwrap());
    assert_eq!((status, body["type"].as_str().unwrap()), (413, "urn:faultline:problem:too-large"));
    // A body without a length: it is counted as it comes.
    let endless = reqwest::blocking::Body::new(std::io::repeat(b'x').take(100_000));
    assert_eq!(answer(server.post("/v1/reports").body(endless).send().unwrap()).0, 413);
    assert_eq!(answer(server.post("/v1/reports").body(vec![b'x'; 1000]).send().unwrap()).0, 202);
    // The answer arrives although most of the body was never wanted.
    let (status, _) = answer(server.post("/v1/reports?aset=x").body(vec![b'x'; 3 << 20]).send().unwrap());
    assert_eq!(status, 400);
}

#[test]
fn what_a_door_says_becomes_a_problem_and_a_fault_keeps_its_secrets() {
    let server = Running::start();
    let send = |body: &'static str| server.post("/v1/reports").body(body).send().unwrap();
    let (status, body) = answer(send("nonsense"));
    assert!(status == 422 && body["detail"].as_str().unwrap().contains("no adapter knows"));
    let busy = send("busy");
    assert_eq!(busy.headers()["retry-after"], "1");
    assert_eq!(answer(busy).0, 503);
    let (status, body) = answer(send("fault"));
    assert!(status == 500 && !body.to_string().contains("/secret/path"));
}

#[test]
fn a_sender_that_stops_in_the_middle_is_let_go() {
    let server = Running::with(|settings| settings.limits.pause = Duration::from_millis(50), true);
    let mut stream = TcpStream::connect(server.address).unwrap();
    write!(stream, "POST /v1/reports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    let mut text = String::new();
    // The server answers and closes; the connection may be reset as the body was never sent.
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("too-slow"), "{text}");
    assert!(server.memory.reports.lock().unwrap().is_empty());
}

#[test]
fn a_misspelt_parameter_is_named_and_nothing_is_read() {
    let server = Running::start();
    for (query, part) in [
        ("aset=repo:github.com/acme/shop", "there is no parameter \"aset\""),
        ("asset=nonsense%20thing", "nonsense"),
        ("started=yesterday", "yesterday"),
        ("full=perhaps", "perhaps"),
        ("branch=a&branch=b", "branch is given twice"),
    ] {
        let (status, body) = answer(server.post(&format!("/v1/reports?{query}")).body("report").send().unwrap());
        assert!(status == 400 && body["detail"].as_str().unwrap().contains(part), "{query}: {body}");
    }
    assert!(server.memory.reports.lock().unwrap().is_empty());
}
