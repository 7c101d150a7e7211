//! track and correlate on a real Apache Kafka end with the same records, byte by byte, as embedded, though processes are killed.
#![allow(clippy::unwrap_used)]

#[path = "../../faultline-stream/tests/broker/mod.rs"]
mod broker;

use std::sync::Arc;

use broker::{Broker, PARTITIONS, assert_at_rest, assert_comes_to, work_if_child};
use faultline_core::correlate::Correlate;
use faultline_core::stage::Stage;
use faultline_core::track::Track;
use faultline_model::avro::{self, TopicValue};
use faultline_model::testing::scale::{Order, Scale};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, FINDINGS_BULK, INTEL, RISKS, Topic};
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{
    Clock, EmbeddedLog, Guarantee, Host, HostOptions, KafkaHost, KafkaLog, KafkaRunning, Log, Options, SystemClock, append, topic_plans,
};

/// Stops the clock of all processes of a test at one moment.
const NOW: &str = "FAULTLINE_TEST_NOW";
const FINDINGS_IN_ALL: u64 = 3_000;
const PIECE: usize = 500;

type Said = (Topic, Vec<(String, Option<Vec<u8>>)>);

fn said<T: TopicValue>(topic: Topic, records: impl Iterator<Item = (String, T)>) -> Said {
    (topic, records.map(|(key, record)| (key, Some(avro::encode(record).unwrap()))).collect())
}

/// An organisation, its scans, the same scans in another order by the bulk lane, and a KEV entry.
fn history(scale: &Scale) -> Vec<Said> {
    let mut history = vec![said(CATALOG, scale.catalog()), said(INTEL, scale.intel())];
    for scan in scale.scans() {
        let asset = scan.asset().to_string();
        history.push(said(FINDINGS, scan.records(Order::Stable).map(|record| (asset.clone(), record))));
    }
    for scan in scale.rescans(1) {
        let asset = scan.asset().to_string();
        history.push(said(FINDINGS_BULK, scan.records(Order::Shuffled).map(|record| (asset.clone(), record))));
    }
    history.push(said(INTEL, scale.kev(10).into_iter()));
    history
}

fn say(log: &dyn Log, (topic, records): &Said, now: Timestamp) {
    for piece in records.chunks(PIECE) {
        append(log, *topic, piece.to_vec(), now, &[]).unwrap();
    }
}

fn run(log: Arc<KafkaLog>) -> KafkaRunning {
    let now = Timestamp::from_millis(std::env::var(NOW).unwrap().parse().unwrap());
    run_at(log, now)
}

fn run_at(log: Arc<KafkaLog>, now: Timestamp) -> KafkaRunning {
    let mut host = KafkaHost::new(log, HostOptions { batch_records: 200, page_records: 100, ..HostOptions::default() });
    host.add(Track::default()).unwrap().add(Correlate::new()).unwrap();
    host.start(Arc::new(now)).unwrap()
}

fn embedded(history: &[Said], now: Timestamp) -> Rest {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), topic_plans(), Options::default()).unwrap());
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Track::default()).unwrap().add(Correlate::new()).unwrap();
    for said in history {
        say(&*log, said, now);
    }
    host.run_until_quiet(&now, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

#[test]
fn killed_processes_come_to_what_an_embedded_run_comes_to() {
    killed_processes_come_to_it("killed_processes_come_to_what_an_embedded_run_comes_to", Guarantee::ExactlyOnce);
}

#[test]
fn so_they_do_without_transactions() {
    killed_processes_come_to_it("so_they_do_without_transactions", Guarantee::AtLeastOnce);
}

fn killed_processes_come_to_it(test: &str, guarantee: Guarantee) {
    work_if_child(&topic_plans(), run);
    let Some(broker) = Broker::start_for(guarantee, true, topic_plans(), &[Track::NAME, Correlate::NAME]) else { return };
    // Brokers drop what is old by its own time, so it is a real one; but one for all, as scores follow the time.
    let now = SystemClock.now();
    let scale = Scale::new(5, FINDINGS_IN_ALL);
    let history = history(&scale);
    let expected = embedded(&history, now);
    assert_eq!(expected.topics[RISKS.name].len() as u64, scale.expected_risks());

    let reader = broker.log("reader");
    let names = ["a", "b"];
    let worker = |name: &str| broker.worker_with(test, name, &[(NOW, &now.millis().to_string())]);
    let mut workers = names.map(worker);
    let mut random = Random::new(1);
    for (at, said) in history.iter().enumerate() {
        say(&*reader, said, now);
        if at % (history.len() / 4) == history.len() / 5 {
            let killed = (random.number() % 2) as usize;
            workers[killed].kill();
            workers[killed] = worker(names[killed]);
        }
    }
    assert_comes_to(&reader, &expected);
    drop(workers);
    // One that begins with nothing gets the state of all from the changelogs, and has nothing to add.
    let ends = |topic: Topic| (0..PARTITIONS).map(|partition| reader.end_offset(topic.name, partition).unwrap()).collect::<Vec<_>>();
    let last = run_at(broker.log("last"), now);
    assert_at_rest(&last, 2 * PARTITIONS as usize, &reader);
    assert_comes_to(&reader, &expected);
    let before = ends(RISKS);
    last.stop().unwrap();
    let again = run_at(broker.log("last"), now);
    assert_at_rest(&again, 2 * PARTITIONS as usize, &reader);
    again.stop().unwrap();
    assert_eq!(ends(RISKS), before);
}
