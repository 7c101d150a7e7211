//! What the organisation, or a node of it, has to carry.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use faultline_model::access::Action;
use faultline_views::Summary;
use serde::Serialize;

use super::node_of;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::Shared;
use crate::who::{self, By};

/// Counts by name; a name's JSON is that of the record.
#[derive(Serialize)]
pub(super) struct SummaryBody {
    /// 100 × log2(Σ 2^(score/100)) over open risks.
    roll_up: u32,
    by_state: BTreeMap<String, u64>,
    open_by_band: BTreeMap<String, u64>,
    open_by_evidence: BTreeMap<String, u64>,
}

impl From<Summary> for SummaryBody {
    fn from(summary: Summary) -> Self {
        Self {
            roll_up: summary.roll_up,
            by_state: named(summary.by_state),
            open_by_band: named(summary.open_by_band),
            open_by_evidence: named(summary.open_by_evidence),
        }
    }
}

fn named<T: Serialize>(counts: Vec<(T, u64)>) -> BTreeMap<String, u64> {
    let name = |word: T| serde_json::to_value(word).ok().and_then(|name| name.as_str().map(ToOwned::to_owned)).unwrap_or_default();
    counts.into_iter().map(|(word, count)| (name(word), count)).collect()
}

#[derive(Serialize)]
pub(super) struct Answer {
    /// The version of the catalog that holds; none before the first apply.
    catalog_version: Option<i64>,
    #[serde(flatten)]
    summary: SummaryBody,
}

pub(super) async fn show(State(app): State<Shared>, By(caller): By, RawQuery(query): RawQuery) -> Result<Json<Answer>, Problem> {
    let within = who::within(&caller, Action::Read)?;
    let node = node_of(&app, &Parameters::read(query.as_deref(), &["node"])?, &within).await?;
    let (head, summary) = app.ask(move |views| Ok((views.catalog_head()?, views.summary(node.as_deref(), &within)?))).await?;
    Ok(Json(Answer { catalog_version: head.map(|head| head.version), summary: summary.into() }))
}
