//! The engine of a process that dies at one of its commits: before it, or behind it where only the answer is lost. From there on it answers
//! nothing; what it has committed, a start finds.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use lethe::vault::store::{Commit, Committed, Row, Space, Store, StoreError, Write, embedded::Embedded, schema::KeyRange};
use tokio_util::sync::CancellationToken;

use crate::harness::{Open, Place};

pub(crate) struct Dying {
    inner: Arc<Embedded>,
    /// Two for each commit: before it, and behind it.
    places: AtomicUsize,
    end: Mutex<End>,
    dead: CancellationToken,
}

/// How a process ends. Who commits in the background may meet its death at the moment at which all is done that the test has asked for.
#[derive(Default)]
struct End {
    /// Where it dies. At none: what is committed is the test's own.
    dies_at: Option<usize>,
    /// It dies at a commit that is under way.
    is_dying: bool,
    /// The tables that the commit wrote to at which it died.
    met: Vec<u8>,
}

fn dead() -> StoreError {
    StoreError::Io("the process is dead".into())
}

impl Dying {
    fn new(inner: Arc<Embedded>, dies_at: Option<usize>) -> Self {
        let end = Mutex::new(End { dies_at, ..End::default() });
        Self { inner, places: AtomicUsize::new(0), end, dead: CancellationToken::new() }
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap()
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead() { Err(dead()) } else { Ok(()) }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// It dies so many places from here on, if it comes so far.
    pub(crate) fn dies_in(&self, places: usize) {
        self.end().dies_at = Some(self.places.load(Ordering::SeqCst) + places);
    }

    /// Waits for its death.
    pub(crate) async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// From here on it dies no more, but at a commit that is under way; whether it lives.
    pub(crate) async fn lives_on(&self) -> bool {
        let is_dying = {
            let mut end = self.end();
            end.dies_at = None;
            end.is_dying
        };
        if is_dying {
            self.died().await;
        }
        !is_dying
    }

    /// The tables that the commit wrote to at which it died.
    pub(crate) fn met(&self) -> Vec<u8> {
        self.end().met.clone()
    }
}

impl Place {
    /// Opens the store over an engine that dies at a place, or at none so far.
    pub(crate) async fn open_dying(&self, dies_at: Option<usize>) -> (Result<Open, String>, Arc<Dying>) {
        let mut engine = None;
        let opened = self
            .open_through(|inner| {
                let dying = Arc::new(Dying::new(inner, dies_at));
                engine = Some(Arc::clone(&dying));
                dying
            })
            .await;
        (opened, engine.unwrap())
    }
}

#[async_trait]
impl Store for Dying {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.alive()?;
        self.inner.get(space, key).await
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.alive()?;
        self.inner.scan(space, from, to, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.alive()?;
        let place = self.places.fetch_add(2, Ordering::SeqCst);
        let died = {
            let mut end = self.end();
            let died = end.dies_at.and_then(|at| at.checked_sub(place)).filter(|variant| *variant < 2);
            if died.is_some() {
                end.is_dying = true;
                end.met = commit.writes.iter().filter_map(tag).collect();
            }
            died
        };
        if died == Some(0) {
            self.dead.cancel();
            return Err(dead());
        }
        let done = self.inner.commit(commit).await;
        if died == Some(1) {
            self.dead.cancel();
            return Err(dead());
        }
        done
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        self.alive()?;
        self.inner.sync_mirror().await
    }

    async fn compact(&self, space: Space, ranges: &[KeyRange]) -> Result<(), StoreError> {
        self.alive()?;
        self.inner.compact(space, ranges).await
    }

    async fn drop_files(&self, space: Space, range: &KeyRange) -> Result<(), StoreError> {
        self.alive()?;
        self.inner.drop_files(space, range).await
    }
}

/// The table of a control row.
fn tag(write: &Write) -> Option<u8> {
    match write {
        Write::Put { space: Space::Control | Space::Index, key, .. } | Write::Delete { space: Space::Control | Space::Index, key } => {
            key.first().copied()
        }
        Write::Put { .. } | Write::Delete { .. } | Write::DeleteRange { .. } => None,
    }
}
