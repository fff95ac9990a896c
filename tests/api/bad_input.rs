//! What is malformed, too long, too large or a trick: the documented status and code, and never a 500.

use std::fmt::Write as _;

use lethe::domain::limits;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::limits::one_over;
use super::site::{Answer, CRM, Site, code_of, raw, raw_to_end, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn tricks_with_paths_are_refused() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let long = "a".repeat(one_over(limits::KEY_LEN));
    let deep = vec!["a"; one_over(limits::KEY_SEGMENTS)].join("/");
    for (path, status, code) in [
        (format!("{CRM}/records/.."), 400, "malformed-name"),
        (format!("{CRM}/records/a/../../../../other"), 400, "malformed-name"),
        (format!("{CRM}/records/%2e%2e/a"), 400, "malformed-name"),
        (format!("{CRM}/records/a%2fb"), 400, "malformed-name"),
        (format!("{CRM}/records/a%2Fb"), 400, "malformed-name"),
        (format!("{CRM}/records/a//b"), 400, "malformed-name"),
        (format!("{CRM}/records//a"), 400, "malformed-name"),
        (format!("{CRM}/records/a/"), 400, "malformed-name"),
        (format!("{CRM}/records/"), 400, "malformed-name"),
        (format!("{CRM}/records/a%00b"), 400, "malformed-name"),
        (format!("{CRM}/records/%ff%fe"), 400, "malformed-name"),
        (format!("{CRM}/records/%zz"), 400, "malformed-name"),
        (format!("{CRM}/records/%"), 400, "malformed-name"),
        (format!("{CRM}/records/{long}"), 400, "limit-exceeded"),
        (format!("{CRM}/records/{deep}"), 400, "limit-exceeded"),
        (format!("{CRM}/records/a?x=1"), 400, "malformed-query"),
        (format!("{CRM}/records?limit=1001"), 400, "limit-exceeded"),
        (format!("{CRM}/records?limit=0"), 400, "malformed-query"),
        (format!("{CRM}/records?limit=-1"), 400, "malformed-query"),
        (format!("{CRM}/records?limit=99999999999999999999"), 400, "malformed-query"),
        (format!("{CRM}/records?limit=1&limit=2"), 400, "malformed-query"),
        (format!("{CRM}/records?surprise=1"), 400, "malformed-query"),
        (format!("{CRM}/records?prefix=a%2F%2Fb"), 400, "malformed-name"),
        (format!("{CRM}/records?cursor=not-a-cursor"), 400, "malformed-cursor"),
        ("/v1/tenants/ACME/collections/crm/records/a".into(), 400, "malformed-name"),
        ("/v1/tenants/acme/collections/%63rm/records/a".into(), 400, "malformed-name"),
        (format!("/v1/tenants/{}/collections/crm/records/a", "t".repeat(65)), 400, "limit-exceeded"),
        ("/v1/tenants/acme/shreds/xyz".into(), 400, "malformed-id"),
        ("/v1/tenants/acme/audit?after=nonsense".into(), 400, "malformed-cursor"),
        ("/v1/certificates/XYZ".into(), 400, "malformed-id"),
        ("/v1/tenants//collections/crm".into(), 400, "malformed-name"),
        ("/v2/tenants".into(), 404, "no-such-route"),
        ("/".into(), 404, "no-such-route"),
        ("/log/tile/../../control/CURRENT".into(), 404, "not-found"),
    ] {
        // As it is: a client's library would normalise it.
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nconnection: close\r\n\r\n");
        let answer = raw(&site, head.as_bytes()).await;
        assert_eq!((status_of(&answer), code_of(&answer).as_str()), (status, code), "{path:.120}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_headers_are_refused_by_name() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    let many_subjects = (0..17).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let (long_key, long_subject, long_type) = ("k".repeat(256), "s".repeat(257), format!("text/{}", "x".repeat(251)));
    for (name, value, status, code) in [
        ("lethe-subject", "", 400, "malformed-header"),
        ("lethe-subject", "a,,b", 400, "malformed-header"),
        ("lethe-subject", "%zz", 400, "malformed-header"),
        ("lethe-subject", "%ff", 400, "malformed-header"),
        ("lethe-subject", "a%00", 400, "malformed-header"),
        ("lethe-subject", long_subject.as_str(), 400, "limit-exceeded"),
        ("lethe-subject", many_subjects.as_str(), 400, "limit-exceeded"),
        ("lethe-expires-at", "tomorrow", 400, "malformed-header"),
        ("lethe-new-relationship", "yes", 400, "malformed-header"),
        ("lethe-purpose", "", 400, "malformed-header"),
        ("idempotency-key", "", 400, "malformed-header"),
        ("idempotency-key", long_key.as_str(), 400, "limit-exceeded"),
        ("content-type", "nonsense", 400, "malformed-header"),
        ("content-type", long_type.as_str(), 400, "limit-exceeded"),
        ("if-match", "unquoted", 400, "malformed-header"),
        ("if-none-match", "\"a\"", 400, "malformed-header"),
        ("lethe-meta-a", "%f", 400, "malformed-header"),
    ] {
        let mut request = site.request(Method::PUT, &path, &owner).header(name, value).body("x");
        if name != "lethe-subject" {
            request = request.header("lethe-subject", "1");
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{name}: {value:.40}: {answer:?}");
        assert!(!answer.text().contains(value) || value.len() < 8, "{name}: what was sent is not repeated");
    }
    for range in ["bytes=", "bytes=5-1", "bytes=a-b", "bytes"] {
        let request = site.request(Method::GET, &path, &owner).header("range", range);
        assert_eq!(Answer::of(request.send().await.unwrap()).await.code(), "malformed-header", "{range}");
    }
    let twice = site
        .request(Method::PUT, &path, &owner)
        .header("lethe-expires-at", "2999-01-01T00:00:00Z")
        .header("lethe-expires-at", "2999-01-01T00:00:00Z");
    assert_eq!(Answer::of(twice.body("x").send().await.unwrap()).await.code(), "malformed-header");
    let without = site.request(Method::PUT, &path, &owner).body("x").send().await.unwrap();
    let without = Answer::of(without).await;
    assert_eq!((without.status, without.code()), (422, "subject-required"));
    let wait = site
        .request(Method::POST, "/v1/tenants/acme/shreds", &owner)
        .header("prefer", "wait=61")
        .json(&json!({"scope": "subject", "subject": "1"}));
    let wait = Answer::of(wait.send().await.unwrap()).await;
    assert_eq!((wait.code(), wait.json["limit"].as_str()), ("limit-exceeded", Some("wait_secs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_over_the_limits_are_refused_by_limit() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let lines = |count: u64| {
        let mut many = format!("GET /v1/tenants/acme HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nconnection: close\r\n");
        for number in 3..count {
            write!(many, "x-{number}: 1\r\n").unwrap();
        }
        many + "\r\n"
    };
    let most = lethe::domain::limits::HEADERS_COUNT.max;
    assert_eq!(status_of(&raw(&site, lines(most).as_bytes()).await), 200);
    for count in [most + 1, 100] {
        let answer = raw(&site, lines(count).as_bytes()).await;
        assert_eq!((status_of(&answer), code_of(&answer).as_str()), (400, "limit-exceeded"), "{count}: {answer}");
        assert!(answer.contains("headers_count"));
    }
    // The protocol's own end, without a document.
    assert_eq!(status_of(&raw(&site, lines(101).as_bytes()).await), 431);
    let large = format!("GET /v1/tenants/acme HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-large: {}\r\n\r\n", "a".repeat(40_000));
    let answer = raw(&site, large.as_bytes()).await;
    assert!(status_of(&answer) == 400 && answer.contains("headers_len"), "{answer}");
    let huge = format!("GET /v1/tenants/acme HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "a".repeat(200_000));
    assert!(matches!(status_of(&raw(&site, huge.as_bytes()).await), 431 | 0), "hyper's own limit, or a reset while sending");
    let twice = format!(
        "GET /v1/tenants/acme HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nauthorization: Bearer {owner}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(status_of(&raw(&site, twice.as_bytes()).await), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_the_wrong_kind_shape_or_size_are_refused() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let send = |method: Method, path: &str, body: String, kind: &'static str| {
        let request = site.request(method, path, &owner).header("content-type", kind).body(body);
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let json = "application/json";
    let query = format!("{CRM}/query");
    let deep = format!("{{\"prefix\":{}{}}}", "[".repeat(500), "]".repeat(500));
    for (body, kind, status, code) in [
        ("", json, 400, "malformed-json"),
        ("{", json, 400, "malformed-json"),
        ("{} {}", json, 400, "malformed-json"),
        ("\u{feff}{}", json, 400, "malformed-json"),
        ("{\"limit\": 01}", json, 400, "malformed-json"),
        ("{\"limit\": NaN}", json, 400, "malformed-json"),
        (deep.as_str(), json, 422, "invalid-body"),
        ("[]", json, 422, "invalid-body"),
        ("null", json, 422, "invalid-body"),
        ("{\"limit\": \"10\"}", json, 422, "invalid-body"),
        ("{\"limit\": 1.5}", json, 422, "invalid-body"),
        ("{\"limit\": -1}", json, 422, "invalid-body"),
        ("{\"limit\": 18446744073709551616}", json, 422, "invalid-body"),
        ("{\"limit\": 1, \"limit\": 2}", json, 422, "invalid-body"),
        ("{\"canary-7f3a\": 1}", json, 422, "invalid-body"),
        ("{\"limit\": 1001}", json, 400, "limit-exceeded"),
        ("{\"prefix\": \"a//b\"}", json, 400, "malformed-name"),
        ("{\"subject\": \"\"}", json, 400, "malformed-name"),
        ("{\"cursor\": \"canary-7f3a\"}", json, 400, "malformed-cursor"),
        ("{}", "text/plain", 415, "unsupported-media-type"),
        ("{}", "application/json; charset=latin1", 415, "unsupported-media-type"),
        ("{}", "application/json; charset=utf-8", 200, ""),
    ] {
        let answer = send(Method::POST, &query, body.to_owned(), kind).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{body:.60} as {kind}: {answer:?}");
        assert!(!answer.text().contains("canary"), "what was sent is not repeated");
    }
    let invalid_utf8 = site.request(Method::POST, &query, &owner).header("content-type", json).body(b"{\"prefix\": \"\xff\"}".to_vec());
    assert_eq!(Answer::of(invalid_utf8.send().await.unwrap()).await.code(), "malformed-json");

    for (method, path, body) in [
        (Method::POST, query.as_str(), "{}"),
        (Method::POST, "/v1/tenants/acme/tokens", "{\"role\": \"reader\"}"),
        (Method::PUT, "/v1/tenants/acme/collections/other", "{}"),
        (Method::POST, "/v1/tenants/acme/batch", "{\"ops\": []}"),
        (Method::POST, "/v1/tenants/acme/shreds", "{\"scope\": \"subject\", \"subject\": \"9\"}"),
    ] {
        for second in [json, "text/plain"] {
            let twice = site.request(method.clone(), path, &owner).header("content-type", json).header("content-type", second);
            let twice = Answer::of(twice.body(body).send().await.unwrap()).await;
            assert_eq!((twice.status, twice.code()), (400, "malformed-header"), "{method} {path}: {twice:?}");
        }
    }

    let large = send(Method::POST, &query, " ".repeat(one_over(limits::JSON_BODY_LEN)), json).await;
    assert_eq!((large.status, large.code(), large.json["limit"].as_str()), (413, "too-large", Some("json_body_len")));
    let ops: Vec<Value> =
        (0..=limits::BATCH_OPS.max).map(|number| json!({"op": "delete", "collection": "crm", "key": number.to_string()})).collect();
    let many = send(Method::POST, "/v1/tenants/acme/batch", json!({ "ops": ops }).to_string(), json).await;
    assert_eq!((many.status, many.json["limit"].as_str()), (400, Some("batch_ops")), "{many:?}");
    let value = "x".repeat(one_over(limits::INLINE_VALUE_LEN));
    let inline = json!({"ops": [{"op": "put", "collection": "crm", "key": "a", "value": value, "subjects": ["1"]}]});
    let inline = send(Method::POST, "/v1/tenants/acme/batch", inline.to_string(), json).await;
    assert_eq!((inline.status, inline.json["limit"].as_str(), inline.json["op"].as_u64()), (413, Some("inline_value_len"), Some(0)));
    let subjects: Vec<String> = (0..=limits::SHRED_SUBJECTS.max).map(|number| number.to_string()).collect();
    let order = send(Method::POST, "/v1/tenants/acme/shreds", json!({"scope": "subject", "subjects": subjects}).to_string(), json).await;
    assert_eq!((order.status, order.json["limit"].as_str()), (400, Some("shred_subjects")), "{order:?}");

    for (body, status) in [
        (json!({"role": "emperor"}), 422),
        (json!({"role": "operator"}), 422),
        (json!({"role": "reader", "collections": []}), 422),
        (json!({"role": "reader", "collections": ["A"]}), 400),
        (json!({"role": "reader", "prefix": ".."}), 400),
        (json!({"role": "reader", "expires_at": "soon"}), 422),
        (json!({"role": "reader", "expires_at": "1999-01-01T00:00:00Z"}), 422),
        (json!({"role": "reader", "kind": "robot"}), 422),
        (json!({}), 422),
    ] {
        let answer = send(Method::POST, "/v1/tenants/acme/tokens", body.to_string(), json).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    for body in [json!({"retention": "forever"}), json!({"shred_unit": "tenant"}), json!({"purposes": [""]}), json!({"categories": [""]})] {
        let answer = send(Method::PUT, &format!("{CRM}2"), body.to_string(), json).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
    }
    let name = site.send("POST", "/v1/tenants", &site.operator, Some(json!({"tenant": "../x"}))).await;
    assert_eq!((name.status, name.code()), (400, "malformed-name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_over_the_configured_limit_is_refused_announced_or_not() {
    let site = Site::open_with("[limits]\nvalue_len_bytes = 100000\n").await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    let put = |body: reqwest::Body| site.request(Method::PUT, &path, &owner).header("lethe-subject", "1").body(body).send();
    let announced = Answer::of(put(vec![0; 100_001].into()).await.unwrap()).await;
    assert_eq!((announced.status, announced.json["limit"].as_str()), (413, Some("value_len")));
    let chunks = futures_util::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 10_000])));
    // The answer may come while the rest is still being sent, and the connection end with it.
    if let Ok(streamed) = put(reqwest::Body::wrap_stream(chunks)).await {
        assert_eq!(streamed.status(), 413);
    }
    assert_eq!(site.get(&path, &owner).await.status, 404, "nothing was stored");
    assert_eq!(put(vec![0; 100_000].into()).await.unwrap().status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_body_stores_nothing() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for announced in [10, 200_000] {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        let head = format!(
            "PUT {CRM}/records/short HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nlethe-subject: 1\r\ncontent-length: {announced}\r\n\r\nfive!"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        drop(stream);
        assert_eq!(site.get(&format!("{CRM}/records/short"), &owner).await.status, 404, "{announced}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_cannot_be_smuggled() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let put = |key: &str, headers: &str, body: &str| {
        format!("PUT {CRM}/records/{key} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nlethe-subject: 1\r\n{headers}\r\n{body}")
    };
    let hidden = put("hidden", "content-length: 1\r\n", "x");
    for (named, bytes) in [
        (
            "length before chunked",
            put("a", &format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", hidden.len() + 5), &format!("0\r\n\r\n{hidden}")),
        ),
        ("chunked before length", put("b", "transfer-encoding: chunked\r\ncontent-length: 4\r\n", &format!("0\r\n\r\n{hidden}"))),
        ("two lengths", put("c", "content-length: 1\r\ncontent-length: 2\r\n", &format!("x{hidden}"))),
        ("two lengths in one line", put("d", "content-length: 1, 2\r\n", &format!("x{hidden}"))),
        ("a signed length", put("e", "content-length: +1\r\n", &format!("x{hidden}"))),
        ("a negative length", put("f", "content-length: -1\r\n", &format!("x{hidden}"))),
        ("chunked not last", put("g", "transfer-encoding: chunked, identity\r\n", &format!("0\r\n\r\n{hidden}"))),
        ("chunked by another name", put("h", "transfer-encoding: xchunked\r\n", &format!("0\r\n\r\n{hidden}"))),
        ("a space before the colon", put("i", "transfer-encoding : chunked\r\n", &format!("0\r\n\r\n{hidden}"))),
        ("a folded header", put("j", "x-a: b\r\n transfer-encoding: chunked\r\n", &format!("0\r\n\r\n{hidden}"))),
        ("a bad chunk length", put("k", "transfer-encoding: chunked\r\n", &format!("zz\r\nx\r\n0\r\n\r\n{hidden}"))),
        ("a bare line feed in a chunk length", put("l", "transfer-encoding: chunked\r\n", &format!("1;a\nb\r\nx\r\n0\r\n\r\n{hidden}"))),
        ("NUL in a header", put("m", "x-a: b\0c\r\ncontent-length: 0\r\n", &hidden)),
        (
            "an old version with chunks",
            put("n", "transfer-encoding: chunked\r\n", &format!("0\r\n\r\n{hidden}")).replace("HTTP/1.1", "HTTP/1.0"),
        ),
    ] {
        let answer = raw_to_end(&site, bytes.as_bytes()).await;
        let answers = answer.matches("HTTP/1.").count();
        assert!(answers <= 1, "{named}: answered {answers} requests:\n{answer}");
        let both = named.contains("length before") || named.contains("before length");
        assert!(if both { status_of(&answer) < 500 } else { matches!(status_of(&answer), 400 | 0) }, "{named}: {answer}");
        assert_eq!(site.get(&format!("{CRM}/records/hidden"), &owner).await.status, 404, "{named}: the hidden request was carried out");
    }
    // What an honest connection may do: two requests, one after the other.
    let pipelined = format!("{}{}", put("y", "content-length: 1\r\n", "x"), put("z", "content-length: 1\r\nconnection: close\r\n", "x"));
    assert_eq!(raw_to_end(&site, pipelined.as_bytes()).await.matches("HTTP/1.1 201").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_a_route_does_not_know_are_refused() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for (method, path) in [
        ("PATCH", format!("{CRM}/records/a")),
        ("POST", format!("{CRM}/records/a")),
        ("DELETE", CRM.into()),
        ("PUT", "/v1/tenants".into()),
        ("POST", "/health/live".into()),
    ] {
        let answer = site.send(method, &path, &owner, None).await;
        assert_eq!((answer.status, answer.code()), (405, "method-not-allowed"), "{method} {path}");
        let allowed: Vec<&str> = answer.header("allow").split(", ").collect();
        let distinct: std::collections::BTreeSet<&&str> = allowed.iter().collect();
        assert!(!allowed.contains(&"") && distinct.len() == allowed.len(), "{method} {path}: {allowed:?}");
    }
}
