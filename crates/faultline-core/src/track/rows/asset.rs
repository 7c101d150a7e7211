//! The asset itself, its service sets, and what people asked about it.

use faultline_model::decision::{Assignment, OutcomeStatus, Verdict, Word};
use faultline_model::observation::Severity;
use faultline_model::time::Timestamp;
use faultline_model::tracked::{GivenAssignment, GivenSeverity, GivenVerdict, GivenWord};

use crate::track::codec::{NEWEST, Reader, Row, VERSION, Writer};

/// The asset itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct AssetRow {
    pub name: String,
    pub next_line: u32,
    /// The newest time at which it was retired: what only older scans saw is closed.
    pub retired: Option<Timestamp>,
    /// Until when the last of the records is kept that say where a fact went; none if there never was one.
    pub went_until: Option<Timestamp>,
}

impl Row for AssetRow {
    const TABLE: &'static str = "assets";

    fn write(&self, out: &mut Writer) {
        out.text(&self.name);
        out.uint(self.next_line.into());
        out.option(self.retired.as_ref(), |out, at| out.time(*at));
        out.option(self.went_until.as_ref(), |out, at| out.time(*at));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            name: from.text()?,
            next_line: from.small()?,
            retired: from.option(Reader::time)?,
            went_until: from.option(Reader::time)?,
        })
    }
}

/// The next number of what every scan numbers: a row apart, since it is written with every scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct Counters {
    pub ordinal: u32,
    /// From 1: no scan has number 0.
    pub scan: u32,
    pub job: u32,
    /// Of a batch of what a scan saw.
    pub seen: u32,
    pub route: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self { ordinal: 0, scan: 1, job: 0, seen: 0, route: 0 }
    }
}

impl Row for Counters {
    const TABLE: &'static str = "counters";

    fn write(&self, out: &mut Writer) {
        for number in [self.ordinal, self.scan, self.job, self.seen, self.route] {
            out.uint(number.into());
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { ordinal: from.small()?, scan: from.small()?, job: from.small()?, seen: from.small()?, route: from.small()? })
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

/// What somebody said of a finding's severity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::track) struct SaidSeverity {
    /// None takes back what was said before.
    pub severity: Option<Severity>,
    pub actor: String,
    pub reason: String,
    pub at: Timestamp,
}

/// The decisions on a finding itself; what follows a move is not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct Decisions {
    /// How many were accepted.
    pub version: u32,
    /// The last one, a withdrawal included.
    pub verdict: Option<GivenVerdict>,
    pub assignment: Option<GivenAssignment>,
    /// The last one, taken back or not.
    pub severity: Option<SaidSeverity>,
    /// By the finding that they lead to.
    pub words: Vec<GivenWord>,
}

impl SaidSeverity {
    /// As it is published; nothing where it was taken back.
    pub fn given(self) -> Option<GivenSeverity> {
        let Self { severity, actor, reason, at } = self;
        Some(GivenSeverity { severity: severity?, actor, reason, at })
    }
}

impl Row for Decisions {
    const TABLE: &'static str = "decisions";

    fn version(&self) -> u8 {
        if self.severity.is_some() || !self.words.is_empty() { NEWEST } else { VERSION }
    }

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
        if self.version() == VERSION {
            return;
        }
        out.option(self.severity.as_ref(), |out, given| {
            out.text(given.severity.map_or("", Severity::name));
            out.text(&given.actor);
            out.text(&given.reason);
            out.time(given.at);
        });
        out.list(&self.words, |out, given| {
            out.id(given.to);
            out.text(given.word.name());
            out.text(&given.actor);
            out.text(&given.reason);
            out.time(given.at);
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut read = Self {
            version: from.small()?,
            verdict: from.option(|from| {
                let verdict = Verdict::named(&from.text()?)?;
                Some(GivenVerdict { verdict, actor: from.text()?, reason: from.text()?, at: from.time()? })
            })?,
            assignment: from.option(|from| {
                let assignment = Assignment { to: from.text()? };
                Some(GivenAssignment { assignment, actor: from.text()?, reason: from.text()?, at: from.time()? })
            })?,
            ..Self::default()
        };
        if from.is_at_end() {
            return Some(read);
        }
        read.severity = from.option(|from| {
            let name = from.text()?;
            let severity = if name.is_empty() { None } else { Some(Severity::named(&name)?) };
            Some(SaidSeverity { severity, actor: from.text()?, reason: from.text()?, at: from.time()? })
        })?;
        read.words = from.list(|from| {
            let (to, word) = (from.id()?, Word::named(&from.text()?)?);
            Some(GivenWord { to, word, actor: from.text()?, reason: from.text()?, at: from.time()? })
        })?;
        Some(read)
    }
}
