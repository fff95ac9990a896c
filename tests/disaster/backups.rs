//! Backups taken from a running and from a stopped server, and put back under today's control store: what was shredded, deleted by an
//! order or over since is not served even once, everything else is there again.

use std::fs;

use reqwest::StatusCode;
use serde_json::Value;

use crate::site::{Served, Site};

impl Site {
    pub(crate) async fn put_about(&self, served: &Served, collection: &str, (key, subject): (&str, &str), value: &str) -> StatusCode {
        self.put_until(served, collection, (key, subject), value, None).await
    }

    /// The same, with an end of its own.
    pub(crate) async fn put_until(
        &self,
        served: &Served,
        collection: &str,
        (key, subject): (&str, &str),
        value: &str,
        end: Option<&str>,
    ) -> StatusCode {
        let path = format!("{}/v1/tenants/acme/collections/{collection}/records/{key}", served.url);
        let mut request = self.client.put(path).bearer_auth(self.owner()).header("content-type", "application/json");
        request = request.header("lethe-subject", subject).body(value.to_owned());
        if let Some(end) = end {
            request = request.header("lethe-expires-at", end);
        }
        request.send().await.unwrap().status()
    }

    /// Takes a backup; what the command says of it.
    pub(crate) fn back_up(&self, served: Option<&Served>) -> Value {
        let addr = served.map_or("http://127.0.0.1:9", |served| served.url.as_str());
        json_of(&self.ok(&["--format", "json", "--addr", addr, "backup", "--to", &self.text("bk"), "--dir", "store"]))
    }

    pub(crate) fn restore(&self, more: &[&str]) -> Value {
        let mut arguments = vec!["--format", "json", "restore", "--from", "bk", "--dir", "store", "--yes"];
        arguments.extend(more);
        json_of(&self.ok(&arguments))
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
    served.stop();
}
