//! The real stages on Kafka, one process beside its broker: findings a second, from a finding to its committed risk, memory.
//!
//! `cluster BOOTSTRAP [FINDINGS]` over an empty broker; `benches/against-streams` and `make bench-kafka` start one. Prints one JSON line a
//! figure, with what was asked for. What is to be read stands in the topic before the clock starts, put there by a process of its own
//! (`cluster load`): what a publisher takes in memory is none of the host's.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use faultline_benches::load::Loader;
use faultline_benches::report::{Report, report};
use faultline_benches::{Line, processor_seconds, resident_bytes};
use faultline_core::correlate::Correlate;
use faultline_core::track::Track;
use faultline_model::avro;
use faultline_model::record::FindingsRecord;
use faultline_model::risk;
use faultline_model::testing::scale::{Order, Scale};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, INTEL, RISKS};
use faultline_stream::{
    Clock, HostOptions, KafkaHost, KafkaLog, KafkaOptions, KafkaRunning, SystemClock, TaskState, make_topics, topic_plans,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PARTITIONS: u32 = 4;
const SEED: u64 = 7;
const STAGES: [&str; 2] = ["track", "correlate"];
/// What RocksDB may hold, and what may wait to be worked on; the rest of the process has its own bounds, see [`budget`].
const STATE_BYTES: usize = 208 << 20;
const WAITING_BYTES: usize = 32 << 20;
const LOOK: Duration = Duration::from_millis(20);
/// Of the measurement of latency.
const PER_SECOND: usize = 5_000;
const FINDINGS_A_REPORT: i32 = 10;
const REPORTS: usize = 10_000;
const PATIENCE: Duration = Duration::from_mins(1);

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Goes on by itself from where it was set: the findings of a benchmark have times of their own.
struct Shifted {
    base: AtomicI64,
    begun: Instant,
}

impl Shifted {
    fn set(&self, now: Timestamp) {
        self.base.store(now.millis() - self.begun.elapsed().as_millis() as i64, Ordering::Release);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.base.load(Ordering::Acquire) + self.begun.elapsed().as_millis() as i64)
    }
}

struct Bench<'b> {
    bootstrap: &'b str,
    folder: &'b Path,
    loader: Loader,
    clock: Arc<Shifted>,
    highest_resident: u64,
}

struct At {
    log: Arc<KafkaLog>,
    running: KafkaRunning,
}

fn main() -> Fallible<()> {
    // What went wrong on the way belongs to a figure.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("warn,faultline_stream=info").init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bootstrap, findings) = match &arguments[..] {
        [load, bootstrap, findings, day, order] if load == "load" => {
            let order = if order == "stable" { Order::Stable } else { Order::Shuffled };
            return load_scans(bootstrap, &Scale::new(SEED, findings.parse()?), day.parse()?, order);
        }
        [bootstrap] => (bootstrap, 1_000_000),
        [bootstrap, findings] => (bootstrap, findings.parse()?),
        _ => return Err("usage: cluster BOOTSTRAP [FINDINGS]".into()),
    };
    let folder = tempfile::tempdir()?;
    let scale = Scale::new(SEED, findings);
    let clock = Arc::new(Shifted { base: AtomicI64::new(0), begun: Instant::now() });
    clock.set(scale.end_of(0));
    let mut bench = Bench { bootstrap, folder: folder.path(), loader: Loader::new(bootstrap, PARTITIONS)?, clock, highest_resident: 0 };
    make_topics(&bench.options(), &topic_plans(), &STAGES, PARTITIONS, 1)?;
    bench.load_facts(&scale)?;
    for (day, order, name, bar) in [
        (0, Order::Stable, "first-time findings through risk, on Kafka", 10_000),
        (1, Order::Stable, "rescan on Kafka, stable order", 40_000),
        (2, Order::Shuffled, "rescan on Kafka, shuffled", 40_000),
    ] {
        let records = bench.load(&scale, day, order)?;
        bench.round(name, records, scale.findings(), bar)?;
    }
    let at = bench.start()?;
    bench.latency(&at, scale.end_of(3))?;
    at.running.stop()?;
    let resident = bench.highest_resident as f64 / f64::from(1 << 20);
    Line::new("resident memory on Kafka, highest").at_most("mebibytes", resident, budget() as f64 / f64::from(1 << 20) * 1.1).print();
    Ok(())
}

/// What the settings allow: of the state, of what waits (each client of the process has its part), of batches in the making and in flight.
fn budget() -> usize {
    let host = HostOptions::default();
    let tasks = STAGES.len() * PARTITIONS as usize;
    STATE_BYTES + 2 * WAITING_BYTES + (host.workers + tasks) * host.batch_bytes
}

impl Bench<'_> {
    fn options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::new(self.bootstrap, "bench", "bench-0");
        options.local.memory_budget_bytes = STATE_BYTES;
        options.buffer_bytes = WAITING_BYTES;
        options
    }

    fn load_facts(&self, scale: &Scale) -> Fallible<()> {
        let now = self.clock.now().millis();
        for (key, record) in scale.catalog() {
            self.loader.put(CATALOG, &key, &avro::encode(record)?, now)?;
        }
        for (key, record) in scale.intel() {
            self.loader.put(INTEL, &key, &avro::encode(record)?, now)?;
        }
        Ok(self.loader.flush()?)
    }

    /// Has a day's scans put into the topic. Gives how many records there are.
    fn load(&self, scale: &Scale, day: u32, order: Order) -> Fallible<u64> {
        self.clock.set(scale.end_of(day));
        let order = if order == Order::Stable { "stable" } else { "shuffled" };
        let mut loading = Command::new(std::env::current_exe()?);
        let loaded = loading.args(["load", self.bootstrap, &scale.findings().to_string(), &day.to_string(), order]).output()?;
        if !loaded.status.success() {
            return Err(format!("the scans could not be loaded: {}", String::from_utf8_lossy(&loaded.stderr)).into());
        }
        Ok(String::from_utf8(loaded.stdout)?.trim().parse()?)
    }

    /// Joins the groups, and gives how long it took until all tasks were at work.
    fn start(&mut self) -> Fallible<At> {
        let log = Arc::new(KafkaLog::open(
            self.folder,
            &topic_plans(),
            self.options(),
            std::env::var("XW").map_or(HostOptions::default().workers, |w| w.parse().unwrap_or(2)),
        )?);
        let mut host = KafkaHost::new(log.clone(), HostOptions::default());
        host.add(Track::default())?.add(Correlate::default())?;
        let running = host.start(self.clock.clone())?;
        let begun = Instant::now();
        while running.tasks().len() < STAGES.len() * PARTITIONS as usize {
            if begun.elapsed() > PATIENCE {
                return Err("not all tasks came to work".into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(At { log, running })
    }

    /// Works on what stands in the topics until all of it is done.
    fn round(&mut self, name: &str, records: u64, findings: u64, bar: u64) -> Fallible<()> {
        let before = processor_seconds();
        let starts = Instant::now();
        let at = self.start()?;
        // From when all tasks are there; what the first of them did before counts against us.
        let (begun, joined) = (Instant::now(), starts.elapsed());
        self.quiet(&at)?;
        let spent = begun.elapsed();
        let after = processor_seconds();
        let used: f64 = after.iter().map(|(name, seconds)| seconds - before.get(name).copied().unwrap_or(0.0)).sum();
        let telemetry = at.running.running().map(|running| running.telemetry().families()).unwrap_or_default();
        let commits = telemetry.iter().filter(|family| family.name == "faultline_commit_seconds").flat_map(|family| &family.samples);
        let commits: f64 = commits.filter(|sample| sample.suffix == "_count").map(|sample| sample.value).sum();
        Line::new(name)
            .rate(findings, spent, bar)
            .with("records", records)
            .with("until_all_tasks_work_seconds", joined.as_secs_f64())
            .with("microseconds_a_finding", (used * 1e7 / findings as f64).round() / 10.0)
            .with("commits", commits)
            .with("resident_mebibytes", resident_bytes() >> 20)
            .print();
        at.running.stop()?;
        Ok(())
    }

    /// Waits until no task has input or pending work left.
    fn quiet(&mut self, at: &At) -> Fallible<()> {
        let mut calm = 0;
        while calm < 3 {
            let running = at.running.running().ok_or("the host has stopped")?;
            if let Some(failure) = running.failures().first() {
                return Err(format!("task {}: {}", failure.task, failure.reason).into());
            }
            // A task that is opened again is not listed.
            let status = running.status();
            let mut is_quiet = status.len() == STAGES.len() * PARTITIONS as usize;
            for task in status {
                let restoring = matches!(task.state, TaskState::Restoring { .. });
                is_quiet &= !restoring && !task.has_pending;
                for input in task.inputs {
                    is_quiet = is_quiet && at.log.waiting(input.topic, input.partition, input.position)? == 0;
                }
            }
            calm = if is_quiet { calm + 1 } else { 0 };
            self.highest_resident = self.highest_resident.max(resident_bytes());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// New findings at a steady rate, each timed from when it is produced until a reader of what is committed has its risk.
    fn latency(&mut self, at: &At, now: Timestamp) -> Fallible<()> {
        self.clock.set(now);
        let produced: Mutex<HashMap<Vec<u8>, Instant>> = Mutex::default();
        let (mut taken, is_over) = (Vec::new(), AtomicBool::new(false));
        let reader = self.reader()?;
        std::thread::scope(|scope| -> Fallible<()> {
            let publisher = scope.spawn(|| {
                let published = self.publish(&produced);
                is_over.store(true, Ordering::Release);
                published
            });
            let mut last = Instant::now();
            while !is_over.load(Ordering::Acquire) || !held(&produced).is_empty() {
                if last.elapsed() > PATIENCE {
                    return Err(format!("{} findings have no risk", held(&produced).len()).into());
                }
                let Some(message) = reader.poll(LOOK) else { continue };
                let Ok(message) = message else { continue };
                if let Some(at) = held(&produced).remove(message.key().unwrap_or_default()) {
                    last = Instant::now();
                    taken.push(at.elapsed());
                }
            }
            publisher.join().map_err(|_| "the publisher stopped")?
        })?;
        self.quiet(at)?;
        taken.sort_unstable();
        let at = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)].as_secs_f64() * 1e3;
        for (share, bar) in [(50, 120.0), (99, 250.0)] {
            Line::new(&format!("a finding to its committed risk at 5,000 new ones a second, two stages, p{share}"))
                .at_most("milliseconds", at(share), bar)
                .with("findings", taken.len())
                .print();
        }
        Ok(())
    }

    fn publish(&self, produced: &Mutex<HashMap<Vec<u8>, Instant>>) -> Fallible<()> {
        let begun = Instant::now();
        for number in 0..REPORTS {
            let Report { asset, service, records, risks } = report(number, FINDINGS_A_REPORT, self.clock.now())?;
            for record in records {
                if let FindingsRecord::Finding(finding) = &record {
                    let key = risk::key(&service, risks[finding.number as usize]);
                    held(produced).insert(key.into_bytes(), Instant::now());
                }
                self.loader.put(FINDINGS, &asset.to_string(), &avro::encode(record)?, self.clock.now().millis())?;
            }
            let due = Duration::from_secs_f64((number + 1) as f64 * f64::from(FINDINGS_A_REPORT) / PER_SECOND as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        Ok(self.loader.flush()?)
    }

    /// Reads risks that are committed, from now on.
    fn reader(&self) -> Fallible<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap).set("group.id", "bench.reader").set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10");
        let reader: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            // Asked for now: "the end" would be where it is once the reader gets there.
            let (_, end) = reader.fetch_watermarks(RISKS.name, partition as i32, PATIENCE)?;
            list.add_partition_offset(RISKS.name, partition as i32, Offset::Offset(end))?;
        }
        reader.assign(&list)?;
        Ok(reader)
    }
}

/// Puts a day's scans into the topic, and prints how many records they are.
fn load_scans(bootstrap: &str, scale: &Scale, day: u32, order: Order) -> Fallible<()> {
    let loader = Loader::new(bootstrap, PARTITIONS)?;
    // Not the time of the findings, which lies so far back that brokers would remove them as too old.
    let (now, mut records) = (SystemClock.now().millis(), 0_u64);
    let scans: Vec<_> = if day == 0 { scale.scans().collect() } else { scale.rescans(day).collect() };
    for scan in scans {
        let asset = scan.asset().to_string();
        for record in scan.records(order) {
            loader.put(FINDINGS, &asset, &avro::encode(record)?, now)?;
            records += 1;
        }
    }
    loader.flush()?;
    println!("{records}");
    Ok(())
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
