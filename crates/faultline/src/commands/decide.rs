//! `faultline decide`, `retract`, `retire`: what people say, and what became of it.

use axum::http::Method;
use faultline_model::asset::AssetId;
use faultline_model::id::{IdPrefix, IdPrefixError};
use serde_json::{Value, json};

use crate::cli::{Common, Decide, Retire, Retract, VerdictName};
use crate::client::{Body, Client};
use crate::commands::{print_json, print_line};
use crate::failure::{Exit, Failure};
use crate::show::clean;

pub fn decide(common: &Common, arguments: &Decide) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let id = whole(&client, &arguments.id)?;
    // A risk's decision goes to its home findings; a finding's to itself, though its id leads to a risk as well.
    let is_finding = match client.get(&format!("/v1/findings/{id}"), &[]) {
        Ok(_) => true,
        Err(failure) if failure.exit() == Exit::Failed => false,
        Err(failure) => return Err(failure),
    };
    let mut body = json!({ "reason": arguments.reason, "actor": client.actor(arguments.actor.as_deref()) });
    body[if is_finding { "finding" } else { "risk" }] = id.clone().into();
    let (member, said) = what(arguments);
    body[member] = said;
    if let Some(version) = arguments.expected_version {
        body["expected_version"] = version.into();
    }
    if let Some(key) = &arguments.key {
        body["key"] = key.clone().into();
    }
    let answer = client.send(&Method::POST, "/v1/decisions", &[("wait", "30s".to_owned())], Body::Json(&body))?;
    client.settle(&mut |_| ())?;
    client.end()?;
    let decisions = answer["decisions"].as_array().cloned().unwrap_or_default();
    let outcomes: Vec<Value> =
        decisions.into_iter().map(|decision| json!({ "finding": decision["finding"], "outcome": decision["outcome"] })).collect();
    Ok(tell(common, &outcomes))
}

/// The member of a decision's body that says what is decided.
fn what(arguments: &Decide) -> (&'static str, Value) {
    let links = [("confirmed", &arguments.confirm_link), ("rejected", &arguments.reject_link), ("withdrawn", &arguments.withdraw_link)];
    if let Some((word, to)) = links.into_iter().find_map(|(word, to)| Some((word, to.as_ref()?))) {
        return ("link", json!({ "to": to, "word": word }));
    }
    match (arguments.verdict, &arguments.severity) {
        (Some(verdict), _) => ("verdict", name(verdict).into()),
        (None, Some(level)) => ("severity", level.clone().into()),
        (None, None) => ("assignment", json!({ "to": arguments.assign.as_deref().unwrap_or_default() })),
    }
}

/// All digits of an id that was given by its first ones, whatever it is of.
fn whole(client: &Client, id: &str) -> Result<String, Failure> {
    if id.len() == 32 {
        return Ok(id.to_owned());
    }
    let answer = client.get(&format!("/v1/trace/{id}"), &[])?;
    Ok(answer["id"].as_str().unwrap_or(id).to_owned())
}

pub fn retract(common: &Common, arguments: &Retract) -> Result<Exit, Failure> {
    let report: IdPrefix =
        arguments.report.parse().map_err(|error: IdPrefixError| Failure::of(Exit::WrongUse, &error, "`faultline publish` printed it"))?;
    take_back(common, "scan", &report.to_string(), &arguments.reason, arguments.actor.as_deref())
}

pub fn retire(common: &Common, arguments: &Retire) -> Result<Exit, Failure> {
    let asset = AssetId::read(&arguments.asset).map_err(|error| Failure::of(Exit::WrongUse, &error, ""))?;
    take_back(common, "asset", asset.as_str(), &arguments.reason, arguments.actor.as_deref())
}

fn take_back(common: &Common, what: &str, id: &str, reason: &str, who: Option<&str>) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let body = json!({ what: id, "reason": reason, "actor": client.actor(who) });
    let answer = client.send(&Method::POST, "/v1/retractions", &[("wait", "30s".to_owned())], Body::Json(&body))?;
    client.settle(&mut |_| ())?;
    client.end()?;
    let id = answer[what].as_str().unwrap_or(id);
    Ok(tell(common, &[json!({ what: id, "outcome": answer["outcome"] })]))
}

fn name(verdict: VerdictName) -> &'static str {
    match verdict {
        VerdictName::Confirmed => "confirmed",
        VerdictName::FalsePositive => "false_positive",
        VerdictName::NotExploitable => "not_exploitable",
        VerdictName::Withdrawn => "withdrawn",
    }
}

/// What became of each.
fn tell(common: &Common, outcomes: &[Value]) -> Exit {
    let is_done = |one: &&Value| one["outcome"]["status"] == "done";
    if common.json {
        print_json(&json!({ "outcomes": outcomes }));
    } else {
        for one in outcomes {
            let subject = ["finding", "scan", "asset"].iter().find_map(|name| one[*name].as_str()).unwrap_or_default();
            let said = |member: &str| clean(one["outcome"][member].as_str().unwrap_or_default());
            let status = if one["outcome"].is_null() { "accepted, not worked on yet".to_owned() } else { said("status") };
            let reason = said("reason");
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            print_line(&format!("{status} {}{why}", clean(subject)));
        }
    }
    match outcomes.iter().filter(is_done).count() {
        all if all == outcomes.len() => Exit::Done,
        0 => Exit::Refused,
        _ => Exit::Partly,
    }
}
