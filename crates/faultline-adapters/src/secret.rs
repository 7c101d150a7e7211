//! A secret inside a report: it can be hashed and hinted at, and nothing else.

use std::fmt;

use serde::Deserialize;

/// The key under which secrets are hashed, so that a hash says nothing to who does not hold the key. 32 bytes.
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// A key from 32 random bytes of the installation.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Derives a key from any text, for tests and for reading a report without an installation.
    pub fn from_passphrase(text: &str) -> Self {
        Self(faultline_model::id::derive_key("faultline secret key v1", text.as_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

/// The shortest secret of which a preview is shown, in characters.
const PREVIEW_FROM_CHARS: usize = 16;
/// How many leading characters a preview shows.
const PREVIEW_CHARS: usize = 4;

/// A secret as it stands in a report. It cannot be printed; only its hash and preview leave.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a secret out of a report.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the report holds the secret itself, rather than nothing or a redaction (`REDACTED`, `****`).
    pub fn is_whole(&self) -> bool {
        let text = self.0.trim();
        !text.is_empty() && !text.contains("***") && !text.eq_ignore_ascii_case("redacted")
    }

    /// The keyed hash, 32 hex digits; empty if the report holds no whole secret.
    pub fn keyed_hash(&self, key: &SecretKey) -> String {
        if self.is_whole() { faultline_model::id::keyed_hash(&key.0, self.0.as_bytes()) } else { String::new() }
    }

    /// A hint for people: the first four characters of a secret of at least sixteen; else empty.
    pub fn preview(&self) -> String {
        if !self.is_whole() || self.0.chars().count() < PREVIEW_FROM_CHARS {
            return String::new();
        }
        let mut hint: String = self.0.chars().take(PREVIEW_CHARS).collect();
        hint.push('…');
        hint
    }

    /// A text with every occurrence of the secret replaced, for titles and snippets that quote it.
    pub fn redact(&self, text: &str) -> String {
        if self.0.trim().is_empty() { text.to_owned() } else { text.replace(&self.0, "[secret]") }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_at_most_four_characters_and_only_if_long() {
        assert_eq!(SecretText::new("AKIAIOSFODNN7EXAMPLE").preview(), "AKIA…");
        assert_eq!(SecretText::new("hunter2").preview(), "");
        assert_eq!(format!("{:?}", SecretText::new("hunter2")), "SecretText(***)");
    }

    #[test]
    fn a_hash_depends_on_the_key_and_a_redacted_secret_has_none() {
        let (one, two) = (SecretKey::from_passphrase("one"), SecretKey::from_passphrase("two"));
        let secret = SecretText::new("AKIAIOSFODNN7EXAMPLE");
        assert_eq!(secret.keyed_hash(&one).len(), 32);
        assert_ne!(secret.keyed_hash(&one), secret.keyed_hash(&two));
        assert_eq!(SecretText::new("REDACTED").keyed_hash(&one), "");
    }

    #[test]
    fn text_that_quotes_the_secret_is_redacted() {
        assert_eq!(SecretText::new("s3cr3t").redact("key = s3cr3t;"), "key = [secret];");
    }
}
