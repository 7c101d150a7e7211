//! What somebody else said, fit to be kept: one line, bounded, and without what must not be told.

/// The longest reason that is kept, in bytes.
const REASON_BYTES: usize = 256;

/// What is never repeated, whoever says it: an answer can show what it was asked with.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.is_empty()).collect())
    }

    /// The beginning of a text, as one line.
    pub(super) fn told(&self, text: &str) -> String {
        let hidden = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
        let plain: String = hidden.chars().map(|letter| if is_unfit(letter) { ' ' } else { letter }).collect();
        let plain = plain.trim();
        let cut = plain.floor_char_boundary(REASON_BYTES);
        let dots = if cut < plain.len() { "…" } else { "" };
        format!("{}{dots}", &plain[..cut])
    }
}

/// Controls, separators of lines, and signs that turn the direction of what is read.
fn is_unfit(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_line_bounded_and_without_secrets() {
        let secrets = Secrets::new(["tok-of-mine".to_owned(), String::new()]);
        assert_eq!(secrets.told("\u{1b}[31mBearer tok-of-mine\r\n\u{202e}no"), "[31mBearer ***   no");
        let long = format!("{}tok-of-mine", "é".repeat(REASON_BYTES / 2 - 2));
        let told = secrets.told(&long);
        assert!(told.len() <= REASON_BYTES + '…'.len_utf8() && !told.contains("tok"), "{told}");
    }
}
