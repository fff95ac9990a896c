//! For the tests: a store in memory that runs tails and can fail or go back in time, and a forest on it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::{Audit, AuditError, AuditOptions, LostTail, note::Signer};
use crate::{
    domain::{StoreId, TenantNo, TestClock, Timestamp},
    vault::{
        crypto::Suite,
        keys::{Custody, FileCustody, Forest, ForestOptions, Ground, UnitRef},
        store::{Commit, Committed, Database, Expect, Row, Space, Store, StoreError, Write, schema::KeyRange},
    },
};

pub(super) const STORE: StoreId = StoreId([0x5e; 16]);

type Rows = BTreeMap<(Space, Bytes), Bytes>;

/// Rows in memory; the next commits can be made to fail after their tails have made their rows.
#[derive(Default)]
pub(super) struct MemoryStore {
    rows: Mutex<Rows>,
    failing: AtomicU32,
}

impl MemoryStore {
    pub(super) fn fail_next(&self, commits: u32) {
        self.failing.store(commits, Ordering::SeqCst);
    }

    /// All rows of a database.
    pub(super) fn copy(&self, database: Database) -> Rows {
        self.rows
            .lock()
            .unwrap()
            .iter()
            .filter(|((space, _), _)| space.database() == database)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Puts a copy of a database in its place.
    pub(super) fn restore(&self, database: Database, copy: Rows) {
        let mut rows = self.rows.lock().unwrap();
        rows.retain(|(space, _), _| space.database() != database);
        rows.extend(copy);
    }

    pub(super) fn set(&self, space: Space, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        let mut rows = self.rows.lock().unwrap();
        match value {
            Some(value) => rows.insert((space, key), value),
            None => rows.remove(&(space, key)),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.rows.lock().unwrap().get(&(space, Bytes::copy_from_slice(key))).cloned())
    }

    async fn scan(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let range = (space, Bytes::copy_from_slice(from))..(space, Bytes::copy_from_slice(to));
        let rows = self.rows.lock().unwrap();
        Ok(rows.range(range).take(limit).map(|((_, key), value)| Row { key: key.clone(), value: value.clone() }).collect())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let mut rows = self.rows.lock().unwrap();
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
        let mut tail = commit.tail;
        let mut writes = commit.writes;
        if let Some(tail) = &mut tail {
            writes.extend(tail.rows().inspect_err(|error| tail.refused(error))?);
        }
        let fails = self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if !fails {
            for write in writes {
                match write {
                    Write::Put { space, key, value } => drop(rows.insert((space, key), value)),
                    Write::Delete { space, key } => drop(rows.remove(&(space, key))),
                    Write::DeleteRange { space, from, to } => rows.retain(|(at, key), _| *at != space || *key < from || *key >= to),
                }
            }
        }
        if let Some(tail) = &mut tail {
            tail.settled(!fails);
            if fails {
                tail.refused(&StoreError::DiskFull);
            }
        }
        if fails { Err(StoreError::DiskFull) } else { Ok(Committed { control_seq: 0 }) }
    }

    async fn sync_mirror(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn compact(&self, _: Space, _: &[KeyRange]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A place where the audit room can be opened again and again.
pub(super) struct Site {
    pub(super) dir: TempDir,
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: TestClock,
    pub(super) forest: Forest,
    pub(super) options: AuditOptions,
}

impl Site {
    pub(super) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Arc::new(MemoryStore::default());
        let clock = TestClock::at(Timestamp(1_790_000_000_000));
        let custody = dir.path().join("custody");
        FileCustody::create(&custody, STORE).unwrap();
        let custody: Box<dyn Custody> = Box::new(FileCustody::open(&custody, None, STORE, Arc::new(clock.clone())).unwrap());
        let ground = Ground { store_id: STORE, store: store.clone(), custody: vec![custody], clock: Arc::new(clock.clone()) };
        let options = ForestOptions { unit_height: 1, tenant_height: 1, key_ttl: Duration::from_mins(1), ..ForestOptions::default() };
        let forest = Forest::create(ground, options).await.unwrap();
        forest.make_tenant(TenantNo::SYSTEM).await.unwrap();
        Self { dir, store, clock, forest, options: AuditOptions { suite: Suite::Aes256Gcm, cached_chains: 1_000 } }
    }

    /// A tenant's audit unit.
    pub(super) async fn unit(&self) -> UnitRef {
        self.forest.make_unit(TenantNo::SYSTEM).await.unwrap()
    }

    pub(super) fn signer() -> Signer {
        Signer::from_seed("lethe/test", &[3; 32]).unwrap()
    }

    pub(super) async fn try_open(&self) -> Result<(Audit, Vec<LostTail>), AuditError> {
        let clock = Arc::new(self.clock.clone());
        Audit::open(
            self.store.clone(),
            self.forest.clone(),
            STORE,
            clock,
            self.dir.path().join("log").as_path(),
            Self::signer(),
            self.options,
        )
        .await
    }

    pub(super) async fn open(&self) -> Audit {
        let (audit, lost) = self.try_open().await.unwrap();
        assert_eq!(lost, []);
        audit
    }
}
