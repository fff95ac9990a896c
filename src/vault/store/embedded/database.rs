//! One RocksDB database: its settings, reads, and the rows it keeps about itself.
//!
//! Each [`Space`] is a column family; the default one holds the database's own rows: format, store id, sequence
//! numbers. Values are ciphertext, so nothing is compressed. WAL files are never recycled, so a torn last record is
//! told from damage; damage is refused at open, and all table files are opened then.

use std::{io, path::Path};

use bytes::Bytes;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB,
    DBCompressionType, DBRawIterator, DBRecoveryMode, Env, ErrorKind, LogLevel, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions,
    checkpoint::Checkpoint,
};

use super::{
    super::{Database, Row, Space, StoreError, Write, schema::KeyRange},
    error::{OpenError, is_disk_full},
    options::EmbeddedOptions,
    spans::{last_before, spans},
};

const OWN: &str = "default";
/// Old versions of rows leave the files within this time, even where nothing is written.
const PERIODIC_COMPACTION_SECS: u64 = 7 * 24 * 3_600;
/// Rows that were deleted, or replaced, and that one step of an iterator over many ranges passes over.
const SKIPPED_MAX: u64 = 16;
const SPACES: [Space; 6] = [Space::Control, Space::ControlAudit, Space::Records, Space::Blobs, Space::Index, Space::DataAudit];

const fn family(space: Space) -> &'static str {
    match space {
        Space::Control => "control",
        Space::ControlAudit => "control-audit",
        Space::Records => "records",
        Space::Blobs => "blobs",
        Space::Index => "index",
        Space::DataAudit => "data-audit",
    }
}

/// What a read of the cache alone gave.
pub(super) enum Cached<T> {
    Hit(T),
    Miss,
}

/// An open database.
pub(super) struct Rocks {
    db: DB,
    which: Database,
    /// For reads from memory alone; made once, for it costs as much as the read.
    memory: ReadOptions,
    /// For reads that may wait for the disk, and for those of large values' rows.
    disk: ReadOptions,
    disk_once: ReadOptions,
}

impl Database {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }

    fn spaces(self) -> impl Iterator<Item = Space> {
        SPACES.into_iter().filter(move |space| space.database() == self)
    }
}

fn settings(which: Database, options: &EmbeddedOptions, create: bool) -> Options {
    let memtables = match which {
        Database::Control => options.memtable_bytes / 4,
        Database::Data => options.memtable_bytes,
    };
    let mut db = Options::default();
    db.create_if_missing(create);
    db.create_missing_column_families(create);
    db.set_error_if_exists(create);
    db.set_paranoid_checks(true);
    db.set_recycle_log_file_num(0);
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_track_and_verify_wals_in_manifest(true);
    db.set_db_write_buffer_size(memtables);
    db.set_max_total_wal_size(u64::try_from(memtables).unwrap_or(u64::MAX).saturating_mul(2));
    db.set_max_open_files(-1);
    db.set_max_background_jobs(2);
    db.set_bytes_per_sync(1024 * 1024);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(4 * 1024 * 1024);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db
}

fn family_settings(name: &str, options: &EmbeddedOptions, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 * 1024);
    table.set_format_version(6);
    table.set_bloom_filter(10.0, false);
    // In parts of a page: whole, those of a file of small rows have megabytes, and once they do not all fit into the cache each look would
    // read and check one of them.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(4 * 1024);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_compression_type(DBCompressionType::None);
    family.set_bottommost_compression_type(DBCompressionType::None);
    family.set_periodic_compaction_seconds(PERIODIC_COMPACTION_SECS);
    family.set_level_compaction_dynamic_level_bytes(true);
    // Most looks are for rows that are not there, above all in what was written last.
    family.set_memtable_prefix_bloom_ratio(0.015);
    family.set_memtable_whole_key_filtering(true);
    // Rows of large values come in a stream: while one part of it is written to a file the next one fills up, so both are in memory.
    let of_blobs = name == self::family(Space::Blobs);
    family.set_write_buffer_size(if of_blobs { options.memtable_bytes / 4 } else { options.memtable_bytes });
    family
}

/// Reads that do not wait for the disk.
fn from_memory() -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_read_tier(ReadTier::BlockCache);
    read
}

/// Reads that may. Rows of large values go by once: kept, they would drive all else out of the cache, gigabyte by gigabyte.
fn from_disk(space: Space) -> ReadOptions {
    let mut read = ReadOptions::default();
    read.fill_cache(space != Space::Blobs);
    read
}

impl Rocks {
    /// Opens a database, or makes it. All its table files are opened and its WAL is read.
    pub(super) fn open(path: &Path, which: Database, options: &EmbeddedOptions, cache: &Cache, create: bool) -> Result<Self, OpenError> {
        let damaged = |detail| OpenError::Damaged { database: which.name(), detail };
        // RocksDB would leave an empty directory behind.
        if !create && !path.join("CURRENT").exists() {
            let is_empty = std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
            return Err(if is_empty {
                OpenError::DatabaseMissing { database: which.name(), path: path.to_owned() }
            } else {
                damaged(format!("{} is missing", path.join("CURRENT").display()))
            });
        }
        let refused = |error: rocksdb::Error| {
            let text = error.into_string();
            if is_disk_full(&text) { OpenError::DiskFull(path.display().to_string()) } else { damaged(text) }
        };
        let mut settings = settings(which, options, create);
        // Requests have the processors first; files are merged with what is left, and where that is too little the engine makes writes wait.
        let mut env = Env::new().map_err(refused)?;
        env.lower_thread_pool_cpu_priority();
        settings.set_env(&env);
        let families = [OWN].into_iter().chain(which.spaces().map(family));
        let families = families.map(|name| ColumnFamilyDescriptor::new(name, family_settings(name, options, cache)));
        let db = DB::open_cf_descriptors(&settings, path, families).map_err(refused)?;
        Ok(Self { db, which, memory: from_memory(), disk: from_disk(Space::Records), disk_once: from_disk(Space::Blobs) })
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| StoreError::Damaged(format!("{}: no column family {name}", self.which.name())))
    }

    fn failed(&self, error: rocksdb::Error) -> StoreError {
        let kind = error.kind();
        let text = format!("{}: {}", self.which.name(), error.into_string());
        if kind == ErrorKind::Corruption { StoreError::Damaged(text) } else { StoreError::Io(text) }
    }

    /// Reads a row from memory alone.
    pub(super) fn get_cached(&self, space: Space, key: &[u8]) -> Result<Cached<Option<Bytes>>, StoreError> {
        match self.db.get_pinned_cf_opt(self.family(family(space))?, key, &self.memory) {
            Ok(value) => Ok(Cached::Hit(value.map(|value| Bytes::copy_from_slice(&value)))),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Cached::Miss),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads rows of one space from memory alone, in the order of `keys`, one by one: the engine's own look-up of several, told to
    /// stay in memory, gives an empty value for a row that it would have to look for in a file.
    pub(super) fn get_many_cached(&self, space: Space, keys: &[Bytes]) -> Result<Vec<Cached<Option<Bytes>>>, StoreError> {
        keys.iter().map(|key| self.get_cached(space, key)).collect()
    }

    /// Reads a row; may wait for the disk.
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.judge(space, key, |value| value.map(Bytes::copy_from_slice))
    }

    /// Hands a row's value to `judge` without copying it; may wait for the disk.
    pub(super) fn judge<T>(&self, space: Space, key: &[u8], judge: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError> {
        let how = if space == Space::Blobs { &self.disk_once } else { &self.disk };
        let value = self.db.get_pinned_cf_opt(self.family(family(space))?, key, how).map_err(|error| self.failed(error))?;
        Ok(judge(value.as_deref()))
    }

    fn iterator(&self, space: Space, from: &[u8], to: &[u8], mut read: ReadOptions) -> Result<DBRawIterator<'_>, StoreError> {
        read.set_iterate_upper_bound(to);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family(space))?, read);
        rows.seek(from);
        Ok(rows)
    }

    fn collect(rows: &mut DBRawIterator<'_>, limit: usize) -> Result<Vec<Row>, rocksdb::Error> {
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((key, value)) = rows.item() else { break };
            found.push(Row { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) });
            rows.next();
        }
        rows.status().map(|()| found)
    }

    /// Reads a range from memory alone.
    pub(super) fn scan_cached(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Cached<Vec<Row>>, StoreError> {
        match Self::collect(&mut self.iterator(space, from, to, from_memory())?, limit) {
            Ok(rows) => Ok(Cached::Hit(rows)),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Cached::Miss),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads ranges of one space from memory alone, in the order of `ranges`, with one iterator: making one for each costs, too.
    /// What lies behind a range is not part of it, but may be met; where that is much, or in a file, the range is a miss.
    pub(super) fn scan_each_cached(&self, space: Space, ranges: &[KeyRange], limit: usize) -> Result<Vec<Cached<Vec<Row>>>, StoreError> {
        let Some(end) = ranges.iter().map(|range| &range.to).max() else { return Ok(Vec::new()) };
        let mut read = from_memory();
        read.set_iterate_upper_bound(end.as_ref());
        read.set_max_skippable_internal_keys(SKIPPED_MAX);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family(space))?, read);
        let mut each = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut found = Vec::new();
            // One that begins behind its end would find what lies there.
            if range.from < range.to {
                rows.seek(&range.from);
                while found.len() < limit {
                    let Some((key, value)) = rows.item().filter(|(key, _)| *key < range.to.as_ref()) else { break };
                    found.push(Row { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) });
                    rows.next();
                }
            }
            // The next seek begins anew.
            each.push(match rows.status() {
                Ok(()) => Cached::Hit(found),
                Err(error) if error.kind() == ErrorKind::Incomplete => Cached::Miss,
                Err(error) => return Err(self.failed(error)),
            });
        }
        Ok(each)
    }

    /// Reads a range; may wait for the disk.
    pub(super) fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        Self::collect(&mut self.iterator(space, from, to, from_disk(space))?, limit).map_err(|error| self.failed(error))
    }

    /// All rows of all spaces, space by space.
    pub(super) fn rows(&self) -> impl Iterator<Item = io::Result<(Space, Row)>> {
        self.which.spaces().flat_map(move |space| Rows { rocks: self, space, cursor: None, done: false })
    }

    /// A row the database keeps about itself.
    pub(super) fn own_row(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map_err(|error| self.failed(error))
    }

    /// Writes a batch; with `sync` it is on disk when this returns.
    pub(super) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut how = WriteOptions::default();
        how.set_sync(sync);
        self.db.write_opt(batch, &how).map_err(|error| self.failed(error))
    }

    /// Hands a batch to the operating system, unless the engine would have to wait for its own background work first: then
    /// nothing is written, and it is `false`.
    pub(super) fn try_write(&self, batch: WriteBatch) -> Result<bool, StoreError> {
        let mut how = WriteOptions::default();
        how.set_no_slowdown(true);
        match self.db.write_opt(batch, &how) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Syncs what was written without.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|error| self.failed(error))
    }

    /// Writes what is held in memory to files; does not wait for the end.
    pub(super) fn start_flush(&self) -> Result<(), StoreError> {
        self.flush(false)
    }

    /// Writes what is held in memory to files.
    pub(super) fn flush(&self, wait: bool) -> Result<(), StoreError> {
        let mut how = rocksdb::FlushOptions::default();
        how.set_wait(wait);
        for name in [OWN].into_iter().chain(self.which.spaces().map(family)) {
            self.db.flush_cf_opt(self.family(name)?, &how).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Links the files, as they are once memory is written to them, into a new directory.
    pub(super) fn checkpoint(&self, dir: &Path) -> Result<(), StoreError> {
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| self.failed(error))?;
        checkpoint.create_checkpoint(dir).map_err(|error| {
            let failed = self.failed(error);
            let is_full = matches!(&failed, StoreError::Io(text) if is_disk_full(text));
            if is_full { StoreError::DiskFull } else { failed }
        })
    }

    /// How many records there are, as the engine estimates.
    pub(super) fn records_estimate(&self) -> u64 {
        let records = self.family(family(Space::Records)).ok();
        records.and_then(|records| self.db.property_int_value_cf(records, "rocksdb.estimate-num-keys").ok().flatten()).unwrap_or(0)
    }

    /// Bytes that are held in memory and still need space in files.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        let of = |name| {
            let family = self.family(name).ok()?;
            self.db.property_int_value_cf(family, "rocksdb.cur-size-all-mem-tables").ok().flatten()
        };
        [OWN].into_iter().chain(self.which.spaces().map(family)).filter_map(of).fold(0, u64::saturating_add)
    }

    /// Compacts ranges down to the last level, so that removed rows leave the files: each file of it that they touch once.
    pub(super) fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        let mut how = CompactOptions::default();
        how.set_exclusive_manual_compaction(false);
        how.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.flush(true)?;
        let failures = self.background_failures();
        for KeyRange { from, to } in spans(ranges, &self.ends_of_files(space)?) {
            self.db.compact_range_cf_opt(self.family(family(space))?, Some(from), Some(to), &how);
        }
        if self.background_failures() == failures {
            return Ok(());
        }
        // The engine's C interface does not hand out a compaction's error; the next flush meets the same one.
        self.flush(true)?;
        Err(StoreError::Io(format!("{}: a compaction failed; the engine's own LOG file says why", self.which.name())))
    }

    /// The last keys of the files of a space's last level, in order.
    pub(super) fn ends_of_files(&self, space: Space) -> Result<Vec<Vec<u8>>, StoreError> {
        let files = self.db.live_files().map_err(|error| self.failed(error))?;
        let files: Vec<_> = files.into_iter().filter(|file| file.column_family_name == family(space)).collect();
        let last = files.iter().map(|file| file.level).max();
        let mut ends: Vec<_> = files.into_iter().filter(|file| Some(file.level) == last).filter_map(|file| file.end_key).collect();
        ends.sort_unstable();
        Ok(ends)
    }

    /// Lets files go that hold nothing but rows of a range; those of the first level stay.
    pub(super) fn drop_files(&self, space: Space, range: &KeyRange) -> Result<(), StoreError> {
        // The engine takes the last key with it.
        let Some(last) = last_before(&range.to).filter(|last| *last >= range.from) else { return Ok(()) };
        self.db.delete_file_in_range_cf(self.family(family(space))?, &range.from[..], &last[..]).map_err(|error| self.failed(error))
    }

    /// How often background work has failed since the database was opened.
    fn background_failures(&self) -> u64 {
        self.db.property_int_value("rocksdb.background-errors").ok().flatten().unwrap_or(0)
    }

    /// Ends compactions and flushes, so that the database can be closed.
    pub(super) fn stop_background_work(&self) {
        self.db.cancel_all_background_work(true);
    }

    /// Appends a change to a batch.
    pub(super) fn put_write(&self, batch: &mut WriteBatch, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Put { space, key, value } => batch.put_cf(self.family(family(*space))?, key, value),
            Write::Delete { space, key } => batch.delete_cf(self.family(family(*space))?, key),
            Write::DeleteRange { space, from, to } if from < to => batch.delete_range_cf(self.family(family(*space))?, from, to),
            Write::DeleteRange { .. } => {}
        }
        Ok(())
    }
}

struct Rows<'a> {
    rocks: &'a Rocks,
    space: Space,
    cursor: Option<DBRawIterator<'a>>,
    done: bool,
}

impl Iterator for Rows<'_> {
    type Item = io::Result<(Space, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let rows = match &mut self.cursor {
            Some(rows) => {
                rows.next();
                rows
            }
            none => match self.rocks.family(family(self.space)) {
                Ok(family) => {
                    let rows = none.insert(self.rocks.db.raw_iterator_cf(family));
                    rows.seek_to_first();
                    rows
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(io::Error::other(error)));
                }
            },
        };
        if let Some((key, value)) = rows.item() {
            let row = Row { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) };
            return Some(Ok((self.space, row)));
        }
        self.done = true;
        rows.status().err().map(|error| Err(io::Error::other(error)))
    }
}
