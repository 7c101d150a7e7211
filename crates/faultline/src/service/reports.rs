//! The door for reports: recognised, read as a stream, appended in bounded pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use faultline_adapters::adapter::{ReadError, Report};
use faultline_adapters::publish::{self, Claim, PublishError};
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_model::access::Caller;
use faultline_model::asset::AssetId;
use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::record::FindingsRecord;
use faultline_model::scan::{ScanStarted, Scope};
use faultline_model::time::Timestamp;
use faultline_model::topic::{FINDINGS, FINDINGS_BULK};
use faultline_server::doors::{Clock, DoorError, Lane, PublishedScan, RefusedElement, ReportClaim, Reports, SystemClock};
use faultline_stream::{Headers, HostError, Log, TRACEPARENT, append};
use faultline_views::{ViewError, Views};

use super::quota::{Quotas, Source};

/// How much is appended at once: one fsync each.
const PIECE_BYTES: usize = 4 << 20;

pub struct ReportDoor {
    log: Arc<dyn Log>,
    views: Arc<Views>,
    secrets: Arc<SecretKey>,
    quotas: Arc<Quotas>,
}

/// What stops a report on its way into the log.
#[derive(Debug, thiserror::Error)]
enum AppendError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Avro(#[from] avro::AvroError),
    #[error(transparent)]
    Views(#[from] ViewError),
    #[error("{actor} may not publish for {asset}")]
    NotAllowed { actor: String, asset: AssetId },
}

impl ReportDoor {
    pub fn new(log: Arc<dyn Log>, views: Arc<Views>, secrets: Arc<SecretKey>, quotas: Arc<Quotas>) -> Self {
        Self { log, views, secrets, quotas }
    }
}

impl Reports for ReportDoor {
    fn publish(&self, mut report: File, claim: ReportClaim, by: &Caller) -> Result<Vec<PublishedScan>, DoorError> {
        if report.metadata().is_ok_and(|known| known.len() == 0) {
            return Err(DoorError::Refused("it is empty".into()));
        }
        let mut report = Report::new(&mut report, &self.secrets);
        let adapter = match &claim.tool {
            Some(name) => registry::named(&mut report, name),
            None => registry::detect(&mut report),
        };
        let now = SystemClock.now();
        let headers = claim.traceparent.iter().map(|trace| (TRACEPARENT.to_owned(), trace.clone().into_bytes())).collect();
        let mut pieces = Pieces {
            log: &*self.log,
            views: &self.views,
            quotas: &self.quotas,
            by,
            is_bulk: claim.is_bulk,
            now,
            interactive: Vec::new(),
            bulk: Vec::new(),
            headers,
            bytes: 0,
            ways: BTreeMap::new(),
            known: BTreeSet::new(),
        };
        let claim = claimed(claim, now);
        let published = publish::records(&mut report, adapter.map_err(refusal)?, &claim, &mut |asset, record| pieces.push(asset, record));
        let published = published.map_err(|error| match error {
            PublishError::Sink(AppendError::NotAllowed { .. }) => DoorError::NotAllowed(error.to_string()),
            PublishError::Sink(error) => DoorError::Fault(Box::new(error)),
            PublishError::Read(error) => refusal(error),
            refused => DoorError::Refused(refused.to_string()),
        })?;
        pieces.flush().map_err(|error| DoorError::Fault(Box::new(error)))?;
        for scan in &published {
            let beyond = pieces.ways.get(&scan.scan).map_or(0, |way| way.beyond);
            if beyond > 0 {
                self.quotas.went_beyond(scan.kind, beyond);
            }
        }
        Ok(published.into_iter().map(|scan| shown(scan, &pieces)).collect())
    }
}

/// A record's key and its value.
type KeyValue = (String, Option<Vec<u8>>);

/// How the records of a scan go.
struct Way {
    source: Source,
    /// Its start, as long as it may have to be said once more.
    started: Option<ScanStarted>,
    is_bulk: bool,
    /// Records that went by the bulk lane because the source had brought more than its quota.
    beyond: u64,
}

/// Records on their way, until there is enough of them for one append.
struct Pieces<'a> {
    log: &'a dyn Log,
    views: &'a Views,
    quotas: &'a Quotas,
    by: &'a Caller,
    /// Whether all of it goes by the bulk lane.
    is_bulk: bool,
    now: Timestamp,
    interactive: Vec<KeyValue>,
    bulk: Vec<KeyValue>,
    headers: Headers,
    bytes: usize,
    /// Of each scan, how its records go.
    ways: BTreeMap<Id, Way>,
    /// Scans that had an outcome before any of this was appended.
    known: BTreeSet<Id>,
}

impl Pieces<'_> {
    fn push(&mut self, asset: &AssetId, record: FindingsRecord) -> Result<(), AppendError> {
        // All starts come before anything else of a report, so nothing of it is appended where one is refused.
        if matches!(record, FindingsRecord::ScanStarted(_)) && !self.by.may_publish(asset) {
            return Err(AppendError::NotAllowed { actor: self.by.actor().to_owned(), asset: asset.clone() });
        }
        if let FindingsRecord::ScanStarted(started) = &record
            && self.views.outcome(&started.scan.to_string())?.is_some()
        {
            self.known.insert(started.scan);
        }
        let is_bulk = self.way(asset, &record)?;
        self.put(asset, record, is_bulk)?;
        if self.bytes >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Whether a record goes by the bulk lane. Where a scan goes on there in its midst, its start is said there as well: nobody knows which
    /// lane is read first, and an observation before its scan's start would be nobody's. To say it twice changes nothing.
    fn way(&mut self, asset: &AssetId, record: &FindingsRecord) -> Result<bool, AppendError> {
        let scan = match record {
            FindingsRecord::ScanStarted(started) => started.scan,
            FindingsRecord::Finding(observed) => observed.scan,
            FindingsRecord::Route(observed) => observed.scan,
            FindingsRecord::ScanCompleted(completed) => completed.scan,
        };
        if let FindingsRecord::ScanStarted(started) = record {
            let source = Source { asset: asset.to_string(), tool: started.tool.clone() };
            self.ways.insert(scan, Way { source, started: None, is_bulk: self.is_bulk, beyond: 0 });
        }
        let Some(way) = self.ways.get_mut(&scan) else { return Ok(self.is_bulk) };
        if self.is_bulk {
            return Ok(true);
        }
        let mut again = None;
        if !way.is_bulk && !self.quotas.takes(&way.source, Instant::now()) {
            (way.is_bulk, again) = (true, way.started.take());
        }
        way.beyond += u64::from(way.is_bulk);
        let is_bulk = way.is_bulk;
        if let (FindingsRecord::ScanStarted(started), false) = (record, is_bulk) {
            way.started = Some(started.clone());
        }
        if let Some(started) = again {
            self.put(asset, FindingsRecord::ScanStarted(started), true)?;
        }
        Ok(is_bulk)
    }

    fn put(&mut self, asset: &AssetId, record: FindingsRecord, is_bulk: bool) -> Result<(), AppendError> {
        let value = avro::encode(record)?;
        self.bytes += value.len();
        let lane = if is_bulk { &mut self.bulk } else { &mut self.interactive };
        lane.push((asset.to_string(), Some(value)));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), AppendError> {
        for (topic, records) in [(FINDINGS, &mut self.interactive), (FINDINGS_BULK, &mut self.bulk)] {
            append(self.log, topic, std::mem::take(records), self.now, &self.headers)?;
        }
        self.bytes = 0;
        Ok(())
    }
}

/// A report that cannot be read is its sender's to mend; one that cannot be taken is ours.
fn refusal(error: ReadError) -> DoorError {
    match error {
        // What ends too early or does not inflate is the report; all else is the reading of it.
        ReadError::Io(broken) if matches!(broken.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput) => {
            DoorError::Refused(format!("the report is cut off or damaged: {broken}"))
        }
        ReadError::Io(_) | ReadError::Sink(_) => DoorError::Fault(Box::new(error)),
        theirs => DoorError::Refused(theirs.to_string()),
    }
}

fn claimed(claim: ReportClaim, now: Timestamp) -> Claim {
    let ReportClaim {
        asset,
        service,
        branch,
        is_default_branch,
        environment,
        paths,
        is_full,
        revision,
        revision_time,
        started,
        scan,
        publisher,
        ..
    } = claim;
    let scope = Scope { is_full, paths, rules: Vec::new() };
    Claim {
        asset,
        service,
        branch,
        is_default_branch,
        environment,
        revision,
        revision_time,
        started,
        scope,
        scan_name: scan,
        publisher,
        now,
    }
}

fn shown(published: publish::Published, pieces: &Pieces<'_>) -> PublishedScan {
    let way = pieces.ways.get(&published.scan);
    let refusals = published.refusals.into_iter().map(|one| RefusedElement { place: one.place, reason: one.reason });
    let count = |number: i32| u64::try_from(number).unwrap_or(0);
    PublishedScan {
        scan: published.scan,
        asset: published.asset,
        tool: published.tool,
        observed: count(published.observations) + count(published.refused),
        refused: count(published.refused),
        routes: count(published.routes),
        refusals: refusals.collect(),
        known: pieces.known.contains(&published.scan),
        lane: if way.is_some_and(|way| way.is_bulk) { Lane::Bulk } else { Lane::Interactive },
        over_quota: way.map_or(0, |way| way.beyond),
    }
}
