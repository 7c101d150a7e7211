//! Trivy JSON: vulnerable packages, misconfigurations, secrets and licences in images, file systems, repositories and clusters.
//!
//! Shape: a report `{SchemaVersion: 2, ArtifactName, Results: […]}`; before version 2 the bare array of results
//! `{Target, Type, Vulnerabilities}`; of a cluster `{ClusterName, Resources: […]}` (older: `Vulnerabilities` and
//! `Misconfigurations`), each a workload with results. A result has an array a class of finding. A bare `null` was an empty
//! report once, and an empty one of gitleaks too: it is not recognised here.
//! Source: <https://trivy.dev/latest/docs/configuration/reporting/>.
//! Code excerpts and a secret's `Match` are not read.

use std::collections::BTreeMap;
use std::fmt;

use faultline_model::locus::{Locus, Package, Resource, Secret, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity};
use faultline_model::{cvss, purl};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::adapter::{Adapter, Emit, ReadError, Report, ScanFacts};
use crate::formats::json::{Each, visit};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter = Adapter { name: "trivy", kind: ScanKind::Sca, tests_for: &[], recognises, read };

/// Members that only this tool's reports have together, at the top of an object.
const OBJECT_SIGNATURES: &[&[&str]] = &[
    &["ArtifactName", "SchemaVersion"],
    &["ArtifactName", "ArtifactType"],
    &["SchemaVersion", "Results"],
    &["ClusterName", "Resources"],
    &["ClusterName", "Findings"],
    &["ClusterName", "Vulnerabilities"],
    &["ClusterName", "Misconfigurations"],
];
/// The same for the first element of an array of results.
const ARRAY_SIGNATURES: &[&[&str]] = &[&["Target", "Vulnerabilities"], &["Target", "Misconfigurations"]];
/// Members of a cluster's report that hold workloads.
const WORKLOADS: &[&str] = &["Resources", "Findings", "Vulnerabilities", "Misconfigurations"];
/// A result's members that hold findings: the kind of tool that each stands for, and how an element becomes a finding.
const FINDINGS: &[(&str, ScanKind, Making)] = &[
    ("Vulnerabilities", ScanKind::Sca, vulnerability),
    ("Misconfigurations", ScanKind::Iac, misconfiguration),
    ("Secrets", ScanKind::Secret, secret),
    ("Licenses", ScanKind::Sca, license),
];
/// The kind of tool that a result's `Class` stands for.
const CLASSES: &[(&str, ScanKind)] = &[
    ("os-pkgs", ScanKind::Sca),
    ("lang-pkgs", ScanKind::Sca),
    ("license", ScanKind::Sca),
    ("license-file", ScanKind::Sca),
    ("config", ScanKind::Iac),
    ("secret", ScanKind::Secret),
];
/// Whose CVSS vectors come first among those of one version; the others follow by name.
const CVSS_SOURCES: &[&str] = &["nvd", "ghsa", "redhat"];
/// Hard-coded credentials; trivy names no weakness of a secret itself.
const CWE_HARD_CODED_CREDENTIALS: i32 = 798;

/// Makes a finding of an element; `None` if the element is none (a check that passed), the reason if it cannot be read.
type Making = fn(&Context, Value) -> Result<Option<Observation>, String>;

/// What stands around a finding.
#[derive(Clone, Default)]
struct Context {
    /// Family of the image's system (`alpine`), for packages whose result names no type.
    os_family: String,
    /// A cluster's workload, `Kind/Namespace/Name`; empty elsewhere.
    workload: String,
    target: String,
    class: String,
    /// Ecosystem or system of a result's packages (`npm`, `debian`).
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(default, rename = "VendorIDs")]
    vendor_ids: Option<Vec<String>>,
    #[serde(default)]
    pkg_name: String,
    #[serde(default)]
    pkg_path: String,
    #[serde(default)]
    pkg_identifier: PackageIdentifier,
    #[serde(default)]
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default)]
    layer: Layer,
    #[serde(default, rename = "CVSS")]
    cvss: Option<BTreeMap<String, Vectors>>,
    #[serde(default, rename = "CweIDs")]
    cwes: Option<Vec<String>>,
    #[serde(flatten)]
    words: Words,
}

#[derive(Default, Deserialize)]
struct PackageIdentifier {
    #[serde(default, rename = "PURL")]
    purl: String,
}

#[derive(Default, Deserialize)]
struct Layer {
    #[serde(default, rename = "DiffID")]
    diff_id: String,
    #[serde(default, rename = "Digest")]
    digest: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Vectors {
    #[serde(rename = "V40Vector")]
    v40: String,
    #[serde(rename = "V3Vector")]
    v3: String,
    #[serde(rename = "V2Vector")]
    v2: String,
}

/// What every class of finding says for people.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Words {
    title: String,
    description: String,
    severity: String,
    #[serde(rename = "PrimaryURL")]
    primary_url: String,
    references: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Misconfiguration {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default, rename = "AVDID")]
    avd_id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    resolution: String,
    #[serde(default)]
    cause_metadata: Cause,
    #[serde(flatten)]
    words: Words,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Cause {
    resource: String,
    start_line: i32,
    end_line: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FoundSecret {
    #[serde(rename = "RuleID")]
    rule: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    start_line: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct License {
    name: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    pkg_name: String,
    #[serde(default)]
    file_path: String,
    #[serde(default)]
    link: String,
}

fn recognises(head: &Head<'_>) -> bool {
    let (members, signatures) =
        if head.is_json_array() { (head.first_element_members(), ARRAY_SIGNATURES) } else { (head.top_members(), OBJECT_SIGNATURES) };
    signatures.iter().any(|signature| signature.iter().all(|name| members.contains(name)))
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let mut walk = Walk { emit, kinds: Vec::new() };
    let whole = Part { depth: Depth::Report, walk: &mut walk, context: &mut Context::default(), place: String::new() };
    visit(ADAPTER.name, report, whole)?;
    // One kind is said as it is; a report of several kinds is a composition scan with more.
    if let Some((first, rest)) = walk.kinds.split_first() {
        let kind = if rest.is_empty() { *first } else { ScanKind::Sca };
        emit.scan(ScanFacts { kind: Some(kind), ..ScanFacts::default() });
    }
    Ok(())
}

/// What goes along with the reading of a whole report.
struct Walk<'e> {
    emit: &'e mut dyn Emit,
    /// Kinds of scan seen, each once.
    kinds: Vec<ScanKind>,
}

impl Walk<'_> {
    fn note_kind(&mut self, kind: ScanKind) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    fn take(&mut self, place: &str, making: Making, context: &Context, element: Value) -> Result<(), ReadError> {
        match making(context, element) {
            Ok(Some(seen)) => self.emit.finding(seen),
            Ok(None) => Ok(()),
            Err(reason) => {
                self.emit.refused(place.to_owned(), reason);
                Ok(())
            }
        }
    }
}

/// How deep in a report a part stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Report,
    Workload,
    Outcome,
}

/// An object of a report, or an array of such; what stands around it is known from `context`.
struct Part<'a, 'e> {
    depth: Depth,
    walk: &'a mut Walk<'e>,
    context: &'a mut Context,
    place: String,
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trivy report, its workloads or its results")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        // A report that is an array is the array of its results.
        let depth = if self.depth == Depth::Report { Depth::Outcome } else { self.depth };
        let name = if depth == Depth::Workload { "workload" } else { "result" };
        let mut index = 0;
        loop {
            let place = format!("{}{name} {index}, ", self.place);
            let mut context = self.context.clone();
            if parts.next_element_seed(Part { depth, walk: &mut *self.walk, context: &mut context, place })?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        match self.depth {
            Depth::Report => self.report(members),
            Depth::Workload => self.workload(members),
            Depth::Outcome => self.outcome(members),
        }
    }
}

impl<'e> Part<'_, 'e> {
    fn inner(&mut self, depth: Depth) -> Part<'_, 'e> {
        Part { depth, walk: &mut *self.walk, context: &mut *self.context, place: self.place.clone() }
    }

    fn report<'de, A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let mut facts = ScanFacts::default();
            match name.as_str() {
                "Results" => members.next_value_seed(self.inner(Depth::Outcome))?,
                workloads if WORKLOADS.contains(&workloads) => members.next_value_seed(self.inner(Depth::Workload))?,
                "ArtifactName" | "ClusterName" => facts.target = text(&members.next_value()?),
                "CreatedAt" => facts.started = text(&members.next_value()?),
                "Trivy" => facts.tool_version = text(&members.next_value::<Value>()?["Version"]),
                "Metadata" => {
                    let metadata: Value = members.next_value()?;
                    self.context.os_family = text(&metadata["OS"]["Family"]);
                    facts.revision = text(&metadata["Commit"]);
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            if facts != ScanFacts::default() {
                self.walk.emit.scan(facts);
            }
        }
        Ok(())
    }

    fn workload<'de, A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut name_parts: [String; 3] = Default::default();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "Kind" => name_parts[0] = text(&members.next_value()?),
                "Namespace" => name_parts[1] = text(&members.next_value()?),
                "Name" => name_parts[2] = text(&members.next_value()?),
                "Results" => {
                    let known: Vec<&str> = name_parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
                    self.context.workload = known.join("/");
                    members.next_value_seed(self.inner(Depth::Outcome))?;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    /// One result. Trivy writes what it is before its findings; where a report was reordered, findings wait for it.
    fn outcome<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { walk, context, place, .. } = self;
        let mut waiting: Vec<(String, Making, Value)> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "Target" => context.target = text(&members.next_value()?),
                "Type" => context.kind = text(&members.next_value()?),
                "Class" => {
                    context.class = text(&members.next_value()?);
                    if let Some((_, kind)) = CLASSES.iter().find(|(class, _)| *class == context.class) {
                        walk.note_kind(*kind);
                    }
                }
                other => {
                    let Some((member, kind, making)) = FINDINGS.iter().find(|(member, ..)| *member == other) else {
                        members.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let is_known = !context.target.is_empty() && (!context.kind.is_empty() || !context.class.is_empty());
                    members.next_value_seed(Each::new("an array of findings", |index, element: Value| {
                        let place = format!("{place}{member} {index}");
                        walk.note_kind(*kind);
                        if is_known {
                            return walk.take(&place, *making, context, element);
                        }
                        waiting.push((place, *making, element));
                        Ok(())
                    }))?;
                }
            }
        }
        for (place, making, element) in waiting {
            walk.take(&place, making, context, element).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

fn vulnerability(context: &Context, element: Value) -> Result<Option<Observation>, String> {
    let found: Vulnerability = serde_json::from_value(element).map_err(|error| error.to_string())?;
    let (purl, _) = purl::base(&found.pkg_identifier.purl).unwrap_or_else(|| (purl::of(&context.kind, &found.pkg_name), String::new()));
    let is_of_system = if context.class.is_empty() { purl::is_of_system(&purl) } else { context.class == "os-pkgs" };
    let manifest = match (is_of_system, found.pkg_path.as_str()) {
        (true, _) => String::new(),
        (false, "") => asset_path(&context.target),
        (false, path) => asset_path(path),
    };
    let layer = if found.layer.diff_id.is_empty() { found.layer.digest } else { found.layer.diff_id };
    // Versions that were read out of binaries may hold stray control characters.
    let version = found.installed_version.chars().filter(|c| !c.is_control()).collect();
    let place = Package { purl, version, manifest, layer };
    let mut seen = Observation::new(found.id.clone(), severity_of(&found.words.severity), Locus::Package(place));
    seen.vulnerabilities = [found.id].into_iter().chain(found.vendor_ids.unwrap_or_default()).collect();
    seen.cvss = cvss_of(&found.cvss.unwrap_or_default());
    seen.cwes = found.cwes.unwrap_or_default().iter().filter_map(|cwe| cwe.strip_prefix("CWE-")?.parse().ok()).collect();
    seen.fixed_versions = found.fixed_version.split(", ").filter(|version| !version.is_empty()).map(str::to_owned).collect();
    if found.words.title.is_empty() {
        seen.title = format!("{} in {}", seen.rule, found.pkg_name);
    }
    Ok(Some(with_words(seen, found.words)))
}

fn misconfiguration(context: &Context, element: Value) -> Result<Option<Observation>, String> {
    let found: Misconfiguration = serde_json::from_value(element).map_err(|error| error.to_string())?;
    // Before the status was written, only failures were.
    if !matches!(found.status.as_str(), "" | "FAIL") {
        return Ok(None);
    }
    // A workload runs: its target (`Service/web`) is no file, and its lines are those of what the cluster answered.
    let place = if context.workload.is_empty() {
        let Cause { resource, start_line, end_line } = found.cause_metadata;
        Resource { address: resource, file: asset_path(&context.target), line: start_line, end_line }
    } else {
        Resource { address: context.workload.clone(), ..Resource::default() }
    };
    let mut seen = Observation::new(found.id, severity_of(&found.words.severity), Locus::Resource(place));
    seen.guidance = found.resolution;
    let mut seen = with_words(seen, found.words);
    if !found.message.is_empty() {
        format!("{}\n\n{}", found.message, seen.description).trim_end().clone_into(&mut seen.description);
    }
    if !found.avd_id.is_empty() {
        seen.references.push(format!("https://avd.aquasec.com/misconfig/{}", found.avd_id.to_lowercase()));
    }
    Ok(Some(seen.bounded()))
}

fn secret(context: &Context, element: Value) -> Result<Option<Observation>, String> {
    // The parser's own reason may quote a value, and a value may be the secret: it does not leave.
    let found: FoundSecret = serde_json::from_value(element).map_err(|_| "a secret needs a rule as text".to_owned())?;
    let place = Secret { file: asset_path(&context.target), line: found.start_line, ..Secret::default() };
    let mut seen = Observation::new(found.rule, severity_of(&found.severity), Locus::Secret(place));
    seen.cwes = vec![CWE_HARD_CODED_CREDENTIALS];
    Ok(Some(with_words(seen, Words { title: found.title, ..Words::default() })))
}

fn license(context: &Context, element: Value) -> Result<Option<Observation>, String> {
    let found: License = serde_json::from_value(element).map_err(|error| error.to_string())?;
    let kind = if context.kind.is_empty() { &context.os_family } else { &context.kind };
    let place = Package { purl: purl::of(kind, &found.pkg_name), manifest: asset_path(&found.file_path), ..Package::default() };
    let subject = if found.pkg_name.is_empty() { &found.file_path } else { &found.pkg_name };
    let title = format!("{} is licensed under {}", subject, found.name);
    let seen = Observation::new(format!("license:{}", found.name), severity_of(&found.severity), Locus::Package(place));
    Ok(Some(with_words(seen, Words { title, primary_url: found.link, ..Words::default() })))
}

/// Adds what a finding says for people, and cuts it to its bounds.
fn with_words(mut seen: Observation, words: Words) -> Observation {
    if !words.title.is_empty() {
        seen.title = words.title;
    }
    seen.description = words.description;
    let links = [words.primary_url].into_iter().chain(words.references.unwrap_or_default());
    for link in links {
        if !seen.references.contains(&link) {
            seen.references.push(link);
        }
    }
    seen.bounded()
}

fn cvss_of(sources: &BTreeMap<String, Vectors>) -> Vec<faultline_model::observation::Cvss> {
    let preferred = CVSS_SOURCES.iter().filter_map(|name| sources.get(*name));
    let others = sources.iter().filter(|(name, _)| !CVSS_SOURCES.contains(&name.as_str())).map(|(_, vectors)| vectors);
    cvss::read_all(preferred.chain(others).flat_map(|vectors| [vectors.v40.as_str(), vectors.v3.as_str(), vectors.v2.as_str()]))
}

/// The five levels by name; `UNKNOWN` says nothing, and so alarms nobody.
fn severity_of(level: &str) -> Severity {
    let level = level.to_ascii_lowercase();
    Severity::ALL.into_iter().find(|known| known.name() == level).unwrap_or(Severity::Info)
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
        fn refused(&mut self, place: String, reason: String) {
            self.1.push(format!("{place}: {reason}"));
        }
    }

    fn read_text(json: &str) -> Seen {
        let (mut seen, key, mut bytes) = (Seen::default(), SecretKey::from_passphrase("t"), std::io::Cursor::new(json));
        read(&mut Report::new(&mut bytes, &key), &mut seen).unwrap();
        seen
    }

    #[test]
    fn the_order_of_members_changes_no_finding() {
        let found = r#""Vulnerabilities": [{"VulnerabilityID": "CVE-1", "PkgName": "a_b", "InstalledVersion": "1"}]"#;
        let about = r#""Target": "requirements.txt", "Class": "lang-pkgs", "Type": "pip""#;
        let first = read_text(&format!(r#"{{"SchemaVersion": 2, "Results": [{{{about}, {found}}}]}}"#));
        let last = read_text(&format!(r#"{{"Results": [{{{found}, {about}}}], "SchemaVersion": 2}}"#));
        let Locus::Package(place) = &first.0[0].locus else { panic!("no package") };
        assert_eq!((place.purl.as_str(), place.manifest.as_str()), ("pkg:pypi/a-b", "requirements.txt"));
        assert_eq!(first.0, last.0);
    }

    #[test]
    fn a_bad_element_is_refused_by_its_place_and_the_rest_goes_on() {
        let seen =
            read_text(r#"[{"Target": "t", "Type": "npm", "Vulnerabilities": [{"VulnerabilityID": 1}, {"VulnerabilityID": "CVE-2"}]}]"#);
        assert_eq!(seen.0.len(), 1);
        assert!(seen.1[0].starts_with("result 0, Vulnerabilities 0: "), "{:?}", seen.1);
    }

    #[test]
    fn only_failed_checks_are_findings_and_a_secret_is_not_quoted() {
        let seen = read_text(
            r#"{"SchemaVersion": 2, "ArtifactName": "repo", "Results": [
            {"Target": "main.tf", "Class": "config", "Misconfigurations": [{"ID": "A", "Status": "PASS"},
                {"ID": "B", "Status": "FAIL", "CauseMetadata": {"Resource": "aws_s3_bucket.logs", "StartLine": 3, "EndLine": 9}}]},
            {"Target": "k.env", "Class": "secret", "Secrets": [{"RuleID": "aws", "Title": "AWS key", "StartLine": 2,
                "Match": "KEY=hunter2hunter2", "Code": {"Lines": [{"Content": "KEY=hunter2hunter2"}]}}, {"RuleID": ["hunter2hunter2"]}]}]}"#,
        );
        assert_eq!(seen.0.iter().map(|one| one.rule.as_str()).collect::<Vec<_>>(), ["B", "aws"]);
        assert!(!format!("{:?}{:?}", seen.0, seen.1).contains("hunter2"));
        assert_eq!(seen.2.last().and_then(|facts| facts.kind), Some(ScanKind::Sca), "two kinds are a composition scan");
    }
}
