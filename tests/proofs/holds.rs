//! Legal holds against everything that destroys, at once, over restarts and older data: what is held is there, what was stopped goes
//! when the hold ends. The rows of privacy.md that this proves are named at the tests.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lethe::{
    authn::Role,
    domain::{
        Clock as _, CollectionPolicy, HoldId, ShredId, ShredUnit, TenantName, TenantNo,
        hold::{HoldScope, NewHold},
        policy::SecondarySubjects,
    },
    vault::{
        ops::{BatchOp, Caller, Destroyed, HoldView, Precondition, PutRecord, ShredOrder, VaultError},
        store::{Space, StoreError, schema},
    },
};
use tokio::sync::Semaphore;

use crate::{
    harness::{Open, Place, WAIT, certificate, coll, findings, hold_of, is_shredded, key, persons, put_about, put_of, subject},
    meddling::{deletes_a_record, puts_a_record, sets},
    retention::{DAY, place, run},
    rows,
};

mod model;

/// A tenant with a collection of each unit; its owner, its counsel and their tokens.
struct Acme {
    name: TenantName,
    owner: Caller,
    counsel: Caller,
    tokens: [String; 2],
}

impl Acme {
    async fn make(open: &Open, place: &Place, name: &str) -> Self {
        let (name, owner, token) = open.tenant(place, name).await;
        for (collection, unit) in [("people", ShredUnit::Subject), ("all", ShredUnit::Collection), ("files", ShredUnit::Record)] {
            open.collection(&owner, &name, collection, unit).await;
        }
        let (counsel, _) = open.token(&owner, &name, Role::Counsel).await;
        Self { owner, counsel: open.caller(&counsel).await, name, tokens: [token, counsel] }
    }

    /// The same after a start.
    async fn again(&mut self, open: &Open) {
        self.owner = open.caller(&self.tokens[0]).await;
        self.counsel = open.caller(&self.tokens[1]).await;
    }

    async fn place(&self, open: &Open, scope: HoldScope) -> HoldView {
        open.vault.place_hold(&self.counsel, &self.name, hold_of(scope), None).await.unwrap()
    }

    async fn release(&self, open: &Open, id: HoldId) {
        open.vault.release_hold(&self.counsel, &self.name, id, "settled".into(), None).await.unwrap();
    }

    async fn put(&self, open: &Open, at: (&str, &str), subjects: &[&str]) -> Result<(), VaultError> {
        open.vault.put_record(&self.owner, &self.name, &coll(at.0), key(at.1), put_about(subjects, b"v")).await.map(drop)
    }

    async fn delete(&self, open: &Open, at: (&str, &str)) -> Result<(), VaultError> {
        open.delete(&self.owner, &self.name, at).await
    }

    async fn get(&self, open: &Open, at: (&str, &str)) -> Result<Vec<u8>, VaultError> {
        open.get(&self.owner, &self.name, at).await
    }

    async fn shred(&self, open: &Open, order: ShredOrder, wait: Option<Duration>) -> Result<ShredId, VaultError> {
        open.vault.order_shred(&self.owner, &self.name, order, wait, None).await.map(|view| view.id)
    }

    /// How an order is, at the latest when it is done: `done`, `held` or `pending`.
    async fn state(&self, open: &Open, id: ShredId) -> &'static str {
        let view = open.awaited(&self.owner, &self.name, id).await;
        match (view.done, view.held) {
            (true, _) => "done",
            (false, true) => "held",
            (false, false) => "pending",
        }
    }
}

fn stopped(result: &Result<impl std::fmt::Debug, VaultError>) -> Option<ShredId> {
    if let Err(VaultError::LegalHold { order, .. }) = result { *order } else { None }
}

/// A copy of the control store that takes its time is waited for while nobody is kept from placing a hold; one that comes meanwhile takes
/// the order back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_placed_while_an_epoch_waits_for_a_copy_of_the_control_store() {
    let (place, _) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place, "acme").await;
    acme.put(&open, ("people", "k"), &["7"]).await.unwrap();
    let held = place.meddler.hold_copies();
    let order = acme.shred(&open, persons(&["7"]), None).await.unwrap();
    held.has_read().await;
    acme.place(&open, HoldScope::Subjects(vec![subject("7")])).await;
    held.let_go();
    assert_eq!(acme.state(&open, order).await, "held");
    assert_eq!(acme.get(&open, ("people", "k")).await.unwrap(), b"v");
    open.close().await;
}

/// HOLD-2, in a race: an order or a deletion and a hold at the same moment end in one of two ways, and the hold's own answer tells
/// which: it counts the record, or it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_against_a_destruction_at_the_same_moment_ends_in_exactly_one_of_two_ways() {
    let (place, _) = place().await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place, "acme").await);
    let mut seen: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for round in 0..96_usize {
        let path = ["shred", "delete", "overwrite", "collection"][round % 4];
        let person = format!("p{round}");
        let collection = if path == "collection" { format!("c{round}") } else { ["people", "all", "files"][round % 3].to_owned() };
        if path == "collection" {
            open.collection(&acme.owner, &acme.name, &collection, ShredUnit::Subject).await;
        }
        acme.put(&open, (&collection, &person), &[&person]).await.unwrap();
        let scope = match round % 5 {
            0 => HoldScope::Subjects(vec![subject(&person)]),
            1 => HoldScope::Records(vec![(coll(&collection), key(&person))]),
            2 => HoldScope::Prefix(coll(&collection), key(&person)),
            _ => HoldScope::Subjects(vec![subject("somebody"), subject(&person)]),
        };
        // Who begins changes with the rounds, and by how much.
        let (ahead, behind) = ((round / 4) % 12 * 40, (round / 48) * 400);
        let destroying = {
            let (open, acme, collection, person) = (open.clone(), acme.clone(), collection.clone(), person.clone());
            async move {
                for _ in 0..ahead {
                    tokio::task::yield_now().await;
                }
                match path {
                    "delete" => acme.delete(&open, (&collection, &person)).await,
                    "overwrite" => open.put(&acme.owner, &acme.name, (&collection, &person), Some(&person), b"new").await.map(drop),
                    "collection" => acme.shred(&open, ShredOrder::Collection(coll(&collection)), WAIT).await.map(drop),
                    _ => acme.shred(&open, persons(&[&person]), WAIT).await.map(drop),
                }
            }
        };
        let placing = {
            let (open, acme) = (open.clone(), acme.clone());
            async move {
                for _ in 0..behind {
                    tokio::task::yield_now().await;
                }
                open.vault.place_hold(&acme.counsel, &acme.name, hold_of(scope), None).await
            }
        };
        let (destroyed, placed) = match (round / 4) % 8 {
            0 => {
                let destroyed = destroying.await;
                (destroyed, placing.await)
            }
            1 => {
                let placed = placing.await;
                (destroying.await, placed)
            }
            _ => {
                let tasks = tokio_util::task::TaskTracker::new();
                let (destroyed, placed) = (tasks.spawn(destroying), tasks.spawn(placing));
                (destroyed.await.unwrap(), placed.await.unwrap())
            }
        };
        let got = acme.get(&open, (&collection, &person)).await;
        let named = format!("round {round}, {path}: {destroyed:?}, {placed:?}, {got:?}");
        let went = match &destroyed {
            Ok(()) => true,
            Err(VaultError::LegalHold { .. }) => false,
            Err(error) => panic!("{error:?}: {named}"),
        };
        match &placed {
            Ok(placed) => {
                let covers = placed.covers.unwrap().0;
                let kept = if path == "overwrite" { 1 } else { u64::from(!went) };
                let is_late = !placed.too_late.is_empty();
                // What an order has still to delete is counted, and the order is named.
                assert!((covers == kept || is_late) && (!is_late || went), "{named}");
                acme.release(&open, placed.id).await;
            }
            // The collection was on its way.
            Err(VaultError::Shredded { .. }) => assert!(went && (path == "collection"), "{named}"),
            Err(error) => panic!("{error:?}: {named}"),
        }
        match (path, went) {
            ("overwrite", true) => assert_eq!(got.unwrap(), b"new", "{named}"),
            (_, true) => assert!(got.is_err(), "{named}"),
            (_, false) => assert_eq!(got.unwrap(), b"v", "{named}"),
        }
        *seen.entry((path, went)).or_default() += 1;
    }
    println!("holds: (path, destroyed) {seen:?}");
    for path in ["shred", "delete", "overwrite", "collection"] {
        assert!(seen.contains_key(&(path, true)) && seen.contains_key(&(path, false)), "both must happen: {seen:?}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// HOLD-2, in a race whose order is known: who has looked for holds, and found none, before one is placed, destroys nothing behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_planned_before_a_hold_is_planned_again() {
    let (place, clock) = place().await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place, "acme").await);
    let state = schema::hold_state(TenantNo(1));
    for path in ["delete", "overwrite", "batch", "end", "person", "record", "collection", "tenant"] {
        let put = PutRecord { expires_at: (path == "end").then(|| clock.now().plus(DAY)), ..put_of(Some(path), b"v") };
        open.vault.put_record(&acme.owner, &acme.name, &coll("files"), key(path), put).await.unwrap();
        if path == "end" {
            clock.advance(DAY);
        }
        let reader = place.meddler.hold_reader(Space::Control, state.clone());
        let destroying = {
            let (open, acme, clock) = (open.clone(), acme.clone(), clock.clone());
            async move {
                let at = ("files", path);
                match path {
                    "delete" => acme.delete(&open, at).await,
                    "overwrite" => open.put(&acme.owner, &acme.name, at, Some(path), b"new").await.map(drop),
                    "batch" => {
                        let delete = BatchOp::Delete { collection: coll("files"), key: key(path), precondition: Precondition::None };
                        match open.vault.batch(&acme.owner, &acme.name, vec![delete], None).await {
                            Err(VaultError::Batch { source, .. }) => Err(*source),
                            other => other.map(drop),
                        }
                    }
                    "end" => {
                        let done = run(&open, &clock).await;
                        assert_eq!((done.destroyed, done.held), (0, 1), "{done:?}");
                        acme.delete(&open, at).await
                    }
                    "person" => acme.shred(&open, persons(&[path]), None).await.map(drop),
                    "record" => acme.shred(&open, ShredOrder::Record { collection: coll("files"), key: key(path) }, None).await.map(drop),
                    "collection" => acme.shred(&open, ShredOrder::Collection(coll("files")), None).await.map(drop),
                    _ => acme.shred(&open, ShredOrder::Tenant { confirm: "acme".into() }, None).await.map(drop),
                }
            }
        };
        let tasks = tokio_util::task::TaskTracker::new();
        let destroying = tasks.spawn(destroying);
        reader.has_read().await;
        let placed = acme.place(&open, HoldScope::Records(vec![(coll("files"), key(path))])).await;
        assert_eq!(placed.covers, Some((1, false)), "{path}");
        reader.let_go();
        let destroyed = destroying.await.unwrap();
        assert!(matches!(destroyed, Err(VaultError::LegalHold { .. })), "{path}: {destroyed:?}");
        if path != "end" {
            assert_eq!(acme.get(&open, ("files", path)).await.unwrap(), b"v", "{path}");
        }
        // What was stopped would go with the release.
        if !["person", "record", "collection", "tenant"].contains(&path) {
            acme.release(&open, placed.id).await;
        }
    }
    Arc::into_inner(open).unwrap().close().await;
}

/// HOLD-2, at the execution: an order that waits for its epoch is taken back by a hold that comes before its keys go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_waits_is_taken_back_and_given_again() {
    let (place, _) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place, "acme").await;
    for person in ["7", "8", "9"] {
        for collection in ["people", "all", "files"] {
            acme.put(&open, (collection, person), &[person]).await.unwrap();
        }
    }
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let seven = acme.shred(&open, persons(&["7"]), None).await.unwrap();
    let file = acme.shred(&open, ShredOrder::Record { collection: coll("files"), key: key("8") }, None).await.unwrap();
    // One that comes after it, and one that has nothing to do with it.
    let both = acme.shred(&open, persons(&["7", "9"]), None).await.unwrap();
    refused.next().await;
    for at in [("people", "7"), ("files", "7"), ("files", "8"), ("people", "9")] {
        assert!(is_shredded(&acme.get(&open, at).await), "{at:?}: from the intent on");
    }
    let placed = acme.place(&open, HoldScope::Subjects(vec![subject("7"), subject("8")])).await;
    assert!(placed.too_late.is_empty(), "all of it is there");
    for id in [seven, file, both] {
        assert_eq!(acme.state(&open, id).await, "held");
    }
    let shown = open.vault.hold(&acme.counsel, &acme.name, placed.id).await.unwrap();
    assert_eq!((shown.covers, shown.scope.unwrap().subjects), (Some((6, false)), vec!["7".to_owned(), "8".to_owned()]));
    for collection in ["people", "all", "files"] {
        for person in ["7", "8", "9"] {
            assert_eq!(acme.get(&open, (collection, person)).await.unwrap(), b"v", "{collection}/{person} is there again");
        }
    }
    acme.put(&open, ("people", "7/new"), &["7"]).await.unwrap();
    place.meddler.refuse_nothing();
    assert!(stopped(&acme.shred(&open, persons(&["7"]), None).await).is_some());
    assert_eq!(
        acme.state(&open, acme.shred(&open, ShredOrder::Record { collection: coll("files"), key: key("9") }, None).await.unwrap()).await,
        "done"
    );
    assert_eq!(findings(&open).await, Vec::<String>::new());
    acme.release(&open, placed.id).await;
    for id in [seven, file, both] {
        assert_eq!(acme.state(&open, id).await, "done");
        open.vault.certificate(id).await.unwrap();
    }
    for at in [("people", "7"), ("people", "7/new"), ("files", "7"), ("files", "8"), ("people", "9")] {
        assert!(is_shredded(&acme.get(&open, at).await), "{at:?}");
    }
    assert_eq!(acme.get(&open, ("people", "8")).await.unwrap(), b"v");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// HOLD-2: what an order has closed is there again where a hold takes the order back. So nobody writes over it meanwhile, whether the
/// write comes behind the hold or was planned before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_has_closed_is_not_written_over_under_a_hold() {
    let (place, _) = place().await;
    let open = Arc::new(place.open_meddled().await);
    let acme = Arc::new(Acme::make(&open, &place, "acme").await);
    for (at, person) in [(("people", "k"), "7"), (("files", "k"), "9"), (("people", "other"), "8")] {
        acme.put(&open, at, &[person]).await.unwrap();
    }
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let seven = acme.shred(&open, persons(&["7"]), None).await.unwrap();
    let file = acme.shred(&open, ShredOrder::Record { collection: coll("files"), key: key("k") }, None).await.unwrap();
    refused.next().await;
    let taken_back = place.meddler.hold_commit(|commit| sets(commit, schema::Table::HeldOrder, |_, _| true));
    let placed = acme.place(&open, HoldScope::Tenant).await;
    taken_back.has_read().await;
    for at in [("people", "k"), ("files", "k")] {
        for (person, value) in [("8", &b"new"[..]), ("9", b"new"), ("8", &[1; 200_000])] {
            let put = open.put(&acme.owner, &acme.name, at, Some(person), value).await;
            assert!(is_shredded(&put), "{at:?} about {person}, {} bytes: {put:?}", value.len());
        }
        let put = BatchOp::Put {
            collection: coll(at.0),
            key: key(at.1),
            value: b"new".to_vec().into(),
            content_type: "text/plain".into(),
            subjects: vec![subject("8")],
            expires_at: None,
            custom: Vec::new(),
            precondition: Precondition::None,
            new_relationship: false,
        };
        let batch = open.vault.batch(&acme.owner, &acme.name, vec![put], None).await;
        let Err(VaultError::Batch { index: 0, source }) = batch else { panic!("{at:?}: {batch:?}") };
        assert!(is_shredded(&Err::<(), _>(*source)), "{at:?}");
    }
    taken_back.let_go();
    for id in [seven, file] {
        assert_eq!(acme.state(&open, id).await, "held");
    }
    for at in [("people", "k"), ("files", "k")] {
        assert_eq!(acme.get(&open, at).await.unwrap(), b"v", "{at:?} is there again");
    }

    // Closed again; and now somebody has looked for holds, and found none.
    acme.release(&open, placed.id).await;
    assert!(is_shredded(&acme.get(&open, ("people", "k")).await));
    let writing = place.meddler.hold_commit(puts_a_record);
    let put = {
        let (open, acme) = (open.clone(), acme.clone());
        async move { open.put(&acme.owner, &acme.name, ("people", "k"), Some("8"), b"new").await.map(drop) }
    };
    let put = tokio_util::task::TaskTracker::new().spawn(put);
    writing.has_read().await;
    acme.place(&open, HoldScope::Tenant).await;
    assert_eq!(acme.state(&open, seven).await, "held");
    writing.let_go();
    let put = put.await.unwrap();
    assert!(matches!(put, Err(VaultError::LegalHold { .. })), "{put:?}");
    assert_eq!(acme.get(&open, ("people", "k")).await.unwrap(), b"v");
    place.meddler.refuse_nothing();
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// An order of several epochs was weighed against what it deletes before the first: a policy that changes between two of them takes
/// nothing more along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_takes_along_is_settled_with_its_first_epoch() {
    let (place, _) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place, "acme").await;
    // One key more than fit an epoch.
    for from in (0..2_001).step_by(667) {
        let ops = (from..from + 667).map(|number| crate::harness::put_op("files", number, &["7"])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    acme.put(&open, ("people", "k"), &["8", "7"]).await.unwrap();
    acme.place(&open, HoldScope::Records(vec![(coll("people"), key("k"))])).await;
    let (second, epochs) = (Arc::new(Semaphore::new(0)), AtomicUsize::new(0));
    let refused = second.clone();
    place.meddler.refuse(move |commit| {
        let is_second = sets(commit, schema::Table::RootPtr, |_, _| true) && epochs.fetch_add(1, Ordering::SeqCst) > 0;
        is_second.then(|| {
            refused.add_permits(1);
            StoreError::DiskFull
        })
    });
    let order = acme.shred(&open, persons(&["7"]), None).await.unwrap();
    second.acquire().await.unwrap().forget();
    let policy = CollectionPolicy { secondary_subjects: SecondarySubjects::Delete, ..CollectionPolicy::default() };
    open.vault.put_collection(&acme.owner, &acme.name, &coll("people"), policy, None).await.unwrap();
    assert_eq!(acme.get(&open, ("people", "k")).await.unwrap(), b"v", "it is not about to go");
    place.meddler.refuse_nothing();
    assert_eq!(acme.state(&open, order).await, "done");
    assert_eq!(acme.get(&open, ("people", "k")).await.unwrap(), b"v");
    let totals = &certificate(&open, order).await["totals"];
    assert_eq!((&totals["units"], &totals["records_kept"], &totals["records_deleted"]), (&2_001.into(), &1.into(), &0.into()), "{totals}");
    open.close().await;
}

/// An order whose keys are gone is carried out to its end: the hold says that it came too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_comes_when_the_keys_are_gone_says_so_and_stops_nothing() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    for collection in ["people", "all"] {
        acme.put(&open, (collection, "7"), &["7"]).await.unwrap();
    }
    // Its deletions fail for now: between its epoch and its certificate.
    place.meddler.refuse(|commit| deletes_a_record(commit).then_some(StoreError::Busy));
    let epoch = open.forest.epoch();
    let order = acme.shred(&open, persons(&["7"]), None).await.unwrap();
    while open.forest.epoch() == epoch {
        tokio::task::yield_now().await;
    }
    let mut placed = acme.place(&open, HoldScope::Tenant).await;
    assert_eq!(placed.too_late, [order], "{placed:?}");
    place.meddler.refuse_nothing();
    assert_eq!(acme.state(&open, order).await, "done");
    assert!(is_shredded(&acme.get(&open, ("people", "7")).await) && acme.get(&open, ("all", "7")).await.is_err());
    placed = open.vault.hold(&acme.counsel, &acme.name, placed.id).await.unwrap();
    assert_eq!(placed.covers, Some((0, false)));
    open.close().await;
}

/// Older data that is put back is held by the holds of today, and what waited there under a hold that has ended is set going.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_bind_older_data_and_what_older_data_says_waits_is_looked_after() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place, "acme").await;
    let until = |days: u32| PutRecord { expires_at: Some(clock.now().plus(DAY * days)), ..put_of(Some("7"), b"v") };
    for (name, days) in [("a", 2), ("b", 30)] {
        open.vault.put_record(&acme.owner, &acme.name, &coll("people"), key(name), until(days)).await.unwrap();
    }
    let first = acme.place(&open, HoldScope::Subjects(vec![subject("7")])).await;
    clock.advance(DAY * 3);
    let done = run(&open, &clock).await;
    assert_eq!((done.held, done.destroyed), (1, 0), "{done:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
    // `a` waits under the first hold.
    place.copy("store/data", "older");
    let open = place.open().await;
    acme.again(&open).await;
    acme.release(&open, first.id).await;
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    let second = acme.place(&open, HoldScope::Collection(coll("people"))).await;
    open.close().await;
    place.put_back("older", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    assert!(matches!(acme.delete(&open, ("people", "b")).await, Err(VaultError::LegalHold { .. })));
    let done = run(&open, &clock).await;
    assert_eq!((done.held, done.destroyed), (1, 0), "`a` waits under the hold of today: {done:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    clock.advance(DAY * 40);
    assert_eq!(run(&open, &clock).await.held, 1);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    acme.release(&open, second.id).await;
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    assert_eq!(rows::count(&open.store, schema::Table::HeldDue).await, 0);
    open.close().await;
}

/// A pass over held records that are due does not read them again; the end of their hold costs each of them one move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_held_records_that_are_due_cost_a_run_nothing() {
    const MANY: u64 = 2_000;
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    for batch in 0..MANY / 500 {
        let op = |number: u64| {
            let mut op = crate::harness::put_op("people", usize::try_from(batch * 500 + number).unwrap(), &["7"]);
            if let lethe::vault::ops::BatchOp::Put { expires_at, .. } = &mut op {
                *expires_at = Some(clock.now().plus(DAY));
            }
            op
        };
        open.vault.batch(&acme.owner, &acme.name, (0..500).map(op).collect(), None).await.unwrap();
    }
    let placed = acme.place(&open, HoldScope::Tenant).await;
    clock.advance(DAY * 2);
    let (mut held, mut looked_at) = (0, 0);
    loop {
        let done = run(&open, &clock).await;
        assert_eq!(done.destroyed, 0, "{done:?}");
        (held, looked_at) = (held + done.held, looked_at + done.looked_at);
        if !done.more {
            break;
        }
    }
    assert_eq!((held, looked_at), (MANY, MANY));
    for _ in 0..3 {
        clock.advance(DAY);
        assert_eq!(run(&open, &clock).await, Destroyed::default());
    }
    acme.release(&open, placed.id).await;
    let mut destroyed = 0;
    loop {
        let done = run(&open, &clock).await;
        destroyed += done.destroyed;
        if !done.more {
            break;
        }
    }
    assert_eq!(destroyed, MANY);
    open.close().await;
}

/// Who destroys looks for the holds on what goes, and not at each thing that any hold is on; and whom an order for persons takes along is
/// found out once, whatever is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_holds_cost_a_deletion_a_few_looks() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    for number in 0..40 {
        acme.put(&open, ("people", &number.to_string()), &["9", "7"]).await.unwrap();
    }
    let mut costs = Vec::new();
    for held in [1, 400] {
        let others = (0..held).map(|number| subject(&format!("held-{number}"))).collect();
        acme.place(&open, HoldScope::Subjects(others)).await;
        acme.put(&open, ("files", "k"), &["8"]).await.unwrap();
        place.meddler.take_control_read();
        acme.delete(&open, ("files", "k")).await.unwrap();
        // Its key is destroyed, and that is certified.
        while rows::count(&open.store, schema::Table::PendingShred).await > 0 {
            tokio::task::yield_now().await;
        }
        costs.push(place.meddler.take_control_read());
    }
    assert!(costs[1] < costs[0] + 100, "rows of control read for a deletion, with 1 held person and with 401: {costs:?}");
    place.meddler.take_records_read();
    open.shred(&acme.owner, &acme.name, persons(&["7"])).await;
    let read = place.meddler.take_records_read();
    assert!(read < 400, "{read} reads of 40 records that name somebody second");
    open.close().await;
}

/// What a hold is on is counted as far as a bound, also where what is looked at is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_what_a_hold_is_on_ends_somewhere() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    for from in (0..6_000).step_by(1_000) {
        let ops = (from..from + 1_000).map(|number| crate::harness::put_op("people", number, &["7"])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    acme.put(&open, ("people", "last"), &["8"]).await.unwrap();
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    let placed = acme.place(&open, HoldScope::Tenant).await;
    let (count, is_more) = placed.covers.unwrap();
    assert!(count <= 1 && is_more, "{count} of them are there, and not all were looked at: {is_more}");
    open.close().await;
}

/// An order that a hold has stopped, and whose target goes with another when that ends, is withdrawn: who sends it again is told what became
/// of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_withdrawn_is_answered_by_what_is_gone() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    let mut withdrawn = 0;
    // Which of the two comes first, their numbers decide.
    for number in 0..16 {
        let collection = coll(&format!("c{number}"));
        open.collection(&acme.owner, &acme.name, collection.as_str(), ShredUnit::Record).await;
        acme.put(&open, (collection.as_str(), "k"), &["7"]).await.unwrap();
        let placed = acme.place(&open, HoldScope::Collection(collection.clone())).await;
        let order = ShredOrder::Record { collection: collection.clone(), key: key("k") };
        let once = Some(format!("once-{number}"));
        let send = async || open.vault.order_shred(&acme.owner, &acme.name, order.clone(), None, once.clone()).await;
        let id = stopped(&send().await).unwrap();
        assert!(stopped(&acme.shred(&open, ShredOrder::Collection(collection), None).await).is_some());
        acme.release(&open, placed.id).await;
        let again = send().await;
        match open.vault.shred(&acme.owner, &acme.name, id, None).await {
            Ok(_) => assert_eq!(again.unwrap().id, id),
            Err(VaultError::NotFound(_)) => {
                assert!(is_shredded(&again), "{again:?}");
                withdrawn += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(withdrawn > 0, "the record's order always came first");
    open.close().await;
}

/// The check of a store at rest finds a hold that does not keep what it says, and an order that nobody would give again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_of_a_hold_or_of_a_held_order_is_found() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    acme.put(&open, ("people", "7"), &["7"]).await.unwrap();
    let mut hold = NewHold { law_enforcement: true, ..hold_of(HoldScope::Subjects(vec![subject("7"), subject("8")])) };
    hold.text.case_number = Some("24-1".into());
    open.vault.place_hold(&acme.counsel, &acme.name, hold, None).await.unwrap();
    assert!(stopped(&acme.shred(&open, persons(&["7"]), None).await).is_some());
    assert_eq!(findings(&open).await, Vec::<String>::new());
    for (table, rows, said) in [
        (schema::Table::HoldOn, 2, "is not found from all that it is on"),
        (schema::Table::HoldState, 1, "1 holds stand, 0 are asked for"),
        (schema::Table::HoldLapse, 1, "nothing ends it in its time"),
        (schema::Table::HeldOrder, 1, "nothing will give it again"),
    ] {
        let there = rows::table(&open.store, table).await;
        assert_eq!(there.len(), rows, "{table:?}");
        for row in there {
            rows::set(&open.store, Space::Control, &row.key, None).await;
            let found = findings(&open).await;
            assert!(found.iter().any(|finding| finding.contains(said)), "{table:?}: {found:?}");
            rows::set(&open.store, Space::Control, &row.key, Some(row.value)).await;
        }
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}
