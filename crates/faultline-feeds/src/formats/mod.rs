//! One file a format.

pub(crate) mod aliases;
pub(crate) mod epss;
pub(crate) mod exploits;
mod gathered;
pub(crate) mod json;
pub(crate) mod kev;

pub use gathered::{ALIASES_OF_ONE, IDS_OF_A_FEED};
