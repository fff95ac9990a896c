//! Requests without a valid credential: on the record, but only so many; and what they can take is bounded.

use std::sync::Arc;
use std::time::Duration;

use lethe::domain::limits::REFUSED_CREDENTIALS;
use lethe::domain::{Clock as _, SystemClock, TestClock};
use serde_json::{Value, json};

use super::site::{Answer, CRM, Site};
use crate::disk::{self, Disk};

/// With a token that is none, and without any, in turn.
async fn refused(site: &Site, number: u64) -> Answer {
    let request = site.client.get(format!("{}/v1/tenants/acme", site.server.url()));
    let forged = format!("lethe_svc_{}_{}", "0".repeat(32), "A".repeat(43));
    let request = if number.is_multiple_of(2) { request } else { request.bearer_auth(forged) };
    Answer::of(request.send().await.unwrap()).await
}

/// The entries of an answer's request, and the counts in them.
fn counts(trail: &[Value], answer: &Answer) -> Vec<Value> {
    let of = trail.iter().filter(|entry| entry["request"] == answer.header("x-request-id"));
    of.map(|entry| entry["target"]["count"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_beyond_the_brake_are_counted_and_told_with_the_next_entry() {
    let clock = TestClock::at(SystemClock.now());
    let site = Site::open_at("", Arc::new(clock.clone())).await;
    let owner = site.acme().await;
    let mut recorded = Vec::new();
    for number in 0..REFUSED_CREDENTIALS.max {
        let answer = refused(&site, number).await;
        assert_eq!((answer.status, answer.code()), (401, "unauthenticated"), "{number}: {answer:?}");
        recorded.push((answer, Value::Null));
    }
    let mut braked = Vec::new();
    for number in 0..5 {
        let answer = refused(&site, number).await;
        assert_eq!((answer.status, answer.code()), (429, "too-many-requests"), "{answer:?}");
        assert_eq!(answer.header("retry-after"), "1");
        braked.push(answer);
        assert_eq!(site.get("/v1/tenants/acme", &owner).await.status, 200, "a valid credential is never held up");
    }
    // Two in each second.
    clock.advance(Duration::from_secs(1));
    for (number, count) in [(0, json!(5)), (1, Value::Null)] {
        let answer = refused(&site, number).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        recorded.push((answer, count));
    }
    for number in 0..3 {
        let answer = refused(&site, number).await;
        assert_eq!(answer.status, 429, "{answer:?}");
        braked.push(answer);
    }
    let trail = site.trail("system", &site.operator).await;
    for (answer, count) in &recorded {
        assert_eq!(counts(&trail, answer), std::slice::from_ref(count), "one entry each: {answer:?}");
    }
    for answer in &braked {
        assert!(counts(&trail, answer).is_empty(), "{answer:?}");
    }
    // When nobody comes any more, a pass of background work tells of the rest: an entry and two more.
    assert_eq!(site.server.rooms().vault.record_braked().await.unwrap(), 3);
    assert_eq!(site.server.rooms().vault.record_braked().await.unwrap(), 0);
    let trail = site.trail("system", &site.operator).await;
    let denials: Vec<&Value> = trail.iter().filter(|entry| entry["action"] == "auth.denied").collect();
    let told: u64 = denials.iter().map(|entry| 1 + entry["target"]["count"].as_u64().unwrap_or(0)).sum();
    assert_eq!(told, (recorded.len() + braked.len()) as u64, "every refusal is told of, once");
    assert_eq!(denials.last().unwrap()["target"]["count"], 2);
    assert!(denials.len() < trail.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_does_not_use_the_reserve_of_a_full_disk() {
    const NAME: &str = "api::credentials::a_refused_credential_does_not_use_the_reserve_of_a_full_disk";
    if !crate::privilege::held(rustix::thread::CapabilitySet::SYS_ADMIN, NAME) {
        return;
    }
    let disk = Disk::of(512 * 1024 * 1024);
    let site = Site::open_in(tempfile::TempDir::new_in(disk.path("")).unwrap(), "", Arc::new(SystemClock)).await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/a");
    assert_eq!(site.put(&path, &owner, "1", "x").await.status, 201);
    let ballast = disk.path("ballast");
    let fill = || disk::fill(&ballast, 24 * 1024 * 1024);
    // Until it stays full: the engine flushes when it sees a full disk, and that frees some again.
    let mut refusals = 0;
    while refusals < 20 {
        fill();
        let full = site.put(&path, &owner, "1", "x").await;
        refusals = if full.status == 503 { refusals + 1 } else { 0 };
        #[expect(clippy::disallowed_methods, reason = "the engine's background work tells nobody that it is done")]
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut unrecorded = Vec::new();
    for number in 0..4 {
        fill();
        let answer = refused(&site, number).await;
        assert_eq!((answer.status, answer.code()), (503, "disk-full"), "{}", answer.text());
        unrecorded.push(answer);
    }
    let read = site.get(&path, &owner).await;
    assert_eq!((read.status, read.text()), (200, "x"), "while what is essential goes on: {read:?}");
    std::fs::remove_file(&ballast).unwrap();
    let answer = refused(&site, 0).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let trail = site.trail("system", &site.operator).await;
    assert_eq!(counts(&trail, &answer), [json!(4)], "those are told of as well");
    assert!(unrecorded.iter().all(|answer| counts(&trail, answer).is_empty()));
}
