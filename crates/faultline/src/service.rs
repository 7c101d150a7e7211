//! The whole service over one data folder, or a part of it on Kafka: log, stages, views, doors. `faultline up` listens with it; a command without a service runs
//! it inside its own process.

mod acts;
mod at_work;
mod bodies;
mod catalog;
mod dead_letters;
mod decisions;
mod instance;
mod intel;
mod memory;
mod open;
mod projector;
mod pulse;
mod quota;
mod reports;
mod roles;
mod table;
mod tokens;
pub mod told;
mod topics;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use faultline_core::audit::Audit;
use faultline_model::topic::{self, Topic};
use faultline_server::doors::Doors;
use faultline_server::health::Health;
use faultline_server::{Server, StartError};
use faultline_sinks::webhook::Postman;
use faultline_stream::{EmbeddedLog, Host, HostError, Log, MemoryBudget, SystemClock};
use faultline_views::{Bodies, TOPICS, Views};

use crate::settings::{Kafka, Settings};
use at_work::AtWork;
pub use open::{guarantee, kafka_options, log_at_rest, plans};
use projector::{Followed, Projector};
pub use roles::{Role, Roles};
use watch::{Seen, Watch};

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
    #[error("access.roles cannot be used: {0}")]
    Access(#[from] crate::access::AccessError),
    #[error("notify.webhooks cannot be used: {0}")]
    Told(#[from] told::ToldError),
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    #[error("the service stopped working: {0}")]
    Stuck(String),
}

/// A service at work.
pub struct Service {
    /// Embedded: what is to be made durable at the end.
    embedded: Option<Arc<EmbeddedLog>>,
    watch: Arc<Watch>,
    projector: Option<Projector>,
    views: Arc<Views>,
    doors: Doors,
    roles: Roles,
    postman: Option<Arc<Postman>>,
}

impl Service {
    /// Opens the folder, which is made if there is none, and begins to work: embedded, or as one process of several on Kafka.
    /// Who tells others what happens does so only where it `tells`: a command that is over in a moment does not begin calls.
    pub fn open(settings: &Settings, roles: &Roles, tells: bool) -> Result<Self, ServiceError> {
        let folder = &settings.data_folder;
        make(folder).map_err(|source| ServiceError::Folder { path: folder.clone(), source })?;
        let MemoryBudget { total_bytes, rocksdb_bytes, buffer_bytes, at_hand_bytes, views_writer_bytes, views_reader_bytes, batch_bytes } =
            settings.memory;
        tracing::info!(
            total_bytes,
            rocksdb_bytes,
            buffer_bytes,
            at_hand_bytes,
            views_writer_bytes,
            views_reader_bytes,
            batch_bytes,
            "memory.budget"
        );
        match &settings.kafka {
            None => Self::embedded(settings, tells),
            Some(kafka) => Self::on_kafka(settings, kafka, roles, tells),
        }
    }

    fn embedded(settings: &Settings, tells: bool) -> Result<Self, ServiceError> {
        let log = Arc::new(open::log(settings)?);
        let bodies = Bodies::Elsewhere(Arc::new(bodies::LogBodies::new(log.clone())));
        let options = faultline_views::Options { bodies, ..open::views_options(settings) };
        let views = Arc::new(Views::open(&settings.data_folder.join("views.sqlite"), options)?);
        let mut host = Host::new(log.clone(), open::host_options(settings));
        host.add(open::track(settings))?.add(open::correlate(settings))?.add(open::act(settings))?.add(Audit)?;
        let postman = if tells { told::postman(settings.webhooks.as_deref(), log.clone())?.map(Arc::new) } else { None };
        host.add_with(open::notify(settings)?, postman.as_ref().map(|postman| postman.courier()))?;
        let running = host.start(Arc::new(SystemClock))?;
        let followed = Followed::new(log.clone(), None, &TOPICS, running.readers());
        Self::over(settings, Roles::all(), log.clone(), Some(log), (AtWork::Embedded(running), postman), views, followed)
    }

    fn on_kafka(settings: &Settings, kafka: &Kafka, roles: &Roles, tells: bool) -> Result<Self, ServiceError> {
        let log = Arc::new(open::kafka_log(settings, kafka, roles)?);
        let postman =
            if tells && roles.has(Role::Notify) { told::postman(settings.webhooks.as_deref(), log.clone())?.map(Arc::new) } else { None };
        let courier = postman.as_ref().map(|postman| postman.courier());
        let host = || open::kafka_host(&log, settings, roles, courier);
        let running = if roles.has_stages() { Some(host()?.start(Arc::new(SystemClock))?) } else { None };
        // A gateway answers what became of reports, and needs no more for that.
        let (topics, file): (&'static [Topic], _) =
            if roles.has(Role::Views) { (&TOPICS, "views.sqlite") } else { (&[topic::OUTCOMES], "outcomes.sqlite") };
        let views = if roles.has_api() {
            let file = open::views_file(&settings.data_folder, file, log.generation());
            Views::open(&file, open::views_options(settings))?
        } else {
            Views::in_memory()?
        };
        let followed = Followed::new(log.clone(), Some(log.follow()?), topics, Arc::default());
        Self::over(settings, roles.clone(), log.clone(), None, (AtWork::Kafka { log, running }, postman), Arc::new(views), followed)
    }

    fn over(
        settings: &Settings,
        roles: Roles,
        log: Arc<dyn Log>,
        embedded: Option<Arc<EmbeddedLog>>,
        (at_work, postman): (AtWork, Option<Arc<Postman>>),
        views: Arc<Views>,
        followed: Followed,
    ) -> Result<Self, ServiceError> {
        let of_folder = |source| ServiceError::Folder { path: settings.data_folder.clone(), source };
        let secrets = Arc::new(crate::secrets::key(settings).map_err(of_folder)?);
        let seen = Seen { views: views.clone(), topics: followed.topics, have_caught_up: AtomicBool::new(false) };
        let watch = Arc::new(Watch { log: log.clone(), views: roles.has_api().then_some(seen), at_work });
        let projector = if roles.has_api() { Some(Projector::start(followed, views.clone()).map_err(ServiceError::Thread)?) } else { None };
        let quotas = Arc::new(quota::Quotas::new(settings.source_quota));
        let doors = Doors {
            reports: Arc::new(reports::ReportDoor::new(log.clone(), views.clone(), secrets, quotas.clone())),
            decisions: Arc::new(decisions::DecisionDoor::new(log.clone())),
            steps: Arc::new(decisions::DecisionDoor::new(log.clone())),
            catalog: Arc::new(catalog::CatalogDoor::new(log.clone())),
            intel: Arc::new(intel::IntelDoor::new(log.clone())),
            pulse: Arc::new(pulse::HostPulse::new(watch.clone(), quotas, settings.memory, postman.clone())),
            topics: Arc::new(topics::TopicDoor::new(log.clone())),
            tokens: Arc::new(tokens::TokenDoor::new(log.clone())),
            acts: Arc::new(acts::ActDoor::new(log.clone())),
            dead_letters: Arc::new(dead_letters::LetterDoor::new(log)),
            clock: Arc::new(faultline_server::doors::SystemClock),
        };
        Ok(Self { embedded, watch, projector, views, doors, roles, postman })
    }

    /// The API's routes, for requests from inside this process.
    pub fn router(&self, settings: &Settings) -> Result<Router, ServiceError> {
        // Nobody from outside can reach these routes, so no token guards them.
        let inside = faultline_server::Settings { token: None, ..open::server(settings, &self.roles)? };
        Ok(faultline_server::router(&inside, self.doors.clone(), self.views.clone()))
    }

    /// Listens until the process is told to stop; `begun` hears where the API is, if this process has one.
    pub async fn serve<B>(&self, settings: &Settings, begun: impl FnOnce(Option<&str>) -> std::io::Result<B>) -> Result<(), ServiceError> {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let stopped = |mut stopping: tokio::sync::watch::Receiver<bool>| async move {
            // The sender lives until all have ended.
            let _ = stopping.wait_for(|stops| *stops).await;
        };
        let health = match settings.health_listen {
            Some(address) => Some(Health::bind(address, self.doors.pulse.clone())?),
            None => None,
        };
        let server = if self.roles.has_api() {
            let server_settings = open::server(settings, &self.roles)?;
            let scheme = if server_settings.tls.is_some() { "https" } else { "http" };
            let server = Server::bind(&server_settings, self.doors.clone(), self.views.clone())?;
            Some((format!("{scheme}://{}", server.address()), server))
        } else {
            None
        };
        let of_folder = |source| ServiceError::Folder { path: settings.data_folder.clone(), source };
        let _beacon = begun(server.as_ref().map(|(url, _)| url.as_str())).map_err(of_folder)?;
        let health_stops = stopped(stopping.clone());
        let health = async move {
            match health {
                // A connection that never ends keeps nobody from a stop.
                Some(health) => tokio::select! {
                    served = health.serve(std::future::pending()) => served,
                    () = health_stops => Ok(()),
                },
                None => Ok(()),
            }
        };
        let server_stops = stopped(stopping);
        let server = async move {
            match server {
                Some((_, server)) => server.serve(server_stops).await,
                None => {
                    server_stops.await;
                    Ok(())
                }
            }
        };
        let signal = async move {
            told_to_stop().await;
            stop.send_replace(true);
            Ok(())
        };
        tokio::try_join!(health, server, signal)?;
        Ok(())
    }

    /// Waits until everything that came in has reached the views. `progress` hears what is left.
    pub fn wait_until_quiet(&self, progress: &mut dyn FnMut(u64)) -> Result<(), ServiceError> {
        self.watch.wait_until_quiet(None, progress).map(|_| ())
    }

    /// Ends what has begun, makes all of it durable, and gives the folder free.
    pub fn stop(self) -> Result<(), ServiceError> {
        let Self { embedded, watch, projector, doors, postman, .. } = self;
        if let Some(projector) = projector {
            projector.stop();
        }
        // The doors hold the watch and the postman as well.
        drop(doors);
        // While the log takes down what became of its last calls.
        drop(postman);
        if let Some(watch) = Arc::into_inner(watch) {
            watch.at_work.stop()?;
        }
        if let Some(log) = embedded {
            log.sync()?;
        }
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
    // A line that cannot be written is lost; to say that where it was to be written would panic.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).log_internal_errors(false);
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
