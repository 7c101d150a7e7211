//! Package URLs: the part that names a package whatever its version, and how tools' own words become one.
//!
//! Shape: `pkg:type/namespace/name@version?qualifiers#subpath`. Two tools that write a package differently (case, percent-encoding,
//! `_` for `-`) must come out equal here, or their findings never join. Source: <https://github.com/package-url/purl-spec>.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stays as it is in a namespace or name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Types in which upper and lower case are one name.
const CASELESS: &[&str] = &["apk", "bitbucket", "composer", "deb", "github", "golang", "hex", "pypi"];
/// Types of packages that an operating system's distribution brings.
const OF_SYSTEMS: &[&str] = &["alpm", "apk", "deb", "rpm"];

/// Words that Trivy (`Type`) and Grype (`artifact.type`) use, the purl type that they mean, and the namespace that they bring.
const KINDS: &[(&[&str], &str, &str)] = &[
    (&["npm", "node-pkg", "yarn", "pnpm", "bun", "javascript"], "npm", ""),
    (&["pypi", "pip", "pipenv", "poetry", "uv", "python", "python-pkg"], "pypi", ""),
    (&["maven", "jar", "pom", "gradle", "gradle-lockfile", "sbt", "sbt-lockfile", "java-archive", "jenkins-plugin"], "maven", ""),
    (&["golang", "gomod", "gobinary", "go-module"], "golang", ""),
    (&["gem", "bundler", "gemspec", "rubygems"], "gem", ""),
    (&["cargo", "rustbinary", "rust-binary", "rust-crate"], "cargo", ""),
    (&["nuget", "dotnet", "dotnet-core", "packages-props"], "nuget", ""),
    (&["composer", "composer-vendor", "php-composer"], "composer", ""),
    (&["conan"], "conan", ""),
    (&["conda", "conda-pkg", "conda-environment"], "conda", ""),
    (&["hex", "mix-lock", "erlang-otp"], "hex", ""),
    (&["pub", "pubspec-lock", "dart-pub"], "pub", ""),
    (&["swift"], "swift", ""),
    (&["cocoapods", "pod"], "cocoapods", ""),
    (&["julia"], "julia", ""),
    (&["hackage"], "hackage", ""),
    (&["R-package", "cran"], "cran", ""),
    (&["github-action", "github-action-workflow", "github"], "github", ""),
    (&["apk"], "apk", ""),
    (&["alpine"], "apk", "alpine"),
    (&["wolfi"], "apk", "wolfi"),
    (&["chainguard"], "apk", "chainguard"),
    (&["deb"], "deb", ""),
    (&["debian"], "deb", "debian"),
    (&["ubuntu"], "deb", "ubuntu"),
    (&["rpm"], "rpm", ""),
    (&["redhat"], "rpm", "redhat"),
    (&["centos"], "rpm", "centos"),
    (&["fedora"], "rpm", "fedora"),
    (&["rocky"], "rpm", "rocky"),
    (&["alma"], "rpm", "alma"),
    (&["amazon"], "rpm", "amazon"),
    (&["oracle"], "rpm", "oracle"),
    (&["photon"], "rpm", "photon"),
    (&["cbl-mariner"], "rpm", "cbl-mariner"),
    (&["azurelinux"], "rpm", "azurelinux"),
    (&["opensuse", "opensuse.leap", "opensuse.tumbleweed", "opensuse-leap", "opensuse-tumbleweed"], "rpm", "opensuse"),
    (&["suse", "suse linux enterprise server", "sles"], "rpm", "suse"),
    (&["alpm"], "alpm", "arch"),
];
/// The type of a package of an ecosystem that is not known.
const UNKNOWN_KIND: &str = "generic";

/// The package URL without version, qualifiers and subpath, spelled canonically, and the version; `None` if this is no purl.
pub fn base(raw: &str) -> Option<(String, String)> {
    let rest = raw.trim().strip_prefix("pkg:")?.trim_start_matches('/');
    let rest = rest.split('#').next().unwrap_or(rest);
    let rest = rest.split('?').next().unwrap_or(rest);
    let (kind, path) = rest.split_once('/')?;
    // A version's `@` stands behind the last `/`; an unencoded `@` of an npm scope stands before it, or begins the name.
    let name_from = path.rfind('/').map_or(0, |slash| slash + 1);
    let (path, version) = match path.rfind('@') {
        Some(at) if at > name_from => (&path[..at], &path[at + 1..]),
        _ => (path, ""),
    };
    let parts: Vec<String> = path.split('/').map(decoded).collect();
    let purl = spelled(&kind.to_ascii_lowercase(), &parts)?;
    Some((purl, decoded(version)))
}

/// The package URL, without version, of a package that a tool names by ecosystem and name; empty for an empty name.
pub fn of(kind: &str, name: &str) -> String {
    let known = KINDS.iter().find(|(words, ..)| words.iter().any(|word| word.eq_ignore_ascii_case(kind)));
    let (kind, namespace) = known.map_or((UNKNOWN_KIND, ""), |(_, kind, namespace)| (*kind, *namespace));
    let separators: &[char] = if kind == "maven" { &['/', ':'] } else { &['/'] };
    let parts: Vec<String> = [namespace].into_iter().chain(name.trim().split(separators)).map(str::to_owned).collect();
    if name.trim().is_empty() { String::new() } else { spelled(kind, &parts).unwrap_or_default() }
}

/// Whether such a package comes with an operating system rather than with an application's manifest.
pub fn is_of_system(purl: &str) -> bool {
    OF_SYSTEMS.contains(&kind_of(purl))
}

/// The name by which people of its ecosystem know a package: `org.example:lib`, `@scope/lib`, `golang.org/x/net`, `libc6`.
pub fn display_name(purl: &str) -> String {
    let path = purl.strip_prefix("pkg:").and_then(|rest| rest.split_once('/')).map_or(purl, |(_, path)| path);
    let parts: Vec<String> = path.split('/').map(decoded).collect();
    match kind_of(purl) {
        "maven" => parts.join(":"),
        kind if OF_SYSTEMS.contains(&kind) => parts.last().cloned().unwrap_or_default(),
        _ => parts.join("/"),
    }
}

fn kind_of(purl: &str) -> &str {
    purl.strip_prefix("pkg:").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// Decoded parts in the one spelling of their type; `None` if nothing is left of them.
fn spelled(kind: &str, parts: &[String]) -> Option<String> {
    let mut purl = format!("pkg:{kind}");
    let mut is_named = false;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let mut part = part.clone();
        if CASELESS.contains(&kind) {
            part = part.to_lowercase();
        }
        if kind == "pypi" {
            part = part.replace('_', "-");
        }
        purl.push('/');
        purl.extend(utf8_percent_encode(&part, ENCODED));
        is_named = true;
    }
    (is_named && !kind.is_empty()).then_some(purl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purl_parts_into_package_and_version_in_one_spelling() {
        for (raw, purl, version) in [
            ("pkg:maven/org.apache.commons/commons-compress@1.21", "pkg:maven/org.apache.commons/commons-compress", "1.21"),
            ("pkg:npm/%40angular/core@12.0.0", "pkg:npm/%40angular/core", "12.0.0"),
            ("pkg:npm/@angular/core@12.0.0", "pkg:npm/%40angular/core", "12.0.0"),
            ("pkg:npm/@angular/core", "pkg:npm/%40angular/core", ""),
            ("pkg:PyPI/My_Package@1.0", "pkg:pypi/my-package", "1.0"),
            ("pkg:deb/ubuntu/curl@7.81.0-1ubuntu1.14?arch=amd64&distro=ubuntu-22.04", "pkg:deb/ubuntu/curl", "7.81.0-1ubuntu1.14"),
            ("pkg:deb/debian/libstdc++6@8.3.0-6", "pkg:deb/debian/libstdc%2B%2B6", "8.3.0-6"),
            ("pkg:deb/debian/libstdc%2b%2b6@1%3A8.3.0-6", "pkg:deb/debian/libstdc%2B%2B6", "1:8.3.0-6"),
            ("pkg:golang/golang.org/x/net@v0.9.0#http2", "pkg:golang/golang.org/x/net", "v0.9.0"),
        ] {
            assert_eq!(base(raw), Some((purl.to_owned(), version.to_owned())), "{raw}");
        }
        for raw in ["", "lodash", "pkg:", "pkg:npm", "pkg:npm/"] {
            assert_eq!(base(raw), None, "{raw}");
        }
    }

    #[test]
    fn a_tools_words_become_the_purl_that_others_write() {
        for (kind, name, purl) in [
            ("jar", "org.apache.logging.log4j:log4j-core", "pkg:maven/org.apache.logging.log4j/log4j-core"),
            ("npm", "@angular/core", "pkg:npm/%40angular/core"),
            ("pip", "Flask_Login", "pkg:pypi/flask-login"),
            ("gobinary", "github.com/Masterminds/semver/v3", "pkg:golang/github.com/masterminds/semver/v3"),
            ("debian", "apt", "pkg:deb/debian/apt"),
            ("alpine", "git", "pkg:apk/alpine/git"),
            ("composer", "simplito/elliptic-php", "pkg:composer/simplito/elliptic-php"),
            ("rust-crate", "tokio", "pkg:cargo/tokio"),
            ("dotnet", "Newtonsoft.Json", "pkg:nuget/Newtonsoft.Json"),
            ("binary", "java", "pkg:generic/java"),
            ("npm", " ", ""),
        ] {
            assert_eq!(of(kind, name), purl, "{kind} {name}");
        }
    }

    #[test]
    fn people_see_the_name_of_the_ecosystem() {
        for (purl, name) in [
            ("pkg:maven/org.example/lib", "org.example:lib"),
            ("pkg:npm/%40angular/core", "@angular/core"),
            ("pkg:golang/golang.org/x/net", "golang.org/x/net"),
            ("pkg:deb/debian/libstdc%2B%2B6", "libstdc++6"),
            ("pkg:generic/java", "java"),
            ("", ""),
        ] {
            assert_eq!(display_name(purl), name);
        }
    }

    #[test]
    fn every_word_of_a_tool_means_one_type() {
        let mut words: Vec<String> = KINDS.iter().flat_map(|(words, ..)| words.iter()).map(|word| word.to_lowercase()).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
