//! `faultline catalog apply|show`.

use std::path::Path;

use axum::http::Method;
use faultline_core::catalog::{self, File};

use crate::cli::{Catalog, Common};
use crate::client::{Body, Client, no_file};
use crate::commands::{Progress, note, print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{clean, counted};

pub fn run(common: &Common, command: &Catalog) -> Result<Exit, Failure> {
    match command {
        Catalog::Apply { file, dry_run } => apply(common, file, *dry_run)?,
        Catalog::Show => show(common)?,
    }
    Ok(Exit::Done)
}

fn apply(common: &Common, file: &Path, is_dry: bool) -> Result<(), Failure> {
    let text = whole(common, file)?;
    let client = Client::connect(common)?;
    let mut query = vec![("dry_run", is_dry.to_string())];
    query.extend(client.actor(None).map(|actor| ("actor", actor)));
    let answer = client.send(&Method::PUT, "/v1/catalog", &query, Body::Text(text))?;
    let progress = Progress::new(common, "moving", 0);
    client.settle(&mut |left| progress.left(left))?;
    progress.end();
    client.end()?;
    if common.json {
        print_json(&answer);
        return Ok(());
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        note(common, &clean(warning.as_str().unwrap_or_default()));
    }
    let count = |member: &str| answer[member].as_u64().unwrap_or(0);
    let (version, changed, removed) = (answer["version"].as_i64().unwrap_or(0), count("changed"), count("removed"));
    match (changed + removed, is_dry) {
        (0, _) => print_line(&format!("version {version}: nothing changed")),
        (_, true) => {
            let written = counted(changed, "entity", "entities");
            print_line(&format!("version {version} would come: {written} written, {removed} removed; nothing was changed"));
        }
        (_, false) => {
            let written = counted(changed, "entity", "entities");
            print_line(&format!("version {version}: {written} written, {removed} removed"));
        }
    }
    Ok(())
}

/// The catalog with what stands beside it (CODEOWNERS, a policy) inside: what is sent is whole.
fn whole(common: &Common, path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| no_file(path, &error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string());
    let read = catalog::read(&[File { name, text }], &beside).map_err(|error| Failure::of(Exit::WrongUse, &error, ""))?;
    for warning in &read.warnings {
        note(common, &clean(warning));
    }
    Ok(catalog::show(&read.records))
}

fn show(common: &Common) -> Result<(), Failure> {
    let client = Client::connect(common)?;
    let answer = client.get("/v1/catalog", &[])?;
    client.end()?;
    match (answer.as_str(), common.json) {
        (Some(yaml), false) => print_text(yaml),
        (Some(yaml), true) => {
            let value: serde_json::Value = serde_yaml_ng::from_str(yaml).map_err(|error| Failure::of(Exit::Failed, &error, ""))?;
            print_json(&value);
        }
        (None, _) => print_json(&answer),
    }
    Ok(())
}
