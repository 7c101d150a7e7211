//! A data folder of its own, and the program on it. Each test adds what it asks for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub struct Installation(tempfile::TempDir);

impl Installation {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The home folder, in which commands run.
    pub fn home(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self) -> PathBuf {
        self.home().join("data")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        // An empty home: no configuration of whoever runs the test.
        let mut command = Command::new(env!("CARGO_BIN_EXE_faultline"));
        command
            .env_clear()
            .env("HOME", self.home())
            .env("USER", "ana")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.home())
            .arg("--data")
            .arg(self.path())
            .args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The JSON of a command that ends well.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
