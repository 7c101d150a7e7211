//! Which risks deserve a ticket, and in which queue: the ticket policy, as data beside the risk policy, and what it would do.
//!
//! What it is: pure functions over risks. What it is not: who writes tickets; that is a sink's, which follows what is said here.
//!
//! The way through: [`TicketPolicy`] is read with the description of the organisation; [`Plan`] takes risks in any order and tells the tickets: one a
//! fix, however many services and risks it repairs.

mod plan;
mod policy;

pub use plan::{Plan, Planned, PlannedQueue, PlannedRule, PlannedTicket, TICKETS_MOST, TooManyTickets};
pub use policy::{Mode, Queue, Rule, TicketPolicy, Units, When};
pub(crate) use policy::{Places, fit, read};
