//! A process whose disk is full stops its tasks, each with a word of what to do; once there is room and it is started again, nothing that was
//! acknowledged or committed is missing or doubled.
#![cfg(all(feature = "kafka", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod broker;
mod full_disk;
mod toys;
mod work;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, PARTITIONS, PATIENCE, assert_comes_to, work_if_child};
use faultline_core::stage::Stage;
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{
    Clock, EmbeddedLog, Failure, Host, HostError, KafkaLog, KafkaRunning, Log, Options, Running, SystemClock, TaskId, TaskState,
    TaskStatus, append,
};
use full_disk::{At, FullDisk, assert_says_so};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use toys::{Amounts, FACTORS, FACTS, FACTS_BULK, Sums, VETOES};
use work::{STAGES, TASKS, append_at_last, expected_of, run, small};

const LOOK: Duration = Duration::from_millis(20);
/// Where a child says what stopped.
const TOLD: &str = "FAULTLINE_TEST_TOLD";
/// The folder of a child that runs embedded.
const FOLDER: &str = "FAULTLINE_TEST_FOLDER";
/// How such a child ends: its log was not opened; its tasks stopped, and it said so.
const NOT_OPENED: i32 = 3;
const STOPPED: i32 = 4;

fn fact(n: u64) -> (String, Option<Vec<u8>>) {
    (format!("service{}-{}", n % 7, n % 31), Some(format!("{n} f{} {} 9999999999999", n % 3, n % 1000).into_bytes()))
}

/// What stopped, with all causes.
fn words(failures: &[Failure]) -> Vec<String> {
    failures.iter().map(|failure| failure.reason.clone()).collect()
}

// ---- on Kafka ----

/// Whether a process has its half of the tasks, with all that there is to read in their state, and followed the other half to its end.
fn is_warm(log: &dyn Log, tasks: &[TaskStatus]) -> bool {
    let half = TASKS / 2;
    let is_at_end = |task: &TaskStatus| task.state == TaskState::Running && task.lag() == 0 && !task.has_pending;
    tasks.len() == half
        && tasks.iter().all(is_at_end)
        && told(log, "faultline_standby_tasks") == half as u64
        && told(log, "faultline_standby_lag_records") == 0
}

/// In a child: says in a file why its tasks stopped, once all of them have; until then in another one that it is warm, whenever it is.
fn run_and_tell(log: Arc<KafkaLog>) -> KafkaRunning {
    let running = run(log.clone());
    let (told, telemetry) = (std::env::var(TOLD).unwrap(), running.running().unwrap().telemetry());
    let failure = |task: TaskStatus| match task.state {
        TaskState::Failed { reason } => Some(reason),
        _ => None,
    };
    std::thread::spawn(move || {
        loop {
            let status = telemetry.status();
            let tasks = status.len();
            if is_warm(&*log, &status) {
                // On a disk that is full it cannot be said any more, and is not asked.
                let _ = std::fs::write(format!("{told}.warm"), "");
            }
            let reasons: Vec<String> = status.into_iter().filter_map(failure).collect();
            if tasks > 0 && reasons.len() == tasks {
                let written = format!("{told}.new");
                std::fs::write(&written, reasons.join("\n")).unwrap();
                std::fs::rename(written, told).unwrap();
                return;
            }
            log.wait_for_change(u64::MAX, LOOK);
        }
    });
    running
}

/// Facts by both lanes, a veto and a factor, from a seed.
fn say(log: &dyn Log, seed: u64) {
    let mut random = Random::new(seed);
    let mut facts: Vec<_> = (0..200).map(|_| fact(random.number() % 1000)).collect();
    let bulk = facts.split_off(100);
    let veto = vec![(fact(seed).0, Some(seed.to_string().into_bytes()))];
    let factor = vec![(format!("f{}", seed % 3), Some((seed + 2).to_string().into_bytes()))];
    for (topic, records) in [(FACTS, facts), (FACTS_BULK, bulk), (VETOES, veto), (FACTORS, factor)] {
        append_at_last(log, topic, &records);
    }
}

fn said(seeds: std::ops::Range<u64>) -> Rest {
    expected_of(|log| seeds.for_each(|seed| say(log, seed)))
}

fn wait_until(log: &dyn Log, what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        log.wait_for_change(u64::MAX, LOOK);
    }
}

/// Where each task's changelog ends.
fn changelogs(broker: &Broker) -> BTreeMap<TaskId, u64> {
    let reader: BaseConsumer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let tasks = [Amounts::NAME, Sums::NAME].into_iter().flat_map(|stage| (0..PARTITIONS).map(move |partition| TaskId { stage, partition }));
    let end = |task: &TaskId| reader.fetch_watermarks(&format!("{}.changelog", task.stage), task.partition as i32, PATIENCE).unwrap().1;
    tasks.map(|task| (task, end(&task).unsigned_abs())).collect()
}

/// What a log tells of itself.
fn told(log: &dyn Log, name: &str) -> u64 {
    log.gauges().iter().find(|gauge| gauge.name == name).unwrap().value
}

#[test]
fn a_process_on_kafka_stops_others_go_on_and_it_goes_on_where_there_is_room() {
    const ME: &str = "a_process_on_kafka_stops_others_go_on_and_it_goes_on_where_there_is_room";
    work_if_child(&toys::plans(), run_and_tell);
    let Some(broker) = Broker::start(toys::plans(), &STAGES) else { return };
    let outer = tempfile::tempdir().unwrap();
    let (folder, stopped) = (broker.state("full"), outer.path().join("stopped"));
    let disk = FullDisk::below(&folder);
    let reader = broker.log("reader");
    let mut environment = disk.environment().to_vec();
    environment.push((TOLD, stopped.to_str().unwrap().to_owned()));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let full = broker.worker_with(ME, "full", &environment);
    let other_log = broker.log("other");
    let other = run(other_log.clone());
    (0..10).for_each(|seed| say(&*reader, seed));
    assert_comes_to(&reader, &said(0..10));
    // Each has its half, and what the one writes the other follows: which half it gets when it comes again is the group's.
    wait_until(&*other_log, "the tasks are not shared", || is_warm(&*other_log, &other.running().unwrap().status()));
    let warm = outer.path().join("stopped.warm");
    let _ = std::fs::remove_file(&warm);
    wait_until(&*other_log, "the other half is not followed", || warm.exists());
    let written = changelogs(&broker);

    disk.fill(At::Writes);
    say(&*reader, 10);
    wait_until(&*other_log, "not all tasks stop", || stopped.exists());
    let reasons = std::fs::read_to_string(&stopped).unwrap();
    assert_eq!(reasons.lines().count(), TASKS / 2, "{reasons}");
    reasons.lines().for_each(|reason| assert_says_so(reason, &folder));
    // What is not its own is worked on meanwhile.
    let theirs: Vec<u32> = other.tasks().iter().filter(|task| task.stage == Amounts::NAME).map(|task| task.partition).collect();
    let committed = || theirs.iter().map(|partition| reader.end_offset("amounts", *partition).unwrap()).sum::<u64>();
    let before = committed();
    say(&*reader, 11);
    wait_until(&*other_log, "the other process does not go on", || committed() > before);
    assert_eq!(other.tasks().len(), TASKS / 2);
    assert_eq!(words(&other.running().unwrap().failures()), [""; 0]);
    // It ends when it is told to, and says that not all was well.
    assert_eq!(full.ended(), Some(1));

    disk.make_room();
    let log = broker.log("full");
    let again = run(log.clone());
    say(&*reader, 12);
    assert_comes_to(&reader, &said(0..13));
    wait_until(&*log, "the tasks are not shared again", || again.tasks().len() == TASKS / 2 && other.tasks().len() == TASKS / 2);
    for running in [&again, &other] {
        assert_eq!(words(&running.running().unwrap().failures()), [""; 0]);
    }
    // What was whole on its disk it did not read again. Beside rows a changelog has marks of transactions.
    let restored = told(&*log, "faultline_restored_records_total");
    let ends = changelogs(&broker);
    let since: u64 = again.tasks().iter().map(|task| ends[task] - written[task]).sum();
    assert!(restored <= since, "{restored} rows were restored, {since} offsets of {written:?} to {ends:?} were not on its disk");
    again.stop().unwrap();
    other.stop().unwrap();
}

// ---- embedded ----

fn open(folder: &Path) -> Result<Arc<EmbeddedLog>, HostError> {
    let options = Options { memory_budget_bytes: 16 << 20, partitions: PARTITIONS, ..Options::default() };
    Ok(Arc::new(EmbeddedLog::open(folder, toys::plans(), options)?))
}

fn start(log: Arc<EmbeddedLog>) -> Running {
    let mut host = Host::new(log, small());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.start(Arc::new(SystemClock)).unwrap()
}

/// In a child: appends fact after fact, says which are acknowledged, and why one is not; then why its tasks stopped, once all have.
fn append_until_refused(folder: &Path) -> i32 {
    // Not by a macro, whose words a passing test keeps to itself.
    let say = |word: &str, what: &str| std::io::stdout().write_all(format!("\n{word} {what}\n").as_bytes()).unwrap();
    let told = |error: &HostError| format!("{error}: {}", std::error::Error::source(error).unwrap());
    let log = match open(folder) {
        Ok(log) => log,
        Err(error) => {
            say("refused", &told(&error));
            return NOT_OPENED;
        }
    };
    let running = start(log.clone());
    for n in 0.. {
        match append(&*log, FACTS, vec![fact(n)], SystemClock.now(), &[]) {
            Ok(_) => say("acknowledged", &n.to_string()),
            Err(error) => {
                say("refused", &told(&error));
                break;
            }
        }
    }
    wait_until(&*log, "not all tasks stop", || running.failures().len() == TASKS);
    for failure in running.failures() {
        say("stopped", &failure.reason);
    }
    let stopped = running.stop();
    drop(log);
    if stopped.is_err() { STOPPED } else { 0 }
}

/// What a child said, by the word that it begins with.
struct Said {
    acknowledged: u64,
    refused: Vec<String>,
    stopped: Vec<String>,
    code: Option<i32>,
}

/// `hears` is told how many facts are acknowledged.
fn child(test: &str, folder: &Path, disk: &FullDisk, mut hears: impl FnMut(u64)) -> Said {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env(FOLDER, folder).envs(disk.environment()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = Said { acknowledged: 0, refused: Vec::new(), stopped: Vec::new(), code: None };
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split_once(' ') {
            Some(("acknowledged", n)) => {
                said.acknowledged = n.parse::<u64>().unwrap() + 1;
                hears(said.acknowledged);
            }
            Some(("refused", reason)) => said.refused.push(reason.to_owned()),
            Some(("stopped", reason)) => said.stopped.push(reason.to_owned()),
            _ => {}
        }
    }
    said.code = child.wait().unwrap().code();
    said
}

#[test]
fn an_embedded_host_refuses_what_it_cannot_keep_and_keeps_what_it_acknowledged() {
    const ME: &str = "an_embedded_host_refuses_what_it_cannot_keep_and_keeps_what_it_acknowledged";
    if let Some(folder) = std::env::var_os(FOLDER) {
        std::process::exit(append_until_refused(Path::new(&folder)));
    }
    for at in [At::Writes, At::Syncs] {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().canonicalize().unwrap().join("data");
        let disk = FullDisk::below(&folder);
        let said = child(ME, &folder, &disk, |acknowledged| {
            if acknowledged == 300 {
                disk.fill(at);
            }
        });
        assert_eq!((said.refused.len(), said.stopped.len(), said.code), (1, TASKS, Some(STOPPED)), "{at:?}: {:?}", said.stopped);
        said.refused.iter().chain(&said.stopped).for_each(|reason| assert_says_so(reason, &folder));
        if let At::Writes = at {
            let early = child(ME, &folder, &disk, |_| ());
            assert_eq!((early.refused.len(), early.code), (1, Some(NOT_OPENED)));
            assert_says_so(&early.refused[0], &folder);
        }

        disk.make_room();
        let log = open(&folder).unwrap();
        let facts = |partition| log.read(FACTS.name, partition, 0, usize::MAX, usize::MAX).unwrap().len() as u64;
        let kept: u64 = (0..PARTITIONS).map(facts).sum();
        // The one that was refused may stand there: nobody knows that of a failed write.
        assert!((said.acknowledged..=said.acknowledged + 1).contains(&kept), "{at:?}: {kept} of {}", said.acknowledged);
        let say = |log: &dyn Log, from: u64, to: u64| {
            append(log, FACTS, (from..to).map(fact).collect(), SystemClock.now(), &[]).unwrap();
        };
        say(&*log, kept, kept + 50);
        let mut host = Host::new(log.clone(), small());
        host.add(Amounts).unwrap().add(Sums).unwrap();
        host.run_until_quiet(&SystemClock, &mut |_| ()).unwrap();
        Rest::of(&*log).unwrap().agrees_with(&expected_of(|log| say(log, 0, kept + 50))).unwrap();
    }
}
