//! Why the views cannot answer.

/// An error of the views. A caller's own mistakes (`Cursor`, `Filter`) are apart from faults of the file.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error("the cursor {text:?} {why}; begin again without one")]
    Cursor { text: String, why: &'static str },
    #[error("filter {name}: {value:?} {why}")]
    Filter { name: &'static str, value: String, why: &'static str },
    #[error("the views' file {path} cannot be opened; it can be deleted at any time, the topics fill it again")]
    Open {
        path: String,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the views' file {path} cannot be replaced")]
    Replace {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the views' database failed; the file can be deleted at any time, the topics fill it again")]
    Database(#[from] rusqlite::Error),
    #[error("a record's body could not be read where it is kept: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("row {row} of {table} cannot be read: {what}; if no newer program wrote it, delete the views' file, the topics fill it again")]
    Corrupt { table: &'static str, row: i64, what: String },
}
