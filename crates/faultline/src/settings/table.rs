//! The settings, one entry each: key, default, what it is, what is accepted.

use std::net::SocketAddr;

use faultline_stream::MemoryBudget;

use super::value::{bytes, duration};

/// One setting.
pub struct Setting {
    /// Dotted key in the file; `FAULTLINE__` and the key with `__` for `.` in the environment.
    pub key: &'static str,
    pub default: &'static str,
    pub doc: &'static str,
    /// What is accepted, in words.
    pub expected: &'static str,
    pub accepts: fn(&str) -> bool,
    /// Whether its value is never shown.
    pub is_secret: bool,
}

const fn setting(
    key: &'static str,
    default: &'static str,
    doc: &'static str,
    expected: &'static str,
    accepts: fn(&str) -> bool,
) -> Setting {
    Setting { key, default, doc, expected, accepts, is_secret: false }
}

const fn secret(key: &'static str, doc: &'static str, expected: &'static str, accepts: fn(&str) -> bool) -> Setting {
    Setting { key, default: "", doc, expected, accepts, is_secret: true }
}

fn is_some(text: &str) -> bool {
    !text.trim().is_empty()
}

fn is_any(_: &str) -> bool {
    true
}

fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

fn is_duration(text: &str) -> bool {
    duration(text).is_some()
}

fn is_size(text: &str) -> bool {
    bytes(text).is_some_and(|bytes| bytes >= 1 << 20)
}

fn is_budget(text: &str) -> bool {
    bytes(text).is_some_and(|bytes| bytes >= MemoryBudget::LEAST_BYTES as u64)
}

fn is_small_number(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| (1..=256).contains(&number))
}

fn is_standbys(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|number| number <= 256)
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

fn is_level(text: &str) -> bool {
    ["error", "warn", "info", "debug", "trace"].contains(&text)
}

fn is_guarantee(text: &str) -> bool {
    ["exactly-once", "at-least-once"].contains(&text)
}

fn is_cleanup(text: &str) -> bool {
    ["compact", "delete"].contains(&text)
}

fn is_format(text: &str) -> bool {
    ["text", "json"].contains(&text)
}

fn is_token(text: &str) -> bool {
    text.is_empty() || (text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn is_name(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_named(text: &str) -> bool {
    !text.is_empty() && is_name(text)
}

fn is_address_or_none(text: &str) -> bool {
    text.is_empty() || is_address(text)
}

fn is_url_or_none(text: &str) -> bool {
    let is_url = |url: url::Url| ["http", "https"].contains(&url.scheme()) && url.has_host() && url.username().is_empty();
    text.is_empty() || url::Url::parse(text).is_ok_and(is_url)
}

fn is_format_number(text: &str) -> bool {
    text.is_empty() || text.parse::<u16>().is_ok_and(|number| number > 0)
}

fn is_key(text: &str) -> bool {
    text.is_empty() || text.len() >= 16
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    setting("data.folder", "", "The folder that holds log, state and views. Default `$XDG_DATA_HOME/faultline`.", "a path", is_some),
    setting(
        "http.listen",
        "127.0.0.1:8470",
        "Where `faultline up` listens. Other than loopback needs TLS and a token.",
        "an address and a port such as 127.0.0.1:8470",
        is_address,
    ),
    setting("http.tls_certificate", "", "PEM file of the certificate chain; empty for none.", "a path", is_any),
    setting("http.tls_key", "", "PEM file of the certificate's private key; empty for none.", "a path", is_any),
    secret(
        "http.token",
        "The operator's token, sent as `Authorization: Bearer …`: with it one may do everything. For commands, the token that they send. Empty for none: \
         then whoever reaches the service on this machine is the operator.",
        "at least 32 ASCII characters without spaces",
        is_token,
    ),
    setting(
        "access.roles",
        "",
        "YAML file that says who is what below which unit of the organisation (docs/access.md), read at the start; empty: only the operator, and tokens \
         that publish.",
        "a path",
        is_any,
    ),
    setting(
        "notify.webhooks",
        "",
        "YAML file that says who is told what happened (docs/notices.md), read at the start; empty: nobody.",
        "a path",
        is_any,
    ),
    setting(
        "http.report_limit",
        "512MiB",
        "The largest report or feed as it is sent; once unpacked it may be 8 times that.",
        "a size such as 512MiB",
        is_size,
    ),
    setting(
        "http.source_quota",
        "20000",
        "Records of reports that one source, a tool on an asset, may bring in a minute by the interactive lane; what is beyond goes by the \
         bulk lane. 0 for no bound.",
        "a number such as 20000",
        is_number,
    ),
    setting(
        "stream.partitions",
        "4",
        "Partitions of the keyed topics, fixed when the data folder is made; on Kafka `topics repartition` makes more.",
        "a number from 1 to 256",
        is_small_number,
    ),
    setting("stream.workers", "2", "Threads that work on tasks.", "a number from 1 to 256", is_small_number),
    setting(
        "stream.commit_interval",
        "100ms",
        "The longest a task works before it commits; a drained input commits at once.",
        "a duration such as 100ms",
        is_duration,
    ),
    setting(
        "stream.bulk_lag",
        "4096",
        "`findings.bulk` is read while correlate has at most so many records of `tracked` still to read.",
        "a number such as 4096",
        is_number,
    ),
    setting(
        "memory.budget",
        "512MiB",
        "What the process may take in memory, more or less a tenth, whatever the size of the state. What its parts may take comes of it, and is \
         logged at the start: RocksDB's caches and write buffers nearly half of it.",
        "a size of at least 256MiB such as 512MiB",
        is_budget,
    ),
    setting("retention.findings", "7d", "How long records of `findings` and `findings.bulk` stay.", "a duration such as 7d", is_duration),
    setting(
        "retention.decisions",
        "90d",
        "How long records of `decisions`, `steps`, `judged`, `acts`, `outcomes`, `notices` and `deliveries` stay. Decisions and exceptions live on in state.",
        "a duration such as 90d",
        is_duration,
    ),
    setting("retention.audit", "1095d", "How long records of `audit` stay.", "a duration such as 1095d", is_duration),
    setting("retention.dead_letters", "30d", "How long records of `dead-letters` stay.", "a duration such as 30d", is_duration),
    setting("retention.tombstones", "7d", "How long the end of a key stays in a compacted topic.", "a duration such as 7d", is_duration),
    setting(
        "track.scan_timeout",
        "1h",
        "How long a scan may stay open; then it counts as unfinished and closes nothing.",
        "a duration such as 1h",
        is_duration,
    ),
    setting(
        "state.format.track",
        "",
        "The format up to which the state of stage track is finalised: an older version cannot read it then. From 4 on that of correlate is 3 at least. Empty: each state keeps its format.",
        "a number, or nothing",
        is_format_number,
    ),
    setting(
        "state.format.correlate",
        "",
        "The same of stage correlate. From 4 on exceptions are heeded. From 5 on that of act is 2 at least, from 6 on, where tickets are asked for, 3.",
        "a number, or nothing",
        is_format_number,
    ),
    setting(
        "state.format.act",
        "",
        "The same of stage act. From 2 on the register has its assessment.",
        "a number, or nothing",
        is_format_number,
    ),
    setting(
        "stream.stop_timeout",
        "30s",
        "How long a stop may take: what has begun is committed. After that the process ends at once, which loses nothing either.",
        "a duration such as 30s",
        is_duration,
    ),
    setting(
        "health.listen",
        "",
        "Where `/healthz`, `/readyz` and `/metrics` answer without TLS and token, for supervisors; empty for nowhere but with the API.",
        "an address and a port such as 127.0.0.1:8471",
        is_address_or_none,
    ),
    setting(
        "kafka.bootstrap",
        "",
        "Kafka brokers, `host:port` with commas between; empty to run embedded, without Kafka.",
        "a list",
        is_any,
    ),
    setting(
        "kafka.installation",
        "faultline",
        "Stands before the names of consumer groups and transactional ids; the same in all processes of one installation.",
        "letters, digits, `.`, `_` and `-`",
        is_named,
    ),
    setting(
        "kafka.instance",
        "",
        "This process's name, which no other one has and which it keeps over restarts: the pod's. Default: one made once for the data folder.",
        "letters, digits, `.`, `_` and `-`",
        is_name,
    ),
    setting("kafka.replicas", "3", "Replicas of each topic that `topics apply` makes.", "a number from 1 to 256", is_small_number),
    setting(
        "kafka.guarantee",
        "exactly-once",
        "What a commit is: a transaction, or without transactions, where brokers have none, at-least-once. `docs/guarantees.md` says what is lost.",
        "exactly-once or at-least-once",
        is_guarantee,
    ),
    setting(
        "kafka.cleanup_policy",
        "compact",
        "How brokers keep what is kept by key: compacted, or, where they cannot compact, for ever. `docs/guarantees.md` says what is lost.",
        "compact or delete",
        is_cleanup,
    ),
    setting(
        "kafka.session_timeout",
        "45s",
        "After so long without a word a process is taken for dead and its tasks go to others: longer than a restart takes.",
        "a duration such as 45s",
        is_duration,
    ),
    setting(
        "kafka.standbys",
        "0",
        "On how many other processes each task's state is kept ready, as far as there are so many; each costs the disk and the reading of a copy.",
        "a number from 0 to 256",
        is_standbys,
    ),
    setting(
        "kafka.transaction_timeout",
        "30s",
        "After so long the brokers abort a transaction that has no end; at most their `transaction.max.timeout.ms`.",
        "a duration such as 30s",
        is_duration,
    ),
    setting(
        "kafka.registry.url",
        "",
        "Where a schema registry of Confluent's API begins, with its path; values on Kafka then have its ids. Empty for none: those of \
         `schemas/ids.tsv`. Turned on or off with new topics only.",
        "a URL without a user in it",
        is_url_or_none,
    ),
    setting("kafka.registry.user", "", "Who we are to the registry; needs the password, and excludes the token.", "a text", is_any),
    secret("kafka.registry.password", "Of that user.", "a text", is_any),
    secret("kafka.registry.token", "Bearer token for the registry, in place of user and password.", "a text", is_any),
    setting(
        "kafka.registry.ca",
        "",
        "PEM certificates that sign the registry's, in place of the system's; empty for those.",
        "a path",
        is_any,
    ),
    setting(
        "kafka.registry.certificate",
        "",
        "PEM certificate that is shown to a registry which asks for one, with those between it and its authority.",
        "a path",
        is_any,
    ),
    setting("kafka.registry.key", "", "PEM private key of that certificate.", "a path", is_any),
    setting(
        "kafka.client.*",
        "",
        "Options of librdkafka by its own names, such as `kafka.client.security.protocol` or `kafka.client.sasl.password`.",
        "what librdkafka takes; not what exactly-once rests on",
        is_any,
    ),
    setting(
        "kafka.oauth.token_file",
        "",
        "File with the token for `kafka.client.sasl.mechanism: OAUTHBEARER`, a JWT; read anew before the token ends, as projected ones rotate.",
        "a path",
        is_any,
    ),
    secret(
        "secrets.key",
        "Key for the hashes of secrets that scanners find; empty for one that is made once and kept in the data folder.",
        "at least 16 characters",
        is_key,
    ),
    setting("log.level", "info", "What is logged.", "error, warn, info, debug or trace", is_level),
    setting("log.format", "text", "How log lines look; `json` for machines.", "text or json", is_format),
];

/// The setting of a key: that of the name, or that of all keys which begin so.
pub fn named(key: &str) -> Option<&'static Setting> {
    let is_of = |setting: &&Setting| match setting.key.strip_suffix('*') {
        Some(begin) => key.len() > begin.len() && key.starts_with(begin),
        None => setting.key == key,
    };
    SETTINGS.iter().find(is_of)
}

/// Whether the value of a key is never shown. Of a client's options those that say how to get in.
pub fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 8] = ["password", "secret", "username", "oauthbearer", "pem", "jaas", "ssl_", "token"];
    named(key).is_some_and(|setting| setting.is_secret) || (key.starts_with("kafka.client.") && WORDS.iter().any(|word| key.contains(word)))
}
