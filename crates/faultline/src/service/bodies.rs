//! Bodies of risks and findings for the views, out of the log: it has the newest value of each key anyway.

use std::error::Error;
use std::sync::Arc;

use faultline_model::topic::Topic;
use faultline_stream::Log;
use faultline_views::BodySource;

pub struct LogBodies {
    log: Arc<dyn Log>,
}

impl LogBodies {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log }
    }
}

impl BodySource for LogBodies {
    fn newest(&self, topic: &'static str, key: &str) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let Some(topic) = Topic::named(topic) else { return Ok(None) };
        let partition = topic.partition_of(key, self.log.partitions(topic.name)?);
        Ok(self.log.latest(topic.name, partition, key.as_bytes())?.and_then(|stored| stored.value))
    }
}
