//! What a forest stands on in the benches: a real engine that skips its syncs, on a memory disk where there is one.

use std::{path::Path, sync::Arc};

use lethe::{
    domain::{Clock, StoreId, SystemClock},
    vault::{
        keys::{FileCustody, Ground},
        store::embedded::{Embedded, EmbeddedOptions},
    },
};
use tempfile::TempDir;

/// The directory, to be kept, and a new store with file custody in it.
pub(crate) fn make(store_id: StoreId, clock: Arc<dyn Clock>) -> (TempDir, Ground) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a temp dir");
    let engine = EmbeddedOptions {
        danger_skip_sync: true,
        reserve_bytes: 0,
        ..EmbeddedOptions::new(dir.path().join("store"), dir.path().join("mirror"))
    };
    Embedded::create(&engine, store_id).expect("a store");
    let store = Embedded::open(engine, Arc::new(SystemClock)).expect("an open store");
    let path = dir.path().join("custody");
    FileCustody::create(&path, store_id).expect("custody");
    let custody = FileCustody::open(&path, None, store_id, Arc::new(SystemClock)).expect("open custody");
    (dir, Ground { store_id, store, custody: vec![Box::new(custody)], clock })
}
