//! A plain route map: which handler in the source serves which route.
//!
//! Shape: `{"routes": [{route|path, methods|method, file, class|symbol|handler, line, parameters}]}`; one entry is emitted per
//! method, and one without a method where none is named. Source: our own; any framework's route listing is turned into it easily.

use std::fmt;

use faultline_model::locus::asset_path;
use faultline_model::observation::ScanKind;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::adapter::{Adapter, Emit, ReadError, Report, RouteSeen};
use crate::formats::json::{Each, visit};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter = Adapter { name: "routes", kind: ScanKind::Other, tests_for: &[], recognises, read };

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "route")]
    path: String,
    #[serde(default, alias = "method")]
    methods: OneOrMore,
    #[serde(default)]
    file: String,
    #[serde(default, alias = "class", alias = "handler")]
    symbol: String,
    #[serde(default)]
    line: i32,
    #[serde(default)]
    parameters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(method) => vec![method],
            Self::More(methods) if methods.is_empty() => vec![String::new()],
            Self::More(methods) => methods,
        }
    }
}

fn recognises(head: &Head<'_>) -> bool {
    head.is_json_object() && head.top_members().contains(&"routes")
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    visit(ADAPTER.name, report, Map { emit })
}

struct Map<'a> {
    emit: &'a mut dyn Emit,
}

impl<'de> DeserializeSeed<'de> for Map<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Map<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with routes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let emit = self.emit;
        while let Some(name) = members.next_key::<String>()? {
            if name != "routes" {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            members.next_value_seed(Each::new("an array of routes", |index, element: Value| {
                match serde_json::from_value::<Entry>(element) {
                    Ok(entry) => send(entry, emit),
                    Err(error) => {
                        emit.refused(format!("route {index}"), error.to_string());
                        Ok(())
                    }
                }
            }))?;
        }
        Ok(())
    }
}

fn send(entry: Entry, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let file = asset_path(&entry.file);
    for method in entry.methods.into_vec() {
        emit.route(RouteSeen {
            method: method.to_ascii_uppercase(),
            path: entry.path.clone(),
            file: file.clone(),
            symbol: entry.symbol.clone(),
            line: entry.line,
            parameters: entry.parameters.clone(),
            is_visit: false,
        })?;
    }
    Ok(())
}
