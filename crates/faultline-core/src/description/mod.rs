//! What people describe in YAML files: read with all that is wrong told at once, each fault with its place and what was expected.

pub mod cursor;
pub mod fault;

pub use fault::{DescriptionError, FAULTS_TOLD, Fault};
