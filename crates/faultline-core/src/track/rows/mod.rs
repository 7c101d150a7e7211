//! What the tables hold, one file a group.

pub(super) mod asset;
pub(super) mod body;
pub(super) mod detail;
pub(super) mod finding;
pub(super) mod floor;
pub(super) mod job;
pub(super) mod line;
pub(super) mod route;
pub(super) mod texts;
