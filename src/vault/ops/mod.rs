//! The operations: one a file, each read from top to bottom in three beats: gather (only sealed and wrapped
//! bytes cross an await), open (keys are lent to a closure and die with it), record (the audit entry is
//! in the store before a plaintext can leave).
//!
//! Read [`get`] first, then [`put`] over [`plan`], then [`shred`]. [`Vault`] is the room's only door.

use std::sync::{Arc, atomic::AtomicBool};

use futures_util::future::BoxFuture;

use crate::{
    authn::Principal,
    domain::{Clock, CollectionNo, RequestId, StoreId, TenantNo, Timestamp},
    vault::{
        audit::{Audit, note::Signer},
        crypto::{Data, Key, Suite, TenantSecret},
        keys::{Forest, LendError, UnitRef},
        store::{Row, Space, Store, schema::KeyRange},
    },
};

mod access;
mod aliases;
mod approvals;
mod audits;
mod batch;
mod blob;
mod brake;
pub mod bundle;
mod certify;
mod check;
mod collections;
mod deferred;
mod delete;
mod deletions;
mod directory;
mod door;
mod due;
mod error;
mod events;
mod explain;
mod foresee;
mod get;
mod holds;
mod lifecycle;
mod list;
mod minimum;
mod names;
mod plan;
mod put;
mod ranges;
mod reclaim;
mod refused;
mod replies;
mod reports;
mod restored;
mod restricted;
mod retention;
mod rounds;
pub(in crate::vault) mod rows;
mod sample;
mod shorten;
mod shred;
mod shredder;
mod simulate;
mod snapshots;
mod spare;
mod start;
mod tenants;
mod tokens;
mod turns;
mod units;
mod watched;

pub use aliases::{NewAlias, PersonView};
pub use approvals::{ApprovalView, ApprovalWhat, PolicyChange, PolicyView};
pub use batch::{BatchOp, BatchResult};
pub use bundle::{BundleError, ExportTenant, ImportPart, ImportView};
pub use check::CheckReport;
pub use collections::CollectionView;
pub use door::NotReady;
pub use due::{Destroyed, DueHour, MarkedItem, RunProgress};
pub use error::{BodyError, Conflict, Missing, NotSecond, Unprocessable, VaultError};
pub use events::{EventView, EventsView};
pub use explain::RetentionView;
pub use get::{GetRecord, Got, RangeSpec, Value, ValueStream};
pub use holds::{HoldView, Released, ShownScope};
pub use lifecycle::{KeptRecords, Minimum, Remaining, StateChange, Terminate, Terminated, TerminationView};
pub use list::{ListItem, ListPage, ListQuery, PAGE_LEN};
pub use names::{NamedEntry, Names, TrailView};
pub use put::{Body, Precondition, Put, PutRecord};
pub use reclaim::Reclaimed;
pub use reports::ReportView;
pub use restored::Proof;
pub use shred::{Denied, RetainedView, SecondPerson, ShredOrder, ShredTotals, ShredView};
pub use simulate::{Ending, Simulated};
pub use snapshots::SnapshotView;
pub use start::{Idle, VaultParts};
pub use tenants::TenantView;
pub use tokens::{MintToken, MintedToken, TokenView};

pub use super::crypto::{Recipient, RecipientError};

/// Who asks, and in which request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Made by `authn` alone.
    pub principal: Principal,
    /// The request's id, as audit entries and problem documents give it.
    pub request: RequestId,
    /// What the request says it is for: one of the purposes of the collection it concerns.
    pub purpose: Option<String>,
    /// Whether a refusal of the present operation is in a trail.
    on_record: Arc<AtomicBool>,
    /// From when on it commits nothing any more: of what it approves for somebody else.
    until: Option<Timestamp>,
    /// What is held as long as anything is done for the request.
    _held: Held,
}

/// What a request has of what is bounded, its place and its memory: given back with the last clone of its caller. What runs to
/// its end without the client has one, so it counts as long as it runs.
#[derive(Clone, Default)]
struct Held(Option<Arc<dyn std::any::Any + Send + Sync>>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "held" } else { "nothing" })
    }
}

/// What an operator can set.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// The longest value, in bytes.
    pub value_len_bytes: u64,
    /// Whether a read's audit entry is synced to disk before it is answered.
    pub durable_reads: bool,
    /// The suite new records are sealed with; both always open.
    pub suite: Suite,
    /// How long a replaced large value stays for downloads under way.
    pub download_max: std::time::Duration,
    /// How long the remains of single shredded records stay in files, for one compaction to remove many.
    pub rows_wait: std::time::Duration,
    /// How many ids an order that a hold keeps may come to name by aliases: its row has 100,000 bytes, and of each id up to 19.
    pub held_order_ids: usize,
    /// How many units an order spares, or takes back, in one commit, for a law keeps what they seal.
    pub spared_at_once: usize,
}

impl Default for VaultOptions {
    fn default() -> Self {
        Self {
            value_len_bytes: crate::domain::limits::VALUE_LEN.max,
            durable_reads: false,
            suite: Suite::preferred(),
            download_max: std::time::Duration::from_hours(24),
            rows_wait: std::time::Duration::from_hours(24),
            held_order_ids: 3_000,
            spared_at_once: 1_000,
        }
    }
}

/// The sealed room. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    store_id: StoreId,
    store: Arc<dyn Store>,
    forest: Forest,
    audit: Audit,
    seals: rows::Seals,
    brake: brake::Brake,
    signer: Signer,
    clock: Arc<dyn Clock>,
    options: VaultOptions,
    directory: directory::Directory,
    shredder: shredder::Queue,
    /// Told when there are bytes to reclaim.
    reclaim: tokio::sync::Notify,
    /// Reads of the metrics that could not be recorded and that no entry tells of yet.
    metrics_unrecorded: std::sync::atomic::AtomicU32,
    /// Older data was put back, and is not ready to be served.
    restoring: AtomicBool,
    /// When something is due.
    next_due: due::Next,
    /// The pages on which what is due lately is listed.
    due_pages: due::Pages,
    /// The day on which the reports of those before were closed last.
    reports_closed: std::sync::atomic::AtomicU32,
    /// Where deleted rows still lie in files.
    ranges: ranges::Ranges,
    /// Of writers of the same record.
    turns: turns::Turns,
    placing: holds::Placing,
    /// Through what two persons let hold for what was there, in this data store.
    shortened: rounds::Rounds,
    /// Through what was reported of persons, in this data store.
    events_followed: rounds::Rounds,
    /// Through what sleeps until its collection has rules, in this data store.
    woken: rounds::Rounds,
    /// Who puts a person at the end of the queue of what was reported.
    reporting: tokio::sync::Mutex<()>,
    quiets: events::quiet::Quiets,
    freezes: collections::Freezes,
    uploads: blob::LiveUploads,
    tasks: tokio_util::task::TaskTracker,
}

/// Rows read at a time where many are looked at.
const ROWS: usize = 512;
/// Attempts at a commit that met another writer's.
const ATTEMPTS: usize = 16;

/// Lends a tenant's secret, read into the cache first where needed.
async fn with_tenant<T>(forest: &Forest, tenant: TenantNo, mut f: impl FnMut(&Key<TenantSecret>) -> T) -> Result<T, VaultError> {
    for _ in 0..ATTEMPTS {
        match forest.lend_tenant(tenant, |key| f(key)) {
            Err(LendError::Missing) => forest.load_tenant(tenant).await?,
            other => return Ok(other?),
        }
    }
    Err(VaultError::Busy)
}

impl Vault {
    async fn with_tenant<T>(&self, tenant: TenantNo, f: impl FnMut(&Key<TenantSecret>) -> T) -> Result<T, VaultError> {
        with_tenant(&self.inner.forest, tenant, f).await
    }

    /// The row that stands under a key of the control store.
    async fn control_row<R: rows::ControlRow>(&self, key: &[u8]) -> Result<Option<R>, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Control, key).await? else { return Ok(None) };
        self.inner.seals.open(key, &stored).map(Some)
    }

    /// The next rows of a range, which moves on behind them; `None` at its end.
    async fn some_rows(&self, space: Space, range: &mut KeyRange) -> Result<Option<Vec<Row>>, VaultError> {
        self.some_rows_of(space, range, ROWS).await
    }

    /// The same, at most so many.
    async fn some_rows_of(&self, space: Space, range: &mut KeyRange, limit: usize) -> Result<Option<Vec<Row>>, VaultError> {
        let rows = self.inner.store.scan(space, &range.from, &range.to, limit).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        *range = range.after(&last.key);
        Ok(Some(rows))
    }

    /// Lends the key of what a collection's unit seals.
    async fn with_data<T>(
        &self,
        collection: UnitRef,
        unit: UnitRef,
        number: CollectionNo,
        mut f: impl FnMut(&Key<Data>) -> T,
    ) -> Result<T, VaultError> {
        for _ in 0..ATTEMPTS {
            match self.inner.forest.lend_data(collection, unit, number, |key| f(key)) {
                Err(LendError::Missing) => {
                    for unit in [collection, unit] {
                        // Only what is not held: each costs a page of keys.
                        if self.inner.forest.holds_unit(unit) == Err(LendError::Missing) {
                            self.inner.forest.load_unit(unit.tenant, unit.slot).await?;
                        }
                    }
                }
                other => return Ok(other?),
            }
        }
        Err(VaultError::Busy)
    }

    /// The same for the keys of many units, each told by its place in `units`.
    async fn with_data_each<T>(
        &self,
        collection: UnitRef,
        units: &[UnitRef],
        number: CollectionNo,
        mut f: impl FnMut(usize, &Key<Data>) -> T,
    ) -> Vec<Result<T, VaultError>> {
        let lent = self.inner.forest.lend_data_each(collection, units, number, &mut f);
        let mut results = Vec::with_capacity(units.len());
        for ((place, unit), lent) in units.iter().enumerate().zip(lent) {
            results.push(match lent {
                Err(LendError::Missing) => self.with_data(collection, *unit, number, |key| f(place, key)).await,
                other => other.map_err(VaultError::from),
            });
        }
        results
    }

    /// Lends a unit's own key, for what is sealed under the unit alone.
    async fn with_sole<T>(&self, unit: UnitRef, number: CollectionNo, mut f: impl FnMut(&Key<Data>) -> T) -> Result<T, VaultError> {
        for _ in 0..ATTEMPTS {
            match self.inner.forest.lend_unit(unit, |key| f(&key.derive_sole(number))) {
                Err(LendError::Missing) => {
                    self.inner.forest.load_unit(unit.tenant, unit.slot).await?;
                }
                other => return Ok(other?),
            }
        }
        Err(VaultError::Busy)
    }

    /// Begins a mutation at once and runs it to its end whatever becomes of the caller; shutdown waits for it.
    fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, VaultError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, VaultError>> {
        let task = self.inner.tasks.spawn(work);
        Box::pin(async move { task.await.map_err(|_| VaultError::Internal("a task panicked".into()))? })
    }
}
