//! Identities: hashes over parts, in hex, with a domain so that no two kinds can be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 16 bytes, printed as 32 hex digits: the hash behind every identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

/// A text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no id: 32 hex digits are expected")]
pub struct IdError {
    text: String,
}

impl Id {
    /// The hash of parts under a domain. Parts are length-prefixed: (`ab`, `c`) and (`a`, `bc`) differ.
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(short)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fails = || IdError { text: text.to_owned() };
        if text.len() != 32 || !text.is_ascii() {
            return Err(fails());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| fails())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| fails())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Derives 32 key bytes from any input, for one named purpose.
pub fn derive_key(context: &str, input: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, input)
}

/// A keyed hash, 32 hex digits.
pub fn keyed_hash(key: &[u8; 32], input: &[u8]) -> String {
    blake3::keyed_hash(key, input).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = Id::of("finding", &[b"a", b"b"]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "xyz", "00", &"g".repeat(32), "ä23456789012345678901234567890 "] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_and_domains_do_not_run_together() {
        assert_ne!(Id::of("d", &[b"ab", b"c"]), Id::of("d", &[b"a", b"bc"]));
        assert_ne!(Id::of("d", &[b"a"]), Id::of("e", &[b"a"]));
    }
}
