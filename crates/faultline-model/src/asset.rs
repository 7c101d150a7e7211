//! What was scanned, under one name whichever way a tool or a person writes it.
//!
//! A canonical name is `kind:name`: `repo:github.com/acme/shop`, `image:docker.io/library/nginx`, `url:https://shop.example`.
//! What changes from scan to scan (tag, digest, version, port of a remote) and what is nobody's business (credentials, queries)
//! is not in it.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::purl;

/// The longest canonical name, in bytes. Azure's resource ids and ARNs stay well below.
pub const NAME_BYTES: usize = 1024;

/// Forges in which upper and lower case are one repository.
const CASELESS_FORGES: [&str; 3] = ["bitbucket.org", "github.com", "gitlab.com"];
/// Forges whose repositories are an owner and a name; what follows is a page.
const TWO_PART_FORGES: [&str; 2] = ["bitbucket.org", "github.com"];
/// Other hosts of the same forge or registry.
const HOST_ALIASES: [(&str, &str); 8] = [
    ("www.github.com", "github.com"),
    ("ssh.github.com", "github.com"),
    ("www.gitlab.com", "gitlab.com"),
    ("altssh.gitlab.com", "gitlab.com"),
    ("www.bitbucket.org", "bitbucket.org"),
    ("altssh.bitbucket.org", "bitbucket.org"),
    ("index.docker.io", "docker.io"),
    ("registry-1.docker.io", "docker.io"),
];

/// The kinds of assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssetKind {
    Repo,
    Image,
    Url,
    Host,
    Cloud,
    Package,
    Model,
}

impl AssetKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [Self::Repo, Self::Image, Self::Url, Self::Host, Self::Cloud, Self::Package, Self::Model];

    /// The word before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Image => "image",
            Self::Url => "url",
            Self::Host => "host",
            Self::Cloud => "cloud",
            Self::Package => "package",
            Self::Model => "model",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Repo => "repo:github.com/acme/shop",
            Self::Image => "image:docker.io/library/nginx",
            Self::Url => "url:https://shop.example:8443",
            Self::Host => "host:db1.shop.example",
            Self::Cloud => "cloud:arn:aws:s3:::acme-logs",
            Self::Package => "package:pkg:npm/lodash",
            Self::Model => "model:acme/fraud-scores",
        }
    }

    /// The canonical name, without the kind.
    fn canonical(self, name: &str) -> Result<String, &'static str> {
        match self {
            Self::Repo => repo(name),
            Self::Image => image(name).map(|(name, ..)| name),
            Self::Url => url_origin(name),
            Self::Host => host(name),
            Self::Cloud => cloud(name),
            Self::Package => package(name),
            Self::Model => model(name),
        }
    }
}

/// A text that names no asset. Credentials and queries of the text are not in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no asset: {why}; for example {example}")]
pub struct AssetError {
    text: String,
    why: &'static str,
    example: &'static str,
}

impl AssetError {
    fn new(text: &str, why: &'static str, kind: AssetKind) -> Self {
        Self { text: shown(text), why, example: kind.example() }
    }
}

/// The identity of an asset: a canonical `kind:name`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId(Arc<str>);

/// An image as a tool names it: the repository, which is the asset, apart from what changes from build to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    pub asset: AssetId,
    /// Empty where none is named.
    pub tag: String,
    /// `sha256:…`; empty where none is named.
    pub digest: String,
}

impl AssetId {
    /// An asset of a known kind, from any way to write its name.
    pub fn new(kind: AssetKind, name: &str) -> Result<Self, AssetError> {
        let fails = |why| AssetError::new(name, why, kind);
        let canonical = kind.canonical(name.trim()).map_err(fails)?;
        if canonical.len() > NAME_BYTES {
            return Err(fails("it is longer than 1024 bytes"));
        }
        if canonical.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) {
            return Err(fails("it holds control characters"));
        }
        // A name that reads differently the second time would be two assets.
        let is_settled = canonical == name || kind.canonical(&canonical).as_ref() == Ok(&canonical);
        if !is_settled || canonical.trim() != canonical {
            return Err(fails("it can be read in two ways"));
        }
        Ok(Self(format!("{}:{canonical}", kind.name()).into()))
    }

    /// What a person or a report wrote: `kind:name`, or a text whose shape says which kind it is.
    pub fn read(text: &str) -> Result<Self, AssetError> {
        let text = text.trim();
        match with_kind(text) {
            Some((kind, name)) => Self::new(kind, name),
            None => Self::new(guess(text).map_err(|why| AssetError::new(text, why, AssetKind::Repo))?, text),
        }
    }

    /// The asset of a text that was one when a program wrote it to its own state. A text from anywhere else is parsed.
    pub fn of_known(text: &str) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text} is no asset");
        Self(text.into())
    }

    /// What kind of asset this is.
    pub fn kind(&self) -> AssetKind {
        self.parts().0
    }

    /// The canonical name after the kind: `github.com/acme/shop`.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// The whole canonical text: `repo:github.com/acme/shop`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (AssetKind, &str) {
        with_kind(&self.0).expect("an asset id begins with its kind")
    }
}

impl ImageReference {
    /// From `nginx`, `ghcr.io/acme/shop:1.2`, `localhost:5000/app@sha256:…`, with or without `docker://`.
    pub fn read(text: &str) -> Result<Self, AssetError> {
        let text = text.trim();
        let name = text.strip_prefix("image:").unwrap_or(text);
        let (_, tag, digest) = image(name).map_err(|why| AssetError::new(text, why, AssetKind::Image))?;
        Ok(Self { asset: AssetId::new(AssetKind::Image, name)?, tag: tag.to_owned(), digest: digest.to_owned() })
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// With its kind, always: nothing is guessed in a record.
impl FromStr for AssetId {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        let (kind, name) = with_kind(text).ok_or_else(|| AssetError::new(text, "it does not begin with a kind", AssetKind::Repo))?;
        Self::new(kind, name)
    }
}

impl Serialize for AssetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AssetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(crate::id::Parsed("the canonical name of an asset", remembered))
    }
}

/// How many assets a thread remembers, of at most [`NAME_BYTES`] each: records of one asset come together.
const REMEMBERED: usize = 256;

thread_local! {
    static RECENT: RefCell<[Option<AssetId>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

/// An asset by its text, as `parse` gives it. Making a name canonical takes longer than reading all the rest of a record, so what is
/// known to be canonical is not made so again, and shares its text.
fn remembered(text: &str) -> Result<AssetId, AssetError> {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let at = (hash ^ (hash >> 32)) as usize % REMEMBERED;
    RECENT.with_borrow_mut(|recent| {
        if let Some(known) = recent[at].as_ref().filter(|known| known.as_str() == text) {
            return Ok(known.clone());
        }
        let asset: AssetId = text.parse()?;
        if asset.as_str() == text {
            recent[at] = Some(asset.clone());
        }
        Ok(asset)
    })
}

fn with_kind(text: &str) -> Option<(AssetKind, &str)> {
    let (word, name) = text.split_once(':')?;
    Some((AssetKind::ALL.into_iter().find(|kind| kind.name() == word)?, name))
}

/// The kind of an asset that is written without it, by its shape.
fn guess(text: &str) -> Result<AssetKind, &'static str> {
    let lower = text.to_ascii_lowercase();
    let first = lower.split('/').next().unwrap_or_default();
    if lower.starts_with("arn:") || lower.starts_with("//") || lower.starts_with("/subscriptions/") {
        return Ok(AssetKind::Cloud);
    }
    if lower.starts_with("pkg:") {
        return Ok(AssetKind::Package);
    }
    if let Some((scheme, rest)) = lower.split_once("://") {
        let (authority, path) = authority_and_path(rest);
        let is_repo = path.strip_suffix(".git").is_some() || (path.contains('/') && is_known_forge(authority));
        return match scheme {
            "ssh" | "git" | "git+ssh" | "git+https" => Ok(AssetKind::Repo),
            "docker" => Ok(AssetKind::Image),
            "http" | "https" if is_repo => Ok(AssetKind::Repo),
            "http" | "https" => Ok(AssetKind::Url),
            _ => Err("no kind of asset has that scheme"),
        };
    }
    if text.starts_with(['/', '.', '~']) || text.contains('\\') {
        return Err("a path on one machine is no name for all; give the remote of its repository");
    }
    if text.contains('/') && is_known_forge(first) {
        return Ok(AssetKind::Repo);
    }
    let is_scp = |(user, rest): (&str, &str)| !user.contains([':', '/']) && rest.contains(':') && !rest.starts_with("sha");
    if text.split_once('@').is_some_and(is_scp) {
        return Ok(AssetKind::Repo);
    }
    let is_address = text.starts_with('[') || text.parse::<IpAddr>().is_ok();
    let has_host_name = first.split(':').next().is_some_and(|name| name.contains('.') || name == "localhost");
    if is_address || (has_host_name && !text.contains(['/', '@'])) {
        return Ok(AssetKind::Host);
    }
    if text.contains(['/', ':', '@']) && image(text).is_ok() {
        return Ok(AssetKind::Image);
    }
    Err("its kind is not clear; write one of repo, image, url, host, cloud, package, model and a colon before it")
}

/// `git@host:path`, `scheme://user@host:port/path`, `host/path`. Ports are dropped: ssh and https have different ones for one repository.
fn repo(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) = text.split_once("://").map_or((false, text), |(_, rest)| (true, rest));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    if rest.contains(|c: char| c.is_whitespace() || c == '\\') {
        return Err("a repository's name has no spaces and no backslashes");
    }
    let (first, path) = rest.split_once('/').unwrap_or((rest, ""));
    let user_end = first.rfind('@').map(|at| at + 1);
    let first = &first[user_end.unwrap_or(0)..];
    // `host:port/path` or, as scp has it, `host:path`.
    let (name, scp) = match first.split_once(':').filter(|_| !first.starts_with('[')) {
        Some((name, port)) if user_end.is_none() || scheme => match port.bytes().all(|b| b.is_ascii_digit()) {
            true => (name, ""),
            false if scheme => return Err("its port is no number"),
            false => (name, port),
        },
        Some((name, scp)) => (name, scp),
        None => (first, ""),
    };
    let is_host = scheme || user_end.is_some() || name != first || name.contains('.') || name.starts_with('[') || name == "localhost";
    let name = if is_host { forge(name)? } else { name.to_owned() };
    let mut path = format!("{scp}/{path}");
    if CASELESS_FORGES.contains(&name.as_str()) {
        path.make_ascii_lowercase();
    }
    let mut parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | "." | ".git")).collect();
    if parts.contains(&"..") {
        return Err("a repository's name has no `..`");
    }
    if TWO_PART_FORGES.contains(&name.as_str()) {
        parts.truncate(2);
    }
    if name == "gitlab.com" {
        parts.truncate(parts.iter().position(|part| *part == "-").unwrap_or(parts.len()));
    }
    if let Some(last) = parts.last_mut() {
        *last = last.trim_end_matches(".git");
    }
    let least = if CASELESS_FORGES.contains(&name.as_str()) { 2 } else { usize::from(is_host) };
    if name.is_empty() || parts.len() < least || parts.last().is_some_and(|last| last.is_empty()) {
        return Err("a repository is a host and a path");
    }
    parts.insert(0, &name);
    Ok(parts.join("/"))
}

/// Name, tag and digest, by the grammar of distribution references with Docker's defaults.
fn image(text: &str) -> Result<(String, &str, &str), &'static str> {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    let (name, digest) = text.split_once('@').unwrap_or((text, ""));
    if text.contains('@') && !is_digest(digest) {
        return Err("what follows `@` is no digest such as sha256:… with 64 hex digits");
    }
    // A colon after the last `/` begins the tag; one before it is the registry's port.
    let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let (name, tag) = tag_at.map_or((name, ""), |at| (&name[..at], &name[at + 1..]));
    let of_tag = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if tag_at.is_some() && (tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.bytes().all(of_tag)) {
        return Err("its tag is none: up to 128 letters, digits, `_`, `.` and `-`");
    }
    if name == "sha256" {
        return Err("a digest alone does not say which image it is");
    }
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase());
    let (registry, path) = name.split_once('/').filter(|(first, _)| is_registry(first)).unwrap_or(("docker.io", name));
    let registry = with_port(registry)?;
    if !path.split('/').all(is_image_part) {
        return Err("an image's path has lower-case letters, digits and single separators (`.`, `_`, `-`)");
    }
    let library = if registry == "docker.io" && !path.contains('/') { "library/" } else { "" };
    Ok((format!("{registry}/{library}{path}"), tag, digest))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_image_part(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [part.bytes().next(), part.bytes().next_back()];
    let mut separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends.iter().all(|end| end.is_some_and(is_word))
        && separators.all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

fn is_digest(text: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let length = |algorithm: &str| match algorithm {
        "sha256" => Some(64),
        "sha384" => Some(96),
        "sha512" => Some(128),
        _ => None,
    };
    text.split_once(':').is_some_and(|(algorithm, hex)| length(algorithm) == Some(hex.len()) && hex.bytes().all(is_hex))
}

/// `https://host[:port]`: no credentials, no path, no query, no default port.
fn url_origin(text: &str) -> Result<String, &'static str> {
    let url = url::Url::parse(text).map_err(|_| "it is no URL with a scheme and a host")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its scheme is neither http nor https");
    }
    let name = host(url.host_str().unwrap_or_default())?;
    let name = if name.contains(':') { format!("[{name}]") } else { name };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{name}{port}", url.scheme()))
}

/// A host name or address; a port is dropped, as it is part of the place and not of the asset.
fn host(text: &str) -> Result<String, &'static str> {
    const WHY: &str = "a host is a name of letters, digits, `-` and `.`, or an IP address";
    let is_port = |after: &str| after.is_empty() || after.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(_, after)| is_port(after));
    let bare = bracketed.map_or(text, |(inside, _)| inside);
    let bare = bare.split_once('%').map_or(bare, |(address, _zone)| address);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    let name = match text.split_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return Err(WHY),
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = if name.is_ascii() { name.to_ascii_lowercase() } else { url::Host::parse(name).map_err(|_| WHY)?.to_string() };
    let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_name) && !label.starts_with('-');
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(WHY);
    }
    let ends_in_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if ends_in_number && name.contains('.') && name.parse::<Ipv4Addr>().is_err() {
        return Err("it is neither an IP address nor a host name");
    }
    Ok(name)
}

/// The host of a forge or registry under the one name that it goes by.
fn forge(text: &str) -> Result<String, &'static str> {
    let name = host(text)?;
    Ok(HOST_ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| (*name).to_owned()))
}

fn is_known_forge(text: &str) -> bool {
    forge(text).is_ok_and(|name| CASELESS_FORGES.contains(&name.as_str()))
}

/// A registry: host and port, the port kept.
fn with_port(text: &str) -> Result<String, &'static str> {
    let name = forge(text)?;
    let name = if name.contains(':') { format!("[{name}]") } else { name };
    let may_have_port = text.starts_with('[') || text.matches(':').count() == 1;
    let port = text.rsplit_once(':').filter(|_| may_have_port).and_then(|(_, port)| port.parse::<u16>().ok());
    Ok(port.map_or(name.clone(), |port| format!("{name}:{port}")))
}

/// An ARN, an Azure resource id (all of it in lower case: Azure has no other), or Google's `//service/…`.
fn cloud(text: &str) -> Result<String, &'static str> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("arn:") {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        if parts.len() < 6 || [parts[1], parts[2], parts[5]].iter().any(|part| part.is_empty()) {
            return Err("an ARN is arn:partition:service:region:account:resource");
        }
        let fixed = text.len() - parts[5].len();
        return Ok(format!("{}{}", &lower[..fixed], parts[5]));
    }
    if lower.starts_with("/subscriptions/") {
        let parts: Vec<&str> = lower.split('/').filter(|part| !part.is_empty()).collect();
        return if parts.len() < 2 { Err("an Azure resource id names a subscription") } else { Ok(format!("/{}", parts.join("/"))) };
    }
    if let Some(rest) = text.strip_prefix("//") {
        let (service, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let service = host(service)?;
        return if path.is_empty() { Err("a Google resource is //service/path") } else { Ok(format!("//{service}/{path}")) };
    }
    Err("a cloud asset is an ARN, an Azure resource id or a Google //service/… name")
}

/// A package URL without version; `pkg:` may be left out.
fn package(text: &str) -> Result<String, &'static str> {
    let purl = if text.starts_with("pkg:") { purl::base(text) } else { purl::base(&format!("pkg:{text}")) };
    purl.map(|(name, _version)| name).ok_or("it is no package URL")
}

/// A model under the name its registry has for it.
fn model(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err("a model's name is not empty and has no spaces");
    }
    Ok(text.to_owned())
}

/// Host (and port) without user, and path without query.
fn authority_and_path(rest: &str) -> (&str, &str) {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    (authority.rsplit('@').next().unwrap_or_default(), path.trim_end_matches('/'))
}

/// What an error may show: no query, nothing before the last `@` that could be a password, 120 characters.
fn shown(text: &str) -> String {
    let (hidden, text) = text.rfind('@').map_or(("", text), |at| ("…", &text[at..]));
    let text = text.split(['?', '#']).next().unwrap_or_default();
    hidden.chars().chain(text.chars()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_asset_that_is_remembered_is_the_one_that_was_written() {
        let read = |text: &str| serde_json::from_value::<AssetId>(serde_json::Value::String(text.to_owned()));
        // More than a thread remembers, twice, so that places are taken and given up.
        for round in 0..2 {
            for number in 0..REMEMBERED * 3 {
                let name = format!("repo:github.com/acme/shop-{number}");
                assert_eq!(read(&name).unwrap().as_str(), name, "round {round}");
            }
        }
        for _ in 0..2 {
            assert_eq!(read("repo:git@GitHub.com:Acme/Shop.git").unwrap().as_str(), "repo:github.com/acme/shop");
            assert!(read("shop").is_err());
        }
    }

    #[test]
    fn one_asset_has_one_name_however_it_is_written() {
        for (name, spellings) in [
            (
                "repo:github.com/acme/shop",
                &[
                    "git@github.com:Acme/Shop.git",
                    "ssh://git@github.com:22/Acme/Shop.git",
                    "ssh://git@ssh.github.com:443/acme/shop.git",
                    "https://x-access-token:ghp_abc@GitHub.com/Acme/Shop.git/",
                    "https://github.com/acme/shop?tab=readme#top",
                    "https://www.github.com/acme/shop/tree/main/src",
                    "github.com/Acme/Shop",
                    "repo:git@github.com:acme/shop",
                    "repo:GITHUB.com/acme/shop.GIT",
                ][..],
            ),
            ("repo:gitlab.com/acme/web/shop", &["https://gitlab.com/Acme/web/shop/-/tree/main", "git@gitlab.com:acme/web/shop.git"]),
            (
                "repo:git.acme.dev/Team/Shop",
                &["ssh://git@git.acme.dev:7999/Team/Shop.git", "https://Git.Acme.dev:8443/Team/Shop.git", "repo:git.acme.dev:Team/Shop"],
            ),
            ("repo:shop", &["repo:shop", "repo: shop/ "]),
            (
                "image:docker.io/library/nginx",
                &["nginx:1.25", "docker.io/nginx", "docker://nginx", "image:index.docker.io/library/nginx:latest", "image:nginx"],
            ),
            ("image:docker.io/acme/shop", &["acme/shop", "image:acme/shop:v1"]),
            ("image:localhost:5000/app", &["localhost:5000/app:1", "image:LOCALHOST:5000/app"]),
            ("image:[::1]:5000/app", &["image:[0::1]:5000/app"]),
            ("url:https://shop.example", &["https://me:pw@Shop.example:443/cart?token=1#x", "url:https://shop.example./"]),
            ("url:http://[::1]:8080", &["http://[0:0::1]:8080/"]),
            ("url:https://www.github.com", &["https://www.github.com/"]),
            ("host:db1.shop.example", &["DB1.shop.example.", "db1.shop.example:5432"]),
            ("host:2001:db8::1", &["2001:0DB8:0::1", "[2001:db8::1]:22", "host:2001:db8::1%eth0"]),
            ("host:10.0.0.1", &["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1:443"]),
            ("host:xn--mnchen-3ya.example", &["münchen.example"]),
            ("cloud:arn:aws:s3:::Acme-Logs/a b", &["ARN:aws:S3:::Acme-Logs/a b"]),
            (
                "cloud:/subscriptions/0a/resourcegroups/web/providers/microsoft.web/sites/shop",
                &["/subscriptions/0A/resourceGroups/Web/providers/Microsoft.Web/sites/Shop/"],
            ),
            ("cloud://compute.googleapis.com/projects/P/zones/z", &["//Compute.googleapis.com/projects/P/zones/z/"]),
            ("package:pkg:npm/lodash", &["pkg:npm/lodash@4.17.21", "package:npm/lodash"]),
            ("model:acme/Fraud-Scores", &["model:acme/Fraud-Scores"]),
        ] {
            for spelling in spellings.iter().chain([&name]) {
                let read = AssetId::read(spelling).map(|id| id.to_string());
                assert_eq!(read.as_deref(), Ok(name), "{spelling}");
            }
            let id: AssetId = name.parse().unwrap();
            assert_eq!(format!("{}:{}", id.kind().name(), id.name()), name);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!((json.as_str(), serde_json::from_str(&json).unwrap()), (format!("{name:?}").as_str(), id));
        }
    }

    #[test]
    fn tag_and_digest_stand_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, name, tag, digest) in [
            ("nginx".to_owned(), "image:docker.io/library/nginx", "", ""),
            ("ghcr.io/acme/shop:1.2".to_owned(), "image:ghcr.io/acme/shop", "1.2", ""),
            (format!("localhost:5000/app:v1@{digest}"), "image:localhost:5000/app", "v1", digest.as_str()),
            (format!("image:acme/a__b--c@{digest}"), "image:docker.io/acme/a__b--c", "", digest.as_str()),
        ] {
            let read = ImageReference::read(&text).unwrap();
            assert_eq!((read.asset.as_str(), read.tag.as_str(), read.digest.as_str()), (name, tag, digest), "{text}");
        }
    }

    #[test]
    fn what_names_no_asset_is_refused() {
        for wrong in [
            "",
            "shop",
            "repo:",
            "repo:github.com/acme",
            "repo:/",
            "repo:git.acme.dev/a/../b",
            "repo:a b",
            "https://x:pw@h:port/a.git",
            "/home/me/shop",
            "C:\\shop",
            "ftp://a/b",
            "file:///a",
            "image:Acme/Shop_",
            "image:a/B",
            "image:a..b",
            "image:nginx:",
            "sha256:00",
            "nginx@sha256:00",
            "image:nginx@",
            "url:shop.example",
            "url:ftp://a",
            "url:https://",
            "host:",
            "host:a b",
            "host:10.0.0.300",
            "host:10.0.0.0/8",
            "host:[::1]x",
            "cloud:x",
            "arn:aws:s3",
            "cloud:/subscriptions/",
            "cloud://x.googleapis.com",
            "package:",
            "model:",
            "model:a b",
            "host:a\u{1f}b",
            "model:a\u{1f}b",
            "cloud:arn:aws:s3:::a\nb",
        ] {
            assert!(AssetId::read(wrong).is_err(), "{wrong}: {:?}", AssetId::read(wrong));
        }
        assert!(AssetId::read(&format!("model:{}", "a".repeat(NAME_BYTES + 1))).is_err());
        assert!("github.com/acme/shop".parse::<AssetId>().is_err(), "a record names its kind");
    }

    #[test]
    fn an_error_says_why_and_how_and_no_password() {
        let error = AssetId::read("https://me:hunter2@host:port/a.git?token=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(error, "\"…@host:port/a.git\" names no asset: its port is no number; for example repo:github.com/acme/shop");
    }

    /// Texts of the parts that names are made of, in any order.
    fn text() -> impl Strategy<Value = String> {
        let kind = prop::sample::select(vec!["", "repo:", "image:", "url:", "host:", "cloud:", "package:", "model:"]);
        let parts = prop::sample::select(vec![
            "a",
            "B",
            "github.com",
            "gitlab.com",
            "docker.io",
            "x.y",
            "/",
            "//",
            ":",
            "@",
            ".git",
            ".",
            "..",
            "-",
            "_",
            "[",
            "]",
            "::1",
            "1",
            "443",
            "https://",
            "ssh://",
            "git@",
            "docker://",
            "arn:",
            "/subscriptions/",
            "pkg:",
            "npm/",
            "?",
            "#",
            "%",
            "%2F",
            " ",
            "é",
            "\u{1f}",
        ]);
        (kind, prop::collection::vec(parts, 0..9)).prop_map(|(kind, parts)| format!("{kind}{}", parts.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn reading_a_canonical_name_is_the_identity(text in text()) {
            if let Ok(id) = AssetId::read(&text) {
                prop_assert_eq!(AssetId::read(id.as_str()), Ok(id.clone()));
                prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
                prop_assert!(!id.as_str().contains(crate::partition::SEPARATOR));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), kind in 0..AssetKind::ALL.len()) {
            let _ = (AssetId::read(&text), ImageReference::read(&text), AssetId::new(AssetKind::ALL[kind], &text));
        }
    }
}
