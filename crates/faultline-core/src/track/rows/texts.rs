//! What observations say at length, once for all of an asset that say the same: nearly always the words of their rule.

use faultline_model::observation::Observation;

use crate::track::codec::{Reader, Row, Writer};
use crate::track::observe::hash_of;

/// The texts of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::track) struct Texts {
    pub description: String,
    pub guidance: String,
    pub references: Vec<String>,
}

/// Who these texts are; 0 where an observation has none.
pub(in crate::track) fn hash_of_texts(seen: &Observation) -> u64 {
    if seen.description.is_empty() && seen.guidance.is_empty() && seen.references.is_empty() {
        return 0;
    }
    let mut out = Writer(Vec::with_capacity(512));
    write(&mut out, &seen.description, &seen.guidance, &seen.references);
    hash_of(&out.0)
}

fn write(out: &mut Writer, description: &str, guidance: &str, references: &[String]) {
    out.text(description);
    out.text(guidance);
    out.texts(references);
}

impl Texts {
    pub fn of(seen: &Observation) -> Self {
        Self { description: seen.description.clone(), guidance: seen.guidance.clone(), references: seen.references.clone() }
    }

    /// Puts the texts where they were taken from.
    pub fn fill(&self, seen: &mut Observation) {
        seen.description.clone_from(&self.description);
        seen.guidance.clone_from(&self.guidance);
        seen.references.clone_from(&self.references);
    }
}

impl Row for Texts {
    const TABLE: &'static str = "texts";

    fn write(&self, out: &mut Writer) {
        write(out, &self.description, &self.guidance, &self.references);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { description: from.text()?, guidance: from.text()?, references: from.texts()? })
    }
}

/// How many bodies name texts: with the last one they go. A row of its own, since it is written again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) struct NamedBy(pub u32);

impl Row for NamedBy {
    const TABLE: &'static str = "named texts";

    fn write(&self, out: &mut Writer) {
        out.uint(self.0.into());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.small().map(Self)
    }
}
