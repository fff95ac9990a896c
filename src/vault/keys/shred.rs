//! An epoch: the root changes, and what was shredded is no longer below it. Steps 1 to 4 of the protocol.
//!
//! 1. *Prepare*: every custody component keeps a share of a fresh root.            barrier 1: the new root is durable
//! 2. *Pages*: fresh pages and the new root pointer in one commit, with the
//!    caller's rows; durable in the control store, its mirror and the copies
//!    that are to confirm it.                                                      barrier 2: survivors hang on the new root
//! 3. *Destroy*: every component destroys its share of the old root.               barrier 3: nothing opens the old pages
//! 4. *Settle*: caches were purged with the pages; everything is read back and checked.
//!
//! Targets are PENDING, and closed in the [`Fence`](super::Fence), before this begins; a crash anywhere is
//! resolved by [`recovery`](super::recovery). Many shreds share one epoch; none at all is a rotation.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::Ordering,
    time::Duration,
};

use super::{
    Forest, KeysError,
    custody::{
        DestroyReceipt,
        composite::{Components, DerivedRoot, RootName},
    },
    forest::{Goal, Inner, MutexGate, custody, distinct},
    rekey::{Bench, Delta, Plan, TenantPlan, rekey},
    rows::{DeadKeys, EpochRecord, RootPtr, ShredTarget},
    tree::{Shape, tree_slot},
};
use crate::{
    domain::{Epoch, Gen, Slot, TenantNo},
    vault::{
        crypto::{PageSlots, SlotIndex, hash::sha256, residue},
        store::{Check, Commit, Durability, Expect, Space, StoreError, Tail, Urgency, Write, schema},
    },
};

/// Targets of one epoch at most.
pub const MAX_TARGETS: usize = 2_000;

/// Units that one epoch keeps at most of tenants whose others it shreds: their pages are one commit, and each may have its own.
pub const MAX_KEPT: usize = 10_000;

/// A step of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Prepare,
    Pages,
    Destroy,
}

/// How an epoch is done. There is one right way; the closure tests plant wrong ones.
pub(super) trait Procedure: Send + Sync {
    /// The order of the steps.
    fn steps(&self) -> [Step; 3] {
        [Step::Prepare, Step::Pages, Step::Destroy]
    }

    /// What replaces an entry on the way to a target.
    fn refresh_branch(&self, content: &mut PageSlots, entry: SlotIndex, _epoch: Epoch) {
        content.refresh(entry);
    }

    /// What replaces an entry below which nothing is kept.
    fn sever(&self, content: &mut PageSlots, entry: SlotIndex) {
        content.sever(entry);
    }

    /// What replaces a target's key.
    fn refresh_target(&self, content: &mut PageSlots, entry: SlotIndex) {
        content.refresh(entry);
    }

    /// Whether a start destroys an old root that a crash has left.
    fn rolls_forward(&self) -> bool {
        true
    }
}

/// The right way.
pub(super) struct Designed;

impl Procedure for Designed {}

/// What the caller adds to the commit of the pages.
#[derive(Default)]
pub struct Extra {
    /// Rows of the control store: shred log, states.
    pub writes: Vec<Write>,
    /// Their preconditions.
    pub checks: Vec<Check>,
    /// Its audit entry.
    pub tail: Option<Box<dyn Tail>>,
}

/// Rows of the control store that tell of every epoch, whoever ends it: made from its public record.
pub(super) type Witness = Box<dyn Fn(&EpochRecord) -> Vec<Write> + Send + Sync>;

/// How long the parts of an epoch took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Reading the old pages.
    pub gather: Duration,
    /// Barrier 1.
    pub prepare: Duration,
    /// Making the fresh pages: no I/O.
    pub rekey: Duration,
    /// Barrier 2.
    pub commit: Duration,
    /// Barrier 3.
    pub destroy: Duration,
    /// Reading back.
    pub check: Duration,
}

/// What an epoch did: the material of certificates.
#[derive(Debug, Clone)]
pub struct EpochReport {
    /// What is public about the change.
    pub record: EpochRecord,
    /// The word of each custody component that the old root is gone.
    pub receipts: Vec<DestroyReceipt>,
    /// Bytes of the fresh pages.
    pub page_bytes: u64,
    /// How long it took; zeros where it was read back after a restart.
    pub timings: Timings,
}

/// What an epoch is asked to do.
#[derive(Default)]
pub(super) struct Work {
    pub(super) targets: BTreeSet<ShredTarget>,
    /// Unit trees that must grow, and to what height.
    pub(super) grow: HashMap<TenantNo, u8>,
    /// Height the tenant tree must have, 0 for as it is.
    pub(super) tenant_height: u8,
    /// What is kept of the tenants of which all else is a target.
    pub(super) kept: BTreeMap<TenantNo, BTreeSet<Slot>>,
}

impl Forest {
    /// Shreds up to [`MAX_TARGETS`] targets in one epoch; no target at all rotates the root. `extra` and
    /// `extra_checks` travel in the commit that makes it true. Run it in a task of its own: a caller that
    /// goes away in the middle leaves the forest refusing with [`KeysError::Restart`].
    ///
    /// # Errors
    /// [`KeysError::Unknown`] for a target that was never made, [`KeysError::Store`], [`KeysError::Custody`]: nothing was
    /// done. [`KeysError::Restart`], [`KeysError::SelfCheck`]: nothing may be acknowledged before the next start.
    pub async fn shred(&self, targets: &[ShredTarget], extra: Vec<Write>, extra_checks: Vec<Check>) -> Result<EpochReport, KeysError> {
        self.shred_with(targets, |_| Extra { writes: extra, checks: extra_checks, tail: None }).await
    }

    /// The same, for rows that tell of the epoch itself: `extra` sees its public record.
    ///
    /// # Errors
    /// As [`Forest::shred`].
    pub async fn shred_with(
        &self,
        targets: &[ShredTarget],
        extra: impl FnOnce(&EpochRecord) -> Extra + Send,
    ) -> Result<EpochReport, KeysError> {
        self.shred_keeping(targets, BTreeMap::new(), extra).await
    }

    /// The same; of each tenant whose [`ShredTarget::Others`] is among the targets, `kept` names the units whose keys stay. The work
    /// grows with the pages on their paths, not with the tenant.
    ///
    /// # Errors
    /// As [`Forest::shred`]; [`KeysError::Unknown`] too where nothing is named of such a tenant, or a unit that is not there;
    /// [`KeysError::TooMany`] for more than [`MAX_KEPT`].
    pub async fn shred_keeping(
        &self,
        targets: &[ShredTarget],
        kept: BTreeMap<TenantNo, BTreeSet<Slot>>,
        extra: impl FnOnce(&EpochRecord) -> Extra + Send,
    ) -> Result<EpochReport, KeysError> {
        if kept.values().map(BTreeSet::len).sum::<usize>() > MAX_KEPT {
            return Err(KeysError::TooMany);
        }
        let gate = self.0.gate.lock().await;
        self.0.epoch(&gate, Work { targets: distinct(targets), kept, ..Work::default() }, extra).await
    }

    /// Tries what custody failed with in the last epoch that was tried, if it did: keeps the share of a root that nothing hangs
    /// on, and destroys it. [`Forest::ready`] is met again once it does; who ended that epoch need not come back.
    ///
    /// # Errors
    /// [`KeysError::Custody`]: it still fails.
    pub(in crate::vault) async fn ask_custody_again(&self) -> Result<(), KeysError> {
        let _gate = self.0.gate.lock().await;
        if self.0.whole().is_err() || self.0.state().custody_failure.is_none() {
            return Ok(());
        }
        let present = self.0.present();
        let next = Epoch(present.epoch.0.checked_add(1).ok_or(KeysError::TooMany)?);
        self.0.state().custody_is_settled = false;
        let asked = self.0.desk.run(move |components| {
            components.retain(present)?;
            drop(components.make(next));
            let kept = components.keep();
            components.retain(present)?;
            kept
        });
        asked.await.map_err(custody)?;
        self.0.state().custody_failure = None;
        tracing::warn!("custody takes part again");
        Ok(())
    }

    /// The report of an epoch that has ended and was checked, for a certificate that a crash has cut off; `None` if there is no
    /// such epoch. Only reads: an old root that is still there is destroyed by the next start, or by [`Forest::heal`].
    ///
    /// # Errors
    /// [`KeysError::Restart`] if an epoch was cut short, [`KeysError::SelfCheck`] if what it destroyed can still be reached: nothing
    /// may be certified. [`KeysError::Store`], [`KeysError::Custody`].
    pub async fn report(&self, new_epoch: Epoch) -> Result<Option<EpochReport>, KeysError> {
        let _gate = self.0.gate.lock().await;
        self.0.whole()?;
        let Some(row) = self.0.store.get(Space::Control, &schema::epoch(new_epoch)).await? else { return Ok(None) };
        let record = EpochRecord::parse(&row)?;
        if record.new_epoch != new_epoch || new_epoch > self.0.present().epoch {
            return Err(KeysError::Restart);
        }
        self.0.check_epoch(&record).await?;
        let old_root = record.old_root;
        let receipts = self.0.desk.run(move |components| components.receipts(old_root)).await?;
        let receipts = receipts.ok_or(KeysError::SelfCheck("custody may still hold an old root"))?;
        let page_bytes = page_bytes(record.pages);
        Ok(Some(EpochReport { record, receipts, page_bytes, timings: Timings::default() }))
    }
}

impl Inner {
    /// One epoch, from the present root to the next. The caller holds the gate.
    pub(super) async fn epoch(
        &self,
        gate: &MutexGate<'_>,
        work: Work,
        extra: impl FnOnce(&EpochRecord) -> Extra + Send,
    ) -> Result<EpochReport, KeysError> {
        let done = self.steps(gate, work, extra).await;
        match &done {
            Ok(_) => self.state().custody_failure = None,
            Err(KeysError::Custody(failure)) => self.state().custody_failure = Some(failure.clone()),
            Err(_) => {}
        }
        done
    }

    async fn steps(
        &self,
        gate: &MutexGate<'_>,
        work: Work,
        extra: impl FnOnce(&EpochRecord) -> Extra + Send,
    ) -> Result<EpochReport, KeysError> {
        self.heal(gate).await?;
        // One that could not confirm the end would leave the epoch half done.
        self.store.confirm_copies().await?;
        if work.targets.len() > MAX_TARGETS {
            return Err(KeysError::TooMany);
        }
        // What an epoch that failed before its commit has left in custody; one that was settled has left nothing.
        let present = self.present();
        if !std::mem::take(&mut self.state().custody_is_settled) {
            self.desk.run(move |components| components.retain(present)).await?;
        }
        let mut run = Run::gather(self, work).await?;
        let mut extra = Some(extra);
        for step in self.procedure.steps() {
            let done = match step {
                Step::Prepare => run.prepare().await,
                Step::Pages => match extra.take() {
                    Some(extra) => run.pages(extra).await,
                    None => Ok(()),
                },
                Step::Destroy => run.destroy().await,
            };
            if let Err(error) = done {
                return Err(run.fail(error).await);
            }
        }
        run.settle().await
    }
}

/// An epoch under way. Dropped before it is settled but after its commit was begun, it leaves the forest broken.
struct Run<'a> {
    inner: &'a Inner,
    plan: Plan,
    rows: HashMap<crate::vault::crypto::PageId, bytes::Bytes>,
    old: RootPtr,
    outcome: Option<(EpochRecord, Delta)>,
    receipts: Vec<DestroyReceipt>,
    timings: Timings,
    is_settled: bool,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if let Some((_, _, place)) = state.next.take() {
            state.tops.release(place);
        }
        if self.outcome.is_some() && !self.is_settled {
            self.inner.broken.store(true, Ordering::Release);
        }
    }
}

impl<'a> Run<'a> {
    /// Reads every page the work touches, before anything is done.
    async fn gather(inner: &'a Inner, work: Work) -> Result<Self, KeysError> {
        let begun = inner.clock.monotonic();
        let old = inner.state().ptr.clone();
        let tenant_tree = inner.tenant_tree();
        let mut plan = Plan { tenant_tree, height: tenant_tree.height.max(work.tenant_height), tenants: BTreeMap::new() };
        for target in &work.targets {
            match *target {
                ShredTarget::Tenant(tenant) if tenant == TenantNo::SYSTEM => return Err(KeysError::Unknown),
                ShredTarget::Tenant(tenant) => inner.plan_tenant(&mut plan, tenant).await?.whole = true,
                ShredTarget::Unit { tenant, slot } => {
                    let tenant = inner.plan_tenant(&mut plan, tenant).await?;
                    if !tenant.tree.holds(slot.number()) {
                        return Err(KeysError::Unknown);
                    }
                    tenant.slots.insert(slot.number());
                }
                ShredTarget::Others(tenant) if tenant == TenantNo::SYSTEM => return Err(KeysError::Unknown),
                ShredTarget::Others(tenant) => {
                    let kept: BTreeSet<u64> = work.kept.get(&tenant).ok_or(KeysError::Unknown)?.iter().map(|slot| slot.number()).collect();
                    let tenant = inner.plan_tenant(&mut plan, tenant).await?;
                    if !kept.iter().all(|slot| tenant.tree.holds(*slot)) {
                        return Err(KeysError::Unknown);
                    }
                    tenant.kept = Some(kept);
                }
            }
        }
        for (tenant, height) in work.grow {
            let tenant = inner.plan_tenant(&mut plan, tenant).await?;
            tenant.height = tenant.height.max(height);
        }
        let rows = inner.gather(plan.pages().into_iter()).await?;
        let timings = Timings { gather: inner.clock.monotonic().saturating_sub(begun), ..Timings::default() };
        Ok(Self { inner, plan, rows, old, outcome: None, receipts: Vec::new(), timings, is_settled: false })
    }

    /// Makes the next root, once; its top key waits in locked memory.
    async fn make_root(&self) -> Result<(), KeysError> {
        if self.inner.state().next.is_some() {
            return Ok(());
        }
        let epoch = self.next_epoch()?;
        let made = self.inner.desk.run(move |components| Ok(components.make(epoch))).await?;
        self.take_root(&made)
    }

    fn next_epoch(&self) -> Result<Epoch, KeysError> {
        self.old.name.epoch.0.checked_add(1).map(Epoch).ok_or(KeysError::TooMany)
    }

    fn take_root(&self, made: &DerivedRoot) -> Result<(), KeysError> {
        let mut state = self.inner.state();
        let place = state.tops.put_key(&made.top).ok_or(KeysError::Damaged("top key"))?;
        state.next = Some((made.name, made.commitment, place));
        Ok(())
    }

    /// Step 1.
    async fn prepare(&mut self) -> Result<(), KeysError> {
        let begun = self.inner.clock.monotonic();
        if self.outcome.is_none() && self.inner.state().next.is_none() {
            let epoch = self.next_epoch()?;
            let kept = self.inner.desk.run(move |components| {
                let made = components.make(epoch);
                components.keep().map(|()| made)
            });
            let made = kept.await.map_err(custody)?;
            self.take_root(&made)?;
        } else {
            self.inner.desk.run(Components::keep).await.map_err(custody)?;
        }
        self.timings.prepare = self.inner.clock.monotonic().saturating_sub(begun);
        Ok(())
    }

    /// Step 2.
    async fn pages(&mut self, extra: impl FnOnce(&EpochRecord) -> Extra) -> Result<(), KeysError> {
        self.make_root().await?;
        let (ptr, record, delta) = residue::leaving_none(|| self.compute())?;
        let commit = self.commit(&ptr, &record, &delta, extra(&record));
        let begun = self.inner.clock.monotonic();
        {
            // Readers that are under way finish first; later ones find the new pages and the new top key together.
            let _pages = self.inner.pages.write().await;
            self.outcome = Some((record, delta));
            self.inner.store.commit(commit).await?;
            self.switch(ptr)?;
        }
        self.timings.commit = self.inner.clock.monotonic().saturating_sub(begun);
        self.refute_old_top().await
    }

    /// The new pages, without any I/O.
    fn compute(&mut self) -> Result<(RootPtr, EpochRecord, Delta), KeysError> {
        let begun = self.inner.clock.monotonic();
        let (name, commitment, old_top, new_top) = {
            let state = self.inner.state();
            let (name, commitment, place) = state.next.ok_or(KeysError::Damaged("top key"))?;
            let new_top = state.tops.key(place).ok_or(KeysError::Damaged("top key"))?;
            (name, commitment, state.tops.key(state.top).ok_or(KeysError::Damaged("top key"))?, new_top)
        };
        let bench =
            Bench { store: &self.inner.store_id, new_epoch: name.epoch, rows: &self.rows, procedure: self.inner.procedure.as_ref() };
        let delta = rekey(&bench, &self.plan, &old_top, &new_top)?;
        let ptr = RootPtr { name, commitment, delta_hash: delta.hash, height: self.plan.height };
        let record = EpochRecord {
            old_epoch: self.old.name.epoch,
            new_epoch: name.epoch,
            old_root: self.old.name.root_id,
            new_root: name.root_id,
            old_commitment: self.old.commitment,
            new_commitment: commitment,
            root_page_hash: delta.root_page_hash,
            delta_hash: delta.hash,
            at: self.inner.clock.now(),
            pages: u32::try_from(delta.pages.len()).unwrap_or(u32::MAX),
            done: delta.done.clone(),
        };
        self.timings.rekey = self.inner.clock.monotonic().saturating_sub(begun);
        Ok((ptr, record, delta))
    }

    fn commit(&self, ptr: &RootPtr, record: &EpochRecord, delta: &Delta, extra: Extra) -> Commit {
        let put = |key, value| Write::Put { space: Space::Control, key, value };
        let mut writes = vec![put(schema::root_ptr(), ptr.to_row()), put(schema::epoch(record.new_epoch), record.to_row())];
        writes.extend(delta.pages.iter().map(|(page, row)| put(schema::page(page.tree, page.level, page.index), row.clone())));
        for (tenant, plan) in &self.plan.tenants {
            if plan.whole {
                // Nothing opens these pages any more.
                let range = schema::pages(plan.tree.tree);
                writes.push(Write::DeleteRange { space: Space::Control, from: range.from, to: range.to });
            } else if let Some(kept) = plan.kept_pages() {
                // Nor those between the pages that stay.
                let mut range = schema::pages(plan.tree.tree);
                let mut stay: Vec<_> = kept.iter().map(|page| schema::page(page.tree, page.level, page.index)).collect();
                stay.sort_unstable();
                for key in stay {
                    let rest = range.after(&key);
                    writes.push(Write::DeleteRange { space: Space::Control, from: range.from, to: key });
                    range = rest;
                }
                writes.push(Write::DeleteRange { space: Space::Control, from: range.from, to: range.to });
            } else if plan.height > plan.tree.height {
                writes.push(put(schema::tree(*tenant), Shape { tree: plan.tree.tree, height: plan.height }.to_row()));
            }
        }
        if !delta.fingerprints.is_empty() {
            let dead = DeadKeys(delta.fingerprints.iter().map(|(_, hash)| *hash).collect());
            writes.push(put(schema::epoch_check(record.new_epoch), dead.to_row()));
        }
        let checked = self.inner.state().checked.clone();
        writes.extend(checked.into_iter().map(|epoch| Write::Delete { space: Space::Control, key: schema::epoch_check(epoch) }));
        writes.extend(self.inner.witness.get().map(|witness| witness(record)).unwrap_or_default());
        writes.extend(extra.writes);
        let mut checks = vec![Check { space: Space::Control, key: schema::root_ptr(), expect: Expect::Equals(self.old.to_row()) }];
        checks.extend(extra.checks);
        Commit { checks, writes, tail: extra.tail, durability: Durability::Synced, urgency: Urgency::Essential }
    }

    /// From here the new root is the present one in this process too; every key on a changed path is wiped.
    fn switch(&self, ptr: RootPtr) -> Result<(), KeysError> {
        let mut state = self.inner.state();
        let (_, _, place) = state.next.take().ok_or(KeysError::Damaged("top key"))?;
        state.old = Some(std::mem::replace(&mut state.top, place));
        state.ptr = ptr;
        state.checked.clear();
        let Some((_, delta)) = &self.outcome else { return Ok(()) };
        for (page, _) in &delta.pages {
            state.cache.drop_page(*page);
        }
        for (tenant, plan) in &self.plan.tenants {
            if plan.whole || plan.kept.is_some() {
                state.cache.drop_tenant(*tenant, Some(plan.tree.tree));
            }
            state.trees.insert(*tenant, Shape { tree: plan.tree.tree, height: plan.tree.height.max(plan.height) });
        }
        for done in &delta.done {
            if let ShredTarget::Unit { tenant, slot } = done.target {
                state.cache.drop_unit(tenant, slot);
            }
        }
        Ok(())
    }

    /// Reads the top page back: the old top key, needed for this one last time, must not open it.
    async fn refute_old_top(&self) -> Result<(), KeysError> {
        let top = self.inner.tenant_tree().top();
        let row = self.inner.store.get(Space::Control, &schema::page(top.tree, top.level, top.index)).await?;
        let row = row.ok_or(KeysError::SelfCheck("the new top page is not in the store"))?;
        let mut state = self.inner.state();
        let opens = |place| state.tops.key(place).is_some_and(|key| key.unwrap_page(&self.inner.store_id, &top, &row).is_ok());
        let (old_opens, new_opens) = residue::leaving_none(|| (state.old.is_some_and(opens), opens(state.top)));
        if let Some(place) = state.old.take() {
            state.tops.release(place);
        }
        match (old_opens, new_opens) {
            (false, true) => Ok(()),
            (true, _) => Err(KeysError::SelfCheck("the old root opens the new top page")),
            (false, false) => Err(KeysError::SelfCheck("the new root does not open the new top page")),
        }
    }

    /// Step 3, behind the copies of the control store that are to have the new pages first; a custodian or a copy that stumbles is asked
    /// again before the forest gives up.
    async fn destroy(&mut self) -> Result<(), KeysError> {
        let begun = self.inner.clock.monotonic();
        let mut confirmed = self.inner.store.confirm_copies().await;
        for _ in 0..2 {
            if confirmed.is_err() {
                confirmed = self.inner.store.confirm_copies().await;
            }
        }
        confirmed?;
        let root_id = self.old.name.root_id;
        let attempt = || self.inner.desk.run(move |components| components.destroy(root_id));
        let mut result = attempt().await;
        for _ in 0..2 {
            if result.is_err() {
                result = attempt().await;
            }
        }
        self.receipts = result.map_err(custody)?;
        self.timings.destroy = self.inner.clock.monotonic().saturating_sub(begun);
        Ok(())
    }

    /// Step 4: reads everything back.
    async fn settle(mut self) -> Result<EpochReport, KeysError> {
        let begun = self.inner.clock.monotonic();
        let Some((record, delta)) = &self.outcome else { return Err(KeysError::Restart) };
        let new = RootName { epoch: record.new_epoch, root_id: record.new_root };
        let derived = self.inner.desk.run(move |components| components.derive_sole(new)).await?;
        let derived = derived.ok_or(KeysError::SelfCheck("custody holds something else than the new root"))?;
        if derived.commitment != record.new_commitment {
            return Err(KeysError::SelfCheck("custody does not give the new root"));
        }
        let dead = DeadKeys(delta.fingerprints.iter().map(|(_, hash)| *hash).collect());
        self.inner.refute_targets(record, &dead).await?;
        {
            let mut state = self.inner.state();
            state.checked.push(record.new_epoch);
            state.custody_is_settled = true;
        }
        self.timings.check = self.inner.clock.monotonic().saturating_sub(begun);
        let report = EpochReport {
            record: record.clone(),
            receipts: std::mem::take(&mut self.receipts),
            page_bytes: page_bytes(record.pages),
            timings: self.timings,
        };
        self.is_settled = true;
        Ok(report)
    }

    /// Takes back what can be taken back; an epoch whose commit may be in the store can only go forward, at the next start.
    async fn fail(mut self, error: KeysError) -> KeysError {
        let is_refusal = matches!(
            error,
            KeysError::Store(
                // Not `Closed`, nor what stands for a lost answer: the commit may be on disk, and then this root is the only one.
                StoreError::Conflict(_) | StoreError::Busy | StoreError::DiskFull | StoreError::Invalid(_)
            )
        );
        if self.outcome.is_some() && !(is_refusal && self.inner.present() == self.old.name) {
            return if matches!(error, KeysError::SelfCheck(_)) { error } else { KeysError::Restart };
        }
        self.outcome = None;
        let present = self.old.name;
        // A failure here is met again, and reported, at the beginning of the next epoch.
        drop(self.inner.desk.run(move |components| components.retain(present)).await);
        if let KeysError::Store(StoreError::Conflict(index)) = error {
            // The first check is our own: another process moved the root.
            return index.checked_sub(1).map_or(KeysError::Restart, |index| KeysError::Store(StoreError::Conflict(index)));
        }
        error
    }
}

impl Inner {
    async fn plan_tenant<'p>(&self, plan: &'p mut Plan, tenant: TenantNo) -> Result<&'p mut TenantPlan, KeysError> {
        let tree = self.shape(tenant).await?.ok_or(KeysError::Unknown)?;
        if !plan.tenant_tree.holds(tree_slot(tenant)) {
            return Err(KeysError::Unknown);
        }
        let untouched = || TenantPlan { whole: false, tree, height: tree.height, slots: BTreeSet::new(), kept: None };
        Ok(plan.tenants.entry(tenant).or_insert_with(untouched))
    }

    /// The self-check of an epoch whose process has not passed it, as far as it reads pages; again is no error.
    pub(super) async fn check_epoch(&self, record: &EpochRecord) -> Result<(), KeysError> {
        let epoch = record.new_epoch;
        if self.state().checked.contains(&epoch) {
            return Ok(());
        }
        let Some(row) = self.store.get(Space::Control, &schema::epoch_check(epoch)).await? else { return Ok(()) };
        self.refute_targets(record, &DeadKeys::parse(&row)?).await?;
        self.state().checked.push(epoch);
        Ok(())
    }

    /// Every target of an epoch has another key than the one it destroyed, of the generation that it was given.
    async fn refute_targets(&self, record: &EpochRecord, dead: &DeadKeys) -> Result<(), KeysError> {
        let targets: Vec<_> = record.done.iter().filter_map(|done| Some((done.target, done.generation?))).collect();
        if targets.len() != dead.0.len() {
            return Err(KeysError::Damaged("epoch check"));
        }
        for ((target, want), dead) in targets.into_iter().zip(&dead.0) {
            match self.fingerprint(target).await {
                Ok((generation, key)) if generation == want && key != *dead => {}
                // The slot above a tree is re-keyed with every shred below it.
                Ok((generation, key)) if matches!(target, ShredTarget::Others(_)) && generation > want && key != *dead => {}
                // A later epoch took the whole tenant.
                Err(KeysError::Shredded) => {}
                Ok(_) => return Err(KeysError::SelfCheck("a target's key is still reachable")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The generation and SHA-256 of a target's present key, read from the store.
    async fn fingerprint(&self, target: ShredTarget) -> Result<(Gen, [u8; 32]), KeysError> {
        match target {
            ShredTarget::Tenant(tenant) => {
                self.visit(Goal::Tenant(tenant), |content, entry, _| {
                    (content.generation(entry), sha256(&[content.tenant_secret(entry).expose()]))
                })
                .await
            }
            ShredTarget::Unit { tenant, slot } => {
                self.visit(Goal::Unit(tenant, slot), |content, entry, _| {
                    (content.generation(entry), sha256(&[content.unit(entry).expose()]))
                })
                .await
            }
            ShredTarget::Others(tenant) => {
                // Beside the tenant's secret, on the same page.
                let (of_tenant, generation, key) = self
                    .visit(Goal::Tenant(tenant), |content, entry, _| {
                        let tree = SlotIndex::on_path(0, tree_slot(tenant));
                        (content.generation(entry), content.generation(tree), sha256(&[content.branch(tree).expose()]))
                    })
                    .await?;
                if of_tenant > Gen(0) { Err(KeysError::Shredded) } else { Ok((generation, key)) }
            }
        }
    }
}

fn page_bytes(pages: u32) -> u64 {
    u64::from(pages).saturating_mul(crate::vault::crypto::PAGE_LEN as u64)
}
