//! The register as an OSCAL plan of action and milestones, for tools of compliance.
//!
//! Every entry is a risk of the plan with one item. Left out are drafts, and what was withdrawn or rejected: of these nobody has asked
//! for anything that stands. What was asked for stays in the plan also after its end.
//!
//! OSCAL's status of a risk is about the risk, not about the exception: one that is suspended, expired or revoked leaves its risks open,
//! and that is what the plan says. Nothing here is ever `closed`, since an entry does not know that a risk was repaired. The stage
//! itself stands beside it, as a property in our namespace.
//!
//! Source: OSCAL 1.2.1, models poam, assessment-common and metadata (NIST, public domain).

use std::collections::BTreeSet;

use faultline_model::exception::Stage;
use faultline_model::id::Id;
use faultline_model::register::{Event, RegisterEntry};
use faultline_model::time::Timestamp;
use serde_json::{Value, json};

use super::{assumptions_in_words, owner, response_type, scope_in_words};

/// The version of OSCAL that a document says it is of.
pub const OSCAL_VERSION: &str = "1.2.1";

/// Whose words properties and facets are that OSCAL has no words for.
pub const NAMESPACE: &str = "urn:faultline:risk-register";

/// The times that OSCAL can say; what lies outside stands at the nearer of them.
const FIRST: Timestamp = Timestamp::from_millis(-2_208_988_800_000); // 1900-01-01T00:00:00Z
const LAST: Timestamp = Timestamp::from_millis(32_503_679_999_999); // 2999-12-31T23:59:59.999Z

/// Characters that markup is made of.
const MARKUP: [char; 11] = ['\\', '`', '*', '_', '[', ']', '<', '>', '~', '^', '{'];

/// Roles that people are named in.
const OWNER: &str = "risk-owner";
const REQUESTER: &str = "requester";

const OPEN: &str = "open";
const REQUESTED: &str = "deviation-requested";
const APPROVED: &str = "deviation-approved";

/// What a step is in a risk's log, and what it makes of the risk. Nothing is said of what it makes where it may be about a renewal, which
/// leaves the risk as it is.
const LOGGED: [(&str, &str, Option<&str>); 8] = [
    ("request", "dr-submission", Some(REQUESTED)),
    ("review", "status-update", None),
    ("approve", "dr-approved", Some(APPROVED)),
    ("reject", "dr-rejected", None),
    ("withdraw", "status-update", None),
    ("renew", "dr-updated", None),
    ("revoke", "status-update", Some(OPEN)),
    ("suspended", "status-update", Some(OPEN)),
];

/// The plan of entries as they stand at a time, of the system with that id, with a statement of what it is of. The same entries at the same
/// time give the same document, and an entry has the same UUIDs in every document. None if no entry belongs in a plan: OSCAL has no plan without items.
///
/// A document is in memory at once, with a few kilobytes an entry: who asks bounds how many.
pub fn poam(entries: &[RegisterEntry], system: &str, statement: &str, at: Timestamp) -> Option<Value> {
    let planned: Vec<&RegisterEntry> = entries.iter().filter(|entry| status(entry.stage).is_some()).collect();
    if planned.is_empty() {
        return None;
    }
    let system = line(system).unwrap_or_else(|| "faultline".to_owned());
    let mut document = json!({ "plan-of-action-and-milestones": {
        "uuid": uuid("poam", &[&system, &time(at)]),
        "metadata": {
            "title": markup(&format!("Risk register of {system}")),
            "last-modified": time(at),
            "version": time(at),
            "oscal-version": OSCAL_VERSION,
            "roles": [{ "id": OWNER, "title": "Answers for the risk" }, { "id": REQUESTER, "title": "Asked for the exception" }],
            "parties": parties(&planned),
            "remarks": markup(&format!("{statement} Likelihood, impact and score are in points: 100 more is twice as much.")),
        },
        "system-id": { "id": system },
        "local-definitions": { "assessment-assets": assessment_assets() },
        "observations": planned.iter().filter_map(|entry| observation(entry, at)).collect::<Vec<_>>(),
        "risks": planned.iter().filter_map(|entry| risk(entry, at)).collect::<Vec<_>>(),
        "poam-items": planned.iter().map(|entry| item(entry)).collect::<Vec<_>>(),
    }});
    drop_empty(&mut document);
    Some(document)
}

/// What OSCAL says of a risk at a stage of its exception; none for what is in no plan.
fn status(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Draft | Stage::Rejected | Stage::Withdrawn => None,
        Stage::Requested | Stage::Reviewed => Some(REQUESTED),
        Stage::Approved | Stage::Active | Stage::Expiring => Some(APPROVED),
        Stage::Suspended | Stage::Expired | Stage::Revoked => Some(OPEN),
    }
}

/// The risk that an entry is about.
fn risk(entry: &RegisterEntry, at: Timestamp) -> Option<Value> {
    let terms = &entry.terms;
    let factors: Vec<Value> = terms
        .controls
        .iter()
        .enumerate()
        .map(|(nth, control)| {
            let until = control.ends.map(|ends| format!(" Until {}.", time(ends))).unwrap_or_default();
            let name = line(&control.name).unwrap_or_else(|| "A control".to_owned());
            json!({ "uuid": of_entry("control", entry, &nth.to_string()), "description": markup(&format!("{name}.{until}")) })
        })
        .collect();
    let assumed = assumptions_in_words(&terms.assumptions);
    let assumed = if assumed.is_empty() { String::new() } else { format!(" It assumes: {}.", assumed.join(", ")) };
    Some(json!({
        "uuid": of_entry("risk", entry, ""),
        "title": title(entry),
        "description": reason(entry),
        "statement": markup(&format!("Scope: {}. {}{assumed}", scope_in_words(&terms.scope), covered(entry))),
        "props": risk_props(entry, at),
        "links": terms.evidence.iter().filter(|text| is_address(text)).map(|href| json!({ "href": href, "rel": "reference" })).collect::<Vec<_>>(),
        "status": status(entry.stage)?,
        "characterizations": characterization(entry),
        "mitigating-factors": factors,
        "deadline": time(terms.ends),
        "remediations": [remediation(entry)],
        "risk-log": { "entries": log(entry) },
        "related-observations": related_observations(entry),
    }))
}

/// The item of an entry, with the risk that it is about.
fn item(entry: &RegisterEntry) -> Value {
    let noted: Vec<String> = entry.terms.evidence.iter().filter(|text| !is_address(text)).filter_map(|text| line(text)).collect();
    let requester = party(&entry.requested_by);
    json!({
        "uuid": of_entry("item", entry, ""),
        "title": title(entry),
        "description": reason(entry),
        "props": [ours("exception", &entry.entry.to_string())],
        "origins": requester.map(|uuid| json!([{ "actors": [{ "type": "party", "actor-uuid": uuid, "role-id": REQUESTER }] }])),
        "related-observations": related_observations(entry),
        "related-risks": [{ "risk-uuid": of_entry("risk", entry, "") }],
        "remarks": (!noted.is_empty()).then(|| markup(&format!("Evidence: {}", noted.join("; ")))),
    })
}

/// What is seen of an entry that holds, or that a broken assumption suspended; none of others, of which nothing is counted.
fn observation(entry: &RegisterEntry, at: Timestamp) -> Option<Value> {
    is_observed(entry).then(|| {
        let first = entry.first.iter().map(|risk| format!("\n{} of service {} scores {}.", risk.title, risk.service, risk.score));
        json!({
            "uuid": of_entry("observation", entry, ""),
            "title": title(entry),
            "description": markup(&std::iter::once(covered(entry)).chain(first).collect::<String>()),
            "methods": ["TEST"],
            "types": ["discovery"],
            "origins": [by_us()],
            "collected": time(at),
        })
    })
}

fn is_observed(entry: &RegisterEntry) -> bool {
    entry.stage.holds() || entry.stage == Stage::Suspended
}

fn related_observations(entry: &RegisterEntry) -> Value {
    is_observed(entry).then(|| json!([{ "observation-uuid": of_entry("observation", entry, "") }])).into()
}

/// Whether an entry holds, and what it covers or why it does not.
fn covered(entry: &RegisterEntry) -> String {
    let RegisterEntry { risks, services, contested, highest, .. } = entry;
    match entry.stage {
        stage if stage.holds() => {
            format!("It holds. Risks: {risks}, services: {services}, contested: {contested}, highest score: {highest}.")
        }
        Stage::Suspended => {
            let broke: Vec<String> = entry.broken.iter().map(|broken| format!(" What broke: {}.", broken.because())).collect();
            format!("It is suspended, so its risks are open.{}", broke.concat())
        }
        stage => format!("It does not hold, it is {}.", stage.name()),
    }
}

/// What is our own to say of a risk.
fn risk_props(entry: &RegisterEntry, at: Timestamp) -> Vec<Value> {
    let once = [("stage", entry.stage.name()), ("category", entry.terms.category.name())];
    let assessed = entry.assessment.iter().flat_map(|of| [("weakness", of.category.as_str()), ("completeness", of.completeness.name())]);
    let attention = entry.attention(at).into_iter().map(|why| ("attention", why.name()));
    let broken = entry.broken.iter().map(|broken| ("broken", broken.name()));
    once.into_iter()
        .chain(assessed)
        .chain(attention)
        .chain(broken)
        .map(|(name, value)| ours(name, value))
        .filter(|prop| !prop.is_null())
        .collect()
}

/// How big it is, as we rate it: `initial` is without compensating controls, `adjusted` with them.
fn characterization(entry: &RegisterEntry) -> Value {
    let facet = |name: &str, value: String, state: &str| json!({ "name": name, "system": NAMESPACE, "value": value, "props": [{ "name": "state", "value": state }] });
    let points = |name, value: Option<i32>, state| value.map(|points| facet(name, points.to_string(), state));
    let of = entry.assessment.as_ref();
    let counted = |score| (entry.risks > 0).then_some(score);
    let facets: Vec<Value> = [
        of.and_then(|of| of.priority).map(|band| facet("band", band.name().to_owned(), "initial")),
        points("likelihood", of.and_then(|of| of.likelihood), "initial"),
        points("impact", of.and_then(|of| of.impact), "initial"),
        points("score", counted(entry.inherent), "initial"),
        points("score", counted(entry.residual), "adjusted"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!facets.is_empty()).then(|| json!([{ "origin": by_us(), "facets": facets }])).into()
}

/// What is done about a risk: a plan once it is approved, and a recommendation while it is not, or no longer.
fn remediation(entry: &RegisterEntry) -> Value {
    let response = response_type(entry).name();
    let cost = entry.assessment.as_ref().map_or("", |of| &of.response_cost);
    let mut props = vec![json!({ "name": "type", "value": response })];
    props.extend(Some(ours("cost", cost)).filter(|prop| !prop.is_null()));
    let responsible = party(owner(entry)).map(|uuid| json!([{ "role-id": OWNER, "party-uuids": [uuid] }]));
    let milestone = |name: &str, at: Timestamp| {
        json!({
            "uuid": of_entry("milestone", entry, name),
            "type": "milestone",
            "title": name,
            "timing": { "on-date": { "date": time(at) } },
            "responsible-roles": responsible,
        })
    };
    json!({
        "uuid": of_entry("response", entry, ""),
        "lifecycle": if status(entry.stage) == Some(APPROVED) { "planned" } else { "recommendation" },
        "title": response,
        "description": reason(entry),
        "props": props,
        "tasks": [milestone("Review", entry.terms.review_at), milestone("End", entry.terms.ends)],
    })
}

/// What happened, as far as a time is known.
fn log(entry: &RegisterEntry) -> Vec<Value> {
    let entries = entry.history.iter().enumerate().filter_map(|(nth, event)| {
        let at = time(event.at?);
        let same_before = entry.history[..nth].iter().filter(|other| *other == event).count();
        let logged = LOGGED.iter().find(|(what, ..)| *what == event.what);
        Some(json!({
            "uuid": event_uuid(entry, event, same_before),
            "title": line(&event.what).map(|what| markup(&what)),
            "description": (!event.reason.is_empty()).then(|| markup(&event.reason)),
            "start": at,
            "end": at,
            "props": logged.map(|(_, kind, _)| json!([{ "name": "type", "value": kind }])),
            "logged-by": party(&event.actor).map(|uuid| json!([{ "party-uuid": uuid }])),
            "status-change": logged.and_then(|(.., status)| *status),
        }))
    });
    entries.collect()
}

/// Everybody whom a document names, by name.
fn parties(entries: &[&RegisterEntry]) -> Vec<Value> {
    let actors = |entry: &'_ RegisterEntry| -> Vec<String> {
        entry.history.iter().filter(|event| event.at.is_some()).filter_map(|event| line(&event.actor)).collect()
    };
    let named =
        |entry: &RegisterEntry| [owner(entry), &entry.requested_by].into_iter().filter_map(line).chain(actors(entry)).collect::<Vec<_>>();
    let names: BTreeSet<String> = entries.iter().flat_map(|entry| named(entry)).collect();
    names.iter().map(|name| json!({ "uuid": party(name), "type": "person", "name": name })).collect()
}

/// The UUID of somebody; none for nobody.
fn party(name: &str) -> Option<String> {
    line(name).map(|name| uuid("party", &[&name]))
}

/// This program, as what rates and counts.
fn by_us() -> Value {
    json!({ "actors": [{ "type": "tool", "actor-uuid": uuid("tool", &[]) }] })
}

fn assessment_assets() -> Value {
    json!({
        "components": [{
            "uuid": uuid("tool", &[]),
            "type": "software",
            "title": "Faultline",
            "description": "Joins the findings of scanners into risks, rates them and keeps the risk register.",
            "status": { "state": "operational" },
        }],
        "assessment-platforms": [{
            "uuid": uuid("platform", &[]),
            "title": "Faultline",
            "uses-components": [{ "component-uuid": uuid("tool", &[]) }],
        }],
    })
}

fn title(entry: &RegisterEntry) -> String {
    markup(&line(&entry.terms.title).unwrap_or_else(|| format!("Exception {}", entry.entry)))
}

/// Why; the title where nobody says.
fn reason(entry: &RegisterEntry) -> String {
    if line(&entry.terms.reason).is_none() { title(entry) } else { markup(&entry.terms.reason) }
}

/// A property in our namespace; null where there is nothing to say.
fn ours(name: &str, value: &str) -> Value {
    line(value).map(|value| json!({ "name": name, "ns": NAMESPACE, "value": value })).into()
}

/// A text as one line without spaces around it; none if nothing is left.
fn line(text: &str) -> Option<String> {
    let is_space = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    let words: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    Some(words.join(" ")).filter(|line| !line.is_empty())
}

/// A text for a place where OSCAL reads markup: it says what it says. Control characters become spaces, but for line ends.
fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if MARKUP.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() && c != '\n' { ' ' } else { c });
    }
    escaped
}

fn time(at: Timestamp) -> String {
    at.clamp(FIRST, LAST).to_string()
}

/// Whether a text is an address of the web that can be a link as it is. Those with a name before the host, or with an address of
/// IPv6, are told as text.
fn is_address(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=%".contains(&byte);
    let is_escape = |escape: &str| escape.len() >= 2 && escape.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    !host.is_empty()
        && host.bytes().all(is_host)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && path.bytes().all(is_path)
        && path.split('%').skip(1).all(is_escape)
        && path.matches('#').count() <= 1
}

/// The UUID of something of an entry.
fn of_entry(kind: &str, entry: &RegisterEntry, what: &str) -> String {
    uuid(kind, &[&entry.entry.to_string(), what])
}

/// The UUID of an event: not by its place, since the oldest events drop out of a history.
fn event_uuid(entry: &RegisterEntry, event: &Event, same_before: usize) -> String {
    let Event { what, actor, at, reason } = event;
    let at = at.map(|at| at.millis().to_string()).unwrap_or_default();
    uuid("event", &[&entry.entry.to_string(), what, actor, &at, reason, &same_before.to_string()])
}

/// The UUID of what has a name, the same whenever it is made. OSCAL knows versions 4 and 5 only: this is one of version 5, by a name,
/// whose hash is BLAKE3 in place of SHA-1.
fn uuid(kind: &str, name: &[&str]) -> String {
    let parts: Vec<&[u8]> = name.iter().map(|part| part.as_bytes()).collect();
    let Id(mut bytes) = Id::of(&format!("oscal/{kind}"), &parts);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = Id(bytes).to_string();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Takes away what has nothing in it: OSCAL has no null, no list without elements and no log without entries.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(drop_empty);
            members.retain(|_, member| match member {
                Value::Null => false,
                Value::Array(elements) => !elements.is_empty(),
                Value::Object(members) => !members.is_empty(),
                _ => true,
            });
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_addresses_become_links() {
        for link in ["https://wiki.acme.example/risks/17", "http://localhost:8080", "https://a.example/x?y=%C3%A4&z=1#top"] {
            assert!(is_address(link), "{link}");
        }
        for text in [
            "",
            "RISK-17",
            "javascript:alert(1)",
            "https://",
            "http:///x",
            "https://a.example/ b",
            "https://a:b/",
            "https://a/%zz",
            "https://a/#b#c",
            "https://[::1]/",
            "https://u@a/",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn markup_of_people_is_text() {
        assert_eq!(markup("<b>*x*</b>\t{{ insert: param, y }}\n"), r"\<b\>\*x\*\</b\> \{\{ insert: param, y }}".to_owned() + "\n");
        assert_eq!(line(" \u{feff}a\r\n b\u{0} ").as_deref(), Some("a b"));
        assert_eq!(line("\u{2028}\t"), None);
    }

    #[test]
    fn names_give_uuids_of_version_5() {
        let made = uuid("party", &["dana@acme.example"]);
        assert_eq!(made, uuid("party", &["dana@acme.example"]));
        assert_ne!(made, uuid("tool", &["dana@acme.example"]));
        assert_eq!((made.len(), &made[14..15]), (36, "5"));
        assert!("89ab".contains(&made[19..20]));
    }

    #[test]
    fn times_stay_where_they_can_be_said() {
        assert_eq!(time(Timestamp::from_millis(i64::MIN)), "1900-01-01T00:00:00Z");
        assert_eq!(time(Timestamp::from_millis(i64::MAX)), "2999-12-31T23:59:59.999Z");
    }
}
