//! The service inside this process: requests go to its routes without a socket.

use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::Body;
use crate::failure::{Exit, Failure};
use crate::service::{Roles, Service, ServiceError};
use crate::settings::Settings;

/// The largest answer that is taken.
const ANSWER_BYTES: usize = 256 << 20;

pub struct Here {
    service: Service,
    router: Router,
    runtime: Runtime,
}

impl Here {
    pub fn open(settings: &Settings) -> Result<Self, Failure> {
        let service = Service::open(settings, &Roles::all(), false).map_err(|error| of_service(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Failure::of(Exit::Failed, &error, ""))?;
        let router = service.router(settings).map_err(|error| of_service(&error))?;
        Ok(Self { service, router, runtime })
    }

    pub fn send(&self, method: &Method, target: &str, body: Body<'_>) -> Result<(StatusCode, String), Failure> {
        let fails = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error, "");
        let request = Request::builder().method(method).uri(target).header(header::HOST, "localhost");
        let request = match body {
            Body::None => request.body(HttpBody::empty()),
            Body::Json(value) => request.header(header::CONTENT_TYPE, "application/json").body(HttpBody::from(value.to_string())),
            Body::Text(text) => request.header(header::CONTENT_TYPE, "application/yaml").body(HttpBody::from(text)),
            Body::File(path) => {
                let file = std::fs::File::open(path).map_err(|error| super::there::no_file(path, &error))?;
                request.body(HttpBody::from_stream(Chunks { file, has_failed: false }))
            }
        };
        let request = request.map_err(|error| fails(&error))?;
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.map_err(|error| fails(&error))?;
            let status = response.status();
            let body: Bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES).await.map_err(|error| fails(&error))?;
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        })
    }

    pub fn settle(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        self.service.wait_until_quiet(progress).map_err(|error| of_service(&error))
    }

    pub fn stop(self) -> Result<(), Failure> {
        let Self { service, router, runtime } = self;
        drop(router);
        drop(runtime);
        service.stop().map_err(|error| of_service(&error))
    }
}

fn of_service(error: &ServiceError) -> Failure {
    Failure::of(Exit::Failed, error, "")
}

/// A file in pieces. Reading blocks a worker that has nothing else to do.
struct Chunks {
    file: std::fs::File,
    has_failed: bool,
}

const CHUNK_BYTES: usize = 256 << 10;

impl futures_core::Stream for Chunks {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        if self.has_failed {
            return std::task::Poll::Ready(None);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        std::task::Poll::Ready(match std::io::Read::read(&mut self.file, &mut chunk) {
            Ok(0) => None,
            Ok(read) => {
                chunk.truncate(read);
                Some(Ok(chunk.into()))
            }
            Err(error) => {
                self.has_failed = true;
                Some(Err(error))
            }
        })
    }
}
