//! Who the asker is here, and what they may do.

use axum::Json;
use axum::extract::RawQuery;
use faultline_model::access::{Action, Caller, HeldRole, Reach, Where};
use serde::Serialize;

use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::who::By;

#[derive(Serialize)]
pub(super) struct Answer {
    actor: String,
    /// Whether they run the installation: they may do everything, in anybody's name, so separation of duties rests on trust.
    is_operator: bool,
    /// Of the configuration.
    roles: Vec<RoleBody>,
    /// Where each action is allowed, roles and token taken together.
    allowed: Vec<Allowed>,
}

#[derive(Serialize)]
struct RoleBody {
    role: &'static str,
    /// `*` for all of the organisation.
    at: String,
    /// Of an approver with a limit: the highest score that what they grant may cover.
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to: Option<i32>,
}

#[derive(Serialize)]
struct Allowed {
    action: &'static str,
    /// Empty where it is allowed everywhere; else a service must stand below one name of each list.
    within: Vec<Vec<String>>,
    /// For publishing: which assets; `*` is all.
    assets: Vec<String>,
}

pub(super) async fn show(RawQuery(query): RawQuery, By(caller): By) -> Result<Json<Answer>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let role = |held: &HeldRole| RoleBody {
        role: held.role.name(),
        at: if let Where::Below(name) = &held.at { name.clone() } else { "*".to_owned() },
        up_to: held.up_to,
    };
    Ok(Json(Answer {
        actor: caller.actor().to_owned(),
        is_operator: caller.is_operator(),
        roles: caller.roles().iter().map(role).collect(),
        allowed: Action::ALL.into_iter().filter_map(|action| allowed(&caller, action)).collect(),
    }))
}

fn allowed(caller: &Caller, action: Action) -> Option<Allowed> {
    let assets = if action == Action::Publish { caller.assets() } else { Vec::new() };
    let within = match caller.reach(action) {
        Reach::Nowhere if assets.is_empty() => return None,
        Reach::Nowhere | Reach::Everywhere => Vec::new(),
        Reach::Within(parts) => parts.into_iter().map(|part| part.into_iter().collect()).collect(),
    };
    Some(Allowed { action: action.name(), within, assets })
}
