//! The bytes of what was shredded leave the files, a person's and a record's too; and the operator can see how far that is.

use std::{path::Path, time::Duration};

use lethe::{
    domain::{ShredId, ShredUnit},
    telemetry::metrics_handle,
    vault::{
        ops::{PutRecord, ShredOrder, VaultOptions},
        store::{Space, StoreError, Write, schema::Table},
    },
};

use crate::{
    harness::{Open, Place, certificate, coll, findings, is_shredded, key, person, put_about, put_of},
    meddling::sets,
    retention::due_rows,
    rows,
};

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
    let rows = rows::all(&open.store, space).await;
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
        let options = VaultOptions { rows_wait: Duration::ZERO, ..VaultOptions::default() };
        let place = Place::make_with(options, true).await;
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

/// An order that cannot be certified keeps no other's bytes in the files, and is made up for once it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_never_certified_holds_up_no_other() {
    let place = Place::make_with(VaultOptions::default(), true).await;
    let mut open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for subject in ["7", "8", "9"] {
        open.put(&owner, &acme, ("c", subject), Some(subject), b"v").await.unwrap();
    }
    let order = person("7");
    let ill = std::sync::Arc::new(std::sync::OnceLock::<ShredId>::new());
    let known = ill.clone();
    place.meddler.refuse(move |commit| {
        let certifies = sets(commit, Table::Certificate, |key, _| known.get().is_none_or(|id| key[1..] == id.0));
        certifies.then_some(StoreError::Invalid("an order of which no certificate can be made"))
    });
    let view = open.vault.order_shred(&owner, &acme, order, Some(Duration::from_secs(1)), None).await.unwrap();
    assert!(!view.done);
    ill.set(view.id).unwrap();
    open.shred_subject(&owner, &acme, "8").await;
    assert_eq!(open.vault.reclaim(100).await.unwrap().log_entries, 1, "the other's bytes stay");
    assert_eq!(open.vault.reclaim(100).await.unwrap().log_entries, 0);
    // Over a restart, and with the next one too.
    open.close().await;
    open = place.open().await;
    open.shred_subject(&owner, &acme, "9").await;
    assert_eq!(open.vault.reclaim(1).await.unwrap().log_entries, 1);
    place.meddler.refuse_nothing();
    let view = open.awaited(&owner, &acme, view.id).await;
    assert!(view.done, "not made up for after 30 s");
    let done = open.vault.reclaim(100).await.unwrap();
    assert_eq!((done.log_entries, done.records), (1, 1));
    assert_eq!(open.vault.reclaim(100).await.unwrap().log_entries, 0);
    open.close().await;
}

/// What a certificate counts as kept is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_own_person_is_shredded_is_kept_for_nobody() {
    for reclaimed in [false, true] {
        let place = Place::make_with(VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
        open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put_about(&["7", "8"], b"v")).await.unwrap();
        open.shred_subject(&owner, &acme, "7").await;
        if reclaimed {
            open.vault.reclaim(100).await.unwrap();
        }
        let view = open.shred_subject(&owner, &acme, "8").await;
        assert_eq!(certificate(&open, view.id).await["totals"]["records_kept"], 0, "reclaimed: {reclaimed}");
        assert!(is_shredded(&open.get(&owner, &acme, ("c", "k")).await));
        open.vault.reclaim(100).await.unwrap();
        for table in [Table::SubjectRecord, Table::SecondaryRecord] {
            let left = rows::table(&open.store, table).await;
            assert!(left.is_empty(), "the index still names a person who is gone: {left:?}");
        }
        open.close().await;
    }
}

/// A key of a shredded person's record, or of a record that was shredded alone, that is written again about somebody else, at whatever
/// moment: the index says nothing of those whom the shredded record named, nor when that would have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_written_again_before_the_reclaim_leaves_no_row_of_the_person_before() {
    for (unit, alone) in [(ShredUnit::Subject, false), (ShredUnit::Record, false), (ShredUnit::Record, true)] {
        for (case, about) in [
            ("before", "8"),
            ("before, about the second", "9"),
            ("before, by the person", "7"),
            ("while it is buried", "8"),
            ("behind that", "8"),
            ("afterwards", "8"),
        ] {
            let named = format!("{unit:?}, alone: {alone}, {case}");
            let place = Place::make_with(VaultOptions::default(), true).await;
            let open = place.open().await;
            let (acme, owner, _) = open.tenant(&place, "acme").await;
            open.collection(&owner, &acme, "c", unit).await;
            let expires_at = Some(open.vault.clock().now().plus(Duration::from_hours(1)));
            let put = PutRecord { expires_at, ..put_about(&["7", "9"], b"v") };
            open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
            if alone {
                open.shred(&owner, &acme, ShredOrder::Record { collection: coll("c"), key: key("k") }).await;
            } else {
                open.shred_subject(&owner, &acme, "7").await;
            }
            let again = async || {
                let put = PutRecord { new_relationship: true, ..put_of(Some(about), b"again") };
                open.vault.put_record(&owner, &acme, &coll("c"), key("k"), put).await.unwrap();
                assert!(due_rows(&open).await.is_empty(), "{named}: what is there has no end");
                assert_eq!(findings(&open).await, Vec::<String>::new(), "{named}");
            };
            let reclaim = || {
                let vault = open.vault.clone();
                tokio_util::task::TaskTracker::new().spawn(async move { vault.reclaim(100).await })
            };
            let held = match case {
                // A header that is put alone; or what led to it, taken away.
                "while it is buried" => Some(place.meddler.hold_commit(|commit| {
                    let buries = |write: &Write| matches!(write, Write::Put { space: Space::Records, value, .. } if value.len() == 22);
                    commit.writes.iter().any(buries)
                })),
                "behind that" => Some(place.meddler.hold_commit(|commit| {
                    let forgets = |write: &Write| {
                        let tag = Table::SubjectRecord as u8;
                        matches!(write, Write::Delete { space: Space::Index, key } if key[0] == tag)
                    };
                    commit.writes.iter().any(forgets)
                })),
                "afterwards" => {
                    reclaim().await.unwrap().unwrap();
                    None
                }
                _ => None,
            };
            let done = if let Some(held) = held {
                let reclaiming = reclaim();
                held.has_read().await;
                again().await;
                held.let_go();
                reclaiming.await.unwrap().unwrap()
            } else {
                again().await;
                reclaim().await.unwrap().unwrap()
            };
            assert_eq!(done.log_entries, u64::from(case != "afterwards"), "{named}: {done:?}");
            for (table, rows) in [(Table::SubjectRecord, 1), (Table::SecondaryRecord, 0)] {
                let left = rows::table(&open.store, table).await;
                assert_eq!(left.len(), rows, "{named}: {table:?} {left:?}");
            }
            assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"again", "{named}");
            assert_eq!(findings(&open).await, Vec::<String>::new(), "{named}");
            open.close().await;
        }
    }
}
