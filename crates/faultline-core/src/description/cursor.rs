//! A place in a YAML document: reads what stands there, or says what is wrong and lets the reading go on, so that one run
//! tells all faults.

use serde_yaml_ng::Value;

use super::fault::{Fault, Faults, shown};

/// The most entries of any list.
pub const LIST_ENTRIES: usize = 100_000;
/// The longest text of one field, in bytes.
const TEXT_BYTES: usize = 1024;

/// A value with where it stands.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    file: &'a str,
    path: String,
    value: &'a Value,
}

impl<'a> Cursor<'a> {
    pub fn root(file: &'a str, value: &'a Value) -> Self {
        Self { file, path: String::new(), value }
    }

    pub fn file(&self) -> &'a str {
        self.file
    }

    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// The place, as errors name it.
    pub fn place(&self) -> Place {
        Place { file: self.file.to_owned(), at: self.path.clone() }
    }

    pub fn is_text(&self) -> bool {
        self.value.is_string()
    }

    /// Whether this is a mapping; its unknown fields are faults.
    pub fn fields(&self, known: &[&str], faults: &mut Faults) -> bool {
        let Value::Mapping(mapping) = self.value else {
            self.wrong(&format!("a mapping with {}", listed(known)), faults);
            return false;
        };
        for key in mapping.keys() {
            match key.as_str() {
                Some(key) if known.contains(&key) => {}
                Some(key) => {
                    let at = self.below(key);
                    let fault = Fault {
                        file: self.file.to_owned(),
                        at,
                        found: "no known field".to_owned(),
                        expected: listed(known),
                        nearest: None,
                    };
                    faults.add_near(fault, key, known.iter().copied());
                }
                None => self.wrong("a mapping whose keys are texts", faults),
            }
        }
        true
    }

    /// A field that is there and not null.
    pub fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.as_mapping()?.get(name).filter(|value| !value.is_null())?;
        Some(Self { file: self.file, path: self.below(name), value })
    }

    /// The entries of a list field; none if it is not there.
    pub fn list(&self, name: &str, most: usize, faults: &mut Faults) -> Vec<Self> {
        let Some(field) = self.get(name) else { return Vec::new() };
        let Value::Sequence(entries) = field.value else {
            field.wrong("a list", faults);
            return Vec::new();
        };
        if entries.len() > most {
            faults.add(field.place().fault(format!("a list of {} entries", entries.len()), format!("at most {most}")));
            return Vec::new();
        }
        let entry = |(n, value): (usize, &'a Value)| Self { file: self.file, path: format!("{}[{n}]", field.path), value };
        entries.iter().enumerate().map(entry).collect()
    }

    /// The text that stands here: not empty, without blanks at its ends or control characters.
    pub fn text(&self, expected: &str, faults: &mut Faults) -> Option<&'a str> {
        let Value::String(text) = self.value else {
            let quoted = if self.value.is_number() || self.value.is_bool() { " (a text, in quotes)" } else { "" };
            self.wrong(&format!("{expected}{quoted}"), faults);
            return None;
        };
        let is_plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
        if !is_plain || text.len() > TEXT_BYTES {
            self.wrong(&format!("{expected}, of 1 to {TEXT_BYTES} bytes, without control characters or blanks at its ends"), faults);
            return None;
        }
        Some(text)
    }

    /// The text of a field; none if it is not there.
    pub fn text_of(&self, name: &str, expected: &str, faults: &mut Faults) -> Option<&'a str> {
        self.get(name)?.text(expected, faults)
    }

    /// The text of a field that must be there.
    pub fn required(&self, name: &str, expected: &str, faults: &mut Faults) -> Option<&'a str> {
        let Some(field) = self.get(name) else {
            faults.add(Place { file: self.file.to_owned(), at: self.below(name) }.fault("missing".to_owned(), expected.to_owned()));
            return None;
        };
        field.text(expected, faults)
    }

    /// A list of texts, sorted and without repeats: their order says nothing.
    pub fn set_of(&self, name: &str, most: usize, expected: &str, faults: &mut Faults) -> Vec<String> {
        let entries = self.list(name, most, faults);
        let mut texts: Vec<String> = entries.iter().filter_map(|entry| entry.text(expected, faults)).map(ToOwned::to_owned).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    /// A list of texts, each one of a few words; sorted and without repeats.
    pub fn words(&self, name: &str, known: &[&str], faults: &mut Faults) -> Vec<String> {
        let mut words = self.set_of(name, known.len(), &listed(known), faults);
        for word in words.iter().filter(|word| !known.contains(&word.as_str())) {
            let place = Place { file: self.file.to_owned(), at: self.below(name) };
            faults.add_near(place.fault(shown(word), listed(known)), word, known.iter().copied());
        }
        words.retain(|word| known.contains(&word.as_str()));
        words
    }

    /// One of a few words; the default if the field is not there.
    pub fn choice(&self, name: &str, words: &[&str], default: &str, faults: &mut Faults) -> String {
        let Some(field) = self.get(name) else { return default.to_owned() };
        if let Some(text) = field.text(&listed(words), faults) {
            if words.contains(&text) {
                return text.to_owned();
            }
            faults.add_near(field.place().fault(shown(text), listed(words)), text, words.iter().copied());
        }
        default.to_owned()
    }

    /// What stands here is not what is expected.
    pub fn wrong(&self, expected: &str, faults: &mut Faults) {
        faults.add(self.place().fault(kind_of(self.value), expected.to_owned()));
    }

    fn below(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// Where something was said, kept beyond the document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub at: String,
}

impl Place {
    pub fn fault(&self, found: String, expected: String) -> Fault {
        Fault { file: self.file.clone(), at: self.at.clone(), found, expected, nearest: None }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.at)
    }
}

/// A value in words.
fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => shown(text),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(_) => "a value with a tag".to_owned(),
    }
}

/// `a, b or c`
pub fn listed(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
