//! How the host is, for `/readyz`, `/metrics` and `/v1/backlog`.

use std::sync::Arc;
use std::time::Duration;

use faultline_server::doors::{Backlog, DoorError, Pulse};
use faultline_stream::TaskState;

use super::watch::Watch;

pub struct HostPulse {
    watch: Arc<Watch>,
}

impl HostPulse {
    pub fn new(watch: Arc<Watch>) -> Self {
        Self { watch }
    }
}

impl Pulse for HostPulse {
    fn ready(&self) -> Result<(), Vec<String>> {
        let failed = self.watch.running.status().into_iter().filter_map(|task| match task.state {
            TaskState::Running => None,
            TaskState::Failed { reason } => Some(format!("task {} stopped: {reason}", task.task)),
        });
        let reasons: Vec<String> = failed.collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn metrics(&self) -> String {
        faultline_stream::text(&self.watch.running.telemetry().families())
    }

    fn backlog(&self, wait: Duration) -> Result<Backlog, DoorError> {
        let (quiet, records) = self.watch.wait_until_quiet(Some(wait), &mut |_| ()).map_err(|error| DoorError::Fault(Box::new(error)))?;
        Ok(Backlog { records, quiet })
    }
}
