//! The hot path of GET and PUT, from the request's head to the answer's body, without sockets: for counting
//! instructions (`scripts/instructions`). `hot get 500` does 500 of them one after the other; what stands before the first is the
//! same for every count, so that the difference of two counts is the requests' own. All threads of the process are counted, so
//! the committer's and the readers' work for a request is in it.
//!
//! What was just put lies in the engine's memory; `hot get-file 500` has it written to files first, as nearly all that a server
//! holds is: a read then goes through their filters, indexes and blocks, which the block cache has from the second time on.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench: it says what it did, and an answer has its fields or it fails"
)]

use std::{path::Path, sync::Arc};

use axum::{Router, body::Body};
use http::{Method, Request, header};
use lethe::{
    config::Config,
    domain::{Clock, TestClock, Timestamp},
    http::{Api, HttpOptions, router, tasks::Tasks},
    server::rooms,
    vault::store::{Space, Store as _},
};
use serde_json::Value;
use tower::ServiceExt as _;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: u64 = 16;
const COLLECTION: &str = "/v1/tenants/acme/collections/bench";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(what), Some(count)) = (arguments.next(), arguments.next().and_then(|count| count.parse::<u64>().ok())) else {
        println!("hot get|get-file|put COUNT");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work(&what, count));
}

async fn work(what: &str, count: u64) {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a temp dir");
    for part in ["store", "mirror", "custody"] {
        std::fs::create_dir(dir.path().join(part)).expect("a directory");
    }
    let text = "[paths]\nmirror_dir = \"../mirror\"\n[store]\nreserve_len_bytes = 1048576\n[[custody]]\nkind = \"file\"\npath = \"../custody/root\"\n";
    let config = Config::parse(text, &dir.path().join("store")).expect("settings");
    // It stands still; and rustix, by which the system's is read, finds no vDSO under valgrind.
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp(1_800_000_000_000)));
    let operator = rooms::make(&config, Arc::clone(&clock)).await.expect("a store");
    let tasks = Tasks::default();
    let rooms = rooms::open(&config, clock, tasks.tracker(), tasks.stop_token(), false).await.expect("an open store");
    let api = Api::new(rooms.vault.clone(), HttpOptions::default(), lethe::telemetry::metrics_handle(), Tasks::default(), [1; 8]);
    let router = router(&api);

    let made = send(&router, Method::POST, "/v1/tenants", &operator, r#"{"tenant": "acme"}"#.into()).await;
    let made: Value = serde_json::from_slice(&made).expect("a document");
    let owner = made["token"].as_str().expect("the owner's token").to_owned();
    send(&router, Method::PUT, COLLECTION, &owner, r#"{"shred_unit": "subject"}"#.into()).await;
    for number in 0..RECORDS {
        put(&router, &owner, number).await;
    }
    if what == "get-file" {
        for space in [Space::Control, Space::Records] {
            // Of no range: what is in memory goes to files, those of the space's whole database, and nothing else happens.
            rooms.store.compact(space, &[]).await.expect("files");
        }
    }
    for number in 0..count {
        match what {
            "get" | "get-file" => assert_eq!(send(&router, Method::GET, &path(number), &owner, Body::empty()).await.len(), 1_024),
            _ => put(&router, &owner, number).await,
        }
    }
    println!("{count} times {what}");
    tasks.drain(std::time::Duration::from_secs(10)).await;
    rooms.store.close();
}

fn path(number: u64) -> String {
    format!("{COLLECTION}/records/u{:016x}", number % RECORDS)
}

async fn put(router: &Router, owner: &str, number: u64) {
    let value = vec![u8::try_from(number % 251).unwrap_or(0); 1_024];
    send(router, Method::PUT, &path(number), owner, value.into()).await;
}

/// One request; the answer's body. It must succeed.
async fn send(router: &Router, method: Method, path: &str, token: &str, body: Body) -> Vec<u8> {
    let json = method == Method::POST || !path.contains("/records/");
    let content_type = if json { "application/json" } else { "application/octet-stream" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, content_type)
        .header("lethe-subject", "s0123456789abcdef")
        .body(body)
        .expect("a request");
    let answer = router.clone().oneshot(request).await.expect("the router answers everything");
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a whole answer");
    assert!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&bytes));
    bytes.to_vec()
}
