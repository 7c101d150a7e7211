//! How fast correlate is on one core over a store in memory: first-time findings, and units re-scored by one KEV entry.
//! One JSON line each. `cargo run --release -p faultline-core --example correlate_speed [findings] [exceptions that hold]`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use faultline_core::correlate::Correlate;
use faultline_core::stage::{Batch, Globals, Input, Pending, Stage};
use faultline_core::store::{MemoryStore, Overlay, StoreError};
use faultline_model::asset::AssetId;
use faultline_model::avro;
use faultline_model::exception::{Assumptions, Held, Scope};
use faultline_model::id::Id;
use faultline_model::intel::{self, IntelRecord, KevEntry, Source};
use faultline_model::locus::{Code, Locus, Package};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::time::Timestamp;
use faultline_model::topic::{EXCEPTIONS, INTEL, TRACKED, Topic};
use faultline_model::tracked::{self, FactKind, FindingState, TrackedFinding, TrackedRecord};

const BATCH: usize = 1000;
const SERVICES: usize = 100;
const SHARED: usize = 10_000;

#[derive(Default)]
struct Known(BTreeMap<String, Vec<u8>>);

impl Globals for Known {
    fn get(&self, topic: Topic, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(if topic == INTEL { self.0.get(key).cloned() } else { None })
    }
}

fn finding(n: usize, locus: Locus, vulnerability: Option<String>) -> (String, TrackedRecord) {
    let service = format!("service-{}", n % SERVICES);
    let mut observation = Observation::new("java/sql-injection", Severity::High, locus);
    observation.title = "SQL query built from user-controlled sources".into();
    observation.description = "Building a query from what a user sends lets the user change the query.".repeat(4);
    observation.guidance = "Use a prepared statement.".into();
    observation.cwes = vec![89];
    observation.vulnerabilities = vulnerability.into_iter().collect();
    let asset = AssetId::read(&format!("repo:github.com/acme/service-{}", n % SERVICES)).expect("a name");
    let fingerprint = Id::of("n", &[&n.to_le_bytes()]);
    let id = TrackedFinding::id_of(&asset, fingerprint);
    let record = TrackedFinding {
        finding: id,
        fingerprint,
        asset,
        service: service.clone(),
        is_owner: true,
        tool: "codeql".into(),
        kind: ScanKind::Sast,
        observation,
        state: FindingState::Open,
        is_preview: false,
        first_seen: Timestamp::from_millis(1_700_000_000_000 + n as i64),
        state_since: Timestamp::from_millis(1_700_000_000_000),
        lines: vec![Id::of("line", &[&(n % SERVICES).to_le_bytes()])],
        places: vec![],
        moved_from: None,
        verdict: None,
        assignment: None,
        severity: None,
        words: vec![],
        version: 0,
        service_claim: String::new(),
        owners: vec![],
    };
    (tracked::key(&service, FactKind::Finding, id), TrackedRecord::Finding(record))
}

/// Time on the processor where Linux tells it (other work on the machine does not count), else time on the wall.
struct Clock(Option<Duration>, Instant);

impl Clock {
    fn on_processor() -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    fn start() -> Self {
        Self(Self::on_processor(), Instant::now())
    }

    fn seconds(&self) -> f64 {
        let on_processor = Self::on_processor().zip(self.0).map(|(now, then)| now.saturating_sub(then));
        on_processor.unwrap_or_else(|| self.1.elapsed()).as_secs_f64()
    }
}

/// Exceptions of all kinds of scope, of which one in five covers something.
fn exception(n: usize) -> Held {
    let service = format!("service/service-{}", n % SERVICES);
    let scope = match n % 5 {
        0 => Scope { package: format!("pkg:npm/lib-{}", n * 4), ..Scope::default() },
        1 => Scope { founders: vec![Id::of("nothing", &[&n.to_le_bytes()])], ..Scope::default() },
        2 => Scope { family: "cross-site-scripting".into(), within: vec![service], ..Scope::default() },
        3 => Scope { asset: format!("repo:github.com/acme/other-{n}"), family: "sql-injection".into(), ..Scope::default() },
        _ => Scope { vulnerability: format!("CVE-2030-{n}"), within: vec![service], ..Scope::default() },
    };
    let assumptions = Assumptions { not_internet_facing: true, score_at_most: Some(1000), ..Assumptions::default() };
    Held { exception: Id::of("exception", &[&n.to_le_bytes()]), grant: 4, scope, assumptions }
}

fn main() {
    let exceptions: usize = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let inputs: Vec<(String, Vec<u8>)> = (0..count)
        .map(|n| {
            let (key, record) = if n % 20 == 0 && n / 20 < SHARED {
                let purl = format!("pkg:npm/lib-{n}");
                finding(n, Locus::Package(Package { purl, version: "1".into(), ..Package::default() }), Some("CVE-2021-44228".into()))
            } else {
                finding(n, Locus::Code(Code::at(format!("src/main/java/com/acme/shop/web/Controller{n}.java"), 10)), None)
            };
            (key, avro::encode(record).expect("a record"))
        })
        .collect();
    let (stage, mut known, mut store) = (Correlate::new(), Known::default(), MemoryStore::default());
    let now = Timestamp::from_millis(1_700_100_000_000);
    let changes = {
        let mut batch = Batch::new(Overlay::new(&store), &known, now).in_format(Correlate::FORMATS.newest);
        let mut gathered = <Correlate as Stage>::Gathered::default();
        for held in (0..exceptions).map(exception) {
            let (key, value) = (held.exception.to_string(), avro::encode(held).expect("a record"));
            stage
                .apply(&mut batch, &mut gathered, &Input { topic: EXCEPTIONS, key: &key, value: Some(&value), time: now })
                .expect("applies");
        }
        stage.end(&mut batch, gathered).expect("ends");
        batch.into_parts().0
    };
    store.apply(changes);
    while {
        let mut batch = Batch::new(Overlay::new(&store), &known, now).in_format(Correlate::FORMATS.newest);
        let pending = stage.slice(&mut batch, 1 << 20).expect("slices");
        let changes = batch.into_parts().0;
        store.apply(changes);
        pending == Pending::Some
    } {}
    let start = Clock::start();
    let mut risks = 0;
    for inputs in inputs.chunks(BATCH) {
        let changes = {
            let mut batch = Batch::new(Overlay::new(&store), &known, now).in_format(Correlate::FORMATS.newest);
            let mut gathered = <Correlate as Stage>::Gathered::default();
            for (key, value) in inputs {
                stage.apply(&mut batch, &mut gathered, &Input { topic: TRACKED, key, value: Some(value), time: now }).expect("applies");
            }
            stage.end(&mut batch, gathered).expect("ends");
            let (changes, outputs) = batch.into_parts();
            risks += outputs.len();
            changes
        };
        store.apply(changes);
    }
    let seconds = start.seconds();
    let bytes: usize = store.iter().map(|(key, value)| key.len() + value.len()).sum();
    println!(
        "{{\"what\":\"first-time findings\",\"exceptions\":{exceptions},\"findings\":{count},\"records\":{risks},\"per_second\":{:.0},\"state_bytes_a_finding\":{}}}",
        count as f64 / seconds,
        bytes / count
    );

    let key = intel::key("CVE-2021-44228", Source::Kev);
    let entry = KevEntry { name: "Log4Shell".into(), added: now, due: Some(now), ransomware: true };
    let value = avro::encode(IntelRecord::Kev(entry)).expect("a record");
    known.0.insert(key.clone(), value.clone());
    let start = Clock::start();
    let mut said = 0;
    let mut is_first = true;
    loop {
        let (changes, outputs, pending) = {
            let mut batch = Batch::new(Overlay::new(&store), &known, now).in_format(Correlate::FORMATS.newest);
            let pending = if is_first {
                let mut gathered = <Correlate as Stage>::Gathered::default();
                stage
                    .apply(&mut batch, &mut gathered, &Input { topic: INTEL, key: &key, value: Some(&value), time: now })
                    .expect("applies");
                stage.end(&mut batch, gathered).expect("ends");
                Pending::Some
            } else {
                stage.slice(&mut batch, 1 << 20).expect("slices")
            };
            let (changes, outputs) = batch.into_parts();
            (changes, outputs, pending)
        };
        store.apply(changes);
        said += outputs.len();
        is_first = false;
        if pending == Pending::None {
            break;
        }
    }
    println!("{{\"what\":\"one KEV entry\",\"rescored\":{said},\"of\":{count},\"milliseconds\":{:.0}}}", start.seconds() * 1000.0);
}
