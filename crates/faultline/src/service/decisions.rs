//! The doors for decisions and for steps on exceptions.

use std::sync::Arc;

use faultline_model::avro;
use faultline_model::decision::Decision;
use faultline_model::exception::StepRecord;
use faultline_model::topic::{DECISIONS, STEPS};
use faultline_server::doors::{Clock, Decisions, DoorError, Steps, SystemClock};
use faultline_stream::{Log, append};

pub struct DecisionDoor {
    log: Arc<dyn Log>,
}

impl DecisionDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }
}

impl Steps for DecisionDoor {
    fn append(&self, step: StepRecord) -> Result<(), DoorError> {
        let key = step.subject.to_string();
        let value = avro::encode(step).map_err(|error| DoorError::Fault(Box::new(error)))?;
        append(&*self.log, STEPS, vec![(key, Some(value))], SystemClock.now(), &[]).map_err(|error| DoorError::Fault(Box::new(error)))?;
        Ok(())
    }
}

impl Decisions for DecisionDoor {
    fn append(&self, decisions: Vec<Decision>) -> Result<(), DoorError> {
        let record = |decision: Decision| Ok((decision.asset.to_string(), Some(avro::encode(decision)?)));
        let records = decisions.into_iter().map(record).collect::<Result<Vec<_>, avro::AvroError>>();
        let records = records.map_err(|error| DoorError::Fault(Box::new(error)))?;
        append(&*self.log, DECISIONS, records, SystemClock.now(), &[]).map_err(|error| DoorError::Fault(Box::new(error)))?;
        Ok(())
    }
}
