//! A host at work in the background: workers that step tasks, and a keeper of retention.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Failure, HostError};
use crate::host::{Host, failures, least_positions};
use crate::log::Log;
use crate::retain::{self, Readers};
use crate::sync::Stop;
use crate::telemetry::{TaskStatus, Telemetry};

/// A host that works. Dropping it stops it as well.
pub struct Running {
    host: Arc<Host>,
    stopping: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(host: Host, clock: Arc<dyn Clock>) -> Result<Self, HostError> {
        let mut running = Self { host: Arc::new(host), stopping: Arc::default(), threads: Vec::new() };
        for worker in 0..running.host.options.workers.max(1) {
            let (host, stopping, clock) = (running.host.clone(), running.stopping.clone(), clock.clone());
            running.spawn(format!("task-{worker}"), move || {
                let tick = host.options.tick;
                host.pool.until_stopped(&*host.log, &*clock, worker, tick, &stopping);
            })?;
        }
        let (host, stopping) = (running.host.clone(), running.stopping.clone());
        running.spawn("retention".to_owned(), move || keep(&host, &*clock, &stopping))?;
        Ok(running)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> Result<(), HostError> {
        self.threads.push(Builder::new().name(name).spawn(work).map_err(|source| HostError::Thread { source })?);
        Ok(())
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn host(&self) -> Arc<Host> {
        self.host.clone()
    }

    /// All tasks as they are now.
    pub fn status(&self) -> Vec<TaskStatus> {
        self.host.status()
    }

    /// Tasks that stopped.
    pub fn failures(&self) -> Vec<Failure> {
        self.host.failures()
    }

    pub fn telemetry(&self) -> Arc<Telemetry> {
        self.host.telemetry()
    }

    /// Where readers beside the tasks say how far they are.
    pub fn readers(&self) -> Arc<Readers> {
        self.host.readers()
    }

    pub fn log(&self) -> Arc<dyn Log> {
        self.host.log.clone()
    }

    /// Ends each batch that has begun, joins all threads, and tells what had stopped before.
    pub fn stop(mut self) -> Result<(), HostError> {
        self.join();
        match failures(&self.host.telemetry) {
            failures if failures.is_empty() => Ok(()),
            failures => Err(HostError::TasksFailed { failures }),
        }
    }

    fn join(&mut self) {
        self.stopping.tell();
        self.host.log.wake();
        for thread in self.threads.drain(..) {
            // A task's panic is caught where it is stepped and told as its failure.
            let _ = thread.join();
        }
        self.host.pool.rest();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

/// Drops what is too old, now and then. A failure here is the disk's: the tasks meet it too, and say so.
fn keep(host: &Host, clock: &dyn Clock, stopping: &Stop) {
    let mut pause = host.options.retain_interval;
    while !stopping.wait(pause) {
        let least = least_positions(&host.telemetry);
        // What no task reads is held by the readers beside them only.
        let least = |place| least.get(&place).copied().unwrap_or(u64::MAX);
        let has_more = retain::pass(&*host.log, clock.now(), &host.readers, &least).unwrap_or(false);
        pause = if has_more { Duration::ZERO } else { host.options.retain_interval };
    }
}
