//! Destinations are told over real sockets, by a stage at work on a log in memory.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use faultline_core::notify::{Notify, Webhook as Described, read};
use faultline_core::store::Store;
use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::notice::{Delivery, DeliveryStatus};
use faultline_model::risk::{self, EvidenceState, Risk, RiskState};
use faultline_model::testing::records;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DELIVERIES, RISKS};
use faultline_sinks::webhook::{Answers, Endpoint, Options, Postman};
use faultline_stream::{Clock, Courier, Host, HostOptions, ManualClock, MemoryLog, Running, Seat, append, topic_plans};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use standardwebhooks::Webhook;
use tempfile::TempDir;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
/// So long that nothing that works takes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that changes, and can be waited for.
#[derive(Default)]
struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T: Clone> Watched<T> {
    fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock().unwrap());
        self.changed.notify_all();
    }

    fn now(&self) -> T {
        self.value.lock().unwrap().clone()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&T) -> bool) -> T {
        let value = self.value.lock().unwrap();
        let (value, waited) = self.changed.wait_timeout_while(value, PATIENCE, |value| !is_so(value)).unwrap();
        assert!(!waited.timed_out(), "{what} does not come about");
        value.clone()
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    id: String,
    body: String,
}

/// Somebody who is told: says what they are asked, and answers what they are to.
#[derive(Clone, Default)]
struct Told {
    asked: Arc<Watched<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
    /// Whether they answer nothing at all.
    hangs: Arc<AtomicBool>,
}

impl Told {
    fn answering(answers: impl IntoIterator<Item = Response>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    /// Listens in the background for as long as the test runs.
    fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, told) = (listener.local_addr().unwrap(), self.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, Router::new().route("/hook", post(hear)).with_state(told)).await.unwrap();
            });
        });
        address
    }

    fn asked(&self, count: usize) -> Vec<Asked> {
        self.asked.wait(&format!("request {count}"), |asked| asked.len() >= count)
    }
}

async fn hear(State(told): State<Told>, headers: HeaderMap, body: String) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap();
    // Of the time that it names, whatever the clock of the test says.
    let signed =
        Webhook::new(SECRET).unwrap().sign(text("webhook-id"), text("webhook-timestamp").parse().unwrap(), body.as_bytes()).unwrap();
    let is_signed = text("webhook-signature") == signed && text("content-type") == "application/json";
    let id = text("webhook-id").to_owned();
    told.asked.change(|asked| asked.push(Asked { id, body }));
    if told.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if !is_signed {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    told.answers.lock().unwrap().pop_front().unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
}

fn answer(status: StatusCode, headers: &[(&'static str, &str)]) -> Response {
    let mut response = status.into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// Where what became of attempts is kept, and how often it cannot be.
struct Kept {
    log: Arc<MemoryLog>,
    clock: Arc<ManualClock>,
    refusals: AtomicUsize,
    said: Watched<Vec<Delivery>>,
}

struct Door(Arc<Kept>);

impl Answers for Door {
    fn append(&self, key: String, delivery: Delivery) -> Result<(), Box<dyn Error + Send + Sync>> {
        let kept = &self.0;
        if kept.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("the brokers are away".into());
        }
        let value = avro::encode(delivery.clone())?;
        append(&*kept.log, DELIVERIES, vec![(key, Some(value))], kept.clock.now(), &[])?;
        kept.said.change(|said| said.push(delivery));
        Ok(())
    }
}

/// Counts the looks of a courier.
struct Looking {
    courier: Arc<dyn Courier>,
    looks: Arc<Watched<u64>>,
}

impl Courier for Looking {
    fn look(&self, seat: Seat, state: &dyn Store, now: Timestamp) {
        self.courier.look(seat, state, now);
        self.looks.change(|looks| *looks += 1);
    }

    fn leave(&self, seat: Seat) {
        self.courier.leave(seat);
    }
}

/// A log with the stage at work on it.
struct World {
    kept: Arc<Kept>,
    described: Vec<Described>,
    at_work: Option<(Running, Postman)>,
    looks: Arc<Watched<u64>>,
    _folder: TempDir,
}

/// Webhooks with a secret in a folder.
fn described(folder: &TempDir, to: &[(&str, String)]) -> Vec<Described> {
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let one = |(name, rest): &(&str, String)| format!("{{ name: {name}, secret_file: {}, {rest} }}", secret.display());
    let entries: Vec<String> = to.iter().map(one).collect();
    read("notify.yaml", &format!("webhooks: [{}]", entries.join(", "))).unwrap()
}

fn at(address: SocketAddr) -> String {
    format!("url: 'http://{address}/hook', allow_private: true")
}

impl World {
    fn new(to: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(MemoryLog::new(topic_plans(), 3).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_760_000_000_000)));
        let kept = Arc::new(Kept { log, clock, refusals: AtomicUsize::new(0), said: Watched::default() });
        let mut world = Self { kept, described: described(&folder, to), at_work: None, looks: Arc::default(), _folder: folder };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let endpoints = self.described.iter().map(|described| Endpoint::try_from(described).unwrap()).collect();
        let options = Options {
            timeout: Duration::from_mins(10),
            stop: Duration::ZERO,
            before_again: Duration::from_millis(10),
            ..Options::default()
        };
        let postman = Postman::start(endpoints, Arc::new(Door(self.kept.clone())), self.kept.clock.clone(), options).unwrap();
        let destinations = self.described.iter().map(|described| described.destination.clone()).collect();
        let mut host = Host::new(self.kept.log.clone(), HostOptions { tick: Duration::from_millis(20), ..HostOptions::default() });
        host.add_with(
            Notify { destinations, ..Notify::default() },
            Some(Arc::new(Looking { courier: postman.courier(), looks: self.looks.clone() })),
        )
        .unwrap();
        self.at_work = Some((host.start(self.kept.clock.clone()).unwrap(), postman));
    }

    /// Without a word of what is under way.
    fn killed(&mut self) {
        let (running, postman) = self.at_work.take().unwrap();
        drop(postman);
        running.stop().unwrap();
    }

    /// A risk that was not there is verified.
    fn verified(&self, number: u8) {
        let any = records::risks().new_tree(&mut TestRunner::deterministic()).unwrap().current();
        let (service, risk) = (format!("service-{number}"), Id([number; 16]));
        let key = risk::key(&service, risk);
        let record =
            Risk { risk, service, title: format!("risk {number}"), state: RiskState::Open, evidence: EvidenceState::Verified, ..any };
        append(&*self.kept.log, RISKS, vec![(key, Some(avro::encode(record).unwrap()))], self.kept.clock.now(), &[]).unwrap();
    }

    fn pass(&self, time: Duration) {
        let now = self.kept.clock.now().millis();
        self.kept.clock.set(Timestamp::from_millis(now + i64::try_from(time.as_millis()).unwrap()));
    }

    fn said(&self, count: usize) -> Vec<Delivery> {
        self.kept.said.wait(&format!("word {count} of an attempt"), |said| said.len() >= count)
    }

    /// Until nothing is to be told any more, by committed state.
    fn is_at_rest(&self) {
        let is_so = |_: &u64| self.postman().standings().iter().all(|standing| standing.undelivered == 0);
        self.looks.wait("rest", is_so);
    }

    fn postman(&self) -> &Postman {
        &self.at_work.as_ref().unwrap().1
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.at_work.is_some() {
            self.killed();
        }
    }
}

#[test]
fn a_destination_is_told_once_with_a_signature() {
    let told = Told::default();
    let world = World::new(&[("soc", at(told.listen()))]);
    world.verified(1);
    let asked = told.asked(1).remove(0);
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    assert_eq!(
        (text(&body["type"]), text(&body["data"]["title"]), text(&body["data"]["id"])),
        ("risk.verified".into(), "risk 1".into(), asked.id.clone())
    );
    let said = world.said(1).remove(0);
    assert_eq!((said.destination.as_str(), said.attempt, said.status, said.reason.as_str()), ("soc", 1, DeliveryStatus::Delivered, ""));
    world.verified(2);
    assert_ne!(told.asked(2)[1].id, asked.id);
    world.said(2);
    world.is_at_rest();
    assert_eq!(told.asked.now().len(), 2, "nothing is told twice");
}

#[test]
fn what_fails_is_told_again_when_it_is_time_under_the_same_id() {
    let unavailable = answer(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "60")]);
    let told = Told::answering([unavailable, answer(StatusCode::FOUND, &[("location", "http://127.0.0.1:1/")])]);
    let world = World::new(&[("soc", at(told.listen()))]);
    let begun = world.kept.clock.now();
    world.verified(1);
    let first = world.said(1).remove(0);
    assert_eq!((first.reason.as_str(), first.again_at), ("503 Service Unavailable", Some(Timestamp::from_millis(begun.millis() + 60_000))));
    world.pass(Duration::from_secs(61));
    let second = world.said(2).remove(1);
    assert_eq!(
        (second.attempt, second.status, second.reason.as_str()),
        (2, DeliveryStatus::Failed, "302 Found: redirects are not followed")
    );
    world.pass(Duration::from_mins(6));
    assert_eq!(world.said(3)[2].status, DeliveryStatus::Delivered);
    let ids: Vec<String> = told.asked(3).into_iter().map(|asked| asked.id).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn who_wants_to_be_told_no_more_is_not() {
    let told = Told::answering([answer(StatusCode::GONE, &[])]);
    let world = World::new(&[("soc", at(told.listen()))]);
    world.verified(1);
    assert_eq!(world.said(1)[0].status, DeliveryStatus::GivenUp);
    world.pass(Duration::from_hours(48));
    // What comes later is another notice, and told.
    world.verified(2);
    assert_eq!(world.said(2)[1].status, DeliveryStatus::Delivered);
    assert_eq!(told.asked.now().len(), 2);
}

#[test]
fn one_that_never_answers_holds_up_nobody_else() {
    let (deaf, told) = (Told::default(), Told::default());
    deaf.hangs.store(true, Ordering::SeqCst);
    let world = World::new(&[("deaf", at(deaf.listen())), ("soc", at(told.listen()))]);
    for number in 1..=20 {
        world.verified(number);
    }
    assert!(world.said(20).iter().all(|said| said.destination == "soc"));
    assert_eq!(deaf.asked(4).len(), 4, "no more calls at once than it may have");
    let standing = world.postman().standings().remove(0);
    assert_eq!((standing.destination.as_str(), standing.undelivered), ("deaf", 20));
    assert!(standing.oldest.is_some());
}

#[test]
fn who_was_killed_before_they_said_so_tells_again_under_the_same_id() {
    let told = Told::default();
    told.hangs.store(true, Ordering::SeqCst);
    let mut world = World::new(&[("soc", at(told.listen()))]);
    world.verified(1);
    let first = told.asked(1).remove(0);
    world.killed();
    told.hangs.store(false, Ordering::SeqCst);
    world.begin();
    assert_eq!(told.asked(2)[1].id, first.id);
    assert_eq!(world.said(1)[0].attempt, 1, "nobody knows of the first");
}

#[test]
fn an_attempt_is_not_made_again_while_its_outcome_cannot_be_said() {
    let told = Told::default();
    let world = World::new(&[("soc", at(told.listen()))]);
    world.kept.refusals.store(2, Ordering::SeqCst);
    world.verified(1);
    assert_eq!(world.said(1)[0].status, DeliveryStatus::Delivered);
    world.is_at_rest();
    assert_eq!(told.asked.now().len(), 1);
}

/// What became of the last calls before a stop is read before anybody is told anything again.
#[test]
fn what_was_said_before_a_start_is_known_at_it() {
    let told = Told::default();
    told.hangs.store(true, Ordering::SeqCst);
    let mut world = World::new(&[("soc", at(told.listen()))]);
    world.verified(1);
    let asked = told.asked(1).remove(0);
    world.killed();
    told.hangs.store(false, Ordering::SeqCst);
    // As somebody else's call had it, after this one's task had stopped.
    let (notice, destination) = (asked.id.parse().unwrap(), "soc".to_owned());
    let (status, reason, now) = (DeliveryStatus::Delivered, String::new(), world.kept.clock.now());
    let delivery = Delivery { notice, destination, attempt: 1, status, reason, at: now, again_at: None };
    Door(world.kept.clone()).append(format!("service-1\u{1f}{notice}/soc"), delivery).unwrap();
    world.begin();
    world.verified(2);
    world.said(2);
    world.is_at_rest();
    assert_eq!(told.asked.now().len(), 2, "the first is not told again");
}

#[test]
fn no_name_leads_into_a_network_that_is_not_everybodys() {
    let told = Told::default();
    let port = told.listen().port();
    let local = |host: &str| format!("url: 'https://{host}:{port}/hook'");
    let world = World::new(&[("address", local("127.0.0.1")), ("mapped", local("[::ffff:127.0.0.1]")), ("name", local("localhost"))]);
    world.verified(1);
    for Delivery { destination, status, reason, .. } in world.said(3) {
        assert!(status == DeliveryStatus::Failed && reason.contains("which is not everybody's"), "{destination}: {reason}");
    }
    assert!(told.asked.now().is_empty());
}

#[test]
fn a_secret_that_is_none_is_told_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let described = described(&folder, &[("soc", "url: 'https://hooks.example/secret-path'".to_owned())]).remove(0);
    let shown = format!("{:?}", Endpoint::try_from(&described).unwrap());
    assert!(shown.contains("soc") && !shown.contains("secret-path") && !shown.contains("MfKQ9"), "{shown}");
    for (wrong, why) in [("whsec_c2hvcnQ=", "too short or too long"), ("whsec_*************************************", "is no secret")] {
        std::fs::write(&described.secret_file, wrong).unwrap();
        let error = Endpoint::try_from(&described).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains(wrong), "{error}");
    }
    std::fs::remove_file(&described.secret_file).unwrap();
    assert!(Endpoint::try_from(&described).unwrap_err().to_string().contains("cannot be read"));
}
