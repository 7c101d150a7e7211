//! What a client says beside its answers, and what it asks for. A call to a broker that does not let us in knows of a time-out only; why
//! the client says aside, to whoever serves its events. It goes to `tracing`, and into the error of the call. Tokens it asks for the same way.

use std::cell::Cell;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};

use super::{KafkaError, token};
use crate::error::HostError;
use crate::sync::held;

/// A call is looked after so soon: whoever is turned away need not wait for its whole time-out.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How long a partition's leader has for its answer before it is asked who leads.
const LEADER_LOOK: Duration = Duration::from_secs(3);
/// How long events are waited for that are there.
pub(crate) const SERVE: Duration = Duration::from_millis(1);
/// How many events are served at once.
const SERVED: usize = 100;

/// The state of a connection whose broker has not said a word yet.
const FIRST_QUESTION: &str = "APIVERSION_QUERY";

/// A consumer that belongs to no group's rebalances.
pub(crate) type Reader = BaseConsumer<Context>;

/// One client's.
#[derive(Default)]
pub(crate) struct Context {
    token_file: Option<PathBuf>,
    cause: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// Whether it was asked for metadata before it was asked where a partition ends.
    knows_brokers: AtomicBool,
}

impl Context {
    pub(crate) fn new(token_file: Option<PathBuf>) -> Self {
        Self { token_file, ..Self::default() }
    }

    pub(crate) fn needs_tokens(&self) -> bool {
        self.token_file.is_some()
    }

    /// Gives a reader that has nothing assigned the token that it may wait for.
    pub(crate) fn serve_tokens(&self, reader: &Reader) {
        if self.needs_tokens() {
            serve(reader);
        }
    }

    pub(crate) fn forget(&self) {
        *held(&self.cause) = None;
    }

    /// Why the client is not let in, if it said so; to try again is of no use.
    pub(crate) fn refusal(&self) -> Option<String> {
        held(&self.cause).as_ref().filter(|(code, _)| is_refusal(*code)).map(|(_, reason)| reason.clone())
    }

    /// The last word of what is known, but nothing less than a refusal after one.
    fn keep(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut cause = held(&self.cause);
        // A connection that is closed on us is no error to librdkafka. That the other end may want TLS it guesses only sometimes.
        let (code, reason) = match reason {
            _ if reason.contains("security.protocol") => (RDKafkaErrorCode::SSL, reason.to_owned()),
            _ if reason.contains(FIRST_QUESTION) && reason.contains("Disconnected") => {
                let hint = "who hangs up at the first question may want TLS or a log-in, see kafka.client.security.protocol";
                (RDKafkaErrorCode::SSL, format!("{reason}: {hint}"))
            }
            _ => (code, reason.to_owned()),
        };
        if cause.as_ref().is_none_or(|(known, _)| !is_refusal(*known) || is_refusal(code)) {
            *cause = Some((code, reason));
        }
    }

    fn cause(&self) -> Option<String> {
        held(&self.cause).as_ref().map(|(_, reason)| reason.clone())
    }

    fn explained(&self, source: ClientError) -> KafkaError {
        match self.cause() {
            Some(reason) => KafkaError::NotLetIn { reason, source },
            None => KafkaError::client(source),
        }
    }
}

fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism)
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel as Level;
        if facility == "FAIL" {
            self.keep(RDKafkaErrorCode::BrokerTransportFailure, line);
        }
        match level {
            // It is told as an error as well.
            _ if facility == "FAIL" => tracing::debug!(target: "kafka", "{facility}: {line}"),
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => tracing::error!(target: "kafka", "{facility}: {line}"),
            Level::Warning => tracing::warn!(target: "kafka", "{facility}: {line}"),
            Level::Notice | Level::Info => tracing::info!(target: "kafka", "{facility}: {line}"),
            Level::Debug => tracing::debug!(target: "kafka", "{facility}: {line}"),
        }
    }

    fn error(&self, error: ClientError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        match code {
            // An answer, for who reads.
            RDKafkaErrorCode::PartitionEOF => return,
            // The broker's own line says more.
            RDKafkaErrorCode::AllBrokersDown => return tracing::warn!(target: "kafka", "{reason}"),
            // One broker, which may be on its way back.
            code if !is_refusal(code) => tracing::info!(target: "kafka", "{reason}"),
            _ => tracing::warn!(target: "kafka", "{reason}"),
        }
        self.keep(code, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let file = self.token_file.as_ref().ok_or("OAUTHBEARER needs a token, and kafka.oauth.token_file is not set")?;
        Ok(token::read(file)?)
    }
}

impl ConsumerContext for Context {}

/// Lets a type with a `context` hear what [`Context`] hears.
macro_rules! hears {
    ($type:ty) => {
        impl rdkafka::client::ClientContext for $type {
            const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

            fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
                self.context.log(level, facility, line);
            }

            fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
                self.context.error(error, reason);
            }

            fn generate_oauth_token(&self, settings: Option<&str>) -> Result<rdkafka::client::OAuthToken, Box<dyn std::error::Error>> {
                self.context.generate_oauth_token(settings)
            }
        }
    };
}
pub(crate) use hears;

/// Serves the events of a reader that has nothing assigned, and so has no records.
fn serve(reader: &Reader) {
    for _ in 0..SERVED {
        if reader.poll(SERVE).is_none() {
            break;
        }
    }
}

/// Asks the cluster by a reader that has nothing assigned; says why there is no answer, if the client knows.
pub(crate) fn ask<T>(
    reader: &Reader,
    within: Duration,
    call: impl Fn(&Reader, Duration) -> Result<T, ClientError>,
) -> Result<T, HostError> {
    let context = reader.context();
    context.forget();
    context.serve_tokens(reader);
    let first = FIRST_LOOK.min(within);
    let mut answer = call(reader, first);
    if answer.as_ref().is_err_and(is_unanswered) {
        serve(reader);
        if context.refusal().is_none() {
            answer = call(reader, within.saturating_sub(first));
        }
    }
    answer.map_err(|source| {
        serve(reader);
        context.explained(source).into()
    })
}

/// The first offset of a partition, and the end of what this reader may read. To librdkafka a leader that does not answer is the leader still
/// (it asks anew at that broker's own word only, or after 15 minutes): where a broker is gone, who leads is asked here.
pub(crate) fn watermarks(reader: &Reader, topic: &str, partition: u32, within: Duration) -> Result<(u64, u64), HostError> {
    // A new client that looks for a leader before it is connected looks again after 200 and 300 ms. Asked for metadata it waits until it is.
    let is_again = Cell::new(!reader.context().knows_brokers.swap(true, Ordering::Relaxed));
    let (first, end) = ask(reader, within, |reader, within| {
        let until = Instant::now() + within;
        loop {
            if is_again.replace(true) {
                // The client keeps the answer; without one the next question comes to nothing as well.
                let _ = reader.fetch_metadata(Some(topic), within.min(LEADER_LOOK));
            }
            let left = until.saturating_duration_since(Instant::now());
            let answer = reader.fetch_watermarks(topic, partition as i32, left.min(LEADER_LOOK));
            if Instant::now() >= until || !answer.as_ref().is_err_and(is_unanswered) {
                return answer;
            }
        }
    })?;
    Ok((first.unsigned_abs(), end.unsigned_abs()))
}

fn is_unanswered(error: &ClientError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::OperationTimedOut | Code::BrokerTransportFailure | Code::AllBrokersDown))
}
