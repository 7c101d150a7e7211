//! A part of a list, and where the next one begins.

use std::hash::{Hash, Hasher};

use crate::error::ViewError;

/// The most items of a page; a larger limit counts as this one.
pub const PAGE_ITEMS: usize = 1000;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Asks for what follows; none at the end. A page may be short, even empty, and still have a next one: a page looks at a bounded
    /// number of rows, so that no filter makes it slow.
    pub next: Option<String>,
    /// How many there are in all; on the first page only.
    pub total: Option<Total>,
    /// Rows of this page that are left out because a newer program wrote what this one cannot read.
    pub unreadable: usize,
}

/// How many items a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    pub count: u64,
    /// Else there are at least so many: counting stopped at its bound.
    pub is_exact: bool,
}

/// The kind of list that a cursor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Risks = 1,
    Findings = 2,
    Register = 3,
}

/// A place in a list: after this item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// What the list is sorted by, ascending.
    pub rank: i64,
    pub id: [u8; 16],
}

/// Begins each cursor, with the version of what follows.
const PREFIX: &str = "c3";
/// What is sealed: list, filter's hash, rank, id.
const PLAIN_BYTES: usize = 1 + 4 + 8 + 16;
/// What stands before it, and shows whether it was changed.
const SEAL_BYTES: usize = 16;

/// Seals cursors: a place in a list may be that of a row which the reader may not see.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

impl CursorKey {
    /// Of a secret that all processes share whose pages go on from each other.
    pub fn of(secret: &[u8]) -> Self {
        Self(blake3::derive_key("faultline 2026 list cursors", secret))
    }

    /// The seal of a plain text: it stands for the plain text alone, so that equal places are equal cursors.
    fn seal(&self, plain: &[u8]) -> [u8; SEAL_BYTES] {
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&blake3::keyed_hash(&self.0, plain).as_bytes()[..SEAL_BYTES]);
        seal
    }

    /// Hides a text behind its seal, or shows it again.
    fn hide(&self, seal: &[u8; SEAL_BYTES], text: &mut [u8; PLAIN_BYTES]) {
        let mut stream = [0; PLAIN_BYTES];
        // Longer than any text that is sealed, so no seal is ever a beginning of this.
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"the stream behind a seal of a place in a list").update(seal).finalize_xof().fill(&mut stream);
        text.iter_mut().zip(stream).for_each(|(byte, stream)| *byte ^= stream);
    }
}

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(***)")
    }
}

impl Position {
    /// As text. The filter is hashed in, so that a cursor under another filter is an error rather than a strange page.
    pub fn to_cursor(self, key: &CursorKey, list: ListKind, filter: &impl Hash) -> String {
        use std::fmt::Write;
        let mut text = [0; PLAIN_BYTES];
        text[0] = list as u8;
        text[1..5].copy_from_slice(&hash_of(filter).to_be_bytes());
        text[5..13].copy_from_slice(&self.rank.to_be_bytes());
        text[13..].copy_from_slice(&self.id);
        let seal = key.seal(&text);
        key.hide(&seal, &mut text);
        seal.iter().chain(&text).fold(PREFIX.to_owned(), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Back from text.
    pub fn from_cursor(text: &str, key: &CursorKey, list: ListKind, filter: &impl Hash) -> Result<Self, ViewError> {
        let fails = |why| ViewError::Cursor { text: text.chars().take(80).collect(), why };
        let digits = text.strip_prefix(PREFIX).ok_or_else(|| fails("is not of this version"))?;
        let sealed = unhex(digits).ok_or_else(|| fails("is cut or changed"))?;
        let parts =
            sealed.split_first_chunk::<SEAL_BYTES>().and_then(|(seal, rest)| Some((*seal, <[u8; PLAIN_BYTES]>::try_from(rest).ok()?)));
        let (seal, mut bytes) = parts.ok_or_else(|| fails("is cut or changed"))?;
        key.hide(&seal, &mut bytes);
        if key.seal(&bytes) != seal {
            return Err(fails("is changed, or of a service with another key"));
        }
        if bytes[0] != list as u8 {
            return Err(fails("is of another list"));
        }
        if bytes[1..5] != hash_of(filter).to_be_bytes() {
            return Err(fails("was made under another filter"));
        }
        let (mut rank, mut id) = ([0; 8], [0; 16]);
        rank.copy_from_slice(&bytes[5..13]);
        id.copy_from_slice(&bytes[13..]);
        Ok(Self { rank: i64::from_be_bytes(rank), id })
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// A filter's hash, the same in every process: FNV-1a, as the standard hasher promises nothing from release to release.
fn hash_of(filter: &impl Hash) -> u32 {
    struct Fnv(u32);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            u64::from(self.0)
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
            }
        }
    }
    let mut hasher = Fnv(0x811c_9dc5);
    filter.hash(&mut hasher);
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_gives_back_its_place_and_fits_its_list_and_filter_only() {
        let place = Position { rank: 1_800_000_000_137, id: [9; 16] };
        let key = CursorKey::of(b"ours");
        let text = place.to_cursor(&key, ListKind::Risks, &"open");
        assert_eq!(Position::from_cursor(&text, &key, ListKind::Risks, &"open").unwrap(), place);
        assert!(!text.contains("090909"), "it tells nothing of the row: {text}");
        let error = |text: &str, list, filter: &str| Position::from_cursor(text, &key, list, &filter).unwrap_err().to_string();
        for at in PREFIX.len()..text.len() {
            let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
            let changed = [&text[..at], other, &text[at + 1..]].concat();
            assert!(error(&changed, ListKind::Risks, "open").contains("changed"), "{at}");
        }
        let foreign = Position::from_cursor(&text, &CursorKey::of(b"theirs"), ListKind::Risks, &"open").unwrap_err();
        assert!(foreign.to_string().contains("another key"));
        assert!(error(&text, ListKind::Findings, "open").contains("another list"));
        assert!(error(&text, ListKind::Risks, "closed").contains("another filter"));
        assert!(error(&text[..20], ListKind::Risks, "open").contains("cut"));
        assert!(error("page-2", ListKind::Risks, "open").contains("version"));
        assert!(error(&format!("{PREFIX}ää"), ListKind::Risks, "open").contains("cut"));
    }
}
