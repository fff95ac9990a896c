//! A disk that fails: EIO from write, sync and rename, on each part of a store. What was acknowledged stays, changes are
//! answered 503 `unavailable` or stay pending, and readiness fails; after a restart on a disk that works, all goes on. What
//! fails in custody before its old root is touched, or in the log, goes on without a restart.

use std::{collections::BTreeMap, fs};

use reqwest::{Method, StatusCode};

use crate::{
    shim,
    site::{Served, Site, code, until},
};

/// The change that meets the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Record,
    Collection,
    Shred,
}

/// What it takes once the disk works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heals {
    Alone,
    AtRestart,
}

use Change::{Collection, Record, Shred};
use Heals::{Alone, AtRestart};

impl Change {
    async fn make(self, site: &Site, served: &Served, number: usize) -> (StatusCode, String) {
        let owner = site.owner();
        match self {
            Record => {
                let path = format!("/v1/tenants/acme/collections/c/records/{number}");
                site.send(served, Method::PUT, &path, &owner, "new").await
            }
            Collection => {
                let path = format!("/v1/tenants/acme/collections/c{number}");
                site.send(served, Method::PUT, &path, &owner, r#"{"shred_unit": "subject"}"#).await
            }
            Shred => site.shred(served, &format!("s{number}"), 2).await,
        }
    }

    /// Holds an answer against what it may be while the disk fails.
    fn refused(self, (status, told): &(StatusCode, String), case: &str) {
        if self == Shred && *status == StatusCode::ACCEPTED {
            // The order stands, and is carried out when it can be.
            assert!(told.contains("\"pending\"") && !told.contains("\"done\""), "{case}: {told}");
        } else {
            assert_eq!((*status, code(told).as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{case}: {told}");
        }
    }
}

const CASES: [(&str, &str, Change, Heals); 11] = [
    ("sync", "store/data", Record, AtRestart),
    ("write", "store/data", Record, AtRestart),
    ("sync", "store/control", Collection, AtRestart),
    ("write", "store/control", Collection, AtRestart),
    ("sync", "store-mirror/mirror.log", Collection, AtRestart),
    ("write", "store-mirror/mirror.log", Collection, AtRestart),
    // The first write is the new root, the second destroys the old one.
    ("write", "a/", Shred, Alone),
    ("write+1", "a/", Shred, AtRestart),
    ("write", "store/log", Shred, Alone),
    ("rename", "store/log", Shred, Alone),
    ("sync", "store-mirror/log.journal", Shred, Alone),
];

#[tokio::test]
async fn a_failing_disk_is_answered_503_and_loses_nothing_acknowledged() {
    let site = Site::make().await;
    let mut acknowledged = BTreeMap::new();
    let faults = site.path("keep/faults");
    for (number, (call, part, change, heals)) in CASES.into_iter().enumerate() {
        let case = format!("{call} {part}");
        let served = site.serve(|command| {
            shim::before(command).env("LETHE_FAULTS", &faults);
        });
        for record in 0..5 {
            let (key, value) = (format!("{number}-{record}"), format!("value {number} {record}"));
            assert_eq!(site.put(&served, &key, &value).await, StatusCode::CREATED);
            acknowledged.insert(key, value);
        }
        assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT);
        fs::write(&faults, format!("{call} {}\n", site.text(part))).unwrap();
        change.refused(&change.make(&site, &served, number).await, &case);
        until("readiness fails", async || site.ready(&served).await == StatusCode::SERVICE_UNAVAILABLE).await;
        let failed = match (change, part) {
            (Shred, "a/") => "custody",
            (Shred, _) => "log",
            (Record | Collection, _) => "store",
        };
        assert_eq!(site.not_ready(&served).await, ("unavailable".to_owned(), failed.to_owned()), "{case}");
        change.refused(&change.make(&site, &served, number + 100).await, &format!("{case}, again"));
        fs::remove_file(&faults).unwrap();
        if heals == Alone {
            until("it is ready again", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
            site.shredded(&served, &format!("s{number}")).await;
            site.holds(&served, &acknowledged).await;
        } else {
            assert_eq!(site.ready(&served).await, StatusCode::SERVICE_UNAVAILABLE, "{case}: what is on the disk is not known");
        }
        drop(served);

        let served = site.serve(|_| ());
        assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT, "{case}");
        site.holds(&served, &acknowledged).await;
        if change == Record {
            // It may be there or not, but never in part.
            let (status, value) = site.get(&served, &number.to_string()).await;
            assert!(status == StatusCode::NOT_FOUND || (status == StatusCode::OK && value == "new"), "{status} {value}");
        }
        if change == Shred {
            site.shredded(&served, &format!("s{number}")).await;
            site.shredded(&served, &format!("s{}", number + 100)).await;
        }
        assert!(site.put(&served, "after", &number.to_string()).await.is_success());
        served.stop();
        site.ok(&["check", "--dir", "store"]);
    }
}

/// The mirror fails on the very commit that puts the new pages in place, behind the new root's component. Without the mirror
/// the old root must not go, however often the shredder tries again; the next start finishes the person's shred.
#[tokio::test]
async fn a_mirror_that_fails_on_an_epochs_own_commit_keeps_the_old_root_until_the_next_start() {
    for call in ["write", "sync"] {
        let site = Site::make().await;
        let faults = site.path("keep/faults");
        let served = site.serve(|command| {
            shim::before(command).env("LETHE_FAULTS", &faults);
        });
        assert_eq!(site.put(&served, "theirs", "value").await, StatusCode::CREATED);
        fs::write(&faults, format!("{call} {} {}\n", site.text("store-mirror"), site.text("a"))).unwrap();
        // Long enough for several tries.
        let (status, told) = site.shred(&served, "8", 5).await;
        assert!(status == StatusCode::ACCEPTED || status == StatusCode::SERVICE_UNAVAILABLE, "{call}: {status} {told}");
        assert!(!told.contains("\"done\""), "{call}: {told}");
        assert_eq!(site.roots(), [2, 2], "{call}: a root went, and the mirror does not have what survives without it");
        fs::remove_file(&faults).unwrap();
        drop(served);

        let served = site.serve(|_| ());
        assert_eq!(site.roots(), [1, 1], "{call}");
        assert_eq!(site.get(&served, "theirs").await.0, StatusCode::GONE, "{call}");
        let (status, told) = Change::Shred.make(&site, &served, 8).await;
        assert!(status == StatusCode::OK && told.contains("\"done\""), "{call}: {status} {told}");
        served.stop();
        site.ok(&["check", "--dir", "store"]);
    }
}

/// A tree must grow, which takes an epoch, and custody fails. The writer does not come again: custody is asked by itself once
/// its disk works.
#[tokio::test]
async fn custody_that_failed_while_a_tree_grew_is_ready_again_by_itself() {
    let site = Site::make().await;
    let faults = site.path("keep/faults");
    let served = site.serve(|command| {
        shim::before(command).env("LETHE_FAULTS", &faults);
    });
    // A unit for each person; a tenant's first tree has room for 4,096.
    let batch = async |first: usize| {
        let put = |number: usize| serde_json::json!({"op": "put", "collection": "c", "key": number.to_string(), "value": "v", "subjects": [number.to_string()]});
        let ops: Vec<_> = (first..first + 1_000).map(put).collect();
        site.send(&served, Method::POST, "/v1/tenants/acme/batch", &site.owner(), &serde_json::json!({ "ops": ops }).to_string()).await
    };
    for first in [0, 1_000, 2_000, 3_000] {
        let (status, told) = batch(first).await;
        assert_eq!(status, StatusCode::OK, "{told}");
    }
    assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT);
    fs::write(&faults, format!("write {}\n", site.text("a/"))).unwrap();
    let (status, told) = batch(4_000).await;
    assert_eq!((status, code(&told).as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{told}");
    assert_eq!(site.not_ready(&served).await, ("unavailable".to_owned(), "custody".to_owned()));
    fs::remove_file(&faults).unwrap();
    until("it is ready again", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    let (status, told) = batch(4_000).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}
