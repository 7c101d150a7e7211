//! Who may speak to the server, how many at a time, and how it ends.

mod common;

use std::sync::Arc;
use std::thread;

use common::{Running, answer, apply_outcome};
use faultline_server::{Server, Settings, TlsFiles, Token};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_page_of_another_site_cannot_reach_a_server_on_loopback() {
    let server = Running::start();
    let with = |headers: &[(&str, &str)]| {
        let request =
            headers.iter().fold(server.client.get(server.url("/v1/risks")), |request, (name, value)| request.header(*name, *value));
        request.send().unwrap().status().as_u16()
    };
    let own = format!("http://{}", server.address);
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&[("host", "localhost:1")]), 200);
    assert_eq!(with(&[("origin", &own)]), 200);
    assert_eq!(with(&[("host", "rebound.evil.example")]), 403);
    assert_eq!(with(&[("origin", "https://evil.example")]), 403);
    assert_eq!(with(&[("origin", "null")]), 403);
    assert_eq!(with(&[("sec-fetch-site", "cross-site")]), 403);
    let response = server.client.get(server.url("/v1/risks")).header("origin", own).send().unwrap();
    assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control")), "no other site is ever let in");
}

#[test]
fn with_a_token_only_supervisors_come_in_without_it() {
    let server = Running::with(|settings| settings.token = Some(Token::new(TOKEN).unwrap()), true);
    let with = |authorization: &str| server.client.get(server.url("/v1/risks")).header("authorization", authorization).send().unwrap();
    let refused = server.get("/v1/risks");
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(answer(refused).0, 401);
    for wrong in ["Bearer", "Bearer ", "Bearer 0123456789abcdef0123456789abcdeF", &format!("Basic {TOKEN}"), TOKEN] {
        assert_eq!(answer(with(wrong)).0, 401, "{wrong}");
    }
    assert_eq!(answer(with(&format!("bearer {TOKEN}"))).0, 200);
    assert_eq!((answer(server.get("/healthz")).0, answer(server.get("/readyz")).0, answer(server.get("/metrics")).0), (200, 200, 401));
}

#[test]
fn tls_is_spoken_where_it_is_set_up_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.certificate, certified.cert.pem()).unwrap();
    std::fs::write(&files.key, certified.signing_key.serialize_pem()).unwrap();
    let server = Running::with(|settings| settings.tls = Some(files.clone()), true);
    let root = reqwest::Certificate::from_pem(certified.cert.pem().as_bytes()).unwrap();
    let client = reqwest::blocking::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = format!("https://localhost:{}/healthz", server.address.port());
    assert_eq!(answer(client.get(url).send().unwrap()).0, 200);
    assert!(server.client.get(server.url("/healthz")).send().is_err());

    std::fs::write(&files.key, "no key").unwrap();
    let settings = Settings { tls: Some(files), ..Settings::default() };
    let doors = common::doors(&server.memory);
    let error = Server::bind(&settings, doors, Arc::clone(&server.memory.views)).err().unwrap().to_string();
    assert!(error.contains("key.pem cannot be used"), "{error}");
}

#[test]
fn one_request_too_many_is_told_to_come_again() {
    let server = Running::with(|settings| settings.limits.requests = 1, false);
    let (client, url) = (server.client.clone(), server.url("/v1/outcomes/k?wait=30s"));
    let waiting = thread::spawn(move || {
        // Our own probes may have the one place.
        loop {
            let response = client.get(&url).send().unwrap();
            if response.status() != 503 {
                return answer(response).0;
            }
        }
    });
    let refused = loop {
        let response = server.get("/healthz");
        if response.status() == 503 {
            break response;
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    apply_outcome(&server.memory.views, "k");
    assert_eq!(waiting.join().unwrap(), 200);
    assert_eq!(answer(server.get("/healthz")).0, 200);
}

#[test]
fn who_waits_is_answered_when_the_outcome_comes_or_the_server_stops() {
    let mut server = Running::with(|_| {}, false);
    let wait_for = |key: &str| {
        let (client, url) = (server.client.clone(), server.url(&format!("/v1/outcomes/{key}?wait=30s")));
        thread::spawn(move || answer(client.get(url).send().unwrap()).0)
    };
    let (first, second) = (wait_for("a"), wait_for("b"));
    apply_outcome(&server.memory.views, "a");
    assert_eq!(first.join().unwrap(), 200);
    while !server.get("/metrics").text().unwrap().contains("faultline_http_outcome_waits 1\n") {}
    server.stop();
    assert_eq!(second.join().unwrap(), 404, "it is answered with what is known");
}
