//! `faultline intel load`.

use std::path::PathBuf;

use axum::http::Method;
use serde_json::json;

use crate::cli::{Common, Intel};
use crate::client::{Body, Client};
use crate::commands::{Progress, print_json, print_text};
use crate::failure::{Exit, Failure};
use crate::show::Table;

pub fn run(common: &Common, command: &Intel) -> Result<Exit, Failure> {
    let Intel::Load { files } = command;
    let client = Client::connect(common)?;
    let loaded = load(common, &client, files)?;
    let progress = Progress::new(common, "re-scoring", 0);
    client.settle(&mut |left| progress.left(left))?;
    progress.end();
    client.end()?;
    if common.json {
        print_json(&json!(loaded));
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["file", "source", ">read", ">changed", ">removed", ">refused"]);
    for one in &loaded {
        let number = |member: &str| one[member].as_u64().unwrap_or(0).to_string();
        let text = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
        table.row([text("file"), text("source"), number("read"), number("changed"), number("removed"), number("refused")]);
    }
    print_text(&table.to_string());
    Ok(Exit::Done)
}

fn load(common: &Common, client: &Client, files: &[PathBuf]) -> Result<Vec<serde_json::Value>, Failure> {
    let progress = Progress::new(common, "loading", files.len() as u64);
    let mut loaded = Vec::new();
    for file in files {
        let mut answer = client.send(&Method::POST, "/v1/intel", &[], Body::File(file))?;
        answer["file"] = file.display().to_string().into();
        loaded.push(answer);
        progress.advance(1);
    }
    progress.end();
    Ok(loaded)
}
