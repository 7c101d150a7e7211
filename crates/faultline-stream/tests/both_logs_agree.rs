//! The embedded log and its twin in memory answer alike, whatever is done to both, over reopening as well.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use faultline_core::store::Store;
use faultline_model::time::Timestamp;
use faultline_stream::{Commit, EmbeddedLog, Log, MemoryLog, Options, Record, TaskId, TopicPlan};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const PARTITIONS: u32 = 2;
const RETENTION: Duration = Duration::from_millis(5);
const PLANS: [TopicPlan; 2] = [TopicPlan::by_time("by-time").kept_for(RETENTION), TopicPlan::by_key("by-key").kept_for(RETENTION)];
const STAGES: [&str; 2] = ["a", "ab"];

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Record>),
    /// Positions may be ahead of the log: both must refuse alike, and change nothing.
    Commit(Commit),
    Truncate {
        topic: &'static str,
        partition: u32,
        below: u64,
        least: u64,
    },
    Retain {
        topic: &'static str,
        partition: u32,
        now: i64,
        least: u64,
        most: usize,
    },
    Clean {
        topic: &'static str,
        partition: u32,
        most: usize,
    },
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(7), Just(255)], 0..3)
}

fn place() -> impl Strategy<Value = (&'static str, u32)> {
    (prop_oneof![Just("by-time"), Just("by-key")], 0..PARTITIONS)
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let header = ("[a-z]{1,3}", vec(any::<u8>(), 0..3));
    let record = (place(), key(), proptest::option::of(vec(any::<u8>(), 0..9)), vec(header, 0..2), prop_oneof![any::<i64>(), 0_i64..10]);
    let record = record.prop_map(|((topic, partition), key, value, headers, timestamp_ms)| Record {
        topic,
        partition,
        key,
        value,
        headers: headers.into(),
        timestamp_ms,
    });
    vec(record, 0..6)
}

fn task() -> impl Strategy<Value = TaskId> {
    (prop_oneof![Just("a"), Just("ab")], 0..PARTITIONS).prop_map(|(stage, partition)| TaskId { stage, partition })
}

fn step() -> impl Strategy<Value = Step> {
    let commit = (task(), btree_map(place(), 0_u64..6, 0..2), btree_map(key(), proptest::option::of(key()), 0..5), records());
    let commit = commit.prop_map(|(task, positions, changes, outputs)| Commit { task, positions, changes, outputs });
    prop_oneof![
        4 => records().prop_map(Step::Append),
        4 => commit.prop_map(Step::Commit),
        2 => (place(), 0_u64..9, 0_u64..9).prop_map(|((topic, partition), below, least)| Step::Truncate { topic, partition, below, least }),
        3 => (place(), prop_oneof![any::<i64>(), 0_i64..20], prop_oneof![0_u64..9, Just(u64::MAX)], 0_usize..4)
            .prop_map(|((topic, partition), now, least, most)| Step::Retain { topic, partition, now, least, most }),
        3 => (place(), 0_usize..4).prop_map(|((topic, partition), most)| Step::Clean { topic, partition, most }),
        1 => Just(Step::Reopen),
    ]
}

fn open(path: &std::path::Path) -> EmbeddedLog {
    let options = Options { memory_budget_bytes: 16 << 20, partitions: PARTITIONS, ..Options::default() };
    EmbeddedLog::open(path, PLANS.to_vec(), options).unwrap()
}

fn take(log: &dyn Log, step: Step) -> Result<Vec<u64>, String> {
    let outcome = match step {
        Step::Append(records) => log.append(records),
        Step::Commit(commit) => log.commit(commit),
        Step::Truncate { topic, partition, below, least } => log.truncate(topic, partition, below, least).map(|()| vec![]),
        Step::Retain { topic, partition, now, least, most } => log
            .retain((topic, partition), Timestamp::from_millis(now), least, most)
            .map(|retained| vec![retained.records, u64::from(retained.has_more)]),
        // Only one of them has anything to clean, and nobody may see that it did.
        Step::Clean { topic, partition, most } => log.clean((topic, partition), most).map(|_| vec![]),
        Step::Reopen => Ok(vec![]),
    };
    outcome.map_err(|error| error.to_string())
}

/// All that can be seen of a log.
fn seen(log: &dyn Log) -> Vec<String> {
    let mut seen = Vec::new();
    for plan in PLANS {
        for partition in 0..PARTITIONS {
            let bounds = (log.start_offset(plan.name, partition).unwrap(), log.end_offset(plan.name, partition).unwrap());
            let horizon = log.horizon(plan.name, partition).map_err(|error| error.to_string());
            seen.push(format!("{} {partition} {bounds:?} {horizon:?}", plan.name));
            for (from, max_records, max_bytes) in [(0, 1000, 1 << 20), (2, 3, 1 << 20), (1, 1000, 12), (0, 1000, 0), (0, 0, 9)] {
                seen.push(format!("{:?}", log.read(plan.name, partition, from, max_records, max_bytes).unwrap()));
            }
            for key in [&[][..], &[0], &[7, 7], &[255, 255]] {
                seen.push(format!("{:?}", log.latest(plan.name, partition, key).map_err(|error| error.to_string())));
            }
        }
    }
    for stage in STAGES {
        for partition in 0..PARTITIONS {
            let task = TaskId { stage, partition };
            seen.push(format!("{task} {:?}", log.positions(task).unwrap()));
            let state = log.state(task);
            for (prefix, from) in [(&[][..], &[][..]), (&[], &[7]), (&[255], &[]), (&[255, 255], &[255]), (&[7], &[7, 7])] {
                seen.push(format!("{:?}", rows(&*state, prefix, from)));
            }
            seen.push(format!("{:?}", state.get(&[7]).unwrap()));
            let keys = [&[][..], &[0], &[7], &[7, 7], &[255, 255]].map(<[u8]>::to_vec);
            seen.push(format!("{:?}", state.get_all(&[&keys[..], &keys[..2]].concat()).unwrap()));
            seen.push(format!("{:?}", keys.map(|key| state.get(&key).unwrap())));
        }
    }
    seen
}

fn rows(state: &dyn Store, prefix: &[u8], from: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    state.scan(prefix, from, &mut visit).unwrap();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_logs_agree(steps in vec(step(), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let memory = MemoryLog::new(PLANS.to_vec(), PARTITIONS).unwrap();
        let mut embedded = open(folder.path());
        for step in steps {
            if matches!(step, Step::Reopen) {
                drop(embedded);
                embedded = open(folder.path());
            }
            prop_assert_eq!(take(&embedded, step.clone()), take(&memory, step));
            prop_assert_eq!(seen(&embedded), seen(&memory));
        }
    }
}
