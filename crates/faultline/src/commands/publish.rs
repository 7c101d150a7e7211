//! `faultline publish`: reports in, and what became of them out.

use std::path::{Path, PathBuf};

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use serde_yaml_ng::Mapping;

use crate::cli::{Claim, Common, Publish};
use crate::client::{Body, Client};
use crate::commands::{Progress, note, print_json, print_line, print_text};
use crate::failure::{Exit, Failure, say_aside};
use crate::git::WorkTree;
use crate::show::{Table, clean, counted};

/// The longest list of reports.
const LIST_ENTRIES: usize = 10_000;

/// A report of a list.
struct Entry {
    file: PathBuf,
    claim: Claim,
}

impl Entry {
    /// `file` and, beside it, what a claim has. Serde's own flattening would let unknown members pass.
    fn of(mut members: Mapping) -> Result<Self, String> {
        let file = members.remove("file");
        // Serde lists the fields of a claim only.
        let with_file = |error: serde_yaml_ng::Error| error.to_string().replace("expected one of ", "expected one of `file`, ");
        let claim = Claim::deserialize(serde_yaml_ng::Value::Mapping(members)).map_err(with_file)?;
        let file = PathBuf::deserialize(file.ok_or("it has no `file`")?).map_err(|error| format!("`file`: {error}"))?;
        Ok(Self { file, claim })
    }
}

/// A report that was published: its file and its scans, or why it was not.
struct Sent {
    file: PathBuf,
    scans: Result<Vec<Value>, Failure>,
}

pub fn run(common: &Common, arguments: &Publish) -> Result<Exit, Failure> {
    let entries = entries(arguments)?;
    let client = Client::connect(common)?;
    let progress = Progress::new(common, "publishing", entries.len() as u64);
    let mut sent = Vec::with_capacity(entries.len());
    for Entry { file, claim } in entries {
        let scans = publish(&client, &file, &claim);
        progress.advance(1);
        sent.push(Sent { file, scans });
    }
    progress.end();
    let progress = Progress::new(common, "working", 0);
    client.settle(&mut |left| progress.left(left))?;
    progress.end();
    let outcomes = outcomes(&client, &sent)?;
    client.end()?;
    Ok(tell(common, &sent, &outcomes))
}

fn entries(arguments: &Publish) -> Result<Vec<Entry>, Failure> {
    let Some(list) = &arguments.list else {
        return Ok(arguments.files.iter().map(|file| Entry { file: file.clone(), claim: arguments.claim.clone() }).collect());
    };
    let wrong = |what: String| {
        Failure::new(Exit::WrongUse, format!("{}: {what}", list.display()), "it is a YAML list of `{ file: …, asset: …, … }`")
    };
    let text = std::fs::read_to_string(list).map_err(|error| wrong(error.to_string()))?;
    let listed: Vec<Mapping> = serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if listed.len() > LIST_ENTRIES {
        return Err(wrong(format!("it has {} entries, at most {LIST_ENTRIES} are taken", listed.len())));
    }
    let folder = list.parent().unwrap_or(Path::new("."));
    let entry = |(at, members): (usize, Mapping)| {
        let Entry { file, claim } = Entry::of(members).map_err(|error| wrong(format!("entry {}: {error}", at + 1)))?;
        Ok(Entry { file: folder.join(file), claim })
    };
    listed.into_iter().enumerate().map(entry).collect()
}

/// Tells what is no file before anything is sent. An empty file is a report that the service refuses.
fn check(file: &Path) -> Result<(), Failure> {
    if file == Path::new("-") {
        let next = "write the report to a file first, and publish that";
        return Err(Failure::new(Exit::WrongUse, "standard input is not read", next));
    }
    let known = std::fs::metadata(file).map_err(|error| Failure::new(Exit::WrongUse, format!("it cannot be read: {error}"), ""))?;
    if known.is_dir() {
        return Err(Failure::new(Exit::WrongUse, "it is a directory", "name the reports in it"));
    }
    Ok(())
}

fn publish(client: &Client, file: &Path, claim: &Claim) -> Result<Vec<Value>, Failure> {
    check(file)?;
    let query = query(file, claim, client.actor(None));
    let answer = client.send(&Method::POST, "/v1/reports", &query, Body::File(file))?;
    Ok(answer["scans"].as_array().cloned().unwrap_or_default())
}

/// What is said of the report: flags first, then what the Git work tree around the file knows, if the asset is that repository's.
fn query(file: &Path, claim: &Claim, publisher: Option<String>) -> Vec<(&'static str, String)> {
    let mut query: Vec<(&'static str, String)> = Vec::new();
    let mut say =
        |name: &'static str, value: Option<String>| query.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
    let is_runtime = claim.environment.is_some();
    let tree = work_tree(file, claim).unwrap_or_default();
    let git_says = tree.is_default_branch.filter(|_| claim.branch.is_none());
    say("asset", claim.asset.clone().or_else(|| tree.asset.as_ref().map(ToString::to_string).filter(|_| !is_runtime)));
    say("service", claim.service.clone());
    say("tool", claim.tool.clone());
    let branch = claim.branch.clone().or(Some(tree.branch).filter(|_| !is_runtime)).unwrap_or_default();
    say("branch", Some(branch.clone()));
    say("environment", claim.environment.clone());
    say("revision", claim.revision.clone().or(Some(tree.revision).filter(|_| !is_runtime)));
    say("revision_time", tree.revision_time.map(|time| time.to_string()).filter(|_| claim.revision.is_none() && !is_runtime));
    say("started", claim.started.clone());
    say("scan", claim.scan.clone());
    say("default_branch", is_default(&branch, git_says).then(|| "true".to_owned()));
    say("full", claim.full.then(|| "true".to_owned()));
    say("bulk", claim.bulk.then(|| "true".to_owned()));
    say("publisher", publisher);
    for path in &claim.paths {
        say("path", Some(path.clone()));
    }
    query
}

/// Git knows which branch is the default one; where it does not, the usual names count. The catalog's own word wins over both.
fn is_default(branch: &str, git_says: Option<bool>) -> bool {
    git_says.unwrap_or_else(|| ["main", "master", "trunk"].contains(&branch))
}

/// The work tree speaks only where nobody named another asset.
fn work_tree(file: &Path, claim: &Claim) -> Option<WorkTree> {
    if claim.asset.is_some() {
        return None;
    }
    let folder = std::env::current_dir().ok().or_else(|| file.parent().map(Path::to_owned))?;
    WorkTree::around(&folder)
}

/// The outcome of each scan, by its id.
fn outcomes(client: &Client, sent: &[Sent]) -> Result<Vec<Vec<Value>>, Failure> {
    let outcome = |scan: &Value| {
        // What may wait is not waited for.
        let wait = if scan["lane"] == "bulk" { "0s" } else { "5s" };
        match client.get(&format!("/v1/outcomes/{}", scan["scan"].as_str().unwrap_or_default()), &[("wait", wait.into())]) {
            Err(failure) if failure.exit() == Exit::Failed => Ok(Value::Null),
            answer => answer,
        }
    };
    sent.iter().map(|one| one.scans.iter().flatten().map(outcome).collect()).collect()
}

fn tell(common: &Common, sent: &[Sent], outcomes: &[Vec<Value>]) -> Exit {
    let mut total = Counts::default();
    let mut table =
        Table::new(&["report", "tool", "asset", ">observed", ">new", ">known", ">refused", ">closed", ">reopened", ">routes", "id"]);
    let mut shown = Vec::new();
    let mut failed = Vec::new();
    for (one, outcomes) in sent.iter().zip(outcomes) {
        match &one.scans {
            Ok(scans) => {
                for (scan, outcome) in scans.iter().zip(outcomes) {
                    let counts = Counts::of(scan, outcome);
                    total.add(&counts);
                    table.row(row(&one.file, scan, &counts));
                    note_refusals(common, &one.file, scan, outcome);
                    shown.push(json!({ "file": one.file, "scan": scan, "outcome": outcome }));
                }
            }
            Err(failure) => {
                failed.push(failure.exit());
                shown.push(json!({ "file": one.file, "error": failure.to_string() }));
                if !common.json {
                    say_aside(&format!("error: {}: {failure}", one.file.display()));
                }
            }
        }
    }
    if common.json {
        print_json(&json!({ "reports": shown, "total": total.json() }));
    } else if failed.len() < sent.len() {
        print_text(&table.to_string());
        print_line(&total.sentence());
    }
    end(&failed, sent.len())
}

/// Where every report failed in the same way, that is the end.
fn end(failed: &[Exit], all: usize) -> Exit {
    match failed {
        [] => Exit::Done,
        _ if failed.len() < all => Exit::Partly,
        [first, others @ ..] if others.iter().all(|exit| exit == first) => *first,
        _ => Exit::Refused,
    }
}

fn row(file: &Path, scan: &Value, counts: &Counts) -> Vec<String> {
    let text = |member: &str| scan[member].as_str().unwrap_or_default().to_owned();
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbers = [counts.observed, counts.new, counts.known, counts.refused, counts.closed, counts.reopened, counts.routes];
    let mut row = vec![name, text("tool"), text("asset")];
    row.extend(numbers.map(|number| number.to_string()));
    row.push(text("scan"));
    row
}

fn note_refusals(common: &Common, file: &Path, scan: &Value, outcome: &Value) {
    for refusal in scan["refusals"].as_array().into_iter().flatten() {
        let said = |member: &str| clean(refusal[member].as_str().unwrap_or_default());
        note(common, &format!("{}: {} left out: {}", file.display(), said("place"), said("reason")));
    }
    let file_name = file.display();
    if let Some(beyond) = scan["over_quota"].as_u64().filter(|beyond| *beyond > 0) {
        note(common, &format!("{file_name}: {beyond} of its records are beyond the source's quota and go by the bulk lane"));
    }
    if scan["lane"] == "bulk" && outcome.is_null() {
        let id = scan["scan"].as_str().unwrap_or_default();
        note(common, &format!("{file_name}: it is taken and waits in the bulk lane; `faultline trace {id}` tells what became of it"));
    }
    let reason = outcome["reason"].as_str().unwrap_or_default();
    if !reason.is_empty() {
        note(common, &format!("{}: {}", file.display(), clean(reason)));
    }
}

/// What became of observations.
#[derive(Default)]
struct Counts {
    scans: u64,
    observed: u64,
    new: u64,
    known: u64,
    refused: u64,
    closed: u64,
    reopened: u64,
    routes: u64,
}

impl Counts {
    fn of(scan: &Value, outcome: &Value) -> Self {
        let count = |member: &str| outcome["counts"][member].as_u64().unwrap_or(0);
        let of_scan = |member: &str| scan[member].as_u64().unwrap_or(0);
        if scan["known"] == true {
            // Its outcome tells of the first time; now nothing was new.
            let known = of_scan("observed") - of_scan("refused");
            return Self {
                scans: 1,
                observed: of_scan("observed"),
                known,
                refused: of_scan("refused"),
                routes: of_scan("routes"),
                ..Self::default()
            };
        }
        Self {
            scans: 1,
            observed: of_scan("observed"),
            new: count("new"),
            known: count("known"),
            refused: of_scan("refused"),
            closed: count("closed"),
            reopened: count("reopened"),
            routes: of_scan("routes"),
        }
    }

    fn add(&mut self, other: &Self) {
        self.scans += other.scans;
        self.observed += other.observed;
        self.new += other.new;
        self.known += other.known;
        self.refused += other.refused;
        self.closed += other.closed;
        self.reopened += other.reopened;
        self.routes += other.routes;
    }

    fn json(&self) -> Value {
        json!({ "scans": self.scans, "observed": self.observed, "new": self.new, "known": self.known, "refused": self.refused,
            "closed": self.closed, "reopened": self.reopened, "routes": self.routes })
    }

    fn sentence(&self) -> String {
        let Self { scans, observed, new, known, refused, closed, reopened, .. } = self;
        let changed = if *new == 0 && *closed == 0 && *reopened == 0 { ": nothing changed" } else { "" };
        format!(
            "{}: {} = {new} new + {known} known + {refused} refused; {closed} closed, {reopened} reopened{changed}",
            counted(*scans, "scan", "scans"),
            counted(*observed, "observation", "observations"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_reports_is_relative_to_itself_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("reports.yaml");
        std::fs::write(&list, "- { file: a.json, asset: 'image:nginx', full: true, paths: [src] }\n").unwrap();
        let read = entries(&Publish { list: Some(list.clone()), ..Publish::default() }).unwrap_or_default();
        assert_eq!(read[0].file, folder.path().join("a.json"));
        assert!(query(&read[0].file, &read[0].claim, None).contains(&("full", "true".into())));
        for (text, part) in [
            ("- { file: a.json }\n- { fil: a.json }\n", "entry 2: unknown field `fil`, expected one of `file`, `asset`"),
            ("- { asset: 'image:nginx' }\n", "entry 1: it has no `file`"),
        ] {
            std::fs::write(&list, text).unwrap();
            let refused = entries(&Publish { list: Some(list.clone()), ..Publish::default() }).err().unwrap().to_string();
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn reports_that_all_failed_in_one_way_end_in_that_way() {
        assert_eq!(end(&[], 2), Exit::Done);
        assert_eq!(end(&[Exit::WrongUse, Exit::WrongUse], 2), Exit::WrongUse);
        assert_eq!(end(&[Exit::WrongUse, Exit::Refused], 2), Exit::Refused);
        assert_eq!(end(&[Exit::WrongUse], 2), Exit::Partly);
    }

    #[test]
    fn the_usual_names_are_the_default_branch_unless_git_knows_better() {
        assert!(is_default("main", None) && !is_default("feature", None) && !is_default("", None));
        assert!(!is_default("main", Some(false)) && is_default("develop", Some(true)));
    }

    #[test]
    fn what_changed_nothing_says_so() {
        let known = Counts { scans: 1, observed: 3, known: 3, ..Counts::default() };
        assert!(known.sentence().ends_with("nothing changed"), "{}", known.sentence());
        assert!(!Counts { new: 1, ..known }.sentence().contains("nothing"));
    }
}
