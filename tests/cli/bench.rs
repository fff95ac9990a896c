//! `lethe bench` against a real server, and against one that bends a byte.
#![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, response::IntoResponse, response::Response};
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use lethe::http::{
    door::{Door, DoorOptions},
    tasks::Tasks,
};
use serde_json::Value;

use super::{
    lethe, stderr,
    with_a_server::{Served, json_lines},
};

#[path = "bench/between.rs"]
mod between;
#[path = "bench/lies.rs"]
mod lies;
#[path = "bench/ways.rs"]
mod ways;

/// The report of a short run; it must have gone well.
fn report(served: &Served, token: &str, arguments: &[&str]) -> Value {
    let output = served.run(token, &[&["bench", "--format", "json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
    let report = json_lines(&String::from_utf8(output.stdout).unwrap()).remove(0);
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["errors"], serde_json::json!({ "total": 0, "by_code": {} }), "{arguments:?}");
    for quantile in ["mean", "p50", "p90", "p99", "p99.9", "max"] {
        assert!(report["latency_us"][quantile].as_f64().unwrap() > 0.0, "{arguments:?}: {quantile} of {report}");
    }
    assert!(report["throughput_per_s"].as_f64().unwrap() > 0.0 && report["duration_s"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["series"].as_array().is_some_and(|rows| !rows.is_empty()), "{report}");
    report
}

#[test]
fn every_workload_runs_without_an_error() {
    let served = Served::start();
    let common = ["--records", "300", "--connections", "4", "--warmup", "0.05", "--duration", "0.3"];
    for (workload, operations) in [
        ("ycsb-a", &["read", "update"][..]),
        ("ycsb-b", &["read", "update"]),
        ("ycsb-c", &["read"]),
        ("ycsb-d", &["read", "insert"]),
        ("ycsb-f", &["read", "read_modify_write"]),
        ("put", &["update"]),
        ("get", &["read"]),
    ] {
        let report = report(&served, "acme.token", &[&[workload], &common[..]].concat());
        let done: Vec<&str> = report["by_operation"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(done.iter().all(|op| operations.contains(op)) && done.contains(&operations[0]), "{workload}: {done:?}");
        assert_eq!(report["load"].is_null(), workload != "ycsb-a", "loaded once: {workload}");
    }
    for by in ["prefix", "subject"] {
        // So many, however long they take on a busy machine.
        let lists =
            ["list", "--group-len", "100", "--by", by, "--records", "300", "--connections", "4", "--warmup", "0", "--operations", "8"];
        let report = report(&served, "acme.token", &lists);
        assert_eq!(report["items"].as_u64(), report["operations"].as_u64().map(|lists| lists * 100), "{report}");
    }
    let imported = report(&served, "acme.token", &["import", "--records", "1050", "--batch-len", "100"]);
    assert_eq!((imported["items"].as_u64(), imported["operations"].as_u64()), (Some(1_050), Some(11)));
    let shred = ["shred-subject", "--records", "300", "--per-subject", "3", "--duration", "0.3"];
    report(&served, "acme.token", &shred);
    report(&served, "acme.token", &shred);
    report(&served, "store/operator.token", &["shred-tenant", "--records", "20", "--operations", "2", "--rest", "0.1"]);
    let streamed = report(&served, "acme.token", &["stream", "--value-len", "3MiB"]);
    for way in ["stream_put", "stream_get"] {
        assert_eq!(streamed["by_operation"][way]["bytes"], 3 << 20, "{streamed}");
    }
}

#[test]
fn a_later_run_inserts_anew_and_reads_what_it_inserted() {
    let served = Served::start();
    for run in 0..2 {
        // An insert that is not answered as one, and a read that finds nothing, are errors.
        let latest = ["ycsb-d", "--records", "50", "--connections", "4", "--warmup", "0", "--operations", "600"];
        let report = report(&served, "acme.token", &latest);
        assert!(report["by_operation"]["insert"]["operations"].as_u64().is_some_and(|inserts| inserts > 0), "run {run}: {report}");
        let share = report["generator_cpu"].as_f64().unwrap();
        assert!(share > 0.0 && share < 64.0, "{report}");
    }
}

#[test]
fn an_open_loop_keeps_its_rate_over_http_2_and_draws_a_picture() {
    let served = Served::start();
    let load = served.run("acme.token", &["bench", "get", "--load", "only", "--records", "100", "--value-dist", "zipf"]);
    assert!(load.status.success(), "{}", stderr(&load));
    let arguments =
        ["get", "--records", "100", "--value-dist", "zipf", "--rate", "200", "--warmup", "0.05", "--duration", "1", "--load", "never"];
    let wires = ["--http", "2", "--connections", "2", "--streams", "3", "--plot", "run.svg"];
    let report = report(&served, "acme.token", &[&arguments[..], &wires].concat());
    assert_eq!((&report["loop"], &report["http"]), (&"open".into(), &2.into()));
    let (done, missed) = (report["operations"].as_u64().unwrap(), report["missed"].as_u64().unwrap());
    // Due are 200 after the warm-up and 10 in it, which count if they end after it: on a busy machine some do.
    assert!((190..=211).contains(&(done + missed)), "{report}");
    let picture = std::fs::read_to_string(served.path("run.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("p99.9") && picture.contains("open loop at 200/s"), "{picture}");
}

#[test]
fn a_token_that_is_refused_ends_with_2_and_nothing_of_it_is_said() {
    let served = Served::start();
    std::fs::write(served.path("wrong.token"), "lethe_usr_0123456789_canary").unwrap();
    let output = served.run("wrong.token", &["bench", "get"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("401") && !stderr(&output).contains("canary"), "{}", stderr(&output));
}

/// A server that gives back what it was given, perhaps with its last byte bent.
#[derive(Clone)]
struct Memory {
    values: Arc<Mutex<HashMap<String, Bytes>>>,
    bend: bool,
    /// Whether it says of a new record that it took another's place.
    replaces: bool,
}

async fn answer(State(memory): State<Memory>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let mut values = memory.values.lock().unwrap();
    if !path.contains("/records/") {
        return "{}".into_response();
    }
    if method == Method::PUT {
        values.insert(path, body);
        let status = if memory.replaces { StatusCode::NO_CONTENT } else { StatusCode::CREATED };
        return status.into_response();
    }
    match values.get(&path) {
        Some(value) if memory.bend => {
            let mut bent = value.to_vec();
            *bent.last_mut().unwrap() ^= 1;
            bent.into_response()
        }
        Some(value) => value.clone().into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"title":"not there","code":"not-found"}"#).into_response(),
    }
}

/// Serves it until the tasks are drained; gives where.
async fn serve(memory: Memory, tasks: &Tasks) -> String {
    let router = Router::new().fallback(answer).with_state(memory);
    let door = Door::bind("127.0.0.1:0".parse().unwrap(), None, DoorOptions::default()).await.unwrap();
    let url = door.url();
    drop(tasks.spawn(door.serve(router, tasks.clone())));
    url
}

#[test]
fn an_insert_that_was_none_is_an_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tasks = Tasks::default();
    let url = runtime.block_on(serve(Memory { values: Arc::default(), bend: false, replaces: true }, &tasks));
    let shape = ["--records", "3", "--value-len", "70000", "--operations", "300", "--warmup", "0", "--connections", "2"];
    let place = ["--addr", &url, "--token", "any", "--tenant", "acme", "--format", "json"];
    let output = lethe(&[&["bench", "ycsb-d"], &shape[..], &place[..]].concat());
    let report = json_lines(&String::from_utf8(output.stdout.clone()).unwrap()).remove(0);
    assert_eq!(output.status.code(), Some(2), "{}{report}", stderr(&output));
    assert!(report["errors"]["by_code"]["not-created"].as_u64().is_some_and(|inserts| inserts > 0), "{report}");
    assert_eq!(report["errors"]["total"], report["errors"]["by_code"]["not-created"], "{report}");
    runtime.block_on(async { assert!(tasks.drain(std::time::Duration::from_secs(10)).await) });
}

#[test]
fn a_wrong_byte_is_an_error_and_not_a_fast_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for bend in [false, true] {
        let tasks = Tasks::default();
        let url = runtime.block_on(serve(Memory { values: Arc::default(), bend, replaces: false }, &tasks));
        // Too long for a batch, so that records are stored one by one.
        let shape = ["--records", "3", "--value-len", "70000", "--operations", "20", "--warmup", "0", "--connections", "2"];
        let place = ["--addr", &url, "--token", "any", "--tenant", "acme", "--format", "json"];
        let output = lethe(&[&["bench", "get"], &shape[..], &place[..]].concat());
        let report = json_lines(&String::from_utf8(output.stdout.clone()).unwrap()).remove(0);
        assert_eq!(output.status.code(), Some(if bend { 2 } else { 0 }), "{}{report}", stderr(&output));
        assert_eq!(report["operations"], if bend { 0 } else { 20 }, "{report}");
        let errors = if bend { serde_json::json!({ "wrong-bytes": 20 }) } else { serde_json::json!({}) };
        assert_eq!(report["errors"]["by_code"], errors, "{report}");
        runtime.block_on(async { assert!(tasks.drain(std::time::Duration::from_secs(10)).await) });
    }
}
