//! `faultline dlq`: what was refused, and the way back.

use std::collections::BTreeSet;

use axum::http::Method;
use faultline_server::doors::{LetterId, LetterIdError};
use serde_json::{Value, json};

use crate::cli::{Common, Dlq, Redrive};
use crate::client::{Body, Client};
use crate::commands::{confirmed, note, print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{Table, clean, counted, short};

/// How many letters are asked for, or ordered, at once.
const PAGE: usize = 500;
/// How much of a key and of a reason a list shows.
const KEY_SHOWN: usize = 40;
const REASON_SHOWN: usize = 100;

pub fn run(common: &Common, command: &Dlq) -> Result<Exit, Failure> {
    match command {
        Dlq::List { topic, stage, limit } => list(common, topic.as_deref(), stage.as_deref(), *limit as usize),
        Dlq::Show { id } => show(common, id),
        Dlq::Redrive(arguments) => redrive(common, arguments),
    }
}

fn list(common: &Common, topic: Option<&str>, stage: Option<&str>, limit: usize) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let letters = letters(&client, topic, stage, limit)?;
    client.end()?;
    if common.json {
        print_json(&json!({ "items": letters }));
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["id", "time", "stage", "from", ">redriven", "key", "reason"]);
    for letter in &letters {
        let text = |member: &str| letter[member].as_str().unwrap_or_default();
        table.row([
            text("id").to_owned(),
            text("time").to_owned(),
            text("stage").to_owned(),
            from(letter),
            letter["redriven"].to_string(),
            short(text("key"), KEY_SHOWN),
            short(text("reason"), REASON_SHOWN),
        ]);
    }
    print_text(&table.to_string());
    Ok(Exit::Done)
}

fn show(common: &Common, id: &str) -> Result<Exit, Failure> {
    let id = read(id)?;
    let client = Client::connect(common)?;
    let letter = client.get(&format!("/v1/dead-letters/{id}"), &[])?;
    client.end()?;
    if common.json {
        print_json(&letter);
        return Ok(Exit::Done);
    }
    let text = |member: &str| clean(letter[member].as_str().unwrap_or_default());
    let mut lines = vec![
        ("letter", text("id")),
        ("time", text("time")),
        ("stage", text("stage")),
        ("from", from(&letter)),
        ("key", text("key")),
        ("reason", text("reason")),
        ("size", counted(letter["value_bytes"].as_u64().unwrap_or(0), "byte", "bytes")),
        ("redriven", counted(letter["redriven"].as_u64().unwrap_or(0), "time", "times")),
    ];
    if letter["came_back"].is_string() {
        lines.push(("then", format!("redriven and refused again, as {}", text("came_back"))));
    }
    for header in letter["headers"].as_array().into_iter().flatten() {
        let part = |at: usize| clean(header[at].as_str().unwrap_or_default());
        lines.push(("header", format!("{}: {}", part(0), part(1))));
    }
    for (name, value) in lines {
        print_line(format!("{name:<10} {value}").trim_end());
    }
    if letter["unreadable"].is_string() {
        let more = if letter["is_cut"] == true { "…" } else { "" };
        print_line(&format!("value      cannot be read: {}", text("unreadable")));
        print_line(format!("bytes      {}{more}", text("hex")).trim_end());
    } else {
        print_line(&format!("value      {:#}", letter["value"]));
    }
    Ok(Exit::Done)
}

fn redrive(common: &Common, arguments: &Redrive) -> Result<Exit, Failure> {
    let named: Vec<LetterId> = arguments.ids.iter().map(|id| read(id)).collect::<Result<_, _>>()?;
    let client = Client::connect(common)?;
    let ids = match (&arguments.topic, arguments.all) {
        (Some(topic), true) => all(&client, topic, arguments.force)?,
        _ => named.iter().map(ToString::to_string).collect(),
    };
    if arguments.all && !arguments.dry_run && !arguments.yes && !ids.is_empty() {
        let count = counted(ids.len() as u64, "record", "records");
        if !confirmed(&format!("append {count} again?")) {
            client.end()?;
            return Err(Failure::new(Exit::WrongUse, "nothing was redriven", "say --yes to do it without being asked"));
        }
    }
    let answer = order(&client, ids, arguments)?;
    if !arguments.dry_run {
        client.settle(&mut |_| ())?;
    }
    client.end()?;
    Ok(tell(common, &answer, arguments.dry_run))
}

/// Orders part after part. What was done before one fails is told in the failure.
fn order(client: &Client, mut ids: Vec<String>, arguments: &Redrive) -> Result<Value, Failure> {
    let (mut redriven, mut refused) = (Vec::new(), Vec::new());
    while !ids.is_empty() {
        let rest = ids.split_off(ids.len().min(PAGE));
        let body = json!({
            "ids": ids, "actor": client.actor(arguments.actor.as_deref()), "dry_run": arguments.dry_run, "force": arguments.force
        });
        let answer = client.send(&Method::POST, "/v1/dead-letters/redrive", &[], Body::Json(&body)).map_err(|failure| {
            if redriven.is_empty() {
                return failure;
            }
            let done = counted(redriven.len() as u64, "record was", "records were");
            Failure::new(Exit::Partly, format!("{failure}; {done} redriven before"), "`faultline topics read` shows them in their topic")
        })?;
        let members = |member: &str| answer[member].as_array().cloned().unwrap_or_default();
        redriven.extend(members("redriven"));
        refused.extend(members("refused"));
        let left = members("left").into_iter().filter_map(|id| id.as_str().map(str::to_owned));
        ids = left.chain(rest).collect();
    }
    Ok(json!({ "redriven": redriven, "refused": refused }))
}

fn tell(common: &Common, answer: &Value, is_dry_run: bool) -> Exit {
    let each = |member: &str| answer[member].as_array().cloned().unwrap_or_default();
    let (redriven, refused) = (each("redriven"), each("refused"));
    if common.json {
        print_json(answer);
    } else {
        for one in &redriven {
            let text = |member: &str| clean(one[member].as_str().unwrap_or_default());
            let (id, topic, partition) = (text("id"), text("topic"), &one["partition"]);
            let times = one["times"].as_u64().unwrap_or(0);
            print_line(&match one["offset"].as_u64() {
                Some(offset) => format!("redriven {id} to {topic}-{partition}-{offset}, for time {times}"),
                None => format!("would redrive {id} to {topic}-{partition}, for time {times}"),
            });
        }
        for one in &refused {
            let text = |member: &str| clean(one[member].as_str().unwrap_or_default());
            print_line(&format!("refused {}: {}", text("id"), text("reason")));
        }
        if redriven.is_empty() && refused.is_empty() {
            print_line("there is nothing to redrive");
        } else if !redriven.is_empty() && !is_dry_run {
            note(common, "`faultline dlq list` shows what was refused again");
        }
    }
    match (redriven.is_empty(), refused.is_empty()) {
        (_, true) => Exit::Done,
        (true, false) => Exit::Refused,
        (false, false) => Exit::Partly,
    }
}

/// All of a topic, the oldest first, as they came. What was redriven and refused again is left to its newer letter.
fn all(client: &Client, topic: &str, is_forced: bool) -> Result<Vec<String>, Failure> {
    let letters = letters(client, Some(topic), None, usize::MAX)?;
    let text = |letter: &Value, member: &str| letter[member].as_str().map(str::to_owned);
    let came_back: BTreeSet<String> = letters.iter().filter_map(|letter| text(letter, "redriven_from")).collect();
    let ids = letters.iter().rev().filter_map(|letter| text(letter, "id"));
    Ok(ids.filter(|id| is_forced || !came_back.contains(id)).collect())
}

/// The newest letters, page after page.
fn letters(client: &Client, topic: Option<&str>, stage: Option<&str>, limit: usize) -> Result<Vec<Value>, Failure> {
    let mut letters = Vec::new();
    let mut cursor: Option<String> = None;
    while letters.len() < limit {
        let mut query = vec![("limit", (limit - letters.len()).min(PAGE).to_string())];
        query.extend(topic.map(|topic| ("topic", topic.to_owned())));
        query.extend(stage.map(|stage| ("stage", stage.to_owned())));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let answer = client.get("/v1/dead-letters", &query)?;
        letters.extend(answer["items"].as_array().into_iter().flatten().cloned());
        cursor = answer["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(letters)
}

fn read(id: &str) -> Result<LetterId, Failure> {
    id.parse().map_err(|error: LetterIdError| Failure::of(Exit::WrongUse, &error, "`faultline dlq list` shows them"))
}

/// Where the record stood.
fn from(letter: &Value) -> String {
    format!("{}-{}-{}", clean(letter["topic"].as_str().unwrap_or_default()), letter["partition"], letter["offset"])
}
