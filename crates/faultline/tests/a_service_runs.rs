//! `faultline up`: commands find it, a second one is refused, it stops cleanly.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples/anchore_grype/many_vulns4.json");

fn faultline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faultline"));
    command
        .env_clear()
        .env("HOME", folder)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .arg("--data")
        .arg(folder.join("data"));
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    faultline(folder).args(arguments).output().unwrap()
}

/// A service, once it has said where it listens.
fn up(folder: &Path, arguments: &[&str]) -> Result<(Child, String), String> {
    let mut child = faultline(folder).arg("up").args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    for line in &mut lines {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("faultline listens at ") {
            let url = rest.split(';').next().unwrap().to_owned();
            // Read on, so that the pipe never fills.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((child, url));
        }
        said.push_str(&line);
    }
    child.wait().unwrap();
    Err(said)
}

fn stop(mut child: Child) -> i32 {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code().unwrap()
}

/// `/dev/full` has no room for a line of the log, as a file on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = faultline(folder.path()).env("FAULTLINE__LOG__LEVEL", "trace").args(["up", "--listen", "127.0.0.1:0"]).stderr(full).spawn();
    let (child, note) = (child.unwrap(), folder.path().join("data/service.json"));
    let until = Instant::now() + Duration::from_mins(1);
    while !note.exists() {
        assert!(Instant::now() < until, "the service has not begun");
        std::thread::yield_now();
    }
    let published = run(folder.path(), &["publish", SAMPLE, "--asset", "repo:git.acme.example/shop", "--full"]);
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert_eq!(stop(child), 0);
}

#[test]
fn commands_speak_to_the_service_that_runs_and_open_the_folder_when_none_does() {
    let folder = tempfile::tempdir().unwrap();
    let (child, url) = up(folder.path(), &["--listen", "127.0.0.1:0"]).unwrap();
    let published = run(folder.path(), &["publish", SAMPLE, "--asset", "repo:git.acme.example/shop", "--full"]);
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert!(String::from_utf8_lossy(&published.stdout).contains("9 observations = 9 new + 0 known + 0 refused"));
    let there = run(folder.path(), &["risks", "list", "--json"]);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(run(elsewhere.path(), &["--server", &url, "risks", "list", "--json"]).stdout, there.stdout);
    assert_eq!(stop(child), 0);
    assert!(!folder.path().join("data/service.json").exists(), "the note goes with the service");
    assert_eq!(run(folder.path(), &["risks", "list", "--json"]).stdout, there.stdout, "the same from the folder itself");
}

#[test]
fn a_second_service_on_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (child, _) = up(folder.path(), &["--listen", "127.0.0.1:0"]).unwrap();
    let said = up(folder.path(), &["--listen", "127.0.0.1:0"]).unwrap_err();
    assert!(said.contains("in use by another faultline") && said.contains("choose another folder"), "{said}");
    assert_eq!(stop(child), 0);
}

#[test]
fn strangers_are_not_let_in_without_tls_and_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let said = up(folder.path(), &["--listen", "0.0.0.0:0"]).unwrap_err();
    assert!(said.contains("http.tls_certificate") && said.contains("http.token"), "{said}");
}
