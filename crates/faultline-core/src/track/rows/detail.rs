//! A finding by its ordinal: who it is, and what was observed of it from which scan on.

use faultline_model::id::Id;
use faultline_model::time::Timestamp;

use crate::track::codec::{Reader, Row, Writer};
use crate::track::timeline::{Entry, Timeline};

/// That a finding is another one whose file moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) struct Link {
    /// The ordinal that it moved from.
    pub from: u32,
    /// The line and scan that show it.
    pub line: u32,
    pub scan: u32,
}

/// A finding by its ordinal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct Detail {
    pub fingerprint: Id,
    /// What is published of what was observed; 0 before it was first worked out.
    pub body: u64,
    /// Path and rule as scopes are judged by, of that body.
    pub path: String,
    pub rule: String,
    /// Hash of rule, snippet and rank, of code with a snippet; 0 for all else.
    pub alike: u64,
    /// The earliest start of a scan that saw it itself.
    pub first_seen: Timestamp,
    /// At most one a line, the one that is published first.
    pub links: Vec<Link>,
    pub has_decisions: bool,
    /// By line.
    pub timelines: Vec<(u32, Timeline)>,
}

impl Detail {
    /// The finding that it moved from, as published.
    pub fn moved_from(&self) -> Option<u32> {
        self.links.first().map(|link| link.from)
    }

    pub fn new(fingerprint: Id) -> Self {
        Self {
            fingerprint,
            body: 0,
            path: String::new(),
            rule: String::new(),
            alike: 0,
            first_seen: Timestamp::default(),
            links: Vec::new(),
            has_decisions: false,
            timelines: Vec::new(),
        }
    }
}

impl Row for Detail {
    const ROOM: usize = 160;
    const TABLE: &'static str = "details";

    fn write(&self, out: &mut Writer) {
        out.id(self.fingerprint);
        out.hash(self.body);
        out.text(&self.path);
        out.text(&self.rule);
        out.hash(self.alike);
        out.time(self.first_seen);
        out.list(&self.links, |out, link| {
            for number in [link.from, link.line, link.scan] {
                out.uint(number.into());
            }
        });
        out.flag(self.has_decisions);
        out.list(&self.timelines, |out, (line, timeline)| {
            out.uint((*line).into());
            out.list(&timeline.0, write_entry);
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            fingerprint: from.id()?,
            body: from.hash()?,
            path: from.text()?,
            rule: from.text()?,
            alike: from.hash()?,
            first_seen: from.time()?,
            links: from.list(|from| Some(Link { from: from.small()?, line: from.small()?, scan: from.small()? }))?,
            has_decisions: from.flag()?,
            timelines: from.list(|from| Some((from.small()?, Timeline(from.list(read_entry)?))))?,
        })
    }
}

fn write_entry(out: &mut Writer, entry: &Entry) {
    out.uint(entry.scan.into());
    out.time(entry.as_of);
    out.hash(entry.body);
    out.int(entry.lines.0.into());
    out.int(entry.lines.1.into());
}

fn read_entry(from: &mut Reader<'_>) -> Option<Entry> {
    Some(Entry { scan: from.small()?, as_of: from.time()?, body: from.hash()?, lines: (from.int32()?, from.int32()?) })
}
