//! `faultline audit export|verify`: what people did or were refused.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use faultline_core::audit::{Head, Report, verify};
use faultline_model::audit::AuditEntry;
use faultline_model::topic::AUDIT;
use serde_json::Value;

use crate::cli::{AuditCommand, Common};
use crate::client::{Client, no_file};
use crate::commands::{note, print_json, print_line};
use crate::failure::{Exit, Failure};
use crate::show::counted;

/// Entries that are asked for at once.
const PAGE: usize = 500;

pub fn run(common: &Common, command: &AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Export => {
            let client = Client::connect(common)?;
            each(&client, &mut |entry| {
                print_line(&entry.to_string());
                Ok(())
            })?;
            client.end()?;
            Ok(Exit::Done)
        }
        AuditCommand::Verify { file, heads } => judge(common, file.as_deref(), heads.as_deref()),
    }
}

fn judge(common: &Common, file: Option<&Path>, heads: Option<&Path>) -> Result<Exit, Failure> {
    let kept = heads.map(heads_of).transpose()?.unwrap_or_default();
    let mut entries = Vec::new();
    match file {
        Some(path) => {
            let opened = File::open(path).map_err(|error| no_file(path, &error))?;
            for (at, line) in BufReader::new(opened).lines().enumerate() {
                let line = line.map_err(|error| no_file(path, &error))?;
                entries.push(entry_of(serde_json::from_str(&line), &format!("{}, line {}", path.display(), at + 1))?);
            }
        }
        None => {
            let client = Client::connect(common)?;
            each(&client, &mut |entry| {
                entries.push(entry_of(Ok(entry), "the service")?);
                Ok(())
            })?;
            client.end()?;
        }
    }
    let report = verify(entries, &kept);
    tell(common, &report);
    Ok(if report.faults.is_empty() { Exit::Done } else { Exit::Refused })
}

fn tell(common: &Common, report: &Report) {
    if common.json {
        return print_json(&serde_json::to_value(report).unwrap_or_default());
    }
    for fault in &report.faults {
        print_line(&fault.to_string());
    }
    for (chain, head) in report.chains.iter().zip(&report.heads) {
        let from = if chain.first > 1 { format!(" from {} on", chain.first) } else { String::new() };
        print_line(&format!("chain {}: {}{from}, head {}", chain.chain, counted(chain.entries as u64, "entry", "entries"), head.hash));
    }
    if report.faults.is_empty() {
        print_line("whole");
        note(common, "keep the heads (--json) elsewhere: only they show that a chain's end was cut off");
    }
}

/// Each entry that the service has, partition after partition.
fn each(client: &Client, see: &mut dyn FnMut(Value) -> Result<(), Failure>) -> Result<(), Failure> {
    client.settle_here()?;
    let topic = AUDIT.name;
    let partitions = client.get(&format!("/v1/topics/{topic}"), &[])?["partitions"].as_u64().unwrap_or(0);
    for partition in 0..partitions {
        let mut next = Some(0);
        while let Some(from) = next {
            let query = [("from", from.to_string()), ("limit", PAGE.to_string())];
            let mut answer = client.get(&format!("/v1/topics/{topic}/{partition}"), &query)?;
            for record in answer["records"].as_array_mut().into_iter().flatten() {
                see(record["value"].take())?;
            }
            next = answer["next"].as_u64().filter(|next| *next > from);
        }
    }
    Ok(())
}

fn entry_of(read: serde_json::Result<Value>, place: &str) -> Result<AuditEntry, Failure> {
    let entry = read.and_then(serde_json::from_value);
    entry.map_err(|error| {
        Failure::new(Exit::Failed, format!("{place}: no entry of the audit log: {error}"), "`faultline audit export` writes them")
    })
}

fn heads_of(path: &Path) -> Result<Vec<Head>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| no_file(path, &error))?;
    Head::read_all(&text).map_err(|error| Failure::new(Exit::WrongUse, format!("{}: {error}", path.display()), ""))
}
