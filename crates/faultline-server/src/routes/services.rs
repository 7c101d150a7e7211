//! Services and nodes with what they carry.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{RawQuery, State};
use faultline_model::access::Action;
use faultline_model::catalog::{Node, Service};
use serde::Serialize;

use super::node_of;
use super::summary::SummaryBody;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;
use crate::who::{self, By};

#[derive(Serialize)]
pub(super) struct Items<T> {
    items: Vec<T>,
}

#[derive(Serialize)]
pub(super) struct ServiceBody {
    id: String,
    /// As the catalog has it; none for a place that no rule matches.
    service: Option<Service>,
    open: u64,
    roll_up: u32,
}

#[derive(Serialize)]
pub(super) struct NodeBody {
    node: Node,
    #[serde(flatten)]
    summary: SummaryBody,
}

pub(super) async fn list(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<ServiceBody>>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["node", "unassigned"])?;
    let is_unassigned = parameters.flag("unassigned")?;
    if is_unassigned && parameters.one("node")?.is_some() {
        return Err(Problem::bad_request("what is unassigned stands below no node", "Ask for one of node and unassigned."));
    }
    let within = who::within(&caller, Action::Read)?;
    let node = node_of(&app, &parameters, &within).await?;
    let shown = within.clone();
    let seen: BTreeSet<String> = app.ask(move |views| views.node_ids(&shown)).await?.into_iter().collect();
    let services =
        app.ask(move |views| if is_unassigned { views.unassigned(&within) } else { views.services(node.as_deref(), &within) }).await?;
    let items = services
        .into_iter()
        .map(|found| {
            let service = found.service.map(|service| named(service, &seen));
            ServiceBody { id: found.id, service, open: found.open, roll_up: found.roll_up }
        })
        .collect();
    Ok(Json(Items { items }))
}

pub(super) async fn nodes(State(app): State<Shared>, By(caller): By, RawQuery(query): RawQuery) -> Result<Json<Items<NodeBody>>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let within = who::within(&caller, Action::Read)?;
    let nodes = app.ask(move |views| views.nodes(&within)).await?;
    let seen: BTreeSet<String> = nodes.iter().map(|found| found.node.id.clone()).collect();
    let below = |node: Node| Node { parent: Some(node.parent).filter(|parent| seen.contains(parent)).unwrap_or_default(), ..node };
    let items = nodes.into_iter().map(|found| NodeBody { node: below(found.node), summary: found.summary.into() }).collect();
    Ok(Json(Items { items }))
}

/// A service with those units above it that the reader sees.
fn named(service: Service, seen: &BTreeSet<String>) -> Service {
    let parent = Some(service.parent).filter(|parent| seen.contains(parent)).unwrap_or_default();
    Service { parent, path: service.path.into_iter().filter(|node| seen.contains(node)).collect(), ..service }
}
