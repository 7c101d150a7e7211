//! What a record costs as the state grows: a stage on Kafka that looks up a row, writes it, and says a record, at the same rate of input over
//! 1, 3 and 10 million rows.
//!
//! `curve BOOTSTRAP [ROWS...]` over an empty broker, rows ascending; `benches/against-streams` and `make bench-kafka` start one. Prints one
//! JSON line for each number of rows. Records are produced by processes of its own (`curve load`, `curve say`).

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_benches::load::{Loader, committed_from_now};
use faultline_benches::{micros, processor_seconds, resident_bytes, say};
use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_core::store::{Store, StoreError};
use faultline_model::topic::{Kept, Topic};
use faultline_stream::testing::Random;
use faultline_stream::{Clock, HostOptions, KafkaHost, KafkaLog, KafkaOptions, KafkaRunning, SystemClock, TopicPlan, make_topics};
use rdkafka::message::Message;

const ENTRIES: Topic = Topic { name: "entries", kept: Kept::ByTime, is_global: false };
const SEEN: Topic = Topic { name: "seen", kept: Kept::ByTime, is_global: false };
const PARTITIONS: u32 = 4;
const STATE_BYTES: usize = 208 << 20;
/// Of a value: when it was produced (8), and as much more as makes it a row of some size.
const VALUE_BYTES: usize = 120;
const PER_SECOND: u64 = 10_000;
const SECONDS: u64 = 20;
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_mins(2);

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Keeps the newest value of each key, and says when it was produced.
struct Entries;

fn row_of(key: &str) -> Vec<u8> {
    [&[1], key.as_bytes()].concat()
}

impl Stage for Entries {
    const NAME: &'static str = "entries";
    const INPUTS: &'static [Topic] = &[ENTRIES];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = ();

    fn ahead(&self, batch: &Batch<'_>, _: Topic, keys: &mut dyn Iterator<Item = &str>) -> Result<(), StoreError> {
        batch.state.look_up(keys.map(row_of).collect())
    }

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        let (row, value) = (row_of(input.key), input.value.unwrap_or_default());
        if batch.state.get(&row)?.as_deref() != Some(value) {
            batch.emit_encoded(SEEN, input.key.to_owned(), value.iter().take(8).copied().collect());
            batch.state.put(row, value.to_vec());
        }
        Ok(())
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (bootstrap, sizes) = match words[..] {
        ["load", bootstrap, from, to] => return produce(bootstrap, from.parse()?..to.parse()?, None),
        ["say", bootstrap, rows] => {
            let (mut random, rows) = (Random::new(7), rows.parse::<u64>()?);
            let keys = std::iter::repeat_with(|| random.number() % rows).take((PER_SECOND * SECONDS) as usize);
            return produce(bootstrap, keys, Some(PER_SECOND));
        }
        [bootstrap] => (bootstrap, vec![1_000_000, 3_000_000, 10_000_000]),
        [bootstrap, ref sizes @ ..] => (bootstrap, sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?),
        [] => return Err("usage: curve BOOTSTRAP [ROWS...]".into()),
    };
    let folder = tempfile::tempdir()?;
    let plans = [ENTRIES, SEEN].map(TopicPlan::of);
    let mut options = KafkaOptions::new(bootstrap, "curve", "curve-0");
    options.local.memory_budget_bytes = STATE_BYTES;
    make_topics(&options, &plans, &[Entries::NAME], PARTITIONS, 1)?;
    let host_options = HostOptions::default();
    let log = Arc::new(KafkaLog::open(folder.path(), &plans, options, host_options.workers)?);
    let mut host = KafkaHost::new(log, host_options);
    host.add(Entries)?;
    let running = host.start(Arc::new(SystemClock))?;

    let (mut rows, mut records) = (0, 0);
    for size in sizes {
        let begun = Instant::now();
        child(&["load", bootstrap, &rows.to_string(), &size.to_string()])?;
        // And the first one of whoever produces.
        records += size - rows + 1;
        consumed(&running, records)?;
        let grown = (size - rows) as f64 / begun.elapsed().as_secs_f64();
        rows = size;

        let reader = committed_from_now(bootstrap, SEEN, PARTITIONS)?;
        let (before, begun) = (processor_seconds(), Instant::now());
        let (mut taken, expected) = (Vec::new(), (PER_SECOND * SECONDS) as usize);
        std::thread::scope(|scope| -> Fallible<()> {
            let saying = scope.spawn(|| child(&["say", bootstrap, &rows.to_string()]));
            let mut last = Instant::now();
            while taken.len() < expected {
                if last.elapsed() > PATIENCE {
                    return Err(format!("{} records came to nothing", expected - taken.len()).into());
                }
                let Some(Ok(message)) = reader.poll(LOOK) else { continue };
                let produced = message.payload().and_then(|payload| payload.try_into().ok()).map(u64::from_be_bytes);
                if let Some(produced) = produced.filter(|produced| *produced > 0) {
                    taken.push(micros().saturating_sub(produced) as f64 / 1e3);
                    last = Instant::now();
                }
            }
            saying.join().map_err(|_| "the publisher stopped")?
        })?;
        let (spent, after) = (begun.elapsed(), processor_seconds());
        records += expected as u64 + 1;
        consumed(&running, records)?;
        let used: f64 = after.iter().map(|(name, seconds)| seconds - before.get(name).copied().unwrap_or(0.0)).sum();
        taken.sort_unstable_by(f64::total_cmp);
        let at = |share: usize| taken[taken.len() * share / 100];
        say(
            "a record over so many rows of state, at the same rate of input",
            serde_json::json!({
                "rows": rows, "records": taken.len(), "per_second": (taken.len() as f64 / spent.as_secs_f64()).round(),
                "microseconds_a_record": (used * 1e7 / taken.len() as f64).round() / 10.0,
                "p50_milliseconds": at(50).round(), "p99_milliseconds": at(99).round(),
                "resident_mebibytes": resident_bytes() >> 20, "disk_mebibytes": bytes_below(folder.path())? >> 20,
                "grown_at_per_second": grown.round(),
            }),
        );
    }
    Ok(running.stop()?)
}

fn child(arguments: &[&str]) -> Fallible<()> {
    let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", arguments[0]).into()) }
}

/// Produces a record of each key, at a rate if there is one.
fn produce(bootstrap: &str, keys: impl Iterator<Item = u64>, per_second: Option<u64>) -> Fallible<()> {
    let (loader, mut random) = (Loader::new(bootstrap, PARTITIONS)?, Random::new(11));
    // Until one is written the producer connects, which is not what is timed.
    loader.put(ENTRIES, "entry-first", &[0; 8], SystemClock.now().millis())?;
    loader.flush()?;
    let begun = Instant::now();
    for (number, key) in keys.enumerate() {
        let mut value = micros().to_be_bytes().to_vec();
        value.extend(std::iter::repeat_with(|| random.number().to_be_bytes()).flatten().take(VALUE_BYTES - value.len()));
        loader.put(ENTRIES, &format!("entry-{key:08}"), &value, (micros() / 1_000) as i64)?;
        if let Some(per_second) = per_second.filter(|per_second| (number as u64).is_multiple_of(per_second / 100)) {
            let due = Duration::from_secs_f64(number as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    Ok(loader.flush()?)
}

/// Waits until so many records have been worked on for good.
fn consumed(running: &KafkaRunning, records: u64) -> Fallible<()> {
    let until = Instant::now() + 10 * PATIENCE;
    loop {
        let running = running.running().ok_or("the host has stopped")?;
        if let Some(failure) = running.failures().first() {
            return Err(format!("task {}: {}", failure.task, failure.reason).into());
        }
        let consumed: u64 = running.status().iter().flat_map(|task| &task.inputs).map(|input| input.position).sum();
        if consumed >= records {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{consumed} of {records} records were worked on").into());
        }
        std::thread::sleep(LOOK);
    }
}

fn bytes_below(folder: &Path) -> Fallible<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // RocksDB may have removed it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
