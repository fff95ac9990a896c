//! The shredder: one task that carries out all orders that wait, as many as fit, in one epoch. Keys first, then what is
//! deleted rather than shredded, then the certificate; an order that cannot be carried out is set aside and holds up no other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Vault, VaultError,
    certify::Issued,
    plan::Actor,
    rows::{
        CollectionRow, EPOCHS_MAX, Progress, Scope, Seals, ShredLogRow, ShredRow, ShredSlotsRow, State, TenantRow, UnitStateRow, capped,
        listed,
    },
    shred::{UnitIn, targets},
    spare::Decided,
};
use crate::{
    authn::Role,
    domain::{
        CollectionNo, PrincipalId, RequestId, ShredId, Slot, TenantNo, Timestamp,
        lifecycle::{Step, TenantState},
    },
    vault::{
        keys::{EpochRecord, EpochReport, Extra, LeaseKind, ShredTarget},
        store::{
            Space, StoreError, Write,
            schema::{self, Table},
        },
    },
};

/// Orders that may wait; the next one is told to come again.
const QUEUE: usize = 4_096;
/// The longest that an epoch waits for orders that are being given.
const GATHER_MAX: Duration = Duration::from_millis(100);
/// How soon orders that could not be carried out are tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The longest pause of an order that was set aside.
const ASIDE_MAX: Duration = Duration::from_mins(5);
/// Targets of one epoch.
const EPOCH_TARGETS: usize = 2_000;
/// Orders of one epoch, and the bytes of their rows: its commit has room for 128 MiB.
const EPOCH_ORDERS: usize = 1_000;
const EPOCH_ROWS_LEN: usize = 16 << 20;
/// Certificates that are committed at a time: their commits share syncs.
const CERTIFIED_AT_ONCE: usize = 128;

/// The way to the shredder.
pub(super) struct Queue {
    orders: mpsc::Sender<ShredId>,
    /// A place was given up without an order.
    given_up: Arc<Notify>,
    /// Counts orders that were done, so that who waits looks again.
    done: watch::Sender<u64>,
    vault: std::sync::OnceLock<std::sync::Weak<super::Inner>>,
    /// Whether shreds that go with deletions wait to be ordered.
    pub(super) deferred: AtomicBool,
    /// Orders about persons that spare nothing, and as of when that was decided: this process has closed all that they name.
    decided: Mutex<HashMap<ShredId, Timestamp>>,
}

/// A place in the queue, taken before the intent is durable: a durable intent is never refused.
pub(super) struct Place {
    permit: Option<mpsc::OwnedPermit<ShredId>>,
    given_up: Arc<Notify>,
}

impl Place {
    pub(super) fn send(mut self, id: ShredId) {
        drop(self.permit.take().map(|permit| permit.send(id)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.permit.take().is_some() {
            self.given_up.notify_one();
        }
    }
}

impl Queue {
    /// A queue and its far end.
    pub(super) fn new() -> (Self, mpsc::Receiver<ShredId>) {
        let (orders, receiver) = mpsc::channel(QUEUE);
        let (done, vault, deferred) = (watch::Sender::new(0), std::sync::OnceLock::new(), AtomicBool::new(false));
        (Self { orders, given_up: Arc::default(), done, vault, deferred, decided: Mutex::default() }, receiver)
    }

    fn decided(&self) -> MutexGuard<'_, HashMap<ShredId, Timestamp>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of when it was decided that an order spares nothing.
    pub(super) fn decided_at(&self, id: ShredId) -> Option<Timestamp> {
        self.decided().get(&id).copied()
    }

    /// It was decided that an order spares nothing.
    pub(super) fn was_decided(&self, id: ShredId, at: Timestamp) {
        self.decided().insert(id, at);
    }

    /// Its keys are gone, or it was taken back.
    pub(super) fn forget_decided(&self, id: ShredId) {
        self.decided().remove(&id);
    }

    pub(super) fn attach(&self, vault: &Vault) {
        // A second attachment would be the same vault.
        let _ = self.vault.set(std::sync::Arc::downgrade(&vault.inner));
    }

    /// A place, or [`VaultError::Busy`].
    pub(super) fn reserve(&self) -> Result<Place, VaultError> {
        let permit = self.orders.clone().try_reserve_owned().map_err(|_| VaultError::Busy)?;
        Ok(Place { permit: Some(permit), given_up: Arc::clone(&self.given_up) })
    }

    /// Takes what waits, and waits for the orders that others are giving at this moment: one epoch is for all of them.
    async fn gather(&self, orders: &mut mpsc::Receiver<ShredId>, into: &mut Vec<ShredId>) {
        let all = async {
            loop {
                while let Ok(next) = orders.try_recv() {
                    into.push(next);
                }
                // The queue is empty: what is taken of it are places whose intents are on their way.
                if self.orders.capacity() >= QUEUE || into.len() >= EPOCH_ORDERS {
                    return;
                }
                tokio::select! {
                    next = orders.recv() => match next {
                        Some(next) => into.push(next),
                        None => return,
                    },
                    () = self.given_up.notified() => {}
                }
            }
        };
        // Over or not, an epoch begins with what is there.
        let _ = tokio::time::timeout(GATHER_MAX, all).await;
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
                    Ok(Some(row)) => {
                        // It waits for somebody, and not for this process.
                        matches!(row.progress, Progress::Held | Progress::Asked | Progress::Dropped)
                            || vault.is_done(id, &row).await.unwrap_or(true)
                    }
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
    fn rows(seals: &Seals, changes: &mut [Self], record: &EpochRecord, version: u64) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        // Number 0 stays free for what tells of the epoch itself.
        for (number, change) in (1..).zip(changes) {
            if change.row.epochs.len() < EPOCHS_MAX {
                change.row.epochs.push((record.old_epoch.0, record.new_epoch.0));
            }
            if !change.slots.is_empty() {
                let state = UnitStateRow { state: State::Shredded(change.id.0) };
                let tenant = TenantNo(change.row.tenant);
                for slot in change.slots.iter().filter_map(|slot| Slot::new(*slot)) {
                    writes.push(seals.put(schema::unit_state(tenant, slot), &state)?);
                }
                let slots = ShredSlotsRow { slots: std::mem::take(&mut change.slots) };
                writes.push(seals.put(schema::shred_slots(change.id, record.new_epoch), &slots)?);
            }
            if change.row.version == 0 {
                // Holds were weighed against what it deletes by the rules of now; they may be others by its last epoch.
                change.row.version = version;
            }
            if let Some(states) = change.states.take() {
                change.row.progress = Progress::Erased;
                writes.extend(states);
                let (tenant, version) = (change.row.tenant, change.row.version);
                let log = ShredLogRow { tenant, order: change.id.0, scope: change.row.scope_done(), version };
                writes.push(seals.put(schema::shred_log(record.new_epoch, number), &log)?);
            }
            writes.push(seals.put(schema::shred_order(change.id), &change.row)?);
        }
        Ok(writes)
    }
}

/// An order under way.
struct Job {
    id: ShredId,
    row: ShredRow,
    targets: Vec<ShredTarget>,
    reports: Vec<Arc<EpochReport>>,
    /// Comes after an order whose keys are still there: its own go, and nothing more.
    waits: bool,
}

impl Job {
    /// Bytes of the rows that change with its last epoch, but for those of its targets: its own, its entry in the shred log,
    /// and those of a record's units.
    fn row_len(&self, seals: &Seals) -> Result<usize, StoreError> {
        let len = seals.seal(&schema::shred_order(self.id), &self.row)?.len();
        Ok(len.saturating_mul(2).saturating_add(self.row.scope.units().len().saturating_mul(128)))
    }
}

/// How far a pass has brought an order.
enum Finish {
    /// It has its certificate, which is to come into the log.
    Issued(Issued),
    /// There is more to delete.
    More,
    /// For an order that it comes after.
    Waits,
}

/// The orders that one comes after.
fn others(row: &ShredRow) -> impl Iterator<Item = ShredId> {
    row.after.iter().map(|id| ShredId(*id))
}

/// Orders that a pass has left, by why.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Their keys are gone, and records are left to delete.
    more: Vec<ShredId>,
    /// The store, custody or the log was at fault, or they come after another: tried again with all others.
    again: Vec<ShredId>,
    /// Something of their own is: tried again by themselves.
    aside: Vec<ShredId>,
}

impl Left {
    /// An order that could not be carried out.
    fn put(&mut self, id: ShredId, error: &VaultError) {
        stays_pending(error, 1);
        if is_its_own(error) { self.aside.push(id) } else { self.again.push(id) }
    }
}

/// Whether an order would meet the same error however well the store does.
pub(super) const fn is_its_own(error: &VaultError) -> bool {
    !matches!(error, VaultError::Busy | VaultError::DiskFull | VaultError::Unavailable(_))
}

/// Orders that are tried again by themselves, and ever more rarely.
#[derive(Default)]
struct Aside(HashMap<ShredId, Pause>);

#[derive(Clone, Copy)]
struct Pause {
    until: Duration,
    length: Duration,
}

impl Aside {
    fn put(&mut self, id: ShredId, now: Duration) {
        let length = self.0.get(&id).map_or(RETRY_EVERY, |pause| pause.length.saturating_mul(2).min(ASIDE_MAX));
        self.0.insert(id, Pause { until: now.saturating_add(length), length });
        self.tell();
    }

    fn due(&self, now: Duration) -> Vec<ShredId> {
        self.0.iter().filter(|(_, pause)| pause.until <= now).map(|(id, _)| *id).collect()
    }

    fn take(&mut self, id: ShredId) {
        self.0.remove(&id);
        self.tell();
    }

    fn tell(&self) {
        metrics::gauge!("lethe_shreds_set_aside").set(f64::from(u32::try_from(self.0.len()).unwrap_or(u32::MAX)));
    }
}

/// What one epoch takes.
#[derive(Debug, Default)]
struct Load {
    /// Its orders, and the slots of each that it destroys.
    here: BTreeMap<usize, Vec<u64>>,
    targets: Vec<ShredTarget>,
    /// The order that has more targets to come.
    unfinished: Option<usize>,
}

impl Load {
    /// As much of the queue as fits one epoch and its commit: bounded in targets, orders and the bytes of their rows.
    fn take(queue: &mut VecDeque<(usize, Option<ShredTarget>)>, row_len: impl Fn(usize) -> usize) -> Self {
        let mut load = Self::default();
        let mut len: usize = 0;
        while let Some((number, target)) = queue.front().copied() {
            let is_new = !load.here.contains_key(&number);
            let more = if is_new { row_len(number) } else { 0 };
            let is_full = load.targets.len() >= EPOCH_TARGETS
                || (is_new && !load.here.is_empty() && (load.here.len() >= EPOCH_ORDERS || len.saturating_add(more) > EPOCH_ROWS_LEN));
            if is_full {
                break;
            }
            queue.pop_front();
            len = len.saturating_add(more);
            let slots = load.here.entry(number).or_default();
            if let Some(ShredTarget::Unit { slot, .. }) = target {
                slots.push(slot.number());
            }
            load.targets.extend(target);
        }
        load.unfinished = queue.front().map(|(number, _)| *number).filter(|number| load.here.contains_key(number));
        load
    }
}

impl Vault {
    /// Runs until cancelled, beginning with the orders that a start has left. An order that cannot be carried out now stays
    /// pending: everything it names answers 410, and it is tried again, at the latest by the next start.
    pub(super) async fn run_shredder(&self, mut orders: mpsc::Receiver<ShredId>, left: Left, stop: CancellationToken) {
        let mut again = tokio::time::interval(RETRY_EVERY);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut now, mut later, mut aside) = (Vec::new(), Vec::new(), Aside::default());
        let sort = |left: Left, now: &mut Vec<ShredId>, later: &mut Vec<ShredId>, aside: &mut Aside| {
            now.extend(left.more);
            later.extend(left.again);
            left.aside.into_iter().for_each(|id| aside.put(id, self.inner.clock.monotonic()));
        };
        sort(left, &mut now, &mut later, &mut aside);
        loop {
            let mut alone = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = again.tick() => {
                    self.heal().await;
                    self.thaw_left().await;
                    now.append(&mut later);
                    alone = aside.due(self.inner.clock.monotonic());
                }
                next = orders.recv() => match next {
                    Some(next) => now.push(next),
                    None => return,
                },
                () = std::future::ready(()), if !now.is_empty() => {}
            }
            if !now.is_empty() {
                self.inner.shredder.gather(&mut orders, &mut now).await;
                let left = self.carry_out(&std::mem::take(&mut now)).await;
                sort(left, &mut now, &mut later, &mut aside);
            }
            for id in alone {
                let left = self.carry_out(&[id]).await;
                if left.aside.is_empty() {
                    aside.take(id);
                }
                sort(left, &mut now, &mut later, &mut aside);
            }
            if self.inner.shredder.deferred.swap(false, Ordering::AcqRel)
                && let Err(error) = self.shred_all_deferred().await
            {
                tracing::warn!(%error, "the units of deleted records are shredded later");
                self.inner.shredder.deferred.store(true, Ordering::Release);
            }
        }
    }

    /// Finishes an epoch that was cut short while the process lives, where that is safe, and asks custody again that failed.
    async fn heal(&self) {
        if !self.inner.forest.is_whole()
            && let Err(error) = self.inner.forest.heal().await
        {
            tracing::error!(%error, "an epoch was cut short: only what needs no key is answered");
        }
        if let Err(error) = self.inner.forest.ask_custody_again().await {
            tracing::error!(%error, "custody takes no part: nothing can be shredded");
        }
    }

    /// Carries out orders, whatever step each has reached: one that cannot be prepared, erased or certified holds up no other.
    pub(super) async fn carry_out(&self, ids: &[ShredId]) -> Left {
        let mut left = Left::default();
        let mut jobs = Vec::with_capacity(ids.len());
        // A copy of the control store that takes its time is waited for here, where nobody waits with it: behind this, one that has not
        // answered fails at once, and what it failed with is met again where an epoch begins.
        drop(self.inner.store.confirm_copies().await);
        let mut decided = Vec::with_capacity(ids.len());
        for id in ids {
            decided.push((*id, self.decide(*id).await));
        }
        // No hold is placed from here on until the keys are gone.
        let alone = self.inner.placing.wait().await;
        for (id, decided) in decided {
            match self.take_up(id, decided).await {
                Ok(job) => jobs.extend(job),
                Err(error) => left.put(id, &error),
            }
        }
        // What lies in a tenant goes before the tenant, or with it.
        jobs.sort_by_key(|job| job.row.scope.is_tenants());
        let mut jobs = self.in_order(jobs, &mut left).await;
        if let Err(error) = self.erase(&mut jobs).await {
            if is_its_own(&error) && jobs.len() > 1 {
                // One of them is at fault; each by itself tells which.
                jobs = self.erase_each(jobs, &mut left).await;
            } else {
                jobs.drain(..).for_each(|job| left.put(job.id, &error));
            }
        }
        drop(alone);
        for job in jobs.iter().filter(|job| job.row.progress != Progress::Pending) {
            self.inner.shredder.forget_decided(job.id);
        }
        // One that comes after another is certified behind it.
        let jobs: Vec<Arc<Job>> = jobs.into_iter().map(Arc::new).collect();
        let (alone, behind): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.row.after.is_empty());
        let mut finished = Vec::with_capacity(jobs.len());
        for some in alone.chunks(CERTIFIED_AT_ONCE) {
            // Tasks of their own, where there are several: the arithmetic of certificates is for all threads.
            let apart = |job: &Arc<Job>| {
                let (vault, job) = (self.clone(), Arc::clone(job));
                self.to_the_end(async move { vault.finish(&job).await })
            };
            let all = match some {
                [job] => vec![self.finish(job).await],
                _ => join_all(some.iter().map(|job| apart(job))).await,
            };
            finished.extend(some.iter().map(|job| job.id).zip(all));
        }
        for job in behind {
            finished.push((job.id, self.finish(job).await));
        }
        let (mut ids, mut issued) = (Vec::new(), Vec::new());
        for (id, finish) in finished {
            match finish {
                Ok(Finish::Issued(certificate)) => {
                    ids.push(id);
                    issued.push(certificate);
                }
                Ok(Finish::More) => left.more.push(id),
                Ok(Finish::Waits) => left.again.push(id),
                Err(error) => left.put(id, &error),
            }
        }
        if issued.is_empty() {
            if !jobs.is_empty()
                && let Err(error) = self.inner.audit.publish_epochs().await
            {
                tracing::warn!(%error, "epochs come into the log later");
            }
        } else if let Err(error) = self.log_certificates(issued).await {
            for id in ids {
                left.put(id, &error);
            }
        }
        self.inner.reclaim.notify_one();
        self.inner.shredder.tell();
        left
    }

    /// What follows once an order's keys are gone.
    async fn finish(&self, job: &Job) -> Result<Finish, VaultError> {
        if job.waits {
            return Ok(Finish::Waits);
        }
        if job.row.progress == Progress::Erased && !self.delete_some(job.id, &job.row).await? {
            return Ok(Finish::More);
        }
        if job.row.progress == Progress::Erased && !self.delete_unheld_some(job.id, &job.row).await? {
            return Ok(Finish::More);
        }
        if job.row.progress == Progress::Erased {
            self.drop_names_of_order(job.id, &job.row).await?;
        }
        // Whom the others marked, it names too: what they delete is gone before it is certified.
        if !self.have_come(others(&job.row), |progress| progress == Progress::Done).await? {
            return Ok(Finish::Waits);
        }
        Ok(Finish::Issued(self.certify(job.id, &job.row, &job.reports).await?))
    }

    /// Whether each of these orders has come so far, or is not there any more.
    async fn have_come(&self, orders: impl Iterator<Item = ShredId>, so_far: impl Fn(Progress) -> bool) -> Result<bool, VaultError> {
        for id in orders {
            if self.shred_row(id).await?.is_some_and(|row| !so_far(row.progress)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An order as far as it has come; `None` if there is no such order any more. Nothing goes of persons of whom it is not `decided` what
    /// the law keeps.
    async fn take_up(&self, id: ShredId, decided: Result<Option<Decided>, VaultError>) -> Result<Option<Job>, VaultError> {
        let Some(mut row) = self.shred_row(id).await? else { return Ok(None) };
        if matches!(row.progress, Progress::Held | Progress::Asked | Progress::Dropped) || self.stop_if_held(id, &row).await? {
            return Ok(None);
        }
        if !row.is_approved() {
            // No key goes on one person's word where two are asked for, whatever led here.
            return Err(VaultError::Internal("an order to shred that takes two persons has one".into()));
        }
        let is_undecided = matches!(row.scope, Scope::Subjects(_)) && row.progress == Progress::Pending && !row.is_decided;
        let known = match decided {
            Ok(Some(Decided { at, units })) => {
                if is_undecided {
                    row = ShredRow { decided_at: at.0, is_decided: true, ..row };
                }
                units
            }
            Err(error) if is_undecided => return Err(error),
            // One that was given again in between is decided by the next pass.
            Ok(None) if is_undecided => return Err(VaultError::Busy),
            Ok(None) | Err(_) => None,
        };
        let mut job = Job { id, row, targets: Vec::new(), reports: Vec::new(), waits: false };
        if job.row.progress == Progress::Pending {
            let units = match known {
                // Only this task takes orders back: they are its own since they were found.
                Some(units) => {
                    self.close_units(&job.row, &units).await?;
                    units
                }
                None => self.close_fence(&job.row).await?,
            };
            self.prepare(&mut job, &units).await?;
        }
        if !job.row.epochs.is_empty() && self.inner.forest.is_whole() {
            // An epoch that was cut short has destroyed these, and was finished without its order: their generations say so.
            let tenant = TenantNo(job.row.tenant);
            for slot in self.slots_of(id).await?.into_iter().filter_map(Slot::new) {
                self.inner.forest.fence().reopen_unit(tenant, slot);
            }
            if matches!(job.row.scope, Scope::Rest { .. }) {
                self.inner.forest.fence().reopen_tenant(tenant);
            }
        }
        Ok(Some(job))
    }

    /// Puts each order behind those that it comes after. One that comes after an order which is neither here nor erased waits:
    /// its last epoch must not be over before the other's keys are gone, for its certificate names whom they were of.
    async fn in_order(&self, jobs: Vec<Job>, left: &mut Left) -> Vec<Job> {
        let mut waiting = jobs;
        let mut ordered: Vec<Job> = Vec::with_capacity(waiting.len());
        loop {
            let before = ordered.len();
            let mut still = Vec::new();
            for job in waiting {
                let is_here = |other: ShredId| ordered.iter().any(|job| job.id == other);
                match self.comes_next(&job.row, is_here).await {
                    Ok(true) => ordered.push(job),
                    Ok(false) => still.push(job),
                    Err(error) => left.put(job.id, &error),
                }
            }
            waiting = still;
            if waiting.is_empty() || ordered.len() == before {
                ordered.extend(waiting.into_iter().map(|job| Job { waits: true, ..job }));
                return ordered;
            }
        }
    }

    /// Whether every order that another comes after is here, or erased.
    async fn comes_next(&self, row: &ShredRow, is_here: impl Fn(ShredId) -> bool) -> Result<bool, VaultError> {
        let has_erased = |progress: Progress| matches!(progress, Progress::Erased | Progress::Done);
        self.have_come(others(row).filter(|other| !is_here(*other)), has_erased).await
    }

    /// Finds an order's targets, and what it touches.
    async fn prepare(&self, job: &mut Job, units: &[UnitIn]) -> Result<(), VaultError> {
        let (targets, totals) = targets(&job.row, units);
        job.targets = targets;
        job.targets.sort_unstable();
        job.targets.dedup();
        if !job.row.epochs.is_empty() {
            // A crash came between its epochs: what it touches was counted before the first.
            return Ok(());
        }
        job.row.categories = capped(self.categories_of(&job.row, totals.keys()).await?);
        job.row.totals = listed(&totals);
        Ok(())
    }

    /// The categories of what an order covers, while the policies can still be read.
    pub(super) async fn categories_of(
        &self,
        row: &ShredRow,
        collections: impl Iterator<Item = &CollectionNo>,
    ) -> Result<BTreeSet<String>, VaultError> {
        let mut categories = BTreeSet::new();
        for no in collections.filter(|no| **no != CollectionNo::TENANT) {
            if let Some(policy) = self.policy_of(TenantNo(row.tenant), *no).await? {
                categories.extend(policy.categories);
            }
        }
        Ok(categories)
    }

    /// Steps 1 to 4 for all targets, as many an epoch as fit; an order's states change with the epoch of its last target.
    /// An order without a target (its subjects never wrote) goes with an epoch all the same: its certificate names one.
    async fn erase(&self, jobs: &mut [Job]) -> Result<(), VaultError> {
        let pending = |job: &Job| job.row.progress == Progress::Pending;
        let mut queue: VecDeque<(usize, Option<ShredTarget>)> = VecDeque::new();
        let mut lens = Vec::with_capacity(jobs.len());
        for (number, job) in jobs.iter().enumerate() {
            lens.push(job.row_len(&self.inner.seals)?);
            if pending(job) {
                // Keys that are there for it to destroy are an epoch's reason, waiting is none.
                queue.extend((!job.waits).then_some((number, None)));
                queue.extend(job.targets.iter().map(|target| (number, Some(*target))));
            }
        }
        while !queue.is_empty() {
            let load = Load::take(&mut queue, |number| lens.get(number).copied().unwrap_or_default());
            self.epoch(jobs, &load).await?;
        }
        self.inner.directory.forget_all();
        Ok(())
    }

    /// The same for each order by itself, read anew: what an epoch has destroyed before the fault is not destroyed again.
    async fn erase_each(&self, jobs: Vec<Job>, left: &mut Left) -> Vec<Job> {
        let mut erased = Vec::with_capacity(jobs.len());
        for (id, row) in jobs.into_iter().map(|job| (job.id, job.row)) {
            let decided = row.is_decided.then(|| Decided { at: row.decided_as_of(), units: None });
            let alone = async {
                let Some(mut job) = self.take_up(id, Ok(decided)).await? else { return Ok(None) };
                job.waits = !self.comes_next(&job.row, |_| false).await?;
                self.erase(std::slice::from_mut(&mut job)).await?;
                Ok(Some(job))
            };
            match alone.await {
                Ok(job) => erased.extend(job),
                Err(error) => left.put(id, &error),
            }
        }
        erased
    }

    /// One epoch with the rows that go with it.
    async fn epoch(&self, jobs: &mut [Job], Load { here, targets, unfinished }: &Load) -> Result<(), VaultError> {
        let version = self.inner.forest.lease(LeaseKind::Version).await?;
        let mut changes = Vec::with_capacity(here.len());
        for (number, slots) in here {
            let Some(job) = jobs.get(*number) else { continue };
            let is_over = !job.waits && *unfinished != Some(*number);
            let states = if is_over { Some(self.final_states(job).await?) } else { None };
            changes.push(Change { id: job.id, row: job.row.clone(), slots: slots.clone(), states });
        }
        let mut failed = None;
        let report = self
            .inner
            .forest
            .shred_keeping(targets, kept_of(jobs, here), |record| {
                let writes = Change::rows(&self.inner.seals, &mut changes, record, version).unwrap_or_else(|error| {
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
        // Their generations now say "shredded"; a tenant stays closed, its number is never used again. Of one that goes in part the state
        // keeps everybody out until what is not held is deleted.
        for target in targets {
            match target {
                ShredTarget::Unit { tenant, slot } => self.inner.forest.fence().reopen_unit(*tenant, *slot),
                ShredTarget::Others(tenant) => self.inner.forest.fence().reopen_tenant(*tenant),
                ShredTarget::Tenant(_) => {}
            }
        }
        let report = Arc::new(report);
        for (number, change) in here.keys().zip(changes) {
            if let Some(job) = jobs.get_mut(*number) {
                job.row = change.row;
                job.reports.push(Arc::clone(&report));
            }
        }
        Ok(())
    }

    /// The rows that say "shredded", and no longer hold a name.
    async fn final_states(&self, job: &Job) -> Result<Vec<Write>, VaultError> {
        let tenant = TenantNo(job.row.tenant);
        let (state, seals) = (State::Shredded(job.id.0), &self.inner.seals);
        let mut writes = Vec::new();
        match &job.row.scope {
            Scope::Tenant => {
                let key = schema::tenant(tenant);
                let row = self.control_row(&key).await?.ok_or_else(|| VaultError::Internal("tenant row".into()))?;
                writes.push(seals.put(key, &TenantRow { state, sealed_name: Vec::new(), ..row })?);
                writes.extend(self.changed_by(&job.row, TenantState::Pending, Step::ShredDone)?);
            }
            Scope::Collection(no) => {
                let key = schema::collection(tenant, CollectionNo(*no));
                let row = self.control_row(&key).await?.ok_or_else(|| VaultError::Internal("collection row".into()))?;
                writes.push(seals.put(key, &CollectionRow { state, sealed: Vec::new(), ..row })?);
            }
            // A person stays pending until what is deleted is gone too.
            Scope::Subjects(_) => {}
            // As is what is left of a tenant; its other collections have no key any more.
            Scope::Rest { kept, .. } => writes.extend(self.unkept_collections(tenant, job.id, kept).await?),
            Scope::Record { collection, row, units } => {
                // Its units are gone: their rows need not be found any more.
                let token = row.last_chunk::<16>().copied().unwrap_or_default();
                for slot in units.iter().filter_map(|unit| Slot::new(unit.slot)) {
                    let key = schema::record_unit(tenant, &token, CollectionNo(*collection), slot);
                    writes.push(Write::Delete { space: Space::Control, key });
                    // One that an order had spared, of which nothing is left.
                    writes.extend(self.forgotten(tenant, slot).await?);
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
            slots.extend(self.inner.seals.open::<ShredSlotsRow>(&row.key, &row.value)?.slots);
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

/// What the orders of an epoch keep of tenants that go in part.
fn kept_of(jobs: &[Job], here: &BTreeMap<usize, Vec<u64>>) -> BTreeMap<TenantNo, BTreeSet<Slot>> {
    let orders = here.keys().filter_map(|number| jobs.get(*number));
    let kept = orders.filter_map(|job| match &job.row.scope {
        Scope::Rest { kept, .. } => Some((TenantNo(job.row.tenant), kept.iter().filter_map(|slot| Slot::new(*slot)).collect())),
        Scope::Tenant | Scope::Collection(_) | Scope::Subjects(_) | Scope::Record { .. } => None,
    });
    kept.collect()
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

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, clippy::unchecked_time_subtraction, reason = "small numbers of tests")]

    use super::*;

    fn unit(number: u64) -> ShredTarget {
        ShredTarget::Unit { tenant: TenantNo(1), slot: Slot::new(number).unwrap() }
    }

    /// Every load of a queue: (orders, targets, bytes of rows).
    fn loads(mut queue: VecDeque<(usize, Option<ShredTarget>)>, row_len: usize) -> Vec<(usize, usize, usize)> {
        let mut loads = Vec::new();
        while !queue.is_empty() {
            let load = Load::take(&mut queue, |_| row_len);
            assert!(!load.here.is_empty(), "an epoch that takes nothing would go on for ever");
            loads.push((load.here.len(), load.targets.len(), load.here.len() * row_len));
        }
        loads
    }

    #[test]
    fn a_backlog_of_any_size_goes_in_epochs_whose_commits_have_room() {
        let empty = |orders: usize| (0..orders).map(|number| (number, None)).collect::<VecDeque<_>>();
        for (orders, row_len) in [(10_000, 500), (4_096, 200_000), (3, 100_000_000)] {
            let loads = loads(empty(orders), row_len);
            assert_eq!(loads.iter().map(|load| load.0).sum::<usize>(), orders);
            assert!(loads.iter().all(|(here, _, len)| *here <= 1_000 && (*len <= 16 << 20 || *here == 1)), "{loads:?}");
        }
        let mut queue = empty(0);
        for number in 0..3 {
            queue.push_back((number, None));
            queue.extend((0..3_000).map(|slot| (number, Some(unit(slot)))));
        }
        let loads = loads(queue, 1_000);
        assert_eq!(loads.iter().map(|load| load.1).collect::<Vec<_>>(), [2_000, 2_000, 2_000, 2_000, 1_000]);
    }

    #[test]
    fn an_order_is_unfinished_while_targets_of_it_are_left_and_no_other_is() {
        let mut queue: VecDeque<_> = [(0, None)].into();
        queue.extend((0..2_000).map(|slot| (0, Some(unit(slot)))));
        queue.push_back((1, None));
        assert_eq!(Load::take(&mut queue, |_| 1).unfinished, None, "the next one has not begun");
        queue.extend((0..2_001).map(|slot| (1, Some(unit(slot)))));
        assert_eq!(Load::take(&mut queue, |_| 1).unfinished, Some(1));
        assert_eq!(Load::take(&mut queue, |_| 1).unfinished, None);
    }

    #[test]
    fn an_order_that_was_set_aside_is_tried_ever_more_rarely() {
        let (mut aside, id) = (Aside::default(), ShredId([1; 16]));
        let mut now = Duration::ZERO;
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            aside.put(id, now);
            now += Duration::from_secs(pause);
            assert!(aside.due(now - Duration::from_millis(1)).is_empty(), "{pause}");
            assert_eq!(aside.due(now), [id], "{pause}");
        }
        aside.take(id);
        assert!(aside.due(now).is_empty());
    }
}
