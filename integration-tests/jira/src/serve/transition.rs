//! Transitions: which ways lead on from where an issue is, and taking one.

use serde_json::{Map, Value, json};

use super::{Answered, Asked, Reply, changeable, issue_of};
use crate::fields::{self, Screen, Set};
use crate::issue::RESOLUTIONS;
use crate::workflow::{Transition, Workflow};
use crate::world::World;

pub(super) fn list(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    let project = world.project_of(issue);
    let has_fields = asked.first("expand").is_some_and(|expand| expand.contains("transitions.fields"));
    let ways = project.workflow.leading_from(&issue.status).filter(|_| project.may("TRANSITION_ISSUES"));
    let shown: Vec<Value> = ways.map(|way| shown(&world.url, &project.workflow, way, has_fields)).collect();
    Ok(Reply::ok(json!({"expand": "transitions", "transitions": shown})))
}

fn shown(url: &str, workflow: &Workflow, way: &Transition, has_fields: bool) -> Value {
    let to = workflow.status(way.to).expect("transitions lead to statuses of their workflow");
    let has_screen = workflow.asks_for_resolution(way);
    let mut shown = json!({
        "id": way.id,
        "name": way.name,
        "to": to.json(url),
        "hasScreen": has_screen,
        "isGlobal": way.from.is_empty(),
        "isInitial": false,
        "isConditional": false,
        "isAvailable": true,
        "looped": false,
    });
    if has_fields {
        shown["fields"] = if has_screen { json!({"resolution": resolution()}) } else { json!({}) };
    }
    shown
}

fn resolution() -> Value {
    let values: Vec<Value> = RESOLUTIONS.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
    json!({
        "required": true,
        "schema": {"type": "resolution", "system": "resolution"},
        "name": "Resolution",
        "key": "resolution",
        "operations": ["set"],
        "allowedValues": values,
    })
}

pub(super) fn perform(world: &mut World, asked: &Asked) -> Answered {
    let id = changeable(world, asked, "TRANSITION_ISSUES")?;
    let given = asked.members(&["transition", "fields", "update", "historyMetadata", "properties"])?;
    let wanted = given.get("transition").and_then(|transition| transition["id"].as_str());
    let wanted = wanted.ok_or_else(|| Reply::refused(400, "Missing 'transition' identifier"))?;
    let issue = world.issue(id);
    let project = world.project_of(issue);
    let Some(way) = project.workflow.leading_from(&issue.status).find(|way| way.id == wanted).cloned() else {
        let status = project.workflow.status(&issue.status).map_or("", |status| status.name);
        let message = format!(
            "It seems that you have tried a workflow operation ({wanted}) that is not valid for the current state of {}: '{status}'.",
            issue.key
        );
        return Err(Reply::refused(400, message));
    };
    let has_resolution = project.workflow.asks_for_resolution(&way);
    let none = Map::new();
    let fields = given.get("fields").and_then(Value::as_object).unwrap_or(&none);
    let sets = fields::read(fields, Screen::Transition { has_resolution }, project, &world.users).map_err(|wrong| Reply::wrong(&wrong))?;
    let resolution = sets.into_iter().find_map(|set| if let Set::Resolution(name) = set { Some(name) } else { None });
    if has_resolution && resolution.is_none() {
        return Err(Reply::wrong_field("resolution", "Resolution is required."));
    }
    let author = world.account.clone();
    world.enter(id, &author, way.to, resolution);
    Ok(Reply::nothing())
}
