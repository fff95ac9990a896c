//! A disk that cannot be read in places: EIO from read. A request that needs such a place is answered 503 `unavailable`,
//! nothing else is harmed, and when the disk reads again all goes on without a restart.

use std::{collections::BTreeMap, fs};

use reqwest::{Method, StatusCode};

use crate::{
    shim,
    site::{Site, code},
};

const UNAVAILABLE: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "unavailable");

#[tokio::test]
async fn a_read_that_fails_is_answered_503_and_harms_nothing_else() {
    // Almost nothing is cached, so that each read goes to a file.
    let settings = "[store]\nreserve_len_bytes = 1048576\n[cache]\nblocks_len_bytes = 1\n";
    let site = Site::make_in(&std::env::temp_dir(), settings).await;
    let faults = site.path("keep/faults");
    let mut acknowledged = BTreeMap::new();
    let served = site.serve(|_| ());
    for record in 0..20 {
        let (key, value) = (format!("old-{record}"), format!("value {record}"));
        assert_eq!(site.put(&served, &key, &value).await, StatusCode::CREATED);
        acknowledged.insert(key, value);
    }
    served.stop();
    let collection = |number: u32| format!("/v1/tenants/acme/collections/c{number}");
    for (number, part) in [(0, "store/data"), (1, "store/control")] {
        // The start moves what was in the WAL to table files.
        let served = site.serve(|command| {
            shim::before(command).env("LETHE_FAULTS", &faults);
        });
        fs::write(&faults, format!("read {}\n", site.text(part))).unwrap();
        for key in ["old-1", "old-2", "old-1"] {
            let (status, told) = site.get(&served, key).await;
            assert_eq!((status, code(&told).as_str()), UNAVAILABLE, "{part}: {told}");
        }
        let (status, told) = site.send(&served, Method::PUT, &collection(number), &site.owner(), "{}").await;
        if part == "store/data" {
            assert_eq!(status, StatusCode::CREATED, "the control store is not harmed: {told}");
        } else {
            assert_eq!((status, code(&told).as_str()), UNAVAILABLE, "{told}");
        }
        assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT, "{part}: it takes commits, and what can be read is read");
        assert_eq!(site.send(&served, Method::GET, "/log/checkpoint", "", "").await.0, StatusCode::OK);
        fs::remove_file(&faults).unwrap();

        site.holds(&served, &acknowledged).await;
        assert!(site.send(&served, Method::PUT, &collection(number), &site.owner(), "{}").await.0.is_success());
        let key = format!("after-{number}");
        assert_eq!(site.put(&served, &key, "new").await, StatusCode::CREATED);
        acknowledged.insert(key, "new".into());
        site.shredded(&served, &format!("s{number}")).await;
        assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT);
        served.stop();
        site.ok(&["check", "--dir", "store"]);
    }
    let served = site.serve(|_| ());
    site.holds(&served, &acknowledged).await;
}
