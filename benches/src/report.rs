//! Small reports whose findings are all new and are a risk each, as the benchmarks publish them to time one.

use faultline_model::asset::AssetId;
use faultline_model::fingerprint::fingerprint;
use faultline_model::id::Id;
use faultline_model::locus::{Code, Locus};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::record::{FindingObserved, FindingsRecord};
use faultline_model::scan::{ScanCompleted, ScanStarted, Scope};
use faultline_model::time::Timestamp;
use faultline_model::tracked::TrackedFinding;
use faultline_model::{catalog, risk};

pub struct Report {
    pub asset: AssetId,
    pub service: String,
    pub records: Vec<FindingsRecord>,
    /// Of each finding, by its number.
    pub risks: Vec<Id>,
}

/// The report of so many findings with this number; each number has an asset of its own.
pub fn report(number: usize, findings: i32, now: Timestamp) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    let asset = AssetId::read(&format!("repo:git.acme.example/small/service-{number}"))?;
    let service = format!("{}{asset}", catalog::UNASSIGNED);
    let scan = Id::of("bench", &[&number.to_le_bytes()]);
    let started = ScanStarted {
        scan,
        tool: "semgrep".into(),
        tool_version: String::new(),
        kind: ScanKind::Sast,
        branch: String::new(),
        is_default_branch: true,
        environment: String::new(),
        revision: String::new(),
        revision_time: None,
        started: now,
        scope: Scope { is_full: true, ..Scope::default() },
        service_claim: String::new(),
        tests_for: Vec::new(),
        publisher: "bench".into(),
    };
    let (mut records, mut risks) = (vec![FindingsRecord::ScanStarted(started)], Vec::new());
    for number in 0..findings {
        let place = Locus::Code(Code::at(format!("src/Db{number}.java"), 42));
        let observation = Observation::new("java/sql-injection", Severity::High, place);
        risks.push(risk::id_of(&service, TrackedFinding::id_of(&asset, fingerprint("semgrep", &observation))));
        records.push(FindingsRecord::Finding(FindingObserved { scan, number, observation }));
    }
    records.push(FindingsRecord::ScanCompleted(ScanCompleted { scan, observations: findings, families: Vec::new(), refused: 0 }));
    Ok(Report { asset, service, records, risks })
}
