//! Who comes in, and where what they want is allowed.

use std::collections::BTreeSet;

use super::roles::{Action, HeldRole, Role, Roles, Where};
use super::{TokenRecord, TokenScope};
use crate::asset::AssetId;
use crate::time::Timestamp;

/// Somebody who came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    actor: String,
    roles: Vec<HeldRole>,
    /// What the token is for; none without a token of an actor.
    limits: Option<Limits>,
    is_operator: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limits {
    scopes: Vec<TokenScope>,
    nodes: BTreeSet<String>,
    assets: Vec<String>,
    ends: Timestamp,
}

/// Where an action is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    Nowhere,
    Everywhere,
    /// At services that stand below one of the names of every part: what roles allow, and what a token is for. No part is empty.
    Within(Vec<BTreeSet<String>>),
}

impl Caller {
    /// Who runs the installation: on the machine itself, or with the token that it was started with. They may do everything, in anybody's
    /// name: what separates duties is then trust.
    pub fn operator(actor: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            roles: vec![HeldRole { role: Role::Admin, at: Where::Everywhere, up_to: None }],
            limits: None,
            is_operator: true,
        }
    }

    /// The actor of a token, with the roles that the actor has now.
    pub fn with_token(token: &TokenRecord, roles: &Roles) -> Self {
        let (scopes, nodes, assets) = (token.scopes.clone(), token.nodes.iter().cloned().collect(), token.assets.clone());
        let limits = Limits { scopes, nodes, assets, ends: token.ends };
        Self { actor: token.actor.clone(), roles: roles.of(&token.actor), limits: Some(limits), is_operator: false }
    }

    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Whether they may act in somebody else's name.
    pub fn is_operator(&self) -> bool {
        self.is_operator
    }

    /// Where an action is allowed. What a token publishes is by asset: see [`Self::assets`].
    pub fn reach(&self, action: Action) -> Reach {
        self.reach_up_to(action, 0)
    }

    /// Where an action is allowed on what scores up to so much.
    pub fn reach_up_to(&self, action: Action, score: i32) -> Reach {
        if self.limits.as_ref().is_some_and(|limits| !limits.scopes.iter().any(|scope| scope.is_for(action))) {
            return Reach::Nowhere;
        }
        let may = |held: &&HeldRole| held.role.allows(action) && held.up_to.is_none_or(|most| score <= most);
        let holds: Vec<&Where> = self.roles.iter().filter(may).map(|held| &held.at).collect();
        if holds.is_empty() {
            return Reach::Nowhere;
        }
        let mut parts = Vec::new();
        if !holds.contains(&&Where::Everywhere) {
            parts.push(holds.into_iter().filter_map(|at| if let Where::Below(name) = at { Some(name.clone()) } else { None }).collect());
        }
        if let Some(limits) = self.limits.as_ref().filter(|limits| !limits.nodes.is_empty()) {
            parts.push(limits.nodes.clone());
        }
        if parts.is_empty() { Reach::Everywhere } else { Reach::Within(parts) }
    }

    /// The assets whose reports are taken, as names or beginnings that end in `*`: what a token of scope publish names, else all for who may
    /// publish everywhere.
    pub fn assets(&self) -> Vec<String> {
        match &self.limits {
            Some(limits) if limits.scopes.contains(&TokenScope::Publish) => limits.assets.clone(),
            _ if self.reach(Action::Publish) == Reach::Everywhere => vec!["*".to_owned()],
            _ => Vec::new(),
        }
    }

    /// From when on they are no longer let in; none for the operator.
    pub fn ends(&self) -> Option<Timestamp> {
        self.limits.as_ref().map(|limits| limits.ends)
    }

    /// Whether reports of an asset are taken.
    pub fn may_publish(&self, asset: &AssetId) -> bool {
        self.assets().iter().any(|pattern| is_of(pattern, asset.as_str()))
    }

    /// All roles, for people to see.
    pub fn roles(&self) -> &[HeldRole] {
        &self.roles
    }
}

impl TokenScope {
    /// Whether a token of this scope is for an action.
    pub fn is_for(self, action: Action) -> bool {
        match self {
            Self::Publish => action == Action::Publish,
            Self::Read => action == Action::Read,
            Self::Decide => !matches!(action, Action::Publish | Action::Administer),
            Self::Admin => true,
        }
    }
}

/// Whether an asset has a name, or begins with a pattern that ends in `*`.
fn is_of(pattern: &str, asset: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == asset, |begin| asset.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Granted;
    use crate::id::Id;
    use proptest::prelude::*;

    fn token(scopes: &[TokenScope], nodes: &[&str], assets: &[&str]) -> TokenRecord {
        let texts = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect();
        TokenRecord {
            token: Id([1; 16]),
            hash: String::new(),
            actor: "ana".into(),
            purpose: String::new(),
            scopes: scopes.to_vec(),
            nodes: texts(nodes),
            assets: texts(assets),
            created: Timestamp::from_millis(0),
            created_by: "operator".into(),
            ends: Timestamp::from_millis(1),
            revoked: None,
        }
    }

    fn roles(granted: &[(Role, Where)]) -> Roles {
        Roles::new(granted.iter().map(|(role, at)| Granted { actor: "ana".into(), role: *role, at: at.clone(), up_to: None }))
    }

    fn below(name: &str) -> Where {
        Where::Below(name.into())
    }

    #[test]
    fn a_token_reaches_no_further_than_its_actor_nor_than_it_was_made_for() {
        use TokenScope::{Admin, Decide, Publish, Read};
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let retail = roles(&[(Role::Triager, below("retail")), (Role::Reader, Where::Everywhere)]);
        let reach = |scopes: &[TokenScope], nodes: &[&str], action| Caller::with_token(&token(scopes, nodes, &[]), &retail).reach(action);
        assert_eq!(reach(&[Read], &[], Action::Read), Reach::Everywhere);
        assert_eq!(reach(&[Read], &["shop"], Action::Read), Reach::Within(vec![set(&["shop"])]));
        assert_eq!(reach(&[Decide], &[], Action::Decide), Reach::Within(vec![set(&["retail"])]));
        assert_eq!(reach(&[Decide], &["shop"], Action::Decide), Reach::Within(vec![set(&["retail"]), set(&["shop"])]));
        assert_eq!(reach(&[Admin], &[], Action::Decide), Reach::Within(vec![set(&["retail"])]));
        for (scope, action) in [(Read, Action::Decide), (Publish, Action::Read), (Decide, Action::Retract), (Admin, Action::Administer)] {
            assert_eq!(reach(&[scope], &[], action), Reach::Nowhere, "{scope:?} {action:?}");
        }
    }

    #[test]
    fn a_token_publishes_for_the_assets_that_it_names_and_for_no_other() {
        let asset = |name: &str| AssetId::read(name).unwrap();
        let caller = |scopes: &[TokenScope], assets: &[&str]| Caller::with_token(&token(scopes, &[], assets), &Roles::default());
        let one = caller(&[TokenScope::Publish], &["repo:github.com/acme/shop", "image:ghcr.io/acme/*"]);
        assert!(one.may_publish(&asset("repo:github.com/acme/shop")) && one.may_publish(&asset("image:ghcr.io/acme/web")));
        assert!(!one.may_publish(&asset("repo:github.com/acme/shop2")) && !one.may_publish(&asset("image:ghcr.io/acme2/web")));
        assert!(caller(&[TokenScope::Read], &["*"]).assets().is_empty() && caller(&[TokenScope::Publish], &[]).assets().is_empty());
        assert!(Caller::operator("me").may_publish(&asset("host:db1")));
        // What a token was made for holds for an admin's too.
        let admin = roles(&[(Role::Admin, Where::Everywhere)]);
        let of_admin = |scopes: &[TokenScope]| Caller::with_token(&token(scopes, &[], &["repo:github.com/acme/shop"]), &admin);
        for (scopes, is_all) in [
            (&[TokenScope::Publish][..], false),
            (&[TokenScope::Publish, TokenScope::Read], false),
            (&[TokenScope::Read], false),
            (&[TokenScope::Admin], true),
        ] {
            assert_eq!(of_admin(scopes).may_publish(&asset("host:db1")), is_all, "{scopes:?}");
        }
    }

    fn any_roles() -> impl Strategy<Value = Vec<(Role, Where)>> {
        let at = prop_oneof![Just(Where::Everywhere), "[abc]".prop_map(Where::Below)];
        proptest::collection::vec((proptest::sample::select(Role::ALL.to_vec()), at), 0..4)
    }

    proptest! {
        /// Who has fewer roles, or a narrower token, can do nothing more.
        #[test]
        fn less_never_allows_more(all in any_roles(), some in any_roles(), scopes in proptest::sample::subsequence(TokenScope::ALL.to_vec(), 0..4),
                                  nodes in proptest::collection::btree_set("[abc]", 0..3), above in proptest::collection::btree_set("[abc]", 0..4)) {
            // Whether an action is allowed at a service with these names above it.
            let is_allowed = |caller: &Caller, action| match caller.reach(action) {
                Reach::Nowhere => false,
                Reach::Everywhere => true,
                Reach::Within(parts) => parts.iter().all(|part| !part.is_disjoint(&above)),
            };
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            let both: Vec<_> = all.iter().chain(&some).cloned().collect();
            let narrow = Caller::with_token(&token(&scopes, &nodes, &[]), &roles(&all));
            let wider_roles = Caller::with_token(&token(&scopes, &nodes, &[]), &roles(&both));
            let wider_token = Caller::with_token(&token(&TokenScope::ALL, &[], &[]), &roles(&all));
            for action in Action::ALL {
                prop_assert!(!is_allowed(&narrow, action) || (is_allowed(&wider_roles, action) && is_allowed(&wider_token, action)));
                prop_assert!(is_allowed(&Caller::operator("me"), action));
            }
            let named = Caller::with_token(&token(&scopes, &nodes, &["repo:a"]), &roles(&all));
            prop_assert!(!scopes.contains(&TokenScope::Publish) || named.assets() == ["repo:a"]);
            prop_assert!(narrow.assets().iter().all(|asset| wider_roles.assets().contains(asset)));
        }
    }
}
