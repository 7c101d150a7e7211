//! The Kafka Streams peer's job as a stage on our host, on one broker: records a second, processor time a record.
//!
//! `benches/kafka` starts the broker, loads the input and runs the peer beside it. Here: `kafka BOOTSTRAP RECORDS WORKERS`, over topic
//! `findings` that is there already. Prints one JSON line, with the digest of the risks at the end: any right implementation of the job
//! comes to the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_benches::load::{partitions_of, remove_topics};
use faultline_benches::{processor_seconds, resident_bytes, say};
use faultline_core::stage::{Batch, Input, Stage, StageError};
use faultline_core::store::{Store, StoreError};
use faultline_model::topic::{Kept, Topic};
use faultline_stream::{HostOptions, KafkaHost, KafkaLog, KafkaOptions, Log, MemoryBudget, SystemClock, TopicPlan, make_topics};
use serde::Deserialize;

const FINDINGS: Topic = Topic { name: "findings", kept: Kept::ByTime, is_global: false };
const RISKS: Topic = Topic { name: "job-risks", kept: Kept::ByKey, is_global: false };
/// Of an aggregate.
const LIMIT: usize = 16;
const HEAD: usize = 4;
const ENTRY: usize = 30;
const TABLE: u8 = 1;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Deserialize)]
struct Finding<'f> {
    id: &'f str,
    corr: &'f str,
    service: &'f str,
    kind: &'f str,
    fingerprint: &'f str,
    family: &'f str,
    severity: u8,
    exposure: u8,
}

/// How many findings' aggregates are looked up together.
const TOGETHER: usize = 1024;

/// What a batch's findings say.
#[derive(Default)]
struct Heard {
    /// Of each its `corr`, `service`, `family` and `id`, one after the other.
    texts: String,
    findings: Vec<Said>,
}

/// A finding without its texts.
struct Said {
    ends: [usize; 4],
    fingerprint: u128,
    kind: u8,
    severity: u8,
    exposure: u8,
}

impl Heard {
    fn add(&mut self, finding: &Finding<'_>) -> Result<(), StageError> {
        let fingerprint = u128::from_str_radix(finding.fingerprint, 16).map_err(StageError::poison)?;
        let kind = match finding.kind {
            "sast" => 1,
            "dast" => 2,
            "sca" => 4,
            "iac" => 8,
            _ => 16,
        };
        let ends = [finding.corr, finding.service, finding.family, finding.id].map(|text| {
            self.texts.push_str(text);
            self.texts.len()
        });
        self.findings.push(Said { ends, fingerprint, kind, severity: finding.severity, exposure: finding.exposure });
        Ok(())
    }

    /// Each finding with its texts, in the order in which they came.
    fn iter(&self) -> impl Iterator<Item = (&Said, [&str; 4])> {
        let mut begins = 0;
        self.findings.iter().map(move |said| (said, said.ends.map(|end| &self.texts[std::mem::replace(&mut begins, end)..end])))
    }
}

/// Up to 16 distinct fingerprints of each correlation key with their findings; every change says the risk.
struct Job;

impl Stage for Job {
    const NAME: &'static str = "job";
    const INPUTS: &'static [Topic] = &[FINDINGS];
    const GLOBALS: &'static [Topic] = &[];
    type Gathered = Heard;

    fn apply(&self, _: &mut Batch<'_>, heard: &mut Heard, input: &Input<'_>) -> Result<(), StageError> {
        // Looked at once for all of its texts.
        let text = str::from_utf8(input.value.unwrap_or_default()).map_err(StageError::poison)?;
        heard.add(&serde_json::from_str(text).map_err(StageError::poison)?)
    }

    fn end(&self, batch: &mut Batch<'_>, heard: Heard) -> Result<(), StageError> {
        let mut findings = heard.iter().peekable();
        while findings.peek().is_some() {
            let together: Vec<_> = findings.by_ref().take(TOGETHER).collect();
            let keys: Vec<Vec<u8>> = together.iter().map(|(_, [corr, ..])| [&[TABLE], corr.as_bytes()].concat()).collect();
            batch.state.look_up(keys.clone())?;
            for ((said, texts), key) in together.into_iter().zip(keys) {
                let Some(aggregate) = grown(batch.state.get(&key)?, said, texts[3])? else { continue };
                batch.emit_encoded(RISKS, texts[0].to_owned(), risk(texts, &aggregate));
                batch.state.put(key, aggregate);
            }
        }
        Ok(())
    }
}

/// The aggregate with the finding in it; nothing where it is known or there is no room. Bytes: highest severity, exposure, kinds, count,
/// then of each finding its fingerprint (16) and its id (14).
fn grown(old: Option<Vec<u8>>, said: &Said, id: &str) -> Result<Option<Vec<u8>>, StageError> {
    let fingerprint = said.fingerprint.to_be_bytes();
    let mut aggregate = old.unwrap_or_else(|| vec![0; HEAD]);
    if aggregate.len() < HEAD {
        return Err(StoreError::corrupt("job", &[], "a head is missing").into());
    }
    let entries = &aggregate[HEAD..];
    if entries.len() / ENTRY >= LIMIT || entries.chunks_exact(ENTRY).any(|entry| entry[..16] == fingerprint) {
        return Ok(None);
    }
    aggregate[0] = aggregate[0].max(said.severity);
    aggregate[1] = aggregate[1].max(said.exposure);
    aggregate[2] |= said.kind;
    aggregate[3] += 1;
    aggregate.extend(fingerprint);
    aggregate.extend(id.as_bytes());
    Ok(Some(aggregate))
}

fn risk([corr, service, family, _]: [&str; 4], aggregate: &[u8]) -> Vec<u8> {
    let [severity, exposure, kinds, count] = [0, 1, 2, 3].map(|at| u32::from(aggregate[at]));
    let score = 1000.min(severity * 60 + count.min(10) * 15 + kinds.count_ones() * 40 + exposure * 30);
    let mut risk = Vec::with_capacity(192 + aggregate.len());
    let mut number = itoa::Buffer::new();
    for (name, value) in [("{\"v\":1,\"risk\":\"", corr), ("\",\"service\":\"", service), ("\",\"family\":\"", family)] {
        risk.extend(name.as_bytes());
        risk.extend(value.as_bytes());
    }
    let numbers =
        [("\",\"score\":", score), (",\"severity\":", severity), (",\"exposure\":", exposure), (",\"kinds\":", kinds.count_ones())];
    for (name, value) in numbers {
        risk.extend(name.as_bytes());
        risk.extend(number.format(value).as_bytes());
    }
    risk.extend(b",\"findings\":[");
    for (at, entry) in aggregate[HEAD..].chunks_exact(ENTRY).enumerate() {
        risk.extend(if at == 0 { &b"\""[..] } else { b",\"" });
        risk.extend(&entry[16..]);
        risk.push(b'"');
    }
    risk.extend(b"]}");
    risk
}

/// splitmix64's end.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn fnv(bytes: &[u8], hash: u64) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Of a map's entry; those of a map add up, so that order does not matter.
fn digest(key: &[u8], value: &[u8]) -> u64 {
    mix(fnv(value, fnv(&[0], fnv(key, 0xcbf2_9ce4_8422_2325))))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, records, workers] = &arguments[..] else {
        return Err("usage: kafka BOOTSTRAP RECORDS WORKERS".into());
    };
    let (records, workers): (u64, usize) = (records.parse()?, workers.parse()?);
    let folder = tempfile::tempdir()?;
    let plans = [FINDINGS, RISKS].map(TopicPlan::of);
    // A name of its own for each run, so that each begins at the beginning.
    let installation = format!("bench-{}", std::process::id());
    let mut options = KafkaOptions::new(bootstrap, installation, "bench");
    // The peer has about 1 GiB resident, ours a quarter of that; what it is given it may have for records that wait and rows at hand.
    let memory = MemoryBudget::of(1 << 30);
    options.local.memory_budget_bytes = memory.rocksdb_bytes;
    options.buffer_bytes = memory.buffer_bytes;
    let partitions = partitions_of(&options.bootstrap, FINDINGS.name)?;
    remove_topics(bootstrap, &[RISKS.name, &format!("{}.changelog", Job::NAME)])?;
    make_topics(&options, &plans, &[Job::NAME], partitions, 1)?;
    let log = Arc::new(KafkaLog::open(folder.path(), &plans, options, workers)?);
    let host_options = HostOptions {
        workers,
        batch_records: 65_536,
        batch_bytes: 24 << 20,
        page_records: 2_048,
        at_hand_bytes: memory.at_hand_bytes,
        ..HostOptions::default()
    };
    let mut host = KafkaHost::new(log.clone(), host_options);
    host.add(Job)?;
    let running = host.start(Arc::new(SystemClock))?;

    let (mut begun, mut generation) = (None, 0);
    let consumed = || -> u64 {
        let status = running.running().map(faultline_stream::Running::status).unwrap_or_default();
        status.iter().flat_map(|task| &task.inputs).map(|input| input.position).sum()
    };
    loop {
        let consumed = consumed();
        if consumed > 0 && begun.is_none() {
            begun = Some((Instant::now(), processor_seconds(), consumed));
        }
        if consumed >= records {
            break;
        }
        generation = log.wait_for_change(generation, Duration::from_millis(10));
    }
    let Some((begun, before, first)) = begun else { return Err("there was nothing to read".into()) };
    let (spent, after) = (begun.elapsed(), processor_seconds());
    let used: f64 = after.values().sum::<f64>() - before.values().sum::<f64>();
    let telemetry = running.running().map(faultline_stream::Running::telemetry);
    let families = telemetry.map(|telemetry| telemetry.families()).unwrap_or_default();
    let sampled = |name: &str, suffix: &str| -> Vec<f64> {
        let family = families.iter().find(|family| family.name == name);
        let samples = family.iter().flat_map(|family| &family.samples);
        samples.filter(|sample| sample.suffix == suffix).map(|sample| (sample.value * 100.0).round() / 100.0).collect()
    };
    let (steps, commits) = (sampled("faultline_batch_seconds_total", ""), sampled("faultline_commit_seconds", "_count"));
    running.stop()?;
    let mut newest = HashMap::new();
    for partition in 0..partitions {
        for record in log.read(RISKS.name, partition, 0, usize::MAX, usize::MAX)? {
            newest.insert(record.key, record.value.unwrap_or_default());
        }
    }
    let digest = newest.iter().fold(0_u64, |sum, (key, value)| sum.wrapping_add(digest(key, value)));
    let counted = (records - first) as f64;
    let threads: serde_json::Map<String, serde_json::Value> = after
        .iter()
        .map(|(name, seconds)| (name.clone(), ((seconds - before.get(name).unwrap_or(&0.0)) * 100.0).round() / 100.0))
        .map(|(name, seconds)| (name, seconds.into()))
        .collect();
    say(
        "the peer's job as a stage",
        serde_json::json!({
            "records": records, "workers": workers, "seconds": spent.as_secs_f64(), "per_second": (counted / spent.as_secs_f64()).round(),
            "processor_seconds": used, "microseconds_a_record": used * 1e6 / counted, "by_thread": threads,
            "read_apply_commit_seconds": steps, "commits": commits,
            "resident_mebibytes": resident_bytes() >> 20, "final_keys": newest.len(), "risks_digest": format!("{digest:016x}"),
        }),
    );
    Ok(())
}
