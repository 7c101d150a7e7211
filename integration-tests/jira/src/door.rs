//! The door: HTTP, who may come in, and what goes wrong on the way in and out.
//!
//! Each request is carried out in a task of its own: who sent it may be gone, and it is done all the same.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, RawPathParams, Request as Incoming, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::control;
use crate::fault::{self, Answer, Armed, What};
use crate::request::Request;
use crate::serve::{Asked, OPERATIONS, Operation, Reply, UNKNOWN};
use crate::world::World;

/// The largest body that is read.
const BODY_BYTES: usize = 10 << 20;

pub(crate) struct Shared {
    world: Mutex<World>,
    gate: Mutex<Gate>,
    /// Told of each change of the log.
    logged: Condvar,
    /// How often what was held has been let go.
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) is_down: bool,
    pub(crate) faults: Vec<Armed>,
    pub(crate) requests: Vec<Request>,
    /// How often the log was cut: what is answered after that has no entry any more.
    cuts: u64,
}

/// Where a request stands in the log.
#[derive(Clone, Copy)]
struct Entry {
    at: usize,
    cuts: u64,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), gate: Mutex::default(), logged: Condvar::new(), released: watch::Sender::new(0) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    pub(crate) fn forget_requests(&self) {
        let mut gate = self.gate();
        gate.requests.clear();
        gate.cuts += 1;
    }

    pub(crate) fn wait_until(&self, patience: Duration, is_so: impl Fn(&[Request]) -> bool) -> bool {
        let waited = self.logged.wait_timeout_while(self.gate(), patience, |gate| !is_so(&gate.requests));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn note(&self, entry: Entry, note: impl FnOnce(&mut Request)) {
        let mut gate = self.gate();
        if gate.cuts == entry.cuts
            && let Some(request) = gate.requests.get_mut(entry.at)
        {
            note(request);
        }
        drop(gate);
        self.logged.notify_all();
    }
}

/// Listens until it is told to stop.
pub(crate) async fn listen(listener: TcpListener, shared: Arc<Shared>, mut stop: oneshot::Receiver<()>) {
    let router = router(shared);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => return,
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(serve(stream, router.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Marks an answer as none: the connection is closed instead.
#[derive(Clone, Copy)]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("the connection is closed, as was asked for")]
struct ClosedOnPurpose;

async fn serve(stream: TcpStream, router: Router) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answering = router.call(request);
        async move {
            let Ok(response) = answering.await;
            // A service that fails has no answer: hyper closes the connection.
            if response.extensions().get::<Closed>().is_some() { Err(ClosedOnPurpose) } else { Ok(response) }
        }
    });
    // That a connection ended badly is what some tests are for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn router(shared: Arc<Shared>) -> Router {
    let known = OPERATIONS.iter().filter(|operation| !operation.method.is_empty()).fold(Router::new(), |router, operation| {
        let method = Method::from_bytes(operation.method.as_bytes()).ok().and_then(|method| MethodFilter::try_from(method).ok());
        let method = method.expect("operations have methods that there are");
        let enter = move |State(shared): State<Arc<Shared>>, parameters: RawPathParams, request: Incoming| {
            let parameters = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            enter(shared, operation, parameters, request)
        };
        router.route(operation.template, on(method, enter))
    });
    let unknown = |State(shared): State<Arc<Shared>>, request: Incoming| enter(shared, &UNKNOWN_OPERATION, BTreeMap::new(), request);
    known.fallback(unknown).method_not_allowed_fallback(unknown).merge(control::router()).with_state(shared)
}

static UNKNOWN_OPERATION: Operation = UNKNOWN;

/// What a request brings.
struct Brought {
    parameters: BTreeMap<String, String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

async fn enter(shared: Arc<Shared>, operation: &'static Operation, parameters: BTreeMap<String, String>, request: Incoming) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES).await else { return plain(Answer::new(413)) };
    let query = parts.uri.query().map(pairs).unwrap_or_default();
    let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let Some((entry, what, generation)) = admit(&shared, operation, template, &parts.method, path, &parts.headers, &body) else {
        return closed();
    };
    let brought = Brought { parameters, query, headers: parts.headers, body };
    let sent = tokio::spawn(carry_out(shared, operation, brought, entry, what, generation));
    sent.await.unwrap_or_else(|_| plain(Answer::new(500)))
}

/// Writes a request down, and finds out what is to go wrong with it; nothing if nobody is there.
fn admit(
    shared: &Shared,
    operation: &'static Operation,
    template: &str,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Option<(Entry, Option<What>, u64)> {
    let mut gate = shared.gate();
    if gate.is_down {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let what = fault::meet(&mut gate.faults, operation.name, method.as_str(), template, &[path, &text]);
    let body =
        if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or_else(|_| Value::String(text.into_owned())) };
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    gate.requests.push(Request {
        operation: operation.name,
        method: method.to_string(),
        path: path.to_owned(),
        body,
        headers: headers.iter().map(header).collect(),
        status: None,
        is_done: false,
    });
    let entry = Entry { at: gate.requests.len() - 1, cuts: gate.cuts };
    // Taken while the gate is locked: who sees the request in the log lets it go.
    let generation = *shared.released.borrow();
    drop(gate);
    shared.logged.notify_all();
    Some((entry, what, generation))
}

async fn carry_out(
    shared: Arc<Shared>,
    operation: &'static Operation,
    brought: Brought,
    entry: Entry,
    what: Option<What>,
    generation: u64,
) -> Response {
    match &what {
        Some(What::DropBefore) => return closed(),
        Some(What::DelayBefore(delay)) => tokio::time::sleep(*delay).await,
        Some(What::HoldBefore) => held(&shared, generation).await,
        _ => {}
    }
    if let Some(answer) = what.as_ref().and_then(What::answer_before) {
        shared.note(entry, |request| request.status = Some(answer.status));
        return plain(answer);
    }
    let reply = act(&shared, operation, brought);
    shared.note(entry, |request| request.is_done = true);
    match what {
        Some(What::DropAfter) => return closed(),
        Some(What::CutAfter) => return cut(&reply),
        Some(What::StatusAfter(answer)) => {
            shared.note(entry, |request| request.status = Some(answer.status));
            return plain(answer);
        }
        Some(What::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(What::Hold) => held(&shared, generation).await,
        _ => {}
    }
    shared.note(entry, |request| request.status = Some(reply.status));
    plain(written(&reply))
}

async fn held(shared: &Shared, generation: u64) {
    // It fails only if there is nobody any more who could let go.
    let _ = shared.released.subscribe().wait_for(|times| *times > generation).await;
}

/// Who it is, what was sent, and then the operation.
fn act(shared: &Shared, operation: &Operation, brought: Brought) -> Reply {
    let mut world = shared.world();
    if !is_ours(&world, &brought.headers) {
        return Reply::refused(401, "Client must be authenticated to access this resource.");
    }
    let mut body = Value::Null;
    if operation.method == "POST" || operation.method == "PUT" {
        let kind = brought.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Reply::refused(415, "Unsupported Media Type");
        }
        match serde_json::from_slice(&brought.body) {
            Ok(read) => body = read,
            Err(_) => return Reply::refused(400, "There was an error parsing JSON. Check that your request body is valid."),
        }
    }
    let asked = Asked { parameters: brought.parameters, query: brought.query, body };
    (operation.serve)(&mut world, &asked).unwrap_or_else(|refusal| refusal)
}

fn is_ours(world: &World, headers: &HeaderMap) -> bool {
    let given = headers.get("authorization").and_then(|given| given.to_str().ok()).unwrap_or_default();
    let us = world.users.iter().find(|user| user.account_id == world.account).map_or("", |user| &user.email);
    match given.split_once(' ') {
        Some(("Bearer", token)) => token == world.token,
        Some(("Basic", basic)) => BASE64_STANDARD.decode(basic).is_ok_and(|pair| pair == format!("{us}:{}", world.token).as_bytes()),
        _ => false,
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pair =
        |pair: &str| pair.split_once('=').map_or_else(|| (decoded(pair), String::new()), |(name, value)| (decoded(name), decoded(value)));
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn written(reply: &Reply) -> Answer {
    let mut answer = Answer::new(reply.status);
    if reply.status == 401 {
        answer = answer.header("WWW-Authenticate", "OAuth realm=\"Jira\"").header("X-Seraph-LoginReason", "AUTHENTICATED_FAILED");
    }
    match &reply.body {
        Some(body) => answer.header("Content-Type", "application/json;charset=UTF-8").body(&body.to_string()),
        // Also of nothing: the contract names a type for 204.
        None => answer.header("Content-Type", "application/json;charset=UTF-8"),
    }
}

fn plain(answer: Answer) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    let has_type = answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !has_type && !answer.body.is_empty() {
        response = response.header("Content-Type", "application/json;charset=UTF-8");
    }
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    // A test may have asked for a header that is none.
    response.body(Body::from(answer.body)).unwrap_or_else(|_| closed())
}

fn closed() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Closed);
    response
}

fn cut(reply: &Reply) -> Response {
    let whole = reply.body.as_ref().map(ToString::to_string).unwrap_or_default();
    let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
    let mut response = Response::new(Body::new(Cut { half: Some(half), length: whole.len() as u64, is_sent: false }));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert("content-type", axum::http::HeaderValue::from_static("application/json;charset=UTF-8"));
    response
}

/// A body that promises its whole length, gives half, and fails.
struct Cut {
    half: Option<Bytes>,
    length: u64,
    is_sent: bool,
}

impl hyper::body::Body for Cut {
    type Data = Bytes;
    type Error = ClosedOnPurpose;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClosedOnPurpose>>> {
        match self.half.take() {
            Some(half) => Poll::Ready(Some(Ok(Frame::data(half)))),
            // hyper sends what it has before it asks again, and nothing of it if the body fails at once.
            None if !self.is_sent => {
                self.is_sent = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(ClosedOnPurpose))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
