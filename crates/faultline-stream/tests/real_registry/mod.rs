//! A real schema registry for one test, and what others do to it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use faultline_stream::RegistryOptions;
use serde_json::{Value, json};

pub struct RealRegistry {
    folder: tempfile::TempDir,
    port: u16,
    http: reqwest::blocking::Client,
}

fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/registry"));
    command.args(arguments);
    command
}

impl RealRegistry {
    /// Nothing where it cannot be had, which is said, and is a failure in CI.
    pub fn start(port: u16) -> Option<Self> {
        let ready = script(&["ready"]).output().unwrap();
        if !ready.status.success() {
            let reason = String::from_utf8_lossy(&ready.stderr).into_owned();
            assert!(std::env::var_os("CI").is_none(), "a schema registry is not to be had: {reason}");
            // Not by a macro, whose words a passing test keeps to itself.
            std::io::stderr().write_all(format!("SKIPPED: what needs a schema registry: {reason}\n").as_bytes()).unwrap();
            return None;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        let registry = Self { folder: tempfile::tempdir().unwrap(), port, http };
        registry.begin();
        Some(registry)
    }

    pub fn begin(&self) {
        let started = script(&["start", self.folder.path().to_str().unwrap(), &self.port.to_string()]).stdout(Stdio::null()).status();
        assert!(started.unwrap().success());
    }

    pub fn kill(&self) {
        assert!(script(&["kill", self.folder.path().to_str().unwrap()]).status().unwrap().success());
    }

    pub fn options(&self) -> RegistryOptions {
        RegistryOptions::new(format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port))
    }

    /// What another program registers: its id, or the status and why not.
    pub fn register(&self, subject: &str, schema: &Value) -> Result<u32, (u16, String)> {
        let url = format!("{}/subjects/{subject}/versions", self.options().url);
        let body = json!({ "schema": schema.to_string() }).to_string();
        let answer = self.http.post(url).header("content-type", "application/vnd.schemaregistry.v1+json").body(body).send().unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().unwrap());
        let said: Value = serde_json::from_str(&text).unwrap();
        said["id"].as_u64().map(|id| id as u32).ok_or((status, text))
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = script(&["kill", self.folder.path().to_str().unwrap()]).status();
    }
}
