//! Which service a place belongs to: the longest prefix that holds it, in the most specific record that has one.

use faultline_model::asset::{AssetId, AssetKind};
use faultline_model::catalog::{CodeOwners, PlaceRule, Places, UNASSIGNED};

/// What the catalog says of one place of one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The service that owns it; `unassigned/<asset>` where no rule holds it.
    pub owner: String,
    /// Services that use it.
    pub users: Vec<String>,
    /// The prefix of the rule that holds it, without `/` at its ends; empty for the whole asset.
    pub prefix: String,
    /// What the gateway puts in place of the prefix; none leaves it.
    pub rewrite: Option<String>,
}

impl Placement {
    /// The service of a place that no rule holds.
    pub fn unassigned(asset: &AssetId) -> Self {
        Self { owner: format!("{UNASSIGNED}{asset}"), users: Vec::new(), prefix: String::new(), rewrite: None }
    }

    fn of(rule: &PlaceRule) -> Self {
        Self {
            owner: rule.owner.clone(),
            users: rule.users.clone(),
            prefix: trimmed(&rule.prefix).to_owned(),
            rewrite: rule.rewrite.clone(),
        }
    }

    /// Whether anybody said who owns it.
    pub fn is_assigned(&self) -> bool {
        !self.owner.starts_with(UNASSIGNED)
    }

    /// The owner, then the users: the services that are shown a finding here.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.owner.as_str()).chain(self.users.iter().map(String::as_str))
    }

    /// A path as the service behind the gateway sees it, to be matched with route templates.
    pub fn rewritten(&self, path: &str) -> String {
        let Some(base) = &self.rewrite else { return path.to_owned() };
        let Some(rest) = below(path, &self.prefix) else { return path.to_owned() };
        match (trimmed(base), rest) {
            ("", rest) => format!("/{rest}"),
            (base, "") => format!("/{base}"),
            (base, rest) => format!("/{base}/{rest}"),
        }
    }
}

/// The placement of a path within an asset; an empty path is the asset itself.
///
/// `places` are the records at [`faultline_model::catalog::places_keys`] of the asset, the most specific first; an
/// `Option<&Places>` will do where only one is kept. A record without a rule for the path leaves it to the next.
pub fn place<'a>(places: impl IntoIterator<Item = &'a Places>, asset: &AssetId, path: &str) -> Placement {
    let path = if asset.kind() == AssetKind::Url { path.split(['?', '#']).next().unwrap_or_default() } else { path };
    let longest = |record: &'a Places| {
        let holding = record.rules.iter().filter(|rule| below(path, &rule.prefix).is_some());
        holding.max_by_key(|rule| trimmed(&rule.prefix).len())
    };
    places.into_iter().find_map(longest).map_or_else(|| Placement::unassigned(asset), Placement::of)
}

/// The branch whose findings make risks: of the most specific record that names one; `None` leaves it to the publisher.
pub fn default_branch<'a>(places: impl IntoIterator<Item = &'a Places>) -> Option<&'a str> {
    places.into_iter().map(|record| record.default_branch.as_str()).find(|branch| !branch.is_empty())
}

/// The CODEOWNERS rules of the most specific record that has any.
pub fn code_owners<'a>(places: impl IntoIterator<Item = &'a Places>) -> &'a [CodeOwners] {
    places.into_iter().map(|record| record.code_owners.as_slice()).find(|rules| !rules.is_empty()).unwrap_or_default()
}

/// What is left of a path below a prefix, by whole segments; `None` if it is elsewhere.
pub(super) fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let (path, prefix) = (trimmed(path), trimmed(prefix));
    match path.strip_prefix(prefix)? {
        rest if prefix.is_empty() || rest.is_empty() => Some(rest),
        rest => rest.strip_prefix('/'),
    }
}

/// Prefixes of URLs are written `/api`, those of repositories `services/cart`: they are compared alike.
fn trimmed(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path).trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, owner: &str, rewrite: Option<&str>) -> PlaceRule {
        PlaceRule { prefix: prefix.into(), owner: owner.into(), users: vec!["mobile".into()], rewrite: rewrite.map(Into::into) }
    }

    #[test]
    fn the_longest_prefix_wins_at_whole_segments() {
        let asset = AssetId::read("repo:github.com/acme/shop").unwrap();
        let places = Places { rules: vec![rule("", "shop", None), rule("services/cart", "cart", None)], ..Places::default() };
        for (path, owner) in [
            ("", "shop"),
            ("pom.xml", "shop"),
            ("services/cart", "cart"),
            ("./services/cart/src/Main.java", "cart"),
            ("/services/cart/", "cart"),
            ("services/cartography/x", "shop"),
            ("other/services/cart/x", "shop"),
        ] {
            assert_eq!(place(Some(&places), &asset, path).owner, owner, "{path}");
        }
        assert_eq!(place(None, &asset, "x"), Placement::unassigned(&asset));
        assert_eq!(place(None, &asset, "x").owner, "unassigned/repo:github.com/acme/shop");
    }

    #[test]
    fn a_record_without_a_rule_for_the_path_leaves_it_to_the_next() {
        let asset = AssetId::read("repo:github.com/acme/shop").unwrap();
        let own = Places { rules: vec![rule("services/cart", "cart", None)], default_branch: "main".into(), ..Places::default() };
        let all = Places { rules: vec![rule("", "acme", None)], default_branch: "trunk".into(), ..Places::default() };
        assert_eq!(place([&own, &all], &asset, "services/cart/x").owner, "cart");
        assert_eq!(place([&own, &all], &asset, "x").owner, "acme");
        assert_eq!(default_branch([&own, &all]), Some("main"));
        assert_eq!(default_branch(None), None);
    }

    #[test]
    fn a_gateway_puts_its_own_in_place_of_the_prefix() {
        let asset = AssetId::read("url:https://shop.example").unwrap();
        let rules = vec![rule("/api", "api", Some("/")), rule("/old", "api", Some("/v1/")), rule("/", "web", None)];
        let places = Places { rules, ..Places::default() };
        for (path, owner, seen) in [
            ("/api/users/1?x=/old", "api", "/users/1"),
            ("/api", "api", "/"),
            ("/old", "api", "/v1"),
            ("/old/a", "api", "/v1/a"),
            ("/apis", "web", "/apis"),
        ] {
            let placement = place(Some(&places), &asset, path);
            let path = path.split('?').next().unwrap();
            assert_eq!((placement.owner.as_str(), placement.rewritten(path).as_str()), (owner, seen), "{path}");
        }
    }
}
