//! What touches many rows is worked off row by row: a cause, and the key to go on from.
//!
//! Rows are compared with facts as they are when their turn comes, so causes merge and a restart goes on where it was.

use faultline_model::asset::AssetId;
use faultline_model::catalog;
use faultline_model::exception::Scope;
use faultline_model::id::Id;
use serde::{Deserialize, Serialize};

use super::copies::service_copy;
use super::covering;
use super::facts::Finding;
use super::heed::is_of_any_unit;
use super::publish::Published;
use super::tables::{Location, Placed, Table, last_id, pairs, paths_prefix, put_text, read_path_key, take_text, with_id};
use super::templates::{file_key, matches};
use super::units::Grain;
use crate::row::StageTable;
use crate::store::{Store, StoreError};

/// Why units are to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// Another risk policy: everything.
    Policy,
    /// Another row of the catalog: all of a service.
    Service { service: String },
    /// What feeds (or a service's own findings) say of a vulnerability.
    Vulnerability { id: String, service: Option<String>, is_renamed: bool },
    /// Entries of a template came or went: what its paths match.
    Template { service: String, template: String },
    /// Entries that name a file came or went.
    File { service: String, file: String },
    /// Other rewrites of an asset's paths.
    Paths { service: String, asset: AssetId },
    /// Other complete scans of an asset.
    Line {
        service: String,
        #[serde(with = "super::raw")]
        asset: Id,
    },
    /// What was too much for one commit.
    Unit { service: String, grain: Grain },
    /// An exception that reaches so far holds, or does no more.
    Scope { scope: Scope },
}

/// What is to be done for one row.
#[derive(Debug)]
pub enum Task {
    Evaluate {
        service: String,
        grain: Grain,
    },
    /// As above, but not what it is linked with: that was seen to when it was put off.
    EvaluateAlone {
        service: String,
        grain: Grain,
    },
    ResolveFinding {
        service: String,
        id: Id,
    },
    ResolveVisit {
        service: String,
        id: Id,
    },
}

/// What is to be done for some rows.
#[derive(Debug)]
pub struct Looked {
    pub found: Vec<Task>,
    /// How many looks that took: rows of which nothing comes cost as well.
    pub looks: usize,
    /// The key to go on from; none at the end.
    pub next: Option<Vec<u8>>,
}

impl Cause {
    /// The key of its row.
    pub fn key(&self) -> Result<Vec<u8>, StoreError> {
        let key = Table::Pending.all();
        postcard::to_extend(self, key).map_err(|error| Table::Pending.corrupt(&[], error))
    }

    pub fn read(key: &[u8]) -> Result<Self, StoreError> {
        postcard::from_bytes(&key[1..]).map_err(|error| Table::Pending.corrupt(key, error))
    }

    /// The key that its rows are below.
    fn rows(&self) -> Vec<u8> {
        match self {
            Self::Policy => Table::Published.all(),
            Self::Service { service } => Table::Published.of(service),
            Self::Vulnerability { id, service, .. } => {
                let mut prefix = Table::Users.under(id);
                if let Some(service) = service {
                    put_text(&mut prefix, service);
                }
                prefix
            }
            Self::Template { service, template } => paths_prefix(service, template),
            Self::File { service, file } => Table::Files.below(service, file_key(file)),
            Self::Paths { service, .. } => Table::Paths.of(service),
            Self::Line { service, asset } => Table::Several.at(service, *asset),
            Self::Scope { scope } if is_of_any_unit(scope) => Table::Published.all(),
            Self::Scope { scope } if scope.founders.is_empty() => Table::Users.under(&scope.vulnerability.to_ascii_uppercase()),
            Self::Scope { .. } => Table::Services.all(),
            // Its one task is made without a row.
            Self::Unit { .. } => Vec::new(),
        }
    }

    /// The tasks of rows from a key on, about so many at most.
    pub fn tasks(&self, state: &dyn Store, from: &[u8], most: usize) -> Result<Looked, StoreError> {
        if let Self::Unit { service, grain } = self {
            let tasks = vec![Task::EvaluateAlone { service: service.clone(), grain: grain.clone() }];
            return Ok(Looked { found: tasks, looks: 1, next: None });
        }
        // A row of a scope by its findings is as many looks as it has findings.
        let each = if let Self::Scope { scope } = self { scope.founders.len().max(1) } else { 1 };
        let most = (most / each).max(1);
        let prefix = self.rows();
        let mut rows = pairs(state, &prefix, from, most + 1)?;
        let next = if rows.len() > most { rows.pop().map(|(key, _)| key) } else { None };
        let looks = rows.len() * each;
        let mut tasks = Vec::new();
        let mut reach = Reach::default();
        for (key, row) in rows {
            match self {
                Self::Scope { scope } => tasks.extend(reach.tasks(state, scope, &key, &row)?),
                _ => tasks.extend(self.task(state, &key, &row)?),
            }
        }
        Ok(Looked { found: tasks, looks, next })
    }

    fn task(&self, state: &dyn Store, key: &[u8], row: &[u8]) -> Result<Option<Task>, StoreError> {
        let no_id = |table: Table| table.corrupt(key, "no id");
        Ok(match self {
            Self::Policy | Self::Service { .. } => {
                let (service, _) = take_text(&key[1..]).ok_or_else(|| no_id(Table::Published))?;
                Some(Task::Evaluate { service: service.to_owned(), grain: Published::read(key, row)?.grain })
            }
            Self::Vulnerability { is_renamed, .. } => {
                let parsed = take_text(&key[1..]).and_then(|(_, rest)| take_text(rest));
                let (service, _) = parsed.ok_or_else(|| no_id(Table::Users))?;
                let (service, id) = (service.to_owned(), last_id(key).ok_or_else(|| no_id(Table::Users))?);
                if *is_renamed {
                    Some(Task::ResolveFinding { service, id })
                } else {
                    located(state, &service, id)?.map(|(_, finding)| Task::Evaluate { grain: Grain::of(&finding), service })
                }
            }
            Self::Template { service, template } => {
                let (placed, id, path) = read_path_key(key, service).ok_or_else(|| no_id(Table::Paths))?;
                matches(template, &path).then(|| resolve(service, placed, id))
            }
            Self::Paths { service, asset } => {
                let (placed, id, _) = read_path_key(key, service).ok_or_else(|| no_id(Table::Paths))?;
                (row == asset.as_str().as_bytes()).then(|| resolve(service, placed, id))
            }
            Self::File { service, .. } => Some(Task::Evaluate { service: service.clone(), grain: Table::Files.read(key, row)? }),
            Self::Line { service, .. } => {
                let unit = last_id(key).ok_or_else(|| no_id(Table::Several))?;
                let published = Published::get(state, &Table::Published.at(service, unit))?;
                published.map(|published| Task::Evaluate { service: service.clone(), grain: published.grain })
            }
            Self::Unit { .. } | Self::Scope { .. } => None,
        })
    }
}

/// Which services a scope reaches: the one that was looked at last is known.
#[derive(Default)]
struct Reach(Option<(String, bool)>);

impl Reach {
    fn has(&mut self, state: &dyn Store, scope: &Scope, service: &str) -> Result<bool, StoreError> {
        if scope.within.is_empty() {
            return Ok(true);
        }
        if let Some((known, is_within)) = &self.0
            && known == service
        {
            return Ok(*is_within);
        }
        let facts = service_copy(state, service)?;
        // Where it is not known where a service stands, its risks are looked at.
        let is_within = facts.and_then(|facts| facts.above).is_none_or(|above| {
            let names = above.into_iter().chain([catalog::service_key(service)]).collect();
            covering::is_within(scope, &names)
        });
        self.0 = Some((service.to_owned(), is_within));
        Ok(is_within)
    }

    /// What is to be done for a row of a scope's cause.
    fn tasks(&mut self, state: &dyn Store, scope: &Scope, key: &[u8], row: &[u8]) -> Result<Vec<Task>, StoreError> {
        let is_of_users = scope.founders.is_empty() && !is_of_any_unit(scope);
        let after = if is_of_users { take_text(&key[1..]).map(|(_, rest)| rest) } else { key.get(1..) };
        let (service, _) = after.and_then(take_text).ok_or_else(|| Table::Services.corrupt(key, "no service"))?;
        if !self.has(state, scope, service)? {
            return Ok(Vec::new());
        }
        let evaluate = |grain: Grain| Task::Evaluate { service: service.to_owned(), grain };
        if is_of_any_unit(scope) {
            let grain = Published::read(key, row)?.grain;
            let is_possible = match &grain {
                Grain::Package { purl, .. } => scope.package.is_empty() || *purl == scope.package,
                Grain::Code { asset, .. } | Grain::SecretFile { asset, .. } | Grain::ResourceFile { asset, .. } => {
                    scope.package.is_empty() && (scope.asset.is_empty() || *asset == scope.asset)
                }
                _ => scope.package.is_empty(),
            };
            return Ok(is_possible.then(|| evaluate(grain)).into_iter().collect());
        }
        let last;
        let ids = if is_of_users {
            last = [last_id(key).ok_or_else(|| Table::Users.corrupt(key, "no id"))?];
            &last[..]
        } else {
            &scope.founders
        };
        let mut tasks = Vec::new();
        for id in ids {
            tasks.extend(located(state, service, *id)?.map(|(_, finding)| evaluate(Grain::of(&finding))));
        }
        Ok(tasks)
    }
}

fn resolve(service: &str, placed: Placed, id: Id) -> Task {
    let service = service.to_owned();
    match placed {
        Placed::Finding => Task::ResolveFinding { service, id },
        Placed::Visit => Task::ResolveVisit { service, id },
    }
}

/// A finding with the key of its row.
pub fn located(state: &dyn Store, service: &str, id: Id) -> Result<Option<(Vec<u8>, Finding)>, StoreError> {
    let at = with_id(Table::Locations.of(service), id);
    let Some(location) = state.get(&at)? else { return Ok(None) };
    let key = Location::read(&at, &location)?.key(service, id);
    let row = state.get(&key)?.ok_or_else(|| Table::Findings.corrupt(&key, "a location without its finding"))?;
    let finding = Finding::read(&key, &row)?;
    Ok(Some((key, finding)))
}
