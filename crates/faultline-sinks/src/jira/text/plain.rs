//! Text from outside as it may stand in a ticket: one line, nothing invisible, no longer than there is room for.

/// Stands where something was cut off.
const CUT: char = '…';

/// Letters without a shape of their own, by first and last: they hide words, or turn their order around. Controls and blanks are seen to apart.
const INVISIBLE: [(char, char); 20] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffc}'),
    ('\u{13430}', '\u{1345f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// How many UTF-16 units a text has: what Jira counts.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// A text of one line, never empty, without controls and without what cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain(String);

impl Plain {
    /// What can be read of a text, in one line of at most so many UTF-16 units (1 or more); `None` if that is nothing.
    ///
    /// Controls, line ends and runs of blanks become one blank; what is invisible goes.
    pub fn line(text: &str, most: usize) -> Option<Self> {
        let mut line = String::new();
        let mut count = 0;
        // Where it would be cut: the last place that leaves room for the sign of it.
        let mut cut = 0;
        let mut is_apart = false;
        for letter in text.chars() {
            if letter.is_control() || letter.is_whitespace() {
                is_apart = !line.is_empty();
                continue;
            }
            if is_invisible(letter) {
                continue;
            }
            count += letter.len_utf16() + usize::from(is_apart);
            if count > most {
                line.truncate(cut);
                line.push(CUT);
                return Some(Self(line));
            }
            if is_apart {
                line.push(' ');
                is_apart = false;
            }
            line.push(letter);
            if count < most {
                cut = line.len();
            }
        }
        (!line.is_empty()).then_some(Self(line))
    }

    /// Our own words, with blanks at their ends where others follow.
    pub(super) fn ours(words: impl Into<String>) -> Self {
        let words = words.into();
        debug_assert!(!words.is_empty() && !words.contains(|letter: char| letter.is_control() || is_invisible(letter)), "{words:?}");
        Self(words)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a letter has no shape, or is none: the last two code points of each plane never are.
fn is_invisible(letter: char) -> bool {
    INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&letter)) || u32::from(letter) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, most: usize) -> Option<String> {
        Plain::line(text, most).map(|line| line.0)
    }

    #[test]
    fn what_cannot_be_seen_is_gone() {
        assert_eq!(line(" a\u{0}b\r\n\tc \u{2028} d\u{85}", 99).as_deref(), Some("a b c d"));
        assert_eq!(line("safe\u{202e}exe.txt\u{200b}\u{feff}\u{2066}", 99).as_deref(), Some("safeexe.txt"));
        assert_eq!(line("\u{e0041}\u{1fffe}\u{fffe}x", 99).as_deref(), Some("x"));
        for nothing in ["", " \t\r\n", "\u{200b}", "\u{0}\u{7f}\u{9f}", "\u{3164}"] {
            assert_eq!(line(nothing, 99), None, "{nothing:?}");
        }
    }

    /// In UTF-16 a letter of four bytes is two units, which stay together.
    #[test]
    fn a_cut_is_between_letters() {
        assert_eq!(line("abcde", 5).as_deref(), Some("abcde"));
        assert_eq!(line("abcdef", 5).as_deref(), Some("abcd…"));
        assert_eq!(line("abc🦀", 5).as_deref(), Some("abc🦀"));
        assert_eq!(line("abc🦀d", 5).as_deref(), Some("abc…"));
        assert_eq!(line("abcd🦀", 5).as_deref(), Some("abcd…"));
        assert_eq!(line("🦀🦀", 3).as_deref(), Some("🦀…"));
        assert_eq!(line("🦀", 1).as_deref(), Some("…"));
        assert_eq!(line("abcd  efg", 5).as_deref(), Some("abcd…"));
        assert_eq!(line("abcd   ", 4).as_deref(), Some("abcd"));
    }
}
