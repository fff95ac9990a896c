//! A value that is far larger than what a server may hold of it goes in and comes out of the real program, over HTTP: made on the
//! fly, checked on the fly, and the process's peak of resident memory (`VmHWM`) grows by no more than a bound. So it does when the whole
//! tenant is exported and imported again.

use std::fs;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lethe::domain::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::json;

use crate::{
    age::PAIRS,
    client::{Client, Request},
    site::{Site, lethe, succeeded},
};

const PART: usize = 1 << 16;
const MIB: usize = 1 << 20;

/// What the peak may grow by: a transfer holds a few rows of 64 KiB, and the engine what its settings below let it: tables in memory
/// of 32 MiB, of which the warm-up has filled half, with those before them while they are written out, blocks of 8 MiB, the indexes
/// of its files.
const GROWTH_MAX: usize = 64 * MIB;

/// `make proof` asks for 1.25 GiB.
#[expect(clippy::disallowed_methods, reason = "make proof asks for more so")]
fn len() -> usize {
    if std::env::var_os("LETHE_PROOF").is_some() { 1_280 * MIB } else { 256 * MIB }
}

/// The bytes of a part of the value: unlike those of every other part.
fn part(number: usize) -> Vec<u8> {
    let mut state = (number as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(PART);
    while bytes.len() < PART {
        // xorshift64* (Vigna, 2016).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes
}

/// The peak of a process's resident memory, in bytes.
fn peak(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

async fn put(url: &str, token: &str, name: &str, len: usize) {
    let parts = stream::iter((0..len / PART).map(|number| Ok::<_, std::io::Error>(Bytes::from(part(number)))));
    let request = http().put(format!("{url}/v1/tenants/acme/collections/c/records/{name}")).bearer_auth(token);
    let request = request.header("content-length", len).body(reqwest::Body::wrap_stream(parts));
    assert_eq!(request.send().await.unwrap().status(), 201, "{name}");
}

/// Reads the value, or a range of it, and compares each byte as it comes.
async fn get(url: &str, token: &str, name: &str, from: usize, until: usize) {
    get_of("acme", url, token, name, from, until).await;
}

async fn get_of(tenant: &str, url: &str, token: &str, name: &str, from: usize, until: usize) {
    let request = http().get(format!("{url}/v1/tenants/{tenant}/collections/c/records/{name}")).bearer_auth(token);
    let response = request.header("range", format!("bytes={from}-{}", until - 1)).send().await.unwrap();
    assert_eq!(response.status(), 206, "{name}");
    let (mut body, mut at) = (response.bytes_stream(), from);
    let (mut number, mut expected) = (usize::MAX, Vec::new());
    while let Some(bytes) = body.next().await {
        let mut bytes = bytes.unwrap();
        while !bytes.is_empty() {
            if number != at / PART {
                number = at / PART;
                expected = part(number);
            }
            let here = bytes.split_to(bytes.len().min(PART - at % PART));
            assert!(*here == expected[at % PART..][..here.len()], "other bytes at {at}");
            at += here.len();
        }
    }
    assert_eq!(at, until, "cut short");
}

/// Exports the tenant and imports it as `copy`.
fn move_tenant(site: &Site, url: &str, owner: &str) {
    let [key, ..] = &PAIRS;
    fs::write(site.path("key"), key.identity).unwrap();
    fs::write(site.path("acme.token"), owner).unwrap();
    let run = |token: &str, arguments: &[&str]| {
        let mut command = lethe();
        command.env("LETHE_ADDR", url).env("LETHE_TOKEN_FILE", site.path(token)).args(arguments);
        succeeded(command.current_dir(site.path("")));
    };
    run("acme.token", &["export", "tenant", "acme", "--to", "acme.age", "--recipient", key.recipient]);
    let import = ["import", "tenant", "--from", "acme.age", "--identity", "key", "--as", "copy", "--owner-token", "copy.token"];
    run("store/operator.token", &import);
    fs::remove_file(site.path("acme.age")).unwrap();
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_any_length_goes_in_and_out_in_bounded_memory() {
    let site = Site::make("[cache]\nblocks_len_bytes = 8388608\n");
    let server = site.start();
    let client = Client::new(&server.url);
    let made = client.json(Method::POST, "/v1/tenants", &site.operator(), &[], &json!({"tenant": "acme"})).await.unwrap();
    let owner = made.expect(201, "acme").json()["token"].as_str().unwrap().to_owned();
    let policy = json!({"shred_unit": "collection"}).to_string().into_bytes();
    let path = "/v1/tenants/acme/collections/c";
    let request = Request { method: Method::PUT, path, token: &owner, headers: &[("content-type", "application/json")], body: policy };
    client.send(request).await.unwrap().expect(201, path);

    // Whatever the first large value makes the process take for good.
    let warm = 16 * MIB;
    put(&server.url, &owner, "warm", warm).await;
    get(&server.url, &owner, "warm", 0, warm).await;
    let (before, len, begun) = (peak(server.pid()), len(), SystemClock.monotonic());
    put(&server.url, &owner, "large", len).await;
    let between = peak(server.pid());
    get(&server.url, &owner, "large", 0, len).await;
    get(&server.url, &owner, "large", len / 2 + 5, len / 2 + 3 * PART).await;
    let read = peak(server.pid());
    move_tenant(&site, &server.url, &owner);
    let after = peak(server.pid());
    let token = fs::read_to_string(site.path("copy.token")).unwrap();
    get_of("copy", &server.url, token.trim(), "large", 0, len).await;
    let mib = |bytes: usize| bytes / MIB;
    println!(
        "bounded: {} MiB in and out in {:?}; peak {} MiB, then {} MiB, then {} MiB, and {} MiB once the tenant was moved",
        mib(len),
        SystemClock.monotonic().saturating_sub(begun),
        mib(before),
        mib(between),
        mib(read),
        mib(after)
    );
    assert!(after - before <= GROWTH_MAX, "the peak grew by {} MiB", mib(after - before));
    server.stop();
}
