//! Every change repeated with its idempotency key is done once; and no tenant is ever without an owner.

use std::sync::Arc;
use std::time::Duration;

use lethe::domain::{Clock as _, SystemClock, TestClock};
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site, id_of};

async fn keyed(site: &Site, method: &str, path: &str, token: &str, key: &str, body: Option<Value>) -> Answer {
    let mut request = site.request(method.parse().unwrap(), path, token).header("idempotency-key", key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// What was done, by the tenant's trail, oldest first; answers given again counted nothing.
async fn actions(site: &Site, token: &str) -> Vec<String> {
    let page = site.get("/v1/tenants/acme/audit?limit=1000", token).await;
    let done = page.json["data"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "allowed" && entry["target"]["count"] != 0);
    done.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_repeated_with_its_key_is_done_once() {
    let site = Site::open().await;
    let owner = site.acme().await;
    site.collection("acme", "files", &owner, "record").await;
    site.collection("acme", "old", &owner, "collection").await;
    for key in ["a", "b"] {
        site.put(&format!("{CRM}/records/{key}"), &owner, "1", "x").await;
    }
    let doomed = site.send("POST", "/v1/tenants/acme/tokens", &owner, Some(json!({"role": "reader"}))).await;
    let doomed = format!("/v1/tenants/acme/tokens/{}", doomed.json["id"].as_str().unwrap());
    site.put("/v1/tenants/acme/collections/files/records/f", &owner, "1", "x").await;
    let subject = json!({"scope": "subject", "subject": "1"});
    let record = json!({"scope": "record", "collection": "files", "key": "f"});
    let shreds = "/v1/tenants/acme/shreds";
    for (key, method, path, body, status, action) in [
        ("1", "DELETE", format!("{CRM}/records/a"), None, 204, "record.delete"),
        ("2", "DELETE", doomed, None, 204, "token.revoke"),
        ("3", "PUT", "/v1/tenants/acme/collections/new".into(), Some(json!({})), 201, "collection.write"),
        ("4", "PUT", "/v1/tenants/acme/collections/new".into(), Some(json!({"purposes": ["support"]})), 200, "collection.write"),
        ("5", "POST", shreds.into(), Some(record), 202, "shred.order"),
        ("6", "POST", shreds.into(), Some(subject), 202, "shred.order"),
        ("7", "POST", shreds.into(), Some(json!({"scope": "collection", "collection": "old"})), 202, "shred.order"),
    ] {
        let first = keyed(&site, method, &path, &owner, key, body.clone()).await;
        assert_eq!(first.status, status, "{method} {path}: {first:?}");
        let before = actions(&site, &owner).await;
        let again = keyed(&site, method, &path, &owner, key, body.clone()).await;
        // By now the order may be done.
        assert!(again.status == status || (status == 202 && again.status == 200), "{method} {path}: {again:?}");
        assert_eq!(again.json["id"], first.json["id"], "{method} {path}");
        // The salt is dropped when the certificate is made; the order is done when that is in the log, and says so then.
        let certified = again.json["salt"].is_null() && again.json["epochs"] != json!([]);
        assert!(again.json["salt"] == first.json["salt"] || certified, "{method} {path}: {again:?}");
        assert_eq!(again.json["done_at"].is_null(), again.json["state"] != "done", "{method} {path}: {again:?}");
        let after = actions(&site, &owner).await;
        let count = |actions: &[String]| actions.iter().filter(|found| *found == action).count();
        assert_eq!(count(&before), count(&after), "{method} {path} was done twice");
        let other = match body {
            Some(_) => keyed(&site, "PUT", "/v1/tenants/acme/collections/other", &owner, key, Some(json!({}))).await,
            None if key == "1" => keyed(&site, "DELETE", &format!("{CRM}/records/b"), &owner, key, None).await,
            None => keyed(&site, "DELETE", "/v1/tenants/acme/tokens/00000000000000000000000000000000", &owner, key, None).await,
        };
        assert_eq!((other.status, other.code()), (422, "idempotency-mismatch"), "{method} {path}: {other:?}");
        let stranger = site.token("acme", &owner, json!({"role": "owner"})).await;
        let own = keyed(&site, "PUT", &format!("/v1/tenants/acme/collections/c{key}"), &stranger, key, Some(json!({}))).await;
        assert_eq!(own.status, 201, "a key is its token's own: {own:?}");
    }
    let late = site.get("/v1/tenants/acme/collections/new", &owner).await;
    assert_eq!(late.json["purposes"], json!(["support"]));
    let repeated = keyed(&site, "PUT", "/v1/tenants/acme/collections/new", &owner, "3", Some(json!({}))).await;
    assert_eq!((repeated.status, &repeated.json["purposes"]), (201, &json!(["support"])), "a late repeat undoes nothing");
    let kept = keyed(&site, "DELETE", &format!("{CRM}/records/b"), &owner, "1", None).await;
    assert_eq!(kept.code(), "idempotency-mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_shred_is_ordered_once() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let order = || keyed(&site, "POST", "/v1/tenants/acme/shreds", &owner, "k", Some(json!({"scope": "tenant", "confirm": "acme"})));
    let (first, again) = (order().await, order().await);
    assert_eq!((first.status, &first.json["id"]), (202, &again.json["id"]), "{first:?} {again:?}");
    assert!(first.json["id"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_once_and_the_repeat_names_it() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = "/v1/tenants/acme/tokens";
    let make = || keyed(&site, "POST", path, &owner, "k", Some(json!({"role": "reader"})));
    // At the same time: one of them makes it.
    let (one, two) = tokio::join!(make(), make());
    let (made, repeat) = if one.status == 201 { (one, two) } else { (two, one) };
    assert_eq!((made.status, repeat.status, repeat.code()), (201, 409, "secret-shown-once"), "{made:?} {repeat:?}");
    assert_eq!(repeat.json["token_id"], made.json["id"]);
    assert!(!repeat.text().contains(made.json["token"].as_str().unwrap()));
    assert_eq!(site.get(path, &owner).await.json["data"].as_array().unwrap().len(), 2);
    let other = keyed(&site, "POST", path, &owner, "k", Some(json!({"role": "writer"}))).await;
    assert_eq!((other.status, other.code()), (422, "idempotency-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_creation_was_answered_into_nothing_is_not_lost() {
    let site = Site::open().await;
    let make = || keyed(&site, "POST", "/v1/tenants", &site.operator, "k", Some(json!({"tenant": "acme"})));
    let token = |answer: &Answer| answer.json["token"].as_str().unwrap().to_owned();
    let lost = make().await;
    assert_eq!(lost.status, 201, "{lost:?}");
    let again = make().await;
    assert_eq!((again.status, &again.json["tenant"]), (201, &json!("acme")), "{again:?}");
    assert_ne!(token(&lost), token(&again));
    let owner = token(&again);
    assert_eq!(site.get("/v1/tenants/acme", &token(&lost)).await.status, 401, "the lost token holds no more");
    assert_eq!(site.get("/v1/tenants/acme/tokens", &owner).await.json["data"].as_array().unwrap().len(), 1);
    let told = actions(&site, &owner).await;
    assert_eq!(&told[..3], ["tenant.create", "token.revoke", "token.create"], "it is in the tenant's trail");
    let late = make().await;
    assert_eq!((late.status, late.code()), (409, "secret-shown-once"), "who used the token keeps it: {late:?}");
    assert_eq!(site.get("/v1/tenants/acme", &owner).await.status, 200);
    let other = keyed(&site, "POST", "/v1/tenants", &site.operator, "k", Some(json!({"tenant": "other"}))).await;
    assert_eq!(other.code(), "idempotency-mismatch");
    let unkeyed = site.send("POST", "/v1/tenants", &site.operator, Some(json!({"tenant": "acme"}))).await;
    assert_eq!((unkeyed.status, unkeyed.code()), (409, "name-taken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_cannot_be_revoked() {
    let site = Site::open().await;
    let first = site.acme().await;
    let id = |token: &str| format!("/v1/tenants/acme/tokens/{}", id_of(token));
    let revoke = async |by: &str, whose: &str| site.send("DELETE", &id(whose), by, None).await;
    // None of these could make any token there is.
    let narrowed = site.token("acme", &first, json!({"role": "owner", "collections": ["crm"]})).await;
    site.token("acme", &first, json!({"role": "auditor"})).await;
    let refused = revoke(&first, &first).await;
    assert_eq!((refused.status, refused.code()), (409, "last-owner"), "{refused:?}");
    assert_eq!(revoke(&first, &narrowed).await.status, 204);
    let one = site.token("acme", &first, json!({"role": "owner"})).await;
    assert_eq!(revoke(&one, &first).await.status, 204, "not the last one");
    assert_eq!(revoke(&one, &one).await.code(), "last-owner");
    let mut owner = one;
    for _ in 0..8 {
        // Two owners revoke each other at the same time: one is left.
        let other = site.token("acme", &owner, json!({"role": "owner"})).await;
        let (one, two) = tokio::join!(revoke(&owner, &other), revoke(&other, &owner));
        let alive = [site.get("/v1/tenants/acme", &owner).await.status, site.get("/v1/tenants/acme", &other).await.status];
        assert!(alive.contains(&200), "nobody is left: {one:?} {two:?}");
        if alive[0] != 200 {
            owner = other;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_free_again_after_a_day_and_nothing_of_it_stays() {
    let clock = TestClock::at(SystemClock.now());
    let site = Site::open_at("", Arc::new(clock.clone())).await;
    let owner = site.acme().await;
    let make = |role: &'static str| keyed(&site, "POST", "/v1/tenants/acme/tokens", &owner, "k", Some(json!({ "role": role })));
    assert_eq!(make("reader").await.status, 201);
    clock.advance(Duration::from_hours(24) - Duration::from_secs(1));
    assert_eq!(make("reader").await.code(), "secret-shown-once");
    let vault = &site.server.rooms().vault;
    assert_eq!(vault.sweep(clock.now(), 100).await.unwrap().replies, 0);
    clock.advance(Duration::from_secs(2));
    assert_eq!(make("writer").await.status, 201, "another request under the same key");
    assert_eq!(vault.sweep(clock.now(), 100).await.unwrap().replies, 0, "the later one stays");
    assert_eq!(make("writer").await.code(), "secret-shown-once");
    clock.advance(Duration::from_hours(25));
    assert_eq!(vault.sweep(clock.now(), 100).await.unwrap().replies, 1);
    assert_eq!(vault.sweep(clock.now(), 100).await.unwrap().replies, 0);
}
