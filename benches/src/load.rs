//! Puts records into topics of a cluster, as fast as a plain producer can, and reads them: the benchmarks' publishers and readers.

use std::time::{Duration, Instant};

use faultline_model::topic::Topic;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const FULL: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_millis(50);
const CALL: Duration = Duration::from_mins(2);

pub struct Loader {
    producer: BaseProducer,
    partitions: u32,
}

impl Loader {
    pub fn new(bootstrap: &str, partitions: u32) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("compression.type", "lz4").set("enable.idempotence", "true");
        Ok(Self { producer: config.create()?, partitions })
    }

    pub fn put(&self, topic: Topic, key: &str, value: &[u8], timestamp_ms: i64) -> Result<(), KafkaError> {
        let partition = if topic.is_global { 0 } else { topic.partition_of(key, self.partitions) };
        send(&self.producer, BaseRecord::to(topic.name).partition(partition as i32).key(key).payload(value).timestamp(timestamp_ms))
    }

    /// Waits until all is written.
    pub fn flush(&self) -> Result<(), KafkaError> {
        self.producer.flush(CALL)
    }
}

/// Waits where the producer's queue is full.
pub fn send<K: ToBytes + ?Sized>(producer: &BaseProducer, mut record: BaseRecord<'_, K, [u8]>) -> Result<(), KafkaError> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(FULL);
                record = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Removes topics that an earlier measurement on the same broker may have left, and waits until they are gone.
pub fn remove_topics(bootstrap: &str, topics: &[&str]) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    for answer in futures_executor::block_on(admin.delete_topics(topics, &AdminOptions::new()))? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    let begun = Instant::now();
    while admin.inner().fetch_metadata(None, CALL)?.topics().iter().any(|topic| topics.contains(&topic.name())) {
        if begun.elapsed() > CALL {
            return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Reads what is committed of a topic, from now on.
pub fn committed_from_now(bootstrap: &str, topic: Topic, partitions: u32) -> Result<BaseConsumer, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bench.reader").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10");
    let reader: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        // Asked for now: "the end" would be where it is once the reader gets there.
        let (_, end) = reader.fetch_watermarks(topic.name, partition, CALL)?;
        list.add_partition_offset(topic.name, partition, Offset::Offset(end))?;
    }
    reader.assign(&list)?;
    Ok(reader)
}

/// How many partitions a topic of a cluster has.
pub fn partitions_of(bootstrap: &str, topic: &str) -> Result<u32, KafkaError> {
    let asking: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", "bench.asking").create()?;
    let metadata = asking.fetch_metadata(Some(topic), CALL)?;
    Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len() as u32))
}
