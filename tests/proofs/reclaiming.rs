//! The bytes of what was shredded leave the files, a person's and a record's too; and the operator can see how far that is.

use std::path::Path;

use lethe::{
    domain::{ShredUnit, TenantNo},
    telemetry::metrics_handle,
    vault::{
        ops::{ShredOrder, VaultOptions},
        store::{Space, Store as _, schema},
    },
};

use crate::harness::{Open, Place, coll, key};

/// Whether a table file of the data store holds these bytes.
fn lies_in_files(place: &Place, bytes: &[u8]) -> bool {
    let mut files = Vec::new();
    collect(&place.path("store/data"), &mut files);
    assert!(!files.is_empty(), "no table file at all");
    files.iter().any(|file| std::fs::read(file).is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes)))
}

fn collect(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "sst") {
            files.push(path);
        }
    }
}

/// The last 32 bytes of each row of a space that is longer than a header.
async fn ends(open: &Open, space: Space) -> Vec<Vec<u8>> {
    let range = if space == Space::Records { schema::records_of_tenant(TenantNo(1)) } else { schema::prefix(&[]) };
    let rows = open.store.scan(space, &range.from, &range.to, usize::MAX).await.unwrap();
    rows.iter().filter(|row| row.value.len() > 64).map(|row| row.value[row.value.len() - 32..].to_vec()).collect()
}

/// A gauge or counter as it is exposed.
fn value(metric: &str) -> f64 {
    let text = metrics_handle().render();
    let line = text.lines().find(|line| line.starts_with(&format!("{metric} "))).unwrap_or_else(|| panic!("no {metric}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_a_shredded_person_and_of_a_shredded_record_leave_the_files() {
    drop(metrics_handle());
    for by_record in [false, true] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        let unit = if by_record { ShredUnit::Record } else { ShredUnit::Subject };
        open.collection(&owner, &acme, "c", unit).await;
        let large = vec![1_u8; 200_000];
        open.put(&owner, &acme, ("c", "small"), Some("7"), &large[..500]).await.unwrap();
        open.put(&owner, &acme, ("c", "large"), Some("7"), &large).await.unwrap();
        let records = ends(&open, Space::Records).await;
        let blobs = ends(&open, Space::Blobs).await;
        assert_eq!((records.len(), blobs.len()), (2, 4));
        open.put(&owner, &acme, ("c", "other"), Some("8"), &large[..500]).await.unwrap();
        open.close().await;

        let open = place.open().await;
        assert!(records.iter().chain(&blobs).all(|end| lies_in_files(&place, end)), "they were never in a file");
        if by_record {
            for name in ["small", "large"] {
                open.shred(&owner, &acme, ShredOrder::Record { collection: coll("c"), key: key(name) }).await;
            }
        } else {
            open.shred_subject(&owner, &acme, "7").await;
        }
        open.vault.observe().await;
        assert!(value("lethe_reclaim_entries_left") > 0.0);
        let locked = f64::from(u8::from(open.forest.is_memory_locked()));
        assert!((value("lethe_keys_locked") - locked).abs() < f64::EPSILON);
        let done = open.vault.reclaim(100).await.unwrap();
        assert!(done.compacted >= 2 && done.uploads == 1 && done.records == 2, "{done:?}");
        open.vault.observe().await;
        assert!(value("lethe_reclaim_entries_left").abs() < f64::EPSILON);
        for end in records.iter().chain(&blobs) {
            assert!(!lies_in_files(&place, end), "by record: {by_record}");
        }
        assert_eq!(open.get(&owner, &acme, ("c", "other")).await.unwrap(), &large[..500]);
        open.close().await;
    }
}
