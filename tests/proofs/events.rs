//! What a backend reports of a person, and rules count from: a record waits for it and ends by it, whoever reports it under whichever id,
//! in any race, after any crash, and whatever the date of the data; a law whose date is not known keeps, and no correction brings one
//! forward. RET-2, RET-3, RET-4.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use lethe::{
    domain::{
        Clock as _, CollectionPolicy, ShredUnit, TenantName, Timestamp, limits,
        retention::{EventDate, EventName},
    },
    jobs::Retention,
    vault::{
        ops::{Caller, EventsView, Missing, PutRecord, ShredOrder, Unprocessable, VaultError},
        store::{
            Commit, Space, Store as _, StoreError,
            schema::{self, Table},
        },
    },
};
use serde_json::{Value, json};

use crate::{
    harness::{Open, Place, coll, filed_under, findings, key, put_about, subject},
    meddling::{deletes_a_record, puts_a_record, sets},
    retention::{DAY, due_rows, is_there, one_rule, place, policy, run, set, time, to},
    rows,
};

mod joined;
mod left;
mod moved;
mod seen;

const ENDED: &str = "contract-ended";

fn event(name: &str) -> EventName {
    EventName::parse(name).unwrap()
}

fn by_event(maximum: &str) -> CollectionPolicy {
    policy(ShredUnit::Subject, "UTC", &one_rule(&json!({"event": ENDED}), maximum))
}

/// A law of so many years from the end of the contract, and no longer.
fn lawful(unit: ShredUnit, period: &str) -> CollectionPolicy {
    let law = json!({"period": period, "basis": "law 1"});
    let rules = json!([
        {"name": "contracts", "categories": ["deal"], "from": {"event": ENDED}, "minimum": law, "maximum": period, "then": "delete"},
        {"name": "notes", "categories": ["note"], "from": "subject-end", "maximum": "30d", "then": "delete"},
    ]);
    CollectionPolicy { categories: vec!["deal".into(), "note".into()], ..policy(unit, "UTC", &rules) }
}

/// A tenant and its owner, at noon of 31 January 2000.
struct Acme {
    name: TenantName,
    owner: Caller,
    token: String,
}

impl Acme {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, token) = open.tenant(place, "acme").await;
        Self { name, owner, token }
    }

    async fn again(&mut self, open: &Open) {
        self.owner = open.caller(&self.token).await;
    }

    async fn set(&self, open: &Open, policy: CollectionPolicy) {
        set(open, &self.owner, &self.name, policy).await;
    }

    async fn put(&self, open: &Open, name: &str, subjects: &[&str]) -> Result<(), VaultError> {
        self.put_as(open, ("c", name), subjects, None).await
    }

    async fn put_as(&self, open: &Open, at: (&str, &str), subjects: &[&str], category: Option<&str>) -> Result<(), VaultError> {
        let put = PutRecord { custom: filed_under(category), ..put_about(subjects, at.1.as_bytes()) };
        open.vault.put_record(&self.owner, &self.name, &coll(at.0), key(at.1), put).await.map(drop)
    }

    async fn report(&self, open: &Open, person: &str, at: &str) -> EventsView {
        self.reports(open, person, ENDED, at).await.unwrap()
    }

    async fn reports(&self, open: &Open, person: &str, name: &str, at: &str) -> Result<EventsView, VaultError> {
        let report = (subject(person), event(name), EventDate::parse(at).unwrap());
        open.vault.report_event(&self.owner, &self.name, report, None).await
    }

    async fn withdraw(&self, open: &Open, person: &str) -> Result<EventsView, VaultError> {
        open.vault.withdraw_event(&self.owner, &self.name, (subject(person), event(ENDED)), None).await
    }

    async fn known(&self, open: &Open, person: &str) -> Vec<(String, String)> {
        let view = open.vault.read_events(&self.owner, &self.name, &subject(person)).await.unwrap();
        view.events.into_iter().map(|one| (one.event.as_str().to_owned(), one.at.to_text())).collect()
    }

    async fn alias(&self, open: &Open, of: &str, alias: &str) {
        open.add_alias(&self.owner, &self.name, of, alias).await;
    }

    async fn has(&self, open: &Open, name: &str) -> bool {
        is_there(open, &self.owner, &self.name, name).await
    }

    /// When a record ends, as it is explained.
    async fn end(&self, open: &Open, name: &str) -> Option<Timestamp> {
        let told = open.vault.explain_retention(&self.owner, &self.name, &coll("c"), &key(name)).await.unwrap();
        told.explanation.end.map(|end| end.at)
    }

    async fn delete(&self, open: &Open, name: &str) -> Result<(), VaultError> {
        open.delete(&self.owner, &self.name, ("c", name)).await
    }
}

/// RET-2: nothing ends before the report, what it is about ends by it to the day, and the last report is the one that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_waits_for_the_report_and_ends_by_the_last_one() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    acme.put(&open, "of-7", &["7"]).await.unwrap();
    acme.put(&open, "of-8", &["8", "7"]).await.unwrap();
    clock.advance(DAY * 400);
    run(&open, &clock).await;
    assert!(acme.end(&open, "of-7").await.is_none() && due_rows(&open).await.is_empty());

    let view = acme.report(&open, "7", "2001-03-20").await;
    assert_eq!((view.subject.as_str(), view.events.len()), ("7", 1));
    let far = acme.reports(&open, "7", ENDED, "2101-03-08").await;
    assert!(matches!(far, Err(VaultError::Unprocessable(Unprocessable::EventTooFar))), "{far:?}");
    assert_eq!(acme.known(&open, "7").await, [(ENDED.to_owned(), "2001-03-20".to_owned())]);
    assert_eq!(acme.end(&open, "of-7").await, Some(time("2001-03-31T00:00:00Z")), "as soon as it is reported");
    run(&open, &clock).await;
    assert_eq!(due_rows(&open).await.len(), 1, "of whom it names first, and no other");
    // Put off, before the end that was written down comes.
    acme.report(&open, "7", "2001-03-25").await;
    to(&clock, "2001-03-31T00:00:00Z");
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.moved), (0, 1), "{done:?}");
    to(&clock, "2001-04-04T23:59:59.999Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    // Taken back: the person comes back.
    acme.withdraw(&open, "7").await.unwrap();
    to(&clock, "2001-06-01T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    assert!(acme.has(&open, "of-7").await && acme.known(&open, "7").await.is_empty());
    assert!(matches!(acme.withdraw(&open, "7").await, Err(VaultError::NotFound(Missing::Event))));
    // And leaves for good, some time ago.
    acme.report(&open, "7", "2001-05-22").await;
    assert_eq!(run(&open, &clock).await.destroyed, 0, "today is the last day of ten");
    to(&clock, "2001-06-01T12:00:00Z");
    acme.report(&open, "7", "2001-05-21T23:00:00-05:00").await;
    assert_eq!(acme.end(&open, "of-7").await, Some(time("2001-06-02T00:00:00Z")), "by the day in the zone of the rules");
    acme.report(&open, "7", "2001-05-20").await;
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(!acme.has(&open, "of-7").await && acme.has(&open, "of-8").await);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_behind_a_report_ends_by_it_too_and_what_would_be_over_is_refused() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    acme.report(&open, "7", "2000-01-31").await;
    acme.put(&open, "k", &["7"]).await.unwrap();
    assert_eq!(due_rows(&open).await.len(), 1);
    to(&clock, "2000-02-11T00:00:00Z");
    let late = acme.put(&open, "late", &["7"]).await;
    assert!(matches!(late, Err(VaultError::Unprocessable(Unprocessable::AlreadyOver { .. }))), "{late:?}");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    acme.set(&open, policy(ShredUnit::Collection, "UTC", &one_rule(&json!("subject-end"), "10d"))).await;
    let nobody = acme.put(&open, "nobody", &[]).await;
    assert!(matches!(nobody, Err(VaultError::Unprocessable(Unprocessable::NobodyForRule { .. }))), "{nobody:?}");
    open.close().await;
}

/// The same report again is no other, and one person has so many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_repeated_changes_nothing_and_reports_are_bounded() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let queued = async || rows::table(&open.store, Table::EventQueue).await;
    acme.report(&open, "7", "2000-01-01").await;
    let before = queued().await;
    acme.report(&open, "7", "2000-01-01").await;
    assert_eq!(queued().await, before);
    // A repetition that comes late takes nothing back.
    let first = (subject("7"), event(ENDED), EventDate::parse("2000-01-02").unwrap());
    let send = async || open.vault.report_event(&acme.owner, &acme.name, first.clone(), Some("once".into())).await;
    send().await.unwrap();
    acme.report(&open, "7", "2000-01-03").await;
    assert_eq!(send().await.unwrap().events[0].at.to_text(), "2000-01-03");
    assert_eq!(queued().await.len(), 1, "a person stands there once");
    let mut last = Ok(());
    for number in 3..limits::SUBJECT_EVENTS.max {
        clock.advance(DAY);
        let at = clock.now().to_rfc3339();
        last = acme.reports(&open, "7", if number % 2 == 0 { ENDED } else { "other" }, &at).await.map(drop);
    }
    assert!(last.is_ok(), "{last:?}");
    let over = acme.reports(&open, "7", ENDED, "2000-06-01").await;
    assert!(matches!(over, Err(VaultError::Limit(limits::SUBJECT_EVENTS))), "{over:?}");
    acme.report(&open, "8", "2000-06-01").await;
    // One that was a mistake is taken back all the same, and the two are joined.
    assert_eq!(acme.withdraw(&open, "7").await.unwrap().events.len(), 1);
    let over = acme.reports(&open, "7", ENDED, "2000-06-01").await;
    assert!(matches!(over, Err(VaultError::Limit(limits::SUBJECT_EVENTS))), "{over:?}");
    acme.alias(&open, "8", "7").await;
    acme.report(&open, "7", "2000-06-02").await;
    assert_eq!(acme.known(&open, "8").await.len(), 2);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// By whichever id it is reported, it is of all; and an id that is taken away knows what was known until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_counts_for_every_id_of_the_person() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    for id in ["7", "seven", "vii", "8"] {
        acme.put(&open, id, &[id]).await.unwrap();
    }
    acme.alias(&open, "7", "seven").await;
    acme.report(&open, "seven", "2000-01-31").await;
    let told = [(ENDED.to_owned(), "2000-01-31".to_owned())];
    assert_eq!((acme.known(&open, "7").await, acme.known(&open, "seven").await), (told.to_vec(), told.to_vec()));
    run(&open, &clock).await;
    assert_eq!(due_rows(&open).await.len(), 2);
    // Another id, with records of its own, and a report that was earlier than the person's.
    clock.advance(DAY);
    acme.report(&open, "vii", "2000-02-01").await;
    acme.alias(&open, "7", "vii").await;
    assert_eq!(acme.known(&open, "seven").await, [(ENDED.to_owned(), "2000-02-01".to_owned())], "the later report of the two");
    assert_eq!(rows::count(&open.store, Table::Events).await, 1, "under the first id alone");
    open.vault.remove_alias(&acme.owner, &acme.name, subject("seven"), None).await.unwrap();
    for id in ["7", "seven", "vii"] {
        assert_eq!(acme.known(&open, id).await, [(ENDED.to_owned(), "2000-02-01".to_owned())], "{id}");
    }
    acme.withdraw(&open, "vii").await.unwrap();
    assert_eq!((acme.known(&open, "7").await.len(), acme.known(&open, "seven").await.len()), (0, 1));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    to(&clock, "2000-02-13T00:00:00Z");
    run(&open, &clock).await;
    let there = [acme.has(&open, "7").await, acme.has(&open, "seven").await, acme.has(&open, "vii").await, acme.has(&open, "8").await];
    assert_eq!(there, [true, false, true, true]);
    open.close().await;
}

/// The cost of a report is that of the person's records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_reads_the_records_of_its_person_and_no_others() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    open.collection(&acme.owner, &acme.name, "free", ShredUnit::Subject).await;
    for number in 0..200 {
        acme.put(&open, &format!("o{number}"), &[&format!("{}", number % 9 + 100)]).await.unwrap();
        acme.put_as(&open, ("free", &format!("f{number}")), &["7"], None).await.unwrap();
    }
    for number in 0..5 {
        acme.put(&open, &format!("k{number}"), &["7"]).await.unwrap();
    }
    run(&open, &clock).await;
    acme.report(&open, "7", "2000-02-10").await;
    place.meddler.take_records_read();
    run(&open, &clock).await;
    assert_eq!(place.meddler.take_records_read(), 5);
    assert_eq!(due_rows(&open).await.len(), 5);
    run(&open, &clock).await;
    assert_eq!(place.meddler.take_records_read(), 0);
    open.close().await;
}

/// Every commit of what follows from a report may be the last of the process: the next one goes on, and each record goes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_a_report_is_gone_on_with_wherever_it_was_cut_short() {
    for cut in 0..4 {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.set(&open, by_event("1d")).await;
        for number in 0..300 {
            acme.put(&open, &format!("k{number}"), &[if number % 3 == 0 { "seven" } else { "7" }]).await.unwrap();
        }
        acme.alias(&open, "7", "seven").await;
        clock.advance(DAY * 9);
        run(&open, &clock).await;
        acme.report(&open, "seven", "2000-02-01").await;
        let (met, follows) = (AtomicUsize::new(0), |commit: &Commit| sets(commit, Table::EventsDone, |_, _| true));
        place.meddler.refuse(move |commit| {
            let fails = follows(commit) && met.fetch_add(1, Ordering::SeqCst) == cut;
            fails.then_some(StoreError::DiskFull)
        });
        let went = Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await;
        place.meddler.refuse_nothing();
        let left = due_rows(&open).await.len();
        // 300 records in three commits.
        let expected = [0, 128, 256];
        match expected.get(cut) {
            Some(written) => assert!(matches!(went, Err(VaultError::DiskFull)) && left == *written, "{cut}: {went:?}, {left}"),
            None => assert!(went.is_ok() && left == 0, "{cut}: {went:?}, {left}"),
        }
        open.close().await;
        let open = place.open().await;
        acme.again(&open).await;
        run(&open, &clock).await;
        assert_eq!(rows::records(&open.store, lethe::domain::TenantNo(1)).await, [], "{cut}");
        let count = async |action: &str| open.trail(&acme.owner, &acme.name, action).await.len();
        let counts = (count("record.delete").await, count("event.report").await);
        assert_eq!(counts, (300, 2), "{cut}: each once, the report and what followed");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// What cannot be followed for now is tried again, and the others wait for none; a report that is known already has it tried again, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_followed_for_now_is_followed_as_soon_as_it_goes() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    for person in ["7", "8"] {
        acme.put(&open, person, &[person]).await.unwrap();
    }
    acme.report(&open, "7", "2000-01-31").await;
    let reported = rows::table(&open.store, Table::Events).await;
    let state = schema::subject_state(lethe::domain::TenantNo(1), reported[0].key.last_chunk().unwrap());
    assert_eq!(open.store.get(Space::Control, &state).await.unwrap(), None);
    rows::set(&open.store, Space::Control, &state, Some("bent".into())).await;
    acme.report(&open, "8", "2000-01-31").await;
    for _ in 0..3 {
        assert_eq!(run(&open, &clock).await.failed, 1);
        assert_eq!(due_rows(&open).await.len(), 1, "the other's");
    }
    rows::set(&open.store, Space::Control, &state, None).await;
    assert_eq!(run(&open, &clock).await.failed, 0);
    assert_eq!(due_rows(&open).await.len(), 2);
    // One that is known has the person's records looked at once more, and nothing changes.
    clock.advance(DAY);
    acme.report(&open, "7", "2000-01-31").await;
    place.meddler.take_records_read();
    run(&open, &clock).await;
    assert_eq!((place.meddler.take_records_read(), due_rows(&open).await.len()), (1, 2));
    run(&open, &clock).await;
    assert_eq!(place.meddler.take_records_read(), 0);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A row that says how far a data store has come, and does not open, stops nothing: all that was reported is gone through again, by runs and
/// where older data is made ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bent_mark_of_what_was_followed_stops_no_run_and_no_restore() {
    for is_restore in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.set(&open, by_event("10d")).await;
        acme.put(&open, "k", &["7"]).await.unwrap();
        acme.report(&open, "8", "2000-01-31").await;
        run(&open, &clock).await;
        rows::set(&open.store, Space::Index, &schema::events_done(), Some("bent".into())).await;
        acme.report(&open, "7", "1999-01-31").await;
        open.close().await;
        let open = place.open().await;
        acme.again(&open).await;
        if is_restore {
            open.vault.begin_restoring();
            let done = open.vault.replay_retention().await.unwrap();
            assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
            open.vault.end_restoring();
        } else {
            let done = run(&open, &clock).await;
            assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
        }
        assert!(!acme.has(&open, "k").await);
        assert_eq!(findings(&open).await, Vec::<String>::new(), "it is written anew");
        open.close().await;
    }
}

/// While somebody looks at what laws keep of a tenant, its reports are told to come again, and those of others wait for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_looks_at_what_a_law_keeps_holds_up_no_report_of_another_tenant() {
    let (place, _clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let (name, owner, token) = open.tenant(&place, "other").await;
    let other = Acme { name, owner, token };
    acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
    acme.report(&open, "7", "1990-01-31").await;
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::PendingShred, |_, _| true));
    let order = open.vault.order_shred(&acme.owner, &acme.name, ShredOrder::Collection(coll("c")), None, None);
    let meanwhile = async {
        held.has_read().await;
        other.report(&open, "7", "1990-01-31").await;
        other.alias(&open, "7", "seven").await;
        let refused = acme.reports(&open, "7", ENDED, "2000-01-31").await;
        assert!(matches!(refused, Err(VaultError::Busy)), "{refused:?}");
        let refused = acme.withdraw(&open, "7").await;
        assert!(matches!(refused, Err(VaultError::Busy)), "{refused:?}");
        held.let_go();
    };
    let (ordered, ()) = tokio::join!(order, meanwhile);
    ordered.unwrap();
    acme.report(&open, "7", "2000-01-31").await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A report that comes between what a write has read and its commit counts for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_against_a_write_is_before_it_and_counts_or_behind_it_and_finds_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    acme.put(&open, "first", &["7"]).await.unwrap();
    let held = place.meddler.hold_commit(puts_a_record);
    let write = acme.put(&open, "k", &["7"]);
    let meanwhile = async {
        held.has_read().await;
        acme.report(&open, "7", "2000-01-31").await;
        run(&open, &clock).await;
        held.let_go();
    };
    let (written, ()) = tokio::join!(write, meanwhile);
    written.unwrap();
    assert_eq!(due_rows(&open).await.len(), 2, "the one that was there, and the one that came");
    to(&clock, "2000-02-11T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    open.close().await;
}

/// A run that is about to destroy a record does not, if the report by which it was over is corrected, or taken back, before its commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_that_comes_before_the_commit_of_a_run_saves_the_record() {
    for corrected in [Some("2000-06-01"), None] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        acme.set(&open, by_event("10d")).await;
        acme.put(&open, "k", &["7"]).await.unwrap();
        acme.report(&open, "7", "2000-01-31").await;
        run(&open, &clock).await;
        to(&clock, "2000-02-11T00:00:00Z");
        let held = place.meddler.hold_commit(deletes_a_record);
        let meanwhile = async {
            held.has_read().await;
            match corrected {
                Some(at) => drop(acme.report(&open, "7", at).await),
                None => drop(acme.withdraw(&open, "7").await.unwrap()),
            }
            held.let_go();
        };
        let (done, ()) = tokio::join!(run(&open, &clock), meanwhile);
        assert_eq!((done.destroyed, done.failed), (0, 0), "{done:?}");
        assert!(acme.has(&open, "k").await);
        open.close().await;
    }
}

/// RET-3: a law that counts from what nobody has reported keeps; a report says until when, and no other brings that forward.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_law_keeps_until_the_report_and_no_correction_brings_it_forward() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
    acme.put_as(&open, ("c", "k"), &["7"], Some("deal")).await.unwrap();
    let until = |result: Result<(), VaultError>| match result {
        Err(VaultError::LegalMinimum { law: Some(law), .. }) => law.until.map(Timestamp::to_rfc3339),
        other => panic!("{other:?}"),
    };
    assert_eq!(until(acme.delete(&open, "k").await), None);
    // Kept for what nobody knows yet, it becomes nothing that is kept for less.
    assert_eq!(until(acme.put_as(&open, ("c", "k"), &["7"], Some("note")).await), None);
    acme.put_as(&open, ("c", "k"), &["7"], Some("deal")).await.unwrap();
    acme.report(&open, "7", "2000-02-10").await;
    let four = Some("2004-02-11T00:00:00.000Z".to_owned());
    assert_eq!(until(acme.delete(&open, "k").await), four);
    clock.advance(DAY);
    acme.report(&open, "7", "1990-01-01").await;
    assert_eq!(until(acme.delete(&open, "k").await), four, "corrected to an earlier day");
    run(&open, &clock).await;
    assert!(acme.has(&open, "k").await);
    // Written again as something else, it is kept as long.
    clock.advance(DAY);
    acme.put_as(&open, ("c", "k"), &["7"], Some("note")).await.unwrap();
    assert_eq!(until(acme.delete(&open, "k").await), four);
    // What is written from then on is kept by what is known now, which is over.
    let over = acme.put_as(&open, ("c", "new"), &["7"], Some("deal")).await;
    assert!(matches!(over, Err(VaultError::Unprocessable(Unprocessable::AlreadyOver { .. }))), "{over:?}");
    // The report is taken back, and the rules are made shorter by the owner alone: the law it was written under counts from that day.
    acme.put_as(&open, ("c", "other"), &["8"], Some("deal")).await.unwrap();
    acme.report(&open, "8", "1996-02-05").await;
    run(&open, &clock).await;
    acme.withdraw(&open, "8").await.unwrap();
    clock.advance(DAY);
    acme.set(&open, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "1d"))).await;
    for _ in 0..4 {
        clock.advance(DAY * 40);
        run(&open, &clock).await;
    }
    assert_eq!(until(acme.delete(&open, "other").await), Some("2004-02-04T00:00:00.000Z".to_owned()));
    acme.report(&open, "8", "1996-02-05").await;
    run(&open, &clock).await;
    assert!(!acme.has(&open, "other").await, "what is reported counts, and four years from then are over");
    // Written again while the report is taken back, it is kept by what was known of it before, and waits.
    acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
    acme.put_as(&open, ("c", "third"), &["9"], Some("deal")).await.unwrap();
    acme.report(&open, "9", "2001-01-31").await;
    clock.advance(DAY);
    acme.withdraw(&open, "9").await.unwrap();
    clock.advance(DAY);
    acme.put_as(&open, ("c", "third"), &["9"], Some("deal")).await.unwrap();
    assert_eq!(until(acme.delete(&open, "third").await), None);
    acme.report(&open, "9", "1998-01-31").await;
    assert_eq!(until(acme.delete(&open, "third").await), Some("2005-02-01T00:00:00.000Z".to_owned()), "no earlier report undercuts it");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// RET-4: a rule that an owner alone has made shorter is not brought to bear on what is there by a report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_brings_no_end_forward_but_that_of_the_rules_that_a_record_was_written_under() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    open.collection(&acme.owner, &acme.name, "c", ShredUnit::Subject).await;
    acme.put(&open, "before", &["7"]).await.unwrap();
    clock.advance(DAY);
    acme.set(&open, by_event("100d")).await;
    clock.advance(DAY);
    acme.put(&open, "under", &["7"]).await.unwrap();
    clock.advance(DAY);
    acme.set(&open, by_event("1d")).await;
    clock.advance(DAY);
    acme.report(&open, "7", "2000-02-01").await;
    let told = run(&open, &clock).await;
    assert_eq!(told.destroyed, 0, "{told:?}");
    to(&clock, "2000-05-10T23:59:59Z");
    run(&open, &clock).await;
    assert!(acme.has(&open, "before").await && acme.has(&open, "under").await);
    to(&clock, "2000-05-12T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(acme.has(&open, "before").await && !acme.has(&open, "under").await);
    open.close().await;
}

/// What a report ends is marked from the report on, for as long as its rule says, before it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_report_ends_is_marked_from_then_on_before_it_goes() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let rules = json!([{"name": "rule", "from": {"event": ENDED}, "maximum": "10d", "then": "delete", "mark": "5d"}]);
    acme.set(&open, policy(ShredUnit::Subject, "UTC", &rules)).await;
    acme.put(&open, "k", &["7"]).await.unwrap();
    clock.advance(DAY * 60);
    // It ended long ago.
    acme.report(&open, "7", "2000-02-01").await;
    let met = run(&open, &clock).await;
    assert_eq!((met.marked, met.destroyed), (1, 0), "{met:?}");
    to(&clock, "2000-04-05T11:59:59.999Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    to(&clock, "2000-04-05T12:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// What was marked before a report was taken back is marked again by the next one, for as long as its rule says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_from_before_a_report_was_taken_back_counts_for_no_other() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let rules = json!([{"name": "rule", "from": {"event": ENDED}, "maximum": "10d", "then": "delete", "mark": "5d"}]);
    acme.set(&open, policy(ShredUnit::Subject, "UTC", &rules)).await;
    acme.put(&open, "k", &["7"]).await.unwrap();
    acme.report(&open, "7", "2000-02-10").await;
    run(&open, &clock).await;
    to(&clock, "2000-02-16T00:00:00Z");
    assert_eq!(run(&open, &clock).await.marked, 1);
    to(&clock, "2000-02-17T00:00:00Z");
    acme.withdraw(&open, "7").await.unwrap();
    run(&open, &clock).await;
    // The day before it would have ended.
    to(&clock, "2000-02-20T00:00:00Z");
    acme.report(&open, "7", "2000-02-10").await;
    run(&open, &clock).await;
    let marked = open.vault.marked_records(&acme.owner, &acme.name, &coll("c"), None, 10).await.unwrap().0;
    assert_eq!(marked.iter().map(|item| item.ends_at).collect::<Vec<_>>(), [time("2000-02-25T00:00:00Z")]);
    to(&clock, "2000-02-21T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    to(&clock, "2000-02-24T23:59:59.999Z");
    let met = run(&open, &clock).await;
    assert_eq!((met.marked, met.destroyed), (1, 0), "{met:?}");
    to(&clock, "2000-02-25T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// Older data ends by what is known today, and by what was known when it was over, although that was corrected since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_report_has_ended_does_not_come_back_by_older_data() {
    for taken_back in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.set(&open, by_event("10d")).await;
        for person in ["7", "8", "9"] {
            acme.put(&open, person, &[person]).await.unwrap();
        }
        acme.report(&open, "9", "2000-12-31").await;
        run(&open, &clock).await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        acme.again(&open).await;
        clock.advance(DAY);
        acme.report(&open, "7", "2000-02-01").await;
        // Reported by mistake, and corrected at once.
        acme.report(&open, "8", "1999-02-01").await;
        clock.advance(Duration::from_mins(1));
        acme.report(&open, "8", "2001-02-01").await;
        run(&open, &clock).await;
        to(&clock, "2000-02-12T00:00:00Z");
        assert_eq!(run(&open, &clock).await.destroyed, 1);
        if taken_back {
            clock.advance(DAY * 20);
            acme.withdraw(&open, "7").await.unwrap();
            run(&open, &clock).await;
        }
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        assert!(acme.has(&open, "7").await, "it is there in the older data");
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
        open.vault.end_restoring();
        let there = [acme.has(&open, "7").await, acme.has(&open, "8").await, acme.has(&open, "9").await];
        assert_eq!(there, [false, true, true], "taken back: {taken_back}");
        to(&clock, "2001-02-12T00:00:00Z");
        assert_eq!(run(&open, &clock).await.destroyed, 2, "by what is known today");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// Who makes older data ready beside another is told that it is only once everything that was reported since has been followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_is_not_ready_while_another_still_follows_what_was_reported() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    acme.put(&open, "7", &["7"]).await.unwrap();
    open.close().await;
    place.copy("store/data", "then/data");

    let open = place.open().await;
    acme.again(&open).await;
    clock.advance(DAY);
    acme.report(&open, "7", "1999-02-01").await;
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    // Longer by now: only what it was then ends it.
    acme.set(&open, by_event("90y")).await;
    open.close().await;

    place.put_back("then/data", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    clock.advance(DAY);
    open.vault.begin_restoring();
    let held = place.meddler.hold_scan(|space, from| space == Space::Index && from.first() == Some(&(Table::SubjectRecord as u8)));
    let (vault, tasks) = (open.vault.clone(), tokio_util::task::TaskTracker::new());
    let first = tasks.spawn(async move { vault.replay_retention().await });
    held.has_read().await;
    let mut second = Box::pin(open.vault.replay_retention());
    let told = tokio::time::timeout(Duration::from_secs(1), &mut second).await;
    assert!(told.is_err(), "it is told to be ready while another is at it: {told:?}");
    held.let_go();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap());
    assert_eq!((first.destroyed + second.destroyed, first.failed + second.failed), (1, 0), "{first:?} {second:?}");
    open.vault.end_restoring();
    assert!(!acme.has(&open, "7").await);
    open.close().await;
}

/// A simulation counts by what is known, also where only the draft counts from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_that_counts_from_events_is_simulated_by_what_is_known() {
    let (place, _clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    open.collection(&acme.owner, &acme.name, "c", ShredUnit::Subject).await;
    acme.put(&open, "of-7", &["7"]).await.unwrap();
    acme.put(&open, "of-8", &["8"]).await.unwrap();
    acme.report(&open, "7", "2000-03-01").await;
    let (done, next) = open.vault.simulate_retention(&acme.owner, &acme.name, &coll("c"), by_event("10d"), None).await.unwrap();
    let ends: Vec<Value> = done.ends.iter().map(|end| json!([end.day.to_string(), end.records, end.later])).collect();
    assert_eq!((ends, done.endless, next), (vec![json!(["2000-03-12", 1, 1])], 1, None));
    open.close().await;
}

/// A report whose place in the queue is lost ends nothing: the check of a store at rest says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_in_no_queue_is_found() {
    let (place, _clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.report(&open, "7", "2000-01-01").await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    for row in rows::table(&open.store, Table::EventQueue).await {
        rows::set(&open.store, Space::Control, &row.key, None).await;
    }
    let found = findings(&open).await;
    assert!(found.len() == 1 && found[0].contains("no place in the queue"), "{found:?}");
    open.close().await;
}
