//! Every answer is on the record, refusals and repeats among them, and no trail tells what its owner may not know.

use std::sync::Arc;
use std::time::Duration;

use lethe::domain::{Clock as _, SystemClock, TestClock};
use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site};

/// Action, outcome and reason of a request's entries.
fn entries(trail: &[Value], answer: &Answer) -> Vec<(String, String, String)> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let of = trail.iter().filter(|entry| entry["request"] == answer.header("x-request-id"));
    of.map(|entry| (text(entry, "action"), text(entry, "outcome"), text(entry, "reason"))).collect()
}

async fn sent(site: &Site, method: &str, path: &str, token: &str, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let mut request = site.request(method.parse().unwrap(), path, token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.body(body.to_owned());
    }
    Answer::of(request.send().await.unwrap()).await
}

/// Method, path, headers and body of a request, the status of its answer, and the action and the reason in the trail.
type Case = (&'static str, String, Vec<(&'static str, &'static str)>, String, u16, &'static str, &'static str);

/// Of each kind one.
fn refusals() -> Vec<Case> {
    const JSON: (&str, &str) = ("content-type", "application/json");
    let shreds = "/v1/tenants/acme/shreds";
    let no_id = "00000000000000000000000000000000";
    let [records, gone] = [format!("{CRM}/records"), "/v1/tenants/acme/collections/gone".to_owned()];
    let check = |condition: &str| format!(r#"{{"ops": [{{"op": "check", "collection": "crm", "key": "a", {condition}}}]}}"#);
    vec![
        ("GET", format!("{records}/none"), vec![], String::new(), 404, "record.read", "not-found"),
        ("GET", format!("{records}/b"), vec![], String::new(), 410, "record.read", "shredded"),
        (
            "GET",
            format!("{records}/a"),
            vec![("if-match", "\"00000000ffffffff\"")],
            String::new(),
            412,
            "record.read",
            "precondition-failed",
        ),
        ("GET", format!("{records}/a"), vec![("range", "bytes=9-")], String::new(), 416, "record.read", "invalid"),
        ("GET", format!("{gone}/records/a"), vec![], String::new(), 410, "record.read", "shredded"),
        ("PUT", format!("{records}/c"), vec![], "x".into(), 422, "record.write", "invalid"),
        ("PUT", format!("{records}/c"), vec![("lethe-subject", "2")], "x".into(), 410, "record.write", "shredded"),
        (
            "PUT",
            format!("{records}/a"),
            vec![("lethe-subject", "1"), ("if-none-match", "*")],
            "x".into(),
            412,
            "record.write",
            "precondition-failed",
        ),
        ("PUT", format!("{gone}/records/a"), vec![], "x".into(), 410, "record.write", "shredded"),
        ("PUT", "/v1/tenants/acme/collections/none/records/a".into(), vec![], "x".into(), 404, "record.write", "not-found"),
        ("DELETE", format!("{records}/none"), vec![], String::new(), 404, "record.delete", "not-found"),
        (
            "DELETE",
            format!("{records}/a"),
            vec![("if-match", "\"00000000ffffffff\"")],
            String::new(),
            412,
            "record.delete",
            "precondition-failed",
        ),
        ("GET", format!("{records}?subject=2"), vec![], String::new(), 410, "record.list", "shredded"),
        ("GET", format!("{records}?cursor=x"), vec![], String::new(), 400, "record.list", "invalid"),
        ("GET", format!("{gone}/records"), vec![], String::new(), 410, "record.list", "shredded"),
        ("GET", gone.clone(), vec![], String::new(), 410, "collection.read", "shredded"),
        ("PUT", gone.clone(), vec![JSON], "{}".into(), 410, "collection.write", "shredded"),
        ("PUT", CRM.into(), vec![JSON], r#"{"shred_unit": "record"}"#.into(), 409, "collection.write", "invalid"),
        ("POST", "/v1/tenants/acme/batch".into(), vec![JSON], check(r#""if_none_match": "*""#), 412, "record.read", "precondition-failed"),
        ("POST", "/v1/tenants/acme/batch".into(), vec![JSON], r#"{"ops": []}"#.into(), 422, "record.write", "invalid"),
        (
            "POST",
            "/v1/tenants/acme/batch".into(),
            vec![JSON],
            r#"{"ops": [{"op": "delete", "collection": "crm", "key": "none"}]}"#.into(),
            404,
            "record.delete",
            "not-found",
        ),
        ("DELETE", format!("/v1/tenants/acme/tokens/{no_id}"), vec![], String::new(), 404, "token.revoke", "not-found"),
        (
            "POST",
            "/v1/tenants/acme/tokens".into(),
            vec![JSON],
            r#"{"role": "reader", "expires_at": "2001-01-01T00:00:00Z"}"#.into(),
            422,
            "token.create",
            "invalid",
        ),
        ("GET", format!("{shreds}/{no_id}"), vec![], String::new(), 404, "shred.read", "not-found"),
        ("POST", shreds.into(), vec![JSON], r#"{"scope": "tenant", "confirm": "other"}"#.into(), 422, "shred.order", "invalid"),
        ("POST", shreds.into(), vec![JSON], r#"{"scope": "collection", "collection": "gone"}"#.into(), 410, "shred.order", "shredded"),
        (
            "POST",
            shreds.into(),
            vec![JSON],
            r#"{"scope": "record", "collection": "crm", "key": "a"}"#.into(),
            422,
            "shred.order",
            "invalid",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_after_the_credential_is_in_the_callers_trail() {
    let site = Site::open().await;
    let owner = site.acme().await;
    site.collection("acme", "files", &owner, "record").await;
    site.collection("acme", "gone", &owner, "collection").await;
    for (key, subject) in [("a", "1"), ("b", "2")] {
        site.put(&format!("{CRM}/records/{key}"), &owner, subject, "x").await;
    }
    let shreds = "/v1/tenants/acme/shreds";
    for order in [json!({"scope": "subject", "subject": "2"}), json!({"scope": "collection", "collection": "gone"})] {
        assert_eq!(site.send("POST", shreds, &owner, Some(order)).await.status, 202);
    }
    let cases = refusals();
    let mut answers = Vec::new();
    for (method, path, headers, body, status, action, reason) in &cases {
        let answer = sent(&site, method, path, &owner, headers, body).await;
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        answers.push((format!("{method} {path} {body}"), answer, *action, *reason));
    }
    let trail = site.trail("acme", &owner).await;
    for (named, answer, action, reason) in answers {
        let found = entries(&trail, &answer);
        assert_eq!(found, [(action.into(), "failed".into(), reason.into())], "{named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trail_tells_a_tenant_that_is_from_one_that_is_not() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let other = site.tenant("other").await;
    let before = site.trail("other", &other).await.len();
    let mut asked = Vec::new();
    for tenant in ["acme", "nothing"] {
        for (method, path, body) in [
            ("GET", format!("/v1/tenants/{tenant}"), None),
            ("GET", format!("/v1/tenants/{tenant}/collections/crm/records/a"), None),
            ("GET", format!("/v1/tenants/{tenant}/shreds/00000000000000000000000000000000"), None),
            ("GET", format!("/v1/tenants/{tenant}/tokens"), None),
            ("POST", format!("/v1/tenants/{tenant}/batch"), Some(json!({"ops": []}))),
            ("POST", format!("/v1/tenants/{tenant}/batch"), Some(json!({"ops": [{"op": "delete", "collection": "crm", "key": "a"}]}))),
        ] {
            let answer = site.send(method, &path, &other, body).await;
            asked.push((format!("{method} {path}"), answer));
        }
    }
    let (there, not_there) = asked.split_at(asked.len() / 2);
    for ((named, there), (_, not_there)) in there.iter().zip(not_there) {
        assert_eq!((there.status, there.code()), (not_there.status, not_there.code()), "{named}");
    }
    // Only the two readings of the trail itself.
    assert_eq!(site.trail("other", &other).await.len(), before + 1, "the asker's own trail tells nothing");
    let mut recorded = site.trail("acme", &owner).await;
    recorded.extend(site.trail("system", &site.operator).await);
    for (named, answer) in &asked {
        assert_eq!(entries(&recorded, answer).len(), 1, "{named} is on the record");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_a_read_and_a_repeat_is_an_answer() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    let headers = [("lethe-subject", "1"), ("idempotency-key", "k")];
    let first = sent(&site, "PUT", &path, &owner, &headers, "x").await;
    let again = sent(&site, "PUT", &path, &owner, &headers, "x").await;
    assert_eq!((first.status, again.status, again.header("etag")), (201, 201, first.header("etag")));
    let body = json!({"ops": [
        {"op": "check", "collection": "crm", "key": "a", "if_match": first.header("etag").trim_matches('"')},
        {"op": "check", "collection": "crm", "key": "b", "if_none_match": "*"},
    ]});
    let checked = site.send("POST", "/v1/tenants/acme/batch", &owner, Some(body)).await;
    assert_eq!(checked.status, 200, "{checked:?}");
    let trail = site.trail("acme", &owner).await;
    let of = |answer: &Answer| -> Vec<Value> {
        trail.iter().filter(|entry| entry["request"] == answer.header("x-request-id")).cloned().collect()
    };
    let repeat = of(&again);
    assert_eq!((repeat.len(), &repeat[0]["action"], &repeat[0]["target"]["count"]), (1, &json!("record.write"), &json!(0)));
    let reads = of(&checked);
    assert_eq!(reads.len(), 2, "{reads:?}");
    assert!(reads.iter().all(|entry| entry["action"] == "record.read" && entry["outcome"] == "allowed"));
    assert!(reads[0]["target"]["version"].is_number() && reads[1]["target"]["version"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_put_is_repeated_with_its_key_whatever_its_size() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for (size, key) in [(10, "small"), (100_000, "large")] {
        let value = "x".repeat(size);
        let path = format!("{CRM}/records/{key}");
        let put = |idempotency: &'static str, condition: (&'static str, String), body: String| {
            let (site, path, owner) = (&site, path.clone(), owner.clone());
            async move {
                let headers = [("lethe-subject", "1"), ("idempotency-key", idempotency), (condition.0, condition.1.as_str())];
                sent(site, "PUT", &path, &owner, &headers, &body).await
            }
        };
        let [made, replaced] = [format!("1-{key}").leak(), format!("2-{key}").leak()];
        let absent = ("if-none-match", "*".to_owned());
        let first = put(made, absent.clone(), value.clone()).await;
        assert_eq!(first.status, 201);
        let etag = first.header("etag").to_owned();
        let second = put(replaced, ("if-match", etag.clone()), value.clone()).await;
        assert_eq!(second.status, 204);
        for _ in 0..2 {
            let again = put(made, absent.clone(), value.clone()).await;
            assert_eq!((again.status, again.header("etag")), (201, etag.as_str()), "{key}");
            let again = put(replaced, ("if-match", etag.clone()), value.clone()).await;
            assert_eq!((again.status, again.header("etag")), (204, second.header("etag")), "{key}");
        }
        // Another condition, or another value, is another request.
        let other = put(made, ("if-match", etag.clone()), value.clone()).await;
        assert_eq!((other.status, other.code()), (422, "idempotency-mismatch"), "{key}");
        let other = put(made, absent.clone(), format!("{value}y")).await;
        assert_eq!((other.status, other.code()), (422, "idempotency-mismatch"), "{key}");
        assert_eq!(site.get(&path, &owner).await.header("etag"), second.header("etag"), "{key}: nothing was stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_refused_makes_no_collection() {
    let site = Site::open().await;
    let body = json!({"tenant": "acme", "create_collections_on_write": true});
    let owner = site.send("POST", "/v1/tenants", &site.operator, Some(body)).await.made_token();
    let record = "/v1/tenants/acme/collections/new/records/a";
    for (headers, status) in [
        (vec![], 422),
        (vec![("lethe-subject", "1"), ("lethe-purpose", "support")], 422),
        (vec![("lethe-subject", "1"), ("if-match", "*")], 412),
        (vec![("lethe-subject", "1"), ("lethe-expires-at", "2001-01-01T00:00:00Z")], 422),
    ] {
        let refused = sent(&site, "PUT", record, &owner, &headers, "x").await;
        assert_eq!(refused.status, status, "{headers:?}: {refused:?}");
    }
    let put = json!({"op": "put", "collection": "new", "key": "a", "value": "x", "subjects": ["1"]});
    let failing = json!({"op": "check", "collection": "new", "key": "b", "if_match": "*"});
    let batch = |ops: Value| site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({ "ops": ops })));
    assert_eq!(batch(json!([put, failing])).await.status, 404);
    // The head announces more than comes.
    let short = site.request(Method::PUT, record, &owner).header("lethe-subject", "1").header("content-length", "5").body("x");
    assert!(short.send().await.is_err() || site.get("/v1/tenants/acme/collections/new", &owner).await.status == 404);
    assert_eq!(site.get("/v1/tenants/acme/collections/new", &owner).await.status, 404, "no refused write made it");
    let two = json!({"op": "put", "collection": "newer", "key": "a", "value": "y", "subjects": ["1"]});
    let made = batch(json!([put, two])).await;
    assert_eq!((made.status, made.json["results"].as_array().unwrap().len()), (200, 2), "{made:?}");
    assert_eq!(site.get(record, &owner).await.text(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_time_is_over_is_gone_to_readers_and_writers_alike() {
    let clock = Arc::new(TestClock::at(SystemClock.now()));
    let site = Site::open_at("", clock.clone()).await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    let end = clock.now().plus(Duration::from_mins(1)).to_rfc3339();
    let put = |headers: Vec<(&'static str, String)>| {
        let (site, path, owner) = (&site, path.clone(), owner.clone());
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).chain([("lethe-subject", "1")]).collect();
            sent(site, "PUT", &path, &owner, &headers, "x").await
        }
    };
    let first = put(vec![("lethe-expires-at", end.clone())]).await;
    assert_eq!(first.status, 201);
    let created = site.get(&path, &owner).await.header("lethe-created-at").to_owned();
    clock.advance(Duration::from_mins(2));
    let past = put(vec![("lethe-expires-at", end)]).await;
    assert_eq!((past.status, past.code()), (422, "unprocessable"), "{past:?}");
    assert_eq!(site.get(&path, &owner).await.status, 404);
    assert_eq!(put(vec![("if-match", first.header("etag").to_owned())]).await.status, 412);
    assert_eq!(put(vec![("if-match", "*".into())]).await.status, 412);
    let again = put(vec![("if-none-match", "*".into())]).await;
    assert_eq!(again.status, 201, "to a writer it is not there");
    let read = site.get(&path, &owner).await;
    assert_eq!(read.status, 200);
    assert_ne!(read.header("lethe-created-at"), created, "it is another record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_asked_for_before_anything_of_a_shredded_tenant_is_told() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let narrowed = site.token("acme", &owner, json!({"role": "reader", "collections": ["crm"]})).await;
    let order = json!({"scope": "tenant", "confirm": "acme"});
    assert_eq!(site.send("POST", "/v1/tenants/acme/shreds", &owner, Some(order)).await.status, 202);
    let (public, secret) = narrowed.rsplit_once('_').unwrap();
    let forged = format!("{public}_{}", "A".repeat(secret.len()));
    let refused = site.get(&format!("{CRM}/records/a"), &forged).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(site.get(&format!("{CRM}/records/a"), &narrowed).await.status, 410);
    let trail = site.trail("system", &site.operator).await;
    assert_eq!(entries(&trail, &refused), [("auth.denied".into(), "denied".into(), "unauthenticated".into())]);
}
