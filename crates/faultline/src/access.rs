//! Who may come in, by the settings: the file of roles, and what the operator is called.

use std::path::{Path, PathBuf};

use faultline_core::access;
use faultline_core::description::DescriptionError;
use faultline_model::access::Roles;

/// Why roles cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{path} cannot be read: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Roles(#[from] DescriptionError),
}

/// The roles of a file.
pub fn roles(path: &Path) -> Result<Roles, AccessError> {
    let text = std::fs::read_to_string(path).map_err(|source| AccessError::File { path: path.to_owned(), source })?;
    Ok(access::read(&path.display().to_string(), &text)?)
}

/// The operating system's name of who runs this process.
pub fn user() -> String {
    let named = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "local".to_owned())
}
