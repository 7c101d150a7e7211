//! The schemas and their examples as an outsider reads them: every field says what it means and shows a value, every kind of record
//! has an example, and every example is a record.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use apache_avro::Schema;
use faultline_model::access::AccessRecord;
use faultline_model::audit::{Act, AuditEntry};
use faultline_model::avro::{SUBJECTS, Subject, TopicValue, decode, encode, schema_id};
use faultline_model::catalog::CatalogRecord;
use faultline_model::dead_letter::DeadLetter;
use faultline_model::decision::{Decision, Outcome};
use faultline_model::exception::{Held, StepRecord};
use faultline_model::intel::IntelRecord;
use faultline_model::notice::{Delivery, Notice};
use faultline_model::record::FindingsRecord;
use faultline_model::register::RegisterEntry;
use faultline_model::risk::{Factor, Risk, id_of};
use faultline_model::share::Share;
use faultline_model::ticket::TicketRecord;
use faultline_model::topic;
use faultline_model::tracked::{TrackedFinding, TrackedRecord};
use serde_json::Value;

fn schemas() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// The examples of a topic: file name without `.json`, and content.
fn examples(topic: &str) -> BTreeMap<String, Value> {
    let mut examples = BTreeMap::new();
    for entry in std::fs::read_dir(schemas().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == topic || name.starts_with(&format!("{topic}.")) {
            examples.insert(name, serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
    examples
}

/// Visits every field of every record of a schema: path, record, field.
fn fields(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value, &Value)) {
    for field in schema["fields"].as_array().into_iter().flatten() {
        let path = format!("{path}.{}", field["name"].as_str().unwrap());
        visit(&path, schema, field);
        fields(&field["type"], &path, visit);
    }
    schema.as_array().into_iter().flatten().for_each(|branch| fields(branch, path, visit));
    if schema["items"].is_object() {
        fields(&schema["items"], path, visit);
    }
}

/// The type without null.
fn not_null(kind: &Value) -> &Value {
    kind.as_array().map_or(kind, |branches| branches.iter().find(|branch| *branch != "null").unwrap())
}

/// Whether a field's value is shown in its doc: not for what is true or false, nor for what has fields of its own, nor for bytes.
fn is_shown(kind: &Value) -> bool {
    let kind = not_null(kind);
    let item = if kind["type"] == "array" { &kind["items"] } else { kind };
    // A name stands for a record that was written out before.
    let is_primitive = ["string", "int", "long"].iter().any(|name| item == name || item["type"] == *name);
    is_primitive && kind != "boolean"
}

fn is_of(value: &Value, kind: &Value) -> bool {
    let kind = not_null(kind);
    match kind {
        Value::String(name) => match name.as_str() {
            "string" => value.is_string(),
            "int" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            _ => value.is_i64(),
        },
        _ if kind["type"] == "array" => value.as_array().is_some_and(|items| items.iter().all(|item| is_of(item, &kind["items"]))),
        _ => is_of(value, &kind["type"]),
    }
}

#[test]
fn every_field_says_what_it_means_and_shows_a_value_that_fits() {
    let mut docs = BTreeMap::<String, String>::new();
    for subject in SUBJECTS {
        let schema: Value = serde_json::from_str(subject.newest().text).unwrap();
        assert_eq!(schema["namespace"], "dev.faultline", "{}", subject.name);
        fields(&schema, subject.name, &mut |path, record, field| {
            assert!(record["doc"].as_str().is_some_and(|doc| doc.len() > 10), "the record of {path} has no doc");
            let doc = field["doc"].as_str().unwrap_or_default();
            assert!(doc.len() > 10 && doc.ends_with('.'), "{path} has no doc");
            for word in ["None", "Some(", "`", "Vec<", "::<"] {
                assert!(!doc.contains(word), "{path} speaks Rust: {word}");
            }
            if is_shown(&field["type"]) {
                let (_, example) = doc.split_once(" Example: ").unwrap_or_else(|| panic!("{path} shows no value"));
                let value = serde_json::from_str(example.trim_end_matches('.')).unwrap_or_else(|_| panic!("{path}: {example} is no value"));
                assert!(is_of(&value, &field["type"]), "{path}: {example} is of another type");
            }
            let is_time = not_null(&field["type"])["logicalType"] == "timestamp-millis";
            assert!(!is_time || doc.contains("milliseconds since 1970-01-01T00:00:00Z"), "{path} names no unit");
            // The same record in two schemas has the same words.
            let name = format!("{}.{}", record["name"].as_str().unwrap(), field["name"].as_str().unwrap());
            assert_eq!(docs.entry(name).or_insert_with(|| doc.to_owned()), doc, "{path}");
        });
    }
}

/// What an example leaves out is null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, without_nulls(value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn records<T: TopicValue>(topic: &str) -> BTreeMap<String, T> {
    let mut records = BTreeMap::new();
    for (name, json) in examples(topic) {
        let body: T::Body = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let record = T::from_body(body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = encode(record).unwrap();
        let again = decode::<T>(&bytes).unwrap();
        let shown = without_nulls(serde_json::to_value(T::Body::from(again.clone())).unwrap());
        assert_eq!(shown, json, "{name}: every member of the example is a field, and no field is missing");
        let id = schema_id(&bytes).unwrap();
        let version = T::subject().versions().find(|version| version.id == id).unwrap();
        let schema = Schema::parse_str(version.text).unwrap();
        let value = apache_avro::from_avro_datum(&schema, &mut &bytes[5..], None).unwrap();
        assert!(value.validate(&schema), "{name}");
        records.insert(name, again);
    }
    records
}

#[test]
fn every_example_is_a_record_of_its_topic() {
    let counts = [
        records::<FindingsRecord>("findings").len(),
        records::<TrackedRecord>("tracked").len(),
        records::<CatalogRecord>("catalog").len(),
        records::<IntelRecord>("intel").len(),
        records::<Decision>("decisions").len(),
        records::<Risk>("risks").len(),
        records::<Outcome>("outcomes").len(),
        records::<DeadLetter>("dead-letters").len(),
        records::<AccessRecord>("access").len(),
        records::<Act>("acts").len(),
        records::<AuditEntry>("audit").len(),
        records::<StepRecord>("steps").len(),
        records::<Share>("shares").len(),
        records::<Held>("exceptions").len(),
        records::<RegisterEntry>("risk-registry").len(),
        records::<TicketRecord>("tickets.desired").len(),
        records::<Notice>("notices").len(),
        records::<Delivery>("deliveries").len(),
    ];
    let files = std::fs::read_dir(schemas().join("examples")).unwrap().count();
    assert_eq!(counts.iter().sum::<usize>(), files, "every file of examples is of a topic");
}

fn kind_of(value: &Value) -> Option<&str> {
    value["kind"].as_str()
}

#[test]
fn every_topic_every_kind_and_every_kind_of_place_has_an_example() {
    for topic in topic::ALL {
        let subject = Subject::of_topic(topic.name).unwrap();
        let shown = examples(subject.topic());
        assert!(!shown.is_empty(), "{} has no example", topic.name);
        let schema: Value = serde_json::from_str(subject.newest().text).unwrap();
        // A kind has a body of its name, or is the one that its doc says has none.
        let kinds: BTreeSet<&str> =
            shown.values().filter_map(|example| kind_of(example).or(kind_of(&example["what"])).or(kind_of(&example["step"]))).collect();
        let envelope = match topic {
            topic::DECISIONS => not_null(&schema["fields"][5]["type"]),
            topic::STEPS => not_null(&schema["fields"][6]["type"]),
            _ => &schema,
        };
        for body in envelope["fields"].as_array().unwrap().iter().skip(1).filter(|_| envelope["fields"][0]["name"] == "kind") {
            assert!(kinds.contains(body["name"].as_str().unwrap()), "{} has no example of kind {}", topic.name, body["name"]);
        }
        for kind in kinds {
            let file = format!("{}.{kind}", subject.topic());
            assert!(shown.keys().any(|name| *name == file || name.starts_with(&format!("{file}."))), "{file} names its kind");
        }
    }
    let places: BTreeSet<String> = examples("findings")
        .values()
        .filter_map(|example| example["finding"]["observation"]["locus"]["kind"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(places, BTreeSet::from(["code", "host", "package", "resource", "route", "secret"].map(str::to_owned)));
}

#[test]
fn the_examples_tell_one_story() {
    let tracked = records::<TrackedRecord>("tracked");
    let TrackedRecord::Finding(finding) = &tracked["tracked.finding"] else { panic!("tracked.finding is a finding") };
    assert_eq!(finding.fingerprint, faultline_model::fingerprint::fingerprint(&finding.tool, &finding.observation));
    assert_eq!(finding.finding, TrackedFinding::id_of(&finding.asset, finding.fingerprint));
    let risk = &records::<Risk>("risks")["risks"];
    assert_eq!(risk.founder, finding.finding);
    assert_eq!(risk.risk, id_of(&risk.service, risk.founder));
    assert_eq!(risk.score.contributions.iter().map(|part| part.points).sum::<i32>(), risk.score.total);
    let factors: Vec<Factor> = risk.score.contributions.iter().map(|part| part.factor).collect();
    assert!(factors.len() == 10 && factors.is_sorted(), "every factor, in order");
    for outcome in records::<Outcome>("outcomes").values() {
        let Some(counts) = outcome.counts else { continue };
        assert_eq!(counts.observed, counts.new + counts.known + counts.refused);
    }
}
