//! How a command ends, and what it says when it fails.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use faultline_stream::chain;

/// How a command ended. The numbers are documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    WrongUse = 2,
    Refused = 3,
    Partly = 4,
    NotReachable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, " ({})", self.next) }
    }
}

/// Why a command failed: what happened, and what to do next.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    next: String,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, what: what.into(), next: next.into() }
    }

    /// From an error with all its causes.
    pub fn of(exit: Exit, error: &(dyn Error + 'static), next: impl Into<String>) -> Self {
        Self::new(exit, chain(error), next)
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// To standard error.
    pub fn tell(&self) {
        say_aside(&format!("error: {}", self.what));
        if !self.next.is_empty() {
            say_aside(&format!("  {}", self.next));
        }
    }
}

/// A line for people, on standard error. The only way there: `eprintln!` would panic where that is a file on a full disk, or nobody reads,
/// and there is nowhere left to say so.
pub fn say_aside(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_tells_the_whole_chain_once() {
        let error = Outer(std::io::Error::other("inner"));
        assert_eq!(Failure::of(Exit::Failed, &error, "").what, "outer: inner");
    }
}
