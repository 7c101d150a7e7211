//! A service that runs: HTTP with its token, and the note by which commands on the same machine find it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use faultline_server::doors::TOKEN_PREFIX;
use serde::{Deserialize, Serialize};

use super::Body;
use crate::failure::{Exit, Failure};
use crate::settings::{Secret, Settings};

/// The note's file in the data folder.
const NOTE: &str = "service.json";
/// How long a service may take to say that it is there. One that is gone refuses at once; one on a machine that has much else to do takes seconds.
const HELLO: Duration = Duration::from_secs(20);

pub struct There {
    base: String,
    token: Option<Secret>,
    http: reqwest::blocking::Client,
}

/// What `faultline up` leaves in the data folder while it runs.
pub struct Beacon {
    path: PathBuf,
}

/// What stands in the note.
#[derive(Serialize, Deserialize)]
struct Note {
    url: String,
    pid: u32,
}

impl Beacon {
    /// Writes the note; it goes when the beacon is dropped.
    pub fn light(folder: &Path, url: String) -> std::io::Result<Self> {
        let path = folder.join(NOTE);
        let note = Note { url, pid: std::process::id() };
        std::fs::write(&path, serde_json::to_vec(&note).map_err(std::io::Error::other)?)?;
        Ok(Self { path })
    }

    /// The service that runs on the data folder, if one answers there.
    pub fn find(settings: &Settings) -> Option<String> {
        let note = std::fs::read(settings.data_folder.join(NOTE)).ok()?;
        let Note { url, .. } = serde_json::from_slice(&note).ok()?;
        let http = client(HELLO).ok()?;
        http.get(format!("{url}/healthz")).send().ok().filter(|answer| answer.status().is_success())?;
        Some(url)
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn client(timeout: Duration) -> reqwest::Result<reqwest::blocking::Client> {
    crate::service::install_crypto();
    // No redirects: a token must not follow one to another host.
    reqwest::blocking::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()
}

impl There {
    pub fn at(url: &str, settings: &Settings) -> Result<Self, Failure> {
        if !url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host()) {
            let what = format!("{url:?} is no URL of a service");
            return Err(Failure::new(Exit::WrongUse, what, "write it like https://faultline.example:8470"));
        }
        let http = client(super::PATIENCE).map_err(|error| Failure::of(Exit::Failed, &error, ""))?;
        Ok(Self { base: url.trim_end_matches('/').to_owned(), token: settings.token.clone(), http })
    }

    /// Whether what is sent is in the name of a token's actor.
    pub fn has_actor(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.expose().starts_with(TOKEN_PREFIX))
    }

    pub fn send(&self, method: &Method, target: &str, body: Body<'_>) -> Result<(StatusCode, String), Failure> {
        let mut request = self.http.request(method.clone(), format!("{}{target}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let request = match body {
            Body::None => request,
            Body::Json(value) => request.json(value),
            Body::Text(text) => request.header("content-type", "application/yaml").body(text),
            Body::File(path) => {
                let file = std::fs::File::open(path).map_err(|error| no_file(path, &error))?;
                // What is no plain file (`<(gzip -dc report.gz)`) has no length before it is read.
                let is_plain = file.metadata().is_ok_and(|known| known.is_file());
                request.body(if is_plain { file.into() } else { reqwest::blocking::Body::new(file) })
            }
        };
        let not_reachable = |error: reqwest::Error| {
            let next = "is `faultline up` running there? `--server` or the data folder's service.json say where";
            Failure::new(
                Exit::NotReachable,
                format!("{} cannot be reached: {}", self.base, faultline_stream::chain(&error.without_url())),
                next,
            )
        };
        let answer = request.send().map_err(not_reachable)?;
        let status = answer.status();
        Ok((status, answer.text().map_err(not_reachable)?))
    }

    /// What was asked is waited for by its outcome; the lists follow within moments.
    pub fn settle(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let deadline = std::time::Instant::now() + super::PATIENCE;
        loop {
            // The service answers when nothing waits, or after a moment with how much does.
            let (status, text) = self.send(&Method::GET, "/v1/backlog?wait=5s", Body::None)?;
            let answer = super::answer(status, &text)?;
            let left = answer["records"].as_u64().unwrap_or(0);
            progress(left);
            // While bulk is read nothing is quiet, and what is not bulk does not wait for it.
            if answer["quiet"].as_bool() == Some(true) || answer["bulk"].as_u64().is_some_and(|bulk| bulk > 0) {
                return Ok(());
            }
            if std::time::Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::Partly,
                    format!("{left} records still wait to be worked on"),
                    "they are safe; ask again later",
                ));
            }
        }
    }
}

/// A file that cannot be read.
pub fn no_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::WrongUse, format!("{} cannot be read: {error}", path.display()), "")
}
