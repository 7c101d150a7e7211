//! Roles: who is what, below which unit of the organisation.

use std::collections::BTreeMap;

/// What somebody is to a part of the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Reader,
    /// Says what findings are worth, and who deals with them.
    Triager,
    /// Answers for what is run: also says that something is no longer scanned.
    Owner,
    /// Looks exceptions over.
    Reviewer,
    /// Grants exceptions.
    Approver,
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Reader, Self::Triager, Self::Owner, Self::Reviewer, Self::Approver, Self::Admin];

    /// The name, as configuration and people have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Triager => "triager",
            Self::Owner => "owner",
            Self::Reviewer => "reviewer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether it allows something where it holds. Everybody with a role reads; what is not named here is not allowed.
    pub fn allows(self, action: Action) -> bool {
        match action {
            Action::Read => true,
            Action::Decide | Action::Except => matches!(self, Self::Triager | Self::Owner | Self::Admin),
            Action::Review => matches!(self, Self::Reviewer | Self::Admin),
            Action::Approve => matches!(self, Self::Approver | Self::Admin),
            Action::Retract => matches!(self, Self::Owner | Self::Admin),
            Action::Publish | Action::Administer => self == Self::Admin,
        }
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// See risks, findings, and what there is beside them.
    Read,
    /// Bring reports in.
    Publish,
    /// Verdicts and assignments.
    Decide,
    /// Write exceptions, ask for them and for another end, take them back.
    Except,
    /// Look exceptions over.
    Review,
    /// Grant exceptions, and end them.
    Approve,
    /// Take back a scan, retire an asset.
    Retract,
    /// The catalog, intelligence, tokens, the topics themselves.
    Administer,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Read, Self::Publish, Self::Decide, Self::Except, Self::Review, Self::Approve, Self::Retract, Self::Administer];

    /// Its name: a verb.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Decide => "decide",
            Self::Except => "except",
            Self::Review => "review",
            Self::Approve => "approve",
            Self::Retract => "retract",
            Self::Administer => "administer",
        }
    }
}

/// Where a role holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Where {
    /// In all of the organisation, and for what belongs to nobody.
    Everywhere,
    /// At a unit and below it; or `service/<id>` for one service.
    Below(String),
}

/// One role of one actor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Granted {
    /// A person or a program, as tokens name it.
    pub actor: String,
    pub role: Role,
    pub at: Where,
    /// Of an approver: the highest score that what they grant may cover; none for any.
    pub up_to: Option<i32>,
}

/// A role as somebody has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldRole {
    pub role: Role,
    pub at: Where,
    /// As [`Granted::up_to`].
    pub up_to: Option<i32>,
}

/// All roles of all actors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, Vec<HeldRole>>);

impl Roles {
    pub fn new(granted: impl IntoIterator<Item = Granted>) -> Self {
        let mut roles = BTreeMap::<String, Vec<HeldRole>>::new();
        for Granted { actor, role, at, up_to } in granted {
            roles.entry(actor).or_default().push(HeldRole { role, at, up_to });
        }
        for held in roles.values_mut() {
            held.sort_unstable();
            held.dedup();
        }
        Self(roles)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What an actor is, and where.
    pub fn of(&self, actor: &str) -> Vec<HeldRole> {
        self.0.get(actor).cloned().unwrap_or_default()
    }
}
