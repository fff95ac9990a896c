//! Someone with write access to the disk: rows and key pages that were bent, cut, moved, spliced or put back from an
//! earlier day. Each is refused under its own reason in `lethe_open_failures_total`, no plaintext of it leaves, and its
//! neighbours read. The one thing that opens is what docs/threat-model.md leaves open: a record's own older version.

mod blobs;
mod control;
mod index;
mod leases;
mod pages;
mod records;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use lethe::{
    domain::{ShredUnit, TenantName, TestClock},
    vault::{
        ops::{Caller, VaultError},
        store::Space,
    },
};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    harness::{Open, Place},
    rows,
};

/// Tenant `acme` with the collection `c` of persons.
struct Bench {
    place: Place,
    clock: TestClock,
    open: Open,
    acme: TenantName,
    owner: Caller,
}

/// How often which reason was counted.
type Counted = BTreeMap<String, u64>;

/// Runs it; what it gave, and what it counted of stored rows that did not open.
async fn watched<T>(work: impl Future<Output = T>) -> (T, Counted) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counts = recorder.handle();
    // Of this thread alone, which is where a test's own future runs: other tests count for themselves.
    let local = metrics::set_default_local_recorder(&recorder);
    let done = work.await;
    drop(local);
    let text = counts.render();
    let lines = text.lines().filter_map(|line| line.strip_prefix("lethe_open_failures_total{reason=\"")?.split_once("\"} "));
    (done, lines.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())).collect())
}

/// Counted once, under this reason.
fn once(reason: &str) -> Counted {
    Counted::from([(reason.to_owned(), 1)])
}

impl Bench {
    async fn make() -> Self {
        let (place, clock) = Place::make_clocked().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
        Self { place, clock, open, acme, owner }
    }

    /// All rows of a space; of records those of the tenant.
    async fn rows(&self, space: Space) -> Vec<(Bytes, Bytes)> {
        rows::pairs(rows::all(&self.open.store, space).await)
    }

    async fn set(&self, space: Space, key: &Bytes, value: Option<Bytes>) {
        rows::set(&self.open.store, space, key, value).await;
    }

    async fn set_all(&self, space: Space, rows: &[(Bytes, Bytes)]) {
        for (key, value) in rows {
            self.set(space, key, Some(value.clone())).await;
        }
    }

    async fn put(&self, key: &str, value: &[u8]) {
        self.open.put(&self.owner, &self.acme, ("c", key), Some(key), value).await.unwrap();
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, VaultError> {
        self.open.get(&self.owner, &self.acme, ("c", key)).await
    }

    /// It is refused as damaged and counted once under this reason.
    async fn refuses(&self, key: &str, reason: &str, what: &str) {
        let (got, counted) = watched(self.get(key)).await;
        assert!(matches!(got, Err(VaultError::Internal(_))), "{what}: {key} gave {got:?}");
        assert_eq!(counted, once(reason), "{what}: {key}");
    }

    /// It reads as it was written, and nothing is counted.
    async fn reads(&self, key: &str, value: &[u8], what: &str) {
        let (got, counted) = watched(self.get(key)).await;
        assert!(got.as_ref().is_ok_and(|got| got == value), "{what}: {key} gave {:?}", got.map(|got| got.len()));
        assert_eq!(counted, Counted::new(), "{what}: {key}");
    }

    /// Lets the time pass after which no key is held in memory any more.
    fn forget_keys(&self) {
        self.clock.advance(Duration::from_mins(6));
    }
}
