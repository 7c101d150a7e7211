//! Doors: how records come in from outside the stages.

use faultline_model::time::Timestamp;
use faultline_model::topic::Topic;

use crate::error::HostError;
use crate::log::{Headers, Log, Record};

/// Appends records to a topic, each to the partition of its key, all of them or none. They are durable when this returns.
/// Gives partition and offset of each.
pub fn append(
    log: &dyn Log,
    topic: Topic,
    records: Vec<(String, Option<Vec<u8>>)>,
    time: Timestamp,
    headers: &[(String, Vec<u8>)],
) -> Result<Vec<(u32, u64)>, HostError> {
    let headers = Headers::from(headers);
    let partitions = log.partitions(topic.name)?;
    let records: Vec<Record> = records
        .into_iter()
        .map(|(key, value)| Record {
            topic: topic.name,
            partition: topic.partition_of(&key, partitions),
            key: key.into_bytes(),
            value,
            headers: headers.clone(),
            timestamp_ms: time.millis(),
        })
        .collect();
    let places: Vec<u32> = records.iter().map(|record| record.partition).collect();
    Ok(places.into_iter().zip(log.append(records)?).collect())
}
