//! What a process finds at its start on a real broker: topics that it cannot work with, bounds that the brokers do not allow, a folder that cannot
//! be read.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;
mod work;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::{Broker, PARTITIONS, PATIENCE, assert_at_rest, assert_comes_to};
use faultline_core::store::StoreError;
use faultline_stream::testing::damage;
use faultline_stream::{
    Difference, EmbeddedLog, HostError, KafkaError, KafkaHost, KafkaLog, KafkaOptions, Log, Options, PlannedTopic, TaskId, apply_topics,
    make_topics, planned_topics,
};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use toys::Sums;
use work::{STAGES, TASKS, assert_nothing_stopped, expected, run, say, small, start};

fn differences(error: HostError) -> BTreeMap<String, Vec<Difference>> {
    match error {
        HostError::Kafka(KafkaError::TopicsDiffer { differences }) => differences,
        error => panic!("{error:?}"),
    }
}

#[test]
fn what_a_process_cannot_work_with_is_named_and_it_does_not_begin() {
    let Some(broker) = start() else { return };
    let options = broker.options("one");
    let opened = |options: KafkaOptions| KafkaLog::open(broker.state("one"), &toys::plans(), options, 1);
    let planned = planned_topics(&options.names, &toys::plans(), &STAGES, PARTITIONS, 1, options.local.max_record_bytes);
    let deleting = |name: &str| {
        let mut topic: PlannedTopic = planned.iter().find(|topic| topic.name == name).unwrap().clone();
        topic.settings.insert("cleanup.policy", "delete".to_owned());
        topic
    };
    apply_topics(&options, &[deleting("sums"), deleting("factors"), deleting("sums.changelog")]).unwrap();
    let error = opened(options.clone()).map(drop).unwrap_err();
    assert!(error.to_string().contains("sums has cleanup.policy=delete, compact is planned"), "{error}");
    let setting = || Difference::Setting { name: "cleanup.policy", found: "delete".to_owned(), planned: "compact".to_owned() };
    assert_eq!(differences(error), ["sums", "factors"].map(|topic| (topic.to_owned(), vec![setting()])).into());

    let mended: Vec<PlannedTopic> = planned.iter().filter(|topic| topic.name != "sums.changelog").cloned().collect();
    apply_topics(&options, &mended).unwrap();
    let mut host = KafkaHost::new(opened(options.clone()).unwrap().into(), small());
    let error = host.add(Sums).map(drop).unwrap_err();
    assert_eq!(differences(error), [("sums.changelog".to_owned(), vec![setting()])].into());
    drop(host);

    let error = opened(KafkaOptions { transaction_timeout: Duration::from_mins(20), ..options }).map(drop).unwrap_err();
    assert!(matches!(error, HostError::Kafka(KafkaError::TransactionTimeout { .. })), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("1200s") && told.contains("900s (transaction.max.timeout.ms)"), "{told}");
}

fn set_aside(log: &KafkaLog) -> u64 {
    log.gauges().iter().find(|gauge| gauge.name == "faultline_state_set_aside").unwrap().value
}

#[test]
fn a_folder_that_cannot_be_read_is_set_aside_and_restored_from_the_topics() {
    let Some(broker) = start() else { return };
    let (reader, folder) = (broker.log("reader"), broker.state("one"));
    let works = |seed: u64, was_set_aside: u64, meanwhile: &dyn Fn(&KafkaLog)| {
        let log = broker.log("one");
        assert_eq!(set_aside(&log), was_set_aside);
        let running = run(log.clone());
        say(&*reader, seed);
        assert_comes_to(&reader, &expected(0..seed + 1));
        assert_at_rest(&running, TASKS, &reader);
        assert_nothing_stopped(&running);
        meanwhile(&log);
        running.stop().unwrap();
    };
    works(0, 0, &|_| ());
    damage(&folder).unwrap();
    works(1, 1, &|_| ());
    // Met by a task at work, it is for the next start.
    works(2, 0, &|log| {
        let damaged = broker.state("damaged");
        EmbeddedLog::open(&damaged, vec![], Options::default()).unwrap().close().unwrap();
        damage(&damaged).unwrap();
        let HostError::Open { source, .. } = EmbeddedLog::open(&damaged, vec![], Options::default()).map(drop).unwrap_err() else {
            panic!()
        };
        let task = TaskId { stage: "sums", partition: 0 };
        log.note_failure(&HostError::Stage { task, source: StoreError::read(source).into() });
    });
    works(3, 1, &|log| log.note_failure(&HostError::Stopped));
    works(4, 0, &|_| ());
    assert!(folder.with_extension("set-aside").join("CURRENT").exists());
}

/// Deletes all topics and groups of the installation, as whoever begins anew on the same cluster.
fn begin_anew(broker: &Broker) {
    let options = broker.options("admin");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &options.bootstrap).create().unwrap();
    let (asks, is_there) = (AdminOptions::new(), |name: &str| {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
        metadata.topics().iter().any(|topic| topic.name() == name)
    });
    let planned = planned_topics(&options.names, &toys::plans(), &STAGES, PARTITIONS, 1, options.local.max_record_bytes);
    let names: Vec<&str> = planned.iter().map(|topic| topic.name.as_str()).collect();
    for deleted in futures_executor::block_on(admin.delete_topics(&names, &asks)).unwrap() {
        deleted.unwrap();
    }
    let groups = STAGES.map(|stage| format!("{}.{stage}", options.installation));
    let groups = groups.each_ref().map(String::as_str);
    let until = Instant::now() + PATIENCE;
    // Not before their members are gone.
    while names.iter().any(|name| is_there(name))
        || futures_executor::block_on(admin.delete_groups(&groups, &asks))
            .unwrap()
            .iter()
            .any(|deleted| !matches!(deleted, Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))))
    {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    make_topics(&options, &toys::plans(), &STAGES, PARTITIONS, 1).unwrap();
}

#[test]
fn a_folder_of_topics_that_were_made_anew_is_set_aside_though_they_have_grown_beyond_it() {
    let Some(broker) = start() else { return };
    let works = |name: &str, seeds: std::ops::Range<u64>, all: std::ops::Range<u64>, was_set_aside: u64| {
        let (reader, log) = (broker.log("reader"), broker.log(name));
        assert_eq!(set_aside(&log), was_set_aside, "{name}, {seeds:?}");
        let running = run(log);
        seeds.for_each(|seed| say(&*reader, seed));
        assert_comes_to(&reader, &expected(all));
        assert_at_rest(&running, TASKS, &reader);
        assert_nothing_stopped(&running);
        running.stop().unwrap();
    };
    works("one", 0..2, 0..2, 0);
    works("one", 2..3, 0..3, 0);
    begin_anew(&broker);
    // More than before, by another process.
    std::fs::remove_dir_all(broker.state("reader")).unwrap();
    works("two", 10..17, 10..17, 0);
    works("one", 17..18, 10..18, 1);
    works("one", 18..19, 10..19, 0);
    works("two", 19..20, 10..20, 0);
}
