//! A full disk: the real program on a file system of its own, through both phases, a start and back; and a full disk of
//! the log's journal.

use std::{collections::BTreeMap, fs, path::Path};

use reqwest::{Method, StatusCode};

use crate::{
    disk::{Disk, fill},
    site::{Served, Site, code, until},
};

const MIB: u64 = 1024 * 1024;
/// The engine's WAL files and the mirror take about 90 MiB ahead.
const DISK: u64 = 224 * MIB;
const SETTINGS: &str = "[store]\nreserve_len_bytes = 33554432\n";
/// Less than the headroom above which the reserve is not touched (32 MiB).
const PHASE_ONE: u64 = 24 * MIB;

const FULL: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "disk-full");
const ACME: &str = "/v1/tenants/acme";

/// What a client asks for in each phase, with fresh names.
struct Asks<'a> {
    site: &'a Site,
    served: &'a Served,
    acknowledged: BTreeMap<String, String>,
}

impl Asks<'_> {
    async fn send(&self, method: Method, path: &str, body: &str) -> (StatusCode, String) {
        self.site.send(self.served, method, &format!("{ACME}{path}"), &self.site.owner(), body).await
    }

    /// A reader's token: its id and its text.
    async fn token(&self) -> (String, String) {
        let (status, told) = self.send(Method::POST, "/tokens", r#"{"role": "reader"}"#).await;
        assert_eq!(status, StatusCode::CREATED, "{told}");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    async fn put(&mut self, key: &str) {
        assert_eq!(self.site.put(self.served, key, &format!("value of {key}")).await, StatusCode::CREATED, "{key}");
        self.acknowledged.insert(key.into(), format!("value of {key}"));
    }

    async fn is_full(&self, method: Method, path: &str, body: &str) {
        let (status, told) = self.send(method.clone(), path, body).await;
        assert_eq!((status, code(&told).as_str()), FULL, "{method} {path}: {told}");
    }

    /// Fills the disk until it stays full: flushes in the background still give some back.
    async fn fill(&self, ballast: &Path) {
        let mut refused = 0;
        until("the disk stays full", async || {
            fill(ballast, PHASE_ONE);
            let (status, _) = self.send(Method::PUT, "/collections/c/records/x", "x").await;
            refused = if status == FULL.0 { refused + 1 } else { 0 };
            refused == 100
        })
        .await;
    }

    /// Phase one: what is essential goes on, in the reserve.
    async fn phase_one(&mut self, (id, reader): &(String, String), gone: &str) {
        self.is_full(Method::PUT, "/collections/c/records/x", "x").await;
        self.is_full(Method::PUT, "/collections/another", "{}").await;
        self.is_full(Method::POST, "/tokens", r#"{"role": "reader"}"#).await;
        assert_eq!(self.site.ready(self.served).await, StatusCode::NO_CONTENT, "ready while the reserve lasts");
        self.site.holds(self.served, &self.acknowledged).await;
        // Who has no credential takes none of the reserve.
        for (token, denied) in [(reader.as_str(), StatusCode::FORBIDDEN), ("", StatusCode::SERVICE_UNAVAILABLE)] {
            let path = format!("{ACME}/collections/c/records/deleted");
            assert_eq!(self.site.send(self.served, Method::DELETE, &path, token, "").await.0, denied, "a denial");
        }
        assert_eq!(self.send(Method::DELETE, "/collections/c/records/deleted", "").await.0, StatusCode::NO_CONTENT);
        self.acknowledged.remove("deleted");
        self.site.shredded(self.served, gone).await;
        assert_eq!(self.send(Method::DELETE, &format!("/tokens/{id}"), "").await.0, StatusCode::NO_CONTENT);
        self.is_full(Method::PUT, "/collections/c/records/x", "x").await;
    }

    /// Phase two: nothing that needs an entry in the trail, and nothing is lost.
    async fn phase_two(&self, ballast: &Path) {
        until("it is not ready", async || self.site.ready(self.served).await == FULL.0).await;
        assert_eq!(self.site.not_ready(self.served).await, (FULL.1.to_owned(), "store".to_owned()));
        self.is_full(Method::PUT, "/collections/c/records/x", "x").await;
        // The server's log lies on this disk too: lines that cannot be written stop nobody.
        for _ in 0..100 {
            fill(ballast, 0);
            self.is_full(Method::GET, "/collections/c/records/kept", "").await;
        }
        self.is_full(Method::DELETE, "/collections/c/records/kept", "").await;
        self.is_full(Method::PUT, "/collections/another", "{}").await;
        self.is_full(Method::POST, "/tokens", r#"{"role": "reader"}"#).await;
        self.is_full(Method::POST, "/shreds", r#"{"scope": "subject", "subjects": ["8"]}"#).await;
        let (status, told) = self.site.send(self.served, Method::GET, &format!("{ACME}/collections"), "", "").await;
        assert_eq!((status, code(&told).as_str()), FULL, "a denial that cannot be recorded: {told}");
        let (status, told) = self.site.send(self.served, Method::GET, "/metrics", &self.site.operator(), "").await;
        assert_eq!(status, StatusCode::OK, "wanted most now: {told}");
        assert!(told.lines().any(|line| line == "lethe_store_health 2"), "{told}");
        assert!(told.lines().any(|line| line == "lethe_metrics_unrecorded_total 1"), "{told}");
        assert_eq!(self.site.send(self.served, Method::GET, "/health/live", "", "").await.0, StatusCode::NO_CONTENT);
    }

    /// Space is there again: all goes on, and what was done in the reserve stands.
    async fn after(&mut self, (_, reader): &(String, String), gone: &str) {
        until("it is ready", async || self.site.ready(self.served).await == StatusCode::NO_CONTENT).await;
        until("the reserve is taken again", async || self.site.put(self.served, "after", "after").await.is_success()).await;
        self.site.holds(self.served, &self.acknowledged).await;
        let (status, told) = self.site.get(self.served, "deleted").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{told}");
        let (status, told) = self.site.get(self.served, gone).await;
        assert_eq!((status, code(&told).as_str()), (StatusCode::GONE, "shredded"), "{told}");
        let path = format!("{ACME}/collections/c/records/kept");
        assert_eq!(self.site.send(self.served, Method::GET, &path, reader, "").await.0, StatusCode::UNAUTHORIZED, "it was revoked");
        self.put(&format!("after {gone}").replace(' ', "-")).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_by_name_keeps_what_is_essential_and_needs_only_space() {
    let disk = Disk::of(DISK);
    let site = Site::make_in(&disk.path(""), SETTINGS).await;
    let ballast = disk.path("ballast");
    let mut acknowledged = BTreeMap::new();
    // The second time the server is stopped and started while the reserve is spent.
    for (gone, with_start) in [("gone-1", false), ("gone-2", true)] {
        let mut served = site.serve(|_| ());
        let mut asks = Asks { site: &site, served: &served, acknowledged };
        for key in ["kept", "deleted"] {
            asks.site.send(&served, Method::DELETE, &format!("{ACME}/collections/c/records/{key}"), &site.owner(), "").await;
            asks.put(key).await;
        }
        let path = format!("{}{ACME}/collections/c/records/{gone}", served.url);
        let written = site.client.put(path).bearer_auth(site.owner()).header("lethe-subject", gone).body("x").send().await.unwrap();
        assert_eq!(written.status(), StatusCode::CREATED);
        let reader = asks.token().await;

        asks.fill(&ballast).await;
        asks.phase_one(&reader, gone).await;
        fill(&ballast, 0);
        asks.phase_two(&ballast).await;
        acknowledged = asks.acknowledged;
        if with_start {
            served.stop();
            // Closing gives back what was taken ahead.
            for leave in [MIB, 0] {
                fill(&ballast, leave);
                for arguments in [&["serve", "--listen", "127.0.0.1:0", "--dir", "store"][..], &["check", "--dir", "store"]] {
                    let told = site.refused(arguments);
                    let line = told.lines().rfind(|line| line.starts_with("lethe: ")).unwrap_or_else(|| panic!("{told}"));
                    assert!(line.starts_with("lethe: disk-full: "), "{leave} bytes left: {line}");
                }
            }
            fs::remove_file(&ballast).unwrap();
            served = site.serve(|_| ());
        } else {
            fs::remove_file(&ballast).unwrap();
        }
        let mut asks = Asks { site: &site, served: &served, acknowledged };
        asks.after(&reader, gone).await;
        acknowledged = asks.acknowledged;
        served.stop();
        site.ok(&["check", "--dir", "store"]);
    }
}

/// Puts the log's journal on a disk of its own, through a link.
fn move_journal(site: &Site, disk: &Disk) {
    let (journal, there) = (site.path("store-mirror/log.journal"), disk.path("journal"));
    fs::copy(&journal, &there).unwrap();
    fs::remove_file(&journal).unwrap();
    std::os::unix::fs::symlink(there, journal).unwrap();
}

#[tokio::test]
async fn a_journal_on_a_full_disk_takes_certificates_in_what_it_took_ahead() {
    let (disk, site) = (Disk::of(16 * MIB), Site::make().await);
    move_journal(&site, &disk);
    let served = site.serve(|_| ());
    fill(&disk.path("ballast"), 0);
    for subject in 0..20 {
        site.shredded(&served, &format!("s{subject}")).await;
    }
    assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_shred_that_the_full_disk_of_the_journal_holds_up_is_certified_without_a_start() {
    // Nothing can be taken ahead here.
    let (disk, site) = (Disk::of(MIB), Site::make().await);
    move_journal(&site, &disk);
    let served = site.serve(|_| ());
    site.shredded(&served, "before").await;
    fill(&disk.path("ballast"), 0);
    // The journal's last page still has room for something.
    let mut held_up = Vec::new();
    until("the journal is full", async || {
        let subject = format!("s{}", held_up.len());
        let (status, told) = site.shred(&served, &subject, 2).await;
        assert!(status == StatusCode::OK || status == StatusCode::ACCEPTED, "{told}");
        held_up.push(subject);
        status == StatusCode::ACCEPTED
    })
    .await;
    until("it is not ready", async || site.ready(&served).await == StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(site.not_ready(&served).await, (FULL.1.to_owned(), "log".to_owned()));
    fs::remove_file(disk.path("ballast")).unwrap();
    until("it is ready again", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    for subject in &held_up {
        site.shredded(&served, subject).await;
    }
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}
