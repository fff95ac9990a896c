//! Leases that were set back while the store was closed: no number that is in use is given again.

use lethe::{
    domain::ShredUnit,
    vault::{ops::VaultError, store::schema::Table},
};

use super::{
    Bench,
    control::{at_rest, set, table},
};
use crate::harness::is_shredded;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_in_use_is_not_given_again() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    for name in ["a", "b"] {
        open.put(&owner, &acme, ("c", name), Some(name), name.as_bytes()).await.unwrap();
    }
    open.close().await;
    // kind u8, tenant be64: the slots of acme's units.
    let of_units = [&[Table::Lease as u8, 5][..], &1_u64.to_be_bytes()].concat();
    let leases = at_rest(&place, async |disk| {
        let rows = table(disk, Table::Lease).await;
        for (key, _) in rows.iter().filter(|(key, _)| matches!(key[1], 1 | 2) || key[..] == of_units) {
            let first = u64::from(key[1] != 5);
            set(disk, key, Some(first.to_be_bytes().to_vec().into())).await;
        }
        rows
    })
    .await;
    open = place.open().await;
    let put = open.put(&owner, &acme, ("c", "new"), Some("new"), b"new").await;
    assert!(matches!(put, Err(VaultError::Internal(_))), "{put:?}");
    let (globex, other, _) = open.tenant(&place, "globex").await;
    open.collection(&other, &globex, "c", ShredUnit::Subject).await;
    for (key, row) in leases.iter().filter(|(key, _)| key[..] == of_units) {
        set(&open.store, key, Some(row.clone())).await;
    }
    open.collection(&owner, &acme, "d", ShredUnit::Subject).await;
    for name in ["a", "b"] {
        assert_eq!(open.get(&owner, &acme, ("c", name)).await.unwrap(), name.as_bytes());
    }
    open.put(&owner, &acme, ("d", "new"), Some("new"), b"new").await.unwrap();
    open.shred_subject(&owner, &acme, "new").await;
    assert!(is_shredded(&open.get(&owner, &acme, ("d", "new")).await));
    for name in ["a", "b"] {
        assert_eq!(open.get(&owner, &acme, ("c", name)).await.unwrap(), name.as_bytes());
    }
    assert_eq!(open.vault.check().await.unwrap().findings, Vec::<String>::new());
    open.close().await;
}
