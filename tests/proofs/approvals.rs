//! Two persons for one act: whatever happens at the same moment, one of two ways; whatever is cut short, once; and what two let shorter
//! rules end ends no earlier than they said, over older data too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lethe::{
    authn::{Narrowing, Role, TokenKind},
    domain::{
        ApprovalId, Clock as _, CollectionPolicy, ShredId, ShredUnit, TenantName, TenantNo, TestClock,
        approval::{ApprovalRules, ShredScope, Window},
        hold::HoldScope,
        limits,
        retention::{Period, report::Cause},
    },
    vault::{
        ops::{
            ApprovalWhat, BatchOp, Caller, Conflict, Destroyed, MintToken, NotSecond, PolicyChange, Precondition, PutRecord, Released,
            SecondPerson, ShredOrder, ShredView, VaultError, VaultOptions,
        },
        store::{
            Row, Space, StoreError, Write,
            schema::{self, Due, Table},
        },
    },
};
use serde_json::json;

use crate::{
    draw::Draw,
    harness::{Open, Place, alias_of, coll, findings, hold_of, hold_on, key, person, put_of, put_op, subject},
    meddling::sets,
    reports::reports,
    retention::{DAY, due_rows, is_there, one_rule, place, policy, run, set, there, to},
    rows,
};

const ACME: TenantNo = TenantNo(1);

/// Draws a policy.
type Drawn = dyn Fn(&mut Draw) -> CollectionPolicy;

/// A tenant with two owners and two counsels.
struct Acme {
    name: TenantName,
    owner: Caller,
    second: Caller,
    counsel: Caller,
    tokens: [String; 3],
}

impl Acme {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, token) = open.tenant(place, "acme").await;
        for (collection, unit) in [("people", ShredUnit::Subject), ("files", ShredUnit::Record)] {
            open.collection(&owner, &name, collection, unit).await;
        }
        let (second, _) = open.token(&owner, &name, Role::Owner).await;
        let (counsel, _) = open.token(&owner, &name, Role::Counsel).await;
        let (second_caller, counsel_caller) = (open.caller(&second).await, open.caller(&counsel).await);
        Self { owner, second: second_caller, counsel: counsel_caller, name, tokens: [token, second, counsel] }
    }

    /// The same after a start.
    async fn again(&mut self, open: &Open) {
        self.owner = open.caller(&self.tokens[0]).await;
        self.second = open.caller(&self.tokens[1]).await;
        self.counsel = open.caller(&self.tokens[2]).await;
    }

    async fn ask_for_two(&self, open: &Open, shreds: Option<ShredScope>, release_hold: bool) {
        let rules = ApprovalRules { shreds, release_hold, window: Window::default() };
        let set = open.vault.put_policy(&self.owner, &self.name, rules, None).await.unwrap();
        assert!(matches!(set, PolicyChange::Now(view) if view.approvals == rules), "{set:?}");
    }

    async fn put(&self, open: &Open, at: (&str, &str)) {
        open.put(&self.owner, &self.name, at, Some(at.1), b"v").await.unwrap();
    }

    async fn is_there(&self, open: &Open, at: (&str, &str)) -> bool {
        match open.get(&self.owner, &self.name, at).await {
            Ok(value) => value == b"v",
            Err(VaultError::Shredded { .. } | VaultError::NotFound(_)) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn order(&self, open: &Open, order: ShredOrder) -> Result<ShredView, VaultError> {
        open.vault.order_shred(&self.owner, &self.name, order, None, None).await
    }

    /// An order that waits for a second person.
    async fn asked(&self, open: &Open, order: ShredOrder) -> ApprovalId {
        let view = self.order(open, order).await.unwrap();
        assert_eq!((view.state(), view.second), ("waiting-for-approval", Some(SecondPerson::Awaited)));
        ApprovalId(view.id.0)
    }

    async fn approve(&self, open: &Open, id: ApprovalId) -> Result<(), VaultError> {
        open.approve(&self.second, &self.name, id).await
    }

    /// Approves what the request is now.
    async fn approve_shown(&self, open: &Open, id: ApprovalId) -> Result<(), VaultError> {
        let shown = open.vault.approval(&self.second, &self.name, id).await?;
        open.vault.approve(&self.second, &self.name, id, Some(shown.digest), None).await.map(drop)
    }

    /// An order's state, at the latest when it is done.
    async fn state(&self, open: &Open, id: ApprovalId) -> &'static str {
        open.awaited(&self.owner, &self.name, ShredId(id.0)).await.state()
    }

    /// Another id of a person's, with what was written under it.
    async fn alias(&self, open: &Open, of: &str, alias: &str) {
        open.add_alias(&self.owner, &self.name, of, alias).await;
    }

    async fn shorten(&self, open: &Open) {
        let asked = open.vault.ask_shortening(&self.owner, &self.name, &coll("c"), None).await.unwrap();
        self.approve(open, asked.id).await.unwrap();
    }
}

fn is_over(result: &Result<(), VaultError>) -> bool {
    matches!(result, Err(VaultError::Conflict(Conflict::ApprovalOver)))
}

/// An approval against whatever else decides the same request at the same moment: one of both, and what is there is as that one says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_decisions_at_the_same_moment_are_one() {
    let (place, _) = place().await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    let third = open.with_role(&acme.owner, &acme.name, Role::Eraser).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    let mut seen: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for round in 0..72_usize {
        let against = ["withdraw", "refuse", "approve"][round % 3];
        let name = format!("p{round}");
        acme.put(&open, ("people", &name)).await;
        let id = acme.asked(&open, person(&name)).await;
        let (ahead, behind) = ((round / 3) % 12 * 30, (round / 36) * 300);
        let approving = {
            let (open, acme) = (open.clone(), acme.clone());
            async move {
                for _ in 0..ahead {
                    tokio::task::yield_now().await;
                }
                acme.approve(&open, id).await
            }
        };
        let other = {
            let (open, acme, third) = (open.clone(), acme.clone(), third.clone());
            async move {
                for _ in 0..behind {
                    tokio::task::yield_now().await;
                }
                let vault = &open.vault;
                match against {
                    "withdraw" => vault.withdraw_approval(&acme.owner, &acme.name, id, None).await.map(drop),
                    "refuse" => vault.refuse_approval(&third, &acme.name, id, None, None).await.map(drop),
                    _ => open.approve(&third, &acme.name, id).await,
                }
            }
        };
        let (approved, other) = match (round / 3) % 6 {
            0 => {
                let approved = approving.await;
                (approved, other.await)
            }
            1 => {
                let other = other.await;
                (approving.await, other)
            }
            _ => {
                let tasks = tokio_util::task::TaskTracker::new();
                let (approved, other) = (tasks.spawn(approving), tasks.spawn(other));
                (approved.await.unwrap(), other.await.unwrap())
            }
        };
        let named = format!("round {round}, {against}: {approved:?}, {other:?}");
        assert!((approved.is_ok() && is_over(&other)) || (other.is_ok() && is_over(&approved)), "{named}");
        let is_done = approved.is_ok() || against == "approve";
        assert_eq!(acme.state(&open, id).await, if is_done { "done" } else { "not-approved" }, "{named}");
        assert_eq!(acme.is_there(&open, ("people", &name)).await, !is_done, "{named}");
        *seen.entry((against, approved.is_ok())).or_default() += 1;
    }
    println!("approvals: (against, approved) {seen:?}");
    for against in ["withdraw", "refuse", "approve"] {
        assert!(seen.contains_key(&(against, true)) && seen.contains_key(&(against, false)), "both must happen: {seen:?}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// Who asked must be there, and neither their time nor the request's may be over, in the very commit: all of it was so when it was looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_approved_whose_asker_or_time_is_gone_in_the_very_commit() {
    for path in ["revoked", "ended", "over"] {
        let (place, clock) = place().await;
        let open = Arc::new(place.open().await);
        let acme = Arc::new(Acme::make(&open, &place).await);
        acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
        acme.put(&open, ("people", "7")).await;
        let mint = MintToken {
            role: Role::Owner,
            kind: TokenKind::Service,
            narrowing: Narrowing::default(),
            expires_at: (path == "ended").then(|| clock.now().plus(DAY * 3)),
        };
        let asker = open.vault.create_token(&acme.owner, &acme.name, mint, None).await.unwrap();
        let asking = open.caller(&asker.text).await;
        let asked = open.vault.order_shred(&asking, &acme.name, person("7"), None, None).await.unwrap();
        assert_eq!(asked.state(), "waiting-for-approval");
        let id = ApprovalId(asked.id.0);
        // Behind that look, and before the commit, it asks whether there are holds.
        let reader = place.meddler.hold_reader(Space::Control, schema::hold_state(ACME));
        let approving = {
            let (open, acme) = (open.clone(), acme.clone());
            async move { acme.approve(&open, id).await }
        };
        let approving = tokio_util::task::TaskTracker::new().spawn(approving);
        reader.has_read().await;
        match path {
            "revoked" => open.vault.revoke_token(&acme.owner, &acme.name, asker.id, None).await.unwrap(),
            "ended" => clock.advance(DAY * 3),
            _ => clock.advance(DAY * 7),
        }
        reader.let_go();
        let approved = approving.await.unwrap();
        assert!(is_over(&approved), "{path}: {approved:?}");
        assert!(acme.is_there(&open, ("people", "7")).await, "{path}");
        let request = open.vault.approval(&acme.second, &acme.name, id).await.unwrap();
        assert_eq!((request.state, request.ended_by), (if path == "over" { "expired" } else { "pending" }, None), "{path}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{path}");
        Arc::into_inner(open).unwrap().close().await;
    }
}

/// In a known order: who has found that one person is enough, before a policy asks for two, does nothing alone behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_by_one_person_before_a_policy_waits_for_a_second_behind_it() {
    for path in ["person", "record", "collection", "tenant", "delete", "batch", "release"] {
        let (place, _) = place().await;
        let open = Arc::new(place.open().await);
        let acme = Arc::new(Acme::make(&open, &place).await);
        acme.put(&open, ("files", "k")).await;
        let held = (path == "release").then(|| hold_on("k"));
        let placed = match held {
            Some(hold) => Some(open.vault.place_hold(&acme.counsel, &acme.name, hold, None).await.unwrap().id),
            None => None,
        };
        let reader = place.meddler.hold_reader(Space::Control, schema::hold_state(ACME));
        let acting = {
            let (open, acme) = (open.clone(), acme.clone());
            async move {
                let waits = |view: ShredView| (view.second == Some(SecondPerson::Awaited)).then_some(()).ok_or(VaultError::Busy);
                let asked = async |order: ShredOrder| acme.order(&open, order).await.and_then(waits);
                let required = |result: Result<(), VaultError>| match result {
                    Err(VaultError::Conflict(Conflict::ApprovalRequired)) => Ok(()),
                    other => panic!("{other:?}"),
                };
                match path {
                    "person" => asked(person("k")).await,
                    "record" => asked(ShredOrder::Record { collection: coll("files"), key: key("k") }).await,
                    "collection" => asked(ShredOrder::Collection(coll("files"))).await,
                    "tenant" => asked(ShredOrder::Tenant { confirm: "acme".into() }).await,
                    "delete" => required(open.delete(&acme.owner, &acme.name, ("files", "k")).await),
                    "batch" => {
                        let delete = BatchOp::Delete { collection: coll("files"), key: key("k"), precondition: Precondition::None };
                        required(match open.vault.batch(&acme.owner, &acme.name, vec![delete], None).await {
                            Err(VaultError::Batch { source, .. }) => Err(*source),
                            other => other.map(drop),
                        })
                    }
                    _ => {
                        let id = placed.unwrap();
                        match open.vault.release_hold(&acme.counsel, &acme.name, id, "settled".into(), None).await? {
                            Released::Asked(_) => Ok(()),
                            Released::Now(view) => panic!("{view:?}"),
                        }
                    }
                }
            }
        };
        let tasks = tokio_util::task::TaskTracker::new();
        let acting = tasks.spawn(acting);
        reader.has_read().await;
        acme.ask_for_two(&open, Some(ShredScope::Record), true).await;
        reader.let_go();
        acting.await.unwrap().unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert!(acme.is_there(&open, ("files", "k")).await, "{path}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "{path}");
        Arc::into_inner(open).unwrap().close().await;
    }
}

/// A hold that comes between the approval and the keys takes the order back, as any; what was approved stays approved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_order_that_a_hold_takes_back_is_given_again_as_approved() {
    let (place, _) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    acme.put(&open, ("people", "7")).await;
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let id = acme.asked(&open, person("7")).await;
    acme.approve(&open, id).await.unwrap();
    refused.next().await;
    assert!(!acme.is_there(&open, ("people", "7")).await, "pending");
    let placed = open.vault.place_hold(&acme.counsel, &acme.name, hold_on("7"), None).await.unwrap();
    place.meddler.refuse_nothing();
    assert_eq!(acme.state(&open, id).await, "held");
    assert!(acme.is_there(&open, ("people", "7")).await);
    open.vault.release_hold(&acme.counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert_eq!(acme.state(&open, id).await, "done");
    assert!(!acme.is_there(&open, ("people", "7")).await);
    let approval = crate::harness::certificate(&open, ShredId(id.0)).await["approval"].clone();
    let (by, second) = (acme.owner.principal.id().to_string(), acme.second.principal.id().to_string());
    assert_eq!(approval, json!({"policy": "two-person", "performed_by": by, "approved_by": second}));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What was approved are the ids of then. Where a person has another one when the hold that kept the order ends, the order waits for
/// another word; one that was taken away is not shredded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_another_id_since_it_was_approved_is_asked_for_anew() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    for name in ["7", "seven", "8", "9", "nine"] {
        acme.put(&open, ("people", name)).await;
    }
    acme.alias(&open, "9", "nine").await;
    let there = async |acme: &Acme, open: &Open| {
        let mut there = Vec::new();
        for name in ["7", "seven", "8", "9", "nine"] {
            if acme.is_there(open, ("people", name)).await {
                there.push(name);
            }
        }
        there
    };
    let (seven, nine) = (acme.asked(&open, person("7")).await, acme.asked(&open, person("nine")).await);
    let mut holds = Vec::new();
    for (name, id) in [("7", seven), ("9", nine)] {
        holds.push(open.vault.place_hold(&acme.counsel, &acme.name, hold_on(name), None).await.unwrap().id);
        acme.approve(&open, id).await.unwrap();
        assert_eq!(acme.state(&open, id).await, "held");
    }
    acme.alias(&open, "7", "seven").await;
    open.vault.remove_alias(&acme.owner, &acme.name, subject("nine"), None).await.unwrap();
    clock.advance(DAY * 3);
    for id in holds {
        open.vault.release_hold(&acme.counsel, &acme.name, id, "settled".into(), None).await.unwrap();
    }
    // By the ids that were named, and that nobody else has now: "nine" was.
    assert_eq!(acme.state(&open, nine).await, "done");
    assert_eq!(acme.state(&open, seven).await, "waiting-for-approval");
    assert_eq!(there(&acme, &open).await, ["7", "seven", "8", "9"]);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;

    let open = place.open().await;
    acme.again(&open).await;
    let request = open.vault.approval(&acme.second, &acme.name, seven).await.unwrap();
    assert_eq!((request.state, request.ended_by, request.expires_at), ("pending", None, clock.now().plus(DAY * 7)));
    let ApprovalWhat::Shred { shown: Some(shown), .. } = request.what.clone() else { panic!("{request:?}") };
    assert_eq!(shown.subjects, ["7", "seven"]);
    let own = open.vault.approve(&acme.owner, &acme.name, seven, Some(request.digest), None).await;
    assert!(matches!(own, Err(VaultError::NotSecond(NotSecond::Asked))), "{own:?}");
    let unseen = acme.approve(&open, seven).await;
    assert!(matches!(unseen, Err(VaultError::PreconditionFailed)), "who saw one id has not seen two: {unseen:?}");
    acme.approve_shown(&open, seven).await.unwrap();
    assert_eq!(acme.state(&open, seven).await, "done");
    assert_eq!(there(&acme, &open).await, ["8", "9"]);
    let approval = crate::harness::certificate(&open, ShredId(seven.0)).await["approval"].clone();
    let (by, second) = (acme.owner.principal.id().to_string(), acme.second.principal.id().to_string());
    assert_eq!(approval, json!({"policy": "two-person", "performed_by": by, "approved_by": second}));
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// An approved order that a hold keeps is asked for anew for all ids that its persons have by then, and they are no more than its row holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_order_that_was_held_is_not_outgrown_by_the_ids_of_its_persons() {
    let place = Place::make_with(VaultOptions { held_order_ids: 3, ..VaultOptions::default() }, true).await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    let all = ["7", "a", "b"];
    for name in all {
        acme.put(&open, ("people", name)).await;
    }
    let id = acme.asked(&open, person("7")).await;
    let held = open.vault.place_hold(&acme.counsel, &acme.name, hold_on("7"), None).await.unwrap().id;
    acme.approve(&open, id).await.unwrap();
    for alias in ["a", "b"] {
        acme.alias(&open, "7", alias).await;
    }
    let new = alias_of("7", "c");
    let more = open.vault.add_alias(&acme.owner, &acme.name, new.clone(), None).await;
    assert!(matches!(more, Err(VaultError::Limit(limits::SUBJECT_ALIASES))), "{more:?}");
    open.vault.release_hold(&acme.counsel, &acme.name, held, "settled".into(), None).await.unwrap();
    assert_eq!(acme.state(&open, id).await, "waiting-for-approval");
    // It names what was asked for and nothing else: what comes now does not go with it.
    open.vault.add_alias(&acme.owner, &acme.name, new, None).await.unwrap();
    assert!(is_over(&acme.approve_shown(&open, id).await));
    open.vault.remove_alias(&acme.owner, &acme.name, subject("c"), None).await.unwrap();
    acme.approve_shown(&open, id).await.unwrap();
    assert_eq!(acme.state(&open, id).await, "done");
    for name in all {
        assert!(!acme.is_there(&open, ("people", name)).await, "{name}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// An order that is asked for again while another of the same is asked for has a place of its own; its digest names all the same what would be
/// approved, each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_again_has_another_digest_for_each_other_id() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    for name in ["7", "seven", "sieben"] {
        acme.put(&open, ("people", name)).await;
    }
    let id = acme.asked(&open, person("7")).await;
    let mut digests = vec![open.vault.approval(&acme.second, &acme.name, id).await.unwrap().digest];
    let mut others = Vec::new();
    for (alias, names) in [("seven", 2), ("sieben", 3)] {
        let held = open.vault.place_hold(&acme.counsel, &acme.name, hold_on("7"), None).await.unwrap().id;
        acme.approve_shown(&open, id).await.unwrap();
        assert_eq!(acme.state(&open, id).await, "held");
        acme.alias(&open, "7", alias).await;
        // By these ids it is asked for already when the hold ends.
        others.push(acme.asked(&open, person("7")).await);
        open.vault.release_hold(&acme.counsel, &acme.name, held, "settled".into(), None).await.unwrap();
        assert_eq!(acme.state(&open, id).await, "waiting-for-approval");
        let request = open.vault.approval(&acme.second, &acme.name, id).await.unwrap();
        let ApprovalWhat::Shred { shown: Some(shown), .. } = request.what.clone() else { panic!("{request:?}") };
        assert_eq!(shown.subjects.len(), names, "{request:?}");
        for earlier in &digests {
            assert_ne!(*earlier, request.digest, "{names} ids");
            let unseen = open.vault.approve(&acme.second, &acme.name, id, Some(*earlier), None).await;
            assert!(matches!(unseen, Err(VaultError::PreconditionFailed)), "{unseen:?}");
        }
        digests.push(request.digest);
    }
    acme.approve_shown(&open, id).await.unwrap();
    assert_eq!(acme.state(&open, id).await, "done");
    for other in others {
        open.vault.withdraw_approval(&acme.owner, &acme.name, other, None).await.unwrap();
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// The second person of a shortening was there for seven days at least, whatever a first policy says of how long requests wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_policy_makes_no_second_person_of_a_new_token() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    set(&open, &acme.owner, &acme.name, policy(ShredUnit::Record, "UTC", &one_rule(&json!("created"), "10d"))).await;
    let brief =
        ApprovalRules { shreds: Some(ShredScope::Tenant), release_hold: false, window: Window::of(Period::parse("1d").unwrap()).unwrap() };
    open.vault.put_policy(&acme.owner, &acme.name, brief, None).await.unwrap();
    let third = open.with_role(&acme.owner, &acme.name, Role::Owner).await;
    for (days, may) in [(2, false), (4, false), (1, true)] {
        clock.advance(DAY * days);
        let asked = open.vault.ask_shortening(&acme.owner, &acme.name, &coll("c"), None).await.unwrap();
        assert_eq!(asked.expires_at, clock.now().plus(DAY * 7));
        let approved = open.approve(&third, &acme.name, asked.id).await;
        assert_eq!(approved.is_ok(), may, "{days} days on: {approved:?}");
        assert!(may || matches!(approved, Err(VaultError::NotSecond(NotSecond::New))), "{approved:?}");
        if !may {
            open.vault.withdraw_approval(&acme.owner, &acme.name, asked.id, None).await.unwrap();
        }
    }
    open.close().await;
}

/// An approved order that a hold has stopped, and whose target goes with another when that ends, is withdrawn as any: the request says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_order_whose_target_went_with_another_is_told_of_as_gone() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Record), false).await;
    let mut gone = 0;
    // Which of the two comes first, their numbers decide.
    for number in 0..16 {
        let collection = coll(&format!("c{number}"));
        open.collection(&acme.owner, &acme.name, collection.as_str(), ShredUnit::Record).await;
        acme.put(&open, (collection.as_str(), "k")).await;
        let record = acme.asked(&open, ShredOrder::Record { collection: collection.clone(), key: key("k") }).await;
        let whole = acme.asked(&open, ShredOrder::Collection(collection.clone())).await;
        let on = hold_of(HoldScope::Collection(collection));
        let placed = open.vault.place_hold(&acme.counsel, &acme.name, on, None).await.unwrap();
        for id in [record, whole] {
            acme.approve(&open, id).await.unwrap();
            assert_eq!(acme.state(&open, id).await, "held");
        }
        open.vault.release_hold(&acme.counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
        assert_eq!(acme.state(&open, whole).await, "done");
        let request = open.vault.approval(&acme.second, &acme.name, record).await.unwrap();
        assert_eq!(request.state, "approved");
        if matches!(request.what, ApprovalWhat::Shred { order: "gone", .. }) {
            gone += 1;
        } else {
            assert_eq!(acme.state(&open, record).await, "done");
        }
        assert!(is_over(&acme.approve(&open, record).await));
    }
    assert!(gone > 0, "the record's order always came first");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// In a known order: an id that a person is given between the look at an approval and its commit does not go with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_given_at_the_moment_of_an_approval_was_not_approved() {
    let (place, _) = place().await;
    let open = Arc::new(place.open().await);
    let acme = Arc::new(Acme::make(&open, &place).await);
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    for name in ["7", "seven"] {
        acme.put(&open, ("people", name)).await;
    }
    let id = acme.asked(&open, person("7")).await;
    let commit = place.meddler.hold_commit(|commit| sets(commit, Table::PendingShred, |_, _| true));
    let approving = {
        let (open, acme) = (open.clone(), acme.clone());
        async move { acme.approve(&open, id).await }
    };
    let tasks = tokio_util::task::TaskTracker::new();
    let approving = tasks.spawn(approving);
    commit.has_read().await;
    acme.alias(&open, "7", "seven").await;
    commit.let_go();
    let approved = approving.await.unwrap();
    assert!(is_over(&approved), "{approved:?}");
    for name in ["7", "seven"] {
        assert!(acme.is_there(&open, ("people", name)).await, "{name}");
    }
    assert_eq!(open.vault.approval(&acme.owner, &acme.name, id).await.unwrap().state, "pending");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    Arc::into_inner(open).unwrap().close().await;
}

/// A start finds everything as it was: what waits, waits; whose time is over, is over; and a second person is who was one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_second_person_outlives_a_restart() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Record), true).await;
    for name in ["7", "8", "9"] {
        acme.put(&open, ("people", name)).await;
    }
    let (seven, eight) = (acme.asked(&open, person("7")).await, acme.asked(&open, person("8")).await);
    open.close().await;
    let open = place.open().await;
    acme.again(&open).await;
    let own = open.approve(&acme.owner, &acme.name, seven).await;
    assert!(matches!(own, Err(VaultError::NotSecond(NotSecond::Asked))), "{own:?}");
    acme.approve(&open, seven).await.unwrap();
    assert_eq!(acme.state(&open, seven).await, "done");
    clock.advance(DAY * 7);
    open.close().await;
    let open = place.open().await;
    acme.again(&open).await;
    run(&open, &clock).await;
    assert_eq!(open.vault.approval(&acme.owner, &acme.name, eight).await.unwrap().state, "expired");
    assert!(is_over(&acme.approve(&open, eight).await));
    assert!(acme.is_there(&open, ("people", "8")).await && !acme.is_there(&open, ("people", "7")).await);
    let nine = acme.asked(&open, person("9")).await;
    let operator = open.caller(&place.operator).await;
    let foreign = open.approve(&operator, &acme.name, nine).await;
    assert!(matches!(foreign, Err(VaultError::Forbidden)), "the operator is no second person: {foreign:?}");
    open.close().await;
}

/// Whose time was found to be over by who decides stays over, whatever the clock says then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_found_to_be_over_is_not_opened_by_a_clock_that_goes_back() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    for name in ["approve", "refuse", "withdraw"] {
        acme.put(&open, ("people", name)).await;
        let id = acme.asked(&open, person(name)).await;
        clock.advance(DAY * 7);
        let late = match name {
            "approve" => acme.approve(&open, id).await,
            "refuse" => open.vault.refuse_approval(&acme.second, &acme.name, id, None, None).await.map(drop),
            _ => open.vault.withdraw_approval(&acme.owner, &acme.name, id, None).await.map(drop),
        };
        assert!(is_over(&late), "{name}: {late:?}");
        clock.go_back(DAY * 7);
        let again = acme.approve(&open, id).await;
        assert!(is_over(&again), "{name}: {again:?}");
        assert_eq!(open.vault.approval(&acme.second, &acme.name, id).await.unwrap().state, "expired", "{name}");
        assert!(acme.is_there(&open, ("people", name)).await, "{name}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// The check of a store at rest finds a request that nobody would find, that nothing would end, and an order that nobody is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_of_a_request_for_a_second_person_is_found() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Subject), false).await;
    let id = acme.asked(&open, person("7")).await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    for (table, said) in [
        (Table::ApprovalOpen, "it is not found by what it asks for"),
        (Table::ApprovalDue, "nothing ends it in its time"),
        (Table::ShredOrder, "its order is not there"),
        (Table::Approval, "it waits for a second person, and nobody is asked"),
        (Table::Approval, "no request for approval that is open is found by it"),
    ] {
        let row = rows::table(&open.store, table).await.pop().unwrap();
        rows::set(&open.store, Space::Control, &row.key, None).await;
        let found = findings(&open).await;
        assert!(found.iter().any(|finding| finding.contains(said)), "{table:?}: {found:?}");
        rows::set(&open.store, Space::Control, &row.key, Some(row.value)).await;
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    acme.approve(&open, id).await.unwrap();
    open.close().await;
}

/// A long collection is gone through in passes, and goes on behind a crash; a rule that one person makes shorter meanwhile ends nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_gone_through_in_passes_and_by_the_rules_that_were_approved_alone() {
    const MANY: usize = 5_000;
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Collection, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    for first in (0..MANY).step_by(1_000) {
        let ops = (first..first + 1_000).map(|number| put_op("c", number, &[])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    set(&open, &acme.owner, &acme.name, kept_for("30d")).await;
    acme.shorten(&open).await;
    set(&open, &acme.owner, &acme.name, kept_for("1d")).await;
    let mut passes = 0;
    // It dies in the middle, at a commit.
    place.meddler.refuse({
        let steps = AtomicUsize::new(0);
        move |commit| {
            let is_step = sets(commit, Table::Shortened, |_, _| true);
            (is_step && steps.fetch_add(1, Ordering::Relaxed) >= 20).then(|| StoreError::Io("planted".into()))
        }
    });
    let job = lethe::jobs::Retention { vault: open.vault.clone(), limit: 1_000 };
    let died = loop {
        match job.run_once(clock.now()).await {
            Ok(done) => assert!(done.more && done.destroyed == 0, "{done:?}"),
            Err(error) => break error,
        }
        passes += 1;
        assert!(passes < 10);
    };
    assert!(matches!(died, VaultError::Unavailable(_)), "{died:?}");
    place.meddler.refuse_nothing();
    open.close().await;
    let open = place.open().await;
    acme.again(&open).await;
    while run(&open, &clock).await.more {
        passes += 1;
        assert!(passes < 20, "it does not end");
    }
    assert!(passes >= 2, "5,000 records in passes: {passes}");
    let shortened = open.trail(&acme.owner, &acme.name, "retention.shorten").await;
    let counts: Vec<u32> = shortened.iter().filter_map(|named| named.entry.entry.target.count).collect();
    assert_eq!(counts, [u32::try_from(MANY).unwrap()], "each once");
    // By the rules that were approved: neither by the shorter ones of one person, nor a day early.
    clock.advance(DAY * 30);
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(DAY);
    let mut destroyed = 0;
    loop {
        let done = run(&open, &clock).await;
        destroyed += done.destroyed;
        if !done.more {
            break;
        }
    }
    assert_eq!(destroyed, MANY as u64);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Whoever lists what waits reads no request that has ended; any other page reads so many, and says that there is more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_what_waits_reads_nothing_that_has_ended_and_no_page_reads_all() {
    const ENDED: usize = 1_100;
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.ask_for_two(&open, Some(ShredScope::Record), false).await;
    for _ in 0..ENDED {
        let id = acme.asked(&open, person("7")).await;
        open.vault.withdraw_approval(&acme.owner, &acme.name, id, None).await.unwrap();
    }
    let mut waiting = BTreeSet::new();
    for name in ["1", "2", "3"] {
        waiting.insert(acme.asked(&open, person(name)).await);
    }
    let list = async |state: Option<&str>, limit: usize| {
        let (mut found, mut pages, mut cursor) = (Vec::new(), Vec::new(), None::<String>);
        loop {
            let (page, next) = open.vault.approvals(&acme.second, &acme.name, state, cursor.as_deref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            pages.push(page.len());
            found.extend(page.into_iter().map(|view| view.id));
            cursor = next;
            if cursor.is_none() {
                return (found, pages);
            }
        }
    };
    place.meddler.take_control_read();
    let (pending, pages) = list(Some("pending"), 2).await;
    let read = place.meddler.take_control_read();
    assert!(pages == [2, 1] && read < 100, "{pages:?}, {read} rows of control");
    assert_eq!((pending.iter().copied().collect::<BTreeSet<_>>(), pending.is_sorted()), (waiting.clone(), true));
    // A thousand of those that have ended are looked at for the first page, although none of them is refused.
    let (refused, pages) = list(Some("refused"), 10).await;
    assert_eq!((refused, pages), (Vec::new(), vec![0, 0]));
    let (all, _) = list(None, 1_000).await;
    assert_eq!((all.len(), all.is_sorted()), (ENDED + waiting.len(), true), "each once");
    assert!(waiting.iter().all(|id| all.contains(id)));
    open.close().await;
}

/// One tenant's long collection holds up nobody's data that is due: that goes with the first pass. And what is due by the shorter rules is
/// found in whichever pass it was brought forward.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_does_not_wait_for_a_long_collection_that_is_shortened() {
    const MANY: usize = 3_000;
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Collection, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    for first in (0..MANY).step_by(1_000) {
        let ops = (first..first + 1_000).map(|number| put_op("c", number, &[])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    set(&open, &acme.owner, &acme.name, kept_for("1d")).await;
    let (other, owner, _) = open.tenant(&place, "other").await;
    open.collection(&owner, &other, "c", ShredUnit::Subject).await;
    let put = PutRecord { expires_at: Some(clock.now().plus(DAY)), ..put_of(Some("9"), b"v") };
    open.vault.put_record(&owner, &other, &coll("c"), key("ends"), put).await.unwrap();
    clock.advance(DAY * 3);
    acme.shorten(&open).await;

    let first = run(&open, &clock).await;
    assert_eq!(rows::records(&open.store, TenantNo(2)).await, [], "{first:?}");
    assert!(first.more, "{first:?}");
    let (mut destroyed, mut passes) = (first.destroyed, 1);
    loop {
        let done = run(&open, &clock).await;
        destroyed += done.destroyed;
        passes += 1;
        if !done.more {
            break;
        }
        assert!(passes < 20, "it does not end");
    }
    assert_eq!(destroyed, MANY as u64 + 1);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What an order has closed while a long collection was gone through is looked at again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_long_collection_what_an_order_has_closed_alone_is_gone_through_again() {
    let (place, clock) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    for first in (0..3_000).step_by(1_000) {
        let ops = (first..first + 1_000).map(|number| put_op("c", number, &["9"])).collect();
        open.vault.batch(&acme.owner, &acme.name, ops, None).await.unwrap();
    }
    open.put(&acme.owner, &acme.name, ("c", "closed"), Some("7"), b"v").await.unwrap();
    set(&open, &acme.owner, &acme.name, kept_for("30d")).await;
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let order = ApprovalId(acme.order(&open, person("7")).await.unwrap().id.0);
    refused.next().await;
    let asked = open.vault.ask_shortening(&acme.owner, &acme.name, &coll("c"), None).await.unwrap().id;
    acme.approve(&open, asked).await.unwrap();
    let done = async || {
        let what = open.vault.approval(&acme.owner, &acme.name, asked).await.unwrap().what;
        let ApprovalWhat::ShortenRetention { done, .. } = what else { panic!("{what:?}") };
        done
    };
    while run(&open, &clock).await.more {}
    assert_eq!(done().await, Some(false), "a record of it cannot be read for now");
    open.vault.place_hold(&acme.counsel, &acme.name, hold_on("7"), None).await.unwrap();
    place.meddler.refuse_nothing();
    assert_eq!(acme.state(&open, order).await, "held");
    // Its key is lent again a moment behind the word of it.
    while open.get(&acme.owner, &acme.name, ("c", "closed")).await.is_err() {
        tokio::task::yield_now().await;
    }
    let steps = Arc::new(AtomicUsize::new(0));
    place.meddler.refuse({
        let steps = steps.clone();
        move |commit| {
            steps.fetch_add(usize::from(sets(commit, Table::Shortened, |_, _| true)), Ordering::Relaxed);
            None
        }
    });
    assert!(!run(&open, &clock).await.more);
    // All of it anew would be 24.
    let steps = steps.load(Ordering::Relaxed);
    assert!(done().await == Some(true) && steps <= 2, "{steps} steps");
    clock.advance(DAY * 31);
    let mut ended = (0, 0);
    loop {
        let done = run(&open, &clock).await;
        ended = (ended.0 + done.destroyed, ended.1 + done.held);
        if !done.more {
            break;
        }
    }
    assert_eq!(ended, (3_000, 1), "also what was closed");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A hold and a minimum stand over whatever two persons say; a record that waits under a hold goes with its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hold_and_no_minimum_is_undercut_by_two_persons() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    set(&open, &acme.owner, &acme.name, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "7y"))).await;
    for name in ["free", "held"] {
        open.put(&acme.owner, &acme.name, ("c", name), Some(name), b"v").await.unwrap();
    }
    let placed = open.vault.place_hold(&acme.counsel, &acme.name, hold_on("held"), None).await.unwrap();
    let law =
        json!([{"name": "rule", "from": "created", "minimum": {"period": "60d", "basis": "a law"}, "maximum": "60d", "then": "delete"}]);
    set(&open, &acme.owner, &acme.name, policy(ShredUnit::Subject, "UTC", &law)).await;
    acme.shorten(&open).await;
    for day in 0..61 {
        assert_eq!(run(&open, &clock).await.destroyed, 0, "day {day}");
        clock.advance(DAY);
    }
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.held), (1, 1), "{done:?}");
    let there = async |name: &str| is_there(&open, &acme.owner, &acme.name, name).await;
    assert_eq!((there("free").await, there("held").await), (false, true));
    // Again while it waits: it is not written down twice.
    set(&open, &acme.owner, &acme.name, policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), "10d"))).await;
    acme.shorten(&open).await;
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.held), (0, 0), "{done:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.vault.release_hold(&acme.counsel, &acme.name, placed.id, "settled".into(), None).await.unwrap();
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(!there("held").await);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What an order has closed while it is gone through, and a hold takes back, is gone through again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_has_closed_is_shortened_once_a_hold_takes_it_back() {
    let (place, clock) = place().await;
    let open = place.open_meddled().await;
    let acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    for name in ["7", "8"] {
        open.put(&acme.owner, &acme.name, ("c", name), Some(name), b"v").await.unwrap();
    }
    set(&open, &acme.owner, &acme.name, kept_for("30d")).await;
    let refused = place.meddler.refuse_epochs(StoreError::DiskFull);
    let order = ApprovalId(acme.order(&open, person("7")).await.unwrap().id.0);
    refused.next().await;
    let asked = open.vault.ask_shortening(&acme.owner, &acme.name, &coll("c"), None).await.unwrap().id;
    acme.approve(&open, asked).await.unwrap();
    let done = async || {
        let what = open.vault.approval(&acme.owner, &acme.name, asked).await.unwrap().what;
        let ApprovalWhat::ShortenRetention { done, .. } = what else { panic!("{what:?}") };
        done
    };
    run(&open, &clock).await;
    assert_eq!(done().await, Some(false), "a record of it cannot be read for now");
    open.vault.place_hold(&acme.counsel, &acme.name, hold_on("7"), None).await.unwrap();
    place.meddler.refuse_nothing();
    assert_eq!(acme.state(&open, order).await, "held");
    run(&open, &clock).await;
    assert_eq!(done().await, Some(true));
    clock.advance(DAY * 31);
    let due = run(&open, &clock).await;
    assert_eq!((due.destroyed, due.held), (1, 1), "{due:?}");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// Across a restore, what shorter rules ended is over in older data also where an order is about to take the collection along: a hold may
/// take that order back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_persons_have_shortened_is_over_in_a_collection_that_is_about_to_go() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Collection, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    open.put(&acme.owner, &acme.name, ("c", "k"), Some("7"), b"v").await.unwrap();
    open.close().await;
    place.copy("store/data", "then/data");

    let open = place.open_meddled().await;
    acme.again(&open).await;
    set(&open, &acme.owner, &acme.name, kept_for("30d")).await;
    acme.shorten(&open).await;
    run(&open, &clock).await;
    clock.advance(DAY * 31);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    place.meddler.refuse_epochs(StoreError::DiskFull);
    acme.order(&open, ShredOrder::Collection(coll("c"))).await.unwrap();
    open.close().await;

    place.put_back("then/data", "store/data");
    let open = place.open_idle().await;
    open.vault.begin_restoring();
    let done = open.vault.replay_retention().await.unwrap();
    assert_eq!((done.destroyed, done.failed), (1, 0), "{done:?}");
    open.close().await;
}

/// While older data is made ready no other run looks at it, and who makes it ready beside another is told that it is only once all of it is
/// gone through: what two persons have shortened ends as it did, although the rules are longer by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_is_made_ready_by_one_at_a_time_and_by_no_other_run() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    open.put(&acme.owner, &acme.name, ("c", "k"), Some("7"), b"v").await.unwrap();
    open.close().await;
    place.copy("store/data", "then/data");

    let open = place.open().await;
    acme.again(&open).await;
    set(&open, &acme.owner, &acme.name, kept_for("30d")).await;
    acme.shorten(&open).await;
    run(&open, &clock).await;
    clock.advance(DAY * 31);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    set(&open, &acme.owner, &acme.name, kept_for("9y")).await;
    open.close().await;

    place.put_back("then/data", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    let operator = open.caller(&place.operator).await;
    open.vault.begin_restoring();
    // Whoever is the first to look at records.
    let held = place.meddler.hold_scan(|space, _| space == Space::Records);
    let job = tokio::time::timeout(PATIENCE, run(&open, &clock)).await;
    assert_eq!(job.expect("it looks at no record"), Destroyed::default());
    let asked = tokio::time::timeout(PATIENCE, open.vault.run_retention(&operator, None, 10, None)).await;
    assert!(matches!(asked, Ok(Err(VaultError::Unavailable(_)))), "{asked:?}");
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
    assert!(!is_there(&open, &acme.owner, &acme.name, "k").await);
    let causes: Vec<_> = reports(&open, &acme.owner, &acme.name).await.iter().map(|view| view.report.cause).collect();
    assert_eq!(causes, [Cause::Restore], "all of it is told as that");
    open.close().await;
}

/// A row of the index that somebody planted, or bent, ends a record by no rule that an owner alone has made shorter, and by those that two have
/// let hold for it at their end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_does_not_open_ends_nothing_earlier_than_two_persons_have_let_it_end() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    clock.advance(DAY * 7);
    let kept_for = |period: &str| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period));
    set(&open, &acme.owner, &acme.name, kept_for("7y")).await;
    for name in ["a", "b"] {
        open.put(&acme.owner, &acme.name, ("c", name), Some("7"), b"v").await.unwrap();
    }
    clock.advance(DAY);
    set(&open, &acme.owner, &acme.name, kept_for("30d")).await;
    clock.advance(DAY * 40);
    let keys = async || due_rows(&open).await.into_iter().map(|row| row.key).collect::<Vec<_>>();
    let write = async |spoilt: &dyn Fn(Row) -> Write| {
        rows::write(&open.store, due_rows(&open).await.into_iter().map(spoilt).collect()).await;
    };
    // What is sealed in a row is sealed to its place.
    let planted = |Row { key, value }: Row| {
        let Due { fineness, tenant, collection, record, .. } = schema::due_parts(&key).unwrap();
        Write::Put { space: Space::Index, key: schema::due(fineness, 1, tenant, collection, &record), value }
    };
    let bent = |Row { key, value }: Row| Write::Put { space: Space::Index, key, value: rows::bent(&value) };
    let stood = keys().await;
    write(&planted).await;
    assert_eq!(keys().await.len(), 4);
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.moved, done.failed), (0, 2, 0), "by the rules of an owner alone: {done:?}");
    assert_eq!(keys().await, stood, "they end as they did");

    set(&open, &acme.owner, &acme.name, kept_for("100d")).await;
    acme.shorten(&open).await;
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    let shortened = keys().await;
    assert!(shortened.len() == 2 && shortened != stood);
    // In an hour in which a run looks again.
    clock.advance(Duration::from_hours(2));
    write(&planted).await;
    let done = run(&open, &clock).await;
    assert_eq!((done.destroyed, done.moved, done.failed), (0, 2, 0), "before the end that two persons approved: {done:?}");
    assert_eq!(keys().await, shortened);
    write(&bent).await;
    clock.advance(DAY * 61);
    assert_eq!(run(&open, &clock).await.destroyed, 2, "at that end");
    assert!(keys().await.is_empty());
    open.close().await;
}

/// RET-4 across a restore: what shorter rules ended, because two persons said so, stays over in data of before that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_persons_have_shortened_stays_over_in_older_data() {
    let (mut revived, mut survived) = (0, 0);
    for seed in 0..8_u64 {
        let (place, clock) = place().await;
        let open = place.open().await;
        let mut acme = Acme::make(&open, &place).await;
        to(&clock, "2000-03-01T00:00:00Z");
        let mut draw = Draw(seed);
        let drawn = |draw: &mut Draw| -> CollectionPolicy {
            let days = draw.below(120) + 1;
            let mut rules = one_rule(&json!("created"), &format!("{days}d"));
            if draw.below(2) == 0 {
                rules[0]["mark"] = json!(format!("{}d", days.min(draw.below(20) + 1)));
            }
            policy(ShredUnit::Subject, "UTC", &rules)
        };
        set(&open, &acme.owner, &acme.name, drawn(&mut draw)).await;
        let mut names = Vec::new();
        for day in 0..20 {
            let name = format!("k{day}");
            open.put(&acme.owner, &acme.name, ("c", &name), Some("7"), b"v").await.unwrap();
            names.push(name);
            step(&open, &clock, &acme, &mut draw, &drawn, 6).await;
        }
        let then = there(&open, &acme.owner, &acme.name, &names).await;
        open.close().await;
        place.copy("store/data", "then/data");

        let open = place.open().await;
        acme.again(&open).await;
        for _ in 0..60 {
            step(&open, &clock, &acme, &mut draw, &drawn, 7).await;
        }
        let kept = there(&open, &acme.owner, &acme.name, &names).await;
        open.close().await;
        assert!(kept.is_subset(&then));
        survived += kept.len();
        for made_ready in [true, false] {
            place.put_back("then/data", "store/data");
            let open = place.open().await;
            acme.again(&open).await;
            if made_ready {
                open.vault.begin_restoring();
                open.vault.replay_retention().await.unwrap();
                open.vault.end_restoring();
                assert_eq!(there(&open, &acme.owner, &acme.name, &names).await, kept, "seed {seed}");
            } else {
                revived += there(&open, &acme.owner, &acme.name, &names).await.difference(&kept).count();
            }
            open.close().await;
        }
    }
    // So that it made a difference, and not everything was over.
    assert!(revived > 0 && survived > 0, "{revived} {survived}");
}

/// A day: rules that change at noon now and then, and are let hold for what is there an hour later; a run at midnight.
async fn step(open: &Open, clock: &TestClock, acme: &Acme, draw: &mut Draw, drawn: &Drawn, seldom: u64) {
    const HOUR: Duration = Duration::from_hours(1);
    clock.advance(HOUR * 12);
    if draw.below(seldom) == 0 {
        set(open, &acme.owner, &acme.name, drawn(draw)).await;
        clock.advance(HOUR);
        if draw.below(2) == 0 {
            acme.shorten(open).await;
            run(open, clock).await;
        }
        clock.advance(HOUR * 11);
    } else {
        clock.advance(HOUR * 12);
    }
    run(open, clock).await;
}
