//! A disk that fails: EIO from write and sync, on each part of a store. What was acknowledged stays, mutations are answered
//! 503 and readiness fails; after a restart on a disk that works, all goes on.

use std::{collections::BTreeMap, fs};

use reqwest::{Method, StatusCode};

use crate::{
    shim,
    site::{Served, Site, until},
};

/// The change that meets the fault.
#[derive(Debug, Clone, Copy)]
enum Change {
    Record,
    Collection,
    Shred,
}

impl Change {
    async fn make(self, site: &Site, served: &Served, number: usize) -> (StatusCode, String) {
        let owner = site.owner();
        match self {
            Self::Record => {
                let path = format!("/v1/tenants/acme/collections/c/records/{number}");
                site.send(served, Method::PUT, &path, &owner, "new").await
            }
            Self::Collection => {
                let path = format!("/v1/tenants/acme/collections/c{number}");
                site.send(served, Method::PUT, &path, &owner, r#"{"shred_unit": "subject"}"#).await
            }
            Self::Shred => {
                let order = format!(r#"{{"scope": "subject", "subjects": ["s{number}"]}}"#);
                let request = site.client.post(format!("{}/v1/tenants/acme/shreds", served.url)).bearer_auth(owner);
                let request = request.header("prefer", "wait=2").header("content-type", "application/json").body(order);
                let answer = request.send().await.unwrap();
                (answer.status(), answer.text().await.unwrap())
            }
        }
    }
}

const CASES: [(&str, &str, Change); 9] = [
    ("sync", "store/data", Change::Record),
    ("write", "store/data", Change::Record),
    ("sync", "store/control", Change::Collection),
    ("write", "store/control", Change::Collection),
    ("sync", "store-mirror", Change::Collection),
    ("write", "store-mirror", Change::Collection),
    ("write", "a/", Change::Shred),
    ("write", "store/log", Change::Shred),
    ("sync", "store-mirror/log.journal", Change::Shred),
];

#[tokio::test]
async fn a_failing_disk_is_answered_503_and_loses_nothing_acknowledged() {
    let site = Site::make().await;
    let mut acknowledged = BTreeMap::new();
    let faults = site.path("keep/faults");
    for (number, (call, part, change)) in CASES.into_iter().enumerate() {
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
        let (status, told) = change.make(&site, &served, number).await;
        if let Change::Shred = change {
            assert!(status == StatusCode::ACCEPTED || status == StatusCode::SERVICE_UNAVAILABLE, "{call} {part}: {status} {told}");
            assert!(!told.contains("\"done\""), "{call} {part}: a shred that is not done is told as done: {told}");
        } else {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{call} {part}: {told}");
            let again = change.make(&site, &served, number + 100).await;
            assert_eq!(again.0, StatusCode::SERVICE_UNAVAILABLE, "{call} {part}: after a failed write nothing is trusted: {}", again.1);
            until("readiness fails", async || site.ready(&served).await == StatusCode::SERVICE_UNAVAILABLE).await;
        }
        fs::remove_file(&faults).unwrap();
        drop(served);

        let served = site.serve(|_| ());
        site.holds(&served, &acknowledged).await;
        if let Change::Record = change {
            // It may be there or not, but never in part.
            let (status, value) = site.get(&served, &number.to_string()).await;
            assert!(status == StatusCode::NOT_FOUND || (status == StatusCode::OK && value == "new"), "{status} {value}");
        }
        if let Change::Shred = change {
            let (status, told) = change.make(&site, &served, number).await;
            assert!(status == StatusCode::OK && told.contains("\"done\""), "{call} {part}: {status} {told}");
        }
        assert!(site.put(&served, "after", &number.to_string()).await.is_success());
        served.stop();
        site.ok(&["check", "--dir", "store"]);
    }
}
