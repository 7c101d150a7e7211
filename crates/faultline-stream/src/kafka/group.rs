//! Membership in a stage's consumer group: it says which partitions are this process's, and reads nothing.
//!
//! The group is over the stage's first input alone, so that all inputs of a task move together, whatever the assignor; the fetcher is
//! told to read the others. The generation goes into each transaction, so that a former owner is fenced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::{Offset, TopicPartitionList};

use super::context::{Context, hears};
use super::generation::Names;
use super::options::KafkaOptions;
use super::standby::Peer;
use super::{KafkaError, SOON};
use crate::commit::TaskId;
use crate::error::HostError;
use crate::log::{Place, Positions};
use crate::sync::held;

const POLL: Duration = Duration::from_millis(100);
const CALL: Duration = Duration::from_secs(5);
/// After so many sessions a member that does not answer is gone, also where a rebalance came between.
const SESSIONS: u32 = 3;

/// What a rebalance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Given(TaskId),
    /// A task that stopped at a commit which is to be looked into.
    Again(TaskId),
}

/// Where tasks are asked to be opened. Each is asked for in one place for good, so that none is opened twice at once.
#[derive(Clone)]
pub(crate) struct Asks(Vec<Sender<Owned>>);

impl Asks {
    /// So many places, and where what is asked there comes out.
    pub(crate) fn new(places: usize) -> (Self, Vec<Receiver<Owned>>) {
        let (asks, asked) = (0..places.max(1)).map(|_| channel()).unzip();
        (Self(asks), asked)
    }

    pub(crate) fn ask(&self, owned: Owned) {
        let (Owned::Given(task) | Owned::Again(task)) = owned;
        // Those of one stage one after the other, another stage's beginning elsewhere.
        let stage: usize = task.stage.bytes().map(usize::from).sum();
        let place = (stage + task.partition as usize) % self.0.len();
        // Nobody listens any more while the host stops.
        let _ = self.0[place].send(owned);
    }
}

/// The consumer of a member.
pub(crate) type Grouped = BaseConsumer<Rebalances>;

pub(crate) struct Member {
    seat: Arc<Seat>,
    thread: Option<JoinHandle<()>>,
}

/// A process's place in a group, whichever consumer has it at the moment.
pub(crate) struct Seat {
    options: KafkaOptions,
    topic: &'static str,
    rebalances: Rebalances,
    consumer: Mutex<Arc<Grouped>>,
    is_leaving: AtomicBool,
    /// Why this process is no member any more, for good.
    end: OnceLock<String>,
}

/// Hears of rebalances on the thread that polls. Each consumer of a seat has a copy, and all of them count together.
pub(crate) struct Rebalances {
    context: Context,
    stage: &'static str,
    given: Asks,
    /// Takes a task away; returns when it works no more.
    taken: Arc<dyn Fn(TaskId) + Send + Sync>,
    /// Tells of a new owner before it is sent to be opened.
    owned: Arc<dyn Fn(TaskId) + Send + Sync>,
    /// Whether the group has answered at all; it may have nothing for this process.
    has_joined: Arc<AtomicBool>,
    /// How often tasks were given and taken.
    pub(crate) given_times: Arc<AtomicU64>,
    pub(crate) taken_times: Arc<AtomicU64>,
}

impl Rebalances {
    pub(crate) fn new(
        stage: &'static str,
        given: Asks,
        owned: impl Fn(TaskId) + Send + Sync + 'static,
        taken: impl Fn(TaskId) + Send + Sync + 'static,
    ) -> Self {
        Self {
            context: Context::default(),
            stage,
            given,
            taken: Arc::new(taken),
            owned: Arc::new(owned),
            has_joined: Arc::default(),
            given_times: Arc::default(),
            taken_times: Arc::default(),
        }
    }

    /// The same for another consumer.
    fn heard_by(&self, context: Context) -> Self {
        Self {
            context,
            stage: self.stage,
            given: self.given.clone(),
            taken: self.taken.clone(),
            owned: self.owned.clone(),
            has_joined: self.has_joined.clone(),
            given_times: self.given_times.clone(),
            taken_times: self.taken_times.clone(),
        }
    }

    /// Whether the group has given this process its part.
    pub(crate) fn has_joined(&self) -> bool {
        self.has_joined.load(Ordering::Acquire)
    }

    fn tasks(&self, list: &TopicPartitionList) -> Vec<TaskId> {
        list.elements().iter().map(|element| TaskId { stage: self.stage, partition: element.partition().unsigned_abs() }).collect()
    }
}

hears!(Rebalances);

impl ConsumerContext for Rebalances {
    /// Before partitions are given up: their last commits are in.
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.taken_times.fetch_add(1, Ordering::Relaxed);
            self.tasks(list).into_iter().for_each(&*self.taken);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.has_joined.store(true, Ordering::Release);
        match rebalance {
            Rebalance::Assign(list) => {
                self.given_times.fetch_add(1, Ordering::Relaxed);
                // Membership is all that this consumer is for. If pausing failed, what it read would be thrown away.
                let _ = consumer.pause(list);
                for task in self.tasks(list) {
                    (self.owned)(task);
                    self.given.ask(Owned::Given(task));
                }
            }
            // librdkafka joins again by itself; what it cannot mend comes as a fatal error.
            Rebalance::Error(_) | Rebalance::Revoke(_) => {}
        }
    }
}

impl Member {
    pub(crate) fn join(options: &KafkaOptions, topic: &'static str, rebalances: Rebalances) -> Result<Self, HostError> {
        let (stage, consumer) = (rebalances.stage, new_consumer(options, &rebalances)?);
        consumer.subscribe(&[options.names.topic(topic)]).map_err(KafkaError::client)?;
        let (options, consumer) = (options.clone(), Mutex::new(consumer));
        let seat = Arc::new(Seat { options, topic, rebalances, consumer, is_leaving: AtomicBool::default(), end: OnceLock::new() });
        let thread = std::thread::Builder::new().name(format!("kafka-{stage}")).spawn({
            let seat = seat.clone();
            move || seat.hold()
        });
        Ok(Self { seat, thread: Some(thread.map_err(|source| HostError::Thread { source })?) })
    }

    pub(crate) fn seat(&self) -> Weak<Seat> {
        Arc::downgrade(&self.seat)
    }

    /// Whether the group has given this process its part.
    pub(crate) fn has_joined(&self) -> bool {
        self.seat.rebalances.has_joined()
    }

    pub(crate) fn stage(&self) -> &'static str {
        self.seat.rebalances.stage
    }

    /// Why this process is no member of the group any more, if so.
    pub(crate) fn end(&self) -> Option<&str> {
        self.seat.end.get().map(String::as_str)
    }
}

fn new_consumer(options: &KafkaOptions, rebalances: &Rebalances) -> Result<Arc<Grouped>, HostError> {
    let context = rebalances.heard_by(options.context());
    Ok(Arc::new(options.member(&options.group_of(rebalances.stage)).create_with_context(context).map_err(KafkaError::client)?))
}

impl Seat {
    pub(crate) fn consumer(&self) -> Arc<Grouped> {
        held(&self.consumer).clone()
    }

    pub(crate) fn rebalances(&self) -> &Rebalances {
        &self.rebalances
    }

    /// Is a member until it leaves, or may be none any more.
    fn hold(&self) {
        while let Some(code) = self.sit() {
            let reason = format!("{code}; {}", self.hint());
            if code != RDKafkaErrorCode::FencedInstanceId {
                return self.ends(reason);
            }
            tracing::warn!(stage = self.rebalances.stage, "another member has this process's name; it is looked whether that is a process");
            match self.sit_again() {
                Ok(true) => {}
                Ok(false) => return self.ends(reason),
                Err(error) => return self.ends(error.to_string()),
            }
        }
    }

    /// Polls until it is told to leave, or the client cannot go on; says why. Has given everything up then.
    fn sit(&self) -> Option<RDKafkaErrorCode> {
        let (consumer, mut end) = (self.consumer(), None);
        while end.is_none() && !self.is_leaving.load(Ordering::Acquire) {
            // Records never come; errors that are not fatal are librdkafka's to retry.
            if let Some(Err(ClientError::MessageConsumptionFatal(code))) = consumer.poll(POLL) {
                end = Some(code);
            }
        }
        consumer.unsubscribe();
        // The last revocation is served here.
        let until = Instant::now() + CALL;
        while Instant::now() < until && consumer.assignment().is_ok_and(|list| list.count() > 0) {
            drop(consumer.poll(POLL));
        }
        end
    }

    /// A client that asks to join once more, as it had no answer, is fenced by itself: the group takes its two questions for two processes.
    /// What is left of the first goes with its session; who has this name for longer is another process, and false is said. Joins anew
    /// otherwise.
    fn sit_again(&self) -> Result<bool, HostError> {
        self.rebalances.has_joined.store(false, Ordering::Release);
        let consumer = new_consumer(&self.options, &self.rebalances)?;
        let (group, topic) = (self.options.group_of(self.rebalances.stage), self.options.names.topic(self.topic));
        let until = Instant::now() + self.options.session_timeout * SESSIONS;
        let mut is_alone = false;
        while !is_alone && !self.is_leaving.load(Ordering::Acquire) {
            // Serves tokens; it is subscribed to nothing.
            drop(consumer.poll(POLL));
            // Brokers that are away are asked again.
            let Ok(others) = peers(&consumer, &group, topic) else { continue };
            is_alone = others.iter().all(|other| other.instance != self.options.instance);
            if !is_alone && Instant::now() >= until {
                return Ok(false);
            }
        }
        consumer.subscribe(&[topic]).map_err(KafkaError::client)?;
        *held(&self.consumer) = consumer;
        Ok(true)
    }

    fn ends(&self, reason: String) {
        // It is said once.
        let _ = self.end.set(reason);
    }

    fn hint(&self) -> &'static str {
        if self.options.is_classic() {
            "a name of an instance (group.instance.id) belongs to one process"
        } else {
            "kafka.client.group.protocol: consumer needs brokers of Kafka 4.0 or newer"
        }
    }
}

/// The members of a group, and which partitions of a topic are theirs.
pub(crate) fn peers(consumer: &Grouped, group: &str, topic: &str) -> Result<Vec<Peer>, HostError> {
    let list = consumer.fetch_group_list(Some(group), SOON).map_err(KafkaError::client)?;
    let members = list.groups().iter().flat_map(GroupInfo::members);
    let peer = |member: &GroupMemberInfo| {
        let partitions = member.assignment().and_then(|assignment| assigned(assignment, topic)).unwrap_or_default();
        Peer { instance: member.client_id().to_owned(), partitions }
    };
    Ok(members.map(peer).collect())
}

/// Partitions of a topic in what an assignor gave to a member: a version (2 bytes), then topics with their partitions. Nothing if it is cut.
fn assigned(assignment: &[u8], topic: &str) -> Option<Vec<u32>> {
    let (_, rest) = assignment.split_first_chunk::<2>()?;
    let (topics, mut rest) = rest.split_first_chunk()?;
    let mut partitions = Vec::new();
    for _ in 0..u32::from_be_bytes(*topics) {
        let (length, after) = rest.split_first_chunk()?;
        let (name, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (count, mut after) = after.split_first_chunk()?;
        for _ in 0..u32::from_be_bytes(*count) {
            let (partition, behind) = after.split_first_chunk()?;
            if name == topic.as_bytes() {
                partitions.push(u32::from_be_bytes(*partition));
            }
            after = behind;
        }
        rest = after;
    }
    Some(partitions)
}

/// Positions that a group has committed, once no transaction that could change them is open.
pub(crate) fn committed<C: ConsumerContext>(consumer: &BaseConsumer<C>, names: &Names, places: &[Place]) -> Result<Positions, HostError> {
    committed_within(CALL, consumer, names, places)
}

fn committed_within<C: ConsumerContext>(
    within: Duration,
    consumer: &BaseConsumer<C>,
    names: &Names,
    places: &[Place],
) -> Result<Positions, HostError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        list.add_partition(names.topic(topic), *partition as i32);
    }
    let list = consumer.committed_offsets(list, within).map_err(|source| {
        if source.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) {
            let places: Vec<String> = places.iter().map(|(topic, partition)| format!("{topic}/{partition}")).collect();
            KafkaError::NoPositions { places: places.join(", "), within, source }
        } else {
            KafkaError::client(source)
        }
    })?;
    let mut positions = Positions::new();
    for place in places {
        let Some(element) = list.find_partition(names.topic(place.0), place.1 as i32) else { continue };
        element.error().map_err(KafkaError::client)?;
        if let Offset::Offset(offset) = element.offset() {
            positions.insert(*place, offset.unsigned_abs());
        }
    }
    Ok(positions)
}

impl Drop for Member {
    fn drop(&mut self) {
        self.seat.is_leaving.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    #[test]
    fn positions_that_are_not_settled_in_time_say_what_holds_them() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("facts", 1, 1).unwrap();
        let options = KafkaOptions::new(cluster.bootstrap_servers(), "test", "one");
        let consumer = options.reader("group").create_with_context(options.context()).unwrap();
        let unsettled = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT; 1000];
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &unsettled);
        let told = committed_within(Duration::from_secs(1), &consumer, &options.names, &[("facts", 0)]);
        let Err(HostError::Kafka(error)) = told else { panic!("{told:?}") };
        assert!(error.to_string().contains("facts/0") && error.is_passing(), "{error:?}");
    }

    #[test]
    fn an_assignment_tells_partitions_by_topic_and_nothing_where_it_is_cut() {
        let topic = |name: &str, partitions: &[u32]| {
            let mut bytes = (name.len() as u16).to_be_bytes().to_vec();
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as u32).to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
            bytes
        };
        let whole = [vec![0, 1, 0, 0, 0, 2], topic("facts", &[3, 0]), topic("other", &[1]), vec![255; 4]].concat();
        assert_eq!(assigned(&whole, "facts"), Some(vec![3, 0]));
        assert_eq!(assigned(&whole, "nothing"), Some(vec![]));
        assert_eq!(assigned(&whole[..whole.len() - 5], "facts"), None);
    }
}
