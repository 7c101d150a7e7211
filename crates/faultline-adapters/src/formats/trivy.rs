//! Trivy JSON: vulnerable packages, misconfigurations, secrets and licences in images, file systems, repositories and clusters.
//!
//! Shape: a report `{SchemaVersion: 2, ArtifactName, Results: […]}`; before version 2 the bare array of results
//! `{Target, Type, Vulnerabilities}`; of a cluster `{ClusterName, Resources: […]}` (older: `Vulnerabilities` and
//! `Misconfigurations`), each a workload with results. A result has an array a class of finding. A bare `null` was an empty
//! report once, and an empty one of gitleaks too: it is not recognised here.
//! Source: <https://trivy.dev/latest/docs/configuration/reporting/>.
//! Code excerpts and a secret's `Match` are not read.

use std::collections::BTreeMap;

use faultline_model::asset::{AssetKind, ImageReference};
use faultline_model::locus::{Locus, Package, Resource, Secret, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict};
use faultline_model::{cvss, purl};
use serde::Deserialize;
use serde_json::Value;

use crate::adapter::{Adapter, Emit, ReadError, Report, ScanFacts};
use crate::formats::json::{Element, Json, Text};
use crate::head::Head;

// Old versions wrote `null` where there was nothing.
pub(crate) const ADAPTER: Adapter =
    Adapter { name: "trivy", kind: ScanKind::Sca, tests_for: &[], recognises, may_be_empty: |head| head.is_nothing(), read };

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
const FINDINGS: &[Class] = &[
    ("Vulnerabilities", ScanKind::Sca, vulnerability),
    ("Misconfigurations", ScanKind::Iac, misconfiguration),
    ("Secrets", ScanKind::Secret, secret),
    ("Licenses", ScanKind::Sca, license),
];
type Class = (&'static str, ScanKind, Making);
/// The kind of tool that a result's `Class` stands for.
const CLASSES: &[(&str, ScanKind)] = &[
    ("os-pkgs", ScanKind::Sca),
    ("lang-pkgs", ScanKind::Sca),
    ("license", ScanKind::Sca),
    ("license-file", ScanKind::Sca),
    ("config", ScanKind::Iac),
    ("secret", ScanKind::Secret),
];
/// What an `ArtifactType` is as an asset. A file system's name is a path on one machine, and names none.
const ARTIFACT_TYPES: &[(&str, AssetKind)] = &[("container_image", AssetKind::Image), ("repository", AssetKind::Repo)];
/// Whose CVSS vectors come first among those of one version; the others follow by name.
const CVSS_SOURCES: &[&str] = &["nvd", "ghsa", "redhat"];
/// The status of a package that has the vulnerable version and, by its distribution's word, not the vulnerability.
const NOT_AFFECTED: &str = "not_affected";
/// Hard-coded credentials; trivy names no weakness of a secret itself.
const CWE_HARD_CODED_CREDENTIALS: i32 = 798;

/// Makes a finding of an element; `None` if the element is none (a check that passed), the reason if it cannot be read.
type Making = fn(&Context, Element<'_>) -> Result<Option<Observation>, String>;

/// The most bytes of findings that wait for what their result is; trivy itself writes that first.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// What stands around a finding.
#[derive(Clone, Default)]
struct Context {
    /// Where in the report, for a refusal.
    place: String,
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
struct Vulnerability<'a> {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(default, rename = "VendorIDs")]
    vendor_ids: Option<Vec<String>>,
    #[serde(default, borrow)]
    pkg_name: Text<'a>,
    #[serde(default)]
    pkg_path: Text<'a>,
    #[serde(default)]
    pkg_identifier: PackageIdentifier<'a>,
    #[serde(default)]
    installed_version: Text<'a>,
    #[serde(default)]
    fixed_version: Text<'a>,
    #[serde(default)]
    layer: Layer<'a>,
    #[serde(default, rename = "CVSS")]
    cvss: Option<BTreeMap<Text<'a>, Vectors<'a>>>,
    #[serde(default, rename = "CweIDs")]
    cwes: Option<Vec<Text<'a>>>,
    #[serde(default)]
    title: Text<'a>,
    #[serde(default)]
    description: Text<'a>,
    #[serde(default)]
    severity: Text<'a>,
    #[serde(default)]
    severity_source: Text<'a>,
    #[serde(default)]
    status: Text<'a>,
    #[serde(default, rename = "PrimaryURL")]
    primary_url: Text<'a>,
    #[serde(default)]
    references: Option<Vec<Text<'a>>>,
}

#[derive(Default, Deserialize)]
struct PackageIdentifier<'a> {
    #[serde(default, rename = "PURL", borrow)]
    purl: Text<'a>,
}

#[derive(Default, Deserialize)]
struct Layer<'a> {
    #[serde(default, rename = "DiffID", borrow)]
    diff_id: Text<'a>,
    #[serde(default, rename = "Digest")]
    digest: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Vectors<'a> {
    #[serde(rename = "V40Vector", borrow)]
    v40: Text<'a>,
    #[serde(rename = "V3Vector")]
    v3: Text<'a>,
    #[serde(rename = "V2Vector")]
    v2: Text<'a>,
}

/// What every class of finding says for people.
#[derive(Default)]
struct Words<'a> {
    title: Text<'a>,
    description: Text<'a>,
    primary_url: Text<'a>,
    references: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Misconfiguration<'a> {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default, rename = "AVDID", borrow)]
    avd_id: Text<'a>,
    #[serde(default)]
    status: Text<'a>,
    #[serde(default)]
    message: Text<'a>,
    #[serde(default)]
    resolution: Text<'a>,
    #[serde(default)]
    cause_metadata: Cause<'a>,
    #[serde(default)]
    title: Text<'a>,
    #[serde(default)]
    description: Text<'a>,
    #[serde(default)]
    severity: Text<'a>,
    #[serde(default, rename = "PrimaryURL")]
    primary_url: Text<'a>,
    #[serde(default)]
    references: Option<Vec<Text<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Cause<'a> {
    #[serde(borrow)]
    resource: Text<'a>,
    start_line: i32,
    end_line: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FoundSecret<'a> {
    #[serde(rename = "RuleID")]
    rule: String,
    #[serde(default, borrow)]
    title: Text<'a>,
    #[serde(default)]
    severity: Text<'a>,
    #[serde(default)]
    start_line: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct License<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default)]
    severity: Text<'a>,
    #[serde(default)]
    pkg_name: Text<'a>,
    #[serde(default)]
    file_path: Text<'a>,
    #[serde(default)]
    link: Text<'a>,
}

fn recognises(head: &Head<'_>) -> bool {
    let (members, signatures) =
        if head.is_json_array() { (head.first_element_members(), ARRAY_SIGNATURES) } else { (head.top_members(), OBJECT_SIGNATURES) };
    signatures.iter().any(|signature| signature.iter().all(|name| members.contains(name)))
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let mut walk = Walk { emit, kinds: Vec::new() };
    Json::open(ADAPTER.name, report)?.whole(|json| match json.token()? {
        Some(b'[') => walk.results(json, &Context::default()),
        _ => walk.report(json),
    })?;
    // One kind is said as it is; a report of several kinds is a composition scan with more.
    if let Some((first, rest)) = walk.kinds.split_first() {
        let kind = if rest.is_empty() { *first } else { ScanKind::Sca };
        emit.scan(ScanFacts { kind: Some(kind), ..ScanFacts::default() });
    }
    Ok(())
}

/// The walk through a report.
struct Walk<'e> {
    emit: &'e mut dyn Emit,
    /// Kinds of scan seen, each once.
    kinds: Vec<ScanKind>,
}

impl Walk<'_> {
    fn report(&mut self, json: &mut Json<'_>) -> Result<(), ReadError> {
        let mut context = Context::default();
        json.object(&mut |json, name| {
            let mut facts = ScanFacts::default();
            match name {
                "Results" => self.results(json, &context)?,
                workloads if WORKLOADS.contains(&workloads) => {
                    json.array(&mut |json, index| {
                        self.workload(json, Context { place: format!("workload {index}, "), ..context.clone() })
                    })?;
                }
                "ArtifactName" | "ClusterName" => facts.target = json.text()?,
                "ArtifactType" => {
                    let kind = json.text()?;
                    facts.target_kind = ARTIFACT_TYPES.iter().find(|(name, _)| kind == *name).map(|(_, kind)| *kind);
                }
                "CreatedAt" => facts.started = json.text()?,
                "Trivy" => facts.tool_version = text(&json.value::<Value>()?["Version"]),
                "Metadata" => json.object(&mut |json, name| {
                    match name {
                        "OS" => context.os_family = text(&json.value::<Value>()?["Family"]),
                        "Commit" => facts.revision = json.text()?,
                        _ => json.pass()?,
                    }
                    Ok(())
                })?,
                _ => json.pass()?,
            }
            if facts != ScanFacts::default() {
                self.emit.scan(facts);
            }
            Ok(())
        })
    }

    fn workload(&mut self, json: &mut Json<'_>, mut context: Context) -> Result<(), ReadError> {
        let mut parts: [String; 3] = Default::default();
        json.object(&mut |json, name| {
            match name {
                "Kind" => parts[0] = json.text()?,
                "Namespace" => parts[1] = json.text()?,
                "Name" => parts[2] = json.text()?,
                "Results" => {
                    let known: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
                    context.workload = known.join("/");
                    self.results(json, &context)?;
                }
                _ => json.pass()?,
            }
            Ok(())
        })
    }

    fn results(&mut self, json: &mut Json<'_>, around: &Context) -> Result<(), ReadError> {
        json.array(&mut |json, index| {
            let mut context = around.clone();
            context.place = format!("{}result {index}, ", around.place);
            self.result(json, context)
        })
    }

    /// One result. Trivy writes what it is before its findings; where a report was reordered, findings wait for it.
    fn result(&mut self, json: &mut Json<'_>, mut context: Context) -> Result<(), ReadError> {
        let (mut waiting, mut waiting_bytes) = (Vec::new(), 0);
        json.object(&mut |json, name| {
            match name {
                "Target" => context.target = json.text()?,
                "Type" => context.kind = json.text()?,
                "Class" => {
                    context.class = json.text()?;
                    if let Some((_, kind)) = CLASSES.iter().find(|(class, _)| *class == context.class) {
                        self.note_kind(*kind);
                    }
                }
                other => {
                    let Some(class) = FINDINGS.iter().find(|(member, ..)| *member == other) else { return json.pass() };
                    let is_known = !context.target.is_empty() && (!context.kind.is_empty() || !context.class.is_empty());
                    json.elements(&mut |index, element| {
                        if is_known {
                            return self.take(class, index, &context, element);
                        }
                        waiting_bytes += element.bytes().len();
                        if waiting_bytes > WAITING_BYTES {
                            let reason = format!("more than {} MiB of findings stand before what they are of", WAITING_BYTES >> 20);
                            return Err(ReadError::Shape {
                                tool: ADAPTER.name,
                                place: format!("{}{other} {index}", context.place),
                                reason,
                            });
                        }
                        waiting.push((class, index, element.bytes().to_vec()));
                        Ok(())
                    })?;
                }
            }
            Ok(())
        })?;
        waiting.iter().try_for_each(|(class, index, bytes)| self.take(class, *index, &context, Element::of(bytes)))
    }

    fn take(&mut self, class: &Class, index: usize, context: &Context, element: Element<'_>) -> Result<(), ReadError> {
        let (member, kind, making) = class;
        self.note_kind(*kind);
        match making(context, element) {
            Ok(Some(seen)) => self.emit.finding(seen),
            Ok(None) => Ok(()),
            Err(reason) => {
                self.emit.refused(format!("{}{member} {index}", context.place), reason);
                Ok(())
            }
        }
    }

    fn note_kind(&mut self, kind: ScanKind) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }
}

fn vulnerability(context: &Context, element: Element<'_>) -> Result<Option<Observation>, String> {
    let found: Vulnerability<'_> = element.read()?;
    let (purl, _) = purl::base(&found.pkg_identifier.purl).unwrap_or_else(|| (purl::of(&context.kind, &found.pkg_name), String::new()));
    let is_of_system = if context.class.is_empty() { purl::is_of_system(&purl) } else { context.class == "os-pkgs" };
    let manifest = context.manifest(is_of_system, &found.pkg_path);
    let layer = if found.layer.diff_id.is_empty() { found.layer.digest } else { found.layer.diff_id };
    // Versions that were read out of binaries may hold stray control characters.
    let version = found.installed_version.chars().filter(|c| !c.is_control()).collect();
    let place = Package { purl, version, manifest, layer: layer.into_string() };
    let mut seen = Observation::new(found.id.clone(), severity_of(&found.severity), Locus::Package(place));
    seen.vulnerabilities = [found.id].into_iter().chain(found.vendor_ids.unwrap_or_default()).collect();
    seen.cvss = cvss_of(&found.severity_source, &found.cvss.unwrap_or_default());
    if &*found.status == NOT_AFFECTED {
        seen.tool_verdict = ToolVerdict::Suppressed;
    }
    seen.cwes = found.cwes.unwrap_or_default().iter().filter_map(|cwe| cwe.strip_prefix("CWE-")?.parse().ok()).collect();
    seen.fixed_versions = found.fixed_version.split(", ").filter(|version| !version.is_empty()).map(str::to_owned).collect();
    if found.title.is_empty() {
        seen.title = format!("{} in {}", seen.rule, &*found.pkg_name);
    }
    let Vulnerability { title, description, primary_url, references, .. } = found;
    Ok(Some(with_words(seen, Words { title, description, primary_url, references })))
}

impl Context {
    /// The file that brings a package. In a cluster the workload stands before it, and the image for a package of a system: the same
    /// package in two workloads is two findings, each with an owner and a fix of its own.
    fn manifest(&self, is_of_system: bool, path: &str) -> String {
        let file = match (is_of_system, path) {
            (true, _) => String::new(),
            (false, "") => asset_path(&self.target),
            (false, path) => asset_path(path),
        };
        if self.workload.is_empty() {
            return file;
        }
        // `docker.io/redis:6.0.5 (debian 10.4)`; the tag is of one build and would make a new finding of each.
        let image = self.target.split(" (").next().and_then(|name| ImageReference::read(name).ok());
        let image = image.filter(|_| is_of_system).map(|image| image.asset.name().to_owned());
        let parts = [self.workload.clone(), image.unwrap_or_default(), file];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }
}

fn misconfiguration(context: &Context, element: Element<'_>) -> Result<Option<Observation>, String> {
    let found: Misconfiguration<'_> = element.read()?;
    // Before the status was written, only failures were.
    if !matches!(&*found.status, "" | "FAIL") {
        return Ok(None);
    }
    // A workload runs: its target (`Service/web`) is no file, and its lines are those of what the cluster answered.
    let place = if context.workload.is_empty() {
        let Cause { resource, start_line, end_line } = found.cause_metadata;
        Resource { address: resource.into_string(), file: asset_path(&context.target), line: start_line, end_line }
    } else {
        Resource { address: context.workload.clone(), ..Resource::default() }
    };
    let mut seen = Observation::new(found.id, severity_of(&found.severity), Locus::Resource(place));
    seen.guidance = found.resolution.into_string();
    let Misconfiguration { title, description, primary_url, references, message, avd_id, .. } = found;
    let mut seen = with_words(seen, Words { title, description, primary_url, references });
    if !message.is_empty() {
        format!("{}\n\n{}", &*message, seen.description).trim_end().clone_into(&mut seen.description);
    }
    if !avd_id.is_empty() {
        seen.references.push(format!("https://avd.aquasec.com/misconfig/{}", avd_id.to_lowercase()));
    }
    Ok(Some(seen.bounded()))
}

fn secret(context: &Context, element: Element<'_>) -> Result<Option<Observation>, String> {
    // The parser's own reason may quote a value, and a value may be the secret: it does not leave.
    let found: FoundSecret<'_> = element.read().map_err(|_| "a secret needs a rule as text".to_owned())?;
    let place = Secret { file: asset_path(&context.target), line: found.start_line, ..Secret::default() };
    let mut seen = Observation::new(found.rule, severity_of(&found.severity), Locus::Secret(place));
    seen.cwes = vec![CWE_HARD_CODED_CREDENTIALS];
    Ok(Some(with_words(seen, Words { title: found.title, ..Words::default() })))
}

fn license(context: &Context, element: Element<'_>) -> Result<Option<Observation>, String> {
    let found: License<'_> = element.read()?;
    let kind = if context.kind.is_empty() { &context.os_family } else { &context.kind };
    let manifest = if context.workload.is_empty() { asset_path(&found.file_path) } else { context.manifest(true, "") };
    let place = Package { purl: purl::of(kind, &found.pkg_name), manifest, ..Package::default() };
    let subject = if found.pkg_name.is_empty() { &found.file_path } else { &found.pkg_name };
    let mut seen = Observation::new(format!("license:{}", &*found.name), severity_of(&found.severity), Locus::Package(place));
    seen.title = format!("{} is licensed under {}", &**subject, &*found.name);
    Ok(Some(with_words(seen, Words { primary_url: found.link, ..Words::default() })))
}

/// Adds what a finding says for people, and cuts it to its bounds.
fn with_words(mut seen: Observation, words: Words<'_>) -> Observation {
    if !words.title.is_empty() {
        seen.title = words.title.into_string();
    }
    seen.description = words.description.into_string();
    let links = [words.primary_url].into_iter().chain(words.references.unwrap_or_default());
    for link in links {
        if !seen.references.iter().any(|known| **known == *link) {
            seen.references.push(link.into_string());
        }
    }
    seen.bounded()
}

/// Vectors, those of the source of the severity first, as it knows the package best.
fn cvss_of(own: &str, sources: &BTreeMap<Text<'_>, Vectors<'_>>) -> Vec<faultline_model::observation::Cvss> {
    let order = |name: &str| {
        let known = CVSS_SOURCES.iter().position(|known| *known == name).unwrap_or(CVSS_SOURCES.len());
        (name != own, known)
    };
    let mut sources: Vec<_> = sources.iter().collect();
    sources.sort_by_key(|(name, _)| order(name));
    cvss::read_all(sources.iter().flat_map(|(_, vectors)| [&*vectors.v40, &*vectors.v3, &*vectors.v2]))
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
