//! The query part of a URL: names that are known, values that are read, and errors that name both.

use faultline_model::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StrDeserializer};

use crate::problem::Problem;

/// The most parameters that are read.
const PARAMETERS: usize = 200;

/// Parameters as they were sent.
pub(crate) struct Parameters {
    sent: Vec<(String, String)>,
}

impl Parameters {
    /// Reads a query; a name that is not `known` is an error, so that a misspelt filter does not show everything.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let sent: Vec<(String, String)> =
            url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().take(PARAMETERS + 1).collect();
        if sent.len() > PARAMETERS {
            return Err(Problem::bad_request(format!("there are more than {PARAMETERS} parameters"), "Ask for less at once."));
        }
        match sent.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Self { sent }),
            Some((name, _)) => {
                Err(Problem::bad_request(format!("there is no parameter {name:?} here"), format!("Known are: {}.", known.join(", "))))
            }
        }
    }

    /// All values of a name, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.sent.iter().filter(move |(sent, _)| sent == name).map(|(_, value)| value.as_str())
    }

    /// The one value of a name.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Problem::bad_request(format!("{name} is given twice"), "Give it once.")),
        }
    }

    /// The one value of a name as a text; empty if it is not given.
    pub fn text(&self, name: &str) -> Result<String, Problem> {
        Ok(self.one(name)?.unwrap_or_default().to_owned())
    }

    /// The one value of a name, read.
    pub fn read_one<T: std::str::FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.one(name)? else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|error| wrong(name, value, &error, expected))
    }

    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.read_one(name, "RFC 3339 (2026-01-31T08:15:00Z) or a date (2026-01-31)")
    }

    /// A flag: `true`, `false`, or the name alone.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(wrong(name, other, &"it is neither", "true or false")),
        }
    }

    /// Words of a list, apart by commas or given several times.
    pub fn words<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<Vec<T>, Problem> {
        self.all(name).flat_map(|value| value.split(',')).map(|value| word(name, value, expected)).collect()
    }

    /// One word of a list.
    pub fn word<T: DeserializeOwned>(&self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        self.one(name)?.map(|value| word(name, value, expected)).transpose()
    }

    /// `250ms`, `5s`, or seconds alone.
    pub fn wait(&self, longest: std::time::Duration) -> Result<Option<std::time::Duration>, Problem> {
        let Some(text) = self.one("wait")? else {
            return Ok(None);
        };
        let (digits, millis) = match text.strip_suffix("ms") {
            Some(digits) => (digits, 1),
            None => (text.strip_suffix('s').unwrap_or(text), 1000),
        };
        let number: u64 = digits.parse().map_err(|error| wrong("wait", text, &error, "a time like 250ms or 5s"))?;
        Ok(Some(std::time::Duration::from_millis(number.saturating_mul(millis)).min(longest)))
    }
}

/// A word of the model, by its name in records; `-` counts as `_`.
pub(crate) fn word<T: DeserializeOwned>(name: &str, value: &str, expected: &str) -> Result<T, Problem> {
    let folded = value.trim().replace('-', "_");
    let read: Result<T, WordError> = T::deserialize(StrDeserializer::new(&folded));
    read.map_err(|_| wrong(name, value, &"it is none of these", expected))
}

fn wrong(name: &str, value: &str, why: &dyn std::fmt::Display, expected: &str) -> Problem {
    let shown: String = value.chars().take(80).collect();
    Problem::bad_request(format!("{name} is {shown:?}: {why}"), format!("Expected is {expected}."))
}
