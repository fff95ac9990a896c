//! For the tests: a store in memory that outlives a forest, custody in a temp dir, a clock that stands.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Custody, FileCustody, Forest, ForestOptions, KeysError, Recovery, recovery::Ground};
use crate::{
    domain::{StoreId, TestClock, Timestamp},
    vault::store::{Commit, Committed, Expect, Row, Space, Store, StoreError, Write},
};

pub(super) const STORE: StoreId = StoreId([0x5e; 16]);

/// Rows in memory.
#[derive(Default)]
pub(super) struct MemoryStore(Mutex<BTreeMap<(Space, Bytes), Bytes>>);

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().unwrap().get(&(space, Bytes::copy_from_slice(key))).cloned())
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let range = (space, Bytes::copy_from_slice(from))..(space, Bytes::copy_from_slice(to));
        Ok(self
            .0
            .lock()
            .unwrap()
            .range(range)
            .take(limit)
            .map(|((_, key), value)| Row { key: key.clone(), value: value.clone() })
            .collect())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut rows = self.0.lock().unwrap();
        for (index, check) in commit.checks.iter().enumerate() {
            let row = rows.get(&(check.space, check.key.clone()));
            let holds = match &check.expect {
                Expect::Absent => row.is_none(),
                Expect::Present => row.is_some(),
                Expect::Equals(want) => row == Some(want),
                Expect::Prefix(want) => row.is_some_and(|row| row.starts_with(want)),
            };
            if !holds {
                return Err(StoreError::Conflict(index));
            }
        }
        for write in commit.writes {
            match write {
                Write::Put { space, key, value } => drop(rows.insert((space, key), value)),
                Write::Delete { space, key } => drop(rows.remove(&(space, key))),
                Write::DeleteRange { space, from, to } => {
                    rows.retain(|(row_space, key), _| *row_space != space || *key < from || *key >= to);
                }
            }
        }
        Ok(Committed { control_seq: 0 })
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn compact(&self, _: Space, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A place where a forest can be opened again and again.
pub(super) struct Site {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: TestClock,
    pub(super) options: ForestOptions,
}

impl Site {
    pub(super) fn new() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            store: Arc::new(MemoryStore::default()),
            clock: TestClock::at(Timestamp(1_000_000)),
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
        Ground { store_id: STORE, store: Arc::clone(&self.store), custody: custody.into(), clock: Arc::new(self.clock.clone()) }
    }

    pub(super) async fn create(&self) -> Forest {
        Forest::create(self.ground(), self.options).await.unwrap()
    }

    pub(super) async fn open(&self) -> Result<(Forest, Recovery), KeysError> {
        Forest::open(self.ground(), self.options).await
    }
}
