//! Who is told what happened: destinations of webhooks, as the settings have them, and where it is said what became of telling them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use faultline_core::description::DescriptionError;
use faultline_core::notify::{Destination, Webhook, read};
use faultline_model::avro;
use faultline_model::notice::Delivery;
use faultline_model::topic::DELIVERIES;
use faultline_sinks::webhook::{Answers, Endpoint, EndpointError, Options, Postman, PostmanError, Standing};
use faultline_stream::{Clock, Family, Kind, Log, Sample, SystemClock, append};

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum ToldError {
    #[error("{path} cannot be read: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Description(#[from] DescriptionError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Postman(#[from] PostmanError),
}

/// The webhooks of a file.
pub fn webhooks(path: &Path) -> Result<Vec<Webhook>, ToldError> {
    let text = std::fs::read_to_string(path).map_err(|source| ToldError::File { path: path.to_owned(), source })?;
    Ok(read(&path.display().to_string(), &text)?)
}

/// How each of them is called.
pub fn endpoints(webhooks: &[Webhook]) -> Result<Vec<Endpoint>, ToldError> {
    Ok(webhooks.iter().map(Endpoint::try_from).collect::<Result<_, _>>()?)
}

/// Who they are, for the stage.
pub fn destinations(path: Option<&Path>) -> Result<Vec<Destination>, ToldError> {
    let webhooks = path.map(webhooks).transpose()?.unwrap_or_default();
    Ok(webhooks.into_iter().map(|webhook| webhook.destination).collect())
}

/// Begins to tell them; none where nobody is to be told.
pub fn postman(path: Option<&Path>, log: Arc<dyn Log>) -> Result<Option<Postman>, ToldError> {
    let Some(path) = path else { return Ok(None) };
    let endpoints = endpoints(&webhooks(path)?)?;
    let answers = Arc::new(AnswerDoor { log });
    Ok(Some(Postman::start(endpoints, answers, Arc::new(SystemClock), Options::default())?))
}

struct AnswerDoor {
    log: Arc<dyn Log>,
}

impl Answers for AnswerDoor {
    fn append(&self, key: String, delivery: Delivery) -> Result<(), Box<dyn Error + Send + Sync>> {
        let value = avro::encode(delivery)?;
        append(&*self.log, DELIVERIES, vec![(key, Some(value))], SystemClock.now(), &[])?;
        Ok(())
    }
}

/// What is measured of them.
pub fn families(standings: &[Standing]) -> Vec<Family> {
    if standings.is_empty() {
        return Vec::new();
    }
    let now = SystemClock.now();
    let labels = |standing: &Standing| vec![("sink", "webhook".to_owned()), ("destination", standing.destination.clone())];
    let family = |name, help, kind, value: &dyn Fn(&Standing) -> f64| {
        let sample = |standing: &Standing| Sample { suffix: "", labels: labels(standing), value: value(standing) };
        Family { name, help, kind, samples: standings.iter().map(sample).collect() }
    };
    let age =
        |standing: &Standing| standing.oldest.map_or(0.0, |oldest| now.millis().saturating_sub(oldest.millis()).max(0) as f64 / 1000.0);
    let mut attempts = family(
        "faultline_sink_attempts_total",
        "Attempts to tell a destination, by what became of them, by this process.",
        Kind::Counter,
        &|_| 0.0,
    );
    attempts.samples = standings
        .iter()
        .flat_map(|standing| {
            let Standing { delivered, failed, given_up, .. } = standing;
            [("delivered", *delivered), ("failed", *failed), ("given_up", *given_up)].map(|(status, count)| Sample {
                suffix: "",
                labels: labels(standing).into_iter().chain([("status", status.to_owned())]).collect(),
                value: count as f64,
            })
        })
        .collect();
    vec![
        family(
            "faultline_sink_undelivered",
            "Notices that a destination has not taken, of this process's tasks; at most 1000 a task are counted.",
            Kind::Gauge,
            &|standing| standing.undelivered as f64,
        ),
        family(
            "faultline_sink_oldest_undelivered_seconds",
            "How long the oldest of them has waited; 0 where there is none.",
            Kind::Gauge,
            &age,
        ),
        attempts,
    ]
}
