//! How to reach a cluster, and who we are to it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;

use super::KafkaError;
use super::context::Context;
use super::generation::Names;
use super::registry::RegistryOptions;
use crate::error::HostError;
use crate::rocks;
use crate::topics::LETTER_BYTES;

/// What a batch of records weighs beside them.
const BATCH_OVERHEAD_BYTES: usize = 4 << 10;

/// After so long a producer closes a connection that nothing comes by. Where a group's coordinator is gone from the cluster, librdkafka 2.12
/// gives it positions for ever, past any time-out, until another of its connections changes (librdkafka#5511, #5456): this is that change.
const IDLE: Duration = Duration::from_secs(5);

/// The longest rest between two attempts to connect, as Kafka's own clients have it. It is well below [`IDLE`]: a client that has connected
/// within its longest rest takes twice the rest of last time, whoever closed the connection. By librdkafka's 10 s a producer with little to
/// do came to be without its coordinator for most of the time.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// So often a producer asks for metadata, which keeps a connection from becoming idle. [`IDLE`] needs one that stands: librdkafka asks for a
/// group's coordinator once a second at most, and counts a change at which it has nobody to ask. Where its last connection became idle, and
/// that to the coordinator of its transactions within the second behind it, each time anew as it looks for idle ones each second, no
/// question was ever asked, and positions waited for minutes.
const METADATA: Duration = Duration::from_secs(2);

/// How long metadata and coordinators are known, which is what librdkafka takes by itself; of [`METADATA`] it would make 6 s.
const METADATA_HOLDS: Duration = Duration::from_mins(15);

/// Of what may wait, as much is fetched of a partition at once.
const FETCHES_THAT_FIT: usize = 128;

const QUEUE_IS_FULL: Duration = Duration::from_millis(10);

/// Options that cannot be given: they say who this process is and what exactly-once rests on, or a setting of its own has them.
const OWN: [&str; 19] = [
    "bootstrap.servers",
    "client.id",
    "group.id",
    "group.instance.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "isolation.level",
    "auto.offset.reset",
    "enable.partition.eof",
    "partition.assignment.strategy",
    "transactional.id",
    "transaction.timeout.ms",
    "session.timeout.ms",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "partitioner",
    "queued.max.messages.kbytes",
    "message.max.bytes",
];

/// What a commit is, where a process is killed in its midst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// State, outputs and positions are there together or not at all.
    #[default]
    ExactlyOnce,
    /// For brokers without transactions: what was said last may be said again, and a process that slept is not fenced.
    AtLeastOnce,
}

#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port`, several with commas between.
    pub bootstrap: String,
    /// Stands before the names of consumer groups and transactional ids; the same in all processes of one installation.
    pub installation: String,
    /// This process, by a name that no other one has and that it keeps over restarts (the pod's).
    pub instance: String,
    /// Options of librdkafka, as it names them. What exactly-once rests on cannot be overridden.
    pub client: BTreeMap<String, String>,
    /// A file with the token for OAUTHBEARER, a JWT. It is read anew before the token ends.
    pub token_file: Option<PathBuf>,
    /// Of the folder that keeps the tasks' state. The partition count is the cluster's.
    pub local: rocks::Options,
    /// What records that wait to be worked on may take in memory, all partitions together. Default 64 MiB.
    pub buffer_bytes: usize,
    /// On how many other processes the state of each task is kept up with its changelog, as far as there are so many. Default 0.
    pub standbys: usize,
    /// After so long without an end the broker aborts a transaction. Default 30 s.
    pub transaction_timeout: Duration,
    /// After so long without a word a process is taken for dead. Default 10 s.
    pub session_timeout: Duration,
    pub guarantee: Guarantee,
    /// Whether the brokers compact topics. Without it what is kept by key is kept for ever, each word of it.
    pub has_compaction: bool,
    /// A schema registry, whose ids the values on the cluster then have.
    pub registry: Option<RegistryOptions>,
    /// What the cluster calls topics and groups; who opens a log of it finds that out.
    pub names: Names,
}

impl KafkaOptions {
    pub fn new(bootstrap: impl Into<String>, installation: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            installation: installation.into(),
            instance: instance.into(),
            client: BTreeMap::new(),
            token_file: None,
            local: rocks::Options::default(),
            buffer_bytes: 64 << 20,
            standbys: 0,
            transaction_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(10),
            guarantee: Guarantee::ExactlyOnce,
            has_compaction: true,
            registry: None,
            names: Names::default(),
        }
    }

    /// Refuses options that librdkafka does not know, values that it does not take, and those that cannot be given.
    pub fn check(&self) -> Result<(), HostError> {
        if let Some(name) = self.client.keys().find(|name| OWN.contains(&name.as_str())) {
            return Err(KafkaError::OwnOption { name: name.clone() }.into());
        }
        if self.guarantee == Guarantee::AtLeastOnce && self.standbys > 0 {
            return Err(KafkaError::Standbys { standbys: self.standbys }.into());
        }
        // Both kinds of client know options that the other one takes without a word.
        self.client().create_native_config().map_err(|error| match error {
            // Both its text and its description quote the value, which can be a secret.
            ClientError::ClientConfig(_, _, name, _) => {
                KafkaError::Options { reason: format!("{name} is no option of librdkafka, or not with this value") }
            }
            error => KafkaError::Options { reason: error.to_string() },
        })?;
        Ok(())
    }

    /// The largest batch: one record at the bound, as a dead letter.
    pub(crate) fn batch_bytes(max_record_bytes: usize) -> usize {
        max_record_bytes + LETTER_BYTES + BATCH_OVERHEAD_BYTES
    }

    pub(crate) fn group(&self, name: &str) -> String {
        format!("{}.{name}", self.installation)
    }

    /// The group of a stage: each generation has its own, so that nobody of another one moves its positions.
    pub(crate) fn group_of(&self, stage: &str) -> String {
        self.names.suffixed(&self.group(stage))
    }

    /// What a client of these options is made with.
    pub(crate) fn context(&self) -> Context {
        Context::new(self.token_file.clone())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", &self.instance);
        // Who has another shortest rest has a longest one to it.
        if !self.client.contains_key("reconnect.backoff.ms") {
            config.set("reconnect.backoff.max.ms", LONGEST_REST.as_millis().to_string());
        }
        for (name, value) in &self.client {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap);
        // What of it is shown is for Faultline's log to say.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    pub(crate) fn admin(&self) -> ClientConfig {
        self.client()
    }

    /// A consumer that reads what is committed, where it is told to, and says where a partition ends.
    pub(crate) fn reader(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "earliest");
        config.set("enable.partition.eof", "true");
        // Who has fetched as much as may wait looks again soon: by default it rests for a second, and its tasks with it.
        if !self.client.contains_key("fetch.queue.backoff.ms") {
            config.set("fetch.queue.backoff.ms", QUEUE_IS_FULL.as_millis().to_string());
        }
        // All partitions of one client share this; the rest of the budget is what waits decoded.
        config.set("queued.max.messages.kbytes", (self.buffer_bytes / 2 / 1024).max(1024).to_string());
        config
    }

    /// A reader of what tasks work on: if nothing is where it is told to read, it says so, and does not go on elsewhere.
    pub(crate) fn fetcher(&self, group: &str) -> ClientConfig {
        let mut config = self.reader(group);
        config.set("auto.offset.reset", "error");
        // What is fetched of a partition at once is unpacked whole, to several times its size, however little may still wait.
        if !["fetch.message.max.bytes", "max.partition.fetch.bytes"].iter().any(|name| self.client.contains_key(*name)) {
            let fetched = (self.buffer_bytes / FETCHES_THAT_FIT).clamp(64 << 10, 1 << 20);
            config.set("fetch.message.max.bytes", fetched.to_string());
        }
        config
    }

    /// A reader that goes to the end and stops: a broker with nothing more says so at once.
    pub(crate) fn reader_to_end(&self, group: &str) -> ClientConfig {
        let mut config = self.reader(group);
        config.set("fetch.wait.max.ms", "10");
        config
    }

    /// A reader that goes to the end of much, one of so many that share what waits in memory.
    pub(crate) fn restorer(&self, group: &str, of: usize) -> ClientConfig {
        let mut config = self.reader_to_end(group);
        let queued = (self.buffer_bytes / 2 / of.max(1)).max(1 << 20);
        config.set("queued.max.messages.kbytes", (queued / 1024).to_string());
        let mut unless_given = |name: &str, value: String| {
            if !self.client.contains_key(name) {
                config.set(name, value);
            }
        };
        // By bytes alone, and without the second's rest that a client takes which has fetched as much as it may.
        unless_given("queued.min.messages", "10000000".to_owned());
        unless_given("fetch.queue.backoff.ms", "1".to_owned());
        unless_given("fetch.message.max.bytes", (queued / 4).clamp(1 << 20, 8 << 20).to_string());
        config
    }

    /// A reader of changelogs that are written elsewhere: it takes such a part of what may wait in memory while tasks are restored.
    pub(crate) fn standby(&self, group: &str, share: usize) -> ClientConfig {
        let mut config = self.restorer(group, share);
        // Unlike a restorer it stays at the end.
        config.set("fetch.wait.max.ms", "500");
        config
    }

    /// Whether members of groups are told by brokers, with what is theirs.
    pub(crate) fn is_classic(&self) -> bool {
        self.client.get("group.protocol").is_none_or(|protocol| protocol.eq_ignore_ascii_case("classic"))
    }

    /// A member of a stage's group. It reads nothing itself.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.reader(group);
        config.set("enable.partition.eof", "false");
        if self.is_classic() {
            // Not by KIP-848's protocol: a process that was killed and is back before its session ended is told there that its name is
            // not given free yet (UNRELEASED_INSTANCE_ID), which librdkafka 2.12 takes for the end.
            config.set("group.instance.id", &self.instance);
            config.set("partition.assignment.strategy", "cooperative-sticky");
            config.set("session.timeout.ms", self.session_timeout.as_millis().to_string());
            config.set("heartbeat.interval.ms", (self.session_timeout / 5).as_millis().to_string());
        }
        config
    }

    pub(crate) fn producer(&self, number: usize) -> ClientConfig {
        let mut config = self.client();
        let timeout = self.transaction_timeout.as_millis().to_string();
        match self.guarantee {
            Guarantee::ExactlyOnce => {
                config.set("transactional.id", format!("{}.{}.{number}", self.installation, self.instance));
                config.set("transaction.timeout.ms", timeout);
            }
            // What is not delivered by then never is: it would stand behind what is said instead of it.
            Guarantee::AtLeastOnce => drop(config.set("message.timeout.ms", timeout)),
        }
        config.set("enable.idempotence", "true");
        config.set("partitioner", "murmur2_random");
        config.set("message.max.bytes", Self::batch_bytes(self.local.max_record_bytes).to_string());
        if !self.client.contains_key("compression.type") {
            config.set("compression.type", "lz4");
        }
        if !self.client.contains_key("connections.max.idle.ms") {
            config.set("connections.max.idle.ms", IDLE.as_millis().to_string());
        }
        // Who has another interval has an age to it.
        if !self.client.contains_key("topic.metadata.refresh.interval.ms") {
            config.set("topic.metadata.refresh.interval.ms", METADATA.as_millis().to_string());
            if !self.client.contains_key("metadata.max.age.ms") {
                config.set("metadata.max.age.ms", METADATA_HOLDS.as_millis().to_string());
            }
        }
        config
    }
}

/// Values of client options can be secrets: only their names are shown.
impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client: Vec<&String> = self.client.keys().collect();
        f.debug_struct("KafkaOptions")
            .field("bootstrap", &self.bootstrap)
            .field("installation", &self.installation)
            .field("instance", &self.instance)
            .field("client", &client)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// librdkafka takes up to two seconds off the bound of idleness, and begins anew with short rests after the longest one.
    #[test]
    fn a_connection_that_was_closed_for_idleness_is_made_anew_at_once() {
        let producer = KafkaOptions::new("localhost:9092", "test", "one").producer(0);
        let millis = |name| producer.get(name).unwrap().parse::<u64>().unwrap();
        assert!(millis("reconnect.backoff.max.ms") < millis("connections.max.idle.ms") - 2000);
    }

    /// Or it may not come to ask for a coordinator, see [`METADATA`].
    #[test]
    fn a_producer_has_a_connection_that_is_not_idle() {
        let mut options = KafkaOptions::new("localhost:9092", "test", "one");
        let millis = |options: &KafkaOptions, name| options.producer(0).get(name).map(|text| text.parse::<u64>().unwrap());
        let (refresh, age) = ("topic.metadata.refresh.interval.ms", "metadata.max.age.ms");
        assert!(millis(&options, refresh).unwrap() < millis(&options, "connections.max.idle.ms").unwrap() - 2000);
        assert_eq!(millis(&options, age), Some(900_000));
        options.client.insert(refresh.to_owned(), "60000".to_owned());
        assert_eq!((millis(&options, refresh), millis(&options, age)), (Some(60_000), None));
    }

    /// What is fetched at once of each partition is a small part of what may wait, and whoever sets it otherwise is heard.
    #[test]
    fn what_is_fetched_is_bounded_by_what_may_wait() {
        let mut options = KafkaOptions::new("localhost:9092", "test", "one");
        let fetched = |options: &KafkaOptions| options.fetcher("group").get("fetch.message.max.bytes").unwrap().parse::<usize>().unwrap();
        for (buffer, expected) in [(1 << 20, 64 << 10), (32 << 20, 256 << 10), (64 << 20, 512 << 10), (1 << 30, 1 << 20)] {
            options.buffer_bytes = buffer;
            assert_eq!(fetched(&options), expected, "of {buffer}");
        }
        options.client.insert("fetch.message.max.bytes".to_owned(), "2000000".to_owned());
        options.client.insert("fetch.queue.backoff.ms".to_owned(), "100".to_owned());
        assert_eq!(fetched(&options), 2_000_000);
        assert_eq!(options.fetcher("group").get("fetch.queue.backoff.ms"), Some("100"));
    }
}
