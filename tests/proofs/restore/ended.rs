//! What was over before older data was put back stays so, whatever became of the rules meanwhile: RET-4's "lengthening revives
//! nothing", across a restore.

use std::time::Duration;

use lethe::{
    domain::{Clock as _, CollectionPolicy, ShredUnit, hold::HoldScope, policy::SecondarySubjects},
    vault::{
        ops::{NewAlias, PutRecord, ShredOrder, VaultError},
        store::{Commit, Space, Store as _, StoreError, schema::Table},
    },
};
use serde_json::json;

use crate::{
    draw::Draw,
    harness::{Open, alias_of, coll, contradictions, filed_under, findings, key, put_about, put_of, subject},
    meddling::sets,
    retention::{DAY, is_there, one_rule, place, policy, run, set, there, time},
    rows,
};

const HALF_A_DAY: Duration = Duration::from_hours(12);

fn until_deleted() -> CollectionPolicy {
    CollectionPolicy { shred_unit: ShredUnit::Subject, ..CollectionPolicy::default() }
}

fn kept_for(period: &str) -> CollectionPolicy {
    policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_over_before_its_rule_was_made_longer_or_taken_away_does_not_come_back() {
    for later in [kept_for("10y"), until_deleted()] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, kept_for("1m")).await;
        open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        clock.advance(time("2000-03-01T00:00:00Z").since(time("2000-01-31T12:00:00Z")));
        assert_eq!(run(&open, &clock).await.destroyed, 1);
        set(&open, &owner, &acme, later.clone()).await;
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open().await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.moved, done.dropped), (1, 0, 0), "{later:?}");
        assert!(!is_there(&open, &owner, &acme, "k").await);
        // Made ready once, there is nothing left to do.
        assert_eq!(open.vault.replay_retention().await.unwrap().looked_at, 0);
        open.close().await;
    }
}

/// One rule for all, and a law for what is of category x: what names no category that is declared is of all of them.
fn lawful(categories: &[&str], days: u64, least: u64) -> CollectionPolicy {
    let mut rules = vec![json!({"name": "all", "from": "created", "maximum": format!("{days}d"), "then": "delete"})];
    if categories.contains(&"x") {
        let minimum = json!({"period": format!("{least}d"), "basis": "law"});
        let maximum = format!("{}d", least + 100);
        rules.push(
            json!({"name": "law", "categories": ["x"], "from": "modified", "minimum": minimum, "maximum": maximum, "then": "delete"}),
        );
    }
    let categories = categories.iter().map(|name| (*name).to_owned()).collect();
    CollectionPolicy { categories, ..policy(ShredUnit::Subject, "UTC", &json!(rules)) }
}

/// The same, with a mark of so many days in its first rule, or of as many as that keeps a record.
fn with_mark(made: CollectionPolicy, days: u64) -> CollectionPolicy {
    let mut retention = serde_json::to_value(&made.retention).unwrap();
    let most: u64 = retention["rules"][0]["maximum"].as_str().unwrap().trim_end_matches('d').parse().unwrap();
    retention["rules"][0]["mark"] = json!(format!("{}d", days.min(most)));
    CollectionPolicy { retention: serde_json::from_value(retention).unwrap(), ..made }
}

fn of_category(category: Option<&str>) -> PutRecord {
    PutRecord { custom: filed_under(category), ..put_of(Some("7"), b"v") }
}

/// Which rules a record ends by is decided by the categories of its time, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_by_a_category_that_is_gone_since_does_not_come_back() {
    for later in [lawful(&["x"], 10, 90), lawful(&["x"], 11, 90)] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, lawful(&["x", "y"], 10, 90)).await;
        open.vault.put_record(&owner, &acme, &coll("c"), key("k"), of_category(Some("y"))).await.unwrap();
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        clock.advance(DAY * 12);
        assert_eq!(run(&open, &clock).await.destroyed, 1);
        set(&open, &owner, &acme, later.clone()).await;
        clock.advance(DAY);
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open_idle().await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        assert_eq!((done.destroyed, done.moved), (1, 0), "{later:?}");
        open.close().await;
    }
}

/// Records that nobody writes again, rules that change now and then, a run at every midnight: older data, made ready, holds the very
/// records that the store has kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_ends_as_it_would_have_ended_in_the_store() {
    let (mut revived, mut survived) = (0, 0);
    for seed in 0..8_u64 {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let mut draw = Draw(seed);
        let drawn = |draw: &mut Draw| {
            let categories = draw.of(&[&[][..], &["x"], &["x", "y"]]);
            let lawful = lawful(categories, draw.below(150) + 1, draw.below(60) + 1);
            let lawful = if draw.below(2) == 0 { with_mark(lawful, draw.below(40) + 1) } else { lawful };
            if draw.below(5) == 0 { CollectionPolicy { categories: lawful.categories, ..until_deleted() } } else { lawful }
        };
        set(&open, &owner, &acme, drawn(&mut draw)).await;
        clock.advance(HALF_A_DAY);
        let mut names = Vec::new();
        for day in 0..20 {
            if draw.below(2) == 0 {
                let name = format!("k{day}");
                let put = of_category(draw.of(&[None, Some("x"), Some("y")]));
                // One of a category that is not declared is refused where the rules have some.
                match open.vault.put_record(&owner, &acme, &coll("c"), key(&name), put).await {
                    Ok(_) => names.push(name),
                    Err(error) => assert!(matches!(error, VaultError::Unprocessable(_)), "{error:?}"),
                }
            }
            clock.advance(HALF_A_DAY);
            if draw.below(6) == 0 {
                set(&open, &owner, &acme, drawn(&mut draw)).await;
            }
            clock.advance(HALF_A_DAY);
            run(&open, &clock).await;
        }
        let then = there(&open, &owner, &acme, &names).await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        for _ in 0..60 {
            clock.advance(HALF_A_DAY);
            if draw.below(9) == 0 {
                set(&open, &owner, &acme, drawn(&mut draw)).await;
            }
            clock.advance(HALF_A_DAY);
            run(&open, &clock).await;
        }
        let kept = there(&open, &owner, &acme, &names).await;
        open.close().await;
        assert!(kept.is_subset(&then));
        survived += kept.len();

        for made_ready in [true, false] {
            place.put_back("then/data", "store/data");
            let open = place.open().await;
            if made_ready {
                open.vault.begin_restoring();
                open.vault.replay_retention().await.unwrap();
                open.vault.end_restoring();
            } else {
                run(&open, &clock).await;
            }
            let back = there(&open, &owner, &acme, &names).await;
            if made_ready {
                assert_eq!(back, kept, "seed {seed}");
            } else {
                revived += back.difference(&kept).count();
            }
            open.close().await;
        }
    }
    // So that the rules of their time made the difference, and not everything was over.
    assert!(revived > 0 && survived > 0, "{revived} {survived}");
}

async fn certificates(open: &Open) -> usize {
    rows::count(&open.store, Table::Certificate).await
}

/// What older data is rid of may have a key that seals what took its place: a restore that is given up, or cut short, has destroyed
/// none, and neither has one that is done, for what it has moved aside can be put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_over_in_older_data_shreds_no_key_that_todays_data_has() {
    for case in ["its end", "its end, held since", "an order"] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let secondary_subjects = SecondarySubjects::Delete;
        set(&open, &owner, &acme, CollectionPolicy { shred_unit: ShredUnit::Record, secondary_subjects, ..CollectionPolicy::default() })
            .await;
        let put = async |open: &Open, names: &[&str], ends: bool, value: &[u8]| {
            let put = PutRecord { expires_at: ends.then(|| clock.now().plus(DAY)), ..put_about(names, value) };
            open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
        };
        let is_ordered = case == "an order";
        let (one, both): (&[&str], &[&str]) = (&["7"], &["7", "8"]);
        put(&open, if is_ordered { both } else { one }, !is_ordered, b"then").await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        put(&open, if case == "its end, held since" { both } else { one }, false, b"today").await;
        match case {
            "its end, held since" => drop(open.counsel_holds(&owner, &acme, HoldScope::Subjects(vec![subject("8")])).await),
            "an order" => drop(open.shred_subject(&owner, &acme, "8").await),
            _ => {}
        }
        clock.advance(DAY * 2);
        let before = certificates(&open).await;
        open.close().await;
        place.copy("store/data", "today/data");

        place.put_back("then/data", "store/data");
        for begins in [false, true] {
            let open = if begins { place.open().await } else { place.open_idle().await };
            open.vault.begin_restoring();
            open.vault.replay_retention().await.unwrap();
            open.vault.end_restoring();
            assert!(!is_there(&open, &owner, &acme, "k").await, "{case}");
            if begins {
                // What a deletion puts off is ordered behind the first, and carried out with the last at the latest.
                for other in ["x", "y", "z"] {
                    open.shred_subject(&owner, &acme, other).await;
                }
            }
            open.close().await;
        }

        place.put_back("today/data", "store/data");
        let open = place.open().await;
        assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"today", "{case}");
        assert_eq!(certificates(&open).await, before + 3, "{case}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{case}");
        open.close().await;
    }
}

/// Older data is rid of what was erased and of what is over also where an order is about to take it along: a hold may take that order back,
/// at the start or later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_stays_so_when_a_pending_collection_is_taken_back() {
    for late in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "c", ShredUnit::Collection).await;
        for (name, person, ends) in [("7", "7", false), ("8", "8", false), ("over", "9", true)] {
            let put = PutRecord { expires_at: ends.then(|| clock.now().plus(DAY)), ..put_of(Some(person), b"v") };
            open.vault.put_record(&owner, &acme, &coll("c"), key(name), put).await.unwrap();
        }
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open_meddled().await;
        open.shred_subject(&owner, &acme, "7").await;
        clock.advance(DAY * 2);
        assert_eq!(run(&open, &clock).await.destroyed, 1);
        let waits = |commit: &Commit| sets(commit, Table::RootPtr, |_, _| true) || sets(commit, Table::HeldOrder, |_, _| true);
        place.meddler.refuse(move |commit| waits(commit).then_some(StoreError::DiskFull));
        let order = open.vault.order_shred(&owner, &acme, ShredOrder::Collection(coll("c")), None, None).await.unwrap().id;
        if !late {
            open.counsel_holds(&owner, &acme, HoldScope::Subjects(vec![subject("8")])).await;
        }
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open_idle().await;
        open.vault.begin_restoring();
        assert_eq!(open.vault.replay_retention().await.unwrap().destroyed, 1);
        open.close().await;
        if late {
            place.meddler.refuse_epochs(StoreError::DiskFull);
        } else {
            place.meddler.refuse_nothing();
        }
        let open = place.open_meddled().await;
        if late {
            open.counsel_holds(&owner, &acme, HoldScope::Subjects(vec![subject("8")])).await;
        }
        let view = open.awaited(&owner, &acme, order).await;
        assert!(view.held && !view.done, "late: {late}: {view:?}");
        assert_eq!(open.get(&owner, &acme, ("c", "8")).await.unwrap(), b"v", "late: {late}");
        for gone in ["7", "over"] {
            let explained = open.vault.explain_retention(&owner, &acme, &coll("c"), &key(gone)).await;
            assert!(matches!(explained, Err(VaultError::NotFound(_))), "late: {late}, {gone}: {explained:?}");
        }
        place.meddler.refuse_nothing();
        assert_eq!(findings(&open).await, Vec::<String>::new(), "late: {late}");
        open.close().await;
    }
}

/// A hold keeps what it finds: what was over, and gone, before it was placed does not come back under it. What it found is kept, also by a
/// restore, and what an earlier one had kept went when that ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_over_before_a_hold_was_placed_does_not_come_back_under_it() {
    for by_rule in [true, false] {
        for case in ["then", "a moment later", "since", "then, and another since"] {
            let named = format!("by rule: {by_rule}, held {case}");
            let (place, clock) = place().await;
            let open = place.open().await;
            let (acme, owner, _) = open.tenant(&place, "acme").await;
            let ends = time("2000-02-11T00:00:00Z");
            set(&open, &owner, &acme, if by_rule { kept_for("10d") } else { until_deleted() }).await;
            let put = PutRecord { expires_at: (!by_rule).then_some(ends), ..put_of(Some("7"), b"v") };
            open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
            open.close().await;
            place.copy("store/data", "then/data");

            let open = place.open().await;
            let first = if case.starts_with("then") { Some(open.counsel_holds(&owner, &acme, HoldScope::Tenant).await) } else { None };
            clock.advance(ends.since(clock.now()) + Duration::from_secs(30));
            if case == "a moment later" {
                open.counsel_holds(&owner, &acme, HoldScope::Collection(coll("c"))).await;
            }
            let is_kept = case == "then" || case == "a moment later";
            let done = run(&open, &clock).await;
            assert_eq!((done.held, done.destroyed), if case == "since" { (0, 1) } else { (1, 0) }, "{named}: {done:?}");
            clock.advance(DAY);
            if let Some((counsel, first)) = first.filter(|_| case != "then") {
                open.vault.release_hold(&counsel, &acme, first.id, "settled".into(), None).await.unwrap();
                assert_eq!(run(&open, &clock).await.destroyed, 1, "{named}");
                clock.advance(DAY);
            }
            if !is_kept {
                open.counsel_holds(&owner, &acme, HoldScope::Tenant).await;
            }
            clock.advance(DAY);
            // Longer rules, or none, bring nothing back either.
            set(&open, &owner, &acme, until_deleted()).await;
            open.close().await;

            place.put_back("then/data", "store/data");
            let open = place.open_idle().await;
            open.vault.begin_restoring();
            let done = open.vault.replay_retention().await.unwrap();
            assert_eq!((done.held, done.destroyed, done.failed), if is_kept { (1, 0, 0) } else { (0, 1, 0) }, "{named}: {done:?}");
            open.close().await;
            let open = place.open().await;
            let there = open.vault.explain_retention(&owner, &acme, &coll("c"), &key("k")).await;
            assert_eq!(there.is_ok(), is_kept, "{named}: {there:?}");
            assert_eq!(findings(&open).await, Vec::<String>::new(), "{named}");
            open.close().await;
        }
    }
}

/// Nor under an id that a held person was given later: on that the hold is from then on, whenever it was placed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_over_before_a_held_person_was_given_its_id_does_not_come_back_under_the_hold() {
    for early in [true, false] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, kept_for("10d")).await;
        open.counsel_holds(&owner, &acme, HoldScope::Subjects(vec![subject("7")])).await;
        open.put(&owner, &acme, ("c", "k"), Some("ann"), b"v").await.unwrap();
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        let give = async |open: &Open| {
            let ann = NewAlias { with_records: early, ..alias_of("7", "ann") };
            open.vault.add_alias(&owner, &acme, ann, None).await.unwrap();
        };
        if early {
            give(&open).await;
        }
        clock.advance(time("2000-02-11T00:00:00Z").since(clock.now()) + Duration::from_secs(30));
        let done = run(&open, &clock).await;
        assert_eq!((done.held, done.destroyed), if early { (1, 0) } else { (0, 1) }, "early: {early}: {done:?}");
        clock.advance(DAY);
        if !early {
            give(&open).await;
        }
        clock.advance(DAY);
        open.close().await;

        place.put_back("then/data", "store/data");
        let open = place.open_idle().await;
        open.vault.begin_restoring();
        let done = open.vault.replay_retention().await.unwrap();
        let expected = if early { (1, 0, 0) } else { (0, 1, 0) };
        assert_eq!((done.held, done.destroyed, done.failed), expected, "early: {early}: {done:?}");
        open.close().await;
        let open = place.open().await;
        let there = open.vault.explain_retention(&owner, &acme, &coll("c"), &key("k")).await;
        assert_eq!(there.is_ok(), early, "{there:?}");
        // What is written under it from here on is held as any other.
        open.put(&owner, &acme, ("c", "new"), Some("ann"), b"v").await.unwrap();
        clock.advance(DAY * 11);
        assert_eq!(run(&open, &clock).await.destroyed, 0, "early: {early}");
        assert!(is_there(&open, &owner, &acme, "new").await, "early: {early}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "early: {early}");
        open.close().await;
    }
}

/// The proof is told when something that an order deleted, and no key ended, is there all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proof_finds_what_an_order_deleted() {
    let (place, _) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let policy = CollectionPolicy { secondary_subjects: SecondarySubjects::Delete, ..until_deleted() };
    set(&open, &owner, &acme, policy).await;
    open.collection(&owner, &acme, "all", ShredUnit::Collection).await;
    open.collection(&owner, &acme, "gone", ShredUnit::Subject).await;
    for (collection, name, names) in
        [("c", "second", &["8", "7"][..]), ("all", "first", &["7"]), ("c", "kept", &["8"]), ("gone", "k", &["8"])]
    {
        open.vault.put_record(&owner, &acme, &coll(collection), key(name), put_about(names, b"v")).await.unwrap();
    }
    open.close().await;
    place.copy("store/data", "then/data");

    let open = place.open().await;
    let mut then = Vec::new();
    for space in [Space::Records, Space::Index] {
        then.extend(rows::all(&open.store, space).await.into_iter().map(|row| (space, row)));
    }
    open.shred_subject(&owner, &acme, "7").await;
    open.shred(&owner, &acme, ShredOrder::Collection(coll("gone"))).await;
    // Known anew, and written about since.
    let anew = PutRecord { new_relationship: true, ..put_of(Some("7"), b"v") };
    open.vault.put_record(&owner, &acme, &coll("all"), key("new"), anew).await.unwrap();
    assert_eq!(contradictions(&open).await, Vec::<String>::new());
    open.close().await;

    place.put_back("then/data", "store/data");
    let open = place.open_idle().await;
    let proof = open.vault.prove_shreds(1).await.unwrap();
    assert_eq!((proof.findings.len(), proof.named, proof.readable, proof.damaged), (0, 1, 1, 0), "{proof:?}");
    for (space, row) in then {
        let gone = open.store.get(space, &row.key).await.unwrap().is_none();
        let is_of_records = space == Space::Records || row.key[0] == Table::SubjectRecord as u8;
        if gone && is_of_records {
            rows::set(&open.store, space, &row.key, Some(row.value)).await;
        }
    }
    let findings = contradictions(&open).await;
    assert!(findings.len() == 2 && findings.iter().all(|finding| finding.contains("deleted is there")), "{findings:?}");
    open.close().await;
}
