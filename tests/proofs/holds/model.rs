//! Holds in any order of everything else, held against a model of what must be there.

use std::collections::{BTreeMap, BTreeSet};

use lethe::{
    domain::{Clock as _, HoldId, ShredId, TestClock, Timestamp, hold::HoldScope},
    vault::{
        ops::{PutRecord, VaultError},
        store::schema,
    },
};
use std::time::Duration;

use super::{Acme, DAY, findings, place, run, stopped};
use crate::{
    draw::Draw,
    harness::{Open, Place, WAIT, coll, key, persons, put_of, subject},
    rows,
};

/// Collection and key.
type At = (&'static str, String);

/// Whom a record is about, the first one first, and its own end.
struct About {
    persons: Vec<String>,
    end: Option<Timestamp>,
}

/// A store, and what must be in it.
struct World {
    place: Place,
    clock: TestClock,
    open: Open,
    acme: Acme,
    draw: Draw,
    /// Records that are there.
    there: BTreeMap<At, About>,
    /// Holds that stand.
    holds: Vec<(HoldId, HoldScope)>,
    /// Orders that were stopped, and for whom.
    orders: BTreeSet<(ShredId, String)>,
    /// For messages.
    step: String,
}

impl World {
    async fn make(seed: u64) -> Self {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place, "acme").await;
        let (there, holds, orders) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { place, clock, open, acme, draw: Draw(seed), there, holds, orders, step: String::new() }
    }

    fn is_held(&self, at: &At, persons: &[String]) -> bool {
        self.holds.iter().any(|(_, scope)| match scope {
            HoldScope::Tenant => true,
            HoldScope::Subjects(subjects) => persons.iter().any(|person| subjects.contains(&subject(person))),
            HoldScope::Collection(held) => *held == coll(at.0),
            HoldScope::Prefix(held, prefix) => *held == coll(at.0) && key(&at.1).starts_with(prefix),
            HoldScope::Records(records) => records.contains(&(coll(at.0), key(&at.1))),
        })
    }

    fn is_there_and_held(&self, at: &At) -> bool {
        self.there.get(at).is_some_and(|about| self.is_held(at, &about.persons))
    }

    /// A shred takes along what names its person first.
    fn forget(&mut self, person: &str) {
        self.there.retain(|_, about| about.persons[0] != person);
    }

    async fn write(&mut self, at: At, person: String) {
        let mut persons = vec![person];
        if self.draw.below(3) == 0 {
            let other = (self.draw.below(3) + 1 + persons[0].parse::<u64>().unwrap()) % 4;
            persons.push(other.to_string());
        }
        let days = u32::try_from(self.draw.below(20) + 1).unwrap();
        let end = (self.draw.below(3) == 0).then(|| self.clock.now().plus(DAY * days));
        let put = PutRecord {
            subjects: persons.iter().map(|name| subject(name)).collect(),
            expires_at: end,
            new_relationship: true,
            ..put_of(None, b"v")
        };
        let acme = &self.acme;
        match self.open.vault.put_record(&acme.owner, &acme.name, &coll(at.0), key(&at.1), put).await {
            Ok(_) => {
                assert!(!self.is_there_and_held(&at), "{}: a held one was written over", self.step);
                self.there.insert(at, About { persons, end });
            }
            Err(VaultError::LegalHold { .. }) => assert!(self.is_there_and_held(&at), "{}: nothing holds it", self.step),
            Err(error) => panic!("{}: {error:?}", self.step),
        }
    }

    async fn delete(&mut self, at: At) {
        let held = self.is_there_and_held(&at);
        match self.acme.delete(&self.open, (at.0, &at.1)).await {
            Ok(()) => {
                assert!(!held, "{}: a held one was deleted", self.step);
                self.there.remove(&at).unwrap();
            }
            Err(VaultError::LegalHold { .. }) => assert!(held, "{}: nothing holds it", self.step),
            Err(VaultError::NotFound(_) | VaultError::Shredded { .. }) => assert!(!held, "{}: it is gone", self.step),
            Err(error) => panic!("{}: {error:?}", self.step),
        }
    }

    async fn order(&mut self, person: String) {
        let goes = |about: &About| about.persons[0] == person;
        let nowhere = ("nowhere", "none".to_owned());
        let is_held = self.is_held(&nowhere, std::slice::from_ref(&person))
            || self.there.iter().any(|(at, about)| goes(about) && self.is_held(at, &about.persons));
        let given = self.acme.shred(&self.open, persons(&[&person]), WAIT).await;
        if let Some(id) = stopped(&given) {
            assert!(is_held, "{}: nothing holds person {person}", self.step);
            self.orders.insert((id, person));
        } else {
            given.unwrap();
            assert!(!is_held, "{}: person {person} is held", self.step);
            self.forget(&person);
        }
    }

    async fn hold(&mut self, (collection, name): At, person: &str) {
        let collection = coll(collection);
        let scope = match self.draw.below(6) {
            0 => HoldScope::Tenant,
            1 => HoldScope::Collection(collection),
            2 => HoldScope::Prefix(collection, key(name.split('/').next().unwrap())),
            3 => HoldScope::Records(vec![(collection, key(&name))]),
            _ => HoldScope::Subjects(vec![subject(person)]),
        };
        if self.holds.len() < 3 {
            self.holds.push((self.acme.place(&self.open, scope.clone()).await.id, scope));
        }
    }

    /// Orders that nothing holds any more are given in that moment.
    async fn release(&mut self) {
        if self.holds.is_empty() {
            return;
        }
        let which = self.draw.place(self.holds.len());
        let (id, _) = self.holds.remove(which);
        self.acme.release(&self.open, id).await;
        for (id, person) in self.orders.clone() {
            if self.acme.state(&self.open, id).await == "done" {
                self.orders.remove(&(id, person.clone()));
                for (at, about) in self.there.iter().filter(|(_, about)| about.persons[0] == person) {
                    assert!(!self.is_held(at, &about.persons), "{}: {at:?} went although held", self.step);
                }
                self.forget(&person);
            }
        }
    }

    async fn restart(mut self) -> Self {
        self.open.close().await;
        self.open = self.place.open().await;
        self.acme.again(&self.open).await;
        self
    }

    async fn pass(&mut self) {
        let time = self.draw.below(3 * 86_400_000);
        self.clock.advance(Duration::from_millis(time));
        run(&self.open, &self.clock).await;
    }

    /// What is held is there, and so is what nobody destroyed. What is past its end no reader is shown; who deletes it is told.
    async fn look(&mut self) {
        let now = self.clock.now();
        let mut over = Vec::new();
        for (at, about) in &self.there {
            let place = (at.0, at.1.as_str());
            if about.end.is_none_or(|end| end > now) {
                let got = self.acme.get(&self.open, place).await;
                assert!(got.is_ok(), "{}: {at:?}: {got:?}", self.step);
            } else if self.is_held(at, &about.persons) {
                let kept = self.acme.delete(&self.open, place).await;
                assert!(matches!(kept, Err(VaultError::LegalHold { .. })), "{}: {at:?}: {kept:?}", self.step);
            } else {
                over.push(at.clone());
            }
        }
        // What no run has met yet: the model knows no such thing.
        for at in over {
            drop(self.acme.delete(&self.open, (at.0, &at.1)).await);
            self.there.remove(&at);
        }
    }

    /// All holds end, and with them all that waits.
    async fn end(mut self) {
        for (id, _) in std::mem::take(&mut self.holds) {
            self.acme.release(&self.open, id).await;
        }
        self.clock.advance(DAY * 40);
        run(&self.open, &self.clock).await;
        for (id, person) in std::mem::take(&mut self.orders) {
            assert_eq!(self.acme.state(&self.open, id).await, "done", "{}", self.step);
            self.forget(&person);
        }
        for (at, about) in &self.there {
            let got = self.acme.get(&self.open, (at.0, &at.1)).await;
            assert_eq!(got.is_ok(), about.end.is_none(), "{}: {at:?}", self.step);
        }
        for table in [schema::Table::HoldState, schema::Table::HoldOn, schema::Table::HeldOrder] {
            assert_eq!(rows::count(&self.open.store, table).await, 0, "{}: {table:?}", self.step);
        }
        // Of shredded records whose keys were written again nothing is left in the index, once the bytes are reclaimed.
        for reclaimed in [false, true] {
            if reclaimed {
                self.open.vault.reclaim(10_000).await.unwrap();
            }
            assert_eq!(findings(&self.open).await, Vec::<String>::new(), "{}, reclaimed: {reclaimed}", self.step);
        }
        self.open.close().await;
    }
}

/// HOLD-1 and HOLD-7, in any order of writes, orders, holds, their ends, steps of the clock, runs and restarts: what is held is there,
/// and when all holds have ended, everything goes that was ordered or due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_what_is_held_is_there_and_what_was_stopped_goes_at_the_end() {
    for seed in 0..8_u64 {
        let mut world = World::make(seed).await;
        for step in 0..150 {
            let at = (world.draw.of(&["people", "all", "files"]), format!("{}/{}", world.draw.of(&["x", "y"]), world.draw.below(4)));
            let person = world.draw.below(4).to_string();
            world.step = format!("seed {seed}, step {step}, {at:?}");
            match world.draw.below(12) {
                0..4 => world.write(at, person).await,
                4 => world.delete(at).await,
                5 => world.order(person).await,
                6 => world.hold(at, &person).await,
                7 => world.release().await,
                8 if step % 3 == 0 => world = world.restart().await,
                _ => world.pass().await,
            }
            world.look().await;
        }
        world.end().await;
    }
}
