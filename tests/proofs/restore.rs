//! Copies put back: of any date, of either store, of custody.

use lethe::{
    authn::{PresentedToken, Role},
    domain::{RequestId, ShredUnit},
    vault::ops::VaultError,
};

use crate::harness::{Place, is_shredded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_under_todays_control_brings_nothing_back() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.collection(&owner, &acme, "logs", ShredUnit::Collection).await;
    for subject in ["7", "8"] {
        open.put(&owner, &acme, ("c", subject), Some(subject), b"yesterday").await.unwrap();
        open.put(&owner, &acme, ("logs", subject), Some(subject), b"yesterday").await.unwrap();
    }
    let (reader, reader_id) = open.token(&owner, &acme, Role::Reader).await;
    open.close().await;
    place.copy("store/data", "yesterday");

    let open = place.open().await;
    let before = open.put(&owner, &acme, ("c", "9"), Some("9"), b"today").await.unwrap().version;
    open.vault.revoke_token(&owner, &acme, reader_id).await.unwrap();
    open.shred_subject(&owner, &acme, "7").await;
    open.close().await;
    place.put_back("yesterday", "store/data");

    let open = place.open().await;
    assert!(is_shredded(&open.get(&owner, &acme, ("c", "7")).await));
    assert!(is_shredded(&open.put(&owner, &acme, ("c", "7"), Some("7"), b"v").await));
    assert!(matches!(open.get(&owner, &acme, ("logs", "7")).await, Err(VaultError::NotFound(_))));
    assert_eq!(open.get(&owner, &acme, ("c", "8")).await.unwrap(), b"yesterday");
    assert_eq!(open.get(&owner, &acme, ("logs", "8")).await.unwrap(), b"yesterday");
    assert!(matches!(open.get(&owner, &acme, ("c", "9")).await, Err(VaultError::NotFound(_))));
    let revoked = open.vault.authenticate(&PresentedToken::parse(&reader).unwrap(), RequestId([3; 16])).await;
    assert!(matches!(revoked, Err(VaultError::Unauthenticated)));
    let after = open.put(&owner, &acme, ("c", "9"), Some("9"), b"again").await.unwrap().version;
    assert!(after > before, "a version was given twice");
    open.close().await;
}
