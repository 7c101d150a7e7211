//! What several entries say of one vulnerability, gathered until the end of a feed.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::FeedError;

/// The most vulnerabilities of a feed that is gathered. All of OSV has about half of that with aliases.
pub const IDS_OF_A_FEED: usize = 2_000_000;
/// The most aliases of one vulnerability, and the most sources of one exploit; a feed with more is refused.
pub const ALIASES_OF_ONE: usize = 64;

/// A bounded set of texts by vulnerability.
#[derive(Default)]
pub(super) struct Gathered(BTreeMap<String, BTreeSet<String>>);

impl Gathered {
    pub(super) fn add(&mut self, feed: &str, id: &str, text: &str) -> Result<(), FeedError> {
        if !self.0.contains_key(id) {
            if self.0.len() == IDS_OF_A_FEED {
                return Err(FeedError::TooMany { name: feed.to_owned(), what: "vulnerabilities", most: IDS_OF_A_FEED });
            }
            self.0.insert(id.to_owned(), BTreeSet::new());
        }
        let texts = self.0.entry(id.to_owned()).or_default();
        texts.insert(text.to_owned());
        if texts.len() > ALIASES_OF_ONE {
            return Err(FeedError::TooMany { name: format!("{feed}: {id}"), what: "aliases or sources", most: ALIASES_OF_ONE });
        }
        Ok(())
    }

    /// By id.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.0.into_iter().map(|(id, texts)| (id, texts.into_iter().collect()))
    }
}
