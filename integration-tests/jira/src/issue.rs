//! An issue: what it says now, and what it said to search.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock::written;
use crate::project::Project;
use crate::user::{User, user_json};

#[derive(Clone, Debug)]
pub struct Comment {
    pub id: String,
    /// `accountId`.
    pub author: String,
    /// ADF.
    pub body: Value,
    pub created: Timestamp,
}

#[derive(Clone, Debug)]
pub struct RemoteLink {
    pub id: u64,
    pub global_id: Option<String>,
    /// The request that made it, with what it left out as null.
    pub content: Value,
}

/// One entry of the changelog.
#[derive(Clone, Debug)]
pub struct Change {
    pub id: String,
    /// `accountId`.
    pub author: String,
    pub created: Timestamp,
    pub items: Vec<ChangeItem>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeItem {
    pub field: String,
    pub from: Option<String>,
    pub from_text: Option<String>,
    pub to: Option<String>,
    pub to_text: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Issue {
    pub id: String,
    pub key: String,
    /// Under which it is still found.
    pub old_keys: Vec<String>,
    /// The key of its project.
    pub project: String,
    /// The id of its issue type.
    pub issue_type: String,
    pub summary: String,
    /// ADF.
    pub description: Option<Value>,
    pub labels: Vec<String>,
    /// `accountId`.
    pub assignee: Option<String>,
    /// `accountId`.
    pub reporter: String,
    /// The id of its status.
    pub status: String,
    /// The name of its resolution.
    pub resolution: Option<String>,
    /// All other fields, as they are sent.
    pub others: Map<String, Value>,
    pub properties: BTreeMap<String, Value>,
    pub comments: Vec<Comment>,
    pub remote_links: Vec<RemoteLink>,
    pub changelog: Vec<Change>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub is_deleted: bool,
    /// By a security level: to our account it is as if it were not there.
    pub is_hidden: bool,
}

impl Issue {
    /// What its description says, without form: a line for each text.
    pub fn description_text(&self) -> String {
        self.description.as_ref().map(crate::adf::plain).unwrap_or_default()
    }

    pub(crate) fn own(&self, url: &str) -> String {
        format!("{url}/rest/api/3/issue/{}", self.id)
    }

    /// All fields, as Jira sends them.
    pub(crate) fn fields(&self, url: &str, project: &Project, users: &[User]) -> Map<String, Value> {
        let status = project.workflow.status(&self.status).expect("an issue's status is of its project's workflow");
        let kind = project.issue_types.iter().find(|kind| kind.id == self.issue_type);
        let comments: Vec<Value> = self.comments.iter().map(|comment| comment.json(self, url, users)).collect();
        let Value::Object(mut fields) = json!({
            "summary": self.summary,
            "description": self.description,
            "labels": self.labels,
            "assignee": self.assignee.as_deref().map(|account| user_json(url, users, account)),
            "reporter": user_json(url, users, &self.reporter),
            "creator": user_json(url, users, &self.reporter),
            "status": status.json(url),
            "resolution": self.resolution.as_deref().map(|name| json!({"id": resolution_id(name), "name": name})),
            "project": {"self": format!("{url}/rest/api/3/project/{}", project.key), "key": project.key, "name": project.name},
            "issuetype": {"id": self.issue_type, "name": kind.map(|kind| kind.name.as_str()), "subtask": false},
            "created": written(self.created),
            "updated": written(self.updated),
            "comment": {"comments": comments, "total": comments.len(), "maxResults": comments.len(), "startAt": 0},
        }) else {
            unreachable!("the literal above is an object")
        };
        fields.extend(self.others.clone());
        fields
    }

    /// `fields` are those that are wanted; `*all` and `*navigable` are all of them, `-x` is all but `x`.
    pub(crate) fn json(&self, wanted: &[String], url: &str, project: &Project, users: &[User]) -> Value {
        let mut fields = self.fields(url, project, users);
        let is_all = wanted.iter().any(|name| name.starts_with('*')) || wanted.iter().all(|name| name.starts_with('-'));
        fields.retain(|name, _| (is_all || wanted.contains(name)) && !wanted.iter().any(|other| other.strip_prefix('-') == Some(name)));
        json!({"id": self.id, "self": self.own(url), "key": self.key, "fields": fields})
    }
}

/// Resolutions of a new site, by name.
pub(crate) const RESOLUTIONS: [(&str, &str); 4] =
    [("10000", "Done"), ("10001", "Won't Do"), ("10002", "Duplicate"), ("10003", "Cannot Reproduce")];

fn resolution_id(name: &str) -> Option<&'static str> {
    RESOLUTIONS.iter().find(|known| known.1 == name).map(|known| known.0)
}

impl Comment {
    pub(crate) fn json(&self, issue: &Issue, url: &str, users: &[User]) -> Value {
        let author = user_json(url, users, &self.author);
        json!({
            "self": format!("{}/comment/{}", issue.own(url), self.id),
            "id": self.id,
            "author": author,
            "updateAuthor": author,
            "body": self.body,
            "created": written(self.created),
            "updated": written(self.created),
            "jsdPublic": true,
        })
    }
}

impl RemoteLink {
    pub(crate) fn json(&self, issue: &Issue, url: &str) -> Value {
        let mut link = self.content.clone();
        // What was not given is not sent either.
        if let Some(members) = link.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        link["id"] = json!(self.id);
        link["self"] = json!(format!("{}/remotelink/{}", issue.own(url), self.id));
        link
    }
}

impl Change {
    pub(crate) fn json(&self, url: &str, users: &[User]) -> Value {
        let items: Vec<Value> = self.items.iter().map(ChangeItem::json).collect();
        json!({"id": self.id, "author": user_json(url, users, &self.author), "created": written(self.created), "items": items})
    }
}

impl ChangeItem {
    pub(crate) fn new(field: &str, from: Option<String>, to: Option<String>) -> Self {
        Self { field: field.to_owned(), from_text: from.clone(), from, to_text: to.clone(), to }
    }

    /// The same with these texts.
    pub(crate) fn between(mut self, from: Option<String>, to: Option<String>) -> Self {
        (self.from_text, self.to_text) = (from, to);
        self
    }

    pub(crate) fn json(&self) -> Value {
        let mut item = json!({"field": self.field, "fieldtype": "jira", "fieldId": self.field});
        for (name, text) in [("from", &self.from), ("fromString", &self.from_text), ("to", &self.to), ("toString", &self.to_text)] {
            // Jira sends null here, which its own contract does not allow.
            if let Some(text) = text {
                item[name] = json!(text);
            }
        }
        item
    }
}

/// An issue, with what of it search has still to learn.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) issue: Issue,
    /// From when on search sees what; in the order of the changes.
    indexed: Vec<(Timestamp, Issue)>,
}

impl Kept {
    pub(crate) fn new(issue: Issue) -> Self {
        Self { issue, indexed: Vec::new() }
    }

    /// Lets search see it as it is, at a later time.
    pub(crate) fn index(&mut self, now: Timestamp, visible: Timestamp) {
        // Of what can be seen by now only the newest will ever be asked for.
        let seen = self.indexed.iter().rposition(|(at, _)| *at <= now).unwrap_or(0);
        self.indexed.drain(..seen);
        self.indexed.push((visible, self.issue.clone()));
    }

    /// As search sees it.
    pub(crate) fn seen(&self, now: Timestamp) -> Option<&Issue> {
        self.indexed.iter().rev().find(|(at, _)| *at <= now).map(|(_, issue)| issue)
    }
}
