//! Exceptions as files: Git is their source, and people grant them.

use std::path::{Path, PathBuf};

use axum::http::Method;
use faultline_model::exception::{AskedTerms, NewEnd, Response, Scope, Stage, Terms, id_of};
use faultline_model::register::RegisterEntry;
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use super::registry::{self, entry_of};
use super::{is_done, proposed, stepped, tell};
use crate::cli::{Common, Which};
use crate::client::{Body, Client, no_file};
use crate::commands::{print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::show::clean;

/// An exception as a file has it.
struct Wanted {
    name: String,
    asked: AskedTerms,
}

/// What is to be done for one.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It is as the file says, and stands so.
    Nothing(Stage),
    /// It is written down and asked for.
    Propose,
    /// It is written down already.
    Request,
    Renew(NewEnd),
    /// People have to do something first.
    Blocked(String),
}

pub fn plan(common: &Common, client: &Client, files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut planned = Vec::new();
    for wanted in read(files)? {
        let (covers, _, due) = due(client, &wanted)?;
        planned.push((wanted, covers, due));
    }
    if common.json {
        let one = |(wanted, covers, due): &(Wanted, u64, Due)| json!({ "name": wanted.name, "exception": id_of(&wanted.name), "covers": covers, "does": does(due), "is_blocked": matches!(due, Due::Blocked(_)) });
        print_json(&json!({ "exceptions": planned.iter().map(one).collect::<Vec<_>>() }));
    } else {
        for (wanted, covers, due) in &planned {
            print_line(&format!("{}: {} (covers {covers} now)", clean(&wanted.name), does(due)));
        }
    }
    let is_blocked = planned.iter().any(|(_, _, due)| matches!(due, Due::Blocked(_)));
    Ok(if is_blocked { Exit::Refused } else { Exit::Done })
}

pub fn apply(common: &Common, client: &Client, files: &[PathBuf], actor: Option<&str>) -> Result<Exit, Failure> {
    let actor = client.actor(actor);
    let (mut answers, mut is_blocked) = (Vec::new(), false);
    for wanted in read(files)? {
        let id = id_of(&wanted.name).to_string();
        let request = || json!({ "step": "request", "actor": actor });
        let (_, asked, due) = due(client, &wanted)?;
        match due {
            Due::Nothing(_) => {}
            Due::Propose => {
                let answer = proposed(client, &asked, Some(&wanted.name), actor.as_deref())?;
                let goes_on = is_done(&answer);
                answers.push(answer);
                if goes_on {
                    answers.push(stepped(client, &id, request())?);
                }
            }
            Due::Request => answers.push(stepped(client, &id, request())?),
            Due::Renew(_) => {
                let body = json!({ "step": "renew", "ends": asked["ends"], "review_at": asked["review_at"], "actor": actor });
                answers.push(stepped(client, &id, body)?);
            }
            Due::Blocked(why) => {
                is_blocked = true;
                answers.push(json!({ "step": "apply", "exception": id, "outcome": { "status": "refused", "reason": format!("{}: {why}", wanted.name) } }));
            }
        }
    }
    if answers.is_empty() && !common.json {
        print_line("nothing to do");
    }
    let told = tell(common, &answers);
    Ok(if is_blocked && told == Exit::Done { Exit::Partly } else { told })
}

pub fn export(common: &Common, client: &Client) -> Result<Exit, Failure> {
    let (items, unreadable) = registry::every(client, &Which::default())?;
    registry::tell_unreadable(unreadable);
    let all = items.iter().map(|item| as_asked(&entry_of(item)?)).collect::<Result<Vec<_>, Failure>>()?;
    if common.json {
        print_json(&json!({ "exceptions": all }));
        return Ok(Exit::Done);
    }
    let yaml = serde_yaml_ng::to_string(&json!({ "exceptions": all })).map_err(|error| Failure::of(Exit::Failed, &error, ""))?;
    print_text(&yaml);
    Ok(Exit::Done)
}

/// An entry as a file would have it: its id is its name.
fn as_asked(entry: &RegisterEntry) -> Result<Value, Failure> {
    let mut one = json!({ "name": entry.entry });
    let terms = serde_json::to_value(AskedTerms::from(entry.terms.clone()).with(entry.response()))
        .map_err(|error| Failure::of(Exit::Failed, &error, ""))?;
    if let (Value::Object(one), Value::Object(terms)) = (&mut one, terms) {
        one.extend(terms);
    }
    Ok(one)
}

fn read(files: &[PathBuf]) -> Result<Vec<Wanted>, Failure> {
    let mut all: Vec<Wanted> = Vec::new();
    for file in files {
        for wanted in read_one(file)? {
            if all.iter().any(|known| id_of(&known.name) == id_of(&wanted.name)) {
                return Err(wrong(file, &format!("{:?} is there twice", wanted.name)));
            }
            all.push(wanted);
        }
    }
    Ok(all)
}

fn wrong(file: &Path, what: &str) -> Failure {
    Failure::new(Exit::WrongUse, format!("{}: {what}", file.display()), "docs/exceptions.md shows the shape")
}

fn read_one(file: &Path) -> Result<Vec<Wanted>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| no_file(file, &error))?;
    let document: Yaml = serde_yaml_ng::from_str(&text).map_err(|error| wrong(file, &error.to_string()))?;
    let members = document.as_mapping().filter(|mapping| mapping.len() == 1);
    let list = members.and_then(|mapping| mapping.get("exceptions")).and_then(Yaml::as_sequence);
    let list = list.ok_or_else(|| wrong(file, "expected is `exceptions` with a list, and nothing else"))?;
    let one = |(number, entry): (usize, &Yaml)| {
        let wrong = |what: &str| wrong(file, &format!("exceptions[{number}]: {what}"));
        let mut entry = entry.as_mapping().cloned().ok_or_else(|| wrong("expected is a mapping"))?;
        let name = entry.remove("name").and_then(|name| name.as_str().map(str::to_owned)).filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| wrong("name is missing: by it the same exception is known again"))?;
        let asked = serde_yaml_ng::from_value(Yaml::Mapping(entry)).map_err(|error| wrong(&error.to_string()))?;
        Ok(Wanted { name, asked })
    };
    list.iter().enumerate().map(one).collect()
}

/// What is to be done for an exception of a file, how many risks it covers now, and its terms as they are to be asked for.
fn due(client: &Client, wanted: &Wanted) -> Result<(u64, Value, Due), Failure> {
    let as_json = |error: serde_json::Error| Failure::of(Exit::Failed, &error, "");
    let asked = serde_json::to_value(&wanted.asked).map_err(as_json)?;
    let preview = client.send(&Method::POST, "/v1/exceptions/preview", &[], Body::Json(&json!({ "scope": asked["scope"] })))?;
    let scope: Scope = serde_json::from_value(preview["scope"].clone()).map_err(as_json)?;
    let response = wanted.asked.response().unwrap_or_default();
    let terms = wanted.asked.clone().terms(scope);
    let known = match client.get(&format!("/v1/exceptions/{}", id_of(&wanted.name)), &[]) {
        Ok(entry) => Some(entry_of(&entry)?),
        Err(failure) if failure.exit() == Exit::Failed => None,
        Err(failure) => return Err(failure),
    };
    Ok((preview["risks"].as_u64().unwrap_or(0), asked, decided(known.as_ref(), &terms, &response)))
}

/// What leads from what is there to what is wanted.
fn decided(known: Option<&RegisterEntry>, terms: &Terms, response: &Response) -> Due {
    let Some(entry) = known else { return Due::Propose };
    let is_answered_so = entry.response() == *response;
    let (is_same, stage) = (is_answered_so && entry.terms == *terms, entry.stage);
    let with_end = Terms { review_at: terms.review_at, ends: terms.ends, ..entry.terms.clone() };
    let end = NewEnd { review_at: terms.review_at, ends: terms.ends };
    match stage {
        Stage::Draft if is_same => Due::Request,
        Stage::Draft => Due::Propose,
        Stage::Rejected | Stage::Withdrawn | Stage::Revoked => {
            Due::Blocked(format!("it was {}: give what is wanted now another name, or take it out", stage.name()))
        }
        Stage::Suspended if is_same => {
            Due::Blocked("an assumption broke: ask for it again with `faultline exceptions request`, or revoke it".to_owned())
        }
        _ if is_same => Due::Nothing(stage),
        Stage::Active | Stage::Expiring | Stage::Expired if is_answered_so && with_end == *terms => match &entry.renewal {
            None => Due::Renew(end),
            Some(renewal) if renewal.end == end => Due::Nothing(stage),
            Some(_) => Due::Blocked("another renewal is under way: withdraw or reject that first".to_owned()),
        },
        _ => Due::Blocked(format!(
            "it is {} with other terms: revoke or withdraw it, and give what is wanted now another name",
            stage.name()
        )),
    }
}

fn does(due: &Due) -> String {
    match due {
        Due::Nothing(stage) => format!("nothing, it is {}", stage.name()),
        Due::Propose => "is written down and asked for".to_owned(),
        Due::Request => "is asked for".to_owned(),
        Due::Renew(end) => format!("another end is asked for, {}", end.ends.date()),
        Due::Blocked(why) => format!("cannot be: {why}"),
    }
}
