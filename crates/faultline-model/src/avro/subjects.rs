//! The schemas as they ship, with every version that was ever published.

use std::sync::LazyLock;

use serde_avro_fast::Schema;

/// The schema of a topic's values.
pub struct Subject {
    /// By TopicNameStrategy: `findings-value`.
    pub name: &'static str,
    /// The version that is written.
    newest: Version,
    /// Versions that may still stand in a log, the oldest first.
    older: &'static [Version],
}

/// A schema under its id.
pub struct Version {
    /// The id where there is no registry, as in `schemas/ids.tsv`.
    pub id: u32,
    /// The schema, as it stands in `schemas/`.
    pub text: &'static str,
    schema: LazyLock<Schema>,
}

impl Version {
    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl Subject {
    /// The version that is written.
    pub fn newest(&self) -> &Version {
        &self.newest
    }

    /// All versions, the oldest first.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.older.iter().chain([&self.newest])
    }

    /// The version of that id.
    pub(super) fn version(&self, id: u32) -> Option<&Version> {
        if id == self.newest.id { Some(&self.newest) } else { self.older.iter().find(|version| version.id == id) }
    }
}

/// A version out of its id and its file.
macro_rules! version {
    ($id:literal, $file:literal) => {
        Version {
            id: $id,
            text: include_str!(concat!("../../../../schemas/", $file)),
            schema: LazyLock::new(|| {
                include_str!(concat!("../../../../schemas/", $file)).parse().expect("the shipped schemas are read by a test")
            }),
        }
    };
}

macro_rules! subjects {
    ($($name:ident = $subject:literal, $file:literal = $id:literal, older [$($older_file:literal = $older_id:literal),*];)+) => {
        $(
            /// The schemas of this topic's values.
            pub static $name: Subject =
                Subject { name: $subject, newest: version!($id, $file), older: &[$(version!($older_id, $older_file)),*] };
        )+
        /// All schemas.
        pub static SUBJECTS: &[&Subject] = &[$(&$name),+];
    };
}

// A changed schema gets the next free id; what it was goes to `older`, oldest first: "history/findings-value/1.avsc" = 1.
subjects! {
    FINDINGS = "findings-value", "findings.avsc" = 1, older [];
    TRACKED = "tracked-value", "tracked.avsc" = 2, older [];
    CATALOG = "catalog-value", "catalog.avsc" = 3, older [];
    INTEL = "intel-value", "intel.avsc" = 4, older [];
    DECISIONS = "decisions-value", "decisions.avsc" = 5, older [];
    RISKS = "risks-value", "risks.avsc" = 6, older [];
    OUTCOMES = "outcomes-value", "outcomes.avsc" = 7, older [];
    DEAD_LETTERS = "dead-letters-value", "dead-letters.avsc" = 8, older [];
}
