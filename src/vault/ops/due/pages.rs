//! Pages of what is due within the 32 days that have begun.
//!
//! A row whose end a date in somebody's value decides tells no more by its key than 32 days, so who looked for what is due among them would read
//! all of them, again whenever the next one is due. So the run that meets such a row first, once its 32 days have begun, lists it: the row moves
//! to a place of a page, a number that says nothing of time, and the page tells under a seal which of its places is due when. From then on runs
//! read the pages of which a place is due, and the rows of those places: each row is read twice, when it is listed and when it is due.
//!
//! * What is written meanwhile lies where it always did, beside what is listed, and is listed by the next run that comes there; so no writer has
//!   to know how far a run has come.
//! * A row that goes, or moves, leaves its place on the page behind, which leads to nothing then and is dropped when its time comes. A place
//!   names no record: who is shredded leaves nothing of who it was.
//! * A page is written with the rows that it lists, in one commit, and loses its places behind the commits that were done with their rows. What
//!   is cut off in between is looked at once more and found gone.
//! * A page that does not open tells no time: all rows of it are looked at one by one, and what is due later is listed anew.
//!
//! When the first place of each page is due is held in memory, and read from the pages once after a start.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Kind, LOOKS, Pass, ROWS, Walk,
    index::{When, row_value},
    stops_all,
};
use crate::{
    domain::{CollectionNo, StoreId, TenantNo, Timestamp, Version},
    vault::{
        crypto::{Context, DuePlaces, Key, Meta, Plaintext, Sealed, Suite, TenantSecret, random},
        ops::{Vault, VaultError, shredder::is_its_own},
        store::{
            Check, Commit, Durability, Expect, Row, Space, StoreError, Urgency, Write,
            schema::{self, Due, DuePage, KeyRange, Lies, Table},
        },
    },
};

/// Places of a page.
const PLACES: usize = 512;
/// Pages of one read.
const PAGES: usize = 64;
/// Rows of a place: there is one, but where two pages came to the same number.
const OF_PLACE: usize = 2;
/// Bytes of a place on its page.
const PLACE_LEN: usize = 10;

/// A place of a page, and when what is listed there is due. By time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::vault::ops) struct Spot {
    pub(in crate::vault::ops) at: Timestamp,
    pub(in crate::vault::ops) place: u16,
}

impl Spot {
    fn to_bytes(self) -> [u8; PLACE_LEN] {
        let mut bytes = [0; PLACE_LEN];
        let (at, place) = bytes.split_at_mut(8);
        at.copy_from_slice(&self.at.0.to_be_bytes());
        place.copy_from_slice(&self.place.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; PLACE_LEN]) -> Option<Self> {
        let (at, place) = bytes.split_first_chunk()?;
        Some(Self { at: Timestamp(i64::from_be_bytes(*at)), place: u16::from_be_bytes(place.try_into().ok()?) })
    }

    /// Whether a walk that has come as far as `after` has not met it yet.
    pub(super) fn is_behind(self, after: Option<Self>) -> bool {
        after.is_none_or(|after| self > after)
    }

    /// Where a walk is that has come as far as this place of a page.
    pub(super) fn of_page(self, page: &[u8]) -> Bytes {
        [page, &self.to_bytes()].concat().into()
    }

    /// The place of a page that a walk has come to; `None` where it has not come to any of it.
    pub(super) fn on(page: &[u8], after: &[u8]) -> Option<Self> {
        after.strip_prefix(page)?.try_into().ok().and_then(Self::from_bytes)
    }
}

/// What a page holds.
fn sealed_page(
    meta: &Key<Meta>,
    (store, suite): (&StoreId, Suite),
    tenant: TenantNo,
    key: &[u8],
    places: impl Iterator<Item = Spot>,
) -> Bytes {
    let plain = places.flat_map(Spot::to_bytes).collect();
    meta.seal(suite, &Context::of(store, tenant, &[key]), &Plaintext::<DuePlaces>::new(plain)).into_row()
}

/// The places that stand on a page; `None` where it does not open.
fn opened_page(store: &StoreId, secret: &Key<TenantSecret>, tenant: TenantNo, key: &[u8], value: &Bytes) -> Option<Vec<Spot>> {
    let sealed = Sealed::<DuePlaces>::from_row(value.clone()).ok()?;
    let plain = secret.derive_meta().open(&Context::of(store, tenant, &[key]), &sealed).ok()?;
    let (places, rest) = plain.expose().as_chunks::<PLACE_LEN>();
    if !rest.is_empty() {
        return None;
    }
    places.iter().map(|place| Spot::from_bytes(*place)).collect()
}

/// The pages that there are.
#[derive(Default)]
pub(in crate::vault::ops) struct Pages(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// When the first place of each is due, or earlier.
    first: BTreeMap<Bytes, Timestamp>,
    /// The last one that was read since the start.
    read_to: Bytes,
    /// Whether that was the last of all: those that came since were told.
    all_read: bool,
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is this page, and its first place is due then.
    fn tell(&self, page: &Bytes, first: Timestamp) {
        self.lock().first.insert(page.clone(), first);
    }

    /// There is no such page.
    fn forget(&self, page: &Bytes) {
        self.lock().first.remove(page);
    }

    /// The same of pages that were read, in their order, unless more was told of them since; none: those before were the last.
    fn were_read(&self, pages: Vec<(Bytes, Timestamp)>) {
        let mut known = self.lock();
        known.all_read |= pages.is_empty();
        for (page, first) in pages {
            known.read_to = known.read_to.clone().max(page.clone());
            known.first.entry(page).or_insert(first);
        }
    }

    /// Where those begin that are still to be read; `None` if there are none.
    fn unread(&self) -> Option<Bytes> {
        let known = self.lock();
        (!known.all_read).then(|| schema::table(Table::DuePage).from.max(schema::successor(&known.read_to)))
    }

    /// The first page that a walk meets behind where it has come to, and of which something is due.
    pub(super) fn next(&self, after: &[u8], until: Timestamp) -> Option<Bytes> {
        let of_page = after.len().checked_sub(PLACE_LEN).and_then(|len| after.get(..len));
        let from = match of_page.filter(|page| schema::due_page_parts(page).is_some()) {
            Some(page) => Bound::Included(page),
            None => Bound::Excluded(after),
        };
        let known = self.lock();
        let mut pages = known.first.range::<[u8], _>((from, Bound::Unbounded));
        pages.find(|(_, first)| **first <= until).map(|(page, _)| page.clone())
    }

    /// When the first place is due behind a moment.
    fn first_behind(&self, until: Timestamp) -> Option<Timestamp> {
        self.lock().first.values().copied().filter(|first| *first > until).min()
    }
}

/// A row that is due later.
pub(super) struct Later<'a> {
    pub(super) row: &'a Row,
    pub(super) due: Due,
    pub(super) stood: (Version, When),
    pub(super) at: Timestamp,
}

impl Later<'_> {
    /// Whether both belong on one page.
    fn is_beside(&self, other: &Self) -> bool {
        let of = |due: &Due| (due.hour, due.tenant, due.collection);
        of(&self.due) == of(&other.due)
    }
}

/// A row on its way to its place.
struct Move<'a> {
    from: &'a Later<'a>,
    place: u16,
    /// What leads to it from its record, and what stands there.
    leads: Bytes,
    known: Bytes,
}

impl Vault {
    /// Lists rows of one tenant that are due later. What cannot be listed now stays where it is, and is looked at there when it is due.
    pub(super) async fn list_later(
        &self,
        walk: &mut Walk,
        kind: Kind,
        later: &[Later<'_>],
        stay: &mut HashSet<Bytes>,
    ) -> Result<(), VaultError> {
        let pages: Vec<&[Later<'_>]> = later.chunk_by(|one, other| one.is_beside(other)).flat_map(|rows| rows.chunks(PLACES)).collect();
        let mut ended = Ok(());
        for rows in pages {
            let listed = if ended.is_ok() { self.list_page(rows).await } else { Ok(Vec::new()) };
            let listed = listed.unwrap_or_else(|error| {
                // A full disk takes no more of this, and what is destroyed meanwhile gives it room.
                if stops_all(&error) && !matches!(error, VaultError::DiskFull) {
                    ended = Err(error);
                } else if is_its_own(&error) {
                    tracing::error!(%error, "what is due later cannot be listed for now");
                }
                Vec::new()
            });
            for (place, Later { row, at, .. }) in rows.iter().enumerate() {
                if listed.get(place).copied().unwrap_or(false) {
                    walk.next.at(Kind::Pages, *at);
                } else {
                    walk.next.at(kind, *at);
                    stay.insert(row.key.clone());
                }
            }
        }
        ended
    }

    /// One page, in one commit: which of the rows are on it. One that its record does not lead to is not its record's, and is let lie.
    async fn list_page(&self, rows: &[Later<'_>]) -> Result<Vec<bool>, VaultError> {
        let Some(Later { due: Due { hour, tenant, collection, .. }, .. }) = rows.first() else { return Ok(Vec::new()) };
        let of = DuePage { hour: *hour, tenant: *tenant, collection: *collection, page: u32::from_be_bytes(random::bytes()) };
        let leads: Vec<Bytes> = rows.iter().map(|row| schema::due_of(of.tenant, of.collection, &row.due.record)).collect();
        let known = self.inner.store.get_many(Space::Index, &leads).await?;
        let (mut listed, mut moves) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for ((from, leads), known) in rows.iter().zip(leads).zip(known) {
            let known = known.filter(|known| schema::due_led_to(&leads, known).is_some_and(|led_to| led_to == from.row.key));
            listed.push(known.is_some());
            if let (Some(known), Ok(place)) = (known, u16::try_from(moves.len())) {
                moves.push(Move { from, place, leads, known });
            }
        }
        let Some(first) = moves.iter().map(|one| one.from.at).min() else { return Ok(listed) };
        let key = schema::due_page(&of);
        let mut places: Vec<Spot> = moves.iter().map(|one| Spot { at: one.from.at, place: one.place }).collect();
        places.sort_unstable();
        let (store, suite) = (self.inner.store_id, self.inner.options.suite);
        let (page, moved) = self
            .with_tenant(of.tenant, |secret| {
                let meta = secret.derive_meta();
                let moved: Vec<(Bytes, Bytes)> = moves
                    .iter()
                    .map(|one| {
                        let to = schema::due_listed(&of, one.place, &one.from.due.record);
                        let value = row_value(&meta, (&store, suite), of.tenant, &to, one.from.stood);
                        (to, value)
                    })
                    .collect();
                (sealed_page(&meta, (&store, suite), of.tenant, &key, places.iter().copied()), moved)
            })
            .await?;
        let space = Space::Index;
        let mut checks = vec![Check { space, key: key.clone(), expect: Expect::Absent }];
        let mut writes = vec![Write::Put { space, key: key.clone(), value: page }];
        for (Move { from, leads, known, .. }, (to, value)) in moves.into_iter().zip(moved) {
            checks.push(Check { space, key: from.row.key.clone(), expect: Expect::Equals(from.row.value.clone()) });
            checks.push(Check { space, key: leads.clone(), expect: Expect::Equals(known) });
            writes.push(Write::Delete { space, key: from.row.key.clone() });
            writes.push(Write::Put { space, key: leads, value: schema::due_lead(&to) });
            writes.push(Write::Put { space, key: to, value });
        }
        // Before the commit too: where nobody learns whether it was made, it is looked for.
        self.inner.due_pages.tell(&key, first);
        let commit = Commit { checks, writes, tail: None, durability: Durability::Written, urgency: Urgency::Normal };
        match self.inner.store.commit(commit).await {
            Ok(_) => {
                // Who looked in between found none.
                self.inner.due_pages.tell(&key, first);
                Ok(listed)
            }
            Err(StoreError::Conflict(_)) => {
                self.inner.due_pages.forget(&key);
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the pages that were not read since the start, as far as the looks reach; whether all of them are known.
    pub(super) async fn read_pages(&self, looks: &mut u64) -> Result<bool, VaultError> {
        let to = schema::table(Table::DuePage).to;
        while let Some(from) = self.inner.due_pages.unread() {
            if *looks >= LOOKS {
                return Ok(false);
            }
            let rows = self.inner.store.scan(Space::Index, &from, &to, PAGES).await?;
            *looks = looks.saturating_add(rows.len() as u64);
            let mut firsts = Vec::with_capacity(rows.len());
            for row in rows {
                let places = match schema::due_page_parts(&row.key) {
                    Some(of) => self.places_of(of.tenant, &row.key, &row.value).await?,
                    None => None,
                };
                // What does not open is looked at by the next run.
                let first = places.and_then(|places| places.into_iter().map(|place| place.at).min());
                firsts.push((row.key, first.unwrap_or(Timestamp(i64::MIN))));
            }
            self.inner.due_pages.were_read(firsts);
        }
        Ok(true)
    }

    /// The places that stand on a page; `None` where it does not open.
    pub(in crate::vault::ops) async fn places_of(
        &self,
        tenant: TenantNo,
        key: &[u8],
        value: &Bytes,
    ) -> Result<Option<Vec<Spot>>, VaultError> {
        let store = self.inner.store_id;
        match self.with_tenant(tenant, |secret| opened_page(&store, secret, tenant, key, value)).await {
            // Its tenant is shredded, or about to be.
            Err(error) if is_its_own(&error) => Ok(None),
            Ok(None) => {
                tracing::error!(%tenant, "a page of what is due does not open");
                Ok(None)
            }
            places => places,
        }
    }

    /// The rows at some places of a page, in their order.
    pub(super) async fn rows_at(&self, of: &DuePage, places: &[Spot]) -> Result<Vec<Row>, VaultError> {
        let ranges: Vec<KeyRange> = places.iter().map(|place| schema::due_listed_at(of, place.place)).collect();
        let rows = self.inner.store.scan_each(Space::Index, &ranges, OF_PLACE).await?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// All rows of a page that does not say what is on it.
    async fn rows_of_page(&self, of: &DuePage) -> Result<Vec<Row>, VaultError> {
        let range = schema::all_due_listed(of);
        let mut rows = self.inner.store.scan(Space::Index, &range.from, &range.to, ROWS).await?;
        rows.retain(|row| schema::due_parts(&row.key).is_some_and(|due| (due.tenant, due.collection) == (of.tenant, of.collection)));
        Ok(rows)
    }

    /// Goes through the pages of which something is due, as far as the pass may.
    pub(super) async fn destroy_of_pages(&self, pass: &mut Pass) -> Result<(), VaultError> {
        if !self.read_pages(&mut pass.done.looked_at).await? {
            pass.done.more = true;
            return Ok(());
        }
        while let Some(key) = self.inner.due_pages.next(&pass.walk.after, pass.until) {
            if pass.done.looked_at >= LOOKS || pass.left() == 0 {
                pass.done.more = true;
                return Ok(());
            }
            self.destroy_of_page(pass, key).await?;
            if pass.done.more {
                return Ok(());
            }
        }
        if let Some(first) = self.inner.due_pages.first_behind(pass.until) {
            pass.walk.next.at(Kind::Pages, first);
        }
        Ok(())
    }

    async fn destroy_of_page(&self, pass: &mut Pass, key: Bytes) -> Result<(), VaultError> {
        pass.done.looked_at = pass.done.looked_at.saturating_add(1);
        let value = self.inner.store.get(Space::Index, &key).await?;
        let (Some(of), Some(value)) = (schema::due_page_parts(&key), value) else {
            self.inner.due_pages.forget(&key);
            pass.walk.after = key;
            return Ok(());
        };
        let (after, until) = (Spot::on(&key, &pass.walk.after), pass.until);
        let places = self.places_of(of.tenant, &key, &value).await?;
        let rows = if let Some(places) = &places {
            let due: Vec<Spot> = places.iter().copied().filter(|place| place.at <= until && place.is_behind(after)).collect();
            self.rows_at(&of, &due).await?
        } else {
            let mut rows = self.rows_of_page(&of).await?;
            rows.retain(|row| place_of(row).is_some_and(|place| untold(place).is_behind(after)));
            rows
        };
        let gone = self.destroy_of_tenant(pass, Kind::Pages, &rows).await?;
        let last = gone.seen.checked_sub(1).and_then(|last| rows.get(last)).and_then(place_of);
        let up_to = match (pass.done.more, last) {
            (false, _) => None,
            // The next pass begins here.
            (true, None) => return Ok(()),
            (true, Some(last)) => {
                let told = places.iter().flatten().find(|place| place.place == last).copied();
                Some(told.unwrap_or(untold(last)))
            }
        };
        pass.walk.after = up_to.map_or_else(|| key.clone(), |up_to| up_to.of_page(&key));
        let Some(places) = places else {
            if up_to.is_none() && self.rows_of_page(&of).await?.is_empty() {
                self.rewrite_page(of.tenant, key, value, &[]).await?;
            }
            return Ok(());
        };
        let stay: HashSet<u16> = rows.iter().filter(|row| gone.stay.contains(&row.key)).filter_map(place_of).collect();
        let is_done = |place: Spot| {
            place.at <= until && place.is_behind(after) && up_to.is_none_or(|up_to| place <= up_to) && !stay.contains(&place.place)
        };
        let left: Vec<Spot> = places.iter().copied().filter(|place| !is_done(*place)).collect();
        // Also where something stays on it that was due before.
        if let Some(next) = left.iter().map(|place| place.at).filter(|at| *at > until).min() {
            pass.walk.next.at(Kind::Pages, next);
        }
        if left.len() < places.len() || left.is_empty() {
            self.rewrite_page(of.tenant, key, value, &left).await?;
        }
        Ok(())
    }

    /// Leaves those places on a page, if it is as it was read.
    async fn rewrite_page(&self, tenant: TenantNo, key: Bytes, was: Bytes, left: &[Spot]) -> Result<(), VaultError> {
        let space = Space::Index;
        let check = Check { space, key: key.clone(), expect: Expect::Equals(was) };
        let Some(first) = left.iter().map(|place| place.at).min() else {
            if self.data(vec![Write::Delete { space, key: key.clone() }], vec![check], Durability::Written).await? {
                self.inner.due_pages.forget(&key);
            }
            return Ok(());
        };
        let (store, suite) = (self.inner.store_id, self.inner.options.suite);
        let sealed = |secret: &Key<TenantSecret>| sealed_page(&secret.derive_meta(), (&store, suite), tenant, &key, left.iter().copied());
        let value = match self.with_tenant(tenant, sealed).await {
            // A shred is about to take it.
            Err(error) if is_its_own(&error) => return Ok(()),
            value => value?,
        };
        if self.data(vec![Write::Put { space, key: key.clone(), value }], vec![check], Durability::Written).await? {
            self.inner.due_pages.tell(&key, first);
        }
        Ok(())
    }

    /// Removes the pages of a tenant, or of a collection of it, whose rows are gone.
    pub(in crate::vault::ops) async fn drop_pages(&self, tenant: TenantNo, collection: Option<CollectionNo>) -> Result<(), VaultError> {
        let all = schema::table(Table::DuePage);
        let (mut from, mut writes) = (all.from, Vec::new());
        while let Some(first) = self.inner.store.scan(Space::Index, &from, &all.to, 1).await?.pop() {
            let Some(DuePage { hour, .. }) = schema::due_page_parts(&first.key) else {
                from = schema::successor(&first.key);
                continue;
            };
            let of = collection.map_or_else(|| schema::due_pages_of_tenant(hour, tenant), |no| schema::due_pages_of(hour, tenant, no));
            writes.push(Write::DeleteRange { space: Space::Index, from: of.from, to: of.to });
            from = schema::due_pages_in(hour).to;
        }
        self.data(writes, Vec::new(), Durability::Written).await.map(drop)
    }
}

/// A place of a page that does not tell when it is due.
const fn untold(place: u16) -> Spot {
    Spot { at: Timestamp(i64::MIN), place }
}

/// The place that a row is listed at.
fn place_of(row: &Row) -> Option<u16> {
    match schema::due_parts(&row.key)?.lies {
        Lies::Listed { place, .. } => Some(place),
        Lies::ByTime | Lies::Asleep => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> Bytes {
        schema::due_page(&DuePage { hour: 768, tenant: TenantNo(7), collection: CollectionNo(3), page: number })
    }

    #[test]
    fn a_place_reads_back_and_says_how_far_a_walk_has_come() {
        for place in [Spot { at: Timestamp(7), place: 258 }, untold(u16::MAX), Spot { at: Timestamp(i64::MAX), place: 0 }] {
            assert_eq!(Spot::from_bytes(place.to_bytes()), Some(place));
            let after = place.of_page(&page(1));
            assert_eq!((Spot::on(&page(1), &after), Spot::on(&page(2), &after)), (Some(place), None));
            assert!(page(1) < after && after < page(2));
        }
        assert_eq!((Spot::on(&page(1), &page(1)), Spot::on(&page(1), b"")), (None, None));
        assert!(
            untold(9) < Spot { at: Timestamp(0), place: 1 } && Spot { at: Timestamp(1), place: 9 } < Spot { at: Timestamp(2), place: 1 }
        );
    }

    #[test]
    fn a_walk_meets_the_pages_of_which_something_is_due_in_their_order() {
        let pages = Pages::default();
        for (number, first) in [(1, 10), (2, 30), (3, 20)] {
            pages.tell(&page(number), Timestamp(first));
        }
        let all = |until| {
            let mut met = Vec::new();
            let mut after = Bytes::new();
            while let Some(key) = pages.next(&after, Timestamp(until)) {
                met.push(schema::due_page_parts(&key).unwrap().page);
                after = key;
            }
            met
        };
        assert_eq!((all(9), all(10), all(20), all(30)), (vec![], vec![1], vec![1, 3], vec![1, 2, 3]));
        assert_eq!((pages.first_behind(Timestamp(10)), pages.first_behind(Timestamp(30))), (Some(Timestamp(20)), None));
        // In the midst of one, it is met again.
        let within = Spot { at: Timestamp(10), place: 4 }.of_page(&page(1));
        assert_eq!(pages.next(&within, Timestamp(20)), Some(page(1)));
        pages.tell(&page(1), Timestamp(40));
        assert_eq!(pages.next(&within, Timestamp(20)), Some(page(3)));
        pages.forget(&page(3));
        assert_eq!(pages.next(&within, Timestamp(20)), None);
        // Rows by their time lie before all pages.
        let row = schema::due(schema::Fineness::Month, u32::MAX, TenantNo(7), CollectionNo(3), &[[0xff; 16]]);
        assert_eq!(pages.next(&row, Timestamp(30)), Some(page(2)));
    }

    #[test]
    fn what_was_told_of_a_page_since_it_was_read_counts() {
        let pages = Pages::default();
        assert!(pages.unread().unwrap() >= schema::table(Table::DuePage).from);
        pages.tell(&page(2), Timestamp(30));
        pages.were_read(vec![(page(1), Timestamp(10)), (page(2), Timestamp(20))]);
        assert_eq!(pages.unread(), Some(schema::successor(&page(2))));
        pages.were_read(Vec::new());
        assert_eq!(pages.unread(), None);
        assert_eq!((pages.next(b"", Timestamp(20)), pages.next(&page(1), Timestamp(20))), (Some(page(1)), None));
    }
}
