//! What only the embedded log promises: it is there after the process, belongs to one process, and groups its fsyncs.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use faultline_stream::{Commit, EmbeddedLog, HostError, Log, Options, Record, TaskId, TopicPlan};

const PLANS: [TopicPlan; 2] = [TopicPlan::by_time("findings"), TopicPlan::by_key("risks")];
const TASK: TaskId = TaskId { stage: "track", partition: 1 };
const FOLDER: &str = "FAULTLINE_TEST_FOLDER";

fn open(path: &Path, partitions: u32) -> Result<EmbeddedLog, HostError> {
    EmbeddedLog::open(path, PLANS.to_vec(), Options { memory_budget_bytes: 16 << 20, partitions, ..Options::default() })
}

fn record(topic: &'static str, key: &str, value: Option<&str>) -> Record {
    let value = value.map(|value| value.as_bytes().to_vec());
    Record { topic, partition: 1, key: key.into(), value, headers: [("trace".into(), vec![1])].into(), timestamp_ms: 42 }
}

fn refusal(outcome: Result<EmbeddedLog, HostError>) -> HostError {
    outcome.err().expect("it should be refused")
}

fn filled(path: &Path) -> EmbeddedLog {
    let log = open(path, 2).unwrap();
    assert_eq!(log.append(vec![record("findings", "a", Some("1")), record("findings", "b", Some("2"))]).unwrap(), [0, 1]);
    let commit = Commit {
        task: TASK,
        positions: BTreeMap::from([(("findings", 1), 2)]),
        changes: BTreeMap::from([(b"row".to_vec(), Some(b"value".to_vec()))]),
        outputs: vec![record("risks", "r", Some("old")), record("risks", "s", None), record("risks", "r", Some("new"))],
    };
    assert_eq!(log.commit(commit).unwrap(), [0, 1, 2]);
    log
}

fn assert_filled(log: &EmbeddedLog) {
    assert_eq!(log.positions(TASK).unwrap(), BTreeMap::from([(("findings", 1), 2)]));
    assert_eq!(log.state(TASK).get(b"row").unwrap(), Some(b"value".to_vec()));
    let risks = log.read("risks", 1, 0, 10, 1 << 20).unwrap();
    let risks: Vec<_> = risks.iter().map(|record| (record.offset, record.value.as_deref())).collect();
    assert_eq!(risks, [(1, None), (2, Some(&b"new"[..]))]);
    assert_eq!(log.latest("risks", 1, b"r").unwrap().unwrap().offset, 2);
    assert_eq!(log.read("findings", 1, 0, 10, 1 << 20).unwrap().len(), 2);
    assert_eq!((log.end_offset("findings", 1).unwrap(), log.end_offset("findings", 0).unwrap()), (2, 0));
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/at/open");
    assert_filled(&filled(&path));
    let log = open(&path, 2).unwrap();
    assert_filled(&log);
    log.close().unwrap();
    let log = open(&path, 2).unwrap();
    assert_eq!(log.append(vec![record("findings", "c", None)]).unwrap(), [2]);
}

#[test]
fn a_checkpoint_is_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("log"), folder.path().join("copy"));
    let log = filled(&path);
    log.checkpoint(&copy).unwrap();
    log.append(vec![record("findings", "later", None)]).unwrap();
    assert_filled(&open(&copy, 2).unwrap());
    assert!(matches!(log.checkpoint(&copy), Err(HostError::Checkpoint { .. })));
}

#[test]
fn a_second_open_in_this_process_is_refused_by_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _log = open(folder.path(), 2).unwrap();
    let error = refusal(open(folder.path(), 2));
    assert!(matches!(error, HostError::InUse { .. }), "{error:?}");
    let expected = format!("{} is in use by another faultline; stop it", folder.path().display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

/// The child runs this very test with the folder in its environment.
#[test]
fn a_second_process_is_refused_by_folder() {
    if let Some(path) = std::env::var_os(FOLDER) {
        let error = refusal(open(Path::new(&path), 2));
        assert!(matches!(error, HostError::InUse { .. }), "{error:?}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _log = open(folder.path(), 2).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_second_process_is_refused_by_folder"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn another_partition_count_is_refused_with_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), 2).unwrap());
    let error = refusal(open(folder.path(), 3)).to_string();
    assert!(error.contains("has 2 partitions, but 3 are configured"), "{error}");
}

/// What a folder of this format, and with this family more, is refused with.
fn refusal_of_format(format: u32, more: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), 2).unwrap());
    {
        let options = rocksdb::Options::default();
        let names = rocksdb::DB::list_cf(&options, folder.path()).unwrap();
        let mut db = rocksdb::DB::open_cf(&options, folder.path(), names).unwrap();
        db.create_cf(more, &options).unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), b"format", format.to_be_bytes()).unwrap();
    }
    refusal(open(folder.path(), 2)).to_string()
}

#[test]
fn another_format_is_refused_even_with_families_we_do_not_know() {
    let newer = refusal_of_format(99, "of-tomorrow");
    assert!(newer.contains("written in format 99, this faultline knows formats up to 2"), "{newer}");
    let older = refusal_of_format(1, "of-yesterday");
    assert!(older.contains("written in format 1, which this faultline reads no more (it reads 2); begin a new folder"), "{older}");
}

/// How many rows a family has.
fn rows_in(path: &Path, family: &str) -> usize {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    let db = rocksdb::DB::open_cf(&options, path, names).unwrap();
    db.iterator_cf(db.cf_handle(family).unwrap(), rocksdb::IteratorMode::Start).count()
}

#[test]
fn a_chunk_is_cleaned_when_half_of_it_is_superseded() {
    let folder = tempfile::tempdir().unwrap();
    let many =
        |keys: std::ops::Range<u32>| keys.map(|key| record("risks", &format!("{key:04}"), Some("a body that says something"))).collect();
    let log = open(folder.path(), 2).unwrap();
    log.append(many(0..4000)).unwrap();
    let seen = |log: &EmbeddedLog| log.read("risks", 1, 0, usize::MAX, usize::MAX).unwrap();
    // The first half of all keys again: of the first chunks all, of the last ones nothing is superseded.
    log.append(many(0..2000)).unwrap();
    let before = seen(&log);
    assert_eq!((before.len(), before[0].offset, before[3999].offset), (4000, 2000, 5999));
    drop(log);
    let rows = rows_in(folder.path(), "log");
    let log = open(folder.path(), 2).unwrap();
    let mut steps = 0;
    while log.clean(("risks", 1), 100).unwrap() {
        steps += 1;
    }
    assert_eq!(seen(&log), before);
    assert_eq!(log.latest("risks", 1, b"0007").unwrap().unwrap().offset, 4007);
    assert!(!log.clean(("risks", 1), 100).unwrap(), "nothing new to do");
    drop(log);
    let left = rows_in(folder.path(), "log");
    assert!(steps > 1 && left < rows && rows < 20, "{steps} steps, {left} of {rows} chunks");
    assert_eq!(seen(&open(folder.path(), 2).unwrap()), before);
}

/// A commit may say so of a record that was dropped and cleaned away after it had looked the key up.
#[test]
fn cleaning_goes_on_over_a_superseded_record_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    {
        let options = rocksdb::Options::default();
        let names = rocksdb::DB::list_cf(&options, folder.path()).unwrap();
        let db = rocksdb::DB::open_cf(&options, folder.path(), names).unwrap();
        let row = [&b"superseded/"[..], &5_u16.to_be_bytes(), b"risks", &1_u32.to_be_bytes(), &99_u64.to_be_bytes()].concat();
        db.put_cf(db.cf_handle("meta").unwrap(), row, []).unwrap();
    }
    let log = open(folder.path(), 2).unwrap();
    while log.clean(("risks", 1), 1).unwrap() {}
    assert_filled(&log);
    drop(log);
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, folder.path()).unwrap();
    let db = rocksdb::DB::open_cf(&options, folder.path(), names).unwrap();
    let meta = db.iterator_cf(db.cf_handle("meta").unwrap(), rocksdb::IteratorMode::Start);
    let left = meta.filter(|row| row.as_ref().unwrap().0.starts_with(b"superseded/")).count();
    // Of the three records of this chunk one is superseded: not yet worth it.
    assert_eq!(left, 1);
}

#[test]
fn truncation_stops_at_the_least_position_and_offsets_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    assert!(matches!(log.truncate("findings", 1, 2, 1), Err(HostError::StillNeeded { .. })));
    assert!(matches!(log.truncate("risks", 1, 1, 9), Err(HostError::NotByTime { .. })));
    log.truncate("findings", 1, 2, 2).unwrap();
    drop(log);
    let log = open(folder.path(), 2).unwrap();
    assert_eq!(log.read("findings", 1, 0, 10, 1 << 20).unwrap(), []);
    assert_eq!(log.append(vec![record("findings", "c", None)]).unwrap(), [2]);
}

#[test]
fn many_doors_get_every_offset_once_and_a_reader_skips_none() {
    const DOORS: u64 = 8;
    const EACH: u64 = 50;
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), 2).unwrap();
    let (given, read) = std::thread::scope(|scope| {
        let door = || (0..EACH).map(|_| log.append(vec![record("findings", "k", Some("v"))]).unwrap()[0]).collect::<Vec<_>>();
        let doors: Vec<_> = (0..DOORS).map(|_| scope.spawn(door)).collect();
        let reader = scope.spawn(|| {
            let (mut read, mut generation) = (Vec::new(), 0);
            while read.len() < (DOORS * EACH) as usize {
                let more = log.read("findings", 1, read.len() as u64, 7, 1 << 20).unwrap();
                if more.is_empty() {
                    generation = log.wait_for_change(generation, Duration::from_secs(10));
                }
                read.extend(more.into_iter().map(|record| record.offset));
            }
            read
        });
        let given: BTreeSet<u64> = doors.into_iter().flat_map(|door| door.join().unwrap()).collect();
        (given, reader.join().unwrap())
    });
    assert!(given.iter().copied().eq(0..DOORS * EACH));
    assert!(read.into_iter().eq(0..DOORS * EACH));
}

#[test]
fn a_wait_ends_at_a_change_or_at_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), 2).unwrap();
    let before = log.wait_for_change(0, Duration::ZERO);
    assert_eq!(log.wait_for_change(before, Duration::from_millis(1)), before);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| log.wait_for_change(before, Duration::from_mins(1)));
        log.append(vec![record("findings", "a", None)]).unwrap();
        assert!(waiting.join().unwrap() > before);
    });
}
