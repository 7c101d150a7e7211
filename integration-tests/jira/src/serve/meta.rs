//! What an issue may say where: projects, issue types, fields.

use serde_json::{Value, json};

use super::{Answered, Asked, Reply};
use crate::fields::{PRIORITIES, SYSTEM_FIELDS};
use crate::project::{CustomField, Project};
use crate::world::World;

fn project_of<'a>(world: &'a World, asked: &Asked) -> Result<&'a Project, Reply> {
    let key = asked.parameter("projectIdOrKey");
    let project = world.project(key).filter(|project| project.may("BROWSE_PROJECTS"));
    project.ok_or_else(|| Reply::refused(404, format!("No project could be found with key '{key}'.")))
}

pub(super) fn project(world: &mut World, asked: &Asked) -> Answered {
    let project = project_of(world, asked)?;
    let id = world.project_id(&project.key);
    Ok(Reply::ok(json!({
        "self": format!("{}/rest/api/3/project/{id}", world.url),
        "id": id,
        "key": project.key,
        "name": project.name,
        "projectTypeKey": "software",
        "simplified": false,
        "style": "classic",
        "archived": project.is_archived,
        "issueTypes": kinds(world, project),
    })))
}

fn kinds(world: &World, project: &Project) -> Vec<Value> {
    let kind = |kind: &crate::project::IssueType| {
        let own = format!("{}/rest/api/3/issuetype/{}", world.url, kind.id);
        json!({"self": own, "id": kind.id, "name": kind.name, "subtask": false, "hierarchyLevel": 0, "description": ""})
    };
    project.issue_types.iter().map(kind).collect()
}

pub(super) fn issue_types(world: &mut World, asked: &Asked) -> Answered {
    page(asked, "issueTypes", kinds(world, project_of(world, asked)?))
}

fn page(asked: &Asked, name: &str, all: Vec<Value>) -> Answered {
    let (start, most) = asked.page(200)?;
    let total = all.len();
    let mut page = json!({"startAt": start, "maxResults": most, "total": total});
    page[name] = all.into_iter().skip(start).take(most).collect();
    Ok(Reply::ok(page))
}

pub(super) fn issue_type(world: &mut World, asked: &Asked) -> Answered {
    let project = project_of(world, asked)?;
    let kind = project.issue_type(&json!({"id": asked.parameter("issueTypeId")}));
    let kind = kind.ok_or_else(|| Reply::refused(400, "The issue type selected is invalid."))?;
    let mut fields = Vec::new();
    for (id, name, sort, items) in SYSTEM_FIELDS.iter().filter(|field| !project.off_screen.contains(field.0)) {
        let mut field = described(id, name, matches!(*id, "summary" | "issuetype" | "project"));
        field["schema"] = json!({"type": sort, "system": id});
        if let Some(items) = items {
            field["schema"]["items"] = json!(items);
            field["operations"] = json!(["add", "set", "remove"]);
        }
        match *id {
            "issuetype" => field["allowedValues"] = json!([{"id": kind.id, "name": kind.name}]),
            "project" => field["allowedValues"] = json!([{"id": world.project_id(&project.key), "key": project.key, "name": project.name}]),
            "priority" => field["allowedValues"] = PRIORITIES.iter().map(|(id, name)| json!({"id": id, "name": name})).collect(),
            _ => {}
        }
        fields.push(field);
    }
    for custom in &project.custom_fields {
        let mut field = described(&custom.id, &custom.name, custom.is_required);
        field["schema"] = schema(custom);
        let options = custom.kind.options();
        if !options.is_empty() {
            field["allowedValues"] = options.into();
        }
        fields.push(field);
    }
    page(asked, "fields", fields)
}

fn described(id: &str, name: &str, is_required: bool) -> Value {
    json!({"fieldId": id, "key": id, "name": name, "required": is_required, "hasDefaultValue": false, "operations": ["set"]})
}

fn schema(field: &CustomField) -> Value {
    let (sort, custom) = field.kind.named();
    let number: u64 = field.id.trim_start_matches("customfield_").parse().unwrap_or_default();
    json!({"type": sort, "custom": custom, "customId": number})
}

pub(super) fn fields(world: &mut World, _: &Asked) -> Answered {
    let common = |id: &str, name: &str, is_custom: bool, schema: Value| {
        let mut field = json!({"id": id, "key": id, "name": name, "custom": is_custom, "clauseNames": [id], "schema": schema});
        for fact in ["orderable", "navigable", "searchable"] {
            field[fact] = json!(true);
        }
        field
    };
    let mut fields: Vec<Value> =
        SYSTEM_FIELDS.iter().map(|(id, name, sort, _)| common(id, name, false, json!({"type": sort, "system": id}))).collect();
    let mut known = std::collections::BTreeSet::new();
    for custom in world.projects.iter().flat_map(|project| &project.custom_fields).filter(|custom| known.insert(&custom.id)) {
        fields.push(common(&custom.id, &custom.name, true, schema(custom)));
    }
    Ok(Reply::ok(fields.into()))
}
