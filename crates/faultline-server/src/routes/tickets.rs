//! What a ticket policy would do: the one that holds, or one that is sent along.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use faultline_model::access::{Action, Caller};
use faultline_views::RiskFilter;
use serde_json::Value;

use crate::doors::DoorError;
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{App, Shared, blocking};
use crate::upload;
use crate::who::{self, By};

pub(super) async fn plan(State(app): State<Shared>, By(caller): By, RawQuery(query): RawQuery) -> Result<Json<Value>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    planned(&app, &caller, None).await
}

pub(super) async fn plan_of(
    State(app): State<Shared>,
    By(caller): By,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let bytes = upload::to_memory(&headers, body, &app.limits, app.limits.catalog_bytes).await?;
    let yaml = String::from_utf8(bytes).map_err(|error| Problem::bad_request(format!("the policy: {error}"), "Send YAML in UTF-8."))?;
    planned(&app, &caller, Some(yaml)).await
}

/// Goes over all open risks as they are at one moment.
async fn planned(app: &App, caller: &Caller, yaml: Option<String>) -> Result<Json<Value>, Problem> {
    let place = app.plan()?;
    let within = who::within(caller, Action::Read)?;
    let (catalog, views, stopping) = (Arc::clone(&app.doors.catalog), Arc::clone(&app.views), app.stopping.subscribe());
    let planned = blocking(move || -> Result<Value, Problem> {
        // Until the work is done, be the asker gone or not.
        let _place = place;
        let mut plan = catalog.tickets(yaml.as_deref())?;
        let mut refused = None;
        let unreadable = views.each_risk(&RiskFilter { within: within.clone(), ..RiskFilter::default() }, &mut |risk| {
            refused = plan.add(risk).err();
            if refused.is_some() || *stopping.borrow() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(refused) = refused {
            return Err(refused.into());
        }
        if *stopping.borrow() {
            return Err(Problem::busy("The service stops."));
        }
        let mut owner = |founder| {
            // The owner's record comes first, where a finding counts in several services.
            let listed = views.finding(founder, &within).map_err(|error| DoorError::Fault(Box::new(error)))?;
            Ok(listed.map(|listed| listed.finding).filter(|finding| finding.is_owner).map(|finding| finding.service))
        };
        let mut planned = plan.end(&mut owner)?;
        planned["unreadable"] = unreadable.into();
        Ok(planned)
    });
    Ok(Json(planned.await??))
}
