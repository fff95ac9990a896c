//! Snapshots of the data store, for a backup to be copied from: hard links to its files as they are at one moment, under
//! `snapshots/ID/data` in the store directory. They cost no space but what the engine would have freed meanwhile.
//!
//! Whoever copies from one holds `snapshots/ID/lease` locked. One that nobody holds is removed by the next start, the next
//! snapshot, or a pass of background work, once there was time to take the lease.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use crate::domain::{SnapshotId, StoreId};

use super::{
    super::{DataSnapshot, StoreError},
    database::Rocks,
    error::{OpenError, at, is_disk_full},
    lock::DirLock,
    open,
    options::{EmbeddedOptions, sync_dir},
};

/// Where they lie, in the store directory.
pub const SNAPSHOTS: &str = "snapshots";
/// The file that is locked as long as a snapshot is copied from.
pub const LEASE: &str = "lease";
/// The files of the data store, in a snapshot.
pub const DATA: &str = "data";

/// How long nobody need hold a new snapshot.
const UNHELD_AT_MOST: Duration = Duration::from_mins(2);

/// The snapshots that this process has made.
pub(super) struct Snapshots {
    dir: PathBuf,
    /// When each was made, by the clock that only goes on.
    made: Mutex<HashMap<SnapshotId, Duration>>,
}

impl Snapshots {
    pub(super) fn of(options: &EmbeddedOptions) -> Self {
        Self { dir: options.dir.join(SNAPSHOTS), made: Mutex::default() }
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<SnapshotId, Duration>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one. Blocks until what is in memory is in files.
    pub(super) fn take(&self, data: &Rocks, id: SnapshotId, now: Duration) -> Result<DataSnapshot, StoreError> {
        self.sweep(now)?;
        let dir = self.dir.join(id.to_string());
        let taken = self.take_in(data, &dir);
        match taken {
            Ok(snapshot) => {
                self.made().insert(id, now);
                Ok(snapshot)
            }
            Err(error) => {
                // The failure itself matters more than what it leaves, which the next sweep finds.
                drop(fs::remove_dir_all(&dir));
                Err(error)
            }
        }
    }

    fn take_in(&self, data: &Rocks, dir: &Path) -> Result<DataSnapshot, StoreError> {
        let io = |error: std::io::Error| failed(&error.to_string());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(io)?;
        fs::DirBuilder::new().mode(0o700).create(dir).map_err(io)?;
        fs::File::create(dir.join(LEASE)).map_err(io)?;
        data.checkpoint(&dir.join(DATA))?;
        sync_dir(dir).and_then(|()| sync_dir(&self.dir)).map_err(io)?;
        Ok(DataSnapshot { dir: dir.to_owned(), records_estimate: data.records_estimate() })
    }

    /// Removes one, held or not.
    pub(super) fn release(&self, id: SnapshotId) -> Result<(), StoreError> {
        self.made().remove(&id);
        remove(&self.dir.join(id.to_string())).map_err(|error| failed(&error.to_string()))
    }

    /// Removes those that nobody holds, but for new ones.
    pub(super) fn sweep(&self, now: Duration) -> Result<u64, StoreError> {
        let io = |error: std::io::Error| failed(&error.to_string());
        let mut made = self.made();
        let mut removed: u64 = 0;
        for dir in listed(&self.dir).map_err(io)? {
            let id: Option<SnapshotId> = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if id.and_then(|id| made.get(&id)).is_some_and(|at| now.saturating_sub(*at) < UNHELD_AT_MOST) {
                continue;
            }
            // Held while it goes, so that nobody begins to copy from it meanwhile.
            let lease = fs::File::open(dir.join(LEASE)).ok();
            if lease.as_ref().is_some_and(|lease| flock(lease, FlockOperation::NonBlockingLockExclusive).is_err()) {
                continue;
            }
            remove(&dir).map_err(io)?;
            id.and_then(|id| made.remove(&id));
            removed = removed.saturating_add(1);
        }
        Ok(removed)
    }
}

fn failed(text: &str) -> StoreError {
    if is_disk_full(text) { StoreError::DiskFull } else { StoreError::Io(format!("{SNAPSHOTS}: {text}")) }
}

fn listed(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What is taken of a store that no server has open.
#[derive(Debug)]
pub struct Offline {
    /// The store's id, as its data store has it.
    pub store_id: StoreId,
    /// Where the snapshot lies.
    pub snapshot: DataSnapshot,
    _lock: DirLock,
}

/// Makes a snapshot of a store that no server has open; it is kept from opening until the value is dropped.
pub(super) fn offline(options: &EmbeddedOptions, id: SnapshotId) -> Result<Offline, OpenError> {
    open::check_format(options)?;
    let lock = DirLock::take(&options.dir)?;
    let (data, store_id) = open::open_data(options)?;
    let snapshot = Snapshots::of(options).take(&data, id, Duration::ZERO).map_err(|error| {
        let is_full = error == StoreError::DiskFull;
        if is_full { OpenError::DiskFull(options.dir.display().to_string()) } else { at(SNAPSHOTS)(std::io::Error::other(error)) }
    })?;
    Ok(Offline { store_id, snapshot, _lock: lock })
}

/// Removes a snapshot of a store that no server has open.
pub(super) fn release_offline(options: &EmbeddedOptions, id: SnapshotId) -> Result<(), OpenError> {
    Snapshots::of(options).release(id).map_err(|error| at(SNAPSHOTS)(std::io::Error::other(error)))
}
