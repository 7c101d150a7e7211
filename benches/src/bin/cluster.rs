//! The real stages on Kafka, one process beside its broker: findings a second, from a finding to its committed risk, memory.
//!
//! `cluster BOOTSTRAP [FINDINGS [MEBIBYTES]]` over an empty broker; `benches/against-streams` and `make bench-kafka` start one. Prints one JSON line a
//! figure, with what was asked for. What is to be read stands in the topic before the clock starts. It is put there, as are the findings that
//! are timed, by processes of their own (`cluster load`, `cluster publish`): what a publisher takes is none of the host's.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Write, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use faultline_benches::load::{Loader, committed_from_now};
use faultline_benches::report::{Report, report};
use faultline_benches::{Line, micros, processor_seconds, resident_bytes};
use faultline_core::correlate::Correlate;
use faultline_core::track::Track;
use faultline_model::avro;
use faultline_model::record::FindingsRecord;
use faultline_model::risk;
use faultline_model::testing::scale::{Order, Scale};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, INTEL, RISKS};
use faultline_stream::{
    Clock, HostOptions, KafkaHost, KafkaLog, KafkaOptions, KafkaRunning, MemoryBudget, SystemClock, TaskState, make_topics, topic_plans,
};
use rdkafka::message::Message;

const PARTITIONS: u32 = 4;
const SEED: u64 = 7;
const STAGES: [&str; 2] = ["track", "correlate"];
/// Unless it is said.
const MEBIBYTES: usize = 512;
const LOOK: Duration = Duration::from_millis(20);
/// Of the measurement of latency.
const PER_SECOND: usize = 5_000;
const FINDINGS_A_REPORT: i32 = 10;
/// As many go before those that are timed, at the same rate: for the first half minute of a new load the broker's JVM compiles what that load
/// needs, which takes a quarter of two cores.
const REPORTS_BEFORE: usize = 20_000;
/// That are timed, in each of three turns, as every figure of `benches/against-streams`: what stands is the median of them. In one turn, a fifth of a
/// second in which the machine does something else is its p99.
const REPORTS: usize = 10_000;
const TURNS: usize = 3;
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
    memory: MemoryBudget,
    loader: Loader,
    clock: Arc<Shifted>,
    /// Its highest since it was last set to nothing, and of all.
    resident: u64,
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
    let (bootstrap, findings, mebibytes) = match &arguments[..] {
        [load, bootstrap, findings, day, order] if load == "load" => {
            let order = if order == "stable" { Order::Stable } else { Order::Shuffled };
            return load_scans(bootstrap, &Scale::new(SEED, findings.parse()?), day.parse()?, order);
        }
        [publish, bootstrap, now] if publish == "publish" => {
            return publish_reports(bootstrap, Timestamp::from_millis(now.parse()?));
        }
        [bootstrap] => (bootstrap, 1_000_000, MEBIBYTES),
        [bootstrap, findings] => (bootstrap, findings.parse()?, MEBIBYTES),
        [bootstrap, findings, mebibytes] => (bootstrap, findings.parse()?, mebibytes.parse()?),
        _ => return Err("usage: cluster BOOTSTRAP [FINDINGS [MEBIBYTES]]".into()),
    };
    let folder = tempfile::tempdir()?;
    let scale = Scale::new(SEED, findings);
    let clock = Arc::new(Shifted { base: AtomicI64::new(0), begun: Instant::now() });
    clock.set(scale.end_of(0));
    let (loader, memory) = (Loader::new(bootstrap, PARTITIONS)?, MemoryBudget::of(mebibytes << 20));
    let mut bench = Bench { bootstrap, folder: folder.path(), memory, loader, clock, resident: 0, highest_resident: 0 };
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
    // A whole day passes at once, and what it makes due comes at once: that is worked off before anything is timed.
    let now = scale.end_of(3);
    bench.clock.set(now);
    let at = bench.start()?;
    bench.quiet(&at)?;
    bench.latency(&at, now)?;
    at.running.stop()?;
    let resident = bench.highest_resident as f64 / f64::from(1 << 20);
    Line::new("resident memory on Kafka, highest")
        .at_most("mebibytes", resident, bench.memory.total_bytes as f64 / f64::from(1 << 20) * 1.1)
        .print();
    Ok(())
}

impl Bench<'_> {
    fn options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::new(self.bootstrap, "bench", "bench-0");
        options.local.memory_budget_bytes = self.memory.rocksdb_bytes;
        options.buffer_bytes = self.memory.buffer_bytes;
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
        let options =
            HostOptions { batch_bytes: self.memory.batch_bytes, at_hand_bytes: self.memory.at_hand_bytes, ..HostOptions::default() };
        let log = Arc::new(KafkaLog::open(self.folder, &topic_plans(), self.options(), options.workers)?);
        let mut host = KafkaHost::new(log.clone(), options);
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
        self.resident = 0;
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
            .with("resident_mebibytes", self.resident >> 20)
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
            self.look_at_memory();
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn look_at_memory(&mut self) {
        self.resident = self.resident.max(resident_bytes());
        self.highest_resident = self.highest_resident.max(self.resident);
    }

    /// New findings at a steady rate, each timed from when it is produced until a reader of what is committed has its risk. They are
    /// produced by a process of its own, that says at its end when it produced each.
    fn latency(&mut self, at: &At, now: Timestamp) -> Fallible<()> {
        self.resident = 0;
        let reader = committed_from_now(self.bootstrap, RISKS, PARTITIONS)?;
        let mut publishing = Command::new(std::env::current_exe()?);
        publishing.args(["publish", self.bootstrap, &now.millis().to_string()]).stdout(Stdio::piped());
        let mut publishing = publishing.spawn()?;
        let (mut committed, findings) = (HashMap::new(), TURNS * REPORTS * FINDINGS_A_REPORT as usize);
        let (mut last, mut looked) = (Instant::now(), Instant::now());
        while committed.len() < findings {
            if last.elapsed() > PATIENCE {
                return Err(format!("{} findings have no risk", findings - committed.len()).into());
            }
            if looked.elapsed() > LOOK {
                self.look_at_memory();
                looked = Instant::now();
            }
            let Some(Ok(message)) = reader.poll(LOOK) else { continue };
            last = Instant::now();
            // Risks of the rounds before are written again where their findings age.
            if let Some(Ok(key)) = message.key().map(str::from_utf8).filter(|key| key.is_ok_and(is_timed)) {
                committed.entry(digest(key)).or_insert_with(micros);
            }
        }
        let mut turns = vec![Vec::new(); TURNS];
        for line in BufReader::new(publishing.stdout.take().ok_or("the publisher says nothing")?).lines() {
            let line = line?;
            let [turn, key, produced] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err("the publisher says something else".into());
            };
            let committed = committed.get(&key.parse()?).ok_or("a finding has another risk than was expected")?;
            turns[turn.parse::<usize>()?].push(committed.saturating_sub(produced.parse()?) as f64 / 1e3);
        }
        if !publishing.wait()?.success() || turns.iter().map(Vec::len).sum::<usize>() != findings {
            return Err("the publisher stopped".into());
        }
        self.quiet(at)?;
        for (share, bar) in [(50, 120.0), (99, 250.0)] {
            let each: Vec<f64> = turns.iter_mut().map(|taken| quantile(taken, share)).collect();
            Line::new(&format!("a finding to its committed risk at 5,000 new ones a second, two stages, p{share}"))
                .at_most("milliseconds", quantile(&mut each.clone(), 50), bar)
                .with("turns", each)
                .with("findings", findings)
                .with("resident_mebibytes", self.resident >> 20)
                .print();
        }
        Ok(())
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

/// Produces small reports at a steady rate. Prints of each finding that is timed its turn, which risk it becomes, and when it was produced.
fn publish_reports(bootstrap: &str, now: Timestamp) -> Fallible<()> {
    let (loader, mut produced) = (Loader::new(bootstrap, PARTITIONS)?, Vec::new());
    let begun = Instant::now();
    for number in 0..REPORTS_BEFORE + TURNS * REPORTS {
        let now = Timestamp::from_millis(now.millis() + begun.elapsed().as_millis() as i64);
        let Report { asset, service, records, risks } = report(number, FINDINGS_A_REPORT, now)?;
        for record in records {
            if let FindingsRecord::Finding(finding) = &record
                && let Some(timed) = number.checked_sub(REPORTS_BEFORE)
            {
                produced.push((timed / REPORTS, digest(&risk::key(&service, risks[finding.number as usize])), micros()));
            }
            loader.put(FINDINGS, &asset.to_string(), &avro::encode(record)?, SystemClock.now().millis())?;
        }
        let due = Duration::from_secs_f64((number + 1) as f64 * f64::from(FINDINGS_A_REPORT) / PER_SECOND as f64);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    loader.flush()?;
    let mut out = BufWriter::new(stdout().lock());
    for (turn, key, at) in produced {
        writeln!(out, "{turn} {key} {at}")?;
    }
    Ok(out.flush()?)
}

/// Whether a risk is of a report that [`publish_reports`] produces to be timed.
fn is_timed(key: &str) -> bool {
    let number = risk::parse_key(key).and_then(|(service, _)| service.rsplit_once("/small/service-")?.1.parse().ok());
    number.is_some_and(|number: usize| number >= REPORTS_BEFORE)
}

/// What a share in a hundred of them is not above.
fn quantile(of: &mut [f64], share: usize) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() * share / 100]
}

/// Two keys of three hundred thousand have the same one with a chance of one in four hundred million.
fn digest(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
