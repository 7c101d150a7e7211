//! SARIF 2.x: what many static analysers write, and some others.
//!
//! Shape: `runs[].results[]`, with rules in `runs[].tool` before or after them. Source: OASIS SARIF 2.1.0,
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>. The file is walked twice, first for all but its results ([`run`]), then result by
//! result. The tool is the driver. Where secrets are quoted, by their scanners or by rules about hard-coded ones, messages are not carried
//! and code is hashed with a key.

mod run;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use faultline_model::family::Family;
use faultline_model::locus::{Code, Locus, Secret, asset_path, snippet_hash};
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use self::run::{Properties, Reference, Rule, Run, cwes_of, security_severity};
use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report};
use crate::formats::json::{Element, Json, Text};
use crate::head::Head;
use crate::secret::{SecretKey, SecretText};

pub(crate) const ADAPTER: Adapter = Adapter { name: "sarif", kind: ScanKind::Sast, tests_for: &[], recognises, may_be_empty: NEVER, read };

/// CWE of rules that name none, by the rule's name: those of SpotBugs and FindSecBugs.
/// Source: `cweid` in SpotBugs 4.10.4 (2026-08-19), `spotbugs/etc/findbugs.xml`, of the pattern or else of its code, as SpotBugs itself
/// does; and in FindSecBugs 1.14.0 (2025-06-17), `findsecbugs-plugin/src/main/resources/metadata/findbugs.xml`.
const CWE_OF_RULE_TSV: &str = include_str!("cwe_of_rule.tsv");
static CWE_OF_RULE: LazyLock<HashMap<&str, i32>> = LazyLock::new(|| {
    CWE_OF_RULE_TSV.lines().filter_map(|line| line.split_once('\t')).filter_map(|(rule, cwe)| Some((rule, cwe.parse().ok()?))).collect()
});
/// Fingerprints that change with any edit of the file, with the tool's rules, or with the indentation.
const UNSTABLE_PRINTS: [&str; 3] = ["scanFileHash", "scanTagsHash", "primaryLocationStartColumnFingerprint"];
/// The family of rules whose findings quote a secret (Bandit: `Possible hardcoded password: '…'`).
const SECRET_FAMILY: &str = "hardcoded-secret";

fn recognises(head: &Head<'_>) -> bool {
    let members = head.top_members();
    let names_runs = members.contains(&"runs") || head.text().contains("sarif");
    head.is_json_object() && names_runs && (members.contains(&"version") || members.contains(&"$schema"))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Finding<'a> {
    #[serde(borrow)]
    rule_id: Option<Text<'a>>,
    rule_index: Option<i64>,
    rule: Option<Reference<'a>>,
    kind: Option<Text<'a>>,
    level: Option<Text<'a>>,
    message: Message<'a>,
    locations: Option<Vec<Location<'a>>>,
    suppressions: Option<Vec<Suppression<'a>>>,
    fingerprints: Option<BTreeMap<Text<'a>, Value>>,
    partial_fingerprints: Option<BTreeMap<Text<'a>, Value>>,
    taxa: Option<Vec<Reference<'a>>>,
    properties: Option<Properties>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    markdown: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Suppression<'a> {
    #[serde(borrow)]
    status: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Location<'a> {
    #[serde(borrow)]
    physical_location: Option<Physical<'a>>,
    logical_locations: Option<Vec<Logical<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Logical<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    fully_qualified_name: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Physical<'a> {
    #[serde(borrow)]
    artifact_location: Artifact<'a>,
    region: Region<'a>,
    context_region: Region<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Artifact<'a> {
    #[serde(borrow)]
    uri: Text<'a>,
    uri_base_id: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Region<'a> {
    start_line: i32,
    end_line: Option<i32>,
    start_column: i32,
    #[serde(borrow)]
    snippet: Option<Snippet<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Snippet<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let runs = run::all(report, emit)?;
    let secrets = report.secrets;
    let mut spoken = 0;
    let mut take = |at: usize, index: usize, element: Element<'_>| {
        // A run says who it is before its results, so that these are of its tool.
        while spoken <= at {
            emit.scan(runs[spoken].facts.clone());
            spoken += 1;
        }
        let run = &runs[at];
        let finding: Finding<'_> = match element.read() {
            Ok(finding) => finding,
            Err(reason) => {
                // serde quotes the value that it did not expect, and a value may be the secret.
                let reason = if run.quotes_secrets { "a member has an unexpected type".to_owned() } else { reason };
                emit.refused(format!("run {at}, result {index}"), reason);
                return Ok(());
            }
        };
        if finding.kind.as_deref().is_some_and(|kind| kind != "fail") {
            return Ok(());
        }
        // One finding a location: tools list occurrences there, and each occurrence is kept.
        let places = finding.locations.as_ref().map_or(1, |all| all.len().max(1));
        (0..places).try_for_each(|place| emit.finding(observation(run, &finding, place, secrets)))
    };
    Json::open(ADAPTER.name, report)?.whole(|json| {
        json.object(&mut |json, name| match name {
            "runs" => json.array(&mut |json, at| {
                json.object(&mut |json, name| match name {
                    "results" => json.elements(&mut |index, element| take(at, index, element)),
                    _ => json.pass(),
                })
            }),
            _ => json.pass(),
        })
    })?;
    runs[spoken..].iter().for_each(|run| emit.scan(run.facts.clone()));
    Ok(())
}

/// The observation of a result at one of its locations.
fn observation(run: &Run, finding: &Finding<'_>, place: usize, key: &SecretKey) -> Observation {
    let own_id = finding.rule_id.as_deref().or_else(|| finding.rule.as_ref()?.id.as_deref());
    let rule = run.rule(own_id, finding.rule_index, finding.rule.as_ref());
    let id = own_id.or(rule.map(|rule| rule.id.as_str())).unwrap_or_default();
    let cwes = cwes(finding, rule, id);
    let quotes_secret = run.quotes_secrets || cwes.iter().any(|cwe| family_of(*cwe) == SECRET_FAMILY);
    let location = finding.locations.as_ref().and_then(|all| all.get(place));
    let locus = if run.quotes_secrets {
        secret_locus(run, finding, location, key)
    } else {
        Locus::Code(code_locus(run, location, quotes_secret.then_some(key)))
    };

    let mut seen = Observation::new(id, severity(finding, rule), locus);
    let short = rule.map_or("", |rule| rule.title.as_str());
    let message = if finding.message.text.is_empty() { &*finding.message.markdown } else { &*finding.message.text };
    let offender = finding.properties.as_ref().and_then(|properties| properties.offender.as_ref());
    let title = match offender {
        // What the secret is, is known: it can be taken out of the words.
        Some(offender) if short.is_empty() => offender.redact(message),
        None if !quotes_secret && !message.is_empty() => message.to_owned(),
        _ => short.to_owned(),
    };
    if !title.is_empty() {
        title.trim().lines().next().unwrap_or_default().clone_into(&mut seen.title);
    }
    if let Some(rule) = rule {
        seen.description.clone_from(&rule.description);
        seen.guidance.clone_from(&rule.guidance);
        seen.references = rule.help_uri.iter().cloned().collect();
    }
    seen.stable_id = if run.quotes_secrets { None } else { stable_id(finding) };
    seen.vulnerabilities = vulnerability_ids(&seen.rule);
    seen.cwes = cwes;
    let accepted = |suppression: &Suppression<'_>| suppression.status.as_deref().is_none_or(|status| status == "accepted");
    if finding.suppressions.iter().flatten().any(accepted) {
        seen.tool_verdict = ToolVerdict::Suppressed;
    }
    seen.bounded()
}

fn family_of(cwe: i32) -> &'static str {
    u32::try_from(cwe).map_or("", |cwe| Family::of_cwe(cwe).name())
}

/// `security-severity` (a CVSS-like number, or a level's name) where result or rule has it; else the level.
fn severity(finding: &Finding<'_>, rule: Option<&Rule>) -> Severity {
    let own = finding.properties.as_ref().and_then(|properties| security_severity(&properties.security_severity));
    if let Some(severity) = own.or_else(|| rule?.severity) {
        return severity;
    }
    match finding.level.as_deref().or_else(|| rule?.level.as_deref()).unwrap_or("warning") {
        "error" => Severity::High,
        "note" | "none" => Severity::Info,
        _ => Severity::Medium,
    }
}

/// Where in code; with a key, the snippet quotes a secret and is hashed with it.
fn code_locus(run: &Run, location: Option<&Location<'_>>, key: Option<&SecretKey>) -> Code {
    let Some(location) = location else { return Code::default() };
    let logical = location.logical_locations.iter().flatten().next();
    let symbol = logical.map(|at| if at.fully_qualified_name.is_empty() { &*at.name } else { &*at.fully_qualified_name });
    let symbol = symbol.unwrap_or_default().to_owned();
    let Some(physical) = &location.physical_location else { return Code { symbol, ..Code::default() } };
    let region = &physical.region;
    let snippet = region.snippet.as_ref().or(physical.context_region.snippet.as_ref());
    let hash = |text: &str| match key {
        Some(key) => SecretText::new(snippet_hash(text)).keyed_hash(key).chars().take(16).collect(),
        None => snippet_hash(text),
    };
    Code {
        file: file_of(run, physical),
        line: region.start_line,
        end_line: region.end_line.unwrap_or(region.start_line),
        column: region.start_column,
        symbol,
        snippet: snippet.map(|snippet| hash(&snippet.text)).unwrap_or_default(),
        parameter: String::new(),
    }
}

/// A scanner of secrets says the secret itself (gitleaks 7), or its snippet is the secret (gitleaks 8) or the line that holds it.
fn secret_locus(run: &Run, finding: &Finding<'_>, location: Option<&Location<'_>>, key: &SecretKey) -> Locus {
    let properties = finding.properties.as_ref();
    let physical = location.and_then(|at| at.physical_location.as_ref());
    let snippet = physical.and_then(|at| at.region.snippet.as_ref()).map(|snippet| SecretText::new(snippet.text.trim()));
    let secret = properties.and_then(|properties| properties.offender.as_ref()).or(snippet.as_ref());
    let sha = finding.partial_fingerprints.as_ref().and_then(|prints| prints.iter().find(|(name, _)| &***name == "commitSha"));
    let commit = sha.map(|(_, sha)| sha).or(properties.map(|properties| &properties.commit)).and_then(Value::as_str);
    Locus::Secret(Secret {
        hash: secret.map(|text| text.keyed_hash(key)).unwrap_or_default(),
        preview: secret.map(SecretText::preview).unwrap_or_default(),
        file: physical.map(|at| file_of(run, at)).unwrap_or_default(),
        line: physical.map_or(0, |at| at.region.start_line),
        commit: commit.unwrap_or_default().to_owned(),
    })
}

/// The file inside the asset: behind its base where the run says what that is inside the asset (`file:src/main/java/`).
fn file_of(run: &Run, physical: &Physical<'_>) -> String {
    let artifact = &physical.artifact_location;
    let path = percent_decode_str(&artifact.uri).decode_utf8_lossy();
    match run.base(&artifact.uri_base_id) {
        Some(base) if !artifact.uri.contains(':') => asset_path(&format!("{base}/{path}")),
        _ => asset_path(&path),
    }
}

/// The tool's stable id: all `fingerprints`, else all `partialFingerprints`, in the order of their names, without those that change
/// while the finding stays. Semgrep writes the constant `requires login` where it keeps its own to itself; that tells nothing apart.
fn stable_id(finding: &Finding<'_>) -> Option<String> {
    let prints = [&finding.fingerprints, &finding.partial_fingerprints].into_iter().flatten().find(|prints| !prints.is_empty())?;
    let telling = prints.iter().filter(|(name, value)| !UNSTABLE_PRINTS.contains(&&***name) && *value != "requires login");
    let parts: Vec<String> = telling.map(|(name, value)| format!("{}={}", &**name, print_of(value))).collect();
    (!parts.is_empty()).then(|| parts.join(";"))
}

/// A fingerprint's text; Black Duck wraps it as `{"value": …}`.
fn print_of(value: &Value) -> String {
    let inner = if value["value"].is_string() { &value["value"] } else { value };
    inner.as_str().map_or_else(|| inner.to_string(), str::to_owned)
}

/// CWE numbers of the rule, then of taxa and properties, each once; else by the rule's name.
fn cwes(finding: &Finding<'_>, rule: Option<&Rule>, rule_id: &str) -> Vec<i32> {
    let mut found: Vec<i32> = rule.map(|rule| rule.cwes.clone()).unwrap_or_default();
    let mut add = |cwe: i32| {
        if cwe > 0 && !found.contains(&cwe) {
            found.push(cwe);
        }
    };
    finding.taxa.iter().flatten().filter_map(Reference::cwe).for_each(&mut add);
    finding.properties.iter().flat_map(cwes_of).for_each(&mut add);
    if found.is_empty() {
        found.extend(CWE_OF_RULE.get(rule_id));
    }
    found
}

/// CVE and GHSA ids that stand in a rule's id.
fn vulnerability_ids(rule: &str) -> Vec<String> {
    let words = rule.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("CVE-") || word.starts_with("GHSA-")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_vulnerabilities_are_found_in_a_rule() {
        assert_eq!(vulnerability_ids("BDSA-2020-1001 (CVE-2020-11022)"), ["CVE-2020-11022"]);
    }

    #[test]
    fn the_table_of_rules_has_a_name_and_a_number_a_line_each_name_once() {
        assert_eq!(CWE_OF_RULE.len(), CWE_OF_RULE_TSV.lines().count());
        assert!(CWE_OF_RULE.iter().all(|(rule, cwe)| !rule.is_empty() && *cwe > 0));
    }
}
