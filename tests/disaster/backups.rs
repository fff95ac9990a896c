//! Backups taken from a running and from a stopped server, and put back under today's control store: what was shredded, deleted by an
//! order or over since is not served even once, everything else is there again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lethe::{
    domain::{Clock as _, SystemClock, TenantNo},
    vault::store::{
        Commit, Durability, Row, Space, Store as _, Urgency, Write,
        embedded::{Embedded, EmbeddedOptions},
        schema::{self, KeyRange},
    },
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::{Served, Site, addr, code, copy, stderr, until};

impl Site {
    pub(crate) async fn put_about(&self, served: &Served, collection: &str, (key, subject): (&str, &str), value: &str) -> StatusCode {
        let path = format!("{}/v1/tenants/acme/collections/{collection}/records/{key}", served.url);
        let request = self.client.put(path).bearer_auth(self.owner()).header("content-type", "application/json");
        request.header("lethe-subject", subject).body(value.to_owned()).send().await.unwrap().status()
    }

    /// A record's entity tag: its version, in digits of one length.
    async fn etag(&self, served: &Served, key: &str) -> String {
        let path = format!("{}/v1/tenants/acme/collections/c/records/{key}", served.url);
        let answer = self.client.get(path).bearer_auth(self.owner()).send().await.unwrap();
        answer.headers()["etag"].to_str().unwrap().to_owned()
    }

    /// Asks for something, which must go well; what is told.
    async fn post(&self, served: &Served, path: &str, token: &str, body: &Value) -> Value {
        let (status, told) = self.send(served, Method::POST, &format!("/v1/{path}"), token, &body.to_string()).await;
        assert!(status.is_success(), "{path}: {status} {told}");
        json_of(&told)
    }

    /// The token of a counsel, who was invited.
    async fn counsel(&self, served: &Served) -> String {
        let (tokens, role) = ("tenants/acme/tokens", json!({"role": "counsel"}));
        let invitation = self.post(served, tokens, &self.owner(), &role).await;
        let made = self.post(served, tokens, invitation["token"].as_str().unwrap(), &role).await;
        made["token"].as_str().unwrap().to_owned()
    }

    /// Takes a backup; what the command says of it.
    pub(crate) fn back_up(&self, served: Option<&Served>) -> Value {
        self.json(&["--addr", addr(served), "backup", "--to", &self.text("bk"), "--dir", "store"])
    }

    pub(crate) fn restore(&self, more: &[&str]) -> Value {
        self.json(&[&["restore", "--from", "bk", "--dir", "store", "--yes"], more].concat())
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_store_comes_back_under_todays_control() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2"), ("gone", "2")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), "\"then\"").await, StatusCode::CREATED);
    }
    let first = site.back_up(Some(&served));
    assert_eq!((first["generation"].as_u64(), first["copied_bytes"].as_u64()), (Some(1), first["bytes"].as_u64()), "{first}");
    assert!(fs::read_dir(site.path("store/snapshots")).unwrap().next().is_none(), "the snapshot is let go");
    site.shredded(&served, "1").await;
    assert_eq!(site.put_about(&served, "c", ("late", "3"), "\"later\"").await, StatusCode::CREATED);
    let given = site.etag(&served, "late").await;
    served.stop();
    fs::remove_dir_all(site.path("store/data")).unwrap();

    let restored = site.restore(&["--verify"]);
    assert_eq!((restored["generation"].as_u64(), restored["fenced"].as_bool()), (Some(1), Some(false)), "{restored}");
    assert_eq!((restored["certificates"].as_u64(), restored["damaged"].as_u64()), (Some(1), Some(0)), "{restored}");
    assert!(restored["named"].as_u64() >= Some(1), "the record of the person was tried: {restored}");
    site.ok(&["check", "--dir", "store"]);
    let served = site.serve(|_| ());
    assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT);
    assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE);
    assert_eq!(site.get(&served, "two").await, (StatusCode::OK, "\"then\"".into()));
    assert_eq!(site.get(&served, "late").await.0, StatusCode::NOT_FOUND, "it was written after the backup");
    // What is written from here on goes on above everything that was ever given.
    assert_eq!(site.put_about(&served, "c", ("late", "3"), "\"again\"").await, StatusCode::CREATED);
    let again = site.etag(&served, "late").await;
    assert!(again.len() == given.len() && again > given, "{given} was given before the restore, {again} behind it");
    served.stop();
}

/// A value of so many bytes that no compression of anybody's makes it small: bytes can be counted.
pub(crate) fn long(text: &str) -> String {
    json!(text.repeat(1 + 40_000 / text.len())).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_moves_only_what_changed_and_a_stopped_store_is_backed_up_as_a_running_one() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for number in 0..40 {
        assert_eq!(site.put_about(&served, "c", (&format!("k{number}"), "1"), &long(&number.to_string())).await, StatusCode::CREATED);
    }
    let first = site.back_up(Some(&served));
    let moved = |taken: &Value| taken["copied_bytes"].as_u64().unwrap();
    assert!(moved(&first) > 1_600_000, "{first}");
    assert_eq!(site.put_about(&served, "c", ("one-more", "1"), &long("more")).await, StatusCode::CREATED);
    let second = site.back_up(Some(&served));
    let len = fs::metadata(site.path("store/data/CURRENT")).unwrap().len();
    assert!(len < 100 && moved(&second) > 40_000 && moved(&second) < 300_000, "one record and the engine's small files: {second}");
    assert!(second["bytes"].as_u64() > Some(1_600_000));
    served.stop();
    // The server writes what it held in memory; from then on nothing changes.
    site.back_up(None);
    let still = site.back_up(None);
    assert_eq!(still["generation"].as_u64(), Some(4));
    assert!(moved(&still) < 40_000, "the engine's own small files: {still}");
    assert!(fs::read_dir(site.path("store/snapshots")).unwrap().next().is_none());
    let verified = site.json(&["backup", "verify", "--from", "bk"]);
    assert_eq!((verified["generations"].as_u64(), &verified["findings"]), (Some(4), &json!([])));
    // What is kept of all four is little more than one.
    let kept: u64 = files(&site.path("bk/files")).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(kept, [&first, &second, &still].map(moved).iter().sum::<u64>() + third(&site), "every byte is told of once");
}

/// Bytes that the third generation has brought.
fn third(site: &Site) -> u64 {
    let listed = site.ok(&["--format", "json", "backup", "list", "--from", "bk"]);
    let rows: Vec<Value> = listed.lines().map(json_of).collect();
    assert_eq!(rows.len(), 4);
    rows[2]["copied_bytes"].as_u64().unwrap()
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Each person has a record in each: of a unit of the person's own; of the collection's, where an order for the person deletes it; of its own;
/// and one that a law keeps, and a shred leaves for its legal purpose alone.
const COLLECTIONS: [&str; 4] = ["c", "logs", "files", "tax"];

/// Who has to do with what happens over ten days.
struct Ten {
    auditor: String,
    counsel: String,
    /// The hold on person 5, once it stands.
    hold: String,
    /// The order that it stops.
    held: String,
    /// The owner of another tenant, which ends.
    beta: String,
    /// The persons who are shredded, and the days after which.
    gone: BTreeMap<usize, usize>,
}

impl Ten {
    async fn make(site: &Site, served: &Served) -> Self {
        let law = json!({"period": "4y", "basis": "a law"});
        let rules = json!([{"name": "invoices", "from": "created", "minimum": law, "maximum": "7y", "then": "delete"}]);
        for (collection, policy) in [
            ("logs", json!({"shred_unit": "collection"})),
            ("files", json!({"shred_unit": "record"})),
            ("tax", json!({"shred_unit": "subject", "retention": {"time_zone": "UTC", "rules": rules}})),
        ] {
            let path = format!("/v1/tenants/acme/collections/{collection}");
            let put = site.send(served, Method::PUT, &path, &site.owner(), &policy.to_string()).await;
            assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
        }
        let beta = site.post(served, "tenants", &site.operator(), &json!({"tenant": "beta"})).await["token"].as_str().unwrap().to_owned();
        let put = site.send(served, Method::PUT, "/v1/tenants/beta/collections/c", &beta, r#"{"shred_unit": "subject"}"#).await;
        assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
        let put = site.send(served, Method::PUT, BETAS, &beta, "\"beta's\"").await;
        assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
        let role = json!({"role": "auditor"});
        let auditor = site.post(served, "tenants/acme/tokens", &site.owner(), &role).await["token"].as_str().unwrap().to_owned();
        let gone = [(0, 2), (3, 4), (4, 5), (2, 6), (6, 8)].into();
        Self { auditor, counsel: site.counsel(served).await, hold: String::new(), held: String::new(), beta, gone }
    }

    /// What comes into the backup of a day.
    async fn before(&self, site: &Site, served: &Served, day: usize) {
        for collection in COLLECTIONS {
            let (key, person) = (format!("k{day}"), format!("p{day}"));
            let put = site.put_about(served, collection, (&key, &person), &format!("\"{collection} of {day}\"")).await;
            assert_eq!(put, StatusCode::CREATED, "{collection} of {day}");
        }
        let put = |key: &str, person: &str| {
            let put = site.client.put(format!("{}/v1/tenants/acme/collections/c/records/{key}", served.url)).bearer_auth(site.owner());
            put.header("content-type", "application/json").header("lethe-subject", person).body(format!("\"{key}\""))
        };
        let put = match day {
            0 => put("brief", "brief").header("lethe-expires-at", SystemClock.now().plus(Duration::from_secs(3)).to_rfc3339()),
            3 => {
                site.post(served, "tenants/acme/subjects/aliases", &site.owner(), &json!({"subject": "p3", "alias": "too"})).await;
                put("too", "too")
            }
            // Person 0 is shredded by then, and comes back.
            5 => put("back", "p0").header("lethe-new-relationship", "true"),
            _ => return,
        };
        assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED, "of day {day}");
    }

    /// What comes behind it.
    async fn after(&mut self, site: &Site, served: &Served, day: usize) {
        if let Some((victim, _)) = self.gone.iter().find(|(_, after)| **after == day) {
            site.shredded(served, &format!("p{victim}")).await;
        }
        match day {
            3 => {
                let ended = json!({"confirm": "beta", "grace": "0d", "reason": "closed"});
                site.post(served, "tenants/beta/termination", &self.beta, &ended).await;
                site.post(served, "jobs/retention/runs", &site.operator(), &json!({})).await;
                until("it has ended", async || self.history(site, served).await.contains("shred-done")).await;
            }
            6 => {
                let hold = json!({"matter": "M-1", "reason": "a lawsuit", "custodian": "legal", "scope": "subject", "subject": "p5"});
                let placed = site.post(served, "tenants/acme/holds", &self.counsel, &hold).await;
                placed["id"].as_str().unwrap().clone_into(&mut self.hold);
            }
            7 => {
                let order = json!({"scope": "record", "collection": "files", "key": "k1"});
                site.post(served, "tenants/acme/shreds", &site.owner(), &order).await;
                until("its key is gone", async || self.got(site, served, "files", 1).await.0 == StatusCode::GONE).await;
            }
            9 => {
                let (status, told) = site.shred(served, "p5", 30).await;
                // An owner may not know of the hold.
                assert_eq!((status, code(&told).as_str()), (StatusCode::LOCKED, "legal-obligation"), "{told}");
                json_of(&told)["order"].as_str().unwrap().clone_into(&mut self.held);
            }
            _ => {}
        }
    }

    async fn got(&self, site: &Site, served: &Served, collection: &str, day: usize) -> (StatusCode, String) {
        site.send(served, Method::GET, &format!("/v1/tenants/acme/collections/{collection}/records/k{day}"), &site.owner(), "").await
    }

    /// What the auditor reads of it for the law's purpose.
    async fn audited(&self, site: &Site, served: &Served, day: usize) -> (StatusCode, String) {
        let get = site.client.get(format!("{}/v1/tenants/acme/collections/tax/records/k{day}", served.url)).bearer_auth(&self.auditor);
        let answer = get.header("lethe-purpose", "invoices").send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// The states that the other tenant has been in, as its owner is told; nothing of one that is on its way.
    async fn history(&self, site: &Site, served: &Served) -> String {
        let (status, told) = site.send(served, Method::GET, "/v1/tenants/beta/states", &self.beta, "").await;
        if status == StatusCode::OK { told } else { String::new() }
    }

    /// Under the data of a generation all is as today's control store says, and nothing else; how many records the owner reads, and how
    /// many the auditor.
    async fn stands(&self, site: &Site, served: &Served, generation: usize) -> [usize; 2] {
        let [mut survivors, mut restricted] = [0; 2];
        for day in 0..10 {
            let (was_there, is_gone) = (day < generation, self.gone.contains_key(&day));
            for collection in COLLECTIONS {
                let (status, told) = self.got(site, served, collection, day).await;
                let expected: &[StatusCode] = match (is_gone || (collection, day) == ("files", 1), was_there, collection) {
                    (true, true, "c" | "files") if day == 0 => &[StatusCode::GONE, StatusCode::NOT_FOUND],
                    (true, true, "c" | "files" | "tax") => &[StatusCode::GONE],
                    (false, true, _) => &[StatusCode::OK],
                    (..) => &[StatusCode::NOT_FOUND],
                };
                assert!(expected.contains(&status), "generation {generation}, {collection} of {day}: {status} {told}");
                if status == StatusCode::OK {
                    assert_eq!(told, format!("\"{collection} of {day}\""));
                    survivors += 1;
                }
            }
            let (status, told) = self.audited(site, served, day).await;
            let expected = match (is_gone, was_there) {
                (true, true) => StatusCode::OK,
                (false, true) => StatusCode::FORBIDDEN,
                (_, false) => StatusCode::NOT_FOUND,
            };
            assert_eq!(status, expected, "generation {generation}, what a law keeps of {day}: {told}");
            if status == StatusCode::OK {
                assert_eq!(told, format!("\"tax of {day}\""));
                restricted += 1;
            }
        }
        let too = if generation > 3 { StatusCode::GONE } else { StatusCode::NOT_FOUND };
        let back = if generation > 5 { StatusCode::OK } else { StatusCode::NOT_FOUND };
        for (key, expected) in [("brief", StatusCode::NOT_FOUND), ("too", too), ("back", back)] {
            let (status, told) = site.get(served, key).await;
            assert_eq!(status, expected, "generation {generation}, {key}: {told}");
        }
        let (status, told) = site.send(served, Method::GET, BETAS, &self.beta, "").await;
        assert_eq!(status, StatusCode::GONE, "generation {generation}: {told}");
        [survivors, restricted]
    }
}

/// The record of the tenant that ends.
const BETAS: &str = "/v1/tenants/beta/collections/c/records/one";

/// Ten generations, and behind each of them something is gone: a person, of whom a law keeps an invoice, and another with a second id; one
/// record; another tenant; one at its own end. One comes back anew. A hold keeps one from an order until the end. Whichever generation is put
/// back, every survivor is there, and nothing that was shredded.
#[tokio::test(flavor = "multi_thread")]
async fn of_ten_generations_each_gives_back_every_survivor_and_nothing_shredded() {
    let site = Site::make().await;
    let mut served = site.serve(|_| ());
    let mut ten = Ten::make(&site, &served).await;
    for day in 0..10 {
        ten.before(&site, &served, day).await;
        if day % 3 == 2 {
            // A running store and a stopped one take turns.
            served.stop();
            site.back_up(None);
            served = site.serve(|_| ());
        } else {
            site.back_up(Some(&served));
        }
        ten.after(&site, &served, day).await;
    }
    until("its time is over", async || site.get(&served, "brief").await.0 == StatusCode::NOT_FOUND).await;
    let history = ten.history(&site, &served).await;
    assert!(history.contains("grace-over") && history.contains("shred-done"), "{history}");
    served.stop();
    let (mut survivors, mut restricted) = (0, 0);
    for generation in 1..=10 {
        let restored = site.restore(&["--generation", &generation.to_string(), "--verify", "--despite-holds"]);
        assert_eq!((restored["generation"].as_u64(), restored["damaged"].as_u64()), (Some(generation), Some(0)), "{restored}");
        assert_eq!(restored["holds_stand"].as_bool(), Some(true), "{restored}");
        let served = site.serve(|_| ());
        let [there, for_the_law] = ten.stands(&site, &served, usize::try_from(generation).unwrap()).await;
        (survivors, restricted) = (survivors + there, restricted + for_the_law);
        assert_eq!(ten.history(&site, &served).await, history, "generation {generation}");
        served.stop();
    }
    // Of day 0 to 9 those of 1, 5, 7, 8 and 9, in each generation from their own on, but the record of day 1 that was shredded by itself.
    assert_eq!(survivors, 4 * (9 + 5 + 3 + 2 + 1) - 9);
    // Of the others, the invoices.
    assert_eq!(restricted, 10 + 8 + 7 + 6 + 4);
    // The last release carries out what the hold has stopped, under whichever data.
    let served = site.serve(|_| ());
    let release = format!("tenants/acme/holds/{}/release", ten.hold);
    site.post(&served, &release, &ten.counsel, &json!({"reason": "settled"})).await;
    let order = format!("/v1/tenants/acme/shreds/{}", ten.held);
    until("the order is carried out", async || site.send(&served, Method::GET, &order, &site.owner(), "").await.1.contains("\"done\""))
        .await;
    ten.gone.insert(5, 9);
    served.stop();
    site.restore(&["--generation", "10", "--verify"]);
    let served = site.serve(|_| ());
    assert_eq!(ten.stands(&site, &served, 10).await, [4 * 4 - 1, 6]);
    served.stop();
    site.ok(&["check", "--dir", "store"]);
    // Each of them was held against every certificate before it was served. So is the oldest, of before all of them, where it lies.
    let rehearsed = site.json(&["backup", "rehearse", "--from", "bk", "--dir", "store", "--generation", "1"]);
    assert_eq!((&rehearsed["findings"], rehearsed["damaged"].as_u64()), (&json!([]), Some(0)), "{rehearsed}");
}

/// Behind its fence nothing is answered but that the process lives; and what is over when it opens is gone.
#[tokio::test(flavor = "multi_thread")]
async fn behind_the_fence_nothing_is_answered_and_what_is_over_is_not_seen_once() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    let put = site.send(&served, Method::PUT, "/v1/tenants/acme/collections/short", &site.owner(), r#"{"shred_unit": "subject"}"#).await;
    assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
    assert_eq!(site.put_about(&served, "c", ("kept", "1"), "\"kept\"").await, StatusCode::CREATED);
    let over = "/v1/tenants/acme/collections/short/records/over";
    let soon = SystemClock.now().plus(Duration::from_secs(3)).to_rfc3339();
    let put = site.client.put(format!("{}{over}", served.url)).bearer_auth(site.owner()).header("lethe-subject", "1");
    let put = put.header("lethe-expires-at", soon).body("over").send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    // What is destroyed of it below tells that it lay in it.
    site.back_up(Some(&served));
    until("its time is over", async || site.send(&served, Method::GET, over, &site.owner(), "").await.0 == StatusCode::NOT_FOUND).await;
    let run = site.send(&served, Method::POST, "/v1/jobs/retention/runs", &site.operator(), "{}").await;
    assert_eq!(run.0, StatusCode::OK, "{}", run.1);
    served.stop();

    let restored = site.restore(&["--fenced"]);
    assert_eq!(restored["fenced"].as_bool(), Some(true));
    // A fence that cannot be taken away.
    let fence = site.path("store/data/RESTORING");
    fs::remove_file(&fence).unwrap();
    fs::create_dir(&fence).unwrap();
    let served = site.serve(|_| ());
    for (method, path) in [
        (Method::GET, over),
        (Method::GET, "/v1/tenants/acme/collections/c/records/kept"),
        (Method::PUT, "/v1/tenants/acme/collections/c/records/new"),
        (Method::GET, "/v1/tenants"),
        (Method::POST, "/v1/tenants/acme/shreds"),
        (Method::POST, "/v1/jobs/retention/runs"),
        (Method::GET, "/log/checkpoint"),
        (Method::GET, "/openapi.json"),
        (Method::GET, "/metrics"),
        (Method::GET, "/nowhere"),
        (Method::GET, "/health/ready"),
    ] {
        let (status, told) = site.send(&served, method.clone(), path, &site.owner(), "{}").await;
        assert_eq!((status, code(&told).as_str()), (StatusCode::SERVICE_UNAVAILABLE, "restoring"), "{method} {path}: {told}");
    }
    assert_eq!(site.send(&served, Method::GET, "/health/live", "", "").await.0, StatusCode::NO_CONTENT);
    fs::remove_dir(&fence).unwrap();
    until("the fence is lifted", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert_eq!(site.send(&served, Method::GET, over, &site.owner(), "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(site.get(&served, "kept").await.0, StatusCode::OK);
    served.stop();

    // Without a server in between it is done before the data is in its place.
    let restored = site.restore(&["--verify"]);
    assert_eq!((restored["destroyed"].as_u64(), restored["failed"].as_u64()), (Some(1), Some(0)), "{restored}");
    let served = site.serve(|_| ());
    assert_eq!(site.send(&served, Method::GET, over, &site.owner(), "").await.0, StatusCode::NOT_FOUND);
    let trail = site.send(&served, Method::GET, "/v1/tenants/system/audit?limit=1000", &site.operator(), "").await.1;
    assert!(trail.contains("backup.take") && trail.contains("backup.restore"), "{trail:.400}");
    served.stop();
}

/// More records than one pass brings forward, and rules that are longer by now: the fence is lifted when all of them are gone, although the
/// server's own run starts beside.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_records_that_a_report_has_ended_none_is_seen_behind_the_fence() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    let rules = |maximum: &str| {
        let rule = json!({"name": "deals", "from": {"event": "ended"}, "maximum": maximum, "then": "delete"});
        json!({"shred_unit": "subject", "retention": {"time_zone": "UTC", "rules": [rule]}}).to_string()
    };
    let deals = "/v1/tenants/acme/collections/deals";
    let put = site.send(&served, Method::PUT, deals, &site.owner(), &rules("1d")).await;
    assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
    for first in (0..2_500).step_by(500) {
        let put = |at: usize| json!({"op": "put", "collection": "deals", "key": format!("k{at}"), "value": "v", "subjects": ["7"]});
        let ops: Vec<Value> = (first..first + 500).map(put).collect();
        let put = site.send(&served, Method::POST, "/v1/tenants/acme/batch", &site.owner(), &json!({ "ops": ops }).to_string()).await;
        assert_eq!(put.0, StatusCode::OK, "{}", put.1);
    }
    site.back_up(Some(&served));
    let event = json!({"subject": "7", "event": "ended", "at": "2001-01-31"}).to_string();
    let told = site.send(&served, Method::POST, "/v1/tenants/acme/subjects/events", &site.owner(), &event).await;
    assert_eq!(told.0, StatusCode::OK, "{}", told.1);
    let first = format!("{deals}/records?limit=1");
    let is_empty = async |served: &Served| {
        let (status, told) = site.send(served, Method::GET, &first, &site.owner(), "").await;
        assert_eq!(status, StatusCode::OK, "{told}");
        json_of(&told)["data"] == json!([])
    };
    until("all of them are destroyed", async || {
        let run = site.send(&served, Method::POST, "/v1/jobs/retention/runs", &site.operator(), "{}").await;
        assert_eq!(run.0, StatusCode::OK, "{}", run.1);
        is_empty(&served).await
    })
    .await;
    let put = site.send(&served, Method::PUT, deals, &site.owner(), &rules("90y")).await;
    assert_eq!(put.0, StatusCode::OK, "{}", put.1);
    served.stop();

    site.restore(&["--fenced"]);
    let served = site.serve(|_| ());
    until("the fence is lifted", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert!(is_empty(&served).await, "what the report has ended is there again");
    served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bent_byte_or_a_missing_file_of_a_backup_is_found_and_named_and_nothing_is_put_back() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("k", "1"), &long("value")).await, StatusCode::CREATED);
    site.back_up(Some(&served));
    served.stop();
    let before = fs::metadata(site.path("store/data/CURRENT")).unwrap();
    let tried = files(&site.path("bk")).into_iter().filter(|path| !path.ends_with("lock"));
    let mut named = 0;
    for path in tried {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        for (at, lost) in [(0, false), (whole.len() / 2, false), (whole.len().saturating_sub(1), false), (0, true)] {
            if whole.is_empty() && !lost {
                continue;
            }
            if lost {
                fs::remove_file(&path).unwrap();
            } else {
                let mut bent = whole.clone();
                bent[at] ^= 0x10;
                fs::write(&path, bent).unwrap();
            }
            // A file that an earlier try has brought whole would be taken from there.
            drop(fs::remove_dir_all(site.path("store/data.new")));
            // Without its manifest there is no such generation to verify: it has to be asked for.
            let told = site.refused(&["backup", "verify", "--from", "bk", "--generation", "1"]);
            let refused = site.refused(&["restore", "--from", "bk", "--dir", "store", "--generation", "1", "--yes"]);
            for told in [&told, &refused] {
                let names = ["backup-damaged", "backup-missing", "unknown-format", "backup-foreign"];
                assert!(names.iter().any(|known| told.contains(known)), "{name} at {at}, lost {lost}: {told}");
                assert!(told.contains(name) || name == "00000001.json" || name == "format", "{name}: {told}");
            }
            named += 1;
            fs::write(&path, &whole).unwrap();
        }
    }
    assert!(named > 20, "{named}");
    let after = fs::metadata(site.path("store/data/CURRENT")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "the data store is as it was");
    assert!(!site.path("store/data.new").exists() || site.path("store/data.new/RESTORING").exists());
    site.ok(&["backup", "verify", "--from", "bk"]);
    site.restore(&["--verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_together_is_refused_by_its_name() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("k", "1"), "\"v\"").await, StatusCode::CREATED);
    site.keep("yesterday");
    site.shredded(&served, "1").await;
    site.back_up(Some(&served));

    // Not while a server has the store open, and not from a stranger.
    let told = site.refused(&["restore", "--from", "bk", "--dir", "store", "--yes"]);
    assert!(told.contains("store-locked"), "{told}");
    let owner = site.text("keep/owner");
    let mut asked = site.command(&["--addr", &served.url, "--token-file", &owner, "backup", "--to", "bk", "--dir", "store"]);
    let asked = asked.output().unwrap();
    assert_eq!(asked.status.code(), Some(2), "a tenant's owner takes no backup: {}", stderr(&asked));
    // A job's token is enough, and reads nothing.
    let made = site.send(&served, Method::POST, "/v1/tenants/system/tokens", &site.operator(), r#"{"role": "job"}"#).await.1;
    let made: Value = json_of(&made);
    fs::write(site.path("keep/job"), made["token"].as_str().unwrap()).unwrap();
    let job = site.text("keep/job");
    site.ok(&["--addr", &served.url, "--token-file", &job, "backup", "--to", "bk", "--dir", "store"]);
    let read = site.send(&served, Method::GET, "/v1/tenants/acme/collections/c/records/k", made["token"].as_str().unwrap(), "").await;
    assert_eq!(read.0, StatusCode::NOT_FOUND);
    served.stop();

    for (arguments, name) in [
        (&["backup", "--to", "store/bk", "--dir", "store"][..], "backup-inside"),
        (&["backup", "--to", "store-mirror/bk", "--dir", "store"], "backup-inside"),
        (&["backup", "--to", "keep", "--dir", "store"], "backup-not-empty"),
        (&["backup", "list", "--from", "nowhere"], "backup-missing"),
        (&["backup", "verify", "--from", "keep"], "backup-missing"),
        (&["restore", "--from", "nowhere", "--dir", "store", "--yes"], "backup-missing"),
        (&["restore", "--from", "bk", "--dir", "store", "--generation", "9", "--yes"], "backup-missing"),
    ] {
        let told = site.refused(arguments);
        assert!(told.contains(name), "{arguments:?}: {told}");
    }

    // Another store's.
    let other = Site::make().await;
    other.back_up(None);
    let told = site.refused(&["restore", "--from", &other.text("bk"), "--dir", "store", "--yes"]);
    assert!(told.contains("backup-foreign"), "{told}");
    let told = site.refused(&["backup", "--to", &other.text("bk"), "--dir", "store"]);
    assert!(told.contains("backup-foreign"), "{told}");

    // Control of before the shred, under custody of after it: with the mirror, and alone.
    site.keep("today");
    for (old, name) in [
        (&["store/control", "store-mirror"][..], "control-behind-backup"),
        (&["store/control"], "control-behind-"),
        (&["a", "b"], "custody-rollback"),
    ] {
        site.reset("today");
        for part in old {
            site.put_back("yesterday", part);
        }
        let told = site.refused(&["restore", "--from", "bk", "--dir", "store", "--yes"]);
        assert!(told.contains(name), "{old:?}: {told}");
        // It plays with the mirror, and does not look at the control store.
        if *old != ["store/control"] {
            let told = site.refused(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
            assert!(told.contains(name), "{old:?}: {told}");
        }
        assert!(!site.path("store/data.new").exists() && !site.path("store/rehearsal").exists(), "nothing is left");
    }
    site.reset("today");
    site.restore(&["--verify"]);
    site.ok(&["check", "--dir", "store"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_keeps_what_the_newest_generations_need() {
    let site = Site::make().await;
    for number in 0..4 {
        let served = site.serve(|_| ());
        assert_eq!(site.put_about(&served, "c", (&format!("k{number}"), "1"), &long(&number.to_string())).await, StatusCode::CREATED);
        site.back_up(Some(&served));
        served.stop();
    }
    let len = || files(&site.path("bk/files")).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    let before = len();
    // One that stays and cannot be read: nothing is removed, for nobody knows what it needs.
    let manifest = site.path("bk/generations/00000004.json");
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, &whole[..whole.len() - 2]).unwrap();
    let told = site.refused(&["backup", "prune", "--from", "bk", "--keep", "1"]);
    assert!(told.contains("backup-damaged") && told.contains("00000004.json"), "{told}");
    assert_eq!(len(), before);
    fs::write(&manifest, &whole).unwrap();

    let pruned = site.json(&["backup", "prune", "--from", "bk", "--keep", "2"]);
    assert_eq!(pruned["generations"], json!([1, 2]), "{pruned}");
    assert_eq!(len(), before - pruned["bytes"].as_u64().unwrap());
    site.ok(&["backup", "verify", "--from", "bk"]);
    site.restore(&["--generation", "3"]);
    // The next one does not take a number that was given.
    assert_eq!(site.back_up(None)["generation"].as_u64(), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_tells_what_would_come_back_and_changes_nothing() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2"), ("three", "3")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), "\"v\"").await, StatusCode::CREATED);
    }
    site.back_up(Some(&served));
    site.shredded(&served, "1").await;
    served.stop();
    let all = || {
        let parts = ["store/data", "store/control", "store/log", "store-mirror", "a", "b", "bk"];
        parts.iter().flat_map(|part| files(&site.path(part))).map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = all();
    let rehearsed = site.json(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    let number = |name: &str| rehearsed[name].as_u64();
    assert_eq!((number("records"), number("named"), number("certificates")), (Some(3), Some(1), Some(1)), "{rehearsed}");
    assert_eq!((number("readable"), number("damaged"), number("destroyed")), (Some(2), Some(0), Some(0)), "{rehearsed}");
    assert!(before == all(), "not a byte has changed");
    assert!(!site.path("store/rehearsal").exists());
    // Not over somebody's files, and what a killed one left is in nobody's way.
    fs::create_dir(site.path("elsewhere")).unwrap();
    fs::write(site.path("elsewhere/mine"), "mine").unwrap();
    let arguments = ["backup", "rehearse", "--from", "bk", "--dir", "store", "--work", "elsewhere"];
    assert!(site.refused(&arguments).contains("backup-not-empty"));
    fs::write(site.path("elsewhere/REHEARSAL"), "").unwrap();
    site.ok(&arguments);
    assert!(!site.path("elsewhere").exists());
    // One bent byte in the backup ends it.
    copy(&site.path("bk"), &site.path("bent"));
    let largest = files(&site.path("bent/files")).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[7] ^= 1;
    fs::write(&largest, bytes).unwrap();
    assert!(site.refused(&["backup", "rehearse", "--from", "bent", "--dir", "store"]).contains("backup-damaged"));
}

/// What holds keep of what was written since a backup leaves the store with a restore: it is refused unless it is meant, and says where that
/// lies then.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_under_holds_is_refused_unless_it_is_meant() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("k", "1"), "\"then\"").await, StatusCode::CREATED);
    site.back_up(Some(&served));
    assert_eq!(site.put_about(&served, "c", ("k", "1"), "\"held\"").await, StatusCode::NO_CONTENT);
    let hold = json!({"matter": "M-1", "reason": "a lawsuit", "custodian": "legal", "scope": "subject", "subject": "1"});
    let counsel = &site.counsel(&served).await;
    let placed = site.send(&served, Method::POST, "/v1/tenants/acme/holds", counsel, &hold.to_string()).await;
    assert_eq!(placed.0, StatusCode::CREATED, "{}", placed.1);
    let placed = json_of(&placed.1);
    served.stop();

    let arguments = ["restore", "--from", "bk", "--dir", "store", "--yes"];
    let told = site.refused(&arguments);
    assert!(told.contains("restore-held") && told.contains("--despite-holds"), "{told}");
    assert!(!site.path("store/data.new").exists() && !site.path("store/data.replaced-1").exists());
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "k").await, (StatusCode::OK, "\"held\"".into()));
    served.stop();

    let told = site.ok(&[&arguments[..], &["--despite-holds"]].concat());
    assert!(told.contains("data.replaced-1") && told.contains("must not be removed"), "{told}");
    // What lies aside is what it was: put in its place, it is there.
    fs::rename(site.path("store/data"), site.path("store/aside")).unwrap();
    fs::rename(site.path("store/data.replaced-1"), site.path("store/data")).unwrap();
    let served = site.serve(|_| ());
    until("it serves", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert_eq!(site.get(&served, "k").await, (StatusCode::OK, "\"held\"".into()));
    served.stop();
    // Where it is lost there is nothing to refuse.
    fs::remove_dir_all(site.path("store/data")).unwrap();
    let restored = site.restore(&[]);
    assert_eq!((restored["holds_stand"].as_bool(), restored["moved_to"].is_null()), (Some(true), true), "{restored}");
    let served = site.serve(|_| ());
    let release = format!("/v1/tenants/acme/holds/{}/release", placed["id"].as_str().unwrap());
    assert_eq!(site.send(&served, Method::POST, &release, counsel, r#"{"reason": "settled"}"#).await.0, StatusCode::OK);
    served.stop();
    let restored = site.restore(&[]);
    assert_eq!(restored["holds_stand"].as_bool(), Some(false), "{restored}");
}

/// What may be over and cannot be read might be served once the fence is gone: it stays, and the command says so, until that is accepted or
/// mended.
#[tokio::test(flavor = "multi_thread")]
async fn the_fence_stays_while_something_over_could_not_be_destroyed() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    let soon = SystemClock.now().plus(Duration::from_secs(3)).to_rfc3339();
    let bent = long("over");
    for (key, value) in [("over", bent.as_str()), ("also", "\"also\"")] {
        let put = site.client.put(format!("{}/v1/tenants/acme/collections/c/records/{key}", served.url)).bearer_auth(site.owner());
        let put = put.header("lethe-subject", "1").header("lethe-expires-at", &soon).body(value.to_owned()).send().await.unwrap();
        assert_eq!(put.status(), StatusCode::CREATED);
    }
    assert_eq!(site.put_about(&served, "c", ("kept", "2"), "\"kept\"").await, StatusCode::CREATED);
    served.stop();
    bend_longest(&site).await;
    site.back_up(None);
    let served = site.serve(|_| ());
    until("its time is over", async || site.get(&served, "also").await.0 == StatusCode::NOT_FOUND).await;
    served.stop();

    let told = site.refused(&["restore", "--from", "bk", "--dir", "store", "--yes"]);
    assert!(told.contains("restore-unproved: 1 records") && told.contains("--accept-failed"), "{told}");
    assert!(!site.path("store/data.replaced-1").exists(), "the data store is as it was");
    let restored = site.restore(&["--accept-failed"]);
    assert_eq!((restored["failed"].as_u64(), restored["destroyed"].as_u64()), (Some(1), Some(1)), "{restored}");

    site.restore(&["--fenced"]);
    let served = site.serve(|_| ());
    let log = site.path("server.log");
    until("it was tried", async || fs::read_to_string(&log).unwrap().contains("restored data stays behind its fence")).await;
    let (status, told) = site.get(&served, "kept").await;
    assert_eq!((status, code(&told).as_str()), (StatusCode::SERVICE_UNAVAILABLE, "restoring"), "{told}");
    assert!(site.path("store/data/RESTORING").exists());
    served.stop();
    // The same bit again: it is whole.
    bend_longest(&site).await;
    let served = site.serve(|_| ());
    until("the fence is lifted", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert_eq!((site.get(&served, "over").await.0, site.get(&served, "kept").await.0), (StatusCode::NOT_FOUND, StatusCode::OK));
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}

/// Turns a bit of the longest record's last byte over, in a store that nobody has open.
async fn bend_longest(site: &Site) {
    at_rest(site, Space::Records, &schema::records_of_tenant(TenantNo(1)), |rows| {
        let Row { key, value } = rows.into_iter().max_by_key(|row| row.value.len()).unwrap();
        let mut bent = value.to_vec();
        *bent.last_mut().unwrap() ^= 1;
        vec![Write::Put { space: Space::Records, key, value: bent.into() }]
    })
    .await;
}

/// Writes to a store that nobody has open, past the vault: what some of its rows give.
pub(crate) async fn at_rest(site: &Site, space: Space, range: &KeyRange, writes: impl FnOnce(Vec<Row>) -> Vec<Write>) {
    let options = EmbeddedOptions { reserve_bytes: 1 << 20, ..EmbeddedOptions::new(site.path("store"), site.path("store-mirror")) };
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    let writes = writes(store.scan(space, &range.from, &range.to, usize::MAX).await.unwrap());
    let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
    store.commit(commit).await.unwrap();
    store.close();
}
