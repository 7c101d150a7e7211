//! What hangs on an issue and is none of its fields: properties and remote links.

use serde_json::{Value, json};

use super::{Answered, Asked, Reply, changeable, issue_of};
use crate::issue::RemoteLink;
use crate::world::World;

/// The most remote links that an issue has.
const LINKS: usize = 2_000;

pub(super) fn property_keys(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    let own = |key: &String| json!({"self": format!("{}/properties/{key}", issue.own(&world.url)), "key": key});
    Ok(Reply::ok(json!({"keys": issue.properties.keys().map(own).collect::<Vec<_>>()})))
}

pub(super) fn property(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    let key = asked.parameter("propertyKey");
    let value = issue.properties.get(key).ok_or_else(|| Reply::refused(404, format!("The property with key '{key}' does not exist.")))?;
    Ok(Reply::ok(json!({"key": key, "value": value})))
}

pub(super) fn put_property(world: &mut World, asked: &Asked) -> Answered {
    let id = changeable(world, asked, "EDIT_ISSUES")?;
    let key = asked.parameter("propertyKey").to_owned();
    super::issue::check_property(&key, &asked.body)?;
    let is_new = !world.issue(id).properties.contains_key(&key);
    let value = asked.body.clone();
    world.attach(id, |issue| drop(issue.properties.insert(key, value)));
    Ok(Reply { status: if is_new { 201 } else { 200 }, body: Some(json!({})) })
}

/// All as a list, or one by its `globalId`. Of the list the contract's schema says that it is one link; its example, and Jira, say a list.
pub(super) fn links(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    let Some(global) = asked.first("globalId") else {
        return Ok(Reply::ok(issue.remote_links.iter().map(|link| link.json(issue, &world.url)).collect()));
    };
    let link = issue.remote_links.iter().find(|link| link.global_id.as_deref() == Some(global));
    let link = link.ok_or_else(|| Reply::refused(404, format!("A remote link with the global id '{global}' does not exist.")))?;
    Ok(Reply::ok(link.json(issue, &world.url)))
}

/// A link whose `globalId` is there already is replaced: what is not given any more is gone.
pub(super) fn put_link(world: &mut World, asked: &Asked) -> Answered {
    let id = changeable(world, asked, "LINK_ISSUES")?;
    let object = &asked.body["object"];
    if object["url"].as_str().is_none_or(str::is_empty) || object["title"].as_str().is_none_or(str::is_empty) {
        return Err(Reply::wrong_field("object", "'url' and 'title' are required."));
    }
    let global_id = asked.body["globalId"].as_str().map(str::to_owned);
    if global_id.as_ref().is_some_and(|global| global.encode_utf16().count() > 255) {
        return Err(Reply::wrong_field("globalId", "The global id must not exceed 255 characters."));
    }
    let content: Value =
        ["globalId", "application", "relationship", "object"].iter().map(|name| ((*name).to_owned(), asked.body[*name].clone())).collect();
    let known = world.issue(id).remote_links.iter().position(|link| global_id.is_some() && link.global_id == global_id);
    if known.is_none() && world.issue(id).remote_links.len() >= LINKS {
        return Err(Reply::refused(400, format!("The issue has {LINKS} remote links, which is the limit.")));
    }
    let number = match known {
        Some(at) => world.issue(id).remote_links[at].id,
        None => world.next_id(),
    };
    let link = RemoteLink { id: number, global_id, content };
    world.attach(id, |issue| match known {
        Some(at) => issue.remote_links[at] = link,
        None => issue.remote_links.push(link),
    });
    let own = format!("{}/remotelink/{number}", world.issue(id).own(&world.url));
    Ok(Reply { status: if known.is_some() { 200 } else { 201 }, body: Some(json!({"id": number, "self": own})) })
}
