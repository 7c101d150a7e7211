//! The log of requests: what was asked, and what was answered.

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Request {
    /// The operation's name in Atlassian's contract; `unknown` if there is none.
    pub operation: &'static str,
    pub method: String,
    /// With the query.
    pub path: String,
    /// Null if there is none, a string if it is no JSON.
    pub body: Value,
    pub headers: Vec<(String, String)>,
    /// None while there is no answer, and for ever if the connection was closed without one.
    pub status: Option<u16>,
    /// Whether it was acted on: false where a fault came before.
    pub is_done: bool,
}

impl Request {
    pub fn is_write(&self) -> bool {
        is_write(&self.method, self.path.split('?').next().unwrap_or_default())
    }

    /// By a name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }
}

/// Some reads are POSTs, as their question is too long for an address.
pub(crate) fn is_write(method: &str, path: &str) -> bool {
    method != "GET" && !path.contains("/search/") && !path.ends_with("/bulkfetch")
}
