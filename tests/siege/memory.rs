//! After a shred and the time that keys stay in memory, nothing in the server's process leads to what was shredded: no
//! key that was replaced, none derived from one, in no form.
//!
//! The process is stopped and its store copied; a reader written from docs/format.md opens the copy and so knows every key;
//! then all of the process's memory is searched for them. The server is not dumpable, so that even its own user may not
//! read its memory: this needs root, or a user namespace in which an ordinary user is root.

mod forest;
mod scan;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use lethe::domain::{Clock as _, SystemClock};
use reqwest::Method;
use rustix::{process::Signal, thread::CapabilitySet};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, Request},
    privilege,
    site::{Server, Site},
};
use forest::{Keys, Opened};
use scan::Search;

/// Beyond the setting: until the next pass of the job that wipes, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(40);

/// A server, and a tenant's owner.
struct Bench {
    site: Site,
    server: Server,
    client: Client,
    owner: String,
}

impl Bench {
    async fn open(suite: &str) -> Self {
        let settings = format!("[store]\nreserve_len_bytes = 1048576\n[cache]\nkeys_ttl_secs = 2\n[sealing]\nsuite = \"{suite}\"\n");
        let site = Site::make(&settings);
        let server = site.start();
        let client = Client::new(&server.url);
        let made = client.json(Method::POST, "/v1/tenants", &site.operator(), &[], &json!({"tenant": "acme"})).await.unwrap();
        let owner = made.expect(201, "acme").json()["token"].as_str().unwrap().to_owned();
        let bench = Self { site, server, client, owner };
        for (collection, unit) in [("people", "subject"), ("notes", "record")] {
            bench.json(Method::PUT, &format!("/collections/{collection}"), &json!({ "shred_unit": unit })).await.expect(201, collection);
        }
        bench
    }

    async fn json(&self, method: Method, rest: &str, body: &Value) -> Answer {
        let path = format!("/v1/tenants/acme{rest}");
        self.client.json(method, &path, &self.owner, &[("prefer", "wait=30")], body).await.unwrap()
    }

    async fn get(&self, rest: &str) -> Answer {
        self.client.get(&format!("/v1/tenants/acme{rest}"), &self.owner).await.unwrap()
    }

    async fn put(&self, rest: &str, subject: &str, body: Vec<u8>) {
        let path = format!("/v1/tenants/acme{rest}");
        let request = Request { method: Method::PUT, path: &path, token: &self.owner, headers: &[("lethe-subject", subject)], body };
        let status = self.client.send(request).await.unwrap().status;
        assert!(matches!(status, 201 | 204), "PUT {path}: {status}");
    }

    /// Everything that is done to a person's records, on every thread there is.
    async fn use_records_of(&self, subject: &str) {
        let all = (0..8).map(|number| async move {
            let small = format!("/collections/people/records/{subject}/{number}");
            self.put(&small, subject, format!("the record of {subject}").into_bytes()).await;
            self.get(&small).await.expect(200, &small);
            let large = format!("/collections/people/records/{subject}/large-{number}");
            self.put(&large, subject, vec![7; 70_000]).await;
            self.get(&large).await.expect(200, &large);
            let note = format!("/collections/notes/records/{subject}-{number}");
            self.put(&note, subject, vec![8; 100]).await;
            self.get(&note).await.expect(200, &note);
            self.get("/collections/people/records?limit=50").await.expect(200, "a list");
            self.json(Method::POST, "/collections/people/query", &json!({ "subject": subject })).await.expect(200, "a query");
            let op = json!({"op": "put", "collection": "people", "key": format!("{subject}/batch-{number}"), "value": "x", "subjects": [subject]});
            self.json(Method::POST, "/batch", &json!({ "ops": [op] })).await.expect(200, "a batch");
            self.get("/audit?limit=1000").await.expect(200, "the trail");
        });
        futures_util::future::join_all(all).await;
    }

    /// Every key there is now.
    async fn keys(&self, copy: &str) -> Opened {
        let to = self.site.path(copy);
        self.server.signal(Signal::STOP);
        for part in ["store", "store-mirror", "store-custody"] {
            copy_dir(&self.site.path(part), &to.join(part));
        }
        self.server.signal(Signal::CONT);
        forest::open(&to).await
    }

    /// Searches until nothing of `keys` is left, or gives back what stays.
    fn what_stays(&self, keys: &Keys) -> BTreeMap<(String, &'static str), Vec<String>> {
        let search = Search::of(keys);
        let until = SystemClock.monotonic() + DEADLINE;
        loop {
            let found = search.find(self.server.pid());
            if found.is_empty() || SystemClock.monotonic() > until {
                return found;
            }
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The keys of `before` that are not in `after`: what the shred did away with.
fn dead(before: &Keys, after: &Keys) -> Keys {
    let alive: Vec<_> = after.values().collect();
    before.iter().filter(|(_, key)| !alive.contains(key)).map(|(name, key)| (name.clone(), *key)).collect()
}

fn table(found: &BTreeMap<(String, &'static str), Vec<String>>) -> String {
    let lines = found.iter().map(|((name, form), places)| format!("{name}, {form}: {}", places.join("; ")));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_what_was_shredded_stays_in_the_servers_memory() {
    no_key_stays("aes-256-gcm", "memory::no_key_of_what_was_shredded_stays_in_the_servers_memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_suite_2_no_key_of_what_was_shredded_stays_in_the_servers_memory() {
    no_key_stays("xchacha20-poly1305", "memory::under_suite_2_no_key_of_what_was_shredded_stays_in_the_servers_memory").await;
}

/// `test` is the name of the test that asks.
async fn no_key_stays(suite: &str, test: &str) {
    if !privilege::held(CapabilitySet::SYS_PTRACE, test) {
        return;
    }
    let bench = Bench::open(suite).await;
    bench.use_records_of("bystander").await;
    bench.use_records_of("target").await;
    let before = bench.keys("before").await;
    let of_target = |opened: &Opened| opened.records.iter().filter(|(plain, _)| contains(plain, b"the record of target")).count();
    assert_eq!((of_target(&before), before.records.len()), (8, 64), "the reader knows the keys: it has opened the records");
    bench.get("/collections/people/records/target/1").await.expect(200, "the target");
    bench.server.signal(Signal::STOP);
    let mut warm = Search::of(&before.keys).find(bench.server.pid());
    bench.server.signal(Signal::CONT);
    let units: Vec<_> =
        before.records.iter().filter(|(plain, _)| contains(plain, b"the record of target")).map(|(_, names)| &names[0]).collect();
    warm.retain(|(name, _), _| units.contains(&name));
    assert!(!warm.is_empty(), "a key in use is in memory, or nothing of this test says anything");

    let done = bench.json(Method::POST, "/shreds", &json!({"scope": "subject", "subject": "target"})).await.expect(200, "the shred").json();
    assert_eq!(done["state"], "done");
    let after = bench.keys("after").await;
    assert_eq!(of_target(&after), 0);
    let dead_keys = dead(&before.keys, &after.keys);
    for name in ["the custody component", "the root", "the top key"].into_iter().map(String::from).chain(units.into_iter().cloned()) {
        assert!(dead_keys.contains_key(&name), "{name}");
    }
    let left = bench.what_stays(&dead_keys);
    assert!(left.is_empty(), "{} keys were replaced; of them there stay after a person's shred:\n{}", dead_keys.len(), table(&left));

    // What is needed stays: the search does search.
    let top = Keys::from([("the top key".to_owned(), after.keys["the top key"])]);
    assert!(!Search::of(&top).find(bench.server.pid()).is_empty());
    println!("memory, {suite}: {} keys of {} were done away with by a person's shred", dead_keys.len(), before.keys.len());

    // A whole tenant.
    bench.use_records_of("another").await;
    let before = bench.keys("before-2").await;
    bench.json(Method::POST, "/shreds", &json!({"scope": "tenant", "confirm": "acme"})).await.expect(200, "the shred");
    let after = bench.keys("after-2").await;
    let dead_keys = dead(&before.keys, &after.keys);
    assert!(
        dead_keys.contains_key("the metadata key of tenant 1") && dead_keys.contains_key("names key 1 of tenant 1"),
        "{:?}",
        dead_keys.keys()
    );
    let left = bench.what_stays(&dead_keys);
    assert!(left.is_empty(), "{} keys were replaced; of them there stay after a tenant's shred:\n{}", dead_keys.len(), table(&left));
    println!("memory, {suite}: {} keys of {} were done away with by a tenant's shred", dead_keys.len(), before.keys.len());
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
