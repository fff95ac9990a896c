//! Which reports a record has seen is told by numbers: whatever the clock does between a report and a write, no minimum counts backwards, in
//! data of any date, in another store, and where two ids become one person's. RET-3.

use std::{pin::pin, time::Duration};

use lethe::{
    domain::{ShredUnit, TestClock},
    vault::{ops::VaultError, store::schema::Table},
};

use super::{Acme, ENDED, findings, lawful, moved::moved, subject, to};
use crate::{
    harness::Open,
    meddling::sets,
    retention::{DAY, place, run},
};

/// Sets the clock on by so many hours, or back.
fn step(clock: &TestClock, hours: i64) {
    let by = Duration::from_hours(hours.unsigned_abs());
    if hours < 0 {
        clock.go_back(by);
    } else {
        clock.advance(by);
    }
}

impl Acme {
    /// Until when a law keeps a record.
    async fn kept_until(&self, open: &Open, name: &str) -> String {
        match self.delete(open, name).await {
            Err(VaultError::LegalMinimum { law: Some(law), .. }) => law.until.unwrap().to_rfc3339(),
            other => panic!("{name}: {other:?}"),
        }
    }

    async fn are_kept_until(&self, open: &Open, ends: &[(&str, &str)], case: &str) {
        for (name, until) in ends {
            assert_eq!(self.kept_until(open, name).await, format!("{until}T00:00:00.000Z"), "{case}: {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_step_of_the_clock_between_a_report_and_a_write_brings_a_minimum_forward() {
    for (first, second) in [(-6, 6), (6, -6), (-6, -6), (6, 6), (0, 0)] {
        let case = format!("{first} and {second} hours");
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
        acme.report(&open, "7", "2000-02-10").await;
        step(&clock, first);
        acme.put_as(&open, ("c", "before"), &["7"], Some("deal")).await.unwrap();
        run(&open, &clock).await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        acme.again(&open).await;
        step(&clock, second);
        acme.report(&open, "7", "1999-01-31").await;
        step(&clock, first);
        acme.put_as(&open, ("c", "behind"), &["7"], Some("deal")).await.unwrap();
        step(&clock, second);
        acme.report(&open, "7", "1998-01-31").await;
        let ends = [("before", "2004-02-11"), ("behind", "2003-02-01")];
        acme.are_kept_until(&open, &ends, &case).await;
        run(&open, &clock).await;
        to(&clock, "2003-01-31T23:59:59.999Z");
        assert_eq!(run(&open, &clock).await.destroyed, 0, "{case}");
        acme.are_kept_until(&open, &ends, &case).await;
        to(&clock, "2003-02-01T00:00:00Z");
        assert_eq!(run(&open, &clock).await.destroyed, 1, "{case}");
        assert!(!acme.has(&open, "behind").await, "{case}");
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.failed), (0, 0), "{case}: {done:?}");
        open.vault.end_restoring();
        acme.are_kept_until(&open, &ends[..1], &case).await;
        to(&clock, "2004-02-10T23:59:59.999Z");
        assert_eq!(run(&open, &clock).await.destroyed, 0, "{case}");
        assert!(acme.has(&open, "before").await, "{case}");
        to(&clock, "2004-02-11T00:00:00Z");
        assert_eq!(run(&open, &clock).await.destroyed, 1, "{case}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{case}");
        open.close().await;
    }
}

/// What was written before any rule of its collection counted from events has looked at none: its version tells what was reported before it,
/// and in another store the number that comes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_comes_later_counts_from_what_has_stood_since_a_record_was_written() {
    for hours in [-6, 6] {
        let case = format!("{hours} hours");
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        open.collection(&acme.owner, &acme.name, "c", ShredUnit::Subject).await;
        acme.report(&open, "7", "2010-06-30").await;
        step(&clock, hours);
        acme.put(&open, "before", &["7"]).await.unwrap();
        step(&clock, hours);
        acme.report(&open, "7", "2001-06-30").await;
        step(&clock, hours);
        acme.put(&open, "behind", &["7"]).await.unwrap();
        let (_there, there, copy) = moved(&open, &acme, &clock).await;
        let ends = [("before", "2014-07-01"), ("behind", "2005-07-01")];
        for (open, acme) in [(&open, &acme), (&there, &copy)] {
            acme.set(open, lawful(ShredUnit::Subject, "4y")).await;
            acme.are_kept_until(open, &ends, &case).await;
            step(&clock, hours);
            acme.report(open, "7", "2000-03-01").await;
            acme.are_kept_until(open, &ends, &case).await;
            assert_eq!(findings(open).await, Vec::<String>::new(), "{case}");
        }
        for open in [open, there] {
            open.close().await;
        }
    }
}

/// Which of two reports is the later one the clock says, for nothing else does; a minimum that was promised by either stands, whichever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_step_of_the_clock_around_a_join_brings_a_minimum_forward() {
    for (hours, known, of_8) in [(-6, "2010-06-30", "2014-07-01"), (6, "1999-06-30", "2003-07-01")] {
        let case = format!("{hours} hours");
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
        acme.report(&open, "7", "2010-06-30").await;
        step(&clock, hours);
        acme.report(&open, "8", "1999-06-30").await;
        step(&clock, hours);
        for id in ["7", "8"] {
            acme.put_as(&open, ("c", id), &[id], Some("deal")).await.unwrap();
        }
        acme.are_kept_until(&open, &[("7", "2014-07-01"), ("8", "2003-07-01")], &case).await;
        step(&clock, hours);
        acme.alias(&open, "7", "8").await;
        for id in ["7", "8"] {
            assert_eq!(acme.known(&open, id).await, [(ENDED.to_owned(), known.to_owned())], "{case}: {id}");
        }
        step(&clock, hours);
        acme.put_as(&open, ("c", "new"), &["8"], Some("deal")).await.unwrap();
        let ends = [("7", "2014-07-01"), ("8", of_8), ("new", of_8)];
        acme.are_kept_until(&open, &ends, &case).await;
        step(&clock, hours);
        acme.report(&open, "8", "1998-01-31").await;
        acme.are_kept_until(&open, &ends, &case).await;
        step(&clock, hours);
        open.vault.remove_alias(&acme.owner, &acme.name, subject("8"), None).await.unwrap();
        acme.are_kept_until(&open, &ends, &case).await;
        step(&clock, hours);
        acme.alias(&open, "7", "8").await;
        acme.are_kept_until(&open, &ends, &case).await;
        let (_there, there, copy) = moved(&open, &acme, &clock).await;
        copy.are_kept_until(&there, &ends, &case).await;
        for open in [open, there] {
            assert_eq!(findings(&open).await, Vec::<String>::new(), "{case}");
            open.close().await;
        }
    }
}

/// What its write has seen of a person is all that a record of older data knows from before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_was_corrected_before_a_record_was_written_ends_it_in_no_older_data() {
    for hours in [-6, 0, 6] {
        let case = format!("{hours} hours");
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        acme.set(&open, lawful(ShredUnit::Subject, "4y")).await;
        // What is written by that would be over.
        acme.report(&open, "7", "1990-01-31").await;
        step(&clock, hours);
        acme.report(&open, "7", "2001-01-31").await;
        step(&clock, hours);
        acme.put_as(&open, ("c", "k"), &["7"], Some("deal")).await.unwrap();
        run(&open, &clock).await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        acme.again(&open).await;
        clock.advance(DAY);
        acme.report(&open, "7", "2001-03-01").await;
        run(&open, &clock).await;
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.failed), (0, 0), "{case}: {done:?}");
        open.vault.end_restoring();
        acme.are_kept_until(&open, &[("k", "2005-03-02")], &case).await;
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{case}");
        open.close().await;
    }
}

/// Between the number of a report and its commit a record may be written that has a higher one. Nobody has been told by then how long a law
/// keeps it by an event: no rule counts from any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_rule_that_counts_from_events_comes_when_no_report_is_under_way() {
    let (place, _clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    open.collection(&acme.owner, &acme.name, "c", ShredUnit::Subject).await;
    acme.report(&open, "7", "2010-06-30").await;
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::EventQueue, |_, _| true));
    let report = acme.report(&open, "7", "2001-06-30");
    let meanwhile = async {
        held.has_read().await;
        acme.put(&open, "k", &["7"]).await.unwrap();
        let mut ruled = pin!(acme.set(&open, lawful(ShredUnit::Subject, "4y")));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut ruled).await.is_err(), "it waits for the report");
        held.let_go();
        ruled.await;
    };
    let (_, ()) = tokio::join!(report, meanwhile);
    acme.are_kept_until(&open, &[("k", "2005-07-01")], "the report was first").await;
    // A rule that comes behind another waits for none: what is written has looked, and has not seen what is under way.
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::EventQueue, |_, _| true));
    let report = acme.report(&open, "7", "2001-03-31");
    let meanwhile = async {
        held.has_read().await;
        acme.set(&open, lawful(ShredUnit::Subject, "5y")).await;
        acme.put_as(&open, ("c", "looked"), &["7"], Some("deal")).await.unwrap();
        held.let_go();
    };
    let (_, ()) = tokio::join!(report, meanwhile);
    acme.put_as(&open, ("c", "behind"), &["7"], Some("deal")).await.unwrap();
    let ends = [("k", "2006-07-01"), ("looked", "2006-07-01"), ("behind", "2006-04-01")];
    acme.are_kept_until(&open, &ends, "by the latest day since").await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}
