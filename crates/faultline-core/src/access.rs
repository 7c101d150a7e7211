//! The organisation's roles, as a file describes them.

use faultline_model::access::{Granted, Role, Roles, Where};
use serde_yaml_ng::Value;

use crate::description::DescriptionError;
use crate::description::cursor::{Cursor, LIST_ENTRIES, Place};
use crate::description::fault::{Faults, shown};

/// The most people, or places, of one entry; and the most roles of one actor: each is a condition of every list that they see.
const NAMES: usize = 1_000;
/// The most roles of all actors.
const ROLES: usize = 100_000;

/// Stands for all of the organisation.
const EVERYWHERE: &str = "*";

/// Reads who is what, and where; tells everything that is wrong with it. `file` is how errors name it.
///
/// ```
/// use faultline_core::access::read;
///
/// let roles = read("access.yaml", "roles: [{ who: [ana, ben], role: triager, at: [retail, service/shop] }]")?;
/// assert_eq!(roles.of("ben").len(), 2);
/// let error = read("access.yaml", "roles: [{ who: ana, role: traiger, at: retail }]").unwrap_err();
/// assert!(error.to_string().contains("did you mean \"triager\""));
/// # Ok::<(), faultline_core::description::DescriptionError>(())
/// ```
pub fn read(file: &str, text: &str) -> Result<Roles, DescriptionError> {
    let mut faults = Faults::default();
    let whole = Place { file: file.to_owned(), at: String::new() };
    let mut granted = Vec::new();
    match serde_yaml_ng::from_str::<Value>(text) {
        Ok(Value::Null) => {}
        Ok(document) => {
            let root = Cursor::root(file, &document);
            if root.fields(&["roles"], &mut faults) {
                let entries = root.list("roles", LIST_ENTRIES, &mut faults);
                for entry in &entries {
                    granted.extend(entry_of(entry, &mut faults));
                    if granted.len() > ROLES {
                        faults.add(entry.place().fault(format!("behind {} roles", granted.len()), format!("at most {ROLES} in all")));
                        break;
                    }
                }
            }
        }
        Err(error) => faults.add(whole.fault(error.to_string(), "YAML".to_owned())),
    }
    granted.sort_unstable();
    granted.dedup();
    for held in granted.chunk_by(|one, other| one.actor == other.actor).filter(|held| held.len() > NAMES) {
        faults.add(
            whole.fault(format!("{} has {} roles", shown(&held[0].actor), held.len()), format!("at most {NAMES}; name what is above")),
        );
    }
    faults.none_or_error()?;
    Ok(Roles::new(granted))
}

/// One entry: each of its people is what it says at each of its places.
fn entry_of(entry: &Cursor<'_>, faults: &mut Faults) -> Vec<Granted> {
    if !entry.fields(&["who", "role", "at", "up_to"], faults) {
        return Vec::new();
    }
    let actors = names(entry, "who", "a person or a program, or a list of them", faults);
    let places = names(entry, "at", "`*` for all, a unit of the organisation, `service/` and a service, or a list of them", faults);
    let Some(role) = role(entry, faults) else { return Vec::new() };
    let up_to = up_to(entry, role, faults);
    let at = |name: &String| if name == EVERYWHERE { Where::Everywhere } else { Where::Below(name.clone()) };
    actors.iter().flat_map(|actor| places.iter().map(move |place| Granted { actor: actor.clone(), role, at: at(place), up_to })).collect()
}

/// The highest score that an approver's exceptions may cover.
fn up_to(entry: &Cursor<'_>, role: Role, faults: &mut Faults) -> Option<i32> {
    let field = entry.get("up_to")?;
    let score = field.value().as_i64().and_then(|score| i32::try_from(score).ok()).filter(|score| (0..=1000).contains(score));
    if score.is_none() {
        field.wrong("a score from 0 to 1000", faults);
    } else if role != Role::Approver {
        faults.add(field.place().fault(format!("given to {}", role.name()), "a limit of the role approver alone".to_owned()));
    }
    score
}

fn role(entry: &Cursor<'_>, faults: &mut Faults) -> Option<Role> {
    let known = Role::ALL.map(Role::name);
    let expected = crate::description::cursor::listed(&known);
    let name = entry.required("role", &expected, faults)?;
    let role = Role::named(name);
    if role.is_none() {
        let place = entry.get("role").map_or_else(|| entry.place(), |field| field.place());
        faults.add_near(place.fault(shown(name), expected), name, known);
    }
    role
}

/// A text or a list of texts, which must be there and name something: to give a role by mistake to all, or nowhere, is no default.
fn names(entry: &Cursor<'_>, field: &str, expected: &str, faults: &mut Faults) -> Vec<String> {
    if entry.get(field).is_some_and(|value| !value.is_text()) {
        let names = entry.set_of(field, NAMES, expected, faults);
        if names.is_empty() {
            let place = entry.get(field).map_or_else(|| entry.place(), |value| value.place());
            faults.add(place.fault("nothing".to_owned(), expected.to_owned()));
        }
        return names;
    }
    entry.required(field, expected, faults).map(ToOwned::to_owned).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approver_may_have_a_limit_and_nobody_else() {
        let roles = read("a", "roles: [{ who: cem, role: approver, at: '*', up_to: 599 }]").unwrap();
        assert_eq!(roles.of("cem")[0].up_to, Some(599));
        let refused = |entry: &str| read("a", &format!("roles: [{entry}]")).unwrap_err().to_string();
        assert!(refused("{ who: cem, role: admin, at: '*', up_to: 599 }").contains("roles[0].up_to is given to admin"));
        for wrong in ["high", "1001", "-1"] {
            let error = refused(&format!("{{ who: cem, role: approver, at: '*', up_to: {wrong} }}"));
            assert!(error.contains("expected a score from 0 to 1000"), "{error}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let error = read(
            "access.yaml",
            "roles:\n- { who: ana, role: boss, at: retail }\n- { who: [], role: reader, at: '*' }\n- { who: ben, role: admin }\n- { whom: ben, role: admin, at: '*' }\n",
        )
        .unwrap_err()
        .to_string();
        for part in ["roles[0].role is \"boss\"", "roles[1].who is nothing", "roles[2].at is missing", "roles[3].whom is no known field"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let many = |start: usize| (start..start + NAMES).map(|n| format!("u{n}")).collect::<Vec<_>>().join(", ");
        let text = format!("roles: [{{ who: ana, role: reader, at: [{}] }}, {{ who: ana, role: reader, at: [{}] }}]", many(0), many(NAMES));
        assert!(read("a", &text).unwrap_err().to_string().contains("2000 roles"));
        assert!(read("a", "roles: [").unwrap_err().to_string().contains("expected YAML"));
        assert!(read("a", "").unwrap().is_empty());
    }
}
