//! The door for reports: recognised, read as a stream, appended in bounded pieces.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

use faultline_adapters::adapter::{ReadError, Report};
use faultline_adapters::publish::{self, Claim, PublishError};
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_model::asset::AssetId;
use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::record::FindingsRecord;
use faultline_model::scan::Scope;
use faultline_model::time::Timestamp;
use faultline_model::topic::FINDINGS;
use faultline_server::doors::{Clock, DoorError, PublishedScan, RefusedElement, ReportClaim, Reports, SystemClock};
use faultline_stream::{HostError, Log, TRACEPARENT, append};
use faultline_views::{ViewError, Views};

/// How much is appended at once: one fsync each.
const PIECE_BYTES: usize = 4 << 20;

pub struct ReportDoor {
    log: Arc<dyn Log>,
    views: Arc<Views>,
    secrets: Arc<SecretKey>,
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
}

impl ReportDoor {
    pub fn new(log: Arc<dyn Log>, views: Arc<Views>, secrets: Arc<SecretKey>) -> Self {
        Self { log, views, secrets }
    }
}

impl Reports for ReportDoor {
    fn publish(&self, mut report: File, claim: ReportClaim) -> Result<Vec<PublishedScan>, DoorError> {
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
        let mut pieces =
            Pieces { headers, log: &*self.log, views: &self.views, now, records: Vec::new(), bytes: 0, known: BTreeSet::new() };
        let claim = claimed(claim, now);
        let published = publish::records(&mut report, adapter.map_err(refusal)?, &claim, &mut |asset, record| pieces.push(asset, record));
        let published = published.map_err(|error| match error {
            PublishError::Sink(error) => DoorError::Fault(Box::new(error)),
            PublishError::Read(error) => refusal(error),
            refused => DoorError::Refused(refused.to_string()),
        })?;
        pieces.flush().map_err(|error| DoorError::Fault(Box::new(error)))?;
        Ok(published.into_iter().map(|scan| shown(scan, &pieces.known)).collect())
    }
}

/// Records on their way, until there is enough of them for one append.
struct Pieces<'a> {
    log: &'a dyn Log,
    views: &'a Views,
    now: Timestamp,
    records: Vec<(String, Option<Vec<u8>>)>,
    headers: Vec<(String, Vec<u8>)>,
    bytes: usize,
    /// Scans that had an outcome before any of this was appended.
    known: BTreeSet<Id>,
}

impl Pieces<'_> {
    fn push(&mut self, asset: &AssetId, record: FindingsRecord) -> Result<(), AppendError> {
        if let FindingsRecord::ScanStarted(started) = &record
            && self.views.outcome(&started.scan.to_string())?.is_some()
        {
            self.known.insert(started.scan);
        }
        let value = avro::encode(record)?;
        self.bytes += value.len();
        self.records.push((asset.to_string(), Some(value)));
        if self.bytes >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), AppendError> {
        append(self.log, FINDINGS, std::mem::take(&mut self.records), self.now, &self.headers)?;
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

fn shown(published: publish::Published, known: &BTreeSet<Id>) -> PublishedScan {
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
        known: known.contains(&published.scan),
    }
}
