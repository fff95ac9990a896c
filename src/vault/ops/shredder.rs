//! The shredder: one task that carries out all orders that wait, as many as fit, in one epoch.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Precondition, Vault, VaultError,
    directory::{Collection, Tenant},
    plan::{Actor, Existing, Plan, retrying},
    rows::{
        CollectionRow, Progress, RowCodec, Scope, ShredLogRow, ShredRow, ShredSlotsRow, State, SubjectRow, TenantRow, Totals, UnitStateRow,
    },
};
use crate::{
    authn::Role,
    domain::{CollectionNo, PrincipalId, RequestId, ShredId, ShredUnit, Slot, TenantNo, Version, policy::SecondarySubjects},
    vault::{
        crypto::Token,
        keys::{EpochRecord, EpochReport, Extra, LeaseKind, ShredTarget},
        store::{
            Space, StoreError, Urgency, Write,
            schema::{self, Table},
        },
    },
};

/// Orders that may wait; the next one is told to come again.
const QUEUE: usize = 4_096;
/// How soon orders that could not be carried out are tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Targets of one epoch.
const EPOCH_TARGETS: usize = 2_000;

/// The way to the shredder.
pub(super) struct Queue {
    orders: mpsc::Sender<ShredId>,
    /// Counts orders that were done, so that who waits looks again.
    done: watch::Sender<u64>,
    vault: std::sync::OnceLock<std::sync::Weak<super::Inner>>,
    /// Whether shreds that go with deletions wait to be ordered.
    pub(super) deferred: AtomicBool,
}

/// A place in the queue, taken before the intent is durable: a durable intent is never refused.
pub(super) struct Place(mpsc::OwnedPermit<ShredId>);

impl Place {
    pub(super) fn send(self, id: ShredId) {
        drop(self.0.send(id));
    }
}

impl Queue {
    /// A queue and its far end.
    pub(super) fn new() -> (Self, mpsc::Receiver<ShredId>) {
        let (orders, receiver) = mpsc::channel(QUEUE);
        let (done, vault, deferred) = (watch::Sender::new(0), std::sync::OnceLock::new(), AtomicBool::new(false));
        (Self { orders, done, vault, deferred }, receiver)
    }

    pub(super) fn attach(&self, vault: &Vault) {
        // A second attachment would be the same vault.
        let _ = self.vault.set(std::sync::Arc::downgrade(&vault.inner));
    }

    /// A place, or [`VaultError::Busy`].
    pub(super) fn reserve(&self) -> Result<Place, VaultError> {
        self.orders.clone().try_reserve_owned().map(Place).map_err(|_| VaultError::Busy)
    }

    /// Waits until an order is done, at most `limit`.
    pub(super) async fn wait(&self, id: ShredId, limit: Duration) {
        let Some(inner) = self.vault.get().and_then(std::sync::Weak::upgrade) else { return };
        let vault = Vault { inner };
        let mut changes = self.done.subscribe();
        let until_done = async {
            loop {
                changes.borrow_and_update();
                let done = match vault.shred_row(id).await {
                    Ok(Some(row)) => vault.is_done(id, &row).await.unwrap_or(true),
                    Ok(None) | Err(_) => true,
                };
                if done || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // Over or not, the caller reads the order's state.
        let _ = tokio::time::timeout(limit, until_done).await;
    }

    fn tell(&self) {
        self.done.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What an epoch's commit says of one order.
struct Change {
    id: ShredId,
    row: ShredRow,
    /// Slots of its units that this epoch destroys.
    slots: Vec<u64>,
    /// The states that become final; `None` while targets are left.
    states: Option<Vec<Write>>,
}

impl Change {
    /// The rows of an epoch's orders: their progress, their final states, their entries in the shred log.
    fn rows(changes: &mut [Self], record: &EpochRecord, version: u64) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        // Number 0 stays free for what tells of the epoch itself.
        for (number, change) in (1..).zip(changes) {
            change.row.epochs.push((record.old_epoch.0, record.new_epoch.0));
            if !change.slots.is_empty() {
                let state = UnitStateRow { state: State::Shredded(change.id.0) }.to_row()?;
                let tenant = TenantNo(change.row.tenant);
                for slot in change.slots.iter().filter_map(|slot| Slot::new(*slot)) {
                    writes.push(Write::Put { space: Space::Control, key: schema::unit_state(tenant, slot), value: state.clone() });
                }
                let slots = ShredSlotsRow { slots: std::mem::take(&mut change.slots) }.to_row()?;
                writes.push(Write::Put { space: Space::Control, key: schema::shred_slots(change.id, record.new_epoch), value: slots });
            }
            if let Some(states) = change.states.take() {
                change.row.progress = Progress::Erased;
                writes.extend(states);
                let log = ShredLogRow { tenant: change.row.tenant, order: change.id.0, scope: change.row.scope.clone(), version };
                writes.push(Write::Put { space: Space::Control, key: schema::shred_log(record.new_epoch, number), value: log.to_row()? });
            }
            writes.push(Write::Put { space: Space::Control, key: schema::shred_order(change.id), value: change.row.to_row()? });
        }
        Ok(writes)
    }
}

/// An order under way.
struct Job {
    id: ShredId,
    row: ShredRow,
    targets: Vec<ShredTarget>,
    reports: Vec<EpochReport>,
}

impl Vault {
    /// Runs until cancelled, beginning with the orders that a start has left. An order that cannot be carried out now stays pending: everything it names answers 410,
    /// and it is tried again, at the latest by the next start.
    pub(super) async fn run_shredder(&self, mut orders: mpsc::Receiver<ShredId>, mut waiting: Vec<ShredId>, stop: CancellationToken) {
        let mut again = tokio::time::interval(RETRY_EVERY);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                next = orders.recv() => match next {
                    Some(next) => waiting.push(next),
                    None => return,
                },
                _ = again.tick(), if !waiting.is_empty() || self.inner.shredder.deferred.load(Ordering::Acquire) => {}
            }
            while let Ok(next) = orders.try_recv() {
                waiting.push(next);
            }
            match self.carry_out(&waiting).await {
                Ok(left) => waiting = left,
                Err(error) => stays_pending(&error, waiting.len()),
            }
            self.inner.shredder.tell();
            if self.inner.shredder.deferred.swap(false, Ordering::AcqRel)
                && let Err(error) = self.shred_all_deferred().await
            {
                tracing::warn!(%error, "the units of deleted records are shredded later");
                self.inner.shredder.deferred.store(true, Ordering::Release);
            }
        }
    }

    /// Carries out orders, whatever step each has reached. Returns those that could not be: one that cannot be prepared or
    /// certified holds up no other.
    pub(super) async fn carry_out(&self, ids: &[ShredId]) -> Result<Vec<ShredId>, VaultError> {
        let mut left = Vec::new();
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            match self.take_up(*id).await {
                Ok(job) => jobs.extend(job),
                Err(error) => {
                    stays_pending(&error, 1);
                    left.push(*id);
                }
            }
        }
        // What lies in a tenant goes before the tenant, or with it.
        jobs.sort_by_key(|job| job.row.scope == Scope::Tenant);
        let (mut jobs, early) = self.in_order(jobs).await?;
        left.extend(early);
        self.erase(&mut jobs).await?;
        for job in &jobs {
            if let Err(error) = self.certify(job.id, &job.row, &job.reports).await {
                stays_pending(&error, 1);
                left.push(job.id);
            }
            self.inner.shredder.tell();
        }
        self.inner.reclaim.notify_one();
        Ok(left)
    }

    /// An order as far as it has come; `None` if there is no such order any more.
    async fn take_up(&self, id: ShredId) -> Result<Option<Job>, VaultError> {
        let Some(row) = self.shred_row(id).await? else { return Ok(None) };
        let mut job = Job { id, row, targets: Vec::new(), reports: Vec::new() };
        if job.row.progress == Progress::Pending {
            self.close_fence(&job.row).await?;
            self.prepare(&mut job).await?;
        }
        Ok(Some(job))
    }

    /// Puts each order behind those that it comes after; those that come after an order which is neither here nor erased are
    /// left for later.
    async fn in_order(&self, jobs: Vec<Job>) -> Result<(Vec<Job>, Vec<ShredId>), VaultError> {
        let mut waiting = jobs;
        let mut ordered: Vec<Job> = Vec::with_capacity(waiting.len());
        loop {
            let before = ordered.len();
            let mut still = Vec::new();
            for job in waiting {
                let mut is_ready = true;
                for other in job.row.after.iter().map(|id| ShredId(*id)) {
                    is_ready &= ordered.iter().any(|job| job.id == other)
                        || self.shred_row(other).await?.is_none_or(|row| row.progress != Progress::Pending);
                }
                if is_ready { ordered.push(job) } else { still.push(job) }
            }
            waiting = still;
            if waiting.is_empty() || ordered.len() == before {
                return Ok((ordered, waiting.into_iter().map(|job| job.id).collect()));
            }
        }
    }

    /// Finds an order's targets, and deletes what is deleted rather than shredded.
    async fn prepare(&self, job: &mut Job) -> Result<(), VaultError> {
        let (targets, mut totals) = self.targets(&job.row).await?;
        job.targets = targets;
        job.targets.sort_unstable();
        job.targets.dedup();
        match self.delete_marked(&job.row, &mut totals).await {
            // A tenant that is being shredded takes along what would be deleted.
            Ok(()) | Err(VaultError::Shredded { .. }) => {}
            Err(error) => return Err(error),
        }
        if !job.row.epochs.is_empty() {
            // A crash came between its epochs: what it touches was counted before the first.
            return Ok(());
        }
        job.row.categories = self.categories_of(&job.row, totals.keys()).await?;
        job.row.totals = totals.into_iter().map(|(no, total)| (no.0, total)).collect();
        Ok(())
    }

    /// Deletes what an order's subjects have outside their units.
    async fn delete_marked(&self, row: &ShredRow, totals: &mut BTreeMap<CollectionNo, Totals>) -> Result<(), VaultError> {
        if row.marked.is_empty() {
            return Ok(());
        }
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        tenant.in_use()?;
        for subject in row.marked() {
            self.delete_rest(&tenant, actor_of(row), subject, None, totals).await?;
        }
        Ok(())
    }

    /// A collection whose records may have to be deleted; `None` where it is being shredded and takes them along.
    async fn lasting(&self, tenant: &Tenant, no: CollectionNo) -> Result<Option<Collection>, VaultError> {
        match self.collection_by_number(tenant.no, no).await {
            Ok(collection) => Ok(Some(collection).filter(|collection| collection.state == State::Active)),
            Err(VaultError::Shredded { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a subject's records where its units do not seal them: those of collections whose unit is the collection, and,
    /// as the policy says, those that name it second. Only what is not newer than `bound`, if one is given.
    pub(super) async fn delete_rest(
        &self,
        tenant: &Tenant,
        actor: Actor,
        subject: &Token,
        bound: Option<Version>,
        totals: &mut BTreeMap<CollectionNo, Totals>,
    ) -> Result<(), VaultError> {
        let range = schema::records_of_subject(tenant.no, subject);
        let mut from = range.from.clone();
        // One look for each collection; the records of those sealed under the subject are not walked.
        while let Some(first) = self.inner.store.scan(Space::Index, &from, &range.to, 1).await?.pop() {
            let (_, no, _) = schema::subject_record_parts(&first.key).ok_or_else(|| VaultError::Internal("subject index row".into()))?;
            let here = schema::records_of_subject_in(tenant.no, subject, no);
            from = here.to.clone();
            let Some(collection) = self.lasting(tenant, no).await? else { continue };
            if collection.policy.shred_unit != ShredUnit::Collection {
                continue;
            }
            for tokens in self.record_tokens_in(&here).await? {
                let second =
                    self.inner.store.get(Space::Index, &schema::secondary_record(tenant.no, subject, no, &tokens)).await?.is_some();
                if !second && self.delete_for(tenant, &collection, actor, &tokens, (subject, true), bound).await? {
                    let total = totals.entry(no).or_default();
                    total.deleted = total.deleted.saturating_add(1);
                }
            }
        }
        for (no, tokens) in self.secondary_tokens(tenant, subject).await? {
            let Some(collection) = self.lasting(tenant, no).await? else { continue };
            let total = totals.entry(no).or_default();
            match collection.policy.secondary_subjects {
                SecondarySubjects::Keep => total.kept = total.kept.saturating_add(1),
                SecondarySubjects::Delete => {
                    if self.delete_for(tenant, &collection, actor, &tokens, (subject, false), bound).await? {
                        total.deleted = total.deleted.saturating_add(1);
                    }
                }
            }
        }
        Ok(())
    }

    /// The categories of what an order covers, while the policies can still be read.
    async fn categories_of(&self, row: &ShredRow, collections: impl Iterator<Item = &CollectionNo>) -> Result<Vec<String>, VaultError> {
        let mut categories = BTreeSet::new();
        for no in collections.filter(|no| **no != CollectionNo::TENANT) {
            if let Some(policy) = self.policy_of(TenantNo(row.tenant), *no).await? {
                categories.extend(policy.categories);
            }
        }
        Ok(categories.into_iter().collect())
    }

    async fn record_tokens_in(&self, range: &schema::KeyRange) -> Result<Vec<Vec<Token>>, VaultError> {
        let rows = self.inner.store.scan(Space::Index, &range.from, &range.to, usize::MAX).await?;
        Ok(rows.iter().filter_map(|row| schema::subject_record_parts(&row.key)).map(|(_, _, tokens)| tokens).collect())
    }

    async fn secondary_tokens(&self, tenant: &Tenant, subject: &Token) -> Result<Vec<(CollectionNo, Vec<Token>)>, VaultError> {
        let range = schema::secondary_records(tenant.no, subject);
        let rows = self.inner.store.scan(Space::Index, &range.from, &range.to, usize::MAX).await?;
        Ok(rows.iter().filter_map(|row| schema::subject_record_parts(&row.key)).map(|(_, no, tokens)| (no, tokens)).collect())
    }

    /// Deletes one record on behalf of an order. `false` if it is gone already, about someone else, or newer than `bound`.
    async fn delete_for(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        actor: Actor,
        tokens: &[Token],
        (subject, first): (&Token, bool),
        bound: Option<Version>,
    ) -> Result<bool, VaultError> {
        retrying(|| async {
            let row = schema::record(tenant.no, collection.no, tokens);
            let Some(Existing { header, live: Some(live) }) = self.existing(tenant, collection, tokens, &row).await? else {
                return Ok(false);
            };
            // An index row may be left from a shredded record whose key was written again, about someone else.
            let named = self.subject_tokens(tenant, &live.meta.subjects).await?.iter().position(|token| token == subject);
            if named.is_none_or(|position| (position == 0) != first) {
                return Ok(false);
            }
            let version = header.version;
            if bound.is_some_and(|bound| version > bound) {
                return Ok(false);
            }
            let mut plan = Plan::default();
            match self.plan_delete(&mut plan, actor, tenant, collection, tokens, &Precondition::Versions(vec![version]), None).await {
                Ok(_) => self.commit_plan(plan, Urgency::Essential).await.map(|_| true),
                Err(VaultError::NotFound(_) | VaultError::Shredded { .. }) => Ok(false),
                Err(VaultError::PreconditionFailed) => Err(VaultError::Busy),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Steps 1 to 4 for all targets, at most 2,000 an epoch; an order's states change with the epoch of its last target.
    /// An order without a target (its subjects never wrote) goes with an epoch all the same: its certificate names one.
    async fn erase(&self, jobs: &mut [Job]) -> Result<(), VaultError> {
        let pending = |job: &Job| job.row.progress == Progress::Pending;
        let mut queue: VecDeque<(usize, Option<ShredTarget>)> = VecDeque::new();
        for (number, job) in jobs.iter().enumerate().filter(|(_, job)| pending(job)) {
            queue.push_back((number, None));
            queue.extend(job.targets.iter().map(|target| (number, Some(*target))));
        }
        while !queue.is_empty() {
            let mut here: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
            let mut targets = Vec::new();
            while let Some((number, target)) = queue.front().copied().filter(|_| targets.len() < EPOCH_TARGETS) {
                queue.pop_front();
                let slots = here.entry(number).or_default();
                if let Some(ShredTarget::Unit { slot, .. }) = target {
                    slots.push(slot.number());
                }
                targets.extend(target);
            }
            let unfinished = queue.front().map(|(number, _)| *number);
            self.epoch(jobs, &here, unfinished, &targets).await?;
        }
        self.inner.directory.forget_all();
        Ok(())
    }

    /// One epoch with the rows that go with it; the order `unfinished` has more targets to come.
    async fn epoch(
        &self,
        jobs: &mut [Job],
        here: &BTreeMap<usize, Vec<u64>>,
        unfinished: Option<usize>,
        targets: &[ShredTarget],
    ) -> Result<(), VaultError> {
        let version = self.inner.forest.lease(LeaseKind::Version).await?;
        let mut changes = Vec::with_capacity(here.len());
        for (number, slots) in here {
            let Some(job) = jobs.get(*number) else { continue };
            let states = if unfinished == Some(*number) { None } else { Some(self.final_states(job).await?) };
            changes.push(Change { id: job.id, row: job.row.clone(), slots: slots.clone(), states });
        }
        let mut failed = None;
        let report = self
            .inner
            .forest
            .shred_with(targets, |record| {
                let writes = Change::rows(&mut changes, record, version).unwrap_or_else(|error| {
                    failed = Some(error);
                    Vec::new()
                });
                Extra { writes, ..Extra::default() }
            })
            .await?;
        metrics::counter!("lethe_epochs_total").increment(1);
        metrics::counter!("lethe_epoch_page_bytes_total").increment(report.page_bytes);
        if let Some(error) = failed {
            return Err(error.into());
        }
        // Their generations now say "shredded"; a tenant stays closed, its number is never used again.
        for target in targets {
            if let ShredTarget::Unit { tenant, slot } = target {
                self.inner.forest.fence().reopen_unit(*tenant, *slot);
            }
        }
        for (number, change) in here.keys().zip(changes) {
            if let Some(job) = jobs.get_mut(*number) {
                job.row = change.row;
                job.reports.push(report.clone());
            }
        }
        Ok(())
    }

    /// The rows that say "shredded", and no longer hold a name.
    async fn final_states(&self, job: &Job) -> Result<Vec<Write>, VaultError> {
        let tenant = TenantNo(job.row.tenant);
        let state = State::Shredded(job.id.0);
        let mut writes = Vec::new();
        let mut put = |key: Bytes, value: Bytes| writes.push(Write::Put { space: Space::Control, key, value });
        match &job.row.scope {
            Scope::Tenant => {
                let key = schema::tenant(tenant);
                let row = self.inner.store.get(Space::Control, &key).await?.ok_or_else(|| VaultError::Internal("tenant row".into()))?;
                put(key, TenantRow { state, sealed_name: Vec::new(), ..TenantRow::from_row(&row)? }.to_row()?);
            }
            Scope::Collection(no) => {
                let key = schema::collection(tenant, CollectionNo(*no));
                let row = self.inner.store.get(Space::Control, &key).await?.ok_or_else(|| VaultError::Internal("collection row".into()))?;
                put(key, CollectionRow { state, sealed: Vec::new(), ..CollectionRow::from_row(&row)? }.to_row()?);
            }
            Scope::Subjects(_) => {
                for token in job.row.marked() {
                    put(schema::subject_state(tenant, token), SubjectRow { state }.to_row()?);
                }
            }
            Scope::Record { collection, row, units } => {
                // Its units are gone: their rows need not be found any more.
                let token = row.last_chunk::<16>().copied().unwrap_or_default();
                for slot in units.iter().filter_map(|unit| Slot::new(unit.slot)) {
                    let key = schema::record_unit(tenant, &token, CollectionNo(*collection), slot);
                    writes.push(Write::Delete { space: Space::Control, key });
                }
            }
        }
        Ok(writes)
    }

    /// Slots of all units that an order destroyed.
    pub(super) async fn slots_of(&self, id: ShredId) -> Result<HashSet<u64>, VaultError> {
        let range = schema::slots_of_shred(id);
        let mut slots = HashSet::new();
        for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
            slots.extend(ShredSlotsRow::from_row(&row.value)?.slots);
        }
        Ok(slots)
    }

    /// Orders that were not done when the process ended.
    pub(super) async fn unfinished(&self) -> Result<Vec<ShredId>, VaultError> {
        let range = schema::table(Table::PendingShred);
        let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await?;
        Ok(rows.iter().filter_map(|row| row.key.last_chunk::<16>()).map(|id| ShredId(*id)).collect())
    }
}

fn stays_pending(error: &VaultError, orders: usize) {
    metrics::counter!("lethe_shred_failures_total").increment(1);
    tracing::error!(%error, orders, "orders to shred stay pending");
}

/// Who an order's later entries name.
pub(super) fn actor_of(row: &ShredRow) -> Actor {
    Actor {
        principal: PrincipalId(row.ordered_by),
        role: Role::from_code(row.role).unwrap_or(Role::Owner),
        request: RequestId(row.request),
    }
}
