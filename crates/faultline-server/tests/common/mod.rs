//! A real server on loopback, over doors in memory that note what came in.
// Each test file uses its part; what fails here fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use faultline_model::access::{Caller, Revoked, TokenRecord, TokenScope, hash_of};
use faultline_model::asset::AssetId;
use faultline_model::audit::Act;
use faultline_model::avro;
use faultline_model::decision::{Decision, Outcome, OutcomeStatus, ScanCounts};
use faultline_model::exception::StepRecord;
use faultline_model::id::Id;
use faultline_model::locus::{Code, Locus, Route};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::risk::{self, EvidenceState, Fix, Member, Risk, RiskState, Score};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{self, FactKind, FindingState, GivenWord, TrackedFinding, TrackedRecord};
use faultline_server::doors::{
    Acts, Backlog, Catalog, CatalogApplied, Clock, DeadLetters, Decisions, DoorError, Doors, Intel, IntelLoaded, Lane, LetterId,
    LetterPage, LetterQuery, NewToken, OwnerOf, PublishedScan, Pulse, RedriveOrder, Redriven, RedrivenLetter, RefusedElement, ReportClaim,
    Reports, Steps, TOKEN_PREFIX, TicketPlan, TokenList, TokenOrder, Tokens, TopicPage, TopicQuery, Topics, WholeLetter,
};
use faultline_server::{Server, Settings};
use faultline_views::{ViewRecord, Views};
use reqwest::blocking::{Client, RequestBuilder, Response};
use tokio::sync::oneshot;

/// What came in, and how the doors answer.
pub struct Memory {
    pub views: Arc<Views>,
    pub reports: Mutex<Vec<(ReportClaim, Vec<u8>)>>,
    pub decisions: Mutex<Vec<Decision>>,
    pub steps: Mutex<Vec<StepRecord>>,
    pub tokens: Mutex<BTreeMap<Id, TokenRecord>>,
    pub acts: Mutex<Vec<Act>>,
    /// Whether a decision's outcome is there at once.
    pub decides: bool,
}

impl Reports for Memory {
    fn publish(&self, mut report: File, claim: ReportClaim, by: &Caller) -> Result<Vec<PublishedScan>, DoorError> {
        let mut bytes = Vec::new();
        report.read_to_end(&mut bytes).map_err(|error| DoorError::Fault(error.into()))?;
        match bytes.as_slice() {
            b"nonsense" => return Err(DoorError::Refused("no adapter knows this report: it begins with \"nonsense\"".into())),
            b"busy" => return Err(DoorError::Busy("the log has no room".into())),
            b"fault" => return Err(DoorError::Fault("the disk at /secret/path is gone".into())),
            _ => {}
        }
        let asset = claim.asset.clone().unwrap_or_else(shop);
        if !by.may_publish(&asset) {
            return Err(DoorError::NotAllowed(format!("{} may not publish for {asset}", by.actor())));
        }
        let published = PublishedScan {
            scan: scan_id(),
            asset,
            tool: claim.tool.clone().unwrap_or_else(|| "sarif".into()),
            observed: bytes.len() as u64,
            refused: 1,
            routes: 0,
            refusals: vec![RefusedElement { place: "results[3]".into(), reason: "has no rule".into() }],
            known: false,
            lane: if claim.is_bulk { Lane::Bulk } else { Lane::Interactive },
            over_quota: 0,
        };
        self.reports.lock().unwrap().push((claim, bytes));
        Ok(vec![published])
    }
}

impl Decisions for Memory {
    fn append(&self, decisions: Vec<Decision>) -> Result<(), DoorError> {
        if self.decides {
            for decision in &decisions {
                apply_outcome(&self.views, &decision.key);
            }
        }
        self.decisions.lock().unwrap().extend(decisions);
        Ok(())
    }
}

impl Steps for Memory {
    fn append(&self, step: StepRecord) -> Result<(), DoorError> {
        if self.decides {
            apply_outcome(&self.views, &step.key);
        }
        self.steps.lock().unwrap().push(step);
        Ok(())
    }
}

impl Catalog for Memory {
    fn apply(&self, yaml: &str, actor: &str, dry_run: bool) -> Result<CatalogApplied, DoorError> {
        if yaml.starts_with("services: ~") {
            return Err(DoorError::Refused("catalog.yaml, services: expected a list".into()));
        }
        Ok(CatalogApplied { version: i64::from(!dry_run), changed: yaml.len() as u64, removed: 0, warnings: vec![format!("by {actor}")] })
    }

    fn show(&self) -> Result<String, DoorError> {
        Ok("services: []\n".into())
    }

    fn tickets(&self, policy: Option<&str>) -> Result<Box<dyn TicketPlan>, DoorError> {
        if policy == Some("nonsense") {
            return Err(DoorError::Refused("tickets.mode: expected off or watch".into()));
        }
        Ok(Box::new(Counted(Vec::new())))
    }
}

/// Tells the risks that were taken, and who owns where each is founded.
struct Counted(Vec<Risk>);

impl TicketPlan for Counted {
    fn add(&mut self, risk: Risk) -> Result<(), DoorError> {
        self.0.push(risk);
        Ok(())
    }

    fn end(self: Box<Self>, owner: OwnerOf<'_>) -> Result<serde_json::Value, DoorError> {
        let told = self.0.iter().map(|risk| Ok((risk.risk.to_string(), owner(risk.founder)?.into())));
        Ok(serde_json::Value::Object(told.collect::<Result<_, DoorError>>()?))
    }
}

impl Intel for Memory {
    fn load(&self, mut feed: File) -> Result<IntelLoaded, DoorError> {
        let mut text = String::new();
        feed.read_to_string(&mut text).map_err(|error| DoorError::Refused(error.to_string()))?;
        Ok(IntelLoaded { source: "kev".into(), read: text.lines().count() as u64, changed: 1, removed: 0, refused: 0 })
    }
}

impl Pulse for Memory {
    fn ready(&self) -> Result<(), Vec<String>> {
        let is_behind = self.reports.lock().unwrap().len() > 2;
        if is_behind { Err(vec!["The views are 3 records behind.".into()]) } else { Ok(()) }
    }

    fn metrics(&self) -> String {
        "# TYPE faultline_up gauge\nfaultline_up 1\n".into()
    }

    fn backlog(&self, _: std::time::Duration) -> Result<Backlog, DoorError> {
        Ok(Backlog { records: 0, bulk: 0, quiet: true })
    }
}

impl Topics for Memory {
    fn partitions(&self, topic: &str) -> Result<u32, DoorError> {
        if topic == "risks" { Ok(2) } else { Err(DoorError::NotFound(format!("there is no topic {topic:?}"))) }
    }

    fn read(&self, query: &TopicQuery) -> Result<TopicPage, DoorError> {
        self.partitions(&query.topic)?;
        Ok(TopicPage { records: Vec::new(), next: Some(query.from + query.limit as u64) })
    }
}

impl DeadLetters for Memory {
    fn list(&self, query: &LetterQuery) -> Result<LetterPage, DoorError> {
        Ok(LetterPage { items: Vec::new(), next: query.cursor.clone() })
    }

    fn show(&self, id: LetterId) -> Result<WholeLetter, DoorError> {
        Err(DoorError::NotFound(format!("there is no dead letter {id}")))
    }

    fn redrive(&self, order: RedriveOrder) -> Result<Redriven, DoorError> {
        let offset = (!order.is_dry_run).then_some(7);
        let one = |id| RedrivenLetter { id, topic: "findings".into(), partition: 1, offset, times: 1 };
        Ok(Redriven { redriven: order.ids.into_iter().map(one).collect(), ..Redriven::default() })
    }
}

impl Acts for Memory {
    fn append(&self, act: Act) -> Result<(), DoorError> {
        self.acts.lock().unwrap().push(act);
        Ok(())
    }
}

impl Tokens for Memory {
    fn create(&self, order: TokenOrder) -> Result<NewToken, DoorError> {
        let TokenOrder { actor, purpose, scopes, nodes, assets, ends, by } = order;
        let text = format!("{TOKEN_PREFIX}{actor}");
        let record = TokenRecord { purpose, nodes, assets, ends, created_by: by, ..token(&text, &actor, &scopes) };
        self.hold(record.clone());
        Ok(NewToken { text, record })
    }

    fn list(&self) -> Result<TokenList, DoorError> {
        Ok(TokenList { tokens: self.tokens.lock().unwrap().values().cloned().collect(), unreadable: 0 })
    }

    fn known(&self, token: Id) -> Result<Option<TokenRecord>, DoorError> {
        Ok(self.tokens.lock().unwrap().get(&token).cloned())
    }

    fn revoke(&self, token: Id, by: &str) -> Result<TokenRecord, DoorError> {
        let known = self.known(token)?.ok_or_else(|| DoorError::NotFound(format!("there is no token {token}")))?;
        let record = TokenRecord { revoked: Some(Revoked { at: Timestamp::from_millis(NOW), by: by.to_owned() }), ..known };
        self.hold(record.clone());
        Ok(record)
    }
}

impl Memory {
    /// Takes a token up.
    pub fn hold(&self, token: TokenRecord) {
        self.tokens.lock().unwrap().insert(token.token, token);
    }
}

/// When it is.
pub const NOW: i64 = 1_750_000_000_000;

/// It is always the same moment.
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW)
    }
}

/// A server that stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub memory: Arc<Memory>,
    pub client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start() -> Self {
        Self::with(|_| {}, true)
    }

    /// With settings changed, and with or without somebody who decides.
    pub fn with(change: impl FnOnce(&mut Settings), decides: bool) -> Self {
        let mut settings = Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Settings::default() };
        change(&mut settings);
        let views = Arc::new(Views::in_memory().unwrap());
        let memory = Arc::new(Memory {
            views: Arc::clone(&views),
            reports: Mutex::default(),
            decisions: Mutex::default(),
            steps: Mutex::default(),
            tokens: Mutex::default(),
            acts: Mutex::default(),
            decides,
        });
        let server = Server::bind(&settings, doors(&memory), views).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            runtime.block_on(server.serve(stop)).unwrap();
        });
        Self { address, memory, client: client(), stop: Some(stop), thread: Some(thread) }
    }

    pub fn stop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            let _ = stop.send(());
            thread.join().unwrap();
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().unwrap()
    }

    /// A request of a token's holder.
    pub fn of(&self, token: &str, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path)).bearer_auth(token)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn doors(memory: &Arc<Memory>) -> Doors {
    Doors {
        reports: memory.clone(),
        decisions: memory.clone(),
        steps: memory.clone(),
        catalog: memory.clone(),
        intel: memory.clone(),
        pulse: memory.clone(),
        topics: memory.clone(),
        dead_letters: memory.clone(),
        tokens: memory.clone(),
        acts: memory.clone(),
        clock: Arc::new(StoppedClock),
    }
}

pub fn client() -> Client {
    // The first test that comes installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// Status and body; the body of a problem must say what to do.
pub fn answer(response: Response) -> (u16, serde_json::Value) {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let body: serde_json::Value = response.json().unwrap();
    if status >= 400 {
        assert_eq!(kind, "application/problem+json");
        assert_eq!(body["status"], status);
        for member in ["type", "title", "detail", "what_to_do"] {
            assert!(!body[member].as_str().unwrap().is_empty(), "{member}");
        }
    } else {
        assert_eq!(kind, "application/json");
    }
    (status, body)
}

pub fn shop() -> AssetId {
    AssetId::read("repo:github.com/acme/shop").unwrap()
}

pub fn scan_id() -> Id {
    Id::of("scan", &[b"1"])
}

pub fn finding_id(number: u32) -> Id {
    Id::of("test finding", &[&number.to_be_bytes()])
}

pub fn apply(views: &Views, topic: &str, key: &str, value: &[u8]) {
    let offset = views.positions().unwrap().get(&(topic.to_owned(), 0)).copied().unwrap_or(0);
    let record = ViewRecord { topic, partition: 0, offset, key: key.as_bytes(), value: Some(value) };
    assert_eq!(views.apply(&[record]).unwrap().named, []);
}

/// A token that holds for long, for all that its actor may do in these scopes.
pub fn token(text: &str, actor: &str, scopes: &[TokenScope]) -> TokenRecord {
    let (hash, token) = hash_of(text.as_bytes());
    TokenRecord {
        token,
        hash,
        actor: actor.to_owned(),
        purpose: "a test".into(),
        scopes: scopes.to_vec(),
        nodes: Vec::new(),
        assets: Vec::new(),
        created: Timestamp::from_millis(0),
        created_by: "operator".into(),
        ends: Timestamp::from_millis(NOW + 1),
        revoked: None,
    }
}

pub fn apply_outcome(views: &Views, id: &str) {
    let outcome = Outcome {
        id: id.to_owned(),
        status: OutcomeStatus::Done,
        reason: String::new(),
        asset: Some(shop()),
        at: Timestamp::from_millis(1),
        counts: None,
        subject: None,
    };
    apply(views, "outcomes", id, &avro::encode(outcome).unwrap());
}

pub fn apply_risk(views: &Views, risk: &Risk) {
    apply(views, "risks", &risk::key(&risk.service, risk.risk), &avro::encode(risk.clone()).unwrap());
}

/// How a scan of the shop ended that had three new findings.
pub fn apply_counted(views: &Views, id: &str) {
    let counts = Some(ScanCounts { observed: 3, new: 3, ..ScanCounts::default() });
    let (id, status, at) = (id.to_owned(), OutcomeStatus::Done, Timestamp::from_millis(1));
    let outcome = Outcome { id: id.clone(), status, reason: String::new(), asset: Some(shop()), at, counts, subject: None };
    apply(views, "outcomes", &id, &avro::encode(outcome).unwrap());
}

pub fn apply_finding(views: &Views, number: u32) {
    apply_finding_of(views, number, "shop", true);
}

/// A finding that was proved at a route.
pub fn apply_finding_at_route(views: &Views, number: u32, words: Vec<GivenWord>) {
    let place = Route { method: "GET".into(), origin: "https://shop.example".into(), path: "/users/1".into(), parameter: "id".into() };
    let observation = Observation::new("sql-injection", Severity::High, Locus::Route(place));
    apply_tracked(views, TrackedFinding { kind: ScanKind::Dast, tool: "zap".into(), observation, words, ..finding(number, "shop", true) });
}

/// A finding of the shop's repository, at a service that owns or uses its place.
pub fn apply_finding_of(views: &Views, number: u32, service: &str, is_owner: bool) {
    apply_tracked(views, finding(number, service, is_owner));
}

fn finding(number: u32, service: &str, is_owner: bool) -> TrackedFinding {
    TrackedFinding {
        finding: finding_id(number),
        fingerprint: finding_id(number),
        asset: shop(),
        service: service.into(),
        is_owner,
        tool: "semgrep".into(),
        kind: ScanKind::Sast,
        observation: Observation::new("sql-injection", Severity::High, Locus::Code(Code::at("src/users.rs", 12))),
        state: FindingState::Open,
        is_preview: false,
        first_seen: Timestamp::from_millis(0),
        state_since: Timestamp::from_millis(0),
        lines: Vec::new(),
        places: Vec::new(),
        moved_from: None,
        verdict: None,
        assignment: None,
        severity: None,
        words: Vec::new(),
        version: 0,
        service_claim: String::new(),
        owners: Vec::new(),
    }
}

fn apply_tracked(views: &Views, finding: TrackedFinding) {
    let key = tracked::key(&finding.service, FactKind::Finding, finding.finding);
    apply(views, "tracked", &key, &avro::encode(TrackedRecord::Finding(finding)).unwrap());
}

/// A risk that a finding founds, with further findings: cited ones are no home of theirs.
pub fn risk(founder: u32, score: i32, home: &[u32], cited: &[u32]) -> Risk {
    let is_home = |home| move |number: &u32| member(*number, home);
    let findings: Vec<Member> = [founder].iter().chain(home).map(is_home(true)).chain(cited.iter().map(is_home(false))).collect();
    Risk {
        risk: risk::id_of("shop", finding_id(founder)),
        service: "shop".into(),
        title: "SQL injection in users".into(),
        family: "sql-injection".into(),
        state: RiskState::Open,
        evidence: EvidenceState::Reported,
        score: Score {
            total: score,
            inherent: score,
            band: Severity::High,
            contributions: Vec::new(),
            due: Timestamp::from_millis(0),
            changes_at: None,
            policy_version: "1".into(),
        },
        confidence_ppm: 500_000,
        founder: finding_id(founder),
        also: Vec::new(),
        asset: shop(),
        anchor: Locus::Code(Code::at("src/users.rs", 12)),
        findings_total: findings.len() as i32,
        findings,
        links: Vec::new(),
        links_total: 0,
        vulnerabilities: Vec::new(),
        fix: Fix {
            fix: finding_id(founder),
            also: Vec::new(),
            kind: "code".into(),
            what: String::new(),
            guidance: String::new(),
            fixed_versions: Vec::new(),
        },
        owners: Vec::new(),
        assigned_to: String::new(),
        first_seen: Timestamp::from_millis(0),
        exceptions: Vec::new(),
    }
}

fn member(number: u32, is_home: bool) -> Member {
    Member {
        finding: finding_id(number),
        asset: shop(),
        tool: "semgrep".into(),
        kind: ScanKind::Sast,
        rule: "sql-injection".into(),
        title: "SQL injection".into(),
        severity: Severity::High,
        locus: Locus::Code(Code::at("src/users.rs", 12)),
        state: FindingState::Open,
        verdict: None,
        is_home,
        first_seen: Timestamp::from_millis(0),
        version: 2,
        lines: Vec::new(),
    }
}
