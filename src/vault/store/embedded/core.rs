//! What a commit needs to be written: both databases' state, the mirror, the reserve. Held by one writer at a time ([`Desk`]):
//! the committer's thread, or a caller whose commit is an entry of the trail that need not be synced, and who would spend
//! more on a change of threads than on the write ([`Core::at_once`]).
//!
//! Order within a group: the control batch is on disk, then its delta in the mirror, then the data batch. So data never
//! depends on control rows that could still be lost. After a write failed nothing is trusted: the core takes no more
//! commits until the next start. The one exception is a full disk, met in spite of the [`Reserve`]: the databases are
//! opened anew when there is space again, and must then be as they were.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rocksdb::{Cache, WriteBatch};

use crate::domain::Clock;

use super::{
    super::{Committed, Database, StoreError, Tail, Urgency, Write},
    copies::Copies,
    error::is_disk_full,
    group::{self, Group, Pair},
    known::Known,
    mirror::{Delta, Mirror, ReplaceError, State},
    open,
    options::EmbeddedOptions,
    pace::Pace,
    reserve::{Health, Reserve},
    stats::{Counters, Outcome},
};

/// How often the committer looks at the disk, and syncs what was only written.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// What is written at once relies on what was last read of the disk's free space for so long, and for so many bytes.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOK_BYTES: u64 = 256 * 1024;

/// What the committer and the readers share.
pub(super) struct Shared {
    /// `None` once closed.
    pub(super) pair: RwLock<Option<Pair>>,
    pub(super) counters: Counters,
    pub(super) pace: Pace,
    pub(super) copies: Arc<Copies>,
}

impl Shared {
    /// Lends the databases.
    pub(super) fn with<T>(&self, f: impl FnOnce(&Pair) -> Result<T, StoreError>) -> Result<T, StoreError> {
        f(self.pair.read().unwrap_or_else(PoisonError::into_inner).as_ref().ok_or(StoreError::Closed)?)
    }

    /// Lends the databases for a call that may not wait; `None` while they are opened anew.
    pub(super) fn try_with<T>(&self, f: impl FnOnce(&Pair) -> Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        let lent = match self.pair.try_read() {
            Ok(lent) => lent,
            Err(TryLockError::Poisoned(lent)) => lent.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        f(lent.as_ref().ok_or(StoreError::Closed)?).map(Some)
    }

    /// Makes a read past the block cache, and remembers how long it took.
    pub(super) fn timed<T>(&self, clock: &dyn Clock, read: impl FnOnce() -> T) -> T {
        let begun = clock.monotonic();
        let found = read();
        self.pace.took(clock.monotonic().saturating_sub(begun));
        found
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Running,
    /// A write met a full disk; the databases must be opened anew.
    Stalled,
    Closed,
}

/// Everything that is written goes through here.
pub(super) struct Core {
    shared: Arc<Shared>,
    options: EmbeddedOptions,
    cache: Cache,
    clock: Arc<dyn Clock>,
    mirror: Mirror,
    reserve: Reserve,
    control: State,
    data: open::DataState,
    /// Rows of the control store as they are on disk; nothing after a write that failed.
    known: Known,
    unsynced_since: Option<Duration>,
    /// What was written before that is being synced.
    is_syncing: bool,
    looked_at: Option<Duration>,
    /// Bytes that were written since.
    since_look: u64,
    mirror_limit: u64,
    mirror_health: Health,
    condition: Condition,
}

/// What a core starts with.
pub(super) struct Start {
    pub(super) shared: Arc<Shared>,
    pub(super) options: EmbeddedOptions,
    pub(super) cache: Cache,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) mirror: Mirror,
    pub(super) reserve: Reserve,
    pub(super) control: State,
    pub(super) data: open::DataState,
}

/// The core, lent to one writer at a time.
pub(super) struct Desk {
    /// `None` once the committer has ended.
    core: Mutex<Option<Core>>,
    /// How many of the engine's own threads are waiting: nobody comes before them.
    awaited: AtomicUsize,
}

impl Desk {
    pub(super) fn new(start: Start) -> Self {
        Self { core: Mutex::new(Some(Core::new(start))), awaited: AtomicUsize::new(0) }
    }

    /// The core, for a thread of the engine's own, as soon as it is free.
    pub(super) fn wait(&self) -> MutexGuard<'_, Option<Core>> {
        self.awaited.fetch_add(1, Ordering::Relaxed);
        let core = self.core.lock().unwrap_or_else(|broken| {
            let mut core = broken.into_inner();
            if let Some(core) = core.as_mut() {
                core.close();
            }
            core
        });
        self.awaited.fetch_sub(1, Ordering::Relaxed);
        core
    }

    /// The core, if it is free and not awaited; never after somebody who held it has panicked, for what he left is unknown.
    pub(super) fn try_take(&self) -> Option<MutexGuard<'_, Option<Core>>> {
        if self.awaited.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.core.try_lock().ok()
    }
}

impl Core {
    fn new(start: Start) -> Self {
        let Start { shared, options, cache, clock, mirror, reserve, control, data } = start;
        Self {
            mirror_limit: options.mirror_compact_bytes,
            shared,
            options,
            cache,
            clock,
            mirror,
            reserve,
            control,
            data,
            known: Known::default(),
            unsynced_since: None,
            is_syncing: false,
            looked_at: None,
            since_look: 0,
            mirror_health: Health::Ok,
            condition: Condition::Running,
        }
    }

    /// Writes the rows of a tail, of the data database, without a sync: in the time of one copy into the system's memory. `None`,
    /// and the tail is as it was, where that might take longer: the committer's thread has the time.
    pub(super) fn at_once(&mut self, tail: &mut dyn Tail, urgency: Urgency) -> Option<Result<Committed, StoreError>> {
        let shared = Arc::clone(&self.shared);
        let lent = shared.pair.try_read().ok()?;
        let pair = lent.as_ref()?;
        if self.condition != Condition::Running || !self.has_looked() {
            return None;
        }
        let refused = |core: &Self, tail: &mut dyn Tail, error: StoreError| {
            tail.refused(&error);
            Some(core.counted(Err(error)))
        };
        let rows = match tail.rows() {
            Ok(rows) => rows,
            Err(error) => return refused(self, tail, error),
        };
        let taken = self.write_at_once(pair, &rows, urgency);
        tail.settled(matches!(taken, Ok(true)));
        match taken {
            Ok(true) => {
                shared.counters.wrote_group(1);
                Some(self.counted(Ok(Committed { control_seq: self.control.seq })))
            }
            Ok(false) => None,
            Err(error) => {
                self.failed(&error);
                refused(self, tail, error)
            }
        }
    }

    /// Whether the rows were written.
    fn write_at_once(&mut self, pair: &Pair, rows: &[Write], urgency: Urgency) -> Result<bool, StoreError> {
        let (Ok(Some(Database::Data)), bytes) = (group::inspect(rows), group::rows_len(rows)) else { return Ok(false) };
        let since_look = self.since_look.saturating_add(bytes);
        if self.reserve.health() != Health::Ok || !self.reserve.admits(urgency, since_look) {
            return Ok(false);
        }
        let mut batch = WriteBatch::default();
        for row in rows {
            pair.data.put_write(&mut batch, row)?;
        }
        let next = self.data.next(self.control.seq);
        open::put_data_state(&mut batch, next);
        if !pair.data.try_write(batch)? {
            return Ok(false);
        }
        self.data = next;
        self.since_look = since_look;
        let now = self.clock.monotonic();
        self.unsynced_since.get_or_insert(now);
        Ok(true)
    }

    /// Whether what is known of the disk's free space still holds. Looking is not for who serves: it may take space, or give it back.
    fn has_looked(&self) -> bool {
        let now = self.clock.monotonic();
        self.since_look < LOOK_BYTES && self.looked_at.is_some_and(|at| now.saturating_sub(at) < LOOK_EVERY)
    }

    /// What is known of control rows, for the next group, which gives it back when it is written.
    pub(super) fn take_known(&mut self) -> Known {
        std::mem::take(&mut self.known)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.condition == Condition::Stalled
    }

    /// Whether the disks have room for a group of so many bytes whose control delta has so many.
    pub(super) fn room(&mut self, urgency: Urgency, group_bytes: u64, delta_bytes: usize) -> Result<(), StoreError> {
        match self.condition {
            Condition::Running => {}
            Condition::Stalled => return Err(StoreError::DiskFull),
            Condition::Closed => return Err(StoreError::Closed),
        }
        if !self.reserve.admits(urgency, group_bytes) {
            return Err(StoreError::DiskFull);
        }
        if delta_bytes > 0 {
            let ahead = self.options.mirror_ahead_bytes;
            let keep = if urgency == Urgency::Normal { ahead } else { 0 };
            self.mirror.allocate(delta_bytes, keep, ahead).map_err(|error| {
                let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                if full { StoreError::DiskFull } else { StoreError::Io(format!("mirror: {error}")) }
            })?;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, pair: &Pair, mut group: Group<'_>) {
        self.since_look = self.since_look.saturating_add(group.bytes());
        let control = self.write_control(pair, &mut group);
        let data = control.clone().and_then(|()| self.write_data(pair, &mut group));
        for error in [&control, &data].into_iter().filter_map(|result| result.as_ref().err()) {
            self.failed(error);
        }
        if control.is_ok() && data.is_ok() {
            self.known = group.known();
        }
        if !group.entries.is_empty() {
            self.shared.counters.wrote_group(group.entries.len());
        }
        let result = |database| match database {
            Some(Database::Control) => control.clone(),
            Some(Database::Data) => data.clone(),
            None => Ok(()),
        };
        let settle = |entries: &mut dyn Iterator<Item = &mut group::Entry>, stored: bool| {
            let of = |database: Option<Database>| result(database).is_ok() == stored;
            for entry in entries {
                let first = entry.before.as_mut().filter(|_| of(Some(Database::Control)));
                let second = entry.tail.as_mut().filter(|_| of(entry.database));
                let mut tails = [first, second];
                if !stored {
                    tails.reverse();
                }
                tails.into_iter().flatten().for_each(|tail| tail.settled(stored));
            }
        };
        settle(&mut group.entries.iter_mut().rev(), false);
        settle(&mut group.entries.iter_mut(), true);
        let done = Committed { control_seq: self.control.seq };
        for entry in group.entries {
            self.answer([entry.before, entry.tail], entry.answer, result(entry.database).map(|()| done));
        }
        for refused in group.refused {
            self.answer([refused.before, refused.tail], refused.answer, Err(refused.error));
        }
    }

    fn write_control(&mut self, pair: &Pair, group: &mut Group<'_>) -> Result<(), StoreError> {
        if group.control.is_empty() {
            return Ok(());
        }
        if group.control_reads_data && (self.unsynced_since.is_some() || self.is_syncing) {
            self.timed("data", || pair.data.sync())?;
            self.unsynced_since = None;
        }
        let delta = Delta::new(self.control, &group.delta).map_err(|error| StoreError::Io(format!("mirror: {error}")))?;
        let mut batch = std::mem::take(&mut group.control);
        open::put_control_state(&mut batch, delta.state);
        let sync = !self.options.danger_skip_sync;
        self.timed("control", || pair.control.write(batch, sync))?;
        let started = self.clock.monotonic();
        self.mirror.append(&delta).map_err(|error| StoreError::Io(format!("mirror: {error}")))?;
        self.shared.counters.synced("mirror", self.clock.monotonic().saturating_sub(started));
        self.control = delta.state;
        self.shared.copies.wrote(delta.state.seq);
        Ok(())
    }

    fn write_data(&mut self, pair: &Pair, group: &mut Group<'_>) -> Result<(), StoreError> {
        if group.data.is_empty() {
            return Ok(());
        }
        let now = self.clock.monotonic();
        let overdue = self.unsynced_since.is_some_and(|since| now.saturating_sub(since) >= TICK);
        let sync = (group.sync_data || overdue) && !self.options.danger_skip_sync;
        let mut batch = std::mem::take(&mut group.data);
        let next = self.data.next(self.control.seq);
        open::put_data_state(&mut batch, next);
        if sync {
            self.timed("data", || pair.data.write(batch, true))?;
            self.unsynced_since = None;
        } else {
            pair.data.write(batch, false)?;
            self.unsynced_since.get_or_insert(now);
        }
        self.data = next;
        Ok(())
    }

    fn timed<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> T {
        let started = self.clock.monotonic();
        let done = work();
        self.shared.counters.synced(what, self.clock.monotonic().saturating_sub(started));
        done
    }

    /// After a failed write: what is on disk is unknown.
    fn failed(&mut self, error: &StoreError) {
        if self.condition != Condition::Running {
            return;
        }
        let full = matches!(error, StoreError::Io(text) if is_disk_full(text) && !text.starts_with("mirror"));
        tracing::error!(%error, full, "store: a write failed; no more commits");
        if full {
            self.condition = Condition::Stalled;
            self.shared.counters.looked(Health::Full, self.reserve.free());
        } else {
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        self.condition = Condition::Closed;
        self.shared.counters.close();
    }

    pub(super) fn answer(&self, tails: [Option<Box<dyn Tail>>; 2], answer: group::Answer, result: Result<Committed, StoreError>) {
        if let Err(error) = &result {
            tails.into_iter().flatten().for_each(|mut tail| tail.refused(error));
        }
        // Who asked may be gone; the commit stands.
        drop(answer.send(self.counted(result)));
    }

    fn counted(&self, result: Result<Committed, StoreError>) -> Result<Committed, StoreError> {
        self.shared.counters.answered(match &result {
            Ok(_) => Outcome::Committed,
            Err(StoreError::Conflict(_)) => Outcome::Conflict,
            Err(StoreError::Busy) => Outcome::Busy,
            Err(StoreError::DiskFull) => Outcome::DiskFull,
            Err(StoreError::Closed | StoreError::Io(_) | StoreError::Damaged(_) | StoreError::Invalid(_)) => Outcome::Failed,
        });
        result
    }

    /// Reads the free space; on giving up the reserve, what is in memory goes to files while there is room.
    pub(super) fn look(&mut self, pair: &Pair) {
        let unflushed = || pair.control.unflushed_bytes().saturating_add(pair.data.unflushed_bytes());
        match self.reserve.look(unflushed) {
            Ok(true) => {
                for error in [pair.control.start_flush(), pair.data.start_flush()].into_iter().filter_map(Result::err) {
                    tracing::warn!(%error, "store: flush on a full disk");
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "store: reserve"),
        }
        (self.looked_at, self.since_look) = (Some(self.clock.monotonic()), 0);
        let ahead = self.options.mirror_ahead_bytes;
        match self.mirror.look(ahead) {
            Ok(health) => self.mirror_health = health,
            Err(error) => tracing::warn!(%error, "store: the mirror's disk"),
        }
        match self.condition {
            Condition::Running => self.shared.counters.looked(self.reserve.health().max(self.mirror_health), self.reserve.free()),
            Condition::Stalled => self.shared.counters.looked(Health::Full, self.reserve.free()),
            Condition::Closed => {}
        }
    }

    /// Looks at the disk, and opens the databases anew where a full one has room again. Whether a sync is to begin: then
    /// [`Core::synced`] tells how it went.
    pub(super) fn tick(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        if let Some(pair) = shared.pair.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            self.look(pair);
        }
        let may_sync = self.condition == Condition::Running && !self.options.danger_skip_sync && !self.is_syncing;
        let syncs = may_sync && self.unsynced_since.take().is_some();
        self.is_syncing |= syncs;
        if self.condition == Condition::Stalled && matches!(self.reserve.health(), Health::Ok | Health::EssentialOnly) {
            self.reopen();
        }
        syncs
    }

    /// What became of a sync of the data store.
    pub(super) fn synced(&mut self, result: Result<(), StoreError>) {
        self.is_syncing = false;
        if let Err(error) = result {
            self.failed(&error);
        }
    }

    /// Opens the databases anew after a full disk. They must be as the last answered commit left them.
    fn reopen(&mut self) {
        let shared = Arc::clone(&self.shared);
        // Readers and compactions end first; new ones wait for the lock.
        let stopped = shared.with(|pair| {
            pair.control.stop_background_work();
            pair.data.stop_background_work();
            Ok(())
        });
        let mut lent = shared.pair.write().unwrap_or_else(PoisonError::into_inner);
        drop(lent.take());
        let opened = stopped.map_err(|error| error.to_string()).and_then(|()| {
            let (pair, states) = open::open_pair(&self.options, &self.cache).map_err(|error| error.to_string())?;
            if (states.control, states.data) == (self.control, self.data) { Ok(pair) } else { Err("a commit that failed is stored".into()) }
        });
        match opened {
            Ok(pair) => {
                *lent = Some(pair);
                self.condition = Condition::Running;
                tracing::warn!("store: opened anew after a full disk");
            }
            Err(error) => {
                tracing::error!(%error, "store: not opened anew after a full disk");
                self.close();
            }
        }
    }

    pub(super) fn sync_mirror(&mut self) -> Result<(), StoreError> {
        if self.condition != Condition::Running {
            return Err(if self.condition == Condition::Stalled { StoreError::DiskFull } else { StoreError::Closed });
        }
        match self.mirror.read_back() {
            Ok(state) if state == self.control => return Ok(()),
            Ok(state) => tracing::warn!(mirror = state.seq, control = self.control.seq, "store: mirror is behind"),
            Err(error) => tracing::warn!(%error, "store: mirror is damaged"),
        }
        let shared = Arc::clone(&self.shared);
        shared
            .with(|pair| self.mirror.replace(self.control, pair.control.rows()).map_err(|error| StoreError::Io(error.to_string())))
            .inspect_err(|_| self.close())?;
        match self.mirror.read_back() {
            Ok(state) if state == self.control => Ok(()),
            Ok(_) => Err(StoreError::Damaged("mirror: a new snapshot reads back otherwise".into())),
            Err(error) => Err(StoreError::Damaged(error.to_string())),
        }
    }

    pub(super) fn compact_mirror(&mut self, pair: &Pair) {
        if self.condition != Condition::Running || !self.mirror.wants_compaction(self.mirror_limit) {
            return;
        }
        match self.mirror.replace(self.control, pair.control.rows()) {
            Ok(()) => self.mirror_limit = self.options.mirror_compact_bytes,
            Err(error @ ReplaceError::Stage(_)) => {
                tracing::warn!(%error, "store: mirror keeps its log");
                self.mirror_limit = self.mirror_limit.saturating_mul(2);
            }
            Err(error @ ReplaceError::Publish(_)) => {
                tracing::error!(%error, "store: mirror");
                self.close();
            }
        }
    }
}
