//! A finding by its id: all that a rescan needs to know that nothing changed.

use crate::track::codec::{Reader, Row, VERSION, Writer};
use crate::track::stand::Standing;

/// How a finding stands on a line, as it was last worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) struct OnLine {
    pub line: u32,
    pub standing: Standing,
    /// The scan that brought the standing; 0 for a retirement.
    pub by: u32,
    /// What was last observed here.
    pub body: u64,
}

/// A finding by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct FindingRow {
    pub ordinal: u32,
    /// Digest of exactly what is published; 0 for nothing.
    pub digest: u64,
    /// Which services it is published for.
    pub services: u32,
    pub lines: Vec<OnLine>,
}

impl Row for FindingRow {
    const TABLE: &'static str = "findings";

    fn write(&self, out: &mut Writer) {
        out.uint(self.ordinal.into());
        out.list(&self.lines, |out, on| {
            out.uint(on.line.into());
            out.byte(on.standing as u8);
            out.uint(on.by.into());
            out.hash(on.body);
        });
        out.hash(self.digest);
        out.uint(self.services.into());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let ordinal = from.small()?;
        let lines = from.list(read_on)?;
        Some(Self { ordinal, lines, digest: from.hash()?, services: from.small()? })
    }
}

fn read_on(from: &mut Reader<'_>) -> Option<OnLine> {
    Some(OnLine { line: from.small()?, standing: Standing::of(from.byte()?)?, by: from.small()?, body: from.hash()? })
}

/// The ordinal out of a finding's row if the finding is open on a line and was last observed there just so: then a newer
/// observation of it changes nothing. Allocates nothing.
pub(in crate::track) fn known_and_unchanged(row: &[u8], line: u32, body: u64) -> Option<u32> {
    let (version, fields) = row.split_first()?;
    let mut from = Reader((*version == VERSION).then_some(fields)?);
    let ordinal = from.small()?;
    for _ in 0..from.uint()? {
        let on = read_on(&mut from)?;
        if on.line == line {
            return (on.standing == Standing::Open && on.body == body).then_some(ordinal);
        }
    }
    None
}
