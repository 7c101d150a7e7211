//! The HTTP door: reports and decisions in, risks out.
//!
//! What it is: routes over the traits of [`doors`] and the projection of `faultline-views`, with the limits and the protection of a
//! public door. What it is not: anything that decides, and no log: the binary gives the doors.
//!
//! The way through it: [`Server::bind`] checks the [`Settings`] and listens, [`Server::serve`] serves. A request passes the guard
//! (who may speak, how many at a time) and comes to its route, one file a resource; what blocks runs on threads for that. Writes
//! go through a door and answer once they are durable; reads ask the views; who wants to see what became of a write waits for its outcome.

mod counters;
pub mod doors;
mod guard;
pub mod health;
mod json;
mod lent;
mod parameters;
mod problem;
mod routes;
mod server;
mod settings;
mod state;
mod upload;
mod who;

pub use routes::routes;
pub use server::{Server, router};
pub use settings::{Limits, Serves, Settings, StartError, TlsFiles, Token};
