//! Both toy stages at work on a cluster: what is said to them, and what it comes to.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use faultline_core::stage::Stage;
use faultline_model::topic::Topic;
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{Clock, Host, HostOptions, KafkaHost, KafkaLog, KafkaRunning, Log, MemoryLog, SystemClock, append};

use crate::broker::{Broker, PARTITIONS, PATIENCE, assert_at_rest, assert_comes_to};
use crate::toys::{self, Amounts, FACTORS, FACTS, FACTS_BULK, Sums, VETOES};

pub const STAGES: [&str; 2] = [Amounts::NAME, Sums::NAME];
/// Of both stages.
pub const TASKS: usize = 2 * PARTITIONS as usize;

pub fn start() -> Option<Broker> {
    Broker::start(toys::plans(), &STAGES)
}

pub fn small() -> HostOptions {
    HostOptions { workers: 2, batch_records: 50, page_records: 20, slice_bytes: 500, ..HostOptions::default() }
}

pub fn run(log: Arc<KafkaLog>) -> KafkaRunning {
    let mut host = KafkaHost::new(log, small());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.start(Arc::new(SystemClock)).unwrap()
}

/// Facts by both lanes, a veto and a factor, from a seed.
pub fn say(log: &dyn Log, seed: u64) {
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
    let bulk = facts.split_off(facts.len() / 2);
    for (topic, records) in [(FACTS, facts), (FACTS_BULK, bulk), (VETOES, veto), (FACTORS, factor)] {
        append_at_last(log, topic, &records);
    }
}

/// A door says no while no broker answers: who asked asks again. Gives where each came to stand.
pub fn append_at_last(log: &dyn Log, topic: Topic, records: &[(String, Option<Vec<u8>>)]) -> Vec<(u32, u64)> {
    let until = Instant::now() + PATIENCE;
    loop {
        // The brokers drop what is old by its own time.
        match append(log, topic, records.to_vec(), SystemClock.now(), &[]) {
            Ok(offsets) => return offsets,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
    }
}

/// What the same input comes to in memory.
pub fn expected(seeds: std::ops::Range<u64>) -> Rest {
    expected_of(|log| seeds.for_each(|seed| say(log, seed)))
}

/// The same of any input.
pub fn expected_of(say: impl FnOnce(&dyn Log)) -> Rest {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toys::plans(), 1).unwrap());
    say(&*log);
    let mut host = Host::new(log.clone(), small());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.run_until_quiet(&SystemClock, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

/// No record of a compacted topic is under two partitions; `Rest` says so as well, over the newest only.
pub fn assert_each_key_has_one_home(log: &KafkaLog) {
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

pub fn amounts_in(log: &KafkaLog) -> u64 {
    (0..PARTITIONS).map(|partition| log.end_offset("amounts", partition).unwrap_or(0)).sum()
}

/// Says something, and returns when it is being worked on.
pub fn say_and_see(reader: &KafkaLog, seed: u64) {
    let before = amounts_in(reader);
    say(reader, seed);
    let until = Instant::now() + PATIENCE;
    while amounts_in(reader) <= before {
        assert!(Instant::now() < until);
    }
}

pub fn assert_nothing_stopped(running: &KafkaRunning) {
    let failures = running.running().unwrap().failures();
    assert!(failures.is_empty(), "{failures:?}");
}

/// Of a process `one` that was at rest: over its state nothing is said again, and on an empty disk the state comes back from the changelog,
/// or a fact said again would be new.
pub fn assert_state_holds(broker: &Broker, reader: &KafkaLog, say_more: impl FnOnce(), expected: &Rest) {
    let ends = |topic: &str| (0..PARTITIONS).map(|partition| reader.end_offset(topic, partition).unwrap()).collect::<Vec<_>>();
    let before = (ends("amounts"), ends("sums"));
    let running = run(broker.log("one"));
    assert_at_rest(&running, TASKS, reader);
    running.stop().unwrap();
    assert_eq!((ends("amounts"), ends("sums")), before);

    std::fs::remove_dir_all(broker.state("one")).unwrap();
    say_more();
    let running = run(broker.log("one"));
    assert_comes_to(reader, expected);
    assert_nothing_stopped(&running);
    running.stop().unwrap();
}
