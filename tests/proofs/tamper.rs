//! Someone with write access to the data: bent, moved, cut and older rows are refused, and no plaintext leaves.

use bytes::Bytes;
use lethe::{
    domain::{ShredUnit, TenantNo},
    vault::{
        ops::VaultError,
        store::{Commit, Durability, Space, Store as _, Urgency, Write, schema},
    },
};

use crate::harness::{Open, Place};

async fn rows(open: &Open, space: Space) -> Vec<(Bytes, Bytes)> {
    let range = if space == Space::Records { schema::records_of_tenant(TenantNo(1)) } else { schema::prefix(&[]) };
    open.store.scan(space, &range.from, &range.to, usize::MAX).await.unwrap().into_iter().map(|row| (row.key, row.value)).collect()
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bent_moved_cut_and_older_records_do_not_open() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for name in ["a", "b"] {
        open.put(&owner, &acme, ("c", name), Some(name), format!("value of {name}").as_bytes()).await.unwrap();
    }
    let stored = rows(&open, Space::Records).await;
    assert_eq!(stored.len(), 2);
    let refused = |got: Result<Vec<u8>, VaultError>| {
        matches!(got, Err(VaultError::Internal(_) | VaultError::NotFound(_) | VaultError::Shredded { .. }))
    };
    let mut cases = 0;
    for (key, value) in &stored {
        // Every byte, one bit each: header, salt, commitment, ciphertext, tag.
        for at in 0..value.len() {
            let mut bent = value.to_vec();
            bent[at] ^= 1 << (at % 8);
            set(&open, Space::Records, key, Some(bent.into())).await;
            for name in ["a", "b"] {
                let got = open.get(&owner, &acme, ("c", name)).await;
                if let Ok(read) = &got {
                    assert_eq!(read, format!("value of {name}").as_bytes(), "byte {at} bent: other bytes were read");
                } else {
                    assert!(refused(got), "byte {at}");
                    cases += 1;
                }
            }
        }
        for len in [0, 1, 21, 22, 23, 77, 78, 93, value.len() - 1] {
            set(&open, Space::Records, key, Some(value.slice(..len))).await;
        }
        set(&open, Space::Records, key, Some(value.clone())).await;
    }
    assert_eq!(cases, stored.iter().map(|(_, value)| value.len()).sum::<usize>(), "a bent record opened");

    // Swapped with its neighbour.
    set(&open, Space::Records, &stored[0].0, Some(stored[1].1.clone())).await;
    set(&open, Space::Records, &stored[1].0, Some(stored[0].1.clone())).await;
    for name in ["a", "b"] {
        assert!(refused(open.get(&owner, &acme, ("c", name)).await), "{name} swapped");
    }
    for (key, value) in &stored {
        set(&open, Space::Records, key, Some(value.clone())).await;
    }
    for name in ["a", "b"] {
        assert_eq!(open.get(&owner, &acme, ("c", name)).await.unwrap(), format!("value of {name}").as_bytes());
    }
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_large_value_cannot_be_swapped_cut_or_left_out() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let value: Vec<u8> = (0..200_000_u32).map(|at| (at / 7).to_le_bytes()[0]).collect();
    open.put(&owner, &acme, ("c", "big"), Some("s"), &value).await.unwrap();
    let stored = rows(&open, Space::Blobs).await;
    assert_eq!(stored.len(), 4);
    let restore = async |open: &Open| {
        for (key, value) in &stored {
            set(open, Space::Blobs, key, Some(value.clone())).await;
        }
    };
    // Swapped, truncated, left out, spliced.
    for (first, second) in [(0, 1), (1, 2), (2, 3)] {
        set(&open, Space::Blobs, &stored[first].0, Some(stored[second].1.clone())).await;
        set(&open, Space::Blobs, &stored[second].0, Some(stored[first].1.clone())).await;
        assert!(open.get(&owner, &acme, ("c", "big")).await.is_err(), "rows {first} and {second} swapped");
        restore(&open).await;
    }
    for (key, row) in &stored {
        set(&open, Space::Blobs, key, Some(row.slice(..row.len() - 1))).await;
        assert!(open.get(&owner, &acme, ("c", "big")).await.is_err());
        set(&open, Space::Blobs, key, None).await;
        assert!(open.get(&owner, &acme, ("c", "big")).await.is_err());
        set(&open, Space::Blobs, key, Some(row.clone())).await;
    }
    assert_eq!(open.get(&owner, &acme, ("c", "big")).await.unwrap(), value);
    open.close().await;
}
