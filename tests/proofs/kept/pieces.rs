//! Decisions and ends that go piece by piece, and what is left of them when one piece fails. RET-5.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lethe::{
    authn::Role,
    domain::{CollectionPolicy, ShredUnit, Timestamp, policy::SecondarySubjects},
    vault::{
        ops::{Missing, VaultError},
        store::{Space, Store as _, StoreError, schema::Table},
    },
};

use super::{
    Acme, END, UNITS,
    crossing::{new_record, records},
    findings, lawful, left, run_until, unruled,
};
use crate::{
    harness::{hold_on, is_shredded, persons, until},
    meddling::sets,
    retention::{DAY, place, run, time, to},
    rows,
};

/// A decision that a hold takes back, and that fails between two of its pieces, is none: whether the hold stands on or not, and whether the
/// process goes on or a new one does, the order leaves in the end all that the law keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_decision_was_taken_back_in_part_decides_anew() {
    for restarts in [false, true] {
        let (mut place, _) = place().await;
        place.options.spared_at_once = 1;
        let mut open = place.open_meddled().await;
        let mut acme = Acme::make(&open, &place).await;
        let token = open.token(&acme.owner, &acme.name, Role::Counsel).await.0;
        let counsel = open.caller(&token).await;
        acme.fill(&open).await;
        let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
        let order = open.vault.order_shred(&acme.owner, &acme.name, persons(&["7"]), None, None).await.unwrap().id;
        refused.next().await;
        assert_eq!(left(&open).await, [2, 0, 1]);
        // The second unit that becomes its person's again is refused, and every epoch.
        let back = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&back);
        place.meddler.refuse(move |commit| {
            let is_refused = sets(commit, Table::RootPtr, |_, _| true)
                || sets(commit, Table::Unit, |_, _| true) && count.fetch_add(1, Ordering::SeqCst) > 0;
            is_refused.then_some(StoreError::DiskFull)
        });
        let placed = open.vault.place_hold(&counsel, &acme.name, hold_on("7"), None).await.unwrap();
        until("it is taken back in part", async || back.load(Ordering::SeqCst) >= 2).await;
        open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
        if restarts {
            open.close().await;
            place.meddler.refuse_nothing();
            open = place.open_meddled().await;
            acme.again(&open).await;
        } else {
            place.meddler.refuse_nothing();
        }
        assert!(open.awaited(&acme.owner, &acme.name, order).await.done);
        acme.is_restricted(&open, order).await;
        assert_eq!(left(&open).await, [2, 2, 0]);
        open.close().await;
    }
}

/// A decision takes as long as there are records: who places a hold on somebody else does not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_placed_while_it_is_decided_what_a_law_keeps_of_somebody_else() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    acme.fill(&open).await;
    let before = records(&open).await;
    acme.put(&open, ("people", "7/last"), &["7"], "tax", b"v").await.unwrap();
    let last = new_record(&open, &before).await;
    let beginning = place.meddler.hold_copies();
    let order = open.vault.order_shred(&acme.owner, &acme.name, persons(&["7"]), None, None).await.unwrap().id;
    beginning.has_read().await;
    let deciding = place.meddler.hold_reader(Space::Records, last);
    beginning.let_go();
    deciding.has_read().await;
    open.vault.place_hold(&counsel, &acme.name, hold_on("8"), None).await.unwrap();
    deciding.let_go();
    assert!(open.awaited(&acme.owner, &acme.name, order).await.done);
    assert_eq!(acme.audited(&open, ("people", "7/last")).await.unwrap(), b"v");
    acme.is_restricted(&open, order).await;
    open.close().await;
}

/// Rules that come behind an order, and before it is decided what it leaves, keep what they keep. The order has closed it by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_leaves_what_a_law_keeps_that_came_behind_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, "late", unruled(ShredUnit::Subject)).await;
    for kind in ["tax", "note"] {
        acme.put(&open, ("late", kind), &["7"], kind, kind.as_bytes()).await.unwrap();
    }
    let beginning = place.meddler.hold_copies();
    let order = open.vault.order_shred(&acme.owner, &acme.name, persons(&["7"]), None, None).await.unwrap().id;
    beginning.has_read().await;
    for (at, kind) in [(0, "tax"), (1, "note")] {
        clock.advance(DAY);
        let got = acme.get(&open, ("late", kind)).await;
        assert!(is_shredded(&got), "{at}: {got:?}");
        acme.set(&open, "late", lawful(ShredUnit::Subject, "4y")).await;
    }
    clock.advance(DAY);
    beginning.let_go();
    let view = open.awaited(&acme.owner, &acme.name, order).await;
    let told: Vec<_> = view.retained.iter().map(|one| (one.collection.as_str(), one.records)).collect();
    assert_eq!((view.done, told), (true, vec![("late", 1)]));
    assert_eq!(acme.audited(&open, ("late", "tax")).await.unwrap(), b"tax");
    assert!(acme.get(&open, ("late", "note")).await.is_err() && acme.audited(&open, ("late", "note")).await.is_err());
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A key is an order with a certificate: a run gives as many as it may, and none for what was not due by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_no_more_spared_keys_than_it_may() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for person in ["7", "8"] {
        acme.put(&open, ("people", person), &[person], "tax", b"v").await.unwrap();
        open.shred_subject(&acme.owner, &acme.name, person).await;
    }
    assert_eq!(left(&open).await, [2, 2, 0]);
    to(&clock, END);
    let operator = open.caller(&place.operator).await;
    let orders = async || rows::count(&open.store, Table::ShredOrder).await;
    let limited = async |limit, until, cursor| {
        let (done, _, more) = open.vault.run_retention(&operator, until, limit, cursor).await.unwrap();
        (done, more)
    };
    let (done, more) = limited(2, None, None).await;
    assert_eq!((done.destroyed, orders().await), (2, 2));
    assert!(more.is_some(), "two keys are due");
    let (done, none) = limited(100, Some(Timestamp(time(END).0 - 1)), None).await;
    assert_eq!((done.destroyed, orders().await, none), (0, 2, None), "not by then");
    let (_, more) = limited(1, None, more).await;
    assert_eq!((orders().await, more.is_some()), (3, true));
    let (_, more) = limited(1, None, more).await;
    assert_eq!((orders().await, more), (4, None));
    run_until(&open, &clock, [0, 0, 0]).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spared_key_that_no_order_could_be_given_for_is_ended_by_a_run_a_minute_later() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, ("people", "k"), &["7"], "tax", b"v").await.unwrap();
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    to(&clock, END);
    place.meddler.refuse(|commit| sets(commit, Table::PendingShred, |_, _| true).then_some(StoreError::Busy));
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert_eq!(left(&open).await, [1, 0, 0]);
    place.meddler.refuse_nothing();
    clock.advance(Duration::from_mins(1));
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 0);
    open.close().await;
}

/// A record that an order has left, under the key of whom it names first: when that person goes, so does the count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_counted_under_another_persons_key_goes_with_that_person() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let shared = CollectionPolicy { secondary_subjects: SecondarySubjects::Delete, ..lawful(ShredUnit::Subject, "4y") };
    acme.set(&open, "shared", shared).await;
    acme.put(&open, ("shared", "k"), &["8", "7"], "tax", b"v").await.unwrap();
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    assert_eq!(acme.audited(&open, ("shared", "k")).await.unwrap(), b"v");
    assert_eq!(left(&open).await, [0, 1, 0]);
    to(&clock, END);
    open.shred_subject(&acme.owner, &acme.name, "8").await;
    assert!(acme.audited(&open, ("shared", "k")).await.is_err());
    open.vault.reclaim(100).await.unwrap();
    assert_eq!(left(&open).await, [0, 0, 0]);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Of a record that does not open the law has nothing left to keep: although its key is spared for another, it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_does_not_open_goes_from_beside_what_a_law_keeps() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, _) in UNITS {
        let person = format!("p-{collection}");
        acme.put(&open, (collection, "tax"), &[&person], "tax", b"v").await.unwrap();
        let before = records(&open).await;
        acme.put(&open, (collection, "bent"), &[&person], "note", b"v").await.unwrap();
        let row = new_record(&open, &before).await;
        let whole = open.store.get(Space::Records, &row).await.unwrap().unwrap();
        rows::set(&open.store, Space::Records, &row, Some(rows::bent(&whole))).await;
        let view = open.shred_subject(&acme.owner, &acme.name, &person).await;
        let got = acme.get(&open, (collection, "bent")).await;
        if collection == "files" {
            assert!(matches!(got, Err(VaultError::Shredded { .. })), "its key was its own: {got:?}");
        } else {
            assert!(matches!(got, Err(VaultError::NotFound(Missing::Record))), "{collection}: {got:?}");
            assert_eq!(view.collections[0].1.deleted, 1, "{collection}: {:?}", view.collections);
        }
        assert_eq!(acme.audited(&open, (collection, "tax")).await.unwrap(), b"v", "{collection}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}
