//! `faultline sinks`: what leaves for other programs.

use serde_json::Value;

use crate::cli::{Common, Sinks};
use crate::client::Client;
use crate::commands::{print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{Table, short};

pub fn run(common: &Common, command: &Sinks) -> Result<Exit, Failure> {
    let Sinks::Status = command;
    let client = Client::connect(common)?;
    let answer = client.get("/v1/sinks", &[])?;
    client.end()?;
    let items: Vec<&Value> = answer["items"].as_array().into_iter().flatten().collect();
    if common.json {
        print_json(&answer);
    } else if items.is_empty() {
        print_line("nobody was to be told anything yet: notify.webhooks says who is (docs/notices.md)");
    } else {
        print_text(&table(&items));
    }
    Ok(Exit::Done)
}

fn table(items: &[&Value]) -> String {
    let mut table = Table::new(&["sink", "destination", ">waiting", "oldest", ">delivered", ">given up", "last delivered", "last failed"]);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0).to_string();
    for item in items {
        let failed = &item["last_failed"];
        let failed = if failed.is_null() { "-".to_owned() } else { format!("{}: {}", text(&failed["at"]), text(&failed["reason"])) };
        table.row([
            text(&item["sink"]),
            text(&item["destination"]),
            number(&item["waiting"]),
            text(&item["oldest"]),
            number(&item["delivered"]),
            number(&item["given_up"]),
            text(&item["last_delivered"]),
            short(&failed, 120),
        ]);
    }
    table.to_string()
}
