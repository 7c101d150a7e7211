//! The door for what people did elsewhere than in a decision.

use std::sync::Arc;

use faultline_model::audit::Act;
use faultline_model::avro;
use faultline_model::topic::ACTS;
use faultline_server::doors::{Acts, DoorError};
use faultline_stream::{Log, append};

pub struct ActDoor {
    log: Arc<dyn Log>,
}

impl ActDoor {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }
}

impl Acts for ActDoor {
    fn append(&self, act: Act) -> Result<(), DoorError> {
        let (actor, at) = (act.actor.clone(), act.at);
        let value = avro::encode(act).map_err(|error| DoorError::Fault(Box::new(error)))?;
        append(&*self.log, ACTS, vec![(actor, Some(value))], at, &[]).map_err(|error| DoorError::Fault(Box::new(error)))?;
        Ok(())
    }
}
