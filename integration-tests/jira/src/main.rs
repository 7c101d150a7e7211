//! The fake as a process, for demos: prints its address on a line, and runs until it is ended.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use faultline_fake_jira::{FakeJira, Options, Project, Workflow, duration};

/// A fake of Jira Cloud's REST API v3, with state. What it knows it forgets when it ends.
#[derive(Parser)]
#[command(
    name = "faultline-fake-jira",
    after_help = "Look at it and act as a person under /fake: GET /fake/issues, POST /fake/issues/KEY/close"
)]
struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long search does not see what changed: 500ms, 2s, 1m
    #[arg(long, default_value = "0s", value_parser = |text: &str| duration(text).ok_or("a number and ms, s or m are wanted"))]
    lag: Duration,
    #[arg(long, default_value = "fake-token")]
    token: String,
    #[arg(long, default_value = "faultline@example.com")]
    user: String,
    /// One more project with a simple workflow; may be said several times
    #[arg(long = "project", value_name = "KEY")]
    projects: Vec<String>,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mut options =
        Options { listen: arguments.listen, lag: arguments.lag, token: arguments.token, user: arguments.user, ..Options::default() };
    options.projects.extend(arguments.projects.iter().map(|key| Project::new(key, Workflow::simple())));
    let fake = FakeJira::try_start(options)?;
    println!("{}", fake.url());
    loop {
        std::thread::park();
    }
}
