//! Issues: created one by one or in bulk, read, edited.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answered, Asked, Reply, changeable, issue_of, members, visible};
use crate::fields::{self, Screen, Set, Wrong};
use crate::issue::Issue;
use crate::world::{NewIssue, World};

const BULK_CREATE: usize = 50;
const BULK_FETCH: usize = 100;
/// The longest value of a property, as JSON.
pub(crate) const PROPERTY_CHARACTERS: usize = 32_768;
const PROPERTIES_AT_ONCE: usize = 10;
const CREATE_MEMBERS: [&str; 5] = ["fields", "update", "properties", "historyMetadata", "transition"];

pub(super) fn create(world: &mut World, asked: &Asked) -> Answered {
    let new = read_new(world, &asked.body)?;
    Ok(Reply::created(create_one(world, new)))
}

/// Each element on its own: some may fail, and are named by their number.
pub(super) fn create_bulk(world: &mut World, asked: &Asked) -> Answered {
    let elements = asked.members(&["issueUpdates"])?.get("issueUpdates").and_then(Value::as_array);
    let elements = elements.filter(|elements| !elements.is_empty()).ok_or_else(|| Reply::refused(400, "No issue data was given."))?;
    if elements.len() > BULK_CREATE {
        return Err(Reply::refused(400, format!("The number of issues to be created exceeds the limit of {BULK_CREATE}.")));
    }
    let (mut issues, mut errors) = (Vec::new(), Vec::new());
    for (number, element) in elements.iter().enumerate() {
        match read_new(world, element) {
            Ok(new) => issues.push(create_one(world, new)),
            Err(reply) => errors.push(json!({"status": reply.status, "elementErrors": reply.body, "failedElementNumber": number})),
        }
    }
    let status = if issues.is_empty() { 400 } else { 201 };
    Ok(Reply { status, body: Some(json!({"issues": issues, "errors": errors})) })
}

fn create_one(world: &mut World, new: NewIssue) -> Value {
    let author = world.account.clone();
    let id = world.create(&author, new);
    let issue = world.issue(id);
    json!({"id": issue.id, "key": issue.key, "self": issue.own(&world.url)})
}

fn read_new(world: &World, body: &Value) -> Result<NewIssue, Reply> {
    let given = members(body, &CREATE_MEMBERS)?;
    let fields = given.get("fields").and_then(Value::as_object).ok_or_else(|| Reply::refused(400, "'fields' is required."))?;
    let named = fields.get("project").and_then(|project| project["key"].as_str().or_else(|| project["id"].as_str()));
    let project = named.and_then(|named| world.project(named)).filter(|project| project.may("BROWSE_PROJECTS"));
    let project = project.ok_or_else(|| Reply::wrong_field("project", "valid project is required"))?;
    if project.is_archived {
        return Err(Reply::wrong_field("project", "The project is archived. Issues cannot be created in it."));
    }
    if !project.may("CREATE_ISSUES") {
        return Err(Reply::refused(403, "You do not have permission to create issues in this project."));
    }
    let kind = fields.get("issuetype").and_then(|asked| project.issue_type(asked));
    let sets = fields::read(fields, Screen::Create, project, &world.users);
    let mut wrong = sets.as_ref().err().cloned().unwrap_or_default();
    if kind.is_none() {
        wrong.insert("issuetype".to_owned(), "Specify a valid issue type".to_owned());
    }
    match (sets, kind) {
        (Ok(sets), Some(kind)) => Ok(NewIssue {
            project: project.key.clone(),
            issue_type: kind.id.clone(),
            sets,
            properties: read_properties(given.get("properties"))?,
        }),
        _ => Err(Reply::wrong(&wrong)),
    }
}

fn read_properties(given: Option<&Value>) -> Result<BTreeMap<String, Value>, Reply> {
    let given: &[Value] = given.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    if given.len() > PROPERTIES_AT_ONCE {
        return Err(Reply::refused(400, format!("At most {PROPERTIES_AT_ONCE} properties can be set at once.")));
    }
    let mut properties = BTreeMap::new();
    for property in given {
        let key = property["key"].as_str().unwrap_or_default();
        check_property(key, &property["value"])?;
        properties.insert(key.to_owned(), property["value"].clone());
    }
    Ok(properties)
}

pub(super) fn check_property(key: &str, value: &Value) -> Result<(), Reply> {
    if key.is_empty() || key.encode_utf16().count() > 255 {
        return Err(Reply::refused(400, "The key of a property must have 1 to 255 characters."));
    }
    if value.is_null() || value.to_string().encode_utf16().count() > PROPERTY_CHARACTERS {
        return Err(Reply::refused(400, format!("The value of a property must be JSON of at most {PROPERTY_CHARACTERS} characters.")));
    }
    Ok(())
}

pub(super) fn get(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    Ok(Reply::ok(whole(world, issue, &asked.all("fields"), &asked.all("properties"))))
}

/// An issue with the fields and properties that are asked for.
pub(super) fn whole(world: &World, issue: &Issue, fields: &[String], properties: &[String]) -> Value {
    let mut content = issue.json(fields, &world.url, world.project_of(issue), &world.users);
    if !properties.is_empty() {
        let is_all = properties.iter().any(|key| key == "*all");
        let chosen: Map<String, Value> =
            issue.properties.clone().into_iter().filter(|(key, _)| is_all || properties.contains(key)).collect();
        content["properties"] = Value::Object(chosen);
    }
    content
}

pub(super) fn fetch_bulk(world: &mut World, asked: &Asked) -> Answered {
    let given = asked.members(&["issueIdsOrKeys", "fields", "fieldsByKeys", "expand", "properties"])?;
    let ids = texts(given.get("issueIdsOrKeys"));
    if ids.is_empty() || ids.len() > BULK_FETCH {
        return Err(Reply::refused(400, format!("Between 1 and {BULK_FETCH} issue ids or keys are required.")));
    }
    let (fields, properties) = (texts(given.get("fields")), texts(given.get("properties")));
    let (mut issues, mut errors) = (Vec::new(), Vec::new());
    for asked in &ids {
        match visible(world, asked) {
            Some(id) => issues.push(whole(world, world.issue(id), &fields, &properties)),
            None => errors.push(json!({"id": asked, "errorMessage": "Issue does not exist or you do not have permission to see it."})),
        }
    }
    Ok(Reply::ok(json!({"issues": issues, "issueErrors": errors})))
}

pub(super) fn texts(given: Option<&Value>) -> Vec<String> {
    given.and_then(Value::as_array).into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

pub(super) fn edit(world: &mut World, asked: &Asked) -> Answered {
    let id = changeable(world, asked, "EDIT_ISSUES")?;
    let given = asked.members(&CREATE_MEMBERS)?;
    let none = Map::new();
    let part = |name: &str| given.get(name).map_or(Some(&none), Value::as_object);
    let (Some(fields), Some(update)) = (part("fields"), part("update")) else {
        return Err(Reply::refused(400, "'fields' and 'update' are objects."));
    };
    let properties = read_properties(given.get("properties"))?;
    if fields.is_empty() && update.is_empty() && properties.is_empty() {
        return Err(Reply::refused(400, "One of 'fields' or 'update' required"));
    }
    let mut wrong = Wrong::new();
    for field in update.keys().filter(|field| fields.contains_key(*field)) {
        wrong.insert(field.clone(), format!("Field '{field}' cannot appear in both 'fields' and 'update'"));
    }
    let issue = world.issue(id);
    let (mut fields, mut comments) = (fields.clone(), Vec::new());
    for (field, operations) in update {
        match updated(issue, field, operations) {
            Ok(Updated::Field(value)) => drop(fields.insert(field.clone(), value)),
            Ok(Updated::Comments(bodies)) => comments.extend(bodies),
            Err(reason) => drop(wrong.entry(field.clone()).or_insert(reason)),
        }
    }
    let sets: Vec<Set> = match fields::read(&fields, Screen::Edit, world.project_of(issue), &world.users) {
        Ok(sets) if wrong.is_empty() => sets,
        Ok(_) => return Err(Reply::wrong(&wrong)),
        Err(more) => return Err(Reply::wrong(&more.into_iter().chain(wrong).collect())),
    };
    let author = world.account.clone();
    world.edit(id, &author, sets);
    world.attach(id, |issue| issue.properties.extend(properties));
    for body in comments {
        world.comment(id, &author, body);
    }
    Ok(Reply::nothing())
}

enum Updated {
    /// What the field then is.
    Field(Value),
    Comments(Vec<Value>),
}

/// What a list of operations makes of a field.
fn updated(issue: &Issue, field: &str, operations: &Value) -> Result<Updated, String> {
    let operations = operations.as_array().ok_or("operations are a list")?;
    let mut each = operations.iter().filter_map(Value::as_object).flatten();
    match field {
        "labels" => {
            let mut labels = issue.labels.clone();
            for (verb, value) in each {
                match verb.as_str() {
                    "set" => labels = fields::labels(value)?,
                    "add" => labels.push(fields::label(value)?),
                    "remove" => labels.retain(|label| value != label.as_str()),
                    _ => return Err(format!("The operation '{verb}' is not supported for field 'labels'")),
                }
            }
            Ok(Updated::Field(json!(labels)))
        }
        "comment" => {
            let bodies = each.map(|(_, value)| super::comment::checked(&value["body"]).map(|()| value["body"].clone()));
            bodies.collect::<Result<_, _>>().map(Updated::Comments).map_err(str::to_owned)
        }
        _ => {
            let set = each.rfind(|(verb, _)| *verb == "set");
            set.map(|(_, value)| Updated::Field(value.clone())).ok_or_else(|| format!("Field '{field}' can only be set."))
        }
    }
}

pub(super) fn changelog(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    let (start, most) = asked.page(100)?;
    let total = issue.changelog.len();
    let values: Vec<Value> = issue.changelog.iter().skip(start).take(most).map(|change| change.json(&world.url, &world.users)).collect();
    let is_last = start + values.len() >= total;
    let own = format!("{}/changelog", issue.own(&world.url));
    let mut page = json!({
        "self": format!("{own}?startAt={start}&maxResults={most}"),
        "startAt": start,
        "maxResults": most,
        "total": total,
        "isLast": is_last,
        "values": values,
    });
    if !is_last {
        page["nextPage"] = json!(format!("{own}?startAt={}&maxResults={most}", start + most));
    }
    Ok(Reply::ok(page))
}
