//! Connections: HTTP/1.1 and 2, TLS and its reload, time-outs by lack of progress, limits, ids, going down.

use std::time::Duration;

use lethe::domain::limits;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Client;
use super::h2::Peer;
use super::site::{Answer, CRM, Site};

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_ids_taken_or_made() {
    let site = Site::open().await;
    let ask = |id: &'static str| site.client.get(format!("{}/health/live", site.server.url())).header("x-request-id", id).send();
    let taken = ask("000102030405060708090a0b0c0d0e0f").await.unwrap();
    assert_eq!(taken.headers()["x-request-id"], "000102030405060708090a0b0c0d0e0f");
    let made = ask("anna@example.org").await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
    assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    let uuid = ask("00010203-0405-0607-0809-0a0b0c0d0e0f").await.unwrap();
    assert_eq!(uuid.headers()["x-request-id"], "000102030405060708090a0b0c0d0e0f", "a UUID, without its dashes");
    let other = ask("").await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(made, other);
    let refused = site.get("/v1/nothing", &site.operator).await;
    assert_eq!(refused.json["request_id"], refused.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_works_on_loopback() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let client = Client::of(reqwest::Client::builder().http2_prior_knowledge());
    let url = format!("{}{CRM}/records/a", site.server.url());
    let put = client.put(&url).bearer_auth(&owner).header("lethe-subject", "1").body(vec![7; 300_000]).send().await.unwrap();
    assert_eq!((put.status().as_u16(), put.version()), (201, reqwest::Version::HTTP_2));
    let got = client.get(&url).bearer_auth(&owner).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), vec![7; 300_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_beyond_the_memory_for_bodies_are_busy_and_small_requests_go_on() {
    let site = Site::open_with("bodies_len_bytes = 67108864").await;
    let owner = site.acme().await;
    let batch = |len: usize| {
        let op = json!({"op": "put", "collection": "crm", "key": "a", "value": "x", "subjects": ["1"]});
        let body = format!("{{\"ops\":[{op}{}]}}", " ".repeat(len));
        let request = site.request(reqwest::Method::POST, "/v1/tenants/acme/batch", &owner).header("content-type", "application/json");
        async move { Answer::of(request.body(body).send().await.unwrap()).await }
    };
    assert_eq!(batch(1_000_000).await.status, 200);
    // Says that it will send as much as there is room for, and sends nothing.
    let head = format!(
        "POST /v1/tenants/acme/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\ncontent-type: application/json\r\n\
         content-length: 67108864\r\n\r\n{{"
    );
    let announce = async || {
        let mut slow = TcpStream::connect(site.address()).await.unwrap();
        slow.write_all(head.as_bytes()).await.unwrap();
        slow
    };
    let mut slow = announce().await;
    let asks = async {
        loop {
            let answer = batch(1_000_000).await;
            if answer.status == 503 {
                return answer;
            }
            // It is refused itself while the batch before it has not given back its share: once more then.
            if slow.try_read(&mut [0; 4096]).is_ok() {
                slow = announce().await;
            }
        }
    };
    let busy = tokio::time::timeout(Duration::from_mins(1), asks).await.expect("never answered 503");
    assert_eq!((busy.code(), busy.header("retry-after")), ("busy", "1"));
    assert_eq!((&busy.json["limit"], &busy.json["limit_max"]), (&json!("bodies_len"), &json!(67_108_864)), "{busy:?}");
    assert_eq!(batch(10).await.status, 200, "a small batch");
    assert_eq!(site.put(&format!("{CRM}/records/b"), &owner, "1", &"v".repeat(1_000_000)).await.status, 201, "a value is streamed");
    let order = json!({"scope": "subject", "subject": "1"});
    assert_eq!(site.send("POST", "/v1/tenants/acme/shreds", &owner, Some(order)).await.status, 202, "an order to shred");
    drop(slow);
    // The person of the batch was shredded; what matters is that it was read.
    let read = async { while batch(1_000_000).await.status != 410 {} };
    tokio::time::timeout(Duration::from_mins(1), read).await.expect("never answered 410");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_for_everybody_and_metrics_for_the_operator() {
    let site = Site::open().await;
    let owner = site.acme().await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(site.client.get(format!("{}{path}", site.server.url())).send().await.unwrap().status(), 204, "{path}");
    }
    site.put(&format!("{CRM}/records/canary-key-51c2"), &owner, "canary-subject-77ab", "canary-value-90fe").await;
    site.get(&format!("{CRM}/records?subject=canary-subject-77ab"), &owner).await;
    let metrics = site.get("/metrics", &site.operator).await;
    assert_eq!(metrics.status, 200);
    for name in [
        "lethe_http_requests_total{",
        "lethe_http_request_seconds_bucket{",
        "lethe_store_commits_total{outcome=\"committed\"}",
        "lethe_http_connections ",
    ] {
        assert!(metrics.text().contains(name), "{name}");
    }
    assert!(metrics.text().contains("route=\"/v1/tenants/{tenant}/collections/{collection}/records/{*key}\""));
    for personal in ["canary", "acme", "crm"] {
        assert!(!metrics.text().contains(personal), "{personal}");
    }
    let openapi = site.client.get(format!("{}/openapi.json", site.server.url())).send().await.unwrap();
    let openapi = Answer::of(openapi).await;
    assert!(openapi.json["paths"]["/v1/tenants/{tenant}/batch"]["post"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_there_from_the_start() {
    let site = Site::open().await;
    let metrics = site.get("/metrics", &site.operator).await;
    let lines: Vec<&str> = metrics.text().lines().collect();
    let has = |series: String| assert!(lines.iter().any(|line| line.starts_with(&series)), "{series} is missing");
    for code in lethe::http::problem::Code::ALL {
        has(format!("lethe_http_problems_total{{code=\"{}\"}} ", code.name()));
    }
    for endpoint in lethe::http::endpoints() {
        let labels = format!("method=\"{}\",route=\"{}\"", endpoint.method, endpoint.path);
        for status in ["2xx", "4xx", "5xx"] {
            has(format!("lethe_http_requests_total{{{labels},status=\"{status}\"}} "));
        }
        has(format!("lethe_http_request_seconds_count{{{labels}}} "));
    }
    has("lethe_shred_seconds_count ".into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_body_times_out_and_a_slow_one_does_not() {
    // Each part comes three seconds before it would be too late.
    let site = Site::open_with("stall_timeout_secs = 5\n").await;
    let owner = site.acme().await;
    let head = |key: &str| {
        format!(
            "PUT {CRM}/records/{key} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nlethe-subject: 1\r\ncontent-length: 5\r\n\r\n"
        )
    };
    let mut slow = TcpStream::connect(site.address()).await.unwrap();
    slow.write_all(head("slow").as_bytes()).await.unwrap();
    for part in ["s", "lo", "w!"] {
        let _ = tokio::time::timeout(Duration::from_secs(2), std::future::pending::<()>()).await;
        slow.write_all(part.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201", "six seconds in all, never five without progress");

    let mut stalled = TcpStream::connect(site.address()).await.unwrap();
    stalled.write_all(format!("{}xx", head("stalled")).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_mins(1), stalled.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("incomplete-body"), "{answer}");
    assert_eq!(site.get(&format!("{CRM}/records/stalled"), &owner).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_closed() {
    let site = Site::open_with("header_timeout_secs = 1\n").await;
    for beginning in ["", "GET /health/live HTTP/1.1\r\nhost: x\r\n", "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {beginning:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_connection_limit_the_answer_is_503_with_retry_after() {
    let site = Site::open_with("connections_max = 2\n").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 204");
        held.push(stream);
    }
    let mut third = TcpStream::connect(site.address()).await.unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_places_for_requests_the_refusal_names_its_limit_and_strangers_have_places_of_their_own() {
    // However long it takes to begin them all, none gives its place back: not for a body that does not come, nor with its connection,
    // which `header_timeout_secs` closes because these peers read nothing and so answer no ping.
    let site = Site::open_with("stall_timeout_secs = 600\nheader_timeout_secs = 600\n").await;
    let owner = site.acme().await;
    // Puts whose body does not come, as many as a connection may have, until the places are taken.
    let headers = [("authorization", format!("Bearer {owner}")), ("lethe-subject", "1".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (mut peers, mut left) = (Vec::new(), limits::REQUESTS.max);
    while left > 0 {
        let mut peer = Peer::connect(&site.address(), 65_535).await;
        let some = left.min(limits::STREAMS.max);
        for _ in 0..some {
            peer.begin_put(&format!("{CRM}/records/a"), &headers).await;
        }
        peers.push(peer);
        left -= some;
    }
    // Who asks has a place for a moment, too, in which one of them may have been refused: then another takes it.
    let mut more = Peer::connect(&site.address(), 65_535).await;
    let mut refused = site.get("/v1/tenants/acme", &owner).await;
    for asked in 1..50 * limits::STREAMS.max {
        if refused.status == 503 {
            break;
        }
        if asked.is_multiple_of(50) {
            more.begin_put(&format!("{CRM}/records/a"), &headers).await;
        }
        refused = site.get("/v1/tenants/acme", &owner).await;
    }
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!((refused.code(), refused.header("retry-after")), ("busy", "1"), "{refused:?}");
    assert_eq!((&refused.json["limit"], &refused.json["limit_max"]), (&json!("requests_at_work"), &json!(4_096)), "{refused:?}");
    for (path, status) in [("/log/checkpoint", 200), ("/health/ready", 204)] {
        assert_eq!(site.client.get(format!("{}{path}", site.server.url())).send().await.unwrap().status(), status, "{path}");
    }
    assert_eq!(site.get("/metrics", &site.operator).await.status, 200);
    drop((peers, more));
    let free = async { while site.get("/v1/tenants/acme", &owner).await.status != 200 {} };
    tokio::time::timeout(Duration::from_mins(1), free).await.expect("the places come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_finishes_what_runs_and_accepts_nothing_more() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let (address, url) = (site.address(), site.server.url().to_owned());
    let mut running = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "PUT {CRM}/records/last HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nlethe-subject: 1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    );
    running.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    running.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "the request is at work");
    let Site { server, client, .. } = site;
    let finish = async {
        // The door is closed once connecting fails.
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        running.write_all(b"done").await.unwrap();
        let mut answer = String::new();
        running.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (stopped, answer) = tokio::join!(server.stop(), finish);
    stopped.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(client.get(format!("{url}/health/live")).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_both_protocols_and_takes_a_new_certificate_while_serving() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, key) = (dir.path().join("tls.pem"), dir.path().join("tls.key"));
    let make = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
    };
    let first = make();
    let site = Site::open_with(&format!("tls_cert_file = {chain:?}\ntls_key_file = {key:?}\n")).await;
    let ask = |trusted: &reqwest::Certificate, http2: bool| {
        let builder = reqwest::Client::builder().tls_certs_only([trusted.clone()]);
        let client = Client::of(if http2 { builder } else { builder.http1_only() });
        client.get(format!("{}/health/live", site.server.url())).send()
    };
    assert!(site.server.url().starts_with("https://"));
    assert_eq!(ask(&first, true).await.unwrap().version(), reqwest::Version::HTTP_2);
    assert_eq!(ask(&first, false).await.unwrap().version(), reqwest::Version::HTTP_11);
    let second = make();
    assert!(ask(&first, true).await.is_ok(), "not before it is told to");
    site.server.reload_certificate();
    assert_eq!(ask(&second, true).await.unwrap().status(), 204);
    assert!(ask(&first, true).await.is_err());
    let plain = TcpStream::connect(site.address()).await.unwrap();
    let mut plain = plain;
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "no plain HTTP behind TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_stop_a_shred() {
    let site = Site::open().await;
    let owner = site.acme().await;
    site.put(&format!("{CRM}/records/anna"), &owner, "1", "x").await;
    let body = json!({"scope": "subject", "subject": "1"}).to_string();
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    let head = format!(
        "POST /v1/tenants/acme/shreds HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\ncontent-type: application/json\r\nprefer: wait=30\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = log_size(&site).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    let ordered = async {
        while site.get(&format!("{CRM}/records/anna"), &owner).await.status != 410 {
            tokio::task::yield_now().await;
        }
        drop(stream);
        while log_size(&site).await == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ordered).await.expect("the shred is carried out and certified");
}

/// The number of leaves in the public log.
async fn log_size(site: &Site) -> u64 {
    let checkpoint = site.client.get(format!("{}/log/checkpoint", site.server.url())).send().await.unwrap().text().await.unwrap();
    checkpoint.lines().nth(1).and_then(|line| line.parse().ok()).unwrap()
}
