//! Jira Cloud, by its REST API v3: what stands in an issue, and the calls that make it, find it and change it.
//!
//! | part | where |
//! | --- | --- |
//! | config | how sites are reached ([`Sites`]) |
//! | desired | `tickets.desired`: which tickets there should be, put into words by [`text`] |
//! | actual | [`Client`] calls a site, and [`Trouble`] tells what was surely not done from what nobody knows |
//!
//! The difference, who makes which issue when, is not here yet.

mod answer;
mod client;
mod config;
mod issue;
mod jql;
mod meta;
pub mod text;
mod transition;
mod trouble;
mod words;

pub use client::Client;
pub use config::{Site, SiteError, Sites};
pub use issue::{Account, Category, Draft, Edit, Found, Issue, PROPERTY, Seen};
pub use meta::{Permissions, RequiredField};
pub use transition::{Target, Went};
pub use trouble::{Scope, Trouble};
