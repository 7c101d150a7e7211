//! What a fake begins with.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Clock;
use crate::project::{Project, usual_projects};
use crate::user::User;

#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; any free port of the loopback address by default.
    pub listen: SocketAddr,
    /// How long search does not see an issue, or a change of one.
    pub lag: Duration,
    pub clock: Clock,
    /// The e-mail address of the one account that requests come from.
    pub user: String,
    pub token: String,
    pub projects: Vec<Project>,
    /// The others; the first is the person that [`crate::FakeJira::as_person`] acts as.
    pub users: Vec<User>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            lag: Duration::ZERO,
            clock: Clock::Real,
            user: "faultline@example.com".to_owned(),
            token: "fake-token".to_owned(),
            projects: usual_projects(),
            users: vec![
                User::new("5b10a2844c20165700ede21g", "Mia Krystof", "mia@example.com"),
                User::new("5b10ac8d82e05b22cc7d4ef5", "Emma Richards", "emma@example.com"),
            ],
        }
    }
}
