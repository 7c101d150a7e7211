//! What to write so that the topic holds a description.

use std::collections::BTreeMap;

use faultline_model::catalog::{CatalogEnvelope, CatalogRecord, HEAD_KEY, Head};
use faultline_model::time::Timestamp;

use super::read::Organisation;

/// The changes of one apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By key, with the head last; a record that goes has none. Empty if nothing is to be changed.
    pub changes: Vec<(String, Option<CatalogRecord>)>,
    /// The head that holds afterwards.
    pub head: Head,
}

impl Plan {
    /// Records that are new, changed, and gone; the head is not counted.
    pub fn counts(&self, current: &BTreeMap<String, CatalogRecord>) -> (usize, usize, usize) {
        let entities = self.changes.iter().filter(|(key, _)| key != HEAD_KEY);
        entities.fold((0, 0, 0), |(new, changed, gone), (key, record)| match record {
            None => (new, changed, gone + 1),
            Some(_) if current.contains_key(key) => (new, changed + 1, gone),
            Some(_) => (new + 1, changed, gone),
        })
    }
}

/// The difference from what is to what should be, as one version. What the description does not name goes.
pub fn plan(desired: &Organisation, current: &BTreeMap<String, CatalogRecord>, actor: &str, at: Timestamp) -> Plan {
    let known = match current.get(HEAD_KEY) {
        Some(CatalogRecord::Head(head)) => Some(head),
        _ => None,
    };
    let differs = |(key, record): &(&String, &CatalogRecord)| current.get(*key) != Some(*record);
    let written = desired.records.iter().filter(differs).map(|(key, record)| (key.clone(), Some(record.clone())));
    let gone = current.keys().filter(|key| *key != HEAD_KEY && !desired.records.contains_key(*key)).map(|key| (key.clone(), None));
    let mut changes: Vec<(String, Option<CatalogRecord>)> = written.chain(gone).collect();
    changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let digest = digest(&desired.records);
    // A head that another program wrote otherwise is written again as well.
    let head = match known.filter(|head| changes.is_empty() && head.digest == digest) {
        Some(head) => head.clone(),
        None => Head { version: known.map_or(0, |head| head.version) + 1, applied: at, actor: actor.to_owned(), digest },
    };
    if known != Some(&head) {
        changes.push((HEAD_KEY.to_owned(), Some(CatalogRecord::Head(head.clone()))));
    }
    Plan { changes, head }
}

/// The hash of all entities, 64 hex digits. The head is not one.
pub fn digest(records: &BTreeMap<String, CatalogRecord>) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("faultline catalog digest 1");
    for (key, record) in records.iter().filter(|(key, _)| *key != HEAD_KEY) {
        let body = serde_json::to_vec(&CatalogEnvelope::from(record.clone())).expect("a record has text keys and no non-finite numbers");
        for part in [key.as_bytes(), &body] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().to_string()
}
