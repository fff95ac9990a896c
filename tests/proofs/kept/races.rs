//! What a law keeps, against whoever writes, orders or changes rules at the same moment. RET-3, RET-5.

use std::{collections::BTreeMap, time::Duration};

use lethe::{
    domain::ShredUnit,
    vault::{
        ops::{ShredOrder, VaultError},
        store::{Space, StoreError, schema::Table},
    },
};

use super::{Acme, END, findings, lawful, left, refused_by_law, unruled};
use crate::{
    harness::{Open, WAIT, coll, is_shredded, until},
    meddling::{Held, sets},
    retention::{place, to},
    rows,
};

/// An order against whoever gives the person's record to somebody else at the same moment: either it was corrected before, and the
/// person's key is gone, or it is restricted, and was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_against_a_correction_at_the_same_moment_ends_in_exactly_one_of_two_ways() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let mut seen: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for round in 0..48_usize {
        let collection = ["people", "files"][round % 2];
        let (person, name) = (format!("p{round}"), format!("k{round}"));
        acme.put(&open, (collection, &name), &[&person], "tax", b"old").await.unwrap();
        let correct = async {
            // Sooner or later, so that each comes first at times.
            for _ in 0..(round / 2 % 8) * 3 {
                tokio::task::yield_now().await;
            }
            acme.put(&open, (collection, &name), &["8"], "tax", b"new").await
        };
        let (view, corrected) = tokio::join!(open.shred_subject(&acme.owner, &acme.name, &person), correct);
        let there = acme.get(&open, (collection, &name)).await;
        let kept = acme.audited(&open, (collection, &name)).await;
        match &corrected {
            Ok(()) => {
                assert_eq!(there.unwrap(), b"new", "round {round}");
                assert!(matches!(kept, Err(VaultError::Forbidden)), "round {round}");
                assert!(view.retained.is_empty(), "round {round}: {:?}", view.retained);
            }
            Err(VaultError::Shredded { .. } | VaultError::Restricted | VaultError::Busy) => {
                assert!(is_shredded(&there), "round {round}: {there:?}");
                assert_eq!(kept.unwrap(), b"old", "round {round}");
                assert_eq!(view.retained.len(), 1, "round {round}");
            }
            Err(error) => panic!("round {round}: {error:?}"),
        }
        *seen.entry((collection, corrected.is_ok())).or_default() += 1;
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    // Each spared unit seals something, or it would be spared for ever.
    let restricted = seen.iter().filter(|((_, corrected), _)| !corrected).map(|(_, count)| count).sum::<usize>();
    assert_eq!(left(&open).await, [restricted, restricted, 0], "{seen:?}");
    assert!(restricted > 0 && restricted < 48, "{seen:?}: one way was never seen");
    open.close().await;
}

/// Where an order is held up for a write: before it freezes what it looks through again, before it is durable, or nowhere.
const HELD: [Option<Table>; 4] = [Some(Table::Collection), Some(Table::PendingShred), None, None];

/// A write at that point; where the order is held nowhere, sooner or later.
async fn write_against(acme: &Acme, open: &Open, at: (&str, &str), held: Option<&Held>, later: usize) -> Result<(), VaultError> {
    if let Some(held) = held {
        held.has_read().await;
    }
    for _ in 0..later {
        tokio::task::yield_now().await;
    }
    let written = acme.put(open, at, &["7"], "tax", b"v").await;
    if let Some(held) = held {
        held.let_go();
    }
    written
}

/// A write that a law would keep, and an order to shred its collection: one of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collections_shred_against_a_write_that_a_law_keeps_ends_in_one_of_two_ways() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let mut seen: BTreeMap<(Option<Table>, bool), usize> = BTreeMap::new();
    for round in 0..24_usize {
        let (name, at) = (format!("c{round}"), HELD[round / 2 % 4]);
        acme.set(&open, &name, lawful([ShredUnit::Subject, ShredUnit::Collection][round % 2], "4y")).await;
        acme.put(&open, (&name, "note"), &["7"], "note", b"v").await.unwrap();
        let held = at.map(|table| place.meddler.hold_commit(move |commit| sets(commit, table, |_, _| true)));
        let later = if held.is_some() { 0 } else { round / 8 * 24 };
        let write = write_against(&acme, &open, (&name, "tax"), held.as_deref(), later);
        let order = ShredOrder::Collection(coll(&name));
        let (ordered, written) = tokio::join!(open.vault.order_shred(&acme.owner, &acme.name, order, WAIT, None), write);
        match (&ordered, &written) {
            (Ok(_), Err(VaultError::Shredded { .. } | VaultError::Busy)) => {
                assert!(is_shredded(&acme.get(&open, (&name, "note")).await), "round {round}");
            }
            (Err(VaultError::LegalMinimum { records: Some(1), .. }), Ok(())) => {
                assert_eq!(acme.get(&open, (&name, "tax")).await.unwrap(), b"v", "round {round}");
                acme.put(&open, (&name, "more"), &["7"], "tax", b"v").await.unwrap();
            }
            _ => panic!("round {round}: {:?} {written:?}", ordered.as_ref().map(|view| view.id)),
        }
        *seen.entry((at, ordered.is_ok())).or_default() += 1;
    }
    both_were_seen(&seen);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// That a write which came before the second look was found by it each time, and one behind that refused.
fn both_were_seen(seen: &BTreeMap<(Option<Table>, bool), usize>) {
    let of = |at, ordered| seen.get(&(at, ordered)).copied().unwrap_or_default();
    let [looked, durable] = [Table::Collection, Table::PendingShred].map(Some);
    assert!(of(looked, false) > 0 && of(looked, true) == 0, "{seen:?}");
    assert!(of(durable, true) > 0 && of(durable, false) == 0, "{seen:?}");
}

/// Rules that are made shorter while somebody writes: what is committed under the longer ones is bound by those, although it bears a later
/// time than the change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_the_rules_are_made_shorter_is_under_the_longer_ones() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::Collection, |_, _| true));
    let write = async {
        held.has_read().await;
        clock.advance(Duration::from_secs(10));
        acme.put(&open, ("people", "late"), &["7"], "tax", b"v").await.unwrap();
        held.let_go();
    };
    tokio::join!(acme.set(&open, "people", unruled(ShredUnit::Subject)), write);
    assert_eq!(refused_by_law(acme.delete(&open, ("people", "late")).await), "2004-02-01T00:00:00.000Z");
    // Whatever time it is: what is written behind the change is free of them.
    acme.put(&open, ("people", "free"), &["7"], "tax", b"v").await.unwrap();
    acme.delete(&open, ("people", "free")).await.unwrap();
    open.close().await;
}

/// A write that a law would keep, and an order to shred its tenant: one of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_shred_against_a_write_that_a_law_keeps_ends_in_one_of_two_ways() {
    let (place, _) = place().await;
    let open = place.open().await;
    let mut seen: BTreeMap<(Option<Table>, bool), usize> = BTreeMap::new();
    for round in 0..16_usize {
        let (named, at) = (format!("t{round}"), HELD[round / 2 % 4]);
        let (name, owner, token) = open.tenant(&place, &named).await;
        let acme = Acme { name, owner, tokens: [token.clone(), token] };
        acme.set(&open, "c", lawful([ShredUnit::Subject, ShredUnit::Collection][round % 2], "4y")).await;
        acme.put(&open, ("c", "note"), &["7"], "note", b"v").await.unwrap();
        let held = at.map(|table| place.meddler.hold_commit(move |commit| sets(commit, table, |_, _| true)));
        let later = if held.is_some() { 0 } else { round / 2 * 6 };
        let write = write_against(&acme, &open, ("c", "tax"), held.as_deref(), later);
        let order = ShredOrder::Tenant { confirm: named };
        let (ordered, written) = tokio::join!(open.vault.order_shred(&acme.owner, &acme.name, order, WAIT, None), write);
        match (&ordered, &written) {
            (Ok(view), Err(VaultError::Shredded { .. } | VaultError::Busy)) => assert!(view.done, "round {round}"),
            (Err(VaultError::LegalMinimum { .. }), Ok(())) => {
                assert_eq!(acme.get(&open, ("c", "tax")).await.unwrap(), b"v", "round {round}");
                acme.put(&open, ("c", "more"), &["7"], "note", b"v").await.unwrap();
            }
            _ => panic!("round {round}: {:?} {written:?}", ordered.as_ref().map(|view| view.id)),
        }
        *seen.entry((at, ordered.is_ok())).or_default() += 1;
    }
    both_were_seen(&seen);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Two runs that find nothing left under a spared key at the same moment, as the server's own and one that was asked for do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spared_key_goes_by_the_order_of_one_run_when_two_look_at_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, ("people", "7/tax"), &["7"], "tax", b"v").await.unwrap();
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    to(&clock, END);
    let operator = open.caller(&place.operator).await;
    let asked = async || open.vault.run_retention(&operator, None, 1_000, None).await.unwrap().0;
    place.meddler.refuse(|commit| sets(commit, Table::ShredOrder, |_, _| true).then_some(StoreError::Busy));
    assert_eq!(asked().await.destroyed, 1);
    place.meddler.refuse_nothing();
    assert_eq!(left(&open).await, [1, 0, 0], "the record is gone, and its key waits for an order");

    let mut state = rows::table(&open.store, Table::KeptUnit).await.remove(0).key.to_vec();
    state[0] = Table::UnitState as u8;
    // The first has seen that no order is given; meanwhile the second gives one.
    let held = place.meddler.hold_reader(Space::Control, state.into());
    let second = async {
        held.has_read().await;
        asked().await;
        held.let_go();
    };
    let both = async { tokio::join!(asked(), second) };
    assert!(tokio::time::timeout(Duration::from_secs(30), both).await.is_ok(), "the first run looked for no order");
    until("nothing is left", async || left(&open).await == [0, 0, 0]).await;
    let done = open.trail(&acme.owner, &acme.name, "shred.done").await;
    assert_eq!(done.len(), 2, "the person's, and one of the key that the law had kept");
    open.close().await;
}
