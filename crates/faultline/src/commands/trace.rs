//! `faultline trace`: where a report, a finding or a risk is.

use faultline_model::time::Timestamp;
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
    for line in times(&answer["id"], each(&answer["times"])) {
        print_line(&line);
    }
}

/// When it was where: the time, the difference to the step before, and what was written where that is not what was asked for.
fn times(id: &Value, moments: &[Value]) -> Vec<String> {
    let at = |moment: &Value| moment["at"].as_i64().unwrap_or(0);
    let before = [None].into_iter().chain(moments.iter().map(|moment| Some(at(moment))));
    let line = |(moment, before): (&Value, Option<i64>)| {
        let head = if before.is_none() { "when" } else { "" };
        let step = clean(moment["step"].as_str().unwrap_or_default());
        let took = before.map(|before| later(at(moment) - before)).unwrap_or_default();
        let of = if moment["id"] == *id { "" } else { moment["id"].as_str().unwrap_or_default() };
        let time = Timestamp::from_millis(at(moment));
        format!("{head:<11}{step:<10} {time:.3} {took:>10}  {}", clean(of)).trim_end().to_owned()
    };
    moments.iter().zip(before).map(line).collect()
}

/// A span of time, in the unit in which it is read.
fn later(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let unit = UNITS.into_iter().find(|(length, _)| millis >= 10 * length);
    let (length, name) = unit.unwrap_or((1, "ms"));
    format!("+{} {name}", millis / length)
}

fn each(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_step_is_told_with_what_it_took() {
        let moment = |step, id, at| json!({ "step": step, "id": id, "at": at });
        let told = times(&json!("a"), &[moment("came", "a", 1000), moment("track", "a", 1012), moment("correlate", "b", 16_012)]);
        let expected = [
            "when       came       1970-01-01T00:00:01.000Z",
            "           track      1970-01-01T00:00:01.012Z     +12 ms",
            "           correlate  1970-01-01T00:00:16.012Z      +15 s  b",
        ];
        assert_eq!(told, expected);
        assert_eq!([0, 9_999, 900_000, 864_000_000].map(later), ["+0 ms", "+9999 ms", "+15 min", "+10 d"]);
    }
}
