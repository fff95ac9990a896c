//! Retention, driven by the clock: what is due goes, within one run, once; what is not stays. The rows of privacy.md that this
//! proves are named at the tests.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use lethe::{
    domain::{Clock as _, CollectionNo, CollectionPolicy, Epoch, ShredUnit, TenantName, TenantNo, TestClock, Timestamp},
    jobs::Retention,
    vault::{
        ops::{Caller, Destroyed, PutRecord, ShredOrder, VaultError},
        store::{
            Row, Space, Store as _, StoreError, Write,
            schema::{self, Due, Fineness, Table},
        },
    },
};
use serde_json::{Value, json};

use crate::{
    cost::{run_by_date, run_over, runs_of_a_month},
    harness::{Open, Place, coll, is_shredded, key, put_of},
    meddling::{deletes_a_record, sets},
    rows,
};

pub(crate) const DAY: Duration = Duration::from_hours(24);

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// Lets the time pass up to a moment.
pub(crate) fn to(clock: &TestClock, text: &str) {
    clock.advance(time(text).since(clock.now()));
}

/// Lets the time pass up to the last millisecond before a moment.
pub(crate) fn to_just_before(clock: &TestClock, text: &str) {
    clock.advance(time(text).since(clock.now()).saturating_sub(Duration::from_millis(1)));
}

/// A store whose clock stands at noon of 31 January 2000, in UTC.
pub(crate) async fn place() -> (Place, TestClock) {
    let clock = TestClock::at(time("2000-01-31T12:00:00Z"));
    (Place::make_by(&clock).await, clock)
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

/// The rows of what is due, wherever they lie.
pub(crate) async fn due_rows(open: &Open) -> Vec<Row> {
    let mut rows = Vec::new();
    for table in [Table::Due, Table::DueMonth, Table::DueListed, Table::DueAsleep] {
        let range = schema::table(table);
        rows.extend(open.store.scan(Space::Index, &range.from, &range.to, usize::MAX).await.unwrap());
    }
    rows
}

pub(crate) async fn run(open: &Open, clock: &TestClock) -> Destroyed {
    Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await.unwrap()
}

pub(crate) async fn is_there(open: &Open, owner: &Caller, acme: &TenantName, name: &str) -> bool {
    open.get(owner, acme, ("c", name)).await.is_ok()
}

/// Those of some records that are there.
pub(crate) async fn there(open: &Open, owner: &Caller, acme: &TenantName, names: &[String]) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    for name in names {
        if is_there(open, owner, acme, name).await {
            there.insert(name.clone());
        }
    }
    there
}

/// Whether an epoch ends within half a minute.
pub(crate) async fn ends_soon(open: &Open, epoch: Epoch) -> bool {
    let ended = async {
        while open.forest.epoch() == epoch {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.is_ok()
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
        assert_eq!(rows::records(&open.store, TenantNo(1)).await.len(), 1, "the rows are gone");
        assert!(is_there(&open, &owner, &acme, "stays").await && due_rows(&open).await.is_empty());
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_follows_a_record_through_every_change() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let days = async || due_rows(&open).await.iter().map(|row| schema::due_parts(&row.key).unwrap().hour).collect::<Vec<_>>();
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!({"field": "/date"}), "10d"))).await;
    // The 32 days of the end: which day it is, that is sealed.
    let day = |text: &str| u32::try_from(time(text).0 / (32 * 86_400_000) * 768).unwrap();
    open.put(&owner, &acme, ("c", "k"), Some("7"), br#"{"date": "2000-02-01"}"#).await.unwrap();
    assert_eq!(days().await, [day("2000-02-12T00:00:00Z")]);
    open.put(&owner, &acme, ("c", "k"), Some("8"), br#"{"date": "2000-03-01"}"#).await.unwrap();
    assert_eq!(days().await, [day("2000-03-12T00:00:00Z")], "written over, about someone else");
    open.put(&owner, &acme, ("c", "k"), Some("8"), br#"{"date": "2000-03-01T23:59:59Z", "more": 1}"#).await.unwrap();
    assert_eq!(days().await, [day("2000-03-12T00:00:00Z")]);
    open.delete(&owner, &acme, ("c", "k")).await.unwrap();
    assert_eq!(days().await, [] as [u32; 0]);
    // A person's shred takes the row along with the bytes.
    open.put(&owner, &acme, ("c", "k"), Some("8"), br#"{"date": "2000-03-01"}"#).await.unwrap();
    open.put(&owner, &acme, ("c", "other"), Some("9"), br#"{"date": "2000-03-02"}"#).await.unwrap();
    open.shred_subject(&owner, &acme, "8").await;
    while open.vault.reclaim(64).await.unwrap().log_entries > 0 {}
    assert_eq!(days().await, [day("2000-03-13T00:00:00Z")]);
    to(&clock, "2000-03-12T00:00:00Z");
    let done = run(&open, &clock).await;
    assert_eq!((done.dropped, done.destroyed, done.failed), (0, 0, 0), "{done:?}");
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "k")).await) && is_there(&open, &owner, &acme, "other").await);
    // Where the bytes are still there, a run that comes by drops it.
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
    assert_eq!(run(&open, &clock).await.moved, 1);
    assert!(is_there(&open, &owner, &acme, "kept").await && due_rows(&open).await.len() == 1, "they may come back");
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
    to(&clock, "2002-03-11T00:00:00Z");
    let done = run(&open, &clock).await;
    assert_eq!((done.looked_at, done.destroyed), (75, 75), "January to March");
    assert_eq!(run(&open, &clock).await, Destroyed::default());
    clock.advance(DAY);
    assert_eq!(run(&open, &clock).await, Destroyed::default());
    open.close().await;
}

/// The same, counted between vault and store, of stores that were just opened: every row that is read, however often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_reads_does_not_grow_with_what_is_stored() {
    const DUE: usize = 100;
    let [few, many] = [run_over(2 * DUE, DUE).await, run_over(20 * DUE, DUE).await];
    for counted in [&few, &many] {
        assert_eq!(counted.destroyed, DUE as u64);
        let read = counted.read;
        assert!(read.data >= DUE && read.data + read.control <= 10 * DUE, "{read:?} for {DUE} due records");
    }
    assert_eq!(few.read.data, many.read.data, "ten times as much is stored");
}

/// The same where a date in the value decides, and no key tells the hour: of many that end within the same days a run reads those that are due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_reads_does_not_grow_with_what_ends_within_the_same_days() {
    const DUE: usize = 100;
    let [few, many] = [run_by_date(2 * DUE, DUE).await, run_by_date(40 * DUE, DUE).await];
    for counted in [&few, &many] {
        assert_eq!(counted.destroyed, DUE as u64);
        let read = counted.read;
        assert!(read.data >= DUE && read.data + read.control <= 10 * DUE, "{read:?} for {DUE} due records");
    }
    // The pages, of some hundred rows each; once to know when they are met, and once when they are.
    let pages = 40 * DUE / 500 + 1;
    assert!(many.read.data <= few.read.data + pages, "{few:?}, {many:?}: twenty times as many end in these days");
    assert!(many.looked_at <= few.looked_at + 2 * pages as u64, "{few:?}, {many:?}");
}

/// The sum over all runs of 32 days: each row is looked at when its days begin, and when it is due, however many runs come in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_runs_of_a_month_read_is_as_much_as_is_due_in_it() {
    let all = runs_of_a_month().await;
    assert!(all.looked_at <= 4 * all.destroyed, "{all:?}: a row when it is listed, its page and itself when it is due");
    assert!(all.read.times <= 100 * usize::try_from(all.destroyed).unwrap(), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_second_commit_fails_is_gone_on_with_and_destroys_nothing_twice() {
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
    place.meddler.refuse(move |commit| {
        let fails = deletes_a_record(commit) && commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
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
    assert_eq!(open.trail(&owner, &acme, "record.delete").await.len(), 200, "each of them once");
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
        let Due { fineness, tenant, collection, record, .. } = schema::due_parts(&row.key).unwrap();
        Write::Put { space: Space::Index, key: schema::due(fineness, 1, tenant, collection, &record), value: row.value.clone() }
    });
    let nowhere = schema::due(Fineness::Hour, 2, TenantNo(1), CollectionNo(99), &[[5; 16]]);
    let stranger = schema::due(Fineness::Hour, 2, TenantNo(99), CollectionNo(1), &[[5; 16]]);
    let short = Bytes::copy_from_slice(&nowhere[..20]);
    let others = [nowhere, stranger, short].map(|key| Write::Put { space: Space::Index, key, value: Bytes::new() });
    rows::write(&open.store, planted.chain(others).collect()).await;
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.moved, done.failed), (0, 3, 3), "{done:?}");
    for name in ["a", "b", "c"] {
        assert!(is_there(&open, &owner, &acme, name).await, "{name}");
    }
    // One of them is bent: the others go when they are due.
    let record = rows::records(&open.store, TenantNo(1)).await.remove(0);
    rows::set(&open.store, Space::Records, &record.key, Some(rows::bent(&record.value))).await;
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
    assert!(ends_soon(&open, epoch).await);
    open.close().await;
}

/// The shredder looks for what was put off between the planning of a destruction and its commit: it is told again, behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_destroyed_although_the_shredder_looked_while_its_record_was_being_destroyed() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let rules = json!([{"name": "rule", "from": "created", "maximum": "1y", "then": "shred"}]);
    set(&open, &owner, &acme, policy(ShredUnit::Record, "UTC", &rules)).await;
    open.collection(&owner, &acme, "others", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    for subject in ["8", "9"] {
        open.put(&owner, &acme, ("others", subject), Some(subject), b"v").await.unwrap();
    }
    clock.advance(DAY * 368);
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::Reclaim, |_, _| true));
    let (vault, now) = (open.vault.clone(), clock.now());
    let tasks = tokio_util::task::TaskTracker::new();
    let run = tasks.spawn(async move { Retention { vault, limit: 1_000 }.run_once(now).await });
    held.has_read().await;
    // The shredder has looked behind the first of them when the second is done.
    for subject in ["8", "9"] {
        open.shred_subject(&owner, &acme, subject).await;
    }
    let epoch = open.forest.epoch();
    held.let_go();
    assert_eq!(run.await.unwrap().unwrap().destroyed, 1);
    assert!(ends_soon(&open, epoch).await, "the key of a destroyed record is still there");
    open.close().await;
}
