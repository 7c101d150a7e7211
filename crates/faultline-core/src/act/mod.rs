//! act, by subject: what is to be done about risks?
//!
//! What it is: a stage that judges what people do with exceptions ([`exception`] is the machine, [`policy`] what the organisation allows), says which hold, counts
//! what they cover, suspends them when an assumption breaks, and writes the risk register. What it is not: who decides which risk is covered; that is
//! correlate's, which tells it in shares, as it does which ask for a ticket: [`ticket`] says what that should look like.
//!
//! The way through: [`stage`] takes a step or a share and keeps it in [`rows`]; [`covered`] sums shares up; [`entry`] says what the register has to say.

mod covered;
mod entry;
pub mod exception;
pub mod policy;
mod rows;
mod stage;
mod ticket;

pub(crate) use rows::home_of;
pub use stage::{Act, Gathered};
