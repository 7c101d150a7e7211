//! Sites, as a file describes them.

use std::net::IpAddr;
use std::path::PathBuf;

use faultline_core::description::DescriptionError;
use faultline_core::description::cursor::{Cursor, Place};
use faultline_core::description::fault::{Faults, shown};
use faultline_model::time::Timestamp;
use serde_json::{Map, Value};
use url::{Host, Url};

/// The most sites.
const SITES: usize = 20;
/// The longest id.
const ID_BYTES: usize = 64;
/// The longest address.
const URL_BYTES: usize = 2_048;
/// The most that the fields of a transition take, as JSON.
const FIELDS_BYTES: usize = 4_096;
/// How tokens of Atlassian's begin: with them a path is none.
const TOKEN_STARTS: [&str; 2] = ["ATATT", "ATSTT"];
/// Whose addresses are those where people open issues, too.
const CLOUD: &str = ".atlassian.net";

/// A site with all that it takes to call it but the token, of which it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// As queues of the ticket policy name it.
    pub id: String,
    /// What `/rest/api/3` follows on; without a slash at its end.
    pub api_base: Url,
    /// Where people open issues.
    pub browse_base: Url,
    /// With an e-mail address the token is the password of an account; without one it is a bearer's.
    pub user: Option<String>,
    /// Where the token stands.
    pub token_file: PathBuf,
    /// When the token ends, for who is to be warned.
    pub token_ends: Option<Timestamp>,
    /// Where Faultline's own pages are.
    pub console: Option<Url>,
    /// What a transition to done fills in where its screen has it.
    pub done_fields: Map<String, Value>,
}

/// Why a site cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("the token of {site} cannot be read from {path}: {source}")]
    Token { site: String, path: PathBuf, source: std::io::Error },
    #[error(
        "what stands in {path} is no token for {site}; expected are {least} to {most} letters, digits and signs of ASCII, without blanks"
    )]
    Form { site: String, path: PathBuf, least: usize, most: usize },
    #[error("calls of {site} cannot be set up: {source}")]
    Calls { site: String, source: reqwest::Error },
}

/// All sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites(Vec<Site>);

impl Site {
    /// Where people open an issue.
    pub fn issue_url(&self, key: &str) -> Url {
        below(&self.browse_base, ["browse", key])
    }
}

impl Sites {
    /// Reads sites; tells everything that is wrong with them. `file` is how errors name it.
    ///
    /// ```
    /// use faultline_sinks::jira::Sites;
    ///
    /// let text = "sites: [{ id: acme, api_base: 'https://acme.atlassian.net', user: bot@acme.example, token_file: /run/secrets/jira }]";
    /// let sites = Sites::read("jira.yaml", text)?;
    /// let url = sites.get("acme").map(|site| site.issue_url("PAY-7").to_string());
    /// assert_eq!(url.as_deref(), Some("https://acme.atlassian.net/browse/PAY-7"));
    /// let error = Sites::read("jira.yaml", "sites: [{ id: acme, api_base: 'http://acme.atlassian.net', token_file: t }]").unwrap_err();
    /// assert!(error.to_string().contains("sites[0].api_base"));
    /// # Ok::<(), faultline_core::description::DescriptionError>(())
    /// ```
    pub fn read(file: &str, text: &str) -> Result<Self, DescriptionError> {
        let mut faults = Faults::default();
        let mut sites: Vec<Site> = Vec::new();
        match serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text) {
            Ok(serde_yaml_ng::Value::Null) => {}
            Ok(document) => {
                let root = Cursor::root(file, &document);
                if root.fields(&["sites"], &mut faults) {
                    for entry in root.list("sites", SITES, &mut faults) {
                        let Some(site) = site(&entry, &mut faults) else { continue };
                        if sites.iter().any(|known| known.id == site.id) {
                            faults.add(entry.place().fault(format!("{}, again", shown(&site.id)), "an id of its own".to_owned()));
                        }
                        sites.push(site);
                    }
                }
            }
            Err(error) => faults.add(Place { file: file.to_owned(), at: String::new() }.fault(error.to_string(), "YAML".to_owned())),
        }
        faults.none_or_error()?;
        Ok(Self(sites))
    }

    /// The site of an id.
    pub fn get(&self, id: &str) -> Option<&Site> {
        self.0.iter().find(|site| site.id == id)
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.0.iter()
    }
}

/// An address below another, each part as one segment.
pub(super) fn below<'s>(base: &Url, parts: impl IntoIterator<Item = &'s str>) -> Url {
    let mut url = base.clone();
    // A site has no address without a host, so that segments can be added.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

fn site(entry: &Cursor<'_>, faults: &mut Faults) -> Option<Site> {
    let known = ["id", "api_base", "browse_base", "user", "token_file", "token_ends", "console", "done_fields"];
    if !entry.fields(&known, faults) {
        return None;
    }
    let id = id(entry, faults);
    let api_base = api_base(entry, faults);
    let browse_base = browse_base(entry, api_base.as_ref(), faults);
    let user = user(entry, faults);
    let token_file = token_file(entry, faults);
    let token_ends = token_ends(entry, faults);
    let console = entry.get("console").and_then(|field| page(&field, "the address of Faultline's pages", faults));
    let done_fields = done_fields(entry, faults);
    Some(Site { id: id?, api_base: api_base?, browse_base: browse_base?, user, token_file: token_file?, token_ends, console, done_fields })
}

fn id(entry: &Cursor<'_>, faults: &mut Faults) -> Option<String> {
    let expected = format!("an id of at most {ID_BYTES} bytes, as queues of the ticket policy name it");
    let id = entry.required("id", &expected, faults)?;
    if id.len() > ID_BYTES {
        entry.get("id")?.wrong(&expected, faults);
        return None;
    }
    Some(id.to_owned())
}

fn api_base(entry: &Cursor<'_>, faults: &mut Faults) -> Option<Url> {
    let expected = "https://, a site of Jira Cloud or api.atlassian.com/ex/jira/ and a cloud id, without /rest; http:// for 127.0.0.1 only";
    let text = entry.required("api_base", expected, faults)?;
    let is_kept = |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    let url = base(text).filter(|url| is_kept(url) && !url.path().split('/').any(|part| part == "rest"));
    if url.is_none() {
        wrong_address(&entry.get("api_base")?, text, expected, faults);
    }
    url
}

fn browse_base(entry: &Cursor<'_>, api_base: Option<&Url>, faults: &mut Faults) -> Option<Url> {
    let expected = "the address where people open issues, for example https://acme.atlassian.net";
    match entry.get("browse_base") {
        Some(field) => page(&field, expected, faults),
        None => {
            let api_base = api_base?;
            if api_base.host_str().is_some_and(|host| host.ends_with(CLOUD)) || is_loopback(api_base) {
                return Some(api_base.clone());
            }
            let place = Place { at: format!("{}.browse_base", entry.place().at), ..entry.place() };
            faults.add(place.fault("missing".to_owned(), format!("{expected}: it does not follow from api_base")));
            None
        }
    }
}

/// The address of pages for people: no secret is sent there.
fn page(field: &Cursor<'_>, expected: &str, faults: &mut Faults) -> Option<Url> {
    let text = field.text(expected, faults)?;
    let url = base(text);
    if url.is_none() {
        wrong_address(field, text, &format!("{expected}, that begins with https:// or http://"), faults);
    }
    url
}

/// An address that others begin with: without what would end one, and without a user.
fn base(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok().filter(|url| text.len() <= URL_BYTES && ["http", "https"].contains(&url.scheme()))?;
    let is_plain = url.has_host() && url.username().is_empty() && url.password().is_none();
    if !is_plain || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

/// An address may have a password in it: of one that is wrong, only the scheme is shown.
fn wrong_address(field: &Cursor<'_>, text: &str, expected: &str, faults: &mut Faults) {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let is_plain = |scheme: &&str| scheme.len() <= 8 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
    let found = scheme.filter(is_plain).map_or_else(|| "no such address".to_owned(), |scheme| format!("{scheme}://…"));
    let expected = format!("{expected}, of {URL_BYTES} bytes at most, without a user, ? or #");
    faults.add(field.place().fault(found, expected));
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        // Names lead where somebody else says, `localhost` included.
        Some(Host::Domain(_)) | None => false,
    }
}

fn user(entry: &Cursor<'_>, faults: &mut Faults) -> Option<String> {
    let expected = "the e-mail address of the account; without it the token is sent as a bearer's";
    let user = entry.text_of("user", expected, faults)?;
    // A colon would end the name where it is sent.
    if !user.contains('@') || user.contains(':') {
        entry.get("user")?.wrong(expected, faults);
        return None;
    }
    Some(user.to_owned())
}

fn token_file(entry: &Cursor<'_>, faults: &mut Faults) -> Option<PathBuf> {
    let expected = "the path of a file with the token";
    // Not shown whatever is wrong with it.
    let is_token = |field: &Cursor<'_>| field.value().as_str().is_some_and(|text| TOKEN_STARTS.iter().any(|start| text.contains(start)));
    if let Some(field) = entry.get("token_file").filter(is_token) {
        faults.add(field.place().fault("a token itself".to_owned(), expected.to_owned()));
        return None;
    }
    entry.required("token_file", expected, faults).map(PathBuf::from)
}

fn token_ends(entry: &Cursor<'_>, faults: &mut Faults) -> Option<Timestamp> {
    let expected = "a date (2026-12-31)";
    let ends = entry.text_of("token_ends", expected, faults)?.parse().ok();
    if ends.is_none() {
        entry.get("token_ends")?.wrong(expected, faults);
    }
    ends
}

fn done_fields(entry: &Cursor<'_>, faults: &mut Faults) -> Map<String, Value> {
    let Some(field) = entry.get("done_fields") else { return Map::new() };
    match serde_json::to_value(field.value()) {
        Ok(Value::Object(fields)) => {
            let bytes = Value::Object(fields.clone()).to_string().len();
            if bytes > FIELDS_BYTES {
                faults.add(field.place().fault(format!("{bytes} bytes"), format!("at most {FIELDS_BYTES}")));
            }
            fields
        }
        _ => {
            field.wrong("a mapping of fields, as Jira takes them: {resolution: {name: Done}}", faults);
            Map::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(fields: &str) -> Result<Site, DescriptionError> {
        Sites::read("j", &format!("sites: [{{ id: acme, token_file: t, {fields} }}]")).map(|sites| sites.0[0].clone())
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_nothing_secret_is_shown() {
        let text = "sites:
- { id: a, api_base: 'http://jira.example', token_file: t, user: me, token_ends: soon }
- { id: a, api_base: 'https://me:of-mine@a.atlassian.net', token_file: ATATT3x-of-mine }
- { id: a, api_base: 'https://api.atlassian.com/ex/jira/1', token_file: t }
- { id: b, api_base: 'https://a.atlassian.net/rest/api/3', token: of-mine, done_fields: Done, console: /here }
- { id: c, api_base: 'https://a.atlassian.net', token_file: t }
- { id: c, api_base: 'https://a.atlassian.net', token_file: t, done_fields: { 1: x } }
";
        let told = Sites::read("j", text).unwrap_err().to_string();
        for part in [
            "sites[0].api_base is http://…; expected https://",
            "sites[0].user is \"me\"; expected the e-mail address",
            "sites[0].token_ends is \"soon\"; expected a date",
            "sites[1].api_base is https://…",
            "sites[1].token_file is a token itself; expected the path",
            "sites[2].browse_base is missing; expected the address where people open issues",
            "sites[3].token is no known field",
            "sites[3].api_base is https://…",
            "sites[3].done_fields is \"Done\"; expected a mapping",
            "sites[3].console is no such address",
            "sites[5] is \"c\", again; expected an id of its own",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("of-mine"), "{told}");
    }

    #[test]
    fn a_path_is_kept_and_a_slash_at_the_end_is_none() {
        let site = one("api_base: 'https://api.atlassian.com/ex/jira/11-22/', browse_base: 'https://acme.atlassian.net/'").unwrap();
        assert_eq!(below(&site.api_base, ["rest", "a/b"]).as_str(), "https://api.atlassian.com/ex/jira/11-22/rest/a%2Fb");
        assert_eq!(site.issue_url("A-1").as_str(), "https://acme.atlassian.net/browse/A-1");
        assert_eq!((site.user, site.token_ends, site.console), (None, None, None));
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (is_fine, base) in [
            (true, "http://127.0.0.1:4010"),
            (true, "http://127.8.9.1"),
            (true, "http://[::1]:4010"),
            (false, "http://localhost:4010"),
            (false, "http://10.0.0.1"),
            (false, "http://127.0.0.1.example"),
            (false, "ftp://127.0.0.1"),
        ] {
            assert_eq!(one(&format!("api_base: '{base}'")).is_ok(), is_fine, "{base}");
        }
    }

    #[test]
    fn a_site_is_read_as_it_is_described() {
        let site = one("api_base: 'https://acme.atlassian.net', user: bot@acme.example, token_ends: 2026-12-31, console: 'https://f.example/x', done_fields: { resolution: { name: Done } }").unwrap();
        assert_eq!(site.user.as_deref(), Some("bot@acme.example"));
        assert_eq!(site.token_ends.map(Timestamp::date).as_deref(), Some("2026-12-31"));
        assert_eq!(Value::Object(site.done_fields), json!({ "resolution": { "name": "Done" } }));
        assert_eq!(Sites::read("j", ""), Ok(Sites::default()));
    }
}
