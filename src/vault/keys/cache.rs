//! The key cache: bounded by count (second chance) and by time since loading, wiped on eviction.
//!
//! Units' keys are held by the page, 64 of them as the page has them: to open a page costs what it costs for one of its keys,
//! and a page takes less room than a dozen entries of its keys would.

use std::{collections::HashMap, hash::Hash, ops::Range, time::Duration};

use super::slab::{KEY_LEN, Place, Slab};
use crate::{
    domain::{Gen, Slot, TenantNo, TreeId},
    vault::crypto::{Branch, FANOUT, Key, PageId, PageSlots, SLOTS_LEN, SlotIndex, TenantSecret, Unit},
};

/// Pages are held at the least, so that a request finds what it has just loaded, however many others are at work.
const LEAVES_MIN: usize = 16;
/// Keys of tenants and of pages at the least.
const OTHERS_MIN: usize = 4_096;
/// Pages of a stretch, some 300 kB; and keys of tenants and pages.
const STRETCH: [usize; 2] = [128, 512];

/// Which key of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Id {
    /// A tenant's secret.
    Tenant(TenantNo),
    /// The key that a page is wrapped under.
    Page(PageId),
}

/// Which page of units' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Leaf {
    tenant: TenantNo,
    index: u64,
}

impl Leaf {
    const fn of(tenant: TenantNo, slot: Slot) -> Self {
        Self { tenant, index: slot.number() >> 6 }
    }
}

/// Keys in use.
pub(super) struct Cache {
    leaves: Held<Leaf, SLOTS_LEN>,
    others: Held<Id, KEY_LEN>,
}

impl Cache {
    /// Room for about `capacity` units' keys (at least 1,024), and for those of the pages above them; each for `ttl` after it was loaded.
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        let leaves = (capacity / FANOUT).max(LEAVES_MIN);
        // The pages above those that are held, and as many again that are not.
        let others = leaves.saturating_mul(4).max(OTHERS_MIN);
        Self { leaves: Held::new(leaves, ttl), others: Held::new(others, ttl) }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.leaves.slab.is_locked() && self.others.slab.is_locked()
    }

    /// Keys that are held, whether or not anybody asked for them.
    pub(super) fn len(&self) -> usize {
        self.leaves.index.len().saturating_mul(FANOUT).saturating_add(self.others.index.len())
    }

    pub(super) fn unit(&mut self, tenant: TenantNo, slot: Slot, now: Duration) -> Option<(Gen, Key<Unit>)> {
        let (_, page) = self.leaves.get(Leaf::of(tenant, slot), now)?;
        Some(PageSlots::unit_in(page, SlotIndex::on_path(0, slot.number())))
    }

    /// The generation of a unit's key, where it is held.
    pub(super) fn unit_generation(&self, tenant: TenantNo, slot: Slot, now: Duration) -> Option<Gen> {
        let page = self.leaves.peek(Leaf::of(tenant, slot), now)?;
        Some(PageSlots::generation_in(page, SlotIndex::on_path(0, slot.number())))
    }

    pub(super) fn tenant(&mut self, tenant: TenantNo, now: Duration) -> Option<(Gen, Key<TenantSecret>)> {
        self.others.get(Id::Tenant(tenant), now).map(|(generation, key)| (generation, Key::from_slice(key)))
    }

    pub(super) fn page(&mut self, page: PageId, now: Duration) -> Option<Key<Branch>> {
        self.others.get(Id::Page(page), now).map(|(_, key)| Key::from_slice(key))
    }

    pub(super) fn has_page(&self, page: PageId, now: Duration) -> bool {
        self.others.peek(Id::Page(page), now).is_some()
    }

    /// Holds a page of units' keys, the one that `slot` is on.
    pub(super) fn put_leaf(&mut self, tenant: TenantNo, slot: Slot, page: &PageSlots, now: Duration) {
        self.leaves.put(Leaf::of(tenant, slot), Gen(0), page.expose(), now);
    }

    pub(super) fn put_tenant(&mut self, tenant: TenantNo, generation: Gen, key: &Key<TenantSecret>, now: Duration) {
        self.others.put(Id::Tenant(tenant), generation, key.expose(), now);
    }

    pub(super) fn put_page(&mut self, page: PageId, key: &Key<Branch>, now: Duration) {
        self.others.put(Id::Page(page), Gen(0), key.expose(), now);
    }

    /// Drops a unit's key, and with it those of its page.
    pub(super) fn drop_unit(&mut self, tenant: TenantNo, slot: Slot) {
        self.leaves.remove(Leaf::of(tenant, slot));
    }

    pub(super) fn drop_page(&mut self, page: PageId) {
        self.others.remove(Id::Page(page));
    }

    /// Drops a tenant's secret, all its units, and the pages of its tree.
    pub(super) fn drop_tenant(&mut self, tenant: TenantNo, tree: Option<TreeId>) {
        self.drop_tenant_in([0..usize::MAX, 0..usize::MAX], tenant, tree);
    }

    /// The same for what lies in one stretch of places; whether there are more behind it.
    pub(super) fn drop_tenant_in_stretch(&mut self, stretch: usize, tenant: TenantNo, tree: Option<TreeId>) -> bool {
        let places = STRETCH.map(|len| stretch.saturating_mul(len)..stretch.saturating_add(1).saturating_mul(len));
        let [leaves, others] = places.each_ref().map(|places| places.end);
        self.drop_tenant_in(places, tenant, tree);
        leaves < self.leaves.entries.len() || others < self.others.entries.len()
    }

    fn drop_tenant_in(&mut self, [leaves, others]: [Range<usize>; 2], tenant: TenantNo, tree: Option<TreeId>) {
        self.leaves.drop_where(leaves, |entry| entry.id.tenant == tenant);
        self.others.drop_where(others, |entry| match entry.id {
            Id::Tenant(owner) => owner == tenant,
            Id::Page(page) => Some(page.tree) == tree,
        });
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.leaves.drop_all_where(|_| true);
        self.others.drop_all_where(|_| true);
    }

    /// Drops what was loaded too long ago; answers how many keys.
    pub(super) fn sweep(&mut self, now: Duration) -> usize {
        let before = self.len();
        self.leaves.sweep(now);
        self.others.sweep(now);
        before.saturating_sub(self.len())
    }

    /// Every key held, for the tests that ask what a process could still open.
    #[cfg(test)]
    pub(super) fn secrets(&self) -> Vec<[u8; KEY_LEN]> {
        let leaves = self.leaves.blocks().flat_map(|page| SlotIndex::all().map(|at| *PageSlots::unit_in(page, at).1.expose()));
        leaves.chain(self.others.blocks().copied()).collect()
    }
}

struct Entry<I> {
    id: I,
    generation: Gen,
    loaded: Duration,
    used: bool,
    place: Place,
}

/// A bounded number of blocks, each for a time.
struct Held<I, const LEN: usize> {
    slab: Slab<LEN>,
    ttl: Duration,
    // By the number of the place in the slab, as far as it was ever used; the hand goes round it.
    entries: Vec<Option<Entry<I>>>,
    index: HashMap<I, usize>,
    hand: usize,
}

impl<I: Copy + Eq + Hash, const LEN: usize> Held<I, LEN> {
    fn new(capacity: usize, ttl: Duration) -> Self {
        Self { slab: Slab::new(capacity), ttl, entries: Vec::new(), index: HashMap::new(), hand: 0 }
    }

    fn is_old(&self, entry: &Entry<I>, now: Duration) -> bool {
        now.saturating_sub(entry.loaded) >= self.ttl
    }

    fn entry(&self, id: I) -> Option<&Entry<I>> {
        self.entries.get(*self.index.get(&id)?)?.as_ref()
    }

    /// Looks, and uses nothing.
    fn peek(&self, id: I, now: Duration) -> Option<&[u8; LEN]> {
        let entry = self.entry(id).filter(|entry| !self.is_old(entry, now))?;
        self.slab.get(entry.place)
    }

    fn get(&mut self, id: I, now: Duration) -> Option<(Gen, &[u8; LEN])> {
        let at = *self.index.get(&id)?;
        if self.is_old(self.entries.get(at)?.as_ref()?, now) {
            self.remove(id);
            return None;
        }
        let entry = self.entries.get_mut(at)?.as_mut()?;
        entry.used = true;
        Some((entry.generation, self.slab.get(entry.place)?))
    }

    fn put(&mut self, id: I, generation: Gen, block: &[u8; LEN], now: Duration) {
        self.remove(id);
        let place = match self.slab.put(block) {
            Some(place) => place,
            None => match self.evict().and_then(|()| self.slab.put(block)) {
                Some(place) => place,
                None => return,
            },
        };
        let at = place.number();
        if at >= self.entries.len() {
            self.entries.resize_with(at.saturating_add(1), || None);
        }
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = Some(Entry { id, generation, loaded: now, used: false, place });
            self.index.insert(id, at);
        }
    }

    /// Drops the next block the hand finds that was not used since it last came by.
    fn evict(&mut self) -> Option<()> {
        for _ in 0..self.entries.len().saturating_mul(2) {
            let at = self.hand;
            self.hand = at.checked_add(1).filter(|next| *next < self.entries.len()).unwrap_or(0);
            if let Some(Some(entry)) = self.entries.get_mut(at) {
                if entry.used {
                    entry.used = false;
                } else {
                    let id = entry.id;
                    self.remove(id);
                    return Some(());
                }
            }
        }
        None
    }

    fn remove(&mut self, id: I) {
        if let Some(entry) = self.index.remove(&id).and_then(|at| self.entries.get_mut(at)?.take()) {
            self.slab.release(entry.place);
        }
    }

    fn drop_all_where(&mut self, doomed: impl Fn(&Entry<I>) -> bool) {
        self.drop_where(0..usize::MAX, doomed);
    }

    /// Drops those of some places, as far as there are so many.
    fn drop_where(&mut self, places: Range<usize>, doomed: impl Fn(&Entry<I>) -> bool) {
        let here = self.entries.iter().skip(places.start).take(places.len()).flatten();
        let ids: Vec<_> = here.filter(|entry| doomed(entry)).map(|entry| entry.id).collect();
        for id in ids {
            self.remove(id);
        }
    }

    fn sweep(&mut self, now: Duration) {
        let ttl = self.ttl;
        self.drop_all_where(|entry| now.saturating_sub(entry.loaded) >= ttl);
    }

    #[cfg(test)]
    fn blocks(&self) -> impl Iterator<Item = &[u8; LEN]> {
        self.entries.iter().flatten().filter_map(|entry| self.slab.get(entry.place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const TTL: Duration = Duration::from_mins(1);

    fn slot(number: u64) -> Slot {
        Slot::new(number).unwrap()
    }

    fn unit(cache: &mut Cache, tenant: u64, number: u64, now: Duration) -> Option<[u8; 32]> {
        cache.unit(TenantNo(tenant), slot(number), now).map(|(_, key)| *key.expose())
    }

    #[test]
    fn the_keys_of_a_page_are_held_together_each_with_its_generation() {
        let mut cache = Cache::new(0, TTL);
        let mut page = PageSlots::make_random();
        page.refresh(SlotIndex::on_path(0, 70));
        cache.put_leaf(TenantNo(1), slot(65), &page, NOW);
        for number in 64..128 {
            let at = SlotIndex::on_path(0, number);
            assert_eq!(unit(&mut cache, 1, number, NOW), Some(*page.unit(at).expose()), "{number}");
            assert_eq!(cache.unit_generation(TenantNo(1), slot(number), NOW), Some(page.generation(at)));
        }
        assert_eq!(cache.unit_generation(TenantNo(1), slot(70), NOW), Some(Gen(1)));
        assert!([63, 128].map(|number| unit(&mut cache, 1, number, NOW)) == [None; 2] && unit(&mut cache, 2, 65, NOW).is_none());
        cache.drop_unit(TenantNo(1), slot(127));
        assert!(unit(&mut cache, 1, 65, NOW).is_none() && cache.secrets().is_empty() && cache.len() == 0);
    }

    #[test]
    fn no_more_keys_are_held_than_allowed_and_used_ones_stay_longest() {
        let mut cache = Cache::new(0, TTL);
        let pages: Vec<_> = (0..=16).map(|_| PageSlots::make_random()).collect();
        for (number, page) in (0..16).zip(&pages) {
            cache.put_leaf(TenantNo(1), slot(number * 64), page, NOW);
        }
        assert!(unit(&mut cache, 1, 0, NOW).is_some());
        cache.put_leaf(TenantNo(1), slot(16 * 64), &pages[16], NOW);
        assert_eq!(cache.len(), 16 * 64);
        assert!(unit(&mut cache, 1, 0, NOW).is_some(), "it was used");
        assert!(unit(&mut cache, 1, 64, NOW).is_none(), "the next one was not");
        let gone = pages[1].unit(SlotIndex::on_path(0, 64));
        assert!(!cache.secrets().contains(gone.expose()), "and its bytes are gone");
    }

    #[test]
    fn an_old_key_is_not_lent_and_a_sweep_wipes_it() {
        let mut cache = Cache::new(0, TTL);
        cache.put_leaf(TenantNo(1), slot(1), &PageSlots::make_random(), NOW);
        cache.put_tenant(TenantNo(1), Gen(0), &Key::from_slice(&[2; 32]), NOW + Duration::from_secs(30));
        assert!(unit(&mut cache, 1, 1, NOW + TTL.checked_sub(Duration::from_secs(1)).unwrap()).is_some());
        assert_eq!(cache.sweep(NOW + TTL), 64);
        assert_eq!(cache.secrets(), [[2; 32]]);
        assert!(cache.tenant(TenantNo(1), NOW + TTL + TTL).is_none());
        assert!(cache.secrets().is_empty());
    }

    #[test]
    fn a_dropped_tenant_takes_its_units_and_pages_with_it() {
        let mut cache = Cache::new(0, TTL);
        let page = |tree| PageId { tree: TreeId([tree; 16]), level: 0, index: 0 };
        for tenant in [1, 2] {
            cache.put_leaf(TenantNo(tenant), slot(1), &PageSlots::make_random(), NOW);
            cache.put_tenant(TenantNo(tenant), Gen(0), &Key::from_slice(&[2; 32]), NOW);
            cache.put_page(page(u8::try_from(tenant).unwrap()), &Key::from_slice(&[3; 32]), NOW);
        }
        cache.drop_tenant(TenantNo(1), Some(TreeId([1; 16])));
        assert!(unit(&mut cache, 1, 1, NOW).is_none() && cache.tenant(TenantNo(1), NOW).is_none() && cache.page(page(1), NOW).is_none());
        assert!(unit(&mut cache, 2, 1, NOW).is_some() && cache.tenant(TenantNo(2), NOW).is_some() && cache.page(page(2), NOW).is_some());
    }

    #[test]
    fn a_tenant_is_dropped_stretch_by_stretch() {
        const PAGES: u64 = 300;
        let mut cache = Cache::new(1_000 * FANOUT, TTL);
        let page = |tree, index| PageId { tree: TreeId([tree; 16]), level: 0, index };
        for number in 0..PAGES {
            for tenant in [1, 2] {
                cache.put_leaf(TenantNo(tenant), slot(number * 64 + 1), &PageSlots::make_random(), NOW);
                for key in 0..3 {
                    cache.put_page(page(u8::try_from(tenant).unwrap(), number * 3 + key), &Key::from_slice(&[3; 32]), NOW);
                }
            }
        }
        let held = |cache: &Cache| {
            [1, 2].map(|tenant| cache.leaves.entries.iter().flatten().filter(|entry| entry.id.tenant == TenantNo(tenant)).count())
        };
        let all = usize::try_from(PAGES).unwrap();
        assert_eq!(held(&cache), [all, all]);
        assert!(cache.drop_tenant_in_stretch(0, TenantNo(1), Some(TreeId([1; 16]))), "there are more");
        assert_eq!(held(&cache), [all - STRETCH[0] / 2, all]);
        let last = (1..100).find(|stretch| !cache.drop_tenant_in_stretch(*stretch, TenantNo(1), Some(TreeId([1; 16])))).unwrap();
        assert_eq!((held(&cache), last), ([0, all], 4));
        let pages = [1, 2].map(|tree| (0..PAGES * 3).filter(|index| cache.has_page(page(tree, *index), NOW)).count());
        assert_eq!(pages, [0, all * 3]);
        assert_eq!(cache.secrets().len(), all * FANOUT + all * 3, "and of the one nothing is left in memory");
    }
}
