//! What was to be read next is not there any more: it was deleted before it was read, or its topic was made anew.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use broker::{Broker, PARTITIONS, PATIENCE, assert_at_rest, assert_comes_to};
use faultline_core::stage::Stage;
use faultline_model::topic::Topic;
use faultline_stream::testing::Rest;
use faultline_stream::{Clock, Host, HostOptions, KafkaHost, KafkaLog, KafkaRunning, Log, MemoryLog, SystemClock, append};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use toys::{Amounts, FACTS, Sums, VETOES};

const TASKS: usize = 2 * PARTITIONS as usize;
const LOST: &str = "faultline_records_lost_total";

fn start() -> Option<Broker> {
    Broker::start(toys::plans(), &[Amounts::NAME, Sums::NAME])
}

fn run(log: Arc<KafkaLog>) -> KafkaRunning {
    let mut host = KafkaHost::new(log, HostOptions::default());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.start(Arc::new(SystemClock)).unwrap()
}

/// Gives partition and offset of each record.
fn say(log: &dyn Log, topic: Topic, numbers: std::ops::Range<usize>) -> Vec<(u32, u64)> {
    let record = |n: usize| {
        let rest = if topic == FACTS { format!(" f {n} 9999999999999") } else { String::new() };
        (format!("service{}-{}", n % 5, n % 40), Some(format!("{n}{rest}").into_bytes()))
    };
    append(log, topic, numbers.map(record).collect(), SystemClock.now(), &[]).unwrap()
}

/// What the same comes to in memory.
fn expected(said: &[(Topic, std::ops::Range<usize>)]) -> Rest {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toys::plans(), 1).unwrap());
    for (topic, numbers) in said {
        say(&*log, *topic, numbers.clone());
    }
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.run_until_quiet(&SystemClock, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &broker.options("admin").bootstrap).create().unwrap()
}

/// A list of all partitions of a topic, with an offset for each.
fn at(topic: Topic, offset: impl Fn(u32) -> u64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic.name, partition as i32, Offset::Offset(offset(partition) as i64)).unwrap();
    }
    list
}

/// Deletes a topic and makes it again.
fn make_anew(broker: &Broker, topic: Topic, partitions: i32) {
    let (admin, options) = (admin(broker), AdminOptions::new());
    futures_executor::block_on(admin.delete_topics(&[topic.name], &options)).unwrap().pop().unwrap().unwrap();
    let new = NewTopic::new(topic.name, partitions, TopicReplication::Fixed(1));
    wait_until("the topic is there again", || {
        futures_executor::block_on(admin.create_topics([&new], &options)).unwrap().pop().unwrap().is_ok()
    });
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

fn positions(running: &KafkaRunning, topic: Topic) -> u64 {
    let status = running.running().unwrap().status();
    status.iter().flat_map(|task| &task.inputs).filter(|input| input.topic == topic.name).map(|input| input.position).sum()
}

fn told(log: &KafkaLog, name: &str) -> u64 {
    log.gauges().iter().find(|gauge| gauge.name == name).unwrap().value
}

fn assert_nothing_stopped(running: &KafkaRunning) {
    let failures = running.running().unwrap().failures();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn what_was_deleted_before_it_was_read_is_counted_once_and_the_rest_is_read() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    say(&*reader, FACTS, 0..100);
    let log = broker.log("one");
    let running = run(log.clone());
    assert_comes_to(&reader, &expected(&[(FACTS, 0..100)]));
    assert_at_rest(&running, TASKS, &reader);
    let position = positions(&running, FACTS);
    assert_eq!(told(&log, LOST), 0);
    running.stop().unwrap();
    drop(log);

    let said = say(&*reader, FACTS, 100..200);
    let end = |partition| said.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| offset + 1).max().unwrap();
    let first: u64 = (0..PARTITIONS).map(end).sum();
    futures_executor::block_on(admin(&broker).delete_records(&at(FACTS, end), &AdminOptions::new())).unwrap();
    say(&*reader, FACTS, 200..300);
    let log = broker.log("one");
    let running = run(log.clone());
    assert_comes_to(&reader, &expected(&[(FACTS, 0..100), (FACTS, 200..300)]));
    assert_at_rest(&running, TASKS, &reader);
    assert_nothing_stopped(&running);
    assert!(first - position >= 100);
    assert_eq!(told(&log, LOST), first - position);
    running.stop().unwrap();
    drop(log);

    let log = broker.log("one");
    let running = run(log.clone());
    assert_at_rest(&running, TASKS, &reader);
    assert_eq!(told(&log, LOST), 0, "it was told before");
    running.stop().unwrap();
}

/// The partitions of a topic that tasks say they cannot go on with.
fn stopped_at(running: &KafkaRunning, topic: Topic) -> BTreeSet<u32> {
    let failures = running.running().unwrap().failures();
    let is_of = |reason: &str, partition| reason.contains(&format!("{}/{partition}, which ends at 0", topic.name));
    (0..PARTITIONS).filter(|partition| failures.iter().any(|failure| is_of(&failure.reason, *partition))).collect()
}

#[test]
fn tasks_whose_topic_was_made_anew_stop_and_go_on_where_somebody_says() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    say(&*reader, FACTS, 0..100);
    say(&*reader, VETOES, 0..40);
    let running = run(broker.log("one"));
    assert_comes_to(&reader, &expected(&[(FACTS, 0..100), (VETOES, 0..40)]));
    assert_at_rest(&running, TASKS, &reader);
    let all: BTreeSet<u32> = (0..PARTITIONS).collect();

    // At work, and after a restart as well.
    make_anew(&broker, VETOES, PARTITIONS as i32);
    wait_until("the tasks stop", || stopped_at(&running, VETOES) == all);
    let stopped = running.stop().unwrap_err().to_string();
    assert!(stopped.starts_with(&format!("{PARTITIONS} of the tasks stopped")) && stopped.contains("vetoes/"), "{stopped}");
    let running = run(broker.log("one"));
    wait_until("the tasks stop again", || stopped_at(&running, VETOES) == all);
    drop(running);

    let options = broker.options("admin");
    let group = options.installation.clone() + "." + Amounts::NAME;
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &options.bootstrap).set("group.id", group).create().unwrap();
    // Not before the members are gone.
    wait_until("the group takes the word", || consumer.commit(&at(VETOES, |_| 0), CommitMode::Sync).is_ok());
    let running = run(broker.log("one"));
    wait_until("the tasks go on at the beginning", || running.tasks().len() == TASKS && positions(&running, VETOES) == 0);
    say(&*reader, VETOES, 40..80);
    assert_comes_to(&reader, &expected(&[(FACTS, 0..100), (VETOES, 0..80)]));
    assert_at_rest(&running, TASKS, &reader);
    assert_nothing_stopped(&running);
    running.stop().unwrap();
}
