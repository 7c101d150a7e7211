//! What the host itself costs: a stage that passes each record on, over the embedded log.
//!
//! `cargo run --release -p faultline-stream --example pass_through --features testing -- [RECORDS] [BODY_BYTES]` prints one JSON line for
//! each number of workers and each kind of output topic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_core::store::Store;
use faultline_model::dead_letter::DeadLetter;
use faultline_model::time::Timestamp;
use faultline_model::topic::{DEAD_LETTERS, Kept, Topic};
use faultline_stream::{EmbeddedLog, Host, HostOptions, Options, SystemClock, TopicPlan, append};

const IN: Topic = Topic { name: "in", kept: Kept::ByTime, is_global: false };
const BY_TIME: Topic = Topic { name: "out-by-time", kept: Kept::ByTime, is_global: false };
const BY_KEY: Topic = Topic { name: "out-by-key", kept: Kept::ByKey, is_global: false };

/// Passes each record on, and keeps a row of each key.
struct Pass {
    to: Topic,
}

impl Stage for Pass {
    const NAME: &'static str = "pass";
    const INPUTS: &'static [Topic] = &[IN];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = ();

    fn apply(&self, batch: &mut Batch<'_>, (): &mut (), input: &Input<'_>) -> Result<(), StageError> {
        let row = [&[1], input.key.as_bytes()].concat();
        let seen = batch.state.get(&row)?.map_or(0, |row| row[0].wrapping_add(1));
        batch.state.put(row, [seen]);
        if let Some(record) = input.record::<DeadLetter>()? {
            batch.emit(self.to, input.key.to_owned(), record)?;
        }
        Ok(())
    }

    fn end(&self, _: &mut Batch<'_>, (): ()) -> Result<(), StageError> {
        Ok(())
    }
}

fn argument(at: usize, default: usize) -> Result<usize, std::num::ParseIntError> {
    std::env::args().nth(at).map_or(Ok(default), |text| text.parse())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (records, body_bytes) = (argument(1, 500_000)?, argument(2, 200)?);
    for to in [BY_TIME, BY_KEY] {
        for workers in [1, 2] {
            run(to, workers, records, body_bytes)?;
        }
    }
    Ok(())
}

fn run(to: Topic, workers: usize, records: usize, body_bytes: usize) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let plans = [IN, BY_TIME, BY_KEY, DEAD_LETTERS].map(TopicPlan::of).to_vec();
    let log = Arc::new(EmbeddedLog::open(folder.path(), plans, Options::default())?);
    let letter = |n: usize| DeadLetter {
        topic: "in".to_owned(),
        partition: 0,
        offset: n as i64,
        reason: "a body".to_owned(),
        stage: "pass".to_owned(),
        value: Some((0..body_bytes).map(|at| (at * n) as u8).collect()),
    };
    let began = Instant::now();
    for first in (0..records).step_by(5_000) {
        let chunk = (first..records.min(first + 5_000))
            .map(|n| Ok((format!("key-{}", n % (records / 2).max(1)), Some(faultline_model::avro::encode(letter(n))?))))
            .collect::<Result<Vec<_>, faultline_model::avro::AvroError>>()?;
        append(&*log, IN, chunk, Timestamp::from_millis(0), &[])?;
    }
    let appended = began.elapsed();
    let mut host = Host::new(log.clone(), HostOptions { workers, ..HostOptions::default() });
    host.add(Pass { to })?;
    let began = Instant::now();
    host.run_until_quiet(&SystemClock, &mut |_| ())?;
    let took = began.elapsed();
    let seconds = |step: &str| -> f64 {
        let families = host.telemetry().families();
        let batch = families.iter().filter(|family| family.name == "faultline_batch_seconds_total").flat_map(|family| &family.samples);
        batch.filter(|sample| sample.labels.iter().any(|(_, value)| value == step)).map(|sample| sample.value).sum()
    };
    let rate = |took: Duration| (records as f64 / took.as_secs_f64()).round();
    println!(
        "{{\"bench\":\"pass-through\",\"to\":\"{}\",\"workers\":{workers},\"records\":{records},\"body_bytes\":{body_bytes},\"append_per_second\":{},\
         \"records_per_second\":{},\"read_seconds\":{:.2},\"apply_seconds\":{:.2},\"commit_seconds\":{:.2}}}",
        to.name,
        rate(appended),
        rate(took),
        seconds("read"),
        seconds("apply"),
        seconds("commit"),
    );
    drop(host);
    Ok(())
}
