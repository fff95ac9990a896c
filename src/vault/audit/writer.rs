//! Writing entries: each is numbered, chained and sealed in the committer, where its place in the order is known.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{
    AuditError, Entry,
    chain::{self, Trail},
    checkpoints,
    heads::{Head, HeadRow},
    leaf::Leaf,
    log_thread::LogThread,
    merkle::Hash,
    note::Signer,
    runs::{Added, Answer, Line, NotAdded, Queues, RunTail},
    tails::{self, Left, LostTail},
    tlog::{ControlKnows, Log},
};
use crate::{
    domain::{Clock, CollectionNo, StoreId, TenantNo, Timestamp, WriterId},
    vault::{
        crypto::{AuditEntry, Context, Plaintext, Receipt, Suite},
        keys::{Forest, LeaseKind, LendError, UnitRef},
        store::{Commit, Durability, Space, Store, StoreError, Tail, Urgency, Write, schema},
    },
};

/// How often an entry is tried again because its key had just left the cache.
const TRIES: u32 = 3;

/// How entries are kept.
#[derive(Debug, Clone, Copy)]
pub struct AuditOptions {
    /// What seals entries.
    pub suite: Suite,
    /// Chains held in memory; more are dropped at a checkpoint if they are idle.
    pub cached_chains: usize,
}

impl Default for AuditOptions {
    /// 65,536 chains: about 16 MiB.
    fn default() -> Self {
        Self { suite: Suite::preferred(), cached_chains: 65_536 }
    }
}

/// Where the log lies.
#[derive(Debug, Clone, Copy)]
pub struct LogPlace<'a> {
    /// Its tiles and checkpoint.
    pub dir: &'a Path,
    /// Its journal, beside the mirror; `None` keeps none.
    pub journal: Option<&'a Path>,
}

impl<'a> From<&'a Path> for LogPlace<'a> {
    fn from(dir: &'a Path) -> Self {
        Self { dir, journal: None }
    }
}

/// The chains in memory.
type Chains = HashMap<(TenantNo, Trail), Arc<Chain>>;

/// The audit room of a store. Cheap to clone.
#[derive(Clone)]
pub struct Audit(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) forest: Forest,
    pub(super) store_id: StoreId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: AuditOptions,
    pub(super) log: LogThread,
    /// This process start's leased number.
    pub(super) start: u64,
    chains: Mutex<Chains>,
    /// Held while a chain comes into memory, so that none comes twice.
    loading: tokio::sync::Mutex<()>,
    /// The number of the last checkpoint; held while one is made.
    pub(super) mark: tokio::sync::Mutex<u64>,
    /// The size of the log that this process wrote into control last; held while it writes one.
    pub(super) clearing: tokio::sync::Mutex<u64>,
    /// Held while the log's files are synced and control is told of it.
    pub(super) filing: tokio::sync::Mutex<()>,
    /// Leaves of heads that the log did not take, each with the time of the oldest entry that it covers.
    pub(super) unlogged: Mutex<Vec<(Vec<u8>, Timestamp)>>,
    /// Leaves of epochs that this process has given to the log, and not yet taken out of the outbox.
    pub(super) told: tokio::sync::Mutex<HashSet<Hash>>,
    /// The data store's mark was behind control's at the start: it is older data that was put back.
    is_older_data: bool,
    /// Lost tails that are not stated yet: no checkpoint may hide them.
    pub(super) unstated: AtomicUsize,
    /// Chains of earlier starts that no checkpoint covers to their ends.
    pub(super) left: Mutex<Left>,
}

/// One tenant's chain of this process start, in one trail.
pub(super) struct Chain {
    pub(super) writer: WriterId,
    state: Mutex<ChainState>,
    pub(super) queues: Queues,
}

/// How far a chain has come.
pub(super) struct ChainState {
    /// The last entry that was made, in the store or on its way there.
    pub(super) tip: Head,
    /// The last entry that is in the store.
    pub(super) stored: Head,
    /// The last entry that a checkpoint covers.
    pub(super) covered: u64,
    /// Not after the first entry that no checkpoint covers.
    pub(super) uncovered_since: Timestamp,
}

impl Chain {
    /// A chain from its head.
    pub(super) fn new(writer: WriterId, head: Head, covered: u64, uncovered_since: Timestamp) -> Self {
        let state = ChainState { tip: head, stored: head, covered, uncovered_since };
        Self { writer, state: Mutex::new(state), queues: Queues::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ChainState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChainState {
    /// Whether it has grown since the last checkpoint.
    pub(super) const fn is_dirty(&self) -> bool {
        self.stored.seq > self.covered
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("start", &self.0.start).finish_non_exhaustive()
    }
}

impl Audit {
    /// Opens the log, brings it up to date with the control store, leases this start's number, and looks whether the data
    /// store is older than the heads that control knows: what is lost is returned, to be stated with [`Audit::state_gap`].
    ///
    /// # Errors
    /// [`AuditError::Log`] if the log is shorter than, or other than, it was: the store must not serve then.
    pub async fn open(
        store: Arc<dyn Store>,
        forest: Forest,
        store_id: StoreId,
        clock: Arc<dyn Clock>,
        log: impl Into<LogPlace<'_>>,
        signer: Signer,
        options: AuditOptions,
    ) -> Result<(Self, Vec<LostTail>), AuditError> {
        let known = checkpoints::known_log_head(store.get(Space::Control, &checkpoints::log_head_key()).await?.as_ref())?;
        let filed = checkpoints::known_log_head(store.get(Space::Control, &schema::setting(checkpoints::LOG_FILED)).await?.as_ref())?;
        let log = match log.into() {
            LogPlace { dir, journal: Some(journal) } => {
                let kept = Self::kept_for_log(store.as_ref()).await?;
                Log::open_filed_later(dir, journal, signer, ControlKnows { known, filed, keeps: &|hash| kept.contains(hash) })?
            }
            LogPlace { dir, journal: None } => Log::open(dir, signer, known)?,
        };
        let now_filed = log.filed();
        let log = LogThread::start(log)?;
        forest.witness_epochs(|record| vec![Self::outbox(Leaf::of_epoch(record).to_text().as_bytes())]);
        let start = forest.lease(LeaseKind::AuditWriter).await?;
        let mark = checkpoints::control_mark(store.as_ref()).await?;
        let lost = tails::lost_tails(store.as_ref(), mark).await?;
        // A checkpoint that a crash cut off has left its number in the data store alone.
        let data_mark = checkpoints::data_mark(store.as_ref()).await?;
        let (mark, is_older_data) = (mark.max(data_mark), data_mark < mark);
        let chains = Mutex::new(Chains::new());
        let (mark, loading, clearing) = (tokio::sync::Mutex::new(mark), tokio::sync::Mutex::new(()), tokio::sync::Mutex::default());
        let (told, unstated, unlogged) = (tokio::sync::Mutex::default(), AtomicUsize::new(lost.len()), Mutex::default());
        let (filing, left) = (tokio::sync::Mutex::default(), Mutex::default());
        let inner = Inner {
            store,
            forest,
            store_id,
            clock,
            options,
            log,
            start,
            chains,
            loading,
            mark,
            clearing,
            filing,
            unlogged,
            told,
            is_older_data,
            unstated,
            left,
        };
        let audit = Self(Arc::new(inner));
        audit.hold_control_against_log(known).await?;
        // Before anything is appended: what a power cut leaves of that is made again from the filing that control knows of.
        if let Some(now_filed) = now_filed.filter(|head| Some(*head) != filed) {
            audit.tell_filed(now_filed).await?;
        }
        audit.drain_outbox().await?;
        Ok((audit, lost))
    }

    /// Whether the data store is older than the last checkpoint, or start, that the control store knows: the numbers of those go to the
    /// data store first, so only data of before can lack one.
    #[must_use]
    pub fn is_data_older(&self) -> bool {
        self.0.is_older_data
    }

    /// An entry as the tail of a commit: made with it, or not at all. `unit` is the tenant's audit unit.
    ///
    /// The commit is refused with [`StoreError::Busy`] in the rare case that the unit's key left the cache meanwhile.
    ///
    /// # Errors
    /// [`AuditError::Keys`] or [`AuditError::Store`].
    pub async fn tail(&self, trail: Trail, unit: UnitRef, entry: Entry) -> Result<(Box<dyn Tail>, PendingReceipt), AuditError> {
        Ok(self.prepare(trail, unit, entry.tenant).await?.tail(entry))
    }

    /// The same for several entries of one tenant that one commit brings, at least one: they lie in one row, sealed once.
    ///
    /// # Errors
    /// [`AuditError::Keys`] or [`AuditError::Store`]; [`AuditError::NotWritten`] without an entry.
    pub async fn tail_of_run(
        &self,
        trail: Trail,
        unit: UnitRef,
        entries: Vec<Entry>,
    ) -> Result<(Box<dyn Tail>, PendingReceipt), AuditError> {
        let tenant = entries.first().ok_or(AuditError::NotWritten)?.tenant;
        Ok(self.prepare(trail, unit, tenant).await?.tail_of_run(entries))
    }

    /// The first half of [`Audit::tail`], for an entry that is known only when its commit is put together.
    ///
    /// # Errors
    /// [`AuditError::Keys`] or [`AuditError::Store`].
    pub async fn prepare(&self, trail: Trail, unit: UnitRef, tenant: TenantNo) -> Result<PreparedTail, AuditError> {
        Ok(PreparedTail(self.line(trail, unit, tenant).await?))
    }

    pub(super) async fn line(&self, trail: Trail, unit: UnitRef, tenant: TenantNo) -> Result<Line, AuditError> {
        self.load(unit).await?;
        Ok(Line { inner: Arc::clone(&self.0), trail, tenant, unit, chain: self.chain(trail, tenant).await? })
    }

    /// Writes an entry by itself, a read's; answers when it is as durable as asked. Those of a tenant that wait together go
    /// into one row of one commit.
    ///
    /// # Errors
    /// [`AuditError`]: the entry is not written, and what it would have allowed must not happen.
    pub async fn append(&self, trail: Trail, unit: UnitRef, entry: Entry, durability: Durability) -> Result<Receipt, AuditError> {
        let mut tries = TRIES;
        loop {
            let line = self.line(trail, unit, entry.tenant).await?;
            tries = tries.saturating_sub(1);
            match self.join(&line, entry.clone(), durability).await {
                Ok(seq) => return Ok(Receipt::durable(entry.tenant, line.chain.writer, seq)),
                Err(NotAdded::KeyMissing) if tries > 0 => {}
                Err(reason) => return Err(StoreError::from(reason).into()),
            }
        }
    }

    /// Brings an entry with what else waits in its chain; its number.
    async fn join(&self, line: &Line, entry: Entry, durability: Durability) -> Answer {
        let (answered, asks) = line.chain.queues.join(entry, durability);
        if asks {
            let tail: Box<dyn Tail> = Box::new(RunTail::new(line.clone(), durability));
            let commit = Commit { checks: Vec::new(), writes: Vec::new(), tail: Some(tail), durability, urgency: Urgency::Essential };
            let store = Arc::clone(&self.0.store);
            // A task of its own: who came first may be gone before it, and the others wait all the same. Why it failed, the tail tells
            // all who wait.
            let work = async move {
                // Requests that are ready now come to wait as well.
                tokio::task::yield_now().await;
                drop(store.commit(commit).await);
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "who waits for its answer is waited for; when nobody does, it may end with the process"
            )]
            drop(tokio::spawn(work));
        }
        answered.await.unwrap_or(Err(NotAdded::Store(StoreError::Busy)))
    }

    /// The same for an entry that anybody can have written, a denial: what a full disk keeps back is not for it.
    ///
    /// # Errors
    /// As [`Audit::append`].
    pub async fn append_if_room(&self, trail: Trail, unit: UnitRef, entry: Entry, durability: Durability) -> Result<Receipt, AuditError> {
        self.append_with(trail, unit, entry, durability, Vec::new(), Urgency::Normal).await
    }

    /// Writes an entry together with rows of its database.
    pub(super) async fn append_with(
        &self,
        trail: Trail,
        unit: UnitRef,
        entry: Entry,
        durability: Durability,
        writes: Vec<Write>,
        urgency: Urgency,
    ) -> Result<Receipt, AuditError> {
        let mut tries = TRIES;
        loop {
            let (link, receipt) = self.tail(trail, unit, entry.clone()).await?;
            let commit = Commit { checks: Vec::new(), writes: writes.clone(), tail: Some(link), durability, urgency };
            tries = tries.saturating_sub(1);
            match self.0.store.commit(commit).await {
                Ok(_) => return receipt.settle(),
                Err(StoreError::Busy) if tries > 0 && self.is_missing(unit) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sees to it that a unit's key is in the cache.
    pub(super) async fn load(&self, unit: UnitRef) -> Result<(), AuditError> {
        match self.0.forest.holds_unit(unit) {
            Ok(()) => Ok(()),
            Err(LendError::Missing) => {
                self.0.forest.load_unit(unit.tenant, unit.slot).await?;
                Ok(())
            }
            Err(error @ (LendError::Shredded | LendError::Pending)) => Err(error.into()),
        }
    }

    fn is_missing(&self, unit: UnitRef) -> bool {
        self.0.forest.holds_unit(unit) == Err(LendError::Missing)
    }

    /// The chain of a tenant: the one in memory, the one that went out of memory, or a new one.
    async fn chain(&self, trail: Trail, tenant: TenantNo) -> Result<Arc<Chain>, AuditError> {
        if let Some(chain) = self.0.chains().get(&(tenant, trail)) {
            return Ok(Arc::clone(chain));
        }
        let _loading = self.0.loading.lock().await;
        if let Some(chain) = self.0.chains().get(&(tenant, trail)) {
            return Ok(Arc::clone(chain));
        }
        let writer = trail.writer(self.0.start);
        let row = self.0.store.get(Space::Control, &schema::audit_head(tenant, writer)).await?;
        let head = match row {
            Some(row) => HeadRow::parse(&row).ok_or(AuditError::Damaged("audit head"))?.head,
            None => Head { seq: 0, hash: chain::start(&self.0.store_id, tenant, writer), time: Timestamp(i64::MIN) },
        };
        let fresh = Chain::new(writer, head, head.seq, head.time);
        Ok(Arc::clone(self.0.chains().entry((tenant, trail)).or_insert_with(|| Arc::new(fresh))))
    }
}

impl Inner {
    pub(super) fn chains(&self) -> MutexGuard<'_, Chains> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a row whose last entry has this number.
    pub(super) fn context(&self, tenant: TenantNo, writer: WriterId, seq: u64) -> Context<AuditEntry> {
        Context::of(&self.store_id, tenant, &[&writer.to_be_bytes(), &seq.to_be_bytes()])
    }

    /// Seals a row under the tenant's audit unit.
    pub(super) fn seal(
        &self,
        unit: UnitRef,
        context: &Context<AuditEntry>,
        plain: &Plaintext<AuditEntry>,
    ) -> Result<bytes::Bytes, LendError> {
        let suite = self.options.suite;
        self.forest.lend_unit(unit, |key| key.derive_sole(CollectionNo::TENANT).seal(suite, context, plain).into_row())
    }
}

/// A place for one entry at the end of a tenant's chain.
pub struct PreparedTail(Line);

impl PreparedTail {
    /// The entry, of the tenant it was prepared for, as the tail of a commit.
    pub fn tail(self, entry: Entry) -> (Box<dyn Tail>, PendingReceipt) {
        self.tail_of_run(vec![entry])
    }

    fn tail_of_run(self, entries: Vec<Entry>) -> (Box<dyn Tail>, PendingReceipt) {
        let Self(line) = self;
        let written = Arc::new(AtomicU64::new(0));
        let receipt = PendingReceipt { tenant: line.tenant, writer: line.chain.writer, written: Arc::clone(&written) };
        (Box::new(ChainTail { line, entries, added: None, written }), receipt)
    }
}

/// A receipt that can be had once the commit went through; of several entries it is the last one's, which stands for all.
#[derive(Debug)]
#[must_use = "an entry without its receipt allows nothing"]
pub struct PendingReceipt {
    tenant: TenantNo,
    writer: WriterId,
    written: Arc<AtomicU64>,
}

impl PendingReceipt {
    /// The receipt.
    ///
    /// # Errors
    /// [`AuditError::NotWritten`] if the commit did not go through.
    pub fn settle(self) -> Result<Receipt, AuditError> {
        match self.written.load(Ordering::Acquire) {
            0 => Err(AuditError::NotWritten),
            seq => Ok(Receipt::durable(self.tenant, self.writer, seq)),
        }
    }
}

/// Entries of one commit on their way through the committer.
struct ChainTail {
    line: Line,
    entries: Vec<Entry>,
    added: Option<Added>,
    written: Arc<AtomicU64>,
}

impl Tail for ChainTail {
    fn rows(&mut self) -> Result<Vec<Write>, StoreError> {
        let (added, writes) = self.line.add(self.entries.iter())?;
        self.added = Some(added);
        Ok(writes)
    }

    fn settled(&mut self, stored: bool) {
        if let Some(added) = self.line.settle(self.added.take(), stored) {
            self.written.store(added.tip.seq, Ordering::Release);
        }
    }
}
