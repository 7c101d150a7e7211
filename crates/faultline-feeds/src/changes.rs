//! What a feed changes: only what differs from what is known is written, and what a whole feed no longer has goes.

use std::collections::HashSet;

use faultline_model::intel::{self, Aliases, IntelRecord, Source};

use crate::error::{BoxError, FeedError};
use crate::feed::{Feed, Summary};
use crate::formats::ALIASES_OF_ONE;

/// What is known of a key.
type Current<'a> = &'a dyn Fn(&str) -> Result<Option<IntelRecord>, BoxError>;

/// A feed that was taken in.
#[derive(Debug)]
pub struct Loaded {
    pub summary: Summary,
    /// Records of keys that had none.
    pub new: u64,
    /// Records that differ from what was known.
    pub changed: u64,
    /// Records that say what was known.
    pub same: u64,
    /// Aliases beyond [`ALIASES_OF_ONE`] that were left out.
    pub cut: u64,
    name: String,
    /// Keys that the feed has. Looked up only: their order never leaves it.
    seen: HashSet<String>,
}

/// How much may go with one feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// At most half of what is known: more than that is an excerpt or a broken download.
    UpToHalf,
    /// Whatever the feed no longer has, because somebody says that it is whole.
    Any,
}

/// Below so many known keys any number may go: half of few says nothing.
const FEW: u64 = 100;

impl Feed {
    /// Gives the records that differ from what is known, by the keys of the topic.
    ///
    /// A part of the aliases adds to those that are known; all others replace them.
    pub fn changes(
        self,
        current: Current<'_>,
        emit: &mut dyn FnMut(String, IntelRecord) -> Result<(), BoxError>,
    ) -> Result<Loaded, FeedError> {
        let (name, adds) = (self.name.clone(), self.is_full != Some(true));
        let mut seen = HashSet::new();
        let mut twice = None;
        let (mut new, mut changed, mut same, mut cut) = (0, 0, 0, 0);
        let read = self.read(&mut |vulnerability, record| {
            let key = intel::key(&vulnerability, record.source());
            if !seen.insert(key.clone()) {
                twice = Some(vulnerability);
                return Err("stopped".into());
            }
            let known = current(&key)?;
            let record = if adds { with_known(record, known.as_ref(), &mut cut) } else { record };
            match known {
                Some(known) if known == record => {
                    same += 1;
                    return Ok(());
                }
                Some(_) => changed += 1,
                None => new += 1,
            }
            emit(key, record)
        });
        if let Some(vulnerability) = twice {
            return Err(FeedError::Twice { name, vulnerability });
        }
        Ok(Loaded { summary: read?, new, changed, same, cut, name, seen })
    }
}

/// Aliases are gathered from many documents: one of them does not know what the others said.
fn with_known(record: IntelRecord, known: Option<&IntelRecord>, cut: &mut u64) -> IntelRecord {
    let (IntelRecord::Aliases(said), Some(IntelRecord::Aliases(known))) = (&record, known) else { return record };
    let mut ids = [said.ids.as_slice(), known.ids.as_slice()].concat();
    ids.sort_unstable();
    ids.dedup();
    *cut += ids.len().saturating_sub(ALIASES_OF_ONE) as u64;
    ids.truncate(ALIASES_OF_ONE);
    IntelRecord::Aliases(Aliases { ids })
}

impl Loaded {
    /// The source that the feed speaks for.
    pub fn source(&self) -> Source {
        self.summary.format.source()
    }

    /// The known keys that a whole feed no longer has, in the order given; none for a part. Keys of other sources are left alone.
    pub fn gone(&self, known: impl IntoIterator<Item = String>, removal: Removal) -> Result<Vec<String>, FeedError> {
        if !self.summary.is_full {
            return Ok(Vec::new());
        }
        let mut all = 0;
        let mut gone = Vec::new();
        for key in known {
            if intel::parse_key(&key).is_some_and(|(_, source)| source == self.source()) {
                all += 1;
                if !self.seen.contains(&key) {
                    gone.push(key);
                }
            }
        }
        let missing = gone.len() as u64;
        if removal == Removal::UpToHalf && all > FEW && missing * 2 > all {
            return Err(FeedError::MostGone { name: self.name.clone(), missing, known: all });
        }
        Ok(gone)
    }
}
