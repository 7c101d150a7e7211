//! Reports of security tools, read into observations.
//!
//! What it is: one file a report format ([`formats`]), recognised by content, read as a stream, with nothing kept of what a
//! report says about machines or people beyond the finding. What it is not: a scanner, a store, or a place where findings
//! are merged; every occurrence is kept, and merging happens later, by identity, in one place.
//!
//! The way through: [`registry::detect`] finds the [`adapter::Adapter`], [`registry::read`] runs it over a
//! [`adapter::Report`] into whatever implements [`adapter::Emit`].

pub mod adapter;
pub mod formats;
pub mod head;
mod ranked;
pub mod registry;
pub mod secret;
