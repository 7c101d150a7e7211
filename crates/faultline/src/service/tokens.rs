//! The door for tokens: each is a record of `access`, with the hash of a text that is told once.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use faultline_model::access::{AccessRecord, Revoked, TokenRecord, hash_of, token_key};
use faultline_model::avro;
use faultline_model::catalog::{node_key, service_key};
use faultline_model::id::Id;
use faultline_model::time::Timestamp;
use faultline_model::topic::{ACCESS, CATALOG};
use faultline_server::doors::{Clock, DoorError, NewToken, SystemClock, TOKEN_PREFIX, TokenList, TokenOrder, Tokens};
use faultline_stream::{Log, append};

use super::table::{Readable, keys, readable};

/// The random bytes of a token: nobody finds 256 bits by trying, so a plain hash keeps them.
const RANDOM_BYTES: usize = 32;
/// How long a token is listed after its end.
const KEPT_MILLIS: i64 = 90 * 24 * 60 * 60 * 1000;

pub struct TokenDoor {
    log: Arc<dyn Log>,
    /// One change at a time: to take back is to write anew what is there.
    changing: Mutex<()>,
}

impl TokenDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, changing: Mutex::default() }
    }

    /// Writes a token, and takes away those that nobody could come in by for long.
    fn write(&self, record: TokenRecord, gone: Vec<TokenRecord>) -> Result<(), DoorError> {
        let mut records: Vec<(String, Option<Vec<u8>>)> = gone.into_iter().map(|token| (token_key(token.token), None)).collect();
        let key = token_key(record.token);
        records.push((key, Some(avro::encode(AccessRecord::Token(record)).map_err(fault)?)));
        append(&*self.log, ACCESS, records, SystemClock.now(), &[]).map_err(fault)?;
        Ok(())
    }

    fn all(&self) -> Result<TokenList, DoorError> {
        let Readable { records, unreadable } = readable::<AccessRecord>(&*self.log, ACCESS).map_err(fault)?;
        let mut tokens: Vec<TokenRecord> = records.into_values().map(|AccessRecord::Token(token)| token).collect();
        tokens.sort_by_key(|token| (std::cmp::Reverse(token.created), token.token));
        Ok(TokenList { tokens, unreadable })
    }

    /// Refuses names that the catalog has not: a token for a misspelt unit would reach nothing, and nobody would know why.
    fn check(&self, nodes: &[String]) -> Result<(), DoorError> {
        let key = |name: &String| if name.starts_with("service/") { name.clone() } else { node_key(name) };
        let wanted: Vec<String> = nodes.iter().map(key).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let known = keys(&*self.log, CATALOG, &|key| wanted.iter().any(|wanted| wanted == key)).map_err(fault)?;
        match nodes.iter().find(|name| !known.contains(&key(name))) {
            None => Ok(()),
            Some(name) => Err(DoorError::Refused(format!(
                "the catalog has no unit {name:?}; a service is named like {}, and `faultline catalog show` has all names",
                service_key("shop")
            ))),
        }
    }
}

fn fault(error: impl std::error::Error + Send + Sync + 'static) -> DoorError {
    DoorError::Fault(Box::new(error))
}

impl Tokens for TokenDoor {
    fn create(&self, order: TokenOrder) -> Result<NewToken, DoorError> {
        let TokenOrder { actor, purpose, scopes, nodes, assets, ends, by } = order;
        self.check(&nodes)?;
        let text = made().map_err(fault)?;
        let (hash, token) = hash_of(text.as_bytes());
        let created = SystemClock.now();
        let record = TokenRecord { token, hash, actor, purpose, scopes, nodes, assets, created, created_by: by, ends, revoked: None };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long_over = |token: &TokenRecord| over(token).millis() < created.millis() - KEPT_MILLIS;
        let gone = self.all()?.tokens.into_iter().filter(is_long_over).collect();
        self.write(record.clone(), gone)?;
        Ok(NewToken { text, record })
    }

    fn list(&self) -> Result<TokenList, DoorError> {
        self.all()
    }

    fn known(&self, token: Id) -> Result<Option<TokenRecord>, DoorError> {
        let stored = self.log.latest(ACCESS.name, 0, token_key(token).as_bytes()).map_err(fault)?;
        let Some(value) = stored.and_then(|stored| stored.value) else { return Ok(None) };
        match avro::decode(&value) {
            Ok(AccessRecord::Token(record)) => Ok((record.token == token).then_some(record)),
            // What a newer program says of it may be that it was taken back.
            Err(error) => {
                tracing::warn!(%token, %error, "a token cannot be read, so nobody comes in by it");
                Ok(None)
            }
        }
    }

    fn revoke(&self, token: Id, by: &str) -> Result<TokenRecord, DoorError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known(token)?.ok_or_else(|| DoorError::NotFound(format!("there is no token {token}")))?;
        if known.revoked.is_some() {
            return Ok(known);
        }
        let revoked = TokenRecord { revoked: Some(Revoked { at: SystemClock.now(), by: by.to_owned() }), ..known };
        self.write(revoked.clone(), Vec::new())?;
        Ok(revoked)
    }
}

/// From when on nobody comes in by a token.
fn over(token: &TokenRecord) -> Timestamp {
    token.revoked.as_ref().map_or(token.ends, |revoked| revoked.at.min(token.ends))
}

fn made() -> std::io::Result<String> {
    use std::fmt::Write;
    let mut bytes = [0; RANDOM_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(TOKEN_PREFIX.to_owned(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_random_and_has_the_prefix_that_scanners_look_for() {
        let (one, other) = (made().unwrap(), made().unwrap());
        assert_ne!(one, other);
        let digits = one.strip_prefix("faultline_").unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
