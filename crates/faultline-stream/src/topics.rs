//! The topics a host knows: how long each keeps a record, and what it refuses of one before it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use faultline_model::time::Timestamp;
use faultline_model::topic::{self, Topic};

use crate::error::HostError;
use crate::log::Record;

/// The largest record that is accepted by default: key, value and headers. Kafka's default; evidence beyond it goes by reference.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// What a task's own record may have more: a dead letter holds a record as it came, and the reason.
pub(crate) const LETTER_BYTES: usize = 16 << 10;

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = DAY.saturating_mul(7);

/// How a topic is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    pub name: &'static str,
    /// Kept by key (the newest record of each) rather than by time.
    pub compacted: bool,
    /// Read by every task: only partition 0 is used.
    pub is_global: bool,
    /// By record time: how long a record stays, or in a compacted topic the word that a key went.
    pub retention: Duration,
}

impl TopicPlan {
    /// A topic whose records are kept for so long; 7 days unless told.
    pub const fn by_time(name: &'static str) -> Self {
        Self { name, compacted: false, is_global: false, retention: WEEK }
    }

    /// A topic that keeps the newest record of each key, and for 7 days that a key went.
    pub const fn by_key(name: &'static str) -> Self {
        Self { name, compacted: true, is_global: false, retention: WEEK }
    }

    /// Whether another partition count is another topic on Kafka. Topics kept by time get more partitions in place: what they hold is
    /// read, and what comes is placed anew. Global ones have one.
    pub const fn has_generations(&self) -> bool {
        self.compacted && !self.is_global
    }

    /// With another retention.
    #[must_use]
    pub const fn kept_for(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// The record time before which a record is too old.
    pub(crate) fn cutoff(&self, now: Timestamp) -> i64 {
        now.millis().saturating_sub(i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX))
    }

    /// The plan of a topic of the contract, with the retention that is usual for it.
    pub fn of(topic: Topic) -> Self {
        let plan = if topic.is_compacted() { Self::by_key(topic.name) } else { Self::by_time(topic.name) };
        let plan = Self { is_global: topic.is_global, ..plan };
        match topic {
            topic::DECISIONS | topic::STEPS | topic::OUTCOMES | topic::ACTS | topic::JUDGED | topic::NOTICES | topic::DELIVERIES => {
                plan.kept_for(DAY.saturating_mul(90))
            }
            topic::AUDIT => plan.kept_for(DAY.saturating_mul(3 * 365)),
            topic::DEAD_LETTERS => plan.kept_for(DAY.saturating_mul(30)),
            _ => plan,
        }
    }
}

/// The plans of all topics of the contract.
pub fn topic_plans() -> Vec<TopicPlan> {
    topic::ALL.into_iter().map(TopicPlan::of).collect()
}

#[derive(Debug)]
pub(crate) struct Topics {
    plans: BTreeMap<&'static str, TopicPlan>,
    partitions: u32,
    max_record_bytes: usize,
}

impl Topics {
    pub(crate) fn new(plans: Vec<TopicPlan>, partitions: u32, max_record_bytes: usize) -> Result<Self, HostError> {
        let fails = |reason: String| Err(HostError::Plan { reason });
        if partitions == 0 {
            return fails("a topic needs at least one partition".to_owned());
        }
        let mut known = BTreeMap::new();
        for plan in plans {
            if plan.name.is_empty() || plan.name.len() > 249 {
                return fails(format!("{:?} is no topic name: 1 to 249 bytes are expected", plan.name));
            }
            if known.insert(plan.name, plan).is_some() {
                return fails(format!("topic {} is named twice", plan.name));
            }
        }
        Ok(Self { plans: known, partitions, max_record_bytes })
    }

    pub(crate) fn named(&self, topic: &str) -> Result<TopicPlan, HostError> {
        self.plans.get(topic).copied().ok_or_else(|| HostError::UnknownTopic { topic: topic.to_owned() })
    }

    pub(crate) fn all(&self) -> Vec<TopicPlan> {
        self.plans.values().copied().collect()
    }

    pub(crate) fn partitions(&self, plan: TopicPlan) -> u32 {
        if plan.is_global { 1 } else { self.partitions }
    }

    pub(crate) fn plan(&self, topic: &str, partition: u32) -> Result<TopicPlan, HostError> {
        let plan = self.named(topic)?;
        let partitions = self.partitions(plan);
        if partition >= partitions {
            return Err(HostError::UnknownPartition { topic: topic.to_owned(), partition, partitions });
        }
        Ok(plan)
    }

    pub(crate) fn compacted(&self, topic: &str, partition: u32) -> Result<TopicPlan, HostError> {
        let plan = self.plan(topic, partition)?;
        if plan.compacted { Ok(plan) } else { Err(HostError::NotCompacted { topic: topic.to_owned() }) }
    }

    /// The plan of a topic that may be truncated so far.
    pub(crate) fn truncatable(&self, topic: &str, partition: u32, below: u64, least_position: u64) -> Result<TopicPlan, HostError> {
        let plan = self.plan(topic, partition)?;
        if plan.compacted {
            return Err(HostError::NotByTime { topic: topic.to_owned() });
        }
        if below > least_position {
            return Err(HostError::StillNeeded { topic: topic.to_owned(), partition, below, least_position });
        }
        Ok(plan)
    }

    /// What a door appends.
    pub(crate) fn check_appended(&self, records: &[Record]) -> Result<(), HostError> {
        self.check(records, self.max_record_bytes)
    }

    /// What a task says.
    pub(crate) fn check_outputs(&self, records: &[Record]) -> Result<(), HostError> {
        self.check(records, self.max_record_bytes + LETTER_BYTES)
    }

    fn check(&self, records: &[Record], bound: usize) -> Result<(), HostError> {
        records.iter().try_for_each(|record| {
            self.plan(record.topic, record.partition)?;
            let bytes = record.bytes();
            if bytes > bound {
                return Err(HostError::RecordTooLarge { topic: record.topic, bytes, bound });
            }
            Ok(())
        })
    }

    pub(crate) fn max_record_bytes(&self) -> usize {
        self.max_record_bytes
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.plans.values().flat_map(|plan| (0..self.partitions(*plan)).map(move |partition| (plan.name, partition)))
    }
}
