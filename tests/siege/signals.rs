//! What an operator does to a running server: SIGTERM, SIGINT, SIGHUP, a second server on the same store, a collector of
//! traces. Real signals to a real process.

use std::{fs, time::Duration};

use lethe::domain::{Clock as _, SystemClock};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    client::{Client, Request},
    random::Random,
    scan::Canaries,
    site::{Server, Site, lethe},
};

const SETTINGS: &str = "[store]\nreserve_len_bytes = 1048576\n";
const RECORDS: &str = "/v1/tenants/acme/collections/crm/records";
const DEADLINE: Duration = Duration::from_mins(1);

/// Tenant acme with collection crm; its owner's token.
async fn make_acme(site: &Site, client: &Client) -> String {
    let made = client.json(Method::POST, "/v1/tenants", &site.operator(), &[], &json!({"tenant": "acme"})).await.unwrap();
    let owner = made.expect(201, "acme").json()["token"].as_str().unwrap().to_owned();
    client.json(Method::PUT, "/v1/tenants/acme/collections/crm", &owner, &[], &json!({})).await.unwrap().expect(201, "crm");
    owner
}

/// Polls until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = SystemClock.monotonic() + DEADLINE;
    while !so().await {
        assert!(SystemClock.monotonic() < deadline, "{what}: not after {DEADLINE:?}");
        tokio::task::yield_now().await;
    }
}

/// A request whose body is not there yet, and which the server has begun to read.
async fn half_a_request(server: &Server, owner: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "PUT {RECORDS}/last HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {owner}\r\nlethe-subject: 1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "the request is at work");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_told_to_end_finishes_what_runs_takes_nothing_more_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::make(SETTINGS);
        let server = site.start();
        let address = server.url.trim_start_matches("http://").to_owned();
        let owner = make_acme(&site, &Client::new(&server.url)).await;
        let mut running = half_a_request(&server, &owner).await;
        server.signal(signal);
        until("the door is closed", async || TcpStream::connect(&address).await.is_err()).await;
        running.write_all(b"done").await.unwrap();
        let mut answer = String::new();
        running.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{signal:?}: {answer}");
        let (status, said) = server.wait();
        assert_eq!((status.code(), said.as_str()), (Some(0), ""), "{signal:?}: {}", site.log_tail());
        let server = site.start();
        let kept = Client::new(&server.url).get(&format!("{RECORDS}/last"), &owner).await.unwrap();
        assert_eq!((kept.status, &kept.bytes[..]), (200, &b"done"[..]), "{signal:?}");
        server.stop();
    }
}

/// Who starts a server waits for its line, and may then do with it what he likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_right_after_the_first_line_is_obeyed() {
    let site = Site::make(SETTINGS);
    for reloads in 1..=5 {
        let server = site.start();
        server.signal(Signal::HUP);
        until("a reload", async || site.log().matches("no certificate to reload").count() == reloads).await;
        server.stop();
        site.start().stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_cut_and_the_exit_code_says_so() {
    let site = Site::make(&format!("{SETTINGS}[server]\ndrain_timeout_secs = 1\n"));
    let server = site.start();
    let owner = make_acme(&site, &Client::new(&server.url)).await;
    let _running = half_a_request(&server, &owner).await;
    server.signal(Signal::TERM);
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(1));
    assert!(site.log().contains("not everything ended in time") || site.log_tail().contains("not everything"), "{}", site.log_tail());
    site.start().stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_store_is_refused_and_the_first_does_not_mind() {
    let site = Site::make(SETTINGS);
    let server = site.start();
    let output = lethe().args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(site.path("store")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty() && told.contains("another process"), "{told}");
    let owner = make_acme(&site, &Client::new(&server.url)).await;
    let request = Request {
        method: Method::PUT,
        path: &format!("{RECORDS}/a"),
        token: &owner,
        headers: &[("lethe-subject", "1")],
        body: b"x".to_vec(),
    };
    Client::new(&server.url).send(request).await.unwrap().expect(201, "a put");
    server.stop();
}

/// A certificate and its key, written where the settings say.
fn certificate(site: &Site) -> reqwest::Certificate {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    fs::write(site.path("tls.pem"), made.cert.pem()).unwrap();
    fs::write(site.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
}

/// A client that trusts this certificate alone, and keeps its connection.
fn trusting(certificate: &reqwest::Certificate) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([certificate.clone()]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_presents_the_new_certificate_and_a_broken_one_keeps_the_old() {
    let site = Site::make(&format!("{SETTINGS}[server]\ntls_cert_file = \"../tls.pem\"\ntls_key_file = \"../tls.key\"\n"));
    let first = certificate(&site);
    let server = site.start();
    let url = format!("{}/health/live", server.url);
    assert!(url.starts_with("https://"), "{url}");
    let alive = async |client: &reqwest::Client| client.get(&url).send().await.is_ok_and(|answer| answer.status() == 204);
    let old = trusting(&first);
    assert!(alive(&old).await);

    let second = certificate(&site);
    assert!(!alive(&trusting(&second)).await, "not before it is told to");
    server.signal(Signal::HUP);
    until("the new certificate", async || alive(&trusting(&second)).await).await;
    assert!(!alive(&trusting(&first)).await, "a new connection is shown the new one");
    assert!(alive(&old).await, "an old connection goes on");
    assert!(site.log().contains("certificate reloaded"));

    for (file, broken, line) in
        [("tls.pem", "nothing", "holds no PEM certificate chain"), ("tls.key", "nothing", "holds no PEM private key")]
    {
        let good = fs::read(site.path(file)).unwrap();
        fs::write(site.path(file), broken).unwrap();
        server.signal(Signal::HUP);
        until(line, async || {
            site.log().lines().any(|told| told.contains("ERROR") && told.contains("the old one stays") && told.contains(line))
        })
        .await;
        assert!(alive(&trusting(&second)).await, "the good one is still shown: {line}");
        fs::write(site.path(file), good).unwrap();
    }
    assert!(alive(&old).await);
    drop(old);
    server.stop();
}

/// Reads one HTTP request whole and answers it; its head and body.
async fn one_export(listener: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let read = stream.read_buf(&mut bytes).await.unwrap();
        assert!(read > 0, "the exporter hung up");
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let len: usize = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
        if bytes.len() == end + 4 + len {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
            return (head, bytes.split_off(end + 4));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_reach_a_collector_and_name_nobody() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // As the documents give it: the base, without a path.
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let site = Site::make(&format!("{SETTINGS}[telemetry]\notlp_endpoint = \"{endpoint}\"\n"));
    let server = site.start();
    let client = Client::new(&server.url);
    let owner = make_acme(&site, &client).await;
    let mut canaries = Canaries::new(Random::new(11));
    canaries.adopt_token("the owner's token", &owner);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for (status, segment) in [(201, ""), (400, "//")] {
        let path = format!("{RECORDS}/{}{segment}", canaries.make("a key"));
        let (subject, pair, state) = (canaries.make("a subject"), canaries.make("a pair"), canaries.make("a trace state"));
        let headers = [("lethe-subject", subject.as_str()), ("lethe-meta-x", &pair), ("tracestate", &state), ("traceparent", &parent)];
        let body = canaries.make("a value").into_bytes();
        let answer = client.send(Request { method: Method::PUT, path: &path, token: &owner, headers: &headers, body }).await.unwrap();
        assert_eq!(answer.status, status);
    }
    let query = json!({"subject": canaries.make("a subject"), "prefix": canaries.make("a prefix")});
    client.json(Method::POST, "/v1/tenants/acme/collections/crm/query", &owner, &[], &query).await.unwrap().expect(200, "a query");
    // Going down sends what waits.
    server.signal(Signal::TERM);
    let collected = tokio::time::timeout(DEADLINE, async {
        let mut all = Vec::new();
        let trace = hex::decode(trace).unwrap();
        while !all.windows(16).any(|bytes| bytes == trace) {
            let (head, body) = one_export(&collector).await;
            assert!(head.starts_with("post /v1/traces http/1.1") && head.contains("application/x-protobuf"), "{head}");
            all.extend([head.as_bytes(), &body].concat());
        }
        all
    });
    let all = collected.await.expect("a span of the request under the caller's trace id");
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("request") && text.contains("/v1/tenants/{tenant}/collections/{collection}/records/{*key}"), "{text}");
    let caught = canaries.net();
    assert!(caught.caught(&all).is_empty(), "{:?}", caught.caught(&all));
    let (status, _) = server.wait();
    assert!(status.success(), "{status}: {}", site.log_tail());
}
