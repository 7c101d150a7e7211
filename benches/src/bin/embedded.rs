//! The embedded service at a million findings: throughput, state written, re-scoring, memory, disk, lists.
//!
//! Prints one JSON line a measurement, with what was asked for and the ratio to it. `FAULTLINE_BENCH_FINDINGS` sets the size (default
//! 1,000,000); the folder lies under `TMPDIR`. Both cores are shared by the publisher, the stages and RocksDB.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_benches::counting::CountingLog;
use faultline_benches::{Line, latency, processor_seconds, resident_bytes};
use faultline_core::correlate::Correlate;
use faultline_core::track::Track;
use faultline_model::avro::{self, TopicValue};
use faultline_model::testing::scale::{Order, Scale, Scan};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, INTEL, RISKS, Topic};
use faultline_stream::{EmbeddedLog, Host, HostOptions, Log, ManualClock, MemoryBudget, Options, Running, append, topic_plans};
use faultline_views::{Bodies, BodySource, RiskFilter, TOPICS, ViewRecord, Views};

/// How much is appended at once: one fsync each, as the report door does it.
const PIECE_BYTES: usize = 4 << 20;
/// As the program has it unless it is set.
const MEBIBYTES: usize = 512;

/// Bytes of tables that are in use.
const LIVE_TABLES: &str = "faultline_rocksdb_live_bytes";
/// How often the memory is looked at: asking is not free.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

struct Bench {
    scale: Scale,
    log: Arc<CountingLog>,
    clock: Arc<ManualClock>,
    running: Running,
    folder: PathBuf,
    highest_resident: u64,
}

fn main() -> Fallible<()> {
    let findings: u64 = std::env::var("FAULTLINE_BENCH_FINDINGS").ok().map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let mut bench = Bench::open(folder.path(), findings)?;
    let records: Vec<_> = bench.scale.catalog().collect();
    bench.append(CATALOG, records)?;
    let records: Vec<_> = bench.scale.intel().collect();
    bench.append(INTEL, records)?;
    bench.quiet()?;

    let before = processor_seconds();
    let spent = bench.publish(0, Order::Stable)?;
    let live = bench.scale.findings();
    Line::new("first-time findings through risk")
        .rate(live, spent, 15_000)
        .with("findings", live)
        .with("processor_seconds", since(&before))
        .with("resident_mebibytes", resident_bytes() >> 20)
        .with("track_bytes_a_finding", a_finding(&bench.written("track"), live))
        .with("correlate_bytes_a_finding", a_finding(&bench.written("correlate"), live))
        .print();
    let risks = bench.risks()?;
    Line::new("risks of a known truth").with("risks", risks).with("expected", bench.scale.expected_risks()).print();

    for (day, order, bar) in [(1, Order::Stable, 1.0), (2, Order::Shuffled, 2.0)] {
        let (written, produced) = (bench.written("track"), bench.log.produced(RISKS.name));
        let before = processor_seconds();
        let spent = bench.publish(day, order)?;
        let name = if order == Order::Stable { "rescan, stable order" } else { "rescan, shuffled" };
        Line::new(name)
            .rate(live, spent, 50_000)
            .with("findings", live)
            .with("processor_seconds", since(&before))
            .with("resident_mebibytes", resident_bytes() >> 20)
            .with("risks_written", bench.log.produced(RISKS.name) - produced)
            .print();
        let mut by_table = bench.written("track");
        for (table, bytes) in &mut by_table {
            *bytes -= written.get(table).copied().unwrap_or(0);
        }
        let bytes = by_table.values().sum::<u64>() as f64 / live as f64;
        let by_table = a_finding(&by_table, live);
        Line::new(&format!("state written, {name}")).at_most("bytes_a_finding", bytes, bar).with("by_table", by_table).print();
    }
    for (touched, bar) in [(1, 0.05), (10_000, 1.0)] {
        bench.kev(touched, bar)?;
    }
    bench.views()?;
    let at_work = bench.rest(folder.path())?;
    let of = |ending: &str| Ok::<_, Box<dyn std::error::Error>>(size_of(folder.path(), ending)? as f64 / 1e9 * 1e6 / live as f64);
    let rounded = |gigabytes: f64| (gigabytes * 1e3).round() / 1e3;
    Line::new("disk per million live findings")
        .at_most("gigabytes", of("")?, 2.0)
        .with("merging_at_work", rounded(at_work as f64 / live as f64 / 1e3))
        .with("tables", rounded(of(".sst")?))
        .with("tables_by_family", bench.tables_by_family())
        .with("write_ahead_log", rounded(of(".log")?))
        .with("views", rounded(of("sqlite")? + of("-wal")?))
        .print();
    let resident = bench.highest_resident.max(resident_bytes()) as f64 / f64::from(1 << 20);
    Line::new("resident memory, highest").at_most("mebibytes", resident, MEBIBYTES as f64).with("findings", live).print();
    bench.running.stop()?;
    Ok(())
}

/// Processor seconds since, by what the threads are for.
fn since(before: &BTreeMap<String, f64>) -> serde_json::Value {
    let spent = processor_seconds().into_iter().map(|(name, seconds)| {
        let spent = seconds - before.get(&name).copied().unwrap_or(0.0);
        (name, (spent * 10.0).round() / 10.0)
    });
    spent.filter(|(_, spent)| *spent > 0.0).map(|(name, spent)| (name, serde_json::Value::from(spent))).collect()
}

/// Bytes a finding by table; tables with less than a hundredth of a byte are left out.
fn a_finding(by_table: &BTreeMap<u8, u64>, findings: u64) -> serde_json::Value {
    let each = by_table.iter().map(|(table, bytes)| (table.to_string(), (*bytes as f64 / findings as f64 * 100.0).round() / 100.0));
    each.filter(|(_, bytes)| *bytes > 0.0).map(|(table, bytes)| (table, serde_json::Value::from(bytes))).collect()
}

impl Bench {
    fn open(folder: &Path, findings: u64) -> Fallible<Self> {
        let memory = MemoryBudget::of(MEBIBYTES << 20);
        let options = Options { memory_budget_bytes: memory.rocksdb_bytes, ..Options::default() };
        let log = Arc::new(CountingLog::over(EmbeddedLog::open(folder.join("log"), topic_plans(), options)?));
        let scale = Scale::new(7, findings);
        let clock = Arc::new(ManualClock::new(scale.end_of(0)));
        let mut host = Host::new(
            log.clone(),
            HostOptions { batch_bytes: memory.batch_bytes, at_hand_bytes: memory.at_hand_bytes, ..HostOptions::default() },
        );
        host.add(Track::default())?.add(Correlate::default())?;
        let running = host.start(clock.clone())?;
        Ok(Self { scale, log, clock, running, folder: folder.to_owned(), highest_resident: 0 })
    }

    fn append<T: TopicValue>(&self, topic: Topic, records: Vec<(String, T)>) -> Fallible<()> {
        for piece in records.chunks(4096) {
            let piece =
                piece.iter().map(|(key, record)| Ok((key.clone(), Some(avro::encode(record.clone())?)))).collect::<Fallible<Vec<_>>>()?;
            append(&*self.log, topic, piece, self.now(), &[])?;
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        faultline_stream::Clock::now(&*self.clock)
    }

    /// Publishes one round of scans, and waits until all of it is worked on.
    fn publish(&mut self, day: u32, order: Order) -> Fallible<Duration> {
        self.clock.set(self.scale.end_of(day));
        let begun = Instant::now();
        let scale = self.scale.clone();
        let scans: Vec<Scan<'_>> = if day == 0 { scale.scans().collect() } else { scale.rescans(day).collect() };
        let mut piece = Vec::new();
        let mut bytes = 0;
        for scan in scans {
            let asset = scan.asset().to_string();
            for record in scan.records(order) {
                let value = avro::encode(record)?;
                bytes += value.len();
                piece.push((asset.clone(), Some(value)));
                if bytes >= PIECE_BYTES {
                    append(&*self.log, FINDINGS, std::mem::take(&mut piece), self.now(), &[])?;
                    bytes = 0;
                    self.highest_resident = self.highest_resident.max(resident_bytes());
                }
            }
        }
        append(&*self.log, FINDINGS, piece, self.now(), &[])?;
        self.quiet()?;
        Ok(begun.elapsed())
    }

    /// Waits until no task has input or pending work left.
    fn quiet(&mut self) -> Fallible<()> {
        let (mut generation, mut calm) = (0, 0);
        let mut looked = Instant::now();
        while calm < 2 {
            let status = self.running.status();
            if let Some(failure) = self.running.failures().first() {
                return Err(format!("task {}: {}", failure.task, failure.reason).into());
            }
            let is_quiet = status.iter().all(|task| task.lag() == 0 && !task.has_pending);
            calm = if is_quiet { calm + 1 } else { 0 };
            generation = self.log.wait_for_change(generation, Duration::from_millis(1));
            if looked.elapsed() > LOOK_EVERY {
                looked = Instant::now();
                self.highest_resident = self.highest_resident.max(resident_bytes());
            }
        }
        Ok(())
    }

    /// Bytes of state that a stage has written, by table.
    fn written(&self, stage: &str) -> BTreeMap<u8, u64> {
        self.log.state_bytes(stage)
    }

    /// Waits until RocksDB has removed the tables that it has merged; gives how many bytes went so.
    fn rest(&self, folder: &Path) -> Fallible<u64> {
        let begun = Instant::now();
        let before = size_of(folder, ".sst")?;
        loop {
            let live: u64 = self.log.gauges().iter().filter(|gauge| gauge.name == LIVE_TABLES).map(|gauge| gauge.value).sum();
            let there = size_of(folder, ".sst")?;
            if there <= live || begun.elapsed() > Duration::from_mins(1) {
                return Ok(before.saturating_sub(there));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Gigabytes of tables by family, for a million live findings.
    fn tables_by_family(&self) -> serde_json::Value {
        let tables = self.log.gauges().into_iter().filter(|gauge| gauge.name == LIVE_TABLES);
        let rounded = |bytes: u64| serde_json::Value::from((bytes as f64 / self.scale.findings() as f64).round() / 1e3);
        tables.filter_map(|gauge| Some((gauge.label?.1.to_owned(), rounded(gauge.value)))).collect()
    }

    fn risks(&self) -> Fallible<u64> {
        let mut count = 0;
        for partition in 0..self.log.partitions(RISKS.name)? {
            let mut from = 0;
            loop {
                let page = self.log.read(RISKS.name, partition, from, 4096, 4 << 20)?;
                let Some(last) = page.last() else { break };
                from = last.offset + 1;
                count += page.iter().filter(|record| record.value.is_some()).count() as u64;
            }
        }
        Ok(count)
    }

    /// A KEV entry for the vulnerability of so many findings.
    fn kev(&mut self, touched: u64, bar_seconds: f64) -> Fallible<()> {
        let Some((key, record)) = self.scale.kev(touched) else { return Ok(()) };
        let produced = self.log.produced(RISKS.name);
        let begun = Instant::now();
        self.append(INTEL, vec![(key, record)])?;
        self.quiet()?;
        let spent = begun.elapsed().as_secs_f64();
        let written = self.log.produced(RISKS.name) - produced;
        Line::new(&format!("KEV entry that touches {touched}"))
            .at_most("seconds", spent, bar_seconds)
            .with("risks_written", written)
            .print();
        Ok(())
    }

    /// Fills the views and asks for the first page and page 1,000.
    fn views(&mut self) -> Fallible<()> {
        let bodies = Bodies::Elsewhere(Arc::new(LogBodies(self.log.clone())));
        let views =
            Views::open(&self.folder.join("views.sqlite"), faultline_views::Options { bodies, ..faultline_views::Options::default() })?;
        let begun = Instant::now();
        let mut records = 0;
        for topic in TOPICS {
            for partition in 0..self.log.partitions(topic.name)? {
                let mut from = 0;
                loop {
                    let page = self.log.read(topic.name, partition, from, 16_384, 8 << 20)?;
                    let Some(last) = page.last() else { break };
                    from = last.offset + 1;
                    let batch: Vec<ViewRecord<'_>> = page
                        .iter()
                        .map(|one| ViewRecord {
                            topic: topic.name,
                            partition,
                            offset: one.offset,
                            key: &one.key,
                            value: one.value.as_deref(),
                        })
                        .collect();
                    records += batch.len() as u64;
                    views.apply(&batch)?;
                }
            }
        }
        views.ensure_lists()?;
        Line::new("views filled anew").rate(records, begun.elapsed(), 50_000).print();
        let filter = RiskFilter::default();
        let mut cursor = None;
        for page in 1..=1000_u32 {
            let begun = Instant::now();
            let list = views.risks(&filter, cursor.as_deref(), 50)?;
            let spent = begun.elapsed().as_secs_f64() * 1e3;
            if page == 1 || page == 1000 {
                Line::new(&format!("page {page} of the sorted risk list"))
                    .at_most("milliseconds", spent, 50.0)
                    .with("items", list.items.len())
                    .print();
            }
            cursor = list.next;
            if cursor.is_none() {
                break;
            }
        }
        self.latency(&Arc::new(views))
    }

    /// Small reports under the load of a rescan.
    fn latency(&mut self, views: &Arc<Views>) -> Fallible<()> {
        const REPORTS: usize = 300;
        const PER_SECOND: usize = 2000;
        self.clock.set(self.scale.end_of(3));
        let scale = self.scale.clone();
        let load = scale.rescans(3).flat_map(|scan| {
            let asset = scan.asset().to_string();
            scan.records(Order::Stable).filter_map(move |record| Some((asset.clone(), avro::encode(record).ok()?)))
        });
        let log: Arc<dyn Log> = self.log.clone();
        let measured = latency::measure(&log, views, self.now(), REPORTS, PER_SECOND, load).map_err(|error| error.to_string())?;
        Line::new("a small report to its risk readable, under 2,000 observations a second, p99")
            .at_most("milliseconds", measured[REPORTS * 99 / 100], 100.0)
            .with("p50_milliseconds", measured[REPORTS / 2])
            .with("reports", REPORTS)
            .print();
        self.quiet()
    }
}

/// Bodies as the service has them: in the log.
struct LogBodies(Arc<CountingLog>);

impl BodySource for LogBodies {
    fn newest(&self, topic: &'static str, key: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        let Some(topic) = Topic::named(topic) else { return Ok(None) };
        let partition = topic.partition_of(key, self.0.partitions(topic.name)?);
        Ok(self.0.latest(topic.name, partition, key.as_bytes())?.and_then(|stored| stored.value))
    }
}

/// Bytes of the files in a folder whose names end so.
fn size_of(folder: &Path, ending: &str) -> Fallible<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path(), ending)?,
            Ok(meta) if entry.file_name().to_string_lossy().ends_with(ending) => meta.len(),
            Ok(_) => 0,
            // RocksDB removed it since it was listed.
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(bytes)
}
