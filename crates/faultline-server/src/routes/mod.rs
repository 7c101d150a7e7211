//! The table of routes, one file a resource.

mod backlog;
mod catalog;
mod dead_letters;
mod decisions;
mod exceptions;
mod findings;
mod health;
mod intel;
mod outcomes;
mod reports;
mod retractions;
mod risks;
mod services;
mod sinks;
mod summary;
mod tickets;
mod tokens;
mod topics;
mod trace;
mod whoami;

use std::collections::BTreeMap;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, any, get, post, put};
use faultline_model::access::Action;
use faultline_model::id::{Id, IdPrefix, IdPrefixError};
use faultline_views::{Named, Page, Total, Within};
use serde::Serialize;

use crate::guard::guard;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared};
use crate::who::{self, Needs};

/// Items of a page where nothing is asked.
const PAGE: usize = 50;
/// The most items of a page.
const LARGEST_PAGE: usize = 500;
/// The most names that are told where one is misspelt.
const NAMES_SHOWN: usize = 100;

/// Which process serves a route, where the two sides of the API are apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// What comes in.
    In,
    /// What the views tell, and decisions on what they show.
    Lists,
    Both,
}

/// Every route: who serves it, what it takes of who asks, method, path, handler.
fn table() -> Vec<(Side, Needs, &'static str, &'static str, MethodRouter<Shared>)> {
    use Action::{Administer, Decide, Except, Read, Retract};
    use Needs::{Anybody, Everywhere, Nothing, Publishing, Somewhere};
    vec![
        (Side::In, Publishing, "POST", "/v1/reports", post(reports::publish)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/risks", get(risks::list)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/risks/{id}", get(risks::show)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/findings", get(findings::list)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/findings/{id}", get(findings::show)),
        (Side::Both, Anybody, "GET", "/v1/outcomes/{id}", get(outcomes::show)),
        (Side::Lists, Somewhere(Decide), "POST", "/v1/decisions", post(decisions::decide)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/exceptions", get(exceptions::list)),
        (Side::Lists, Somewhere(Except), "POST", "/v1/exceptions", post(exceptions::propose)),
        (Side::Lists, Somewhere(Read), "POST", "/v1/exceptions/preview", post(exceptions::preview)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/exceptions/{id}", get(exceptions::show)),
        // Which action a step takes is for the step.
        (Side::Lists, Somewhere(Read), "POST", "/v1/exceptions/{id}/steps", post(exceptions::step)),
        (Side::Lists, Somewhere(Retract), "POST", "/v1/retractions", post(retractions::retract)),
        (Side::In, Everywhere(Administer), "PUT", "/v1/catalog", put(catalog::apply)),
        (Side::Both, Everywhere(Read), "GET", "/v1/catalog", get(catalog::show)),
        (Side::In, Everywhere(Administer), "POST", "/v1/intel", post(intel::load)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/summary", get(summary::show)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/services", get(services::list)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/nodes", get(services::nodes)),
        (Side::Lists, Everywhere(Read), "GET", "/v1/tickets/plan", get(tickets::plan)),
        (Side::Lists, Everywhere(Read), "POST", "/v1/tickets/plan", post(tickets::plan_of)),
        (Side::Lists, Everywhere(Read), "GET", "/v1/sinks", get(sinks::list)),
        (Side::Lists, Somewhere(Read), "GET", "/v1/trace/{id}", get(trace::show)),
        (Side::Both, Everywhere(Administer), "GET", "/v1/dead-letters", get(dead_letters::list)),
        (Side::Both, Everywhere(Administer), "GET", "/v1/dead-letters/{id}", get(dead_letters::show)),
        (Side::In, Everywhere(Administer), "POST", "/v1/dead-letters/redrive", post(dead_letters::redrive)),
        (Side::Both, Everywhere(Administer), "GET", "/v1/topics/{topic}", get(topics::show)),
        (Side::Both, Everywhere(Administer), "GET", "/v1/topics/{topic}/{partition}", get(topics::records)),
        (Side::Both, Anybody, "GET", "/v1/backlog", get(backlog::show)),
        (Side::Both, Anybody, "GET", "/v1/whoami", get(whoami::show)),
        (Side::In, Everywhere(Administer), "POST", "/v1/tokens", post(tokens::create)),
        (Side::Both, Everywhere(Administer), "GET", "/v1/tokens", get(tokens::list)),
        (Side::In, Everywhere(Administer), "POST", "/v1/tokens/{id}/revoke", post(tokens::revoke)),
        (Side::Both, Nothing, "GET", "/healthz", get(health::alive)),
        (Side::Both, Nothing, "GET", "/readyz", get(health::ready)),
        (Side::Both, Everywhere(Read), "GET", "/metrics", get(health::metrics)),
    ]
}

/// Methods and paths of all routes, as `docs/openapi.yaml` has them.
pub fn routes() -> Vec<(&'static str, &'static str)> {
    table().into_iter().map(|(_, _, method, path, _)| (method, path)).collect()
}

pub(crate) fn router(app: Shared) -> Router {
    let is_served = |side: Side| match side {
        Side::In => app.serves.takes_in,
        Side::Lists => app.serves.has_lists,
        Side::Both => true,
    };
    let (served, others): (Vec<_>, Vec<_>) = table().into_iter().partition(|(side, ..)| is_served(*side));
    let paths: Vec<&str> = served.iter().map(|(_, _, _, path, _)| *path).collect();
    let mut router = served.into_iter().fold(Router::new(), |router, (_, needs, _, path, handler)| {
        router.route(path, handler.layer(from_fn_with_state((Shared::clone(&app), needs), who::admit)))
    });
    // Once, however many methods it has.
    let others: BTreeMap<&str, Side> = others.into_iter().map(|(side, _, _, path, _)| (path, side)).collect();
    for (path, side) in others.into_iter().filter(|(path, _)| !paths.contains(path)) {
        router = router.route(path, any(move || async move { elsewhere(side) }));
    }
    router
        .fallback(|| async { Problem::not_found("No route has this path.", "docs/openapi.yaml lists all of them.") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(from_fn_with_state(Shared::clone(&app), guard))
        .with_state(app)
}

fn elsewhere(side: Side) -> Problem {
    let role = if side == Side::In { "gateway" } else { "views" };
    Problem::not_found("This process does not serve that.", format!("Ask one that runs with --role {role}."))
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
async fn node_of(app: &App, parameters: &Parameters, within: &Within) -> Result<Option<String>, Problem> {
    let Some(node) = parameters.one("node")?.map(ToOwned::to_owned) else {
        return Ok(None);
    };
    let within = within.clone();
    let known = app.ask(move |views| views.node_ids(&within)).await?;
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
async fn whole(app: &App, given: IdPrefix, of: Named, within: &Within) -> Result<Option<Id>, Problem> {
    if let Some(id) = given.whole() {
        return Ok(Some(id));
    }
    let within = within.clone();
    let ids = app.ask(move |views| views.ids(given, of, &within)).await?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        several => Err(Problem::ambiguous(given, several)),
    }
}
