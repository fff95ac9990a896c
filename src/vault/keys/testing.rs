//! For the tests: the real engine and file custody in a temp dir, and a clock that stands.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{Custody, FileCustody, Forest, ForestOptions, Ground, KeysError, Recovery};
use crate::{
    domain::{StoreId, TestClock, Timestamp},
    vault::store::{
        Store,
        embedded::{Embedded, EmbeddedOptions},
    },
};

pub(super) const STORE: StoreId = StoreId([0x5e; 16]);

/// Memory, where there is any, is faster than a disk.
pub(super) fn temp_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Small, and without syncs: no test here cuts the power.
pub(super) fn engine(dir: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        block_cache_bytes: 1 << 20,
        memtable_bytes: 1 << 20,
        reserve_bytes: 0,
        headroom_bytes: 0,
        mirror_ahead_bytes: 0,
        reader_threads: 1,
        danger_skip_sync: true,
        ..EmbeddedOptions::new(dir.join("store"), dir.join("mirror"))
    }
}

/// A place where a forest can be opened again and again.
pub(super) struct Site {
    pub(super) dir: tempfile::TempDir,
    store: Mutex<Arc<Embedded>>,
    pub(super) clock: TestClock,
    pub(super) options: ForestOptions,
}

impl Site {
    pub(super) fn new() -> Self {
        let (dir, clock) = (temp_dir(), TestClock::at(Timestamp(1_000_000)));
        Embedded::create(&engine(dir.path()), STORE).unwrap();
        let site = Self {
            store: Mutex::new(Embedded::open(engine(dir.path()), Arc::new(clock.clone())).unwrap()),
            dir,
            clock,
            options: ForestOptions { cached_keys: 4_096, ..ForestOptions::default() },
        };
        for name in ["a", "b"] {
            FileCustody::create(&site.custody_path(name), STORE).unwrap();
        }
        site
    }

    /// Trees that are one page high.
    pub(super) fn low() -> Self {
        let mut site = Self::new();
        site.options.unit_height = 1;
        site.options.tenant_height = 1;
        site
    }

    pub(super) fn custody_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn custody(&self, path: &Path) -> Box<dyn Custody> {
        Box::new(FileCustody::open(path, None, STORE, Arc::new(self.clock.clone())).unwrap())
    }

    pub(super) fn ground(&self) -> Ground {
        let custody = ["a", "b"].map(|name| self.custody(&self.custody_path(name)));
        Ground { store_id: STORE, store: self.store(), custody: custody.into(), clock: Arc::new(self.clock.clone()) }
    }

    pub(super) async fn create(&self) -> Forest {
        Forest::create(self.ground(), self.options).await.unwrap()
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::<Embedded>::clone(&self.store.lock().unwrap())
    }

    /// Commits that the store has answered since it was opened.
    pub(super) fn commits(&self) -> u64 {
        self.store.lock().unwrap().stats().committed
    }

    /// Opens the forest as a new process would; earlier ones find their store closed.
    pub(super) async fn open(&self) -> Result<(Forest, Recovery), KeysError> {
        {
            let mut store = self.store.lock().unwrap();
            store.close();
            *store = Embedded::open(engine(self.dir.path()), Arc::new(self.clock.clone())).unwrap();
        }
        Forest::open(self.ground(), self.options).await
    }
}
