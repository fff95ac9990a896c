//! Legal holds against everything that destroys, at once, over restarts and older data: what is held is there, what was stopped goes
//! when the hold ends. The rows of privacy.md that this proves are named at the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lethe::{
    authn::Role,
    domain::{
        Clock as _, HoldId, ShredId, ShredUnit, SubjectId, TenantName, TestClock, Timestamp,
        hold::{HoldScope, HoldText, NewHold},
    },
    jobs::Retention,
    vault::{
        ops::{Caller, Destroyed, HoldView, Precondition, PutRecord, ShredOrder, VaultError, VaultOptions},
        store::{Commit, Durability, Space, Store as _, StoreError, Urgency, Write, schema},
    },
};

use crate::harness::{Open, Place, coll, is_shredded, key, put_of};

const DAY: Duration = Duration::from_hours(24);

/// A store whose clock stands at noon of 31 January 2000, in UTC.
async fn place() -> (Place, TestClock) {
    let mut place = Place::make_with(VaultOptions::default(), true).await;
    let clock = TestClock::at(Timestamp::parse_rfc3339("2000-01-31T12:00:00Z").unwrap());
    place.clock = Arc::new(clock.clone());
    (place, clock)
}

fn subject(name: &str) -> SubjectId {
    SubjectId::parse(name).unwrap()
}

fn hold(scope: HoldScope, law_enforcement: bool) -> NewHold {
    let text = HoldText {
        matter: "M-1".into(),
        reason: "a lawsuit".into(),
        custodian: "legal".into(),
        case_number: law_enforcement.then(|| "24-1".into()),
        renewal_reason: None,
        release_reason: None,
    };
    NewHold { text, scope, disclosed: false, law_enforcement }
}

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
        open.vault.place_hold(&self.counsel, &self.name, hold(scope, false), None).await.unwrap()
    }

    async fn release(&self, open: &Open, id: HoldId) {
        open.vault.release_hold(&self.counsel, &self.name, id, "settled".into(), None).await.unwrap();
    }

    async fn put(&self, open: &Open, at: (&str, &str), subjects: &[&str]) -> Result<(), VaultError> {
        let put = PutRecord { subjects: subjects.iter().map(|name| subject(name)).collect(), ..put_of(None, b"v") };
        open.vault.put_record(&self.owner, &self.name, &coll(at.0), key(at.1), put).await.map(drop)
    }

    async fn delete(&self, open: &Open, at: (&str, &str)) -> Result<(), VaultError> {
        open.vault.delete_record(&self.owner, &self.name, &coll(at.0), key(at.1), Precondition::None, None).await
    }

    async fn get(&self, open: &Open, at: (&str, &str)) -> Result<Vec<u8>, VaultError> {
        open.get(&self.owner, &self.name, at).await
    }

    async fn shred(&self, open: &Open, order: ShredOrder, wait: Option<Duration>) -> Result<ShredId, VaultError> {
        open.vault.order_shred(&self.owner, &self.name, order, wait, None).await.map(|view| view.id)
    }

    /// How an order is, at the latest when it is done: `done`, `held` or `pending`.
    async fn state(&self, open: &Open, id: ShredId) -> &'static str {
        let view = open.vault.shred(&self.owner, &self.name, id, Some(Duration::from_secs(30))).await.unwrap();
        match (view.done, view.held) {
            (true, _) => "done",
            (false, true) => "held",
            (false, false) => "pending",
        }
    }
}

fn persons(names: &[&str]) -> ShredOrder {
    ShredOrder::Subjects(names.iter().map(|name| subject(name)).collect())
}

fn stopped(result: &Result<impl std::fmt::Debug, VaultError>) -> Option<ShredId> {
    if let Err(VaultError::LegalHold { order, .. }) = result { *order } else { None }
}

async fn run(open: &Open, clock: &TestClock) -> Destroyed {
    Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await.unwrap()
}

async fn findings(open: &Open) -> Vec<String> {
    open.vault.check().await.unwrap().findings
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
                    "collection" => {
                        acme.shred(&open, ShredOrder::Collection(coll(&collection)), Some(Duration::from_secs(30))).await.map(drop)
                    }
                    _ => acme.shred(&open, persons(&[&person]), Some(Duration::from_secs(30))).await.map(drop),
                }
            }
        };
        let placing = {
            let (open, acme) = (open.clone(), acme.clone());
            async move {
                for _ in 0..behind {
                    tokio::task::yield_now().await;
                }
                open.vault.place_hold(&acme.counsel, &acme.name, hold(scope, false), None).await
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
    place.meddler.refuse(|commit| {
        let deletes = commit.writes.iter().any(|write| matches!(write, Write::Delete { space: Space::Records, .. }));
        deletes.then_some(StoreError::Busy)
    });
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
    clock.advance(DAY * 40);
    assert_eq!(run(&open, &clock).await.held, 1);
    acme.release(&open, second.id).await;
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    let left = schema::table(schema::Table::HeldDue);
    assert!(open.store.scan(Space::Index, &left.from, &left.to, 1).await.unwrap().is_empty());
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
    let done = run(&open, &clock).await;
    assert_eq!((done.held, done.looked_at, done.destroyed), (MANY, MANY, 0), "{done:?}");
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

/// HOLD-1 and HOLD-7, in any order of writes, orders, holds, their ends, steps of the clock, runs and restarts: what is held is there,
/// and when all holds have ended, everything goes that was ordered or due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_what_is_held_is_there_and_what_was_stopped_goes_at_the_end() {
    for seed in 0..8_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let mut acme = Acme::make(&open, &place, "acme").await;
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        // Records that are there: their persons and end. Holds that stand, with what they are on. Orders that were stopped.
        let mut there: BTreeMap<(&str, String), (Vec<String>, Option<Timestamp>)> = BTreeMap::new();
        let mut holds: Vec<(HoldId, HoldScope)> = Vec::new();
        let mut orders: BTreeSet<(ShredId, String)> = BTreeSet::new();
        let is_held = |holds: &[(HoldId, HoldScope)], collection: &str, name: &str, persons: &[String]| {
            holds.iter().any(|(_, scope)| match scope {
                HoldScope::Tenant => true,
                HoldScope::Subjects(subjects) => persons.iter().any(|person| subjects.contains(&subject(person))),
                HoldScope::Collection(held) => *held == coll(collection),
                HoldScope::Prefix(held, prefix) => *held == coll(collection) && key(name).starts_with(prefix),
                HoldScope::Records(records) => records.contains(&(coll(collection), key(name))),
            })
        };
        for step in 0..150 {
            let collection = ["people", "all", "files"][usize::try_from(draw(3)).unwrap()];
            let name = format!("{}/{}", ["x", "y"][usize::try_from(draw(2)).unwrap()], draw(4));
            let person = draw(4).to_string();
            let at = format!("seed {seed}, step {step}, {collection}/{name}");
            let place_of = (collection, name.clone());
            let held = there.get(&place_of).is_some_and(|(persons, _)| is_held(&holds, collection, &name, persons));
            match draw(12) {
                0..4 => {
                    let mut persons = vec![person.clone()];
                    if draw(3) == 0 {
                        persons.push(((draw(3) + 1 + person.parse::<u64>().unwrap()) % 4).to_string());
                    }
                    let end = (draw(3) == 0).then(|| clock.now().plus(DAY * u32::try_from(draw(20) + 1).unwrap()));
                    let put = PutRecord {
                        subjects: persons.iter().map(|name| subject(name)).collect(),
                        expires_at: end,
                        new_relationship: true,
                        ..put_of(None, b"v")
                    };
                    let put = open.vault.put_record(&acme.owner, &acme.name, &coll(collection), key(&name), put).await;
                    match put {
                        Ok(_) => {
                            assert!(!held, "{at}: a held one was written over");
                            there.insert(place_of, (persons, end));
                        }
                        Err(VaultError::LegalHold { .. }) => assert!(held, "{at}: nothing holds it"),
                        Err(error) => panic!("{at}: {error:?}"),
                    }
                }
                4 => match acme.delete(&open, (collection, &name)).await {
                    Ok(()) => {
                        assert!(!held, "{at}: a held one was deleted");
                        there.remove(&place_of).unwrap();
                    }
                    Err(VaultError::LegalHold { .. }) => assert!(held, "{at}: nothing holds it"),
                    Err(VaultError::NotFound(_) | VaultError::Shredded { .. }) => assert!(!held, "{at}: it is gone"),
                    Err(error) => panic!("{at}: {error:?}"),
                },
                5 => {
                    // What goes with a person: what names the person first.
                    let goes = |persons: &[String]| persons[0] == person;
                    let any_held =
                        there.iter().any(|((collection, name), (persons, _))| goes(persons) && is_held(&holds, collection, name, persons))
                            || is_held(&holds, "none", "none", std::slice::from_ref(&person));
                    let order = acme.shred(&open, persons(&[&person]), Some(Duration::from_secs(30))).await;
                    match stopped(&order) {
                        Some(id) => {
                            assert!(any_held, "{at}: nothing holds person {person}");
                            orders.insert((id, person.clone()));
                        }
                        None => {
                            order.unwrap();
                            assert!(!any_held, "{at}: person {person} is held");
                            there.retain(|_, (persons, _)| persons[0] != person);
                        }
                    }
                }
                6 => {
                    let scope = match draw(6) {
                        0 => HoldScope::Tenant,
                        1 => HoldScope::Collection(coll(collection)),
                        2 => HoldScope::Prefix(coll(collection), key(name.split('/').next().unwrap())),
                        3 => HoldScope::Records(vec![(coll(collection), key(&name))]),
                        _ => HoldScope::Subjects(vec![subject(&person)]),
                    };
                    if holds.len() < 3 {
                        holds.push((acme.place(&open, scope.clone()).await.id, scope));
                    }
                }
                7 => {
                    if !holds.is_empty() {
                        let at = usize::try_from(draw(holds.len() as u64)).unwrap();
                        acme.release(&open, holds.remove(at).0).await;
                        // Orders that nothing holds any more are given in that moment.
                        let mut given = Vec::new();
                        for (id, person) in &orders {
                            if acme.state(&open, *id).await == "done" {
                                given.push((*id, person.clone()));
                            }
                        }
                        for (id, person) in given {
                            orders.remove(&(id, person.clone()));
                            for ((collection, name), (persons, _)) in &there {
                                let held = is_held(&holds, collection, name, persons);
                                assert!(persons[0] != person || !held, "seed {seed}, step {step}: {collection}/{name} went although held");
                            }
                            there.retain(|_, (persons, _)| persons[0] != person);
                        }
                    }
                }
                8 if step % 3 == 0 => {
                    open.close().await;
                    open = place.open().await;
                    acme.again(&open).await;
                }
                _ => {
                    clock.advance(Duration::from_millis(draw(3 * 86_400_000)));
                    run(&open, &clock).await;
                    let now = clock.now();
                    let held: Vec<_> = there
                        .iter()
                        .filter(|((collection, name), (persons, _))| is_held(&holds, collection, name, persons))
                        .map(|(place, _)| place.clone())
                        .collect();
                    there.retain(|place, (_, end)| held.contains(place) || end.is_none_or(|end| end > now));
                }
            }
            // What is held is there, and so is what nobody destroyed; a reader is not shown what is past its end.
            for ((collection, name), (_, end)) in &there {
                let got = acme.get(&open, (collection, name)).await;
                if end.is_none_or(|end| end > clock.now()) {
                    assert!(got.is_ok(), "seed {seed}, step {step}: {collection}/{name}: {got:?}");
                } else {
                    let kept = acme.delete(&open, (collection, name)).await;
                    assert!(
                        matches!(kept, Err(VaultError::LegalHold { .. }))
                            || !is_held(&holds, collection, name, &there[&(*collection, name.clone())].0),
                        "seed {seed}, step {step}: {collection}/{name}: {kept:?}"
                    );
                }
            }
            there.retain(|(collection, name), (persons, end)| {
                end.is_none_or(|end| end > clock.now()) || is_held(&holds, collection, name, persons)
            });
        }
        for (id, _) in holds {
            acme.release(&open, id).await;
        }
        clock.advance(DAY * 40);
        run(&open, &clock).await;
        for (id, person) in orders {
            assert_eq!(acme.state(&open, id).await, "done", "seed {seed}");
            there.retain(|_, (persons, _)| persons[0] != person);
        }
        for ((collection, name), (_, end)) in &there {
            assert_eq!(acme.get(&open, (collection, name)).await.is_ok(), end.is_none(), "seed {seed}: {collection}/{name}");
        }
        for table in [schema::Table::HoldState, schema::Table::HoldOn, schema::Table::HeldOrder] {
            let left = schema::table(table);
            assert!(open.store.scan(Space::Control, &left.from, &left.to, 1).await.unwrap().is_empty(), "seed {seed}: {table:?}");
        }
        while open.vault.reclaim(64).await.unwrap().log_entries > 0 {}
        assert_eq!(findings(&open).await, Vec::<String>::new(), "seed {seed}");
        open.close().await;
    }
}

/// The check of a store at rest finds a hold that does not keep what it says, and an order that nobody would give again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_of_a_hold_or_of_a_held_order_is_found() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place, "acme").await;
    acme.put(&open, ("people", "7"), &["7"]).await.unwrap();
    let on = HoldScope::Subjects(vec![subject("7"), subject("8")]);
    open.vault.place_hold(&acme.counsel, &acme.name, hold(on, true), None).await.unwrap();
    assert!(stopped(&acme.shred(&open, persons(&["7"]), None).await).is_some());
    assert_eq!(findings(&open).await, Vec::<String>::new());
    for (table, rows, said) in [
        (schema::Table::HoldOn, 2, "is not found from all that it is on"),
        (schema::Table::HoldState, 1, "1 holds stand, 0 are asked for"),
        (schema::Table::HoldLapse, 1, "nothing ends it in its time"),
        (schema::Table::HeldOrder, 1, "nothing will give it again"),
    ] {
        let range = schema::table(table);
        let there = open.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap();
        assert_eq!(there.len(), rows, "{table:?}");
        let write = |write: Write| Commit {
            checks: Vec::new(),
            writes: vec![write],
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Normal,
        };
        for row in there {
            let (space, key) = (Space::Control, row.key.clone());
            open.store.commit(write(Write::Delete { space, key })).await.unwrap();
            let found = findings(&open).await;
            assert!(found.iter().any(|finding| finding.contains(said)), "{table:?}: {found:?}");
            open.store.commit(write(Write::Put { space, key: row.key, value: row.value })).await.unwrap();
        }
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}
