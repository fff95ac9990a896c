//! A tenant's states against everything that goes on at the same time: what is answered holds, whoever was faster.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lethe::{
    domain::{
        Clock as _, HoldId, ShredId, ShredUnit, SubjectId, TenantName, TenantNo, TestClock, Timestamp,
        hold::{HoldScope, HoldText, NewHold},
        lifecycle::{Grace, TenantState},
    },
    jobs::Retention,
    vault::{
        ops::{BatchOp, Caller, GetRecord, Precondition, ShredOrder, Terminate, Value, VaultError, VaultOptions},
        store::{Commit, Durability, Space, Store as _, Urgency, Write, schema},
    },
};

use crate::harness::{Open, Place, coll, is_shredded, key, put_of};

const DAY: Duration = Duration::from_hours(24);

/// A store whose clock stands at noon of 31 January 2000, in UTC.
async fn place() -> (Place, TestClock) {
    let mut place = Place::make_with(VaultOptions::default(), true).await;
    let clock = TestClock::at(Timestamp::parse_rfc3339("2000-01-31T12:00:00Z").unwrap());
    place.clock = Arc::new(clock.clone());
    (place, clock)
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
        let order = Terminate { confirm: "acme".into(), grace: Grace::parse(grace).unwrap(), reason: None };
        open.vault.terminate_tenant(&self.owner, &self.name, order, None).await.map(drop)
    }

    /// Waits for the only order to shred that there is.
    async fn ended(&self, open: &Open) {
        let range = schema::table(schema::Table::ShredOrder);
        let orders = open.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap();
        assert_eq!(orders.len(), 1);
        let id = ShredId(*orders[0].key.last_chunk().unwrap());
        assert!(open.vault.shred(&self.owner, &self.name, id, Some(Duration::from_secs(30))).await.unwrap().done);
    }

    async fn put(&self, open: &Open, name: &str) -> Result<(), VaultError> {
        open.put(&self.owner, &self.name, ("files", name), Some("7"), b"v").await.map(drop)
    }
}

/// A tenant with a record about each of two persons in a collection of each unit, a third record of the first one's, and a collection
/// about the second alone; its auditor and counsel, who has placed a hold on the first.
struct Held {
    acme: Acme,
    tokens: [String; 3],
    auditor: Caller,
    counsel: Caller,
    hold: HoldId,
}

const HELD: [(&str, &str); 4] = [("people", "7"), ("people", "7/more"), ("all", "7"), ("notes", "7")];
const UNHELD: [(&str, &str); 5] = [("people", "8"), ("all", "8"), ("notes", "8"), ("others", "8"), ("people", "8/large")];

impl Held {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, token) = open.tenant(place, "acme").await;
        for (collection, unit) in
            [("people", ShredUnit::Subject), ("others", ShredUnit::Subject), ("all", ShredUnit::Collection), ("notes", ShredUnit::Record)]
        {
            open.collection(&owner, &name, collection, unit).await;
        }
        for at in HELD.iter().chain(&UNHELD) {
            let value = if at.1.ends_with("large") { vec![8; 200_000] } else { b"v".to_vec() };
            open.put(&owner, &name, *at, Some(&at.1[..1]), &value).await.unwrap();
        }
        let (auditor, _) = open.token(&owner, &name, lethe::authn::Role::Auditor).await;
        let (counsel, _) = open.token(&owner, &name, lethe::authn::Role::Counsel).await;
        let tokens = [token, auditor, counsel];
        let [auditor, counsel] = [open.caller(&tokens[1]).await, open.caller(&tokens[2]).await];
        let acme = Acme { name, owner, operator: open.caller(&place.operator).await };
        let hold = place_hold(open, &counsel, &acme.name, HoldScope::Subjects(vec![SubjectId::parse("7").unwrap()])).await.unwrap();
        Self { acme, tokens, auditor, counsel, hold }
    }

    /// Ends it, as far as a hold lets it.
    async fn end(&self, open: &Open, clock: &TestClock) {
        self.acme.terminate(open, "0d").await.unwrap();
        run(open, clock).await;
        self.is_in_state(open, "restricted").await;
        let range = schema::table(schema::Table::ShredOrder);
        for row in open.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap() {
            let id = ShredId(*row.key.last_chunk().unwrap());
            let view = open.vault.shred(&self.acme.owner, &self.acme.name, id, Some(Duration::from_secs(30))).await.unwrap();
            assert_eq!((view.done, view.held), if view.scope == "rest" { (true, false) } else { (false, true) }, "{view:?}");
        }
    }

    async fn is_in_state(&self, open: &Open, state: &str) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !open.vault.tenant(&self.acme.owner, &self.acme.name).await.is_ok_and(|view| view.state == state) {
                tokio::task::yield_now().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("it is not {state}"));
    }

    /// Only what is held is there, and only for the auditor.
    async fn is_kept_in_part(&self, open: &Open) {
        let Acme { name, owner, .. } = &self.acme;
        for at in HELD {
            assert_eq!(open.get(&self.auditor, name, at).await.unwrap(), b"v", "{at:?}");
            assert!(is_stopped(&open.get(owner, name, at).await), "{at:?}: not the owner's any more");
        }
        for at in UNHELD {
            let got = open.get(&self.auditor, name, at).await;
            assert!(matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{at:?}: {got:?}");
        }
        assert!(is_shredded(&open.get(&self.auditor, name, ("others", "8")).await), "nothing is kept of that collection");
        assert!(is_stopped(&open.put(owner, name, ("people", "9"), Some("9"), b"v").await));
        let shown = open.vault.hold(&self.counsel, name, self.hold).await.unwrap();
        assert_eq!((shown.state, shown.covers), ("active", Some((4, false))));
    }
}

async fn place_hold(open: &Open, counsel: &Caller, tenant: &TenantName, scope: HoldScope) -> Result<HoldId, VaultError> {
    let text = HoldText {
        matter: "M-1".into(),
        reason: "a lawsuit".into(),
        custodian: "legal".into(),
        case_number: None,
        renewal_reason: None,
        release_reason: None,
    };
    let hold = NewHold { text, scope, disclosed: false, law_enforcement: false };
    open.vault.place_hold(counsel, tenant, hold, None).await.map(|view| view.id)
}

async fn run(open: &Open, clock: &TestClock) {
    Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await.unwrap();
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
                    "delete" => vault.delete_record(owner, name, &coll("files"), key(path), Precondition::None, None).await,
                    "batch" => {
                        let delete = BatchOp::Delete { collection: coll("files"), key: key(path), precondition: Precondition::None };
                        vault.batch(owner, name, vec![delete], None).await.map(drop)
                    }
                    "policy" => {
                        let policy = lethe::domain::CollectionPolicy::default();
                        vault.put_collection(owner, name, &coll("others"), policy, None).await.map(drop)
                    }
                    "token" => {
                        let mint = lethe::vault::ops::MintToken {
                            role: lethe::authn::Role::Reader,
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
    assert_eq!(open.vault.check().await.unwrap().findings, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
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
        let orders = |write: &Write| matches!(write, Write::Put { key, .. } if key.first() == Some(&(schema::Table::ShredOrder as u8)));
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
    assert_eq!(open.vault.check().await.unwrap().findings, Vec::<String>::new());
    open.close().await;
}

/// The check of a store at rest finds an end that nobody would bring about, and a row that leads to no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_of_an_end_is_found_and_a_stray_one_ends_nobody() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.put(&open, "a").await.unwrap();
    acme.terminate(&open, "30d").await.unwrap();
    let findings = async || open.vault.check().await.unwrap().findings;
    assert_eq!(findings().await, Vec::<String>::new());
    let commit = |writes| Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
    let range = schema::table(schema::Table::TenantEnd);
    let row = open.store.scan(Space::Control, &range.from, &range.to, 2).await.unwrap().remove(0);
    open.store.commit(commit(vec![Write::Delete { space: Space::Control, key: row.key.clone() }])).await.unwrap();
    let found = findings().await;
    assert!(found.iter().any(|finding| finding.contains("nothing ends it in its time")), "{found:?}");
    // Sooner than the tenant's own row says, and of a tenant that is not.
    for key in [schema::tenant_end(0, TenantNo(1)), schema::tenant_end(0, TenantNo(77))] {
        let stray = Write::Put { space: Space::Control, key: key.clone(), value: bytes::Bytes::new() };
        open.store.commit(commit(vec![stray])).await.unwrap();
        let found = findings().await;
        assert!(found.iter().any(|finding| finding.contains("no such end is ordered")), "{found:?}");
        run(&open, &clock).await;
        open.get(&acme.owner, &acme.name, ("files", "a")).await.unwrap();
        open.store.commit(commit(vec![Write::Delete { space: Space::Control, key }])).await.unwrap();
    }
    open.store.commit(commit(vec![Write::Put { space: Space::Control, key: row.key, value: row.value }])).await.unwrap();
    assert_eq!(findings().await, Vec::<String>::new());
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
    let findings = async |open: &Open| open.vault.check().await.unwrap().findings;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    // What the keys of what is held sealed besides was deleted, and counted: the other record of the collection by collection.
    let range = schema::table(schema::Table::Certificate);
    let certificates = open.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap();
    assert_eq!(certificates.len(), 1);
    let rest = ShredId(*certificates[0].key.last_chunk().unwrap());
    let said = crate::harness::certificate(&open, rest).await;
    assert_eq!(said["scope"], "rest", "{said:#}");
    assert_eq!(said["totals"]["records_deleted"], 1, "{said:#}");
    assert_eq!(said["verification"]["readable_after"], 0);
    // No row of the others is left, of a large value least of all.
    for (space, rows) in [(Space::Records, HELD.len()), (Space::Blobs, 0)] {
        let range = schema::prefix(&[]);
        assert_eq!(open.store.scan(space, &range.from, &range.to, usize::MAX).await.unwrap().len(), rows, "{space:?}");
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
        open.get(&held.auditor, &held.acme.name, HELD[2]).await.unwrap();
        open.vault.release_hold(&held.counsel, &held.acme.name, hold, "settled".into(), None).await.unwrap();
        run(&open, &clock).await;
    }
    assert!(is_shredded(&open.get(&held.acme.owner, &held.acme.name, HELD[2]).await));
    let range = schema::table(schema::Table::ShredOrder);
    let orders = open.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap();
    assert_eq!(orders.len(), 2);
    for id in orders.iter().map(|row| ShredId(*row.key.last_chunk().unwrap())) {
        let view = open.vault.shred(&held.acme.owner, &held.acme.name, id, Some(Duration::from_secs(30))).await.unwrap();
        assert!(view.done, "{view:?}");
        let said = crate::harness::certificate(&open, id).await;
        assert_eq!(said["scope"], if id == rest { "rest" } else { "tenant" });
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Older data that is put back under a tenant which ended in part gives back what is held, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_of_a_tenant_that_ended_in_part_gives_back_what_is_held_alone() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut held = Held::make(&open, &place).await;
    open.close().await;
    place.copy("store/data", "older");
    let open = place.open().await;
    held.acme.owner = open.caller(&held.tokens[0]).await;
    held.end(&open, &clock).await;
    open.close().await;
    place.put_back("older", "store/data");
    let open = place.open().await;
    held.acme.owner = open.caller(&held.tokens[0]).await;
    [held.auditor, held.counsel] = [open.caller(&held.tokens[1]).await, open.caller(&held.tokens[2]).await];
    held.is_kept_in_part(&open).await;
    let proof = open.vault.prove_shreds(1).await.unwrap();
    assert_eq!((proof.findings, proof.readable), (Vec::<String>::new(), HELD.len() as u64));
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
    let shown = open.vault.hold(&held.counsel, &held.acme.name, whole).await.unwrap();
    assert_eq!(shown.covers, Some(((HELD.len() + UNHELD.len()) as u64, false)), "all of it is there");
    // It ends before the other.
    open.vault.release_hold(&held.counsel, &held.acme.name, whole, "settled".into(), None).await.unwrap();
    run(&open, &clock).await;
    held.is_in_state(&open, "restricted").await;
    held.is_kept_in_part(&open).await;
    open.close().await;
}
