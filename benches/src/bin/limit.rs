//! The limit on one broker: what a client alone does, without stages, state and hosts. Records are read and two are written for each, as
//! many bytes as the job's (a risk and a row of the changelog), in transactions with the positions, on one thread.
//!
//! `limit BOOTSTRAP RECORDS`, over topic `findings` that is there already. Prints one JSON line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use faultline_benches::load::{partitions_of, send};
use faultline_benches::{processor_seconds, say};
use faultline_model::topic::{Kept, Topic};
use faultline_stream::{KafkaOptions, TopicPlan, make_topics};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const FINDINGS: Topic = Topic { name: "findings", kept: Kept::ByTime, is_global: false };
const RISKS: Topic = Topic { name: "limit-risks", kept: Kept::ByKey, is_global: false };
const ROWS: Topic = Topic { name: "limit-rows", kept: Kept::ByKey, is_global: false };
/// The job's means.
const OUT: [(Topic, usize); 2] = [(RISKS, 240), (ROWS, 150)];
/// As the host's.
const INTERVAL: Duration = Duration::from_millis(100);
const CALL: Duration = Duration::from_secs(30);

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, records] = &arguments[..] else {
        return Err("usage: limit BOOTSTRAP RECORDS".into());
    };
    let records: u64 = records.parse()?;
    let options = KafkaOptions::new(bootstrap, "limit", "limit");
    let partitions = partitions_of(bootstrap, FINDINGS.name)?;
    make_topics(&options, &OUT.map(|(topic, _)| TopicPlan::of(topic)), &[], partitions, 1)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "limit").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create()?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", "limit").set("compression.type", "lz4");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(CALL)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(FINDINGS.name, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let group = consumer.group_metadata().ok_or("a consumer with a group has its metadata")?;

    let (mut begun, mut passed) = (None, 0);
    while passed < records {
        let Some(first) = consumer.poll(CALL) else { return Err("nothing came".into()) };
        begun = begun.or_else(|| Some((Instant::now(), processor_seconds())));
        let (until, mut next, mut positions) = (Instant::now() + INTERVAL, Some(first), BTreeMap::new());
        producer.begin_transaction()?;
        while let Some(polled) = next {
            let message = polled?;
            for (topic, bytes) in OUT {
                let value = message.payload().unwrap_or_default();
                let value = &value[..value.len().min(bytes)];
                send(
                    &producer,
                    BaseRecord::to(topic.name).partition(message.partition()).key(message.key().unwrap_or_default()).payload(value),
                )?;
            }
            positions.insert(message.partition(), message.offset() + 1);
            passed += 1;
            let left = until.saturating_duration_since(Instant::now());
            next = if passed < records && !left.is_zero() { consumer.poll(left) } else { None };
        }
        // The client's own flush looks every 100 ms only.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_micros(500));
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(FINDINGS.name, partition, Offset::Offset(position))?;
        }
        producer.send_offsets_to_transaction(&list, &group, CALL)?;
        producer.commit_transaction(CALL)?;
    }
    let Some((begun, before)) = begun else { return Err("there was nothing to read".into()) };
    let used = processor_seconds().values().sum::<f64>() - before.values().sum::<f64>();
    let spent = begun.elapsed().as_secs_f64();
    say(
        "a bare pass-through, two records out for each",
        serde_json::json!({
            "records": records, "seconds": spent, "per_second": (records as f64 / spent).round(),
            "processor_seconds": used, "microseconds_a_record": used * 1e6 / records as f64,
        }),
    );
    Ok(())
}
