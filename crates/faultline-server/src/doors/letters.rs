//! The door to `dead-letters`: what was refused, and the way back to where it came from.

use std::fmt;
use std::str::FromStr;

use faultline_model::topic::DEAD_LETTERS;
use serde::{Deserialize, Serialize};

use super::DoorError;

/// A dead letter, by where it stands in its topic: `dead-letters-2-17`. As input `2-17` will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    pub partition: u32,
    pub offset: u64,
}

/// What is no id of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a dead letter, which reads like dead-letters-2-17")]
pub struct LetterIdError(String);

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", DEAD_LETTERS.name, self.partition, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = LetterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = text.strip_prefix(DEAD_LETTERS.name).and_then(|rest| rest.strip_prefix('-')).unwrap_or(text);
        let parts = place.split_once('-').and_then(|(partition, offset)| Some((number(partition)?, number(offset)?)));
        let (partition, offset) = parts.ok_or_else(|| LetterIdError(text.chars().take(80).collect()))?;
        Ok(Self { partition, offset })
    }
}

/// Digits only: `parse` would take a sign.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

impl Serialize for LetterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// The topic that the record came from; empty for all.
    pub topic: String,
    /// The stage that refused it; empty for all.
    pub stage: String,
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// Dead letters, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterPage {
    pub items: Vec<Letter>,
    /// The cursor to go on at; none at the end. A page may be short, even empty, and still have a next one.
    pub next: Option<String>,
}

/// A dead letter in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    pub id: LetterId,
    pub time: String,
    pub stage: String,
    /// Where the record stood that was refused.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub reason: String,
    /// Bytes of the record's value.
    pub value_bytes: usize,
    /// How often the record had been redriven when it was refused.
    pub redriven: u32,
    /// The letter that it was redriven from, if it was.
    pub redriven_from: Option<LetterId>,
}

/// A dead letter in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WholeLetter {
    #[serde(flatten)]
    pub letter: Letter,
    /// The newer letter, if the record was redriven from this one and refused again.
    pub came_back: Option<LetterId>,
    /// The record's headers, in order; a value that is no text in hex.
    pub headers: Vec<(String, String)>,
    /// The value by its topic's type; null if it cannot be read so.
    pub value: serde_json::Value,
    /// Why the value cannot be read.
    pub unreadable: Option<String>,
    /// The beginning of a value that cannot be read, in hex.
    pub hex: Option<String>,
    /// Whether the hex is only the beginning.
    pub is_cut: bool,
}

/// Dead letters whose records are to be appended again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveOrder {
    pub ids: Vec<LetterId>,
    pub actor: String,
    /// Only tell what would be done.
    pub is_dry_run: bool,
    /// Also what was redriven too often.
    pub is_forced: bool,
}

/// What became of an order. All that was redriven was appended as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    pub redriven: Vec<RedrivenLetter>,
    pub refused: Vec<RefusedLetter>,
    /// Not looked at, as there were enough bytes before: to be ordered again.
    pub left: Vec<LetterId>,
}

/// A record that was appended again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedrivenLetter {
    pub id: LetterId,
    pub topic: String,
    pub partition: u32,
    /// None as long as it only would be.
    pub offset: Option<u64>,
    /// How often, this time included.
    pub times: u32,
}

/// A letter whose record was not appended again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedLetter {
    pub id: LetterId,
    pub reason: String,
}

/// Shows dead letters, and sends them back.
pub trait DeadLetters: Send + Sync + 'static {
    fn list(&self, query: &LetterQuery) -> Result<LetterPage, DoorError>;

    fn show(&self, id: LetterId) -> Result<WholeLetter, DoorError>;

    /// Appends the records again, as they came, to where they came from. The letters stay.
    fn redrive(&self, order: RedriveOrder) -> Result<Redriven, DoorError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_without_its_topic() {
        let id = LetterId { partition: 2, offset: 17 };
        assert_eq!(id.to_string(), "dead-letters-2-17");
        for text in ["dead-letters-2-17", "2-17"] {
            assert_eq!(text.parse(), Ok(id));
        }
        for text in ["", "17", "findings-2-17", "dead-letters-2", "dead-letters-2--17", "2-+17", "2-17-1", "2-", "-17"] {
            assert!(text.parse::<LetterId>().is_err(), "{text:?}");
        }
    }
}
