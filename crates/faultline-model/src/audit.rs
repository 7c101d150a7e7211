//! What people did or tried, and the chain that it is kept in.
//!
//! An [`Act`] is told once, by who judged it: the stage of a decision on `judged`, a door on `acts`. Stage audit makes an [`AuditEntry`] of each, which holds
//! the hash of the one before: who alters, takes away or reorders entries changes a hash that others kept.

use serde::{Deserialize, Serialize};

use crate::decision::OutcomeStatus;
use crate::id::Id;
use crate::time::Timestamp;

/// A value of `acts` and of `judged`: something that somebody did, or tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub actor: String,
    pub at: Timestamp,
    /// What it was on: an asset, or the route of a request.
    pub subject: String,
    /// What it was, as JSON where it was a decision, else in words.
    pub what: String,
    /// Why, in the actor's words; empty where none were asked for.
    pub reason: String,
    /// Who asked knows it by this; empty where nothing was to be asked again.
    pub key: String,
    pub status: OutcomeStatus,
    /// Why it was refused; empty for what is done.
    pub because: String,
}

/// A value of `audit`: an act in its place in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The chain; the record's key.
    pub chain: Id,
    /// Its place in the chain, from 1.
    pub number: i64,
    /// The hash of the entry before; of a chain's first entry, that of the chains that it goes on from, or empty.
    pub previous: String,
    pub act: Act,
    /// BLAKE3 over all of the above, in hex.
    pub hash: String,
}

impl AuditEntry {
    /// The entry of an act behind another one, with its hash.
    pub fn sealed(chain: Id, number: i64, previous: String, act: Act) -> Self {
        let hash = String::new();
        let entry = Self { chain, number, previous, act, hash };
        Self { hash: entry.hash_now(), ..entry }
    }

    /// The hash that it should have: over the texts of its fields in their order, each behind its length in bytes (64 bits, the lowest byte first). A time
    /// and a number are decimal, the chain is hex.
    pub fn hash_now(&self) -> String {
        let Self { chain, number, previous, act, hash: _ } = self;
        let Act { actor, at, subject, what, reason, key, status, because } = act;
        let (chain, number, at) = (chain.to_string(), number.to_string(), at.millis().to_string());
        let mut hasher = blake3::Hasher::new();
        for text in [&chain, &number, previous, actor, &at, subject, what, reason, key, status.name(), because] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}
