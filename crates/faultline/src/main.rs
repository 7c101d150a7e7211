//! The binary: commands, configuration, and the wiring of roles.
//!
//! What it is: a command line over one API. Where a service runs, a command speaks HTTP to it; where none does, it opens the data folder,
//! builds the same service inside this process, and speaks to that. So both ways have one behaviour. What it is not: a place where
//! anything is decided; that is `faultline-core`.
//!
//! The way through it: [`cli`] says what was asked, [`settings`] with what, [`commands`] does it through a [`client::Client`], which
//! reaches the [`service::Service`].

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod access;
mod cli;
mod client;
mod commands;
mod failure;
mod git;
mod secrets;
mod service;
mod settings;
mod show;

use std::process::ExitCode;

use clap::Parser;

/// RocksDB and the stages allocate much and briefly; glibc's arenas would keep what they gave.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(end) => end.into(),
        Err(failure) => {
            failure.tell();
            failure.exit().into()
        }
    }
}
