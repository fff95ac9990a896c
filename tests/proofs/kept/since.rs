//! What a law keeps by rules that came, went, or wait for a date while a record is there, also where the clock is set back meanwhile: every
//! minimum that a record has been under since it was written is met before anybody destroys it. RET-3, RET-4.

use std::time::Duration;

use lethe::{
    authn::Role,
    domain::{Clock as _, CollectionPolicy, ShredUnit, retention::RuleName},
    vault::ops::{PutRecord, ShredOrder, Unprocessable, VaultError},
};
use serde_json::{Value, json};

use super::{Acme, END, UNITS, brief, contradictions, findings, lawful, left, refused_by_law, run_until, unruled, with_rules};
use crate::{
    harness::{Open, coll, key, put_of},
    retention::{DAY, place, run, time, to, to_just_before},
};

/// A rule with a law, from the first write on.
fn books(minimum: &str, maximum: &str) -> Value {
    let law = json!({"period": minimum, "basis": "law 1"});
    json!({"name": "invoices", "from": "created", "minimum": law, "maximum": maximum, "then": "delete"})
}

/// The same from a date in the value on.
fn dated(name: &str, field: &str, minimum: &str) -> Value {
    let law = json!({"period": minimum, "basis": "law 1"});
    json!({"name": name, "from": {"field": field}, "minimum": law, "maximum": "12y", "then": "delete"})
}

async fn put(open: &Open, acme: &Acme, at: (&str, &str), person: &str, value: &str) -> Result<(), VaultError> {
    open.put(&acme.owner, &acme.name, at, Some(person), value.as_bytes()).await.map(drop)
}

/// Until when the law keeps what is written at noon of 31 January 2000, for seven years.
const BOOKS_END: &str = "2007-02-01T00:00:00Z";

fn is_until(result: Result<(), VaultError>, until: &str, told: &str) {
    assert_eq!(time(&refused_by_law(result)), time(until), "{told}");
}

/// A record whose new rule waits for a date is kept by the old one all the same, whatever it is overwritten with; and it is overwritten
/// with nothing that does not tell the date, also as if it were something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_waits_for_its_date_frees_nothing_that_another_keeps() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, unit) in UNITS {
        acme.set(&open, collection, with_rules(unit, &[books("7y", "12y")])).await;
        for name in ["dated", "note", "other"] {
            put(&open, &acme, (collection, name), "7", "{}").await.unwrap();
        }
        acme.set(&open, collection, with_rules(unit, &[dated("dated", "/date", "1d")])).await;
    }
    clock.advance(Duration::from_mins(2));
    for (collection, _) in UNITS {
        put(&open, &acme, (collection, "dated"), "7", r#"{"date": "2000-01-31"}"#).await.unwrap();
    }
    for (collection, unit) in UNITS {
        let mut tax = dated("dated", "/date", "1d");
        tax["categories"] = json!(["tax"]);
        let mut notes = brief();
        notes["categories"] = json!(["note"]);
        let two = CollectionPolicy { categories: vec!["tax".into(), "note".into()], ..with_rules(unit, &[tax, notes]) };
        acme.set(&open, collection, two).await;
        let as_note = async |value: &[u8]| acme.put(&open, (collection, "note"), &["7"], "note", value).await;
        for refused in [as_note(b"{}").await, as_note(br#"{"date": 7}"#).await] {
            let Err(VaultError::Unprocessable(Unprocessable::NoDateForRule { rule })) = &refused else {
                panic!("{collection}: {refused:?}")
            };
            assert_eq!(rule.as_str(), "dated", "{collection}");
        }
        let large = as_note(&vec![7; 200_000]).await;
        assert!(matches!(large, Err(VaultError::Unprocessable(Unprocessable::TooLargeForRule { .. }))), "{collection}: {large:?}");
        assert_eq!(acme.get(&open, (collection, "note")).await.unwrap(), b"{}", "{collection}");
        as_note(br#"{"date": "1970-01-01"}"#).await.unwrap();
    }
    clock.advance(DAY * 2);
    for (collection, _) in UNITS {
        for name in ["dated", "note"] {
            is_until(acme.delete(&open, (collection, name)).await, BOOKS_END, &format!("{collection}/{name}"));
        }
        let waits = acme.delete(&open, (collection, "other")).await;
        assert!(matches!(&waits, Err(VaultError::LegalMinimum { law: Some(law), .. }) if law.until.is_none()), "{collection}: {waits:?}");
    }
    to(&clock, BOOKS_END);
    for (collection, _) in UNITS {
        for name in ["dated", "note"] {
            acme.delete(&open, (collection, name)).await.unwrap();
        }
    }
    open.close().await;
}

/// What an order has left while a rule waited, and what was known by then of an earlier version: that is met before it goes, whatever
/// becomes of the rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_while_a_rule_waits_stays_for_what_is_known() {
    for earlier in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        for (collection, unit) in UNITS {
            acme.set(&open, collection, with_rules(unit, &[books("7y", "12y")])).await;
            put(&open, &acme, (collection, "7/tax"), "7", "{}").await.unwrap();
            if earlier {
                // Only what is sealed with it says so from now on.
                acme.set(&open, collection, with_rules(unit, &[dated("dated", "/date", "1d")])).await;
                put(&open, &acme, (collection, "7/tax"), "7", r#"{"date": "2000-01-31"}"#).await.unwrap();
                acme.set(&open, collection, with_rules(unit, &[dated("dated", "/other", "1d")])).await;
            } else {
                acme.set(&open, collection, with_rules(unit, &[books("7y", "12y"), dated("dated", "/date", "1d")])).await;
            }
        }
        let view = open.shred_subject(&acme.owner, &acme.name, "7").await;
        assert_eq!(view.retained.iter().map(|one| (one.records, one.until)).collect::<Vec<_>>(), [(1, None); 3], "{earlier}");
        for (collection, unit) in UNITS {
            acme.set(&open, collection, unruled(unit)).await;
        }
        let auditor = acme.auditor(&open, Some("dated")).await;
        let is_there = async || {
            for (collection, _) in UNITS {
                open.get(&auditor, &acme.name, (collection, "7/tax")).await.unwrap();
            }
        };
        for _ in 0..3 {
            clock.advance(DAY * 40);
            assert_eq!(run(&open, &clock).await.destroyed, 0, "{earlier}");
            is_there().await;
        }
        to_just_before(&clock, BOOKS_END);
        assert_eq!(run(&open, &clock).await.destroyed, 0, "{earlier}");
        is_there().await;
        clock.advance(Duration::from_millis(1));
        assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 3, "{earlier}");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// A minimum that an owner sets and takes back: what it has found there is kept by it, to the day, from requests, orders and runs, under
/// the same key and in older data; what comes behind it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_that_came_and_went_keeps_what_it_has_found() {
    for before in [brief(), books("1y", "1y")] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        for (collection, unit) in UNITS {
            acme.set(&open, collection, with_rules(unit, std::slice::from_ref(&before))).await;
            for (name, person) in [("k", "7"), ("over", "7"), ("left", "9")] {
                put(&open, &acme, (collection, name), person, "v").await.unwrap();
            }
        }
        open.close().await;
        place.copy("store/data", "before");
        let open = place.open().await;
        acme.again(&open).await;
        for rules in [books("4y", "12y"), before.clone()] {
            clock.advance(DAY);
            for (collection, unit) in UNITS {
                acme.set(&open, collection, with_rules(unit, std::slice::from_ref(&rules))).await;
            }
        }
        let shred = async |order: ShredOrder| open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.map(drop);
        for (collection, _) in UNITS {
            put(&open, &acme, (collection, "over"), "7", "other").await.unwrap();
            for name in ["k", "over", "left"] {
                is_until(acme.delete(&open, (collection, name)).await, END, &format!("{collection}/{name}"));
            }
            is_until(shred(ShredOrder::Collection(coll(collection))).await, END, collection);
            let told = open.vault.explain_retention(&acme.owner, &acme.name, &coll(collection), &key("k")).await.unwrap().explanation;
            assert_eq!(told.minimum.unwrap().until, time(END), "{collection}: {}", told.why);
            assert_eq!(told.end.unwrap().at, time(END), "{collection}: {}", told.why);
        }
        is_until(shred(ShredOrder::Tenant { confirm: "acme".into() }).await, END, "tenant");
        let view = open.shred_subject(&acme.owner, &acme.name, "9").await;
        assert_eq!(view.retained.iter().map(|one| (one.records, one.until)).collect::<Vec<_>>(), [(1, Some(time(END))); 3]);
        assert_eq!(left(&open).await, [2, 2, 0]);
        // What comes now is under none of it.
        if before == brief() {
            for (collection, _) in UNITS {
                put(&open, &acme, (collection, "new"), "8", "v").await.unwrap();
                acme.delete(&open, (collection, "new")).await.unwrap();
            }
        }
        clock.advance(DAY * 98);
        let is_there = async |open: &Open, acme: &Acme| {
            for (collection, _) in UNITS {
                acme.get(open, (collection, "k")).await.unwrap();
                acme.audited(open, (collection, "left")).await.unwrap();
            }
            assert_eq!(contradictions(open).await, Vec::<String>::new());
            assert_eq!(findings(open).await, Vec::<String>::new());
        };
        assert_eq!(run(&open, &clock).await.destroyed, 0);
        is_there(&open, &acme).await;
        open.close().await;
        place.copy("store/data", "today");

        place.put_back("before", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        open.vault.begin_restoring();
        let replayed = open.vault.replay_retention().await.unwrap();
        assert_eq!((replayed.destroyed, replayed.failed), (0, 0), "{replayed:?}");
        open.vault.end_restoring();
        is_there(&open, &acme).await;
        open.close().await;

        place.put_back("today", "store/data");
        let open = place.open().await;
        acme.again(&open).await;
        to_just_before(&clock, END);
        assert_eq!(run(&open, &clock).await.destroyed, 0);
        is_there(&open, &acme).await;
        clock.advance(Duration::from_millis(1));
        assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 9);
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// Nor do two persons undercut what has come and gone: their shorter rules end what is there at that minimum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_persons_shorten_no_minimum_that_came_and_went() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let (second, _) = open.token(&acme.owner, &acme.name, Role::Owner).await;
    clock.advance(DAY * 8);
    let second = open.caller(&second).await;
    acme.set(
        &open,
        "people",
        with_rules(ShredUnit::Subject, &[json!({"name": "long", "from": "created", "maximum": "30y", "then": "delete"})]),
    )
    .await;
    put(&open, &acme, ("people", "k"), "7", "v").await.unwrap();
    for rules in [books("60d", "12y"), brief()] {
        clock.advance(DAY);
        acme.set(&open, "people", with_rules(ShredUnit::Subject, &[rules])).await;
    }
    put(&open, &acme, ("people", "free"), "7", "v").await.unwrap();
    let asked = open.vault.ask_shortening(&acme.owner, &acme.name, &coll("people"), None).await.unwrap();
    open.approve(&second, &acme.name, asked.id).await.unwrap();
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(DAY * 32);
    assert_eq!(run(&open, &clock).await.destroyed, 1, "what came behind the minimum");
    let until = "2000-04-09T00:00:00Z";
    to_just_before(&clock, until);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    is_until(acme.delete(&open, ("people", "k")).await, until, "nor is it deleted on purpose");
    clock.advance(Duration::from_millis(1));
    assert_eq!(run(&open, &clock).await.destroyed, 1, "at the law's end, and years before the rule's");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A rule that went while it waited for its date has its time from that day on, unless the date comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_went_while_it_waited_counts_from_that_day() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, unit) in UNITS {
        acme.set(&open, collection, unruled(unit)).await;
        for name in ["stays", "dated", "again"] {
            put(&open, &acme, (collection, name), "7", "{}").await.unwrap();
        }
        acme.set(&open, collection, with_rules(unit, &[dated("invoices", "/date", "1y")])).await;
        let waits = acme.delete(&open, (collection, "stays")).await;
        assert!(matches!(&waits, Err(VaultError::LegalMinimum { law: Some(law), .. }) if law.until.is_none()), "{collection}: {waits:?}");
    }
    clock.advance(DAY);
    for (collection, unit) in UNITS {
        acme.set(&open, collection, unruled(unit)).await;
        put(&open, &acme, (collection, "dated"), "7", r#"{"date": "1990-01-01"}"#).await.unwrap();
        acme.delete(&open, (collection, "dated")).await.unwrap();
        put(&open, &acme, (collection, "again"), "7", "[]").await.unwrap();
    }
    // A year from 1 February 2000.
    let until = "2001-02-02T00:00:00Z";
    to_just_before(&clock, until);
    for (collection, _) in UNITS {
        for name in ["stays", "again"] {
            is_until(acme.delete(&open, (collection, name)).await, until, &format!("{collection}/{name}"));
        }
    }
    clock.advance(Duration::from_millis(1));
    for (collection, _) in UNITS {
        for name in ["stays", "again"] {
            acme.delete(&open, (collection, name)).await.unwrap();
        }
    }
    open.close().await;
}

/// Neither an order about a person nor a request goes by the wrong rules where the clock was set back in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_frees_nothing_that_a_law_keeps() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, unit) in UNITS {
        acme.set(&open, collection, unruled(unit)).await;
        acme.put(&open, (collection, "7/tax"), &["7"], "tax", b"7/tax").await.unwrap();
    }
    // Rules, and then an order at a time before them.
    clock.advance(Duration::from_secs(10));
    for (collection, unit) in UNITS {
        acme.set(&open, collection, lawful(unit, "4y")).await;
    }
    clock.go_back(Duration::from_secs(5));
    let view = open.shred_subject(&acme.owner, &acme.name, "7").await;
    assert_eq!(view.retained.iter().map(|one| one.records).collect::<Vec<_>>(), [1; 3]);
    for (collection, _) in UNITS {
        assert_eq!(acme.audited(&open, (collection, "7/tax")).await.unwrap(), b"7/tax", "{collection}");
    }
    assert_eq!(contradictions(&open).await, Vec::<String>::new());
    // What is written at a time at which other rules held.
    clock.go_back(Duration::from_mins(5));
    for (collection, unit) in UNITS {
        acme.put(&open, (collection, "before"), &["8"], "tax", b"v").await.unwrap();
        acme.set(&open, collection, unruled(unit)).await;
        acme.put(&open, (collection, "free"), &["8"], "tax", b"v").await.unwrap();
        acme.set(&open, collection, lawful(unit, "4y")).await;
        acme.put(&open, (collection, "after"), &["8"], "tax", b"v").await.unwrap();
    }
    // And rules that change at a time long before what was written under them.
    clock.go_back(DAY);
    for (collection, unit) in UNITS {
        acme.set(&open, collection, unruled(unit)).await;
        for name in ["before", "after"] {
            is_until(acme.delete(&open, (collection, name)).await, END, &format!("{collection}/{name}"));
        }
    }
    // The times of changes have only grown: older data is judged by the order in which they came.
    let retained = open.shred_subject(&acme.owner, &acme.name, "8").await.retained;
    assert_eq!(retained.iter().map(|one| one.records).collect::<Vec<_>>(), [3; 3], "what was free is under the rules that came then");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A simulation tells of what an order has left what a run does: it ends with the longest of the draft's minimum and those that it has been
/// under.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulation_ends_what_an_order_left_on_the_day_on_which_a_run_does() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, _) in UNITS {
        acme.put(&open, (collection, "7/tax"), &["7"], "tax", b"v").await.unwrap();
    }
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    clock.advance(DAY);
    let simulated = async |collection: &str, draft: CollectionPolicy| {
        let (simulated, more) = open.vault.simulate_retention(&acme.owner, &acme.name, &coll(collection), draft, None).await.unwrap();
        assert!(more.is_none() && simulated.looked_at == 1, "{simulated:?}");
        let ends = simulated.ends.iter();
        let ends =
            ends.map(|end| (end.day.to_string(), end.rule.as_ref().map(RuleName::as_str).unwrap_or_default().to_owned(), end.records));
        (ends.collect::<Vec<_>>(), simulated.endless)
    };
    let on = |day: &str| (vec![(day.to_owned(), "invoices".to_owned(), 1_u64)], 0_u64);
    for (collection, unit) in UNITS {
        for (draft, expected) in [
            (lawful(unit, "6y"), on("2006-02-01")),
            (lawful(unit, "1y"), on("2004-02-01")),
            (unruled(unit), on("2004-02-01")),
            (with_rules(unit, &[dated("waits", "/date", "1d")]), (Vec::new(), 1)),
        ] {
            assert_eq!(simulated(collection, draft).await, expected, "{collection}");
        }
        acme.set(&open, collection, lawful(unit, "6y")).await;
        // By now it has been under that, too.
        assert_eq!(simulated(collection, unruled(unit)).await, on("2006-02-01"), "{collection}");
    }
    to_just_before(&clock, "2006-02-01T00:00:00Z");
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 3);
    open.close().await;
}

/// An own end that has passed while such a minimum stands: the record is there for readers, or they would take the key for free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_end_is_put_off_by_a_minimum_that_came_and_went() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for (collection, unit) in UNITS {
        acme.set(&open, collection, unruled(unit)).await;
        let put = PutRecord { expires_at: Some(clock.now().plus(DAY * 10)), ..put_of(Some("7"), b"v") };
        open.vault.put_record(&acme.owner, &acme.name, &coll(collection), key("k"), put).await.unwrap();
        acme.set(&open, collection, with_rules(unit, &[books("4y", "12y")])).await;
        acme.set(&open, collection, unruled(unit)).await;
    }
    clock.advance(DAY * 11);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    for (collection, _) in UNITS {
        assert_eq!(acme.get(&open, (collection, "k")).await.unwrap(), b"v", "{collection}");
    }
    to(&clock, END);
    for (collection, _) in UNITS {
        assert!(matches!(acme.get(&open, (collection, "k")).await, Err(VaultError::NotFound(_))), "{collection}");
    }
    assert_eq!(run(&open, &clock).await.destroyed, 3);
    open.close().await;
}
