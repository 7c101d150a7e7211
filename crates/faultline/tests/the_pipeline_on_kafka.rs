//! track, correlate and act on a real Apache Kafka end with the same records, byte by byte, as embedded, whatever happens to processes and brokers.
#![allow(clippy::unwrap_used)]

#[path = "../../faultline-stream/tests/broker/mod.rs"]
mod broker;
mod granted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use broker::{Broker, PARTITIONS, PATIENCE, Worker, assert_at_rest, assert_comes_to, lasting, times, work_if_child};
use faultline_core::act::Act;
use faultline_core::correlate::Correlate;
use faultline_core::stage::Stage;
use faultline_core::track::Track;
use faultline_model::avro::{self, TopicValue};
use faultline_model::register::RegisterEntry;
use faultline_model::testing::scale::{Order, Scale};
use faultline_model::time::Timestamp;
use faultline_model::topic::{CATALOG, FINDINGS, FINDINGS_BULK, INTEL, RISK_REGISTRY, RISKS, STEPS, Topic};
use faultline_stream::testing::{Random, Rest};
use faultline_stream::{
    Clock, EmbeddedLog, Guarantee, Host, HostOptions, KafkaHost, KafkaLog, KafkaRunning, Log, Options, SystemClock, append, topic_plans,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Stops the clock of all processes of a test at one moment.
const NOW: &str = "FAULTLINE_TEST_NOW";
const STAGES: [&str; 3] = [Track::NAME, Correlate::NAME, Act::NAME];
const FINDINGS_IN_ALL: u64 = 3_000;
const PIECE: usize = 500;

type Said = (Topic, Vec<(String, Option<Vec<u8>>)>);

fn said<T: TopicValue>(topic: Topic, records: impl Iterator<Item = (String, T)>) -> Said {
    (topic, records.map(|(key, record)| (key, Some(avro::encode(record).unwrap()))).collect())
}

/// An organisation, an exception that is granted for some of it, its scans, for so many days the same scans in another order by the bulk lane, and
/// a KEV entry.
fn history(scale: &Scale, days: u32, now: Timestamp) -> Vec<Said> {
    let mut history = vec![said(CATALOG, scale.catalog()), said(INTEL, scale.intel())];
    history.push(said(STEPS, granted::steps(1, granted::packages(), now, now.plus_days(20), 4).into_iter()));
    for scan in scale.scans() {
        let asset = scan.asset().to_string();
        history.push(said(FINDINGS, scan.records(Order::Stable).map(|record| (asset.clone(), record))));
    }
    for scan in (1..=days).flat_map(|day| scale.rescans(day)) {
        let asset = scan.asset().to_string();
        history.push(said(FINDINGS_BULK, scan.records(Order::Shuffled).map(|record| (asset.clone(), record))));
    }
    history.push(said(INTEL, scale.kev(10).into_iter()));
    history
}

/// A door says no while no broker answers: who asked asks again, and what is there twice changes nothing.
fn say(log: &dyn Log, (topic, records): &Said, now: Timestamp) {
    let until = Instant::now() + PATIENCE;
    for piece in records.chunks(PIECE) {
        while let Err(error) = append(log, *topic, piece.to_vec(), now, &[]) {
            assert!(Instant::now() < until, "{error:?}");
        }
    }
}

fn run(log: Arc<KafkaLog>) -> KafkaRunning {
    let now = Timestamp::from_millis(std::env::var(NOW).unwrap().parse().unwrap());
    run_at(log, now)
}

fn run_at(log: Arc<KafkaLog>, now: Timestamp) -> KafkaRunning {
    let mut host = KafkaHost::new(log, HostOptions { batch_records: 200, page_records: 100, ..HostOptions::default() });
    host.add(Track::default()).unwrap().add(Correlate::new()).unwrap().add(Act::default()).unwrap();
    host.start(Arc::new(now)).unwrap()
}

fn embedded(history: &[Said], now: Timestamp) -> Rest {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), topic_plans(), Options::default()).unwrap());
    let mut host = Host::new(log.clone(), HostOptions::default());
    host.add(Track::default()).unwrap().add(Correlate::new()).unwrap().add(Act::default()).unwrap();
    for said in history {
        say(&*log, said, now);
    }
    host.run_until_quiet(&now, &mut |_| ()).unwrap();
    Rest::of(&*log).unwrap()
}

/// Two processes that work on a history together, and what it comes to.
struct Play<'b> {
    test: &'static str,
    broker: &'b Broker,
    reader: Arc<KafkaLog>,
    now: Timestamp,
    history: Vec<Said>,
    expected: Rest,
    workers: BTreeMap<&'static str, Worker>,
    random: Random,
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl<'b> Play<'b> {
    fn new(test: &'static str, broker: &'b Broker, days: u32) -> Self {
        // Brokers drop what is old by its own time, so it is a real one; but one for all, as scores follow the time.
        let now = SystemClock.now();
        let scale = Scale::new(5, FINDINGS_IN_ALL);
        let history = history(&scale, days, now);
        let expected = embedded(&history, now);
        assert_eq!(expected.topics[RISKS.name].len() as u64, scale.expected_risks());
        let entry: RegisterEntry = avro::decode(&expected.topics[RISK_REGISTRY.name][&granted::exception(1).to_string()]).unwrap();
        assert!(entry.risks > 0, "{entry:?}");
        let (reader, random) = (broker.log("reader"), Random::new(1));
        let mut play = Self { test, broker, reader, now, history, expected, workers: BTreeMap::new(), random };
        play.has_workers(2);
        play
    }

    fn begin(&mut self, name: &'static str) {
        let worker = self.broker.worker_with(self.test, name, &[(NOW, &self.now.millis().to_string())]);
        self.workers.insert(name, worker);
    }

    /// So many of them, the first by name. Those that go do so with a word or without one, in turn.
    fn has_workers(&mut self, wanted: usize) {
        for (at, name) in NAMES.into_iter().enumerate() {
            match self.workers.remove(name) {
                Some(worker) if at < wanted => drop(self.workers.insert(name, worker)),
                Some(worker) if at % 2 == 0 => worker.stop(),
                Some(worker) => drop(worker),
                None if at < wanted => self.begin(name),
                None => {}
            }
        }
    }

    /// How far both lanes were worked on, by place.
    fn worked_on(&self) -> Vec<u64> {
        let until = Instant::now() + PATIENCE;
        let of = |topic: Topic| loop {
            // Not told while a transaction is open that would change it.
            match self.reader.positions_of_group(Track::NAME, topic.name) {
                Ok(positions) => return positions,
                Err(error) => assert!(Instant::now() < until, "{error:?}"),
            }
        };
        [of(FINDINGS), of(FINDINGS_BULK)].concat()
    }

    /// Waits until all that was said is worked on, whoever's it was.
    fn all_is_worked_on(&self) {
        let until = Instant::now() + PATIENCE;
        let places = [FINDINGS, FINDINGS_BULK].into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)));
        let places: Vec<_> = places.collect();
        let is_read =
            |((topic, partition), position): (&(Topic, u32), u64)| self.reader.waiting(topic.name, *partition, position).unwrap() == 0;
        while !places.iter().zip(self.worked_on()).all(is_read) {
            assert!(Instant::now() < until);
        }
    }

    /// Says all of it, and lets something happen so many times on the way, each time while some of what was said last is worked on.
    fn says(&mut self, times: usize, mut happens: impl FnMut(&mut Self)) {
        let history = std::mem::take(&mut self.history);
        let every = history.len() / (times + 1);
        assert!(every > 0, "{} pieces are too few for {times} times", history.len());
        for (at, said) in history.iter().enumerate() {
            let before = self.worked_on();
            say(&*self.reader, said, self.now);
            if at % every == every - 1 && at / every < times {
                let until = Instant::now() + PATIENCE;
                while [FINDINGS, FINDINGS_BULK].contains(&said.0) && self.worked_on() == before {
                    assert!(Instant::now() < until);
                }
                happens(self);
            }
        }
    }

    /// Waits for the rest. Then one that begins with nothing gets the state of all from the changelogs, and has nothing to add.
    fn comes_to_it(mut self) {
        assert_comes_to(&self.reader, &self.expected);
        self.workers.clear();
        let ends =
            |topic: Topic| (0..PARTITIONS).map(|partition| self.reader.end_offset(topic.name, partition).unwrap()).collect::<Vec<_>>();
        let last = run_at(self.broker.log("last"), self.now);
        assert_at_rest(&last, STAGES.len() * PARTITIONS as usize, &self.reader);
        assert_comes_to(&self.reader, &self.expected);
        let before = ends(RISKS);
        last.stop().unwrap();
        let again = run_at(self.broker.log("last"), self.now);
        assert_at_rest(&again, STAGES.len() * PARTITIONS as usize, &self.reader);
        again.stop().unwrap();
        assert_eq!(ends(RISKS), before);
    }
}

fn broker_of(nodes: u16) -> Option<Broker> {
    Broker::start_of(nodes, topic_plans(), &STAGES)
}

#[test]
fn killed_processes_come_to_what_an_embedded_run_comes_to() {
    killed_processes_come_to_it("killed_processes_come_to_what_an_embedded_run_comes_to", Guarantee::ExactlyOnce);
}

#[test]
fn so_they_do_without_transactions() {
    killed_processes_come_to_it("so_they_do_without_transactions", Guarantee::AtLeastOnce);
}

/// Every fourth loses its disk as well.
fn killed_processes_come_to_it(test: &'static str, guarantee: Guarantee) {
    work_if_child(&topic_plans(), run);
    let Some(broker) = Broker::start_for(guarantee, true, topic_plans(), &STAGES) else { return };
    let (kills, mut killed) = (times("FAULTLINE_KAFKA_KILLS", 4), 0);
    let mut play = Play::new(test, &broker, 1 + kills as u32 / 4);
    play.says(kills, |play| {
        let name = NAMES[(play.random.number() % 2) as usize];
        play.workers.remove(name);
        killed += 1;
        if killed % 4 == 3 {
            // It may have been killed before it had one.
            std::fs::remove_dir_all(broker.state(name))
                .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
                .unwrap();
        }
        play.begin(name);
    });
    play.comes_to_it();
}

#[test]
fn one_that_slept_past_its_time_is_fenced_and_it_comes_to_the_same() {
    work_if_child(&topic_plans(), run);
    let Some(broker) = broker_of(1) else { return };
    let mut play = Play::new("one_that_slept_past_its_time_is_fenced_and_it_comes_to_the_same", &broker, 1);
    let mut awake = true;
    play.says(2, |play| {
        // It is woken when the other one has worked on what was its, for which its session and its transaction must have ended.
        if !awake {
            play.all_is_worked_on();
        }
        play.workers["a"].signal(if awake { "STOP" } else { "CONT" });
        awake = !awake;
    });
    play.comes_to_it();
}

#[test]
fn a_broker_that_stands_still_changes_nothing_of_it() {
    work_if_child(&topic_plans(), run);
    let still_for = lasting("FAULTLINE_KAFKA_STOPPED_SECONDS", 8);
    let Some(broker) = Broker::start_silent_for(still_for + PATIENCE, topic_plans(), &STAGES) else { return };
    let mut play = Play::new("a_broker_that_stands_still_changes_nothing_of_it", &broker, 1);
    play.says(1, |play| {
        broker.signal_node(1, "STOP");
        let until = Instant::now() + still_for;
        while Instant::now() < until {
            // A question that waits for its answer.
            let answer = play.reader.waiting(RISKS.name, 0, 0);
            assert!(answer.is_err() || Instant::now() >= until, "{answer:?}");
        }
        broker.signal_node(1, "CONT");
    });
    play.comes_to_it();
}

#[test]
fn rebalances_one_after_the_other_change_nothing_of_it() {
    work_if_child(&topic_plans(), run);
    let Some(broker) = broker_of(1) else { return };
    // As many as there are in so many seconds where one comes every four.
    let many = lasting("FAULTLINE_KAFKA_REBALANCE_SECONDS", 16).as_secs() as usize / 4;
    let mut play = Play::new("rebalances_one_after_the_other_change_nothing_of_it", &broker, 1 + many as u32 / 4);
    let mut wanted = [4, 1, 3, 2].into_iter().cycle();
    play.says(many, |play| play.has_workers(wanted.next().unwrap()));
    play.comes_to_it();
}

#[test]
fn a_broker_of_three_that_is_killed_changes_nothing_of_it() {
    work_if_child(&topic_plans(), run);
    let Some(broker) = broker_of(3) else { return };
    let kills = times("FAULTLINE_KAFKA_BROKER_KILLS", 2);
    let mut play = Play::new("a_broker_of_three_that_is_killed_changes_nothing_of_it", &broker, 1 + kills as u32 / 4);
    let mut killed = 0;
    // One is killed, and back before the next one.
    play.says(2 * kills, |_| {
        if killed % 2 == 0 {
            broker.kill_node(1 + killed / 2 % 3);
        } else {
            broker.begin();
            broker.assert_in_sync();
        }
        killed += 1;
    });
    play.comes_to_it();
}

/// As a client of librdkafka puts them that is not told which hash is Kafka's.
#[test]
fn records_where_another_hash_puts_them_change_nothing_of_it() {
    work_if_child(&topic_plans(), run);
    let Some(broker) = broker_of(1) else { return };
    let mut play = Play::new("records_where_another_hash_puts_them_change_nothing_of_it", &broker, 1);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).set("partitioner", "consistent").create().unwrap();
    let mut sent = 0;
    for (topic, records) in std::mem::take(&mut play.history) {
        if ![FINDINGS, FINDINGS_BULK].contains(&topic) {
            say(&*play.reader, &(topic, records), play.now);
            continue;
        }
        for (key, value) in &records {
            let record = BaseRecord::to(topic.name).key(key).payload(value.as_ref().unwrap()).timestamp(play.now.millis());
            producer.send(record).map_err(|(error, _)| error).unwrap();
            sent += 1;
        }
        producer.flush(PATIENCE).unwrap();
    }
    let reader = play.reader.clone();
    play.comes_to_it();
    let there = |topic: Topic| (0..PARTITIONS).map(|partition| reader.end_offset(topic.name, partition).unwrap()).sum::<u64>();
    // Those that were moved are there twice.
    assert!(there(FINDINGS) + there(FINDINGS_BULK) > sent + sent / 4, "of {sent} records hardly any were misplaced");
}
