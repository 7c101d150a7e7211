//! The asset itself, its service sets, and what people asked about it.

use faultline_model::decision::{Assignment, OutcomeStatus, Verdict};
use faultline_model::time::Timestamp;
use faultline_model::tracked::{GivenAssignment, GivenVerdict};

use crate::track::codec::{Reader, Row, Writer};

/// The asset: the next number of everything that is numbered in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct AssetRow {
    pub name: String,
    pub next_ordinal: u32,
    pub next_line: u32,
    /// From 1: no scan has number 0.
    pub next_scan: u32,
    pub next_job: u32,
    pub next_seen: u32,
    pub next_route: u32,
    /// The newest time at which it was retired: what only older scans saw is closed.
    pub retired: Option<Timestamp>,
}

impl Row for AssetRow {
    const TABLE: &'static str = "assets";

    fn write(&self, out: &mut Writer) {
        out.text(&self.name);
        for number in [self.next_ordinal, self.next_line, self.next_scan, self.next_job, self.next_seen, self.next_route] {
            out.uint(number.into());
        }
        out.option(self.retired.as_ref(), |out, at| out.time(*at));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            name: from.text()?,
            next_ordinal: from.small()?,
            next_line: from.small()?,
            next_scan: from.small()?,
            next_job: from.small()?,
            next_seen: from.small()?,
            next_route: from.small()?,
            retired: from.option(Reader::time)?,
        })
    }
}

/// The sets of services that facts of the asset were published to, each the owner first; rows name them by their place here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct ServiceSets(pub Vec<Vec<String>>);

impl Row for ServiceSets {
    const TABLE: &'static str = "service sets";

    fn write(&self, out: &mut Writer) {
        out.list(&self.0, |out, set| out.texts(set));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.list(Reader::texts).map(Self)
    }
}

/// The records of places as the asset last saw them, the most specific first; none where the catalog has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct PlacesCopy(pub Vec<Option<Vec<u8>>>);

impl Row for PlacesCopy {
    const TABLE: &'static str = "places";

    fn write(&self, out: &mut Writer) {
        out.list(&self.0, |out, record| out.option(record.as_ref(), |out, bytes| out.slice(bytes)));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.list(|from| from.option(|from| from.slice().map(<[u8]>::to_vec))).map(Self)
    }
}

/// What became of something that was asked, under its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct Asked {
    pub status: OutcomeStatus,
    pub reason: String,
    pub at: Timestamp,
}

impl Row for Asked {
    const TABLE: &'static str = "asked";

    fn write(&self, out: &mut Writer) {
        out.flag(self.status == OutcomeStatus::Done);
        out.text(&self.reason);
        out.time(self.at);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let status = if from.flag()? { OutcomeStatus::Done } else { OutcomeStatus::Refused };
        Some(Self { status, reason: from.text()?, at: from.time()? })
    }
}

/// The decisions on a finding itself; what follows a move is not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct Decisions {
    /// How many were accepted.
    pub version: u32,
    /// The last one, a withdrawal included.
    pub verdict: Option<GivenVerdict>,
    pub assignment: Option<GivenAssignment>,
}

impl Row for Decisions {
    const TABLE: &'static str = "decisions";

    fn write(&self, out: &mut Writer) {
        out.uint(self.version.into());
        out.option(self.verdict.as_ref(), |out, given| {
            out.text(given.verdict.name());
            out.text(&given.actor);
            out.text(&given.reason);
            out.time(given.at);
        });
        out.option(self.assignment.as_ref(), |out, given| {
            out.text(&given.assignment.to);
            out.text(&given.actor);
            out.text(&given.reason);
            out.time(given.at);
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version: from.small()?,
            verdict: from.option(|from| {
                let verdict = Verdict::named(&from.text()?)?;
                Some(GivenVerdict { verdict, actor: from.text()?, reason: from.text()?, at: from.time()? })
            })?,
            assignment: from.option(|from| {
                let assignment = Assignment { to: from.text()? };
                Some(GivenAssignment { assignment, actor: from.text()?, reason: from.text()?, at: from.time()? })
            })?,
        })
    }
}
