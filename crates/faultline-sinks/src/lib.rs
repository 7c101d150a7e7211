//! Sinks: what leaves Faultline for other programs.
//!
//! What it is: a folder a sink. Each has what is configured, what is desired, what is there, and the difference, which it works off: here the two ends that touch the
//! world, the configuration and the calls. What is desired and what is left of it are rows of a stage (`faultline-core`), so that they survive whatever is
//! killed, move with their task, and are tested without a socket. What it is not: a queue of its own. A sink sees what is due in a task's committed state
//! ([`faultline_stream::Courier`]), does it, and appends what became of it as an input of the stage.
//!
//! A sink that is down, slow or wrongly configured delays nothing else: tasks never wait for one, and each destination has its own line.
//!
//! The way through: [`webhook`] is the first one, of the stage `notify`; of [`jira`] there are the words and the calls. `CONTRIBUTING.md` says how to add another.

pub mod jira;
pub mod webhook;
