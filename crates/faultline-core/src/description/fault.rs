//! What is wrong with a description: all of it at once, each with its place and what was expected.

use std::fmt;

/// The most faults that are told; the rest is counted.
pub const FAULTS_TOLD: usize = 100;
/// The most known words that are searched for the nearest.
const NEAREST_OF: usize = 5_000;
/// The longest value that is shown, in characters.
const VALUE_SHOWN: usize = 80;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, as it was named.
    pub file: String,
    /// The place inside: `services[3].places[0].path`; empty for the whole file.
    pub at: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
    /// The known word that is nearest to what stands there.
    pub nearest: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, found, expected, nearest } = self;
        write!(f, "{file}: {at}{}{found}; expected {expected}", if at.is_empty() { "" } else { " is " })?;
        nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest:?}?"))
    }
}

/// A description that cannot be applied, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptionError {
    /// In the order of files and places; at most [`FAULTS_TOLD`].
    pub faults: Vec<Fault>,
    /// Faults beyond those.
    pub more: usize,
}

impl std::error::Error for DescriptionError {}

impl fmt::Display for DescriptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// Faults as they are gathered.
#[derive(Debug, Default)]
pub struct Faults {
    told: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        if self.told.len() < FAULTS_TOLD {
            self.told.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// A fault whose value is one of many known words, or should be.
    pub fn add_near<'w>(&mut self, fault: Fault, value: &str, known: impl IntoIterator<Item = &'w str>) {
        let nearest = if self.told.len() < FAULTS_TOLD { nearest(value, known) } else { None };
        self.add(Fault { nearest, ..fault });
    }

    pub fn none_or_error(self) -> Result<(), DescriptionError> {
        if self.told.is_empty() { Ok(()) } else { Err(DescriptionError { faults: self.told, more: self.more }) }
    }
}

/// A value as an error shows it.
pub fn shown(value: &str) -> String {
    let cut: String = value.chars().take(VALUE_SHOWN).collect();
    let dots = if cut.len() < value.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

/// The known word with the fewest edits to a value, if they are few for its length.
fn nearest<'w>(value: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    let most = 1 + value.chars().count() / 4;
    let edits = |word: &'w str| Some((edits_within(value, word, most.min(3))?, word));
    known.into_iter().take(NEAREST_OF).filter_map(edits).min().map(|(_, word)| word.to_owned())
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to another; `None` if they are more than `most`.
fn edits_within(from: &str, to: &str, most: usize) -> Option<usize> {
    let (from, to): (Vec<char>, Vec<char>) = (lower(from), lower(to));
    if from.len().abs_diff(to.len()) > most {
        return None;
    }
    let mut rows: [Vec<usize>; 3] = [vec![0; to.len() + 1], vec![0; to.len() + 1], (0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        rows.rotate_left(1);
        rows[2][0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[1][j] + usize::from(a != b);
            let mut least = replaced.min(rows[1][j + 1] + 1).min(rows[2][j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[0][j - 1] + 1);
            }
            rows[2][j + 1] = least;
        }
        if rows[2].iter().min().is_some_and(|least| *least > most) {
            return None;
        }
    }
    rows[2].last().copied().filter(|edits| *edits <= most)
}

fn lower(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_that_was_meant() {
        let known = ["payments", "internet", "internal", "shop", "parent"];
        for (value, meant) in [
            ("paymets", Some("payments")),
            ("interent", Some("internet")),
            ("Shop", Some("shop")),
            ("sohp", Some("shop")),
            ("unrelated", None),
            ("", None),
        ] {
            assert_eq!(nearest(value, known).as_deref(), meant, "{value}");
        }
    }

    #[test]
    fn faults_beyond_the_bound_are_counted() {
        let mut faults = Faults::default();
        for n in 0..=FAULTS_TOLD {
            let fault = Fault { file: "a.yaml".into(), at: format!("x[{n}]"), found: "1".into(), expected: "2".into(), nearest: None };
            faults.add(fault);
        }
        let told = faults.none_or_error().unwrap_err().to_string();
        assert!(told.starts_with("a.yaml: x[0] is 1; expected 2\n") && told.ends_with("\nand 1 more"), "{told}");
    }
}
