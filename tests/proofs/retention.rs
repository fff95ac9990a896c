//! Retention, driven by the clock: what is due goes, within one run, once; what is not stays. The rows of privacy.md that this
//! proves are named at the tests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use lethe::{
    domain::{Clock as _, CollectionNo, CollectionPolicy, ShredUnit, TenantName, TenantNo, TestClock, Timestamp, retention::Facts},
    jobs::Retention,
    vault::{
        ops::{Caller, Destroyed, PutRecord, ShredOrder, VaultError, VaultOptions},
        store::{Commit, Durability, Row, Space, Store as _, StoreError, Urgency, Write, schema},
    },
};
use serde_json::{Value, json};

use crate::harness::{Open, Place, coll, is_shredded, key, put_of};

const DAY: Duration = Duration::from_hours(24);

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// A store whose clock stands at noon of 31 January 2000, in UTC.
pub(crate) async fn place() -> (Place, TestClock) {
    let mut place = Place::make_with(VaultOptions::default(), true).await;
    let clock = TestClock::at(time("2000-01-31T12:00:00Z"));
    place.clock = Arc::new(clock.clone());
    (place, clock)
}

pub(crate) fn policy(unit: ShredUnit, zone: &str, rules: &Value) -> CollectionPolicy {
    let retention = serde_json::from_value(json!({"time_zone": zone, "rules": rules})).unwrap();
    CollectionPolicy { shred_unit: unit, retention, ..CollectionPolicy::default() }
}

pub(crate) fn one_rule(from: &Value, maximum: &str) -> Value {
    json!([{"name": "rule", "from": from, "maximum": maximum, "then": "delete"}])
}

pub(crate) async fn set(open: &Open, owner: &Caller, acme: &TenantName, policy: CollectionPolicy) {
    open.vault.put_collection(owner, acme, &coll("c"), policy, None).await.unwrap();
}

async fn due_rows(open: &Open) -> Vec<Row> {
    let range = schema::table(schema::Table::Due);
    open.store.scan(Space::Index, &range.from, &range.to, usize::MAX).await.unwrap()
}

pub(crate) async fn run(open: &Open, clock: &TestClock) -> Destroyed {
    Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await.unwrap()
}

pub(crate) async fn is_there(open: &Open, owner: &Caller, acme: &TenantName, name: &str) -> bool {
    open.get(owner, acme, ("c", name)).await.is_ok()
}

/// RET-2, over decades: at its end, in the zone of its rules, and not a millisecond before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_destroyed_by_the_first_run_after_its_end_and_by_none_before() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for (zone, maximum, end) in [
        ("UTC", "1m", "2000-03-01T00:00:00Z"),
        ("America/Los_Angeles", "30d", "2000-04-01T08:00:00Z"),
        ("America/Los_Angeles", "7y", "2007-04-03T07:00:00Z"),
        ("Europe/Berlin", "18m", "2008-10-04T22:00:00Z"),
        ("Pacific/Apia", "3y", "2011-10-06T10:00:00Z"),
        ("Asia/Kathmandu", "30y", "2041-10-07T18:15:00Z"),
    ] {
        set(&open, &owner, &acme, policy(ShredUnit::Subject, zone, &one_rule(&json!("created"), maximum))).await;
        open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
        let end = time(end);
        clock.advance(Timestamp(end.0 - 1).since(clock.now()));
        let early = run(&open, &clock).await;
        assert!(early.destroyed == 0 && is_there(&open, &owner, &acme, "k").await, "{zone} {maximum}: {early:?}");
        clock.advance(Duration::from_millis(1));
        let done = run(&open, &clock).await;
        assert!(done.destroyed == 1 && !is_there(&open, &owner, &acme, "k").await, "{zone} {maximum}: {done:?}");
        assert!(due_rows(&open).await.is_empty());
        clock.advance(DAY);
    }
    open.close().await;
}

/// CE-12: what is past its own end leaves the store, in any collection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_past_its_own_end_leaves_the_store_although_it_was_written_after_the_last_run() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let until = |at: Timestamp, value: &[u8]| PutRecord { expires_at: Some(at), ..put_of(Some("7"), value) };
    let large = vec![7; 200_000];
    for _ in 0..3 {
        assert_eq!(run(&open, &clock).await, Destroyed::default());
        for (name, value) in [("small", &b"v"[..]), ("large", &large)] {
            let put = until(clock.now().plus(Duration::from_mins(1)), value);
            open.vault.put_record(&owner, &acme, &coll("c"), key(name), put).await.unwrap();
        }
        open.put(&owner, &acme, ("c", "stays"), Some("7"), b"v").await.unwrap();
        clock.advance(Duration::from_secs(59));
        assert_eq!(run(&open, &clock).await.destroyed, 0);
        clock.advance(Duration::from_secs(1));
        assert_eq!(run(&open, &clock).await.destroyed, 2);
        let records = schema::records_of_tenant(TenantNo(1));
        assert_eq!(open.store.scan(Space::Records, &records.from, &records.to, 10).await.unwrap().len(), 1, "the rows are gone");
        assert!(is_there(&open, &owner, &acme, "stays").await && due_rows(&open).await.is_empty());
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_follows_a_record_through_every_change() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let days = async || due_rows(&open).await.iter().map(|row| schema::due_parts(&row.key).unwrap().0).collect::<Vec<_>>();
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!({"field": "/date"}), "10d"))).await;
    let day = |text: &str| u32::try_from(time(text).0 / 86_400_000).unwrap();
    open.put(&owner, &acme, ("c", "k"), Some("7"), br#"{"date": "2000-02-01"}"#).await.unwrap();
    assert_eq!(days().await, [day("2000-02-12T00:00:00Z")]);
    open.put(&owner, &acme, ("c", "k"), Some("8"), br#"{"date": "2000-03-01"}"#).await.unwrap();
    assert_eq!(days().await, [day("2000-03-12T00:00:00Z")], "written over, about someone else");
    open.put(&owner, &acme, ("c", "k"), Some("8"), br#"{"date": "2000-03-01T23:59:59Z", "more": 1}"#).await.unwrap();
    assert_eq!(days().await, [day("2000-03-12T00:00:00Z")]);
    open.vault.delete_record(&owner, &acme, &coll("c"), key("k"), lethe::vault::ops::Precondition::None, None).await.unwrap();
    assert_eq!(days().await, [] as [u32; 0]);
    // A person's shred leaves the row; its day finds nothing, and takes it away.
    open.put(&owner, &acme, ("c", "k"), Some("8"), br#"{"date": "2000-03-01"}"#).await.unwrap();
    open.put(&owner, &acme, ("c", "other"), Some("9"), br#"{"date": "2000-03-02"}"#).await.unwrap();
    open.shred_subject(&owner, &acme, "8").await;
    while open.vault.reclaim(64).await.unwrap().log_entries > 0 {}
    clock.advance(time("2000-03-12T00:00:00Z").since(clock.now()));
    let done = run(&open, &clock).await;
    assert_eq!((done.dropped, done.destroyed, done.failed), (1, 0, 0), "{done:?}");
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "k")).await) && is_there(&open, &owner, &acme, "other").await);
    // So does a collection's, and a tenant's.
    open.shred(&owner, &acme, ShredOrder::Collection(coll("c"))).await;
    clock.advance(DAY * 2);
    assert_eq!(run(&open, &clock).await.dropped, 1);
    assert!(due_rows(&open).await.is_empty());
    open.close().await;
}

/// RET-4: a rule that is shortened touches nothing that is there, one that is lengthened revives nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shortened_rule_holds_for_what_is_written_from_then_on_and_a_longer_one_for_all_that_is_there() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let rule = |maximum| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), maximum));
    set(&open, &owner, &acme, rule("100d")).await;
    open.put(&owner, &acme, ("c", "old"), Some("7"), b"v").await.unwrap();
    set(&open, &owner, &acme, rule("10d")).await;
    open.put(&owner, &acme, ("c", "new"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(is_there(&open, &owner, &acme, "old").await && !is_there(&open, &owner, &acme, "new").await);
    set(&open, &owner, &acme, rule("200d")).await;
    assert!(!is_there(&open, &owner, &acme, "new").await);
    clock.advance(DAY * 90);
    let moved = run(&open, &clock).await;
    assert_eq!((moved.moved, moved.destroyed), (1, 0), "{moved:?}");
    clock.advance(DAY * 99);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(DAY);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    // Where the rules are taken away, nothing ends what is there.
    set(&open, &owner, &acme, rule("10d")).await;
    open.put(&owner, &acme, ("c", "kept"), Some("7"), b"v").await.unwrap();
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    clock.advance(DAY * 30);
    assert_eq!(run(&open, &clock).await.dropped, 1);
    assert!(is_there(&open, &owner, &acme, "kept").await && due_rows(&open).await.is_empty());
    open.close().await;
}

/// The cost is that of what is due: not of what is stored, nor of what is due later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_reads_the_rows_of_what_is_due_and_no_others() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "free", ShredUnit::Subject).await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!({"field": "/date"}), "1y"))).await;
    for number in 0..300 {
        open.put(&owner, &acme, ("free", &format!("f{number}")), Some("7"), b"v").await.unwrap();
        let month = number % 12 + 1;
        open.put(&owner, &acme, ("c", &format!("k{number}")), Some("7"), format!(r#"{{"date": "2001-{month:02}-10"}}"#).as_bytes())
            .await
            .unwrap();
    }
    clock.advance(time("2002-03-11T00:00:00Z").since(clock.now()));
    let done = run(&open, &clock).await;
    assert_eq!((done.looked_at, done.destroyed), (75, 75), "January to March");
    assert_eq!(run(&open, &clock).await, Destroyed::default());
    clock.advance(DAY);
    assert_eq!(run(&open, &clock).await, Destroyed::default());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cut_short_anywhere_is_gone_on_with_and_destroys_nothing_twice() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    for number in 0..200 {
        open.put(&owner, &acme, ("c", &format!("k{number}")), Some(&format!("{}", number % 7)), b"v").await.unwrap();
    }
    clock.advance(DAY * 2);
    // The second commit that destroys fails.
    let commits = std::sync::atomic::AtomicUsize::new(0);
    let destroys = |commit: &Commit| commit.writes.iter().any(|write| matches!(write, Write::Delete { space: Space::Records, .. }));
    place.meddler.refuse(move |commit| {
        let fails = destroys(commit) && commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
        fails.then_some(StoreError::DiskFull)
    });
    let cut = Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await;
    assert!(matches!(cut, Err(VaultError::DiskFull)), "{cut:?}");
    place.meddler.refuse_nothing();
    let left = due_rows(&open).await.len();
    assert!(left > 0 && left < 200, "{left}");
    open.close().await;
    // After a start, in passes of a few.
    let open = place.open().await;
    let owner = open.caller(&token).await;
    let (mut destroyed, mut passes) = (0, 0);
    loop {
        let done = Retention { vault: open.vault.clone(), limit: 30 }.run_once(clock.now()).await.unwrap();
        (destroyed, passes) = (destroyed + done.destroyed, passes + 1);
        if !done.more {
            break;
        }
    }
    assert_eq!((usize::try_from(destroyed).unwrap(), passes), (left, left.div_ceil(30)));
    let trail = open.vault.audit_page(&owner, &acme, None, 1_000).await.unwrap();
    let deleted = trail.entries.iter().filter(|named| named.entry.entry.action.name() == "record.delete").count();
    assert_eq!(deleted, 200, "each of them once");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_row_of_the_index_destroys_nothing_and_a_broken_record_stops_no_run() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "30d"))).await;
    for name in ["a", "b", "c"] {
        open.put(&owner, &acme, ("c", name), Some("7"), b"v").await.unwrap();
    }
    let rows = due_rows(&open).await;
    let planted = rows.iter().map(|row| {
        let (_, tenant, collection, tokens) = schema::due_parts(&row.key).unwrap();
        Write::Put { space: Space::Index, key: schema::due(1, tenant, collection, &tokens), value: row.value.clone() }
    });
    let nowhere = schema::due(2, TenantNo(1), CollectionNo(99), &[[5; 16]]);
    let stranger = schema::due(2, TenantNo(99), CollectionNo(1), &[[5; 16]]);
    let short = Bytes::copy_from_slice(&nowhere[..20]);
    let others = [nowhere, stranger, short].map(|key| Write::Put { space: Space::Index, key, value: Bytes::new() });
    let write = async |writes: Vec<Write>| {
        let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        open.store.commit(commit).await.unwrap();
    };
    write(planted.chain(others).collect()).await;
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.moved, done.failed), (0, 3, 3), "{done:?}");
    for name in ["a", "b", "c"] {
        assert!(is_there(&open, &owner, &acme, name).await, "{name}");
    }
    // One of them is bent: the others go when they are due.
    let range = schema::records_of_tenant(TenantNo(1));
    let mut record = open.store.scan(Space::Records, &range.from, &range.to, 1).await.unwrap().remove(0);
    let mut bent = record.value.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    record.value = bent.into();
    write(vec![Write::Put { space: Space::Records, key: record.key, value: record.value }]).await;
    clock.advance(DAY * 31);
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.failed), (2, 4), "{done:?}");
    open.close().await;
}

/// What has a key of its own is shredded when it is due, with a certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_with_a_key_of_its_own_is_shredded_when_it_is_due() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let rules = json!([{"name": "rule", "from": "created", "maximum": "1y", "then": "shred"}]);
    set(&open, &owner, &acme, policy(ShredUnit::Record, "UTC", &rules)).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    let epoch = open.forest.epoch();
    clock.advance(DAY * 368);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    while open.forest.epoch() == epoch {
        tokio::task::yield_now().await;
    }
    open.close().await;
}

/// In any order of writes, changes of rules, steps of the clock and restarts, held against the rules themselves: none goes before
/// its minimum or its end, and none is there after the first run behind both the end it was written with and that of today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_nothing_dies_early_and_nothing_outlives_its_end_by_more_than_a_run() {
    for seed in 0..6_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let (acme, mut owner, token) = open.tenant(&place, "acme").await;
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let drawn = |draw: &mut dyn FnMut(u64) -> u64| {
            let least = draw(20) + 1;
            let most = least + draw(60) + 1;
            let zone = ["UTC", "America/Los_Angeles", "America/St_Johns", "Pacific/Apia"][usize::try_from(draw(4)).unwrap()];
            let from = ["created", "modified"][usize::try_from(draw(2)).unwrap()];
            policy(
                ShredUnit::Subject,
                zone,
                &json!([{"name": "rule", "from": from, "minimum": {"period": format!("{least}d"), "basis": "law"},
                "maximum": format!("{most}d"), "then": "delete"}]),
            )
        };
        let mut today = drawn(&mut draw);
        set(&open, &owner, &acme, today.clone()).await;
        // Created, modified, and the end that it was written with.
        let mut model: BTreeMap<String, (Timestamp, Timestamp, Timestamp)> = BTreeMap::new();
        let outlook = |policy: &CollectionPolicy, created_at: Timestamp, modified_at: Timestamp| {
            let facts = Facts { created_at, modified_at, own_end: None, category: None, value: None };
            let outlook = policy.retention.schedule().unwrap().outlook(&facts);
            (outlook.minimum.unwrap().at, outlook.end.unwrap().at)
        };
        for step in 0..120 {
            match draw(10) {
                0..4 => {
                    let name = format!("k{}", draw(12));
                    open.put(&owner, &acme, ("c", &name), Some(&draw(3).to_string()), b"v").await.unwrap();
                    let now = clock.now();
                    let created = model.get(&name).map_or(now, |(created, ..)| *created);
                    model.insert(name, (created, now, outlook(&today, created, now).1));
                }
                4 => {
                    today = drawn(&mut draw);
                    set(&open, &owner, &acme, today.clone()).await;
                }
                5 if step % 3 == 0 => {
                    open.close().await;
                    open = place.open().await;
                    owner = open.caller(&token).await;
                }
                _ => {
                    clock.advance(Duration::from_millis(draw(3 * 86_400_000)));
                    run(&open, &clock).await;
                    let now = clock.now();
                    let mut gone = Vec::new();
                    for (name, (created, modified, written)) in &mut model {
                        let (minimum, end) = outlook(&today, *created, *modified);
                        if is_there(&open, &owner, &acme, name).await {
                            assert!(end > now || *written > now, "seed {seed}, step {step}: {name} outlives its end");
                            // A longer rule is written down when the day of the first one comes.
                            if written.0 / 86_400_000 <= now.0 / 86_400_000 && end.0 / 86_400_000 > now.0 / 86_400_000 {
                                *written = end;
                            }
                        } else {
                            assert!(end <= now && minimum <= now, "seed {seed}, step {step}: {name} died early");
                            assert!(
                                written.0 / 86_400_000 <= now.0 / 86_400_000,
                                "seed {seed}, step {step}: {name} died by a shortened rule"
                            );
                            gone.push(name.clone());
                        }
                    }
                    for name in gone {
                        model.remove(&name);
                    }
                }
            }
        }
        clock.advance(DAY * 400);
        run(&open, &clock).await;
        assert!(due_rows(&open).await.is_empty(), "seed {seed}");
        for name in model.keys() {
            assert!(!is_there(&open, &owner, &acme, name).await, "seed {seed}: {name}");
        }
        open.close().await;
    }
}
