//! Whether an export of `audit` is whole: by itself, and against heads that somebody kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use faultline_model::audit::AuditEntry;
use faultline_model::id::Id;
use serde::{Deserialize, Serialize};

/// The last entry of a chain, to be kept where who could alter the topic cannot reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub chain: Id,
    pub number: i64,
    pub hash: String,
}

/// Heads that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("these are no heads of chains, as `faultline audit verify --json` tells them: {0}")]
pub struct HeadsError(#[from] serde_json::Error);

impl Head {
    /// Heads as a report has them under `heads`, or a list of them alone.
    pub fn read_all(text: &str) -> Result<Vec<Self>, HeadsError> {
        let mut value: serde_json::Value = serde_json::from_str(text)?;
        Ok(serde_json::from_value(if value.is_array() { value } else { value["heads"].take() })?)
    }
}

/// A chain as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    pub chain: Id,
    /// The number of its first entry; more than 1 where older ones are no longer kept.
    pub first: i64,
    pub entries: i64,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub chain: Id,
    pub number: i64,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {}, entry {}: {}", self.chain, self.number, self.what)
    }
}

/// What an export holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub chains: Vec<ChainReport>,
    pub heads: Vec<Head>,
    /// All that is wrong; whole if there is nothing.
    pub faults: Vec<Fault>,
}

/// A chain while it is read.
struct Chain {
    report: ChainReport,
    head: Head,
    /// What its first entry goes on from.
    root: String,
}

/// Judges entries in the order in which they stand in the export; chains may stand among each other.
///
/// By itself it finds entries that were altered, taken out, put in or moved. That a chain's last entries were cut off only who kept a head can tell: every one
/// in `kept` must still be there.
pub fn verify(entries: impl IntoIterator<Item = AuditEntry>, kept: &[Head]) -> Report {
    let mut chains: BTreeMap<Id, Chain> = BTreeMap::new();
    let mut faults = Vec::new();
    let wanted: BTreeMap<(Id, i64), &str> = kept.iter().map(|head| ((head.chain, head.number), head.hash.as_str())).collect();
    let mut seen = BTreeSet::new();
    for entry in entries {
        let (chain, number) = (entry.chain, entry.number);
        let mut wrong = |what: String| faults.push(Fault { chain, number, what });
        if entry.hash != entry.hash_now() {
            wrong("was altered: its hash is that of something else".to_owned());
        }
        if let Some(hash) = wanted.get(&(chain, number)) {
            seen.insert((chain, number));
            if *hash != entry.hash {
                wrong("is not the one that the head was kept of".to_owned());
            }
        }
        match chains.get_mut(&chain) {
            None => {
                let report = ChainReport { chain, first: number, entries: 1 };
                let head = Head { chain, number, hash: entry.hash };
                chains.insert(chain, Chain { report, head, root: if number == 1 { entry.previous } else { String::new() } });
            }
            Some(known) => {
                if number != known.head.number + 1 {
                    wrong(format!("stands behind entry {}", known.head.number));
                } else if entry.previous != known.head.hash {
                    wrong(format!("does not go on from entry {} as it is here", known.head.number));
                }
                known.report.entries += 1;
                known.head = Head { chain, number, hash: entry.hash };
            }
        }
    }
    faults.extend(without_roots(&chains));
    let gone = wanted.keys().filter(|place| !seen.contains(place));
    faults.extend(gone.map(|(chain, number)| Fault { chain: *chain, number: *number, what: "is gone; its head was kept".to_owned() }));
    let (chains, heads) = chains.into_values().map(|chain| (chain.report, chain.head)).unzip();
    Report { chains, heads, faults }
}

/// Chains that go on from others which are not here as they ended.
fn without_roots(chains: &BTreeMap<Id, Chain>) -> Vec<Fault> {
    // Chains of one partition count go on from the same.
    let mut generations: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for chain in chains.values() {
        generations.entry(&chain.root).or_default().insert(chain.head.hash.clone());
    }
    let ends: BTreeSet<String> = generations
        .iter()
        .flat_map(|(root, heads)| {
            // A task that saw nothing still stood where it began.
            let idle: BTreeSet<String> = heads.iter().cloned().chain([(*root).to_owned()]).filter(|hash| !hash.is_empty()).collect();
            [super::joined(heads), super::joined(&idle)]
        })
        .collect();
    let is_lost = |chain: &&Chain| !chain.root.is_empty() && !ends.contains(&chain.root);
    let fault = |chain: &Chain| Fault {
        chain: chain.report.chain,
        number: 1,
        what: "goes on from chains that are not here, or do not end as they did".to_owned(),
    };
    chains.values().filter(is_lost).map(fault).collect()
}
