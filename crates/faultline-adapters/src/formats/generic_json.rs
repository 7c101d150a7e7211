//! Generic findings as JSON: what any tool or person can write where no adapter fits.
//!
//! Shape: `{"findings": [{title, severity, description, …}]}`, the members of DefectDojo's generic import and, as our own, `purl`, `method`,
//! `parameter` and `resource`. Source: <https://docs.defectdojo.com/supported_tools/parsers/generic_findings_import/>. The place is a package
//! (`purl`, `component_name`), else each of the `endpoints`, else a `resource`, else a place in code. Attached files are not read.

use faultline_model::locus::{Code, Locus, Package, Resource, Route, asset_path};
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict};
use faultline_model::{cvss, purl};
use serde_json::Value;
use url::Url;

use crate::adapter::{Adapter, Emit, ReadError, Report, ScanFacts};
use crate::formats::json::Json;
use crate::head::Head;

pub(crate) const ADAPTER: Adapter = Adapter { name: "generic-json", kind: ScanKind::Other, tests_for: &[], recognises, may_be_empty, read };

/// Members of elements of other tools whose reports hold `findings` too: AWS Inspector, Security Hub, Veracode, HackerOne.
const OTHERS_MEMBERS: &[&str] =
    &["findingArn", "awsAccountId", "AwsAccountId", "ProductArn", "SchemaVersion", "scan_type", "finding_details", "severity_rating"];
/// What reports call themselves without naming a tool.
const NO_TOOL: &str = "Generic Findings Import";
/// Words for levels beside the levels' own names.
const SEVERITY_WORDS: &[(&str, Severity)] =
    &[("informational", Severity::Info), ("information", Severity::Info), ("none", Severity::Info), ("moderate", Severity::Medium)];

fn recognises(head: &Head<'_>) -> bool {
    if !head.is_json_object() || !head.top_members().contains(&"findings") {
        return false;
    }
    let Some(array) = array_of_findings(head.text()) else { return false };
    let first = Head::new(array.as_bytes(), false);
    let members = first.first_element_members();
    ["title", "severity"].iter().all(|name| members.contains(name)) && !OTHERS_MEMBERS.iter().any(|name| members.contains(name))
}

/// Without a finding nothing tells it from other tools' reports.
fn may_be_empty(head: &Head<'_>) -> bool {
    let found = head.is_json_object() && head.top_members().contains(&"findings");
    found && array_of_findings(head.text()).is_some_and(|array| array[1..].trim_start().starts_with(']'))
}

/// The text from the `[` of the first member `findings` that holds an array.
fn array_of_findings(text: &str) -> Option<&str> {
    let behind = text.match_indices("\"findings\"").map(|(at, name)| text[at + name.len()..].trim_start());
    behind.filter_map(|rest| rest.strip_prefix(':')).map(str::trim_start).find(|rest| rest.starts_with('['))
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    emit.scan(facts(report)?);
    let mut has_findings = false;
    Json::open(ADAPTER.name, report)?.whole(|json| {
        json.object(&mut |json, name| {
            if name != "findings" {
                return json.pass();
            }
            has_findings = true;
            json.elements(&mut |index, element| {
                let place = format!("finding {index}");
                match element.read::<Value>().and_then(|element| finding(&element)) {
                    Ok(finding) => finding.send(&place, emit),
                    Err(reason) => {
                        emit.refused(place, reason);
                        Ok(())
                    }
                }
            })
        })?;
        if has_findings { Ok(()) } else { Err(json.shape("the object has no member findings")) }
    })
}

/// What the report says beside its findings: a first pass, as it may stand behind them.
fn facts(report: &mut Report<'_>) -> Result<ScanFacts, ReadError> {
    let (mut name_of_tool, mut kind, mut version, mut is_dynamic, mut is_static) =
        (String::new(), String::new(), String::new(), false, false);
    Json::open(ADAPTER.name, report)?.whole(|json| {
        json.object(&mut |json, name| {
            match name {
                "name" => name_of_tool = json.text()?,
                "type" => kind = json.text()?,
                "version" => version = text(&json.value()?),
                "dynamic_tool" => is_dynamic = json.value::<Value>()? == true,
                "static_tool" => is_static = json.value::<Value>()? == true,
                _ => json.pass()?,
            }
            Ok(())
        })
    })?;
    let tool = [kind, name_of_tool].into_iter().find(|name| !name.trim().is_empty() && name != NO_TOOL);
    let kind = match (is_dynamic, is_static) {
        (true, false) => Some(ScanKind::Dast),
        (false, true) => Some(ScanKind::Sast),
        _ => None,
    };
    Ok(ScanFacts { tool: tool.unwrap_or_default().trim().to_lowercase(), tool_version: version, kind, ..ScanFacts::default() })
}

/// A finding as JSON and CSV have it in common; texts are empty where the report has none.
#[derive(Default)]
pub(crate) struct Finding {
    pub(crate) title: String,
    pub(crate) severity: String,
    pub(crate) description: String,
    pub(crate) mitigation: String,
    pub(crate) references: Vec<String>,
    pub(crate) cwes: Vec<i32>,
    pub(crate) vulnerabilities: Vec<String>,
    pub(crate) cvss_vectors: Vec<String>,
    pub(crate) fix_version: String,
    pub(crate) rule: String,
    pub(crate) stable_id: String,
    pub(crate) file: String,
    pub(crate) line: i32,
    pub(crate) purl: String,
    pub(crate) component: String,
    pub(crate) component_version: String,
    pub(crate) resource: String,
    pub(crate) method: String,
    pub(crate) parameter: String,
    /// One URL each, with or without scheme.
    pub(crate) endpoints: Vec<String>,
    /// Marked there as a false alarm, inactive or repaired.
    pub(crate) is_suppressed: bool,
}

impl Finding {
    /// Sends one observation for each place; what cannot be read is refused.
    pub(crate) fn send(self, place: &str, emit: &mut dyn Emit) -> Result<(), ReadError> {
        let Some(severity) = severity(&self.severity) else {
            emit.refused(place.to_owned(), "its severity is none of info, low, medium, high and critical".to_owned());
            return Ok(());
        };
        if self.title.is_empty() {
            emit.refused(place.to_owned(), "it has no title".to_owned());
            return Ok(());
        }
        let loci = match self.loci() {
            Ok(loci) => loci,
            Err(reason) => {
                emit.refused(place.to_owned(), reason);
                return Ok(());
            }
        };
        for (index, locus) in loci.into_iter().enumerate() {
            match locus {
                Some(locus) => emit.finding(self.observation(severity, locus))?,
                // An endpoint may hold a password or a token: it is not quoted.
                None => emit
                    .refused(format!("{place}, endpoint {index}"), "an endpoint is a URL or a host, with http or https if any".to_owned()),
            }
        }
        Ok(())
    }

    /// Where the finding is, in the order of the module's story; `None` for an endpoint that cannot be read.
    fn loci(&self) -> Result<Vec<Option<Locus>>, String> {
        let file = asset_path(&self.file);
        if let Some((purl, version)) = self.package()? {
            let version = if self.component_version.is_empty() { version } else { self.component_version.clone() };
            return Ok(vec![Some(Locus::Package(Package { purl, version, manifest: file, layer: String::new() }))]);
        }
        if !self.endpoints.is_empty() {
            return Ok(self.endpoints.iter().map(|endpoint| self.route(endpoint).map(Locus::Route)).collect());
        }
        if !self.resource.is_empty() {
            let resource = Resource { address: self.resource.clone(), file, line: self.line, end_line: self.line };
            return Ok(vec![Some(Locus::Resource(resource))]);
        }
        Ok(vec![Some(Locus::Code(Code { parameter: self.parameter.clone(), ..Code::at(file, self.line) }))])
    }

    /// The package and its version if the finding names one, by its purl or by a bare name.
    fn package(&self) -> Result<Option<(String, String)>, String> {
        let purl = if self.component.starts_with("pkg:") && self.purl.is_empty() { &self.component } else { &self.purl };
        if !purl.is_empty() {
            return purl::base(purl).map(Some).ok_or_else(|| "its purl is no package URL".to_owned());
        }
        let named = purl::of("", &self.component);
        Ok((!named.is_empty()).then(|| (named, String::new())))
    }

    /// The route of an endpoint. A scheme is not invented where none is named; user, query and fragment are dropped.
    fn route(&self, endpoint: &str) -> Option<Route> {
        let has_scheme = endpoint.contains("://");
        let url =
            if has_scheme { Url::parse(endpoint) } else { Url::parse(&format!("http://{}", endpoint.trim_start_matches('/'))) }.ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let origin = url.origin().ascii_serialization();
        let origin = if has_scheme { origin } else { origin.trim_start_matches("http://").to_owned() };
        let (method, parameter) = (self.method.to_ascii_uppercase(), self.parameter.clone());
        Some(Route { method, origin, path: url.path().to_owned(), parameter })
    }

    fn observation(&self, severity: Severity, locus: Locus) -> Observation {
        // The title is the last that can tell rules apart where a report has no ids at all.
        let ids = [Some(&self.rule), self.vulnerabilities.first(), Some(&self.title)];
        let rule = ids.into_iter().flatten().find(|id| !id.is_empty()).cloned().unwrap_or_default();
        let mut seen = Observation::new(rule, severity, locus);
        seen.title.clone_from(&self.title);
        seen.description.clone_from(&self.description);
        seen.guidance.clone_from(&self.mitigation);
        seen.references.clone_from(&self.references);
        seen.cwes.clone_from(&self.cwes);
        seen.vulnerabilities.clone_from(&self.vulnerabilities);
        seen.cvss = cvss::read_all(self.cvss_vectors.iter().map(String::as_str));
        seen.fixed_versions = self.fix_version.split(',').map(str::trim).filter(|version| !version.is_empty()).map(str::to_owned).collect();
        seen.stable_id = (!self.stable_id.is_empty()).then(|| self.stable_id.clone());
        if self.is_suppressed {
            seen.tool_verdict = ToolVerdict::Suppressed;
        }
        seen.bounded()
    }
}

fn severity(word: &str) -> Option<Severity> {
    let word = word.trim();
    let named = Severity::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(word));
    named.or_else(|| SEVERITY_WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, level)| *level))
}

/// A finding out of its JSON object; the reason if it lacks what every finding has.
fn finding(element: &Value) -> Result<Finding, String> {
    if !element.is_object() {
        return Err("a finding is an object".to_owned());
    }
    for name in ["title", "severity"] {
        if element[name].as_str().is_none_or(|text| text.trim().is_empty()) {
            return Err(format!("a finding needs a {name} as text"));
        }
    }
    let of = |name: &str| text(&element[name]);
    let mut cwes = Vec::new();
    for number in all(&element["cwe"]).chain(all(&element["cwes"])).filter_map(|one| cwe_number(&text(one))) {
        if !cwes.contains(&number) {
            cwes.push(number);
        }
    }
    let mut vulnerabilities = Vec::new();
    for id in all(&element["cve"]).chain(all(&element["vulnerability_ids"])).map(text).filter(|id| !id.is_empty()) {
        if !vulnerabilities.contains(&id) {
            vulnerabilities.push(id);
        }
    }
    let is = |name: &str| element[name].as_bool();
    Ok(Finding {
        title: of("title"),
        severity: of("severity"),
        description: of("description"),
        mitigation: of("mitigation"),
        references: all(&element["references"]).flat_map(|one| links(&text(one))).collect(),
        cwes,
        vulnerabilities,
        cvss_vectors: vec![of("cvssv4"), of("cvssv3")],
        fix_version: of("fix_version"),
        rule: of("vuln_id_from_tool"),
        stable_id: of("unique_id_from_tool"),
        file: of("file_path"),
        line: line_number(&of("line")),
        purl: of("purl"),
        component: of("component_name"),
        component_version: of("component_version"),
        resource: of("resource"),
        method: of("method"),
        parameter: of("parameter"),
        endpoints: all(&element["endpoints"]).map(endpoint).collect(),
        is_suppressed: is("false_p") == Some(true) || is("active") == Some(false) || is("is_mitigated") == Some(true),
    })
}

/// The elements of an array, or the one value that stands in its place; none for null.
fn all(value: &Value) -> impl Iterator<Item = &Value> {
    let (many, one) = match value {
        Value::Array(many) => (many.as_slice(), None),
        Value::Null => (&[][..], None),
        one => (&[][..], Some(one)),
    };
    many.iter().chain(one)
}

/// Text and numbers as text; empty for everything else.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// An endpoint's URL: itself, or put together from `{protocol, host, port, path}`.
fn endpoint(value: &Value) -> String {
    if !value.is_object() {
        return text(value);
    }
    let part = |name: &str| text(&value[name]);
    let (mut url, port, path) = (part("host"), part("port"), part("path"));
    if url.is_empty() {
        return url;
    }
    if !part("protocol").is_empty() {
        url = format!("{}://{url}", part("protocol"));
    }
    if !port.is_empty() {
        url = format!("{url}:{port}");
    }
    if path.is_empty() { url } else { format!("{url}/{}", path.trim_start_matches('/')) }
}

/// The number of `79`, `CWE-79` or `cwe-79`; `None` for 0 and what is no CWE.
pub(crate) fn cwe_number(text: &str) -> Option<i32> {
    let text = text.trim().to_ascii_lowercase();
    text.strip_prefix("cwe-").unwrap_or(&text).parse().ok().filter(|number| *number > 0)
}

/// A line from 1; 0 for what is none.
pub(crate) fn line_number(text: &str) -> i32 {
    text.trim().parse().unwrap_or(0).max(0)
}

/// The http(s) links of a text, which may be a list or Markdown.
pub(crate) fn links(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "()<>[],".contains(c));
    words.filter(|word| word.starts_with("http://") || word.starts_with("https://")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_generic(text: &str) -> bool {
        recognises(&Head::new(text.as_bytes(), true))
    }

    #[test]
    fn findings_of_other_tools_are_not_taken() {
        assert!(is_generic(r#"{"name": "x", "findings" : [ {"title": "t", "severity": "Low"}]}"#));
        for other in [
            r#"{"findings": []}"#,
            r#"{"findings": [{}]}"#,
            r#"{"findings": [{"title": "t", "severity": "HIGH", "findingArn": "arn:x"}]}"#,
            r#"{"in": {"findings": [{"title": "t", "severity": "Low"}]}}"#,
        ] {
            assert!(!is_generic(other), "{other}");
        }
    }

    #[test]
    fn an_endpoint_carries_neither_user_nor_query() {
        let route = |raw: &str| Finding::default().route(raw).map(|route| (route.origin, route.path));
        let is = |origin: &str, path: &str| Some((origin.to_owned(), path.to_owned()));
        assert_eq!(route("https://u:p@h.example:443/a?token=1#x"), is("https://h.example", "/a"));
        assert_eq!(route("h.example:8443/a"), is("h.example:8443", "/a"));
        assert_eq!((route("javascript://x"), route("=cmd|' /C calc'!A0"), route("")), (None, None, None));
    }

    #[test]
    fn the_most_telling_place_is_taken() {
        let place = |json: &str| finding(&serde_json::from_str(json).expect("JSON")).expect("a finding").loci();
        let package =
            place(r#"{"title": "t", "severity": "low", "purl": "pkg:npm/a@1.0", "file_path": "package.json", "endpoints": ["h"]}"#);
        let purl = "pkg:npm/a".to_owned();
        let expected = Package { purl, version: "1.0".into(), manifest: "package.json".into(), layer: String::new() };
        assert_eq!(package, Ok(vec![Some(Locus::Package(expected))]));
        assert!(matches!(
            place(r#"{"title": "t", "severity": "low", "resource": "aws_s3_bucket.a"}"#).as_deref(),
            Ok([Some(Locus::Resource(_))])
        ));
        assert!(place(r#"{"title": "t", "severity": "low", "purl": "lodash"}"#).is_err());
    }
}
