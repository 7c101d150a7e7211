//! The views as their callers see them: opened, filled, asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use faultline_model::topic::{self, Topic};

use crate::apply::{self, Applied, ViewRecord};
use crate::connections::{Connections, Reader};
use crate::error::ViewError;
use crate::options::Options;
use crate::schema;

/// The topics that the views are made of.
pub const TOPICS: [Topic; 7] =
    [topic::CATALOG, topic::TRACKED, topic::RISKS, topic::RISK_REGISTRY, topic::NOTICES, topic::DELIVERIES, topic::OUTCOMES];

/// The next offset to read of each topic and partition.
pub type Positions = BTreeMap<(String, u32), u64>;

/// A batch that is smaller than this is not part of a first fill: its end makes the lists' indexes.
const FILL_RECORDS: usize = 4096;

type Listener = Box<dyn Fn() + Send + Sync>;

/// A projection of the topics into SQL.
pub struct Views {
    pub(crate) connections: Connections,
    pub(crate) options: Options,
    /// A new file is filled without the indexes of its lists.
    is_filling: AtomicBool,
    listeners: RwLock<Vec<Listener>>,
}

impl Views {
    /// Opens the file, which is made if there is none; one of another schema version is thrown away and is to be filled again.
    pub fn open(path: &Path, options: Options) -> Result<Self, ViewError> {
        let (connections, _) = Connections::open(path, &options)?;
        Ok(Self::over(connections, options))
    }

    /// Views that go with the process.
    pub fn in_memory() -> Result<Self, ViewError> {
        Self::in_memory_with(Options::default())
    }

    /// As [`Self::in_memory`], with other settings than the default.
    pub fn in_memory_with(options: Options) -> Result<Self, ViewError> {
        Ok(Self::over(Connections::in_memory()?, options))
    }

    fn over(connections: Connections, options: Options) -> Self {
        // A file whose fill was stopped has no indexes either; those that exist are left alone.
        Self { connections, options, is_filling: AtomicBool::new(true), listeners: RwLock::default() }
    }

    /// Where to read on. An offset above the log's end means that the log lost what was never durable: call [`Self::clear`].
    pub fn positions(&self) -> Result<Positions, ViewError> {
        apply::positions(&*self.connections.reader()?)
    }

    /// Applies records, in offset order a partition, in one transaction with the positions behind them. A record below its position
    /// was applied before and is passed over. Large batches are faster: tens of thousands while filling, whatever there is afterwards.
    pub fn apply(&self, batch: &[ViewRecord<'_>]) -> Result<Applied, ViewError> {
        let applied = apply::apply(&mut self.connections.writer(), &self.options, batch)?;
        if batch.len() < FILL_RECORDS {
            self.ensure_lists()?;
        }
        for listener in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener();
        }
        Ok(applied)
    }

    /// Is called after each batch, from the thread that applies; it must not wait.
    pub fn after_apply(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Forgets everything, positions included: the topics fill it again.
    pub fn clear(&self) -> Result<(), ViewError> {
        let mut writer = self.connections.writer();
        writer.words.forget();
        let transaction = writer.connection.transaction()?;
        schema::drop_all(&transaction)?;
        transaction.execute_batch(schema::TABLES)?;
        transaction.commit()?;
        self.is_filling.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the lists fast once a first fill is over. Asking a list or applying a small batch does the same.
    pub fn ensure_lists(&self) -> Result<(), ViewError> {
        if self.is_filling.load(Ordering::Acquire) {
            schema::create_indexes(&mut self.connections.writer().connection)?;
            self.is_filling.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// A connection to ask with, over complete lists.
    pub(crate) fn reader(&self) -> Result<Reader<'_>, ViewError> {
        self.ensure_lists()?;
        self.connections.reader()
    }
}
