//! Issues: as they are read, and as they are to be.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The property of an issue in which we keep what we know of it. Whoever edits the issue can read it and write it.
pub const PROPERTY: &str = "faultline";
/// The longest id or key.
const NAME_BYTES: usize = 255;

/// How an issue is called: the id stays, the key changes with the project.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Named")]
pub struct Issue {
    pub id: String,
    pub key: String,
}

/// An issue that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub issue: Issue,
    pub category: Category,
    pub labels: Vec<String>,
    /// The key of the project that it is in now.
    pub project: String,
    /// Our property; nothing if there is none, as on a copy that a person made.
    pub property: Option<Value>,
}

/// An issue as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub issue: Issue,
    pub category: Category,
    /// The status, in the language of the site: for people.
    pub status: String,
    pub labels: Vec<String>,
    pub summary: String,
    pub assignee: Option<Account>,
    /// In the language of the site. Says nothing about open or done: workflows without one are common.
    pub resolution: Option<String>,
    /// The key of the project that it is in now.
    pub project: String,
    /// Our property as we left it, or somebody made it; nothing if there is none.
    pub property: Option<Value>,
}

/// What a status is, whatever it is called. One that is not known is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    New,
    Indeterminate,
    Done,
}

/// Somebody, or a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    #[serde(rename = "accountId")]
    pub account_id: String,
    #[serde(rename = "displayName", default)]
    pub name: String,
}

/// An issue that is to be. What it is called in Jira's own fields goes before `fields`.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The key.
    pub project: String,
    /// The name.
    pub issue_type: String,
    pub summary: String,
    /// ADF.
    pub description: Value,
    /// The mark that it is found by, and others.
    pub labels: Vec<String>,
    /// More fields, as Jira takes them.
    pub fields: Map<String, Value>,
    pub property: Value,
}

/// What is to be otherwise; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    pub summary: Option<String>,
    /// ADF.
    pub description: Option<Value>,
    pub property: Option<Value>,
    /// Whether watchers get no mail. Only for who administers the project ([`super::Permissions::may_be_quiet`]): of others Jira ignores the
    /// whole edit.
    pub is_quiet: bool,
}

impl Category {
    /// By the key of a status category, which is the same on all sites.
    pub(super) fn of(key: &str) -> Self {
        match key {
            "new" => Self::New,
            "done" => Self::Done,
            _ => Self::Indeterminate,
        }
    }
}

impl Draft {
    pub(super) fn body(&self) -> Value {
        let mut fields = self.fields.clone();
        let own = json!({
            "project": { "key": self.project },
            "issuetype": { "name": self.issue_type },
            "summary": self.summary,
            "description": self.description,
            "labels": self.labels,
        });
        if let Value::Object(own) = own {
            fields.extend(own);
        }
        json!({ "fields": fields, "properties": [{ "key": PROPERTY, "value": self.property }] })
    }
}

impl Edit {
    /// Nothing if there is nothing to edit.
    pub(super) fn body(&self) -> Option<Value> {
        let (mut fields, mut body) = (Map::new(), Map::new());
        if let Some(summary) = &self.summary {
            fields.insert("summary".to_owned(), summary.as_str().into());
        }
        if let Some(description) = &self.description {
            fields.insert("description".to_owned(), description.clone());
        }
        if !fields.is_empty() {
            body.insert("fields".to_owned(), fields.into());
        }
        if let Some(property) = &self.property {
            body.insert("properties".to_owned(), json!([{ "key": PROPERTY, "value": property }]));
        }
        (!body.is_empty()).then_some(Value::Object(body))
    }
}

/// Whether something can be part of an address as an issue's id or key.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[derive(Deserialize)]
struct Named {
    id: String,
    key: String,
}

impl TryFrom<Named> for Issue {
    type Error = &'static str;

    fn try_from(Named { id, key }: Named) -> Result<Self, Self::Error> {
        if is_name(&id) && is_name(&key) { Ok(Self { id, key }) } else { Err("an id or a key that is none") }
    }
}

/// An issue in an answer. Fields that a project hides are not there.
#[derive(Deserialize)]
pub(super) struct Told {
    #[serde(flatten)]
    issue: Issue,
    #[serde(default)]
    fields: Fields,
    #[serde(default)]
    properties: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    status: Option<Status>,
    labels: Option<Vec<String>>,
    summary: Option<String>,
    assignee: Option<Account>,
    resolution: Option<Name>,
    project: Option<Project>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    name: String,
    #[serde(rename = "statusCategory")]
    category: Key,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Project {
    key: String,
}

impl Status {
    pub(super) fn category(&self) -> Category {
        Category::of(&self.category.key)
    }
}

impl Told {
    pub(super) fn found(mut self) -> Found {
        let (project, property) = (self.project(), self.properties.remove(PROPERTY));
        Found { issue: self.issue, category: category(&self.fields), labels: self.fields.labels.unwrap_or_default(), project, property }
    }

    pub(super) fn seen(mut self) -> Seen {
        let project = self.project();
        Seen {
            issue: self.issue,
            category: category(&self.fields),
            status: self.fields.status.map(|status| status.name).unwrap_or_default(),
            labels: self.fields.labels.unwrap_or_default(),
            summary: self.fields.summary.unwrap_or_default(),
            assignee: self.fields.assignee,
            resolution: self.fields.resolution.map(|resolution| resolution.name),
            project,
            property: self.properties.remove(PROPERTY),
        }
    }

    fn project(&self) -> String {
        let named = self.fields.project.as_ref().map(|project| project.key.clone());
        named.unwrap_or_else(|| self.issue.key.rsplit_once('-').map(|(project, _)| project.to_owned()).unwrap_or_default())
    }
}

fn category(fields: &Fields) -> Category {
    fields.status.as_ref().map_or(Category::Indeterminate, Status::category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_fields_go_before_others() {
        let fields = json!({ "summary": "theirs", "priority": { "name": "High" } });
        let draft = Draft {
            project: "PAY".into(),
            issue_type: "Task".into(),
            summary: "ours".into(),
            description: json!({ "type": "doc", "version": 1, "content": [] }),
            labels: vec!["faultline-1f".into()],
            fields: fields.as_object().unwrap().clone(),
            property: json!({ "fix": "f" }),
        };
        let body = draft.body();
        assert_eq!((&body["fields"]["summary"], &body["fields"]["priority"]["name"]), (&json!("ours"), &json!("High")));
        assert_eq!(body["properties"], json!([{ "key": "faultline", "value": { "fix": "f" } }]));
    }

    #[test]
    fn an_edit_names_nothing_that_stays() {
        assert_eq!(Edit::default().body(), None);
        let edit = Edit { property: Some(json!(1)), ..Edit::default() };
        assert_eq!(edit.body(), Some(json!({ "properties": [{ "key": "faultline", "value": 1 }] })));
    }

    #[test]
    fn an_issue_is_read_with_what_is_hidden_left_out() {
        let told = json!({ "id": "10002", "key": "ED-1", "fields": { "labels": null, "assignee": null,
            "status": { "name": "Erledigt", "statusCategory": { "key": "done" } } }, "properties": { "faultline": { "a": 1 } } });
        let seen = serde_json::from_value::<Told>(told).unwrap().seen();
        assert_eq!((seen.category, seen.status.as_str(), seen.project.as_str()), (Category::Done, "Erledigt", "ED"));
        assert_eq!((seen.labels, seen.property), (vec![], Some(json!({ "a": 1 }))));
        for wrong in [json!({ "id": "", "key": "A-1" }), json!({ "id": "..", "key": "A-1" }), json!({ "id": 1, "key": "A-1" })] {
            assert!(serde_json::from_value::<Issue>(wrong).is_err());
        }
    }
}
