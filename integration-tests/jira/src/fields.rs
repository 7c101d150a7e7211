//! Fields: what is valid, and what setting one changes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::adf;
use crate::issue::{ChangeItem, Issue, RESOLUTIONS};
use crate::project::{CustomField, FieldKind, Project};
use crate::user::User;

/// The longest summary and string field, in UTF-16 units: Jira runs in a JVM.
const LINE_UNITS: usize = 255;
pub(crate) const PRIORITIES: [(&str, &str); 5] = [("1", "Highest"), ("2", "High"), ("3", "Medium"), ("4", "Low"), ("5", "Lowest")];

/// What is wrong, by field.
pub(crate) type Wrong = BTreeMap<String, String>;

/// A field's new value, which is valid.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    Summary(String),
    Description(Option<Value>),
    Labels(Vec<String>),
    Assignee(Option<String>),
    Resolution(String),
    Other(String, Value),
}

/// What a system field is called, its type, and what its elements are.
pub(crate) const SYSTEM_FIELDS: [(&str, &str, &str, Option<&str>); 9] = [
    ("summary", "Summary", "string", None),
    ("issuetype", "Issue Type", "issuetype", None),
    ("project", "Project", "project", None),
    ("description", "Description", "string", None),
    ("labels", "Labels", "array", Some("string")),
    ("assignee", "Assignee", "user", None),
    ("priority", "Priority", "priority", None),
    ("duedate", "Due date", "date", None),
    ("environment", "Environment", "string", None),
];

/// Where fields are set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    Create,
    Edit,
    /// With the field `resolution` or without any.
    Transition {
        has_resolution: bool,
    },
}

/// Reads all fields; says of each that is wrong why.
pub(crate) fn read(fields: &Map<String, Value>, screen: Screen, project: &Project, users: &[User]) -> Result<Vec<Set>, Wrong> {
    let mut sets = Vec::new();
    let mut wrong = Wrong::new();
    for (field, value) in fields {
        // Where it is created, and as what, is read elsewhere.
        if screen == Screen::Create && (field == "project" || field == "issuetype") {
            continue;
        }
        match read_one(field, value, screen, project, users) {
            Ok(set) => sets.push(set),
            Err(reason) => {
                wrong.insert(field.clone(), reason);
            }
        }
    }
    if screen == Screen::Create {
        if !fields.contains_key("summary") {
            wrong.insert("summary".to_owned(), "You must specify a summary of the issue.".to_owned());
        }
        for field in project.custom_fields.iter().filter(|field| field.is_required && fields.get(&field.id).is_none_or(Value::is_null)) {
            wrong.insert(field.id.clone(), format!("{} is required.", field.name));
        }
    }
    if wrong.is_empty() { Ok(sets) } else { Err(wrong) }
}

fn read_one(field: &str, value: &Value, screen: Screen, project: &Project, users: &[User]) -> Result<Set, String> {
    let is_on_screen = match screen {
        Screen::Transition { has_resolution } => has_resolution && field == "resolution",
        _ => !project.off_screen.contains(field),
    };
    let unknown = || format!("Field '{field}' cannot be set. It is not on the appropriate screen, or unknown.");
    if !is_on_screen {
        return Err(unknown());
    }
    match field {
        "summary" => summary(value).map(Set::Summary),
        "description" if value.is_null() => Ok(Set::Description(None)),
        "description" => adf::objection(value).map_or_else(|| Ok(Set::Description(Some(value.clone()))), |reason| Err(reason.to_owned())),
        "environment" => rich(field, value),
        "labels" => labels(value).map(Set::Labels),
        "assignee" => assignee(value, users).map(Set::Assignee),
        "priority" => {
            let known = PRIORITIES.iter().find(|known| value["id"] == known.0 || (value["id"].is_null() && value["name"] == known.1));
            let (id, name) = known.ok_or("The priority selected is invalid.")?;
            Ok(Set::Other(field.to_owned(), json!({"id": id, "name": name})))
        }
        "duedate" => date(field, value),
        "resolution" if matches!(screen, Screen::Transition { .. }) => {
            let known = RESOLUTIONS.iter().find(|known| value["id"] == known.0 || (value["id"].is_null() && value["name"] == known.1));
            known.map(|known| Set::Resolution(known.1.to_owned())).ok_or_else(|| "The resolution selected is invalid.".to_owned())
        }
        _ => project
            .custom_fields
            .iter()
            .find(|custom| custom.id == field)
            .ok_or_else(unknown)
            .and_then(|custom| custom_value(custom, value)),
    }
}

fn summary(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("Operation value must be a string")?;
    if text.trim().is_empty() {
        return Err("You must specify a summary of the issue.".to_owned());
    }
    if text.contains(['\n', '\r']) {
        return Err("The summary is invalid because it contains newline characters.".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("The summary is invalid because it contains control characters.".to_owned());
    }
    if text.encode_utf16().count() > LINE_UNITS {
        return Err("Summary can't exceed 255 characters.".to_owned());
    }
    Ok(text.to_owned())
}

/// Labels of an issue: no blanks, none twice.
pub(crate) fn labels(value: &Value) -> Result<Vec<String>, String> {
    let given = value.as_array().ok_or("data was not an array")?;
    let mut labels = Vec::new();
    for label in given {
        let label = self::label(label)?;
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    Ok(labels)
}

pub(crate) fn label(value: &Value) -> Result<String, String> {
    let label = value.as_str().ok_or("string expected at index 0")?;
    if label.is_empty() || label.contains(char::is_whitespace) {
        return Err(format!("The label '{label}' contains spaces which is invalid."));
    }
    if label.encode_utf16().count() > LINE_UNITS {
        return Err(format!("The label '{label}' exceeds the maximum length of 255 characters."));
    }
    Ok(label.to_owned())
}

fn assignee(value: &Value, users: &[User]) -> Result<Option<String>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let account = value["accountId"].as_str().or_else(|| value["id"].as_str()).ok_or("expected Object with accountId")?;
    let is_there = users.iter().any(|user| user.account_id == account && user.is_active);
    if is_there { Ok(Some(account.to_owned())) } else { Err(format!("User '{account}' cannot be assigned issues.")) }
}

fn rich(field: &str, value: &Value) -> Result<Set, String> {
    match adf::objection(value) {
        Some(reason) if !value.is_null() => Err(reason.to_owned()),
        _ => Ok(Set::Other(field.to_owned(), value.clone())),
    }
}

fn date(field: &str, value: &Value) -> Result<Set, String> {
    let is_date = value.as_str().is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok());
    if is_date || value.is_null() {
        return Ok(Set::Other(field.to_owned(), value.clone()));
    }
    Err(format!("Error parsing date string: {value}. Enter the date in 'yyyy-MM-dd' format."))
}

fn custom_value(field: &CustomField, value: &Value) -> Result<Set, String> {
    if value.is_null() {
        return if field.is_required { Err(format!("{} is required.", field.name)) } else { Ok(Set::Other(field.id.clone(), Value::Null)) };
    }
    let valid = match &field.kind {
        FieldKind::Text => {
            let text = value.as_str().ok_or("Operation value must be a string")?;
            if text.encode_utf16().count() > LINE_UNITS {
                return Err("The entered text is too long. It exceeds the allowed limit of 255 characters.".to_owned());
            }
            value.clone()
        }
        FieldKind::TextArea => return rich(&field.id, value),
        FieldKind::Number if value.is_number() => value.clone(),
        FieldKind::Number => return Err("Operation value must be a number".to_owned()),
        FieldKind::Select(_) => {
            let is_it = |option: &Value| value["id"] == option["id"] || (value["id"].is_null() && value["value"] == option["value"]);
            field.kind.options().into_iter().find(is_it).ok_or_else(|| format!("Specify a valid value for '{}'", field.name))?
        }
    };
    Ok(Set::Other(field.id.clone(), valid))
}

impl Set {
    /// Sets it, and says what changed if anything did.
    pub(crate) fn apply(self, issue: &mut Issue, users: &[User]) -> Option<ChangeItem> {
        let item = match self {
            Self::Summary(text) => ChangeItem::new("summary", None, None)
                .between(Some(std::mem::replace(&mut issue.summary, text)), Some(issue.summary.clone())),
            Self::Description(document) => {
                let before = std::mem::replace(&mut issue.description, document);
                if before == issue.description {
                    return None;
                }
                let text = |document: &Option<Value>| document.as_ref().map(adf::plain);
                return Some(ChangeItem::new("description", None, None).between(text(&before), text(&issue.description)));
            }
            Self::Labels(labels) => {
                let before = std::mem::replace(&mut issue.labels, labels);
                ChangeItem::new("labels", None, None).between(Some(before.join(" ")), Some(issue.labels.join(" ")))
            }
            Self::Assignee(account) => {
                let before = std::mem::replace(&mut issue.assignee, account);
                let name = |account: &Option<String>| {
                    users.iter().find(|user| Some(&user.account_id) == account.as_ref()).map(|user| user.name.clone())
                };
                let texts = (name(&before), name(&issue.assignee));
                ChangeItem::new("assignee", before, issue.assignee.clone()).between(texts.0, texts.1)
            }
            Self::Resolution(name) => ChangeItem::new("resolution", issue.resolution.replace(name), issue.resolution.clone()),
            Self::Other(field, value) => {
                let text = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(ToString::to_string);
                let before = issue.others.insert(field.clone(), value);
                let after = issue.others.get(&field);
                ChangeItem::new(&field, None, None).between(text(before.as_ref()), text(after))
            }
        };
        (item.from != item.to || item.from_text != item.to_text).then_some(item)
    }
}
