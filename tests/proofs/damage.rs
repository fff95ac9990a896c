//! One bent byte in the data keeps nobody from being forgotten, and no start from serving.

use lethe::{
    domain::{CollectionPolicy, ShredUnit, TenantNo, policy::SecondarySubjects},
    vault::{
        ops::{Missing, PutRecord, ShredOrder, VaultError},
        store::{Row, Space, Write},
    },
};

use crate::{
    harness::{Open, Place, coll, findings, is_shredded, key, person, put_about},
    rows,
};

async fn records(open: &Open) -> Vec<Row> {
    rows::records(&open.store, TenantNo(1)).await
}

/// A record about someone that names 7 second.
fn both(first: &str) -> PutRecord {
    put_about(&[first, "7"], b"v")
}

/// Where a row is bent: its version byte, its slot, or its last byte.
const BENT: [usize; 3] = [0, 7, usize::MAX];

/// Bends a byte of the rows that came since `before`.
async fn bend(open: &Open, before: &[Row], at: usize) -> usize {
    let mut writes = Vec::new();
    for Row { key, value } in records(open).await {
        if !before.iter().any(|known| known.key == key) {
            let mut bent = value.to_vec();
            let at = at.min(bent.len() - 1);
            bent[at] ^= 0x40;
            writes.push(Write::Put { space: Space::Records, key, value: bent.into() });
        }
    }
    let bent = writes.len();
    rows::write(&open.store, writes).await;
    bent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_records_that_do_not_open_are_deleted_with_the_others() {
    for at in BENT {
        let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
        let policy = CollectionPolicy { secondary_subjects: SecondarySubjects::Delete, ..CollectionPolicy::default() };
        open.vault.put_collection(&owner, &acme, &coll("shared"), policy, None).await.unwrap();
        open.put(&owner, &acme, ("log", "whole"), Some("7"), b"v").await.unwrap();
        open.put(&owner, &acme, ("log", "other"), Some("8"), b"v").await.unwrap();
        let before = records(&open).await;
        open.put(&owner, &acme, ("log", "bent"), Some("7"), b"v").await.unwrap();
        open.vault.put_record(&owner, &acme, &coll("shared"), key("bent"), both("8")).await.unwrap();
        assert_eq!(bend(&open, &before, at).await, 2);
        let view = open.shred_subject(&owner, &acme, "7").await;
        for record in [("log", "whole"), ("log", "bent"), ("shared", "bent")] {
            let got = open.get(&owner, &acme, record).await;
            assert!(matches!(got, Err(VaultError::NotFound(Missing::Record))), "byte {at}: {record:?}: {got:?}");
        }
        assert_eq!(open.get(&owner, &acme, ("log", "other")).await.unwrap(), b"v");
        assert_eq!(view.collections.iter().map(|(_, totals)| totals.deleted).sum::<u64>(), 3, "byte {at}");
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_over_older_data_with_a_bent_record_serves() {
    for at in BENT {
        let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
        open.put(&owner, &acme, ("log", "whole"), Some("7"), b"v").await.unwrap();
        let before = records(&open).await;
        open.put(&owner, &acme, ("log", "bent"), Some("7"), b"v").await.unwrap();
        assert_eq!(bend(&open, &before, at).await, 1);
        open.close().await;
        place.copy("store/data", "older");
        let open = place.open().await;
        open.shred_subject(&owner, &acme, "7").await;
        open.close().await;
        place.put_back("older", "store/data");
        let open = place.open().await;
        for record in ["whole", "bent"] {
            assert!(matches!(open.get(&owner, &acme, ("log", record)).await, Err(VaultError::NotFound(_))), "byte {at}: {record}");
        }
        open.close().await;
    }
}

/// The order needs no header: control knows the record's units. And a header that names another's unit is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_whose_header_is_bent_is_shredded_and_no_other() {
    for at in BENT {
        let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "files", ShredUnit::Record).await;
        // Enough of them that the bent slot (bit 6 of its number) is one that another record has.
        for number in 0..64 {
            open.put(&owner, &acme, ("files", &format!("other-{number}")), Some("8"), b"v").await.unwrap();
        }
        let before = records(&open).await;
        open.put(&owner, &acme, ("files", "bent"), Some("7"), b"v").await.unwrap();
        open.close().await;
        place.copy("store/data", "whole");
        let open = place.open().await;
        assert_eq!(bend(&open, &before, at).await, 1);
        let view = open.shred(&owner, &acme, ShredOrder::Record { collection: coll("files"), key: key("bent") }).await;
        assert_eq!(view.collections.iter().map(|(_, totals)| totals.units).sum::<u64>(), 1, "byte {at}");
        open.vault.reclaim(100).await.unwrap();
        open.close().await;
        place.put_back("whole", "store/data");
        let open = place.open().await;
        assert!(is_shredded(&open.get(&owner, &acme, ("files", "bent")).await), "byte {at}");
        for number in 0..64 {
            let name = format!("other-{number}");
            assert_eq!(open.get(&owner, &acme, ("files", &name)).await.unwrap(), b"v", "byte {at}: {name}");
        }
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_passes_over_what_did_not_open_before_and_says_how_many() {
    for at in [0, usize::MAX] {
        let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "people", ShredUnit::Subject).await;
        open.put(&owner, &acme, ("people", "whole"), Some("7"), b"v").await.unwrap();
        let before = records(&open).await;
        open.put(&owner, &acme, ("people", "bent"), Some("7"), b"v").await.unwrap();
        assert_eq!(bend(&open, &before, at).await, 1);
        for order in [person("7"), ShredOrder::Collection(coll("people"))] {
            let is_first = matches!(order, ShredOrder::Subjects(_));
            let view = open.shred(&owner, &acme, order).await;
            let verification = crate::harness::certificate(&open, view.id).await["verification"].clone();
            let sample = u64::from(is_first);
            assert_eq!((&verification["sample_size"], &verification["readable_after"]), (&sample.into(), &0.into()), "byte {at}");
            if is_first {
                assert_eq!(verification["unreadable_before"], 1, "byte {at}: {verification}");
            }
        }
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reclaiming_goes_on_behind_a_row_whose_header_is_bent() {
    let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "people", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("people", "bent"), Some("7"), b"v").await.unwrap();
    assert_eq!(bend(&open, &[], 0).await, 1);
    open.put(&owner, &acme, ("people", "next"), Some("8"), b"v").await.unwrap();
    for subject in ["7", "8"] {
        open.shred_subject(&owner, &acme, subject).await;
    }
    let done = open.vault.reclaim(100).await.unwrap();
    assert_eq!((done.log_entries, done.records), (2, 1));
    assert_eq!(records(&open).await.len(), 1, "only the header of the one that had one is left");
    assert_eq!(open.vault.reclaim(100).await.unwrap().log_entries, 0);
    open.close().await;
}

/// A record that is kept, damaged, about someone who stays and names the shredded person second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reclaiming_leaves_a_damaged_record_of_someone_who_stays() {
    let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "people", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("people", "own"), Some("7"), b"v").await.unwrap();
    let before = records(&open).await;
    open.vault.put_record(&owner, &acme, &coll("people"), key("shared"), both("8")).await.unwrap();
    assert_eq!(bend(&open, &before, 0).await, 1);
    let view = open.shred_subject(&owner, &acme, "7").await;
    assert_eq!(view.collections.iter().map(|(_, totals)| totals.kept).sum::<u64>(), 1);
    assert_eq!(open.vault.reclaim(100).await.unwrap().log_entries, 1);
    assert_eq!(records(&open).await.len(), 2, "a header, and the record that the certificate counts as kept");
    open.close().await;
}

/// The index keeps a row for someone who was named second in a record that is gone; then the key is written about that person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_left_in_the_index_hides_no_record_from_its_person() {
    let place = Place::make_with(lethe::vault::ops::VaultOptions::default(), true).await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "log", ShredUnit::Collection).await;
    open.vault.put_record(&owner, &acme, &coll("log"), key("k"), both("8")).await.unwrap();
    assert_eq!(bend(&open, &[], usize::MAX).await, 1);
    let view = open.shred_subject(&owner, &acme, "8").await;
    assert_eq!(view.collections.iter().map(|(_, totals)| totals.deleted).sum::<u64>(), 1);
    open.put(&owner, &acme, ("log", "k"), Some("7"), b"v").await.unwrap();
    let view = open.shred_subject(&owner, &acme, "7").await;
    let got = open.get(&owner, &acme, ("log", "k")).await;
    assert!(matches!(got, Err(VaultError::NotFound(Missing::Record))), "{got:?}");
    assert_eq!(view.collections.iter().map(|(_, totals)| (totals.deleted, totals.kept)).collect::<Vec<_>>(), [(1, 0)]);
    open.vault.reclaim(100).await.unwrap();
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A request that comes when the server's store is closed already has met no fault of the store: it may be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_store_was_closed_is_told_that_it_may_come_again() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    open.put(&owner, &acme, ("c", "k"), Some("7"), b"v").await.unwrap();
    open.store.close();
    let got = open.get(&owner, &acme, ("c", "k")).await;
    assert!(matches!(got, Err(VaultError::Unavailable(_))), "{got:?}");
    let put = open.put(&owner, &acme, ("c", "k"), Some("7"), b"w").await;
    assert!(matches!(put, Err(VaultError::Unavailable(_))), "{put:?}");
    open.close().await;
    let open = place.open().await;
    assert_eq!(open.get(&owner, &acme, ("c", "k")).await.unwrap(), b"v");
    open.close().await;
}
