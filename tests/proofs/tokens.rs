//! Someone with write access to the control store makes no token and widens none.

use lethe::{
    authn::{Narrowing, PresentedToken, Role, TokenKind},
    domain::{CollectionName, RequestId, ShredUnit, TenantNo},
    vault::{
        ops::{MintToken, VaultError},
        store::{Space, Store as _, schema},
    },
};

use crate::{
    harness::{Open, Place, coll, findings, key},
    rows,
};

async fn set(open: &Open, id: lethe::domain::TokenId, row: Vec<u8>) {
    rows::set(&open.store, Space::Control, &schema::access_token(id), Some(row.into())).await;
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
    let found = findings(&open).await;
    assert!(matches!(&found[..], [one] if one.starts_with(&format!("access token {}", reader.id))), "{found:?}");
    set(&open, reader.id, row).await;
    let principal = enter(&reader.text).await.unwrap();
    assert_eq!((principal.role(), principal.narrowing()), (Role::Reader, &narrowing));
    open.close().await;
}

/// What a token is narrowed to may be damaged, and a pseudonym may be longer than what it stands for: the list is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_tokens_is_given_whatever_cannot_be_read() {
    let place = Place::make().await;
    let mut open = place.open().await;
    let (acme, owner, text) = open.tenant(&place, "acme").await;
    for name in ["c", "d"] {
        open.collection(&owner, &acme, name, ShredUnit::Subject).await;
        open.put(&owner, &acme, (name, "k"), Some("8"), b"v").await.unwrap();
    }
    open.put(&owner, &acme, ("c", "a/a"), Some("a"), b"v").await.unwrap();
    let mint = |collection: &str, prefix: &str| MintToken {
        role: Role::Reader,
        kind: TokenKind::Service,
        narrowing: Narrowing { collections: vec![coll(collection)], prefix: Some(key(prefix)) },
        expires_at: None,
    };
    let long = vec!["a"; 32].join("/");
    let mut ids = Vec::new();
    for (collection, prefix) in [("c", "k"), ("c", &long), ("d", "k"), ("c", "other"), ("c", "a/a")] {
        ids.push(open.vault.create_token(&owner, &acme, mint(collection, prefix), None).await.unwrap().id);
    }
    open.shred_subject(&owner, &acme, "a").await;
    // The records named `k`, and the row of collection `d`; a token's own row besides.
    let collections = rows::table(&open.store, schema::Table::Collection).await;
    let records = rows::all(&open.store, Space::Records).await;
    for (space, row) in records.iter().map(|row| (Space::Records, row)).chain([(Space::Control, collections.last().unwrap())]) {
        rows::set(&open.store, space, &row.key, Some(rows::bent(&row.value))).await;
    }
    set(&open, ids[3], vec![0; 80]).await;
    // Nothing of what was read before is remembered.
    open.close().await;
    open = place.open().await;
    let owner = open.caller(&text).await;
    let (views, next) = open.vault.tokens(&owner, &acme, None, 100).await.unwrap();
    assert!(next.is_none());
    let shown = |id| {
        let view = views.iter().find(|view| view.id == id)?;
        let narrowing = &view.narrowing;
        Some((narrowing.collections[0].as_str().to_owned(), narrowing.prefix.as_ref().unwrap().as_str().to_owned()))
    };
    let (collection, prefix) = shown(ids[0]).unwrap();
    assert!(collection == "c" && prefix.starts_with("shredded-key-"), "a damaged record's key is not shown: {collection} {prefix}");
    let (_, prefix) = shown(ids[1]).unwrap();
    assert!(prefix.starts_with("shredded-subject-") && !prefix.contains('/'), "32 pseudonyms are longer than a key: {prefix}");
    let (collection, prefix) = shown(ids[2]).unwrap();
    assert!(collection.starts_with("shredded-collection-") && prefix.starts_with("shredded-key-"), "{collection} {prefix}");
    assert_eq!(shown(ids[3]), None, "a token whose own row is damaged lets nobody in");
    assert_eq!(views.len(), 5, "the owner's, and all others");
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_names_another_tenants_token_shows_it_to_nobody_and_revokes_it_for_nobody() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let (globex, other, text) = open.tenant(&place, "globex").await;
    let id = PresentedToken::parse(&text).unwrap().id();
    let key = schema::tenant_access_token(TenantNo(1), id);
    rows::set(&open.store, Space::Control, &key, Some(bytes::Bytes::new())).await;
    let (listed, _) = open.vault.tokens(&owner, &acme, None, 10).await.unwrap();
    assert!(listed.len() == 1 && listed[0].id != id, "{listed:?}");
    let revoked = open.vault.revoke_token(&owner, &acme, id, None).await;
    assert!(matches!(revoked, Err(VaultError::NotFound(_))), "{revoked:?}");
    assert_eq!(open.vault.tokens(&other, &globex, None, 10).await.unwrap().0.len(), 1);
    assert!(open.vault.authenticate(&PresentedToken::parse(&text).unwrap(), RequestId([1; 16])).await.is_ok());
    open.close().await;
}

/// The check that a tenant keeps an owner meets a row that cannot be read: it owns nothing, and keeps nobody in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bent_token_keeps_no_other_owner_from_being_revoked() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(open.token(&owner, &acme, Role::Owner).await.1);
    }
    ids.sort_by_key(|id| id.0);
    // The first and the last in the order of the check, so that one of them is met before any whole one.
    for id in [ids[0], ids[3]] {
        set(&open, id, vec![0; 80]).await;
    }
    open.vault.revoke_token(&owner, &acme, ids[1], None).await.unwrap();
    let kept = open.vault.revoke_token(&owner, &acme, ids[2], None).await;
    assert!(kept.is_ok(), "the owner that asks is left: {kept:?}");
    let last = open.vault.revoke_token(&owner, &acme, owner.principal.token(), None).await;
    assert!(matches!(last, Err(VaultError::Conflict(_))), "no owner would be left that can be read: {last:?}");
    open.close().await;
}
