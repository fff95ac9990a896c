//! What a law keeps of a person who is shredded, where the law counts from what was reported: the order decides by that, remembers it as long
//! as it matters, and forgets the rest. RET-5.

use lethe::{
    authn::Role,
    domain::{ShredId, ShredUnit},
    vault::{
        ops::{ShredOrder, ShredView, VaultError},
        store::{StoreError, schema::Table},
    },
};

use super::{Acme, ENDED, findings, lawful, subject, to};
use crate::{
    harness::{Open, Place, coll, contradictions, hold_on, key, person},
    kept::left,
    retention::{DAY, place, run, time},
    rows,
};

pub(super) const UNITS: [(&str, ShredUnit); 3] =
    [("people", ShredUnit::Subject), ("files", ShredUnit::Record), ("all", ShredUnit::Collection)];
/// Four years from what was reported of person 7, and from the order, for nothing was reported of person 8.
pub(super) const ENDS: [(&str, &str); 2] = [("7", "2003-07-01T00:00:00Z"), ("8", "2004-02-02T00:00:00Z")];

pub(super) fn order() -> ShredOrder {
    ShredOrder::Subjects(["7", "8", "9"].map(subject).to_vec())
}

impl Acme {
    /// A deal of each of three persons under a law, and a note: the law of one runs, that of another waits, that of the third is over.
    pub(super) async fn deal(open: &Open, place: &Place) -> Self {
        let acme = Self::make(open, place).await;
        for (collection, unit) in UNITS {
            open.vault.put_collection(&acme.owner, &acme.name, &coll(collection), lawful(unit, "4y"), None).await.unwrap();
            for person in ["7", "8", "9"] {
                for kind in ["deal", "note"] {
                    acme.put_as(open, (collection, &format!("{person}/{kind}")), &[person], Some(kind)).await.unwrap();
                }
            }
        }
        acme.report(open, "7", "1999-06-30").await;
        acme.report(open, "9", "1990-01-31").await;
        acme.reports(open, "7", "hobby", "1999-01-01").await.unwrap();
        acme
    }

    /// When what an order has left of a person ends, by each collection; `None` where nothing is there.
    pub(super) async fn left_until(&self, open: &Open, person: &str) -> Vec<Option<String>> {
        let auditor = open.with_role(&self.owner, &self.name, Role::Auditor).await;
        let mut ends = Vec::new();
        for (collection, _) in UNITS {
            let at = key(&format!("{person}/deal"));
            ends.push(match open.vault.explain_retention(&auditor, &self.name, &coll(collection), &at).await {
                Ok(told) => {
                    assert!(told.restricted_by.is_some(), "{collection} {person}");
                    Some(told.explanation.end.unwrap().at.to_rfc3339())
                }
                Err(VaultError::NotFound(_) | VaultError::Shredded { .. }) => None,
                Err(error) => panic!("{collection} {person}: {error:?}"),
            });
        }
        ends
    }

    async fn is_left_as_ordered(&self, open: &Open, case: &str) {
        for (person, end) in ENDS {
            let end = Some(time(end).to_rfc3339());
            assert_eq!(self.left_until(open, person).await, [end.clone(), end.clone(), end], "{case}: {person}");
        }
        assert_eq!(self.left_until(open, "9").await, [None, None, None], "{case}: its law was over");
        assert_eq!(findings(open).await, Vec::<String>::new(), "{case}");
        assert_eq!(contradictions(open).await, Vec::<String>::new(), "{case}");
    }
}

async fn put_back(place: &Place, acme: &mut Acme, copy: &str) -> Open {
    place.put_back(copy, "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    open.vault.begin_restoring();
    assert_eq!(open.vault.replay_retention().await.unwrap().failed, 0);
    open.vault.end_restoring();
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_decides_by_what_was_reported_and_what_it_leaves_ends_by_that_in_data_of_any_date() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::deal(&open, &place).await;
    open.close().await;
    place.copy("store/data", "before");
    let open = place.open().await;
    acme.again(&open).await;
    clock.advance(DAY);
    let view = open.shred(&acme.owner, &acme.name, order()).await;
    let told: Vec<_> = view.retained.iter().map(|one| (one.collection.as_str(), one.records, one.until)).collect();
    let last = Some(time(ENDS[1].1));
    assert_eq!(told, [("people", 2, last), ("files", 2, last), ("all", 2, last)]);
    acme.is_left_as_ordered(&open, "done").await;
    // Nothing tells any more what was reported, but what the law counts from.
    assert_eq!([rows::count(&open.store, Table::Events).await, rows::count(&open.store, Table::EventQueue).await], [0, 0]);
    assert_eq!(rows::count(&open.store, Table::LeftEvents).await, 2);
    let late = acme.reports(&open, "7", ENDED, "1999-07-30").await;
    assert!(matches!(late, Err(VaultError::SubjectErased { done: true, .. })), "{late:?}");
    let read = open.vault.read_events(&acme.owner, &acme.name, &subject("7")).await;
    assert!(matches!(read, Err(VaultError::Shredded { .. })), "{read:?}");
    open.close().await;
    place.copy("store/data", "after");
    for copy in ["before", "after"] {
        let open = put_back(&place, &mut acme, copy).await;
        acme.is_left_as_ordered(&open, copy).await;
        open.close().await;
    }
    let open = place.open().await;
    acme.again(&open).await;
    to(&clock, "2003-06-30T23:59:59.999Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    to(&clock, ENDS[0].1);
    assert_eq!(run(&open, &clock).await.destroyed, 3);
    open.close().await;
    for copy in ["before", "after"] {
        let open = put_back(&place, &mut acme, copy).await;
        assert_eq!(acme.left_until(&open, "7").await, [None, None, None], "{copy}: over, and back by no older data");
        assert!(acme.left_until(&open, "8").await.iter().all(Option::is_some), "{copy}");
        open.close().await;
    }
    let open = place.open().await;
    acme.again(&open).await;
    to(&clock, ENDS[1].1);
    run(&open, &clock).await;
    assert_eq!(acme.left_until(&open, "8").await, [None, None, None]);
    open.close().await;
}

/// What an order about a person of several ids leaves is left by what was reported under any of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reported_under_one_id_decides_for_what_stands_under_another() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::deal(&open, &place).await;
    acme.alias(&open, "8", "eight").await;
    acme.reports(&open, "eight", ENDED, "1999-06-30").await.unwrap();
    clock.advance(DAY);
    open.shred(&acme.owner, &acme.name, person("eight")).await;
    let end = Some(time(ENDS[0].1).to_rfc3339());
    assert_eq!(acme.left_until(&open, "8").await, [end.clone(), end.clone(), end]);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

async fn ended(open: &Open, acme: &Acme, id: ShredId) -> ShredView {
    open.awaited(&acme.owner, &acme.name, id).await
}

/// An order that has decided, and is taken back by a hold, has forgotten what it remembered; the person's events are there as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_a_hold_takes_back_remembers_nothing() {
    let (place, _clock) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::deal(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let id = open.vault.order_shred(&acme.owner, &acme.name, order(), None, None).await.unwrap().id;
    refused.next().await;
    assert_eq!(rows::count(&open.store, Table::LeftEvents).await, 2);
    let closed = acme.reports(&open, "7", ENDED, "1999-07-30").await;
    assert!(matches!(closed, Err(VaultError::SubjectErased { done: false, .. })), "{closed:?}");
    let hold = hold_on("7");
    let placed = open.vault.place_hold(&counsel, &acme.name, hold, None).await.unwrap();
    assert!(ended(&open, &acme, id).await.held);
    assert_eq!(rows::count(&open.store, Table::LeftEvents).await, 0);
    assert_eq!(acme.known(&open, "7").await.len(), 2);
    acme.report(&open, "7", "1999-06-29").await;
    acme.report(&open, "7", "1999-06-30").await;
    place.meddler.refuse_nothing();
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert!(ended(&open, &acme, id).await.done);
    let end = Some(time(ENDS[0].1).to_rfc3339());
    assert_eq!(acme.left_until(&open, "7").await, [end.clone(), end.clone(), end]);
    assert_eq!((left(&open).await[2], findings(&open).await), (0, Vec::new()));
    open.close().await;
}
