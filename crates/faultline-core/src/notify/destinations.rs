//! Who is told what, as a file describes it.

use std::fmt;
use std::path::PathBuf;

use faultline_model::notice::NoticeKind;
use serde_yaml_ng::Value;

use super::Destination;
use crate::description::DescriptionError;
use crate::description::cursor::{Cursor, Place, listed};
use crate::description::fault::{Faults, shown};

/// The most destinations: each is looked through for each notice.
const DESTINATIONS: usize = 100;
/// The most units of one destination.
const UNITS: usize = 1_000;
/// The longest name.
const NAME_BYTES: usize = 64;
/// The longest address.
const URL_BYTES: usize = 2_048;

/// A destination with how it is reached. Shown, it does not show the address: those of webhooks are often secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub destination: Destination,
    pub url: String,
    /// Where the secret stands that messages are signed with.
    pub secret_file: PathBuf,
    /// Whether addresses of private networks may be called, and plain HTTP spoken.
    pub allows_private: bool,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// Reads who is told; tells everything that is wrong with it. `file` is how errors name it.
///
/// ```
/// use faultline_core::notify::read;
///
/// let told = read("notify.yaml", "webhooks: [{ name: soc, url: 'https://hooks.acme.example/f', secret_file: /run/secrets/soc }]")?;
/// assert_eq!((told[0].destination.kinds.len(), told[0].allows_private), (4, false));
/// let error = read("notify.yaml", "webhooks: [{ name: soc, url: 'http://hooks.acme.example/f', secret_file: s }]").unwrap_err();
/// assert!(error.to_string().contains("an address that begins with https://"));
/// # Ok::<(), faultline_core::description::DescriptionError>(())
/// ```
pub fn read(file: &str, text: &str) -> Result<Vec<Webhook>, DescriptionError> {
    let mut faults = Faults::default();
    let mut webhooks: Vec<Webhook> = Vec::new();
    match serde_yaml_ng::from_str::<Value>(text) {
        Ok(Value::Null) => {}
        Ok(document) => {
            let root = Cursor::root(file, &document);
            if root.fields(&["webhooks"], &mut faults) {
                for entry in root.list("webhooks", DESTINATIONS, &mut faults) {
                    let Some(webhook) = webhook(&entry, &mut faults) else { continue };
                    if webhooks.iter().any(|known| known.destination.name == webhook.destination.name) {
                        let found = format!("{}, again", shown(&webhook.destination.name));
                        faults.add(entry.place().fault(found, "a name of its own".to_owned()));
                    }
                    webhooks.push(webhook);
                }
            }
        }
        Err(error) => faults.add(Place { file: file.to_owned(), at: String::new() }.fault(error.to_string(), "YAML".to_owned())),
    }
    faults.none_or_error()?;
    Ok(webhooks)
}

fn webhook(entry: &Cursor<'_>, faults: &mut Faults) -> Option<Webhook> {
    if !entry.fields(&["name", "url", "secret_file", "kinds", "within", "score_at_least", "allow_private"], faults) {
        return None;
    }
    let known = NoticeKind::ALL.map(NoticeKind::name);
    let kinds = match entry.get("kinds") {
        Some(_) => entry.words("kinds", &known, faults).iter().filter_map(|name| NoticeKind::named(name)).collect(),
        None => NoticeKind::ALL.to_vec(),
    };
    if let Some(field) = entry.get("kinds").filter(|_| kinds.is_empty()) {
        faults.add(field.place().fault("nothing".to_owned(), format!("some of {}", listed(&known))));
    }
    let within = entry.set_of("within", UNITS, "a unit of the organisation, or `service/` and a service", faults);
    let allows_private = is_true(entry, "allow_private", faults);
    let score_at_least = score(entry, faults);
    let secret_file = secret_file(entry, faults);
    let (name, url) = (name(entry, faults), url(entry, allows_private, faults));
    let (name, url, secret_file) = (name?, url?, secret_file?);
    Some(Webhook { destination: Destination { name, kinds, within, score_at_least }, url, secret_file, allows_private })
}

fn name(entry: &Cursor<'_>, faults: &mut Faults) -> Option<String> {
    let expected = format!("a name of 1 to {NAME_BYTES} lower-case letters, digits and -");
    let name = entry.required("name", &expected, faults)?;
    let is_plain = name.len() <= NAME_BYTES && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !is_plain {
        entry.get("name")?.wrong(&expected, faults);
        return None;
    }
    Some(name.to_owned())
}

fn url(entry: &Cursor<'_>, allows_private: bool, faults: &mut Faults) -> Option<String> {
    let expected = if allows_private { "an address that begins with https:// or http://" } else { "an address that begins with https://" };
    let url = entry.required("url", expected, faults)?;
    let is_known = url.starts_with("https://") || (allows_private && url.starts_with("http://"));
    if !is_known || url.len() > URL_BYTES {
        // What stands behind the host may be a secret.
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        let is_plain = |scheme: &&str| scheme.len() <= 8 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
        let found = scheme.filter(is_plain).map_or_else(|| "no such address".to_owned(), |scheme| format!("{scheme}://…"));
        faults.add(entry.get("url")?.place().fault(found, format!("{expected}, of {URL_BYTES} bytes at most")));
        return None;
    }
    Some(url.to_owned())
}

fn secret_file(entry: &Cursor<'_>, faults: &mut Faults) -> Option<PathBuf> {
    let expected = "the path of a file with the secret that messages are signed with";
    let path = entry.required("secret_file", expected, faults)?;
    if path.contains("whsec_") {
        faults.add(entry.get("secret_file")?.place().fault("a secret itself".to_owned(), expected.to_owned()));
        return None;
    }
    Some(PathBuf::from(path))
}

fn is_true(entry: &Cursor<'_>, field: &str, faults: &mut Faults) -> bool {
    let Some(field) = entry.get(field) else { return false };
    let value = field.value().as_bool();
    if value.is_none() {
        field.wrong("true or false", faults);
    }
    value.unwrap_or(false)
}

fn score(entry: &Cursor<'_>, faults: &mut Faults) -> i32 {
    let Some(field) = entry.get("score_at_least") else { return 0 };
    let score = field.value().as_i64().and_then(|score| i32::try_from(score).ok()).filter(|score| (0..=1000).contains(score));
    if score.is_none() {
        field.wrong("a score from 0 to 1000", faults);
    }
    score.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_no_address_is_shown() {
        let text = "webhooks:
- { name: SOC, url: 'https://a.example', secret_file: s }
- { name: one, url: 'ftp://a.example/token-of-mine', secret_file: s, kinds: [risk_verifed], score_at_least: 2000, allow_private: yes }
- { name: two, url: 'https://a.example', kinds: [] }
- { name: two, url: 'https://a.example', secret_file: s }
- { name: two, url: 'https://a.example', secret_file: s, to: me }
- { name: six, url: 'https://a.example', secret_file: whsec_of-mine }
";
        let told = read("n", text).unwrap_err().to_string();
        for part in [
            "webhooks[0].name is \"SOC\"",
            "webhooks[1].url is ftp://…",
            "did you mean \"risk_verified\"",
            "a score from 0 to 1000",
            "true or false",
            "webhooks[2].secret_file is missing",
            "webhooks[2].kinds is nothing",
            "webhooks[4].to",
            "webhooks[5].secret_file is a secret itself",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("of-mine"));
        let twice = "webhooks: [{ name: a, url: 'https://a', secret_file: s }, { name: a, url: 'https://b', secret_file: s }]";
        assert!(read("n", twice).unwrap_err().to_string().contains("\"a\", again"));
    }

    #[test]
    fn what_is_not_said_is_everything_from_everywhere() {
        let read = |more: &str| {
            read("n", &format!("webhooks: [{{ name: soc, url: 'https://a', secret_file: s{more} }}]")).unwrap().remove(0).destination
        };
        assert_eq!(read(""), Destination { name: "soc".into(), kinds: NoticeKind::ALL.to_vec(), within: vec![], score_at_least: 0 });
        let chosen = read(", kinds: [exception_suspended], within: [retail], score_at_least: 600");
        assert_eq!(
            (chosen.kinds, chosen.within, chosen.score_at_least),
            (vec![NoticeKind::ExceptionSuspended], vec!["retail".to_owned()], 600)
        );
    }
}
