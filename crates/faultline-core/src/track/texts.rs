//! The texts that bodies name, at hand: who names them is counted, and written once a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use faultline_model::observation::Observation;

use super::Result;
use super::codec::{self, Row};
use super::desk::Desk;
use super::keys::{Table, key};
use super::rows::texts::{NamedBy, Texts};
use crate::stage::Batch;
use crate::store::{Store, StoreError};

/// Texts at hand, and how many bodies more than before name them.
pub(super) struct Named {
    texts: Arc<Texts>,
    more: i64,
}

/// Texts by their hash.
pub(super) type AllNamed = BTreeMap<u64, Named>;

impl Desk {
    fn texts_key(&self, table: Table, hash: u64) -> Vec<u8> {
        key(table, self.key, &[&hash.to_be_bytes()])
    }

    fn named(&mut self, state: &dyn Store, hash: u64) -> Result<&mut Named> {
        if !self.texts.contains_key(&hash) {
            let at = self.texts_key(Table::Texts, hash);
            let texts: Option<Texts> = codec::get(state, &at)?;
            let texts = texts.ok_or_else(|| StoreError::corrupt(Texts::TABLE, &at, "what a finding's rule says is not there any more"))?;
            self.texts.insert(hash, Named { texts: Arc::new(texts), more: 0 });
        }
        Ok(self.texts.get_mut(&hash).expect("it was read just now"))
    }

    /// The texts of a hash that a body names; none for 0.
    pub fn texts(&mut self, state: &dyn Store, hash: u64) -> Result<Option<Arc<Texts>>> {
        if hash == 0 { Ok(None) } else { Ok(Some(Arc::clone(&self.named(state, hash)?.texts))) }
    }

    /// One body more names the texts of an observation.
    pub fn name_texts(&mut self, hash: u64, seen: &Observation) {
        if hash != 0 {
            let named = || Named { texts: Arc::new(Texts::of(seen)), more: 0 };
            self.texts.entry(hash).or_insert_with(named).more += 1;
        }
    }

    /// A body that names texts goes.
    pub fn unname_texts(&mut self, state: &dyn Store, hash: u64) -> Result<()> {
        if hash != 0 {
            self.named(state, hash)?.more -= 1;
        }
        Ok(())
    }

    /// Writes who is named by how many now.
    pub fn put_away_texts(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        for (hash, named) in std::mem::take(&mut self.texts).into_iter().filter(|(_, named)| named.more != 0) {
            let [count, texts] = [Table::TextsNamed, Table::Texts].map(|table| self.texts_key(table, hash));
            let before = codec::get(&batch.state, &count)?.map_or(0, |NamedBy(bodies)| bodies);
            let now = u32::try_from(i64::from(before) + named.more)
                .map_err(|_| StoreError::corrupt(NamedBy::TABLE, &count, "fewer bodies are counted than go"))?;
            if now == 0 {
                batch.state.delete(texts);
                batch.state.delete(count);
                continue;
            }
            if before == 0 {
                codec::put(&mut batch.state, texts, &*named.texts);
            }
            codec::put(&mut batch.state, count, &NamedBy(now));
        }
        Ok(())
    }
}
