//! The commands, one file a noun, and what they share.

mod adapters;
mod audit;
mod catalog;
mod config;
mod decide;
mod dlq;
mod exceptions;
mod findings;
mod intel;
mod migrate;
mod planned;
mod publish;
mod registry;
mod repartition;
mod risks;
mod sinks;
mod summary;
mod tickets;
mod tokens;
mod topics;
mod trace;
mod up;

use std::io::{BufRead, IsTerminal, Write};

use clap::CommandFactory;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::cli::{Cli, Command, Common};
use crate::client::Client;
use crate::failure::{Exit, Failure, say_aside};

/// Does what was asked.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { common, command } = cli;
    match command {
        Command::Up(arguments) => up::up(&common, &arguments),
        Command::Run(arguments) => up::run(&common, &arguments),
        Command::Migrate => migrate::run(&common),
        Command::Publish(arguments) => publish::run(&common, &arguments),
        Command::Risks(command) => risks::run(&common, &command),
        Command::Findings(command) => findings::run(&common, &command),
        Command::Decide(arguments) => decide::decide(&common, &arguments),
        Command::Retract(arguments) => decide::retract(&common, &arguments),
        Command::Retire(arguments) => decide::retire(&common, &arguments),
        Command::Exceptions(command) => exceptions::run(&common, &command),
        Command::Registry(command) => registry::run(&common, &command),
        Command::Catalog(command) => catalog::run(&common, &command),
        Command::Tickets(command) => tickets::run(&common, &command),
        Command::Sinks(command) => sinks::run(&common, &command),
        Command::Intel(command) => intel::run(&common, &command),
        Command::Summary(arguments) => summary::run(&common, &arguments),
        Command::Adapters(command) => adapters::run(&common, &command),
        Command::Audit(command) => audit::run(&common, &command),
        Command::Tokens(command) => tokens::run(&common, &command),
        Command::Whoami => tokens::whoami(&common),
        Command::Topics(command) => topics::run(&common, &command),
        Command::Dlq(command) => dlq::run(&common, &command),
        Command::Trace(arguments) => trace::run(&common, &arguments),
        Command::Config(command) => config::run(&common, &command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "faultline", &mut script);
            print_line(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Done)
        }
    }
}

/// A result as JSON. A reader that has seen enough (`| head`) is no error.
pub fn print_json(value: &Value) {
    print_line(&format!("{value:#}"));
}

/// A line of a result.
pub fn print_line(line: &str) {
    print_text(&format!("{line}\n"));
}

/// Lines of a result, with their line breaks. The only way to standard output: `print!` would panic where nobody reads.
pub fn print_text(text: &str) {
    let mut out = std::io::stdout();
    let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) else { return };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(Exit::Done as i32);
    }
    say_aside(&format!("error: standard output cannot be written: {error}"));
    std::process::exit(Exit::Failed as i32);
}

/// A note for people, on standard error.
pub fn note(common: &Common, text: &str) {
    if !common.quiet {
        say_aside(&format!("note: {text}"));
    }
}

/// An empty list is told from a name that nobody has heard of.
pub fn note_unheard(common: &Common, client: &Client, answer: &Value, names: [(&str, Option<&str>); 2]) -> Result<(), Failure> {
    if answer["items"].as_array().is_some_and(|items| !items.is_empty()) {
        return Ok(());
    }
    for (name, value) in names {
        let Some(value) = value else { continue };
        let query = [(name, value.to_owned()), ("state", "any".to_owned()), ("limit", "1".to_owned())];
        if client.get("/v1/findings", &query)?["items"].as_array().is_some_and(Vec::is_empty) {
            note(common, &format!("no finding of a {name} {value:?} is known"));
        }
    }
    Ok(())
}

/// Asks a person; no where none is there.
pub fn confirmed(question: &str) -> bool {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return false;
    }
    let mut answer = String::new();
    std::io::stderr().write_all(format!("{question} [y/N] ").as_bytes()).is_ok()
        && stdin.lock().read_line(&mut answer).is_ok()
        && ["y", "yes"].contains(&answer.trim())
}

/// A progress bar on a terminal; nothing elsewhere.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new(common: &Common, what: &'static str, length: u64) -> Self {
        let is_shown = std::io::stderr().is_terminal() && !common.quiet && !common.json;
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target).with_message(what);
        bar.set_style(ProgressStyle::with_template("{msg:>12} {wide_bar} {pos}/{len}").expect("a fixed template parses"));
        Self { bar }
    }

    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    /// So much is left of what is taken to be the whole.
    pub fn left(&self, left: u64) {
        let whole = self.bar.length().unwrap_or(0).max(left);
        self.bar.set_length(whole);
        self.bar.set_position(whole - left);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
