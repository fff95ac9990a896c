//! Orders to shred that meet each other, writers, large values under way, and their own size.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lethe::{
    domain::{Clock as _, CollectionPolicy, ShredUnit, Slot, TenantNo, policy::SecondarySubjects},
    vault::{
        ops::{BatchOp, BodyError, Precondition, PutRecord, ShredOrder, VaultError, VaultOptions},
        store::{
            Commit, Space, Store as _, StoreError,
            schema::{self, Table},
        },
    },
};

use crate::{
    harness::{Place, WAIT, certificate, coll, findings, is_shredded, key, person, persons, put_about, put_of, put_op},
    meddling::sets,
    rows,
};

/// A record whose time is over, and that nobody has removed yet, does not hold up the shred of whom it is about; one that names
/// two of an order's persons is deleted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_ran_out_goes_with_its_person() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for (collection, shred_unit) in [("people", ShredUnit::Subject), ("all", ShredUnit::Collection)] {
        let policy = CollectionPolicy { shred_unit, secondary_subjects: SecondarySubjects::Delete, ..CollectionPolicy::default() };
        open.vault.put_collection(&owner, &acme, &coll(collection), policy, None).await.unwrap();
    }
    let ends = Some(clock.now().plus(Duration::from_mins(1)));
    for (at, names) in [(("all", "first"), vec!["7"]), (("people", "second"), vec!["8", "7"]), (("people", "both"), vec!["8", "7", "9"])] {
        let put = PutRecord { expires_at: ends, ..put_about(&names, b"v") };
        open.vault.put_record(&owner, &acme, &coll(at.0), key(at.1), put).await.unwrap();
    }
    clock.advance(Duration::from_mins(2));
    let view = open.shred(&owner, &acme, persons(&["7", "9"])).await;
    assert_eq!(certificate(&open, view.id).await["totals"]["records_deleted"], 3);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A large value that breaks off, or is refused in the end, leaves the record under its unit, and its person's shred finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_value_that_broke_off_hides_no_unit_from_a_shred() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Record).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"small").await.unwrap();
    let large = vec![1_u8; 200_000];
    let broken = stream::iter([Ok(large.clone().into()), Err(BodyError::Aborted)]).boxed();
    let put = PutRecord { body: broken, length: None, ..put_of(Some("7"), &large) };
    assert!(matches!(open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await, Err(VaultError::Body(BodyError::Aborted))));
    let put = PutRecord { precondition: Precondition::Absent, ..put_of(Some("7"), &large) };
    assert!(matches!(open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await, Err(VaultError::PreconditionFailed)));
    assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"small");
    let view = open.shred_subject(&owner, &acme, "7").await;
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "k")).await));
    assert_eq!(certificate(&open, view.id).await["verification"]["sample_size"], 1);
    open.close().await;
}

/// Every unit that a record ever had goes with its person, and with the record: what is put back from before opens nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_grew_and_changed_hands_is_shredded_in_every_copy() {
    for by_record in [false, true] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let mut open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "c", ShredUnit::Record).await;
        let large = vec![1_u8; 200_000];
        let stages: [(&str, &[u8]); 5] = [("7", b"small"), ("7", &large), ("8", b"another's"), ("7", b"again"), ("7", &large)];
        for (number, (subject, value)) in stages.into_iter().enumerate() {
            open.put(&owner, &acme, ("c", "k"), Some(subject), value).await.unwrap();
            open.close().await;
            place.copy("store/data", &format!("stage-{number}"));
            open = place.open().await;
        }
        if by_record {
            open.shred(&owner, &acme, ShredOrder::Record { collection: coll("c"), key: key("k") }).await;
        } else {
            open.shred_subject(&owner, &acme, "7").await;
        }
        for (number, (subject, value)) in stages.into_iter().enumerate() {
            open.close().await;
            place.put_back(&format!("stage-{number}"), "store/data");
            open = place.open().await;
            let got = open.get(&owner, &acme, ("c", "k")).await;
            if by_record || subject == "7" {
                assert!(is_shredded(&got), "stage {number}, by record: {by_record}: {:?}", got.map(|value| value.len()));
            } else {
                assert_eq!(got.unwrap(), value);
            }
        }
        open.close().await;
    }
}

/// A key is written again between the order and its certificate: the certificate tells of the record that was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_written_again_at_once_does_not_keep_its_order_from_being_certified() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = Arc::new(place.open().await);
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Record).await;
    for round in 0..10 {
        let name = format!("k{round}");
        open.put(&owner, &acme, ("c", &name), Some("7"), b"v").await.unwrap();
        let order = ShredOrder::Record { collection: coll("c"), key: key(&name) };
        let view = open.vault.order_shred(&owner, &acme, order, None, None).await.unwrap();
        while let Err(error) = open.put(&owner, &acme, ("c", &name), Some("7"), b"new").await {
            assert!(matches!(error, VaultError::Shredded { .. } | VaultError::Busy), "{error:?}");
        }
        let view = open.awaited(&owner, &acme, view.id).await;
        assert!(view.done, "round {round}: the order is not done after 30 s");
        assert_eq!(open.get(&owner, &acme, ("c", &name)).await.unwrap(), b"new");
    }
    Arc::into_inner(open).unwrap().close().await;
}

/// A deleted record's shred may be ordered late; by then the key may hold a record again, which is none of its business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_written_again_before_its_deletion_was_ordered_to_be_shredded_does_not_keep_that_from_being_certified() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Record).await;
    open.put(&owner, &acme, ("c", "k"), None, b"old").await.unwrap();
    let unit = rows::table(&open.store, Table::Unit).await.pop().unwrap();
    // tenant, record, collection, slot. No order is given over a state that nobody can read.
    let state = schema::unit_state(TenantNo(1), Slot::from_be_bytes(*unit.key.last_chunk().unwrap()));
    rows::set(&open.store, Space::Control, &state, Some(Bytes::new())).await;
    open.delete(&owner, &acme, ("c", "k")).await.unwrap();
    open.put(&owner, &acme, ("c", "k"), None, b"new").await.unwrap();
    rows::set(&open.store, Space::Control, &state, None).await;
    let is_done = async || {
        for round in 0..300 {
            // Others' orders are carried out meanwhile.
            open.shred(&owner, &acme, person(&format!("other-{round}"))).await;
            let is_known = open.store.get(Space::Control, &state).await.unwrap().is_some();
            if is_known && rows::table(&open.store, Table::PendingShred).await.is_empty() {
                return true;
            }
        }
        false
    };
    assert!(is_done().await);
    assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"new");
    open.close().await;
}

/// Orders for the same person at once: each is done, none before the person's keys are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_for_the_same_person_at_once_are_all_certified() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for round in 0..10 {
        let name = format!("p{round}");
        open.put(&owner, &acme, ("c", &name), Some(&name), b"v").await.unwrap();
        let orders = (0..4).map(|_| open.vault.order_shred(&owner, &acme, person(&name), WAIT, None));
        for view in futures_util::future::join_all(orders).await {
            let view = view.unwrap();
            assert!(view.done, "round {round}: an order is not done after 30 s");
            assert_eq!(certificate(&open, view.id).await["verification"]["readable_after"], 0);
        }
        assert!(is_shredded(&open.get(&owner, &acme, ("c", &name)).await));
    }
    open.close().await;
}

/// More units than a row of the store can list, in more epochs than one, over a restart between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_very_many_units_is_shredded() {
    const RECORDS: usize = 36_000;
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Record).await;
    let put = |number: usize| put_op("c", number, &["7"]);
    for first in (0..RECORDS).step_by(1_000) {
        open.vault.batch(&owner, &acme, (first..first + 1_000).map(put).collect(), None).await.unwrap();
    }
    let before = open.forest.epoch().0;
    let view = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
    // Somewhere between its epochs.
    while open.forest.epoch().0 < before + 3 {
        tokio::task::yield_now().await;
    }
    open.close().await;
    open = place.open().await;
    let view = open.vault.shred(&owner, &acme, view.id, Some(Duration::from_mins(1))).await.unwrap();
    assert!(view.done);
    assert_eq!(view.collections[0].1.units, RECORDS as u64);
    let certificate = certificate(&open, view.id).await;
    assert_eq!(certificate["totals"]["units"], RECORDS);
    assert_eq!(certificate["key_ids"]["count"], RECORDS, "{}", certificate["key_ids"]);
    for number in [0, 1, 9_999, RECORDS - 1] {
        assert!(is_shredded(&open.get(&owner, &acme, ("c", &number.to_string())).await), "{number}");
    }
    open.close().await;
}

/// Custody stumbles at the end of an epoch, which is finished while the server runs: who was shredded may return at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_returns_after_an_epoch_that_was_cut_short_and_finished_in_place() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    // Three tries of the epoch itself: the fourth finishes it.
    place.refusals.store(3, Ordering::SeqCst);
    open.shred_subject(&owner, &acme, "7").await;
    assert_eq!(place.refusals.load(Ordering::SeqCst), 0, "the epoch was not cut short");
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "k")).await));
    assert!(is_shredded(&open.put(&owner, &acme, ("c", "k"), Some("7"), b"again").await));
    let put = PutRecord { new_relationship: true, ..put_of(Some("7"), b"again") };
    open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
    assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"again");
    open.close().await;
}

/// A second order for a person waits while the person returns: what is stored then is none of its business, whether the shred log
/// is applied again by a start or by older data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_waited_takes_nothing_from_a_person_who_has_returned() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open_meddled().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "all", ShredUnit::Collection).await;
    open.put(&owner, &acme, ("all", "before"), Some("7"), b"v").await.unwrap();
    open.shred_subject(&owner, &acme, "7").await;
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let waits = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
    let put = PutRecord { new_relationship: true, ..put_of(Some("7"), b"returned") };
    open.vault.put_record(&owner, &acme, &coll("all"), key("since"), put).await.unwrap();
    // The next try is given its version after that.
    refused.next().await;
    place.meddler.refuse_nothing();
    assert!(open.awaited(&owner, &acme, waits.id).await.done);
    open.close().await;
    open = place.open().await;
    assert_eq!(open.get(&owner, &acme, ("all", "since")).await.unwrap(), b"returned");
    assert!(matches!(open.get(&owner, &acme, ("all", "before")).await, Err(VaultError::NotFound(_))));
    open.vault.reclaim(100).await.unwrap();
    assert_eq!(open.get(&owner, &acme, ("all", "since")).await.unwrap(), b"returned");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Two orders for a person with more records than one pass deletes: the second has nothing of its own to delete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_not_certified_before_the_one_that_it_comes_after_has_deleted() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open_meddled().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "all", ShredUnit::Collection).await;
    open.vault.batch(&owner, &acme, (0..300).map(|number| put_op("all", number, &["7"])).collect(), None).await.unwrap();
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let first = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
    let second = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
    refused.next().await;
    // The first is erased, and set aside before it has deleted anything.
    let stumbles = |commit: &Commit| sets(commit, Table::ShredDeleted, |_, _| true);
    place.meddler.refuse(move |commit| stumbles(commit).then_some(StoreError::Invalid("planted")));
    // Passes over what waits: each ends with others' orders.
    let pass = async |name: String| drop(open.shred_subject(&owner, &acme, &name).await);
    while open.vault.shred(&owner, &acme, second.id, None).await.unwrap().epochs.is_empty() {
        pass("someone".into()).await;
    }
    for round in 0..30 {
        pass(format!("other-{round}")).await;
        assert!(!open.vault.shred(&owner, &acme, second.id, None).await.unwrap().done, "certified over records that are there");
    }
    place.meddler.refuse_nothing();
    for id in [second.id, first.id] {
        assert!(open.awaited(&owner, &acme, id).await.done);
    }
    for number in [0, 299] {
        assert!(matches!(open.get(&owner, &acme, ("all", &number.to_string())).await, Err(VaultError::NotFound(_))), "{number}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// The first order is at fault by itself; the second names its person and another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_comes_after_one_at_fault_destroys_the_other_keys_that_it_covers() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open_meddled().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let mut units = Vec::new();
    for name in ["7", "8"] {
        let before = rows::table(&open.store, Table::Unit).await;
        open.put(&owner, &acme, ("c", name), Some(name), b"v").await.unwrap();
        units.extend(rows::table(&open.store, Table::Unit).await.into_iter().filter(|row| !before.contains(row)));
    }
    let [of_7, of_8] = &units[..] else { panic!("{}", units.len()) };
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let first = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
    let second = open.vault.order_shred(&owner, &acme, persons(&["7", "8"]), None, None).await.unwrap();
    let mut bent = of_7.value.to_vec();
    bent[1] ^= 1;
    rows::set(&open.store, Space::Control, &of_7.key, Some(bent.into())).await;
    // Two more: a pass that began before is over, and the first order is set aside.
    open.vault.order_shred(&owner, &acme, person("nobody"), None, None).await.unwrap();
    refused.next().await;
    refused.next().await;
    place.meddler.refuse_nothing();
    // version u8 | slot | generation: below 128 a byte each.
    let (slot, generation) = (Slot::new(of_8.value[1].into()).unwrap(), u32::from(of_8.value[2]));
    // Tried again every second.
    let goes = async {
        let mut others = 0;
        while open.forest.load_unit(TenantNo(1), slot).await.unwrap().generation.0 == generation {
            others += 1;
            open.shred_subject(&owner, &acme, &format!("other-{others}")).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), goes).await.expect("the other's key is still there");
    let view = open.vault.shred(&owner, &acme, second.id, None).await.unwrap();
    assert!(!view.done, "certified while a person whom it names has a key");
    // Over a restart too.
    open.close().await;
    open = place.open_meddled().await;
    assert_eq!(open.vault.shred(&owner, &acme, second.id, None).await.unwrap().epochs, view.epochs, "an epoch for nothing");
    rows::set(&open.store, Space::Control, &of_7.key, Some(of_7.value.clone())).await;
    for id in [first.id, second.id] {
        assert!(open.awaited(&owner, &acme, id).await.done);
    }
    let [first, second] = [certificate(&open, first.id).await, certificate(&open, second.id).await];
    assert_eq!([&first, &second].map(|certificate| certificate["totals"]["units"].as_u64()), [Some(1), Some(1)]);
    assert!(second["effective_at"].as_str() >= first["effective_at"].as_str(), "{first} {second}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A collection or tenant is ordered to be shredded while a person's records in it are being deleted, and its keys cannot go yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_not_certified_over_records_in_what_is_only_about_to_go() {
    for by_tenant in [false, true] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open_meddled().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let policy = CollectionPolicy { secondary_subjects: SecondarySubjects::Delete, ..CollectionPolicy::default() };
        open.vault.put_collection(&owner, &acme, &coll("c"), policy, None).await.unwrap();
        open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put_about(&["8", "7"], b"v")).await.unwrap();
        let second = rows::table(&open.store, Table::SecondaryRecord).await;
        let token = second[0].key[9..25].try_into().unwrap();
        let look = place.meddler.hold(Space::Index, schema::secondary_records(TenantNo(1), &token).from);
        let of_7 = open.vault.order_shred(&owner, &acme, person("7"), None, None).await.unwrap();
        while open.vault.shred(&owner, &acme, of_7.id, None).await.unwrap().epochs.is_empty() {
            tokio::task::yield_now().await;
        }
        let refused = place.meddler.refuse_epochs(StoreError::Invalid("planted"));
        let confirm = acme.as_str().to_owned();
        let order = if by_tenant { ShredOrder::Tenant { confirm } } else { ShredOrder::Collection(coll("c")) };
        let other = open.vault.order_shred(&owner, &acme, order, None, None).await.unwrap();
        look.add_permits(1_000);
        // Each time the other order is tried, the person's was before: where it was held up, and once more from its beginning.
        for pass in 0..3 {
            refused.next().await;
            let view = open.vault.shred(&owner, &acme, of_7.id, None).await.unwrap();
            assert!(!view.done, "by tenant: {by_tenant}, pass {pass}: certified over a record whose keys are there");
        }
        place.meddler.refuse_nothing();
        for id in [other.id, of_7.id] {
            assert!(open.awaited(&owner, &acme, id).await.done, "by tenant: {by_tenant}");
        }
        open.close().await;
    }
}

/// What deletes a record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Delete,
    Batch,
    /// The order of a person whom it names second.
    Person,
}

/// The unit that a large value is sealed under as it comes in is to be shredded with the record that was deleted meanwhile, and
/// that is not ordered yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_value_over_a_deletion_is_refused_and_not_lost() {
    for (is_there, by) in [(true, By::Delete), (false, By::Delete), (true, By::Batch), (true, By::Person)] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let policy = CollectionPolicy {
            shred_unit: ShredUnit::Record,
            secondary_subjects: SecondarySubjects::Delete,
            ..CollectionPolicy::default()
        };
        open.vault.put_collection(&owner, &acme, &coll("c"), policy, None).await.unwrap();
        let small = async || {
            open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put_about(&["8", "7"], b"small")).await.unwrap();
        };
        if is_there {
            small().await;
        }
        let large = vec![1_u8; 200_000];
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go, may_go) = tokio::sync::oneshot::channel::<()>();
        let (first, rest) = (Bytes::copy_from_slice(&large[..100_000]), Bytes::copy_from_slice(&large[100_000..]));
        let rest = stream::once(async move {
            begun.send(()).unwrap();
            may_go.await.unwrap();
            Ok(rest)
        });
        let body = stream::once(async move { Ok(first) }).chain(rest).boxed();
        let put = PutRecord { body, ..put_of(Some("8"), &large) };
        let put = async { open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await };
        let deleted = async {
            has_begun.await.unwrap();
            if !is_there {
                small().await;
            }
            // No unit of a record is ordered to be shredded.
            place.meddler.refuse(|commit| sets(commit, Table::UnitState, |_, _| true).then_some(StoreError::DiskFull));
            match by {
                By::Delete => open.delete(&owner, &acme, ("c", "k")).await.unwrap(),
                By::Batch => {
                    let delete = BatchOp::Delete { collection: coll("c"), key: key("k"), precondition: Precondition::None };
                    open.vault.batch(&owner, &acme, vec![delete], None).await.unwrap();
                }
                By::Person => drop(open.shred_subject(&owner, &acme, "7").await),
            }
            go.send(()).unwrap();
        };
        let (put, ()) = tokio::join!(put, deleted);
        assert!(matches!(put, Err(VaultError::Busy)), "{by:?}, there: {is_there}: {put:?}");
        // Again, as it was told; before the units are ordered to be shredded.
        open.put(&owner, &acme, ("c", "k"), Some("8"), &large).await.unwrap();
        place.meddler.refuse_nothing();
        for round in 0.. {
            open.shred_subject(&owner, &acme, &format!("other-{round}")).await;
            let deferred = rows::table(&open.store, Table::Reclaim).await;
            if deferred.is_empty() && rows::table(&open.store, Table::PendingShred).await.is_empty() {
                break;
            }
            assert!(round < 300, "{by:?}: the units of the deleted record are not shredded");
        }
        assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), large, "{by:?}, there: {is_there}");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}
