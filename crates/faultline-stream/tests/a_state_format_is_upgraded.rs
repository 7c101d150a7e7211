//! Versions of a program with another state format share its work, until the operator says that there is no way back.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use broker::{Broker, PARTITIONS, PATIENCE, assert_at_rest, assert_comes_to};
use faultline_core::stage::{Batch, FormatError, Formats, Input, Stage, StageError};
use faultline_core::store::{Store, StoreError};
use faultline_model::topic::Topic;
use faultline_stream::testing::Rest;
use faultline_stream::{
    Clock, EmbeddedLog, Host, HostError, HostOptions, KafkaHost, KafkaLog, KafkaRunning, Log, MemoryLog, Options, SystemClock, TaskId,
    append,
};
use toys::{FACTS, SUMS, number};

const ROW: u8 = 1;
const KEYS: [&str; 8] = ["ants", "bees", "cats", "dogs", "elks", "foxes", "gnats", "hares"];

/// Counts the facts of each key: in format 1 its row is a text, in format 2 eight bytes behind a 2. A program of it knows formats up to
/// `NEWEST`.
struct Counts<const NEWEST: u16>(Option<u16>);

fn parse<const NEWEST: u16>(key: &[u8], row: &[u8]) -> Result<i64, StoreError> {
    let text = || str::from_utf8(row).ok()?.parse().ok();
    let read = match row.split_first() {
        Some((2, bytes)) if NEWEST >= 2 => bytes.try_into().ok().map(i64::from_be_bytes),
        _ => text(),
    };
    read.ok_or_else(|| StoreError::corrupt("counts", key, "no count that this program reads"))
}

impl<const NEWEST: u16> Stage for Counts<NEWEST> {
    const NAME: &'static str = "counts";
    const INPUTS: &'static [Topic] = &[FACTS];
    const GLOBALS: &'static [Topic] = &[];
    const FORMATS: Formats = Formats { oldest: 1, newest: NEWEST };
    type Gathered = ();

    fn finalised(&self) -> Option<u16> {
        self.0
    }

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        let key = [&[ROW], input.key.as_bytes()].concat();
        let count = 1 + batch.state.get(&key)?.map_or(Ok(0), |row| parse::<NEWEST>(&key, &row))?;
        let row = match batch.format {
            2 => [&[2], &count.to_be_bytes()[..]].concat(),
            _ => count.to_string().into_bytes(),
        };
        batch.state.put(key, row);
        batch.emit(SUMS, input.key.to_owned(), number(count))
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

fn say(log: &dyn Log, keys: &[&str]) {
    let facts = keys.iter().map(|key| ((*key).to_owned(), Some(b"fact".to_vec()))).collect();
    append(log, FACTS, facts, SystemClock.now(), &[]).unwrap();
}

fn add<const NEWEST: u16>(host: &mut Host, finalised: Option<u16>) -> Result<(), HostError> {
    host.add(Counts::<NEWEST>(finalised)).map(|_| ())
}

/// What it comes to if each key is said so many times.
fn expected(times: &BTreeMap<&str, usize>) -> Rest {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toys::plans(), 1).unwrap());
    for (key, times) in times {
        (0..*times).for_each(|_| say(&*log, &[*key]));
    }
    let mut host = Host::new(log.clone(), HostOptions::default());
    add::<1>(&mut host, None).unwrap();
    host.run_until_quiet(&SystemClock, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

/// The rows of a task, by key, as whether they are in format 2.
fn rows(log: &dyn Log, partition: u32) -> BTreeMap<String, bool> {
    let mut rows = BTreeMap::new();
    let task = TaskId { stage: Counts::<1>::NAME, partition };
    log.state(task)
        .scan(&[ROW], &[], &mut |key, row| {
            rows.insert(String::from_utf8(key[1..].to_vec()).unwrap(), row[0] == 2);
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn open(folder: &Path) -> Arc<EmbeddedLog> {
    Arc::new(EmbeddedLog::open(folder, toys::plans(), Options { partitions: 1, ..Options::default() }).unwrap())
}

/// One run of a program of a version over a folder, with a fact of each of these keys.
fn embedded<const NEWEST: u16>(folder: &Path, finalised: Option<u16>, keys: &[&str]) -> Result<BTreeMap<String, bool>, HostError> {
    let log = open(folder);
    let mut host = Host::new(log.clone(), HostOptions::default());
    add::<NEWEST>(&mut host, finalised)?;
    say(&*log, keys);
    host.run_until_quiet(&SystemClock, &mut |_| ())?;
    Ok(rows(&*log, 0))
}

fn in_format_2(rows: &BTreeMap<String, bool>) -> Vec<&str> {
    rows.iter().filter(|(_, is)| **is).map(|(key, _)| key.as_str()).collect()
}

#[test]
fn a_newer_program_writes_the_old_format_until_it_is_finalised() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    embedded::<1>(folder, None, &["ants", "bees", "cats"]).unwrap();
    let rows = embedded::<2>(folder, None, &["ants", "bees"]).unwrap();
    assert!(rows.len() == 3 && in_format_2(&rows).is_empty(), "{rows:?}");
    // There is a way back.
    embedded::<1>(folder, None, &["ants"]).unwrap();
    let unknown = embedded::<1>(folder, Some(2), &[]).unwrap_err();
    assert!(matches!(unknown, HostError::StageFormat { source: FormatError::Unknown { asked: 2, newest: 1, .. }, .. }), "{unknown:?}");
    // From here on there is none. What is touched is written anew, the rest is read as it is.
    let rows = embedded::<2>(folder, Some(2), &["ants"]).unwrap();
    assert_eq!(in_format_2(&rows), ["ants"]);
    let rows = embedded::<2>(folder, None, &["bees"]).unwrap();
    assert_eq!(in_format_2(&rows), ["ants", "bees"]);
    let refused = embedded::<1>(folder, None, &["cats"]).unwrap_err();
    assert!(matches!(refused, HostError::Format { source: FormatError::TooNew { written: 2, oldest: 1, newest: 1 }, .. }), "{refused:?}");
    let rest = Rest::of(&*open(folder)).unwrap();
    rest.agrees_with(&expected(&BTreeMap::from([("ants", 4), ("bees", 3), ("cats", 1)]))).unwrap();
}

/// Nobody has said anything yet, and still another version has to know what the first one began with.
#[test]
fn a_task_says_its_format_before_it_has_work() {
    let folder = tempfile::tempdir().unwrap();
    embedded::<1>(folder.path(), None, &[]).unwrap();
    assert!(in_format_2(&embedded::<2>(folder.path(), None, &["ants"]).unwrap()).is_empty());
    embedded::<1>(folder.path(), None, &["ants"]).unwrap();
    let new = tempfile::tempdir().unwrap();
    assert_eq!(in_format_2(&embedded::<2>(new.path(), None, &["ants"]).unwrap()), ["ants"]);
}

fn run<const NEWEST: u16>(log: Arc<KafkaLog>, finalised: Option<u16>) -> KafkaRunning {
    let mut host = KafkaHost::new(log, HostOptions::default());
    host.add(Counts::<NEWEST>(finalised)).unwrap();
    host.start(Arc::new(SystemClock)).unwrap()
}

/// A process of an installation.
struct Process<'b> {
    broker: &'b Broker,
    name: &'static str,
    log: Arc<KafkaLog>,
    running: Option<KafkaRunning>,
}

impl<'b> Process<'b> {
    fn begin<const NEWEST: u16>(broker: &'b Broker, name: &'static str, finalised: Option<u16>) -> Self {
        let log = broker.log(name);
        Self { broker, name, running: Some(run::<NEWEST>(log.clone(), finalised)), log }
    }

    /// Its place taken by a program of another version.
    fn replaced<const NEWEST: u16>(mut self, finalised: Option<u16>) -> Self {
        let (broker, name) = (self.broker, self.name);
        if let Some(running) = self.running.take() {
            running.stop().unwrap();
        }
        drop(self);
        Self::begin::<NEWEST>(broker, name, finalised)
    }

    fn tasks(&self) -> Vec<TaskId> {
        self.running.as_ref().unwrap().tasks()
    }

    fn rows(&self) -> BTreeMap<String, bool> {
        self.tasks().into_iter().flat_map(|task| rows(&*self.log, task.partition)).collect()
    }
}

/// Both have their part of the work.
fn assert_they_share(processes: [&Process<'_>; 2]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let counts = processes.map(|process| process.tasks().len());
        if counts.iter().all(|count| *count > 0) && counts.iter().sum::<usize>() == PARTITIONS as usize {
            return;
        }
        assert!(Instant::now() < until, "{counts:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_rolling_upgrade_goes_back_half_way_and_is_then_finalised() {
    let Some(broker) = Broker::start(toys::plans(), &[Counts::<1>::NAME]) else { return };
    let reader = broker.log("reader");
    let mut times = BTreeMap::new();
    let mut round = |one: &Process<'_>, other: &Process<'_>| {
        assert_they_share([one, other]);
        say(&*reader, &KEYS);
        for key in KEYS {
            *times.entry(key).or_default() += 1;
        }
        assert_comes_to(&reader, &expected(&times));
        for process in [one, other] {
            assert_at_rest(process.running.as_ref().unwrap(), process.tasks().len(), &reader);
        }
        let mut rows = one.rows();
        rows.extend(other.rows());
        assert_eq!(rows.len(), KEYS.len());
        in_format_2(&rows).len()
    };
    let (mut one, mut other) = (Process::begin::<1>(&broker, "one", None), Process::begin::<1>(&broker, "other", None));
    assert_eq!(round(&one, &other), 0);
    other = other.replaced::<2>(None);
    assert_eq!(round(&one, &other), 0, "two versions share the work");
    other = other.replaced::<1>(None);
    assert_eq!(round(&one, &other), 0, "the upgrade is taken back");
    other = other.replaced::<2>(None);
    one = one.replaced::<2>(None);
    assert_eq!(round(&one, &other), 0, "all are upgraded, and there is a way back still");
    one = one.replaced::<2>(Some(2));
    other = other.replaced::<2>(Some(2));
    assert_eq!(round(&one, &other), KEYS.len(), "all of it is finalised");

    // One of the old version gets tasks, and says why it does not work on them.
    one = one.replaced::<1>(None);
    let until = Instant::now() + PATIENCE;
    let reason = loop {
        let failures = one.running.as_ref().unwrap().running().unwrap().failures();
        if let Some(failure) = failures.into_iter().next() {
            break failure.reason;
        }
        assert!(Instant::now() < until, "it works on a state that it does not know");
        std::thread::yield_now();
    };
    assert!(reason.contains("its state is in format 2, and this faultline reads 1 to 1"), "{reason}");
    let stopped = one.running.take().unwrap().stop();
    assert!(matches!(&stopped, Err(HostError::TasksFailed { failures }) if failures[0].reason == reason), "{stopped:?}");
    one = one.replaced::<2>(None);
    assert_eq!(round(&one, &other), KEYS.len());
    for process in [one, other] {
        process.running.unwrap().stop().unwrap();
    }
}
