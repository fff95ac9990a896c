//! Making and opening a vault: what must have happened before the first request is served.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::mpsc::Receiver;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Inner, Vault, VaultError, VaultOptions,
    brake::Brake,
    directory::Directory,
    ranges::Ranges,
    rows::{Seals, State, SubjectRow, TenantNameRow, UnitRow, UnitStateRow},
    shredder::{Left, Queue, is_its_own},
    tokens::MintToken,
    turns::Turns,
};
use crate::{
    domain::{Clock, ShredId, StoreId, TenantName, TenantNo},
    vault::{
        audit::{Audit, AuditOptions, LogPlace, LostTail, Trail, note::Signer},
        keys::Forest,
        store::{
            Commit, Durability, Space, Store, Urgency, Write,
            schema::{self, Parts, Table},
        },
    },
};

/// The rooms behind the operations, opened.
pub struct VaultParts {
    /// The store's id.
    pub store_id: StoreId,
    /// The engine.
    pub store: Arc<dyn Store>,
    /// The key forest, recovered.
    pub forest: Forest,
    /// Signs certificates.
    pub signer: Signer,
    /// The same key again: signs the log's checkpoints.
    pub log_signer: Signer,
    /// Where the log's tiles are.
    pub log_dir: PathBuf,
    /// The log's journal, beside the mirror: what a lost log is made again from.
    pub log_journal: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What an operator can set.
    pub options: VaultOptions,
    /// Tasks that shutdown waits for.
    pub tasks: TaskTracker,
    /// Ends background work.
    pub stop: CancellationToken,
}

/// What an opened vault has still to begin before anybody is served.
pub struct Idle {
    vault: Vault,
    /// Ends of audit chains that this data does not have, the first one last.
    lost: Vec<LostTail>,
    /// `None` once it has begun.
    orders: Option<Receiver<ShredId>>,
    stop: CancellationToken,
}

/// How often the files of the log are synced: what came into it since is in its journal alone.
const FILED_EVERY: Duration = Duration::from_secs(1);
/// The name of the system tenant: its trail is the operator's.
pub(super) const SYSTEM: &str = "system";

impl Vault {
    /// Makes the system tenant of a new store and the operator's token, which is shown once.
    ///
    /// # Errors
    /// Those of the store and the forest.
    pub async fn create(parts: VaultParts) -> Result<zeroize::Zeroizing<String>, VaultError> {
        let vault = Self::assemble(parts).await?.0;
        let name = TenantName::parse(SYSTEM).map_err(super::Unprocessable::from)?;
        let token = vault.tenant_token(&name).await?;
        let (row, _) = vault.tenant_row(TenantNo::SYSTEM, &name, false, State::Active).await?;
        let (minted, mut writes) = vault.mint(TenantNo::SYSTEM, &MintToken::operator()).await?;
        writes.push(Write::Put { space: Space::Control, key: schema::tenant(TenantNo::SYSTEM), value: row });
        writes.push(vault.inner.seals.put(schema::tenant_name(&token), &TenantNameRow { tenant: TenantNo::SYSTEM.0 })?);
        let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        vault.commit(Trail::Control, commit, Vec::new()).await?;
        Ok(minted.text)
    }

    /// Opens a vault: applies the shred log to the data, closes the fence for orders that are not done, finishes what a
    /// crash cut short, and only then answers.
    ///
    /// # Errors
    /// Those of the rooms behind; nothing may be served then.
    pub async fn open(parts: VaultParts) -> Result<Self, VaultError> {
        let (vault, mut idle) = Self::open_idle(parts).await?;
        idle.begin().await?;
        Ok(vault)
    }

    /// Opens a vault whose data is to be made ready, as far as [`Vault::open`] does it before anything else: the shred log is applied.
    /// Nothing may be served, and nothing that outlives the data is done, until [`Idle::begin`].
    ///
    /// # Errors
    /// Those of the rooms behind.
    pub async fn open_idle(parts: VaultParts) -> Result<(Self, Idle), VaultError> {
        let stop = parts.stop.clone();
        let (vault, orders, lost) = Self::assemble(parts).await?;
        if !vault.inner.forest.is_memory_locked() {
            tracing::warn!("keys are not in locked memory and may come into swap: raise the limit (LimitMEMLOCK), or switch swap off");
        }
        vault.thaw().await?;
        // While no fence is closed: an order that is not done may be taken back, and what it names is there again then.
        let deleted = vault.reapply_deletions().await?;
        if deleted > 0 {
            tracing::warn!(deleted, "older data: records deleted with earlier orders were deleted again");
        }
        let lost = lost.into_iter().rev().collect();
        let idle = Idle { vault: vault.clone(), lost, orders: Some(orders), stop };
        Ok((vault, idle))
    }

    /// Closes the fence for orders that are not done, and carries them out as far as that can be done now.
    async fn finish_orders(&self) -> Result<Left, VaultError> {
        let unfinished = self.unfinished().await?;
        self.close_fences(&unfinished).await?;
        if unfinished.is_empty() {
            return Ok(Left::default());
        }
        tracing::warn!(orders = unfinished.len(), "finishing orders to shred that were cut short");
        // What is left stays closed; who else is here is served.
        Ok(self.carry_out(&unfinished).await)
    }

    /// Syncs the files of the log each second, whatever the shredder is at, and once more when it is cancelled.
    async fn run_filing(&self, stop: CancellationToken) {
        let mut next = tokio::time::interval(FILED_EVERY);
        next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                biased;
                () = stop.cancelled() => is_last = true,
                _ = next.tick() => {}
            }
            if let Err(error) = self.inner.audit.file_log().await {
                tracing::warn!(%error, "the log's files are synced later");
            }
        }
    }

    async fn assemble(parts: VaultParts) -> Result<(Self, Receiver<ShredId>, Vec<LostTail>), VaultError> {
        let VaultParts { store_id, store, forest, signer, log_signer, log_dir, log_journal, clock, options, tasks, stop: _ } = parts;
        let audit_options = AuditOptions { suite: options.suite, ..AuditOptions::default() };
        let place = LogPlace { dir: &log_dir, journal: Some(&log_journal) };
        let (audit, lost) =
            Audit::open(Arc::clone(&store), forest.clone(), store_id, Arc::clone(&clock), place, log_signer, audit_options).await?;
        let seals = super::with_tenant(&forest, TenantNo::SYSTEM, Seals::new).await?;
        let (shredder, orders) = Queue::new();
        let reclaim = tokio::sync::Notify::new();
        let directory = Directory::new();
        let brake = Brake::default();
        let metrics_unrecorded = std::sync::atomic::AtomicU32::default();
        let inner = Inner {
            store_id,
            store,
            forest,
            audit,
            seals,
            brake,
            signer,
            clock,
            options,
            directory,
            shredder,
            reclaim,
            restoring: std::sync::atomic::AtomicBool::default(),
            next_due: super::due::Next::default(),
            due_pages: super::due::Pages::default(),
            reports_closed: std::sync::atomic::AtomicU32::new(u32::MAX),
            ranges: Ranges::default(),
            placing: super::holds::Placing::default(),
            shortened: super::rounds::Rounds::default(),
            events_followed: super::rounds::Rounds::default(),
            woken: super::rounds::Rounds::default(),
            reporting: tokio::sync::Mutex::default(),
            quiets: super::events::quiet::Quiets::default(),
            freezes: super::collections::Freezes::default(),
            uploads: super::blob::LiveUploads::default(),
            metrics_unrecorded,
            turns: Turns::new(),
            tasks,
        };
        let vault = Self { inner: Arc::new(inner) };
        vault.inner.shredder.attach(&vault);
        Ok((vault, orders, lost))
    }

    /// Closes the fence for orders that are not done. One that cannot be read is set aside by the shredder, and says so; what it
    /// names stays closed all the same.
    async fn close_fences(&self, orders: &[ShredId]) -> Result<(), VaultError> {
        let mut unreadable = Vec::new();
        for id in orders {
            let closed = async {
                match self.shred_row(*id).await? {
                    Some(row) => self.close_fence(&row).await.map(drop),
                    None => Ok(()),
                }
            };
            match closed.await {
                Err(error) if is_its_own(&error) => unreadable.push(*id),
                closed => closed?,
            }
        }
        if unreadable.is_empty() { Ok(()) } else { self.close_fence_by_states(&unreadable).await }
    }

    /// Closes the fence over every person and unit whose own state names one of these orders. Tenants and collections need none:
    /// their state is read with each request.
    async fn close_fence_by_states(&self, orders: &[ShredId]) -> Result<(), VaultError> {
        let (seals, fence) = (&self.inner.seals, self.inner.forest.fence());
        let named = |state: State| matches!(state, State::Pending(order) if orders.contains(&ShredId(order)));
        let mut range = schema::table(Table::SubjectState);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Ok(true) = seals.open::<SubjectRow>(&row.key, &row.value).map(|row| named(row.state)) else { continue };
                let parts = Parts::of(Table::SubjectState, &row.key);
                let Some((tenant, subject)) = parts.and_then(|mut parts| Some((parts.tenant()?, parts.token()?))) else { continue };
                let units = schema::units_of_subject(tenant, &subject);
                for row in self.inner.store.scan(Space::Control, &units.from, &units.to, usize::MAX).await? {
                    if let Ok(unit) = seals.open::<UnitRow>(&row.key, &row.value) {
                        fence.close_unit(tenant, unit.unit(tenant)?.slot);
                    }
                }
            }
        }
        let mut range = schema::table(Table::UnitState);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Ok(true) = seals.open::<UnitStateRow>(&row.key, &row.value).map(|row| named(row.state)) else { continue };
                let parts = Parts::of(Table::UnitState, &row.key);
                if let Some((tenant, slot)) = parts.and_then(|mut parts| Some((parts.tenant()?, parts.slot()?))) {
                    fence.close_unit(tenant, slot);
                }
            }
        }
        Ok(())
    }

    /// Thaws collections whose change of unit a crash cut short: the old policy stands.
    async fn thaw(&self) -> Result<(), VaultError> {
        let mut range = schema::table(Table::Collection);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                match self.thaw_row(row.key, row.value).await {
                    // Who asks for it is told so; the others are served.
                    Err(error @ VaultError::Internal(_)) => tracing::error!(%error, "a collection cannot be used"),
                    thawed => thawed?,
                }
            }
        }
        Ok(())
    }

    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.inner.store_id
    }

    /// The time, as the vault sees it.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Resolves when there are bytes to reclaim.
    pub async fn reclaimable(&self) {
        self.inner.reclaim.notified().await;
    }
}

impl Idle {
    /// States what the audit trails have lost: this is the data from here on.
    ///
    /// # Errors
    /// Those of the store; what is not stated yet is stated by the next call.
    pub async fn state_lost(&mut self) -> Result<(), VaultError> {
        while let Some(tail) = self.lost.last() {
            let tenant = self.vault.tenant_by_number(tail.tenant).await?;
            tracing::warn!(
                tenant = tail.tenant.0,
                writer = tail.gap.writer.0,
                from = tail.gap.from,
                to = tail.gap.to,
                "older data: audit entries are lost"
            );
            self.vault.inner.audit.state_gap(tenant.audit, tail).await?;
            self.lost.pop();
        }
        Ok(())
    }

    /// Closes the fence for orders that are not done, carries them out, and starts the shredder; from here on the vault may serve. Once
    /// it has begun, again is no error.
    ///
    /// # Errors
    /// Those of the store; nothing may be served then, and it can be tried again.
    pub async fn begin(&mut self) -> Result<(), VaultError> {
        self.state_lost().await?;
        if self.orders.is_none() {
            return Ok(());
        }
        let left = self.vault.finish_orders().await?;
        let Some(orders) = self.orders.take() else { return Ok(()) };
        self.vault.inner.shredder.deferred.store(true, std::sync::atomic::Ordering::Release);
        let (runner, stop) = (self.vault.clone(), self.stop.clone());
        self.vault.inner.tasks.spawn(async move { runner.run_shredder(orders, left, stop).await });
        let (runner, stop) = (self.vault.clone(), self.stop.clone());
        self.vault.inner.tasks.spawn(async move { runner.run_filing(stop).await });
        Ok(())
    }
}
