//! The program as a service in a process of its own.
// Each test file uses its part; what fails here fails the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A report with nine findings.
pub const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../faultline-adapters/tests/samples/anchore_grype/many_vulns4.json");

/// The program over a folder of its own, with nothing else from outside.
pub fn faultline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faultline"));
    command
        .env_clear()
        .env("HOME", folder)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .arg("--data")
        .arg(folder.join("data"));
    command
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    faultline(folder).args(arguments).output().unwrap()
}

/// A service, once it has said where it listens.
pub fn up(folder: &Path, arguments: &[&str]) -> Result<(Child, String), String> {
    started(faultline(folder), arguments)
}

/// The same of a program that was given more.
pub fn started(mut program: Command, arguments: &[&str]) -> Result<(Child, String), String> {
    let mut child = program.arg("up").args(arguments).stderr(Stdio::piped()).spawn().unwrap();
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

/// Its exit code.
pub fn stop(mut child: Child) -> i32 {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code().unwrap()
}
