//! Measures the views at scale: `cargo run --release -p faultline-views --example million -- [risks] [folder]`.
//!
//! Fills a file with generated risks and findings, then asks lists as people do. One JSON line a measure.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use faultline_model::asset::AssetId;
use faultline_model::avro::{self, AvroError};
use faultline_model::id::Id;
use faultline_model::locus::{Locus, Package};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::risk::{self, Contribution, EvidenceState, Factor, Fix, Link, Member, Risk, RiskState, Score};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{self, FactKind, FindingState, TrackedFinding, TrackedRecord};
use faultline_views::{Bodies, BodySource, FindingFilter, Options, RiskFilter, ViewRecord, Views, Within};

/// Records a batch while filling.
const FILL: u64 = 20_000;
/// Records a batch in service.
const SERVICE: u64 = 2_000;

/// Time on processors since the last report: what counts on a machine that does other things as well.
static CPU_MS: AtomicU64 = AtomicU64::new(0);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let risks: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| std::env::temp_dir().display().to_string()));
    for (name, bodies) in [("here", Bodies::Here), ("elsewhere", Bodies::Elsewhere(std::sync::Arc::new(Generator)))] {
        let path = folder.join(format!("views-{name}.sqlite"));
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.join(format!("views-{name}.sqlite{suffix}")));
        }
        let views = Views::open(&path, Options { bodies, ..Options::default() })?;
        fill(&views, name, "risks", risks, 0)?;
        let size = || std::fs::metadata(&path).map_or(0, |file| file.len());
        println!("{{\"bodies\":\"{name}\",\"what\":\"disk of risks\",\"bytes\":{},\"each\":{}}}", size(), size() / risks);
        update(&views, name, risks)?;
        ask(&views, name)?;
        let before = size();
        fill(&views, name, "tracked", risks, 0)?;
        println!(
            "{{\"bodies\":\"{name}\",\"what\":\"disk of findings\",\"bytes\":{},\"each\":{}}}",
            size() - before,
            (size() - before) / risks
        );
        ask_findings(&views, name)?;
    }
    Ok(())
}

/// Applies `count` records from the beginning of a topic, and makes the lists.
fn fill(views: &Views, name: &str, topic: &'static str, count: u64, from: u64) -> Result<(), Failure> {
    let mut spent = Duration::ZERO;
    for first in (0..count).step_by(FILL as usize) {
        let numbers: Vec<u64> = (first..(first + FILL).min(count)).collect();
        spent += apply(views, topic, from + first, &numbers, 0)?;
    }
    report(name, &format!("fill {topic}"), count, spent);
    let began = Instant::now();
    views.ensure_lists()?;
    println!("{{\"bodies\":\"{name}\",\"what\":\"make lists\",\"ms\":{}}}", began.elapsed().as_millis());
    Ok(())
}

/// Changes scores all over, in batches as they come in service, and as a large re-score.
fn update(views: &Views, name: &str, count: u64) -> Result<(), Failure> {
    let mut offset = count;
    for (batch, batches) in [(SERVICE, 10), (FILL, 5)] {
        let mut spent = Duration::ZERO;
        for round in 0..batches {
            let numbers: Vec<u64> = (0..batch).map(|at| mixed(at + round * batch + batch) % count).collect();
            spent += apply(views, "risks", offset, &numbers, 1 + round)?;
            offset += batch;
        }
        report(name, &format!("update by {batch}"), batch * batches, spent);
    }
    Ok(())
}

fn report(name: &str, what: &str, count: u64, spent: Duration) {
    let a_second = count as f64 / spent.as_secs_f64();
    println!(
        "{{\"bodies\":\"{name}\",\"what\":\"{what}\",\"records\":{count},\"ms\":{},\"a_second\":{a_second:.0},\"cpu_ms\":{}}}",
        spent.as_millis(),
        CPU_MS.swap(0, Ordering::Relaxed)
    );
}

fn apply(views: &Views, topic: &'static str, first: u64, numbers: &[u64], version: u64) -> Result<Duration, Failure> {
    let mut records = Vec::with_capacity(numbers.len());
    for number in numbers {
        records.push(if topic == "risks" { risk_record(*number, version)? } else { finding_record(*number)? });
    }
    let batch: Vec<ViewRecord<'_>> = records
        .iter()
        .zip(first..)
        .map(|((key, value), offset)| ViewRecord { topic, partition: 0, offset, key: key.as_bytes(), value: Some(value) })
        .collect();
    let (began, cpu) = (Instant::now(), cpu_ms());
    let applied = views.apply(&batch)?;
    let spent = began.elapsed();
    CPU_MS.fetch_add(cpu_ms() - cpu, Ordering::Relaxed);
    if applied.unreadable > 0 {
        return Err(format!("{:?}", applied.named).into());
    }
    Ok(spent)
}

fn ask(views: &Views, name: &str) -> Result<(), Failure> {
    let open = RiskFilter::default;
    let filters = [
        ("all open", open()),
        ("all states", RiskFilter::everything()),
        ("one service of 500", RiskFilter { service: Some("service-7".into()), ..open() }),
        ("one asset", RiskFilter { asset: Some(asset_of(42)?), ..open() }),
        ("one vulnerability", RiskFilter { vulnerability: Some("CVE-2024-00042".into()), ..open() }),
        ("verified", RiskFilter { evidence: vec![EvidenceState::Verified], ..open() }),
        ("verified and low", RiskFilter { evidence: vec![EvidenceState::Verified], bands: vec![Severity::Low], ..open() }),
        ("tool", RiskFilter { tool: Some("grype".into()), ..open() }),
        ("text", RiskFilter { text: Some("package 4242 ".into()), ..open() }),
        ("text that nobody has", RiskFilter { text: Some("telepathy".into()), ..open() }),
        ("assigned", RiskFilter { assigned_to: Some("person-3".into()), ..open() }),
        ("min score 900", RiskFilter { min_score: Some(900), ..open() }),
    ];
    for (what, filter) in filters {
        let (first, page) = timed(|| views.risks(&filter, None, 50))?;
        let mut cursor = page.next.clone();
        let (again, _) = timed(|| views.risks(&filter, None, 50))?;
        let second = match &cursor {
            Some(text) => timed(|| views.risks(&filter, Some(text), 50))?.0,
            None => Duration::ZERO,
        };
        println!(
            "{{\"bodies\":\"{name}\",\"what\":\"{what}\",\"items\":{},\"total\":{},\"is_exact\":{},\"first_us\":{},\"again_us\":{},\"next_us\":{}}}",
            page.items.len(),
            page.total.map_or(0, |total| total.count),
            page.total.is_none_or(|total| total.is_exact),
            first.as_micros(),
            again.as_micros(),
            second.as_micros(),
        );
        if what == "all open" {
            for _ in 2..1000 {
                let Some(text) = cursor else { break };
                cursor = views.risks(&filter, Some(&text), 50)?.next;
            }
            if let Some(text) = cursor {
                let (spent, page) = timed(|| views.risks(&filter, Some(&text), 50))?;
                println!("{{\"bodies\":\"{name}\",\"what\":\"page 1,000\",\"items\":{},\"us\":{}}}", page.items.len(), spent.as_micros());
            }
        }
    }
    let (spent, summary) = timed(|| views.summary(None, &Within::everything()))?;
    println!("{{\"bodies\":\"{name}\",\"what\":\"summary\",\"roll_up\":{},\"us\":{}}}", summary.roll_up, spent.as_micros());
    let (spent, services) = timed(|| views.services(None, &Within::everything()))?;
    println!("{{\"bodies\":\"{name}\",\"what\":\"services\",\"items\":{},\"us\":{}}}", services.len(), spent.as_micros());
    Ok(())
}

fn ask_findings(views: &Views, name: &str) -> Result<(), Failure> {
    for (what, filter) in [
        ("findings", FindingFilter::default()),
        ("findings of a service", FindingFilter { service: Some("service-7".into()), ..FindingFilter::default() }),
        ("findings of a rule", FindingFilter { rule: Some("CVE-2024-00042".into()), ..FindingFilter::default() }),
    ] {
        let (first, page) = timed(|| views.findings(&filter, None, 50))?;
        let (again, _) = timed(|| views.findings(&filter, None, 50))?;
        println!(
            "{{\"bodies\":\"{name}\",\"what\":\"{what}\",\"items\":{},\"total\":{:?},\"first_us\":{},\"again_us\":{}}}",
            page.items.len(),
            page.total.map(|total| total.count),
            first.as_micros(),
            again.as_micros()
        );
    }
    Ok(())
}

/// Time on processors so far, in steps of 10 ms; 0 where the system does not tell.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

fn timed<T, E>(ask: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let began = Instant::now();
    let answer = ask()?;
    Ok((began.elapsed(), answer))
}

/// SplitMix64: the same numbers on every machine.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn asset_of(number: u64) -> Result<AssetId, Failure> {
    Ok(AssetId::read(&format!("repo:github.com/acme/service-{}", number % 2000))?)
}

fn finding_id(number: u64) -> Id {
    Id::of("finding", &[&number.to_be_bytes()])
}

fn locus(number: u64) -> Locus {
    Locus::Package(Package {
        purl: format!("pkg:maven/org.example.library/package-{}", number % 50_000),
        version: "1.2.3".into(),
        manifest: "modules/server/pom.xml".into(),
        layer: String::new(),
    })
}

fn vulnerability(number: u64) -> String {
    format!("CVE-2024-{:05}", number % 20_000)
}

fn risk_record(number: u64, version: u64) -> Result<(String, Vec<u8>), AvroError> {
    let random = mixed(number);
    let service = format!("service-{}", random % 500);
    let founder = finding_id(number);
    let total = (mixed(random + version) % 1001) as i32;
    let band = Severity::ALL[(total / 200).min(4) as usize];
    let tools: &[&str] = if random.is_multiple_of(5) { &["trivy", "grype"] } else { &["trivy"] };
    let findings = (0..).zip(tools).map(|(at, tool)| member(number + at * 1_000_000_000, tool)).collect::<Vec<_>>();
    let part = |factor, points, because: &str| Contribution { factor, points, because: because.to_owned() };
    let risk = Risk {
        risk: risk::id_of(&service, founder),
        title: format!("{}: remote code execution in package {number} of a library", vulnerability(number)),
        family: "vulnerable-component".into(),
        state: if random.is_multiple_of(10) { RiskState::Closed } else { RiskState::Open },
        evidence: [EvidenceState::Reported, EvidenceState::Corroborated, EvidenceState::Verified]
            [usize::from(tools.len() > 1) + usize::from(random.is_multiple_of(1005))],
        score: Score {
            total,
            inherent: total,
            band,
            contributions: vec![
                part(Factor::Technical, 343, "CVSS 3.1 base score 9.8 (CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H)"),
                part(Factor::Exploitation, 120, "EPSS 0.4312"),
                part(Factor::Exposure, 100, "internet"),
                part(Factor::Business, 100, "tier 2"),
                part(Factor::Evidence, 40, "confidence 0.66"),
                part(Factor::Cap, 0, ""),
            ],
            due: Timestamp::from_millis(1_800_000_000_000),
            changes_at: None,
            policy_version: "balanced-1".into(),
        },
        confidence_ppm: 660_000,
        founder,
        also: Vec::new(),
        asset: AssetId::read(&format!("repo:github.com/acme/service-{}", random % 2000))
            .unwrap_or_else(|_| unreachable!("a repository's name")),
        anchor: locus(number),
        findings_total: findings.len() as i32,
        links: if findings.len() > 1 { vec![link(&findings)] } else { Vec::new() },
        links_total: 0,
        findings,
        vulnerabilities: vec![vulnerability(number), format!("GHSA-{:08}", number % 20_000)],
        fix: Fix {
            fix: founder,
            also: Vec::new(),
            kind: "upgrade".into(),
            what: format!("org.example.library:package-{} in modules/server/pom.xml", number % 50_000),
            guidance: "Upgrade to 1.2.4 or later.".into(),
            fixed_versions: vec!["1.2.4".into()],
        },
        owners: vec!["@acme/platform".into()],
        assigned_to: if random.is_multiple_of(1000) { format!("person-{}", random % 7) } else { String::new() },
        first_seen: Timestamp::from_millis(1_700_000_000_000 + (random % 1_000_000) as i64),
        exceptions: Vec::new(),
        service,
    };
    Ok((risk::key(&risk.service, risk.risk), avro::encode(risk)?))
}

fn link(findings: &[Member]) -> Link {
    Link {
        rule: "same-package".into(),
        from: findings[0].finding,
        to: findings[1].finding,
        weight_ppm: 990_000,
        inputs: vec!["pkg:maven/org.example.library/package".into()],
    }
}

fn member(number: u64, tool: &str) -> Member {
    Member {
        finding: finding_id(number),
        asset: AssetId::read(&format!("repo:github.com/acme/service-{}", number % 2000))
            .unwrap_or_else(|_| unreachable!("a repository's name")),
        tool: tool.to_owned(),
        kind: ScanKind::Sca,
        rule: vulnerability(number),
        title: "remote code execution in a package of a library".into(),
        severity: Severity::High,
        locus: locus(number),
        state: FindingState::Open,
        verdict: None,
        is_home: true,
        first_seen: Timestamp::from_millis(1_700_000_000_000),
        version: 0,
        lines: vec![Id::of("line", &[&(number % 2000).to_be_bytes()])],
    }
}

fn finding_record(number: u64) -> Result<(String, Vec<u8>), AvroError> {
    let random = mixed(number);
    let service = format!("service-{}", random % 500);
    let severity = Severity::ALL[(random % 5) as usize];
    let mut observation = Observation::new(vulnerability(number), severity, locus(number));
    observation.title = format!("{}: remote code execution in package {number} of a library", vulnerability(number));
    observation.description = "A flaw in the parser of the library lets who can send a request run code of his own. ".repeat(3);
    observation.guidance = "Upgrade to 1.2.4 or later.".into();
    observation.vulnerabilities = vec![vulnerability(number)];
    observation.references = vec![format!("https://nvd.nist.gov/vuln/detail/{}", vulnerability(number))];
    let finding = TrackedFinding {
        finding: finding_id(number),
        fingerprint: finding_id(number),
        asset: AssetId::read(&format!("repo:github.com/acme/service-{}", random % 2000))
            .unwrap_or_else(|_| unreachable!("a repository's name")),
        is_owner: true,
        tool: "trivy".into(),
        kind: ScanKind::Sca,
        observation,
        state: FindingState::Open,
        is_preview: false,
        first_seen: Timestamp::from_millis(1_700_000_000_000),
        state_since: Timestamp::from_millis(1_700_000_000_000),
        lines: vec![Id::of("line", &[&(number % 2000).to_be_bytes()])],
        places: Vec::new(),
        moved_from: None,
        verdict: None,
        assignment: None,
        severity: None,
        words: Vec::new(),
        version: 0,
        service_claim: String::new(),
        owners: Vec::new(),
        service,
    };
    let key = tracked::key(&finding.service, FactKind::Finding, finding.finding);
    Ok((key, avro::encode(TrackedRecord::Finding(finding))?))
}

/// Stands for a log: any body will do where only the views are measured.
struct Generator;

impl BodySource for Generator {
    fn newest(&self, topic: &'static str, _: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(Some(if topic == "risks" { risk_record(1, 0)?.1 } else { finding_record(1)?.1 }))
    }
}
