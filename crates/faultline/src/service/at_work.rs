//! The stages that work in this process, whichever host they run on.

use std::sync::Arc;

use faultline_core::act::Act;
use faultline_core::correlate::Correlate;
use faultline_core::stage::Stage;
use faultline_core::track::Track;
use faultline_model::topic::FINDINGS_BULK;
use faultline_stream::{Failure, HostError, KafkaLog, KafkaRunning, Log, Running, TaskId, TaskState, TaskStatus};

/// What works.
pub enum AtWork {
    Embedded(Running),
    /// On Kafka other processes may work as well; this one may have no stages at all.
    Kafka {
        log: Arc<KafkaLog>,
        running: Option<KafkaRunning>,
    },
}

/// A stage, with the topics that it reads by key. Not audit: what people see waits for none of it, and no process may have that role.
type Reads = (&'static str, &'static [faultline_model::topic::Topic]);
const STAGES: [Reads; 3] = [(Track::NAME, Track::INPUTS), (Correlate::NAME, Correlate::INPUTS), (Act::NAME, Act::INPUTS)];

impl AtWork {
    pub fn running(&self) -> Option<&Running> {
        match self {
            Self::Embedded(running) => Some(running),
            Self::Kafka { running, .. } => running.as_ref().and_then(KafkaRunning::running),
        }
    }

    pub fn status(&self) -> Vec<TaskStatus> {
        self.running().map(Running::status).unwrap_or_default()
    }

    pub fn failures(&self) -> Vec<Failure> {
        self.running().map(Running::failures).unwrap_or_default()
    }

    /// Records that stages have not read, wherever they work, and whether other work is known to be pending.
    pub fn backlog(&self) -> Result<(u64, bool), HostError> {
        let status = self.status();
        let is_pending = status.iter().any(|task| task.has_pending);
        let Self::Kafka { log, .. } = self else { return Ok((status.iter().map(TaskStatus::lag).sum(), is_pending)) };
        let is_global = |topic: &str| log.topics().iter().any(|plan| plan.name == topic && plan.is_global);
        // Of global topics only this process's own tasks are known.
        let inputs = status.iter().flat_map(|task| &task.inputs).filter(|input| is_global(input.topic));
        let mut waiting: u64 = inputs.map(|input| input.end.saturating_sub(input.position)).sum();
        for (stage, topics) in STAGES {
            for topic in topics {
                for (partition, position) in log.positions_of_group(stage, topic.name)?.into_iter().enumerate() {
                    waiting += log.waiting(topic.name, partition as u32, position)?;
                }
            }
        }
        Ok((waiting, is_pending))
    }

    /// Records that track has not read of the bulk lane, wherever it works.
    pub fn bulk(&self) -> Result<u64, HostError> {
        let Self::Kafka { log, .. } = self else {
            let status = self.status();
            let inputs = status.iter().flat_map(|task| &task.inputs).filter(|input| input.topic == FINDINGS_BULK.name);
            return Ok(inputs.map(|input| input.end.saturating_sub(input.position)).sum());
        };
        let positions = log.positions_of_group(Track::NAME, FINDINGS_BULK.name)?;
        let waiting = |(partition, position)| log.waiting(FINDINGS_BULK.name, partition as u32, position);
        positions.into_iter().enumerate().map(waiting).sum()
    }

    /// How many records of a place somebody at this position has not read.
    pub fn waiting(&self, log: &dyn Log, topic: &str, partition: u32, position: u64) -> Result<u64, HostError> {
        match self {
            Self::Embedded(_) => Ok(log.end_offset(topic, partition)?.saturating_sub(position)),
            Self::Kafka { log, .. } => log.waiting(topic, partition, position),
        }
    }

    /// Why this process does not do its whole part, in words.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Self::Kafka { log, .. } = self
            && let Err(error) = log.is_of_now()
        {
            reasons.push(format!("This process is of yesterday: {error}."));
        }
        if let Self::Kafka { running: Some(running), .. } = self {
            reasons.extend(running.ends().into_iter().map(|end| format!("This process works no more for a stage: {end}.")));
            reasons.extend(running.joining().into_iter().map(|stage| format!("Group {stage} has not yet said which tasks are here.")));
        }
        reasons.extend(self.status().into_iter().filter_map(|task| reason(task.task, task.state)));
        reasons
    }

    pub fn stop(self) -> Result<(), HostError> {
        match self {
            Self::Embedded(running) => running.stop(),
            Self::Kafka { running, .. } => running.map_or(Ok(()), KafkaRunning::stop),
        }
    }
}

/// Why a task does not do its part, in words.
fn reason(task: TaskId, state: TaskState) -> Option<String> {
    match state {
        TaskState::Running => None,
        TaskState::Restoring { restored, of } => {
            // How many there are is an estimate: it is done when it is at work.
            let percent = (restored * 100).checked_div(of).unwrap_or(0).min(99);
            Some(format!("Task {task} is being restored: {percent} % of about {of} records."))
        }
        TaskState::Failed { reason } => Some(format!("Task {task} stopped: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_is_restored_says_how_far_it_is() {
        let told = |restored, of| reason(TaskId { stage: "track", partition: 3 }, TaskState::Restoring { restored, of });
        for (restored, of, percent) in [(0, 0, 0), (0, 200, 0), (50, 200, 25), (199, 200, 99), (200, 200, 99), (300, 200, 99)] {
            let expected = format!("Task track/3 is being restored: {percent} % of about {of} records.");
            assert_eq!(told(restored, of), Some(expected), "{restored} of {of}");
        }
        assert_eq!(reason(TaskId { stage: "track", partition: 3 }, TaskState::Running), None);
    }
}
