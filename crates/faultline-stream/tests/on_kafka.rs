//! The same stages on a real Apache Kafka come to the same rest as in memory, whoever is killed on the way.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, LOOK, PARTITIONS, PATIENCE, PROTOCOL, assert_at_rest, assert_comes_to, lasting, work_if_child};
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{HostOptions, KafkaHost, KafkaLog, Log, SystemClock, text};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use toys::{AMOUNTS, Amounts, FACTS, FACTS_BULK, Sums};
use work::{
    STAGES, TASKS, append_at_last, assert_each_key_has_one_home, assert_nothing_stopped, assert_state_holds, expected, expected_of, run,
    say, say_and_see, small, start,
};

#[test]
fn one_process_comes_to_the_same_rest_with_its_state_and_without() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    (0..3).for_each(|seed| say(&*reader, seed));
    let running = run(broker.log("one"));
    assert_comes_to(&reader, &expected(0..3));
    assert!(expected(0..3).topics["sums"].len() == 7 && expected(0..3).refused.len() == 3);
    assert_at_rest(&running, TASKS, &reader);
    running.stop().unwrap();
    assert_state_holds(&broker, &reader, || say(&*reader, 3), &expected(0..4));
}

/// Each stop takes the tasks away with their commits in flight.
#[test]
fn a_host_that_is_stopped_at_work_loses_and_doubles_nothing() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    let log = broker.log("one");
    let all = |log: &KafkaLog| (0..PARTITIONS).map(|partition| log.end_offset("amounts", partition).unwrap()).sum::<u64>();
    for seed in 0..5 {
        let before = all(&reader);
        let running = run(log.clone());
        say(&*reader, seed);
        let until = Instant::now() + PATIENCE;
        while all(&reader) == before && Instant::now() < until {}
        running.stop().unwrap();
    }
    let running = run(log);
    assert_comes_to(&reader, &expected(0..5));
    assert_at_rest(&running, TASKS, &reader);
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}

#[test]
fn processes_that_are_killed_lose_and_double_nothing() {
    work_if_child(&toys::plans(), run);
    let Some(broker) = start() else { return };
    let kills = std::env::var("FAULTLINE_KAFKA_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let seed = 42;
    let mut random = Random::new(seed);
    let reader = broker.log("reader");
    let child = |instance: &str| broker.worker("processes_that_are_killed_lose_and_double_nothing", instance);
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
        children[at] = {
            children[at].kill();
            // One in four loses its disk as well.
            if kill % 4 == 3 {
                std::fs::remove_dir_all(broker.state(names[at]))
                    .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
                    .unwrap();
            }
            child(names[at])
        };
    }
    assert_comes_to(&reader, &expected(0..kills));
    assert_each_key_has_one_home(&reader);
}

#[test]
fn a_process_that_slept_past_its_time_is_fenced_and_goes_on() {
    work_if_child(&toys::plans(), run);
    sleeps_and_goes_on("a_process_that_slept_past_its_time_is_fenced_and_goes_on", &[]);
}

/// Members of KIP-848's protocol, whose epoch is what a transaction brings: what sleeps is fenced, what is killed is taken over from, and
/// what comes back at once under its name has its part again.
#[test]
fn members_by_the_consumer_protocol_are_fenced_and_taken_over_from() {
    work_if_child(&toys::plans(), run);
    sleeps_and_goes_on("members_by_the_consumer_protocol_are_fenced_and_taken_over_from", &[(PROTOCOL, "consumer")]);
}

fn sleeps_and_goes_on(test: &str, environment: &[(&str, &str)]) {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    let child = |instance: &str| broker.worker_with(test, instance, environment);
    let (sleeper, mut other) = (child("sleeper"), child("other"));
    say(&*reader, 0);
    assert_comes_to(&reader, &expected(0..1));
    say(&*reader, 1);
    sleeper.signal("STOP");
    // All of it, so also what was the sleeper's.
    say(&*reader, 2);
    assert_comes_to(&reader, &expected(0..3));
    sleeper.signal("CONT");
    say(&*reader, 3);
    assert_comes_to(&reader, &expected(0..4));
    // What it does now is its own again.
    other.kill();
    say(&*reader, 4);
    assert_comes_to(&reader, &expected(0..5));
    // One that is killed and comes back before it is missed.
    let _other = child("other");
    say(&*reader, 5);
    assert_comes_to(&reader, &expected(0..6));
    drop(sleeper);
    let _sleeper = child("sleeper");
    say(&*reader, 6);
    assert_comes_to(&reader, &expected(0..7));
    assert_each_key_has_one_home(&reader);
}

/// What a log tells of itself.
fn told(log: &KafkaLog, name: &str) -> u64 {
    log.gauges().iter().find(|gauge| gauge.name == name).unwrap().value
}

#[test]
fn a_standby_takes_over_with_the_tail_alone() {
    work_if_child(&toys::plans(), run);
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    let mut other = broker.worker("a_standby_takes_over_with_the_tail_alone", "other");
    (0..3).for_each(|seed| say(&*reader, seed));
    assert_comes_to(&reader, &expected(0..3));
    let log = broker.log("standby");
    let running = run(log.clone());
    let until = Instant::now() + PATIENCE;
    let is_warm = || told(&log, "faultline_standby_tasks") == TASKS as u64 / 2 && told(&log, "faultline_standby_lag_records") == 0;
    while running.tasks().len() != TASKS / 2 || !is_warm() {
        assert!(Instant::now() < until, "{:?}", log.gauges());
        log.wait_for_change(u64::MAX, Duration::from_millis(20));
    }
    let (restored, followed) = (told(&log, "faultline_restored_records_total"), told(&log, "faultline_standby_records_total"));
    other.kill();
    while running.tasks().len() != TASKS {
        assert!(Instant::now() < until, "{:?}", running.running().unwrap().status());
        log.wait_for_change(u64::MAX, Duration::from_millis(20));
    }
    let tail = told(&log, "faultline_restored_records_total") - restored;
    // At most a commit of positions alone, of each task.
    assert!(tail <= TASKS as u64 && followed > 10 * TASKS as u64, "{tail} records were restored, {followed} had been followed");
    assert_eq!(told(&log, "faultline_standby_tasks"), 0);
    // The state is whole, or a fact said again would be new.
    (0..4).for_each(|seed| say(&*reader, seed));
    assert_comes_to(&reader, &expected(0..4));
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}

/// Waits until what is written of each partition, groups' positions included, is what is committed.
fn assert_no_transaction_is_open(broker: &Broker) {
    let asking = |isolation: &str| -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.bootstrap()).set("group.id", "test.asking").set("isolation.level", isolation);
        config.create().unwrap()
    };
    let [all, stable] = ["read_uncommitted", "read_committed"].map(asking);
    let metadata = all.fetch_metadata(None, PATIENCE).unwrap();
    let end = |of: &BaseConsumer, topic: &str, partition| of.fetch_watermarks(topic, partition, PATIENCE).unwrap().1;
    let until = Instant::now() + PATIENCE;
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            while end(&stable, topic.name(), partition.id()) < end(&all, topic.name(), partition.id()) {
                assert!(Instant::now() < until, "{}/{}", topic.name(), partition.id());
                drop(all.poll(LOOK));
            }
        }
    }
}

/// It is killed between transactions, and what is said comes while it is down. One that is killed in the midst of some while no partition has another copy
/// leaves them hanging: when it comes back, Kafka 4.3.1 loads what it coordinates while it still counts as alive, cannot reach itself, is
/// fenced, and takes partitions without a leader for deleted ones that need no marks. Under load: `a_broker_of_three_is_killed.rs`.
#[test]
fn a_broker_that_is_killed_and_comes_back_costs_time_and_nothing_else() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    let running = run(broker.log("one"));
    say(&*reader, 0);
    for round in 1..3 {
        assert_at_rest(&running, TASKS, &reader);
        assert_no_transaction_is_open(&broker);
        broker.kill();
        std::thread::scope(|scope| {
            scope.spawn(|| say(&*reader, round));
            broker.begin();
        });
    }
    assert_at_rest(&running, TASKS, &reader);
    assert_nothing_stopped(&running);
    assert_comes_to(&reader, &expected(0..3));
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}

/// Who reads what bulk leads to is in another process, and comes late.
#[test]
fn bulk_waits_for_a_reader_elsewhere_and_what_is_urgent_does_not() {
    const BULK: u64 = 2_000;
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    let fact = |n: u64| (format!("service{}-{}", n % 7, n % 31), Some(format!("{n} f0 {n} 9999999999999").into_bytes()));
    append_at_last(&*reader, FACTS_BULK, &(0..BULK).map(fact).collect::<Vec<_>>());
    let options = HostOptions { bulk_lag: 100, bulk_records: 10, ..small() };
    let begin = |instance, which: fn(&mut KafkaHost)| {
        let mut host = KafkaHost::new(broker.log(instance), options);
        which(&mut host);
        host.start(Arc::new(SystemClock)).unwrap()
    };
    let amounts = begin("amounts", |host| {
        host.add(Amounts).unwrap();
    });
    let telemetry = amounts.running().unwrap().telemetry();
    let waits = format!("faultline_tasks_bulk_waits{{stage=\"amounts\"}} {PARTITIONS}");
    wait_until(|| text(&telemetry.families()).contains(&waits));

    append_at_last(&*reader, FACTS, &[fact(BULK)]);
    let said = |log: &KafkaLog, key: &str| {
        let all = (0..PARTITIONS).flat_map(|partition| log.read(AMOUNTS.name, partition, 0, usize::MAX, usize::MAX).unwrap());
        let all: Vec<_> = all.collect();
        (all.len() as u64, all.iter().any(|record| record.key.ends_with(key.as_bytes())))
    };
    let urgent = format!("/{BULK}");
    wait_until(|| said(&reader, &urgent).1);
    let (count, _) = said(&reader, &urgent);
    // Each task may have a helping when the bound is met, and one more a second when nobody moves for long.
    assert!(count < BULK / 2, "{count} were said while nobody read them");

    let sums = begin("sums", |host| {
        host.add(Sums).unwrap();
    });
    let all = |log: &dyn Log| drop(append_at_last(log, FACTS, &(0..=BULK).map(fact).collect::<Vec<_>>()));
    assert_comes_to(&reader, &expected_of(all));
    amounts.stop().unwrap();
    sums.stop().unwrap();
}

fn wait_until(is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

/// Longer than sessions and transactions last.
#[test]
fn a_broker_that_stands_still_costs_that_time_and_nothing_else() {
    let still_for = lasting("FAULTLINE_KAFKA_STOPPED_SECONDS", 8);
    let Some(broker) = Broker::start_silent_for(still_for + PATIENCE, toys::plans(), &STAGES) else { return };
    let reader = broker.log("reader");
    let running = run(broker.log("one"));
    say_and_see(&reader, 0);
    broker.signal_node(1, "STOP");
    let until = Instant::now() + still_for;
    while Instant::now() < until {
        // A question that waits for its answer.
        let answer = reader.waiting("sums", 0, 0);
        assert!(answer.is_err() || Instant::now() >= until, "{answer:?}");
    }
    broker.signal_node(1, "CONT");
    say(&*reader, 1);
    assert_at_rest(&running, TASKS, &reader);
    assert_nothing_stopped(&running);
    assert_comes_to(&reader, &expected(0..2));
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}

/// Two processes, then four, one and three, and so on, while there is work. Every other one that goes does so without a word.
#[test]
fn rebalances_one_after_the_other_lose_and_double_nothing() {
    work_if_child(&toys::plans(), run);
    let Some(broker) = start() else { return };
    let each = Duration::from_secs(4);
    let reader = broker.log("reader");
    let worker = |at: usize| broker.worker("rebalances_one_after_the_other_lose_and_double_nothing", ["a", "b", "c", "d"][at]);
    let (mut workers, mut said, mut gone) = (Vec::new(), 0, 0);
    let until = Instant::now() + lasting("FAULTLINE_KAFKA_REBALANCE_SECONDS", 20);
    for wanted in [2, 4, 1, 3].into_iter().cycle() {
        while workers.len() < wanted {
            workers.push(worker(workers.len()));
        }
        while workers.len() > wanted {
            let mut worker = workers.pop().unwrap();
            gone += 1;
            if gone % 2 == 0 { worker.kill() } else { worker.stop() }
        }
        let next = Instant::now() + each;
        while Instant::now() < next {
            say_and_see(&reader, said);
            said += 1;
        }
        if Instant::now() >= until {
            break;
        }
    }
    assert_comes_to(&reader, &expected(0..said));
    workers.into_iter().for_each(broker::Worker::stop);
    assert_each_key_has_one_home(&reader);
}

#[test]
fn a_reader_that_stands_still_delays_nobody() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    // So little waits that a reader who takes nothing is soon full.
    let log = broker.log_in("one", &broker.state("one"), 8 << 10);
    let running = run(log.clone());
    let still = log.follow().unwrap();
    let topics = ["facts", "amounts", "sums"];
    for topic in topics {
        (0..PARTITIONS).for_each(|partition| drop(still.read(topic, partition, 0, 1, 1).unwrap()));
    }
    say(&*reader, 0);
    assert_comes_to(&reader, &expected(0..1));
    assert_at_rest(&running, TASKS, &reader);
    let rebalances =
        || log.gauges().iter().filter(|gauge| gauge.name == "faultline_rebalances_total").map(|gauge| gauge.value).sum::<u64>();
    let (before, mut said) = (rebalances(), 1);
    // Longer than a session lasts.
    let until = Instant::now() + lasting("FAULTLINE_KAFKA_STALLED_SECONDS", 8);
    while Instant::now() < until {
        say(&*reader, said);
        said += 1;
        assert_comes_to(&reader, &expected(0..said));
    }
    assert_eq!(rebalances(), before);
    assert_nothing_stopped(&running);
    // It goes on where it stood.
    let until = Instant::now() + PATIENCE;
    let first = loop {
        assert!(Instant::now() < until);
        if let Some(first) = still.read("facts", 0, 0, 1, 1).unwrap().pop() {
            break first;
        }
    };
    assert_eq!(first.offset, 0);
    drop(still);
    running.stop().unwrap();
}
