//! `faultline topics`: reading records here, plan and cluster in `planned.rs`.

use faultline_model::topic::{self, Topic};
use serde_json::Value;

use crate::cli::{Common, Topics};
use crate::client::Client;
use crate::commands::{planned, print_line, repartition};
use crate::failure::{Exit, Failure};
use crate::show::{clean, counted};

/// How many records are asked for at once.
const PAGE: u32 = 1000;

pub fn run(common: &Common, command: &Topics) -> Result<Exit, Failure> {
    let (topic, partition, from, limit, key) = match command {
        Topics::Plan => return planned::plan(common),
        Topics::Apply { yes, dry_run } => return planned::apply(common, *yes, *dry_run),
        Topics::Verify => return planned::verify(common),
        Topics::Repartition { partitions, yes } => return repartition::run(common, *partitions, *yes),
        Topics::Read { topic, partition, from, limit, key } => (topic, partition, from, limit, key),
    };
    if Topic::named(topic).is_none() {
        let known: Vec<&str> = topic::ALL.iter().map(|topic| topic.name).collect();
        return Err(Failure::new(Exit::WrongUse, format!("there is no topic {topic:?}"), format!("there are {}", known.join(", "))));
    }
    let client = Client::connect(common)?;
    let partitions = client.get(&format!("/v1/topics/{topic}"), &[])?["partitions"].as_u64().unwrap_or(0) as u32;
    if let Some(asked) = partition
        && *asked >= partitions
    {
        client.end()?;
        let next = format!("{topic} has {}, counted from 0", counted(partitions.into(), "partition", "partitions"));
        return Err(Failure::new(Exit::WrongUse, format!("there is no partition {asked}"), next));
    }
    let mut left = *limit;
    for partition in partition.map_or(0..partitions, |one| one..one + 1) {
        let mut next = *from;
        while left > 0 {
            let mut query = vec![("from", next.to_string()), ("limit", left.min(PAGE).to_string())];
            query.extend(key.clone().map(|key| ("key", key)));
            let answer = client.get(&format!("/v1/topics/{topic}/{partition}"), &query)?;
            for record in answer["records"].as_array().into_iter().flatten() {
                tell(common, record);
                left -= 1;
            }
            match answer["next"].as_u64() {
                Some(offset) if offset > next => next = offset,
                _ => break,
            }
        }
    }
    client.end()?;
    Ok(Exit::Done)
}

/// One record a line, so that it can be searched with the usual tools.
fn tell(common: &Common, record: &Value) {
    if common.json {
        return print_line(&record.to_string());
    }
    let text = |member: &str| clean(record[member].as_str().unwrap_or_default());
    print_line(&format!(
        "{}-{} {} {} {} {}",
        text("topic"),
        record["partition"],
        record["offset"],
        text("time"),
        text("key"),
        record["value"]
    ));
}
