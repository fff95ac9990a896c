//! The purpose a request states: one of the collection's, or it is refused; either way the trail says so.

use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site};

async fn stating(site: &Site, method: Method, path: &str, token: &str, purpose: &str, body: Option<Value>) -> Answer {
    let request = site.request(method, path, token).header("lethe-purpose", purpose).header("lethe-subject", "7");
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    Answer::of(request.send().await.unwrap()).await
}

/// Outcome and purpose of the entries that a request left.
async fn recorded(site: &Site, token: &str, answer: &Answer) -> Vec<(String, Value)> {
    let trail = site.get("/v1/tenants/acme/audit?limit=1000", token).await;
    let of = trail.json["data"].as_array().unwrap().iter().filter(|entry| entry["request"] == answer.header("x-request-id"));
    of.map(|entry| (entry["outcome"].as_str().unwrap().to_owned(), entry["names"]["purpose"].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_purpose_is_recorded_and_another_is_refused() {
    let site = Site::open().await;
    let owner = site.tenant("acme").await;
    let policy = json!({"shred_unit": "subject", "purposes": ["billing", "kündigung"]});
    assert_eq!(site.send("PUT", CRM, &owner, Some(policy)).await.status, 201);
    let record = format!("{CRM}/records/anna");
    let batch = json!({"ops": [{"op": "put", "collection": "crm", "key": "b", "value": "x", "subjects": ["7"]}]});
    let calls = [
        (Method::PUT, record.clone(), Some(json!({"n": 1}))),
        (Method::GET, record.clone(), None),
        (Method::HEAD, record.clone(), None),
        (Method::GET, format!("{CRM}/records"), None),
        (Method::POST, format!("{CRM}/query"), Some(json!({}))),
        (Method::POST, "/v1/tenants/acme/batch".to_owned(), Some(batch)),
        (Method::DELETE, record, None),
    ];
    for (method, path, body) in &calls {
        let other = stating(&site, method.clone(), path, &owner, "marketing", body.clone()).await;
        let code = if *method == Method::HEAD { "purpose-undeclared" } else { other.code() };
        assert_eq!((other.status, code), (422, "purpose-undeclared"), "{method} {path}: {other:?}");
        assert_eq!(recorded(&site, &owner, &other).await, [("denied".to_owned(), Value::Null)], "{method} {path}");
        for (sent, purpose) in [("billing", "billing"), ("k%C3%BCndigung", "kündigung")] {
            let body = if *method == Method::DELETE && sent != "billing" { break } else { body.clone() };
            let done = stating(&site, method.clone(), path, &owner, sent, body).await;
            assert!((200..300).contains(&done.status), "{method} {path}: {done:?}");
            assert_eq!(recorded(&site, &owner, &done).await, [("allowed".to_owned(), json!(purpose))], "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_says_what_it_was_aimed_at_where_the_caller_may_know_of_it() {
    let site = Site::open().await;
    let owner = site.acme().await;
    assert_eq!(site.put(&format!("{CRM}/records/eu/anna"), &owner, "7", "x").await.status, 201);
    let reader = site.token("acme", &owner, json!({"role": "reader"})).await;
    let stranger = site.tenant("other").await;
    let mut requests = Vec::new();
    for (token, status) in [(&reader, 403), (&stranger, 404)] {
        let denied = site.send("DELETE", &format!("{CRM}/records/eu/anna"), token, None).await;
        assert_eq!(denied.status, status);
        requests.push(denied.header("x-request-id").to_owned());
    }
    let trail = site.get("/v1/tenants/acme/audit?limit=1000", &owner).await;
    let names = |request: &str| {
        let entry = trail.json["data"].as_array().unwrap().iter().find(|entry| entry["request"] == *request).unwrap();
        (entry["outcome"].clone(), entry["names"].clone())
    };
    let aimed = json!({"collection": "crm", "key": "eu/anna", "subject": "7"});
    assert_eq!(names(&requests[0]), (json!("denied"), aimed));
    assert_eq!(names(&requests[1]), (json!("denied"), json!({})), "a stranger's guess is not looked up");
}
