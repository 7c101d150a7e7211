//! The topics a host knows, and what it refuses of a record before it is written.

use std::collections::BTreeMap;

use crate::error::HostError;
use crate::log::Record;

/// The largest record: key, value and headers. Kafka's default is 1 MiB; reports are split into records far below it.
pub(crate) const MAX_RECORD_BYTES: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    pub name: &'static str,
    /// Kept by key (the newest record of each) rather than by time.
    pub compacted: bool,
}

#[derive(Debug)]
pub(crate) struct Topics {
    plans: BTreeMap<&'static str, TopicPlan>,
    pub(crate) partitions: u32,
}

impl Topics {
    pub(crate) fn new(plans: Vec<TopicPlan>, partitions: u32) -> Result<Self, HostError> {
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
        Ok(Self { plans: known, partitions })
    }

    pub(crate) fn plan(&self, topic: &str, partition: u32) -> Result<TopicPlan, HostError> {
        let plan = *self.plans.get(topic).ok_or_else(|| HostError::UnknownTopic { topic: topic.to_owned() })?;
        if partition >= self.partitions {
            return Err(HostError::UnknownPartition { topic: topic.to_owned(), partition, partitions: self.partitions });
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

    pub(crate) fn check(&self, records: &[Record]) -> Result<(), HostError> {
        records.iter().try_for_each(|record| {
            self.plan(record.topic, record.partition)?;
            let bytes = record.bytes();
            if bytes > MAX_RECORD_BYTES {
                return Err(HostError::RecordTooLarge { topic: record.topic, bytes, bound: MAX_RECORD_BYTES });
            }
            Ok(())
        })
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.plans.keys().flat_map(|topic| (0..self.partitions).map(move |partition| (*topic, partition)))
    }
}
