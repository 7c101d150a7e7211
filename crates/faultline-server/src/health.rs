//! A listener for supervisors alone: whether the process lives, whether it is ready, what it counts. No data, so neither TLS nor token.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::doors::Pulse;
use crate::settings::StartError;

/// A listener that does not serve yet.
pub struct Health {
    listener: TcpListener,
    pulse: Arc<dyn Pulse>,
}

impl Health {
    pub fn bind(address: SocketAddr, pulse: Arc<dyn Pulse>) -> Result<Self, StartError> {
        let listener = TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        Ok(Self { listener, pulse })
    }

    /// Serves until `stop` is done. Needs a Tokio runtime.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        let Self { listener, pulse } = self;
        let router = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(pulse);
        listener.set_nonblocking(true).map_err(StartError::Serve)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Serve)?;
        axum::serve(listener, router).with_graceful_shutdown(stop).await.map_err(StartError::Serve)
    }
}

async fn ready(State(pulse): State<Arc<dyn Pulse>>) -> Response {
    match tokio::task::spawn_blocking(move || pulse.ready()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(reasons)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(pulse): State<Arc<dyn Pulse>>) -> Response {
    match tokio::task::spawn_blocking(move || pulse.metrics()).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
