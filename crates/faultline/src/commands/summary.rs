//! `faultline summary`.

use serde_json::Value;

use crate::cli::{Common, Summary};
use crate::client::Client;
use crate::commands::{print_json, print_text};
use crate::failure::{Exit, Failure};
use crate::show::counted;

pub fn run(common: &Common, arguments: &Summary) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let query: Vec<(&str, String)> = arguments.node.iter().map(|node| ("node", node.clone())).collect();
    let mut answer = client.get("/v1/summary", &query)?;
    let findings: Vec<(&str, String)> = query.iter().cloned().chain([("limit", "1".to_owned())]).collect();
    let findings = client.get("/v1/findings", &findings)?;
    client.end()?;
    answer["open_findings"] = findings["total"].clone();
    if common.json {
        print_json(&answer);
    } else {
        print_text(&text(&answer));
    }
    Ok(Exit::Done)
}

/// Counts above a bound are not exact.
fn findings(total: &Value) -> String {
    let least = if total["is_exact"] == false { "more than " } else { "" };
    format!("{least}{}", counted(total["count"].as_u64().unwrap_or(0), "open finding", "open findings"))
}

fn text(answer: &Value) -> String {
    let number = |group: &str, member: &str| answer[group][member].as_u64().unwrap_or(0);
    let bands = ["critical", "high", "medium", "low", "info"].map(|band| format!("{} {band}", number("open_by_band", band)));
    format!(
        "{} → {} ({} closed, {})\n  {}\n  {} verified at runtime and located in code, {} corroborated by independent kinds of tool, {} reported by one\n  roll-up {} (100 more is twice the expected loss)\n",
        findings(&answer["open_findings"]),
        counted(number("by_state", "open"), "open risk", "open risks"),
        number("by_state", "closed"),
        counted(number("by_state", "false_positive"), "false positive", "false positives"),
        bands.join(" · "),
        number("open_by_evidence", "verified"),
        number("open_by_evidence", "corroborated"),
        number("open_by_evidence", "reported"),
        answer["roll_up"].as_u64().unwrap_or(0),
    )
}
