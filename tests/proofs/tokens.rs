//! Someone with write access to the control store makes no token and widens none.

use lethe::{
    authn::{Narrowing, PresentedToken, Role, TokenKind},
    domain::{CollectionName, RequestId, ShredUnit},
    vault::{
        ops::{MintToken, VaultError},
        store::{Commit, Durability, Space, Store as _, Urgency, Write, schema},
    },
};

use crate::harness::{Open, Place};

async fn set(open: &Open, id: lethe::domain::TokenId, row: Vec<u8>) {
    let write = Write::Put { space: Space::Control, key: schema::access_token(id), value: row.into() };
    let commit = Commit { checks: Vec::new(), writes: vec![write], tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
    open.store.commit(commit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_row_that_this_store_did_not_write_lets_nobody_in() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    let narrowing = Narrowing { collections: vec![CollectionName::parse("c").unwrap()], prefix: None };
    let mint = |role, narrowing: &Narrowing| MintToken { role, kind: TokenKind::Service, narrowing: narrowing.clone(), expires_at: None };
    let reader = open.vault.create_token(&owner, &acme, mint(Role::Reader, &narrowing), None).await.unwrap();
    let writer = open.vault.create_token(&owner, &acme, mint(Role::Writer, &Narrowing::default()), None).await.unwrap();
    let enter = async |text: &str| open.vault.authenticate(&PresentedToken::parse(text).unwrap(), RequestId([1; 16])).await;
    let row = open.store.get(Space::Control, &schema::access_token(reader.id)).await.unwrap().unwrap().to_vec();
    assert!(enter(&reader.text).await.is_ok());
    // Every byte, one bit each: role, tenant, hash, end, narrowing, seal. Nothing opens, and nothing says "no such token".
    for at in 0..row.len() {
        let mut bent = row.clone();
        bent[at] ^= 1 << (at % 8);
        set(&open, reader.id, bent).await;
        assert!(matches!(enter(&reader.text).await, Err(VaultError::Internal(_))), "byte {at}");
    }
    for len in 0..row.len() {
        set(&open, reader.id, row[..len].to_vec()).await;
        assert!(matches!(enter(&reader.text).await, Err(VaultError::Internal(_))), "cut to {len}");
    }
    // Another token's whole row, for a wider role.
    let other = open.store.get(Space::Control, &schema::access_token(writer.id)).await.unwrap().unwrap().to_vec();
    set(&open, reader.id, other).await;
    assert!(matches!(enter(&reader.text).await, Err(VaultError::Internal(_))));
    let found = open.vault.check().await.unwrap().findings;
    assert!(matches!(&found[..], [one] if one.starts_with(&format!("access token {}", reader.id))), "{found:?}");
    set(&open, reader.id, row).await;
    let principal = enter(&reader.text).await.unwrap();
    assert_eq!((principal.role(), principal.narrowing()), (Role::Reader, &narrowing));
    open.close().await;
}
