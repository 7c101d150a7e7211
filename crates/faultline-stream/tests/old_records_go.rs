//! Retention: what is old goes, nothing goes that somebody has still to read, and so the disk comes to a plateau.
#![allow(clippy::unwrap_used)]

mod toys;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use faultline_model::time::Timestamp;
use faultline_stream::{EmbeddedLog, Host, HostOptions, Log, MemoryLog, Options, Record, TopicPlan, append};
use toys::{Amounts, FACTS, Sums};

const RETENTION: Duration = Duration::from_secs(5);
const PLANS: [TopicPlan; 2] = [TopicPlan::by_time("events").kept_for(RETENTION), TopicPlan::by_key("facts").kept_for(RETENTION)];
const BODY_BYTES: usize = 4 << 10;

fn record(topic: &'static str, key: &str, value: Option<Vec<u8>>, second: i64) -> Record {
    Record { topic, partition: 0, key: key.into(), value, headers: [].into(), timestamp_ms: second * 1000 }
}

/// Bytes that do not compress.
fn body(seed: u64) -> Vec<u8> {
    let mut random = faultline_stream::testing::Random::new(seed);
    (0..BODY_BYTES / 8).flat_map(|_| random.number().to_le_bytes()).collect()
}

/// One second of a life: events, new facts, and facts of before that go.
fn live(log: &dyn Log, second: i64) {
    let mut records = Vec::new();
    for n in 0..100 {
        records.push(record("events", "event", Some(body(n)), second));
        records.push(record("facts", &format!("fact {second} {n}"), Some(body(n)), second));
        records.push(record("facts", &format!("fact {} {n}", second - 1), None, second));
    }
    log.append(records).unwrap();
    for topic in ["events", "facts"] {
        while log.retain((topic, 0), Timestamp::from_millis(second * 1000), u64::MAX, 50).unwrap().has_more {}
        while log.clean((topic, 0), 50).unwrap() {}
    }
}

fn count(log: &dyn Log, topic: &str) -> usize {
    log.read(topic, 0, 0, usize::MAX, usize::MAX).unwrap().len()
}

fn folder_bytes(path: &Path) -> u64 {
    // RocksDB may remove a file between its name and its length: it is no bytes then.
    let length = |entry: std::io::Result<std::fs::DirEntry>| match entry.unwrap().metadata() {
        Ok(metadata) => metadata.len(),
        Err(gone) => {
            assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
            0
        }
    };
    std::fs::read_dir(path).unwrap().map(length).sum()
}

#[test]
fn records_and_disk_come_to_a_plateau() {
    let folder = tempfile::tempdir().unwrap();
    let embedded =
        EmbeddedLog::open(folder.path(), PLANS.to_vec(), Options { partitions: 1, memory_budget_bytes: 16 << 20, ..Options::default() });
    let (embedded, memory) = (embedded.unwrap(), MemoryLog::new(PLANS.to_vec(), 1).unwrap());
    // The write-ahead log turns over and tables are merged every so often: what counts is how high it goes.
    let (mut before, mut after) = (0, 0);
    for second in 0..320 {
        live(&embedded, second);
        if second < 20 {
            live(&memory, second);
        }
        let highest = if second < 200 { &mut before } else { &mut after };
        *highest = folder_bytes(folder.path()).max(*highest);
    }
    for log in [&memory as &dyn Log, &embedded] {
        // Six seconds of events; one second of facts, and six of words that facts went.
        assert_eq!((count(log, "events"), count(log, "facts")), (600, 700));
    }
    assert_eq!(embedded.latest("facts", 0, b"fact 3 3").unwrap(), None);
    assert!(embedded.horizon("facts", 0).unwrap() > 0);
    let written = 320 * 200 * BODY_BYTES as u64;
    assert!(
        after <= before * 5 / 4 && after < written / 2,
        "at most {before} bytes in 200 seconds, {after} in 120 more; written {written}"
    );
}

#[test]
fn a_young_record_keeps_what_is_behind_it() {
    let log = MemoryLog::new(PLANS.to_vec(), 1).unwrap();
    log.append([0, 9, 0].map(|second| record("events", "event", None, second)).to_vec()).unwrap();
    let retained = log.retain(("events", 0), Timestamp::from_millis(10_000), u64::MAX, 10).unwrap();
    assert_eq!((retained.records, count(&log, "events")), (1, 2));
}

#[test]
fn a_running_host_drops_what_is_old_but_not_what_a_reader_needs() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toys::plans(), 1).unwrap());
    let week = Timestamp::from_millis(0).plus_days(8);
    let facts = (0..10).map(|n| ("shop-1".to_owned(), Some(format!("{n} f0 1 99999999999").into_bytes()))).collect();
    append(&*log, FACTS, facts, Timestamp::from_millis(0), &[]).unwrap();
    let mut host = Host::new(log.clone(), HostOptions { retain_interval: Duration::from_millis(1), ..HostOptions::default() });
    host.add(Amounts).unwrap().add(Sums).unwrap();
    let readers = host.readers();
    readers.set("views", ("facts", 0), 4);
    let running = host.start(Arc::new(week)).unwrap();
    let until = |start| {
        for _ in 0..10_000 {
            if log.start_offset("facts", 0).unwrap() == start {
                return true;
            }
            log.wait_for_change(u64::MAX, Duration::from_millis(1));
        }
        false
    };
    assert!(until(4), "up to where the reader is");
    readers.forget("views");
    assert!(until(10), "all that the tasks have read");
    running.stop().unwrap();
}
