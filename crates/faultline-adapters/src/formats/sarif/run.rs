//! What a SARIF run says beside its results: the tool, its rules, what was scanned. It is small, and kept while results are read.

use std::collections::{BTreeMap, HashMap};

use faultline_model::asset::AssetKind;
use faultline_model::observation::{ScanKind, Severity, TEXT_BYTES, TITLE_BYTES, cut};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::ADAPTER;
use crate::adapter::{Emit, ReadError, Report, ScanFacts};
use crate::formats::json::{Element, Json, Text};
use crate::secret::SecretText;

/// The most rules of one run that are kept; CodeQL has some 500, Semgrep's registry some 5,000. Further ones are refused.
const RULES: usize = 50_000;
/// The longest chain of a base of a path that stands on another.
const BASES: usize = 8;
/// What kind of tool a driver is, by a part of its lower-case name. Others analyse code.
const KINDS_OF_DRIVERS: &[(&str, ScanKind)] = &[
    ("gitleaks", ScanKind::Secret),
    ("trufflehog", ScanKind::Secret),
    ("ggshield", ScanKind::Secret),
    ("detect-secrets", ScanKind::Secret),
    ("checkov", ScanKind::Iac),
    ("kics", ScanKind::Iac),
    ("terrascan", ScanKind::Iac),
    ("tfsec", ScanKind::Iac),
    ("dependency-check", ScanKind::Sca),
    ("grype", ScanKind::Sca),
    ("osv-scanner", ScanKind::Sca),
    ("snyk container", ScanKind::Sca),
    ("snyk open source", ScanKind::Sca),
    ("trivy", ScanKind::Sca),
    ("nuclei", ScanKind::Dast),
    ("zap", ScanKind::Dast),
];

/// A run without its results.
#[derive(Default)]
pub(super) struct Run {
    pub(super) facts: ScanFacts,
    /// Whether its results quote secrets.
    pub(super) quotes_secrets: bool,
    /// Rules of the driver, then those of each extension.
    rules: Vec<Rule>,
    /// Where in `rules` those of each extension begin.
    extensions: Vec<usize>,
    by_id: HashMap<String, usize>,
    /// Folders inside the asset on which paths stand, by their names in the run.
    bases: BTreeMap<String, String>,
}

/// What of a rule goes into findings.
#[derive(Default)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) guidance: String,
    pub(super) help_uri: Option<String>,
    pub(super) cwes: Vec<i32>,
    pub(super) severity: Option<Severity>,
    pub(super) level: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WrittenRule<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    short_description: Option<Described<'a>>,
    full_description: Option<Described<'a>>,
    help: Option<Described<'a>>,
    help_uri: Option<Text<'a>>,
    default_configuration: Option<Configuration<'a>>,
    relationships: Option<Vec<Relationship<'a>>>,
    properties: Option<Properties>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Described<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration<'a> {
    #[serde(borrow)]
    level: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Relationship<'a> {
    #[serde(borrow)]
    target: Reference<'a>,
}

/// A pointer to a rule or a taxon.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reference<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    index: Option<usize>,
    tool_component: Option<Component<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Component<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    index: Option<usize>,
}

impl Reference<'_> {
    /// The number, if this points into the CWE taxonomy.
    pub(super) fn cwe(&self) -> Option<i32> {
        let taxonomy = self.tool_component.as_ref()?.name.as_deref()?;
        let id = self.id.as_deref()?;
        if taxonomy.eq_ignore_ascii_case("cwe") { id.trim_start_matches("CWE-").parse().ok() } else { None }
    }
}

/// The properties that mean something across tools. Values of any type, as tools write what they like there.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Properties {
    #[serde(deserialize_with = "texts")]
    tags: Vec<String>,
    #[serde(deserialize_with = "texts")]
    cwe: Vec<String>,
    #[serde(rename = "security-severity")]
    pub(super) security_severity: Value,
    /// The secret itself, and the commit that brought it: gitleaks 7.
    pub(super) offender: Option<SecretText>,
    pub(super) commit: Value,
}

/// A text or a list of texts; nothing of what is neither.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => vec![text],
        Value::Array(all) => all.into_iter().filter_map(|one| if let Value::String(text) = one { Some(text) } else { None }).collect(),
        _ => Vec::new(),
    })
}

/// `tags: ["external/cwe/cwe-089", "CWE-79: …"]` and `cwe: "cwe-532"` or a list of such.
pub(super) fn cwes_of(properties: &Properties) -> impl Iterator<Item = i32> {
    properties.tags.iter().chain(&properties.cwe).filter_map(|text| cwe_in(text))
}

/// The number behind the first `cwe-` of a text.
fn cwe_in(text: &str) -> Option<i32> {
    let lower = text.to_ascii_lowercase();
    let at = lower.find("cwe-")?;
    let digits: String = lower[at + 4..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// GitHub defines the property as a number; GitLab's rules for Semgrep write a word.
pub(super) fn security_severity(value: &Value) -> Option<Severity> {
    if let Some(word) = value.as_str()
        && let Some(level) = Severity::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(word.trim()))
    {
        return Some(level);
    }
    let score = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (0.0..=10.0).contains(&score).then(|| Severity::of_cvss_tenths((score * 10.0).round() as u8))
}

/// All runs of a file without their results.
pub(super) fn all(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<Vec<Run>, ReadError> {
    let mut runs: Vec<Run> = Vec::new();
    Json::open(ADAPTER.name, report)?.whole(|json| {
        json.object(&mut |json, name| match name {
            "runs" => json.array(&mut |json, _| {
                let at = runs.len();
                let mut run = Run::default();
                json.object(&mut |json, name| run.take(json, name, at, emit))?;
                run.end();
                runs.push(run);
                Ok(())
            }),
            _ => json.pass(),
        })
    })?;
    Ok(runs)
}

impl Run {
    /// The rule of a result: by index in its component, else by the longest id that is the result's or a prefix (`CA1000/1` is of `CA1000`).
    pub(super) fn rule(&self, id: Option<&str>, index: Option<i64>, reference: Option<&Reference<'_>>) -> Option<&Rule> {
        let extension = reference.and_then(|rule| rule.tool_component.as_ref()?.index);
        let first = extension.map_or(Some(0), |extension| self.extensions.get(extension).copied());
        let index = reference.and_then(|rule| rule.index).or_else(|| index.and_then(|index| usize::try_from(index).ok()));
        if let (Some(first), Some(index)) = (first, index)
            && let Some(rule) = self.rules.get(first + index)
        {
            return Some(rule);
        }
        let mut id = id?;
        loop {
            if let Some(at) = self.by_id.get(id) {
                return self.rules.get(*at);
            }
            id = id.rsplit_once('/')?.0;
        }
    }

    /// The folder inside the asset that a base stands for; none for a folder of the machine that scanned.
    pub(super) fn base(&self, name: &str) -> Option<&str> {
        self.bases.get(name).map(String::as_str)
    }

    fn take(&mut self, json: &mut Json<'_>, name: &str, at: usize, emit: &mut dyn Emit) -> Result<(), ReadError> {
        match name {
            "tool" => json.object(&mut |json, name| match name {
                // The driver's rules come first, so that an index without a component points among them.
                "driver" => {
                    let before = std::mem::take(&mut self.rules);
                    self.component(json, true, at, emit)?;
                    self.extensions.iter_mut().for_each(|begin| *begin += self.rules.len());
                    self.rules.extend(before);
                    Ok(())
                }
                "extensions" => json.array(&mut |json, _| {
                    self.extensions.push(self.rules.len());
                    self.component(json, false, at, emit)
                }),
                _ => json.pass(),
            }),
            "originalUriBaseIds" => {
                self.bases = bases(&json.value()?);
                Ok(())
            }
            "versionControlProvenance" => json.array(&mut |json, _| {
                json.object(&mut |json, name| {
                    let place = match name {
                        "repositoryUri" => &mut self.facts.target,
                        "revisionId" => &mut self.facts.revision,
                        "branch" => &mut self.facts.branch,
                        _ => return json.pass(),
                    };
                    let text = json.text()?;
                    if place.is_empty() {
                        *place = text;
                    }
                    Ok(())
                })
            }),
            "invocations" => json.array(&mut |json, _| {
                json.object(&mut |json, name| match name {
                    "startTimeUtc" if self.facts.started.is_empty() => {
                        self.facts.started = json.text()?;
                        Ok(())
                    }
                    _ => json.pass(),
                })
            }),
            _ => json.pass(),
        }
    }

    /// The driver or an extension.
    fn component(&mut self, json: &mut Json<'_>, is_driver: bool, at: usize, emit: &mut dyn Emit) -> Result<(), ReadError> {
        let mut version = String::new();
        json.object(&mut |json, name| {
            match name {
                "name" if is_driver => self.facts.tool = json.text()?.to_lowercase(),
                "semanticVersion" if is_driver => self.facts.tool_version = json.text()?,
                "version" if is_driver => version = json.text()?,
                "rules" => json.elements(&mut |index, element| {
                    self.add_rule(element).unwrap_or_else(|reason| emit.refused(format!("run {at}, rule {index}"), reason));
                    Ok(())
                })?,
                _ => json.pass()?,
            }
            Ok(())
        })?;
        if is_driver && self.facts.tool_version.is_empty() {
            self.facts.tool_version = version;
        }
        Ok(())
    }

    /// A rule that cannot be read keeps its place, as others are found by index.
    fn add_rule(&mut self, element: Element<'_>) -> Result<(), String> {
        if self.rules.len() >= RULES {
            return Err(format!("a run may have {RULES} rules"));
        }
        let written = element.read::<WrittenRule<'_>>();
        let (rule, outcome) = match written {
            Ok(written) => (Rule::of(written), Ok(())),
            Err(reason) => (Rule::default(), Err(reason)),
        };
        self.rules.push(rule);
        outcome
    }

    fn end(&mut self) {
        for (at, rule) in self.rules.iter().enumerate() {
            self.by_id.entry(rule.id.clone()).or_insert(at);
        }
        if !self.facts.target.is_empty() {
            self.facts.target_kind = Some(AssetKind::Repo);
        }
        self.facts.kind = KINDS_OF_DRIVERS.iter().find(|(name, _)| self.facts.tool.contains(name)).map(|(_, kind)| *kind);
        self.quotes_secrets = self.facts.kind == Some(ScanKind::Secret);
    }
}

impl Rule {
    fn of(written: WrittenRule<'_>) -> Self {
        let bounded = |text: Option<Described<'_>>, bytes: usize| {
            let mut text = text.map(|described| described.text.into_string()).unwrap_or_default();
            cut(&mut text, bytes);
            text
        };
        let mut cwes: Vec<i32> = written.relationships.iter().flatten().filter_map(|relationship| relationship.target.cwe()).collect();
        cwes.extend(written.properties.iter().flat_map(cwes_of));
        let mut once = std::collections::BTreeSet::new();
        cwes.retain(|cwe| *cwe > 0 && once.insert(*cwe));
        let title = bounded(written.short_description, TITLE_BYTES);
        let description = bounded(written.full_description, TEXT_BYTES);
        Self {
            id: written.id.into_string(),
            description: if description.is_empty() { title.clone() } else { description },
            title,
            guidance: bounded(written.help, TEXT_BYTES),
            help_uri: written.help_uri.map(Text::into_string),
            cwes,
            severity: written.properties.as_ref().and_then(|properties| security_severity(&properties.security_severity)),
            level: written.default_configuration.and_then(|configuration| configuration.level).map(Text::into_string),
        }
    }
}

/// Bases by name, those that stand on another put together. One that begins at the root of a machine is the asset's own root or
/// nobody's business, so that what stands on it begins there.
fn bases(written: &Value) -> BTreeMap<String, String> {
    let mut bases = BTreeMap::new();
    for (name, base) in written.as_object().into_iter().flatten() {
        let (mut path, mut base) = (String::new(), base);
        for _ in 0..BASES {
            let uri = base["uri"].as_str().unwrap_or_default().trim();
            let relative = uri.strip_prefix("file:").unwrap_or(uri);
            if relative.starts_with('/') || relative.contains(':') {
                break;
            }
            path = format!("{relative}/{path}");
            match base["uriBaseId"].as_str().map(|next| &written[next]) {
                Some(next) => base = next,
                None => break,
            }
        }
        bases.insert(name.clone(), path);
    }
    bases
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cwe_numbers_are_found_in_all_spellings() {
        for (text, cwe) in
            [("external/cwe/cwe-089", Some(89)), ("CWE-79: XSS", Some(79)), ("cwe-532", Some(532)), ("security", None), ("cwe-", None)]
        {
            assert_eq!(cwe_in(text), cwe, "{text}");
        }
    }

    #[test]
    fn a_base_inside_the_asset_is_part_of_the_path_and_one_of_a_machine_is_not() {
        let bases = bases(&json!({
            "ROOT": {"uri": "file:///home/somebody/shop/"}, "SRC": {"uri": "src/", "uriBaseId": "ROOT"}, "JAVA": {"uri": "main/java", "uriBaseId": "SRC"},
            "REL": {"uri": "file:src/main/java/"}, "A": {"uri": "a", "uriBaseId": "B"}, "B": {"uri": "b", "uriBaseId": "A"}, "NONE": {}
        }));
        let folded = |name: &str| faultline_model::locus::asset_path(&bases[name]);
        assert_eq!([folded("ROOT"), folded("SRC"), folded("JAVA"), folded("REL")], ["", "src", "src/main/java", "src/main/java"]);
        assert!(folded("A").len() <= 4 * BASES && folded("NONE").is_empty());
    }

    #[test]
    fn a_rule_is_found_by_index_in_its_component_and_by_the_longest_prefix() {
        let mut run = Run::default();
        for id in ["CA", "CA/1", "X", "Y"] {
            run.rules.push(Rule { id: id.into(), ..Rule::default() });
        }
        run.extensions = vec![2];
        run.end();
        let reference: Reference<'_> = serde_json::from_str(r#"{"index": 1, "toolComponent": {"index": 0}}"#).unwrap();
        assert_eq!(run.rule(None, None, Some(&reference)).map(|rule| rule.id.as_str()), Some("Y"));
        assert_eq!(run.rule(Some("CA/1/z"), None, None).map(|rule| rule.id.as_str()), Some("CA/1"));
        assert_eq!(run.rule(Some("CA/2"), Some(-1), None).map(|rule| rule.id.as_str()), Some("CA"));
        assert!(run.rule(Some("CAB"), None, None).is_none());
    }
}
