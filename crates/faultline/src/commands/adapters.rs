//! `faultline adapters list|detect|read`: what a scanner's author needs to see. Nothing is stored.

use std::fs::File;
use std::path::Path;

use faultline_adapters::adapter::{Adapter, Emit, ReadError, Report, RouteSeen, ScanFacts};
use faultline_adapters::normalized::normalized_json;
use faultline_adapters::registry;
use faultline_adapters::secret::SecretKey;
use faultline_model::observation::{Observation, ScanKind};
use serde_json::json;

use crate::cli::{Adapters, Common};
use crate::client::no_file;
use crate::commands::{note, print_json, print_line, print_text};
use crate::failure::{Exit, Failure, say_aside};
use crate::show::{Table, clean, counted, place};

pub fn run(common: &Common, command: &Adapters) -> Result<Exit, Failure> {
    match command {
        Adapters::List => list(common),
        Adapters::Detect { files } => return detect(common, files),
        Adapters::Read { file, tool } => return read(common, file, tool.as_deref()),
    }
    Ok(Exit::Done)
}

fn list(common: &Common) {
    if common.json {
        let all = registry::ADAPTERS
            .iter()
            .map(|adapter| json!({ "name": adapter.name, "kind": adapter.kind.name(), "tests_for": adapter.tests_for }));
        return print_json(&all.collect());
    }
    let mut table = Table::new(&["name", "kind"]);
    for adapter in registry::ADAPTERS {
        table.row([adapter.name.to_owned(), adapter.kind.name().to_owned()]);
    }
    print_text(&table.to_string());
}

/// Without an installation there is no key; hashes of secrets are then not shown.
fn key() -> SecretKey {
    SecretKey::from_passphrase("a report that is read and not published")
}

fn detect(common: &Common, files: &[std::path::PathBuf]) -> Result<Exit, Failure> {
    let mut unknown = 0;
    for path in files {
        let mut file = File::open(path).map_err(|error| no_file(path, &error))?;
        let found = registry::detect(&mut Report::new(&mut file, &key()));
        unknown += usize::from(found.is_err());
        match (found, common.json) {
            (Ok(adapter), false) => print_line(&format!("{}: {}", path.display(), adapter.name)),
            (Err(error), false) => say_aside(&format!("error: {}: {error}", path.display())),
            (Ok(adapter), true) => print_line(&json!({ "file": path, "adapter": adapter.name }).to_string()),
            (Err(error), true) => print_line(&json!({ "file": path, "error": error.to_string() }).to_string()),
        }
    }
    Ok(match unknown {
        0 => Exit::Done,
        all if all == files.len() => Exit::Refused,
        _ => Exit::Partly,
    })
}

fn read(common: &Common, path: &Path, tool: Option<&str>) -> Result<Exit, Failure> {
    let of_reader = |error: ReadError| Failure::of(Exit::Refused, &error, "");
    let mut file = File::open(path).map_err(|error| no_file(path, &error))?;
    let key = key();
    let mut report = Report::new(&mut file, &key);
    let adapter: &Adapter = match tool {
        Some(name) => registry::named(&mut report, name),
        None => registry::detect(&mut report),
    }
    .map_err(of_reader)?;
    let mut lines = Lines { common, kind: adapter.kind, findings: 0, routes: 0, refused: 0 };
    registry::read(adapter, &mut report, &mut lines).map_err(of_reader)?;
    note(
        common,
        &format!(
            "{}, {}, {} refused, read by {}",
            counted(lines.findings, "finding", "findings"),
            counted(lines.routes, "route", "routes"),
            lines.refused,
            adapter.name
        ),
    );
    Ok(if lines.refused > 0 { Exit::Partly } else { Exit::Done })
}

/// Prints what is read, one a line.
struct Lines<'a> {
    common: &'a Common,
    kind: ScanKind,
    findings: u64,
    routes: u64,
    refused: u64,
}

impl Emit for Lines<'_> {
    fn scan(&mut self, facts: ScanFacts) {
        self.kind = facts.kind.unwrap_or(self.kind);
    }

    fn finding(&mut self, seen: Observation) -> Result<(), ReadError> {
        self.findings += 1;
        if self.common.json {
            print_line(&normalized_json(&seen, self.kind).to_string());
        } else {
            print_line(&format!("{:<8} {}  {}", seen.severity.name(), place(&seen.locus), clean(&seen.title)));
        }
        Ok(())
    }

    fn route(&mut self, seen: RouteSeen) -> Result<(), ReadError> {
        self.routes += 1;
        let RouteSeen { method, path, file, symbol, line, is_visit, .. } = seen;
        if self.common.json {
            print_line(
                &json!({ "route": path, "method": method, "file": file, "symbol": symbol, "line": line, "visited": is_visit }).to_string(),
            );
        } else if !is_visit {
            print_line(&format!("route    {} {} {}:{line} {}", clean(&method), clean(&path), clean(&file), clean(&symbol)));
        }
        Ok(())
    }

    fn refused(&mut self, place: String, reason: String) {
        self.refused += 1;
        say_aside(&format!("refused: {}: {}", clean(&place), clean(&reason)));
    }
}
