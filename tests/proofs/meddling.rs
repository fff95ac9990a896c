//! A store between the vault and the engine: refuses commits and holds up reads as a test says.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use lethe::vault::store::{
    Commit, Committed, Database, Row, Space, Store, StoreError, Write,
    schema::{KeyRange, Table},
};
use tokio::sync::Semaphore;

type Refusal = Box<dyn Fn(&Commit) -> Option<StoreError> + Send>;
type Which = Box<dyn Fn(&Commit) -> bool + Send>;
type Where = Box<dyn Fn(Space, &[u8]) -> bool + Send>;

/// What the test says. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Meddler(Arc<Mutex<Orders>>);

#[derive(Default)]
struct Orders {
    refuse: Option<Refusal>,
    /// Reads that begin here wait for a permit.
    hold: Option<(Space, Bytes, Arc<Semaphore>)>,
    /// Who reads this row first waits with it.
    hold_reader: Option<(Space, Bytes, Arc<Held>)>,
    /// The first such commit waits before it is made.
    hold_commit: Option<(Which, Arc<Held>)>,
    /// The first such look for rows waits before it is made.
    hold_scan: Option<(Where, Arc<Held>)>,
    /// Who looks first for such rows waits with them.
    hold_rows: Option<(Where, Arc<Held>)>,
    /// Who asks first whether the copies have what was committed waits for the answer.
    hold_copies: Option<Arc<Held>>,
    /// Rows of records that were read one by one.
    records_read: usize,
    /// Rows of control that were read, and looks for one.
    control_read: usize,
    /// What was read since it is counted.
    rows_read: Option<Reading>,
}

#[derive(Default)]
struct Reading {
    rows: HashSet<(Space, Vec<u8>)>,
    times: usize,
}

impl Reading {
    fn add(&mut self, space: Space, key: &[u8]) {
        self.rows.insert((space, key.to_vec()));
        self.times += 1;
    }
}

/// How many rows were read: one by one, in a range, or as preconditions of commits. A look that finds none is one, where it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowsRead {
    pub(crate) data: usize,
    pub(crate) control: usize,
    /// How often they were read all together: a commit that is tried again reads its rows again.
    pub(crate) times: usize,
}

/// A reader that has read, and does not come back with it yet, or who is about to commit.
pub(crate) struct Held {
    has_read: Semaphore,
    may_go: Semaphore,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self { has_read: Semaphore::new(0), may_go: Semaphore::new(0) })
    }

    /// Waits until somebody is held.
    pub(crate) async fn has_read(&self) {
        self.has_read.acquire().await.unwrap().forget();
    }

    async fn hold(&self) {
        self.has_read.add_permits(1);
        self.may_go.acquire().await.unwrap().forget();
    }

    pub(crate) fn let_go(&self) {
        self.may_go.add_permits(1);
    }
}

impl Meddler {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().unwrap()
    }

    /// Refuses commits from now on.
    pub(crate) fn refuse(&self, refuse: impl Fn(&Commit) -> Option<StoreError> + Send + 'static) {
        self.lock().refuse = Some(Box::new(refuse));
    }

    /// Refuses what would end an epoch, of a store that was opened with this between it and the forest; a permit for each.
    pub(crate) fn refuse_epochs(&self, error: StoreError) -> Refused {
        let refused = Arc::new(Semaphore::new(0));
        let count = refused.clone();
        self.refuse(move |commit| {
            sets(commit, Table::RootPtr, |_, _| true).then(|| {
                count.add_permits(1);
                error.clone()
            })
        });
        Refused(refused)
    }

    pub(crate) fn refuse_nothing(&self) {
        self.lock().refuse = None;
    }

    /// Holds up whoever looks for the first rows of a range, until permits are added.
    pub(crate) fn hold(&self, space: Space, from: Bytes) -> Arc<Semaphore> {
        let permits = Arc::new(Semaphore::new(0));
        self.lock().hold = Some((space, from, permits.clone()));
        permits
    }

    /// Holds up whoever reads a row next, behind the read.
    pub(crate) fn hold_reader(&self, space: Space, key: Bytes) -> Arc<Held> {
        let held = Held::new();
        self.lock().hold_reader = Some((space, key, held.clone()));
        held
    }

    /// Rows of records that were read one by one since this was asked last.
    pub(crate) fn take_records_read(&self) -> usize {
        std::mem::take(&mut self.lock().records_read)
    }

    /// Rows of control that were read since this was asked last, and looks for one.
    pub(crate) fn take_control_read(&self) -> usize {
        std::mem::take(&mut self.lock().control_read)
    }

    /// Counts the rows that are read from now on.
    pub(crate) fn count_rows(&self) {
        self.lock().rows_read = Some(Reading::default());
    }

    /// Those that were read since, and counts no more.
    pub(crate) fn rows_read(&self) -> RowsRead {
        let Reading { rows, times } = self.lock().rows_read.take().unwrap();
        let data = rows.iter().filter(|(space, _)| space.database() == Database::Data).count();
        RowsRead { data, control: rows.len() - data, times }
    }

    fn reads(&self, space: Space, key: &[u8]) {
        if let Some(reading) = &mut self.lock().rows_read {
            reading.add(space, key);
        }
    }

    /// Holds up the next such commit, before it is made.
    pub(crate) fn hold_commit(&self, which: impl Fn(&Commit) -> bool + Send + 'static) -> Arc<Held> {
        let held = Held::new();
        self.lock().hold_commit = Some((Box::new(which), held.clone()));
        held
    }

    /// Holds up the next look for rows from such a place on, before it is made.
    pub(crate) fn hold_scan(&self, is_from: impl Fn(Space, &[u8]) -> bool + Send + 'static) -> Arc<Held> {
        let held = Held::new();
        self.lock().hold_scan = Some((Box::new(is_from), held.clone()));
        held
    }

    /// Holds up the next look for rows from such a place on, behind the read.
    pub(crate) fn hold_rows(&self, is_from: impl Fn(Space, &[u8]) -> bool + Send + 'static) -> Arc<Held> {
        let held = Held::new();
        self.lock().hold_rows = Some((Box::new(is_from), held.clone()));
        held
    }

    fn held_rows(&self, space: Space, from: &[u8]) -> Option<Arc<Held>> {
        Some(self.lock().hold_rows.take_if(|(is_from, _)| is_from(space, from))?.1)
    }

    fn held_scan(&self, space: Space, from: &[u8]) -> Option<Arc<Held>> {
        Some(self.lock().hold_scan.take_if(|(is_from, _)| is_from(space, from))?.1)
    }

    /// Holds up whoever waits for the copies of the control store next.
    pub(crate) fn hold_copies(&self) -> Arc<Held> {
        let held = Held::new();
        self.lock().hold_copies = Some(held.clone());
        held
    }

    fn held_commit(&self, commit: &Commit) -> Option<Arc<Held>> {
        Some(self.lock().hold_commit.take_if(|(which, _)| which(commit))?.1)
    }

    fn held_reader(&self, space: Space, key: &[u8]) -> Option<Arc<Held>> {
        Some(self.lock().hold_reader.take_if(|(of, row, _)| *of == space && row == key)?.2)
    }

    /// The store with this between.
    pub(crate) fn over(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Meddled { store, meddler: self.clone() })
    }
}

/// Commits that were refused.
pub(crate) struct Refused(Arc<Semaphore>);

impl Refused {
    /// Waits for one that is refused from now on.
    pub(crate) async fn next(&self) {
        self.0.forget_permits(Semaphore::MAX_PERMITS);
        self.0.acquire().await.unwrap().forget();
    }
}

/// Whether a commit sets a row of a table.
pub(crate) fn sets(commit: &Commit, table: Table, is: impl Fn(&Bytes, &Bytes) -> bool) -> bool {
    let tag = table as u8;
    commit
        .writes
        .iter()
        .any(|write| matches!(write, Write::Put { space: Space::Control | Space::Index, key, value } if key[0] == tag && is(key, value)))
}

pub(crate) fn puts_a_record(commit: &Commit) -> bool {
    commit.writes.iter().any(|write| matches!(write, Write::Put { space: Space::Records, .. }))
}

pub(crate) fn deletes_a_record(commit: &Commit) -> bool {
    commit.writes.iter().any(|write| matches!(write, Write::Delete { space: Space::Records, .. }))
}

struct Meddled {
    store: Arc<dyn Store>,
    meddler: Meddler,
}

#[async_trait]
impl Store for Meddled {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if space == Space::Records {
            self.meddler.lock().records_read += 1;
        }
        if space == Space::Control {
            self.meddler.lock().control_read += 1;
        }
        self.meddler.reads(space, key);
        let held = self.meddler.held_reader(space, key);
        let row = self.store.get(space, key).await;
        if let Some(held) = held {
            held.hold().await;
        }
        row
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if let Some(held) = self.meddler.held_scan(space, from) {
            held.hold().await;
        }
        let held = self.meddler.lock().hold.as_ref().filter(|(of, at, _)| *of == space && at == from).map(|hold| hold.2.clone());
        let behind = self.meddler.held_rows(space, from);
        let rows = self.store.scan(space, from, to, limit).await;
        if let Some(behind) = behind {
            behind.hold().await;
        }
        if space == Space::Control {
            self.meddler.lock().control_read += rows.as_ref().map_or(0, Vec::len) + 1;
        }
        match rows.as_deref() {
            Ok(rows) if !rows.is_empty() => rows.iter().for_each(|row| self.meddler.reads(space, &row.key)),
            Ok(_) | Err(_) => self.meddler.reads(space, from),
        }
        if let Some(permits) = held {
            permits.acquire().await.unwrap().forget();
        }
        rows
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        if let Some(held) = self.meddler.held_commit(&commit) {
            held.hold().await;
        }
        for check in &commit.checks {
            self.meddler.reads(check.space, &check.key);
        }
        let refused = self.meddler.lock().refuse.as_ref().and_then(|refuse| refuse(&commit));
        match refused {
            Some(error) => Err(error),
            None => self.store.commit(commit).await,
        }
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        self.store.sync_mirror().await
    }

    async fn confirm_copies(&self) -> Result<(), StoreError> {
        let held = self.meddler.lock().hold_copies.take();
        if let Some(held) = held {
            held.hold().await;
        }
        self.store.confirm_copies().await
    }

    async fn sweep_snapshots(&self) -> Result<u64, StoreError> {
        self.store.sweep_snapshots().await
    }

    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        self.store.compact(space, ranges).await
    }

    async fn drop_files(&self, space: Space, range: &KeyRange) -> Result<(), StoreError> {
        self.store.drop_files(space, range).await
    }
}
