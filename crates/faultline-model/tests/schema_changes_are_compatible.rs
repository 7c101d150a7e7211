//! A schema only ever changes so that every version that was published can be read by every other: full transitive compatibility.
//!
//! To change a schema: edit `schemas/<topic>.avsc`, copy it to `schemas/history/<subject>/<next version>.avsc`, give it the next free id
//! in `schemas/ids.tsv`, and move the id before it to `older` in `src/avro/subjects.rs`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use apache_avro::types::Value as AvroValue;
use faultline_model::avro::{
    AvroError, FINDINGS, INTEL, SUBJECTS, Subject, TopicValue, WriterSchema, decode, decode_written_with, encode, refused,
};
use faultline_model::intel::{EpssScore, IntelRecord};
use faultline_model::record::{EnvelopeError, FindingsRecord};
use faultline_model::testing::scale::{Order, Scale};
use serde_json::{Value, json};

const HOW: &str = "a published schema stays as it is: copy the changed one to schemas/history/<subject>/<next version>.avsc, \
                   give it the next id in schemas/ids.tsv and src/avro/subjects.rs";

fn schemas() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// A published version: id, version, text.
type Published = (u32, u32, String);

/// What `ids.tsv` lists, by subject, the oldest version first.
fn published() -> BTreeMap<String, Vec<Published>> {
    let mut published = BTreeMap::<String, Vec<Published>>::new();
    for line in std::fs::read_to_string(schemas().join("ids.tsv")).unwrap().lines().skip(1) {
        let [id, subject, version, file] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?} has four columns") };
        assert_eq!(file, format!("history/{subject}/{version}.avsc"));
        let text = std::fs::read_to_string(schemas().join(file)).unwrap_or_else(|error| panic!("{file}: {error}; {HOW}"));
        published.entry(subject.to_owned()).or_default().push((id.parse().unwrap(), version.parse().unwrap(), text));
    }
    published
}

/// The fields of a schema by path, with the type of those that are of none of our records.
fn fields(schema: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    match schema {
        Value::Array(branches) => branches.iter().for_each(|branch| fields(branch, path, found)),
        Value::Object(_) if schema["fields"].is_array() => {
            for field in schema["fields"].as_array().unwrap() {
                let path = format!("{path}.{}", field["name"].as_str().unwrap());
                fields(&field["type"], &path, found);
                found.entry(path).or_default();
            }
        }
        Value::Object(_) if schema["items"].is_object() => fields(&schema["items"], &format!("{path}[]"), found),
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Why a schema may not follow another; nothing if it may.
fn refusal(before: &Value, after: &Value) -> Option<String> {
    let [old, new] = [before, after].map(|schema| Schema::parse(schema).unwrap());
    if let Err(error) = SchemaCompatibility::mutual_read(&old, &new) {
        return Some(error.to_string());
    }
    // Avro lets a field with a default go, and a reader of the old version would then see the default for ever. We do not. Nor does it
    // look at logical types, into which a reader of another language turns numbers.
    let mut kept = BTreeMap::new();
    fields(after, "", &mut kept);
    let mut known = BTreeMap::new();
    fields(before, "", &mut known);
    known.into_iter().find(|(path, kind)| kept.get(path) != Some(kind)).map(|(path, _)| format!("{path} is gone or of another type"))
}

#[test]
fn every_version_reads_and_is_read_by_every_other() {
    for (subject, versions) in published() {
        let texts: Vec<Value> = versions.iter().map(|(.., text)| serde_json::from_str(text).unwrap()).collect();
        for (at, after) in texts.iter().enumerate() {
            for before in &texts[..=at] {
                assert_eq!(refusal(before, after), None, "{subject} version {}", at + 1);
            }
        }
    }
}

#[test]
fn the_program_has_every_published_version_and_the_current_one_is_published() {
    let published = published();
    assert_eq!(published.len(), SUBJECTS.len());
    let mut ids: Vec<u32> = published.values().flatten().map(|(id, ..)| *id).collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(1..=ids.len() as u32), "ids are given once, without gaps: {ids:?}");
    for subject in SUBJECTS {
        let versions = &published[subject.name];
        assert!(versions.iter().map(|(_, version, _)| *version).eq(1..=versions.len() as u32), "{} has versions from 1", subject.name);
        let shipped: Vec<(u32, &str)> = subject.versions().map(|version| (version.id, version.text)).collect();
        let listed: Vec<(u32, &str)> = versions.iter().map(|(id, _, text)| (*id, text.as_str())).collect();
        assert!(shipped == listed, "{} was changed: {HOW}", subject.name);
        let files = std::fs::read_dir(schemas().join("history").join(subject.name)).unwrap().count();
        assert_eq!(files, versions.len(), "{}: every file of its history is listed", subject.name);
    }
}

fn current(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The record of that name within a schema.
fn record<'a>(schema: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if schema["name"] == name && schema["fields"].is_array() {
        return Some(schema);
    }
    match schema {
        Value::Array(items) => items.iter_mut().find_map(|item| record(item, name)),
        Value::Object(members) => members.values_mut().find_map(|member| record(member, name)),
        _ => None,
    }
}

fn fields_of<'a>(schema: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    record(schema, name).unwrap()["fields"].as_array_mut().unwrap()
}

/// A schema changed by a hand.
fn changed(text: &str, name: &str, change: impl FnOnce(&mut Vec<Value>)) -> Value {
    let mut schema = current(text);
    change(fields_of(&mut schema, name));
    schema
}

fn field(fields: &mut [Value], name: &str) -> usize {
    fields.iter().position(|field| field["name"] == name).unwrap()
}

#[test]
fn a_renamed_a_removed_a_retyped_and_a_required_field_are_refused() {
    let text = FINDINGS.newest().text;
    let before = current(text);
    let changes: [(&str, Value); 8] = [
        ("a renamed field", changed(text, "Observation", |fields| fields[0]["name"] = json!("rule_id"))),
        ("a removed field", changed(text, "Observation", |fields| drop(fields.remove(1)))),
        (
            "a removed optional field",
            changed(text, "Observation", |fields| {
                let at = field(fields, "stable_id");
                fields.remove(at);
            }),
        ),
        ("a removed kind", changed(text, "Findings", |fields| drop(fields.pop()))),
        (
            "a number that becomes a text",
            changed(text, "Code", |fields| {
                let at = field(fields, "line");
                fields[at]["type"] = json!("string");
            }),
        ),
        (
            "a time that becomes a mere number",
            changed(text, "ScanStarted", |fields| {
                let at = field(fields, "started");
                fields[at]["type"] = json!("long");
            }),
        ),
        (
            "a new field that old writers do not write",
            changed(text, "Code", |fields| fields.push(json!({"name": "language", "type": "string"}))),
        ),
        ("a renamed record", {
            let mut schema = before.clone();
            record(&mut schema, "Cvss").unwrap()["name"] = json!("Rating");
            schema
        }),
    ];
    for (what, after) in changes {
        assert!(refusal(&before, &after).is_some(), "{what} is let through");
    }
    assert_eq!(refusal(&before, &before), None);
}

/// A version of the future: a new kind, a new optional field, a new field with a default.
fn of_tomorrow(text: &str) -> Value {
    let mut schema = changed(text, "Findings", |fields| {
        let body = json!({"type": "record", "name": "Heartbeat", "fields": [{"name": "count", "type": "int"}]});
        fields.push(json!({"name": "heartbeat", "type": ["null", body], "default": null}));
    });
    fields_of(&mut schema, "Observation").push(json!({"name": "language", "type": ["null", "string"], "default": null}));
    fields_of(&mut schema, "Code").insert(1, json!({"name": "module", "type": "string", "default": ""}));
    schema
}

#[test]
fn a_new_kind_and_new_optional_fields_are_let_through_and_break_no_old_reader() {
    let text = FINDINGS.newest().text;
    let tomorrow = of_tomorrow(text);
    assert_eq!(refusal(&current(text), &tomorrow), None);
    let [old, new] = [current(text), tomorrow].map(|schema| Schema::parse(&schema).unwrap());
    let writer: WriterSchema = serde_json::to_string(&of_tomorrow(text)).unwrap().parse().unwrap();
    for record in Scale::new(1, 60).scans().flat_map(|scan| scan.records(Order::Stable)) {
        let bytes = encode(record.clone()).unwrap();
        // What is written today as a program of tomorrow writes it, with its new fields set.
        let resolved = apache_avro::from_avro_datum(&old, &mut &bytes[5..], Some(&new)).unwrap();
        let written = [vec![0, 0, 0, 0, 99], apache_avro::to_avro_datum(&new, resolved).unwrap()].concat();
        assert_eq!(decode_written_with::<FindingsRecord>(&written, &writer).unwrap(), record);
        // Written anew by today's program it is what that would have written.
        assert_eq!(FINDINGS.rewritten(&written, &writer).unwrap(), bytes);
        // And an old reader of another language, which resolves schemas, sees what it saw before.
        let seen = apache_avro::from_avro_datum(&new, &mut &written[5..], Some(&old)).unwrap();
        assert_eq!(apache_avro::to_avro_datum(&old, seen).unwrap(), bytes[5..]);
    }
    let heartbeat = AvroValue::Record(vec![
        ("kind".into(), "heartbeat".into()),
        ("scan_started".into(), none()),
        ("finding".into(), none()),
        ("route".into(), none()),
        ("scan_completed".into(), none()),
        ("heartbeat".into(), AvroValue::Union(1, Box::new(AvroValue::Record(vec![("count".into(), 3.into())])))),
    ]);
    let written = [vec![0, 0, 0, 0, 99], apache_avro::to_avro_datum(&new, heartbeat).unwrap()].concat();
    let refused = decode_written_with::<FindingsRecord>(&written, &writer).unwrap_err();
    assert!(matches!(&refused, AvroError::Envelope(error) if is_newer(error)), "{refused}");
    assert!(matches!(decode::<FindingsRecord>(&written), Err(AvroError::UnknownSchema { id: 99, .. })));
    // A kind that is not known stays one when it is written anew.
    let refused = decode::<FindingsRecord>(&FINDINGS.rewritten(&written, &writer).unwrap()).unwrap_err();
    assert!(matches!(&refused, AvroError::Envelope(error) if is_newer(error)), "{refused}");
}

/// What makes two schemas one for a reader is not their text.
#[test]
fn a_fingerprint_is_that_of_what_the_bytes_say() {
    for subject in SUBJECTS {
        let version = subject.newest();
        let compact = serde_json::from_str::<Value>(version.text).unwrap().to_string();
        assert_eq!(compact.parse::<WriterSchema>().unwrap().fingerprint(), version.fingerprint());
        let is_same = |other: &&&Subject| other.versions().any(|other| other.fingerprint() == version.fingerprint());
        assert_eq!(SUBJECTS.iter().filter(is_same).count(), 1, "{}", subject.name);
    }
    assert_ne!(
        of_tomorrow(FINDINGS.newest().text).to_string().parse::<WriterSchema>().unwrap().fingerprint(),
        FINDINGS.newest().fingerprint()
    );
}

#[test]
fn a_value_that_a_host_refused_says_why() {
    let refused = decode::<FindingsRecord>(&refused("the registry does not know 7"));
    assert!(matches!(&refused, Err(AvroError::Refused { reason }) if reason == "the registry does not know 7"));
}

fn none() -> AvroValue {
    AvroValue::Union(0, Box::new(AvroValue::Null))
}

fn is_newer(error: &EnvelopeError) -> bool {
    error.to_string().contains("a newer program wrote it")
}

/// A log keeps what was written before a field was there. Its schema is by then an older one.
#[test]
fn what_an_older_version_wrote_is_read_with_the_new_fields_at_their_defaults() {
    let before = changed(INTEL.newest().text, "Intel", |fields| {
        let at = field(fields, "aliases");
        fields.remove(at);
    });
    let before = changed(&before.to_string(), "KevEntry", |fields| {
        let at = field(fields, "due");
        fields.remove(at);
    });
    let schema = Schema::parse(&before).unwrap();
    let writer: WriterSchema = before.to_string().parse().unwrap();
    let entry = AvroValue::Record(vec![
        ("name".into(), "Log4Shell".into()),
        ("added".into(), AvroValue::TimestampMillis(1_639_094_400_000)),
        ("ransomware".into(), true.into()),
    ]);
    let written = |kind: &str, kev: AvroValue, epss: AvroValue| {
        let envelope =
            AvroValue::Record(vec![("kind".into(), kind.into()), ("kev".into(), kev), ("epss".into(), epss), ("exploit".into(), none())]);
        [vec![0, 0, 0, 0, 42], apache_avro::to_avro_datum(&schema, envelope).unwrap()].concat()
    };
    let kev = written("kev", AvroValue::Union(1, Box::new(entry)), none());
    let IntelRecord::Kev(kev) = decode_written_with(&kev, &writer).unwrap() else { panic!("a KEV entry") };
    assert_eq!((kev.name.as_str(), kev.due, kev.ransomware), ("Log4Shell", None, true));
    let score = AvroValue::Record(vec![("probability_ppm".into(), 944_000.into())]);
    let epss = written("epss", none(), AvroValue::Union(1, Box::new(score)));
    assert_eq!(decode_written_with::<IntelRecord>(&epss, &writer).unwrap(), IntelRecord::Epss(EpssScore { probability_ppm: 944_000 }));
}

/// The same promise for whatever versions there are by now, so that the first real change is held to it.
#[test]
fn every_published_version_is_read_by_its_id() {
    fn promise<T: TopicValue + std::fmt::Debug + PartialEq>(record: T) {
        let bytes = encode(record.clone()).unwrap();
        let newest = Schema::parse_str(T::subject().newest().text).unwrap();
        for version in T::subject().versions() {
            let older = Schema::parse_str(version.text).unwrap();
            let body = apache_avro::from_avro_datum(&newest, &mut &bytes[5..], Some(&older)).unwrap();
            let body = apache_avro::to_avro_datum(&older, body).unwrap();
            let written = [vec![0], version.id.to_be_bytes().to_vec(), body].concat();
            assert!(decode::<T>(&written).is_ok(), "{} {}", T::subject().name, version.id);
        }
    }
    let scale = Scale::new(3, 20);
    scale.scans().flat_map(|scan| scan.records(Order::Stable)).for_each(promise);
    scale.catalog().for_each(|(_, record)| promise(record));
    scale.intel().for_each(|(_, record)| promise(record));
}
