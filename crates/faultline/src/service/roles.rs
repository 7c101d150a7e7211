//! What a process does of the whole.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One part of the work. On Kafka they are split over processes in any way; embedded, one process does all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reports, the catalog and intelligence come in.
    Gateway,
    /// Lists, and decisions on what they show; rebuilt from the topics at will.
    Views,
    Track,
    Correlate,
    /// What is to be done about risks: exceptions, and the register of them.
    Act,
    /// What people did goes into chains.
    Audit,
    /// Who is to be told what happened is told.
    Notify,
}

impl Role {
    pub const ALL: [Self; 7] = [Self::Gateway, Self::Views, Self::Track, Self::Correlate, Self::Act, Self::Audit, Self::Notify];

    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Views => "views",
            Self::Track => "track",
            Self::Correlate => "correlate",
            Self::Act => "act",
            Self::Audit => "audit",
            Self::Notify => "notify",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known: Vec<&str> = Self::ALL.iter().map(|role| role.name()).collect();
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or_else(|| format!("there is no role {text:?}; there are {}", known.join(", ")))
    }
}

/// The roles of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    pub fn all() -> Self {
        Self(Role::ALL.into())
    }

    /// All of them if none is named.
    pub fn of(named: &[Role]) -> Self {
        if named.is_empty() { Self::all() } else { Self(named.iter().copied().collect()) }
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether this process answers requests beside those of supervisors.
    pub fn has_api(&self) -> bool {
        self.has(Role::Gateway) || self.has(Role::Views)
    }

    pub fn has_stages(&self) -> bool {
        [Role::Track, Role::Correlate, Role::Act, Role::Audit, Role::Notify].iter().any(|stage| self.has(*stage))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(", "))
    }
}
