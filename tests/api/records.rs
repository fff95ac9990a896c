//! The shapes of the design: what each call sends and gets.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_put_read_replaced_and_deleted() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/eu/anna%40example.org");
    let request = site
        .request(Method::PUT, &path, &owner)
        .header("content-type", "text/plain; charset=utf-8")
        .header("lethe-subject", "7, M%C3%BCller%2C%20A")
        .header("lethe-meta-origin", "caf%C3%A9")
        .header("lethe-expires-at", "2999-01-01T00:00:00Z")
        .body("value one");
    let put = Answer::of(request.send().await.unwrap()).await;
    assert_eq!((put.status, put.bytes.len()), (201, 0), "{put:?}");
    let etag = put.header("etag").to_owned();
    assert!(etag.len() == 18 && etag.starts_with('"'), "{etag}");

    let got = site.get(&path, &owner).await;
    assert_eq!((got.status, got.text()), (200, "value one"));
    for (name, value) in [
        ("etag", etag.as_str()),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "9"),
        ("lethe-subject", "7,M%C3%BCller%2C%20A"),
        ("lethe-meta-origin", "caf%C3%A9"),
        ("lethe-expires-at", "2999-01-01T00:00:00.000Z"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }

    let head = site.send("HEAD", &path, &owner, None).await;
    assert_eq!((head.status, head.header("content-length"), head.header("etag"), head.bytes.len()), (200, "9", etag.as_str(), 0));

    let replaced = site.put(&path, &owner, "7", "value two").await;
    assert_eq!(replaced.status, 204);
    assert_ne!(replaced.header("etag"), etag);
    assert_eq!(site.send("DELETE", &path, &owner, None).await.status, 204);
    let gone = site.get(&path, &owner).await;
    assert_eq!((gone.status, gone.code(), gone.header("content-type")), (404, "not-found", "application/problem+json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_a_record_to_its_version() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    let put = |name: &'static str, tag: String| {
        let request = site.request(Method::PUT, &path, &owner).header("lethe-subject", "7").header(name, tag).body("x");
        async { Answer::of(request.send().await.unwrap()).await }
    };
    assert_eq!(put("if-match", "*".into()).await.code(), "precondition-failed");
    let first = put("if-none-match", "*".into()).await;
    assert_eq!(first.status, 201);
    assert_eq!(put("if-none-match", "*".into()).await.status, 412);
    let etag = first.header("etag").to_owned();
    let second = put("if-match", etag.clone()).await;
    assert_eq!(second.status, 204);
    assert_eq!(put("if-match", etag.clone()).await.status, 412);
    assert_eq!(put("if-match", "\"never-made\"".into()).await.status, 412);
    assert_eq!(put("if-match", format!("{etag}, {}", second.header("etag"))).await.status, 204);
    let delete = site.request(Method::DELETE, &path, &owner).header("if-match", etag);
    assert_eq!(delete.send().await.unwrap().status(), 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_the_version_is_not_sent_it_again() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    let first = site.put(&path, &owner, "7", "value one").await.header("etag").to_owned();
    let second = site.put(&path, &owner, "7", "value two").await.header("etag").to_owned();
    let read = async |method: &Method, headers: &[(&'static str, &str)]| {
        let mut request = site.request(method.clone(), &path, &owner);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    };
    for method in [Method::GET, Method::HEAD] {
        for tags in [second.clone(), format!("W/{second}"), format!("{first}, {second}"), "*".to_owned()] {
            let same = read(&method, &[("if-none-match", &tags)]).await;
            assert_eq!((same.status, same.header("etag"), same.bytes.len()), (304, second.as_str(), 0), "{method} {tags}");
            assert_eq!((same.header("cache-control"), same.header("lethe-subject")), ("no-store", ""));
        }
        assert_eq!(read(&method, &[("if-none-match", &first)]).await.status, 200);
        assert_eq!(read(&method, &[("if-match", &second)]).await.status, 200);
        assert_eq!(read(&method, &[("if-match", &first)]).await.status, 412);
    }
    // A part is a part of the version it was asked of; of another one the whole value comes.
    let part = read(&Method::GET, &[("range", "bytes=0-4"), ("if-range", &second)]).await;
    assert_eq!((part.status, &part.bytes[..]), (206, &b"value"[..]));
    let whole = read(&Method::GET, &[("range", "bytes=0-4"), ("if-range", &first)]).await;
    assert_eq!((whole.status, &whole.bytes[..]), (200, &b"value two"[..]));
    // Each of these is in the trail: also what was not sent, and what was refused.
    assert_eq!(read(&Method::GET, &[("range", "bytes=100-")]).await.status, 416);
    let trail = site.get("/v1/tenants/acme/audit?limit=1000", &owner).await;
    let reads = |outcome: &str| {
        let entries = trail.json["data"].as_array().unwrap().iter();
        entries.filter(|entry| entry["action"] == "record.read" && entry["outcome"] == outcome).count()
    };
    assert_eq!((reads("allowed"), reads("failed")), (14, 3), "{:?}", trail.json);
    // Gone is gone, whatever the reader has.
    assert_eq!(site.send("DELETE", &path, &owner, None).await.status, 204);
    assert_eq!(read(&Method::GET, &[("if-none-match", &second)]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_served_of_small_and_of_large_values() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let large: Vec<u8> = (0..400_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    for (key, value) in [("small", &large[..1000]), ("large", &large[..])] {
        let path = format!("{CRM}/records/{key}");
        let put = site.request(Method::PUT, &path, &owner).header("lethe-subject", "7").body(value.to_vec());
        assert_eq!(put.send().await.unwrap().status(), 201, "{key}");
        let whole = site.get(&path, &owner).await;
        assert_eq!((whole.status, &whole.bytes[..]), (200, value), "{key}");
        let len = value.len();
        for (range, expected) in [
            ("bytes=0-0".to_owned(), 0..1),
            ("bytes=10-99".to_owned(), 10..100),
            (format!("bytes={}-", len - 5), len - 5..len),
            ("bytes=-7".to_owned(), len - 7..len),
            (format!("bytes=0-{}", len * 2), 0..len),
            (format!("bytes={}-{}", len / 2 - 100, len / 2 + 100), len / 2 - 100..len / 2 + 101),
        ] {
            let part = Answer::of(site.request(Method::GET, &path, &owner).header("range", &range).send().await.unwrap()).await;
            let line = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
            assert_eq!((part.status, part.header("content-range")), (206, line.as_str()), "{key} {range}");
            assert_eq!(&part.bytes[..], &value[expected], "{key} {range}");
        }
        let beyond = site.request(Method::GET, &path, &owner).header("range", format!("bytes={len}-")).send().await.unwrap();
        let beyond = Answer::of(beyond).await;
        assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{len}").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_by_prefix_and_by_subject_in_pages() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for (key, subject) in [("eu/anna", "1"), ("eu/bert", "2"), ("eu/anna2", "1"), ("us/carl", "1"), ("europe", "3")] {
        assert_eq!(site.put(&format!("{CRM}/records/{key}"), &owner, subject, "x").await.status, 201);
    }
    let keys = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut keys: Vec<String> =
            answer.json["data"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    };
    let all = site.get(&format!("{CRM}/records"), &owner).await;
    assert_eq!(keys(&all).len(), 5);
    assert!(all.json["next_cursor"].is_null());
    let item = &all.json["data"][0];
    assert!(item["etag"].as_str().unwrap().starts_with('"') && item["size"] == 1 && item["content_type"] == "text/plain", "{item}");
    assert_eq!(keys(&site.get(&format!("{CRM}/records?prefix=eu"), &owner).await), ["eu/anna", "eu/anna2", "eu/bert"]);
    assert_eq!(keys(&site.get(&format!("{CRM}/records?prefix=eu/"), &owner).await).len(), 3);
    assert_eq!(keys(&site.get(&format!("{CRM}/records?subject=1"), &owner).await), ["eu/anna", "eu/anna2", "us/carl"]);
    let both = site.send("POST", &format!("{CRM}/query"), &owner, Some(json!({"prefix": "eu", "subject": "1"}))).await;
    assert_eq!(keys(&both), ["eu/anna", "eu/anna2"]);
    assert_eq!(keys(&site.get(&format!("{CRM}/records?prefix=none"), &owner).await), Vec::<String>::new());

    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = site.send("POST", &format!("{CRM}/query"), &owner, Some(json!({"limit": 2, "cursor": cursor}))).await;
        let found = keys(&page);
        assert!(!found.is_empty() && found.len() <= 2);
        seen.extend(found);
        cursor = page.json["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, keys(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_long_names_ends_early_and_says_that_there_is_more() {
    const RECORDS: usize = 300;
    let site = Site::open().await;
    let owner = site.acme().await;
    // About 5 KiB of metadata that a list gives, and 10 KiB that it does not.
    let subjects: Vec<String> = (0..16).map(|number| format!("{number:0>256}")).collect();
    let key = |number: usize| format!("{number:0>1024}");
    let pairs = json!({"a": "x".repeat(10_000)});
    let op =
        |number: usize| json!({"op": "put", "collection": "crm", "key": key(number), "value": "", "subjects": subjects, "custom": pairs});
    let ops: Vec<Value> = (0..RECORDS).map(op).collect();
    let put = site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({ "ops": ops }))).await;
    assert_eq!(put.status, 200, "{put:?}");
    for of in [json!({"limit": 1_000}), json!({"limit": 1_000, "subject": subjects[3]})] {
        let (mut seen, mut pages, mut query) = (BTreeSet::new(), Vec::new(), of.clone());
        loop {
            let page = site.send("POST", &format!("{CRM}/query"), &owner, Some(query.clone())).await;
            assert_eq!(page.status, 200, "{page:?}");
            assert!(page.bytes.len() < 1_200_000, "{} bytes", page.bytes.len());
            let data = page.json["data"].as_array().unwrap();
            pages.push(data.len());
            seen.extend(data.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(next) => query["cursor"] = next.into(),
                None => break,
            }
        }
        assert!(pages.len() == 2 && pages[0] > 150, "not custom pairs, which are not in it, end a page: {pages:?}");
        assert!(pages.iter().sum::<usize>() == RECORDS && seen == (0..RECORDS).map(key).collect(), "each once: {pages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_done_whole_or_not_at_all() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let batch = |ops: serde_json::Value| site.send("POST", "/v1/tenants/acme/batch", &owner, Some(json!({ "ops": ops })));
    let done = batch(json!([
        {"op": "put", "collection": "crm", "key": "a", "value": "text", "subjects": ["7"]},
        {"op": "put", "collection": "crm", "key": "b", "value": {"json": [1, 2]}, "subjects": ["7"]},
        {"op": "put", "collection": "crm", "key": "c", "value_base64": "AP8=", "content_type": "image/png", "subjects": ["8"]},
        {"op": "check", "collection": "crm", "key": "d", "if_none_match": "*"},
    ]))
    .await;
    assert_eq!(done.status, 200, "{done:?}");
    let results = &done.json["results"];
    assert_eq!((results[0]["status"].as_u64(), results[3]["op"].as_str()), (Some(201), Some("check")));
    let b = site.get(&format!("{CRM}/records/b"), &owner).await;
    assert_eq!((b.text(), b.header("content-type")), ("{\"json\":[1,2]}", "application/json"));
    assert_eq!(site.get(&format!("{CRM}/records/c"), &owner).await.bytes, [0, 255]);

    let failed = batch(json!([
        {"op": "delete", "collection": "crm", "key": "a"},
        {"op": "check", "collection": "crm", "key": "b", "if_match": "\"0000000000000000\""},
    ]))
    .await;
    assert_eq!((failed.status, failed.code(), failed.json["op"].as_u64()), (412, "precondition-failed", Some(1)), "{failed:?}");
    assert_eq!(site.get(&format!("{CRM}/records/a"), &owner).await.status, 200, "nothing was done");
    let etag = results[1]["etag"].clone();
    let done = batch(json!([
        {"op": "delete", "collection": "crm", "key": "a"},
        {"op": "check", "collection": "crm", "key": "b", "if_match": etag},
    ]))
    .await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(site.get(&format!("{CRM}/records/a"), &owner).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_put_with_its_key_is_done_once() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let put = |key: &str, value: &'static str| {
        let path = format!("{CRM}/records/{key}");
        let request = site.request(Method::PUT, &path, &owner).header("lethe-subject", "7").header("idempotency-key", "k-1").body(value);
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let first = put("a", "one").await;
    let again = put("a", "one").await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.header("etag"), again.header("etag"));
    assert_eq!(put("a", "two").await.code(), "idempotency-mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_and_tokens_are_made_listed_and_taken_away() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let rules = json!({"time_zone": "UTC", "rules": [{"name": "all", "from": "modified", "maximum": "7y", "then": "delete"}]});
    let policy = json!({"shred_unit": "subject", "categories": ["ccpa.pi.A"], "purposes": ["support"], "retention": rules});
    let replaced = site.send("PUT", CRM, &owner, Some(policy)).await;
    assert_eq!((replaced.status, &replaced.json["retention"]), (200, &rules), "{replaced:?}");
    let read = site.get(CRM, &owner).await;
    assert_eq!((read.json["collection"].as_str(), read.json["shred_unit"].as_str()), (Some("crm"), Some("subject")));
    site.collection("acme", "logs", &owner, "collection").await;
    let names = site.get("/v1/tenants/acme/collections", &owner).await;
    assert_eq!(names.json["data"].as_array().unwrap().len(), 2);

    let made = site
        .send(
            "POST",
            "/v1/tenants/acme/tokens",
            &owner,
            Some(json!({"role": "reader", "collections": ["crm"], "prefix": "eu", "expires_at": "2999-01-01T00:00:00Z"})),
        )
        .await;
    assert_eq!((made.status, made.json["role"].as_str()), (201, Some("reader")), "{made:?}");
    let (id, reader) = (made.json["id"].as_str().unwrap(), made.json["token"].as_str().unwrap());
    assert!(reader.starts_with("lethe_svc_"), "a service's");
    site.put(&format!("{CRM}/records/eu/anna"), &owner, "1", "x").await;
    site.put(&format!("{CRM}/records/us/bert"), &owner, "2", "x").await;
    assert_eq!(site.get(&format!("{CRM}/records/eu/anna"), reader).await.status, 200);
    assert_eq!(site.get(&format!("{CRM}/records/us/bert"), reader).await.status, 404);
    assert_eq!(site.put(&format!("{CRM}/records/eu/anna"), reader, "1", "y").await.code(), "forbidden");
    assert_eq!(site.get(&format!("{CRM}/records"), reader).await.status, 403);
    assert_eq!(site.get(&format!("{CRM}/records?prefix=eu"), reader).await.json["data"].as_array().unwrap().len(), 1);
    assert_eq!(site.get("/v1/tenants/acme/collections", reader).await.json["data"].as_array().unwrap().len(), 1);

    let list = site.get("/v1/tenants/acme/tokens", &owner).await;
    assert_eq!(list.json["data"].as_array().unwrap().len(), 2);
    assert!(!list.text().contains(&reader[reader.len() - 43..]), "a secret is shown once");
    assert_eq!(site.send("DELETE", &format!("/v1/tenants/acme/tokens/{id}"), &owner, None).await.status, 204);
    assert_eq!(site.get(&format!("{CRM}/records/eu/anna"), reader).await.status, 401, "from the next request on");
    assert_eq!(site.send("DELETE", &format!("/v1/tenants/acme/tokens/{id}"), &owner, None).await.status, 404);

    let tenants = site.get("/v1/tenants", &site.operator).await;
    assert_eq!(tenants.json["data"][0]["tenant"], "acme", "{tenants:?}");
    assert_eq!(site.get("/v1/tenants/acme", &owner).await.json["state"], "active");
    let taken = site.send("POST", "/v1/tenants", &site.operator, Some(json!({"tenant": "acme"}))).await;
    assert_eq!((taken.status, taken.code()), (409, "name-taken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_carries_all_that_a_put_does() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let op = json!({
        "op": "put", "collection": "crm", "key": "a", "value": "x", "content_type": "text/x-test", "subjects": ["7", "8", "7"],
        "expires_at": "2999-01-01T00:00:00Z", "custom": {"origin": "café, 1", "empty": "", "n": "a\u{0}b"}
    });
    let batch = async |op: &serde_json::Value, key: &str| {
        let request = site.request(Method::POST, "/v1/tenants/acme/batch", &owner).header("idempotency-key", key);
        Answer::of(request.json(&json!({"ops": [op]})).send().await.unwrap()).await
    };
    let done = batch(&op, "k").await;
    assert_eq!(done.status, 200, "{done:?}");
    let got = site.get(&format!("{CRM}/records/a"), &owner).await;
    for (name, value) in [
        ("lethe-meta-origin", "caf%C3%A9%2C%201"),
        ("lethe-meta-empty", ""),
        ("lethe-meta-n", "a%00b"),
        ("lethe-subject", "7,8"),
        ("lethe-expires-at", "2999-01-01T00:00:00.000Z"),
        ("content-type", "text/x-test"),
    ] {
        assert!(got.headers.contains_key(name), "{name}");
        assert_eq!(got.header(name), value, "{name}");
    }
    // The pairs are part of the request: with others it is another one.
    let mut other = op.clone();
    other["custom"] = json!({"origin": "elsewhere"});
    assert_eq!(batch(&other, "k").await.code(), "idempotency-mismatch");
    assert_eq!(batch(&op, "k").await.json, done.json);
    let (mut one, mut two) = (op.clone(), op);
    (one["subjects"], one["custom"]) = (json!(["7", "a", "b"]), json!({}));
    (two["subjects"], two["custom"]) = (json!(["7"]), json!({"a": "b"}));
    assert_eq!(batch(&one, "l").await.status, 200);
    assert_eq!(batch(&two, "l").await.code(), "idempotency-mismatch", "subjects are not pairs");
    for bad in [json!({"canary@example.org": "x"}), json!({"a": {"canary@example.org": "x"}}), json!({"Canary": "x"}), json!("canary")] {
        two["custom"] = bad;
        let refused = batch(&two, "m").await;
        assert_eq!((refused.status, refused.code(), &refused.json["op"]), (422, "invalid-body", &json!(0)), "{refused:?}");
        assert!(!refused.text().to_lowercase().contains("canary"), "what was sent is not repeated: {refused:?}");
    }
}
