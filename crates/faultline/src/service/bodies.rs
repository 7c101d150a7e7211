//! Bodies of risks and findings for the views, out of the log: it has the newest value of each key anyway. And when they were written.

use std::sync::Arc;

use faultline_model::asset::AssetId;
use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::record::FindingsRecord;
use faultline_model::time::Timestamp;
use faultline_model::topic::{FINDINGS, FINDINGS_BULK, Topic};
use faultline_stream::{HostError, Log, Stored};
use faultline_views::{BodySource, SourceError, Written};

/// The most records that are looked at for one of a scan.
const LOOKED_BACK: u64 = 65_536;
/// How many are read at once.
const PAGE_RECORDS: u64 = 64;

pub struct LogBodies {
    log: Arc<dyn Log>,
}

impl LogBodies {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }

    fn stored(&self, topic: &str, key: &str) -> Result<Option<(u32, Stored)>, HostError> {
        let Some(topic) = Topic::named(topic) else { return Ok(None) };
        let partition = topic.partition_of(key, self.log.partitions(topic.name)?);
        Ok(self.log.latest(topic.name, partition, key.as_bytes())?.map(|stored| (partition, stored)))
    }

    fn time_of(&self, topic: &str, partition: u32, offset: u64) -> Result<Option<Timestamp>, HostError> {
        let page = self.log.read(topic, partition, offset, 1, usize::MAX)?;
        Ok(page.first().filter(|stored| stored.offset == offset).map(|stored| Timestamp::from_millis(stored.timestamp_ms)))
    }

    /// An offset of a lane before which all records stand that were written until then: the one there is from a later time. A long
    /// upload may stand behind with an earlier time, and does no harm.
    fn behind(&self, lane: Topic, partition: u32, start: u64, until: Timestamp) -> Result<u64, HostError> {
        let (mut low, mut high) = (start, self.log.end_offset(lane.name, partition)?);
        while low < high {
            let middle = low.midpoint(high);
            match self.time_of(lane.name, partition, middle)? {
                Some(at) if at <= until => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

impl BodySource for LogBodies {
    fn newest(&self, topic: &'static str, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.stored(topic, key)?.and_then(|(_, stored)| stored.value))
    }

    fn written(&self, topic: &'static str, key: &str) -> Result<Option<Written>, SourceError> {
        let written = |(partition, stored): (u32, Stored)| Written {
            partition,
            offset: stored.offset,
            at: Timestamp::from_millis(stored.timestamp_ms),
        };
        Ok(self.stored(topic, key)?.map(written))
    }

    fn written_at(&self, topic: &'static str, partition: u32, offset: u64) -> Result<Option<Timestamp>, SourceError> {
        Ok(self.time_of(topic, partition, offset)?)
    }

    /// All records of a scan have the time when its report came in, so that any of them will do, in either lane.
    fn came(&self, asset: &AssetId, scan: Id, until: Timestamp) -> Result<Option<Timestamp>, SourceError> {
        let found = self.came_by(FINDINGS, asset, scan, until)?;
        Ok(if found.is_some() { found } else { self.came_by(FINDINGS_BULK, asset, scan, until)? })
    }
}

impl LogBodies {
    fn came_by(&self, lane: Topic, asset: &AssetId, scan: Id, until: Timestamp) -> Result<Option<Timestamp>, HostError> {
        let partition = lane.partition_of(asset.as_str(), self.log.partitions(lane.name)?);
        let start = self.log.start_offset(lane.name, partition)?;
        let mut end = self.behind(lane, partition, start, until)?;
        let least = start.max(end.saturating_sub(LOOKED_BACK));
        while end > least {
            let from = least.max(end.saturating_sub(PAGE_RECORDS));
            let page = self.log.read(lane.name, partition, from, (end - from) as usize, usize::MAX)?;
            if let Some(stored) = page.iter().rev().find(|stored| is_of(stored, scan)) {
                return Ok(Some(Timestamp::from_millis(stored.timestamp_ms)));
            }
            end = from;
        }
        Ok(None)
    }
}

/// Whether a record of a lane is of a scan.
fn is_of(stored: &Stored, scan: Id) -> bool {
    // One that cannot be read is nobody's.
    let record = stored.value.as_deref().and_then(|value| avro::decode(value).ok());
    record.is_some_and(|record| match record {
        FindingsRecord::ScanStarted(started) => started.scan == scan,
        FindingsRecord::Finding(observed) => observed.scan == scan,
        FindingsRecord::Route(observed) => observed.scan == scan,
        FindingsRecord::ScanCompleted(completed) => completed.scan == scan,
    })
}
