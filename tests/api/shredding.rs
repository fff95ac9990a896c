//! Shreds by the API: 410 after them, everyone else readable, evidence for anybody.

use reqwest::Method;
use serde_json::json;

use super::site::{Answer, CRM, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_person_is_410_and_everyone_else_reads() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for (key, subject) in [("anna", "1"), ("bert", "2")] {
        site.put(&format!("{CRM}/records/{key}"), &owner, subject, "x").await;
    }
    let done = site.shred("acme", &owner, json!({"scope": "subject", "subject": "1"})).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    let gone = site.get(&format!("{CRM}/records/anna"), &owner).await;
    assert_eq!((gone.status, gone.code()), (410, "shredded"), "{gone:?}");
    assert_eq!(site.get(&format!("{CRM}/records/bert"), &owner).await.text(), "x");
    for subjects in ["1", "2,1"] {
        let refused = site.put(&format!("{CRM}/records/anna2"), &owner, subjects, "y").await;
        assert_eq!((refused.status, refused.code()), (410, "subject-erased"), "{refused:?}");
        assert_eq!(refused.json["certificate"], done.json["id"], "the evidence");
        assert!(refused.json["detail"].as_str().unwrap().contains("`Lethe-New-Relationship: true`"), "what to send: {refused:?}");
    }
    let again = site
        .request(Method::PUT, &format!("{CRM}/records/anna2"), &owner)
        .header("lethe-subject", "1")
        .header("lethe-new-relationship", "true")
        .body("y");
    assert_eq!(again.send().await.unwrap().status(), 201);

    // The certificate is anybody's to read.
    let path = done.json["certificate"].as_str().unwrap().to_owned();
    let note = Answer::of(site.client.get(format!("{}{path}", site.server.url())).send().await.unwrap()).await;
    assert_eq!((note.status, note.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(note.text().contains("\n\u{2014} "), "a signature line: {}", note.text());
    let id = done.json["id"].as_str().unwrap();
    let polled = site.get(&format!("/v1/tenants/acme/shreds/{id}"), &owner).await;
    assert_eq!((polled.status, polled.json["certificate"].as_str()), (200, Some(path.as_str())));
    let checkpoint = site.client.get(format!("{}/log/checkpoint", site.server.url())).send().await.unwrap();
    assert_eq!(checkpoint.status(), 200);
    let tile = site.client.get(format!("{}/log/tile/9/000", site.server.url())).send().await.unwrap();
    assert_eq!(tile.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_shred_asks_for_its_name_and_can_be_polled_by_who_ordered_it() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let unconfirmed = site.shred("acme", &owner, json!({"scope": "tenant"})).await;
    assert_eq!((unconfirmed.status, unconfirmed.code()), (422, "unprocessable"), "{unconfirmed:?}");
    site.put(&format!("{CRM}/records/anna"), &owner, "1", "x").await;
    let done = site.shred("acme", &owner, json!({"scope": "tenant", "confirm": "acme"})).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    let id = done.json["id"].as_str().unwrap();
    assert_eq!(site.get(&format!("/v1/tenants/acme/shreds/{id}"), &owner).await.status, 200);
    let gone = site.get(&format!("{CRM}/records/anna"), &owner).await;
    assert_eq!(gone.status, 410, "{gone:?}");
    let taken = site.send("POST", "/v1/tenants", &site.operator, Some(json!({"tenant": "acme"}))).await;
    assert_eq!(taken.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eraser_shreds_what_it_cannot_read() {
    let site = Site::open().await;
    let owner = site.acme().await;
    site.put(&format!("{CRM}/records/anna"), &owner, "1", "x").await;
    let eraser = site.token("acme", &owner, json!({"role": "eraser"})).await;
    assert_eq!(site.get(&format!("{CRM}/records/anna"), &eraser).await.status, 403);
    assert_eq!(site.get(&format!("{CRM}/records"), &eraser).await.status, 403);
    assert_eq!(site.shred("acme", &eraser, json!({"scope": "subject", "subject": "1"})).await.status, 200);
    assert_eq!(site.get(&format!("{CRM}/records/anna"), &owner).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_a_certificate_once_it_is_done_and_both_steps_are_on_the_record() {
    let site = Site::open().await;
    let owner = site.acme().await;
    site.put(&format!("{CRM}/records/anna"), &owner, "1", "x").await;
    let order = site.send("POST", "/v1/tenants/acme/shreds", &owner, Some(json!({"scope": "subject", "subject": "1"}))).await;
    assert_eq!((order.status, order.json["state"].as_str()), (202, Some("pending")), "{order:?}");
    assert!(order.json["certificate"].is_null() && order.json["done_at"].is_null(), "nothing is certified yet: {order:?}");
    assert_eq!(site.get(&format!("{CRM}/records/anna"), &owner).await.status, 410, "and nothing is readable any more");
    let id = order.json["id"].as_str().unwrap();
    let done = site.order("acme", &owner, id).await;
    assert_eq!((done.status, done.json["state"].as_str()), (200, Some("done")), "{done:?}");
    assert_eq!(done.json["certificate"], format!("/v1/certificates/{id}"));
    let trail = site.trail("acme", &owner).await;
    for step in ["shred.order", "shred.done"] {
        assert_eq!(trail.iter().filter(|entry| entry["action"] == step).count(), 1, "{step}");
    }
}

/// What was shredded is terminal: neither name is used again. A tenant's is refused as taken; a collection's answers its
/// owner what it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_what_was_shredded_is_never_used_again() {
    let site = Site::open().await;
    let owner = site.acme().await;
    assert_eq!(site.shred("acme", &owner, json!({"scope": "collection", "collection": "crm"})).await.status, 200);
    for _ in 0..2 {
        let again = site.send("PUT", CRM, &owner, Some(json!({}))).await;
        assert_eq!((again.status, again.code()), (410, "shredded"), "{again:?}");
        assert!(again.json["certificate"].is_string(), "{again:?}");
        assert_eq!(site.put(&format!("{CRM}/records/anna"), &owner, "1", "x").await.status, 410);
    }
    assert_eq!(site.shred("acme", &owner, json!({"scope": "tenant", "confirm": "acme"})).await.status, 200);
    let again = site.send("POST", "/v1/tenants", &site.operator, Some(json!({"tenant": "acme"}))).await;
    assert_eq!((again.status, again.code()), (409, "name-taken"), "{again:?}");
}
