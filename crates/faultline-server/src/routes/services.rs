//! Services and nodes with what they carry.

use axum::Json;
use axum::extract::{RawQuery, State};
use faultline_model::catalog::{Node, Service};
use serde::Serialize;

use super::node_of;
use super::summary::SummaryBody;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;

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

pub(super) async fn list(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Json<Items<ServiceBody>>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["node", "unassigned"])?;
    let is_unassigned = parameters.flag("unassigned")?;
    if is_unassigned && parameters.one("node")?.is_some() {
        return Err(Problem::bad_request("what is unassigned stands below no node", "Ask for one of node and unassigned."));
    }
    let node = node_of(&app, &parameters).await?;
    let services = app.ask(move |views| if is_unassigned { views.unassigned() } else { views.services(node.as_deref()) }).await?;
    let items = services
        .into_iter()
        .map(|found| ServiceBody { id: found.id, service: found.service, open: found.open, roll_up: found.roll_up })
        .collect();
    Ok(Json(Items { items }))
}

pub(super) async fn nodes(State(app): State<Shared>, RawQuery(query): RawQuery) -> Result<Json<Items<NodeBody>>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let nodes = app.ask(faultline_views::Views::nodes).await?;
    let items = nodes.into_iter().map(|found| NodeBody { node: found.node, summary: found.summary.into() }).collect();
    Ok(Json(Items { items }))
}
