//! The same stages on a real Apache Kafka come to the same rest as in memory, whoever is killed on the way.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod toys;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_core::stage::Stage;
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{
    Clock, Host, HostOptions, InputStatus, KafkaHost, KafkaLog, KafkaOptions, KafkaRunning, Log, MemoryLog, SystemClock, append,
    make_topics,
};
use toys::{Amounts, FACTORS, FACTS, Sums, VETOES};

const PARTITIONS: u32 = 4;
/// How long something may take that takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);
/// The child of a test finds here what it is to do.
const WORKER: &str = "FAULTLINE_TEST_KAFKA_WORKER";

/// A broker of its own for one test, gone with it.
struct Broker {
    folder: tempfile::TempDir,
    bootstrap: String,
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka"));
    command.args(arguments);
    command
}

impl Broker {
    /// Nothing where Kafka cannot be had, which is said, and is a failure in CI.
    fn start() -> Option<Self> {
        let ready = script(&["ready"]).output().unwrap();
        if !ready.status.success() {
            let reason = String::from_utf8_lossy(&ready.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "Kafka is not to be had: {reason}");
            // Not by a macro, whose words a passing test keeps to itself.
            std::io::stderr().write_all(format!("SKIPPED: what needs Kafka: {reason}\n").as_bytes()).unwrap();
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let broker = Self { folder, bootstrap: format!("127.0.0.1:{}", two_free_ports()) };
        broker.begin();
        make_topics(&broker.options("maker"), &toys::plans(), &[Amounts::NAME, Sums::NAME], PARTITIONS, 1).unwrap();
        Some(broker)
    }

    fn begin(&self) {
        let port = self.bootstrap.rsplit(':').next().unwrap();
        assert!(script(&["start", self.folder.path().to_str().unwrap(), port]).stdout(Stdio::null()).status().unwrap().success());
    }

    fn kill(&self) {
        assert!(script(&["kill", self.folder.path().to_str().unwrap()]).status().unwrap().success());
    }

    /// A process of its own that works until it is killed; `test` is the test that it is a child of.
    fn worker(&self, test: &str, instance: &str) -> Worker {
        let worker = format!("{} {instance} {}", self.bootstrap, self.state(instance).display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        Worker(command.args(["--exact", test]).env(WORKER, worker).stdout(Stdio::null()).spawn().unwrap())
    }

    fn options(&self, instance: &str) -> KafkaOptions {
        options(&self.bootstrap, instance)
    }

    fn log(&self, instance: &str) -> Arc<KafkaLog> {
        Arc::new(KafkaLog::open(self.state(instance), &toys::plans(), self.options(instance), 2).unwrap())
    }

    fn state(&self, instance: &str) -> PathBuf {
        self.folder.path().join("state").join(instance)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = script(&["kill", self.folder.path().to_str().unwrap()]).status();
    }
}

fn options(bootstrap: &str, instance: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(bootstrap, "test", instance);
    options.local.memory_budget_bytes = 16 << 20;
    options.session_timeout = Duration::from_secs(3);
    options.transaction_timeout = Duration::from_secs(5);
    options
}

/// Two ports that follow each other, the first of them.
fn two_free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < 60_000 && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn small() -> HostOptions {
    HostOptions { workers: 2, batch_records: 50, page_records: 20, slice_bytes: 500, ..HostOptions::default() }
}

fn run(log: Arc<KafkaLog>) -> KafkaRunning {
    let mut host = KafkaHost::new(log, small());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.start(Arc::new(SystemClock)).unwrap()
}

/// Facts, a veto and a factor, from a seed.
fn say(log: &dyn Log, seed: u64) {
    let mut random = Random::new(seed);
    let facts = (0..200).map(|_| {
        let n = random.number() % 1000;
        (format!("service{}-{}", n % 7, n % 31), Some(format!("{n} f{} {n} 9999999999999", n % 3).into_bytes()))
    });
    let mut facts: Vec<_> = facts.collect();
    facts.push(("service1-1".to_owned(), Some(format!("bad{seed}").into_bytes())));
    let n = random.number() % 1000;
    let veto = vec![(format!("service{}-{}", n % 7, n % 31), Some(n.to_string().into_bytes()))];
    let factor = vec![(format!("f{}", seed % 3), Some((seed + 2).to_string().into_bytes()))];
    for (topic, records) in [(FACTS, facts), (VETOES, veto), (FACTORS, factor)] {
        let until = Instant::now() + PATIENCE;
        // The brokers drop what is old by its own time. A door says no while no broker answers: who asked asks again.
        while let Err(error) = append(log, topic, records.clone(), SystemClock.now(), &[]) {
            assert!(Instant::now() < until, "{error:?}");
        }
    }
}

/// What the same input comes to in memory.
fn expected(seeds: std::ops::Range<u64>) -> Rest {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toys::plans(), 1).unwrap());
    seeds.for_each(|seed| say(&*log, seed));
    let mut host = Host::new(log.clone(), small());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.run_until_quiet(&SystemClock, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

/// Waits until what stands in the topics is what is expected.
fn assert_comes_to(log: &KafkaLog, expected: &Rest) {
    let until = Instant::now() + PATIENCE;
    loop {
        let agreed = Rest::of(log).and_then(|rest| rest.agrees_with(expected));
        match agreed {
            Ok(()) => return,
            Err(divergence) => assert!(Instant::now() < until, "{divergence}"),
        }
    }
}

/// Waits until a host has all tasks.
fn assert_has_all(running: &KafkaRunning) {
    let until = Instant::now() + PATIENCE;
    while running.tasks().len() < 2 * PARTITIONS as usize {
        assert!(Instant::now() < until, "{:?} {:?}", running.tasks(), running.running().unwrap().status());
        std::thread::yield_now();
    }
}

/// Waits until a host has all tasks, and none of them has anything to do.
fn assert_at_rest(running: &KafkaRunning, log: &KafkaLog) {
    assert_has_all(running);
    let until = Instant::now() + PATIENCE;
    let is_read = |input: &InputStatus| log.read(input.topic, input.partition, input.position, 1, 1).unwrap().is_empty();
    loop {
        let status = running.running().unwrap().status();
        if status.iter().all(|task| !task.has_pending && task.inputs.iter().all(is_read)) {
            return;
        }
        assert!(Instant::now() < until, "{status:?}");
    }
}

#[test]
fn one_process_comes_to_the_same_rest_with_its_state_and_without() {
    let Some(broker) = Broker::start() else { return };
    let reader = broker.log("reader");
    (0..3).for_each(|seed| say(&*reader, seed));
    let running = run(broker.log("one"));
    assert_comes_to(&reader, &expected(0..3));
    assert!(expected(0..3).topics["sums"].len() == 7 && expected(0..3).refused.len() == 3);
    assert_at_rest(&running, &reader);
    running.stop().unwrap();

    // Again over the same state: nothing is said a second time.
    let ends = |topic: &str| (0..PARTITIONS).map(|partition| reader.end_offset(topic, partition).unwrap()).collect::<Vec<_>>();
    let before = (ends("amounts"), ends("sums"));
    let running = run(broker.log("one"));
    assert_at_rest(&running, &reader);
    running.stop().unwrap();
    assert_eq!((ends("amounts"), ends("sums")), before);

    // On an empty disk the state comes back from the changelog, or a fact said again would be new.
    std::fs::remove_dir_all(broker.state("one")).unwrap();
    say(&*reader, 3);
    let running = run(broker.log("one"));
    assert_comes_to(&reader, &expected(0..4));
    let failures = running.running().unwrap().failures();
    assert!(failures.is_empty(), "{failures:?}");
    running.stop().unwrap();
}

#[test]
fn processes_that_are_killed_lose_and_double_nothing() {
    work_if_child();
    let Some(broker) = Broker::start() else { return };
    let kills = std::env::var("FAULTLINE_KAFKA_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let seed = 42;
    let mut random = Random::new(seed);
    let reader = broker.log("reader");
    let child = |instance: &str| broker.worker("processes_that_are_killed_lose_and_double_nothing", instance);
    let names = ["a", "b"];
    let mut children = names.map(child);
    for kill in 0..kills {
        say(&*reader, kill);
        // A moment in the work: when so many amounts more are there, whoever wrote them.
        let all = |log: &KafkaLog| (0..PARTITIONS).map(|partition| log.end_offset("amounts", partition).unwrap()).sum::<u64>();
        let (before, more) = (all(&reader), random.number() % 60);
        let until = Instant::now() + PATIENCE;
        while all(&reader) < before + more && Instant::now() < until && Rest::of(&*reader).is_ok_and(|rest| rest.topics["sums"].len() < 7) {
        }
        let at = (random.number() % 2) as usize;
        children[at] = {
            children[at].kill();
            // One in three loses its disk as well.
            if random.number().is_multiple_of(3) {
                std::fs::remove_dir_all(broker.state(names[at]))
                    .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
                    .unwrap();
            }
            child(names[at])
        };
    }
    assert_comes_to(&reader, &expected(0..kills));
    assert_each_key_has_one_home(&reader);
}

/// No record of a compacted topic is under two partitions; `Rest` says so as well, over the newest only.
fn assert_each_key_has_one_home(log: &KafkaLog) {
    for topic in ["amounts", "sums"] {
        let mut homes = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let keys: BTreeSet<_> =
                log.read(topic, partition, 0, usize::MAX, usize::MAX).unwrap().into_iter().map(|record| record.key).collect();
            for key in keys {
                assert!(homes.insert(key));
            }
        }
    }
}

#[test]
fn a_process_that_slept_past_its_time_is_fenced_and_goes_on() {
    work_if_child();
    let Some(broker) = Broker::start() else { return };
    let reader = broker.log("reader");
    let child = |instance: &str| broker.worker("a_process_that_slept_past_its_time_is_fenced_and_goes_on", instance);
    let (sleeper, mut other) = (child("sleeper"), child("other"));
    say(&*reader, 0);
    assert_comes_to(&reader, &expected(0..1));
    say(&*reader, 1);
    sleeper.signal("STOP");
    // All of it, so also what was the sleeper's.
    say(&*reader, 2);
    assert_comes_to(&reader, &expected(0..3));
    sleeper.signal("CONT");
    say(&*reader, 3);
    assert_comes_to(&reader, &expected(0..4));
    // What it does now is its own again.
    other.kill();
    say(&*reader, 4);
    assert_comes_to(&reader, &expected(0..5));
    assert_each_key_has_one_home(&reader);
}

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_time_and_nothing_else() {
    let Some(broker) = Broker::start() else { return };
    let reader = broker.log("reader");
    let running = run(broker.log("one"));
    for round in 0..2 {
        say(&*reader, round);
        broker.kill();
        broker.begin();
    }
    say(&*reader, 2);
    assert_comes_to(&reader, &expected(0..3));
    let failures = running.running().unwrap().failures();
    assert!(failures.is_empty(), "{failures:?}");
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}

/// In a child: works until it is killed.
fn work_if_child() {
    let Ok(worker) = std::env::var(WORKER) else { return };
    let [bootstrap, instance, folder] = worker.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let log = KafkaLog::open(folder, &toys::plans(), options(bootstrap, instance), 2).unwrap();
    let _running = run(Arc::new(log));
    loop {
        std::thread::park();
    }
}

/// A child that does not outlive the test.
struct Worker(Child);

impl Worker {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
