//! A plain route map: which handler in the source serves which route.
//!
//! Shape: `{"routes": [{route|path, methods|method, file, class|symbol|handler, line, parameters}]}`; one entry is emitted per
//! method, and one without a method where none is named. Source: our own; any framework's route listing is turned into it easily.

use faultline_model::locus::asset_path;
use faultline_model::observation::ScanKind;
use serde::Deserialize;

use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report, RouteSeen};
use crate::formats::json::Json;
use crate::head::Head;

pub(crate) const ADAPTER: Adapter =
    Adapter { name: "routes", kind: ScanKind::Other, tests_for: &[], recognises, may_be_empty: NEVER, read };

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
    Json::open(ADAPTER.name, report)?.whole(|json| {
        json.object(&mut |json, name| match name {
            "routes" => json.elements(&mut |index, element| match element.read::<Entry>() {
                Ok(entry) => send(entry, emit),
                Err(reason) => {
                    emit.refused(format!("route {index}"), reason);
                    Ok(())
                }
            }),
            _ => json.pass(),
        })
    })
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
            ..RouteSeen::default()
        })?;
    }
    Ok(())
}
