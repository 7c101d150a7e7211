//! Membership in a stage's consumer group: it says which partitions are this process's, and reads nothing.
//!
//! The group is over the stage's first input alone, so that all inputs of a task move together, whatever the assignor; the fetcher is
//! told to read the others. The generation goes into each transaction, so that a former owner is fenced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError as ClientError;
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

const POLL: Duration = Duration::from_millis(100);
const CALL: Duration = Duration::from_secs(5);

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
    consumer: Arc<Grouped>,
    is_leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Hears of rebalances on the thread that polls.
pub(crate) struct Rebalances {
    context: Context,
    stage: &'static str,
    given: Asks,
    /// Takes a task away; returns when it works no more.
    taken: Box<dyn Fn(TaskId) + Send + Sync>,
    /// Tells of a new owner before it is sent to be opened.
    owned: Box<dyn Fn(TaskId) + Send + Sync>,
    /// Whether the group has answered at all; it may have nothing for this process.
    has_joined: AtomicBool,
    /// How often tasks were given and taken.
    pub(crate) given_times: AtomicU64,
    pub(crate) taken_times: AtomicU64,
    /// Why this process is no member any more, for good.
    end: OnceLock<String>,
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
            taken: Box::new(taken),
            owned: Box::new(owned),
            has_joined: AtomicBool::default(),
            given_times: AtomicU64::default(),
            taken_times: AtomicU64::default(),
            end: OnceLock::new(),
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
            self.tasks(list).into_iter().for_each(&self.taken);
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
    pub(crate) fn join(options: &KafkaOptions, topic: &'static str, mut rebalances: Rebalances) -> Result<Self, HostError> {
        rebalances.context = options.context();
        let stage = rebalances.stage;
        let hint = if options.is_classic() {
            "a name of an instance (group.instance.id) belongs to one process"
        } else {
            "kafka.client.group.protocol: consumer needs brokers of Kafka 4.0 or newer"
        };
        let consumer: BaseConsumer<Rebalances> =
            options.member(&options.group_of(stage)).create_with_context(rebalances).map_err(KafkaError::client)?;
        consumer.subscribe(&[options.names.topic(topic)]).map_err(KafkaError::client)?;
        let (consumer, is_leaving) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::Builder::new().name(format!("kafka-{stage}")).spawn({
            let (consumer, is_leaving) = (consumer.clone(), is_leaving.clone());
            move || {
                while !is_leaving.load(Ordering::Acquire) {
                    // Records never come; errors that are not fatal are librdkafka's to retry.
                    if let Some(Err(ClientError::MessageConsumptionFatal(code))) = consumer.poll(POLL) {
                        let reason = format!("{code}; {hint}");
                        // The first one says why.
                        let _ = consumer.context().end.set(reason);
                        break;
                    }
                }
                consumer.unsubscribe();
                // The last revocation is served here.
                let until = Instant::now() + CALL;
                while Instant::now() < until && consumer.assignment().is_ok_and(|list| list.count() > 0) {
                    drop(consumer.poll(POLL));
                }
            }
        });
        Ok(Self { consumer, is_leaving, thread: Some(thread.map_err(|source| HostError::Thread { source })?) })
    }

    pub(crate) fn consumer(&self) -> Weak<Grouped> {
        Arc::downgrade(&self.consumer)
    }

    /// Whether the group has given this process its part.
    pub(crate) fn has_joined(&self) -> bool {
        self.consumer.context().has_joined()
    }

    pub(crate) fn stage(&self) -> &'static str {
        self.consumer.context().stage
    }

    /// Why this process is no member of the group any more, if so.
    pub(crate) fn end(&self) -> Option<&str> {
        self.consumer.context().end.get().map(String::as_str)
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
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        list.add_partition(names.topic(topic), *partition as i32);
    }
    let list = consumer.committed_offsets(list, CALL).map_err(KafkaError::client)?;
    let mut positions = Positions::new();
    for place in places {
        let element = list.find_partition(names.topic(place.0), place.1 as i32);
        if let Some(Offset::Offset(offset)) = element.map(|element| element.offset()) {
            positions.insert(*place, offset.unsigned_abs());
        }
    }
    Ok(positions)
}

impl Drop for Member {
    fn drop(&mut self) {
        self.is_leaving.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
