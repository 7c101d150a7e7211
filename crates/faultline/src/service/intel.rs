//! The door for threat intelligence: what is written is what differs from what is known.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use faultline_feeds::{Feed, FeedError, Removal};
use faultline_model::avro;
use faultline_model::intel::{self, IntelRecord};
use faultline_model::topic::INTEL;
use faultline_server::doors::{Clock, DoorError, Intel, IntelLoaded, SystemClock};
use faultline_stream::{Log, append};

use super::table::keys;

/// How much is appended at once: one fsync each.
const PIECE_RECORDS: usize = 8192;

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub struct IntelDoor {
    log: Arc<dyn Log>,
    /// One feed at a time: each is a difference from what the last one left.
    loading: Mutex<()>,
}

impl IntelDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, loading: Mutex::default() }
    }

    fn known(&self, key: &str) -> Result<Option<IntelRecord>, Failure> {
        let stored = self.log.latest(INTEL.name, 0, key.as_bytes())?;
        Ok(stored.and_then(|stored| stored.value).map(|value| avro::decode(&value)).transpose()?)
    }

    fn append(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), Failure> {
        append(&*self.log, INTEL, records, SystemClock.now(), &[])?;
        Ok(())
    }
}

impl Intel for IntelDoor {
    fn load(&self, feed: File) -> Result<IntelLoaded, DoorError> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut piece = Vec::new();
        let loaded = Feed::of(feed).map_err(refusal)?.changes(&|key| self.known(key), &mut |key, record| {
            piece.push((key, Some(avro::encode(record)?)));
            if piece.len() >= PIECE_RECORDS { self.append(std::mem::take(&mut piece)) } else { Ok(()) }
        });
        let loaded = loaded.map_err(refusal)?;
        self.append(piece).map_err(DoorError::Fault)?;
        let known = keys(&*self.log, INTEL, &|key| intel::parse_key(key).is_some_and(|(_, source)| source == loaded.source()));
        let gone = loaded.gone(known.map_err(|error| DoorError::Fault(Box::new(error)))?, Removal::UpToHalf).map_err(refusal)?;
        let removed = gone.len() as u64;
        self.append(gone.into_iter().map(|key| (key, None)).collect()).map_err(DoorError::Fault)?;
        Ok(IntelLoaded {
            source: loaded.source().name().to_owned(),
            read: loaded.summary.records,
            changed: loaded.new + loaded.changed,
            removed,
            refused: loaded.cut,
        })
    }
}

/// A feed that cannot be read is its sender's to mend.
fn refusal(error: FeedError) -> DoorError {
    DoorError::Refused(faultline_stream::chain(&error))
}
