//! Reads topics for somebody who keeps positions of his own: the views. No group; each process that follows reads all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::KafkaLog;
use super::fetch::{Fetcher, Start};
use crate::error::HostError;
use crate::log::{Log, Place, Stored};
use crate::sync::held;

/// A reader of a log's topics. What it was asked for from an offset on, it takes everything before as kept.
pub struct Follower {
    log: Arc<KafkaLog>,
    fetcher: Fetcher,
    /// The places that are fetched, with the offset behind what was given of each.
    places: Mutex<BTreeMap<Place, u64>>,
}

impl Follower {
    pub(super) fn new(log: Arc<KafkaLog>) -> Result<Self, HostError> {
        // Who follows begins anew where a topic is another one, and otherwise wants what is left.
        let config = log.options.reader(&log.options.group("follower"));
        let fetcher = Fetcher::start(&log.options, &config, log.local.bell())?;
        Ok(Self { log, fetcher, places: Mutex::default() })
    }

    /// The offset that the next record will get, as the brokers have it: what tasks here have read of it is another matter.
    pub fn end(&self, topic: &str, partition: u32) -> Result<u64, HostError> {
        if self.log.topics.plan(topic, partition)?.is_global {
            return self.log.local.end_offset(topic, partition);
        }
        Ok(self.log.watermarks(topic, partition)?.1)
    }

    /// What has come of a place from an offset on. Nothing may only mean that it is on its way.
    pub fn read(&self, topic: &str, partition: u32, from: u64, max_records: usize, max_bytes: usize) -> Result<Vec<Stored>, HostError> {
        let plan = self.log.topics.plan(topic, partition)?;
        if plan.is_global {
            return self.log.read(topic, partition, from, max_records, max_bytes);
        }
        let place = (plan.name, partition);
        let mut places = held(&self.places);
        if places.get(&place) != Some(&from) {
            // Asked for the first time, or from elsewhere: who follows has begun anew.
            self.fetcher.remove(place);
            self.fetcher.add(place, Start::at(from))?;
        }
        self.fetcher.committed(place, from);
        let page = self.fetcher.read(place, from, max_records, max_bytes)?.unwrap_or_default();
        let page = page.into_iter().map(Arc::unwrap_or_clone).collect();
        let page = match self.log.wire.incoming(place, page) {
            // What its first record says is not known now: this place waits, the others go on.
            Err(error) if error.is_passing() => Vec::new(),
            page => page?,
        };
        places.insert(place, page.last().map_or(from, |last| last.offset + 1));
        Ok(page)
    }
}
