//! Where a finding is, in a form that can be joined with what other tools say.

use serde::{Deserialize, Serialize, Serializer};

/// Where a finding is. One variant a kind of place; a variant holds only what joins and what people need to find it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "LocusBody")]
pub enum Locus {
    Code(Code),
    Package(Package),
    Route(Route),
    Resource(Resource),
    Secret(Secret),
    Host(Host),
}

/// A locus in records: the kind as a string and one optional body a kind, so that a new kind breaks no old reader.
#[derive(Deserialize)]
struct LocusBody {
    kind: String,
    code: Option<Code>,
    package: Option<Package>,
    route: Option<Route>,
    resource: Option<Resource>,
    secret: Option<Secret>,
    host: Option<Host>,
}

/// A locus of a kind that this program does not know, or whose body is missing.
#[derive(Debug, thiserror::Error)]
#[error("a locus of kind {kind:?} is not known here, or has no body of that kind")]
struct LocusError {
    kind: String,
}

/// The same, of a locus that stays where it is.
#[derive(Default, Serialize)]
struct LocusView<'a> {
    kind: &'static str,
    code: Option<&'a Code>,
    package: Option<&'a Package>,
    route: Option<&'a Route>,
    resource: Option<&'a Resource>,
    secret: Option<&'a Secret>,
    host: Option<&'a Host>,
}

impl Serialize for Locus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |kind| LocusView { kind, ..LocusView::default() };
        let view = match self {
            Self::Code(body) => LocusView { code: Some(body), ..of("code") },
            Self::Package(body) => LocusView { package: Some(body), ..of("package") },
            Self::Route(body) => LocusView { route: Some(body), ..of("route") },
            Self::Resource(body) => LocusView { resource: Some(body), ..of("resource") },
            Self::Secret(body) => LocusView { secret: Some(body), ..of("secret") },
            Self::Host(body) => LocusView { host: Some(body), ..of("host") },
        };
        view.serialize(serializer)
    }
}

impl TryFrom<LocusBody> for Locus {
    type Error = LocusError;

    fn try_from(body: LocusBody) -> Result<Self, LocusError> {
        let LocusBody { kind, code, package, route, resource, secret, host } = body;
        let locus = match kind.as_str() {
            "code" => code.map(Self::Code),
            "package" => package.map(Self::Package),
            "route" => route.map(Self::Route),
            "resource" => resource.map(Self::Resource),
            "secret" => secret.map(Self::Secret),
            "host" => host.map(Self::Host),
            _ => None,
        };
        locus.ok_or(LocusError { kind })
    }
}

/// A place in source code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Path inside the asset, `/`-separated, without a leading `./` or `/`.
    pub file: String,
    /// First line, from 1; 0 where the tool names none.
    pub line: i32,
    /// Last line, from 1; equal to `line` where the tool names none.
    pub end_line: i32,
    /// First column, from 1; 0 where the tool names none.
    pub column: i32,
    /// Function, method or class as the tool names it; empty where it names none.
    pub symbol: String,
    /// 16 hex digits: hash of the code at the place with white space folded; empty where the report holds no code.
    pub snippet: String,
    /// The parameter or variable through which input arrives, where the tool names it.
    pub parameter: String,
}

impl Code {
    /// A place that is known by file and line only.
    pub fn at(file: impl Into<String>, line: i32) -> Self {
        Self { file: file.into(), line, end_line: line, ..Self::default() }
    }
}

/// A package in a manifest, a file system or an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Package URL without version and qualifiers, e.g. `pkg:maven/org.apache.logging.log4j/log4j-core`.
    pub purl: String,
    /// The installed version as the tool writes it.
    pub version: String,
    /// The manifest, lock file or archive that brings it, inside the asset; empty for packages of an image's system. In a cluster it
    /// begins with the workload and, for a package of a system, its image: `Deployment/shop/web/docker.io/library/redis`.
    pub manifest: String,
    /// The image layer (`sha256:…`) that brings it, where the tool names it.
    pub layer: String,
}

/// A route of a running application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Upper-case method; empty where the tool names none.
    pub method: String,
    /// Scheme, host and port as the tool reached it (`https://shop.example:8443`), default ports dropped.
    pub origin: String,
    /// The path as the tool requested it, percent-encoding as it came, without query and fragment.
    pub path: String,
    /// The parameter (query, form, header or cookie name) that was attacked; empty where none was. Never a value.
    pub parameter: String,
}

/// A resource of infrastructure: as code or in a cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Address in its own scheme: `aws_s3_bucket.logs`, `Deployment/default/web`, an ARN; empty where only a file is known.
    pub address: String,
    /// The file that declares it, inside the asset; empty for a resource that runs.
    pub file: String,
    /// First line of the declaration, from 1; 0 where none is named.
    pub line: i32,
    /// Last line of the declaration.
    pub end_line: i32,
}

/// A secret. The secret itself is never here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// 32 hex digits: the secret's keyed hash; empty where the report holds it only redacted.
    pub hash: String,
    /// At most four leading characters of a secret that is long enough, then `…`; else empty.
    pub preview: String,
    /// The file that holds it, inside the asset.
    pub file: String,
    /// Line, from 1; 0 where none is named.
    pub line: i32,
    /// The commit that brought it, where the tool reads history; empty otherwise.
    pub commit: String,
}

/// A port of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name or address as the tool reached it.
    pub address: String,
    /// Port; 0 where the finding is of the host as a whole.
    pub port: i32,
    /// `tcp`, `udp`, or the application protocol; empty where none is named.
    pub protocol: String,
}

/// A path inside an asset, folded: `\` to `/`, `file://`, `./` and leading `/` dropped, `..` and empty parts resolved.
pub fn asset_path(raw: &str) -> String {
    let raw = raw.strip_prefix("file://").unwrap_or(raw).replace('\\', "/");
    let mut parts: Vec<&str> = Vec::new();
    for part in raw.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The hash of a snippet that survives reformatting: white space folded, 16 hex digits; empty for blank code.
pub fn snippet_hash(code: &str) -> String {
    let mut folded = String::with_capacity(code.len());
    for word in code.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    if folded.is_empty() {
        return String::new();
    }
    blake3::hash(folded.as_bytes()).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fold_to_one_spelling() {
        for (raw, folded) in [
            ("./src/main.rs", "src/main.rs"),
            ("/src//main.rs", "src/main.rs"),
            ("src\\win\\a.cs", "src/win/a.cs"),
            ("file:///app/a/../b.py", "app/b.py"),
            ("../../etc/passwd", "etc/passwd"),
            ("", ""),
        ] {
            assert_eq!(asset_path(raw), folded, "{raw}");
        }
    }

    #[test]
    fn a_snippet_survives_reformatting_and_nothing_else() {
        assert_eq!(snippet_hash("a  =\n\tb"), snippet_hash("a = b"));
        assert_ne!(snippet_hash("a = b"), snippet_hash("a = c"));
        assert_eq!(snippet_hash(" \n"), "");
    }
}
