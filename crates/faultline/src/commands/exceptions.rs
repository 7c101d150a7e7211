//! `faultline exceptions`: risks that are accepted for a time, by hand and by files.

mod files;
pub(super) mod told;

use axum::http::Method;
use serde_json::{Value, json};

use super::registry;
use crate::cli::{Common, EntryPage, Exceptions, Propose, ScopeArguments, TakeStep, Which};
use crate::client::{Body, Client};
use crate::commands::{print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::show::clean;

pub fn run(common: &Common, command: &Exceptions) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let done = match command {
        Exceptions::List { which, page } => list(common, &client, which, page),
        Exceptions::Show { id } => show(common, &client, id),
        Exceptions::Preview(scope) => preview(common, &client, scope),
        Exceptions::Propose(arguments) => propose(common, &client, arguments),
        Exceptions::Request(step) => take(common, &client, "request", step, json!({})),
        Exceptions::Review(step) => take(common, &client, "review", step, json!({})),
        Exceptions::Approve(step) => take(common, &client, "approve", step, json!({})),
        Exceptions::Reject(step) => take(common, &client, "reject", step, json!({})),
        Exceptions::Withdraw(step) => take(common, &client, "withdraw", step, json!({})),
        Exceptions::Revoke(step) => take(common, &client, "revoke", step, json!({})),
        Exceptions::Renew { step, ends, review_at } => {
            take(common, &client, "renew", step, json!({ "ends": ends, "review_at": review_at }))
        }
        Exceptions::Plan { files } => files::plan(common, &client, files),
        Exceptions::Apply { files, actor } => files::apply(common, &client, files, actor.as_deref()),
        Exceptions::Export => files::export(common, &client),
    };
    let done = done.and_then(|exit| client.settle(&mut |_| ()).map(|()| exit));
    client.end()?;
    done
}

fn list(common: &Common, client: &Client, which: &Which, page: &EntryPage) -> Result<Exit, Failure> {
    let answer = registry::page(client, which, page)?;
    if common.json {
        print_json(&answer);
    } else {
        print_text(&told::list(&answer));
        registry::tell_unreadable(answer["unreadable"].as_u64().unwrap_or(0));
    }
    Ok(Exit::Done)
}

fn show(common: &Common, client: &Client, id: &str) -> Result<Exit, Failure> {
    let entry = client.get(&format!("/v1/exceptions/{id}"), &[])?;
    if common.json {
        print_json(&entry);
    } else {
        print_text(&told::entry(&entry));
    }
    Ok(Exit::Done)
}

fn preview(common: &Common, client: &Client, scope: &ScopeArguments) -> Result<Exit, Failure> {
    let answer = client.send(&Method::POST, "/v1/exceptions/preview", &[], Body::Json(&json!({ "scope": scope_of(client, scope)? })))?;
    if common.json {
        print_json(&answer);
    } else {
        print_text(&told::preview(&answer));
    }
    Ok(Exit::Done)
}

fn propose(common: &Common, client: &Client, arguments: &Propose) -> Result<Exit, Failure> {
    let Propose { scope, title, reason, category, ends, review_at, starts, covers_at_most, evidence, .. } = arguments;
    let control = |name: &String| json!({ "name": name, "ends": arguments.controls_end });
    let mut terms = json!({
        "title": title,
        "scope": scope_of(client, scope)?,
        "category": category,
        "reason": reason,
        "controls": arguments.controls.iter().map(control).collect::<Vec<_>>(),
        "assumptions": {
            "not_internet_facing": arguments.not_internet_facing,
            "not_in_kev": arguments.not_in_kev,
            "score_at_most": arguments.score_at_most,
            "controls_in_place": arguments.controls_end.is_some(),
        },
        "evidence": evidence,
        "starts": starts,
        "review_at": review_at,
        "ends": ends,
        "covers_at_most": covers_at_most,
    });
    // A service of a version before knows neither.
    for (name, text) in [("owner", &arguments.owner), ("cost", &arguments.cost)] {
        if !text.is_empty() {
            terms[name] = text.as_str().into();
        }
    }
    let actor = client.actor(arguments.actor.as_deref());
    let mut answers = vec![proposed(client, &terms, arguments.name.as_deref(), actor.as_deref())?];
    if arguments.request && is_done(&answers[0]) {
        let id = answers[0]["exception"].as_str().unwrap_or_default().to_owned();
        answers.push(stepped(client, &id, json!({ "step": "request", "actor": actor }))?);
    }
    Ok(tell(common, &answers))
}

fn take(common: &Common, client: &Client, step: &str, arguments: &TakeStep, more: Value) -> Result<Exit, Failure> {
    let TakeStep { id, reason, actor, expected_version, key } = arguments;
    let mut body = more;
    body["step"] = step.into();
    body["reason"] = reason.clone().into();
    body["actor"] = client.actor(actor.as_deref()).into();
    body["expected_version"] = (*expected_version).into();
    body["key"] = key.clone().into();
    let answer = stepped(client, id, body)?;
    Ok(tell(common, &[answer]))
}

/// Writes terms down, under a name if they have one.
fn proposed(client: &Client, terms: &Value, name: Option<&str>, actor: Option<&str>) -> Result<Value, Failure> {
    let body = json!({ "terms": terms, "name": name, "actor": actor });
    let mut answer = client.send(&Method::POST, "/v1/exceptions", &[("wait", "30s".to_owned())], Body::Json(&body))?;
    answer["step"] = "propose".into();
    // What follows goes by the list.
    client.settle(&mut |_| ())?;
    Ok(answer)
}

fn stepped(client: &Client, id: &str, body: Value) -> Result<Value, Failure> {
    let path = format!("/v1/exceptions/{id}/steps");
    let mut answer = client.send(&Method::POST, &path, &[("wait", "30s".to_owned())], Body::Json(&body))?;
    answer["step"] = body["step"].clone();
    Ok(answer)
}

fn is_done(answer: &Value) -> bool {
    answer["outcome"]["status"] == "done"
}

/// The scope of a body, with all digits of each id.
fn scope_of(client: &Client, arguments: &ScopeArguments) -> Result<Value, Failure> {
    let ScopeArguments { risks, findings, vulnerability, package, asset, family, within } = arguments;
    let whole = |kind: &str, member: &str, id: &String| -> Result<Value, Failure> {
        Ok(client.get(&format!("/v1/{kind}/{id}"), &[])?[member].clone())
    };
    let risks = risks.iter().map(|id| whole("risks", "risk", id)).collect::<Result<Vec<_>, _>>()?;
    let findings = findings.iter().map(|id| whole("findings", "finding", id)).collect::<Result<Vec<_>, _>>()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(json!({
        "risks": risks,
        "findings": findings,
        "vulnerability": text(vulnerability),
        "package": text(package),
        "asset": text(asset),
        "family": text(family),
        "within": within,
    }))
}

/// What became of each step.
fn tell(common: &Common, answers: &[Value]) -> Exit {
    if common.json {
        print_json(&json!({ "steps": answers }));
    } else {
        for answer in answers {
            let said = |value: &Value| clean(value.as_str().unwrap_or_default());
            let outcome = &answer["outcome"];
            let status = if outcome.is_null() { "accepted, not worked on yet".to_owned() } else { said(&outcome["status"]) };
            let reason = said(&outcome["reason"]);
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            print_line(&format!("{status} {} {}{why}", said(&answer["step"]), said(&answer["exception"])));
        }
    }
    match answers.iter().filter(|answer| is_done(answer)).count() {
        all if all == answers.len() => Exit::Done,
        0 => Exit::Refused,
        _ => Exit::Partly,
    }
}
