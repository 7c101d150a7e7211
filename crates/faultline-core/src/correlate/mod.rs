//! correlate, by service: what is at risk, and how much?
//!
//! What it is: findings that are one flaw become one risk, with why they are one, how sure that is, and a score. Everything is a function
//! of the facts that hold now, never of the order in which they came; [`reference`] is that function written plainly. What it is not: a
//! place of decisions; those live with the findings.
//!
//! The way through: [`stage`] takes a fact, [`apply`] puts it into [`tables`] and marks the [`units`] that it can influence; at the end of
//! the batch [`evaluate`] reads each marked unit, [`groups`] and [`links`] say what belongs together, [`assemble`] makes a risk of it, and
//! [`publish`] says what differs from what was said. What is too much for one commit is [`pending`].

mod apply;
mod assemble;
mod code;
mod confidence;
mod copies;
mod covering;
mod evaluate;
mod facts;
mod fix;
mod groups;
mod heed;
mod links;
mod pending;
mod publish;
pub mod reference;
mod resolve;
mod route_maps;
mod shares;
mod stage;
mod tables;
mod templates;
mod units;

use crate::row::raw;

pub use apply::Gathered;
pub(crate) use copies::{home_of, one_copy};
pub use stage::{Bounds, Correlate, policy_of};
pub(crate) use tables::group_of;
pub use tables::service_of;
