//! The forest in use: makes tenants and units, loads keys into the cache, lends them.
//!
//! A key is touched only in synchronous code: first the rows of a path are gathered, then the path is
//! walked down in one call and the wanted key cached; lending copies it into a closure's reach and no
//! further. While an epoch puts new pages in place, loading waits; lending of cached keys does not.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    Fence, KeysError, LeaseKind, LendError, UnitRef,
    cache::Cache,
    custody::{CustodyError, Description, composite::RootName, desk::Desk},
    leases::{Block, Counter, Leases, next_block},
    rows::{EpochRecord, RootPtr},
    shred::{Extra, Procedure, Witness, Work},
    slab::{KEY_LEN, Place, Slab},
    tree::{FANOUT, MAX_TENANT, Shape, height_for, secret_slot, tree_slot},
};
use crate::{
    domain::{Clock, CollectionNo, Epoch, Gen, Slot, StoreId, TenantNo, TreeId},
    vault::{
        crypto::{Branch, Data, Key, OpenError, OpenReason, PageId, PageSlots, SlotIndex, TenantSecret, Unit, random, residue},
        store::{Check, Commit, Durability, Expect, Space, Store, StoreError, Urgency, Write, schema},
    },
};

/// How a forest is kept.
#[derive(Debug, Clone, Copy)]
pub struct ForestOptions {
    /// Keys held in memory at most.
    pub cached_keys: usize,
    /// How long a key is held after it was loaded.
    pub key_ttl: Duration,
    /// Height of a new tenant's unit tree; growing it takes an epoch.
    pub unit_height: u8,
    /// Height of a new store's tenant tree.
    pub tenant_height: u8,
}

impl Default for ForestOptions {
    /// 65,536 units' keys (2.3 MiB) for five minutes; room for 4,096 units and 2,048 tenants before a tree grows.
    fn default() -> Self {
        Self { cached_keys: 65_536, key_ttl: Duration::from_mins(5), unit_height: 2, tenant_height: 2 }
    }
}

/// A tenant's unit tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRow {
    /// Its pages' id.
    pub tree: TreeId,
    /// Its levels.
    pub height: u8,
}

/// The key forest of a store. Cheap to clone.
#[derive(Clone)]
pub struct Forest(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) store_id: StoreId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: ForestOptions,
    pub(super) procedure: Box<dyn Procedure>,
    pub(super) desk: Desk,
    pub(super) fence: Fence,
    pub(super) leases: Leases,
    /// Whoever makes pages or ends an epoch holds it.
    pub(super) gate: tokio::sync::Mutex<()>,
    /// Held for writing while pages change under their readers.
    pub(super) pages: tokio::sync::RwLock<()>,
    pub(super) state: Mutex<State>,
    /// An epoch was cut short.
    pub(super) broken: AtomicBool,
    /// Tells of every epoch in its commit.
    pub(super) witness: OnceLock<Witness>,
}

/// What this process knows of the forest.
pub(super) struct State {
    pub(super) ptr: RootPtr,
    pub(super) tops: Slab<KEY_LEN>,
    pub(super) top: Place,
    /// The top key of the epoch that is being made.
    pub(super) next: Option<(RootName, [u8; 32], Place)>,
    /// The top key of the epoch that has just ended, until the self-check.
    pub(super) old: Option<Place>,
    pub(super) cache: Cache,
    pub(super) trees: HashMap<TenantNo, Shape>,
    /// Why custody did not take part in the last epoch that was tried.
    pub(super) custody_failure: Option<CustodyError>,
    /// Custody was read back behind the last epoch, held its root and nothing else, and was not asked for anything since.
    pub(super) custody_is_settled: bool,
    /// Epochs whose self-check has passed and whose row for it goes with the next epoch.
    pub(super) checked: Vec<Epoch>,
}

/// Where a walk ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// A tenant's entry in its leaf page.
    Tenant(TenantNo),
    /// A unit's entry in its leaf page.
    Unit(TenantNo, Slot),
}

impl Forest {
    /// The next number of a kind; never given twice, whatever is restored.
    ///
    /// # Errors
    /// [`KeysError::Store`], [`KeysError::TooMany`].
    pub async fn lease(&self, kind: LeaseKind) -> Result<u64, KeysError> {
        self.0.leases.lease(self.0.store.as_ref(), kind).await
    }

    /// Makes a tenant's keys and its unit tree; again is no error.
    ///
    /// # Errors
    /// [`KeysError::Store`], [`KeysError::TooMany`] for a number that was not leased.
    pub async fn make_tenant(&self, tenant: TenantNo) -> Result<TreeRow, KeysError> {
        let gate = self.0.gate.lock().await;
        let inner = &self.0;
        if tenant.0 >= MAX_TENANT {
            return Err(KeysError::TooMany);
        }
        if let Some(shape) = inner.shape(tenant).await? {
            return Ok(TreeRow { tree: shape.tree, height: shape.height });
        }
        let slot = tree_slot(tenant);
        if !inner.tenant_tree().holds(slot) {
            inner.epoch(&gate, Work { tenant_height: height_for(slot), ..Work::default() }, |_| Extra::default()).await?;
        }
        let shape = Shape { tree: TreeId(random::bytes()), height: inner.options.unit_height.max(1) };
        let rows = inner.gather(inner.tenant_tree().path(slot)).await?;
        let writes = residue::leaving_none(|| {
            let mut grown = inner.grow(inner.tenant_tree(), slot, inner.top_key()?, &rows)?;
            let branch = grown.leaf.branch(SlotIndex::on_path(0, slot));
            let (page, row) =
                (shape.top(), branch.wrap_page(&inner.store_id, &shape.top(), inner.present().epoch, &PageSlots::make_random()));
            grown.fresh.push((page, row.into()));
            Ok::<_, KeysError>(grown.fresh)
        })?;
        let key = schema::tree(tenant);
        let checks = vec![Check { space: Space::Control, key: key.clone(), expect: Expect::Absent }];
        inner.add_pages(writes, checks, vec![Write::Put { space: Space::Control, key, value: shape.to_row() }]).await?;
        inner.state().trees.insert(tenant, shape);
        Ok(TreeRow { tree: shape.tree, height: shape.height })
    }

    /// Opens a shred unit: takes a slot number whose key exists, durably, and caches the key.
    ///
    /// # Errors
    /// [`KeysError::Unknown`], [`KeysError::Shredded`] of the tenant; [`KeysError::Store`].
    pub async fn make_unit(&self, tenant: TenantNo) -> Result<UnitRef, KeysError> {
        let counter = Counter::UnitSlots(tenant);
        let number = match self.0.leases.take(counter) {
            Some(number) => number,
            None => self.0.lease_slot(tenant, counter).await?,
        };
        let slot = Slot::new(number).ok_or(KeysError::TooMany)?;
        let held = self.0.state().cache.unit_generation(tenant, slot, self.0.clock.monotonic());
        match held {
            Some(generation) => Ok(UnitRef { tenant, slot, generation }),
            None => self.0.load_unit(tenant, slot).await,
        }
    }

    /// Caches a unit's key and tells its present generation.
    ///
    /// # Errors
    /// [`KeysError::Unknown`] for a unit that was never made, [`KeysError::Shredded`] if its tenant was.
    pub async fn load_unit(&self, tenant: TenantNo, slot: Slot) -> Result<UnitRef, KeysError> {
        self.0.load_unit(tenant, slot).await
    }

    /// Whether a unit could be lent now; lends nothing.
    ///
    /// # Errors
    /// [`LendError`].
    pub fn holds_unit(&self, unit: UnitRef) -> Result<(), LendError> {
        self.0.fenced(&[unit], || self.0.are_present(&[unit]))
    }

    /// Lends a unit's key to `f`. If the unit is closed while `f` runs, its result is dropped, also where its key was replaced and it is
    /// open again by then.
    ///
    /// # Errors
    /// [`LendError`].
    pub fn lend_unit<T>(&self, unit: UnitRef, f: impl FnOnce(&Key<Unit>) -> T) -> Result<T, LendError> {
        residue::leaving_none_of_one_use(|| self.0.fenced(&[unit], || Ok(f(&self.0.unit_key(unit)?))))
    }

    /// Lends the data key of a unit in a collection, whose own unit is `collection`, to `f`.
    ///
    /// # Errors
    /// [`LendError`] of either unit.
    pub fn lend_data<T>(
        &self,
        collection: UnitRef,
        unit: UnitRef,
        number: CollectionNo,
        f: impl FnOnce(&Key<Data>) -> T,
    ) -> Result<T, LendError> {
        residue::leaving_none_of_one_use(|| {
            self.0.fenced(&[collection, unit], || {
                let data = self.0.unit_key(unit)?.derive_data(&self.0.unit_key(collection)?, number);
                Ok(f(&data))
            })
        })
    }

    /// The same for many units of one collection, one after the other: `f` is told the place of each in `units`. The collection's
    /// part is derived once, and the stack overwritten once. If the collection is closed, or its key leaves the cache, while `f`
    /// runs, all results are dropped.
    pub fn lend_data_each<T>(
        &self,
        collection: UnitRef,
        units: &[UnitRef],
        number: CollectionNo,
        mut f: impl FnMut(usize, &Key<Data>) -> T,
    ) -> Vec<Result<T, LendError>> {
        let mut results = Vec::with_capacity(units.len());
        residue::leaving_none_of_one_use(|| {
            let salt = self.0.unit_key(collection).map(|key| key.derive_salt(number));
            for (place, unit) in units.iter().enumerate() {
                results.push(self.0.fenced(&[collection, *unit], || {
                    let salt = salt.as_ref().map_err(|error| *error)?;
                    Ok(f(place, &self.0.unit_key(*unit)?.derive_data_with(salt)))
                }));
            }
        });
        match self.holds_unit(collection) {
            Ok(()) => results,
            Err(error) => units.iter().map(|_| Err(error)).collect(),
        }
    }

    /// Caches a tenant's secret.
    ///
    /// # Errors
    /// [`KeysError::Unknown`] for a tenant that was never made, [`KeysError::Shredded`].
    pub async fn load_tenant(&self, tenant: TenantNo) -> Result<(), KeysError> {
        let inner = &self.0;
        let now = inner.clock.monotonic();
        let generation = inner
            .visit(Goal::Tenant(tenant), |content, entry, cache| {
                let generation = content.generation(entry);
                cache.put_tenant(tenant, generation, &content.tenant_secret(entry), now);
                generation
            })
            .await?;
        if generation == Gen(0) { Ok(()) } else { Err(KeysError::Shredded) }
    }

    /// Lends a tenant's secret to `f`. If the tenant is closed while `f` runs, its result is dropped.
    ///
    /// # Errors
    /// [`LendError`].
    pub fn lend_tenant<T>(&self, tenant: TenantNo, f: impl FnOnce(&Key<TenantSecret>) -> T) -> Result<T, LendError> {
        residue::leaving_none_of_one_use(|| {
            let closed = || if self.0.fence.is_tenant_closed(tenant) { Err(LendError::Pending) } else { Ok(()) };
            closed()?;
            let (generation, key) = self.0.state().cache.tenant(tenant, self.0.clock.monotonic()).ok_or(LendError::Missing)?;
            if generation > Gen(0) {
                return Err(LendError::Shredded);
            }
            let result = f(&key);
            closed()?;
            Ok(result)
        })
    }

    /// What is closed.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.0.fence
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.present().epoch
    }

    /// Whether it can do its work: no epoch was cut short, and custody took part in the last one that was tried.
    ///
    /// # Errors
    /// [`KeysError::Restart`], [`KeysError::Custody`].
    pub fn ready(&self) -> Result<(), KeysError> {
        self.0.whole()?;
        self.0.state().custody_failure.clone().map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// A tenant's unit tree; `None` if it was never made.
    ///
    /// # Errors
    /// [`KeysError::Store`], [`KeysError::Damaged`].
    pub async fn tree(&self, tenant: TenantNo) -> Result<Option<TreeRow>, KeysError> {
        Ok(self.0.shape(tenant).await?.map(|shape| TreeRow { tree: shape.tree, height: shape.height }))
    }

    /// Wipes keys that were loaded too long ago; answers how many.
    #[must_use]
    pub fn sweep(&self) -> usize {
        let now = self.0.clock.monotonic();
        self.0.state().cache.sweep(now)
    }

    /// Wipes what is held of a tenant's keys, a little at a time, so that nobody waits for it; who needs one meanwhile reads it anew. The
    /// epoch that ends the tenant wipes all that is held by then: behind this, next to nothing.
    pub async fn forget_tenant(&self, tenant: TenantNo) {
        for stretch in 0.. {
            let is_over = {
                let mut state = self.0.state();
                let tree = state.trees.get(&tenant).map(|shape| shape.tree);
                !state.cache.drop_tenant_in_stretch(stretch, tenant, tree)
            };
            if is_over {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Keys held in memory now.
    #[must_use]
    pub fn cached_keys(&self) -> usize {
        self.0.state().cache.len()
    }

    /// Whether the memory of long-lived keys is kept out of swap.
    #[must_use]
    pub fn is_memory_locked(&self) -> bool {
        let state = self.0.state();
        state.cache.is_locked() && state.tops.is_locked()
    }

    /// Whether no epoch was cut short since the start, or [`Forest::heal`].
    #[must_use]
    pub(in crate::vault) fn is_whole(&self) -> bool {
        self.0.whole().is_ok()
    }

    /// Finishes an epoch that was cut short, as the next start would, where what the store holds can be known without one.
    ///
    /// # Errors
    /// [`KeysError::Restart`] where it cannot; [`KeysError::Custody`] and others of a start: later is another try.
    pub(in crate::vault) async fn heal(&self) -> Result<(), KeysError> {
        let gate = self.0.gate.lock().await;
        self.0.heal(&gate).await
    }

    /// From now on every epoch's commit holds these rows too, whoever ends the epoch. The first witness stays.
    pub(in crate::vault) fn witness_epochs(&self, rows: impl Fn(&EpochRecord) -> Vec<Write> + Send + Sync + 'static) {
        drop(self.0.witness.set(Box::new(rows)));
    }

    /// What each custody component is.
    ///
    /// # Errors
    /// [`KeysError::Custody`].
    pub async fn custody(&self) -> Result<Vec<Description>, KeysError> {
        let _gate = self.0.gate.lock().await;
        Ok(self.0.desk.run(|components| components.describe()).await?)
    }
}

/// A path with the pages that had to be made for it.
struct Grown {
    leaf: PageSlots,
    fresh: Vec<(PageId, Bytes)>,
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn present(&self) -> RootName {
        self.state().ptr.name
    }

    pub(super) fn tenant_tree(&self) -> Shape {
        Shape::tenants(self.state().ptr.height)
    }

    /// The present top key, for one synchronous call.
    pub(super) fn top_key(&self) -> Result<Key<Branch>, KeysError> {
        let state = self.state();
        state.tops.key(state.top).ok_or(KeysError::Damaged("top key"))
    }

    pub(super) fn whole(&self) -> Result<(), KeysError> {
        if self.broken.load(Ordering::Acquire) { Err(KeysError::Restart) } else { Ok(()) }
    }

    /// Every secret that the process holds, for the tests that ask what it could still open.
    #[cfg(test)]
    pub(super) fn secrets(&self) -> Vec<[u8; 32]> {
        let state = self.state();
        let places = [Some(state.top), state.old, state.next.map(|(_, _, place)| place)];
        let tops = places.into_iter().flatten().filter_map(|place| Some(*state.tops.key::<Branch>(place)?.expose()));
        tops.chain(state.cache.secrets()).collect()
    }

    /// Caches a unit's key, and those beside it on its page.
    async fn load_unit(&self, tenant: TenantNo, slot: Slot) -> Result<UnitRef, KeysError> {
        let now = self.clock.monotonic();
        let look = |content: &PageSlots, entry: SlotIndex, cache: &mut Cache| {
            cache.put_leaf(tenant, slot, content, now);
            UnitRef { tenant, slot, generation: content.generation(entry) }
        };
        self.visit(Goal::Unit(tenant, slot), look).await
    }

    fn unit_key(&self, unit: UnitRef) -> Result<Key<Unit>, LendError> {
        let (generation, key) = self.state().cache.unit(unit.tenant, unit.slot, self.clock.monotonic()).ok_or(LendError::Missing)?;
        if generation == unit.generation { Ok(key) } else { Err(LendError::Shredded) }
    }

    /// Whether these are the present keys of their units, and held.
    fn are_present(&self, units: &[UnitRef]) -> Result<(), LendError> {
        let now = self.clock.monotonic();
        let state = self.state();
        for unit in units {
            match state.cache.unit_generation(unit.tenant, unit.slot, now) {
                Some(held) if held == unit.generation => {}
                Some(_) => return Err(LendError::Shredded),
                None => return Err(LendError::Missing),
            }
        }
        Ok(())
    }

    /// Runs `f` between two looks at the fence. Where something was closed between them, it may have been one of these units, whose key was
    /// replaced and that is open again: then the keys must be those of now.
    fn fenced<T>(&self, units: &[UnitRef], f: impl FnOnce() -> Result<T, LendError>) -> Result<T, LendError> {
        let before = self.fence.look(units).ok_or(LendError::Pending)?;
        let result = f()?;
        let after = self.fence.look(units).ok_or(LendError::Pending)?;
        if after != before {
            self.are_present(units)?;
        }
        Ok(result)
    }

    /// A tenant's unit tree, `None` if it was never made.
    pub(super) async fn shape(&self, tenant: TenantNo) -> Result<Option<Shape>, KeysError> {
        let known = self.state().trees.get(&tenant).copied();
        if known.is_some() {
            return Ok(known);
        }
        let Some(row) = self.store.get(Space::Control, &schema::tree(tenant)).await? else { return Ok(None) };
        let shape = Shape::parse(&row)?;
        self.state().trees.insert(tenant, shape);
        Ok(Some(shape))
    }

    /// The rows of pages; absent ones are left out.
    pub(super) async fn gather(&self, pages: impl Iterator<Item = PageId> + Send) -> Result<HashMap<PageId, Bytes>, StoreError> {
        let mut rows = HashMap::new();
        for page in pages {
            if let Some(row) = self.store.get(Space::Control, &schema::page(page.tree, page.level, page.index)).await? {
                rows.insert(page, row);
            }
        }
        Ok(rows)
    }

    /// Walks to `goal` and lets `look` at its entry, with the cache at hand.
    pub(super) async fn visit<T>(&self, goal: Goal, look: impl Fn(&PageSlots, SlotIndex, &mut Cache) -> T) -> Result<T, KeysError> {
        loop {
            // No page changes while this is held.
            let _pages = self.pages.read().await;
            self.whole()?;
            let (tenant, unit) = match goal {
                Goal::Tenant(tenant) => (tenant, None),
                Goal::Unit(tenant, slot) => (tenant, Some(slot)),
            };
            let shape = self.shape(tenant).await?.ok_or(KeysError::Unknown)?;
            let mut path: Vec<_> = self.tenant_tree().path(tree_slot(tenant)).collect();
            if let Some(slot) = unit {
                if !shape.holds(slot.number()) {
                    return Err(KeysError::Unknown);
                }
                path.extend(shape.path(slot.number()));
            }
            let from = {
                let now = self.clock.monotonic();
                let state = self.state();
                path.iter().rposition(|page| state.cache.has_page(*page, now)).unwrap_or(0)
            };
            let rows = self.gather(path.iter().skip(from).copied()).await?;
            let path = path.get(from..).unwrap_or_default();
            match residue::leaving_none(|| self.walk(tenant, unit, path, from == 0, &rows, &look)) {
                Ok(Some(seen)) => return Ok(seen),
                Ok(None) => {}
                // What is not there below it need not be.
                Err(KeysError::Shredded) => return Err(KeysError::Shredded),
                Err(error) => {
                    self.count_missing(goal, path.iter().find(|page| !rows.contains_key(page))).await?;
                    return Err(error);
                }
            }
        }
    }

    /// Counts a page that is not there and must be: its tenant was made, or the block of units below it was taken.
    async fn count_missing(&self, goal: Goal, page: Option<&PageId>) -> Result<(), KeysError> {
        let is_missing = match (page, goal) {
            (None, _) => false,
            (Some(page), Goal::Unit(tenant, slot)) if page.tree != TreeId::TENANTS => {
                slot.number() < next_block(self.store.as_ref(), Counter::UnitSlots(tenant), |_| 1).await?.numbers.start
            }
            (Some(_), _) => true,
        };
        if is_missing {
            OpenError::from(OpenReason::Missing).counted();
        }
        Ok(())
    }

    /// Walks down a gathered path in one synchronous call; `None` if the key to begin with is no longer cached.
    fn walk<T>(
        &self,
        tenant: TenantNo,
        unit: Option<Slot>,
        path: &[PageId],
        from_top: bool,
        rows: &HashMap<PageId, Bytes>,
        look: &impl Fn(&PageSlots, SlotIndex, &mut Cache) -> T,
    ) -> Result<Option<T>, KeysError> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let Some(first) = path.first() else { return Err(KeysError::Unknown) };
        let begin = if from_top { state.tops.key(state.top) } else { state.cache.page(*first, now) };
        let Some(mut key) = begin else { return Ok(None) };
        for (at, page) in path.iter().enumerate() {
            let row = rows.get(page).ok_or(KeysError::Unknown)?;
            let content = key.unwrap_page(&self.store_id, page, row).map_err(KeysError::page)?;
            let is_tenants = page.tree == TreeId::TENANTS;
            let slot = if is_tenants { tree_slot(tenant) } else { unit.map_or(0, Slot::number) };
            let Some(next) = path.get(at.saturating_add(1)) else {
                let slot = if is_tenants { secret_slot(tenant) } else { slot };
                return Ok(Some(look(&content, SlotIndex::on_path(0, slot), &mut state.cache)));
            };
            if is_tenants && page.level == 0 && content.generation(SlotIndex::on_path(0, secret_slot(tenant))) > Gen(0) {
                return Err(KeysError::Shredded);
            }
            let entry = SlotIndex::on_path(page.level, slot);
            if content.is_severed(entry) {
                return Err(KeysError::Shredded);
            }
            key = content.branch(entry);
            state.cache.put_page(*next, &key, now);
        }
        Err(KeysError::Unknown)
    }

    /// The next unit slot of a new block, unless another has just taken one.
    async fn lease_slot(&self, tenant: TenantNo, counter: Counter) -> Result<u64, KeysError> {
        let gate = self.gate.lock().await;
        if let Some(number) = self.leases.take(counter) {
            return Ok(number);
        }
        self.make_leaf(&gate, tenant, counter).await?;
        self.leases.take(counter).ok_or(KeysError::TooMany)
    }

    /// Takes blocks of unit slots and writes their leaf pages, in one commit.
    async fn make_leaf(&self, gate: &MutexGate<'_>, tenant: TenantNo, counter: Counter) -> Result<(), KeysError> {
        self.whole()?;
        let mut shape = self.shape(tenant).await?.ok_or(KeysError::Unknown)?;
        // More than one block only where no tree must grow for it.
        let wanted = self.leases.wanted(counter);
        let blocks = |start: u64| (1..=wanted).rev().find(|blocks| shape.holds(last_of(start, *blocks))).unwrap_or(1);
        let Block { numbers, check, write } = next_block(self.store.as_ref(), counter, blocks).await?;
        // A block is a page: one that begins in the middle would reach into the next, which may be someone's.
        if !numbers.start.is_multiple_of(FANOUT) {
            return Err(KeysError::Damaged("lease"));
        }
        let last = numbers.end.saturating_sub(1);
        if !shape.holds(last) {
            // A shredded tenant is told so before an epoch is spent on it.
            self.visit(Goal::Unit(tenant, Slot::from_be_bytes([0; 6])), |_, _, _| ()).await.or_else(known_missing)?;
            let work = Work { grow: HashMap::from([(tenant, height_for(last))]), ..Work::default() };
            self.epoch(gate, work, |_| Extra::default()).await?;
            shape = self.shape(tenant).await?.ok_or(KeysError::Unknown)?;
        }
        let slot = tree_slot(tenant);
        let tenants = self.tenant_tree();
        let leaves = numbers.clone().step_by(usize::try_from(FANOUT).unwrap_or(usize::MAX));
        let paths = leaves.clone().flat_map(|first| shape.path(first));
        let mut rows = self.gather(tenants.path(slot).chain(paths)).await?;
        let writes = residue::leaving_none(|| {
            let leaf = self.grow(tenants, slot, self.top_key()?, &rows)?.leaf;
            if leaf.generation(SlotIndex::on_path(0, secret_slot(tenant))) > Gen(0) {
                return Err(KeysError::Shredded);
            }
            let mut writes = Vec::new();
            for first in leaves {
                let fresh = self.grow(shape, first, leaf.branch(SlotIndex::on_path(0, slot)), &rows)?.fresh;
                // A block that has its page was taken before: its slots would be given twice. A tree of one page has it from the start.
                let page = PageId::on_path(shape.tree, 0, first);
                if page != shape.top() && !fresh.iter().any(|(made, _)| *made == page) {
                    return Err(KeysError::Damaged("lease"));
                }
                // The next leaf hangs on the pages that this one made.
                rows.extend(fresh.iter().cloned());
                writes.extend(fresh);
            }
            Ok(writes)
        })?;
        self.add_pages(writes, vec![check], vec![write]).await?;
        self.leases.keep(counter, numbers);
        Ok(())
    }

    /// Walks to the leaf over `slot`, making the pages that are not there yet, filled with random keys.
    fn grow(&self, shape: Shape, slot: u64, mut key: Key<Branch>, rows: &HashMap<PageId, Bytes>) -> Result<Grown, KeysError> {
        let epoch = self.present().epoch;
        let mut fresh = Vec::new();
        for page in shape.path(slot) {
            let content = if let Some(row) = rows.get(&page) {
                key.unwrap_page(&self.store_id, &page, row).map_err(KeysError::page)?
            } else if page == shape.top() {
                return Err(KeysError::Damaged("top page"));
            } else {
                let content = PageSlots::make_random();
                fresh.push((page, key.wrap_page(&self.store_id, &page, epoch, &content).into()));
                content
            };
            if page.level == 0 {
                return Ok(Grown { leaf: content, fresh });
            }
            let entry = SlotIndex::on_path(page.level, slot);
            if content.is_severed(entry) {
                return Err(KeysError::Shredded);
            }
            key = content.branch(entry);
        }
        Err(KeysError::Damaged("tree"))
    }

    /// Commits pages that are new, under the root they were wrapped under.
    async fn add_pages(&self, pages: Vec<(PageId, Bytes)>, mut checks: Vec<Check>, mut writes: Vec<Write>) -> Result<(), KeysError> {
        self.whole()?;
        let root = self.state().ptr.to_row();
        checks.push(Check { space: Space::Control, key: schema::root_ptr(), expect: Expect::Equals(root) });
        for (page, value) in pages {
            let key = schema::page(page.tree, page.level, page.index);
            checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Absent });
            writes.push(Write::Put { space: Space::Control, key, value });
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        self.store.commit(commit).await?;
        Ok(())
    }
}

/// The last slot of so many blocks from `start` on.
const fn last_of(start: u64, blocks: u64) -> u64 {
    start.saturating_add(FANOUT.saturating_mul(blocks)).saturating_sub(1)
}

/// The epoch lock, held.
pub(super) type MutexGate<'a> = tokio::sync::MutexGuard<'a, ()>;

/// A tree whose first unit was never made is no reason to refuse its next.
fn known_missing(error: KeysError) -> Result<(), KeysError> {
    if error == KeysError::Unknown { Ok(()) } else { Err(error) }
}

/// Targets of an order, without repetitions.
pub(super) fn distinct<T: Ord + Copy>(items: &[T]) -> BTreeSet<T> {
    items.iter().copied().collect()
}

/// Custody errors during an epoch, told apart from the store's.
pub(super) fn custody(error: CustodyError) -> KeysError {
    KeysError::Custody(error)
}
