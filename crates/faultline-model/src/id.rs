//! Identities: hashes over parts, in hex, with a domain so that no two kinds can be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 16 bytes, printed as 32 hex digits: the hash behind every identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

/// What stands before each part: its length.
const PREFIX: usize = size_of::<u64>();
const AT_ONCE: usize = 512;

/// A text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no id: 32 hex digits are expected")]
pub struct IdError {
    text: String,
}

impl Id {
    /// The hash of parts under a domain. Parts are length-prefixed: (`ab`, `c`) and (`a`, `bc`) differ.
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let all = || std::iter::once(domain.as_bytes()).chain(parts.iter().copied());
        let prefix = |part: &[u8]| (part.len() as u64).to_le_bytes();
        // Ids are made all the time, of little: in one call the hash of that costs a fraction.
        let mut bytes = [0; AT_ONCE];
        let mut len = 0;
        let hash = if all().map(|part| PREFIX + part.len()).sum::<usize>() <= AT_ONCE {
            for part in all() {
                bytes[len..][..PREFIX].copy_from_slice(&prefix(part));
                bytes[len + PREFIX..][..part.len()].copy_from_slice(part);
                len += PREFIX + part.len();
            }
            blake3::hash(&bytes[..len])
        } else {
            let mut hasher = blake3::Hasher::new();
            for part in all() {
                hasher.update(&prefix(part)).update(part);
            }
            hasher.finalize()
        };
        let mut short = [0; 16];
        short.copy_from_slice(&hash.as_bytes()[..16]);
        Self(short)
    }
}

impl Id {
    /// The digits, lower case. Records hold many ids, so this is a table and no formatting.
    fn digits(self) -> [u8; 32] {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.digits()).expect("hex digits are ASCII"))
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
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| fails())?;
        let mut bytes = [0; 16];
        for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or_else(fails)?;
        }
        Ok(Self(bytes))
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl Serialize for Id {
    /// By table rather than by `Display`: a record holds many, and this is on the path of each.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).expect("hex digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed("an id of 32 hex digits", str::parse))
    }
}

/// An id as people give it: all of its digits, or as many of the first ones as make it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    lowest: Id,
    highest: Id,
}

/// A text with which no id begins, or too many may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no id: 32 hex digits are expected, or the first 8 or more of them")]
pub struct IdPrefixError {
    text: String,
}

impl IdPrefix {
    /// The fewest digits.
    const DIGITS: usize = 8;

    /// The lowest and the highest id that begin so.
    pub fn bounds(self) -> (Id, Id) {
        (self.lowest, self.highest)
    }

    /// The id, where all of its digits are given.
    pub fn whole(self) -> Option<Id> {
        (self.lowest == self.highest).then_some(self.lowest)
    }
}

impl fmt::Display for IdPrefix {
    /// The digits that were given: where they end, the lowest id has a 0 and the highest an f.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lowest, highest) = (self.lowest.to_string(), self.highest.to_string());
        let given = lowest.bytes().zip(highest.bytes()).take_while(|(low, high)| low == high).count();
        f.pad(&lowest[..given])
    }
}

impl FromStr for IdPrefix {
    type Err = IdPrefixError;

    fn from_str(text: &str) -> Result<Self, IdPrefixError> {
        let fails = || IdPrefixError { text: text.to_owned() };
        let left = (32_usize).checked_sub(text.len()).filter(|_| text.len() >= Self::DIGITS).ok_or_else(fails)?;
        let filled = |with: &str| format!("{text}{}", with.repeat(left)).parse().map_err(|_| fails());
        Ok(Self { lowest: filled("0")?, highest: filled("f")? })
    }
}

impl<'de> Deserialize<'de> for IdPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parsed("an id of 32 hex digits, or the first 8 or more of them", str::parse))
    }
}

/// Reads a text and parses it where it lies, without a copy: what is expected, and how it is parsed.
pub(crate) struct Parsed<T, E>(pub &'static str, pub fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> Visitor<'_> for Parsed<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<D: serde::de::Error>(self, text: &str) -> Result<T, D> {
        (self.1)(text).map_err(D::custom)
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
        assert_eq!(Id([0xab; 16]).to_string(), "ab".repeat(16));
        assert_eq!("AB".repeat(16).parse(), Ok(Id([0xab; 16])));
        for wrong in ["", "xyz", "00", &"g".repeat(32), &"+1".repeat(16), "ä23456789012345678901234567890 "] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_may_be_given_by_its_first_digits() {
        let given: IdPrefix = "0123ABCD9".parse().unwrap();
        let (lowest, highest) = given.bounds();
        assert_eq!((given.to_string(), given.whole()), ("0123abcd9".into(), None));
        assert_eq!((lowest.to_string(), highest.to_string()), (format!("0123abcd9{:0<23}", ""), format!("0123abcd9{:f<23}", "")));
        let id = Id::of("finding", &[b"a"]);
        assert_eq!(id.to_string().parse::<IdPrefix>().unwrap().whole(), Some(id));
        for wrong in ["", "0123abc", "0123abcx", &"0".repeat(33), "0123456ä"] {
            assert!(wrong.parse::<IdPrefix>().is_err(), "{wrong}");
        }
    }

    /// Ids are for ever: the short way and the long one are the same hash.
    #[test]
    fn an_id_is_the_same_whichever_way_it_is_hashed() {
        for len in [0, 1, 400, 494, 495, 496, 2_000] {
            let part = vec![7; len];
            let mut hasher = blake3::Hasher::new();
            for part in [b"d".as_slice(), &part] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            assert_eq!(Id::of("d", &[&part]).0, hasher.finalize().as_bytes()[..16], "{len} bytes");
        }
    }

    #[test]
    fn parts_and_domains_do_not_run_together() {
        assert_ne!(Id::of("d", &[b"ab", b"c"]), Id::of("d", &[b"a", b"bc"]));
        assert_ne!(Id::of("d", &[b"a"]), Id::of("e", &[b"a"]));
    }
}
