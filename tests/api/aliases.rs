//! A person's several ids over the wire: given, read and taken away in bodies, and what each of them stands for.
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site};

const ALIASES: &str = "/v1/tenants/acme/subjects/aliases";

async fn post(site: &Site, what: &str, token: &str, body: Value) -> Answer {
    site.send("POST", &format!("{ALIASES}{what}"), token, Some(body)).await
}

async fn shred(site: &Site, token: &str, subject: &str) -> Answer {
    site.shred("acme", token, json!({"scope": "subject", "subject": subject})).await
}

fn keys(page: &Answer) -> Vec<String> {
    let mut keys: Vec<String> = page.json["data"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_known_by_an_alias_until_it_is_taken_away() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for (key, subject) in [("a", "7"), ("b", "8")] {
        site.put(&format!("{CRM}/records/{key}"), &owner, subject, "x").await;
    }
    let ann = json!({"subject": "7", "alias": "ann@example.com"});
    let both = json!({"subject": "7", "aliases": ["ann@example.com"]});
    for status in [201, 200] {
        let added = post(&site, "", &owner, ann.clone()).await;
        assert_eq!((added.status, &added.json), (status, &both), "{added:?}");
    }
    // Under either id: a record is of the person, and is listed by both.
    assert_eq!(site.put(&format!("{CRM}/records/c"), &owner, "ann%40example.com", "x").await.status, 201);
    for id in ["7", "ann@example.com"] {
        let read = post(&site, "/query", &owner, json!({ "subject": id })).await;
        assert_eq!((read.status, &read.json), (200, &both), "{read:?}");
        let page = site.send("POST", &format!("{CRM}/query"), &owner, Some(json!({ "subject": id }))).await;
        assert_eq!(keys(&page), ["a", "c"], "{id}");
    }
    // What is said of the record is what was written.
    assert_eq!(site.get(&format!("{CRM}/records/c"), &owner).await.header("lethe-subject"), "ann@example.com");

    for (body, status, code) in [
        (json!({"subject": "7", "alias": "7"}), 422, "unprocessable"),
        (json!({"subject": "8", "alias": "ann@example.com"}), 409, "alias-taken"),
        (json!({"subject": "8", "alias": "7"}), 409, "alias-taken"),
        (json!({"subject": "7", "alias": "8"}), 409, "alias-has-records"),
        (json!({"subject": "7"}), 422, "invalid-body"),
        (json!({"subject": "7", "alias": ""}), 400, "malformed-name"),
        (json!({"subject": "7", "alias": "x".repeat(257)}), 400, "limit-exceeded"),
    ] {
        let refused = post(&site, "", &owner, body.clone()).await;
        assert_eq!((refused.status, refused.code()), (status, code), "{body}: {refused:?}");
        let told = refused.json["detail"].as_str().unwrap();
        assert!(!told.contains("ann@"), "{told}");
    }
    let merged = post(&site, "", &owner, json!({"subject": "ann@example.com", "alias": "8", "with_records": true})).await;
    assert_eq!((merged.status, &merged.json["aliases"]), (201, &json!(["ann@example.com", "8"])), "{merged:?}");
    let page = site.get(&format!("{CRM}/records?subject=8"), &owner).await;
    assert_eq!(keys(&page), ["a", "b", "c"]);

    let removed = post(&site, "/remove", &owner, json!({"alias": "8"})).await;
    assert_eq!((removed.status, &removed.json), (200, &both), "{removed:?}");
    let again = post(&site, "/remove", &owner, json!({"alias": "8"})).await;
    assert_eq!((again.status, again.code()), (404, "not-found"), "{again:?}");
    assert_eq!(keys(&site.get(&format!("{CRM}/records?subject=8"), &owner).await), ["b"]);
    let trail = site.trail("acme", &owner).await;
    let done = |action: &str| trail.iter().filter(|entry| entry["action"] == action && entry["outcome"] == "allowed").count();
    assert_eq!((done("alias.add"), done("alias.remove"), done("alias.read")), (3, 1, 2), "{trail:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_feed_under_an_alias_brings_nobody_back() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let eraser = site.token("acme", &owner, json!({"role": "eraser"})).await;
    for (by, person, alias) in [(&owner, "7", "ann"), (&eraser, "9", "nina")] {
        post(&site, "", &owner, json!({"subject": person, "alias": alias})).await;
        for id in [person, alias] {
            assert_eq!(site.put(&format!("{CRM}/records/{id}"), &owner, id, "x").await.status, 201);
        }
        let done = shred(&site, by, alias).await;
        assert_eq!((done.status, &done.json["state"]), (200, &json!("done")), "{done:?}");
        let targets = done.json["targets"].as_array().unwrap();
        assert_eq!((targets.len(), &targets[0]), (2, &json!(alias)), "{done:?}");
        // An eraser reads nobody's ids, and is told no other than it named.
        if by == &owner {
            assert_eq!(targets[1], person);
        } else {
            assert!(targets[1].as_str().unwrap().starts_with("shredded-subject-"), "{done:?}");
        }
        for id in [person, alias] {
            assert_eq!(site.get(&format!("{CRM}/records/{id}"), &owner).await.status, 410, "{id}");
            let stale = site.put(&format!("{CRM}/records/new"), &owner, id, "x").await;
            assert_eq!((stale.status, stale.code()), (410, "subject-erased"), "{stale:?}");
            assert_eq!(stale.json["certificate"], done.json["id"]);
            let op = json!({"op": "put", "collection": "crm", "key": "new", "value": "x", "subjects": ["8", id]});
            let batch = site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({"ops": [op]}))).await;
            assert_eq!((batch.status, batch.code(), &batch.json["op"]), (410, "subject-erased", &json!(0)), "{batch:?}");
            assert_eq!(post(&site, "/query", &owner, json!({ "subject": id })).await.status, 410);
            let other = post(&site, "", &owner, json!({"subject": "8", "alias": id})).await;
            assert_eq!((other.status, other.code()), (410, "subject-erased"), "{other:?}");
            let removed = post(&site, "/remove", &owner, json!({ "alias": id })).await;
            assert_eq!((removed.status, removed.code()), (410, "subject-erased"), "{removed:?}");
        }
        // Anew, by an alias of somebody who has always been there.
        let op = json!({"op": "put", "collection": "crm", "key": "new", "value": "x", "subjects": [alias], "new_relationship": true});
        assert_eq!(site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({"ops": [op]}))).await.status, 200);
        assert_eq!(site.put(&format!("{CRM}/records/new"), &owner, person, "x").await.status, 410, "the other id is erased as before");
        let body = json!({"subject": alias, "alias": person, "new_relationship": true});
        let anew = post(&site, "", &owner, body).await;
        assert_eq!((anew.status, &anew.json), (201, &json!({"subject": alias, "aliases": [person]})), "{anew:?}");
        assert_eq!(site.put(&format!("{CRM}/records/new"), &owner, person, "x").await.status, 204);
    }
    let trail = site.trail("acme", &owner).await;
    assert_eq!(trail.iter().filter(|entry| entry["action"] == "subject.return").count(), 4);
}
