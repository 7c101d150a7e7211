//! Search: by an index that is behind, for all but the ids that are to be reconciled.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::issue::{texts, whole};
use super::{Answered, Asked, Reply};
use crate::issue::Issue;
use crate::jql::{self, Query, Term};
use crate::world::World;

const PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 5_000;
/// And if more is asked for than ids and keys.
const LARGEST_PAGE_OF_FIELDS: u64 = 100;
const RECONCILED: usize = 50;

struct Search {
    jql: String,
    token: Option<String>,
    most: Value,
    fields: Vec<String>,
    properties: Vec<String>,
    reconciled: Vec<u64>,
}

pub(super) fn by_query(world: &mut World, asked: &Asked) -> Answered {
    let most =
        asked.first("maxResults").map_or(Value::Null, |text| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)));
    let reconciled = asked.all("reconcileIssues").iter().map(|id| id.parse()).collect::<Result<_, _>>();
    let search = Search {
        jql: asked.first("jql").unwrap_or_default().to_owned(),
        token: asked.first("nextPageToken").map(str::to_owned),
        most,
        fields: asked.all("fields"),
        properties: asked.all("properties"),
        reconciled: reconciled.map_err(|_| Reply::refused(400, "reconcileIssues are ids."))?,
    };
    answer(world, &search)
}

pub(super) fn by_body(world: &mut World, asked: &Asked) -> Answered {
    let given =
        asked.members(&["expand", "fields", "fieldsByKeys", "jql", "maxResults", "nextPageToken", "properties", "reconcileIssues"])?;
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let search = Search {
        jql: text("jql").unwrap_or_default(),
        token: text("nextPageToken"),
        most: given.get("maxResults").cloned().unwrap_or_default(),
        fields: texts(given.get("fields")),
        properties: texts(given.get("properties")),
        reconciled: given.get("reconcileIssues").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect(),
    };
    answer(world, &search)
}

fn answer(world: &World, search: &Search) -> Answered {
    // Jira looks at the token before the size of a page.
    let after = search.token.as_deref().map_or(Ok(0), after).map_err(|()| Reply::refused(400, "The nextPageToken is invalid."))?;
    let most = if search.most.is_null() { Some(PAGE) } else { search.most.as_u64() };
    let Some(most @ 1..=LARGEST_PAGE) = most else {
        return Err(Reply::refused(400, format!("maxResults must be between 1 and {LARGEST_PAGE}.")));
    };
    if search.reconciled.len() > RECONCILED {
        return Err(Reply::refused(400, format!("At most {RECONCILED} issues can be reconciled.")));
    }
    let query = read(world, &search.jql)?;
    let is_ids_only = search.fields.iter().all(|field| field == "id" || field == "key");
    let most = if is_ids_only { most } else { most.min(LARGEST_PAGE_OF_FIELDS) } as usize;
    let mut found = found(world, &query, &search.reconciled).filter(|(id, _)| *id > after);
    let page: Vec<(u64, &Issue)> = found.by_ref().take(most).collect();
    let issues = page.iter().map(|(_, issue)| {
        if search.fields.is_empty() || (is_ids_only && !search.fields.iter().any(|field| field == "key")) {
            return json!({"id": issue.id});
        }
        if is_ids_only {
            json!({"id": issue.id, "key": issue.key, "self": issue.own(&world.url)})
        } else {
            whole(world, issue, &search.fields, &search.properties)
        }
    });
    let mut result = json!({"issues": issues.collect::<Vec<_>>(), "isLast": true});
    if let (Some(_), Some((last, _))) = (found.next(), page.last()) {
        result["isLast"] = json!(false);
        result["nextPageToken"] = json!(BASE64_URL_SAFE_NO_PAD.encode(format!("after {last}")));
    }
    Ok(Reply::ok(result))
}

/// The id that the next page begins after.
fn after(token: &str) -> Result<u64, ()> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref().and_then(|text| text.strip_prefix("after ")).and_then(|id| id.parse().ok()).ok_or(())
}

/// What is named in a query must be there, except for labels.
fn read(world: &World, jql: &str) -> Result<Query, Reply> {
    let query = jql::read(jql, world.now()).map_err(|message| Reply::refused(400, message))?;
    for term in query.terms() {
        let (field, values, is_there): (_, _, fn(&World, &str) -> bool) = match term {
            Term::Project(keys) => ("project", keys, |world, key| {
                world.projects.iter().any(|project| project.key.eq_ignore_ascii_case(key) && project.may("BROWSE_PROJECTS"))
            }),
            Term::Key(keys) => ("key", keys, |world, key| super::visible(world, key).is_some()),
            _ => continue,
        };
        if let Some(missing) = values.iter().find(|value| !is_there(world, value)) {
            return Err(Reply::refused(400, format!("The value '{missing}' does not exist for the field '{field}'.")));
        }
    }
    Ok(query)
}

/// In the order of ids. What a deleted issue said is found as long as search does not know; what is hidden, and archived, never is.
fn found<'a>(world: &'a World, query: &'a Query, reconciled: &'a [u64]) -> impl Iterator<Item = (u64, &'a Issue)> {
    let now = world.now();
    world.issues.iter().filter_map(move |(id, kept)| {
        let issue = if reconciled.contains(id) { &kept.issue } else { kept.seen(now)? };
        let project = world.project_of(issue);
        let is_shown = !issue.is_deleted && !kept.issue.is_hidden && !project.is_archived && project.may("BROWSE_PROJECTS");
        (is_shown && query.holds_for(issue)).then_some((*id, issue))
    })
}

pub(super) fn count(world: &mut World, asked: &Asked) -> Answered {
    let given = asked.members(&["jql"])?;
    let query = read(world, given.get("jql").and_then(Value::as_str).unwrap_or_default())?;
    Ok(Reply::ok(json!({"count": found(world, &query, &[]).count()})))
}

/// What there was before.
pub(super) fn removed(_: &mut World, _: &Asked) -> Answered {
    Err(Reply::refused(410, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API."))
}
