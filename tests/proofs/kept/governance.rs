//! Minimums of the governance kind: they bind everybody as the others do, until an owner and a governor bypass them for what is there. What
//! nobody shortens stands beside that, in whatever order the two kinds came; over restarts, in what is sealed with a record, of what an order has
//! left, and in older data. HOLD-4.

use std::{collections::BTreeMap, time::Duration};

use lethe::{
    authn::Role,
    domain::{ApprovalId, Clock as _, ShredUnit, TestClock, Timestamp, retention::Mode},
    vault::{
        ops::{Caller, NotSecond, PutRecord, RetentionView, ShredOrder, Unprocessable, VaultError},
        store::schema::Table,
    },
};
use serde_json::{Value, json};

use super::{Acme, UNITS, brief, contradictions, findings, left, run_until, with_rules};
use crate::{
    draw::Draw,
    harness::{Open, Place, coll, hold_on, key, put_of},
    retention::{DAY, place, run, time, to_just_before},
    rows,
};

const MS: Duration = Duration::from_millis(1);
/// Until when a rule of four years keeps what is written on 8 February 2000, and one of two.
const FOUR: &str = "2004-02-09T00:00:00.000Z";
const TWO: &str = "2002-02-09T00:00:00.000Z";

/// A rule with a minimum of a kind, from the first write on.
fn law(name: &str, mode: &str, minimum: &str) -> Value {
    let minimum = json!({"period": minimum, "basis": "law 1", "mode": mode});
    json!({"name": name, "from": "created", "minimum": minimum, "maximum": "12y", "then": "delete"})
}

/// The same from a date in the value on.
fn dated(name: &str, mode: &str, minimum: &str) -> Value {
    let mut rule = law(name, mode, minimum);
    rule["from"] = json!({"field": "/date"});
    rule
}

/// The law that refuses something: until when, and of which kind.
fn refused<T: std::fmt::Debug>(result: Result<T, VaultError>) -> (String, Mode) {
    match result {
        Err(VaultError::LegalMinimum { law: Some(law), .. }) => (law.until.unwrap().to_rfc3339(), law.mode),
        other => panic!("no law refuses: {other:?}"),
    }
}

/// A tenant with a governor who counts as a second person, on 8 February 2000.
struct Governed {
    acme: Acme,
    governor: String,
    second: String,
}

impl Governed {
    async fn make(open: &Open, place: &Place, clock: &TestClock) -> Self {
        let acme = Acme::make(open, place).await;
        let (governor, _) = open.token(&acme.owner, &acme.name, Role::Governor).await;
        let (second, _) = open.token(&acme.owner, &acme.name, Role::Owner).await;
        clock.advance(DAY * 8);
        Self { acme, governor, second }
    }

    async fn rules(&self, open: &Open, rules: &[Value]) {
        for (collection, unit) in UNITS {
            self.acme.set(open, collection, with_rules(unit, rules)).await;
        }
    }

    async fn put(&self, open: &Open, at: (&str, &str), person: &str, value: &str) -> Result<(), VaultError> {
        let put = PutRecord { new_relationship: true, ..put_of(Some(person), value.as_bytes()) };
        open.vault.put_record(&self.acme.owner, &self.acme.name, &coll(at.0), key(at.1), put).await.map(drop)
    }

    async fn ask(&self, open: &Open, collection: &str) -> Result<ApprovalId, VaultError> {
        let reason = "the law has changed".to_owned();
        let asked = open.vault.ask_bypass(&self.acme.owner, &self.acme.name, &coll(collection), reason, None).await;
        asked.map(|asked| asked.id)
    }

    async fn approve(&self, open: &Open, by: &Caller, id: ApprovalId) -> Result<(), VaultError> {
        open.approve(by, &self.acme.name, id).await
    }

    async fn bypass(&self, open: &Open, clock: &TestClock, collection: &str) -> Result<(), VaultError> {
        let id = self.ask(open, collection).await?;
        self.approve(open, &open.caller(&self.governor).await, id).await?;
        // What is there ends behind the rules that came with it.
        clock.advance(MS);
        Ok(())
    }

    async fn bypass_all(&self, open: &Open, clock: &TestClock) {
        for (collection, _) in UNITS {
            self.bypass(open, clock, collection).await.unwrap();
        }
    }

    /// Two owners let the rules of today hold for what is there.
    async fn shorten(&self, open: &Open, collection: &str) {
        let asked = open.vault.ask_shortening(&self.acme.owner, &self.acme.name, &coll(collection), None).await.unwrap();
        self.approve(open, &open.caller(&self.second).await, asked.id).await.unwrap();
    }

    async fn is_there(&self, open: &Open, at: (&str, &str)) -> bool {
        let auditor = self.acme.auditor(open, None).await;
        open.vault.explain_retention(&auditor, &self.acme.name, &coll(at.0), &key(at.1)).await.is_ok()
    }

    async fn told(&self, open: &Open, at: (&str, &str)) -> RetentionView {
        let auditor = self.acme.auditor(open, None).await;
        open.vault.explain_retention(&auditor, &self.acme.name, &coll(at.0), &key(at.1)).await.unwrap()
    }
}

/// On every path it binds as one of the other kind does; behind the bypass what is there goes with the next run, what an order had left with its
/// key included; and only what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_governance_minimum_binds_everybody_until_it_is_bypassed_and_what_is_there_goes_with_the_next_run() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Governed::make(&open, &place, &clock).await;
    acme.rules(&open, &[law("books", "governance", "4y")]).await;
    for (collection, _) in UNITS {
        for (name, person) in [("k", "7"), ("deleted", "7"), ("left", "9")] {
            acme.put(&open, (collection, name), person, "v").await.unwrap();
        }
    }
    for (collection, _) in UNITS {
        let nothing = acme.ask(&open, collection).await;
        let is_nothing = matches!(nothing, Err(VaultError::Unprocessable(Unprocessable::NothingToBypass)));
        assert!(is_nothing, "{collection}: today's rules bind whoever bypasses: {nothing:?}");
    }
    acme.rules(&open, &[brief()]).await;
    clock.advance(DAY * 40);
    let (owner, name) = (&acme.acme.owner, &acme.acme.name);
    let kept = (FOUR.to_owned(), Mode::Governance);
    for (collection, _) in UNITS {
        acme.shorten(&open, collection).await;
        clock.advance(MS);
        assert_eq!(refused(acme.acme.delete(&open, (collection, "k")).await), kept, "{collection}");
        let order = ShredOrder::Collection(coll(collection));
        assert_eq!(refused(open.vault.order_shred(owner, name, order, None, None).await), kept, "{collection}");
        let told = acme.told(&open, (collection, "k")).await.explanation;
        assert_eq!((told.minimum.unwrap().mode, told.bypassed), (Mode::Governance, None), "{collection}");
    }
    let order = ShredOrder::Tenant { confirm: "acme".into() };
    assert_eq!(refused(open.vault.order_shred(owner, name, order, None, None).await), kept);
    let view = open.shred_subject(owner, name, "9").await;
    assert_eq!(view.retained.iter().map(|one| (one.records, one.until)).collect::<Vec<_>>(), [(1, Some(time(FOUR))); 3]);
    assert_eq!(left(&open).await, [2, 2, 0]);
    assert_eq!(run(&open, &clock).await.destroyed, 0, "two owners undercut it no more than one");
    for (collection, _) in UNITS {
        let auditor = acme.acme.auditor(&open, Some("books")).await;
        assert_eq!(open.get(&auditor, name, (collection, "left")).await.unwrap(), b"v", "{collection}");
    }

    acme.bypass_all(&open, &clock).await;
    for (collection, _) in UNITS {
        let told = acme.told(&open, (collection, "k")).await.explanation;
        assert_eq!((told.minimum, told.bypassed.map(|of| of.until)), (None, Some(Some(time(FOUR)))), "{collection}: {}", told.why);
        acme.acme.delete(&open, (collection, "deleted")).await.unwrap();
        acme.put(&open, (collection, "new"), "8", "v").await.unwrap();
    }
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 6, "at once, and with its key what an order had left");
    for (collection, _) in UNITS {
        assert!(!acme.is_there(&open, (collection, "k")).await && !acme.is_there(&open, (collection, "left")).await, "{collection}");
        assert!(acme.is_there(&open, (collection, "new")).await, "{collection}");
    }
    assert_eq!((contradictions(&open).await, findings(&open).await), (Vec::new(), Vec::new()));
    open.close().await;
}

/// A minimum of the compliance kind that came between, or beside, or is there today, stands; and so does one of the governance kind that came
/// behind the bypass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bypass_lifts_what_nobody_shortens_nor_what_came_behind_it() {
    let (long, firm) = (law("long", "governance", "4y"), law("firm", "compliance", "2y"));
    let between = [
        vec![vec![long.clone()], vec![firm.clone()], vec![brief()]],
        vec![vec![firm.clone()], vec![long.clone()], vec![brief()]],
        vec![vec![long.clone(), firm.clone()], vec![brief()]],
        vec![vec![long.clone()], vec![firm.clone()]],
    ];
    for (round, all) in between.iter().enumerate() {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Governed::make(&open, &place, &clock).await;
        let (first, others) = all.split_first().unwrap();
        acme.rules(&open, first).await;
        for (collection, _) in UNITS {
            for (name, person) in [("k", "7"), ("left", "9")] {
                acme.put(&open, (collection, name), person, "v").await.unwrap();
            }
        }
        for rules in others {
            clock.advance(MS);
            acme.rules(&open, rules).await;
        }
        for (collection, _) in UNITS {
            assert_eq!(refused(acme.acme.delete(&open, (collection, "k")).await), (FOUR.into(), Mode::Governance), "{round}: {collection}");
        }
        open.shred_subject(&acme.acme.owner, &acme.acme.name, "9").await;
        acme.bypass_all(&open, &clock).await;
        for (collection, _) in UNITS {
            assert_eq!(refused(acme.acme.delete(&open, (collection, "k")).await), (TWO.into(), Mode::Compliance), "{round}: {collection}");
        }
        acme.rules(&open, &[brief()]).await;
        for (collection, _) in UNITS {
            acme.shorten(&open, collection).await;
            clock.advance(MS);
        }
        to_just_before(&clock, TWO);
        assert_eq!(run(&open, &clock).await.destroyed, 0, "{round}");
        assert_eq!(left(&open).await, [2, 2, 0], "{round}: nor does a key go before");
        for (collection, _) in UNITS {
            for name in ["k", "left"] {
                assert!(acme.is_there(&open, (collection, name)).await, "{round}: {collection}/{name}");
            }
        }
        clock.advance(MS);
        assert_eq!(
            run_until(&open, &clock, [0, 0, 0]).await,
            6,
            "{round}: at the end of what nobody shortens, and years before the other's"
        );
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
    // What comes behind binds what is there, as rules do that are made longer.
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Governed::make(&open, &place, &clock).await;
    acme.rules(&open, std::slice::from_ref(&long)).await;
    acme.put(&open, ("people", "k"), "7", "v").await.unwrap();
    acme.rules(&open, &[brief()]).await;
    acme.bypass(&open, &clock, "people").await.unwrap();
    acme.rules(&open, &[law("again", "governance", "2y")]).await;
    acme.rules(&open, &[brief()]).await;
    assert_eq!(refused(acme.acme.delete(&open, ("people", "k")).await), (TWO.into(), Mode::Governance));
    clock.advance(DAY * 40);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    acme.bypass(&open, &clock, "people").await.unwrap();
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// What an earlier version was kept for is sealed with a record by kinds: neither another date nor another rule frees it of either before, and
/// the bypass frees it of the one alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_with_a_record_is_lifted_by_kinds() {
    for (rules, behind) in [
        (vec![dated("long", "governance", "4y")], None),
        (vec![dated("long", "governance", "4y"), dated("firm", "compliance", "2y")], Some(TWO)),
        (vec![dated("firm", "compliance", "2y"), dated("long", "governance", "4y")], Some(TWO)),
        (vec![dated("long", "compliance", "4y"), dated("short", "governance", "2y")], Some(FOUR)),
    ] {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let mut acme = Governed::make(&open, &place, &clock).await;
        acme.rules(&open, &rules).await;
        let first = if behind == Some(FOUR) { Mode::Compliance } else { Mode::Governance };
        for (collection, _) in UNITS {
            for (name, person) in [("k", "7"), ("left", "9")] {
                acme.put(&open, (collection, name), person, r#"{"date": "2000-02-08"}"#).await.unwrap();
                // A correction brings it forward by nothing.
                acme.put(&open, (collection, name), person, r#"{"date": "1995-02-08"}"#).await.unwrap();
                assert_eq!(refused(acme.acme.delete(&open, (collection, name)).await), (FOUR.into(), first), "{behind:?}: {collection}");
            }
        }
        clock.advance(MS);
        acme.rules(&open, &[brief()]).await;
        for (collection, _) in UNITS {
            // Only what is sealed says so from now on.
            acme.put(&open, (collection, "k"), "7", "v").await.unwrap();
            assert_eq!(refused(acme.acme.delete(&open, (collection, "k")).await), (FOUR.into(), first), "{behind:?}: {collection}");
        }
        let retained = open.shred_subject(&acme.acme.owner, &acme.acme.name, "9").await.retained;
        assert_eq!(retained.iter().map(|one| one.until).collect::<Vec<_>>(), [Some(time(FOUR)); 3], "{behind:?}");
        open.close().await;
        open = place.open().await;
        acme.acme.again(&open).await;
        acme.bypass_all(&open, &clock).await;
        clock.advance(DAY * 31);
        if let Some(behind) = behind {
            for (collection, _) in UNITS {
                assert_eq!(refused(acme.acme.delete(&open, (collection, "k")).await), (behind.into(), Mode::Compliance), "{collection}");
            }
            to_just_before(&clock, behind);
            assert_eq!(run(&open, &clock).await.destroyed, 0, "{behind:?}");
            assert_eq!(left(&open).await, [2, 2, 0], "{behind:?}");
            clock.advance(MS);
        }
        assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 6, "{behind:?}");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// Nobody alone: neither an owner nor two, nor a governor who was made for it; and nothing is lifted but in the commit of the approval, with the
/// rules that were asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bypass_takes_an_owner_and_a_governor_and_the_rules_that_were_asked_for() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Governed::make(&open, &place, &clock).await;
    acme.rules(&open, &[law("books", "governance", "4y")]).await;
    acme.put(&open, ("people", "k"), "7", "v").await.unwrap();
    acme.rules(&open, &[brief()]).await;
    clock.advance(DAY * 40);
    let id = acme.ask(&open, "people").await.unwrap();
    assert_eq!(acme.ask(&open, "people").await.unwrap(), id, "it is asked for once");
    let fresh = open.with_role(&acme.acme.owner, &acme.acme.name, Role::Governor).await;
    let second = open.caller(&acme.second).await;
    for (by, named) in [(&acme.acme.owner, "who asked"), (&second, "another owner")] {
        let denied = acme.approve(&open, by, id).await;
        assert!(matches!(denied, Err(VaultError::Forbidden | VaultError::NotFound(_))), "{named}: {denied:?}");
    }
    let new = acme.approve(&open, &fresh, id).await;
    assert!(matches!(new, Err(VaultError::NotSecond(NotSecond::New))), "{new:?}");
    let governor = open.caller(&acme.governor).await;
    let by_governor = open.vault.ask_bypass(&governor, &acme.acme.name, &coll("people"), "r".into(), None).await;
    assert!(matches!(by_governor, Err(VaultError::Forbidden)), "{by_governor:?}");
    // Other rules than were asked for.
    acme.acme.set(&open, "people", with_rules(ShredUnit::Subject, &[law("short", "governance", "2y")])).await;
    assert!(matches!(acme.approve(&open, &governor, id).await, Err(VaultError::Conflict(_))), "other rules by now");
    assert_eq!(refused(acme.acme.delete(&open, ("people", "k")).await), (FOUR.into(), Mode::Governance));
    acme.acme.set(&open, "people", with_rules(ShredUnit::Subject, &[brief()])).await;
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    acme.approve(&open, &governor, id).await.unwrap();
    // Each change of rules comes a millisecond behind the one before it, and the bypass behind these.
    clock.advance(MS * 10);
    // Before anything was gone through, the process ends.
    open.close().await;
    let open = place.open().await;
    acme.acme.again(&open).await;
    assert_eq!(run(&open, &clock).await.destroyed, 1, "behind a start it goes all the same");
    let nothing = acme.ask(&open, "people").await;
    assert!(matches!(nothing, Err(VaultError::Unprocessable(Unprocessable::NothingToBypass))), "{nothing:?}");
    let trail = open.trail(&acme.acme.owner, &acme.acme.name, "retention.bypass").await;
    let done: Vec<_> = trail.iter().map(|named| (named.entry.entry.role.name(), named.entry.entry.target.object)).collect();
    assert_eq!(done, [("governor", Some(id.0))], "who has used the permission, and by which request");
    open.close().await;
}

/// An order that a hold has stopped, and a minimum behind it, is given again once that is bypassed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_waits_for_a_governance_minimum_is_given_again_behind_the_bypass() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Governed::make(&open, &place, &clock).await;
    let (owner, name) = (&acme.acme.owner, &acme.acme.name);
    let counsel = open.with_role(owner, name, Role::Counsel).await;
    acme.rules(&open, &[brief()]).await;
    acme.put(&open, ("people", "k"), "7", "v").await.unwrap();
    let placed = open.vault.place_hold(&counsel, name, hold_on("7"), None).await.unwrap();
    let held = open.vault.order_shred(owner, name, ShredOrder::Collection(coll("people")), None, None).await;
    let Err(VaultError::LegalHold { order: Some(order), .. }) = held else { panic!("{held:?}") };
    acme.rules(&open, &[law("books", "governance", "4y")]).await;
    acme.rules(&open, &[brief()]).await;
    open.vault.release_hold(&counsel, name, placed.id, "settled".into(), None).await.unwrap();
    run(&open, &clock).await;
    assert_eq!(open.vault.shred(owner, name, order, None).await.unwrap().state(), "held", "the minimum keeps it back by now");
    acme.bypass(&open, &clock, "people").await.unwrap();
    run(&open, &clock).await;
    let done = open.awaited(owner, name, order).await;
    assert!(done.done, "{done:?}");
    open.close().await;
}

/// Data of before the bypass: without one nothing of it goes before the minimum, with one it is rid of what was over by then, and of nothing that
/// somebody has kept. The order has left the same in it, whatever was bypassed since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_follows_a_bypass_from_its_moment_on_and_not_before() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Governed::make(&open, &place, &clock).await;
    acme.rules(&open, &[law("books", "governance", "4y")]).await;
    acme.acme.set(&open, "all", with_rules(ShredUnit::Collection, &[law("books", "compliance", "4y")])).await;
    for (collection, _) in UNITS {
        for (name, person) in [("k", "7"), ("left", "9")] {
            acme.put(&open, (collection, name), person, "v").await.unwrap();
        }
    }
    open.close().await;
    place.copy("store/data", "before");
    let open = place.open().await;
    acme.acme.again(&open).await;
    acme.rules(&open, &[brief()]).await;
    clock.advance(DAY * 40);
    open.shred_subject(&acme.acme.owner, &acme.acme.name, "9").await;
    clock.advance(DAY);
    open.close().await;
    place.copy("store/data", "between");

    let restore = async |copy: &str, acme: &mut Governed| {
        place.put_back(copy, "store/data");
        let open = place.open().await;
        acme.acme.again(&open).await;
        open.vault.begin_restoring();
        let replayed = open.vault.replay_retention().await.unwrap();
        assert_eq!(replayed.failed, 0, "{copy}: {replayed:?}");
        open.vault.end_restoring();
        (open, replayed.destroyed)
    };
    for copy in ["before", "between"] {
        let (open, destroyed) = restore(copy, &mut acme).await;
        assert_eq!(destroyed, 0, "{copy}: nobody has bypassed anything");
        for (collection, _) in UNITS {
            for name in ["k", "left"] {
                assert!(acme.is_there(&open, (collection, name)).await, "{copy}: {collection}/{name}");
            }
        }
        assert_eq!(left(&open).await, [2, 2, 0], "{copy}");
        open.close().await;
    }
    let open = place.open().await;
    acme.acme.again(&open).await;
    for collection in ["people", "files"] {
        acme.bypass(&open, &clock, collection).await.unwrap();
    }
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 4);
    clock.advance(DAY);
    open.close().await;
    for copy in ["before", "between"] {
        let (open, _) = restore(copy, &mut acme).await;
        for (collection, unit) in UNITS {
            for name in ["k", "left"] {
                let stays = unit == ShredUnit::Collection;
                assert_eq!(acme.is_there(&open, (collection, name)).await, stays, "{copy}: {collection}/{name}");
            }
        }
        assert_eq!(refused(acme.acme.delete(&open, ("all", "k")).await), (FOUR.into(), Mode::Compliance), "{copy}");
        assert_eq!(rows::count(&open.store, Table::KeptUnit).await, 0, "{copy}");
        assert_eq!((contradictions(&open).await, findings(&open).await), (Vec::new(), Vec::new()), "{copy}");
        open.close().await;
    }
}

/// What a record is promised: until when, and by which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Promise {
    until: Timestamp,
    mode: Mode,
}

#[derive(Debug)]
struct Known {
    created: Timestamp,
    date: Timestamp,
    /// Whether an order has left it.
    is_left: bool,
    promises: Vec<Promise>,
}

fn midnight(at: Timestamp) -> i64 {
    at.0.div_euclid(86_400_000) * 86_400_000
}

impl Known {
    /// What some rules promise it, in days of UTC.
    fn promised_by(&self, rules: &[Value]) -> Vec<Promise> {
        let promised = |rule: &Value| {
            let minimum = rule["minimum"].as_object()?;
            let days: i64 = minimum["period"].as_str().unwrap().strip_suffix('d').unwrap().parse().unwrap();
            let from = if rule["from"] == "created" { self.created } else { self.date };
            let mode = if minimum["mode"] == "governance" { Mode::Governance } else { Mode::Compliance };
            Some(Promise { until: Timestamp(midnight(from) + (days + 1) * 86_400_000), mode })
        };
        rules.iter().filter_map(promised).collect()
    }

    /// The one that stands longest at a moment.
    fn stands(&self, now: Timestamp) -> Option<Promise> {
        let longest = self.promises.iter().copied().max_by_key(|promise| (promise.until, promise.mode));
        longest.filter(|promise| promise.until > now)
    }

    fn stands_firm(&self, now: Timestamp) -> bool {
        self.promises.iter().any(|promise| promise.mode == Mode::Compliance && promise.until > now)
    }
}

/// What is known of a store that does whatever comes next.
struct Model {
    rules: Vec<Value>,
    records: BTreeMap<usize, Known>,
}

impl Model {
    /// Other rules: what is there is under these, too.
    fn set(&mut self, rules: Vec<Value>) {
        for known in self.records.values_mut() {
            let promised = known.promised_by(&rules);
            known.promises.extend(promised);
        }
        self.rules = rules;
    }

    /// Only what nobody shortens, and the rules of today, bind what is there from now on.
    fn bypass(&mut self) {
        for known in self.records.values_mut() {
            known.promises.retain(|promise| promise.mode == Mode::Compliance);
            let promised = known.promised_by(&self.rules);
            known.promises.extend(promised);
        }
    }

    /// Of what is gone nothing was promised any more, by whatever hand it went.
    async fn hold(&mut self, open: &Open, acme: &Governed, now: Timestamp, at: &str) -> usize {
        let mut gone = Vec::new();
        for (name, known) in &self.records {
            if !acme.is_there(open, ("c", &name.to_string())).await {
                assert_eq!(known.stands(now), None, "{at}: {name} died early: {known:?}");
                gone.push(*name);
            }
        }
        for name in &gone {
            self.records.remove(name);
        }
        gone.len()
    }

    /// Everything is bypassed under rules that keep nothing: what is there then nobody shortens, and how much that is.
    async fn rid_of_all(mut self, open: &Open, acme: &Governed, clock: &TestClock, unit: ShredUnit) -> usize {
        let last = vec![json!({"name": "last", "from": "created", "maximum": "1d", "then": "delete"})];
        acme.acme.set(open, "c", with_rules(unit, &last)).await;
        self.set(last);
        clock.advance(DAY * 3);
        match acme.bypass(open, clock, "c").await {
            Ok(()) => self.bypass(),
            Err(VaultError::Unprocessable(Unprocessable::NothingToBypass)) => {
                acme.shorten(open, "c").await;
                clock.advance(MS);
            }
            Err(error) => panic!("{error:?}"),
        }
        for _ in 0..2 {
            run(open, clock).await;
        }
        let mut stayed = 0;
        for (name, known) in &self.records {
            let is_there = acme.is_there(open, ("c", &name.to_string())).await;
            assert_eq!(is_there, known.stands(clock.now()).is_some(), "{name}: {known:?}");
            assert_eq!(is_there, known.stands_firm(clock.now()), "{name}: {known:?}");
            stayed += usize::from(is_there);
        }
        stayed
    }
}

/// Rules with minimums of up to sixty days, of either kind, and ends behind all of these.
fn drawn(draw: &mut Draw) -> Vec<Value> {
    (0..=draw.below(3))
        .map(|at| {
            let from = if draw.below(2) == 0 { json!("created") } else { json!({"field": "/date"}) };
            let maximum = format!("{}d", 61 + draw.below(60));
            let mut rule = json!({"name": format!("r{at}"), "from": from, "maximum": maximum, "then": "delete"});
            if draw.below(3) > 0 {
                let mode = if draw.below(2) == 0 { "governance" } else { "compliance" };
                rule["minimum"] = json!({"period": format!("{}d", 1 + draw.below(60)), "basis": "law", "mode": mode});
            }
            rule
        })
        .collect()
}

/// Whatever comes in whatever order: no path destroys before a minimum that nobody shortens, nor before one of the governance kind that was not
/// bypassed; what is refused is refused by the longest of them; and behind a bypass all goes that the other kind does not keep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_whatever_order_nothing_goes_before_what_binds_it_and_behind_a_bypass_all_goes_that_nothing_binds() {
    let (mut refusals, mut by_governance, mut bypasses, mut went, mut was_left, mut stayed) = (0, 0, 0, 0, 0, 0);
    for seed in 0..12_u64 {
        let (place, clock) = place().await;
        let mut open = place.open().await;
        let mut acme = Governed::make(&open, &place, &clock).await;
        let unit = [ShredUnit::Subject, ShredUnit::Record, ShredUnit::Collection][usize::try_from(seed % 3).unwrap()];
        let mut draw = Draw(seed + 7);
        let rules = drawn(&mut draw);
        acme.acme.set(&open, "c", with_rules(unit, &rules)).await;
        let mut model = Model { rules, records: BTreeMap::new() };
        for step in 0..120 {
            let (at, now) = (format!("seed {seed}, step {step}"), clock.now());
            let name = draw.place(9);
            let (text, person) = (name.to_string(), format!("p{}", name % 3));
            match draw.below(12) {
                0..4 => {
                    let date = Timestamp(now.0 - i64::try_from(draw.below(20)).unwrap() * 86_400_000);
                    let value = json!({"date": date.to_rfc3339()[..10]}).to_string();
                    match acme.put(&open, ("c", &text), &person, &value).await {
                        Ok(()) => {
                            let before = model.records.remove(&name);
                            assert!(before.as_ref().is_none_or(|known| !known.is_left), "{at}: what an order left is not overwritten");
                            let created = before.as_ref().map_or(now, |known| known.created);
                            let promises = before.map(|known| known.promises).unwrap_or_default();
                            let mut known = Known { created, date, is_left: false, promises };
                            let promised = known.promised_by(&model.rules);
                            known.promises.extend(promised);
                            model.records.insert(name, known);
                        }
                        Err(VaultError::Unprocessable(_)) => {}
                        Err(error) => assert!(model.records[&name].is_left, "{at}: {error:?}"),
                    }
                }
                4 => {
                    let rules = drawn(&mut draw);
                    acme.acme.set(&open, "c", with_rules(unit, &rules)).await;
                    model.set(rules);
                }
                5 => match acme.bypass(&open, &clock, "c").await {
                    Ok(()) => {
                        model.bypass();
                        bypasses += 1;
                    }
                    Err(VaultError::Unprocessable(Unprocessable::NothingToBypass)) => {}
                    Err(error) => panic!("{at}: {error:?}"),
                },
                6..8 => {
                    let deleted = acme.acme.delete(&open, ("c", &text)).await;
                    match (deleted, model.records.get(&name).map(|known| (known.is_left, known.stands(now)))) {
                        (Err(VaultError::NotFound(_)), None) | (Err(VaultError::Shredded { .. }), Some((true, _)) | None) => {}
                        (Ok(()), Some((false, None))) => drop(model.records.remove(&name)),
                        (Err(VaultError::LegalMinimum { law: Some(law), .. }), Some((false, Some(promise)))) => {
                            assert_eq!((law.until, law.mode), (Some(promise.until), promise.mode), "{at}: {:?}", model.records[&name]);
                            refusals += 1;
                            by_governance += usize::from(promise.mode == Mode::Governance);
                        }
                        (deleted, expected) => panic!("{at}: {deleted:?}, not {expected:?}"),
                    }
                }
                8 => {
                    open.shred_subject(&acme.acme.owner, &acme.acme.name, &person).await;
                    went += model.hold(&open, &acme, now, &at).await;
                    for (_, known) in model.records.iter_mut().filter(|(of, _)| **of % 3 == name % 3) {
                        known.is_left = true;
                        was_left += 1;
                    }
                }
                9 if step % 4 == 0 => {
                    open.close().await;
                    open = place.open().await;
                    acme.acme.again(&open).await;
                }
                _ => {
                    clock.advance(Duration::from_millis(draw.below(12 * 86_400_000)));
                    run(&open, &clock).await;
                    went += model.hold(&open, &acme, clock.now(), &at).await;
                }
            }
        }
        stayed += model.rid_of_all(&open, &acme, &clock, unit).await;
        assert_eq!(findings(&open).await, Vec::<String>::new(), "seed {seed}");
        open.close().await;
    }
    let told =
        format!("{refusals} refusals, {by_governance} by governance, {bypasses} bypasses, {went} gone, {was_left} left, {stayed} stay");
    assert!(refusals > 20 && by_governance > 5 && bypasses > 10 && went > 20 && was_left > 5 && stayed > 0, "{told}");
}
