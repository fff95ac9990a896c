//! What laws keep of a tenant that ends: it outlives the tenant for its purpose alone, with its own keys, and goes with its minimum; beside
//! holds, over older data, and where it is more than one epoch keeps. RET-3, RET-6.

use std::collections::BTreeSet;

use lethe::{
    authn::{Narrowing, Role, TokenKind},
    domain::{
        CollectionPolicy, ShredUnit, TestClock,
        hold::HoldScope,
        retention::{EventDate, EventName, Mode},
    },
    vault::{
        ops::{BatchOp, Caller, ListQuery, MintToken, PutRecord, Remaining, Terminated, VaultError},
        store::{Space, schema::Table},
    },
};
use serde_json::json;

use super::{Acme, LAWFUL, asking, is_stopped, place_hold};
use crate::{
    harness::{Open, Place, certificate, coll, contradictions, filed_under, findings, is_shredded, key, put_of, put_op, subject, until},
    kept::lawful,
    retention::{DAY, place, policy, run, time, to},
    rows,
};

/// Until when laws keep what is written at noon of 31 January 2000: in `brief` for a year, elsewhere for four.
const BRIEF: &str = "2001-02-01T00:00:00Z";
const LONG: &str = "2004-02-01T00:00:00Z";
/// Records that laws keep.
const KEPT: [(&str, &str); 5] = [("people", "7/tax"), ("people", "7/large"), ("single", "7/tax"), ("all", "7/tax"), ("brief", "8/tax")];
/// Others, beside those and elsewhere.
const GONE: [(&str, &str); 6] =
    [("people", "7/note"), ("people", "8/note"), ("single", "7/note"), ("all", "8/note"), ("brief", "8/note"), ("files", "7")];

fn value_of(name: &str) -> Vec<u8> {
    if name.ends_with("large") { vec![7; 200_000] } else { name.as_bytes().to_vec() }
}

/// A tenant of which laws keep something in collections of every unit, ordered to end; its tokens.
struct Lawful {
    acme: Acme,
    tokens: [String; 3],
}

impl Lawful {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, token) = open.tenant(place, "acme").await;
        let (auditor, _) = open.token(&owner, &name, Role::Auditor).await;
        let (counsel, _) = open.token(&owner, &name, Role::Counsel).await;
        let acme = Acme { name, owner, operator: open.caller(&place.operator).await };
        open.collection(&acme.owner, &acme.name, "files", ShredUnit::Record).await;
        for (collection, unit) in LAWFUL {
            acme.under_law(open, collection, unit).await;
        }
        let brief = lawful(ShredUnit::Subject, "1y");
        open.vault.put_collection(&acme.owner, &acme.name, &coll("brief"), brief, None).await.unwrap();
        for (collection, name) in KEPT.into_iter().chain(GONE) {
            let category = if name.ends_with("note") { "note" } else { "tax" };
            let custom = filed_under(Some(category).filter(|_| collection != "files"));
            let put = PutRecord { custom, ..put_of(name.split('/').next(), &value_of(name)) };
            open.vault.put_record(&acme.owner, &acme.name, &coll(collection), key(name), put).await.unwrap();
        }
        Self { acme, tokens: [token, auditor, counsel] }
    }

    /// After a start.
    async fn again(&mut self, open: &Open) {
        self.acme.owner = open.caller(&self.tokens[0]).await;
    }

    async fn auditor(&self, open: &Open, purpose: Option<&str>) -> Caller {
        asking(open, &self.tokens[1], purpose).await
    }

    /// What remains by the answer to the order to end it, of laws.
    async fn order_end(&self, open: &Open) -> Vec<Remaining> {
        let Terminated::Now(told) = self.acme.ordered(open, "30d", None).await.unwrap() else { panic!("one owner is enough") };
        told.remains.iter().filter(|one| one.what == "legal-minimum").cloned().collect()
    }

    /// Ends it, and waits until all else is gone.
    async fn end(&self, open: &Open, clock: &TestClock) {
        clock.advance(DAY * 31);
        run(open, clock).await;
        self.is_done(open, 1).await;
    }

    /// Waits until so many ends in part are done, and the tenant is left for auditors.
    async fn is_done(&self, open: &Open, rests: usize) {
        let is_done = async || {
            let views = self.orders(open).await;
            let done = views.iter().filter(|(scope, done)| scope == "rest" && *done).count();
            done == rests && self.acme.is_in(open, "restricted").await
        };
        until("it has ended in part", is_done).await;
    }

    /// All orders: what each is for, and whether it is done.
    async fn orders(&self, open: &Open) -> Vec<(String, bool)> {
        let mut orders = Vec::new();
        for id in rows::orders(&open.store, Table::ShredOrder).await {
            if let Ok(view) = open.vault.shred(&self.acme.owner, &self.acme.name, id, None).await {
                orders.push((view.scope.to_owned(), view.done));
            }
        }
        orders
    }

    /// These records are there for the law's purpose, and no others at all.
    async fn has_only(&self, open: &Open, kept: &[(&str, &str)]) {
        let name = &self.acme.name;
        let [audit, invoices] = [self.auditor(open, None).await, self.auditor(open, Some("invoices")).await];
        for at in KEPT.into_iter().chain(GONE) {
            let got = open.get(&invoices, name, at).await;
            if kept.contains(&at) {
                assert!(got.unwrap() == value_of(at.1), "{at:?}");
                let refused = open.get(&audit, name, at).await;
                assert!(matches!(refused, Err(VaultError::Forbidden)), "{at:?}: for its purpose alone: {refused:?}");
                assert!(is_stopped(&open.get(&self.acme.owner, name, at).await), "{at:?}: not the owner's any more");
            } else {
                assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{at:?}: {got:?}");
            }
        }
        for collection in kept.iter().map(|(collection, _)| *collection).collect::<BTreeSet<_>>() {
            let query = ListQuery { limit: 100, ..ListQuery::default() };
            let page = open.vault.list(&audit, name, &coll(collection), query).await.unwrap();
            let listed: BTreeSet<&str> = page.items.iter().map(|item| item.meta.key.as_str()).collect();
            let theirs: BTreeSet<&str> = kept.iter().filter(|(of, _)| *of == collection).map(|(_, name)| *name).collect();
            assert_eq!(listed, theirs, "{collection}: found without a purpose");
        }
        assert_eq!(findings(open).await, Vec::<String>::new());
        assert_eq!(contradictions(open).await, Vec::<String>::new());
    }
}

/// How many rows a space has, and the table of what is left for laws.
async fn rows_left(open: &Open) -> [usize; 3] {
    let all = async |space| rows::all(&open.store, space).await.len();
    [all(Space::Records).await, all(Space::Blobs).await, rows::count(&open.store, Table::LeftByLaw).await]
}

/// No minimum falls with its tenant: what laws keep is there for auditors, each record until its own minimum ends, and everything else has
/// gone at the end of the grace. The answer to the order says so; with the last minimum goes the tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_laws_keep_of_a_tenant_that_ends_outlives_it_until_their_minimums_end() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut lawful = Lawful::make(&open, &place).await;
    open.close().await;
    place.copy("store/data", "before");
    let open = place.open().await;
    lawful.again(&open).await;
    let told = lawful.order_end(&open).await;
    let told: BTreeSet<(String, String, u64, String)> = told
        .into_iter()
        .map(|one| {
            let of = one.kept.unwrap();
            assert_eq!(of.basis, "law 1");
            (of.collection, of.rule, of.records, one.until.unwrap().to_rfc3339())
        })
        .collect();
    let expected = [("all", 1, LONG), ("brief", 1, BRIEF), ("people", 2, LONG), ("single", 1, LONG)];
    let expected =
        expected.map(|(collection, records, end)| (collection.to_owned(), "invoices".to_owned(), records, time(end).to_rfc3339()));
    assert_eq!(told, BTreeSet::from(expected));
    lawful.end(&open, &clock).await;
    lawful.has_only(&open, &KEPT).await;
    // Of a large value there are four rows.
    assert_eq!(rows_left(&open).await, [KEPT.len(), 4, 1]);
    let orders = lawful.orders(&open).await;
    let orders: BTreeSet<(&str, bool)> = orders.iter().map(|(scope, done)| (scope.as_str(), *done)).collect();
    assert_eq!(orders, BTreeSet::from([("rest", true), ("tenant", false)]));
    let certificates = rows::orders(&open.store, Table::Certificate).await;
    let said = certificate(&open, certificates[0]).await;
    assert_eq!((certificates.len(), &said["scope"]), (1, &json!("rest")), "{said:#}");
    assert_eq!(said["exceptions_retained"][0]["basis"], "law 1", "{said:#}");
    // It is no hold, and nobody is told of one.
    let counsel = open.caller(&lawful.tokens[2]).await;
    assert!(open.vault.holds_of(&counsel, &lawful.acme.name, None, 10).await.unwrap().0.is_empty());
    let why = open.vault.explain_retention(&counsel, &lawful.acme.name, &coll("people"), &key("7/tax")).await.unwrap();
    assert!(!why.held && why.explanation.state == "restricted", "{why:?}");
    assert!(why.explanation.why.starts_with("legal minimum: "), "{why:?}");
    assert_eq!(why.explanation.end.unwrap().at, time(LONG));
    open.close().await;
    place.copy("store/data", "behind");

    // A restart, and older data of either side of the end.
    for older in [None, Some("before"), Some("behind")] {
        if let Some(older) = older {
            place.put_back(older, "store/data");
        }
        let open = place.open().await;
        lawful.again(&open).await;
        lawful.has_only(&open, &KEPT).await;
        run(&open, &clock).await;
        lawful.is_done(&open, 1).await;
        open.close().await;
    }

    // Of what a law keeps no more nobody reads anything, before any run; with the next all of it goes.
    let open = place.open().await;
    lawful.again(&open).await;
    run(&open, &clock).await;
    to(&clock, BRIEF);
    lawful.has_only(&open, &KEPT[..4]).await;
    assert_eq!(rows_left(&open).await[0], KEPT.len());
    run(&open, &clock).await;
    lawful.is_done(&open, 2).await;
    lawful.has_only(&open, &KEPT[..4]).await;
    assert_eq!(rows_left(&open).await, [KEPT.len() - 1, 4, 1]);
    let auditor = lawful.auditor(&open, Some("invoices")).await;
    assert!(is_shredded(&open.get(&auditor, &lawful.acme.name, ("brief", "8/tax")).await));
    open.close().await;
    for older in ["before", "behind"] {
        place.put_back(older, "store/data");
        let open = place.open().await;
        lawful.again(&open).await;
        lawful.has_only(&open, &KEPT[..4]).await;
        open.close().await;
    }

    let open = place.open().await;
    lawful.again(&open).await;
    run(&open, &clock).await;
    to(&clock, LONG);
    run(&open, &clock).await;
    let all = async || lawful.orders(&open).await.iter().filter(|(_, done)| *done).count() == 3;
    until("all of it is gone", all).await;
    assert!(is_shredded(&open.get(&lawful.acme.owner, &lawful.acme.name, ("people", "7/tax")).await));
    assert_eq!(rows_left(&open).await[2], 0);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What laws alone keep an owner has read by whom the owner says, for it is the tenant's own; where a hold stands, that is the counsels'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_what_laws_alone_keep_an_owner_says_while_no_hold_stands() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let lawful = Lawful::make(&open, &place).await;
    lawful.order_end(&open).await;
    lawful.end(&open, &clock).await;
    let Acme { name, owner, .. } = &lawful.acme;
    let make = async |role| {
        let mint = MintToken { role, kind: TokenKind::Service, narrowing: Narrowing::default(), expires_at: None };
        open.vault.create_token(owner, name, mint, None).await.map(|minted| minted.text.to_string())
    };
    for role in [Role::Owner, Role::Reader, Role::Writer, Role::Eraser, Role::Governor] {
        assert!(is_stopped(&make(role).await), "{role}");
    }
    let other = asking(&open, &make(Role::Auditor).await.unwrap(), Some("invoices")).await;
    assert_eq!(open.get(&other, name, ("people", "7/tax")).await.unwrap(), b"7/tax");
    let counsel = open.caller(&lawful.tokens[2]).await;
    let hold = place_hold(&open, &counsel, name, HoldScope::Records(vec![(coll("all"), key("7/tax"))])).await.unwrap();
    assert!(is_stopped(&make(Role::Auditor).await), "that is the counsel's now");
    // What is held is read without the law's purpose.
    assert_eq!(open.get(&lawful.auditor(&open, None).await, name, ("all", "7/tax")).await.unwrap(), b"7/tax");
    open.vault.release_hold(&counsel, name, hold, "settled".into(), None).await.unwrap();
    make(Role::Auditor).await.unwrap();
    run(&open, &clock).await;
    lawful.has_only(&open, &KEPT).await;
    open.close().await;
}

/// Laws and holds keep what each is on: with the release goes what the hold alone had kept, with a minimum what that had, and neither sets
/// free what the other keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn laws_and_holds_keep_each_what_they_are_on_of_a_tenant_that_ended() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let lawful = Lawful::make(&open, &place).await;
    let counsel = open.caller(&lawful.tokens[2]).await;
    let name = &lawful.acme.name;
    let things = [("brief", "8/note"), ("brief", "8/tax"), ("files", "7")].map(|(collection, name)| (coll(collection), key(name)));
    let hold = place_hold(&open, &counsel, name, HoldScope::Records(things.to_vec())).await.unwrap();
    lawful.order_end(&open).await;
    lawful.end(&open, &clock).await;
    let audit = lawful.auditor(&open, None).await;
    for at in [("brief", "8/note"), ("brief", "8/tax"), ("files", "7")] {
        assert!(open.get(&audit, name, at).await.unwrap() == value_of(at.1), "{at:?}: held");
    }
    assert_eq!(rows_left(&open).await[0], KEPT.len() + 2);
    // A minimum that ends sets nothing free that is held.
    to(&clock, BRIEF);
    run(&open, &clock).await;
    assert_eq!(open.get(&audit, name, ("brief", "8/tax")).await.unwrap(), b"8/tax");
    assert_eq!(lawful.orders(&open).await.len(), 2, "nothing was to go");
    open.vault.release_hold(&counsel, name, hold, "settled".into(), None).await.unwrap();
    run(&open, &clock).await;
    lawful.is_done(&open, 2).await;
    lawful.has_only(&open, &KEPT[..4]).await;
    assert_eq!(rows_left(&open).await, [KEPT.len() - 1, 4, 1]);
    to(&clock, LONG);
    run(&open, &clock).await;
    let all = async || lawful.orders(&open).await.iter().filter(|(_, done)| *done).count() == 3;
    until("all of it is gone", all).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// With the last minimum before the last hold, what is held stays until that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_outlasts_the_laws_keeps_what_it_is_on_alone() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let lawful = Lawful::make(&open, &place).await;
    let counsel = open.caller(&lawful.tokens[2]).await;
    let name = &lawful.acme.name;
    let hold = place_hold(&open, &counsel, name, HoldScope::Records(vec![(coll("files"), key("7"))])).await.unwrap();
    lawful.order_end(&open).await;
    lawful.end(&open, &clock).await;
    to(&clock, LONG);
    run(&open, &clock).await;
    lawful.is_done(&open, 2).await;
    let [audit, invoices] = [lawful.auditor(&open, None).await, lawful.auditor(&open, Some("invoices")).await];
    assert_eq!(open.get(&audit, name, ("files", "7")).await.unwrap(), b"7");
    for at in KEPT {
        let got = open.get(&invoices, name, at).await;
        assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{at:?}: {got:?}");
    }
    assert_eq!(rows_left(&open).await, [1, 0, 0]);
    open.vault.release_hold(&counsel, name, hold, "settled".into(), None).await.unwrap();
    run(&open, &clock).await;
    let all = async || lawful.orders(&open).await.iter().filter(|(_, done)| *done).count() == 3;
    until("all of it is gone", all).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Nobody reports anything of a tenant that has ended: a minimum that waits for that counts from the end. One that counts from what was
/// reported still does when it is looked at again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_that_waits_counts_from_the_end_of_its_tenant() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (name, owner, _) = open.tenant(&place, "acme").await;
    let auditor = open.token(&owner, &name, Role::Auditor).await.0;
    let acme = Acme { name, owner, operator: open.caller(&place.operator).await };
    let law = json!({"period": "1y", "basis": "law 1"});
    let rules = json!([{"name": "deals", "from": {"event": "ended"}, "minimum": law, "maximum": "9y", "then": "delete"}]);
    open.vault.put_collection(&acme.owner, &acme.name, &coll("deals"), policy(ShredUnit::Subject, "UTC", &rules), None).await.unwrap();
    for person in ["7", "8"] {
        open.put(&acme.owner, &acme.name, ("deals", person), Some(person), b"v").await.unwrap();
    }
    // Of person 8 it lies ahead, behind the end by a year.
    let report = (subject("8"), EventName::parse("ended").unwrap(), EventDate::parse("2001-03-01").unwrap());
    open.vault.report_event(&acme.owner, &acme.name, report, None).await.unwrap();
    acme.terminate(&open, "30d").await.unwrap();
    clock.advance(DAY * 31);
    run(&open, &clock).await;
    until("it has ended in part", async || acme.is_in(&open, "restricted").await).await;
    let audit = asking(&open, &auditor, Some("deals")).await;
    for (at, sevens, eights) in
        [("2001-03-01T12:00:00Z", true, true), ("2001-03-03T12:00:00Z", false, true), ("2002-03-01T12:00:00Z", false, true)]
    {
        to(&clock, at);
        run(&open, &clock).await;
        until("it is left for auditors", async || acme.is_in(&open, "restricted").await).await;
        for (person, is_there) in [("7", sevens), ("8", eights)] {
            assert_eq!(open.get(&audit, &acme.name, ("deals", person)).await.is_ok(), is_there, "{person} at {at}");
        }
        assert_eq!(findings(&open).await, Vec::<String>::new(), "at {at}");
    }
    clock.advance(DAY);
    run(&open, &clock).await;
    until("all of it is gone", async || is_shredded(&open.get(&acme.owner, &acme.name, ("deals", "8")).await)).await;
    open.close().await;
}

/// Where laws keep more than one epoch does, the collections go of which they keep nothing; the others stay, in sight what the laws keep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_laws_keep_too_much_the_collections_go_of_which_they_keep_nothing() {
    const MANY: usize = 5_001;
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let auditor = open.token(&acme.owner, &acme.name, Role::Auditor).await.0;
    acme.put(&open, "a").await.unwrap();
    acme.under_law(&open, "all", ShredUnit::Collection).await;
    for first in (0..MANY).step_by(1_000) {
        let ops: Vec<BatchOp> = (first..MANY.min(first + 1_000)).map(|number| put_op("all", number, &[])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    acme.book(&open, ("all", "note"), "7", "note").await.unwrap();
    acme.terminate(&open, "30d").await.unwrap();
    clock.advance(DAY * 31);
    run(&open, &clock).await;
    let audit = asking(&open, &auditor, Some("invoices")).await;
    until("the other collection is gone", async || is_shredded(&open.get(&audit, &acme.name, ("files", "a")).await)).await;
    for _ in 0..2 {
        assert!(acme.is_in(&open, "ended").await);
        assert_eq!(open.get(&audit, &acme.name, ("all", "0")).await.unwrap(), b"v");
        let note = open.get(&audit, &acme.name, ("all", "note")).await;
        assert!(matches!(note, Err(VaultError::NotFound(_))), "{note:?}");
        clock.advance(DAY * 2);
        run(&open, &clock).await;
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    clock.advance(DAY * (4 * 366));
    run(&open, &clock).await;
    run(&open, &clock).await;
    until("all of it is gone", async || is_shredded(&open.get(&acme.owner, &acme.name, ("all", "0")).await)).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A minimum of the governance kind keeps of a tenant that ends what any other does. What somebody has bypassed keeps nothing then, and what
/// nobody shortens stands beside it. HOLD-4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_bypassed_is_not_left_of_a_tenant_that_ends() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (name, owner, _) = open.tenant(&place, "acme").await;
    let auditor = open.token(&owner, &name, Role::Auditor).await.0;
    let governor = open.with_role(&owner, &name, Role::Governor).await;
    let acme = Acme { name, owner, operator: open.caller(&place.operator).await };
    // Whoever counts as a second person was there for a week.
    clock.advance(DAY * 8);
    let law = json!({"period": "4y", "basis": "law 2", "mode": "governance"});
    let long = json!([{"name": "long", "from": "created", "minimum": law, "maximum": "12y", "then": "delete"}]);
    for (collection, unit) in LAWFUL {
        let governed = CollectionPolicy { categories: vec!["tax".into(), "note".into()], ..policy(unit, "UTC", &long) };
        open.vault.put_collection(&acme.owner, &acme.name, &coll(collection), governed, None).await.unwrap();
        for category in ["tax", "note"] {
            acme.book(&open, (collection, category), "7", category).await.unwrap();
        }
    }
    clock.advance(DAY);
    for (collection, unit) in LAWFUL {
        open.vault.put_collection(&acme.owner, &acme.name, &coll(collection), lawful(unit, "1y"), None).await.unwrap();
    }
    for collection in ["people", "all"] {
        let reason = "the law has changed".to_owned();
        let asked = open.vault.ask_bypass(&acme.owner, &acme.name, &coll(collection), reason, None).await.unwrap();
        open.approve(&governor, &acme.name, asked.id).await.unwrap();
    }
    clock.advance(DAY);
    let (firm, governed) = ("2001-02-09T00:00:00Z", "2004-02-09T00:00:00Z");
    let Terminated::Now(told) = acme.ordered(&open, "30d", None).await.unwrap() else { panic!("one owner is enough") };
    let told = told.remains.iter().filter_map(|one| {
        let of = one.kept.as_ref()?;
        Some((of.collection.as_str(), of.rule.as_str(), of.records, one.until))
    });
    let expected = [("all", "invoices", 1, firm), ("people", "invoices", 1, firm), ("single", "long", 2, governed)];
    let expected = expected.map(|(collection, rule, records, until)| (collection, rule, records, Some(time(until))));
    assert_eq!(told.collect::<BTreeSet<_>>(), BTreeSet::from(expected));

    clock.advance(DAY * 31);
    run(&open, &clock).await;
    until("it has ended in part", async || acme.is_in(&open, "restricted").await).await;
    let [invoices, longer] = [asking(&open, &auditor, Some("invoices")).await, asking(&open, &auditor, Some("long")).await];
    for collection in ["people", "all"] {
        assert_eq!(open.get(&invoices, &acme.name, (collection, "tax")).await.unwrap(), b"v", "{collection}");
        let note = open.get(&longer, &acme.name, (collection, "note")).await;
        assert!(matches!(note, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{collection}: {note:?}");
        let why = open.vault.explain_retention(&invoices, &acme.name, &coll(collection), &key("tax")).await.unwrap().explanation;
        assert!(why.why.starts_with("legal minimum: ") && why.why.contains("was bypassed"), "{collection}: {}", why.why);
        assert_eq!(why.minimum.map(|minimum| (minimum.until, minimum.mode)), Some((time(firm), Mode::Compliance)), "{collection}");
        assert_eq!(why.bypassed.map(|of| (of.rule, of.until)), Some(("long".to_owned(), Some(time(governed)))), "{collection}");
    }
    let single = async || {
        for name in ["tax", "note"] {
            assert_eq!(open.get(&longer, &acme.name, ("single", name)).await.unwrap(), b"v", "{name}: nobody has bypassed that");
        }
        assert_eq!(findings(&open).await, Vec::<String>::new());
        assert_eq!(contradictions(&open).await, Vec::<String>::new());
    };
    single().await;
    to(&clock, firm);
    run(&open, &clock).await;
    let is_second = async || rows::count(&open.store, Table::Certificate).await == 2 && acme.is_in(&open, "restricted").await;
    until("what nobody shortened has ended", is_second).await;
    assert!(is_shredded(&open.get(&invoices, &acme.name, ("people", "tax")).await));
    single().await;
    to(&clock, governed);
    run(&open, &clock).await;
    until("all of it is gone", async || is_shredded(&open.get(&acme.owner, &acme.name, ("single", "tax")).await)).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}
