//! OpenAPI 3, JSON or YAML: the routes that an application says it serves, and their parameters.
//!
//! Shape: `paths.<path>.<method>` with parameters and a request body; one route is emitted per path and method. Source:
//! <https://spec.openapis.org/oas/v3.1.0>. Our own extensions `x-handler-file`, `x-handler` and `x-handler-line`, on an operation or its
//! path, name the code that serves it; `operationId` stands in for `x-handler`. Examples, defaults and servers' hosts are not read.

use std::io::Read;

use faultline_model::locus::asset_path;
use faultline_model::observation::ScanKind;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::adapter::{Adapter, Emit, NEVER, ReadError, Report, RouteSeen};
use crate::head::Head;

pub(crate) const ADAPTER: Adapter =
    Adapter { name: "openapi", kind: ScanKind::Other, tests_for: &[], recognises, may_be_empty: NEVER, read };

/// The largest document: references may point anywhere in it, so that it is held whole.
const DOCUMENT_BYTES: u64 = 8 * 1024 * 1024;
/// The most parameters of one route; further ones are cut and the cut is reported.
const PARAMETERS: usize = 256;
/// The most schemas that are looked into for one body; composed schemas may point at each other.
const SCHEMAS: usize = 256;
/// The longest chain of references to references.
const REFERENCES: usize = 8;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn recognises(head: &Head<'_>) -> bool {
    if head.is_json_object() {
        return head.top_members().contains(&"openapi");
    }
    let is_key = |line: &str| {
        ["openapi", "\"openapi\"", "'openapi'"]
            .iter()
            .any(|key| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':')))
    };
    !head.text().starts_with(['[', '<']) && head.text().lines().any(is_key)
}

fn read(report: &mut Report<'_>, emit: &mut dyn Emit) -> Result<(), ReadError> {
    let document = document(report)?;
    if !document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")) {
        return Err(shape("openapi", "only OpenAPI 3 is read; convert an older document first"));
    }
    let paths = match &document["paths"] {
        Value::Null => return Ok(()),
        Value::Object(paths) => paths,
        _ => return Err(shape("paths", "it is no object")),
    };
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        let place = format!("paths, {path}");
        match resolved(&document, item) {
            Some(item) if item.is_object() && path.starts_with('/') => send(&document, path, item, emit)?,
            Some(_) => emit.refused(place, "a path begins with / and is an object".to_owned()),
            None => emit.refused(place, "its $ref points at nothing in this document".to_owned()),
        }
    }
    Ok(())
}

fn shape(place: &str, reason: impl ToString) -> ReadError {
    ReadError::Shape { tool: ADAPTER.name, place: place.to_owned(), reason: reason.to_string() }
}

fn document(report: &mut Report<'_>) -> Result<Value, ReadError> {
    let mut bytes = Vec::new();
    report.rewound()?.take(DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_BYTES {
        return Err(shape("the document", format!("it is larger than {} MiB; split it by paths", DOCUMENT_BYTES >> 20)));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(bytes).map_err(|error| shape(&format!("line {}, column {}", error.line(), error.column()), &error));
    }
    serde_yaml_ng::from_slice(bytes).map_err(|error| {
        let place = error.location().map_or_else(|| "the document".to_owned(), |at| format!("line {}, column {}", at.line(), at.column()));
        shape(&place, &error)
    })
}

/// The routes of one path.
fn send(document: &Value, path: &str, item: &Value, emit: &mut dyn Emit) -> Result<(), ReadError> {
    for method in METHODS {
        let operation = &item[method];
        let place = format!("paths, {path}, {method}");
        if operation.is_null() {
            continue;
        }
        if !operation.is_object() {
            emit.refused(place, "an operation is an object".to_owned());
            continue;
        }
        let servers = [operation, item, document].into_iter().map(|of| &of["servers"][0]).find(|server| !server.is_null());
        let mut parameters = parameters(document, item, operation, &place, emit);
        if parameters.len() > PARAMETERS {
            emit.refused(place, format!("it has more than {PARAMETERS} parameters; the rest is cut"));
            parameters.truncate(PARAMETERS);
        }
        let of = |name: &str| [operation, item].into_iter().find_map(|of| of[name].as_str()).unwrap_or_default();
        let line = [operation, item].into_iter().find_map(|of| of["x-handler-line"].as_i64()).unwrap_or(0);
        let symbol = if of("x-handler").is_empty() { operation["operationId"].as_str().unwrap_or_default() } else { of("x-handler") };
        emit.route(RouteSeen {
            method: method.to_ascii_uppercase(),
            path: format!("{}{path}", servers.map(prefix).unwrap_or_default()),
            file: asset_path(of("x-handler-file")),
            symbol: symbol.to_owned(),
            line: i32::try_from(line).unwrap_or(0).max(0),
            parameters,
            ..RouteSeen::default()
        })?;
    }
    Ok(())
}

/// The path of a server's URL, its variables replaced by their defaults, without a `/` at its end.
fn prefix(server: &Value) -> String {
    let mut url = server["url"].as_str().unwrap_or_default().to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or_default());
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        // `//host/v1` names a host as well.
        None => url.strip_prefix("//").map_or(url.as_str(), |rest| rest.find('/').map_or("", |at| &rest[at..])),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    if path.is_empty() || path == "." { String::new() } else { format!("/{}", path.trim_start_matches("./")) }
}

/// Names of an operation's parameters and of its body's members, each once; one more than [`PARAMETERS`] tells of a cut.
fn parameters(document: &Value, item: &Value, operation: &Value, place: &str, emit: &mut dyn Emit) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let listed = [item, operation].into_iter().filter_map(|of| of["parameters"].as_array()).flatten();
    for (index, parameter) in listed.enumerate() {
        match resolved(document, parameter).and_then(|parameter| parameter["name"].as_str()) {
            Some(name) => add(&mut names, name),
            None => emit.refused(format!("{place}, parameter {index}"), "it has no name, or its $ref points at nothing here".to_owned()),
        }
    }
    let Some(body) = resolved(document, &operation["requestBody"]) else {
        emit.refused(format!("{place}, requestBody"), "its $ref points at nothing in this document".to_owned());
        return names;
    };
    for (media, content) in body["content"].as_object().into_iter().flatten().filter(|(media, _)| has_members(media)) {
        // An explicit list instead of recursion, each schema once: schemas may point at themselves.
        let (mut open, mut seen) = (vec![&content["schema"]], Vec::<&Value>::new());
        while let Some(schema) = open.pop() {
            let Some(schema) = resolved(document, schema) else {
                emit.refused(format!("{place}, requestBody, {media}"), "a $ref points at nothing in this document".to_owned());
                continue;
            };
            if seen.iter().any(|known| std::ptr::eq(*known, schema)) {
                continue;
            }
            if seen.len() == SCHEMAS {
                let reason = format!("it is composed of more than {SCHEMAS} schemas; the rest is cut");
                emit.refused(format!("{place}, requestBody, {media}"), reason);
                break;
            }
            seen.push(schema);
            for name in schema["properties"].as_object().into_iter().flat_map(serde_json::Map::keys) {
                add(&mut names, name);
            }
            open.extend(["allOf", "anyOf", "oneOf"].into_iter().filter_map(|of| schema[of].as_array()).flatten());
        }
    }
    names
}

fn add(names: &mut Vec<String>, name: &str) {
    if names.len() <= PARAMETERS && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// Whether a body of this media type is a form or JSON.
fn has_members(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(media.as_str(), "application/json" | "application/x-www-form-urlencoded" | "multipart/form-data") || media.ends_with("+json")
}

/// The value itself, or what its `$ref` points at; `None` if that is not in the document.
fn resolved<'a>(document: &'a Value, mut value: &'a Value) -> Option<&'a Value> {
    for _ in 0..=REFERENCES {
        let Some(reference) = value["$ref"].as_str() else { return Some(value) };
        let pointer = percent_decode_str(reference.strip_prefix('#')?).decode_utf8().ok()?;
        value = document.pointer(&pointer)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_are_known_and_older_documents_are_not() {
        for (text, is_known) in [
            (r#"{"openapi": "3.0.3", "paths": {}}"#, true),
            ("# comment\nopenapi: 3.1.0\n", true),
            ("info:\n  title: x\n\"openapi\": 3.0.0\n", true),
            ("swagger: '2.0'\n", false),
            (r#"{"info": {"openapi": 1}}"#, false),
            ("a:\n  openapi: 3.0.0\n", false),
        ] {
            assert_eq!(recognises(&Head::new(text.as_bytes(), true)), is_known, "{text}");
        }
    }

    #[test]
    fn the_prefix_is_the_path_of_the_server() {
        for (server, path) in [
            (json!({"url": "https://api.example:8443/v1/"}), "/v1"),
            (json!({"url": "/v2"}), "/v2"),
            (json!({"url": "//api.example/v3?x=1"}), "/v3"),
            (json!({"url": "{scheme}://h/{base}", "variables": {"scheme": {"default": "https"}, "base": {"default": "api"}}}), "/api"),
            (json!({"url": "https://api.example"}), ""),
            (json!({"url": "/"}), ""),
            (json!({}), ""),
        ] {
            assert_eq!(prefix(&server), path, "{server}");
        }
    }

    #[test]
    fn references_in_a_circle_end() {
        let document = json!({"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}, "c": {"$ref": "#/d~1e"}, "d/e": {"name": "x"}});
        assert_eq!(resolved(&document, &document["a"]), None);
        assert_eq!(resolved(&document, &document["c"]).and_then(|at| at["name"].as_str()), Some("x"));
        assert_eq!(resolved(&document, &json!({"$ref": "other.yaml#/x"})), None);
    }
}
