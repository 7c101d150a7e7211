//! Topics as they are planned.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::options::KafkaOptions;
use super::{KafkaError, changelog_of};
use crate::error::HostError;
use crate::topics::TopicPlan;

const CALL: Duration = Duration::from_secs(30);
/// The active segment is never compacted: with the brokers' usual one of 1 GiB a changelog would hardly ever be.
const CHANGELOG_SEGMENT_BYTES: &str = "67108864";

struct Made {
    name: String,
    partitions: u32,
    settings: Vec<(&'static str, String)>,
}

/// Makes the topics of the plans and the changelogs of the stages that are not there yet; those that are stay as they are.
pub fn make_topics(options: &KafkaOptions, plans: &[TopicPlan], stages: &[&str], partitions: u32, replicas: u32) -> Result<(), HostError> {
    let of_plan = |plan: &TopicPlan| {
        let (policy, kept) = if plan.compacted { ("compact", "delete.retention.ms") } else { ("delete", "retention.ms") };
        let settings = vec![("cleanup.policy", policy.to_owned()), (kept, plan.retention.as_millis().to_string())];
        Made { name: plan.name.to_owned(), partitions: if plan.is_global { 1 } else { partitions }, settings }
    };
    let of_stage = |stage: &&str| {
        let settings = vec![("cleanup.policy", "compact".to_owned()), ("segment.bytes", CHANGELOG_SEGMENT_BYTES.to_owned())];
        Made { name: changelog_of(stage), partitions, settings }
    };
    let made: Vec<Made> = plans.iter().map(of_plan).chain(stages.iter().map(of_stage)).collect();
    let new: Vec<NewTopic<'_>> = made.iter().map(|made| made.topic(replicas)).collect();
    let client: AdminClient<DefaultClientContext> = options.admin().create().map_err(KafkaError::client)?;
    let asked = AdminOptions::new().operation_timeout(Some(CALL)).request_timeout(Some(CALL));
    let answers = futures_executor::block_on(client.create_topics(&new, &asked)).map_err(KafkaError::client)?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(KafkaError::NotMade { topic, reason: code.to_string() }.into()),
        }
    }
    Ok(())
}

impl Made {
    fn topic(&self, replicas: u32) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions as i32, TopicReplication::Fixed(replicas as i32));
        self.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    }
}
