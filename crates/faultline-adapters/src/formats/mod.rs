//! One file a report format.

pub(crate) mod checkov;
pub(crate) mod gitleaks;
pub(crate) mod json;
pub(crate) mod route_list;
