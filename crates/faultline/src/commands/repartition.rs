//! `faultline topics repartition`: more partitions for an installation on Kafka, with all that it knows.

use faultline_stream::{HostError, KafkaError, Repartition, Repartitioned, Repartitioning, repartition};
use serde_json::json;

use crate::cli::Common;
use crate::client::settings;
use crate::commands::{Progress, confirmed, migrate, note, planned, print_json, print_line};
use crate::failure::{Exit, Failure};
use crate::service::plans;
use crate::show::counted;

/// What this command is called among the clients of a cluster, and where in the data folder it keeps state meanwhile.
const NAME: &str = "repartition";

pub fn run(common: &Common, partitions: u32, yes: bool) -> Result<Exit, Failure> {
    let settings = settings(common)?;
    let options = planned::for_administration(&settings, NAME)?;
    if !yes && !confirmed("is everything stopped that works on this installation?") {
        return Err(Failure::new(Exit::WrongUse, "nothing was changed", "stop all of it, then say --yes to go on without being asked"));
    }
    let (plans, folder) = (plans(&settings), settings.data_folder.join(NAME));
    let replicas = settings.kafka.as_ref().map_or(1, |kafka| kafka.replicas);
    let asked = Repartition { plans: &plans, stages: &migrate::STAGES, options: &options, folder: &folder, partitions, replicas };
    let progress = Progress::new(common, "moved", 0);
    let mut holds = false;
    let done = repartition(asked, &mut |step| match step {
        Repartitioning::WaitsForMembers { group } => note(common, &format!("group {group} has members; waiting for their session to end")),
        Repartitioning::Made { generation } => note(common, &format!("generation {generation} of the topics is being written")),
        Repartitioning::Moved(some) => progress.advance(some),
        Repartitioning::Holds { generation } => {
            holds = true;
            note(common, &format!("generation {generation} of the topics holds from now on"));
        }
    });
    progress.end();
    let done = done.map_err(|error| failure(&error, holds))?;
    tell(common, settings.partitions, partitions, &done);
    Ok(Exit::Done)
}

fn failure(error: &HostError, holds: bool) -> Failure {
    let next = "the installation is as it was, with the partitions that it had; mend the cause, and begin again";
    match error {
        _ if holds => Failure::of(Exit::Failed, error, "the new partitions hold, and not all topics have them: run this again to end it"),
        HostError::Kafka(
            KafkaError::GroupAtWork { .. } | KafkaError::Written { .. } | KafkaError::NotMore { .. } | KafkaError::NeedsTransactions,
        ) => Failure::of(Exit::Refused, error, ""),
        HostError::Kafka(KafkaError::NotAtRest { .. }) => Failure::of(
            Exit::Refused,
            error,
            "start the stages, wait until nothing is left to read (GET /v1/backlog), then stop and begin again",
        ),
        HostError::Kafka(KafkaError::NoTopic { .. }) => Failure::of(Exit::Refused, error, "make it with `faultline topics apply`"),
        _ => Failure::of(Exit::Failed, error, next),
    }
}

fn tell(common: &Common, configured: u32, partitions: u32, done: &Repartitioned) {
    let Repartitioned { generation, moved, grown, left } = done;
    if common.json {
        let (records, rows) = moved.as_ref().map(|moved| (&moved.records, &moved.rows)).unzip();
        return print_json(&json!({
            "partitions": partitions, "generation": generation, "records": records, "rows": rows, "grown": grown, "left": left,
        }));
    }
    let of = counted(partitions.into(), "partition", "partitions");
    match moved {
        Some(moved) => {
            let (records, rows): (u64, u64) = (moved.records.values().sum(), moved.rows.values().sum());
            let moved = format!("{} and {}", counted(records, "record", "records"), counted(rows, "row of state", "rows of state"));
            print_line(&format!("{moved} are in generation {generation} of the topics, in {of}"));
        }
        None if grown.is_empty() => print_line(&format!("the installation has {of} already")),
        None => print_line(&format!("the installation has {of} now: what was broken off is at its end")),
    }
    if !left.is_empty() {
        print_line(&format!("no longer used, to be deleted once nobody reads them: {}", left.join(", ")));
    }
    if configured != partitions {
        note(
            common,
            &format!("set stream.partitions to {partitions} wherever it is configured, or `topics verify` calls for {configured}"),
        );
    }
}
