//! Who is given another id knows what was reported of either from then on: what nobody knew of a person before has ended nothing of the
//! person's, has brought no minimum forward, and is marked first. RET-2, RET-3.

use lethe::{authn::Role, domain::ShredUnit, vault::ops::VaultError};
use serde_json::json;

use super::{Acme, ENDED, by_event, findings, lawful, subject, to};
use crate::{
    harness::{coll, hold_on},
    retention::{DAY, due_rows, place, policy, run, time},
};

/// A hold that was placed before the two were known to be one keeps, in older data, too, what the other id's report ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_before_the_join_keeps_what_the_other_ids_report_ends_in_data_of_any_date() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    for id in ["7", "8", "9"] {
        acme.put(&open, id, &[id]).await.unwrap();
    }
    run(&open, &clock).await;
    open.close().await;
    place.copy("store/data", "then/data");

    let open = place.open().await;
    acme.again(&open).await;
    let (counsel, _) = open.token(&acme.owner, &acme.name, Role::Counsel).await;
    let asker = open.caller(&counsel).await;
    acme.report(&open, "8", "2000-01-31").await;
    to(&clock, "2000-02-12T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1, "of the id that it was reported of");
    to(&clock, "2000-03-01T00:00:00Z");
    let hold = hold_on("7");
    let placed = open.vault.place_hold(&asker, &acme.name, hold, None).await.unwrap();
    to(&clock, "2000-03-02T00:00:00Z");
    acme.alias(&open, "7", "8").await;
    acme.alias(&open, "9", "10").await;
    let met = run(&open, &clock).await;
    assert_eq!((met.destroyed, met.held), (0, 1), "{met:?}");
    open.close().await;

    place.put_back("then/data", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    open.vault.begin_restoring();
    let done = open.vault.replay_retention().await.unwrap();
    assert_eq!((done.destroyed, done.held, done.failed), (1, 1, 0), "{done:?}");
    open.vault.end_restoring();
    let there = [acme.has(&open, "7").await, acme.has(&open, "8").await, acme.has(&open, "9").await];
    assert_eq!(there, [true, false, true], "what was over by the report is gone, and what the hold found is there");
    let counsel = open.caller(&counsel).await;
    open.vault.release_hold(&counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(!acme.has(&open, "7").await && acme.has(&open, "9").await);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// The date by which a law kept a record counts until the join, also where the other id's report, which wins, was made before the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_join_brings_a_minimum_forward() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
    acme.report(&open, "7", "2010-06-30").await;
    clock.advance(DAY);
    acme.report(&open, "8", "1999-06-30").await;
    clock.advance(DAY);
    for id in ["7", "8"] {
        acme.put_as(&open, ("c", id), &[id], Some("deal")).await.unwrap();
    }
    clock.advance(DAY);
    acme.alias(&open, "7", "8").await;
    for id in ["7", "8"] {
        assert_eq!(acme.known(&open, id).await, [(ENDED.to_owned(), "1999-06-30".to_owned())], "the later report of the two");
    }
    let until = async |id: &str| match acme.delete(&open, id).await {
        Err(VaultError::LegalMinimum { law: Some(law), .. }) => law.until.unwrap().to_rfc3339(),
        other => panic!("{other:?}"),
    };
    assert_eq!((until("7").await, until("8").await), ("2014-07-01T00:00:00.000Z".into(), "2003-07-01T00:00:00.000Z".into()));
    // What is written from then on is kept by what is known from then on.
    clock.advance(DAY);
    acme.put_as(&open, ("c", "new"), &["7"], Some("deal")).await.unwrap();
    assert_eq!(until("new").await, "2003-07-01T00:00:00.000Z");
    // The id that is taken away takes along what it knew; it comes back, and nothing is kept for less.
    open.vault.remove_alias(&acme.owner, &acme.name, subject("8"), None).await.unwrap();
    clock.advance(DAY);
    acme.alias(&open, "7", "8").await;
    assert_eq!((until("7").await, until("8").await), ("2014-07-01T00:00:00.000Z".into(), "2003-07-01T00:00:00.000Z".into()));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What a join ends is marked from the join on, for as long as its rule says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_join_ends_is_marked_from_the_join_on() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let rules = json!([{"name": "rule", "from": {"event": ENDED}, "maximum": "10d", "then": "delete", "mark": "5d"}]);
    acme.set(&open, policy(ShredUnit::Subject, "UTC", &rules)).await;
    acme.put(&open, "k", &["7"]).await.unwrap();
    acme.report(&open, "8", "2000-02-01").await;
    run(&open, &clock).await;
    clock.advance(DAY * 60);
    acme.alias(&open, "7", "8").await;
    let met = run(&open, &clock).await;
    assert_eq!((met.marked, met.destroyed), (1, 0), "{met:?}");
    let marked = open.vault.marked_records(&acme.owner, &acme.name, &coll("c"), None, 10).await.unwrap().0;
    assert_eq!(marked.len(), 1);
    to(&clock, "2000-04-05T11:59:59.999Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    to(&clock, "2000-04-05T12:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// From the moment on in which an id is taken away each of the two is judged by the own reports alone, before any run; the next run goes through
/// the records of the id, and through no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_away_is_followed_at_once_and_by_its_own_reports_alone() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    for (name, id) in [("7", "7"), ("8", "8"), ("8/b", "8")] {
        acme.put(&open, name, &[id]).await.unwrap();
    }
    acme.report(&open, "7", "2000-03-01").await;
    acme.alias(&open, "7", "8").await;
    run(&open, &clock).await;
    assert_eq!(due_rows(&open).await.len(), 3, "what is reported of the one ends the records of both");
    place.meddler.take_records_read();
    run(&open, &clock).await;
    assert_eq!(place.meddler.take_records_read(), 0, "it has been through");

    let ends = async || (acme.end(&open, "7").await, acme.end(&open, "8").await, acme.end(&open, "8/b").await);
    let at = |end: &str| Some(time(end));
    clock.advance(DAY);
    open.vault.remove_alias(&acme.owner, &acme.name, subject("8"), None).await.unwrap();
    let known = at("2000-03-12T00:00:00Z");
    assert_eq!(ends().await, (known, known, known), "what was known until then");
    place.meddler.take_records_read();
    run(&open, &clock).await;
    assert_eq!(place.meddler.take_records_read(), 2, "those of the id");
    assert_eq!(due_rows(&open).await.len(), 3, "no end is another by that");
    run(&open, &clock).await;
    assert_eq!(place.meddler.take_records_read(), 0);

    acme.report(&open, "7", "2000-02-05").await;
    assert_eq!(ends().await, (at("2000-02-16T00:00:00Z"), known, known), "of the person's own alone");
    acme.report(&open, "8", "2000-04-01").await;
    let later = at("2000-04-12T00:00:00Z");
    assert_eq!(ends().await, (at("2000-02-16T00:00:00Z"), later, later), "of the id's own alone");
    run(&open, &clock).await;
    to(&clock, "2000-02-16T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(!acme.has(&open, "7").await);
    to(&clock, "2000-03-12T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    to(&clock, "2000-04-12T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}
