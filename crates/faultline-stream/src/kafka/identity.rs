//! Whether what a folder keeps is of the topics that are there, or of some that had their names. Kafka gives each topic an id, which the client does not
//! show. What stood last tells as well: of a task's changelog it is a row that the state has, of a global topic the last record of its copy.

use rdkafka::consumer::Consumer;

use super::context::{Reader, watermarks};
use super::globals::once;
use super::options::{Guarantee, KafkaOptions};
use super::{CALL, KafkaError};
use crate::embedded::EmbeddedLog;
use crate::error::HostError;
use crate::log::{Log, Stored};
use crate::topics::TopicPlan;

/// A topic that is not the one of which the folder keeps something, if there is one. Where what stood last was compacted away since nobody knows, and
/// it counts as the same.
pub(super) fn other_topic(
    asking: &Reader,
    local: &EmbeddedLog,
    options: &KafkaOptions,
    plans: &[TopicPlan],
) -> Result<Option<String>, HostError> {
    for plan in plans.iter().filter(|plan| plan.is_global) {
        let end = local.end_offset(plan.name, 0)?;
        if end == 0 {
            continue;
        }
        // Its copy would take nothing of what comes before it reaches the old end.
        if watermarks(asking, plan.name, 0, CALL)?.1 < end {
            return Ok(Some(plan.name.to_owned()));
        }
        // The word that a key went is dropped here and there at times of their own.
        let Some(here) = local.read(plan.name, 0, end - 1, 1, usize::MAX)?.into_iter().find(|here| here.offset == end - 1) else {
            continue;
        };
        if at(asking, plan.name, 0, end - 1)?.is_some_and(|there| (&here.key, &here.value) != (&there.key, &there.value)) {
            return Ok(Some(plan.name.to_owned()));
        }
    }
    // Without transactions a torn commit is mended in what is kept, and its changelog has it as it was.
    if options.guarantee == Guarantee::AtLeastOnce {
        return Ok(None);
    }
    let mut known = Vec::new();
    for (stage, partition, next) in local.all_kept()? {
        let changelog = options.names.changelog(&stage);
        // Topics are made anew whole: one task that knows speaks for those of its stage.
        if next == 0 || known.contains(&changelog) {
            continue;
        }
        match at(asking, &changelog, partition, next - 1) {
            Ok(Some(there)) if local.kept_row(&stage, partition, &there.key)? != there.value => return Ok(Some(changelog)),
            Ok(Some(_)) => known.push(changelog),
            Ok(None) => {}
            // It may be gone, or not be this process's to read: who needs it will tell.
            Err(error) => {
                tracing::warn!(%changelog, %error, "what is kept here could not be compared with it");
                known.push(changelog);
            }
        }
    }
    Ok(None)
}

/// The record at an offset, if it is still there, and committed.
fn at(asking: &Reader, topic: &str, partition: u32, offset: u64) -> Result<Option<Stored>, HostError> {
    let metadata = asking.fetch_metadata(Some(topic), CALL).map_err(KafkaError::client)?;
    if metadata.topics().iter().all(|topic| topic.partitions().len() <= partition as usize) {
        return Err(KafkaError::NoTopic { topic: topic.to_owned() }.into());
    }
    let page = once(asking, (topic, partition), offset, 1, 1)?;
    Ok(page.into_iter().next().filter(|record| record.offset == offset))
}
