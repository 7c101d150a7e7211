//! How log, stages and server are set up from the settings.

use std::time::{Duration, Instant};

use faultline_core::track::Track;
use faultline_server::{Limits, Settings as ServerSettings, TlsFiles, Token};
use faultline_stream::{EmbeddedLog, HostError, HostOptions, Options, TopicPlan, topic_plans};

use super::ServiceError;
use crate::settings::Settings;

/// How long a command waits for another one to give the folder free: commands of one pipeline meet, and mostly last moments.
const FOLDER_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks; a lock of a file tells nobody when it goes.
const FOLDER_LOOK: Duration = Duration::from_millis(50);

/// How many times the limit of what is sent a report may have once it is unpacked. The setting's text says so.
const INFLATED_TIMES: u64 = 8;

/// Opens the log, as soon as nobody else has it.
pub fn log(settings: &Settings) -> Result<EmbeddedLog, HostError> {
    let begun = Instant::now();
    loop {
        match now(settings) {
            Err(HostError::InUse { .. }) if begun.elapsed() < FOLDER_PATIENCE => std::thread::sleep(FOLDER_LOOK),
            opened => return opened,
        }
    }
}

/// Opens the log. A folder keeps the partition count that it was made with, unless somebody asked for another.
fn now(settings: &Settings) -> Result<EmbeddedLog, HostError> {
    let path = settings.data_folder.join("log");
    let open = |partitions| {
        let memory_budget_bytes = usize::try_from(settings.memory_budget_bytes).unwrap_or(usize::MAX);
        EmbeddedLog::open(&path, plans(settings), Options { memory_budget_bytes, partitions, ..Options::default() })
    };
    match open(settings.partitions) {
        Err(HostError::Partitions { found, .. }) if !settings.partitions_are_chosen => open(found),
        opened => opened,
    }
}

fn plans(settings: &Settings) -> Vec<TopicPlan> {
    let kept = |plan: TopicPlan| match plan.name {
        "findings" => settings.retention_findings,
        "decisions" | "outcomes" => settings.retention_decisions,
        "dead-letters" => settings.retention_dead_letters,
        _ => settings.retention_tombstones,
    };
    topic_plans().into_iter().map(|plan| plan.kept_for(kept(plan))).collect()
}

pub fn host_options(settings: &Settings) -> HostOptions {
    HostOptions { workers: settings.workers, commit_interval: settings.commit_interval, ..HostOptions::default() }
}

pub fn track(settings: &Settings) -> Track {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Track {
        scan_timeout_ms: millis(settings.scan_timeout),
        went_kept_ms: millis(settings.retention_tombstones),
        asked_kept_ms: millis(settings.retention_decisions),
        ..Track::default()
    }
}

pub fn server(settings: &Settings) -> Result<ServerSettings, ServiceError> {
    let tls = settings.tls.clone().map(|(certificate, key)| TlsFiles { certificate, key });
    let token = settings.token.as_ref().map(|token| Token::new(token.expose())).transpose()?;
    let limits = Limits {
        upload_bytes: settings.report_limit_bytes,
        inflated_bytes: settings.report_limit_bytes.saturating_mul(INFLATED_TIMES),
        ..Limits::default()
    };
    let spool = settings.data_folder.join("spool");
    std::fs::create_dir_all(&spool).map_err(|source| ServiceError::Folder { path: spool.clone(), source })?;
    Ok(ServerSettings { listen: settings.listen, tls, token, limits, spool: Some(spool) })
}
