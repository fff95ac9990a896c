//! Policies that change while orders are under way, and after them: what an order deleted stays deleted and what it kept stays,
//! whatever older data is put back.

use std::time::Duration;

use lethe::{
    domain::{CollectionNo, CollectionPolicy, ShredUnit, TenantName, TenantNo, policy::SecondarySubjects},
    vault::{
        ops::{Caller, Conflict, Missing, ShredView, Unprocessable, VaultError, VaultOptions},
        store::{Space, StoreError, Urgency, schema},
    },
};

use crate::{
    harness::{Open, Place, coll, key, person, put_about},
    meddling::sets,
};

/// Sets a collection's policy.
async fn set(open: &Open, owner: &Caller, acme: &TenantName, unit: ShredUnit, second: SecondarySubjects) -> Result<(), VaultError> {
    let policy = CollectionPolicy { shred_unit: unit, secondary_subjects: second, ..CollectionPolicy::default() };
    open.vault.put_collection(owner, acme, &coll("c"), policy, None).await.map(drop)
}

/// Stores `k` about these.
async fn put(open: &Open, owner: &Caller, acme: &TenantName, subjects: &[&str]) {
    open.vault.put_record(owner, acme, &coll("c"), key("k"), put_about(subjects, b"v")).await.unwrap();
}

fn is_missing<T>(got: &Result<T, VaultError>) -> bool {
    matches!(got, Err(VaultError::NotFound(Missing::Record)))
}

fn counted(view: &ShredView) -> (u64, u64) {
    view.collections.iter().fold((0, 0), |sum, (_, totals)| (sum.0 + totals.deleted, sum.1 + totals.kept))
}

/// The order meets a collection whose unit is being changed, which turns out to have records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_waits_for_a_collection_whose_unit_is_being_changed() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, ShredUnit::Collection, SecondarySubjects::Keep).await.unwrap();
    put(&open, &owner, &acme, &["7"]).await;
    let look = place.meddler.hold(Space::Records, schema::records_under(TenantNo(1), CollectionNo(1), &[]).from);
    let order = person("7");
    let changed = set(&open, &owner, &acme, ShredUnit::Subject, SecondarySubjects::Keep);
    let ordered = async {
        // Frozen: a write is told to come again.
        while !matches!(open.put(&owner, &acme, ("c", "other"), Some("8"), b"v").await, Err(VaultError::Busy)) {
            tokio::task::yield_now().await;
        }
        let view = open.vault.order_shred(&owner, &acme, order, Some(Duration::from_secs(3)), None).await.unwrap();
        look.add_permits(1_000);
        view
    };
    let (changed, view) = tokio::join!(changed, ordered);
    assert!(matches!(changed, Err(VaultError::Conflict(Conflict::ShredUnitFixed))), "{changed:?}");
    assert!(!view.done, "an order was certified before it could look at a collection");
    let view = open.awaited(&owner, &acme, view.id).await;
    assert!(view.done);
    assert_eq!(counted(&view), (1, 0));
    assert!(is_missing(&open.get(&owner, &acme, ("c", "k")).await));
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_does_not_stay_frozen() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    set(&open, &owner, &acme, ShredUnit::Collection, SecondarySubjects::Keep).await.unwrap();
    put(&open, &owner, &acme, &["7"]).await;
    let to_subject = || set(&open, &owner, &acme, ShredUnit::Subject, SecondarySubjects::Keep);
    // version u8 | state u8 ..: a row that says "active".
    let thaws = |commit: &lethe::vault::store::Commit| sets(commit, schema::Table::Collection, |_, value| value[1] == 0);
    // A full disk takes what is essential: the way back is.
    place.meddler.refuse(move |commit| (thaws(commit) && commit.urgency == Urgency::Normal).then_some(StoreError::DiskFull));
    assert!(matches!(to_subject().await, Err(VaultError::Conflict(Conflict::ShredUnitFixed))));
    open.put(&owner, &acme, ("c", "other"), Some("8"), b"v").await.unwrap();
    for by_change in [true, false] {
        // Nothing is taken for a while.
        place.meddler.refuse(move |commit| thaws(commit).then_some(StoreError::DiskFull));
        assert!(matches!(to_subject().await, Err(VaultError::DiskFull)));
        assert!(matches!(open.put(&owner, &acme, ("c", "other"), Some("8"), b"v").await, Err(VaultError::Busy)));
        place.meddler.refuse_nothing();
        if by_change {
            assert!(matches!(to_subject().await, Err(VaultError::Conflict(Conflict::ShredUnitFixed))));
            open.put(&owner, &acme, ("c", "other"), Some("8"), b"v").await.unwrap();
            continue;
        }
        let written = async {
            while let Err(error) = open.put(&owner, &acme, ("c", "other"), Some("8"), b"v").await {
                assert!(matches!(error, VaultError::Busy), "{error:?}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.expect("frozen for 30 s");
    }
    open.close().await;
}

/// What a collection's policy says of those named second, at the order and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_meets_an_order_under_the_rule_of_its_time() {
    use SecondarySubjects::{Delete, Keep};
    for (at_the_order, later) in [(Delete, Keep), (Keep, Delete)] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, ShredUnit::Subject, later).await.unwrap();
        set(&open, &owner, &acme, ShredUnit::Subject, at_the_order).await.unwrap();
        put(&open, &owner, &acme, &["8", "7"]).await;
        open.close().await;
        place.copy("store/data", "older");
        let open = place.open().await;
        let view = open.shred_subject(&owner, &acme, "7").await;
        assert_eq!(counted(&view), if at_the_order == Delete { (1, 0) } else { (0, 1) });
        set(&open, &owner, &acme, ShredUnit::Subject, later).await.unwrap();
        open.close().await;
        place.put_back("older", "store/data");
        let open = place.open().await;
        let got = open.get(&owner, &acme, ("c", "k")).await;
        match at_the_order {
            Delete => assert!(is_missing(&got), "a record that the certificate counts as deleted is back: {got:?}"),
            Keep => assert_eq!(got.unwrap(), b"v", "a record that the certificate counts as kept is gone"),
        }
        open.close().await;
    }
}

/// A record that no person's key protects is deleted with its person, although the collection's records have such keys today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_of_another_unit_is_found_by_an_order() {
    for when in ["before", "after", "again"] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let mut open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        set(&open, &owner, &acme, ShredUnit::Collection, SecondarySubjects::Keep).await.unwrap();
        put(&open, &owner, &acme, &["7"]).await;
        open.close().await;
        place.copy("store/data", "older");
        open = place.open().await;
        if when == "before" {
            // The order deletes it, then the unit changes.
            assert_eq!(counted(&open.shred_subject(&owner, &acme, "7").await), (1, 0));
        } else {
            open.delete(&owner, &acme, ("c", "k")).await.unwrap();
        }
        set(&open, &owner, &acme, ShredUnit::Subject, SecondarySubjects::Keep).await.unwrap();
        if when == "after" {
            assert_eq!(counted(&open.shred_subject(&owner, &acme, "7").await), (0, 0));
        }
        open.close().await;
        place.put_back("older", "store/data");
        open = place.open().await;
        if when == "again" {
            assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"v");
            assert_eq!(counted(&open.shred_subject(&owner, &acme, "7").await), (1, 0));
        }
        let got = open.get(&owner, &acme, ("c", "k")).await;
        assert!(is_missing(&got), "order {when}: {got:?}");
        open.close().await;
    }
}

/// A reader is held up between the collection's row and the cache while the policy changes: what it read is not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_policy_before_its_change_is_not_kept_after_it() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, text) = open.tenant(&place, "acme").await;
    let purposes = |of: &str| CollectionPolicy { purposes: vec![of.into()], ..CollectionPolicy::default() };
    open.vault.put_collection(&owner, &acme, &coll("c"), purposes("billing"), None).await.unwrap();
    put(&open, &owner, &acme, &["7"]).await;
    open.close().await;
    // Nothing is remembered.
    let open = place.open().await;
    let owner = open.caller(&text).await;
    let billing = Caller::new(owner.principal.clone(), owner.request, Some("billing".into()));
    let held = place.meddler.hold_reader(Space::Control, schema::collection(TenantNo(1), CollectionNo(1)));
    let before = open.get(&billing, &acme, ("c", "k"));
    let change = async {
        held.has_read().await;
        open.vault.put_collection(&owner, &acme, &coll("c"), purposes("support"), None).await.unwrap();
        held.let_go();
    };
    let (before, ()) = tokio::join!(before, change);
    assert_eq!(before.unwrap(), b"v", "it began before the change");
    let after = open.get(&billing, &acme, ("c", "k")).await;
    assert!(matches!(after, Err(VaultError::Unprocessable(Unprocessable::PurposeUndeclared))), "{after:?}");
    open.close().await;
}
