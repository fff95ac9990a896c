//! A tenant's states against everything that goes on at the same time: what is answered holds, whoever was faster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use lethe::{
    authn::Role,
    domain::{
        ApprovalId, Clock as _, HoldId, ShredId, ShredUnit, TenantName, TenantNo, TestClock,
        approval::{ApprovalRules, ShredScope},
        hold::{HoldScope, HoldText, NewHold},
        lifecycle::TenantState,
    },
    jobs::Retention,
    vault::{
        ops::{
            ApprovalView, ApprovalWhat, BatchOp, Caller, Conflict, GetRecord, ListQuery, NewAlias, NotSecond, PolicyChange, Precondition,
            PutRecord, Released, ShredOrder, Terminated, Value, VaultError,
        },
        store::{
            Commit, Space, StoreError, Write,
            schema::{self, Table},
        },
    },
};

use serde_json::json;

use crate::{
    harness::{
        Open, Place, alias_of, certificate, coll, contradictions, end_of, filed_under, findings, hold_of, is_shredded, key, person, put_of,
        put_op, subject, until,
    },
    kept::{lawful, left},
    meddling::sets,
    retention::{DAY, one_rule, place, policy, run},
    rows,
};

mod laws;

/// Who asks with a token, for a purpose.
async fn asking(open: &Open, token: &str, purpose: Option<&str>) -> Caller {
    let mut caller = open.caller(token).await;
    caller.purpose = purpose.map(str::to_owned);
    caller
}

/// A tenant with a collection whose unit is the record; its owner, and the operator.
struct Acme {
    name: TenantName,
    owner: Caller,
    operator: Caller,
}

impl Acme {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, _) = open.tenant(place, "acme").await;
        open.collection(&owner, &name, "files", ShredUnit::Record).await;
        Self { name, owner, operator: open.caller(&place.operator).await }
    }

    async fn suspend(&self, open: &Open) -> Result<(), VaultError> {
        open.vault.suspend_tenant(&self.operator, &self.name, "a test".into(), None).await.map(drop)
    }

    async fn resume(&self, open: &Open) {
        open.vault.resume_tenant(&self.operator, &self.name, "a test".into(), None).await.unwrap();
    }

    async fn terminate(&self, open: &Open, grace: &str) -> Result<(), VaultError> {
        self.ordered(open, grace, None).await.map(drop)
    }

    async fn ordered(&self, open: &Open, grace: &str, key: Option<&str>) -> Result<Terminated, VaultError> {
        open.vault.terminate_tenant(&self.owner, &self.name, end_of(self.name.as_str(), grace), key.map(str::to_owned)).await
    }

    /// An end that waits for a second owner.
    async fn asked(&self, open: &Open, grace: &str, key: Option<&str>) -> ApprovalView {
        match self.ordered(open, grace, key).await.unwrap() {
            Terminated::Asked(view) => *view,
            Terminated::Now(view) => panic!("one owner was enough: {view:?}"),
        }
    }

    async fn approve(&self, open: &Open, second: &Caller, id: ApprovalId) -> Result<(), VaultError> {
        open.approve(second, &self.name, id).await
    }

    /// A request's state.
    async fn of(&self, open: &Open, id: ApprovalId) -> &'static str {
        open.vault.approval(&self.owner, &self.name, id).await.unwrap().state
    }

    async fn is_in(&self, open: &Open, state: &str) -> bool {
        open.vault.tenant(&self.owner, &self.name).await.is_ok_and(|view| view.state == state)
    }

    /// A collection in which a law keeps what is of one category.
    async fn under_law(&self, open: &Open, collection: &str, unit: ShredUnit) {
        open.vault.put_collection(&self.owner, &self.name, &coll(collection), lawful(unit, "4y"), None).await.unwrap();
    }

    /// A record there.
    async fn book(&self, open: &Open, at: (&str, &str), person: &str, category: &str) -> Result<(), VaultError> {
        let put = PutRecord { custom: filed_under(Some(category)), ..put_of(Some(person), b"v") };
        open.vault.put_record(&self.owner, &self.name, &coll(at.0), key(at.1), put).await.map(drop)
    }

    /// Waits for the only order to shred that there is.
    async fn ended(&self, open: &Open) {
        let orders = rows::orders(&open.store, Table::ShredOrder).await;
        assert_eq!(orders.len(), 1);
        assert!(open.awaited(&self.owner, &self.name, orders[0]).await.done);
    }

    async fn put(&self, open: &Open, name: &str) -> Result<(), VaultError> {
        open.put(&self.owner, &self.name, ("files", name), Some("7"), b"v").await.map(drop)
    }
}

/// A tenant with a record about each of two persons in a collection of each unit, a third record of the first one's, a collection about the
/// second alone, and records of both by other ids that they have; its auditor and counsel, who has placed a hold on the first. One of
/// that person's ids came behind the hold.
struct Held {
    acme: Acme,
    tokens: [String; 3],
    auditor: Caller,
    counsel: Caller,
    hold: HoldId,
}

/// Collection, key, and whom it is about.
type At = (&'static str, &'static str, &'static str);

const HELD: [At; 8] = [
    ("people", "7", "7"),
    ("people", "7/more", "7"),
    ("people", "7/large", "7"),
    ("all", "7", "7"),
    ("notes", "7", "7"),
    ("people", "seven", "seven"),
    ("notes", "seven", "seven"),
    ("people", "sieben", "sieben"),
];
const UNHELD: [At; 6] = [
    ("people", "8", "8"),
    ("all", "8", "8"),
    ("notes", "8", "8"),
    ("others", "8", "8"),
    ("people", "8/large", "8"),
    ("people", "acht", "acht"),
];

/// The value under a key: one that is sent part by part, or a short one.
fn value_of(key: &str) -> Vec<u8> {
    if key.ends_with("large") { vec![8; 200_000] } else { b"v".to_vec() }
}

impl Held {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, token) = open.tenant(place, "acme").await;
        for (collection, unit) in
            [("people", ShredUnit::Subject), ("others", ShredUnit::Subject), ("all", ShredUnit::Collection), ("notes", ShredUnit::Record)]
        {
            open.collection(&owner, &name, collection, unit).await;
        }
        for (collection, key, person) in HELD.into_iter().chain(UNHELD) {
            open.put(&owner, &name, (collection, key), Some(person), &value_of(key)).await.unwrap();
        }
        open.add_alias(&owner, &name, "7", "seven").await;
        open.add_alias(&owner, &name, "8", "acht").await;
        let (auditor, _) = open.token(&owner, &name, Role::Auditor).await;
        let (counsel, _) = open.token(&owner, &name, Role::Counsel).await;
        let tokens = [token, auditor, counsel];
        let [auditor, counsel] = [open.caller(&tokens[1]).await, open.caller(&tokens[2]).await];
        let hold = place_hold(open, &counsel, &name, HoldScope::Subjects(vec![subject("7")])).await.unwrap();
        open.add_alias(&owner, &name, "7", "sieben").await;
        let acme = Acme { name, owner, operator: open.caller(&place.operator).await };
        Self { acme, tokens, auditor, counsel, hold }
    }

    /// Ends it, as far as a hold lets it, while it is suspended.
    async fn end(&self, open: &Open, clock: &TestClock) {
        self.acme.suspend(open).await.unwrap();
        self.acme.terminate(open, "0d").await.unwrap();
        run(open, clock).await;
        self.is_in_state(open, "restricted").await;
        for id in rows::orders(&open.store, Table::ShredOrder).await {
            let view = open.awaited(&self.acme.owner, &self.acme.name, id).await;
            assert_eq!((view.done, view.held), if view.scope == "rest" { (true, false) } else { (false, true) }, "{view:?}");
        }
    }

    async fn is_in_state(&self, open: &Open, state: &str) {
        until(state, async || self.acme.is_in(open, state).await).await;
    }

    /// Only what is held is there, and only for the auditor.
    async fn is_kept_in_part(&self, open: &Open) {
        let Acme { name, owner, .. } = &self.acme;
        for (collection, key, _) in HELD {
            assert!(open.get(&self.auditor, name, (collection, key)).await.unwrap() == value_of(key), "{collection} {key}");
            assert!(is_stopped(&open.get(owner, name, (collection, key)).await), "{collection} {key}: not the owner's any more");
        }
        for (collection, key, _) in UNHELD {
            let got = open.get(&self.auditor, name, (collection, key)).await;
            assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{collection} {key}: {got:?}");
        }
        // By each id of the person who is held all of the person's; the ids of nobody else are told any more.
        let kept: BTreeSet<&str> = HELD.iter().filter(|(collection, ..)| *collection == "people").map(|(_, key, _)| *key).collect();
        for (id, theirs) in [("7", &kept), ("seven", &kept), ("sieben", &kept), ("8", &BTreeSet::new()), ("acht", &BTreeSet::new())] {
            let query = ListQuery { subject: Some(subject(id)), limit: 100, ..ListQuery::default() };
            let page = open.vault.list(&self.auditor, name, &coll("people"), query).await.unwrap();
            let listed: BTreeSet<&str> = page.items.iter().map(|item| item.meta.key.as_str()).collect();
            assert_eq!(&listed, theirs, "of {id}");
        }
        assert_eq!(rows::count(&open.store, Table::Alias).await, 3, "the rows of the ids of who is held");
        assert!(is_stopped(&open.vault.person_ids(owner, name, &subject("7")).await));
        assert!(is_shredded(&open.get(&self.auditor, name, ("others", "8")).await), "nothing is kept of that collection");
        assert!(is_stopped(&open.put(owner, name, ("people", "9"), Some("9"), b"v").await));
        let shown = open.vault.hold(&self.counsel, name, self.hold).await.unwrap();
        assert_eq!((shown.state, shown.covers), ("active", Some((HELD.len() as u64, false))));
    }
}

async fn place_hold(open: &Open, counsel: &Caller, tenant: &TenantName, scope: HoldScope) -> Result<HoldId, VaultError> {
    open.vault.place_hold(counsel, tenant, hold_of(scope), None).await.map(|view| view.id)
}

fn is_stopped(result: &Result<impl std::fmt::Debug, VaultError>) -> bool {
    match result {
        Err(VaultError::TenantState(_)) => true,
        Err(VaultError::Batch { source, .. }) => matches!(**source, VaultError::TenantState(_)),
        _ => false,
    }
}

/// Who has read the tenant's row before a step is answered changes nothing behind it: on every path that writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_planned_before_a_suspension_is_not_written_behind_it() {
    let (place, _) = place().await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    for path in ["put", "overwrite", "delete", "batch", "policy", "token", "shred", "terminate"] {
        if ["overwrite", "delete", "batch"].contains(&path) {
            acme.put(&open, path).await.unwrap();
        }
        // All that it is to write, on its way to the engine.
        let held = place.meddler.hold_commit(|commit| !commit.writes.is_empty());
        let writing = {
            let (open, acme) = (open.clone(), acme.clone());
            async move {
                let (vault, owner, name) = (&open.vault, &acme.owner, &acme.name);
                match path {
                    "put" | "overwrite" => acme.put(&open, path).await,
                    "delete" => open.delete(owner, name, ("files", path)).await,
                    "batch" => {
                        let delete = BatchOp::Delete { collection: coll("files"), key: key(path), precondition: Precondition::None };
                        vault.batch(owner, name, vec![delete], None).await.map(drop)
                    }
                    "policy" => {
                        let others = lethe::domain::CollectionPolicy::default();
                        vault.put_collection(owner, name, &coll("others"), others, None).await.map(drop)
                    }
                    "token" => {
                        let mint = lethe::vault::ops::MintToken {
                            role: Role::Reader,
                            kind: lethe::authn::TokenKind::Service,
                            narrowing: lethe::authn::Narrowing::default(),
                            expires_at: None,
                        };
                        vault.create_token(owner, name, mint, None).await.map(drop)
                    }
                    "shred" => vault.order_shred(owner, name, ShredOrder::Collection(coll("files")), None, None).await.map(drop),
                    // The one that a suspension leaves.
                    _ => acme.terminate(&open, "30d").await,
                }
            }
        };
        let writing = tokio_util::task::TaskTracker::new().spawn(writing);
        held.has_read().await;
        acme.suspend(&open).await.unwrap();
        held.let_go();
        let written = writing.await.unwrap();
        if path == "terminate" {
            written.unwrap();
            let view = open.vault.tenant(&acme.owner, &acme.name).await.unwrap();
            assert_eq!(view.state, TenantState::TerminatingSuspended.name());
        } else {
            assert!(is_stopped(&written), "{path}: {written:?}");
            acme.resume(&open).await;
            let there = open.get(&acme.owner, &acme.name, ("files", path)).await;
            assert_eq!(there.is_ok(), ["overwrite", "delete", "batch"].contains(&path), "{path}: {there:?}");
        }
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// Nor is anything carried out behind a suspension that a second person was about to approve: it waits on, and is approved when the tenant
/// goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_about_to_be_approved_before_a_suspension_is_not_carried_out_behind_it() {
    for path in ["shred", "shred that a hold stops", "looser policy", "shortening"] {
        let (place, clock) = place().await;
        let open = Arc::new(place.open().await);
        let acme = Arc::new(Acme::make(&open, &place).await);
        acme.put(&open, "a").await.unwrap();
        let brief = policy(ShredUnit::Record, "UTC", &one_rule(&json!("created"), "100d"));
        open.vault.put_collection(&acme.owner, &acme.name, &coll("brief"), brief, None).await.unwrap();
        let second = open.ask_for_two(&acme.owner, &acme.name, ShredScope::Record).await;
        // For a shortening a second person is who was there before.
        clock.advance(DAY * 8);
        let id = match path {
            "looser policy" => match open.vault.put_policy(&acme.owner, &acme.name, ApprovalRules::default(), None).await.unwrap() {
                PolicyChange::Asked(asked) => asked.id,
                now @ PolicyChange::Now(_) => panic!("one owner was enough: {now:?}"),
            },
            "shortening" => open.vault.ask_shortening(&acme.owner, &acme.name, &coll("brief"), None).await.unwrap().id,
            _ => {
                let order = ShredOrder::Record { collection: coll("files"), key: key("a") };
                ApprovalId(open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap().id.0)
            }
        };
        if path == "shred that a hold stops" {
            let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
            place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("7")])).await.unwrap();
        }
        let held = place.meddler.hold_commit(|commit| sets(commit, Table::Approval, |_, _| true));
        let approving = {
            let (open, acme, second) = (open.clone(), acme.clone(), second.clone());
            async move { acme.approve(&open, &second, id).await }
        };
        let approving = tokio_util::task::TaskTracker::new().spawn(approving);
        held.has_read().await;
        acme.suspend(&open).await.unwrap();
        held.let_go();
        let approved = approving.await.unwrap();
        assert!(is_stopped(&approved), "{path}: {approved:?}");
        assert_eq!(acme.of(&open, id).await, "pending", "{path}");
        acme.resume(&open).await;
        acme.approve(&open, &second, id).await.unwrap();
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{path}");
        Arc::into_inner(open).unwrap().close().await;
    }
}

/// Reads and writes at the same time as a suspension: none that begins behind its answer is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_begins_behind_a_suspension_is_answered_until_it_ends() {
    let (place, _) = place().await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    acme.put(&open, "a").await.unwrap();
    for round in 0..24_usize {
        let tasks = tokio_util::task::TaskTracker::new();
        let busy: Vec<_> = (0..6)
            .map(|task| {
                let (open, acme) = (open.clone(), acme.clone());
                tasks.spawn(async move {
                    for number in 0..round % 8 {
                        if task % 2 == 0 {
                            drop(open.get(&acme.owner, &acme.name, ("files", "a")).await);
                        } else {
                            drop(acme.put(&open, &format!("{task}/{number}")).await);
                        }
                    }
                })
            })
            .collect();
        for _ in 0..round * 10 {
            tokio::task::yield_now().await;
        }
        acme.suspend(&open).await.unwrap();
        assert!(is_stopped(&open.get(&acme.owner, &acme.name, ("files", "a")).await), "round {round}");
        assert!(is_stopped(&acme.put(&open, "a").await), "round {round}");
        for task in busy {
            task.await.unwrap();
        }
        assert!(is_stopped(&open.get(&acme.owner, &acme.name, ("files", "a")).await), "round {round}: nobody brings the old state back");
        acme.resume(&open).await;
        acme.put(&open, "a").await.unwrap();
    }
    Arc::into_inner(open).unwrap().close().await;
}

/// A value that is being sent ends at its next part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_being_sent_is_cut_off_by_a_suspension() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let put = put_of(Some("7"), &vec![7; 1_000_000]);
    open.vault.put_record(&acme.owner, &acme.name, &coll("files"), key("large"), put).await.unwrap();
    let got = open.vault.get_record(&acme.owner, &acme.name, &coll("files"), &key("large"), GetRecord::default()).await.unwrap();
    let Value::Stream(mut parts) = got.value else { panic!("it is sent part by part") };
    assert!(parts.next().await.unwrap().is_ok());
    acme.suspend(&open).await.unwrap();
    let mut rest = Vec::new();
    while let Some(part) = parts.next().await {
        rest.push(part.map(drop));
    }
    assert!(matches!(rest.as_slice(), [Err(VaultError::TenantState(TenantState::Suspended))]), "{rest:?}");
    acme.resume(&open).await;
    assert_eq!(open.get(&acme.owner, &acme.name, ("files", "large")).await.unwrap().len(), 1_000_000);
    open.close().await;
}

/// So it is by every state that leaves the reading to its reader no more, whether it comes by a step or by the clock; and goes on to whom it
/// is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_being_sent_ends_with_the_state_that_leaves_it_to_its_reader() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let reader = open.with_role(&acme.owner, &acme.name, Role::Reader).await;
    let put = put_of(Some("7"), &vec![7; 400_000]);
    open.vault.put_record(&acme.owner, &acme.name, &coll("files"), key("large"), put).await.unwrap();
    let begun = async |caller: &Caller| {
        let got = open.vault.get_record(caller, &acme.name, &coll("files"), &key("large"), GetRecord::default()).await.unwrap();
        let Value::Stream(mut parts) = got.value else { panic!("it is sent part by part") };
        assert!(parts.next().await.unwrap().is_ok());
        parts
    };
    let [mut readers, mut owners] = [begun(&reader).await, begun(&acme.owner).await];
    acme.terminate(&open, "30d").await.unwrap();
    let cut = readers.next().await.unwrap();
    assert!(matches!(cut, Err(VaultError::TenantState(TenantState::Terminating))), "{cut:?}");
    assert!(readers.next().await.is_none());
    assert!(owners.next().await.unwrap().is_ok(), "to take the data along");
    clock.advance(DAY * 40);
    let cut = owners.next().await.unwrap();
    assert!(matches!(cut, Err(VaultError::TenantState(TenantState::Ended))), "{cut:?}");
    open.close().await;
}

/// A clock that goes back behind the end of a grace takes nothing back, and a restart forgets no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grace_that_is_over_stays_over_whatever_the_clock_and_a_restart_say() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, "a").await.unwrap();
    acme.terminate(&open, "2d").await.unwrap();
    open.close().await;

    let open = place.open().await;
    clock.advance(DAY);
    run(&open, &clock).await;
    assert_eq!(open.vault.tenant(&acme.owner, &acme.name).await.unwrap().state, "terminating");
    open.get(&acme.owner, &acme.name, ("files", "a")).await.unwrap();
    clock.advance(DAY * 2);
    // The grace is found to be over, and the order cannot be given for now.
    place.meddler.refuse(|commit| {
        let orders = |write: &Write| matches!(write, Write::Put { key, .. } if key.first() == Some(&(Table::ShredOrder as u8)));
        commit.writes.iter().any(orders).then_some(lethe::vault::store::StoreError::DiskFull)
    });
    let failed = Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await;
    assert!(matches!(failed, Err(VaultError::DiskFull)), "{failed:?}");
    place.meddler.refuse_nothing();
    clock.go_back(DAY * 3);
    assert_eq!(open.vault.tenant(&acme.owner, &acme.name).await.unwrap().state, "ended");
    let cancelled = open.vault.cancel_termination(&acme.owner, &acme.name, None, None).await;
    assert!(matches!(cancelled, Err(VaultError::Conflict(lethe::vault::ops::Conflict::TenantState))), "{cancelled:?}");
    assert!(is_stopped(&open.get(&acme.owner, &acme.name, ("files", "a")).await));
    open.close().await;

    let open = place.open().await;
    clock.advance(DAY * 4);
    run(&open, &clock).await;
    assert!(is_shredded(&open.get(&acme.owner, &acme.name, ("files", "a")).await));
    acme.ended(&open).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Nor does a clock that goes back before any run has found the grace to be over: whoever was told so first has written it down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_anybody_was_told_of_is_not_taken_back_by_a_clock_that_goes_back() {
    for told in ["state", "record", "write", "cancel"] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        acme.put(&open, "a").await.unwrap();
        acme.terminate(&open, "2d").await.unwrap();
        clock.advance(DAY * 3);
        match told {
            "state" => assert!(acme.is_in(&open, "ended").await),
            "record" => assert!(is_stopped(&open.get(&acme.owner, &acme.name, ("files", "a")).await)),
            "write" => assert!(is_stopped(&acme.put(&open, "a").await)),
            _ => assert!(open.vault.cancel_termination(&acme.owner, &acme.name, None, None).await.is_err()),
        }
        clock.go_back(DAY * 3);
        assert!(acme.is_in(&open, "ended").await, "{told}");
        let cancelled = open.vault.cancel_termination(&acme.owner, &acme.name, None, None).await;
        assert!(matches!(cancelled, Err(VaultError::Conflict(Conflict::TenantState))), "{told}: {cancelled:?}");
        let (changes, _) = open.vault.state_changes(&acme.owner, &acme.name, None, 10).await.unwrap();
        assert_eq!(changes.iter().filter(|change| change.step == "grace-over").count(), 1, "{told}: {changes:?}");
        clock.advance(DAY * 3);
        run(&open, &clock).await;
        acme.ended(&open).await;
        assert!(is_shredded(&open.get(&acme.owner, &acme.name, ("files", "a")).await), "{told}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{told}");
        open.close().await;
    }
}

/// The check of a store at rest finds an end that nobody would bring about, and a row that leads to no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_of_an_end_is_found_and_a_stray_one_ends_nobody() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, "a").await.unwrap();
    acme.terminate(&open, "30d").await.unwrap();
    assert_eq!(findings(&open).await, Vec::<String>::new());
    let row = rows::table(&open.store, Table::TenantEnd).await.remove(0);
    rows::set(&open.store, Space::Control, &row.key, None).await;
    let found = findings(&open).await;
    assert!(found.iter().any(|finding| finding.contains("nothing ends it in its time")), "{found:?}");
    // Sooner than the tenant's own row says, and of a tenant that is not.
    for key in [schema::tenant_end(0, TenantNo(1)), schema::tenant_end(0, TenantNo(77))] {
        rows::set(&open.store, Space::Control, &key, Some(bytes::Bytes::new())).await;
        let found = findings(&open).await;
        assert!(found.iter().any(|finding| finding.contains("no such end is ordered")), "{found:?}");
        run(&open, &clock).await;
        open.get(&acme.owner, &acme.name, ("files", "a")).await.unwrap();
        rows::set(&open.store, Space::Control, &key, None).await;
    }
    rows::set(&open.store, Space::Control, &row.key, Some(row.value)).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What a hold is on outlives the end of its tenant; everything else goes at once, with a certificate that says so, and the last
/// release ends the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_of_which_something_is_held_ends_in_part_and_wholly_with_the_last_release() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut held = Held::make(&open, &place).await;
    let second = place_hold(&open, &held.counsel, &held.acme.name, HoldScope::Records(vec![(coll("all"), key("7"))])).await.unwrap();
    held.end(&open, &clock).await;
    held.is_kept_in_part(&open).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    // What the keys of what is held sealed besides was deleted, and counted: the other record of the collection by collection.
    let certificates = rows::orders(&open.store, Table::Certificate).await;
    assert_eq!(certificates.len(), 1);
    let rest = certificates[0];
    let said = certificate(&open, rest).await;
    assert_eq!(said["scope"], "rest", "{said:#}");
    assert_eq!(said["totals"]["records_deleted"], 1, "{said:#}");
    assert_eq!(said["verification"]["readable_after"], 0);
    // No row of the others is left, of a large value least of all: those of the one that is held are four.
    for (space, rows) in [(Space::Records, HELD.len()), (Space::Blobs, 4)] {
        assert_eq!(rows::all(&open.store, space).await.len(), rows, "{space:?}");
    }
    open.close().await;

    // A restart, and another hold, on what is still there.
    let open = place.open().await;
    held.acme.owner = open.caller(&held.tokens[0]).await;
    [held.auditor, held.counsel] = [open.caller(&held.tokens[1]).await, open.caller(&held.tokens[2]).await];
    held.is_kept_in_part(&open).await;
    run(&open, &clock).await;
    for hold in [held.hold, second] {
        assert_eq!(open.vault.tenant(&held.acme.owner, &held.acme.name).await.unwrap().state, "restricted");
        open.get(&held.auditor, &held.acme.name, ("all", "7")).await.unwrap();
        open.vault.release_hold(&held.counsel, &held.acme.name, hold, "settled".into(), None).await.unwrap();
        run(&open, &clock).await;
    }
    assert!(is_shredded(&open.get(&held.acme.owner, &held.acme.name, ("all", "7")).await));
    let orders = rows::orders(&open.store, Table::ShredOrder).await;
    assert_eq!(orders.len(), 2);
    for id in orders {
        let view = open.awaited(&held.acme.owner, &held.acme.name, id).await;
        assert!(view.done, "{view:?}");
        let said = certificate(&open, id).await;
        assert_eq!(said["scope"], if id == rest { "rest" } else { "tenant" });
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Older data that is put back under a tenant which ended in part gives back what is held, and nothing else, whatever holds were placed
/// since; and the proof is told of anything else that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_of_a_tenant_that_ended_in_part_gives_back_what_is_held_alone() {
    for held_since in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut held = Held::make(&open, &place).await;
        let then = rows::all(&open.store, Space::Records).await;
        open.close().await;
        place.copy("store/data", "older");
        let open = place.open().await;
        held.acme.owner = open.caller(&held.tokens[0]).await;
        held.counsel = open.caller(&held.tokens[2]).await;
        held.end(&open, &clock).await;
        if held_since {
            place_hold(&open, &held.counsel, &held.acme.name, HoldScope::Tenant).await.unwrap();
        }
        open.close().await;
        place.put_back("older", "store/data");
        let open = place.open().await;
        held.acme.owner = open.caller(&held.tokens[0]).await;
        [held.auditor, held.counsel] = [open.caller(&held.tokens[1]).await, open.caller(&held.tokens[2]).await];
        held.is_kept_in_part(&open).await;
        let proof = open.vault.prove_shreds(1).await.unwrap();
        assert_eq!((proof.findings, proof.readable), (Vec::<String>::new(), HELD.len() as u64), "held since: {held_since}");
        // Of what a hand puts back one has a key that stayed.
        for row in then {
            rows::set(&open.store, Space::Records, &row.key, Some(row.value)).await;
        }
        let findings = contradictions(&open).await;
        assert!(findings.len() == 1 && findings[0].contains("deleted is there"), "held since: {held_since}: {findings:?}");
        open.close().await;
    }
}

/// Nor does older data give back, under an id that a held person was given later, what was over and gone before that: the hold has not
/// found it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_over_before_a_held_person_was_given_its_id_is_not_given_back_by_older_data() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (name, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &name, "people", ShredUnit::Subject).await;
    for (record, person, ends) in [("kept", "7", false), ("over", "ann", true)] {
        let put = PutRecord { expires_at: ends.then(|| clock.now().plus(DAY)), ..put_of(Some(person), b"v") };
        open.vault.put_record(&owner, &name, &coll("people"), key(record), put).await.unwrap();
    }
    let (auditor, _) = open.token(&owner, &name, Role::Auditor).await;
    let counsel = open.with_role(&owner, &name, Role::Counsel).await;
    place_hold(&open, &counsel, &name, HoldScope::Subjects(vec![subject("7")])).await.unwrap();
    open.close().await;
    place.copy("store/data", "older");

    let open = place.open().await;
    clock.advance(DAY * 2);
    run(&open, &clock).await;
    let ann = NewAlias { with_records: false, ..alias_of("7", "ann") };
    open.vault.add_alias(&owner, &name, ann, None).await.unwrap();
    clock.advance(DAY);
    open.vault.terminate_tenant(&owner, &name, end_of("acme", "0d"), None).await.unwrap();
    run(&open, &clock).await;
    let auditing = open.caller(&auditor).await;
    until("what is held is there", async || open.get(&auditing, &name, ("people", "kept")).await.is_ok()).await;
    open.close().await;

    place.put_back("older", "store/data");
    let open = place.open_idle().await;
    open.vault.begin_restoring();
    open.vault.replay_retention().await.unwrap();
    open.close().await;
    let open = place.open().await;
    let auditor = open.caller(&auditor).await;
    assert_eq!(open.get(&auditor, &name, ("people", "kept")).await.unwrap(), b"v");
    let got = open.get(&auditor, &name, ("people", "over")).await;
    assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{got:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    assert_eq!(contradictions(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What was erased or over before a tenant ended in part does not come back by older data that is put back while that is under way: what is
/// held is there again when it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_gone_before_an_end_in_part_does_not_come_back_while_that_is_under_way() {
    for stuck in [Table::RootPtr, Table::Certificate] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (name, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &name, "all", ShredUnit::Collection).await;
        for (record, person, ends) in [("kept", "7", false), ("erased", "8", false), ("over", "9", true)] {
            let put = PutRecord { expires_at: ends.then(|| clock.now().plus(DAY)), ..put_of(Some(person), b"v") };
            open.vault.put_record(&owner, &name, &coll("all"), key(record), put).await.unwrap();
        }
        let (auditor, _) = open.token(&owner, &name, Role::Auditor).await;
        let (counsel, _) = open.token(&owner, &name, Role::Counsel).await;
        open.close().await;
        place.copy("store/data", "older");

        let open = place.open_meddled().await;
        open.shred_subject(&owner, &name, "8").await;
        clock.advance(DAY * 2);
        run(&open, &clock).await;
        place_hold(&open, &open.caller(&counsel).await, &name, HoldScope::Collection(coll("all"))).await.unwrap();
        let epoch = open.forest.epoch();
        place.meddler.refuse(move |commit| sets(commit, stuck, |_, _| true).then_some(StoreError::DiskFull));
        open.vault.terminate_tenant(&owner, &name, end_of("acme", "0d"), None).await.unwrap();
        run(&open, &clock).await;
        if stuck == Table::Certificate {
            until("the keys of the rest are gone", async || open.forest.epoch() != epoch).await;
        }
        assert!(is_shredded(&open.get(&owner, &name, ("all", "kept")).await), "{stuck:?}: 410 until it is done");
        open.close().await;

        place.put_back("older", "store/data");
        let open = place.open_idle().await;
        open.vault.begin_restoring();
        assert_eq!(open.vault.replay_retention().await.unwrap().destroyed, 1, "{stuck:?}");
        open.close().await;
        place.meddler.refuse_nothing();
        let open = place.open().await;
        let auditor = open.caller(&auditor).await;
        until("what is held is there", async || open.get(&auditor, &name, ("all", "kept")).await.is_ok()).await;
        for gone in ["erased", "over"] {
            let got = open.get(&auditor, &name, ("all", gone)).await;
            assert!(matches!(got, Err(VaultError::NotFound(_))), "{stuck:?}, {gone}: {got:?}");
        }
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{stuck:?}");
        assert_eq!(contradictions(&open).await, Vec::<String>::new(), "{stuck:?}");
        open.close().await;
    }
}

/// A hold whose time is over while the rest of its tenant goes keeps nothing any more: the whole tenant follows by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_ends_by_itself_while_the_rest_goes_lets_all_of_it_go() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, "a").await.unwrap();
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    let text = HoldText {
        matter: "M-2".into(),
        reason: "an inquiry".into(),
        custodian: "legal".into(),
        case_number: Some("17 Js 4".into()),
        renewal_reason: None,
        release_reason: None,
    };
    let hold = NewHold { text, scope: HoldScope::Subjects(vec![subject("7")]), disclosed: false, law_enforcement: true };
    open.vault.place_hold(&counsel, &acme.name, hold, None).await.unwrap();
    let epoch = open.forest.epoch();
    place.meddler.refuse(|commit| sets(commit, Table::Certificate, |_, _| true).then_some(StoreError::DiskFull));
    acme.terminate(&open, "0d").await.unwrap();
    run(&open, &clock).await;
    until("the keys of the rest are gone", async || open.forest.epoch() != epoch).await;
    clock.advance(DAY * 91);
    run(&open, &clock).await;
    place.meddler.refuse_nothing();
    let both = async || {
        run(&open, &clock).await;
        rows::count(&open.store, Table::Certificate).await == 2
    };
    until("the rest has its certificate, and then all of it", both).await;
    assert!(is_shredded(&open.get(&acme.owner, &acme.name, ("files", "a")).await));
    open.close().await;
}

/// A tenant with so many records in a collection under one key, of which the first is held.
async fn one_of_many(open: &Open, place: &Place, many: usize) -> (Acme, Caller) {
    let acme = Acme::make(open, place).await;
    open.collection(&acme.owner, &acme.name, "all", ShredUnit::Collection).await;
    for first in (0..many).step_by(1_000) {
        let ops = (first..many.min(first + 1_000)).map(|number| put_op("all", number, &[])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    let auditor = open.with_role(&acme.owner, &acme.name, Role::Auditor).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    place_hold(open, &counsel, &acme.name, HoldScope::Records(vec![(coll("all"), key("0"))])).await.unwrap();
    (acme, auditor)
}

/// The end in part of a large tenant holds up nobody: another tenant's order has its certificate while it is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_part_goes_by_parts_and_orders_of_others_are_certified_in_between() {
    const MANY: usize = 7_000;
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, auditor) = one_of_many(&open, &place, MANY).await;
    let (other, owner, _) = open.tenant(&place, "other").await;
    open.collection(&owner, &other, "people", ShredUnit::Subject).await;
    open.put(&owner, &other, ("people", "9"), Some("9"), b"v").await.unwrap();
    // How many parts there were when each certificate was committed.
    let (parts, certified) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    place.meddler.refuse({
        let (parts, certified) = (parts.clone(), certified.clone());
        move |commit| {
            if sets(commit, Table::ShredDeleted, |_, _| true) {
                parts.fetch_add(1, Ordering::SeqCst);
            }
            sets(commit, Table::Certificate, |key, _| {
                certified.lock().unwrap().push((ShredId(*key.last_chunk().unwrap()), parts.load(Ordering::SeqCst)));
                true
            });
            None
        }
    });
    let held = place.meddler.hold_commit(|commit| sets(commit, Table::ShredDeleted, |_, _| true));
    acme.terminate(&open, "0d").await.unwrap();
    run(&open, &clock).await;
    held.has_read().await;
    let order = open.vault.order_shred(&owner, &other, person("9"), None, None).await.unwrap().id;
    held.let_go();
    until("what is held is there", async || open.get(&auditor, &acme.name, ("all", "0")).await.is_ok()).await;
    assert!(open.awaited(&owner, &other, order).await.done);

    let certified = certified.lock().unwrap().clone();
    assert_eq!(certified.len(), 2, "{certified:?}");
    let ((first, early), (rest, all)) = (certified[0], certified[1]);
    assert!(first == order && early < all, "{early} of {all} parts");
    assert!(all > MANY / 2_048, "{all} parts");
    assert_eq!(certificate(&open, rest).await["totals"]["records_deleted"], MANY - 1);
    assert_eq!(rows::records(&open.store, TenantNo(1)).await.len(), 1);
    assert_eq!(rows::all(&open.store, Space::Blobs).await, []);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Cut short at any of its parts, it goes on behind a start, and no record is counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_part_that_is_cut_short_goes_on_and_counts_each_record_once() {
    const MANY: usize = 600;
    for cut in [0, 1, 2, 3, 5, usize::MAX] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let (acme, _) = one_of_many(&open, &place, MANY).await;
        let (auditor, _) = open.token(&acme.owner, &acme.name, Role::Auditor).await;
        // At one of its parts, or at its certificate.
        let refused = Arc::new(AtomicBool::new(false));
        place.meddler.refuse({
            let (parts, refused) = (AtomicUsize::new(0), refused.clone());
            move |commit| {
                let is_part = sets(commit, Table::ShredDeleted, |_, _| true) && parts.fetch_add(1, Ordering::SeqCst) >= cut;
                let is_refused = is_part || sets(commit, Table::Certificate, |_, _| true);
                is_refused.then(|| {
                    refused.store(true, Ordering::SeqCst);
                    StoreError::DiskFull
                })
            }
        });
        acme.terminate(&open, "0d").await.unwrap();
        run(&open, &clock).await;
        until("it is cut short", async || refused.load(Ordering::SeqCst)).await;
        open.close().await;

        place.meddler.refuse_nothing();
        let open = place.open().await;
        let auditor = open.caller(&auditor).await;
        until("what is held is there", async || open.get(&auditor, &acme.name, ("all", "0")).await.is_ok()).await;
        let said = certificate(&open, rows::orders(&open.store, Table::Certificate).await[0]).await;
        assert_eq!(said["totals"]["records_deleted"], MANY - 1, "cut at {cut}");
        assert_eq!(rows::table(&open.store, Table::ShredDeleted).await, [], "cut at {cut}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "cut at {cut}");
        assert_eq!(contradictions(&open).await, Vec::<String>::new(), "cut at {cut}");
        open.close().await;
    }
}

/// Whether a commit takes an order back that a hold stands over.
fn takes_back(commit: &Commit) -> bool {
    let is_taken = |write: &Write| matches!(write, Write::Delete { key, .. } if key.first() == Some(&(Table::PendingShred as u8)));
    sets(commit, Table::HeldOrder, |_, _| true) && commit.writes.iter().any(is_taken)
}

/// What an order has closed of what is held is not taken for gone: the end in part waits until that order is taken back, and a large value
/// is there then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_has_closed_of_what_is_held_is_waited_for_and_not_taken_for_gone() {
    let (place, clock) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place).await;
    let large = vec![8; 200_000];
    open.put(&acme.owner, &acme.name, ("files", "8"), Some("8"), &large).await.unwrap();
    let auditor = open.with_role(&acme.owner, &acme.name, Role::Auditor).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    // The order stays as it is: it is not taken back, nor carried out before the hold.
    let (refused, is_held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    place.meddler.refuse({
        let (refused, is_held) = (refused.clone(), is_held.clone());
        move |commit| {
            let is_epoch = sets(commit, Table::RootPtr, |_, _| true);
            let is_refused = takes_back(commit) || (is_epoch && !is_held.load(Ordering::SeqCst));
            is_refused.then(|| {
                refused.fetch_add(1, Ordering::SeqCst);
                StoreError::DiskFull
            })
        }
    });
    let order = person("8");
    let order = open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap().id;
    place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("8")])).await.unwrap();
    is_held.store(true, Ordering::SeqCst);
    let epoch = open.forest.epoch();
    acme.terminate(&open, "0d").await.unwrap();
    run(&open, &clock).await;
    until("the keys of the rest are gone", async || open.forest.epoch() != epoch).await;
    let before = refused.load(Ordering::SeqCst);
    until("both are tried again", async || refused.load(Ordering::SeqCst) > before + 1).await;
    assert!(is_shredded(&open.get(&auditor, &acme.name, ("files", "8")).await), "410 until all that is held can be told");

    place.meddler.refuse_nothing();
    until("what is held is there", async || open.get(&auditor, &acme.name, ("files", "8")).await.is_ok_and(|value| value == large)).await;
    assert!(open.vault.shred(&acme.owner, &acme.name, order, None).await.unwrap().held);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// An order that a start takes back, when all of its tenant has gone but what is held, closes nothing of what is left: whichever of the two
/// is taken up first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_taken_back_behind_an_end_in_part_closes_nothing_of_what_is_left() {
    // They are taken up in the order of their ids, which are drawn: until the end in part was the first.
    for _ in 0..64 {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        acme.under_law(&open, "books", ShredUnit::Subject).await;
        acme.book(&open, ("books", "8"), "8", "tax").await.unwrap();
        let large = vec![7; 200_000];
        open.put(&acme.owner, &acme.name, ("files", "large"), Some("7"), &large).await.unwrap();
        let (auditor, _) = open.token(&acme.owner, &acme.name, Role::Auditor).await;
        let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
        place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("7")])).await.unwrap();
        // The order is neither decided nor taken back, and the end in part has no certificate.
        place.meddler.refuse(|commit| {
            let is_decided = sets(commit, Table::KeptUnit, |_, _| true);
            let is_certified = sets(commit, Table::Certificate, |_, _| true);
            (is_decided || is_certified || takes_back(commit)).then_some(StoreError::DiskFull)
        });
        let order = person("8");
        let order = open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap().id;
        place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("8")])).await.unwrap();
        let epoch = open.forest.epoch();
        acme.terminate(&open, "30d").await.unwrap();
        clock.advance(DAY * 31);
        run(&open, &clock).await;
        until("the keys of the rest are gone", async || open.forest.epoch() != epoch).await;
        let ids = rows::orders(&open.store, Table::PendingShred).await;
        assert!(ids.len() == 2 && ids.contains(&order), "{ids:?}");
        open.close().await;

        place.meddler.refuse_nothing();
        let open = place.open().await;
        let auditor = open.caller(&auditor).await;
        let is_there = async || open.get(&auditor, &acme.name, ("files", "large")).await.is_ok_and(|value| value == large);
        until("what is held is there", is_there).await;
        assert_eq!(open.get(&auditor, &acme.name, ("books", "8")).await.unwrap(), b"v");
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
        if ids[1] == order {
            return;
        }
    }
    panic!("of 64 draws none was met");
}

/// A row that a shredded record has left in the index of persons leads to what was written in its place since: on that there is no hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_in_the_index_of_a_shredded_record_keeps_nothing() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    for name in ["a", "b"] {
        acme.put(&open, name).await.unwrap();
    }
    open.shred(&acme.owner, &acme.name, ShredOrder::Record { collection: coll("files"), key: key("b") }).await;
    open.put(&acme.owner, &acme.name, ("files", "b"), Some("8"), b"v").await.unwrap();
    let auditor = open.with_role(&acme.owner, &acme.name, Role::Auditor).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("7")])).await.unwrap();
    acme.terminate(&open, "0d").await.unwrap();
    run(&open, &clock).await;
    until("what is held is there", async || open.get(&auditor, &acme.name, ("files", "a")).await.is_ok()).await;
    let others = open.get(&auditor, &acme.name, ("files", "b")).await;
    assert!(matches!(others, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{others:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What is past its own end, or restricted by a rule, and is there for a hold alone, is read and found by who audits what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_and_held_is_read_and_listed_of_a_tenant_that_ended_in_part() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let rules = json!([{"name": "court", "from": "created", "maximum": "1d", "then": {"restrict": "9y"}}]);
    open.vault.put_collection(&acme.owner, &acme.name, &coll("cases"), policy(ShredUnit::Subject, "UTC", &rules), None).await.unwrap();
    open.put(&acme.owner, &acme.name, ("cases", "restricted"), Some("7"), b"v").await.unwrap();
    for (name, value) in [("over", value_of("over")), ("over/large", value_of("over/large"))] {
        let put = PutRecord { expires_at: Some(clock.now().plus(DAY)), ..put_of(Some("7"), &value) };
        open.vault.put_record(&acme.owner, &acme.name, &coll("files"), key(name), put).await.unwrap();
    }
    let (auditor, _) = open.token(&acme.owner, &acme.name, Role::Auditor).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("7")])).await.unwrap();
    clock.advance(DAY * 3);
    run(&open, &clock).await;
    let over = open.get(&acme.owner, &acme.name, ("files", "over")).await;
    assert!(matches!(over, Err(VaultError::NotFound(_))), "{over:?}");
    acme.terminate(&open, "0d").await.unwrap();
    run(&open, &clock).await;
    until("it has ended in part", async || acme.is_in(&open, "restricted").await).await;

    let audit = open.caller(&auditor).await;
    for name in ["over", "over/large"] {
        assert!(open.get(&audit, &acme.name, ("files", name)).await.unwrap() == value_of(name), "{name}");
    }
    let at = ("cases", "restricted");
    let refused = open.get(&audit, &acme.name, at).await;
    assert!(matches!(refused, Err(VaultError::Forbidden)), "{refused:?}");
    let mut for_court = audit.clone();
    for_court.purpose = Some("court".into());
    assert_eq!(open.get(&for_court, &acme.name, at).await.unwrap(), b"v");
    for (collection, listed) in [("files", BTreeSet::from(["over", "over/large"])), ("cases", BTreeSet::from(["restricted"]))] {
        let query = ListQuery { limit: 100, ..ListQuery::default() };
        let page = open.vault.list(&audit, &acme.name, &coll(collection), query).await.unwrap();
        let found: BTreeSet<&str> = page.items.iter().map(|item| item.meta.key.as_str()).collect();
        assert_eq!(found, listed, "{collection}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// From the order to shred a tenant until that is done it takes no step, and the record of its states, which tells of both, is its owner's again
/// behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_shred_is_ordered_takes_no_step() {
    let (place, _) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, "a").await.unwrap();
    acme.suspend(&open).await.unwrap();
    acme.resume(&open).await;
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let order = ShredOrder::Tenant { confirm: acme.name.as_str().into() };
    open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap();
    refused.next().await;
    let (vault, name) = (&open.vault, &acme.name);
    for (step, taken) in [
        ("suspend", acme.suspend(&open).await),
        ("resume", vault.resume_tenant(&acme.operator, name, "a test".into(), None).await.map(drop)),
        ("terminate", acme.terminate(&open, "30d").await),
        ("cancel", vault.cancel_termination(&acme.owner, name, None, None).await.map(drop)),
        ("to be asked for its states", vault.state_changes(&acme.owner, name, None, 10).await.map(drop)),
    ] {
        assert!(matches!(taken, Err(VaultError::Shredded { .. })), "{step}: {taken:?}");
    }
    place.meddler.refuse_nothing();
    acme.ended(&open).await;
    let (changes, next) = vault.state_changes(&acme.owner, name, None, 10).await.unwrap();
    let steps: BTreeSet<[&str; 3]> = changes.iter().map(|change| [change.step, change.from, change.to]).collect();
    let all = [
        ["suspend", "active", "suspended"],
        ["resume", "suspended", "active"],
        ["shred", "active", "pending"],
        ["shred-done", "pending", "shredded"],
    ];
    assert_eq!((steps, next), (BTreeSet::from(all), None));
    assert!(changes.iter().all(|change| change.reason.is_none()), "they went with its keys: {changes:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// In the moment between the end of the grace and the order to shred all of the tenant is there: auditors read what is held, with its large
/// values, and what no hold is on is shown to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_tenant_that_has_ended_and_is_not_shredded_yet_auditors_read_what_is_held_alone() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let held = Held::make(&open, &place).await;
    let Acme { name, owner, .. } = &held.acme;
    held.acme.terminate(&open, "1d").await.unwrap();
    for (collection, key, _) in HELD.into_iter().chain(UNHELD) {
        assert!(open.get(&held.auditor, name, (collection, key)).await.is_err(), "{collection} {key}: its owner's, within the grace");
    }
    clock.advance(DAY * 2);
    held.is_in_state(&open, "ended").await;
    for (collection, key, _) in HELD {
        assert!(open.get(&held.auditor, name, (collection, key)).await.unwrap() == value_of(key), "{collection} {key}");
        assert!(is_stopped(&open.get(owner, name, (collection, key)).await), "{collection} {key}");
    }
    for (collection, key, _) in UNHELD {
        let got = open.get(&held.auditor, name, (collection, key)).await;
        assert!(matches!(got, Err(VaultError::NotFound(_))), "{collection} {key}: {got:?}");
    }
    for collection in ["people", "all", "notes", "others"] {
        for id in [None, Some("7"), Some("seven"), Some("8"), Some("acht")] {
            let query = ListQuery { subject: id.map(subject), limit: 100, ..ListQuery::default() };
            let page = open.vault.list(&held.auditor, name, &coll(collection), query).await.unwrap();
            let listed: BTreeSet<&str> = page.items.iter().map(|item| item.meta.key.as_str()).collect();
            let theirs: BTreeSet<&str> = HELD.iter().filter(|(of, ..)| *of == collection).map(|(_, key, _)| *key).collect();
            assert_eq!(
                listed,
                if id.is_none_or(|id| id.starts_with(['7', 's'])) { theirs } else { BTreeSet::new() },
                "{collection} of {id:?}"
            );
        }
    }
    open.close().await;
}

/// A hold on the whole tenant keeps it whole, as long as it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_held_as_a_whole_ends_in_no_part() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let held = Held::make(&open, &place).await;
    let whole = place_hold(&open, &held.counsel, &held.acme.name, HoldScope::Tenant).await.unwrap();
    held.acme.terminate(&open, "0d").await.unwrap();
    for _ in 0..2 {
        run(&open, &clock).await;
        assert_eq!(open.vault.tenant(&held.acme.owner, &held.acme.name).await.unwrap().state, "ended");
    }
    for (collection, key, _) in HELD.into_iter().chain(UNHELD) {
        open.get(&held.auditor, &held.acme.name, (collection, key)).await.unwrap();
        assert!(is_stopped(&open.get(&held.acme.owner, &held.acme.name, (collection, key)).await), "{collection} {key}");
    }
    let shown = open.vault.hold(&held.counsel, &held.acme.name, whole).await.unwrap();
    assert_eq!(shown.covers, Some(((HELD.len() + UNHELD.len()) as u64, false)), "all of it is there");
    // It ends before the other.
    open.vault.release_hold(&held.counsel, &held.acme.name, whole, "settled".into(), None).await.unwrap();
    run(&open, &clock).await;
    held.is_in_state(&open, "restricted").await;
    held.is_kept_in_part(&open).await;
    open.close().await;
}

const LAWFUL: [(&str, ShredUnit); 3] = [("people", ShredUnit::Subject), ("single", ShredUnit::Record), ("all", ShredUnit::Collection)];

/// RET-3: an end with a grace of less than thirty days, or none, is refused where a law keeps anything, as an order to shred the tenant is,
/// and nothing is frozen behind that; where the law is over, it is not. With a longer one what the law keeps is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_with_less_than_thirty_days_of_grace_is_refused_where_a_law_keeps_anything() {
    for has_grace in [false, true] {
        let (place, clock) = place().await;
        let open = place.open().await;
        let acme = Acme::make(&open, &place).await;
        for (collection, unit) in LAWFUL {
            acme.under_law(&open, collection, unit).await;
        }
        acme.book(&open, ("people", "a"), "7", "tax").await.unwrap();
        acme.book(&open, ("people", "b"), "8", "note").await.unwrap();
        for grace in ["0d", "1d", "29d", "4w", "1m"] {
            let refused = acme.terminate(&open, grace).await;
            assert!(
                matches!(&refused, Err(VaultError::LegalMinimum { law: Some(law), records: Some(1) }) if law.basis == "law 1"),
                "{grace}: {refused:?}"
            );
            assert!(acme.is_in(&open, "active").await);
        }
        for (collection, _) in LAWFUL {
            acme.book(&open, (collection, "c"), "7", "note").await.unwrap();
        }
        if has_grace {
            let Terminated::Now(told) = acme.ordered(&open, "30d", None).await.unwrap() else { panic!("one owner is enough") };
            let listed = told.minimums.iter().map(|one| [&one.collection, &one.rule, &one.basis, &one.period].map(String::as_str));
            let listed: BTreeSet<[&str; 4]> = listed.collect();
            assert_eq!(listed, BTreeSet::from(["all", "people", "single"].map(|collection| [collection, "invoices", "law 1", "4y"])));
            clock.advance(DAY * 31);
            run(&open, &clock).await;
            until("it has ended in part", async || acme.is_in(&open, "restricted").await).await;
            assert!(is_stopped(&open.get(&acme.owner, &acme.name, ("people", "a")).await));
        } else {
            clock.advance(DAY * (4 * 366));
            acme.terminate(&open, "0d").await.unwrap();
            run(&open, &clock).await;
            acme.ended(&open).await;
            assert!(is_shredded(&open.get(&acme.owner, &acme.name, ("people", "a")).await));
        }
        assert_eq!(findings(&open).await, Vec::<String>::new());
        open.close().await;
    }
}

/// A write that a law would keep, and an end without a grace: one of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_a_grace_against_a_write_that_a_law_keeps_ends_in_one_of_two_ways() {
    let (place, _) = place().await;
    let open = place.open().await;
    let mut seen: BTreeMap<bool, usize> = BTreeMap::new();
    for round in 0..24_usize {
        let (name, owner, _) = open.tenant(&place, &format!("t{round}")).await;
        let acme = Acme { name, owner, operator: open.caller(&place.operator).await };
        acme.under_law(&open, "c", [ShredUnit::Subject, ShredUnit::Collection][round % 2]).await;
        acme.book(&open, ("c", "note"), "7", "note").await.unwrap();
        let write = async {
            // Sooner or later, so that each comes first at times.
            for _ in 0..(round / 2) * 10 {
                tokio::task::yield_now().await;
            }
            acme.book(&open, ("c", "tax"), "7", "tax").await
        };
        let end = acme.terminate(&open, "0d");
        // One behind the other, either way, and then at the same moment.
        let (ended, written) = match round / 2 {
            0 => (end.await, write.await),
            1 => {
                let written = write.await;
                (end.await, written)
            }
            _ => tokio::join!(end, write),
        };
        match (&ended, &written) {
            (Ok(()), Err(VaultError::TenantState(_) | VaultError::Busy)) => assert!(acme.is_in(&open, "ended").await, "round {round}"),
            (Err(VaultError::LegalMinimum { records: Some(1), .. }), Ok(())) => {
                assert!(acme.is_in(&open, "active").await, "round {round}");
                acme.book(&open, ("c", "more"), "7", "tax").await.unwrap();
            }
            _ => panic!("round {round}: {ended:?} {written:?}"),
        }
        *seen.entry(ended.is_ok()).or_default() += 1;
    }
    println!("ends against what a law keeps: (ended) {seen:?}");
    assert!(seen.contains_key(&true) && seen.contains_key(&false), "both must happen: {seen:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// RET-6: where the shred of the tenant takes two persons, so does its end. Until the second owner's word all is as before; the grace
/// begins with it, one owner takes that back, and the certificate names both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_takes_two_persons_begins_with_the_second_ones_word() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.under_law(&open, "books", ShredUnit::Subject).await;
    let second = open.ask_for_two(&acme.owner, &acme.name, ShredScope::Tenant).await;

    let asked = acme.asked(&open, "30d", Some("once")).await;
    assert!(matches!(&asked.what, ApprovalWhat::Terminate { grace } if grace == "30d"), "{asked:?}");
    let by = &acme.owner.principal;
    assert_eq!((asked.state, asked.asked_by), ("pending", by.id()));
    assert!(acme.is_in(&open, "active").await);
    acme.put(&open, "a").await.unwrap();
    for key in [Some("once"), None] {
        assert_eq!(acme.asked(&open, "30d", key).await.id, asked.id, "it is asked for once");
    }
    let alone = acme.approve(&open, &acme.owner, asked.id).await;
    assert!(matches!(alone, Err(VaultError::NotSecond(NotSecond::Asked))), "{alone:?}");
    // Without a grace of thirty days nothing is asked for that a law refuses; where the law comes behind it, nothing is approved.
    let (at_once, other) = (acme.asked(&open, "0d", None).await, acme.asked(&open, "31d", None).await);
    acme.book(&open, ("books", "tax"), "7", "tax").await.unwrap();
    let is_kept = |result: Result<(), VaultError>| matches!(result, Err(VaultError::LegalMinimum { records: Some(1), .. }));
    assert!(is_kept(acme.terminate(&open, "0d").await));
    assert!(is_kept(acme.approve(&open, &second, at_once.id).await));
    assert_eq!(acme.of(&open, at_once.id).await, "pending");
    acme.book(&open, ("books", "note"), "7", "note").await.unwrap();

    clock.advance(Duration::from_hours(18));
    run(&open, &clock).await;
    acme.approve(&open, &second, asked.id).await.unwrap();
    assert!(is_stopped(&acme.put(&open, "b").await));
    let told = open.vault.termination(&second, &acme.name).await.unwrap();
    assert_eq!((told.ordered_by, told.approved_by), (by.id(), Some(second.principal.id())));
    assert_eq!(told.ordered_at, clock.now(), "not when it was asked for");
    assert_eq!(told.ends_at.to_rfc3339(), "2000-03-03T00:00:00.000Z");
    let under_way = acme.approve(&open, &second, other.id).await;
    assert!(matches!(under_way, Err(VaultError::Conflict(Conflict::TenantState))), "{under_way:?}");
    assert_eq!(acme.of(&open, other.id).await, "pending");

    open.vault.cancel_termination(&acme.owner, &acme.name, None, None).await.unwrap();
    acme.put(&open, "b").await.unwrap();
    let again = acme.asked(&open, "30d", None).await;
    assert_ne!(again.id, asked.id, "what was taken back is not approved any more");
    let known = acme.asked(&open, "30d", Some("once")).await;
    assert_eq!((known.id, known.state), (asked.id, "approved"));
    acme.approve(&open, &second, other.id).await.unwrap();
    clock.advance(DAY * 32);
    run(&open, &clock).await;
    until("it has ended in part", async || acme.is_in(&open, "restricted").await).await;
    let certified = rows::orders(&open.store, Table::Certificate).await;
    assert_eq!(certified.len(), 1, "what the law keeps waits for that");
    let said = certificate(&open, certified[0]).await;
    let (by, second) = (by.id().to_string(), second.principal.id().to_string());
    assert_eq!(said["approval"], json!({"policy": "two-person", "performed_by": by, "approved_by": second}), "{said:#}");
    // What still waits for a second person ends with its time.
    clock.advance(DAY * 8);
    run(&open, &clock).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Who approves is held to what the tenant's state leaves of what is asked for. Who refuses it, or takes it back, is not, and neither is
/// the release of a hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_person_may_no_more_than_a_state_leaves() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let second = open.with_role(&acme.owner, &acme.name, Role::Owner).await;
    let counsel = open.with_role(&acme.owner, &acme.name, Role::Counsel).await;
    let colleague = open.with_role(&counsel, &acme.name, Role::Counsel).await;
    let hold = place_hold(&open, &counsel, &acme.name, HoldScope::Subjects(vec![subject("9")])).await.unwrap();
    let rules = ApprovalRules { shreds: Some(ShredScope::Record), release_hold: true, ..ApprovalRules::default() };
    open.vault.put_policy(&acme.owner, &acme.name, rules, None).await.unwrap();
    let mut shreds = Vec::new();
    for name in ["a", "b", "c"] {
        acme.put(&open, name).await.unwrap();
        let order = ShredOrder::Record { collection: coll("files"), key: key(name) };
        shreds.push(ApprovalId(open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.unwrap().id.0));
    }
    let asked = open.vault.put_policy(&acme.owner, &acme.name, ApprovalRules::default(), None).await.unwrap();
    let PolicyChange::Asked(looser) = asked else { panic!("one owner was enough: {asked:?}") };
    let end = acme.asked(&open, "10d", None).await;

    acme.suspend(&open).await.unwrap();
    for id in [shreds[0], looser.id] {
        let stopped = acme.approve(&open, &second, id).await;
        assert!(is_stopped(&stopped), "{stopped:?}");
        assert_eq!(acme.of(&open, id).await, "pending");
    }
    open.vault.refuse_approval(&second, &acme.name, shreds[1], None, None).await.unwrap();
    open.vault.withdraw_approval(&acme.owner, &acme.name, shreds[2], None).await.unwrap();
    let released = open.vault.release_hold(&counsel, &acme.name, hold, "settled".into(), None).await.unwrap();
    let Released::Asked(release) = released else { panic!("one counsel was enough: {released:?}") };
    acme.approve(&open, &colleague, release.id).await.unwrap();
    assert_eq!(open.vault.hold(&counsel, &acme.name, hold).await.unwrap().state, "released");
    // The end of a tenant that is suspended can be ordered, and so approved.
    acme.approve(&open, &second, end.id).await.unwrap();
    assert!(acme.is_in(&open, "terminating-suspended").await);
    acme.resume(&open).await;

    let looser = acme.approve(&open, &second, looser.id).await;
    assert!(is_stopped(&looser), "{looser:?}");
    acme.approve(&open, &second, shreds[0]).await.unwrap();
    assert!(open.awaited(&acme.owner, &acme.name, ShredId(shreds[0].0)).await.done);
    for (name, is_there) in [("a", false), ("b", true), ("c", true)] {
        let got = open.get(&acme.owner, &acme.name, ("files", name)).await;
        assert_eq!((got.is_ok(), is_shredded(&got)), (is_there, !is_there), "{name}: {got:?}");
    }
    run(&open, &clock).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What an order had left for a law alone is kept as anything is: with its key it outlives the end of its tenant while the law stands, for its
/// legal purpose alone, whether or not a hold is on it. In data of before that, and of before the order, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_law_alone_kept_outlives_the_end_of_its_tenant() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (name, owner, token) = open.tenant(&place, "acme").await;
    let (auditor, _) = open.token(&owner, &name, Role::Auditor).await;
    let (counsel, _) = open.token(&owner, &name, Role::Counsel).await;
    let mut acme = Acme { name, owner, operator: open.caller(&place.operator).await };
    for (collection, unit) in LAWFUL {
        acme.under_law(&open, collection, unit).await;
        for person in ["7", "8", "9"] {
            for category in ["tax", "note"] {
                acme.book(&open, (collection, &format!("{person}/{category}")), person, category).await.unwrap();
            }
        }
    }
    open.close().await;
    place.copy("store/data", "before");
    let open = place.open().await;
    acme.owner = open.caller(&token).await;
    for person in ["7", "8"] {
        open.shred_subject(&acme.owner, &acme.name, person).await;
    }
    let kept = async |open: &Open| {
        let [units, counts, _] = left(open).await;
        [units, counts]
    };
    assert_eq!(kept(&open).await, [4, 4]);
    open.close().await;
    place.copy("store/data", "behind");

    let is_kept = async |open: &Open, acme: &Acme, is_held: bool| {
        let [audit, invoices] = [asking(open, &auditor, None).await, asking(open, &auditor, Some("invoices")).await];
        let of_law = ["7/tax", "8/tax", "9/tax"].into_iter().flat_map(|name| [("single", name), ("all", name)]);
        let by_orders = [("people", "7/tax"), ("people", "8/tax")];
        for at in by_orders.into_iter().chain(of_law).chain((!is_held).then_some(("people", "9/tax"))) {
            assert_eq!(open.get(&invoices, &acme.name, at).await.unwrap(), b"v", "{at:?}");
            let refused = open.get(&audit, &acme.name, at).await;
            assert!(matches!(refused, Err(VaultError::Forbidden)), "{at:?}: {refused:?}");
        }
        for at in [("people", "9/tax"), ("people", "9/note")].into_iter().filter(|_| is_held) {
            assert_eq!(open.get(&audit, &acme.name, at).await.unwrap(), b"v", "{at:?}");
            assert!(is_stopped(&open.get(&acme.owner, &acme.name, at).await), "{at:?}");
        }
        let unkept = ["7/note", "8/note", "9/note"].into_iter().flat_map(|name| [("single", name), ("all", name)]);
        for at in unkept.chain([("people", "7/note")]).chain((!is_held).then_some(("people", "9/note"))) {
            let gone = open.get(&invoices, &acme.name, at).await;
            assert!(matches!(gone, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{at:?}: {gone:?}");
        }
        // All of it is found without a purpose.
        let query = ListQuery { limit: 100, ..ListQuery::default() };
        let page = open.vault.list(&audit, &acme.name, &coll("people"), query).await.unwrap();
        let found: BTreeSet<&str> = page.items.iter().map(|item| item.meta.key.as_str()).collect();
        let held = is_held.then_some("9/note");
        assert_eq!(found, ["7/tax", "8/tax", "9/tax"].into_iter().chain(held).collect::<BTreeSet<_>>());
        assert_eq!(kept(open).await, [4, 4]);
        assert_eq!(findings(open).await, Vec::<String>::new());
        assert_eq!(contradictions(open).await, Vec::<String>::new());
    };
    let open = place.open().await;
    acme.owner = open.caller(&token).await;
    let holder = open.caller(&counsel).await;
    let mut holds = Vec::new();
    for scope in [HoldScope::Collection(coll("people")), HoldScope::Records(vec![(coll("single"), key("7/tax"))])] {
        holds.push(place_hold(&open, &holder, &acme.name, scope).await.unwrap());
    }
    acme.terminate(&open, "30d").await.unwrap();
    clock.advance(DAY * 31);
    run(&open, &clock).await;
    until("it has ended in part", async || acme.is_in(&open, "restricted").await).await;
    is_kept(&open, &acme, true).await;
    open.close().await;
    place.copy("store/data", "today");
    for older in ["behind", "before", "today"] {
        place.put_back(older, "store/data");
        let open = place.open().await;
        acme.owner = open.caller(&token).await;
        is_kept(&open, &acme, true).await;
        open.close().await;
    }

    let open = place.open().await;
    acme.owner = open.caller(&token).await;
    let holder = open.caller(&counsel).await;
    for hold in holds {
        open.vault.release_hold(&holder, &acme.name, hold, "settled".into(), None).await.unwrap();
    }
    // What holds alone have kept goes with the last of them, what the law keeps with that.
    run(&open, &clock).await;
    let audit = asking(&open, &auditor, None).await;
    let is_gone = async || open.get(&audit, &acme.name, ("people", "9/note")).await.is_err();
    until("what was held is gone", async || acme.is_in(&open, "restricted").await && is_gone().await).await;
    is_kept(&open, &acme, false).await;
    clock.advance(DAY * (4 * 366));
    run(&open, &clock).await;
    let orders = rows::orders(&open.store, Table::ShredOrder).await;
    assert_eq!(orders.len(), 5, "two persons, the rest in two steps, and the tenant");
    for id in orders {
        let view = open.awaited(&acme.owner, &acme.name, id).await;
        assert!(view.done, "{view:?}");
    }
    assert!(is_shredded(&open.get(&acme.owner, &acme.name, ("people", "7/tax")).await));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    assert_eq!(contradictions(&open).await, Vec::<String>::new());
    open.close().await;
}
