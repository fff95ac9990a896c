//! Reports of what runs of retention did: each record is counted once, wherever a run is cut off and whatever data is put back; nobody is
//! named; they go with the tenant, and when their time is over.

use std::time::Duration;

use lethe::{
    authn::Role,
    domain::{
        Clock as _, CollectionPolicy, ReportId, ShredId, ShredUnit, TenantName, TenantNo, TestClock,
        retention::report::{By, Cause, Line, Report},
    },
    vault::{
        ops::{Caller, PutRecord, ReportView, ShredOrder, VaultError},
        store::{Space, StoreError, Write, schema::Table},
    },
};
use serde_json::{Value, json};

use crate::{
    harness::{Open, coll, findings, hold_on, is_shredded, key, put_of},
    meddling::sets,
    retention::{DAY, due_rows, one_rule, place, policy, run, set},
    rows,
};

pub(crate) async fn reports(open: &Open, owner: &Caller, acme: &TenantName) -> Vec<ReportView> {
    let (mut all, mut cursor): (Vec<ReportView>, Option<String>) = (Vec::new(), None);
    loop {
        // Three at a time: what is closed lies in another store than what is open.
        let (page, next) = open.vault.retention_reports(owner, acme, cursor.as_deref(), 3).await.unwrap();
        assert!(page.len() <= 3 && (next.is_none() || !page.is_empty()));
        all.extend(page);
        match next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

/// What all reports but those of restores count: destroyed, held, marked, keys.
pub(crate) async fn counted(open: &Open, owner: &Caller, acme: &TenantName) -> [u64; 4] {
    let all = reports(open, owner, acme).await;
    let own = all.iter().map(|view| &view.report).filter(|report| report.cause != Cause::Restore);
    own.fold([0; 4], |[destroyed, held, marked, keys], report| {
        [destroyed + report.destroyed(), held + report.held(), marked + report.marked(), keys + report.keys]
    })
}

async fn put_policy(open: &Open, owner: &Caller, acme: &TenantName, name: &str, unit: ShredUnit, rules: &Value) {
    let policy: CollectionPolicy = policy(unit, "UTC", rules);
    open.vault.put_collection(owner, acme, &coll(name), policy, None).await.unwrap();
}

/// A line of a report: collection, by what, which rule, how, and how many are destroyed, held and marked.
type Told = (String, &'static str, Option<String>, &'static str, [u64; 3]);

/// The lines of a report, in the order of names.
fn told(view: &ReportView) -> Vec<Told> {
    let tell = |(line, name): (&Line, &Option<String>)| {
        let rule = if let By::Rule(rule) = &line.by { Some(rule.clone()) } else { None };
        (name.clone().unwrap_or_default(), line.by.name(), rule, line.how.name(), [line.destroyed, line.held, line.marked])
    };
    let mut lines: Vec<Told> = view.report.lines.iter().zip(&view.collections).map(tell).collect();
    lines.sort_unstable();
    lines
}

fn only(views: &[ReportView], is: impl Fn(&Report) -> bool) -> &ReportView {
    let found: Vec<_> = views.iter().filter(|view| is(&view.report)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

/// One report with its certificates, once as many as it counts are issued.
async fn with_certificates(open: &Open, owner: &Caller, acme: &TenantName, id: ReportId) -> Vec<ShredId> {
    let issued = async {
        loop {
            let view = open.vault.retention_report(owner, acme, id).await.unwrap();
            assert!(view.certificates.len() as u64 <= view.report.keys && !view.more_certificates, "{view:?}");
            let mut are_issued = view.certificates.len() as u64 == view.report.keys;
            for order in &view.certificates {
                are_issued &= open.vault.certificate(*order).await.is_ok();
            }
            if are_issued {
                return view.certificates;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), issued).await.unwrap()
}

/// A tenant with records that end in every way, on one day: two by a rule, one of a person under a hold, one by its own end, one with a
/// key of its own, one behind its restricted time.
async fn fill(open: &Open, owner: &Caller, acme: &TenantName, clock: &TestClock) {
    let counsel = open.with_role(owner, acme, Role::Counsel).await;
    set(open, owner, acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"))).await;
    let shred = json!([{"name": "files", "from": "created", "maximum": "10d", "then": "shred"}]);
    put_policy(open, owner, acme, "files", ShredUnit::Record, &shred).await;
    let restrict = json!([{"name": "tax", "from": "created", "maximum": "5d", "then": {"restrict": "10d"}}]);
    put_policy(open, owner, acme, "tax", ShredUnit::Subject, &restrict).await;
    for (at, person) in [(("c", "a"), "7"), (("c", "b"), "8"), (("c", "held"), "9"), (("files", "f"), "7"), (("tax", "t"), "7")] {
        open.put(owner, acme, at, Some(person), b"v").await.unwrap();
    }
    let own = PutRecord { expires_at: Some(clock.now().plus(DAY * 3)), ..put_of(Some("7"), b"v") };
    open.vault.put_record(owner, acme, &coll("c"), key("own"), own).await.unwrap();
    open.vault.place_hold(&counsel, acme, hold_on("9"), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_leaves_a_report_of_what_it_did_by_collection_and_rule() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    let (other, others, _) = open.tenant(&place, "other").await;
    fill(&open, &owner, &acme, &clock).await;
    assert!(reports(&open, &owner, &acme).await.is_empty(), "a run that did nothing leaves none");
    clock.advance(DAY * 11);
    // Two passes of a day are one report.
    let began = clock.now();
    let first = open.vault.run_retention_if_due(clock.now(), 3).await.unwrap();
    assert_eq!((first.destroyed + first.held, first.more), (3, true), "{first:?}");
    clock.advance(Duration::from_mins(1));
    run(&open, &clock).await;
    let all = reports(&open, &owner, &acme).await;
    let expected = [
        ("c", "own-end", None, "delete", [1, 0, 0]),
        ("c", "rule", Some("rule"), "delete", [2, 1, 0]),
        ("files", "rule", Some("files"), "shred", [1, 0, 0]),
        ("tax", "rule", Some("tax"), "restrict", [1, 0, 0]),
    ];
    let expected: [Told; 4] =
        expected.map(|(collection, by, rule, how, counts)| (collection.to_owned(), by, rule.map(str::to_owned), how, counts));
    assert_eq!(told(&all[0]), expected);
    let Report { cause, run: id, principal, began_at, ended_at, until, failed, keys, .. } = all[0].report.clone();
    assert_eq!((all.len(), all[0].is_final, cause, principal, failed, keys), (1, false, Cause::Server, None, 0, 1));
    assert_eq!((id.as_str(), began_at, ended_at, until), ("0".repeat(32).as_str(), began.0, clock.now().0, clock.now().0));
    let certificates = with_certificates(&open, &owner, &acme, all[0].id).await;
    assert!(reports(&open, &others, &other).await.is_empty(), "what was done in one tenant is no other's");

    // A run that somebody asks for has a report of its own, which its answer names, of all its passes.
    for name in ["k1", "k2", "k3"] {
        open.put(&owner, &acme, ("c", name), Some("8"), b"v").await.unwrap();
    }
    clock.advance(DAY * 11);
    let operator = open.caller(&place.operator).await;
    let (done, asked, cursor) = open.vault.run_retention(&operator, None, 2, None).await.unwrap();
    assert_eq!((done.destroyed, done.more), (2, true));
    let (done, again, cursor) = open.vault.run_retention(&operator, None, 2, cursor).await.unwrap();
    assert_eq!((done.destroyed, again, cursor), (1, asked, None));
    let all = reports(&open, &owner, &acme).await;
    let report = &only(&all, |report| report.cause == Cause::Asked).report;
    assert_eq!((report.destroyed(), report.run.as_str()), (3, hex::encode(asked).as_str()));
    assert_eq!(
        (report.principal.as_deref(), report.request.as_str()),
        (Some(operator.principal.id().to_string().as_str()), "01".repeat(16).as_str())
    );
    assert_eq!(counted(&open, &owner, &acme).await, [8, 1, 0, 1]);

    // They are final when their day is over, and are there after a start; nothing is counted twice by that.
    let ids: Vec<ReportId> = all.iter().map(|view| view.id).collect();
    clock.advance(DAY);
    run(&open, &clock).await;
    open.close().await;
    let open = place.open().await;
    let owner = open.caller(&token).await;
    let all = reports(&open, &owner, &acme).await;
    assert!(all.iter().all(|view| view.is_final) && all.iter().map(|view| view.id).eq(ids), "{all:?}");
    assert_eq!(counted(&open, &owner, &acme).await, [8, 1, 0, 1]);
    assert_eq!(told(&all[0]), expected);
    assert_eq!((rows::count(&open.store, Table::OpenReport).await, rows::count(&open.store, Table::RetentionReport).await), (0, 2));
    assert_eq!(with_certificates(&open, &owner, &acme, all[0].id).await, certificates);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A page may end within the open ones, and within the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_listed_in_the_order_of_their_days_page_by_page() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let operator = open.caller(&place.operator).await;
    for day in 0..4 {
        for _ in 0..5 {
            let put = PutRecord { expires_at: Some(clock.now().plus(Duration::from_secs(1))), ..put_of(Some("7"), b"v") };
            open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
            clock.advance(Duration::from_secs(1));
            let (done, _, _) = open.vault.run_retention(&operator, None, 10, None).await.unwrap();
            assert_eq!(done.destroyed, 1);
        }
        let all = reports(&open, &owner, &acme).await;
        assert_eq!(all.len(), 5 * (day + 1));
        assert!(all.is_sorted_by_key(|view| view.id) && all.iter().filter(|view| !view.is_final).count() == 5, "{all:?}");
        clock.advance(DAY);
    }
    let refused = open.vault.retention_reports(&owner, &acme, Some("bm8"), 3).await.map(drop);
    assert!(matches!(refused, Err(VaultError::Unprocessable(_))), "{refused:?}");
    let none = open.vault.retention_report(&owner, &acme, ReportId([7; 16])).await.map(drop);
    assert!(matches!(none, Err(VaultError::NotFound(_))), "{none:?}");
    open.close().await;
}

/// What older data is destroyed of again is told apart, and what was counted before stands as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_again_with_older_data_is_counted_as_that_and_nothing_else_is_counted_again() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"))).await;
    open.put(&owner, &acme, ("c", "first"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY * 5);
    open.put(&owner, &acme, ("c", "second"), Some("7"), b"v").await.unwrap();
    open.put(&owner, &acme, ("c", "third"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY * 6);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
    // Its report of that day is not closed in it.
    place.copy("store/data", "then/data");

    let open = place.open().await;
    clock.advance(DAY * 5);
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    clock.advance(DAY);
    run(&open, &clock).await;
    open.close().await;

    place.put_back("then/data", "store/data");
    let open = place.open().await;
    let owner = open.caller(&token).await;
    open.vault.begin_restoring();
    assert_eq!(open.vault.replay_retention().await.unwrap().destroyed, 2);
    assert_eq!(rows::count(&open.store, Table::OpenReport).await, 2, "that of before, and the restore's");
    open.vault.end_restoring();
    for _ in 0..2 {
        run(&open, &clock).await;
        let all = reports(&open, &owner, &acme).await;
        assert_eq!(
            all.iter().filter(|view| view.report.cause == Cause::Server).map(|view| view.report.destroyed()).collect::<Vec<_>>(),
            [1, 2]
        );
        let restored = only(&all, |report| report.cause == Cause::Restore);
        assert_eq!(told(restored), [("c".to_owned(), "older-data", None, "delete", [2, 0, 0])]);
        assert_eq!(counted(&open, &owner, &acme).await, [3, 0, 0, 0]);
        clock.advance(DAY);
    }
    assert_eq!(rows::count(&open.store, Table::OpenReport).await, 0);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_bent_or_refused_holds_up_no_destruction_and_a_check_finds_it() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"))).await;
    open.put(&owner, &acme, ("c", "a"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    let bent = rows::table(&open.store, Table::OpenReport).await.remove(0);
    let mut value = bent.value.to_vec();
    value[20] ^= 1;
    rows::set(&open.store, Space::Index, &bent.key, Some(value.into())).await;
    let own = PutRecord { expires_at: Some(clock.now().plus(Duration::from_secs(1))), ..put_of(Some("7"), b"v") };
    open.vault.put_record(&owner, &acme, &coll("c"), key("own"), own).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    let findings = findings(&open).await;
    assert!(findings.len() == 1 && findings[0].contains(&hex::encode(&bent.key)), "{findings:?}");
    // The other one is closed with its day.
    clock.advance(DAY);
    run(&open, &clock).await;
    let kept = rows::count(&open.store, Table::RetentionReport).await;
    assert_eq!((kept, rows::count(&open.store, Table::OpenReport).await), (1, 1));
    open.close().await;
}

/// Its closing in between: what is planned on what was read before is planned anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_while_the_report_is_closed_is_counted_in_another() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let soon = |clock: &TestClock| PutRecord { expires_at: Some(clock.now().plus(Duration::from_secs(1))), ..put_of(Some("7"), b"v") };
    open.vault.put_record(&owner, &acme, &coll("c"), key("a"), soon(&clock)).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.vault.put_record(&owner, &acme, &coll("c"), key("b"), soon(&clock)).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::OpenReport, |_, _| true));
    let (vault, now) = (open.vault.clone(), clock.now());
    let tasks = tokio_util::task::TaskTracker::new();
    let destroying = tasks.spawn(async move { vault.run_retention_if_due(now, 1_000).await });
    held.has_read().await;
    // It is about to count on that day; by now that is over, and another run has closed it.
    clock.advance(DAY);
    let operator = open.caller(&place.operator).await;
    let before = lethe::domain::Timestamp(now.0 - 1);
    let (done, _, _) = open.vault.run_retention(&operator, Some(before), 1_000, None).await.unwrap();
    assert_eq!(done.destroyed, 0);
    assert_eq!(rows::count(&open.store, Table::RetentionReport).await, 1);
    held.let_go();
    assert_eq!(destroying.await.unwrap().unwrap().destroyed, 1);
    assert!(due_rows(&open).await.is_empty());
    assert_eq!(counted(&open, &owner, &acme).await[0], 2);
    // A clock that goes back to that day counts in another report of it, and again.
    for round in 3..6 {
        clock.go_back(DAY);
        open.vault.put_record(&owner, &acme, &coll("c"), key("c"), soon(&clock)).await.unwrap();
        clock.advance(Duration::from_secs(1));
        run(&open, &clock).await;
        clock.advance(DAY);
        open.vault.put_record(&owner, &acme, &coll("c"), key("d"), soon(&clock)).await.unwrap();
        clock.advance(Duration::from_secs(1));
        run(&open, &clock).await;
        assert_eq!(counted(&open, &owner, &acme).await[0], 2 * (round - 1), "round {round}");
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_names_nothing_in_the_clear_and_goes_with_its_collection_and_its_tenant() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    let rules = json!([{"name": "canary-rule", "from": "created", "maximum": "10d", "then": "delete"}]);
    for name in ["canary-collection", "c"] {
        put_policy(&open, &owner, &acme, name, ShredUnit::Subject, &rules).await;
        open.put(&owner, &acme, (name, "canary-key"), Some("canary-person"), b"v").await.unwrap();
    }
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    let open_rows = rows::table(&open.store, Table::OpenReport).await;
    clock.advance(DAY);
    run(&open, &clock).await;
    let closed_rows = rows::table(&open.store, Table::RetentionReport).await;
    assert_eq!((open_rows.len(), closed_rows.len()), (1, 1));
    for row in open_rows.iter().chain(&closed_rows) {
        for part in [&row.key, &row.value] {
            assert!(!part.windows(6).any(|window| window == b"canary"), "{row:?}");
        }
    }
    open.shred(&owner, &acme, ShredOrder::Collection(coll("canary-collection"))).await;
    let names: Vec<Option<String>> = reports(&open, &owner, &acme).await.remove(0).collections;
    assert!(
        names.iter().any(|name| name.as_deref() == Some("c"))
            && names.iter().any(|name| name.as_ref().is_some_and(|name| name.starts_with("shredded-")))
    );
    open.shred(&owner, &acme, ShredOrder::Tenant { confirm: "acme".into() }).await;
    assert!(is_shredded(&open.vault.retention_reports(&owner, &acme, None, 3).await.map(drop)));
    open.close().await;
    // What is left of it opens under no key, and holds up no later run.
    let open = place.open().await;
    let owner = open.caller(&token).await;
    assert!(is_shredded(&open.vault.retention_reports(&owner, &acme, None, 3).await.map(drop)));
    clock.advance(DAY * 400);
    run(&open, &clock).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_kept_for_five_years_and_gone_then_with_what_leads_from_them() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let (other, others, _) = open.tenant(&place, "other").await;
    let shred = json!([{"name": "rule", "from": "created", "maximum": "10d", "then": "shred"}]);
    for (tenant, caller) in [(&acme, &owner), (&other, &others)] {
        put_policy(&open, caller, tenant, "c", ShredUnit::Record, &shred).await;
        open.put(caller, tenant, ("c", "a"), Some("7"), b"v").await.unwrap();
    }
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.destroyed, 2);
    for (tenant, caller) in [(&acme, &owner), (&other, &others)] {
        let id = reports(&open, caller, tenant).await[0].id;
        with_certificates(&open, caller, tenant, id).await;
    }
    // Another of the second tenant a year later.
    clock.advance(DAY * 365);
    open.put(&others, &other, ("c", "a"), Some("7"), b"v").await.unwrap();
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    let id = reports(&open, &others, &other).await[1].id;
    with_certificates(&open, &others, &other, id).await;
    for (days, left) in [(1_827 - 376, 3), (1, 1), (375, 1), (1, 0)] {
        clock.advance(DAY * days);
        run(&open, &clock).await;
        let kept = rows::count(&open.store, Table::RetentionReport).await;
        assert_eq!((kept, rows::count(&open.store, Table::ReportShred).await), (left, left), "{days} days later");
    }
    assert!(reports(&open, &others, &other).await.is_empty());
    open.close().await;
}

/// Of what cannot be read, a report says so; it is tried again, and counted when it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_counted_as_that() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"))).await;
    for name in ["a", "b"] {
        open.put(&owner, &acme, ("c", name), Some("7"), b"v").await.unwrap();
    }
    let hot = rows::records(&open.store, TenantNo(1)).await.remove(0).key;
    place.meddler.refuse(move |commit| {
        let is_it = |write: &Write| matches!(write, Write::Delete { space: Space::Records, key } if *key == hot);
        commit.writes.iter().any(is_it).then_some(StoreError::Conflict(0))
    });
    clock.advance(DAY * 11);
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.failed), (1, 1));
    let all = reports(&open, &owner, &acme).await;
    assert_eq!((all.len(), all[0].report.failed, all[0].report.destroyed()), (1, 1, 1), "{all:?}");
    place.meddler.refuse_nothing();
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    let all = reports(&open, &owner, &acme).await;
    assert_eq!((all.len(), all[0].report.failed, all[0].report.destroyed()), (1, 1, 2), "{all:?}");
    open.close().await;
}

/// For who waits for a run: how much is due, by hours, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_the_runs_have_come_is_told_by_counts() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let operator = open.caller(&place.operator).await;
    let rule = json!([{"name": "rule", "from": "created", "maximum": "10d", "then": "delete", "mark": "3d"}]);
    set(&open, &owner, &acme, policy(ShredUnit::Subject, "UTC", &rule)).await;
    for name in ["a", "b", "c"] {
        open.put(&owner, &acme, ("c", name), Some("7"), b"v").await.unwrap();
    }
    put_policy(&open, &owner, &acme, "d", ShredUnit::Subject, &one_rule(&json!("created"), "1d")).await;
    open.put(&owner, &acme, ("d", "a"), Some("7"), b"v").await.unwrap();
    let told = async || {
        let told = open.vault.retention_progress(&operator).await.unwrap();
        (told.due, told.to_mark, told.more, told.by_hour.iter().map(|hour| hour.due).sum::<u64>(), told.by_hour.len())
    };
    assert_eq!(told().await, (0, 0, false, 0, 0));
    clock.advance(DAY * 9);
    assert_eq!(told().await, (1, 3, false, 1, 1));
    run(&open, &clock).await;
    assert_eq!(told().await, (0, 0, false, 0, 0));
    let next = open.vault.retention_progress(&operator).await.unwrap().next_at.unwrap();
    assert!(next > clock.now());
    clock.advance(DAY * 2);
    assert_eq!(told().await, (3, 0, false, 3, 1));
    assert!(matches!(open.vault.retention_progress(&owner).await, Err(VaultError::Forbidden)));
    open.close().await;
}
