//! A change of the partition count that was broken off behind the moment from which it holds: nobody works until it is ended, nothing is lost.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, PARTITIONS, PATIENCE, assert_comes_to};
use faultline_core::stage::Stage;
use faultline_stream::testing::Rest;
use faultline_stream::{
    Clock, Difference, Generation, Host, HostError, HostOptions, KafkaError, KafkaHost, KafkaLog, KafkaOptions, Log, MemoryLog, MovedStage,
    Repartition, SystemClock, append, make_topics, repartition,
};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use toys::{Amounts, FACTS, Sums};

const STAGES: [MovedStage; 2] = [MovedStage::of::<Amounts>(), MovedStage::of::<Sums>()];
const MORE: u32 = 2 * PARTITIONS;

fn facts(from: usize) -> Vec<(String, Option<Vec<u8>>)> {
    (from..from + 40).map(|n| (format!("service{}-{n}", n % 5), Some(format!("{n} f {n} 9999999999999").into_bytes()))).collect()
}

fn say(log: &dyn Log, from: usize) -> Result<(), HostError> {
    append(log, FACTS, facts(from), SystemClock.now(), &[]).map(|_| ())
}

fn expected() -> Rest {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(toys::plans(), 1).unwrap());
    for from in [0, 40] {
        say(&*log, from).unwrap();
    }
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    host.run_until_quiet(&SystemClock, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

/// What the command had done when it was killed: topics of the next generation, and the word that it holds.
fn break_off(options: &KafkaOptions) {
    let (plans, next) = (toys::plans(), Generation { number: 2, partitions: Some(MORE) });
    let options = KafkaOptions { names: next.names(&plans), ..options.clone() };
    make_topics(&options, &plans, &[Amounts::NAME, Sums::NAME], MORE, 1).unwrap();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &options.bootstrap).create().unwrap();
    let value = format!(r#"{{"generation":2,"partitions":{MORE}}}"#);
    producer.send(BaseRecord::to("generations").key("2").payload(&value)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[test]
fn a_change_of_partitions_that_was_broken_off_is_ended_by_running_it_again() {
    let Some(broker) = Broker::start(toys::plans(), &[Amounts::NAME, Sums::NAME]) else { return };
    let (plans, options, before) = (toys::plans(), broker.options("tool"), broker.log("before"));
    say(&*before, 0).unwrap();
    break_off(&options);

    // Who is from before writes nothing more, once it has heard of it.
    let until = Instant::now() + PATIENCE;
    while before.is_of_now().is_ok() {
        assert!(Instant::now() < until, "it hears of nothing");
        std::thread::yield_now();
    }
    let refused = say(&*before, 1000).unwrap_err();
    assert!(matches!(refused, HostError::Kafka(KafkaError::Superseded { ours: 1, newest: 2 })), "{refused:?}");
    // Who comes now does not begin.
    let refused = KafkaLog::open(broker.state("new"), &plans, broker.options("new"), 1).map(|_| ()).unwrap_err();
    let HostError::Kafka(KafkaError::TopicsDiffer { differences }) = refused else { panic!("{refused:?}") };
    let fewer = vec![Difference::Partitions { found: PARTITIONS, planned: MORE }];
    assert_eq!(differences, ["dead-letters", "facts", "facts.bulk", "vetoes"].map(|topic| (topic.to_owned(), fewer.clone())).into());

    let folder = broker.state("tool");
    let again = Repartition { plans: &plans, stages: &STAGES, options: &options, folder: &folder, partitions: MORE, replicas: 1 };
    let mut done = repartition(again, &mut |_| ()).unwrap();
    done.grown.sort();
    assert_eq!(
        (done.generation, done.moved, done.grown),
        (2, None, ["dead-letters", "facts", "facts.bulk", "vetoes"].map(str::to_owned).to_vec())
    );
    assert!(repartition(again, &mut |_| ()).unwrap().grown.is_empty());

    // What was said before lies where fewer partitions put it, and is moved.
    let reader = broker.log("reader");
    assert_eq!((reader.generation(), reader.partitions("amounts").unwrap()), (2, MORE));
    say(&*reader, 40).unwrap();
    let mut host = KafkaHost::new(broker.log("one"), HostOptions::default());
    host.add(Amounts).unwrap().add(Sums).unwrap();
    let running = host.start(Arc::new(SystemClock)).unwrap();
    assert_comes_to(&reader, &expected());
    let failures = running.running().unwrap().failures();
    assert!(failures.is_empty(), "{failures:?}");
    running.stop().unwrap();
}
