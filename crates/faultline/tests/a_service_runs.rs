//! `faultline up`: commands find it, a second one is refused, it stops cleanly.
#![allow(clippy::unwrap_used)]

mod service;

use std::time::{Duration, Instant};

use service::{SAMPLE, faultline, run, stop, up};

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
