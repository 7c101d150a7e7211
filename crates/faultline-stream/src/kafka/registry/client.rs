//! The calls of Confluent's API that are needed, each within bounds of time and bytes, and none while the registry is taken for away.

use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Response;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::error::RegistryError;
use super::options::{CertificateFiles, RegistryAuth, RegistryOptions};
use crate::error::chain;
use crate::sync::held;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// More than a schema, its escapes and what stands around it take.
const LONGEST_ANSWER: u64 = 4 << 20;
/// How much of an answer's words is repeated in an error.
const REASON_BYTES: usize = 500;
/// After a failure nothing is asked for so long; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Codes of the API's own, which tell "no such schema" from a path that is not the registry's.
const NO_SUBJECT: u64 = 40_401;
const NO_SCHEMA: u64 = 40_403;
const NO_COMPATIBILITY: u64 = 40_408;

pub(super) struct Client {
    url: String,
    auth: RegistryAuth,
    http: reqwest::blocking::Client,
    outage: Mutex<Option<Outage>>,
    /// Questions without an answer of a registry.
    failed: AtomicU64,
}

/// It did not answer as a registry does, the last time that it was asked.
#[derive(Clone)]
struct Outage {
    error: RegistryError,
    again: Instant,
    pause: Duration,
}

/// An answer that says no.
struct No {
    status: u16,
    code: u64,
    reason: String,
}

/// A schema as a registry has it.
pub(super) struct Found {
    pub(super) text: String,
    /// Why it is of no use here, if so.
    pub(super) is_strange: Option<String>,
}

impl Client {
    pub(super) fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let wrong = |reason: String| RegistryError::Options { reason };
        let url = Url::parse(&options.url).map_err(|error| wrong(format!("its address is no URL ({error})")))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(wrong("its address begins with http:// or https:// and a host".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("its address has a user or a password in it; they have settings of their own".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("its address ends with a path; there is no ? or # in it".to_owned()));
        }
        // A library cannot know whether its program has chosen; whoever was first holds.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No redirects: what we say we are must not follow one to another host. No proxy: like the brokers it is reached as it is named.
        let mut http = reqwest::blocking::Client::builder()
            .timeout(options.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("faultline/", env!("CARGO_PKG_VERSION")));
        let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(format!("{} cannot be read ({error})", path.display())));
        if let Some(path) = &options.ca {
            let pem = read(path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(wrong(format!("{} has no certificate in PEM", path.display())));
            }
            http = http.tls_certs_only(certificates);
        }
        if let Some(CertificateFiles { certificate, key }) = &options.certificate {
            let pem = [read(certificate)?, read(key)?].join(&b'\n');
            let identity = reqwest::Identity::from_pem(&pem).map_err(|error| {
                wrong(format!("{} and {} are no certificate and its key in PEM ({})", certificate.display(), key.display(), chain(&error)))
            })?;
            http = http.identity(identity);
        }
        let http = http.build().map_err(|error| wrong(chain(&error)))?;
        Ok(Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            auth: options.auth.clone(),
            http,
            outage: Mutex::default(),
            failed: AtomicU64::default(),
        })
    }

    /// The schema of an id; nothing if the registry has none.
    pub(super) fn schema(&self, id: u32) -> Result<Option<Found>, RegistryError> {
        match self.call(Method::GET, &format!("/schemas/ids/{id}"), None)? {
            Ok(answer) => Ok(Some(self.found(&answer)?)),
            Err(no) if no.code == NO_SCHEMA => Ok(None),
            Err(no) => Err(no.error(format!("the question for schema {id}"))),
        }
    }

    /// The id of a schema under a subject; nothing if it is not there.
    pub(super) fn id_of(&self, subject: &str, text: &str) -> Result<Option<u32>, RegistryError> {
        match self.call(Method::POST, &format!("/subjects/{subject}"), Some(json!({ "schema": text })))? {
            Ok(answer) => Ok(Some(self.id(&answer)?)),
            Err(no) if [NO_SUBJECT, NO_SCHEMA].contains(&no.code) => Ok(None),
            Err(no) => Err(no.error(format!("the question for {subject}"))),
        }
    }

    pub(super) fn register(&self, subject: &'static str, version: usize, text: &str) -> Result<u32, RegistryError> {
        match self.call(Method::POST, &format!("/subjects/{subject}/versions"), Some(json!({ "schema": text })))? {
            Ok(answer) => self.id(&answer),
            Err(No { status: 409, reason, .. }) => Err(RegistryError::Incompatible { subject, version, reason }),
            Err(no) => Err(no.error(format!("{subject} version {version}, which is new to it"))),
        }
    }

    /// The numbers of a subject's versions.
    pub(super) fn versions(&self, subject: &str) -> Result<Vec<u64>, RegistryError> {
        match self.call(Method::GET, &format!("/subjects/{subject}/versions"), None)? {
            Ok(Value::Array(versions)) => Ok(versions.iter().filter_map(Value::as_u64).collect()),
            Ok(_) => Err(self.strange("a subject's versions are no list")),
            Err(no) if no.code == NO_SUBJECT => Ok(Vec::new()),
            Err(no) => Err(no.error(format!("the question for {subject}"))),
        }
    }

    pub(super) fn version(&self, subject: &str, version: u64) -> Result<Found, RegistryError> {
        match self.call(Method::GET, &format!("/subjects/{subject}/versions/{version}"), None)? {
            Ok(answer) => self.found(&answer),
            Err(no) => Err(no.error(format!("the question for {subject} version {version}"))),
        }
    }

    /// A subject's own rule; nothing if it has none.
    pub(super) fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        match self.call(Method::GET, &format!("/config/{subject}"), None)? {
            Ok(answer) => Ok(answer["compatibilityLevel"].as_str().map(str::to_owned)),
            Err(no) if [NO_SUBJECT, NO_COMPATIBILITY].contains(&no.code) => Ok(None),
            Err(no) => Err(no.error(format!("the question for the compatibility of {subject}"))),
        }
    }

    pub(super) fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        match self.call(Method::PUT, &format!("/config/{subject}"), Some(json!({ "compatibility": level })))? {
            Ok(_) => Ok(()),
            Err(no) => Err(no.error(format!("compatibility {level} for {subject}"))),
        }
    }

    /// What it said when it last was away, and when it is asked again; nothing while it answers.
    pub(super) fn outage(&self) -> Option<(RegistryError, Instant)> {
        held(&self.outage).as_ref().map(|outage| (outage.error.clone(), outage.again))
    }

    /// How many questions had no answer.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Result<Value, No>, RegistryError> {
        if let Some(outage) = &*held(&self.outage)
            && Instant::now() < outage.again
        {
            return Err(outage.error.clone());
        }
        let answered = self.ask(method, path, body);
        let mut outage = held(&self.outage);
        match &answered {
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let pause = outage.as_ref().map_or(FIRST_PAUSE, |outage| (outage.pause * 2).min(LONGEST_PAUSE));
                *outage = Some(Outage { error: error.clone(), again: Instant::now() + pause, pause });
            }
            Ok(_) => *outage = None,
        }
        answered
    }

    fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Result<Value, No>, RegistryError> {
        let what = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.url)).header("accept", MEDIA_TYPE);
        request = match &self.auth {
            RegistryAuth::Nobody => request,
            RegistryAuth::Basic { user, password } => request.basic_auth(user, Some(password)),
            RegistryAuth::Bearer { token } => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request.header("content-type", MEDIA_TYPE).body(body.to_string());
        }
        let answer = request.send().map_err(|error| self.unreachable(chain(&error.without_url())))?;
        let status = answer.status().as_u16();
        let text = read(answer).map_err(|reason| self.unreachable(reason))?;
        match status {
            200..=299 => serde_json::from_slice(&text).map(Ok).map_err(|_| self.strange("it answers with something that is not JSON")),
            401 | 403 => Err(RegistryError::NotAllowed { url: self.url.clone(), status, what }),
            408 | 429 | 500.. => Err(self.unreachable(format!("it says {status}: {}", words(&text)))),
            // Without the API's own code it was somebody else who said no: nothing follows from that for a record.
            _ => match serde_json::from_slice::<Value>(&text).ok().and_then(|said| no(status, &said)) {
                Some(no) => Ok(Err(no)),
                None => Err(self.strange(&format!("it says {status} to {what}"))),
            },
        }
    }

    fn found(&self, answer: &Value) -> Result<Found, RegistryError> {
        let text = answer["schema"].as_str().ok_or_else(|| self.strange("it gives no schema"))?.to_owned();
        let kind = answer["schemaType"].as_str().unwrap_or("AVRO");
        let has_references = answer["references"].as_array().is_some_and(|references| !references.is_empty());
        let is_strange = match kind {
            "AVRO" if has_references => Some("it refers to other schemas, which are not looked up".to_owned()),
            "AVRO" => None,
            other => Some(format!("it is of type {other}, not AVRO")),
        };
        Ok(Found { text, is_strange })
    }

    fn id(&self, answer: &Value) -> Result<u32, RegistryError> {
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| *id <= super::LARGEST_ID);
        id.ok_or_else(|| self.strange("it gives an id that is no positive number of 31 bits"))
    }

    fn unreachable(&self, reason: String) -> RegistryError {
        RegistryError::Unreachable { url: self.url.clone(), reason }
    }

    fn strange(&self, reason: &str) -> RegistryError {
        RegistryError::Strange { url: self.url.clone(), reason: reason.to_owned() }
    }
}

impl No {
    fn error(self, what: String) -> RegistryError {
        RegistryError::Refused { what, status: self.status, reason: self.reason }
    }
}

fn no(status: u16, said: &Value) -> Option<No> {
    let code = said["error_code"].as_u64()?;
    Some(No { status, code, reason: words(said["message"].as_str().unwrap_or_default().as_bytes()) })
}

fn read(answer: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    answer.take(LONGEST_ANSWER + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_ANSWER {
        return Err(format!("its answer is longer than {LONGEST_ANSWER} bytes"));
    }
    Ok(bytes)
}

/// The beginning of what somebody else said, as one line.
fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let cut = text.floor_char_boundary(REASON_BYTES);
    text[..cut].chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
