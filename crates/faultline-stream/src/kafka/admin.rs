//! Topics as they are planned: what is missing is made, what differs is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;

use super::context::{Context, Reader, ask};
use super::generation::{GENERATIONS, Names, parts};
use super::options::{Guarantee, KafkaOptions};
use super::{CHANGELOG, KafkaError};
use crate::error::{HostError, chain};
use crate::topics::TopicPlan;

const CALL: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
/// How long the changelog of a task that nobody works on may end with a torn commit before rows that it superseded are needed.
const TORN_STAYS: Duration = Duration::from_hours(24);
/// The active segment is never compacted: with the brokers' usual one of 1 GiB a changelog would hardly ever be.
const COMPACTED_SEGMENT_BYTES: u64 = 64 << 20;

/// A topic with its settings, as Kafka names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTopic {
    pub name: String,
    pub partitions: u32,
    pub replicas: u32,
    pub settings: BTreeMap<&'static str, String>,
}

/// In what a topic of a cluster is not as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    Missing,
    Partitions { found: u32, planned: u32 },
    Replicas { found: u32, planned: u32 },
    Setting { name: &'static str, found: String, planned: String },
}

impl Difference {
    /// Whether Faultline does not run with it.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Missing | Self::Partitions { .. } => true,
            Self::Setting { name, .. } => *name == "cleanup.policy",
            Self::Replicas { .. } => false,
        }
    }

    /// Whether [`apply_topics`] mends it.
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Missing | Self::Setting { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Partitions { found, planned } => write!(f, "has {found} partitions, {planned} are planned"),
            Self::Replicas { found, planned } => write!(f, "has {found} replicas, {planned} are planned"),
            Self::Setting { name, found, planned } => write!(f, "has {name}={found}, {planned} is planned"),
        }
    }
}

/// All topics of an installation, as its generation calls them: those of the plans, a changelog for each stage, and `generations`.
pub fn planned_topics(
    names: &Names,
    plans: &[TopicPlan],
    stages: &[&str],
    partitions: u32,
    replicas: u32,
    max_record_bytes: usize,
) -> Vec<PlannedTopic> {
    let batch_bytes = KafkaOptions::batch_bytes(max_record_bytes);
    let common = |policy: &str| {
        let mut settings = BTreeMap::from([("cleanup.policy", policy.to_owned()), ("max.message.bytes", batch_bytes.to_string())]);
        if replicas >= 3 {
            // With acks=all, what is acknowledged survives one broker.
            settings.insert("min.insync.replicas", (replicas - 1).to_string());
        }
        settings
    };
    let of_plan = |plan: &TopicPlan| {
        let mut settings = common(if plan.compacted { "compact" } else { "delete" });
        let kept = if plan.compacted { "delete.retention.ms" } else { "retention.ms" };
        settings.insert(kept, plan.retention.as_millis().to_string());
        if plan.compacted {
            settings.insert("segment.bytes", COMPACTED_SEGMENT_BYTES.to_string());
        }
        let name = names.topic(plan.name).to_owned();
        PlannedTopic { name, partitions: if plan.is_global { 1 } else { partitions }, replicas, settings }
    };
    let tombstones = plans.iter().filter(|plan| plan.compacted).map(|plan| plan.retention).min();
    let of_stage = |stage: &&str| {
        let mut settings = common("compact");
        settings.insert("segment.bytes", COMPACTED_SEGMENT_BYTES.to_string());
        // A store that was away for less must find each end of a row.
        settings.extend(tombstones.map(|kept| ("delete.retention.ms", kept.as_millis().to_string())));
        PlannedTopic { name: names.changelog(stage), partitions, replicas, settings }
    };
    let generations = PlannedTopic { name: GENERATIONS.to_owned(), partitions: 1, replicas, settings: common("compact") };
    plans.iter().map(of_plan).chain(stages.iter().map(of_stage)).chain([generations]).collect()
}

/// The same topics for brokers that cannot do all: without compaction what is kept by key is kept for ever; without transactions a
/// changelog keeps its older rows for as long as a torn commit may stand there.
pub fn degraded_topics(topics: Vec<PlannedTopic>, guarantee: Guarantee, has_compaction: bool) -> Vec<PlannedTopic> {
    let degraded = |mut topic: PlannedTopic| {
        if topic.settings.get("cleanup.policy").is_none_or(|policy| policy != "compact") {
            return topic;
        }
        if !has_compaction {
            topic.settings.retain(|name, _| !["delete.retention.ms", "segment.bytes"].contains(name));
            topic.settings.extend([("cleanup.policy", "delete".to_owned()), ("retention.ms", "-1".to_owned())]);
        } else if guarantee == Guarantee::AtLeastOnce && is_changelog(&topic.name) {
            topic.settings.insert("min.compaction.lag.ms", TORN_STAYS.as_millis().to_string());
        }
        topic
    };
    topics.into_iter().map(degraded).collect()
}

/// Of whichever generation.
fn is_changelog(topic: &str) -> bool {
    parts(topic).0.ends_with(CHANGELOG)
}

/// What differs in a cluster, by topic; topics that are as planned have no entry.
pub fn compare_topics(options: &KafkaOptions, planned: &[PlannedTopic]) -> Result<BTreeMap<String, Vec<Difference>>, HostError> {
    // An administrator's client serves none of its events: why a cluster does not let us in a reader hears.
    let config = options.reader(&options.group("reader"));
    let reader: Reader = config.create_with_context(options.context()).map_err(KafkaError::client)?;
    let (mut differences, present) = compare_layout(&reader, planned)?;
    for (topic, settings) in settings_of(&client(options)?, &present)? {
        let settings = settings.map_err(|code| KafkaError::NotDescribed { topic: topic.name.clone(), reason: code.to_string() })?;
        add(&mut differences, topic, compare_settings(topic, &settings));
    }
    Ok(differences)
}

/// Refuses topics that a process cannot work with, and says of each in what it differs. Settings that this user may not see are not judged,
/// which is said in the log.
pub(super) fn check_topics(asking: &Reader, options: &KafkaOptions, planned: &[PlannedTopic]) -> Result<(), HostError> {
    let (mut differences, present) = compare_layout(asking, planned)?;
    let unseen = |topics: &str, reason: &str| {
        tracing::warn!(topics, reason, "settings of topics are not verified; `faultline topics verify` as a user who may see them does it");
    };
    // It would wait for a token that nobody gives it.
    if options.token_file.is_some() {
        unseen("all", "the client's administration takes no token from a file (kafka.oauth.token_file)");
    } else {
        match client(options).and_then(|client| settings_of(&client, &present)) {
            Ok(all) => {
                for (topic, settings) in all {
                    match settings {
                        Ok(settings) => add(&mut differences, topic, compare_settings(topic, &settings)),
                        Err(code) => unseen(&topic.name, &code.to_string()),
                    }
                }
            }
            Err(error) => unseen("all", &chain(&error)),
        }
    }
    for all in differences.values_mut() {
        // What brokers do not tell nobody can judge.
        all.retain(|one| one.is_fatal() && !matches!(one, Difference::Setting { found, .. } if found.is_empty()));
    }
    differences.retain(|_, all| !all.is_empty());
    if differences.is_empty() { Ok(()) } else { Err(KafkaError::TopicsDiffer { differences }.into()) }
}

type Differences = BTreeMap<String, Vec<Difference>>;

fn add(differences: &mut Differences, topic: &PlannedTopic, more: Vec<Difference>) {
    if !more.is_empty() {
        differences.entry(topic.name.clone()).or_default().extend(more);
    }
}

/// What differs in partitions and their replicas, and which topics are there.
fn compare_layout<'p>(asking: &Reader, planned: &'p [PlannedTopic]) -> Result<(Differences, Vec<&'p PlannedTopic>), HostError> {
    let metadata = ask(asking, CALL, |reader, within| reader.fetch_metadata(None, within))?;
    let (mut differences, mut present) = (Differences::new(), Vec::new());
    for topic in planned {
        let found = metadata.topics().iter().find(|found| found.name() == topic.name && !found.partitions().is_empty());
        let Some(found) = found else {
            add(&mut differences, topic, vec![Difference::Missing]);
            continue;
        };
        let count = found.partitions().len() as u32;
        let replicas = found.partitions().iter().map(|partition| partition.replicas().len() as u32).min().unwrap_or(0);
        let partitions = (count != topic.partitions).then_some(Difference::Partitions { found: count, planned: topic.partitions });
        let copies = (replicas != topic.replicas).then_some(Difference::Replicas { found: replicas, planned: topic.replicas });
        add(&mut differences, topic, partitions.into_iter().chain(copies).collect());
        present.push(topic);
    }
    Ok((differences, present))
}

fn compare_settings(topic: &PlannedTopic, settings: &[Setting]) -> Vec<Difference> {
    let found = |name: &str| settings.iter().find(|setting| setting.name == name).map(|setting| setting.value.clone()).unwrap_or_default();
    let all = topic.settings.iter().map(|(name, planned)| (*name, found(name), planned.clone()));
    all.filter(|(_, found, planned)| found != planned).map(|(name, found, planned)| Difference::Setting { name, found, planned }).collect()
}

struct Setting {
    name: String,
    value: String,
    /// Set for this topic, rather than for the cluster.
    is_own: bool,
}

type Settings<'p> = Vec<(&'p PlannedTopic, Result<Vec<Setting>, RDKafkaErrorCode>)>;

fn settings_of<'p>(client: &AdminClient<Context>, topics: &[&'p PlannedTopic]) -> Result<Settings<'p>, HostError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
    let answers = futures_executor::block_on(client.describe_configs(&asked, &bounded())).map_err(KafkaError::client)?;
    let setting = |entry: rdkafka::admin::ConfigEntry| Setting {
        is_own: matches!(entry.source, ConfigSource::DynamicTopic),
        name: entry.name,
        value: entry.value.unwrap_or_default(),
    };
    let settings = answers.into_iter().map(|answer| answer.map(|answer| answer.entries.into_iter().map(setting).collect()));
    Ok(topics.iter().copied().zip(settings).collect())
}

/// Makes what is missing and sets what differs; settings that are not planned stay as they are. Partitions and replicas of what is there
/// are left: see [`Difference::is_applied`].
pub fn apply_topics(options: &KafkaOptions, planned: &[PlannedTopic]) -> Result<(), HostError> {
    let client = client(options)?;
    let differences = compare_topics(options, planned)?;
    let differs =
        |topic: &&PlannedTopic, what: fn(&Difference) -> bool| differences.get(&topic.name).is_some_and(|all| all.iter().any(what));
    let missing: Vec<&PlannedTopic> = planned.iter().filter(|topic| differs(topic, |one| *one == Difference::Missing)).collect();
    make(&client, &missing)?;
    let set: Vec<&PlannedTopic> = planned.iter().filter(|topic| differs(topic, |one| matches!(one, Difference::Setting { .. }))).collect();
    let mut changes = Vec::new();
    for (topic, settings) in settings_of(&client, &set)? {
        let settings = settings.map_err(|code| KafkaError::NotDescribed { topic: topic.name.clone(), reason: code.to_string() })?;
        // What is not named in such a change goes back to the cluster's default.
        let own = settings.into_iter().filter(|setting| setting.is_own).map(|setting| (setting.name, setting.value));
        let mut entries: BTreeMap<String, String> = own.collect();
        entries.extend(topic.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        changes.push((topic, entries));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let asked: Vec<AlterConfig<'_>> = changes
        .iter()
        .map(|(topic, entries)| {
            let change = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
            entries.iter().fold(change, |change, (name, value)| change.set(name, value))
        })
        .collect();
    let answers = futures_executor::block_on(client.alter_configs(&asked, &bounded())).map_err(KafkaError::client)?;
    for ((topic, _), answer) in changes.iter().zip(answers) {
        answer.map_err(|(_, code)| KafkaError::NotMade { topic: topic.name.clone(), reason: code.to_string() })?;
    }
    Ok(())
}

/// Makes the topics of the plans and the changelogs of the stages that are not there yet; those that are stay as they are.
pub fn make_topics(options: &KafkaOptions, plans: &[TopicPlan], stages: &[&str], partitions: u32, replicas: u32) -> Result<(), HostError> {
    let planned = planned_topics(&options.names, plans, stages, partitions, replicas, options.local.max_record_bytes);
    let planned = degraded_topics(planned, options.guarantee, options.has_compaction);
    make(&client(options)?, &planned.iter().collect::<Vec<_>>())
}

/// Makes topics that nobody has made before; one that is there already is a fault.
pub(crate) fn make_anew(options: &KafkaOptions, topics: &[&PlannedTopic]) -> Result<(), HostError> {
    made(&client(options)?, topics, |_| false)
}

/// Gives topics that have fewer so many partitions as planned.
pub(crate) fn grow(options: &KafkaOptions, topics: &[&PlannedTopic]) -> Result<(), HostError> {
    if topics.is_empty() {
        return Ok(());
    }
    let more: Vec<NewPartitions<'_>> = topics.iter().map(|topic| NewPartitions::new(&topic.name, topic.partitions as usize)).collect();
    let answers = futures_executor::block_on(client(options)?.create_partitions(&more, &bounded())).map_err(KafkaError::client)?;
    for answer in answers {
        answer.map_err(|(topic, code)| KafkaError::NotMade { topic, reason: code.to_string() })?;
    }
    Ok(())
}

fn make(client: &AdminClient<Context>, topics: &[&PlannedTopic]) -> Result<(), HostError> {
    made(client, topics, |code| code == RDKafkaErrorCode::TopicAlreadyExists)
}

fn made(client: &AdminClient<Context>, topics: &[&PlannedTopic], is_well: impl Fn(RDKafkaErrorCode) -> bool) -> Result<(), HostError> {
    if topics.is_empty() {
        return Ok(());
    }
    let new: Vec<NewTopic<'_>> = topics.iter().map(|topic| topic.new_topic()).collect();
    let answers = futures_executor::block_on(client.create_topics(&new, &bounded())).map_err(KafkaError::client)?;
    for answer in answers {
        match answer {
            Ok(_) => {}
            Err((_, code)) if is_well(code) => {}
            Err((topic, code)) => return Err(KafkaError::NotMade { topic, reason: code.to_string() }.into()),
        }
    }
    topics.iter().try_for_each(|topic| wait_for(client, &topic.name))
}

/// Waits until a topic that was made is shown, each partition with a leader: brokers answer before they know it themselves.
fn wait_for(client: &AdminClient<Context>, topic: &str) -> Result<(), HostError> {
    let until = Instant::now() + CALL;
    loop {
        let metadata = client.inner().fetch_metadata(Some(topic), CALL).map_err(KafkaError::client)?;
        let has_leaders =
            |topic: &MetadataTopic| !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0);
        if metadata.topics().iter().any(|shown| shown.name() == topic && has_leaders(shown)) {
            return Ok(());
        }
        if Instant::now() >= until {
            let reason = "it was made, and the brokers do not show it with a leader of each partition yet".to_owned();
            return Err(KafkaError::NotMade { topic: topic.to_owned(), reason }.into());
        }
        std::thread::sleep(LOOK);
    }
}

fn client(options: &KafkaOptions) -> Result<AdminClient<Context>, HostError> {
    Ok(options.admin().create_with_context(options.context()).map_err(KafkaError::client)?)
}

/// The longest transaction that the brokers allow, if this user may see it.
pub(super) fn longest_transaction(options: &KafkaOptions) -> Option<Duration> {
    let client = client(options).ok().filter(|_| options.token_file.is_none())?;
    let metadata = client.inner().fetch_metadata(None, CALL).ok()?;
    let broker = ResourceSpecifier::Broker(metadata.brokers().first()?.id());
    let answers = futures_executor::block_on(client.describe_configs([&broker], &bounded())).ok()?;
    let settings = answers.into_iter().next()?.ok()?;
    let longest = settings.get("transaction.max.timeout.ms")?.value.as_ref()?.parse().ok()?;
    Some(Duration::from_millis(longest))
}

fn bounded() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL))
}

impl PlannedTopic {
    fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions as i32, TopicReplication::Fixed(self.replicas as i32));
        self.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brokers_cannot_do_is_planned_otherwise() {
        let plans = [TopicPlan::by_time("findings"), TopicPlan::by_key("risks")];
        let whole = planned_topics(&Names::default(), &plans, &["track"], 4, 1, 1 << 20);
        assert_eq!(degraded_topics(whole.clone(), Guarantee::ExactlyOnce, true), whole);
        let of = |topics: &[PlannedTopic], topic: &str, setting: &str| {
            topics.iter().find(|planned| planned.name == topic).and_then(|planned| planned.settings.get(setting).cloned())
        };
        let kept = degraded_topics(whole.clone(), Guarantee::AtLeastOnce, false);
        for topic in ["risks", "track.changelog"] {
            let settings = ["cleanup.policy", "retention.ms", "segment.bytes", "delete.retention.ms"].map(|name| of(&kept, topic, name));
            assert_eq!(settings, [Some("delete".to_owned()), Some("-1".to_owned()), None, None]);
        }
        assert_eq!(of(&kept, "findings", "retention.ms"), of(&whole, "findings", "retention.ms"));
        let lags = degraded_topics(whole, Guarantee::AtLeastOnce, true);
        let lag = |topic| of(&lags, topic, "min.compaction.lag.ms");
        assert_eq!((lag("track.changelog").as_deref(), lag("risks")), (Some("86400000"), None));
        assert!(is_changelog("track.changelog.g2") && !is_changelog("risks.g2"));
    }
}
