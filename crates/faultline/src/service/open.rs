//! How log, stages and server are set up from the settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faultline_core::act::Act;
use faultline_core::audit::Audit;
use faultline_core::correlate::Correlate;
use faultline_core::notify::Notify;
use faultline_core::track::Track;
use faultline_model::topic;
use faultline_server::{Limits, Serves, Settings as ServerSettings, TlsFiles, Token};
use faultline_stream::{
    CertificateFiles, Courier, EmbeddedLog, Guarantee, Host, HostError, HostOptions, KafkaHost, KafkaLog, KafkaOptions, Options,
    RegistryAuth, RegistryOptions, SystemClock, TopicPlan, topic_plans,
};

use super::roles::{Role, Roles};
use super::{ServiceError, told};
use crate::settings::{Kafka, Secret, Settings};

/// How long a command waits for another one to give the folder free: commands of one pipeline meet, and mostly last moments.
const FOLDER_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks; a lock of a file tells nobody when it goes.
const FOLDER_LOOK: Duration = Duration::from_millis(50);

/// How many times the limit of what is sent a report may have once it is unpacked. The setting's text says so.
const INFLATED_TIMES: u64 = 8;

/// Opens the log, as soon as nobody else has it.
pub fn log(settings: &Settings) -> Result<EmbeddedLog, HostError> {
    opened(settings, !settings.partitions_are_chosen)
}

/// The log of a folder, with the partition count that it was made with, once its stages have nothing left to do.
pub fn log_at_rest(settings: &Settings) -> Result<Arc<EmbeddedLog>, ServiceError> {
    let log = Arc::new(opened(settings, true)?);
    let mut host = Host::new(log.clone(), host_options(settings));
    host.add(track(settings))?.add(correlate(settings))?.add(act(settings))?.add(Audit)?.add(notify(settings)?)?;
    host.run_until_quiet(&SystemClock, &mut |_| ())?;
    log.sync()?;
    Ok(log)
}

fn opened(settings: &Settings, takes_any_count: bool) -> Result<EmbeddedLog, HostError> {
    let begun = Instant::now();
    loop {
        match now(settings, takes_any_count) {
            Err(HostError::InUse { .. }) if begun.elapsed() < FOLDER_PATIENCE => std::thread::sleep(FOLDER_LOOK),
            opened => return opened,
        }
    }
}

/// Opens the log. A folder keeps the partition count that it was made with, unless it is to have the one that was asked for.
fn now(settings: &Settings, takes_any_count: bool) -> Result<EmbeddedLog, HostError> {
    let path = settings.data_folder.join("log");
    let open = |partitions| {
        let memory_budget_bytes = settings.memory.rocksdb_bytes;
        EmbeddedLog::open(&path, plans(settings), Options { memory_budget_bytes, partitions, ..Options::default() })
    };
    match open(settings.partitions) {
        Err(HostError::Partitions { found, .. }) if takes_any_count => open(found),
        opened => opened,
    }
}

/// How many requests may write at once, each in a transaction of its own.
const DOOR_WRITERS: usize = 4;

/// How this process reaches its cluster.
pub fn kafka_options(settings: &Settings, kafka: &Kafka, instance: String) -> KafkaOptions {
    let client = kafka.client.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    let registry = kafka.registry.as_ref().map(|registry| {
        let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let auth = match (exposed(&registry.token), exposed(&registry.password)) {
            (Some(token), _) => RegistryAuth::Bearer { token },
            (None, Some(password)) => RegistryAuth::Basic { user: registry.user.clone(), password },
            (None, None) => RegistryAuth::Nobody,
        };
        let certificate = registry.certificate.clone().map(|(certificate, key)| CertificateFiles { certificate, key });
        RegistryOptions { auth, ca: registry.ca.clone(), certificate, ..RegistryOptions::new(registry.url.clone()) }
    });
    KafkaOptions {
        registry,
        client,
        token_file: kafka.token_file.clone(),
        local: Options { memory_budget_bytes: settings.memory.rocksdb_bytes, ..Options::default() },
        buffer_bytes: settings.memory.buffer_bytes,
        transaction_timeout: kafka.transaction_timeout,
        guarantee: guarantee(kafka),
        has_compaction: kafka.has_compaction,
        session_timeout: kafka.session_timeout,
        standbys: kafka.standbys as usize,
        ..KafkaOptions::new(kafka.bootstrap.clone(), kafka.installation.clone(), instance)
    }
}

pub fn guarantee(kafka: &Kafka) -> Guarantee {
    if kafka.is_at_least_once { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce }
}

/// Says which guarantees are gone, where some are.
fn tell_of_degraded(kafka: &Kafka) {
    if kafka.is_at_least_once {
        tracing::warn!(
            "degraded: kafka.guarantee is at-least-once. What a process had said when it was killed is said again; one that slept past its \
             session is not fenced and may write over its successor's work; what a door appends may be there in part. docs/guarantees.md"
        );
    }
    if !kafka.has_compaction {
        tracing::warn!(
            "degraded: kafka.cleanup_policy is delete. Topics kept by key and changelogs grow without end; a restore, and views that are filled anew, \
             read all that was ever said; what was removed stays on the brokers. docs/guarantees.md"
        );
    }
}

/// The log on Kafka, with what this process keeps of it in the data folder.
pub fn kafka_log(settings: &Settings, kafka: &Kafka, roles: &Roles) -> Result<KafkaLog, ServiceError> {
    let instance = match &kafka.instance {
        Some(instance) => instance.clone(),
        None => super::instance::kept(&settings.data_folder)?,
    };
    let doors = if roles.has_api() || roles.has(Role::Notify) { DOOR_WRITERS } else { 0 };
    let writers = if roles.has_stages() { settings.workers } else { 0 } + doors;
    let path = settings.data_folder.join("kafka");
    let options = kafka_options(settings, kafka, instance);
    options.check()?;
    tell_of_degraded(kafka);
    let mut plans = plans(settings);
    // Who lets nobody in keeps no token's hash.
    plans.retain(|plan| roles.has_api() || plan.name != topic::ACCESS.name);
    Ok(KafkaLog::open(path, &plans, options, writers)?)
}

/// Where the views of a generation of the topics are: of another one their positions would mean nothing. Those of others go.
pub fn views_file(folder: &Path, name: &str, generation: u32) -> PathBuf {
    let (stem, end) = name.rsplit_once('.').unwrap_or((name, ""));
    let named = |generation: u32| if generation == 1 { name.to_owned() } else { format!("{stem}-g{generation}.{end}") };
    for other in 1..generation {
        for file in [named(other), format!("{}-wal", named(other)), format!("{}-shm", named(other))] {
            // Mostly there is none; what cannot be removed takes room, and is read by nobody.
            let _ = std::fs::remove_file(folder.join(file));
        }
    }
    folder.join(named(generation))
}

/// The stages of these roles.
pub fn kafka_host(
    log: &Arc<KafkaLog>,
    settings: &Settings,
    roles: &Roles,
    courier: Option<Arc<dyn Courier>>,
) -> Result<KafkaHost, ServiceError> {
    let mut host = KafkaHost::new(log.clone(), host_options(settings));
    if roles.has(Role::Track) {
        host.add(track(settings))?;
    }
    if roles.has(Role::Correlate) {
        host.add(correlate(settings))?;
    }
    if roles.has(Role::Act) {
        host.add(act(settings))?;
    }
    if roles.has(Role::Audit) {
        host.add(Audit)?;
    }
    if roles.has(Role::Notify) {
        host.add_with(notify(settings)?, courier)?;
    }
    Ok(host)
}

pub fn plans(settings: &Settings) -> Vec<TopicPlan> {
    let kept = |plan: TopicPlan| match plan.name {
        "findings" | "findings.bulk" => settings.retention_findings,
        "decisions" | "steps" | "outcomes" | "acts" | "judged" | "notices" | "deliveries" => settings.retention_decisions,
        "audit" => settings.retention_audit,
        "dead-letters" => settings.retention_dead_letters,
        _ => settings.retention_tombstones,
    };
    topic_plans().into_iter().map(|plan| plan.kept_for(kept(plan))).collect()
}

pub fn views_options(settings: &Settings) -> faultline_views::Options {
    // Processes behind one address share the token. Without one, whoever reaches the lists may see all of them.
    let secret = settings.token.as_ref().map_or("", |token| token.expose());
    faultline_views::Options {
        cursors: faultline_views::CursorKey::of(secret.as_bytes()),
        writer_cache_bytes: settings.memory.views_writer_bytes,
        reader_cache_bytes: settings.memory.views_reader_bytes,
        ..faultline_views::Options::default()
    }
}

pub fn host_options(settings: &Settings) -> HostOptions {
    HostOptions {
        workers: settings.workers,
        commit_interval: settings.commit_interval,
        bulk_lag: settings.bulk_lag,
        batch_bytes: settings.memory.batch_bytes,
        at_hand_bytes: settings.memory.at_hand_bytes,
        ..HostOptions::default()
    }
}

pub fn correlate(settings: &Settings) -> Correlate {
    Correlate::new().finalised_up_to(settings.format_correlate)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

pub fn notify(settings: &Settings) -> Result<Notify, ServiceError> {
    Ok(Notify { destinations: told::destinations(settings.webhooks.as_deref())?, kept_ms: millis(settings.retention_dead_letters) })
}

pub fn act(settings: &Settings) -> Act {
    Act { asked_kept_ms: millis(settings.retention_decisions), finalised: settings.format_act, ..Act::default() }
}

pub fn track(settings: &Settings) -> Track {
    Track {
        scan_timeout_ms: millis(settings.scan_timeout),
        went_kept_ms: millis(settings.retention_tombstones),
        asked_kept_ms: millis(settings.retention_decisions),
        finalised: settings.format_track,
        ..Track::default()
    }
}

pub fn server(settings: &Settings, roles: &Roles) -> Result<ServerSettings, ServiceError> {
    let tls = settings.tls.clone().map(|(certificate, key)| TlsFiles { certificate, key });
    let token = settings.token.as_ref().map(|token| Token::new(token.expose())).transpose()?;
    let limits = Limits {
        upload_bytes: settings.report_limit_bytes,
        inflated_bytes: settings.report_limit_bytes.saturating_mul(INFLATED_TIMES),
        ..Limits::default()
    };
    let spool = settings.data_folder.join("spool");
    std::fs::create_dir_all(&spool).map_err(|source| ServiceError::Folder { path: spool.clone(), source })?;
    let serves = Serves { takes_in: roles.has(Role::Gateway), has_lists: roles.has(Role::Views) };
    let roles = settings.access_roles.as_deref().map(crate::access::roles).transpose()?.unwrap_or_default();
    Ok(ServerSettings {
        listen: settings.listen,
        tls,
        token,
        operator: crate::access::user(),
        roles: Arc::new(roles),
        limits,
        serves,
        spool: Some(spool),
    })
}
