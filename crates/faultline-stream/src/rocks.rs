//! How RocksDB is set up: four column families under one memory budget.
//!
//! Traps that others fell into and that are avoided here: index and filter blocks are in the cache, not beside it, and fit into its
//! shards; memtables are counted against it and bounded; open files, logs and the WAL are bounded; iterators end at their rows (in
//! `embedded/state.rs`).

use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompactionStyle, DBCompressionType, DBRecoveryMode};
use rocksdb::{
    ErrorKind, LruCacheOptions, ReadOptions, SliceTransform, UniversalCompactOptions, UniversalCompactionStopStyle, WriteBufferManager,
};

use crate::error::HostError;
use crate::layout::{self, FORMAT, FORMAT_ROW, PARTITIONS_ROW};
use crate::log::Gauge;
use crate::telemetry::Kind;
use crate::topics::MAX_RECORD_BYTES;

/// topic, partition, first offset → a chunk of records (`embedded/chunk.rs`).
pub(crate) const LOG: &str = "log";
/// topic, partition, key → offset of the newest record; for compacted topics.
pub(crate) const LATEST: &str = "latest";
/// task, key → value.
pub(crate) const STATE: &str = "state";
/// Format, partition count, ends and starts of partitions, superseded records, positions of tasks.
pub(crate) const META: &str = "meta";
const FAMILIES: [&str; 4] = [LOG, LATEST, STATE, META];

const MAX_OPEN_FILES: i32 = 512;
const MIN_MEMTABLE_BYTES: usize = 1 << 20;

/// Blocks and write buffers, at least: below, RocksDB would flush all the time.
const MIN_BUDGET_BYTES: usize = 16 << 20;
/// Rows that lie together are much alike (texts of one rule), so larger blocks are smaller on disk, and cheaper to write and merge.
const BLOCK_BYTES: usize = 16 << 10;
/// The filter of a table of small rows has several megabytes. By default a cache of this size has so many shards that it fits into
/// none: each look-up would read it from disk. A handful of threads does not contend for four.
const CACHE_SHARD_BITS: i32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For all that RocksDB holds in memory, whatever the size of the state: blocks, indexes and filters, and what is not yet in
    /// tables (half of it at most). At least 16 MiB are taken. Default 256 MiB.
    pub memory_budget_bytes: usize,
    /// Of every topic that is not global. It is fixed when the folder is made. Default 4.
    pub partitions: u32,
    /// The largest record that a door may append: key, value and headers. Default 1 MiB.
    pub max_record_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { memory_budget_bytes: 256 << 20, partitions: 4, max_record_bytes: MAX_RECORD_BYTES }
    }
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<DB, HostError> {
    std::fs::create_dir_all(path).map_err(|source| HostError::folder(path, source))?;
    let cannot = |source| refused(path, source);
    let budget = Budget::new(options);
    let settings = settings(&budget);
    let mut families: Vec<String> = FAMILIES.map(str::to_owned).to_vec();
    if path.join("CURRENT").exists() {
        // A newer format may have families that we do not know; they must be opened to read which format it is.
        let there = DB::list_cf(&settings, path).map_err(cannot)?;
        families.extend(there.into_iter().filter(|name| !FAMILIES.contains(&name.as_str())));
    }
    let families = families.into_iter().map(|name| {
        let tables = tables(&budget, &name);
        ColumnFamilyDescriptor::new(name, tables)
    });
    let db = DB::open_cf_descriptors(&settings, path, families).map_err(cannot)?;
    agree(&db, path, options.partitions)?;
    Ok(db)
}

/// Removes a folder with all that RocksDB keeps in it, unless somebody has it open.
#[cfg(feature = "kafka")]
pub(crate) fn remove(path: &Path) -> Result<(), HostError> {
    DB::destroy(&rocksdb::Options::default(), path).map_err(|source| refused(path, source))
}

fn refused(path: &Path, source: rocksdb::Error) -> HostError {
    if is_lock(&source) { HostError::InUse { path: path.to_owned(), source: source.into() } } else { HostError::open(path, source) }
}

/// RocksDB has no error kind for it; a process that holds the lock itself is told in other words than a second process.
fn is_lock(error: &rocksdb::Error) -> bool {
    let text = error.as_ref();
    error.kind() == ErrorKind::IOError && text.contains("LOCK") && text.contains("lock ")
}

/// One cache and one write-buffer manager for all families.
struct Budget {
    cache: Cache,
    buffers: WriteBufferManager,
    write_buffer_bytes: usize,
}

impl Budget {
    fn new(options: &Options) -> Self {
        let budget = options.memory_budget_bytes.max(MIN_BUDGET_BYTES);
        let write_buffer_bytes = budget / 2;
        let mut shards = LruCacheOptions::default();
        shards.set_capacity(budget);
        shards.set_num_shard_bits(CACHE_SHARD_BITS);
        let cache = Cache::new_lru_cache_opts(&shards);
        // Memtables are charged to the cache: one number bounds both. Its stalls are off: the sizes of memtables below are the
        // bound, and what goes over it is at most the batch being written.
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(write_buffer_bytes, false, cache.clone());
        Self { cache, buffers, write_buffer_bytes }
    }
}

fn settings(budget: &Budget) -> rocksdb::Options {
    let mut settings = rocksdb::Options::default();
    settings.create_if_missing(true);
    settings.create_missing_column_families(true);
    settings.set_write_buffer_manager(&budget.buffers);
    // A smaller bound would flush families that hold little, again and again; a larger one would make opening after a crash slow,
    // and is room on disk.
    settings.set_max_total_wal_size(budget.write_buffer_bytes as u64);
    settings.set_max_open_files(MAX_OPEN_FILES);
    settings.set_keep_log_file_num(4);
    settings.set_max_log_file_size(4 << 20);
    settings.set_max_background_jobs(3);
    // Spreads the writes of flushes and compactions, so that an fsync of a door does not wait for all of them.
    settings.set_bytes_per_sync(1 << 20);
    // A torn end of the WAL is cut; what is before it is a prefix of the writes. With several families RocksDB syncs closed
    // WALs before it installs a flushed table, so no table is ahead of the WAL that the other families recover from.
    settings.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    settings
}

/// How a family's tables are, with its share of the write buffers in sixteenths.
fn tables(budget: &Budget, family: &str) -> rocksdb::Options {
    let share = match family {
        // Its rows are scattered: what is written at once decides how often the level below is written again.
        STATE => 10,
        // Appended in order: merging it costs little.
        LOG => 2,
        LATEST => 3,
        _ => 1,
    };
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&budget.cache);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    let mut settings = rocksdb::Options::default();
    settings.set_block_based_table_factory(&blocks);
    if family == STATE {
        // Most scans of a group find nothing in tables: filters over groups say so without reading. A change of what a group is
        // takes another name here, so that filters of the old kind are not asked.
        let group = |key| layout::state_group(key).unwrap_or_default();
        settings.set_prefix_extractor(SliceTransform::create("faultline.group.1", group, Some(|key| layout::state_group(key).is_some())));
        settings.set_memtable_prefix_bloom_ratio(0.05);
        settings.set_memtable_whole_key_filtering(true);
    }
    // Rows of the log are compressed already.
    settings.set_compression_type(if family == LOG { DBCompressionType::None } else { DBCompressionType::Lz4 });
    // Most lies on the lowest level. Ids in hexadecimal text are what LZ4 cannot shorten; in the log it is for the chunks of small
    // commits, which have little to be compressed with.
    settings.set_bottommost_compression_type(DBCompressionType::Zstd);
    settings.set_bottommost_compression_options(-14, 1, 0, 0, true);
    if family == LOG {
        // Records are appended in the order of their keys: merging in tiers moves each a few times, where levels would rewrite
        // the end of every partition again and again.
        settings.set_compaction_style(DBCompactionStyle::Universal);
        let mut tiers = UniversalCompactOptions::default();
        // Only what is about as large: else each merge takes in the next larger one, and all of the log is written again and again.
        tiers.set_size_ratio(100);
        tiers.set_stop_style(UniversalCompactionStopStyle::Similar);
        settings.set_universal_compaction_options(&tiers);
    }
    // Tables of small memtables: merging more at once rewrites what lies below less often. The log is read in order, and asks few
    // filters.
    settings.set_level_zero_file_num_compaction_trigger(if family == LOG { 20 } else { 12 });
    // While one family's tables are merged, those of another may queue up: reads then ask a few more filters, which is no reason to
    // slow writers down.
    settings.set_level_zero_slowdown_writes_trigger(36);
    settings.set_level_zero_stop_writes_trigger(48);
    settings.set_write_buffer_manager(&budget.buffers);
    settings.set_max_write_buffer_number(2);
    settings.set_write_buffer_size((budget.write_buffer_bytes * share / 32).max(MIN_MEMTABLE_BYTES));
    // Superseded records and rows lie together: a file that is mostly deletions is compacted before a scan walks over them.
    settings.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
    settings
}

/// What RocksDB tells of itself.
pub(crate) fn gauges(db: &DB) -> Vec<Gauge> {
    const PER_FAMILY: [(&str, &str, &str); 3] = [
        ("faultline_rocksdb_live_bytes", "Bytes of tables that are in use.", "rocksdb.live-sst-files-size"),
        ("faultline_rocksdb_memtable_bytes", "Bytes that are not yet in tables.", "rocksdb.cur-size-all-mem-tables"),
        ("faultline_rocksdb_pending_compaction_bytes", "Bytes that wait to be compacted.", "rocksdb.estimate-pending-compaction-bytes"),
    ];
    let mut gauges = Vec::new();
    for (name, help, property) in PER_FAMILY {
        for label in FAMILIES {
            let value = db.property_int_value_cf(family(db, label), property).ok().flatten().unwrap_or(0);
            gauges.push(Gauge { name, help, kind: Kind::Gauge, label: Some(("family", label)), value });
        }
    }
    let cache = db.property_int_value_cf(family(db, STATE), "rocksdb.block-cache-usage").ok().flatten().unwrap_or(0);
    let help = "Bytes in the one block cache, memtables included.";
    gauges.push(Gauge { name: "faultline_rocksdb_block_cache_bytes", help, kind: Kind::Gauge, label: None, value: cache });
    gauges
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
        Some(found) if found < FORMAT => return Err(HostError::OlderFormat { path: path.to_owned(), found, known: FORMAT }),
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
            db.write_opt(batch, &durable).map_err(|source| HostError::write(path, source))?;
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
