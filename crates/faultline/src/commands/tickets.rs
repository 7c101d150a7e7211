//! `faultline tickets plan`: what a ticket policy would do, before anything is sent.

use std::fmt::Write;
use std::path::Path;

use axum::http::Method;
use serde_json::Value;

use crate::cli::{Common, Tickets};
use crate::client::{Body, Client, no_file};
use crate::commands::{print_json, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{Table, clean, counted, short};

pub fn run(common: &Common, command: &Tickets) -> Result<Exit, Failure> {
    let Tickets::Plan { file } = command;
    let text = file.as_deref().map(read).transpose()?;
    let client = Client::connect(common)?;
    let answer = match text {
        Some(text) => client.send(&Method::POST, "/v1/tickets/plan", &[], Body::Text(text))?,
        None => client.get("/v1/tickets/plan", &[])?,
    };
    client.end()?;
    if common.json {
        print_json(&answer);
    } else {
        print_text(&told(&answer));
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| no_file(path, &error))
}

fn told(answer: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let or_dash = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut text = format!("policy {}, mode {}; a plan sends nothing\n\n", clean(&word(&answer["version"])), clean(&word(&answer["mode"])));
    let mut queues = Table::new(&["queue", "site", "project", ">tickets", ">held back", ">days", ">risks"]);
    for queue in list(&answer["queues"]) {
        let counts = [number(&queue["tickets"]).to_string(), number(&queue["held_back"]).to_string()];
        let names = ["queue", "site", "project"].map(|name| short(&word(&queue[name]), 32));
        queues.row(names.into_iter().chain(counts).chain([or_dash(&queue["days"]), number(&queue["risks"]).to_string()]));
    }
    let mut rules = Table::new(&["rule", "queue", ">risks", ">tickets"]);
    for rule in list(&answer["rules"]) {
        let queue = rule["queue"].as_str().unwrap_or("none").to_owned();
        rules.row([short(&word(&rule["rule"]), 48), queue, number(&rule["risks"]).to_string(), number(&rule["tickets"]).to_string()]);
    }
    // Writing into a String cannot fail.
    let _ = write!(text, "{queues}\n{rules}");
    let _ = writeln!(text, "{} without a rule", counted(number(&answer["without_rule"]), "open risk", "open risks"));
    for queue in list(&answer["queues"]) {
        let first = list(&queue["first"]);
        if first.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\nfirst in {}", clean(&word(&queue["queue"])));
        for ticket in first {
            let services: Vec<String> = list(&ticket["services"]).iter().map(&word).collect();
            let _ = writeln!(
                text,
                "  {:>4}  {}  ({} in {})",
                ticket["score"].as_i64().unwrap_or(0),
                short(&word(&ticket["what"]), 64),
                counted(number(&ticket["risks"]), "risk", "risks"),
                short(&services.join(", "), 64)
            );
        }
    }
    text
}
