//! Ids in rows of state (16 bytes rather than 32 digits), and assets.

use faultline_model::id::Id;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub fn serialize<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
    id.0.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    <[u8; 16]>::deserialize(deserializer).map(Id)
}

/// Several of them.
pub mod list {
    use super::{Deserialize, Deserializer, Id, Serializer};

    pub fn serialize<S: Serializer>(ids: &[Id], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ids.iter().map(|id| id.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Id>, D::Error> {
        Ok(<Vec<[u8; 16]>>::deserialize(deserializer)?.into_iter().map(Id).collect())
    }
}

/// Assets in rows of state: they were parsed when they came in.
pub mod asset {
    use std::borrow::Cow;

    use faultline_model::asset::AssetId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(asset: &AssetId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(asset.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AssetId, D::Error> {
        Ok(AssetId::of_known(&<Cow<'de, str>>::deserialize(deserializer)?))
    }
}
