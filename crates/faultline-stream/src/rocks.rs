//! How RocksDB is set up: four column families under one memory budget.
//!
//! Traps avoided here (OPERATIONS 3): index and filter blocks are in the cache, not beside it; memtables are counted against it and
//! bounded; open files, logs and the WAL are bounded; iterators always have an upper bound (in `embedded.rs`).

use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, ErrorKind};
use rocksdb::{ReadOptions, WriteBufferManager};

use crate::error::HostError;
use crate::layout::{self, FORMAT, FORMAT_ROW, PARTITIONS_ROW};

/// topic, partition, offset → record.
pub(crate) const LOG: &str = "log";
/// topic, partition, key → offset of the newest record; for compacted topics.
pub(crate) const LATEST: &str = "latest";
/// task, key → value.
pub(crate) const STATE: &str = "state";
/// Format, partition count, ends and starts of partitions, positions of tasks.
pub(crate) const META: &str = "meta";
const FAMILIES: [&str; 4] = [LOG, LATEST, STATE, META];

const MAX_OPEN_FILES: i32 = 512;
const MIN_MEMTABLE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For blocks, indexes and filters of all column families. Memory in all is about this plus `write_buffer_bytes`.
    pub block_cache_bytes: usize,
    /// For what is not yet in tables. At least 8 MiB are taken: two memtables of 1 MiB for each of four families.
    pub write_buffer_bytes: usize,
    /// Of every topic. It is fixed when the folder is made.
    pub partitions: u32,
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<DB, HostError> {
    std::fs::create_dir_all(path).map_err(|source| HostError::Folder { path: path.to_owned(), source })?;
    let cannot = |source: rocksdb::Error| {
        let path = path.to_owned();
        if is_lock(&source) { HostError::InUse { path, source } } else { HostError::Open { path, source } }
    };
    let settings = settings(options);
    let mut families: Vec<String> = FAMILIES.map(str::to_owned).to_vec();
    if path.join("CURRENT").exists() {
        // A newer format may have families that we do not know; they must be opened to read which format it is.
        let there = DB::list_cf(&settings, path).map_err(cannot)?;
        families.extend(there.into_iter().filter(|name| !FAMILIES.contains(&name.as_str())));
    }
    let families = families.into_iter().map(|name| ColumnFamilyDescriptor::new(name, settings.clone()));
    let db = DB::open_cf_descriptors(&settings, path, families).map_err(cannot)?;
    agree(&db, path, options.partitions)?;
    Ok(db)
}

/// RocksDB has no error kind for it; a process that holds the lock itself is told in other words than a second process.
fn is_lock(error: &rocksdb::Error) -> bool {
    let text = error.as_ref();
    error.kind() == ErrorKind::IOError && text.contains("LOCK") && text.contains("lock ")
}

fn settings(options: &Options) -> rocksdb::Options {
    let write_buffer_bytes = options.write_buffer_bytes.max(MIN_MEMTABLE_BYTES * 2 * FAMILIES.len());
    let cache = Cache::new_lru_cache(options.block_cache_bytes + write_buffer_bytes);
    // Memtables are charged to the cache: one number bounds both. Its stalls are off: two memtables a family are the bound below,
    // and what goes over it is at most the batch being written.
    let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(write_buffer_bytes, false, cache.clone());

    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);

    let mut settings = rocksdb::Options::default();
    settings.create_if_missing(true);
    settings.create_missing_column_families(true);
    settings.set_block_based_table_factory(&blocks);
    settings.set_compression_type(DBCompressionType::Lz4);
    settings.set_write_buffer_manager(&buffers);
    settings.set_write_buffer_size(write_buffer_bytes / (2 * FAMILIES.len()));
    settings.set_max_write_buffer_number(2);
    settings.set_max_total_wal_size(4 * write_buffer_bytes as u64);
    settings.set_max_open_files(MAX_OPEN_FILES);
    settings.set_keep_log_file_num(4);
    settings.set_max_log_file_size(4 << 20);
    // A torn end of the WAL is cut; what is before it is a prefix of the writes. With several families RocksDB syncs closed
    // WALs before it installs a flushed table, so no table is ahead of the WAL that the other families recover from.
    settings.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    settings
}

/// The folder's format and partition count, written when it is made, compared ever after.
fn agree(db: &DB, path: &Path, asked: u32) -> Result<(), HostError> {
    let meta = family(db, META);
    let row = |name: &[u8]| -> Result<Option<u32>, HostError> {
        let Some(value) = db.get_cf(meta, name).map_err(|source| HostError::Read { source })? else { return Ok(None) };
        let value = value.try_into().map_err(|_| layout::corrupt("the format or partition row", "it is no number of 4 bytes"))?;
        Ok(Some(u32::from_be_bytes(value)))
    };
    match row(FORMAT_ROW)? {
        Some(found) if found > FORMAT => return Err(HostError::NewerFormat { path: path.to_owned(), found, known: FORMAT }),
        Some(_) => {}
        None => {
            let mut first = db.raw_iterator_cf_opt(meta, ReadOptions::default());
            first.seek_to_first();
            first.status().map_err(|source| HostError::Read { source })?;
            if first.valid() {
                return Err(layout::corrupt("the format row", "it is missing in a folder that has been used"));
            }
            let mut batch = rocksdb::WriteBatch::default();
            batch.put_cf(meta, FORMAT_ROW, FORMAT.to_be_bytes());
            batch.put_cf(meta, PARTITIONS_ROW, asked.to_be_bytes());
            let mut durable = rocksdb::WriteOptions::default();
            durable.set_sync(true);
            db.write_opt(batch, &durable).map_err(|source| HostError::Write { source })?;
        }
    }
    match row(PARTITIONS_ROW)? {
        Some(found) if found == asked => Ok(()),
        Some(found) => Err(HostError::Partitions { path: path.to_owned(), found, asked }),
        None => Err(layout::corrupt("the partition row", "it is missing")),
    }
}

pub(crate) fn family<'d>(db: &'d DB, name: &str) -> &'d ColumnFamily {
    db.cf_handle(name).expect("all families were opened or made at open")
}
