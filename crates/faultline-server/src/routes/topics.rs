//! The topics behind it all, decoded.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Serialize;

use super::limit_of;
use crate::doors::{TopicPage, TopicQuery};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::state::{Shared, blocking};

#[derive(Serialize)]
pub(super) struct TopicBody {
    topic: String,
    partitions: u32,
}

pub(super) async fn show(
    State(app): State<Shared>,
    Path(topic): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<TopicBody>, Problem> {
    Parameters::read(query.as_deref(), &[])?;
    let (topics, name) = (app.doors.topics.clone(), topic.clone());
    let partitions = blocking(move || topics.partitions(&name)).await??;
    Ok(Json(TopicBody { topic, partitions }))
}

pub(super) async fn records(
    State(app): State<Shared>,
    Path((topic, partition)): Path<(String, u32)>,
    RawQuery(query): RawQuery,
) -> Result<Json<TopicPage>, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["from", "limit", "key"])?;
    let asked = TopicQuery {
        topic,
        partition,
        from: parameters.read_one("from", "an offset")?.unwrap_or(0),
        limit: limit_of(&parameters)?,
        key: parameters.text("key")?,
    };
    let topics = app.doors.topics.clone();
    Ok(Json(blocking(move || topics.read(&asked)).await??))
}
