//! Runs of retention that meet something: a record that others keep writing, one that cannot be read, rules that give no end for a
//! moment, a great many that are not due yet.

use std::time::Duration;

use bytes::Bytes;
use lethe::{
    authn::Role,
    domain::{Clock as _, ShredUnit, TenantNo, Timestamp},
    jobs::Retention,
    vault::{
        ops::{Caller, ListQuery, Precondition, PutRecord, ShredOrder, VaultError},
        store::{Commit, Row, Space, StoreError, Write, schema::Table},
    },
};
use serde_json::json;

use crate::{
    harness::{Open, Place, coll, filed_under, findings, is_shredded, key, name, put_of},
    meddling::deletes_a_record,
    retention::{DAY, due_rows, is_there, one_rule, place, policy, run, set, to, to_just_before},
    rows,
};

const MINUTE: Duration = Duration::from_mins(1);
/// Records that end one by one.
const COUNT: u32 = 300;

async fn record_rows(open: &Open) -> Vec<Row> {
    rows::records(&open.store, TenantNo(1)).await
}

fn bent(row: &Row) -> Write {
    Write::Put { space: Space::Records, key: row.key.clone(), value: rows::bent(&row.value) }
}

fn destroys(commit: &Commit, row: &Bytes) -> bool {
    commit.writes.iter().any(|write| matches!(write, Write::Delete { space: Space::Records, key } if key == row))
}

/// Counts of the runs in the operator's trail.
async fn runs_on_record(open: &Open, place: &Place) -> Vec<u32> {
    let operator = open.caller(&place.operator).await;
    let runs = open.trail(&operator, &name("system"), "retention.run").await;
    runs.iter().map(|named| named.entry.entry.target.count.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_others_keep_writing_holds_up_no_other_and_goes_with_a_later_run() {
    let (place, clock) = place().await;
    let open = place.open().await;
    for (tenant, names) in [("acme", &["a", "b", "c"][..]), ("other", &["d"])] {
        let (tenant, owner, _) = open.tenant(&place, tenant).await;
        set(&open, &owner, &tenant, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
        for name in names {
            open.put(&owner, &tenant, ("c", name), Some("7"), b"v").await.unwrap();
        }
    }
    let hot = record_rows(&open).await.remove(0).key;
    clock.advance(DAY * 2);
    let contended = hot.clone();
    place.meddler.refuse(move |commit| destroys(commit, &contended).then_some(StoreError::Conflict(0)));
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.failed, done.more), (3, 1, false), "{done:?}");
    place.meddler.refuse_nothing();
    assert_eq!(record_rows(&open).await.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [hot]);
    assert_eq!(run(&open, &clock).await.destroyed, 1, "not only when the day is over");
    assert!(due_rows(&open).await.is_empty());
    open.close().await;
}

/// A store whose records end one by one, minute after minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_later_on_the_same_day_is_not_opened_again_and_again() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for number in 1..=COUNT {
        let put = PutRecord { expires_at: Some(clock.now().plus(MINUTE * number)), ..put_of(Some("7"), b"v") };
        open.vault.put_record(&owner, &acme, &coll("c"), key(&format!("k{number}")), put).await.unwrap();
    }
    place.meddler.take_records_read();
    let (mut destroyed, mut looked_at) = (0, 0);
    for _ in 0..COUNT {
        clock.advance(MINUTE);
        let done = run(&open, &clock).await;
        assert_eq!(done.destroyed, 1);
        (destroyed, looked_at) = (destroyed + done.destroyed, looked_at + done.looked_at);
    }
    let read = place.meddler.take_records_read();
    assert!(read <= 2 * COUNT as usize, "{read} reads of records for {destroyed}");
    assert!(looked_at <= 61 * u64::from(COUNT), "{looked_at} rows of the index for {destroyed}: more than those of the hour");
    assert!(due_rows(&open).await.is_empty());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_is_bounded_in_all_that_it_looks_at_and_the_next_one_goes_on_behind_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    for number in 0..100 {
        open.put(&owner, &acme, ("c", &format!("k{number}")), Some("7"), b"v").await.unwrap();
    }
    // Every second one does not open.
    rows::write(&open.store, record_rows(&open).await.iter().step_by(2).map(bent).collect()).await;
    clock.advance(DAY * 2);
    let (mut destroyed, mut failed, mut looked_at) = (0, 0, 0);
    loop {
        let done = Retention { vault: open.vault.clone(), limit: 10 }.run_once(clock.now()).await.unwrap();
        assert!(done.destroyed + done.failed <= 10, "{done:?}");
        (destroyed, failed, looked_at) = (destroyed + done.destroyed, failed + done.failed, looked_at + done.looked_at);
        if !done.more {
            break;
        }
    }
    assert_eq!((destroyed, failed, looked_at), (50, 50, 100), "each of them once");
    open.close().await;
}

/// What the rules give no end for a moment is looked for again, and ends when they do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_rules_gave_no_end_for_a_moment_is_destroyed_when_they_do_again() {
    let categories = |names: &[&str]| {
        let rules: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "categories": [name], "from": "created", "maximum": "10d", "then": "delete"}))
            .collect();
        let made = policy(ShredUnit::Subject, "UTC", &json!(rules));
        lethe::domain::CollectionPolicy { categories: names.iter().map(|name| (*name).to_owned()).collect(), ..made }
    };
    let plain = policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"));
    let without = lethe::domain::CollectionPolicy::default();
    // A law that counts from a date that what is there does not have.
    let dated = policy(
        ShredUnit::Subject,
        "UTC",
        &json!([{"name": "rule", "from": "created", "maximum": "10d", "then": "delete"},
            {"name": "law", "from": {"field": "/date"}, "minimum": {"period": "1y", "basis": "law"}, "maximum": "2y", "then": "delete"}]),
    );
    for (case, first, between, category, own) in [
        ("taken away", &plain, &without, None, false),
        ("no date", &plain, &dated, None, false),
        ("no date, an own end", &plain, &dated, None, true),
        ("a category is renamed", &categories(&["old"]), &categories(&["new"]), Some("old"), false),
    ] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, first.clone()).await;
        let own = own.then(|| clock.now().plus(DAY * 5));
        let put = PutRecord { custom: filed_under(category), expires_at: own, ..put_of(Some("7"), b"{}") };
        open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
        set(&open, &owner, &acme, between.clone()).await;
        clock.advance(DAY * 11);
        let done = run(&open, &clock).await;
        // A category that is none any more is like none: all rules are for it.
        assert_eq!(done.destroyed, u64::from(category.is_some()), "{case}: {done:?}");
        if category.is_none() {
            set(&open, &owner, &acme, first.clone()).await;
            clock.advance(DAY);
            if case.starts_with("no date") {
                // The law has asked for it until yesterday, and counts from then.
                assert_eq!(run(&open, &clock).await.destroyed, 0, "{case}");
                to_just_before(&clock, "2001-02-12T00:00:00Z");
                assert_eq!(run(&open, &clock).await.destroyed, 0, "{case}");
                clock.advance(Duration::from_millis(1));
            }
            assert_eq!(run(&open, &clock).await.destroyed, 1, "{case}");
        }
        assert!(record_rows(&open).await.is_empty() && due_rows(&open).await.is_empty(), "{case}");
        open.close().await;
    }
}

/// What has no end, for a date is missing that a law counts from, is not looked for every day: the longer it has had none, the more rarely.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_had_no_end_for_long_is_looked_for_ever_more_rarely() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"))).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    let law = json!([{"name": "law", "from": {"field": "/date"}, "minimum": {"period": "1y", "basis": "law"}, "maximum": "2y", "then": "delete"}]);
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &law)).await;
    let mut looked_at = 0;
    for _ in 0..400 {
        clock.advance(DAY);
        looked_at += run(&open, &clock).await.looked_at;
    }
    assert!((10..30).contains(&looked_at), "{looked_at} looks in 390 days");
    assert!(is_there(&open, &owner, &acme, "k").await);
    open.close().await;
}

/// What nothing but other rules can end is met once by a run, and sleeps until there are some, over any number of runs and starts. Then it is
/// found as it would have been, had it been looked for all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_rule_can_end_sleeps_until_there_are_rules_again() {
    let (place, clock) = place().await;
    let mut open = place.open().await;
    let (acme, mut owner, token) = open.tenant(&place, "acme").await;
    let rules = policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"));
    set(&open, &owner, &acme, rules.clone()).await;
    for name in ["a", "b", "deleted", "again"] {
        open.put(&owner, &acme, ("c", name), Some("7"), b"v").await.unwrap();
    }
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    clock.advance(DAY * 11);
    let met = run(&open, &clock).await;
    assert_eq!((met.looked_at, met.moved), (4, 4), "{met:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    for _ in 0..20 {
        clock.advance(DAY * 20);
        assert_eq!(run(&open, &clock).await.looked_at, 0, "it sleeps");
    }
    open.close().await;
    open = place.open().await;
    owner = open.caller(&token).await;
    place.meddler.take_records_read();
    assert_eq!((run(&open, &clock).await.looked_at, place.meddler.take_records_read()), (0, 0), "also over a start");
    // Deleted, nothing of it is left; written again, it ends as whatever is written.
    open.delete(&owner, &acme, ("c", "deleted")).await.unwrap();
    assert_eq!(due_rows(&open).await.len(), 3);
    set(&open, &owner, &acme, rules.clone()).await;
    let later = policy(ShredUnit::Subject, "UTC", &one_rule(&json!("modified"), "100d"));
    set(&open, &owner, &acme, later).await;
    open.put(&owner, &acme, ("c", "again"), Some("7"), b"v").await.unwrap();
    let there = async || (is_there(&open, &owner, &acme, "a").await, is_there(&open, &owner, &acme, "b").await);
    let mut days = 0;
    while there().await.0 {
        clock.advance(DAY);
        run(&open, &clock).await;
        days += 1;
        assert!(days <= 33, "it is over since long, and was not found");
    }
    assert_eq!(there().await, (false, false));
    assert!(is_there(&open, &owner, &acme, "again").await && due_rows(&open).await.len() == 1);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// HOLD-4: where a minimum has ever been nothing sleeps, also once somebody has bypassed it: it is looked for as what waits for its date is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_sleeps_where_a_minimum_was_that_somebody_has_bypassed() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let (governor, _) = open.token(&owner, &acme, Role::Governor).await;
    let mut law = one_rule(&json!("created"), "14d");
    law[0]["minimum"] = json!({"period": "10d", "basis": "law 1", "mode": "governance"});
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &law)).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    // By then the governor is a second person.
    clock.advance(DAY * 8);
    let asked = open.vault.ask_bypass(&owner, &acme, &coll("c"), "the law has changed".into(), None).await.unwrap();
    open.approve(&open.caller(&governor).await, &acme, asked.id).await.unwrap();
    clock.advance(DAY * 8);
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.moved, done.failed), (0, 1, 0), "no rule ends it: {done:?}");
    assert_eq!((rows::count(&open.store, Table::Due).await, rows::count(&open.store, Table::DueAsleep).await), (1, 0));
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    clock.advance(DAY);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(due_rows(&open).await.is_empty());
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Older data in which something sleeps that has come to an end since: it is not there any more once that data is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_slept_in_older_data_has_ended_before_that_is_served() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    let rules = policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"));
    set(&open, &owner, &acme, rules.clone()).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.moved, 1);
    open.close().await;
    place.copy("store/data", "then/data");
    let open = place.open().await;
    let owner = open.caller(&token).await;
    set(&open, &owner, &acme, rules).await;
    clock.advance(DAY * 3);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
    place.put_back("then/data", "store/data");
    let open = place.open_idle().await;
    open.vault.begin_restoring();
    let done = open.vault.replay_retention().await.unwrap();
    assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
    open.vault.end_restoring();
    assert!(record_rows(&open).await.is_empty() && due_rows(&open).await.is_empty());
    open.close().await;
}

/// A law asks for what somebody gave an end of its own: nobody is told that it is gone, and nobody writes over it unknowingly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_longer_minimum_keeps_beyond_its_own_end_is_there_for_all() {
    let law = |from: &serde_json::Value, period: &str| {
        let rules =
            json!([{"name": "law", "from": from, "minimum": {"period": period, "basis": "law"}, "maximum": "1y", "then": "delete"}]);
        policy(ShredUnit::Subject, "UTC", &rules)
    };
    for from in [json!("created"), json!({"field": "/date"})] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, law(&from, "10d")).await;
        let put = |at: Timestamp| PutRecord { expires_at: Some(at), ..put_of(Some("7"), br#"{"date": "2000-01-31"}"#) };
        open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put(clock.now().plus(DAY * 20))).await.unwrap();
        set(&open, &owner, &acme, law(&from, "100d")).await;
        clock.advance(DAY * 30);
        assert_eq!(run(&open, &clock).await.destroyed, 0);
        assert!(is_there(&open, &owner, &acme, "k").await, "{from}");
        let listed = open.vault.list(&owner, &acme, &coll("c"), ListQuery { limit: 10, ..ListQuery::default() }).await.unwrap();
        assert_eq!(listed.items.len(), 1, "{from}");
        let over = PutRecord { precondition: Precondition::Absent, ..put_of(Some("7"), br#"{"date": "2000-01-31"}"#) };
        let refused = open.vault.put_record(&owner, &acme, &coll("c"), key("k"), over).await;
        assert!(matches!(refused, Err(VaultError::PreconditionFailed)), "{refused:?}");
        to(&clock, "2000-05-11T00:00:00Z");
        assert_eq!(run(&open, &clock).await.destroyed, 1, "{from}");
        assert!(!is_there(&open, &owner, &acme, "k").await);
        open.close().await;
    }
}

/// A run has looked at a record and is about to destroy it: what is done to it meanwhile counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_a_record_while_a_run_is_about_to_destroy_it_counts() {
    for case in ["written again", "deleted", "a longer rule", "the rules are gone"] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let rule = |maximum| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("modified"), maximum));
        set(&open, &owner, &acme, rule("1d")).await;
        for name in ["k", "other"] {
            open.put(&owner, &acme, ("c", name), Some("7"), b"old").await.unwrap();
        }
        clock.advance(DAY * 2);
        let held = place.meddler.hold_commit(deletes_a_record);
        let (vault, now) = (open.vault.clone(), clock.now());
        let tasks = tokio_util::task::TaskTracker::new();
        let at_work = tasks.spawn(async move { Retention { vault, limit: 1_000 }.run_once(now).await });
        held.has_read().await;
        match case {
            "written again" => drop(open.put(&owner, &acme, ("c", "k"), Some("7"), b"new").await.unwrap()),
            "deleted" => open.delete(&owner, &acme, ("c", "k")).await.unwrap(),
            "a longer rule" => set(&open, &owner, &acme, rule("9d")).await,
            _ => open.collection(&owner, &acme, "c", ShredUnit::Subject).await,
        }
        held.let_go();
        let done = at_work.await.unwrap().unwrap();
        let (destroyed, there) = match case {
            "written again" => (1, &["k"][..]),
            "deleted" => (1, &[][..]),
            _ => (0, &["k", "other"][..]),
        };
        assert_eq!(done.destroyed, destroyed, "{case}: {done:?}");
        for name in ["k", "other"] {
            assert_eq!(is_there(&open, &owner, &acme, name).await, there.contains(&name), "{case}: {name}");
        }
        assert_eq!(due_rows(&open).await.len(), there.len(), "{case}");
        if case == "written again" {
            assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"new");
            clock.advance(DAY * 2);
            assert_eq!(run(&open, &clock).await.destroyed, 1, "by its new end");
        }
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_read_is_tried_again_with_the_next_run() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    let row = record_rows(&open).await.remove(0);
    rows::write(&open.store, vec![bent(&row)]).await;
    to(&clock, "2000-02-02T00:00:01Z");
    assert_eq!(run(&open, &clock).await.failed, 1);
    rows::set(&open.store, Space::Records, &row.key, Some(row.value)).await;
    clock.advance(MINUTE);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// What a run destroyed is in the operator's trail, whoever asked for it and however it ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_that_destroyed_something_is_on_record_with_its_count() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    let fill = async |count: usize| {
        for number in 0..count {
            open.put(&owner, &acme, ("c", &format!("k{number}")), Some("7"), b"v").await.unwrap();
        }
        clock.advance(DAY * 2);
    };
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    assert_eq!(runs_on_record(&open, &place).await, [] as [u32; 0], "one of the store's own that did nothing leaves none");
    fill(5).await;
    assert_eq!(run(&open, &clock).await.destroyed, 5);
    assert_eq!(runs_on_record(&open, &place).await, [5]);
    // Those that end midway: by request, and of the store's own.
    for asked in [true, false] {
        fill(200).await;
        let commits = std::sync::atomic::AtomicUsize::new(0);
        place.meddler.refuse(move |commit| {
            (deletes_a_record(commit) && commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1).then_some(StoreError::DiskFull)
        });
        let before = record_rows(&open).await.len();
        let cut = if asked {
            let operator = open.caller(&place.operator).await;
            open.vault.run_retention(&operator, None, 1_000, None).await.map(drop)
        } else {
            Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await.map(drop)
        };
        assert!(matches!(cut, Err(VaultError::DiskFull)), "{cut:?}");
        place.meddler.refuse_nothing();
        let gone = u32::try_from(before - record_rows(&open).await.len()).unwrap();
        assert!(gone > 0 && gone < 200, "{gone}");
        assert_eq!(runs_on_record(&open, &place).await.iter().filter(|count| **count == gone).count(), if asked { 1 } else { 2 });
        assert_eq!(u64::from(gone) + run(&open, &clock).await.destroyed, 200);
    }
    open.close().await;
}

/// The day of an end goes with the record: who is shredded leaves no row that tells when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shredded_leaves_no_row_of_when_it_would_have_ended() {
    let (place, _) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let rules = one_rule(&json!({"field": "/date"}), "5y");
    let reclaim = async || while open.vault.reclaim(64).await.unwrap().log_entries > 0 {};
    let fill = async |who: &Caller| {
        for name in ["a", "b", "c"] {
            open.put(who, &acme, ("c", name), Some(name), br#"{"date": "2000-02-01"}"#).await.unwrap();
        }
    };
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &rules)).await;
    fill(&owner).await;
    // Written under other rules since: the row is where it was.
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "9y"))).await;
    open.shred_subject(&owner, &acme, "a").await;
    reclaim().await;
    assert_eq!(due_rows(&open).await.len(), 2, "a person's");
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "a")).await));
    open.delete(&owner, &acme, ("c", "b")).await.unwrap();
    assert_eq!(due_rows(&open).await.len(), 1, "a deleted record's");
    open.shred(&owner, &acme, ShredOrder::Collection(coll("c"))).await;
    reclaim().await;
    assert!(due_rows(&open).await.is_empty(), "a collection's");

    let (other, owner, _) = open.tenant(&place, "other").await;
    set(&open, &owner, &other, policy(ShredUnit::Record, "UTC", &rules)).await;
    for name in ["a", "b"] {
        open.put(&owner, &other, ("c", name), Some(name), br#"{"date": "2000-02-01"}"#).await.unwrap();
    }
    open.shred(&owner, &other, ShredOrder::Record { collection: coll("c"), key: key("a") }).await;
    reclaim().await;
    assert_eq!(due_rows(&open).await.len(), 1, "a record's");
    open.shred(&owner, &other, ShredOrder::Tenant { confirm: "other".into() }).await;
    reclaim().await;
    assert!(due_rows(&open).await.is_empty(), "a tenant's");
    open.close().await;
}
