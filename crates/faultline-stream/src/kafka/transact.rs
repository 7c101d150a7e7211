//! One transaction at a time on one producer: what it writes and the positions it stands for are there together, or not at all.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaError;
use super::context::{Context, SERVE, hears};
use super::generation::Names;
use super::options::{Guarantee, KafkaOptions};
use super::unfenced::{Commits, Joined};
use crate::error::HostError;
use crate::log::{Positions, Record};
use crate::sync::held;

/// How long one call waits before its answer is asked for again.
const CALL: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_micros(500);
const QUEUE_IS_FULL: Duration = Duration::from_millis(10);

/// A record to be written.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'r> {
    pub(crate) topic: &'r str,
    pub(crate) partition: u32,
    pub(crate) key: &'r [u8],
    pub(crate) value: Option<&'r [u8]>,
    pub(crate) headers: &'r [(String, Vec<u8>)],
    pub(crate) timestamp_ms: Option<i64>,
}

pub(crate) fn sent(record: &Record) -> Sent<'_> {
    Sent {
        topic: record.topic,
        partition: record.partition,
        key: &record.key,
        value: record.value.as_deref(),
        headers: &record.headers,
        timestamp_ms: Some(record.timestamp_ms),
    }
}

/// A row of state, as a record of its changelog.
pub(crate) fn row_of<'r>(changelog: &'r str, partition: u32, (key, value): (&'r Vec<u8>, &'r Option<Vec<u8>>)) -> Sent<'r> {
    Sent { topic: changelog, partition, key, value: value.as_deref(), headers: &[], timestamp_ms: None }
}

/// Positions that a transaction commits, as a member of a group. There is one at least: without any the group's generation would not be
/// looked at, and a former owner not be fenced.
pub(crate) struct Reached<'r, G = Joined> {
    pub(crate) positions: &'r Positions,
    pub(crate) group: &'r G,
}

pub(crate) struct Transactor {
    producer: BaseProducer<Deliveries>,
    timeout: Duration,
    names: Names,
    guarantee: Guarantee,
}

/// Where each record of the transaction came to stand.
#[derive(Default)]
struct Deliveries {
    context: Context,
    offsets: Mutex<Vec<Option<u64>>>,
}

hears!(Deliveries);

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivered: &DeliveryResult<'_>, number: usize) {
        // A record that the broker had already has no offset here; whoever misses it goes the long way.
        if let Ok(message) = delivered
            && let Ok(known) = u64::try_from(message.offset())
            && let Some(offset) = held(&self.offsets).get_mut(number)
        {
            *offset = Some(known);
        }
    }
}

impl Transactor {
    /// Ends what an earlier producer of this name left open.
    pub(crate) fn new(options: &KafkaOptions, number: usize) -> Result<Self, HostError> {
        let config = options.producer(number);
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries { context: options.context(), ..Deliveries::default() }).map_err(KafkaError::client)?;
        let until = Instant::now() + options.transaction_timeout * 2;
        let guarantee = options.guarantee;
        if guarantee == Guarantee::ExactlyOnce {
            again(until, || {
                // The first token is asked for here.
                producer.poll(SERVE);
                producer.init_transactions(CALL)
            })?;
        }
        Ok(Self { producer, timeout: options.transaction_timeout, names: options.names.clone(), guarantee })
    }

    /// Gives each record's offset. After an error this transactor is to be dropped: what became of the transaction is what a new
    /// one of its name finds, and then it has an end.
    pub(crate) fn commit(&self, records: &[Sent<'_>], reached: Option<&Reached<'_>>) -> Result<Vec<u64>, HostError> {
        // Beyond it the broker has ended it.
        let until = Instant::now() + self.timeout;
        *held(&self.producer.context().offsets) = vec![None; records.len()];
        if self.producer.context().context.needs_tokens() {
            self.producer.poll(SERVE);
        }
        if self.guarantee == Guarantee::AtLeastOnce {
            self.write(records, reached, until)?;
            return self.offsets();
        }
        self.producer.begin_transaction().map_err(KafkaError::transaction)?;
        let ended = self.write(records, reached, until).and_then(|()| again(until, || self.producer.commit_transaction(CALL)));
        if let Err(error) = ended {
            // Best effort: a new producer of this name does it otherwise, and until then readers of what is committed wait. An abort waits for what was
            // sent, of which nobody hears but who polls. Where a commit's end is not known the client refuses an abort.
            let _ = self.deliver(Instant::now() + CALL);
            let _ = self.producer.abort_transaction(CALL);
            return Err(error);
        }
        self.offsets()
    }

    fn offsets(&self) -> Result<Vec<u64>, HostError> {
        let offsets: Option<Vec<u64>> = held(&self.producer.context().offsets).drain(..).collect();
        offsets.ok_or_else(not_delivered)
    }

    fn write(&self, records: &[Sent<'_>], reached: Option<&Reached<'_>>, until: Instant) -> Result<(), HostError> {
        // The client names partitions to the transaction as their first records come, in one call after the other: with the first ones of all
        // before the others it is one call. Each partition's own order stays.
        let mut begun = HashSet::with_hasher(RandomState::default());
        let (firsts, others): (Vec<_>, Vec<_>) =
            records.iter().enumerate().partition(|(_, record)| begun.insert((record.topic, record.partition)));
        for (number, record) in firsts.into_iter().chain(others) {
            self.send(number, record, until)?;
        }
        // With a transaction they may be there before the records: none of it is until it ends. So neither waits for the other.
        if let (Guarantee::ExactlyOnce, Some(reached)) = (self.guarantee, reached) {
            let list = self.list(reached.positions)?;
            again(until, || self.producer.send_offsets_to_transaction(&list, &reached.group.metadata, CALL))?;
        }
        self.deliver(until)?;
        if let (Guarantee::AtLeastOnce, Some(reached)) = (self.guarantee, reached) {
            // Before the positions move all of it is there.
            if held(&self.producer.context().offsets).iter().any(Option::is_none) {
                return Err(not_delivered());
            }
            reached.group.commit_positions(&self.list(reached.positions)?).map_err(KafkaError::transaction)?;
        }
        Ok(())
    }

    /// Positions as the client has them, by the names that the cluster has.
    fn list(&self, positions: &Positions) -> Result<TopicPartitionList, HostError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), position) in positions {
            let offset = Offset::Offset(*position as i64);
            list.add_partition_offset(self.names.topic(topic), *partition as i32, offset).map_err(KafkaError::client)?;
        }
        Ok(list)
    }

    /// Waits until all that was sent is delivered, or known not to be. The client's own flush, which is called by a commit as well, looks
    /// every 100 ms only; and a poll of its with a time-out goes on for all of it, the last millisecond without a rest.
    fn deliver(&self, until: Instant) -> Result<(), HostError> {
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= until {
                return Err(KafkaError::Transaction { reason: "records were not delivered in the transaction's time".to_owned() }.into());
            }
            self.producer.poll(Duration::ZERO);
            if self.producer.in_flight_count() > 0 {
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    fn send(&self, number: usize, record: &Sent<'_>, until: Instant) -> Result<(), HostError> {
        let topic = self.names.topic(record.topic);
        let mut sent = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number).partition(record.partition as i32).key(record.key);
        if let Some(value) = record.value {
            sent = sent.payload(value);
        }
        if let Some(timestamp) = record.timestamp_ms {
            sent = sent.timestamp(timestamp);
        }
        if !record.headers.is_empty() {
            let all = OwnedHeaders::new_with_capacity(record.headers.len());
            let add = |all: OwnedHeaders, (key, value): &(String, Vec<u8>)| all.insert(Header { key, value: Some(value) });
            sent = sent.headers(record.headers.iter().fold(all, add));
        }
        loop {
            match self.producer.send(sent) {
                Ok(()) => return Ok(()),
                Err((ClientError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < until => {
                    self.producer.poll(QUEUE_IS_FULL);
                    sent = back;
                }
                Err((error, _)) => return Err(KafkaError::transaction(error).into()),
            }
        }
    }
}

fn not_delivered() -> HostError {
    KafkaError::Transaction { reason: "a record was never said to be delivered".to_owned() }.into()
}

/// Calls until there is an answer that is final, or the time is over.
fn again(until: Instant, mut call: impl FnMut() -> Result<(), ClientError>) -> Result<(), HostError> {
    loop {
        match call() {
            Ok(()) => return Ok(()),
            Err(error) if is_unsettled(&error) && Instant::now() < until => {}
            Err(error) => return Err(KafkaError::transaction(error).into()),
        }
    }
}

fn is_unsettled(error: &ClientError) -> bool {
    match error {
        ClientError::Transaction(error) => error.is_retriable(),
        // Records that are still on their way.
        ClientError::Flush(code) => *code == RDKafkaErrorCode::OperationTimedOut,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::kafka::context::Reader;

    /// Readers of what is committed wait for what is left open.
    #[test]
    fn a_transaction_whose_positions_are_refused_is_ended_at_once() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("facts", 1, 1).unwrap();
        let options = KafkaOptions::new(cluster.bootstrap_servers(), "test", "one");
        let transactor = Transactor::new(&options, 0).unwrap();
        let member: Arc<Reader> = Arc::new(options.reader("group").create_with_context(options.context()).unwrap());
        let (group, positions) = (Joined::of(&member).unwrap(), Positions::from([(("facts", 0), 1)]));
        let record = Sent { topic: "facts", partition: 0, key: b"key", value: Some(b"value"), headers: &[], timestamp_ms: None };
        cluster.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
        let refused = transactor.commit(&[record; 100], Some(&Reached { positions: &positions, group: &group }));
        assert!(matches!(refused, Err(HostError::Kafka(KafkaError::Transaction { .. }))), "{refused:?}");
        // A client begins another one only when it has ended the last.
        transactor.producer.begin_transaction().unwrap();
    }
}
