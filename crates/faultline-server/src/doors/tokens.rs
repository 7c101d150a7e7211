//! The door to `access`: tokens are made, listed, and taken back.

use faultline_model::access::{TokenRecord, TokenScope};
use faultline_model::id::Id;
use faultline_model::time::Timestamp;

use super::DoorError;

/// Begins every token, so that scanners of secrets know one where it leaked.
pub const TOKEN_PREFIX: &str = "faultline_";

/// A token that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOrder {
    /// Who will come in with it.
    pub actor: String,
    pub purpose: String,
    pub scopes: Vec<TokenScope>,
    pub nodes: Vec<String>,
    pub assets: Vec<String>,
    pub ends: Timestamp,
    /// Who asks for it.
    pub by: String,
}

/// A token that was made. Its text is told here and never again.
pub struct NewToken {
    pub text: String,
    pub record: TokenRecord,
}

/// Tokens as they are listed.
pub struct TokenList {
    /// The newest first.
    pub tokens: Vec<TokenRecord>,
    /// Records that a newer program wrote and this one cannot read: nobody comes in by them here.
    pub unreadable: usize,
}

/// Makes, knows and takes back tokens. What one process wrote holds there when its call returns, and elsewhere as soon as it is read.
pub trait Tokens: Send + Sync + 'static {
    fn create(&self, order: TokenOrder) -> Result<NewToken, DoorError>;

    /// All of them; those that ended or were taken back stay for a while.
    fn list(&self) -> Result<TokenList, DoorError>;

    /// The token of an id, whether it still holds or not. None for one that cannot be read.
    fn known(&self, token: Id) -> Result<Option<TokenRecord>, DoorError>;

    /// Takes a token back, from now on and for good. One that was taken back stays as it was.
    fn revoke(&self, token: Id, by: &str) -> Result<TokenRecord, DoorError>;
}
