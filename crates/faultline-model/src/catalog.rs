//! The organisation as records: nodes, services, which service a place belongs to, the risk policy. Global: every task reads all.
//!
//! An apply writes what changed and, last and in the same batch, the [`Head`] with the new version.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The service of a place that no rule matches.
pub const UNASSIGNED: &str = "unassigned/";

/// A value of `catalog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogRecord {
    Node(Node),
    Service(Service),
    Places(Places),
    Policy(PolicyText),
    Head(Head),
}

/// A business unit, product or team, at any depth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: String,
    pub name: String,
    /// `business_unit`, `product`, `team`, or the organisation's own word.
    pub kind: String,
    /// The node above; empty at the top.
    pub parent: String,
    /// People and teams that answer for it.
    pub owners: Vec<String>,
}

/// What a team owns and runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: String,
    pub name: String,
    /// The node that it belongs to.
    pub parent: String,
    /// Business tier, 1 (vital) to 4.
    pub tier: i32,
    /// `internet`, `partner`, `internal` or `not_deployed`.
    pub exposure: String,
    /// Kinds of data that it holds: `personal`, `regulated`, `public`, or the organisation's own words.
    pub data: Vec<String>,
    /// People and teams that answer for it; those of the nearest unit above where the catalog names none.
    pub owners: Vec<String>,
    /// Ids of the nodes above, the nearest first.
    pub path: Vec<String>,
}

/// Which services the places of an asset, or of all assets below a prefix, belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// A canonical asset name, or a prefix of such that ends in `/*`.
    pub assets: String,
    /// The branch whose findings make risks; empty for what the publisher says.
    pub default_branch: String,
    /// The longest matching prefix wins.
    pub rules: Vec<PlaceRule>,
    /// CODEOWNERS rules of the asset, in file order; the last that matches wins.
    pub code_owners: Vec<CodeOwners>,
}

/// A part of an asset and its service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRule {
    /// A folder or file inside the asset, or the beginning of a URL's path; empty for all of it.
    pub prefix: String,
    /// The service that owns it.
    pub owner: String,
    /// Services that use it: they are shown its findings as well.
    pub users: Vec<String>,
    /// What the gateway puts in place of the prefix before a path is matched with route templates; none leaves it.
    pub rewrite: Option<String>,
}

/// One line of a CODEOWNERS file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeOwners {
    pub pattern: String,
    pub owners: Vec<String>,
}

/// The risk policy as it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyText {
    pub name: String,
    pub version: String,
    /// The whole policy, presets and overrides resolved.
    pub yaml: String,
}

/// The end of an apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// 1 for the first apply; one more for each that changed something.
    pub version: i64,
    pub applied: Timestamp,
    pub actor: String,
    /// Hex digest of all entities.
    pub digest: String,
}

/// The key of the head.
pub const HEAD_KEY: &str = "head";
/// The key of the risk policy.
pub const POLICY_KEY: &str = "policy";
/// The key of the ticket policy's record, which is of kind policy as well.
pub const TICKETS_KEY: &str = "tickets";

/// The key of what the organisation allows of exceptions, whose record is of kind policy too.
pub const EXCEPTIONS_KEY: &str = "exceptions";

/// The key of a node.
pub fn node_key(id: &str) -> String {
    format!("node/{id}")
}

/// The key of a service.
pub fn service_key(id: &str) -> String {
    format!("service/{id}")
}

/// The key of the places of an asset or a prefix of assets.
pub fn places_key(assets: &str) -> String {
    format!("places/{assets}")
}

/// The keys at which the rules of an asset may stand, the most specific first: the asset, then `…/*` of each folder above it.
pub fn places_keys(asset: &str) -> Vec<String> {
    let mut keys = vec![places_key(asset)];
    keys.extend(asset.match_indices('/').rev().map(|(at, _)| places_key(&format!("{}/*", &asset[..at]))));
    keys
}

/// The envelope as it stands in Avro.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CatalogEnvelope {
    pub kind: String,
    pub node: Option<Node>,
    pub service: Option<Service>,
    pub places: Option<Places>,
    pub policy: Option<PolicyText>,
    pub head: Option<Head>,
}

crate::record::envelope! {
    "catalog", CatalogRecord, CatalogEnvelope {
        "node" => node: Node,
        "service" => service: Service,
        "places" => places: Places,
        "policy" => policy: Policy,
        "head" => head: Head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_an_asset_stand_at_the_asset_or_above_it() {
        let keys = places_keys("repo:github.com/acme/shop");
        assert_eq!(keys, ["places/repo:github.com/acme/shop", "places/repo:github.com/acme/*", "places/repo:github.com/*"]);
        assert_eq!(places_keys("host:db1"), ["places/host:db1"]);
    }
}
