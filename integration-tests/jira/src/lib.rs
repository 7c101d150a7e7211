//! A site of Jira Cloud with state, for tests and demos: as much of its REST API v3 as somebody needs who keeps tickets.
//!
//! What it is: issues that are created, found, edited, closed and commented, by us over HTTP and by persons, with what makes that hard: a
//! search that is behind, answers that are lost, limits, webhooks twice and out of order. It is held against Atlassian's own contract
//! (`tests/the_fake_keeps_the_contract.rs`). What it is not: a Jira. It knows the operations of one table (`serve/mod.rs`), one account that
//! asks, four or five workflows, and of JQL what finds marked issues; what it does not know it refuses.
//!
//! The way through: a request comes in at `door.rs`, where faults are, finds its operation in `serve`, and changes `world.rs`, which tells
//! search and webhooks. [`FakeJira`] is what a test holds: it looks at state, injects a [`Fault`], or acts as a [`Person`].
//!
//! ```
//! use faultline_fake_jira::{Fault, FakeJira, Options, What};
//!
//! let fake = FakeJira::start(Options::default());
//! // The first issue will be created, and nobody will hear of it.
//! fake.inject(Fault::new(What::DropAfter).on("createIssue").first(1));
//! assert!(fake.url().starts_with("http://127.0.0.1:"));
//! assert!(fake.issues().is_empty());
//! ```

mod adf;
mod clock;
mod control;
mod door;
mod fake;
mod fault;
mod fields;
mod issue;
mod jql;
mod options;
mod person;
mod project;
mod request;
mod serve;
mod user;
mod webhook;
mod workflow;
mod world;

pub use clock::Clock;
pub use control::duration;
pub use fake::FakeJira;
pub use fault::{Answer, Fault, Limit, On, RetryAfter, What, Which};
pub use issue::{Change, ChangeItem, Comment, Issue, RemoteLink};
pub use options::Options;
pub use person::{ActError, Person};
pub use project::{CustomField, FieldKind, IssueType, Project, usual_projects};
pub use request::Request;
pub use user::User;
pub use webhook::{DeliveryError, Webhook, signature};
pub use workflow::{Category, Resolving, Status, Transition, Workflow};
