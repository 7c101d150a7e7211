//! The operations: a table, and a function for each. They know nothing of HTTP beyond what stands in a request and an answer.
#![allow(clippy::unnecessary_wraps)] // all operations have one signature, also those that refuse nothing

mod attached;
mod comment;
mod issue;
mod meta;
mod search;
mod site;
mod transition;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::fields::Wrong;
use crate::world::World;

/// A request, read.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) query: Vec<(String, String)>,
    /// Nothing if there is none.
    pub(crate) body: Value,
}

/// An answer; also that something is refused.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
}

pub(crate) type Answered = Result<Reply, Reply>;

#[derive(Debug)]
pub(crate) struct Operation {
    /// As Atlassian's contract calls it.
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) template: &'static str,
    pub(crate) serve: fn(&mut World, &Asked) -> Answered,
}

const fn operation(
    name: &'static str,
    method: &'static str,
    template: &'static str,
    serve: fn(&mut World, &Asked) -> Answered,
) -> Operation {
    Operation { name, method, template, serve }
}

/// All of them.
pub(crate) static OPERATIONS: [Operation; 29] = [
    operation("createIssue", "POST", "/rest/api/3/issue", issue::create),
    operation("createIssues", "POST", "/rest/api/3/issue/bulk", issue::create_bulk),
    operation("bulkFetchIssues", "POST", "/rest/api/3/issue/bulkfetch", issue::fetch_bulk),
    operation("getIssue", "GET", "/rest/api/3/issue/{issueIdOrKey}", issue::get),
    operation("editIssue", "PUT", "/rest/api/3/issue/{issueIdOrKey}", issue::edit),
    operation("getChangeLogs", "GET", "/rest/api/3/issue/{issueIdOrKey}/changelog", issue::changelog),
    operation("getTransitions", "GET", "/rest/api/3/issue/{issueIdOrKey}/transitions", transition::list),
    operation("doTransition", "POST", "/rest/api/3/issue/{issueIdOrKey}/transitions", transition::perform),
    operation("getComments", "GET", "/rest/api/3/issue/{issueIdOrKey}/comment", comment::list),
    operation("addComment", "POST", "/rest/api/3/issue/{issueIdOrKey}/comment", comment::add),
    operation("getRemoteIssueLinks", "GET", "/rest/api/3/issue/{issueIdOrKey}/remotelink", attached::links),
    operation("createOrUpdateRemoteIssueLink", "POST", "/rest/api/3/issue/{issueIdOrKey}/remotelink", attached::put_link),
    operation("getIssuePropertyKeys", "GET", "/rest/api/3/issue/{issueIdOrKey}/properties", attached::property_keys),
    operation("getIssueProperty", "GET", "/rest/api/3/issue/{issueIdOrKey}/properties/{propertyKey}", attached::property),
    operation("setIssueProperty", "PUT", "/rest/api/3/issue/{issueIdOrKey}/properties/{propertyKey}", attached::put_property),
    operation("searchAndReconsileIssuesUsingJql", "GET", "/rest/api/3/search/jql", search::by_query),
    operation("searchAndReconsileIssuesUsingJqlPost", "POST", "/rest/api/3/search/jql", search::by_body),
    operation("countIssues", "POST", "/rest/api/3/search/approximate-count", search::count),
    operation("searchForIssuesUsingJql", "GET", "/rest/api/3/search", search::removed),
    operation("searchForIssuesUsingJqlPost", "POST", "/rest/api/3/search", search::removed),
    operation("getFields", "GET", "/rest/api/3/field", meta::fields),
    operation("getCreateIssueMetaIssueTypes", "GET", "/rest/api/3/issue/createmeta/{projectIdOrKey}/issuetypes", meta::issue_types),
    operation(
        "getCreateIssueMetaIssueTypeId",
        "GET",
        "/rest/api/3/issue/createmeta/{projectIdOrKey}/issuetypes/{issueTypeId}",
        meta::issue_type,
    ),
    operation("getProject", "GET", "/rest/api/3/project/{projectIdOrKey}", meta::project),
    operation("getMyPermissions", "GET", "/rest/api/3/mypermissions", site::permissions),
    operation("getCurrentUser", "GET", "/rest/api/3/myself", site::myself),
    operation("getServerInfo", "GET", "/rest/api/3/serverInfo", site::server),
    operation("findUsers", "GET", "/rest/api/3/user/search", site::users),
    UNKNOWN,
];

/// What no other is.
pub(crate) const UNKNOWN: Operation = operation("unknown", "", "", site::unknown);

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body: Some(body) }
    }

    pub(crate) fn created(body: Value) -> Self {
        Self { status: 201, body: Some(body) }
    }

    pub(crate) fn nothing() -> Self {
        Self { status: 204, body: None }
    }

    /// Refused, with a message for all of it.
    pub(crate) fn refused(status: u16, message: impl Into<String>) -> Self {
        Self { status, body: Some(json!({"errorMessages": [message.into()], "errors": {}})) }
    }

    /// Refused for what is wrong with fields.
    pub(crate) fn wrong(wrong: &Wrong) -> Self {
        Self { status: 400, body: Some(json!({"errorMessages": [], "errors": wrong})) }
    }

    pub(crate) fn wrong_field(field: &str, reason: &str) -> Self {
        Self::wrong(&Wrong::from([(field.to_owned(), reason.to_owned())]))
    }
}

const NO_PAYLOAD: &str = "Invalid request payload. Refer to the REST API documentation and try again.";

impl Asked {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
    }

    /// All values, given one by one or with commas between.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let values = self.query.iter().filter(|pair| pair.0 == name).flat_map(|pair| pair.1.split(','));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// The body, which is an object with these members at most.
    pub(crate) fn members(&self, known: &[&str]) -> Result<&Map<String, Value>, Reply> {
        members(&self.body, known)
    }

    /// `startAt` and `maxResults`, the latter bounded.
    pub(crate) fn page(&self, most: usize) -> Result<(usize, usize), Reply> {
        let number = |name: &str, default: usize| match self.first(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Reply::refused(400, format!("{name} is no number: {text}"))),
        };
        Ok((number("startAt", 0)?, number("maxResults", most)?.min(most)))
    }
}

pub(crate) fn members<'a>(body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Reply> {
    let members = body.as_object().ok_or_else(|| Reply::refused(400, NO_PAYLOAD))?;
    if members.keys().all(|name| known.contains(&name.as_str())) { Ok(members) } else { Err(Reply::refused(400, NO_PAYLOAD)) }
}

/// The issue that a request is about, if our account can see it: else it is as if there was none.
pub(crate) fn issue_of(world: &World, asked: &Asked) -> Result<u64, Reply> {
    visible(world, asked.parameter("issueIdOrKey"))
        .ok_or_else(|| Reply::refused(404, "Issue does not exist or you do not have permission to see it."))
}

pub(crate) fn visible(world: &World, id_or_key: &str) -> Option<u64> {
    let id = world.find(id_or_key)?;
    let issue = world.issue(id);
    (!issue.is_deleted && !issue.is_hidden && world.project_of(issue).may("BROWSE_PROJECTS")).then_some(id)
}

/// The same for a change: the account may make it, and the project takes changes.
pub(crate) fn changeable(world: &World, asked: &Asked, permission: &str) -> Result<u64, Reply> {
    let id = issue_of(world, asked)?;
    let project = world.project_of(world.issue(id));
    if project.is_archived {
        return Err(Reply::refused(403, "You can't edit this issue as the project is archived."));
    }
    if !project.may(permission) {
        return Err(Reply::refused(403, "You do not have permission to edit issues in this project."));
    }
    Ok(id)
}
