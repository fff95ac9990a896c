//! The key cache: bounded by count (second chance) and by time since loading, wiped on eviction.

use std::{collections::HashMap, time::Duration};

use super::slab::{Place, Slab};
use crate::{
    domain::{Gen, Slot, TenantNo},
    vault::crypto::{Branch, Key, PageId, Role, TenantSecret, Unit},
};

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Id {
    /// A shred unit's key.
    Unit(TenantNo, Slot),
    /// A tenant's secret.
    Tenant(TenantNo),
    /// The key that a page is wrapped under.
    Page(PageId),
}

struct Entry {
    id: Id,
    generation: Gen,
    loaded: Duration,
    used: bool,
    place: Place,
}

/// Keys in use.
pub(super) struct Cache {
    slab: Slab,
    ttl: Duration,
    // By the number of the place in the slab, as far as it was ever used; the hand goes round it.
    entries: Vec<Option<Entry>>,
    index: HashMap<Id, usize>,
    hand: usize,
}

impl Cache {
    /// Room for `capacity` keys (at least 16), each for `ttl` after it was loaded.
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        let capacity = capacity.max(16);
        Self { slab: Slab::new(capacity), ttl, entries: Vec::new(), index: HashMap::new(), hand: 0 }
    }

    pub(super) const fn is_locked(&self) -> bool {
        self.slab.is_locked()
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn unit(&mut self, tenant: TenantNo, slot: Slot, now: Duration) -> Option<(Gen, Key<Unit>)> {
        self.get(Id::Unit(tenant, slot), now)
    }

    /// The generation of a unit's key, where it is held.
    pub(super) fn unit_generation(&self, tenant: TenantNo, slot: Slot, now: Duration) -> Option<Gen> {
        let entry = self.index.get(&Id::Unit(tenant, slot)).and_then(|at| self.entries.get(*at)?.as_ref())?;
        (!self.is_old(entry, now)).then_some(entry.generation)
    }

    pub(super) fn tenant(&mut self, tenant: TenantNo, now: Duration) -> Option<(Gen, Key<TenantSecret>)> {
        self.get(Id::Tenant(tenant), now)
    }

    pub(super) fn page(&mut self, page: PageId, now: Duration) -> Option<Key<Branch>> {
        self.get(Id::Page(page), now).map(|(_, key)| key)
    }

    pub(super) fn has_page(&self, page: PageId, now: Duration) -> bool {
        let entry = self.index.get(&Id::Page(page)).and_then(|at| self.entries.get(*at)?.as_ref());
        entry.is_some_and(|entry| !self.is_old(entry, now))
    }

    pub(super) fn put_unit(&mut self, tenant: TenantNo, slot: Slot, generation: Gen, key: &Key<Unit>, now: Duration) {
        self.put(Id::Unit(tenant, slot), generation, key, now);
    }

    pub(super) fn put_tenant(&mut self, tenant: TenantNo, generation: Gen, key: &Key<TenantSecret>, now: Duration) {
        self.put(Id::Tenant(tenant), generation, key, now);
    }

    pub(super) fn put_page(&mut self, page: PageId, key: &Key<Branch>, now: Duration) {
        self.put(Id::Page(page), Gen(0), key, now);
    }

    pub(super) fn drop_unit(&mut self, tenant: TenantNo, slot: Slot) {
        self.remove(Id::Unit(tenant, slot));
    }

    pub(super) fn drop_page(&mut self, page: PageId) {
        self.remove(Id::Page(page));
    }

    /// Drops a tenant's secret, all its units, and the pages of its tree.
    pub(super) fn drop_tenant(&mut self, tenant: TenantNo, tree: Option<crate::domain::TreeId>) {
        self.drop_where(|entry| match entry.id {
            Id::Unit(owner, _) | Id::Tenant(owner) => owner == tenant,
            Id::Page(page) => Some(page.tree) == tree,
        });
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.drop_where(|_| true);
    }

    /// Drops what was loaded too long ago; answers how many.
    pub(super) fn sweep(&mut self, now: Duration) -> usize {
        let ttl = self.ttl;
        self.drop_where(|entry| now.saturating_sub(entry.loaded) >= ttl)
    }

    fn is_old(&self, entry: &Entry, now: Duration) -> bool {
        now.saturating_sub(entry.loaded) >= self.ttl
    }

    fn get<R: Role>(&mut self, id: Id, now: Duration) -> Option<(Gen, Key<R>)> {
        let at = *self.index.get(&id)?;
        let entry = self.entries.get(at)?.as_ref()?;
        if self.is_old(entry, now) {
            self.remove(id);
            return None;
        }
        let found = (entry.generation, self.slab.key(entry.place)?);
        if let Some(Some(entry)) = self.entries.get_mut(at) {
            entry.used = true;
        }
        Some(found)
    }

    fn put<R: Role>(&mut self, id: Id, generation: Gen, key: &Key<R>, now: Duration) {
        self.remove(id);
        let place = match self.slab.put(key) {
            Some(place) => place,
            None => match self.evict().and_then(|()| self.slab.put(key)) {
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

    /// Drops the next key the hand finds that was not used since it last came by.
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

    fn remove(&mut self, id: Id) {
        if let Some(entry) = self.index.remove(&id).and_then(|at| self.entries.get_mut(at)?.take()) {
            self.slab.release(entry.place);
        }
    }

    fn drop_where(&mut self, doomed: impl Fn(&Entry) -> bool) -> usize {
        let ids: Vec<_> = self.entries.iter().flatten().filter(|entry| doomed(entry)).map(|entry| entry.id).collect();
        for id in &ids {
            self.remove(*id);
        }
        ids.len()
    }

    /// Every key held, for the tests that ask what a process could still open.
    #[cfg(test)]
    pub(super) fn secrets(&self) -> Vec<[u8; 32]> {
        self.entries.iter().flatten().filter_map(|entry| Some(*self.slab.key::<Unit>(entry.place)?.expose())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TreeId;

    const NOW: Duration = Duration::from_secs(100);
    const TTL: Duration = Duration::from_mins(1);

    fn slot(number: u64) -> Slot {
        Slot::new(number).unwrap()
    }

    fn key<R: Role>(byte: u8) -> Key<R> {
        Key::from_slice(&[byte; 32])
    }

    #[test]
    fn no_more_keys_are_held_than_allowed_and_used_ones_stay_longest() {
        let mut cache = Cache::new(16, TTL);
        for number in 0..16 {
            cache.put_unit(TenantNo(1), slot(number), Gen(0), &key(u8::try_from(number).unwrap()), NOW);
        }
        assert!(cache.unit(TenantNo(1), slot(0), NOW).is_some());
        cache.put_unit(TenantNo(1), slot(99), Gen(0), &key(99), NOW);
        assert_eq!(cache.len(), 16);
        assert!(cache.unit(TenantNo(1), slot(0), NOW).is_some(), "it was used");
        assert!(cache.unit(TenantNo(1), slot(1), NOW).is_none(), "the next one was not");
        assert!(!cache.secrets().contains(&[1; 32]), "and its bytes are gone");
    }

    #[test]
    fn an_old_key_is_not_lent_and_a_sweep_wipes_it() {
        let mut cache = Cache::new(16, TTL);
        cache.put_unit(TenantNo(1), slot(1), Gen(0), &key(1), NOW);
        cache.put_tenant(TenantNo(1), Gen(0), &key(2), NOW + Duration::from_secs(30));
        assert!(cache.unit(TenantNo(1), slot(1), NOW + TTL.checked_sub(Duration::from_secs(1)).unwrap()).is_some());
        assert_eq!(cache.sweep(NOW + TTL), 1);
        assert_eq!(cache.secrets(), [[2; 32]]);
        assert!(cache.tenant(TenantNo(1), NOW + TTL + TTL).is_none());
        assert!(cache.secrets().is_empty());
    }

    #[test]
    fn a_dropped_tenant_takes_its_units_and_pages_with_it() {
        let mut cache = Cache::new(16, TTL);
        let page = |tree| PageId { tree: TreeId([tree; 16]), level: 0, index: 0 };
        for tenant in [1, 2] {
            cache.put_unit(TenantNo(tenant), slot(1), Gen(0), &key(1), NOW);
            cache.put_tenant(TenantNo(tenant), Gen(0), &key(2), NOW);
            cache.put_page(page(u8::try_from(tenant).unwrap()), &key(3), NOW);
        }
        cache.drop_tenant(TenantNo(1), Some(TreeId([1; 16])));
        assert!(
            cache.unit(TenantNo(1), slot(1), NOW).is_none()
                && cache.tenant(TenantNo(1), NOW).is_none()
                && cache.page(page(1), NOW).is_none()
        );
        assert!(
            cache.unit(TenantNo(2), slot(1), NOW).is_some()
                && cache.tenant(TenantNo(2), NOW).is_some()
                && cache.page(page(2), NOW).is_some()
        );
    }
}
