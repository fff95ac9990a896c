//! Orders that are large, many or ill: each is done, or holds up no other.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{self, StreamExt as _};
use lethe::{
    domain::{CollectionPolicy, ShredId, ShredUnit, TenantName, policy::SecondarySubjects},
    vault::{
        audit::certificate::Certificate,
        ops::{Caller, Missing, PutRecord, ShredOrder, VaultError, VaultOptions},
        store::{Space, StoreError, schema::Table},
    },
};

use crate::{
    harness::{Open, Place, WAIT, coll, is_shredded, key, person, put_of, put_op, subject},
    meddling::sets,
    rows,
};

/// A collection with as many and as long categories as a policy may have.
async fn wide(open: &Open, owner: &Caller, tenant: &TenantName, number: usize) -> String {
    let name = format!("c{number}");
    let categories = (0..64).map(|at| format!("{number:0>4}.{at:0>2}.{}", "x".repeat(120))).collect();
    let policy = CollectionPolicy { categories, ..CollectionPolicy::default() };
    open.vault.put_collection(owner, tenant, &coll(&name), policy, None).await.unwrap();
    name
}

/// Categories of 9 collections are over a leaf of the log, those of 20 over a row of the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_in_collections_of_very_many_categories_is_shredded_and_certified() {
    for collections in [9, 20] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let (other, bystander, _) = open.tenant(&place, "other").await;
        open.collection(&bystander, &other, "c", ShredUnit::Subject).await;
        open.put(&bystander, &other, ("c", "k"), Some("8"), b"v").await.unwrap();
        for number in 0..collections {
            let name = wide(&open, &owner, &acme, number).await;
            open.put(&owner, &acme, (&name, "k"), Some("7"), b"v").await.unwrap();
        }
        let view = open.shred_subject(&owner, &acme, "7").await;
        open.shred_subject(&bystander, &other, "8").await;
        let note = open.vault.certificate(view.id).await.unwrap();
        let certificate = Certificate::open(std::str::from_utf8(&note).unwrap(), &Place::verifier()).unwrap();
        let whole = certificate.beyond.unwrap().categories.unwrap();
        assert_eq!(whole.count, 64 * collections as u64);
        assert!(!certificate.categories_before.is_empty());
        assert_eq!((certificate.totals.collections, certificate.totals.units), (collections as u64, collections as u64));
        open.close().await;
    }
}

/// More collections than an order's row lists: the rest is counted together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_in_very_many_collections_is_told_of_with_a_remainder() {
    const COLLECTIONS: u64 = 300;
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for number in 0..COLLECTIONS {
        let unit = if number % 2 == 0 { ShredUnit::Subject } else { ShredUnit::Collection };
        let name = format!("c{number}");
        open.collection(&owner, &acme, &name, unit).await;
        open.put(&owner, &acme, (&name, "k"), Some("7"), b"v").await.unwrap();
    }
    let view = open.shred_subject(&owner, &acme, "7").await;
    let sum = |count: fn(&lethe::vault::ops::ShredTotals) -> u64| view.collections.iter().map(|(_, totals)| count(totals)).sum::<u64>();
    assert_eq!((sum(|totals| totals.units), sum(|totals| totals.deleted)), (COLLECTIONS / 2, COLLECTIONS / 2));
    assert_eq!(view.collections.len(), 257);
    assert_eq!(view.collections[256].0, "*");
    let certificate = crate::harness::certificate(&open, view.id).await;
    assert_eq!(certificate["totals"]["collections"], COLLECTIONS);
    assert_eq!((&certificate["totals"]["units"], &certificate["totals"]["records_deleted"]), (&150.into(), &150.into()));
    open.close().await;
}

/// Planted: the page of a person's key is lost. Everyone else's orders are done, of this tenant and of others, before and after a
/// restart; the ill one is done once it is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_cannot_be_carried_out_holds_up_no_other() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let (other, bystander, _) = open.tenant(&place, "other").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.collection(&bystander, &other, "c", ShredUnit::Subject).await;
    // A page of its own: each start takes new numbers.
    open.close().await;
    open = place.open().await;
    let before = rows::table(&open.store, Table::Page).await;
    open.put(&owner, &acme, ("c", "ill"), Some("ill"), b"v").await.unwrap();
    let ill = rows::table(&open.store, Table::Page).await.into_iter().find(|row| !before.contains(row)).unwrap();
    open.close().await;
    open = place.open().await;
    rows::set(&open.store, Space::Control, &ill.key, None).await;
    let order = open.vault.order_shred(&owner, &acme, person("ill"), None, None).await.unwrap();
    for round in 0..2 {
        let name = format!("good{round}");
        for (caller, tenant) in [(&owner, &acme), (&bystander, &other)] {
            open.put(caller, tenant, ("c", &name), Some(&name), b"v").await.unwrap();
        }
        // Together with the ill one, which waits at the start and in between.
        let orders = [(&owner, &acme), (&bystander, &other)]
            .map(|(caller, tenant)| open.vault.order_shred(caller, tenant, person(&name), WAIT, None));
        for view in futures_util::future::join_all(orders).await {
            assert!(view.unwrap().done, "round {round}: held up by an order that is not theirs");
        }
        assert!(!open.vault.shred(&owner, &acme, order.id, None).await.unwrap().done);
        open.close().await;
        open = place.open().await;
    }
    rows::set(&open.store, Space::Control, &ill.key, Some(ill.value)).await;
    assert!(open.awaited(&owner, &acme, order.id).await.done);
    open.close().await;
}

/// Deletions of one person, many of them: someone else's order is done long before, none of the records is read meanwhile, and
/// a restart in the middle neither loses nor doubles what was counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_deletions_hold_up_nobody_and_are_unreadable_from_the_order_on() {
    const RECORDS: usize = 6_000;
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
    open.collection(&owner, &acme, "people", ShredUnit::Subject).await;
    let policy = CollectionPolicy { secondary_subjects: SecondarySubjects::Delete, ..CollectionPolicy::default() };
    open.vault.put_collection(&owner, &acme, &coll("shared"), policy, None).await.unwrap();
    open.collection(&owner, &acme, "kept", ShredUnit::Subject).await;
    for first in (0..RECORDS).step_by(1_000) {
        let ops = (first..first + 1_000).map(|number| put_op("log", number, &["7"])).collect();
        open.vault.batch(&owner, &acme, ops, None).await.unwrap();
    }
    let shared = (0..200).map(|number| put_op("shared", number, &["8", "7"]));
    let kept = (0..300).map(|number| put_op("kept", number, &["8", "7"]));
    open.vault.batch(&owner, &acme, shared.chain(kept).collect(), None).await.unwrap();
    open.put(&owner, &acme, ("people", "9"), Some("9"), b"v").await.unwrap();
    let last = (RECORDS - 1).to_string();
    // The first deletions are done; the next ones not before the other person's order is.
    let (ours, done) = (Arc::new(OnceLock::<ShredId>::new()), Arc::new(AtomicUsize::new(0)));
    let (known, count) = (ours.clone(), done.clone());
    place.meddler.refuse(move |commit| {
        let deletes = sets(commit, Table::ShredDeleted, |key, _| known.get().is_none_or(|id| key[1..17] == id.0));
        (deletes && count.fetch_add(1, Ordering::SeqCst) >= 3).then_some(StoreError::Busy)
    });

    let view = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
    let everything: Vec<_> =
        (0..RECORDS).step_by(1_499).map(|number| ("log", number.to_string())).chain([("shared", "3".to_owned())]).collect();
    for (collection, number) in &everything {
        let got = open.get(&owner, &acme, (collection, number)).await;
        assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(Missing::Record))), "{collection} {number}: {got:?}");
    }
    let query = lethe::vault::ops::ListQuery { limit: 10, ..Default::default() };
    assert!(open.vault.list(&owner, &acme, &coll("log"), query).await.unwrap().items.is_empty());
    ours.set(view.id).unwrap();
    while done.load(Ordering::SeqCst) <= 3 {
        tokio::task::yield_now().await;
    }
    // Someone else's, given later.
    open.shred_subject(&owner, &acme, "9").await;
    assert!(!open.vault.shred(&owner, &acme, view.id, None).await.unwrap().done, "what is left to delete was not deleted");
    assert!(is_shredded(&open.put(&owner, &acme, ("log", "new"), Some("7"), b"v").await));
    open.close().await;
    place.meddler.refuse_nothing();
    open = place.open().await;
    let got = open.get(&owner, &acme, ("log", &last)).await;
    assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(Missing::Record))), "{got:?}");
    let view = open.vault.shred(&owner, &acme, view.id, Some(Duration::from_mins(1))).await.unwrap();
    assert!(view.done);
    let of = |name: &str| view.collections.iter().find(|(collection, _)| collection == name).unwrap().1;
    assert_eq!((of("log").deleted, of("shared").deleted, of("kept").kept), (RECORDS as u64, 200, 300));
    for (collection, number) in &everything {
        assert!(matches!(open.get(&owner, &acme, (collection, number)).await, Err(VaultError::NotFound(Missing::Record))));
    }
    assert_eq!(open.get(&owner, &acme, ("kept", "3")).await.unwrap(), b"v");
    // The person may come back, and what is written then stays.
    let back = PutRecord { new_relationship: true, ..put_of(Some("7"), b"new") };
    open.vault.put_record(&owner, &acme, &coll("log"), key("new"), back).await.unwrap();
    open.close().await;
    open = place.open().await;
    assert_eq!(open.get(&owner, &acme, ("log", "new")).await.unwrap(), b"new");
    open.close().await;
}

/// Orders for thousands of people who never wrote anything, as many as may wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_large_orders_without_a_target_is_carried_out() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let order = |number: usize| {
        let subjects = (0..2_000).map(|at| subject(&format!("nobody-{number}-{at}"))).collect();
        open.vault.order_shred(&owner, &acme, ShredOrder::Subjects(subjects), Some(Duration::from_mins(1)), None)
    };
    let views: Vec<_> = stream::iter((0..24).map(order)).buffer_unordered(24).collect().await;
    assert!(views.into_iter().all(|view| view.unwrap().done));
    open.close().await;
}
