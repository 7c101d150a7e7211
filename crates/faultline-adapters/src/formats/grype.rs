//! Grype JSON: vulnerable packages in images and file systems.
//!
//! Shape: `{matches: [{vulnerability, relatedVulnerabilities, artifact}], ignoredMatches, source, descriptor}`. The first id is
//! the one by which grype matched (a GHSA, a distribution's CVE); related ones are the same weakness elsewhere.
//! Source: <https://github.com/anchore/grype>, `-o json`.

use faultline_model::asset::AssetKind;
use faultline_model::locus::{Locus, Package, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict};
use faultline_model::{cvss, purl};
use serde::Deserialize;
use serde_json::Value;

use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report, ScanFacts};
use crate::formats::json::{Json, Text};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter = Adapter { name: "grype", kind: ScanKind::Sca, tests_for: &[], recognises, may_be_empty: NEVER, read };

/// Members that hold matches, and what their standing is. Ignored ones are ignored by the user's own rules.
const MATCHES: &[(&str, ToolVerdict)] = &[("matches", ToolVerdict::Reported), ("ignoredMatches", ToolVerdict::Suppressed)];

/// Grype's level names; `Negligible` and `Unknown` are the least.
const SEVERITIES: &[(&str, Severity)] = &[
    ("critical", Severity::Critical),
    ("high", Severity::High),
    ("medium", Severity::Medium),
    ("low", Severity::Low),
    ("negligible", Severity::Info),
    ("unknown", Severity::Info),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match<'a> {
    #[serde(borrow)]
    vulnerability: Vulnerability<'a>,
    related_vulnerabilities: Option<Vec<Vulnerability<'a>>>,
    artifact: Artifact<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability<'a> {
    id: String,
    #[serde(borrow)]
    data_source: Option<Text<'a>>,
    severity: Option<Text<'a>>,
    urls: Option<Vec<Text<'a>>>,
    description: Option<Text<'a>>,
    cvss: Option<Vec<Vector<'a>>>,
    cwes: Option<Vec<Cwe<'a>>>,
    fix: Option<Fix>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    vector: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Cwe<'a> {
    #[serde(borrow)]
    cwe: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Fix {
    versions: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Artifact<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default)]
    version: Text<'a>,
    #[serde(default, rename = "type")]
    kind: Text<'a>,
    purl: Option<Text<'a>>,
    locations: Option<Vec<Location<'a>>>,
}

#[derive(Deserialize)]
struct Location<'a> {
    #[serde(default, borrow)]
    path: Text<'a>,
    #[serde(default, rename = "layerID")]
    layer: Text<'a>,
}

fn recognises(head: &Head<'_>) -> bool {
    let members = head.top_members();
    let is_grypes = members.contains(&"descriptor") || head.has_member("matchDetails") || head.has_member("relatedVulnerabilities");
    head.is_json_object() && members.contains(&"matches") && is_grypes
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    Json::open(ADAPTER.name, report)?.whole(|json| {
        json.object(&mut |json, name| {
            if let Some((member, verdict)) = MATCHES.iter().find(|(member, _)| *member == name) {
                return json.elements(&mut |index, element| match element.read::<Match<'_>>() {
                    Ok(found) => emit.finding(Observation { tool_verdict: *verdict, ..observation(found) }),
                    Err(reason) => {
                        emit.refused(format!("{member} {index}"), reason);
                        Ok(())
                    }
                });
            }
            match name {
                "source" => {
                    let source: Value = json.value()?;
                    let target_kind = (source["type"] == "image").then_some(AssetKind::Image);
                    emit.scan(ScanFacts { target: target_of(&source), target_kind, ..ScanFacts::default() });
                }
                "descriptor" => {
                    let descriptor: Value = json.value()?;
                    let (tool_version, started) = (text(&descriptor["version"]), text(&descriptor["timestamp"]));
                    emit.scan(ScanFacts { tool_version, started, ..ScanFacts::default() });
                }
                _ => json.pass()?,
            }
            Ok(())
        })
    })
}

/// What was scanned: an image's reference, or the folder, which stands there as a bare text.
fn target_of(source: &Value) -> String {
    let target = &source["target"];
    if target.is_string() { text(target) } else { text(&target["userInput"]) }
}

fn observation(found: Match<'_>) -> Observation {
    let Match { vulnerability, related_vulnerabilities, artifact } = found;
    // The match's own words stand before those of its relatives, in every list.
    let own_severity = vulnerability.severity.as_deref().map_or(Severity::Info, severity_of);
    let all: Vec<Vulnerability<'_>> = [vulnerability].into_iter().chain(related_vulnerabilities.unwrap_or_default()).collect();

    let mut seen = Observation::new(all[0].id.clone(), own_severity, Locus::Package(package(&artifact)));
    seen.title = format!("{} in {} {}", seen.rule, &*artifact.name, &*artifact.version);
    seen.cvss = cvss::read_all(all.iter().flat_map(|one| one.cvss.iter().flatten()).filter_map(|one| one.vector.as_deref()));
    if let Some(description) = all.iter().find_map(|one| one.description.as_ref().filter(|text| !text.is_empty())) {
        (**description).clone_into(&mut seen.description);
    }
    for one in all {
        push_new(&mut seen.vulnerabilities, one.id);
        let cwes = one.cwes.into_iter().flatten().filter_map(|cwe| cwe.cwe?.strip_prefix("CWE-")?.parse::<i32>().ok());
        cwes.for_each(|cwe| push_new(&mut seen.cwes, cwe));
        let links = one.data_source.into_iter().chain(one.urls.into_iter().flatten());
        links.for_each(|link| push_new(&mut seen.references, link.into_string()));
        one.fix.and_then(|fix| fix.versions).into_iter().flatten().for_each(|version| push_new(&mut seen.fixed_versions, version));
    }
    seen.bounded()
}

/// Where: a distribution's package lies in the image's package database, which is no manifest.
fn package(artifact: &Artifact<'_>) -> Package {
    let known = artifact.purl.as_deref().and_then(purl::base);
    let purl = known.map_or_else(|| purl::of(&artifact.kind, &artifact.name), |(purl, _)| purl);
    let first = artifact.locations.iter().flatten().next();
    let manifest = match first {
        Some(location) if !purl::is_of_system(&purl) => asset_path(&location.path),
        _ => String::new(),
    };
    let layer = first.map(|location| (*location.layer).to_owned()).unwrap_or_default();
    // Versions that were read out of binaries hold stray NULs.
    let version = artifact.version.chars().filter(|c| !c.is_control()).collect();
    Package { purl, version, manifest, layer }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

fn severity_of(level: &str) -> Severity {
    SEVERITIES.iter().find(|(name, _)| level.eq_ignore_ascii_case(name)).map_or(Severity::Info, |(_, severity)| *severity)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::RouteSeen;
    use crate::secret::SecretKey;

    #[derive(Default)]
    struct Seen(Vec<Observation>, Vec<String>, Vec<ScanFacts>);

    impl Emit for Seen {
        fn scan(&mut self, facts: ScanFacts) {
            self.2.push(facts);
        }
        fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
            self.0.push(seen);
            Ok(())
        }
        fn route(&mut self, _: RouteSeen) -> Result<(), ReadError> {
            Ok(())
        }
        fn refused(&mut self, place: String, _: String) {
            self.1.push(place);
        }
    }

    #[test]
    fn a_bad_match_is_refused_by_its_place_and_an_ignored_one_is_suppressed() {
        let json = r#"{"matches": [{"vulnerability": 1},
                {"vulnerability": {"id": "GHSA-1", "severity": "Negligible", "fix": {"versions": ["2.0"]}},
                 "relatedVulnerabilities": [{"id": "CVE-1", "cvss": [{"vector": "AV:N/AC:L/Au:N/C:N/I:N/A:P"},
                    {"vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}],
                 "artifact": {"name": "lodash", "version": "1.0", "type": "npm", "locations": [{"path": "/app/package-lock.json"}]}}],
            "ignoredMatches": [{"vulnerability": {"id": "CVE-2"}, "artifact": {"name": "apt", "type": "deb", "locations": [{"path": "/var/lib/dpkg/status"}]}}],
            "source": {"type": "directory", "target": "/src"}, "descriptor": {"name": "grype", "version": "0.80.0"}}"#;
        assert!(recognises(&Head::new(json.as_bytes(), true)));
        let (mut seen, key, mut bytes) = (Seen::default(), SecretKey::from_passphrase("t"), std::io::Cursor::new(json));
        read(&mut Report::new(&mut bytes, &key), &mut seen).unwrap();
        assert_eq!(seen.1, ["matches 0"]);
        assert_eq!(seen.0[0].vulnerabilities, ["GHSA-1", "CVE-1"]);
        assert_eq!(seen.0[0].severity, Severity::Info);
        assert_eq!(seen.0[0].cvss.iter().map(|one| one.base_tenths).collect::<Vec<_>>(), [98, 50]);
        let Locus::Package(place) = &seen.0[0].locus else { panic!("no package") };
        assert_eq!((place.purl.as_str(), place.manifest.as_str()), ("pkg:npm/lodash", "app/package-lock.json"));
        let Locus::Package(place) = &seen.0[1].locus else { panic!("no package") };
        assert_eq!((place.manifest.as_str(), seen.0[1].tool_verdict), ("", ToolVerdict::Suppressed));
        assert!(seen.2.iter().any(|facts| facts.target == "/src") && seen.2.iter().any(|facts| facts.tool_version == "0.80.0"));
    }
}
