//! The whole service over one data folder: log, stages, views, doors. `faultline up` listens with it; a command without a service runs
//! it inside its own process.

mod bodies;
mod catalog;
mod decisions;
mod intel;
mod open;
mod projector;
mod pulse;
mod reports;
mod table;
mod topics;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use faultline_core::correlate::Correlate;
use faultline_server::doors::Doors;
use faultline_server::{Server, StartError};
use faultline_stream::{EmbeddedLog, Host, HostError, SystemClock};
use faultline_views::{Bodies, Views};

use crate::settings::Settings;
use projector::Projector;
use watch::Watch;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("the data folder {path} cannot be made or read: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Views(#[from] faultline_views::ViewError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    #[error("the service stopped working: {0}")]
    Stuck(String),
}

/// A service at work.
pub struct Service {
    log: Arc<EmbeddedLog>,
    watch: Arc<Watch>,
    projector: Projector,
    doors: Doors,
}

impl Service {
    /// Opens the folder, which is made if there is none, and begins to work.
    pub fn open(settings: &Settings) -> Result<Self, ServiceError> {
        let folder = &settings.data_folder;
        let of_folder = |source| ServiceError::Folder { path: folder.clone(), source };
        make(folder).map_err(of_folder)?;
        let log = Arc::new(open::log(settings)?);
        let secrets = Arc::new(crate::secrets::key(settings).map_err(of_folder)?);
        let bodies = Bodies::Elsewhere(Arc::new(bodies::LogBodies::new(log.clone())));
        let options = faultline_views::Options { bodies, ..faultline_views::Options::default() };
        let views = Arc::new(Views::open(&folder.join("views.sqlite"), options)?);
        let mut host = Host::new(log.clone(), open::host_options(settings));
        host.add(open::track(settings))?.add(Correlate::new())?;
        let running = host.start(Arc::new(SystemClock))?;
        let projector = Projector::start(log.clone(), views.clone(), running.readers()).map_err(ServiceError::Thread)?;
        let watch = Arc::new(Watch { log: log.clone(), views: views.clone(), running });
        let doors = Doors {
            reports: Arc::new(reports::ReportDoor::new(log.clone(), views.clone(), secrets)),
            decisions: Arc::new(decisions::DecisionDoor::new(log.clone())),
            catalog: Arc::new(catalog::CatalogDoor::new(log.clone())),
            intel: Arc::new(intel::IntelDoor::new(log.clone())),
            pulse: Arc::new(pulse::HostPulse::new(watch.clone())),
            topics: Arc::new(topics::TopicDoor::new(log.clone())),
            clock: Arc::new(faultline_server::doors::SystemClock),
        };
        Ok(Self { log, watch, projector, doors })
    }

    /// The API's routes, for requests from inside this process.
    pub fn router(&self, settings: &Settings) -> Result<Router, ServiceError> {
        // Nobody from outside can reach these routes, so no token guards them.
        let inside = faultline_server::Settings { token: None, ..open::server(settings)? };
        Ok(faultline_server::router(&inside, self.doors.clone(), self.watch.views.clone()))
    }

    /// Listens until the process is told to stop; `begun` hears where.
    pub async fn serve<B>(&self, settings: &Settings, begun: impl FnOnce(&str) -> std::io::Result<B>) -> Result<(), ServiceError> {
        let server_settings = open::server(settings)?;
        let scheme = if server_settings.tls.is_some() { "https" } else { "http" };
        let server = Server::bind(&server_settings, self.doors.clone(), self.watch.views.clone())?;
        let of_folder = |source| ServiceError::Folder { path: settings.data_folder.clone(), source };
        let _beacon = begun(&format!("{scheme}://{}", server.address())).map_err(of_folder)?;
        server.serve(told_to_stop()).await?;
        Ok(())
    }

    /// Waits until everything that came in has reached the views. `progress` hears what is left.
    pub fn wait_until_quiet(&self, progress: &mut dyn FnMut(u64)) -> Result<(), ServiceError> {
        self.watch.wait_until_quiet(None, progress).map(|_| ())
    }

    /// Ends what has begun, makes all of it durable, and gives the folder free.
    pub fn stop(self) -> Result<(), ServiceError> {
        let Self { log, watch, projector, doors } = self;
        projector.stop();
        // The doors hold the watch as well.
        drop(doors);
        if let Some(watch) = Arc::into_inner(watch) {
            watch.running.stop()?;
        }
        log.sync()?;
        Ok(())
    }
}

/// SIGTERM or SIGINT.
async fn told_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    // Without signals there is only the interrupt; without that, the process is stopped by force.
    if interrupted.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Cryptography for TLS, chosen once a process.
pub fn install_crypto() {
    // Chosen already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Log lines to standard error, as the settings say.
pub fn log_to_stderr(settings: &Settings) {
    let filter = tracing_subscriber::EnvFilter::new(&settings.log_level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // Set already is as good.
    let _ = if settings.log_is_json { lines.json().try_init() } else { lines.try_init() };
}

/// Readable by its owner only: it holds what scanners found.
fn make(folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
