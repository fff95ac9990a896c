//! Peers that ask and do not take the answer: HTTP/2's windows let them do so without a write ever waiting.

use std::time::Duration;

use super::h2::Peer;
use super::site::{CRM, Site};

/// Streams of one connection.
const STREAMS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_grant_no_window_keep_nobody_out() {
    // Far longer than the test: what helps here is not that answers are given up, nor that connections are closed because a peer
    // answers no ping while the others are served.
    let site = Site::open_with("stall_timeout_secs = 3600\nheader_timeout_secs = 600\n").await;
    let owner = site.acme().await;
    let mut peers = Vec::new();
    for path in ["/openapi.json", "/v1/tenants"] {
        // Together more than there are places.
        for _ in 0..42 {
            let mut peer = Peer::connect(&site.address(), 0).await;
            for _ in 0..STREAMS {
                peer.get(path, &[]).await;
            }
            peers.push(peer);
        }
    }
    for peer in &mut peers {
        peer.until(|peer| peer.all(|stream| stream.answered)).await;
        assert!(!peer.closed && peer.all(|stream| !stream.ended && stream.data_len == 0), "all wait for a window");
    }
    let answer = site.get("/v1/tenants/acme", &owner).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(site.put(&format!("{CRM}/records/a"), &owner, "1", "x").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_taken_is_reset_and_the_connection_lives() {
    // Time enough for both grants.
    let site = Site::open_with("stall_timeout_secs = 5\n").await;
    let mut peer = Peer::connect(&site.address(), 0).await;
    let stalled = peer.get("/openapi.json", &[]).await;
    // All but the last byte, which would fit in a buffer.
    let (taken, almost) = (peer.get("/v2", &[]).await, peer.get("/v2", &[]).await);
    peer.grant(taken, 1_000_000).await;
    peer.until(|peer| peer.streams[&taken].ended || peer.streams[&taken].reset).await;
    let len = u32::try_from(peer.streams[&taken].data_len).unwrap();
    assert!(peer.streams[&taken].ended && len > 1, "{:?}", peer.streams);
    peer.grant(almost, len - 1).await;
    peer.until(|peer| peer.streams[&stalled].reset && peer.streams[&almost].reset).await;
    let seen = &peer.streams[&almost];
    assert!(seen.data_len == len as usize - 1 && !seen.ended, "{seen:?}");
    let after = peer.get("/health/live", &[]).await;
    peer.until(|peer| peer.streams[&after].ended).await;
    assert!(peer.streams[&after].answered && !peer.closed, "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_comes_whole_through_small_windows() {
    let site = Site::open().await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/large");
    let value = "x".repeat(200_000);
    assert_eq!(site.put(&path, &owner, "1", &value).await.status, 201);
    let mut peer = Peer::connect(&site.address(), 40_000).await;
    let stream = peer.get(&path, &[("authorization", &format!("Bearer {owner}"))]).await;
    peer.grant(0, 1_000_000).await;
    // No byte more than the value has: its end needs no window.
    for upto in [40_000, 80_000, 120_000, 160_000, 200_000] {
        peer.until(|peer| peer.streams[&stream].data_len == upto).await;
        if upto < 200_000 {
            peer.grant(stream, 40_000).await;
        }
    }
    peer.until(|peer| peer.streams[&stream].ended || peer.streams[&stream].reset).await;
    assert!(peer.streams[&stream].ended, "{:?}", peer.streams[&stream]);
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_does_not_wait_for_who_takes_nothing() {
    let site = Site::open_with("stall_timeout_secs = 3600\ndrain_timeout_secs = 8\n").await;
    let owner = site.acme().await;
    let path = format!("{CRM}/records/large");
    assert_eq!(site.put(&path, &owner, "1", &"x".repeat(200_000)).await.status, 201);
    let mut peers = Vec::new();
    for window in [0, 1, 50_000] {
        let mut peer = Peer::connect(&site.address(), window).await;
        peer.get("/openapi.json", &[]).await;
        peer.get(&path, &[("authorization", &format!("Bearer {owner}"))]).await;
        peer.get("/v1/nothing", &[]).await;
        peer.until(|peer| peer.all(|stream| stream.answered)).await;
        peers.push(peer);
    }
    let Site { server, .. } = site;
    let stopped = tokio::time::timeout(Duration::from_mins(1), server.stop());
    let answering = async {
        for peer in &mut peers {
            peer.until(|peer| peer.closed).await;
        }
    };
    let (stopped, ()) = tokio::join!(stopped, answering);
    stopped.unwrap().expect("nothing was cut but answers that nobody took");
}
