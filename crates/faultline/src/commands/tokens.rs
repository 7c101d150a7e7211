//! `faultline tokens` and `faultline whoami`: by what others come in, and as whom one does.

use axum::http::Method;
use serde_json::{Value, json};

use crate::cli::{Common, CreateToken, Tokens};
use crate::client::{Body, Client};
use crate::commands::{note, print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{Table, clean};

pub fn run(common: &Common, command: &Tokens) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let answer = match command {
        Tokens::Create(arguments) => create(common, &client, arguments),
        Tokens::List => list(common, &client),
        Tokens::Revoke { id } => revoke(common, &client, id),
    };
    client.end()?;
    answer
}

fn create(common: &Common, client: &Client, arguments: &CreateToken) -> Result<Exit, Failure> {
    let CreateToken { actor, purpose, scopes, nodes, assets, days } = arguments;
    let body = json!({ "actor": actor, "purpose": purpose, "scopes": scopes, "nodes": nodes, "assets": assets, "days": days });
    let answer = client.send(&Method::POST, "/v1/tokens", &[], Body::Json(&body))?;
    if common.json {
        print_json(&answer);
        return Ok(Exit::Done);
    }
    let text = |member: &str| clean(answer[member].as_str().unwrap_or_default());
    print_line(&text("text"));
    note(
        common,
        &format!("token {} of {} ends on {}; its text is not kept and not shown again", text("token"), text("actor"), text("ends")),
    );
    Ok(Exit::Done)
}

fn list(common: &Common, client: &Client) -> Result<Exit, Failure> {
    let answer = client.get("/v1/tokens", &[])?;
    if common.json {
        print_json(&answer);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["token", "state", "actor", "scopes", "nodes", "assets", "ends", "purpose"]);
    for token in answer["items"].as_array().into_iter().flatten() {
        let text = |member: &str| token[member].as_str().unwrap_or_default().to_owned();
        table.row([
            text("token"),
            text("state"),
            text("actor"),
            texts(&token["scopes"]),
            texts(&token["nodes"]),
            texts(&token["assets"]),
            text("ends"),
            text("purpose"),
        ]);
    }
    print_text(&table.to_string());
    Ok(Exit::Done)
}

fn revoke(common: &Common, client: &Client, id: &str) -> Result<Exit, Failure> {
    let path = format!("/v1/tokens/{}/revoke", url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>());
    let answer = client.send(&Method::POST, &path, &[], Body::None)?;
    if common.json {
        print_json(&answer);
    } else {
        let text = |member: &str| clean(answer[member].as_str().unwrap_or_default());
        print_line(&format!("revoked {} of {}", text("token"), text("actor")));
    }
    Ok(Exit::Done)
}

pub fn whoami(common: &Common) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    let answer = client.get("/v1/whoami", &[])?;
    client.end()?;
    if common.json {
        print_json(&answer);
        return Ok(Exit::Done);
    }
    print_line(&clean(answer["actor"].as_str().unwrap_or_default()));
    let mut table = Table::new(&["may", "where"]);
    for allowed in answer["allowed"].as_array().into_iter().flatten() {
        let parts: Vec<String> = allowed["within"].as_array().into_iter().flatten().map(texts).collect();
        let place = match (texts(&allowed["assets"]).as_str(), parts.is_empty()) {
            ("" | "*", true) => "everywhere".to_owned(),
            (assets, true) => assets.to_owned(),
            _ => format!("below {}", parts.join(" and below ")),
        };
        table.row([allowed["action"].as_str().unwrap_or_default().to_owned(), place]);
    }
    print_text(&table.to_string());
    if answer["is_operator"] == true {
        note(common, "you run this installation: you may act in anybody's name, so separation of duties rests on trust");
    }
    Ok(Exit::Done)
}

/// Texts of a list, with commas between.
fn texts(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
