//! A finding's identity from scan to scan: a function of the observation alone (`fp1`).
//!
//! In it: the tool's own ids, the package without version, the path folded by fixed rules, the snippet or symbol.
//! Never in it: the line alone, titles, severities, dates, versions, and nothing that is learned elsewhere (aliases,
//! route maps, families, the catalog). Those join findings later, and change without changing who a finding is.

use crate::id::Id;
use crate::locus::{Code, Locus};
use crate::observation::Observation;

/// The version of the rules below. Another version is another prefix; both live side by side until migrated (promise 9).
pub const VERSION: &str = "fp1";

/// The identity of an observation within its asset.
pub fn fingerprint(tool: &str, seen: &Observation) -> Id {
    with_rank(tool, seen, seen.rank)
}

/// The identity as it would be without the rank among equals, for ranking a report's findings.
pub fn identity_without_rank(seen: &Observation) -> u128 {
    u128::from_le_bytes(with_rank("", seen, 0).0)
}

/// (line, column) where rank among equals is decided by place; `None` for loci whose identity needs no rank.
pub fn place_in_file(locus: &Locus) -> Option<(i32, i32)> {
    match locus {
        Locus::Code(code) => Some((code.line, code.column)),
        Locus::Resource(resource) => Some((resource.line, 0)),
        Locus::Secret(secret) if secret.hash.is_empty() => Some((secret.line, 0)),
        _ => None,
    }
}

fn with_rank(tool: &str, seen: &Observation, rank: i32) -> Id {
    let rank = rank.to_string();
    let (rank, rule) = (rank.as_bytes(), seen.rule.as_bytes());
    let part = |kind: &str, parts: [&[u8]; 5]| {
        let [a, b, c, d, e] = parts;
        Id::of(VERSION, &[kind.as_bytes(), tool.as_bytes(), a, b, c, d, e])
    };
    match &seen.locus {
        Locus::Code(code) => {
            let (how, what) = code_identity(seen.stable_id.as_deref(), code);
            part("code", [rule, code.file.as_bytes(), how.as_bytes(), what.as_bytes(), rank])
        }
        Locus::Package(package) => {
            let own_id = seen.vulnerabilities.first().map_or(rule, |id| id.as_bytes());
            part("package", [package.purl.as_bytes(), package.manifest.as_bytes(), own_id, b"", b""])
        }
        Locus::Route(route) => {
            let path = fold_path(&route.path);
            part("route", [route.method.as_bytes(), path.as_bytes(), route.parameter.as_bytes(), rule, b""])
        }
        Locus::Resource(resource) if resource.address.is_empty() => part("resource-file", [resource.file.as_bytes(), rule, rank, b"", b""]),
        // A check may fail at several places of one resource (two open ports of a firewall): each is repaired on its own.
        Locus::Resource(resource) => part("resource", [resource.address.as_bytes(), resource.file.as_bytes(), rule, rank, b""]),
        Locus::Secret(secret) if secret.hash.is_empty() => {
            part("secret-redacted", [secret.file.as_bytes(), rule, secret.commit.as_bytes(), rank, b""])
        }
        Locus::Secret(secret) => part("secret", [secret.hash.as_bytes(), secret.file.as_bytes(), b"", b"", b""]),
        Locus::Host(host) => {
            let port = host.port.to_string();
            part("host", [host.address.as_bytes(), port.as_bytes(), host.protocol.as_bytes(), rule, b""])
        }
    }
}

/// What tells a code finding from its neighbours: the tool's stable id, else the snippet, else the symbol.
fn code_identity<'a>(stable_id: Option<&'a str>, code: &'a Code) -> (&'static str, &'a str) {
    match stable_id {
        Some(id) => ("id", id),
        None if !code.snippet.is_empty() => ("snippet", &code.snippet),
        None => ("symbol", &code.symbol),
    }
}

/// A request path with what varies from call to call folded: numbers, UUIDs, long hex and dates become `{}`.
pub fn fold_path(path: &str) -> String {
    let mut folded = String::with_capacity(path.len() + 1);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folded.push('/');
        folded.push_str(if is_variable(part) { "{}" } else { part });
    }
    if folded.is_empty() {
        folded.push('/');
    }
    folded
}

/// Whether a path segment names an instance rather than a kind: fixed rules, the same for ever under `fp1`.
fn is_variable(part: &str) -> bool {
    let bytes = part.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_number = digits == bytes.len();
    let is_uuid = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| matches!((at, byte), (8 | 13 | 18 | 23, b'-')) || byte.is_ascii_hexdigit());
    let is_hash = bytes.len() >= 16 && digits > 0 && bytes.iter().all(u8::is_ascii_hexdigit);
    let is_date =
        bytes.len() == 10 && bytes.iter().enumerate().all(|(at, byte)| matches!((at, byte), (4 | 7, b'-')) || byte.is_ascii_digit());
    is_number || is_uuid || is_hash || is_date
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locus::{Package, Route};
    use crate::observation::Severity;

    fn code(line: i32, snippet: &str) -> Observation {
        let place = Code { snippet: snippet.into(), ..Code::at("src/a.rs", line) };
        Observation::new("sqli", Severity::High, Locus::Code(place))
    }

    #[test]
    fn a_shifted_line_a_new_title_and_another_severity_are_the_same_finding() {
        let mut shifted = code(99, "q(x)");
        shifted.title = "SQL injection in 2.3.1".into();
        shifted.severity = Severity::Low;
        assert_eq!(fingerprint("t", &code(10, "q(x)")), fingerprint("t", &shifted));
        assert_ne!(fingerprint("t", &code(10, "q(x)")), fingerprint("t", &code(10, "q(y)")));
        assert_ne!(fingerprint("t", &code(10, "q(x)")), fingerprint("u", &code(10, "q(x)")));
    }

    #[test]
    fn a_package_is_the_same_in_every_version() {
        let at = |version: &str| {
            let place = Package { purl: "pkg:npm/lodash".into(), version: version.into(), ..Package::default() };
            let mut seen = Observation::new("CVE-2021-23337", Severity::High, Locus::Package(place));
            seen.vulnerabilities = vec!["CVE-2021-23337".into()];
            fingerprint("trivy", &seen)
        };
        assert_eq!(at("4.17.20"), at("4.17.19"));
    }

    #[test]
    fn a_route_is_the_same_for_every_instance() {
        let at = |path: &str| {
            let place = Route { method: "GET".into(), path: path.into(), ..Route::default() };
            fingerprint("zap", &Observation::new("40018", Severity::High, Locus::Route(place)))
        };
        assert_eq!(at("/users/17/orders/"), at("/users/18/orders"));
        assert_ne!(at("/users/17/orders"), at("/users/17/invoices"));
    }

    #[test]
    fn variable_parts_of_a_path_are_folded_and_names_are_not() {
        for (path, folded) in [
            ("", "/"),
            ("/a/2026-01-31/b", "/a/{}/b"),
            ("/v1/0b1c2d3e-aaaa-bbbb-cccc-0123456789ab", "/v1/{}"),
            ("/blob/9f86d081884c7d659a2feaa0c55ad015", "/blob/{}"),
            ("/benchmark/sqli-00/BenchmarkTest00008", "/benchmark/sqli-00/BenchmarkTest00008"),
            ("/deadbeefdeadbeefff", "/deadbeefdeadbeefff"),
        ] {
            assert_eq!(fold_path(path), folded);
        }
    }
}
