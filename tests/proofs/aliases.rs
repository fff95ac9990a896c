//! A person's several ids: whatever is done to the person is done to all of them, in any order, race and restart, and whatever the data's
//! date; and nothing is left that tells them once the person is erased.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use lethe::{
    authn::Role,
    domain::{HoldId, ShredId, ShredUnit, limits},
    vault::{
        ops::{Caller, Conflict, ListQuery, Missing, NewAlias, PersonView, Unprocessable, VaultError, VaultOptions},
        store::{Commit, Row, Space, schema::Table},
    },
};
use tokio_util::task::TaskTracker;

use crate::{
    erased::{Acme, COLLECTIONS, is_refused},
    harness::{Open, Place, WAIT, alias_of, certificate, coll, findings, hold_on, is_shredded, persons, put_op, subject, subjects},
    meddling::sets,
    rows,
};

mod model;

fn view(first: &str, aliases: &[&str]) -> PersonView {
    PersonView { subject: subject(first), aliases: subjects(aliases) }
}

impl Acme {
    async fn alias(&self, open: &Open, of: &str, alias: &str) -> Result<(PersonView, bool), VaultError> {
        let new = NewAlias { with_records: false, ..alias_of(of, alias) };
        open.vault.add_alias(&self.owner, &self.name, new, None).await
    }

    /// The same, whatever records the alias has.
    async fn merge(&self, open: &Open, of: &str, alias: &str) -> Result<(PersonView, bool), VaultError> {
        open.vault.add_alias(&self.owner, &self.name, alias_of(of, alias), None).await
    }

    async fn anew(&self, open: &Open, of: &str, alias: &str) -> Result<(PersonView, bool), VaultError> {
        let new = NewAlias { with_records: false, new_relationship: true, ..alias_of(of, alias) };
        open.vault.add_alias(&self.owner, &self.name, new, None).await
    }

    async fn forget(&self, open: &Open, alias: &str) -> Result<PersonView, VaultError> {
        open.vault.remove_alias(&self.owner, &self.name, subject(alias), None).await
    }

    async fn ids(&self, open: &Open, of: &str) -> Result<PersonView, VaultError> {
        open.vault.person_ids(&self.owner, &self.name, &subject(of)).await
    }

    async fn order(&self, open: &Open, person: &str) -> Result<ShredId, VaultError> {
        let order = persons(&[person]);
        open.vault.order_shred(&self.owner, &self.name, order, WAIT, None).await.map(|view| view.id)
    }

    /// A record under an id in each collection.
    async fn write(&self, open: &Open, id: &str) {
        for (collection, _) in COLLECTIONS {
            self.put(open, (collection, id), &[id], id.as_bytes(), false).await.unwrap();
        }
    }

    /// Whether what was written so is there, in all collections or in none.
    async fn is_there(&self, open: &Open, id: &str) -> bool {
        let mut there = 0;
        for (collection, _) in COLLECTIONS {
            match self.get(open, (collection, id)).await {
                Ok(value) => {
                    assert_eq!(value, id.as_bytes());
                    there += 1;
                }
                Err(VaultError::Shredded { .. } | VaultError::NotFound(Missing::Record)) => {}
                Err(error) => panic!("{collection}/{id}: {error:?}"),
            }
        }
        assert!(there == 0 || there == COLLECTIONS.len(), "{id} is there in {there} collections");
        there > 0
    }

    async fn counsel(&self, open: &Open) -> Caller {
        open.with_role(&self.owner, &self.name, Role::Counsel).await
    }

    async fn hold(&self, open: &Open, counsel: &Caller, person: &str) -> HoldId {
        open.vault.place_hold(counsel, &self.name, hold_on(person), None).await.unwrap().id
    }

    async fn delete(&self, open: &Open, at: (&str, &str)) -> Result<(), VaultError> {
        open.delete(&self.owner, &self.name, at).await
    }
}

/// A row holds so many ids and no more: an order that a hold keeps does not come to name others, and is carried out for all that it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_held_is_not_outgrown_by_the_ids_of_its_persons() {
    let options = VaultOptions { held_order_ids: 6, ..VaultOptions::default() };
    let place = Place::make_with(options, true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = acme.counsel(&open).await;
    acme.alias(&open, "far", "far-1").await.unwrap();
    // Both of them: of two of whom one is held, that one alone would be kept back.
    let holds = [acme.hold(&open, &counsel, "held").await, acme.hold(&open, &counsel, "other").await];
    let order = persons(&["held", "other"]);
    let stopped = open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await;
    let Err(VaultError::LegalHold { order: Some(order), .. }) = stopped else { panic!("{stopped:?}") };
    let is_full = |result: Result<_, VaultError>| matches!(result, Err(VaultError::Limit(limits::SUBJECT_ALIASES)));
    for alias in ["a", "b", "c"] {
        acme.alias(&open, "other", alias).await.unwrap();
    }
    acme.alias(&open, "held", "d").await.unwrap();
    // Under any id, be it the new one that the order names; whom it does not name has as many as before.
    assert!(is_full(acme.alias(&open, "b", "e").await));
    assert!(is_full(acme.alias(&open, "held", "e").await));
    acme.forget(&open, "d").await.unwrap();
    assert!(is_full(acme.alias(&open, "far", "held").await));
    acme.alias(&open, "far", "far-2").await.unwrap();
    acme.alias(&open, "held", "d").await.unwrap();
    for hold in holds {
        open.vault.release_hold(&counsel, &acme.name, hold, "settled".into(), None).await.unwrap();
    }
    let view = open.awaited(&acme.owner, &acme.name, order).await;
    assert!(view.done, "{view:?}");
    for id in ["held", "d", "other", "a", "b", "c"] {
        is_refused(acme.put(&open, ("people", id), &[id], b"v", false).await, order, id);
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

async fn store() -> (Place, Arc<Open>, Arc<Acme>) {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    (place, Arc::new(open), Arc::new(acme))
}

async fn close(open: Arc<Open>) {
    Arc::into_inner(open).unwrap().close().await;
}

async fn alias_rows(open: &Open) -> Vec<Row> {
    rows::table(&open.store, Table::Alias).await
}

async fn set(open: &Open, key: &Bytes, value: Option<Bytes>) {
    rows::set(&open.store, Space::Control, key, value).await;
}

async fn is_sound(open: &Open) {
    assert_eq!(findings(open).await, Vec::<String>::new());
}

fn sets_an_alias(commit: &Commit) -> bool {
    sets(commit, Table::Alias, |_, _| true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_one_persons_and_leads_to_all_ids_of_the_person() {
    let (place, open, acme) = store().await;
    assert_eq!(acme.ids(&open, "7").await.unwrap(), view("7", &[]));
    assert_eq!(acme.alias(&open, "7", "ann").await.unwrap(), (view("7", &["ann"]), true));
    // By an alias as by the first id, and a second time to no effect.
    assert_eq!(acme.alias(&open, "ann", "tel").await.unwrap(), (view("7", &["ann", "tel"]), true));
    for (of, alias) in [("7", "ann"), ("tel", "ann"), ("ann", "7"), ("tel", "7")] {
        assert_eq!(acme.alias(&open, of, alias).await.unwrap(), (view("7", &["ann", "tel"]), false), "{of}, {alias}");
    }
    let own = acme.alias(&open, "7", "7").await;
    assert!(matches!(own, Err(VaultError::Unprocessable(Unprocessable::OwnAlias))), "{own:?}");
    // Somebody else's, and somebody who has aliases.
    acme.alias(&open, "9", "nine").await.unwrap();
    for (of, alias) in [("7", "nine"), ("ann", "9"), ("nine", "7"), ("9", "tel"), ("8", "ann")] {
        let taken = acme.merge(&open, of, alias).await;
        assert!(matches!(taken, Err(VaultError::Conflict(Conflict::AliasTaken))), "{of}, {alias}: {taken:?}");
    }
    // One of whom there are records, under whatever collection's key.
    for (collection, _) in COLLECTIONS {
        acme.put(&open, (collection, "of"), &["8", collection], b"v", false).await.unwrap();
        let named = acme.alias(&open, "7", collection).await;
        assert!(matches!(named, Err(VaultError::Conflict(Conflict::AliasHasRecords))), "{collection}: {named:?}");
    }
    assert_eq!(acme.merge(&open, "7", "people").await.unwrap(), (view("7", &["ann", "tel", "people"]), true));
    for number in 3..32 {
        acme.alias(&open, "7", &format!("\u{1}\"{number}")).await.unwrap();
    }
    let more = acme.alias(&open, "7", "more").await;
    assert!(matches!(more, Err(VaultError::Limit(limit)) if limit.name == "subject_aliases"), "{more:?}");
    is_sound(&open).await;
    close(open).await;

    let open = place.open().await;
    let ids = acme.ids(&open, "\u{1}\"31").await.unwrap();
    assert_eq!((ids.subject.as_str(), ids.aliases.len(), ids.aliases[31].as_str()), ("7", 32, "\u{1}\"31"));
    for alias in &ids.aliases {
        assert_eq!(acme.ids(&open, alias.as_str()).await.unwrap(), ids);
    }
    // Taken away one by one, in no order of theirs; the first id is none.
    let none = acme.forget(&open, "7").await;
    assert!(matches!(none, Err(VaultError::NotFound(Missing::Alias))), "{none:?}");
    for alias in ids.aliases.iter().skip(2).chain(&ids.aliases[..2]) {
        let left = acme.forget(&open, alias.as_str()).await.unwrap();
        assert!(left.subject.as_str() == "7" && !left.aliases.contains(alias));
        assert_eq!(acme.ids(&open, alias.as_str()).await.unwrap(), view(alias.as_str(), &[]));
    }
    assert_eq!(acme.ids(&open, "7").await.unwrap(), view("7", &[]));
    assert!(matches!(acme.forget(&open, "ann").await, Err(VaultError::NotFound(Missing::Alias))));
    acme.alias(&open, "9", "ann").await.unwrap();
    assert_eq!(alias_rows(&open).await.len(), 3, "9, nine and ann");
    is_sound(&open).await;
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shred_by_any_id_erases_the_person_by_every_id() {
    for named in ["7", "ann", "tel"] {
        let (place, open, acme) = store().await;
        acme.alias(&open, "7", "ann").await.unwrap();
        acme.alias(&open, "7", "tel").await.unwrap();
        acme.alias(&open, "8", "bert").await.unwrap();
        for id in ["ann", "bert"] {
            acme.write(&open, id).await;
        }
        acme.put(&open, ("people", "both"), &["8", "ann"], b"both", false).await.unwrap();
        let order = persons(&[named]);
        let done = open.vault.order_shred(&acme.owner, &acme.name, order, WAIT, None).await.unwrap();
        // Who ordered it by one id is told of the others: the person's own one comes first.
        let mut told = done.targets.clone();
        assert_eq!(told[0], named);
        told.sort_unstable();
        assert_eq!(told, ["7", "ann", "tel"]);
        let units: BTreeMap<&str, u64> = done.collections.iter().map(|(name, totals)| (name.as_str(), totals.units)).collect();
        assert_eq!(units, BTreeMap::from([("*", 3), ("all", 0), ("files", 2), ("people", 2)]), "and what seals each id");
        let note = certificate(&open, done.id).await;
        assert_eq!((note["totals"]["units"].as_u64(), note["totals"]["collections"].as_u64()), (Some(7), Some(3)), "{note}");
        for id in ["7", "ann"] {
            assert!(!acme.is_there(&open, id).await, "{id}");
        }
        for id in ["8", "bert"] {
            assert!(acme.is_there(&open, id).await, "{id}");
        }
        assert_eq!(acme.get(&open, ("people", "both")).await.unwrap(), b"both", "the other person's, who is named first");
        // Every id is a tombstone, and says nothing of the others.
        for id in ["7", "ann", "tel"] {
            is_refused(acme.put(&open, ("people", "new"), &[id], b"v", false).await, done.id, id);
            is_refused(acme.put(&open, ("all", "new"), &["8", id], b"v", false).await, done.id, id);
            assert!(is_shredded(&acme.ids(&open, id).await), "{id}");
            is_refused(acme.merge(&open, "8", id).await, done.id, id);
            is_refused(acme.merge(&open, id, "new").await, done.id, id);
            is_refused(acme.forget(&open, id).await, done.id, id);
        }
        assert_eq!(alias_rows(&open).await.len(), 2, "those of 8");
        assert_eq!(acme.returns(&open).await, 0);
        is_sound(&open).await;
        close(open).await;

        // Who begins anew has one id, until another is given.
        let open = place.open().await;
        acme.put(&open, ("people", "new"), &["ann"], b"anew", true).await.unwrap();
        assert_eq!((acme.ids(&open, "ann").await.unwrap(), acme.returns(&open).await), (view("ann", &[]), 1));
        for id in ["7", "tel"] {
            is_refused(acme.put(&open, ("people", "other"), &[id], b"v", false).await, done.id, id);
        }
        assert_eq!(acme.anew(&open, "tel", "7").await.unwrap(), (view("tel", &["7"]), true));
        assert_eq!(acme.returns(&open).await, 3, "each id that is known anew is on the record");
        acme.put(&open, ("people", "other"), &["7"], b"anew", false).await.unwrap();
        acme.shred(&open, "tel").await;
        assert!(is_shredded(&acme.get(&open, ("people", "other")).await));
        assert_eq!(acme.get(&open, ("people", "new")).await.unwrap(), b"anew");
        is_sound(&open).await;
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_a_person_has_the_records_of_every_id_once() {
    let (_place, open, acme) = store().await;
    open.collection(&acme.owner, &acme.name, "many", ShredUnit::Subject).await;
    acme.alias(&open, "7", "ann").await.unwrap();
    acme.alias(&open, "7", "tel").await.unwrap();
    let named: [&[&str]; 7] = [&["7"], &["ann"], &["tel"], &["ann", "7"], &["8", "tel"], &["tel", "8", "7", "ann"], &["8"]];
    let ops = (0..70).map(|number| put_op("many", number, named[number % 7])).collect();
    open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    let page = async |of: &str, limit: usize, cursor: Option<String>| {
        let query = ListQuery { subject: Some(subject(of)), cursor, limit, ..ListQuery::default() };
        open.vault.list(&acme.owner, &acme.name, &coll("many"), query).await
    };
    for of in ["7", "ann", "tel"] {
        for limit in [1, 7, 59, 60, 61, 1_000] {
            let (mut met, mut cursor) = (BTreeMap::new(), None);
            loop {
                let page = page(of, limit, cursor).await.unwrap();
                assert!(page.items.len() <= limit);
                for item in page.items {
                    *met.entry(item.meta.key.as_str().parse::<usize>().unwrap()).or_insert(0) += 1;
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let expected: BTreeMap<usize, i32> = (0..70).filter(|number| number % 7 != 6).map(|number| (number, 1)).collect();
            assert_eq!(met, expected, "{of}, {limit} at a time");
        }
    }
    let of_eight = page("8", 1_000, None).await.unwrap();
    assert_eq!((of_eight.items.len(), of_eight.next_cursor), (30, None));
    // A list that somebody has begun is of whom it was begun of.
    let begun = page("7", 25, None).await.unwrap().next_cursor;
    acme.forget(&open, "tel").await.unwrap();
    let goes_on = page("7", 1_000, begun).await;
    assert!(matches!(goes_on, Err(VaultError::Unprocessable(Unprocessable::Cursor))));
    assert_eq!(page("tel", 1_000, None).await.unwrap().items.len(), 30);
    assert_eq!(page("7", 1_000, None).await.unwrap().items.len(), 40);
    close(open).await;
}

/// Nothing that names one of these is deleted, overwritten or shredded.
async fn are_held(open: &Open, acme: &Acme, ids: &[&str]) {
    for id in ids {
        for (collection, _) in COLLECTIONS {
            let deleted = acme.delete(open, (collection, id)).await;
            assert!(matches!(deleted, Err(VaultError::LegalHold { .. })), "{collection}/{id}: {deleted:?}");
            let written = acme.put(open, (collection, id), &[id], b"over", false).await;
            assert!(matches!(written, Err(VaultError::LegalHold { .. })), "{collection}/{id}: {written:?}");
        }
        let order = acme.order(open, id).await;
        assert!(matches!(order, Err(VaultError::LegalHold { .. })), "{id}: {order:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_on_a_person_is_on_every_id_that_the_person_has_or_is_given() {
    for held in ["7", "ann"] {
        let (place, open, acme) = store().await;
        let counsel = acme.counsel(&open).await;
        acme.alias(&open, "7", "ann").await.unwrap();
        acme.write(&open, "ann").await;
        acme.write(&open, "later").await;
        let hold = acme.hold(&open, &counsel, held).await;
        acme.delete(&open, ("people", "later")).await.unwrap();
        acme.put(&open, ("people", "later"), &["later"], b"later", false).await.unwrap();
        assert_eq!(acme.merge(&open, "7", "later").await.unwrap(), (view("7", &["ann", "later"]), true));
        are_held(&open, &acme, &["7", "ann", "later"]).await;
        let shown = open.vault.hold(&counsel, &acme.name, hold).await.unwrap();
        let mut subjects = shown.scope.unwrap().subjects;
        subjects.sort_unstable();
        assert_eq!((subjects, shown.covers), (vec!["7".to_owned(), "ann".into(), "later".into()], Some((9, false))));
        // Who is not the person any more is held as before: a hold is loosened by its release alone.
        acme.forget(&open, "later").await.unwrap();
        is_sound(&open).await;
        close(open).await;
        let open = place.open().await;
        let deleted = acme.delete(&open, ("files", "later")).await;
        assert!(matches!(deleted, Err(VaultError::LegalHold { .. })), "{deleted:?}");
        are_held(&open, &acme, &["7", "ann"]).await;

        // What was stopped is carried out for all ids that the person has by then.
        acme.alias(&open, "ann", "tel").await.unwrap();
        open.vault.release_hold(&counsel, &acme.name, hold, "settled".into(), None).await.unwrap();
        let view = open.vault.order_shred(&acme.owner, &acme.name, persons(&["tel"]), WAIT, None).await.unwrap();
        assert!(view.done);
        for id in ["7", "ann", "later"] {
            assert!(!acme.is_there(&open, id).await, "{id}, whose own order was held");
        }
        assert!(acme.is_there(&open, "8").await);
        is_sound(&open).await;
        open.close().await;
    }
}

/// An order that a hold stopped, and a person who is given another id, or loses one, before it is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_held_is_of_the_ids_that_the_person_has_when_it_is_given_again() {
    let (_place, open, acme) = store().await;
    let counsel = acme.counsel(&open).await;
    acme.alias(&open, "7", "ann").await.unwrap();
    for id in ["ann", "later", "mistaken"] {
        acme.write(&open, id).await;
    }
    acme.merge(&open, "7", "mistaken").await.unwrap();
    let hold = acme.hold(&open, &counsel, "7").await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let Err(VaultError::LegalHold { order: Some(order), .. }) = acme.order(&open, "7").await else { panic!("not held") };
        orders.push(order);
        acme.merge(&open, "7", "later").await.unwrap();
    }
    assert_eq!(orders[0], orders[1], "the same order, although the person has another id");
    acme.forget(&open, "mistaken").await.unwrap();
    open.vault.release_hold(&counsel, &acme.name, hold, "settled".into(), None).await.unwrap();
    let done = open.awaited(&acme.owner, &acme.name, orders[0]).await;
    assert!(done.done);
    for id in ["7", "ann", "later"] {
        assert!(!acme.is_there(&open, id).await, "{id}");
        is_refused(acme.put(&open, ("people", "new"), &[id], b"v", false).await, done.id, id);
    }
    assert!(acme.is_there(&open, "mistaken").await, "somebody else by then");
    is_sound(&open).await;
    close(open).await;
}

/// One comes first, whichever: the id is the person's and is erased, or it is nobody's and stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_against_a_shred_ends_in_exactly_one_of_two_ways() {
    let (place, open, acme) = store().await;
    let tasks = TaskTracker::new();
    acme.write(&open, "ann").await;
    // The alias is planned, and the person is shredded before it is committed.
    let held = place.meddler.hold_commit(sets_an_alias);
    let adding = {
        let (open, acme) = (open.clone(), acme.clone());
        tasks.spawn(async move { acme.merge(&open, "7", "ann").await })
    };
    held.has_read().await;
    let order = acme.shred(&open, "7").await;
    held.let_go();
    is_refused(adding.await.unwrap(), order, "planned before the shred");
    assert!(acme.is_there(&open, "ann").await && alias_rows(&open).await.is_empty());

    // The order is planned, and the person is given the id before it is committed. By either of the ids.
    for (round, named) in ["first", "second"].into_iter().enumerate() {
        let other = ["second", "first"][round];
        let (named, other) = (format!("{named}-{round}"), format!("{other}-{round}"));
        for id in [&named, &other] {
            acme.write(&open, id).await;
        }
        let held = place.meddler.hold_commit(|commit| sets(commit, Table::PendingShred, |_, _| true));
        let ordering = {
            let (open, acme, named) = (open.clone(), acme.clone(), named.clone());
            tasks.spawn(async move { acme.order(&open, &named).await })
        };
        held.has_read().await;
        let (first, second) = if round == 0 { (&named, &other) } else { (&other, &named) };
        acme.merge(&open, first, second).await.unwrap();
        held.let_go();
        ordering.await.unwrap().unwrap();
        for id in [&named, &other] {
            assert!(!acme.is_there(&open, id).await, "{id}");
        }
    }
    assert!(alias_rows(&open).await.is_empty());

    // At moments that nobody chooses.
    let mut seen = [0, 0];
    for round in 0..24_usize {
        let (person, alias) = (format!("p{round}"), format!("a{round}"));
        for id in [&person, &alias] {
            acme.write(&open, id).await;
        }
        let named = if round % 2 == 0 { person.clone() } else { alias.clone() };
        let ordering = {
            let (open, acme) = (open.clone(), acme.clone());
            tasks.spawn(async move { acme.order(&open, &named).await })
        };
        for _ in 0..round * 2 {
            tokio::task::yield_now().await;
        }
        let added = acme.merge(&open, &person, &alias).await;
        ordering.await.unwrap().unwrap();
        let there = [acme.is_there(&open, &person).await, acme.is_there(&open, &alias).await];
        match added {
            Ok(_) => assert_eq!(there, [false, false], "round {round}"),
            Err(VaultError::SubjectErased { .. }) => assert_eq!(there, [round % 2 != 0, round % 2 == 0], "round {round}"),
            Err(error) => panic!("round {round}: {error:?}"),
        }
        seen[usize::from(there != [false, false])] += 1;
    }
    println!("aliases against shreds: {seen:?}");
    assert!(alias_rows(&open).await.is_empty());
    is_sound(&open).await;
    close(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_and_an_alias_at_the_same_moment_are_one_of_the_other() {
    for hold_first in [false, true] {
        let (place, open, acme) = store().await;
        let tasks = TaskTracker::new();
        let counsel = acme.counsel(&open).await;
        acme.write(&open, "ann").await;
        let held = if hold_first {
            place.meddler.hold_commit(|commit| sets(commit, Table::HoldState, |_, _| true))
        } else {
            place.meddler.hold_commit(sets_an_alias)
        };
        let slow = {
            let (open, acme, counsel) = (open.clone(), acme.clone(), counsel.clone());
            tasks.spawn(async move {
                if hold_first {
                    acme.hold(&open, &counsel, "7").await;
                } else {
                    acme.merge(&open, "7", "ann").await.unwrap();
                }
            })
        };
        held.has_read().await;
        if hold_first {
            acme.merge(&open, "7", "ann").await.unwrap();
        } else {
            acme.hold(&open, &counsel, "7").await;
        }
        held.let_go();
        slow.await.unwrap();
        for id in ["7", "ann"] {
            for (collection, _) in COLLECTIONS {
                let deleted = acme.delete(&open, (collection, id)).await;
                assert!(matches!(deleted, Err(VaultError::LegalHold { .. })), "hold first: {hold_first}: {collection}/{id}: {deleted:?}");
            }
            assert!(matches!(acme.order(&open, id).await, Err(VaultError::LegalHold { .. })), "hold first: {hold_first}: {id}");
        }
        is_sound(&open).await;
        close(open).await;
    }
}

/// Two give one person two ids at once, or two persons the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_that_are_given_at_the_same_moment_are_all_kept_or_refused() {
    let (place, open, acme) = store().await;
    let tasks = TaskTracker::new();
    for (of, alias) in [("7", "two"), ("8", "one")] {
        let held = place.meddler.hold_commit(sets_an_alias);
        let slow = {
            let (open, acme) = (open.clone(), acme.clone());
            tasks.spawn(async move { acme.alias(&open, "7", "one").await })
        };
        held.has_read().await;
        acme.alias(&open, of, alias).await.unwrap();
        held.let_go();
        let slow = slow.await.unwrap();
        if of == "7" {
            assert_eq!(slow.unwrap(), (view("7", &["two", "one"]), true));
            acme.forget(&open, "one").await.unwrap();
        } else {
            assert!(matches!(slow, Err(VaultError::Conflict(Conflict::AliasTaken))), "{slow:?}");
        }
    }
    assert_eq!(acme.ids(&open, "7").await.unwrap(), view("7", &["two"]));
    assert_eq!(acme.ids(&open, "8").await.unwrap(), view("8", &["one"]));
    is_sound(&open).await;
    close(open).await;
}

/// A change is one commit: behind a crash it is there, or it is not; and sent again it is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_aliases_that_is_sent_again_is_made_once() {
    let (_place, open, acme) = store().await;
    let send = async |alias: &str, once: &str| {
        let new = NewAlias { with_records: false, ..alias_of("7", alias) };
        open.vault.add_alias(&acme.owner, &acme.name, new, Some(once.into())).await
    };
    for _ in 0..2 {
        assert_eq!(send("ann", "once").await.unwrap(), (view("7", &["ann"]), true));
    }
    assert!(matches!(send("tel", "once").await, Err(VaultError::Conflict(Conflict::IdempotencyMismatch))));
    let remove = async || open.vault.remove_alias(&acme.owner, &acme.name, subject("ann"), Some("again".into())).await;
    assert_eq!(remove().await.unwrap(), view("7", &[]));
    assert_eq!(remove().await.unwrap(), view("ann", &[]), "whose it was is nowhere any more");
    for action in ["alias.add", "alias.remove"] {
        let trail = open.trail(&acme.owner, &acme.name, action).await;
        let count = |object: bool, count: Option<u32>| {
            let of = trail.iter().map(|named| &named.entry.entry);
            of.filter(|entry| (entry.target.object.is_some(), entry.target.count) == (object, count)).count()
        };
        assert_eq!((count(true, None), count(false, Some(0))), (1, 1), "{action}: one that was made, one that was answered again");
    }
    close(open).await;
}

/// Data of before the alias and of after it, under today's control.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_was_erased_comes_back_by_no_id_with_older_data() {
    let (place, open, acme) = store().await;
    acme.write(&open, "ann").await;
    close(open).await;
    place.copy("store/data", "apart");
    let open = place.open().await;
    acme.merge(&open, "7", "ann").await.unwrap();
    open.close().await;
    place.copy("store/data", "together");
    let open = place.open().await;
    let order = acme.shred(&open, "ann").await;
    open.close().await;
    for data in ["apart", "together"] {
        place.put_back(data, "store/data");
        let open = place.open().await;
        for id in ["7", "ann"] {
            assert!(!acme.is_there(&open, id).await, "{data}: {id}");
            is_refused(acme.put(&open, ("all", id), &[id], b"stale", false).await, order, data);
        }
        assert!(acme.is_there(&open, "8").await);
        is_sound(&open).await;
        open.close().await;
    }
}

/// What an old copy of control has of an alias that was taken away is sealed under a key of the alias's own person, and goes with that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_that_was_taken_away_is_told_by_nothing_once_its_own_person_is_erased() {
    let (_place, open, acme) = store().await;
    acme.alias(&open, "7", "ann").await.unwrap();
    acme.alias(&open, "7", "tel").await.unwrap();
    let then = alias_rows(&open).await;
    acme.forget(&open, "ann").await.unwrap();
    acme.shred(&open, "ann").await;
    assert_eq!(acme.ids(&open, "7").await.unwrap(), view("7", &["tel"]), "who is not erased");
    let now = alias_rows(&open).await;
    // Who has such a copy has today's keys besides.
    for Row { key, value } in then {
        set(&open, &key, Some(value)).await;
    }
    let told = acme.ids(&open, "7").await;
    assert!(is_shredded(&told), "{told:?}");
    for Row { key, .. } in alias_rows(&open).await {
        set(&open, &key, None).await;
    }
    for Row { key, value } in now {
        set(&open, &key, Some(value)).await;
    }
    is_sound(&open).await;
    close(open).await;
}

/// The trail and a hold name an id of which there is no record, and no id once the person is erased.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_without_records_is_named_until_the_person_is_erased() {
    let (_place, open, acme) = store().await;
    acme.alias(&open, "somebody", "something").await.unwrap();
    let names = async || {
        let added = open.trail(&acme.owner, &acme.name, "alias.add").await;
        added.into_iter().map(|named| named.names.subject.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["somebody"]);
    acme.shred(&open, "something").await;
    assert!(names().await[0].starts_with("shredded-subject-"));
    close(open).await;
}

/// Who writes to the disk takes rows away, or exchanges them: it is told, and nobody is taken for another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_aliases_that_do_not_belong_together_are_found_and_not_believed() {
    let (_place, open, acme) = store().await;
    acme.alias(&open, "7", "ann").await.unwrap();
    acme.alias(&open, "8", "bert").await.unwrap();
    let all = alias_rows(&open).await;
    assert_eq!(all.len(), 4);
    for (at, Row { key, value }) in all.iter().enumerate() {
        let other = &all[(at + 1) % 4].value;
        let mut bent = value.to_vec();
        bent[3] ^= 1;
        for wrong in [None, Some(other.clone()), Some(bent.into())] {
            let is_gone = wrong.is_none();
            set(&open, key, wrong).await;
            let found = findings(&open).await;
            assert!(!found.is_empty() && found.iter().all(|told| told.contains("alias row")), "row {at}, gone: {is_gone}: {found:?}");
            let mut refused = 0;
            for (id, own) in [("7", "ann"), ("ann", "7"), ("8", "bert"), ("bert", "8")] {
                match acme.ids(&open, id).await {
                    Err(VaultError::Internal(_)) => refused += 1,
                    // An id whose row is gone is known as one alone, and its person by what is left.
                    Ok(ids) if is_gone && ids == view(id, &[]) => refused += 1,
                    Ok(ids) => {
                        assert!(ids.subject.as_str() == id || ids.aliases == subjects(&[id]), "row {at}: {id}: {ids:?}");
                        assert!(ids.subject.as_str() == own || ids.aliases == subjects(&[own]), "row {at}: {id}: {ids:?}");
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert!(refused > 0, "row {at}, gone: {is_gone}");
            set(&open, key, Some(value.clone())).await;
        }
    }
    is_sound(&open).await;
    close(open).await;
}

/// So no write and no read of a record costs more where a tenant has aliases, whoever it is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_and_no_read_of_a_record_looks_for_an_alias() {
    let (_place, open, acme) = store().await;
    acme.alias(&open, "7", "ann").await.unwrap();
    for Row { key, value } in alias_rows(&open).await {
        // Whoever reads it is refused.
        let mut bent = value.to_vec();
        bent[3] ^= 1;
        set(&open, &key, Some(bent.into())).await;
    }
    assert!(matches!(acme.ids(&open, "7").await, Err(VaultError::Internal(_))));
    let large = vec![2_u8; 100_000];
    for (collection, _) in COLLECTIONS {
        for id in ["7", "ann", "8", "nobody"] {
            for value in [&b"v"[..], &large] {
                acme.put(&open, (collection, id), &[id], value, false).await.unwrap();
                assert_eq!(acme.get(&open, (collection, id)).await.unwrap(), value);
            }
            acme.delete(&open, (collection, id)).await.unwrap();
        }
    }
    open.vault.batch(&acme.owner, &acme.name, vec![put_op("people", 1, &["ann"]), put_op("all", 2, &["7"])], None).await.unwrap();
    close(open).await;
}
