//! The embedded store against what a test inside the crate cannot do to it: a killed process and a full disk.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use lethe::{
    domain::{StoreId, SystemClock},
    vault::store::{
        Commit, Durability, Space, Urgency, Write,
        embedded::{Embedded, EmbeddedOptions},
    },
};

#[path = "store/crash.rs"]
mod crash;
#[path = "shared/disk.rs"]
mod disk;
#[path = "store/disk_full.rs"]
mod disk_full;
#[path = "shared/privilege.rs"]
mod privilege;

const MIB: u64 = 1024 * 1024;

fn options(dir: &Path, mirror_dir: &Path) -> EmbeddedOptions {
    EmbeddedOptions {
        block_cache_bytes: 8 * 1024 * 1024,
        memtable_bytes: 2 * 1024 * 1024,
        reserve_bytes: 16 * MIB,
        headroom_bytes: 6 * MIB,
        mirror_ahead_bytes: MIB,
        ..EmbeddedOptions::new(dir, mirror_dir)
    }
}

fn create(options: &EmbeddedOptions) -> Arc<Embedded> {
    Embedded::create(options, StoreId([3; 16])).unwrap();
    open(options)
}

fn open(options: &EmbeddedOptions) -> Arc<Embedded> {
    Embedded::open(options.clone(), Arc::new(SystemClock)).unwrap_or_else(|error| panic!("{error}"))
}

fn put(space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Write {
    Write::Put { space, key: key.into(), value: value.into() }
}

fn commit(urgency: Urgency, writes: Vec<Write>) -> Commit {
    Commit { checks: vec![], writes, tail: None, durability: Durability::Synced, urgency }
}
