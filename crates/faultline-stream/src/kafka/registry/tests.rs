//! A registry that says what a test wants, and what becomes of records before it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;

use faultline_model::avro::{INTEL, decode, encode};
use faultline_model::intel::{EpssScore, IntelRecord};
use faultline_model::topic;
use serde_json::{Value, json};

use super::*;
use crate::error::HostError;
use crate::kafka::KafkaError;
use crate::log::{AS_WRITTEN, Headers, Record, Stored, as_written};
use crate::topics::TopicPlan;

const PATIENCE: Duration = Duration::from_secs(30);
/// The registry's id of a schema is ours and so much.
const BEYOND: u32 = 100;
const INTEL_ID: u32 = 4 + BEYOND;

/// What a request was.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    authorization: Option<String>,
    body: Value,
}

type Says = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    fn new(says: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None, says)
    }

    fn at(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        says: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (asked, is_over): (Arc<Mutex<Vec<Asked>>>, Arc<AtomicBool>) = Default::default();
        let address = listener.local_addr().unwrap();
        let says: Arc<Says> = Arc::new(says);
        let thread = std::thread::spawn({
            let (asked, is_over) = (asked.clone(), is_over.clone());
            move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    let (stream, tls, says, asked) = (stream.unwrap(), tls.clone(), says.clone(), asked.clone());
                    std::thread::spawn(move || match tls {
                        None => serve(stream, &*says, &asked),
                        Some(config) => {
                            serve(rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream), &*says, &asked);
                        }
                    });
                }
            }
        });
        Self { address, asked, is_over, thread: Some(thread) }
    }

    fn options(&self) -> RegistryOptions {
        RegistryOptions::new(format!("http://{}/api/", self.address))
    }

    fn registry(&self) -> Registry {
        Registry::new(&self.options()).unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often something was asked.
    fn count(&self, line: &str) -> usize {
        self.asked().iter().filter(|asked| asked.line == line).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One request a connection.
fn serve(stream: impl Read + Write, says: &Says, asked: &Mutex<Vec<Asked>>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(read) if read > 0 && line != "\r\n" => head.push(line),
            Ok(read) if read > 0 => break,
            // A client that does not trust the certificate goes.
            _ => return,
        }
    }
    let header = |name: &str| {
        head.iter()
            .find_map(|line| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let line = head[0].trim().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = Asked { line, authorization: header("authorization").map(str::to_owned), body };
    asked.lock().unwrap().push(request.clone());
    let (status, text) = says(&request);
    let answer = format!(
        "HTTP/1.1 {status} As it is\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let _ = stream.get_mut().write_all(answer.as_bytes());
    let _ = stream.get_mut().flush();
}

fn no_such_schema() -> (u16, String) {
    (404, json!({"error_code": 40403, "message": "Schema not found"}).to_string())
}

/// As a registry does that has our schemas, and those that are given by their ids.
fn as_prepared(others: &[(u32, &str)]) -> impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static {
    let mut schemas: BTreeMap<u32, String> = others.iter().map(|(id, text)| (*id, (*text).to_owned())).collect();
    schemas.extend(SUBJECTS.iter().flat_map(|subject| subject.versions()).map(|version| (version.id + BEYOND, version.text.to_owned())));
    move |asked| {
        if let Some(id) = asked.line.strip_prefix("GET /api/schemas/ids/") {
            let found = id.parse().ok().and_then(|id: u32| schemas.get(&id));
            return found.map_or_else(no_such_schema, |text| (200, json!({ "schema": text }).to_string()));
        }
        let text = asked.body["schema"].as_str();
        let found = schemas.iter().find(|(id, known)| **id > BEYOND && text == Some(known));
        found.map_or_else(no_such_schema, |(id, _)| (200, json!({ "id": id, "version": 1 }).to_string()))
    }
}

fn epss(ppm: i32) -> Vec<u8> {
    encode(IntelRecord::Epss(EpssScore { probability_ppm: ppm })).unwrap()
}

/// `intel` as a program of tomorrow has it: with one more optional field behind the others.
fn tomorrow() -> String {
    let mut schema: Value = serde_json::from_str(INTEL.newest().text).unwrap();
    schema["fields"].as_array_mut().unwrap().push(json!({"name": "source", "type": ["null", "string"], "default": null}));
    schema.to_string()
}

/// A value under another id.
fn under(value: &[u8], id: u32) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], &value[5..]].concat()
}

fn of_tomorrow(ppm: i32, id: u32) -> Vec<u8> {
    [&under(&epss(ppm), id)[..], &[2, 6], b"kev"].concat()
}

fn at(offset: u64, value: &[u8]) -> Stored {
    Stored { offset, key: b"CVE-1".to_vec(), value: Some(value.to_vec()), headers: Headers::default(), timestamp_ms: 0 }
}

fn record(Stored { key, value, headers, timestamp_ms, .. }: Stored) -> Record {
    Record { topic: topic::INTEL.name, partition: 0, key, value, headers, timestamp_ms }
}

fn wire(options: &RegistryOptions) -> Wire {
    Wire::open(Some(options), &[TopicPlan::of(topic::INTEL)]).unwrap()
}

fn gauge(wire: &Wire, name: &str) -> u64 {
    wire.registry().unwrap().gauges().iter().find(|gauge| gauge.name == name).unwrap().value
}

const PLACE: crate::log::Place = (topic::INTEL.name, 0);

fn error_of<T>(answered: Result<T, HostError>) -> RegistryError {
    match answered {
        Err(HostError::Kafka(KafkaError::Registry(error))) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("there was an answer"),
    }
}

/// Asks again until there is an answer.
fn in_time<T, E: fmt::Display>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

#[test]
fn what_is_missing_is_registered_oldest_first_under_a_rule_and_only_once() {
    // A schema has one id, whatever subjects have it.
    let registered = Mutex::new((Vec::<String>::new(), BTreeSet::<(String, String)>::new()));
    let fake = Fake::new(move |asked| {
        let (schemas, subjects) = &mut *registered.lock().unwrap();
        if asked.line.starts_with("PUT") {
            return (200, asked.body.to_string());
        }
        let subject = asked.line.split('/').nth(3).unwrap().to_owned();
        let schema = asked.body["schema"].as_str().unwrap().to_owned();
        let is_new = !subjects.contains(&(subject.clone(), schema.clone()));
        if is_new && !asked.line.ends_with("/versions") {
            return (404, json!({"error_code": 40401, "message": "no subject"}).to_string());
        }
        if !schemas.contains(&schema) {
            schemas.push(schema.clone());
        }
        let id = schemas.iter().position(|known| *known == schema).unwrap() + 1;
        subjects.insert((subject, schema));
        (200, json!({ "id": id }).to_string())
    });
    let registry = fake.registry();
    registry.prepare().unwrap();
    let lines: Vec<String> = fake.asked().into_iter().map(|asked| asked.line).collect();
    for (subject, name) in names() {
        assert_eq!(fake.count(&format!("POST /api/subjects/{name}/versions")), subject.versions().count());
        let at = |line: String| lines.iter().position(|known| *known == line).unwrap();
        assert!(at(format!("POST /api/subjects/{name}/versions")) < at(format!("PUT /api/config/{name}")));
    }
    assert!(fake.asked().iter().any(|asked| asked.body == json!({"compatibility": "FULL_TRANSITIVE"})));
    let before = fake.asked().len();
    // Whose place among all is not its number here.
    let theirs = registry.id_of(&INTEL, 4).unwrap();
    assert!(matches!(&*registry.writer(theirs).unwrap(), Writer::Ours(4)));
    assert_eq!(fake.asked().len(), before);
    // Another process finds all of it there.
    let versions: usize = names().map(|(subject, _)| subject.versions().count()).sum();
    fake.registry().prepare().unwrap();
    assert_eq!(fake.asked().iter().filter(|asked| asked.line.ends_with("/versions")).count(), versions);
}

#[test]
fn ids_are_exchanged_both_ways_and_what_comes_goes_back_as_it_came() {
    let text = tomorrow();
    let fake = Fake::new(as_prepared(&[(7, &text), (8, "no schema"), (9, INTEL.newest().text)]));
    let wire = wire(&fake.options());
    let mut sent = [record(at(0, &epss(1)))];
    wire.outgoing(&mut sent).unwrap();
    assert_eq!(sent[0].value.as_deref().unwrap(), under(&epss(1), INTEL_ID));

    let came = [
        under(&epss(1), INTEL_ID),       // 0: ours
        under(&epss(2), 9),              // 1: ours, which has a second id
        of_tomorrow(3, 7),               // 2: a newer program's
        under(&epss(4), 55),             // 3: nobody's
        under(&epss(5), 8),              // 4: one that cannot be read with
        under(&epss(6), 0),              // 5: no id
        under(&epss(6), u32::MAX),       // 6: no id either
        under(&epss(7), 6 + BEYOND),     // 7: another topic's
        b"{}".to_vec(),                  // 8: not framed
        of_tomorrow(3, 7)[..8].to_vec(), // 9: cut short
    ];
    let mut stored: Vec<Stored> = came.iter().zip(0..).map(|(value, offset)| at(offset, value)).collect();
    // Somebody who says by our header what he had written.
    stored[0].headers = [("trace".to_owned(), vec![1]), (AS_WRITTEN.to_owned(), vec![0, 0, 0, 9])].into();
    let page = wire.incoming(PLACE, stored).unwrap();
    let decoded: Vec<_> = page.iter().map(|record| decode::<IntelRecord>(record.value.as_deref().unwrap())).collect();
    for (at, ppm) in [1, 2, 3].into_iter().enumerate() {
        assert_eq!(decoded[at].as_ref().unwrap(), &IntelRecord::Epss(EpssScore { probability_ppm: ppm }));
    }
    for (at, reason) in [
        (3, "does not know the record's schema id 55"),
        (4, "id 8 in the registry cannot be used"),
        (5, "schema id is 0"),
        (6, "schema id is 4294967295"),
        (7, "intel-value"),
        (8, "Confluent's wire format"),
        (9, "with the registry's schema 7"),
    ] {
        let said = decoded[at].as_ref().unwrap_err().to_string();
        assert!(said.contains(reason), "{said}");
    }
    // To its own partition, and into a dead letter.
    let mut back: Vec<Record> = page.iter().cloned().map(record).collect();
    wire.outgoing(&mut back).unwrap();
    for ((back, mut stored), came) in back.into_iter().zip(page).zip(&came) {
        assert_eq!(back.value.as_ref(), Some(came));
        assert!(back.headers.iter().all(|(name, _)| name == "trace"));
        assert_eq!(as_written(&mut stored.headers, stored.value).as_ref(), Some(came));
    }
    // Each id once, however often it stood there.
    assert_eq!((fake.count("GET /api/schemas/ids/7"), fake.count(&format!("GET /api/schemas/ids/{INTEL_ID}"))), (1, 0));
}

#[test]
fn an_id_is_asked_for_once_however_many_wait() {
    let (text, gate) = (tomorrow(), Arc::new(Barrier::new(2)));
    let says = as_prepared(&[(7, &text)]);
    let fake = Fake::new({
        let gate = gate.clone();
        move |asked| {
            gate.wait();
            says(asked)
        }
    });
    let registry = fake.registry();
    let all = Barrier::new(9);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                all.wait();
                assert!(matches!(&*registry.writer(7).unwrap(), Writer::Other(_)));
            });
        }
        all.wait();
        gate.wait();
    });
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn an_outage_stops_only_what_needs_an_id_never_seen_and_passes() {
    let text = tomorrow();
    let fake = Fake::new(as_prepared(&[(7, &text)]));
    let (address, options) = (fake.address, fake.options());
    let wire = wire(&options);
    drop(fake);
    // Ours were learnt at the start.
    let known = |offset| at(offset, &under(&epss(1), INTEL_ID));
    assert_eq!((gauge(&wire, "faultline_registry_is_away"), gauge(&wire, "faultline_registry_failures_total")), (0, 0));
    assert_eq!(wire.incoming(PLACE, vec![known(0)]).unwrap().len(), 1);
    wire.outgoing(&mut [record(at(0, &epss(1)))]).unwrap();
    // What stands before the one that is not known is read; then the partition ends there, until it is asked again.
    let unknown = at(2, &of_tomorrow(3, 7));
    let page = wire.incoming(PLACE, vec![known(0), known(1), unknown.clone(), known(3)]).unwrap();
    assert_eq!(page.len(), 2);
    let again = wire.registry().unwrap().again().unwrap();
    assert!(wire.end(PLACE, 4) == 2 || Instant::now() >= again);
    let error = error_of(wire.incoming(PLACE, vec![unknown.clone()]));
    assert!(matches!(&error, RegistryError::Unreachable { .. }) && error.is_passing(), "{error}");
    assert!(wire.registry().unwrap().outage().is_some());
    assert!(gauge(&wire, "faultline_registry_is_away") == 1 && gauge(&wire, "faultline_registry_failures_total") > 0);
    assert_eq!(wire.end((topic::INTEL.name, 1), 4), 4);
    // A stage that looked it up is to be opened again, too.
    let looked = wire.latest(PLACE.0, Some(unknown.clone())).unwrap_err();
    let source = faultline_core::store::StoreError::read(looked).into();
    assert!(HostError::Stage { task: crate::TaskId { stage: "track", partition: 0 }, source }.is_passing());

    let _fake = Fake::at(address, None, as_prepared(&[(7, &text)]));
    let page = in_time(|| wire.incoming(PLACE, vec![unknown.clone(), known(3)]));
    assert_eq!((page.len(), wire.end(PLACE, 4)), (2, 4));
    assert!(wire.registry().unwrap().outage().is_none());
    assert!(gauge(&wire, "faultline_registry_is_away") == 0 && gauge(&wire, "faultline_registry_failures_total") > 0);
}

#[test]
fn a_registry_that_is_away_is_not_asked_all_the_time() {
    let fake = Fake::new(|_| (503, "busy".to_owned()));
    let registry = fake.registry();
    let until = Instant::now() + Duration::from_millis(500);
    let mut tried = 0;
    while Instant::now() < until {
        let error = registry.writer(7).err().unwrap();
        assert!(error.to_string().contains("503: busy"), "{error}");
        tried += 1;
    }
    // At 0, 100, 300 ms, and perhaps once more.
    assert!(tried > 10 && fake.asked().len() <= 4, "{tried} {}", fake.asked().len());
}

#[test]
fn only_a_registry_can_say_that_an_id_is_not_there() {
    for (status, text, expected) in [
        (404, "<html>not here</html>", "is no schema registry"),
        (404, r#"{"status": 404}"#, "is no schema registry"),
        (302, "", "is no schema registry"),
        (200, "<html>welcome</html>", "not JSON"),
        (200, "{}", "gives no schema"),
        (401, "", "says 401 to GET /schemas/ids/7"),
        (403, "", "says 403"),
        (500, r#"{"error_code": 50001, "message": "store"}"#, "does not answer"),
        (429, "", "does not answer"),
    ] {
        let fake = Fake::new(move |_| (status, text.to_owned()));
        let error = fake.registry().writer(7).err().unwrap();
        assert!(error.to_string().contains(expected) && error.is_passing(), "{error}");
    }
    for (text, expected) in [
        (json!({"schema": "{}", "schemaType": "JSON"}), "of type JSON"),
        (json!({"schema": "\"string\"", "references": [{"name": "a", "subject": "b", "version": 1}]}), "refers to other schemas"),
    ] {
        let fake = Fake::new(move |_| (200, text.to_string()));
        let writer = fake.registry().writer(7).unwrap();
        assert!(matches!(&*writer, Writer::Unusable(reason) if reason.contains(expected)));
    }
}

#[test]
fn a_schema_that_is_not_taken_is_said_so_at_the_start() {
    let fake = Fake::new(|asked| {
        if asked.line.ends_with("/versions") {
            (409, json!({"error_code": 409, "message": "field gone"}).to_string())
        } else {
            no_such_schema()
        }
    });
    let error = error_of(Wire::open(Some(&fake.options()), &[TopicPlan::of(topic::INTEL)]));
    assert!(matches!(&error, RegistryError::Incompatible { subject: "intel-value", version: 1, .. }) && !error.is_passing(), "{error}");
}

#[test]
fn who_we_are_is_said_to_the_registry_and_to_nobody_else() {
    for (auth, sent) in [
        (RegistryAuth::Basic { user: "us".to_owned(), password: "hush".to_owned() }, "Basic dXM6aHVzaA=="),
        (RegistryAuth::Bearer { token: "hush".to_owned() }, "Bearer hush"),
    ] {
        let fake = Fake::new(|_| (401, String::new()));
        let options = RegistryOptions { auth, ..fake.options() };
        let error = Registry::new(&options).unwrap().writer(7).err().unwrap();
        assert_eq!(fake.asked()[0].authorization.as_deref(), Some(sent));
        assert!(![format!("{options:?}"), format!("{error:?}"), error.to_string()].iter().any(|said| said.contains("hush")));
    }
    for url in ["http://us:hush@127.0.0.1/", "ftp://127.0.0.1", "registry:8081", "http://127.0.0.1/?a", ""] {
        let options = RegistryOptions::new(url);
        let error = Registry::new(&options).err().unwrap();
        assert!(matches!(&error, RegistryError::Options { .. }) && !error.is_passing(), "{url}");
        assert!(!format!("{options:?} {error}").contains("hush"));
    }
}

fn self_signed(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).unwrap()
}

#[test]
fn tls_is_checked_by_the_authority_that_is_named() {
    let certified = self_signed("localhost");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let fake = Fake::at("127.0.0.1:0".parse().unwrap(), Some(Arc::new(config)), as_prepared(&[]));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let options = RegistryOptions::new(format!("https://localhost:{}/api", fake.address.port()));
    let trusting = RegistryOptions { ca: Some(ca.clone()), ..options.clone() };
    assert!(matches!(&*Registry::new(&trusting).unwrap().writer(INTEL_ID).unwrap(), Writer::Ours(4)));
    assert!(matches!(Registry::new(&options).unwrap().writer(INTEL_ID), Err(RegistryError::Unreachable { .. })));
    std::fs::write(&ca, "no certificate").unwrap();
    assert!(matches!(Registry::new(&trusting), Err(RegistryError::Options { .. })));
}

#[test]
fn a_registry_that_asks_for_a_certificate_is_shown_the_one_that_is_named() {
    let (certified, ours, strange) = (self_signed("localhost"), self_signed("faultline.example"), self_signed("stranger.example"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ours.cert.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let fake = Fake::at("127.0.0.1:0".parse().unwrap(), Some(Arc::new(config)), as_prepared(&[]));
    let folder = tempfile::tempdir().unwrap();
    let kept = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = kept("ca.pem", &certified.cert.pem());
    let options = RegistryOptions { ca: Some(ca), ..RegistryOptions::new(format!("https://localhost:{}/api", fake.address.port())) };
    let shown = |name: &str, certified: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let certificate = kept(&format!("{name}.pem"), &certified.cert.pem());
        let key = kept(&format!("{name}.key"), &certified.signing_key.serialize_pem());
        RegistryOptions { certificate: Some(CertificateFiles { certificate, key }), ..options.clone() }
    };
    assert!(matches!(&*Registry::new(&shown("ours", &ours)).unwrap().writer(INTEL_ID).unwrap(), Writer::Ours(4)));
    for refused in [options.clone(), shown("strange", &strange)] {
        assert!(matches!(Registry::new(&refused).unwrap().writer(INTEL_ID), Err(RegistryError::Unreachable { .. })));
    }
    let certificate = folder.path().join("ours.pem");
    for key in [folder.path().join("no.key"), kept("wrong.key", "no key")] {
        let wrong = RegistryOptions { certificate: Some(CertificateFiles { certificate: certificate.clone(), key }), ..options.clone() };
        assert!(matches!(Registry::new(&wrong), Err(RegistryError::Options { .. })));
    }
}

#[test]
fn answers_are_kept_up_to_a_bound_and_ours_beyond_it() {
    let lookups = Lookups::<u32, u32>::of_at_most(2);
    lookups.pin(0, 0);
    let ask = |key: u32| {
        let mut was_asked = false;
        let answer = lookups.get(key, || {
            was_asked = true;
            Ok::<_, ()>(Answer::for_ever(key))
        });
        assert_eq!(answer, Ok(key));
        was_asked
    };
    assert_eq!([1, 2, 1, 3, 1, 2, 0].map(ask), [true, true, false, true, false, true, false]);
    assert_eq!(lookups.get(9, || Err::<Answer<u32>, _>("away")), Err("away"));
    assert!(ask(9));
    let passing = || Ok::<_, ()>(Answer { value: 7, holds: Some(Duration::ZERO) });
    assert_eq!((lookups.get(7, passing), lookups.known(7)), (Ok(7), None));
}
