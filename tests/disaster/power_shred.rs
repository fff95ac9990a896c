//! Power cuts while persons are shredded: of every file of store, mirror and custody only what was synced is left. The
//! epoch that survived opens everything acknowledged, with the control store and without it, from the mirror alone; whoever was
//! shredded stays so, and the root that was destroyed is in no component of custody.
//!
//! A sync that is missing before the old root is destroyed is what these cuts are for: three of them are taken out, and
//! each is found.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use lethe::domain::{Clock as _, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    power::{cut, files},
    shim,
    site::{PARTS, Served, Site},
};

const WRITERS: u32 = 4;
const SHREDDERS: usize = 2;
const CUSTODY_SLOT: usize = 4_096;

/// How far a person's shred has come, as its client knows.
#[derive(Debug, Clone, PartialEq)]
enum Shred {
    Ordered,
    Done(String),
}

/// What was acknowledged.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Person and value, by key.
    records: BTreeMap<String, (String, String)>,
    shreds: BTreeMap<String, Shred>,
}

/// Of the files of custody, what was last synced: they are written in place.
fn cut_custody(site: &Site, before: &HashMap<u64, Vec<u8>>) {
    for part in ["a", "b"] {
        files(&site.path(part), &mut |path, meta| {
            let shadow = fs::read(site.path(&format!("keep/shadows/{}", meta.ino()))).ok();
            let left = shadow.as_ref().or_else(|| before.get(&meta.ino())).unwrap();
            assert_eq!(left.len() as u64, meta.len());
            fs::write(path, left).unwrap();
        });
    }
}

/// The epochs of the roots in a component of custody.
fn held(site: &Site, part: &str) -> Vec<u64> {
    let mut epochs = Vec::new();
    files(&site.path(part), &mut |path: &Path, _| {
        for slot in fs::read(path).unwrap().chunks(CUSTODY_SLOT).filter(|slot| slot.starts_with(b"LCS1") && slot[4] == 1) {
            epochs.push(u64::from_be_bytes(slot[24..32].try_into().unwrap()));
        }
    });
    epochs
}

/// A server under the power model: what lies there now is on the disk.
struct Powered {
    lens: HashMap<u64, u64>,
    custody: HashMap<u64, Vec<u8>>,
    served: Arc<Served>,
}

impl Powered {
    fn on(site: &Site) -> Self {
        let (mut lens, mut custody) = (HashMap::new(), HashMap::new());
        for part in PARTS {
            files(&site.path(part), &mut |path, meta| {
                lens.insert(meta.ino(), meta.len());
                if matches!(part, "a" | "b") {
                    custody.insert(meta.ino(), fs::read(path).unwrap());
                }
            });
        }
        drop(fs::remove_file(site.path("keep/synced")));
        drop(fs::remove_dir_all(site.path("keep/shadows")));
        fs::create_dir(site.path("keep/shadows")).unwrap();
        let served = site.serve(|command| {
            let command = shim::before(command).env("LETHE_SYNCED", site.path("keep/synced"));
            command.env("LETHE_SHADOWS", site.path("keep/shadows")).env("LETHE_FAULTS", site.path("keep/faults"));
        });
        Self { lens, custody, served: Arc::new(served) }
    }

    fn kill(&self) {
        let pid = self.served.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    /// The cut: how many bytes were lost.
    fn off(self, site: &Site) -> u64 {
        drop(Arc::into_inner(self.served).unwrap());
        let lost = cut(site, &self.lens);
        cut_custody(site, &self.custody);
        lost
    }
}

/// Writes until the power goes.
async fn write(site: Arc<Site>, served: Arc<Served>, known: Arc<Mutex<Known>>, name: String) {
    for number in 0_u32.. {
        let (key, value) = (format!("{name}-{number}"), format!("{name} {number} ").repeat(20));
        // Three records a person: each third needs a unit of its own.
        let person = format!("{name}-p{}", number / 3);
        let request = site.client.put(format!("{}/v1/tenants/acme/collections/c/records/{key}", served.url));
        let request = request.bearer_auth(site.owner()).header("content-type", "text/plain").header("lethe-subject", &person);
        match request.body(value.clone()).send().await.map(|answer| answer.status()) {
            Ok(StatusCode::CREATED) => {
                known.lock().unwrap().records.insert(key, (person, value));
            }
            Ok(StatusCode::GONE) => assert!(known.lock().unwrap().shreds.contains_key(&person), "{person} was not to be shredded"),
            Ok(status) => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
            Err(_) => return,
        }
    }
}

/// Orders a shred and waits for it; `None` once the power is off.
async fn shred(site: &Site, served: &Served, known: &Mutex<Known>, person: &str) -> Option<bool> {
    known.lock().unwrap().shreds.insert(person.to_owned(), Shred::Ordered);
    let request = site.client.post(format!("{}/v1/tenants/acme/shreds", served.url)).bearer_auth(site.owner());
    let answer = request.header("prefer", "wait=20").json(&json!({"scope": "subject", "subject": person})).send().await.ok()?;
    let status = answer.status();
    let told: Value = answer.json().await.ok()?;
    assert!(matches!(status, StatusCode::OK | StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE), "{status} {told}");
    let done = told["state"] == "done";
    if done {
        let id = told["id"].as_str().unwrap().to_owned();
        known.lock().unwrap().shreds.insert(person.to_owned(), Shred::Done(id));
    }
    Some(done)
}

/// Shreds whoever has records, until the power goes.
async fn shred_all(site: Arc<Site>, served: Arc<Served>, known: Arc<Mutex<Known>>, done: Arc<AtomicU32>) {
    loop {
        let next = {
            let known = known.lock().unwrap();
            // Who is still being written about, too.
            known.records.values().map(|(person, _)| person.clone()).rev().find(|person| !known.shreds.contains_key(person))
        };
        let Some(person) = next else {
            tokio::task::yield_now().await;
            continue;
        };
        match shred(&site, &served, &known, &person).await {
            Some(true) => done.fetch_add(1, Ordering::SeqCst),
            Some(false) => continue,
            None => return,
        };
    }
}

/// What is wrong with a store that has come back.
async fn wrong(site: &Site, known: &Known) -> Result<(), String> {
    let custody = ["a", "b"].map(|part| held(site, part));
    let served = site.try_serve().map_err(|log| format!("not served: {log}"))?;
    for (key, (person, value)) in &known.records {
        let (status, read) = site.get(&served, key).await;
        let is_there = status == StatusCode::OK && read == *value;
        match known.shreds.get(person) {
            None if is_there => {}
            Some(Shred::Ordered) if is_there || status == StatusCode::GONE => {}
            Some(Shred::Done(_)) if status == StatusCode::GONE => {}
            shred => return Err(format!("{key}, of {person}, whose shred is {shred:?}: {status} {read}")),
        }
    }
    for id in known.shreds.values().filter_map(|shred| if let Shred::Done(id) = shred { Some(id) } else { None }) {
        let (status, note) = site.send(&served, Method::GET, &format!("/v1/certificates/{id}"), "", "").await;
        if status != StatusCode::OK {
            return Err(format!("certificate {id}: {status}"));
        }
        let (from, to) = (note.find('{').unwrap(), note.rfind('}').unwrap());
        let certificate: Value = serde_json::from_str(&note[from..=to]).unwrap();
        let epoch = newest_epoch(&certificate);
        if let Some(old) = custody.iter().flatten().find(|held| **held < epoch) {
            return Err(format!("custody held root {old} after the power cut; it was certified to be destroyed in favour of {epoch}"));
        }
    }
    let status = site.put(&served, "after", "the cut").await;
    if !status.is_success() {
        return Err(format!("a write after the cut: {status}"));
    }
    served.stop();
    Ok(())
}

/// The newest epoch that a certificate names.
fn newest_epoch(certificate: &Value) -> u64 {
    let epochs = certificate["epochs"].as_array().unwrap().iter().map(|change| change["new"].as_u64().unwrap());
    epochs.max().expect("a certificate names its epochs")
}

/// The store as it is, and the store whose control is lost.
async fn whole(site: &Site, known: &Known) -> Result<(), String> {
    site.keep("cut");
    wrong(site, known).await?;
    site.reset("cut");
    fs::remove_dir_all(site.path("store/control")).unwrap();
    let recovered = site.recover("control", &[]);
    if !recovered.status.success() {
        return Err(format!("without control: {}", crate::site::stderr(&recovered)));
    }
    wrong(site, known).await.map_err(|wrong| format!("without control: {wrong}"))?;
    fs::remove_dir_all(site.path("cut")).unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_among_shreds_loses_no_survivor_and_brings_nobody_back() {
    let site = Arc::new(Site::make().await);
    #[expect(clippy::disallowed_methods, reason = "make proof asks for more cuts so")]
    let (cuts, given) = (if std::env::var_os("LETHE_PROOF").is_some() { 30 } else { 5 }, std::env::var("LETHE_SEED").ok());
    let mut seed = given.map_or_else(|| u64::try_from(SystemClock.now().0).unwrap(), |seed| seed.parse().unwrap());
    println!("power cuts among shreds: LETHE_SEED={seed}");
    let known = Arc::new(Mutex::new(Known::default()));
    let mut lost = 0;
    for round in 0..cuts {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (goal, syncs) = (u32::try_from(2 + (seed >> 33) % 8).unwrap(), (seed >> 40) % 60);
        let powered = Powered::on(&site);
        let done = Arc::new(AtomicU32::new(0));
        let (tracker, mut tasks) = (tokio_util::task::TaskTracker::new(), Vec::new());
        for writer in 0..WRITERS {
            let name = format!("{round}-{writer}");
            tasks.push(tracker.spawn(write(site.clone(), powered.served.clone(), known.clone(), name)));
        }
        for _ in 0..SHREDDERS {
            tasks.push(tracker.spawn(shred_all(site.clone(), powered.served.clone(), known.clone(), done.clone())));
        }
        let lines = || fs::read_to_string(site.path("keep/synced")).unwrap_or_default().lines().count() as u64;
        let waits = async {
            while done.load(Ordering::SeqCst) < goal && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
                tokio::task::yield_now().await;
            }
            // And then after so many more syncs, of whichever step they are.
            let from = lines();
            while lines() < from + syncs && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(2), waits).await.is_ok(), "round {round}: {goal} shreds in two minutes");
        powered.kill();
        for task in tasks {
            task.await.unwrap();
        }
        lost += powered.off(&site);
        let known = known.lock().unwrap().clone();
        whole(&site, &known).await.unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
    }
    let known = known.lock().unwrap();
    let shredded = known.shreds.values().filter(|shred| matches!(shred, Shred::Done(_))).count();
    println!("{cuts} power cuts among shreds: {} writes, {shredded} shreds acknowledged, {lost} unsynced bytes lost", known.records.len());
    assert!(lost > 0, "nothing was ever cut");
    site.ok(&["check", "--dir", "store"]);
}

/// The negative controls: what is told to be on the disk, is not, and nothing else is amiss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_missing_before_the_root_is_destroyed_is_found() {
    let site = Site::make().await;
    site.keep("whole");
    for (part, expected) in [
        (None, ""),
        (Some("store/control"), "not served"),
        (Some("store-mirror/mirror.log"), "without control"),
        (Some("a/"), "not served"),
    ] {
        site.reset("whole");
        let known = Mutex::new(Known::default());
        let powered = Powered::on(&site);
        for person in ["target", "bystander"] {
            let request = site.client.put(format!("{}/v1/tenants/acme/collections/c/records/{person}", powered.served.url));
            let request = request.bearer_auth(site.owner()).header("content-type", "text/plain").header("lethe-subject", person);
            assert_eq!(request.body("value").send().await.unwrap().status(), StatusCode::CREATED);
            known.lock().unwrap().records.insert(person.into(), (person.into(), "value".into()));
        }
        if let Some(part) = part {
            fs::write(site.path("keep/faults"), format!("swallow {}\n", site.text(part))).unwrap();
        }
        assert_eq!(shred(&site, &powered.served, &known, "target").await, Some(true));
        powered.kill();
        drop(fs::remove_file(site.path("keep/faults")));
        powered.off(&site);
        let known = known.into_inner().unwrap();
        match (part, whole(&site, &known).await) {
            (None, done) => done.unwrap(),
            (Some(part), Ok(())) => panic!("{part}: its missing sync was not found"),
            (Some(part), Err(wrong)) => {
                println!("{part} not synced: {}", wrong.lines().last().unwrap_or_default());
                assert!(wrong.starts_with(expected), "{part}: {wrong}");
            }
        }
        drop(fs::remove_dir_all(site.path("cut")));
    }
}
