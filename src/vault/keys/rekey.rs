//! The pure half of an epoch: old pages in, fresh pages out.
//!
//! From the top down, every entry on the way to a target is replaced by a fresh random key, and every
//! page on the way is wrapped anew under the fresh entry above it. So whoever holds an old page's key,
//! or an old root, finds nothing newer below it, and whoever holds the new root finds no old target.
//!
//! Of a tenant of which some units are kept and all others go, only the pages on the way to what is kept are
//! read and wrapped anew: every other entry of them is replaced, and what lay below it is reached by nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::{
    KeysError,
    rows::{ShredDone, ShredTarget},
    shred::Procedure,
    tree::{Shape, secret_slot, tree_slot},
};
use crate::{
    domain::{Epoch, Gen, Slot, StoreId, TenantNo, TreeId},
    vault::{
        crypto::{Branch, Key, OpenError, OpenReason, PageId, PageSlots, SlotIndex, hash::sha256},
        store::schema,
    },
};

/// What an epoch re-keys.
#[derive(Debug)]
pub(super) struct Plan {
    /// The tenant tree before.
    pub(super) tenant_tree: Shape,
    /// Its height afterwards.
    pub(super) height: u8,
    /// What happens to each tenant.
    pub(super) tenants: BTreeMap<TenantNo, TenantPlan>,
}

/// What an epoch does to one tenant.
#[derive(Debug)]
pub(super) struct TenantPlan {
    /// The tenant itself is shredded.
    pub(super) whole: bool,
    /// Its unit tree before.
    pub(super) tree: Shape,
    /// Its unit tree's height afterwards.
    pub(super) height: u8,
    /// Its units that are shredded.
    pub(super) slots: BTreeSet<u64>,
    /// Its units that are kept, where all others are shredded.
    pub(super) kept: Option<BTreeSet<u64>>,
}

impl TenantPlan {
    /// The units that are kept and not shredded by name, in order.
    fn kept_slots(&self) -> Option<Vec<u64>> {
        let kept = self.kept.as_ref()?;
        Some(kept.difference(&self.slots).copied().collect())
    }

    /// The pages of its unit tree that stay, where some units are kept.
    pub(super) fn kept_pages(&self) -> Option<BTreeSet<PageId>> {
        let kept = self.kept_slots()?;
        Some(kept.iter().flat_map(|slot| self.tree.path(*slot)).chain([self.tree.top()]).collect())
    }
}

impl Plan {
    /// Every page that [`rekey`] will ask for.
    pub(super) fn pages(&self) -> BTreeSet<PageId> {
        let mut pages = BTreeSet::from([self.tenant_tree.top()]);
        for (tenant, plan) in &self.tenants {
            pages.extend(self.tenant_tree.path(tree_slot(*tenant)));
            if plan.whole {
                continue;
            }
            if let Some(kept) = plan.kept_pages() {
                pages.extend(kept);
            } else {
                pages.insert(plan.tree.top());
                pages.extend(plan.slots.iter().flat_map(|slot| plan.tree.path(*slot)));
            }
        }
        pages
    }

    /// Tenant-tree slots that are re-keyed, in order.
    fn tenant_slots(&self) -> Vec<u64> {
        let slots = |(tenant, plan): (&TenantNo, &TenantPlan)| {
            let secret = plan.whole.then(|| secret_slot(*tenant));
            secret.into_iter().chain([tree_slot(*tenant)])
        };
        self.tenants.iter().flat_map(slots).collect()
    }
}

/// What comes out.
pub(super) struct Delta {
    /// The fresh pages, in the order of their rows' keys.
    pub(super) pages: Vec<(PageId, Bytes)>,
    /// SHA-256 over them: be32 length | key | be32 length | row.
    pub(super) hash: [u8; 32],
    /// SHA-256 of the new top page.
    pub(super) root_page_hash: [u8; 32],
    /// What was shredded.
    pub(super) done: Vec<ShredDone>,
    /// SHA-256 of each target's dead key, for the self-check; in the order of `done`, which has them and no others with a generation.
    pub(super) fingerprints: Vec<(ShredTarget, [u8; 32])>,
}

/// Where the pages come from and what the fresh ones are bound to.
pub(super) struct Bench<'a> {
    pub(super) store: &'a StoreId,
    pub(super) new_epoch: Epoch,
    pub(super) rows: &'a HashMap<PageId, Bytes>,
    pub(super) procedure: &'a dyn Procedure,
}

/// Re-keys everything in `plan`, from the old top key to the new one.
pub(super) fn rekey(bench: &Bench<'_>, plan: &Plan, old_top: &Key<Branch>, new_top: &Key<Branch>) -> Result<Delta, KeysError> {
    let owners = plan.tenants.iter().map(|(tenant, plan)| (plan.tree.tree, *tenant)).collect();
    let mut run = Run { bench, plan, owners, pages: Vec::new(), done: Vec::new(), fingerprints: Vec::new() };
    run.tree(plan.tenant_tree, plan.height, old_top, new_top, &plan.tenant_slots())?;
    let Run { mut pages, done, fingerprints, .. } = run;
    pages.sort_by_key(|(page, _)| page.to_bytes());
    let top = Shape::tenants(plan.height).top();
    let root_page_hash =
        pages.iter().find(|(page, _)| *page == top).map(|(_, row)| sha256(&[row])).ok_or(KeysError::Damaged("top page"))?;
    Ok(Delta { hash: delta_hash(&pages), root_page_hash, pages, done, fingerprints })
}

fn delta_hash(pages: &[(PageId, Bytes)]) -> [u8; 32] {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let parts: Vec<_> = pages
        .iter()
        .map(|(page, row)| {
            let key = schema::page(page.tree, page.level, page.index);
            (len(&key), key, len(row), row)
        })
        .collect();
    let slices: Vec<&[u8]> = parts.iter().flat_map(|(key_len, key, row_len, row)| [&key_len[..], key, row_len, row]).collect();
    sha256(&slices)
}

struct Run<'a> {
    bench: &'a Bench<'a>,
    plan: &'a Plan,
    owners: HashMap<TreeId, TenantNo>,
    pages: Vec<(PageId, Bytes)>,
    done: Vec<ShredDone>,
    fingerprints: Vec<(ShredTarget, [u8; 32])>,
}

impl Run<'_> {
    /// A tree from its top: first the pages it grows by, each with a fresh entry 0 over the one below.
    fn tree(&mut self, shape: Shape, height: u8, old: &Key<Branch>, new: &Key<Branch>, slots: &[u64]) -> Result<(), KeysError> {
        if height <= shape.height {
            return self.page(shape.top(), old, new, slots);
        }
        let level = height.saturating_sub(1);
        let fresh = PageSlots::make_random();
        self.wrap(PageId { tree: shape.tree, level, index: 0 }, new, &fresh);
        self.tree(shape, level, old, &fresh.branch(SlotIndex::on_path(level, 0)), slots)
    }

    /// A page and what lies below it on the way to `slots`, which are sorted.
    fn page(&mut self, page: PageId, old: &Key<Branch>, new: &Key<Branch>, slots: &[u64]) -> Result<(), KeysError> {
        let row = self.bench.rows.get(&page).ok_or_else(|| {
            OpenError::from(OpenReason::Missing).counted();
            KeysError::Unknown
        })?;
        let mut content = old.unwrap_page(self.bench.store, &page, row).map_err(KeysError::page)?;
        match page.level.checked_sub(1) {
            None if page.tree == TreeId::TENANTS => slots.iter().try_for_each(|slot| self.tenant_entry(&mut content, *slot))?,
            None => slots.iter().for_each(|slot| self.unit_entry(&mut content, page.tree, *slot)),
            Some(below) => {
                let child = |slot: &u64| PageId::on_path(page.tree, below, *slot);
                for group in slots.chunk_by(|a, b| child(a) == child(b)) {
                    let Some(first) = group.first() else { continue };
                    let entry = SlotIndex::on_path(page.level, *first);
                    if content.is_severed(entry) {
                        self.gone_before(page.tree, group);
                        continue;
                    }
                    let old = content.branch(entry);
                    self.bench.procedure.refresh_branch(&mut content, entry, self.bench.new_epoch);
                    self.page(child(first), &old, &content.branch(entry), group)?;
                }
            }
        }
        self.wrap(page, new, &content);
        Ok(())
    }

    /// An entry of a tenant-tree leaf: a tenant's secret, or the top key of its unit tree.
    fn tenant_entry(&mut self, content: &mut PageSlots, slot: u64) -> Result<(), KeysError> {
        let entry = SlotIndex::on_path(0, slot);
        let tenant = TenantNo(slot >> 1);
        let Some(plan) = self.plan.tenants.get(&tenant) else { return Ok(()) };
        if slot == secret_slot(tenant) {
            let target = ShredTarget::Tenant(tenant);
            self.fingerprints.push((target, sha256(&[content.tenant_secret(entry).expose()])));
            self.bench.procedure.refresh_target(content, entry);
            self.done.push(ShredDone { target, generation: Some(content.generation(entry)) });
            return Ok(());
        }
        let is_dead = content.generation(SlotIndex::on_path(0, secret_slot(tenant))) > Gen(0);
        if plan.whole || is_dead {
            content.refresh(entry);
            let slots = plan.slots.iter().filter_map(|slot| Slot::new(*slot));
            self.done.extend(slots.map(|slot| ShredDone { target: ShredTarget::Unit { tenant, slot }, generation: None }));
            return Ok(());
        }
        let old = content.branch(entry);
        if let Some(kept) = plan.kept_slots() {
            let target = ShredTarget::Others(tenant);
            self.fingerprints.push((target, sha256(&[old.expose()])));
            self.bench.procedure.refresh_branch(content, entry, self.bench.new_epoch);
            self.done.push(ShredDone { target, generation: Some(content.generation(entry)) });
            self.gone_before(plan.tree.tree, &plan.slots.iter().copied().collect::<Vec<_>>());
            return self.kept_page(plan.tree.top(), &old, &content.branch(entry), &kept);
        }
        self.bench.procedure.refresh_branch(content, entry, self.bench.new_epoch);
        let slots: Vec<_> = plan.slots.iter().copied().collect();
        self.tree(plan.tree, plan.height, &old, &content.branch(entry), &slots)
    }

    /// A page on the way to units that are kept, `slots`, which are sorted: they keep their keys, and every other entry of the page
    /// gets a fresh one.
    fn kept_page(&mut self, page: PageId, old: &Key<Branch>, new: &Key<Branch>, slots: &[u64]) -> Result<(), KeysError> {
        let row = self.bench.rows.get(&page).ok_or_else(|| {
            OpenError::from(OpenReason::Missing).counted();
            KeysError::Unknown
        })?;
        let mut content = old.unwrap_page(self.bench.store, &page, row).map_err(KeysError::page)?;
        let on_path: BTreeSet<SlotIndex> = slots.iter().map(|slot| SlotIndex::on_path(page.level, *slot)).collect();
        for entry in SlotIndex::all().filter(|entry| !on_path.contains(entry)) {
            match page.level {
                0 => self.bench.procedure.refresh_target(&mut content, entry),
                _ => self.bench.procedure.sever(&mut content, entry),
            }
        }
        if let Some(below) = page.level.checked_sub(1) {
            let child = |slot: &u64| PageId::on_path(page.tree, below, *slot);
            for group in slots.chunk_by(|a, b| child(a) == child(b)) {
                let Some(first) = group.first() else { continue };
                let entry = SlotIndex::on_path(page.level, *first);
                if content.is_severed(entry) {
                    // What is to be kept is not there.
                    return Err(KeysError::Unknown);
                }
                let old = content.branch(entry);
                self.bench.procedure.refresh_branch(&mut content, entry, self.bench.new_epoch);
                self.kept_page(child(first), &old, &content.branch(entry), group)?;
            }
        }
        self.wrap(page, new, &content);
        Ok(())
    }

    /// Units that go, or went, with all that is not kept of their tenant.
    fn gone_before(&mut self, tree: TreeId, slots: &[u64]) {
        let Some(tenant) = self.owners.get(&tree).copied() else { return };
        let units = slots.iter().filter_map(|slot| Slot::new(*slot)).map(|slot| ShredTarget::Unit { tenant, slot });
        self.done.extend(units.map(|target| ShredDone { target, generation: None }));
    }

    /// An entry of a unit-tree leaf.
    fn unit_entry(&mut self, content: &mut PageSlots, tree: TreeId, slot: u64) {
        let entry = SlotIndex::on_path(0, slot);
        let (Some(tenant), Some(number)) = (self.owners.get(&tree).copied(), Slot::new(slot)) else { return };
        let target = ShredTarget::Unit { tenant, slot: number };
        self.fingerprints.push((target, sha256(&[content.unit(entry).expose()])));
        self.bench.procedure.refresh_target(content, entry);
        self.done.push(ShredDone { target, generation: Some(content.generation(entry)) });
    }

    fn wrap(&mut self, page: PageId, key: &Key<Branch>, content: &PageSlots) {
        let row = key.wrap_page(self.bench.store, &page, self.bench.new_epoch, content);
        self.pages.push((page, row.into()));
    }
}
