//! What one source may bring by the interactive lane: so many records a minute. What is beyond goes to the bulk lane, and is counted.
//!
//! A source is a tool on an asset: what a gateway knows of a scan for certain. Who publishes is a claim, and all callers share one token.
//! Each gateway counts what comes in by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use faultline_model::observation::ScanKind;
use faultline_stream::{Family, Kind, Sample};

const MINUTE: Duration = Duration::from_mins(1);
/// How many sources are counted at once; beyond, new ones pass uncounted until a minute is over: where so many bring something, none floods.
const SOURCES: usize = 10_000;

/// A tool on an asset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub asset: String,
    pub tool: String,
}

pub struct Quotas {
    /// None for no bound.
    a_minute: Option<u64>,
    sources: Mutex<HashMap<Source, Minute>>,
    /// Records beyond a quota, by what kind of tool they are of.
    beyond: Mutex<BTreeMap<&'static str, u64>>,
}

/// The minute that a source is in, and how much it brought in it.
struct Minute {
    began: Instant,
    records: u64,
}

impl Quotas {
    pub fn new(a_minute: u64) -> Self {
        Self { a_minute: Some(a_minute).filter(|records| *records > 0), sources: Mutex::default(), beyond: Mutex::default() }
    }

    /// Whether another record of a source is within its quota; it is counted if so.
    pub fn takes(&self, source: &Source, now: Instant) -> bool {
        let Some(most) = self.a_minute else { return true };
        let is_over = |minute: &Minute| now.saturating_duration_since(minute.began) >= MINUTE;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains_key(source) {
            if sources.len() >= SOURCES {
                sources.retain(|_, minute| !is_over(minute));
            }
            if sources.len() < SOURCES {
                sources.insert(source.clone(), Minute { began: now, records: 1 });
            }
            return true;
        }
        let Some(minute) = sources.get_mut(source) else { return true };
        if is_over(minute) {
            *minute = Minute { began: now, records: 0 };
        }
        if minute.records >= most {
            return false;
        }
        minute.records += 1;
        true
    }

    /// Takes note of records that went to the bulk lane for it.
    pub fn went_beyond(&self, kind: ScanKind, records: u64) {
        *self.beyond.lock().unwrap_or_else(PoisonError::into_inner).entry(kind.name()).or_default() += records;
    }

    pub fn families(&self) -> Vec<Family> {
        let beyond = self.beyond.lock().unwrap_or_else(PoisonError::into_inner);
        let sample =
            |(kind, records): (&&str, &u64)| Sample { suffix: "", labels: vec![("kind", (*kind).to_owned())], value: *records as f64 };
        let samples: Vec<Sample> = beyond.iter().map(sample).collect();
        if samples.is_empty() {
            return Vec::new();
        }
        let help = "Records of reports that went to the bulk lane because their source brought more than its quota, by kind of tool.";
        vec![Family { name: "faultline_over_quota_records_total", help, kind: Kind::Counter, samples }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(asset: &str) -> Source {
        Source { asset: asset.to_owned(), tool: "semgrep".to_owned() }
    }

    #[test]
    fn a_source_has_so_many_records_a_minute_and_no_other_pays_for_it() {
        let (quotas, begin) = (Quotas::new(3), Instant::now());
        let taken = |source: &Source, seconds| (0..5).filter(|_| quotas.takes(source, begin + Duration::from_secs(seconds))).count();
        assert_eq!(taken(&source("flood"), 0), 3);
        assert_eq!(taken(&source("flood"), 59), 0);
        assert_eq!(taken(&source("other"), 59), 3);
        assert_eq!(taken(&source("flood"), 60), 3);
    }

    #[test]
    fn without_a_quota_all_passes() {
        let quotas = Quotas::new(0);
        assert!((0..100).all(|_| quotas.takes(&source("flood"), Instant::now())));
        assert!(quotas.families().is_empty());
    }

    #[test]
    fn many_sources_are_counted_in_bounded_room() {
        let (quotas, begin) = (Quotas::new(1), Instant::now());
        for number in 0..SOURCES + 10 {
            assert!(quotas.takes(&source(&number.to_string()), begin));
        }
        assert_eq!(quotas.sources.lock().unwrap().len(), SOURCES);
        assert!(quotas.takes(&source("late"), begin) && quotas.takes(&source("late"), begin), "uncounted");
        let later = begin + MINUTE;
        assert!(quotas.takes(&source("late"), later) && !quotas.takes(&source("late"), later), "counted again");
        assert_eq!(quotas.sources.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_went_beyond_is_told_by_kind() {
        let quotas = Quotas::new(1);
        quotas.went_beyond(ScanKind::Secret, 4);
        quotas.went_beyond(ScanKind::Secret, 1);
        let text = faultline_stream::text(&quotas.families());
        assert!(text.contains("faultline_over_quota_records_total{kind=\"secret\"} 5"), "{text}");
    }
}
