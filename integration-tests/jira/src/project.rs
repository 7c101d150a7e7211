//! Projects: what an issue of one may be, and must say.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::workflow::Workflow;

#[derive(Clone, Debug)]
pub struct IssueType {
    pub id: String,
    pub name: String,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// One line, as a string of at most 255.
    Text,
    /// Rich text, as ADF.
    TextArea,
    Number,
    /// One of these options, as `{"value": …}` or `{"id": …}`; ids count from 10100.
    Select(Vec<String>),
}

impl FieldKind {
    pub(crate) fn options(&self) -> Vec<Value> {
        let Self::Select(values) = self else { return Vec::new() };
        values.iter().enumerate().map(|(at, value)| json!({"id": (10_100 + at).to_string(), "value": value})).collect()
    }

    /// Type and the custom type's key, as schemas name them.
    pub(crate) fn named(&self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("string", "com.atlassian.jira.plugin.system.customfieldtypes:textfield"),
            Self::TextArea => ("string", "com.atlassian.jira.plugin.system.customfieldtypes:textarea"),
            Self::Number => ("number", "com.atlassian.jira.plugin.system.customfieldtypes:float"),
            Self::Select(_) => ("option", "com.atlassian.jira.plugin.system.customfieldtypes:select"),
        }
    }
}

/// A field that an administrator made.
#[derive(Clone, Debug)]
pub struct CustomField {
    /// `customfield_` and a number.
    pub id: String,
    pub name: String,
    pub kind: FieldKind,
    pub is_required: bool,
}

#[derive(Clone, Debug)]
pub struct Project {
    pub key: String,
    pub name: String,
    pub issue_types: Vec<IssueType>,
    pub workflow: Workflow,
    pub custom_fields: Vec<CustomField>,
    /// Fields that are on none of its screens, so that nobody can set them (`labels`, say).
    pub off_screen: BTreeSet<String>,
    pub is_archived: bool,
    /// Permissions that our account does not have here, by their keys (`CREATE_ISSUES`).
    pub denied: BTreeSet<String>,
}

impl Project {
    /// With the issue types Task and Bug, and nothing that is required beyond a summary.
    pub fn new(key: &str, workflow: Workflow) -> Self {
        let kind = |id: &str, name: &str| IssueType { id: id.to_owned(), name: name.to_owned() };
        Self {
            key: key.to_owned(),
            name: format!("Project {key}"),
            issue_types: vec![kind("10001", "Task"), kind("10002", "Bug")],
            workflow,
            custom_fields: Vec::new(),
            off_screen: BTreeSet::new(),
            is_archived: false,
            denied: BTreeSet::new(),
        }
    }

    #[must_use]
    pub fn with_field(mut self, id: &str, name: &str, kind: FieldKind, is_required: bool) -> Self {
        self.custom_fields.push(CustomField { id: id.to_owned(), name: name.to_owned(), kind, is_required });
        self
    }

    #[must_use]
    pub fn without_on_screen(mut self, field: &str) -> Self {
        self.off_screen.insert(field.to_owned());
        self
    }

    #[must_use]
    pub fn archived(mut self) -> Self {
        self.is_archived = true;
        self
    }

    pub(crate) fn may(&self, permission: &str) -> bool {
        !self.denied.contains(permission)
    }

    /// A type by `{"id": …}` or `{"name": …}`.
    pub(crate) fn issue_type(&self, asked: &Value) -> Option<&IssueType> {
        self.issue_types
            .iter()
            .find(|kind| asked["id"] == kind.id.as_str() || (asked["id"].is_null() && asked["name"] == kind.name.as_str()))
    }
}

/// The projects that a fake has if it is not told others: one for each thing that goes differently.
pub fn usual_projects() -> Vec<Project> {
    let teams = FieldKind::Select(vec!["Red".to_owned(), "Blue".to_owned()]);
    vec![
        Project::new("SEC", Workflow::simple()),
        Project::new("OPEN", Workflow::without_done()),
        Project::new("ASK", Workflow::with_resolution_asked()),
        Project::new("NORES", Workflow::without_resolution()),
        Project::new("STEP", Workflow::in_steps()),
        Project::new("REQ", Workflow::simple()).with_field("customfield_10010", "Team", teams, true),
        Project::new("BARE", Workflow::simple()).without_on_screen("labels"),
        Project::new("OLD", Workflow::simple()).archived(),
    ]
}
