//! Webhooks: signed, numbered, when and as often as the test says.
#![allow(clippy::unwrap_used)]

mod http;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use faultline_fake_jira::{DeliveryError, FakeJira, signature};
use http::{PATIENCE, create, start};
use serde_json::Value;

/// What came: headers with small names, and the body.
type Came = (Vec<(String, String)>, String);

/// Takes as many messages as there are statuses, and answers with these.
fn receiver(statuses: Vec<u16>) -> (String, Receiver<Came>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?queue=1", listener.local_addr().unwrap());
    let (send, came) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with("POST /hook?queue=1 "), "{line}");
            let mut headers = Vec::new();
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else { break };
                headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            let length = header(&headers, "content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").unwrap();
            send.send((headers, String::from_utf8(body).unwrap())).unwrap();
        }
    });
    (url, came)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn aimed(statuses: Vec<u16>) -> (FakeJira, http::Http, Receiver<Came>) {
    let (fake, http) = start();
    let (url, came) = receiver(statuses);
    fake.set_webhook(&url, "secret");
    (fake, http, came)
}

/// The second test case of RFC 4231.
#[test]
fn a_signature_is_hmac_sha256() {
    let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(signature("Jefe", "what do ya want for nothing?"), expected);
}

#[test]
fn each_change_is_told_and_signed() {
    let (fake, http, came) = aimed(vec![200; 5]);
    let id = create(&http, "SEC");
    fake.as_person().close(&id).unwrap();
    fake.as_person().comment(&id, "Done").unwrap();
    fake.as_person().delete(&id).unwrap();
    assert!(came.try_recv().is_err(), "nothing goes before the test says so");
    assert_eq!(wait(fake.deliver_webhooks()).unwrap(), 4);
    assert_eq!(wait(fake.resend_last_webhook()).unwrap(), 200);
    let all: Vec<Came> = (0..5).map(|_| came.recv_timeout(PATIENCE).unwrap()).collect();
    for (headers, body) in &all {
        assert_eq!(header(headers, "x-hub-signature"), Some(signature("secret", body).as_str()));
    }
    let events: Vec<Value> = all.iter().map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["webhookEvent"].clone()).collect();
    assert_eq!(events, ["jira:issue_created", "jira:issue_updated", "comment_created", "jira:issue_deleted", "jira:issue_deleted"]);
    let identifiers: Vec<_> = all.iter().map(|(headers, _)| header(headers, "x-atlassian-webhook-identifier").unwrap()).collect();
    assert!(identifiers[2] != identifiers[3] && identifiers[3] == identifiers[4]);
    assert_eq!(header(&all[4].0, "x-atlassian-webhook-retry"), Some("1"));
    let updated: Value = serde_json::from_str(&all[1].1).unwrap();
    assert_eq!((&updated["changelog"]["items"][0]["field"], &updated["issue"]["id"]), (&Value::from("status"), &Value::from(id)));
}

#[test]
fn what_is_refused_comes_again_in_any_order() {
    let (fake, http, came) = aimed(vec![503, 200, 200, 401]);
    let id = create(&http, "SEC");
    fake.as_person().close(&id).unwrap();
    fake.rearrange_webhooks(|pending| pending.reverse());
    assert!(matches!(wait(fake.deliver_webhooks()), Err(DeliveryError::Refused { status: 503, .. })));
    assert_eq!(
        fake.pending_webhooks().iter().map(|webhook| (webhook.event, webhook.sent)).collect::<Vec<_>>(),
        [("jira:issue_updated", 1)]
    );
    let copy = fake.pending_webhooks().remove(0);
    assert_eq!(wait(fake.deliver_webhooks()).unwrap(), 1);
    assert!(matches!(wait(fake.send_forged_webhook(copy, "guessed")), Err(DeliveryError::Refused { status: 401, .. })));
    let all: Vec<Came> = (0..4).map(|_| came.recv_timeout(PATIENCE).unwrap()).collect();
    let retries: Vec<_> = all.iter().map(|(headers, _)| header(headers, "x-atlassian-webhook-retry")).collect();
    assert_eq!(retries, [None, None, Some("1"), Some("1")]);
    assert_eq!(header(&all[3].0, "x-hub-signature"), Some(signature("guessed", &all[3].1).as_str()));
}
