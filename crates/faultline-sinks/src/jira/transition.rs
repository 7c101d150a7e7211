//! Which transition of a workflow leads where an issue is to be. By the category of the status it leads to, never by a name: those differ
//! from site to site and from language to language.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::issue::{Category, Status};

/// The most fields that are named as missing.
const NAMED: usize = 5;

/// Where an issue is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Done,
    /// New if there is a way there, else at work.
    Open,
}

/// What became of an issue that was to go somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Went {
    /// It is there.
    Already,
    Moved,
    /// Its workflow has no transition there for us, or none of which all required fields can be filled.
    NoWay {
        reason: String,
    },
}

/// The transitions of an issue, as they are told.
#[derive(Default, Deserialize)]
pub(super) struct Transitions {
    #[serde(default)]
    transitions: Vec<Transition>,
}

#[derive(Deserialize)]
struct Transition {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    to: Status,
    #[serde(rename = "isAvailable", default = "yes")]
    is_available: bool,
    /// Those of its screen.
    #[serde(default)]
    fields: BTreeMap<String, Field>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Field {
    name: String,
    required: bool,
    has_default_value: bool,
    allowed_values: Vec<Value>,
    schema: Schema,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Schema {
    r#type: String,
}

fn yes() -> bool {
    true
}

impl Target {
    /// Whether an issue of a category is there.
    pub(super) fn is(self, category: Category) -> bool {
        (self == Self::Done) == (category == Category::Done)
    }

    /// Which of two ways is nearer; nothing for one that does not lead there.
    fn rank(self, category: Category) -> Option<u8> {
        match (self, category) {
            (Self::Done, Category::Done) | (Self::Open, Category::New) => Some(0),
            (Self::Open, Category::Indeterminate) => Some(1),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Open => "open",
        }
    }
}

/// What is sent for the first of the nearest transitions that can be made, or why there is none.
pub(super) fn choose(told: &Transitions, target: Target, given: &Map<String, Value>) -> Result<Value, String> {
    let nothing = Map::new();
    let given = if target == Target::Done { given } else { &nothing };
    let ranked = told.transitions.iter().filter(|transition| transition.is_available);
    let mut ranked: Vec<_> = ranked.filter_map(|transition| Some((target.rank(transition.to.category())?, transition))).collect();
    // Of equals the order of the workflow stays.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut missing = Vec::new();
    for (_, transition) in ranked {
        match transition.filled(given) {
            Ok(fields) if fields.is_empty() => return Ok(json!({ "transition": { "id": transition.id } })),
            Ok(fields) => return Ok(json!({ "transition": { "id": transition.id }, "fields": fields })),
            Err(fields) => missing.push(format!("{:?} needs {}", transition.name, fields.join(", "))),
        }
    }
    if missing.is_empty() {
        return Err(format!("its workflow has no transition to {} for us from where it is", target.name()));
    }
    missing.truncate(NAMED);
    Err(format!("no transition to {} can be filled in: {}", target.name(), missing.join("; ")))
}

impl Transition {
    /// The fields of its screen that are given, or that have one value only; or those that are missing.
    fn filled(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, Vec<String>> {
        let (mut filled, mut missing) = (Map::new(), Vec::new());
        for (key, field) in &self.fields {
            // What is not on the screen is refused.
            if let Some(value) = given.get(key) {
                filled.insert(key.clone(), value.clone());
            } else if field.required && !field.has_default_value {
                match field.only_value() {
                    Some(value) => _ = filled.insert(key.clone(), value),
                    None => missing.push(format!("{key} ({})", field.name)),
                }
            }
        }
        missing.truncate(NAMED);
        if missing.is_empty() { Ok(filled) } else { Err(missing) }
    }
}

impl Field {
    fn only_value(&self) -> Option<Value> {
        let [value] = &self.allowed_values[..] else { return None };
        let value = value.get("id").map_or_else(|| value.clone(), |id| json!({ "id": id }));
        Some(if self.schema.r#type == "array" { json!([value]) } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(transitions: Value, target: Target) -> Result<Value, String> {
        let given = json!({ "resolution": { "name": "Done" } });
        let told = serde_json::from_value(json!({ "transitions": transitions })).unwrap();
        choose(&told, target, given.as_object().unwrap())
    }

    fn to(id: &str, category: &str, fields: Value) -> Value {
        json!({ "id": id, "name": "Weiter", "to": { "name": "?", "statusCategory": { "key": category } }, "fields": fields })
    }

    #[test]
    fn a_way_is_chosen_by_where_it_leads() {
        let all = json!([to("11", "indeterminate", json!({})), to("21", "done", json!({})), to("31", "new", json!({}))]);
        assert_eq!(chosen(all.clone(), Target::Done), Ok(json!({ "transition": { "id": "21" } })));
        assert_eq!(chosen(all, Target::Open), Ok(json!({ "transition": { "id": "31" } })));
        let some = json!([to("21", "done", json!({})), to("11", "indeterminate", json!({}))]);
        assert_eq!(chosen(some, Target::Open), Ok(json!({ "transition": { "id": "11" } })));
        assert!(chosen(json!([to("11", "in-flight", json!({}))]), Target::Done).unwrap_err().contains("no transition to done"));
        let mut closed = to("21", "done", json!({}));
        closed["isAvailable"] = false.into();
        assert!(chosen(json!([closed]), Target::Done).is_err());
    }

    #[test]
    fn what_a_screen_has_is_filled_in_and_nothing_else() {
        let screen = json!({ "resolution": { "required": false }, "cause": { "required": true, "allowedValues": [{ "id": "7", "value": "x" }] },
            "parts": { "required": true, "schema": { "type": "array" }, "allowedValues": ["a"] }, "kept": { "required": true, "hasDefaultValue": true } });
        let expected = json!({ "resolution": { "name": "Done" }, "cause": { "id": "7" }, "parts": ["a"] });
        assert_eq!(
            chosen(json!([to("21", "done", screen)]), Target::Done),
            Ok(json!({ "transition": { "id": "21" }, "fields": expected }))
        );
        // What done is filled in with is nothing for the way back.
        let back = json!([to("31", "new", json!({ "resolution": { "required": false } }))]);
        assert_eq!(chosen(back, Target::Open), Ok(json!({ "transition": { "id": "31" } })));
    }

    #[test]
    fn a_way_that_cannot_be_filled_in_is_passed_over_and_named_if_it_is_the_last() {
        let hard = to("21", "done", json!({ "customfield_1": { "name": "Root cause", "required": true, "allowedValues": ["a", "b"] } }));
        assert_eq!(chosen(json!([hard, to("22", "done", json!({}))]), Target::Done), Ok(json!({ "transition": { "id": "22" } })));
        assert!(chosen(json!([hard]), Target::Done).unwrap_err().ends_with("\"Weiter\" needs customfield_1 (Root cause)"));
    }

    #[test]
    fn at_work_is_open() {
        assert!(Target::Open.is(Category::Indeterminate) && Target::Open.is(Category::New) && !Target::Open.is(Category::Done));
        assert!(Target::Done.is(Category::Done) && !Target::Done.is(Category::New));
    }
}
