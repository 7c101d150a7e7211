//! The table of routes, one file a resource.

mod backlog;
mod catalog;
mod decisions;
mod findings;
mod health;
mod intel;
mod outcomes;
mod reports;
mod retractions;
mod risks;
mod services;
mod summary;
mod topics;
mod trace;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use faultline_model::id::{Id, IdPrefix, IdPrefixError};
use faultline_views::{Named, Page, Total, Views};
use serde::Serialize;

use crate::guard::guard;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared};

/// Items of a page where nothing is asked.
const PAGE: usize = 50;
/// The most items of a page.
const LARGEST_PAGE: usize = 500;
/// The most names that are told where one is misspelt.
const NAMES_SHOWN: usize = 100;

/// Every route: method, path, handler.
fn table() -> Vec<(&'static str, &'static str, MethodRouter<Shared>)> {
    vec![
        ("POST", "/v1/reports", post(reports::publish)),
        ("GET", "/v1/risks", get(risks::list)),
        ("GET", "/v1/risks/{id}", get(risks::show)),
        ("GET", "/v1/findings", get(findings::list)),
        ("GET", "/v1/findings/{id}", get(findings::show)),
        ("GET", "/v1/outcomes/{id}", get(outcomes::show)),
        ("POST", "/v1/decisions", post(decisions::decide)),
        ("POST", "/v1/retractions", post(retractions::retract)),
        ("PUT", "/v1/catalog", put(catalog::apply)),
        ("GET", "/v1/catalog", get(catalog::show)),
        ("POST", "/v1/intel", post(intel::load)),
        ("GET", "/v1/summary", get(summary::show)),
        ("GET", "/v1/services", get(services::list)),
        ("GET", "/v1/nodes", get(services::nodes)),
        ("GET", "/v1/trace/{id}", get(trace::show)),
        ("GET", "/v1/dead-letters", get(trace::dead_letters)),
        ("GET", "/v1/topics/{topic}", get(topics::show)),
        ("GET", "/v1/topics/{topic}/{partition}", get(topics::records)),
        ("GET", "/v1/backlog", get(backlog::show)),
        ("GET", "/healthz", get(health::alive)),
        ("GET", "/readyz", get(health::ready)),
        ("GET", "/metrics", get(health::metrics)),
    ]
}

/// Methods and paths of all routes, as `docs/openapi.yaml` has them.
pub fn routes() -> Vec<(&'static str, &'static str)> {
    table().into_iter().map(|(method, path, _)| (method, path)).collect()
}

pub(crate) fn router(app: Shared) -> Router {
    let router = table().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler));
    router
        .fallback(|| async { Problem::not_found("No route has this path.", "docs/openapi.yaml lists all of them.") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(from_fn_with_state(Shared::clone(&app), guard))
        .with_state(app)
}

/// A page as JSON.
#[derive(Serialize)]
struct PageBody<T> {
    items: Vec<T>,
    /// Goes into `cursor` for the next page; none at the end.
    next: Option<String>,
    /// On the first page only.
    total: Option<TotalBody>,
    /// Items that are left out because a newer program wrote what this one cannot read.
    unreadable: usize,
}

#[derive(Serialize)]
struct TotalBody {
    count: u64,
    is_exact: bool,
}

impl<T> PageBody<T> {
    fn of<U>(page: Page<U>, item: impl Fn(U) -> T) -> Self {
        let total = page.total.map(|Total { count, is_exact }| TotalBody { count, is_exact });
        Self { items: page.items.into_iter().map(item).collect(), next: page.next, total, unreadable: page.unreadable }
    }
}

fn limit_of(parameters: &Parameters) -> Result<usize, Problem> {
    let limit = parameters.read_one("limit", "a number from 1 to 500")?.unwrap_or(PAGE);
    Ok(limit.clamp(1, LARGEST_PAGE))
}

/// The node that is asked for, if there is one of that name: a misspelt one must not look like one without risks.
async fn node_of(app: &App, parameters: &Parameters) -> Result<Option<String>, Problem> {
    let Some(node) = parameters.one("node")?.map(ToOwned::to_owned) else {
        return Ok(None);
    };
    let known = app.ask(Views::node_ids).await?;
    if known.contains(&node) { Ok(Some(node)) } else { Err(unknown("unit of the organisation", &node, known)) }
}

/// A name that must be known and is not, with those that are.
fn unknown<T: std::fmt::Display>(what: &str, name: &str, known: impl IntoIterator<Item = T>) -> Problem {
    let shown: String = name.chars().take(80).collect();
    let known: Vec<String> = known.into_iter().take(NAMES_SHOWN).map(|name| name.to_string()).collect();
    let advice = if known.is_empty() { "There is none yet.".to_owned() } else { format!("There are {}.", known.join(", ")) };
    Problem::bad_request(format!("there is no {what} {shown:?}"), advice)
}

/// The id in a path, or its first digits.
fn id_of(text: &str) -> Result<IdPrefix, Problem> {
    text.parse().map_err(|error: IdPrefixError| Problem::bad_request(error.to_string(), "Ids stand in the lists."))
}

/// All digits of an id; none if nothing begins with those that were given.
async fn whole(app: &App, given: IdPrefix, of: Named) -> Result<Option<Id>, Problem> {
    if let Some(id) = given.whole() {
        return Ok(Some(id));
    }
    let ids = app.ask(move |views| views.ids(given, of)).await?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        several => Err(Problem::ambiguous(given, several)),
    }
}
