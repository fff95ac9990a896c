//! `kill -9` of the server at random moments while what is due is being destroyed, by its own runs and by those that were asked for (at
//! each commit of a pass: `tests/proofs/cut_short.rs`): what is due goes, once; what is not stays; and every destroyed record's own key is
//! gone, with a certificate.

use std::{collections::BTreeMap, time::Duration};

use lethe::domain::{Clock as _, SystemClock, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::Client,
    random::seed,
    site::{Server, Site, lethe, succeeded},
};

const RECORDS: usize = 1_200;
const KILLS: usize = 6;
const ACME: &str = "/v1/tenants/acme";
const PATIENCE: Duration = Duration::from_mins(5);

/// Records of both kinds of units, of which two in three end at `end`.
async fn fill(client: &Client, owner: &str, end: Timestamp) {
    for (collection, unit) in [("people", "subject"), ("notes", "record")] {
        let path = format!("{ACME}/collections/{collection}");
        client.json(Method::PUT, &path, owner, &[], &json!({ "shred_unit": unit })).await.unwrap().expect(201, &path);
        let put = |number: usize| {
            let mut put = json!({"op": "put", "collection": collection, "key": format!("k{number}"), "value": "v", "subjects": [format!("s{}", number % 40)]});
            if !number.is_multiple_of(3) {
                put["expires_at"] = json!(end.to_rfc3339());
            }
            put
        };
        // Those with keys of their own are fewer: each is an epoch's target.
        let count = if unit == "record" { RECORDS / 10 } else { RECORDS };
        for first in (0..count).step_by(300) {
            let ops: Vec<Value> = (first..count.min(first + 300)).map(put).collect();
            client.json(Method::POST, &format!("{ACME}/batch"), owner, &[], &json!({ "ops": ops })).await.unwrap().expect(200, "a batch");
        }
    }
}

async fn pause(of: Duration) {
    let _ = tokio::time::timeout(of, std::future::pending::<()>()).await;
}

/// How often the trail says an action of each target.
async fn on_record(client: &Client, owner: &str, action: &str) -> BTreeMap<String, usize> {
    let (mut deleted, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = client.get(&format!("{ACME}/audit?limit=1000{after}"), owner).await.unwrap().expect(200, "the trail").json();
        for entry in page["data"].as_array().unwrap() {
            if entry["action"] == action && entry["outcome"] == "allowed" {
                *deleted.entry(entry["target"].to_string()).or_insert(0) += 1;
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return deleted,
        }
    }
}

async fn left(client: &Client, owner: &str, collection: &str) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("{ACME}/collections/{collection}/records?limit=1000{cursor}");
        let page = client.get(&path, owner).await.unwrap().expect(200, &path).json();
        count += page["data"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

async fn run(server: &Server, operator: &str, limit: usize) -> Option<Value> {
    let client = Client::new(&server.url);
    let done = client.json(Method::POST, "/v1/jobs/retention/runs", operator, &[], &json!({ "limit": limit })).await.ok()?;
    Some(done.expect(200, "a run").json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_now_and_then_while_it_destroys_what_is_due_destroys_the_rest_once_it_is_back() {
    let mut random = seed("kill -9 of runs");
    let site = Site::make("[store]\nreserve_len_bytes = 1048576\n");
    let server = site.start();
    let client = Client::new(&server.url);
    let operator = site.operator();
    let made = client.json(Method::POST, "/v1/tenants", &operator, &[], &json!({"tenant": "acme"})).await.unwrap();
    let owner = made.expect(201, "acme").json()["token"].as_str().unwrap().to_owned();
    let end = SystemClock.now().plus(Duration::from_secs(30));
    fill(&client, &owner, end).await;
    server.kill();
    while SystemClock.now() < end {
        pause(Duration::from_millis(100)).await;
    }
    // A start looks at once; a request does so beside it.
    for kill in 0..KILLS {
        let server = site.start();
        let asked = run(&server, &operator, 40);
        let alive = Duration::from_millis(random.next() % 120);
        let killed = tokio::time::timeout(alive, asked).await.is_err();
        println!("kill {kill} after {alive:?}, within a requested run: {killed}");
        server.kill();
    }
    let server = site.start();
    let client = Client::new(&server.url);
    let began = SystemClock.monotonic();
    while run(&server, &operator, 1_000).await.unwrap()["more"] != json!(false) {
        assert!(SystemClock.monotonic().saturating_sub(began) < PATIENCE);
    }
    let of = |count: usize| (count.div_ceil(3), count - count.div_ceil(3));
    let ((people, people_due), (notes, notes_due)) = (of(RECORDS), of(RECORDS / 10));
    // The server's own run may still have some of it under way.
    let deleted = loop {
        let deleted = on_record(&client, &owner, "record.delete").await;
        if deleted.len() >= people_due + notes_due {
            break deleted;
        }
        assert!(SystemClock.monotonic().saturating_sub(began) < PATIENCE, "{} of {people_due} and {notes_due}", deleted.len());
        pause(Duration::from_millis(500)).await;
    };
    assert_eq!((deleted.len(), deleted.values().max()), (people_due + notes_due, Some(&1)), "each of them once");
    for (collection, stays) in [("people", people), ("notes", notes)] {
        assert_eq!(left(&client, &owner, collection).await, stays, "{collection}");
    }
    // Each key of its own is gone, and that is certified.
    loop {
        let certified = on_record(&client, &owner, "shred.done").await.len();
        if certified == notes_due {
            break;
        }
        assert!(SystemClock.monotonic().saturating_sub(began) < PATIENCE, "{certified} shreds of {notes_due}");
        pause(Duration::from_millis(500)).await;
    }
    server.stop();
    succeeded(lethe().args(["check", "--dir"]).arg(site.path("store")));
}
