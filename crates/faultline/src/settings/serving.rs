//! What `faultline up` and `faultline run` need beyond settings that are well one by one: strangers come in with TLS and a token only.

use faultline_server::doors::TOKEN_PREFIX;
use faultline_server::{StartError, TlsFiles};

use super::{Layers, Problem, Settings, SettingsError};
use crate::service::{Role, Roles, kafka_options, told};

const CERTIFICATE: &str = "http.tls_certificate";
const KEY: &str = "http.tls_key";

/// Whether a process of these roles may run with these settings; all that is wrong at once.
pub fn serving(layers: &Layers, roles: &Roles) -> Result<(), SettingsError> {
    let settings = Settings::of(layers);
    let mut problems = Vec::new();
    let mut wrong = |key: &'static str, reason: String| {
        let origin = layers.get(key).map_or_else(|| "configuration".to_owned(), |(_, origin)| origin.to_string());
        problems.push(Problem::Serving { key, reason, origin });
    };
    if let Some(kafka) = &settings.kafka {
        if roles.has(Role::Gateway) && settings.secrets_key.is_none() && !crate::secrets::is_kept(&settings.data_folder) {
            let why = "is empty, and gateways on Kafka must hash secrets alike; set the same one for all, such as `openssl rand -hex 32` gives, or copy the file of an installation that moved";
            wrong("secrets.key", why.to_owned());
        }
        if kafka.is_at_least_once && kafka.standbys > 0 {
            let why =
                format!("is {}, and kafka.guarantee is at-least-once: a standby cannot tell a torn commit; set it to 0", kafka.standbys);
            wrong("kafka.standbys", why);
        } else if let Err(error) = kafka_options(&settings, kafka, "check".to_owned()).check() {
            wrong("kafka.client.*", format!("cannot be used: {error}"));
        }
    }
    if let Some(registry) = settings.kafka.as_ref().and_then(|kafka| kafka.registry.as_ref()) {
        if registry.user.is_empty() != registry.password.is_none() {
            wrong("kafka.registry.user", "and kafka.registry.password go together; set both or none".to_owned());
        }
        if registry.token.is_some() && !registry.user.is_empty() {
            wrong("kafka.registry.token", "excludes kafka.registry.user; set one of them".to_owned());
        }
        if layers["kafka.registry.certificate"].0.is_empty() != layers["kafka.registry.key"].0.is_empty() {
            wrong("kafka.registry.certificate", "and kafka.registry.key go together; set both or none".to_owned());
        }
    }
    if roles.has(Role::Notify)
        && let Some(path) = &settings.webhooks
        && let Err(error) = told::webhooks(path).and_then(|webhooks| told::endpoints(&webhooks))
    {
        wrong("notify.webhooks", format!("cannot be used: {error}"));
    }
    if !roles.has_api() {
        return if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) };
    }
    if !settings.listen.ip().is_loopback() {
        for key in [CERTIFICATE, KEY, "http.token"].into_iter().filter(|key| layers[*key].0.is_empty()) {
            let why = format!("is empty, and other machines can reach {}; set it, or listen on 127.0.0.1 or [::1]", settings.listen);
            wrong(key, why);
        }
    } else if layers[CERTIFICATE].0.is_empty() != layers[KEY].0.is_empty() {
        let (empty, set) = if layers[KEY].0.is_empty() { (KEY, CERTIFICATE) } else { (CERTIFICATE, KEY) };
        wrong(empty, format!("is empty, and {set} is set; TLS needs both"));
    }
    if settings.token.as_ref().is_some_and(|token| token.expose().starts_with(TOKEN_PREFIX)) {
        let why = "is a token that `tokens create` made, for a command: whoever has it would be the operator here; make another with `openssl rand -hex 32`";
        wrong("http.token", why.to_owned());
    }
    if let Some(path) = &settings.access_roles
        && let Err(error) = crate::access::roles(path)
    {
        wrong("access.roles", format!("cannot be used: {error}"));
    }
    if let Some((certificate, key)) = settings.tls
        && let Err(error) = (TlsFiles { certificate, key }).check()
    {
        let is_key = matches!(error, StartError::Tls { what: "key", .. });
        wrong(if is_key { KEY } else { CERTIFICATE }, format!("names a file that will not do: {error}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    #[test]
    fn what_would_let_strangers_in_is_told_by_its_keys() {
        let token = "t".repeat(32);
        for (flags, parts) in [
            (vec![], vec![]),
            (vec![("http.listen", "0.0.0.0:8470")], vec![CERTIFICATE, KEY, "http.token"]),
            (vec![("http.listen", "0.0.0.0:8470"), ("http.token", &token)], vec![CERTIFICATE, KEY]),
            (vec![(CERTIFICATE, "/nowhere/c.pem")], vec![KEY]),
            (vec![("http.token", "faultline_0123456789abcdef0123456789abcdef")], vec!["would be the operator"]),
            (vec![("kafka.bootstrap", "127.0.0.1:1")], vec!["secrets.key"]),
            (
                vec![
                    ("kafka.bootstrap", "127.0.0.1:1"),
                    ("secrets.key", &token),
                    ("kafka.registry.url", "https://registry.example"),
                    ("kafka.registry.user", "ana"),
                    ("kafka.registry.token", "t"),
                    ("kafka.registry.key", "/nowhere/k.pem"),
                ],
                vec!["kafka.registry.password go together", "excludes kafka.registry.user", "kafka.registry.key go together"],
            ),
            (vec![("kafka.bootstrap", "127.0.0.1:1"), ("secrets.key", &token), ("kafka.client.acks", "1")], vec!["client option acks"]),
            (vec![("kafka.bootstrap", "127.0.0.1:1"), ("secrets.key", &token), ("kafka.client.sasl.pasword", "x")], vec!["sasl.pasword"]),
            (
                vec![
                    ("kafka.bootstrap", "127.0.0.1:1"),
                    ("secrets.key", &token),
                    ("kafka.guarantee", "at-least-once"),
                    ("kafka.standbys", "1"),
                ],
                vec!["kafka.standbys", "a standby cannot tell a torn commit"],
            ),
            (vec![(CERTIFICATE, "/nowhere/c.pem"), (KEY, "/nowhere/k.pem")], vec!["/nowhere/c.pem"]),
        ] {
            let flags: Vec<_> = flags.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            let layers = Sources { flags, ..Sources::default() }.load().unwrap();
            let said = serving(&layers, &Roles::all()).err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said.is_empty(), parts.is_empty(), "{said}");
            assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
        }
    }
}
