//! The sweep: everything that is due goes in one pass, whatever else lies there; what comes in slowly stays.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lethe::{
    domain::{Clock as _, RequestId, ShredUnit, SnapshotId},
    jobs::Sweep,
    vault::{
        ops::{PutRecord, VaultError},
        store::{Commit, Row, Space, Store as _, StoreError, Write, schema::Table},
    },
};
use tokio::sync::mpsc;

use crate::{
    harness::{Open, Place, coll, key, put_of},
    rows,
};

const HOUR: Duration = Duration::from_hours(1);

async fn uploads(open: &Open) -> Vec<Row> {
    rows::table(&open.store, Table::Upload).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_due_goes_in_one_pass() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for number in 0..25 {
        let put = PutRecord { idempotency_key: Some(number.to_string()), ..put_of(Some("7"), b"v") };
        open.vault.put_record(&owner, &acme, &coll("c"), key(&number.to_string()), put).await.unwrap();
    }
    let large = vec![1_u8; 70_000];
    for round in 0..3 {
        // Each but the first round replaces the values of the one before.
        for number in 0..8 {
            open.put(&owner, &acme, ("c", &format!("large-{number}")), Some("7"), &large).await.unwrap();
        }
        clock.advance(HOUR * if round == 1 { 23 } else { 1 });
    }
    assert_eq!(uploads(&open).await.len(), 16);
    // What was replaced in the second round is due, and what was in the third is not.
    let done = open.vault.sweep(clock.now(), 4).await.unwrap();
    assert_eq!((done.uploads, done.replies), (8, 25));
    assert_eq!(open.get(&owner, &acme, ("c", "large-0")).await.unwrap(), large);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_stops_no_pass() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for _ in 0..5 {
        open.put(&owner, &acme, ("c", "large"), Some("7"), &vec![1_u8; 70_000]).await.unwrap();
    }
    let put = PutRecord { idempotency_key: Some("once".into()), ..put_of(Some("7"), b"v") };
    open.vault.put_record(&owner, &acme, &coll("c"), key("small"), put).await.unwrap();
    // The first of them: nothing behind it would ever be looked at.
    let first = uploads(&open).await.remove(0);
    let bent = [&[9], &first.value[1..]].concat();
    rows::set(&open.store, Space::Index, &first.key, Some(bent.into())).await;
    while open.vault.refuse_credential(lethe::domain::PrincipalId([0; 16]), RequestId([1; 16])).await.is_ok() {}
    clock.advance(HOUR * 25);
    let done = Sweep { vault: open.vault.clone(), limit: 2 }.run_once(clock.now()).await.unwrap();
    assert_eq!((done.uploads, done.replies), (3, 1));
    assert_eq!(open.vault.record_braked().await.unwrap(), 0, "the job has not recorded what was refused");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_comes_in_slowly_is_not_swept() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let (parts, body) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(body, |mut body| async { body.recv().await.map(|part| (Ok(part), body)) }).boxed();
    let put = PutRecord { length: None, body, ..put_of(Some("7"), &[]) };
    let c = coll("c");
    let stored = open.vault.put_record(&owner, &acme, &c, key("slow"), put);
    let sent = async {
        parts.send(vec![1; 70_000].into()).await.unwrap();
        while uploads(&open).await.is_empty() {
            tokio::task::yield_now().await;
        }
        let before = uploads(&open).await.remove(0).value;
        // A few bytes a minute: no row of it is whole for hours.
        clock.advance(Duration::from_secs(61));
        parts.send(vec![1; 10].into()).await.unwrap();
        while uploads(&open).await.remove(0).value == before {
            tokio::task::yield_now().await;
        }
        // And the clock jumps.
        clock.advance(HOUR * 3);
        assert_eq!(open.vault.sweep(clock.now(), 100).await.unwrap().uploads, 0);
        drop(parts);
    };
    let sent = tokio::time::timeout(Duration::from_mins(1), sent);
    let (stored, sent) = tokio::join!(stored, sent);
    sent.expect("no heartbeat");
    stored.unwrap();
    assert_eq!(open.get(&owner, &acme, ("c", "slow")).await.unwrap(), vec![1; 70_010]);
    // What nobody finishes goes.
    let (parts, body) = mpsc::channel::<Bytes>(1);
    let body = stream::unfold(body, |mut body| async { body.recv().await.map(|part| (Ok(part), body)) }).boxed();
    let put = PutRecord { length: None, body, ..put_of(Some("7"), &[]) };
    let stored = open.vault.put_record(&owner, &acme, &c, key("broken"), put);
    let until_begun = async {
        parts.send(vec![1; 70_000].into()).await.unwrap();
        while uploads(&open).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = stored => panic!("it ended by itself"),
        () = until_begun => {}
    }
    clock.advance(HOUR);
    assert_eq!(open.vault.sweep(clock.now(), 100).await.unwrap().uploads, 1);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_are_recorded_whatever_becomes_of_the_sweep() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let put = PutRecord { idempotency_key: Some("once".into()), ..put_of(Some("7"), b"v") };
    open.vault.put_record(&owner, &acme, &coll("c"), key("small"), put).await.unwrap();
    while open.vault.refuse_credential(lethe::domain::PrincipalId([0; 16]), RequestId([1; 16])).await.is_ok() {}
    clock.advance(HOUR * 25);
    let deletes = |commit: &Commit| commit.writes.iter().any(|write| !matches!(write, Write::Put { .. }));
    place.meddler.refuse(move |commit| deletes(commit).then(|| StoreError::Io("refused".into())));
    let sweep = Sweep { vault: open.vault.clone(), limit: 2 };
    let failed = sweep.run_once(clock.now()).await;
    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(open.vault.record_braked().await.unwrap(), 0, "the job has not recorded what was refused");
    place.meddler.refuse_nothing();
    assert_eq!(sweep.run_once(clock.now()).await.unwrap().replies, 1);
    open.close().await;
}

/// An abandoned snapshot holds files that the engine would have freed: it goes, although nothing can be recorded for want of room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_snapshot_goes_although_the_disk_is_full() {
    let (place, clock) = Place::make_clocked().await;
    let open = place.open().await;
    open.store.take_snapshot(SnapshotId([1; 16])).await.unwrap();
    let snapshots = || std::fs::read_dir(place.path("store/snapshots")).unwrap().count();
    // Refusals that are counted, and still to be recorded.
    while open.vault.refuse_credential(lethe::domain::PrincipalId([0; 16]), RequestId([1; 16])).await.is_ok() {}
    place.meddler.refuse(|_| Some(StoreError::DiskFull));
    let sweep = Sweep { vault: open.vault.clone(), limit: 100 };
    for (minutes, left) in [(1, 1), (2, 0)] {
        clock.advance(Duration::from_mins(minutes));
        let swept = sweep.run_once(clock.now()).await;
        assert!(matches!(swept, Err(VaultError::DiskFull)), "{swept:?}");
        assert_eq!(snapshots(), left, "after {minutes} more minutes");
    }
    open.close().await;
}
