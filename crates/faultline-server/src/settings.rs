//! Where the server listens, who may speak to it, and how much it takes.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use faultline_model::access::Roles;
use subtle::ConstantTimeEq;

use crate::doors::TOKEN_PREFIX;

/// The shortest token that is taken, in bytes: 128 bits as 32 hex digits, or 22 letters of base64.
const TOKEN_BYTES: usize = 22;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Loopback unless TLS and a token are given. Default `127.0.0.1:8470`.
    pub listen: SocketAddr,
    pub tls: Option<TlsFiles>,
    /// Who brings it is the operator. Not needed on loopback, where without it everybody on the machine is.
    pub token: Option<Token>,
    /// What the operator is called where they name nobody.
    pub operator: String,
    /// What the actors of tokens are, and where.
    pub roles: Arc<Roles>,
    pub limits: Limits,
    pub serves: Serves,
    /// Where reports wait while they are read; the system's folder for temporary files by default.
    pub spool: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8470)),
            tls: None,
            token: None,
            operator: "operator".to_owned(),
            roles: Arc::default(),
            limits: Limits::default(),
            serves: Serves::default(),
            spool: None,
        }
    }
}

/// Which sides of the API a process serves; both unless they are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serves {
    /// Reports, the catalog and intelligence come in.
    pub takes_in: bool,
    /// Lists, and decisions on what they show.
    pub has_lists: bool,
}

impl Default for Serves {
    fn default() -> Self {
        Self { takes_in: true, has_lists: true }
    }
}

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What the server takes of one sender and of all together.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest report or feed as it is sent. Default 512 MiB.
    pub upload_bytes: u64,
    /// The largest report or feed once it is inflated. Default 4 GiB.
    pub inflated_bytes: u64,
    /// The largest catalog. Default 16 MiB.
    pub catalog_bytes: usize,
    /// The largest JSON body. Default 256 KiB.
    pub json_bytes: usize,
    /// Requests at a time; more are told to come again. Default 128.
    pub requests: usize,
    /// Reports and feeds at a time. Default 4.
    pub uploads: usize,
    /// Requests that wait for an outcome at a time; more are answered at once. Default 64.
    pub waiters: usize,
    /// The longest that a request waits for an outcome. Default 30 s.
    pub wait: Duration,
    /// How long a sender may pause within a body. Default 15 s.
    pub pause: Duration,
    /// How long a whole body may take. Default 10 min.
    pub upload_time: Duration,
    /// How long the head of a request may take. Default 10 s.
    pub head_time: Duration,
    /// The largest head of a request. Default 32 KiB.
    pub head_bytes: usize,
    /// How long requests may go on once the server is to stop. Default 10 s.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 512 << 20,
            inflated_bytes: 4 << 30,
            catalog_bytes: 16 << 20,
            json_bytes: 256 << 10,
            requests: 128,
            uploads: 4,
            waiters: 64,
            wait: Duration::from_secs(30),
            pause: Duration::from_secs(15),
            upload_time: Duration::from_mins(10),
            head_time: Duration::from_secs(10),
            head_bytes: 32 << 10,
            stop_time: Duration::from_secs(10),
        }
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "{address} can be reached from other machines, and {missing} missing; listen on 127.0.0.1 or [::1], or give both \
         a TLS certificate with its key and a token"
    )]
    Exposed { address: SocketAddr, missing: &'static str },
    #[error("the token {why}; make one with `openssl rand -hex 32`")]
    Token { why: String },
    #[error("{what} {path} cannot be used: {why}")]
    Tls { what: &'static str, path: PathBuf, why: String },
    #[error("{address} cannot be listened on; is another service there?")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the server stopped by itself")]
    Serve(#[source] std::io::Error),
}

impl Settings {
    /// Refuses what would let strangers in.
    pub fn check(&self) -> Result<(), StartError> {
        let missing = match (&self.tls, &self.token) {
            (None, None) => "TLS and a token are",
            (None, Some(_)) => "TLS is",
            (Some(_), None) => "a token is",
            (Some(_), Some(_)) => return Ok(()),
        };
        if self.is_loopback() { Ok(()) } else { Err(StartError::Exposed { address: self.listen, missing }) }
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

/// What a client must know. It cannot be printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// From a setting or the environment.
    pub fn new(text: &str) -> Result<Self, StartError> {
        let text = text.trim();
        if text.len() < TOKEN_BYTES {
            return Err(StartError::Token { why: format!("has {} characters; at least {TOKEN_BYTES} are needed", text.len()) });
        }
        if text.starts_with(TOKEN_PREFIX) {
            return Err(StartError::Token {
                why: format!("begins with {TOKEN_PREFIX}, so it is somebody's own and would make them the operator"),
            });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StartError::Token { why: "holds spaces or letters that are not ASCII".into() });
        }
        Ok(Self(text.to_owned()))
    }

    /// From a file that holds nothing else.
    pub fn from_file(path: &Path) -> Result<Self, StartError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| StartError::Token { why: format!("file {} cannot be read: {error}", path.display()) })?;
        Self::new(&text)
    }

    /// Takes the same time whatever was sent, but for its length.
    pub(crate) fn is(&self, sent: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(sent).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_let_in_with_tls_and_a_token_only() {
        let tls = || Some(TlsFiles { certificate: "c.pem".into(), key: "k.pem".into() });
        let token = || Some(Token::new("0123456789abcdef0123456789abcdef").unwrap());
        let says = |listen: &str, tls, token| {
            let settings = Settings { listen: listen.parse().unwrap(), tls, token, ..Settings::default() };
            settings.check().err().map(|error| error.to_string())
        };
        for (listen, tls, token, expected) in [
            ("127.0.0.1:0", None, None, None),
            ("[::1]:0", None, None, None),
            ("0.0.0.0:0", None, None, Some("TLS and a token are missing")),
            ("0.0.0.0:0", tls(), None, Some("a token is missing")),
            ("192.0.2.1:0", None, token(), Some("TLS is missing")),
            ("[::]:0", tls(), token(), None),
        ] {
            let said = says(listen, tls, token);
            match expected {
                None => assert_eq!(said, None, "{listen}"),
                Some(part) => assert!(said.unwrap().contains(part), "{listen}"),
            }
        }
    }

    #[test]
    fn a_token_is_long_enough_and_never_shown() {
        assert!(Token::new("short").unwrap_err().to_string().contains("at least 22"));
        assert!(Token::new("with space 0123456789abcdef").is_err());
        assert!(Token::new("faultline_0123456789abcdef0123456789abcdef").unwrap_err().to_string().contains("somebody's own"));
        let token = Token::new(" 0123456789abcdef0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef0123456789abcdef") && !token.is(b"0123456789abcdef0123456789abcdeF") && !token.is(b""));
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}
