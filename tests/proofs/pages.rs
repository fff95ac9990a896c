//! What ends by a date in somebody's value, once its 32 days have begun: it is listed on sealed pages, which tell a run what is due, and tell
//! who reads the disk no more than the days. Whatever happens to a record, or to its page, meanwhile, it ends in its moment.

use std::time::Duration;

use bytes::Bytes;
use lethe::{
    authn::Role,
    domain::{Clock as _, ShredUnit, TenantName, TenantNo, TestClock, Timestamp, hold::HoldScope},
    jobs::Retention,
    vault::{
        ops::{Caller, Destroyed, ShredOrder, VaultError},
        store::{
            Row, Space, StoreError, Write,
            schema::{self, Lies, Table},
        },
    },
};
use serde_json::json;

use crate::{
    harness::{Open, Place, coll, findings, is_shredded, key, subjects},
    meddling::sets,
    retention::{DAY, due_rows, is_there, one_rule, place, policy, run, set, time},
    rows,
};

/// A store within days that have begun, and whose records end eleven days behind the date in their value.
struct Acme {
    place: Place,
    clock: TestClock,
    open: Open,
    name: TenantName,
    owner: Caller,
    token: String,
}

impl Acme {
    async fn make(unit: ShredUnit) -> Self {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (name, owner, token) = open.tenant(&place, "acme").await;
        set(&open, &owner, &name, policy(unit, "UTC", &one_rule(&json!({"field": "/date"}), "10d"))).await;
        Self { place, clock, open, name, owner, token }
    }

    /// A record of a person that ends at the beginning of a day of February.
    async fn put(&self, name: &str, person: &str, day: i64) {
        let value = json!({"date": &february(day).less(DAY * 11).to_rfc3339()[..10]}).to_string();
        self.open.put(&self.owner, &self.name, ("c", name), Some(person), value.as_bytes()).await.unwrap();
        let explained = self.open.vault.explain_retention(&self.owner, &self.name, &coll("c"), &key(name)).await.unwrap();
        assert_eq!(explained.explanation.scheduled_at, Some(february(day)), "{name}");
    }

    async fn run(&self) -> Destroyed {
        run(&self.open, &self.clock).await
    }

    /// Waits for the beginning of a day of February.
    fn until(&self, day: i64) {
        self.clock.advance(february(day).since(self.clock.now()));
    }

    async fn is_there(&self, name: &str) -> bool {
        is_there(&self.open, &self.owner, &self.name, name).await
    }

    async fn rows(&self, table: Table) -> Vec<Row> {
        rows::table(&self.open.store, table).await
    }

    /// How many rows are listed, and how many pages there are.
    async fn listed(&self) -> (usize, usize) {
        (rows::count(&self.open.store, Table::DueListed).await, rows::count(&self.open.store, Table::DuePage).await)
    }

    async fn write(&self, writes: Vec<Write>) {
        rows::write(&self.open.store, writes).await;
    }

    async fn findings(&self) -> Vec<String> {
        findings(&self.open).await
    }

    async fn again(self) -> Self {
        self.open.close().await;
        let open = self.place.open().await;
        let owner = open.caller(&self.token).await;
        Self { open, owner, ..self }
    }
}

fn february(day: i64) -> Timestamp {
    Timestamp(time("2000-02-01T00:00:00Z").0 + (day - 1) * 86_400_000)
}

fn bent(space: Space, row: &Row) -> Write {
    Write::Put { space, key: row.key.clone(), value: rows::bent(&row.value) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_ends_in_its_moment_and_its_keys_tell_the_days_alone() {
    let mut acme = Acme::make(ShredUnit::Subject).await;
    for (name, day) in [("a", 10), ("b", 12), ("c", 10), ("d", 14), ("e", 25)] {
        acme.put(name, "7", day).await;
    }
    let done = acme.run().await;
    assert_eq!(
        (done.looked_at, done.moved, done.destroyed),
        (5, 0, 0),
        "four, and their page; that of the 25th is of other days: {done:?}"
    );
    assert_eq!((acme.listed().await, acme.rows(Table::DueMonth).await.len()), ((4, 1), 1));
    // Nothing in their keys goes by the time of their ends: the places are in the order of the records' tokens.
    let parts = acme.rows(Table::DueListed).await.into_iter().map(|row| schema::due_parts(&row.key).unwrap()).collect::<Vec<_>>();
    let records: Vec<_> = parts.iter().map(|due| due.record.clone()).collect();
    assert!(records.is_sorted() && parts.iter().all(|due| due.hour == parts[0].hour && due.hour % 768 == 0), "{parts:?}");
    assert_eq!(acme.findings().await, Vec::<String>::new());
    for (day, gone) in [(10, 2), (12, 1), (14, 1)] {
        acme.clock.advance(february(day).since(acme.clock.now()).saturating_sub(Duration::from_millis(1)));
        assert_eq!(acme.run().await.destroyed, 0, "{day}");
        acme.clock.advance(Duration::from_millis(1));
        let operator = acme.open.caller(&acme.place.operator).await;
        let due = acme.open.vault.retention_progress(&operator).await.unwrap();
        assert_eq!((due.due, due.by_hour.len(), due.more), (gone, 1, false), "{day}");
        let done = acme.run().await;
        assert_eq!((done.destroyed, done.looked_at), (gone, gone + 1), "the page, and what is due of it: {day}");
        assert_eq!(acme.findings().await, Vec::<String>::new());
        assert_eq!(acme.run().await, Destroyed::default());
        // Whoever starts meanwhile reads the page once.
        acme = acme.again().await;
        assert_eq!(acme.run().await.looked_at, u64::from(day < 14));
    }
    assert_eq!(acme.listed().await, (0, 0));
    assert!(acme.is_there("e").await);
    acme.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_a_listed_record_leaves_nothing_that_ends_at_the_wrong_time() {
    let acme = Acme::make(ShredUnit::Subject).await;
    for (name, person) in [("earlier", "1"), ("later", "2"), ("deleted", "3"), ("shredded", "4"), ("stays", "5")] {
        acme.put(name, person, 12).await;
    }
    acme.run().await;
    assert_eq!(acme.listed().await, (5, 1));
    acme.put("earlier", "1", 10).await;
    acme.put("later", "2", 14).await;
    acme.open.delete(&acme.owner, &acme.name, ("c", "deleted")).await.unwrap();
    acme.open.shred_subject(&acme.owner, &acme.name, "4").await;
    while acme.open.vault.reclaim(64).await.unwrap().log_entries > 0 {}
    assert_eq!((acme.listed().await, due_rows(&acme.open).await.len()), ((1, 1), 3), "what was there of the others is gone");
    assert_eq!(acme.findings().await, Vec::<String>::new());
    for (day, there) in [(10, [false, true, true]), (12, [false, true, false]), (14, [false, false, false])] {
        acme.until(day);
        let done = acme.run().await;
        assert_eq!((done.destroyed, done.failed, done.dropped), (1, 0, 0), "{day}: {done:?}");
        let names = ["earlier", "later", "stays"];
        for (name, there) in names.into_iter().zip(there) {
            assert_eq!(acme.is_there(name).await, there, "{day}: {name}");
        }
    }
    assert!(is_shredded(&acme.open.get(&acme.owner, &acme.name, ("c", "shredded")).await));
    assert!(acme.listed().await == (0, 0) && due_rows(&acme.open).await.is_empty());
    acme.open.close().await;
}

/// With a collection, and with a tenant, go its pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_listed_of_what_is_shredded_is_gone_with_it() {
    let acme = Acme::make(ShredUnit::Subject).await;
    let (other, others, _) = acme.open.tenant(&acme.place, "other").await;
    set(&acme.open, &others, &other, policy(ShredUnit::Subject, "UTC", &one_rule(&json!({"field": "/date"}), "10d"))).await;
    acme.put("a", "1", 12).await;
    acme.open.put(&others, &other, ("c", "b"), Some("1"), br#"{"date": "2000-02-01"}"#).await.unwrap();
    acme.run().await;
    assert_eq!(acme.listed().await, (2, 2), "each tenant has its own");
    let reclaim = async || while acme.open.vault.reclaim(64).await.unwrap().log_entries > 0 {};
    acme.open.shred(&acme.owner, &acme.name, ShredOrder::Collection(coll("c"))).await;
    reclaim().await;
    assert_eq!(acme.listed().await, (1, 1));
    acme.open.shred(&others, &other, ShredOrder::Tenant { confirm: "other".into() }).await;
    reclaim().await;
    assert_eq!(acme.listed().await, (0, 0));
    acme.until(13);
    let done = acme.run().await;
    assert_eq!((done.destroyed, done.failed, done.more), (0, 0, false), "{done:?}");
    acme.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_listed_and_is_held_goes_when_the_hold_ends() {
    let acme = Acme::make(ShredUnit::Subject).await;
    for (name, person) in [("held", "1"), ("free", "2")] {
        acme.put(name, person, 10).await;
    }
    acme.run().await;
    let (counsel, hold) = acme.open.counsel_holds(&acme.owner, &acme.name, HoldScope::Subjects(subjects(&["1"]))).await;
    acme.until(10);
    let done = acme.run().await;
    assert_eq!((done.held, done.destroyed, done.failed), (1, 1, 0), "{done:?}");
    assert_eq!((acme.listed().await, due_rows(&acme.open).await.len()), ((0, 0), 0));
    assert_eq!(acme.findings().await, Vec::<String>::new());
    let explained = acme.open.vault.explain_retention(&acme.owner, &acme.name, &coll("c"), &key("held")).await.unwrap();
    assert_eq!(explained.explanation.scheduled_at, Some(february(10)));
    acme.until(11);
    assert_eq!(acme.run().await.looked_at, 0);
    acme.open.vault.release_hold(&counsel, &acme.name, hold.id, "settled".into(), None).await.unwrap();
    assert_eq!(acme.run().await.destroyed, 1);
    assert!(!acme.is_there("held").await && due_rows(&acme.open).await.is_empty());
    assert_eq!(acme.findings().await, Vec::<String>::new());
    acme.open.close().await;
}

/// A commit that lists is refused by a full disk; then one that writes a page anew meets another: nothing waits for either, and nothing goes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_cannot_be_written_holds_up_nothing_that_is_due() {
    let mut acme = Acme::make(ShredUnit::Subject).await;
    acme.until(9);
    for (name, day) in [("a", 10), ("b", 11), ("c", 12), ("d", 13), ("e", 14)] {
        acme.put(name, "7", day).await;
    }
    acme.until(10);
    acme.place.meddler.refuse(|commit| sets(commit, Table::DuePage, |_, _| true).then_some(StoreError::DiskFull));
    assert_eq!(acme.run().await.destroyed, 1);
    assert_eq!(acme.listed().await, (0, 0));
    acme.until(11);
    assert_eq!(acme.run().await.destroyed, 1, "it is looked at where it lies");
    acme.place.meddler.refuse_nothing();
    acme.until(12);
    assert_eq!(acme.run().await.destroyed, 1);
    assert_eq!(acme.listed().await, (2, 1));
    acme.place.meddler.refuse(|commit| sets(commit, Table::DuePage, |_, _| true).then_some(StoreError::Conflict(0)));
    acme.until(13);
    assert_eq!(acme.run().await.destroyed, 1);
    acme.place.meddler.refuse_nothing();
    assert_eq!(acme.listed().await, (1, 1), "a place of it leads to nothing");
    assert_eq!(acme.findings().await, Vec::<String>::new());
    // As after a death in between.
    acme = acme.again().await;
    let done = acme.run().await;
    assert_eq!((done.destroyed, done.failed, done.dropped), (0, 0, 0), "{done:?}");
    acme.until(14);
    assert_eq!(acme.run().await.destroyed, 1);
    assert_eq!((acme.listed().await, due_rows(&acme.open).await.len()), ((0, 0), 0));
    acme.open.close().await;
}

/// Who bends a page, or cuts it, hides nothing by that: its rows are looked at one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_does_not_open_has_its_rows_looked_at() {
    for restarts in [false, true] {
        let mut acme = Acme::make(ShredUnit::Subject).await;
        for (name, day) in [("a", 10), ("b", 12), ("c", 13)] {
            acme.put(name, "7", day).await;
        }
        acme.run().await;
        let page = acme.rows(Table::DuePage).await.remove(0);
        acme.write(vec![bent(Space::Index, &page)]).await;
        let findings = acme.findings().await;
        assert!(findings.iter().any(|told| told.contains("does not open")) && findings.len() == 4, "{findings:?}");
        if restarts {
            acme = acme.again().await;
            assert_eq!(acme.run().await.destroyed, 0);
        }
        acme.until(10);
        assert_eq!(acme.run().await.destroyed, 1, "{restarts}");
        assert_eq!((acme.listed().await, acme.findings().await), ((2, 1), Vec::new()), "listed anew");
        assert_ne!(acme.rows(Table::DuePage).await[0].key, page.key);
        for (day, left) in [(12, (1, 1)), (13, (0, 0))] {
            acme.until(day);
            assert_eq!((acme.run().await.destroyed, acme.listed().await), (1, left), "{restarts} {day}");
        }
        acme.open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_wrongly_is_found_by_a_check() {
    let acme = Acme::make(ShredUnit::Subject).await;
    for (name, day) in [("a", 10), ("b", 12)] {
        acme.put(name, "7", day).await;
    }
    acme.run().await;
    let (page, row) = (acme.rows(Table::DuePage).await.remove(0), acme.rows(Table::DueListed).await.remove(0));
    let told = async |writes: Vec<Write>| {
        let stood = [&page, &row].map(|row| Write::Put { space: Space::Index, key: row.key.clone(), value: row.value.clone() });
        acme.write(writes).await;
        let told = acme.findings().await.join("; ");
        acme.write(stood.into()).await;
        told
    };
    let gone = |key: &Bytes| Write::Delete { space: Space::Index, key: key.clone() };
    assert!(told(vec![gone(&page.key)]).await.contains("is on no page"));
    assert!(told(vec![gone(&row.key)]).await.contains("leads to no row"));
    assert!(told(vec![bent(Space::Index, &row)]).await.contains("does not open"));
    let due = schema::due_parts(&row.key).unwrap();
    let Lies::Listed { page: number, .. } = due.lies else { panic!("{due:?}") };
    let of = schema::DuePage { hour: due.hour, tenant: due.tenant, collection: due.collection, page: number };
    // At another place it does not open, and its record does not lead there.
    let moved = schema::due_listed(&of, 300, &due.record);
    let there = told(vec![Write::Put { space: Space::Index, key: moved.clone(), value: row.value.clone() }]).await;
    assert!(there.contains(&hex::encode(&moved)), "{there}");
    acme.write(vec![gone(&moved)]).await;
    assert_eq!(acme.findings().await, Vec::<String>::new());
    acme.open.close().await;
}

/// What a run cannot read is tried again, holds up nothing on its page, and is met once by each run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_ends_in_the_midst_of_a_page_is_gone_on_with_behind_it() {
    let acme = Acme::make(ShredUnit::Subject).await;
    for number in 0..60 {
        acme.put(&format!("k{number}"), "7", 10 + number % 2).await;
    }
    acme.run().await;
    assert_eq!(acme.listed().await, (60, 1));
    let records = rows::records(&acme.open.store, TenantNo(1)).await;
    acme.write(records.iter().step_by(3).map(|row| bent(Space::Records, row)).collect()).await;
    acme.until(11);
    for goes_on in [true, false] {
        let (mut destroyed, mut failed, mut passes) = (0, 0, 0);
        loop {
            let done = Retention { vault: acme.open.vault.clone(), limit: 7 }.run_once(acme.clock.now()).await.unwrap();
            assert!(done.destroyed + done.failed <= 7, "{done:?}");
            (destroyed, failed, passes) = (destroyed + done.destroyed, failed + done.failed, passes + 1);
            assert!(passes < 60, "it never ends");
            if !done.more {
                break;
            }
        }
        assert_eq!((destroyed, failed), (if goes_on { 40 } else { 0 }, 20), "each of them once");
        assert_eq!(acme.listed().await, (20, 1));
        acme.clock.advance(Duration::from_mins(1));
    }
    acme.open.close().await;
}

/// Older data has pages of its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_in_older_data_has_ended_before_that_is_served() {
    let mut acme = Acme::make(ShredUnit::Subject).await;
    for (name, day) in [("a", 10), ("b", 12), ("c", 25)] {
        acme.put(name, "7", day).await;
    }
    acme.run().await;
    acme.open.close().await;
    acme.place.copy("store/data", "then/data");
    acme.open = acme.place.open().await;
    acme.until(11);
    assert_eq!(acme.run().await.destroyed, 1);
    acme.open.close().await;
    acme.place.put_back("then/data", "store/data");
    acme.open = acme.place.open_idle().await;
    acme.open.vault.begin_restoring();
    let done = acme.open.vault.replay_retention().await.unwrap();
    assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
    acme.open.vault.end_restoring();
    acme.owner = acme.open.caller(&acme.token).await;
    let there = [acme.is_there("a").await, acme.is_there("b").await, acme.is_there("c").await];
    assert_eq!((there, acme.listed().await), ([false, true, true], (1, 1)));
    acme.until(12);
    assert_eq!(acme.run().await.destroyed, 1);
    acme.clock.advance(DAY * 14);
    assert_eq!(acme.run().await.destroyed, 1);
    assert!(due_rows(&acme.open).await.is_empty());
    acme.open.close().await;
}

/// What is listed is marked, and told as marked, like anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_is_marked_and_is_in_the_list_of_that() {
    let mut acme = Acme::make(ShredUnit::Subject).await;
    let mut rule = one_rule(&json!({"field": "/date"}), "10d");
    rule[0]["mark"] = json!("5d");
    set(&acme.open, &acme.owner, &acme.name, policy(ShredUnit::Subject, "UTC", &rule)).await;
    let value = |day: u32| format!(r#"{{"date": "2000-02-{day:02}"}}"#);
    // They end on the 12th, 13th and so on, and are marked five days before.
    for number in 1..=5 {
        let name = format!("k{number}");
        acme.open.put(&acme.owner, &acme.name, ("c", &name), Some("7"), value(number).as_bytes()).await.unwrap();
    }
    acme.run().await;
    assert_eq!(acme.listed().await, (5, 1));
    acme.until(9);
    assert_eq!(acme.run().await.marked, 3);
    for restarts in [false, true] {
        if restarts {
            acme = acme.again().await;
            acme.run().await;
            assert_eq!(acme.listed().await.0, 5, "their ends are of these days, too");
        }
        for limit in [1, 2, 10] {
            let (mut names, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
            loop {
                let listed = acme.open.vault.marked_records(&acme.owner, &acme.name, &coll("c"), cursor.as_deref(), limit).await;
                let (page, next) = listed.unwrap();
                assert!(page.len() <= limit);
                names.extend(page.into_iter().map(|item| item.key.unwrap().as_str().to_owned()));
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            names.sort_unstable();
            assert_eq!(names, ["k1", "k2", "k3"], "restarts: {restarts}, {limit} at a time");
        }
    }
    acme.until(13);
    let done = acme.run().await;
    assert_eq!((done.marked, done.destroyed), (2, 2), "{done:?}");
    acme.until(16);
    assert_eq!(acme.run().await.destroyed, 3);
    assert!(due_rows(&acme.open).await.is_empty() && acme.listed().await == (0, 0));
    acme.open.close().await;
}

/// HOLD-4: what a minimum of the governance kind keeps is listed as anything else is; once somebody bypasses that, it does not wait for the moment
/// that its page tells. What was under one that nobody shortens stays until that ends, on a page of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_listed_and_bypassed_goes_with_the_next_run() {
    for restarts in [false, true] {
        let mut acme = Acme::make(ShredUnit::Subject).await;
        let (governor, _) = acme.open.token(&acme.owner, &acme.name, Role::Governor).await;
        let by_date = |maximum| one_rule(&json!({"field": "/date"}), maximum);
        // What comes last was never under the first of them.
        for (mode, name) in [("compliance", "stays"), ("governance", "goes")] {
            let mut law = by_date("14d");
            law[0]["minimum"] = json!({"period": "10d", "basis": "law 1", "mode": mode});
            set(&acme.open, &acme.owner, &acme.name, policy(ShredUnit::Subject, "UTC", &law)).await;
            // It ends on the 16th, and is kept until the 12th.
            acme.open.put(&acme.owner, &acme.name, ("c", name), Some("7"), br#"{"date": "2000-02-01"}"#).await.unwrap();
        }
        acme.run().await;
        assert_eq!(acme.listed().await, (2, 1));
        set(&acme.open, &acme.owner, &acme.name, policy(ShredUnit::Subject, "UTC", &by_date("1d"))).await;
        // By then the governor is a second person.
        acme.clock.advance(DAY * 8);
        let done = acme.run().await;
        assert_eq!((done.destroyed, done.failed, acme.listed().await), (0, 0, (2, 1)), "a shorter rule brings nothing forward: {done:?}");
        let asked = acme.open.vault.ask_bypass(&acme.owner, &acme.name, &coll("c"), "the law has changed".into(), None).await.unwrap();
        acme.open.approve(&acme.open.caller(&governor).await, &acme.name, asked.id).await.unwrap();
        // What is there ends behind the rules that came with it.
        acme.clock.advance(Duration::from_millis(1));
        if restarts {
            acme = acme.again().await;
        }
        let done = acme.run().await;
        assert_eq!((done.destroyed, done.failed), (1, 0), "{restarts}: {done:?}");
        assert!(!acme.is_there("goes").await && acme.is_there("stays").await, "{restarts}");
        assert_eq!((acme.listed().await, acme.findings().await), ((1, 2), Vec::new()), "{restarts}: the places of before lead to nothing");
        for (day, gone, left) in [(12, 1, (0, 1)), (16, 0, (0, 0))] {
            acme.until(day);
            let done = acme.run().await;
            assert_eq!((done.destroyed, done.failed, done.dropped), (gone, 0, 0), "{restarts} {day}: {done:?}");
            assert_eq!(acme.listed().await, left, "{restarts} {day}");
        }
        assert_eq!((due_rows(&acme.open).await.len(), acme.findings().await), (0, Vec::new()), "{restarts}");
        acme.open.close().await;
    }
}

/// A run that somebody asks for destroys what was due by its moment, lists nothing that is due by now, and leaves that to the server's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_until_a_moment_that_has_passed_leaves_what_is_due_since_to_the_next() {
    let acme = Acme::make(ShredUnit::Subject).await;
    let operator = acme.open.caller(&acme.place.operator).await;
    for (name, day) in [("a", 5), ("b", 7), ("c", 9), ("d", 12)] {
        acme.put(name, "7", day).await;
    }
    acme.run().await;
    acme.put("e", "7", 8).await;
    acme.until(10);
    let ask = async |day: i64| acme.open.vault.run_retention(&operator, Some(february(day)), 100, None).await.map(|(done, ..)| done);
    let done: Result<Destroyed, VaultError> = ask(6).await;
    assert_eq!(done.unwrap().destroyed, 1);
    assert_eq!(ask(7).await.unwrap().destroyed, 1);
    assert_eq!(acme.run().await.destroyed, 2, "of the 8th and the 9th");
    assert_eq!(acme.listed().await, (1, 1));
    assert!(acme.is_there("d").await);
    acme.open.close().await;
}
