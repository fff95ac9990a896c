//! What is erased stays erased: whatever names a person who was shredded is refused, on every path and whatever the data's date, until a
//! caller says that a new relationship begins. That is said once, on the record, and holds until the person is shredded again.

use std::{fmt::Debug, sync::Arc, time::Duration};

use lethe::{
    domain::{ShredId, ShredUnit, TenantName},
    vault::{
        ops::{BatchOp, Caller, Missing, PutRecord, ShredOrder, VaultError, VaultOptions},
        store::{Commit, Space, StoreError, schema::Table},
    },
};
use tokio_util::task::TaskTracker;

use crate::{
    harness::{Open, Place, coll, findings, is_shredded, key, persons, put_about, put_of, put_op},
    meddling::{puts_a_record, sets},
};

pub(crate) const COLLECTIONS: [(&str, ShredUnit); 3] =
    [("people", ShredUnit::Subject), ("files", ShredUnit::Record), ("all", ShredUnit::Collection)];

/// A tenant with a collection of each unit, and a record about person 7 and one about person 8 in each.
pub(crate) struct Acme {
    pub(crate) name: TenantName,
    pub(crate) owner: Caller,
}

impl Acme {
    pub(crate) async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, _) = open.tenant(place, "acme").await;
        for (collection, unit) in COLLECTIONS {
            open.collection(&owner, &name, collection, unit).await;
            for person in ["7", "8"] {
                open.put(&owner, &name, (collection, person), Some(person), person.as_bytes()).await.unwrap();
            }
        }
        Self { name, owner }
    }

    pub(crate) async fn put(&self, open: &Open, at: (&str, &str), subjects: &[&str], value: &[u8], anew: bool) -> Result<(), VaultError> {
        let put = PutRecord { new_relationship: anew, ..put_about(subjects, value) };
        open.vault.put_record(&self.owner, &self.name, &coll(at.0), key(at.1), put).await.map(drop)
    }

    pub(crate) async fn get(&self, open: &Open, at: (&str, &str)) -> Result<Vec<u8>, VaultError> {
        open.get(&self.owner, &self.name, at).await
    }

    pub(crate) async fn shred(&self, open: &Open, person: &str) -> ShredId {
        open.shred_subject(&self.owner, &self.name, person).await.id
    }

    /// How many new relationships the trail tells of.
    pub(crate) async fn returns(&self, open: &Open) -> usize {
        open.trail(&self.owner, &self.name, "subject.return").await.len()
    }
}

/// An operation of a batch that says so.
fn anew(op: BatchOp) -> BatchOp {
    let BatchOp::Put { collection, key, value, content_type, subjects, expires_at, custom, precondition, .. } = op else { panic!() };
    BatchOp::Put { collection, key, value, content_type, subjects, expires_at, custom, precondition, new_relationship: true }
}

#[track_caller]
pub(crate) fn is_refused<T: Debug>(result: Result<T, VaultError>, by: ShredId, named: &str) {
    let error = match result {
        Err(VaultError::Batch { source, .. }) => Err(*source),
        other => other,
    };
    assert!(
        matches!(&error, Err(VaultError::SubjectErased { certificate: Some(order), done: true }) if *order == by),
        "{named}: {error:?}"
    );
}

/// Who has ordered closes what the order names, and may be late with it: the order is done by then, and the person known anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_done_closes_nothing_of_who_is_known_anew() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = Arc::new(place.open_meddled().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    let tasks = TaskTracker::new();
    let order = |person: &'static str| {
        let (open, acme) = (open.clone(), acme.clone());
        tasks.spawn(async move {
            let order = persons(&[person]);
            open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await
        })
    };
    // The shredder is at another order until this one has come to its fence.
    let at_work = place.meddler.hold_commit(|commit| sets(commit, Table::Certificate, |_, _| true));
    let other = order("8");
    at_work.has_read().await;
    let intent = place.meddler.hold_commit(|commit| sets(commit, Table::PendingShred, |_, _| true));
    let ordering = order("7");
    intent.has_read().await;
    let late = place.meddler.hold_scan(|space, from| space == Space::Control && from[0] == Table::Unit as u8);
    intent.let_go();
    late.has_read().await;
    at_work.let_go();
    let returns = async {
        while let Err(error) = acme.put(&open, ("people", "new"), &["7"], b"anew", true).await {
            assert!(matches!(error, VaultError::SubjectErased { done: false, .. }), "{error:?}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), returns).await.unwrap();
    late.let_go();
    for ordered in [other, ordering] {
        ordered.await.unwrap().unwrap();
    }
    assert_eq!(acme.get(&open, ("people", "new")).await.unwrap(), b"anew");
    acme.put(&open, ("people", "more"), &["7"], b"v", false).await.unwrap();
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

fn sets_a_person(commit: &Commit) -> bool {
    sets(commit, Table::SubjectState, |_, _| true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_writes_about_an_erased_person_until_a_new_relationship_is_said() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let large = vec![1_u8; 100_000];
    // Where nobody was erased there is nothing to say, and it harms nobody.
    for person in ["8", "9"] {
        acme.put(&open, ("people", "harmless"), &[person], b"v", true).await.unwrap();
    }
    assert_eq!(acme.returns(&open).await, 0);
    for round in 1..=2 {
        let order = acme.shred(&open, "7").await;
        if round == 2 {
            open.close().await;
            open = place.open().await;
        }
        for (collection, _) in COLLECTIONS {
            for subjects in [&["7"][..], &["8", "7"], &["7", "8"], &["8", "9", "7"]] {
                let named = format!("{collection}, {subjects:?}");
                // A key that is free, one of theirs, and somebody else's.
                for at in ["new", "7", "8"] {
                    for value in [&b"v"[..], &large] {
                        is_refused(acme.put(&open, (collection, at), subjects, value, false).await, order, &named);
                    }
                }
                let ops = vec![put_op(collection, 1, &["8"]), put_op(collection, 2, subjects)];
                is_refused(open.vault.batch(&acme.owner, &acme.name, ops, None).await, order, &named);
                for at in ["new", "1", "2"] {
                    assert!(matches!(acme.get(&open, (collection, at)).await, Err(VaultError::NotFound(Missing::Record))), "{named}");
                }
            }
            assert_eq!(acme.get(&open, (collection, "8")).await.unwrap(), b"8");
        }
        assert_eq!(acme.returns(&open).await, round - 1, "nobody has returned by being refused");

        // Named second, first, or in a batch, small or large: once is enough, for all collections.
        if round == 1 {
            acme.put(&open, ("all", "second"), &["8", "7"], &large, true).await.unwrap();
        } else {
            let ops = vec![anew(put_op("files", 1, &["7"])), put_op("people", 1, &["7", "8"])];
            open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
        }
        assert_eq!(acme.returns(&open).await, round);
        for (collection, _) in COLLECTIONS {
            assert!(acme.get(&open, (collection, "7")).await.is_err(), "{collection}: what was erased is not there again");
            for (at, says_so) in [("new", false), ("newer", true)] {
                acme.put(&open, (collection, at), &["7"], b"anew", says_so).await.unwrap();
                assert_eq!(acme.get(&open, (collection, at)).await.unwrap(), b"anew");
            }
        }
        assert_eq!(acme.returns(&open).await, round, "one relationship");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        for (collection, _) in COLLECTIONS {
            for at in ["new", "newer", "1", "second"] {
                match open.delete(&acme.owner, &acme.name, (collection, at)).await {
                    Ok(()) | Err(VaultError::NotFound(Missing::Record)) => {}
                    Err(error) => panic!("{collection}/{at}: {error:?}"),
                }
            }
        }
    }
    open.close().await;
}

/// Until what an order deletes is gone the person is on the way out, and nobody begins anew with half of the old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_new_relationship_begins_before_the_order_is_done() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    place.meddler.refuse(|commit| sets(commit, Table::ShredDeleted, |_, _| true).then_some(StoreError::Invalid("planted")));
    let order = persons(&["7"]);
    let given = open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap();
    for (collection, _) in COLLECTIONS {
        for anew in [false, true] {
            let put = acme.put(&open, (collection, "new"), &["8", "7"], b"v", anew).await;
            assert!(
                matches!(put, Err(VaultError::SubjectErased { certificate: Some(by), done: false }) if by == given.id),
                "{collection}: {put:?}"
            );
        }
    }
    place.meddler.refuse_nothing();
    assert!(open.vault.shred(&acme.owner, &acme.name, given.id, Some(Duration::from_mins(1))).await.unwrap().done);
    assert_eq!(acme.returns(&open).await, 0);
    acme.put(&open, ("people", "new"), &["8", "7"], b"v", true).await.unwrap();
    assert_eq!(acme.returns(&open).await, 1);
    open.close().await;
}

/// Two say it at once: one of them begins it, the other finds it begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_writes_begin_one_new_relationship() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    let tasks = TaskTracker::new();
    for (round, (collection, _)) in (1..).zip(COLLECTIONS) {
        acme.shred(&open, "7").await;
        let held = place.meddler.hold_commit(sets_a_person);
        let first = {
            let (open, acme) = (open.clone(), acme.clone());
            tasks.spawn(async move { acme.put(&open, (collection, "first"), &["7"], b"first", true).await })
        };
        held.has_read().await;
        acme.put(&open, (collection, "second"), &["7"], b"second", true).await.unwrap();
        held.let_go();
        first.await.unwrap().unwrap();
        assert_eq!(acme.returns(&open).await, round);
        for at in ["first", "second"] {
            assert_eq!(acme.get(&open, (collection, at)).await.unwrap(), at.as_bytes());
        }
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// A write is planned, the person is shredded, the write is committed: it came before and is gone, or it came after and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_planned_before_a_shred_is_planned_again() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    let tasks = TaskTracker::new();
    let mut returned = 0;
    for (collection, _) in COLLECTIONS {
        for says_so in [false, true] {
            let held = place.meddler.hold_commit(puts_a_record);
            let write = {
                let (open, acme) = (open.clone(), acme.clone());
                tasks.spawn(async move { acme.put(&open, (collection, "late"), &["7"], b"late", says_so).await })
            };
            held.has_read().await;
            let order = acme.shred(&open, "7").await;
            held.let_go();
            let written = write.await.unwrap();
            if says_so {
                written.unwrap();
                returned += 1;
                assert_eq!(acme.get(&open, (collection, "late")).await.unwrap(), b"late", "{collection}");
            } else {
                is_refused(written, order, collection);
                assert!(acme.get(&open, (collection, "late")).await.is_err(), "{collection}");
                // For the next one.
                acme.put(&open, (collection, "alive"), &["7"], b"v", true).await.unwrap();
                returned += 1;
            }
            assert_eq!(acme.returns(&open).await, returned);
        }
    }
    // One who is about to begin anew while another does, and the person is shredded again.
    acme.shred(&open, "7").await;
    let held = place.meddler.hold_commit(sets_a_person);
    let write = {
        let (open, acme) = (open.clone(), acme.clone());
        tasks.spawn(async move { acme.put(&open, ("people", "slow"), &["7"], b"slow", true).await })
    };
    held.has_read().await;
    acme.put(&open, ("people", "quick"), &["7"], b"quick", true).await.unwrap();
    acme.shred(&open, "7").await;
    held.let_go();
    write.await.unwrap().unwrap();
    assert_eq!(acme.returns(&open).await, returned + 2);
    assert_eq!(acme.get(&open, ("people", "slow")).await.unwrap(), b"slow");
    assert!(is_shredded(&acme.get(&open, ("people", "quick")).await));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// At moments that nobody chooses: whatever is there afterwards, the person is alive if it can be read, and erased if not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_relationship_against_a_shred_ends_in_exactly_one_of_two_ways() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    let tasks = TaskTracker::new();
    let mut alive = 0;
    for round in 0..30_usize {
        let (collection, _) = COLLECTIONS[round % 3];
        let name = format!("r{round}");
        let writing = {
            let (open, acme, name) = (open.clone(), acme.clone(), name.clone());
            tasks.spawn(async move { acme.put(&open, (collection, &name), &["7"], b"v", true).await })
        };
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        acme.shred(&open, "7").await;
        let written = writing.await.unwrap();
        let got = acme.get(&open, (collection, &name)).await;
        let next = acme.put(&open, ("people", "next"), &["7"], b"v", false).await;
        match (&written, &got) {
            (Ok(()), Ok(value)) => {
                assert_eq!(value, b"v");
                assert!(next.is_ok(), "round {round}: {next:?}");
                alive += 1;
            }
            (Ok(()), Err(VaultError::Shredded { .. } | VaultError::NotFound(Missing::Record)))
            | (Err(VaultError::SubjectErased { .. } | VaultError::Shredded { .. }), Err(_)) => {
                assert!(matches!(next, Err(VaultError::SubjectErased { done: true, .. })), "round {round}: {next:?}");
            }
            _ => panic!("round {round}: {written:?}, {got:?}"),
        }
        acme.put(&open, ("people", "again"), &["7"], b"v", true).await.unwrap();
    }
    println!("new relationships against shreds: {alive} of 30 came after");
    Arc::into_inner(open).unwrap().close().await;
}

/// A process that dies between the row that says so and the record, or before both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_relationship_that_is_cut_short_has_begun_on_the_record_or_not_at_all() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let mut begun = 0;
    for (collection, _) in COLLECTIONS {
        for dies_at in [sets_a_person as fn(&Commit) -> bool, puts_a_record] {
            let order = acme.shred(&open, "7").await;
            place.meddler.refuse(move |commit| dies_at(commit).then(|| StoreError::Io("the process is dead".into())));
            let put = acme.put(&open, (collection, "new"), &["7"], b"v", true).await;
            assert!(matches!(put, Err(VaultError::Unavailable(_))), "{collection}: {put:?}");
            place.meddler.refuse_nothing();
            open.close().await;
            open = place.open().await;
            let has_begun = acme.returns(&open).await > begun;
            begun += usize::from(has_begun);
            assert_eq!(acme.returns(&open).await, begun);
            assert!(acme.get(&open, (collection, "new")).await.is_err());
            let plain = acme.put(&open, (collection, "new"), &["7"], b"v", false).await;
            if has_begun {
                plain.unwrap();
            } else {
                is_refused(plain, order, collection);
            }
            assert_eq!(findings(&open).await, Vec::<String>::new());
        }
    }
    assert_eq!(begun, 3, "of each pair of deaths one comes behind the row");
    open.close().await;
}

/// The answer to a first write is lost, and it is sent again: whatever became of the person since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_write_that_is_repeated_begins_nothing_again() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.shred(&open, "7").await;
    let send = async || {
        let put = PutRecord { new_relationship: true, idempotency_key: Some("once".into()), ..put_of(Some("7"), b"v") };
        open.vault.put_record(&acme.owner, &acme.name, &coll("people"), key("new"), put).await.unwrap()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!((first, acme.returns(&open).await), (second, 1));
    let order = acme.shred(&open, "7").await;
    assert_eq!((first, acme.returns(&open).await), (send().await, 1), "an answer, and nothing done");
    assert!(is_shredded(&acme.get(&open, ("people", "new")).await));
    is_refused(acme.put(&open, ("people", "newer"), &["7"], b"v", false).await, order, "the person is as gone as before");
    open.close().await;
}

/// Data of before the shred, of between, and of another date again: today's control says who is erased.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_any_date_brings_back_neither_an_erased_person_nor_a_stale_tombstone() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    open.close().await;
    place.copy("store/data", "before");
    open = place.open().await;
    let order = acme.shred(&open, "7").await;
    open.close().await;
    place.copy("store/data", "erased");
    for data in ["before", "erased"] {
        place.put_back(data, "store/data");
        open = place.open().await;
        for (collection, _) in COLLECTIONS {
            assert!(acme.get(&open, (collection, "7")).await.is_err(), "{data}: {collection}");
            // A feed that still has the person.
            for subjects in [&["7"][..], &["8", "7"]] {
                is_refused(acme.put(&open, (collection, "7"), subjects, b"stale", false).await, order, data);
            }
            assert_eq!(acme.get(&open, (collection, "8")).await.unwrap(), b"8");
        }
        open.close().await;
    }
    open = place.open().await;
    acme.put(&open, ("people", "new"), &["7"], b"anew", true).await.unwrap();
    open.close().await;
    for data in ["before", "erased"] {
        place.put_back(data, "store/data");
        open = place.open().await;
        for (collection, _) in COLLECTIONS {
            assert!(acme.get(&open, (collection, "7")).await.is_err(), "{data}: {collection}");
            acme.put(&open, (collection, "newer"), &["7"], b"anew", false).await.unwrap();
        }
        assert_eq!(acme.returns(&open).await, 1);
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// A tombstone is a token under the tenant's own secret: another tenant's person of that id is somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_is_its_tenants_own() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let (other, stranger, _) = open.tenant(&place, "other").await;
    open.collection(&stranger, &other, "people", ShredUnit::Subject).await;
    acme.shred(&open, "7").await;
    open.put(&stranger, &other, ("people", "7"), Some("7"), b"another 7").await.unwrap();
    assert_eq!(open.get(&stranger, &other, ("people", "7")).await.unwrap(), b"another 7");
    open.shred(&acme.owner, &acme.name, ShredOrder::Tenant { confirm: "acme".into() }).await;
    let gone = acme.put(&open, ("people", "new"), &["7"], b"v", true).await;
    assert!(matches!(gone, Err(VaultError::Shredded { .. })), "the tenant is gone, and its tombstones with it: {gone:?}");
    open.close().await;
}
