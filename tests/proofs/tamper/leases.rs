//! Leases that were set back while the store was closed: no number that is in use is given again.

use bytes::Bytes;
use lethe::{
    domain::{ShredUnit, TenantNo},
    vault::{
        ops::VaultError,
        store::{
            Space, Store as _,
            schema::{self, Table},
        },
    },
};

use super::{
    Bench,
    control::{at_rest, set, table},
};
use crate::harness::{findings, is_shredded, put_op};

const ACME: TenantNo = TenantNo(1);

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
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// With its lease set back, the row of a tenant is removed too: whoever is made next gets none of its keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_gets_no_number_under_which_something_lies() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"canary").await.unwrap();
    open.close().await;
    let lease = schema::lease(1);
    let tenant = schema::tenant(ACME);
    let first = Some(Bytes::copy_from_slice(&1_u64.to_be_bytes()));
    at_rest(&place, async |disk| {
        set(disk, &lease, first.clone()).await;
        set(disk, &tenant, None).await;
    })
    .await;
    open = place.open().await;
    let (globex, other, text) = open.tenant(&place, "globex").await;
    let found = open.get(&other, &globex, ("c", "k")).await;
    assert!(matches!(found, Err(VaultError::NotFound(_))), "{found:?}");
    open.collection(&other, &globex, "c", ShredUnit::Subject).await;
    open.put(&other, &globex, ("c", "k"), Some("7"), b"other").await.unwrap();
    open.close().await;

    // All rows by which a number could be told to be in use go as well, and globex is made again under it: a name leads to no
    // tenant of another one.
    at_rest(&place, async |disk| {
        set(disk, &lease, first).await;
        for of in [Table::Collection, Table::CollectionName, Table::Unit, Table::UnitState, Table::SubjectState, Table::TenantAccessToken] {
            for (key, _) in table(disk, of).await.iter().filter(|(key, _)| key[1..9] == ACME.to_be_bytes()) {
                set(disk, key, None).await;
            }
        }
        set(disk, &schema::tree(ACME), None).await;
    })
    .await;
    open = place.open().await;
    let (initech, third, _) = open.tenant(&place, "initech").await;
    open.collection(&third, &initech, "c", ShredUnit::Subject).await;
    let owner = open.caller(&text).await;
    assert_eq!(open.get(&owner, &globex, ("c", "k")).await.unwrap(), b"other");
    let led = open.get(&third, &acme, ("c", "k")).await;
    assert!(matches!(led, Err(VaultError::Internal(_))), "acme's name leads to initech's keys: {led:?}");
    open.close().await;
}

/// Slots are leased in blocks of a page. One that begins in the middle of a page would reach into the next, which is someone's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_of_slots_that_begins_in_the_middle_of_a_page_is_refused() {
    let Bench { place, mut open, acme, owner, .. } = Bench::make().await;
    for part in 0..10 {
        let ops = (0..64).map(|at| put_op("c", part * 64 + at, &[&format!("p{}", part * 64 + at)])).collect();
        open.vault.batch(&owner, &acme, ops, None).await.unwrap();
    }
    open.close().await;
    let of_units = schema::tenant_lease(5, ACME);
    let before = at_rest(&place, async |disk| {
        let pages = table(disk, Table::Page).await;
        // tree 16 bytes, level u8, index be64: no other tree has so many leaves.
        let (page, _) = pages.iter().find(|(key, _)| key[17] == 0 && key[18..] == 8_u64.to_be_bytes()).unwrap();
        set(disk, page, None).await;
        let before = disk.get(Space::Control, &of_units).await.unwrap();
        set(disk, &of_units, Some(Bytes::copy_from_slice(&513_u64.to_be_bytes()))).await;
        before
    })
    .await;
    open = place.open().await;
    let put = open.put(&owner, &acme, ("c", "new"), Some("new"), b"new").await;
    assert!(matches!(put, Err(VaultError::Internal(_))), "{put:?}");
    set(&open.store, &of_units, before).await;
    open.put(&owner, &acme, ("c", "new"), Some("new"), b"new").await.unwrap();
    open.shred_subject(&owner, &acme, "new").await;
    for person in [0, 639] {
        assert_eq!(open.get(&owner, &acme, ("c", &person.to_string())).await.unwrap(), b"v", "{person}");
    }
    open.close().await;
}
