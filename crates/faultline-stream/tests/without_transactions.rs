//! Brokers that cannot do all: a commit without a transaction, topics that are not compacted, and a broker that says no to transactions.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, PARTITIONS, PATIENCE, assert_at_rest, assert_comes_to, work_if_child};
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{Guarantee, HostError, KafkaError, KafkaLog, KafkaOptions, Log, Repartition, gauges, repartition, text};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use toys::{FACTORS, FACTS, FACTS_BULK};
use work::{STAGES, TASKS, append_at_last, assert_state_holds, expected_of, run};

/// The row with which a commit begins.
const BEGINS: &str = "\0b";

fn start(has_compaction: bool) -> Option<Broker> {
    Broker::start_for(Guarantee::AtLeastOnce, has_compaction, toys::plans(), &STAGES)
}

/// Facts by both lanes and a factor, from a seed.
fn say(log: &dyn Log, seed: u64) {
    let mut random = Random::new(seed);
    let facts = (0..200).map(|_| {
        let n = random.number() % 1000;
        (format!("service{}-{}", n % 7, n % 31), Some(format!("{n} f{} {n} 9999999999999", n % 3).into_bytes()))
    });
    let mut facts: Vec<_> = facts.collect();
    let bulk = facts.split_off(100);
    let factor = vec![(format!("f{}", seed % 3), Some((seed + 2).to_string().into_bytes()))];
    for (topic, records) in [(FACTS, facts), (FACTS_BULK, bulk), (FACTORS, factor)] {
        append_at_last(log, topic, &records);
    }
}

/// What the same input comes to in memory.
fn expected(seeds: std::ops::Range<u64>) -> Rest {
    expected_of(|log| seeds.for_each(|seed| say(log, seed)))
}

/// Neither transactions nor compaction: the state is kept, comes back on an empty disk, and the mode shows.
#[test]
fn a_broker_that_can_do_neither_is_enough_for_the_same_rest() {
    let Some(broker) = start(false) else { return };
    let reader = broker.log("reader");
    (0..2).for_each(|seed| say(&*reader, seed));
    let options = KafkaOptions { has_compaction: false, ..broker.options("one") };
    let log = Arc::new(KafkaLog::open(broker.state("one"), &toys::plans(), options, 2).unwrap());
    let running = run(log.clone());
    assert_comes_to(&reader, &expected(0..2));
    assert_at_rest(&running, TASKS, &reader);
    let shown = text(&gauges(&*log));
    for mode in ["at-least-once", "no-compaction"] {
        assert!(shown.contains(&format!("faultline_degraded{{mode=\"{mode}\"}} 1")), "{shown}");
    }
    running.stop().unwrap();
    drop(log);
    assert_state_holds(&broker, &reader, || say(&*reader, 2), &expected(0..3));
}

#[test]
fn processes_that_are_killed_come_to_the_same_rest() {
    work_if_child(&toys::plans(), run);
    let Some(broker) = start(true) else { return };
    let kills = std::env::var("FAULTLINE_KAFKA_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let mut random = Random::new(43);
    let reader = broker.log("reader");
    let child = |instance: &str| broker.worker("processes_that_are_killed_come_to_the_same_rest", instance);
    let names = ["a", "b"];
    let mut children = names.map(child);
    for kill in 0..kills {
        say(&*reader, kill);
        // A moment in the work: when so many amounts more are there, whoever wrote them.
        let all = |log: &KafkaLog| (0..PARTITIONS).map(|partition| log.end_offset("amounts", partition).unwrap()).sum::<u64>();
        let (before, more) = (all(&reader), random.number() % 60);
        let until = Instant::now() + PATIENCE;
        while all(&reader) < before + more && Instant::now() < until && Rest::of(&*reader).is_ok_and(|rest| rest.topics["sums"].len() < 7) {
        }
        let at = (random.number() % 2) as usize;
        children[at].kill();
        // One in three loses its disk as well.
        if random.number().is_multiple_of(3) && broker.state(names[at]).exists() {
            std::fs::remove_dir_all(broker.state(names[at])).unwrap();
        }
        children[at] = child(names[at]);
    }
    assert_comes_to(&reader, &expected(0..kills));
}

/// As a process leaves it that is killed while it writes its rows: some are there, and the positions are not.
#[test]
fn a_torn_commit_is_taken_back_for_good() {
    let Some(broker) = start(true) else { return };
    let reader = broker.log("reader");
    say(&*reader, 0);
    let running = run(broker.log("one"));
    assert_comes_to(&reader, &expected(0..1));
    assert_at_rest(&running, TASKS, &reader);
    running.stop().unwrap();

    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    // A fact that would be larger than any, and an amount that nobody said.
    for (changelog, key, value) in [
        ("amounts.changelog", BEGINS, ""),
        ("amounts.changelog", "\u{1}service1-1\u{1f}7", "f0 999999 9999999999999"),
        ("sums.changelog", BEGINS, ""),
        ("sums.changelog", "\u{1}service1\u{1f}torn", "1000000"),
    ] {
        for partition in 0..PARTITIONS as i32 {
            producer.send(BaseRecord::to(changelog).partition(partition).key(key).payload(value)).unwrap();
        }
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    for (round, loses_disk) in [(1, false), (2, true), (3, true)] {
        if loses_disk {
            std::fs::remove_dir_all(broker.state("one")).unwrap();
        }
        // Each service is said anew.
        say(&*reader, round);
        let running = run(broker.log("one"));
        assert_comes_to(&reader, &expected(0..round + 1));
        let failures = running.running().unwrap().failures();
        assert!(failures.is_empty(), "{failures:?}");
        assert_at_rest(&running, TASKS, &reader);
        running.stop().unwrap();
    }
}

#[test]
fn what_is_not_right_without_transactions_is_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    // No broker is there: it is not asked.
    let options = KafkaOptions { guarantee: Guarantee::AtLeastOnce, ..KafkaOptions::new("127.0.0.1:1", "test", "one") };
    let with_standbys = KafkaOptions { standbys: 1, ..options.clone() };
    let error = KafkaLog::open(&path, &toys::plans(), with_standbys, 1).err().unwrap();
    assert!(matches!(error, HostError::Kafka(KafkaError::Standbys { standbys: 1 })), "{error:?}");
    let asked = Repartition { plans: &toys::plans(), stages: &[], options: &options, folder: &path, partitions: 8, replicas: 1 };
    let error = repartition(asked, &mut |_| ()).unwrap_err();
    assert!(matches!(error, HostError::Kafka(KafkaError::NeedsTransactions)), "{error:?}");
    assert!(!path.exists());
}

#[test]
fn a_broker_that_takes_no_transactions_is_told_with_the_setting_that_does_without() {
    let refused = |cluster: &MockCluster<'_, _>| {
        cluster.create_topic("generations", 1, 1).unwrap();
        for plan in toys::plans() {
            cluster.create_topic(plan.name, if plan.is_global { 1 } else { 2 }, 1).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let options = KafkaOptions::new(cluster.bootstrap_servers(), "test", "one");
        let options = KafkaOptions { transaction_timeout: Duration::from_secs(5), ..options };
        KafkaLog::open(folder.path(), &toys::plans(), options, 1).err().unwrap()
    };
    let cluster = MockCluster::new(1).unwrap();
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION; 50]);
    let error = refused(&cluster);
    assert!(matches!(error, HostError::Kafka(KafkaError::NoTransactions { .. })), "{error:?}");
    assert!(error.to_string().contains("kafka.guarantee: at-least-once"), "{error}");
    // One that does not even know the question.
    let cluster = MockCluster::new(1).unwrap();
    cluster.apiversion(RDKafkaApiKey::InitProducerId, None, None).unwrap();
    let error = refused(&cluster);
    assert!(matches!(error, HostError::Kafka(KafkaError::NoTransactions { .. })), "{error:?}");
}
