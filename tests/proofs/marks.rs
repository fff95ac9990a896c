//! Marks: what a rule is going to destroy is known for as long before as the rule says, and is told to who may place a hold; it goes at its
//! end, and not before the mark has stood where that end was brought forward.

use std::time::Duration;

use lethe::{
    authn::Role,
    domain::{Clock as _, CollectionPolicy, ShredUnit, TenantName, TestClock, Timestamp, Version, hold::HoldScope},
    vault::ops::{Caller, Destroyed, MarkedItem, PutRecord, Unprocessable, VaultError},
};
use serde_json::{Value, json};

use crate::{
    harness::{Open, coll, findings, key, person, put_of, subject},
    reports::counted,
    retention::{DAY, due_rows, is_there, one_rule, place, policy, run, set, time},
};

/// One rule that marks.
fn marking(from: &Value, maximum: &str, mark: &str) -> CollectionPolicy {
    let mut rule = one_rule(from, maximum);
    rule[0]["mark"] = json!(mark);
    policy(ShredUnit::Subject, "UTC", &rule)
}

async fn marked(open: &Open, caller: &Caller, acme: &TenantName) -> Vec<MarkedItem> {
    let (mut all, mut cursor): (Vec<MarkedItem>, Option<String>) = (Vec::new(), None);
    loop {
        let (page, next) = open.vault.marked_records(caller, acme, &coll("c"), cursor.as_deref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        all.extend(page);
        match next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

async fn keys(open: &Open, owner: &Caller, acme: &TenantName) -> Vec<String> {
    marked(open, owner, acme).await.into_iter().map(|item| item.key.unwrap().as_str().to_owned()).collect()
}

/// State, since when it is marked, and when it is carried out.
async fn explained(open: &Open, owner: &Caller, acme: &TenantName, name: &str) -> (&'static str, Option<Timestamp>, Option<Timestamp>) {
    let view = open.vault.explain_retention(owner, acme, &coll("c"), &key(name)).await.unwrap();
    (view.explanation.state, view.explanation.marked_at, view.explanation.scheduled_at)
}

fn to(clock: &TestClock, at: Timestamp) {
    clock.advance(at.since(clock.now()));
}

/// Both phases, to the millisecond; what is held meanwhile stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_marked_once_for_as_long_as_its_rule_says_and_goes_at_its_end() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let auditor = open.with_role(&owner, &acme, Role::Auditor).await;
    for (from, value) in [(json!("created"), &b"v"[..]), (json!({"field": "/date"}), &b"{}"[..])] {
        // The second time with a date in the value, whose rows are coarse.
        let (shift, began) = (clock.now().since(time("2000-01-31T12:00:00Z")), counted(&open, &owner, &acme).await);
        let value = if shift.is_zero() { value.to_vec() } else { json!({"date": clock.now().to_rfc3339()[..10]}).to_string().into_bytes() };
        set(&open, &owner, &acme, marking(&from, "30d", "10d")).await;
        for (name, person) in [("a", "7"), ("b", "8"), ("c", "7"), ("d", "7"), ("e", "7")] {
            open.put(&owner, &acme, ("c", name), Some(person), &value).await.unwrap();
        }
        let end = Timestamp(clock.now().0 / 86_400_000 * 86_400_000).plus(DAY * 31);
        let at = end.less(DAY * 10);
        assert_eq!(explained(&open, &owner, &acme, "a").await, ("kept", Some(at), Some(end)));
        to(&clock, Timestamp(at.0 - 1));
        assert_eq!(run(&open, &clock).await.marked, 0);
        assert!(marked(&open, &owner, &acme).await.is_empty());
        clock.advance(Duration::from_millis(1));
        assert_eq!(explained(&open, &owner, &acme, "a").await, ("marked", Some(at), Some(end)));
        let done = run(&open, &clock).await;
        assert_eq!((done.marked, done.destroyed, done.moved, done.more), (5, 0, 0, false));
        for _ in 0..3 {
            clock.advance(DAY);
            assert_eq!((run(&open, &clock).await.marked, due_rows(&open).await.len()), (0, 5), "once");
        }
        let mut names = keys(&open, &owner, &acme).await;
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        let item = &marked(&open, &auditor, &acme).await[0];
        assert_eq!(
            (item.key.is_none(), item.rule.as_str(), item.how.name(), item.marked_at, item.ends_at, item.held),
            (true, "rule", "delete", at, end, false)
        );
        // One goes otherwise, one is written again, one is held: in time.
        open.delete(&owner, &acme, ("c", "c")).await.unwrap();
        open.put(&owner, &acme, ("c", "d"), Some("7"), &value).await.unwrap();
        let (counsel, hold) = open.counsel_holds(&owner, &acme, HoldScope::Subjects(vec![subject("8")])).await;
        assert_eq!(run(&open, &clock).await.marked, 1, "another version");
        let shown: Vec<(String, Version, bool)> = marked(&open, &owner, &acme)
            .await
            .into_iter()
            .map(|item| (item.key.unwrap().as_str().to_owned(), item.version, item.held))
            .collect();
        assert!(shown.len() == 4 && shown.iter().all(|(.., held)| !held), "who may not know of the hold is not told: {shown:?}");
        let held: Vec<Version> = marked(&open, &auditor, &acme).await.iter().filter(|item| item.held).map(|item| item.version).collect();
        assert_eq!(held, shown.iter().filter(|(name, ..)| name == "b").map(|(_, version, _)| *version).collect::<Vec<_>>());
        to(&clock, Timestamp(end.0 - 1));
        assert_eq!(run(&open, &clock).await.destroyed, 0);
        clock.advance(Duration::from_millis(1));
        let done = run(&open, &clock).await;
        assert_eq!((done.destroyed, done.held, done.marked), (3, 1, 0));
        assert!(marked(&open, &owner, &acme).await.is_empty());
        open.vault.release_hold(&counsel, &acme, hold.id, "settled".into(), None).await.unwrap();
        assert_eq!(run(&open, &clock).await.destroyed, 1, "within one run");
        let [destroyed, held, marks, _] = counted(&open, &owner, &acme).await;
        assert_eq!([destroyed - began[0], held - began[1], marks - began[2]], [4, 1, 6]);
        assert!(due_rows(&open).await.is_empty());
        clock.advance(DAY);
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A store that stood still has known what ends: it goes at once, without having been met as marked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_comes_late_destroys_what_is_over_and_marks_the_rest() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, marking(&json!("created"), "30d", "10d")).await;
    open.put(&owner, &acme, ("c", "a"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY * 5);
    open.put(&owner, &acme, ("c", "b"), Some("7"), b"v").await.unwrap();
    open.close().await;
    clock.advance(DAY * 27);
    let open = place.open().await;
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.marked), (1, 1));
    assert_eq!(keys(&open, &owner, &acme).await, ["b"]);
    open.close().await;
}

/// A correction brings an end forward: the mark stands for its time, or the old end comes, whichever is sooner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_date_destroys_nothing_before_the_mark_has_stood_for_its_time() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, marking(&json!({"field": "/date"}), "30d", "10d")).await;
    // The last day of the period lies so many days ahead.
    let dated = |clock: &TestClock, days: u64| {
        let day = clock.now().plus(DAY * u32::try_from(days).unwrap()).less(DAY * 30);
        json!({"date": day.to_rfc3339()[..10]}).to_string().into_bytes()
    };
    let midnight = |clock: &TestClock, days: u32| Timestamp(clock.now().0 / 86_400_000 * 86_400_000).plus(DAY * (days + 1));
    let now = clock.now();
    let put = async |name: &str, days: u64| open.put(&owner, &acme, ("c", name), Some("7"), &dated(&clock, days)).await;
    for (name, first, then, end) in [
        // As far ahead as the mark, and further: at its end.
        ("later", 30, 20, midnight(&clock, 20)),
        ("near", 30, 2, now.plus(DAY * 10)),
        ("at once", 30, 0, now.plus(DAY * 10)),
        // It would have gone sooner in any case.
        ("known", 4, 1, midnight(&clock, 4)),
        ("put off", 2, 25, midnight(&clock, 25)),
        ("same", 3, 3, midnight(&clock, 3)),
    ] {
        put(name, first).await.unwrap();
        put(name, then).await.unwrap();
        assert_eq!(explained(&open, &owner, &acme, name).await.2, Some(end), "{name}");
    }
    // What is new is not brought forward: it goes at its maximum.
    put("new", 1).await.unwrap();
    assert_eq!(explained(&open, &owner, &acme, "new").await, ("marked", Some(now), Some(midnight(&clock, 1))));
    // What is over is no correction, as ever.
    let past = open.put(&owner, &acme, ("c", "later"), Some("7"), &json!({"date": "1999-12-01"}).to_string().into_bytes()).await.map(drop);
    assert!(matches!(past, Err(VaultError::Unprocessable(Unprocessable::AlreadyOver { .. }))), "{past:?}");
    // Written again and again, it is put off no further than the first time.
    clock.advance(DAY * 3);
    put("near", 0).await.unwrap();
    assert_eq!(explained(&open, &owner, &acme, "near").await.2, Some(now.plus(DAY * 10)));
    assert_eq!(explained(&open, &owner, &acme, "near").await.0, "marked");
    // Its own end is somebody's word.
    let own = PutRecord { expires_at: Some(clock.now().plus(DAY)), ..put_of(Some("7"), &dated(&clock, 20)) };
    open.vault.put_record(&owner, &acme, &coll("c"), key("later"), own).await.unwrap();
    assert_eq!(explained(&open, &owner, &acme, "later").await.2, Some(clock.now().plus(DAY)));
    clock.advance(Duration::from_millis(1));
    let gone = async |name: &str| !is_there(&open, &owner, &acme, name).await;
    run(&open, &clock).await;
    assert!(gone("new").await && !gone("near").await && !gone("at once").await);
    to(&clock, Timestamp(now.plus(DAY * 10).0 - 1));
    run(&open, &clock).await;
    assert!(!gone("near").await && !gone("at once").await && gone("known").await && gone("same").await && gone("later").await);
    clock.advance(Duration::from_millis(1));
    run(&open, &clock).await;
    assert!(gone("near").await && gone("at once").await && !gone("put off").await);
    open.close().await;
}

/// RET-4: what two persons let end earlier is marked from their word on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_persons_shorten_goes_when_the_mark_has_stood_from_the_approval_on() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let second = open.with_role(&owner, &acme, Role::Owner).await;
    set(&open, &owner, &acme, marking(&json!("created"), "5y", "10d")).await;
    for name in ["a", "b"] {
        open.put(&owner, &acme, ("c", name), Some("7"), b"v").await.unwrap();
    }
    clock.advance(DAY * 100);
    open.put(&owner, &acme, ("c", "young"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY);
    set(&open, &owner, &acme, marking(&json!("created"), "50d", "10d")).await;
    run(&open, &clock).await;
    assert!(marked(&open, &owner, &acme).await.is_empty(), "one owner alone brings nothing forward");
    let asked = open.vault.ask_shortening(&owner, &acme, &coll("c"), None).await.unwrap();
    clock.advance(DAY);
    open.approve(&second, &acme, asked.id).await.unwrap();
    let approved = clock.now();
    // They are written down anew, and met by the runs behind that.
    let mut done = Destroyed::default();
    for _ in 0..3 {
        let more = run(&open, &clock).await;
        done = Destroyed { marked: done.marked + more.marked, destroyed: done.destroyed + more.destroyed, ..done };
    }
    assert_eq!((done.marked, done.destroyed), (2, 0));
    let mut names = keys(&open, &owner, &acme).await;
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    let end = approved.plus(DAY * 10);
    assert_eq!(explained(&open, &owner, &acme, "a").await, ("marked", Some(approved), Some(end)));
    let young = explained(&open, &owner, &acme, "young").await.2.unwrap();
    assert!(young > approved.plus(DAY * 40), "{young:?}");
    to(&clock, Timestamp(end.0 - 1));
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    to(&clock, young);
    // Late: it is met when it is over.
    run(&open, &clock).await;
    assert!(!is_there(&open, &owner, &acme, "young").await);
    assert_eq!(counted(&open, &owner, &acme).await[..3], [3, 0, 2]);
    open.close().await;
}

/// Rules that were taken away and come back are news, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_an_end_again_is_marked_before_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, marking(&json!("created"), "20d", "10d")).await;
    open.put(&owner, &acme, ("c", "a"), Some("7"), b"v").await.unwrap();
    set(&open, &owner, &acme, CollectionPolicy { shred_unit: ShredUnit::Subject, ..CollectionPolicy::default() }).await;
    clock.advance(DAY * 25);
    assert_eq!(run(&open, &clock).await.moved, 1, "looked for again");
    set(&open, &owner, &acme, marking(&json!("created"), "20d", "10d")).await;
    clock.advance(DAY * 26);
    let done = run(&open, &clock).await;
    assert_eq!((done.marked, done.destroyed), (1, 0));
    let end = clock.now().plus(DAY * 10);
    assert_eq!(explained(&open, &owner, &acme, "a").await, ("marked", Some(clock.now()), Some(end)));
    to(&clock, Timestamp(end.0 - 1));
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// Of what was marked then, older data has what still stands, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_is_marked_again_and_ends_when_it_would_have() {
    for days in [12_u32, 31] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, token) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, marking(&json!("created"), "30d", "20d")).await;
        open.put(&owner, &acme, ("c", "a"), Some("7"), b"v").await.unwrap();
        open.close().await;
        place.copy("store/data", "then/data");
        let open = place.open().await;
        clock.advance(DAY * days);
        let live = run(&open, &clock).await;
        assert_eq!((live.marked, live.destroyed), if days == 12 { (1, 0) } else { (0, 1) });
        open.close().await;
        place.put_back("then/data", "store/data");
        let open = place.open().await;
        let owner = open.caller(&token).await;
        open.vault.begin_restoring();
        let again = open.vault.replay_retention().await.unwrap();
        assert_eq!((again.marked, again.destroyed), (live.marked, live.destroyed), "after {days} days");
        open.vault.end_restoring();
        assert_eq!(keys(&open, &owner, &acme).await.len() as u64, live.marked);
        clock.advance(DAY * (31 - days));
        assert_eq!(run(&open, &clock).await.destroyed, live.marked);
        open.close().await;
    }
}

/// A list of what is marked costs what lies in its time and collection, however much lies around it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_marked_is_found_among_much_that_is_not() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let (other, others, _) = open.tenant(&place, "other").await;
    let far = async |open: &Open, caller: &Caller, tenant: &TenantName, collection: &str, name: String, after: Duration| {
        let put = PutRecord { expires_at: Some(clock.now().plus(after)), ..put_of(Some("7"), b"v") };
        open.vault.put_record(caller, tenant, &coll(collection), key(&name), put).await.unwrap();
    };
    for collection in ["before", "c", "behind"] {
        let policy = marking(&json!("created"), "60d", "30d");
        open.vault.put_collection(&owner, &acme, &coll(collection), policy.clone(), None).await.unwrap();
        open.vault.put_collection(&others, &other, &coll(collection), policy, None).await.unwrap();
    }
    for number in 0..7 {
        open.put(&owner, &acme, ("c", &format!("k{number}")), Some("7"), b"v").await.unwrap();
        clock.advance(DAY);
    }
    // Their own ends, all over the time of the marks.
    for number in 0..60_u32 {
        for collection in ["before", "behind"] {
            far(&open, &owner, &acme, collection, format!("o{number}"), DAY * 20 + Duration::from_hours(15) * number).await;
            far(&open, &others, &other, collection, format!("o{number}"), DAY * 20 + Duration::from_hours(15) * number).await;
        }
        far(&open, &owner, &acme, "c", format!("o{number}"), DAY * 20 + Duration::from_hours(15) * number).await;
    }
    clock.advance(DAY * 30);
    run(&open, &clock).await;
    place.meddler.take_records_read();
    let names = keys(&open, &owner, &acme).await;
    assert_eq!(names, ["k0", "k1", "k2", "k3", "k4", "k5", "k6"], "in the order of their ends");
    let read = place.meddler.take_records_read();
    assert!(read <= 80, "{read} records were read for {}", names.len());
    // What is shredded or restricted meanwhile is named to nobody.
    open.shred(&owner, &acme, person("7")).await;
    assert!(marked(&open, &owner, &acme).await.is_empty());
    open.close().await;
}

/// A mark that is longer, shorter, or gone: what is written down stays, and what is told is by the rules of the day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_changes_moves_no_end() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let end = time("2000-03-02T00:00:00Z");
    for (later, marks) in [
        (marking(&json!("created"), "30d", "5d"), 1),
        (policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "30d")), 0),
        (marking(&json!("created"), "30d", "25d"), 1),
    ] {
        let behind = clock.now().since(time("2000-01-31T12:00:00Z"));
        set(&open, &owner, &acme, marking(&json!("created"), "30d", "10d")).await;
        open.put(&owner, &acme, ("c", "a"), Some("7"), b"v").await.unwrap();
        set(&open, &owner, &acme, later).await;
        let mut seen = 0;
        to(&clock, Timestamp(end.plus(behind).0 - 1));
        for _ in 0..3 {
            let done = run(&open, &clock).await;
            assert_eq!(done.destroyed, 0);
            seen += done.marked;
        }
        assert_eq!(seen, marks);
        clock.advance(Duration::from_millis(1));
        assert_eq!(run(&open, &clock).await.destroyed, 1);
        clock.advance(Duration::from_hours(12));
    }
    open.close().await;
}
