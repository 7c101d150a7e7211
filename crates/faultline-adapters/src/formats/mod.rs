//! One file a report format.

pub(crate) mod checkov;
pub(crate) mod generic_csv;
pub(crate) mod generic_json;
pub(crate) mod gitleaks;
pub(crate) mod grype;
pub(crate) mod json;
pub(crate) mod openapi;
pub(crate) mod route_list;
pub(crate) mod sarif;
pub(crate) mod trivy;
pub(crate) mod zap_xml;
