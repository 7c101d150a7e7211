//! A real Kafka for one test, and processes that work on it and are killed.
#![allow(clippy::unwrap_used, dead_code)]

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use faultline_stream::testing::Rest;
use faultline_stream::{
    Guarantee, InputStatus, KafkaLog, KafkaOptions, KafkaRunning, Log, RegistryOptions, TaskState, TaskStatus, TopicPlan, make_topics,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;

pub const PARTITIONS: u32 = 4;
/// How long something may take that takes seconds.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// How long who looks again and again waits between two looks.
pub const LOOK: Duration = Duration::from_millis(50);
/// The child of a test finds here what it is to do.
const WORKER: &str = "FAULTLINE_TEST_KAFKA_WORKER";
/// And by which protocol it is a member of groups, if not by the classic one.
pub const PROTOCOL: &str = "FAULTLINE_TEST_GROUP_PROTOCOL";

/// A broker of its own for one test, gone with it.
pub struct Broker {
    folder: tempfile::TempDir,
    port: u16,
    nodes: u16,
    session: Option<Duration>,
    bootstrap: String,
    plans: Vec<TopicPlan>,
    guarantee: Guarantee,
    has_compaction: bool,
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka"));
    command.args(arguments);
    command
}

impl Broker {
    /// Nothing where Kafka cannot be had, which is said, and is a failure in CI.
    pub fn start(plans: Vec<TopicPlan>, stages: &[&str]) -> Option<Self> {
        Self::start_of(1, plans, stages)
    }

    /// A broker that may be silent for so long before it is fenced. Where there is no other, that must outlast what silences it: a
    /// transaction that ends while its only replica is fenced is left hanging by Kafka 4.3.1. Its coordinator takes a partition without a
    /// leader for one that was deleted, and notes the transaction as complete; the partition has no marker of it.
    pub fn start_silent_for(session: Duration, plans: Vec<TopicPlan>, stages: &[&str]) -> Option<Self> {
        Self::start_with(1, Some(session), Guarantee::ExactlyOnce, true, plans, stages)
    }

    /// A cluster of so many; three have three copies of all, of which two must be in sync.
    pub fn start_of(nodes: u16, plans: Vec<TopicPlan>, stages: &[&str]) -> Option<Self> {
        Self::start_with(nodes, None, Guarantee::ExactlyOnce, true, plans, stages)
    }

    /// With what its clients are to do without.
    pub fn start_for(guarantee: Guarantee, has_compaction: bool, plans: Vec<TopicPlan>, stages: &[&str]) -> Option<Self> {
        Self::start_with(1, None, guarantee, has_compaction, plans, stages)
    }

    fn start_with(
        nodes: u16,
        session: Option<Duration>,
        guarantee: Guarantee,
        has_compaction: bool,
        plans: Vec<TopicPlan>,
        stages: &[&str],
    ) -> Option<Self> {
        let ready = script(&["ready"]).output().unwrap();
        if !ready.status.success() {
            let reason = String::from_utf8_lossy(&ready.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "Kafka is not to be had: {reason}");
            // Not by a macro, whose words a passing test keeps to itself.
            std::io::stderr().write_all(format!("SKIPPED: what needs Kafka: {reason}\n").as_bytes()).unwrap();
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(2 * nodes);
        let bootstrap: Vec<String> = (0..nodes).map(|node| format!("127.0.0.1:{}", port + 2 * node)).collect();
        let broker = Self { folder, port, nodes, session, bootstrap: bootstrap.join(","), plans, guarantee, has_compaction };
        broker.begin();
        make_topics(&broker.options("maker"), &broker.plans, stages, PARTITIONS, u32::from(nodes)).unwrap();
        Some(broker)
    }

    /// Starts what is down.
    pub fn begin(&self) {
        let (folder, port, nodes) = (self.folder.path().to_str().unwrap(), self.port.to_string(), self.nodes.to_string());
        let session = self.session.map(|session| ("KAFKA_SESSION_MS", session.as_millis().to_string()));
        assert!(script(&["start", folder, &port, &nodes]).envs(session).stdout(Stdio::null()).status().unwrap().success());
    }

    /// Nodes count from 1.
    pub fn signal_node(&self, node: u16, signal: &str) {
        assert!(script(&["signal", self.folder.path().to_str().unwrap(), &node.to_string(), signal]).status().unwrap().success());
    }

    pub fn kill_node(&self, node: u16) {
        assert!(script(&["kill", self.folder.path().to_str().unwrap(), &node.to_string()]).status().unwrap().success());
    }

    pub fn kill(&self) {
        assert!(script(&["kill", self.folder.path().to_str().unwrap()]).status().unwrap().success());
    }

    /// Waits until all copies of all topics are in sync, Kafka's own included.
    pub fn assert_in_sync(&self) {
        let asking: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).set("group.id", "test.asking").create().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            // Who is not answered asks again.
            let metadata = asking.fetch_metadata(None, PATIENCE / 10);
            let late =
                |topic: &MetadataTopic| topic.partitions().iter().any(|partition| partition.isr().len() < partition.replicas().len());
            if metadata.is_ok_and(|metadata| !metadata.topics().iter().any(late)) {
                return;
            }
            assert!(Instant::now() < until);
            drop(asking.poll(LOOK));
        }
    }

    /// A process of its own that works until it is killed; `test` is the test that it is a child of.
    pub fn worker(&self, test: &str, instance: &str) -> Worker {
        self.worker_with(test, instance, &[])
    }

    /// The same with more in its environment.
    pub fn worker_with(&self, test: &str, instance: &str, environment: &[(&str, &str)]) -> Worker {
        let (guarantee, has_compaction) = (self.guarantee, self.has_compaction);
        let worker = format!("{} {guarantee:?} {has_compaction} {instance} {}", self.bootstrap, self.state(instance).display());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]).env(WORKER, worker).envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::null());
        Worker(command.spawn().unwrap())
    }

    pub fn log(&self, instance: &str) -> Arc<KafkaLog> {
        Arc::new(KafkaLog::open(self.state(instance), &self.plans, self.options(instance), 2).unwrap())
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub fn options(&self, instance: &str) -> KafkaOptions {
        options(&self.bootstrap, self.guarantee, self.has_compaction, instance)
    }

    /// State in a folder of its own, and a bound of what waits to be worked on.
    pub fn log_in(&self, instance: &str, folder: &Path, buffer_bytes: usize) -> Arc<KafkaLog> {
        let options = KafkaOptions { buffer_bytes, ..self.options(instance) };
        Arc::new(KafkaLog::open(folder, &self.plans, options, 2).unwrap())
    }

    pub fn log_with_registry(&self, instance: &str, registry: RegistryOptions) -> Arc<KafkaLog> {
        let options = KafkaOptions { registry: Some(registry), ..self.options(instance) };
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

fn options(bootstrap: &str, guarantee: Guarantee, has_compaction: bool, instance: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(bootstrap, "test", instance);
    (options.guarantee, options.has_compaction) = (guarantee, has_compaction);
    options.local.memory_budget_bytes = 16 << 20;
    options.session_timeout = Duration::from_secs(3);
    options.transaction_timeout = Duration::from_secs(5);
    // At least once there are none.
    options.standbys = usize::from(guarantee == Guarantee::ExactlyOnce);
    if let Ok(protocol) = std::env::var(PROTOCOL) {
        options.client.insert("group.protocol".to_owned(), protocol);
    }
    options
}

/// Two ports that follow each other, the first of them.
pub fn two_free_ports() -> u16 {
    free_ports(2)
}

/// The same of more. Below those that systems give to outgoing connections, which could take one before the broker does, or while it is down;
/// and no two tests of a process have the same.
fn free_ports(many: u16) -> u16 {
    static TRIED: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one("ports") >> 1));
    let firsts = std::iter::repeat_with(|| 15_000 + (TRIED.fetch_add(1, Ordering::Relaxed) % 1_700) as u16 * 10);
    let is_free = |first: &u16| (0..many).all(|next| TcpListener::bind(("127.0.0.1", first + next)).is_ok());
    firsts.take(1_000).find(is_free).unwrap()
}

/// How long a fault lasts: so many seconds, unless a soak says otherwise.
pub fn lasting(variable: &str, seconds: u64) -> Duration {
    Duration::from_secs(std::env::var(variable).map_or(seconds, |text| text.parse().unwrap()))
}

/// How often something happens, unless a soak says otherwise.
pub fn times(variable: &str, times: usize) -> usize {
    std::env::var(variable).map_or(times, |text| text.parse().unwrap())
}

/// In a child: works until it is killed, or told to stop.
pub fn work_if_child(plans: &[TopicPlan], run: impl FnOnce(Arc<KafkaLog>) -> KafkaRunning) {
    let Ok(worker) = std::env::var(WORKER) else { return };
    let [bootstrap, guarantee, has_compaction, instance, folder] = worker.splitn(5, ' ').collect::<Vec<_>>().try_into().unwrap();
    let guarantee = if guarantee == format!("{:?}", Guarantee::AtLeastOnce) { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce };
    let options = options(bootstrap, guarantee, has_compaction.parse().unwrap(), instance);
    let running = run(Arc::new(KafkaLog::open(Path::new(folder), plans, options, 2).unwrap()));
    // Its end is the word to stop, also where the test has gone without one.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let stopped = running.stop();
    if let Err(error) = &stopped {
        let _ = writeln!(std::io::stderr(), "{instance}: {error:?}");
    }
    std::process::exit(i32::from(stopped.is_err()));
}

/// Waits until what stands in the topics is what is expected.
pub fn assert_comes_to(log: &KafkaLog, expected: &Rest) {
    assert_comes_to_or_say(log, expected, &String::new);
}

/// The same by a host of this process, whose standing is said where it does not come to that.
pub fn assert_host_comes_to(running: &KafkaRunning, log: &KafkaLog, expected: &Rest) {
    assert_comes_to_or_say(log, expected, &|| standing(running, log));
}

fn assert_comes_to_or_say(log: &KafkaLog, expected: &Rest, say: &dyn Fn() -> String) {
    let until = Instant::now() + PATIENCE;
    loop {
        match Rest::of(log).and_then(|rest| rest.agrees_with(expected)) {
            Ok(()) => return,
            Err(divergence) => assert!(Instant::now() < until, "{divergence}\n{}", say()),
        }
        // The brokers and the work have the processors meanwhile.
        log.wait_for_change(u64::MAX, LOOK);
    }
}

/// What each task of a host does. The end of an input is where what was fetched ends: where the brokers' end is further by more than marks of
/// transactions nothing comes in, and where the position does not come there its commit has no end.
fn standing(running: &KafkaRunning, log: &KafkaLog) -> String {
    let mut lines = vec![format!("tasks {:?}, ended {:?}, joining {:?}", running.tasks(), running.ends(), running.joining())];
    let Some(at_work) = running.running() else { return lines.remove(0) };
    for TaskStatus { task, state, inputs, has_pending, .. } in at_work.status() {
        lines.push(format!("{task}: {state:?}, pending {has_pending}"));
        for InputStatus { topic, partition, position, end } in inputs {
            let brokers = log.end_offset(topic, partition);
            lines.push(format!("    at {position} of {topic}/{partition}, which ends here at {end}, at the brokers at {brokers:?}"));
        }
    }
    let transactions = at_work.log().gauges().into_iter().filter(|gauge| gauge.name.contains("transactions"));
    lines.extend(transactions.map(|gauge| format!("{} {}", gauge.name, gauge.value)));
    lines.join("\n")
}

/// Waits until a host has so many tasks, and none of them has anything to do.
pub fn assert_at_rest(running: &KafkaRunning, tasks: usize, log: &KafkaLog) {
    let until = Instant::now() + PATIENCE;
    let is_read = |input: &InputStatus| log.read(input.topic, input.partition, input.position, 1, 1).unwrap().is_empty();
    loop {
        let status = running.running().unwrap().status();
        // Of one that is being opened nothing is known that would be left to do.
        let is_done = |task: &TaskStatus| task.state == TaskState::Running && !task.has_pending && task.inputs.iter().all(is_read);
        if running.tasks().len() == tasks && status.len() == tasks && status.iter().all(is_done) {
            return;
        }
        assert!(Instant::now() < until, "{}", standing(running, log));
    }
}

/// A child that does not outlive the test.
pub struct Worker(Child);

impl Worker {
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// As a supervisor does it: what has begun ends first.
    pub fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }

    /// Tells it to stop, and gives the code that it ends with: none if a signal ended it, or it does not end.
    pub fn ended(mut self) -> Option<i32> {
        drop(self.0.stdin.take());
        let until = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() >= until => return None,
                None => std::thread::yield_now(),
            }
        }
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
