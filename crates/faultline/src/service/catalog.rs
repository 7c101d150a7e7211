//! The door for the catalog: what is written is the difference from what is there, as one version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use faultline_core::catalog::{self, File, Organisation};
use faultline_core::tickets::{Plan, TicketPolicy, TooManyTickets, Units};
use faultline_model::avro::{self, AvroError};
use faultline_model::catalog::{CatalogRecord, HEAD_KEY, TICKETS_KEY};
use faultline_model::risk::Risk;
use faultline_model::topic::CATALOG;
use faultline_server::doors::{Catalog, CatalogApplied, Clock, DoorError, OwnerOf, SystemClock, TicketPlan};
use faultline_stream::{HostError, Log, append};
use serde_json::Value;

use super::table::table;

pub struct CatalogDoor {
    log: Arc<dyn Log>,
    /// One apply at a time: each is a difference from what the last one left.
    applying: Mutex<()>,
}

impl CatalogDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, applying: Mutex::default() }
    }

    fn current(&self) -> Result<BTreeMap<String, CatalogRecord>, DoorError> {
        table(&*self.log, CATALOG).map_err(|error| DoorError::Fault(Box::new(error)))
    }
}

impl Catalog for CatalogDoor {
    fn apply(&self, yaml: &str, actor: &str, dry_run: bool) -> Result<CatalogApplied, DoorError> {
        let file = File { name: "the catalog".into(), text: yaml.into() };
        let beside = |name: &str| {
            Err(format!("{name} stands beside the file; `faultline catalog apply` sends it along, other callers put its content inline"))
        };
        let desired = catalog::read(&[file], &beside).map_err(|error| DoorError::Refused(error.to_string()))?;
        let _applying = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current()?;
        let now = SystemClock.now();
        let plan = catalog::plan(&desired, &current, actor, now);
        let removed = plan.changes.iter().filter(|(_, record)| record.is_none()).count() as u64;
        // The head is no entity.
        let changed = plan.changes.iter().filter(|(key, record)| record.is_some() && key != HEAD_KEY).count() as u64;
        if !dry_run && !plan.changes.is_empty() {
            let value = |record: Option<CatalogRecord>| record.map(avro::encode).transpose();
            let records = plan.changes.into_iter().map(|(key, record)| Ok((key, value(record)?))).collect::<Result<Vec<_>, AvroError>>();
            let records = records.map_err(|error| DoorError::Fault(Box::new(error)))?;
            append(&*self.log, CATALOG, records, now, &[]).map_err(|error: HostError| DoorError::Fault(Box::new(error)))?;
        }
        Ok(CatalogApplied { version: plan.head.version, changed, removed, warnings: warnings(&desired) })
    }

    fn show(&self) -> Result<String, DoorError> {
        Ok(catalog::show(&self.current()?))
    }

    fn tickets(&self, policy: Option<&str>) -> Result<Box<dyn TicketPlan>, DoorError> {
        let current = self.current()?;
        let policy = match policy {
            Some(yaml) => {
                let mut units = Units::default();
                for record in current.values() {
                    match record {
                        CatalogRecord::Node(node) => _ = units.nodes.insert(&node.id),
                        CatalogRecord::Service(service) => _ = units.services.insert(&service.id),
                        _ => {}
                    }
                }
                TicketPolicy::alone("the policy", yaml, &units).map_err(|error| DoorError::Refused(error.to_string()))?
            }
            None => held(current.get(TICKETS_KEY))?,
        };
        let paths = current
            .into_values()
            .filter_map(|record| if let CatalogRecord::Service(service) = record { Some((service.id, service.path)) } else { None });
        Ok(Box::new(Planning { plan: Plan::new(policy), paths: paths.collect() }))
    }
}

/// The policy that holds.
fn held(record: Option<&CatalogRecord>) -> Result<TicketPolicy, DoorError> {
    let Some(CatalogRecord::Policy(text)) = record else {
        let how = "put `tickets` into the description and apply it, or name a file that has it";
        return Err(DoorError::NotFound(format!("the catalog has no ticket policy: {how}")));
    };
    TicketPolicy::of_yaml(&text.yaml).ok_or_else(|| DoorError::Refused("a newer version wrote the ticket policy that holds".into()))
}

/// A plan with the units above each service.
struct Planning {
    plan: Plan,
    paths: BTreeMap<String, Vec<String>>,
}

impl TicketPlan for Planning {
    fn add(&mut self, risk: Risk) -> Result<(), DoorError> {
        let nodes = self.paths.get(&risk.service).map_or(&[][..], Vec::as_slice);
        let too_many = |error: TooManyTickets| DoorError::Refused(format!("{error}: let its rules ask for a higher score"));
        self.plan.add(risk, nodes).map_err(too_many)
    }

    fn end(self: Box<Self>, owner: OwnerOf<'_>) -> Result<Value, DoorError> {
        let planned = self.plan.end(owner)?;
        serde_json::to_value(planned).map_err(|error| DoorError::Fault(Box::new(error)))
    }
}

/// What is allowed and probably not meant.
fn warnings(desired: &Organisation) -> Vec<String> {
    let services =
        desired.records.values().filter_map(|record| if let CatalogRecord::Service(service) = record { Some(service) } else { None });
    let owned: std::collections::BTreeSet<&str> = desired
        .records
        .values()
        .filter_map(|record| if let CatalogRecord::Places(places) = record { Some(places) } else { None })
        .flat_map(|places| places.rules.iter().map(|rule| rule.owner.as_str()))
        .collect();
    let mut warnings = desired.warnings.clone();
    for service in services {
        if !owned.contains(service.id.as_str()) {
            warnings.push(format!("service {} has no place: nothing will ever be found for it", service.id));
        }
        if service.owners.is_empty() {
            warnings.push(format!("service {} has no owners, nor has a unit above it", service.id));
        }
    }
    warnings
}
