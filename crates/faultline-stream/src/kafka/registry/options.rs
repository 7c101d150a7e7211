//! Where a registry is, and who we are to it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone)]
pub struct RegistryOptions {
    /// Where its API begins: `https://registry.example:8081`, with a path where it has one (`…/apis/ccompat/v7`).
    pub url: String,
    pub auth: RegistryAuth,
    /// Certificates in PEM that sign the registry's, in place of the system's.
    pub ca: Option<PathBuf>,
    /// What we show where it asks for a certificate.
    pub certificate: Option<CertificateFiles>,
    /// How long one request may take. Default 5 s.
    pub timeout: Duration,
}

/// A certificate with what stands between it and its authority, and its key; both in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Who we say we are.
#[derive(Clone, Default)]
pub enum RegistryAuth {
    #[default]
    Nobody,
    Basic {
        user: String,
        password: String,
    },
    Bearer {
        token: String,
    },
}

impl RegistryOptions {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), auth: RegistryAuth::Nobody, ca: None, certificate: None, timeout: Duration::from_secs(5) }
    }
}

/// Secrets are left out, those that somebody wrote into the URL as well.
impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, behind)| behind);
        f.debug_struct("RegistryOptions")
            .field("url", &url)
            .field("auth", &self.auth)
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
        })
    }
}
