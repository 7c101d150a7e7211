//! What the views answer, one file a subject.

mod assets;
mod bodies;
pub(crate) mod catalog;
mod conditions;
pub(crate) mod covered;
pub(crate) mod findings;
mod list;
pub(crate) mod named;
mod register;
mod risks;
pub(crate) mod summary;
pub(crate) mod times;
pub(crate) mod told;
pub(crate) mod trace;
