//! Orders are held to the laws by which they were judged: what comes under one before an order is durable is not destroyed by it. RET-3.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use lethe::{
    authn::Role,
    domain::{ApprovalId, CollectionPolicy, ShredUnit, TenantNo, approval::ShredScope, hold::HoldScope},
    vault::{
        ops::{ShredOrder, VaultError},
        store::{
            Space, StoreError,
            schema::{self, Table},
        },
    },
};

use super::{
    Acme,
    crossing::{new_record, records},
    findings, lawful, refused_by_law, unruled,
};
use crate::{
    harness::{WAIT, coll, end_of, hold_of, hold_on, key},
    meddling::{Held, Meddler, sets},
    retention::{place, run},
};

const UNTIL: &str = "2004-02-01T00:00:00.000Z";

/// How far an order is when the law comes.
#[derive(Debug, Clone, Copy)]
enum When {
    /// It was judged, and its sample is drawn.
    Judged,
    /// It is about to be durable.
    Committed,
}

impl When {
    fn hold(self, meddler: &Meddler) -> Arc<Held> {
        match self {
            Self::Judged => meddler.hold_scan(|space, _| space == Space::Records),
            Self::Committed => meddler.hold_commit(|commit| sets(commit, Table::PendingShred, |_, _| true)),
        }
    }
}

/// A record of which no rule says anything, and its collection: the policy that keeps it comes while the order is given, by one person, by
/// two, or because a hold has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_come_before_an_order_is_durable_keep_what_it_is_for() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    let make = async |name: &str, unit: ShredUnit| {
        acme.set(&open, name, unruled(unit)).await;
        acme.put(&open, (name, "k"), &["7"], "tax", b"v").await.unwrap();
    };
    let order = |name: &str, unit: ShredUnit| match unit {
        ShredUnit::Record => ShredOrder::Record { collection: coll(name), key: key("k") },
        ShredUnit::Subject | ShredUnit::Collection => ShredOrder::Collection(coll(name)),
    };
    let rules_come = async |held: &Held, name: &str, unit: ShredUnit| {
        held.has_read().await;
        acme.set(&open, name, lawful(unit, "4y")).await;
        held.let_go();
    };
    let is_there = async |name: &str| {
        assert_eq!(acme.get(&open, (name, "k")).await.unwrap(), b"v", "{name}");
        acme.put(&open, (name, "more"), &["8"], "note", b"v").await.unwrap();
    };
    let cases = [(ShredUnit::Record, When::Committed), (ShredUnit::Subject, When::Judged), (ShredUnit::Collection, When::Committed)];
    for (number, (unit, when)) in cases.into_iter().enumerate() {
        let name = format!("one{number}");
        make(&name, unit).await;
        let held = when.hold(&place.meddler);
        let ordered = open.vault.order_shred(&acme.owner, &acme.name, order(&name, unit), WAIT, None);
        let (ordered, ()) = tokio::join!(ordered, rules_come(&*held, &name, unit));
        assert_eq!(refused_by_law(ordered.map(drop)), UNTIL, "{unit:?}, {when:?}");
        is_there(&name).await;

        let name = format!("held{number}");
        make(&name, unit).await;
        let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(HoldScope::Collection(coll(&name))), None).await.unwrap();
        let stopped = open.vault.order_shred(&acme.owner, &acme.name, order(&name, unit), None, None).await;
        let Err(VaultError::LegalHold { order: Some(id), .. }) = stopped else { panic!("{stopped:?}") };
        let held = when.hold(&place.meddler);
        let released = open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None);
        let (released, ()) = tokio::join!(released, rules_come(&*held, &name, unit));
        released.unwrap();
        run(&open, &clock).await;
        assert!(open.vault.shred(&acme.owner, &acme.name, id, None).await.unwrap().held, "{unit:?}, {when:?}: it waits for the law");
        is_there(&name).await;
    }
    let second = open.ask_for_two(&acme.owner, &acme.name, ShredScope::Record).await;
    for (number, (unit, when)) in cases.into_iter().enumerate() {
        let name = format!("two{number}");
        make(&name, unit).await;
        let asked = open.vault.order_shred(&acme.owner, &acme.name, order(&name, unit), None, None).await.unwrap().id;
        let held = when.hold(&place.meddler);
        let approved = open.approve(&second, &acme.name, ApprovalId(asked.0));
        let (approved, ()) = tokio::join!(approved, rules_come(&*held, &name, unit));
        assert_eq!(refused_by_law(approved), UNTIL, "{unit:?}, {when:?}");
        is_there(&name).await;
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A collection that is made under a law, or given its first, when its tenant was looked through already: what is answered with 201 is not
/// destroyed a moment later. By an order, by one that a second person approves, and by an end without a grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_comes_under_a_law_meanwhile_keeps_its_tenant() {
    let (place, _) = place().await;
    let open = place.open().await;
    for (round, (is_made, by)) in
        [true, false].into_iter().flat_map(|is_made| ["order", "approval", "end"].map(|by| (is_made, by))).enumerate()
    {
        let named = format!("t{round}");
        let (name, owner, token) = open.tenant(&place, &named).await;
        let acme = Acme { name, owner, tokens: [token.clone(), token] };
        acme.set(&open, "c", lawful(ShredUnit::Subject, "4y")).await;
        acme.put(&open, ("c", "note"), &["7"], "note", b"v").await.unwrap();
        if !is_made {
            acme.set(&open, "late", unruled(ShredUnit::Subject)).await;
        }
        let order = || open.vault.order_shred(&acme.owner, &acme.name, ShredOrder::Tenant { confirm: named.clone() }, WAIT, None);
        let second = if by == "approval" {
            Some((open.ask_for_two(&acme.owner, &acme.name, ShredScope::Record).await, order().await.unwrap().id))
        } else {
            None
        };
        let table = if by == "end" { Table::TenantChange } else { Table::PendingShred };
        let held = place.meddler.hold_commit(move |commit| sets(commit, table, |_, _| true));
        let end = async {
            match (&second, by) {
                (Some((second, asked)), _) => open.approve(second, &acme.name, ApprovalId(asked.0)).await,
                (None, "end") => open.vault.terminate_tenant(&acme.owner, &acme.name, end_of(&named, "0d"), None).await.map(drop),
                (None, _) => order().await.map(drop),
            }
        };
        let comes = async {
            held.has_read().await;
            let frozen = acme.put(&open, ("c", "tax"), &["7"], "tax", b"v").await;
            assert!(matches!(frozen, Err(VaultError::Busy)), "{by}: {frozen:?}");
            acme.set(&open, "late", lawful(ShredUnit::Subject, "4y")).await;
            acme.put(&open, ("late", "tax"), &["7"], "tax", b"v").await.unwrap();
            held.let_go();
        };
        let (ended, ()) = tokio::join!(end, comes);
        assert_eq!(refused_by_law(ended), UNTIL, "{by}, made: {is_made}");
        assert_eq!(acme.get(&open, ("late", "tax")).await.unwrap(), b"v", "{by}, made: {is_made}");
        acme.put(&open, ("c", "more"), &["7"], "note", b"v").await.unwrap();
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// An order that a hold stops, and of which no law keeps anything, stops nobody: nothing is frozen for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_a_hold_stops_freezes_nothing() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    acme.put(&open, ("people", "note"), &["7"], "note", b"v").await.unwrap();
    let orders = [ShredOrder::Tenant { confirm: "acme".into() }, ShredOrder::Collection(coll("people"))];
    open.vault.place_hold(&counsel, &acme.name, hold_on("7"), None).await.unwrap();
    place.meddler.refuse(|commit| sets(commit, Table::Collection, |_, _| true).then_some(StoreError::DiskFull));
    for order in orders.iter().chain(&orders) {
        let stopped = open.vault.order_shred(&acme.owner, &acme.name, order.clone(), WAIT, None).await;
        assert!(matches!(stopped, Err(VaultError::LegalHold { order: Some(_), .. })), "{order:?}: {stopped:?}");
    }
    place.meddler.refuse_nothing();
    let second = open.ask_for_two(&acme.owner, &acme.name, ShredScope::Record).await;
    let asked = open.vault.order_shred(&acme.owner, &acme.name, orders[1].clone(), None, None).await.unwrap().id;
    place.meddler.refuse(|commit| sets(commit, Table::Collection, |_, _| true).then_some(StoreError::DiskFull));
    open.approve(&second, &acme.name, ApprovalId(asked.0)).await.unwrap();
    assert!(open.vault.shred(&acme.owner, &acme.name, asked, None).await.unwrap().held);
    place.meddler.refuse_nothing();
    assert_eq!(acme.get(&open, ("people", "note")).await.unwrap(), b"v");
    open.close().await;
}

/// The hold for which nothing was frozen ends before the order is kept back: it is judged anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_hold_ends_meanwhile_is_judged_anew() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    acme.put(&open, ("people", "note"), &["7"], "note", b"v").await.unwrap();
    let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(HoldScope::Collection(coll("people"))), None).await.unwrap();
    let holds = schema::table_of_tenant(Table::HoldOn, TenantNo(1));
    let held = place.meddler.hold_rows(move |space, from| space == Space::Control && from == &holds.from[..]);
    let order = open.vault.order_shred(&acme.owner, &acme.name, ShredOrder::Collection(coll("people")), WAIT, None);
    let ends = async {
        held.has_read().await;
        open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
        acme.put(&open, ("people", "tax"), &["7"], "tax", b"v").await.unwrap();
        held.let_go();
    };
    let (ordered, ()) = tokio::join!(order, ends);
    assert_eq!(refused_by_law(ordered.map(drop)), UNTIL);
    assert_eq!(acme.get(&open, ("people", "tax")).await.unwrap(), b"v");
    open.close().await;
}

/// An order that waits for a law is looked through once: not again whenever some hold ends, until the law does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_waits_for_is_not_looked_through_again_whenever_a_hold_ends() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(HoldScope::Collection(coll("people"))), None).await.unwrap();
    let stopped = open.vault.order_shred(&acme.owner, &acme.name, ShredOrder::Collection(coll("people")), None, None).await;
    let Err(VaultError::LegalHold { order: Some(id), .. }) = stopped else { panic!("{stopped:?}") };
    let before = records(&open).await;
    acme.put(&open, ("people", "tax"), &["7"], "tax", b"v").await.unwrap();
    let people = new_record(&open, &before).await.slice(..12);
    let looked = Arc::new(AtomicBool::new(false));
    let watch = || {
        let (looked, people) = (Arc::clone(&looked), people.clone());
        place.meddler.hold_scan(move |space, from| {
            looked.fetch_or(space == Space::Records && from.starts_with(&people), Ordering::SeqCst);
            false
        })
    };
    drop(watch());
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert!(looked.swap(false, Ordering::SeqCst), "it is looked through when nothing else keeps it");
    for _ in 0..2 {
        let other = open.vault.place_hold(&counsel, &acme.name, hold_on("8"), None).await.unwrap();
        open.vault.release_hold(&counsel, &acme.name, other.id, "settled".into(), None).await.unwrap();
        run(&open, &clock).await;
        assert!(!looked.load(Ordering::SeqCst));
    }
    assert!(open.vault.shred(&acme.owner, &acme.name, id, None).await.unwrap().held);
    open.close().await;
}

/// In a tenant that has no law yet, the first one counts like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_law_of_a_tenant_keeps_it_from_an_order_that_is_being_given() {
    let (place, _) = place().await;
    let open = place.open().await;
    let (name, owner, token) = open.tenant(&place, "acme").await;
    let acme = Acme { name, owner, tokens: [token.clone(), token] };
    acme.set(&open, "c", CollectionPolicy::default()).await;
    acme.put(&open, ("c", "k"), &["7"], "tax", b"v").await.unwrap();
    let held = When::Committed.hold(&place.meddler);
    let order = open.vault.order_shred(&acme.owner, &acme.name, ShredOrder::Tenant { confirm: "acme".into() }, WAIT, None);
    let comes = async {
        held.has_read().await;
        acme.set(&open, "late", lawful(ShredUnit::Record, "4y")).await;
        acme.put(&open, ("late", "tax"), &["7"], "tax", b"v").await.unwrap();
        held.let_go();
    };
    let (ordered, ()) = tokio::join!(order, comes);
    assert_eq!(refused_by_law(ordered.map(drop)), UNTIL);
    open.close().await;
}
