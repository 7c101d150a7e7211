//! ZAP XML: what a dynamic scan found on a running application.
//!
//! Shape: `OWASPZAPReport/site/alerts/alertitem`, each with `instances/instance` (uri, method, param). Every instance is a finding of its
//! own. Source: ZAP's traditional XML report, versions 2.6 to 2.16, <https://www.zaproxy.org/docs/desktop/addons/report-generation/>.
//! Attacks, evidence, requests, responses and query values are not read: they hold payloads and sessions.

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::sync::LazyLock;

use faultline_model::asset::AssetKind;
use faultline_model::id::Id;
use faultline_model::locus::{Locus, Route};
use faultline_model::observation::{Observation, ScanKind, Severity, TEXT_BYTES, cut};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use url::Url;

use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report, RouteSeen, ScanFacts};

pub(crate) const ADAPTER: Adapter = Adapter {
    name: "zap",
    kind: ScanKind::Dast,
    tests_for: &[
        "sql-injection",
        "cross-site-scripting",
        "command-injection",
        "path-traversal",
        "code-injection",
        "xpath-xml-injection",
        "ldap-injection",
        "open-redirect",
        "header-injection",
        "xxe",
        "ssrf",
    ],
    recognises: |head| head.xml_root() == "OWASPZAPReport",
    may_be_empty: NEVER,
    read,
};

/// The most distinct places of which a visit is remembered in one report; each costs 16 bytes. Beyond it visits may repeat.
const VISITS_REMEMBERED: usize = 1_000_000;
/// The most instances of one alert that are kept until its other members are read; ZAP writes at most 500 by default.
const INSTANCES_HELD: usize = 1_000_000;

/// CWE of alerts for which a report names none (0 or −1), by plugin id; of a plugin whose alerts differ, that of the alert named like it.
/// Source: <https://www.zaproxy.org/docs/alerts/> (zaproxy-website at e2c990f, 2026-08-21), checked against the rules of zap-extensions
/// (at aea3dee, 2026-08-21), which add 90030. Scripts 100033 and 100045: community-scripts (at e01faf4, 2026-02-18). Rules withdrawn since
/// 2018 (10012, 10016, 10046, 10053): as they last were in zap-extensions. 40041: the one CWE among its alert's references.
const CWE_OF_PLUGIN_TSV: &str = include_str!("cwe_of_plugin.tsv");
static CWE_OF_PLUGIN: LazyLock<HashMap<&str, i32>> = LazyLock::new(|| {
    CWE_OF_PLUGIN_TSV.lines().filter_map(|line| line.split_once('\t')).filter_map(|(id, cwe)| Some((id, cwe.parse().ok()?))).collect()
});

/// One `alertitem` while it is read.
#[derive(Default)]
struct Alert {
    plugin: String,
    name: String,
    risk: String,
    cwe: String,
    description: String,
    solution: String,
    references: String,
    /// Older reports name one place beside the alert instead of a list.
    own: Instance,
    instances: Vec<Instance>,
}

#[derive(Default)]
struct Instance {
    uri: String,
    method: String,
    parameter: String,
}

struct Reading<'a> {
    emit: &'a mut dyn Emit,
    visited: HashSet<Id>,
    alerts: usize,
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let mut xml = Reader::from_reader(BufReader::new(report.rewound()?));
    let mut reading = Reading { emit, visited: HashSet::new(), alerts: 0 };
    let (mut buffer, mut path, mut text) = (Vec::new(), Vec::<String>::new(), String::new());
    let mut alert = Alert::default();
    let mut has_root = false;
    loop {
        let at = xml.buffer_position();
        let shape = |reason: String| ReadError::Shape { tool: ADAPTER.name, place: format!("byte {at}"), reason };
        match xml.read_event_into(&mut buffer).map_err(|error| shape(error.to_string()))? {
            Event::Start(start) => {
                let name = name_of(&start);
                match name.as_str() {
                    "OWASPZAPReport" => {
                        has_root = true;
                        let (tool_version, started) = (attribute(&start, "version"), generated(&attribute(&start, "generated")));
                        let facts = ScanFacts { tool: "zap".into(), tool_version, started, ..ScanFacts::default() };
                        reading.emit.scan(facts);
                    }
                    "site" => reading.emit.scan(ScanFacts {
                        target: attribute(&start, "name"),
                        target_kind: Some(AssetKind::Url),
                        ..ScanFacts::default()
                    }),
                    "alertitem" => alert = Alert::default(),
                    "instance" if alert.instances.len() < INSTANCES_HELD => alert.instances.push(Instance::default()),
                    "instance" => return Err(shape(format!("an alert has more than {INSTANCES_HELD} instances"))),
                    _ => {}
                }
                text.clear();
                path.push(name);
            }
            Event::End(_) => {
                let name = path.pop().unwrap_or_default();
                if name == "alertitem" {
                    reading.emit_alert(std::mem::take(&mut alert))?;
                } else {
                    take(&mut alert, &path, &name, &text);
                }
                text.clear();
            }
            // A text that is kept is bounded by the observation; requests and responses are long and are not kept.
            Event::Text(part) if text.len() < 4 * TEXT_BYTES => text += &part,
            Event::CData(part) if text.len() < 4 * TEXT_BYTES => text += &part,
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                match (reference.resolve_char_ref(), quick_xml::escape::resolve_predefined_entity(name)) {
                    (Ok(Some(character)), _) => text.push(character),
                    (_, Some(entity)) => text += entity,
                    _ => return Err(shape(format!("entity &{name}; is not one of the five that XML defines"))),
                }
            }
            Event::DocType(_) => return Err(shape("a document type is not accepted: a report needs none".into())),
            Event::Eof if !path.is_empty() => return Err(shape(format!("the file ends inside <{}>", path.join("/")))),
            Event::Eof if has_root => return Ok(()),
            Event::Eof => return Err(shape("there is no OWASPZAPReport element".into())),
            _ => {}
        }
        buffer.clear();
    }
}

/// Puts the text of an element where it belongs; `path` leads to its parent.
fn take(alert: &mut Alert, path: &[String], name: &str, text: &str) {
    let text = text.trim();
    match (path.last().map(String::as_str), name) {
        (Some("alertitem"), "pluginid") => text.clone_into(&mut alert.plugin),
        (Some("alertitem"), "alert" | "name") => text.clone_into(&mut alert.name),
        (Some("alertitem"), "riskcode") => text.clone_into(&mut alert.risk),
        (Some("alertitem"), "cweid") => text.clone_into(&mut alert.cwe),
        (Some("alertitem"), "desc") => alert.description = plain(text),
        (Some("alertitem"), "solution") => alert.solution = plain(text),
        (Some("alertitem"), "reference") => alert.references = plain(text),
        (Some("alertitem"), "uri") => text.clone_into(&mut alert.own.uri),
        (Some("alertitem"), "method") => text.clone_into(&mut alert.own.method),
        (Some("alertitem"), "param") => text.clone_into(&mut alert.own.parameter),
        (Some("instance"), _) => {
            let Some(instance) = alert.instances.last_mut() else { return };
            match name {
                "uri" => text.clone_into(&mut instance.uri),
                "method" => text.clone_into(&mut instance.method),
                "param" => text.clone_into(&mut instance.parameter),
                _ => {}
            }
        }
        _ => {}
    }
}

impl Reading<'_> {
    fn emit_alert(&mut self, mut alert: Alert) -> Result<(), ReadError> {
        let place = format!("alertitem {}", self.alerts);
        self.alerts += 1;
        let Some(severity) = severity(&alert.risk) else {
            self.emit.refused(place, format!("riskcode is {:?}, expected 0 to 3", alert.risk));
            return Ok(());
        };
        if alert.plugin.is_empty() {
            self.emit.refused(place, "it has no pluginid".into());
            return Ok(());
        }
        if alert.instances.is_empty() {
            alert.instances.push(std::mem::take(&mut alert.own));
        }
        let cwe = alert.cwe.parse().ok().filter(|cwe| *cwe > 0).or_else(|| cwe_of(&alert.plugin));
        let references: Vec<String> = alert.references.split_whitespace().map(str::to_owned).collect();
        for (index, instance) in std::mem::take(&mut alert.instances).into_iter().enumerate() {
            let Some(route) = route(&instance) else {
                self.emit.refused(format!("{place}, instance {index}"), "its uri is no http(s) address".into());
                continue;
            };
            self.visit(&route)?;
            let mut seen = Observation::new(alert.plugin.as_str(), severity, Locus::Route(route));
            seen.title.clone_from(&alert.name);
            seen.description.clone_from(&alert.description);
            seen.guidance.clone_from(&alert.solution);
            seen.cwes = cwe.into_iter().collect();
            seen.references.clone_from(&references);
            self.emit.finding(seen.bounded())?;
        }
        Ok(())
    }

    /// Says once that the scan was at a place, so that its silence about other families there can be heard.
    fn visit(&mut self, route: &Route) -> Result<(), ReadError> {
        let id = Id::of("visit", &[route.origin.as_bytes(), route.method.as_bytes(), route.path.as_bytes()]);
        if self.visited.contains(&id) {
            return Ok(());
        }
        if self.visited.len() < VISITS_REMEMBERED {
            self.visited.insert(id);
        }
        let seen = RouteSeen {
            method: route.method.clone(),
            origin: route.origin.clone(),
            path: route.path.clone(),
            is_visit: true,
            ..RouteSeen::default()
        };
        self.emit.route(seen)
    }
}

fn severity(risk: &str) -> Option<Severity> {
    match risk {
        "0" => Some(Severity::Info),
        "1" => Some(Severity::Low),
        "2" => Some(Severity::Medium),
        "3" => Some(Severity::High),
        _ => None,
    }
}

fn cwe_of(plugin: &str) -> Option<i32> {
    CWE_OF_PLUGIN.get(plugin).copied()
}

/// The place of an instance. Query and fragment are dropped: values never enter an identity.
fn route(instance: &Instance) -> Option<Route> {
    let url = Url::parse(&instance.uri).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(Route {
        method: instance.method.to_ascii_uppercase(),
        origin: url.origin().ascii_serialization(),
        path: url.path().to_owned(),
        parameter: instance.parameter.clone(),
    })
}

/// `Fri, 18 Jun 2021 09:21:51` as RFC 3339; empty if it is written otherwise. ZAP names no zone, so that it may be off by half a day.
fn generated(text: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time] = words[..] else { return String::new() };
    let month = MONTHS.iter().position(|known| *known == month).map(|at| at + 1);
    month.map(|month| format!("{year}-{month:02}-{day:0>2}T{time}Z")).unwrap_or_default()
}

/// HTML inside the report's text as plain text: tags dropped, a paragraph's end is a new line.
fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text += &rest[..open];
        let tag = &rest[open..];
        let Some(close) = tag.find('>') else {
            rest = tag;
            break;
        };
        if tag.starts_with("</p") || tag.starts_with("<br") {
            text.push('\n');
        }
        rest = &tag[close + 1..];
    }
    text += rest;
    let mut text = text.trim().to_owned();
    cut(&mut text, TEXT_BYTES);
    text
}

fn name_of(start: &BytesStart<'_>) -> String {
    start.local_name().as_ref().to_owned()
}

fn attribute(start: &BytesStart<'_>, name: &str) -> String {
    let value = start.try_get_attribute(name).ok().flatten();
    value.map(|value| value.value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_inside_text_is_dropped_and_a_lone_bracket_is_kept() {
        assert_eq!(plain("<p>One.</p><p>Two &amp; <b>three</b></p>"), "One.\nTwo &amp; three");
        assert_eq!(plain("a < b"), "a < b");
    }

    #[test]
    fn the_table_of_plugins_has_two_numbers_a_line_each_plugin_once() {
        assert_eq!(CWE_OF_PLUGIN.len(), CWE_OF_PLUGIN_TSV.lines().count());
        assert!(CWE_OF_PLUGIN.iter().all(|(plugin, cwe)| plugin.parse::<u32>().is_ok() && *cwe > 0));
        assert_eq!((cwe_of("40018"), cwe_of("1")), (Some(89), None));
    }

    #[test]
    fn a_route_keeps_no_value() {
        let at = |uri: &str| route(&Instance { uri: uri.into(), method: "get".into(), parameter: "q".into() });
        let route = at("https://shop.example:443/a/b?q=secret#f").expect("a route");
        assert_eq!((route.method.as_str(), route.origin.as_str(), route.path.as_str()), ("GET", "https://shop.example", "/a/b"));
        assert!(at("javascript:alert(1)").is_none() && at("").is_none());
    }
}
