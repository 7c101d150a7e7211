//! What a project asks of new issues, and what we may do in it: for who sets a site up.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// The most allowed values that are told.
const ALLOWED: usize = 20;

/// What tickets need of a project, by the names of Jira's permissions.
const NEEDED: [&str; 6] = ["BROWSE_PROJECTS", "CREATE_ISSUES", "EDIT_ISSUES", "TRANSITION_ISSUES", "ADD_COMMENTS", "LINK_ISSUES"];
/// Either is enough for edits without mail.
const ADMINISTERS: [&str; 2] = ["ADMINISTER_PROJECTS", "ADMINISTER"];

/// A field that a new issue must have, and that Jira does not fill in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredField {
    /// As the fields of a [`super::Draft`] are named.
    pub key: String,
    /// For people, in the language of the site.
    pub name: String,
    /// What it takes: `string`, `option`, `array`, …
    pub kind: String,
    /// What it can be, if that is a list; the first of them.
    pub allowed: Vec<String>,
}

/// What we may do in a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    held: BTreeSet<String>,
}

impl Permissions {
    /// The names of those that are asked for.
    pub(super) fn names() -> String {
        [&NEEDED[..], &ADMINISTERS].concat().join(",")
    }

    /// What tickets need and we may not do, by Jira's names.
    pub fn lacking(&self) -> Vec<&'static str> {
        NEEDED.into_iter().filter(|name| !self.held.contains(*name)).collect()
    }

    /// Whether edits can be made of which watchers get no mail.
    pub fn may_be_quiet(&self) -> bool {
        ADMINISTERS.iter().any(|name| self.held.contains(*name))
    }
}

#[derive(Deserialize)]
pub(super) struct ToldPermissions {
    permissions: BTreeMap<String, Permission>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permission {
    have_permission: bool,
}

impl ToldPermissions {
    pub(super) fn permissions(self) -> Permissions {
        Permissions { held: self.permissions.into_iter().filter(|(_, told)| told.have_permission).map(|(name, _)| name).collect() }
    }
}

/// A page of what is listed from a number on.
pub(super) trait Page {
    type Entry;

    fn entries(self) -> (Vec<Self::Entry>, u64);
}

#[derive(Deserialize)]
pub(super) struct IssueTypes {
    #[serde(rename = "issueTypes")]
    types: Vec<IssueType>,
    #[serde(default)]
    total: u64,
}

#[derive(Deserialize)]
pub(super) struct IssueType {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct FieldsPage {
    fields: Vec<Field>,
    #[serde(default)]
    total: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Field {
    #[serde(rename = "fieldId")]
    id: String,
    #[serde(default)]
    name: String,
    required: bool,
    #[serde(default)]
    has_default_value: bool,
    #[serde(default)]
    allowed_values: Vec<Value>,
    #[serde(default)]
    schema: Schema,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Schema {
    r#type: String,
}

impl Page for IssueTypes {
    type Entry = IssueType;

    fn entries(self) -> (Vec<IssueType>, u64) {
        (self.types, self.total)
    }
}

impl Page for FieldsPage {
    type Entry = Field;

    fn entries(self) -> (Vec<Field>, u64) {
        (self.fields, self.total)
    }
}

impl Field {
    /// Nothing for one that may be left out.
    pub(super) fn required(self) -> Option<RequiredField> {
        let name = |value: &Value| {
            let named = ["name", "value", "key", "id"].iter().find_map(|part| value.get(part)?.as_str());
            named.or(value.as_str()).map_or_else(|| value.to_string(), str::to_owned)
        };
        let allowed = self.allowed_values.iter().take(ALLOWED).map(name).collect();
        let is_asked = self.required && !self.has_default_value;
        is_asked.then_some(RequiredField { key: self.id, name: self.name, kind: self.schema.r#type, allowed })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_filled_in_by_itself_is_not_required() {
        let page = json!({ "total": 3, "fields": [
            { "fieldId": "reporter", "required": true, "hasDefaultValue": true },
            { "fieldId": "labels", "required": false },
            { "fieldId": "customfield_1", "name": "Team", "required": true, "schema": { "type": "option" },
              "allowedValues": [{ "id": "1", "value": "Payments" }, "Shop"] } ] });
        let (fields, total) = serde_json::from_value::<FieldsPage>(page).unwrap().entries();
        let required: Vec<_> = fields.into_iter().filter_map(Field::required).collect();
        let team = RequiredField {
            key: "customfield_1".into(),
            name: "Team".into(),
            kind: "option".into(),
            allowed: vec!["Payments".into(), "Shop".into()],
        };
        assert_eq!((required, total), (vec![team], 3));
    }

    #[test]
    fn what_is_not_held_is_lacking() {
        let told = json!({ "permissions": { "BROWSE_PROJECTS": { "havePermission": true }, "EDIT_ISSUES": { "havePermission": false } } });
        let permissions = serde_json::from_value::<ToldPermissions>(told).unwrap().permissions();
        assert_eq!(permissions.lacking(), ["CREATE_ISSUES", "EDIT_ISSUES", "TRANSITION_ISSUES", "ADD_COMMENTS", "LINK_ISSUES"]);
        assert!(!permissions.may_be_quiet());
    }
}
