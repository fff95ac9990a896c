//! The embedded engine: two RocksDB databases, their mirror, and one committer.
//!
//! A commit waits in a bounded queue, is checked and written with all others that wait, and answered when it is as durable
//! as asked ([`committer`]); one that is an entry of the trail alone, and need not be synced, is written by who asks for it
//! ([`core`]). Reads are answered inline from memory, or by a small pool of threads ([`pace`]). [`open`] says what is
//! compared before a store is used, [`mirror`] how control rows survive the loss of a disk, [`copies`] of several, [`reserve`] what a
//! full disk does. Nothing here knows a key or a plaintext.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::Cache;
use tokio::sync::oneshot;

use crate::domain::{Clock, SnapshotId, StoreId};

use self::{
    committer::{Committer, Request},
    copies::Copies,
    core::{Desk, Shared, Start},
    database::Cached,
    error::at,
    group::{Pair, Submission},
    lock::DirLock,
    mirror::{Follower, Way as CopyWay},
    pace::{Leave, Pace, Way},
    readers::Pool,
    reserve::Reserve,
    snapshot::Snapshots,
    stats::{Counters, Outcome, ReadFrom},
};
use super::{Before, Commit, Committed, DataSnapshot, Database, Durability, Row, Space, Store, StoreError, schema::KeyRange};

mod committer;
mod copies;
mod core;
mod database;
mod error;
mod group;
mod known;
mod lock;
pub mod mirror;
mod open;
mod options;
mod overlay;
mod pace;
mod pulse;
mod readers;
mod reserve;
mod snapshot;
mod spans;
mod stats;
#[cfg(test)]
mod tests;

pub use self::{
    error::OpenError,
    open::{Rebuilt, Standing, move_aside},
    options::{CopyPlace, EmbeddedOptions},
    reserve::Health,
    snapshot::{DATA, LEASE, Offline, SNAPSHOTS},
    stats::Stats,
};

/// A scan of at most so many rows is tried inline.
const INLINE_SCAN_ROWS: usize = 256;
/// Rows of a longer scan that are looked for in memory first.
const PROBE_ROWS: usize = 32;
/// Ranges that one thread reads, from memory, before others have their turn.
const RANGES_AT_ONCE: usize = 64;
/// How often a read asks for leave to be made where it is asked for.
const HERE_ATTEMPTS: usize = 3;
const COMPACTIONS_WAITING: usize = 64;

/// A store that no other process can open.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "held until dropped")] DirLock);

/// What was brought to a further copy of the control store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// The last control batch that it has.
    pub control_seq: u64,
    /// Bytes that were moved.
    pub moved_bytes: u64,
}

/// An open store. Closed by [`Embedded::close`] or when dropped.
pub struct Embedded {
    store_id: StoreId,
    shared: Arc<Shared>,
    queue: SyncSender<Request>,
    desk: Arc<Desk>,
    readers: Pool,
    compactor: Pool,
    snapshots: Arc<Snapshots>,
    clock: Arc<dyn Clock>,
    committer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("store_id", &self.store_id).field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Makes an empty store and its mirror.
    ///
    /// # Errors
    /// [`OpenError::Exists`] if there is one, or what is left of one.
    pub fn create(options: &EmbeddedOptions, store_id: StoreId) -> Result<(), OpenError> {
        open::create(options, store_id)
    }

    /// Opens a store: locks it, proves format, databases and mirror, brings the mirror up to date, starts the threads.
    ///
    /// # Errors
    /// [`OpenError`] names what is wrong; nothing but a torn end was changed.
    pub fn open(options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<Arc<Self>, OpenError> {
        open::check_format(&options)?;
        let lock = DirLock::take(&options.dir)?;
        let reserve = Reserve::open(&options).map_err(at(options.dir.display()))?;
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let (pair, states) = open::open_pair(&options, &cache)?;
        let mirror = open::open_mirror(&options, &states, &pair.control)?;
        let copies = Arc::new(Copies::of(&options, states.store_id, states.control, &clock)?);
        let snapshots = Arc::new(Snapshots::of(&options));
        if let Err(error) = snapshots.sweep(clock.monotonic()) {
            tracing::warn!(%error, "store: a snapshot that nobody holds is still there");
        }
        let counters = Counters::default();
        counters.looked(reserve.health(), reserve.free());
        let shared = Arc::new(Shared { pair: RwLock::new(Some(pair)), counters, pace: Pace::new(options.asking_threads), copies });
        let (queue, requests) = sync_channel(options.queue_len);
        let (thread, time) = (at("starting threads"), Arc::clone(&clock));
        let threads = || {
            let readers = Pool::start("lethe-read", options.reader_threads, options.reader_queue_len)?;
            let compactor = Pool::start("lethe-compact", 1, COMPACTIONS_WAITING)?;
            let start =
                Start { shared: Arc::clone(&shared), options, cache, clock, mirror, reserve, control: states.control, data: states.data };
            let (clock, desk) = (Arc::clone(&start.clock), Arc::new(Desk::new(start)));
            let work = Committer::new(Arc::clone(&shared), Arc::clone(&desk), clock, requests)?;
            let committer = std::thread::Builder::new().name("lethe-commit".into()).spawn(move || work.run())?;
            shared.copies.start()?;
            Ok((readers, compactor, committer, desk))
        };
        let (readers, compactor, committer, desk) = threads().map_err(thread)?;
        let committer = Mutex::new(Some(committer));
        let (store_id, lock) = (states.store_id, Mutex::new(Some(lock)));
        Ok(Arc::new(Self { store_id, shared, queue, desk, readers, compactor, snapshots, clock: time, committer, lock }))
    }

    /// Where the parts of a store stand, offline: what a recovery is decided by.
    ///
    /// # Errors
    /// [`OpenError`] if there is no store, or another process has it open.
    pub fn standing(options: &EmbeddedOptions) -> Result<Standing, OpenError> {
        open::standing(options)
    }

    /// Keeps other processes away from a store that is not open, until the hold is dropped.
    ///
    /// # Errors
    /// [`OpenError::Locked`].
    pub fn hold(options: &EmbeddedOptions) -> Result<Hold, OpenError> {
        DirLock::take(&options.dir).map(Hold)
    }

    /// Rebuilds a lost or rolled-back control store from its mirror, offline. The old one is moved aside.
    ///
    /// # Errors
    /// [`OpenError`], above all those of the mirror.
    pub fn rebuild_control_from_mirror(options: &EmbeddedOptions) -> Result<Rebuilt, OpenError> {
        open::rebuild_control(options)
    }

    /// Makes a lost mirror anew from the control store, offline; one that is there is moved aside.
    ///
    /// # Errors
    /// [`OpenError`], above all those of the databases.
    pub fn rebuild_mirror_from_control(options: &EmbeddedOptions) -> Result<Rebuilt, OpenError> {
        open::rebuild_mirror(options)
    }

    /// Brings a further copy of the control store to where the mirror is, whether or not the store is open; where there is none, one is
    /// begun.
    ///
    /// # Errors
    /// [`OpenError`], above all [`OpenError::Locked`] by a server that brings it along itself, and those of a copy that is not behind.
    pub fn ship(options: &EmbeddedOptions, to: &Path) -> Result<Shipped, OpenError> {
        let way = CopyWay { begins: true, sync: !options.danger_skip_sync, companion: options.companion };
        let mut follower = Follower::open(&options.mirror_dir, to, way)?;
        let control_seq = follower.step(0)?.seq;
        Ok(Shipped { control_seq, moved_bytes: follower.moved() })
    }

    /// Keeps the data store's files of a store that is not open, to be copied; it is not opened until that is dropped.
    ///
    /// # Errors
    /// [`OpenError`] names what is wrong.
    pub fn offline_snapshot(options: &EmbeddedOptions, id: SnapshotId) -> Result<Offline, OpenError> {
        snapshot::offline(options, id)
    }

    /// Lets such a snapshot go.
    ///
    /// # Errors
    /// [`OpenError`], of the disk.
    pub fn release_offline(options: &EmbeddedOptions, id: SnapshotId) -> Result<(), OpenError> {
        snapshot::release_offline(options, id)
    }

    /// The store's id, as both databases and the mirror have it.
    #[must_use]
    pub const fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// What the store can do now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.counters.health()
    }

    /// Numbers since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.stats()
    }

    /// Ends the store: what waits is answered, all is synced, threads end, databases close, the lock is given up. Blocks, for no copy
    /// of the control store longer than [`EmbeddedOptions::copy_patience`].
    pub fn close(&self) {
        let Some(committer) = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // It ends by itself if it is gone already.
        drop(self.queue.send(Request::Stop));
        drop(committer.join());
        self.shared.copies.stop();
        let stop = |pair: &Pair| {
            pair.control.stop_background_work();
            pair.data.stop_background_work();
            Ok(())
        };
        // Closed already after a failed write: then there is nothing to stop.
        drop(self.shared.with(stop));
        self.compactor.stop();
        self.readers.stop();
        drop(self.shared.pair.write().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    async fn submit(&self, before: Option<Before>, commit: Commit) -> Result<Committed, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.shared.counters.queued();
        if let Err(error) = self.enqueue(Request::Commit(Submission { before, commit, answer })) {
            self.shared.counters.unqueued();
            self.shared.counters.answered(if error == StoreError::Busy { Outcome::Busy } else { Outcome::Failed });
            return Err(error);
        }
        // The committer took it and is gone: it may be on disk.
        answered.await.unwrap_or_else(|_| Err(StoreError::Io("the committer has ended".into())))
    }

    fn enqueue(&self, request: Request) -> Result<(), StoreError> {
        self.queue.try_send(request).map_err(|error| {
            let (request, error) = match error {
                TrySendError::Full(request) => (request, StoreError::Busy),
                TrySendError::Disconnected(request) => (request, StoreError::Closed),
            };
            if let Request::Commit(Submission { before, commit, .. }) = request {
                let before = before.and_then(|before| before.tail);
                [before, commit.tail].into_iter().flatten().for_each(|mut tail| tail.refused(&error));
            }
            error
        })
    }

    /// Leave to read past the block cache on the caller's thread; `None` where a thread of the pool is to do it.
    async fn leave(&self) -> Option<Leave<'_>> {
        for _ in 0..HERE_ATTEMPTS {
            match self.shared.pace.way() {
                Way::Here(leave) => return Some(leave),
                Way::Soon => tokio::task::yield_now().await,
                Way::Pool => break,
            }
        }
        None
    }

    /// Reads a row past the block cache on the caller's thread; a miss while the databases are opened anew.
    fn get_here(&self, space: Space, key: &[u8], _: &Leave<'_>) -> Result<Cached<Option<Bytes>>, StoreError> {
        let read = || self.shared.try_with(|pair| pair.of(space.database()).get(space, key));
        Ok(self.shared.timed(&*self.clock, read)?.map_or(Cached::Miss, Cached::Hit))
    }

    /// The rows of a range, likewise.
    fn scan_here(&self, space: Space, (from, to): (&[u8], &[u8]), limit: usize, _: &Leave<'_>) -> Result<Option<Vec<Row>>, StoreError> {
        let begun = self.clock.monotonic();
        let rows = self.shared.try_with(|pair| pair.of(space.database()).scan(space, from, to, limit))?;
        if let Some(rows) = &rows {
            self.shared.pace.took_range(self.clock.monotonic().saturating_sub(begun), rows.len());
        }
        Ok(rows)
    }

    /// Writes a commit that is an unsynced tail alone, on the caller's thread; `None` where it must queue.
    fn at_once(&self, commit: &mut Commit) -> Option<Result<Committed, StoreError>> {
        if commit.durability != Durability::Written || !commit.checks.is_empty() || !commit.writes.is_empty() {
            return None;
        }
        self.desk.try_take()?.as_mut()?.at_once(commit.tail.as_mut()?.as_mut(), commit.urgency)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let cached = self.shared.try_with(|pair| pair.of(space.database()).get_cached(space, key))?;
        if let Some(Cached::Hit(value)) = cached {
            self.shared.counters.read(ReadFrom::Cache);
            return Ok(value);
        }
        if let Some(leave) = self.leave().await
            && let Cached::Hit(value) = self.get_here(space, key, &leave)?
        {
            self.shared.counters.read(ReadFrom::Here);
            return Ok(value);
        }
        self.shared.counters.read(ReadFrom::Pool);
        let (shared, clock, key) = (Arc::clone(&self.shared), Arc::clone(&self.clock), key.to_vec());
        let read = move || shared.timed(&*clock, || shared.with(|pair| pair.of(space.database()).get(space, &key)));
        self.readers.run(read).await
    }

    async fn get_many(&self, space: Space, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if let [key] = keys {
            return Ok(vec![self.get(space, key).await?]);
        }
        let cached = self.shared.try_with(|pair| pair.of(space.database()).get_many_cached(space, keys))?;
        let mut values = Vec::with_capacity(keys.len());
        for (key, cached) in keys.iter().zip(cached.unwrap_or_else(|| keys.iter().map(|_| Cached::Miss).collect())) {
            values.push(match cached {
                Cached::Hit(value) => {
                    self.shared.counters.read(ReadFrom::Cache);
                    value
                }
                Cached::Miss => self.get(space, key).await?,
            });
        }
        Ok(values)
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        // Most ranges are short, whatever their limit is: where the probe meets the end, nothing else need be read.
        let probe = if limit <= INLINE_SCAN_ROWS { limit } else { PROBE_ROWS };
        let cached = self.shared.try_with(|pair| pair.of(space.database()).scan_cached(space, from, to, probe))?;
        let whole = |rows: &Vec<Row>| probe == limit || rows.len() < probe;
        let is_missing = matches!(cached, Some(Cached::Miss));
        if let Some(Cached::Hit(rows)) = cached
            && whole(&rows)
        {
            self.shared.counters.read(ReadFrom::Cache);
            return Ok(rows);
        }
        if is_missing
            && let Some(leave) = self.leave().await
            && let Some(rows) = self.scan_here(space, (from, to), probe, &leave)?
            && whole(&rows)
        {
            self.shared.counters.read(ReadFrom::Here);
            return Ok(rows);
        }
        self.shared.counters.read(ReadFrom::Pool);
        let (shared, clock, from, to) = (Arc::clone(&self.shared), Arc::clone(&self.clock), from.to_vec(), to.to_vec());
        let read = move || -> Result<Vec<Row>, StoreError> {
            let begun = clock.monotonic();
            let rows = shared.with(|pair| pair.of(space.database()).scan(space, &from, &to, limit))?;
            shared.pace.took_range(clock.monotonic().saturating_sub(begun), rows.len());
            Ok(rows)
        };
        self.readers.run(read).await
    }

    async fn scan_each(&self, space: Space, ranges: &[KeyRange], limit: usize) -> Result<Vec<Vec<Row>>, StoreError> {
        let probe = if limit <= INLINE_SCAN_ROWS { limit } else { PROBE_ROWS };
        let mut each = Vec::with_capacity(ranges.len());
        for some in ranges.chunks(RANGES_AT_ONCE) {
            let cached = self.shared.try_with(|pair| pair.of(space.database()).scan_each_cached(space, some, probe))?;
            for (range, cached) in some.iter().zip(cached.unwrap_or_else(|| some.iter().map(|_| Cached::Miss).collect())) {
                each.push(match cached {
                    Cached::Hit(rows) if probe == limit || rows.len() < probe => {
                        self.shared.counters.read(ReadFrom::Cache);
                        rows
                    }
                    Cached::Hit(_) | Cached::Miss => self.scan(space, &range.from, &range.to, limit).await?,
                });
            }
        }
        Ok(each)
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, StoreError> {
        group::inspect(&commit.writes)?;
        if let Some(answer) = self.at_once(&mut commit) {
            return answer;
        }
        self.submit(None, commit).await
    }

    async fn commit_behind(&self, before: Before, commit: Commit) -> Result<Committed, StoreError> {
        group::inspect(&before.writes)?;
        group::inspect(&commit.writes)?;
        self.submit(Some(before), commit).await
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Request::SyncMirror(answer))?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Io("the committer has ended".into())))
    }

    async fn confirm_copies(&self) -> Result<(), StoreError> {
        self.shared.copies.confirm().await
    }

    async fn catch_up_copies(&self) -> Result<(), StoreError> {
        self.shared.copies.catch_up().await
    }

    fn failing_copy(&self) -> Option<(usize, StoreError)> {
        self.shared.copies.failing()
    }

    fn takes_commits(&self) -> Result<(), StoreError> {
        match self.health() {
            Health::Ok | Health::EssentialOnly => Ok(()),
            Health::Full => Err(StoreError::DiskFull),
            Health::Closed => Err(StoreError::Closed),
        }
    }

    fn observe(&self) {
        self.shared.counters.observe();
        self.shared.copies.observe();
    }

    async fn take_snapshot(&self, id: SnapshotId) -> Result<DataSnapshot, StoreError> {
        let (shared, snapshots, now) = (Arc::clone(&self.shared), Arc::clone(&self.snapshots), self.clock.monotonic());
        self.readers.run(move || shared.with(|pair| snapshots.take(pair.of(Database::Data), id, now))).await
    }

    async fn release_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        let snapshots = Arc::clone(&self.snapshots);
        self.readers.run(move || snapshots.release(id)).await
    }

    async fn sweep_snapshots(&self) -> Result<u64, StoreError> {
        let (snapshots, now) = (Arc::clone(&self.snapshots), self.clock.monotonic());
        self.readers.run(move || snapshots.sweep(now)).await
    }

    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        let (shared, ranges) = (Arc::clone(&self.shared), ranges.to_vec());
        self.compactor.run(move || shared.with(|pair| pair.of(space.database()).compact(space, &ranges))).await
    }

    async fn drop_files(&self, space: Space, range: &KeyRange) -> Result<(), StoreError> {
        let (shared, range) = (Arc::clone(&self.shared), range.clone());
        self.compactor.run(move || shared.with(|pair| pair.of(space.database()).drop_files(space, &range))).await
    }
}
