//! `faultline risks list|show|explain`.

use faultline_model::risk::Risk;
use serde_json::Value;

use crate::cli::{Common, RiskFilter, Risks};
use crate::client::Client;
use crate::commands::{note, note_unheard, print_json, print_text};
use crate::failure::{Exit, Failure};
use crate::show::{self, Table, short};

pub fn run(common: &Common, command: &Risks) -> Result<Exit, Failure> {
    let client = Client::connect(common)?;
    match command {
        Risks::List(filter) => list(common, &client, filter)?,
        Risks::Show { id } => tell(common, &one(&client, id)?, &summary)?,
        Risks::Explain { id: Some(id), .. } => tell(common, &one(&client, id)?, &show::explain)?,
        Risks::Explain { id: None, filter, .. } => {
            let answer = client.get("/v1/risks", &query(&RiskFilter { limit: 1, ..filter.clone() }))?;
            let first = answer["items"].as_array().and_then(|items| items.first()).cloned();
            let first =
                first.ok_or_else(|| Failure::new(Exit::Failed, "no risk fits the filter", "`faultline risks list` shows what there is"))?;
            let id = first["risk"].as_str().unwrap_or_default().to_owned();
            tell(common, &one(&client, &id)?, &show::explain)?;
        }
    }
    client.end()?;
    Ok(Exit::Done)
}

fn one(client: &Client, id: &str) -> Result<Value, Failure> {
    client.get(&format!("/v1/risks/{id}"), &[])
}

fn tell(common: &Common, answer: &Value, text: &dyn Fn(&Risk) -> String) -> Result<(), Failure> {
    if common.json {
        print_json(answer);
    } else {
        print_text(&text(&risk(answer)?));
    }
    Ok(())
}

fn risk(value: &Value) -> Result<Risk, Failure> {
    serde_json::from_value(value.clone())
        .map_err(|error| Failure::of(Exit::Failed, &error, "program and service differ in version; bring them to the same one"))
}

fn query(filter: &RiskFilter) -> Vec<(&'static str, String)> {
    let texts = [
        ("state", &filter.state),
        ("band", &filter.band),
        ("evidence", &filter.evidence),
        ("family", &filter.family),
        ("service", &filter.service),
        ("node", &filter.node),
        ("tool", &filter.tool),
        ("asset", &filter.asset),
        ("vulnerability", &filter.vulnerability),
        ("exception", &filter.exception),
        ("assigned_to", &filter.assigned_to),
        ("text", &filter.text),
        ("cursor", &filter.cursor),
    ];
    let mut query: Vec<_> = texts.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    query.extend(filter.min_score.map(|score| ("min_score", score.to_string())));
    query.push(("limit", filter.limit.to_string()));
    query
}

fn list(common: &Common, client: &Client, filter: &RiskFilter) -> Result<(), Failure> {
    let answer = client.get("/v1/risks", &query(filter))?;
    if common.json {
        print_json(&answer);
        return Ok(());
    }
    let mut table = Table::new(&[">score", "band", "evidence", "service", "title", "where", "id"]);
    for item in answer["items"].as_array().into_iter().flatten() {
        let risk = risk(item)?;
        table.row([
            risk.score.total.to_string(),
            risk.score.band.name().to_owned(),
            show::evidence(risk.evidence).to_owned(),
            short(&risk.service, 24),
            short(&risk.title, 48),
            short(&show::place(&risk.anchor), 56),
            show::short_id(&risk.risk.to_string()),
        ]);
    }
    print_text(&table.to_string());
    note_unheard(common, client, &answer, [("service", filter.service.as_deref()), ("tool", filter.tool.as_deref())])?;
    if let Some(count) = answer["total"]["count"].as_u64() {
        note(common, &format!("{count} in all"));
    }
    if let Some(next) = answer["next"].as_str() {
        note(common, &format!("more with --cursor {next}"));
    }
    Ok(())
}

/// One risk in short.
fn summary(risk: &Risk) -> String {
    format!(
        "{}\n  score {} ({}) · {} · {} · service {}\n  {}\n  {} finding{} · due {} · fix: {} {}\n  explain it with: faultline risks explain {}\n",
        show::clean(&risk.title),
        risk.score.total,
        risk.score.band.name(),
        show::state(risk.state),
        show::evidence(risk.evidence),
        show::clean(&risk.service),
        show::place(&risk.anchor),
        risk.findings_total,
        if risk.findings_total == 1 { "" } else { "s" },
        risk.score.due.date(),
        risk.fix.kind.replace('_', " "),
        show::clean(&risk.fix.what),
        risk.risk,
    )
}
