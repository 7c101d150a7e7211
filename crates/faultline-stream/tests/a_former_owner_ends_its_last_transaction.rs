//! What a task's former owner does at the last moment, forced on a real Apache Kafka.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod broker;
mod toys;
mod work;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::{Broker, LOOK, PARTITIONS, PATIENCE, assert_at_rest, assert_comes_to, times};
use faultline_core::stage::Stage;
use faultline_stream::{HOST_ROWS, KafkaLog, KafkaRunning, Log, TaskId, TaskState};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use toys::{Amounts, FACTS, FACTS_BULK, VETOES};
use work::{TASKS, append_at_last, assert_each_key_has_one_home, assert_nothing_stopped, expected_of, run, say, start};

/// It is in no record but those of its vetoes, and the facts at the end.
const ASSET: &str = "nobody-1";

/// What becomes of the last transaction of a task's former owner while the new one opens the task.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// It is committed, and its mark stands where positions are; it comes to the changelog after the new owner has asked for its end.
    MarkIsLate,
    /// It is open with its positions when the new owner asks for them.
    Commits,
    Aborts,
    /// It has rows when the new owner has positions already, and is to have its own then.
    Refused,
}

/// The former owner's rows and positions are both there or neither, and the new owner works with neither before it is known.
#[test]
fn a_former_owners_last_transaction_ends_while_the_new_owner_opens_the_task() {
    let Some(broker) = start() else { return };
    let reader = broker.log("reader");
    let veto = |log: &dyn Log, id: usize| append_at_last(log, VETOES, &[(ASSET.to_owned(), Some(id.to_string().into_bytes()))])[0];
    say(&*reader, 0);
    let running = run(broker.log("new"));
    assert_at_rest(&running, TASKS, &reader);
    running.stop().unwrap();

    let rounds = times("FAULTLINE_KAFKA_ENDINGS", 1);
    let endings = [Ending::MarkIsLate, Ending::Commits, Ending::Aborts, Ending::Refused].into_iter().cycle().take(4 * rounds);
    let count = endings.clone().count();
    for (id, ending) in endings.enumerate() {
        let (partition, offset) = veto(&*reader, id);
        let zombie = Zombie::at(&broker, &reader, partition);
        let (rows, positions) = (zombie.transaction(0), zombie.transaction(1));
        zombie.write(&rows, id, offset + 1);
        match ending {
            // To who reads it is one transaction whose marks come one by one; Kafka has no way to hold one back.
            Ending::MarkIsLate => {
                zombie.send_positions(&positions, offset + 1).unwrap();
                positions.commit_transaction(PATIENCE).unwrap();
            }
            Ending::Commits | Ending::Aborts => zombie.send_positions(&rows, offset + 1).unwrap(),
            Ending::Refused => {}
        }
        zombie.leave();
        let running = run(broker.log("new"));
        let written = zombie.written();
        wait_for(&running, &reader, |running| match ending {
            // It has asked for the end of what is written, and cannot read so far.
            Ending::MarkIsLate | Ending::Refused => {
                state_of(running, zombie.task()) == Some(TaskState::Restoring { restored: 0, of: written })
            }
            // It waits for positions.
            Ending::Commits | Ending::Aborts => running.tasks().len() == TASKS - 1,
        });
        assert!(!running.tasks().contains(&zombie.task()), "{ending:?}");
        match ending {
            Ending::MarkIsLate | Ending::Commits => rows.commit_transaction(PATIENCE).unwrap(),
            Ending::Aborts => rows.abort_transaction(PATIENCE).unwrap(),
            Ending::Refused => {
                let refused = zombie.send_positions(&rows, offset + 1);
                assert!(refused.is_err(), "a former owner moved positions");
                rows.abort_transaction(PATIENCE).unwrap();
            }
        }
        assert_at_rest(&running, TASKS, &reader);
        assert_nothing_stopped(&running);
        running.stop().unwrap();
        assert_eq!(reader.positions_of_group(Amounts::NAME, VETOES.name).unwrap()[partition as usize], offset + 1, "{ending:?}");
    }

    // Each veto counts, whoever's row it is.
    let facts = |log: &dyn Log| {
        let fact = |id| (ASSET.to_owned(), Some(format!("{id} f0 1 9999999999999").into_bytes()));
        append_at_last(log, FACTS, &(0..=count).map(fact).collect::<Vec<_>>());
    };
    facts(&*reader);
    let running = run(broker.log("new"));
    let expected = expected_of(|log| {
        say(log, 0);
        for id in 0..count {
            veto(log, id);
        }
        facts(log);
    });
    assert_comes_to(&reader, &expected);
    assert_nothing_stopped(&running);
    running.stop().unwrap();
    assert_each_key_has_one_home(&reader);
}

fn state_of(running: &KafkaRunning, task: TaskId) -> Option<TaskState> {
    running.running().unwrap().status().into_iter().find(|status| status.task == task).map(|status| status.state)
}

/// Waits for something of a host none of whose tasks stops.
fn wait_for(running: &KafkaRunning, log: &KafkaLog, is_so: impl Fn(&KafkaRunning) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so(running) {
        assert_nothing_stopped(running);
        assert!(Instant::now() < until, "{:?}", running.running().unwrap().status());
        log.wait_for_change(u64::MAX, LOOK);
    }
}

/// The owner of all tasks of a stage, by hand: its transactions are as a host's.
struct Zombie {
    config: ClientConfig,
    member: BaseConsumer,
    partition: u32,
    /// Where the task is in each of its inputs.
    at: BTreeMap<&'static str, u64>,
}

impl Zombie {
    fn at(broker: &Broker, reader: &KafkaLog, partition: u32) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.options("zombie").bootstrap);
        let mut member = config.clone();
        member.set("group.id", format!("test.{}", Amounts::NAME)).set("partition.assignment.strategy", "cooperative-sticky");
        member.set("session.timeout.ms", "3000").set("enable.auto.commit", "false");
        let member: BaseConsumer = member.create().unwrap();
        member.subscribe(&[FACTS.name]).unwrap();
        let until = Instant::now() + PATIENCE;
        while member.assignment().unwrap().count() < PARTITIONS as usize {
            assert!(Instant::now() < until);
            drop(member.poll(Duration::from_millis(100)));
        }
        let inputs = [FACTS, FACTS_BULK, VETOES].map(|topic| topic.name);
        let at = inputs.map(|topic| (topic, reader.positions_of_group(Amounts::NAME, topic).unwrap()[partition as usize]));
        Self { config, member, partition, at: at.into() }
    }

    fn task(&self) -> TaskId {
        TaskId { stage: Amounts::NAME, partition: self.partition }
    }

    /// One that has begun.
    fn transaction(&self, number: usize) -> BaseProducer {
        let producer: BaseProducer = self.config.clone().set("transactional.id", format!("test.zombie.{number}")).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        producer
    }

    /// The rows of a veto that was read: the task's new positions, and that it holds.
    fn write(&self, producer: &BaseProducer, id: usize, position: u64) {
        let mut positions = Vec::new();
        for (topic, at) in &self.at {
            let at = if *topic == VETOES.name { position } else { *at };
            positions.extend((topic.len() as u16).to_be_bytes());
            positions.extend([topic.as_bytes(), &self.partition.to_be_bytes(), &at.to_be_bytes()].concat());
        }
        let veto = [&[2], format!("{ASSET}\u{1f}{id}").as_bytes()].concat();
        for (key, value) in [(vec![HOST_ROWS, b'p'], positions), (veto, Vec::new())] {
            let changelog = format!("{}.changelog", Amounts::NAME);
            let record = BaseRecord::to(&changelog).partition(self.partition as i32).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    fn send_positions(&self, producer: &BaseProducer, position: u64) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(VETOES.name, self.partition as i32, Offset::Offset(position as i64)).unwrap();
        producer.send_offsets_to_transaction(&list, &self.member.group_metadata().unwrap(), PATIENCE)
    }

    /// The end of what is written to the task's changelog, committed or not.
    fn written(&self) -> u64 {
        let reader: BaseConsumer = self.config.clone().set("isolation.level", "read_uncommitted").create().unwrap();
        reader.fetch_watermarks(&format!("{}.changelog", Amounts::NAME), self.partition as i32, PATIENCE).unwrap().1.unsigned_abs()
    }

    /// The group gives its tasks to others. Who it was to the group it still says.
    fn leave(&self) {
        self.member.unsubscribe();
        while self.member.assignment().unwrap().count() > 0 {
            drop(self.member.poll(Duration::from_millis(100)));
        }
    }
}
