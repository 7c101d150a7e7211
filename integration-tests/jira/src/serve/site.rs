//! The site itself, its people, and what we may do.

use serde_json::{Map, Value, json};

use super::{Answered, Asked, Reply};
use crate::clock::written;
use crate::user::user_json;
use crate::world::World;

/// Permissions of Jira that matter to who writes tickets.
const PERMISSIONS: [(&str, &str); 8] = [
    ("BROWSE_PROJECTS", "Browse Projects"),
    ("CREATE_ISSUES", "Create Issues"),
    ("EDIT_ISSUES", "Edit Issues"),
    ("TRANSITION_ISSUES", "Transition Issues"),
    ("ADD_COMMENTS", "Add Comments"),
    ("LINK_ISSUES", "Link Issues"),
    ("ASSIGN_ISSUES", "Assign Issues"),
    ("RESOLVE_ISSUES", "Resolve Issues"),
];

pub(super) fn permissions(world: &mut World, asked: &Asked) -> Answered {
    let wanted = asked.all("permissions");
    if wanted.is_empty() {
        return Err(Reply::refused(400, "The 'permissions' query parameter is required."));
    }
    let project = match asked.first("projectKey") {
        None => None,
        Some(key) => Some(world.project(key).ok_or_else(|| Reply::refused(404, format!("No project could be found with key '{key}'.")))?),
    };
    let mut permissions = Map::new();
    for (number, key) in wanted.iter().enumerate() {
        let known = PERMISSIONS.iter().find(|known| known.0 == key);
        let (key, name) = known.ok_or_else(|| Reply::refused(400, format!("Unrecognized permission: {key}")))?;
        // Without a project: whether there is one where it holds.
        let has = project.map_or_else(|| world.projects.iter().any(|project| project.may(key)), |project| project.may(key));
        let shown =
            json!({"id": number.to_string(), "key": key, "name": name, "type": "PROJECT", "description": name, "havePermission": has});
        permissions.insert((*key).to_owned(), shown);
    }
    Ok(Reply::ok(json!({"permissions": permissions})))
}

pub(super) fn myself(world: &mut World, _: &Asked) -> Answered {
    let mut user = user_json(&world.url, &world.users, &world.account);
    user["locale"] = json!("en_US");
    Ok(Reply::ok(user))
}

pub(super) fn server(world: &mut World, _: &Asked) -> Answered {
    Ok(Reply::ok(json!({
        "baseUrl": world.url,
        "displayUrl": world.url,
        "version": "1001.0.0-SNAPSHOT",
        "versionNumbers": [1001, 0, 0],
        "deploymentType": "Cloud",
        "buildNumber": 100_290,
        "buildDate": "2026-01-01T00:00:00.000+0000",
        "serverTime": written(world.now()),
        "scmInfo": "faultline-fake-jira",
        "serverTitle": "Jira",
        "serverTimeZone": "Etc/UTC",
    })))
}

pub(super) fn users(world: &mut World, asked: &Asked) -> Answered {
    let (query, account) = (asked.first("query"), asked.first("accountId"));
    if query.is_none() && account.is_none() {
        return Err(Reply::refused(400, "The query parameters 'query', 'accountId' and 'property' are missing."));
    }
    let (start, most) = asked.page(1000)?;
    let query = query.map(str::to_lowercase);
    let is_meant = |user: &&crate::user::User| {
        let is_named = query.as_ref().is_none_or(|query| [&user.name, &user.email].iter().any(|text| text.to_lowercase().contains(query)));
        is_named && account.is_none_or(|account| account == user.account_id)
    };
    let found: Vec<Value> = world.users.iter().filter(is_meant).skip(start).take(most).map(|user| user.json(&world.url)).collect();
    Ok(Reply::ok(found.into()))
}

pub(super) fn unknown(_: &mut World, _: &Asked) -> Answered {
    Err(Reply::refused(404, "Oops, you've found a dead link."))
}
