//! Who may come in, and do what: tokens as records, roles, and the one place that decides.
//!
//! The way through: the organisation's [`Roles`] say who is what below which unit. Who comes in is a [`Caller`]: the operator, or the actor of
//! a token within what the token is for. [`Caller::reach`] says where an action is allowed; what it does not allow is refused.
//!
//! A token itself is told once, to who asked for it; a record holds its hash.

mod caller;
mod roles;

pub use caller::{Caller, Reach};
pub use roles::{Action, Granted, HeldRole, Role, Roles, Where};

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::time::Timestamp;

/// A value of `access`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRecord {
    Token(TokenRecord),
}

/// What a token may be used for, of what its actor's roles allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Reports in, for the assets that the token names; the actor needs no role for it.
    Publish,
    Read,
    /// Decisions, and what decisions are about.
    Decide,
    /// Everything that the actor may do.
    Admin,
}

impl TokenScope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Read, Self::Decide, Self::Admin];

    /// The name, as it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Decide => "decide",
            Self::Admin => "admin",
        }
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id, by which it is listed and revoked; no secret.
    pub token: Id,
    /// BLAKE3 of the token, in hex. It has 256 random bits, so nobody finds it by trying.
    pub hash: String,
    /// Who comes in with it.
    pub actor: String,
    /// What it is for, in the words of who asked for it.
    pub purpose: String,
    /// Sorted, without repetition.
    pub scopes: Vec<TokenScope>,
    /// Units of the organisation, or `service/<id>`, below which it may be used; empty for wherever its actor may. Sorted.
    pub nodes: Vec<String>,
    /// Assets that it publishes for: names, or beginnings that end in `*`. Sorted.
    pub assets: Vec<String>,
    pub created: Timestamp,
    pub created_by: String,
    /// From then on it is refused.
    pub ends: Timestamp,
    pub revoked: Option<Revoked>,
}

/// A token was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub at: Timestamp,
    pub by: String,
}

/// The key of a token.
pub fn token_key(token: Id) -> String {
    format!("token/{token}")
}

/// The hash of a token, as its record has it, and the id that comes of it.
pub fn hash_of(token: &[u8]) -> (String, Id) {
    let hash = blake3::hash(token);
    (hash.to_hex().to_string(), Id::of("token", &[hash.as_bytes()]))
}

/// The envelope as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AccessEnvelope {
    pub kind: String,
    pub token: Option<TokenRecord>,
}

crate::record::envelope! {
    "access", AccessRecord, AccessEnvelope {
        "token" => token: Token,
    }
}
