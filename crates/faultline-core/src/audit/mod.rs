//! audit: everything that people did or were refused, in chains that show what was altered.
//!
//! What it is: a stage that gives each act its place behind the one before, with a hash over both, and [`verify()`], which judges an export of that without
//! anything else. What it is not: who decides; the acts are told by those that judged them.
//!
//! A chain is what one task saw, in the order in which it saw it. Where the partition count changes, new chains go on from the hash of all that ended.

mod verify;

use std::collections::BTreeSet;

use faultline_model::audit::{Act, AuditEntry};
use faultline_model::avro;
use faultline_model::id::Id;
use faultline_model::topic::{ACTS, AUDIT, JUDGED, Topic};
use serde::{Deserialize, Serialize};

use crate::row;
use crate::stage::{Batch, Formats, Home, Input, Stage, StageError};
use crate::store::{Store, StoreError};

pub use verify::{ChainReport, Fault, Head, HeadsError, Report, verify};

/// The version of the one row.
const VERSION: u8 = 1;
/// The key of the one row.
const HEAD: [u8; 1] = [1];

/// audit: everything that people did or were refused, in chains that show what was altered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit;

/// Where a chain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// None before its first entry.
    chain: Option<[u8; 16]>,
    number: i64,
    /// Of the last entry; before the first, of what it goes on from.
    hash: String,
}

impl Row {
    fn get(state: &dyn Store) -> Result<Self, StoreError> {
        Ok(state.get(&HEAD)?.map(|bytes| Self::read(&HEAD, &bytes)).transpose()?.unwrap_or_default())
    }

    fn read(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        row::read("head", key, VERSION, bytes)
    }

    fn bytes(&self) -> Result<Vec<u8>, StoreError> {
        row::write("head", &HEAD, VERSION, self)
    }
}

impl Stage for Audit {
    const NAME: &'static str = "audit";
    const INPUTS: &'static [Topic] = &[JUDGED, ACTS];
    const GLOBALS: &'static [Topic] = &[];
    const FORMATS: Formats = Formats::only(VERSION as u16);
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        let Some(act) = input.record::<Act>()? else { return Ok(()) };
        let row = Row::get(&batch.state)?;
        // Who it is comes of what it begins with: no two chains begin alike, as an act has its time and a chain its predecessors.
        let begun = || {
            Id::of(
                "audit chain",
                &[row.hash.as_bytes(), input.topic.name.as_bytes(), input.key.as_bytes(), input.value.unwrap_or_default()],
            )
        };
        let chain = row.chain.map_or_else(begun, Id);
        let entry = AuditEntry::sealed(chain, row.number + 1, row.hash, act);
        let now = Row { chain: Some(chain.0), number: entry.number, hash: entry.hash.clone() };
        batch.state.put(HEAD, now.bytes()?);
        batch.emit_encoded(AUDIT, chain.to_string(), avro::encode(entry)?);
        Ok(())
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

/// Under another partition count every task begins a chain, and each goes on from all that were.
pub(crate) fn home_of(key: &[u8]) -> Result<Home, StoreError> {
    if key == HEAD { Ok(Home::Everywhere) } else { Err(StoreError::corrupt("head", key, "no row of audit")) }
}

/// What all chains go on from that come after these.
pub(crate) fn one_copy(key: &[u8], copies: Vec<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
    let hashes = copies.iter().map(|bytes| Ok(Row::read(key, bytes)?.hash)).collect::<Result<BTreeSet<_>, StoreError>>()?;
    Row { chain: None, number: 0, hash: joined(&hashes) }.bytes()
}

/// One hash for several, whatever their order.
fn joined(hashes: &BTreeSet<String>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"audit chains");
    for hash in hashes {
        hasher.update(hash.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
