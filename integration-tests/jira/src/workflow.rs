//! Workflows: which statuses there are, and which ways lead from one to another.
//!
//! Each has ids and names of its own, as in Jira: who goes by names or keeps ids is found out. What is the same everywhere is the
//! category of a status.

use serde_json::{Value, json};

/// What a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    New,
    Indeterminate,
    Done,
}

/// Key, id, name and colour, by category: the same on every site.
const CATEGORIES: [(Category, &str, u32, &str, &str); 3] = [
    (Category::New, "new", 2, "To Do", "blue-gray"),
    (Category::Indeterminate, "indeterminate", 4, "In Progress", "yellow"),
    (Category::Done, "done", 3, "Done", "green"),
];

impl Category {
    pub(crate) fn json(self, url: &str) -> Value {
        let row = CATEGORIES.iter().find(|row| row.0 == self).expect("every category has a row");
        let (_, key, id, name, colour) = row;
        let own = format!("{url}/rest/api/3/statuscategory/{id}");
        json!({"self": own, "id": id, "key": key, "name": name, "colorName": colour})
    }
}

#[derive(Clone, Debug)]
pub struct Status {
    pub id: &'static str,
    pub name: &'static str,
    pub category: Category,
}

impl Status {
    pub(crate) fn json(&self, url: &str) -> Value {
        json!({
            "self": format!("{url}/rest/api/3/status/{}", self.id),
            "description": "",
            "id": self.id,
            "name": self.name,
            "statusCategory": self.category.json(url),
        })
    }
}

#[derive(Clone, Debug)]
pub struct Transition {
    pub id: &'static str,
    pub name: &'static str,
    /// Ids of the statuses that it leads from; from all if there is none.
    pub from: Vec<&'static str>,
    pub to: &'static str,
}

/// How issues come by a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolving {
    /// The workflow sets it at the end.
    Itself,
    /// Who ends an issue must give one, on the transition's screen.
    Asked,
    /// They never have one.
    Never,
}

#[derive(Clone, Debug)]
pub struct Workflow {
    pub statuses: Vec<Status>,
    pub transitions: Vec<Transition>,
    pub resolving: Resolving,
}

const fn status(id: &'static str, name: &'static str, category: Category) -> Status {
    Status { id, name, category }
}

fn transition(id: &'static str, name: &'static str, from: &[&'static str], to: &'static str) -> Transition {
    Transition { id, name, from: from.to_vec(), to }
}

impl Workflow {
    /// From every status to every other; a resolution comes by itself.
    pub fn simple() -> Self {
        Self {
            statuses: vec![
                status("10000", "To Do", Category::New),
                status("10001", "In Progress", Category::Indeterminate),
                status("10002", "Done", Category::Done),
            ],
            transitions: vec![
                transition("11", "To Do", &[], "10000"),
                transition("21", "In Progress", &[], "10001"),
                transition("31", "Done", &[], "10002"),
            ],
            resolving: Resolving::Itself,
        }
    }

    /// Nothing leads to an end.
    pub fn without_done() -> Self {
        Self {
            statuses: vec![status("10100", "Open", Category::New), status("10101", "Monitoring", Category::Indeterminate)],
            transitions: vec![transition("111", "Monitor", &["10100"], "10101"), transition("121", "Back", &["10101"], "10100")],
            resolving: Resolving::Never,
        }
    }

    /// Names are German, and the end asks for a resolution.
    pub fn with_resolution_asked() -> Self {
        Self {
            statuses: vec![
                status("10200", "Offen", Category::New),
                status("10201", "In Arbeit", Category::Indeterminate),
                status("10202", "Erledigt", Category::Done),
            ],
            transitions: vec![
                transition("211", "Beginnen", &["10200"], "10201"),
                transition("221", "Schließen", &["10200", "10201"], "10202"),
                transition("231", "Wieder öffnen", &["10202"], "10200"),
            ],
            resolving: Resolving::Asked,
        }
    }

    /// Issues end without a resolution, as in team-managed projects (DefectDojo#14347).
    pub fn without_resolution() -> Self {
        Self {
            statuses: vec![status("10300", "Backlog", Category::New), status("10302", "Shipped", Category::Done)],
            transitions: vec![transition("2", "Shipped", &[], "10302"), transition("3", "Backlog", &[], "10300")],
            resolving: Resolving::Never,
        }
    }

    /// The end is two steps away.
    pub fn in_steps() -> Self {
        Self {
            statuses: vec![
                status("10400", "Triage", Category::New),
                status("10401", "Doing", Category::Indeterminate),
                status("10402", "Closed", Category::Done),
            ],
            transitions: vec![
                transition("411", "Start", &["10400"], "10401"),
                transition("421", "Close", &["10401"], "10402"),
                transition("431", "Reopen", &["10402"], "10400"),
            ],
            resolving: Resolving::Itself,
        }
    }

    /// Where an issue begins.
    pub(crate) fn first(&self) -> &Status {
        self.statuses.first().expect("a workflow has a status")
    }

    pub(crate) fn status(&self, id: &str) -> Option<&Status> {
        self.statuses.iter().find(|status| status.id == id)
    }

    /// What leads away from a status.
    pub(crate) fn leading_from(&self, status: &str) -> impl Iterator<Item = &Transition> {
        self.transitions.iter().filter(move |way| way.from.is_empty() || way.from.contains(&status))
    }

    /// Whether a transition has a screen with the field `resolution`, which then must be given.
    pub(crate) fn asks_for_resolution(&self, way: &Transition) -> bool {
        self.resolving == Resolving::Asked && self.status(way.to).is_some_and(|status| status.category == Category::Done)
    }
}
