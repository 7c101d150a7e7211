//! What a process finds at its start on a real broker: topics that it cannot work with, bounds that the brokers do not allow, a folder that cannot
//! be read.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{PARTITIONS, assert_at_rest, assert_comes_to};
use faultline_core::store::StoreError;
use faultline_stream::{
    Difference, EmbeddedLog, HostError, KafkaError, KafkaHost, KafkaLog, KafkaOptions, Log, Options, PlannedTopic, TaskId, apply_topics,
    planned_topics,
};
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

/// Makes it so that RocksDB does not know what is in its own folder.
fn damage(folder: &std::path::Path) {
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST") {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x55);
            std::fs::write(&file, bytes).unwrap();
        }
    }
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
    damage(&folder);
    works(1, 1, &|_| ());
    // Met by a task at work, it is for the next start.
    works(2, 0, &|log| {
        let damaged = broker.state("damaged");
        EmbeddedLog::open(&damaged, vec![], Options::default()).unwrap().close().unwrap();
        damage(&damaged);
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
