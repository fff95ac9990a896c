//! The mirror: a second copy of the control store, on a path of its own, in a form of its own.
//!
//! One file, `mirror.log`: a snapshot (`Head Rows* Base`), then a `Delta` for each control batch, appended and synced
//! before the batch is answered. When the deltas outgrow the snapshot, a new file replaces the old one by rename. A
//! torn last frame is cut when the mirror is opened; damage before that is refused. Each delta is chained by digest to the
//! one before it, and the control store holds the last digest, so the two cannot part unnoticed. The format is in
//! [`frame`].

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    fs::{Advice, FallocateFlags, fadvise, fallocate},
    io::Errno,
};

use crate::domain::StoreId;

use self::frame::{DIGEST_LEN, Kind, OVERHEAD};
use super::{
    super::{Row, Space, Write},
    error::{OpenError, at},
    lock::DirLock,
    open::move_aside,
    options::sync_dir,
    reserve::Health,
};

mod follow;
pub(super) mod frame;
mod read;
#[cfg(test)]
mod tests;

pub(in crate::vault) use follow::move_range;
pub use follow::{Companion, MakeCompanion};
pub(super) use follow::{Follower, Way};
pub(super) use frame::Digest;

/// The format of the log.
const FORMAT: u32 = 1;
const ROWS_LEN: usize = 1024 * 1024;
/// A delta of this size fits in every state that takes control commits: the pages of a shred and its rows.
const DELTA_LEN: usize = 256 * 1024;

/// Where a control store stands: how many batches, and the digest of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) seq: u64,
    pub(super) digest: Digest,
}

impl State {
    /// Of a store without rows.
    pub(super) const EMPTY: Self = Self { seq: 0, digest: [0; DIGEST_LEN] };
}

#[derive(Debug)]
struct Base {
    len: u64,
}

/// All rows of the control store, as the mirror has them.
#[derive(Debug)]
pub struct Restored {
    /// The store they belong to.
    pub store_id: StoreId,
    /// The number of the last control batch.
    pub seq: u64,
    pub(super) digest: Digest,
    /// The rows.
    pub rows: BTreeMap<(Space, Bytes), Bytes>,
}

/// The open mirror; its directory is locked.
#[derive(Debug)]
pub(super) struct Mirror {
    dir: PathBuf,
    store_id: StoreId,
    file: File,
    state: State,
    /// Where the next frame goes.
    len: u64,
    /// Up to where the file has disk space.
    allocated: u64,
    base_len: u64,
    sync: bool,
    _lock: DirLock,
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("mirror.log")
}

/// All rows of the control store, from its mirror alone. A torn last delta, which was never answered, is left out.
///
/// # Errors
/// [`OpenError::MirrorMissing`], [`OpenError::MirrorDamaged`], [`OpenError::UnknownFormat`].
pub fn restore(dir: &Path) -> Result<Restored, OpenError> {
    restore_some(dir, |_, _| true)
}

/// The same of those rows alone whose keys are wanted: the others are read and not kept.
///
/// # Errors
/// As [`restore`].
pub fn restore_some(dir: &Path, is_wanted: impl Fn(Space, &[u8]) -> bool) -> Result<Restored, OpenError> {
    let mut rows = BTreeMap::new();
    let contents = read::read(&log_path(dir), |_, body| {
        for write in frame::take_writes(body)? {
            match write {
                Write::Put { space, key, .. } if !is_wanted(space, &key) => {}
                Write::Put { space, key, value } => drop(rows.insert((space, key), value)),
                Write::Delete { space, key } => drop(rows.remove(&(space, key))),
                Write::DeleteRange { space, from, to } => rows.retain(|(at, key), _| *at != space || *key < from || *key >= to),
            }
        }
        Some(())
    })?;
    Ok(Restored { store_id: contents.store_id, seq: contents.state.seq, digest: contents.state.digest, rows })
}

/// Makes the mirror of a store that has no rows yet.
pub(super) fn create(dir: &Path, store_id: StoreId) -> Result<(), OpenError> {
    std::fs::create_dir_all(dir).map_err(at(dir.display()))?;
    let _lock = DirLock::take(dir)?;
    let path = log_path(dir);
    if path.try_exists().map_err(at(path.display()))? {
        return Err(OpenError::Exists(path));
    }
    write_snapshot(dir, store_id, State::EMPTY, std::iter::empty()).map_err(at(path.display()))
}

/// Makes a mirror anew from all rows of the control store; where the old one lies now, if there was one.
pub(super) fn recreate(
    dir: &Path,
    store_id: StoreId,
    state: State,
    rows: impl Iterator<Item = io::Result<(Space, Row)>>,
) -> Result<Option<PathBuf>, OpenError> {
    std::fs::create_dir_all(dir).map_err(at(dir.display()))?;
    let _lock = DirLock::take(dir)?;
    stage_snapshot(dir, store_id, state, rows).map_err(at(dir.display()))?;
    let moved_to = move_aside(&log_path(dir))?;
    publish_snapshot(dir).map_err(at(dir.display()))?;
    Ok(moved_to)
}

/// Where the mirror in a directory stands; all of it is proven.
pub(super) fn state(dir: &Path) -> Result<State, OpenError> {
    Ok(standing(dir, || ())?.1)
}

/// How many batches of the control store a mirror has, or a copy of one; all of it is proven.
///
/// # Errors
/// As [`restore`].
pub fn seq(dir: &Path) -> Result<u64, OpenError> {
    Ok(state(dir)?.seq)
}

/// Where it stands, and whose it is; `beat` is told of each frame that was read.
pub(super) fn standing(dir: &Path, beat: impl Fn()) -> Result<(StoreId, State), OpenError> {
    let contents = read::read(&log_path(dir), |_, body| {
        beat();
        frame::take_writes(body).map(drop)
    })?;
    Ok((contents.store_id, contents.state))
}

impl Mirror {
    /// Opens the mirror, proves all of it, and cuts a torn last frame.
    pub(super) fn open(dir: &Path, sync: bool) -> Result<Self, OpenError> {
        let path = log_path(dir);
        if !path.try_exists().map_err(at(path.display()))? {
            return Err(OpenError::MirrorMissing(path));
        }
        let lock = DirLock::take(dir)?;
        let contents = read::read(&path, |_, body| frame::take_writes(body).map(drop))?;
        let file = OpenOptions::new().write(true).open(&path).map_err(at(path.display()))?;
        if file.metadata().map_err(at(path.display()))?.len() > contents.len {
            tracing::warn!(offset = contents.len, "mirror: cut a torn last frame");
            file.set_len(contents.len).and_then(|()| file.sync_all()).map_err(at(path.display()))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            store_id: contents.store_id,
            file,
            state: contents.state,
            len: contents.len,
            allocated: contents.len,
            base_len: contents.base_len,
            sync,
            _lock: lock,
        })
    }

    pub(super) const fn store_id(&self) -> StoreId {
        self.store_id
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Makes sure that a delta with a body of `body_len` bytes has disk space, and `keep` bytes more behind it.
    ///
    /// # Errors
    /// `StorageFull`; what was there stays allocated.
    pub(super) fn allocate(&mut self, body_len: usize, keep: u64, ahead: u64) -> io::Result<()> {
        let floor = self.len.saturating_add(body_len as u64).saturating_add(OVERHEAD as u64).saturating_add(keep);
        if self.allocated >= floor {
            return Ok(());
        }
        for wanted in [floor.saturating_add(ahead), floor] {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.len, wanted.saturating_sub(self.len)) {
                Ok(()) => {
                    self.allocated = wanted;
                    return Ok(());
                }
                // This file system cannot allocate ahead: a full disk is then met by the append.
                Err(Errno::OPNOTSUPP) => {
                    self.allocated = u64::MAX;
                    return Ok(());
                }
                Err(Errno::NOSPC | Errno::DQUOT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    /// What the mirror's disk has room for; takes the reserve of `ahead` bytes again where there is space.
    pub(super) fn look(&mut self, ahead: u64) -> io::Result<Health> {
        for (keep, health) in [(ahead, Health::Ok), (0, Health::EssentialOnly)] {
            match self.allocate(DELTA_LEN, keep, ahead) {
                Ok(()) => return Ok(health),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Health::Full)
    }

    /// Appends the changes of the next control batch and syncs them. After an error the mirror must be opened anew.
    pub(super) fn append(&mut self, next: &Delta) -> io::Result<()> {
        self.file.write_all_at(&next.frame, self.len)?;
        if self.sync {
            self.file.sync_data()?;
        }
        self.len = self.len.saturating_add(next.frame.len() as u64);
        self.state = next.state;
        Ok(())
    }

    /// Whether the deltas have outgrown both `limit` and the snapshot.
    pub(super) const fn wants_compaction(&self, limit: u64) -> bool {
        self.len > limit && self.len > self.base_len.saturating_mul(2)
    }

    /// Replaces the file by a snapshot of `rows`. After [`ReplaceError::Publish`] the mirror must be opened anew.
    pub(super) fn replace(&mut self, state: State, rows: impl Iterator<Item = io::Result<(Space, Row)>>) -> Result<(), ReplaceError> {
        let (file, len) = stage_snapshot(&self.dir, self.store_id, state, rows).map_err(ReplaceError::Stage)?;
        publish_snapshot(&self.dir).map_err(ReplaceError::Publish)?;
        self.file = file;
        self.state = state;
        self.len = len;
        self.allocated = len;
        self.base_len = len;
        Ok(())
    }

    /// Syncs the file, reads it back from its beginning and tells where it stands.
    pub(super) fn read_back(&self) -> Result<State, OpenError> {
        let path = log_path(&self.dir);
        self.file.sync_all().map_err(at(path.display()))?;
        // Lets the pages go, so that the next read asks the disk; only advice, so a refusal changes nothing.
        fadvise(&self.file, 0, None, Advice::DontNeed).unwrap_or_default();
        Ok(read::read(&path, |_, body| frame::take_writes(body).map(drop))?.state)
    }
}

/// A control batch's changes, framed, and the state after it.
#[derive(Debug)]
pub(super) struct Delta {
    frame: Vec<u8>,
    pub(super) state: State,
}

impl Delta {
    /// Frames the changes that follow `before`.
    pub(super) fn new(before: State, body: &[u8]) -> io::Result<Self> {
        let seq = before.seq.checked_add(1).ok_or_else(|| io::Error::other("control sequence is spent"))?;
        let (frame, digest) = frame::encode(Kind::Delta, seq, &before.digest, body)?;
        Ok(Self { frame, state: State { seq, digest } })
    }
}

/// Why a snapshot did not take the log's place.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    /// It could not be written; the log goes on.
    #[error("mirror snapshot not written: {0}")]
    Stage(io::Error),
    /// It may or may not be in the log's place.
    #[error("mirror snapshot not put in place: {0}")]
    Publish(io::Error),
}

fn publish_snapshot(dir: &Path) -> io::Result<()> {
    std::fs::rename(dir.join("mirror.new"), log_path(dir))?;
    sync_dir(dir)
}

fn write_snapshot(dir: &Path, store_id: StoreId, state: State, rows: impl Iterator<Item = io::Result<(Space, Row)>>) -> io::Result<()> {
    stage_snapshot(dir, store_id, state, rows)?;
    publish_snapshot(dir)
}

/// Writes a snapshot beside the log, durably.
fn stage_snapshot(
    dir: &Path,
    store_id: StoreId,
    state: State,
    rows: impl Iterator<Item = io::Result<(Space, Row)>>,
) -> io::Result<(File, u64)> {
    let path = dir.join("mirror.new");
    let mut out = Snapshot {
        file: OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?,
        digest: [0; DIGEST_LEN],
        len: 0,
    };
    let mut head = FORMAT.to_be_bytes().to_vec();
    head.extend_from_slice(&store_id.0);
    out.frame(Kind::Head, state.seq, &head)?;
    let mut body = Vec::new();
    for row in rows {
        let (space, Row { key, value }) = row?;
        frame::put_write(&mut body, &Write::Put { space, key, value });
        if body.len() >= ROWS_LEN {
            out.frame(Kind::Rows, state.seq, &body)?;
            body.clear();
        }
    }
    if !body.is_empty() {
        out.frame(Kind::Rows, state.seq, &body)?;
    }
    out.frame(Kind::Base, state.seq, &state.digest)?;
    out.file.sync_all()?;
    Ok((out.file, out.len))
}

struct Snapshot {
    file: File,
    digest: Digest,
    len: u64,
}

impl Snapshot {
    fn frame(&mut self, kind: Kind, seq: u64, body: &[u8]) -> io::Result<()> {
        let (frame, digest) = frame::encode(kind, seq, &self.digest, body)?;
        self.file.write_all(&frame)?;
        self.digest = digest;
        self.len = self.len.saturating_add(frame.len() as u64);
        Ok(())
    }
}
