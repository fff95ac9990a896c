//! What a law keeps, beside holds and under every id of a person. RET-5, HOLD-1.

use std::time::Duration;

use lethe::{
    authn::Role,
    domain::{Clock as _, hold::HoldScope},
    vault::{
        ops::{ListQuery, NewAlias, ShredOrder, VaultError},
        store::StoreError,
    },
};
use serde_json::json;

use super::{Acme, END, UNITS, contradictions, findings, left, refused_by_law, run_until};
use crate::{
    harness::{alias_of, certificate, coll, hold_of, is_shredded, key, persons, put_of, subject},
    retention::{DAY, place, run, time},
};

/// An order that has decided what it spares, and is taken back by a hold before its keys go: all is there as before. Given again, it
/// decides anew. And a hold over what is restricted keeps it beyond the law, until it is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_takes_a_decided_order_back_and_keeps_what_is_restricted_beyond_its_law() {
    let (mut place, clock) = place().await;
    place.options.spared_at_once = 1;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    acme.fill(&open).await;
    let named = async |key: &str| acme.trail(&open).await.iter().filter(|entry| entry["names"]["key"] == key).count();
    let names = named("7/tax").await;
    assert!(names >= 3, "one for each collection at least: {names}");
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let order = open.vault.order_shred(&acme.owner, &acme.name, persons(&["7"]), None, None).await.unwrap().id;
    refused.next().await;
    for (collection, _) in UNITS {
        for kind in ["7/tax", "7/note"] {
            assert!(is_shredded(&acme.get(&open, (collection, kind)).await), "{collection}/{kind}: from the intent on");
            assert!(is_shredded(&acme.audited(&open, (collection, kind)).await), "{collection}/{kind}: nor for its purpose, yet");
        }
        let theirs = acme.put(&open, (collection, "7/tax"), &["8"], "tax", b"v").await;
        assert!(is_shredded(&theirs), "{collection}: what is about to be restricted is overwritten by nobody: {theirs:?}");
    }
    assert_eq!(left(&open).await, [2, 0, 1]);
    let scope = HoldScope::Subjects(vec![subject("7")]);
    let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(scope.clone()), None).await.unwrap();
    assert!(open.awaited(&acme.owner, &acme.name, order).await.held);
    for (collection, _) in UNITS {
        for kind in ["7/tax", "7/note"] {
            assert_eq!(acme.get(&open, (collection, kind)).await.unwrap(), kind.as_bytes(), "{collection}: is there again");
        }
        acme.put(&open, (collection, "7/more"), &["7"], "tax", b"more").await.unwrap();
    }
    assert_eq!(left(&open).await, [0, 0, 0]);
    assert!(named("7/tax").await >= names, "the trail names what is there again");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    place.meddler.refuse_nothing();
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert!(open.awaited(&acme.owner, &acme.name, order).await.done);
    acme.is_restricted(&open, order).await;
    assert_eq!(named("7/tax").await, 0, "and names nobody whom the order has shredded");
    for (collection, _) in UNITS {
        assert_eq!(acme.audited(&open, (collection, "7/more")).await.unwrap(), b"more");
    }
    assert_eq!(left(&open).await, [3, 3, 0]);

    // The law ends, and a hold does not.
    let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(scope), None).await.unwrap();
    clock.advance(DAY * 4 * 366);
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.held), (0, 7), "{done:?}");
    acme.is_restricted_until(&open, order).await;
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 7);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Whichever id an order names, what a law keeps under each of the person's ids is left, once; the rest goes, with the ids themselves. Nobody
/// who is called so later takes it along, and it names nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_law_keeps_under_each_id_of_a_person_is_left_whichever_is_named() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    for (collection, _) in UNITS {
        for kind in ["tax", "note"] {
            let name = format!("seven/{kind}");
            acme.put(&open, (collection, &name), &["seven"], kind, name.as_bytes()).await.unwrap();
        }
    }
    acme.put(&open, ("all", "both/tax"), &["7", "seven"], "tax", b"both").await.unwrap();
    open.add_alias(&acme.owner, &acme.name, "7", "seven").await;

    let view = open.shred(&acme.owner, &acme.name, persons(&["seven"])).await;
    assert_eq!(view.targets, ["seven", "7"]);
    let told: Vec<_> = view.retained.iter().map(|one| (one.collection.as_str(), one.records)).collect();
    assert_eq!(told, [("people", 3), ("files", 2), ("all", 3)]);
    let note = certificate(&open, view.id).await;
    // The keys of two notes, and those of the two ids.
    assert_eq!((&note["totals"]["units"], &note["totals"]["records_deleted"]), (&json!(4), &json!(4)), "{note}");
    assert_eq!(left(&open).await, [4, 4, 0]);
    acme.is_restricted(&open, view.id).await;
    for (collection, _) in UNITS {
        let refused = acme.get(&open, (collection, "seven/tax")).await;
        assert!(matches!(refused, Err(VaultError::Shredded { certificate: Some(id) }) if id == view.id), "{collection}: {refused:?}");
        assert_eq!(acme.audited(&open, (collection, "seven/tax")).await.unwrap(), b"seven/tax", "{collection}");
        assert!(acme.get(&open, (collection, "seven/note")).await.is_err(), "{collection}");
    }
    assert_eq!(acme.audited(&open, ("all", "both/tax")).await.unwrap(), b"both");
    for id in ["7", "seven"] {
        let again = open.vault.put_record(&acme.owner, &acme.name, &coll("people"), key("new"), put_of(Some(id), b"v")).await;
        assert!(matches!(again, Err(VaultError::SubjectErased { certificate: Some(by), done: true }) if by == view.id), "{id}");
    }

    // Known anew by one id, and called by the other: what is left names neither, and is nobody's to take along.
    acme.put(&open, ("people", "new"), &["seven"], "note", b"new").await.unwrap();
    let anew = NewAlias { with_records: false, new_relationship: true, ..alias_of("seven", "7") };
    open.vault.add_alias(&acme.owner, &acme.name, anew, None).await.unwrap();
    let query = |id: &str| ListQuery { subject: Some(subject(id)), limit: 100, ..ListQuery::default() };
    for id in ["7", "seven"] {
        let listed = open.vault.list(&acme.owner, &acme.name, &coll("people"), query(id)).await.unwrap();
        assert_eq!(listed.items.iter().map(|item| item.meta.key.as_str()).collect::<Vec<_>>(), ["new"], "{id}");
    }
    open.vault.remove_alias(&acme.owner, &acme.name, subject("7"), None).await.unwrap();
    let shown = acme.trail(&open).await;
    assert!(!shown.iter().any(|entry| entry["names"]["subject"] == "7"), "the trail names whom it was about");
    assert!(shown.iter().any(|entry| entry["names"]["subject"] == "seven"));
    assert_eq!(contradictions(&open).await, Vec::<String>::new());
    assert_eq!(findings(&open).await, Vec::<String>::new());

    clock.advance(time(END).since(time("2000-01-31T12:00:00Z")));
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 8);
    assert_eq!(acme.get(&open, ("people", "new")).await.unwrap(), b"new");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A hold and a minimum over the same record: each keeps it for as long as it stands, whichever ends first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_law_and_a_hold_keep_goes_when_both_have_ended() {
    for released_first in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
        acme.fill(&open).await;
        let scope = HoldScope::Collection(coll("people"));
        let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(scope), None).await.unwrap();
        let tax = ("people", "7/tax");
        assert_eq!(refused_by_law(acme.delete(&open, tax).await), "2004-02-01T00:00:00.000Z");
        assert!(matches!(acme.put(&open, tax, &["7"], "tax", b"v").await, Err(VaultError::LegalHold { .. })), "nor is it written over");
        let stopped = open.vault.order_shred(&acme.owner, &acme.name, persons(&["7"]), None, None).await;
        let Err(VaultError::LegalHold { order: Some(order), .. }) = stopped else { panic!("{stopped:?}") };
        for (collection, _) in UNITS {
            assert_eq!(acme.get(&open, (collection, "7/tax")).await.unwrap(), b"7/tax", "{collection}: is there as before");
        }
        if released_first {
            open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
            assert!(open.awaited(&acme.owner, &acme.name, order).await.done);
            acme.is_restricted(&open, order).await;
        } else {
            clock.advance(DAY * 4 * 366);
            assert_eq!(run(&open, &clock).await.destroyed, 0);
            let held = acme.delete(&open, tax).await;
            assert!(matches!(held, Err(VaultError::LegalHold { .. })), "the law is over, and the hold is not: {held:?}");
            open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
            let done = open.awaited(&acme.owner, &acme.name, order).await;
            assert!(done.done && done.retained.is_empty(), "{done:?}");
            for (collection, _) in UNITS {
                assert!(acme.get(&open, (collection, "7/tax")).await.is_err(), "{collection}");
                assert!(acme.audited(&open, (collection, "7/tax")).await.is_err(), "{collection}");
            }
            assert_eq!(left(&open).await, [0, 0, 0]);
        }
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// An order for a collection that a hold stopped is given again when the law lets go of what was written there since, and not before;
/// meanwhile the collection is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_a_hold_stopped_waits_for_what_a_law_keeps_since() {
    for restarted in [false, true] {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
        acme.put(&open, ("people", "note"), &["7"], "note", b"v").await.unwrap();
        let scope = HoldScope::Collection(coll("people"));
        let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(scope), None).await.unwrap();
        let stopped = open.vault.order_shred(&acme.owner, &acme.name, ShredOrder::Collection(coll("people")), None, None).await;
        let Err(VaultError::LegalHold { order: Some(order), .. }) = stopped else { panic!("{stopped:?}") };
        acme.put(&open, ("people", "tax"), &["7"], "tax", b"v").await.unwrap();
        open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
        if restarted {
            open.close().await;
            open = place.open().await;
            acme.again(&open).await;
        }
        let is_held = async || open.vault.shred(&acme.owner, &acme.name, order, None).await.unwrap().held;
        run(&open, &clock).await;
        assert!(is_held().await);
        acme.put(&open, ("people", "more"), &["8"], "note", b"v").await.unwrap();
        clock.advance(Duration::from_millis(u64::try_from(time(END).0 - 1 - clock.now().0).unwrap()));
        run(&open, &clock).await;
        assert!(is_held().await);
        assert_eq!(acme.get(&open, ("people", "tax")).await.unwrap(), b"v");
        clock.advance(Duration::from_millis(1));
        run(&open, &clock).await;
        assert!(open.awaited(&acme.owner, &acme.name, order).await.done);
        for name in ["note", "tax", "more"] {
            assert!(is_shredded(&acme.get(&open, ("people", name)).await), "{name}");
        }
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}
