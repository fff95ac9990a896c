//! The operator's tokens: made, listed and revoked like a tenant's, and never without one.

use std::sync::Arc;
use std::time::Duration;

use lethe::domain::{Clock as _, SystemClock, TestClock};
use serde_json::{Value, json};

use super::site::{Answer, Site, id_of};

const TOKENS: &str = "/v1/tenants/system/tokens";

fn id(token: &str) -> String {
    format!("{TOKENS}/{}", id_of(token))
}

async fn make(site: &Site, by: &str, body: Value) -> Answer {
    site.send("POST", TOKENS, by, Some(body)).await
}

async fn operator(site: &Site, by: &str) -> String {
    make(site, by, json!({"role": "operator"})).await.made_token()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_token_is_made_listed_and_revoked() {
    let site = Site::open().await;
    let second = operator(&site, &site.operator).await;
    assert!(second.starts_with("lethe_op_"), "of the operator's own kind");
    assert_eq!(site.send("POST", "/v1/tenants", &second, Some(json!({"tenant": "acme"}))).await.status, 201);
    let listed = site.get(TOKENS, &second).await;
    let rows = listed.json["data"].as_array().unwrap();
    let all: Vec<(&str, &str)> = rows.iter().map(|row| (row["role"].as_str().unwrap(), row["kind"].as_str().unwrap())).collect();
    assert_eq!(all, [("operator", "operator"); 2], "{listed:?}");
    // The secret may have `_` in it.
    let secret = second.splitn(4, '_').nth(3).unwrap();
    assert!(secret.len() == 43 && !listed.text().contains(secret), "without secrets");
    let revoked = site.send("DELETE", &id(&site.operator), &second, None).await;
    assert_eq!(revoked.status, 204, "{revoked:?}");
    assert_eq!(site.get("/v1/tenants", &site.operator).await.status, 401, "the first one holds no more");
    let trail = site.get("/v1/tenants/system/audit?limit=1000", &second).await;
    for action in ["token.create", "token.list", "token.revoke"] {
        let found = trail.json["data"].as_array().unwrap().iter().any(|entry| entry["action"] == action && entry["role"] == "operator");
        assert!(found, "{action} is in the system's trail");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_operators_tokens_are_of_the_store() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for body in [
        json!({"role": "owner"}),
        json!({"role": "auditor"}),
        json!({"role": "operator", "kind": "user"}),
        json!({"role": "operator", "kind": "service"}),
        json!({"role": "operator", "collections": ["crm"]}),
        json!({"role": "operator", "prefix": "eu"}),
        json!({"role": "job", "kind": "user"}),
        json!({"role": "job", "prefix": "eu"}),
    ] {
        let refused = make(&site, &site.operator, body.clone()).await;
        assert_eq!((refused.status, refused.code()), (422, "unprocessable"), "{body}: {refused:?}");
    }
    assert_eq!(site.get(TOKENS, &site.operator).await.json["data"].as_array().unwrap().len(), 1);
    for (method, path, body) in [
        ("POST", TOKENS.to_owned(), Some(json!({"role": "operator"}))),
        ("GET", TOKENS.to_owned(), None),
        ("DELETE", id(&site.operator), None),
    ] {
        let refused = site.send(method, &path, &owner, body).await;
        assert_eq!((refused.status, refused.code()), (403, "forbidden"), "{method}: a tenant's owner is no operator: {refused:?}");
    }
    // And the other way round.
    let of_tenant = site.send("POST", "/v1/tenants/acme/tokens", &owner, Some(json!({"role": "operator"}))).await;
    assert_eq!((of_tenant.status, of_tenant.code()), (422, "unprocessable"));
    let of_tenant = site.send("POST", "/v1/tenants/acme/tokens", &owner, Some(json!({"role": "job"}))).await;
    assert_eq!((of_tenant.status, of_tenant.code()), (422, "unprocessable"));
    assert_eq!(site.send("POST", "/v1/tenants/acme/tokens", &site.operator, Some(json!({"role": "reader"}))).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_operator_without_an_end_cannot_be_revoked() {
    let clock = TestClock::at(SystemClock.now());
    let site = Site::open_at("", Arc::new(clock.clone())).await;
    let revoke = async |by: &str, whose: &str| site.send("DELETE", &id(whose), by, None).await;
    let refused = revoke(&site.operator, &site.operator).await;
    assert_eq!((refused.status, refused.code()), (409, "last-owner"), "{refused:?}");
    let end = clock.now().plus(Duration::from_hours(1)).to_rfc3339();
    let brief = make(&site, &site.operator, json!({"role": "operator", "expires_at": end})).await.made_token();
    assert_eq!(site.get("/v1/tenants", &brief).await.status, 200);
    assert_eq!(revoke(&site.operator, &site.operator).await.code(), "last-owner", "the other one will end, and all that it makes");
    clock.advance(Duration::from_hours(1));
    assert_eq!(site.get("/v1/tenants", &brief).await.status, 401);
    assert_eq!(revoke(&site.operator, &site.operator).await.code(), "last-owner", "the other one has expired");
    assert_eq!(revoke(&site.operator, &brief).await.status, 204);
    let mut alive = site.operator.clone();
    for _ in 0..8 {
        // Two revoke each other at the same time: one is left.
        let other = operator(&site, &alive).await;
        let (one, two) = tokio::join!(revoke(&alive, &other), revoke(&other, &alive));
        let left = [site.get("/v1/tenants", &alive).await.status, site.get("/v1/tenants", &other).await.status];
        assert!(left.contains(&200), "nobody is left: {one:?} {two:?}");
        if left[0] != 200 {
            alive = other;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_token_is_made_once_for_an_idempotency_key() {
    let site = Site::open().await;
    let keyed = async |body: Value| {
        let request = site.request(reqwest::Method::POST, TOKENS, &site.operator).header("idempotency-key", "k").json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let first = keyed(json!({"role": "operator"})).await;
    let again = keyed(json!({"role": "operator"})).await;
    assert_eq!((first.status, again.code()), (201, "secret-shown-once"), "{again:?}");
    assert_eq!(again.json["token_id"], first.json["id"]);
}
