//! How the host is, for `/readyz`, `/metrics` and `/v1/backlog`.

use std::sync::Arc;
use std::time::Duration;

use faultline_server::doors::{Backlog, DoorError, Pulse};

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
        let reasons = self.watch.reasons();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn metrics(&self) -> String {
        let families = match self.watch.at_work.running() {
            Some(running) => running.telemetry().families(),
            None => faultline_stream::gauges(&*self.watch.log),
        };
        faultline_stream::text(&families)
    }

    fn backlog(&self, wait: Duration) -> Result<Backlog, DoorError> {
        let (quiet, records) = self.watch.wait_until_quiet(Some(wait), &mut |_| ()).map_err(|error| DoorError::Fault(Box::new(error)))?;
        Ok(Backlog { records, quiet })
    }
}
