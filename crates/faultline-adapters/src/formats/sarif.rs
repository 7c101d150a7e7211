//! SARIF 2.x: what many static analysers write, and some others.
//!
//! Shape: `runs[].results[]`, with rules in `runs[].tool.driver.rules[]` before or after them. Source: OASIS SARIF 2.1.0,
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>. The file is read twice, first for its rules, then result by result. The tool is the
//! driver. Where the driver looks for secrets, snippets and messages are not carried: they quote the secret.

use std::collections::BTreeMap;
use std::fmt;

use faultline_model::locus::{Code, Locus, Secret, asset_path, snippet_hash};
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::adapter::{Adapter, Emit, ReadError, Report, ScanFacts};
use crate::formats::json::{Each, visit};
use crate::head::Head;
use crate::secret::{SecretKey, SecretText};

pub(crate) const ADAPTER: Adapter = Adapter { name: "sarif", kind: ScanKind::Sast, tests_for: &[], recognises, read };

/// Drivers whose results quote secrets, as parts of their lower-case names.
const SECRET_DRIVERS: [&str; 4] = ["gitleaks", "trufflehog", "ggshield", "detect-secrets"];

/// CWE of rules that name none: FindSecBugs' rules by name. Source: <https://find-sec-bugs.github.io/bugs.htm>.
const CWE_OF_RULE: &[(&str, i32)] = &[
    ("XSS_REQUEST_PARAMETER_TO_SERVLET_WRITER", 79),
    ("XSS_REQUEST_PARAMETER_TO_SEND_ERROR", 79),
    ("XSS_SERVLET", 79),
    ("HRS_REQUEST_PARAMETER_TO_HTTP_HEADER", 113),
    ("HRS_REQUEST_PARAMETER_TO_COOKIE", 113),
    ("PT_ABSOLUTE_PATH_TRAVERSAL", 36),
    ("PT_RELATIVE_PATH_TRAVERSAL", 23),
    ("SQL_NONCONSTANT_STRING_PASSED_TO_EXECUTE", 89),
    ("SQL_PREPARED_STATEMENT_GENERATED_FROM_NONCONSTANT_STRING", 89),
    ("DMI_CONSTANT_DB_PASSWORD", 259),
    ("DMI_EMPTY_DB_PASSWORD", 259),
];

fn recognises(head: &Head<'_>) -> bool {
    let members = head.top_members();
    let names_runs = members.contains(&"runs") || head.text().contains("sarif");
    head.is_json_object() && names_runs && (members.contains(&"version") || members.contains(&"$schema"))
}

/// What the first pass keeps of the file: everything of a run but its results.
#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    runs: Option<Vec<Run>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Run {
    tool: Tool,
    version_control_provenance: Vec<Provenance>,
    invocations: Vec<Invocation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tool {
    driver: Driver,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Driver {
    name: String,
    version: Option<String>,
    #[serde(rename = "semanticVersion")]
    semantic_version: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    id: String,
    name: Option<String>,
    short_description: Option<Text>,
    full_description: Option<Text>,
    help: Option<Text>,
    help_uri: Option<String>,
    default_configuration: Option<Configuration>,
    relationships: Vec<Relationship>,
    properties: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    level: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Relationship {
    target: Reference,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference {
    id: Option<String>,
    index: Option<usize>,
    tool_component: Option<Component>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Component {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Text {
    text: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Provenance {
    revision_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Invocation {
    start_time_utc: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Finding {
    rule_id: Option<String>,
    rule_index: Option<i64>,
    rule: Option<Reference>,
    kind: Option<String>,
    level: Option<String>,
    message: Message,
    locations: Vec<Location>,
    suppressions: Vec<Suppression>,
    fingerprints: BTreeMap<String, Value>,
    partial_fingerprints: BTreeMap<String, Value>,
    taxa: Vec<Reference>,
    properties: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    text: Option<String>,
    markdown: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Suppression {
    status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Location {
    physical_location: Option<Physical>,
    logical_locations: Vec<Logical>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Logical {
    name: Option<String>,
    fully_qualified_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    region: Region,
    context_region: Region,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Artifact {
    uri: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Region {
    start_line: i32,
    end_line: Option<i32>,
    start_column: i32,
    snippet: Option<Text>,
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let runs = visit(ADAPTER.name, report, std::marker::PhantomData::<Log>)?.runs.unwrap_or_default();
    for run in &runs {
        emit.scan(facts(run));
    }
    let secrets = report.secrets;
    let mut take = |run: usize, index: usize, element: Value| {
        let run_head = &runs[run];
        let hides_text = quotes_secrets(run_head);
        match serde_json::from_value::<Finding>(element) {
            // One finding a location: tools list occurrences there, and each occurrence is kept.
            Ok(finding) => {
                let places = finding.locations.len().max(1);
                (0..places).filter_map(|place| observation(run_head, &finding, place, secrets)).try_for_each(|seen| emit.finding(seen))
            }
            Err(error) => {
                // serde quotes the value that it did not expect, and a value may be the secret.
                let reason = if hides_text { "a member has an unexpected type".to_owned() } else { error.to_string() };
                emit.refused(format!("run {run}, result {index}"), reason);
                Ok(())
            }
        }
    };
    visit(ADAPTER.name, report, Runs { take: &mut take })
}

fn facts(run: &Run) -> ScanFacts {
    let driver = &run.tool.driver;
    ScanFacts {
        tool: driver.name.to_lowercase(),
        tool_version: driver.semantic_version.clone().or_else(|| driver.version.clone()).unwrap_or_default(),
        kind: quotes_secrets(run).then_some(ScanKind::Secret),
        revision: run.version_control_provenance.iter().find_map(|from| from.revision_id.clone()).unwrap_or_default(),
        started: run.invocations.iter().find_map(|call| call.start_time_utc.clone()).unwrap_or_default(),
        ..ScanFacts::default()
    }
}

fn quotes_secrets(run: &Run) -> bool {
    let name = run.tool.driver.name.to_lowercase();
    SECRET_DRIVERS.iter().any(|driver| name.contains(driver))
}

/// The observation of a result at one of its locations; `None` for what is no problem (`kind` other than `fail`).
fn observation(run: &Run, finding: &Finding, place: usize, key: &SecretKey) -> Option<Observation> {
    if finding.kind.as_deref().is_some_and(|kind| kind != "fail") {
        return None;
    }
    let rule = rule_of(run, finding);
    let id = rule_id(finding, rule);
    let severity = severity(finding, rule);
    let text = finding.message.text.as_deref().or(finding.message.markdown.as_deref()).unwrap_or_default();
    let location = finding.locations.get(place);
    let is_secret = quotes_secrets(run);
    let locus = if is_secret { secret_locus(location, key) } else { Locus::Code(code_locus(location)) };
    let mut seen = Observation::new(id, severity, locus);
    let short = rule.and_then(|rule| rule.short_description.as_ref()).map_or("", |text| text.text.as_str());
    if is_secret {
        short.clone_into(&mut seen.title);
        seen.stable_id = None;
    } else {
        first_line(if text.is_empty() { short } else { text }).clone_into(&mut seen.title);
        seen.stable_id = stable_id(finding);
    }
    if seen.title.is_empty() {
        seen.title.clone_from(&seen.rule);
    }
    if let Some(rule) = rule {
        seen.description = rule.full_description.as_ref().map_or_else(|| short.to_owned(), |text| text.text.clone());
        seen.guidance = rule.help.as_ref().map(|text| text.text.clone()).unwrap_or_default();
        seen.references = rule.help_uri.iter().cloned().collect();
    }
    seen.cwes = cwes(finding, rule, &seen.rule);
    seen.vulnerabilities = vulnerability_ids(&seen.rule);
    let accepted = |suppression: &Suppression| suppression.status.as_deref().is_none_or(|status| status == "accepted");
    if finding.suppressions.iter().any(accepted) {
        seen.tool_verdict = ToolVerdict::Suppressed;
    }
    Some(seen.bounded())
}

/// The rule's metadata: by index, else by the longest id that is the result's id or a prefix of it (`CA1000/1` is of `CA1000`).
fn rule_of<'a>(run: &'a Run, finding: &Finding) -> Option<&'a Rule> {
    let rules = &run.tool.driver.rules;
    let index = finding.rule_index.and_then(|index| usize::try_from(index).ok()).or_else(|| finding.rule.as_ref()?.index);
    if let Some(rule) = index.and_then(|index| rules.get(index)) {
        return Some(rule);
    }
    let id = finding.rule_id.as_deref().or_else(|| finding.rule.as_ref()?.id.as_deref())?;
    let is_of = |rule: &&Rule| id == rule.id || id.strip_prefix(rule.id.as_str()).is_some_and(|rest| rest.starts_with('/'));
    rules.iter().filter(is_of).max_by_key(|rule| rule.id.len())
}

fn rule_id(finding: &Finding, rule: Option<&Rule>) -> String {
    let own = finding.rule_id.clone().or_else(|| finding.rule.as_ref()?.id.clone());
    own.or_else(|| rule.map(|rule| rule.id.clone())).unwrap_or_default()
}

/// `security-severity` (a CVSS-like number, or a level's name) where rule or result has it; else the level.
fn severity(finding: &Finding, rule: Option<&Rule>) -> Severity {
    let by_tool = |properties: &Value| security_severity(&properties["security-severity"]);
    if let Some(severity) = by_tool(&finding.properties).or_else(|| rule.and_then(|rule| by_tool(&rule.properties))) {
        return severity;
    }
    let by_rule = rule.and_then(|rule| rule.default_configuration.as_ref()?.level.as_deref());
    match finding.level.as_deref().or(by_rule).unwrap_or("warning") {
        "error" => Severity::High,
        "note" | "none" => Severity::Info,
        _ => Severity::Medium,
    }
}

/// GitHub defines the property as a number; GitLab's rules for Semgrep write a word.
fn security_severity(value: &Value) -> Option<Severity> {
    if let Some(word) = value.as_str()
        && let Some(level) = Severity::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(word.trim()))
    {
        return Some(level);
    }
    let score = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..=10.0).contains(&score).then(|| Severity::of_cvss_tenths((score * 10.0).round() as u8))
}

fn code_locus(location: Option<&Location>) -> Code {
    let Some(location) = location else { return Code::default() };
    let symbol = location.logical_locations.first().and_then(|at| at.fully_qualified_name.clone().or_else(|| at.name.clone()));
    let Some(physical) = &location.physical_location else { return Code { symbol: symbol.unwrap_or_default(), ..Code::default() } };
    let region = &physical.region;
    let snippet = region.snippet.as_ref().or(physical.context_region.snippet.as_ref());
    Code {
        file: file_of(physical),
        line: region.start_line,
        end_line: region.end_line.unwrap_or(region.start_line),
        column: region.start_column,
        symbol: symbol.unwrap_or_default(),
        snippet: snippet.map(|text| snippet_hash(&text.text)).unwrap_or_default(),
        parameter: String::new(),
    }
}

fn secret_locus(location: Option<&Location>, key: &SecretKey) -> Locus {
    let Some(physical) = location.and_then(|at| at.physical_location.as_ref()) else { return Locus::Secret(Secret::default()) };
    let text = physical.region.snippet.as_ref().map(|snippet| SecretText::new(snippet.text.as_str()));
    Locus::Secret(Secret {
        hash: text.as_ref().map(|text| text.keyed_hash(key)).unwrap_or_default(),
        preview: text.as_ref().map(SecretText::preview).unwrap_or_default(),
        file: file_of(physical),
        line: physical.region.start_line,
        commit: String::new(),
    })
}

fn file_of(physical: &Physical) -> String {
    let uri = physical.artifact_location.uri.as_deref().unwrap_or_default();
    asset_path(&percent_decode_str(uri).decode_utf8_lossy())
}

/// The tool's stable id: all `fingerprints`, else all `partialFingerprints`, in the order of their names.
///
/// Semgrep writes the constant `requires login` where it keeps its fingerprint to itself; that tells nothing apart.
fn stable_id(finding: &Finding) -> Option<String> {
    let prints = if finding.fingerprints.is_empty() { &finding.partial_fingerprints } else { &finding.fingerprints };
    let telling = prints.iter().filter(|(_, value)| *value != "requires login");
    let parts: Vec<String> =
        telling.map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect();
    (!parts.is_empty()).then(|| parts.join(";"))
}

/// CWE numbers of relationships, taxa, tags and properties, in their order, each once; else by the rule's name.
fn cwes(finding: &Finding, rule: Option<&Rule>, rule_id: &str) -> Vec<i32> {
    let is_cwe = |at: &&Reference| {
        at.tool_component.as_ref().and_then(|component| component.name.as_deref()).is_some_and(|name| name.eq_ignore_ascii_case("cwe"))
    };
    let number = |at: &Reference| -> Option<i32> { at.id.as_deref().and_then(|id| id.trim_start_matches("CWE-").parse().ok()) };
    let mut found: Vec<i32> = Vec::new();
    if let Some(rule) = rule {
        found.extend(rule.relationships.iter().map(|at| &at.target).filter(is_cwe).filter_map(number));
        found.extend(cwes_of_properties(&rule.properties));
    }
    found.extend(finding.taxa.iter().filter(is_cwe).filter_map(number));
    found.extend(cwes_of_properties(&finding.properties));
    found.retain(|cwe| *cwe > 0);
    if found.is_empty() {
        found.extend(CWE_OF_RULE.iter().find(|(name, _)| *name == rule_id).map(|(_, cwe)| *cwe));
    }
    let mut once = std::collections::BTreeSet::new();
    found.retain(|cwe| once.insert(*cwe));
    found
}

/// `tags: ["external/cwe/cwe-089", "CWE-79: …"]` and `cwe: "cwe-532"` or a list of such.
fn cwes_of_properties(properties: &Value) -> Vec<i32> {
    let texts = |value: &Value| -> Vec<String> {
        match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(all) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        }
    };
    [&properties["tags"], &properties["cwe"]].into_iter().flat_map(texts).filter_map(|text| cwe_in(&text)).collect()
}

/// The number behind the first `cwe-` of a text.
fn cwe_in(text: &str) -> Option<i32> {
    let lower = text.to_ascii_lowercase();
    let at = lower.find("cwe-")?;
    let digits: String = lower[at + 4..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// CVE and GHSA ids that stand in a rule's id.
fn vulnerability_ids(rule: &str) -> Vec<String> {
    let words = rule.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("CVE-") || word.starts_with("GHSA-")).map(str::to_owned).collect()
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}

type Take<'a> = dyn FnMut(usize, usize, Value) -> Result<(), ReadError> + 'a;

/// Visits the outermost object and gives away each result of each run.
struct Runs<'a, 'b> {
    take: &'a mut Take<'b>,
}

impl<'de> DeserializeSeed<'de> for Runs<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Runs<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SARIF log object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == "runs" {
                members.next_value_seed(RunList { take: &mut *self.take })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct RunList<'a, 'b> {
    take: &'a mut Take<'b>,
}

impl<'de> DeserializeSeed<'de> for RunList<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RunList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of runs")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut runs: A) -> Result<(), A::Error> {
        let mut index = 0;
        while runs.next_element_seed(OneRun { index, take: &mut *self.take })?.is_some() {
            index += 1;
        }
        Ok(())
    }
}

struct OneRun<'a, 'b> {
    index: usize,
    take: &'a mut Take<'b>,
}

impl<'de> DeserializeSeed<'de> for OneRun<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneRun<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let run = self.index;
        while let Some(name) = members.next_key::<String>()? {
            if name == "results" {
                let take = &mut *self.take;
                members.next_value_seed(Each::new("an array of results", |index, element: Value| take(run, index, element)))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cwe_numbers_are_found_in_all_spellings() {
        for (text, cwe) in
            [("external/cwe/cwe-089", Some(89)), ("CWE-79: XSS", Some(79)), ("cwe-532", Some(532)), ("security", None), ("cwe-", None)]
        {
            assert_eq!(cwe_in(text), cwe, "{text}");
        }
        assert_eq!(vulnerability_ids("BDSA-2020-1001 (CVE-2020-11022)"), ["CVE-2020-11022"]);
    }
}
