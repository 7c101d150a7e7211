//! What all routes share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use faultline_model::access::Roles;
use faultline_model::decision::Outcome;
use faultline_views::{ViewError, Views};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use crate::counters::Counters;
use crate::doors::Doors;
use crate::problem::Problem;
use crate::settings::{Limits, Serves, Settings, Token};

/// The doors, the views, and the bounds on their use.
pub(crate) struct App {
    pub doors: Doors,
    pub views: Arc<Views>,
    pub limits: Limits,
    pub serves: Serves,
    pub spool: Option<PathBuf>,
    pub token: Option<Token>,
    /// Who comes in without a token of an actor.
    pub operator: String,
    pub roles: Arc<Roles>,
    /// Whether only this machine can reach us: then the name that we are called by must say so.
    pub is_loopback: bool,
    pub counters: Counters,
    pub requests: Semaphore,
    uploads: Semaphore,
    plans: Arc<Semaphore>,
    waiters: Semaphore,
    /// Counts batches that the views applied.
    applied: watch::Receiver<u64>,
    /// True once the server is to stop.
    pub stopping: watch::Sender<bool>,
}

pub(crate) type Shared = Arc<App>;

impl App {
    pub fn new(settings: &Settings, doors: Doors, views: Arc<Views>) -> Self {
        let (heard, applied) = watch::channel(0_u64);
        views.after_apply(move || heard.send_modify(|batches| *batches = batches.wrapping_add(1)));
        let limits = settings.limits.clone();
        Self {
            doors,
            views,
            spool: settings.spool.clone(),
            token: settings.token.clone(),
            operator: settings.operator.clone(),
            roles: Arc::clone(&settings.roles),
            serves: settings.serves,
            is_loopback: settings.is_loopback(),
            counters: Counters::default(),
            requests: Semaphore::new(limits.requests),
            uploads: Semaphore::new(limits.uploads),
            plans: Arc::new(Semaphore::new(1)),
            waiters: Semaphore::new(limits.waiters),
            applied,
            stopping: watch::channel(false).0,
            limits,
        }
    }

    /// A place among the uploads.
    pub fn upload(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.uploads.try_acquire().map_err(|_| Problem::busy("As many reports and feeds as may be are being read."))
    }

    /// The one place of who goes over all risks.
    pub fn plan(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.plans).try_acquire_owned().map_err(|_| Problem::busy("Another plan is being worked out."))
    }

    /// Requests that wait for an outcome now.
    pub fn waiting(&self) -> usize {
        self.limits.waiters.saturating_sub(self.waiters.available_permits())
    }

    /// Asks the views, on a thread that may wait for the disk.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Views) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, Problem> {
        let views = Arc::clone(&self.views);
        Ok(blocking(move || question(&views)).await??)
    }

    /// The outcomes of these ids that are known by the end of the wait; all of them, it is hoped.
    ///
    /// With no room among the waiters, or once the server is to stop, it answers with what is known now.
    /// One that is not `shown` counts as none.
    pub async fn outcomes(
        &self,
        ids: Vec<String>,
        wait: Duration,
        shown: impl Fn(&Views, Outcome) -> Result<Option<Outcome>, ViewError> + Send + Sync + 'static,
    ) -> Result<BTreeMap<String, Outcome>, Problem> {
        let shown = Arc::new(shown);
        let place = self.waiters.try_acquire();
        let until = Instant::now() + if place.is_ok() { wait } else { Duration::ZERO };
        let mut applied = self.applied.clone();
        let mut stopping = self.stopping.subscribe();
        let mut known = BTreeMap::new();
        loop {
            // Seen before asking, so that what is applied while asking wakes us.
            applied.borrow_and_update();
            let missing: Vec<String> = ids.iter().filter(|id| !known.contains_key(*id)).cloned().collect();
            let shown = Arc::clone(&shown);
            let found = self
                .ask(move |views| {
                    let seen = |id: String| {
                        let outcome = views.outcome(&id)?.map(|outcome| shown(views, outcome)).transpose()?.flatten();
                        Ok((outcome, id))
                    };
                    missing.into_iter().map(seen).collect::<Result<Vec<_>, ViewError>>()
                })
                .await?;
            known.extend(found.into_iter().filter_map(|(outcome, id)| Some((id, outcome?))));
            if known.len() == ids.len() || *stopping.borrow_and_update() {
                return Ok(known);
            }
            let change = async {
                tokio::select! {
                    changed = applied.changed() => changed.is_ok(),
                    _ = stopping.changed() => true,
                }
            };
            if !matches!(timeout_at(until, change).await, Ok(true)) {
                return Ok(known);
            }
        }
    }
}

/// Runs what may block on a thread for that.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::fault(&error))
}
