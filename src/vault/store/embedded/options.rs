//! Where a store lies and how much it may take.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::domain::limits;

use super::mirror::MakeCompanion;

const MIB: u64 = 1024 * 1024;

/// Where a further copy of the control store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlace {
    /// Its directory, on a disk or mount of its own.
    pub dir: PathBuf,
    /// No epoch ends before the copy has it.
    pub confirm: bool,
}

/// Paths and bounds of an embedded store.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The store directory; holds `control/`, `data/`, `lock`, `format` and `reserve`.
    pub dir: PathBuf,
    /// The mirror of the control store, on a path of its own, better on a disk of its own.
    pub mirror_dir: PathBuf,
    /// Further copies of the control store.
    pub copies: Vec<CopyPlace>,
    /// How long the end of an epoch, and the end of the store, wait for a copy; and a start for one of which nothing comes.
    pub copy_patience: Duration,
    /// What lies beside the mirror and goes with it to each copy.
    pub companion: Option<MakeCompanion>,
    /// The data store's directory within it: `data`, but for one that is not in its place yet.
    pub data_name: &'static str,
    /// Block cache of both databases together.
    pub block_cache_bytes: usize,
    /// What the data store may hold in memory before it writes a file; the control store takes a quarter of it.
    pub memtable_bytes: usize,
    /// The file that is given up when the disk is full; 0 for none.
    pub reserve_bytes: u64,
    /// Free space below which the reserve is given up.
    pub headroom_bytes: u64,
    /// Space the mirror's file keeps allocated ahead; the mirror's own reserve.
    pub mirror_ahead_bytes: u64,
    /// Size of the mirror's log above which it is replaced by a snapshot, if that is at most half as large.
    pub mirror_compact_bytes: u64,
    /// Commits that may wait; more are refused as busy.
    pub queue_len: usize,
    /// Threads that ask for reads: at most half of them read themselves.
    pub asking_threads: usize,
    /// Threads for reads that miss the cache.
    pub reader_threads: usize,
    /// Reads that may wait for a thread; more are refused as busy.
    pub reader_queue_len: usize,
    /// Commits are synced to disk. Without it a power cut may lose or damage them: for tests and benches.
    pub danger_skip_sync: bool,
}

impl EmbeddedOptions {
    /// The usual bounds.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, mirror_dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            mirror_dir: mirror_dir.into(),
            copies: Vec::new(),
            copy_patience: Duration::from_secs(10),
            companion: None,
            data_name: "data",
            block_cache_bytes: 128 * 1024 * 1024,
            memtable_bytes: 32 * 1024 * 1024,
            reserve_bytes: 64 * MIB,
            headroom_bytes: 32 * MIB,
            mirror_ahead_bytes: 16 * MIB,
            mirror_compact_bytes: 64 * MIB,
            queue_len: usize::try_from(limits::COMMITS.max).unwrap_or(usize::MAX),
            asking_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(2),
            reader_threads: 4,
            reader_queue_len: usize::try_from(limits::READS.max).unwrap_or(usize::MAX),
            danger_skip_sync: false,
        }
    }

    /// The directory of the control database.
    #[must_use]
    pub fn control_dir(&self) -> PathBuf {
        self.dir.join("control")
    }

    /// The directory of the data database.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join(self.data_name)
    }

    pub(super) fn format_file(&self) -> PathBuf {
        self.dir.join("format")
    }

    pub(super) fn reserve_file(&self) -> PathBuf {
        self.dir.join("reserve")
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}
