//! What is known of the findings of a block before the oldest scan that is kept, and which are known and closed now.

use std::collections::BTreeMap;

use faultline_model::time::Timestamp;

use crate::track::codec::{Reader, Row, Writer};
use crate::track::ordinals::Bits;
use crate::track::stand::{Stand, Standing};

/// How a finding stood at the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::track) struct AtFloor {
    pub stand: Stand,
    /// The earliest start of a folded scan that saw it.
    pub first_seen: Timestamp,
}

/// The findings of a block that stand alike at the floor, together. Nearly all do, so this is nearly one bitmap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct FloorRow(pub BTreeMap<AtFloor, Bits>);

impl FloorRow {
    pub fn at(&self, ordinal: u32) -> Option<AtFloor> {
        self.0.iter().find(|(_, members)| members.has(ordinal)).map(|(at, _)| *at)
    }

    pub fn add(&mut self, at: AtFloor, members: &Bits) {
        if !members.is_empty() {
            self.0.entry(at).or_default().add(members);
        }
    }

    pub fn insert(&mut self, at: AtFloor, ordinal: u32) {
        self.0.entry(at).or_default().insert(ordinal);
    }
}

impl Row for FloorRow {
    const TABLE: &'static str = "floors";

    fn write(&self, out: &mut Writer) {
        out.uint(self.0.len() as u64);
        for (at, members) in &self.0 {
            out.byte(at.stand.standing as u8);
            out.time(at.stand.since);
            out.uint(at.stand.by.into());
            out.time(at.first_seen);
            members.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let groups = from.list(|from| {
            let stand = Stand { standing: Standing::of(from.byte()?)?, since: from.time()?, by: from.small()? };
            Some((AtFloor { stand, first_seen: from.time()? }, Bits::read(from)?))
        })?;
        Some(Self(groups.into_iter().collect()))
    }
}

/// The findings of a block that are known on a line, and those that no scan can close any more, so that the end of a scan need
/// not look at each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct KnownRow {
    pub known: Bits,
    pub closed: Bits,
}

impl Row for KnownRow {
    const TABLE: &'static str = "known";

    fn write(&self, out: &mut Writer) {
        self.known.write(out);
        self.closed.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { known: Bits::read(from)?, closed: Bits::read(from)? })
    }
}
