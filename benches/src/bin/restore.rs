//! A task's state again from its changelog: records a second on an empty disk, and the time from the assignment until the tasks work on a
//! warm one, and where a standby followed.
//!
//! `restore BOOTSTRAP CHANGELOG WORKERS`, over the changelog of a run of the Kafka Streams peer: it is copied, record by record, into that of a
//! stage that has nothing to read, so that both restore the same. Prints one JSON line a figure; fails where the state is not what
//! the changelog says.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_benches::load::{partitions_of, send};
use faultline_benches::{processor_seconds, resident_bytes, say};
use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_model::topic::{Kept, Topic};
use faultline_stream::{
    HOST_ROWS, HostOptions, KafkaHost, KafkaLog, KafkaOptions, KafkaRunning, Log, SystemClock, TaskId, TaskState, TopicPlan, make_topics,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const NOTHING: Topic = Topic { name: "nothing", kept: Kept::ByTime, is_global: false };
const CALL: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);
/// Of the copy's transactions: as many records as the peer commits at once, about.
const COMMIT_RECORDS: usize = 2_000;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A stage that has state and is asked for nothing.
struct Remembered;

impl Stage for Remembered {
    const NAME: &'static str = "kept";
    const INPUTS: &'static [Topic] = &[NOTHING];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = ();

    fn apply(&self, _: &mut Batch<'_>, (): &mut (), _: &Input<'_>) -> Result<(), StageError> {
        Ok(())
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

type Rows = HashMap<Vec<u8>, Vec<u8>>;
type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, changelog, workers] = &arguments[..] else {
        return Err("usage: restore BOOTSTRAP CHANGELOG WORKERS".into());
    };
    let (workers, folder) = (workers.parse()?, tempfile::tempdir()?);
    let partitions = partitions_of(bootstrap, changelog)?;
    make_topics(&options(bootstrap, "one"), &[TopicPlan::of(NOTHING)], &[Remembered::NAME], partitions, 1)?;
    let (records, expected) = copy(bootstrap, changelog, partitions)?;

    let cold = restored(bootstrap, folder.path(), workers, &expected)?;
    say(
        "a stage's state again, from the changelog of the peer, on an empty disk",
        serde_json::json!({
            "records": records, "partitions": partitions, "workers": workers, "rows": expected.iter().map(HashMap::len).sum::<usize>(),
            "seconds": cold.restoring.as_secs_f64(), "per_second": (records as f64 / cold.restoring.as_secs_f64()).round(),
            "ready_seconds": cold.ready.as_secs_f64(), "processor_seconds": cold.used, "by_thread": cold.by_thread,
            "resident_mebibytes": resident_bytes() >> 20,
        }),
    );
    let warm = restored(bootstrap, folder.path(), workers, &expected)?;
    say(
        "tasks at work after their assignment, with a warm disk",
        serde_json::json!({ "partitions": partitions, "seconds": warm.ready.as_secs_f64(), "seconds_asked": 2 }),
    );
    let (moved, seconds, tail) = taken_over(bootstrap, folder.path(), workers, &expected)?;
    say(
        "tasks at work after their assignment, where a standby followed",
        serde_json::json!({ "moved": moved, "seconds": seconds.as_secs_f64(), "seconds_asked": 2, "restored_records": tail }),
    );
    Ok(())
}

fn options(bootstrap: &str, instance: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(bootstrap, "restore", instance);
    options.local.memory_budget_bytes = 64 << 20;
    options.session_timeout = Duration::from_secs(3);
    options.standbys = 1;
    options
}

/// Copies what is committed in a changelog; tells how many records, and the rows at their end by partition.
fn copy(bootstrap: &str, changelog: &str, partitions: u32) -> Result<(u64, Vec<Rows>), Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "copy").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", "copy").set("compression.type", "lz4");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(CALL)?;
    let (to, mut records, mut rows) = (format!("{}.changelog", Remembered::NAME), 0, vec![Rows::new(); partitions as usize]);
    // Measured again on the same broker.
    let is_there = consumer.fetch_watermarks(&to, 0, CALL)?.1 > 0;
    for partition in 0..partitions {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(changelog, partition as i32, Offset::Beginning)?;
        consumer.assign(&list)?;
        let mut is_whole = false;
        while !is_whole {
            producer.begin_transaction()?;
            for _ in 0..COMMIT_RECORDS {
                let message = match consumer.poll(CALL) {
                    Some(Ok(message)) => message,
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        is_whole = true;
                        break;
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err("nothing came".into()),
                };
                let (key, value) = (message.key().unwrap_or_default(), message.payload().ok_or("the peer takes no row away")?);
                if !is_there {
                    send(&producer, BaseRecord::to(&to).partition(partition as i32).key(key).payload(value))?;
                }
                rows[partition as usize].insert(key.to_vec(), value.to_vec());
                records += 1;
            }
            producer.commit_transaction(CALL)?;
        }
    }
    Ok((records, rows))
}

/// What a start took.
struct Took {
    /// From the first word that a task is this process's.
    ready: Duration,
    /// From when it was known how much there is to read.
    restoring: Duration,
    used: f64,
    by_thread: serde_json::Map<String, serde_json::Value>,
}

/// Two processes of which one goes: how many tasks the other gets, how long it takes from then until they work, and how many records it
/// reads for them.
fn taken_over(bootstrap: &str, folder: &Path, workers: usize, expected: &[Rows]) -> Result<(usize, Duration, u64), Failure> {
    let (_, one) = started(bootstrap, folder, "one", workers)?;
    await_that(|| one.tasks().len() == expected.len())?;
    let (log, two) = started(bootstrap, folder, "two", workers)?;
    let half = expected.len() / 2;
    await_that(|| two.tasks().len() == half && one.tasks().len() == expected.len() - half)?;
    let told = |name: &str| log.gauges().iter().find(|gauge| gauge.name == name).map_or(0, |gauge| gauge.value);
    await_that(|| told("faultline_standby_tasks") as usize == expected.len() - half && told("faultline_standby_lag_records") == 0)?;
    let before = told("faultline_restored_records_total");
    // Its end takes as long as its session, in which what it had moves already.
    let spent = std::thread::scope(|scope| {
        let stopping = scope.spawn(|| one.stop().map_err(|error| error.to_string()));
        await_that(|| states(&two).len() > half)?;
        let begun = Instant::now();
        await_that(|| two.tasks().len() == expected.len())?;
        let spent = begun.elapsed();
        stopping.join().map_err(|_| "a stop panicked")??;
        Ok::<_, Failure>(spent)
    })?;
    two.stop()?;
    check(&log, expected)?;
    Ok((expected.len() - half, spent, told("faultline_restored_records_total") - before))
}

fn started(bootstrap: &str, folder: &Path, instance: &str, workers: usize) -> Result<(Arc<KafkaLog>, KafkaRunning), Failure> {
    let log = KafkaLog::open(folder.join(instance), &[TopicPlan::of(NOTHING)], options(bootstrap, instance), workers)?;
    let log = Arc::new(log);
    let mut host = KafkaHost::new(log.clone(), HostOptions { workers, ..HostOptions::default() });
    host.add(Remembered)?;
    let running = host.start(Arc::new(SystemClock))?;
    Ok((log, running))
}

fn await_that(is_so: impl Fn() -> bool) -> Result<(), Failure> {
    let until = Instant::now() + 2 * CALL;
    while !is_so() {
        if Instant::now() >= until {
            return Err("it did not come to what was waited for".into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// A process that begins, works, and goes.
fn restored(bootstrap: &str, folder: &Path, workers: usize, expected: &[Rows]) -> Result<Took, Failure> {
    let (log, running) = started(bootstrap, folder, "one", workers)?;
    let (mut given, mut begun) = (None, None);
    while running.tasks().len() < expected.len() {
        let states = states(&running);
        if let Some(TaskState::Failed { reason }) = states.iter().find(|state| matches!(state, TaskState::Failed { .. })) {
            return Err(reason.clone().into());
        }
        if given.is_none() && !states.is_empty() {
            given = Some(Instant::now());
        }
        if begun.is_none() && states.iter().any(|state| matches!(state, TaskState::Restoring { of, .. } if *of > 0)) {
            begun = Some((Instant::now(), processor_seconds()));
        }
        std::thread::sleep(LOOK);
    }
    let now = Instant::now();
    let given = given.unwrap_or(now);
    let (begun, before) = begun.unwrap_or_else(|| (given, processor_seconds()));
    let after = processor_seconds();
    let used = after.values().sum::<f64>() - before.values().sum::<f64>();
    let by_thread =
        after.iter().map(|(name, seconds)| (name.clone(), ((seconds - before.get(name).unwrap_or(&0.0)) * 100.0).round() / 100.0));
    let by_thread = by_thread.filter(|(_, seconds)| *seconds > 0.0).map(|(name, seconds)| (name, seconds.into())).collect();
    running.stop()?;
    check(&log, expected)?;
    Ok(Took { ready: now - given, restoring: now - begun, used, by_thread })
}

/// The state is what the changelog says, row by row.
fn check(log: &KafkaLog, expected: &[Rows]) -> Result<(), Failure> {
    for (partition, expected) in expected.iter().enumerate() {
        let (mut rows, mut differs) = (0, false);
        log.state(TaskId { stage: Remembered::NAME, partition: partition as u32 }).scan(&[], &[], &mut |key, value| {
            if key.first() == Some(&HOST_ROWS) {
                return ControlFlow::Continue(());
            }
            rows += 1;
            differs |= expected.get(key).is_none_or(|expected| expected != value);
            ControlFlow::Continue(())
        })?;
        if differs || rows != expected.len() {
            return Err(format!("of partition {partition} there are {rows} rows, {} are expected", expected.len()).into());
        }
    }
    Ok(())
}

fn states(running: &KafkaRunning) -> Vec<TaskState> {
    let status = running.running().map(faultline_stream::Running::status).unwrap_or_default();
    status.into_iter().map(|task| task.state).collect()
}
