//! A destination with all that it takes to call it.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use faultline_core::notify::Webhook as Described;
use standardwebhooks::{Webhook, WebhookError};
use url::Url;

/// A destination that can be called. Shown, it shows neither secret nor address: addresses of webhooks are often secrets themselves.
pub struct Endpoint {
    pub name: String,
    pub url: Url,
    pub secret: Webhook,
    pub allows_private: bool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a destination cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("the secret of {name} cannot be read from {path}: {source}")]
    Secret { name: String, path: PathBuf, source: std::io::Error },
    #[error("what stands in {path} is no secret for {name}: {source}; expected is `whsec_` and 24 to 64 random bytes in base64")]
    Form { name: String, path: PathBuf, source: WebhookError },
    #[error("what stands in {path} is too short or too long a secret for {name}: expected is `whsec_` and 24 to 64 random bytes in base64")]
    Length { name: String, path: PathBuf },
    #[error("the address of {name} cannot be read: {source}")]
    Url { name: String, source: url::ParseError },
}

/// The shortest and the longest secret, in characters of base64: 24 to 64 bytes, as the specification asks for.
const SECRET_CHARACTERS: RangeInclusive<usize> = 32..=88;

impl TryFrom<&Described> for Endpoint {
    type Error = EndpointError;

    fn try_from(described: &Described) -> Result<Self, EndpointError> {
        let (name, path) = (described.destination.name.clone(), described.secret_file.clone());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(EndpointError::Secret { name, path, source }),
        };
        let text = text.trim();
        if !SECRET_CHARACTERS.contains(&text.trim_start_matches("whsec_").len()) {
            return Err(EndpointError::Length { name, path });
        }
        let secret = match Webhook::new(text) {
            Ok(secret) => secret,
            Err(source) => return Err(EndpointError::Form { name, path, source }),
        };
        let url = Url::parse(&described.url).map_err(|source| EndpointError::Url { name: name.clone(), source })?;
        Ok(Self { name, url, secret, allows_private: described.allows_private })
    }
}
