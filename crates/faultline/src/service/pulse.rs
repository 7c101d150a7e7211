//! How the host is, for `/readyz`, `/metrics` and `/v1/backlog`.

use std::sync::Arc;
use std::time::Duration;

use faultline_server::doors::{Backlog, DoorError, Pulse};
use faultline_sinks::webhook::Postman;
use faultline_stream::MemoryBudget;

use super::quota::Quotas;
use super::watch::Watch;

pub struct HostPulse {
    watch: Arc<Watch>,
    quotas: Arc<Quotas>,
    budget: MemoryBudget,
    postman: Option<Arc<Postman>>,
}

impl HostPulse {
    pub fn new(watch: Arc<Watch>, quotas: Arc<Quotas>, budget: MemoryBudget, postman: Option<Arc<Postman>>) -> Self {
        Self { watch, quotas, budget, postman }
    }
}

impl Pulse for HostPulse {
    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.watch.reasons();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn metrics(&self) -> String {
        let mut families = match self.watch.at_work.running() {
            Some(running) => running.telemetry().families(),
            None => faultline_stream::gauges(&*self.watch.log),
        };
        families.extend(self.quotas.families());
        families.extend(self.postman.iter().flat_map(|postman| super::told::families(&postman.standings())));
        families.extend(super::memory::families(self.budget));
        faultline_stream::text(&families)
    }

    fn backlog(&self, wait: Duration) -> Result<Backlog, DoorError> {
        let fault = |error| DoorError::Fault(Box::new(error));
        let (quiet, records) = self.watch.wait_until_quiet(Some(wait), &mut |_| ()).map_err(fault)?;
        let bulk = if quiet { 0 } else { self.watch.bulk().map_err(fault)? };
        Ok(Backlog { records, bulk, quiet })
    }
}
