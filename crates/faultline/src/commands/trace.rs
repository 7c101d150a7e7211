//! `faultline trace`: where a report, a finding or a risk is.

use serde_json::Value;

use crate::cli::{Common, Trace};
use crate::client::Client;
use crate::commands::{print_json, print_line};
use crate::failure::{Exit, Failure};
use crate::show::clean;

pub fn run(common: &Common, arguments: &Trace) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let answer = client.get(&format!("/v1/trace/{}", arguments.id), &[])?;
    client.end()?;
    if common.json {
        print_json(&answer);
    } else {
        tell(&answer);
    }
    Ok(Exit::Done)
}

fn tell(answer: &Value) {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    if answer["outcome"].is_object() {
        let outcome = &answer["outcome"];
        let reason = text(&outcome["reason"]);
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        print_line(&format!("track      {} of {}{why}", text(&outcome["status"]), text(&outcome["asset"])));
        let count = |member: &str| outcome["counts"][member].as_i64().unwrap_or(0);
        if outcome["counts"].is_object() {
            let counts = ["observed", "new", "known", "refused", "closed", "reopened"].map(|name| format!("{} {name}", count(name)));
            print_line(&format!("           {}", counts.join(", ")));
        }
    }
    for line in each(&answer["lines"]) {
        let scans = line["complete"].as_array().map_or(0, Vec::len);
        print_line(&format!(
            "line       {} of {} for {}: {scans} complete scans kept",
            text(&line["tool"]),
            text(&line["asset"]),
            text(&line["service"])
        ));
    }
    for finding in each(&answer["findings"]) {
        let title = text(&finding["observation"]["title"]);
        print_line(&format!(
            "finding    {} in {}: {} {title}",
            text(&finding["state"]),
            text(&finding["service"]),
            text(&finding["finding"])
        ));
    }
    for risk in each(&answer["risks"]) {
        let score = risk["score"]["total"].as_i64().unwrap_or(0);
        print_line(&format!(
            "risk       {} in {}, score {score}: {} {}",
            text(&risk["state"]),
            text(&risk["service"]),
            text(&risk["risk"]),
            text(&risk["title"])
        ));
    }
}

fn each(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
