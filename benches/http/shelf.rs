//! Where a baseline keeps its rows: in memory, or in a bare RocksDB with the durability, the cache and the options of
//! Lethe's own data store.

use std::{
    collections::BTreeMap,
    num::NonZero,
    path::Path,
    sync::{Arc, PoisonError, RwLock, mpsc},
};

use bytes::Bytes;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, Env, ErrorKind, LogLevel, Options, ReadOptions,
    ReadTier, WriteBatch, WriteOptions,
};
use tokio::sync::oneshot;

use crate::pace::{Pace, Way};

/// A key and its value.
pub(crate) type Row = (String, Bytes);

/// As the store's own: `embedded/group.rs`, `embedded/options.rs`, `config.rs`.
const GROUP_COMMITS: usize = 1_024;
const GROUP_BYTES: usize = 8 * 1024 * 1024;
const QUEUE_LEN: usize = 4_096;
const MEMTABLE_BYTES: usize = 32 * 1024 * 1024;
const HERE_ATTEMPTS: usize = 3;
const BLOCK_CACHE_BYTES: usize = 128 * 1024 * 1024;

/// A store of rows.
#[derive(Clone)]
pub(crate) enum Shelf {
    Memory(Arc<RwLock<BTreeMap<String, Bytes>>>),
    Rocks(Arc<Rocks>),
}

/// The database, and the way to its committer.
pub(crate) struct Rocks {
    db: Arc<DB>,
    queue: mpsc::SyncSender<Commit>,
    /// For reads from memory alone; made once.
    memory: ReadOptions,
    disk: ReadOptions,
    pace: Pace,
}

/// Rows on their way to the committer.
pub(crate) struct Commit {
    rows: Vec<Row>,
    sync: bool,
    done: oneshot::Sender<()>,
}

impl Rocks {
    fn get_here(&self, key: &str) -> Option<Bytes> {
        let begun = crate::now();
        let value = self.db.get_pinned_opt(key, &self.disk).expect("readable");
        self.pace.took(crate::now().saturating_sub(begun));
        value.map(|value| Bytes::copy_from_slice(&value))
    }
}

impl Shelf {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(crate) fn rocks(dir: &Path) -> Self {
        let db = Arc::new(DB::open(&options(), dir).expect("a database where nothing else is"));
        let (queue, waiting) = mpsc::sync_channel(QUEUE_LEN);
        let committed = Arc::clone(&db);
        drop(std::thread::spawn(move || commit_all(&committed, &waiting)));
        let mut memory = ReadOptions::default();
        memory.set_read_tier(ReadTier::BlockCache);
        // The runtime of a baseline has a thread for each processor, as Lethe's has by default.
        let pace = Pace::new(std::thread::available_parallelism().map_or(1, NonZero::get));
        Self::Rocks(Arc::new(Rocks { db, queue, memory, disk: ReadOptions::default(), pace }))
    }

    /// From the block cache at once, else as Lethe's engine does it; parts of large values do not stay in the cache.
    pub(crate) async fn get(&self, key: &str, is_part: bool) -> Option<Bytes> {
        match self {
            Self::Memory(rows) => rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned(),
            Self::Rocks(rocks) => match rocks.db.get_pinned_opt(key, &rocks.memory) {
                Ok(value) => value.map(|value| Bytes::copy_from_slice(&value)),
                Err(error) if error.kind() == ErrorKind::Incomplete => {
                    for _ in 0..if is_part { 0 } else { HERE_ATTEMPTS } {
                        match rocks.pace.way() {
                            Way::Here(_leave) => return rocks.get_here(key),
                            Way::Soon => tokio::task::yield_now().await,
                            Way::Pool => break,
                        }
                    }
                    let (rocks, key) = (Arc::clone(rocks), key.to_owned());
                    let read = move || {
                        let mut how = ReadOptions::default();
                        how.fill_cache(!is_part);
                        let begun = crate::now();
                        let value = rocks.db.get_opt(key, &how);
                        rocks.pace.took(crate::now().saturating_sub(begun));
                        value
                    };
                    #[expect(clippy::disallowed_methods, reason = "a baseline needs no queue of its own")]
                    let read = tokio::task::spawn_blocking(read);
                    read.await.expect("a read does not panic").expect("readable").map(Bytes::from)
                }
                Err(error) => panic!("a read failed: {error}"),
            },
        }
    }

    /// Stores rows together; with `sync` they are on disk when this returns. False if too many wait.
    pub(crate) async fn put(&self, rows: Vec<Row>, sync: bool) -> bool {
        match self {
            Self::Memory(stored) => {
                stored.write().unwrap_or_else(PoisonError::into_inner).extend(rows);
                true
            }
            Self::Rocks(rocks) => {
                let (done, wait) = oneshot::channel();
                rocks.queue.try_send(Commit { rows, sync, done }).is_ok() && wait.await.is_ok()
            }
        }
    }

    /// The first `limit` rows whose keys begin with `prefix`.
    pub(crate) fn list(&self, prefix: &str, limit: usize) -> Vec<Row> {
        match self {
            Self::Memory(rows) => {
                let rows = rows.read().unwrap_or_else(PoisonError::into_inner);
                let from = rows.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
                from.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            Self::Rocks(rocks) => {
                let rows = rocks.db.iterator(rocksdb::IteratorMode::From(prefix.as_bytes(), rocksdb::Direction::Forward));
                let rows = rows.map_while(Result::ok).take_while(|(key, _)| key.starts_with(prefix.as_bytes())).take(limit);
                rows.map(|(key, value)| (String::from_utf8_lossy(&key).into_owned(), Bytes::from(value.into_vec()))).collect()
            }
        }
    }
}

/// One group after the other: what waits, in one batch and one sync.
fn commit_all(db: &DB, waiting: &mpsc::Receiver<Commit>) {
    while let Ok(first) = waiting.recv() {
        let (mut batch, mut answers, mut sync) = (WriteBatch::default(), Vec::new(), false);
        let mut next = Some(first);
        while let Some(Commit { rows, sync: wants_sync, done }) = next {
            for (key, value) in &rows {
                batch.put(key, value);
            }
            answers.push(done);
            sync |= wants_sync;
            let full = answers.len() >= GROUP_COMMITS || batch.size_in_bytes() >= GROUP_BYTES;
            next = if full { None } else { waiting.try_recv().ok() };
        }
        let mut how = WriteOptions::default();
        how.set_sync(sync);
        db.write_opt(batch, &how).expect("written");
        for done in answers {
            // Who asked may be gone.
            let _ = done.send(());
        }
    }
}

/// Those of `embedded/database.rs`.
fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table.set_block_size(16 * 1024);
    table.set_format_version(6);
    table.set_bloom_filter(10.0, false);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(4 * 1024);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut env = Env::new().expect("the engine's environment");
    env.lower_thread_pool_cpu_priority();
    let mut db = Options::default();
    db.set_env(&env);
    db.create_if_missing(true);
    db.set_block_based_table_factory(&table);
    db.set_paranoid_checks(true);
    db.set_recycle_log_file_num(0);
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_track_and_verify_wals_in_manifest(true);
    db.set_db_write_buffer_size(MEMTABLE_BYTES);
    db.set_write_buffer_size(MEMTABLE_BYTES);
    db.set_max_total_wal_size(2 * MEMTABLE_BYTES as u64);
    db.set_max_open_files(-1);
    db.set_max_background_jobs(2);
    db.set_bytes_per_sync(1024 * 1024);
    db.set_log_level(LogLevel::Warn);
    db.set_compression_type(DBCompressionType::None);
    db.set_bottommost_compression_type(DBCompressionType::None);
    db.set_level_compaction_dynamic_level_bytes(true);
    db.set_memtable_prefix_bloom_ratio(0.015);
    db.set_memtable_whole_key_filtering(true);
    db
}
