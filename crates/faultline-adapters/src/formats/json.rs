//! Streaming through JSON: large arrays are walked element by element, so that memory does not grow with the report.
//!
//! A [`Json`] walks the outer objects and arrays itself and finds where each inner value ends; an adapter deserializes such a value from
//! its bytes, borrowing from them. So an element that is no finding is refused alone, what is not read costs a scan for its end, and
//! memory holds one element at a time. The walk checks what it needs to find its way; what it passes over is not judged.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

use crate::adapter::{ReadError, Report};

/// First size of the window on the file, in bytes; an element that is longer makes it grow.
const WINDOW_BYTES: usize = 256 * 1024;
/// The longest element that is read; a longer one is passed over and refused.
const ELEMENT_BYTES: usize = 64 * 1024 * 1024;
/// The deepest nesting, as serde_json has it.
const DEPTH: u32 = 127;

/// Bytes that open or close something.
const STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    table[b'"' as usize] = true;
    table[b'{' as usize] = true;
    table[b'}' as usize] = true;
    table[b'[' as usize] = true;
    table[b']' as usize] = true;
    table
};

/// A walk through one JSON text.
pub(crate) struct Json<'r> {
    tool: &'static str,
    input: Box<dyn Read + 'r>,
    /// What is seen of the file: `window[at..end]` is still to be walked.
    window: Vec<u8>,
    at: usize,
    end: usize,
    /// Where the element begins whose bytes are kept.
    kept: Option<usize>,
    /// Lines and bytes of the current line that have left the window.
    lines_gone: usize,
    column_gone: usize,
    depth: u32,
}

/// What is done with the value of a member (its name) or element (its index): it is walked or passed over, once.
type Member<'a> = dyn FnMut(&mut Json<'_>, &str) -> Result<(), ReadError> + 'a;
type Position<'a> = dyn FnMut(&mut Json<'_>, usize) -> Result<(), ReadError> + 'a;

impl<'r> Json<'r> {
    /// A walk from the report's beginning.
    pub(crate) fn open(tool: &'static str, report: &'r mut Report<'_>) -> Result<Self, ReadError> {
        let (input, window) = (report.rewound()?, vec![0; WINDOW_BYTES]);
        let mut json = Self { tool, input, window, at: 0, end: 0, kept: None, lines_gone: 0, column_gone: 0, depth: 0 };
        while json.end < 3 && json.fill()? {}
        if json.window[..json.end].starts_with(b"\xef\xbb\xbf") {
            json.at = 3;
        }
        Ok(json)
    }

    /// Walks the whole report: one value, and nothing behind it.
    pub(crate) fn whole(mut self, take: impl FnOnce(&mut Self) -> Result<(), ReadError>) -> Result<(), ReadError> {
        take(&mut self)?;
        match self.token()? {
            None => Ok(()),
            Some(_) => Err(self.shape("something follows the end of the JSON text")),
        }
    }

    /// The first byte of the next token; none at the end of the file.
    pub(crate) fn token(&mut self) -> Result<Option<u8>, ReadError> {
        loop {
            let blank = self.window[self.at..self.end].iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if let Some(blank) = blank {
                self.at += blank;
                return Ok(Some(self.window[self.at]));
            }
            self.at = self.end;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Walks an object, member by member; null counts as an empty one.
    pub(crate) fn object(&mut self, take: &mut Member<'_>) -> Result<(), ReadError> {
        self.walk(b'{', b'}', "an object", &mut |json, _| {
            let name = match json.token()? {
                Some(b'"') => json.value::<String>()?,
                _ => return Err(json.shape("a member's name is expected")),
            };
            match json.token()? {
                Some(b':') => json.at += 1,
                _ => return Err(json.shape("a colon is expected behind a member's name")),
            }
            take(json, &name)
        })
    }

    /// Walks an array, element by element; null counts as an empty one.
    pub(crate) fn array(&mut self, take: &mut Position<'_>) -> Result<(), ReadError> {
        self.walk(b'[', b']', "an array", take)
    }

    /// Gives away the bytes of each element of an array, or the reason why it cannot be held.
    pub(crate) fn elements(&mut self, take: &mut dyn FnMut(usize, Element<'_>) -> Result<(), ReadError>) -> Result<(), ReadError> {
        self.array(&mut |json, index| take(index, Element(json.raw()?)))
    }

    /// What objects and arrays have in common.
    fn walk(&mut self, open: u8, close: u8, name: &str, take: &mut Position<'_>) -> Result<(), ReadError> {
        match self.token()? {
            Some(byte) if byte == open => self.at += 1,
            Some(b'n') => return self.pass(),
            _ => return Err(self.shape(&format!("{name} is expected"))),
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.shape("it is nested too deep"));
        }
        let mut index = 0;
        if self.token()? == Some(close) {
            self.at += 1;
        } else {
            loop {
                take(self, index)?;
                index += 1;
                match self.token()? {
                    Some(b',') => self.at += 1,
                    Some(byte) if byte == close => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.shape(&format!("a comma or the end of {name} is expected"))),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The next value, deserialized. It belongs to the report as a whole: if it does not fit, the report ends here.
    pub(crate) fn value<T: DeserializeOwned>(&mut self) -> Result<T, ReadError> {
        let element = Element(self.raw()?);
        let read = element.read::<T>();
        read.map_err(|reason| self.shape(&reason))
    }

    /// The text of the next value; empty if it is none.
    pub(crate) fn text(&mut self) -> Result<String, ReadError> {
        if self.token()? == Some(b'"') {
            return self.value();
        }
        self.pass()?;
        Ok(String::new())
    }

    /// Passes over the next value.
    pub(crate) fn pass(&mut self) -> Result<(), ReadError> {
        match self.token()? {
            Some(b'"') => self.pass_string(),
            Some(b'{' | b'[') => self.pass_nested(),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.pass_scalar(),
            Some(_) => Err(self.shape("a value is expected")),
            None => Err(self.shape("the file ends where a value is expected")),
        }
    }

    /// The bytes of the next value; none if it is longer than [`ELEMENT_BYTES`].
    fn raw(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.token()?;
        self.kept = Some(self.at);
        let passed = self.pass();
        let kept = self.kept.take();
        passed?;
        Ok(kept.map(|from| &self.window[from..self.at]))
    }

    /// A string, from its opening quote.
    fn pass_string(&mut self) -> Result<(), ReadError> {
        self.at += 1;
        loop {
            match memchr::memchr2(b'"', b'\\', &self.window[self.at..self.end]) {
                Some(found) if self.window[self.at + found] == b'"' => {
                    self.at += found + 1;
                    return Ok(());
                }
                // What is escaped is one byte for the purpose of finding the end.
                Some(found) => {
                    self.at += found + 1;
                    while self.at == self.end {
                        self.more("inside a text")?;
                    }
                    self.at += 1;
                }
                None => {
                    self.at = self.end;
                    self.more("inside a text")?;
                }
            }
        }
    }

    fn pass_nested(&mut self) -> Result<(), ReadError> {
        // One bit a level: whether it is an object.
        let (mut levels, mut depth) = (0_u128, 0_u32);
        loop {
            let Some(found) = self.window[self.at..self.end].iter().position(|byte| STRUCTURAL[usize::from(*byte)]) else {
                self.at = self.end;
                self.more("inside an object or array")?;
                continue;
            };
            self.at += found;
            let byte = self.window[self.at];
            match byte {
                b'"' => {
                    self.pass_string()?;
                    continue;
                }
                b'{' | b'[' if depth + self.depth >= DEPTH => return Err(self.shape("it is nested too deep")),
                b'{' | b'[' => (levels, depth) = (levels << 1 | u128::from(byte == b'{'), depth + 1),
                _ if (levels & 1 == 1) != (byte == b'}') => return Err(self.shape("a bracket closes what was not opened")),
                _ => (levels, depth) = (levels >> 1, depth - 1),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn pass_scalar(&mut self) -> Result<(), ReadError> {
        loop {
            let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            match self.window[self.at..self.end].iter().position(is_end) {
                Some(found) => {
                    self.at += found;
                    return Ok(());
                }
                None => {
                    self.at = self.end;
                    if !self.fill()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn more(&mut self, place: &str) -> Result<(), ReadError> {
        if self.fill()? { Ok(()) } else { Err(self.shape(&format!("the file ends {place}"))) }
    }

    /// Reads on; false at the end of the file. What was walked and is not kept leaves the window.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if self.kept.is_some_and(|from| self.end - from >= ELEMENT_BYTES) {
            self.kept = None;
        }
        let gone = self.kept.unwrap_or(self.at);
        if gone > 0 && (self.end == self.window.len() || gone == self.end) {
            self.note_lines(gone);
            self.window.copy_within(gone..self.end, 0);
            (self.at, self.end, self.kept) = (self.at - gone, self.end - gone, self.kept.map(|_| 0));
        }
        if self.end == self.window.len() {
            self.window.resize(2 * self.window.len(), 0);
        }
        let read = loop {
            match self.input.read(&mut self.window[self.end..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end += read;
        Ok(read > 0)
    }

    fn note_lines(&mut self, gone: usize) {
        let (lines, column) = lines_and_column(&self.window[..gone]);
        self.lines_gone += lines;
        self.column_gone = if lines > 0 { column } else { self.column_gone + column };
    }

    /// An error at the place that the walk has come to.
    pub(crate) fn shape(&self, reason: &str) -> ReadError {
        let (lines, column) = lines_and_column(&self.window[..self.at]);
        let column = if lines > 0 { column } else { self.column_gone + column };
        let place = format!("line {}, column {}", self.lines_gone + lines + 1, column + 1);
        ReadError::Shape { tool: self.tool, place, reason: reason.to_owned() }
    }
}

/// How many lines end in these bytes, and how many bytes follow the last end.
fn lines_and_column(bytes: &[u8]) -> (usize, usize) {
    let lines = memchr::memchr_iter(b'\n', bytes).count();
    let column = memchr::memrchr(b'\n', bytes).map_or(bytes.len(), |at| bytes.len() - at - 1);
    (lines, column)
}

/// One element of an array, as its bytes; none for one that is too long to be held.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a>(Option<&'a [u8]>);

impl<'a> Element<'a> {
    /// An element from its bytes.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(Some(bytes))
    }

    /// Its bytes, for an element that has to wait; empty for one that is too long to be held.
    pub(crate) fn bytes(self) -> &'a [u8] {
        self.0.unwrap_or_default()
    }

    /// The element as a type that may borrow from it; else the reason, without a place: it stands alone.
    pub(crate) fn read<T: Deserialize<'a>>(self) -> Result<T, String> {
        let Some(bytes) = self.0 else { return Err(format!("it is longer than {} MiB", ELEMENT_BYTES >> 20)) };
        serde_json::from_slice(bytes).map_err(|error| {
            let reason = error.to_string();
            reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason).to_owned()
        })
    }
}

/// A text, borrowed from the report where nothing in it is escaped; empty for null, which some tools write for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::Value;

    use super::*;
    use crate::secret::SecretKey;

    /// Hands out its bytes one by one, so that every token meets the window's end.
    struct Dripping(Cursor<Vec<u8>>);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let one = buffer.len().min(1);
            self.0.read(&mut buffer[..one])
        }
    }

    impl std::io::Seek for Dripping {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }

    /// The elements of `a` in the outermost object.
    fn elements(text: &str) -> Result<Vec<Value>, String> {
        let (mut input, key) = (Dripping(Cursor::new(text.as_bytes().to_vec())), SecretKey::from_passphrase("t"));
        let mut report = Report::new(&mut input, &key);
        let mut found = Vec::new();
        let walked = Json::open("test", &mut report).and_then(|json| {
            json.whole(|json| {
                json.object(&mut |json, name| match name {
                    "a" => json.elements(&mut |_, element| {
                        found.push(element.read().unwrap_or_else(Value::String));
                        Ok(())
                    }),
                    _ => json.pass(),
                })
            })
        });
        walked.map(|()| found).map_err(|error| error.to_string())
    }

    #[test]
    fn elements_come_whole_and_the_rest_is_passed_over() {
        let text = "\u{feff} {\"x\": {\"a\": [\"]}\", \"\\\"\\\\\"]}, \"a\" : [1, \"b\\\"]\", {\"c\": [ ]}, [], null, -1.5e3 ], \"a\": null, \"z\": true} \n";
        let expected: Vec<Value> = serde_json::from_str("[1, \"b\\\"]\", {\"c\": []}, [], null, -1500.0]").unwrap();
        assert_eq!(elements(text), Ok(expected));
        assert_eq!(elements("{}"), Ok(vec![]));
    }

    #[test]
    fn what_is_broken_is_named_by_line_and_column() {
        for (text, place, reason) in [
            ("", "line 1, column 1", "an object is expected"),
            ("[1]", "line 1, column 1", "an object is expected"),
            ("{\"a\": [1,\n  2", "line 2, column 4", "a comma or the end of an array"),
            ("{\"a\":\n\n [}", "line 3, column 3", "a value is expected"),
            ("{\"b\": {\"c\": 1]}", "line 1, column 14", "closes what was not opened"),
            ("{\"b\": \"x", "line 1, column 9", "ends inside a text"),
            ("{} x", "line 1, column 4", "something follows"),
            ("{\"a\" 1}", "line 1, column 6", "a colon"),
            ("{1: 2}", "line 1, column 2", "a member's name"),
        ] {
            let error = elements(text).expect_err(text);
            assert!(error.contains(place) && error.contains(reason), "{text:?}: {error}");
        }
        let deep = format!("{{\"a\": {}", "[".repeat(10_000));
        assert!(elements(&deep).expect_err("deep").contains("nested too deep"));
    }

    #[test]
    fn an_element_that_does_not_parse_is_refused_alone() {
        assert_eq!(elements("{\"a\": [tru, 2]}"), Ok(vec![Value::String("EOF while parsing a value".into()), Value::from(2)]));
    }
}
