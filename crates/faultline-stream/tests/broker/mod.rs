//! A real Kafka for one test, and processes that work on it and are killed.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_stream::testing::Rest;
use faultline_stream::{InputStatus, KafkaLog, KafkaOptions, KafkaRunning, Log, RegistryOptions, TopicPlan, make_topics};

pub const PARTITIONS: u32 = 4;
/// How long something may take that takes seconds.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// The child of a test finds here what it is to do.
const WORKER: &str = "FAULTLINE_TEST_KAFKA_WORKER";
/// And by which protocol it is a member of groups, if not by the classic one.
pub const PROTOCOL: &str = "FAULTLINE_TEST_GROUP_PROTOCOL";

/// A broker of its own for one test, gone with it.
pub struct Broker {
    folder: tempfile::TempDir,
    bootstrap: String,
    plans: Vec<TopicPlan>,
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka"));
    command.args(arguments);
    command
}

impl Broker {
    /// Nothing where Kafka cannot be had, which is said, and is a failure in CI.
    pub fn start(plans: Vec<TopicPlan>, stages: &[&str]) -> Option<Self> {
        let ready = script(&["ready"]).output().unwrap();
        if !ready.status.success() {
            let reason = String::from_utf8_lossy(&ready.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "Kafka is not to be had: {reason}");
            // Not by a macro, whose words a passing test keeps to itself.
            std::io::stderr().write_all(format!("SKIPPED: what needs Kafka: {reason}\n").as_bytes()).unwrap();
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let broker = Self { folder, bootstrap: format!("127.0.0.1:{}", two_free_ports()), plans };
        broker.begin();
        make_topics(&options(&broker.bootstrap, "maker"), &broker.plans, stages, PARTITIONS, 1).unwrap();
        Some(broker)
    }

    pub fn begin(&self) {
        let port = self.bootstrap.rsplit(':').next().unwrap();
        assert!(script(&["start", self.folder.path().to_str().unwrap(), port]).stdout(Stdio::null()).status().unwrap().success());
    }

    pub fn kill(&self) {
        assert!(script(&["kill", self.folder.path().to_str().unwrap()]).status().unwrap().success());
    }

    /// A process of its own that works until it is killed; `test` is the test that it is a child of.
    pub fn worker(&self, test: &str, instance: &str) -> Worker {
        self.worker_with(test, instance, &[])
    }

    /// The same with more in its environment.
    pub fn worker_with(&self, test: &str, instance: &str, environment: &[(&str, &str)]) -> Worker {
        let worker = format!("{} {instance} {}", self.bootstrap, self.state(instance).display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]).env(WORKER, worker).envs(environment.iter().copied()).stdout(Stdio::null());
        Worker(command.spawn().unwrap())
    }

    pub fn log(&self, instance: &str) -> Arc<KafkaLog> {
        open(&self.bootstrap, instance, &self.state(instance), &self.plans)
    }

    pub fn options(&self, instance: &str) -> KafkaOptions {
        options(&self.bootstrap, instance)
    }

    pub fn log_with_registry(&self, instance: &str, registry: RegistryOptions) -> Arc<KafkaLog> {
        let options = KafkaOptions { registry: Some(registry), ..options(&self.bootstrap, instance) };
        Arc::new(KafkaLog::open(self.state(instance), &self.plans, options, 2).unwrap())
    }

    pub fn state(&self, instance: &str) -> PathBuf {
        self.folder.path().join("state").join(instance)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = script(&["kill", self.folder.path().to_str().unwrap()]).status();
    }
}

fn open(bootstrap: &str, instance: &str, folder: &Path, plans: &[TopicPlan]) -> Arc<KafkaLog> {
    Arc::new(KafkaLog::open(folder, plans, options(bootstrap, instance), 2).unwrap())
}

fn options(bootstrap: &str, instance: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(bootstrap, "test", instance);
    options.local.memory_budget_bytes = 16 << 20;
    options.session_timeout = Duration::from_secs(3);
    options.transaction_timeout = Duration::from_secs(5);
    options.standbys = 1;
    if let Ok(protocol) = std::env::var(PROTOCOL) {
        options.client.insert("group.protocol".to_owned(), protocol);
    }
    options
}

/// Two ports that follow each other, the first of them.
pub fn two_free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < 60_000 && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// In a child: works until it is killed.
pub fn work_if_child(plans: &[TopicPlan], run: impl FnOnce(Arc<KafkaLog>) -> KafkaRunning) {
    let Ok(worker) = std::env::var(WORKER) else { return };
    let [bootstrap, instance, folder] = worker.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let _running = run(open(bootstrap, instance, Path::new(folder), plans));
    loop {
        std::thread::park();
    }
}

/// Waits until what stands in the topics is what is expected.
pub fn assert_comes_to(log: &KafkaLog, expected: &Rest) {
    let until = Instant::now() + PATIENCE;
    loop {
        match Rest::of(log).and_then(|rest| rest.agrees_with(expected)) {
            Ok(()) => return,
            Err(divergence) => assert!(Instant::now() < until, "{divergence}"),
        }
    }
}

/// Waits until a host has so many tasks, and none of them has anything to do.
pub fn assert_at_rest(running: &KafkaRunning, tasks: usize, log: &KafkaLog) {
    let until = Instant::now() + PATIENCE;
    let is_read = |input: &InputStatus| log.read(input.topic, input.partition, input.position, 1, 1).unwrap().is_empty();
    loop {
        let status = running.running().unwrap().status();
        if running.tasks().len() == tasks && status.iter().all(|task| !task.has_pending && task.inputs.iter().all(is_read)) {
            return;
        }
        assert!(Instant::now() < until, "{status:?}");
    }
}

/// A child that does not outlive the test.
pub struct Worker(Child);

impl Worker {
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn signal(&self, name: &str) {
        // The shell's own: the program of that name is not on every machine.
        assert!(Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
