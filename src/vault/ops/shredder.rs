//! The shredder: one task that carries out all orders that wait, as many as fit, in one epoch. Keys first, then what is
//! deleted rather than shredded, then the certificate; an order that cannot be carried out is set aside and holds up no other.
//!
//! * [`queue`]: how an order comes to it.
//! * [`epoch`]: what goes in one epoch, and the rows that go with it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Vault, VaultError,
    certify::Issued,
    plan::Actor,
    rows::{Progress, Scope, ShredRow, capped, listed},
    shred::{UnitIn, targets},
    spare::Decided,
};
use crate::{
    authn::Role,
    domain::{CollectionNo, PrincipalId, RequestId, ShredId, Slot, TenantNo},
    vault::{
        keys::{EpochReport, ShredTarget},
        store::{
            Space,
            schema::{self, Table},
        },
    },
};

mod epoch;
mod queue;

pub(super) use queue::Queue;

/// How soon orders that could not be carried out are tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The longest pause of an order that was set aside.
const ASIDE_MAX: Duration = Duration::from_mins(5);
/// Certificates that are committed at a time: their commits share syncs.
const CERTIFIED_AT_ONCE: usize = 128;

/// An order under way.
struct Job {
    id: ShredId,
    row: ShredRow,
    targets: Vec<ShredTarget>,
    reports: Vec<Arc<EpochReport>>,
    /// Comes after an order whose keys are still there: its own go, and nothing more.
    waits: bool,
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unchecked_time_subtraction, reason = "small numbers of tests")]

    use super::*;

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
