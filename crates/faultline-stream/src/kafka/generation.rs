//! Generations of the topics that are kept by key, and what they are called on the cluster.
//!
//! A topic kept by key cannot get more partitions: its keys would lie in wrong ones, under two records each. So another partition count is
//! another generation of these topics, of the changelogs and of the stages' groups, under names of their own (`risks.g2`). Which one holds
//! is the last record of topic `generations`: every process reads it when it opens the log, and follows it. The first generation has the
//! bare names, and no record (ADR 11).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rdkafka::consumer::Consumer;
use serde_json::{Value, json};

use super::context::{Reader, ask};
use super::options::KafkaOptions;
use super::{CALL, KafkaError, changelog_of, globals};
use crate::error::HostError;
use crate::topics::TopicPlan;

/// Says which generation holds. One partition, kept by key.
pub(crate) const GENERATIONS: &str = "generations";

const FIRST: u32 = 1;
const PAGE: usize = 1024;

/// What topics and groups of one generation are called on the cluster.
#[derive(Clone, Debug)]
pub struct Names {
    generation: u32,
    /// Topics that have another name than in the plans.
    renamed: Arc<[(&'static str, String)]>,
}

impl Default for Names {
    fn default() -> Self {
        Self { generation: FIRST, renamed: Arc::default() }
    }
}

impl Names {
    pub(crate) fn of(generation: u32, plans: &[TopicPlan]) -> Self {
        let names = Self { generation, renamed: Arc::default() };
        if generation == FIRST {
            return names;
        }
        let renamed = plans.iter().filter(|plan| plan.has_generations()).map(|plan| (plan.name, names.suffixed(plan.name))).collect();
        Self { renamed, ..names }
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// A topic of the plans, as the cluster has it.
    pub(crate) fn topic<'n>(&'n self, name: &'n str) -> &'n str {
        self.renamed.iter().find(|(plain, _)| *plain == name).map_or(name, |(_, renamed)| renamed)
    }

    pub(crate) fn changelog(&self, stage: &str) -> String {
        self.suffixed(&changelog_of(stage))
    }

    pub(crate) fn suffixed(&self, name: &str) -> String {
        if self.generation == FIRST { name.to_owned() } else { format!("{name}.g{}", self.generation) }
    }
}

/// A topic's name without its generation, and that.
pub(crate) fn parts(topic: &str) -> (&str, u32) {
    let parts = topic.rsplit_once(".g").and_then(|(plain, number)| Some((plain, number.parse().ok()?)));
    parts.unwrap_or((topic, FIRST))
}

/// A generation, as topic `generations` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    pub number: u32,
    /// How many partitions its keyed topics have. Of the first that is not written down: the topics say so.
    pub partitions: Option<u32>,
}

impl Generation {
    pub(crate) const FIRST: Self = Self { number: FIRST, partitions: None };

    pub(crate) fn key(self) -> Vec<u8> {
        self.number.to_string().into_bytes()
    }

    pub(crate) fn record(self) -> Vec<u8> {
        json!({ "generation": self.number, "partitions": self.partitions }).to_string().into_bytes()
    }

    pub(crate) fn read(value: &[u8]) -> Result<Self, KafkaError> {
        let unclear = || KafkaError::Generation { found: String::from_utf8_lossy(value).into_owned() };
        let read: Value = serde_json::from_slice(value).map_err(|_| unclear())?;
        let number = |name: &str| read[name].as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        let (generation, partitions) = number("generation").zip(number("partitions")).ok_or_else(unclear)?;
        Ok(Self { number: generation, partitions: Some(partitions) })
    }

    /// What topics are called in it.
    pub fn names(self, plans: &[TopicPlan]) -> Names {
        Names::of(self.number, plans)
    }

    /// The one that holds, for who makes or compares topics. A cluster without the topic has the first.
    pub fn of_cluster(options: &KafkaOptions) -> Result<Self, HostError> {
        let config = options.reader_to_end(&options.group("reader"));
        let asking: Reader = config.create_with_context(options.context()).map_err(KafkaError::client)?;
        match Self::that_holds(&asking) {
            Err(HostError::Kafka(KafkaError::NoTopic { .. })) => Ok(Self::FIRST),
            held => held,
        }
    }

    /// The one that holds. Without the topic, or without leave to read it, nobody knows.
    pub(crate) fn that_holds(asking: &Reader) -> Result<Self, HostError> {
        let metadata = ask(asking, CALL, |asking, within| asking.fetch_metadata(Some(GENERATIONS), within))?;
        if metadata.topics().iter().all(|topic| topic.partitions().is_empty()) {
            return Err(KafkaError::NoTopic { topic: GENERATIONS.to_owned() }.into());
        }
        let (mut holds, mut next) = (Self::FIRST, 0);
        loop {
            let page = globals::once(asking, (GENERATIONS, 0), next, PAGE, usize::MAX)?;
            let Some(last) = page.last() else { return Ok(holds) };
            next = last.offset + 1;
            for value in page.iter().filter_map(|record| record.value.as_deref()) {
                holds = Self::read(value)?;
            }
        }
    }
}

/// The newest generation that a process has heard of.
pub(crate) struct Heard(AtomicU32);

impl Heard {
    pub(crate) fn new(generation: u32) -> Self {
        Self(AtomicU32::new(generation))
    }

    /// Takes a record of topic `generations` as it comes.
    pub(crate) fn hear(&self, value: Option<&[u8]>) {
        // What cannot be read is an error for the next who opens the log.
        if let Some(Ok(generation)) = value.map(Generation::read) {
            self.0.fetch_max(generation.number, Ordering::AcqRel);
        }
    }

    pub(crate) fn newest(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_survives_its_record() {
        let generation = Generation { number: 3, partitions: Some(12) };
        assert_eq!(Generation::read(&generation.record()).unwrap(), generation);
        for unclear in ["", "{}", r#"{"generation":0,"partitions":12}"#, r#"{"generation":2}"#, r#"{"generation":2,"partitions":-1}"#] {
            assert!(Generation::read(unclear.as_bytes()).is_err(), "{unclear}");
        }
    }

    #[test]
    fn only_what_is_kept_by_key_and_not_by_all_has_another_name() {
        let plans = crate::topics::topic_plans();
        let (first, second) = (Names::of(1, &plans), Names::of(2, &plans));
        for plan in &plans {
            assert_eq!(first.topic(plan.name), plan.name);
            let expected = if ["tracked", "risks", "shares", "risk-registry", "tickets.desired"].contains(&plan.name) {
                format!("{}.g2", plan.name)
            } else {
                plan.name.to_owned()
            };
            assert_eq!(second.topic(plan.name), expected);
        }
        assert_eq!((first.changelog("track").as_str(), second.changelog("track").as_str()), ("track.changelog", "track.changelog.g2"));
        let topics = ["risks.g12", "risks", "track.changelog.g2", "my.group"];
        assert_eq!(topics.map(parts), [("risks", 12), ("risks", 1), ("track.changelog", 2), ("my.group", 1)]);
    }

    #[test]
    fn what_was_heard_never_goes_back() {
        let heard = Heard::new(2);
        heard.hear(Some(&Generation { number: 3, partitions: Some(8) }.record()));
        heard.hear(Some(&Generation { number: 2, partitions: Some(4) }.record()));
        heard.hear(Some(b"nonsense"));
        heard.hear(None);
        assert_eq!(heard.newest(), 3);
    }
}
