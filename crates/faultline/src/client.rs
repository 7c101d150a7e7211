//! One API, two ways to it: HTTP to a service that runs, or the same routes inside this process over the data folder.

mod here;
mod there;

use std::path::Path;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::Value;

use crate::cli::Common;
use crate::failure::{Exit, Failure};
use crate::settings::{Settings, SettingsError, Sources};

pub use there::{Beacon, no_file};

/// How long a command waits for what it asked to be worked on.
pub const PATIENCE: Duration = Duration::from_mins(10);

/// What is sent along.
pub enum Body<'a> {
    None,
    Json(&'a Value),
    Text(String),
    File(&'a Path),
}

/// The way to the API.
pub enum Client {
    Here(Box<here::Here>),
    There(there::There),
}

impl Client {
    /// The service that `--server` names, else one that runs on the data folder, else the folder itself.
    pub fn connect(common: &Common) -> Result<Self, Failure> {
        let settings = settings(common)?;
        if let Some(url) = &common.server {
            return Ok(Self::There(there::There::at(url, &settings)?));
        }
        match Beacon::find(&settings) {
            Some(url) => Ok(Self::There(there::There::at(&url, &settings)?)),
            None if settings.kafka.is_some() => {
                let next = "name a gateway or the views with --server, or start `faultline up` here";
                Err(Failure::new(Exit::WrongUse, "on Kafka commands speak to a service, and none runs on this data folder", next))
            }
            None => Ok(Self::Here(Box::new(here::Here::open(&settings)?))),
        }
    }

    pub fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send(&Method::GET, path, query, Body::None)
    }

    /// Sends and takes the answer's JSON; an answer that is an error becomes a failure with its exit code.
    pub fn send(&self, method: &Method, path: &str, query: &[(&str, String)], body: Body<'_>) -> Result<Value, Failure> {
        let target = with_query(path, query);
        let (status, text) = match self {
            Self::Here(here) => here.send(method, &target, body)?,
            Self::There(there) => there.send(method, &target, body)?,
        };
        answer(status, &text)
    }

    /// Waits until what came in has reached the lists. `progress` hears how many records are left, where that is known.
    pub fn settle(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        match self {
            Self::Here(here) => here.settle(progress),
            Self::There(there) => there.settle(progress),
        }
    }

    /// Lets a service inside this process end what it has begun; one that runs goes on by itself.
    pub fn settle_here(&self) -> Result<(), Failure> {
        match self {
            Self::Here(here) => here.settle(&mut |_| ()),
            Self::There(_) => Ok(()),
        }
    }

    /// Who acts: as named, else the operating system's user. None where the token says it.
    pub fn actor(&self, named: Option<&str>) -> Option<String> {
        let is_known = matches!(self, Self::There(there) if there.has_actor());
        named.map(str::to_owned).or_else(|| (!is_known).then(crate::access::user))
    }

    /// Ends: a service inside this process is stopped cleanly.
    pub fn end(self) -> Result<(), Failure> {
        match self {
            Self::Here(here) => here.stop(),
            Self::There(_) => Ok(()),
        }
    }
}

/// The settings that hold for a command.
pub fn settings(common: &Common) -> Result<Settings, Failure> {
    let layers = sources(common).load().map_err(|error| wrong_settings(&error))?;
    Ok(Settings::of(&layers))
}

/// A configuration that nothing can run with.
pub fn wrong_settings(error: &SettingsError) -> Failure {
    Failure::of(Exit::WrongUse, error, "`faultline config check` tells when it is mended; docs/configuration.md has all settings")
}

/// Where the settings of a command come from.
pub fn sources(common: &Common) -> Sources {
    let data = common.data.iter().map(|folder| ("data.folder", folder.display().to_string()));
    Sources::of_process(common.config.clone(), data.collect())
}

/// A path with its query, percent-encoded.
fn with_query(path: &str, query: &[(&str, String)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let mut url = url::Url::parse("http://localhost").expect("a fixed URL parses");
    url.query_pairs_mut().extend_pairs(query);
    format!("{path}?{}", url.query().unwrap_or_default())
}

/// JSON, or the problem that the service tells.
fn answer(status: StatusCode, text: &str) -> Result<Value, Failure> {
    if status.is_success() {
        return Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())));
    }
    let problem: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let said = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
    let what = [said("detail"), said("title")].into_iter().find(|text| !text.is_empty());
    let exit = match status {
        StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR => Exit::Failed,
        StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Exit::Refused,
        StatusCode::SERVICE_UNAVAILABLE => Exit::NotReachable,
        _ if status.is_client_error() => Exit::WrongUse,
        _ => Exit::Failed,
    };
    Err(Failure::new(exit, what.unwrap_or_else(|| format!("the service answers {status}")), advice(said("what_to_do"))))
}

/// What the API advises a program, and what that is on the command line.
const ADVICE: &[(&str, &str)] = &[
    ("GET /v1/risks lists all.", "`faultline risks list` lists all."),
    ("GET /v1/dead-letters lists all.", "`faultline dlq list` lists all."),
    ("GET /v1/findings lists all.", "`faultline findings list` lists all."),
    ("GET /readyz and /metrics tell how far behind the stages and the views are.", "ask again in a moment."),
    ("Say reason;", "Say why with --reason;"),
    ("Give its asset as well, if it was published long ago.", "`faultline publish` prints the id of each report."),
    ("docs/api.md lists the filters.", "`--help` lists the filters."),
    ("Send `Authorization: Bearer` with a token of yours", "Set http.token (FAULTLINE__HTTP__TOKEN) to a token of yours"),
    ("GET /v1/whoami tells", "`faultline whoami` tells"),
    ("GET /v1/tokens lists all.", "`faultline tokens list` lists all."),
];

fn advice(said: String) -> String {
    ADVICE.iter().fold(said, |said, (of_api, of_commands)| said.replace(of_api, of_commands))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(with_query("/v1/risks", &[]), "/v1/risks");
        assert_eq!(with_query("/v1/risks", &[("text", "a&b c".into())]), "/v1/risks?text=a%26b+c");
    }

    #[test]
    fn a_problem_becomes_a_failure_with_its_exit_code() {
        let failure =
            answer(StatusCode::CONFLICT, r#"{"title":"Stale","detail":"it has 2 decisions","what_to_do":"look again"}"#).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        let told = answer(StatusCode::NOT_FOUND, r#"{"detail":"No risk.","what_to_do":"GET /v1/risks lists all."}"#).unwrap_err();
        assert_eq!(told.to_string(), "No risk. (`faultline risks list` lists all.)");
        assert_eq!(answer(StatusCode::OK, "[1]").unwrap(), serde_json::json!([1]));
        assert_eq!(answer(StatusCode::BAD_GATEWAY, "<html>").unwrap_err().exit(), Exit::Failed);
    }
}
