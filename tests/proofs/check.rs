//! The check of a store at rest finds what lies where nothing reads: entries of trails, rows of large values, index rows.

use bytes::Bytes;
use lethe::{
    domain::{ShredUnit, TenantNo},
    vault::store::{Commit, Durability, Space, Store as _, Urgency, Write, schema},
};

use crate::harness::{Open, Place};

async fn rows(open: &Open, space: Space) -> Vec<(Bytes, Bytes)> {
    let all = schema::prefix(&[]);
    open.store.scan(space, &all.from, &all.to, usize::MAX).await.unwrap().into_iter().map(|row| (row.key, row.value)).collect()
}

async fn set(open: &Open, space: Space, key: &Bytes, value: Option<Bytes>) {
    let key = key.clone();
    let write = match value {
        Some(value) => Write::Put { space, key, value },
        None => Write::Delete { space, key },
    };
    let commit = Commit { checks: Vec::new(), writes: vec![write], tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
    open.store.commit(commit).await.unwrap();
}

/// The one finding.
async fn finding(open: &Open) -> String {
    let report = open.vault.check().await.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    report.findings[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_bent_entry_of_a_trail_is_found() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for name in ["1", "2", "3", "4"] {
        open.put(&owner, &acme, ("c", name), Some(name), b"v").await.unwrap();
    }
    open.vault.checkpoint_heads().await.unwrap();
    let report = open.vault.check().await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    let entries: usize = rows(&open, Space::DataAudit).await.len() + rows(&open, Space::ControlAudit).await.len();
    assert_eq!(report.entries, entries as u64, "every entry of every tenant is read");
    let mut trail = rows(&open, Space::DataAudit).await;
    trail.retain(|(key, _)| key[..8] == 1_u64.to_be_bytes());
    assert_eq!(trail.len(), 4);
    for (at, (key, value)) in trail.iter().enumerate() {
        set(&open, Space::DataAudit, key, None).await;
        let told = finding(&open).await;
        assert!(told.contains("are missing") && told.contains(&format!("entries {} to {}", at + 1, at + 1)), "{told}");
        let mut bent = value.to_vec();
        *bent.last_mut().unwrap() ^= 1;
        set(&open, Space::DataAudit, key, Some(bent.into())).await;
        assert!(finding(&open).await.starts_with("tenant 1, trail: "), "entry {at}");
        // An entry of its neighbour's place does not open either.
        set(&open, Space::DataAudit, key, Some(trail[(at + 1) % 4].1.clone())).await;
        assert!(finding(&open).await.starts_with("tenant 1, trail: "), "entry {at}");
        set(&open, Space::DataAudit, key, Some(value.clone())).await;
    }
    assert_eq!(open.vault.check().await.unwrap().findings, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_belong_to_nothing_are_found() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for name in ["gone", "here"] {
        open.put(&owner, &acme, ("c", name), Some(name), &[1; 200_000]).await.unwrap();
    }
    // What is replaced or shredded waits for the sweep and is none.
    open.put(&owner, &acme, ("c", "here"), Some("here"), &[2; 200_000]).await.unwrap();
    open.shred_subject(&owner, &acme, "gone").await;
    let report = open.vault.check().await.unwrap();
    assert_eq!((report.findings, report.uploads), (Vec::new(), 1));

    let orphan = Bytes::from(vec![9; 20]);
    set(&open, Space::Blobs, &orphan, Some(Bytes::from_static(b"x"))).await;
    assert!(finding(&open).await.contains("its rows belong to nothing"));
    set(&open, Space::Blobs, &orphan, None).await;

    // A record lost on its own: its index row and its large value are left behind.
    let mut told = Vec::new();
    for (key, value) in rows(&open, Space::Records).await {
        set(&open, Space::Records, &key, None).await;
        told.extend(open.vault.check().await.unwrap().findings);
        set(&open, Space::Records, &key, Some(value)).await;
    }
    assert!(told.iter().any(|told| told.contains("leads to no record")), "{told:?}");
    assert!(told.iter().any(|told| told.contains("no record refers to it")), "{told:?}");
    assert_eq!(open.vault.check().await.unwrap().findings, Vec::<String>::new());
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_tree_is_found_and_none_is_made() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("c", "1"), Some("1"), b"v").await.unwrap();
    set(&open, Space::Control, &schema::tree(TenantNo(1)), None).await;
    open.close().await;
    // Nothing of the tree is in memory after a start.
    let open = place.open().await;
    let all = async || {
        let mut found = Vec::new();
        for space in [Space::Control, Space::ControlAudit, Space::Records, Space::Blobs, Space::Index, Space::DataAudit] {
            found.push(rows(&open, space).await);
        }
        found
    };
    let before = all().await;
    let report = open.vault.check().await.unwrap();
    assert!(report.findings.iter().any(|told| told.starts_with("tenant 1: ")), "{:?}", report.findings);
    assert!(all().await == before, "the check has changed the store");
    open.close().await;
}
