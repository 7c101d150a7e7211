//! `faultline findings list`.

use faultline_model::locus::Locus;
use faultline_model::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::{Common, FindingFilter, Findings};
use crate::client::Client;
use crate::commands::{note, note_unheard, print_json, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{Table, place, short, short_id};

pub fn run(common: &Common, command: &Findings) -> Result<Exit, Failure> {
    let Findings::List(filter) = command;
    let client = Client::connect(common)?;
    let answer = client.get("/v1/findings", &query(filter))?;
    if common.json {
        client.end()?;
        print_json(&answer);
        return Ok(Exit::Done);
    }
    note_unheard(common, &client, &answer, [("service", filter.service.as_deref()), ("tool", filter.tool.as_deref())])?;
    client.end()?;
    let mut table = Table::new(&["severity", "state", "tool", "service", "title", "where", "last seen", "id"]);
    for item in answer["items"].as_array().into_iter().flatten() {
        table.row(row(item));
    }
    print_text(&table.to_string());
    if let Some(count) = answer["total"]["count"].as_u64() {
        note(common, &format!("{count} in all"));
    }
    if let Some(next) = answer["next"].as_str() {
        note(common, &format!("more with --cursor {next}"));
    }
    Ok(Exit::Done)
}

fn query(filter: &FindingFilter) -> Vec<(&'static str, String)> {
    let texts = [
        ("state", &filter.state),
        ("severity", &filter.severity),
        ("service", &filter.service),
        ("asset", &filter.asset),
        ("tool", &filter.tool),
        ("rule", &filter.vulnerability),
        ("cursor", &filter.cursor),
    ];
    let mut query: Vec<_> = texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    query.push(("limit", filter.limit.to_string()));
    query
}

fn row(item: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let seen = &item["observation"];
    let locus = Locus::deserialize(&seen["locus"]).map(|locus| place(&locus)).unwrap_or_default();
    // What a person says, else the tool.
    let given = &item["severity"]["severity"];
    vec![
        text(if given.is_null() { &seen["severity"] } else { given }),
        text(&item["state"]),
        text(&item["tool"]),
        short(&text(&item["service"]), 24),
        short(&text(&seen["title"]), 48),
        short(&locus, 56),
        Timestamp::deserialize(&item["last_seen"]).map(Timestamp::date).unwrap_or_default(),
        short_id(&text(&item["finding"])),
    ]
}
