//! What a full disk does: a preallocated file is given up, and what it leaves is for essential commits alone.
//!
//! RocksDB must never meet a full disk itself: it would stop the database, and a batch's fate would be unknown. So free
//! space is read before each group, and a commit is admitted only where it, its copy in a table file, and all that is
//! still in memory fit. When the headroom above that is used up, the reserve is given up.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

use super::{super::Urgency, options::EmbeddedOptions};

/// Manifests, logs and files that are being replaced.
const SLACK_BYTES: u64 = 2 * 1024 * 1024;
/// A commit of this size fits in every state that takes commits.
const COMMIT_BYTES: u64 = 512 * 1024;

/// What a store can do: the worse of what its own disk and its mirror's allow, the latter for control commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Health {
    /// Everything.
    Ok = 0,
    /// A disk is full and its reserve is in use: essential commits only.
    EssentialOnly = 1,
    /// A reserve is spent: no commits until space is freed.
    Full = 2,
    /// A write failed, or the store was closed: no commits until the next start.
    Closed = 3,
}

impl Health {
    pub(super) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::EssentialOnly,
            2 => Self::Full,
            _ => Self::Closed,
        }
    }
}

/// The reserve and the free space around it.
#[derive(Debug)]
pub(super) struct Reserve {
    dir: PathBuf,
    path: PathBuf,
    bytes: u64,
    headroom: u64,
    watch_below: u64,
    free: u64,
    unflushed: u64,
    health: Health,
}

impl Reserve {
    /// Takes stock before the databases are opened: on a full disk their recovery gets the reserve's space.
    pub(super) fn open(options: &EmbeddedOptions) -> io::Result<Self> {
        let memory = u64::try_from(options.memtable_bytes).unwrap_or(u64::MAX).saturating_mul(3);
        let mut reserve = Self {
            dir: options.dir.clone(),
            path: options.reserve_file(),
            bytes: options.reserve_bytes,
            headroom: options.headroom_bytes,
            watch_below: options
                .headroom_bytes
                .saturating_add(memory)
                .saturating_add(options.reserve_bytes)
                .saturating_add(64 * SLACK_BYTES),
            free: 0,
            unflushed: memory / 2,
            health: Health::EssentialOnly,
        };
        reserve.free = reserve.free_bytes()?;
        if reserve.is_held()? {
            reserve.health = Health::Ok;
        }
        reserve.judge()?;
        Ok(reserve)
    }

    pub(super) const fn health(&self) -> Health {
        self.health
    }

    pub(super) const fn free(&self) -> u64 {
        self.free
    }

    fn is_held(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(found.len() == self.bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.bytes == 0),
            Err(error) => Err(error),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = statvfs(&self.dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Reads the free space and changes between the states. `unflushed` is asked only where it matters.
    /// Tells whether the reserve was just given up: memory should now be flushed while there is room.
    pub(super) fn look(&mut self, unflushed: impl FnOnce() -> u64) -> io::Result<bool> {
        self.free = self.free_bytes()?;
        self.unflushed = if self.free < self.watch_below || self.health != Health::Ok { unflushed() } else { 0 };
        self.judge()
    }

    /// What one more byte in a commit takes from what is free, at worst: the WAL, and a table file.
    fn floor(&self, commit_bytes: u64) -> u64 {
        self.unflushed.saturating_add(SLACK_BYTES).saturating_add(commit_bytes.saturating_mul(2))
    }

    fn judge(&mut self) -> io::Result<bool> {
        let floor = self.floor(COMMIT_BYTES);
        let before = self.health;
        match self.health {
            Health::Ok if self.free < floor.saturating_add(self.headroom) => {
                self.give_up()?;
                self.health = Health::EssentialOnly;
            }
            // A quarter more than the threshold, so that it does not swing.
            Health::EssentialOnly | Health::Full
                if self.free >= floor.saturating_add(self.headroom).saturating_add(self.headroom / 4).saturating_add(self.bytes) =>
            {
                if self.take()? {
                    self.health = Health::Ok;
                }
            }
            Health::Full if self.free >= floor.saturating_add(SLACK_BYTES) => self.health = Health::EssentialOnly,
            Health::EssentialOnly if self.free < floor => self.health = Health::Full,
            Health::Ok | Health::EssentialOnly | Health::Full | Health::Closed => {}
        }
        if before != self.health {
            tracing::warn!(?before, now = ?self.health, free = self.free, "store: disk space");
        }
        Ok(before == Health::Ok && self.health != Health::Ok)
    }

    /// Whether a commit may go on that brings the group to `group_bytes`. In [`Health::Ok`] the headroom may be used
    /// within a group: the next look then gives up the reserve.
    pub(super) fn admits(&self, urgency: Urgency, group_bytes: u64) -> bool {
        let fits = self.free >= self.floor(group_bytes);
        match (self.health, urgency) {
            (Health::Ok, _) | (Health::EssentialOnly, Urgency::Essential) => fits,
            (Health::EssentialOnly, Urgency::Normal) | (Health::Full | Health::Closed, _) => false,
        }
    }

    fn give_up(&mut self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.free = self.free_bytes()?;
        Ok(())
    }

    /// Allocates the reserve; `false` if there is no room after all.
    fn take(&mut self) -> io::Result<bool> {
        if self.bytes == 0 {
            return Ok(true);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        let taken = match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Err(Errno::OPNOTSUPP) => fill(&file, self.bytes),
            other => other.map_err(Into::into),
        };
        match taken {
            Ok(()) => {
                self.free = self.free_bytes()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded => {
                self.give_up()?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn fill(mut file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let block = vec![0_u8; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(block.get(..part).unwrap_or_default())?;
        left = left.saturating_sub(part as u64);
    }
    Ok(())
}
