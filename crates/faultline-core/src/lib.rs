//! What decides: the stages as pure functions of state and input, and the score.
//!
//! What it is: deterministic functions over typed tables on an ordered key-value store. What it is not: anything with a
//! clock, a socket, a thread or randomness; a host gives time and input, and makes the results durable.

pub mod access;
pub mod act;
pub mod audit;
pub mod catalog;
pub mod correlate;
pub mod description;
pub mod notify;
pub mod policy;
pub mod precision;
mod row;
pub mod score;
pub mod stage;
pub mod store;
pub mod tickets;
pub mod track;
