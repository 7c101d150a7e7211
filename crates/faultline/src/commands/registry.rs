//! `faultline registry`: the risk register as a list, an entry, a file.

use std::collections::HashSet;

use faultline_model::register::RegisterEntry;
use faultline_model::time::Timestamp;
use faultline_server::doors::{Clock, SystemClock};
use faultline_views::report::{csv::CsvReport, oscal};
use serde_json::{Value, json};

use super::exceptions::told;
use crate::cli::{Common, EntryPage, Format, Registry, Which};
use crate::client::Client;
use crate::commands::{print_json, print_text};
use crate::failure::{Exit, Failure, say_aside};
use crate::show::{Table, counted, short, short_id};

/// What an export asks for at once.
const LARGEST_PAGE: u32 = 500;

pub fn run(common: &Common, command: &Registry) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    match command {
        Registry::List { which, page } => list(common, &client, which, page)?,
        Registry::Show { id } => {
            let entry = client.get(&format!("/v1/exceptions/{id}"), &[])?;
            if common.json {
                print_json(&entry);
            } else {
                print_text(&told::entry(&entry));
            }
        }
        Registry::Export { which, format } => export(&client, which, *format)?,
    }
    client.end()?;
    Ok(Exit::Done)
}

/// A page of entries as the service answers it.
pub(super) fn page(client: &Client, which: &Which, page: &EntryPage) -> Result<Value, Failure> {
    let (Which { stage, node, attention }, EntryPage { limit, cursor }) = (which.clone(), page.clone());
    let given = [("stage", stage), ("node", node), ("attention", attention), ("limit", Some(limit.to_string())), ("cursor", cursor)];
    let query: Vec<(&str, String)> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    client.get("/v1/exceptions", &query)
}

/// All entries as the service answers them, and how many it could not read.
pub(super) fn every(client: &Client, which: &Which) -> Result<(Vec<Value>, u64), Failure> {
    let (mut items, mut seen, mut unreadable) = (Vec::new(), HashSet::new(), 0);
    let mut next = EntryPage { limit: LARGEST_PAGE, cursor: None };
    loop {
        let mut answer = page(client, which, &next)?;
        // One whose end moves between two pages may be on both.
        let come = answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        items.extend(come.into_iter().filter(|item| seen.insert(item["entry"].as_str().unwrap_or_default().to_owned())));
        unreadable += answer["unreadable"].as_u64().unwrap_or(0);
        next.cursor = answer["next"].as_str().map(str::to_owned);
        if next.cursor.is_none() {
            return Ok((items, unreadable));
        }
    }
}

/// Says how many entries the service could not read, if there are any: what is shown is not all.
pub(super) fn tell_unreadable(count: u64) {
    if let Some(left_out) = left_out(count) {
        say_aside(&format!("note: {left_out}"));
    }
}

fn left_out(count: u64) -> Option<String> {
    (count > 0).then(|| format!("{count} left out, as a newer version wrote them"))
}

/// An entry of an answer.
pub(super) fn entry_of(item: &Value) -> Result<RegisterEntry, Failure> {
    serde_json::from_value(item.clone()).map_err(|error| Failure::of(Exit::Failed, &error, "the service is of another version"))
}

fn list(common: &Common, client: &Client, which: &Which, asked: &EntryPage) -> Result<(), Failure> {
    let answer = page(client, which, asked)?;
    if common.json {
        print_json(&answer);
        return Ok(());
    }
    let mut table = Table::new(&[
        "entry",
        "priority",
        ">likelihood",
        ">impact",
        ">inherent",
        ">residual",
        "response",
        "owner",
        "status",
        "ends",
        "attention",
        "risk",
    ]);
    for item in answer["items"].as_array().into_iter().flatten() {
        let entry = entry_of(item)?;
        let attention = item["attention"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let attention: Vec<String> = attention.map(|why| why.replace('_', " ")).collect();
        let assessment = entry.assessment.as_ref();
        let points = |points: Option<i32>| points.map_or_else(|| "-".to_owned(), |points| points.to_string());
        let counts = |score: i32| if entry.risks > 0 { score.to_string() } else { "-".to_owned() };
        table.row([
            short_id(&entry.entry.to_string()),
            assessment.and_then(|assessment| assessment.priority).map_or("-", |band| band.name()).to_owned(),
            points(assessment.and_then(|assessment| assessment.likelihood)),
            points(assessment.and_then(|assessment| assessment.impact)),
            counts(entry.inherent),
            counts(entry.residual),
            assessment.map_or("", |assessment| assessment.response_type.name()).to_owned(),
            short(assessment.map_or("", |assessment| &assessment.owner), 24),
            entry.stage.name().to_owned(),
            entry.terms.ends.date(),
            attention.join(", "),
            short(&entry.terms.title, 48),
        ]);
    }
    print_text(&table.to_string());
    if let Some(next) = answer["next"].as_str() {
        print_text(&format!("there are more: --cursor {next}\n"));
    }
    tell_unreadable(answer["unreadable"].as_u64().unwrap_or(0));
    Ok(())
}

fn export(client: &Client, which: &Which, format: Format) -> Result<(), Failure> {
    let (items, unreadable) = every(client, which)?;
    let at = SystemClock.now();
    let statement = statement(client, which, at, items.len(), unreadable)?;
    match format {
        Format::Json => print_json(&json!({ "statement": statement, "entries": items })),
        Format::Csv => {
            let mut out = CsvReport::new(Vec::new()).map_err(failed)?;
            for item in &items {
                out.entry(&entry_of(item)?, at).map_err(failed)?;
            }
            print_text(&String::from_utf8_lossy(&out.finish().map_err(failed)?));
        }
        Format::Oscal => {
            let entries = items.iter().map(entry_of).collect::<Result<Vec<_>, _>>()?;
            let system = which.node.as_deref().unwrap_or("faultline");
            let plan = oscal::poam(&entries, system, &told_statement(&statement), at).ok_or_else(nothing_fits)?;
            print_json(&plan);
        }
    }
    say_aside(&told_statement(&statement));
    Ok(())
}

fn nothing_fits() -> Failure {
    let what = "no entry was requested or more, and OSCAL has no plan without an item".to_owned();
    Failure::new(Exit::Failed, what, "--format json has all entries")
}

fn failed(error: std::io::Error) -> Failure {
    Failure::of(Exit::Failed, &error, "")
}

/// What an export is of, and what it does not show: how many risks are open.
fn statement(client: &Client, which: &Which, at: Timestamp, entries: usize, unreadable: u64) -> Result<Value, Failure> {
    let node: Vec<(&str, String)> = which.node.iter().map(|node| ("node", node.clone())).collect();
    let summary = client.get("/v1/summary", &node)?;
    let whoami = client.get("/v1/whoami", &[])?;
    Ok(json!({
        "at": at.to_string(),
        "actor": whoami["actor"],
        "stage": which.stage,
        "node": which.node,
        "attention": which.attention,
        "entries": entries,
        "unreadable": unreadable,
        "open_risks": summary["open_by_band"],
    }))
}

fn told_statement(statement: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let bands = ["critical", "high", "medium", "low", "info"];
    let open: Vec<String> = bands.iter().map(|band| format!("{} {band}", number(&statement["open_risks"][*band]))).collect();
    let text = |name: &str| statement[name].as_str();
    let only: Vec<String> = ["stage", "node", "attention"].iter().filter_map(|name| Some(format!("{name} {}", text(name)?))).collect();
    let only = if only.is_empty() { "all that may come to hold, or do".to_owned() } else { format!("only {}", only.join(", ")) };
    let unreadable = left_out(number(&statement["unreadable"])).map_or_else(String::new, |left_out| format!("; {left_out}"));
    format!(
        "{} at {}, as {} may see them ({only}){unreadable}. Risks that are open, whether or not an entry names them: {}.",
        counted(number(&statement["entries"]), "entry", "entries"),
        text("at").unwrap_or_default(),
        text("actor").unwrap_or_default(),
        open.join(", "),
    )
}
