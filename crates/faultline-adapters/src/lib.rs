//! Reports of security tools, read into observations.
//!
//! What it is: one file a report format ([`formats`]), recognised by content, read as a stream, with nothing kept of what a
//! report says about machines or people beyond the finding. What it is not: a scanner, a store, or a place where findings
//! are merged; every occurrence is kept, and merging happens later, by identity, in one place.
//!
//! The way through: [`registry::detect`] finds the [`adapter::Adapter`], [`registry::read`] runs it over a
//! [`adapter::Report`] into whatever implements [`adapter::Emit`], and [`publish::records`] makes records of it.
//!
//! ```
//! use faultline_adapters::{adapter::Report, publish, registry, secret::SecretKey};
//!
//! let mut file = std::io::Cursor::new(r#"{"SchemaVersion": 2, "ArtifactName": "nginx:1.27", "Results": []}"#);
//! let key = SecretKey::from_passphrase("of this installation");
//! let mut report = Report::new(&mut file, &key);
//! let adapter = registry::detect(&mut report)?;
//! let mut sent = Vec::new();
//! let scans = publish::records(&mut report, adapter, &publish::Claim::default(), &mut |_, record| {
//!     sent.push(record);
//!     Ok::<(), std::convert::Infallible>(())
//! })
//! .map_err(|error| error.to_string())?;
//! assert_eq!((adapter.name, scans[0].asset.as_str()), ("trivy", "image:docker.io/library/nginx"));
//! assert_eq!(sent.len(), 2, "a start and an end");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
pub mod formats;
pub mod head;
mod inflate;
pub mod normalized;
pub mod publish;
mod ranked;
pub mod registry;
pub mod secret;
