//! What a law keeps, under two persons: what is refused to one is refused to both, whenever the law comes, and what two persons may shorten
//! ends at its minimum. RET-3, RET-4, RET-5.

use std::{collections::BTreeMap, time::Duration};

use lethe::{
    authn::Role,
    domain::{
        ApprovalId, Clock as _, CollectionPolicy, ShredId, ShredUnit,
        approval::{ApprovalRules, ShredScope, Window},
        hold::HoldScope,
        retention::Period,
    },
    vault::ops::{Caller, Conflict, ShredOrder, VaultError},
};
use serde_json::json;

use super::{Acme, END, UNITS, contradictions, findings, lawful, left, refused_by_law, run_until, unruled};
use crate::{
    harness::{Open, certificate, coll, hold_of, is_shredded, key, persons},
    retention::{DAY, place, policy, run, time, to, to_just_before},
};

impl Acme {
    /// From now on every order takes two persons, for 30 days; gives the second, who was there before.
    async fn ask_for_two(&self, open: &Open) -> Caller {
        let second = open.with_role(&self.owner, &self.name, Role::Owner).await;
        let window = Window::of(Period::parse("30d").unwrap()).unwrap();
        let rules = ApprovalRules { shreds: Some(ShredScope::Record), release_hold: false, window };
        open.vault.put_policy(&self.owner, &self.name, rules, None).await.unwrap();
        second
    }

    /// An order that waits for a second person.
    async fn asked(&self, open: &Open, order: ShredOrder) -> ApprovalId {
        let view = open.vault.order_shred(&self.owner, &self.name, order, None, None).await.unwrap();
        assert_eq!(view.state(), "waiting-for-approval");
        ApprovalId(view.id.0)
    }

    async fn approve(&self, open: &Open, second: &Caller, id: ApprovalId) -> Result<(), VaultError> {
        open.approve(second, &self.name, id).await
    }

    /// An order's state, at the latest when it is done.
    async fn state(&self, open: &Open, id: ApprovalId) -> &'static str {
        open.awaited(&self.owner, &self.name, ShredId(id.0)).await.state()
    }

    async fn is_pending(&self, open: &Open, id: ApprovalId) -> bool {
        open.vault.approval(&self.owner, &self.name, id).await.unwrap().state == "pending"
    }

    /// That the certificate of an order names both.
    async fn is_certified(&self, open: &Open, id: ApprovalId, second: &Caller) {
        let approval = certificate(open, ShredId(id.0)).await["approval"].clone();
        let (by, second) = (self.owner.principal.id().to_string(), second.principal.id().to_string());
        assert_eq!(approval, json!({"policy": "two-person", "performed_by": by, "approved_by": second}));
    }
}

/// RET-3: an order that one person would be refused is not asked for; asked for before the law came, it is approved by nobody until the law
/// is over. Nothing is frozen behind that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_law_keeps_is_neither_asked_for_nor_approved() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    clock.advance(DAY);
    for (collection, unit) in UNITS {
        acme.set(&open, collection, lawful(unit, "10d")).await;
    }
    let eraser = open.with_role(&acme.owner, &acme.name, Role::Eraser).await;
    let second = acme.ask_for_two(&open).await;
    clock.advance(DAY);
    for (collection, _) in UNITS {
        acme.put(&open, (collection, "k"), &["7"], "note", b"v").await.unwrap();
    }
    let orders = [
        ShredOrder::Record { collection: coll("files"), key: key("k") },
        ShredOrder::Collection(coll("people")),
        ShredOrder::Collection(coll("all")),
        ShredOrder::Tenant { confirm: "acme".into() },
    ];
    let mut asked = Vec::new();
    for order in &orders {
        asked.push(acme.asked(&open, order.clone()).await);
    }
    for (collection, _) in UNITS {
        acme.put(&open, (collection, "k"), &["7"], "tax", b"v").await.unwrap();
    }
    let until = "2000-02-13T00:00:00.000Z";
    for (order, id) in orders.iter().zip(&asked) {
        let again = open.vault.order_shred(&acme.owner, &acme.name, order.clone(), None, None).await.map(drop);
        assert_eq!(refused_by_law(again), until, "{order:?}");
        assert_eq!(refused_by_law(acme.approve(&open, &second, *id).await), until, "{order:?}");
        assert!(acme.is_pending(&open, *id).await, "{order:?}: what was refused has decided nothing");
    }
    // Who cannot read rules is told none, but how many records there are.
    let refused = acme.approve(&open, &eraser, asked[3]).await;
    assert!(matches!(refused, Err(VaultError::LegalMinimum { law: None, records: Some(3) })), "{refused:?}");
    // The law comes before the second person: who is told to order what is refused then would be led on.
    assert_eq!(refused_by_law(acme.delete(&open, ("files", "k")).await), until);
    for (collection, _) in UNITS {
        assert_eq!(acme.get(&open, (collection, "k")).await.unwrap(), b"v", "{collection}");
        acme.put(&open, (collection, "more"), &["8"], "note", b"v").await.unwrap();
    }
    let required = acme.delete(&open, ("files", "more")).await;
    assert!(matches!(required, Err(VaultError::Conflict(Conflict::ApprovalRequired))), "{required:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());

    to(&clock, until);
    for (order, id) in orders.iter().zip(asked) {
        acme.approve(&open, &second, id).await.unwrap_or_else(|error| panic!("{order:?}: {error:?}"));
        assert_eq!(acme.state(&open, id).await, "done", "{order:?}");
        acme.is_certified(&open, id, &second).await;
    }
    open.close().await;
}

/// RET-5: the order about a person waits like any, and leaves what a law keeps when it is carried out, not when it was asked for; its
/// certificate says who approved, and what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_two_persons_shred_leaves_what_a_law_keeps_by_then() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, "short", lawful(ShredUnit::Subject, "1d")).await;
    acme.fill(&open).await;
    acme.put(&open, ("short", "7/tax"), &["7"], "tax", b"7/tax").await.unwrap();
    let second = acme.ask_for_two(&open).await;
    let id = acme.asked(&open, persons(&["7"])).await;
    for (collection, _) in UNITS {
        for kind in ["7/tax", "7/note"] {
            assert_eq!(acme.get(&open, (collection, kind)).await.unwrap(), kind.as_bytes(), "{collection}: it waits");
        }
    }
    clock.advance(DAY * 3);
    acme.approve(&open, &second, id).await.unwrap();
    let view = open.awaited(&acme.owner, &acme.name, ShredId(id.0)).await;
    assert_eq!(view.state(), "done");
    let told: Vec<_> = view.retained.iter().map(|one| (one.collection.as_str(), one.records, one.until)).collect();
    let until = Some(time(END));
    assert_eq!(told, [("people", 2, until), ("files", 1, until), ("all", 1, until)], "of `short` the law is over by now");
    let exceptions = certificate(&open, view.id).await["exceptions_retained"].clone();
    assert_eq!(exceptions, json!([{"basis": "law 1", "until": "2004-02-01T00:00:00.000Z"}]));
    acme.is_certified(&open, id, &second).await;
    assert!(is_shredded(&acme.get(&open, ("short", "7/tax")).await));
    acme.is_restricted(&open, view.id).await;
    assert_eq!(left(&open).await, [2, 2, 0]);
    assert_eq!(contradictions(&open).await, Vec::<String>::new());
    // With the law ends what was left, by a rule, and no third person is asked.
    to(&clock, END);
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 4);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A record that an order about its person left for the law alone, while another for the record itself waited: to that one it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_while_an_order_for_it_waited_is_gone_to_who_approves() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, "late", unruled(ShredUnit::Record)).await;
    acme.put(&open, ("late", "k"), &["7"], "tax", b"v").await.unwrap();
    let second = acme.ask_for_two(&open).await;
    let record = acme.asked(&open, ShredOrder::Record { collection: coll("late"), key: key("k") }).await;
    acme.set(&open, "late", lawful(ShredUnit::Record, "4y")).await;
    clock.advance(DAY);
    let person = acme.asked(&open, persons(&["7"])).await;
    acme.approve(&open, &second, person).await.unwrap();
    assert_eq!(acme.state(&open, person).await, "done");
    let refused = acme.approve(&open, &second, record).await;
    assert!(matches!(refused, Err(VaultError::Shredded { certificate: Some(by) }) if by.0 == person.0), "{refused:?}");
    assert!(acme.is_pending(&open, record).await);
    assert_eq!(acme.audited(&open, ("late", "k")).await.unwrap(), b"v");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// An order that was approved, and that a hold kept, waits for what a law came to keep since, as any; it stays approved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_order_that_a_hold_stopped_waits_for_what_a_law_keeps_since() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    acme.put(&open, ("people", "note"), &["7"], "note", b"v").await.unwrap();
    let second = acme.ask_for_two(&open).await;
    let id = acme.asked(&open, ShredOrder::Collection(coll("people"))).await;
    let placed = open.vault.place_hold(&counsel, &acme.name, hold_of(HoldScope::Collection(coll("people"))), None).await.unwrap();
    acme.approve(&open, &second, id).await.unwrap();
    assert_eq!(acme.state(&open, id).await, "held");
    acme.put(&open, ("people", "tax"), &["7"], "tax", b"v").await.unwrap();
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    to_just_before(&clock, END);
    run(&open, &clock).await;
    assert_eq!(acme.state(&open, id).await, "held");
    assert_eq!(acme.get(&open, ("people", "tax")).await.unwrap(), b"v");
    let again = acme.approve(&open, &second, id).await;
    assert!(matches!(again, Err(VaultError::Conflict(Conflict::ApprovalOver))), "it is approved: {again:?}");
    clock.advance(Duration::from_millis(1));
    run(&open, &clock).await;
    assert_eq!(acme.state(&open, id).await, "done");
    acme.is_certified(&open, id, &second).await;
    for name in ["note", "tax"] {
        assert!(is_shredded(&acme.get(&open, ("people", name)).await), "{name}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A write that a law would keep, and the approval of an order for its collection, or its tenant: one of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_against_a_write_that_a_law_keeps_ends_in_one_of_two_ways() {
    let (place, _) = place().await;
    let open = place.open().await;
    let mut seen: BTreeMap<(bool, bool), usize> = BTreeMap::new();
    for round in 0..24_usize {
        let named = format!("t{round}");
        let (name, owner, token) = open.tenant(&place, &named).await;
        let acme = Acme { name, owner, tokens: [token.clone(), token] };
        let second = acme.ask_for_two(&open).await;
        acme.set(&open, "c", lawful([ShredUnit::Subject, ShredUnit::Collection][round % 2], "4y")).await;
        acme.put(&open, ("c", "note"), &["7"], "note", b"v").await.unwrap();
        let is_whole = round / 2 % 2 == 0;
        let order = if is_whole { ShredOrder::Tenant { confirm: named } } else { ShredOrder::Collection(coll("c")) };
        let id = acme.asked(&open, order).await;
        let write = async {
            // Sooner or later, so that each comes first at times.
            for _ in 0..(round / 4) * 10 {
                tokio::task::yield_now().await;
            }
            acme.put(&open, ("c", "tax"), &["7"], "tax", b"v").await
        };
        let approve = acme.approve(&open, &second, id);
        // One behind the other, either way, and then at the same moment.
        let (approved, written) = match round / 4 {
            0 => (approve.await, write.await),
            1 => {
                let written = write.await;
                (approve.await, written)
            }
            _ => tokio::join!(approve, write),
        };
        match (&approved, &written) {
            (Ok(()), Err(VaultError::Shredded { .. } | VaultError::Busy)) => {
                assert_eq!(acme.state(&open, id).await, "done", "round {round}");
                assert!(is_shredded(&acme.get(&open, ("c", "note")).await), "round {round}");
            }
            (Err(VaultError::LegalMinimum { records: Some(1), .. }), Ok(())) => {
                assert_eq!(acme.get(&open, ("c", "tax")).await.unwrap(), b"v", "round {round}");
                acme.put(&open, ("c", "more"), &["7"], "tax", b"v").await.unwrap();
                assert!(acme.is_pending(&open, id).await, "round {round}");
            }
            _ => panic!("round {round}: {approved:?} {written:?}"),
        }
        *seen.entry((is_whole, approved.is_ok())).or_default() += 1;
    }
    println!("approvals against what a law keeps: (tenant, approved) {seen:?}");
    for is_whole in [false, true] {
        assert!(seen.contains_key(&(is_whole, true)) && seen.contains_key(&(is_whole, false)), "both must happen: {seen:?}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A rule without a law, much shorter.
fn brief(unit: ShredUnit) -> CollectionPolicy {
    let rules = json!([{"name": "brief", "from": "created", "maximum": "10d", "then": "delete"}]);
    CollectionPolicy { categories: vec!["tax".into(), "note".into()], ..policy(unit, "UTC", &rules) }
}

/// RET-4: what was written under a law ends at its minimum, whatever two persons say, and so does what took its place, and what an order
/// left for it; what no law keeps ends by the rules that they approved. In data of before that, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_persons_shorten_what_a_law_keeps_to_its_minimum_and_no_further() {
    const BRIEF_END: &str = "2000-02-20T00:00:00Z";
    const LAW_END: &str = "2000-04-10T00:00:00Z";
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    let (second, _) = open.token(&acme.owner, &acme.name, Role::Owner).await;
    clock.advance(DAY * 8);
    for (collection, unit) in UNITS {
        acme.set(&open, collection, lawful(unit, "60d")).await;
    }
    clock.advance(DAY);
    for (collection, _) in UNITS {
        for (name, person, kind) in [("tax", "7", "tax"), ("was-tax", "7", "tax"), ("note", "7", "note"), ("left", "9", "tax")] {
            acme.put(&open, (collection, name), &[person], kind, b"v").await.unwrap();
        }
        acme.put(&open, (collection, "was-tax"), &["7"], "note", b"v").await.unwrap();
    }
    open.shred_subject(&acme.owner, &acme.name, "9").await;
    assert_eq!(left(&open).await, [2, 2, 0]);
    open.close().await;
    place.copy("store/data", "then");

    // Of each: whether all, those that a law keeps, or none are there.
    let is_there = async |open: &Open, acme: &Acme, expected: [bool; 4]| {
        for (collection, _) in UNITS {
            for (name, expected) in ["tax", "was-tax", "note", "left"].into_iter().zip(expected) {
                let at = (collection, name);
                let there = if name == "left" { acme.audited(open, at).await } else { acme.get(open, at).await };
                assert_eq!(there.is_ok(), expected, "{at:?} at {}: {there:?}", clock.now().to_rfc3339());
            }
        }
    };
    let restored = async |acme: &mut Acme, expected: [bool; 4]| {
        place.put_back("then", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        open.vault.begin_restoring();
        assert_eq!(open.vault.replay_retention().await.unwrap().failed, 0);
        open.vault.end_restoring();
        is_there(&open, &*acme, expected).await;
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    };

    let open = place.open().await;
    acme.again(&open).await;
    let second = open.caller(&second).await;
    clock.advance(DAY);
    for (collection, unit) in UNITS {
        acme.set(&open, collection, brief(unit)).await;
        let asked = open.vault.ask_shortening(&acme.owner, &acme.name, &coll(collection), None).await.unwrap();
        acme.approve(&open, &second, asked.id).await.unwrap();
    }
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    to_just_before(&clock, BRIEF_END);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(run_until(&open, &clock, [2, 2, 0]).await, 3, "what no law keeps");
    is_there(&open, &acme, [true, true, false, true]).await;
    for (collection, _) in UNITS {
        for name in ["tax", "was-tax"] {
            let refused = refused_by_law(acme.delete(&open, (collection, name)).await);
            assert_eq!(time(&refused), time(LAW_END), "{collection}/{name}: nor is it deleted on purpose");
        }
    }
    open.close().await;
    place.copy("store/data", "today");
    restored(&mut acme, [true, true, false, true]).await;

    place.put_back("today", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    to_just_before(&clock, LAW_END);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    is_there(&open, &acme, [true, true, false, true]).await;
    clock.advance(Duration::from_millis(1));
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 9, "at the law's end, and years before the rule's");
    is_there(&open, &acme, [false; 4]).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
    restored(&mut acme, [false; 4]).await;
}
