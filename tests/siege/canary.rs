//! Random names, subjects, values and headers go in through every route, well-formed and not, over HTTP/1.1, HTTP/2 and
//! the command line; then they are looked for in every file, log, metric and refusal.
//!
//! A refusal repeats nothing of what was sent: neither to who sent it, for it may pass a proxy's log, nor to anybody
//! else. What a log may show is a request's id (32 hexadecimal digits of the caller's choice) and a trace id.

mod prober;
mod script;

use std::{collections::BTreeSet, fs};

use crate::{keeper::Keeper, random::seed, scan::Canaries, site::Site};
use prober::{Prober, Protocol};

const DIRS: [&str; 3] = ["store", "store-mirror", "store-custody"];

fn settings(format: &str) -> String {
    format!(
        "[server]\nheader_timeout_secs = 3\n[store]\nreserve_len_bytes = 1048576\n[log]\nlevel = \"trace\"\nformat = \"{format}\"\n[limits]\nvalue_len_bytes = {}\n",
        script::VALUE_LIMIT
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_put_in_anywhere_is_found_nowhere_it_does_not_belong() {
    let mut random = seed("canaries");
    let site = Site::make(&settings("json"));
    let keeper = Keeper::start([DIRS[0], DIRS[1]].map(|dir| site.path(dir)).to_vec(), site.path("kept"));
    let mut prober = Prober::new(Canaries::new(random.fork()), site.operator());

    let server = site.start();
    let mut stores = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        prober.connect(&server.url, protocol);
        stores.push(script::fill(&prober).await);
    }
    assert!(prober.known().wrong.is_empty(), "{:#?}", prober.known().wrong);
    script::command_line(&prober, &site, &server, &stores[0]);
    script::bystander(&prober).await;
    script::raw_sockets(&prober, &server, &stores[0]).await;
    server.stop();

    // Text for people, another process, and now what was put in is shredded.
    let config = site.path("store/lethe.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("\"json\"", "\"text\"")).unwrap();
    let server = site.start();
    for (protocol, store) in [Protocol::Http1, Protocol::Http2].into_iter().zip(&stores) {
        prober.connect(&server.url, protocol);
        script::empty(&prober, store).await;
    }
    let metrics = prober.metrics().await;
    assert!(metrics.contains("lethe_http_requests_total") && metrics.contains("lethe_epochs_total"), "{metrics}");
    everything_is_covered(&prober).await;
    server.kill();
    // Once more, so that what the log of the engine held goes to its files.
    site.start().stop();
    let kept = keeper.stop();

    let known = prober.known();
    assert!(known.wrong.is_empty(), "{:#?}", known.wrong);
    let net = known.canaries.net();
    let mut caught: BTreeSet<String> = BTreeSet::new();
    let mut len = 0;
    for dir in DIRS.iter().chain(&["kept"]) {
        let (found, bytes) = net.caught_below(&site.path(dir));
        caught.extend(found);
        len += bytes;
    }
    let log = site.log();
    for line in log.lines() {
        caught.extend(net.caught(line.as_bytes()).into_iter().map(|what| format!("the log: {what}: {line}")));
    }
    for (whose, bytes) in &known.said {
        caught.extend(net.caught(bytes).into_iter().map(|what| format!("{whose}: {what}: {}", String::from_utf8_lossy(bytes))));
    }
    let (public, caught): (BTreeSet<_>, BTreeSet<_>) = caught.into_iter().partition(|what| what.contains(script::PUBLIC));
    for which in caught.iter().take(50) {
        println!("{which}");
    }
    assert!(caught.is_empty(), "{} findings", caught.len());
    println!(
        "canaries: {} of them, {} requests, {} answers looked through, {kept} files kept, {len} bytes of files, {} lines of log",
        known.canaries.len(),
        known.sent,
        known.said.len(),
        log.lines().count()
    );

    // Nothing of this is by an oversight: what went in is there, the log has what is below `info`, the search searches.
    assert!(public.iter().any(|what| what.contains("certificates")) && public.iter().any(|what| what.contains("control")), "{public:?}");
    assert!(known.returned > 20 && len > 1_000_000 && known.said.len() > 300);
    assert!(log.contains("\"level\":\"TRACE\"") && log.contains(" TRACE ") && log.contains("request answered"));
    let secret = site.operator();
    let mut own = Canaries::new(random.fork());
    own.adopt_token("the operator's token", &secret);
    assert!(!own.net().caught_below(&site.path("store")).0.is_empty(), "the one secret that is in a file by design");
    let client_side = net.caught_below(&site.path("client")).0;
    assert!(!client_side.is_empty(), "the file that was imported holds what was imported");
}

/// Every route of `/openapi.json` had its canaries, answered and refused.
async fn everything_is_covered(prober: &Prober) {
    let document = prober.openapi().await;
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let route = format!("{} {path}", method.to_uppercase());
            let seen = prober.known().covered.get(&route).copied().unwrap_or_default();
            assert!(
                seen.answered && seen.refused,
                "{route}: {seen:?}; send canaries to it in tests/siege/canary/script.rs, in a request that it answers and in one that it refuses"
            );
            routes += 1;
        }
    }
    let known = prober.known();
    assert_eq!(routes, known.covered.len(), "the script names a route that /openapi.json does not have: {:?}", known.covered.keys());
    assert!(routes > 20);
}
