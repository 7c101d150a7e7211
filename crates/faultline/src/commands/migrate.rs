//! `faultline migrate`: an embedded installation moves to Kafka, with all that it knows.

use faultline_core::act::Act;
use faultline_core::audit::Audit;
use faultline_core::correlate::Correlate;
use faultline_core::notify::Notify;
use faultline_core::track::Track;
use faultline_stream::{Difference, HostError, KafkaError, Moved, MovedStage, compare_topics, migrate};
use serde_json::json;

use crate::cli::Common;
use crate::client::settings;
use crate::commands::{Progress, note, planned, print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::service::log_at_rest;
use crate::settings::Settings;
use crate::show::{Table, counted};

/// All stages: their state moves where an installation does, and where its partition count changes.
pub const STAGES: [MovedStage; 5] = [
    MovedStage::of::<Track>(),
    MovedStage::of::<Correlate>(),
    MovedStage::of::<Act>(),
    MovedStage::of::<Audit>(),
    MovedStage::of::<Notify>(),
];

pub fn run(common: &Common) -> Result<Exit, Failure> {
    let settings = settings(common)?;
    let options = planned::options(&settings, "migrate")?;
    let log = settings.data_folder.join("log");
    if !log.is_dir() {
        let what = format!("{} holds no embedded installation", settings.data_folder.display());
        return Err(Failure::new(Exit::WrongUse, what, "name its data folder with --data"));
    }
    let differences = compare_topics(&options, &planned::planned(&settings, &options)?).map_err(planned::of_cluster)?;
    if let Some((topic, difference)) = differences.iter().find_map(|(topic, all)| Some((topic, all.iter().find(|one| one.is_fatal())?))) {
        let next = match difference {
            Difference::Missing => "make the topics with `faultline topics apply`, then begin again",
            _ => "`faultline topics verify` tells all that differs",
        };
        return Err(Failure::new(Exit::Refused, format!("topic {topic} {difference}"), next));
    }
    let fails = |error: &(dyn std::error::Error + 'static), next: &str| Failure::of(Exit::Failed, error, next);
    let log = log_at_rest(&settings)
        .map_err(|error| fails(&error, "nothing was moved; mend it with the folder run embedded, then begin again"))?;
    let progress = Progress::new(common, "moved", 0);
    let mut all = 0;
    let moved = migrate(&*log, &STAGES, &options, &mut |some| {
        all += some;
        progress.advance(some);
    });
    progress.end();
    let moved = moved.map_err(|error| match &error {
        HostError::Kafka(KafkaError::NotEmpty { .. } | KafkaError::GroupAtWork { .. }) => Failure::of(Exit::Refused, &error, ""),
        _ if all == 0 => fails(&error, "nothing was moved"),
        _ => {
            fails(&error, "the folder is as it was: delete the cluster's topics, make them with `faultline topics apply`, and begin again")
        }
    })?;
    tell(common, &settings, &moved);
    Ok(Exit::Done)
}

fn tell(common: &Common, settings: &Settings, moved: &Moved) {
    let Moved { partitions, records, rows } = moved;
    if common.json {
        print_json(&json!({ "partitions": partitions, "records": records, "rows": rows }));
    } else {
        let mut table = Table::new(&["moved", "of", "to"]);
        for (topic, count) in records {
            table.row([counted(*count, "record", "records"), format!("topic {topic}"), (*topic).to_owned()]);
        }
        for (stage, count) in rows {
            table.row([counted(*count, "row", "rows"), format!("stage {stage}"), format!("{stage}.changelog")]);
        }
        print_text(&table.to_string());
        print_line(&format!("the installation is now on Kafka, in {}", counted((*partitions).into(), "partition", "partitions")));
    }
    let folder = settings.data_folder.display();
    note(common, &format!("{folder} is as it was; do not run it embedded any more, and run `faultline run` on other folders"));
    let has_kept_key = settings.secrets_key.is_none() && settings.data_folder.join("secrets.key").exists();
    if has_kept_key {
        note(common, &format!("copy {folder}/secrets.key into the data folder of each gateway: without it known secrets look new"));
    }
}
