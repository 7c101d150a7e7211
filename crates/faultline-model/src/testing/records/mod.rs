//! Records of every topic as proptest strategies: every kind, every optional field, texts of any script, numbers at their ends.
//!
//! The records are well-formed and otherwise arbitrary: a risk's parts need not sum, a finding's id need not be its hash. Laws that need
//! a history that hangs together draw it from [`super::scale`] or make their own.

mod excepted;
mod noticed;
mod observed;
mod organised;
mod scored;
mod ticketed;
mod tracked;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub use excepted::{broken, held, register_entries, shares, steps};
pub use noticed::{deliveries, notices};
pub use observed::{findings_records, loci, observations, scan_kinds, severities};
pub use organised::{catalog_records, dead_letters, decisions, intel_records, outcomes};
pub use scored::risks;
pub use ticketed::tickets;
pub use tracked::tracked_records;

use crate::asset::AssetId;
use crate::decision::Verdict;
use crate::id::Id;
use crate::time::Timestamp;
use crate::tracked::FindingState;

/// Text of any script, the empty one included.
pub fn texts() -> impl Strategy<Value = String> + Clone {
    prop_oneof![3 => "[a-z]{1,12}", 1 => Just(String::new()), 2 => "\\PC{0,24}", 1 => any::<String>()]
}

/// A short list of texts.
pub fn lists() -> impl Strategy<Value = Vec<String>> + Clone {
    vec(texts(), 0..4)
}

/// Ids, with the first and the last among them.
pub fn ids() -> impl Strategy<Value = Id> + Clone {
    prop_oneof![8 => any::<[u8; 16]>(), 1 => Just([0; 16]), 1 => Just([255; 16])].prop_map(Id)
}

/// Points in time, with what cannot be shown as a date among them.
pub fn timestamps() -> impl Strategy<Value = Timestamp> + Clone {
    prop_oneof![8 => 0..2_000_000_000_000_i64, 1 => any::<i64>()].prop_map(Timestamp::from_millis)
}

/// Assets of all kinds.
pub fn assets() -> impl Strategy<Value = AssetId> + Clone {
    let names = prop_oneof![
        "repo:github\\.com/[a-z]{1,6}/[a-z]{1,6}",
        "repo:git\\.acme\\.dev/[A-Za-z]{1,6}",
        "image:ghcr\\.io/[a-z]{1,6}",
        "image:localhost:5000/[a-z]{1,6}",
        "url:https://[a-z]{1,8}\\.example:8443",
        "host:db[0-9]\\.[a-z]{2,6}",
        "cloud:arn:aws:s3:::[a-z]{3,8}",
        "package:pkg:npm/[a-z]{1,8}",
        "model:[a-z]{1,6}/[A-Z]{1,3}",
    ];
    names.prop_map(|name| name.parse().expect("the patterns are of canonical names"))
}

/// Any whole number of 32 bits, small ones more often.
pub fn numbers() -> impl Strategy<Value = i32> + Clone {
    prop_oneof![6 => 0..1_000_i32, 1 => any::<i32>()]
}

fn maybe<S>(of: S) -> impl Strategy<Value = Option<S::Value>> + Clone
where
    S: Strategy<Value: Clone> + Clone,
{
    option::of(of)
}

fn id_lists() -> impl Strategy<Value = Vec<Id>> + Clone {
    vec(ids(), 0..4)
}

fn states() -> impl Strategy<Value = FindingState> + Clone {
    prop::sample::select(vec![FindingState::Open, FindingState::Unknown, FindingState::Closed])
}

fn verdicts() -> impl Strategy<Value = Verdict> + Clone {
    prop::sample::select(Verdict::ALL.to_vec())
}
