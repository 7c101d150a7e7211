//! One file a report format.

pub(crate) mod checkov;
pub(crate) mod gitleaks;
pub(crate) mod json;
pub(crate) mod route_list;
pub(crate) mod zap_xml;
