//! What goes wrong between a process and its cluster, and whether it passes.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::admin::Difference;
use super::registry::RegistryError;
use crate::commit::TaskId;

/// What Kafka says no to.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    #[error("the Kafka cluster did not do what it was asked; check the brokers' addresses, and what this user may do")]
    Client {
        #[source]
        source: rdkafka::error::KafkaError,
    },
    #[error("Kafka cannot be reached as it is set up: {reason}")]
    NotLetIn {
        reason: String,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    #[error("a transaction did not end well, its task goes on from what is committed: {reason}")]
    Transaction { reason: String },
    #[error("the brokers refuse what was to be written, and will again: {reason}; mend that, then restart")]
    Refused { code: RDKafkaErrorCode, reason: String },
    #[error("kafka.transaction_timeout is {asked:?}, and the brokers allow transactions of {allowed}; set one of them otherwise")]
    TransactionTimeout { asked: Duration, allowed: String },
    #[error(
        "no transaction can be begun ({reason}), and exactly-once rests on them; for brokers that have none there is \
         kafka.guarantee: at-least-once, and docs/guarantees.md says what is lost with it"
    )]
    NoTransactions { reason: String },
    #[error("another partition count is written in transactions, and kafka.guarantee is at-least-once; nothing was done")]
    NeedsTransactions,
    #[error("kafka.standbys is {standbys}, and kafka.guarantee is at-least-once: a standby cannot tell a torn commit; set it to 0")]
    Standbys { standbys: usize },
    #[error("{task} is no longer this process's: its group has given it to another, or forgotten this process")]
    NotOwner { task: TaskId },
    #[error("this process had stopped working before it was told to stop: {reason}")]
    Ended { reason: String },
    #[error(
        "topics of the cluster are not as they must be: {}. `faultline topics apply` makes what is missing and sets what differs, `faultline topics repartition` changes partitions; what is there and is not shown to this user is missing too",
        listed(.differences)
    )]
    TopicsDiffer {
        /// By topic.
        differences: BTreeMap<String, Vec<Difference>>,
    },
    #[error("there is no topic {topic} in the cluster; create the planned topics first")]
    NoTopic { topic: String },
    #[error("topic {topic} could not be made: {reason}")]
    NotMade { topic: String, reason: String },
    #[error("topic {topic} could not be described: {reason}")]
    NotDescribed { topic: String, reason: String },
    #[error(
        "{reader} is at {position} of {topic}/{partition}, which ends at {end}: the topic was made anew, or its brokers lost what they had acknowledged; nothing more is read of it until somebody says where to go on (docs/operations.md)"
    )]
    BeyondEnd { reader: String, topic: &'static str, partition: u32, position: u64, end: u64 },
    #[error("{topic}/{partition} has nothing at {offset}, where it was to be read next; it is looked where it begins and ends")]
    NotThere { topic: &'static str, partition: u32, offset: u64 },
    #[error(
        "the brokers did not say within {within:?} which positions the group has committed of {places}: they are away, this user may not read the group, or a transaction that would change them is open (kafka-transactions.sh find-hanging finds one that has no end)"
    )]
    NoPositions {
        places: String,
        within: Duration,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    #[error("positions of {task} differ: its state stands for {state}, its group has committed {group}; one of them was changed by hand")]
    PositionsDiffer { task: TaskId, state: String, group: String },
    #[error("on Kafka only global topics are looked up by key, and {topic} is none; this is a fault of faultline")]
    NotGlobal { topic: String },
    #[error(
        "topic {topic} was written at {offset}, but its copy here is at {copied} and does not follow; what was written holds, ask again in a moment"
    )]
    CopyIsLate { topic: String, offset: u64, copied: u64 },
    #[error("client option {name} cannot be set: what exactly-once rests on is Faultline's own")]
    OwnOption { name: String },
    #[error("the client options cannot be used: {reason}")]
    Options { reason: String },
    #[error("topic {topic} holds something already; a migration is into topics that were made anew, with nobody at work on them")]
    NotEmpty { topic: String },
    #[error("consumer group {group} has members: stop what runs on this cluster under the same kafka.installation first")]
    GroupAtWork { group: String },
    #[error("task {task} is not at rest ({reason}); let the installation work off what it has first")]
    NotAtRest { task: TaskId, reason: String },
    #[error("topic generations says {found:?}, which this faultline does not understand; it says which topics hold, so nothing is done")]
    Generation { found: String },
    #[error(
        "the topics have another partition count since: generation {newest} holds, this process works on generation {ours}; restart it"
    )]
    Superseded { ours: u32, newest: u32 },
    #[error(
        "the installation has {found} partitions, and {asked} are no more: a count can only grow, as topics kept by time cannot shrink"
    )]
    NotMore { found: u32, asked: u32 },
    #[error("topic {topic} was written meanwhile: somebody works on this installation; stop all that runs, then begin again")]
    Written { topic: String },
    #[error("what is kept of topic {topic} is for the brokers to say (retention.ms), not for a reader")]
    BrokersKeep { topic: String },
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn listed(differences: &BTreeMap<String, Vec<Difference>>) -> String {
    let each = differences.iter().flat_map(|(topic, all)| all.iter().map(move |one| format!("{topic} {one}")));
    each.collect::<Vec<_>>().join("; ")
}

impl KafkaError {
    pub(crate) fn client(source: rdkafka::error::KafkaError) -> Self {
        Self::Client { source }
    }

    pub(crate) fn transaction(source: rdkafka::error::KafkaError) -> Self {
        let reason = source.to_string();
        match source.rdkafka_error_code() {
            Some(code) if is_refused(code) => Self::Refused { code, reason },
            _ => Self::Transaction { reason },
        }
    }

    /// Whether the task is right to be opened again from what is committed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Transaction { .. } | Self::NotOwner { .. } | Self::NotThere { .. } | Self::NoPositions { .. } => true,
            Self::Registry(error) => error.is_passing(),
            Self::Client { source } | Self::NotLetIn { source, .. } => !source.rdkafka_error_code().is_some_and(is_final),
            _ => false,
        }
    }
}

/// What does not get better by asking again. That a topic is not known may be: it was looked for at the start, and brokers hear of a new one
/// one after the other.
pub(super) fn is_final(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Fatal
    )
}

/// What brokers say of a transaction that would come to nothing again.
fn is_refused(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    let is_of_rights = is_final(code) && code != Code::Fatal;
    is_of_rights
        || matches!(
            code,
            Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::InvalidTransactionTimeout
                | Code::PolicyViolation
                | Code::UnsupportedForMessageFormat
                | Code::UnsupportedCompressionType
        )
}
