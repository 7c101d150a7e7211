//! The settings as values, after all of them were accepted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use faultline_stream::MemoryBudget;

use super::{Layers, Origin};

/// What the program runs with.
#[derive(Clone)]
pub struct Settings {
    pub data_folder: PathBuf,
    pub listen: SocketAddr,
    pub tls: Option<(PathBuf, PathBuf)>,
    pub token: Option<Secret>,
    /// Who is what, and where; none for nobody but the operator.
    pub access_roles: Option<PathBuf>,
    /// Who is told what happened; none for nobody.
    pub webhooks: Option<PathBuf>,
    pub report_limit_bytes: u64,
    /// Records a minute; 0 for no bound.
    pub source_quota: u64,
    pub partitions: u32,
    /// Whether somebody chose the partition count: a folder that exists is then refused if it has another.
    pub partitions_are_chosen: bool,
    pub workers: usize,
    pub commit_interval: Duration,
    pub bulk_lag: u64,
    pub memory: MemoryBudget,
    pub retention_findings: Duration,
    pub retention_decisions: Duration,
    pub retention_audit: Duration,
    pub retention_dead_letters: Duration,
    pub retention_tombstones: Duration,
    pub scan_timeout: Duration,
    /// The format up to which a stage's state is finalised.
    pub format_track: Option<u16>,
    pub format_correlate: Option<u16>,
    pub format_act: Option<u16>,
    pub secrets_key: Option<Secret>,
    pub log_level: String,
    pub log_is_json: bool,
    pub stop_timeout: Duration,
    pub health_listen: Option<SocketAddr>,
    /// None to run embedded.
    pub kafka: Option<Kafka>,
}

/// How to reach a cluster, and as whom.
#[derive(Clone)]
pub struct Kafka {
    pub bootstrap: String,
    pub installation: String,
    /// None for one that the data folder keeps.
    pub instance: Option<String>,
    pub replicas: u32,
    pub is_at_least_once: bool,
    pub has_compaction: bool,
    pub session_timeout: Duration,
    pub standbys: u32,
    pub transaction_timeout: Duration,
    pub registry: Option<Registry>,
    pub token_file: Option<PathBuf>,
    /// Options of librdkafka; their values can be secrets.
    pub client: BTreeMap<String, Secret>,
}

/// A schema registry.
#[derive(Clone)]
pub struct Registry {
    pub url: String,
    pub user: String,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    pub ca: Option<PathBuf>,
    /// The files of our certificate, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// From layers that were accepted.
    pub fn of(layers: &Layers) -> Self {
        let text = |key: &str| layers[key].0.clone();
        let span = |key: &str| duration(&layers[key].0).expect("the table accepted it");
        let size = |key: &str| bytes(&layers[key].0).expect("the table accepted it");
        let number = |key: &str| layers[key].0.parse::<u32>().expect("the table accepted it");
        let secret = |key: &str| Some(text(key)).filter(|text| !text.is_empty()).map(Secret::new);
        let file = |key: &str| Some(text(key)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let format = |key: &str| text(key).parse::<u16>().ok();
        let format_track = format("state.format.track");
        let format_correlate = format("state.format.correlate").max(correlate_with(format_track));
        Self {
            data_folder: text("data.folder").into(),
            listen: text("http.listen").parse().expect("the table accepted it"),
            tls: file("http.tls_certificate").zip(file("http.tls_key")),
            token: secret("http.token"),
            access_roles: file("access.roles"),
            webhooks: file("notify.webhooks"),
            report_limit_bytes: size("http.report_limit"),
            source_quota: number("http.source_quota").into(),
            partitions: number("stream.partitions"),
            partitions_are_chosen: layers["stream.partitions"].1 != Origin::Default,
            workers: number("stream.workers") as usize,
            commit_interval: span("stream.commit_interval"),
            bulk_lag: number("stream.bulk_lag").into(),
            memory: MemoryBudget::of(usize::try_from(size("memory.budget")).unwrap_or(usize::MAX)),
            retention_findings: span("retention.findings"),
            retention_decisions: span("retention.decisions"),
            retention_audit: span("retention.audit"),
            retention_dead_letters: span("retention.dead_letters"),
            retention_tombstones: span("retention.tombstones"),
            scan_timeout: span("track.scan_timeout"),
            // Empty is no number.
            format_track,
            format_correlate,
            format_act: format("state.format.act").max(act_with(format_correlate)),
            secrets_key: secret("secrets.key"),
            log_level: text("log.level"),
            log_is_json: text("log.format") == "json",
            stop_timeout: span("stream.stop_timeout"),
            health_listen: Some(text("health.listen"))
                .filter(|text| !text.is_empty())
                .map(|text| text.parse().expect("the table accepted it")),
            kafka: (!text("kafka.bootstrap").is_empty()).then(|| Kafka {
                bootstrap: text("kafka.bootstrap"),
                installation: text("kafka.installation"),
                instance: Some(text("kafka.instance")).filter(|text| !text.is_empty()),
                replicas: number("kafka.replicas"),
                is_at_least_once: text("kafka.guarantee") == "at-least-once",
                has_compaction: text("kafka.cleanup_policy") == "compact",
                session_timeout: span("kafka.session_timeout"),
                standbys: number("kafka.standbys"),
                transaction_timeout: span("kafka.transaction_timeout"),
                registry: (!text("kafka.registry.url").is_empty()).then(|| Registry {
                    url: text("kafka.registry.url"),
                    user: text("kafka.registry.user"),
                    password: secret("kafka.registry.password"),
                    token: secret("kafka.registry.token"),
                    ca: file("kafka.registry.ca"),
                    certificate: file("kafka.registry.certificate").zip(file("kafka.registry.key")),
                }),
                token_file: file("kafka.oauth.token_file"),
                client: client_options(layers),
            }),
        }
    }
}

/// The format of correlate's state that goes with one of track's: from 4 on track says what correlate writes in 3.
fn correlate_with(track: Option<u16>) -> Option<u16> {
    track.filter(|track| *track >= 4).map(|_| 3)
}

/// The format of act's state that goes with one of correlate's: from 5 on correlate says what act writes in 2, from 6 on what it writes in 3.
fn act_with(correlate: Option<u16>) -> Option<u16> {
    correlate.filter(|correlate| *correlate >= 5).map(|correlate| if correlate >= 6 { 3 } else { 2 })
}

fn client_options(layers: &Layers) -> BTreeMap<String, Secret> {
    let option =
        |(key, (value, _)): (&String, &(String, Origin))| Some((key.strip_prefix("kafka.client.")?.to_owned(), Secret::new(value)));
    layers.iter().filter_map(option).collect()
}

/// `100ms`, `5s`, `10m`, `1h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// `512KiB`, `64MiB`, `2GiB`, `1000000B`.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..at].parse().ok()?, text[at..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_their_unit() {
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("7 d"), Some(Duration::from_hours(7 * 24)));
        assert_eq!(bytes("2GiB"), Some(2 << 30));
        for wrong in ["", "5", "s", "5 years", "-1s", "99999999999999999999s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_prints_as_stars() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
