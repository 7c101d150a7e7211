//! What the register says can be read by a spreadsheet, which runs nothing of it, and by tools that know OSCAL.

#![allow(clippy::unwrap_used)] // what fails here fails the test

use std::collections::BTreeSet;

use boon::{Compiler, SchemaIndex, Schemas};
use faultline_model::exception::{Control, Stage};
use faultline_model::register::RegisterEntry;
use faultline_model::testing::records::register_entries;
use faultline_model::time::Timestamp;
use faultline_views::report::csv::CsvReport;
use faultline_views::report::oscal;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

const CSV: &str = include_str!("data/register.csv");
const POAM: &str = include_str!("data/oscal/poam.json");
const SCHEMA: &str = include_str!("data/oscal/poam.schema.json");

const NOW: Timestamp = Timestamp::from_millis(1_763_100_000_000);
/// What a plan is of, with what is markup.
const SAID: &str = "2 entries, as *dana_smith_x* may see them.";

/// What no cell may begin with, other than a number of ours.
const DANGEROUS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// An exception that holds, and one that an assumption suspended; its people write like nobody should.
fn pair() -> [RegisterEntry; 2] {
    let log4j = json!({
        "entry": "0f3c9a1be2d47c5588f06b1d2a9e4c77",
        "stage": "active",
        "terms": {
            "title": "Log4j on the batch hosts",
            "scope": { "vulnerability": "CVE-2021-44228", "within": ["retail", "service/shop"] },
            "category": "mitigated",
            "reason": "The vendor has no version without it.",
            "controls": [{ "name": "Egress of the batch hosts is closed", "ends": 1_790_000_000_000_i64 }],
            "assumptions": { "not_internet_facing": true, "not_in_kev": false, "score_at_most": 700, "controls_in_place": true },
            "evidence": ["https://wiki.acme.example/risks/17", "RISK-17"],
            "review_at": 1_763_000_000_000_i64,
            "ends": 1_767_000_000_000_i64,
            "covers_at_most": 20,
        },
        "version": 4,
        "authors": ["ana@acme.example"],
        "requested_by": "ana@acme.example",
        "reviewed_by": "ben@acme.example",
        "approved_by": "cem@acme.example",
        "approved_at": 1_760_000_200_003_i64,
        "broken": [],
        "possible": ["revoke", "renew"],
        "risks": 2,
        "services": 1,
        "contested": 0,
        "residual": 580,
        "inherent": 680,
        "highest": 480,
        "first": [{ "risk": "2d20f0a17c3e4b9586d1a2b3c4d5e6f7", "service": "shop", "title": "CVE-2021-44228 in log4j-core", "score": 480, "broken": [] }],
        "history": [
            { "what": "propose", "actor": "ana@acme.example", "at": 1_760_000_200_000_i64, "reason": "" },
            { "what": "request", "actor": "ana@acme.example", "at": 1_760_000_200_001_i64, "reason": "" },
            { "what": "review", "actor": "ben@acme.example", "at": 1_760_000_200_002_i64, "reason": "Looked over with the vendor." },
            { "what": "approve", "actor": "cem@acme.example", "at": 1_760_000_200_003_i64, "reason": "Egress was tested." },
        ],
        "assessment": {
            "priority": "medium",
            "category": "vulnerable-component",
            "likelihood": 330,
            "impact": 250,
            "response_type": "mitigate",
            "response_cost": "2 person days a month",
            "owner": "dana@acme.example",
            "is_owner_named": true,
            "completeness": "counted",
        },
    });
    let legacy = json!({
        "entry": "9b6d2f40c1a84e3f8c7722aa10fe5d31",
        "stage": "suspended",
        "terms": {
            "title": "=HYPERLINK(\"https://evil.example\";\"Legacy *gateway*\")",
            "scope": { "asset": "gateway.acme.example", "family": "sql-injection" },
            "category": "accept",
            "reason": "Goes away in spring, \"for sure\";\nuntil then nobody touches it.",
            "controls": [],
            "assumptions": { "not_internet_facing": true, "not_in_kev": true },
            "evidence": ["@ticket 9"],
            "starts": 1_761_000_000_000_i64,
            "review_at": 1_764_000_000_000_i64,
            "ends": 1_768_000_000_000_i64,
            "covers_at_most": 3,
        },
        "version": 5,
        "authors": ["ana@acme.example", "eve@acme.example"],
        "requested_by": "eve@acme.example",
        "reviewed_by": "ben@acme.example",
        "approved_by": "cem@acme.example",
        "approved_at": 1_760_900_000_000_i64,
        "broken": ["internet_facing"],
        "possible": ["request", "revoke"],
        "risks": 0,
        "services": 0,
        "contested": 0,
        "residual": 0,
        "inherent": 0,
        "highest": 0,
        "first": [],
        "history": [
            { "what": "approve", "actor": "cem@acme.example", "at": 1_760_900_000_000_i64, "reason": "" },
            { "what": "suspended", "actor": "", "reason": "" },
        ],
    });
    [log4j, legacy].map(|entry| serde_json::from_value(entry).unwrap())
}

fn csv_of(entries: &[RegisterEntry]) -> String {
    let mut report = CsvReport::new(Vec::new()).unwrap();
    for entry in entries {
        report.entry(entry, NOW).unwrap();
    }
    String::from_utf8(report.finish().unwrap()).unwrap()
}

/// The rows of a report, the header first, as a reader sees them that is not forgiving about their length.
fn rows(report: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(report.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn cell<'a>(rows: &'a [Vec<String>], row: usize, column: &str) -> &'a str {
    let at = rows[0].iter().position(|name| name == column).unwrap();
    &rows[row][at]
}

#[test]
fn the_table_of_two_entries_is_known() {
    assert_eq!(csv_of(&pair()), CSV);
}

#[test]
fn the_plan_of_two_entries_is_known() {
    let plan = oscal::poam(&pair(), "acme", SAID, NOW).unwrap();
    assert_eq!(plan, serde_json::from_str::<Value>(POAM).unwrap(), "{plan:#}");
}

#[test]
fn what_nobody_asked_for_is_in_no_plan() {
    let [entry, _] = pair();
    let items = |stage| oscal::poam(&[RegisterEntry { stage, ..entry.clone() }], "acme", SAID, NOW).is_some();
    let left_out: Vec<Stage> = Stage::ALL.into_iter().filter(|stage| !items(*stage)).collect();
    assert_eq!(left_out, [Stage::Draft, Stage::Rejected, Stage::Withdrawn]);
    assert_eq!(oscal::poam(&[], "acme", SAID, NOW), None);
}

/// The schema of OSCAL's model, with formats taken at their word.
struct Model {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Model {
    fn read() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource("https://oscal.example/poam.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let index = compiler.compile("https://oscal.example/poam.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn judge(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|error| format!("{error:#}"))
    }
}

#[test]
fn the_schema_refuses_what_is_not_of_the_model() {
    let model = Model::read();
    let plan = oscal::poam(&pair(), "acme", SAID, NOW).unwrap();
    model.judge(&plan).unwrap();
    for (path, wrong) in [
        ("/plan-of-action-and-milestones/uuid", json!("00000000-0000-8000-8000-000000000000")),
        ("/plan-of-action-and-milestones/metadata/last-modified", json!("yesterday")),
        ("/plan-of-action-and-milestones/risks/0/title", json!("two\nlines")),
        ("/plan-of-action-and-milestones/poam-items", json!([])),
        ("/plan-of-action-and-milestones/system-id", json!({ "id": "acme", "name": "acme" })),
    ] {
        let mut plan = plan.clone();
        *plan.pointer_mut(path).unwrap() = wrong;
        assert!(model.judge(&plan).is_err(), "{path}");
    }
}

/// Every value under a name that ends so, with the UUIDs that are made (`uuid`) apart from those that are referred to.
fn uuids(value: &Value, made: &mut Vec<String>, referred: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("uuid", Value::String(uuid)) => made.push(uuid.clone()),
                    ("party-uuids", Value::Array(parties)) => referred.extend(parties.iter().map(|uuid| uuid.as_str().unwrap().to_owned())),
                    (name, Value::String(uuid)) if name.ends_with("-uuid") => drop(referred.insert(uuid.clone())),
                    _ => uuids(member, made, referred),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| uuids(element, made, referred)),
        _ => {}
    }
}

/// Texts that mean harm to a spreadsheet, or could.
fn nasty() -> impl Strategy<Value = String> + Clone {
    let begins = "[ \"'“\u{a0}\u{3000}\u{feff}]{0,3}[=+@\\-\t\r\n＝＋－＠]?";
    prop_oneof![
        2 => (begins, any::<String>()).prop_map(|(begins, rest)| begins + &rest),
        1 => Just("=cmd|' /C calc'!A0".to_owned()),
        1 => "[a-z,;\"'\n\r\t=+@ -]{0,12}",
        1 => any::<String>(),
    ]
}

fn nasty_entries() -> impl Strategy<Value = RegisterEntry> {
    let texts = (nasty(), nasty(), nasty(), nasty(), nasty());
    (register_entries(), texts, vec(nasty(), 0..3), vec(nasty(), 0..3)).prop_map(|(mut entry, texts, evidence, names)| {
        let (title, reason, owner, cost, person) = texts;
        entry.terms.title = title;
        entry.terms.reason = reason;
        entry.terms.evidence = evidence;
        entry.terms.controls = names.iter().map(|name| Control { name: name.clone(), ends: None }).collect();
        entry.authors = names;
        entry.requested_by.clone_from(&person);
        entry.approved_by = person;
        if let Some(assessment) = &mut entry.assessment {
            (assessment.owner, assessment.response_cost) = (owner, cost);
        }
        entry
    })
}

/// Whether a text begins with none of what is dangerous, once what a spreadsheet may pass over is gone.
fn is_harmless(text: &str) -> bool {
    let passed_over = ['"', '\'', '“', '\u{feff}', '\u{200b}', '\u{a0}', '\u{3000}', ' '];
    !text.starts_with(DANGEROUS) && !text.trim_start_matches(passed_over).starts_with(DANGEROUS)
}

const NUMBERS: [&str; 10] =
    ["likelihood", "impact", "exposure_rating", "residual", "risks", "services", "contested", "highest", "covers_at_most", "version"];

proptest! {
    /// Whatever people and scanners write, a spreadsheet shows it and runs nothing.
    #[test]
    fn no_cell_is_a_formula(entries in vec(nasty_entries(), 1..4)) {
        let written = csv_of(&entries);
        let rows = rows(&written);
        prop_assert_eq!(rows.len(), entries.len() + 1);
        for row in &rows {
            prop_assert_eq!(row.len(), rows[0].len());
            for (name, cell) in rows[0].iter().zip(row) {
                if NUMBERS.contains(&name.as_str()) && cell != name {
                    prop_assert!(cell.is_empty() || cell.parse::<i32>().is_ok(), "{}: {:?}", name, cell);
                } else {
                    let begins = cell.trim_start_matches([' ', '"']);
                    prop_assert!(!cell.starts_with(DANGEROUS) && !begins.starts_with(DANGEROUS), "{}: {:?}", name, cell);
                }
                prop_assert!(cell.chars().all(|c| !c.is_control() || c == '\n'), "{}: {:?}", name, cell);
            }
        }
    }

    /// What begins with nothing dangerous is kept as it is.
    #[test]
    fn harmless_texts_are_kept(entry in nasty_entries()) {
        let rows = rows(&csv_of(std::slice::from_ref(&entry)));
        let cost = entry.assessment.as_ref().map_or("", |assessment| &assessment.response_cost);
        for (column, text) in [("title", entry.terms.title.as_str()), ("requested_by", &entry.requested_by), ("response_cost", cost)] {
            let written = cell(&rows, 1, column);
            let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
            prop_assert!(written == plain || written == format!("'{plain}"), "{:?}", written);
            if text.starts_with(|c: char| c.is_alphanumeric()) || is_harmless(text) && text.chars().all(|c| c.is_ascii() && !c.is_control()) {
                prop_assert_eq!(written, plain);
            }
        }
    }

    /// A plan of whatever is in the register is a plan by OSCAL's own model, and refers to nothing that it lacks.
    #[test]
    fn every_plan_is_of_the_model(entries in vec(prop_oneof![register_entries(), nasty_entries()], 1..4), system in any::<String>(), said in any::<String>()) {
        thread_local!(static MODEL: Model = Model::read());
        let Some(plan) = oscal::poam(&entries, &system, &said, NOW) else {
            prop_assert!(entries.iter().all(|entry| matches!(entry.stage, Stage::Draft | Stage::Rejected | Stage::Withdrawn)));
            return Ok(());
        };
        let again = oscal::poam(&entries, &system, &said, NOW);
        prop_assert_eq!(again.as_ref(), Some(&plan));
        let judged = MODEL.with(|model| model.judge(&plan));
        prop_assert_eq!(judged, Ok(()), "{:#}", plan);
        let (mut made, mut referred) = (Vec::new(), BTreeSet::new());
        uuids(&plan, &mut made, &mut referred);
        let distinct: BTreeSet<String> = made.iter().cloned().collect();
        let ids: BTreeSet<_> = entries.iter().map(|entry| entry.entry).collect();
        if ids.len() == entries.len() {
            prop_assert_eq!(distinct.len(), made.len(), "{:#}", plan);
        }
        prop_assert!(referred.is_subset(&distinct), "{:#}", plan);
    }
}
