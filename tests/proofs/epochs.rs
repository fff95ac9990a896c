//! Every end of an epoch is in the public log, whoever ended it; and a rotation is in the operator's trail with it.

use lethe::{
    domain::{Epoch, ShredUnit, TenantNo},
    vault::audit::{leaf::Leaf, tlog::verify_log},
};

use crate::harness::{Open, Place, name};

/// Whether the log has the leaf of each of these epochs.
async fn logged(open: &Open, place: &Place, epochs: std::ops::RangeInclusive<u64>) -> Vec<bool> {
    let mut leaves = Vec::new();
    for epoch in epochs {
        leaves.push(Leaf::of_epoch(&open.forest.report(Epoch(epoch)).await.unwrap().unwrap().record).to_text());
    }
    let leaves: Vec<&[u8]> = leaves.iter().map(String::as_bytes).collect();
    let report = verify_log(&place.path("log"), &Place::verifier(), &[], &leaves).unwrap();
    report.found.iter().map(Option::is_some).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shreds_rotations_and_growth_are_leaves_of_the_log() {
    let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    open.shred_subject(&owner, &acme, "7").await;
    let operator = open.caller(&place.operator).await;
    let rotated = open.vault.rotate(&operator).await.unwrap();
    assert_eq!(logged(&open, &place, 2..=3).await, [true, true]);
    // The tenant tree grows a level.
    open.forest.make_tenant(TenantNo(5_000)).await.unwrap();
    assert_eq!(open.forest.epoch(), Epoch(4));
    open.vault.checkpoint_heads().await.unwrap();
    assert_eq!(logged(&open, &place, 2..=4).await, [true; 3]);
    open.vault.checkpoint_heads().await.unwrap();
    let size = open.vault.checkpoint().await.unwrap();
    open.vault.checkpoint_heads().await.unwrap();
    assert_eq!(open.vault.checkpoint().await.unwrap(), size, "each is there once");

    // One that nobody came to publish: the next start does.
    open.forest.shred(&[], vec![], vec![]).await.unwrap();
    assert_eq!(logged(&open, &place, 5..=5).await, [false]);
    open.close().await;
    let open = place.open().await;
    assert_eq!(logged(&open, &place, 2..=5).await, [true; 4]);

    let trail = open.vault.audit_page(&operator, &name("system"), None, 1_000).await.unwrap();
    let of_rotation = trail.entries.iter().filter(|entry| entry.entry.entry.target.epoch == Some(Epoch(rotated.1))).count();
    assert_eq!(of_rotation, 1, "with the epoch's own commit");
    open.close().await;
}
