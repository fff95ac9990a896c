//! A tenant that moves takes along what was reported of its persons, and what its orders remember of that: its records end on the same days
//! where it comes to, and are kept as long, whatever is put back there. RET-2, RET-3, RET-5.

use lethe::{
    domain::{ShredUnit, TenantNo, TestClock},
    vault::{
        ops::{ValueStream, VaultError, bundle::Kind},
        store::{
            Space,
            schema::{self, Table},
        },
    },
};

use super::{
    Acme, ENDED, by_event, findings, lawful,
    left::{ENDS, UNITS, order},
    subject, to,
};
use crate::{
    bundle::{Bundle, coming, end_of, to_somebody},
    harness::{Open, Place, coll, name},
    retention::{DAY, due_rows, place, run, time},
    rows,
};

/// A tenant to import into, as its owner sees it.
async fn awaited(open: &Open, place: &Place) -> Acme {
    let token = coming(open, place, "copy").await;
    Acme { name: name("copy"), owner: open.caller(&token).await, token }
}

/// All of a tenant, in another store.
pub(super) async fn moved(open: &Open, acme: &Acme, clock: &TestClock) -> (Place, Open, Acme) {
    let bundle = Bundle::exported(open, &acme.owner, &acme.name).await;
    let place = Place::make_by(clock).await;
    let open = place.open().await;
    let copy = awaited(&open, &place).await;
    let done = bundle.import(&open, &copy.owner, "copy", (0, bundle.frames.len())).await.unwrap();
    assert_eq!(done.state, "active");
    (place, open, copy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reported_ends_records_on_the_same_days_where_their_tenant_comes_to() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    for person in ["7", "seven", "8", "9", "10"] {
        acme.put(&open, person, &[person]).await.unwrap();
    }
    acme.alias(&open, "7", "seven").await;
    acme.report(&open, "seven", "2000-03-01").await;
    acme.report(&open, "8", "2000-02-20").await;
    acme.report(&open, "8", "2000-03-10").await;
    acme.report(&open, "9", "2000-03-01").await;
    acme.withdraw(&open, "9").await.unwrap();
    run(&open, &clock).await;
    // No run has come to that, and of the second there is no record.
    for person in ["10", "nobody"] {
        acme.report(&open, person, "2000-03-01").await;
    }
    clock.advance(DAY);

    let (_there, there, copy) = moved(&open, &acme, &clock).await;
    let (first, second) = (Some(time("2000-03-12T00:00:00Z")), Some(time("2000-03-21T00:00:00Z")));
    for (at, end) in [("7", first), ("seven", first), ("8", second), ("9", None), ("10", first)] {
        assert_eq!((acme.end(&open, at).await, copy.end(&there, at).await), (end, end), "{at}");
    }
    for person in ["7", "seven", "8", "9", "10", "nobody"] {
        let of = async |open: &Open, acme: &Acme| open.vault.read_events(&acme.owner, &acme.name, &subject(person)).await.unwrap();
        assert_eq!(of(&there, &copy).await, of(&open, &acme).await, "{person}: with when it was reported");
    }
    assert_eq!(findings(&there).await, Vec::<String>::new());
    for open in [&open, &there] {
        run(open, &clock).await;
        assert_eq!(due_rows(open).await.len(), 4, "all but one have an end");
    }
    to(&clock, "2000-03-11T23:59:59.999Z");
    assert_eq!((run(&open, &clock).await.destroyed, run(&there, &clock).await.destroyed), (0, 0));
    to(&clock, "2000-03-12T00:00:00Z");
    assert_eq!((run(&open, &clock).await.destroyed, run(&there, &clock).await.destroyed), (3, 3));
    // From here on the two differ: what is reported behind the move is of the one that it is reported in.
    copy.report(&there, "8", "2000-03-15").await;
    copy.report(&there, "9", "2000-03-20").await;
    to(&clock, "2000-03-21T00:00:00Z");
    assert_eq!((run(&open, &clock).await.destroyed, run(&there, &clock).await.destroyed), (1, 0));
    to(&clock, "2000-03-26T00:00:00Z");
    assert_eq!(run(&there, &clock).await.destroyed, 1);
    to(&clock, "2000-03-31T00:00:00Z");
    assert_eq!((run(&open, &clock).await.destroyed, run(&there, &clock).await.destroyed), (0, 1));
    assert!(acme.has(&open, "9").await && !copy.has(&there, "9").await);
    for open in [open, there] {
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// A law counts from the latest day that an event had since a record was written, also where that was reported and corrected elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_move_brings_a_minimum_forward_that_a_correction_did_not() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, lawful(ShredUnit::Subject, "1y")).await;
    acme.put_as(&open, ("c", "before"), &["7"], Some("deal")).await.unwrap();
    clock.advance(DAY);
    acme.report(&open, "7", "2001-06-30").await;
    clock.advance(DAY);
    acme.report(&open, "7", "2000-01-31").await;
    clock.advance(DAY);
    acme.put_as(&open, ("c", "behind"), &["7"], Some("deal")).await.unwrap();
    // The clock of the store that it comes to is behind: none of that was yet, by it.
    let bundle = Bundle::exported(&open, &acme.owner, &acme.name).await;
    let ends = [("before", "2002-07-01T00:00:00Z"), ("behind", "2001-02-01T00:00:00Z")];
    for (at, end) in ends {
        assert_eq!(acme.end(&open, at).await, Some(time(end)), "{at}");
    }
    open.close().await;
    let behind = TestClock::at(time("2000-01-30T12:00:00Z"));
    let there = Place::make_by(&behind).await;
    let open = there.open().await;
    let copy = awaited(&open, &there).await;
    bundle.import(&open, &copy.owner, "copy", (0, bundle.frames.len())).await.unwrap();
    for (at, end) in ends {
        assert_eq!(copy.end(&open, at).await, Some(time(end)), "{at}");
        assert!(matches!(copy.delete(&open, at).await, Err(VaultError::LegalMinimum { .. })), "{at}");
    }
    run(&open, &behind).await;
    to(&behind, "2001-02-01T00:00:00Z");
    assert_eq!(run(&open, &behind).await.destroyed, 1);
    assert!(copy.has(&open, "before").await && !copy.has(&open, "behind").await);
    to(&behind, "2002-06-30T23:59:59.999Z");
    assert_eq!(run(&open, &behind).await.destroyed, 0);
    to(&behind, "2002-07-01T00:00:00Z");
    assert_eq!(run(&open, &behind).await.destroyed, 1);
    open.close().await;
}

/// The other store is told which report was made of which id, and since when the two are one person's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_with_another_id_counts_from_the_join_where_its_tenant_comes_to() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, lawful(ShredUnit::Subject, "1y")).await;
    acme.report(&open, "7", "2003-06-30").await;
    clock.advance(DAY);
    acme.report(&open, "8", "2001-06-30").await;
    clock.advance(DAY);
    for id in ["7", "8"] {
        acme.put_as(&open, ("c", id), &[id], Some("deal")).await.unwrap();
    }
    clock.advance(DAY);
    acme.alias(&open, "7", "8").await;
    let ends = [("7", "2004-07-01T00:00:00Z"), ("8", "2002-07-01T00:00:00Z")];
    let (_there, copied, copy) = moved(&open, &acme, &clock).await;
    for (at, end) in ends {
        assert_eq!((acme.end(&open, at).await, copy.end(&copied, at).await), (Some(time(end)), Some(time(end))), "{at}");
    }
    // And from there again, where the other id was taken away.
    copied.vault.remove_alias(&copy.owner, &copy.name, subject("8"), None).await.unwrap();
    let (_last, again, last) = moved(&copied, &copy, &clock).await;
    for (at, end) in ends {
        assert_eq!(last.end(&again, at).await, Some(time(end)), "{at}");
    }
    assert_eq!((findings(&copied).await, findings(&again).await), (Vec::new(), Vec::new()));
    for open in [open, copied, again] {
        open.close().await;
    }
}

/// What came with an import is followed like any report, in older data, too: data that was copied before the reports came, and data in which
/// the import is gone on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_of_a_tenant_that_came_goes_through_what_was_reported_elsewhere() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    acme.put(&open, "7", &["7"]).await.unwrap();
    acme.put(&open, "8", &["8"]).await.unwrap();
    acme.report(&open, "7", "2000-02-10").await;
    let bundle = Bundle::exported(&open, &acme.owner, &acme.name).await;
    open.close().await;
    let last = bundle.frames.len();
    let first = |kind: Kind| bundle.frames.iter().position(|frame| frame.kind == kind).unwrap();
    let (records, reports) = (first(Kind::Record), first(Kind::Events));

    for is_gone_on_with in [false, true] {
        let there = Place::make_by(&clock).await;
        let open = there.open().await;
        let mut copy = awaited(&open, &there).await;
        // Without the records, or with all of them.
        let until = if is_gone_on_with { records } else { reports };
        bundle.import(&open, &copy.owner, "copy", (0, until)).await.unwrap();
        open.close().await;
        there.copy("store/data", "then/data");
        let open = there.open().await;
        copy.again(&open).await;
        let until = if is_gone_on_with { last - 1 } else { last };
        bundle.import(&open, &copy.owner, "copy", (records, until)).await.unwrap();
        run(&open, &clock).await;
        assert_eq!(due_rows(&open).await.len(), 1, "also as long as it is being imported");
        assert_eq!(rows::count(&open.store, Table::EventQueue).await, 1);
        open.close().await;

        there.put_back("then/data", "store/data");
        let open = there.open().await;
        copy.again(&open).await;
        open.vault.begin_restoring();
        assert_eq!(open.vault.replay_retention().await.unwrap().failed, 0);
        open.vault.end_restoring();
        if is_gone_on_with {
            run(&open, &clock).await;
            assert!(due_rows(&open).await.is_empty(), "there is no record yet");
            bundle.import(&open, &copy.owner, "copy", (records, last)).await.unwrap();
            run(&open, &clock).await;
        }
        assert_eq!(due_rows(&open).await.len(), 1, "gone on with: {is_gone_on_with}");
        assert_eq!(rows::count(&open.store, Table::EventQueue).await, 1, "a person stands there once");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        assert!(copy.has(&open, "7").await && copy.has(&open, "8").await);
        open.close().await;
    }
}

/// What was over where it is from, and was there when the date was corrected, is there by the last word, also in older data of the store that it
/// comes to; what was over by that since is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_is_destroyed_by_no_report_that_was_corrected_before_it_came() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, by_event("10d")).await;
    for person in ["7", "8"] {
        acme.put(&open, person, &[person]).await.unwrap();
        acme.report(&open, person, "2000-02-01").await;
    }
    // No run has come in between.
    to(&clock, "2000-03-01T00:00:00Z");
    acme.report(&open, "7", "2001-02-01").await;
    acme.report(&open, "8", "2000-02-25").await;
    let bundle = Bundle::exported(&open, &acme.owner, &acme.name).await;
    open.close().await;

    let there = Place::make_by(&clock).await;
    let open = there.open().await;
    let mut copy = awaited(&open, &there).await;
    let reports = bundle.frames.iter().position(|frame| frame.kind == Kind::Events).unwrap();
    bundle.import(&open, &copy.owner, "copy", (0, reports)).await.unwrap();
    open.close().await;
    there.copy("store/data", "then/data");
    let open = there.open().await;
    copy.again(&open).await;
    bundle.import(&open, &copy.owner, "copy", (reports, bundle.frames.len())).await.unwrap();
    run(&open, &clock).await;
    to(&clock, "2000-03-07T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1, "of person 8");
    open.close().await;
    there.put_back("then/data", "store/data");
    let open = there.open().await;
    copy.again(&open).await;
    open.vault.begin_restoring();
    let done = open.vault.replay_retention().await.unwrap();
    assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
    open.vault.end_restoring();
    assert!(copy.has(&open, "7").await && !copy.has(&open, "8").await);
    to(&clock, "2001-02-12T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// RET-5: what an order has left is kept for its law, and no longer, in whichever store it comes to, by what the order remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_has_left_is_kept_as_long_where_its_tenant_comes_to() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::deal(&open, &place).await;
    clock.advance(DAY);
    open.shred(&acme.owner, &acme.name, order()).await;
    let (_second, second, copy) = moved(&open, &acme, &clock).await;
    // And once more, from a store that has never had the order.
    let (_third, third, copied) = moved(&second, &copy, &clock).await;
    let stores = [(&open, &acme), (&second, &copy), (&third, &copied)];
    let until = |end: &str| vec![Some(time(end).to_rfc3339()); UNITS.len()];
    for (place, (open, acme)) in stores.into_iter().enumerate() {
        for (person, end) in ENDS {
            assert_eq!(acme.left_until(open, person).await, until(end), "{place}: {person}");
        }
        assert_eq!(acme.left_until(open, "9").await, [None, None, None], "{place}");
        assert_eq!(rows::count(&open.store, Table::Events).await, 0, "{place}: what was reported has gone with them");
        assert_eq!(findings(open).await, Vec::<String>::new(), "{place}");
        // A law that asks for more counts from the same day.
        for (collection, unit) in UNITS {
            open.vault.put_collection(&acme.owner, &acme.name, &coll(collection), lawful(unit, "6y"), None).await.unwrap();
        }
        assert_eq!(acme.left_until(open, "7").await, until("2005-07-01T00:00:00Z"), "{place}");
        assert_eq!(acme.left_until(open, "8").await, until("2006-02-02T00:00:00Z"), "{place}");
    }
    to(&clock, "2005-06-30T23:59:59.999Z");
    for (open, _) in stores {
        assert_eq!(run(open, &clock).await.destroyed, 0);
    }
    to(&clock, "2005-07-01T00:00:00Z");
    for (open, _) in stores {
        assert_eq!(run(open, &clock).await.destroyed, 3);
    }
    to(&clock, "2006-02-02T00:00:00Z");
    for (open, acme) in stores {
        run(open, &clock).await;
        assert_eq!(acme.left_until(open, "8").await, [None, None, None]);
    }
    for open in [open, second, third] {
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_has_what_was_reported_of_those_who_are_there_and_of_each_once() {
    let (place, _clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.alias(&open, "7", "seven").await;
    acme.alias(&open, "7", "vii").await;
    for person in ["seven", "8", "9"] {
        acme.report(&open, person, "2000-03-01").await;
    }
    open.vault.remove_alias(&acme.owner, &acme.name, subject("vii"), None).await.unwrap();
    open.shred_subject(&acme.owner, &acme.name, "9").await;
    let bundle = Bundle::exported(&open, &acme.owner, &acme.name).await;
    let of_events = bundle.frames.iter().filter(|frame| frame.kind == Kind::Events);
    let mut told: Vec<String> = of_events
        .map(|frame| {
            let read: serde_json::Value = serde_json::from_slice(&frame.payload).unwrap();
            assert_eq!(read["reports"][0]["event"], ENDED);
            read["subject"].as_str().unwrap().to_owned()
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, ["7", "8", "vii"], "each under the first id, and an id that was taken away by itself");
    open.close().await;
}

/// An export that is taken by nobody yet.
async fn begun(open: &Open, acme: &Acme) -> ValueStream {
    open.vault.export_tenant(&acme.owner, &acme.name, to_somebody()).await.unwrap()
}

/// Of whom something was reported, in the order in which a bundle tells of them.
async fn reported(open: &Open) -> Vec<[u8; 16]> {
    rows::table(&open.store, Table::Events).await.iter().map(|row| *row.key.last_chunk().unwrap()).collect()
}

/// Two persons of whom something was reported, in the order in which a bundle tells of them, and the token of the second.
async fn two_reported(open: &Open, acme: &Acme, clock: &TestClock) -> ([&'static str; 2], [u8; 16]) {
    acme.report(open, "7", "2003-06-30").await;
    let seven = reported(open).await[0];
    clock.advance(DAY);
    acme.report(open, "8", "2001-06-30").await;
    clock.advance(DAY);
    let tokens = reported(open).await;
    (if tokens[0] == seven { ["7", "8"] } else { ["8", "7"] }, tokens[1])
}

/// Holds up whoever looks for rows from the beginning of a tenant's table on, before the look.
fn from_the_first(table: Table) -> impl Fn(Space, &[u8]) -> bool + Send + 'static {
    let first = schema::table_of_tenant(table, TenantNo(1)).from;
    move |space, from| space == Space::Control && from == &first[..]
}

/// What was known of the one would be in no page: it went over to the other, whose page has gone by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_become_one_in_the_middle_of_an_export_end_it() {
    for are_both_known in [true, false] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        let ([first, other], token) = if are_both_known {
            two_reported(&open, &acme, &clock).await
        } else {
            acme.report(&open, "8", "2001-06-30").await;
            (["9", "8"], reported(&open).await[0])
        };
        // It has the page with both, and has told of the first.
        let held = place.meddler.hold_reader(Space::Control, schema::subject_state(TenantNo(1), &token));
        let meanwhile = async {
            held.has_read().await;
            acme.alias(&open, first, other).await;
            held.let_go();
        };
        let (end, ()) = tokio::join!(end_of(begun(&open, &acme).await), meanwhile);
        assert!(matches!(end, Some(Err(VaultError::Busy))), "both {are_both_known}: {end:?}");
        // Begun anew, it tells of one person, by both ids.
        let (_there, there, copy) = moved(&open, &acme, &clock).await;
        for id in [first, other] {
            let known = copy.known(&there, id).await;
            assert_eq!(known, [(ENDED.to_owned(), "2001-06-30".to_owned())], "both {are_both_known}: {id}");
            assert_eq!(known, acme.known(&open, id).await, "both {are_both_known}: {id}");
        }
        for open in [open, there] {
            open.close().await;
        }
    }
}

/// Where it comes to, what comes of the one would stand in the place of all that was known of the person whom it has told of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_becomes_two_in_the_middle_of_an_export_ends_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, lawful(ShredUnit::Subject, "1y")).await;
    acme.report(&open, "7", "2003-06-30").await;
    clock.advance(DAY);
    acme.report(&open, "8", "2001-06-30").await;
    clock.advance(DAY);
    for id in ["7", "8"] {
        acme.put_as(&open, ("c", id), &[id], Some("deal")).await.unwrap();
    }
    clock.advance(DAY);
    acme.alias(&open, "7", "8").await;
    let ids = place.meddler.hold_scan(from_the_first(Table::Alias));
    let meanwhile = async {
        ids.has_read().await;
        let reports = place.meddler.hold_scan(from_the_first(Table::Events));
        ids.let_go();
        // It has told of the ids, and of nothing that was reported.
        reports.has_read().await;
        open.vault.remove_alias(&acme.owner, &acme.name, subject("8"), None).await.unwrap();
        reports.let_go();
    };
    let (end, ()) = tokio::join!(end_of(begun(&open, &acme).await), meanwhile);
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    let (_there, copied, copy) = moved(&open, &acme, &clock).await;
    for (at, end) in [("7", "2004-07-01T00:00:00Z"), ("8", "2002-07-01T00:00:00Z")] {
        assert_eq!((acme.end(&open, at).await, copy.end(&copied, at).await), (Some(time(end)), Some(time(end))), "{at}");
    }
    for open in [open, copied] {
        open.close().await;
    }
}

/// Each is there at the beginning and at the end, and the one was not where the page was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_were_one_while_an_export_told_of_them_end_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    // Behind the page there is no other look for the one that comes first.
    let ([other, first], _) = two_reported(&open, &acme, &clock).await;
    let ids = place.meddler.hold_scan(from_the_first(Table::Alias));
    let meanwhile = async {
        ids.has_read().await;
        let before = place.meddler.hold_scan(from_the_first(Table::Events));
        ids.let_go();
        before.has_read().await;
        acme.alias(&open, first, other).await;
        let behind = place.meddler.hold_rows(from_the_first(Table::Events));
        before.let_go();
        behind.has_read().await;
        open.vault.remove_alias(&acme.owner, &acme.name, subject(other), None).await.unwrap();
        behind.let_go();
    };
    let (end, ()) = tokio::join!(end_of(begun(&open, &acme).await), meanwhile);
    assert!(matches!(end, Some(Err(VaultError::Busy))), "{end:?}");
    let (_there, there, copy) = moved(&open, &acme, &clock).await;
    for id in [first, other] {
        assert_eq!(copy.known(&there, id).await, acme.known(&open, id).await, "{id}");
    }
    for open in [open, there] {
        open.close().await;
    }
}

/// A tenant that is at work is exported all the same: what is reported meanwhile comes along or stays behind, and what was reported before
/// comes along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reported_in_the_middle_of_an_export_does_not_end_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let ([first, other], token) = two_reported(&open, &acme, &clock).await;
    let before = [(first, acme.known(&open, first).await), (other, acme.known(&open, other).await)];
    let held = place.meddler.hold_reader(Space::Control, schema::subject_state(TenantNo(1), &token));
    let meanwhile = async {
        held.has_read().await;
        // Corrected, taken back, of somebody of whom nothing was known, and of a person who is given another id.
        acme.report(&open, other, "2002-02-02").await;
        acme.withdraw(&open, first).await.unwrap();
        acme.report(&open, "9", "2002-02-02").await;
        acme.alias(&open, first, "10").await;
        held.let_go();
    };
    let (bundle, ()) = tokio::join!(async { Bundle::taken(begun(&open, &acme).await).await }, meanwhile);
    let told: Vec<serde_json::Value> = bundle
        .frames
        .iter()
        .filter(|frame| frame.kind == Kind::Events)
        .map(|frame| serde_json::from_slice(&frame.payload).unwrap())
        .collect();
    for (id, known) in before {
        let of = told.iter().find(|document| document["subject"] == id).unwrap_or_else(|| panic!("{id}: {told:?}"));
        assert_eq!((&of["reports"][0]["event"], &of["reports"][0]["at"]), (&known[0].0.clone().into(), &known[0].1.clone().into()), "{of}");
    }
    // It is a whole one.
    let there = Place::make_by(&clock).await;
    let copied = there.open().await;
    let copy = awaited(&copied, &there).await;
    assert_eq!(bundle.import(&copied, &copy.owner, "copy", (0, bundle.frames.len())).await.unwrap().state, "active");
    assert_eq!(findings(&copied).await, Vec::<String>::new());
    for open in [open, copied] {
        open.close().await;
    }
}
