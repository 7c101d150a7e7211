//! A feed: what a file or folder is, and the reading of it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use faultline_model::intel::{IntelRecord, Source};

use crate::error::{BoxError, FeedError, shown};
use crate::formats::{aliases, epss, exploits, kev};
use crate::input::Input;

/// The most files of a folder.
const FILES: usize = 1_000_000;
/// The most folders in one another.
const DEPTH: usize = 16;
const KNOWN: &str = "CISA's KEV (JSON), FIRST's EPSS (CSV), a list of exploits (CSV with a column `cve`), or OSV documents (JSON)";

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CISA's catalogue of known exploited vulnerabilities, as JSON.
    Kev,
    /// FIRST's exploit prediction scores, as CSV.
    Epss,
    /// A list of vulnerabilities with public exploit code, as CSV or one id a line.
    Exploits,
    /// OSV documents (GHSA's are such): an object, several, or an array; or a folder of them.
    Osv,
}

impl Format {
    /// The source that its records come from.
    pub fn source(self) -> Source {
        match self {
            Self::Kev => Source::Kev,
            Self::Epss => Source::Epss,
            Self::Exploits => Source::Exploit,
            Self::Osv => Source::Aliases,
        }
    }

    /// By content, never by name.
    fn of(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head);
        let head = head.trim_start_matches('\u{feff}').trim_start();
        if head.starts_with(['{', '[']) {
            let has = |key: &str| head.contains(key);
            return match has("\"catalogVersion\"") || has("\"cveID\"") {
                true if has("\"vulnerabilities\"") => Some(Self::Kev),
                _ if has("\"id\"") => Some(Self::Osv),
                _ => None,
            };
        }
        if epss::is_epss(head) {
            return Some(Self::Epss);
        }
        exploits::is_list(head).then_some(Self::Exploits)
    }
}

/// What a feed was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub format: Format,
    /// The feed's own version (KEV's catalogue version, EPSS's model); empty where it says none.
    pub version: String,
    /// The feed's own date; empty where it says none.
    pub date: String,
    /// Records that came out of it.
    pub records: u64,
    /// Entries that say nothing of a vulnerability, or were withdrawn, and were passed over.
    pub passed_over: u64,
    /// Whether it claims to hold all that its source knows, so that what is not in it is no more.
    pub is_full: bool,
}

impl Summary {
    pub(crate) fn of(format: Format) -> Self {
        Self { format, version: String::new(), date: String::new(), records: 0, passed_over: 0, is_full: false }
    }
}

/// What takes a record: the vulnerability's id and what the feed says of it.
pub(crate) type Each<'a> = &'a mut dyn FnMut(String, IntelRecord) -> Result<(), BoxError>;

/// A feed that is ready to be read.
pub struct Feed {
    pub(crate) name: String,
    format: Format,
    input: Kind,
    pub(crate) is_full: Option<bool>,
}

enum Kind {
    Stream(Input),
    Folder(Vec<PathBuf>),
}

impl Feed {
    /// A file, or a folder of OSV documents; plain or gzipped.
    pub fn open(path: &Path) -> Result<Self, FeedError> {
        if !path.is_dir() {
            return Self::of_input(Input::open(path)?);
        }
        let name = path.display().to_string();
        let mut files = Vec::new();
        walk(path, 0, &mut files)?;
        files.sort();
        if files.is_empty() {
            return Err(FeedError::Missing { name, what: "files that end in .json, .jsonl or .gz" });
        }
        Ok(Self { name, format: Format::Osv, input: Kind::Folder(files), is_full: None })
    }

    /// Any stream, plain or gzipped.
    pub fn of(reader: impl Read + 'static) -> Result<Self, FeedError> {
        Self::of_input(Input::of("the feed".to_owned(), Box::new(reader))?)
    }

    fn of_input(input: Input) -> Result<Self, FeedError> {
        let Some(format) = Format::of(&input.head) else {
            let head = shown(&String::from_utf8_lossy(&input.head));
            return Err(FeedError::NotRecognised { name: input.name, head, expected: KNOWN });
        };
        Ok(Self { name: input.name.clone(), format, input: Kind::Stream(input), is_full: None })
    }

    /// What it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Says whether it holds all that its source knows, where the feed cannot know: a list of exploits, a folder of OSV documents.
    #[must_use]
    pub fn full(mut self, is_full: bool) -> Self {
        self.is_full = Some(is_full);
        self
    }

    /// Gives every record of the feed, one a vulnerability. KEV and EPSS stream; exploits and aliases, where several entries speak
    /// of one vulnerability, come at the end, by id.
    pub fn read(self, each: Each<'_>) -> Result<Summary, FeedError> {
        let is_full = self.is_full;
        let mut summary = match (self.format, self.input) {
            (Format::Kev, Kind::Stream(input)) => kev::read(input, each),
            (Format::Epss, Kind::Stream(input)) => epss::read(input, each),
            (Format::Exploits, Kind::Stream(input)) => exploits::read(input, each),
            (Format::Osv, Kind::Stream(input)) => aliases::read(vec![Ok(input)], each),
            (_, Kind::Folder(files)) => aliases::read(files.iter().map(|path| document(path)), each),
        }?;
        summary.is_full = is_full.unwrap_or(summary.is_full);
        Ok(summary)
    }
}

/// A file of a folder of OSV documents.
fn document(path: &Path) -> Result<Input, FeedError> {
    let input = Input::open(path)?;
    match Format::of(&input.head) {
        Some(Format::Osv) => Ok(input),
        _ => {
            let head = shown(&String::from_utf8_lossy(&input.head));
            Err(FeedError::NotRecognised { name: input.name, head, expected: "OSV documents, as nothing else comes as a folder" })
        }
    }
}

/// Files below a folder. Links are not followed.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), FeedError> {
    let name = || folder.display().to_string();
    let fails = |source| FeedError::Io { name: name(), source };
    if depth == DEPTH {
        return Err(FeedError::TooMany { name: name(), what: "folders in one another", most: DEPTH });
    }
    for entry in fs::read_dir(folder).map_err(fails)? {
        let entry = entry.map_err(fails)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(fails)?);
        let is_document = path.extension().is_some_and(|end| ["json", "jsonl", "gz"].iter().any(|known| end.eq_ignore_ascii_case(known)));
        if kind.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if kind.is_file() && is_document {
            files.push(path);
        }
        if files.len() > FILES {
            return Err(FeedError::TooMany { name: name(), what: "files", most: FILES });
        }
    }
    Ok(())
}
