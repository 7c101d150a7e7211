//! The door that shows the topics, each record decoded by its topic's type.

use std::sync::Arc;

use faultline_model::access::{AccessEnvelope, AccessRecord};
use faultline_model::audit::{Act, AuditEntry};
use faultline_model::avro::{self, AvroError, TopicValue};
use faultline_model::catalog::{CatalogEnvelope, CatalogRecord};
use faultline_model::dead_letter::DeadLetter;
use faultline_model::decision::{Decision, Outcome};
use faultline_model::exception::{Held, StepRecord};
use faultline_model::intel::{IntelEnvelope, IntelRecord};
use faultline_model::notice::{Delivery, Notice};
use faultline_model::record::{FindingsEnvelope, FindingsRecord};
use faultline_model::register::RegisterEntry;
use faultline_model::risk::Risk;
use faultline_model::share::Share;
use faultline_model::ticket::{TicketEnvelope, TicketRecord};
use faultline_model::time::Timestamp;
use faultline_model::topic::{self, Topic};
use faultline_model::tracked::{TrackedEnvelope, TrackedRecord};
use faultline_server::doors::{DoorError, TopicPage, TopicQuery, TopicRecord, Topics};
use faultline_stream::{HostError, Log, Stored};
use serde::Serialize;
use serde_json::{Value, json};

/// How much of a partition is read for one page.
const PAGE_BYTES: usize = 8 << 20;
/// Between the parts of a key, for people.
const SEPARATOR_SHOWN: &str = " / ";

pub struct TopicDoor {
    log: Arc<dyn Log>,
}

impl TopicDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }
}

impl Topics for TopicDoor {
    fn partitions(&self, topic: &str) -> Result<u32, DoorError> {
        Topic::named(topic).ok_or_else(|| {
            let known: Vec<&str> = topic::ALL.iter().map(|topic| topic.name).collect();
            DoorError::NotFound(format!("there is no topic {topic:?}; there are {}", known.join(", ")))
        })?;
        self.log.partitions(topic).map_err(fault)
    }

    fn read(&self, query: &TopicQuery) -> Result<TopicPage, DoorError> {
        let partitions = self.partitions(&query.topic)?;
        if query.partition >= partitions {
            return Err(DoorError::NotFound(format!("{} has partitions 0 to {}", query.topic, partitions - 1)));
        }
        let page = self.log.read(&query.topic, query.partition, query.from, query.limit, PAGE_BYTES).map_err(fault)?;
        let next = page.last().map(|last| last.offset + 1);
        let is_wanted = |stored: &&Stored| shown_key(&stored.key).starts_with(&query.key);
        let records = page.iter().filter(is_wanted).map(|stored| shown(&query.topic, query.partition, stored)).collect();
        Ok(TopicPage { records, next })
    }
}

pub(super) fn fault(error: HostError) -> DoorError {
    DoorError::Fault(Box::new(error))
}

pub(super) fn shown_key(key: &[u8]) -> String {
    String::from_utf8_lossy(key).replace(faultline_model::partition::SEPARATOR, SEPARATOR_SHOWN)
}

fn shown(topic: &str, partition: u32, stored: &Stored) -> TopicRecord {
    let value = stored.value.as_deref().map_or(Value::Null, |value| {
        decoded(topic, value).unwrap_or_else(|error| json!({ "unreadable": error.to_string(), "bytes": value.len() }))
    });
    let time = Timestamp::from_millis(stored.timestamp_ms).to_string();
    TopicRecord { topic: topic.to_owned(), partition, offset: stored.offset, time, key: shown_key(&stored.key), value }
}

pub(super) fn decoded(topic: &str, value: &[u8]) -> Result<Value, AvroError> {
    match topic {
        "findings" | "findings.bulk" => body::<FindingsRecord, FindingsEnvelope>(value),
        "tracked" => body::<TrackedRecord, TrackedEnvelope>(value),
        "catalog" => body::<CatalogRecord, CatalogEnvelope>(value),
        "intel" => body::<IntelRecord, IntelEnvelope>(value),
        "decisions" => body::<Decision, Decision>(value),
        "risks" => body::<Risk, Risk>(value),
        "outcomes" => body::<Outcome, Outcome>(value),
        "access" => body::<AccessRecord, AccessEnvelope>(value),
        "steps" => body::<StepRecord, StepRecord>(value),
        "shares" => body::<Share, Share>(value),
        "exceptions" => body::<Held, Held>(value),
        "risk-registry" => body::<RegisterEntry, RegisterEntry>(value),
        "tickets.desired" => body::<TicketRecord, TicketEnvelope>(value),
        "notices" => body::<Notice, Notice>(value),
        "deliveries" => body::<Delivery, Delivery>(value),
        "acts" | "judged" => body::<Act, Act>(value),
        "audit" => body::<AuditEntry, AuditEntry>(value),
        // The one that is left; a test has all of them.
        _ => body::<DeadLetter, DeadLetter>(value),
    }
}

/// As it stands in Avro, without the bodies that are not set.
fn body<T: TopicValue, B: From<T> + Serialize>(value: &[u8]) -> Result<Value, AvroError> {
    let record: T = avro::decode(value)?;
    let mut shown = serde_json::to_value(B::from(record)).unwrap_or_default();
    if let Value::Object(members) = &mut shown
        && members.contains_key("kind")
    {
        members.retain(|_, member| !member.is_null());
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_model::avro::Subject;

    #[test]
    fn every_topic_is_shown_by_its_own_type() {
        for topic in topic::ALL {
            let id = Subject::of_topic(topic.name).unwrap().newest().id;
            let cut = [&[0], &id.to_be_bytes()[..]].concat();
            let error = decoded(topic.name, &cut).unwrap_err();
            assert!(!matches!(error, AvroError::UnknownSchema { .. }), "{}: {error}", topic.name);
        }
    }
}
