//! One epoch of the shredder: as many orders and targets as fit it, and the rows that its commit says of them. An order's states change
//! with the epoch of its last target.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    super::{
        Vault, VaultError,
        rows::{CollectionRow, EPOCHS_MAX, Progress, Scope, Seals, ShredLogRow, ShredRow, ShredSlotsRow, State, TenantRow, UnitStateRow},
        spare::Decided,
    },
    Job, Left,
};
use crate::{
    domain::{
        CollectionNo, ShredId, Slot, TenantNo,
        lifecycle::{Step, TenantState},
    },
    vault::{
        keys::{EpochRecord, Extra, LeaseKind, ShredTarget},
        store::{Space, StoreError, Write, schema},
    },
};

/// Targets of one epoch.
const EPOCH_TARGETS: usize = 2_000;
/// Orders of one epoch, and the bytes of their rows: its commit has room for 128 MiB.
pub(super) const EPOCH_ORDERS: usize = 1_000;
const EPOCH_ROWS_LEN: usize = 16 << 20;

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

impl Job {
    /// Bytes of the rows that change with its last epoch, but for those of its targets: its own, its entry in the shred log,
    /// and those of a record's units.
    fn row_len(&self, seals: &Seals) -> Result<usize, StoreError> {
        let len = seals.seal(&schema::shred_order(self.id), &self.row)?.len();
        Ok(len.saturating_mul(2).saturating_add(self.row.scope.units().len().saturating_mul(128)))
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
    /// Steps 1 to 4 for all targets, as many an epoch as fit; an order's states change with the epoch of its last target.
    /// An order without a target (its subjects never wrote) goes with an epoch all the same: its certificate names one.
    pub(super) async fn erase(&self, jobs: &mut [Job]) -> Result<(), VaultError> {
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
    pub(super) async fn erase_each(&self, jobs: Vec<Job>, left: &mut Left) -> Vec<Job> {
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
                let row: TenantRow = self.control_row(&key).await?.ok_or_else(|| VaultError::Internal("tenant row".into()))?;
                if row.life.rest.is_some() {
                    // What was left of it for laws goes with its keys.
                    let left = schema::table_of_tenant(schema::Table::LeftByLaw, tenant);
                    writes.push(Write::DeleteRange { space: Space::Control, from: left.from, to: left.to });
                }
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
    pub(in crate::vault::ops) async fn slots_of(&self, id: ShredId) -> Result<HashSet<u64>, VaultError> {
        let range = schema::slots_of_shred(id);
        let mut slots = HashSet::new();
        for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
            slots.extend(self.inner.seals.open::<ShredSlotsRow>(&row.key, &row.value)?.slots);
        }
        Ok(slots)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

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
}
