//! One finding as a line of JSON for people who write scanners: what was understood of their report.
//!
//! Names are those of the independent readings beside the samples (`title severity cwe ids file line component version endpoint kind rule
//! uid cvssv3 cvssv4 fix active`) where they mean the same, and ours for the rest. What is empty is left out.

use faultline_model::locus::Locus;
use faultline_model::observation::{Observation, ScanKind, Severity, ToolVerdict};
use faultline_model::purl;
use serde_json::{Map, Value};

/// The finding as one JSON object. `kind` is that of its scan: it tells `static` from `dynamic`.
pub fn normalized_json(seen: &Observation, kind: ScanKind) -> Value {
    let mut line = Line(Map::new());
    line.text("title", &seen.title);
    line.text("severity", severity_word(seen.severity));
    line.text("rule", &seen.rule);
    line.list("cwe", seen.cwes.iter().map(|cwe| Value::from(*cwe)));
    line.texts("ids", &seen.vulnerabilities);
    line.place(&seen.locus);
    let vector = |version: &str| seen.cvss.iter().find(|one| one.version.starts_with(version)).map_or("", |one| one.vector.as_str());
    line.text("cvssv3", vector("3"));
    line.text("cvssv4", vector("4"));
    line.text("fix", &seen.fixed_versions.join(", "));
    line.text("uid", seen.stable_id.as_deref().unwrap_or_default());
    line.text("kind", if kind.is_runtime() { "dynamic" } else { "static" });
    if seen.tool_verdict == ToolVerdict::Suppressed {
        line.0.insert("active".to_owned(), Value::Bool(false));
    }
    line.number("rank", seen.rank);
    line.text("description", &seen.description);
    line.text("guidance", &seen.guidance);
    line.texts("references", &seen.references);
    Value::Object(line.0)
}

/// The level as the readings write it.
fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
    }
}

struct Line(Map<String, Value>);

impl Line {
    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.0.insert(name.to_owned(), Value::from(text));
        }
    }

    fn number(&mut self, name: &str, number: i32) {
        if number != 0 {
            self.0.insert(name.to_owned(), Value::from(number));
        }
    }

    fn list(&mut self, name: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        if !values.is_empty() {
            self.0.insert(name.to_owned(), Value::Array(values));
        }
    }

    fn texts(&mut self, name: &str, texts: &[String]) {
        self.list(name, texts.iter().map(|text| Value::from(text.as_str())));
    }

    /// A line as text, as the readings have it.
    fn lines(&mut self, line: i32, end_line: i32) {
        if line > 0 {
            self.text("line", &line.to_string());
        }
        if end_line > line {
            self.number("end_line", end_line);
        }
    }

    fn place(&mut self, locus: &Locus) {
        match locus {
            Locus::Code(at) => {
                self.text("file", &at.file);
                self.lines(at.line, at.end_line);
                self.number("column", at.column);
                self.text("symbol", &at.symbol);
                self.text("snippet", &at.snippet);
                self.text("parameter", &at.parameter);
            }
            Locus::Package(at) => {
                self.text("component", &purl::display_name(&at.purl));
                self.text("version", &at.version);
                self.text("file", &at.manifest);
                self.text("purl", &at.purl);
                self.text("layer", &at.layer);
            }
            Locus::Route(at) => {
                let path = if at.path == "/" { "" } else { &at.path };
                self.list("endpoint", std::iter::once(Value::from(format!("{}{path}", at.origin))));
                self.text("method", &at.method);
                self.text("parameter", &at.parameter);
            }
            Locus::Resource(at) => {
                self.text("component", &at.address);
                self.text("file", &at.file);
                self.lines(at.line, at.end_line);
            }
            Locus::Secret(at) => {
                self.text("file", &at.file);
                self.lines(at.line, at.line);
                self.text("commit", &at.commit);
                self.text("secret_hash", &at.hash);
                self.text("secret_preview", &at.preview);
            }
            Locus::Host(at) => {
                self.list("endpoint", std::iter::once(Value::from(at.address.as_str())));
                self.number("port", at.port);
                self.text("protocol", &at.protocol);
            }
        }
    }
}
