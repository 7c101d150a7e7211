//! notify: who is to be told what happened?
//!
//! What it is: a stage that looks at risks and register entries as they are said, says once that something of interest came about ([`happened`]), and keeps
//! for each destination what it has not been told yet ([`rows`]). What it is not: who tells them. Somebody beside the task reads what is [`due`] of committed
//! state, tells the destination, and appends what became of it to `deliveries`; the stage takes that as any other input. So a notice is due before anybody can
//! tell it, and a process that is killed at any moment leaves it due or delivered.

mod destinations;
mod happened;
mod placed;
mod rows;
mod stage;

pub use destinations::{Webhook, read};
pub use rows::{Due, due, undelivered};
pub(crate) use rows::{home_of, one_copy};
pub use stage::{Destination, Notify};
