//! Where something stands in the organisation.

use std::collections::BTreeSet;

use faultline_model::catalog::{CatalogRecord, node_key, service_key};
use faultline_model::topic::CATALOG;

use crate::catalog::DEPTH;
use crate::stage::{Batch, StageError};

/// Names, with all that the catalog has above each now.
pub fn places(batch: &Batch<'_>, names: &[String]) -> Result<Vec<String>, StageError> {
    let mut places = BTreeSet::new();
    for name in names {
        let mut next = Some(name.clone());
        // A service stands below the deepest node; more than that is a circle amid an apply.
        for _ in 0..=DEPTH {
            let Some(name) = next.filter(|name| !name.is_empty()) else { break };
            next = above(batch, &name)?;
            places.insert(name);
        }
    }
    Ok(places.into_iter().collect())
}

/// What a unit or a service stands directly below. Of what cannot be read, or is not there, nothing is known.
fn above(batch: &Batch<'_>, name: &str) -> Result<Option<String>, StageError> {
    let key = if name.starts_with(&service_key("")) { name.to_owned() } else { node_key(name) };
    match batch.global(CATALOG, &key) {
        Ok(Some(CatalogRecord::Service(service))) => Ok(Some(service.parent)),
        Ok(Some(CatalogRecord::Node(node))) => Ok(Some(node.parent)),
        Ok(_) | Err(StageError::Poison { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
