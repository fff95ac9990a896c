//! Persons with several ids in any order of everything, held against a model of what must be there.

use std::collections::{BTreeMap, BTreeSet};

use lethe::vault::ops::{Conflict, ListQuery, Missing, NewAlias, PersonView, Unprocessable, VaultError, VaultOptions};

use super::{COLLECTIONS, WAIT};
use crate::{
    draw::Draw,
    erased::Acme,
    harness::{Open, Place, alias_of, coll, is_shredded, persons, proof, subject, subjects},
};

const IDS: [&str; 6] = ["i0", "i1", "i2", "i3", "i4", "i5"];
const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];

/// A collection's place among all, and a key.
type At = (usize, &'static str);
type Id = &'static str;

#[derive(Debug)]
struct Record {
    value: Vec<u8>,
    /// Whom it names, the first one first.
    ids: Vec<Id>,
}

struct World {
    place: Place,
    open: Open,
    acme: Acme,
    draw: Draw,
    /// Records that are there.
    there: BTreeMap<At, Record>,
    /// Persons who have several ids: the first, and the others in their order.
    persons: BTreeMap<Id, Vec<Id>>,
    /// Ids that were erased, and did not return.
    erased: BTreeSet<Id>,
    returned: usize,
    /// For messages.
    step: String,
}

impl World {
    async fn make(seed: u64) -> Self {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        let (there, persons, erased) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { place, open, acme, draw: Draw(seed), there, persons, erased, returned: 0, step: String::new() }
    }

    fn some_ids(&mut self) -> Vec<Id> {
        let (first, second) = (self.draw.place(IDS.len()), 1 + self.draw.place(IDS.len() - 1));
        let both = [IDS[first], IDS[(first + second) % IDS.len()]];
        both[..=self.draw.place(2)].to_vec()
    }

    /// The first id of a person.
    fn first(&self, id: Id) -> Id {
        self.persons.iter().find(|(_, others)| others.contains(&id)).map_or(id, |(first, _)| *first)
    }

    /// All ids of a person, the first one first.
    fn all(&self, id: Id) -> Vec<Id> {
        let first = self.first(id);
        std::iter::once(first).chain(self.persons.get(first).into_iter().flatten().copied()).collect()
    }

    fn view(&self, id: Id) -> PersonView {
        let all = self.all(id);
        PersonView { subject: subject(all[0]), aliases: subjects(&all[1..]) }
    }

    /// Whether one of them is erased, and nobody says that it returns.
    fn are_erased(&self, ids: &[Id], anew: bool) -> bool {
        !anew && ids.iter().any(|id| self.erased.contains(id))
    }

    fn revive(&mut self, ids: &[Id]) {
        for id in ids {
            self.returned += usize::from(self.erased.remove(id));
        }
    }

    async fn put(&mut self, at: At, value: Vec<u8>) {
        let (ids, anew) = (self.some_ids(), self.draw.below(3) == 0);
        let put = self.acme.put(&self.open, (COLLECTIONS[at.0].0, at.1), &ids, &value, anew).await;
        if self.are_erased(&ids, anew) {
            assert!(matches!(put, Err(VaultError::SubjectErased { done: true, .. })), "{}: {put:?}", self.step);
            return;
        }
        put.unwrap_or_else(|error| panic!("{}: {error:?}", self.step));
        self.revive(&ids);
        self.there.insert(at, Record { value, ids });
    }

    async fn add(&mut self) {
        let (of, alias, anew) = (self.draw.of(&IDS), self.draw.of(&IDS), self.draw.below(3) == 0);
        let new = NewAlias { new_relationship: anew, ..alias_of(of, alias) };
        let added = self.open.vault.add_alias(&self.acme.owner, &self.acme.name, new, None).await;
        let named = format!("{}: {alias} for {of}: {added:?}", self.step);
        let first = self.first(of);
        if of == alias {
            assert!(matches!(added, Err(VaultError::Unprocessable(Unprocessable::OwnAlias))), "{named}");
        } else if self.all(of).contains(&alias) {
            assert_eq!(added.unwrap(), (self.view(of), false), "{}", self.step);
        } else if self.are_erased(&[first, alias], anew) {
            assert!(matches!(added, Err(VaultError::SubjectErased { done: true, .. })), "{named}");
        } else if self.all(alias).len() > 1 {
            assert!(matches!(added, Err(VaultError::Conflict(Conflict::AliasTaken))), "{named}");
        } else {
            self.revive(&[first, alias]);
            self.persons.entry(first).or_default().push(alias);
            assert_eq!(added.unwrap(), (self.view(of), true), "{}", self.step);
        }
    }

    async fn remove(&mut self) {
        let alias = self.draw.of(&IDS);
        let removed = self.open.vault.remove_alias(&self.acme.owner, &self.acme.name, subject(alias), None).await;
        let first = self.first(alias);
        if self.erased.contains(alias) {
            assert!(matches!(removed, Err(VaultError::SubjectErased { done: true, .. })), "{}: {alias}: {removed:?}", self.step);
        } else if first == alias {
            assert!(matches!(removed, Err(VaultError::NotFound(Missing::Alias))), "{}: {alias}: {removed:?}", self.step);
        } else {
            let others = self.persons.get_mut(first).unwrap();
            others.retain(|other| *other != alias);
            if others.is_empty() {
                self.persons.remove(first);
            }
            assert_eq!(removed.unwrap(), self.view(first), "{}: {alias}", self.step);
        }
    }

    async fn shred(&mut self) {
        let named = self.some_ids();
        let done = self.open.vault.order_shred(&self.acme.owner, &self.acme.name, persons(&named), WAIT, None).await.unwrap();
        assert!(done.done, "{}", self.step);
        let all: BTreeSet<Id> = named.iter().flat_map(|id| self.all(id)).collect();
        let told: BTreeSet<&str> = done.targets.iter().map(String::as_str).collect();
        assert_eq!(told, all, "{}", self.step);
        // Who is erased already was forgotten with what there was then.
        let now: BTreeSet<Id> = all.into_iter().filter(|id| self.erased.insert(*id)).collect();
        self.there.retain(|_, record| !now.contains(record.ids[0]));
        self.persons.retain(|first, _| !now.contains(first));
        self.open.vault.reclaim(1_000).await.unwrap();
    }

    async fn look(&self) {
        for (collection, (name, _)) in COLLECTIONS.iter().enumerate() {
            for key in KEYS {
                let got = self.acme.get(&self.open, (name, key)).await;
                match self.there.get(&(collection, key)) {
                    Some(record) => assert_eq!(got.unwrap(), record.value, "{}: {name}/{key}", self.step),
                    None => assert!(
                        is_shredded(&got) || matches!(got, Err(VaultError::NotFound(Missing::Record))),
                        "{}: {name}/{key}: {got:?}",
                        self.step
                    ),
                }
            }
            for id in IDS {
                let query = ListQuery { subject: Some(subject(id)), limit: 100, ..ListQuery::default() };
                let page = self.open.vault.list(&self.acme.owner, &self.acme.name, &coll(name), query).await;
                if self.erased.contains(id) {
                    assert!(is_shredded(&page.map(drop)), "{}: {name}, {id}", self.step);
                    continue;
                }
                let all = self.all(id);
                let about = |record: &Record| record.ids.iter().any(|named| all.contains(named));
                let expected: BTreeSet<&str> =
                    self.there.iter().filter(|((of, _), record)| *of == collection && about(record)).map(|((_, key), _)| *key).collect();
                let items = page.unwrap().items;
                let keys: BTreeSet<&str> = items.iter().map(|item| item.meta.key.as_str()).collect();
                assert_eq!((&keys, items.len()), (&expected, expected.len()), "{}: {name}, {id}", self.step);
            }
        }
        for id in IDS {
            let ids = self.open.vault.person_ids(&self.acme.owner, &self.acme.name, &subject(id)).await;
            if self.erased.contains(id) {
                assert!(is_shredded(&ids), "{}: {id}: {ids:?}", self.step);
            } else {
                assert_eq!(ids.unwrap(), self.view(id), "{}: {id}", self.step);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_a_person_is_all_ids_and_is_erased_by_all() {
    for seed in 0..if proof() { 60 } else { 5_u64 } {
        let mut world = World::make(seed).await;
        for step in 0..80_usize {
            world.step = format!("seed {seed}, step {step}");
            let at = (world.draw.place(COLLECTIONS.len()), world.draw.of(&KEYS));
            match world.draw.below(12) {
                0..5 => world.put(at, step.to_string().into_bytes()).await,
                5..8 => world.add().await,
                8 => world.remove().await,
                9 | 10 => world.shred().await,
                _ => {
                    world.open.close().await;
                    world.open = world.place.open().await;
                }
            }
            world.look().await;
        }
        assert_eq!(world.acme.returns(&world.open).await, world.returned, "seed {seed}");
        world.open.close().await;
    }
}
